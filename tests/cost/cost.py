#!/usr/bin/env python3
"""What an RPC costs in instructions, which is the same on every run: penstock-bench under callgrind, counted inside the gateway's turns alone.

cost.py BENCH                        measures, prints each figure beside its baseline; "ok NAME" or "FAILED NAME" a line
cost.py BENCH --move "REASON"        measures, and puts a new baseline before the old ones, with the reason
cost.py BENCH --stages [NAME]        where the instructions of one path go, by room
cost.py BENCH --lines [NAME]         the cache lines that an RPC touches anew, by room: misses of a simulated first level of 32 KB

The baseline of a compiler is tests/cost/baseline-COMPILER-VERSION.  Each of its lines is one move: DATE | REASON | NAME=INSTRUCTIONS …, the newest first, and
the newest holds: so a figure cannot be moved without a reason.  Above +5 % a path fails (two workers: +9 %, as they spread by 4).  With a compiler that has no baseline the figures are printed only."""
import argparse
import datetime
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
MARGIN = 0.05
SPREAD = {'two-workers': 0.04} # who owns a connection goes by a secret key: from run to run; above its bound the median of three counts
A1 = '-c 256 --endpoints 256 -n 4096'
PATHS = {
    'A1.static': A1,
    'A1.deadline': A1 + ' --headers go-deadline',
    'A1.traceparent': A1 + ' --headers go-deadline,traceparent',
    'B.static': '-c 8 -m 32 -n 4096',
    'two-workers': A1 + ' --workers 2',
    'bidi': '-c 8 -m 4 --kind bidi --messages 10 -n 320',
    'large': '-c 4 -m 2 --size 100000 -n 32',
    'churn': '-c 32 --churn 4 -n 512',
}


def measure(bench, name, keep=None, extra=()):
    """(instructions an RPC, the compiler's version)"""
    out = keep or os.devnull
    command = ['valgrind', '--tool=callgrind', f'--callgrind-out-file={out}', '--collect-atstart=no', '--toggle-collect=gateway_turn_measured*',
               *extra, bench, '--link', 'ring', '--lockstep', '--slow', '1000', '--json', *PATHS[name].split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    collected = re.search(r'Collected : (\d+)', done.stderr)
    if done.returncode != 0 or not collected:
        raise RuntimeError(f'{name}: exit status {done.returncode}\n' + done.stderr[-2000:])
    said = json.loads(done.stdout)
    return int(collected.group(1)) / said['run']['rpcs'], said['machine']['compiler']


def baseline_path(compiler):
    return os.path.join(HERE, 'baseline-gcc-' + compiler.replace(' ', '-'))


def baseline(compiler):
    """The newest line's figures, and all lines."""
    try:
        lines = [line.rstrip('\n') for line in open(baseline_path(compiler)) if line.strip() and not line.startswith('#')]
    except FileNotFoundError:
        return None, []
    if not lines:
        return None, []
    date, reason, figures = (part.strip() for part in lines[0].split('|'))
    if not date or len(reason) < 10:
        sys.exit(f'{baseline_path(compiler)}: a baseline moves for a reason that can be read')
    return {n: int(v) for n, v in (f.split('=') for f in figures.split())}, lines


def move(compiler, lines, figures, reason):
    if len(reason) < 10 or '|' in reason:
        sys.exit('a baseline moves for a reason that can be read, in one line without "|"')
    line = f'{datetime.date.today()} | {reason} | ' + ' '.join(f'{n}={v:.0f}' for n, v in figures.items())
    with open(baseline_path(compiler), 'w') as f:
        f.write('# Instructions an RPC, -O3 -march=x86-64-v3: DATE | REASON | FIGURES, the newest first. tests/cost/cost.py --move writes it.\n')
        f.write('\n'.join([line] + lines) + '\n')


def too_much(name, value, old):
    return bool(old) and name in old and value / old[name] - 1 > MARGIN + SPREAD.get(name, 0)


def compare(compiler, figures):
    old, _ = baseline(compiler)
    failed = False
    if old is None:
        print(f'compiler {compiler} has no baseline: the figures are printed only')
    for name, value in figures.items():
        before = old.get(name) if old else None
        change = value / before - 1 if before else None
        told = f'{value:9,.0f} instructions an RPC' + (f', {100 * change:+.1f} % of {before:,}' if before else ', no baseline')
        bad = too_much(name, value, old)
        failed |= bad
        print(f'{"FAILED" if bad else "ok"} {name:16} {told}', flush=True)
    if failed:
        print('A path above +5 % wants work, or a reason: tests/cost/cost.py BENCH --move "REASON", in the same commit.')
    return failed


# ---- where they go ----

STAGES = [
    ('port', r'dataplane/port/|dataplane/packet/|librte|net_ring|rte_'),
    ('ip in', r'dataplane/ip/(input|owner|neighbour|arp|nd|icmp)\.c'),
    ('ip out', r'dataplane/ip/'),
    ('tcp in', r'dataplane/tcp/(input|ack|sack|rack|rtt|undo|table|rx|conn|state|timewait|syncookie|cubic|cc|reno|hystart)\w*\.c'),
    ('tcp out', r'dataplane/tcp/'),
    ('http2 in', r'dataplane/http2/(frame|hpack_decode|huffman|headers|validate|data|settings|flood|flow)\.c|dataplane/session/session\.c'),
    ('http2 out', r'dataplane/http2/(send|hpack_encode|control)\.c|dataplane/session/'),
    ('http2 tables, streams', r'dataplane/http2/'),
    ('route, pick, life', r'dataplane/(proxy|router|picker|pool|snapshot)/'),
    ('worker, stats, mail', r'dataplane/(worker|stats|mailbox|transport|base)/'),
    ('libc', r'libc|string|mem'),
]


def stage_of(place):
    for name, pattern in STAGES:
        if re.search(pattern, place):
            return name
    return 'rest'


def annotated(bench, name, events, extra=()):
    """Instructions an RPC, and [(count, place, function, binary)], the count being the sum of those events."""
    with tempfile.TemporaryDirectory() as work:
        out = os.path.join(work, 'out')
        per_rpc, _ = measure(bench, name, out, extra)
        text = subprocess.run(['callgrind_annotate', '--threshold=100', '--auto=no', f'--show={events}', out], capture_output=True, text=True, check=True).stdout
        total = int(re.search(r'^totals: (\d+)', open(out).read(), re.M).group(1))
    count = r'(?:([\d,]+) \([ \d.]+%\)|\.)\s+'
    rows = []
    for m in re.finditer(r'^\s*' + count * len(events.split(',')) + r'(\S+?):(\S+)(?: \[(\S+)\])?', text, re.M):
        *numbers, place, function, binary = m.groups()
        rows.append((sum(int((n or '0').replace(',', '')) for n in numbers), place, function, binary or ''))
    return per_rpc, total / per_rpc, rows


def stages(bench, name, lines):
    """By room: instructions, or cache lines."""
    if lines:
        _, rpcs, rows = annotated(bench, name, 'D1mr,D1mw', ['--cache-sim=yes', '--D1=32768,8,64', '--I1=32768,8,64'])
    else:
        _, rpcs, rows = annotated(bench, name, 'Ir')
    home = {f: place for _, place, f, _ in rows if place.endswith('.c')}  # what is inlined from a header is its caller's
    by_stage, by_function = {}, {}
    for n, place, f, binary in rows:
        where = home.get(f, place)
        stage = stage_of(where if 'dataplane' in where else f'{binary} {f}')
        by_stage[stage] = by_stage.get(stage, 0) + n
        by_function[stage, f] = by_function.get((stage, f), 0) + n
    print(f'{name}: {sum(by_stage.values()) / rpcs:,.0f} {"data lines" if lines else "instructions"} an RPC')
    for stage, n in sorted(by_stage.items(), key=lambda x: -x[1]):
        top = sorted(((v, f) for (s, f), v in by_function.items() if s == stage), reverse=True)[:5]
        form = ',.1f' if lines else ',.0f'
        print(f'  {stage:22} {n / rpcs:>7{form}}   ' + ', '.join(f'{f} {v / rpcs:{form}}' for v, f in top))


def main():
    p = argparse.ArgumentParser()
    p.add_argument('bench')
    p.add_argument('--move', metavar='REASON')
    p.add_argument('--stages', nargs='?', const='A1.static', choices=list(PATHS))
    p.add_argument('--lines', nargs='?', const='A1.static', choices=list(PATHS))
    p.add_argument('--only', choices=list(PATHS), action='append')
    a = p.parse_args()
    if a.stages or a.lines:
        stages(a.bench, a.stages or a.lines, bool(a.lines))
        return 0
    names = a.only or list(PATHS)
    with ThreadPoolExecutor(max_workers=2) as pool:
        results = dict(zip(names, pool.map(lambda n: measure(a.bench, n), names)))
    compiler = next(iter(results.values()))[1]
    figures = {n: v for n, (v, _) in results.items()}
    for n in filter(figures.get, SPREAD):
        if too_much(n, figures[n], baseline(compiler)[0]):
            figures[n] = statistics.median([figures[n], measure(a.bench, n)[0], measure(a.bench, n)[0]])
    if a.move is not None:
        old, lines = baseline(compiler)
        move(compiler, lines, {**(old or {}), **figures}, a.move)
    return 1 if compare(compiler, figures) else 0


if __name__ == '__main__':
    sys.exit(main())
