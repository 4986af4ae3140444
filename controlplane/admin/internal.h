/* What the files of admin share. */
#ifndef ADMIN_INTERNAL_H
#define ADMIN_INTERNAL_H

#include "admin.h"

#include <microhttpd.h>

/* Counts of one endpoint, or of what is left of many. */
struct admin_counts {
    uint64_t rpcs[STATS_GRPC_CODES];
    uint64_t connects, failures;
    uint64_t picks[SNAPSHOT_WORKERS_MAX]; /* by worker */
    uint64_t active;                      /* a level, not a sum over time */
};

/* An account: what an address of a cluster has counted in every slot that it ever had. */
struct admin_account {
    struct base_endpoint address;
    uint16_t cluster;
    bool other;                 /* endpoint="other": what was folded */
    bool folded;                /* for good: its series were too many once */
    uint32_t holders;           /* workers' slots that count for it now */
    uint64_t left;              /* order of departure; 0: has a holder */
    struct admin_counts closed; /* of slots that have changed hands */
    struct admin_counts total;  /* closed + what the holders count now: made by admin_accounts_sum() */
    struct admin_account *next; /* in its hash chain */
};

/* What a worker's slot counted when last looked at, and for whom. */
struct admin_seen {
    uint64_t serial;
    struct admin_account *account; /* NULL: the slot's endpoint is not known */
    uint64_t rpcs[STATS_GRPC_CODES], picks, connects, failures, active;
};

#define ADMIN_HASH 4096

struct admin_accounts {
    struct admin_account *bucket[ADMIN_HASH];
    struct admin_account **list; /* in order of making */
    uint32_t count, room, departed;
    uint64_t departures;
    struct admin_seen **seen;             /* [worker][slot] */
    uint32_t *seen_count;                 /* [worker] */
    char name[SNAPSHOT_CLUSTERS_MAX][64]; /* of the cluster that had the id when last looked at */
    char listener[STATS_LISTENERS][64];   /* the same, of listeners */
    struct stats_cluster *before[SNAPSHOT_CLUSTERS_MAX]; /* what workers had counted for former holders of the id; NULL: none */
};

struct admin {
    struct loop *loop;
    struct admin_view view;
    struct MHD_Daemon *daemon;
    struct loop_watch *watch;
    struct loop_timer *http_timer, *observe_timer, *move_timer;
    struct base_endpoint at; /* where it listens, or is about to */
    int next_fd;             /* of the address that it moves to; -1: it does not */
    struct admin_accounts accounts;
    uint8_t states_seen[SNAPSHOT_CLUSTERS_MAX]; /* bits of enum admin_state: gauges that were above zero once stay */
    uint64_t requests;
};

/* accounts.c */
bool admin_accounts_create(struct admin_accounts *t, const struct admin_view *v);
void admin_accounts_destroy(struct admin_accounts *t, unsigned workers);
void admin_accounts_observe(struct admin_accounts *t, const struct admin_view *v);
/* A count of struct stats_cluster, at this offset, over all workers, without what former holders of the id have. */
uint64_t admin_cluster_count(const struct admin_accounts *t, const struct admin_view *v, uint32_t cluster, size_t offset);
#define ADMIN_COUNT(a, cluster, field, i) \
    admin_cluster_count(&(a)->accounts, &(a)->view, cluster, offsetof(struct stats_cluster, field) + (i) * sizeof(uint64_t))
/* Observes, and fills `total` of each. */
void admin_accounts_sum(struct admin_accounts *t, const struct admin_view *v);
/* NULL: none yet. */
struct admin_account *admin_account_find(const struct admin_accounts *t, uint16_t cluster,
                                         const struct base_endpoint *address);
struct admin_account *admin_account_other(struct admin_accounts *t, uint16_t cluster);
void admin_counts_add(struct admin_counts *to, const struct admin_counts *from, unsigned workers);

/* view.c: answers that metrics and JSON share. */
enum admin_state {
    ADMIN_IDLE,
    ADMIN_CONNECTING,
    ADMIN_READY,
    ADMIN_TRANSIENT_FAILURE,
    ADMIN_DRAINING,
    ADMIN_UNHEALTHY,
    ADMIN_EJECTED,
    ADMIN_STATES
};
extern const char *const admin_state_names[ADMIN_STATES];
enum admin_state admin_endpoint_state(const struct admin *a, const struct membership_endpoint *e);
uint64_t admin_stale_ns(const struct admin *a, const struct membership_cluster *c);
bool admin_draining(const struct admin *a);
/* NULL: ready; else why not (static text). cluster: "" for the gateway. */
const char *admin_not_ready(const struct admin *a, const char *cluster);

/* metrics.c */
struct admin_text {
    char *text;
    size_t length, room;
    bool failed;
};
void admin_text_add(struct admin_text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A label's value, escaped. */
void admin_text_label(struct admin_text *t, const char *value);
/* metrics_endpoints.c: the series that have an endpoint. */
void admin_metrics_endpoints(struct admin *a, struct admin_text *t);
/* One family's head, before its first sample. */
struct admin_family {
    const char *name, *type, *help;
    bool begun;
};
void admin_family_begin(struct admin_text *t, struct admin_family *f);

/* http.c: microhttpd's handler; user: struct admin. */
enum MHD_Result admin_http_handle(void *user, struct MHD_Connection *c, const char *url, const char *method,
                                  const char *version, const char *upload, size_t *upload_size, void **request);
void admin_http_done(void *user, struct MHD_Connection *c, void **request, enum MHD_RequestTerminationCode why);

#endif
