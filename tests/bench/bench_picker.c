/* ns a pick, for both policies.  Prints, asserts nothing: time on a shared machine proves nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "picker/picker.h"
#include "world.h"

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

enum weights { EQUAL, DIGITS, ANY, ONE_HUGE };
static const char *const weights_names[] = {"equal", "1..10", "1..65535", "one of 65535"};

static uint32_t weight(enum weights kind, uint32_t i)
{
    switch (kind) {
    case EQUAL:
        return 1;
    case DIGITS:
        return 1 + (uint32_t)rand() % 10;
    case ANY:
        return 1 + (uint32_t)rand() % 65535;
    case ONE_HUGE:
        break;
    }
    return i == 0 ? 65535 : 1;
}

static void bench(enum snapshot_policy policy, uint32_t endpoints, enum weights kind)
{
    enum { PICKS = 1000000, ROUNDS = 5 };
    struct world *w = world_create(1, endpoints);
    size_t n = picker_footprint(1, endpoints);
    struct base_arena a;
    void *memory = calloc(1, n + 64);
    base_arena_init(&a, (void *)(((uintptr_t)memory + 63) & ~(uintptr_t)63), n);
    struct picker *p = picker_create(&a, 1, endpoints, 1);
    world_policy(w, 0, policy);
    for (uint32_t i = 0; i < endpoints; i++)
        world_add(w, 0, i, weight(kind, i));
    double start = now_ns();
    picker_apply(p, &w->s);
    double first = now_ns();
    for (uint32_t i = 0; i < endpoints; i++)
        picker_ready(p, i, true);
    double ready = now_ns();
    world_endpoint(w, endpoints / 2)->weight++;
    world_touch(w, 0);
    double again = now_ns();
    picker_apply(p, &w->s);
    double applied = now_ns();
    double best = 1e9;
    uint32_t slot = 0;
    for (int r = 0; r < ROUNDS; r++) {
        double t = now_ns();
        for (int i = 0; i < PICKS; i++)
            picker_pick(p, 0, &slot);
        t = (now_ns() - t) / PICKS;
        best = t < best ? t : best;
    }
    printf("%-22s %6u endpoints  weights %-13s %6.1f ns a pick   ready %5.1f ns each   apply %8.1f us, one weight changed %7.1f us\n",
           policy == SNAPSHOT_ROUND_ROBIN ? "round_robin" : "weighted_round_robin", endpoints, weights_names[kind], best,
           (ready - first) / endpoints, (first - start) / 1e3, (applied - again) / 1e3);
    free(memory);
    world_free(w);
}

int main(void)
{
    static const uint32_t sizes[] = {3, 1000, 10000};
    for (int i = 0; i < 3; i++)
        bench(SNAPSHOT_ROUND_ROBIN, sizes[i], EQUAL);
    for (enum weights k = EQUAL; k <= ONE_HUGE; k++)
        for (int i = 0; i < 3; i++)
            bench(SNAPSHOT_WEIGHTED_ROUND_ROBIN, sizes[i], k);
    return 0;
}
