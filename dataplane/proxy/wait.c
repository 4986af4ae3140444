/* RPCs that wait: for an endpoint to be READY, for a stream number of the endpoint that was picked.  Each queue is answered in order. */
#include "internal.h"

static struct proxy_queue *queue_of(struct proxy_queue *q)
{
    if (q->rpcs.next == NULL) {
        base_list_init(&q->rpcs);
        base_list_init(&q->link);
    }
    return q;
}

static void enter(struct proxy_queue *q, struct base_list *where, struct proxy_rpc *rpc, enum rpc_phase phase)
{
    rpc->phase = (uint8_t)phase;
    base_list_push_back(&q->rpcs, &rpc->wait);
    if (q->count++ == 0)
        base_list_push_back(where, &q->link);
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
    case RPC_FRESH:
    case RPC_HEALTH:
        rpc->phase = RPC_RUNS;
        base_list_remove(&rpc->wait);
        return;
    case RPC_BACKS_OFF:
        rpc->phase = RPC_RUNS;
        return;
    case RPC_WAITS_NUMBER:
        quit(&p->slot_queue[rpc->slot], rpc);
        rpc_unbind(p, rpc, PICKER_NOT_STARTED, rpc->started_ns);
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
        return TRY_REFUSED;
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
    if (rpc->replay->bytes > replay_limit(rpc->replay))
        replay_drop(p, rpc);
    return TRY_STARTED;
}

/* The pick stays taken. */
static enum proxy_try wait_number(struct proxy *p, struct proxy_rpc *rpc, const struct base_headers *h, uint64_t now)
{
    if (rpc->replay == NULL && !replay_begin(p, rpc, h)) {
        rpc_unbind(p, rpc, PICKER_NOT_STARTED, now);
        rpc->slot = UINT32_MAX;
        return TRY_REFUSED;
    }
    enter(queue_of(&p->slot_queue[rpc->slot]), &p->crowded, rpc, RPC_WAITS_NUMBER);
    pool_crowded(p->pool, rpc->slot);
    return TRY_WAITS;
}

#define REPICKS 4

/* Another endpoint than the one that did not take it, where there is another. */
static bool pick(struct proxy *p, const struct proxy_rpc *rpc, uint32_t *slot)
{
    if (!picker_pick(p->picker, rpc->cluster, slot))
        return false;
    for (int i = 0; rpc->replay != NULL && rpc->replay->avoid == *slot && i < REPICKS && picker_ready_count(p->picker, rpc->cluster) > 1; i++) {
        picker_done(p->picker, *slot, PICKER_NOT_STARTED, 0, 0);
        picker_pick(p->picker, rpc->cluster, slot);
    }
    return true;
}

enum proxy_try proxy_try(struct proxy *p, struct proxy_rpc *rpc, const struct base_headers *h, uint64_t now)
{
    uint32_t slot;
    if (!pick(p, rpc, &slot))
        return TRY_NOBODY;
    struct session *up = pool_session(p->pool, slot);
    if (up == NULL) {
        picker_done(p->picker, slot, PICKER_NOT_STARTED, 0, 0);
        return TRY_NOBODY;
    }
    session_expect_out(up);
    rpc_bind(p, rpc, slot);
    stats_add(&p->stats->slots[slot].picks, 1);
    /* RFC 9113 section 5.1.2: not more streams than the backend allows. */
    if (session_available(up) == 0 || (!base_list_empty(&p->crowded) && p->slot_queue[slot].count > 0))
        return wait_number(p, rpc, h, now);
    return open_stream(p, rpc, up, h, now);
}

static void nobody_ready(struct proxy *p, struct proxy_rpc *rpc, const char *words, uint64_t now)
{
    if (proxy_retry(p, rpc, GRPC_UNAVAILABLE, NULL, now))
        return;
    proxy_answer(p, rpc, GRPC_UNAVAILABLE, STATS_REASON_NO_READY_ENDPOINT, words, now);
}

static void overload(struct proxy *p, struct proxy_rpc *rpc, uint64_t now)
{
    session_scarce(rpc->down->session);
    proxy_answer(p, rpc, GRPC_UNAVAILABLE, STATS_REASON_OVERLOAD, "the gateway is out of streams or buffers", now);
}

void proxy_impatient(struct proxy *p, struct proxy_rpc *rpc, uint64_t now)
{
    proxy_unwait(p, rpc, STATS_WAIT_TIMEOUT);
    nobody_ready(p, rpc, "no endpoint of this cluster became ready in time", now);
}

static const struct snapshot_cluster *cluster_of(const struct snapshot *s, uint32_t id)
{
    const struct snapshot_cluster *c = s != NULL && id < s->cluster_count ? s->cluster[id] : NULL;
    return c != NULL && c->present ? c : NULL;
}

/* How long an RPC may wait for an endpoint of this cluster; 0: not at all.  Where a backend has said GOAWAY and its next connection is on the way, nobody
 * has failed. */
static uint64_t patience(const struct proxy *p, const struct snapshot_cluster *c)
{
    if (c == NULL)
        return 0;
    return c->no_ready_queue ? c->no_ready_timeout_ns : pool_replacing(p->pool, c->id) ? c->connect_timeout_ns : 0;
}

static void wait_endpoint(struct proxy *p, const struct snapshot *s, struct proxy_rpc *rpc, uint64_t now)
{
    const struct snapshot_cluster *c = cluster_of(s, rpc->cluster);
    struct proxy_queue *q = queue_of(&p->cluster_queue[rpc->cluster]);
    uint64_t ns = patience(p, c);
    if (ns == 0) {
        nobody_ready(p, rpc, "no endpoint of this cluster is ready", now);
        return;
    }
    if (q->count >= c->no_ready_max) {
        stats_add(&p->stats->clusters[rpc->cluster].waits[STATS_WAIT_REFUSED], 1);
        nobody_ready(p, rpc, "no endpoint of this cluster is ready, and as many calls wait as may", now);
        return;
    }
    enter(q, &p->thronged, rpc, RPC_WAITS_ENDPOINT);
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
}

static struct proxy_rpc *first_of(const struct base_list *l)
{
    return base_list_empty(l) ? NULL : base_container(l->next, struct proxy_rpc, wait);
}

static void serve_cluster(struct proxy *p, const struct snapshot *s, uint32_t cluster, uint64_t now)
{
    struct proxy_queue *q = &p->cluster_queue[cluster];
    bool hopeless = patience(p, cluster_of(s, cluster)) == 0;
    for (uint32_t n = q->count; n > 0; n--) { /* once each: a try may end here again */
        bool ready = picker_ready_count(p->picker, cluster) > 0;
        if (!ready && !hopeless)
            return;
        struct proxy_rpc *rpc = first_of(&q->rpcs);
        proxy_unwait(p, rpc, ready ? STATS_WAIT_STARTED : STATS_WAIT_REFUSED);
        proxy_arm(p, rpc, UINT64_MAX);
        tried(p, s, rpc, proxy_try(p, rpc, NULL, now), now);
    }
}

/* Where the endpoint is lost, its RPCs are picked anew. */
static void serve_slot(struct proxy *p, uint32_t slot, uint64_t now)
{
    struct proxy_queue *q = &p->slot_queue[slot];
    for (struct proxy_rpc *rpc; (rpc = first_of(&q->rpcs)) != NULL;) {
        struct session *up = pool_session(p->pool, slot);
        if (up != NULL && session_available(up) == 0) {
            pool_crowded(p->pool, slot);
            return;
        }
        if (up == NULL) {
            proxy_unwait(p, rpc, STATS_WAIT_STARTED);
            rpc->slot = UINT32_MAX;
            proxy_again(p, rpc);
            continue;
        }
        quit(q, rpc);
        if (open_stream(p, rpc, up, NULL, now) == TRY_REFUSED)
            overload(p, rpc, now);
    }
}

void proxy_dispatch(struct proxy *p, const struct snapshot *s, uint64_t now)
{
    if (!base_list_empty(&p->watches))
        proxy_health_turn(p, s, now);
    base_list_each_safe(l, &p->crowded)
        serve_slot(p, (uint32_t)(base_container(l, struct proxy_queue, link) - p->slot_queue), now);
    base_list_each_safe(l, &p->thronged)
        serve_cluster(p, s, (uint32_t)(base_container(l, struct proxy_queue, link) - p->cluster_queue), now);
    for (struct proxy_rpc *rpc; (rpc = first_of(&p->fresh)) != NULL;) {
        proxy_unwait(p, rpc, STATS_WAIT_STARTED);
        bool behind = !base_list_empty(&p->thronged) && p->cluster_queue[rpc->cluster].count > 0;
        tried(p, s, rpc, behind ? TRY_NOBODY : proxy_try(p, rpc, NULL, now), now);
    }
}
