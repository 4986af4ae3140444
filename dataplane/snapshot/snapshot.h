/* snapshot: the door down.  What the control plane wants to be true, as an immutable version that workers read.
 *
 * Owns:   the shapes of a version and the door through which one version replaces another (rte_rcu_qsbr).
 * Uses:   base; rte_rcu.
 * Thread: written by `publish` alone; read by workers between two snapshot_quiescent() calls.
 * Time:   none.
 * Memory: the writer's heap.  No pointer into a snapshot outlives a turn of the loop: a stream copies what it needs at its start.
 * Errors: none; a snapshot that was published is valid. */
#ifndef SNAPSHOT_H
#define SNAPSHOT_H

#include "base/base.h"

#define SNAPSHOT_WORKERS_MAX   64
#define SNAPSHOT_PORTS_MAX     8
#define SNAPSHOT_ADDRESSES_MAX 16
#define SNAPSHOT_LISTENERS_MAX 16
#define SNAPSHOT_CLUSTERS_MAX  1024
#define SNAPSHOT_SLOTS_MAX     16384
#define SNAPSHOT_PAGE          64
#define SNAPSHOT_PAGES_MAX     (SNAPSHOT_SLOTS_MAX / SNAPSHOT_PAGE)

enum { /* snapshot_endpoint.flags */
    SNAPSHOT_PRESENT = 1, /* connect, and keep connected */
    SNAPSHOT_DRAIN = 2,   /* no new RPC; running streams finish (weight 0, drained by hand) */
    /* neither: the endpoint is gone; close when the last stream ends, then report the slot empty */
};

/* One endpoint in its slot. An endpoint keeps its slot for life; the slot is used again, with another serial, only after every worker
 * reported it empty. */
struct snapshot_endpoint {
    struct base_endpoint address;
    uint16_t cluster; /* id */
    uint32_t serial;  /* 0: the slot was never used */
    uint32_t weight;  /* >= 1 unless drained */
    uint32_t flags;
    uint64_t spared;  /* bit w: worker w does not connect to it (subset_size) */
};

/* Endpoints of SNAPSHOT_PAGE neighbouring slots. Pages that did not change are shared between versions. */
struct snapshot_page {
    uint64_t version; /* differs whenever any entry differs */
    uint32_t refs;    /* writer's */
    struct snapshot_endpoint endpoint[SNAPSHOT_PAGE];
};

enum snapshot_policy { SNAPSHOT_ROUND_ROBIN, SNAPSHOT_WEIGHTED_ROUND_ROBIN };

struct snapshot_keepalive {
    uint64_t time_ns, timeout_ns, min_time_ns;
    bool permit_without_stream;
};

/* retryPolicy of a gRPC service config (gRFC A6). */
struct snapshot_retry {
    uint64_t initial_ns, max_ns;
    uint32_t factor_x1024;
    uint32_t codes;    /* bit n: grpc-status n is retried */
    uint32_t attempts; /* the first included, 2 to 5; 0: no policy */
};

/* methodConfig: those named exactly first, then services, then all. */
struct snapshot_method {
    uint8_t match; /* enum snapshot_match: EXACT, PREFIX ("/pkg.Service/"), ANY */
    uint16_t path_len;
    const char *path;
    uint64_t timeout_ns; /* cap; 0 = none */
    struct snapshot_retry retry;
};

/* Frames that cost a client nothing, a second. */
struct snapshot_bounds {
    uint32_t resets, pings, settings, empty_data, priority, window_updates, other_frames;
    uint32_t continuation_frames, header_fields;
    uint32_t buffered;
};

struct snapshot_cluster {
    uint64_t version; /* differs whenever anything below or any endpoint of the cluster differs */
    uint32_t refs;    /* writer's: shared between versions when unchanged */
    uint16_t id;      /* for life */
    bool present;
    uint8_t policy;   /* enum snapshot_policy */
    bool no_ready_queue; /* an RPC that finds no endpoint waits */
    uint32_t connections_per_endpoint, max_connections_per_endpoint, subset_size;
    uint32_t no_ready_max; /* RPCs that may wait, on each worker */
    uint64_t no_ready_timeout_ns;
    uint64_t connect_timeout_ns, backoff_base_ns, backoff_max_ns, max_connection_age_ns;
    uint32_t backoff_factor_x1024; /* 1.6 -> 1638 */
    struct snapshot_keepalive keepalive;
    uint32_t throttle_max, throttle_ratio; /* retryThrottling, in thousandths of a token; 0: none */
    uint64_t service; /* differs whenever methods do */
    uint32_t method_count;
    const struct snapshot_method *methods; /* first match wins */
    uint32_t slot_count;
    const uint32_t *slots; /* of the endpoints with SNAPSHOT_PRESENT, in order of address */
    char name[64];
};

enum snapshot_match { SNAPSHOT_ANY, SNAPSHOT_EXACT, SNAPSHOT_PREFIX, SNAPSHOT_SUFFIX };

struct snapshot_route {
    uint8_t authority_match; /* ANY, EXACT, SUFFIX (".example.com") */
    uint8_t path_match;      /* ANY, EXACT, PREFIX */
    uint16_t cluster;        /* id */
    uint16_t authority_len, path_len;
    const char *authority, *path;
    uint64_t timeout_ns; /* cap; 0 = none */
};

struct snapshot_listener {
    uint16_t id; /* for life; index into stats_cluster.started */
    bool present; /* false: taken away; its routes are for clients that have not finished */
    bool health_service;
    bool forwarded;
    struct base_endpoint bind;
    uint32_t max_concurrent_streams, max_header_list_size;
    uint64_t max_connection_age_ns, max_connection_age_grace_ns, max_connection_idle_ns;
    uint64_t handshake_timeout_ns, header_timeout_ns;
    struct snapshot_bounds bounds;
    struct snapshot_keepalive keepalive;
    uint32_t route_count;
    const struct snapshot_route *routes; /* first match wins */
    char name[64];
};

struct snapshot_port {
    uint32_t address_count;
    struct base_addr address[SNAPSHOT_ADDRESSES_MAX];
    uint8_t prefix_bits[SNAPSHOT_ADDRESSES_MAX]; /* of the address's own family */
    uint32_t gateway_count;
    struct base_addr gateway[2];
    uint16_t vlan, mtu;
};

struct snapshot {
    uint64_t generation; /* 1 for the first; rises with every published version */
    bool draining;       /* GOAWAY to every client, accept no more */
    uint32_t access_every; /* one RPC in so many leaves an access record; 0: none */
    bool poll;           /* workers never yield their core; counts where user_timeout_ns is given */
    uint64_t rto_ns_min, user_timeout_ns; /* of TCP; 0: as at start */
    uint64_t tcp_keepalive_ns; /* 0: never */
    bool reno; /* of TCP; else CUBIC */
    uint8_t ecn; /* enum tcp_ecn */
    bool pacing;
    uint32_t port_count;
    struct snapshot_port port[SNAPSHOT_PORTS_MAX];
    uint32_t listener_count; /* indexed by id; `present` tells */
    struct snapshot_listener listener[SNAPSHOT_LISTENERS_MAX];
    uint32_t cluster_count; /* indexed by id; NULL: none */
    struct snapshot_cluster *cluster[SNAPSHOT_CLUSTERS_MAX];
    uint32_t page_count;
    struct snapshot_page *page[SNAPSHOT_PAGES_MAX];
    void *owned; /* writer's: what else goes when this version goes */
};

static inline const struct snapshot_endpoint *snapshot_endpoint(const struct snapshot *s, uint32_t slot)
{
    return &s->page[slot / SNAPSHOT_PAGE]->endpoint[slot % SNAPSHOT_PAGE];
}

/* The door. */
struct snapshot_door;
/* Start-up. workers <= SNAPSHOT_WORKERS_MAX. NULL: out of memory. */
struct snapshot_door *snapshot_door_create(uint32_t workers);
void snapshot_door_destroy(struct snapshot_door *d);

/* Worker: once before the loop, and after it. */
void snapshot_worker_online(struct snapshot_door *d, uint32_t worker);
void snapshot_worker_offline(struct snapshot_door *d, uint32_t worker);
/* Worker: once a turn, when it holds no pointer into any snapshot. */
void snapshot_quiescent(struct snapshot_door *d, uint32_t worker);
/* Worker: the version of this turn; NULL before the first is published. */
const struct snapshot *snapshot_get(const struct snapshot_door *d);

/* Writer: the new version replaces the old one, which is returned with a token; free it once snapshot_reclaimable(token). */
struct snapshot *snapshot_swap(struct snapshot_door *d, struct snapshot *next, uint64_t *token);
bool snapshot_reclaimable(struct snapshot_door *d, uint64_t token);
/* Writer: the first worker that has not reported since `token`, or -1. */
int snapshot_laggard(struct snapshot_door *d, uint64_t token);

#endif
