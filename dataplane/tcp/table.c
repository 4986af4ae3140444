/* Who is meant: the flow table (open addressing, keyed, never more than half full), listeners, and what is derived from a
 * flow by a secret: initial sequence numbers (RFC 6528), timestamp offsets (RFC 7323 section 5.4) and ports (RFC 6056). */
#include "conn.h"

static struct tcp_conn *slot_conn(const struct tcp *t, uint32_t at)
{
    return base_slab_at(&t->conns, t->table[at].index - 1);
}

struct tcp_conn *tcp_table_find(const struct tcp *t, const struct base_flow *flow, uint32_t hash)
{
    for (uint32_t at = hash & t->table_mask; t->table[at].index != 0; at = (at + 1) & t->table_mask)
        if (t->table[at].hash == hash && base_flow_eq(&slot_conn(t, at)->flow, flow))
            return slot_conn(t, at);
    return NULL;
}

uint32_t tcp_expect(const struct tcp *t, const struct base_flow *flow)
{
    uint32_t hash = base_flow_hash(&t->config.isn_key, flow);
    __builtin_prefetch(&t->table[hash & t->table_mask]);
    return hash;
}

/* The lines that a predicted segment touches. */
void tcp_expect_conn(const struct tcp *t, uint32_t hint)
{
    uint32_t at = hint & t->table_mask;
    if (t->table[at].index == 0)
        return;
    const uint8_t *c = (const uint8_t *)slot_conn(t, at);
    for (uint32_t line = 0; line < 9; line++)
        if (line != 6)
            __builtin_prefetch(c + line * BASE_CACHE_LINE, 1);
}

void tcp_table_add(struct tcp_conn *c)
{
    struct tcp *t = c->tcp;
    assert(!tcp_has(c, CONN_TABLED));
    uint32_t at = c->hash & t->table_mask;
    while (t->table[at].index != 0)
        at = (at + 1) & t->table_mask;
    t->table[at] = (struct tcp_flow_slot){c->hash, base_slab_index(&t->conns, c) + 1};
    c->flags |= CONN_TABLED;
}

/* Followers that were pushed away by the one that leaves move up, so that no tombstones are needed. */
void tcp_table_remove(struct tcp_conn *c)
{
    struct tcp *t = c->tcp;
    if (!tcp_has(c, CONN_TABLED))
        return;
    uint32_t hole = c->hash & t->table_mask, index = base_slab_index(&t->conns, c) + 1;
    while (t->table[hole].index != index)
        hole = (hole + 1) & t->table_mask;
    for (uint32_t at = (hole + 1) & t->table_mask; t->table[at].index != 0; at = (at + 1) & t->table_mask) {
        uint32_t home = t->table[at].hash & t->table_mask;
        if (((at - home) & t->table_mask) >= ((at - hole) & t->table_mask)) {
            t->table[hole] = t->table[at];
            hole = at;
        }
    }
    t->table[hole].index = 0;
    c->flags &= ~(uint32_t)CONN_TABLED;
}

struct tcp_conn *tcp_conn_walk(struct tcp *t, uint32_t *cursor, uint32_t steps)
{
    for (; steps > 0 && *cursor <= t->table_mask; steps--)
        if (t->table[(*cursor)++].index != 0)
            return slot_conn(t, *cursor - 1);
    if (*cursor > t->table_mask)
        *cursor = UINT32_MAX;
    return NULL;
}

/* The exact address before the wildcard. */
const struct tcp_listener *tcp_listener_find(const struct tcp *t, const struct base_addr *addr, uint16_t port)
{
    const struct tcp_listener *any = NULL;
    for (uint32_t i = 0; i < t->config.listeners; i++) {
        const struct tcp_listener *l = &t->listeners[i];
        if (!l->used || l->port != port)
            continue;
        if (base_addr_eq(&l->addr, addr))
            return l;
        if (base_addr_is_zero(&l->addr))
            any = l;
    }
    return any;
}

bool tcp_listen(struct tcp *t, const struct base_addr *addr, uint16_t port, uint64_t tag)
{
    struct tcp_listener *free_one = NULL;
    for (uint32_t i = 0; i < t->config.listeners; i++) {
        struct tcp_listener *l = &t->listeners[i];
        if (!l->used)
            free_one = free_one == NULL ? l : free_one;
        else if (l->port == port && base_addr_eq(&l->addr, addr))
            return false;
    }
    if (free_one == NULL || port == 0)
        return false;
    *free_one = (struct tcp_listener){*addr, tag, port, true};
    return true;
}

void tcp_unlisten(struct tcp *t, const struct base_addr *addr, uint16_t port)
{
    for (uint32_t i = 0; i < t->config.listeners; i++)
        if (t->listeners[i].used && t->listeners[i].port == port && base_addr_eq(&t->listeners[i].addr, addr))
            t->listeners[i].used = false;
}

static uint64_t flow_secret(const struct tcp *t, const struct base_flow *flow, uint16_t local_port, uint16_t remote_port,
                            uint32_t purpose)
{
    struct {
        struct base_addr local, remote;
        uint16_t local_port, remote_port;
        uint32_t purpose;
    } in = {flow->local, flow->remote, local_port, remote_port, purpose};
    return base_siphash(&t->config.isn_key, &in, sizeof(in));
}

enum { PURPOSE_ISN, PURPOSE_TS, PURPOSE_PORT };

/* RFC 6528 section 3: ISN = M + F(flow, secret); M ticks every 4.1 us (RFC 9293 section 3.4.1). */
uint32_t tcp_isn(const struct tcp *t, const struct base_flow *flow, uint64_t now)
{
    return (uint32_t)flow_secret(t, flow, flow->local_port, flow->remote_port, PURPOSE_ISN) + (uint32_t)(now >> 12);
}

/* The same for all connections between two hosts, so that timestamps rise from one to the next (RFC 7323 section 5.4, 6191). */
uint32_t tcp_ts_offset(const struct tcp *t, const struct base_flow *flow)
{
    return (uint32_t)flow_secret(t, flow, 0, 0, PURPOSE_TS);
}

uint64_t tcp_random(struct tcp *t)
{
    t->random++;
    return base_siphash(&t->config.isn_key, &t->random, sizeof(t->random));
}

/* By the queue of its owner? */
static bool comes_back(const struct tcp *t, const struct base_flow *flow)
{
    const struct base_steer *steer = t->config.steer != NULL ? t->config.steer[flow->port] : NULL;
    return steer == NULL || base_steer_queue(steer, flow) == t->config.port_owner;
}

/* RFC 6056 section 3.3.3 (algorithm 3), over the ports that name their owner; of these the first by which segments come back to him, else,
 * where there is none (all such are in use), any: what lands elsewhere is handed over. */
bool tcp_port_choose(struct tcp *t, struct base_flow *flow)
{
    const struct tcp_config *k = &t->config;
    uint32_t step = (uint32_t)k->port_mask + 1;
    uint32_t first = k->port_low + (((uint32_t)k->port_owner - k->port_low) & k->port_mask);
    uint16_t other = 0;
    if (first > k->port_high)
        return false;
    uint32_t count = (k->port_high - first) / step + 1;
    uint32_t at = (uint32_t)((flow_secret(t, flow, 0, flow->remote_port, PURPOSE_PORT) + t->random++) % count);
    for (uint32_t i = 0; i < count; i++, at = at + 1 == count ? 0 : at + 1) {
        flow->local_port = (uint16_t)(first + at * step);
        bool back = comes_back(t, flow);
        if ((!back && other != 0) || tcp_table_find(t, flow, base_flow_hash(&k->isn_key, flow)) != NULL || tcp_timewait_find(t, flow) != NULL)
            continue;
        if (back)
            return true;
        other = flow->local_port;
    }
    flow->local_port = other;
    return other != 0;
}
