/* Frames that cost the peer nothing and us something are counted per kind; too many end the connection with ENHANCE_YOUR_CALM.
 *
 * A bucket a kind and connection: `rate` frames at once, and as many again each second.  It is worked off, too, by what an honest peer causes: DATA
 * and HEADERS that mean something, in either direction, and answers; what goes with useful traffic grows with it.  All of that is added up only
 * where a bucket is full, or now and then from an eighth on: the path of an honest peer costs an increment. Who is beyond that eighth is not told off yet, but
 * may be made to wait for others (http2_suspect). */
#include "internal.h"

#define FLOOD_PROGRESS 4 /* frames without effect that go with one that means something */
#define RAPID_TICKS    48 /* of 2^BORN_SHIFT ns: 50 ms */
#define SUSPECT_PART   8 /* of a bucket */
#define SUSPECT_LOOK   16 /* frames between two looks */

static const struct {
    enum stats_drop drop;
    const char *text;
} kinds[HTTP2_RATES] = {
    [HTTP2_RATE_RESETS] = {STATS_DROP_H2_FLOOD_RESETS, "too many resets before an answer"}, /* CVE-2023-44487; and those we were made to send: CVE-2025-8671 */
    [HTTP2_RATE_PINGS] = {STATS_DROP_H2_FLOOD_PINGS, "too many PING frames"},               /* CVE-2019-9512 */
    [HTTP2_RATE_SETTINGS] = {STATS_DROP_H2_FLOOD_SETTINGS, "too many SETTINGS frames"},     /* CVE-2019-9515 */
    [HTTP2_RATE_EMPTY] = {STATS_DROP_H2_FLOOD_EMPTY, "too many empty DATA frames"},         /* CVE-2019-9518 */
    [HTTP2_RATE_PRIORITY] = {STATS_DROP_H2_FLOOD_PRIORITY, "too many PRIORITY frames"},     /* CVE-2019-9513 */
    [HTTP2_RATE_WINDOW] = {STATS_DROP_H2_FLOOD_WINDOW, "too many WINDOW_UPDATE frames"},
    [HTTP2_RATE_OTHER] = {STATS_DROP_H2_FLOOD_OTHER, "too many frames without effect"},
};

const struct http2_bounds http2_bounds_default = {
    .rate = {[HTTP2_RATE_RESETS] = 2000, [HTTP2_RATE_PINGS] = 1000, [HTTP2_RATE_SETTINGS] = 200, [HTTP2_RATE_EMPTY] = 1000,
             [HTTP2_RATE_PRIORITY] = 2000, [HTTP2_RATE_WINDOW] = 20000, [HTTP2_RATE_OTHER] = 5000},
    .continuations = 32,
    .fields = BASE_HEADERS_MAX,
};

static uint64_t earned(const struct http2_conn *c, enum http2_rate kind, uint64_t elapsed_ns)
{
    uint64_t rate = c->config.bounds->rate[kind];
    uint64_t by_time = elapsed_ns > 1000000000ull ? rate : rate * elapsed_ns / 1000000000ull;
    return by_time + (kind == HTTP2_RATE_RESETS ? c->answered : (uint64_t)c->progress * FLOOD_PROGRESS);
}

static void settle(struct http2_conn *c)
{
    uint64_t elapsed = c->h->now_ns - c->flood_ns;
    for (int kind = 0; kind < HTTP2_RATES; kind++) {
        uint64_t n = earned(c, (enum http2_rate)kind, elapsed);
        c->flood[kind] = c->flood[kind] > n ? c->flood[kind] - (uint32_t)n : 0;
    }
    c->flood_ns = c->h->now_ns;
    c->progress = c->answered = 0;
}

/* What settle() would find, without doing it: what has been earned is not to be lost by being looked at. */
static bool worn(const struct http2_conn *c)
{
    uint64_t elapsed = c->h->now_ns - c->flood_ns;
    for (int kind = 0; kind < HTTP2_RATES; kind++)
        if (c->flood[kind] > c->config.bounds->rate[kind] / SUSPECT_PART + earned(c, (enum http2_rate)kind, elapsed))
            return true;
    return false;
}

bool http2_suspect(struct http2_conn *c)
{
    return c->suspect && (c->suspect = worn(c));
}

bool http2_flood(struct http2_conn *c, enum http2_rate kind, struct http2_event *ev)
{
    uint32_t n = ++c->flood[kind], rate = c->config.bounds->rate[kind];
    if (n % SUSPECT_LOOK == 0 && n > rate / SUSPECT_PART)
        c->suspect = worn(c);
    if (n <= rate)
        return true;
    settle(c);
    if (c->flood[kind] <= c->config.bounds->rate[kind])
        return true;
    stats_drop(c->h->stats, kinds[kind].drop);
    http2_fatal(c, ev, HTTP2_ENHANCE_YOUR_CALM, kinds[kind].text);
    return false;
}

/* One that has lived for a while made no room for others at once: there can be max_concurrent_streams of such in RAPID_TICKS, as many as calls that are let run
 * so long.  An honest client whose calls all run into their deadlines, as their backend hangs, is no flood. */
bool http2_flood_reset(const struct stream *s, struct http2_event *ev)
{
    struct http2_conn *c = s->s.conn;
    return (uint32_t)(c->h->now_ns >> BORN_SHIFT) - s->born > RAPID_TICKS || http2_flood(c, HTTP2_RATE_RESETS, ev);
}

void http2_tick(struct http2 *h, uint64_t now)
{
    h->now_ns = now;
}
