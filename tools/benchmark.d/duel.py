"""CPU per RPC of every proxy on the same path, in rounds: each round measures all of them one after another, and a ratio is taken within a round.

A load is a closed loop of h2load; within it, a window.  At both of its ends the same moment gives the backends' counts and the processes' clocks, so that a
figure holds only what was answered while it was paid for.
"""
import re
import statistics
import subprocess
import time

from wire import MESSAGE, Broken, cpu_of, wait_for

WARM = 0.6  # seconds from h2load's start to the window
LOADS = {  # id: (words, h2load's arguments)
    "c8m32": ("8 connections, 32 RPCs open on each", ["-c", "8", "-m", "32"]),
    "c256": ("256 connections, one RPC open on each", ["-c", "256", "-m", "1"]),
    "10k": ("8 connections, 10,000 RPCs a second in all", ["-c", "8", "-m", "32", "--rps", "1250"]),
}
HEADERS = ["content-type: application/grpc", "te: trailers", "user-agent: grpc-go/1.60.0"]


FEW = 1000  # RPCs of a window: fewer say nothing


class TooFew(Broken):
    """The machine ran others meanwhile."""


class Sample:
    def __init__(self, wire, proxy, load):
        self.time = time.monotonic()
        self.answered, self.wrong = wire.counts()
        self.proxy = proxy.cpu_ns()
        self.around = cpu_of(load.pid) + cpu_of(wire.backend.pid)


def window(wire, proxy, load, seconds):
    """The figures of one window, or of the first of a few that holds enough."""
    for _ in range(5):
        try:
            return once(wire, proxy, load, seconds)
        except TooFew as few:
            last = few
    raise last


def once(wire, proxy, load, seconds):
    log = f"{wire.work}/h2load.log"
    command = ["taskset", "-c", str(wire.load_core), "h2load", "-D", f"{1000 * (WARM + seconds + 0.2):.0f}ms", "-d", f"{wire.work}/request.bin"]
    for header in HEADERS:
        command += ["-H", header]
    with open(log, "w") as file:
        client = subprocess.Popen(command + LOADS[load][1] + [f"http://{proxy.target}/echo.Echo/Unary"], stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        time.sleep(WARM)
        failed, busy = proxy.own()
        before = Sample(wire, proxy, client)
        time.sleep(seconds)
        after = Sample(wire, proxy, client)
        failed, busy = (b - a if b is not None else None for a, b in zip((failed, busy), proxy.own()))
        client.wait(30)
    finally:
        if client.poll() is None:
            client.kill()
    judge(proxy, load, log, failed, after)
    return figures(proxy, before, after, busy)


def judge(proxy, load, log, failed, after):
    with open(log) as file:
        words = file.read()
    found = re.search(r"requests: .* (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", words)
    proxy.check()
    if not found:
        raise Broken(f"h2load to {proxy.name}: {words[-300:]}")
    done, good, *bad = map(int, found.groups())
    if good == 0 or good != done or any(bad) or failed or after.wrong:
        raise Broken(f"{proxy.name}, {load}: {good} of {done} succeeded, {bad} failed, errored, timed out, {failed:.0f} not OK, {after.wrong} arrived changed")


def figures(proxy, before, after, busy):
    """Busy is at most the process's CPU time (what interrupted it counts for nothing) and at most what the proxy calls busy (so does waiting awake)."""
    counts = [b - a for a, b in zip(before.answered, after.answered)]
    rpcs = sum(counts)
    if rpcs < FEW:
        raise TooFew(f"{proxy.name}: {rpcs} RPCs in {after.time - before.time:.1f} s: too few to measure")
    cpu = after.proxy - before.proxy
    return {"rpcs": rpcs, "rate": rpcs / (after.time - before.time), "cpu_us": cpu / 1e3 / rpcs,
            "busy_us": (cpu if busy is None else min(cpu, busy)) / 1e3 / rpcs, "around_us": (after.around - before.around) / 1e3 / rpcs,
            "share": cpu / 1e9 / (after.time - before.time),
            "skew": max(counts) / (rpcs / len(counts)) - 1}


def play(wire, loads, rounds, seconds, say):
    """{load: {proxy: [figures of each round]}}"""
    table = {load: {proxy.name: [] for proxy in wire.proxies} for load in loads}
    for number in range(rounds):
        for load in loads:
            for proxy in wire.proxies:
                table[load][proxy.name].append(window(wire, proxy, load, seconds))
        say(f"round {number + 1} of {rounds}: " + ", ".join(f"{name} {rows[-1]['busy_us']:.1f}" for name, rows in table[loads[0]].items())
            + f" busy CPU-µs an RPC ({loads[0]})")
    return table


def ratio(table, load, one, other, key="busy_us"):
    """The median over rounds of one's figure by the other's of the same round."""
    return statistics.median([a[key] / b[key] for a, b in zip(table[load][one], table[load][other])])
