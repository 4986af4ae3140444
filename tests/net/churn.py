"""What happens around the gateway while a soak's calls flow: to its endpoints, its configuration, its connections.

Not a test itself.  A Director does one thing after another, so that a call that fails can be laid to what was done then; the
only thing of his that may fail a call is kill -9 of a backend, and only those in flight on it.  Strangers come and go beside him.
"""
import os
import random
import re
import signal
import socket
import struct
import subprocess
import threading
import time

from lab import GATEWAY4, GATEWAY6, expect, wait_for
from reload import KINDS, Live, Settings, invalid

BACKENDS = 4


class SoakLab(Live):
    """Two listeners and four backends; the configuration is made of parts that reloads change."""

    def __init__(self, work, build, gateway_build, workers):
        super().__init__(work, build, gateway_build)
        self.workers = workers
        self.settings = self.first_settings()
        self.config = self.settings.text()

    def first_settings(self):
        settings = Settings()
        settings.values["workers"] = self.workers
        settings.listeners["grpc6"] = [GATEWAY6, 128, ["echo"]]
        return settings

    def back_to_first(self):
        self.settings = self.first_settings()
        self.reload()
        wait_for(30, "the first configuration is in force", lambda: not self.status()["reloading"])


def in_use(lab):
    """Names of the clusters that calls go to."""
    return {to[-1] for _, _, to in lab.settings.listeners.values()}


def ready(lab, cluster):
    return {e["address"] for e in (lab.cluster(cluster) or {"endpoints": []})["endpoints"] if e["state"] == "READY"}


class Director:
    def __init__(self, lab, seed):
        self.lab, self.choice, self.done, self.kills, self.step = lab, random.Random(seed), {}, [], 0
        self.kinds, self.refused, self.extra, self.log = [], 0, 0, open(f"{lab.work}/acts.log", "w", buffering=1)
        self.acts = [(self.reload, 8), (self.refuse, 4), (self.kill, 4), (self.reweight, 4), (self.leave_and_return, 3), (self.come_and_go, 2),
                     (self.stop_for_a_while, 2), (self.restart_etcd, 1), (self.by_hand, 2), (self.look, 2)]

    def act(self):
        act = self.choice.choices([a for a, _ in self.acts], [n for _, n in self.acts])[0]
        self.step += 1
        began = time.time()
        name = act()
        if name:
            self.done[name] = self.done.get(name, 0) + 1
            self.log.write(f"{began:.3f} {time.time():.3f} {name}\n")

    def pause(self, least, most):
        time.sleep(self.choice.uniform(least, most))

    # ---- configuration

    def reload(self):
        if not self.kinds:
            self.kinds = list(KINDS)
            self.choice.shuffle(self.kinds)
        kind = self.kinds.pop()
        kind(self.lab.settings, self.step)
        if self.choice.random() < 0.25:
            self.lab.reload_by_signal(kind.__name__)
        else:
            self.lab.reload()
        if self.lab.settings.values["idle"] == "poll":  # it works, and is no way to spend an hour of somebody's machine
            self.lab.settings.values["idle"] = "adaptive"
            self.lab.reload()
        self.pause(0.1, 1)
        return f"reload {kind.__name__}"

    def refuse(self):
        invalid(self.lab, self.refused)
        self.refused += 1
        return "reload refused"

    # ---- endpoints

    def expendable(self):
        """Backends whose end leaves every cluster in use two others that are READY: one may still be unknown to one of the workers."""
        sets = [ready(self.lab, name) for name in in_use(self.lab)]
        return [b for b in self.lab.backends.values() if any(b.address in s for s in sets) and all(len(s - {b.address}) >= 2 for s in sets)]

    def etcd_rules(self):
        return "etcd:" in self.lab.settings.clusters["echo"]

    def wait_all_ready(self):
        def all_ready():
            self.lab.gateway_gone()
            return all(e["state"] in ("READY", "DRAINING") for name in self.lab.settings.clusters for e in (self.lab.cluster(name) or {"endpoints": []})["endpoints"])
        wait_for(30, "every endpoint is READY again", all_ready)

    def kill(self):
        victims = self.expendable()
        if not victims:
            return None
        victim = self.choice.choice(victims)
        said, at = os.path.getsize(self.lab.log), time.time()
        victim.kill()
        gone = self.choice.random() < 0.5
        self.pause(0.2, 2.5)
        if gone:
            self.lab.etcd.delete(victim.name)
            self.pause(0, 1)
        victim.start()
        victim.register(lease=self.lab.etcd.lease(100000) if self.choice.random() < 0.5 else None)
        self.wait_all_ready()
        self.kills.append({"at": at, "address": victim.address, "in_flight": self.streams_lost_since(said, victim.address)})
        return "kill -9 of a backend"

    def streams_lost_since(self, offset, address):
        with open(self.lab.log, errors="replace") as file:
            file.seek(offset)
            found = [re.search(r"lost, (\d+) streams", line) for line in file if address in line]
        return sum(int(match[1]) for match in found if match)

    def reweight(self):
        backend = self.choice.choice([b for n, b in self.lab.backends.items() if n != "extra"])
        if self.choice.random() < 0.2:
            backend.register(0)
            self.pause(0.2, 1)
        backend.register(self.choice.randint(1, 9))
        self.pause(0, 0.3)
        return "re-weighted"

    def leave_and_return(self):
        backend = self.choice.choice([b for n, b in self.lab.backends.items() if n != "extra"])
        self.lab.etcd.delete(backend.name)
        if self.etcd_rules():
            wait_for(40, f"{backend.address} has left", lambda: backend.address not in {e["address"] for e in self.lab.cluster("echo")["endpoints"]})
        self.pause(0, 1)
        backend.register(self.choice.choice([None, 1, 3]))
        self.wait_all_ready()
        return "left and returned"

    def come_and_go(self):
        """A new one takes part, registered by penstock-register, and ends in good order: first its key, then, without streams, itself."""
        self.extra += 1
        backend = self.lab.add("extra", f"198.18.0.1:{50100 + self.extra % 800}")
        command = [f"{self.lab.build}/tools/penstock-register", "--etcd", "http://127.0.0.1:2379", "--service", "services/echo", "--addr", backend.address,
                   "--weight", "2", "--ttl", "5s"]
        register = self.lab.spawn(command, f"{self.lab.work}/register.log")
        self.pause(1, 3)
        register.send_signal(signal.SIGTERM if self.choice.random() < 0.7 else signal.SIGKILL)
        register.wait(10)

        def left():
            echo = self.lab.cluster("echo")["endpoints"]
            return backend.address not in {e["address"] for e in echo} and not connected_to(backend.address)
        wait_for(60, f"{backend.address} has left and has no connection", left)
        backend.process.terminate()
        backend.process.wait(10)
        del self.lab.backends["extra"]
        return "came and went"

    def stop_for_a_while(self):
        backend = self.choice.choice(list(self.lab.backends.values()))
        backend.process.send_signal(signal.SIGSTOP)
        self.pause(0.3, 2)
        backend.process.send_signal(signal.SIGCONT)
        self.wait_all_ready()
        return "stopped for a while"

    def restart_etcd(self):
        self.lab.etcd.stop(self.choice.choice([signal.SIGTERM, signal.SIGKILL]))
        self.pause(0.5, 4)
        self.lab.etcd.start()
        wait_for(60, "membership is fresh again", lambda: (self.lab.metric("penstock_membership_stale_seconds") or 0) < 3)
        return "etcd restarted"

    # ---- by hand

    def by_hand(self):
        sets = ready(self.lab, "echo")
        if len(sets) < 3:
            return None
        address = self.choice.choice(sorted(sets))
        words, undo = self.choice.choice([(("drain", "echo", address), ("undrain", "echo", address)),
                                          (("weight", "echo", address, "3"), ("weight", "echo", address, "auto"))])
        for order in (words, undo):
            run = self.lab.ctl(*order)
            expect(run.returncode == 0, f"penstockctl {' '.join(order)}: {run.returncode}: {run.stderr}")
            self.pause(0.1, 1)
        self.wait_all_ready()
        return words[0] + " by hand"

    def look(self):
        path = f"{self.lab.work}/look.pcapng"
        run = self.lab.ctl("capture", path, "--seconds", "0.5", "--filter", "tcp port 50051")
        expect(run.returncode == 0, f"penstockctl capture: {run.returncode}: {run.stderr}")
        os.unlink(path)
        for words in (["connections"], ["endpoints"], ["status"]):
            run = self.lab.ctl(*words)
            expect(run.returncode == 0, f"penstockctl {words}: {run.returncode}: {run.stderr}")
        return "captured and listed"


def connected_to(address):
    host, port = address.rsplit(":", 1)
    return subprocess.run(["ss", "-Htn", "state", "established", "src", host, "sport", "=", port], capture_output=True, text=True).stdout


# ---------------------------------------------------------------- strangers

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")

CANCEL = 8


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def text(words):
    return bytes([len(words)]) + words


HEADERS = (b"\x83\x86" + b"\x04" + text(b"/echo.Echo/Unary") + b"\x01" + text(b"soak") + b"\x0f\x10" + text(b"application/grpc") +
           b"\x00" + text(b"te") + text(b"trailers"))


def number_field(field, value):
    out = bytes([field << 3])
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def call(stream, response_size=100, delay_ms=0):
    message = number_field(2, response_size) + (number_field(7, delay_ms) if delay_ms else b"")
    return frame(1, 4, stream, HEADERS) + frame(0, 1, stream, b"\0" + struct.pack(">I", len(message)) + message)


def frames(data):
    at = 0
    while at + 9 <= len(data):
        length = struct.unpack(">I", b"\0" + data[at:at + 3])[0]
        if at + 9 + length > len(data):
            return
        yield data[at + 3], data[at + 4], struct.unpack(">I", data[at + 5:at + 9])[0], data[at + 9:at + 9 + length]
        at += 9 + length


def endings(data):
    """{stream: how it ended}: "answered" is DATA and an end, "empty" an end without DATA, or the code of a RST_STREAM."""
    body, out = set(), {}
    for kind, flags, stream, payload in frames(data):
        if kind == 0 and payload:
            body.add(stream)
        if kind in (0, 1) and flags & 1:
            out[stream] = "answered" if stream in body else "empty"
        elif kind == 3:
            out[stream] = struct.unpack(">I", payload)[0]
    return out


def read_until(s, streams):
    """How these streams ended; with none: what had ended when the gateway closed the connection."""
    data = b""
    while True:
        found = endings(data)
        if streams and streams <= set(found):
            return found
        part = s.recv(65536)
        if not part:
            return found
        data += part


class Strangers(threading.Thread):
    """Connections that come and go in every way there is, a few a second."""

    def __init__(self, lab, seed, every=0.25):
        super().__init__(daemon=True)
        self.lab, self.choice, self.every, self.over = lab, random.Random(seed), every, threading.Event()
        self.done, self.wrong, self.idle = {}, [], []
        self.acts = [self.touch, self.half_close, self.reset, self.garbage, self.abandon, self.unread, self.cancel, self.piecemeal, self.sit, self.stock, self.stock_killed]

    def run(self):
        while not self.over.wait(self.every):
            act = self.choice.choice(self.acts)
            began = time.time()
            try:
                act()
            except Exception as error:
                self.wrong.append({"act": act.__name__, "began": began, "ended": time.time(), "words": f"{type(error).__name__}: {error}"})
            self.done[act.__name__] = self.done.get(act.__name__, 0) + 1
            self.close_old(time.monotonic())
        self.close_old(float("inf"))

    def stop(self):
        self.over.set()
        self.join(60)
        expect(not self.is_alive(), "a stranger's connection hangs")

    def close_old(self, now):
        for s, until in self.idle:
            if until < now:
                s.close()
        self.idle = [(s, until) for s, until in self.idle if until >= now]

    def connect(self, receive=0):
        family, address = self.choice.choice([(socket.AF_INET, ("198.18.0.2", 50051)), (socket.AF_INET6, ("2001:db8::2", 50051))])
        s = socket.socket(family, socket.SOCK_STREAM)
        if receive:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        s.settimeout(20)
        s.connect(address)
        return s

    @staticmethod
    def abort(s):
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()

    def touch(self):
        with self.connect() as s:
            if self.choice.random() < 0.5:
                s.sendall(PREFACE)

    def reset(self):
        s = self.connect()
        s.sendall(PREFACE + call(1, delay_ms=50)[:self.choice.randrange(60)])
        self.abort(s)

    def half_close(self):
        """As stock servers do: who closes has gone, and what he asked for is cancelled if it is not done."""
        with self.connect() as s:
            s.sendall(PREFACE + call(1) + call(3, 20000) + call(5, delay_ms=30))
            s.shutdown(socket.SHUT_WR)
            found = read_until(s, None)
        expect(set(found) == {1, 3, 5} and set(found.values()) <= {"answered", CANCEL}, f"after a half close three calls ended as {found}")

    def garbage(self):
        with self.connect() as s:
            s.sendall(self.choice.choice([b"GET / HTTP/1.1\r\n\r\n", self.choice.randbytes(100), PREFACE + frame(1, 4, 2, b"\xff\xff"), PREFACE + frame(7, 0, 1, b"x")]))
            try:
                read_until(s, None)  # times out, and says so, if it is not closed
            except ConnectionResetError:
                pass

    def abandon(self):
        s = self.connect()
        s.sendall(PREFACE + b"".join(call(1 + 2 * n, 3000, 200) for n in range(30)))
        time.sleep(0.05)
        self.abort(s)

    def unread(self):
        s = self.connect(receive=4096)
        s.sendall(PREFACE + frame(4, 0, 0, struct.pack(">HI", 4, 1 << 24)) + frame(8, 0, 0, struct.pack(">I", 1 << 26)) + b"".join(call(1 + 2 * n, 300000) for n in range(5)))
        time.sleep(self.choice.uniform(0.2, 1))
        self.abort(s) if self.choice.random() < 0.5 else s.close()

    def cancel(self):
        with self.connect() as s:
            s.sendall(PREFACE + b"".join(call(1 + 2 * n, delay_ms=40) + frame(3, 0, 1 + 2 * n, struct.pack(">I", CANCEL)) for n in range(20)) + call(41))
            found = read_until(s, {41})
        expect(found.get(41) == "answered", f"after twenty that were cancelled a call ends as {found}")

    def piecemeal(self):
        with self.connect() as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            data = PREFACE + call(1)
            while data:
                n = self.choice.randint(1, 9)
                s.sendall(data[:n])
                data = data[n:]
            found = read_until(s, {1})
        expect(found == {1: "answered"}, f"a call sent in pieces ends as {found}")

    def sit(self):
        s = self.connect()
        s.sendall(PREFACE)
        self.idle.append((s, time.monotonic() + self.choice.uniform(2, 40)))

    def stock(self):
        status, lines = self.lab.client("load", "--channels", 2, "--count", 20, "--in-flight", 5, target=self.choice.choice([GATEWAY4, GATEWAY6]))
        expect(status == 0, f"a client of twenty calls: {lines[-1]}, {[line for line in lines if 'failure' in line][:2]}")

    def stock_killed(self):
        process = subprocess.Popen([f"{self.lab.build}/tests/peers/echo-client", "load", "--target", self.choice.choice([GATEWAY4, GATEWAY6]), "--rate", "50", "--delay-ms", "40",
                                    "--channels", "3"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(self.choice.uniform(0.1, 1))
        process.kill()
        process.wait(5)
