/* Hand-over between workers: a ring a pair, a buffer in front of it. */
#include "handover.h"
#include "heap.h"
#include "base/arena.h"

#include <rte_mbuf.h>
#include <rte_ring.h>

#define BURST 32 /* items buffered for one worker before they go into its ring */

struct out {
    struct rte_ring *ring; /* NULL: to oneself */
    uint32_t waiting;
    struct port_handover_item item[BURST];
};

struct port_handover_end {
    /* ---- every turn ---- */
    _Alignas(BASE_CACHE_LINE) uint64_t dirty; /* bit w: out[w] has items */
    uint32_t worker, workers;
    struct stats *stats;
    struct packet_pool *pool;
    struct rte_ring **in; /* by sender; NULL: oneself */
    /* ---- by receiver ---- */
    struct out *out;
};

struct port_handover {
    uint32_t workers;
    size_t bytes;
    struct port_handover_end *end[PORT_HANDOVER_WORKERS];
};

_Static_assert(PORT_HANDOVER_WORKERS <= 64, "one bit a worker in dirty");
_Static_assert(sizeof(struct port_handover_item) == 16, "rte_ring_elem moves words; 16 bytes at once");

/* RING_F_EXACT_SZ holds `depth` elements in a ring of the next power of two above it. */
static size_t ring_bytes(uint32_t depth)
{
    return base_align((size_t)rte_ring_get_memsize_elem(sizeof(struct port_handover_item), rte_align32pow2(depth + 1)));
}

static size_t footprint(uint32_t workers, uint32_t depth)
{
    size_t end = base_align(sizeof(struct port_handover_end)) + base_align(workers * sizeof(struct out)) +
                 base_align(workers * sizeof(struct rte_ring *));
    return base_align(sizeof(struct port_handover)) + workers * end + (size_t)workers * (workers - 1) * ring_bytes(depth);
}

static void end_make(struct port_handover *h, struct base_arena *a, uint32_t worker)
{
    struct port_handover_end *e = base_arena_take(a, sizeof(*e));
    e->worker = worker;
    e->workers = h->workers;
    e->out = base_arena_take(a, h->workers * sizeof(struct out));
    e->in = base_arena_take(a, h->workers * sizeof(struct rte_ring *));
    h->end[worker] = e;
}

static void rings_make(struct port_handover *h, struct base_arena *a, uint32_t depth)
{
    for (uint32_t from = 0; from < h->workers; from++)
        for (uint32_t to = 0; to < h->workers; to++) {
            if (from == to)
                continue;
            struct rte_ring *r = base_arena_take(a, ring_bytes(depth));
            int rc = rte_ring_init(r, "handover", depth, RING_F_SP_ENQ | RING_F_SC_DEQ | RING_F_EXACT_SZ);
            assert(rc == 0);
            (void)rc;
            h->end[from]->out[to].ring = r;
            h->end[to]->in[from] = r;
        }
}

struct port_handover *port_handover_open(uint32_t workers, uint32_t depth, char *error, size_t error_len)
{
    assert(workers >= 2 && workers <= PORT_HANDOVER_WORKERS && depth >= BURST);
    size_t bytes = footprint(workers, depth);
    void *memory = port_arena_open(bytes, error, error_len);
    if (memory == NULL)
        return NULL;
    struct base_arena a;
    base_arena_init(&a, memory, bytes);
    struct port_handover *h = base_arena_take(&a, sizeof(*h));
    h->workers = workers;
    h->bytes = bytes;
    for (uint32_t w = 0; w < workers; w++)
        end_make(h, &a, w);
    rings_make(h, &a, depth);
    return h;
}

void port_handover_close(struct port_handover *h)
{
    for (uint32_t w = 0; w < h->workers; w++)
        for (uint32_t from = 0; from < h->workers; from++) {
            struct port_handover_item item;
            const struct out *o = &h->end[w]->out[from];
            for (uint32_t i = 0; i < o->waiting; i++)
                packet_free(o->item[i].packet);
            while (from != w && port_handover_take(h->end[w], from, &item, 1) > 0)
                packet_free(item.packet);
        }
    port_arena_close(h, h->bytes);
}

struct port_handover_end *port_handover_end(struct port_handover *h, uint32_t worker, struct stats *stats, struct packet_pool *pool)
{
    assert(worker < h->workers);
    h->end[worker]->stats = stats;
    h->end[worker]->pool = pool;
    return h->end[worker];
}

/* ---- out ---- */

static void count(struct port_handover_end *e, const struct port_handover_item *item)
{
    if (item->kind == PORT_HANDOVER_FRAME)
        stats_count(e->stats, STATS_HANDOVERS, 1);
    else if (item->kind == PORT_HANDOVER_SEND)
        stats_count(e->stats, STATS_HANDOVERS_SENT, 1);
}

static void flush(struct port_handover_end *e, struct out *o)
{
    uint32_t n = rte_ring_sp_enqueue_burst_elem(o->ring, o->item, sizeof(o->item[0]), o->waiting, NULL);
    for (uint32_t i = 0; i < n; i++)
        count(e, &o->item[i]);
    for (uint32_t i = n; i < o->waiting; i++) {
        stats_drop(e->stats, STATS_DROP_HANDOVER_FULL);
        packet_free(o->item[i].packet);
    }
    o->waiting = 0;
}

static void put(struct port_handover_end *e, uint32_t to, struct packet *p, enum port_handover_kind kind, uint16_t port)
{
    assert(to < e->workers && to != e->worker);
    struct out *o = &e->out[to];
    o->item[o->waiting++] = (struct port_handover_item){.packet = p, .kind = (uint16_t)kind, .port = port};
    e->dirty |= 1ull << to;
    if (o->waiting == BURST)
        flush(e, o);
}

void port_handover_flush(struct port_handover_end *e)
{
    for (; e->dirty != 0; e->dirty &= e->dirty - 1)
        if (e->out[__builtin_ctzll(e->dirty)].waiting > 0)
            flush(e, &e->out[__builtin_ctzll(e->dirty)]);
}

/* The same frame in a buffer of our own, with what the device said of it or shall do with it. NULL: none (counted). */
static struct packet *twin(struct port_handover_end *e, const struct packet *p)
{
    const struct rte_mbuf *m = packet_mbuf(p);
    struct packet *q = packet_alloc(e->pool);
    if (q == NULL || m->data_len > packet_tailroom(q)) {
        stats_drop(e->stats, STATS_DROP_PORT_NO_BUFFER);
        if (q != NULL)
            packet_free(q);
        return NULL;
    }
    memcpy(packet_append(q, m->data_len), rte_pktmbuf_mtod(m, const void *), m->data_len);
    packet_mbuf(q)->ol_flags = m->ol_flags;
    packet_mbuf(q)->vlan_tci = m->vlan_tci;
    packet_mbuf(q)->tx_offload = m->tx_offload;
    return q;
}

void port_handover_frame(struct port_handover_end *e, uint32_t to, struct packet *p, uint16_t port)
{
    put(e, to, p, PORT_HANDOVER_FRAME, port);
}

void port_handover_send(struct port_handover_end *e, uint32_t to, struct packet *p, uint16_t port)
{
    if (packet_shared(p)) {
        struct packet *q = twin(e, p);
        packet_free(p);
        p = q;
    }
    if (p != NULL)
        put(e, to, p, PORT_HANDOVER_SEND, port);
}

void port_handover_news(struct port_handover_end *e, const struct packet *p, uint16_t port)
{
    for (uint32_t to = 0; to < e->workers; to++) {
        struct packet *q = to != e->worker ? twin(e, p) : NULL;
        if (q != NULL)
            put(e, to, q, PORT_HANDOVER_NEWS, port);
    }
}

/* ---- in ---- */

uint32_t port_handover_take(struct port_handover_end *e, uint32_t from, struct port_handover_item *items, uint32_t max)
{
    assert(from < e->workers && from != e->worker);
    return rte_ring_sc_dequeue_burst_elem(e->in[from], items, sizeof(*items), max, NULL);
}
