"""Are calls spread as the policy and etcd say, and is nobody disturbed by a change that does not concern him?"""
import json
import time

from lab import GATEWAY6, Lab, Wrong, expect, naming, wait_for

WEIGHTED = 'lb_config: { weights = "registry"; };'


def shares_wrong(result, weights, least):
    """Each backend's count within 2 % of what its weight says; nobody else has any.  Gives what is wrong."""
    total, weight_sum, seen = result["ok"], sum(weights.values()), result["backends"]
    if total < least:
        return f"only {total} calls were counted"
    if set(seen) != {n for n, w in weights.items() if w}:
        return f"backends with a share: {seen}, wanted {weights}"
    for name, weight in weights.items():
        wanted = total * weight / weight_sum
        if abs(seen.get(name, 0) - wanted) > max(0.02 * wanted, 1):
            return f"{name} has {seen.get(name, 0)} of {total}, wanted {wanted:.0f}: {seen}"
    return None


def shares_right(load, seconds, weights, least=0):
    """Counts for so long, up to three times: a machine that is away for a moment may let a change come late.  `least` says only that there was something to
    count: how many calls a busy machine begins is not what is asked here."""
    for _ in range(3):
        result = load.count(seconds)
        wrong = shares_wrong(result, weights, least)
        if not wrong:
            return result
    raise Wrong(wrong)


def exact_shares(report, work, build, asan):
    lab = Lab(work, build).start()
    for words, target in (("IPv4", "198.18.0.2:50051"), ("IPv6", GATEWAY6)):
        status, lines = lab.client("load", "--count", 3000, "--in-flight", 16, target=target)
        window = next(line for line in lines if line.get("over"))
        expect(status == 0 and window["ok"] == 3000, f"{words}: {window}")
        counts = window["backends"]
        expect(len(counts) == 3 and all(abs(c - 1000) <= 1 for c in counts.values()), f"{words}: {counts}")
        report.ok(f"3,000 unary calls on one connection over three backends, 1,000 each ({words}): {counts}")


def weights(report, work, build, asan):
    lab = Lab(work, build, policy="weighted_round_robin", cluster=WEIGHTED).start(weights=[1, 1, 1])
    load = lab_load(lab, "--rate", 500)
    connects = lab.metric("penstock_endpoint_connects_total")
    expect(connects == 3, f"penstock_endpoint_connects_total is {connects} after three connects")
    shares_right(load, 2, {"b1": 1, "b2": 1, "b3": 1}, 500)
    for name, weight in (("b1", 5), ("b2", 3), ("b3", 2)):
        lab.backends[name].register(weight)
    time.sleep(1)
    result = shares_right(load, 4.2, {"b1": 5, "b2": 3, "b3": 2}, 1500)
    after = lab.metric("penstock_endpoint_connects_total")
    expect(after == connects, f"penstock_endpoint_connects_total moved from {connects} to {after}")
    lab.backends["b3"].register(0)
    time.sleep(1)
    shares_right(load, 2, {"b1": 5, "b2": 3, "b3": 0}, 500)
    load.stop_unharmed()
    report.ok(f"weights 5:3:2 set in etcd under load hold, nobody is reconnected, weight 0 drains: {result['backends']}")


def added(report, work, build, asan):
    lab = Lab(work, build).start()
    load = lab_load(lab, "--rate", 500)
    lab.add("b4").register()
    time.sleep(1)
    shares_right(load, 3, {"b1": 1, "b2": 1, "b3": 1, "b4": 1}, 800)
    summary = load.stop()
    expect(summary["failed"] == 0, f"{summary}; {load.failures()[:3]}")
    report.ok("a backend added to etcd has its share")


def deleted(report, work, build, asan):
    """The key of a backend goes: no new call, and streams that run go on to their own end."""
    from lab import Load
    lab = Lab(work, build).start()
    load = lab_load(lab, "--rate", 300)
    import subprocess
    hold = subprocess.Popen([f"{build}/tests/peers/echo-client", "hold", "--target", "198.18.0.2:50051", "--streams", "9", "--seconds", "6"],
                            stdout=subprocess.PIPE, text=True)
    opened = json.loads(hold.stdout.readline())
    expect(opened.get("open") == 9 and opened["backends"].get("b2"), f"streams before: {opened}")
    lab.etcd.delete("b2")
    time.sleep(1)
    shares_right(load, 2, {"b1": 1, "b3": 1}, 500)
    lines = [json.loads(line) for line in hold.communicate(timeout=20)[0].splitlines()]
    ending = lines[-1]
    expect(ending["endings"] == {"OK": 9} and ending["wrong"] == 0, f"streams: {lines}")
    expect(ending["messages"] > 9 * 30, f"streams stood still: {ending}")
    summary = load.stop()
    expect(summary["failed"] == 0, f"{summary}; {load.failures()[:3]}")
    wait_for(5, "the deleted endpoint leaves the admin API", lambda: len(lab.endpoints()) == 2)
    report.ok("a key deleted: no new call, its running streams finish")


def equal_value(report, work, build, asan):
    lab = Lab(work, build, policy="weighted_round_robin", cluster=WEIGHTED).start(weights=[1, 1, 1])
    generation = lab.metric("penstock_snapshot_generation")
    expect(generation, "penstock_snapshot_generation is not exported")
    for _ in range(5):
        for name in lab.backends:
            lab.backends[name].register(1)
    time.sleep(2)
    after = lab.metric("penstock_snapshot_generation")
    expect(after == generation, f"equal values written again moved the generation from {generation} to {after}")
    lab.backends["b1"].register(2)
    wait_for(2, "a changed weight moves the generation", lambda: lab.metric("penstock_snapshot_generation") > generation)
    report.ok("an equal value written again leaves penstock_snapshot_generation alone, a changed one moves it")


def garbage(report, work, build, asan):
    lab = Lab(work, build).start()
    load = lab_load(lab, "--rate", 300)
    values = {"nonsense": "\x00\xff{{{", "empty": "", "mebibyte": "A" * (1 << 20), "port": naming("198.18.0.1:99999"), "port0": "198.18.0.1:0",
              "name": naming("no.such.host"), "number": "12", "list": "[1,2,3]", "json": '{"Op":0,"Addr":{"a":1}}', "deep": "[" * 5000,
              "weight": '{"Op":0,"Addr":"198.18.0.1:50061","Metadata":{"weight":-5}}', "v6": "[2001:db8::1:50051"}
    for name, value in values.items():
        if name != "weight":
            lab.etcd.put("bad-" + name, value)
    lab.etcd.put("b2", "overwritten with nonsense")  # keeps its last good endpoint
    time.sleep(1)
    shares_right(load, 2, {"b1": 1, "b2": 1, "b3": 1}, 500)
    lab.add("b4").register()  # the watch still lives
    time.sleep(1)
    shares_right(load, 2, {"b1": 1, "b2": 1, "b3": 1, "b4": 1}, 500)
    summary = load.stop()
    expect(summary["failed"] == 0, f"{summary}; {load.failures()[:3]}")
    expect(lab.log_lines("bad-port"), "the log does not name the key with port 99999")
    report.ok(f"{len(values) - 1} values that are no endpoint (garbage, 1 MiB, port 99999 …) harm nobody, and an endpoint overwritten by one stays")


def lab_load(lab, *arguments):
    from lab import Load
    return Load(lab, *arguments).flowing()


CHECKS = [
    {"name": "exact-shares", "run": exact_shares},
    {"name": "weights", "run": weights},
    {"name": "added", "run": added},
    {"name": "deleted", "run": deleted},
    {"name": "equal-value", "run": equal_value},
    {"name": "garbage-values", "run": garbage},
]
