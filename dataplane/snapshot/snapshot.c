/* The door between the planes: one pointer, and rte_rcu_qsbr to tell when nobody can hold the pointer's former value.
 *
 * The writer exchanges the pointer and takes a token.  A worker that reports quiescence after that has dropped whatever it read before,
 * and will read the new pointer next; once every online worker has done so, the former version is nobody's.  A worker that is offline
 * (not yet in its loop, or past it) holds nothing and is not waited for.
 *
 * This file knows nothing about what a version holds: `publish` builds and frees versions. */
#include "snapshot.h"

#include <rte_rcu_qsbr.h>
#include <stdlib.h>

struct snapshot_door {
    /* Read by every worker each turn, written once a version. */
    _Alignas(BASE_CACHE_LINE) struct snapshot *current;
    uint32_t workers;
    /* Of rte_rcu_qsbr_get_memsize(workers) bytes; a cache line a worker. */
    _Alignas(BASE_CACHE_LINE) struct rte_rcu_qsbr qsbr;
};

struct snapshot_door *snapshot_door_create(uint32_t workers)
{
    if (workers == 0 || workers > SNAPSHOT_WORKERS_MAX)
        return NULL;
    size_t size = offsetof(struct snapshot_door, qsbr) + rte_rcu_qsbr_get_memsize(workers);
    struct snapshot_door *d = aligned_alloc(BASE_CACHE_LINE, base_align(size));
    if (d == NULL)
        return NULL;
    memset(d, 0, base_align(size));
    d->workers = workers;
    if (rte_rcu_qsbr_init(&d->qsbr, workers) != 0) {
        free(d);
        return NULL;
    }
    for (uint32_t w = 0; w < workers; w++)
        rte_rcu_qsbr_thread_register(&d->qsbr, w);
    return d;
}

void snapshot_door_destroy(struct snapshot_door *d)
{
    free(d);
}

void snapshot_worker_online(struct snapshot_door *d, uint32_t worker)
{
    assert(worker < d->workers);
    rte_rcu_qsbr_thread_online(&d->qsbr, worker);
}

void snapshot_worker_offline(struct snapshot_door *d, uint32_t worker)
{
    assert(worker < d->workers);
    rte_rcu_qsbr_thread_offline(&d->qsbr, worker);
}

void snapshot_quiescent(struct snapshot_door *d, uint32_t worker)
{
    rte_rcu_qsbr_quiescent(&d->qsbr, worker);
}

const struct snapshot *snapshot_get(const struct snapshot_door *d)
{
    return __atomic_load_n(&d->current, __ATOMIC_ACQUIRE);
}

struct snapshot *snapshot_swap(struct snapshot_door *d, struct snapshot *next, uint64_t *token)
{
    /* Sequentially consistent: a worker that goes online meanwhile either reads `next`, or is seen online by the check. */
    struct snapshot *old = __atomic_exchange_n(&d->current, next, __ATOMIC_SEQ_CST);
    *token = rte_rcu_qsbr_start(&d->qsbr);
    return old;
}

bool snapshot_reclaimable(struct snapshot_door *d, uint64_t token)
{
    return rte_rcu_qsbr_check(&d->qsbr, token, false) == 1;
}

int snapshot_laggard(struct snapshot_door *d, uint64_t token)
{
    for (uint32_t w = 0; w < d->workers; w++) {
        uint64_t seen = __atomic_load_n(&d->qsbr.qsbr_cnt[w].cnt, __ATOMIC_ACQUIRE);
        if (seen != __RTE_QSBR_CNT_THR_OFFLINE && seen < token)
            return (int)w;
    }
    return -1;
}
