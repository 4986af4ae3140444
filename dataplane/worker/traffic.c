/* Frames in and out.  With one worker a burst goes straight to ip; with several each frame goes to its flow's owner first, so that
 * nobody ever sees a segment of another's connection. */
#include "internal.h"

#define NEWS_A_TURN 32 /* ARP and ND frames copied to the other workers in a turn: a flood of them shall not fill the rings */

/* True: the frame is another's, and on its way there. */
static bool handed_over(struct worker *w, uint16_t port, struct packet *p, uint32_t owner)
{
    if (owner >= w->workers || owner == w->index)
        return false;
    port_handover_frame(w->handover, owner, p, port);
    return true;
}

/* A segment on its way from ip to tcp. */
struct arrival {
    struct base_flow flow;
    struct packet *packet;
    uint32_t hint;
};

/* True: a segment for tcp. */
static bool arrive(struct worker *w, uint16_t port, struct packet *p, uint64_t now, struct arrival *a)
{
    struct ip_result r;
    enum ip_verdict v = ip_input(w->ip, port, p, now, &r);
    if (v == IP_WHOLE) { /* its fragments met where (source, destination, identification) sends them, its flow may live elsewhere */
        p = r.whole;
        if (w->handover != NULL && handed_over(w, port, p, ip_owner(&w->owners, port, p)))
            return false;
        v = ip_input(w->ip, port, p, now, &r);
    }
    assert(v != IP_WHOLE);
    if (v == IP_TCP_ERROR)
        tcp_icmp_error(w->serve.tcp, &r.flow, r.seq, r.hard, r.mtu, now);
    if (v != IP_TCP)
        return false;
    *a = (struct arrival){r.flow, p, tcp_expect(w->serve.tcp, &r.flow)};
    return true;
}

#define AHEAD 4 /* segments */

/* All through ip first, then all through tcp: what the second needs of each is on its way from memory while others are worked on. */
static void feed(struct worker *w, uint16_t port, struct packet *const *frames, uint32_t n, uint64_t now)
{
    struct arrival a[PORT_BURST];
    uint32_t count = 0;
    for (uint32_t k = 0; k < n; k++)
        count += arrive(w, port, frames[k], now, &a[count]);
    for (uint32_t k = 0; k < count && k < AHEAD; k++)
        tcp_expect_conn(w->serve.tcp, a[k].hint);
    for (uint32_t k = 0; k < count; k++) {
        if (k + AHEAD < count)
            tcp_expect_conn(w->serve.tcp, a[k + AHEAD].hint);
        tcp_input(w->serve.tcp, &a[k].flow, a[k].packet, now);
    }
}

/* True: it is ours. */
static bool steer(struct worker *w, uint16_t port, struct packet *p, uint32_t *news)
{
    uint32_t owner = ip_owner(&w->owners, port, p);
    if (handed_over(w, port, p, owner))
        return false;
    if (owner == IP_OWNER_ALL && ++*news <= NEWS_A_TURN)
        port_handover_news(w->handover, p, port);
    return true;
}

static uint32_t receive_port(struct worker *w, uint16_t port, uint32_t *news, uint64_t now)
{
    struct packet *burst[PORT_BURST];
    uint32_t n = port_rx(w->queue[port], burst, PORT_BURST), ours = n;
    if (w->handover != NULL) {
        ours = 0;
        for (uint32_t k = 0; k < n; k++)
            if (steer(w, port, burst[k], news))
                burst[ours++] = burst[k];
    }
    feed(w, port, burst, ours, now);
    return n;
}

static void accept_item(struct worker *w, const struct port_handover_item *item, uint64_t now)
{
    switch ((enum port_handover_kind)item->kind) {
    case PORT_HANDOVER_FRAME:
        feed(w, item->port, &item->packet, 1, now);
        break;
    case PORT_HANDOVER_NEWS:
        ip_learn(w->ip, item->port, item->packet, now);
        break;
    case PORT_HANDOVER_SEND:
        port_tx(w->queue[item->port], item->packet);
        break;
    }
}

/* What the others have handed over: a burst of each. */
static uint32_t receive_others(struct worker *w, uint64_t now)
{
    uint32_t total = 0;
    for (uint32_t from = 0; from < w->workers; from++) {
        struct port_handover_item items[PORT_BURST];
        uint32_t n = from != w->index ? port_handover_take(w->handover, from, items, PORT_BURST) : 0;
        for (uint32_t k = 0; k < n; k++)
            accept_item(w, &items[k], now);
        total += n;
    }
    return total;
}

uint32_t worker_receive(struct worker *w, uint64_t now)
{
    uint32_t total = 0, news = 0;
    for (uint32_t i = 0; i < w->port_count; i++)
        if (w->queue[i] != NULL)
            total += receive_port(w, (uint16_t)i, &news, now);
    if (w->handover == NULL)
        return total;
    port_handover_flush(w->handover); /* before our own work: the others may begin with theirs */
    return total + receive_others(w, now);
}

static void send(struct worker *w, uint16_t port, struct packet *p)
{
    if (w->queue[port] != NULL)
        port_tx(w->queue[port], p);
    else
        port_handover_send(w->handover, w->via[port], p, port);
}

#define JOIN_LEAST 1024 /* bytes in the first of two segments that are worth it */
#define JOIN_BYTES 65000

/* What a device can cut up goes to it in one piece. */
static inline uint32_t joined(const struct worker *w, struct tcp_out *out, uint32_t n)
{
    if (n < 2 || packet_len(out[0].packet) < JOIN_LEAST || !ip_takes_joined(w->ip, &out[0].flow))
        return 1;
    return tcp_join(out, n, JOIN_BYTES, w->info[out[0].flow.port].joined);
}

uint32_t worker_transmit(struct worker *w, uint64_t now)
{
    struct tcp_out out[64];
    uint32_t total = 0;
    for (uint32_t n; (n = tcp_output(w->serve.tcp, out, 64, now)) > 0;) {
        total += n;
        for (uint32_t i = 0, k; i < n; i += k) {
            k = joined(w, &out[i], n - i);
            if (ip_output(w->ip, &out[i].flow, out[i].packet, now))
                send(w, out[i].flow.port, out[i].packet);
        }
    }
    uint16_t port;
    for (struct packet *p; (p = ip_output_next(w->ip, &port)) != NULL; total++)
        send(w, port, p);
    for (uint32_t i = 0; i < w->port_count; i++)
        if (w->queue[i] != NULL)
            port_flush(w->queue[i]);
    if (w->handover != NULL)
        port_handover_flush(w->handover);
    return total;
}

void worker_finish_others(struct worker *w)
{
    for (uint32_t from = 0; from < w->workers && w->handover != NULL; from++) {
        struct port_handover_item item;
        while (from != w->index && port_handover_take(w->handover, from, &item, 1) > 0) {
            if (item.kind == PORT_HANDOVER_SEND)
                port_tx(w->queue[item.port], item.packet);
            else
                packet_free(item.packet);
        }
    }
    for (uint32_t i = 0; i < w->port_count; i++)
        if (w->queue[i] != NULL)
            port_flush(w->queue[i]);
}
