/* What the snapshot asks for, against what this worker holds: endpoints come, go, are another worker's, want more connections or fewer. */
#include "internal.h"

/* Slots are touched when first used, so that memory follows the number of endpoints. */
static void slot_init(struct pool *p, struct pool_slot *e)
{
    if (e->wanted.next != NULL) { /* the endpoint before may have a report queued still */
        pool_replacing_set(p, e, false);
        base_list_remove(&e->wanted);
        base_list_remove(&e->report);
        base_list_remove(&e->idle);
        base_list_remove(&e->sparing);
        base_wheel_cancel(&p->wheel, &e->timer);
    }
    *e = (struct pool_slot){.slot = (uint32_t)(e - p->slots)};
    base_list_init(&e->wanted);
    base_list_init(&e->report);
    base_list_init(&e->idle);
    base_list_init(&e->sparing);
    base_timer_init(&e->timer);
}

/* Its streams finish, its sessions close.  state: SHUTDOWN where the endpoint is gone, IDLE where it is another worker's. */
static void leave(struct pool *p, struct pool_slot *e, enum mailbox_state state)
{
    base_list_remove(&e->wanted);
    base_list_remove(&e->sparing);
    base_wheel_cancel(&p->wheel, &e->timer);
    pool_replacing_set(p, e, false);
    e->flags &= ~(uint32_t)SNAPSHOT_PRESENT;
    e->draining = e->taken;
    pool_state_set(p, e, state);
    pool_queue(&p->idle, &e->idle);
    pool_queue(&p->reports, &e->report);
}

static void join(struct pool *p, struct pool_slot *e)
{
    e->tries = 0;
    e->wanted_count = e->kept_count;
    for (int i = 0; i < POOL_CONNECTIONS_MAX; i++) /* back before its sessions had drained: they serve again */
        if ((e->draining >> i & 1) && !http2_goaway_received(e->session[i]->h2) && !http2_goaway_sent(e->session[i]->h2))
            e->draining &= ~(UINT32_C(1) << i);
    pool_state_set(p, e, (e->ready & ~e->draining) != 0 ? MAILBOX_READY : MAILBOX_CONNECTING);
    base_list_remove(&e->idle);
    if (e->draining != 0)
        pool_queue(&p->idle, &e->idle);
    pool_want(p, e);
}

/* Fewer or more connections are wanted than before.  What goes first: one that is not READY, else the one with the fewest streams. */
static void resize(struct pool *p, struct pool_slot *e)
{
    while (pool_serving(e) > e->wanted_count) {
        int out = -1;
        for (int i = 0; i < POOL_CONNECTIONS_MAX; i++) {
            if ((e->taken & ~e->draining & ~e->spent & UINT32_C(1) << i) == 0)
                continue;
            uint32_t ready = e->ready >> i & 1, least = out < 0 ? 0 : e->ready >> out & 1;
            if (out < 0 || ready < least || (ready == least && e->session[i]->stream_count < e->session[out]->stream_count))
                out = i;
        }
        e->draining |= UINT32_C(1) << out;
        pool_queue(&p->idle, &e->idle);
        pool_queue(&p->reports, &e->report);
    }
    pool_want_quietly(p, e);
}

static uint8_t connections(uint32_t n, uint32_t least)
{
    return (uint8_t)(n < least ? least : n < POOL_CONNECTIONS_SERVING ? n : POOL_CONNECTIONS_SERVING);
}

void pool_live(struct pool_slot *e, uint64_t now)
{
    for (int i = 0; i < POOL_CONNECTIONS_MAX; i++)
        if (e->taken >> i & 1)
            session_live(e->session[i], &e->life, now);
}

static void take_life(struct pool_slot *e, const struct snapshot_cluster *c, uint64_t now)
{
    const struct snapshot_keepalive *k = &c->keepalive;
    struct session_life life = {.time_ns = k->time_ns << e->calm, .timeout_ns = k->timeout_ns,
                                .permit_without_stream = k->permit_without_stream, .age_ns = c->max_connection_age_ns};
    if (memcmp(&life, &e->life, sizeof(life)) == 0)
        return;
    e->life = life;
    pool_live(e, now);
}

static void take_settings(struct pool_slot *e, const struct snapshot_cluster *c)
{
    e->connect_timeout_ns = c->connect_timeout_ns;
    e->backoff_base_ns = c->backoff_base_ns;
    e->backoff_max_ns = c->backoff_max_ns;
    e->backoff_factor_x1024 = c->backoff_factor_x1024;
    uint8_t kept = connections(c->connections_per_endpoint, 1);
    if (kept != e->kept_count || e->wanted_count < kept)
        e->wanted_count = kept;
    e->kept_count = kept;
    e->most_count = connections(c->max_connections_per_endpoint, kept);
    if (e->wanted_count > e->most_count)
        e->wanted_count = e->most_count;
}

static void begin(struct pool *p, struct pool_slot *e, const struct snapshot_endpoint *in)
{
    assert(e->serial == 0 || e->gone_reported);
    slot_init(p, e);
    e->serial = in->serial;
    e->address = in->address;
    e->cluster = in->cluster;
    struct stats_slot *st = &p->stats->slots[e->slot];
    memset(st, 0, sizeof(*st));
    __atomic_store_n(&st->serial, in->serial, __ATOMIC_RELEASE);
}

static void apply_endpoint(struct pool *p, const struct snapshot *s, uint32_t slot, uint64_t now)
{
    const struct snapshot_endpoint *in = snapshot_endpoint(s, slot);
    struct pool_slot *e = &p->slots[slot];
    if (in->serial == 0)
        return;
    if (e->wanted.next == NULL)
        slot_init(p, e);
    if (e->serial != in->serial)
        begin(p, e, in);
    const struct snapshot_cluster *c = s->cluster[in->cluster];
    if (c != NULL) {
        take_settings(e, c);
        take_life(e, c, now);
    }
    bool known = in->flags & SNAPSHOT_PRESENT, was_known = e->known, mine = known && (in->spared >> p->worker & 1) == 0;
    bool was_mine = e->flags & SNAPSHOT_PRESENT;
    e->known = known;
    e->gone_reported &= !known;
    if (known && !mine && was_mine && e->state == MAILBOX_READY && (in->flags & SNAPSHOT_DRAIN) == 0) {
        pool_queue(&p->sparing, &e->sparing);
        return;
    }
    base_list_remove(&e->sparing);
    e->flags = mine ? in->flags : in->flags & ~(uint32_t)SNAPSHOT_PRESENT;
    if (mine && !was_mine)
        join(p, e);
    else if (mine)
        resize(p, e);
    else if (known && was_mine)
        leave(p, e, MAILBOX_IDLE);
    else if (!known && (was_known || !e->gone_reported))
        leave(p, e, MAILBOX_SHUTDOWN);
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

/* An endpoint that another worker holds from now on serves here until one that is ours is READY: a share that moves leaves no gap. */
void pool_spare(struct pool *p)
{
    uint32_t cluster = UINT32_MAX, kept = 0;
    base_list_each_safe(l, &p->sparing)
    {
        struct pool_slot *e = base_container(l, struct pool_slot, sparing);
        if (e->cluster != cluster) {
            cluster = e->cluster;
            kept = 0;
            base_list_each(k, &p->sparing)
            {
                const struct pool_slot *other = base_container(k, struct pool_slot, sparing);
                kept += other->cluster == cluster && other->state == MAILBOX_READY;
            }
        }
        bool ready = e->state == MAILBOX_READY;
        if (ready && picker_ready_count(p->picker, cluster) <= kept)
            continue;
        kept -= ready;
        leave(p, e, MAILBOX_IDLE);
    }
}
