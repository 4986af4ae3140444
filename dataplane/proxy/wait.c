/* RPCs that wait for an endpoint that is READY and has a stream free: one queue a cluster, answered in order.  Endpoints without a free stream are kept out of
 * the picking meanwhile, so that whoever waits goes to the first that has one. */
#include "internal.h"

static struct proxy_queue *queue_of(struct proxy_queue *q)
{
    if (q->rpcs.next == NULL) {
        base_list_init(&q->rpcs);
        base_list_init(&q->link);
    }
    return q;
}

static void enter(struct proxy *p, struct proxy_queue *q, struct proxy_rpc *rpc)
{
    rpc->phase = RPC_WAITS_ENDPOINT;
    base_list_push_back(&q->rpcs, &rpc->wait);
    if (q->count++ == 0)
        base_list_push_back(&p->thronged, &q->link);
}

static void quit(struct proxy_queue *q, struct proxy_rpc *rpc)
{
    rpc->phase = RPC_RUNS;
    base_list_remove(&rpc->wait);
    if (--q->count == 0)
        base_list_remove(&q->link);
}

static void count_waiting(struct proxy *p, uint32_t cluster)
{
    __atomic_store_n(&p->stats->clusters[cluster].waiting, p->cluster_queue[cluster].count, __ATOMIC_RELAXED);
}

void proxy_unwait(struct proxy *p, struct proxy_rpc *rpc, enum stats_wait outcome)
{
    switch ((enum rpc_phase)rpc->phase) {
    case RPC_RUNS:
        return;
    case RPC_HEALTH:
        p->watch_count -= !base_list_empty(&rpc->wait);
        /* fall through */
    case RPC_FRESH:
        rpc->phase = RPC_RUNS;
        base_list_remove(&rpc->wait);
        return;
    case RPC_BACKS_OFF:
        rpc->phase = RPC_RUNS;
        return;
    case RPC_WAITS_ENDPOINT:
        quit(&p->cluster_queue[rpc->cluster], rpc);
        stats_add(&p->stats->clusters[rpc->cluster].waits[outcome], 1);
        count_waiting(p, rpc->cluster);
        return;
    }
}

void proxy_again(struct proxy *p, struct proxy_rpc *rpc)
{
    assert(rpc->phase == RPC_RUNS && rpc->up == NULL && rpc->replay != NULL);
    rpc->phase = RPC_FRESH;
    base_list_push_back(&p->fresh, &rpc->wait);
}

void proxy_arm(struct proxy *p, struct proxy_rpc *rpc, uint64_t at_ns)
{
    uint64_t at = at_ns < rpc->deadline_ns ? at_ns : rpc->deadline_ns;
    if (at != UINT64_MAX)
        base_wheel_arm(&p->wheel, &rpc->deadline, at);
    else
        base_wheel_cancel(&p->wheel, &rpc->deadline);
}

/* On a session that has a number for it. */
static enum proxy_try open_stream(struct proxy *p, struct proxy_rpc *rpc, struct session *up, const struct base_headers *h, uint64_t now)
{
    bool first = h != NULL, body = !first && replay_has_body(rpc);
    if (!first)
        h = replay_fields(p, rpc, now);
    rpc->up = session_open(up, h, rpc->request_ended && !body, rpc);
    if (rpc->up == NULL) {
        rpc_unbind(p, rpc, PICKER_NOT_STARTED, now);
        rpc->slot = UINT32_MAX;
        return session_takes(up, h) ? TRY_REFUSED : TRY_TOO_LARGE;
    }
    session_join(rpc->down, rpc->up);
    session_join(rpc->up, rpc->down);
    rpc->begun = true;
    if (first)
        return TRY_STARTED;
    if (!replay_send(p, rpc)) {
        rpc_drop_up(p, rpc, HTTP2_CANCEL, PICKER_CANCELLED, now);
        return TRY_REFUSED;
    }
    rpc->replay->patience_ns = 0;
    if (rpc->replay->bytes > replay_limit(rpc->replay))
        replay_drop(p, rpc);
    return TRY_STARTED;
}

/* In no list: it has room, or nobody knows better. */
static bool is_full(const struct proxy_full *f)
{
    return f->link.next != NULL && !base_list_empty(&f->link);
}

static void has_room(struct proxy *p, struct proxy_full *f)
{
    base_list_remove(&f->link);
    p->full_count--;
    p->cluster_queue[f->cluster].full--;
    picker_full(p->picker, (uint32_t)(f - p->slot_full), false);
}

/* No picks until look() finds room there.  A further connection may be what makes it. */
static void has_none(struct proxy *p, uint16_t cluster, uint32_t slot)
{
    struct proxy_full *f = &p->slot_full[slot];
    if (is_full(f))
        has_room(p, f); /* of the endpoint that had the slot before */
    f->cluster = cluster;
    base_list_push_back(&p->full, &f->link);
    p->full_count++;
    p->cluster_queue[cluster].full++;
    picker_full(p->picker, slot, true);
    pool_crowded(p->pool, slot);
}

/* The oldest of those without room, once more. */
static void look(struct proxy *p)
{
    for (uint32_t n = p->full_count < FULL_LOOKS ? p->full_count : FULL_LOOKS; n > 0; n--) {
        struct proxy_full *f = base_container(base_list_pop_front(&p->full), struct proxy_full, link);
        uint32_t slot = (uint32_t)(f - p->slot_full);
        base_list_push_back(&p->full, &f->link);
        const struct session *up = picker_kept_out(p->picker, slot) ? pool_session(p->pool, slot) : NULL;
        if (up == NULL || session_available(up) > 0)
            has_room(p, f);
        else if (p->cluster_queue[f->cluster].count > 0)
            pool_crowded(p->pool, slot);
    }
}

/* An endpoint that it has not been to, or at least another than the last one, where there is such a one. */
static bool pick(struct proxy *p, const struct proxy_rpc *rpc, uint32_t *slot)
{
    const struct proxy_replay *r = rpc->replay;
    if (r != NULL && r->tried_count > 0 &&
        (picker_pick_other(p->picker, rpc->cluster, r->tried, r->tried_count, slot) || picker_pick_other(p->picker, rpc->cluster, r->tried, 1, slot)))
        return true;
    return picker_pick(p->picker, rpc->cluster, slot);
}

enum proxy_try proxy_try(struct proxy *p, struct proxy_rpc *rpc, const struct base_headers *h, uint64_t now)
{
    uint32_t slot;
    for (int marks = 0; marks < FULL_MARKS && pick(p, rpc, &slot); marks++) {
        struct session *up = pool_session(p->pool, slot);
        if (up != NULL)
            session_expect_out(up);
        if (up != NULL && session_available(up) > 0) {
            rpc_bind(p, rpc, slot);
            stats_add(&p->stats->slots[slot].picks, 1);
            return open_stream(p, rpc, up, h, now);
        }
        picker_done(p->picker, slot, PICKER_NOT_STARTED, 0, 0);
        if (up != NULL) /* else it is picked no more */
            has_none(p, rpc->cluster, slot);
    }
    return TRY_NOBODY;
}

/* It may not wait, or has waited long enough.  crowded: there were endpoints, but none had a stream for it. */
static void nobody(struct proxy *p, struct proxy_rpc *rpc, bool crowded, const char *words, uint64_t now)
{
    if (proxy_retry(p, rpc, GRPC_UNAVAILABLE, NULL, now))
        return;
    proxy_answer(p, rpc, GRPC_UNAVAILABLE, crowded ? STATS_REASON_OVERLOAD : STATS_REASON_NO_READY_ENDPOINT, words, now);
}

static void overload(struct proxy *p, struct proxy_rpc *rpc, uint64_t now)
{
    if (!rpc->begun) {
        proxy_refuse(p, rpc, now);
        return;
    }
    session_scarce(rpc->down->session);
    proxy_answer(p, rpc, GRPC_UNAVAILABLE, STATS_REASON_OVERLOAD, "the gateway is out of streams or buffers", now);
}

void proxy_impatient(struct proxy *p, struct proxy_rpc *rpc, uint64_t now)
{
    bool crowded = proxy_crowded(p, rpc->cluster);
    proxy_unwait(p, rpc, STATS_WAIT_TIMEOUT);
    nobody(p, rpc, crowded, crowded ? "no endpoint of this cluster had a free stream in time" : "no endpoint of this cluster became ready in time", now);
}

/* How long an RPC may wait for an endpoint of this cluster; 0: not at all.  Where endpoints are only full, or a backend has said GOAWAY and its next
 * connection is on the way, nobody has failed. */
static uint64_t patience(const struct proxy *p, const struct snapshot_cluster *c)
{
    if (c == NULL)
        return 0;
    return c->no_ready_queue || proxy_crowded(p, c->id) ? c->no_ready_timeout_ns : pool_replacing(p->pool, c->id) ? c->connect_timeout_ns : 0;
}

static void wait_endpoint(struct proxy *p, const struct snapshot *s, struct proxy_rpc *rpc, uint64_t now)
{
    const struct snapshot_cluster *c = proxy_cluster(s, rpc->cluster);
    struct proxy_queue *q = queue_of(&p->cluster_queue[rpc->cluster]);
    uint64_t ns = patience(p, c);
    if (ns == 0) {
        nobody(p, rpc, false, "no endpoint of this cluster is ready", now);
        return;
    }
    if (q->count >= c->no_ready_max) {
        bool crowded = q->full > 0;
        stats_add(&p->stats->clusters[rpc->cluster].waits[STATS_WAIT_REFUSED], 1);
        nobody(p, rpc, crowded, crowded ? "no endpoint of this cluster has a free stream, and as many calls wait as may" : "no endpoint of this cluster is ready, and as many calls wait as may", now);
        return;
    }
    enter(p, q, rpc);
    count_waiting(p, rpc->cluster);
    if (rpc->replay->patience_ns == 0)
        rpc->replay->patience_ns = now + ns;
    proxy_arm(p, rpc, rpc->replay->patience_ns);
}

/* Its queue's first: what became of the try. */
static void tried(struct proxy *p, const struct snapshot *s, struct proxy_rpc *rpc, enum proxy_try how, uint64_t now)
{
    if (how == TRY_NOBODY)
        wait_endpoint(p, s, rpc, now);
    else if (how == TRY_REFUSED)
        overload(p, rpc, now);
    else if (how == TRY_TOO_LARGE)
        proxy_too_large(p, rpc, now);
}

static struct proxy_rpc *first_of(const struct base_list *l)
{
    return base_list_empty(l) ? NULL : base_container(l->next, struct proxy_rpc, wait);
}

static void serve_cluster(struct proxy *p, const struct snapshot *s, uint32_t cluster, uint64_t now)
{
    struct proxy_queue *q = &p->cluster_queue[cluster];
    for (uint32_t n = q->count; n > 0; n--) {
        struct proxy_rpc *rpc = first_of(&q->rpcs);
        enum proxy_try how = proxy_try(p, rpc, NULL, now);
        if (how == TRY_NOBODY && patience(p, proxy_cluster(s, cluster)) > 0)
            return; /* it is still the first */
        proxy_unwait(p, rpc, how == TRY_STARTED ? STATS_WAIT_STARTED : STATS_WAIT_REFUSED);
        proxy_arm(p, rpc, UINT64_MAX);
        tried(p, s, rpc, how, now);
    }
}

void proxy_dispatch(struct proxy *p, const struct snapshot *s, uint64_t now)
{
    if (p->watch_count > 0)
        proxy_health_turn(p, s, now);
    if (p->full_count > 0)
        look(p);
    base_list_each_safe(l, &p->thronged)
        serve_cluster(p, s, (uint32_t)(base_container(l, struct proxy_queue, link) - p->cluster_queue), now);
    for (struct proxy_rpc *rpc; (rpc = first_of(&p->fresh)) != NULL;) {
        proxy_unwait(p, rpc, STATS_WAIT_STARTED);
        bool behind = !base_list_empty(&p->thronged) && p->cluster_queue[rpc->cluster].count > 0;
        tried(p, s, rpc, behind ? TRY_NOBODY : proxy_try(p, rpc, NULL, now), now);
    }
}
