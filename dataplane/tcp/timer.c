/* What happens when nothing does: retransmission and window probes, delayed ACKs, the end of waiting.
 *
 * A connection has one timer and three deadlines. A deadline that moves later, the common case, is only written down; the timer
 * fires at the old time, finds nothing due and is set anew. */
#include "conn.h"

#define KEEP_NS     75000000000ull /* between two probes, a quarter of the idle time at most */
#define KEEP_PROBES 8

/* RFC 9293 section 3.8.4: when an idle peer is to be asked (again). UINT64_MAX: never. */
static uint64_t keep_at(const struct tcp_conn *c)
{
    uint64_t idle = c->tcp->config.keepalive_ns, step = idle / 4 < KEEP_NS ? idle / 4 : KEEP_NS;
    if (idle == 0 || c->rexmit_at != 0 /* what is outstanding asks by itself */ || (c->state != TCP_ESTABLISHED && c->state != TCP_CLOSE_WAIT))
        return UINT64_MAX;
    return ((c->ts_recent_s + 1ull) << 30) + idle + c->keeps * step;
}

void tcp_timer_arm(struct tcp_conn *c)
{
    uint64_t first = keep_at(c);
    if (c->rexmit_at != 0 && c->rexmit_at < first)
        first = c->rexmit_at;
    if (c->delack_at != 0 && c->delack_at < first)
        first = c->delack_at;
    if (c->life_at != 0 && c->life_at < first)
        first = c->life_at;
    if (first == UINT64_MAX || (base_timer_armed(&c->timer) && c->timer.deadline_ns <= first))
        return;
    base_wheel_arm(&c->tcp->wheel, &c->timer, first);
}

static uint64_t interval(const struct tcp_conn *c)
{
    const struct tcp_config *k = &c->tcp->config;
    uint64_t most = k->rto_ns_max, rto = c->rto_ns;
    /* Less than two segments: the peer may wait for more before it acknowledges them (as RFC 8985 section 7.2 has it for its probe). */
    if (c->snd_nxt - c->snd_una < 2 * c->mss && rto < c->srtt_ns + k->peer_delack_ns)
        rto = c->srtt_ns + k->peer_delack_ns;
    for (unsigned i = 0; i < c->backoff && rto < most; i++)
        rto *= 2; /* RFC 6298 section 5.5 */
    return rto < most ? rto : most;
}

/* RFC 6298 section 5.1 to 5.3.  While backing off, the user timeout (RFC 9293 section 3.8.3) has a deadline of its own. */
void tcp_timer_rexmit(struct tcp_conn *c, uint64_t now)
{
    bool waiting = c->snd_una != c->snd_nxt || tcp_unsent(c) > 0 || tcp_has(c, CONN_SYN_DUE) ||
                   (tcp_has(c, CONN_FIN_QUEUED) && !tcp_has(c, CONN_FIN_SENT));
    c->rexmit_at = waiting ? now + interval(c) : 0;
    c->flags &= ~(uint32_t)(CONN_TLP_TIMER | CONN_REO_TIMER);
    uint64_t pto = tcp_tlp_timeout(c);
    if (pto != 0 && now + pto < c->rexmit_at) {
        c->rexmit_at = now + pto;
        c->flags |= CONN_TLP_TIMER;
    }
    if (c->state >= TCP_ESTABLISHED && c->state != TCP_FIN_WAIT_2)
        c->life_at = waiting && c->backoff > 0 ? c->progress_ns + c->tcp->config.user_timeout_ns : 0;
    if (waiting)
        tcp_timer_arm(c);
}

/* Before the timeout: a probe of the tail, or another look at what was late. */
static void early_fired(struct tcp_conn *c, uint64_t now)
{
    bool probe = tcp_has(c, CONN_TLP_TIMER) && tcp_tlp_timeout(c) != 0;
    bool late = tcp_has(c, CONN_REO_TIMER);
    if (probe) {
        c->flags |= CONN_TLP_DUE | CONN_TLP_OUT;
        c->tlp_end = c->snd_nxt;
        c->tlp_again = false;
    }
    tcp_timer_rexmit(c, now);
    if (late)
        tcp_loss_look(c, now);
    tcp_pend(c);
}

static void rexmit_fired(struct tcp_conn *c, uint64_t now)
{
    if (tcp_has(c, CONN_TLP_TIMER | CONN_REO_TIMER) && c->snd_wnd > 0) {
        early_fired(c, now);
        return;
    }
    if (c->backoff < 30)
        c->backoff++;
    if (c->state == TCP_SYN_SENT || c->state == TCP_SYN_RECEIVED) {
        c->flags |= CONN_SYN_DUE;
    } else if (c->snd_wnd == 0 || c->snd_una == c->snd_nxt) {
        if (c->life_at == 0 && tcp_has(c, CONN_USER)) /* all probes so far were answered */
            c->progress_ns = now;
        c->flags |= CONN_PROBE_DUE | CONN_PERSIST; /* a peer that answers probes is alive: no congestion, no loss */
    } else {
        tcp_loss_timeout(c, now);
    }
    tcp_pend(c);
    tcp_timer_rexmit(c, now);
}

/* Connecting took too long, an orphan waited too long for a FIN, or nothing was acknowledged for too long.  False: gone. */
static bool life_fired(struct tcp_conn *c, uint64_t now)
{
    if (c->state == TCP_FIN_WAIT_2) {
        tcp_conn_finish(c, TCP_OK);
        return false;
    }
    uint64_t end = c->progress_ns + c->tcp->config.user_timeout_ns;
    if (c->state >= TCP_ESTABLISHED && end > now) { /* the peer was heard of meanwhile */
        c->life_at = end;
        return true;
    }
    stats_count(c->tcp->stats, STATS_TCP_TIMEOUTS, 1);
    tcp_conn_finish(c, TCP_TIMED_OUT);
    return false;
}

/* False: nobody answered, it is gone. */
static bool keep_fired(struct tcp_conn *c, uint64_t now)
{
    if (now < ((c->ts_recent_s + 1ull) << 30) + c->tcp->config.keepalive_ns) {
        c->keeps = 0; /* heard of since */
        return true;
    }
    if (keep_at(c) > now)
        return true;
    if (c->keeps == KEEP_PROBES) {
        stats_count(c->tcp->stats, STATS_TCP_TIMEOUTS, 1);
        tcp_conn_reset(c);
        tcp_conn_finish(c, TCP_TIMED_OUT);
        return false;
    }
    c->keeps++;
    c->flags |= CONN_PROBE_DUE;
    tcp_pend(c);
    return true;
}

/* May free the connection. */
void tcp_timer_fired(struct tcp_conn *c, uint64_t now)
{
    if (c->life_at != 0 && c->life_at <= now && !life_fired(c, now))
        return;
    if (c->tcp->config.keepalive_ns != 0 && !keep_fired(c, now))
        return;
    if (c->delack_at != 0 && c->delack_at <= now) {
        c->delack_at = 0;
        tcp_ack_now(c);
    }
    if (c->rexmit_at != 0 && c->rexmit_at <= now)
        rexmit_fired(c, now);
    if (tcp_has(c, CONN_PACED)) {
        c->flags &= ~CONN_PACED;
        tcp_pend(c);
    }
    tcp_timer_arm(c);
}

#define LOOKS 1024 /* places of the flow table a tick */

/* Buffers are there again, or keepalive's time has changed: who was told nothing, or waits for the old time, is looked at.  A connection that moves in the table
 * meanwhile may be missed: its peer asks, or its timer comes, in time. */
static void look_again(struct tcp *t, uint64_t now)
{
    uint32_t tick = (uint32_t)(now >> BASE_WHEEL_TICK_SHIFT);
    if (t->look_at == UINT32_MAX || tick == t->look_tick)
        return;
    t->look_tick = tick;
    struct tcp_conn *c;
    uint32_t end = t->look_at + LOOKS;
    while (t->look_at < end && (c = tcp_conn_walk(t, &t->look_at, end - t->look_at)) != NULL) {
        tcp_timer_arm(c);
        if (tcp_rx_update_due(c))
            tcp_pend(c);
    }
}

/* First windows stop opening, then connections; receive rings have their buffers apart (packet_keep). */
static void pressure(struct tcp *t)
{
    bool was = t->pressed != TCP_PRESSED_NOT;
    uint32_t reserved = packet_pool_reserved(t->pool), size = packet_pool_size(t->pool) - reserved, used = packet_pool_in_use(t->pool);
    used = used > reserved ? used - reserved : 0;
    t->pressed = used > size / 8 * 7 ? TCP_PRESSED_OPENS : used > size / 4 * 3 ? TCP_PRESSED_WINDOWS : TCP_PRESSED_NOT;
    if (was && t->pressed == TCP_PRESSED_NOT)
        t->look_at = 0; /* windows that were kept shut open, whoever reads meanwhile: nobody else would tell their peers */
}

void tcp_tick(struct tcp *t, uint64_t now)
{
    tcp_turn_begin(t);
    pressure(t);
    look_again(t, now);
    tcp_hoard_tick(t, now);
    for (struct base_timer *e; (e = base_wheel_expire(&t->wheel, now)) != NULL;)
        tcp_timer_fired(base_container(e, struct tcp_conn, timer), now);
    tcp_timewait_tick(t, now);
}
