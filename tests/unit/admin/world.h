/* A gateway without a data plane: a real loop, membership, publish and admin server; stats written by hand; an HTTP
 * client in a thread of its own. */
#ifndef WORLD_H
#define WORLD_H

#include "admin/admin.h"

#define WORLD_WORKERS 2
#define WORLD_SLOTS   8192

struct world {
    struct loop *loop;
    struct config *config;
    struct membership *membership;
    struct snapshot_door *door;
    struct mailbox *mailbox[WORLD_WORKERS];
    struct publish *publish;
    struct stats *stats[WORLD_WORKERS];
    void *arena[WORLD_WORKERS];
    struct admin *admin;
    struct admin_view view;
    bool ports_down, draining, shut;
    char weight_order[128];
    uint32_t in_use;
};

struct reply {
    long status;
    char *body;
    char *head;
};

/* config: NULL for one with clusters "echo" (etcd) and "pay" (static). change: adjusts the view before admin_create();
 * NULL: as it is. */
struct world *world_open(const char *config, void (*change)(struct world *w));
void world_close(struct world *w);
/* Takes the endpoint's slot over in a worker's stats, as the pool does; returns the slot's counts. */
struct stats_slot *world_slot(struct world *w, unsigned worker, const char *cluster, const char *address);
/* The set of a cluster: "ADDRESS[*WEIGHT]" words apart by spaces. */
void world_set(struct world *w, const char *cluster, const char *endpoints);
/* Every worker reports the endpoint's slot empty. */
void world_empty(struct world *w, uint32_t slot, uint32_t serial);
struct reply world_ask(struct world *w, const char *method, const char *path, const char *body, const char *header);
void reply_free(struct reply *r);
/* Runs a shell command beside the server; its output, stderr after stdout's. The caller frees it. */
char *world_run(struct world *w, const char *command, int *status);

#endif
