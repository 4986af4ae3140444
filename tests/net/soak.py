"""Is the gateway clean under the sanitizers, and does every object find its way back, after an hour in which nothing stood still?

All four kinds of call over IPv4 and IPv6 from stock clients, while endpoints, connections and the configuration change (churn.py).
One line a minute goes to docs/results/soak-workers-N-DATE.jsonl as it is measured; `--resume` goes on with the newest such file whose time is
not over, in a gateway of its own: what must hold at the end is looked at in each part.
"""
import datetime
import glob
import json
import os
import re
import subprocess
import threading
import time

from churn import BACKENDS, Director, SoakLab, Strangers
from lab import GATEWAY4, GATEWAY6, TOP, Wrong, expect, tail, wait_for

REPORT = re.compile(r"ERROR: AddressSanitizer|ERROR: LeakSanitizer|runtime error:|SUMMARY: .*Sanitizer")
HOUR, QUICK = 3600, 45
KEPT_FILES = 4  # connections to etcd that libcurl keeps for another request, or drops: 37 to 39 files are open at any time
KNOWN_AFTER, ENDED_AFTER = 1.0, 6.0  # s after kill -9: calls may still begin on the backend; calls on it must have ended


# ---------------------------------------------------------------- the record

class Record:
    """One JSON object a line; a part begins with a line "begin" and has an "end" if it came so far."""

    def __init__(self, long, resume, workers):
        self.path, self.before = None, 0
        if not long:
            return
        directory = f"{TOP}/docs/results"
        os.makedirs(directory, exist_ok=True)
        files = sorted(glob.glob(f"{directory}/soak-workers-{workers}-*.jsonl"), key=os.path.getmtime)
        if resume and files:
            self.path = files[-1]
            self.before = self.seconds_done(self.path)
        else:
            self.path = f"{directory}/soak-workers-{workers}-{datetime.datetime.now():%Y-%m-%d-%H%M}.jsonl"
        self.write({"begin": f"{datetime.datetime.now():%F %T}", "commit": commit(), "seconds_before": self.before})

    @staticmethod
    def seconds_done(path):
        done, part = 0, 0
        with open(path) as file:
            for line in map(json.loads, file):
                if "begin" in line:
                    done, part = done + part, 0
                part = max(part, line.get("seconds", 0))
        return done + part

    def write(self, line):
        if self.path:
            with open(self.path, "a") as file:
                file.write(json.dumps(line) + "\n")


def commit():
    run = subprocess.run(["git", "-C", TOP, "-c", f"safe.directory={TOP}", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return run.stdout.strip() or "unknown"


# ---------------------------------------------------------------- the load

class Mixed:
    """echo-client mixed, under way."""

    def __init__(self, lab, target, rate):
        self.last, self.unexpected = {"calls": 0, "outcomes": {}}, []
        command = [f"{lab.build}/tests/peers/echo-client", "mixed", "--target", target, "--seconds", 10 * HOUR, "--threads", 6, "--channels", 3, "--rate", rate,
                   "--interval-ms", 1000, "--show", 100000]
        self.process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            line = json.loads(line)
            if "calls" in line:
                self.last = line
            elif "unexpected" in line:
                self.unexpected.append(line)

    def stop(self):
        self.process.terminate()
        self.reader.join(90)
        expect(not self.reader.is_alive(), "calls of the mixed load neither end nor fail")
        self.process.wait(5)
        expect(self.last.get("summary"), f"the mixed load ended without its summary: status {self.process.returncode}")


# ---------------------------------------------------------------- what is watched

class Watch(threading.Thread):
    """Memory every two seconds."""

    def __init__(self, lab):
        super().__init__(daemon=True)
        self.lab, self.over, self.began, self.samples = lab, threading.Event(), time.monotonic(), []

    def run(self):
        while not self.over.wait(2):
            try:
                self.samples.append((time.monotonic() - self.began, self.lab.rss_kib()))
            except OSError:
                return

    def slope(self, after):
        """KiB a minute, by least squares over the samples after so many seconds; and how many seconds that covers."""
        have = [(t, kib) for t, kib in self.samples if t >= after]
        if len(have) < 10:
            return 0.0, 0.0
        t0, k0 = sum(t for t, _ in have) / len(have), sum(k for _, k in have) / len(have)
        up = sum((t - t0) * (k - k0) for t, k in have)
        return 60 * up / sum((t - t0) ** 2 for t, _ in have), have[-1][0] - have[0][0]


def drops(metrics):
    return {dict(labels)["reason"]: value for (name, labels), value in metrics.items() if name == "penstock_drops_total"}


def add(counts, name, n):
    counts[name] = counts.get(name, 0) + n


def line_of(seconds, lab, loads, director, strangers):
    metrics = lab.metrics()
    calls, failed = {}, {}
    for load in loads:
        for outcome, n in load.last["outcomes"].items():
            add(calls, outcome.rsplit(" ", 1)[0], n)
        for failure in load.unexpected:
            add(failed, f"{failure['kind']} {failure['unexpected']}", 1)
    for wrong in strangers.wrong:
        add(failed, f"stranger {wrong['act']}", 1)
    total = {name: sum(v for (have, _), v in metrics.items() if have == name) for name in ("penstock_handovers_total", "penstock_snapshot_generation")}
    return {"seconds": round(seconds), "calls": sum(calls.values()), "by_kind": calls, "failed": failed, "rss_kib": lab.rss_kib(), "objects": in_use(lab, metrics),
            "files": len(os.listdir(f"/proc/{lab.gateway.pid}/fd")), "drops": drops(metrics), "cpu_seconds": round(lab.cpu_seconds(), 1),
            "handovers": total["penstock_handovers_total"], "generation": total["penstock_snapshot_generation"], "kills": len(director.kills),
            "acts": sum(director.done.values()), "strangers": sum(strangers.done.values())}


def reports(lab):
    with open(lab.log, errors="replace") as file:
        return [line.strip() for line in file if REPORT.search(line)]


# ---------------------------------------------------------------- what must hold

def explained(failure, kills):
    """The kills in which the call may have been in flight on the victim: UNAVAILABLE, begun before the gateway knew, ended soon after."""
    if failure.get("unexpected", "UNAVAILABLE") != "UNAVAILABLE":
        return []
    return [k for k in kills if failure["began"] < k["at"] + KNOWN_AFTER and k["at"] - 0.1 < failure["ended"] < k["at"] + ENDED_AFTER]


def judge(failures, strange, kills):
    """Gives how many calls the kills explain; raises for the first that they do not, or for more than were in flight.  Kills may follow each other
    so closely that a call may belong to either: it goes to the one that can take fewer of those after it, the earlier."""
    left = {kill["at"]: kill["in_flight"] for kill in kills}
    for failure in sorted(failures, key=lambda f: f["ended"]):
        able = explained(failure, kills)
        expect(able, f"a call failed and nothing explains it: {failure}; kills: {kills}")
        kill = next((k for k in able if left[k["at"]] > 0), None)
        expect(kill, f"more calls failed than were in flight by the log: {failure}; kills: {able}")
        left[kill["at"]] -= 1
    for wrong in strange:
        near = any(wrong["began"] < k["at"] + KNOWN_AFTER and k["at"] < wrong["ended"] for k in kills)
        expect(near, f"a connection ended otherwise than it should, and nothing explains it: {wrong}; kills: {kills}")
    return len(failures)


def in_use(lab, metrics=None):
    """HPACK's tables grow from class to class with what a connection that stays has sent: their number counts, not their sizes (and a young one has none)."""
    out = {}
    for (name, labels), value in (metrics or lab.metrics()).items():
        if name == "penstock_objects" and dict(labels)["state"] == "in_use":
            kind = re.sub(r"^hpack_\d+$", "hpack", dict(labels)["kind"])
            out[kind] = out.get(kind, 0) + value
    return out


def shown(counts):
    return ", ".join(f"{kind} {value:.0f}" for kind, value in sorted(counts.items()) if value)


def settle(lab, wanted):
    """In-use counts once they stand still; TIME_WAIT holds connections for up to two minutes."""
    def differs(kind, now):
        if kind == "hpack":  # two a connection, from its first call on, which at `wanted` some had not had yet
            return now.get(kind, 0) > max(wanted.get(kind, 0), 2 * now.get("http2_connections", 0))
        return now.get(kind, 0) != wanted.get(kind, 0)

    def differing():
        now = in_use(lab)
        return {kind: (now.get(kind, 0), wanted.get(kind, 0)) for kind in set(now) | set(wanted) if differs(kind, now)}
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


# ---------------------------------------------------------------- the check

def begin(work, build, asan, workers):
    os.environ["ASAN_OPTIONS"] = "quarantine_size_mb=8"  # full within the first minutes, so that memory's slope says something
    lab = SoakLab(work, build, asan, workers)
    lab.start(backends=BACKENDS)
    for target in (GATEWAY4, GATEWAY6):  # what stays on purpose is there once: neighbours, caches of buffers
        lab.client("mixed", "--seconds", 3, "--threads", 4, "--rate", 200, target=target)
    return lab, settle(lab, None), len(os.listdir(f"/proc/{lab.gateway.pid}/fd"))


def turmoil(report, lab, record, seconds, rate, seed):
    """Load and churn for so long; gives the loads, the director, the strangers and the watch, all at rest again."""
    loads = [Mixed(lab, GATEWAY4, rate * 0.6), Mixed(lab, GATEWAY6, rate * 0.4)]
    director, strangers, watch = Director(lab, seed), Strangers(lab, seed), Watch(lab)
    strangers.start()
    watch.start()
    next_line, every = watch.began + 60, 60
    while time.monotonic() - watch.began < seconds:
        director.act()
        expect(lab.gateway.poll() is None, f"penstock ended with {lab.gateway.returncode}:\n{tail(lab.log, 40)}")
        expect(not reports(lab), f"a report: {reports(lab)[:3]}")
        if time.monotonic() >= next_line:
            next_line += every
            line = line_of(time.monotonic() - watch.began, lab, loads, director, strangers)
            record.write(line)
            judge([f for load in loads for f in load.unexpected], strangers.wrong, director.kills)
    strangers.stop()
    for load in loads:
        load.stop()
    watch.over.set()
    record.write(line_of(time.monotonic() - watch.began, lab, loads, director, strangers))
    return loads, director, strangers, watch


def flat(report, watch, seconds):
    """After the first minutes memory may not grow: by no more than 16 MiB in what is looked at; in a few seconds one step of 11 MiB has a slope like 16."""
    after = min(600, seconds / 2)
    slope, covered = watch.slope(after)
    bound = max((16 if covered >= 120 else 48) * 1024 * 60 / max(covered, 1), 128)
    words = f"memory {watch.samples[-1][1] / 1024:.0f} MiB, slope {slope:+.0f} KiB a minute over the last {covered / 60:.1f} minutes (bound {bound:.0f})"
    expect(slope <= bound, words)
    report.ok(words)
    return slope


def churn(report, work, build, asan, workers=2, rate=50):
    seconds = report.seconds or (HOUR if report.long else QUICK)
    record = Record(report.long, report.resume, workers)
    seconds = max(seconds - record.before, 0)
    if record.before:
        report.note(f"{record.before} s are done by {os.path.relpath(record.path, TOP)}, {seconds} s to go")
    if seconds == 0:
        report.ok("all of the time is done already")
        return
    try:
        soak(report, work, build, asan, workers, rate, seconds, record)
    except Wrong as wrong:
        record.write({"failed_because": str(wrong)})
        raise


def soak(report, work, build, asan, workers, rate, seconds, record):
    seed = report.seed
    report.note(f"seed {seed}" + (f", a line a minute in {os.path.relpath(record.path, TOP)}" if record.path else ""))
    lab, idle, files = begin(work, build, asan, workers)
    loads, director, strangers, watch = turmoil(report, lab, record, seconds, rate, seed)
    failures = [f for load in loads for f in load.unexpected]
    explained_count = judge(failures, strangers.wrong, director.kills)
    calls = sum(load.last["calls"] for load in loads)
    report.ok(f"{seconds} s in the sanitizer build with {workers} workers: {calls} calls of four kinds over IPv4 and IPv6 ended as asked but {explained_count} that were in "
              f"flight when {len(director.kills)} backends were killed; {sum(strangers.done.values())} connections came and went")
    report.note("done meanwhile: " + ", ".join(f"{name} {n}" for name, n in sorted(director.done.items())))
    report.note("strangers: " + ", ".join(f"{name} {n}" for name, n in sorted(strangers.done.items())))
    report.note("dropped: " + (", ".join(f"{reason} {n:.0f}" for reason, n in sorted(drops(lab.metrics()).items())) or "nothing"))
    slope = flat(report, watch, seconds)
    at_rest(report, lab, idle, files)
    record.write({"end": True, "calls": calls, "failed_in_flight": explained_count, "kills": director.kills, "acts": director.done, "strangers": strangers.done,
                  "slope_kib_a_minute": round(slope, 1), "objects_idle": idle,
                  "outcomes": {name: load.last["outcomes"] for name, load in zip(("IPv4", "IPv6"), loads)}})


def at_rest(report, lab, idle, files):
    lab.back_to_first()
    for backend in lab.backends.values():
        backend.register()
    lab.wait_ready(BACKENDS, 30)
    settle(lab, idle)
    report.ok(f"every penstock_objects in-use count is back at its idle value: {shown(idle)}")
    wait_for(10, f"as many open files as before, {files}", lambda: len(os.listdir(f"/proc/{lab.gateway.pid}/fd")) <= files + KEPT_FILES)
    lab.end_well()
    expect(not reports(lab), f"{len(reports(lab))} reports: {reports(lab)[:3]}")
    report.ok("no report of a sanitizer, at its end neither")


CHECKS = [
    {"name": "churn", "run": churn, "limit": 500, "long_seconds": HOUR, "long_words": "an hour of calls, churn and reloads in the sanitizer build with two workers"},
    {"name": "one-worker", "run": lambda *given: churn(*given, workers=1), "long_only": True, "long_seconds": 600, "long_words": "ten minutes of the same with one worker"},
]
