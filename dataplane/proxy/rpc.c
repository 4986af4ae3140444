/* The life of an RPC, apart from what flows through it. */
#include "internal.h"

static uint32_t access_records(uint32_t rpcs)
{
    return rpcs < PROXY_ACCESS_MAX ? rpcs : PROXY_ACCESS_MAX;
}

static uint32_t replays(uint32_t rpcs)
{
    return rpcs < REPLAY_MAX ? rpcs : REPLAY_MAX;
}

size_t proxy_footprint(uint32_t rpcs, uint32_t clusters, uint32_t slots)
{
    return base_align(sizeof(struct proxy)) + base_slab_footprint(sizeof(struct proxy_rpc), rpcs) +
           base_slab_footprint(REPLAY_SMALL, replays(rpcs)) + base_slab_footprint(REPLAY_LARGE, replays(rpcs)) +
           base_align(sizeof(struct proxy_service) * (clusters + 1)) + base_align(sizeof(struct proxy_queue) * clusters) + base_align(sizeof(struct proxy_budget) * clusters) + base_align(sizeof(struct proxy_full) * slots) +
           base_slab_footprint(sizeof(struct mailbox_access), access_records(rpcs));
}

struct proxy *proxy_create(struct base_arena *arena, uint32_t rpcs, uint32_t worker, struct sessions *sessions, struct pool *pool,
                           struct picker *picker, struct mailbox *mailbox, struct stats *stats, uint64_t now)
{
    struct proxy *p = base_arena_take(arena, sizeof(*p));
    p->pool = pool;
    p->picker = picker;
    p->mailbox = mailbox;
    p->stats = stats;
    p->worker = worker;
    p->sessions = sessions;
    p->cluster_queue = base_arena_take(arena, sizeof(struct proxy_queue) * stats->cluster_count);
    p->slot_full = base_arena_take(arena, sizeof(struct proxy_full) * stats->slot_count);
    p->budget = base_arena_take(arena, sizeof(struct proxy_budget) * stats->cluster_count);
    proxy_health_create(p, arena);
    base_list_init(&p->fresh);
    base_list_init(&p->thronged);
    base_list_init(&p->full);
    base_slab_init(&p->replays[false], arena, "replay_small", REPLAY_SMALL, replays(rpcs));
    stats_object_add(stats, "replay_small", &p->replays[false].in_use, p->replays[false].capacity);
    base_slab_init(&p->replays[true], arena, "replay", REPLAY_LARGE, replays(rpcs));
    stats_object_add(stats, "replay", &p->replays[true].in_use, p->replays[true].capacity);
    base_slab_init(&p->rpcs, arena, "rpc", sizeof(struct proxy_rpc), rpcs);
    stats_object_add(stats, "rpc", &p->rpcs.in_use, rpcs);
    sessions_watch(sessions, &p->rpcs);
    base_slab_init(&p->access, arena, "access", sizeof(struct mailbox_access), access_records(rpcs));
    stats_object_add(stats, "access_record", &p->access.in_use, p->access.capacity);
    base_wheel_init(&p->wheel, now);
    return p;
}

/* The outcome, once. */
void rpc_settle(struct proxy *p, struct proxy_rpc *rpc, enum grpc_code code, uint64_t now)
{
    if (rpc->settled)
        return;
    rpc->settled = true;
    base_wheel_cancel(&p->wheel, &rpc->deadline);
    if (rpc->phase != RPC_RUNS)
        proxy_unwait(p, rpc, code == GRPC_CANCELLED ? STATS_WAIT_CANCELLED : code == GRPC_DEADLINE_EXCEEDED ? STATS_WAIT_DEADLINE : STATS_WAIT_REFUSED);
    replay_drop(p, rpc);
    if (rpc->access != NULL)
        proxy_access_end(p, rpc, code, now);
    if (!rpc->routed)
        return;
    struct stats_cluster *c = &p->stats->clusters[rpc->cluster];
    stats_duration_add(&c->duration, now - rpc->started_ns);
    if (rpc->slot != UINT32_MAX && p->stats->slots[rpc->slot].serial == rpc->serial)
        stats_add(&p->stats->slots[rpc->slot].rpcs[code], 1);
    else
        stats_add(&c->own_answers[code], 1);
}

void rpc_bind(struct proxy *p, struct proxy_rpc *rpc, uint32_t slot)
{
    rpc->slot = slot;
    rpc->serial = pool_serial(p->pool, slot);
    rpc->bound = true;
    pool_stream_started(p->pool, slot);
}

void rpc_unbind(struct proxy *p, struct proxy_rpc *rpc, enum picker_outcome outcome, uint64_t now)
{
    rpc->up = NULL;
    if (rpc->bound) {
        pool_stream_ended(p->pool, rpc->slot);
        picker_done(p->picker, rpc->slot, outcome, rpc->bytes, now - rpc->started_ns);
    }
    rpc->bound = false;
}

void rpc_drop_up(struct proxy *p, struct proxy_rpc *rpc, enum http2_error code, enum picker_outcome outcome, uint64_t now)
{
    if (rpc->up == NULL)
        return;
    rpc->up->user = NULL;
    session_reset(rpc->up, code);
    rpc_unbind(p, rpc, outcome, now);
}

void rpc_release_up(struct proxy *p, struct proxy_rpc *rpc, enum picker_outcome outcome, uint64_t now)
{
    if (rpc->up == NULL)
        return;
    session_release(rpc->up);
    rpc_unbind(p, rpc, outcome, now);
}

void rpc_free(struct proxy *p, struct proxy_rpc *rpc)
{
    assert(rpc->up == NULL && rpc->down == NULL);
    base_wheel_cancel(&p->wheel, &rpc->deadline);
    base_slab_free(&p->rpcs, rpc);
}
