/* stats: single-writer counters and histograms.
 *
 * Owns:   struct stats, one a worker; written by that worker alone, read by the control plane at any time.
 * Uses:   base.
 * Thread: writer: the owning worker.  Readers: anyone, through stats_read(), which may see counts a turn old.
 * Time:   none.
 * Memory: an arena at start-up.
 * Errors: none. */
#ifndef STATS_H
#define STATS_H

#include "lists.h"
#include "base/base.h"

enum stats_drop {
#define X(name, label) STATS_DROP_##name,
    STATS_DROPS(X)
#undef X
        STATS_DROP_COUNT
};

enum stats_counter {
#define X(name, label) STATS_##name,
    STATS_COUNTERS(X)
#undef X
        STATS_COUNTER_COUNT
};

extern const char *const stats_drop_labels[STATS_DROP_COUNT];
extern const char *const stats_counter_labels[STATS_COUNTER_COUNT];

/* Cumulative bucket bounds in microseconds: 50 us ... 10 s; the last bucket is unbounded. */
#define STATS_DURATION_BUCKETS 18
extern const uint32_t stats_duration_bounds_us[STATS_DURATION_BUCKETS - 1];

struct stats_histogram {
    uint64_t bucket[STATS_DURATION_BUCKETS]; /* not cumulative */
    uint64_t count;
    uint64_t sum_us;
};

/* Residence inside the gateway: powers of two in nanoseconds, bucket i holds [2^(i+7), 2^(i+8)). */
#define STATS_RESIDENCE_BUCKETS 24
struct stats_residence {
    uint64_t bucket[STATS_RESIDENCE_BUCKETS];
    uint64_t count;
    uint64_t sum_ns;
};

#define STATS_GRPC_CODES 17 /* 0-16 of grpc-status; anything else counts as 2 UNKNOWN */
extern const char *const stats_grpc_names[STATS_GRPC_CODES];

/* Indexed by endpoint slot. */
struct stats_slot {
    uint64_t rpcs[STATS_GRPC_CODES];
    uint64_t picks;
    uint64_t connects;
    uint64_t failures; /* connection attempts that failed, and connections lost */
    uint64_t active;   /* streams now */
    uint64_t serial;   /* whose counts these are: changes with the slot's endpoint */
};

/* Why a pick gave no endpoint, or an RPC got an answer of our own. */
#define STATS_REASONS(X)                                                                                               \
    X(NO_ROUTE, "no_route")                                                                                            \
    X(NO_READY_ENDPOINT, "no_ready_endpoint")                                                                          \
    X(DEADLINE, "deadline")                                                                                            \
    X(OVERLOAD, "overload")                                                                                            \
    X(UPSTREAM_RESET, "upstream_reset")                                                                                \
    X(UPSTREAM_LOST, "upstream_lost")                                                                                  \
    X(UPSTREAM_PROTOCOL, "upstream_protocol")                                                                          \
    X(HEADERS_TOO_LARGE, "headers_too_large")                                                                          \
    X(DRAINING, "draining")                                                                                            \
    X(BAD_REQUEST, "bad_request")

enum stats_reason {
#define X(name, label) STATS_REASON_##name,
    STATS_REASONS(X)
#undef X
        STATS_REASON_COUNT
};
extern const char *const stats_reason_labels[STATS_REASON_COUNT];

/* How it ended that an RPC waited for an endpoint to be READY and to have a stream free. */
#define STATS_WAITS(X)                                                                                                 \
    X(STARTED, "started")                                                                                              \
    X(TIMEOUT, "timeout")                                                                                              \
    X(DEADLINE, "deadline")                                                                                            \
    X(CANCELLED, "cancelled")                                                                                          \
    X(REFUSED, "refused") /* no_ready.max waited already */

enum stats_wait {
#define X(name, label) STATS_WAIT_##name,
    STATS_WAITS(X)
#undef X
        STATS_WAIT_COUNT
};
extern const char *const stats_wait_labels[STATS_WAIT_COUNT];

/* Why an RPC went to an endpoint once more. */
#define STATS_RETRIES(X)                                                                                               \
    X(UNSENT, "unsent")         /* nothing of it had been sent */                                                      \
    X(GOAWAY, "goaway")         /* the backend said that it had not looked at it */                                    \
    X(REFUSED, "refused")       /* REFUSED_STREAM */                                                                   \
    X(POLICY, "policy")         /* retryPolicy */                                                                      \
    X(THROTTLED, "throttled")   /* retryPolicy would have, retryThrottling forbade it */                               \
    X(BUDGET, "over_budget")    /* retryPolicy would have, the budget of the cluster forbade it */

enum stats_retry {
#define X(name, label) STATS_RETRY_##name,
    STATS_RETRIES(X)
#undef X
        STATS_RETRY_COUNT
};
extern const char *const stats_retry_labels[STATS_RETRY_COUNT];

#define STATS_LISTENERS 16
/* Indexed by cluster id. */
struct stats_cluster {
    struct stats_histogram duration;
    uint64_t started[STATS_LISTENERS];
    uint64_t pick_failures[STATS_REASON_COUNT];
    uint64_t own_answers[STATS_GRPC_CODES]; /* RPCs that ended without an endpoint, by the status we gave */
    uint64_t waiting;                       /* RPCs that wait for an endpoint, or a stream of one, now */
    uint64_t waits[STATS_WAIT_COUNT];
    uint64_t retries[STATS_RETRY_COUNT];
};

/* A bounded pool whose fill the control plane may show (penstock_objects). */
struct stats_object {
    const char *kind;
    const uint32_t *in_use;
    uint32_t capacity;
};
#define STATS_OBJECTS_MAX 32

struct stats {
    _Alignas(BASE_CACHE_LINE) uint64_t drops[STATS_DROP_COUNT];
    _Alignas(BASE_CACHE_LINE) uint64_t counters[STATS_COUNTER_COUNT];
    struct stats_residence residence;
    struct stats_slot *slots;
    uint32_t slot_count;
    struct stats_cluster *clusters;
    uint32_t cluster_count;
    struct stats_object objects[STATS_OBJECTS_MAX];
    uint32_t object_count;
};

size_t stats_footprint(uint32_t slots, uint32_t clusters);
struct stats *stats_create(struct base_arena *arena, uint32_t slots, uint32_t clusters);
/* At start-up only. `in_use` outlives the stats. */
void stats_object_add(struct stats *s, const char *kind, const uint32_t *in_use, uint32_t capacity);
void stats_duration_add(struct stats_histogram *h, uint64_t ns);

static inline void stats_add(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static inline uint64_t stats_read(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static inline void stats_drop(struct stats *s, enum stats_drop reason)
{
    stats_add(&s->drops[reason], 1);
}

static inline void stats_count(struct stats *s, enum stats_counter which, uint64_t n)
{
    stats_add(&s->counters[which], n);
}

static inline void stats_residence_add(struct stats *s, uint64_t ns)
{
    unsigned bit = ns < 128 ? 0 : (unsigned)(63 - __builtin_clzll(ns)) - 7;
    stats_add(&s->residence.bucket[bit < STATS_RESIDENCE_BUCKETS ? bit : STATS_RESIDENCE_BUCKETS - 1], 1);
    stats_add(&s->residence.count, 1);
    stats_add(&s->residence.sum_ns, ns);
}

#endif
