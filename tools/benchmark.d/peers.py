"""The H rows: penstock beside the proxies that others use, over the kernel's TCP.  Runs duel.py inside of namespaces and reads its figures."""
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

import duel
import machine
from rows import figure
from wire import Broken, Wire

CONFIGURED = {  # name: port, configuration, command
    "nghttpx": (50101, "nghttpx.conf", ["nghttpx", "--conf=CONF"]),
    "haproxy": (50102, "haproxy.cfg", ["haproxy", "-db", "-f", "CONF"]),
    "nginx": (50103, "nginx.conf", ["nginx", "-c", "CONF"]),
    "envoy": (50104, "envoy.yaml", ["envoy", "-c", "CONF", "--concurrency", "1", "--log-level", "warn", "--disable-hot-restart"]),
}
TAP, VETH = "penstock-tap", "penstock-veth"
GATES = {"haproxy": (1.0, 1.0), "nghttpx": (None, 1.0)}  # gate, target of penstock's CPU as a ratio


class Duel:
    id = "H"
    ids = ["H", "H.haproxy", "H.nghttpx", "H.nginx", "H.envoy"]
    words = "CPU an RPC beside nghttpx, HAProxy, nginx (Envoy if asked): same messages, same backends"
    needs = "root, h2load; peers that are not installed are left out"

    def measure(self, context):
        if os.geteuid() != 0:
            raise Broken("needs root, for network namespaces and a tap")
        if not shutil.which("h2load"):
            raise Broken("needs h2load, of Debian's nghttp2-client: tools/benchmark --install")
        work = tempfile.mkdtemp(prefix="penstock-benchmark-")
        os.chmod(work, 0o755)  # nginx' worker is somebody else
        command = ["setpriv", "--pdeathsig", "KILL", "--", "unshare", "--net", "--pid", "--fork", "--kill-child=KILL", "--mount", "--mount-proc", "--",
                   sys.executable, os.path.abspath(__file__), context.build, work, "quick" if context.quick else "full", context.envoy or ""]
        try:
            with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
                last = {}
                for line in process.stdout:
                    last = json.loads(line)
                    if "say" in last:
                        context.say(last["say"])
            if "table" not in last:
                raise Broken(last.get("broken", f"exit status {process.returncode}"))
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return {"figures": list(figures(last)), "peers": summary(last, context.envoy)}


def figures(run):
    """Ratios with their gates, then each proxy's own cost for each load."""
    table = run["table"]
    for name in (n for n in CONFIGURED if n in table["c8m32"]):
        gate, target = GATES.get(name, (None, None))
        yield figure(f"H.{name}", duel.ratio(table, "c8m32", TAP, name), "ratio", f"busy CPU an RPC on a tap by {name}'s, c 8 m 32", gate, target)
        yield figure(f"H.{name}.process", duel.ratio(table, "c8m32", TAP, name, "cpu_us"), "ratio", "the same, with all CPU time of penstock's process")
    for load, (words, _) in duel.LOADS.items():
        for name, rounds in table.get(load, {}).items():
            for key, what in (("busy", "busy CPU"), ("cpu", "CPU of the process")):
                yield figure(f"{key}.{load}.{name}", statistics.median([r[f"{key}_us"] for r in rounds]), "us/RPC", f"{name}: {what}; {words}")


def summary(run, envoy):
    """{load: {proxy: {figure: median}}}, and what the page says about it."""
    keys = ("cpu_us", "busy_us", "around_us", "rate", "share", "skew")
    table = {load: {name: {key: statistics.median([r[key] for r in rounds]) for key in keys} | spread(rounds) for name, rounds in proxies.items()}
             for load, proxies in run["table"].items()}
    ratios = {load: {name: {other: duel.ratio(run["table"], load, name, other) for other in proxies if not other.startswith("penstock")}
                     for name in (TAP, VETH) if name in proxies} for load, proxies in run["table"].items()}
    versions = {"envoy": machine.version_of("envoy", [envoy, "--version"])} if envoy else {}
    return {"table": table, "ratios": ratios, "congestion": run["congestion"], "rounds": run["rounds"], "seconds": run["seconds"], "absent": run["absent"],
            "versions": versions}


def spread(rounds):
    return {"low": min(r["busy_us"] for r in rounds), "high": max(r["busy_us"] for r in rounds)}


def rows():
    return [Duel()]


# ---- inside of the namespaces ----

def inside(build, work, how, envoy):
    def put(**line):
        print(json.dumps(line), flush=True)
    rounds, seconds, loads = (3, 0.8, ["c8m32"]) if how == "quick" else (7, 1.2, list(duel.LOADS))
    try:
        wire = Wire(build, work)
        wire.penstock(TAP, "tap", "net_tap0,iface=pen0", 9901)
        wire.penstock(VETH, "veth", "net_af_packet0,iface=pen4", 9902)
        absent = []
        for name, (port, file, command) in CONFIGURED.items():
            if name == "envoy":
                command = [envoy or "", *command[1:]]
            if not wire.peer(name, port, file, command) and (name != "envoy" or envoy):
                absent.append(name)
        put(say=f"proxies: {', '.join(p.name for p in wire.proxies)}" + (f"; not installed: {', '.join(absent)}" if absent else ""))
        table = duel.play(wire, loads, rounds, seconds, lambda words: put(say=words))
        wire.end()
        put(table=table, congestion=wire.congestion, rounds=rounds, seconds=seconds, absent=absent)
    except Broken as broken:
        put(broken=str(broken))


if __name__ == "__main__":
    inside(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)
