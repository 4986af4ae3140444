"""Reloads over the sanitizer build: nothing may point into a configuration, or a version, that is gone."""
from lab import expect
from reload import reloads
from soak import REPORT


def sanitized(report, work, build, asan):
    reloads(report, work, build, asan, gateway_build=asan, count=60, rate=200)
    with open(f"{work}/penstock.log", errors="replace") as file:
        reports = [line.strip() for line in file if REPORT.search(line)]
    expect(not reports, f"{len(reports)} reports, the first: {reports[:3]}")


CHECKS = [
    {"name": "reloads-sanitizer", "run": sanitized, "limit": 240},
]
