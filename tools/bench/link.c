/* The wire.  net_ring hands buffers over by pointer, and a sender that keeps one for retransmission would find it edited: so frames are copied,
 * on the generator's side, as a NIC's DMA would.  What the gateway's driver would do per frame (take a fresh buffer for the receive ring,
 * free a sent one) is done here on its pools, with the time read around it.  With several workers a frame goes to the queue of the worker that
 * owns its flow, as with a device whose steering is right.
 *
 * Or a device: then the gateway is somewhere else, and the driver does all that. */
#include "bench.h"

#include <rte_cycles.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <stdio.h>

#define RING  8192
#define BURST 64

const char *link_create(struct link *l, uint32_t workers)
{
    l->workers = workers;
    for (uint32_t w = 0; w < workers; w++) {
        char name[32];
        snprintf(name, sizeof(name), "to_gateway%u", w);
        l->to_gateway[w] = rte_ring_create(name, RING, 0, RING_F_SP_ENQ | RING_F_SC_DEQ);
        snprintf(name, sizeof(name), "from_gateway%u", w);
        l->from_gateway[w] = rte_ring_create(name, RING, 0, RING_F_SP_ENQ | RING_F_SC_DEQ);
        if (l->to_gateway[w] == NULL || l->from_gateway[w] == NULL)
            return NULL;
    }
    int device = rte_eth_from_rings("gateway", l->to_gateway, workers, l->from_gateway, workers, 0);
    if (device < 0)
        return NULL;
    /* Made without an address: the first that is added becomes its own. */
    struct rte_ether_addr mac = {{2, 0, 0, 0, 0, 2}};
    if (rte_eth_dev_mac_addr_add((uint16_t)device, &mac, 0) != 0)
        return NULL;
    return "net_ring_gateway";
}

void link_lcore(uint32_t lcore)
{
    RTE_PER_LCORE(_lcore_id) = lcore;
}

/* A buffer takes some 15 cycles; what took much longer was the machine's. */
static void driver(struct link *l, uint64_t began, uint32_t n)
{
    uint64_t cycles = rte_rdtsc() - began, most = 100 + 200ull * n;
    l->driver_cycles += cycles < most ? cycles : most;
}

static void send_to(struct link *l, uint32_t w, struct packet **frames, uint32_t n)
{
    struct rte_mbuf *fresh[BURST];
    uint32_t us = rte_lcore_id();
    link_lcore(w);
    uint64_t began = rte_rdtsc();
    if (rte_pktmbuf_alloc_bulk((struct rte_mempool *)l->gateway_rx[w], fresh, n) != 0) {
        l->lost += n;
        n = 0;
    }
    driver(l, began, n);
    link_lcore(us);
    for (uint32_t i = 0; i < n; i++)
        memcpy(packet_append((struct packet *)fresh[i], packet_len(frames[i])), packet_data(frames[i]), packet_len(frames[i]));
    uint32_t sent = rte_ring_enqueue_burst(l->to_gateway[w], (void **)fresh, n, NULL);
    for (uint32_t i = sent; i < n; i++, l->lost++)
        rte_pktmbuf_free(fresh[i]);
}

/* As a worker sends: the driver copies, or holds a reference until it has sent. */
static void send_device(struct link *l, struct packet **frames, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        packet_ref(frames[i]); /* the caller gives his up */
        port_tx(l->device, frames[i]);
    }
}

void link_send(struct link *l, struct packet **frames, uint32_t n)
{
    struct packet *mine[BURST];
    if (l->device != NULL) {
        send_device(l, frames, n);
        return;
    }
    if (l->workers == 1) {
        send_to(l, 0, frames, n);
        return;
    }
    for (uint32_t w = 0; w < l->workers; w++) {
        uint32_t k = 0;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t owner = ip_owner(&l->owners, frames[i]);
            if ((owner < l->workers ? owner : 0) == w)
                mine[k++] = frames[i];
        }
        if (k > 0)
            send_to(l, w, mine, k);
    }
}

void link_flush(struct link *l)
{
    if (l->device != NULL)
        port_flush(l->device);
}

static uint32_t receive_from(struct link *l, uint32_t w, struct packet_pool *pool, struct packet **frames, uint32_t max)
{
    struct rte_mbuf *sent[BURST];
    uint32_t kept = 0, us = rte_lcore_id(), n = rte_ring_dequeue_burst(l->from_gateway[w], (void **)sent, max < BURST ? max : BURST, NULL);
    for (uint32_t i = 0; i < n; i++) {
        struct packet *p = packet_alloc(pool);
        if (p == NULL) {
            l->lost++;
            continue;
        }
        memcpy(packet_append(p, sent[i]->data_len), rte_pktmbuf_mtod(sent[i], void *), sent[i]->data_len);
        frames[kept++] = p;
    }
    link_lcore(w);
    uint64_t began = rte_rdtsc();
    rte_pktmbuf_free_bulk(sent, n);
    driver(l, began, n);
    link_lcore(us);
    return kept;
}

uint32_t link_receive(struct link *l, struct packet_pool *pool, struct packet **frames, uint32_t max)
{
    if (l->device != NULL)
        return port_rx(l->device, frames, max);
    uint32_t n = 0;
    for (uint32_t w = 0; w < l->workers && n == 0; w++)
        n = receive_from(l, w, pool, frames, max);
    return n;
}
