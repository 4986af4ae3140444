/* Loss by time: RFC 8985, for connections with SACK.
 *
 * RACK: what was sent before something that has arrived, by more than a round trip and a margin for reordering, is lost.  The margin is nothing
 *       until reordering is seen (then three segments above a hole are enough), a quarter of the least round trip after; D-SACKs widen it.
 * TLP:  a tail that nobody acknowledges is probed after two round trips with its last segment (or a new one), so that RACK has something
 *       to judge by, long before the timeout.
 *
 * Sent times are on the buffers.  Those sent once are in order of time, and one that was sent again is younger than all that follow
 * it on the queue were then, so that the walk ends at the first that was sent once and too late. */
#include "cc.h"

#define PTO_NS_MIN (2u << 20) /* two ticks of the timer wheel */
#define REO_PERSIST 16        /* recoveries that a wider margin outlives */

static bool sent_after(uint64_t a_ns, uint32_t a_end, uint64_t b_ns, uint32_t b_end)
{
    return a_ns > b_ns || (a_ns == b_ns && base_seq_gt(a_end, b_end));
}

/* Section 6.2 steps 2 and 3: b has arrived. */
void tcp_rack_arrived(struct tcp_conn *c, const struct tcp_buf *b, const struct tcp_segment *s, uint64_t now)
{
    uint32_t end = b->seq + b->len;
    uint64_t rtt = now - b->sent_ns;
    if (b->flags & BUF_RETX) {
        bool first = s->has_ts && tcp_has(c, CONN_TS) && (int32_t)(s->tsecr - tcp_ts_now(c, b->sent_ns)) < 0;
        if (first || rtt < c->rtt_min_ns)
            return; /* it may have been the first copy */
    } else if (base_seq_lt(end, c->rack_high)) {
        c->rack_reordering = true;
    }
    c->rack_high = base_seq_max(c->rack_high, end);
    if (sent_after(b->sent_ns, end, c->rack_sent_ns, c->rack_end)) {
        c->rack_sent_ns = b->sent_ns;
        c->rack_end = end;
        c->rack_rtt_ns = rtt;
    }
}

/* Section 6.2 step 4. */
static uint64_t margin(const struct tcp_conn *c)
{
    if (!c->rack_reordering && (tcp_has(c, CONN_RECOVERY | CONN_LOSS) || c->sacked_count >= 3))
        return 0;
    uint64_t wnd = c->rtt_min_ns / 4 * c->rack_mult;
    return wnd < c->srtt_ns ? wnd : c->srtt_ns;
}

/* A D-SACK: the margin was too small, once a round trip.  DEVIATION: what went out again by RACK's judgement and had come all the same is reordering, seen. */
void tcp_rack_twice(struct tcp_conn *c)
{
    if (!tcp_has(c, CONN_LOSS) && c->undo_again > 0)
        c->rack_reordering = true;
    if (base_seq_lt(c->snd_una, c->rack_round))
        return;
    c->rack_round = c->snd_nxt;
    c->rack_mult = c->rack_mult < 255 ? (uint8_t)(c->rack_mult + 1) : 255;
    c->rack_persist = REO_PERSIST;
}

void tcp_rack_recovered(struct tcp_conn *c)
{
    if (c->rack_persist > 0 && --c->rack_persist == 0)
        c->rack_mult = 1;
}

/* Section 6.2 step 5.  What may still be late is looked at again when its time is up.  True: something is lost. */
bool tcp_rack_detect(struct tcp_conn *c, uint64_t now)
{
    uint64_t reo = margin(c), wait = 0;
    uint32_t work = c->tcp->config.sack_work;
    bool any = false;
    for (struct packet *p = c->snd_head; p != NULL && work > 0; p = tcp_buf(p)->next, work--) {
        const struct tcp_buf *b = tcp_buf(p);
        if (!(b->flags & BUF_SENT))
            break;
        if (b->flags & (BUF_SACKED | BUF_LOST))
            continue;
        if (!sent_after(c->rack_sent_ns, c->rack_end, b->sent_ns, b->seq + b->len)) {
            if (!(b->flags & BUF_RETX))
                break;
            continue;
        }
        uint64_t due = b->sent_ns + c->rack_rtt_ns + reo;
        if (due <= now)
            any |= tcp_loss_mark(c, p);
        else if (due - now > wait)
            wait = due - now;
    }
    if (wait > 0) {
        c->rexmit_at = now + wait;
        c->flags = (c->flags & ~(uint32_t)CONN_TLP_TIMER) | CONN_REO_TIMER;
        tcp_timer_arm(c);
    }
    return any;
}

/* Section 6.3: the timer expired.  The first is lost, and what was out for a round trip; the rest may still be on its way: it stays in flight, beside the one
 * segment that RFC 5681 grants, and what arrives of it, or of the first, tells. */
void tcp_rack_timeout(struct tcp_conn *c, uint64_t now)
{
    uint64_t late = c->srtt_ns + margin(c);
    bool spared = false;
    for (struct packet *p = c->snd_head; p != NULL && (tcp_buf(p)->flags & BUF_SENT); p = tcp_buf(p)->next) {
        if (p == c->snd_head || tcp_buf(p)->sent_ns + late <= now)
            tcp_loss_mark(c, p);
        else
            spared |= !(tcp_buf(p)->flags & (BUF_LOST | BUF_SACKED));
    }
    if (tcp_has(c, CONN_FIN_SENT) && !spared)
        c->flags |= CONN_FIN_LOST;
    c->cwnd = tcp_in_flight(c) + c->mss;
    tcp_pend(c);
}

/* Section 7.2. 0: no probe. */
uint64_t tcp_tlp_timeout(const struct tcp_conn *c)
{
    const uint32_t not_now = CONN_RECOVERY | CONN_LOSS | CONN_SACKED | CONN_PERSIST | CONN_TLP_OUT | CONN_FIN_LOST;
    uint32_t flight = c->snd_nxt - c->snd_una;
    if (!tcp_has(c, CONN_SACK) || tcp_has(c, not_now) || c->state < TCP_ESTABLISHED || c->backoff > 0 || c->srtt_ns == 0 || flight == 0 ||
        c->snd_head == NULL || c->snd_wnd == 0)
        return 0;
    uint64_t pto = 2 * c->srtt_ns + (flight < 2 * c->mss ? c->tcp->config.peer_delack_ns : 0);
    return pto > PTO_NS_MIN ? pto : PTO_NS_MIN;
}

/* Section 7.4.2.  twice: the ACK reports what the probe sent to have come twice; plain: it says nothing at all. */
void tcp_tlp_acked(struct tcp_conn *c, const struct tcp_segment *s, bool twice, bool plain)
{
    if (base_seq_lt(s->ack, c->tlp_end))
        return;
    if (c->tlp_again && !twice && s->ack == c->tlp_end && !plain)
        return; /* not known yet whether the probe or the first copy was acknowledged */
    c->flags &= ~(uint32_t)CONN_TLP_OUT;
    if (!c->tlp_again || twice || s->ack == c->tlp_end || tcp_has(c, CONN_RECOVERY | CONN_LOSS))
        return;
    c->ssthresh = tcp_cc_reduce(c, false); /* the probe repaired a loss */
    if (c->cwnd > c->ssthresh)
        c->cwnd = c->ssthresh;
}
