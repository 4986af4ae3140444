/* The largest packet that the path takes: RFC 1191 and 8201 by ICMP, as far as it can be believed (RFC 5927), and where ICMP does not come
 * (a black hole), by what gets through (in the spirit of RFC 4821): full segments that time out again and again are tried smaller.
 *
 *     first guess: the least of the peer's MSS and our link  --- ICMP, in flight, not absurd --->  what it says
 *                                        \---- third timeout in a row ---> 1,280 bytes ---- fifth, IPv4 ---> 576
 *
 * It only falls.  A connection that found a smaller path keeps to it for its life; the next one begins with the first guess again. */
#include "cc.h"

#define STEP_FIRST  3
#define STEP_SECOND 5
#define MTU_FIRST   1280 /* RFC 8200 section 5: what every IPv6 path takes, and nearly every tunnel */
#define MTU_SECOND  576  /* RFC 9293 section 3.7.1 */

static uint32_t mss_for(const struct tcp_conn *c, uint32_t mtu)
{
    return mtu - (base_addr_is_v4(&c->flow.remote) ? 20 : 40) - TCP_HEADER - (tcp_has(c, CONN_TS) ? TCP_TS_OPTION : 0);
}

/* RFC 5927: only about what is in flight.  A hard error ends a connection that is not yet open (RFC 1122 section 4.2.3.9); later it is no
 * more than a hint, which the timeouts do not need. */
void tcp_icmp_error(struct tcp *t, const struct base_flow *flow, uint32_t seq, bool hard, uint32_t mtu, uint64_t now)
{
    struct tcp_conn *c = tcp_table_find(t, flow, base_flow_hash(&t->config.isn_key, flow));
    if (c == NULL || !base_seq_ge(seq, c->snd_una) || !base_seq_lt(seq, c->snd_nxt)) {
        stats_drop(t->stats, STATS_DROP_TCP_BAD_ICMP);
        return;
    }
    if (hard && c->state == TCP_SYN_SENT) {
        tcp_conn_finish(c, TCP_UNREACHABLE);
        return;
    }
    uint32_t least = base_addr_is_v4(&flow->remote) ? 576 : 1280; /* RFC 8201 section 4; below 576 an attack is likelier than a link (RFC 5927 section 7.2) */
    if (mtu == 0 || c->state < TCP_ESTABLISHED)
        return;
    uint32_t mss = mss_for(c, mtu > least ? mtu : least);
    if (mss >= c->mss)
        return;
    stats_count(t->stats, STATS_TCP_PATH_MTU, 1);
    c->mss = mss;
    c->recover = c->snd_nxt;
    c->dupacks = 0;
    c->flags &= ~(uint32_t)(CONN_RECOVERY | CONN_UNDO | CONN_EIFEL);
    c->flags |= CONN_LOSS | CONN_FAST_DUE; /* all in flight goes out again in smaller pieces; that is no congestion */
    tcp_loss_mark_all(c);
    tcp_timer_rexmit(c, now);
}

/* A timeout, the c->backoff-th in a row.  Small segments that are lost as well prove nothing. */
void tcp_pmtu_timeout(struct tcp_conn *c)
{
    bool v4 = base_addr_is_v4(&c->flow.remote);
    uint32_t mtu = c->backoff >= STEP_SECOND && v4 ? MTU_SECOND : MTU_FIRST; /* later, too: the path may have become smaller within an outage */
    if (c->backoff < STEP_FIRST || c->snd_head == NULL)
        return;
    uint32_t mss = mss_for(c, mtu);
    if (mss >= c->mss || tcp_tx_outstanding(c, tcp_buf(c->snd_head)) <= mss)
        return;
    stats_count(c->tcp->stats, STATS_TCP_BLACK_HOLES, 1);
    c->mss = mss;
}
