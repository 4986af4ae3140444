/* What an attack costs those who behave: how long their RPCs are inside the gateway, with and without it, in turn, in one run.
 *
 * The load begins by the clock.  Time passes slowly (--slow), as the generator does the work of many machines on the thread that the gateway's turns need: how busy the worker is counts
 * in that time.  The attack's rate is tried out first: as much as makes the worker busy_percent busy in all.
 *
 * Where the machine takes the core away, time stands still: neither the load nor the attack makes up for it, and RPCs that were inside then do not count. */
#include "bench.h"

#include <rte_cycles.h>
#include <stdio.h>
#include <stdlib.h>

#define SETTLE_NS 10000000ull
#define TRIAL_NS  10000000ull
#define ROUND_NS  40000000ull
#define ROUNDS    7
#define TRIALS    40
#define RATE_MOST 50e6
#define STALL_US  300 /* no turn of both takes so long */

struct phase {
    double p99_us, busy;
    uint64_t connects;
};

static uint64_t stall_cycles(const struct run *r)
{
    return r->lab.tsc_hz / r->o->slow / 1000000 * STALL_US;
}

/* How busy the gateway was in so much time. */
static double turns(struct run *r, uint64_t ns)
{
    struct peer *p = &r->lab.peer;
    uint64_t busy = 0, all = 0, whole = (uint64_t)((__uint128_t)ns * r->lab.tsc_hz / 1000000000ull);
    while (all < whole) {
        uint64_t began = rte_rdtsc(), cycles = p->gateway_cycles;
        run_turn(r);
        uint64_t took = rte_rdtsc() - began;
        if (took < stall_cycles(r)) {
            all += took;
            busy += p->gateway_cycles - cycles;
            continue;
        }
        uint64_t lost = (uint64_t)((__uint128_t)took * 1000000000ull / r->lab.tsc_hz);
        p->open_loop_ns += lost;
        p->attack.since_ns += lost;
    }
    return (double)busy * r->o->slow / (double)all;
}

static struct phase phase(struct run *r, double rate, uint64_t ns)
{
    struct peer *p = &r->lab.peer;
    p->attack.rate = rate;
    p->attack.since_ns = 0;
    turns(r, SETTLE_NS);
    memset(&p->residence, 0, sizeof(p->residence));
    p->recording = true;
    uint64_t connects = p->attack.connects;
    double busy = turns(r, ns);
    p->recording = false;
    double hz = (double)r->lab.tsc_hz / r->o->slow;
    return (struct phase){histogram_quantile(&p->residence, 0.99) * 1e6 / hz, busy, p->attack.connects - connects};
}

/* Units a second, as many as the worker bears within what it may be busy; found from below, as a worker that is overrun stays so for a while. */
static double find_rate(struct run *r, double wanted)
{
    double rate = 2000, step = 1.6, bearable = 0;
    for (int i = 0; i < TRIALS && rate < RATE_MOST && step > 1.05; i++) {
        if (phase(r, rate, TRIAL_NS).busy <= wanted) {
            bearable = rate;
        } else {
            step = 1 + (step - 1) / 2;
            phase(r, 0, ROUND_NS); /* what was left waiting */
        }
        rate = (bearable > 0 ? bearable : rate / 4) * step;
    }
    return bearable;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *v)
{
    qsort(v, ROUNDS, sizeof(*v), by_value);
    return v[ROUNDS / 2];
}

/* Rounds of both, in turn. */
static struct beside rounds(struct run *r, double rate)
{
    double v[6][ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        struct phase alone = phase(r, 0, ROUND_NS), beside = phase(r, rate, ROUND_NS);
        v[0][i] = alone.p99_us, v[1][i] = beside.p99_us, v[2][i] = beside.p99_us / alone.p99_us, v[3][i] = alone.busy, v[4][i] = beside.busy;
        v[5][i] = (double)beside.connects * 1e9 / ROUND_NS;
    }
    return (struct beside){median(v[0]), median(v[1]), median(v[2]), median(v[3]), median(v[4]), rate, median(v[5])};
}

bool beside_measure(struct run *r, struct beside *out)
{
    struct peer *p = &r->lab.peer;
    double wanted = r->o->busy_percent / 100.0;
    r->longest = (uint32_t)stall_cycles(r); /* a turn that an attack made long is what is to be seen */
    peer_allow(p, r->o->streams, UINT64_MAX, true, lab_now(&r->lab));
    phase(r, 0, ROUND_NS);
    double rate = find_rate(r, wanted);
    for (int i = 0; i < 6; i++, rate *= 0.85) {
        *out = rounds(r, rate);
        if (out->beside_busy <= wanted)
            break;
    }
    p->attack.rate = 0;
    bool ok = p->calls.begun < p->until;
    if (!ok)
        fputs("penstock-bench: the load ended before the attack: more -n\n", stderr);
    p->until = p->calls.begun;
    return ok;
}
