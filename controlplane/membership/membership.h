/* membership: the set of endpoints of each cluster: merge, diff, guard; identity is the address; slots.  Knows no etcd.
 *
 * Owns:   clusters, endpoints, slots and their life, what workers reported about each endpoint.
 * Uses:   base, snapshot (limits), mailbox (names of states), config.
 * Thread: the control plane's.
 * Time:   `now` in nanoseconds (monotonic), an argument.
 * Memory: the heap; at most SNAPSHOT_SLOTS_MAX endpoints over all clusters: further ones are refused, counted and logged once.
 * Errors: verdicts as counts in membership_stats of a cluster.
 *
 * An endpoint's life: absent -> present (slot given, serial new) -> leaving (gone from the registry; workers drain it) -> slot free
 * after every worker reported it empty.  An address that comes back while it is leaving is present again in its old slot.
 * A changed weight, metadata or lease never changes slot or serial.
 *
 * Errors of a source never come here: a set stays as it was last given until another one is. */
#ifndef MEMBERSHIP_H
#define MEMBERSHIP_H

#include "config/config.h"
#include "snapshot/snapshot.h"

struct membership;

#define MEMBERSHIP_NO_OVERRIDE UINT32_MAX

enum membership_life { MEMBERSHIP_PRESENT, MEMBERSHIP_LEAVING };

struct membership_endpoint {
    uint32_t slot, serial;
    uint16_t cluster; /* id */
    struct base_endpoint address;
    uint32_t weight;   /* the registry's; 0 = drain */
    uint32_t override_weight; /* by hand: MEMBERSHIP_NO_OVERRIDE, or a weight (0 = drained) that beats the registry's */
    enum membership_life life;
    bool outgoing;     /* PRESENT, but its source has dropped it: serves until another endpoint of the cluster is READY */
    uint8_t worker_state[SNAPSHOT_WORKERS_MAX]; /* enum mailbox_state as last reported */
    uint64_t back_in; /* it left and came back: what a worker reports counts once it has this generation; 0: at any time */
    uint64_t spared;   /* bit w: worker w is not to connect to it (subset_size): publish says so */
    uint64_t empty_workers;                     /* bit w: worker w holds nothing of it */
    struct base_list link;                      /* in its cluster's list, in order of address */
};

struct membership_cluster {
    uint16_t id;      /* for life of the name */
    bool configured;  /* false: taken out of the configuration, endpoints leaving */
    bool forgotten;   /* not configured, and every worker has a version without it: publish says so */
    uint32_t holder;  /* rises when the id is given to another name */
    char name[64];
    char source[128]; /* "etcd:///services/echo/" */
    bool answered;    /* the source has given its first answer */
    int64_t revision; /* of the registry; 0 = has none */
    uint64_t fresh_ns; /* when the source last proved that the set is current */
    uint64_t version; /* rises with every change of the set that workers must see */
    uint64_t added, removed, changed; /* endpoints, since start */
    uint64_t bad_values;
    uint64_t refused; /* endpoints that found no free slot, since start; each answer counts anew */
    uint32_t present; /* endpoints in life PRESENT */
    uint32_t outgoing;          /* of them, dropped by the source */
    uint64_t outgoing_until_ns;
    struct membership_hand *by_hand; /* weights by hand, of endpoints there or not */
    struct base_list endpoints; /* struct membership_endpoint.link; present and leaving */
};

/* One entry of a source's full answer. */
struct membership_entry {
    struct base_endpoint address;
    uint32_t weight; /* 0 = drain */
    bool renewed;    /* its key was written anew (new lease or create_revision): reset the connection back-off */
};

struct membership *membership_create(uint32_t workers);
void membership_destroy(struct membership *m);
/* Brings the list of clusters in line with the configuration; ids stay with names. */
void membership_configure(struct membership *m, const struct config *c, uint64_t now);
/* The first half of it: clusters whose names are not there yet are added, nothing is changed or taken away. */
void membership_add(struct membership *m, const struct config *c, uint64_t now);
/* Clusters that `c` does not have stay; the rest of membership_configure(). */
void membership_merge(struct membership *m, const struct config *c, uint64_t now);
/* Every new name would find an id. */
bool membership_fits(const struct membership *m, const struct config *c);
/* Once a turn of the control loop.  Endpoints that were kept until others were READY leave. */
void membership_tick(struct membership *m, uint64_t now);
/* Its source has answered, and every worker has an endpoint that is READY, or none that could be.  One in TRANSIENT_FAILURE could: it is tried again. */
bool membership_warm(const struct membership *m, const struct membership_cluster *c);
/* No worker knows the cluster any more, so that its id may serve another name. */
void membership_forget(struct membership_cluster *c);

struct membership_cluster *membership_cluster(struct membership *m, uint16_t id); /* NULL: never used */
struct membership_cluster *membership_find(struct membership *m, const char *name);
uint32_t membership_cluster_count(const struct membership *m); /* ids are below this */
struct membership_endpoint *membership_slot(struct membership *m, uint32_t slot); /* NULL: free */
struct membership_endpoint *membership_endpoint(struct membership_cluster *c, const struct base_endpoint *address);
uint32_t membership_slot_count(const struct membership *m); /* slots are below this */

/* The whole set as its source sees it now (duplicates by address are merged: the first one counts): the difference is applied as one change. Returns how
 * many endpoints were added, removed or changed: 0 = nothing for workers to see. */
unsigned membership_set(struct membership *m, struct membership_cluster *c, const struct membership_entry *entries, unsigned n,
                        int64_t revision, uint64_t now);
/* The set is known to be current (a progress notice, an equal answer). */
void membership_fresh(struct membership_cluster *c, int64_t revision, uint64_t now);
/* An endpoint whose key was written anew, or that one worker has reached while another is in back-off: a callback-free list that publish turns into MAILBOX_RESET_BACKOFF orders. */
bool membership_renewed_next(struct membership *m, uint32_t *slot, uint32_t *serial);

/* By hand: beats the source's weight until MEMBERSHIP_NO_OVERRIDE is set, also if the endpoint goes and comes back meanwhile.
 * False: no such endpoint. */
#define MEMBERSHIP_BY_HAND_MAX 1024 /* a cluster */
bool membership_override(struct membership *m, struct membership_cluster *c, const struct base_endpoint *address, uint32_t weight);
uint32_t membership_weight(const struct membership_endpoint *e); /* effective */

/* What workers say. */
void membership_report_state(struct membership *m, uint32_t worker, uint32_t slot, uint32_t serial, unsigned state, uint64_t now);
/* That it holds nothing of an endpoint that it was told is leaving. */
void membership_report_empty(struct membership *m, uint32_t worker, uint32_t slot, uint32_t serial);
/* Workers are told by this generation that it is there again: what they reported as empty is so no longer. */
void membership_known_present(struct membership_endpoint *e, uint64_t generation);
/* Worker has this generation, and what it reported before that was read before. */
void membership_applied(struct membership *m, uint32_t worker, uint64_t generation);
/* Frees it and its slot if it leaves and every worker reported it empty. */
void membership_release(struct membership *m, struct membership_endpoint *e);
/* The best state over all workers: READY before CONNECTING before TRANSIENT_FAILURE before IDLE; DRAINING when its weight is 0 or it leaves. */
const char *membership_state_name(const struct membership *m, const struct membership_endpoint *e);

#endif
