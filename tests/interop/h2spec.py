"""Is it RFC 9113?  h2spec, strict, through the gateway, with nghttpd behind it: an ordinary HTTP/2 server that sends DATA.

h2spec comes from the Go module proxy, built once into build/cache; where no Go of 1.21 or later is, the check is skipped."""
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree

from lab import Lab, expect, tail, wait_for

MODULE = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"
GO_LEAST = (1, 21)
CASES = 146


def go_version(go):
    said = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, env={**os.environ, "GOTOOLCHAIN": "local"}).stdout
    found = re.match(r"go(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def find_go():
    """A Go that is new enough; None."""
    for path in (shutil.which("go"), "/usr/local/go/bin/go", "/usr/lib/go/bin/go"):
        if path and os.path.exists(path) and go_version(path) >= GO_LEAST:
            return path
    return None


def prepare(build):
    """Builds h2spec where there is none yet; gives why there is still none.  Runs outside of the namespaces: this alone needs a network."""
    cache = f"{build}/cache/h2spec"
    program = f"{cache}/bin/h2spec"
    if os.path.exists(program):
        return None
    go = find_go()
    if go is None:
        return "no Go >= 1.21 here (Debian 12's is 1.19)"
    os.makedirs(f"{cache}/bin", exist_ok=True)
    try:
        run = subprocess.run([go, "install", MODULE], capture_output=True, text=True, timeout=400, stdin=subprocess.DEVNULL,
                             env={**os.environ, "GOBIN": f"{cache}/bin", "GOFLAGS": "-modcacherw", "GOPATH": f"{cache}/go", "GOTOOLCHAIN": "local"})
        why = None if run.returncode == 0 else f"h2spec could not be built: {run.stderr.strip().splitlines()[-1:]}"
    except subprocess.TimeoutExpired:
        why = "h2spec could not be fetched from the Go module proxy within 400 s"
    shutil.rmtree(f"{cache}/go", ignore_errors=True)
    return why


def failed_cases(report_file):
    cases = list(xml.etree.ElementTree.parse(report_file).getroot().iter("testcase"))
    bad = []
    for case in cases:
        for kind in ("failure", "error", "skipped"):
            for found in case.findall(kind):
                bad.append(f"{case.get('package')}: {case.get('classname')}: {kind}: {' '.join((found.text or '').split())[:300]}")
    return len(cases), bad


def h2spec(report, work, build, asan):
    lab = Lab(work, build, target="static:///198.18.0.1:50061")
    lab.start_gateway()
    os.makedirs(f"{work}/htdocs")
    with open(f"{work}/htdocs/index.html", "w") as file:
        file.write("an ordinary page\n" * 40)
    lab.spawn(["nghttpd", "--no-tls", "--address=198.18.0.1", f"--htdocs={work}/htdocs", "50061"], f"{work}/nghttpd.log")
    lab.wait_ready(1, 20)
    xml_file = f"{work}/h2spec.xml"
    with open(f"{work}/h2spec.txt", "w") as file:
        subprocess.run([f"{build}/cache/h2spec/bin/h2spec", "--strict", "--host", "198.18.0.2", "--port", "50051", "--timeout", "3", "--junit-report", xml_file],
                       stdout=file, stderr=file, stdin=subprocess.DEVNULL, timeout=400)
    count, bad = failed_cases(xml_file)
    for words in bad:
        report.note(words)
    expect(count == CASES, f"h2spec ran {count} cases, not {CASES}: {tail(work + '/h2spec.txt', 3)}")
    expect(not bad, f"h2spec: {len(bad)} of {count} cases failed")
    wait_for(5, "the gateway lives on", lambda: lab.http("/healthz")[0] == 200)
    report.ok(f"h2spec, strict: {count - len(bad)} of {count} through the gateway, nghttpd behind it")


CHECKS = [{"name": "h2spec", "run": h2spec, "prepare": prepare, "limit": 300}]
