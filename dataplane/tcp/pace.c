/* Pacing: a bulk that the window allows at once is spread over the round trip, so that it does not fill the queue of a router that others need, nor its own.
 *
 * Who:   new data of a connection with more than PACE_QUEUE unsent and a window larger than that, on a path with a round trip of some ticks of the timer wheel.  Below
 *        that a tick is no finer than the window, and what is written by the RPC never waits.
 * Rate:  twice a window in a round trip in slow start, a fifth more than one in congestion avoidance (as Linux has them), so that the ACKs still are what limits.
 * How:   pace_at moves on by what each segment takes at that rate; who is ahead of it waits for the timer.  Since a timer fires a tick late or more, what was missed
 *        meanwhile may be caught up with, CREDIT_NS of it at most: a quantum is a tick's worth. */
#include "cc.h"

#define PACE_UNIT 8 /* log2 ns: 32 bits hold nine minutes either way */
#define RTT_LEAST_NS (4ull << BASE_WHEEL_TICK_SHIFT)
#define CREDIT_NS    (4ull << BASE_WHEEL_TICK_SHIFT)

/* How long n bytes take. */
static uint64_t takes_ns(const struct tcp_conn *c, uint32_t n)
{
    uint32_t percent = c->cwnd < c->ssthresh / 2 || c->ssthresh == UINT32_MAX ? 200 : 120;
    return c->srtt_ns * n / ((uint64_t)c->cwnd * percent / 100);
}

static bool bulk(const struct tcp_conn *c)
{
    return c->tcp->config.pacing && c->cwnd > PACE_QUEUE && c->srtt_ns >= RTT_LEAST_NS;
}

bool tcp_pace_waits(struct tcp_conn *c, uint64_t now)
{
    int32_t ahead = (int32_t)(c->pace_at - (uint32_t)(now >> PACE_UNIT));
    uint64_t at = now + ((uint64_t)(ahead > 0 ? ahead : 0) << PACE_UNIT);
    if (ahead <= 0 || !bulk(c) || at - now > c->srtt_ns) /* the last: from long ago */
        return false;
    c->flags |= CONN_PACED;
    at += takes_ns(c, c->mss); /* two segments' worth, if a tick is less */
    if (!base_timer_armed(&c->timer) || c->timer.deadline_ns > at)
        base_wheel_arm(&c->tcp->wheel, &c->timer, at);
    return true;
}

void tcp_pace_sent(struct tcp_conn *c, uint32_t n, uint64_t now)
{
    uint32_t least = (uint32_t)((now - CREDIT_NS) >> PACE_UNIT);
    if (!bulk(c))
        return;
    int32_t behind = (int32_t)(least - c->pace_at);
    if (behind > 0 || behind < -(int32_t)((CREDIT_NS + c->srtt_ns) >> PACE_UNIT)) /* the latter: from long ago */
        c->pace_at = least;
    c->pace_at += (uint32_t)(takes_ns(c, n) >> PACE_UNIT);
}
