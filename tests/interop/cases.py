"""gRPC's official interop cases: each client (grpc-go's own, ours on C++ and Python, and where they can be had on grpc-js, grpc-java and tonic) with each server,
through the gateway, membership by etcd."""
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import gopeers
import otherpeers
from lab import Lab, expect, tail, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = ("empty_unary large_unary client_streaming server_streaming ping_pong empty_stream status_code_and_message special_status_message unimplemented_method "
         "unimplemented_service cancel_after_begin cancel_after_first_response timeout_on_sleeping_server custom_metadata").split()
SOAKS = ["rpc_soak", "channel_soak"]
PYTHON = ["/usr/bin/python3", f"{HERE}/testservice.py"]  # Debian's, with Debian's gRPC


class Peers:
    def __init__(self, lab):
        self.lab = lab
        os.environ["PYTHONPATH"] = f"{lab.build}/tests/peers"
        self.port, self.held = 50060, 0

    def server(self, language):
        """Gives its address, once it listens."""
        self.port += 1
        address, log = f"198.18.0.1:{self.port}", f"{self.lab.work}/{language}.log"
        if language == "go":
            self.lab.spawn([gopeers.program(self.lab.build, "interop-server"), "--port", str(self.port)], log)
            wait_for(10, "grpc-go's server listens", lambda: f":{self.port} " in subprocess.run(["ss", "-ltnH"], capture_output=True, text=True).stdout)
            return address
        program = [f"{self.lab.build}/tests/peers/interop-server"] if language == "cpp" else self.program(language) + ["server"]
        self.lab.spawn(program + ["--listen", address], log)
        wait_for(20, f"the {language} server listens (its words: {tail(log)})", lambda: "listening" in tail(log))
        return address

    def program(self, language):
        return PYTHON if language == "python" else otherpeers.command(self.lab.build, language)

    def go_case(self, name, host, port, iterations):
        run = subprocess.run([gopeers.program(self.lab.build, "interop-client"), "--server_host", host, "--server_port", str(port), "--test_case", name,
                              "--soak_iterations", str(iterations), "--soak_overall_timeout_seconds", "1500", "--soak_per_iteration_max_acceptable_latency_ms", "10000"],
                             capture_output=True, text=True, timeout=1600, stdin=subprocess.DEVNULL)
        return [] if run.returncode == 0 else [f"{name}: {' '.join((run.stdout + run.stderr).split())[-400:]}"]

    def run(self, language, names, target, iterations=10):
        """The cases; gives the words of those that went wrong."""
        host, port = target.rsplit(":", 1)
        if language == "go":
            bad = [words for name in names for words in self.go_case(name, host, port, iterations)]
            self.held += len(names) - len(bad)
            return bad
        program = [f"{self.lab.build}/tests/peers/interop-client"] if language == "cpp" else self.program(language) + ["client"]
        run = subprocess.run(program + ["--target", target, "--cases", ",".join(names), "--iterations", str(iterations)], capture_output=True, text=True,
                             timeout=1600, stdin=subprocess.DEVNULL)
        held = [line.split()[1] for line in run.stdout.splitlines() if line.startswith("ok ")]
        self.held += len(held)
        bad = [line[6:] for line in run.stdout.splitlines() if line.startswith("wrong ")]
        return bad or [f"{name}: {run.stderr.strip()[-300:]}" for name in names if name not in held]


def languages(build):
    return (["go"] if gopeers.up_to_date(build) else []) + ["cpp", "python"] + otherpeers.ready(build)


def lab_with(work, build, servers):
    """A cluster of its own for each server, chosen by the port of the listener."""
    lab = Lab(work, build)
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    listeners = ",\n".join(f'{{ name = "{s}"; bind = "198.18.0.2:{51000 + n}"; routes = ( {{ path = "/"; cluster = "{s}"; }} ); }}' for n, s in enumerate(servers))
    clusters = ",\n".join(f'{{ name = "{s}"; target = "etcd:///services/echo/{s}/"; lb_policy = "round_robin"; }}' for s in servers)
    lab.config = f"""
dpdk: {{ eal = [ "--no-huge", "-m", "512", "--no-pci" ]; }};
workers = 1;
limits: {{ connections = 20000; memory = "4GiB"; }};
ports = ( {{ name = "front"; device = "net_tap0,iface=pen0"; address = [ "198.18.0.2/24" ]; }} );
etcd: {{ endpoints = [ "http://127.0.0.1:2379" ]; }};
listeners = ( {listeners} );
clusters = ( {clusters} );
admin: {{ bind = "127.0.0.1:9901"; }};
"""
    lab.etcd.start()
    lab.start_gateway()
    peers = Peers(lab)
    for server in servers:
        lab.etcd.put(f"{server}/1", peers.server(server))
    wait_for(10, "every cluster has its server", lambda: all(any(e["state"] == "READY" for e in c["endpoints"])
                                                             for c in json.loads(lab.http("/api/v1/clusters")[1])["clusters"]))
    return lab, peers


def interop(report, work, build, asan):
    known = languages(build)
    if "go" not in known:
        report.skipped("the interop cases with grpc-go (no Go >= 1.22, or no network when it was to be built)", "sudo tests/run interop")
    for language, why in otherpeers.missing(build).items():
        report.skipped(f"the interop cases with {language} ({why})", "sudo tests/run interop")
    lab, peers = lab_with(work, build, known)
    wrong = []
    with ThreadPoolExecutor(2) as pool:
        pairs = [(client, server, pool.submit(peers.run, client, CASES, f"198.18.0.2:{51000 + n}")) for client in known for n, server in enumerate(known)]
        for client, server, result in pairs:
            wrong += [f"{client} client, {server} server: {words}" for words in result.result()]
    for words in wrong:
        report.note(words)
    expect(not wrong, f"{len(wrong)} of {len(pairs) * len(CASES)} interop cases failed")
    expect(peers.held == len(pairs) * len(CASES), f"{peers.held} cases ran of {len(pairs) * len(CASES)}")
    report.ok(f"gRPC's interop cases: {len(CASES)} with each of {', '.join(known)} as client and as server, {peers.held} in all")
    lab.end_well()


def soak(report, work, build, asan):
    iterations = 10000 if report.long else 200
    known = languages(build)
    client = known[0]
    lab, peers = lab_with(work, build, known[:1])
    wrong = peers.run(client, SOAKS, "198.18.0.2:51000", iterations)
    expect(not wrong, f"{iterations} iterations: {wrong}")
    report.ok(f"rpc_soak and channel_soak, {iterations} iterations each, {client} at both ends")
    if report.long:
        for other in known[1:]:
            wrong = peers.run(other, SOAKS, "198.18.0.2:51000", 1000)
            expect(not wrong, f"{other}: {wrong}")
            report.ok(f"rpc_soak and channel_soak, 1000 iterations each, {other} client, {client} server")
    lab.end_well()


def prepare(build):
    gopeers.prepare(build)  # without it: a language fewer
    otherpeers.prepare(build)
    return None


CHECKS = [
    {"name": "grpc-interop", "run": interop, "prepare": prepare, "limit": 180},
    {"name": "grpc-interop-soak", "run": soak, "prepare": prepare, "limit": 180, "long_limit": 4000},
]
