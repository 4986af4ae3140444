#!/usr/bin/python3
"""Plays the matrix of docs/GRPC.md: each act of a backend with each kind of call, directly and through the gateway, with Python's client and grpc-go's.

usage: matrixcells.py --lanes N --direct HOST:PORT --through HOST:PORT [--go PROGRAM]      lane n: a raw backend at --direct's port + n, the gateway's listener at --through's
A line of JSON a call: {"act", "kind", "client", "way", "saw", "backend"}.  Not a test itself: grpc_matrix.py judges."""
import argparse
import json
import queue
import subprocess
import sys
import threading
import time

import grpc

from rawbackend import CODES, WORDS, Backend

KINDS = ("unary", "client", "server", "bidi")
PHASES = ("before headers", "after headers", "after messages")
WAIT = 8


def lead(kind, phase):
    """What the backend does before it acts."""
    if kind == "unary":  # its clients may learn of headers with the status alone
        return {"before headers": "", "after headers": "H,w,", "after messages": "H,M,w,"}[phase]
    messages = "M,h,w" if kind == "client" else "M,M,m"
    return {"before headers": "", "after headers": "H,h,", "after messages": f"H,{messages},"}[phase]


def acts(kind):
    """name -> (script, who ends it and when)."""
    out = {"trailers-only": ("O", None), "early response": ("H,M,T", None), "early response, then RST_STREAM NO_ERROR": ("H,M,T,R0", None)}
    for phase in PHASES:
        for code, name in enumerate(CODES):
            out[f"{name} {phase}"] = (f"{lead(kind, phase)}R{code}", None)
    out["GOAWAY before"] = ("Z/H,M,T", None)
    out["GOAWAY inside"] = (lead(kind, PHASES[1]) + "G,M,T", None)
    out["GOAWAY after"] = ("H,M,T,G", "again")
    for phase in PHASES:
        out[f"connection cut {phase}"] = (f"{lead(kind, phase)}X", None)
        out[f"deadline {phase}"] = (lead(kind, phase) + "w", "deadline")
        out[f"cancel {phase}"] = (lead(kind, phase) + "w", f"cancel {phase}")
    return out


class PythonCall(threading.Thread):
    def __init__(self, told, order):
        super().__init__(daemon=True)
        self.told, self.order, self.done, self.call, self.given_up = told, order, threading.Event(), None, threading.Event()

    def begin(self, channel, name, act, kind, timeout):
        make = {"unary": channel.unary_unary, "client": channel.stream_unary, "server": channel.unary_stream, "bidi": channel.stream_stream}[kind](f"/cell.Cell/{kind}")

        def requests():
            yield b"question"
            self.done.wait(2 * WAIT)
        more = {"timeout": timeout, "metadata": (("cell-id", name), ("cell-act", act))}
        if kind == "unary":
            return make.future(b"question", **more)
        if kind == "client":
            return make.future(requests(), **more)
        return make(b"question" if kind == "server" else requests(), **more)

    def run(self):
        o = self.order
        channel = grpc.insecure_channel(o["target"], [("grpc.use_local_subchannel_pool", 1), ("penstock.cell", hash(o["id"]) & 0x7fffffff)])
        self.call = self.begin(channel, o["id"], o["act"], o["kind"], o["deadline_ms"] / 1000)
        if self.given_up.is_set():
            self.call.cancel()
        headers, messages = False, 0
        try:
            headers = any(key == "cell-header" for key, _ in self.call.initial_metadata())
            if headers:
                self.told({"id": o["id"], "event": "headers"})
            if o["kind"] in ("unary", "client"):
                self.call.result()
                messages = 1
            else:
                for _ in self.call:
                    messages += 1
                    self.told({"id": o["id"], "event": "message", "n": messages})
        except (grpc.RpcError, grpc.FutureCancelledError):
            pass
        line = {"id": o["id"], "event": "end", "code": self.call.code().value[0], "headers": headers, "messages": messages, "words": self.call.details(),
                "trailer": any(key == "cell-trailer" for key, _ in self.call.trailing_metadata() or ())}
        self.done.set()
        if o.get("again"):
            time.sleep(0.05)
            try:
                self.begin(channel, o["id"] + "-again", "H,M,T", "unary", WAIT).result()
                line["again"] = 0
            except grpc.RpcError as error:
                line["again"] = error.code().value[0]
        self.told(line)
        channel.close()

    def cancel(self):
        self.given_up.set()
        if self.call is not None:
            self.call.cancel()


class Python:
    name = "Python"

    def __init__(self):
        self.waiting, self.calls = {}, {}

    def start(self, order, told):
        self.calls[order["id"]] = PythonCall(told, order)
        self.calls[order["id"]].start()

    def cancel(self, name):
        self.calls[name].cancel()


class Go:
    name = "Go"

    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.told, self.lock = {}, threading.Lock()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            event = json.loads(line)
            self.told[event["id"]](event)

    def say(self, order):
        with self.lock:
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()

    def start(self, order, told):
        self.told[order["id"]] = told
        self.say(order)

    def cancel(self, name):
        self.say({"id": name, "cancel": True})


def play(client, way, target, act, kind, script, ending):
    """One call; gives what the client and the backend saw of it."""
    name = f"{client.name} {way} {kind} {act}".replace(" ", "-")
    seen, events = Backend.seen(name), queue.Queue()
    want = 2 if kind in ("server", "bidi") else 1

    def told(event):
        if event["event"] == "headers":
            seen.headers.set()
        elif event["event"] == "message" and event["n"] == 2:
            seen.messages.set()
        events.put(event)
    order = {"id": name, "target": target, "kind": kind, "act": script, "deadline_ms": 700 if ending == "deadline" else WAIT * 1000, "again": ending == "again"}
    client.start(order, told)
    if ending and ending.startswith("cancel"):
        phase = ending[7:]
        if kind == "unary" and phase != PHASES[0]:
            seen.acted.wait(WAIT)
        else:
            for event in [seen.arrived] + [seen.headers] * (phase != PHASES[0]) + ([seen.messages] if want == 2 else [seen.acted]) * (phase == PHASES[2]):
                event.wait(WAIT)
        client.cancel(name)
    end = next(event for event in iter(lambda: events.get(timeout=2 * WAIT), None) if event["event"] == "end")
    seen.headers.set(), seen.messages.set()
    seen.acted.wait(1)
    # What comes for a stream that the backend has reset crosses with that; for the others the last frame is waited for.
    seen.over.wait(0.01 if "R" in script else 0.2 if ending or kind in ("client", "bidi") else 0.02)
    return end, seen


def saw(end, kind):
    """What the client saw, in a few words; a unary one may not tell that there were headers."""
    words = [next(c.name for c in grpc.StatusCode if c.value[0] == end["code"])]
    if end["words"] == WORDS:
        words.append("words")
    words += [w for w, there in (("headers", end["headers"] and (kind != "unary" or end["messages"])), (f"{end['messages']} message{'s' * (end['messages'] > 1)}", end["messages"]), ("trailers", end["trailer"])) if there]
    if "again" in end:
        words.append("next call " + next(c.name for c in grpc.StatusCode if c.value[0] == end["again"]))
    return ", ".join(words)


def backend_saw(seen, script):
    words = [f"{seen.attempts} attempts"] if seen.attempts != 1 else []
    words += ["request's end"] * seen.ended + ([f"RST_STREAM {seen.reset}"] if seen.reset and "R" not in script else [])
    return ", ".join(words) or "begin of the request"


def lane(number, work, given, clients, report):
    host, port = given.direct.rsplit(":", 1)
    direct = f"{host}:{int(port) + number}"
    Backend(direct)
    host, port = given.through.rsplit(":", 1)
    targets = {"direct": direct, "through": f"{host}:{int(port) + number}"}
    while True:
        try:
            order, act, kind, script, ending = work.get_nowait()
        except queue.Empty:
            return
        for client in clients:
            for way, target in targets.items():
                began = time.monotonic()
                end, seen = play(client, way, target, act, kind, script, ending)
                report({"order": order, "act": act, "kind": kind, "client": client.name, "way": way, "saw": saw(end, kind), "backend": backend_saw(seen, script), "words": end["words"],
                        "ms": round(1000 * (time.monotonic() - began)),
                        "timeout": seen.timeout is not None})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lanes", type=int, default=4)
    parser.add_argument("--direct", required=True)
    parser.add_argument("--through", required=True)
    parser.add_argument("--go")
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    clients = [Python()] + ([Go(given.go)] if given.go else [])
    work, lock = queue.Queue(), threading.Lock()
    for kind in KINDS:
        for order, (act, (script, ending)) in enumerate(acts(kind).items()):
            if given.only in act:
                work.put((order, act, kind, script, ending))

    def report(line):
        with lock:
            print(json.dumps(line), flush=True)
    lanes = [threading.Thread(target=lane, args=(n, work, given, clients, report)) for n in range(given.lanes)]
    for one in lanes:
        one.start()
    for one in lanes:
        one.join()
    sys.stdout.flush()
    import os
    os._exit(0)  # threads of gRPC's may wait for requests that nobody will send


if __name__ == "__main__":
    main()
