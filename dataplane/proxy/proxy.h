/* proxy: one RPC: stream in, stream out; deadline, trailers, status mapping, local answers.
 *
 * Owns:   RPCs and their deadlines.
 * Uses:   base, stats, packet, http2, session, router, picker, pool, snapshot, mailbox.
 * Thread: one a worker.
 * Time:   `now`, an argument.
 * Memory: a slab of RPCs at start-up; full = RST_STREAM REFUSED_STREAM, which is safe to retry.
 * Errors: the table "Answers that the gateway makes itself" of the contract: trailers-only for application/grpc*, else the plain HTTP status.
 *
 * The worker hands over every event of every session; what the RPC's other side needs leaves through its session in the same turn. */
#ifndef PROXY_H
#define PROXY_H

#include "pool/pool.h"
#include "router/router.h"
#include "session/session.h"
#include "snapshot/snapshot.h"

struct proxy;

/* clusters, slots: those of `stats`. */
size_t proxy_footprint(uint32_t rpcs, uint32_t clusters, uint32_t slots);
struct proxy *proxy_create(struct base_arena *arena, uint32_t rpcs, uint32_t worker, struct sessions *sessions, struct pool *pool,
                           struct picker *picker, struct mailbox *mailbox, struct stats *stats, uint64_t now);

/* An event of a client's session.  `s` is the snapshot of this turn. */
void proxy_down_event(struct proxy *p, const struct snapshot *s, struct session *session, struct session_stream *st,
                      const struct http2_event *ev, uint64_t now);
/* An event of a backend's session: HEADERS, DATA, RESET; and GOAWAY, whose unprocessed streams are answered. */
void proxy_up_event(struct proxy *p, struct session *session, struct session_stream *st, const struct http2_event *ev, uint64_t now);
/* The session is gone: its RPCs end as the contract says. Afterwards no RPC refers to it. */
void proxy_session_lost(struct proxy *p, struct session *session, uint64_t now);
/* Deadlines, and the patience of RPCs that wait. */
void proxy_tick(struct proxy *p, uint64_t now);
/* Once a turn, behind its events: RPCs that wait go on where they can, or are answered where they may wait no longer.  `s`: the snapshot of this
 * turn, or NULL. */
void proxy_dispatch(struct proxy *p, const struct snapshot *s, uint64_t now);

#endif
