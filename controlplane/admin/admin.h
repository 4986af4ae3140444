/* admin: the HTTP server for operators and scripts: metrics, health, status; what a press of a button may order.
 *
 * Owns:   one libmicrohttpd daemon without a thread of its own; the accounts that keep counters from falling when a
 *         slot changes hands.
 *
 * Uses:   loop, config, membership, publish, stats, mailbox (records dropped); libmicrohttpd, cJSON.
 *
 * Thread: the control plane's: every request is answered inside loop_turn().  Workers' stats are read as they stand.
 *
 * Time:   the loop's.
 *
 * Memory: the heap: ADMIN_CONNECTIONS_MAX connections with ADMIN_CONNECTION_BYTES each; a request's body is at most
 *         ADMIN_BODY_BYTES_MAX; an account for each endpoint that has a slot and for the latest ADMIN_DEPARTED_MAX
 *         that left.
 *
 * Errors: NULL with a sentence when the address can't be had; an HTTP status with a JSON sentence for every request
 *         that can't be answered. */
#ifndef ADMIN_H
#define ADMIN_H

#include "config/config.h"
#include "loop/loop.h"
#include "mailbox/mailbox.h"
#include "membership/membership.h"
#include "publish/publish.h"
#include "stats/stats.h"

#define ADMIN_CONNECTIONS_MAX  64
#define ADMIN_CONNECTION_BYTES (32 * 1024)
#define ADMIN_BODY_BYTES_MAX   (16 * 1024)
#define ADMIN_DEPARTED_MAX     4096
#define ADMIN_CAPTURE_BYTES    (8u << 20) /* a worker, while a capture runs; staged for its reader: the same once */

struct admin;

struct admin_reload {
    struct config_errors said;
    uint64_t generation; /* that has all of it, as far as it is published by now */
    bool pending;        /* view.reloading: more follows by itself */
};

/* What admin looks at, and what it may order.  All of it outlives admin.  The functions are called inside loop_turn();
 * NULL: 501, or the default that is named.  Orders return true, or false with a sentence in `error`. */
struct admin_view {
    void *user;                                 /* first argument of each function */
    const struct config *(*config)(void *user); /* in force now; must be given */
    struct membership *membership;
    struct publish *publish;
    struct stats *const *stats;       /* of each worker */
    struct mailbox *const *mailboxes; /* of each worker; NULL: none */
    unsigned worker_count;
    const struct stats *process;  /* objects of no worker's, such as receive pools; NULL: none */
    uint64_t started_ns;          /* loop_now() at start */
    bool (*ports_up)(void *user); /* NULL: they are */
    bool (*draining)(void *user); /* NULL: never */
    /* Now; side 0 clients, 1 backends; NULL: not shown. */
    uint32_t (*connections)(void *user, unsigned worker, unsigned side);
    /* NULL: since fresh_ns; 0 for a static target. */
    uint64_t (*stale_ns)(void *user, const struct membership_cluster *c, uint64_t now);
    void (*shutdown)(void *user); /* drain and end, as SIGTERM does */
    /* Loads the configuration file anew.  False: refused; what->said has every sentence.  admin frees them. */
    bool (*reload)(void *user, struct admin_reload *what);
    bool (*reloading)(void *user); /* a change that was accepted is still being put in force; NULL: never */
    /* weight: MEMBERSHIP_NO_OVERRIDE: the registry's again. */
    bool (*weight)(void *user, const char *cluster, const struct base_endpoint *e, uint32_t weight, char *error,
                   size_t n);
};

/* Binds config->admin.  NULL: `error` says why and what to do. */
struct admin *admin_create(struct loop *l, const struct admin_view *view, char *error, size_t error_len);
/* To another address, in a moment: the answer under way goes out by the old one.  False: `error` says why; nothing changed. */
bool admin_move(struct admin *a, const struct base_endpoint *to, char *error, size_t error_len);
void admin_destroy(struct admin *a); /* NULL is harmless */

/* Looks at every slot; called by a timer of admin's own, and by whoever is about to let slots change hands. */
void admin_observe(struct admin *a);

/* The access log's file is opened again: it has been moved away. */
void admin_reopen(struct admin *a);

/* The same JSON as the HTTP answers', for DPDK's telemetry (/penstock/clusters, /penstock/workers).  The caller frees
 * it; NULL: out of memory. */
char *admin_clusters_json(struct admin *a);
char *admin_workers_json(struct admin *a);
char *admin_status_json(struct admin *a);
char *admin_metrics_text(struct admin *a);

#endif
