/* The mbuf back end: a struct packet is a struct rte_mbuf, its scratch area the mbuf's private area.
 * Included by packet.h, and by port, which hands bursts of them to the device. */
#ifndef PACKET_MBUF_H
#define PACKET_MBUF_H

#include <rte_mbuf.h>

static inline struct rte_mbuf *packet_mbuf(const struct packet *p)
{
    return (struct rte_mbuf *)(uintptr_t)p;
}

static inline struct packet *packet_alloc(struct packet_pool *pool)
{
    return (struct packet *)rte_pktmbuf_alloc((struct rte_mempool *)pool);
}

/* This buffer alone: a join belongs to the device. */
static inline void packet_free(struct packet *p)
{
    rte_pktmbuf_free_seg(packet_mbuf(p));
}

static inline void packet_ref(struct packet *p)
{
    rte_mbuf_refcnt_update(packet_mbuf(p), 1);
}

static inline bool packet_shared(const struct packet *p)
{
    return rte_mbuf_refcnt_read(packet_mbuf(p)) > 1;
}

static inline uint8_t *packet_data(struct packet *p)
{
    return rte_pktmbuf_mtod(packet_mbuf(p), uint8_t *);
}

static inline uint32_t packet_len(const struct packet *p)
{
    return packet_mbuf(p)->data_len;
}

static inline uint32_t packet_headroom(const struct packet *p)
{
    return packet_mbuf(p)->data_off;
}

static inline uint32_t packet_tailroom(const struct packet *p)
{
    const struct rte_mbuf *m = packet_mbuf(p);
    return (uint32_t)m->buf_len - m->data_off - m->data_len;
}

static inline uint8_t *packet_prepend(struct packet *p, uint32_t n)
{
    struct rte_mbuf *m = packet_mbuf(p);
    assert(n <= m->data_off);
    m->data_off = (uint16_t)(m->data_off - n);
    m->data_len = (uint16_t)(m->data_len + n);
    m->pkt_len += n;
    return rte_pktmbuf_mtod(m, uint8_t *);
}

static inline uint8_t *packet_append(struct packet *p, uint32_t n)
{
    struct rte_mbuf *m = packet_mbuf(p);
    assert(n <= packet_tailroom(p));
    uint8_t *at = rte_pktmbuf_mtod_offset(m, uint8_t *, m->data_len);
    m->data_len = (uint16_t)(m->data_len + n);
    m->pkt_len += n;
    return at;
}

static inline void packet_adj(struct packet *p, uint32_t n)
{
    struct rte_mbuf *m = packet_mbuf(p);
    assert(n <= m->data_len);
    m->data_off = (uint16_t)(m->data_off + n);
    m->data_len = (uint16_t)(m->data_len - n);
    m->pkt_len -= n;
}

static inline void packet_trim(struct packet *p, uint32_t n)
{
    struct rte_mbuf *m = packet_mbuf(p);
    assert(n <= m->data_len);
    m->data_len = (uint16_t)(m->data_len - n);
    m->pkt_len -= n;
}

static inline void packet_reset(struct packet *p)
{
    struct rte_mbuf *m = packet_mbuf(p);
    m->data_off = PACKET_HEADROOM;
    m->data_len = 0;
    m->pkt_len = 0;
    m->ol_flags = 0;
    m->nb_segs = 1;
    m->next = NULL;
}

static inline void packet_join(struct packet *head, struct packet *last, struct packet *next)
{
    struct rte_mbuf *h = packet_mbuf(head), *n = packet_mbuf(next);
    packet_mbuf(last)->next = n;
    h->nb_segs++;
    h->pkt_len += n->data_len;
}

static inline uint32_t packet_total(const struct packet *p)
{
    return packet_mbuf(p)->pkt_len;
}

static inline uint32_t packet_joined(const struct packet *p)
{
    return packet_mbuf(p)->nb_segs;
}

static inline struct packet *packet_next(const struct packet *p)
{
    return (struct packet *)packet_mbuf(p)->next;
}

static inline void *packet_scratch(struct packet *p)
{
    return rte_mbuf_to_priv(packet_mbuf(p));
}

static inline uint32_t packet_rx_flags(const struct packet *p)
{
    uint64_t f = packet_mbuf(p)->ol_flags;
    uint32_t r = 0;
    uint64_t ip = f & RTE_MBUF_F_RX_IP_CKSUM_MASK, l4 = f & RTE_MBUF_F_RX_L4_CKSUM_MASK;
    r |= ip == RTE_MBUF_F_RX_IP_CKSUM_GOOD ? PACKET_RX_IP_GOOD : 0;
    r |= ip == RTE_MBUF_F_RX_IP_CKSUM_BAD ? PACKET_RX_IP_BAD : 0;
    r |= l4 == RTE_MBUF_F_RX_L4_CKSUM_GOOD ? PACKET_RX_L4_GOOD : 0;
    r |= l4 == RTE_MBUF_F_RX_L4_CKSUM_BAD ? PACKET_RX_L4_BAD : 0;
    r |= l4 == RTE_MBUF_F_RX_L4_CKSUM_NONE ? PACKET_RX_L4_PARTIAL : 0;
    r |= (f & RTE_MBUF_F_RX_VLAN_STRIPPED) ? PACKET_RX_VLAN : 0;
    r |= (f & RTE_MBUF_F_RX_RSS_HASH) ? PACKET_RX_HASH : 0;
    return r;
}

static inline uint16_t packet_vlan(const struct packet *p)
{
    return packet_mbuf(p)->vlan_tci;
}

static inline uint32_t packet_hash(const struct packet *p)
{
    return packet_mbuf(p)->hash.rss;
}

static inline void packet_tx_offload(struct packet *p, uint32_t flags, uint32_t l2_len, uint32_t l3_len, uint32_t l4_len)
{
    struct rte_mbuf *m = packet_mbuf(p);
    uint64_t f = 0;
    if (flags & (PACKET_TX_IP_CSUM | PACKET_TX_TCP_CSUM))
        f |= flags & PACKET_TX_IPV6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4;
    f |= flags & PACKET_TX_IP_CSUM ? RTE_MBUF_F_TX_IP_CKSUM : 0;
    f |= flags & PACKET_TX_TCP_CSUM ? RTE_MBUF_F_TX_TCP_CKSUM : 0;
    f |= flags & PACKET_TX_TSO ? RTE_MBUF_F_TX_TCP_SEG : 0;
    m->ol_flags = f;
    m->tx_offload = 0;
    m->l2_len = l2_len & 0x7f;
    m->l3_len = l3_len & 0x1ff;
    m->l4_len = l4_len & 0xff;
}

static inline void packet_tx_segment(struct packet *p, uint32_t payload)
{
    packet_mbuf(p)->tso_segsz = payload & 0xffff;
}

static inline struct packet_pool *packet_pool_of(const struct packet *p)
{
    return (struct packet_pool *)packet_mbuf(p)->pool;
}

struct packet_pool *packet_pool_create(const char *name, uint32_t count, uint32_t room, int socket);
void packet_pool_destroy(struct packet_pool *pool);
uint32_t packet_pool_in_use(const struct packet_pool *pool);
uint32_t packet_pool_outstanding(const struct packet_pool *pool);
uint32_t packet_pool_size(const struct packet_pool *pool);
size_t packet_pool_footprint(uint32_t count, uint32_t room);
void packet_pool_reserve(struct packet_pool *pool, uint32_t n);
uint32_t packet_pool_reserved(const struct packet_pool *pool);

#endif
