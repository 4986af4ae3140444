#!/usr/bin/env python3
"""Writes seeds for fuzz_ip: one file a kind of frame, repaired by the target (second argument of a deed).  Usage: seeds.py DIR"""
import os
import socket
import struct
import sys

mac, peer = bytes([2, 0, 0, 0, 0, 2]), bytes([2, 0, 0, 0, 0, 1])
a4, b4 = socket.inet_aton("198.18.0.9"), socket.inet_aton("198.18.0.2")
a6, b6 = (socket.inet_pton(socket.AF_INET6, x) for x in ("2001:db8::9", "2001:db8::2"))
tcp = struct.pack("!HHIIBBHHH", 2000, 1000, 1, 2, 0x50, 0x10, 1000, 0, 0) + b"hello!"


def ip4(proto, data):
    return mac + peer + b"\x08\x00" + struct.pack("!BBHIBBH", 0x45, 0, 20 + len(data), 0x4000, 64, proto, 0) + a4 + b4 + data


def ip6(nxt, data, hops=255):
    return mac + peer + b"\x86\xdd" + struct.pack("!IHBB", 0x60000000, len(data), nxt, hops) + a6 + b6 + data


def deed(frame, how=1):
    frame += b"\0" * (len(frame) % 2)
    return bytes([2 | how << 3, len(frame) // 2]) + frame


def cut(frame, *pieces):
    frame += b"\0" * (len(frame) % 2)
    return bytes([7, len(frame) // 2]) + frame + bytes(sum(pieces, ())) + b"\0\0"


inner4 = struct.pack("!BBHIBBH", 0x45, 0, 1500, 0x4000, 60, 6, 0) + b4 + a4 + tcp[:8]
inner6 = struct.pack("!IHBB", 0x60000000, 1440, 6, 60) + b6 + a6 + tcp[:8]
arp = b"\x08\x06\0\x01\x08\0\x06\x04"
seeds = {
    "tcp4": deed(ip4(6, tcp)), "tcp6": deed(ip6(6, tcp)), "echo4": deed(ip4(1, b"\x08\0\0\0\0\1\0\1" + b"x" * 20)),
    "echo6": deed(ip6(58, b"\x80\0\0\0\0\1\0\1" + b"x" * 20)),
    "error4": deed(ip4(1, struct.pack("!BBHI", 3, 4, 0, 1400) + inner4)), "error6": deed(ip6(58, struct.pack("!BBHI", 2, 0, 0, 1400) + inner6)),
    "ns": deed(ip6(58, struct.pack("!BBHI", 135, 0, 0, 0) + b6 + b"\1\1" + peer), 3),
    "na": bytes([9, 9]) + deed(ip6(58, struct.pack("!BBHI", 136, 0, 0, 0x60000000) + a6 + b"\2\1" + peer)) + bytes([9, 9, 0, 255, 0, 255]),
    "arp": bytes([1, 9]) + deed(mac + peer + arp + b"\0\2" + peer + a4 + mac + b4) + deed(mac + peer + arp + b"\0\1" + peer + a4 + bytes(6) + b4),
    "ext6": deed(ip6(0, b"\x3c\0\1\4\0\0\0\0" + b"\x2c\0\1\4\0\0\0\0" + b"\x2b\0\0\0\0\0\0\1" + b"\x06\0\0\0\0\0\0\0" + tcp)),
    "cut4": cut(ip4(6, tcp + b"x" * 40), (0, 3), (3, 2), (5, 9)), "cut6": cut(ip6(6, tcp + b"x" * 40), (5, 9), (3, 2), (3, 2), (0, 3)),
    "overlap": cut(ip4(6, tcp + b"x" * 40), (0, 3), (3, 3), (5, 9)) + bytes([8, 255]) + cut(ip6(6, tcp + b"x" * 40), (0, 3)) + bytes([8, 255]),
    "udp": deed(ip4(17, b"\0\1\0\2\0\x0c\0\0abcd")) + deed(ip6(132, b"x" * 12)) + deed(ip6(59, b"")),
    "redirect": deed(ip4(1, struct.pack("!BBHI", 5, 1, 0, 1) + inner4)),
    "dead": bytes([1, 9, 9, 9, 1, 8, 1, 9] + [0, 255] * 8 + [1, 9]),
}
os.makedirs(sys.argv[1], exist_ok=True)
for name, data in seeds.items():
    with open(os.path.join(sys.argv[1], name), "wb") as f:
        f.write(data)
