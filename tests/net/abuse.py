"""What does an attacker gain?  HTTP/2's known attacks, one after another, each beside a well-behaved client: none of its calls fails, memory stays in
its bound, the attacker is told why (GOAWAY with words), and a counter names it."""
import json
import os
import select
import socket
import struct
import subprocess
import time

from lab import Lab, Load, expect, wait_for

ADDRESS = ("198.18.0.2", 50051)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
CALM = 11


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def text(value):
    assert len(value) < 127
    return bytes([len(value)]) + value


def block(path=b"/echo.Echo/Unary", extra=b""):
    """Header fields of a gRPC request, none of them put into the table."""
    return (b"\x83\x86\x04" + text(path) + b"\x01" + text(b"attacker") + b"\x0f\x10" + text(b"application/grpc") + b"\x00" + text(b"te") + text(b"trailers") + extra)


def varint(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def message(response_size=0, delay_ms=0):
    body = (b"\x10" + varint(response_size) if response_size else b"") + (b"\x38" + varint(delay_ms) if delay_ms else b"")
    return b"\x00" + struct.pack(">I", len(body)) + body


class Peer:
    """A connection that says whatever it likes."""

    def __init__(self, settings=b"", receive_buffer=0):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(5)
        self.socket.connect(ADDRESS)
        self.input, self.goaway, self.closed, self.resets, self.limit, self.statuses = b"", None, False, {}, None, 0
        self.stream = -1
        self.send(PREFACE + frame(SETTINGS, payload=settings))

    def send(self, octets):
        """False: the gateway has hung up."""
        try:
            self.socket.sendall(octets)
            return True
        except OSError:
            self.closed = True
            return False

    def next(self):
        self.stream += 2
        return self.stream

    def request(self, body=None, extra=b"", path=b"/echo.Echo/Unary"):
        stream = self.next()
        body = message() if body is None else body
        return frame(HEADERS, END_HEADERS, stream, block(path, extra)) + frame(DATA, END_STREAM, stream, body)

    def get(self, path=b"/files/big"):
        """A page of 1 MiB: nghttpd's, which is not short of threads where many are not read."""
        return frame(HEADERS, END_HEADERS | END_STREAM, self.next(), b"\x82\x86\x04" + text(path) + b"\x01" + text(b"attacker"))

    def parse(self):
        while len(self.input) >= 9:
            n = int.from_bytes(self.input[:3], "big")
            if len(self.input) < 9 + n:
                return
            kind, flags, stream = self.input[3], self.input[4], int.from_bytes(self.input[5:9], "big")
            payload, self.input = self.input[9:9 + n], self.input[9 + n:]
            if kind == GOAWAY:
                self.goaway = (int.from_bytes(payload[4:8], "big"), payload[8:].decode(errors="replace"))
            elif kind == RST:
                self.resets[stream] = int.from_bytes(payload, "big")
            elif kind == HEADERS:
                self.statuses += 1
            elif kind == SETTINGS and not flags & ACK:
                for at in range(0, n, 6):
                    if payload[at:at + 2] == b"\x00\x03":
                        self.limit = int.from_bytes(payload[at + 2:at + 6], "big")

    def read(self, seconds):
        """Until it is told off, or hung up on, or the time is over."""
        end = time.monotonic() + seconds
        while self.goaway is None and time.monotonic() < end:
            ready, _, _ = select.select([self.socket], [], [], max(0, end - time.monotonic()))
            if not ready:
                break
            try:
                octets = self.socket.recv(65536)
            except OSError:
                octets = b""
            if not octets:
                self.closed = True
                break
            self.input += octets
            self.parse()
        return self

    def flood(self, octets, times, seconds=8):
        """Says it again and again; gives up where it is told off."""
        end = time.monotonic() + seconds
        for _ in range(times):
            if not self.send(octets() if callable(octets) else octets) or time.monotonic() > end:
                break
            self.read(0)
            if self.goaway:
                break
        return self.read(2)

    def close(self):
        self.socket.close()


class Scene:
    """The gateway, its well-behaved client, and what the attacks have shown."""

    def __init__(self, report, lab, load):
        self.report, self.lab, self.load, self.rss = report, lab, load, lab.rss_kib()

    def drops(self, reason):
        return self.lab.metric("penstock_drops_total", reason=reason) or 0

    def told_off(self, name, attack, reason, words):
        """The attacker gets ENHANCE_YOUR_CALM with these words, and this counter moves."""
        before = self.drops(reason)
        peer = attack()
        expect(peer.goaway is not None, f"{name}: no GOAWAY; closed: {peer.closed}; resets: {len(peer.resets)}")
        expect(peer.goaway[0] == CALM and words in peer.goaway[1], f"{name}: told {peer.goaway}")
        wait_for(2, f"{name}: {reason} is counted", lambda: self.drops(reason) > before)
        peer.close()
        return f"{name}: \"{peer.goaway[1]}\""

    def bounded(self, name, most_kib):
        grown = self.lab.rss_kib() - self.rss
        expect(grown < most_kib, f"{name}: memory grew by {grown} KiB")
        return grown


# -- frames that cost the attacker nothing ----------------------------------------------------------

def ping_flood():  # CVE-2019-9512
    return Peer().flood(frame(PING, payload=b"12345678") * 50, 400)


def settings_flood():  # CVE-2019-9515
    return Peer().flood(frame(SETTINGS, payload=b"\x00\x04\x00\x01\x00\x00") * 20, 400)


def priority_flood():  # CVE-2019-9513
    return Peer().flood(frame(PRIORITY, stream=1, payload=b"\x00\x00\x00\x00\x10") * 100, 400)


def empty_data():  # CVE-2019-9518
    peer = Peer()
    peer.send(frame(HEADERS, END_HEADERS, peer.next(), block(b"/echo.Echo/ClientStream")))
    return peer.flood(frame(DATA, 0, 1) * 50, 400)


def reset_flood():  # CVE-2019-9514: streams that we must reset
    peer = Peer()
    return peer.flood(lambda: b"".join(frame(HEADERS, END_HEADERS | END_STREAM, peer.next(), block(extra=b"\x00" + text(b"UPPER") + text(b"x"))) for _ in range(50)), 400)


def empty_headers():  # CVE-2019-9516: fields without name and value
    peer = Peer()
    return peer.flood(lambda: b"".join(frame(HEADERS, END_HEADERS | END_STREAM, peer.next(), block(extra=b"\x00\x00\x00" * 100)) for _ in range(10)), 800)


def rapid_reset():  # CVE-2023-44487
    peer = Peer()

    def some():
        return b"".join(frame(HEADERS, END_HEADERS, peer.next(), block()) + frame(RST, 0, peer.stream, struct.pack(">I", 8)) for _ in range(50))
    return peer.flood(some, 400)


def made_you_reset():  # CVE-2025-8671: the request is whole, then an error of ours makes the gateway reset it
    peer = Peer()

    def some():
        return b"".join(frame(HEADERS, END_HEADERS, peer.next(), block()) + frame(WINDOW, 0, peer.stream, struct.pack(">I", 0)) for _ in range(50))
    return peer.flood(some, 400)


def continuation_flood():  # CVE-2024-27316
    peer = Peer()
    peer.send(frame(HEADERS, 0, peer.next(), block()))
    return peer.flood(frame(CONTINUATION, 0, 1, b"\x00" + text(b"x") + text(b"y")) * 10, 400)


FLOODS = [
    ("PING flood", ping_flood, "h2_too_many_pings", "too_many_pings"),
    ("SETTINGS flood", settings_flood, "h2_flood_settings", "SETTINGS"),
    ("PRIORITY flood", priority_flood, "h2_flood_priority", "PRIORITY"),
    ("empty DATA", empty_data, "h2_flood_empty_data", "empty DATA"),
    ("reset flood", reset_flood, "h2_flood_resets", "resets"),
    ("empty fields", empty_headers, "h2_flood_resets", "resets"),
    ("rapid reset", rapid_reset, "h2_flood_resets", "resets"),
    ("MadeYouReset", made_you_reset, "h2_flood_resets", "resets"),
    ("CONTINUATION flood", continuation_flood, "h2_flood_continuation", "too many frames"),
]


def floods(scene):
    said = [scene.told_off(*flood) for flood in FLOODS]
    grown = scene.bounded("floods", 32768)
    scene.report.ok(f"floods, each told off and counted; memory grew by {grown} KiB: {'; '.join(said)}")


def header_bombs(scene):
    """One large field in the table, and a thousand references to it; and a list of 200 fields: each is answered, the connection lives."""
    peer = Peer()
    before = scene.drops("h2_header_list_too_large")
    large = b"\x40" + text(b"bomb") + b"\x7f\xa1\x1e" + b"A" * 4000  # literal, indexed; 127 + 3873
    peer.send(frame(HEADERS, END_HEADERS | END_STREAM, peer.next(), block(extra=large)))
    for _ in range(20):
        peer.send(frame(HEADERS, END_HEADERS | END_STREAM, peer.next(), block(extra=b"\xbe" * 3000)))
    fields = b"".join(b"\x00" + text(b"f%d" % i) + text(b"x") for i in range(200))
    peer.send(frame(HEADERS, END_HEADERS | END_STREAM, peer.next(), block(extra=fields)))
    wait_for(5, "header bombs are answered", lambda: peer.read(0.2).statuses + len(peer.resets) >= 22 or peer.goaway)
    expect(peer.goaway is None, f"header bombs: the connection was ended: {peer.goaway}")
    expect(scene.drops("h2_header_list_too_large") - before == 21, f"header bombs: counted {scene.drops('h2_header_list_too_large') - before}")
    peer.close()
    scene.report.ok("HPACK bombs and long lists: 21 requests answered RESOURCE_EXHAUSTED, their connection lives on")


def large_headers(scene):
    """The listener takes 64 KiB of fields, and so much goes through: curl's request to nghttpd."""
    fields = [word for n in range(10) for word in ("--header", f"x-large-{n}: {chr(97 + n) * 5000}")]
    run = subprocess.run(["curl", "--silent", "--http2-prior-knowledge", "--max-time", "20", "--output", "/dev/null", "--write-out", "%{http_code} %{size_download}", *fields,
                          "http://198.18.0.2:50051/files/big"], capture_output=True, text=True)
    expect(run.stdout == f"200 {1 << 20}", f"50,000 octets of fields: {run.returncode}, {run.stdout}; {run.stderr}")
    scene.report.ok("50,000 octets of fields reach a backend by a listener that takes 64 KiB")


# -- memory and patience ------------------------------------------------------------------------------

def hoarders(scene):
    """2,000 streams at zero window on answers of 1 MiB: what is kept of each is at most one stream window."""
    count, each = 16, 125
    base, backed_up = scene.lab.objects_in_use(), scene.lab.event("h2_streams_backed_up")
    peers = [Peer(settings=b"\x00\x04\x00\x00\x00\x00") for _ in range(count)]
    for peer in peers:
        peer.send(frame(WINDOW, 0, 0, struct.pack(">I", 0x7fff0000)))
        for _ in range(each):
            peer.send(peer.get())
    wait_for(10, "all streams are open", lambda: scene.lab.objects_in_use().get("rpc", 0) >= count * each)
    kept, since, end = -1, 0.0, time.monotonic() + 10
    while time.monotonic() < end and (kept <= 0 or time.monotonic() - since < 2):  # until it has stopped growing
        time.sleep(0.2)
        now = scene.lab.objects_in_use()
        if now["packet_send"] - base["packet_send"] > kept + 50:
            kept, since = now["packet_send"] - base["packet_send"], time.monotonic()
    streams = now["rpc"]
    expect(kept > streams, f"hoarders: only {kept} buffers are kept for {streams} streams: no attack")
    expect(streams >= count * each, f"hoarders: {streams} streams")
    # 65,535 octets lie in 33 buffers of 2 KiB; beside them, those of 16 connections' own send queues and of the well-behaved load.
    expect(kept <= count * each * 33 + 500, f"hoarders: {kept} buffers are kept for {streams} streams")
    named = scene.lab.event("h2_streams_backed_up") - backed_up
    expect(named >= count * each, f"hoarders: h2_streams_backed_up counts {named} of {count * each} streams")
    grown = scene.bounded("hoarders", count * each * 66 + 16384)
    for peer in peers:
        peer.close()
    wait_for(10, "their streams are over", lambda: scene.lab.objects_in_use().get("rpc", 0) < 200)
    scene.report.ok(f"{count * each} streams at zero window on answers of 1 MiB: at most {kept * 2 / streams:.1f} KiB kept of each, all of them counted backed up, "
                    f"memory grew by {grown} KiB; all given back")


def slow(scene):
    """Readers that read nothing (CVE-2019-9517) or an octet at a time (CVE-2019-9511): they keep a window for each stream, which is counted, and are not ended while memory
    is there; handshakes and header blocks that never end are, with words."""
    many = 1000 if scene.report.long else 300
    before = {reason: scene.drops(reason) for reason in ("h2_handshake_timeout", "h2_header_timeout", "h2_header_block_evicted")}
    readers, backed_up = [], scene.lab.event("h2_streams_backed_up")
    for number in range(20):
        peer = Peer(settings=b"\x00\x04\x7f\xff\xff\xff" if number % 2 else b"\x00\x04\x00\x00\x00\x01", receive_buffer=4096)
        peer.send(frame(WINDOW, 0, 0, struct.pack(">I", 0x7fff0000)))
        for _ in range(10):
            peer.send(peer.get())
        readers.append(peer)
    silent = []
    for number in range(many):
        peer = Peer.__new__(Peer)
        peer.socket = socket.create_connection(ADDRESS, 5)
        peer.input, peer.goaway, peer.closed, peer.resets, peer.statuses, peer.limit = b"", None, False, {}, 0, None
        peer.rest = PREFACE if number % 2 else PREFACE + frame(SETTINGS) + frame(HEADERS, 0, 1, block())
        if number % 2 == 0:
            peer.send(peer.rest[:40])
            peer.rest = peer.rest[40:]
        silent.append(peer)
    for second in range(5):
        for peer in silent:
            if not peer.closed and peer.rest:
                peer.send(peer.rest[:1])
                peer.rest = peer.rest[1:]
        for peer in readers[::2]:
            for stream in range(1, 20, 2):
                peer.send(frame(WINDOW, 0, stream, struct.pack(">I", 1)))
        time.sleep(1)
    grown = scene.bounded("slow peers", 98304)
    wait_for(6, "handshakes that do not end are ended", lambda: scene.drops("h2_handshake_timeout") - before["h2_handshake_timeout"] >= many // 2)
    wait_for(6, "header blocks that do not end are ended", lambda: sum(scene.drops(r) - before[r] for r in ("h2_header_timeout", "h2_header_block_evicted")) >= many // 2)
    named = scene.lab.event("h2_streams_backed_up") - backed_up
    expect(named >= 100, f"slow readers: h2_streams_backed_up counts {named} of their 200 streams")  # of the others the send buffer holds some whole
    expect(not any(peer.read(0.02).goaway for peer in readers[::2]), "slow readers: ended, though memory is there")
    told = [peer.read(0.01).goaway for peer in silent[::2]]
    expect(any(told) and all(t is None or t[0] == CALM for t in told), f"slow headers: told {told[:5]}")
    for peer in readers + silent:
        peer.close()
    scene.report.ok(f"{many} connections that say an octet a second, 20 that hardly read: the former ended within their limits and told, the latter's streams counted ({named:.0f}), memory grew by {grown} KiB")


def abuse(report, work, build, asan):
    lab = Lab(work, build, listener='handshake_timeout = "3s"; header_timeout = "3s"; max_header_list_size = "64KiB"; max_concurrent_streams = 200;')
    lab.config = lab.config.replace('routes = (', 'routes = ( { path = "/files/"; cluster = "files"; },').replace(
        "clusters = (", 'clusters = ( { name = "files"; target = "static:///198.18.0.1:50070"; },')
    lab.endpoints = lambda: [e for c in json.loads(lab.http("/api/v1/clusters")[1])["clusters"] if c["name"] == "echo" for e in c["endpoints"]]
    lab.start(backends=2)
    os.makedirs(f"{work}/htdocs/files")
    with open(f"{work}/htdocs/files/big", "wb") as file:
        file.write(b"x" * (1 << 20))
    lab.spawn(["nghttpd", "--no-tls", "--address=198.18.0.1", "--max-concurrent-streams=5000", f"--htdocs={work}/htdocs", "50070"], f"{work}/nghttpd.log")
    wait_for(15, "nghttpd is READY", lambda: lab.metric("penstock_endpoints", cluster="files", state="READY"))
    load = Load(lab, "--rate", 200, "--in-flight", 50, "--response-size", 2000).flowing()
    scene = Scene(report, lab, load)
    for attack in (floods, header_bombs, large_headers, hoarders, slow):
        attack(scene)
        failed = load.failures()
        expect(not failed, f"beside {attack.__name__} well-behaved calls failed: {failed[:5]}")
    summary = load.stop_unharmed("the well-behaved client: ")
    idle = wait_for(10, "every stream is over", lambda: lab.objects_in_use().get("rpc", 0) == 0 and lab.objects_in_use())
    report.ok(f"none of {summary['ok']} well-behaved calls beside all of these failed, and none reconnected; rpc, streams: "
              f"{idle.get('rpc', 0):.0f}, {idle.get('http2_streams', 0):.0f} in use afterwards")


def black_hole(report, work, build, asan):
    """A backend that hangs, its kernel alive: calls without a deadline end within interval + timeout."""
    lab = Lab(work, build, cluster='keepalive: { time = "1s"; timeout = "1s"; };').start(backends=1)
    load = Load(lab, "--in-flight", 4, "--count", 4, "--rate", 100, "--delay-ms", 60000)
    wait_for(5, "calls run", lambda: lab.objects_in_use().get("rpc", 0) >= 4)
    lab.backends["b1"].process.send_signal(19)
    began = time.monotonic()
    summary = load.finish(10)
    took = time.monotonic() - began
    lab.backends["b1"].process.send_signal(18)
    expect(summary["failed"] == 4 and all(f["failure"] == "UNAVAILABLE" for f in load.failures()), f"{summary}; {load.failures()}")
    expect(lab.metric("penstock_drops_total", reason="h2_keepalive_timeout") >= 1, "not counted")
    lab.wait_ready(1)
    report.ok(f"a backend that hangs is found {took:.1f} s after (keepalive 1s + 1s): 4 calls without a deadline end UNAVAILABLE; it comes back")


CHECKS = [
    {"name": "abuse", "run": abuse, "limit": 120, "long_limit": 240},
    {"name": "abuse-black-hole", "run": black_hole},
]
