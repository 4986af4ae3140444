"""Is there a race in the gateway?  The whole of it under ThreadSanitizer, with two workers, while calls flow and everything around it changes.

DPDK's own libraries are not instrumented; what its headers inline into ours is (rte_ring over C11's atomics: RTE_USE_C11_MEM_MODEL).
Nothing is suppressed.
"""
import os

import soak
from churn import BACKENDS, SoakLab
from lab import GATEWAY4, GATEWAY6, TOP, expect, tail


def reports(lab):
    with open(lab.log, errors="replace") as file:
        lines = file.read().split("==================\n")
    return [part for part in lines if "WARNING: ThreadSanitizer" in part]


def race(report, work, build, asan):
    seconds = report.seconds or (900 if report.long else 20)
    os.environ["TSAN_OPTIONS"] = "history_size=4 second_deadlock_stack=1"
    lab = SoakLab(work, build, f"{TOP}/build-tsan", workers=2)
    lab.start(backends=BACKENDS)
    for target in (GATEWAY4, GATEWAY6):
        lab.client("mixed", "--seconds", 1, "--threads", 4, "--rate", 100, target=target)
    record = soak.Record(False, False, 2)
    loads, director, strangers, _ = soak.turmoil(report, lab, record, seconds, 40, seed=report.seed)
    failures = [f for load in loads for f in load.unexpected]
    in_flight = soak.judge(failures, strangers.wrong, director.kills)
    status = lab.end_gateway(60)
    found = reports(lab)
    expect(not found, f"{len(found)} reports, the first:\n{found[0] if found else ''}")
    expect(status == 0, f"exit status {status}:\n{tail(lab.log, 40)}")
    report.ok(f"the gateway under ThreadSanitizer for {seconds} s: two workers, {sum(load.last['calls'] for load in loads)} calls ({in_flight} lost with a backend), "
              f"{sum(director.done.values())} changes, {sum(strangers.done.values())} strangers: no report")


CHECKS = [
    {"name": "race-gateway", "run": race, "limit": 180, "long_seconds": 900, "long_words": "a quarter of an hour of the gateway under ThreadSanitizer"},
]
