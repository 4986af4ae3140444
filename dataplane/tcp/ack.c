/* What an acknowledgement says: round-trip time (RFC 6298, 7323), window updates, loss (RFC 5681, 6582, 3042) and the congestion
 * window that follows.
 *
 *                3 duplicates, snd_una beyond recover            ACK of recover
 *     open ------------------------------------------> RECOVERY ----------------> open
 *       \                                                  | timeout
 *        `-------------------------------------------------+-------> LOSS -------> open   (same: ACK of recover) */
#include "cc.h"

#define GRANULARITY_NS (1u << 20) /* of the timer wheel */

static void rto_set(struct tcp_conn *c)
{
    const struct tcp_config *k = &c->tcp->config;
    uint64_t spread = 4 * c->rttvar_ns;
    c->rto_ns = c->srtt_ns + (spread > GRANULARITY_NS ? spread : GRANULARITY_NS);
    if (c->rto_ns < k->rto_ns_min)
        c->rto_ns = k->rto_ns_min;
    if (c->rto_ns > k->rto_ns_max)
        c->rto_ns = k->rto_ns_max;
    c->backoff = 0;
}

/* RFC 6298 section 2.  A valid sample ends the backing off (section 5.7 and Karn). */
void tcp_rtt_sample(struct tcp_conn *c, uint64_t rtt_ns)
{
    if (rtt_ns == 0)
        rtt_ns = 1;
    if (rtt_ns < c->rtt_min_ns)
        c->rtt_min_ns = rtt_ns;
    if (c->srtt_ns == 0) {
        c->srtt_ns = rtt_ns;
        c->rttvar_ns = rtt_ns / 2;
    } else {
        uint64_t delta = c->srtt_ns > rtt_ns ? c->srtt_ns - rtt_ns : rtt_ns - c->srtt_ns;
        c->rttvar_ns += delta / 4 - c->rttvar_ns / 4;
        c->srtt_ns += rtt_ns / 8 - c->srtt_ns / 8;
    }
    rto_set(c);
}

/* RFC 4015 section 3.2 (8): the timer was too short for this one. */
void tcp_rtt_raise(struct tcp_conn *c, uint64_t rtt_ns)
{
    if (rtt_ns > c->srtt_ns)
        c->srtt_ns = rtt_ns;
    if (rtt_ns / 2 > c->rttvar_ns)
        c->rttvar_ns = rtt_ns / 2;
    rto_set(c);
}

/* A mark of long ago comes along, or would lie ahead again after 2^31 bytes. */
static uint32_t along(uint32_t mark, uint32_t una)
{
    return una - mark > 1u << 30 && una - mark < 1u << 31 ? una - (1u << 29) : mark;
}

/* One sample a round trip (RFC 6298 section 3): of a buffer sent once, or, by its echo, of the last copy (RFC 7323).  A copy that came twice does not
 * move the peer's TS.Recent (section 4.3): what echoes an earlier one may be an ACK that was lost, said again, and the time since then the
 * length of an outage. */
static void rtt_take(struct tcp_conn *c, uint32_t ack, uint64_t sent_ns, bool once, const struct tcp_segment *s, uint64_t now)
{
    if (base_seq_le(ack, c->rtt_seq) && c->backoff == 0)
        return;
    if (sent_ns != 0 && once)
        tcp_rtt_sample(c, now - sent_ns);
    else if (s->has_ts && tcp_has(c, CONN_TS) && s->tsecr != 0 && (int32_t)(tcp_ts_now(c, now) - s->tsecr) >= 0 &&
             (int32_t)(s->tsecr - tcp_ts_now(c, sent_ns != 0 ? sent_ns : now - c->rto_ns)) >= 0)
        tcp_rtt_sample(c, sent_ns != 0 ? now - sent_ns : (uint64_t)(tcp_ts_now(c, now) - s->tsecr) << 20); /* a tick is a ms: no measure of a LAN */
    else
        return;
    c->rtt_seq = c->snd_nxt;
    c->recover = along(c->recover, c->snd_una);
    c->rack_round = along(c->rack_round, c->snd_una);
}

bool tcp_loss_mark(struct tcp_conn *c, struct packet *p)
{
    struct tcp_buf *b = tcp_buf(p);
    if (!(b->flags & BUF_SENT) || (b->flags & (BUF_LOST | BUF_SACKED)))
        return false;
    uint32_t n = tcp_tx_outstanding(c, b);
    if (n == 0)
        return false;
    b->flags |= BUF_LOST;
    c->gone_bytes += n;
    if (c->snd_rtx == NULL || base_seq_lt(b->seq, tcp_buf(c->snd_rtx)->seq))
        c->snd_rtx = p;
    tcp_pend(c);
    return true;
}

static void lost_first(struct tcp_conn *c)
{
    if (c->snd_head != NULL && tcp_tx_outstanding(c, tcp_buf(c->snd_head)) > 0)
        tcp_loss_mark(c, c->snd_head);
    else if (tcp_has(c, CONN_FIN_SENT))
        c->flags |= CONN_FIN_LOST;
    c->flags |= CONN_FAST_DUE;
    tcp_pend(c);
}

void tcp_loss_mark_all(struct tcp_conn *c)
{
    for (struct packet *p = c->snd_head; p != NULL && (tcp_buf(p)->flags & BUF_SENT); p = tcp_buf(p)->next)
        tcp_loss_mark(c, p);
    if (tcp_has(c, CONN_FIN_SENT))
        c->flags |= CONN_FIN_LOST;
    tcp_pend(c);
}

/* RFC 5681 section 3.1 equation 4, section 3.2; RFC 6582 section 4.2. */
void tcp_loss_timeout(struct tcp_conn *c, uint64_t now)
{
    if (!tcp_has(c, CONN_LOSS | CONN_RECOVERY))
        tcp_undo_begin(c);
    else if (!tcp_has(c, CONN_LOSS))
        c->flags &= ~(uint32_t)(CONN_UNDO | CONN_EIFEL);
    if (!tcp_has(c, CONN_LOSS))
        c->ssthresh = tcp_cc_reduce(c, true);
    tcp_pmtu_timeout(c);
    c->cwnd = c->mss;
    c->cc_bytes = 0;
    c->recover = c->snd_nxt;
    c->dupacks = 0;
    tcp_ecn_reduced(c);
    c->ecn &= (uint8_t)~ECN_REDUCED;
    c->flags = (c->flags & ~(uint32_t)CONN_RECOVERY) | CONN_LOSS | CONN_FAST_DUE;
    if (c->snd_head != NULL && (tcp_buf(c->snd_head)->flags & BUF_SACKED)) /* it would have been acknowledged: RFC 6675 section 5.1 */
        tcp_sack_forget(c);
    if (tcp_has(c, CONN_SACK))
        tcp_rack_timeout(c, now);
    else
        tcp_loss_mark_all(c);
    stats_count(c->tcp->stats, STATS_TCP_RETRANSMITS_RTO, 1);
}

static void recovery_enter(struct tcp_conn *c)
{
    tcp_undo_begin(c);
    c->ssthresh = tcp_cc_reduce(c, false);
    c->cwnd = tcp_has(c, CONN_SACK) ? c->ssthresh : c->ssthresh + 3 * c->mss;
    c->cc_bytes = 0;
    c->recover = c->snd_nxt;
    tcp_ecn_reduced(c);
    c->ecn &= (uint8_t)~ECN_REDUCED;
    c->flags = (c->flags & ~(uint32_t)CONN_PARTIAL) | CONN_RECOVERY;
    c->prr_delivered = c->prr_out = 0;
    c->prr_flight = c->snd_nxt - c->snd_una;
    if (tcp_has(c, CONN_SACK))
        c->flags |= CONN_FAST_DUE; /* RACK has marked what is lost */
    else
        lost_first(c);
    stats_count(c->tcp->stats, STATS_TCP_RETRANSMITS_FAST, 1);
}

/* RFC 6937: while more is in flight than ssthresh, in proportion to what arrives; below it, slow start towards it. */
static void prr(struct tcp_conn *c, uint32_t delivered)
{
    uint32_t pipe = tcp_in_flight(c), may;
    c->prr_delivered += delivered;
    if (pipe > c->ssthresh) {
        uint64_t share = ((uint64_t)c->prr_delivered * c->ssthresh + c->prr_flight - 1) / c->prr_flight;
        may = share > c->prr_out ? (uint32_t)share - c->prr_out : 0;
    } else {
        uint32_t ahead = c->prr_delivered > c->prr_out ? c->prr_delivered - c->prr_out : 0;
        may = (ahead > delivered ? ahead : delivered) + c->mss;
        if (may > c->ssthresh - pipe)
            may = c->ssthresh - pipe;
    }
    c->cwnd = pipe + may > c->mss ? pipe + may : c->mss;
}

/* After every ACK that tells something while something is missing. */
static void look(struct tcp_conn *c, uint32_t delivered, uint64_t now)
{
    if (tcp_rack_detect(c, now) && !tcp_has(c, CONN_LOSS | CONN_RECOVERY))
        recovery_enter(c);
    if (tcp_has(c, CONN_RECOVERY))
        prr(c, delivered);
    tcp_pend(c);
}

void tcp_loss_look(struct tcp_conn *c, uint64_t now)
{
    look(c, 0, now);
}

/* An ACK that tells something without acknowledging anything. */
void tcp_ack_sacked(struct tcp_conn *c, const struct tcp_segment *s, uint64_t now)
{
    uint32_t news = tcp_sack_take(c, s, c->snd_una, now);
    if (tcp_has(c, CONN_TLP_OUT))
        tcp_tlp_acked(c, s, tcp_sack_is_twice(s) && s->sack[0].right == c->tlp_end, false);
    if (news > 0)
        look(c, news, now);
}

/* Limited transmit (RFC 3042) for the first two is tcp_segment_next()'s. */
void tcp_ack_duplicate(struct tcp_conn *c, const struct tcp_segment *s)
{
    if (tcp_has(c, CONN_SACK)) { /* RFC 6675 section 2: it told nothing new */
        if (tcp_has(c, CONN_TLP_OUT))
            tcp_tlp_acked(c, s, false, true);
        return;
    }
    if (c->dupacks < 255)
        c->dupacks++;
    if (tcp_has(c, CONN_LOSS))
        return;
    if (tcp_has(c, CONN_RECOVERY))
        c->cwnd += c->mss; /* RFC 6582 section 3.2 step 3: one has left the network */
    else if (c->dupacks == 3 && (base_seq_gt(c->snd_una, c->recover) || (c->ecn & ECN_REDUCED))) /* step 2: not an echo of the last recovery */
        recovery_enter(c);
    tcp_pend(c);
}

static void recovery_acked(struct tcp_conn *c, uint32_t acked)
{
    if (base_seq_ge(c->snd_una, c->recover)) { /* full */
        uint32_t flight = c->snd_nxt - c->snd_una, least = (flight > c->mss ? flight : c->mss) + c->mss;
        c->cwnd = c->ssthresh < least ? c->ssthresh : least;
        c->flags &= ~(uint32_t)(CONN_RECOVERY | CONN_FAST_DUE);
        c->dupacks = 0;
        return;
    }
    /* Partial: the next hole is at snd_una.  Deflate by what left, inflate by the one that goes out. */
    c->cwnd = c->cwnd > acked + c->mss ? c->cwnd - acked : c->mss;
    if (acked >= c->mss)
        c->cwnd += c->mss;
    lost_first(c);
}

static void sack_recovery_acked(struct tcp_conn *c)
{
    if (base_seq_lt(c->snd_una, c->recover))
        return;
    c->cwnd = c->ssthresh;
    c->flags &= ~(uint32_t)(CONN_RECOVERY | CONN_FAST_DUE);
    tcp_rack_recovered(c);
}

static void congestion_acked(struct tcp_conn *c, uint32_t acked, uint32_t flight, uint64_t rtt_ns, uint64_t now)
{
    if (tcp_has(c, CONN_RECOVERY) && tcp_has(c, CONN_SACK)) {
        sack_recovery_acked(c);
        return;
    }
    if (tcp_has(c, CONN_RECOVERY)) {
        recovery_acked(c, acked);
        return;
    }
    c->dupacks = 0;
    if (c->ecn & ECN_REDUCED) { /* RFC 3168 section 6.1.2: nothing grows on what was out when the mark was told */
        if (base_seq_le(c->snd_una, c->recover))
            return;
        c->ecn &= (uint8_t)~ECN_REDUCED;
    }
    /* In slow start a sender that uses half the window is held back by it within a round trip. */
    if (flight + 2 * c->mss >= c->cwnd || (c->cwnd < c->ssthresh && flight >= c->cwnd / 2) || tcp_has(c, CONN_LOSS))
        tcp_cc_acked(c, acked, rtt_ns, now);
    if (!tcp_has(c, CONN_LOSS))
        return;
    if (base_seq_ge(c->snd_una, c->recover)) {
        c->flags &= ~(uint32_t)(CONN_LOSS | CONN_FAST_DUE);
        tcp_rack_recovered(c);
    } else if (c->snd_head != NULL && base_seq_lt(tcp_buf(c->snd_head)->seq, c->snd_una))
        tcp_loss_mark(c, c->snd_head); /* it went out again in part: a smaller window or MSS than at first */
}

void tcp_ack_new(struct tcp_conn *c, uint32_t ack, const struct tcp_segment *s, uint64_t now)
{
    uint32_t acked = ack - c->snd_una, flight = c->snd_nxt - c->snd_una;
    uint64_t sent_ns = 0;
    bool partial = tcp_has(c, CONN_RECOVERY) && !tcp_has(c, CONN_SACK) && base_seq_lt(ack, c->recover);
    bool later_partial = partial && tcp_has(c, CONN_PARTIAL);
    if (partial)
        c->flags |= CONN_PARTIAL;
    uint32_t sacked = c->sacked_bytes;
    bool once = tcp_tx_acked(c, ack, &sent_ns, s, now);
    c->progress_ns = now;
    if (!tcp_has(c, CONN_LOSS | CONN_RECOVERY) || !tcp_has(c, CONN_EIFEL) || !tcp_undo_eifel(c, acked, s, now))
        rtt_take(c, ack, sent_ns, once, s, now);
    if (s->sack_count > 0 && tcp_has(c, CONN_SACK))
        tcp_sack_take(c, s, ack - acked, now);
    if (tcp_has(c, CONN_TLP_OUT))
        tcp_tlp_acked(c, s, s->sack_count > 0 && tcp_sack_is_twice(s) && s->sack[0].right == c->tlp_end, false);
    congestion_acked(c, acked, flight, once && sent_ns != 0 ? now - sent_ns : 0, now);
    if (!later_partial) /* RFC 6582 section 3.2: the timer restarts with the first partial ACK only */
        tcp_timer_rexmit(c, now);
    if (tcp_has(c, CONN_SACKED | CONN_RECOVERY | CONN_LOSS) && tcp_has(c, CONN_SACK))
        look(c, acked + c->sacked_bytes - sacked, now);
    if (tcp_has(c, CONN_WANT))
        tcp_tx_want(c);
    if (c->snd_cur != NULL || tcp_lost_bytes(c) > 0 || tcp_has(c, CONN_FIN_QUEUED))
        tcp_pend(c);
}

/* RFC 9293 section 3.10.7.4: only a segment newer than the last that told a window may tell another. */
void tcp_ack_window(struct tcp_conn *c, const struct tcp_segment *s, uint64_t now)
{
    if (!base_seq_lt(c->snd_wl1, s->seq) && !(c->snd_wl1 == s->seq && base_seq_le(c->snd_wl2, s->ack)))
        return;
    uint32_t wnd = (uint32_t)s->wnd << c->snd_wscale;
    bool opened = wnd > c->snd_wnd;
    c->snd_wnd = wnd;
    c->snd_wl1 = s->seq;
    c->snd_wl2 = s->ack;
    if (wnd > c->max_wnd)
        c->max_wnd = wnd;
    if (tcp_has(c, CONN_PERSIST) && wnd > 0 && (opened || c->snd_una == c->snd_nxt)) {
        c->flags &= ~(uint32_t)(CONN_PERSIST | CONN_PROBE_DUE);
        c->backoff = 0;
        tcp_loss_mark_all(c); /* the probes, refused while the window was closed */
        tcp_timer_rexmit(c, now);
    }
    if (!opened)
        return;
    if (c->snd_cur != NULL || tcp_lost_bytes(c) > 0 || tcp_has(c, CONN_FIN_QUEUED))
        tcp_pend(c);
}
