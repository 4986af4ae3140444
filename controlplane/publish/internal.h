/* What the files of the publish room share. */
#ifndef PUBLISH_INTERNAL_H
#define PUBLISH_INTERNAL_H

#include "policy/policy.h"
#include "publish.h"

#define PUBLISH_WAITING_MAX 2

/* Routes and their texts, as one configuration has them; shared by the versions that it lives through. */
struct publish_settings {
    uint32_t refs;
    uint32_t access_every;
    struct snapshot_port port[SNAPSHOT_PORTS_MAX];
    uint32_t port_count;
    struct snapshot_listener listener[SNAPSHOT_LISTENERS_MAX];
    uint32_t listener_count;
    struct snapshot_route *routes[SNAPSHOT_LISTENERS_MAX];
    char *texts; /* what the routes' pointers point into */
    uint32_t holder[SNAPSHOT_CLUSTERS_MAX]; /* of the clusters that routes name by id */
    bool poll;
    uint64_t rto_ns_min, user_timeout_ns;
    uint64_t tcp_keepalive_ns;
    bool reno;
    uint8_t ecn;
    bool pacing;
};

struct publish_waiting {
    struct snapshot *snapshot; /* NULL: the first version replaced nothing */
    uint64_t token, since;
};

/* An order to all workers that must not be lost. */
struct publish_order {
    struct base_list link;
    uint32_t id, slot, serial;
    uint64_t unacknowledged; /* bit w */
    uint64_t sent_at;
};

struct publish {
    struct snapshot_door *door;
    struct membership *membership;
    struct mailbox **mailboxes;
    uint32_t workers;
    const struct config *config;
    const struct config_cluster *by_id[SNAPSHOT_CLUSTERS_MAX]; /* of config; NULL: gone */
    bool config_changed, drain_changed, draining;
    bool deferred[SNAPSHOT_CLUSTERS_MAX]; /* the current snapshot lacks a departure: built again next turn */
    uint64_t built[SNAPSHOT_CLUSTERS_MAX]; /* membership_cluster.version that the current snapshot has */
    struct snapshot *current;
    struct publish_settings *settings;
    struct publish_waiting waiting[PUBLISH_WAITING_MAX]; /* the oldest first */
    unsigned waiting_count;
    uint64_t generation, next_version;
    char listener_names[SNAPSHOT_LISTENERS_MAX][64]; /* id -> name, for life */
    uint32_t listener_names_count, listener_reused;
    /* reports */
    uint64_t applied[SNAPSHOT_WORKERS_MAX];      /* generation that the worker said it took up; 0: it does not say */
    uint64_t gone[SNAPSHOT_SLOTS_MAX];           /* generation in which the slot's endpoint left; 0: workers know it as there */
    uint64_t back[SNAPSHOT_SLOTS_MAX];           /* generation in which it was last there again after it had left */
    uint64_t drained_workers;
    uint64_t retired[SNAPSHOT_CLUSTERS_MAX]; /* generation that no longer had the cluster; 0: it is there, or forgotten */
    struct base_list orders;
    uint32_t next_order;
};

/* settings.c.  NULL: no memory. */
struct publish_settings *publish_settings_create(struct publish *p);
void publish_settings_release(struct publish_settings *s);
/* build.c.  The next version, or NULL: nothing that workers see has changed (or no memory: tried again next turn, *failed). */
struct snapshot *publish_build(struct publish *p, bool *failed);
void publish_version_free(struct snapshot *s);
/* reports.c */
void publish_read_reports(struct publish *p, uint64_t now);
void publish_send_orders(struct publish *p, uint64_t now);
void publish_orders_free(struct publish *p);

#endif
