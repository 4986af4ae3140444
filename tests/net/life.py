"""Start, idleness, configuration, the programs beside it, and the end."""
import json
import re
import signal
import subprocess
import time

from lab import CONFIG, Lab, Load, expect, wait_for


def idle(report, work, build, asan):
    lab = Lab(work, build).start()
    lab.client("ping", "--count", 1)
    time.sleep(2)
    for _ in range(3):  # a machine with other work makes the same turns dearer for a while
        before = lab.cpu_seconds()
        time.sleep(10)
        share = (lab.cpu_seconds() - before) / 10
        if share <= 0.05:
            break
    expect(share <= 0.05, f"an idle gateway used {100 * share:.1f} % of a core over 10 s")
    report.ok(f"an idle gateway used {100 * share:.1f} % of a core over 10 s")
    status, lines = lab.client("ping", "--count", 5, "--pause-ms", 4000)
    after_pause = [line["us"] for line in lines[1:]]
    # A machine that others share delays single calls at will; what the gateway adds, it adds to each.
    expect(status == 0 and min(after_pause) <= 10000, f"first call after a pause of 4 s: {after_pause} us")
    report.ok(f"the first call after a pause of 4 s took {', '.join(f'{us / 1000:.2f} ms' for us in after_pause)}")


ALLOWED = re.compile(r"failed to connect to all addresses.*(refused|unreachable)", re.I)  # a closed listener, or a tap that has gone, as gRPC words them


def drain(report, work, build, asan):
    lab = Lab(work, build).start()
    load = Load(lab, "--rate", 400, "--delay-ms", 60, "--in-flight", 400, "--retries").flowing()
    hold = subprocess.Popen([f"{build}/tests/peers/echo-client", "hold", "--target", "198.18.0.2:50051", "--streams", "6", "--seconds", "5"],
                            stdout=subprocess.PIPE, text=True)
    expect(json.loads(hold.stdout.readline()).get("open") == 6, "streams do not open")
    time.sleep(1)
    began = time.monotonic()
    lab.gateway.terminate()
    wait_for(5, "/readyz says that it drains", lambda: lab.http("/readyz")[0] == 503)
    lines = [json.loads(line) for line in hold.communicate(timeout=30)[0].splitlines()]
    expect(lines[-1]["endings"] == {"OK": 6}, f"running streams did not finish: {lines}")
    status = lab.gateway.wait(25)
    took = time.monotonic() - began
    load.stop()
    bad = [f for f in load.failures() if f["failure"] != "UNAVAILABLE" or not ALLOWED.search(f["message"])]
    expect(status == 0, f"exit status {status}")
    expect(not bad, f"{len(bad)} calls failed otherwise than at a closed listener: {bad[:4]}")
    expect(took < 20, f"the drain took {took:.1f} s though the last stream ended after about 4")
    kinds = {}
    for failure in load.failures():
        text = re.sub(r"\d+", "N", failure["message"])[:160]
        kinds[text] = kinds.get(text, 0) + 1
    report.note(f"failures after the listener closed: {kinds}")
    report.ok(f"SIGTERM under load: exit 0 after {took:.1f} s, running streams finished, no call failed but those that met the closed listener "
              f"({len(load.failures())})")


def second_sigterm(report, work, build, asan):
    lab = Lab(work, build).start()
    hold = subprocess.Popen([f"{build}/tests/peers/echo-client", "hold", "--target", "198.18.0.2:50051", "--streams", "2", "--seconds", "20"],
                            stdout=subprocess.PIPE, text=True)
    expect(json.loads(hold.stdout.readline()).get("open") == 2, "streams do not open")
    lab.gateway.terminate()
    time.sleep(1)
    expect(lab.gateway.poll() is None, "the gateway ended though streams were running")
    lab.gateway.terminate()
    began = time.monotonic()
    lab.gateway.wait(5)
    report.ok(f"a second SIGTERM ends it at once ({time.monotonic() - began:.2f} s)")


def programs(report, work, build, asan):
    lab = Lab(work, build).start()
    lab.client("load", "--count", 100)
    for words in (["status"], ["clusters"], ["endpoints"], ["endpoints", "echo"], ["status", "--json"], ["clusters", "--json"]):
        run = subprocess.run([f"{build}/tools/penstockctl"] + words, capture_output=True, text=True, timeout=10)
        expect(run.returncode == 0 and run.stdout.strip(), f"penstockctl {' '.join(words)}: status {run.returncode}, {run.stderr.strip()}")
        if "--json" in words:
            json.loads(run.stdout)
        if words[0] == "endpoints":
            expect("198.18.0.1:50062" in run.stdout and "READY" in run.stdout, f"penstockctl endpoints: {run.stdout}")
    run = subprocess.run([f"{build}/tools/penstockctl", "-a", "127.0.0.1:1", "status"], capture_output=True, text=True, timeout=10)
    expect(run.returncode == 1 and run.stderr, f"penstockctl with nobody there: status {run.returncode}")
    for program in ("penstock", "tools/penstockctl", "tools/penstock-register"):
        for option in ("--help", "--version"):
            run = subprocess.run([f"{build}/{program}", option], capture_output=True, text=True, timeout=10)
            expect(run.returncode == 0 and run.stdout, f"{program} {option}: status {run.returncode}")
        run = subprocess.run([f"{build}/{program}", "--no-such-option"], capture_output=True, text=True, timeout=10)
        expect(run.returncode == 2, f"{program} --no-such-option: status {run.returncode}, not 2")
    for path, wanted in (("/healthz", 200), ("/readyz", 200), ("/readyz?cluster=echo", 200), ("/metrics", 200), ("/api/v1/status", 200), ("/nowhere", 404)):
        expect(lab.http(path)[0] == wanted, f"{path} answers {lab.http(path)[0]}")
    expect(lab.metric("penstock_rpcs_total", cluster="echo", grpc_status="OK") == 100, f"penstock_rpcs_total: {lab.metric('penstock_rpcs_total')}")
    report.ok("penstockctl, the admin API and --help, --version, wrong usage of all programs")


# (words, change to a good configuration, text on the line that must be named, words one of which the message must hold)
BROKEN = [
    ("syntax error", ("workers = 1;", "workers = ;"), "workers = ;", ["syntax"]),
    ("unknown key", ("lb_policy", "lb_polcy"), "lb_polcy", ["lb_policy"]),
    ("integer out of range", ("workers = 1;", "workers = 5000;"), "workers = 5000", ["workers", "range", "most", "between"]),
    ("integer beyond 32 bits", ("workers = 1;", "workers = 4294967297;"), "workers = 4294967297", ["32", "L", "large", "range"]),
    ("wrong type", ("workers = 1;", 'workers = "one";'), 'workers = "one"', ["integer", "number"]),
    ("duration without a unit", ('drain_timeout = "20s"', 'drain_timeout = "20"'), 'drain_timeout = "20"', ["unit", "s\"", "duration"]),
    ("bad address", ("198.18.0.2/24", "198.18.0.300/24"), "198.18.0.300/24", ["address", "198.18.0.300"]),
    ("route to no cluster", ('cluster = "echo"; } ); },\n  { name = "grpc6"', 'cluster = "ecko"; } ); },\n  { name = "grpc6"'), 'cluster = "ecko"', ["ecko"]),
    ("key of a later step", ('name = "echo";', 'name = "echo"; panic_percent = 50;'), "panic_percent", ["not yet"]),
    ("unknown policy", ('"round_robin"', '"round_robbin"'), "round_robbin", ["round_robin"]),
    ("forbidden EAL option", ('"--no-pci"', '"--no-pci", "--vdev=net_null0"'), "--vdev", ["--vdev", "vdev"]),
    ("port beyond 65535", ("198.18.0.2:50051", "198.18.0.2:99999"), "198.18.0.2:99999", ["port", "99999"]),
]


def broken_configurations(report, work, build, asan):
    good = CONFIG.format(policy="round_robin", cluster="", listener="", path="/", target="etcd:///services/echo/")
    path = f"{work}/try.conf"

    def check(text):
        with open(path, "w") as file:
            file.write(text)
        return subprocess.run([f"{build}/penstock", "--check", "-c", path], capture_output=True, text=True, timeout=20)
    run = check(good)
    expect(run.returncode == 0, f"a good configuration: status {run.returncode}: {run.stdout}{run.stderr}")
    for words, (old, new), on_line, hints in BROKEN:
        expect(old in good, f"{words}: the good configuration has no {old}")
        text = good.replace(old, new, 1)
        line = 1 + text[:text.index(on_line)].count("\n")
        run = check(text)
        said = run.stdout + run.stderr
        first = next((l for l in said.splitlines() if l.startswith(f"{path}:{line}: ")), None)
        if run.returncode != 1 or not first or not any(hint in first for hint in hints):
            report.failed(f"broken configuration, {words}: wanted status 1 and {path}:{line}: with one of {hints}; status {run.returncode}: {said.strip()}")
        else:
            report.ok(f"broken configuration, {words}: {first.split(': ', 1)[1]}")
    run = subprocess.run([f"{build}/penstock", "--check", "-c", f"{work}/none.conf"], capture_output=True, text=True, timeout=20)
    expect(run.returncode == 1 and "none.conf" in run.stderr, f"a file that is not there: status {run.returncode}: {run.stderr}")


def hangup(report, work, build, asan):
    """SIGHUP with a broken file in place changes and drops nothing, and the log says something about it."""
    lab = Lab(work, build).start()
    load = Load(lab, "--rate", 300).flowing()
    with open(f"{work}/penstock.conf", "w") as file:
        file.write(lab.config.replace("workers = 1;", "workers = ;"))
    lab.gateway.send_signal(signal.SIGHUP)
    wait_for(3, "the log says what became of SIGHUP", lambda: lab.log_lines("SIGHUP") or lab.log_lines("penstock.conf:"))
    time.sleep(1)
    summary = load.stop()
    expect(lab.gateway.poll() is None, "the gateway ended")
    expect(summary["failed"] == 0 and summary["reconnects"] == 0, f"{summary}; {load.failures()[:3]}")
    report.ok("SIGHUP with a broken file changes and drops nothing")


CHECKS = [
    {"name": "idle", "run": idle},
    {"name": "drain", "run": drain},
    {"name": "second-sigterm", "run": second_sigterm},
    {"name": "programs", "run": programs},
    {"name": "broken-configurations", "run": broken_configurations},
    {"name": "hangup", "run": hangup},
]
