/* What is not a field access: pools of the mbuf back end, and packet_keep(), which serves both. */
#include "packet.h"

#ifndef PACKET_MALLOC
#include <rte_mempool.h>
#include <rte_ring.h>

#define POOL_CACHE 256

/* Behind what rte_mbuf keeps in a pool's private area. */
struct pool_private {
    struct rte_pktmbuf_pool_private mbuf;
    uint32_t reserved;
};

static inline struct rte_mempool *mempool(const struct packet_pool *pool)
{
    return (struct rte_mempool *)(uintptr_t)pool;
}

static struct pool_private *private(const struct packet_pool *pool)
{
    return rte_mempool_get_priv(mempool(pool));
}

static uint32_t element_size(uint32_t room)
{
    return (uint32_t)sizeof(struct rte_mbuf) + PACKET_SCRATCH + PACKET_HEADROOM + room;
}

/* As rte_pktmbuf_pool_create() does it, with a private area of our own. */
struct packet_pool *packet_pool_create(const char *name, uint32_t count, uint32_t room, int socket)
{
    struct pool_private init = {
        .mbuf = {.mbuf_data_room_size = (uint16_t)(PACKET_HEADROOM + room), .mbuf_priv_size = PACKET_SCRATCH}};
    uint32_t cache = count / 3 < POOL_CACHE ? count / 3 : POOL_CACHE; /* a cache may hold 1.5 times its size */
    struct rte_mempool *mp = rte_mempool_create_empty(name, count, element_size(room), cache, sizeof(init), socket, 0);
    if (mp == NULL)
        return NULL;
    rte_pktmbuf_pool_init(mp, &init);
    if (rte_mempool_set_ops_byname(mp, "ring_mp_mc", NULL) != 0 || rte_mempool_populate_default(mp) < 0) {
        rte_mempool_free(mp);
        return NULL;
    }
    rte_mempool_obj_iter(mp, rte_pktmbuf_init, NULL);
    return (struct packet_pool *)mp;
}

size_t packet_pool_footprint(uint32_t count, uint32_t room)
{
    struct rte_mempool_objsz size;
    size_t page = (size_t)2 << 20;
    uint32_t object = rte_mempool_calc_obj_size(element_size(room), 0, &size);
    /* Objects do not cross pages; the ring of pointers is a power of two; the caches of all lcores. */
    size_t pages = (count + page / object - 1) / (page / object) + 1;
    return pages * page + (size_t)rte_align32pow2(count + 1) * sizeof(void *) +
           RTE_MAX_LCORE * sizeof(struct rte_mempool_cache) + 65536;
}

void packet_pool_destroy(struct packet_pool *pool)
{
    rte_mempool_free(mempool(pool));
}

/* rte_mempool_avail_count() walks the caches of all lcores: 128 cache lines.  One worker allocates and frees here, so
 * its own cache and the common ring (pool_data of "ring_mp_mc") say nearly all; what another worker, to which buffers were handed
 * over, has cached counts as in use. */
uint32_t packet_pool_in_use(const struct packet_pool *pool)
{
    struct rte_mempool *mp = mempool(pool);
    const struct rte_mempool_cache *cache = rte_mempool_default_cache(mp, rte_lcore_id());
    uint32_t available = rte_ring_count(mp->pool_data) + (cache != NULL ? cache->len : 0);
    return available < mp->size ? mp->size - available : 0;
}

uint32_t packet_pool_outstanding(const struct packet_pool *pool)
{
    return rte_mempool_in_use_count(mempool(pool));
}

uint32_t packet_pool_size(const struct packet_pool *pool)
{
    return mempool(pool)->size;
}

void packet_pool_reserve(struct packet_pool *pool, uint32_t n)
{
    private(pool)->reserved += n;
}

uint32_t packet_pool_reserved(const struct packet_pool *pool)
{
    return private(pool)->reserved;
}

_Static_assert(PACKET_HEADROOM == RTE_PKTMBUF_HEADROOM, "headroom is DPDK's");
#endif

static struct packet *packet_copy_to(struct packet *p, struct packet_pool *spare)
{
    struct packet *copy = packet_alloc(spare);
    if (copy == NULL)
        return NULL;
    uint32_t n = packet_len(p);
    if (n > packet_tailroom(copy)) {
        packet_free(copy);
        return NULL;
    }
    memcpy(packet_append(copy, n), packet_data(p), n);
    memcpy(packet_scratch(copy), packet_scratch(p), PACKET_SCRATCH);
    return copy;
}

struct packet *packet_copy(struct packet *p)
{
    return packet_copy_to(p, packet_pool_of(p));
}

struct packet *packet_keep(struct packet *p, struct packet_pool *spare)
{
    struct packet_pool *pool = packet_pool_of(p);
    uint32_t reserved = packet_pool_reserved(pool), size = packet_pool_size(pool);
    uint32_t limit = reserved + (size > reserved ? (size - reserved) / 4 : 0);
    if (pool == spare || packet_pool_in_use(pool) < limit)
        return p;
    struct packet *copy = packet_copy_to(p, spare);
    packet_free(p);
    return copy;
}
