/* Bursts: receive, buffer, send.  The hot half of the room. */
#include "internal.h"

/* A frame in several segments becomes one buffer, or is dropped. */
static struct packet *linear(struct port_queue *q, struct rte_mbuf *m)
{
    struct packet *p = packet_alloc(q->pool);
    if (p == NULL || m->pkt_len > packet_tailroom(p)) {
        stats_drop(q->stats, p == NULL ? STATS_DROP_PORT_NO_BUFFER : STATS_DROP_PORT_RX_SCATTERED);
        if (p != NULL)
            packet_free(p);
        rte_pktmbuf_free(m);
        return NULL;
    }
    struct rte_mbuf *to = packet_mbuf(p);
    to->ol_flags = m->ol_flags;
    to->vlan_tci = m->vlan_tci;
    to->hash = m->hash;
    for (const struct rte_mbuf *s = m; s != NULL; s = s->next)
        memcpy(packet_append(p, s->data_len), rte_pktmbuf_mtod(s, const void *), s->data_len);
    rte_pktmbuf_free(m);
    return p;
}

void port_tap(struct port_queue *q, struct packet_tap *tap)
{
    q->tap = tap;
}

static void show(struct port_queue *q, struct packet *const *packets, uint32_t n, bool out)
{
    uint32_t lost = packet_tap_see(q->tap, packets, n, q->device, out);
    stats_add(&q->stats->drops[STATS_DROP_CAPTURE_FULL], lost);
}

uint32_t port_rx(struct port_queue *q, struct packet **packets, uint32_t max)
{
    struct rte_mbuf **m = (struct rte_mbuf **)packets;
    uint32_t n = rte_eth_rx_burst(q->device, q->index, m, (uint16_t)(max < PORT_BURST ? max : PORT_BURST));
    if (n == 0)
        return 0;
    uint64_t bytes = 0;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (i + 3 < n)
            __builtin_prefetch(rte_pktmbuf_mtod(m[i + 3], void *));
        bytes += m[i]->pkt_len;
        struct packet *p = m[i]->nb_segs == 1 ? (struct packet *)m[i] : linear(q, m[i]);
        if (p != NULL)
            packets[kept++] = p;
    }
    if (q->tap != NULL)
        show(q, packets, kept, false);
    stats_count(q->stats, STATS_PORT_RX_PACKETS, n);
    stats_count(q->stats, STATS_PORT_RX_BYTES, bytes);
    return kept;
}

/* A driver that queues for hardware keeps sent buffers until it needs their descriptors: on a queue that has fallen
 * silent that is for ever. */
static void quiet(struct port_queue *q)
{
    if (!q->cleanup || !q->sent || ++q->quiet < PORT_CLEANUP_TURNS)
        return;
    q->quiet = 0;
    q->sent = rte_eth_tx_done_cleanup(q->device, q->index, 0) > 0;
}

/* Sends or frees at least one frame of the n, unless the device is full.  Returns how many are dealt with. */
static uint32_t send_some(struct port_queue *q, struct rte_mbuf **m, uint32_t n)
{
    uint32_t ready = n;
    if (q->prepare) {
        ready = rte_eth_tx_prepare(q->device, q->index, m, (uint16_t)n);
        if (ready == 0) { /* the driver refuses the first one for good */
            rte_pktmbuf_free(m[0]);
            stats_drop(q->stats, STATS_DROP_PORT_TX_REFUSED);
            return 1;
        }
    }
    uint64_t bytes = 0, supers = 0;
    for (uint32_t i = 0; i < ready; i++) {
        bytes += m[i]->pkt_len;
        supers += m[i]->nb_segs > 1;
    }
    uint32_t sent = rte_eth_tx_burst(q->device, q->index, m, (uint16_t)ready);
    for (uint32_t i = sent; i < ready; i++)
        bytes -= m[i]->pkt_len;
    if (supers > 0)
        stats_count(q->stats, STATS_PORT_TX_SUPERS, supers);
    stats_count(q->stats, STATS_PORT_TX_PACKETS, sent);
    stats_count(q->stats, STATS_PORT_TX_BYTES, bytes);
    return sent;
}

void port_flush(struct port_queue *q)
{
    struct rte_mbuf **m = (struct rte_mbuf **)q->tx;
    uint32_t n = q->waiting, done = 0;
    if (n == 0) {
        quiet(q);
        return;
    }
    if (q->tap != NULL)
        show(q, q->tx, n, true);
    for (int tries = 0; done < n && tries < PORT_TX_TRIES;) {
        uint32_t k = send_some(q, m + done, n - done);
        done += k;
        tries += k == 0;
    }
    for (uint32_t i = done; i < n; i++) {
        rte_pktmbuf_free(m[i]);
        stats_drop(q->stats, STATS_DROP_PORT_TX_FULL);
    }
    q->waiting = 0;
    q->quiet = 0;
    q->sent = true;
}

void port_tx(struct port_queue *q, struct packet *p)
{
    q->tx[q->waiting++] = p;
    if (q->waiting == PORT_BURST)
        port_flush(q);
}
