"""What an operator sees: captured frames, connections, access records, who called."""
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time

from lab import GATEWAY4, GATEWAY6, Lab, Load, Wrong, expect, wait_for


class Blocks:
    """A pcapng file, read by itself: (direction, device, ns, bytes on the wire, bytes kept) of each frame, and the counts at its end."""

    def __init__(self, path):
        self.frames, self.received, self.dropped, self.interfaces = [], None, None, []
        with open(path, "rb") as file:
            data = file.read()
        at = 0
        while at < len(data):
            kind, length = struct.unpack_from("<II", data, at)
            expect(length % 4 == 0 and length >= 12 and at + length <= len(data), f"a block of {length} bytes at {at} of {len(data)}")
            expect(struct.unpack_from("<I", data, at + length - 4)[0] == length, f"block at {at}: its two lengths differ")
            body = data[at + 8:at + length - 4]
            if kind == 1:
                self.interfaces.append(self.options(body[8:]))
            elif kind == 6:
                self.packet(body)
            elif kind == 5:
                options = self.options(body[12:])
                self.received, self.dropped = (struct.unpack("<Q", options[n])[0] for n in (4, 5))
            at += length

    @staticmethod
    def options(data):
        out, at = {}, 0
        while at + 4 <= len(data):
            code, length = struct.unpack_from("<HH", data, at)
            if code == 0:
                break
            out[code] = data[at + 4:at + 4 + length]
            at += 4 + (length + 3) // 4 * 4
        return out

    def packet(self, body):
        interface, high, low, kept, wire = struct.unpack_from("<IIIII", body)
        options = self.options(body[20 + (kept + 3) // 4 * 4:])
        flags = struct.unpack("<I", options[2])[0] if 2 in options else 0
        self.frames.append({"way": {1: "in", 2: "out"}.get(flags & 3), "interface": interface, "ns": high << 32 | low, "wire": wire,
                            "data": body[20:20 + kept]})


def ports_of(frame):
    data = frame["data"]
    if data[12:14] == b"\x08\x00" and data[23] == 6:
        return struct.unpack_from(">HH", data, 14 + (data[14] & 15) * 4)
    if data[12:14] == b"\x86\xdd" and data[20] == 6:
        return struct.unpack_from(">HH", data, 54)
    return None


def packets(lab):
    workers = json.loads(lab.http("/api/v1/workers")[1])["workers"]
    return {"in": sum(w["packets_in"] for w in workers), "out": sum(w["packets_out"] for w in workers)}


def status(lab):
    return json.loads(lab.http("/api/v1/capture/status")[1])


class Capture:
    def __init__(self, lab, path, *arguments):
        self.lab, self.path = lab, path
        wait_for(5, "the last capture is over", lambda: not status(lab)["running"])
        self.process = subprocess.Popen([f"{lab.build}/tools/penstockctl", "capture", path] + list(arguments), stderr=subprocess.PIPE, text=True)
        wait_for(5, "the capture begins", lambda: status(lab)["running"] and os.path.exists(path) or self.process.poll() is not None)
        if self.process.poll() is not None:
            raise Wrong(f"penstockctl capture ended at once: {self.process.stderr.read()}")
        time.sleep(0.1)  # every worker has had its turn

    def end(self, number=signal.SIGINT):
        if number:
            self.process.send_signal(number)
        words = self.process.communicate(timeout=15)[1]
        return self.process.returncode, words


def all_kinds(lab, target=GATEWAY4):
    for word in (", 1 B", "300 messages"):
        code, lines = lab.client("calls", "--direct", lab.backends["b1"].address, "--only", word, target=target)
        expect(code == 0 and lines[-1]["failed"] == 0, f"calls {word!r}: {lines[-3:]}")


def capture_two_workers(report, work, build, asan):
    """Frames of both workers, in one file; order of time holds within a worker alone."""
    lab = Lab(work, build)
    lab.config = lab.config.replace("workers = 1;", "workers = 2;")
    lab.start(backends=2)
    for _ in range(2):  # once more if frames were lost: who writes them may be off his core
        run = Capture(lab, f"{work}/two.pcapng")
        inner = packets(lab)
        loads = [Load(lab, "--channels", 8, "--rate", 300).flowing(), Load(lab, "--channels", 8, "--rate", 100, "--size", 5000, target=GATEWAY6).flowing()]
        loads[0].count(2)
        for load in loads:
            load.stop()
        inner = {way: n - inner[way] for way, n in packets(lab).items()}
        workers = json.loads(lab.http("/api/v1/workers")[1])["workers"]
        code, words = run.end()
        seen = Blocks(f"{work}/two.pcapng")
        if seen.dropped == 0:
            break
    count = {way: sum(f["way"] == way for f in seen.frames) for way in ("in", "out")}
    expect(code == 0 and seen.dropped == 0 and all(count[way] >= inner[way] > 200 for way in inner), f"{count} frames of {inner}: {words}")
    expect(len(workers) == 2 and all(w["packets_out"] > 50 for w in workers), f"not both workers sent: {workers}")
    listed = json.loads(lab.http("/api/v1/connections")[1])
    expect(listed["complete"] and {c["worker"] for c in listed["connections"]} == {0, 1}, f"connections of both workers: {listed}")
    tshark_finds_nothing(report, f"{work}/two.pcapng", len(seen.frames))
    report.ok(f"two workers: {len(seen.frames)} frames of both in one capture, none lost; connections of both listed")
    expect(lab.end_gateway() == 0, "exit status")


def capture(report, work, build, asan):
    lab = Lab(work, build).start(backends=2)
    path = f"{work}/all.pcapng"
    for _ in range(2):  # once more if frames were lost: who writes them may be off his core
        before = packets(lab)
        began = time.time()
        run = Capture(lab, path)
        inner = packets(lab)
        all_kinds(lab)
        all_kinds(lab, GATEWAY6)
        inner = {way: n - inner[way] for way, n in packets(lab).items()}
        code, words = run.end()
        ended = time.time()
        outer = {way: n - before[way] for way, n in packets(lab).items()}
        expect(code == 0, f"penstockctl capture: exit status {code}: {words}")
        seen = Blocks(path)
        if seen.dropped == 0:
            break
    count = {way: sum(f["way"] == way for f in seen.frames) for way in ("in", "out")}
    for way in ("in", "out"):
        expect(inner[way] <= count[way] <= outer[way], f"{count[way]} frames {way}, penstock counted between {inner[way]} and {outer[way]}")
    expect(inner["in"] > 300 and inner["out"] > 300, f"too few frames to mean something: {inner}")
    expect(seen.dropped == 0 and seen.received == len(seen.frames), f"the file says {seen.received} received, {seen.dropped} dropped; it has {len(seen.frames)}")
    expect(f"{len(seen.frames)} frames" in words, f"penstockctl said: {words}")
    expect(all(began - 0.5 <= f["ns"] / 1e9 <= ended + 0.5 for f in seen.frames), "times of frames lie outside the capture's")
    expect(all(b["ns"] >= a["ns"] for a, b in zip(seen.frames, seen.frames[1:])), "one worker's frames are not in order of time")
    expect(all(f["wire"] == len(f["data"]) for f in seen.frames), "frames are cut though no snaplen was asked for")
    report.ok(f"a capture of all four kinds of calls over IPv4 and IPv6: {count['in']} frames in and {count['out']} out, as penstock counted, in order of time, none lost")
    if tshark_finds_nothing(report, path, len(seen.frames)):
        grpc = subprocess.run(["tshark", "-r", path, "-d", "tcp.port==50051,http2", "-Y", "http2.headers.path", "-T", "fields", "-e", "http2.headers.path"],
                              capture_output=True, text=True, timeout=150)
        kinds = {kind: grpc.stdout.count(f"/echo.Echo/{kind}") for kind in ("Unary", "ClientStream", "ServerStream", "Bidi")}
        expect(all(kinds.values()), f"tshark reads calls of these kinds: {kinds}")
        report.ok("tshark reads calls of all kinds")


def tshark_finds_nothing(report, path, frames):
    if shutil.which("tshark") is None:
        report.skipped("tshark over the captured run", "apt-get install tshark, then tests/run net")
        return False
    allowed = "tcp.checksum.ffff && (ip.src == 198.18.0.1 || ipv6.src == 2001:db8::1)"  # Linux writes ffff where the sum is 0, one in 65,536
    bad = subprocess.run(["tshark", "-r", path, "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE",
                          "-d", "tcp.port==50051-50070,data",  # no guess at what it begins to see in the middle: it takes some for SMPP
                          "-Y", f"(tcp.checksum.status==Bad && !({allowed})) || ip.checksum.status==Bad || _ws.malformed"], capture_output=True, text=True, timeout=150)
    expect(bad.returncode == 0, f"tshark: {bad.stderr.strip()}")
    expect(bad.stdout.strip() == "", f"tshark finds: {bad.stdout.splitlines()[:5]}")
    report.ok(f"tshark: no bad checksum and nothing malformed in {frames} frames")
    return True


def capture_filter(report, work, build, asan):
    lab = Lab(work, build).start(backends=2)
    ctl = f"{build}/tools/penstockctl"
    run = Capture(lab, f"{work}/one.pcapng", "--filter", "tcp port 50061", "--snaplen", "80")
    all_kinds(lab)
    code, words = run.end()
    seen = Blocks(f"{work}/one.pcapng")
    expect(code == 0 and len(seen.frames) > 100, f"exit {code}, {len(seen.frames)} frames: {words}")
    expect(all(50061 in (ports_of(f) or ()) for f in seen.frames), "a frame passed that the filter is not for")
    expect(all(len(f["data"]) == min(80, f["wire"]) for f in seen.frames) and any(f["wire"] > 80 for f in seen.frames), "snaplen 80 is not kept to")
    expect(status(lab)["seen"] > len(seen.frames), "every frame matched: the filter proves nothing")
    report.ok(f"a filter of one backend's port: its {len(seen.frames)} frames of {status(lab)['seen']:.0f} and no other, cut at 80 bytes, lengths on the wire kept")
    kept = f"{work}/kept"
    with open(kept, "w") as file:
        file.write("mine")
    for wrong in ("tcp prot 80", "host example.com", "port http", "host 1.2.3.4 and", "tcp port 80; rm"):
        refused = subprocess.run([ctl, "capture", kept, "--filter", wrong], capture_output=True, text=True, timeout=10)
        expect(refused.returncode == 1 and "filter" in refused.stderr, f"{wrong!r}: exit {refused.returncode}: {refused.stderr}")
    with open(kept) as file:
        expect(file.read() == "mine", "a refused capture touched the file")
    report.ok("filters that can't be read, and names that would be looked up, are refused with a sentence; the file stays")


def capture_ends(report, work, build, asan):
    """By itself, with its client, and under load that nobody reads."""
    lab = Lab(work, build).start(backends=2)
    began = time.monotonic()
    code, words = Capture(lab, f"{work}/seconds.pcapng", "--seconds", "1.5").end(None)
    took = time.monotonic() - began
    expect(code == 0 and 1.4 <= took <= 6, f"--seconds 1.5: exit {code} after {took:.1f} s: {words}")
    Blocks(f"{work}/seconds.pcapng")
    run = Capture(lab, f"{work}/killed.pcapng", "--filter", "tcp port 1")  # no frame: nothing is sent that would fail
    second = subprocess.run([f"{build}/tools/penstockctl", "capture", f"{work}/second.pcapng"], capture_output=True, text=True, timeout=10)
    expect(second.returncode == 1 and "another capture" in second.stderr and not os.path.exists(f"{work}/second.pcapng"), f"a second capture: {second}")
    run.process.kill()
    run.process.wait(5)
    wait_for(5, "the capture ends with its client", lambda: not status(lab)["running"])
    load = Load(lab, "--in-flight", 40, "--response-size", 20000).flowing()
    with socket.create_connection(("127.0.0.1", 9901)) as s:  # asks, and does not read
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        body = b"{}"
        s.sendall(b"POST /api/v1/capture HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        lost = wait_for(20, "frames are lost while nobody reads", lambda: status(lab)["lost"])
        rss = lab.rss_kib()
        counted = load.count(2)
        expect(lab.rss_kib() - rss < 40000, f"memory grew from {rss} to {lab.rss_kib()} KiB while nobody read")
    wait_for(5, "the capture ends with its client", lambda: not status(lab)["running"])
    expect(lab.metric("penstock_drops_total", reason="capture_full") >= lost, "what is lost is not in penstock_drops_total{reason=\"capture_full\"}")
    expect(counted["total_ok"] > 100 if "total_ok" in counted else counted, f"calls did not go on: {counted}")
    summary = load.stop()
    expect(not load.failures(), f"calls failed: {load.failures()[:3]}; {summary}")
    code, words = Capture(lab, f"{work}/after.pcapng", "--seconds", "0.3").end(None)
    expect(code == 0 and status(lab)["lost"] == 0, f"a capture after that: {code}: {words}")
    run = Capture(lab, f"{work}/drained.pcapng")
    expect(lab.end_gateway() == 0, "the gateway does not end well while a capture runs")
    code, words = run.end(None)
    Blocks(f"{work}/drained.pcapng")
    report.ok(f"a capture ends after --seconds, with its client, with the gateway (file whole); one whose client does not read loses frames, counted, "
              f"and no call")


def kernel_side(lab):
    """{(kernel's end, penstock's end)} of established connections, as ss has them."""
    out = subprocess.run(["ss", "-tnH", "state", "established"], capture_output=True, text=True, check=True).stdout
    pairs = {tuple(re.sub(r"\[::ffff:([\d.]+)\]", r"\1", end) for end in line.split()[2:4]) for line in out.splitlines()}
    return {(a, b) for a, b in pairs if b.startswith(("198.18.0.2:", "[2001:db8::2]:"))}


def connections(report, work, build, asan):
    lab = Lab(work, build).start(backends=3)
    loads = [Load(lab, "--rate", 50, "--channels", 3, "--delay-ms", 300).flowing(), Load(lab, "--rate", 20, "--channels", 2, target=GATEWAY6).flowing()]
    hold = subprocess.Popen([f"{build}/tests/peers/echo-client", "hold", "--target", GATEWAY4, "--streams", "5", "--seconds", "20"], stdout=subprocess.PIPE)
    hold.stdout.readline()

    def same():
        answer = json.loads(lab.http("/api/v1/connections")[1])
        ours = {(c["remote"], c["local"]) for c in answer["connections"] if c["state"] == "ESTABLISHED"}
        return answer if answer["complete"] and ours == kernel_side(lab) else None
    answer = wait_for(5, f"connections equal what ss shows; {kernel_side(lab)} against {lab.http('/api/v1/connections')[1][:2000]}", same)
    listed = answer["connections"]
    backends = [c for c in listed if c["side"] == "backend"]
    clients = [c for c in listed if c["side"] == "client"]
    expect(sorted(c["endpoint"] for c in backends) == sorted(b.address for b in lab.backends.values()) and all(c["cluster"] == "echo" for c in backends),
           f"backends: {[(c.get('cluster'), c.get('endpoint')) for c in backends]}")
    expect({c["listener"] for c in clients} == {"grpc", "grpc6"}, f"listeners: {[c['listener'] for c in clients]}")
    expect(any(c["streams"] == 5 for c in clients), f"nobody has the five streams that are held: {[c['streams'] for c in clients]}")
    expect(all(c["mss"] in (1448, 1428) and c["rto_us"] >= 1000 and c["srtt_us"] > 0 and c["cwnd"] >= c["mss"] and c["bytes_in"] > 50 for c in listed),
           f"numbers: {listed}")
    told = subprocess.run([f"{build}/tools/penstockctl", "connections"], capture_output=True, text=True, timeout=10)
    expect(told.returncode == 0 and told.stdout.count("ESTABLISHED") >= len(listed) and "cluster echo" in told.stdout, f"penstockctl connections: {told}")
    report.ok(f"connections lists what ss shows: {len(clients)} of clients, {len(backends)} of backends, with owner, numbers and streams")
    sockets = []
    for _ in range(700):  # more than one lend takes
        s = socket.create_connection(("198.18.0.2", 50051), timeout=5)
        s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"))
        sockets.append(s)
    answer = wait_for(5, "all of 700 more are listed", same)
    report.ok(f"{len(answer['connections'])} connections, in several parts: all listed, none twice")
    expect(len(answer["connections"]) == len({(c["remote"], c["local"]) for c in answer["connections"]}), "one is listed twice")
    for s in sockets:
        s.close()
    hold.kill()
    for load in loads:
        load.stop()


def records(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


def access(report, work, build, asan):
    log = f"{work}/access.log"
    lab = Lab(work, build, path="/echo.Echo/")
    lab.config += f'log: {{ access = "{log}"; }};\n'
    lab.start(backends=2)
    code, lines = lab.client("load", "--count", 500, "--in-flight", 20)
    expect(code == 0 and lines[-1]["ok"] == 500, f"load: {lines[-1]}")
    subprocess.run(["curl", "-sS", "-o", "/dev/null", "--http2-prior-knowledge", "-X", "POST", "-H", "content-type: application/grpc", "-H", "te: trailers",
                    "-H", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", f"http://{GATEWAY4}/no.Such/Me\"thod"], check=True, timeout=10)
    wait_for(3, "501 records", lambda: len(records(log)) >= 501)
    time.sleep(0.2)
    have = records(log)
    ok = [r for r in have if r["grpc_status"] == "OK"]
    by_endpoint = {b.address: sum(r["endpoint"] == b.address for r in ok) for b in lab.backends.values()}
    expect(len(have) == 501 and len(ok) == 500, f"{len(have)} records, {len(ok)} OK, of 500 calls and one without a route")
    expect(set(by_endpoint.values()) == {250}, f"records by endpoint: {by_endpoint}")
    expect(all(r["method"] == "/echo.Echo/Unary" and r["listener"] == "grpc" and r["cluster"] == "echo" and r["client"].startswith("198.18.0.1:") and
               r["duration_us"] > 0 and r["bytes_up"] >= 5 and r["bytes_down"] >= 5 and r["stream"] % 2 == 1 and r["backend_stream"] % 2 == 1 and
               r["penstock_reason"] == "" for r in ok), f"fields: {ok[0]}")
    other = [r for r in have if r["grpc_status"] != "OK"][0]
    expect(other["grpc_status"] == "UNIMPLEMENTED" and other["penstock_reason"] == "no_route" and other["endpoint"] == "" and
           other["method"] == "/no.Such/Me\"thod" and other["traceparent"].startswith("00-0af765"), f"the call without a route: {other}")
    report.ok("access records: 500 of 500 calls, each endpoint's as many as it answered, and the gateway's own answer with its reason")
    os.rename(log, f"{log}.1")
    lab.gateway.send_signal(signal.SIGUSR1)
    wait_for(3, "the file is opened again", lambda: os.path.exists(log))
    lab.client("load", "--count", 40, "--in-flight", 4)
    wait_for(3, "40 records in the new file", lambda: len(records(log)) == 40)
    expect(len(records(f"{log}.1")) == 501, "the old file grew after rotation")
    report.ok("SIGUSR1 opens the file again: rotation loses no record")
    expect(lab.end_gateway() == 0, "exit status")


def access_slow(report, work, build, asan):
    """Text, sampled, into a pipe that nobody reads for a while: nothing waits for it."""
    pipe = f"{work}/pipe"
    os.mkfifo(pipe)
    lab = Lab(work, build)
    lab.config += f'log: {{ access = "{pipe}"; access_format = "text"; access_sample = 10; }};\n'
    lab.start(backends=1)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    files = f"/proc/{lab.gateway.pid}/fd"  # a pipe without a reader could not be opened: tried again every second
    wait_for(10, "the pipe is opened", lambda: os.path.realpath(pipe) in [os.path.realpath(f"{files}/{fd}") for fd in os.listdir(files)])
    lab.client("load", "--count", 1000, "--in-flight", 50)
    text = b""

    def come():
        nonlocal text
        try:
            text += os.read(reader, 1 << 20)
        except BlockingIOError:
            pass
        return text.count(b"\n")
    wait_for(5, "a hundred records", lambda: come() >= 100)
    time.sleep(0.3)
    come()
    lines = text.decode().splitlines()
    expect(len(lines) == 100, f"{len(lines)} records of 1000 calls, one in ten; the first: {lines[:1]}")
    expect(all(line.split()[3] == "/echo.Echo/Unary" and line.split()[6] == "OK" for line in lines), f"words: {lines[0]}")
    began = time.monotonic()
    code, out = lab.client("load", "--count", 6000, "--in-flight", 100)
    expect(code == 0 and out[-1]["ok"] == 6000, f"calls while the pipe is full: {out[-1]}")
    expect(lab.http("/healthz")[0] == 200, "admin waits for the pipe")  # for five seconds at most
    report.ok(f"access records as text, one in ten, into a pipe: as many as sampled; a full pipe holds up neither calls nor admin ({time.monotonic() - began:.1f} s)")
    os.close(reader)
    expect(lab.end_gateway() == 0, "exit status")


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def fields(data):
    """(number, value) of each field of a protobuf message."""
    def number():
        nonlocal at
        n = shift = 0
        while True:
            byte, at = data[at], at + 1
            n, shift = n | (byte & 127) << shift, shift + 7
            if byte < 128:
                return n
    at = 0
    while at < len(data):
        key = number()
        if key & 7 == 0:
            yield key >> 3, number()
            continue
        n = {1: 8, 5: 4}[key & 7] if key & 7 != 2 else number()
        yield key >> 3, data[at:at + n]
        at += n


def metadata_seen(work, target, *headers):
    """[(key, value)] that the backend saw, by its own words."""
    request = bytes([12 << 3]) + varint(1)  # report_metadata
    with open(f"{work}/request", "wb") as file:
        file.write(b"\0" + struct.pack(">I", len(request)) + request)
    command = ["curl", "-sS", "--http2-prior-knowledge", "-H", "content-type: application/grpc", "-H", "te: trailers", "--data-binary", f"@{work}/request"]
    for header in headers:
        command += ["-H", header]
    answer = subprocess.run(command + [f"http://{target}/echo.Echo/Unary"], capture_output=True, timeout=10, check=True).stdout
    out = []
    for number, value in fields(answer[5:]):
        if number == 3:
            pair = dict(fields(value))
            out.append((pair[1].decode(), pair.get(2, b"").decode()))
    return out


def forwarded(report, work, build, asan):
    lab = Lab(work, build)
    lab.config = lab.config.replace('name = "grpc6"; bind', 'name = "grpc6"; forwarded = "off"; bind')
    lab.start(backends=1)

    def seen(target, *headers):
        return [value for key, value in metadata_seen(work, target, *headers) if key == "x-forwarded-for"]
    cases = [((GATEWAY4,), ["198.18.0.1"]),
             ((GATEWAY4, "x-forwarded-for: 10.0.0.7"), ["10.0.0.7, 198.18.0.1"]),
             ((GATEWAY4, "x-forwarded-for: 10.0.0.7", "x-forwarded-for: 10.0.0.8"), ["10.0.0.7", "10.0.0.8, 198.18.0.1"]),
             ((GATEWAY4, "x-forwarded-for: " + "10.0.0.7, " * 120 + "10.0.0.8"), ["10.0.0.7, " * 120 + "10.0.0.8", "198.18.0.1"]),
             ((GATEWAY6,), []),
             ((GATEWAY6, "x-forwarded-for: 10.0.0.7"), ["10.0.0.7"])]
    for arguments, expected in cases:
        found = seen(*arguments)
        expect(sorted(found) == sorted(expected), f"{arguments}: the backend saw {found}, not {expected}")
    report.ok("x-forwarded-for: the client's address appended to what came, or left alone where the listener says off, as the backend saw it")


def telemetry(report, work, build, asan):
    """DPDK's own socket."""
    lab = Lab(work, build).start(backends=2)
    lab.client("load", "--count", 50, "--in-flight", 5)
    path = next(os.path.join(top, name) for top, _, names in os.walk(f"{work}/run") for name in names if name.startswith("dpdk_telemetry"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.settimeout(5)
        s.connect(path)
        s.recv(16384)
        answers = {}
        for command in ("/penstock/clusters", "/penstock/workers"):
            s.send(command.encode())
            answers.update(json.loads(s.recv(1 << 20)))
    echo = answers["/penstock/clusters"]["echo"]
    expect(echo["endpoints"] == 2 and echo["ready"] == 2 and echo["policy"] == "round_robin", f"/penstock/clusters: {echo}")
    worker = answers["/penstock/workers"]["worker_0"]
    expect(worker["packets_in"] > 50 and worker["turns"] > 50, f"/penstock/workers: {worker}")
    report.ok("DPDK's telemetry socket answers /penstock/clusters and /penstock/workers")
    expect(lab.end_gateway() == 0, "exit status")


CHECKS = [
    {"name": "eyes-telemetry", "run": telemetry, "limit": 60},
    {"name": "eyes-capture", "run": capture, "limit": 240},
    {"name": "eyes-two-workers", "run": capture_two_workers, "limit": 120},
    {"name": "eyes-capture-filter", "run": capture_filter, "limit": 120},
    {"name": "eyes-capture-ends", "run": capture_ends, "limit": 150},
    {"name": "eyes-connections", "run": connections, "limit": 120},
    {"name": "eyes-access", "run": access, "limit": 120},
    {"name": "eyes-access-slow", "run": access_slow, "limit": 120},
    {"name": "eyes-forwarded", "run": forwarded, "limit": 90},
]
