"""What IP owes: fragments put together, with one worker and with two, and errors for what nobody takes.

No kernel here sends fragments of TCP, so a process between pen0 and the gateway's tap cuts what the kernel sends.
"""
import errno
import json
import os
import random
import select
import socket
import struct
import subprocess
import sys
import time

from devices import DEVICE, all_calls, link_exists, run, tap_open, wire_to
from lab import GATEWAY4, GATEWAY6, Load, expect, tail, wait_for
from workers import by_worker, spread_loads, workers_lab

LINK = "pen5"

# ---- the cutter: a tap pen0 for the kernel, a socket on the gateway's link ----


def sum16(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def fragment4(head, data, offset, more, number):
    h = bytearray(head)
    struct.pack_into("!HHH", h, 2, 20 + len(data), number & 0xffff, (0x2000 if more else 0) | offset >> 3)
    struct.pack_into("!H", h, 10, 0)
    struct.pack_into("!H", h, 10, sum16(bytes(h)))
    return bytes(h) + data


def fragment6(head, data, offset, more, number):
    h = bytearray(head)
    following = h[6]
    h[6] = 44
    struct.pack_into("!H", h, 4, 8 + len(data))
    return bytes(h) + struct.pack("!BBHI", following, 0, offset | more, number) + data


def pieces(frame, number, dice):
    """The frame in two to four fragments, in any order, one of them sometimes twice; as it is if it is no TCP, or too short."""
    kind = frame[12:14]
    if kind == b"\x08\x00" and frame[14] == 0x45 and frame[23] == 6:
        at, make, length = 34, fragment4, struct.unpack("!H", frame[16:18])[0] + 14
    elif kind == b"\x86\xdd" and frame[20] == 6:
        at, make, length = 54, fragment6, struct.unpack("!H", frame[18:20])[0] + 54
    else:
        return [frame]
    data = frame[at:length]
    blocks = (len(data) + 7) // 8
    if blocks < 5:
        return [frame]
    # the first with all of TCP's header, the last long enough that the others, with their further header, fit the link
    cuts = [0] + sorted(8 * c for c in dice.sample(range(3, blocks - 1), min(dice.randint(1, 3), blocks - 4))) + [len(data)]
    out = [frame[:14] + make(frame[14:at], data[a:b], a, b < len(data), number) for a, b in zip(cuts, cuts[1:])]
    dice.shuffle(out)
    if dice.random() < 0.1:
        out.insert(0, out[0])
    return out


def cutter():
    tap, dice, number = tap_open("pen0"), random.Random(int(sys.argv[-1])), 0
    wire = wire_to(LINK)
    while True:
        for ready in select.select([tap, wire], [], [])[0]:
            if ready is wire:
                frame, sender = wire.recvfrom(70000)
                if sender[2] != socket.PACKET_OUTGOING:
                    os.write(tap, frame)
            else:
                number += 1
                for piece in pieces(os.read(tap, 70000), number, dice):
                    wire.send(piece)


def cut_link(work):
    seed = random.randrange(1 << 30)
    subprocess.Popen([sys.executable, os.path.abspath(__file__), "--cutter", str(seed)], stdout=open(f"{work}/cutter.log", "wb"), stderr=subprocess.STDOUT)
    wait_for(10, f"the cutter makes pen0 ({tail(work + '/cutter.log')})", lambda: link_exists("pen0"))
    return seed


# ---- checks ----

def drops(lab, reason):
    return lab.metric("penstock_drops_total", reason=reason) or 0


def flood(numbers):
    """First fragments that nothing follows, each of a datagram of its own, and overlapping ones."""
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    wire.bind((LINK, 0))
    shown = subprocess.run(["ip", "-j", "link", "show", LINK], capture_output=True, check=True).stdout
    mac = bytes.fromhex(json.loads(shown)[0]["address"].replace(":", ""))  # the gateway's own: the driver gives the tap its port's
    head = mac + b"\2\0\0\0\0\x77" + b"\x08\0"
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, 6, 0) + socket.inet_aton("198.18.0.77") + socket.inet_aton("198.18.0.2")
    for number in numbers:
        wire.send(head + fragment4(ip, os.urandom(64), 0, True, number))
        if number % 10 == 0:
            wire.send(head + fragment4(ip, os.urandom(64), 32, True, number))


def in_fragments(workers, target, every_kind):
    def check(report, work, build, asan):
        seed = cut_link(work)
        lab = workers_lab(work, build, workers, DEVICE.replace("pen0", LINK))
        lab.start(backends=0, registered=False)
        words = f"all TCP in fragments (seed {seed}), {workers} worker{'s'[:workers - 1]}"
        if every_kind:
            all_calls(report, lab, words, target)
        else:
            lab.add("b1").register()
            lab.wait_ready(1)
        load = Load(lab, "--rate", 100, "--channels", 4, "--size", 3000, target=target).flowing()
        before = lab.objects_in_use().get("reassemblies", 0)
        result = load.count(2)
        expect(result["ok"] > 100 and result["failed"] == 0, f"{words}: {result}")
        turns = iter(range(0, 1 << 16, 1500))

        def refused():  # a worker that is away for a moment loses what its queue cannot hold
            first = next(turns)
            flood(range(first, first + 1500))
            time.sleep(0.2)
            return drops(lab, "fragment_overlap") >= 100
        wait_for(5, "overlaps are refused", refused)
        wait_for(5, "the oldest go at the limit", lambda: drops(lab, "fragments_evicted") > 0 or workers > 1)
        result = load.count(2)
        expect(result["ok"] > 100 and result["failed"] == 0, f"{words}, with a flood of others' fragments: {result}")
        load.stop_unharmed(f"{words}: ")
        whole, handed = lab.event("ip_reassembled"), lab.metric("penstock_handovers_total") or 0
        expect(whole > 500, f"{words}: {whole} datagrams were put together")
        expect(lab.objects_in_use()["reassemblies"] <= 512 * workers, f"{lab.objects_in_use()}")
        expect(workers == 1 or (handed > 200 and all(w["packets_in"] > 0 for w in by_worker(lab))), f"{handed} hand-overs")
        lab.end_well()
        report.ok(f"{words} to {target}: {whole:.0f} datagrams put together ({before:.0f} waited), {handed:.0f} hand-overs, no call failed, through a flood of "
                  f"fragments too")
    return check


def refused_udp(family, address):
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(3)
        s.connect((address, 4242))
        s.send(b"is anybody there?")
        try:
            s.recv(10)
        except OSError as error:
            return error.errno
    return 0


def refused_protocol(family, address, level, option):
    with socket.socket(family, socket.SOCK_RAW, 132) as s:
        s.settimeout(3)
        s.setsockopt(level, option, 1)  # RECVERR
        s.connect((address, 0))
        s.send(b"x" * 32)
        try:
            s.recv(10)
        except OSError as error:
            return error.errno
    return 0


def icmp_errors(report, work, build, asan):
    """The kernel believes what the gateway says of a closed UDP port and of a protocol that it does not speak."""
    lab = workers_lab(work, build, 2)
    lab.start(backends=0, registered=False)
    seen = {"udp4": refused_udp(socket.AF_INET, "198.18.0.2"), "udp6": refused_udp(socket.AF_INET6, "2001:db8::2"),
            "protocol4": refused_protocol(socket.AF_INET, "198.18.0.2", socket.SOL_IP, 11),
            "protocol6": refused_protocol(socket.AF_INET6, "2001:db8::2", 41, 25)}
    want = {"udp4": errno.ECONNREFUSED, "udp6": errno.ECONNREFUSED, "protocol4": errno.ENOPROTOOPT, "protocol6": errno.EPROTO}
    expect(seen == want, f"errors that the kernel was told: {seen}, wanted {want}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for _ in range(500):
            s.sendto(b"flood", ("198.18.0.2", 4243))
    wait_for(3, "what is beyond the rate is held back", lambda: lab.event("icmp_errors_held_back") > 0)
    sent = lab.event("icmp_errors_out")
    expect(4 <= sent < 500, f"{sent} errors for 504 packets")
    lab.end_well()
    report.ok(f"ICMP errors: {seen}; of 500 more datagrams to a closed port {sent - 4:.0f} were answered")


def news(report, work, build, asan):
    """The neighbour gets another MAC address and says so once, in ARP and in ND: one queue gets the news, both workers must learn it.  What is
    still sent to the old address is lost."""
    lab = workers_lab(work, build, 2)
    lab.start(backends=2)
    for path in ("ipv4/conf/pen0/arp_notify", "ipv6/conf/pen0/ndisc_notify"):
        with open(f"/proc/sys/net/{path}", "w") as file:
            file.write("1")
    loads = spread_loads(lab, 2, "--rate", 50) + [Load(lab, "--channels", 4, "--rate", 50, target=GATEWAY6).flowing()]
    for turn in range(3):
        run("ip", "link", "set", "pen0", "address", f"02:00:00:00:77:{turn:02x}")
        for load in loads:
            result = load.count(1.5)
            expect(result["ok"] > 30 and result["max_us"] < 3000000, f"after a new MAC address, worker {getattr(load, 'worker', 'any')}: {result}")
    for load in loads:
        load.stop_unharmed()
    lab.end_well()
    report.ok("three new MAC addresses of the neighbour, each told once: four connections on two workers, and IPv6, go on")


CHECKS = [
    {"name": "workers-news", "run": news, "limit": 120, "long_only": True},
    {"name": "fragments-1", "run": in_fragments(1, GATEWAY6, False), "limit": 120, "long_only": True, "long_words": "all TCP in fragments with one worker, and all kinds of calls"},
    {"name": "fragments-2", "run": in_fragments(2, GATEWAY4, False), "limit": 120},
    {"name": "fragments-calls-1", "run": in_fragments(1, GATEWAY4, True), "limit": 240, "long_only": True},
    {"name": "fragments-calls-2", "run": in_fragments(2, GATEWAY6, True), "limit": 240, "long_only": True},
    {"name": "icmp-errors", "run": icmp_errors},
]

if __name__ == "__main__" and "--cutter" in sys.argv:
    cutter()
