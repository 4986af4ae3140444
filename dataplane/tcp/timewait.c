/* TIME_WAIT in entries of 32 bytes: the connection object is given back at once, a FIFO forgets the entries, a chained hash
 * finds them.  Full: the oldest goes (counted), which costs only protection against old duplicates.
 *
 * RFC 1337: a RST does not end it. RFC 6191: a SYN that is provably newer does. A retransmitted FIN restarts it
 * (RFC 9293 section 3.10.7.4) where it stands in the FIFO; when its turn comes it goes to the end, so that those behind it do not wait for it. */
#include "conn.h"

#define RESTARTED 64 /* entries a tick that are put at the end */

static uint32_t bucket_count(uint32_t entries)
{
    uint32_t n = 16;
    while (n < entries)
        n *= 2;
    return n;
}

size_t tcp_timewait_footprint(uint32_t entries)
{
    return base_slab_footprint(sizeof(struct tcp_tw), entries) + base_align(sizeof(uint32_t) * bucket_count(entries));
}

void tcp_timewait_init(struct tcp *t, struct base_arena *arena)
{
    uint32_t n = bucket_count(t->config.timewait);
    base_slab_init(&t->tw.slab, arena, "tcp_timewait", sizeof(struct tcp_tw), t->config.timewait);
    t->tw.buckets = base_arena_take(arena, sizeof(uint32_t) * n);
    t->tw.mask = n - 1;
}

static struct tcp_tw *entry(const struct tcp_timewait *w, uint32_t index)
{
    return base_slab_at(&w->slab, index - 1);
}

static uint64_t flow_key(const struct tcp *t, const struct base_flow *f)
{
    struct {
        struct base_addr local, remote;
        uint16_t local_port, remote_port;
        uint32_t zero;
    } in = {f->local, f->remote, f->local_port, f->remote_port, 0x7773696d};
    return base_siphash(&t->config.isn_key, &in, sizeof(in)) >> 1;
}

static uint32_t ms(uint64_t ns)
{
    return (uint32_t)(ns / 1000000);
}

static void fifo_push(struct tcp_timewait *w, struct tcp_tw *e)
{
    uint32_t index = base_slab_index(&w->slab, e) + 1;
    e->fifo = 0;
    if (w->last != 0)
        entry(w, w->last)->fifo = index;
    else
        w->first = index;
    w->last = index;
}

static struct tcp_tw *fifo_pop(struct tcp_timewait *w)
{
    struct tcp_tw *e = entry(w, w->first);
    w->first = e->fifo;
    if (w->first == 0)
        w->last = 0;
    return e;
}

static void unchain(struct tcp_timewait *w, struct tcp_tw *e)
{
    uint32_t index = base_slab_index(&w->slab, e) + 1;
    uint32_t *at = &w->buckets[e->key & w->mask];
    while (*at != 0 && *at != index)
        at = &entry(w, *at)->chain;
    if (*at == index)
        *at = e->chain;
}

static void forget_oldest(struct tcp_timewait *w)
{
    struct tcp_tw *e = fifo_pop(w);
    unchain(w, e);
    base_slab_free(&w->slab, e);
}

void tcp_timewait_add(struct tcp *t, const struct tcp_conn *c, uint64_t now)
{
    struct tcp_timewait *w = &t->tw;
    if (t->config.timewait == 0)
        return;
    if (w->slab.in_use == w->slab.capacity) {
        stats_drop(t->stats, STATS_DROP_TCP_TIMEWAIT_FULL);
        forget_oldest(w);
    }
    struct tcp_tw *e = base_slab_alloc(&w->slab);
    *e = (struct tcp_tw){.ts = tcp_has(c, CONN_TS),
                         .key = flow_key(t, &c->flow),
                         .rcv_nxt = c->rcv_nxt,
                         .snd_nxt = c->snd_nxt,
                         .ts_recent = c->ts_recent,
                         .expire_ms = ms(now + t->config.timewait_ns)};
    e->chain = w->buckets[e->key & w->mask];
    w->buckets[e->key & w->mask] = base_slab_index(&w->slab, e) + 1;
    fifo_push(w, e);
}

struct tcp_tw *tcp_timewait_find(struct tcp *t, const struct base_flow *flow)
{
    if (t->tw.slab.in_use == 0)
        return NULL;
    uint64_t key = flow_key(t, flow);
    for (uint32_t at = t->tw.buckets[key & t->tw.mask]; at != 0; at = entry(&t->tw, at)->chain)
        if (entry(&t->tw, at)->key == key)
            return entry(&t->tw, at);
    return NULL;
}

/* Taken out of its bucket, so that nobody finds it; its memory goes back when the FIFO comes to it. */
void tcp_timewait_remove(struct tcp *t, struct tcp_tw *e)
{
    unchain(&t->tw, e);
    e->chain = 0;
}

void tcp_timewait_restart(struct tcp *t, struct tcp_tw *e, uint64_t now)
{
    e->expire_ms = ms(now + t->config.timewait_ns);
}

void tcp_timewait_tick(struct tcp *t, uint64_t now)
{
    struct tcp_timewait *w = &t->tw;
    for (uint32_t work = RESTARTED; w->first != 0; ) {
        const struct tcp_tw *e = entry(w, w->first);
        if ((int32_t)(e->expire_ms - ms(now)) <= 0)
            forget_oldest(w);
        else if (e->fifo != 0 && (int32_t)(e->expire_ms - entry(w, e->fifo)->expire_ms) > 0 && work-- > 0)
            fifo_push(w, fifo_pop(w));
        else
            break;
    }
}

void tcp_timewait_check(const struct tcp *t)
{
    uint32_t n = 0;
    for (uint32_t at = t->tw.first; at != 0; at = entry(&t->tw, at)->fifo) {
        assert(entry(&t->tw, at)->fifo != 0 || at == t->tw.last);
        n++;
        assert(n <= t->tw.slab.in_use);
        uint32_t bucket = entry(&t->tw, at)->key & t->tw.mask, steps = 0;
        for (uint32_t k = t->tw.buckets[bucket]; k != 0; k = entry(&t->tw, k)->chain, steps++) /* none that is elsewhere by now, no circle */
            assert((entry(&t->tw, k)->key & t->tw.mask) == bucket && steps < t->tw.slab.in_use);
        (void)bucket, (void)steps;
    }
    assert(n == t->tw.slab.in_use);
    (void)n;
}
