"""What does a hostile TCP gain?  Attacks by hand-written segments, one after another, each beside a well-behaved client: none of its calls fails, memory stays in
its bound, counters name the attack, and afterwards everything is back."""
import json
import random
import socket
import struct
import time

from abuse import DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, WINDOW, block, frame, message
from lab import Lab, Load, expect, wait_for
from segments import ACK, FIN, MASK, PSH, RST, SYN, Wire

GREEDY = PREFACE + frame(SETTINGS, payload=b"\x00\x04\x7f\xff\xff\xff") + frame(WINDOW, 0, 0, struct.pack(">I", 0x7fff0000))


def request(size, streams=1):
    return b"".join(frame(HEADERS, END_HEADERS, 1 + 2 * n, block()) + frame(DATA, END_STREAM, 1 + 2 * n, message(size)) for n in range(streams))


def sack(*ranges):
    return b"\x01\x01" + struct.pack("!BB", 5, 2 + 8 * len(ranges)) + b"".join(struct.pack("!II", a & MASK, b & MASK) for a, b in ranges)


EVENTS = ("tcp_challenge_acks", "tcp_send_scarce", "tcp_window_probes", "tcp_sack_nonsense", "tcp_mss_raised")


class Scene:
    """The gateway, its well-behaved client, and what an attack may move."""

    def __init__(self, report, lab, load):
        self.report, self.lab, self.load, self.long = report, lab, load, report.long
        self.dice = random.Random(1)

    def counted(self):
        """Drops by reason; events of TCP."""
        out = {}
        for (name, labels), n in self.lab.metrics().items():
            if name == "penstock_drops_total":
                out[dict(labels)["reason"]] = n
            elif name == "penstock_tcp_syn_cookies_total":
                out["syn_cookies"] = out.get("syn_cookies", 0) + n
            elif name == "penstock_events_total" and dict(labels)["event"] in EVENTS:
                out[dict(labels)["event"]] = out.get(dict(labels)["event"], 0) + n
        return out

    def play(self, name, attack):
        """Runs one; a list of counters of which each must have moved comes back from it, and words."""
        before, rss, wire = self.counted(), self.lab.rss_kib(), Wire()
        try:
            reasons, words = attack(self, wire)
            moved = {reason: int(n - before.get(reason, 0)) for reason, n in self.counted().items() if n > before.get(reason, 0)}
            expect(all(r in moved for r in reasons), f"{name}: {reasons} are to name it; counted: {moved}; {words}")
            grown = self.lab.rss_kib() - rss
            expect(grown < 131072, f"{name}: memory grew by {grown} KiB")
        finally:
            wire.close()
        failed = self.load.failures()
        expect(not failed, f"beside {name} well-behaved calls failed: {failed[:5]}")
        self.report.ok(f"{name}: {words}; counted {moved}, memory grew by {grown} KiB, no well-behaved call failed")


def ack_storm(scene, wire):
    """Each segment is answered many times over: the same ACK again, ACKs of what was never sent, ACKs of long ago."""
    conns, sent = wire.open(50), [0]

    def each(c, seq, flags, length):
        if length == 0:
            return
        for n in range(20):
            c.send(ack=(c.una, c.high + 100000, c.una - 1000 - n, c.high + 1)[n % 4])
            sent[0] += 1
        if scene.dice.randrange(4) == 0:
            c.una = c.high
            c.send()
    for c in conns:
        c.say(GREEDY + request(200000))
    wire.pump(20 if scene.long else 2, each)
    return ["tcp_bad_ack"], f"{sent[0]} ACKs in answer to {wire.heard} segments"


def sack_games(scene, wire):
    """Blocks that overlap, shrink, lie below what is acknowledged or beyond what was sent, and D-SACK for everything."""
    conns, sent = wire.open(30), [0]

    def each(c, seq, flags, length):
        if length == 0:
            return
        for n in range(6):
            a, flight = c.una + scene.dice.randrange(20000), c.high - c.una & MASK
            kinds = ([(a, a + 1)], [(c.una - 5000, c.una - 1), (a, a + 1460)], [(c.high + 1000, c.high + 90000)], [(a, a + 3000), (a + 1000, a + 2000), (a, a + 10)],
                     [(a + 10, a)], [(c.una + k * 3, c.una + k * 3 + 1) for k in range(4)], [(c.una - flight, c.una)])
            c.send(options=sack(*kinds[scene.dice.randrange(len(kinds))]))
            sent[0] += 1
        if scene.dice.randrange(6) == 0:
            c.una = c.una + min(c.high - c.una & MASK, scene.dice.randrange(1, 3000)) & MASK
    for c in conns:
        c.say(GREEDY + request(200000))
    wire.pump(20 if scene.long else 2, each)
    alive = sum(not c.reset for c in conns)
    return ["tcp_sack_nonsense"], f"{sent[0]} ACKs with blocks of nonsense on {len(conns)} connections, {alive} of which live"


def small_mss(scene, wire):
    """MSS of 1 to 88, windows of a few octets, an octet a segment."""
    conns, sizes = [], (1, 8, 24, 48, 64, 88)
    for size in sizes:
        conns += wire.open(5, mss=size)
    most = [0]

    def each(c, seq, flags, length):
        most[0] = max(most[0], length)
        if length:
            c.una = c.high
            c.send(window=scene.dice.randrange(0, 90))
    for c in conns:
        for at, octet in enumerate(GREEDY + request(50000)):
            c.send(ACK | PSH, bytes([octet]), window=88)
            c.seq = c.seq + 1 & MASK
            if at % 40 == 0:
                wire.pump(0, each)
    wire.pump(20 if scene.long else 2, each)
    return ["tcp_mss_raised", "tcp_window_probes"], f"{len(conns)} connections with an MSS of {sizes}, octet by octet; {wire.heard} segments came, the longest of {most[0]} octets"


def islands(scene, wire):
    """Octets with holes between them: each connection fills its reassembly."""
    conns, sent = wire.open(100 if scene.long else 30), 0
    for c in conns:
        c.say(PREFACE + frame(SETTINGS))
    for n in range(600):
        for c in conns:
            c.send(ACK, b"x", seq=c.seq + 2 + 2 * n)
            sent += 1
        if n % 10 == 0:
            wire.pump(0.005)
    kept = scene.lab.objects_in_use()["packet_send"]
    return ["tcp_reassembly_full"], f"{sent} islands of an octet on {len(conns)} connections, {kept:.0f} buffers in use"


def half_open(scene, wire):
    """SYNs whose SYN-ACK nobody answers: above the backlog, cookies."""
    count = 100000 if scene.long else 8000
    for n in range(count):
        wire.connect()
        if n % 200 == 0:
            wire.pump(0.002)
    wire.pump(0.5)
    half = scene.lab.objects_in_use()["tcp_conn"]
    for c in wire.conns.values():
        c.open = False
    return ["syn_cookies"], f"{count} SYNs: {half:.0f} half-open connections are kept"


def time_wait(scene, wire):
    """Each says nonsense, is told GOAWAY, and closes after the gateway has: TIME_WAIT is the gateway's."""
    count, done = 100000 if scene.long else 2000, 0
    while done < count:
        conns = wire.open(100)
        for c in conns:
            c.say(b"GET / HTTP/1.0\r\n\r\n")

        def each(c, seq, flags, length):
            if flags & FIN and not c.reset:
                c.una = c.high
                c.send(ACK | FIN)
                c.seq = c.seq + 1 & MASK
        end = time.monotonic() + 5
        while not all(c.fin or c.reset for c in conns) and time.monotonic() < end:
            wire.pump(0.02, each)
        done += len(conns)
        seen = (sum(c.fin for c in conns), sum(c.reset for c in conns), conns[0].segments)
        for c in conns:
            c.open = False
            del wire.conns[c.source, c.port]
    held = scene.lab.objects_in_use().get("tcp_timewait", 0)
    expect(held > 0, f"{done} closes, no TIME_WAIT: {seen}")
    return ["h2_protocol_error"], f"{done} connections closed by the gateway: {held:.0f} in TIME_WAIT"


def zero_window(scene, wire):
    """Much is asked for and the window is shut: what is kept of it is bounded, whoever asks next is served."""
    count = 250
    conns, size = wire.open(count), scene.lab.metric("penstock_objects", kind="packet_send")
    for c in conns:
        c.say(GREEDY + request(1 << 20), window=0)

    def each(c, seq, flags, length):
        c.send(window=0)  # probes are answered
    most, end = 0, time.monotonic() + (20 if scene.long else 5)
    while time.monotonic() < end:
        wire.pump(0.2, each)
        most = max(most, scene.lab.objects_in_use()["packet_send"])
    expect(most > count * 20, f"{most} buffers for {count} hoarders: no attack")
    expect(most < size * 0.85, f"{most} of {size} buffers are in use")
    return ["tcp_send_scarce", "tcp_window_probes"], f"{count} hoarders of 1 MiB each: at most {most:.0f} of {size:.0f} buffers in use, {sum(c.reset for c in conns)} were reset"


def blind(scene, wire):
    """RFC 5961: RSTs, SYNs and data on the well-behaved client's own connections, from who knows addresses and ports and no number: each
    window's worth of numbers is tried, so that some hit the window."""
    listed = json.loads(scene.lab.http("/api/v1/connections")[1])
    targets = [c["remote"] for c in listed["connections"] if c["side"] == "client"]
    assert targets, f"no connection of a client among {len(listed['connections'])}"
    step, sent = 30000 if scene.long else 400000, 0
    for remote in targets:
        address, port = remote.rsplit(":", 1)
        source, port = socket.inet_aton(address), int(port)
        for n, seq in enumerate(range(scene.dice.randrange(step), 1 << 32, step)):
            wire.segment(source, port, seq, scene.dice.getrandbits(32), (RST, SYN, RST | ACK, ACK | PSH)[n % 4], 65535, payload=b"x" * 20 if n % 4 == 3 else b"")
            sent += 1
            if n % 200 == 0:
                wire.pump(0.005)
    wire.pump(0.5)
    still = [c["remote"] for c in json.loads(scene.lab.http("/api/v1/connections")[1])["connections"] if c["side"] == "client"]
    expect(set(targets) <= set(still), f"of {targets} there are {still}")
    return ["tcp_bad_rst", "tcp_out_of_window", "tcp_paws", "tcp_challenge_acks"], f"{sent} RSTs, SYNs and segments of data blindly on {len(targets)} connections of the client, which live"


ATTACKS = [
    ("blind injection", blind),
    ("ACK storm", ack_storm),
    ("SACK games", sack_games),
    ("small MSS", small_mss),
    ("out-of-order islands", islands),
    ("half-open", half_open),
    ("TIME_WAIT", time_wait),
    ("zero window", zero_window),
]


def attacks(report, work, build, asan):
    lab = Lab(work, build)
    lab.config += 'limits: { memory = "768MiB"; connections = 20000; streams = 40000; };\n'  # hoarders reach the mark
    lab.start(backends=2)
    load = Load(lab, "--rate", 100, "--in-flight", 50, "--response-size", 2000).flowing()
    scene = Scene(report, lab, load)
    for name, attack in ATTACKS:
        scene.play(name, attack)
    summary = load.stop_unharmed("the well-behaved client: ")
    left = wait_for(90, "every connection is over", lambda: lab.objects_in_use().get("rpc", 0) == 0 and lab.objects_in_use())
    report.ok(f"none of {summary['ok']} well-behaved calls beside all of these failed; {left['tcp_conn']:.0f} connections, {left['packet_send']:.0f} buffers in use afterwards")


CHECKS = [{"name": "attacks", "run": attacks, "limit": 180, "long_limit": 900}]
