/* Frames as pcapng, written by DPDK's library, which knows the devices and the format.  Two things are put right in each block: the time, as
 * rte_pcapng reckons with one rising clock for all queues, which several workers' are not; and the length on the wire, as a frame was cut before. */
#define ALLOW_EXPERIMENTAL_API

#include "internal.h"
#include "packet/tap.h"

#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_pcapng.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BATCH 32

struct admin_pcapng {
    rte_pcapng_t *file;
    struct rte_mempool *pool;
    uint32_t snaplen;
    unsigned count;
    struct rte_mbuf *batch[BATCH];
    struct rte_mbuf source; /* of a frame that lies in a tap's ring */
};

/* The head of an enhanced packet block (draft-ietf-opsawg-pcapng section 4.3), in the writer's byte order. */
struct block {
    uint32_t type, length, interface, time_high, time_low, kept, wire;
};

struct admin_pcapng *admin_pcapng_open(int fd, uint32_t snaplen, char *error, size_t n)
{
    struct admin_pcapng *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return NULL;
    p->snaplen = snaplen;
    p->pool = rte_pktmbuf_pool_create("penstock_capture", 2 * BATCH - 1, 0, 0, (uint16_t)rte_pcapng_mbuf_size(snaplen), SOCKET_ID_ANY);
    /* rte_pcapng closes the descriptor that it was given. */
    int own = p->pool != NULL ? dup(fd) : -1;
    p->file = own >= 0 ? rte_pcapng_fdopen(own, NULL, NULL, "penstock " PENSTOCK_VERSION, NULL) : NULL;
    if (p->file != NULL)
        return p;
    snprintf(error, n, "the capture can't begin: %s: %s", p->pool == NULL ? "no memory for its buffers" : "rte_pcapng", rte_strerror(rte_errno));
    if (own >= 0)
        close(own);
    admin_pcapng_close(p);
    return NULL;
}

bool admin_pcapng_flush(struct admin_pcapng *p)
{
    bool ok = p->count == 0 || rte_pcapng_write_packets(p->file, p->batch, (uint16_t)p->count) >= 0;
    rte_pktmbuf_free_bulk(p->batch, p->count);
    p->count = 0;
    return ok;
}

bool admin_pcapng_add(struct admin_pcapng *p, const struct packet_tap_frame *f, uint64_t unix_ns)
{
    struct rte_mbuf *m = &p->source;
    if (p->count == BATCH && !admin_pcapng_flush(p))
        return false;
    m->buf_addr = (void *)(uintptr_t)f->data;
    m->buf_len = m->data_len = (uint16_t)f->kept;
    m->pkt_len = f->kept;
    m->nb_segs = 1;
    m->port = f->device;
    rte_mbuf_refcnt_set(m, 1);
    struct rte_mbuf *copy = rte_pcapng_copy(f->device, 0, m, p->pool, p->snaplen, rte_get_tsc_cycles(),
                                            f->out ? RTE_PCAPNG_DIRECTION_OUT : RTE_PCAPNG_DIRECTION_IN);
    if (copy == NULL)
        return false;
    struct block *b = rte_pktmbuf_mtod(copy, struct block *);
    b->time_high = (uint32_t)(unix_ns >> 32);
    b->time_low = (uint32_t)unix_ns;
    b->wire = f->length;
    p->batch[p->count++] = copy;
    return true;
}

/* The tap sees all devices: its counts stand at the first. */
void admin_pcapng_finish(struct admin_pcapng *p, uint64_t matched, uint64_t lost)
{
    uint16_t first = rte_eth_find_next(0);
    admin_pcapng_flush(p);
    if (first < RTE_MAX_ETHPORTS)
        rte_pcapng_write_stats(p->file, first, NULL, 0, 0, matched, lost);
}

void admin_pcapng_close(struct admin_pcapng *p)
{
    if (p == NULL)
        return;
    rte_pktmbuf_free_bulk(p->batch, p->count);
    if (p->file != NULL)
        rte_pcapng_close(p->file);
    rte_mempool_free(p->pool);
    free(p);
}
