"""docs/BENCHMARKS.md and its charts, out of one run's results.  Nothing here measures."""
import json
import os

import chart
import duel

NAMES = {"penstock-tap": "penstock, tap", "penstock-veth": "penstock, veth", "nghttpx": "nghttpx", "haproxy": "HAProxy", "nginx": "nginx", "envoy": "Envoy"}


def write(directory, run):
    charts = f"{directory}/charts"
    os.makedirs(charts, exist_ok=True)
    gated = [f for f in run["figures"] if f["gate"] is not None]
    words = [head(run)]
    if gated:
        put(f"{charts}/gates.svg", chart.gates("Each figure as a share of its gate; the stroke is the target",
                                              [(f["id"], f["value"], f["gate"], f["target"], f["unit"]) for f in gated]))
        words.append("![each figure as a share of its gate](charts/gates.svg)\n")
    words.append(own_table(run))
    if run["peers"]:
        put(f"{charts}/peers.svg", peers_chart(run["peers"]))
        words += [beside(run), "![CPU an RPC](charts/peers.svg)\n", peers_tables(run["peers"]), counted(run)]
    put(f"{directory}/BENCHMARKS.md", "\n".join(words))
    put(f"{charts}/benchmark.json", json.dumps(run, indent=1) + "\n")


def put(path, text):
    with open(path, "w") as file:
        file.write(text)


def table(titles, rows):
    return "\n".join(["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)] + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def head(run):
    m = run["machine"]
    versions = {**m["versions"], **(run["peers"] or {}).get("versions", {})}
    return f"""# Benchmarks

Written by `sudo tools/benchmark`; do not edit. The numbers, for machines: [charts/benchmark.json](charts/benchmark.json). How to read them, and how to
run one row again: `tools/benchmark --help`. Where the cycles go: [PERFORMANCE.md](PERFORMANCE.md).

""" + table(["", ""], [
        ["measured", f"{run['run']['date']}, commit {m['commit']}" + (", the quick form" if run["run"]["quick"] else "")],
        ["machine", f"{m['cpu']}, {m['cores']} cores, {m['memory_gib']} GiB, {'virtual (' + m['virtual'] + ')' if m['virtual'] != 'none' else 'bare metal'}, "
                    f"Linux {m['kernel']}, load before {m['load_before']}"],
        ["built with", f"gcc {m['compiler']}, {m['build']}, DPDK {m['dpdk']}"],
        ["peers", ", ".join(f"{NAMES.get(name, name)} {version}" for name, version in versions.items() if version) or "none"]])


def value(f):
    return f"{chart.number(f['value'])} {f['unit'] if f['unit'] != 'ratio' else ''}".strip()


def judged(f):
    if f["gate"] is None:
        return ""
    return f"{f['gate']:,g}: {'held' if f['value'] <= f['gate'] else '**missed**'}"


def own_table(run):
    rows = [[f["id"], f["what"], value(f), chart.number(f["quiet"]) if "quiet" in f else "", judged(f), "" if f["target"] is None else f"{f['target']:,g}"]
            for f in run["figures"] if not f["id"].startswith(("cpu.", "busy."))]
    missing = "".join(f"\nNot measured: {row}: {why}.\n" for row, why in run["missing"].items())
    return """## The table of figures

Cycles are TSC ticks of a worker's busy turns an RPC (100-byte messages, one worker, `penstock-bench --lockstep`: every RPC checked at both ends). "quiet" is the
same in the least disturbed quarter of the run. H rows are ratios of CPU time, below.

""" + table(["row", "what", "figure", "quiet", "gate", "target"], rows) + missing


def peers_chart(peers):
    panels = []
    for load, (words, _) in duel.LOADS.items():
        rows = [(NAMES.get(name, name), f["busy_us"], f["low"], f["high"], name.startswith("penstock")) for name, f in peers["table"].get(load, {}).items()]
        if rows:
            panels.append((words, rows))
    return chart.bars("Busy CPU time of the proxy, an RPC (median, least and most of all rounds)", panels, "µs")


def beside(run):
    p = run["peers"]
    return f"""## Beside the peers

Unary gRPC calls of 100 bytes each way over cleartext HTTP/2 by h2load, balanced call by call onto three backends (`benchmark-backend`, libnghttp2); one
worker or thread each; {p['rounds']} rounds, in each of which every proxy had a window of {p['seconds']} s after the other, proxy on one core, client and backends on another; kernel
TCP with {p['congestion']}. Configurations: `tools/benchmark.d/peers/`.{' Not installed: ' + ', '.join(p['absent']) + '.' if p['absent'] else ''}
"""


def peers_tables(p):
    out = []
    for load, (words, _) in duel.LOADS.items():
        rows = []
        for name, f in p["table"].get(load, {}).items():
            ratios = [p["ratios"][load].get(ours, {}).get(name) for ours in ("penstock-tap", "penstock-veth")]
            rows.append([NAMES.get(name, name), f"{f['busy_us']:.2f}", f"{f['low']:.2f} to {f['high']:.2f}", f"{f['cpu_us']:.2f}", f"{f['around_us']:.2f}", f"{f['rate']:,.0f}", f"{100 * f['share']:.0f} %"] + ["" if r is None else f"{r:.2f}" for r in ratios])
        if rows:
            out.append(f"**{words}**\n\n" + table(["proxy", "busy CPU-µs/RPC", "of all rounds", "CPU of the process", "client and backends", "RPC/s", "of its core",
                                                  "penstock on a tap by it", "on veth"], rows))
    return "\n".join(out)


def counted(run):
    apart = run["machine"]["interrupts_apart"]
    softirq = {True: "taken off by this kernel (CONFIG_IRQ_TIME_ACCOUNTING) and charged to nobody, which spares the peers their share of packets' way in",
               False: "in it, as this kernel leaves such time with the process that it happened to", None: "in it or not: this kernel does not say"}[apart]
    return f"""### What is counted where

- "CPU of the process" is what the scheduler charged to all threads of the proxy between two moments at which the backends' counts were read. The kernel's work in its
  name is in it: system calls, and what they set off. Time in soft interrupts is {softirq}.
- "busy" is the same for the peers. penstock waits awake for some microseconds before it sleeps: for it, busy is the time of turns that moved packets
  (`penstock_worker_seconds_total{{mode="busy"}}`, at most the process's CPU time). With a client that keeps it busy both come close; ratios of both stand in the table.
- A frame that is sent over a tap or a veth passes through the receiver's TCP at once, in the sender's time. So every proxy pays for its clients' and backends' way in, and
  these pay for the way in of a proxy that lives on the kernel's TCP. **penstock runs all of its TCP in its own process, both ways, and still pays for theirs: the comparison is
  to its disadvantage.** The column "client and backends" shows the other side of the account.
- penstock on a tap pays a system call for each frame (the tap takes no more at once); over a veth (`net_af_packet`, memory-mapped rings) one for many. The peers use the
  kernel's large segments over their veth, penstock and its own peers' kernel do not: checksums and segments are made in software there.
- On a NIC penstock makes no system calls at all: what it costs there is the A and B rows above. These rows have no figure for a kernel proxy on a NIC.
- At 10,000 RPCs a second there is little to batch, and every proxy's cost an RPC rises; the CPU of penstock's process holds its waiting awake (`idle = "adaptive"`).
- Not compared: TLS, large bodies, latency under load, memory.
"""
