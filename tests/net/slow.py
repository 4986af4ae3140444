"""Ten thousand connections that each send one octet a second (the quick form: fewer), from four addresses, beside a well-behaved client.

A half never ends its preface, the other half sends a message that way; some more never end a header block.  The first and the last are ended by their
limits and told why; a slow message is nobody's fault: it arrives, and is answered.  Nothing of the well-behaved fails, memory grows by what a connection takes."""
import json
import os
import resource
import select
import socket
import struct
import subprocess
import time

from abuse import ADDRESS, CALM, DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, block, frame, text
from lab import Lab, Load, expect, tail, wait_for

SOURCES = ["198.18.0.1", "198.18.0.11", "198.18.0.12", "198.18.0.13"]
SETTINGS_TIMEOUT = 4
MESSAGE = 4096  # octets that a slow message says it has
UPLOAD = b"\x83\x86\x04" + text(b"/files/upload") + b"\x01" + text(b"slow")


class Slow:
    """A connection, and what it says an octet at a time; the last octet again and again if it has no end."""

    def __init__(self, number, first, rest):
        self.socket = socket.socket()
        self.socket.bind((SOURCES[number % len(SOURCES)], 0))
        self.socket.settimeout(10)
        self.socket.connect(ADDRESS)
        self.socket.sendall(first)
        self.socket.setblocking(False)
        self.rest, self.at, self.input, self.closed = rest, 0, b"", False

    def drip(self):
        if self.closed or self.at >= len(self.rest):
            return
        try:
            self.at += self.socket.send(self.rest[self.at:self.at + 1])
        except OSError:
            self.closed = True

    def hear(self):
        """What has arrived by now."""
        while not self.closed or not self.input:
            try:
                more = self.socket.recv(65536)
            except BlockingIOError:
                break
            except OSError:
                more = b""
            if not more:
                self.closed = True
                break
            self.input += more
        return self

    def frames(self):
        at = 0
        while at + 9 <= len(self.input):
            n = int.from_bytes(self.input[at:at + 3], "big")
            yield self.input[at + 3], self.input[at + 4], self.input[at + 9:at + 9 + n]
            at += 9 + n

    def told(self):
        """(code, words) of the GOAWAY."""
        for kind, _, payload in self.frames():
            if kind == 7:
                return int.from_bytes(payload[4:8], "big"), payload[8:].decode(errors="replace")
        return None

    def answered(self):
        return any(kind == HEADERS for kind, _, _ in self.frames())


def handshake(number):
    return Slow(number, PREFACE[:2], PREFACE[2:] + frame(SETTINGS, payload=struct.pack(">HI", 4, 65535) * 20))


def header_block(number):
    return Slow(number, PREFACE + frame(SETTINGS) + frame(HEADERS, 0, 1, block())[:30], frame(HEADERS, 0, 1, block())[30:] + b"\0" * 200)


def upload(number):
    return Slow(number, PREFACE + frame(SETTINGS) + frame(HEADERS, END_HEADERS, 1, UPLOAD) + struct.pack(">I", MESSAGE)[1:] + bytes([DATA, END_STREAM]) + struct.pack(">I", 1),
                b"x" * MESSAGE)


def start(work, build, many, seconds):
    lab = Lab(work, build, listener=f'handshake_timeout = "{seconds}s"; header_timeout = "{seconds}s"; max_concurrent_streams = 100;')
    lab.config = f"limits: {{ memory = \"2GiB\"; connections = {2 * many + 1000}; streams = {2 * many + 2000}; }};\n" + lab.config.replace(
        "routes = (", 'routes = ( { path = "/files/"; cluster = "files"; },').replace(
        "clusters = (", 'clusters = ( { name = "files"; target = "static:///198.18.0.1:50070"; },')
    lab.endpoints = lambda: [e for c in json.loads(lab.http("/api/v1/clusters")[1])["clusters"] if c["name"] == "echo" for e in c["endpoints"]]
    lab.start(backends=2)
    for source in SOURCES[1:]:
        subprocess.run(["ip", "addr", "add", f"{source}/24", "dev", "pen0"], check=True)
    os.makedirs(f"{work}/files", exist_ok=True)
    with open(f"{work}/files/upload", "w") as file:
        file.write("thanks")
    os.makedirs(f"{work}/root/files", exist_ok=True)
    os.rename(f"{work}/files/upload", f"{work}/root/files/upload")
    lab.spawn(["nghttpd", "--no-tls", "--address=198.18.0.1", f"--max-concurrent-streams={many}", "-d", f"{work}/root", "50070"], f"{work}/nghttpd.log")
    wait_for(20, f"the server of files is READY ({tail(work + '/nghttpd.log')})", lambda: any(
        e["state"] == "READY" for c in json.loads(lab.http("/api/v1/clusters")[1])["clusters"] if c["name"] == "files" for e in c["endpoints"]))
    return lab


def drops(lab, *reasons):
    return sum(lab.metric("penstock_drops_total", reason=r) or 0 for r in reasons)


def slow(report, work, build, asan):
    many, seconds = (10000, 30) if report.long else (600, 3)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    expect(hard > many * 1.1 + 200, f"{hard} open files are too few for {many} connections")
    lab = start(work, build, many, seconds)
    load = Load(lab, "--rate", 100).flowing()
    before = lab.rss_kib()
    handshakes, uploads = [handshake(n) for n in range(many // 2)], [upload(n) for n in range(many // 2)]
    halves = [header_block(n) for n in range(many // 20)]
    everybody, most = handshakes + uploads + halves, 0
    for second in range(seconds + 3):
        began = time.monotonic()
        for one in everybody:
            one.drip()
        most = max(most, lab.metric("penstock_connections", side="client") or 0)
        grown = max(lab.rss_kib() - before, grown if second else 0)
        time.sleep(max(0, began + 1 - time.monotonic()))
    expect(most >= many, f"only {most:.0f} of {many} connections were there at once")
    expect(grown < 16 * len(everybody) + 16384, f"memory grew by {grown} KiB")
    wait_for(10, "handshakes that do not end are ended", lambda: drops(lab, "h2_handshake_timeout") >= len(handshakes))
    wait_for(10, "header blocks that do not end are ended", lambda: drops(lab, "h2_header_timeout", "h2_header_block_evicted") >= len(halves))
    time.sleep(0.5)
    told = {one.hear().told() for one in handshakes}
    expect(told == {(SETTINGS_TIMEOUT, "no preface and SETTINGS in time")}, f"handshakes are told {told}")
    told = {one.hear().told() for one in halves}
    expect(told and all(t is not None and t[0] == CALM for t in told), f"header blocks are told {told}")
    for one in uploads:
        expect(not one.hear().closed, f"a slow message was ended: {one.told()}")
        one.socket.setblocking(True)
        one.socket.sendall(one.rest[one.at:])
        one.socket.setblocking(False)
    wait_for(20, "slow messages are answered", lambda: all(one.answered() or one.hear().answered() for one in uploads))
    for one in everybody:
        one.socket.close()
    summary = load.stop_unharmed("beside slow connections: ")
    wait_for(20, "their connections are gone", lambda: (lab.metric("penstock_connections", side="client") or 0) == 0)
    report.ok(f"{most:.0f} connections at once that say an octet a second: {len(handshakes)} handshakes and {len(halves)} header blocks ended and told, {len(uploads)} messages arrived "
              f"and were answered; memory grew by {grown} KiB ({grown / len(everybody):.1f} a connection); none of {summary['ok']} calls beside failed")
    lab.end_well()


CHECKS = [{"name": "slow-connections", "run": slow, "limit": 90, "long_limit": 240}]
