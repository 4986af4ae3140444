/* What membership.c, slots.c and report.c share. */
#ifndef MEMBERSHIP_INTERNAL_H
#define MEMBERSHIP_INTERNAL_H

#include "membership.h"

#define MEMBERSHIP_BUCKETS 16384 /* of the table by (cluster, address); a power of two */

#define MEMBERSHIP_REACHED_NS 2000000000ull /* between two such pieces of news about an endpoint */
#define MEMBERSHIP_HOLD_NS 5000000000ull /* an endpoint that its source dropped serves no longer than this */

struct membership_hand {
    struct membership_hand *next;
    struct base_endpoint address;
    uint32_t weight;
};

struct membership_node {
    struct membership_endpoint e;
    struct membership_node *next_hash;
    bool renewed;        /* waits for membership_renewed_next() */
    uint64_t reached_ns; /* when a worker reached it last while others were in back-off */
};

struct membership_home {
    struct membership_cluster c;
    struct membership *m;
};

struct membership {
    uint32_t workers;
    uint64_t applied[SNAPSHOT_WORKERS_MAX];
    uint32_t cluster_count, slot_count;
    uint32_t next_serial;
    struct base_hash_key key;
    struct membership_home *cluster[SNAPSHOT_CLUSTERS_MAX];
    struct membership_node *slot[SNAPSHOT_SLOTS_MAX];
    struct membership_node *bucket[MEMBERSHIP_BUCKETS];
    uint32_t free_slots[SNAPSHOT_SLOTS_MAX]; /* a ring: the number that has been free for longest is used first */
    uint32_t free_first, free_count;
    uint32_t renewed[SNAPSHOT_SLOTS_MAX]; /* slots, in the order in which they were renewed; each at most once */
    uint32_t renewed_first, renewed_count;
};

/* Order of addresses: IPv4 before IPv6, then by bytes, then by port. */
int membership_order(const struct base_endpoint *a, const struct base_endpoint *b);
/* slots.c.  A new endpoint behind `at` in the cluster's list; NULL: no slot or no memory. */
struct membership_node *membership_node_create(struct membership *m, struct membership_cluster *c, const struct base_endpoint *address,
                                               struct base_list *at);
void membership_node_free(struct membership *m, struct membership_node *n);
void membership_node_renewed(struct membership *m, struct membership_node *n);
/* report.c */
uint32_t membership_hand_weight(const struct membership_cluster *c, const struct base_endpoint *address);
void membership_hands_free(struct membership_cluster *c);
bool membership_ready_everywhere(const struct membership *m, const struct membership_cluster *c);
struct membership_endpoint *membership_lookup(struct membership *m, uint16_t cluster, const struct base_endpoint *address);

#endif
