"""TCP by hand: connections whose segments a test writes one at a time, on the kernel's side of the tap pen0, from addresses that no kernel answers for.

The attacker answers ARP for 198.18.0.100 to .199 itself.  Nothing is sent by itself: no ACK, no retransmission, no RST."""
import select
import socket
import struct
import time

SYN, ACK, FIN, RST, PSH = 2, 16, 1, 4, 8
GATEWAY, PORT = socket.inet_aton("198.18.0.2"), 50051
FIRST, ADDRESSES = 100, 100
MASK = (1 << 32) - 1


def sum16(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total


class Conn:
    """What is known of one of them."""

    def __init__(self, wire, source, port, isn):
        self.wire, self.source, self.port, self.seq, self.isn = wire, source, port, isn, isn
        self.una, self.high = 0, 0  # of the gateway's numbers: the first not acknowledged, the end of the highest seen
        self.open = self.fin = self.reset = False
        self.segments = 0

    def send(self, flags=ACK, payload=b"", seq=None, ack=None, window=65535, options=b""):
        self.wire.segment(self.source, self.port, self.seq if seq is None else seq, self.una if ack is None else ack, flags, window, options, payload)

    def say(self, payload, window=65535):
        """Data in order."""
        for at in range(0, len(payload), 1400):
            self.send(ACK | PSH, payload[at:at + 1400], window=window)
            self.seq = self.seq + len(payload[at:at + 1400]) & MASK

    def hear(self, seq, flags, length):
        self.segments += 1
        if flags & RST:
            self.reset = True
        elif flags & SYN:
            if not self.open:
                self.open, self.una = True, seq + 1 & MASK
                self.high, self.seq = self.una, self.isn + 1 & MASK
        else:
            end = seq + length + (flags & FIN != 0) & MASK
            self.fin |= flags & FIN != 0
            if end - self.high & MASK < 1 << 31:
                self.high = end


class Wire:
    next = 0  # of all wires: a pair of ports that is in TIME_WAIT is not used again

    def __init__(self, link="pen0"):
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 26)
        self.socket.bind((link, 0))
        self.mac = b"\x02\xbd\0\0\0\x01"
        self.peer, self.conns, self.heard = None, {}, 0
        self.find()

    def find(self):
        end = time.monotonic() + 5
        while self.peer is None and time.monotonic() < end:
            self.arp(1, b"\xff" * 6, b"\0" * 6, GATEWAY, self.address(0))
            self.pump(0.2)
        assert self.peer is not None, "the gateway does not answer ARP"

    @staticmethod
    def address(number):
        return socket.inet_aton(f"198.18.0.{FIRST + number % ADDRESSES}")

    def arp(self, operation, to, to_mac, to_ip, own):
        self.put(to + self.mac + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + self.mac + own + to_mac + to_ip)

    def put(self, frame):
        while True:
            try:
                self.socket.send(frame.ljust(60, b"\0"))
                return
            except OSError:  # the tap's queue is full
                select.select([], [self.socket], [], 0.01)
                time.sleep(0.001)

    def segment(self, source, port, seq, ack, flags, window, options=b"", payload=b""):
        head = struct.pack("!HHIIBBHHH", port, PORT, seq & MASK, ack & MASK, (5 + len(options) // 4) << 4, flags, window, 0, 0) + options
        pseudo = source + GATEWAY + struct.pack("!BBH", 0, 6, len(head) + len(payload))
        check = ~sum16(pseudo + head + payload) & 0xffff
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(head) + len(payload), 0, 0x4000, 64, 6, 0, source, GATEWAY)
        ip = ip[:10] + struct.pack("!H", ~sum16(ip) & 0xffff) + ip[12:]
        self.put(self.peer + self.mac + b"\x08\x00" + ip + head[:16] + struct.pack("!H", check) + head[18:] + payload)

    def connect(self, mss=1460, sack=True, window=65535):
        """A SYN; what follows comes through pump()."""
        number, Wire.next = Wire.next, Wire.next + 1
        source, port = self.address(number), 2000 + number // ADDRESSES
        c = self.conns[source, port] = Conn(self, source, port, number * 7919 & MASK)
        options = struct.pack("!BBH", 2, 4, mss) if mss is not None else b""
        options += b"\x01\x01\x04\x02" if sack else b""
        c.send(SYN, ack=0, window=window, options=options)
        return c

    def open(self, count, seconds=10, **more):
        """So many connections, established: SYNs that were lost are not sent again."""
        conns = []
        while len(conns) < count:
            some = [self.connect(**more) for _ in range(min(50, count - len(conns)))]
            end = time.monotonic() + seconds
            while not all(c.open for c in some) and time.monotonic() < end:
                self.pump(0.05)
            assert all(c.open for c in some), f"{sum(c.open for c in some)} of {len(some)} connections are open"
            for c in some:
                c.send(ACK, window=more.get("window", 65535))
            conns += some
        return conns

    def pump(self, seconds, each=None):
        """Hears what comes for so long; each(conn, seq, flags, payload length) is called for it."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            if not select.select([self.socket], [], [], max(0, left))[0]:
                return
            frame, where = self.socket.recvfrom(65536)
            if where[2] != 4:  # not PACKET_OUTGOING: what we sent ourselves
                self.take(frame, each)
            if left <= 0:
                return

    def take(self, frame, each):
        if frame[12:14] == b"\x08\x06":
            if frame[20:22] == b"\0\x01" and frame[38:41] == GATEWAY[:3] and FIRST <= frame[41] < FIRST + ADDRESSES:
                self.arp(2, frame[6:12], frame[22:28], frame[28:32], frame[38:42])
            if frame[28:32] == GATEWAY:
                self.peer = frame[22:28]
            return
        if frame[12:14] != b"\x08\x00" or frame[23] != 6 or frame[26:30] != GATEWAY:
            return
        c = self.conns.get((frame[30:34], struct.unpack("!H", frame[36:38])[0]))
        if c is None:
            return
        self.heard += 1
        seq, flags = struct.unpack("!I", frame[38:42])[0], frame[47]
        length = struct.unpack("!H", frame[16:18])[0] - 20 - (frame[46] >> 4) * 4
        c.hear(seq, flags, length)
        if each is not None:
            each(c, seq, flags, length)

    def close(self):
        for c in self.conns.values():
            if c.open and not c.reset:
                c.send(RST, ack=0)
        self.socket.close()
