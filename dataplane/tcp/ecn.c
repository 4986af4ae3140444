/* Explicit congestion notification (RFC 3168): a router marks a packet where it would else drop it.
 *
 *     SYN:      ECE and CWR ask, ECE alone on the SYN-ACK agrees.  A SYN that must be sent again does not ask any more (section 6.1.1.1).
 *     sender:   new data says in its IP header that it may be marked; what is sent again, probes and ACKs do not (sections 6.1.4 to 6.1.6).
 *               ECE on an ACK reduces the window as a loss would, once a round trip; the next new data says so by CWR.
 *     receiver: a mark is told by ECE on all that is sent, until CWR comes.
 *
 * The bits stand in tcp_conn.ecn where the header has them, so that sending costs an OR. */
#include "cc.h"

/* The peer's SYN or SYN-ACK. */
void tcp_ecn_syn_take(struct tcp_conn *c, const struct tcp_segment *s)
{
    bool asks = (s->flags & (TCP_ECE | TCP_CWR)) == (TCP_ECE | TCP_CWR), agrees = (s->flags & (TCP_ECE | TCP_CWR)) == TCP_ECE;
    if (s->flags & TCP_ACK)
        c->ecn = agrees ? c->ecn & ECN_ON : 0; /* both bits: something that mirrors what it gets */
    else
        c->ecn = asks && c->state == TCP_CLOSED && c->tcp->config.ecn != TCP_ECN_OFF ? ECN_ON : 0; /* not where both ends open at once */
    if (c->ecn & ECN_ON)
        stats_count(c->tcp->stats, STATS_TCP_ECN, 1);
}

/* Section 6.1.3: an acceptable segment with data and a mark, or with the answer to an earlier one. */
void tcp_ecn_marked(struct tcp_conn *c, const struct tcp_segment *s)
{
    if (s->flags & TCP_CWR)
        c->ecn &= (uint8_t)~ECN_ECE;
    if (!(s->flags & TCP_CE))
        return;
    stats_count(c->tcp->stats, STATS_TCP_ECN_MARKS, 1);
    if (!(c->ecn & ECN_ECE)) /* the sooner the sender hears of it the better */
        tcp_ack_now(c);
    c->ecn |= ECN_ECE;
}

/* Section 6.1.2: an ACK with ECE.  A peer that lies only slows itself down.
 * DEVIATION: a window of two segments (RFC 5681 section 3.1, as after a loss) is not reduced any further; the section would have one segment, and then the
 * timer slow the sender down. */
void tcp_ecn_echoed(struct tcp_conn *c, const struct tcp_segment *s)
{
    if (tcp_has(c, CONN_RECOVERY | CONN_LOSS)) { /* reduced already; but there was congestion, whatever turns out to have been needless */
        c->flags &= ~(uint32_t)(CONN_UNDO | CONN_EIFEL);
        return;
    }
    if (base_seq_le(s->ack, c->recover)) /* of the window that was reduced for already */
        return;
    c->ssthresh = tcp_cc_reduce(c, false);
    if (c->cwnd > c->ssthresh)
        c->cwnd = c->ssthresh;
    c->cc_bytes = 0;
    c->recover = c->snd_nxt;
    c->flags &= ~(uint32_t)(CONN_UNDO | CONN_EIFEL);
    c->ecn |= ECN_REDUCED | ECN_CWR;
    stats_count(c->tcp->stats, STATS_TCP_ECN_REDUCTIONS, 1);
}
