"""A real etcd, real gRPC backends, a stock client and the gateway in the namespaces of one check.

Not a test itself.  Everything here is process 2 and up of a process namespace whose process 1 is the check (run.py): the
end of the check is the end of all of it.
    kernel's side of the tap pen0: 198.18.0.1/24, 2001:db8::1/64: etcd (127.0.0.1:2379), backends, client
    penstock's side:               198.18.0.2,    2001:db8::2
"""
import base64
import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GATEWAY4, GATEWAY6 = "198.18.0.2:50051", "[2001:db8::2]:50051"
PREFIX = "services/echo/"

CONFIG = """
dpdk: {{ eal = [ "--no-huge", "-m", "512", "--no-pci" ]; }};
workers = 1;
drain_timeout = "20s";
ports = ( {{ name = "front"; device = "net_tap0,iface=pen0"; address = [ "198.18.0.2/24", "2001:db8::2/64" ]; }} );
etcd: {{ endpoints = [ "http://127.0.0.1:2379" ]; }};
listeners = (
  {{ name = "grpc"; bind = "198.18.0.2:50051"; {listener} routes = ( {{ path = "{path}"; cluster = "echo"; }} ); }},
  {{ name = "grpc6"; bind = "[2001:db8::2]:50051"; {listener} routes = ( {{ path = "{path}"; cluster = "echo"; }} ); }}
);
clusters = ( {{ name = "echo"; target = "{target}"; lb_policy = "{policy}"; {cluster} }} );
admin: {{ bind = "127.0.0.1:9901"; }};
"""


class Wrong(Exception):
    """The check did not hold; the text says what was seen."""


def expect(condition, words):
    if not condition:
        raise Wrong(words)


def wait_for(seconds, words, condition):
    """Until the condition gives something true; gives that back."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Wrong(f"{words}: not within {seconds} s")
        time.sleep(0.02)


def tail(path, lines=12):
    try:
        with open(path, errors="replace") as file:
            return "".join(file.readlines()[-lines:])
    except OSError:
        return "(nothing)"


class Etcd:
    """etcd on loopback, spoken to over its JSON gateway."""

    def __init__(self, work):
        self.work, self.process, self.port = work, None, 2379

    def start(self, port=2379):
        self.port = port
        client, peer = f"http://127.0.0.1:{port}", "http://127.0.0.1:2380"
        log = open(f"{self.work}/etcd.log", "ab")
        self.process = subprocess.Popen(
            ["etcd", "--name", "lab", "--data-dir", f"{self.work}/etcd", "--listen-client-urls", client, "--advertise-client-urls", client,
             "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"lab={peer}", "--logger", "zap",
             "--log-level", "error"], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        wait_for(20, f"etcd answers (its words: {tail(self.work + '/etcd.log', 3)})", self.healthy)

    def healthy(self):
        try:
            self.call("kv/range", {"key": self.text("x")})
            return True
        except (OSError, urllib.error.URLError):
            return False

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait(20)

    @staticmethod
    def text(value):
        return base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode()

    def call(self, path, body):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/v3/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def lease(self, seconds):
        return self.call("lease/grant", {"TTL": str(seconds)})["ID"]

    def put(self, key, value, lease=None):
        body = {"key": self.text(PREFIX + key), "value": self.text(value)}
        if lease:
            body["lease"] = lease
        self.call("kv/put", body)

    def delete(self, key):
        self.call("kv/deleterange", {"key": self.text(PREFIX + key)})

    def keys(self):
        answer = self.call("kv/range", {"key": self.text(PREFIX), "range_end": self.text(PREFIX[:-1] + "0")})
        return [base64.b64decode(kv["key"]).decode() for kv in answer.get("kvs", [])]


def naming(address, weight=None):
    """The official etcd gRPC naming's value."""
    return json.dumps({"Op": 0, "Addr": address, "Metadata": None if weight is None else {"weight": weight}})


class Backend:
    def __init__(self, lab, name, address, max_streams=0):
        self.lab, self.name, self.address = lab, name, address
        self.arguments = ["--max-streams", str(max_streams)] if max_streams else []
        self.start()

    def start(self):
        path = f"{self.lab.work}/{self.name}.log"
        self.process = self.lab.spawn([f"{self.lab.build}/tests/peers/echo-server", "--listen", self.address, "--id", self.name] + self.arguments, path, "wb")
        wait_for(30, f"backend {self.name} listens", lambda: "listening" in tail(path))

    def kill(self):
        self.process.kill()
        self.process.wait(5)

    def register(self, weight=None, lease=None):
        self.lab.etcd.put(self.name, naming(self.address, weight), lease)


class Load:
    """echo-client load, under way; its lines are read as they come."""

    def __init__(self, lab, *arguments, target=GATEWAY4):
        self.lines, self.changed, self.window_number = [], threading.Condition(), 0
        command = [f"{lab.build}/tests/peers/echo-client", "load", "--target", target] + [str(a) for a in arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(json.loads(line) if line.startswith("{") else {"words": line.strip()})
                self.changed.notify_all()

    def find(self, condition, seconds, words):
        """The first line for which the condition holds, now or later."""
        end = time.monotonic() + seconds
        with self.changed:
            while True:
                for line in self.lines:
                    if condition(line):
                        return line
                left = end - time.monotonic()
                if left <= 0 or (not self.reader.is_alive() and self.process.poll() is not None):
                    raise Wrong(f"client: {words}; its last line: {self.lines[-1] if self.lines else 'none'}")
                self.changed.wait(min(left, 0.2))

    def flowing(self):
        self.find(lambda line: line.get("total_ok", 0) > 0, 10, "no call was answered")
        return self

    def window(self):
        """Calls that begin from now on are counted together; gives the number of their window."""
        self.window_number += 1
        number = self.window_number
        self.process.send_signal(signal.SIGUSR1)
        self.find(lambda line: line.get("window_opened") == number, 5, "window does not open")
        return number

    def result(self, number, seconds=15):
        return self.find(lambda line: line.get("over") and line.get("window") == number, seconds, f"window {number} does not end")

    def count(self, seconds):
        """The window of all calls that begin within the next seconds."""
        number = self.window()
        time.sleep(seconds)
        self.window()
        return self.result(number)

    def failures(self):
        with self.changed:
            return [line for line in self.lines if "failure" in line]

    def stop(self, seconds=40):
        if self.process.poll() is None:
            self.process.terminate()
        return self.finish(seconds)

    def stop_unharmed(self, words="", seconds=40):
        """It ends, and no call of it has failed, nor has it had to connect again; gives its summary."""
        summary = self.stop(seconds)
        expect(summary["failed"] == 0 and summary["reconnects"] == 0, f"{words}{summary}; {self.failures()[:3]}")
        return summary

    def finish(self, seconds=60):
        return self.find(lambda line: line.get("summary") or "hung" in line, seconds, "does not end")


def count_all(loads, seconds):
    """All calls of all loads that begin within the next seconds, by backend."""
    for load in loads:
        load.window()
    time.sleep(seconds)
    for load in loads:
        load.window()
    counts = {}
    for load in loads:
        for name, n in load.result(load.window_number - 1)["backends"].items():
            counts[name] = counts.get(name, 0) + n
    return counts


class Lab:
    def __init__(self, work, build, gateway_build=None, policy="round_robin", cluster="", listener="", path="/", target="etcd:///" + PREFIX):
        self.work, self.build, self.gateway_build = work, build, gateway_build or build
        self.config = CONFIG.format(policy=policy, cluster=cluster, listener=listener, path=path, target=target)
        self.etcd, self.gateway, self.backends = Etcd(work), None, {}
        self.log = f"{work}/penstock.log"
        for name in list(os.environ):
            if name.lower().endswith("_proxy"):
                del os.environ[name]
        os.environ["RUNTIME_DIRECTORY"] = f"{work}/run"  # DPDK's files
        os.makedirs(f"{work}/run", exist_ok=True)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)

    def spawn(self, command, log, mode="ab"):
        with open(log, mode) as file:
            return subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL)

    def start(self, backends=3, weights=None, registered=True):
        """etcd, the gateway, and backends b1… all READY."""
        self.etcd.start()
        self.start_gateway()
        for number in range(backends):
            backend = self.add(f"b{number + 1}")
            if registered:
                backend.register(weights[number] if weights else None)
        if registered:
            self.wait_ready(backends)
        return self

    def start_gateway(self):
        path = f"{self.work}/penstock.conf"
        with open(path, "w") as file:
            file.write(self.config)
        self.gateway = self.spawn([f"{self.gateway_build}/penstock", "-c", path], self.log)
        wait_for(30, f"penstock makes pen0 (its words: {tail(self.log, 3)})", lambda: self.link_exists() or self.gateway_gone())
        for words in (["addr", "add", "198.18.0.1/24", "dev", "pen0"], ["-6", "addr", "add", "2001:db8::1/64", "dev", "pen0", "nodad"],
                      ["link", "set", "pen0", "up"]):
            subprocess.run(["ip"] + words, check=True)
        wait_for(15, "admin answers", lambda: self.gateway_gone() or self.http("/healthz")[0] == 200)

    @staticmethod
    def link_exists():
        return subprocess.run(["ip", "link", "show", "pen0"], capture_output=True).returncode == 0

    def gateway_gone(self):
        if self.gateway.poll() is not None:
            raise Wrong(f"penstock ended with status {self.gateway.returncode}; its last words:\n{tail(self.log)}")
        return False

    def add(self, name, address=None, max_streams=0):
        address = address or f"198.18.0.1:{50060 + len(self.backends) + 1}"
        self.backends[name] = Backend(self, name, address, max_streams)
        return self.backends[name]

    def http(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:9901{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def endpoints(self):
        status, body = self.http("/api/v1/clusters")
        if status != 200:
            return []
        return json.loads(body)["clusters"][0]["endpoints"]

    def wait_ready(self, count, seconds=10):
        def ready():
            self.gateway_gone()
            return sum(e["state"] == "READY" for e in self.endpoints()) == count
        try:
            wait_for(seconds, f"{count} READY endpoints", ready)
        except Wrong as wrong:
            raise Wrong(f"{wrong}; endpoints: {[(e['address'], e['state']) for e in self.endpoints()]}; its last words:\n{tail(self.log)}") from None

    def metrics(self):
        """{(name, ((label, value), …)): number}"""
        status, body = self.http("/metrics")
        expect(status == 200, f"/metrics answers {status}")
        out = {}
        for line in body.splitlines():
            match = re.match(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$", line)
            if match:
                labels = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or "")
                out[(match[1], tuple(labels))] = float(match[3])
        return out

    def metric(self, name, **labels):
        """The sum over all series of the name with these labels; None if there is none."""
        found = [value for (series, have), value in self.metrics().items()
                 if series == name and all((k, v) in have for k, v in labels.items())]
        return sum(found) if found else None

    def event(self, name):
        return self.metric("penstock_events_total", event=name) or 0

    def objects_in_use(self):
        return {dict(labels)["kind"]: value for (name, labels), value in self.metrics().items()
                if name == "penstock_objects" and dict(labels)["state"] == "in_use"}

    def client(self, mode, *arguments, target=GATEWAY4, seconds=60):
        """Runs echo-client to its end; gives (exit status, its lines)."""
        command = [f"{self.build}/tests/peers/echo-client", mode, "--target", target] + [str(a) for a in arguments]
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            raise Wrong(f"echo-client {mode} did not end within {seconds} s") from None
        lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
        expect(lines, f"echo-client {mode}: {run.stderr.strip() or 'no words'}")
        return run.returncode, lines

    def log_lines(self, *words):
        with open(self.log, errors="replace") as file:
            return [line for line in file if all(word in line for word in words)]

    def streams_lost(self, address):
        """Streams that were open on the connections to a backend when they were lost, by the gateway's log."""
        lines = [line for line in self.log_lines(address) if "lost" in line]
        expect(lines, f"the log says nothing of a lost connection to {address}; its last words:\n{tail(self.log)}")
        found = [re.search(r"(\d+) streams?|streams?[ =:]+(\d+)", line) for line in lines]
        expect(all(found), f"no count of streams in: {lines[0].strip()}")
        return sum(int(match[1] or match[2]) for match in found)

    def rss_kib(self):
        with open(f"/proc/{self.gateway.pid}/status") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1])

    def cpu_seconds(self):
        ticks = 0
        for task in os.listdir(f"/proc/{self.gateway.pid}/task"):
            with open(f"/proc/{self.gateway.pid}/task/{task}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def end_well(self):
        status = self.end_gateway()
        expect(status == 0, f"exit status {status}:\n{tail(self.log, 40)}")

    def end_gateway(self, seconds=30):
        self.gateway.terminate()
        try:
            return self.gateway.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Wrong(f"penstock did not end within {seconds} s of SIGTERM; its last words:\n{tail(self.log)}") from None
