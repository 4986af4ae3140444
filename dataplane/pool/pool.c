/* See pool.h for the picture of the states. */
#include "internal.h"

#include "base/backoff.h"

#define IDS_LOW 65536 /* stream numbers left when a connection is replaced */

size_t pool_footprint(uint32_t slots)
{
    return base_align(sizeof(struct pool)) + base_align(sizeof(struct pool_slot) * slots);
}

struct pool *pool_create(struct base_arena *arena, uint32_t slots, uint32_t worker, struct sessions *sessions, struct picker *picker,
                         struct mailbox *mailbox, struct stats *stats, uint64_t seed, uint64_t now)
{
    struct pool *p = base_arena_take(arena, sizeof(*p));
    p->slots = base_arena_take(arena, sizeof(*p->slots) * slots);
    p->slot_count = slots;
    p->worker = worker;
    p->sessions = sessions;
    p->picker = picker;
    p->mailbox = mailbox;
    p->stats = stats;
    p->key.k[0] = seed;
    base_list_init(&p->wanted);
    base_list_init(&p->reports);
    base_list_init(&p->idle);
    base_list_init(&p->sparing);
    base_wheel_init(&p->wheel, now);
    return p;
}

static uint64_t draw(struct pool *p)
{
    uint64_t n = ++p->draws;
    return base_siphash(&p->key, &n, sizeof(n));
}

void pool_queue(struct base_list *head, struct base_list *link)
{
    if (base_list_empty(link))
        base_list_push_back(head, link);
}

void pool_state_set(struct pool *p, struct pool_slot *e, enum mailbox_state state)
{
    if (e->state == state)
        return;
    bool was = e->state == MAILBOX_READY, is = state == MAILBOX_READY;
    e->state = (uint8_t)state;
    if (was != is)
        picker_ready(p->picker, e->slot, is);
    pool_queue(&p->reports, &e->report);
}

void pool_replacing_set(struct pool *p, struct pool_slot *e, bool replacing)
{
    if (e->replacing == replacing)
        return;
    e->replacing = replacing;
    p->replacing[e->cluster] = (uint16_t)(p->replacing[e->cluster] + (replacing ? 1 : -1));
}

static uint32_t usable(const struct pool_slot *e)
{
    return e->ready & ~e->draining;
}

/* A place without a session, or -1. All may be taken by sessions that drain: then when one of them has gone. */
static int free_place(const struct pool_slot *e)
{
    uint32_t all = (UINT32_C(1) << POOL_CONNECTIONS_MAX) - 1;
    return (e->taken & all) == all ? -1 : __builtin_ctz(~e->taken);
}

void pool_want(struct pool *p, struct pool_slot *e)
{
    if ((e->flags & SNAPSHOT_PRESENT) && pool_serving(e) < e->wanted_count && free_place(e) >= 0)
        pool_queue(&p->wanted, &e->wanted);
}

void pool_want_quietly(struct pool *p, struct pool_slot *e)
{
    if (!base_timer_armed(&e->timer) || e->resting)
        pool_want(p, e);
}

/* The timer means one thing at a time: a back-off or a try's end, or (resting) a look at connections that may be too many. */
static void arm(struct pool *p, struct pool_slot *e, bool resting, uint64_t at)
{
    e->resting = resting;
    base_wheel_arm(&p->wheel, &e->timer, at);
}

static void backoff(struct pool *p, struct pool_slot *e, uint64_t now)
{
    uint32_t n = e->tries > 0 ? e->tries - 1u : 0;
    arm(p, e, false, now + base_backoff(e->backoff_base_ns, e->backoff_max_ns, e->backoff_factor_x1024, n, draw(p)));
}

static void failed(struct pool *p, struct pool_slot *e, uint64_t now)
{
    stats_add(&p->stats->slots[e->slot].failures, 1);
    e->tries++;
    pool_replacing_set(p, e, false);
    if (usable(e) == 0)
        pool_state_set(p, e, MAILBOX_TRANSIENT_FAILURE);
    else if (e->wanted_count > e->kept_count) /* further connections are there for the load: it asks again, behind the back-off */
        e->wanted_count = (uint8_t)(pool_serving(e) > e->kept_count ? pool_serving(e) : e->kept_count);
    if (e->flags & SNAPSHOT_PRESENT)
        backoff(p, e, now);
}

/* Nothing is READY.  What was tried before, further connections say, had reasons of its own. */
static void try_at_once(struct pool *p, struct pool_slot *e)
{
    e->tries = 0;
    if (pool_serving(e) > 0)
        return; /* a try is under way */
    base_wheel_cancel(&p->wheel, &e->timer);
    pool_want(p, e);
}

bool pool_connect_next(struct pool *p, struct pool_connect *out)
{
    struct base_list *l = base_list_pop_front(&p->wanted);
    if (l == NULL)
        return false;
    struct pool_slot *e = base_container(l, struct pool_slot, wanted);
    out->slot = e->slot;
    out->remote = e->address;
    http2_config_defaults(&out->http2, HTTP2_CLIENT);
    return true;
}

void pool_connecting(struct pool *p, uint32_t slot, struct session *s, uint64_t now)
{
    struct pool_slot *e = &p->slots[slot];
    int i = free_place(e);
    assert(i >= 0);
    uint32_t bit = UINT32_C(1) << i;
    e->session[i] = s;
    e->taken |= bit;
    e->ready &= ~bit;
    e->draining &= ~bit;
    e->spent &= ~bit;
    s->slot = slot;
    s->serial = e->serial;
    s->kept = (uint8_t)i;
    session_live(s, &e->life, now);
    if (e->state != MAILBOX_READY && e->state != MAILBOX_TRANSIENT_FAILURE)
        pool_state_set(p, e, MAILBOX_CONNECTING);
    arm(p, e, false, now + e->connect_timeout_ns);
}

void pool_unreachable(struct pool *p, uint32_t slot, uint64_t now)
{
    failed(p, &p->slots[slot], now);
}

static struct pool_slot *slot_of(struct pool *p, const struct session *s)
{
    struct pool_slot *e = &p->slots[s->slot];
    return e->serial == s->serial && e->session[s->kept] == s ? e : NULL;
}

/* No new streams on it. */
static void retire(struct pool *p, struct pool_slot *e, int i)
{
    bool was = usable(e) >> i & 1;
    e->draining |= UINT32_C(1) << i;
    pool_queue(&p->idle, &e->idle);
    if (!was)
        return;
    if (usable(e) == 0 && e->state == MAILBOX_READY)
        pool_state_set(p, e, MAILBOX_CONNECTING);
    pool_queue(&p->reports, &e->report); /* how many connections are READY */
}

static void vacate(struct pool_slot *e, int i)
{
    uint32_t bit = UINT32_C(1) << i;
    e->session[i] = NULL;
    e->taken &= ~bit;
    e->ready &= ~bit;
    e->draining &= ~bit;
    e->spent &= ~bit;
}

#define REST_NS 10000000000ull /* connections beyond connections_per_endpoint: looked at so often */

void pool_settings(struct pool *p, struct session *s, uint64_t now)
{
    struct pool_slot *e = slot_of(p, s);
    if (e == NULL || (e->ready >> s->kept & 1))
        return;
    e->ready |= UINT32_C(1) << s->kept;
    stats_add(&p->stats->slots[e->slot].connects, 1);
    e->tries = 0;
    base_wheel_cancel(&p->wheel, &e->timer);
    pool_replacing_set(p, e, false);
    if (e->draining >> s->kept & 1)
        return;
    for (int i = 0; i < POOL_CONNECTIONS_MAX; i++)
        if (e->spent & ~e->draining & UINT32_C(1) << i)
            retire(p, e, i);
    pool_state_set(p, e, MAILBOX_READY);
    pool_queue(&p->reports, &e->report);
    if (e->wanted_count > e->kept_count)
        arm(p, e, true, now + REST_NS);
    pool_want(p, e); /* further connections one after the other */
}

/* A backend that greets and leaves is not tried in a tight loop. */
static bool left_soon(const struct session *s, uint64_t soon_ns, uint64_t now)
{
    return now - s->opened_ns < soon_ns;
}

#define POLITE 8 /* who says GOAWAY may do so this much sooner than who just hangs up: a max_connection_age of a second is no fault */

void pool_goaway(struct pool *p, struct session *s, uint64_t now)
{
    struct pool_slot *e = slot_of(p, s);
    if (e == NULL || (e->draining >> s->kept & 1))
        return;
    bool last = usable(e) == UINT32_C(1) << s->kept, soon = left_soon(s, e->backoff_base_ns / POLITE, now);
    retire(p, e, s->kept);
    if (!base_timer_armed(&e->timer) && soon)
        backoff(p, e, now);
    else if (last && (e->flags & SNAPSHOT_PRESENT))
        pool_replacing_set(p, e, true);
    if (last && !soon)
        try_at_once(p, e);
    pool_want_quietly(p, e);
}

#define CALM_MAX 8 /* 256 times what the configuration asks for */

void pool_calm(struct pool *p, struct session *s, uint64_t now)
{
    struct pool_slot *e = slot_of(p, s);
    if (e == NULL || e->calm == CALM_MAX)
        return;
    e->calm++;
    e->life.time_ns *= 2;
    pool_live(e, now);
}

void pool_aged(struct pool *p, struct session *s)
{
    struct pool_slot *e = slot_of(p, s);
    if (e == NULL || (e->draining >> s->kept & 1))
        return;
    e->spent |= UINT32_C(1) << s->kept;
    pool_want_quietly(p, e);
}

void pool_lost(struct pool *p, struct session *s, uint64_t now)
{
    struct pool_slot *e = slot_of(p, s);
    if (e == NULL)
        return;
    int i = s->kept;
    bool was_ready = e->ready >> i & 1, was_draining = e->draining >> i & 1;
    if (!was_draining)
        retire(p, e, i);
    vacate(e, i);
    if (!(e->flags & SNAPSHOT_PRESENT)) {
        pool_queue(&p->idle, &e->idle);
        pool_queue(&p->reports, &e->report);
        return;
    }
    if (!was_draining && (!was_ready || left_soon(s, e->backoff_base_ns, now))) {
        failed(p, e, now);
        return;
    }
    if (!was_draining) {
        stats_add(&p->stats->slots[e->slot].failures, 1);
        if (usable(e) == 0)
            try_at_once(p, e);
    }
    pool_want_quietly(p, e);
}

static inline struct session *least_busy(const struct pool_slot *e, uint32_t of, bool with_room)
{
    struct session *best = NULL;
    for (uint32_t m = of; m != 0; m &= m - 1) {
        struct session *s = e->session[__builtin_ctz(m)];
        if (s->broken || http2_ids_left(s->h2) == 0 || (with_room && session_available(s) == 0))
            continue;
        if (best == NULL || s->stream_count < best->stream_count)
            best = s;
    }
    return best;
}

struct session *pool_session(struct pool *p, uint32_t slot)
{
    struct pool_slot *e = &p->slots[slot];
    uint32_t all = usable(e);
    struct session *best = least_busy(e, all, false);
    /* Connections may differ in their limits: a backend lowers that of the one that it is about to end. */
    if (best != NULL && (all & (all - 1)) != 0 && session_available(best) == 0) {
        struct session *roomy = least_busy(e, all, true);
        best = roomy != NULL ? roomy : best;
    }
    if (best == NULL && e->state == MAILBOX_READY) /* broken in this turn, whose end looks after it; or its replacement is late */
        pool_state_set(p, e, MAILBOX_CONNECTING);
    /* At 100,000 calls a second the 2^30 numbers of a connection last for three hours (RFC 9113 section 5.1.1). */
    if (best != NULL && http2_ids_left(best->h2) < IDS_LOW && !(e->spent >> best->kept & 1)) {
        e->spent |= UINT32_C(1) << best->kept;
        pool_want_quietly(p, e);
    }
    return best;
}

void pool_crowded(struct pool *p, uint32_t slot)
{
    struct pool_slot *e = &p->slots[slot];
    bool trying = (e->taken & ~e->ready) != 0 || !base_list_empty(&e->wanted) || (base_timer_armed(&e->timer) && !e->resting);
    if (trying || e->wanted_count >= e->most_count || pool_serving(e) < e->wanted_count)
        return;
    e->wanted_count++;
    pool_want(p, e);
}

bool pool_replacing(const struct pool *p, uint32_t cluster)
{
    return p->replacing[cluster] > 0;
}

uint32_t pool_serial(const struct pool *p, uint32_t slot)
{
    return p->slots[slot].serial;
}

const struct base_endpoint *pool_address(const struct pool *p, uint32_t slot)
{
    return &p->slots[slot].address;
}

void pool_stream_started(struct pool *p, uint32_t slot)
{
    p->slots[slot].streams++;
    __atomic_store_n(&p->stats->slots[slot].active, p->slots[slot].streams, __ATOMIC_RELAXED);
}

void pool_stream_ended(struct pool *p, uint32_t slot)
{
    struct pool_slot *e = &p->slots[slot];
    assert(e->streams > 0);
    e->streams--;
    __atomic_store_n(&p->stats->slots[slot].active, e->streams, __ATOMIC_RELAXED);
    if (!(e->flags & SNAPSHOT_PRESENT) || e->draining != 0)
        pool_queue(&p->idle, &e->idle);
}

struct session *pool_idle_next(struct pool *p)
{
    for (struct base_list *l; (l = base_list_pop_front(&p->idle)) != NULL;) {
        struct pool_slot *e = base_container(l, struct pool_slot, idle);
        for (uint32_t m = e->draining; m != 0; m &= m - 1) {
            int i = __builtin_ctz(m);
            struct session *s = e->session[i];
            if (s->stream_count > 0)
                continue;
            vacate(e, i);
            base_list_push_front(&p->idle, &e->idle); /* look again: there may be more */
            pool_want_quietly(p, e);
            return s;
        }
        if (!(e->flags & SNAPSHOT_PRESENT))
            pool_queue(&p->reports, &e->report);
    }
    return NULL;
}

void pool_reset_backoff(struct pool *p, uint32_t slot, uint32_t serial)
{
    if (slot >= p->slot_count || p->slots[slot].serial != serial || p->slots[slot].wanted.next == NULL)
        return;
    struct pool_slot *e = &p->slots[slot];
    e->tries = 0;
    if (usable(e) == 0)
        try_at_once(p, e);
}

/* False: the ring is full. */
static bool report(struct pool *p, struct pool_slot *e)
{
    struct mailbox_message m = {.kind = MAILBOX_ENDPOINT_STATE, .worker = (uint16_t)p->worker, .slot = e->slot, .serial = e->serial,
                                .value = e->state, .a = (uint64_t)__builtin_popcount(usable(e))};
    if (!mailbox_report(p->mailbox, &m)) {
        stats_drop(p->stats, STATS_DROP_MAILBOX_FULL);
        return false;
    }
    if (e->known || e->streams > 0 || e->taken != 0)
        return true;
    m.kind = MAILBOX_SLOT_EMPTY;
    m.a = p->generation;
    e->gone_reported = mailbox_report(p->mailbox, &m);
    return e->gone_reported;
}

/* One connection too many, and nothing on it: it goes.  Those that are left are looked at again. */
static void rest(struct pool *p, struct pool_slot *e, uint64_t now)
{
    for (uint32_t m = usable(e); m != 0 && e->wanted_count > e->kept_count; m &= m - 1) {
        int i = __builtin_ctz(m);
        if (e->session[i]->stream_count > 0)
            continue;
        e->wanted_count--;
        retire(p, e, i);
    }
    if (e->wanted_count > e->kept_count)
        arm(p, e, true, now + REST_NS);
}

static void timer_fired(struct pool *p, struct pool_slot *e, uint64_t now)
{
    if (e->resting) {
        rest(p, e, now);
        return;
    }
    bool timed_out = false;
    for (uint32_t m = e->taken & ~e->ready; m != 0; m &= m - 1) {
        struct session *s = e->session[__builtin_ctz(m)];
        if (s->broken)
            continue;
        session_abandon(s); /* comes back through sessions_broken_next() and pool_lost() */
        timed_out = true;
    }
    if (timed_out)
        return;
    pool_want(p, e);
    if (base_list_empty(&e->wanted) && e->wanted_count > e->kept_count)
        arm(p, e, true, now + REST_NS);
}

void pool_tick(struct pool *p, uint64_t now)
{
    for (struct base_timer *t; (t = base_wheel_expire(&p->wheel, now)) != NULL;)
        timer_fired(p, base_container(t, struct pool_slot, timer), now);
    if (!base_list_empty(&p->sparing))
        pool_spare(p);
    for (struct base_list *l; (l = base_list_pop_front(&p->reports)) != NULL;) {
        struct pool_slot *e = base_container(l, struct pool_slot, report);
        if (!report(p, e)) {
            base_list_push_front(&p->reports, &e->report);
            break;
        }
    }
}
