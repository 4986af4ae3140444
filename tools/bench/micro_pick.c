/* What a pick costs. */
#include "micro.h"

#include "picker/picker.h"

#include <stdlib.h>
#include <time.h>

double micro_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double micro_median(double *values, uint32_t n)
{
    qsort(values, n, sizeof(*values), by_value);
    return values[n / 2];
}

static void *zeroed(size_t n)
{
    void *p = aligned_alloc(BASE_CACHE_LINE, base_align(n));
    if (p == NULL)
        abort();
    return memset(p, 0, base_align(n));
}

/* One cluster of these endpoints, as publish would make it. */
static struct snapshot *version(enum snapshot_policy policy, uint32_t endpoints)
{
    struct snapshot *s = zeroed(sizeof(*s));
    struct snapshot_cluster *c = zeroed(sizeof(*c));
    uint32_t *slots = zeroed(endpoints * sizeof(*slots));
    s->generation = 1;
    s->cluster_count = 1;
    s->cluster[0] = c;
    s->page_count = (endpoints + SNAPSHOT_PAGE - 1) / SNAPSHOT_PAGE;
    *c = (struct snapshot_cluster){.version = 1, .present = true, .policy = policy, .slot_count = endpoints, .slots = slots};
    for (uint32_t i = 0; i < s->page_count; i++)
        s->page[i] = zeroed(sizeof(struct snapshot_page));
    for (uint32_t i = 0; i < endpoints; i++) {
        slots[i] = i;
        s->page[i / SNAPSHOT_PAGE]->endpoint[i % SNAPSHOT_PAGE] = (struct snapshot_endpoint){
            .serial = i + 1, .weight = policy == SNAPSHOT_ROUND_ROBIN ? 1 : 1 + (uint32_t)(base_mix64(i) % 10), .flags = SNAPSHOT_PRESENT};
    }
    return s;
}

static void version_free(struct snapshot *s)
{
    for (uint32_t i = 0; i < s->page_count; i++)
        free(s->page[i]);
    free((void *)(uintptr_t)s->cluster[0]->slots);
    free(s->cluster[0]);
    free(s);
}

double micro_pick(enum snapshot_policy policy, uint32_t endpoints)
{
    enum { PICKS = 2000, ROUNDS = 501 };
    static double ns[ROUNDS];
    struct snapshot *s = version(policy, endpoints);
    size_t n = picker_footprint(1, endpoints);
    void *memory = zeroed(n);
    struct base_arena a;
    base_arena_init(&a, memory, n);
    struct picker *p = picker_create(&a, 1, endpoints, 1);
    picker_apply(p, s);
    for (uint32_t i = 0; i < endpoints; i++)
        picker_ready(p, i, true);
    for (uint32_t r = 0; r < ROUNDS; r++) {
        uint32_t slot = 0;
        double began = micro_now_ns();
        for (int i = 0; i < PICKS; i++)
            if (!picker_pick(p, 0, &slot))
                abort();
        ns[r] = (micro_now_ns() - began) / PICKS;
    }
    free(memory);
    version_free(s);
    return micro_median(ns, ROUNDS);
}
