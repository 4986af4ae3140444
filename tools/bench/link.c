/* The wire.  net_ring hands buffers over by pointer, and a sender that keeps one for retransmission would find it edited: so frames are copied,
 * on the generator's side, as a NIC's DMA would.  What the gateway's driver would do per frame (take a fresh buffer for the receive ring,
 * free a sent one) is done here on its pools, with the time read around it. */
#include "bench.h"

#include <rte_cycles.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#define RING 8192

const char *link_create(struct link *l)
{
    l->to_gateway = rte_ring_create("to_gateway", RING, 0, RING_F_SP_ENQ | RING_F_SC_DEQ);
    l->from_gateway = rte_ring_create("from_gateway", RING, 0, RING_F_SP_ENQ | RING_F_SC_DEQ);
    if (l->to_gateway == NULL || l->from_gateway == NULL)
        return NULL;
    int device = rte_eth_from_rings("gateway", &l->to_gateway, 1, &l->from_gateway, 1, 0);
    if (device < 0)
        return NULL;
    /* Made without an address: the first that is added becomes its own. */
    struct rte_ether_addr mac = {{2, 0, 0, 0, 0, 2}};
    if (rte_eth_dev_mac_addr_add((uint16_t)device, &mac, 0) != 0)
        return NULL;
    return "net_ring_gateway";
}

/* A buffer takes some 15 cycles; what took much longer was the machine's. */
static void driver(struct link *l, uint64_t began, uint32_t n)
{
    uint64_t cycles = rte_rdtsc() - began, most = 100 + 200ull * n;
    l->driver_cycles += cycles < most ? cycles : most;
}

void link_send(struct link *l, struct packet **frames, uint32_t n)
{
    struct rte_mbuf *fresh[64];
    uint64_t began = rte_rdtsc();
    if (rte_pktmbuf_alloc_bulk((struct rte_mempool *)l->gateway_rx, fresh, n) != 0) {
        l->lost += n;
        n = 0;
    }
    driver(l, began, n);
    for (uint32_t i = 0; i < n; i++)
        memcpy(packet_append((struct packet *)fresh[i], packet_len(frames[i])), packet_data(frames[i]), packet_len(frames[i]));
    uint32_t sent = rte_ring_enqueue_burst(l->to_gateway, (void **)fresh, n, NULL);
    for (uint32_t i = sent; i < n; i++, l->lost++)
        rte_pktmbuf_free(fresh[i]);
}

uint32_t link_receive(struct link *l, struct packet_pool *pool, struct packet **frames, uint32_t max)
{
    struct rte_mbuf *sent[64];
    uint32_t kept = 0, n = rte_ring_dequeue_burst(l->from_gateway, (void **)sent, max < 64 ? max : 64, NULL);
    for (uint32_t i = 0; i < n; i++) {
        struct packet *p = packet_alloc(pool);
        if (p == NULL) {
            l->lost++;
            continue;
        }
        memcpy(packet_append(p, sent[i]->data_len), rte_pktmbuf_mtod(sent[i], void *), sent[i]->data_len);
        frames[kept++] = p;
    }
    uint64_t began = rte_rdtsc();
    rte_pktmbuf_free_bulk(sent, n);
    driver(l, began, n);
    return kept;
}
