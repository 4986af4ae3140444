/* pool: this worker's backend sessions, by endpoint slot.
 *
 * Owns:   for each slot: its sessions, its connectivity state, its back-off; tells the picker which slots are READY, and the control plane
 *         how each one stands.
 * Uses:   base, stats, session, picker, snapshot, mailbox.
 * Thread: one a worker.
 * Time:   `now`, an argument.
 * Memory: an array of slots at start-up.
 * Errors: a failed connection is a state (TRANSIENT_FAILURE) and a back-off; full slabs count as one.
 *
 *            apply: present                    TCP up, SETTINGS seen
 *   (none) ----------------> CONNECTING -----------------------------> READY
 *                             ^   |  refused, timed out                  |  lost: tries again at once
 *                back-off over|   v                                      v
 *                        TRANSIENT_FAILURE <---------------------- CONNECTING
 *
 * As in gRPC's connectivity semantics, an endpoint in TRANSIENT_FAILURE stays there until it is READY again: a try under way does not make it
 * pickable or unpickable.  Back-off: base * factor^n up to max, with 20 % jitter; a connection that became READY resets it. */
#ifndef POOL_H
#define POOL_H

#include "mailbox/mailbox.h"
#include "picker/picker.h"
#include "session/session.h"
#include "snapshot/snapshot.h"
#include "stats/stats.h"

#define POOL_CONNECTIONS_MAX     24 /* an endpoint and worker, those that drain with them */
#define POOL_CONNECTIONS_SERVING 16

struct pool;

size_t pool_footprint(uint32_t slots);
struct pool *pool_create(struct base_arena *arena, uint32_t slots, uint32_t worker, struct sessions *sessions, struct picker *picker,
                         struct mailbox *mailbox, struct stats *stats, uint64_t seed, uint64_t now);

/* After a new generation: connects what is new, drains what is gone, touches nothing else. */
void pool_apply(struct pool *p, const struct snapshot *s, uint64_t now);
/* Back-offs, connect timeouts, reports that did not fit before. */
void pool_tick(struct pool *p, uint64_t now);

/* A connection that is wanted. The caller finds the way (source address, port) and calls session_connect(), then pool_connecting() or
 * pool_unreachable(). */
struct pool_connect {
    uint32_t slot;
    struct base_endpoint remote;
    struct http2_config http2;
};
bool pool_connect_next(struct pool *p, struct pool_connect *want);
void pool_connecting(struct pool *p, uint32_t slot, struct session *s, uint64_t now);
void pool_unreachable(struct pool *p, uint32_t slot, uint64_t now);

/* Events of a session of role up. */
void pool_settings(struct pool *p, struct session *s, uint64_t now); /* the backend speaks HTTP/2: READY */
void pool_goaway(struct pool *p, struct session *s, uint64_t now);   /* no new streams on it; a replacement is opened */
void pool_calm(struct pool *p, struct session *s, uint64_t now);     /* the endpoint has complained of PINGs: twice as long between them */
void pool_aged(struct pool *p, struct session *s);                   /* it serves until its replacement is READY */
/* The session is gone or about to be; its streams have been dealt with. `s` is forgotten; the caller destroys it. */
void pool_lost(struct pool *p, struct session *s, uint64_t now);

/* The session for a new stream to this endpoint, the least busy one of those with room for it, where there is one; NULL: none is of use any more, and
 * the slot is not READY from now on. */
struct session *pool_session(struct pool *p, uint32_t slot);
/* All streams that the endpoint allows are taken: a further connection is opened where there may be one. */
void pool_crowded(struct pool *p, uint32_t slot);
/* Some endpoint of the cluster has been told to go while it was READY, and its next connection is on the way. */
bool pool_replacing(const struct pool *p, uint32_t cluster);
uint32_t pool_serial(const struct pool *p, uint32_t slot);
const struct base_endpoint *pool_address(const struct pool *p, uint32_t slot);
void pool_stream_started(struct pool *p, uint32_t slot);
void pool_stream_ended(struct pool *p, uint32_t slot);
/* A session that has drained: no streams, nothing more wanted of it. The caller closes it (graceful), after pool forgot it. NULL: none. */
struct session *pool_idle_next(struct pool *p);

void pool_reset_backoff(struct pool *p, uint32_t slot, uint32_t serial);

#endif
