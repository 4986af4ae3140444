/* Who keeps the buffers that all connections share: what send queues hold together is bounded, whatever each may hold by its own sndbuf.
 *
 *     0 ......... snd_mark ......... snd_high ......... size of the pool
 *       as sndbuf   |   an equal share  |   a share of what is left, and the worst
 *       allows      |   of snd_mark     |   of those whose peers take nothing is reset
 *
 * A share is never nothing, so whoever is refused has some buffers under way, and looks again when its own ACK comes: no list of those who wait.
 * Buffers of receive rings lie elsewhere. */
#include "conn.h"

#define SHARE_LEAST 16           /* as BUFS_LEAST of tx.c */
#define HIGH_LEAST  4            /* above snd_high */
#define STALLED_NS  500000000ull /* nothing was acknowledged for so long */
#define LOOKS       256          /* places of the flow table a tick */

static uint32_t most(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

void tcp_hoard_init(struct tcp *t)
{
    uint32_t size = packet_pool_size(t->pool) - packet_pool_reserved(t->pool);
    t->snd_mark = t->config.snd_buffers != 0 ? t->config.snd_buffers : size / 2;
    t->snd_high = t->snd_mark + (size > t->snd_mark ? (size - t->snd_mark) / 2 : 0);
    t->snd_share = SHARE_LEAST;
    t->snd_high_share = HIGH_LEAST;
}

/* A window that its owner keeps shut is no progress, though he answers its probes. */
static bool stalled(const struct tcp_conn *c, uint64_t now)
{
    return tcp_has(c, CONN_PERSIST) || now - c->progress_ns >= STALLED_NS;
}

static void end_worst(struct tcp *t, uint64_t now)
{
    struct tcp_conn *worst = NULL, *c;
    uint32_t end = t->hoard_at + LOOKS;
    while (t->hoard_at < end && (c = tcp_conn_walk(t, &t->hoard_at, end - t->hoard_at)) != NULL)
        if (c->snd_bufs >= HIGH_LEAST && stalled(c, now) && (worst == NULL || c->snd_bufs > worst->snd_bufs))
            worst = c;
    if (t->hoard_at > t->table_mask)
        t->hoard_at = 0;
    if (worst == NULL)
        return;
    stats_drop(t->stats, STATS_DROP_TCP_HOARDER);
    tcp_conn_reset(worst);
    tcp_conn_finish(worst, TCP_TIMED_OUT);
}

void tcp_hoard_tick(struct tcp *t, uint64_t now)
{
    if (t->snd_held <= t->snd_mark / 2)
        return;
    uint32_t holders = t->snd_holders != 0 ? t->snd_holders : 1, size = packet_pool_size(t->pool);
    t->snd_share = most(t->snd_mark / holders, SHARE_LEAST);
    t->snd_high_share = size > t->snd_high ? most((size - t->snd_high) / 2 / holders, HIGH_LEAST) : HIGH_LEAST;
    if (t->snd_held < t->snd_mark || (uint32_t)(now >> BASE_WHEEL_TICK_SHIFT) == t->hoard_tick)
        return;
    t->hoard_tick = (uint32_t)(now >> BASE_WHEEL_TICK_SHIFT);
    stats_count(t->stats, STATS_TCP_SEND_SCARCE, 1);
    if (t->snd_held >= t->snd_high)
        end_worst(t, now);
}
