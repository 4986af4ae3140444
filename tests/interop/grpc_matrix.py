"""The matrix of docs/GRPC.md: what clients and backends see, through the gateway beside direct, and why where it is not the same.

A run leaves the page as it would be written now in build/GRPC.md; where that is not docs/GRPC.md the check fails and shows the lines."""
import difflib
import json
import os
import subprocess

import gopeers
from lab import TOP, Lab, expect, tail, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
LANES = 4
KINDS = ("unary", "client", "server", "bidi")
BEGIN, END = "<!-- matrix: written by tests/interop/grpc_matrix.py -->\n", "<!-- end of the matrix -->\n"
TITLES = {"unary": "unary", "client": "client streaming", "server": "server streaming", "bidi": "bidirectional"}

# What is not the same, and why: (which cells, what makes them the same again, words).
EXPLAINED = [
    (lambda c: c["act"].startswith("FLOW_CONTROL_ERROR") and c["client"] == "Go" and c["way"] == "direct",
     lambda c: c.update(saw=c["saw"].replace("RESOURCE_EXHAUSTED", "INTERNAL")),
     "grpc-go by itself makes RESOURCE_EXHAUSTED of FLOW_CONTROL_ERROR; gRPC's table says INTERNAL, and so do the gateway and C-core."),
    (lambda c: c["act"] == "REFUSED_STREAM before headers" and c["client"] == "Python" and c["way"] == "direct",
     lambda c: c.update(backend=", ".join(["2 attempts"] + [w for w in c["backend"].split(", ") if w != "begin of the request"])),
     "REFUSED_STREAM says that the call was not looked at: the gateway and grpc-go send it once more (here to the same backend, as there is no other), C-core 1.51 "
     "does not."),
    (lambda c: c["act"] == "GOAWAY before",
     lambda c: c.update(backend=", ".join(w for w in c["backend"].split(", ") if not w.startswith("RST_STREAM"))),
     "The stream that the GOAWAY left out is nobody's: the gateway says no more of it (Netty would end the connection for a RST_STREAM of it), grpc-go neither where the request "
     "was whole, C-core ends it with NO_ERROR."),
]


def lab_with(work, build):
    lab = Lab(work, build)
    listeners = ",\n".join(f'{{ name = "l{n}"; bind = "198.18.0.2:{52000 + n}"; routes = ( {{ path = "/"; cluster = "c{n}"; }} ); }}' for n in range(LANES))
    clusters = ",\n".join(f'{{ name = "c{n}"; target = "static:///198.18.0.1:{53000 + n}"; no_ready: {{ action = "queue"; max = 16; timeout = "5s"; }}; '
                          f'connect_backoff: {{ base = "20ms"; factor = 1.1; max = "50ms"; }}; }}' for n in range(LANES))
    lab.config = f"""
dpdk: {{ eal = [ "--no-huge", "-m", "512", "--no-pci" ]; }};
workers = 1;
ports = ( {{ name = "front"; device = "net_tap0,iface=pen0"; address = [ "198.18.0.2/24" ]; }} );
listeners = ( {listeners} );
clusters = ( {clusters} );
admin: {{ bind = "127.0.0.1:9901"; }};
"""
    lab.start_gateway()
    return lab


def played(build, work, only=""):
    """{(act, kind): its calls}"""
    command = ["/usr/bin/python3", f"{HERE}/matrixcells.py", "--lanes", str(LANES), "--direct", "198.18.0.1:53000", "--through", "198.18.0.2:52000", "--only", only]
    if gopeers.up_to_date(build):
        command += ["--go", gopeers.program(build, "cells")]
    with open(f"{work}/cells.log", "a") as log:
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, text=True, stdin=subprocess.DEVNULL, timeout=300)
    expect(run.returncode == 0, f"the matrix could not be played: {tail(f'{work}/cells.log', 5)}")
    cells = {}
    for line in run.stdout.splitlines():
        call = json.loads(line)
        if only in ("", call["act"]):
            cells.setdefault((call["act"], call["kind"]), []).append(call)
    return cells


def explained(calls):
    """The calls of one cell are the same, or there are words that make them so."""
    calls = [dict(c) for c in calls]
    for which, mend, _ in EXPLAINED:
        for call in filter(which, calls):
            mend(call)
    return not differs(calls)


def differs(calls):
    return len({(c["saw"], c["backend"]) for c in calls}) != 1


def text(calls):
    """What is seen through the gateway; what the backend has seen but of begin and end of the request, which always come, and of what is nobody's."""
    out, notes = [], [number for number, (which, _, _) in enumerate(EXPLAINED, 1) if any(which(c) for c in calls)]
    for call in (dict(c) for c in calls if c["way"] == "through"):
        for which, mend, _ in EXPLAINED:
            if which(call):
                mend(call)
        more = [w for w in call["backend"].split(", ") if w not in ("request's end", "begin of the request")]
        out.append(call["saw"].replace(" message", "\u00a0message") + (f"<br>backend: {', '.join(more)}" if more else ""))
    return " / ".join(dict.fromkeys(out)) + "".join(f" [{n}]" for n in notes)


def page(cells):
    acts = sorted({act for act, _ in cells}, key=lambda act: cells[act, "unary"][0]["order"])
    groups = [("Answers, connections, deadlines, cancels", [a for a in acts if not a.split(" ")[0].replace("_", "").replace("1", "").isupper() or a.startswith("GOAWAY")])]
    for phase in ("before headers", "after headers", "after messages"):
        groups.append((f"RST_STREAM {phase}", [a for a in acts if a.endswith(phase) and a not in groups[0][1]]))
    lines = []
    for title, rows in groups:
        lines += [f"\n### {title}\n", f"| the backend, or the client | {' | '.join(TITLES.values())} |", "|---|---|---|---|---|"]
        lines += [f"| {row.removesuffix(' ' + title[11:])} | " + " | ".join(text(cells[row, kind]) for kind in KINDS) + " |" for row in rows]
    lines += ["\n### What is not the same as without the gateway\n"]
    lines += [f"{number}. {words}" for number, (_, _, words) in enumerate(EXPLAINED, 1)]
    return "\n".join(lines) + "\n"


def page_now(cells):
    with open(f"{TOP}/docs/GRPC.md") as file:
        have = file.read()
    head, rest = have.split(BEGIN)
    return have, head + BEGIN + page(cells) + END + rest.split(END)[1]


def matrix(report, work, build, asan):
    lab = lab_with(work, build)
    cells = played(build, work)
    expect(len(cells) == 4 * (3 + 42 + 3 + 9), f"{len(cells)} cells were played")
    go = gopeers.up_to_date(build)

    def bad():
        """Acts that nothing explains, or that the page says otherwise."""
        out = {act for (act, _), calls in cells.items() if not explained(calls)}
        have, _ = page_now(cells)
        if go and "###" in have.split(BEGIN)[1]:
            out |= {act for (act, kind), calls in cells.items() if text(calls) not in have}
        return out
    for _ in range(2):  # a machine that is busy elsewhere turns the order of two events round
        for act in bad():
            cells.update(played(build, work, act))
    wrong = [(key, calls) for key, calls in cells.items() if not explained(calls)]
    for (act, kind), calls in wrong:
        report.note(f"{act}, {kind}: " + "; ".join(f"{c['client']} {c['way']}: {c['saw']} | {c['backend']}" for c in calls))
    expect(not wrong, f"{len(wrong)} of {len(cells)} cells are not the same through the gateway as direct, and nothing says why")
    same = sum(not differs(calls) for calls in cells.values())
    clients = "grpc-go and C-core (Python)" if go else "C-core (Python)"
    if not go:
        report.skipped("the matrix of docs/GRPC.md with grpc-go", "sudo tests/run interop")
    else:
        have, now = page_now(cells)
        with open(f"{build}/GRPC.md", "w") as file:
            file.write(now)
        for line in difflib.unified_diff(have.splitlines(), now.splitlines(), "docs/GRPC.md", "build/GRPC.md", lineterm="", n=0):
            report.note(line)
        expect(have == now, "docs/GRPC.md says otherwise; if the gateway is right:  cp build/GRPC.md docs/GRPC.md")
    report.ok(f"the matrix of docs/GRPC.md: {len(cells)} cells with {clients}, through the gateway beside direct: {same} the same, {len(cells) - same} explained")
    wait_for(10, "every call's object is back", lambda: all(lab.objects_in_use().get(kind, 0) == 0 for kind in ("rpc", "replay")))
    lab.end_well()


CHECKS = [{"name": "grpc-matrix", "run": matrix, "prepare": lambda build: gopeers.prepare(build) and None, "limit": 240}]
