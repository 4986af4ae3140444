/* See pool.h for the picture of the states. */
#include "pool.h"

#define IDS_LOW 65536 /* stream numbers left when a connection is replaced */

struct pool_slot {
    struct session *session[POOL_CONNECTIONS_MAX]; /* NULL: none in this place */
    bool ready[POOL_CONNECTIONS_MAX];
    bool draining[POOL_CONNECTIONS_MAX]; /* GOAWAY seen, or the endpoint is gone */
    bool spent[POOL_CONNECTIONS_MAX];    /* nearly out of stream numbers: serves until another is READY */
    uint32_t serial; /* 0: this worker holds nothing here */
    uint32_t slot;
    uint32_t flags; /* snapshot_endpoint.flags */
    uint16_t cluster;
    uint8_t state; /* enum mailbox_state */
    uint8_t ready_count;
    uint8_t wanted_count; /* connections that should exist */
    uint32_t tries;       /* failures in a row */
    uint32_t streams;
    struct base_endpoint address;
    uint64_t connect_timeout_ns, backoff_base_ns, backoff_max_ns;
    uint32_t backoff_factor_x1024;
    bool gone_reported;
    uint8_t calm; /* times that the endpoint has complained of PINGs */
    struct session_life life; /* of its sessions */
    struct base_timer timer; /* back-off, or connect timeout */
    struct base_list wanted; /* in pool.wanted */
    struct base_list report; /* in pool.reports */
    struct base_list idle;   /* in pool.idle: a session of this slot may be closed */
};

struct pool {
    struct pool_slot *slots;
    uint32_t slot_count;
    uint32_t worker;
    struct sessions *sessions;
    struct picker *picker;
    struct mailbox *mailbox;
    struct stats *stats;
    struct base_hash_key key;
    uint64_t draws;
    uint64_t generation;
    uint64_t page_version[SNAPSHOT_PAGES_MAX];
    struct base_list wanted, reports, idle;
    struct base_wheel wheel;
};

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
    base_wheel_init(&p->wheel, now);
    return p;
}

static uint64_t draw(struct pool *p)
{
    uint64_t n = ++p->draws;
    return base_siphash(&p->key, &n, sizeof(n));
}

/* Slots are touched when first used, so that memory follows the number of endpoints. */
static void slot_init(struct pool *p, struct pool_slot *e)
{
    if (e->wanted.next != NULL) { /* the endpoint before may have a report queued still */
        base_list_remove(&e->wanted);
        base_list_remove(&e->report);
        base_list_remove(&e->idle);
        base_wheel_cancel(&p->wheel, &e->timer);
    }
    *e = (struct pool_slot){.slot = (uint32_t)(e - p->slots)};
    base_list_init(&e->wanted);
    base_list_init(&e->report);
    base_list_init(&e->idle);
    base_timer_init(&e->timer);
}

static void queue(struct base_list *head, struct base_list *link)
{
    if (base_list_empty(link))
        base_list_push_back(head, link);
}

static void set_state(struct pool *p, struct pool_slot *e, enum mailbox_state state)
{
    if (e->state == state)
        return;
    bool was = e->state == MAILBOX_READY, is = state == MAILBOX_READY;
    e->state = (uint8_t)state;
    if (was != is)
        picker_ready(p->picker, e->slot, is);
    queue(&p->reports, &e->report);
}

static unsigned sessions_of(const struct pool_slot *e, bool draining)
{
    unsigned n = 0;
    for (int i = 0; i < POOL_CONNECTIONS_MAX; i++)
        n += e->session[i] != NULL && e->draining[i] == draining && (draining || !e->spent[i]);
    return n;
}

static int place_of(const struct pool_slot *e, const struct session *s)
{
    for (int i = 0; i < POOL_CONNECTIONS_MAX; i++)
        if (e->session[i] == s)
            return i;
    return -1;
}

/* What this slot lacks is asked for now. All places may be taken by sessions that drain: then when one of them has gone. */
static void want(struct pool *p, struct pool_slot *e)
{
    if ((e->flags & SNAPSHOT_PRESENT) && sessions_of(e, false) < e->wanted_count && place_of(e, NULL) >= 0)
        queue(&p->wanted, &e->wanted);
}

/* The same, unless a back-off or a try runs: its end will ask. */
static void want_quietly(struct pool *p, struct pool_slot *e)
{
    if (!base_timer_armed(&e->timer))
        want(p, e);
}

static void backoff(struct pool *p, struct pool_slot *e, uint64_t now)
{
    uint64_t wait = e->backoff_base_ns;
    for (uint32_t i = 1; i < e->tries && wait < e->backoff_max_ns; i++)
        wait = wait * e->backoff_factor_x1024 / 1024;
    if (wait > e->backoff_max_ns)
        wait = e->backoff_max_ns;
    /* 0.8 to 1.2 of it, as gRPC's connection-backoff.md asks. */
    wait = wait * 4 / 5 + draw(p) % (wait * 2 / 5 + 1);
    base_wheel_arm(&p->wheel, &e->timer, now + wait);
}

static void failed(struct pool *p, struct pool_slot *e, uint64_t now)
{
    stats_add(&p->stats->slots[e->slot].failures, 1);
    e->tries++;
    if (e->ready_count == 0)
        set_state(p, e, MAILBOX_TRANSIENT_FAILURE);
    if (e->flags & SNAPSHOT_PRESENT)
        backoff(p, e, now);
}

static void leave(struct pool *p, struct pool_slot *e)
{
    base_list_remove(&e->wanted);
    base_wheel_cancel(&p->wheel, &e->timer);
    for (int i = 0; i < POOL_CONNECTIONS_MAX; i++)
        e->draining[i] = e->session[i] != NULL;
    e->ready_count = 0;
    set_state(p, e, MAILBOX_SHUTDOWN);
    queue(&p->idle, &e->idle);
    queue(&p->reports, &e->report);
}

static void join(struct pool *p, struct pool_slot *e)
{
    e->tries = 0;
    e->gone_reported = false;
    for (int i = 0; i < POOL_CONNECTIONS_MAX; i++) /* back before its sessions had drained: they serve again */
        if (e->session[i] != NULL && e->draining[i] && !http2_goaway_received(e->session[i]->h2) && !http2_goaway_sent(e->session[i]->h2))
            e->draining[i] = false;
    for (int i = 0; i < POOL_CONNECTIONS_MAX; i++)
        e->ready_count += e->session[i] != NULL && e->ready[i] && !e->draining[i];
    set_state(p, e, e->ready_count > 0 ? MAILBOX_READY : MAILBOX_CONNECTING);
    base_list_remove(&e->idle);
    want(p, e);
}

/* Fewer or more connections are wanted than before.  What goes first: one that is not READY, else the one with the fewest streams. */
static void resize(struct pool *p, struct pool_slot *e)
{
    while (sessions_of(e, false) > e->wanted_count) {
        int out = -1;
        for (int i = 0; i < POOL_CONNECTIONS_MAX; i++) {
            const struct session *s = e->session[i];
            if (s == NULL || e->draining[i])
                continue;
            if (out < 0 || e->ready[i] < e->ready[out] || (e->ready[i] == e->ready[out] && s->stream_count < e->session[out]->stream_count))
                out = i;
        }
        e->ready_count -= e->ready[out];
        e->draining[out] = true;
        queue(&p->idle, &e->idle);
    }
    want_quietly(p, e);
}

static void live(struct pool_slot *e, uint64_t now)
{
    for (int i = 0; i < POOL_CONNECTIONS_MAX; i++)
        if (e->session[i] != NULL)
            session_live(e->session[i], &e->life, now);
}

static void set_life(struct pool_slot *e, const struct snapshot_cluster *c, uint64_t now)
{
    const struct snapshot_keepalive *k = &c->keepalive;
    struct session_life life = {.time_ns = k->time_ns << e->calm, .timeout_ns = k->timeout_ns,
                                .permit_without_stream = k->permit_without_stream, .age_ns = c->max_connection_age_ns};
    if (memcmp(&life, &e->life, sizeof(life)) == 0)
        return;
    e->life = life;
    live(e, now);
}

static void apply_endpoint(struct pool *p, const struct snapshot *s, uint32_t slot, uint64_t now)
{
    const struct snapshot_endpoint *in = snapshot_endpoint(s, slot);
    struct pool_slot *e = &p->slots[slot];
    if (in->serial == 0)
        return;
    if (e->wanted.next == NULL)
        slot_init(p, e);
    if (e->serial != in->serial) {
        assert(e->serial == 0 || e->gone_reported);
        slot_init(p, e);
        e->serial = in->serial;
        e->address = in->address;
        e->cluster = in->cluster;
        struct stats_slot *st = &p->stats->slots[slot];
        memset(st, 0, sizeof(*st));
        __atomic_store_n(&st->serial, in->serial, __ATOMIC_RELEASE);
    }
    const struct snapshot_cluster *c = s->cluster[in->cluster];
    if (c != NULL) {
        e->connect_timeout_ns = c->connect_timeout_ns;
        e->backoff_base_ns = c->backoff_base_ns;
        e->backoff_max_ns = c->backoff_max_ns;
        e->backoff_factor_x1024 = c->backoff_factor_x1024;
        uint32_t n = c->connections_per_endpoint;
        e->wanted_count = (uint8_t)(n < 1 ? 1 : n < POOL_CONNECTIONS_MAX / 2 ? n : POOL_CONNECTIONS_MAX / 2);
    }
    if (c != NULL)
        set_life(e, c, now);
    bool was = e->flags & SNAPSHOT_PRESENT, is = in->flags & SNAPSHOT_PRESENT;
    e->flags = in->flags;
    if (is && !was)
        join(p, e);
    else if (is)
        resize(p, e);
    else if (!is && (was || !e->gone_reported))
        leave(p, e);
}

void pool_apply(struct pool *p, const struct snapshot *s, uint64_t now)
{
    p->generation = s->generation;
    for (uint32_t i = 0; i < s->page_count; i++) {
        const struct snapshot_page *page = s->page[i];
        if (page == NULL || page->version == p->page_version[i])
            continue;
        p->page_version[i] = page->version;
        for (uint32_t k = 0; k < SNAPSHOT_PAGE && i * SNAPSHOT_PAGE + k < p->slot_count; k++)
            apply_endpoint(p, s, i * SNAPSHOT_PAGE + k, now);
    }
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
    int i = place_of(e, NULL);
    assert(i >= 0);
    e->session[i] = s;
    e->ready[i] = e->draining[i] = e->spent[i] = false;
    s->slot = slot;
    s->serial = e->serial;
    s->kept = (uint8_t)i;
    session_live(s, &e->life, now);
    if (e->state != MAILBOX_READY && e->state != MAILBOX_TRANSIENT_FAILURE)
        set_state(p, e, MAILBOX_CONNECTING);
    base_wheel_arm(&p->wheel, &e->timer, now + e->connect_timeout_ns);
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

static void unready(struct pool *p, struct pool_slot *e, int i)
{
    if (!e->ready[i] || e->draining[i] || e->ready_count == 0)
        return;
    if (--e->ready_count == 0 && e->state == MAILBOX_READY)
        set_state(p, e, MAILBOX_CONNECTING);
    queue(&p->reports, &e->report); /* how many connections are READY */
}

static void retire(struct pool *p, struct pool_slot *e, int i)
{
    unready(p, e, i);
    e->draining[i] = true;
    queue(&p->idle, &e->idle);
}

void pool_settings(struct pool *p, struct session *s, uint64_t now)
{
    (void)now;
    struct pool_slot *e = slot_of(p, s);
    if (e == NULL || e->ready[s->kept])
        return;
    e->ready[s->kept] = true;
    stats_add(&p->stats->slots[e->slot].connects, 1);
    e->tries = 0;
    base_wheel_cancel(&p->wheel, &e->timer);
    if (e->draining[s->kept])
        return;
    e->ready_count++;
    for (int i = 0; i < POOL_CONNECTIONS_MAX; i++)
        if (e->spent[i] && !e->draining[i] && e->session[i] != NULL)
            retire(p, e, i);
    set_state(p, e, MAILBOX_READY);
    queue(&p->reports, &e->report);
    want(p, e); /* further connections one after the other */
}

/* A backend that greets and leaves is not tried in a tight loop. */
static bool left_soon(const struct pool_slot *e, const struct session *s, uint64_t now)
{
    return now - s->opened_ns < e->backoff_base_ns;
}

void pool_goaway(struct pool *p, struct session *s, uint64_t now)
{
    struct pool_slot *e = slot_of(p, s);
    if (e == NULL || e->draining[s->kept])
        return;
    retire(p, e, s->kept);
    if (!base_timer_armed(&e->timer) && left_soon(e, s, now))
        backoff(p, e, now);
    want_quietly(p, e);
}

#define CALM_MAX 8 /* 256 times what the configuration asks for */

void pool_calm(struct pool *p, struct session *s, uint64_t now)
{
    struct pool_slot *e = slot_of(p, s);
    if (e == NULL || e->calm == CALM_MAX)
        return;
    e->calm++;
    e->life.time_ns *= 2;
    live(e, now);
}

void pool_aged(struct pool *p, struct session *s, uint64_t now)
{
    (void)now;
    struct pool_slot *e = slot_of(p, s);
    if (e == NULL || e->draining[s->kept])
        return;
    e->spent[s->kept] = true;
    want_quietly(p, e);
}

void pool_lost(struct pool *p, struct session *s, uint64_t now)
{
    struct pool_slot *e = slot_of(p, s);
    if (e == NULL)
        return;
    int i = s->kept;
    bool was_ready = e->ready[i], was_draining = e->draining[i];
    unready(p, e, i);
    e->session[i] = NULL;
    e->ready[i] = e->draining[i] = false;
    if (!(e->flags & SNAPSHOT_PRESENT)) {
        queue(&p->idle, &e->idle);
        queue(&p->reports, &e->report);
        return;
    }
    if (!was_draining && (!was_ready || left_soon(e, s, now))) {
        failed(p, e, now);
        return;
    }
    if (!was_draining)
        stats_add(&p->stats->slots[e->slot].failures, 1);
    want_quietly(p, e);
}

struct session *pool_session(struct pool *p, uint32_t slot)
{
    struct pool_slot *e = &p->slots[slot];
    struct session *best = NULL;
    for (int i = 0; i < POOL_CONNECTIONS_MAX; i++) {
        struct session *s = e->session[i];
        if (s == NULL || !e->ready[i] || e->draining[i] || s->broken || http2_ids_left(s->h2) == 0)
            continue;
        if (best == NULL || s->stream_count < best->stream_count)
            best = s;
    }
    /* At 100,000 calls a second the 2^30 numbers of a connection last for three hours (RFC 9113 section 5.1.1). */
    if (best != NULL && http2_ids_left(best->h2) < IDS_LOW && !e->spent[best->kept]) {
        e->spent[best->kept] = true;
        want_quietly(p, e);
    }
    return best;
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
    if (!(e->flags & SNAPSHOT_PRESENT) || sessions_of(e, true) > 0)
        queue(&p->idle, &e->idle);
}

struct session *pool_idle_next(struct pool *p, uint64_t now)
{
    (void)now;
    for (struct base_list *l; (l = base_list_pop_front(&p->idle)) != NULL;) {
        struct pool_slot *e = base_container(l, struct pool_slot, idle);
        for (int i = 0; i < POOL_CONNECTIONS_MAX; i++) {
            struct session *s = e->session[i];
            if (s == NULL || !e->draining[i] || s->stream_count > 0)
                continue;
            e->session[i] = NULL;
            e->ready[i] = e->draining[i] = false;
            base_list_push_front(&p->idle, &e->idle); /* look again: there may be more */
            want_quietly(p, e);
            return s;
        }
        if (!(e->flags & SNAPSHOT_PRESENT))
            queue(&p->reports, &e->report);
    }
    return NULL;
}

void pool_reset_backoff(struct pool *p, uint32_t slot, uint32_t serial, uint64_t now)
{
    (void)now;
    if (slot >= p->slot_count || p->slots[slot].serial != serial || p->slots[slot].wanted.next == NULL)
        return;
    struct pool_slot *e = &p->slots[slot];
    e->tries = 0;
    if (e->ready_count == 0 && sessions_of(e, false) == 0) {
        base_wheel_cancel(&p->wheel, &e->timer);
        want(p, e);
    }
}

/* False: the ring is full. */
static bool report(struct pool *p, struct pool_slot *e)
{
    struct mailbox_message m = {.kind = MAILBOX_ENDPOINT_STATE, .worker = (uint16_t)p->worker, .slot = e->slot, .serial = e->serial,
                                .value = e->state, .a = e->ready_count};
    if (!mailbox_report(p->mailbox, &m)) {
        stats_drop(p->stats, STATS_DROP_MAILBOX_FULL);
        return false;
    }
    if ((e->flags & SNAPSHOT_PRESENT) || e->streams > 0 || sessions_of(e, true) + sessions_of(e, false) > 0)
        return true;
    m.kind = MAILBOX_SLOT_EMPTY;
    m.a = p->generation;
    e->gone_reported = mailbox_report(p->mailbox, &m);
    return e->gone_reported;
}

void pool_tick(struct pool *p, uint64_t now)
{
    for (struct base_timer *t; (t = base_wheel_expire(&p->wheel, now)) != NULL;) {
        struct pool_slot *e = base_container(t, struct pool_slot, timer);
        bool timed_out = false;
        for (int i = 0; i < POOL_CONNECTIONS_MAX; i++) {
            struct session *s = e->session[i];
            if (s != NULL && !e->ready[i] && !s->broken) {
                session_abandon(s); /* comes back through sessions_broken_next() and pool_lost() */
                timed_out = true;
            }
        }
        if (!timed_out)
            want(p, e);
    }
    for (struct base_list *l; (l = base_list_pop_front(&p->reports)) != NULL;) {
        struct pool_slot *e = base_container(l, struct pool_slot, report);
        if (!report(p, e)) {
            base_list_push_front(&p->reports, &e->report);
            break;
        }
    }
}
