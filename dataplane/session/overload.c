/* Memory runs short: new streams are refused (REFUSED_STREAM: safe to repeat), their connections are told of a lower MAX_CONCURRENT_STREAMS, and who
 * keeps the most without reading is ended.  Nothing is dropped in silence.
 *
 * What is measured is the pool of buffers for everything that is sent or kept.  Above high_water percent it begins, RELIEF percent below it ends. */
#include "internal.h"

#define RELIEF         10
#define LOOKS          256             /* connections looked at a tick */
#define STALLED_NS     500000000ull    /* nothing has left it for so long */
#define HOARD_LEAST    16384
#define STREAMS_LEAST  1u

static bool above(const struct sessions *ss, uint32_t percent)
{
    return (uint64_t)packet_pool_in_use(ss->pool) * 100 >= (uint64_t)packet_pool_size(ss->pool) * percent;
}

/* Told once; what it has open is its measure. */
static void lower(struct session *s)
{
    if (s->lowered != 0)
        return;
    uint32_t n = http2_streams_active(s->h2) / 2;
    s->lowered = http2_max_streams_set(s->h2, n > STREAMS_LEAST ? n : STREAMS_LEAST);
    base_list_push_back(&s->home->lowered, &s->low);
    session_mark(s);
}

bool overload_refuses(struct session *s)
{
    if (!s->home->overloaded)
        return false;
    stats_drop(s->home->stats, STATS_DROP_H2_OVERLOAD);
    lower(s);
    return true;
}

static void restore_all(struct sessions *ss)
{
    for (struct base_list *l; (l = base_list_pop_front(&ss->lowered)) != NULL;) {
        struct session *s = base_container(l, struct session, low);
        http2_max_streams_set(s->h2, s->lowered);
        s->lowered = 0;
        session_mark(s);
    }
}

void session_streams_limit(struct session *s, uint32_t n)
{
    if (s->lowered != 0)
        s->lowered = n;
    else
        http2_max_streams_set(s->h2, n);
    session_mark(s);
}

/* Octets that a session keeps, if nothing of them moves; else 0. */
static uint64_t stalled(struct session *s, uint64_t now)
{
    uint64_t acked, kept = s->queued + transport_kept(&s->transport, &acked);
    if (acked != s->seen_acked || s->seen_ns == 0 || kept < HOARD_LEAST) {
        s->seen_acked = acked;
        s->seen_ns = now;
        return 0;
    }
    return now - s->seen_ns >= STALLED_NS ? kept : 0;
}

static void end_worst(struct sessions *ss, uint64_t now)
{
    struct base_list *all = &ss->all[SESSION_DOWN];
    struct session *worst = NULL;
    uint64_t most = 0;
    for (uint32_t i = 0; i < LOOKS && i < ss->count[SESSION_DOWN]; i++) {
        struct session *s = base_container(base_list_pop_front(all), struct session, link);
        base_list_push_back(all, &s->link);
        uint64_t kept = s->broken ? 0 : stalled(s, now);
        if (kept <= most)
            continue;
        most = kept;
        worst = s;
    }
    if (worst != NULL)
        session_end(worst, HTTP2_ENHANCE_YOUR_CALM, "keeps too much unread while memory is short", STATS_DROP_H2_HOARDER);
}

void overload_tick(struct sessions *ss, uint64_t now)
{
    if (ss->high_water == 0 || now >> BASE_WHEEL_TICK_SHIFT == ss->looked_tick)
        return;
    ss->looked_tick = now >> BASE_WHEEL_TICK_SHIFT;
    bool was = ss->overloaded;
    ss->overloaded = above(ss, was ? ss->high_water - RELIEF : ss->high_water);
    if (ss->overloaded)
        end_worst(ss, now);
    else if (was)
        restore_all(ss);
}
