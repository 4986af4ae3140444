"""A backend, or a client, a round trip away: 20 MB each way through the gateway beside directly, so that the windows of streams have to grow (session/window.c).

    far namespace: far0 198.18.0.1 ===wire=== pen0: the gateway 198.18.0.2 | 198.19.0.2 : pen1 === 198.19.0.1 near
                   far1 198.18.1.1 ===wire=== near1 198.18.1.2                                             near"""
import json
import os
import subprocess

from lab import Lab, expect, tail, wait_for

SIZE = 20_000_000
RATE = 1_000_000_000
CONFIG = """
dpdk: {{ eal = [ "--no-huge", "-m", "512", "--no-pci" ]; }};
ports = ( {{ name = "far"; device = "net_tap0,iface=pen0"; address = [ "198.18.0.2/24" ]; }}, {{ name = "near"; device = "net_tap1,iface=pen1"; address = [ "198.19.0.2/24" ]; }} );
listeners = ( {{ name = "near"; bind = "198.19.0.2:50051"; routes = ( {{ path = "/"; cluster = "far"; }} ); }},
              {{ name = "far"; bind = "198.18.0.2:50051"; routes = ( {{ path = "/"; cluster = "near"; }} ); }} );
clusters = ( {{ name = "far"; target = "static:///198.18.0.1:50070"; connect_timeout = "5s"; }}, {{ name = "near"; target = "static:///198.19.0.1:50070"; connect_timeout = "5s"; }} );
admin: {{ bind = "127.0.0.1:9901"; }};
"""


def ip(*words, inside=None):
    subprocess.run((["nsenter", "-t", str(inside), "-n"] if inside else []) + ["ip", *words], check=True)


class Far(Lab):
    """Two namespaces and a wire of so many ms between them."""

    def __init__(self, work, build, rtt_ms):
        super().__init__(work, build)
        self.config, self.rtt_ms = CONFIG.format(), rtt_ms
        self.far = self.spawn(["unshare", "--net", "sleep", "1000"], f"{work}/far.log")
        wait_for(5, "the far namespace", lambda: os.readlink(f"/proc/{self.far.pid}/ns/net") != os.readlink("/proc/self/ns/net"))
        ip("link", "set", "lo", "up", inside=self.far.pid)
        with open(f"{work}/penstock.conf", "w") as file:
            file.write(self.config)
        self.gateway = self.spawn([f"{build}/penstock", "-c", f"{work}/penstock.conf"], self.log)
        wait_for(30, "penstock makes pen1", lambda: self.gateway_gone() or subprocess.run(["ip", "link", "show", "pen1"], capture_output=True).returncode == 0)
        ip("link", "set", "pen0", "up", "promisc", "on")
        ip("addr", "add", "198.19.0.1/24", "dev", "pen1")
        ip("link", "set", "pen1", "up")
        self.wire("raw:pen0", "tap:far0")
        self.wire("tap:near1", "tap:far1")
        for name, address in (("far0", "198.18.0.1/24"), ("far1", "198.18.1.1/24")):
            ip("link", "set", name, "netns", str(self.far.pid))
            ip("addr", "add", address, "dev", name, inside=self.far.pid)
            ip("link", "set", name, "up", inside=self.far.pid)
        ip("addr", "add", "198.18.1.2/24", "dev", "near1")
        ip("link", "set", "near1", "up")
        self.files()

    def wire(self, one, other):
        log = f"{self.work}/{other[4:]}.log"
        self.spawn([f"{self.build}/tests/grid/wire", one, other, str(self.rtt_ms * 500), str(RATE)], log)
        wait_for(5, f"the wire to {other}", lambda: "ready" in tail(log))

    def files(self):
        os.makedirs(f"{self.work}/root")
        with open(f"{self.work}/root/big", "wb") as file:
            file.write(os.urandom(SIZE))
        # A window of 2^30, so that what a server grants is not what bounds an upload.
        server = ["nghttpd", "--no-tls", "-w", "30", "-W", "30", "-d", f"{self.work}/root", "50070"]
        self.spawn(server, f"{self.work}/near-server.log")
        self.spawn(["nsenter", "-t", str(self.far.pid), "-n", *server], f"{self.work}/far-server.log")
        wait_for(20, "both backends are READY", lambda: sum(e["state"] == "READY" for c in json.loads(self.http("/api/v1/clusters")[1] or '{"clusters":[]}')["clusters"]
                                                            for e in c["endpoints"]) == 2)

    def seconds(self, url, far=False, upload=False):
        command = ["curl", "--silent", "--show-error", "--http2-prior-knowledge", "--max-time", "60", "--output", "/dev/null", "--write-out", "%{time_total} %{http_code} %{size_download}"]
        command += ["--upload-file", f"{self.work}/root/big"] * upload + [url]
        run = subprocess.run((["nsenter", "-t", str(self.far.pid), "-n"] if far else []) + command, capture_output=True, text=True)
        expect(run.returncode == 0, f"curl {url}: {run.returncode}: {run.stderr}")
        taken, code, size = run.stdout.split()
        expect(upload or (code == "200" and int(size) == SIZE), f"{url}: {run.stdout}")
        return float(taken)


def windows(rtt):
    def run(report, work, build, asan):
        """Twice each: the first connection's TCP and streams climb, and so do the second's."""
        lab = Far(work, build, rtt)
        grown = lab.event("h2_windows_grown")
        down = [[lab.seconds(f"http://{a}/big") for _ in range(2)] for a in ("198.18.1.1:50070", "198.19.0.2:50051")]
        expect(lab.event("h2_windows_grown") > grown, "no window has grown for what a backend sends")
        grown = lab.event("h2_windows_grown")
        up = [[lab.seconds(f"http://{a}/big", far=True, upload=True) for _ in range(2)] for a in ("198.18.1.2:50070", "198.18.0.2:50051")]
        expect(lab.event("h2_windows_grown") > grown, "no window has grown for what a client sends")
        floor = SIZE / 65535 * rtt / 1000  # with windows that stay as they are at first
        expect(max(down[1] + up[1]) < floor, f"{rtt} ms: answers {down}, requests {up}: a window of 64 KiB would take {floor:.1f} s")
        report.ok(f"20 MB over {rtt} ms: an answer takes {down[1][0]:.2f} and {down[1][1]:.2f} s through the gateway, {down[0][0]:.2f} and {down[0][1]:.2f} directly; a request {up[1][0]:.2f} and "
                  f"{up[1][1]:.2f}, directly {up[0][0]:.2f} and {up[0][1]:.2f}; windows of 64 KiB would take {floor:.1f}")
    return run


CHECKS = [{"name": "far-windows-20", "run": windows(20), "limit": 90},
          {"name": "far-windows-100", "run": windows(100), "limit": 180, "long_only": True, "long_words": "20 MB over 100 ms through the gateway and directly"}]
