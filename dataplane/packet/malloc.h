/* The malloc back end: one object a buffer, so that sanitizers see every overrun and use after free.
 * Included by packet.h alone. */
#ifndef PACKET_MALLOC_H
#define PACKET_MALLOC_H

#include <stdlib.h>

struct packet_pool {
    uint32_t size;
    uint32_t in_use;
    uint32_t room;
    uint32_t reserved;
    int32_t fail_at; /* fault tier: this many allocations from now one fails; negative: never */
};

struct packet {
    struct packet_pool *pool;
    uint32_t refs;
    uint32_t off, len, cap;
    uint32_t rx_flags, hash;
    uint16_t vlan;
    uint32_t tx_flags;
    uint16_t l2_len, l3_len, l4_len, segment;
    struct packet *next; /* in a join; head: and what the others add to it */
    uint32_t more, joined;
    _Alignas(8) uint8_t scratch[PACKET_SCRATCH];
    uint8_t *bytes;
};

static inline struct packet *packet_alloc(struct packet_pool *pool)
{
    if (pool->in_use >= pool->size || (pool->fail_at >= 0 && pool->fail_at-- == 0))
        return NULL;
    struct packet *p = calloc(1, sizeof(*p));
    assert(p != NULL);
    p->cap = PACKET_HEADROOM + pool->room;
    p->bytes = malloc(p->cap);
    assert(p->bytes != NULL);
    p->pool = pool;
    p->refs = 1;
    p->off = PACKET_HEADROOM;
    pool->in_use++;
    return p;
}

static inline void packet_free(struct packet *p)
{
    assert(p->refs > 0);
    if (--p->refs > 0)
        return;
    assert(p->pool->in_use > 0);
    p->pool->in_use--;
    free(p->bytes);
    free(p);
}

static inline void packet_ref(struct packet *p)
{
    p->refs++;
}

static inline bool packet_shared(const struct packet *p)
{
    return p->refs > 1;
}

static inline uint8_t *packet_data(struct packet *p)
{
    return p->bytes + p->off;
}

static inline uint32_t packet_len(const struct packet *p)
{
    return p->len;
}

static inline uint32_t packet_headroom(const struct packet *p)
{
    return p->off;
}

static inline uint32_t packet_tailroom(const struct packet *p)
{
    return p->cap - p->off - p->len;
}

static inline uint8_t *packet_prepend(struct packet *p, uint32_t n)
{
    assert(n <= p->off);
    p->off -= n;
    p->len += n;
    return p->bytes + p->off;
}

static inline uint8_t *packet_append(struct packet *p, uint32_t n)
{
    assert(n <= packet_tailroom(p));
    uint8_t *at = p->bytes + p->off + p->len;
    p->len += n;
    return at;
}

static inline void packet_adj(struct packet *p, uint32_t n)
{
    assert(n <= p->len);
    p->off += n;
    p->len -= n;
}

static inline void packet_trim(struct packet *p, uint32_t n)
{
    assert(n <= p->len);
    p->len -= n;
}

static inline void packet_reset(struct packet *p)
{
    p->off = PACKET_HEADROOM;
    p->len = 0;
    p->rx_flags = 0;
    p->tx_flags = 0;
    p->next = NULL;
    p->more = 0;
    p->joined = 0;
}

static inline void packet_join(struct packet *head, struct packet *last, struct packet *next)
{
    last->next = next;
    head->more += next->len;
    head->joined++;
}

static inline uint32_t packet_total(const struct packet *p)
{
    return p->len + p->more;
}

static inline uint32_t packet_joined(const struct packet *p)
{
    return 1 + p->joined;
}

static inline struct packet *packet_next(const struct packet *p)
{
    return p->next;
}

static inline void *packet_scratch(struct packet *p)
{
    return p->scratch;
}

static inline uint32_t packet_rx_flags(const struct packet *p)
{
    return p->rx_flags;
}

static inline uint16_t packet_vlan(const struct packet *p)
{
    return p->vlan;
}

static inline uint32_t packet_hash(const struct packet *p)
{
    return p->hash;
}

static inline void packet_tx_offload(struct packet *p, uint32_t flags, uint32_t l2_len, uint32_t l3_len, uint32_t l4_len)
{
    p->tx_flags = flags;
    p->l2_len = (uint16_t)l2_len;
    p->l3_len = (uint16_t)l3_len;
    p->l4_len = (uint16_t)l4_len;
}

static inline void packet_tx_segment(struct packet *p, uint32_t payload)
{
    p->segment = (uint16_t)payload;
}

static inline struct packet_pool *packet_pool_of(const struct packet *p)
{
    return p->pool;
}

static inline struct packet_pool *packet_pool_create(const char *name, uint32_t count, uint32_t room, int socket)
{
    (void)name, (void)socket;
    struct packet_pool *pool = calloc(1, sizeof(*pool));
    assert(pool != NULL);
    *pool = (struct packet_pool){.size = count, .room = room, .fail_at = -1};
    return pool;
}

static inline void packet_pool_destroy(struct packet_pool *pool)
{
    free(pool);
}

static inline uint32_t packet_pool_in_use(const struct packet_pool *pool)
{
    return pool->in_use;
}

static inline uint32_t packet_pool_outstanding(const struct packet_pool *pool)
{
    return pool->in_use;
}

static inline uint32_t packet_pool_size(const struct packet_pool *pool)
{
    return pool->size;
}

static inline size_t packet_pool_footprint(uint32_t count, uint32_t room)
{
    return (size_t)count * (sizeof(struct packet) + PACKET_HEADROOM + room);
}

static inline void packet_pool_reserve(struct packet_pool *pool, uint32_t n)
{
    pool->reserved += n;
}

static inline uint32_t packet_pool_reserved(const struct packet_pool *pool)
{
    return pool->reserved;
}

#endif
