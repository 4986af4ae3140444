/* One run, from the EAL to the verdict.
 *
 * In lockstep one thread runs the generator and the gateway's workers in turn, with the TSC read around the gateway's turns: on a machine that is
 * shared, two busy threads would measure the scheduler.  Without, the gateway has a thread of its own, or is another process behind a device. */
#include "bench.h"

#include <rte_cycles.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

/* Says whether a turn had something to do: frames, or what waited of those that came before. */
static uint64_t busy_ns(const struct run *r)
{
    return lab_counter(&r->lab, STATS_BUSY_NS);
}

/* How often the kernel has taken the core away from us. */
static uint64_t preemptions(void)
{
    struct rusage u;
    return getrusage(RUSAGE_THREAD, &u) == 0 ? (uint64_t)u.ru_nivcsw : 0;
}

/* What a control plane would do. */
static void read_mail(struct run *r)
{
    struct mailbox_message report;
    struct mailbox_log log;
    for (uint32_t w = 0; w < r->lab.workers; w++) {
        while (mailbox_report_next(r->lab.mailbox[w], &report))
            ;
        while (mailbox_log_next(r->lab.mailbox[w], &log))
            if (log.level < 2 && r->o->attack == ATTACK_NONE) /* each attacker that is told off is a line */
                fprintf(stderr, "gateway: %.*s\n", (int)log.length, log.text);
    }
}

/* A name of its own, so that a simulator of the processor can be told to look at these turns alone. */
__attribute__((noinline)) static uint64_t gateway_turn(struct run *r, uint32_t w)
{
    link_lcore(w);
    uint64_t began = rte_rdtsc_precise();
    worker_turn(r->lab.gateway[w]);
    uint64_t cycles = rte_rdtsc_precise() - began;
    link_lcore(r->lab.workers);
    return cycles;
}

__attribute__((noinline)) static uint64_t gateway_turn_measured(struct run *r, uint32_t w)
{
    uint64_t cycles = gateway_turn(r, w);
    __asm__ volatile("" ::: "memory"); /* no tail call: this frame is the name */
    return cycles;
}

/* A turn of each worker. True: the gateway had something to do. */
static bool lockstep_turn(struct run *r)
{
    struct peer *p = &r->lab.peer;
    uint64_t cycles = 0, preempted = preemptions(), frames = lab_counter(&r->lab, STATS_PORT_RX_PACKETS);
    bool busy = false;
    for (uint32_t w = 0; w < r->lab.workers; w++) {
        uint64_t before = busy_ns(r), one = p->recording ? gateway_turn_measured(r, w) : gateway_turn(r, w);
        if (busy_ns(r) != before) {
            busy = true;
            cycles += one;
        }
    }
    bool whole = preemptions() == preempted;
    p->gateway_cycles += cycles;
    r->frames = lab_counter(&r->lab, STATS_PORT_RX_PACKETS) - frames;
    p->interruptions += !whole || cycles > run_longest(r);
    read_mail(r);
    r->idle = busy ? 0 : r->idle + 1;
    if (busy)
        turns_add(&r->turns, (struct turn){cycles < UINT32_MAX ? (uint32_t)cycles : UINT32_MAX, (uint32_t)p->calls.answered, whole});
    return busy;
}

void run_turn(struct run *r)
{
    peer_turn(&r->lab.peer, lab_now(&r->lab));
    if (r->o->lockstep) {
        lockstep_turn(r);
        return;
    }
    read_mail(r);
    r->idle++;
    sched_yield();
}

/* Turns until `*value` is `goal`; false: it did not move for so many seconds. */
static bool reach(struct run *r, const char *what, const volatile uint64_t *value, const volatile uint32_t *value32, uint64_t goal, unsigned seconds)
{
    uint64_t last = 0, since = lab_now(&r->lab);
    for (;;) {
        uint64_t v = value != NULL ? *value : *value32;
        if (v >= goal)
            return true;
        run_turn(r);
        if (v != last) {
            last = v;
            since = lab_now(&r->lab);
        } else if (r->idle > 1000 && lab_now(&r->lab) - since > seconds * 1000000000ull) {
            fprintf(stderr, "penstock-bench: stuck: %s: %llu of %llu; %s\n", what, (unsigned long long)v, (unsigned long long)goal,
                    r->lab.peer.calls.wrong > 0 ? r->lab.peer.calls.first_wrong : "nothing was wrong so far");
            return false;
        }
    }
}

static void settle(struct run *r, uint64_t ms)
{
    for (uint64_t end = lab_now(&r->lab) + ms * 1000000; lab_now(&r->lab) < end;)
        run_turn(r);
}

/* What is under way arrives: in lockstep that takes no time, only turns. */
static void quiesce(struct run *r)
{
    if (!r->o->lockstep)
        settle(r, 300);
    for (r->idle = 0; r->o->lockstep && r->idle < 100;)
        run_turn(r);
}

static bool connect_backends(struct run *r)
{
    struct peer *p = &r->lab.peer;
    if (!reach(r, "backends connected", NULL, &p->accepted, p->options.endpoints * (r->lab.workers > 0 ? r->lab.workers : 1), r->o->wait_seconds))
        return false;
    quiesce(r); /* SETTINGS both ways */
    return true;
}

static bool connect_clients(struct run *r, uint32_t from)
{
    struct peer *p = &r->lab.peer;
    peer_connect(p, from, p->options.connections, lab_now(&r->lab));
    return reach(r, "clients connected", NULL, &p->ready, p->options.connections, 10);
}

/* What a connection and a stream take. */
static bool memory(struct run *r, struct figures *f)
{
    struct peer *p = &r->lab.peer;
    uint32_t c = p->options.connections, m = p->options.streams;
    /* The first client calls every backend once, so that what their connections take is not counted with the others'. */
    peer_connect(p, 0, 1, lab_now(&r->lab));
    peer_allow(p, 1, p->options.endpoints, false, 0);
    if (!reach(r, "a client's RPCs", &p->calls.answered, NULL, p->until, 10))
        return false;
    settle(r, 300); /* delayed acknowledgements leave */
    uint64_t before = lab_bytes(&r->lab);
    if (!connect_clients(r, 1))
        return false;
    peer_allow(p, 1, p->until + c, false, 0);
    if (!reach(r, "first RPCs", &p->calls.answered, NULL, p->until, 10))
        return false;
    settle(r, 300);
    uint64_t idle = lab_bytes(&r->lab);
    f->connection_bytes = c > 1 ? (double)(idle - before) / (c - 1) : 0;
    p->hold = true;
    peer_allow(p, m, p->until + (uint64_t)c * m, false, 0);
    if (!reach(r, "RPCs held", NULL, &p->held_count, (uint64_t)c * m, 10))
        return false;
    settle(r, 300);
    f->stream_bytes = (double)(lab_bytes(&r->lab) - idle) / p->held_count;
    ends_release(p);
    return reach(r, "held RPCs answered", &p->calls.answered, NULL, p->until, 10);
}

static bool warm_up(struct run *r)
{
    struct peer *p = &r->lab.peer;
    uint64_t places = (uint64_t)r->o->connections * r->o->streams, rpcs = r->o->rpcs / 4 < 32768 ? r->o->rpcs / 4 : 32768;
    r->longest = UINT32_MAX;
    r->turns.count = 0;
    peer_allow(p, r->o->streams, p->calls.begun + rpcs + places, false, 0);
    if (!reach(r, "RPCs to warm up", &p->calls.answered, NULL, p->until - places, 10))
        return false;
    if (r->turns.count > 0)
        r->longest = (uint32_t)(TURN_INTERRUPTED * turns_median(&r->turns));
    /* An open loop begins with nothing under way. */
    return r->o->rate == 0 || reach(r, "RPCs to warm up", &p->calls.answered, NULL, p->calls.begun, 10);
}

static void measured(struct run *r, struct figures *f, const struct figures *before)
{
    struct peer *p = &r->lab.peer;
    f->rpcs = p->calls.answered - before->rpcs;
    f->packets_in = lab_counter(&r->lab, STATS_PORT_RX_PACKETS) - before->packets_in;
    f->packets_out = lab_counter(&r->lab, STATS_PORT_TX_PACKETS) - before->packets_out;
    f->handovers = lab_counter(&r->lab, STATS_HANDOVERS) - before->handovers;
    f->seconds = (double)lab_now(&r->lab) / 1e9 - before->seconds;
    f->driver_cycles = (double)r->lab.link.driver_cycles;
    f->tsc_hz = (double)r->lab.tsc_hz / r->o->slow;
    f->latency_us = figures_quantiles(&p->latency, 1e-3);
    f->residence_us = figures_quantiles(&p->residence, 1e6 / f->tsc_hz);
    f->residence_interrupted = p->residence_interrupted;
    f->late = p->late;
    f->opened = p->opened;
    f->ages = p->ages;
    figures_take(f, &r->turns, (uint64_t)r->o->connections * r->o->streams);
    if (!r->o->lockstep && r->lab.workers > 0) /* the gateway's own clock */
        f->busy_cycles = (double)(lab_counter(&r->lab, STATS_BUSY_NS) - (uint64_t)before->busy_cycles) * f->tsc_hz / 1e9 + f->driver_cycles;
}

/* The figure is what happens to the load beside the attack. */
static bool attacked(struct run *r, struct figures *f)
{
    struct peer *p = &r->lab.peer;
    uint64_t from = p->calls.answered;
    double since = (double)lab_now(&r->lab) / 1e9;
    bool ok = beside_measure(r, &f->beside) && reach(r, "the last RPCs", &p->calls.answered, NULL, p->calls.begun, 10);
    f->rpcs = p->calls.answered - from;
    f->seconds = (double)lab_now(&r->lab) / 1e9 - since;
    f->tsc_hz = (double)r->lab.tsc_hz / r->o->slow;
    return ok;
}

static bool measure(struct run *r, struct figures *f)
{
    if (r->o->attack != ATTACK_NONE)
        return attacked(r, f);
    struct peer *p = &r->lab.peer;
    struct figures before = {.rpcs = p->calls.answered, .packets_in = lab_counter(&r->lab, STATS_PORT_RX_PACKETS),
                             .packets_out = lab_counter(&r->lab, STATS_PORT_TX_PACKETS), .handovers = lab_counter(&r->lab, STATS_HANDOVERS),
                             .busy_cycles = (double)lab_counter(&r->lab, STATS_BUSY_NS), .seconds = (double)lab_now(&r->lab) / 1e9};
    /* A closed loop is measured while it is full. */
    uint64_t places = r->o->rate > 0 ? 0 : (uint64_t)r->o->connections * r->o->streams, from = p->calls.answered;
    peer_allow(p, r->o->streams, from + r->o->rpcs + places, true, lab_now(&r->lab));
    r->turns.count = 0;
    r->lab.link.driver_cycles = 0;
    p->recording = true;
    bool ok = reach(r, "RPCs", &p->calls.answered, NULL, from + r->o->rpcs, 10);
    p->recording = false;
    measured(r, f, &before);
    return ok && reach(r, "the last RPCs", &p->calls.answered, NULL, p->calls.begun, 10);
}

/* The gateway's own counts say the same. */
static void judge_gateway(struct run *r)
{
    struct calls *c = &r->lab.peer.calls;
    for (uint32_t i = 0; i < c->endpoints && r->lab.workers > 0; i++) {
        uint64_t picks = 0, good = 0;
        for (uint32_t w = 0; w < r->lab.workers; w++) {
            const struct stats_slot *slot = &worker_stats(r->lab.gateway[w])->slots[i];
            picks += stats_read(&slot->picks);
            good += stats_read(&slot->rpcs[0]);
        }
        if (picks != c->by_backend[i] || good != c->by_backend[i])
            calls_wrong(c, "backend %u saw %llu RPCs, the gateway counted %llu picks and %llu OK", i, (unsigned long long)c->by_backend[i],
                        (unsigned long long)picks, (unsigned long long)good);
    }
}

static bool launch(struct run *r)
{
    for (uint32_t w = 0; w < r->lab.workers && r->o->lockstep; w++)
        snapshot_worker_online(r->lab.door, w);
    if (r->lab.workers > 0 && !r->o->lockstep)
        r->launched = rte_eal_remote_launch(worker_run, r->lab.gateway[0], 1) == 0;
    return r->o->lockstep || r->lab.workers == 0 || r->launched;
}

static void land(struct run *r)
{
    struct mailbox_message stop = {.kind = MAILBOX_STOP};
    if (!r->launched)
        return;
    mailbox_order(r->lab.mailbox[0], &stop);
    rte_eal_wait_lcore(1);
}

bool run(const struct options *o, struct figures *f)
{
    static struct run r; /* one a process: the EAL starts once */
    r.o = o;
    r.longest = UINT32_MAX;
    if (!lab_eal(&r.lab, o)) {
        fputs("penstock-bench: DPDK's EAL did not start; its own messages stand above\n", stderr);
        return false;
    }
    bool ok = lab_create(&r.lab, o) && launch(&r);
    if (!ok)
        fputs("penstock-bench: no memory or no device for such a run\n", stderr);
    ok = ok && connect_backends(&r) && (o->memory ? memory(&r, f) : connect_clients(&r, 0)) && warm_up(&r) && measure(&r, f);
    land(&r);
    struct calls *c = &r.lab.peer.calls;
    if (ok) {
        bool even = !ages_on(o) && o->attack == ATTACK_NONE; /* who restarts has less, and attackers are picked for, too */
        calls_judge(c, even ? 2 * (r.lab.workers > 0 ? r.lab.workers : 8) : c->begun);
        if (even)
            judge_gateway(&r);
    }
    if (r.lab.link.lost > 0)
        fprintf(stderr, "penstock-bench: the ring lost %llu frames: the figures hold retransmissions\n", (unsigned long long)r.lab.link.lost);
    if (c->wrong > 0)
        fprintf(stderr, "penstock-bench: %llu things were wrong; the first: %s\n", (unsigned long long)c->wrong, c->first_wrong);
    f->wrong = c->wrong;
    lab_close(&r.lab);
    lab_eal_end();
    return ok && c->wrong == 0;
}
