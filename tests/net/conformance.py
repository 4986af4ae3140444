"""Do strangers understand us?  Every kind of call on a stock gRPC library, directly and through the gateway, compared field by field; and curl."""
import json
import subprocess

from lab import GATEWAY4, GATEWAY6, Lab, expect


def calls(family, target, backend_address):
    def run(report, work, build, asan):
        lab = Lab(work, build).start(backends=0, registered=False)
        lab.add("b1", backend_address).register()
        lab.wait_ready(1)
        command = [f"{build}/tests/peers/echo-client", "calls", "--direct", backend_address, "--target", target]
        client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        summary, other = None, []
        for text in client.stdout:
            line = json.loads(text) if text.startswith("{") else {}
            if "case" in line and line["ok"]:
                report.ok(f"{family}: {line['case']}")
            elif "case" in line:
                report.failed(f"{family}: {line['case']}: {line['why']}")
            elif line.get("summary"):
                summary = line
            else:
                other.append(text.strip())
        expect(summary and summary["passed"] + summary["failed"] > 100, f"{family}: the cases did not run to their end: {other[-3:]}")
    return run


def curl(report, work, build, asan):
    """What the gateway answers by itself."""
    lab = Lab(work, build, path="/echo.Echo/").start(backends=1)

    def ask(*arguments):
        run = subprocess.run(["curl", "-sS", "-i", "--max-time", "5", "--http2-prior-knowledge"] + list(arguments), capture_output=True, text=True)
        expect(run.returncode == 0, f"curl {arguments}: {run.stderr.strip()}")
        return run.stdout
    grpc = ["-X", "POST", "-H", "content-type: application/grpc", "-H", "te: trailers", "--data-binary", ""]
    answer = ask(*grpc, f"http://{GATEWAY4}/no.Such/Method")
    expect(answer.startswith("HTTP/2 200") and "grpc-status: 12" in answer and "penstock-reason: no_route" in answer, f"no route: {answer!r}")
    answer = ask(f"http://{GATEWAY4}/no/such/page")
    expect(answer.startswith("HTTP/2 404"), f"not gRPC, no route: {answer!r}")
    lab.backends["b1"].kill()
    lab.etcd.delete("b1")
    lab.wait_ready(0)
    answer = ask(*grpc, f"http://{GATEWAY4}/echo.Echo/Unary")
    expect("grpc-status: 14" in answer and "penstock-reason: no_ready_endpoint" in answer, f"no endpoint: {answer!r}")
    report.ok("curl over HTTP/2: the gateway's own answers have status, message and penstock-reason")


def cancelled_at_once(report, work, build, asan):
    """gRPC's core sends RST_STREAM for a call that was cancelled before it was sent: on a connection that has had no other, too."""
    lab = Lab(work, build).start()
    rounds = 1000
    status, lines = lab.client("cancel", "--count", rounds, "--beside", 3)
    summary = lines[-1]
    expect(status == 0 and summary["beside"] == {"OK": 3 * rounds}, f"{summary}, {lines[:3]}")
    report.ok(f"{3 * rounds} calls on {rounds} connections whose first call is cancelled as it begins ({summary['cancelled']}): none failed")


CHECKS = [
    {"name": "calls-ipv4", "run": calls("IPv4", GATEWAY4, "198.18.0.1:50061"), "limit": 240},
    {"name": "calls-ipv6", "run": calls("IPv6", GATEWAY6, "[2001:db8::1]:50061"), "limit": 240},
    {"name": "curl", "run": curl},
    {"name": "cancelled-at-once", "run": cancelled_at_once},
]
