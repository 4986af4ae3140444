/* A segment in: RFC 9293 section 3.10.7, in its order, with the checks of RFC 5961 and RFC 7323.
 *
 *     tcp_input -> no connection:  TIME_WAIT entry, listener, or RST
 *               -> predicted:      ESTABLISHED, next in sequence, nothing unusual
 *               -> SYN-SENT
 *               -> all others:     PAWS, sequence, RST, SYN, ACK, data, FIN
 * Each returns true where it kept the packet. */
#include "cc.h"

#define TS_OLD_S (24 * 86400u) /* RFC 7323 section 5.5; of 2^30 ns each */

static uint32_t seconds(uint64_t now)
{
    return (uint32_t)(now >> 30);
}

static void ts_take(struct tcp_conn *c, const struct tcp_segment *s, uint64_t now)
{
    c->ts_recent = s->tsval;
    c->ts_recent_s = seconds(now);
}

/* The peer's SYN: what it offers, and where its bytes begin. */
static void syn_take(struct tcp_conn *c, const struct tcp_segment *s, uint64_t now)
{
    c->ts_recent_s = seconds(now);
    if (s->has_ts) {
        c->flags |= CONN_TS;
        ts_take(c, s, now);
    }
    if (s->has_wscale) {
        c->flags |= CONN_WS;
        c->snd_wscale = s->wscale;
    } else {
        c->rcv_wscale = 0; /* RFC 7323 section 2.2: both or none */
    }
    tcp_ecn_syn_take(c, s);
    if (s->sack_ok && c->tcp->config.sack)
        c->flags |= CONN_SACK;
    tcp_mss_set(c, s->mss);
    tcp_cc_open(c);
    c->irs = s->seq;
    c->rcv_nxt = c->last_ack = s->seq + 1;
    if (c->rcv_limit == 0)
        tcp_rx_open(c);
    c->rcv_adv = c->rcv_nxt + (c->rcv_limit < 0xffff ? c->rcv_limit : 0xffff);
    c->snd_wnd = c->max_wnd = s->wnd; /* not scaled in a SYN */
    c->snd_wl1 = s->seq;
    c->snd_wl2 = s->ack;
}

/* Our SYN is acknowledged. */
static void establish(struct tcp_conn *c, const struct tcp_segment *s, uint64_t now)
{
    c->snd_una = s->ack;
    c->life_at = c->rexmit_at = 0;
    c->flags &= ~(uint32_t)CONN_SYN_DUE;
    if (c->syns == 0) {
        c->backoff = 0; /* a cookie: when the SYN-ACK went out nobody remembers */
    } else if (c->syns > 1 && !tcp_has(c, CONN_SYN_LOST)) {
        c->backoff = 0; /* which of them is answered nobody knows (Karn) */
    } else if (!tcp_has(c, CONN_SYN_LOST)) {
        tcp_rtt_sample(c, now - c->last_sent_ns);
    } else {
        c->rto_ns = 3000000000; /* RFC 6298 section 5.7 */
        c->cwnd = c->mss;       /* RFC 5681 section 3.1 */
        c->backoff = 0;
    }
    c->progress_ns = now;
    tcp_state_set(c, TCP_ESTABLISHED);
    if (tcp_has(c, CONN_PASSIVE))
        c->flags |= CONN_USER;
    tcp_event_post(c, tcp_has(c, CONN_PASSIVE) ? TCP_EVENT_ACCEPTED : TCP_EVENT_CONNECTED);
    stats_count(c->tcp->stats, tcp_has(c, CONN_PASSIVE) ? STATS_TCP_PASSIVE_OPENS : STATS_TCP_ACTIVE_OPENS, 1);
    if (tcp_has(c, CONN_FIN_QUEUED)) {
        tcp_state_set(c, TCP_FIN_WAIT_1);
        tcp_pend(c);
    }
}

static bool conn_input(struct tcp_conn *c, struct tcp_segment *s, struct packet *p, uint64_t now);

/* True: the packet is kept. */
static bool cookie_input(struct tcp *t, const struct tcp_listener *l, const struct base_flow *flow, uint32_t hash, struct tcp_segment *s, struct packet *p,
                         uint64_t now)
{
    struct tcp_segment syn;
    if (!tcp_cookie_open(t, flow, s, &syn, now)) {
        stats_drop(t->stats, STATS_DROP_TCP_BAD_ACK);
        if (!tcp_cookies_out(t, now)) /* while some are, it may have overtaken the segment that bears one: silence, and the peer sends again */
            tcp_reply_rst(t, flow, s);
        return false;
    }
    struct tcp_conn *c = tcp_conn_open(t, flow, hash, now);
    if (c == NULL)
        return false; /* no RST: the peer's data comes again, and by then there may be room */
    c->iss = c->snd_una = c->recover = c->rack_round = c->rack_high = s->ack - 1;
    c->snd_nxt = c->snd_end = c->rtt_seq = s->ack;
    c->tag = l->tag;
    c->flags |= CONN_PASSIVE;
    syn_take(c, &syn, now);
    tcp_state_set(c, TCP_SYN_RECEIVED);
    tcp_timer_arm(c);
    stats_count(t->stats, STATS_TCP_SYN_COOKIES_KEPT, 1);
    return conn_input(c, s, p, now);
}

/* RFC 9293 section 3.10.7.2.  Data and FIN on a SYN are not taken: the peer sends them again once it is answered. */
static bool listen_input(struct tcp *t, const struct base_flow *flow, uint32_t hash, struct tcp_segment *s, struct packet *p, uint32_t iss_after, uint64_t now)
{
    const struct tcp_listener *l = tcp_listener_find(t, &flow->local, flow->local_port);
    if (l == NULL) {
        stats_drop(t->stats, STATS_DROP_TCP_NO_LISTENER);
        tcp_reply_rst(t, flow, s);
        return false;
    }
    if (s->flags & TCP_ACK)
        return cookie_input(t, l, flow, hash, s, p, now);
    if ((s->flags & (TCP_RST | TCP_FIN)) != 0 || !(s->flags & TCP_SYN)) {
        stats_drop(t->stats, STATS_DROP_TCP_BAD_SYN);
        return false;
    }
    if (t->half_open >= t->config.syn_backlog) {
        tcp_cookie_reply(t, flow, s, now);
        return false;
    }
    struct tcp_conn *c = tcp_conn_open(t, flow, hash, now);
    if (c == NULL)
        return false;
    if (iss_after != 0 && base_seq_le(c->iss, iss_after)) { /* RFC 6191 section 2: beyond the old connection's numbers */
        c->iss = c->snd_una = c->recover = c->rack_round = c->rack_high = iss_after + 64000;
        c->snd_nxt = c->snd_end = c->rtt_seq = c->iss + 1;
    }
    c->tag = l->tag;
    c->flags |= CONN_PASSIVE | CONN_HALF_OPEN | CONN_SYN_DUE;
    t->half_open++;
    syn_take(c, s, now);
    tcp_state_set(c, TCP_SYN_RECEIVED);
    tcp_timer_arm(c);
    tcp_pend(c);
    return false;
}

/* True: the segment may open a new connection in the entry's place. */
static bool timewait_input(struct tcp *t, struct tcp_tw *w, const struct base_flow *flow, const struct tcp_segment *s, uint64_t now)
{
    if (s->flags & TCP_RST) { /* RFC 1337 */
        stats_drop(t->stats, STATS_DROP_TCP_BAD_RST);
        return false;
    }
    if ((s->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN) { /* RFC 6191 section 2 */
        int32_t later = w->ts && s->has_ts ? (int32_t)(s->tsval - w->ts_recent) : 0; /* none, or the same: the number decides */
        bool newer = later > 0 || (later == 0 && base_seq_gt(s->seq, w->rcv_nxt));
        if (newer)
            return true;
    }
    bool nothing = s->len == 0 && !(s->flags & (TCP_SYN | TCP_FIN)) && s->seq == w->rcv_nxt;
    if ((s->flags & TCP_FIN) && s->seq + s->len + 1 == w->rcv_nxt) /* the one that was taken, again */
        tcp_timewait_restart(t, w, now);
    if (!nothing && tcp_challenge_allowed(t, now))
        tcp_reply(t, &(struct tcp_reply){*flow, w->snd_nxt, w->rcv_nxt, w->ts_recent, 0, TCP_ACK, w->ts});
    return false;
}

static bool closed_input(struct tcp *t, const struct base_flow *flow, uint32_t hash, struct tcp_segment *s, struct packet *p, uint64_t now)
{
    struct tcp_tw *w = tcp_timewait_find(t, flow);
    uint32_t iss_after = 0;
    if (w != NULL) {
        if (!timewait_input(t, w, flow, s, now))
            return false;
        bool full = t->half_open >= t->config.syn_backlog;
        if (full && !s->has_ts) { /* a cookie cannot begin beyond the old numbers, and nothing else tells old segments from new ones */
            stats_drop(t->stats, STATS_DROP_TCP_SYN_BACKLOG);
            return false;
        }
        if (tcp_listener_find(t, &flow->local, flow->local_port) != NULL) {
            iss_after = w->snd_nxt == 0 ? 1 : w->snd_nxt;
            tcp_timewait_remove(t, w);
        }
    }
    return listen_input(t, flow, hash, s, p, iss_after, now);
}

/* RFC 9293 section 3.10.7.3. */
static void syn_sent_input(struct tcp_conn *c, const struct tcp_segment *s, uint64_t now)
{
    struct tcp *t = c->tcp;
    bool ack = (s->flags & TCP_ACK) != 0;
    if (ack && (s->ack != c->snd_nxt || c->syns == 0)) {
        stats_drop(t->stats, STATS_DROP_TCP_BAD_ACK);
        tcp_reply_rst(t, &c->flow, s);
        return;
    }
    if (s->flags & TCP_RST) {
        if (ack) {
            stats_count(t->stats, STATS_TCP_RSTS_IN, 1);
            tcp_conn_finish(c, TCP_REFUSED);
        } else {
            stats_drop(t->stats, STATS_DROP_TCP_BAD_RST);
        }
        return;
    }
    if (!(s->flags & TCP_SYN)) {
        stats_drop(t->stats, STATS_DROP_TCP_BAD_SYN);
        return;
    }
    syn_take(c, s, now);
    if (ack) {
        establish(c, s, now);
        tcp_ack_now(c);
        return;
    }
    tcp_state_set(c, TCP_SYN_RECEIVED); /* simultaneous open, section 3.5 */
    c->flags |= CONN_SYN_DUE;
    c->backoff = 0;
    tcp_pend(c);
}

/* RFC 9293 section 3.10.7.4, table 6, as an overlap of the segment with the window.  DEVIATION: an empty segment, or a FIN, may also
 * stand at the right edge itself, where a peer that has filled the window keeps its SND.NXT. */
static bool acceptable(const struct tcp_conn *c, const struct tcp_segment *s)
{
    uint32_t len = s->len + ((s->flags & TCP_SYN) != 0) + ((s->flags & TCP_FIN) != 0);
    if (s->len == 0 && !(s->flags & TCP_SYN))
        return base_seq_ge(s->seq + len, c->rcv_nxt + (len != 0)) && base_seq_le(s->seq, c->rcv_adv);
    return base_seq_lt(s->seq, c->rcv_adv) && base_seq_gt(s->seq + len, c->rcv_nxt);
}

static void challenge(struct tcp_conn *c, uint64_t now)
{
    if (tcp_challenge_allowed(c->tcp, now))
        tcp_ack_now(c);
}

/* Not to be accepted: the peer is told where we are, except by a RST.  Empty ones are answered at a bounded rate, so that two
 * confused peers cannot answer each other for ever. */
static void unacceptable(struct tcp_conn *c, const struct tcp_segment *s, uint64_t now)
{
    struct stats *st = c->tcp->stats;
    bool old = base_seq_le(s->seq + s->len, c->rcv_nxt) && s->len > 0;
    if (s->flags & TCP_RST) {
        stats_drop(st, STATS_DROP_TCP_BAD_RST);
        return;
    }
    stats_drop(st, old ? STATS_DROP_TCP_DUPLICATE : STATS_DROP_TCP_OUT_OF_WINDOW);
    if (c->state == TCP_SYN_RECEIVED && s->seq == c->irs && (s->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN) {
        c->flags |= CONN_SYN_DUE; /* our SYN-ACK was lost, or is on its way */
        tcp_pend(c);
    } else if (s->len > 0 || (s->flags & TCP_FIN)) {
        if (old)
            tcp_sack_twice(c, s->seq, s->seq + s->len);
        tcp_ack_now(c);
    } else if (s->seq == c->rcv_nxt - 1 && s->flags == TCP_ACK && base_seq_le(s->ack, c->snd_nxt) && base_seq_le(c->snd_una, s->ack)) {
        tcp_ack_now(c); /* RFC 9293 section 3.8.4, and probes of our window: these must be answered, whatever else is asked; once a turn */
    } else {
        challenge(c, now);
    }
}

/* Not older than TS.Recent, or TS.Recent says nothing any more (RFC 7323 section 5.5). */
static bool ts_current(const struct tcp_conn *c, const struct tcp_segment *s, uint64_t now)
{
    return (int32_t)(s->tsval - c->ts_recent) >= 0 || seconds(now) - c->ts_recent_s > TS_OLD_S;
}

/* RFC 7323 section 5.3.  False: dropped. */
static bool paws(struct tcp_conn *c, const struct tcp_segment *s, uint64_t now)
{
    if (!tcp_has(c, CONN_TS) || (s->flags & TCP_RST))
        return true;
    if (!s->has_ts && (s->flags & TCP_SYN)) /* a peer that has forgotten us: RFC 5961 section 4.2 has the answer */
        return true;
    if (!s->has_ts) { /* section 3.2: silently */
        stats_drop(c->tcp->stats, STATS_DROP_TCP_PAWS);
        return false;
    }
    if (ts_current(c, s, now))
        return true;
    stats_drop(c->tcp->stats, STATS_DROP_TCP_PAWS);
    if (s->len > 0 && base_seq_lt(s->seq, c->rcv_nxt))
        tcp_sack_twice(c, s->seq, base_seq_lt(s->seq + s->len, c->rcv_nxt) ? s->seq + s->len : c->rcv_nxt);
    if (s->len > 0 || (s->flags & TCP_FIN))
        tcp_ack_now(c);
    else
        challenge(c, now);
    return false;
}

static void rst_input(struct tcp_conn *c, const struct tcp_segment *s, uint64_t now)
{
    if (s->seq != c->rcv_nxt) { /* RFC 5961 section 3.2 */
        stats_drop(c->tcp->stats, STATS_DROP_TCP_BAD_RST);
        challenge(c, now);
        return;
    }
    stats_count(c->tcp->stats, STATS_TCP_RSTS_IN, 1);
    bool refused = c->state == TCP_SYN_RECEIVED; /* of a simultaneous open: "connection refused" */
    bool done = c->state == TCP_CLOSING || c->state == TCP_LAST_ACK;
    tcp_conn_finish(c, refused ? TCP_REFUSED : done ? TCP_OK : TCP_RESET);
}

static bool fin_acked(const struct tcp_conn *c)
{
    return tcp_has(c, CONN_FIN_SENT) && c->snd_una == c->snd_end + 1;
}

static void fin_wait_2(struct tcp_conn *c, uint64_t now)
{
    tcp_state_set(c, TCP_FIN_WAIT_2);
    c->life_at = 0;
    if (!tcp_has(c, CONN_USER)) {
        c->life_at = now + c->tcp->config.fin_wait_ns;
        tcp_timer_arm(c);
    }
}

/* RFC 5961 section 5.2: what is acknowledged must have been sent, and not too long ago; never before this connection's first byte, as Linux has it. */
static bool ack_valid(struct tcp_conn *c, const struct tcp_segment *s, uint64_t now)
{
    uint32_t back = c->bytes_out < c->max_wnd ? (uint32_t)c->bytes_out : c->max_wnd;
    if (base_seq_le(s->ack, c->snd_nxt) && base_seq_ge(s->ack, c->snd_una - back))
        return true;
    stats_drop(c->tcp->stats, STATS_DROP_TCP_BAD_ACK);
    challenge(c, now);
    return false;
}

static void ack_input(struct tcp_conn *c, const struct tcp_segment *s, uint64_t now)
{
    uint32_t wnd = (uint32_t)s->wnd << c->snd_wscale, before = c->snd_wnd;
    if ((s->flags & TCP_ECE) && (c->ecn & ECN_ON))
        tcp_ecn_echoed(c, s);
    if (base_seq_gt(s->ack, c->snd_una)) {
        tcp_ack_new(c, s->ack, s, now);
    } else if (s->ack == c->snd_una && s->sack_count > 0 && tcp_has(c, CONN_SACK)) {
        tcp_ack_sacked(c, s, now);
    } else if (s->ack == c->snd_una && s->len == 0 && !(s->flags & TCP_FIN) && wnd == before && wnd > 0 && c->snd_una != c->snd_nxt) {
        tcp_ack_duplicate(c, s); /* RFC 5681 section 2 */
    }
    if (base_seq_ge(s->ack, c->snd_una))
        tcp_ack_window(c, s, now);
    if (tcp_has(c, CONN_PERSIST) && tcp_has(c, CONN_USER))
        c->life_at = 0; /* RFC 9293 section 3.8.6.1: a peer that answers probes is waited for; an orphan has not for ever */
}

/* What the ACK of our FIN leads to. False: the connection is gone. */
static bool closing_input(struct tcp_conn *c, uint64_t now)
{
    if (!fin_acked(c))
        return true;
    c->flags &= ~(uint32_t)CONN_FIN_LOST;
    if (c->state == TCP_FIN_WAIT_1) {
        fin_wait_2(c, now);
        return true;
    }
    if (c->state == TCP_CLOSING) {
        tcp_conn_time_wait(c, now);
        return false;
    }
    if (c->state == TCP_LAST_ACK) {
        tcp_conn_finish(c, TCP_OK);
        return false;
    }
    return true;
}

/* All before the peer's FIN is here. May free the connection. */
static void fin_input(struct tcp_conn *c, uint64_t now)
{
    if (!tcp_has(c, CONN_FIN_SEEN) || tcp_has(c, CONN_FIN_RCVD) || c->rcv_nxt != c->rcv_fin)
        return;
    c->rcv_nxt++;
    c->rcv_adv = base_seq_max(c->rcv_adv, c->rcv_nxt);
    c->flags |= CONN_FIN_RCVD;
    tcp_ack_now(c);
    tcp_event_post(c, TCP_EVENT_FIN);
    if (c->state == TCP_ESTABLISHED)
        tcp_state_set(c, TCP_CLOSE_WAIT);
    else if (c->state == TCP_FIN_WAIT_1)
        tcp_state_set(c, TCP_CLOSING);
    else if (c->state == TCP_FIN_WAIT_2)
        tcp_conn_time_wait(c, now);
}

static bool data_input(struct tcp_conn *c, const struct tcp_segment *s, struct packet *p, uint64_t now)
{
    bool receiving = c->state == TCP_ESTABLISHED || c->state == TCP_FIN_WAIT_1 || c->state == TCP_FIN_WAIT_2;
    if (!receiving || (s->len == 0 && !(s->flags & TCP_FIN)))
        return false;
    if (!tcp_has(c, CONN_USER) && base_seq_gt(s->seq + s->len, c->rcv_nxt)) { /* nobody will read it: RFC 2525 section 2.17 */
        stats_drop(c->tcp->stats, STATS_DROP_TCP_AFTER_CLOSE);
        tcp_conn_reset(c);
        tcp_conn_finish(c, TCP_OK);
        return false;
    }
    if ((s->flags & (TCP_CE | TCP_CWR)) != 0 && (c->ecn & ECN_ON) && s->len > 0)
        tcp_ecn_marked(c, s);
    bool taken = tcp_rx_segment(c, s, p) == TCP_RX_TAKEN;
    fin_input(c, now);
    return taken;
}

static bool conn_input(struct tcp_conn *c, struct tcp_segment *s, struct packet *p, uint64_t now)
{
    if (!paws(c, s, now))
        return false;
    if (!acceptable(c, s)) {
        bool closed = tcp_window(c) == 0 && s->seq == c->rcv_nxt && (s->flags & TCP_ACK) && !(s->flags & (TCP_RST | TCP_SYN));
        unacceptable(c, s, now);
        if (!closed)
            return false;
        s->len = 0; /* RFC 9293 section 3.10.7.4: a closed window still takes acknowledgements */
        s->flags &= (uint16_t)~TCP_FIN;
    }
    if (s->flags & TCP_RST) {
        rst_input(c, s, now);
        return false;
    }
    if (s->flags & TCP_SYN) { /* RFC 5961 section 4.2 */
        stats_drop(c->tcp->stats, STATS_DROP_TCP_BAD_SYN);
        challenge(c, now);
        return false;
    }
    if (!tcp_has(c, CONN_TS))
        c->ts_recent_s = seconds(now);
    else if (s->has_ts && base_seq_le(s->seq, c->last_ack) && ts_current(c, s, now))
        ts_take(c, s, now); /* RFC 7323 section 4.3 (2) */
    if (!(s->flags & TCP_ACK)) {
        stats_drop(c->tcp->stats, STATS_DROP_TCP_BAD_ACK);
        return false;
    }
    if (c->state == TCP_SYN_RECEIVED) {
        if (s->ack != c->snd_nxt) { /* section 3.10.7.4: <SEQ=SEG.ACK><CTL=RST> */
            stats_drop(c->tcp->stats, STATS_DROP_TCP_BAD_ACK);
            tcp_reply_rst(c->tcp, &c->flow, s);
            return false;
        }
        establish(c, s, now);
        c->snd_wnd = c->max_wnd = (uint32_t)s->wnd << c->snd_wscale;
    }
    if (!ack_valid(c, s, now))
        return false;
    ack_input(c, s, now);
    if (!closing_input(c, now))
        return false;
    return data_input(c, s, p, now);
}

/* Header prediction: what nearly every segment of a working connection is. */
static bool predicted(const struct tcp_conn *c, const struct tcp_segment *s)
{
    const uint32_t unusual = CONN_FIN_SEEN | CONN_RECOVERY | CONN_LOSS | CONN_PERSIST | CONN_SACKED;
    return c->state == TCP_ESTABLISHED && (s->flags & ~TCP_PSH) == TCP_ACK && s->seq == c->rcv_nxt && !(c->flags & unusual) &&
           c->ooo_head == NULL && c->dupacks == 0 && s->sack_count == 0 && s->ack - c->snd_una <= c->snd_nxt - c->snd_una &&
           (s->len != 0 || s->ack != c->snd_una) && s->len <= tcp_window(c) &&
           s->has_ts == tcp_has(c, CONN_TS) && (!s->has_ts || (int32_t)(s->tsval - c->ts_recent) >= 0);
}

static bool predicted_input(struct tcp_conn *c, const struct tcp_segment *s, struct packet *p, uint64_t now)
{
    if (!s->has_ts)
        c->ts_recent_s = seconds(now);
    else if (base_seq_le(s->seq, c->last_ack))
        ts_take(c, s, now);
    if (s->ack != c->snd_una)
        tcp_ack_new(c, s->ack, s, now);
    tcp_ack_window(c, s, now); /* a peer that reads moves its window with every segment: no reason to take the long way */
    if (s->len == 0)
        return false;
    tcp_rx_in_order(c, p, s->len);
    return true;
}

void tcp_input(struct tcp *t, const struct base_flow *flow, struct packet *p, uint64_t now)
{
    struct tcp_segment s;
    bool taken = false;
    tcp_turn_begin(t);
    if (!tcp_segment_parse(p, &s)) {
        stats_drop(t->stats, STATS_DROP_TCP_MALFORMED);
        packet_free(p);
        return;
    }
    s.flags |= flow->ecn == BASE_ECN_CE ? TCP_CE : 0;
    uint32_t hash = base_flow_hash(&t->config.isn_key, flow);
    struct tcp_conn *c = tcp_table_find(t, flow, hash);
    if (c == NULL)
        taken = closed_input(t, flow, hash, &s, p, now);
    else if (predicted(c, &s))
        taken = predicted_input(c, &s, p, now);
    else if (c->state == TCP_SYN_SENT)
        syn_sent_input(c, &s, now);
    else
        taken = conn_input(c, &s, p, now);
    if (!taken)
        packet_free(p);
}
