#!/usr/bin/env python3
"""Runs the checks of a lab tier, each in namespaces of its own and for a bounded time.

usage: tests/net/run.py net|interop|soak|nic [--long] [--keep] [NAME…]      (root; tests/run calls it)
  NAME     only checks whose name holds it          --list   names them
  --keep   do not delete the logs of checks that held

Prints one line a result: "ok NAME", "FAILED NAME: why", "skipped NAME: COMMAND".
"""
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
TIERS = {"net": ["balance", "failures", "life", "workers", "devices", "reload", "eyes"], "interop": ["conformance"], "soak": ["soak", "reload_sanitized"], "nic": ["nic"]}
sys.path[:0] = [HERE, f"{os.path.dirname(HERE)}/nic"]


def checks_of(tier):
    for module in TIERS[tier]:
        yield from importlib.import_module(module).CHECKS


class Report:
    """What a check says of its results; it may have several."""

    def __init__(self, name, long):
        self.name, self.long, self.bad, self.said = name, long, 0, 0

    def ok(self, words):
        self.said += 1
        print("ok", words, flush=True)

    def failed(self, words):
        self.said += 1
        self.bad += 1
        print("FAILED", words.replace("\n", "\n    "), flush=True)

    def note(self, words):
        print("  ", words, flush=True)

    def skipped(self, words, command):
        self.said += 1
        print(f"skipped {words}: {command}", flush=True)


def inside(tier, name, work, long):
    """Process 1 of the namespaces of one check."""
    from lab import Wrong
    check = next(c for c in checks_of(tier) if c["name"] == name)
    report = Report(name, long)
    with open(f"{work}/netns", "w") as file:
        file.write(os.readlink("/proc/self/ns/net"))
    try:
        check["run"](report, work, f"{TOP}/build", f"{TOP}/build-asan")
        if report.said == 0:
            report.ok(name)
    except Wrong as wrong:
        report.failed(f"{name}: {wrong}")
    except Exception:
        report.failed(f"{name}: {traceback.format_exc()}")
    sys.stdout.flush()
    os._exit(1 if report.bad else 0)


class Leftovers:
    """What was there before a check must be all that is there after it."""

    def __init__(self):
        self.before = self.look()

    @staticmethod
    def look():
        return {"interface": set(os.listdir("/sys/class/net")),
                "namespace": set(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else set()}

    @staticmethod
    def processes_in(netns):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{pid}/ns/net") == netns:
                    found.append(pid)
            except OSError:
                pass
        return found

    def found(self, work):
        out = [f"{kind} {name}" for kind, names in self.look().items() for name in names - self.before[kind] if "pen" in name]
        try:
            with open(f"{work}/netns") as file:
                netns = file.read()
        except OSError:
            return out
        end = time.monotonic() + 3  # the kernel ends a process namespace's members one after another
        while self.processes_in(netns) and time.monotonic() < end:
            time.sleep(0.05)
        return out + [f"process {pid}" for pid in self.processes_in(netns)]


child = None


def run_one(tier, check, long, keep):
    """Gives True if it held.  unshare dies with us and its namespaces with it (setpriv, --kill-child)."""
    global child
    work = tempfile.mkdtemp(prefix="penstock-t-")
    limit = check.get("long_limit" if long else "limit", 90)
    command = ["setpriv", "--pdeathsig", "KILL", "--", "unshare", "--net", "--pid", "--fork", "--kill-child=KILL", "--mount", "--mount-proc", "--",
               sys.executable, os.path.abspath(__file__), "--inside", tier, check["name"], work] + (["--long"] if long else [])
    leftovers, began = Leftovers(), time.monotonic()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        held = child.wait(limit) == 0
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        held = False
        print(f"FAILED {check['name']}: no end within {limit} s", flush=True)
    child = None
    left = leftovers.found(work)
    if left:
        held = False
        print(f"FAILED {check['name']}: left behind: {', '.join(left)}", flush=True)
    print(f"   {time.monotonic() - began:.1f} s" + ("" if held else f"   logs: {work}"), flush=True)
    if held and not keep:
        shutil.rmtree(work)
    return held


def main(arguments):
    long = "--long" in arguments
    keep = "--keep" in arguments
    listing = "--list" in arguments
    names = [a for a in arguments if not a.startswith("--")]
    if "--inside" in arguments:
        inside(names[0], names[1], names[2], long)
    if not names or names[0] not in TIERS:
        print(__doc__, file=sys.stderr)
        return 2
    tier, names = names[0], names[1:]
    checks = [c for c in checks_of(tier) if not names or any(n in c["name"] for n in names)]
    if listing:
        print("\n".join(c["name"] for c in checks))
        return 0
    if os.geteuid() != 0:
        print("needs root, for namespaces and a tap device", file=sys.stderr)
        return 1

    def end(number, _frame):
        if child:
            child.kill()
        sys.exit(128 + number)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    held = [run_one(tier, check, long, keep) for check in checks]
    if not long:
        for check in checks:
            if check.get("long_words"):
                print(f"skipped {check['long_words']}: sudo tests/run --long {tier}", flush=True)
    return 0 if all(held) and held else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
