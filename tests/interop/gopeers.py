"""grpc-go's peers: gRPC's own interop client and server, and ours on grpc-go (tests/peers/go), from the Go module proxy as go.sum pins them.

Built once into build/cache/go; where no Go of today or no network is, what needs them is skipped and says so."""
import os
import shutil
import subprocess

from h2spec import find_go, go_version

SOURCE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "peers", "go")
LEAST = (1, 22)
PROGRAMS = {"interop-client": "google.golang.org/grpc/interop/client", "interop-server": "google.golang.org/grpc/interop/server",
            "ledger": "./ledger", "cells": "./cells", "health": "./health", "mixed": "./mixed"}


def program(build, name):
    return f"{build}/cache/go/bin/{name}"


def newest(path):
    return max((os.path.getmtime(os.path.join(where, f)) for where, _, files in os.walk(path) for f in files), default=0)


def up_to_date(build):
    return all(os.path.exists(program(build, name)) and os.path.getmtime(program(build, name)) >= newest(SOURCE) for name in PROGRAMS)


def prepare(build):
    """Builds what is missing or older than its source; gives why it can't be had."""
    if up_to_date(build):
        return None
    go = find_go()
    if go is None or go_version(go) < LEAST:
        return "no Go >= 1.22 here (Debian 12's is 1.19)"
    cache = f"{build}/cache/go"
    os.makedirs(f"{cache}/bin", exist_ok=True)
    environment = {**os.environ, "GOFLAGS": "-modcacherw -mod=readonly", "GOPATH": f"{cache}/path", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
    why = None
    for name, package in PROGRAMS.items():
        try:
            run = subprocess.run([go, "build", "-o", program(build, name), package], cwd=SOURCE, capture_output=True, text=True, timeout=600,
                                 stdin=subprocess.DEVNULL, env=environment)
            why = None if run.returncode == 0 else f"{name} could not be built: {run.stderr.strip().splitlines()[-1:]}"
        except subprocess.TimeoutExpired:
            why = f"{name} could not be built within 600 s"
        if why:
            break
    shutil.rmtree(f"{cache}/path", ignore_errors=True)
    return why
