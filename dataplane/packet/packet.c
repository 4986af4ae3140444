/* What is not a field access: pools of the mbuf back end, and packet_keep(), which serves both. */
#include "packet.h"

#ifndef PACKET_MALLOC
struct packet_pool *packet_pool_create(const char *name, uint32_t count, uint32_t room, int socket)
{
    return (struct packet_pool *)rte_pktmbuf_pool_create(name, count, 256, PACKET_SCRATCH,
                                                         (uint16_t)(room + RTE_PKTMBUF_HEADROOM), socket);
}

void packet_pool_destroy(struct packet_pool *pool)
{
    rte_mempool_free((struct rte_mempool *)pool);
}

uint32_t packet_pool_in_use(const struct packet_pool *pool)
{
    return rte_mempool_in_use_count((const struct rte_mempool *)pool);
}

uint32_t packet_pool_size(const struct packet_pool *pool)
{
    return ((const struct rte_mempool *)pool)->size;
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

struct packet *packet_keep(struct packet *p, struct packet_pool *spare)
{
    struct packet_pool *pool = packet_pool_of(p);
    if (pool == spare || packet_pool_in_use(pool) < packet_pool_size(pool) / 4)
        return p;
    struct packet *copy = packet_copy_to(p, spare);
    packet_free(p);
    return copy;
}
