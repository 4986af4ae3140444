"""Several workers: is every segment its owner's, whatever queue it came by, and is the load on all of them?

Workers choose the owner of an accepted connection by a keyed hash, and the key is a secret of each run: a check that wants four
clients on each of two workers starts clients one by one and keeps those that fell where they are wanted.
"""
import ctypes
import json
import os
import re
import signal
import threading
import time

from lab import GATEWAY4, GATEWAY6, Lab, Load, Wrong, count_all, expect, wait_for

DEVICE = "net_tap0,iface=pen0"


def workers_lab(work, build, workers=2, device=DEVICE, **more):
    lab = Lab(work, build, **more)
    lab.config = lab.config.replace("workers = 1;", f"workers = {workers};").replace(DEVICE, device)
    return lab


def by_worker(lab):
    answers = []
    wait_for(20, "/api/v1/workers answers 200", lambda: answers.append(lab.http("/api/v1/workers")) or answers[-1][0] == 200)  # an emulated one takes seconds
    return json.loads(answers[-1][1])["workers"]


def clients_on(lab):
    return [w["connections"]["client"] if "connections" in w else w["client_connections"] for w in by_worker(lab)]


def spread_loads(lab, each, *arguments, workers=2):
    """Loads of one connection each, `each` of them on every worker."""
    kept = []
    for _ in range(20 * each * workers):
        if len(kept) == each * workers:
            return kept
        before = clients_on(lab)
        load = Load(lab, "--channels", 1, *arguments).flowing()
        wait_for(5, "the new connection is counted", lambda: sum(clients_on(lab)) == sum(before) + 1)
        after = clients_on(lab)
        if max(after) > each:
            load.stop()
            wait_for(5, "a surplus connection ends", lambda: sum(clients_on(lab)) == sum(before))
        else:
            load.worker = next(w for w in range(workers) if after[w] > before[w])
            kept.append(load)
    expect(len(kept) == each * workers, f"connections never fell {each} to each worker: {clients_on(lab)}")
    return kept


def thirds(report, work, build, asan, device=DEVICE, words="a tap of two queues", workers=2, each=4, least_busy=0.2):
    lab = workers_lab(work, build, workers, device).start()
    loads = spread_loads(lab, each, "--rate", 60, workers=workers)
    expect(clients_on(lab) == [each] * workers, f"client connections by worker: {clients_on(lab)}")
    before = by_worker(lab)
    counts = count_all(loads, 6)
    total, after = sum(counts.values()), by_worker(lab)
    expect(len(counts) == 3 and all(abs(n - total / 3) <= 0.02 * total / 3 for n in counts.values()), f"shares of {total}: {counts}")
    busy = [a["busy_seconds"] - b["busy_seconds"] for a, b in zip(after, before)]
    expect(min(busy) > least_busy * max(busy), f"busy seconds by worker: {busy}")
    for load in loads:
        load.stop_unharmed()
    return_ok(report, lab, f"{len(loads)} connections over {workers} workers on {words}: {total} calls as {counts}, "
              f"busy {', '.join(f'{b:.2f} s' for b in busy)}, {lab.metric('penstock_handovers_total') or 0:.0f} hand-overs")
    return lab


def return_ok(report, lab, words):
    full = lab.metric("penstock_drops_total", reason="handover_full") or 0
    expect(full == 0, f"{full} packets found a full hand-over ring")
    lab.end_well()
    report.ok(words)


def silence(report, work, build, asan):
    """The kernel forgets on which queue a flow was after seconds of silence, and then chooses anew."""
    lab = workers_lab(work, build).start()
    loads = [Load(lab, "--channels", 1, "--rate", 20, target=target) for target in 12 * [GATEWAY4] + 4 * [GATEWAY6]]  # each changes its queue or not
    for load in loads:
        load.flowing()
    for turn in range(2):
        for load in loads:
            load.process.send_signal(signal.SIGSTOP)
        time.sleep(11)
        before = lab.metric("penstock_handovers_total") or 0
        for load in loads:
            load.process.send_signal(signal.SIGCONT)
        time.sleep(2)
    ok = 0
    for load in loads:
        ok += load.stop_unharmed()["ok"]
    handed = lab.metric("penstock_handovers_total") or 0
    expect(handed > before, f"no flow came back on another queue: {before} hand-overs before the last silence, {handed} after it")
    rsts = lab.metric("penstock_events_total", event="tcp_rsts_out") or 0
    return_ok(report, lab, f"a tap with two queues, silent for ten seconds twice: {ok} calls, none failed, {handed:.0f} hand-overs ({handed - before:.0f} since the last silence), {rsts:.0f} resets")


# ---- a thread that stands still, as on a machine whose hypervisor has something else to do ----

libc = ctypes.CDLL(None, use_errno=True)
PTRACE_ATTACH, PTRACE_DETACH, WALL = 16, 17, 0x40000000


def worker_thread(lab, number):
    """Worker i runs on lcore i + 1."""
    for task in os.listdir(f"/proc/{lab.gateway.pid}/task"):
        with open(f"/proc/{lab.gateway.pid}/task/{task}/comm") as file:
            if re.fullmatch(rf"(rte|lcore)-worker-{number + 1}", file.read().strip()):
                return int(task)
    raise Wrong("no thread of that worker")


def ptrace(request, thread):
    if libc.ptrace(request, thread, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def hold(thread, seconds, wait=time.sleep):
    ptrace(PTRACE_ATTACH, thread)
    os.waitpid(thread, WALL)
    wait(seconds)
    ptrace(PTRACE_DETACH, thread)


def held(report, work, build, asan):
    lab = workers_lab(work, build).start()
    loads = spread_loads(lab, 3, "--rate", 80)
    time.sleep(1)
    before, objects = lab.rss_kib(), lab.objects_in_use()
    hold_thread = threading.Thread(target=hold, args=(worker_thread(lab, 1), 3.0))
    hold_thread.start()
    time.sleep(0.3)
    free = [load for load in loads if load.worker == 0]
    results = [load.count(2) for load in free]
    expect(all(r["ok"] > 100 for r in results), f"calls through the worker that turns, in two seconds of 80 a second: {results}")
    hold_thread.join()
    grown = lab.rss_kib() - before
    wait_for(3, "the watchdog names worker 1", lambda: lab.log_lines("worker 1 has not turned"))
    expect(grown < 16384, f"memory grew by {grown} KiB")
    time.sleep(2)
    results = [load.count(1) for load in loads]
    expect(all(r["ok"] > 40 for r in results), f"after it turns again: {results}")
    for load in loads:
        load.stop_unharmed()
    wait_for(20, "what it held comes back", lambda: all(lab.objects_in_use().get(kind, 0) <= objects.get(kind, 0) + 64 for kind in ("packet_receive", "packet_send")))
    lab.end_well()
    report.ok(f"a worker's thread held for three seconds: the other went on, the watchdog spoke, memory grew by {grown} KiB, no call failed")


def listener_among_ephemeral(report, work, build, asan):
    """Workers tell whose a connection is by its local port: a listener that comes to lie among those that backends' connections use is refused."""
    lab = workers_lab(work, build).start()
    path = f"{work}/penstock.conf"
    with open(path, "w") as file:
        file.write(lab.config.replace('"198.18.0.2:50051"', '"198.18.0.2:30000"'))
    lab.gateway.send_signal(signal.SIGHUP)
    wait_for(3, "the log refuses it", lambda: lab.log_lines("`listeners[].bind`", "were kept for connections to backends at start"))
    status, lines = lab.client("load", "--count", 50)
    expect(status == 0, f"after it was refused: {lines[-1]}")
    with open(path, "w") as file:
        file.write(lab.config.replace('"198.18.0.2:50051"', '"198.18.0.2:60051"'))
    lab.gateway.send_signal(signal.SIGHUP)
    wait_for(3, "it listens on another port", lambda: lab.log_lines("listening on 198.18.0.2:60051"))
    status, lines = lab.client("load", "--count", 200, "--channels", 8, target="198.18.0.2:60051")
    expect(status == 0, f"on the other port: {lines[-1]}")
    report.ok("with two workers a reload that puts a listener among the ephemeral ports is refused, another one is taken")


CHECKS = [
    {"name": "workers-thirds", "run": thirds, "limit": 120},
    {"name": "workers-listener-moved", "run": listener_among_ephemeral},
    {"name": "workers-held", "run": held, "limit": 120},
    {"name": "workers-silence", "run": silence, "limit": 120},
]
