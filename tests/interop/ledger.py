"""Nothing lost, nothing twice: grpc-go's calls carry numbers, its backends write down which they execute (tests/peers/go/ledger).

Every second connections of both sides grow too old, backends are restarted one after another (SIGTERM: GOAWAY, calls end), the gateway
reloads; later they are killed with -9; later still that happens under a retry policy.  A long run leaves a summary in docs/results/ledger-NAME-DATE.jsonl.

The cluster queues calls while no endpoint is READY: on a machine that stalls for seconds all three may be lost at once, to connections that are too old and to
connects that nobody answers in time."""
import array
import datetime
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time

import gopeers
import reload
from lab import TOP, Lab, Wrong, expect, naming, tail, wait_for

POLICY = json.dumps({"methodConfig": [{"name": [{"service": "ledger.Ledger"}], "retryPolicy": {
    "maxAttempts": 5, "initialBackoff": "0.05s", "maxBackoff": "0.5s", "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}}]})
RELOADS = [reload.more_listeners, reload.moved_listener, reload.routes, reload.clusters, reload.policy, reload.addresses, reload.gateways, reload.others,
           reload.etcd_endpoints]


QUEUE = 'no_ready: { action = "queue"; max = 8192; timeout = "30s"; };'


def record(report, line):
    """What a long run has come to: one line, with the commit that it ran on."""
    if not report.long:
        return
    run = subprocess.run(["git", "-C", TOP, "-c", f"safe.directory={TOP}", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    now = datetime.datetime.now()
    os.makedirs(f"{TOP}/docs/results", exist_ok=True)
    with open(f"{TOP}/docs/results/{report.name}-{now:%Y-%m-%d-%H%M}.jsonl", "a") as file:
        file.write(json.dumps({"end": f"{now:%F %T}", "commit": run.stdout.strip() or "unknown", "seed": report.seed, **line}) + "\n")


class Backend:
    """A ledger server; all its lives write into one book."""

    def __init__(self, lab, number):
        self.lab, self.name, self.address = lab, f"g{number}", f"198.18.0.1:{50060 + number}"
        self.book, self.log = f"{lab.work}/{self.name}.book", f"{lab.work}/{self.name}.log"
        self.start()

    def start(self):
        self.process = self.lab.spawn([gopeers.program(self.lab.build, "ledger"), "server", "--listen", self.address, "--book", self.book, "--max-age", "1s"],
                                      self.log, "wb")
        wait_for(10, f"backend {self.name} listens", lambda: "listening" in tail(self.log))

    def stop(self, number):
        self.process.send_signal(number)
        status = self.process.wait(40)
        expect(number == signal.SIGKILL or status == 0, f"backend {self.name} ended with status {status}: {tail(self.log)}")

    def restart(self, number):
        self.stop(number)
        self.start()
        self.register()

    def register(self):
        self.lab.etcd.put(self.name, naming(self.address), self.lab.etcd.lease(600))


class Client:
    """A ledger client; its failures are read as they come."""

    def __init__(self, lab, name, first, seconds, rate, *more):
        self.book, self.lines = f"{lab.work}/{name}.book", []
        self.process = subprocess.Popen([gopeers.program(lab.build, "ledger"), "client", "--target", "198.18.0.2:50051", "--book", self.book, "--first", str(first),
                                         "--seconds", str(seconds), "--rate", str(rate)] + [str(m) for m in more],
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        with open(self.book + ".log", "w") as log:
            for line in self.process.stdout:
                log.write(line)
                log.flush()
                self.lines.append(json.loads(line) if line.startswith("{") else {"words": line.strip()})

    def failures(self):
        return [line for line in list(self.lines) if "summary" not in line]

    def running(self):
        return self.process.poll() is None

    def finish(self):
        self.process.wait(120)
        self.reader.join(10)
        summaries = [line for line in self.lines if "summary" in line]
        expect(summaries, f"the client ended without a summary: {self.lines[-3:]}")
        return summaries[0]


def numbers(path, record):
    """The 8-byte numbers at the beginning of each record, and the octet behind them."""
    with open(path, "rb") as file:
        data = file.read()
    whole = len(data) // record * record
    ids = array.array("Q", b"".join(data[i:i + 8] for i in range(0, whole, record)) if record > 8 else data[:whole])
    ids.byteswap()
    return ids, data[8:whole:record] if record > 8 else b""


class Books:
    def __init__(self, backends, client):
        self.executed = {}
        for backend in backends:
            for number in numbers(backend.book, 8)[0]:
                self.executed[number] = self.executed.get(number, 0) + 1
        ids, codes = numbers(client.book, 9)
        self.ended = dict(zip(ids, codes))
        self.entries = len(ids)

    def compare(self, summary):
        """Every call has ended once; none ran twice; one that ended well ran."""
        expect(self.entries == len(self.ended) == summary["begun"], f"{summary['begun']} calls begun, {self.entries} ended, {len(self.ended)} of them different")
        twice = self.twice()
        expect(not twice, f"{len(twice)} calls ran twice: {twice[:5]}")
        lost = [n for n, code in self.ended.items() if code == 0 and n not in self.executed]
        expect(not lost, f"{len(lost)} calls ended well and never ran: {lost[:5]}")

    def twice(self):
        return [n for n in self.ended if self.executed.get(n, 0) > 1]


def start(work, build, policy="", workers=1):
    lab = reload.Live(work, build)
    lab.settings.values["workers"] = workers
    lab.settings.clusters["echo"] = (f'target = "etcd:///services/echo/"; lb_policy = "round_robin"; max_connection_age = "1s"; {QUEUE}' +
                                     (f" service_config = {json.dumps(policy)};" if policy else ""))
    lab.settings.listeners["grpc"][1] = '128; max_connection_age = "1s"'
    lab.config = lab.settings.text()
    lab.start(backends=0)
    backends = [Backend(lab, n + 1) for n in range(3)]
    for backend in backends:
        backend.register()
    lab.wait_ready(3)
    return lab, backends


def disturb(lab, backends, client, seed, act, pause, reloads=True):
    """While the client runs; gives how often (acted, reloaded)."""
    choice, acted, reloaded, kinds = random.Random(seed), 0, 0, []
    while client.running():
        time.sleep(choice.uniform(*pause))
        if not client.running():
            break
        act(choice.choice(backends))
        acted += 1
        lab.wait_ready(3, 20)
        if reloads:
            kinds = kinds or choice.sample(RELOADS, len(RELOADS))
            kinds.pop()(lab.settings, reloaded)
            lab.reload()
            reloaded += 1
        if len(client.failures()) > 200 + 100 * acted:
            client.process.terminate()
    return acted, reloaded


def words(client):
    kinds = {}
    for line in client.failures():
        key = f"{line.get('failure')} {line.get('method')}: {line.get('message', line)}"
        kinds[key] = kinds.get(key, 0) + 1
    return f"{kinds}; the first: {client.failures()[:3]}"


def given_up(lab, client, books):
    """Calls that grpc-go ended by itself, unsent.  Its client sends a call that a GOAWAY left out once more, once; one that has had its second chance fails with "the
    connection is draining" (https://github.com/grpc/grpc-go/issues/2767: "still technically possible that RPCs can fail"; stream.go, shouldRetry).  A last GOAWAY can leave
    a call out only where the client has not answered the PING behind the warning for five seconds, the time that grpc-go's own servers give: it stood still.  The gateway
    counts those; where it has counted none, nothing is forgiven."""
    late = [line["id"] for line in client.failures() if "the connection is draining" in line.get("message", "")]
    unanswered = lab.event("h2_warnings_unanswered")
    return late if unanswered > 0 and all(n not in books.executed for n in late) else [], unanswered


def halves(client, books):
    """Calls whose answer broke off in the middle of its message: grpc-go says INTERNAL "unexpected EOF", whatever stands in the trailers.  They ran."""
    broken = [line["id"] for line in client.failures() if "unexpected EOF" in line.get("message", "")]
    return [n for n in broken if n in books.executed]


def retries(lab):
    return {k: int(lab.metric("penstock_retries_total", kind=k) or 0) for k in ("unsent", "goaway", "refused", "policy")}


def told(lab):
    """What the gateway counted."""
    return {label: n for (name, labels), n in lab.metrics().items() if name in ("penstock_pick_failures_total", "penstock_drops_total")
            for key, label in labels if key == "reason"}


def graceful(workers):
    def run(report, work, build, asan):
        seconds, rate = (report.seconds or 600 if report.long else 7), 2000
        lab, backends = start(work, build, workers=workers)
        client = Client(lab, "client", 1, seconds, rate)
        acted, reloaded = disturb(lab, backends, client, report.seed, lambda b: b.restart(signal.SIGTERM), (0.2, 1.5))
        summary, why = client.finish(), told(lab)
        books = Books(backends, client)
        late, unanswered = given_up(lab, client, books)
        record(report, {**summary, "workers": workers, "restarts": acted, "reloads": reloaded, "sent_again": retries(lab), "twice": len(books.twice()),
                        "given_up_by_the_client": len(late), "warnings_unanswered": unanswered, "drops": why})
        expect(summary["status"].get("OK", 0) + len(late) == summary["begun"],
               f"seed {report.seed}: {summary}; what the gateway counted: {why}; {unanswered:.0f} warnings were not answered; {words(client)}")
        if late:
            report.note(f"{len(late)} calls were given up by grpc-go itself, unsent: it stood still for five seconds while {unanswered:.0f} connections waited for its answer")
        books.compare(summary)
        report.ok(f"{summary['begun']} calls of grpc-go at {summary['rate']:.0f}/s, {workers} worker(s), connections of at most 1 s on both sides, {acted} restarts of backends, "
                  f"{reloaded} reloads: none failed, none ran twice (sent again: {retries(lab)})")
        lab.end_well()
    return run


def killed(workers):
    def run(report, work, build, asan):
        seconds, rate = (report.seconds or 600 if report.long else 7), 2000
        lab, backends = start(work, build, workers=workers)
        client = Client(lab, "client", 1, seconds, rate)
        acted, _ = disturb(lab, backends, client, report.seed, lambda b: b.restart(signal.SIGKILL), (0.2, 1.5), reloads=False)
        summary = client.finish()
        failed = summary["begun"] - summary["status"].get("OK", 0)
        in_flight = sum(lab.streams_lost(b.address) for b in backends if lab.log_lines(b.address, "lost"))
        books = Books(backends, client)
        broken = halves(client, books)
        record(report, {**summary, "workers": workers, "kills": acted, "failed": failed, "in_flight": in_flight, "twice": len(books.twice()), "drops": told(lab)})
        expect(set(summary["status"]) <= {"OK", "Unavailable", "Internal"} and summary["status"].get("Internal", 0) <= len(broken),
               f"seed {report.seed}: {summary}; {words(client)}")
        expect(failed <= in_flight, f"seed {report.seed}: {failed} calls failed, and {in_flight} were in flight to those killed; {words(client)}")
        books.compare(summary)
        report.ok(f"{acted} backends killed with -9 under {summary['rate']:.0f} calls/s, {workers} worker(s): {failed} of {summary['begun']} failed, {in_flight} were in flight "
                  "to those; none ran twice")
        lab.end_well()
    return run


def retried(workers):
    """The policy says that the method may run twice: then it may, and nothing fails but what had begun to be answered: response headers commit (gRFC A6)."""
    def run(report, work, build, asan):
        seconds, rate = (report.seconds or 600 if report.long else 7), 1000
        lab, backends = start(work, build, POLICY, workers)
        client = Client(lab, "client", 1, seconds, rate, "--unary-only")
        acted, _ = disturb(lab, backends, client, report.seed, lambda b: b.restart(signal.SIGKILL), (0.2, 1.5), reloads=False)
        summary = client.finish()
        books, again = Books(backends, client), retries(lab)["policy"]
        record(report, {**summary, "workers": workers, "kills": acted, "sent_again": retries(lab), "ran_twice_as_the_policy_allows": len(books.twice())})
        broken = halves(client, books)
        expect(summary["status"].get("OK", 0) + len(broken) == summary["begun"], f"seed {report.seed}: {summary}; {words(client)}")
        if broken:
            report.note(f"{len(broken)} calls failed whose answer broke off in the middle of its message")
        expect(all(n in books.executed for n in books.ended), "a call ended well and never ran")
        expect(len(books.twice()) <= again, f"{len(books.twice())} ran twice, and the policy sent {again} again")
        report.ok(f"{acted} backends killed with -9 under a retry policy, {workers} worker(s): none of {summary['begun']} calls failed, {again} were sent again, "
                  f"{len(books.twice())} of them had run")
        lab.end_well()
    return run


def frame(kind, flags=0, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + bytes(4) + payload


def farewell(report, work, build, asan):
    """A client that is told to go says something that crosses with that: its last answers are not lost behind a reset."""
    lab = Lab(work, build, target="static:///198.18.0.1:50061", listener='max_connection_age = "1s";')
    lab.start_gateway()
    with socket.create_connection(("198.18.0.2", 50051), timeout=10) as client:
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4) + frame(4, 1))
        said = b""
        while said.count(b"max_age") < 1 or said[-17:-13] != b"\0\0\x08\x06":  # GOAWAY, and the PING behind it
            more = client.recv(4096)
            expect(more, f"the connection ended without a warning: {said!r}")
            said += more
        client.sendall(frame(6, 1, said[-8:]))
        time.sleep(0.5)  # GOAWAY with the last id and FIN are here
        client.sendall(frame(6, 0, b"too late"))
        time.sleep(0.3)
        try:
            while more := client.recv(4096):
                said += more
        except ConnectionResetError:
            raise Wrong("a frame that crossed with the end was answered by a reset") from None
        expect(said.count(b"max_age") == 2, f"no second GOAWAY: {said!r}")
    expect(not lab.metric("penstock_drops_total", reason="tcp_after_close"), "segments came after the close")
    lab.end_well()


def check(name, run, **more):
    return {"name": f"ledger-{name}", "run": run, "prepare": gopeers.prepare, "limit": 120, "long_seconds": 600, **more}


TWO = {"long_only": True, "long_words": "kill -9 of backends with two workers"}
CHECKS = [
    {"name": "ledger-farewell", "run": farewell},
    check("graceful-1", graceful(1)),
    check("graceful-2", graceful(2)),
    check("killed-1", killed(1)),
    check("killed-2", killed(2), **TWO),
    check("retried-1", retried(1)),
    check("retried-2", retried(2), **TWO),
]
