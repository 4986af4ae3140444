/* What the files of boot share. */
#ifndef BOOT_INTERNAL_H
#define BOOT_INTERNAL_H

#include "boot.h"

#include "admin/admin.h"
#include "config/config.h"
#include "loop/log.h"
#include "loop/loop.h"
#include "mailbox/mailbox.h"
#include "membership/membership.h"
#include "port/port.h"
#include "publish/publish.h"
#include "resolver/resolver.h"
#include "snapshot/snapshot.h"
#include "worker/worker.h"

#define BOOT_HEADER_LIST_MIN 16384 /* workers' memory is laid out for header lists of this at least */

enum boot_reload_phase { BOOT_SETTLED, BOOT_WARMING, BOOT_LEAVING }; /* see reload.c */

/* The running gateway. */
struct boot {
    struct config *config; /* in force */
    struct config *next;    /* WARMING: what takes its place */
    struct config *old;     /* LEAVING: what it took the place of */
    struct config *waiting; /* accepted meanwhile */
    enum boot_reload_phase reload;
    uint64_t reload_until_ns;
    uint32_t header_list_max; /* of any listener at start */
    unsigned workers;
    /* data plane */
    struct port_heap heap;
    bool heap_open;
    struct port_handover *handover; /* NULL: one worker */
    struct ip_owners owners;
    uint8_t rss_key[BASE_STEER_KEY];
    bool offloads_told;
    struct port *port[SNAPSHOT_PORTS_MAX];
    unsigned ports;
    struct packet_pool *rx_pool[SNAPSHOT_WORKERS_MAX];
    struct packet_pool *pool[SNAPSHOT_WORKERS_MAX];
    void *arena[SNAPSHOT_WORKERS_MAX];
    size_t arena_bytes;
    struct worker *worker[SNAPSHOT_WORKERS_MAX];
    struct stats *stats[SNAPSHOT_WORKERS_MAX];
    struct mailbox *mailbox[SNAPSHOT_WORKERS_MAX];
    struct snapshot_door *door;
    unsigned launched;
    unsigned lcore[SNAPSHOT_WORKERS_MAX];
    /* control plane */
    struct loop *loop;
    struct membership *membership;
    struct publish *publish;
    struct resolvers *resolvers;
    struct admin *admin;
    struct loop_timer *beat;
    struct loop_watch *signals;
    struct loop_watch *telemetry;
    int signal_fd;
    unsigned terms; /* SIGTERMs seen */
    bool draining;
    uint64_t drain_until_ns;
    uint64_t budget_told[SNAPSHOT_CLUSTERS_MAX]; /* what was last told of a cluster's connections, as one number; 0: nothing */
    uint64_t turns[SNAPSHOT_WORKERS_MAX], turned_ns[SNAPSHOT_WORKERS_MAX], stuck_told_ns[SNAPSHOT_WORKERS_MAX]; /* the watchdog's */
};

/* eal.c. False: `error` says why. Fills lcore[]. */
bool boot_eal_start(struct boot *b, const char *program, char *error, size_t error_len);
void boot_eal_stop(void);
/* dataplane.c */
bool boot_dataplane_create(struct boot *b, char *error, size_t error_len);
void boot_dataplane_launch(struct boot *b);
void boot_dataplane_stop(struct boot *b); /* orders MAILBOX_STOP and waits */
void boot_dataplane_destroy(struct boot *b);
/* Says, once, that a peer's kernel leaves to hardware what no hardware will do. */
void boot_watch_devices(struct boot *b);
/* Is it one of the local ports of connections that workers open?  No listener may have such a one while the process lives. */
bool boot_port_is_ephemeral(const struct boot *b, uint16_t port);

/* What config cannot judge: the JSON of service_config.  False: `said` has why. */
bool boot_check_services(const struct config *c, struct config_errors *said);
/* reload.c: another configuration.  False: refused, `said` has why; the log has it too. */
bool boot_reload(struct boot *b, struct config_errors *said);
void boot_reload_tick(struct boot *b, uint64_t now);
void boot_reload_started(struct boot *b);
void boot_reload_free(struct boot *b); /* every configuration */
/* boot.c */
void boot_drain(struct boot *b);
/* view.c */
struct admin_view boot_admin_view(struct boot *b);

/* telemetry.c: after admin, before it goes. */
void boot_telemetry_start(struct boot *b);
void boot_telemetry_stop(struct boot *b);

#endif
