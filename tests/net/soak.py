"""Is the gateway clean under the sanitizers, and does every object find its way back?"""
import re
import time

from lab import GATEWAY6, Lab, Wrong, expect, tail, wait_for

REPORT = re.compile(r"ERROR: AddressSanitizer|ERROR: LeakSanitizer|runtime error:|SUMMARY: .*Sanitizer")


def mixed(report, work, build, asan, workers=1):
    seconds = 600 if report.long else 60
    lab = Lab(work, build, gateway_build=asan)
    lab.config = lab.config.replace("workers = 1;", f"workers = {workers};")
    lab.start()
    for target in ("198.18.0.2:50051", GATEWAY6):  # what stays on purpose is there once: neighbours, caches of buffers
        lab.client("mixed", "--seconds", 3, "--threads", 4, target=target)
    idle = settle(lab, None)
    began = time.monotonic()
    wrong = 0
    for target, share in (("198.18.0.2:50051", 0.7), (GATEWAY6, 0.3)):
        status, lines = lab.client("mixed", "--seconds", int(seconds * share), "--threads", 8, "--channels", 3, target=target, seconds=seconds * share + 90)
        bad = [line for line in lines if "unexpected" in line and "summary" not in line]
        expect(lab.gateway.poll() is None, f"penstock ended with {lab.gateway.returncode}:\n{tail(lab.log, 40)}")
        if status:
            wrong += 1
            report.failed(f"mixed load: {lines[-1].get('unexpected')} of {lines[-1].get('calls')} calls ended otherwise than asked ({lines[0]}): {bad[:5]}")
        report.note(f"{lines[-1].get('calls')} calls")
    with open(lab.log, errors="replace") as file:
        reports = [line.strip() for line in file if REPORT.search(line)]
    expect(not reports, f"{len(reports)} reports, the first: {reports[:3]}")
    if not wrong:
        report.ok(f"{time.monotonic() - began:.0f} s of mixed load in the sanitizer build: every call ended as asked, no report")
    settle(lab, idle)
    report.ok(f"every penstock_objects in-use count is back at its idle value: {shown(idle)}")
    status = lab.end_gateway()
    expect(status == 0, f"exit status {status}:\n{tail(lab.log, 40)}")
    with open(lab.log, errors="replace") as file:
        reports = [line.strip() for line in file if REPORT.search(line)]
    expect(not reports, f"reports at its end: {reports[:3]}")
    report.ok("no report at its end either")


def in_use(lab):
    """HPACK's tables grow from class to class with what a connection that stays has sent: their number counts, not their sizes."""
    out = {}
    for kind, value in lab.objects_in_use().items():
        kind = re.sub(r"^hpack_\d+$", "hpack", kind)
        out[kind] = out.get(kind, 0) + value
    return out


def shown(counts):
    return ", ".join(f"{kind} {value:.0f}" for kind, value in sorted(counts.items()) if value)


def settle(lab, wanted):
    """In-use counts once they stand still; TIME_WAIT holds connections for up to two minutes."""
    def differing():
        now = in_use(lab)
        return {kind: (now.get(kind, 0), wanted.get(kind, 0)) for kind in set(now) | set(wanted) if now.get(kind, 0) != wanted.get(kind, 0)}
    if wanted is not None:
        try:
            wait_for(150, "objects return", lambda: not differing())
        except Wrong:
            raise Wrong(f"not back at its idle value (in use, idle): {differing()}") from None
        return wanted
    end, last, since = time.monotonic() + 150, None, time.monotonic()
    while time.monotonic() < end:
        now = in_use(lab)
        expect(now, "penstock_objects is not exported")
        if now != last:
            last, since = now, time.monotonic()
        if time.monotonic() - since > 5:
            return now
        time.sleep(0.5)
    raise Wrong(f"in-use counts never stand still: {shown(last)}")


CHECKS = [
    {"name": "mixed", "run": mixed, "limit": 500, "long_limit": 1200, "long_words": "ten minutes of mixed load in the sanitizer build"},
    {"name": "two-workers", "run": lambda *given: mixed(*given, workers=2), "limit": 500, "long_limit": 1200, "long_words": "the same with two workers"},
]
