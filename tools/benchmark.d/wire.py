"""The path that every proxy can use, in namespaces without a name that end with this process.

    clients and backends, 198.18.x.1                               the proxy, 198.18.x.2
    h2load, benchmark-backend  ==== tap pen0 (198.18.0) =========  penstock (net_tap)
                               ==== veth pen1 (198.18.1) ========  penstock (net_af_packet)
                               ==== veth pen2 (198.18.2) ========  the peers, in a network namespace of their own

All of these run on the kernel's TCP but penstock.  Client and backends share one processor, the proxy has the other.
"""
import glob
import json
import os
import re
import shutil
import string
import struct
import subprocess
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
MESSAGE = 100  # bytes of a message, either way
BACKEND_PORTS = (50061, 50062, 50063)
LAN = {"tap": "198.18.0", "veth": "198.18.1", "peers": "198.18.2"}


class Broken(Exception):
    """It could not be measured; the text says why."""


def run(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        raise Broken(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def wait_for(seconds, words, condition):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Broken(f"{words}: not within {seconds} s")
        time.sleep(0.02)


def tail(path, lines=3):
    try:
        with open(path, errors="replace") as file:
            return " / ".join(line.strip() for line in file.readlines()[-lines:])
    except OSError:
        return "nothing"


def cpu_of(pid):
    """Nanoseconds that all threads of a process and of its children have run, with what the kernel did in their name."""
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*"):
        try:
            with open(f"{path}/schedstat") as file:
                total += int(file.read().split()[0])
            with open(f"{path}/children") as file:
                total += sum(cpu_of(int(child)) for child in file.read().split())
        except OSError:
            pass  # it ended meanwhile
    return total


class Proxy:
    """One of those that are compared: how it is started, where it listens, what it has used."""

    def __init__(self, wire, name, words, lan, port, command):
        self.wire, self.name, self.words, self.lan, self.port, self.command = wire, name, words, lan, port, command
        self.log, self.process = f"{wire.work}/{name}.log", None

    target = property(lambda self: f"{LAN[self.lan]}.2:{self.port}")

    def start(self):
        prefix = ["taskset", "-c", str(self.wire.proxy_core)]
        if self.lan == "peers":
            prefix += ["nsenter", "-t", str(self.wire.holder.pid), "-n"]
        with open(self.log, "wb") as file:
            self.process = subprocess.Popen(prefix + self.command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        self.wire.processes.append(self.process)

    def check(self):
        if self.process.poll() is not None:
            raise Broken(f"{self.name} ended with status {self.process.returncode}: {tail(self.log)}")
        return True

    def cpu_ns(self):
        return cpu_of(self.process.pid)

    def own(self):
        """By its own counts: RPCs answered otherwise than with OK, and nanoseconds that it calls busy (None: it does not say)."""
        return 0, None

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Penstock(Proxy):
    admin = 0

    def own(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        failed = sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("penstock_rpcs_total{") and 'grpc_status="OK"' not in line)
        busy = sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(r'penstock_worker_seconds_total\{.*mode="busy"', line))
        return failed, 1e9 * busy


class Wire:
    """Both ends and what lies between."""

    def __init__(self, build, work):
        self.build, self.work, self.processes = build, work, []
        cores = sorted(os.sched_getaffinity(0))
        self.load_core, self.proxy_core = cores[0], cores[-1]
        self.proxies = []
        run("ip", "link", "set", "lo", "up")
        self.congestion = self.tcp_settle()
        self.holder = self.spawn(["unshare", "--net", "--", "sleep", "infinity"], "holder")
        wait_for(5, "a namespace for the peers", lambda: os.readlink(f"/proc/{self.holder.pid}/ns/net") != os.readlink("/proc/self/ns/net"))
        self.veth("pen2", "pen3", LAN["peers"], self.holder.pid)
        self.backend_start()
        with open(f"{work}/request.bin", "wb") as file:
            file.write(b"\0" + struct.pack(">I", MESSAGE) + bytes(i & 255 for i in range(MESSAGE)))

    @staticmethod
    def tcp_settle(*inside):
        """BBR paces by timers: at some 50 microseconds of distance the timers would be measured.  A namespace may choose what the machine lists as
        allowed for all; reno always is."""
        for name in ("cubic", "reno"):
            if subprocess.run([*inside, "sysctl", "-qw", f"net.ipv4.tcp_congestion_control={name}"], capture_output=True).returncode == 0:
                return name
        return run(*inside, "sysctl", "-n", "net.ipv4.tcp_congestion_control").strip()

    def spawn(self, command, name):
        with open(f"{self.work}/{name}.log", "wb") as file:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        self.processes.append(process)
        return process

    def veth(self, near, far, lan, namespace=None):
        run("ip", "link", "add", near, "type", "veth", "peer", "name", far)
        run("ip", "addr", "add", f"{lan}.1/24", "dev", near)
        run("ip", "link", "set", near, "up")
        if namespace is None:
            with open(f"/proc/sys/net/ipv6/conf/{far}/disable_ipv6", "w") as file:
                file.write("1")  # the kernel is no host on the gateway's end
            run("ethtool", "-K", near, "tx", "off")
            run("ip", "link", "set", far, "up")
            return
        inside = ["nsenter", "-t", str(namespace), "-n"]
        run("ip", "link", "set", far, "netns", str(namespace))
        for words in (["addr", "add", f"{lan}.2/24", "dev", far], ["link", "set", far, "up"], ["link", "set", "lo", "up"]):
            run(*inside, "ip", *words)
        self.tcp_settle(*inside)

    def backend_start(self):
        self.counts_path = f"{self.work}/counts"
        self.backend = self.spawn(["taskset", "-c", str(self.load_core), f"{self.build}/tools/benchmark-backend", self.counts_path,
                                   str(MESSAGE)] + [str(p) for p in BACKEND_PORTS], "backend")
        wait_for(5, "the backends listen", lambda: "listening" in tail(f"{self.work}/backend.log"))

    def counts(self):
        """Answered by each backend, and requests that were not as sent."""
        with open(self.counts_path, "rb") as file:
            words = struct.unpack("6Q", file.read(48))
        return words[0::2], sum(words[1::2])

    def configuration(self, name, **more):
        with open(f"{HERE}/peers/{name}") as file:
            text = string.Template(file.read()).substitute(WORK=self.work, **more)
        path = f"{self.work}/{more.get('ADMIN', '')}{name}"
        with open(path, "w") as file:
            file.write(text)
        return path

    # ---- the proxies ----

    def penstock(self, name, lan, device, admin):
        path = self.configuration("penstock.conf", DEVICE=device, ADDRESS=f"{LAN[lan]}.2", BACKEND=f"{LAN[lan]}.1", ADMIN=admin)
        os.environ["RUNTIME_DIRECTORY"] = f"{self.work}/run"  # DPDK's files
        os.makedirs(f"{self.work}/run", exist_ok=True)
        if lan == "veth":
            self.veth("pen1", "pen4", LAN[lan])
        proxy = Penstock(self, name, f"penstock, {device.split(',')[0].rstrip('0')}", lan, 50051, [f"{self.build}/penstock", "-c", path])
        proxy.admin = admin
        proxy.start()
        if lan == "tap":
            wait_for(30, "penstock makes pen0", lambda: proxy.check() and subprocess.run(["ip", "link", "show", "pen0"], capture_output=True).returncode == 0)
            run("ip", "addr", "add", f"{LAN[lan]}.1/24", "dev", "pen0")
            run("ip", "link", "set", "pen0", "up")
        wait_for(30, f"{name} has three READY backends", lambda: proxy.check() and self.ready(admin) == 3)
        self.proxies.append(proxy)

    @staticmethod
    def ready(admin):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{admin}/api/v1/clusters", timeout=5) as answer:
                return sum(e["state"] == "READY" for c in json.load(answer)["clusters"] for e in c["endpoints"])
        except OSError:
            return 0

    def peer(self, name, port, file, command):
        """Gives None if the program is not there."""
        program = shutil.which(command[0], path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
        if not program:
            return None
        path = self.configuration(file, ADDRESS=f"{LAN['peers']}.2", BACKEND=f"{LAN['peers']}.1")
        proxy = Proxy(self, name, name, "peers", port, [program] + [word.replace("CONF", path) for word in command[1:]])
        proxy.start()
        listening = ["nsenter", "-t", str(self.holder.pid), "-n", "ss", "-Hltn", f"sport = :{port}"]
        wait_for(20, f"{name} listens ({tail(proxy.log)})", lambda: proxy.check() and run(*listening).strip())
        self.proxies.append(proxy)
        return proxy

    def end(self):
        for proxy in self.proxies:
            proxy.end()
