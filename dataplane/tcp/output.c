/* Segments out: what a connection may send now, in the order: SYN, what was lost, new data, FIN, probe, bare ACK. */
#include "cc.h"

/* The right edge of what the peer's window takes, counted from `from`; 0: none. */
static uint32_t window_from(const struct tcp_conn *c, uint32_t from)
{
    uint32_t edge = c->snd_una + c->snd_wnd;
    return base_seq_gt(edge, from) ? edge - from : 0;
}

static bool sack_due(const struct tcp_conn *c)
{
    return (c->ooo_head != NULL && tcp_has(c, CONN_SACK)) || tcp_has(c, CONN_DSACK);
}

/* Writes the header in front of the payload. Every segment but a SYN acknowledges all that came. */
static void head(struct tcp_conn *c, struct packet *p, uint32_t seq, uint8_t flags, uint64_t now)
{
    tcp_rx_tune(c, now);
    struct tcp_header h = {.local_port = c->flow.local_port,
                           .remote_port = c->flow.remote_port,
                           .seq = seq,
                           .ack = c->rcv_nxt,
                           .wnd = tcp_rx_window(c),
                           .flags = (uint8_t)(flags | TCP_ACK | (c->ecn & ECN_ECE)),
                           .wscale = TCP_NO_WSCALE,
                           .ts = tcp_has(c, CONN_TS),
                           .tsval = tcp_ts_now(c, now),
                           .tsecr = c->ts_recent};
    struct tcp_range sack[TCP_SACK_BLOCKS];
    if (sack_due(c) && packet_len(p) == 0) {
        h.sack_count = (uint8_t)tcp_sack_tell(c, sack);
        h.sack = sack;
    }
    tcp_header_prepend(p, &h);
    c->last_ack = c->rcv_nxt;
    c->flags &= ~(uint32_t)CONN_ACK_NOW;
    c->delack_at = 0;
    c->flow.ecn = BASE_ECN_NONE;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static struct packet *buffer(struct tcp_conn *c, bool *stuck)
{
    struct packet *p = packet_alloc(c->tcp->pool);
    if (p == NULL) {
        stats_drop(c->tcp->stats, STATS_DROP_TCP_NO_BUFFER);
        *stuck = true;
    }
    return p;
}

static struct packet *bare(struct tcp_conn *c, uint32_t seq, uint8_t flags, uint64_t now, bool *stuck)
{
    struct packet *p = buffer(c, stuck);
    if (p != NULL)
        head(c, p, seq, flags, now);
    return p;
}

static struct packet *syn(struct tcp_conn *c, uint64_t now, bool *stuck)
{
    const struct tcp_config *k = &c->tcp->config;
    struct packet *p = buffer(c, stuck);
    if (p == NULL)
        return NULL;
    bool active = c->state == TCP_SYN_SENT;
    if (active) /* RFC 3168 section 6.1.1.1: a second one does not ask, since the first may have been thrown away for it */
        c->ecn = c->syns == 0 && k->ecn == TCP_ECN_ON ? ECN_ON : 0;
    uint8_t ecn = !(c->ecn & ECN_ON) ? 0 : active ? TCP_ECE | TCP_CWR : TCP_ECE;
    uint32_t wnd = least(least(k->rcvbuf, k->rcvbuf_least), 0xffff); /* RFC 7323 section 2.2: not scaled */
    struct tcp_header h = {.local_port = c->flow.local_port,
                           .remote_port = c->flow.remote_port,
                           .seq = c->iss,
                           .ack = c->rcv_nxt,
                           .wnd = (uint16_t)wnd,
                           .flags = (uint8_t)((active ? TCP_SYN : TCP_SYN | TCP_ACK) | ecn),
                           .mss = tcp_mss_ours(c->tcp, &c->flow),
                           .wscale = active || tcp_has(c, CONN_WS) ? c->rcv_wscale : TCP_NO_WSCALE,
                           .ts = active || tcp_has(c, CONN_TS),
                           .sack_ok = active ? k->sack : tcp_has(c, CONN_SACK),
                           .tsval = tcp_ts_now(c, now),
                           .tsecr = active ? 0 : c->ts_recent};
    tcp_header_prepend(p, &h);
    c->flags &= ~(uint32_t)(CONN_SYN_DUE | CONN_ACK_NOW);
    if (c->syns++ > 0) {
        if (c->backoff > 0) /* by the timer; else the peer's SYN came again, which need not mean that ours was lost */
            c->flags |= CONN_SYN_LOST;
        stats_count(c->tcp->stats, STATS_TCP_RETRANSMITS_SYN, 1);
    }
    c->last_ack = c->rcv_nxt;
    c->last_sent_ns = now;
    if (c->rexmit_at == 0)
        tcp_timer_rexmit(c, now);
    return p;
}

/* [from, from+n) of the buffer p as a segment.  In place where nobody else looks at p and what lies in front of `from` is
 * acknowledged, so that the header may overwrite it; a copy else. */
static struct packet *data(struct tcp_conn *c, struct packet *p, uint32_t from, uint32_t n, uint64_t now, bool *stuck)
{
    struct tcp_buf *b = tcp_buf(p);
    bool lost = (b->flags & BUF_LOST) != 0;
    uint32_t at = from - b->seq, was = lost ? tcp_tx_outstanding(c, b) : 0;
    struct packet *out;
    if (!packet_shared(p) && (at == 0 || from == c->snd_una)) {
        packet_reset(p); /* forgets the headers of an earlier transmission */
        packet_append(p, at + n);
        packet_adj(p, at);
        packet_ref(p);
        out = p;
    } else {
        out = buffer(c, stuck);
        if (out == NULL)
            return NULL;
        memcpy(packet_append(out, n), b->data + at, n);
    }
    uint8_t flags = 0;
    if (from + n == c->snd_end) {
        flags |= TCP_PSH;
        if (tcp_has(c, CONN_FIN_SENT) || (tcp_has(c, CONN_FIN_QUEUED) && window_from(c, from) > n)) {
            flags |= TCP_FIN;
            c->flags = (c->flags & ~(uint32_t)CONN_FIN_LOST) | CONN_FIN_SENT;
        }
    }
    head(c, out, from, flags, now);
    b->flags |= BUF_SENT;
    b->sent_ns = now;
    if (tcp_has(c, CONN_RECOVERY))
        c->prr_out += n;
    if (c->snd_nxt == c->snd_una && !tcp_has(c, CONN_PERSIST))
        c->progress_ns = now;
    uint32_t end = from + n + ((flags & TCP_FIN) != 0);
    if (base_seq_gt(end, c->snd_nxt))
        c->snd_nxt = end;
    if (lost) /* sent in part until now: what is outstanding of it has grown, and all of that is held for lost */
        c->gone_bytes += tcp_tx_outstanding(c, b) - was;
    while (c->snd_cur != NULL && tcp_buf(c->snd_cur)->len > 0 &&
           base_seq_le(tcp_buf(c->snd_cur)->seq + tcp_buf(c->snd_cur)->len, c->snd_nxt))
        c->snd_cur = tcp_buf(c->snd_cur)->next;
    c->last_sent_ns = now;
    bool more = tcp_has(c, CONN_TLP_TIMER) && from - c->snd_una < 2 * c->mss && end - c->snd_una >= 2 * c->mss;
    if (c->rexmit_at == 0 || more) /* more: the probe need not wait for a delayed ACK any longer */
        tcp_timer_rexmit(c, now);
    return out;
}

static struct packet *fin(struct tcp_conn *c, uint64_t now, bool *stuck)
{
    struct packet *p = bare(c, c->snd_end, TCP_FIN, now, stuck);
    if (p == NULL)
        return NULL;
    if (c->snd_nxt == c->snd_una && !tcp_has(c, CONN_PERSIST))
        c->progress_ns = now;
    c->flags = (c->flags & ~(uint32_t)CONN_FIN_LOST) | CONN_FIN_SENT;
    c->snd_nxt = c->snd_end + 1;
    c->last_sent_ns = now;
    if (c->rexmit_at == 0)
        tcp_timer_rexmit(c, now);
    return p;
}

static struct packet *first_lost(struct tcp_conn *c)
{
    struct packet *p = c->snd_rtx != NULL ? c->snd_rtx : c->snd_head;
    while (p != NULL && !(tcp_buf(p)->flags & BUF_LOST))
        p = tcp_buf(p)->next;
    c->snd_rtx = p;
    return p;
}

/* A lost buffer that was sent only in part takes the rest of itself along. */
static struct packet *again(struct tcp_conn *c, uint64_t now, bool *stuck)
{
    struct packet *p = first_lost(c);
    assert(p != NULL);
    struct tcp_buf *b = tcp_buf(p);
    uint32_t from = base_seq_max(b->seq, c->snd_una);
    uint32_t n = least(least(b->seq + b->len - from, c->mss), window_from(c, from));
    if (n == 0 || (!tcp_has(c, CONN_FAST_DUE) && tcp_in_flight(c) > 0 && tcp_in_flight(c) + n > c->cwnd))
        return NULL;
    uint64_t was_sent_ns = b->sent_ns;
    struct packet *out = data(c, p, from, n, now, stuck);
    if (out == NULL)
        return NULL;
    tcp_undo_retransmit(c, from + n, was_sent_ns, now);
    c->gone_bytes -= tcp_tx_outstanding(c, b);
    b->flags = (b->flags & ~(uint32_t)BUF_LOST) | BUF_RETX;
    c->flags &= ~(uint32_t)CONN_FAST_DUE;
    c->retransmits++;
    return out;
}

/* RFC 5681 section 3.1, RFC 3042: two more for the first two duplicate ACKs (with SACK, what they tell leaves the flight). */
static uint32_t allowance(const struct tcp_conn *c)
{
    uint32_t dup = tcp_has(c, CONN_RECOVERY | CONN_LOSS | CONN_SACK) ? 0 : least(c->dupacks, 2);
    return c->cwnd + dup * c->mss;
}

/* RFC 3168: new data, and new data alone, may be marked; the first of it after a reduction tells the peer. */
static void ecn_capable(struct tcp_conn *c, struct packet *out)
{
    c->flow.ecn = BASE_ECN_ECT0;
    packet_data(out)[13] |= c->ecn & ECN_CWR;
    c->ecn &= (uint8_t)~ECN_CWR;
}

/* RFC 9293 section 3.8.6.2.1, without Nagle: a whole buffer, or half of the largest window there ever was. */
static struct packet *fresh(struct tcp_conn *c, uint64_t now, bool *stuck)
{
    struct packet *p = c->snd_cur;
    uint32_t left = tcp_unsent(c), n;
    if (p == NULL || left == 0)
        return NULL;
    struct tcp_buf *b = tcp_buf(p);
    n = least(b->seq + b->len - c->snd_nxt, c->mss);
    uint32_t window = window_from(c, c->snd_nxt), flight = tcp_in_flight(c);
    if (window < n) {
        if (window == 0 || window < c->max_wnd / 2)
            return NULL;
        n = window;
    }
    if (flight == 0 && now - c->last_sent_ns > c->rto_ns)
        tcp_cc_idle(c, now - c->last_sent_ns);
    if (flight > 0 && flight + n > allowance(c))
        return NULL;
    bool bulk = left > PACE_QUEUE && flight > 0;
    if (bulk && tcp_pace_waits(c, now))
        return NULL;
    struct packet *out = data(c, p, c->snd_nxt, n, now, stuck);
    if (bulk && out != NULL)
        tcp_pace_sent(c, n, now);
    if ((c->ecn & ECN_ON) && out != NULL)
        ecn_capable(c, out);
    return out;
}

/* RFC 9293 section 3.8.6.1: one byte past a closed window, or all that a window too small to be worth it takes. */
static struct packet *probe(struct tcp_conn *c, uint64_t now, bool *stuck)
{
    struct packet *p = c->snd_una != c->snd_nxt ? c->snd_head : c->snd_cur, *out;
    uint32_t from = c->snd_una != c->snd_nxt ? c->snd_una : c->snd_nxt;
    c->flags &= ~(uint32_t)CONN_PROBE_DUE;
    if (p != NULL && base_seq_lt(from, tcp_buf(p)->seq + tcp_buf(p)->len)) {
        struct tcp_buf *b = tcp_buf(p);
        uint32_t n = least(b->seq + b->len - from, least(c->mss, window_from(c, from)));
        out = data(c, p, from, n == 0 ? 1 : n, now, stuck);
        if (out != NULL)
            b->flags |= BUF_RETX;
    } else if (tcp_has(c, CONN_FIN_QUEUED)) {
        out = fin(c, now, stuck);
    } else if (c->keeps > 0 && c->snd_una == c->snd_nxt) { /* section 3.8.4: an old number, which must be answered */
        out = bare(c, c->snd_nxt - 1, 0, now, stuck);
    } else {
        return NULL;
    }
    if (out == NULL)
        c->flags |= CONN_PROBE_DUE;
    else
        stats_count(c->tcp->stats, STATS_TCP_PROBES, 1);
    return out;
}

/* RFC 8985 section 7.3: something new, else the last segment again, whatever the window of congestion says. */
static struct packet *tail_probe(struct tcp_conn *c, uint64_t now, bool *stuck)
{
    struct packet *p = c->snd_cur, *out = NULL;
    uint32_t n = tcp_unsent(c), from = c->snd_nxt;
    c->flags &= ~(uint32_t)CONN_TLP_DUE;
    if (tcp_lost_bytes(c) > 0) { /* held for lost since the probe's time came: repaired at once, there is nothing to ask */
        c->flags &= ~(uint32_t)CONN_TLP_OUT;
        return NULL;
    }
    if (p != NULL && n > 0 && window_from(c, from) >= (n = least(tcp_buf(p)->seq + tcp_buf(p)->len - from, c->mss))) {
        out = data(c, p, from, n, now, stuck);
    } else {
        p = c->snd_head;
        while (p != NULL && tcp_buf(p)->next != NULL && (tcp_buf(tcp_buf(p)->next)->flags & BUF_SENT))
            p = tcp_buf(p)->next;
        n = p == NULL || (tcp_buf(p)->flags & (BUF_LOST | BUF_SACKED)) ? 0 : least(tcp_tx_outstanding(c, tcp_buf(p)), c->mss);
        if (n == 0) {
            c->flags &= ~(uint32_t)CONN_TLP_OUT;
            return NULL;
        }
        from = tcp_has(c, CONN_FIN_SENT) ? c->snd_end - n : c->snd_nxt - n;
        out = data(c, p, from, n, now, stuck);
        if (out != NULL) {
            tcp_buf(p)->flags |= BUF_RETX;
            c->tlp_again = true;
            c->retransmits++;
        }
    }
    if (out == NULL) {
        c->flags |= CONN_TLP_DUE;
        return NULL;
    }
    c->tlp_end = c->snd_nxt;
    stats_count(c->tcp->stats, STATS_TCP_RETRANSMITS_TLP, 1);
    return out;
}

static struct packet *payload(struct tcp_conn *c, uint64_t now, bool *stuck)
{
    struct packet *p = NULL;
    if (tcp_has(c, CONN_PROBE_DUE))
        return probe(c, now, stuck);
    if (tcp_has(c, CONN_TLP_DUE)) {
        p = tail_probe(c, now, stuck);
        if (p != NULL || *stuck)
            return p;
    }
    if (tcp_lost_bytes(c) > 0)
        return again(c, now, stuck); /* nothing new before it */
    if (tcp_has(c, CONN_FIN_LOST)) {
        c->retransmits++;
        tcp_undo_retransmit(c, c->snd_end + 1, c->last_sent_ns, now);
        c->flags &= ~(uint32_t)CONN_FAST_DUE;
        return fin(c, now, stuck);
    }
    p = fresh(c, now, stuck);
    if (p != NULL || *stuck)
        return p;
    if (tcp_has(c, CONN_FIN_QUEUED) && !tcp_has(c, CONN_FIN_SENT) && c->snd_nxt == c->snd_end && window_from(c, c->snd_nxt) > 0)
        return fin(c, now, stuck);
    /* Held back by the peer's window alone: the probe timer runs. */
    bool waiting = tcp_unsent(c) > 0 || (tcp_has(c, CONN_FIN_QUEUED) && !tcp_has(c, CONN_FIN_SENT));
    if (waiting && c->rexmit_at == 0) {
        c->progress_ns = now;
        tcp_timer_rexmit(c, now);
    }
    return NULL;
}

/* RFC 9293 section 3.8.6.3: every second full segment at once, the rest by timer unless data carries it. */
static bool ack_due(struct tcp_conn *c, uint64_t now)
{
    uint32_t owed = c->rcv_nxt - c->last_ack;
    if (tcp_has(c, CONN_ACK_NOW) || owed >= 2 * c->rcv_mss || tcp_rx_update_due(c))
        return true;
    if (owed > 0 && c->delack_at == 0) {
        c->delack_at = now + c->tcp->config.delack_ns;
        tcp_timer_arm(c);
    }
    return false;
}

struct packet *tcp_segment_next(struct tcp_conn *c, uint64_t now, bool *stuck)
{
    struct packet *p = NULL;
    *stuck = false;
    if (tcp_has(c, CONN_SYN_DUE))
        return syn(c, now, stuck);
    if (c->state == TCP_CLOSED || c->state == TCP_SYN_SENT)
        return NULL;
    if (tcp_has(c, CONN_ACK_NOW) && sack_due(c)) /* no room for blocks on segments with data: they go in front of it */
        return bare(c, c->snd_nxt, 0, now, stuck);
    if (c->state != TCP_SYN_RECEIVED)
        p = payload(c, now, stuck);
    if (p != NULL || *stuck)
        return p;
    return ack_due(c, now) ? bare(c, c->snd_nxt, 0, now, stuck) : NULL;
}

static struct packet *reply(struct tcp *t, const struct tcp_reply *r, uint64_t now)
{
    struct packet *p = packet_alloc(t->pool);
    if (p == NULL) {
        stats_drop(t->stats, STATS_DROP_TCP_NO_BUFFER);
        return NULL;
    }
    struct tcp_header h = {.local_port = r->flow.local_port,
                           .remote_port = r->flow.remote_port,
                           .seq = r->seq,
                           .ack = r->ack,
                           .wnd = r->wnd,
                           .flags = r->flags,
                           .wscale = r->mss != 0 ? r->wscale : TCP_NO_WSCALE,
                           .mss = r->mss,
                           .sack_ok = r->sack_ok,
                           .ts = r->ts,
                           .tsval = (uint32_t)(now >> 20),
                           .tsecr = r->tsecr};
    if (r->cookie != 0)
        h.tsval = tcp_cookie_ts(h.tsval, r->cookie);
    if (r->ts)
        h.tsval += tcp_ts_offset(t, &r->flow);
    tcp_header_prepend(p, &h);
    if (r->flags & TCP_RST)
        stats_count(t->stats, STATS_TCP_RSTS_OUT, 1);
    return p;
}

/* Answers without a connection are dropped where there is no buffer for them: the peer asks again. */
static uint32_t replies(struct tcp *t, struct tcp_out *out, uint32_t max, uint64_t now)
{
    uint32_t n = 0;
    while (n < max && t->reply_head != t->reply_tail) {
        const struct tcp_reply *r = &t->replies[t->reply_head++ % TCP_REPLIES];
        out[n].packet = reply(t, r, now);
        out[n].flow = r->flow;
        n += out[n].packet != NULL;
    }
    return n;
}

uint32_t tcp_output(struct tcp *t, struct tcp_out *out, uint32_t max, uint64_t now)
{
    uint32_t n = replies(t, out, max, now);
    struct base_list waiting;
    base_list_init(&waiting);
    while (n < max && !base_list_empty(&t->pending)) {
        struct tcp_conn *c = base_container(t->pending.next, struct tcp_conn, pending_link);
        bool stuck = false;
        struct packet *p = NULL;
        tcp_rx_keep(c);
        while (n < max && (p = tcp_segment_next(c, now, &stuck)) != NULL)
            out[n++] = (struct tcp_out){p, c->flow};
        if (p != NULL)
            break; /* out is full, the connection may have more */
        base_list_remove(&c->pending_link);
        if (stuck)
            base_list_push_back(&waiting, &c->pending_link);
        else if (tcp_has(c, CONN_WANT))
            tcp_tx_want(c);
    }
    base_list_splice_back(&t->pending, &waiting);
    return n;
}
