"""Floods of the gateway by dpdk-testpmd, with well-behaved RPCs beside: what is sent, what must be seen, and how it is judged.

The gateway has two ports and one worker.  Well-behaved clients and the backends are on the first, as everywhere in the lab; testpmd is what the second is
wired to, and sends as fast as it can: what the gateway does not take in time is lost to the flood alone.

    echo-client, backends (kernel TCP)  ==== tap pen0 ==== 198.18.0.2   penstock   198.18.8.2 ==== memif ====  testpmd: txonly, or a capture over and over

Checks of the lab in tests/net; tools/pktgen/run runs them one by one.
"""
import os
import re
import signal
import subprocess
import time

import captures
from lab import Lab, Load, Wrong, expect, tail, wait_for

# name: (what is sent, capture or testpmd's arguments, reasons of which one or more must name it (what they begin with))
RECIPES = {
    "syn": ("SYNs from everywhere to a listener", "syn", ["tcp_syn_cookies", "tcp_syn_backlog", "tcp_out_of_window"]),
    "stray": ("segments of connections that do not exist", "stray", ["tcp_bad_ack", "tcp_no_listener", "tcp_bad_syn", "tcp_bad_rst", "tcp_malformed"]),
    "checksums": ("segments with wrong checksums", "checksums", ["l4_checksum"]),
    "fragments": ("fragments that never become a packet", "fragments", ["ip_fragment", "fragment", "ip_malformed"]),
    "arp": ("ARP from everybody, asked and not", "arp", ["arp_malformed", "arp_replies"]),
    "nd": ("neighbour solicitations and advertisements from everybody", "nd", ["nd_adverts", "nd_malformed"]),
    "foreign": ("small frames that are not for the gateway", "foreign", ["eth_unknown_type", "eth_not_for_us", "udp_no_port"]),
    "txonly": ("testpmd's own UDP packets, as fast as it can", ["--forward-mode=txonly", "--txpkts=60", "--tx-ip=198.18.8.1,198.18.8.2", "--tx-udp=9,9", "--txonly-multi-flow"],
               ["udp_no_port"]),
}
ANSWERS = ["neighbour_", "tcp_bad_icmp", "icmp_rate", "tcp_replies_full", "port_tx_full"]  # to a flood, which find no way or are not given: the flood's next hop is nobody
COUNT = 16384        # frames of a capture: more addresses than there is room for half-open connections (4,096) or neighbours
RATE = 200           # well-behaved RPCs a second
LEAST_SHARE = 0.5    # of them at least this many must be begun and answered: the machine is shared with the flood's sender
MEMORY_KIB = 2048    # by which the gateway's memory may grow in the second half of a flood: one huge page
MAC, IP, IP6 = "02:70:65:6e:08:02", "198.18.8.2", "2001:db8:8::2"
PORT = ('ports = ( {{ name = "flooded"; device = "net_memif1,role=client,socket={work}/flood.sock,socket-abstract=no,mac=' + MAC + '"; '
        'address = [ "' + IP + '/24", "' + IP6 + '/64" ]; gateway = [ "198.18.8.1", "2001:db8:8::1" ]; }}, ')
LISTENERS = ('listeners = ( {{ name = "flooded"; bind = "' + IP + ':50051"; routes = ( {{ path = "/"; cluster = "echo"; }} ); }},'
             '{{ name = "flooded6"; bind = "[' + IP6 + ']:50051"; routes = ( {{ path = "/"; cluster = "echo"; }} ); }},')


class Flood:
    """testpmd: there from the beginning, as a memif's client wants its server; it sends between start() and end()."""

    def __init__(self, work, name):
        _, what, _ = RECIPES[name]
        self.log = f"{work}/testpmd.log"
        devices, forward = [f"net_memif0,role=server,socket={work}/flood.sock,socket-abstract=no"], what
        if isinstance(what, str):
            path = f"{work}/{what}.pcap"
            captures.make(path, what, captures.Maker(MAC, IP, IP6), COUNT)
            devices, forward = devices + [f"net_pcap0,rx_pcap={path},infinite_rx=1"], ["--forward-mode=io", "--port-topology=paired"]
        else:
            forward = forward + [f"--eth-peer=0,{MAC}"]
        command = ["nice", "-n", "5", "dpdk-testpmd", "--no-huge", "-m", "256", "--no-pci", "--file-prefix", f"penstock-flood-{os.getpid()}", "--log-level=error", "-l", cores()]
        for device in devices:
            command += ["--vdev", device]
        command += ["--", "--interactive", f"--total-num-mbufs={COUNT + 8192}", "--no-mlockall"] + forward
        with open(self.log, "wb") as file:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file, stderr=subprocess.STDOUT, text=True)
        wait_for(30, f"testpmd is ready ({tail(self.log, 3)})", lambda: self.check() and os.path.exists(f"{work}/flood.sock") and "testpmd>" in tail(self.log, 3))

    def check(self):
        expect(self.process.poll() is None, f"testpmd ended with status {self.process.poll()}: {tail(self.log, 5)}")
        return True

    def say(self, words):
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()

    def start(self):
        self.say("start")

    def end(self):
        """Gives how many frames the gateway's port has taken."""
        self.say("stop")
        self.say("quit")
        self.process.wait(20)
        with open(self.log, errors="replace") as file:
            totals = re.findall(r"statistics for port 0 .*?TX-packets: (\d+)", file.read(), re.S)
        expect(totals, f"testpmd does not say what it sent: {tail(self.log, 5)}")
        return int(totals[-1])


def cores():
    """Two of those that we may use; the first only waits."""
    have = sorted(os.sched_getaffinity(0))
    expect(len(have) > 1, "testpmd wants two cores")
    return f"{have[0]},{have[-1]}"


def counters(lab):
    """{why: how many}: what was dropped, and what was answered."""
    wait_for(30, "/metrics answers", lambda: lab.gateway_gone() or lab.http("/metrics")[0] == 200)  # its thread shares two cores with the flood's sender and the worker
    out = {}
    for (name, labels), value in lab.metrics().items():
        words = dict(labels)
        if name == "penstock_drops_total" or words.get("event") in ("arp_replies", "nd_adverts"):
            out[words.get("reason") or words["event"]] = value
        elif name == "penstock_tcp_syn_cookies_total":
            out["tcp_syn_cookies"] = value
    return out


def risen(before, after):
    return {reason: int(value - before.get(reason, 0)) for reason, value in after.items() if value > before.get(reason, 0)}


def begins(reason, names):
    return any(reason.startswith(name) for name in names)


def named(reasons, names):
    return sum(n for reason, n in reasons.items() if begins(reason, names))


def flooded_lab(work, build):
    lab = Lab(work, build)
    lab.config = lab.config.replace("ports = ( ", PORT.format(work=work)).replace("listeners = (", LISTENERS.format())
    return lab.start()


def fresh_client(lab):
    """A client that was not there before: seconds until its first answer, or None."""
    began = time.monotonic()
    load = Load(lab, "--count", 1, "--deadline-ms", 8000, "--seconds", 10)
    try:
        load.find(lambda line: line.get("total_ok", 0) > 0 or line.get("summary") and line["ok"] > 0, 12, "no answer")
        return time.monotonic() - began
    except Wrong:
        return None
    finally:
        load.process.kill()


def flood(name, seconds):
    """The check of one recipe: no well-behaved RPC fails, counters name the flood, memory is flat."""
    words, _, names = RECIPES[name]

    def check(report, work, build, asan):
        sender = Flood(work, name)
        lab = flooded_lab(work, build)
        load = Load(lab, "--rate", RATE, "--channels", 4, "--deadline-ms", 10000).flowing()
        before = counters(lab)
        sender.start()
        wait_for(20, f"the flood is seen ({tail(sender.log, 3)}; {risen(before, counters(lab))})",
                 lambda: sender.check() and named(risen(before, counters(lab)), names) > 1000)
        number = load.window()
        time.sleep(seconds / 2)
        memory = lab.rss_kib()
        time.sleep(seconds / 2)
        grown = lab.rss_kib() - memory
        fresh = fresh_client(lab)
        load.window()
        result, sent = load.result(number, 30), sender.end()
        reasons = risen(before, counters(lab))
        judge(lab, load, result, seconds, grown, fresh, name)
        counted = {reason: n for reason, n in reasons.items() if begins(reason, names) or not begins(reason, ANSWERS)}
        share = 100 * named(counted, names) / max(1, sum(counted.values()))
        expect(share > 90, f"{name}: the counters that should name it hold {share:.0f} % of what was dropped: {reasons}")
        status = lab.end_gateway()
        expect(status == 0, f"exit status {status}:\n{tail(lab.log, 40)}")
        most = ", ".join(f"{reason} {n}" for reason, n in sorted(reasons.items(), key=lambda item: -item[1])[:4])
        report.ok(f"flood of {words}: {sent} frames; {result['ok']} RPCs beside it, none failed; {most}; memory {grown:+d} KiB; "
                  f"a new client was answered after {fresh:.1f} s")
    return {"name": f"flood-{name}", "run": check, "limit": 120 + 2 * seconds}


def judge(lab, load, result, seconds, grown, fresh, name):
    expect(result["failed"] == 0, f"{name}: {result['failed']} of {result['begun']} RPCs failed: {load.failures()[:3]}")
    expect(result["ok"] >= LEAST_SHARE * RATE * seconds, f"{name}: {result['ok']} RPCs in {seconds} s beside it, at a rate of {RATE}")
    expect(grown <= MEMORY_KIB, f"{name}: the gateway's memory grew by {grown} KiB")
    expect(fresh is not None, f"{name}: a new client was not answered: {tail(lab.log)}")
    summary = load.stop()
    expect(summary["failed"] == 0 and summary["reconnects"] == 0, f"{name}: {summary}; {load.failures()[:3]}")


CHECKS = [flood(name, 6) for name in RECIPES]
