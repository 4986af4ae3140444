/* One run, from the EAL to the verdict.
 *
 * One thread runs a generator and the gateway in turn (--lockstep), with the TSC read around the gateway's turn: on a machine that is shared,
 * two busy threads would measure the scheduler.  The gateway is a real worker over a real port; only the wire is a ring.  A closed loop: the
 * next RPC of a connection begins when one has ended. */
#include "bench.h"

#include <rte_cycles.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

struct run {
    struct lab lab;
    struct turns turns;
    uint64_t idle; /* turns in a row in which nothing moved */
};

static uint64_t counter(const struct run *r, enum stats_counter which)
{
    return stats_read(&worker_stats(r->lab.gateway)->counters[which]);
}

static uint64_t packets(const struct run *r)
{
    return counter(r, STATS_PORT_RX_PACKETS) + counter(r, STATS_PORT_TX_PACKETS);
}

/* How often the kernel has taken the core away from us. */
static uint64_t preemptions(void)
{
    struct rusage u;
    return getrusage(RUSAGE_THREAD, &u) == 0 ? (uint64_t)u.ru_nivcsw : 0;
}

/* One turn of each. True: the gateway had something to do. */
static bool turn(struct run *r)
{
    struct mailbox_message report;
    struct mailbox_log log;
    peer_turn(&r->lab.peer, lab_now(&r->lab));
    uint64_t before = packets(r), preempted = preemptions(), began = rte_rdtsc_precise();
    worker_turn(r->lab.gateway);
    uint64_t cycles = rte_rdtsc_precise() - began;
    struct turn t = {cycles < UINT32_MAX ? (uint32_t)cycles : UINT32_MAX, (uint32_t)r->lab.peer.calls.answered, preemptions() == preempted};
    while (mailbox_report_next(r->lab.mailbox, &report))
        ;
    while (mailbox_log_next(r->lab.mailbox, &log))
        if (log.level < 2)
            fprintf(stderr, "gateway: %.*s\n", (int)log.length, log.text);
    if (packets(r) == before) {
        r->idle++;
        return false;
    }
    r->idle = 0;
    turns_add(&r->turns, t);
    return true;
}

/* Turns until `*value` is `goal`, at most `seconds`. */
static bool reach(struct run *r, const char *what, const volatile uint64_t *value, const volatile uint32_t *value32, uint64_t goal, unsigned seconds)
{
    uint64_t last = 0, since = lab_now(&r->lab);
    for (;;) {
        uint64_t v = value != NULL ? *value : *value32;
        if (v >= goal)
            return true;
        turn(r);
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
        turn(r);
}

static bool connect_all(struct run *r)
{
    struct peer *p = &r->lab.peer;
    if (!reach(r, "backends connected", NULL, &p->accepted, p->options.endpoints, 10))
        return false;
    settle(r, 50); /* SETTINGS both ways */
    return true;
}

/* What a connection and a stream take. */
static bool memory(struct run *r, struct figures *f)
{
    struct peer *p = &r->lab.peer;
    uint32_t c = p->options.connections;
    /* The first client calls every backend once, so that what their connections take is not counted with the others'. */
    peer_connect(p, 0, 1, lab_now(&r->lab));
    p->limit = 1;
    p->until = p->options.endpoints;
    if (!reach(r, "a client's RPCs", &p->calls.answered, NULL, p->until, 10))
        return false;
    settle(r, 300); /* delayed acknowledgements leave */
    uint64_t before = lab_bytes(&r->lab);
    peer_connect(p, 1, c, lab_now(&r->lab));
    if (!reach(r, "clients connected", NULL, &p->ready, c, 10))
        return false;
    p->until += c;
    if (!reach(r, "first RPCs", &p->calls.answered, NULL, p->until, 10))
        return false;
    settle(r, 300);
    uint64_t idle = lab_bytes(&r->lab);
    f->connection_bytes = c > 1 ? (double)(idle - before) / (c - 1) : 0;
    p->hold = true;
    p->limit = p->options.streams;
    p->until += (uint64_t)c * p->options.streams;
    if (!reach(r, "RPCs held", NULL, &p->held_count, (uint64_t)c * p->options.streams, 10))
        return false;
    settle(r, 300);
    f->stream_bytes = (double)(lab_bytes(&r->lab) - idle) / p->held_count;
    peer_release(p);
    return reach(r, "held RPCs answered", &p->calls.answered, NULL, p->until, 10);
}

static bool measure(struct run *r, struct figures *f)
{
    struct peer *p = &r->lab.peer;
    p->until = p->calls.answered + 32768;
    if (!reach(r, "RPCs to warm up", &p->calls.answered, NULL, p->until - (uint64_t)p->options.connections * p->options.streams, 10))
        return false;
    p->until = p->calls.answered + p->options.rpcs + (uint64_t)p->options.connections * p->options.streams;
    if (p->until > p->calls.count)
        p->until = p->calls.count;
    uint64_t from = p->calls.answered, in = counter(r, STATS_PORT_RX_PACKETS), out = counter(r, STATS_PORT_TX_PACKETS), began = lab_now(&r->lab);
    r->turns.count = 0;
    r->lab.link.driver_cycles = 0;
    bool ok = reach(r, "RPCs", &p->calls.answered, NULL, from + p->options.rpcs, 10);
    f->rpcs = p->calls.answered - from;
    f->packets_in = counter(r, STATS_PORT_RX_PACKETS) - in;
    f->packets_out = counter(r, STATS_PORT_TX_PACKETS) - out;
    f->seconds = (double)(lab_now(&r->lab) - began) / 1e9;
    f->driver_cycles = (double)r->lab.link.driver_cycles;
    f->tsc_hz = (double)r->lab.tsc_hz;
    figures_take(f, &r->turns);
    return ok && reach(r, "the last RPCs", &p->calls.answered, NULL, p->calls.begun, 10);
}

/* Every RPC that began was seen by one backend and answered once; the gateway's own counts say the same. */
static void judge(struct run *r)
{
    struct calls *c = &r->lab.peer.calls;
    uint64_t sum = 0, even = c->begun / c->endpoints;
    for (uint32_t i = 0; i < c->endpoints; i++) {
        uint64_t n = c->by_backend[i];
        sum += n;
        const struct stats_slot *slot = &worker_stats(r->lab.gateway)->slots[i];
        if (stats_read(&slot->picks) != n || stats_read(&slot->rpcs[0]) != n)
            calls_wrong(c, "backend %u saw %llu RPCs, the gateway counted %llu picks and %llu OK", i, (unsigned long long)n,
                        (unsigned long long)slot->picks, (unsigned long long)slot->rpcs[0]);
        if (n + 2 < even || n > even + 2)
            calls_wrong(c, "backend %u saw %llu RPCs, a fair share is %llu", i, (unsigned long long)n, (unsigned long long)even);
    }
    if (sum != c->begun || c->answered != c->begun)
        calls_wrong(c, "%llu begun, %llu at backends, %llu answered", (unsigned long long)c->begun, (unsigned long long)sum,
                    (unsigned long long)c->answered);
    for (uint64_t id = 0; id < c->begun; id++)
        if (c->seen[id] != 2)
            calls_wrong(c, "RPC %llu was lost", (unsigned long long)id);
}

bool run(const struct options *o, struct figures *f)
{
    static struct run r; /* one a process: the EAL starts once */
    if (!lab_eal(&r.lab, "penstock-bench")) {
        fputs("penstock-bench: DPDK's EAL did not start; its own messages stand above\n", stderr);
        return false;
    }
    bool ok = lab_create(&r.lab, o);
    if (!ok)
        fputs("penstock-bench: no memory for this many connections and endpoints\n", stderr);
    ok = ok && connect_all(&r) && memory(&r, f) && measure(&r, f);
    struct calls *c = &r.lab.peer.calls;
    if (ok) {
        judge(&r);
        if (r.lab.link.lost > 0)
            fprintf(stderr, "penstock-bench: the ring lost %llu frames: the figures hold retransmissions\n", (unsigned long long)r.lab.link.lost);
        if (c->wrong > 0)
            fprintf(stderr, "penstock-bench: %llu things were wrong; the first: %s\n", (unsigned long long)c->wrong, c->first_wrong);
    }
    f->wrong = c->wrong;
    lab_eal_end();
    return ok && c->wrong == 0;
}
