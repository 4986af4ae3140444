/* cc.h: congestion control: how large the window may be.  What is lost is decided elsewhere (ack.c).  Told apart by
 * tcp_conn.cc, a branch and not a pointer; each algorithm is a set of these functions. */
#ifndef TCP_CC_H
#define TCP_CC_H

#include "conn.h"

/* RFC 6928: ten segments, or about that in bytes. */
static inline uint32_t tcp_cc_initial(uint32_t mss)
{
    uint32_t most = 2 * mss > 14600 ? 2 * mss : 14600;
    return 10 * mss < most ? 10 * mss : most;
}

/* RFC 5681's FlightSize, at a congestion event.  What went out beyond the window, in place of segments that had left the network while
 * it was not known yet whether others were lost or late, does not count (section 3.2 step 2). */
static inline uint32_t tcp_cc_flight(const struct tcp_conn *c)
{
    uint32_t flight = c->snd_nxt - c->snd_una;
    return flight < c->cwnd ? flight : c->cwnd;
}

/* RFC 5681 section 3.1, equation 4. */
static inline uint32_t tcp_reno_reduce(const struct tcp_conn *c)
{
    uint32_t half = tcp_cc_flight(c) / 2;
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

/* cubic.c */
void tcp_cubic_init(struct tcp_conn *c);
void tcp_cubic_acked(struct tcp_conn *c, uint32_t acked, uint64_t rtt_ns, uint64_t now);
uint32_t tcp_cubic_reduce(struct tcp_conn *c, bool timeout);
void tcp_cubic_undo(struct tcp_conn *c);

/* The connection can send: mss and snd_nxt are known. */
static inline void tcp_cc_open(struct tcp_conn *c)
{
    c->cwnd = tcp_cc_initial(c->mss);
    if (c->cc == TCP_CC_CUBIC)
        tcp_cubic_init(c);
}

/* A congestion event: what ssthresh becomes. */
static inline uint32_t tcp_cc_reduce(struct tcp_conn *c, bool timeout)
{
    return c->cc == TCP_CC_CUBIC ? tcp_cubic_reduce(c, timeout) : tcp_reno_reduce(c);
}

/* Outside recovery, and only where the window was what held the sender back (RFC 7661 section 4.3).  rtt_ns: of the newest segment
 * acknowledged, where it was sent once; 0: not known. */
static inline void tcp_cc_acked(struct tcp_conn *c, uint32_t acked, uint64_t rtt_ns, uint64_t now)
{
    if (c->cc == TCP_CC_CUBIC)
        tcp_cubic_acked(c, acked, rtt_ns, now);
    else
        tcp_reno_acked(c, acked);
}

/* ssthresh is again what it was before the last event. */
static inline void tcp_cc_undo(struct tcp_conn *c)
{
    if (c->cc == TCP_CC_CUBIC)
        tcp_cubic_undo(c);
}

/* RFC 5681 section 4.1: after an idle time longer than the RTO the ACK clock is gone.  As RFC 2861 has it, the window halves with each RTO of it down to
 * the restart window, and ssthresh remembers three quarters of what it was, so that a connection that bursts is not thrown back to ten segments each time. */
static inline void tcp_cc_idle(struct tcp_conn *c, uint64_t idle_ns)
{
    uint32_t restart = tcp_cc_initial(c->mss), keep = c->cwnd - c->cwnd / 4;
    if (c->cwnd <= restart)
        return;
    if (c->ssthresh < keep)
        c->ssthresh = keep;
    for (; idle_ns > c->rto_ns && c->cwnd > restart; idle_ns -= c->rto_ns)
        c->cwnd /= 2;
    if (c->cwnd < restart)
        c->cwnd = restart;
}

#endif
