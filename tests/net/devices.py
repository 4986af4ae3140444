"""The main job over every device that can be had here, with one worker and with two, over IPv4 and IPv6, tagged and not.

The kernel's side is always called pen0 (lab.py); what the gateway is bound to is the other end of it.
"""
import fcntl
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time

from lab import GATEWAY4, GATEWAY6, Load, expect, tail, wait_for
from workers import DEVICE, by_worker, thirds, workers_lab


def run(*words):
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def link_exists(name):
    """Not by /sys, which shows another namespace's."""
    return subprocess.run(["ip", "link", "show", name], capture_output=True).returncode == 0


def veth(offloads=False, mtu=None, queues=1):
    run("ip", "link", "add", "pen0", "numrxqueues", str(queues), "numtxqueues", str(queues), "type", "veth",
        "peer", "name", "pen1", "numrxqueues", str(queues), "numtxqueues", str(queues))
    with open("/proc/sys/net/ipv6/conf/pen1/disable_ipv6", "w") as file:
        file.write("1")  # the kernel is no host on the gateway's end
    for name in ("pen0", "pen1"):
        if mtu:
            run("ip", "link", "set", name, "mtu", str(mtu))
        run("ip", "link", "set", name, "up")
    if not offloads:
        run("ethtool", "-K", "pen0", "tx", "off")


def all_calls(report, lab, words, target):
    """Every kind of call, compared with a direct one."""
    lab.add("b1", "198.18.0.1:50061").register()
    lab.wait_ready(1)
    status, lines = lab.client("calls", "--direct", "198.18.0.1:50061", "--target", target, target=target, seconds=120)
    bad = [line for line in lines if "case" in line and not line["ok"]]
    summary = next(line for line in lines if line.get("summary"))
    expect(not bad and summary["passed"] > 100, f"{words} to {target}: {summary}, {bad[:3]}")
    report.ok(f"{words}: {summary['passed']} kinds of calls to {target}")


def calls_over(device, workers, target, prepare, words, change=None):
    def check(report, work, build, asan):
        prepare(work)
        lab = workers_lab(work, build, workers, device.format(work=work))
        lab.config = change(lab.config) if change else lab.config
        lab.start(backends=0, registered=False)
        all_calls(report, lab, f"{words}, {workers} worker{'s'[:workers - 1]}", target)
        lab.end_well()
    return check


def thirds_over(device, prepare, words, least_busy=0.02):
    """The worker that has the queue makes all system calls, so where there is but one the other's share of the work is small."""
    def check(report, work, build, asan):
        prepare(work)
        thirds(report, work, build, asan, device, words, least_busy=least_busy)
    return check


def nothing(work):
    pass


def one_queue(work):
    veth()


def two_queues(work):
    veth(queues=2)


# ---- VLAN 42: the kernel here has no 802.1Q of its own, so a process tags and untags between pen0 and the gateway's link ----

VLAN = 42


def tap_open(name):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, 0x400454ca, struct.pack("16sH", name.encode(), 0x0002 | 0x1000))  # TUNSETIFF: IFF_TAP | IFF_NO_PI
    return fd


def untagged(message, ancillary):
    """The frame without its tag; None: it bears none of ours.  The kernel has taken the tag off and says so beside."""
    for level, kind, data in ancillary:
        if (level, kind) == (263, 8):  # SOL_PACKET, PACKET_AUXDATA
            status, _, _, _, _, tci, _ = struct.unpack("IIIHHHH", data[:20])
            if status & 0x10 and tci & 0xfff == VLAN:  # TP_STATUS_VLAN_VALID
                return message
    if message[12:16] == struct.pack("!HH", 0x8100, VLAN):
        return message[:12] + message[16:]
    return None


def wire_to(link):
    """What passes an interface on which the kernel itself stays silent, as soon as there is one."""
    wait_for(30, f"{link} exists", lambda: link_exists(link))
    with open(f"/proc/sys/net/ipv6/conf/{link}/disable_ipv6", "w") as file:
        file.write("1")
    run("ip", "link", "set", link, "up")
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    wire.bind((link, 0))
    return wire


def vlan_bridge(link):
    tap, wire = tap_open("pen0"), wire_to(link)
    wire.setsockopt(263, 8, 1)
    while True:
        for ready in select.select([tap, wire], [], [])[0]:
            if ready is wire:
                message, ancillary, _, sender = wire.recvmsg(70000, 256)
                frame = untagged(message, ancillary) if sender[2] != socket.PACKET_OUTGOING else None
                if frame:
                    os.write(tap, frame)
            else:
                frame = os.read(tap, 70000)
                wire.send(frame[:12] + struct.pack("!HH", 0x8100, VLAN) + frame[12:])


def bridged(work, link="pen5"):
    subprocess.Popen([sys.executable, os.path.abspath(__file__), "--vlan-bridge", link], stdout=open(f"{work}/vlan.log", "wb"), stderr=subprocess.STDOUT)
    wait_for(10, f"the VLAN bridge makes pen0 ({tail(work + '/vlan.log')})", lambda: link_exists("pen0"))


def bridged_veth(work):
    run("ip", "link", "add", "pen5", "type", "veth", "peer", "name", "pen1")
    with open("/proc/sys/net/ipv6/conf/pen1/disable_ipv6", "w") as file:
        file.write("1")
    run("ip", "link", "set", "pen1", "up")
    bridged(work)


def tagged(config):
    return config.replace('name = "front";', f'name = "front"; vlan = {VLAN};')


# ---- memif: dpdk-testpmd carries frames between a memif and a tap ----

def testpmd(work, other="net_tap0,iface=pen0", memif="", *more, link="pen0"):
    command = ["dpdk-testpmd", "--no-huge", "-m", "256", "--no-pci", "--file-prefix", f"penstock-pmd-{os.path.basename(work)}", "--log-level=error",
               "--vdev", f"net_memif0,role=server,socket={work}/memif.sock,socket-abstract=no{memif}", "--vdev", other, "-l", "0,1",
               "--", "--forward-mode=io", "--port-topology=paired", "--total-num-mbufs=8192", "--no-mlockall", *more]
    subprocess.Popen(command, stdin=subprocess.PIPE, stdout=open(f"{work}/testpmd.log", "wb"), stderr=subprocess.STDOUT)
    wait_for(60, f"testpmd makes {link} ({tail(work + '/testpmd.log')})", lambda: link_exists(link))


# ---- tempers ----

def offloads_left_on(report, work, build, asan):
    veth(offloads=True)
    lab = workers_lab(work, build, 1, AF_PACKET).start(backends=1, registered=False)
    load = Load(lab, "--rate", 20, "--size", 100000, "--in-flight", 4)
    wait_for(10, "partial checksums are counted", lambda: (lab.metric("penstock_drops_total", reason="l4_partial_checksum") or 0) > 1)
    wait_for(3, "the log advises", lambda: lab.log_lines("ethtool -K", "pen1"))
    load.process.kill()
    run("ethtool", "-K", "pen0", "tx", "off")
    lab.backends["b1"].register()
    lab.wait_ready(1)
    load = Load(lab, "--rate", 20, "--size", 100000, "--in-flight", 4).flowing()
    run("ethtool", "-K", "pen0", "tx", "on")
    wait_for(10, "frames that are cut off are counted", lambda: (lab.metric("penstock_drops_total", reason="ip_truncated") or 0) > 0)
    run("ethtool", "-K", "pen0", "tx", "off")
    time.sleep(2)
    result = load.count(1)
    expect(result["ok"] > 5 and result["failed"] == 0, f"after the advice was followed: {result}")
    expect(len(lab.log_lines("ethtool -K")) == 1, f"the advice stands {len(lab.log_lines('ethtool -K'))} times in the log")
    drops = {reason: lab.metric("penstock_drops_total", reason=reason) for reason in ("l4_partial_checksum", "ip_truncated", "l4_checksum")}
    report.ok(f"a veth peer with its offloads on: {drops}, the advice once in the log, and calls once it is followed")


def link_down(report, work, build, asan):
    lab = workers_lab(work, build, 2).start()
    loads = [Load(lab, "--channels", 1, "--rate", 50).flowing() for _ in range(4)]
    for _ in range(2):
        run("ip", "link", "set", "pen0", "down")
        time.sleep(2)
        run("ip", "link", "set", "pen0", "up")
        time.sleep(3)
    results = [load.count(1) for load in loads]
    expect(all(r["ok"] > 20 for r in results), f"after the link is up again: {results}")
    for load in loads:
        load.stop_unharmed()
    connects = lab.metric("penstock_endpoint_connects_total")
    expect(connects == 6, f"{connects} connects of two workers to three backends")
    lab.end_well()
    report.ok("the link down for two seconds, twice, under load of two workers: no call failed, no connection was lost")


def with_jumbo(config):
    return config.replace('name = "front";', 'name = "front"; mtu = 9000;').replace(
        "workers =", 'limits: { memory = "1GiB"; connections = 2000; streams = 8000; };\nworkers =')


def jumbo_refused(report, work, build, asan):
    """What carries no 9,000 bytes says what it can."""
    veth(mtu=9000)
    for device, least in ((DEVICE.replace("pen0", "pen7"), "set ports[].mtu = 1504"), (AF_XDP, "set ports[].mtu = 1500"),
                          (AF_PACKET + ",framesz=4096,blocksz=4096", "set ports[].mtu = 4016"),
                          ("net_memif0,role=server,socket=/tmp/none.sock,socket-abstract=no,bsize=4096", "set ports[].mtu = 4078")):
        lab = workers_lab(work, build, 2, device)
        with open(f"{work}/jumbo.conf", "w") as file:
            file.write(with_jumbo(lab.config))
        said = subprocess.run([f"{build}/penstock", "-c", f"{work}/jumbo.conf"], capture_output=True, text=True, timeout=20).stderr
        expect(least in said, f"of an MTU of 9,000 {device} says: {said}")
        report.ok(f"an MTU of 9,000 is refused on {device}: {least}")


class Sizes(threading.Thread):
    """Lengths of the longest frames on pen0, by direction."""

    def __init__(self):
        super().__init__(daemon=True)
        self.longest = {"in": 0, "out": 0}
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.bind(("pen0", 0))
        self.start()

    def run(self):
        while True:
            length, _, _, sender = self.socket.recvmsg_into([bytearray(64)], 0, socket.MSG_TRUNC)
            way = "out" if sender[2] == socket.PACKET_OUTGOING else "in"
            self.longest[way] = max(self.longest[way], length)


def jumbo_over(device, workers, target, prepare, words):
    """Answers and requests of 64 KiB, each way in the longest frames that the link carries."""
    def check(report, work, build, asan):
        prepare(work)
        lab = workers_lab(work, build, workers, device.format(work=work))
        lab.config = with_jumbo(lab.config)
        lab.start(backends=2)
        sizes = Sizes()
        loads = [Load(lab, "--channels", 2, "--rate", 20, "--size", 65536, target=target).flowing() for _ in range(2)]
        for load in loads:
            result = load.count(3)
            expect(result["ok"] > 30 and result["failed"] == 0, f"{words}: {result}")
        for load in loads:
            load.stop_unharmed(f"{words}: ")
        expect(sizes.longest == {"in": 9014, "out": 9014}, f"{words}: the longest frames on the link: {sizes.longest}")
        drops = {dict(labels)["reason"]: n for (name, labels), n in lab.metrics().items() if name == "penstock_drops_total"}
        bad = {reason: n for reason, n in drops.items() if reason in ("ip_truncated", "port_rx_scattered", "port_tx_refused", "l4_checksum", "port_no_buffer")}
        expect(not bad, f"{words}: {bad}")
        lab.end_well()
        report.ok(f"{words}, MTU 9,000, {workers} worker{'s'[:workers - 1]}, {target}: 64 KiB each way in frames of {sizes.longest['in']} bytes")
    return check


def jumbo_veth(work):
    veth(mtu=9000)


def jumbo_veth2(work):
    veth(mtu=9000, queues=2)


def jumbo_testpmd(work):
    """The other end of the memif is a veth: testpmd's tap carries no more than an ordinary frame."""
    veth(mtu=9000)
    testpmd(work, "net_af_packet0,iface=pen1,framesz=9216,blocksz=36864", ",bsize=9600", "--mbuf-size=9600")


def two_ports(report, work, build, asan):
    """Clients on one port, backends on the other."""
    lab = workers_lab(work, build, 2)
    ports = lab.config.replace('"2001:db8::2/64" ]; }} );'.replace("}}", "}"), '"2001:db8::2/64" ]; },\n'
                               '  { name = "back"; device = "net_tap1,iface=pen8"; address = [ "198.19.0.2/24" ]; } );')
    expect(ports != lab.config, "the configuration has another shape")
    lab.config = ports
    lab.etcd.start()
    lab.start_gateway()
    run("ip", "addr", "add", "198.19.0.1/24", "dev", "pen8")
    run("ip", "link", "set", "pen8", "up")
    for number in range(3):
        lab.add(f"b{number + 1}", f"198.19.0.1:{50061 + number}").register()
    lab.wait_ready(3)
    status, lines = lab.client("load", "--count", 1500, "--channels", 6, "--in-flight", 12)
    window = next(line for line in lines if line.get("over"))
    expect(status == 0 and window["ok"] == 1500 and len(window["backends"]) == 3, f"{window}")
    expect(all(w["packets_in"] > 0 for w in by_worker(lab)), f"{by_worker(lab)}")
    lab.end_well()
    report.ok(f"clients on one port, backends on another, two workers: {window['backends']}")


AF_PACKET, AF_PACKET2 = "net_af_packet0,iface=pen1", "net_af_packet0,iface=pen1,qpairs=2"
AF_XDP = "net_af_xdp0,iface=pen1"
MEMIF = "net_memif0,role=client,socket={work}/memif.sock,socket-abstract=no"


def calls_check(name, *arguments):
    return {"name": f"device-{name}", "run": calls_over(*arguments), "limit": 240}


CHECKS = [
    calls_check("tap-2", DEVICE, 2, GATEWAY4, nothing, "net_tap"),
    {**calls_check("af-packet-1", AF_PACKET, 1, GATEWAY4, one_queue, "net_af_packet"), "long_only": True, "long_words": "the kinds of calls over net_af_packet and net_memif with one worker"},
    calls_check("af-packet-2", AF_PACKET2, 2, GATEWAY6, two_queues, "net_af_packet of two queues"),
    calls_check("af-xdp-1", AF_XDP, 1, GATEWAY6, one_queue, "net_af_xdp"),
    {**calls_check("memif-1", MEMIF, 1, GATEWAY4, testpmd, "net_memif to dpdk-testpmd"), "long_only": True},
    calls_check("memif-2", MEMIF, 2, GATEWAY6, testpmd, "net_memif to dpdk-testpmd"),
    calls_check("tap-vlan-2", DEVICE.replace("pen0", "pen5"), 2, GATEWAY4, bridged, "VLAN 42 on net_tap", tagged),
    calls_check("af-packet-vlan-1", AF_PACKET, 1, GATEWAY6, bridged_veth, "VLAN 42 on net_af_packet", tagged),
    {"name": "device-af-packet-one-queue", "run": thirds_over(AF_PACKET, one_queue, "one queue of net_af_packet"), "limit": 120},
    {"name": "device-af-packet-two-queues", "run": thirds_over(AF_PACKET2, two_queues, "two queues of net_af_packet", 0.2), "limit": 120},
    {"name": "device-af-xdp-one-queue", "run": thirds_over(AF_XDP, one_queue, "one queue of net_af_xdp"), "limit": 120},
    {"name": "device-offloads-left-on", "run": offloads_left_on},
    {"name": "device-link-down", "run": link_down},
    {"name": "jumbo-refused", "run": jumbo_refused},
    {"name": "jumbo-af-packet-1", "run": jumbo_over(AF_PACKET, 1, GATEWAY4, jumbo_veth, "net_af_packet")},
    {"name": "jumbo-af-packet-2", "run": jumbo_over(AF_PACKET2, 2, GATEWAY6, jumbo_veth2, "net_af_packet of two queues"), "long_only": True},
    {"name": "jumbo-memif-1", "run": jumbo_over(MEMIF, 1, GATEWAY6, jumbo_testpmd, "net_memif"), "long_only": True, "long_words": "frames of 9,000 bytes over a memif, and with two workers"},
    {"name": "jumbo-memif-2", "run": jumbo_over(MEMIF, 2, GATEWAY4, jumbo_testpmd, "net_memif"), "long_only": True},
    {"name": "device-two-ports", "run": two_ports},
]

if __name__ == "__main__" and "--vlan-bridge" in sys.argv:
    vlan_bridge(sys.argv[-1])
