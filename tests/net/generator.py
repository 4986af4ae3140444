"""A gateway of its own between the ends of penstock-bench, over memif: every RPC checked at both ends, at rates that no client on a kernel reaches."""
import json
import os
import signal
import subprocess

from lab import expect, tail, wait_for

LOADS = {
    "unary": ["-c", "16", "-m", "8", "-n", "20000"],
    "by the clock": ["-c", "8", "-m", "16", "--rate", "3000", "-n", "3000", "--headers", "go-deadline"],
    "bidi with churn": ["-c", "4", "-m", "4", "--kind", "bidi", "--messages", "8", "--churn", "20", "-n", "1000"],
    "100 kB": ["-c", "4", "-m", "2", "--size", "100000", "-n", "200"],
}


def between(work, build, name, load, workers):
    link = ["--link", f"memif={work}/bench.sock", *load]
    bench = f"{build}/tools/penstock-bench"
    config = subprocess.run([bench, *link, "--print-config"], capture_output=True, text=True, check=True).stdout
    with open(f"{work}/bench.conf", "w") as file:
        file.write(f"workers = {workers};\n{config}")
    generator = subprocess.Popen([bench, *link, "--json"], stdout=subprocess.PIPE, stderr=open(f"{work}/bench.log", "ab"), text=True)
    wait_for(20, f"the memif's socket ({tail(work + '/bench.log')})", lambda: os.path.exists(f"{work}/bench.sock"))
    gateway = subprocess.Popen([f"{build}/penstock", "-c", f"{work}/bench.conf"], stdout=open(f"{work}/penstock.log", "ab"), stderr=subprocess.STDOUT)
    try:
        said, _ = generator.communicate(timeout=60)
    finally:
        generator.kill()
        gateway.send_signal(signal.SIGTERM)
        gateway.wait(20)
    expect(generator.returncode == 0, f"{name}: exit status {generator.returncode}: {tail(work + '/bench.log')}; gateway: {tail(work + '/penstock.log')}")
    result = json.loads(said)
    figures = {f["id"]: f["value"] for f in result["figures"]}
    expect(result["run"]["wrong"] == 0 and result["run"]["rpcs"] >= int(load[load.index("-n") + 1]), f"{name}: {result['run']}")
    return figures


def over_memif(report, work, build, asan):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for name, load in LOADS.items():
        f = between(work, build, name, load, 2 if name == "unary" else 1)
        report.note(f"{name}: {f['rpcs_per_second']:.0f} RPCs a second, {f['latency_p50']:.0f} us at the median, {f['latency_p99']:.0f} at 99 %")
    report.ok(f"penstock-bench over memif: {len(LOADS)} loads through a gateway of its own, every RPC checked at both ends")


CHECKS = [{"name": "generator-memif", "run": over_memif, "limit": 480}]
