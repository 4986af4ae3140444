"""Nothing lost, nothing twice, at rates that no client on a kernel reaches: penstock-bench over a memif is clients and backends at once, and knows of every call
which backend has had it and whether its client has its answer.

ledger-fast: 10,000 calls a second, connections of a second on both sides, backends that end in good order and come back, reloads.  ledger-rude: the backends refuse
calls, say GOAWAY that leaves out what is under way, or stop reading and say that then: each way of a transparent retry has to be taken, and nothing lost."""
import json
import os
import random
import signal
import subprocess
import time
import urllib.request

from lab import expect, tail, wait_for
from ledger import QUEUE, record

ADMIN = "http://127.0.0.1:9901"
LOAD = ["-c", "16", "-m", "64", "--age", "1000", "--restart", "1500", "--answer-within", "50"]


def configuration(text, workers, n):
    """As penstock-bench prints it, and what one of its live keys says on the n-th reload."""
    extra = ['log: { level = "warn"; };', 'tcp: { rto_min = "30ms"; };', 'drain_timeout = "2s";', ""][n % 4]
    listener = ['keepalive: { time = "1h"; timeout = "10s"; };', 'forwarded = "off";', 'max_header_list_size = "12KiB";', ""][n // 4 % 4]
    text = text.replace("max_concurrent_streams = 1000;", f"max_concurrent_streams = {1000 - n % 3 * 100}; {listener}")
    text = text.replace('lb_policy = "round_robin";', f'lb_policy = "{("round_robin", "weighted_round_robin")[n // 2 % 2]}"; {QUEUE}')
    drain = "" if "drain" in extra else 'drain_timeout = "1s";'
    return f"workers = {workers};\n{drain}\n{text}\n{extra}\n"


def metrics():
    with urllib.request.urlopen(f"{ADMIN}/metrics", timeout=10) as answer:
        return dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line and line[0] != "#")


def answers():
    try:
        return urllib.request.urlopen(f"{ADMIN}/healthz", timeout=5).status == 200
    except OSError:
        return False


def retries(found):
    return {kind: sum(int(float(v)) for k, v in found.items() if k.startswith("penstock_retries_total") and f'kind="{kind}"' in k) for kind in ("unsent", "goaway", "refused")}


class Gateway:
    """A penstock at the other end of the generator's memif."""

    def __init__(self, work, build, text, workers):
        self.work, self.text, self.workers, self.reloads = work, text, workers, 0
        self.write()
        self.process = subprocess.Popen([f"{build}/penstock", "-c", f"{work}/bench.conf"], stdout=open(f"{work}/penstock.log", "ab"), stderr=subprocess.STDOUT)

    def write(self):
        with open(f"{self.work}/bench.conf.new", "w") as file:
            file.write(configuration(self.text, self.workers, self.reloads))
        os.rename(f"{self.work}/bench.conf.new", f"{self.work}/bench.conf")

    def reload(self):
        self.reloads += 1
        self.write()
        with urllib.request.urlopen(urllib.request.Request(f"{ADMIN}/api/v1/reload", b"", method="POST"), timeout=20) as answer:
            expect(answer.status == 200, f"reload {self.reloads}: {answer.read()}")

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        expect(self.process.returncode == 0, f"penstock ended with status {self.process.returncode}: {tail(self.work + '/penstock.log')}")


def between(report, work, build, workers, load, reloads):
    """What the generator and the gateway counted."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    os.environ["RUNTIME_DIRECTORY"] = work
    bench, link, choice = f"{build}/tools/penstock-bench", ["--link", f"memif={work}/bench.sock", *load], random.Random(report.seed)
    text = subprocess.run([bench, *link, "--print-config"], capture_output=True, text=True, check=True).stdout
    generator = subprocess.Popen([bench, *link, "--json"], stdout=subprocess.PIPE, stderr=open(f"{work}/bench.log", "ab"), text=True)
    wait_for(20, f"the memif's socket ({tail(work + '/bench.log')})", lambda: os.path.exists(f"{work}/bench.sock"))
    gateway = Gateway(work, build, text, workers)
    wait_for(20, "admin answers", answers)
    while generator.poll() is None:
        time.sleep(choice.uniform(0.3, 1.5))
        if reloads and generator.poll() is None:
            gateway.reload()
    said = generator.stdout.read()
    found = metrics()
    gateway.end()
    words = f"seed {report.seed}: {tail(work + '/bench.log')}; {said}; gateway: {tail(work + '/penstock.log')}; {retries(found)}"
    expect(generator.returncode == 0, f"exit status {generator.returncode}: {words}")
    result = json.loads(said)
    figures = {f["id"]: f["value"] for f in result["figures"]}
    expect(result["run"]["wrong"] == 0 and result["run"]["rpcs"] >= int(load[load.index("-n") + 1]), f"{result['run']}")
    drops = {k.split('"')[1]: float(v) for k, v in found.items() if k.startswith("penstock_drops_total")}
    record(report, {"workers": workers, "load": " ".join(load), **result["run"], **figures, "reloads": gateway.reloads, "sent_again": retries(found), "drops": drops,
                    "failed": 0, "twice": 0})
    return figures, retries(found), gateway.reloads


def fast(workers):
    def run(report, work, build, asan):
        seconds = report.seconds or 600 if report.long else 5
        f, again, reloads = between(report, work, build, workers, LOAD + ["--rate", "10000", "-n", str(10000 * seconds)], True)
        expect(f["goaways"] > 16 and (f["restarts"] > 0 or seconds < 10) and reloads > 0, f"nothing happened to the connections: {f}")
        report.ok(f"{10000 * seconds} calls of penstock-bench at {f['rpcs_per_second']:.0f}/s, {workers} worker(s), {f['goaways']:.0f} GOAWAYs to clients, {f['restarts']:.0f} restarts "
                  f"of backends, {reloads} reloads: none failed, none ran twice (sent again: {again})")
    return run


def rude(workers):
    def run(report, work, build, asan):
        seconds = report.seconds or 600 if report.long else 5
        f, again, _ = between(report, work, build, workers, LOAD + ["--rude", "--size", "1000", "--rate", "5000", "-n", str(5000 * seconds)], False)
        expect(all(again.values()), f"a way of the transparent retry was not taken: {again}; {f}")
        report.ok(f"{5000 * seconds} calls, {f['refused_by_backends']:.0f} refused by backends, {f['rude_goaways']:.0f} GOAWAYs that leave calls out, {f['stalls']:.0f} of them by a backend "
                  f"that had stopped reading, {workers} worker(s): none failed, none ran twice (sent again: {again})")
    return run


def check(name, run, **more):
    return {"name": f"ledger-{name}", "run": run, "limit": 120, "long_seconds": 600, **more}


CHECKS = [
    check("fast-1", fast(1), long_only=True, long_words="10,000 calls a second of penstock-bench with one worker"),
    check("fast-2", fast(2)),
    check("rude-1", rude(1)),
    check("rude-2", rude(2), long_only=True, long_words="rude backends with two workers"),
]
