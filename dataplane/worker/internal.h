/* What the files of worker share. */
#ifndef WORKER_INTERNAL_H
#define WORKER_INTERNAL_H

#include "worker.h"

#include "serve.h"

struct worker {
    /* -- every turn ------------------------------------------------------------------------ */
    struct port_queue *queue[SNAPSHOT_PORTS_MAX]; /* NULL: the device has fewer queues than there are workers */
    struct port_handover_end *handover;           /* NULL: one worker */
    uint32_t port_count;
    uint32_t index, workers;
    uint32_t via[SNAPSHOT_PORTS_MAX]; /* queue NULL: the worker that sends for us */
    struct ip_owners owners;
    struct ip *ip;
    struct serve serve;
    struct picker *picker;
    struct stats *stats;
    struct snapshot_door *door;
    uint64_t generation;             /* taken up */
    struct packet_tap *tap;          /* lent; NULL: nobody watches */
    struct mailbox_dump *dump;       /* lent; NULL: nobody asks */
    bool poll, stop, applied_told;
    bool ended; /* read by the control thread */
    /* -- clock ------------------------------------------------------------------------------- */
    uint64_t tsc_base, tsc_mult; /* ns = (tsc - base) * mult >> 32 */
    uint64_t idle_since_ns;
    uint32_t in_use[2]; /* of pool and rx_pool: only their own worker can count them */
    /* -- what is in force ---------------------------------------------------------------------- */
    struct snapshot_port port[SNAPSHOT_PORTS_MAX];
    struct port_info info[SNAPSHOT_PORTS_MAX];
    struct worker_config config;
};

uint64_t worker_now(const struct worker *w);
void worker_clock_init(struct worker *w);
/* traffic.c: frames in, to their owners or from them; frames out. */
uint32_t worker_receive(struct worker *w, uint64_t now);
uint32_t worker_transmit(struct worker *w, uint64_t now);
/* apply.c: a new generation. */
void worker_apply(struct worker *w, uint64_t now);
/* eyes.c: orders to show connections and frames. */
void worker_dump(struct worker *w, struct mailbox_dump *d);
void worker_dump_turn(struct worker *w, uint64_t now);
void worker_capture(struct worker *w, struct packet_tap *tap);
void worker_tap_stamp(struct worker *w);
/* idle.c: false = it was a busy turn. */
void worker_rest(struct worker *w, bool busy, uint64_t began, uint64_t now);

#endif
