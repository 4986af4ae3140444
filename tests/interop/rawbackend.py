"""An HTTP/2 backend that sends the frames that a script says, and writes down what comes.

A call names its script in cell-act and itself in cell-id; steps of a script:
    H headers   M a message   T trailers, OK   O trailers-only, NOT_FOUND   R<code> RST_STREAM   Z GOAWAY that leaves this stream out
    G GOAWAY that includes it   X the connection is reset   h, m  wait until the client has said that it has headers, its messages   w wait a little
A script begins once the first message has come, and the request's end where that comes with it.  A second attempt of a call runs what follows "/"."""
import socket
import struct
import threading
import time

import hpack

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, _PUSH, PING, GOAWAY, WINDOW_UPDATE = range(9)
CODES = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM",
         "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"]
WORDS = "the backend says so"
PATIENCE = 5


class Seen:
    """What the backend saw of one call, and what its client has said meanwhile."""

    def __init__(self):
        self.attempts, self.ended, self.reset, self.timeout = 0, False, None, None
        self.arrived, self.acted, self.headers, self.messages, self.over = (threading.Event() for _ in range(5))


class Stream:
    def __init__(self, number, seen, kind, script):
        self.number, self.seen, self.kind, self.script = number, seen, kind, script
        self.begun = False


class Connection(threading.Thread):
    def __init__(self, backend, sock):
        super().__init__(daemon=True)
        self.backend, self.sock, self.lock, self.streams = backend, sock, threading.Lock(), {}
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()

    def send(self, kind, flags, stream, payload=b""):
        with self.lock:
            self.sock.sendall(struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload)

    def headers(self, stream, fields, end):
        with self.lock:  # the table's order is the wire's
            block = self.encoder.encode(fields)
            self.sock.sendall(struct.pack(">I", len(block))[1:] + bytes((HEADERS, 4 | end)) + struct.pack(">I", stream) + block)

    def read(self, n):
        data = b""
        while len(data) < n:
            more = self.sock.recv(n - len(data))
            if not more:
                raise ConnectionError
            data += more
        return data

    def run(self):
        try:
            self.read(24)
            self.send(SETTINGS, 0, 0)
            while True:
                head = self.read(9)
                length, kind, flags, number = int.from_bytes(head[:3], "big"), head[3], head[4], int.from_bytes(head[5:], "big") & 0x7fffffff
                self.frame(kind, flags, number, self.read(length))
        except OSError:
            pass
        for stream in self.streams.values():
            stream.seen.over.set()
        self.sock.close()

    def frame(self, kind, flags, number, payload):
        if kind == SETTINGS and not flags & 1:
            self.send(SETTINGS, 1, 0)
        elif kind == PING and not flags & 1:
            self.send(PING, 1, 0, payload)
        elif kind == HEADERS:
            payload = payload[5:] if flags & 0x20 else payload
            fields = dict(self.decoder.decode(payload))
            seen = self.backend.seen(fields["cell-id"])
            seen.attempts += 1
            seen.timeout = fields.get("grpc-timeout")
            first, _, again = fields["cell-act"].partition("/")
            self.streams[number] = Stream(number, seen, fields[":path"].rsplit("/", 1)[1], again if seen.attempts > 1 and again else first)
        elif kind == RST_STREAM and number in self.streams:
            seen = self.streams[number].seen
            seen.reset = CODES[int.from_bytes(payload, "big")]
            seen.over.set()
        if kind in (HEADERS, DATA) and number in self.streams:
            stream = self.streams[number]
            if flags & 1:
                stream.seen.ended = True
            if not stream.begun and kind == DATA and (flags & 1 or stream.kind in ("client", "bidi")):
                stream.begun = True
                stream.seen.arrived.set()
                threading.Thread(target=self.play, args=(stream,), daemon=True).start()

    def play(self, stream):
        try:
            for step in stream.script.split(","):
                self.step(stream, step)
        except OSError:
            pass
        stream.seen.acted.set()

    def step(self, stream, step):
        number, seen = stream.number, stream.seen
        if step == "H":
            self.headers(number, [(":status", "200"), ("content-type", "application/grpc"), ("cell-header", "1")], False)
        elif step == "M":
            self.send(DATA, 0, number, b"\0\0\0\0\6answer")
        elif step == "T":
            self.headers(number, [("grpc-status", "0"), ("cell-trailer", "1")], True)
        elif step == "O":
            self.headers(number, [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "5"), ("grpc-message", WORDS), ("cell-trailer", "1")], True)
        elif step[0] == "R":
            self.send(RST_STREAM, 0, number, struct.pack(">I", int(step[1:])))
        elif step == "Z":
            self.send(GOAWAY, 0, 0, struct.pack(">II", number - 2 if number > 2 else 0, 0))
        elif step == "G":
            self.send(GOAWAY, 0, 0, struct.pack(">II", number, 0))
        elif step == "X":
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.sock.shutdown(socket.SHUT_RD)
            self.sock.close()
        elif step == "h":
            seen.headers.wait(PATIENCE)
        elif step == "m":
            seen.messages.wait(PATIENCE)
        elif step == "w":
            time.sleep(0.04)


class Backend:
    """A listening socket; calls of all of them are found by their names."""
    calls, lock = {}, threading.Lock()

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.listener = socket.create_server((host, int(port)), backlog=64)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            sock, _ = self.listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            Connection(self, sock).start()

    @classmethod
    def seen(cls, name):
        with cls.lock:
            return cls.calls.setdefault(name, Seen())
