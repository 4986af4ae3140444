"""Several etcd endpoints: does membership go on whatever happens to the one in use, and does no caller notice?

Three members of one cluster on loopback, and a fourth endpoint that is no etcd at all.  Which one the gateway uses is what its log says.
"""
import http.server
import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

from lab import Etcd, Lab, Load, expect, tail, wait_for

PORTS = (2379, 2381, 2383)
STRANGER = 2390
BOUND = 20  # seconds; a silent member is found within 4.5, an election takes 1 to 2, back-offs the rest


class Members:
    """A cluster of three; what is asked of it is asked of any member that answers."""

    def __init__(self, work):
        self.work, self.process = work, [None] * 3
        self.cluster = ",".join(f"m{i}=http://127.0.0.1:{port + 1}" for i, port in enumerate(PORTS))

    def start(self, i):
        client, peer = f"http://127.0.0.1:{PORTS[i]}", f"http://127.0.0.1:{PORTS[i] + 1}"
        with open(f"{self.work}/etcd{i}.log", "ab") as log:
            self.process[i] = subprocess.Popen(
                ["etcd", "--name", f"m{i}", "--data-dir", f"{self.work}/etcd{i}", "--listen-client-urls", client, "--advertise-client-urls", client,
                 "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", self.cluster, "--logger", "zap", "--log-level", "error",
                 "--heartbeat-interval", "200", "--election-timeout", "2000"], stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def call(self, path, body, timeout=3):
        """Of the first member that answers in time."""
        for port in PORTS:
            try:
                request = urllib.request.Request(f"http://127.0.0.1:{port}/v3/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
                with urllib.request.urlopen(request, timeout=timeout) as answer:
                    return json.load(answer)
            except (OSError, urllib.error.URLError):
                pass
        return None

    def write(self, path, body):
        wait_for(BOUND, f"the members take a write ({tail(self.work + '/etcd0.log', 2)})", lambda: self.call(path, body))

    def signal(self, i, number):
        self.process[i].send_signal(number)
        if number == signal.SIGKILL:
            self.process[i].wait(10)


class Registry(Etcd):
    """What backends are registered with: the cluster."""

    def __init__(self, work):
        super().__init__(work)
        self.members = Members(work)

    def start(self, port=0):
        for i in range(3):
            self.members.start(i)
        wait_for(40, "three members elect a leader", lambda: self.members.call("kv/put", {"key": self.text("x"), "value": ""}))

    def call(self, path, body):
        self.members.write(path, body)


def stranger():
    """An endpoint that refuses every call: an HTTP server that knows no /v3."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_error(404)

        def log_message(self, *_):
            pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", STRANGER), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def members_lab(work, build):
    lab = Lab(work, build)
    lab.etcd = Registry(work)
    urls = ", ".join(f'"http://127.0.0.1:{port}"' for port in PORTS + (STRANGER,))
    lab.config = lab.config.replace('endpoints = [ "http://127.0.0.1:2379" ];', f"endpoints = [ {urls} ];")
    stranger()
    return lab.start(backends=2)


def in_use(lab):
    """The member that the last watch was made on."""
    lines = lab.log_lines("watching services/echo/ on http://127.0.0.1:")
    expect(lines, f"the log names no endpoint:\n{tail(lab.log)}")
    return PORTS.index(int(re.search(r"127\.0\.0\.1:(\d+)", lines[-1])[1]))


def changes(lab, name):
    """A backend is added and taken away again, and the gateway learns of both; gives the seconds that it took."""
    began = time.monotonic()
    lab.add(name).register()
    wait_for(BOUND, f"{name} is learnt of (in use: {PORTS[in_use(lab)]}; {tail(lab.log, 3)})", lambda: len(lab.endpoints()) == 3)
    lab.etcd.delete(name)
    wait_for(BOUND, f"the end of {name} is learnt of", lambda: len(lab.endpoints()) == 2)
    lab.backends.pop(name).kill()
    return time.monotonic() - began


def moved(lab, words, before):
    wait_for(BOUND, f"{words}: another endpoint is used ({tail(lab.log, 4)})", lambda: in_use(lab) != before)


def fail_over(report, work, build, asan):
    lab = members_lab(work, build)
    members = lab.etcd.members
    load = Load(lab, "--rate", 100).flowing()
    took = {"at first": changes(lab, "c0")}
    for words, number, undo in (("killed", signal.SIGKILL, members.start), ("hung", signal.SIGSTOP, lambda i: members.signal(i, signal.SIGCONT))):
        used = in_use(lab)
        members.signal(used, number)
        began = time.monotonic()
        took[words] = changes(lab, f"{words}1")
        moved(lab, words, used)
        took[f"{words}, moved"] = time.monotonic() - began
        undo(used)
        wait_for(BOUND, f"{words}: all three members answer again", lambda: all(healthy(port) for port in PORTS))
        lab.etcd.delete(f"{words}1")  # a member that hung may have done late what was asked of it, and done by another, meanwhile
        wait_for(BOUND, f"{words}: two endpoints again", lambda: len(lab.endpoints()) == 2)
        took[f"{words}, back"] = changes(lab, f"{words}2")
    summary = load.stop_unharmed()
    report.ok(f"the etcd member in use killed, then hung: none of {summary['ok']} calls failed, a change was known after "
              f"{', '.join(f'{k} {v:.1f} s' for k, v in took.items())}")


def healthy(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return json.load(answer).get("health") == "true"
    except (OSError, urllib.error.URLError, ValueError):
        return False


def quorum(report, work, build, asan):
    """The member in use is left alone: it says so, no other can do better, and when the quorum is back so is membership."""
    lab = members_lab(work, build)
    members = lab.etcd.members
    load = Load(lab, "--rate", 100).flowing()
    alone = in_use(lab)
    others = [i for i in range(3) if i != alone]
    members.signal(others[0], signal.SIGKILL)
    members.signal(others[1], signal.SIGSTOP)
    wait_for(BOUND, "membership is known to be stale", lambda: (lab.metric("penstock_membership_stale_seconds") or 0) > 6)
    expect(len(lab.endpoints()) == 2, f"without a quorum: {lab.endpoints()}")
    result = load.count(1)
    expect(result["ok"] > 50 and result["failed"] == 0 and len(result["backends"]) == 2, f"without a quorum: {result}")
    warned = [line for line in lab.log_lines("endpoints stay as they are")]
    expect(warned, f"the log is silent about it:\n{tail(lab.log)}")
    members.start(others[0])
    began = time.monotonic()
    wait_for(2 * BOUND, f"membership is fresh again ({tail(lab.log, 4)})", lambda: (lab.metric("penstock_membership_stale_seconds") or 0) < 2)
    fresh = time.monotonic() - began
    members.signal(others[1], signal.SIGCONT)
    took = changes(lab, "c1")
    summary = load.stop_unharmed()
    report.ok(f"the etcd member in use without its quorum: none of {summary['ok']} calls failed, fresh {fresh:.1f} s after the quorum's return began, a change "
              f"known in {took:.1f} s; the log: {warned[0].split(': ', 1)[1].strip()[:120]}")


def stranger_first(report, work, build, asan):
    """Wherever the rotation begins, an endpoint that refuses costs a turn and no more."""
    lab = members_lab(work, build)
    met = 0
    for turn in range(6):
        if turn > 0:
            expect(lab.end_gateway() == 0, "exit status")
            os.rename(lab.log, f"{lab.log}.{turn}")
            lab.start_gateway()
        began = time.monotonic()
        lab.wait_ready(2)
        met += bool(lab.log_lines(f"127.0.0.1:{STRANGER}", "404"))
        expect(time.monotonic() - began < BOUND, f"ready after {time.monotonic() - began:.1f} s")
        if met and turn > 1:
            break
    took = changes(lab, "c0")
    report.ok(f"an endpoint that answers 404: met at {met} of {turn + 1} starts, and passed over; a change known in {took:.1f} s")


CHECKS = [
    {"name": "etcd-members-fail-over", "run": fail_over, "limit": 240},
    {"name": "etcd-members-quorum", "run": quorum, "limit": 180, "long_only": True, "long_words": "etcd without a quorum, and an endpoint that is no etcd"},
    {"name": "etcd-members-stranger", "run": stranger_first, "limit": 180, "long_only": True},
]
