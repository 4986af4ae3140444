/* Time: the TSC as nanoseconds, and what to do with it when there is nothing to do. */
#include "internal.h"

#include <rte_cycles.h>
#include <rte_pause.h>
#include <sched.h>
#include <sys/prctl.h>
#include <time.h>

void worker_clock_init(struct worker *w)
{
    w->tsc_base = rte_rdtsc();
    w->tsc_mult = (uint64_t)(((__uint128_t)1000000000ull << 32) / (w->config.tsc_hz > 0 ? w->config.tsc_hz : rte_get_tsc_hz()));
    /* A sleep of 50 us shall not become 100 (the default slack is 50 us). */
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
}

uint64_t worker_now(const struct worker *w)
{
    /* Never 0: rooms use 0 for "no time". */
    return 1000000000ull + (uint64_t)(((__uint128_t)(rte_rdtsc() - w->tsc_base) * w->tsc_mult) >> 32);
}

/* Spin while work may come any moment, then yield, then sleep, longer the longer nothing came; at most 1 ms, which is what a first packet after a
 * pause may wait. */
static uint64_t rest_ns(uint64_t idle_ns)
{
    if (idle_ns < 20000)
        return 0;
    if (idle_ns < 2000000)
        return 20000;
    if (idle_ns < 50000000)
        return 100000;
    return 1000000;
}

void worker_rest(struct worker *w, bool busy, uint64_t began, uint64_t now)
{
    if (busy) {
        stats_count(w->stats, STATS_BUSY_NS, now - began);
        w->idle_since_ns = now;
        return;
    }
    uint64_t rest = w->poll || w->dump != NULL ? 0 : rest_ns(now - w->idle_since_ns);
    if (rest == 0) {
        rte_pause();
    } else {
        struct timespec ts = {.tv_nsec = (long)rest};
        nanosleep(&ts, NULL);
    }
    stats_count(w->stats, STATS_IDLE_NS, worker_now(w) - began);
}
