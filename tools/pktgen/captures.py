#!/usr/bin/env python3
"""Makes the captures that the floods are replayed from: frames of one kind, as libpcap's files.

usage: tools/pktgen/captures.py KIND --to MAC [options] > FILE.pcap
  KIND            one of those that --list names
  --to MAC        the gateway's port: `ip neigh` on a machine that has pinged it shows it
  --to-ip IP      its address (198.18.0.2), --to-ip6 IP (2001:db8::2), --port N a listener's port (50051)
  --count N       frames (4096); a sender repeats the file
  --seed N        of what is drawn (1): the same seed, the same file
  --list          kinds, and what each is

Senders' addresses are drawn from 198.19.0.0/16 and 2001:db8:bad::/48: nobody's, by RFC 2544 and RFC 3849.
"""
import argparse
import random
import socket
import struct
import sys

SYN, ACK, FIN, RST, PSH, URG = 2, 16, 1, 4, 8, 32
TCP, UDP, ICMP6, FRAGMENT6 = 6, 17, 58, 44


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


class Maker:
    """Frames to one gateway."""

    def __init__(self, mac, ip="198.18.0.2", ip6="2001:db8::2", port=50051, seed=1):
        self.mac = bytes.fromhex(mac.replace(":", ""))
        self.ip, self.ip6, self.port = socket.inet_aton(ip), socket.inet_pton(socket.AF_INET6, ip6), port
        self.draw = random.Random(seed)

    # ---- pieces ----

    def stranger_mac(self):
        return bytes([2, 0xbd]) + self.draw.randbytes(4)

    def stranger(self):
        return socket.inet_aton("198.19.0.0")[:2] + self.draw.randbytes(2)

    def stranger6(self):
        return socket.inet_pton(socket.AF_INET6, "2001:db8:bad::")[:6] + self.draw.randbytes(10)

    def frame(self, kind, payload, to=None, sender=None):
        data = (to or self.mac) + (sender or self.stranger_mac()) + struct.pack("!H", kind) + payload
        return data.ljust(60, b"\0")

    def ip4(self, protocol, payload, source, offset=0, more=False, identity=None, ttl=64):
        identity = self.draw.randrange(65536) if identity is None else identity
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), identity, (0x2000 if more else 0) | offset // 8, ttl, protocol, 0, source, self.ip)
        head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
        return self.frame(0x0800, head + payload)

    def ip6_packet(self, following, payload, source, to=None, hops=64):
        return struct.pack("!IHBB16s16s", 6 << 28, len(payload), following, hops, source, to or self.ip6) + payload

    def segment(self, flags, source, target, port=None, options=b"", payload=b"", good=True):
        """A TCP segment with its checksum, over either family."""
        sender = self.draw.randrange(1024, 65536)
        data = struct.pack("!HHIIBBHHH", sender, port or self.port, self.draw.randrange(1 << 32), self.draw.randrange(1 << 32) if flags & ACK else 0,
                           (5 + len(options) // 4) << 4, flags, self.draw.choice((512, 8192, 65535)), 0, 0) + options + payload
        if len(source) == 4:
            pseudo = source + target + struct.pack("!BBH", 0, TCP, len(data))
        else:
            pseudo = source + target + struct.pack("!II", len(data), TCP)
        right = checksum(pseudo + data)
        return data[:16] + struct.pack("!H", right if good else right ^ 0x5555) + data[18:]

    def tcp(self, flags, **more):
        """To the gateway, one in four over IPv6."""
        if self.draw.randrange(4):
            source = self.stranger()
            return self.ip4(TCP, self.segment(flags, source, self.ip, **more), source)
        source = self.stranger6()
        return self.frame(0x86dd, self.ip6_packet(TCP, self.segment(flags, source, self.ip6, **more), source))

    # ---- kinds ----

    def syn(self):
        """SYNs to a listener, each from another address and port, with the options that Linux sends."""
        options = struct.pack("!BBHBBBBIIBBB", 2, 4, 1460, 4, 2, 8, 10, self.draw.randrange(1 << 32), 0, 1, 3, 3) + b"\7"
        return self.tcp(SYN, options=options)

    def stray(self):
        """Segments of connections that do not exist: data, ACK, FIN, RST, SYN-ACK, all flags at once and none, to a listener or elsewhere."""
        flags = self.draw.choice((ACK, ACK | PSH, FIN | ACK, RST, RST | ACK, SYN | ACK, SYN | FIN, FIN | PSH | URG, 0, 63))
        return self.tcp(flags, port=self.draw.choice((self.port, self.port, self.draw.randrange(1, 65536))), payload=self.draw.randbytes(self.draw.choice((0, 0, 100, 1000))))

    def checksums(self):
        """Data segments whose TCP checksum is wrong."""
        return self.tcp(ACK | PSH, payload=self.draw.randbytes(64), good=False)

    def fragment(self):
        """Fragments that never become a packet: first ones, middle ones, last ones, overlapping, tiny, past 65,535 bytes; IPv4 and IPv6."""
        offset, more, size = self.draw.choice(((0, True, 1480), (1480, True, 1480), (2960, False, 200), (8, True, 64), (0, True, 8), (65528, False, 1000)))
        payload = self.draw.randbytes(size)
        if self.draw.randrange(4):
            return self.ip4(TCP, payload, self.stranger(), offset, more, self.draw.randrange(64))
        head = struct.pack("!BBHI", TCP, 0, offset | more, self.draw.randrange(64))
        return self.frame(0x86dd, self.ip6_packet(FRAGMENT6, head + payload[:1400 // 8 * 8], self.stranger6()))

    def arp(self):
        """ARP from everybody: requests for the gateway's address by broadcast, answers that nobody asked for, gratuitous ones, and broken ones."""
        sender, mac = socket.inet_aton("198.18.0.0")[:3] + bytes([self.draw.randrange(3, 255)]), self.stranger_mac()
        operation, target = self.draw.choice(((1, self.ip), (2, self.ip), (1, sender), (1, self.stranger()), (9, self.ip)))
        to = b"\xff" * 6 if operation == 1 else self.mac
        return self.frame(0x0806, struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + mac + sender + bytes(6) + target, to, mac)

    def nd(self):
        """Neighbour solicitations for the gateway's IPv6 address from everybody, and advertisements that nobody asked for."""
        mac, source = self.stranger_mac(), socket.inet_pton(socket.AF_INET6, "2001:db8::")[:8] + self.draw.randbytes(8)
        kind = self.draw.choice((135, 135, 136))
        body = struct.pack("!BBHI16s", kind, 0, 0, 0x20000000 if kind == 136 else 0, self.ip6 if kind == 135 else source) + bytes([1 if kind == 135 else 2, 1]) + mac
        sum_ = checksum(source + self.ip6 + struct.pack("!II", len(body), ICMP6) + body)
        packet = self.ip6_packet(ICMP6, body[:2] + struct.pack("!H", sum_) + body[4:], source, hops=255)
        return self.frame(0x86dd, packet, self.mac, mac)

    def foreign(self):
        """The smallest frames that are not for the gateway at all: other stations, other protocols, other addresses. For packet rates."""
        what = self.draw.randrange(3)
        if what == 0:
            return self.frame(0x88b5, self.draw.randbytes(46))
        if what == 1:
            return self.frame(0x0800, self.draw.randbytes(46), self.stranger_mac())
        return self.ip4(UDP, struct.pack("!HHHH", 9, 9, 8, 0), self.stranger())


KINDS = {"syn": Maker.syn, "stray": Maker.stray, "checksums": Maker.checksums, "fragments": Maker.fragment, "arp": Maker.arp, "nd": Maker.nd, "foreign": Maker.foreign}


def write(file, frames):
    """The classic format: a header, then (seconds, microseconds, length, length, bytes) each."""
    file.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1))
    for number, frame in enumerate(frames):
        file.write(struct.pack("<IIII", number // 1000000, number % 1000000, len(frame), len(frame)) + frame)


def make(path, kind, maker, count=4096):
    with open(path, "wb") as file:
        write(file, (KINDS[kind](maker) for _ in range(count)))


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1])
    parser.add_argument("kind", nargs="?", choices=KINDS)
    parser.add_argument("--to")
    parser.add_argument("--to-ip", default="198.18.0.2")
    parser.add_argument("--to-ip6", default="2001:db8::2")
    parser.add_argument("--port", type=int, default=50051)
    parser.add_argument("--count", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--list", action="store_true")
    given = parser.parse_args()
    if given.list:
        for kind, maker in KINDS.items():
            print(f"{kind:10} {maker.__doc__}")
        return
    if not given.kind or not given.to:
        parser.error("a KIND and --to MAC are wanted")
    if sys.stdout.isatty():
        parser.error("the capture goes to standard output: redirect it into a file")
    maker = Maker(given.to, given.to_ip, given.to_ip6, given.port, given.seed)
    write(sys.stdout.buffer, (KINDS[given.kind](maker) for _ in range(given.count)))


if __name__ == "__main__":
    main()
