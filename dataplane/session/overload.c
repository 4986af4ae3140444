/* Memory or objects run short: new streams are refused (REFUSED_STREAM: safe to repeat), their connections are told of a lower MAX_CONCURRENT_STREAMS, and who
 * keeps the most without reading is ended.  Nothing is dropped in silence.
 *
 * Of memory, what is measured is the pool of buffers for everything that is sent or kept.  Above high_water percent it begins, RELIEF percent below it ends.
 * Of objects (of http2's and session's streams, of fields that wait, of the user's) it begins where one is lacking, and ends when RELIEF percent of each are free.
 *
 * Time is shared out, too: a client that says much that costs it nothing is read when nobody else has anything, or has waited POSTPONED_NS. */
#include "internal.h"

#define RELIEF         10
#define LOOKS          256             /* connections looked at a tick */
#define STALLED_NS     500000000ull    /* nothing has left it for so long */
#define HOARD_LEAST    16384
#define STREAMS_LEAST  1u
#define SCARCE_NS      1000000000ull   /* objects that come and go: no SETTINGS with each */
#define POSTPONED_NS   50000ull        /* suspects wait for others so long, at most */

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
    stats_count(s->home->stats, STATS_STREAMS_LOWERED, 1);
    session_mark(s);
}

void session_scarce(struct session *s)
{
    if (s->role != SESSION_DOWN || s->broken)
        return;
    s->home->scarce = true;
    s->home->scarce_ns = s->home->now_ns;
    lower(s);
}

void sessions_watch(struct sessions *ss, const struct base_slab *slab)
{
    ss->user_slab = slab;
}

static bool scarce(const struct sessions *ss, uint64_t now)
{
    if (now - ss->scarce_ns < SCARCE_NS || !http2_spare(ss->http2, RELIEF) || !base_slab_spare(&ss->stream_slab, RELIEF))
        return true;
    for (int i = 0; i < 3; i++)
        if (!base_slab_spare(&ss->held_slab[i], RELIEF))
            return true;
    return ss->user_slab != NULL && !base_slab_spare(ss->user_slab, RELIEF);
}

bool overload_refuses(struct session *s)
{
    if (!s->home->overloaded) {
        if (!overload_buffered(s))
            return false;
        stats_drop(s->home->stats, STATS_DROP_H2_BUFFERED);
        return true;
    }
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
    if (now >> BASE_WHEEL_TICK_SHIFT == ss->looked_tick)
        return;
    ss->looked_tick = now >> BASE_WHEEL_TICK_SHIFT;
    if (ss->high_water != 0)
        ss->overloaded = above(ss, ss->overloaded ? ss->high_water - RELIEF : ss->high_water);
    if (ss->overloaded)
        end_worst(ss, now);
    ss->scarce = ss->scarce && scarce(ss, now);
    if (!ss->overloaded && !ss->scarce)
        restore_all(ss);
}

/* Behind those that wait already. */
static void put_off(struct session *s)
{
    s->later_ns = s->home->now_ns;
    base_list_push_back(&s->home->postponed, &s->later);
}

bool session_postpone(struct session *s)
{
    if (s->role != SESSION_DOWN || !http2_suspect(s->h2))
        return false;
    if (base_list_empty(&s->later)) {
        put_off(s);
        stats_count(s->home->stats, STATS_CLIENTS_POSTPONED, 1);
    }
    return true;
}

struct session *sessions_postponed_next(struct sessions *ss, bool idle)
{
    if (base_list_empty(&ss->postponed))
        return NULL;
    struct session *s = base_container(ss->postponed.next, struct session, later);
    return idle || ss->now_ns - s->later_ns >= POSTPONED_NS ? s : NULL;
}

void session_resume(struct session *s, bool more)
{
    base_list_remove(&s->later);
    if (more)
        put_off(s);
}
