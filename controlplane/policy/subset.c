/* Which workers connect to which endpoints: a deterministic aperture.
 *
 * The endpoints stand in a ring, ordered by a hash of their addresses, so that neighbours in a rack are no neighbours here.  Worker w begins at
 * the fraction w / workers of the ring and takes the next `size` endpoints:
 *
 *   - evenly: each endpoint is held by floor(workers * size / n) workers or by one more;
 *   - within a budget: workers * size connections, whatever n is;
 *   - without memory: all of it follows from the set, so that workers, restarts and tools agree;
 *   - with little movement: an endpoint that comes or goes changes at most two places in a worker's share.
 *
 * (gRPC's random subsetting, A68, moves less, but leaves endpoints without any connection where few workers share them; the SRE book's deterministic
 * subsetting is even, but shuffles everything when the set changes.) */
#include "policy.h"

#include <stdlib.h>

static int by_place(const void *a, const void *b)
{
    const struct policy_member *x = a, *y = b;
    if (x->place != y->place)
        return x->place < y->place ? -1 : 1;
    return memcmp(&x->address->addr, &y->address->addr, sizeof(x->address->addr)) != 0
               ? memcmp(&x->address->addr, &y->address->addr, sizeof(x->address->addr))
               : (int)x->address->port - (int)y->address->port;
}

void policy_subsets(struct policy_member *m, uint32_t n, uint32_t workers, uint32_t size)
{
    static const struct base_hash_key fixed = {{0x70656e73746f636bull, 0x7375627365747300ull}};
    uint64_t all = workers >= 64 ? UINT64_MAX : (UINT64_C(1) << workers) - 1;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t words[3] = {m[i].address->addr.q[0], m[i].address->addr.q[1], m[i].address->port};
        m[i].place = base_siphash(&fixed, words, sizeof(words));
        m[i].spared = size == 0 || size >= n ? 0 : all;
    }
    if (size == 0 || size >= n)
        return;
    qsort(m, n, sizeof(*m), by_place);
    for (uint32_t w = 0; w < workers; w++) {
        uint32_t first = (uint32_t)((uint64_t)w * n / workers);
        for (uint32_t i = 0; i < size; i++)
            m[(first + i) % n].spared &= ~(UINT64_C(1) << w);
    }
}

struct policy_budget policy_budget(const struct config_cluster *c, uint32_t endpoints, uint32_t workers)
{
    uint64_t held = (uint64_t)(c->subset_size == 0 || c->subset_size > endpoints ? endpoints : c->subset_size) * workers;
    struct policy_budget b = {.connections = held * c->connections_per_endpoint, .at_most = held * c->max_connections_per_endpoint};
    if (endpoints > 0) {
        b.held_least = (uint32_t)(held / endpoints);
        b.held_most = (uint32_t)((held + endpoints - 1) / endpoints);
        b.unheld = held < endpoints ? endpoints - (uint32_t)held : 0;
    }
    return b;
}
