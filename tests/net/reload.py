"""Live configuration: reloads under load, drains and weights by hand, one endpoint of many replaced."""
import json
import os
import random
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

from balance import shares_right
from lab import Lab, Load, count_all, expect, wait_for
from workers import hold, spread_loads, worker_thread

CONFIG = """
dpdk: {{ eal = [ "--no-huge", "-m", "512", "--no-pci" ]; }};
workers = {workers};
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
        self.values = {"workers": 1, "drain": 20, "idle": "adaptive", "gateway": "", "rto": 20, "level": "info"}
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

    def reload_by_signal(self, words):
        """The log tells when it is taken up."""
        self.write()
        said = len(self.log_lines("SIGHUP:"))
        self.gateway.send_signal(signal.SIGHUP)
        wait_for(10, f"SIGHUP ({words}) is taken up", lambda: len(self.log_lines("SIGHUP:")) > said)
        wait_for(20, f"SIGHUP ({words}) is done", lambda: not self.status()["reloading"])

    def generation(self):
        return self.metric("penstock_snapshot_generation")

    def settled(self):
        """The generation, once the last change is through: endpoints that come and go make generations of their own."""
        last = [None, 0]

        def stands():
            now = self.generation()
            if now != last[0]:
                last[:] = [now, time.monotonic()]
            return time.monotonic() - last[1] > 0.3 and not self.status()["reloading"] and now
        return wait_for(20, "the generation stands still", stands)

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
    ("workers = ", "workers = ;", "syntax"),
    ('cluster = "', 'cluster = "x', "clusters"),
    ('"198.18.0.2/24"', '"198.18.0.300/24"', "198.18.0.300"),
    ("198.18.0.2:50051", "198.18.0.9:50051", "198.18.0.9"),
    ("max_concurrent_streams = ", "max_concurrent_streams = 0; max_header_list_size = ", None),
    ("clusters = (", "panic_percent = 3; clusters = (", None),
    ('{ name = "grpc";', '{ name = "low"; bind = "198.18.0.2:30000"; routes = ( { path = "/"; cluster = "echo"; } ); }, { name = "grpc";', "kept for connections"),
    ("max_concurrent_streams = ", 'max_header_list_size = "1MiB"; max_concurrent_streams = ', "at start"),
]
RESTARTS = [("workers = ", "workers = 1", "workers"), ("iface=pen0", "iface=pen1", "ports[].device"),
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


def reloads(report, work, build, asan, gateway_build=None, count=100, rate=400, workers=1):
    lab = Live(work, build, gateway_build)
    lab.settings.values["workers"] = workers
    lab.config = lab.settings.text()
    lab.start()
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
        if number % 4 == 1:
            lab.reload_by_signal(kind.__name__)
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
    report.ok(f"{done} reloads of {len(KINDS)} kinds and {refused} refused ones under {rate} RPC/s with workers = {workers}: no call failed, no connection lost "
              f"({sum(s['ok'] for s in summaries)} calls)")
    expect(lab.end_gateway() == 0, f"exit status {lab.gateway.returncode}")


def many(report, work, build, asan):
    """200 endpoints, one replaced: one connect, one close; in a static cluster by a reload, in an etcd cluster by etcd."""
    lab = Live(work, build)
    lab.start(backends=0)
    hosts = [f"198.18.0.{n}" for n in range(10, 212)]
    with open(f"{work}/addresses", "w") as file:
        file.write("".join(f"addr add {host}/24 dev pen0\n" for host in hosts))
    subprocess.run(["ip", "-batch", f"{work}/addresses"], check=True)
    lab.spawn([f"{build}/tests/peers/echo-server", "--listen", "0.0.0.0:50061", "--id", "all"], f"{work}/all.log", "wb")
    wait_for(5, "the backend listens", lambda: "listening" in open(f"{work}/all.log").read())

    def addresses(first):
        return [f"{host}:50061" for host in hosts[first:first + 200]]

    def look():
        return lab.metric("penstock_endpoint_connects_total"), lab.metric("penstock_connections", side="backend")

    def closes():
        return sum("lost" in line for line in lab.log_lines("connection to backend"))

    def replaced(kind, act, gone):
        load = Load(lab, "--rate", 200).flowing()
        expect(look() == (connects, 200), f"{look()} before, not {connects} connects and 200 connections")
        lost = closes()
        act()
        wait_for(10, f"{kind}: the new endpoint is connected and the old one gone", lambda: look() == (connects + 1, 200) and
                 gone not in [e["address"] for e in lab.cluster("echo")["endpoints"]])
        time.sleep(1)
        expect(look() == (connects + 1, 200), f"{kind}: {look()}, not one connect more and 200 connections")
        expect(closes() == lost, f"{kind}: connections were lost")
        load.stop_unharmed()
        report.ok(f"200 endpoints ({kind}), one replaced under load: one connect, one close, no call failed")

    def ready():
        return sum(e["state"] == "READY" for e in lab.cluster("echo")["endpoints"]) == 200
    for host in hosts[:200]:
        lab.etcd.put(host, f"{host}:50061")
    wait_for(20, "200 endpoints are READY", ready)
    connects = 200

    def in_etcd():
        lab.etcd.put(hosts[200], f"{hosts[200]}:50061")
        lab.etcd.delete(hosts[0])
    replaced("etcd", in_etcd, f"{hosts[0]}:50061")
    connects = 201

    def to_static(first):
        lab.settings.clusters["echo"] = f'target = "static:///{",".join(addresses(first))}";'
        lab.reload()
    to_static(1)  # the same 200 endpoints from another source: nobody is touched
    expect(look() == (connects, 200), f"another source of the same set: {look()}")
    replaced("static", lambda: to_static(2), f"{hosts[1]}:50061")


def by_hand(report, work, build, asan):
    lab = Live(work, build)
    lab.settings.clusters["echo"] = 'target = "etcd:///services/echo/"; lb_policy = "weighted_round_robin"; lb_config: { weights = "registry"; };'
    lab.config = lab.settings.text()
    lab.start(weights=[1, 1, 1])
    load = Load(lab, "--rate", 400).flowing()
    a, b, c = (lab.backends[f"b{n}"].address for n in (1, 2, 3))

    def order(*words):
        run = lab.ctl(*words)
        expect(run.returncode == 0, f"penstockctl {' '.join(map(str, words))}: {run.returncode}: {run.stderr}")

    def shares(words, **weights):
        time.sleep(0.3)
        shares_right(load, 2, weights, 600)
        report.ok(f"{words}: shares {weights}")
    connects = lab.connects()
    order("weight", "echo", a, 4)
    shares("weight 4 by hand", b1=4, b2=1, b3=1)
    lab.backends["b1"].register(9)
    shares("the registry's word does not beat it", b1=4, b2=1, b3=1)
    lab.settings.values["drain"] = 7
    lab.reload()
    shares("it survives a reload", b1=4, b2=1, b3=1)
    order("weight", "echo", a, "auto")
    lab.backends["b1"].register(1)
    shares("auto: the registry's again", b1=1, b2=1, b3=1)
    order("drain", "echo", b, "--wait")
    expect(lab.endpoint("echo", b)["state"] == "DRAINING" and lab.endpoint("echo", b)["active_streams"] == 0, f"{lab.endpoint('echo', b)}")
    shares("drained by hand", b1=1, b2=0, b3=1)
    lab.etcd.delete("b2")  # it leaves and comes back: the order holds
    wait_for(5, "b2 has left", lambda: b not in [e["address"] for e in lab.cluster("echo")["endpoints"]])
    lab.backends["b2"].register(1)
    wait_for(5, "b2 is back, and drained", lambda: any(e["address"] == b and e["state"] == "DRAINING" for e in lab.cluster("echo")["endpoints"]))
    order("undrain", "echo", b)
    wait_for(5, "b2 is READY", lambda: lab.endpoint("echo", b)["state"] == "READY")
    shares("undrained", b1=1, b2=1, b3=1)
    hold = subprocess.Popen([f"{build}/tests/peers/echo-client", "hold", "--target", "198.18.0.2:50051", "--streams", "6", "--seconds", "4"],
                            stdout=subprocess.PIPE, text=True)
    expect(json.loads(hold.stdout.readline()).get("open") == 6, "streams do not open")
    began = time.monotonic()
    order("drain", "echo", c, "--wait")
    took = time.monotonic() - began
    lines = [json.loads(line) for line in hold.communicate(timeout=30)[0].splitlines()]
    expect(lines[-1]["endings"] == {"OK": 6}, f"running streams did not finish: {lines}")
    expect(2 < took < 15, f"drain --wait took {took:.1f} s, the streams 4")
    for words, status in ((["drain", "nobody", a], 1), (["drain", "echo", "198.18.0.1:1"], 1), (["weight", "echo", a, "70000"], 2), (["drain", "echo"], 2)):
        run = lab.ctl(*words)
        expect(run.returncode == status and run.stderr, f"penstockctl {words}: {run.returncode}: {run.stderr}")
    load.stop_unharmed()
    left = {d: n for d, n in lab.connects().items() if d != b}
    expect(left == {d: n for d, n in connects.items() if d != b}, f"weights by hand made connections: {connects} -> {lab.connects()}")
    report.ok(f"drain --wait returned when the last of its streams had ended ({took:.1f} s), no call failed, nobody else was reconnected")


def taken_away(report, work, build, asan):
    """A listener, a listener's address, a cluster and a port's address, each with calls under way."""
    lab = Live(work, build)
    lab.settings.listeners["two"] = ["198.18.0.2:50052", 128, ["second"]]
    lab.settings.clusters["second"] = 'target = "static:///198.18.0.1:50061,198.18.0.1:50062";'
    lab.config = lab.settings.text()
    lab.start(backends=2, registered=False)
    for backend in lab.backends.values():
        backend.register()
    wait_for(5, "READY", lambda: sum(e["state"] == "READY" for n in ("echo", "second") for e in lab.cluster(n)["endpoints"]) == 4)
    main = Load(lab, "--rate", 200, "--retries").flowing()  # without, gRPC's core fails a call that it had given to a connection and not sent when that is told to go

    def hold():
        p = subprocess.Popen([f"{build}/tests/peers/echo-client", "hold", "--target", "198.18.0.2:50052", "--streams", "6", "--seconds", "3"],
                             stdout=subprocess.PIPE, text=True)
        expect(json.loads(p.stdout.readline()).get("open") == 6, "streams do not open")
        return p

    def finished(p, words):
        lines = [json.loads(line) for line in p.communicate(timeout=30)[0].splitlines()]
        expect(lines[-1]["endings"] == {"OK": 6}, f"{words}: {lines}")
        report.ok(words)
    held = hold()
    busy = Load(lab, "--rate", 200, "--retries", target="198.18.0.2:50052").flowing()
    del lab.settings.listeners["two"], lab.settings.clusters["second"]
    lab.reload()
    finished(held, "a listener and its cluster taken away: running streams finish")
    wait_for(5, "calls meet the closed listener", busy.failures)
    busy.stop()
    bad = [f for f in busy.failures() if f["failure"] != "UNAVAILABLE" or not re.search(r"refused|failed to connect|connect", f["message"], re.I)]
    expect(not bad, f"calls failed otherwise than at a closed listener: {bad[:4]}")
    report.ok(f"no call failed but those that met the closed listener ({len(busy.failures())})")
    wait_for(5, "the cluster's endpoints are gone", lambda: lab.cluster("second") is None and lab.metric("penstock_connections", side="backend") == 2)
    lab.settings.listeners["two"] = ["198.18.0.2:50052", 128, ["echo"]]
    lab.reload()
    held = hold()
    lab.settings.listeners["two"][0] = "198.18.0.2:50053"
    lab.reload()
    status, lines = lab.client("load", "--count", 50, target="198.18.0.2:50053")
    expect(status == 0, f"the moved listener does not answer: {lines[-1]}")
    finished(held, "a listener moved: streams at its former address finish, new calls find it at the new one")
    lab.settings.listeners["grpc"][0], lab.settings.listeners["two"][0] = "198.18.0.2:50053", "198.18.0.2:50051"
    lab.reload()
    status, lines = lab.client("load", "--count", 50, target="198.18.0.2:50053")
    expect(status == 0, f"listeners that change places: {lines[-1]}")
    report.ok("two listeners take each other's address in one reload")
    summary = main.stop()
    expect(summary["failed"] == 0, f"{summary}; {main.failures()[:3]}")
    # An address is taken: its connections are reset, others stay.
    lab.settings.addresses.append("198.18.0.3/24")
    lab.settings.listeners["two"][0] = "198.18.0.3:50051"
    lab.reload()
    stays = Load(lab, "--rate", 200, target="198.18.0.2:50053").flowing()
    goes = Load(lab, "--rate", 200, target="198.18.0.3:50051").flowing()
    lab.settings.addresses.remove("198.18.0.3/24")
    lab.settings.listeners["two"][0] = "198.18.0.2:50051"
    def established():
        found = subprocess.run(["ss", "-Htn", "state", "established", "dst", "198.18.0.3"], capture_output=True, text=True)
        return len(found.stdout.splitlines())
    expect(established() == 1, f"{established()} connections to the address before")
    lab.write()
    began = time.monotonic()
    expect(post("/api/v1/reload")[0] == 200, "the reload is refused")
    wait_for(5, "the connection to the former address ends", lambda: established() == 0)
    took = time.monotonic() - began
    wait_for(15, "calls to the former address fail", goes.failures)  # once an attempt to connect is over
    wait_for(3, "the log says that the address was taken", lambda: lab.log_lines("an address was taken from port 0", "1 connections on it were reset"))
    goes.stop()
    time.sleep(0.5)
    stays.stop_unharmed()
    report.ok(f"an address taken from the port: its connections are reset at once ({1000 * took:.0f} ms), those of another stay")


def odds(report, work, build, asan):
    """A new cluster that nobody answers for, reloads that wait, the admin server elsewhere, the same file again."""
    lab = Live(work, build).start()
    load = Load(lab, "--rate", 200).flowing()
    before = lab.settled()
    lab.reload()
    expect(lab.generation() == before, "the file that is in force made a generation")
    lab.settings.clusters["dead"] = 'target = "static:///198.18.0.1:9";'
    lab.settings.listeners["grpc"][2] = ["dead", "echo"]
    began = time.monotonic()
    lab.reload()
    report.note(f"a new cluster whose endpoint refuses: in force after {time.monotonic() - began:.1f} s")
    mute = socket.create_server(("198.18.0.1", 9998))  # takes connections and says nothing
    lab.settings.clusters["silent"] = 'target = "static:///198.18.0.1:9998"; connect_timeout = "60s";'
    lab.settings.listeners["grpc"][2] = ["silent", "echo"]
    lab.write()
    expect(post("/api/v1/reload")[1]["pending"], "routes to a cluster that is not connected change at once")
    lab.settings.listeners["late"] = ["198.18.0.2:51000", 64, ["echo"]]
    lab.write()
    lab.gateway.send_signal(signal.SIGHUP)
    time.sleep(1)
    expect(not lab.log_lines("listening on 198.18.0.2:51000"), "a reload did not wait for the one before")
    wait_for(10, "both are in force", lambda: not lab.status()["reloading"])
    wait_for(3, "the later one is in force", lambda: lab.log_lines("listening on 198.18.0.2:51000"))
    expect(lab.log_lines("cluster silent has no READY endpoint"), "the log does not name the cluster that was waited for")
    text = lab.settings.text()
    lab.write(text.replace("127.0.0.1:9901", "127.0.0.1:2379"))  # etcd has it
    run = lab.ctl("reload")
    expect(run.returncode == 1 and "127.0.0.1:2379" in run.stderr, f"an admin address that is taken: {run.returncode}, {run.stderr}")
    lab.write(text.replace("127.0.0.1:9901", "127.0.0.1:9902"))
    run = lab.ctl("reload")
    expect(run.returncode == 0, f"admin.bind moves: {run.stderr}")
    wait_for(5, "admin answers at its new address", lambda: lab.ctl("-a", "127.0.0.1:9902", "status").returncode == 0)
    expect(lab.ctl("status").returncode == 1, "admin answers at its former address")
    lab.write(text)
    expect(lab.ctl("-a", "127.0.0.1:9902", "reload").returncode == 0, "admin.bind moves back")
    wait_for(5, "admin answers at its first address", lambda: lab.http("/healthz")[0] == 200)
    mute.close()
    load.stop_unharmed()
    report.ok("a cluster without endpoints is waited for 5 s, reloads wait for each other, admin.bind moves and is refused where it can't, no call failed")


def to_known(report, work, build, asan):
    """Calls are led to a cluster that has been there all the time, whose only backend is back for one worker and in back-off for the other."""
    lab = Live(work, build)
    lab.settings.values["workers"] = 2
    lab.settings.clusters["single"] = 'target = "static:///198.18.0.1:50070";'
    lab.config = lab.settings.text()
    lab.start()
    single = lab.add("single", "198.18.0.1:50070")

    def connected():
        return lab.metric("penstock_connections", side="backend")
    wait_for(30, "the single backend is connected to both workers", lambda: connected() == 8)
    loads = spread_loads(lab, 2, "--rate", 100)
    for turn in range(3):
        single.kill()
        wait_for(15, "both workers have lost it", lambda: connected() == 6 and lab.cluster("single")["endpoints"][0]["state"] == "TRANSIENT_FAILURE")
        over = threading.Event()  # chance shows one worker connected and the other not for some ms, a worker that is held as long as this takes
        held = threading.Thread(target=hold, args=(worker_thread(lab, 1), 30, over.wait))
        held.start()
        try:
            single.start()
            wait_for(15, "one worker is connected again", lambda: connected() == 7)
            lab.settings.listeners["grpc"][2] = ["single"]
            lab.write()
            expect(post("/api/v1/reload")[1]["pending"], "routes to a cluster that a worker is not connected to change at once")
        finally:
            over.set()
        held.join()
        wait_for(15, "the routes change", lambda: not lab.status()["reloading"])
        time.sleep(0.5)
        failures = [f for load in loads for f in load.failures()]
        expect(not failures, f"{len(failures)} calls failed where routes lead to a cluster that a worker was not connected to: {failures[:3]}")
        expect(connected() == 8, f"{connected()} connections to backends")
        lab.settings.listeners["grpc"][2] = ["echo"]
        lab.reload()
        wait_for(10, "no call goes to it", lambda: "single" not in count_all(loads, 0.3) and lab.metric("penstock_streams_active", cluster="single") == 0)
    for load in loads:
        load.stop_unharmed()
    report.ok("routes to a cluster that is there already, in back-off on one of two workers (three times): they wait for it, no call failed")


def reloads_workers(report, work, build, asan):
    reloads(report, work, build, asan, count=50, rate=200, workers=2)


CHECKS = [
    {"name": "reload-odds", "run": odds},
    {"name": "reload-to-known", "run": to_known},
    {"name": "reload-workers", "run": reloads_workers, "limit": 240},
    {"name": "reload-many", "run": many},
    {"name": "reload-by-hand", "run": by_hand},
    {"name": "reload-taken-away", "run": taken_away},
    {"name": "reloads", "run": reloads, "limit": 240},
]
