"""The main job on a NIC: the gateway in a guest (guest.py) on an emulated one, with real gRPC peers, a stock client and etcd outside.

One guest a kind of NIC; it is asked everything, one question after the other."""
import os
import re
import subprocess
import time
import urllib.error
import urllib.request

from devices import run
from guest import Guest
from lab import GATEWAY4, GATEWAY6, Lab, Load, expect, tail, wait_for
from workers import by_worker

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = f"{TOP}/build-nic"
HUGEPAGES = 96

CASES = ["1 MiB", "unary, 16 MiB", "1000 B", "status ", "metadata", "deadline", "cancelled", "calls at once"]  # the quick form's: all but the largest

CHANGES = (
    ('dpdk: { eal = [ "--no-huge", "-m", "512", "--no-pci" ]; };', 'limits: { memory = "512MiB"; connections = 2000; streams = 8000; };'),
    ("workers = 1;", "workers = 2;"),
    ("net_tap0,iface=pen0", "0000:00:05.0"),
    ("http://127.0.0.1:2379", "http://198.19.0.2:2379"),
    ('bind = "127.0.0.1:9901"', 'bind = "198.19.0.15:9901"'),
)


class GuestLab(Lab):
    def __init__(self, work, build, nic, **more):
        super().__init__(work, build, **more)
        self.nic, self.log = nic, f"{work}/guest.log"
        for old, new in CHANGES:
            expect(old in self.config, f"the configuration has another shape: no {old}")
            self.config = self.config.replace(old, new)

    def start_gateway(self):
        self.gateway = Guest(self.work, f"{BUILD}/penstock", f"{BUILD}/kernel", self.nic, self.config, HUGEPAGES, self.log)
        run("ip", "addr", "add", "198.18.0.1/24", "dev", "pen0")
        run("ip", "-6", "addr", "add", "2001:db8::1/64", "dev", "pen0", "nodad")
        run("ip", "link", "set", "pen0", "up")
        wait_for(60, f"the gateway runs in its guest (its words: {tail(self.log, 5)})", lambda: self.gateway_gone() or self.http("/healthz")[0] == 200)

    def gateway_gone(self):
        ended = self.log_lines("guest: penstock ended") or self.gateway.poll() is not None
        expect(not ended, f"the gateway ended; its last words:\n{tail(self.log, 20)}")
        return False

    def end_gateway(self, seconds=30):
        try:
            urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:9901/api/v1/shutdown", b"", method="POST"), timeout=5).close()
        except (OSError, urllib.error.URLError):
            pass
        line = wait_for(seconds, "the gateway ends", lambda: self.log_lines("guest: penstock ended"))[0]
        return int(re.search(r"status (\d+)", line)[1])


def event(lab, name):
    return lab.metric("penstock_events_total", event=name) or 0


def load_spread(report, lab, words):
    """Connections of clients on both families and of both workers to three backends: what lands where."""
    loads = [Load(lab, "--channels", 1, "--rate", 25, "--size", 200, target=target).flowing() for target in 4 * [GATEWAY4] + 4 * [GATEWAY6]]
    before = lab.metric("penstock_handovers_total") or 0
    for load in loads:
        load.window()
    time.sleep(4)
    for load in loads:
        load.window()
    counts = {}
    for load in loads:
        for name, n in load.result(1)["backends"].items():
            counts[name] = counts.get(name, 0) + n
    total = sum(counts.values())
    expect(len(counts) == 3 and all(abs(n - total / 3) <= 0.05 * total / 3 + len(loads) for n in counts.values()), f"shares of {total}: {counts}")
    return loads, (lab.metric("penstock_handovers_total") or 0) - before, counts


def end_loads(loads):
    for load in loads:
        summary = load.stop()
        expect(summary["failed"] == 0 and summary["reconnects"] == 0, f"{summary}; {load.failures()[:3]}")


def link(report, lab, words, loads):
    lab.gateway.link(False)
    wait_for(5, "readiness goes with the link", lambda: lab.http("/readyz")[0] == 503)
    time.sleep(1)
    lab.gateway.link(True)
    wait_for(10, "readiness comes back", lambda: lab.http("/readyz")[0] == 200)
    time.sleep(2)
    results = [load.count(1) for load in loads]
    expect(all(r["ok"] > 10 for r in results), f"after the link is up again: {results}")
    report.ok(f"{words}: the link down for a second or two under load: no call failed, no connection was lost")


def all_calls(report, lab, words):
    """Every kind of call, compared with a direct one, both of one family."""
    for name in list(lab.backends):
        lab.etcd.delete(name)
    lab.wait_ready(0)
    for target, address in ((GATEWAY4, "198.18.0.1:50071"), (GATEWAY6, "[2001:db8::1]:50072")):
        name = f"only{len(lab.backends)}"
        lab.add(name, address).register()
        lab.wait_ready(1)
        passed = 0
        for only in ([""] if report.long else CASES):
            status, lines = lab.client("calls", "--direct", address, *(["--only", only] if only else []), target=target, seconds=200)
            bad = [line for line in lines if "case" in line and not line["ok"]]
            summary = next(line for line in lines if line.get("summary"))
            expect(not bad and summary["passed"] > 0, f"{words} to {target}: {summary}, {bad[:3]}")
            passed += summary["passed"]
        report.ok(f"{words}: {passed} kinds of calls to {target}")
        lab.etcd.delete(name)
        lab.wait_ready(0)


def whole(nic, words):
    def check(report, work, build, asan):
        lab = GuestLab(work, build, nic)
        began = time.monotonic()
        lab.start(backends=3)
        report.note(f"{words}: serves {time.monotonic() - began:.1f} s after the start")
        loads, handed, counts = load_spread(report, lab, words)
        report.note(f"{words}: {counts}, {handed:.0f} hand-overs, {by_worker(lab)}")
        link(report, lab, words, loads)
        end_loads(loads)
        all_calls(report, lab, words)
        status = lab.end_gateway()
        expect(status == 0, f"exit status {status}:\n{tail(lab.log, 40)}")
    return check


def emulated():
    return subprocess.run(["qemu-system-x86_64", "-device", "help"], capture_output=True, text=True).stdout


CHECKS = [
    {"name": "nic-igb", "run": whole("igb", "Intel 82576 (igb)"), "limit": 180},
    {"name": "nic-virtio", "run": whole("virtio", "virtio of two queue pairs"), "limit": 180},
]
