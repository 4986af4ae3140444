/* Recovery that turns out to be needless is taken back: the segment had not been lost, only it or its ACK was late.
 *
 * Detection: RFC 3522 (Eifel): the first ACK after a retransmission echoes a timestamp older than it.
 *            RFC 2883: the peer reports each segment that was sent again to have come twice.
 * Response:  RFC 4015: what was marked lost is in flight again, the window of congestion is what it was, and, after a timeout, the round
 *            trip that was too long for the timer goes into the estimator.
 *
 * DEVIATION from RFC 4015 section 3.2 (7): cwnd may go back to the initial window even where less is in flight, but never above what it was:
 * a connection that sends small messages would else be left with a window of one of them. */
#include "cc.h"

void tcp_undo_begin(struct tcp_conn *c)
{
    uint32_t flight = c->snd_nxt - c->snd_una;
    c->undo_cwnd = c->cwnd;
    c->undo_ssthresh = c->ssthresh > flight ? c->ssthresh : flight;
    c->undo_una = c->snd_una;
    c->undo_again = 0;
    if (!tcp_has(c, CONN_SACKED))
        c->rack_high = c->snd_una;
    c->flags = (c->flags & ~(uint32_t)CONN_UNDO_TS) | CONN_UNDO | CONN_EIFEL;
}

void tcp_undo_retransmit(struct tcp_conn *c, uint32_t end, uint64_t was_sent_ns, uint64_t now)
{
    if (!tcp_has(c, CONN_UNDO))
        return;
    c->undo_again++;
    if (tcp_has(c, CONN_UNDO_TS))
        return;
    c->flags |= CONN_UNDO_TS;
    c->undo_ts = tcp_ts_now(c, now);
    c->undo_sent_ns = was_sent_ns;
    c->undo_end = end;
}

static void unmark(struct tcp_conn *c)
{
    for (struct packet *p = c->snd_head; p != NULL && (tcp_buf(p)->flags & BUF_SENT); p = tcp_buf(p)->next)
        tcp_buf(p)->flags &= ~(uint32_t)BUF_LOST;
    c->gone_bytes = c->sacked_bytes;
    c->snd_rtx = NULL;
}

/* acked: bytes that the ACK acknowledges. */
void tcp_undo(struct tcp_conn *c, uint32_t acked, uint64_t rtt_ns)
{
    uint32_t flight = c->snd_nxt - c->snd_una, initial = tcp_cc_initial(c->mss);
    uint32_t may = flight + (acked < initial ? acked : initial);
    if (may < initial)
        may = initial;
    if (may > c->undo_cwnd)
        may = c->undo_cwnd;
    if (may > c->cwnd) /* it comes back, or stays: the recovery may be over, and what is in flight says nothing any more */
        c->cwnd = may;
    c->ssthresh = c->undo_ssthresh;
    tcp_cc_undo(c);
    if (tcp_has(c, CONN_LOSS))
        tcp_rtt_raise(c, rtt_ns);
    c->flags &= ~(uint32_t)(CONN_UNDO | CONN_UNDO_TS | CONN_EIFEL | CONN_LOSS | CONN_RECOVERY | CONN_FAST_DUE | CONN_FIN_LOST);
    c->dupacks = 0;
    unmark(c);
    stats_count(c->tcp->stats, STATS_TCP_SPURIOUS, 1);
}

/* RFC 3522 section 3.2 steps 4 and 5.  Where nothing was sent again yet, nothing needs to be compared. True: taken back. */
bool tcp_undo_eifel(struct tcp_conn *c, uint32_t acked, const struct tcp_segment *s, uint64_t now)
{
    bool again = tcp_has(c, CONN_UNDO_TS), ts = tcp_has(c, CONN_TS) && s->has_ts;
    if (again && base_seq_lt(s->ack, c->undo_end))
        return false; /* what was late lay before it, and says nothing about it: RACK may send again what is not the oldest */
    c->flags &= ~(uint32_t)CONN_EIFEL; /* this is the first acceptable ACK; a later one says nothing */
    if (again && (c->undo_again > 1 || !(ts && (int32_t)(s->tsecr - c->undo_ts) < 0)))
        return false;
    uint32_t ticks = ts ? tcp_ts_now(c, now) - s->tsecr : 0;
    /* An ACK that was lost and is said again, in answer to the second copy, echoes the first one too: its time is that of an outage. Not so where
     * it comes sooner than an answer could, or where the peer would have said that the copy came twice. */
    bool late = again && ((tcp_has(c, CONN_SACK) && !(s->sack_count > 0 && tcp_sack_is_twice(s))) ||
                          (tcp_ts_now(c, now) - c->undo_ts + 1ull) << 20 < c->rtt_min_ns); /* 1: the tick that was cut off */
    tcp_undo(c, acked, late && ticks < 1u << 20 ? (uint64_t)ticks << 20 : 0);
    return true;
}

/* A D-SACK block, of what this recovery has sent again: beyond `recover` the network has doubled something, or a probe was needless.  Once all that was sent
 * again turns out to have been there, none of it had to be.  Where the same ACK is the first that acknowledges it (una is what was before), an earlier one was
 * lost: the time since then is no round trip, and would come again as the next timeout. */
void tcp_undo_twice(struct tcp_conn *c, const struct tcp_range *r, uint32_t una, uint64_t now)
{
    if (!tcp_has(c, CONN_UNDO) || c->undo_again == 0 || base_seq_lt(r->left, c->undo_una) || base_seq_gt(r->right, c->recover))
        return;
    if (--c->undo_again == 0)
        tcp_undo(c, 0, base_seq_le(r->right, una) ? now - c->undo_sent_ns : 0);
}
