#!/usr/bin/env python3
"""Runs the checks of a lab tier, each in namespaces of its own and for a bounded time.

usage: tests/net/run.py net|interop|soak|tsan|nic [--long] [--seconds N] [--resume] [--keep] [NAME…]      (root; tests/run calls it)
  NAME         only checks whose name holds it          --list   names them
  --keep       do not delete the logs of checks that held
  --seconds N  of a soak: so long, instead of its own time
  --resume     of a long soak: what its newest results say is done is not done again

Prints one line a result: "ok NAME", "FAILED NAME: why", "skipped NAME: COMMAND".
"""
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
TIERS = {
    "net": [
        "balance",
        "failures",
        "life",
        "workers",
        "starvation",
        "devices",
        "packets",
        "members",
        "matrix",
        "reload",
        "eyes",
        "rpc",
        "generator",
        "floods_quick",
        "abuse",
        "attacks",
        "slow",
        "far",
    ],
    "interop": ["conformance", "h2spec", "cases", "health", "grpc_matrix", "ledger", "ledger_bench", "mixed_go"],
    "soak": ["soak", "reload_sanitized"],
    "tsan": ["race"],
    "nic": ["nic"],
    "floods": ["floods"],  # tools/pktgen/run calls it
}
sys.path[:0] = [HERE, f"{TOP}/tests/interop", f"{TOP}/tests/nic", f"{TOP}/tools/pktgen"]


def checks_of(tier):
    for module in TIERS[tier]:
        yield from importlib.import_module(module).CHECKS


class Report:
    """What a check says of its results; it may have several."""

    def __init__(self, name, options):
        self.name, self.long, self.seconds, self.resume = name, options.long, options.seconds, options.resume
        self.seed, self.bad, self.said = int(time.time()), 0, 0

    def ok(self, words):
        self.said += 1
        print("ok", words, flush=True)

    def failed(self, words):
        self.said += 1
        self.bad += 1
        print("FAILED", words.replace("\n", "\n    "), flush=True)

    def note(self, words):
        print("  ", words, flush=True)

    def skipped(self, words, command):
        self.said += 1
        print(f"skipped {words}: {command}", flush=True)


class Options:
    """The arguments; words() gives back those that a check has to know."""

    def __init__(self, arguments):
        self.long, self.resume, self.keep, self.list, self.inside = (word in arguments for word in ("--long", "--resume", "--keep", "--list", "--inside"))
        self.seconds = int(arguments[arguments.index("--seconds") + 1]) if "--seconds" in arguments else 0
        self.names = [a for i, a in enumerate(arguments) if not a.startswith("--") and (i == 0 or arguments[i - 1] != "--seconds")]

    def words(self):
        return ["--long"] * self.long + ["--resume"] * self.resume + (["--seconds", str(self.seconds)] if self.seconds else [])

    def limit(self, check):
        """Seconds that a check may take."""
        if self.long and "long_seconds" in check:
            return (self.seconds or check["long_seconds"]) + 600
        usual = check.get("limit", 90)
        return (check.get("long_limit", usual) if self.long else usual) + self.seconds


def inside(tier, name, work, options):
    """Process 1 of the namespaces of one check."""
    from lab import Wrong
    check = next(c for c in checks_of(tier) if c["name"] == name)
    report = Report(name, options)
    with open(f"{work}/netns", "w") as file:
        file.write(os.readlink("/proc/self/ns/net"))
    try:
        check["run"](report, work, f"{TOP}/build", f"{TOP}/build-asan")
        if report.said == 0:
            report.ok(name)
    except Wrong as wrong:
        report.failed(f"{name}: {wrong}")
    except Exception:
        report.failed(f"{name}: {traceback.format_exc()}")
    sys.stdout.flush()
    os._exit(1 if report.bad else 0)


class Leftovers:
    """What was there before a check must be all that is there after it."""

    def __init__(self):
        self.before = self.look()

    @staticmethod
    def look():
        return {"interface": set(os.listdir("/sys/class/net")),
                "namespace": set(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else set()}

    @staticmethod
    def processes_in(netns):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{pid}/ns/net") == netns:
                    found.append(pid)
            except OSError:
                pass
        return found

    def found(self, work):
        out = [f"{kind} {name}" for kind, names in self.look().items() for name in names - self.before[kind] if "pen" in name]
        try:
            with open(f"{work}/netns") as file:
                netns = file.read()
        except OSError:
            return out
        end = time.monotonic() + 3  # the kernel ends a process namespace's members one after another
        while self.processes_in(netns) and time.monotonic() < end:
            time.sleep(0.05)
        return out + [f"process {pid}" for pid in self.processes_in(netns)]


child = None


def run_one(tier, check, options):
    """Gives True if it held.  unshare dies with us and its namespaces with it (setpriv, --kill-child)."""
    global child
    work = tempfile.mkdtemp(prefix="penstock-t-")
    limit = options.limit(check)
    command = ["setpriv", "--pdeathsig", "KILL", "--", "unshare", "--net", "--pid", "--fork", "--kill-child=KILL", "--mount", "--mount-proc", "--",
               sys.executable, os.path.abspath(__file__), "--inside", tier, check["name"], work] + options.words()
    leftovers, began = Leftovers(), time.monotonic()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        held = child.wait(limit) == 0
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        held = False
        print(f"FAILED {check['name']}: no end within {limit} s", flush=True)
    child = None
    left = leftovers.found(work)
    if left:
        held = False
        print(f"FAILED {check['name']}: left behind: {', '.join(left)}", flush=True)
    print(f"   {time.monotonic() - began:.1f} s" + ("" if held else f"   logs: {work}"), flush=True)
    if held and not options.keep:
        shutil.rmtree(work)
    return held


def prepared(check):
    """What a check needs from outside of its namespaces, which have no network; it says why if it can't have that."""
    why = check["prepare"](f"{TOP}/build") if "prepare" in check else None
    if why:
        print(f"skipped {check['name']} ({why}): sudo tests/run interop", flush=True)
    return why is None


def main(arguments):
    options = Options(arguments)
    if options.inside:
        inside(*options.names[:3], options)
    if not options.names or options.names[0] not in TIERS:
        print(__doc__, file=sys.stderr)
        return 2
    tier, names = options.names[0], options.names[1:]
    checks = [c for c in checks_of(tier) if not names or any(n in c["name"] for n in names)]
    if options.list:
        print("\n".join(c["name"] for c in checks))
        return 0
    if os.geteuid() != 0:
        print("needs root, for namespaces and a tap device", file=sys.stderr)
        return 1

    def end(number, _frame):
        if child:
            child.kill()
        sys.exit(128 + number)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    held = [run_one(tier, check, options) for check in checks if (options.long or names or not check.get("long_only")) and prepared(check)]
    if not options.long:
        for check in checks:
            if check.get("long_words"):  # a check that is "long_only" runs in the short form if it is named
                print(f"skipped {check['long_words']}: sudo tests/run --long {tier}", flush=True)
    return 0 if all(held) and checks else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
