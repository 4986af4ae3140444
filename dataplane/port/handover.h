/* handover: packets from worker to worker, by ring.
 *
 * One bounded ring for every ordered pair of workers (rte_ring, one producer, one consumer, so that neither end waits for the
 * other), with a small buffer in front of it: what a worker hands over in a turn goes into the ring in bursts.  A full ring (its
 * reader stands still) means dropped and counted, as a full receive queue would.  Rings hold `depth` packets, so a worker that
 * stands still binds at most that many of every other worker's buffers.
 *
 * A packet that was handed over is freed by the worker that got it: mempools and reference counts allow that.  Each worker's cache
 * then holds a few hundred buffers of every other worker's pools: PORT_HANDOVER_HOARD, to be added to the pools' sizes. What is
 * handed over for sending while somebody else still holds it (a retransmission queue) is copied: its headers may be rewritten.
 *
 * Owns: the rings.  Uses: base, stats, packet; rte_ring.  Thread: an end belongs to its worker; open and close: the control thread.
 * Time: none.  Memory: at port_handover_open(), of the process (no EAL needed).  Errors: full is a refusal, counted. */
#ifndef PORT_HANDOVER_H
#define PORT_HANDOVER_H

#include "packet/packet.h"
#include "stats/stats.h"

#define PORT_HANDOVER_WORKERS 64
#define PORT_HANDOVER_HOARD   384 /* buffers of a pool that another worker's cache may hold */

enum port_handover_kind {
    PORT_HANDOVER_FRAME, /* received, and the reader's */
    PORT_HANDOVER_NEWS,  /* received, a copy, only to be learnt from */
    PORT_HANDOVER_SEND,  /* to be sent by the reader's queue of that port */
};

struct port_handover_item {
    struct packet *packet;
    uint16_t kind; /* enum port_handover_kind */
    uint16_t port; /* the caller's index of a port */
    uint32_t pad;
};

struct port_handover;
struct port_handover_end;

/* workers: 2 to PORT_HANDOVER_WORKERS; depth: packets a ring holds.  NULL: `error` says why. */
struct port_handover *port_handover_open(uint32_t workers, uint32_t depth, char *error, size_t error_len);
/* The workers have ended.  Packets still in the rings are freed. */
void port_handover_close(struct port_handover *h);
/* pool: for copies; hand-overs and drops are counted in `stats`. */
struct port_handover_end *port_handover_end(struct port_handover *h, uint32_t worker, struct stats *stats, struct packet_pool *pool);

/* Takes the packet: worker `to` gets it after port_handover_flush(). */
void port_handover_frame(struct port_handover_end *e, uint32_t to, struct packet *p, uint16_t port);
void port_handover_send(struct port_handover_end *e, uint32_t to, struct packet *p, uint16_t port);
/* Copies for all other workers; p stays the caller's. */
void port_handover_news(struct port_handover_end *e, const struct packet *p, uint16_t port);
void port_handover_flush(struct port_handover_end *e);
/* What worker `from` has handed over, at most max.  The packets are the caller's. */
uint32_t port_handover_take(struct port_handover_end *e, uint32_t from, struct port_handover_item *items, uint32_t max);

#endif
