"""The main job over every device that can be had here, with one worker and with two, over IPv4 and IPv6, tagged and not.

The kernel's side is always called pen0 (lab.py); what the gateway is bound to is the other end of it.
"""
import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time

from lab import GATEWAY4, GATEWAY6, Lab, Load, expect, tail, wait_for
from workers import DEVICE, by_worker, thirds, workers_lab


def run(*words):
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def veth(offloads=False, mtu=None, queues=1):
    run("ip", "link", "add", "pen0", "numrxqueues", str(queues), "numtxqueues", str(queues), "type", "veth",
        "peer", "name", "pen1", "numrxqueues", str(queues), "numtxqueues", str(queues))
    with open("/proc/sys/net/ipv6/conf/pen1/disable_ipv6", "w") as file:
        file.write("1")  # the kernel is no host on the gateway's end
    for name in ("pen0", "pen1"):
        if mtu:
            run("ip", "link", "set", name, "mtu", str(mtu))
        run("ip", "link", "set", name, "up")
    if not offloads:
        run("ethtool", "-K", "pen0", "tx", "off")


def all_calls(report, lab, words):
    """Every kind of call, compared with a direct one."""
    lab.add("b1", "198.18.0.1:50061").register()
    lab.wait_ready(1)
    for target in (GATEWAY4, GATEWAY6):
        status, lines = lab.client("calls", "--direct", "198.18.0.1:50061", target=target, seconds=120)
        bad = [line for line in lines if "case" in line and not line["ok"]]
        summary = next(line for line in lines if line.get("summary"))
        expect(not bad and summary["passed"] > 100, f"{words} to {target}: {summary}, {bad[:3]}")
        report.ok(f"{words}: {summary['passed']} kinds of calls to {target}")


def calls_over(device, workers, prepare, words, change=None):
    def check(report, work, build, asan):
        prepare()
        lab = workers_lab(work, build, workers, device)
        lab.config = change(lab.config) if change else lab.config
        lab.start(backends=0, registered=False)
        all_calls(report, lab, f"{words}, {workers} worker{'s'[:workers - 1]}")
        status = lab.end_gateway()
        expect(status == 0, f"exit status {status}:\n{tail(lab.log, 40)}")
    return check


def thirds_over(device, prepare, words, least_busy=0.02):
    """The worker that has the queue makes all system calls, so where there is but one the other's share of the work is small."""
    def check(report, work, build, asan):
        prepare()
        thirds(report, work, build, asan, device, words, least_busy=least_busy)
    return check


def two_queues():
    veth(queues=2)


AF_PACKET, AF_PACKET2 = "net_af_packet0,iface=pen1", "net_af_packet0,iface=pen1,qpairs=2"
AF_XDP = "net_af_xdp0,iface=pen1"

CHECKS = [
    {"name": "device-tap-calls-2", "run": calls_over(DEVICE, 2, lambda: None, "net_tap"), "limit": 240},
    {"name": "device-af-packet-calls-1", "run": calls_over(AF_PACKET, 1, veth, "net_af_packet"), "limit": 240},
    {"name": "device-af-packet-calls-2", "run": calls_over(AF_PACKET2, 2, two_queues, "net_af_packet of two queues"), "limit": 240},
    {"name": "device-af-packet-one-queue", "run": thirds_over(AF_PACKET, veth, "one queue of net_af_packet"), "limit": 120},
    {"name": "device-af-packet-two-queues", "run": thirds_over(AF_PACKET2, two_queues, "two queues of net_af_packet", 0.2), "limit": 120},
    {"name": "device-af-xdp-calls-1", "run": calls_over(AF_XDP, 1, veth, "net_af_xdp"), "limit": 240},
    {"name": "device-af-xdp-one-queue", "run": thirds_over(AF_XDP, veth, "one queue of net_af_xdp"), "limit": 120},
]
