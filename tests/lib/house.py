#!/usr/bin/env python3
"""The architecture, executed: who may know whom, and what a worker may not do.

house.py SOURCE_ROOT BUILD_ROOT    reads the tree and the built archives, prints every violation, fails when there is one; then plants one
                                   violation of each kind in a copy and fails when any goes unseen.

It reads sources as text (comments and strings taken out) and archives through nm and objdump.  It does not replace the build's own walls (a
room is compiled with the doors of the rooms that it knows, and no others): it watches over what those cannot see."""
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

# Who may know whom.  A room may name fewer.
DATAPLANE = {
    'base': '',
    'stats': 'base',
    'packet': 'base stats',
    'snapshot': 'base',
    'mailbox': 'base',
    'http2': 'base stats',
    'port': 'base stats packet',
    'ip': 'base stats packet',
    'tcp': 'base stats packet',
    'transport': 'base stats packet tcp',
    'router': 'base snapshot',
    'picker': 'base stats snapshot',
    'session': 'base stats packet transport http2',
    # pool makes transports and sessions and closes them: it sees the shapes that session's door is made of.
    'pool': 'base stats session picker snapshot mailbox transport http2 packet tcp',
    'proxy': 'base stats packet http2 session router picker pool snapshot mailbox',
    'worker': 'base stats packet port ip tcp transport http2 session router picker pool proxy snapshot mailbox',
}
# Rooms whose functions are called by the inline ones of a door: their symbols show in the objects of a room that does not name them.
INLINED = {'session': {'tcp'}}
SHARED = 'base snapshot mailbox stats config'
CONTROLPLANE = {
    'loop': SHARED,
    'membership': SHARED,
    'etcd': SHARED + ' loop',
    'resolver': SHARED + ' loop etcd membership',
    'policy': SHARED + ' membership',
    'publish': SHARED + ' membership policy',
    'admin': SHARED + ' loop membership policy publish router packet',
    'boot': ' '.join(DATAPLANE) + ' config loop membership etcd resolver policy publish admin',
}
CONFIG = {'config': 'base'}
ALLOWED = {room: set(knows.split()) for table in (DATAPLANE, CONTROLPLANE, CONFIG) for room, knows in table.items()}

# Headers that a door includes and that others may therefore name as well.
PUBLIC = {'stats/lists.h', 'loop/log.h', 'packet/tap.h'}
PUBLIC_ROOMS = {'base'}  # every header of base is public

# Two back ends of one door: packet.h includes one of them, in the middle; nothing else may, and neither stands alone.
FRAGMENTS = {'packet/mbuf.h', 'packet/malloc.h'}

# System headers for a few rooms only.
HEADER_ROOMS = [
    (r'rte_mbuf\.h|rte_mempool\.h', {'packet', 'port'}, 'only packet and port know rte_mbuf'),
    (r'rte_ethdev\.h', {'port'}, 'only port knows rte_ethdev'),
    (r'(pthread|threads|time|sys/time|signal)\.h', set(), 'no threads, clocks or signals in the data plane'),
    (r'stdio\.h', set(), 'no libc I/O in the data plane'),
]
WORDS_ROOMS = [
    (r'\brte_mbuf\b|\brte_pktmbuf_\w+', {'packet', 'port'}, 'only packet and port know rte_mbuf'),
    (r'\brte_eth_\w+', {'port'}, 'only port knows rte_ethdev'),
    (r'\brte_(rdtsc|get_tsc_cycles|get_timer_cycles)\w*|\bclock_gettime\b', {'worker'}, 'only worker reads the clock'),
]

# What a data-plane archive may leave undefined, apart from what the rooms that it knows define.
LIBC = set('''memcpy memmove memset memcmp memchr memrchr memmem strlen strnlen strcmp strncmp bcmp
__assert_fail __stack_chk_fail _GLOBAL_OFFSET_TABLE_ __memcpy_chk __memmove_chk __memset_chk'''.split())
SANITIZERS = re.compile(r'^(__asan_|__ubsan_|__lsan_|__sanitizer_|__tsan_|__gcov_|__odr_asan)')
DPDK = re.compile(r'^(rte_|__rte_|per_lcore_|__tls_get_addr$|__emutls)')
# File -> symbols it may use all the same, and why.
EXEMPT = {
    'base/addr.c': ('strtoul strchr inet_pton inet_ntop snprintf', 'addresses as text: configuration and admin'),
    'snapshot/snapshot.c': ('aligned_alloc free', 'the door is made and unmade by the control plane'),
    'mailbox/mailbox.c': ('aligned_alloc free syscall vsnprintf', 'made and unmade by the control plane; log records are formatted into the ring'),
    'packet/tap.c': ('bpf_filter', 'a pure function: runs the checked program of a capture over the bytes of one frame'),
    'port/heap.c': ('mmap mmap64 munmap madvise snprintf strerror __errno_location', 'packet memory is reserved before the first worker runs'),
    'port/jumbo.c': ('socket ioctl close snprintf strstr strtoul __errno_location', 'what a driver does not do for itself, before the workers start'),
    'port/open.c': ('access geteuid if_nametoindex sscanf __isoc99_sscanf snprintf vsnprintf strcspn strerror strstr usleep __errno_location',
                    'devices are probed and started before the first worker runs'),
    'http2/http2.c': ('getrandom', 'the key of its hashes, when it is made'),
    'worker/clock.c': ('nanosleep prctl', 'an idle worker sleeps; the only reader of the clock'),
}
# The same files include what declares these.
EXEMPT_HEADERS = {
    'stdio.h': {'base/addr.c', 'mailbox/mailbox.c', 'port/heap.c', 'port/jumbo.c', 'port/open.c'},
    'time.h': {'worker/clock.c'},
}
STATE_SECTIONS = re.compile(r'^\.(data|bss|tdata|tbss)(?!\.rel\.ro)|^\*COM\*')


def strip(text):
    """Without comments and the insides of strings and character constants; line numbers stand."""
    def blank(m):
        s = m.group(0)
        if s.startswith('"') or s.startswith("'"):
            return s[0] + s[0]
        return re.sub(r'[^\n]', ' ', s)
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)


def room_dirs(root):
    dirs = {r: os.path.join(root, 'dataplane', r) for r in DATAPLANE}
    dirs.update({r: os.path.join(root, 'controlplane', r) for r in CONTROLPLANE})
    dirs['config'] = os.path.join(root, 'config')
    return {r: d for r, d in dirs.items() if os.path.isdir(d)}


def declared(root, room, directory):
    """(knows, libs) of the room's meson.build."""
    if room == 'config':
        return {'base'}, 'libconfig'
    text = re.sub(r'#[^\n]*', '', open(os.path.join(directory, 'meson.build')).read())
    knows = re.search(r'^knows\s*\+?=\s*\[(.*?)\]', text, re.S | re.M)
    libs = re.search(r'^libs\s*\+?=\s*\[(.*?)\]', text, re.S | re.M)
    return set(re.findall(r"'(\w+)'", knows.group(1))) if knows else set(), libs.group(1) if libs else ''


def check_rooms(root):
    """Every directory is a room of the table, and every room knows only whom it may."""
    for plane, table in (('dataplane', DATAPLANE), ('controlplane', CONTROLPLANE)):
        for name in sorted(os.listdir(os.path.join(root, plane))):
            if os.path.isdir(os.path.join(root, plane, name)) and name not in table:
                yield f'{plane}/{name}: a room that the table does not have'
    for room, directory in room_dirs(root).items():
        knows, _ = declared(root, room, directory)
        for k in sorted(knows - ALLOWED[room]):
            yield f'{directory}/meson.build: {room} may not know {k}'


def check_includes(root):
    dirs = room_dirs(root)
    for room, directory in dirs.items():
        knows, libs = declared(root, room, directory)
        for path in sources(directory):
            text = open(path, errors='replace').read()
            bare = strip(text)
            for n, line in enumerate(text.split('\n'), 1):
                m = re.match(r'\s*#\s*include\s*(["<])([^">]+)[">]', line)
                if m and bare.split('\n')[n - 1].lstrip().startswith('#'):
                    problem = include_problem(room, path, knows, libs, m.group(1), m.group(2))
                    if problem:
                        yield f'{path}:{n}: {m.group(2)}: {problem}'
            if room in DATAPLANE:
                for pattern, rooms, why in WORDS_ROOMS:
                    m = re.search(pattern, bare)
                    if m and room not in rooms:
                        yield f'{path}:{bare[:m.start()].count(chr(10)) + 1}: {m.group(0)}: {why}'


def include_problem(room, path, knows, libs, quote, name):
    directory = os.path.dirname(path)
    if quote == '<':
        if room in DATAPLANE:
            if name.startswith('rte_') and 'dpdk' not in libs:
                return f'{room} is built without DPDK'
            for pattern, rooms, why in HEADER_ROOMS:
                if re.fullmatch(pattern, name) and room not in rooms and f'{room}/{os.path.basename(path)}' not in EXEMPT_HEADERS.get(name, ()):
                    return why
        return None
    if '/' not in name:
        return None if os.path.exists(os.path.join(directory, name)) else 'not in this room; a door is included as ROOM/ROOM.h'
    other, header = name.split('/', 1)
    if other not in ALLOWED:
        return None if os.path.exists(os.path.join(directory, name)) else 'no such room'
    if other == room:
        return None
    if other not in knows:
        return f'{room} does not know {other}'
    if header != other + '.h' and other not in PUBLIC_ROOMS and name not in PUBLIC:
        return f'private to {other}; its door is {other}/{other}.h'
    return None


def sources(directory):
    for top, _, names in os.walk(directory):
        for name in sorted(names):
            if name.endswith(('.c', '.h')):
                yield os.path.join(top, name)


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def check_counted(root):
    """Each reason and each counter of the lists is counted somewhere."""
    text = strip(open(os.path.join(root, 'dataplane', 'stats', 'lists.h')).read())
    drops, counters = text.split('#define STATS_EVENTS', 1)
    counted = '\n'.join(strip(open(p, errors='replace').read()) for plane in ('dataplane', 'controlplane')
                        for p in sources(os.path.join(root, plane)) if f'{os.sep}stats{os.sep}' not in p)
    for prefix, part in (('STATS_DROP_', drops), ('STATS_', counters)):
        for name in re.findall(r'X\((\w+),', part):
            if not re.search(rf'\b{prefix}{name}\b', counted):
                yield f'dataplane/stats/lists.h: {prefix}{name} is in the list and counted nowhere'


def archives(build):
    found = {r: os.path.join(build, 'dataplane', f'libpenstock_{r}.a') for r in DATAPLANE}
    return {r: a for r, a in found.items() if os.path.exists(a)}


def symbols(room, archive):
    """({(file, undefined name)}, {defined name}) of an archive."""
    undefined, defined, file = set(), set(), None
    for line in run('nm', archive).split('\n'):
        member = re.match(r'(.*)\.o:$', line)
        if member:  # meson calls the object of port/open.c port_open.c.o
            file = room + '/' + os.path.basename(member.group(1)).removeprefix(room + '_')
        m = re.match(r'(?:[0-9a-f]+|\s+)\s([A-Za-z?])\s(\S+)$', line)
        if m and m.group(1) in 'Uwv':
            undefined.add((file, m.group(2)))
        elif m:
            defined.add(m.group(2))
    return {(f, s) for f, s in undefined if s not in defined}, defined


def check_symbols(root, built):
    table = {room: symbols(room, a) for room, a in built.items()}
    dirs = room_dirs(root)
    owner = {s: room for room, (_, defined) in table.items() for s in defined}
    for room, (undefined, _) in table.items():
        knows, libs = declared(root, room, dirs[room])
        dpdk = 'dpdk' in libs or sees_dpdk(root, dirs, knows)
        for file, s in sorted(undefined):
            if s in LIBC or SANITIZERS.match(s) or s in EXEMPT.get(file, ('', ''))[0].split():
                continue
            of = owner.get(s) or s.split('_')[0]
            if of in ALLOWED:
                if of not in knows | INLINED.get(room, set()) and of != room:
                    yield f"{file}: {s} is {of}'s, whom {room} does not know"
            elif not (dpdk and DPDK.match(s)):
                yield f'{file}: {s}: not for the data plane, and not exempt'


def sees_dpdk(root, dirs, knows):
    """packet's inline functions reach into DPDK from the rooms that use them."""
    return any('dpdk' in declared(root, k, dirs[k])[1] for k in knows if k in dirs)


def check_state(built):
    """No mutable object of static storage, file-scope or inside a function, of our own."""
    for room, archive in built.items():
        for line in run('objdump', '-t', archive).split('\n'):
            m = re.match(r'[0-9a-f]+ (.{7}) (\S+)\s+([0-9a-f]+) (?:\.hidden )?(\S+)$', line)
            if not m or not STATE_SECTIONS.match(m.group(2)) or 'd' in m.group(1) or int(m.group(3), 16) == 0:
                continue
            if not SANITIZERS.match(m.group(4)) and not m.group(4).startswith(('.L', '*.L')):
                yield f'{archive}: {m.group(4)} in {m.group(2)}: mutable state that hangs off no struct'


def closure(root, dirs, room):
    seen, todo = set(), [room]
    while todo:
        r = todo.pop()
        if r not in seen and r in dirs:
            seen.add(r)
            todo += declared(root, r, dirs[r])[0]
    return seen


def check_headers(root, doors):
    """Each header compiles alone, with the doors of the rooms that its own may know."""
    dirs = room_dirs(root)
    dpdk = run('pkg-config', '--cflags-only-I', 'libdpdk').split()
    system = [x for i in dpdk for x in ('-isystem', i[2:])]
    jobs = []
    for room, directory in dirs.items():
        flags = [f'-I{os.path.join(doors, r)}' for r in sorted(closure(root, dirs, room))]
        for path in sources(directory):
            if path.endswith('.h') and f'{room}/{os.path.basename(path)}' not in FRAGMENTS:
                jobs.append((path, flags))

    def compile_one(job):
        path, flags = job
        command = ['cc', '-std=gnu17', '-D_GNU_SOURCE', '-march=native', '-Wall', '-Wextra', '-Werror', '-Wno-missing-field-initializers', '-fsyntax-only', *system,
                   '-include', 'rte_config.h', *flags, '-include', path, '-x', 'c', '/dev/null']
        result = subprocess.run(command, capture_output=True, text=True)
        return None if result.returncode == 0 else f'{path}: does not compile alone: {first_error(result.stderr)}'

    with ThreadPoolExecutor(2) as pool:
        yield from filter(None, pool.map(compile_one, jobs))


def first_error(text):
    return next((line for line in text.split('\n') if 'error' in line), text[:200])


def violations(root, build):
    built = archives(build)
    for room in DATAPLANE:
        if room not in built:
            yield f'{build}: no archive of {room}: build first'
    yield from check_rooms(root)
    yield from check_includes(root)
    yield from check_counted(root)
    yield from check_symbols(root, built)
    yield from check_state(built)
    yield from check_headers(root, os.path.join(build, 'doors'))


def planted(temporary, build):
    """(what, found): each kind of violation, planted alone in a copy of the tree."""
    root = os.path.join(temporary, 'tree')
    rooms = {'tcp': os.path.join(root, 'dataplane', 'tcp'), 'http2': os.path.join(root, 'dataplane', 'http2')}

    def in_source(room, name, text, check, expected):
        path = os.path.join(rooms[room], name)
        before = open(path).read() if os.path.exists(path) else None
        with open(path, 'w') as f:
            f.write((before or '') + text)
        found = [v for v in check() if expected in v]
        if before is None:
            os.remove(path)
        else:
            with open(path, 'w') as f:
                f.write(before)
        return bool(found)

    def in_archive(room, text, check, expected):
        c, o, a = (os.path.join(temporary, 'planted' + e) for e in ('.c', '.o', '.a'))
        with open(c, 'w') as f:
            f.write(text)
        run('cc', '-O1', '-fno-builtin', '-c', c, '-o', o)
        if os.path.exists(a):
            os.remove(a)
        run('ar', 'rcs', a, o)
        return any(expected in v for v in check({**archives(build), room: a}))

    def includes():
        return check_includes(root)

    def headers():
        doors = os.path.join(temporary, 'doors')
        for room, directory in room_dirs(root).items():
            os.makedirs(os.path.join(doors, room), exist_ok=True)
            link = os.path.join(doors, room, room)
            if not os.path.islink(link):
                os.symlink(directory, link)
        return check_headers(root, doors)

    def state(built):
        return check_state({'tcp': built['tcp']})

    def undefined(built):
        return check_symbols(root, built)

    yield 'a door of a room that is not known', in_source('tcp', 'planted.c', '#include "http2/http2.h"\n', includes, 'tcp does not know http2')
    yield 'a private header of another room', in_source('tcp', 'planted.c', '#include "packet/private.h"\n', includes, 'private to packet')
    yield 'rte_ethdev.h outside port', in_source('tcp', 'planted.c', '#include <rte_ethdev.h>\n', includes, 'rte_ethdev.h')
    yield 'rte_mbuf outside packet', in_source('http2', 'planted.h', 'struct rte_mbuf *planted;\n', includes, 'only packet and port')
    yield 'stdio.h', in_source('tcp', 'planted.c', '#include <stdio.h>\n', includes, 'no libc I/O')
    yield 'a room that may not be known', in_source('tcp', 'meson.build', "\nknows = ['base', 'stats', 'packet', 'http2']\n",
                                                    lambda: with_knows(root, 'tcp'), 'tcp may not know http2')
    yield 'a call of a room that is not known', in_archive('tcp', 'long http2_x(); void planted(void); void planted(void) { http2_x(); }\n', undefined, "http2_x is http2's")
    yield 'a header that leans on another', in_source('http2', 'planted.h', 'static inline uint32_t planted(void);\n', headers, 'planted.h')
    for name, call in (('malloc', 'malloc(1)'), ('printf', 'printf("x")'), ('pthread_mutex_lock', 'pthread_mutex_lock(0)'), ('fopen', 'fopen("a", "b")')):
        yield f'{name} in tcp', in_archive('tcp', f'long {name}(); void planted(void); void planted(void) {{ {call}; }}\n', undefined, f'{name}:')
    for section, text in (('.bss', 'static int planted_state;'), ('.data', 'static int planted_state = 3;'), ('.tbss', 'static _Thread_local int planted_state;')):
        yield f'state in {section}', in_archive('tcp', f'{text} int *planted(void) {{ return &planted_state; }}\n', state, 'planted_state')
    constant = in_archive('tcp', 'static const char *const planted_state[] = {"a", "b"}; const void *planted(void) { return planted_state; }\n', state, 'planted_state')
    yield 'constants, which are no state', not constant
    lists = os.path.join(root, 'dataplane', 'stats', 'lists.h')
    with open(lists, 'a') as f:
        f.write('X(PLANTED, "planted")\n')
    yield 'a counter that nobody counts', any('STATS_PLANTED' in v for v in check_counted(root))
    comment = in_source('tcp', 'planted.c', '/* rte_mbuf\n#include "http2/http2.h"\n*/\n', includes, 'planted.c')
    yield 'comments, which are no code', not comment


def with_knows(root, room):
    """The last `knows` of a meson.build is the one in force; the planted one stands last."""
    path = os.path.join(root, 'dataplane', room, 'meson.build')
    text = open(path).read()
    with open(path, 'w') as f:
        f.write(text[text.rindex('knows'):])
    return list(check_rooms(root))


def main():
    root, build = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    bad = list(violations(root, build))
    for v in bad:
        print(os.path.relpath(v, root) if v.startswith(root) else v)
    print(f'{len(bad)} violations in {len(room_dirs(root))} rooms, {len(archives(build))} archives')
    missed = 0
    with tempfile.TemporaryDirectory() as temporary:
        for part in ('dataplane', 'controlplane', 'config'):
            shutil.copytree(os.path.join(root, part), os.path.join(temporary, 'tree', part))
        for what, found in planted(temporary, build):
            if not found:
                print(f'planted and not told right: {what}')
                missed += 1
    sys.exit(1 if bad or missed else 0)


if __name__ == '__main__':
    main()
