/* cc.h: congestion control: how large the window may be.  What is lost is decided elsewhere (ack.c).  Told apart by
 * tcp_conn.cc, a branch and not a pointer; each algorithm is a set of these four functions. */
#ifndef TCP_CC_H
#define TCP_CC_H

#include "conn.h"

/* RFC 6928: ten segments, or about that in bytes. */
static inline uint32_t tcp_cc_initial(uint32_t mss)
{
    uint32_t most = 2 * mss > 14600 ? 2 * mss : 14600;
    return 10 * mss < most ? 10 * mss : most;
}

/* RFC 5681 section 3.1, equation 4. */
static inline uint32_t tcp_reno_ssthresh(const struct tcp_conn *c)
{
    uint32_t half = (c->snd_nxt - c->snd_una) / 2;
    return half > 2 * c->mss ? half : 2 * c->mss;
}

/* RFC 3465: by bytes acknowledged; in slow start at most two segments an ACK, one after a timeout. */
static inline void tcp_reno_acked(struct tcp_conn *c, uint32_t acked)
{
    if (c->cwnd < c->ssthresh) {
        uint32_t limit = tcp_has(c, CONN_LOSS) ? c->mss : 2 * c->mss;
        c->cwnd += acked < limit ? acked : limit;
        return;
    }
    c->cc_bytes += acked;
    if (c->cc_bytes >= c->cwnd) {
        c->cc_bytes -= c->cwnd;
        c->cwnd += c->mss;
    }
}

static inline uint32_t tcp_cc_ssthresh(const struct tcp_conn *c)
{
    switch ((enum tcp_cc)c->cc) {
    case TCP_CC_RENO:
        break;
    }
    return tcp_reno_ssthresh(c);
}

/* Outside recovery, and only where the window was what held the sender back (RFC 7661 section 4.3). */
static inline void tcp_cc_acked(struct tcp_conn *c, uint32_t acked)
{
    switch ((enum tcp_cc)c->cc) {
    case TCP_CC_RENO:
        tcp_reno_acked(c, acked);
        break;
    }
}

/* RFC 5681 section 4.1: after an idle time longer than the RTO the ACK clock is gone. */
static inline void tcp_cc_idle(struct tcp_conn *c)
{
    uint32_t restart = tcp_cc_initial(c->mss);
    if (c->cwnd > restart)
        c->cwnd = restart;
}

#endif
