/* What arrives: the queue of in-order packets that the user reads, the queue of packets ahead of a hole, and the window that
 * follows from them.
 *
 *     rx:   rx_head ... rx_tail   contiguous, ends at rcv_nxt (the FIN apart); `unread` bytes
 *     ooo:  ooo_head ...          sorted, disjoint, all within (rcv_nxt, rcv_adv]; at most config.reassembly buffers
 *
 * Of bytes that arrive twice with different content the first ones stand, unless all of a buffer that waits is in the one that comes.  Packets stay
 * where the device put them, headers cut off in place; those that outlive the turn pass through packet_keep(). */
#include "conn.h"

static void push_in_order(struct tcp_conn *c, struct packet *p, uint32_t len)
{
    struct tcp_buf *b = tcp_buf(p);
    b->next = NULL;
    b->seq = c->rcv_nxt;
    b->len = len;
    if (c->rx_tail != NULL)
        tcp_buf(c->rx_tail)->next = p;
    else
        c->rx_head = p;
    c->rx_tail = p;
    c->rcv_nxt += len;
    c->unread += len;
    c->bytes_in += len;
}

void tcp_rx_in_order(struct tcp_conn *c, struct packet *p, uint32_t len)
{
    push_in_order(c, p, len);
    if (c->rx_fresh == NULL)
        c->rx_fresh = p;
    if (len > c->rcv_mss)
        c->rcv_mss = len;
    tcp_event_post(c, TCP_EVENT_READABLE);
    tcp_pend(c);
}

static void ooo_drop(struct tcp_conn *c, struct packet *p)
{
    c->ooo_bytes -= tcp_buf(p)->len;
    c->ooo_count--;
    packet_free(p);
}

/* The hole before it is closed: what of ooo has become contiguous moves over. */
static void ooo_pull(struct tcp_conn *c)
{
    while (c->ooo_head != NULL && base_seq_le(tcp_buf(c->ooo_head)->seq, c->rcv_nxt)) {
        struct packet *p = c->ooo_head;
        struct tcp_buf *b = tcp_buf(p);
        c->ooo_head = b->next;
        c->ooo_bytes -= b->len;
        c->ooo_count--;
        assert(b->seq == c->rcv_nxt); /* disjoint, and new data is cut where stored data begins */
        push_in_order(c, p, b->len);
        if (c->rx_fresh == NULL)
            c->rx_fresh = p;
    }
}

static void cut_front(struct packet *p, uint32_t *seq, uint32_t *len, uint32_t n)
{
    packet_adj(p, n);
    *seq += n;
    *len -= n;
}

static void cut_back(struct packet *p, uint32_t *len, uint32_t n)
{
    packet_trim(p, n);
    *len -= n;
}

/* At the limit the farthest one yields to a nearer one: what fills the hole must not be refused for what waits behind it. */
static bool ooo_make_room(struct tcp_conn *c, uint32_t seq)
{
    if (c->ooo_count < c->tcp->config.reassembly)
        return true;
    stats_drop(c->tcp->stats, STATS_DROP_TCP_REASSEMBLY_FULL);
    struct packet **at = &c->ooo_head;
    while (*at != NULL && tcp_buf(*at)->next != NULL)
        at = &tcp_buf(*at)->next;
    if (*at == NULL || base_seq_le(tcp_buf(*at)->seq, seq))
        return false;
    struct packet *last = *at;
    *at = NULL;
    tcp_sack_trim(c, tcp_buf(last)->seq);
    ooo_drop(c, last);
    return true;
}

/* [seq, seq+len) reaches over what waits at *at.  What lies wholly in it came twice, and one buffer says it all: a sender that joins what it sends again, as
 * Linux does, would else have to send the rest once more.  To what begins in it and ends beyond, it yields its end. */
static void ooo_overlap(struct tcp_conn *c, struct packet **at, struct packet *p, uint32_t seq, uint32_t *len)
{
    while (*at != NULL && base_seq_lt(tcp_buf(*at)->seq, seq + *len)) {
        struct packet *waits = *at;
        uint32_t from = tcp_buf(waits)->seq, end = from + tcp_buf(waits)->len;
        bool beyond = base_seq_gt(end, seq + *len);
        tcp_sack_twice(c, from, beyond ? seq + *len : end);
        if (beyond) {
            cut_back(p, len, seq + *len - from);
            return;
        }
        *at = tcp_buf(waits)->next;
        ooo_drop(c, waits);
    }
}

static enum tcp_rx ooo_insert(struct tcp_conn *c, uint32_t seq, uint32_t len, struct packet *p)
{
    if (!ooo_make_room(c, seq))
        return TCP_RX_DROPPED;
    struct packet **at = &c->ooo_head;
    while (*at != NULL && base_seq_le(tcp_buf(*at)->seq, seq)) {
        uint32_t end = tcp_buf(*at)->seq + tcp_buf(*at)->len;
        if (base_seq_gt(end, seq)) {
            uint32_t over = end - seq;
            tcp_sack_twice(c, seq, seq + (over < len ? over : len));
            if (over >= len)
                return TCP_RX_DROPPED;
            cut_front(p, &seq, &len, over);
        }
        at = &tcp_buf(*at)->next;
    }
    p = packet_keep(p, c->tcp->pool);
    if (p == NULL) {
        stats_drop(c->tcp->stats, STATS_DROP_TCP_NO_BUFFER);
        return TCP_RX_TAKEN;
    }
    ooo_overlap(c, at, p, seq, &len);
    *tcp_buf(p) = (struct tcp_buf){.next = *at, .seq = seq, .len = len};
    *at = p;
    c->ooo_bytes += len;
    c->ooo_count++;
    if (tcp_has(c, CONN_SACK))
        tcp_sack_arrived(c, seq, len);
    return TCP_RX_TAKEN;
}

/* Nothing waits from `end` on. */
static void ooo_cut(struct tcp_conn *c, uint32_t end)
{
    struct packet **at = &c->ooo_head;
    while (*at != NULL && base_seq_le(tcp_buf(*at)->seq + tcp_buf(*at)->len, end))
        at = &tcp_buf(*at)->next;
    if (*at != NULL && base_seq_lt(tcp_buf(*at)->seq, end)) {
        uint32_t over = tcp_buf(*at)->seq + tcp_buf(*at)->len - end;
        cut_back(*at, &tcp_buf(*at)->len, over);
        c->ooo_bytes -= over;
        at = &tcp_buf(*at)->next;
    }
    while (*at != NULL) {
        struct packet *p = *at;
        *at = tcp_buf(p)->next;
        ooo_drop(c, p);
    }
    tcp_sack_trim(c, end);
}

/* A FIN counts where all before it has come; the first one stands.  What a peer that contradicts itself had sent beyond it is not waited for. */
static void fin_note(struct tcp_conn *c, uint32_t seq)
{
    if (tcp_has(c, CONN_FIN_SEEN))
        return;
    c->flags |= CONN_FIN_SEEN;
    c->rcv_fin = seq;
    if (c->ooo_head != NULL)
        ooo_cut(c, seq);
}

/* Cuts what is old, beyond the window or beyond the FIN. False: nothing is left. */
static bool trim(const struct tcp_conn *c, struct packet *p, uint32_t *seq, uint32_t *len)
{
    uint32_t edge = tcp_has(c, CONN_FIN_SEEN) ? c->rcv_fin : c->rcv_adv;
    if (base_seq_gt(edge, c->rcv_adv))
        edge = c->rcv_adv;
    if (base_seq_lt(*seq, c->rcv_nxt)) {
        if (c->rcv_nxt - *seq >= *len)
            return false;
        cut_front(p, seq, len, c->rcv_nxt - *seq);
    }
    if (base_seq_gt(*seq + *len, edge)) {
        uint32_t over = *seq + *len - edge;
        if (over >= *len)
            return false;
        cut_back(p, len, over);
    }
    return *len > 0;
}

enum tcp_rx tcp_rx_segment(struct tcp_conn *c, const struct tcp_segment *s, struct packet *p)
{
    uint32_t seq = s->seq, len = s->len, end = s->seq + s->len;
    enum tcp_rx taken = TCP_RX_DROPPED;
    if ((s->flags & TCP_FIN) && base_seq_ge(end, c->rcv_nxt) && base_seq_le(end, c->rcv_adv))
        fin_note(c, end);
    if (len > 0) {
        /* RFC 5681 section 4.2: out of order, a duplicate, or (part of) a hole filled; and what the window cuts off */
        if (seq != c->rcv_nxt || c->ooo_head != NULL || base_seq_gt(end, c->rcv_adv))
            tcp_ack_now(c);
        if (base_seq_lt(seq, c->rcv_nxt))
            tcp_sack_twice(c, seq, base_seq_lt(end, c->rcv_nxt) ? end : c->rcv_nxt);
        if (!trim(c, p, &seq, &len)) {
            stats_drop(c->tcp->stats, base_seq_le(end, c->rcv_nxt) ? STATS_DROP_TCP_DUPLICATE : STATS_DROP_TCP_OUT_OF_WINDOW);
            tcp_ack_now(c);
        } else if (seq != c->rcv_nxt) {
            taken = ooo_insert(c, seq, len, p);
        } else {
            ooo_overlap(c, &c->ooo_head, p, seq, &len);
            tcp_rx_in_order(c, p, len);
            ooo_pull(c);
            if (c->rcv_sacks > 0)
                tcp_sack_trim(c, c->rcv_adv);
            taken = TCP_RX_TAKEN;
        }
    }
    if (s->flags & TCP_FIN)
        tcp_ack_now(c);
    return taken;
}

static void free_list(struct packet **head)
{
    while (*head != NULL) {
        struct packet *p = *head;
        *head = tcp_buf(p)->next;
        packet_free(p);
    }
}

void tcp_rx_free(struct tcp_conn *c)
{
    free_list(&c->rx_head);
    free_list(&c->ooo_head);
    c->rx_tail = c->rx_fresh = NULL;
    c->unread = c->ooo_bytes = c->ooo_count = 0;
    c->rcv_sacks = 0;
}

/* No buffer to keep it in, and nobody was told yet that it came: forget it and all after it; the peer sends it again.
 * Not after a FIN, which cannot be taken back: then the device's buffer itself is held. */
static void forget_from(struct tcp_conn *c, struct packet *last_kept, struct packet *p)
{
    stats_drop(c->tcp->stats, STATS_DROP_TCP_NO_BUFFER);
    c->rcv_nxt = tcp_buf(p)->seq;
    for (struct packet *q = p; q != NULL; q = tcp_buf(q)->next) {
        c->unread -= tcp_buf(q)->len;
        c->bytes_in -= tcp_buf(q)->len;
    }
    free_list(&p);
    c->rx_tail = last_kept;
    if (last_kept != NULL)
        tcp_buf(last_kept)->next = NULL;
    else
        c->rx_head = NULL;
}

/* Small leftovers share a buffer, so that unread bytes hold a number of buffers in proportion. */
static bool merge(struct packet *into, struct packet *p)
{
    uint32_t n = tcp_buf(p)->len;
    if (into == NULL || packet_shared(into) || n > 512 || packet_tailroom(into) < n)
        return false;
    memcpy(packet_append(into, n), packet_data(p), n);
    tcp_buf(into)->len += n;
    tcp_buf(into)->next = tcp_buf(p)->next;
    packet_free(p);
    return true;
}

/* Packets of this turn that are still unread are held longer than a device's buffers may be. */
void tcp_rx_keep(struct tcp_conn *c)
{
    struct packet *before = NULL, *p = c->rx_head;
    if (c->rx_fresh == NULL)
        return;
    for (; p != c->rx_fresh; p = tcp_buf(p)->next)
        before = p;
    c->rx_fresh = NULL;
    while (p != NULL) {
        struct packet *next = tcp_buf(p)->next;
        if (merge(before, p)) {
            c->rx_tail = before;
            p = next;
            continue;
        }
        packet_ref(p);
        struct packet *kept = packet_keep(p, c->tcp->pool);
        if (kept == NULL && !tcp_has(c, CONN_FIN_RCVD)) {
            forget_from(c, before, p);
            return;
        }
        if (kept != NULL)
            packet_free(p); /* the reference of four lines above */
        p = kept != NULL ? kept : p;
        if (before != NULL)
            tcp_buf(before)->next = p;
        else
            c->rx_head = p;
        c->rx_tail = p;
        before = p;
        p = next;
    }
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* The connection begins: irs is known. */
void tcp_rx_open(struct tcp_conn *c)
{
    const struct tcp_config *k = &c->tcp->config;
    c->rcv_limit = least(k->rcvbuf, k->rcvbuf_least);
    c->tcp->rcv_promised += c->rcv_limit;
    c->rcv_mark = c->rcv_nxt;
}

/* Dynamic right-sizing: where the user reads half of what the window allows within a round trip, the window is what limits the peer.  It doubles,
 * as long as all windows together stay within the budget; it never shrinks. */
void tcp_rx_tune(struct tcp_conn *c, uint64_t now)
{
    struct tcp *t = c->tcp;
    uint32_t got = c->rcv_nxt - c->unread - c->rcv_mark;
    if (got < c->rcv_limit / 2 || c->rcv_limit >= t->config.rcvbuf)
        return;
    uint32_t ms = (uint32_t)(now / 1000000), took = ms - c->rcv_mark_ms;
    c->rcv_mark += got;
    c->rcv_mark_ms = ms;
    uint32_t more = least(c->rcv_limit, t->config.rcvbuf - c->rcv_limit);
    if (took > c->srtt_ns / 1000000 + 1 || t->pressed != TCP_PRESSED_NOT || t->rcv_promised + more > t->config.rcv_memory)
        return;
    c->rcv_limit += more;
    t->rcv_promised += more;
}

/* The largest window that there can be. */
static uint32_t window_most(const struct tcp_conn *c)
{
    return least((uint32_t)0xffff << c->rcv_wscale, c->rcv_limit);
}

/* RFC 9293 section 3.8.6.2.2: how far the right edge may move, and whether it is worth moving. */
static uint32_t window_gain(const struct tcp_conn *c)
{
    uint32_t most = window_most(c), left = tcp_window(c), half = most / 2;
    uint32_t room = least(c->unread < c->rcv_limit ? c->rcv_limit - c->unread : 0, most);
    if (c->tcp->pressed != TCP_PRESSED_NOT) /* what was promised stands, no more is */
        return 0;
    return room > left && room - left >= least(c->rcv_mss, half) ? room - left : 0;
}

/* A field that rounds down may show an edge a few bytes left of the promised one (RFC 7323 section 2.4); what lies up to
 * the promised edge is accepted all the same. */
uint16_t tcp_rx_window(struct tcp_conn *c)
{
    c->rcv_adv += window_gain(c);
    uint32_t wnd = tcp_window(c) >> c->rcv_wscale;
    return (uint16_t)(wnd < 0xffff ? wnd : 0xffff);
}

/* An ACK for the window's sake alone: when the peer may be waiting for it. */
bool tcp_rx_update_due(const struct tcp_conn *c)
{
    uint32_t left = tcp_window(c), low = window_most(c) / 4 < 32768 ? window_most(c) / 4 : 32768;
    bool waiting = left < low || left < 2 * c->rcv_mss;
    return waiting && c->state >= TCP_ESTABLISHED && !tcp_has(c, CONN_FIN_RCVD) && window_gain(c) > 0;
}

size_t tcp_read_peek(struct tcp_conn *c, const uint8_t **data)
{
    if (c->rx_head == NULL)
        return 0;
    *data = packet_data(c->rx_head);
    return packet_len(c->rx_head);
}

void tcp_read_consume(struct tcp_conn *c, size_t n)
{
    if (n == 0)
        return;
    struct packet *p = c->rx_head;
    assert(p != NULL && n <= tcp_buf(p)->len);
    c->unread -= (uint32_t)n;
    tcp_buf(p)->seq += (uint32_t)n;
    tcp_buf(p)->len -= (uint32_t)n;
    if (tcp_buf(p)->len > 0) {
        packet_adj(p, (uint32_t)n);
    } else {
        c->rx_head = tcp_buf(p)->next;
        if (c->rx_fresh == p)
            c->rx_fresh = c->rx_head;
        if (c->rx_head == NULL)
            c->rx_tail = NULL;
        packet_free(p);
    }
    if (c->state != TCP_CLOSED && tcp_rx_update_due(c))
        tcp_pend(c);
}
