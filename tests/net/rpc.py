"""Subsets, queues, further connections: what becomes of a call between its route and its backend?"""
import signal
import time

from lab import Lab, Load, count_all, expect, wait_for
from workers import spread_loads, workers_lab


def subsets(report, work, build, asan):
    """Two workers, six endpoints, three for each: one connection to each endpoint, and all of them have calls."""
    lab = workers_lab(work, build, cluster="subset_size = 3;").start(backends=6)
    wait_for(5, "six connections to backends", lambda: lab.metric("penstock_connections", side="backend") == 6)
    expect(lab.metric("penstock_connection_budget", cluster="echo") == 6, f"the budget is {lab.metric('penstock_connection_budget')}")
    wait_for(3, "the log states the budget", lambda: lab.log_lines("endpoints, 6 connections of 2 workers (24 at most)"))
    loads = spread_loads(lab, 2, "--rate", 100)
    counts = count_all(loads, 3)
    total = sum(counts.values())
    expect(len(counts) == 6 and all(abs(n - total / 6) <= 0.05 * total for n in counts.values()), f"shares: {counts}")
    before = lab.metric("penstock_endpoint_connects_total")
    lab.add("b7").register()
    time.sleep(1)
    lab.etcd.delete("b6")
    lab.wait_ready(6)
    wait_for(5, "six connections again", lambda: lab.metric("penstock_connections", side="backend") == 6)
    moved = lab.metric("penstock_endpoint_connects_total") - before
    expect(1 <= moved <= 8, f"one endpoint came and one went, and {moved} connections were made")
    for load in loads:
        load.stop_unharmed()
    report.ok(f"subset_size 3 of 6 endpoints on 2 workers: 6 connections, shares {counts}; one that comes and one that goes make {moved:.0f} new connections, no call failed")


def queue(report, work, build, asan):
    """no_ready = queue: calls wait for the first backend, and for the one that comes back."""
    lab = Lab(work, build, cluster='no_ready: { action = "queue"; max = 40; timeout = "20s"; };').start(backends=0, registered=False)
    load = Load(lab, "--in-flight", 30, "--count", 300)
    wait_for(5, "thirty calls wait", lambda: lab.metric("penstock_rpcs_waiting", cluster="echo") == 30)
    began = time.monotonic()
    lab.add("b1").register()
    summary = load.finish()
    expect(summary["ok"] == 300 and summary["failed"] == 0, f"{summary}; {load.failures()[:3]}")
    took = time.monotonic() - began
    expect(lab.metric("penstock_rpcs_waited_total", outcome="started") == 30, f"{lab.metric('penstock_rpcs_waited_total')} waited")
    lab.backends["b1"].kill()
    time.sleep(0.3)
    load = Load(lab, "--in-flight", 60, "--count", 60, "--deadline-ms", 1500)
    summary = load.finish()
    kinds = {}
    for line in load.failures():
        kinds[line["failure"]] = kinds.get(line["failure"], 0) + 1
    expect(summary["failed"] == 60 and kinds == {"UNAVAILABLE": 20, "DEADLINE_EXCEEDED": 40}, f"sixty calls, room for forty: {kinds}, {summary}")
    load = Load(lab, "--in-flight", 10, "--count", 100)
    wait_for(5, "ten calls wait", lambda: lab.metric("penstock_rpcs_waiting", cluster="echo") == 10)
    lab.backends["b1"].start()
    summary = load.finish()
    expect(summary["ok"] == 100 and summary["failed"] == 0, f"{summary}; {load.failures()[:3]}")
    expect(lab.metric("penstock_rpcs_waiting", cluster="echo") == 0, "nobody waits any more")
    wait_for(5, "no record is held", lambda: lab.objects_in_use().get("replay", 0) + lab.objects_in_use().get("replay_small", 0) == 0)
    report.ok(f"no_ready = queue: 30 calls waited for the first backend ({took:.1f} s after it began to start), 40 of 60 until their deadline, 20 found the queue full, "
              "10 for a backend that came back")


def stream_limit(report, work, build, asan):
    """Two streams a connection: no call is refused; further connections are opened, as many as may be; where all streams hang calls wait so long, and so many."""
    lab = Lab(work, build, cluster='max_connections_per_endpoint = 3; no_ready: { max = 20; timeout = "2s"; };').start(backends=0, registered=False)
    lab.add("b1", max_streams=2).register()
    lab.wait_ready(1)
    load = Load(lab, "--in-flight", 20, "--count", 400, "--delay-ms", 20)
    wait_for(5, "three connections", lambda: lab.metric("penstock_connections", side="backend") == 3)
    summary = load.finish()
    expect(summary["ok"] == 400 and summary["failed"] == 0, f"{summary}; {load.failures()[:3]}")
    expect(lab.metric("penstock_endpoint_connects_total") == 3, f"{lab.metric('penstock_endpoint_connects_total')} connects")
    before = {how: lab.metric("penstock_rpcs_waited_total", outcome=how) or 0 for how in ("timeout", "refused")}
    hanging = Load(lab, "--in-flight", 6, "--count", 6, "--delay-ms", 7000)
    wait_for(5, "all streams hang", lambda: lab.metric("penstock_streams_active", cluster="echo") == 6)
    load = Load(lab, "--in-flight", 30, "--count", 30)
    summary = load.finish()
    kinds = [line["failure"] for line in load.failures()]
    expect(summary["failed"] == 30 and kinds == ["UNAVAILABLE"] * 30, f"thirty calls of no deadline, no stream: {kinds}, {summary}")
    waited = {how: lab.metric("penstock_rpcs_waited_total", outcome=how) - before[how] for how in before}
    expect(waited == {"timeout": 20, "refused": 10}, f"{waited}")
    expect(lab.metric("penstock_rpcs_waiting", cluster="echo") == 0, "nobody waits any more")
    summary = hanging.finish()
    expect(summary["ok"] == 6 and summary["failed"] == 0, f"{summary}; {hanging.failures()[:3]}")
    report.ok("20 calls at once to a backend that takes 2 a connection: 3 connections, 400 of 400 calls right; with all 6 streams hanging 20 of 30 calls of no deadline waited two seconds, 10 not at all")


POLICY = ('{\\"methodConfig\\": [{\\"name\\": [{\\"service\\": \\"echo.Echo\\"}], \\"retryPolicy\\": {\\"maxAttempts\\": 5, \\"initialBackoff\\": \\"0.05s\\", '
          '\\"maxBackoff\\": \\"0.5s\\", \\"backoffMultiplier\\": 2, \\"retryableStatusCodes\\": [\\"UNAVAILABLE\\"]}}]}')


def retry_policy(report, work, build, asan):
    """One backend after the other is killed under load; with a policy no call of the idempotent method fails."""
    lab = Lab(work, build, cluster=f'service_config = "{POLICY}";').start()
    load = Load(lab, "--rate", 300, "--delay-ms", 20).flowing()
    for round in range(6):
        victim = lab.backends[f"b{round % 3 + 1}"]
        victim.kill()
        time.sleep(0.4)
        victim.start()
        victim.register(lease=lab.etcd.lease(60))
        lab.wait_ready(3)
    summary = load.stop_unharmed()
    retried = lab.metric("penstock_retries_total", kind="policy") or 0
    expect(retried > 0, "no call was retried: nothing was in flight when backends were killed")
    path = f"{work}/penstock.conf"
    with open(path) as file:
        good = file.read()
    with open(path, "w") as file:
        file.write(good.replace('maxAttempts\\": 5', 'maxAttempts\\": 1'))
    lab.gateway.send_signal(signal.SIGHUP)
    wait_for(3, "a broken service config is refused", lambda: lab.log_lines("penstock.conf:", "maxAttempts", "at least 2"))
    report.ok(f"six backends killed under load with a retry policy: none of {summary['ok']} calls failed, {retried:.0f} were tried again; a broken service config is refused")


CHECKS = [
    {"name": "rpc-subsets", "run": subsets, "limit": 120},
    {"name": "rpc-queue", "run": queue},
    {"name": "rpc-retry-policy", "run": retry_policy},
    {"name": "rpc-stream-limit", "run": stream_limit},
]
