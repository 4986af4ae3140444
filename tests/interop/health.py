"""grpc.health.v1 as grpc-go's own client asks for it (tests/peers/go/health): Check, Watch, and a channel that obeys healthCheckConfig.

The backend is killed and comes back: each time who watches is told, and the channel leaves and comes back."""
import json
import signal
import subprocess

import gopeers
from lab import Lab, expect, tail, wait_for

BACKEND = "198.18.0.1:50061"
GATEWAY = "198.18.0.2:50051"


def ask(lab, service):
    run = subprocess.run([gopeers.program(lab.build, "health"), "check", "--target", GATEWAY, "--service", service], capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    return json.loads(run.stdout)


class Told:
    """What a health client says, as it comes."""

    def __init__(self, lab, kind, service):
        self.path = f"{lab.work}/{kind}-{service or 'gateway'}.log"
        self.process = lab.spawn([gopeers.program(lab.build, "health"), kind, "--target", GATEWAY, "--service", service], self.path, "wb")

    def lines(self):
        with open(self.path, encoding="utf-8") as file:
            return [next(iter(json.loads(line).values())) for line in file if line.endswith("\n")]

    def last_is(self, value):
        return self.lines()[-1:] == [value]


def serve(lab):
    log = f"{lab.work}/backend.log"
    process = lab.spawn([gopeers.program(lab.build, "ledger"), "server", "--listen", BACKEND, "--book", f"{lab.work}/book", "--max-age", "1h"], log, "wb")
    wait_for(10, "the backend listens", lambda: "listening" in tail(log))
    return process


def run(report, work, build, asan):
    lab = Lab(work, build, target=f"static:///{BACKEND}")
    lab.start_gateway()
    backend = serve(lab)
    wait_for(10, "the cluster serves", lambda: ask(lab, "echo") == {"status": "SERVING"})
    expect(ask(lab, "") == {"status": "SERVING"}, f"the gateway itself: {ask(lab, '')}")
    expect(ask(lab, "nobody") == {"code": "NotFound"}, f"a name that no cluster has: {ask(lab, 'nobody')}")
    watches = {name: Told(lab, "watch", name) for name in ("", "echo", "nobody")}
    channel = Told(lab, "channel", "echo")
    wait_for(10, "all watches are told", lambda: all(w.lines() for w in watches.values()))
    wait_for(10, "the channel is READY", lambda: channel.last_is("READY"))
    expect(watches["nobody"].lines() == ["SERVICE_UNKNOWN"], f"Watch of nobody: {watches['nobody'].lines()}")
    for life in range(2):
        backend.send_signal(signal.SIGKILL)
        backend.wait(10)
        wait_for(10, "the watch hears of the end", lambda: watches["echo"].last_is("NOT_SERVING"))
        wait_for(10, "a channel with healthCheckConfig leaves", lambda: channel.last_is("TRANSIENT_FAILURE"))
        expect(ask(lab, "echo") == {"status": "NOT_SERVING"}, "Check says another thing than Watch")
        backend = serve(lab)
        wait_for(20, "the watch hears of the new one", lambda: watches["echo"].last_is("SERVING"))
        wait_for(10, "the channel comes back", lambda: channel.last_is("READY"))
    expect(watches["echo"].lines() == ["SERVING"] + 2 * ["NOT_SERVING", "SERVING"], f"Watch of echo: {watches['echo'].lines()}")
    expect(watches[""].lines() == ["SERVING"] and watches["nobody"].lines() == ["SERVICE_UNKNOWN"], "who watches another name was told something")
    for told in (*watches.values(), channel):
        told.process.terminate()
        told.process.wait(10)
    report.ok("grpc-go's health client: Check and Watch of the gateway, a cluster and nobody; a channel with healthCheckConfig leaves and comes back as a backend is killed and comes back, twice")
    lab.end_well()


CHECKS = [{"name": "health", "run": run, "prepare": gopeers.prepare, "limit": 120}]
