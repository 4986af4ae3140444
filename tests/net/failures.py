"""What does a caller notice when a backend, etcd or a neighbour fails?"""
import time

from lab import Lab, Load, expect, naming, wait_for


def killed(report, work, build, asan):
    """kill -9 under load, and the backend's return in the two ways that etcd may show it."""
    lab = Lab(work, build).start()
    load = Load(lab, "--rate", 500, "--delay-ms", 200, "--interval-ms", 200).flowing()
    time.sleep(1)
    victim = lab.backends["b2"]
    load.window()
    victim.kill()
    time.sleep(1)
    later = load.count(2)
    lost = lab.streams_lost(victim.address)
    failures = load.failures()
    expect(lost > 0, "the log states no stream in flight though calls of 200 ms came at 500 a second")
    expect(len(failures) <= lost, f"{len(failures)} calls failed, {lost} streams were in flight by the log")
    expect(all(f["failure"] == "UNAVAILABLE" for f in failures), f"failures: {failures[:5]}")
    expect(later["failed"] == 0 and set(later["backends"]) == {"b1", "b3"}, f"calls begun a second later: {later}")
    report.ok(f"kill -9 under load: {len(failures)} failed of {lost} in flight, all UNAVAILABLE; later ones go elsewhere")

    time.sleep(6)  # the back-off has grown
    victim.start()
    victim.register(lease=lab.etcd.lease(60))
    came_back(lab, load, "b2", "registered anew under a new lease, its key still there")
    victim.kill()
    lab.etcd.delete("b2")
    time.sleep(2)
    victim.start()
    victim.register(lease=lab.etcd.lease(60))
    came_back(lab, load, "b2", "registered anew after its key was gone")
    report.ok("a backend killed takes part again within 2 s of being registered anew, whether its key had gone or not")
    load.stop()


def came_back(lab, load, name, words):
    began = time.monotonic()
    first = len(load.lines)
    wait_for(2.4, f"{name} has calls again, {words}; endpoints: {[(e['address'], e['state']) for e in lab.endpoints()]}",
             lambda: any(line.get("backends", {}).get(name) for line in load.lines[first:] if "interval" in line))
    return time.monotonic() - began


def lease_expires(report, work, build, asan):
    """penstock-register keeps a backend in etcd while both live; without it the lease takes it out."""
    lab = Lab(work, build).start(backends=2)
    third = lab.add("b3")
    command = [f"{build}/tools/penstock-register", "--etcd", "http://127.0.0.1:2379", "--service", "services/echo", "--addr", third.address, "--weight", "1", "--ttl", "3s"]
    register = lab.spawn(command, f"{work}/register.log")
    lab.wait_ready(3)
    time.sleep(5)
    expect(len(lab.endpoints()) == 3, f"not kept alive beyond its TTL: {lab.endpoints()}")
    register.kill()
    wait_for(7, "the lease of a killed penstock-register expires", lambda: len(lab.endpoints()) == 2)
    register = lab.spawn(command, f"{work}/register.log")
    lab.wait_ready(3)
    register.terminate()
    began = time.monotonic()
    expect(register.wait(5) == 0, f"penstock-register ended with {register.returncode}")
    wait_for(1, "SIGTERM revokes the lease at once", lambda: len(lab.endpoints()) == 2)
    wrapped = lab.spawn(command + ["--", "sleep", "2"], f"{work}/register.log")
    lab.wait_ready(3)
    expect(wrapped.wait(10) == 0, f"penstock-register -- sleep ended with {wrapped.returncode}")
    wait_for(1, "the end of the command revokes the lease", lambda: len(lab.endpoints()) == 2)
    report.ok(f"penstock-register keeps a lease, lets it expire when killed, revokes it at its end ({time.monotonic() - began:.1f} s)")


def etcd_outage(report, work, build, asan):
    """etcd goes while calls flow.  A change is made behind the gateway's back (etcd on another port), then it returns."""
    seconds = 60 if report.long else 15
    lab = Lab(work, build).start()
    load = Load(lab, "--rate", 500).flowing()
    wait_for(5, "penstock_membership_stale_seconds is near 0", lambda: (lab.metric("penstock_membership_stale_seconds") or 0) < 2)
    began = time.monotonic()
    lab.etcd.stop()
    lab.etcd.start(port=2390)
    lab.etcd.delete("b3")
    lab.add("b4").register()
    lab.etcd.stop()
    time.sleep(max(0.0, seconds - (time.monotonic() - began)))
    stale = lab.metric("penstock_membership_stale_seconds") or 0
    expect(stale >= seconds - 6, f"penstock_membership_stale_seconds says {stale} after {seconds} s")
    result = load.count(1)
    expect(set(result["backends"]) == {"b1", "b2", "b3"}, f"during the outage: {result}")
    lab.etcd.start()
    wait_for(35, "stale_seconds falls after etcd's return", lambda: (lab.metric("penstock_membership_stale_seconds") or 0) < 2)
    back = time.monotonic()
    wait_for(3, "the change made meanwhile is applied", lambda: {e["address"] for e in lab.endpoints()} == {lab.backends[n].address for n in ("b1", "b2", "b4")})
    time.sleep(1)
    result = load.count(1)
    expect(set(result["backends"]) == {"b1", "b2", "b4"}, f"after the return: {result}")
    summary = load.stop_unharmed()
    report.ok(f"etcd stopped for {seconds} s under load: none of {summary['ok']} calls failed, stale_seconds rose to {stale:.0f} and fell, "
              f"the change made meanwhile was applied {time.monotonic() - back:.1f} s after")


def slow_reader(report, work, build, asan):
    lab = Lab(work, build).start(backends=1)
    for words, arguments in (("on another connection", []), ("on the same client connection", ["--same-channel"])):
        lab.client("slow", "--seconds", 1, *arguments)  # warm
        before = lab.rss_kib()
        status, lines = lab.client("slow", "--seconds", 8 if report.long else 4, "--share", 0.8, *arguments, seconds=150)
        line, grown = lines[-1], lab.rss_kib() - before
        expect(status == 0, f"{words}: {line}")
        expect(line["share"] >= 0.8, f"{words}: the fast reader kept {100 * line['share']:.0f} % of its rate: {line}")
        expect(line["slow_bytes_per_second"] > 500, f"{words}: the slow reader starves: {line}")
        expect(grown < 16384, f"{words}: memory grew by {grown} KiB")
        report.ok(f"a reader of 1 KB/s {words}: the fast one keeps {100 * line['share']:.0f} % of {line['alone_bytes_per_second'] / 1e6:.0f} MB/s, "
                  f"memory grew by {grown} KiB")


def nobody_ready(report, work, build, asan):
    lab = Lab(work, build, path="/echo.Echo/").start(backends=0, registered=False)
    wait_for(12, "/readyz after the first, empty list", lambda: lab.http("/readyz")[0] == 200)
    _, lines = lab.client("ping", "--count", 1)
    expect(lines[0]["status"] == "UNAVAILABLE" and lines[0]["us"] < 500000, f"no endpoint: {lines}")
    backend = lab.add("b1")
    backend.register()
    lab.wait_ready(1)
    status, lines = lab.client("ping", "--count", 3, "--pause-ms", 10)
    expect(status == 0, f"after one was added: {lines}")
    lab.etcd.put("elsewhere", naming("198.18.0.9:50051"))  # an address that nobody has
    time.sleep(1)
    status, lines = lab.client("ping", "--count", 20, "--pause-ms", 10)
    expect(status == 0, f"beside an endpoint that does not answer: {lines}")
    report.ok("no endpoint: UNAVAILABLE at once; one that cannot be reached gets no call")


CHECKS = [
    {"name": "killed", "run": killed},
    {"name": "lease-expires", "run": lease_expires},
    {"name": "etcd-outage", "run": etcd_outage, "long_limit": 180, "long_words": "etcd stopped for a whole minute"},
    {"name": "slow-reader", "run": slow_reader, "limit": 330},
    {"name": "nobody-ready", "run": nobody_ready},
]
