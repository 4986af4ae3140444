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
from lab import GATEWAY4, GATEWAY6, Lab, Load, count_all, expect, tail, wait_for
from workers import by_worker

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = f"{TOP}/build-nic"
HUGEPAGES = 96

CASES = ["1 MiB", "unary, 16 MiB", "1000 B", "status OK", "metadata", "calls at once"]  # the quick form's

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
        for attempt in range(3):
            self.gateway = Guest(self.work, f"{BUILD}/penstock", f"{BUILD}/kernel", self.nic, self.config, HUGEPAGES, self.log)
            run("ip", "addr", "add", "198.18.0.1/24", "dev", "pen0")
            run("ip", "-6", "addr", "add", "2001:db8::1/64", "dev", "pen0", "nodad")
            run("ip", "link", "set", "pen0", "up")
            if self.booted():
                break
            self.gateway.end()  # a kernel under emulation that loses its timer on a busy machine never comes up
        wait_for(30, f"the gateway runs in its guest (its words: {tail(self.log, 5)})", lambda: self.gateway_gone() or self.http("/healthz")[0] == 200)

    def booted(self, seconds=40):
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.gateway.poll() is None:
            if self.log_lines("guest: hugepages"):
                return True
            time.sleep(0.1)
        return False

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


def load_spread(report, lab, words):
    """Connections of clients on both families, and of both workers to three backends: whose is what, and does it come to him?"""
    lines = lab.log_lines('port "front"', "2 queues", "key and table are ours, read back")
    expect(lines, f"RSS is not ours: {lab.log_lines('port ')}")
    loads = []
    while len(loads) < 12 or (len(loads) < 30 and not all(w["connections"]["client"] > 0 for w in by_worker(lab))):  # twelve on one: once in 1,400 keys
        loads.append(Load(lab, "--channels", 1, "--rate", 25, "--size", 200, target=[GATEWAY4, GATEWAY6][len(loads) % 2]).flowing())
    before = {name: lab.metric(name) or 0 for name in ("penstock_handovers_total", "penstock_drops_total")}
    by_device = lab.event("owners_by_device_hash")
    counts = count_all(loads, 3)
    total = sum(counts.values())
    expect(len(counts) == 3 and all(abs(n - total / 3) <= 0.02 * total / 3 + 2 for n in counts.values()), f"shares of {total}: {counts}")
    workers = by_worker(lab)
    expect(all(w["connections"]["client"] > 0 for w in workers), f"clients by worker: {workers}")
    handed = (lab.metric("penstock_handovers_total") or 0) - before["penstock_handovers_total"]
    hashes = lab.event("owners_by_device_hash") - by_device
    lied = lab.metric("penstock_drops_total", reason="device_hash_lied") or 0
    expect(lied == 0, "the device's hash is not ours")
    expect(handed == 0, f"{handed} segments were handed over: {workers}, {lab.http('/api/v1/connections')[1]}")
    if lab.nic == "igb":  # virtio leaves none
        expect(hashes > total, f"{hashes} owners were found by the device's hash for {total} calls")
    report.ok(f"{words}: RSS key and table read back; {total} calls of {len(loads)} connections as {counts}, clients by worker "
              f"{[w['connections']['client'] for w in workers]}, no hand-over, {hashes:.0f} owners by the device's hash")
    return loads


def link(report, lab, words, loads):
    lab.gateway.link(False)
    wait_for(20, "readiness goes with the link", lambda: lab.http("/readyz")[0] == 503)
    time.sleep(1)
    lab.gateway.link(True)
    wait_for(20, "readiness comes back", lambda: lab.http("/readyz")[0] == 200)
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


def offloads(report, lab, words):
    """What the device was asked to do, it did, and did right: the kernel outside checks every segment."""
    expect(lab.log_lines('port "front"', "offloads: checksums in, checksums out, TSO"), f"offloads: {lab.log_lines('port ')}")
    proven, refuted = lab.event("device_tx_checksums_proven"), lab.event("device_tx_checksums_refuted")
    expect(proven >= 2 and refuted == 0, f"of two workers and two families {proven:.0f} found the device's checksums right, {refuted} wrong")
    supers, sent = lab.event("port_tx_tso"), lab.event("port_tx_packets")
    expect(supers > 100, f"{supers} frames of {sent} were for the device to cut up")
    wrong = {reason: lab.metric("penstock_drops_total", reason=reason) or 0 for reason in ("l4_checksum", "l4_partial_checksum", "ip_checksum", "device_checksum_lied",
                                                                                           "device_hash_lied", "port_tx_refused", "port_rx_scattered")}
    expect(not any(wrong.values()), f"{wrong}")
    with open("/proc/net/snmp") as file:
        rows = [line.split() for line in file if line.startswith("Tcp:")]
    outside = dict(zip(rows[0], rows[1]))["InCsumErrors"]
    expect(outside == "0", f"the kernel outside saw {outside} wrong checksums")
    report.ok(f"{words}: checksums by the device in both directions, proven by the first handshakes, {supers:.0f} frames cut up by it (of {sent:.0f}), none wrong")


def whole(nic, words):
    def check(report, work, build, asan):
        if nic not in subprocess.run(["qemu-system-x86_64", "-device", "help"], capture_output=True, text=True).stdout:
            report.skipped(f"{words} (this QEMU does not emulate it; version 8 does)", "sudo tests/run nic")
            return
        lab = GuestLab(work, build, nic)
        began = time.monotonic()
        lab.start(backends=3)
        expect(lab.log_lines(f"hugepages {HUGEPAGES}, ") and lab.log_lines("bound to vfio-pci"), f"{tail(lab.log)}")
        report.note(f"{words}: serves {time.monotonic() - began:.1f} s after the start")
        loads = load_spread(report, lab, words)
        link(report, lab, words, loads)
        for load in loads:
            load.stop_unharmed()
        all_calls(report, lab, words)
        offloads(report, lab, words)
        lab.end_well()
    return check


CHECKS = [
    {"name": "nic-igb", "run": whole("igb", "Intel 82576 (igb)"), "limit": 480},
    {"name": "nic-virtio", "run": whole("virtio", "virtio of two queue pairs"), "limit": 480},
]
