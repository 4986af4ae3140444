/* snapshot: a version that somebody may still read is never reclaimable; one that nobody can read is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "snapshot/snapshot.h"

static void nothing_is_published_at_first(void **state)
{
    (void)state;
    struct snapshot_door *d = snapshot_door_create(2);
    assert_non_null(d);
    snapshot_worker_online(d, 0);
    assert_null(snapshot_get(d));
    snapshot_door_destroy(d);
    assert_null(snapshot_door_create(0));
    assert_null(snapshot_door_create(SNAPSHOT_WORKERS_MAX + 1));
}

static void a_version_waits_for_every_online_worker(void **state)
{
    (void)state;
    static struct snapshot a, b, c;
    uint64_t token;
    struct snapshot_door *d = snapshot_door_create(3);
    assert_null(snapshot_swap(d, &a, &token));
    assert_true(snapshot_reclaimable(d, token)); /* nobody is online */
    assert_int_equal(snapshot_laggard(d, token), -1);

    snapshot_worker_online(d, 0);
    snapshot_worker_online(d, 2);
    assert_ptr_equal(snapshot_get(d), &a);
    assert_ptr_equal(snapshot_swap(d, &b, &token), &a);
    assert_ptr_equal(snapshot_get(d), &b);
    assert_false(snapshot_reclaimable(d, token));
    assert_int_equal(snapshot_laggard(d, token), 0);
    snapshot_quiescent(d, 0);
    assert_false(snapshot_reclaimable(d, token));
    assert_int_equal(snapshot_laggard(d, token), 2);
    snapshot_quiescent(d, 2);
    assert_int_equal(snapshot_laggard(d, token), -1);
    assert_true(snapshot_reclaimable(d, token));

    /* One that comes late cannot hold the old version, one that leaves is not waited for. */
    assert_ptr_equal(snapshot_swap(d, &c, &token), &b);
    snapshot_worker_online(d, 1);
    snapshot_quiescent(d, 0);
    assert_int_equal(snapshot_laggard(d, token), 2);
    snapshot_worker_offline(d, 2);
    assert_true(snapshot_reclaimable(d, token));
    snapshot_door_destroy(d);
}

static void later_tokens_cover_earlier_ones(void **state)
{
    (void)state;
    static struct snapshot v[4];
    uint64_t token[4];
    struct snapshot_door *d = snapshot_door_create(SNAPSHOT_WORKERS_MAX);
    for (uint32_t w = 0; w < SNAPSHOT_WORKERS_MAX; w++)
        snapshot_worker_online(d, w);
    snapshot_swap(d, &v[0], &token[0]);
    snapshot_swap(d, &v[1], &token[1]);
    for (uint32_t w = 0; w < SNAPSHOT_WORKERS_MAX; w++)
        snapshot_quiescent(d, w);
    snapshot_swap(d, &v[2], &token[2]);
    assert_true(snapshot_reclaimable(d, token[0]));
    assert_true(snapshot_reclaimable(d, token[1]));
    assert_false(snapshot_reclaimable(d, token[2]));
    snapshot_door_destroy(d);
}

/* Real threads: the writer scribbles over a version as soon as it may; no reader sees the scribble. */
enum { READERS = 2, VERSIONS = 2000, SCRIBBLE = 0xdead };

struct reader {
    struct snapshot_door *door;
    uint32_t worker;
    uint64_t turns, bad;
    const bool *stop;
};

static void *read_versions(void *argument)
{
    struct reader *r = argument;
    uint64_t last = 0;
    snapshot_worker_online(r->door, r->worker);
    while (!__atomic_load_n(r->stop, __ATOMIC_RELAXED)) {
        const struct snapshot *s = snapshot_get(r->door);
        for (int i = 0; s != NULL && i < 8; i++)
            if (*(volatile const uint64_t *)&s->generation == SCRIBBLE || s->generation < last)
                r->bad++;
        if (s != NULL)
            last = s->generation;
        __atomic_store_n(&r->turns, r->turns + 1, __ATOMIC_RELAXED);
        snapshot_quiescent(r->door, r->worker);
        if (r->turns % 16 == 0) /* fewer cores than threads: the others have to turn */
            sched_yield();
        if (r->turns % 1000 == 0) { /* a worker may leave and come back */
            snapshot_worker_offline(r->door, r->worker);
            snapshot_worker_online(r->door, r->worker);
        }
    }
    snapshot_worker_offline(r->door, r->worker);
    return NULL;
}

static void readers_never_see_a_reclaimed_version(void **state)
{
    (void)state;
    static struct snapshot v[2];
    struct snapshot_door *d = snapshot_door_create(READERS);
    bool stop = false;
    struct reader r[READERS];
    pthread_t t[READERS];
    for (uint32_t i = 0; i < READERS; i++) {
        r[i] = (struct reader){.door = d, .worker = i, .stop = &stop};
        assert_int_equal(pthread_create(&t[i], NULL, read_versions, &r[i]), 0);
    }
    for (int i = 0; i < READERS; i++) /* else all versions may pass before the first turn */
        while (__atomic_load_n(&r[i].turns, __ATOMIC_RELAXED) == 0)
            sched_yield();
    for (uint64_t g = 1; g <= VERSIONS; g++) {
        struct snapshot *next = &v[g % 2];
        *(volatile uint64_t *)&next->generation = g + SCRIBBLE;
        uint64_t token;
        struct snapshot *old = snapshot_swap(d, next, &token);
        while (!snapshot_reclaimable(d, token))
            sched_yield();
        if (old != NULL)
            *(volatile uint64_t *)&old->generation = SCRIBBLE;
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (int i = 0; i < READERS; i++) {
        pthread_join(t[i], NULL);
        assert_true(r[i].turns > 0);
        assert_true(r[i].bad == 0);
    }
    snapshot_door_destroy(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_published_at_first), cmocka_unit_test(a_version_waits_for_every_online_worker),
        cmocka_unit_test(later_tokens_cover_earlier_ones), cmocka_unit_test(readers_never_see_a_reclaimed_version)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
