/* worker: the loop: poll, feed, tick, flush, quiesce.  The only reader of the clock, the only one to meet every room.
 *
 * Owns:   one of each room: stats, ip, tcp, http2, sessions, picker, pool, proxy; the loop.
 * Uses:   all of the data plane.
 * Thread: worker_run() on its lcore; the rest on the control thread before it starts or after it ended.
 * Time:   the TSC, as nanoseconds since some start.
 * Memory: one arena, laid out by worker_create(); worker_terms() names the parts of the sum.
 * Errors: worker_create() asserts that the arena has worker_footprint() bytes; nothing fails later. */
#ifndef WORKER_H
#define WORKER_H

#include "base/base.h"
#include "ip/ip.h"
#include "mailbox/mailbox.h"
#include "packet/packet.h"
#include "port/port.h"
#include "snapshot/snapshot.h"
#include "stats/stats.h"
#include "tcp/tcp.h"

struct worker;

struct worker_config {
    uint32_t index;                /* of this worker */
    uint32_t workers;
    uint32_t connections, streams; /* this worker's share of the limits; streams: RPCs at once */
    uint32_t slots, clusters;
    uint32_t max_header_list_size; /* the largest of any listener */
    uint32_t high_water;           /* percent of pool: beyond it new streams are refused; 0: never */
    uint32_t stream_window;        /* how large a stream's window may grow */
    bool poll;                     /* never yield the core */
    struct tcp_config tcp;
    struct ip_config ip;
    uint64_t seed;                 /* secret, random */
    uint64_t tsc_hz;               /* 0: as measured; a larger one lets time pass slower, as on a simulated processor */
    struct ip_owners owners;       /* the same for all workers */
    struct port_handover *handover; /* NULL: one worker */
    uint32_t port_count;
    struct port *port[SNAPSHOT_PORTS_MAX];
    struct packet_pool *pool;      /* buffers for everything that this worker sends or keeps */
    struct packet_pool *rx_pool;   /* what its queues are filled from; NULL: not shown */
    struct snapshot_door *door;
    struct mailbox *mailbox;
};

struct worker_term {
    const char *name;
    size_t bytes;
};
#define WORKER_TERMS 9
/* What the arena is made of. */
unsigned worker_terms(const struct worker_config *c, struct worker_term terms[WORKER_TERMS]);
size_t worker_footprint(const struct worker_config *c);
struct worker *worker_create(struct base_arena *arena, const struct worker_config *c);
/* The loop, until the order MAILBOX_STOP.  arg: struct worker. */
int worker_run(void *arg);
/* It has left worker_run(), and what it wrote there is seen by who asked. */
bool worker_ended(const struct worker *w);
/* One turn of the loop, for who brings a loop of his own; he calls snapshot_worker_online() first. */
void worker_turn(struct worker *w);
/* After the loops of all workers: every connection is reset, every buffer given back. */
void worker_finish(struct worker *w);
/* After worker_finish() of all: sends what the others left for this one to send. */
void worker_finish_others(struct worker *w);

struct stats *worker_stats(struct worker *w);
/* Turns of the loop so far: a worker whose count stands still is stuck. */
uint64_t worker_turns(const struct worker *w);
/* Sessions now, by side (0 clients, 1 backends). */
uint32_t worker_sessions(const struct worker *w, unsigned side);

#endif
