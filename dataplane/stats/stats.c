#include "stats.h"

const char *const stats_drop_labels[STATS_DROP_COUNT] = {
#define X(name, label) label,
    STATS_DROPS(X)
#undef X
};

const char *const stats_counter_labels[STATS_COUNTER_COUNT] = {
#define X(name, label) label,
    STATS_COUNTERS(X)
#undef X
};

const char *const stats_reason_labels[STATS_REASON_COUNT] = {
#define X(name, label) label,
    STATS_REASONS(X)
#undef X
};

const char *const stats_wait_labels[STATS_WAIT_COUNT] = {
#define X(name, label) label,
    STATS_WAITS(X)
#undef X
};

const char *const stats_retry_labels[STATS_RETRY_COUNT] = {
#define X(name, label) label,
    STATS_RETRIES(X)
#undef X
};

const char *const stats_grpc_names[STATS_GRPC_CODES] = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED", "NOT_FOUND",
    "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",  "OUT_OF_RANGE",
    "UNIMPLEMENTED",  "INTERNAL",          "UNAVAILABLE",        "DATA_LOSS",           "UNAUTHENTICATED"};

const uint32_t stats_duration_bounds_us[STATS_DURATION_BUCKETS - 1] = {
    50,    100,   200,    500,    1000,   2000,    5000,    10000,   20000,
    50000, 100000, 200000, 500000, 1000000, 2000000, 5000000, 10000000};

size_t stats_footprint(uint32_t slots, uint32_t clusters)
{
    return base_align(sizeof(struct stats)) + base_align(sizeof(struct stats_slot) * slots) +
           base_align(sizeof(struct stats_cluster) * clusters);
}

struct stats *stats_create(struct base_arena *arena, uint32_t slots, uint32_t clusters)
{
    struct stats *s = base_arena_take(arena, sizeof(*s));
    s->slots = base_arena_take(arena, sizeof(*s->slots) * slots);
    s->slot_count = slots;
    s->clusters = base_arena_take(arena, sizeof(*s->clusters) * clusters);
    s->cluster_count = clusters;
    return s;
}

void stats_object_add(struct stats *s, const char *kind, const uint32_t *in_use, uint32_t capacity)
{
    assert(s->object_count < STATS_OBJECTS_MAX);
    s->objects[s->object_count++] = (struct stats_object){kind, in_use, capacity};
}

void stats_duration_add(struct stats_histogram *h, uint64_t ns)
{
    uint64_t us = ns / 1000;
    unsigned i = 0;
    while (i < STATS_DURATION_BUCKETS - 1 && us > stats_duration_bounds_us[i])
        i++;
    stats_add(&h->bucket[i], 1);
    stats_add(&h->count, 1);
    stats_add(&h->sum_us, us);
}
