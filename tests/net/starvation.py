"""What runs out, and what then: each bound of the gateway is reached on purpose, over its network and by real clients.

Refusals are counted by a reason of their own, nothing else fails, and when it is over everything works and is back in its place.
"""
import resource
import socket
import struct
import threading
import time

from churn import PREFACE, call, endings, frame
from devices import AF_PACKET, one_queue
from lab import GATEWAY4, GATEWAY6, Load, expect, tail, wait_for
from soak import drops, settle
from workers import hold, worker_thread, workers_lab


def limited(work, build, limits, workers=1, **more):
    lab = workers_lab(work, build, workers, **more)
    lab.config += f"limits: {{ {limits} }};\n"
    return lab


class Counted:
    """What was dropped, by reason, since this was made."""

    def __init__(self, lab):
        self.lab, self.before = lab, drops(lab.metrics())

    def since(self):
        now = drops(self.lab.metrics())
        return {reason: n - self.before.get(reason, 0) for reason, n in now.items() if n > self.before.get(reason, 0)}

    def of(self, *reasons):
        return sum(self.since().get(reason, 0) for reason in reasons)


def right_again(lab, idle, words):
    """Without a restart: calls as if nothing had been, and every object back."""
    status, lines = lab.client("load", "--count", 2000, "--in-flight", 20, "--channels", 2)
    expect(status == 0, f"after {words}: {lines[-1]}, {[line for line in lines if 'failure' in line][:3]}")
    settle(lab, idle)
    expect(lab.gateway.poll() is None, f"penstock ended:\n{tail(lab.log)}")


def settled_idle(lab):
    for target in (GATEWAY4, GATEWAY6):
        lab.client("load", "--count", 300, "--in-flight", 20, "--channels", 2, target=target)
    return settle(lab, None)


def limits(report, work, build, asan):
    """The bounds of the configuration, one after another in one gateway."""
    lab = limited(work, build, "streams = 16; connections = 16;", path="/")
    lab.config = lab.config.replace('name = "grpc6";', 'name = "grpc6"; max_concurrent_streams = 10;')
    lab.start(backends=2)
    idle = settled_idle(lab)
    for run_out in (streams, stream_turns, connections):
        run_out(report, lab)
    right_again(lab, idle, "streams and connections ran out")
    report.ok("after streams and connections ran out: every call right, every object back, no restart")
    lab.end_well()


def streams(report, lab):
    """More calls at a time than limits.streams: those beyond are refused as never begun (safe to retry), the others end well."""
    count = Counted(lab)
    status, lines = lab.client("load", "--count", 600, "--in-flight", 600, "--channels", 6, "--delay-ms", 1500)
    summary = lines[-1]
    failures = [line for line in lines if "failure" in line]
    expect(status == 1 and summary["ok"] >= 30 and summary["failed"] >= 100, f"600 at a time: {summary}")
    expect({f["failure"] for f in failures} <= {"UNAVAILABLE"}, f"failures: {[f for f in failures if f['failure'] != 'UNAVAILABLE'][:3]}")
    lacking = count.of("stream_full", "rpc_full", "h2_streams_full")
    refused = lacking + count.of("h2_refused_stream")  # the latter: above the limit that had been lowered by then
    expect(lacking > 0 and refused >= summary["failed"], f"{summary['failed']} calls failed, {count.since()} were counted")
    lowered = lab.event("h2_max_streams_lowered")
    expect(lowered > 0, "nobody was told of a lower MAX_CONCURRENT_STREAMS")
    report.ok(f"limits.streams: of 600 calls at a time {summary['ok']} ended well, {summary['failed']} were refused and counted ({count.since()}), {lowered:.0f} connections told of a lower MAX_CONCURRENT_STREAMS")


def stream_turns(report, lab):
    """max_concurrent_streams: a stock client's calls wait their turn, those of one that does not care are refused."""
    status, lines = lab.client("load", "--count", 100, "--in-flight", 40, "--delay-ms", 50, target=GATEWAY6)
    expect(status == 0, f"a stock client with 40 calls at a time: {lines[-1]}")
    count = Counted(lab)
    with socket.create_connection(("2001:db8::2", 50051), timeout=20) as s:
        s.sendall(PREFACE + b"".join(call(1 + 2 * n, delay_ms=500) for n in range(30)))
        data = b""
        while len(endings(data)) < 30:
            part = s.recv(65536)
            expect(part, f"closed after {endings(data)}")
            data += part
    found = list(endings(data).values())
    expect(found.count("answered") == 10 and found.count(7) == 20, f"thirty streams at a time where ten are allowed: {found}")
    expect(count.of("h2_refused_stream") == 20, f"counted: {count.since()}")
    report.ok("max_concurrent_streams = 10: a stock client's calls wait; of thirty at once from one that does not care, twenty are refused and counted")


def connections(report, lab):
    """More connections than limits.connections: those there go on."""
    loads = [Load(lab, "--rate", 40, "--channels", 15).flowing() for _ in range(5)]
    count, sockets = Counted(lab), knock(60)
    reasons = ("tcp_connections_full", "session_full", "tcp_syn_backlog")
    wait_for(20, "connections are refused and counted", lambda: count.of(*reasons) >= 50)
    held = lab.objects_in_use()["tcp_conn"]
    expect(held <= 80, f"{held} connections")
    time.sleep(1)
    for s in sockets:
        s.close()
    for load in loads:
        summary = load.stop_unharmed("who was there before: ", 60)
        expect(summary["ok"] > 20, f"who was there before: {summary}")
    since = {reason: n for reason, n in count.since().items() if reason in reasons}
    report.ok(f"limits.connections: with {held:.0f} connections others are refused and counted ({since}), who was there loses no call")


def knock(number):
    """So many connections, begun and not waited for."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (number + 1000, max(number + 1000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    sockets = []
    for _ in range(number):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(("198.18.0.2", 50051))
        sockets.append(s)
    return sockets


class Unread:
    """A connection that asks for much and reads nothing."""

    def __init__(self, calls, size):
        self.s = socket.socket()
        self.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.s.settimeout(3)
        self.s.connect(("198.18.0.2", 50051))
        self.s.sendall(PREFACE + frame(4, 0, 0, struct.pack(">HI", 4, (1 << 31) - 1)) + frame(8, 0, 0, struct.pack(">I", 1 << 30)) +
                       b"".join(call(1 + 2 * n, size) for n in range(calls)))

    def close(self):
        self.s.close()


def buffers(report, work, build, asan, workers=1):
    """Slow readers of large answers hold what buffers they may: beyond the high-water mark new streams are refused and who hoards is ended, both counted;
    memory does not grow, and all comes back.  The mark is low here: at its default TCP stops opening windows before it is reached."""
    lab = limited(work, build, 'memory = "224MiB"; connections = 300; streams = 2000; high_water = 40;', workers).start(backends=2)
    idle = settled_idle(lab)
    load = Load(lab, "--rate", 50).flowing()
    count, rss = Counted(lab), lab.rss_kib()
    reasons = ("h2_overload_refused", "h2_overload_hoarder", "buffer_full", "tcp_no_buffer", "ip_no_buffer", "port_no_buffer")
    readers = []
    for _ in range(200):
        try:
            readers.append(Unread(8, 1 << 20))
        except TimeoutError:
            break  # not a buffer is left for the answer to a SYN
        if count.of(*reasons) > 50:
            break
    time.sleep(3)
    since, grown = count.since(), lab.rss_kib() - rss
    held = {kind: n for kind, n in lab.objects_in_use().items() if kind.startswith("packet_")}
    for reader in readers:
        reader.close()
    expect(sum(n for reason, n in since.items() if reason in reasons) > 0, f"{len(readers)} slow readers starve nothing: {since}, {held}")
    expect(grown < 65536, f"memory grew by {grown} KiB")
    summary = load.stop()
    expect({f["failure"] for f in load.failures()} <= {"UNAVAILABLE", "RESOURCE_EXHAUSTED"}, f"small calls failed as {load.failures()[:5]}")
    right_again(lab, idle, "buffers ran out")
    report.ok(f"buffers: {len(readers)} readers that do not read hold {held}; counted {since}; {summary['failed']} of {summary['ok'] + summary['failed']} small calls failed "
              f"meanwhile; then all is well")
    lab.end_well()


def ring(report, work, build, asan):
    """One queue, two workers, and the one without the queue stands still: its ring fills, the other goes on."""
    one_queue(work)
    lab = limited(work, build, 'memory = "512MiB"; connections = 1000; streams = 4000;', 2, device=AF_PACKET).start(backends=2)
    idle = settled_idle(lab)
    loads = [Load(lab, "--channels", 10, "--in-flight", 20, "--size", 2000).flowing() for _ in range(2)]
    count = Counted(lab)
    thread = threading.Thread(target=hold, args=(worker_thread(lab, 1), 5.0))
    thread.start()
    time.sleep(0.3)
    crowd = knock(3000)  # established ones stop by themselves when nobody answers: a ring's length of packets comes of new ones
    wait_for(15, f"the ring between the workers is full: {count.since()}", lambda: count.of("handover_full") > 0)
    held = {kind: n for kind, n in lab.objects_in_use().items() if kind.startswith("packet_")}
    for s in crowd:
        s.close()
    thread.join()
    full = count.of("handover_full")
    for load in loads:
        load.stop_unharmed()
    right_again(lab, idle, "the ring was full")
    report.ok(f"a worker held for four seconds behind the other's queue: {full:.0f} packets found the ring full, {held}, no call failed; then all is well")
    lab.end_well()


CHECKS = [
    {"name": "starved-limits", "run": limits, "limit": 200},
    {"name": "starved-buffers", "run": buffers, "limit": 200},
    {"name": "starved-ring", "run": ring, "limit": 200},
]
