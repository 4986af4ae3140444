/* mailbox: the door up, and orders down.  Bounded single-producer single-consumer rings (rte_ring) of small messages, one set a worker.
 *
 * Reports (up) are levels, never edges: the worker re-sends a state until it fits, so a full ring delays and loses nothing. Orders (down)
 * are repeated by the control plane until acknowledged.  Log records have a ring of their own, so that they never push out states; there, full = dropped and counted.
 *
 * Owns: the rings.  Uses: base; rte_ring.  Thread: worker = one end, control plane = the other.
 * Time: none.  Memory: at start-up.  Errors: false when a ring is full or empty. */
#ifndef MAILBOX_H
#define MAILBOX_H

#include "base/base.h"
#include "eyes.h"

enum mailbox_report_kind {
    MAILBOX_ENDPOINT_STATE = 1, /* slot, serial; value: enum mailbox_state; a: connections READY */
    MAILBOX_SLOT_EMPTY,         /* slot, serial: this worker holds nothing of that endpoint any more; a: generation that it has in force */
    MAILBOX_ORDER_DONE,         /* value: the order's id */
    MAILBOX_LINK,               /* slot: port index; value: 1 up, 0 down */
    MAILBOX_DRAINED,            /* every client connection has ended */
    MAILBOX_SNAPSHOT_APPLIED,   /* a: generation */
};

enum mailbox_state { /* gRPC's connectivity states */
    MAILBOX_IDLE, MAILBOX_CONNECTING, MAILBOX_READY, MAILBOX_TRANSIENT_FAILURE, MAILBOX_SHUTDOWN
};

enum mailbox_order_kind {
    MAILBOX_RESET_BACKOFF = 1, /* slot, serial: try to connect now, back-off from its base again */
    MAILBOX_DUMP,              /* a: struct mailbox_dump, lent until the worker gives it back; at most one at a time */
    MAILBOX_CAPTURE,           /* a: struct packet_tap, the worker's until it has let go of it; 0: let go */
    MAILBOX_STOP,              /* leave the loop */
};

struct mailbox_message {
    uint16_t kind;
    uint16_t worker;
    uint32_t slot;
    uint32_t serial;
    uint32_t value;
    uint64_t a, b;
};

#define MAILBOX_LOG_TEXT 232
struct mailbox_log {
    uint64_t now;    /* the worker's clock, ns */
    uint16_t level;  /* 0 error, 1 warning, 2 info, 3 debug */
    uint16_t worker;
    uint32_t length;
    char text[MAILBOX_LOG_TEXT];
};

struct mailbox;

/* Start-up: one for a worker. NULL: out of memory. */
struct mailbox *mailbox_create(uint32_t worker, int socket);
void mailbox_destroy(struct mailbox *m);

/* Worker's end.  False: full; try again next turn. */
bool mailbox_report(struct mailbox *m, const struct mailbox_message *msg);
bool mailbox_order_next(struct mailbox *m, struct mailbox_message *msg);
/* printf-like; cut at MAILBOX_LOG_TEXT; dropped and counted when full. */
/* One more finished RPC; false: dropped, for the caller to count. */
bool mailbox_access(struct mailbox *m, const struct mailbox_access *record);
void mailbox_log(struct mailbox *m, uint64_t now, unsigned level, const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Control plane's end. */
bool mailbox_report_next(struct mailbox *m, struct mailbox_message *msg);
bool mailbox_order(struct mailbox *m, const struct mailbox_message *msg);
bool mailbox_log_next(struct mailbox *m, struct mailbox_log *out);
bool mailbox_access_next(struct mailbox *m, struct mailbox_access *out);
uint64_t mailbox_log_dropped(const struct mailbox *m);

#endif
