"""The main job in one piece, over each device twice: with one worker and two, IPv4 and IPv6, tagged and not (docs/TESTING.md has the table).

On each: equal shares; weights changed under load; a backend killed, and back; one added; one taken away; etcd away for ten seconds.
"""
import time

from balance import WEIGHTED, shares_right
from devices import AF_PACKET, AF_PACKET2, AF_XDP, DEVICE, MEMIF, bridged, bridged_veth, nothing, one_queue, tagged, testpmd, two_queues
from failures import came_back
from lab import GATEWAY4, GATEWAY6, Load, expect, wait_for
from workers import workers_lab


def bridged_testpmd(work):
    testpmd(work, "net_tap0,iface=pen5", link="pen5")
    bridged(work)


def backend(lab, name, v6):
    number = 50060 + int(name[1:])
    return lab.add(name, f"[2001:db8::1]:{number}" if v6 else f"198.18.0.1:{number}")


def weights_move(lab, load, words):
    connects = lab.metric("penstock_endpoint_connects_total")
    shares_right(load, 2, {"b1": 1, "b2": 1, "b3": 1}, 200)
    for name, weight in (("b1", 5), ("b2", 3), ("b3", 2)):
        lab.backends[name].register(weight)
    time.sleep(1)
    shares_right(load, 4, {"b1": 5, "b2": 3, "b3": 2}, 400)
    expect(lab.metric("penstock_endpoint_connects_total") == connects, f"{words}: a weight reconnected somebody")
    for name in ("b1", "b2", "b3"):
        lab.backends[name].register(1)


def killed_and_back(lab, load, words):
    victim = lab.backends["b2"]
    failed = len(load.failures())
    victim.kill()
    time.sleep(1)
    later, lost = load.count(1), lab.streams_lost(victim.address)
    failed = len(load.failures()) - failed
    expect(failed <= lost, f"{words}: {failed} calls failed, {lost} streams were in flight by the log")
    expect(later["failed"] == 0 and set(later["backends"]) == {"b1", "b3"}, f"{words}: calls begun a second later: {later}")
    victim.start()
    victim.register(1, lease=lab.etcd.lease(60))
    came_back(lab, load, "b2", f"{words}: registered anew")
    return failed


def added_and_taken_away(lab, load, words, v6):
    backend(lab, "b4", v6).register(1)
    time.sleep(1)
    shares_right(load, 2, {"b1": 1, "b2": 1, "b3": 1, "b4": 1}, 200)
    lab.etcd.delete("b4")
    time.sleep(1)
    result = load.count(1)
    expect(set(result["backends"]) == {"b1", "b2", "b3"} and result["failed"] == 0, f"{words}: after b4 was taken away: {result}")


def etcd_away(lab, load, words):
    lab.etcd.stop()
    began = time.monotonic()
    lab.etcd.start(port=2390)
    lab.etcd.delete("b3")
    lab.etcd.stop()
    time.sleep(max(0.0, 10 - (time.monotonic() - began)))
    result = load.count(1)
    expect(result["failed"] == 0 and set(result["backends"]) == {"b1", "b2", "b3"}, f"{words}: while etcd is away: {result}")
    expect((lab.metric("penstock_membership_stale_seconds") or 0) > 4, f"{words}: membership is not called stale")
    lab.etcd.start()
    wait_for(30, f"{words}: the change made meanwhile is applied", lambda: len(lab.endpoints()) == 2)
    wait_for(5, f"{words}: membership is fresh", lambda: (lab.metric("penstock_membership_stale_seconds") or 0) < 2)


def main_job(device, workers, target, prepare, words, change=None):
    v6 = target == GATEWAY6
    words = f"the main job over {words}, {workers} worker{'s'[:workers - 1]}, IPv{6 if v6 else 4}"

    def check(report, work, build, asan):
        prepare(work)
        lab = workers_lab(work, build, workers, device.format(work=work), policy="weighted_round_robin", cluster=WEIGHTED)
        lab.config = change(lab.config) if change else lab.config
        lab.start(backends=0, registered=False)
        for name in ("b1", "b2", "b3"):
            backend(lab, name, v6).register(1)
        lab.wait_ready(3)
        # one load: two of one worker would take turns with its picker, and neither see all shares
        load = Load(lab, "--rate", 150 * workers, "--channels", 4 * workers - 3, target=target).flowing()
        weights_move(lab, load, words)
        failed = killed_and_back(lab, load, words)
        time.sleep(1)
        added_and_taken_away(lab, load, words, v6)
        etcd_away(lab, load, words)
        summary = load.stop()
        expect(summary["failed"] == failed and summary["reconnects"] == 0, f"{words}: {summary}; {load.failures()[:3]}")
        lab.end_well()
        report.ok(f"{words}: {summary['ok']} calls, {failed} failed with the killed backend, none else")
    return check


def job(name, *arguments):
    return {"name": f"main-job-{name}", "run": main_job(*arguments), "limit": 240, "long_only": True}


CHECKS = [
    dict(job("tap-1", DEVICE, 1, GATEWAY6, nothing, "net_tap"), long_words="the main job over each device twice"),
    job("tap-vlan-2", DEVICE.replace("pen0", "pen5"), 2, GATEWAY4, bridged, "net_tap, VLAN 42", tagged),
    job("af-packet-vlan-1", AF_PACKET, 1, GATEWAY4, bridged_veth, "net_af_packet, VLAN 42", tagged),
    job("af-packet-2", AF_PACKET2, 2, GATEWAY6, two_queues, "net_af_packet of two queues"),
    job("af-xdp-vlan-1", AF_XDP, 1, GATEWAY6, bridged_veth, "net_af_xdp, VLAN 42", tagged),
    job("af-xdp-2", AF_XDP, 2, GATEWAY4, one_queue, "net_af_xdp"),
    job("memif-1", MEMIF, 1, GATEWAY4, testpmd, "net_memif to dpdk-testpmd"),
    job("memif-vlan-2", MEMIF, 2, GATEWAY6, bridged_testpmd, "net_memif to dpdk-testpmd, VLAN 42", tagged),
]
