/* rpc: the latency of RPCs of 100 octets each way over many connections of one lossy link: its tail is what loss detection is for.
 *
 * One at a time: a connection's next request follows the last answer, so that whatever is lost is the last of its flight, and neither duplicate ACKs nor
 * SACK tell of it.  By the clock: each connection sends at times drawn beforehand, 20 ms apart on average, and what follows helps. */
#include "grid.h"

#include <stdio.h>
#include <stdlib.h>

enum { CONNECTIONS = 50 };
#define P99_MOST 1.1

static int u32_order(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static double quantile(const struct result *r, double q)
{
    return r->latency_us[(uint32_t)(q * (r->rpcs - 1))] / 1e3;
}

static bool rows(const struct cell *c, bool judge)
{
    struct result *r[KINDS];
    double p99[KINDS];
    if (!cell_run(c, r))
        return false;
    for (int k = 0; k < KINDS; k++) {
        qsort(r[k]->latency_us, r[k]->rpcs, sizeof(uint32_t), u32_order);
        p99[k] = quantile(r[k], 0.99);
    }
    bool good = true;
    for (int k = 0; k < KINDS; k++) {
        double ratio = p99[k] / p99[LINUX_TO_LINUX];
        printf("| %s | %g ms | %s | %u | %.1f | %.1f | %.1f | %.1f | %.2f | %.1f %% |\n", c->form == FORM_RPC ? "one at a time" : "by the clock",
               (double)c->rto_ns_min / 1e6, grid_kind_names[k], r[k]->rpcs, quantile(r[k], 0.5), p99[k], quantile(r[k], 0.999), quantile(r[k], 1), ratio,
               (double)r[k]->late * 100 / (double)r[k]->frames);
        good &= !judge || ratio <= P99_MOST;
    }
    fflush(stdout);
    for (int k = 0; k < KINDS; k++)
        result_destroy(c, r[k]);
    return good;
}

int rpc_table(uint64_t rtt_us, uint32_t loss_ppm, uint64_t seed, uint32_t rpcs, bool judge)
{
    static const uint64_t least[] = {200 * MS, 20 * MS};
    bool good = true;
    puts("| RPCs | our rto_min | client -> server | RPCs | p50, ms | p99 | p99.9 | most | p99 / Linux's | late |\n|---|---|---|---|---|---|---|---|---|---|");
    for (int i = 0; i < 4; i++) {
        struct cell c = {.form = i < 2 ? FORM_RPC : FORM_OPEN, .rtt_us = rtt_us, .loss_ppm = loss_ppm, .seed = seed, .connections = CONNECTIONS,
                         .rpcs = rpcs / CONNECTIONS, .gap_ns = 20 * MS, .rto_ns_min = least[i % 2]};
        good &= rows(&c, judge);
    }
    return good ? 0 : 1;
}
