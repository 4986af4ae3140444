#!/usr/bin/env python3
"""coverage.py [--no-build] [--missing FILE…] [--rooms ROOM…]: which lines and branches of http2/, proxy/ and tcp/ the tests reach, by gcov.

Builds everything with gcc's coverage in build-coverage, without optimisation, runs the tests below, and counts.  A line or branch counts if any of the programs that
hold it has reached it.  Not counted: lines with assert(), whose other branch is a bug by definition, and check.c, which is nothing else.  A line a
file, then the sums; "ok …" or "FAILED …" for each room, held against the bounds; the exit status is 1 if one is below.
--missing names the lines of a file that nothing reached, and those of whose branches one was not; --no-build counts what was run last, which is one group of rooms."""
import argparse
import gzip
import json
import os
import re
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(TOP, 'build-coverage')
LINES, BRANCHES = 90, 80
# What is run for which rooms; each by itself, since programs of the one reach the rooms of the other.
GROUPS = [(['http2', 'proxy'],
         ['unit:http2', 'unit:session', 'unit:window', 'unit:life', 'unit:pool', 'unit:proxy', 'unit:gateway-corpus', 'sim:proxy', 'diff:http2_nghttp2', 'diff:http2_hpack',
          'diff:http2_frames', 'fault:proxy']),
        (['tcp'], ['script:tcp', 'unit:tcp-corpus'])]


def run(command, **more):
    return subprocess.run(command, stdin=subprocess.DEVNULL, text=True, **more)


def build(names):
    if not os.path.exists(os.path.join(BUILD, 'build.ninja')):
        run(['meson', 'setup', BUILD, TOP, '-Db_coverage=true', '-Dbuildtype=debug', '-Dpeers=false'], check=True, stdout=subprocess.DEVNULL)
    run(['ninja', '-C', BUILD, 'build.ninja'], check=True, stdout=subprocess.DEVNULL) # as meson.build is now
    known = json.loads(run(['meson', 'introspect', '--tests', BUILD], check=True, capture_output=True).stdout)
    tests = [(f'{s.split(":")[-1]}:{t["name"]}', t) for t in known for s in t['suite'] if f'{s.split(":")[-1]}:{t["name"]}' in names]
    missing = set(names) - {name for name, _ in tests}
    if missing:
        raise RuntimeError(f'meson knows no {missing}')
    targets = sorted({os.path.relpath(t['cmd'][0], BUILD) for _, t in tests})
    run(['ninja', '-C', BUILD, '-j', '2', *targets], check=True, stdout=subprocess.DEVNULL)
    return dict(tests)


def play(tests, wanted):
    for folder, _, files in os.walk(BUILD):
        for n in files:
            if n.endswith('.gcda'):
                os.unlink(os.path.join(folder, n))
    good = True
    for t in (tests[n] for n in wanted):
        done = run(t['cmd'], cwd=t.get('workdir') or BUILD, env={**os.environ, **t['env']}, capture_output=True, timeout=1800)
        if done.returncode != 0:
            print(f'FAILED {t["name"]}: exit status {done.returncode}', flush=True)
            good = False
    return good


def objects(room):
    for folder, _, names in os.walk(os.path.join(BUILD, 'dataplane')):
        if re.search(rf'libpenstock_{room}(_mem)?\.a\.p$', folder):
            yield from (os.path.join(folder, n) for n in names if n.endswith('.gcda'))


class File:
    def __init__(self):
        self.lines, self.branches = {}, {}

    def add(self, entry):
        n = entry['line_number']
        self.lines[n] = self.lines.get(n, 0) + entry['count']
        have = self.branches.setdefault(n, [])
        for i, b in enumerate(entry['branches']):
            if i == len(have):
                have.append(0)
            have[i] += b['count']


def read(room):
    files = {}
    for path in objects(room):
        done = subprocess.run(['gcov', '--json-format', '--stdout', '--branch-probabilities', path], capture_output=True, cwd=BUILD)
        data = done.stdout if done.stdout[:1] == b'{' else gzip.decompress(done.stdout)
        for line in data.splitlines():
            for f in json.loads(line)['files']:
                name = os.path.relpath(os.path.join(BUILD, f['file']), TOP)
                if name.startswith(f'dataplane/{room}/') and not name.endswith('/check.c'):
                    for entry in f['lines']:
                        files.setdefault(name, File()).add(entry)
    for name, f in files.items():
        for n, text in enumerate(open(os.path.join(TOP, name)), 1):
            if 'assert(' in text:
                f.lines.pop(n, None)
                f.branches.pop(n, None)
    return files


def percent(have, of):
    return 100 * have / of if of else 100


def counts(f):
    branches = [b for n in f.branches.values() for b in n]
    return sum(1 for c in f.lines.values() if c), len(f.lines), sum(1 for b in branches if b), len(branches)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--no-build', action='store_true')
    parser.add_argument('--missing', nargs='*', default=[])
    parser.add_argument('--rooms', nargs='*')
    options = parser.parse_args()
    groups = [(rooms, wanted) for rooms, wanted in GROUPS if not options.rooms or set(rooms) & set(options.rooms)]
    tests, good = None if options.no_build else build([n for _, wanted in groups for n in wanted]), True
    for rooms, wanted in groups:
        if tests is not None:
            good &= play(tests, wanted)
        good &= all([report(room, options.missing) for room in rooms])
    return 0 if good else 1


def report(room, missing):
    total = [0, 0, 0, 0]
    for name, f in sorted(read(room).items()):
        c = counts(f)
        total = [a + b for a, b in zip(total, c)]
        print(f'  {name:44} lines {percent(c[0], c[1]):5.1f} %   branches {percent(c[2], c[3]):5.1f} %')
        if any(name.endswith(m) for m in missing):
            text = open(os.path.join(TOP, name)).read().split('\n')
            for n in sorted(f.lines):
                if not f.lines[n] or not all(f.branches.get(n, [1])):
                    print(f'    {n:4} {"never" if not f.lines[n] else "branch"} {text[n - 1].strip()}')
    lines, branches = percent(total[0], total[1]), percent(total[2], total[3])
    held = lines >= LINES and branches >= BRANCHES and total[1] > 0
    print(f'{"ok" if held else "FAILED"} {room}: {lines:.1f} % of {total[1]} lines (at least {LINES}), {branches:.1f} % of {total[3]} branches (at least {BRANCHES})', flush=True)
    return held


if __name__ == '__main__':
    sys.exit(main())
