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
    struct admin_dump *dump;
    struct admin_capture *capture;
    struct admin_access *access;
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
/* A JSON string without its quotes. */
void admin_text_json(struct admin_text *t, const char *value, size_t n);
/* metrics_endpoints.c: the series that have an endpoint. */
void admin_metrics_endpoints(struct admin *a, struct admin_text *t);
/* One family's head, before its first sample. */
struct admin_family {
    const char *name, *type, *help;
    bool begun;
};
void admin_family_begin(struct admin_text *t, struct admin_family *f);

/* dump.c: connections, as workers tell them.  A request is suspended until its answer is there. */
struct admin_dump *admin_dump_create(struct admin *a);
/* Whoever waits is answered with what there is. */
void admin_dump_stop(struct admin_dump *d);
void admin_dump_destroy(struct admin_dump *d);
/* NULL: no memory. */
struct admin_dump_request *admin_dump_ask(struct admin_dump *d, struct MHD_Connection *c);
/* The answer, once: the caller frees it; NULL: no memory. */
char *admin_dump_take(struct admin_dump_request *r);
void admin_dump_forget(struct admin_dump_request *r);

/* filter.c: NULL: compiled into *program (no instructions where the text is empty); else what is wrong with it, in `error`. */
struct bpf_program;
const char *admin_filter_compile(const char *text, uint32_t snaplen, struct bpf_program *program, char *error, size_t n);

/* capture.c: one at a time; its frames are the answer to the request that began it. */
struct admin_capture_order {
    const char *filter;
    double seconds; /* 0: until it is stopped */
    uint32_t snaplen;
};
struct admin_capture *admin_capture_create(struct admin *a);
void admin_capture_stop(struct admin_capture *c);
void admin_capture_destroy(struct admin_capture *c);
/* 0, and the response, to be queued on `connection`; or an HTTP status and a sentence. */
unsigned admin_capture_begin(struct admin_capture *c, const struct admin_capture_order *o, struct MHD_Connection *connection,
                             struct MHD_Response **response, char *error, size_t n);
/* The one that runs ends with all that it has. */
void admin_capture_end(struct admin_capture *c);
/* Of the one that runs, or of the last. */
char *admin_capture_json(const struct admin_capture *c);

/* capture_file.c: frames as pcapng, through rte_pcapng. */
struct admin_pcapng;
struct packet_tap_frame;
struct admin_pcapng *admin_pcapng_open(int fd, uint32_t snaplen, char *error, size_t n);
/* unix_ns: when the frame was seen.  False: not written. */
bool admin_pcapng_add(struct admin_pcapng *p, const struct packet_tap_frame *f, uint64_t unix_ns);
bool admin_pcapng_flush(struct admin_pcapng *p);
/* The end of the section: what came and what was lost. */
void admin_pcapng_finish(struct admin_pcapng *p, uint64_t matched, uint64_t lost);
void admin_pcapng_close(struct admin_pcapng *p);

/* access.c: records of RPCs, from the workers' rings to a file. */
struct admin_access *admin_access_create(struct admin *a);
void admin_access_destroy(struct admin_access *s);
void admin_access_again(struct admin_access *s); /* opens its file again */
uint64_t admin_access_lost(const struct admin_access *s);

/* admin.c: microhttpd has something to do that no descriptor tells. */
void admin_http_soon(struct admin *a);

/* http.c: microhttpd's handler; user: struct admin. */
enum MHD_Result admin_http_handle(void *user, struct MHD_Connection *c, const char *url, const char *method,
                                  const char *version, const char *upload, size_t *upload_size, void **request);
void admin_http_done(void *user, struct MHD_Connection *c, void **request, enum MHD_RequestTerminationCode why);

#endif
