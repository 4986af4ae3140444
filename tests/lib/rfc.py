#!/usr/bin/env python3
"""rfc.py SOURCE_ROOT: every function and test that docs/RFC.md names is there, and every class of tests/linux has its line, 30 at most; then a row with missing ones and
a line too many are planted and must be seen."""
import os
import re
import sys


def sources(root, folders):
    for folder in folders:
        for directory, _, names in os.walk(os.path.join(root, folder)):
            for name in names:
                if name.endswith(('.c', '.h')):
                    yield open(os.path.join(directory, name)).read()


def problems(root, text):
    code = '\n'.join(sources(root, ['dataplane/tcp', 'dataplane/base']))
    units = '\n'.join(sources(root, ['tests/unit/tcp']))
    scripts = os.path.join(root, 'tests/script/tcp')
    rows = [line.split('|')[1:-1] for line in text.split('\n') if line.startswith('|') and not line.startswith('|---')][1:]
    if len(rows) < 60:
        yield f'{len(rows)} rows'
    for clause, functions, tests, state in (tuple(c.strip() for c in r) for r in rows):
        if state == 'absent':
            continue
        names = re.findall(r'`(\w+)`', functions)
        if not names or not tests or not state:
            yield f'{clause}: something is missing'
        for name in names:
            if not re.search(r'^(?:static )?(?:inline )?[\w ]+\*?\b' + name + r'\(', code, re.M):
                yield f'{clause}: no function {name}'
        for test in (t.strip() for t in tests.split(',')):
            if test.startswith('unit: '):
                if not re.search(r'^static void ' + test[6:] + r'\(void \*\*state\)', units, re.M):
                    yield f'{clause}: no unit test {test[6:]}'
            elif not os.path.exists(os.path.join(scripts, test + '.pkt')):
                yield f'{clause}: no script {test}'


def class_problems(root, text):
    code = open(os.path.join(root, 'tests/linux/classes.c')).read()
    classes = set(re.findall(r'(?:return|\?|:|=)\s*"([^"]+)"', code))
    lines = re.findall(r'^\* \*\*(.+?)\*\*: ', text, re.M)
    if len(classes) > 30:
        yield f'{len(classes)} classes'
    for name in classes - set(lines):
        yield f'no line about the class "{name}"'
    for name in set(lines) - classes:
        yield f'no class "{name}"'


def main():
    root = sys.argv[1]
    text = open(os.path.join(root, 'docs/RFC.md')).read()
    found = list(problems(root, text)) + list(class_problems(root, text))
    for p in found:
        print('docs/RFC.md:', p)
    planted = text + '| 9.9 | `tcp_nobody` | no_such_script, unit: no_such_test | kept |\n* **nothing**: no class\n'
    if len(list(problems(root, planted))) + len(list(class_problems(root, planted))) != len(found) + 4:
        print('rfc.py: what was planted was not seen')
        return 1
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
