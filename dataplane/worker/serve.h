/* The part of a worker that knows no device and no IP: connections' and sessions' events, listeners, drain.  Tests run it over a network of
 * their own.
 *
 * A turn: worker_listeners_apply() after a new generation; tcp is fed; worker_serve_tick(); worker_serve_events(); the caller connects what
 * pool_connect_next() wants; worker_serve_finish(); what tcp has to send is sent. */
#ifndef WORKER_SERVE_H
#define WORKER_SERVE_H

#include "pool/pool.h"
#include "proxy/proxy.h"
#include "session/session.h"

struct serve {
    struct tcp *tcp;
    struct sessions *sessions;
    struct pool *pool;
    struct proxy *proxy;
    struct mailbox *mailbox;
    const struct snapshot *snapshot; /* of this turn */
    uint32_t worker;
    bool draining, drained_told;
    /* -- what is in force ---------------------------------------------------------------------- */
    struct snapshot_listener listener[SNAPSHOT_LISTENERS_MAX]; /* routes not kept */
    bool listening[SNAPSHOT_LISTENERS_MAX];
    struct session_life life[SNAPSHOT_LISTENERS_MAX]; /* of their clients */
    struct http2_bounds bounds[SNAPSHOT_LISTENERS_MAX];
};

/* listen.c */
void worker_listeners_apply(struct serve *v, uint64_t now);
void worker_serve_tick(struct serve *v, uint64_t now);
/* serve.c */
void worker_serve_events(struct serve *v, uint64_t now);
/* busy: frames came in this turn.  Returns how much it did of what could wait, or is to do: 0: the worker may rest. */
uint32_t worker_serve_finish(struct serve *v, bool busy, uint64_t now);
void worker_session_end(struct serve *v, struct session *s, bool graceful, uint64_t now);

#endif
