#!/usr/bin/env python3
"""mutants.py [--check] [--resume] [--jobs N] [--results DIRECTORY] [TABLE [NAME…]]: plants faults, one at a time, and asks which test sees them.

A table is a file tests/mutants/TABLE.faults:

    # words for people
    tests SUITE/TEST… asan:SUITE/TEST…
    NAME :: FILE :: FROM :: TO :: WHAT IT BREAKS

`tests` (once, before the first fault) names meson's tests in the order in which they are asked, the quick ones first; those with asan: run in a build with
AddressSanitizer and UBSan.  FROM stands in FILE exactly once, on one line (the white space at its ends does not count); TO takes its place, and may be
empty.  NAME is one word, once in all tables.  There is no other syntax: " :: " separates, a line that begins with # says nothing.

Each fault is planted in a copy of the tree under build-mutants/, built, and the tests run until one fails: it was caught by that one.  A test that does not end
in three times its time limit has caught it, too.  A fault that does not compile is a mistake in the table.  First everything runs unharmed: a test that fails by
itself catches nothing.

A row a fault goes to RESULTS/mutants-TABLE.md; with --resume what stands there already is not done again.  --check only looks that each FROM is there once.
Words: "ok NAME caught by …", "FAILED NAME …"; the exit status is 1 if a fault was not caught."""
import argparse
import concurrent.futures
import hashlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILDS = {'plain': [], 'asan': ['-Db_sanitize=address,undefined', '-Db_lundef=false']}


class Fault:
    def __init__(self, line, where):
        fields = [f.strip() for f in line.split(' :: ')] if not line.rstrip().endswith('::') else []
        if len(fields) != 5 or ' ' in fields[0] or not all(fields[i] for i in (0, 1, 2, 4)):
            raise ValueError(f'{where}: a line is: NAME :: FILE :: FROM :: TO :: WHAT IT BREAKS')
        self.name, self.file, self.old, self.new, self.what = fields
        self.digest = hashlib.sha256(line.strip().encode()).hexdigest()[:8]

    def problem(self, top):
        path = os.path.join(top, self.file)
        if not os.path.isfile(path):
            return f'{self.name}: no file {self.file}'
        times = open(path).read().count(self.old)
        return None if times == 1 else f'{self.name}: {self.old!r} stands {times} times in {self.file}'


def table_read(path):
    tests, faults = [], []
    for number, line in enumerate(open(path), 1):
        if line.startswith('#') or not line.strip():
            continue
        if line.startswith('tests '):
            tests = line.split()[1:]
        else:
            faults.append(Fault(line, f'{path}:{number}'))
    if not tests:
        raise ValueError(f'{path}: no line "tests …"')
    return tests, faults


def tables():
    here = os.path.join(TOP, 'tests/mutants')
    return sorted(n[:-7] for n in os.listdir(here) if n.endswith('.faults'))


def run(command, seconds, **more):
    """The exit status and the output; status None: it did not end."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, text=True,
                          errors='replace', **more) as p:
        try:
            return_words = p.communicate(timeout=seconds)[0]
            return p.returncode, return_words
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, signal.SIGKILL)
            return None, p.communicate()[0]
        except BaseException:
            os.killpg(p.pid, signal.SIGKILL)
            raise


class Copy:
    """A copy of the tree with builds of its own."""

    def __init__(self, number):
        self.root = os.path.join(TOP, 'build-mutants', str(number))
        self.source = os.path.join(self.root, 'source')
        self.known = {}
        os.makedirs(self.source, exist_ok=True)
        listed = subprocess.run(['git', '-C', TOP, '-c', f'safe.directory={TOP}', 'ls-files', '-co', '--exclude-standard', '-z'], capture_output=True, text=True)
        names = [n for n in listed.stdout.split('\0') if n and os.path.isfile(os.path.join(TOP, n))]
        if not names:
            raise RuntimeError('git ls-files names no file of this tree')
        for name in names:
            self.put(name, open(os.path.join(TOP, name), 'rb').read())
            shutil.copymode(os.path.join(TOP, name), os.path.join(self.source, name))

    def put(self, name, data):
        path = os.path.join(self.source, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not os.path.isfile(path) or open(path, 'rb').read() != data:
            with open(path, 'wb') as f:
                f.write(data)

    def build(self, kind):
        directory = os.path.join(self.root, kind)
        if kind not in self.known:
            if not os.path.exists(os.path.join(directory, 'build.ninja')):
                status, words = run(['meson', 'setup', directory, self.source, '-Dpeers=false', '-Dbuildtype=debugoptimized', '-Dwerror=false'] + BUILDS[kind], 600)
                if status != 0:
                    raise RuntimeError(words[-2000:])
            run(['ninja', '-C', directory, 'build.ninja'], 600)  # as meson.build is now
            listed = subprocess.run(['meson', 'introspect', '--tests', directory], capture_output=True, text=True, check=True)
            self.known[kind] = {}
            for test in json.loads(listed.stdout):
                for suite in test['suite']:
                    self.known[kind][f'{suite.split(":")[-1]}/{test["name"]}'] = test
        return directory

    def ask(self, test):
        """'' (it held), or how it failed.  Raises where the tree does not build."""
        kind, name = test.split(':', 1) if ':' in test else ('plain', test)
        directory = self.build(kind)
        if name not in self.known[kind]:
            raise RuntimeError(f'meson knows no test {name}')
        t = self.known[kind][name]
        target = os.path.relpath(t['cmd'][0], directory)
        status, words = run(['ninja', '-C', directory, '-j', '2', target], 1800)
        if status != 0:
            raise RuntimeError('it does not build:\n' + words[-1500:])
        status, words = run(t['cmd'], 3 * (t['timeout'] or 30) * (3 if kind == 'asan' else 1), cwd=t.get('workdir') or directory, env={**os.environ, **t['env']})
        if status == 0:
            return ''
        said = [line.strip() for line in words.split('\n') if line.strip()]
        said = next((line for line in said if 'ERROR: AddressSanitizer' in line or 'runtime error' in line or 'Assertion' in line), said[-1] if said else '')
        said = said.replace(self.source + '/', '').replace('../', '')[:120]
        return f'{test}: ' + ('it does not end' if status is None else said or f'exit status {status}')

    def verdict(self, fault, tests):
        path = os.path.join(self.source, fault.file)
        before = open(path, 'rb').read()
        began = time.monotonic()
        try:
            self.put(fault.file, before.replace(fault.old.encode(), fault.new.encode()))
            for test in tests:
                caught = self.ask(test)
                if caught:
                    return caught, time.monotonic() - began
            return '', time.monotonic() - began
        finally:
            self.put(fault.file, before)


class Results:
    """A row a fault, the last that was said of it."""

    def __init__(self, path, table, resume):
        self.path, self.table, self.rows, self.lock = path, table, {}, threading.Lock()
        commit = subprocess.run(['git', '-C', TOP, '-c', f'safe.directory={TOP}', 'rev-parse', '--short', 'HEAD'], capture_output=True, text=True).stdout.strip()
        self.when = f'{time.strftime("%F")}, commit {commit or "unknown"}'
        if resume and os.path.exists(path):
            for line in open(path):
                cells = [c.strip() for c in line.split('|')[1:-1]]
                if len(cells) == 6 and cells[0] not in ('fault', '---'):
                    self.rows[cells[0]] = cells

    def has(self, fault):
        cells = self.rows.get(fault.name)
        return cells is not None and cells[5] == fault.digest and cells[3] != '**nothing**'

    def add(self, fault, caught, seconds):
        with self.lock:
            self.rows[fault.name] = [fault.name, fault.file, fault.what.replace('|', '/'), caught.replace('|', '/') or '**nothing**', f'{seconds:.0f}', fault.digest]
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            with open(self.path, 'w') as f:
                f.write(f'# Planted faults: {self.table}\n\n{self.when}. What each line is: tests/mutants/mutants.py.\n\n'
                        '| fault | file | what it breaks | caught by | seconds | line |\n|---|---|---|---|---|---|\n')
                f.writelines('| ' + ' | '.join(cells) + ' |\n' for cells in self.rows.values())


def table_run(table, names, options):
    tests, faults = table_read(os.path.join(TOP, 'tests/mutants', table + '.faults'))
    results = Results(os.path.join(options.results, f'mutants-{table}.md'), table, options.resume or bool(names))
    todo = [f for f in faults if (f.name in names if names else not results.has(f))]
    copies, lost = queue.Queue(), []
    if not todo:
        print(f'ok {table}: nothing left to do', flush=True)
        return True
    for number in range(min(options.jobs, len(todo))):
        copy = Copy(number)
        for test in tests if number == 0 else []:
            words = copy.ask(test)
            if words:
                print(f'FAILED {table}: unharmed, {words} fails', flush=True)
                return False
        copies.put(copy)

    def one(fault):
        copy = copies.get()
        try:
            caught, seconds = copy.verdict(fault, tests)
            results.add(fault, caught, seconds)
            print(f'ok {fault.name} caught by {caught}' if caught else f'FAILED {fault.name} nothing saw it: {fault.what}', flush=True)
            if not caught:
                lost.append(fault)
        except RuntimeError as e:
            print(f'FAILED {fault.name} {e}', flush=True)
            lost.append(fault)
        finally:
            copies.put(copy)

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(one, todo))
    return not lost


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', action='store_true')
    parser.add_argument('--resume', action='store_true')
    parser.add_argument('--jobs', type=int, default=1)
    parser.add_argument('--results', default=os.path.join(TOP, 'docs/results'))
    parser.add_argument('table', nargs='?')
    parser.add_argument('names', nargs='*')
    options = parser.parse_args()
    good, seen = True, set()
    if options.check:
        for table in tables():
            for fault in table_read(os.path.join(TOP, 'tests/mutants', table + '.faults'))[1]:
                problem = fault.problem(TOP) or (f'{fault.name} stands twice' if fault.name in seen else None)
                seen.add(fault.name)
                if problem:
                    print(f'tests/mutants/{table}.faults: {problem}')
                    good = False
        return 0 if good else 1
    for table in [options.table] if options.table else tables():
        good &= table_run(table, options.names, options)
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
