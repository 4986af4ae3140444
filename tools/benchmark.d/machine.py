"""What was measured on, and with what: without it no figure means anything."""
import gzip
import os
import platform
import re
import shutil
import subprocess

PEERS = {"nghttpx": ["nghttpx", "--version"], "haproxy": ["haproxy", "-v"], "nginx": ["nginx", "-v"], "h2load": ["h2load", "--version"]}
SBIN = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"


def output(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout + done.stderr).strip()


def cpu():
    with open("/proc/cpuinfo") as file:
        words = file.read()
    model = re.search(r"model name\s*:\s*(.*)", words)
    return model[1] if model else platform.machine()


def version_of(name, command=None):
    command = command or PEERS[name]
    program = shutil.which(command[0], path=SBIN)
    if not program:
        return None
    found = re.search(r"\d+\.\d+(\.\d+)?", output(program, *command[1:]))
    return found[0] if found else "?"


def commit(top):
    git = ["git", "-C", top, "-c", f"safe.directory={top}"]
    name = output(*git, "rev-parse", "--short", "HEAD")
    if not re.fullmatch(r"[0-9a-f]+", name):
        return "unknown+"
    changed = [line for line in output(*git, "status", "--porcelain", "--untracked-files=no").splitlines() if not line[3:].startswith("docs/")]
    return name + ("+" if changed else "")


def interrupts_apart():
    """Does this kernel take the time of interrupts off the process that they happened to?  None: it does not say."""
    for path, opener in (("/proc/config.gz", gzip.open), (f"/boot/config-{os.uname().release}", open)):
        try:
            with opener(path, "rt") as file:
                return "CONFIG_IRQ_TIME_ACCOUNTING=y" in file.read()
        except OSError:
            pass
    return None


def options(build):
    names = {"buildtype", "optimization", "b_lto", "b_pgo", "march"}
    found = re.findall(r'"name": "(\w+)", "value": ("[^"]*"|true|false)', output("meson", "introspect", "--buildoptions", build))
    return ", ".join(f"{name}={value.strip(chr(34))}" for name, value in found if name in names)


def about(top, build):
    return {"cpu": cpu(), "cores": os.cpu_count(), "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
            "virtual": output("systemd-detect-virt", "--vm") or "unknown", "kernel": os.uname().release, "load_before": round(os.getloadavg()[0], 2),
            "interrupts_apart": interrupts_apart(), "commit": commit(top), "build": options(build), "compiler": output("gcc", "-dumpfullversion"),
            "dpdk": output("pkg-config", "--modversion", "libdpdk"), "versions": {name: version_of(name) for name in PEERS}}


def complaints(found):
    if found["load_before"] > 0.5:
        yield f"the machine has a load of {found['load_before']} already: ratios are to be trusted more than times"
    if found["cores"] < 2:
        yield "one core: client and proxy take turns on it"
    if found["commit"].endswith("+"):
        yield "the tree holds changes that are not committed: figures name its commit with a +, and nothing is taken from a run before"
