"""The rows that penstock-bench measures: those of its own table, by name, and some of the later steps' by their shape."""
import json
import re
import subprocess

from wire import Broken

GHZ = 2.3e9  # at which rates are quoted, whatever the machine's clock


class Context:
    def __init__(self, top, build, quick, envoy, say):
        self.top, self.build, self.quick, self.envoy, self.say = top, build, quick, envoy, say


def figure(name, value, unit, words, gate=None, target=None, **more):
    return {"id": name, "value": value, "unit": unit, "gate": gate, "target": target, "what": words, **more}


def bench(build, arguments, seconds=600):
    """penstock-bench's JSON."""
    command = [f"{build}/tools/penstock-bench", *arguments, "--json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise Broken(f"{command[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise Broken(f"penstock-bench {' '.join(arguments)} did not end within {seconds} s") from None
    words = [line for line in done.stderr.splitlines() if "TELEMETRY" not in line]
    if done.returncode != 0:
        raise Broken(f"penstock-bench {' '.join(arguments)}: exit status {done.returncode}: {' / '.join(words[-3:])}")
    return json.loads(done.stdout)


class Row:
    """A row of penstock-bench's own table: it knows the shape, the gate and the target."""
    needs = ""

    def __init__(self, name, words, unit, gate, target):
        self.id, self.ids, self.words, self.unit, self.gate, self.target = name, [name], words, unit, gate, target

    def measure(self, context):
        for _ in range(3):
            found = self.once(context)
            if credible(found):
                more = {key: found[key] for key in ("quiet", "mean") if key in found}
                return {"figures": [figure(self.id, found["value"], self.unit, self.words, self.gate, self.target, **more)]}
        raise Broken(f"the machine was disturbed, three times: typical {found['value']:.4g} {self.unit}, mean {found['mean']:.4g}")

    def once(self, context):
        repeat = ["--repeat", "1"] if context.quick and self.unit == "cycles" else []
        found = next((f for f in bench(context.build, ["--row", self.id, *repeat])["figures"] if f["id"] == self.id), None)
        if found is None:
            raise Broken("penstock-bench gave no figure of that name")
        return found


def credible(found):
    """Where hardly a stretch of turns was undisturbed, those that were moved nothing."""
    return "mean" not in found or found["value"] > found["mean"] / 3


class Shape(Row):
    """A row that the table does not hold, as arguments of penstock-bench."""

    def __init__(self, name, words, target, *arguments):
        super().__init__(name, words, "cycles", None, target)
        self.arguments = list(arguments)

    def once(self, context):
        runs = []
        for _ in range(1 if context.quick else 3):
            f = {f["id"]: f["value"] for f in bench(context.build, ["--link", "ring", "--lockstep", *self.arguments])["figures"]}
            runs.append({"value": f.get("cycles_per_rpc_typical", f["cycles_per_rpc"]), "quiet": f["cycles_per_rpc_quiet"], "mean": f["cycles_per_rpc"]})
        return {"unit": "cycles", **sorted(runs, key=lambda run: run["value"])[len(runs) // 2]}


def later():
    """Of the speed that is aimed at in the end: what runs today.  Targets are RPC/s at 2.3 GHz, as cycles."""
    one = ["-c", "256", "--one-per-segment"]
    return [Shape("A3.static", "c 256 onto 3 endpoints, one RPC a segment", round(GHZ / 1.5e6), *one, "--endpoints", "3"),
            Shape("A1000.static", "c 256 onto 1,000 endpoints, one RPC a segment", round(GHZ / 0.7e6), *one, "--endpoints", "1000"),
            Shape("A3.deadline", "c 256 onto 3 endpoints, go-deadline", round(GHZ / 1.5e6 / 0.75), *one, "--endpoints", "3", "--headers", "go-deadline"),
            Shape("B.deadline", "c 8 m 32 onto 3 endpoints, go-deadline", round(GHZ / 3e6 / 0.75), "-c", "8", "-m", "32", "--headers", "go-deadline")]


def table(build):
    """What penstock-bench says that it can measure, then the others."""
    out = []
    try:
        words = subprocess.run([f"{build}/tools/penstock-bench", "--row", "list"], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        words = ""
    for line in words.splitlines():
        found = re.match(r"(\S+)\s+(\S+)\s+gate\s+(\S+)\s+final\s+(\S+)\s+(.*)", line)
        if found:
            out.append(Row(found[1], found[5], found[2], float(found[3]), float(found[4])))
    have = {row.id for row in out}
    return out + [row for row in later() if row.id not in have]


def lines(result):
    """For people, as they come."""
    if "missing" in result:
        yield f"{result['row']:24} NOT MEASURED: {result['missing']}"
    for f in result.get("figures", []):
        gate = "" if f["gate"] is None else f"gate {f['gate']:g} {'held' if f['value'] <= f['gate'] else 'MISSED'}"
        target = "" if f["target"] is None else f"target {f['target']:g}"
        extra = f"   quiet {f['quiet']:.4g}, mean {f['mean']:.4g}" if "quiet" in f else ""
        yield f"{f['id']:24} {f['value']:10.4g} {f['unit']:7} {gate:18} {target:12}{extra}   {f['what']}"


