/* What an attack costs those who behave: how long their RPCs are inside the gateway, with and without it, in turn, in one run.
 *
 * The load begins by the clock.  Time passes slowly (--slow), as the generator does the work of many machines on the thread that the gateway's turns need: how busy the worker is counts
 * in that time.  The attack's rate is tried out first: as much as makes the worker busy_percent busy in all.
 *
 * Where the machine takes the core away, time stands still: neither the load nor the attack makes up for it, and RPCs that were inside then do not count.  A guest is not told
 * of that: it shows as a turn that took much longer than what it had to do, STALL_US and STALL_FRAME_US for each frame (a frame is worked on in 1 to 9 us, a stall has 40
 * and more).  What an attack makes long it makes long by what it sends, or how much of it; how many RPCs are apart is told for both, so that an attack that stalls is seen. */
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
#define STALL_US  25
#define STALL_FRAME_US 10 /* generator and gateway */

struct phase {
    double p99_us, busy, apart;
    uint64_t connects;
};

static uint32_t real_cycles(const struct run *r, uint32_t us)
{
    return (uint32_t)(r->lab.tsc_hz / r->o->slow / 1000000 * us);
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
        if (took < run_longest(r)) {
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
    p->residence_interrupted = 0;
    p->recording = true;
    uint64_t connects = p->attack.connects;
    double busy = turns(r, ns);
    p->recording = false;
    double hz = (double)r->lab.tsc_hz / r->o->slow, apart = (double)p->residence_interrupted;
    apart /= apart + (double)p->residence.count + 1;
    return (struct phase){histogram_quantile(&p->residence, 0.99) * 1e6 / hz, busy, apart, p->attack.connects - connects};
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
    double v[8][ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        struct phase alone = phase(r, 0, ROUND_NS), beside = phase(r, rate, ROUND_NS);
        v[0][i] = alone.p99_us, v[1][i] = beside.p99_us, v[2][i] = beside.p99_us / alone.p99_us, v[3][i] = alone.busy, v[4][i] = beside.busy;
        v[5][i] = (double)beside.connects * 1e9 / ROUND_NS, v[6][i] = alone.apart, v[7][i] = beside.apart;
    }
    return (struct beside){median(v[0]), median(v[1]), median(v[2]), median(v[3]), median(v[4]), rate, median(v[5]), median(v[6]), median(v[7])};
}

bool beside_measure(struct run *r, struct beside *out)
{
    struct peer *p = &r->lab.peer;
    double wanted = r->o->busy_percent / 100.0;
    r->longest = real_cycles(r, STALL_US);
    r->longest_frame = real_cycles(r, STALL_FRAME_US);
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
