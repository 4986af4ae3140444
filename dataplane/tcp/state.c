/* The life of a connection: made, moved from state to state, ended.  The only file that writes tcp_conn.state, that posts
 * events and that queues answers without a connection. */
#include "conn.h"

#define TO(s) (1u << TCP_##s)
/* RFC 9293 section 3.3.2, figure 5; every state may also fall to CLOSED. */
static const uint16_t transitions[] = {
    [TCP_CLOSED] = TO(SYN_SENT) | TO(SYN_RECEIVED),
    [TCP_LISTEN] = 0, /* listeners are not connections */
    [TCP_SYN_SENT] = TO(SYN_RECEIVED) | TO(ESTABLISHED),
    [TCP_SYN_RECEIVED] = TO(ESTABLISHED) | TO(FIN_WAIT_1),
    [TCP_ESTABLISHED] = TO(FIN_WAIT_1) | TO(CLOSE_WAIT),
    [TCP_FIN_WAIT_1] = TO(FIN_WAIT_2) | TO(CLOSING) | TO(TIME_WAIT),
    [TCP_FIN_WAIT_2] = TO(TIME_WAIT),
    [TCP_CLOSE_WAIT] = TO(LAST_ACK),
    [TCP_CLOSING] = TO(TIME_WAIT),
    [TCP_LAST_ACK] = 0,
    [TCP_TIME_WAIT] = 0,
};

void tcp_state_set(struct tcp_conn *c, enum tcp_state state)
{
    assert(state == TCP_CLOSED || (transitions[c->state] & (1u << state)) != 0);
    (void)transitions;
    c->state = (uint8_t)state;
}

uint16_t tcp_mss_ours(const struct tcp *t, const struct base_flow *flow)
{
    uint32_t ip = base_addr_is_v4(&flow->remote) ? 20 : 40; /* RFC 6691: fixed headers, no options */
    uint32_t mss = t->config.mtu - ip - TCP_HEADER;
    return (uint16_t)(mss < t->room ? mss : t->room);
}

void tcp_mss_set(struct tcp_conn *c, uint32_t peer_mss)
{
    uint32_t ours = tcp_mss_ours(c->tcp, &c->flow);
    if (peer_mss == 0) /* RFC 9293 section 3.7.1 */
        peer_mss = base_addr_is_v4(&c->flow.remote) ? 536 : 1220;
    uint32_t mss = peer_mss < ours ? peer_mss : ours;
    if (tcp_has(c, CONN_TS)) /* RFC 6691: the sender makes room for its options */
        mss -= mss > TCP_TS_OPTION ? TCP_TS_OPTION : mss;
    if (mss < MSS_MIN) {
        stats_count(c->tcp->stats, STATS_TCP_MSS_RAISED, 1);
        mss = MSS_MIN;
    }
    c->mss = mss;
}

struct tcp_conn *tcp_conn_open(struct tcp *t, const struct base_flow *flow, uint32_t hash, uint64_t now)
{
    if (t->pressed == TCP_PRESSED_OPENS) {
        stats_drop(t->stats, STATS_DROP_TCP_MEMORY);
        return NULL;
    }
    struct tcp_conn *c = base_slab_alloc(&t->conns);
    if (c == NULL) {
        stats_drop(t->stats, STATS_DROP_TCP_CONNECTIONS_FULL);
        return NULL;
    }
    memset(c, 0, sizeof(*c));
    c->flow = *flow;
    c->flow.ecn = BASE_ECN_NONE;
    c->tcp = t;
    c->hash = hash;
    c->state = TCP_CLOSED;
    c->cc = (uint8_t)t->config.cc;
    base_list_init(&c->pending_link);
    base_list_init(&c->event_link);
    base_timer_init(&c->timer);
    base_list_push_back(&t->all, &c->all_link);
    c->rcv_wscale = t->rcv_wscale;
    c->rcv_mss = 536;
    c->ts_offset = tcp_ts_offset(t, flow);
    c->iss = tcp_isn(t, flow, now);
    c->snd_una = c->iss;
    c->snd_nxt = c->snd_end = c->rtt_seq = c->iss + 1;
    c->recover = c->iss; /* RFC 6582 section 3.2 */
    c->rto_ns = 1000000000; /* RFC 6298 section 2.1 */
    c->ssthresh = UINT32_MAX;
    c->rtt_min_ns = UINT64_MAX;
    c->rack_mult = 1;
    c->rack_round = c->rack_high = c->iss;
    c->progress_ns = now;
    c->life_at = now + t->config.connect_ns;
    tcp_mss_set(c, 0);
    tcp_table_add(c);
    return c;
}

static void half_open_done(struct tcp_conn *c)
{
    if (!tcp_has(c, CONN_HALF_OPEN))
        return;
    c->flags &= ~(uint32_t)CONN_HALF_OPEN;
    c->tcp->half_open--;
}

/* Off the wire: no segment finds it, no timer, nothing to send. */
static void detach(struct tcp_conn *c)
{
    half_open_done(c);
    tcp_table_remove(c);
    base_wheel_cancel(&c->tcp->wheel, &c->timer);
    base_list_remove(&c->pending_link);
    c->rexmit_at = c->delack_at = c->life_at = 0;
    tcp_tx_free(c);
}

void tcp_conn_free(struct tcp_conn *c)
{
    struct tcp *t = c->tcp;
    detach(c);
    tcp_rx_free(c);
    base_list_remove(&c->event_link);
    base_list_remove(&c->all_link);
    t->rcv_promised -= c->rcv_limit;
    base_slab_free(&t->conns, c);
}

void tcp_conn_finish(struct tcp_conn *c, enum tcp_error error)
{
    tcp_state_set(c, TCP_CLOSED);
    if (!tcp_has(c, CONN_USER)) {
        tcp_conn_free(c);
        return;
    }
    detach(c);
    if (error != TCP_OK) /* RFC 9293 section 3.10.7.4: all queues are flushed */
        tcp_rx_free(c);
    else
        tcp_rx_keep(c); /* the last turn that it is looked at */
    c->error = (uint8_t)error;
    tcp_event_post(c, TCP_EVENT_CLOSED);
}

/* The last ACK goes out without the connection, which may be freed here. */
void tcp_conn_time_wait(struct tcp_conn *c, uint64_t now)
{
    tcp_state_set(c, TCP_TIME_WAIT);
    tcp_timewait_add(c->tcp, c, now);
    if (tcp_has(c, CONN_ACK_NOW) || c->last_ack != c->rcv_nxt) {
        uint32_t wnd = tcp_window(c) >> c->rcv_wscale;
        tcp_reply(c->tcp, &(struct tcp_reply){c->flow, c->snd_nxt, c->rcv_nxt, c->ts_recent,
                                              (uint16_t)(wnd < 0xffff ? wnd : 0xffff), TCP_ACK, tcp_has(c, CONN_TS)});
    }
    tcp_conn_finish(c, TCP_OK);
}

void tcp_conn_reset(struct tcp_conn *c)
{
    if (c->state == TCP_CLOSED || c->state == TCP_SYN_SENT)
        return;
    uint32_t seq = c->snd_nxt;
    tcp_reply(c->tcp, &(struct tcp_reply){c->flow, seq, c->rcv_nxt, c->ts_recent, 0, TCP_RST | TCP_ACK, tcp_has(c, CONN_TS)});
}

void tcp_event_post(struct tcp_conn *c, uint32_t events)
{
    struct tcp *t = c->tcp;
    if (!tcp_has(c, CONN_USER))
        return;
    if (events & (TCP_EVENT_ACCEPTED | TCP_EVENT_CONNECTED))
        half_open_done(c);
    c->events |= events;
    if (base_list_empty(&c->event_link))
        base_list_push_back(t->pulling ? &t->events_later : &t->events, &c->event_link);
}

void tcp_reply(struct tcp *t, const struct tcp_reply *r)
{
    if (t->reply_tail - t->reply_head == TCP_REPLIES) {
        stats_drop(t->stats, STATS_DROP_TCP_REPLIES_FULL);
        return;
    }
    struct tcp_reply *at = &t->replies[t->reply_tail++ % TCP_REPLIES];
    *at = *r;
    at->flow.ecn = BASE_ECN_NONE; /* its flow may be that of the segment it answers */
}

/* RFC 9293 section 3.10.7.1: what answers a segment that no connection wants. */
void tcp_reply_rst(struct tcp *t, const struct base_flow *flow, const struct tcp_segment *s)
{
    if (s->flags & TCP_RST)
        return;
    struct tcp_reply r = {.flow = *flow, .flags = TCP_RST};
    if (s->flags & TCP_ACK) {
        r.seq = s->ack;
    } else {
        r.flags |= TCP_ACK;
        r.ack = s->seq + s->len + ((s->flags & TCP_SYN) != 0) + ((s->flags & TCP_FIN) != 0);
    }
    tcp_reply(t, &r);
}

#define CHALLENGES_A_SECOND 1000

/* RFC 5961 section 7.  The budget of each second is drawn at random, so that nobody learns from another's answers how much of
 * it is gone (CVE-2016-5696). */
bool tcp_challenge_allowed(struct tcp *t, uint64_t now)
{
    if (now - t->challenge_ns >= 1000000000) {
        t->challenge_ns = now;
        t->challenge_left = CHALLENGES_A_SECOND / 2 + (uint32_t)(tcp_random(t) % CHALLENGES_A_SECOND);
    }
    if (t->challenge_left == 0) {
        stats_drop(t->stats, STATS_DROP_TCP_CHALLENGE_RATE);
        return false;
    }
    t->challenge_left--;
    stats_count(t->stats, STATS_TCP_CHALLENGE_ACKS, 1);
    return true;
}
