"""Live configuration: reloads under load, drains and weights by hand, one endpoint of many replaced."""
import json
import os
import random
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request

from lab import Lab, Load, expect, wait_for

CONFIG = """
dpdk: {{ eal = [ "--no-huge", "-m", "512", "--no-pci" ]; }};
workers = 1;
drain_timeout = "{drain}s";
idle = "{idle}";
ports = ( {{ name = "front"; device = "net_tap0,iface=pen0"; address = [ {addresses} ]; {gateway} }} );
tcp: {{ rto_min = "{rto}ms"; }};
etcd: {{ endpoints = [ {etcd} ]; }};
listeners = (
{listeners}
);
clusters = (
{clusters}
);
admin: {{ bind = "127.0.0.1:9901"; }};
log: {{ level = "{level}"; }};
"""
LISTENER = '  {{ name = "{name}"; bind = "{bind}"; max_concurrent_streams = {streams}; routes = (\n    {routes} ); }}'


class Settings:
    """A configuration as the parts that reloads change."""

    def __init__(self):
        self.values = {"drain": 20, "idle": "adaptive", "gateway": "", "rto": 20, "level": "info"}
        self.addresses = ["198.18.0.2/24", "2001:db8::2/64"]
        self.etcd = ["http://127.0.0.1:2379"]
        self.listeners = {"grpc": ["198.18.0.2:50051", 128, ["echo"]]}
        self.clusters = {"echo": 'target = "etcd:///services/echo/"; lb_policy = "round_robin";'}

    def text(self):
        def quoted(words):
            return ", ".join(f'"{word}"' for word in words)
        listeners = ",\n".join(LISTENER.format(name=name, bind=bind, streams=streams,
                                               routes=",\n    ".join(f'{{ path = "/{"" if i + 1 == len(to) else f"no.Such{i}/"}"; cluster = "{c}"; }}'
                                                                       for i, c in enumerate(to)))
                               for name, (bind, streams, to) in self.listeners.items())
        clusters = ",\n".join(f'  {{ name = "{name}"; {words} }}' for name, words in self.clusters.items())
        return CONFIG.format(addresses=quoted(self.addresses), etcd=quoted(self.etcd), listeners=listeners, clusters=clusters, **self.values)


class Live(Lab):
    def __init__(self, work, build, gateway_build=None):
        super().__init__(work, build, gateway_build)
        self.settings = Settings()
        self.config = self.settings.text()

    def write(self, text=None):
        with open(f"{self.work}/penstock.conf.new", "w") as file:
            file.write(text or self.settings.text())
        os.rename(f"{self.work}/penstock.conf.new", f"{self.work}/penstock.conf")

    def ctl(self, *words, seconds=30):
        return subprocess.run([f"{self.build}/tools/penstockctl"] + [str(w) for w in words], capture_output=True, text=True, timeout=seconds)

    def reload(self):
        self.write()
        run = self.ctl("reload")
        expect(run.returncode == 0, f"a good configuration is refused: {run.stderr}")

    def generation(self):
        return self.metric("penstock_snapshot_generation")

    def settled(self):
        """The generation, once the last change is through: endpoints that come and go make generations of their own."""
        last = [None, 0]

        def stands():
            now = self.generation()
            if now != last[0]:
                last[:] = [now, time.monotonic()]
            return time.monotonic() - last[1] > 0.3 and now
        return wait_for(10, "the generation stands still", stands)

    def status(self):
        return json.loads(self.http("/api/v1/status")[1])

    def cluster(self, name):
        return next((c for c in json.loads(self.http("/api/v1/clusters")[1])["clusters"] if c["name"] == name), None)

    def endpoint(self, cluster, address):
        return next(e for e in self.cluster(cluster)["endpoints"] if e["address"] == address)

    def connects(self):
        return {dict(labels)["endpoint"]: value for (name, labels), value in self.metrics().items() if name == "penstock_endpoint_connects_total"}


def post(path, body=""):
    request = urllib.request.Request(f"http://127.0.0.1:9901{path}", body.encode(), method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


# What one reload does; each leaves the listener of the load, and way for its calls.
def more_listeners(s, n):
    if "other" in s.listeners:
        del s.listeners["other"]
    else:
        s.listeners["other"] = [f"198.18.0.2:{51000 + n}", 64, ["echo"]]


def moved_listener(s, n):
    s.listeners["mover"] = [f"198.18.0.2:{52000 + n % 7}", 64, ["echo"]]


def limits(s, n):
    s.listeners["grpc"][1] = 100 + n % 50


def routes(s, n):
    s.listeners["grpc"][2] = ["echo"] * (1 + n % 3)


def clusters(s, n):
    if "spare" in s.clusters:
        del s.clusters["spare"]
        for listener in s.listeners.values():
            listener[2] = ["echo" if c == "spare" else c for c in listener[2]]
    else:
        s.clusters["spare"] = 'target = "static:///198.18.0.1:50061,198.18.0.1:50062";'


def to_new_cluster(s, n):
    """The load's calls go to a cluster that did not exist, and the one before is taken away."""
    name = f"echo{n}"
    old = s.listeners["grpc"][2][-1]
    s.clusters[name] = 'target = "static:///198.18.0.1:50061,198.18.0.1:50062,198.18.0.1:50063";'
    for listener in s.listeners.values():
        listener[2] = [name if c == old else c for c in listener[2]]
    if old != "echo":
        del s.clusters[old]


def back_to_echo(s, n):
    for listener in s.listeners.values():
        listener[2] = ["echo" for _ in listener[2]]
    s.clusters = {"echo": s.clusters["echo"]}


def policy(s, n):
    words = s.clusters["echo"]
    a, b = '"round_robin"', '"weighted_round_robin"'
    s.clusters["echo"] = words.replace(b, a) if b in words else words.replace(a, b)


def target(s, n):
    words = s.clusters["echo"]
    new = "static:///198.18.0.1:50061,198.18.0.1:50063" if "etcd:" in words else "etcd:///services/echo/"
    s.clusters["echo"] = re.sub(r'target = "[^"]*"', f'target = "{new}"', words)


def replaced_target(s, n):
    """Not one address stays."""
    words = s.clusters["echo"]
    new = "198.18.0.1:50062" if "50061" in words else "198.18.0.1:50061"
    s.clusters["echo"] = re.sub(r'target = "[^"]*"', f'target = "static:///{new}"', words)


def timeouts(s, n):
    words = re.sub(r" connect_timeout = [^;]*;| connections_per_endpoint = [^;]*;", "", s.clusters["echo"])
    s.clusters["echo"] = words + f' connect_timeout = "{900 + n}ms"; connections_per_endpoint = {1 + n % 3};'


def addresses(s, n):
    extra = "198.18.0.77/24"
    s.addresses = [a for a in s.addresses if a != extra] if extra in s.addresses else s.addresses + [extra]


def gateways(s, n):
    s.values["gateway"] = "" if s.values["gateway"] else 'gateway = [ "198.18.0.1" ];'


def others(s, n):
    s.values.update(level="debug" if n % 2 else "info", idle="poll" if n % 4 == 1 else "adaptive", rto=20 + n % 5, drain=20 + n % 3)


def etcd_endpoints(s, n):
    s.etcd = ["http://127.0.0.1:2379", "http://localhost:2379"] if len(s.etcd) == 1 else ["http://127.0.0.1:2379"]


KINDS = [more_listeners, moved_listener, limits, routes, clusters, to_new_cluster, back_to_echo, policy, target, replaced_target, timeouts, addresses, gateways,
         others, etcd_endpoints]

# (what stands in a good file, what it becomes, the word that the answer must have)
FAULTS = [
    ("drain_timeout = ", "drain_tmeout = ", "drain_timeout"),
    ('mtu = 1500;', "", None),
    ("workers = 1;", "workers = ;", "syntax"),
    ('cluster = "', 'cluster = "x', "clusters"),
    ('"198.18.0.2/24"', '"198.18.0.300/24"', "198.18.0.300"),
    ("198.18.0.2:50051", "198.18.0.9:50051", "198.18.0.9"),
    ("max_concurrent_streams = ", "max_concurrent_streams = 0; max_header_list_size = ", None),
    ("clusters = (", "panic_percent = 3; clusters = (", None),
]
RESTARTS = [("workers = 1;", "workers = 2;", "workers"), ("iface=pen0", "iface=pen1", "ports[].device"),
            ("tcp: {", "limits: { connections = 4000; };\ntcp: {", "limits"), ('"512"', '"600"', "dpdk")]


def invalid(lab, number):
    """A file with a fault, in one of the two ways; nothing may change."""
    good = lab.settings.text()
    kind = [f for f in FAULTS if f[0] in good] + RESTARTS
    old, new, word = kind[number % len(kind)]
    text = good.replace(old, new, 1)
    line = 1 + good[:good.index(old)].count("\n")
    before, said = lab.settled(), len(lab.log_lines("refused"))
    lab.write(text)
    restart = (old, new, word) in RESTARTS
    if number % 2:
        run = lab.ctl("reload")
        expect(run.returncode == 1, f"an invalid file ({new}) is taken: status {run.returncode}")
        first = run.stderr.splitlines()
    else:
        code, answer = post("/api/v1/reload")
        expect(code == 409, f"an invalid file ({new}) is taken: HTTP status {code}, {answer}")
        first = answer["errors"]
    where = f"{lab.work}/penstock.conf:" + ("" if restart else f"{line}:")
    expect(any(l.startswith(where) and (word or "") in l for l in first), f"the fault {new!r} at line {line}: {first}")
    expect(lab.generation() == before, "an invalid configuration made a new generation")
    wait_for(3, "the log says that it was refused", lambda: len(lab.log_lines("refused")) > said)
    if not restart:
        expect(lab.log_lines(where), f"the log does not name {where}")


def check_endpoints_left(lab, connects):
    """Nobody who stayed was connected anew: echo's endpoints have the connections that they had."""
    return {address: n - connects.get(address, 0) for address, n in lab.connects().items()}


def reloads(report, work, build, asan, gateway_build=None, count=100, rate=400):
    lab = Live(work, build, gateway_build).start()
    loads = [Load(lab, "--rate", rate // 4).flowing() for _ in range(4)]
    choice = random.Random(5)
    done, refused, kinds = 0, 0, list(KINDS)
    for number in range(count):
        if number % 3 == 2:
            invalid(lab, number // 3)
            refused += 1
            continue
        if not kinds:
            kinds = list(KINDS)
            choice.shuffle(kinds)
        kind = kinds.pop(0)
        kind(lab.settings, number)
        done += 1
        if number % 4 == 1:  # by signal: the log tells when it is done
            lab.write()
            lab.gateway.send_signal(signal.SIGHUP)
            time.sleep(0.1)
            wait_for(10, f"SIGHUP ({kind.__name__}) is done", lambda: not lab.status()["reloading"])
        else:
            lab.reload()
        failures = [f for load in loads for f in load.failures()]
        expect(not failures, f"reload {number} ({kind.__name__}): {len(failures)} calls failed: {failures[:3]}")
    time.sleep(0.5)
    summaries = [load.stop() for load in loads]
    expect(lab.gateway.poll() is None, "the gateway ended")
    expect(all(s["failed"] == 0 for s in summaries), f"{summaries}")
    expect(all(s["reconnects"] == 0 for s in summaries), f"connections of the load were lost: {summaries}")
    want = {(bind, name) for name, (bind, _, _) in lab.settings.listeners.items()}
    expect({(l["bind"], l["name"]) for l in lab.status()["listeners"]} == want, f"listeners: {lab.status()['listeners']}, not {want}")
    report.ok(f"{done} reloads of {len(KINDS)} kinds and {refused} refused ones under {rate} RPC/s: no call failed, no connection lost "
              f"({sum(s['ok'] for s in summaries)} calls)")
    expect(lab.end_gateway() == 0, f"exit status {lab.gateway.returncode}")


def reloads_sanitized(report, work, build, asan):
    reloads(report, work, build, asan, gateway_build=asan, count=60, rate=200)


CHECKS = [
    {"name": "reloads", "run": reloads, "limit": 240},
]
