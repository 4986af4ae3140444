/* policy: what the configuration asks for, in the words of the snapshot.
 *
 * Owns:   nothing: pure functions.
 * Uses:   config, membership; cJSON.
 * Thread: the control plane's.
 * Time, memory: none.
 * Errors: none; the configuration was checked. */
#ifndef POLICY_H
#define POLICY_H

#include "config/config.h"
#include "membership/membership.h"

/* The picker's algorithm. */
enum snapshot_policy policy_picker(const struct config_cluster *c);
/* Weight and flags of an endpoint as workers see it: round_robin knows no weights, but 0 still drains.  An
 * endpoint that leaves has neither flag. */
void policy_endpoint(const struct config_cluster *c, const struct membership_endpoint *e, struct snapshot_endpoint *out);

/* subset.c */
struct policy_member {
    const struct base_endpoint *address;
    uint64_t spared; /* out: bit w: worker w does not connect to it */
    uint64_t place;  /* in the ring */
    void *user;
};
/* Divides the endpoints of a cluster among the workers: `size` for each, 0: all for each.  The order of m is changed. */
void policy_subsets(struct policy_member *m, uint32_t n, uint32_t workers, uint32_t size);

/* What a cluster's set of endpoints takes. */
struct policy_budget {
    uint64_t connections; /* of all workers: those kept */
    uint64_t at_most;     /* those that max_connections_per_endpoint allows */
    uint32_t held_least, held_most; /* workers that hold an endpoint */
    uint32_t unheld;      /* endpoints that no worker connects to */
};
struct policy_budget policy_budget(const struct config_cluster *c, uint32_t endpoints, uint32_t workers);


/* service_config.c */
#define POLICY_METHODS_MAX 128
struct policy_method {
    uint8_t match; /* enum snapshot_match */
    char path[256];
    uint64_t timeout_ns;
    struct snapshot_retry retry;
};
struct policy_service {
    unsigned count;
    uint32_t throttle_max, throttle_ratio; /* as in snapshot_cluster */
    struct policy_method method[POLICY_METHODS_MAX]; /* the most specific first */
};
/* False: `error` says what is wrong. */
bool policy_service_parse(const char *json, struct policy_service *out, char *error, size_t room);

#endif
