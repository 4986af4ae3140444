/* transport: a byte stream as a session sees it.  Made of tcp now; of TLS over tcp, or of a kernel socket, later: told
 * apart by an enum, so that the hot path is a predicted branch and not a pointer.
 *
 * Owns: nothing; a handle.  Uses: tcp.  Thread, Time, Memory, Errors: tcp's. */
#ifndef TRANSPORT_H
#define TRANSPORT_H

#include "tcp/tcp.h"

enum transport_kind { TRANSPORT_NONE, TRANSPORT_TCP };

struct transport {
    enum transport_kind kind;
    struct tcp_conn *tcp;
};

static inline struct transport transport_of_tcp(struct tcp_conn *c)
{
    return (struct transport){TRANSPORT_TCP, c};
}

/* An active open over tcp. kind is TRANSPORT_NONE where it was refused. */
struct transport transport_connect(struct tcp *t, const struct base_flow *flow, uint64_t now);

/* Comes back with every event of the connection (tcp_conn_user). */
static inline void transport_user_set(struct transport *t, void *user)
{
    tcp_conn_user_set(t->tcp, user);
}

static inline size_t transport_peek(struct transport *t, const uint8_t **data)
{
    return tcp_read_peek(t->tcp, data);
}

static inline void transport_consume(struct transport *t, size_t n)
{
    tcp_read_consume(t->tcp, n);
}

static inline size_t transport_room(const struct transport *t)
{
    return tcp_write_room(t->tcp);
}

static inline uint8_t *transport_reserve(struct transport *t, size_t want, size_t *room)
{
    return tcp_write_reserve(t->tcp, want, room);
}

static inline void transport_commit(struct transport *t, size_t n)
{
    tcp_write_commit(t->tcp, n);
}

static inline size_t transport_write(struct transport *t, const void *data, size_t n)
{
    return tcp_write(t->tcp, data, n);
}

static inline void transport_want(struct transport *t)
{
    tcp_write_want(t->tcp);
}

static inline const struct base_flow *transport_flow(const struct transport *t)
{
    return tcp_conn_flow(t->tcp);
}

/* Octets that it keeps since the peer's TCP has not acknowledged them; acked: those that it has, ever. */
uint64_t transport_kept(const struct transport *t, uint64_t *acked);

/* Smoothed round-trip time, 0: not known yet; unsent: octets that were written and have not been sent for the first time. */
uint64_t transport_rtt(const struct transport *t, uint64_t *unsent);

/* A hint: something is about to be written. */
static inline void transport_expect_out(const struct transport *t)
{
    tcp_expect_out(t->tcp);
}

/* FIN behind what was written; reading goes on. */
static inline void transport_shutdown(struct transport *t, uint64_t now)
{
    tcp_shutdown(t->tcp, now);
}

/* Both give the handle up. */
void transport_close(struct transport *t, uint64_t now);
void transport_abort(struct transport *t, uint64_t now);

#endif
