/* tcp: RFC 9293 over a packet device and a clock that the caller brings.
 *
 * Owns:   connections, listeners, the flow table, timers, reassembly and retransmission queues.
 * Uses:   base, stats, packet.  Knows no HTTP/2, no IP header: it takes and gives (flow, TCP segment).
 * Thread: one struct tcp a worker; no locks, nothing shared.
 * Time:   `now` in nanoseconds on a monotonic clock, an argument of every call that needs it.
 * Memory: everything from the arena at start-up; payload in packets from `pool`.  Every queue is bounded (tcp_config).
 * Errors: what the wire did is a verdict, counted in stats_drop; a full pool is a refusal (NULL, 0); misuse is an assertion.
 *
 * The turn of the loop:
 *     tcp_input() for each segment of the burst; tcp_tick(); then tcp_next_event() until it has no more, the user reading and
 *     writing as it goes; then tcp_output() until it gives no more.  Segments are built only in tcp_output(), so an ACK rides on the
 *     data that the same turn produced, and one connection sends one ACK a burst.
 *
 * Who owns a connection: the user, from TCP_EVENT_ACCEPTED or tcp_connect() until it calls tcp_close() or tcp_abort(), exactly once.
 * After that the pointer is dead to the user: tcp finishes the close (FIN, retransmission, TIME_WAIT) by itself and reports nothing more.
 * TCP_EVENT_CLOSED says that the connection is gone on the wire; the user still calls tcp_abort() to give the object back. */
#ifndef TCP_H
#define TCP_H

#include "packet/packet.h"
#include "base/steer.h"
#include "stats/stats.h"

struct tcp;
struct tcp_conn;

enum tcp_cc { TCP_CC_CUBIC, TCP_CC_RENO }; /* congestion control: RFC 9438 with 9406, or RFC 5681 */
enum tcp_ecn { TCP_ECN_OFF, TCP_ECN_PASSIVE, TCP_ECN_ON }; /* RFC 3168: never; where the peer asks; asked for and taken */

struct tcp_config {
    uint32_t connections;      /* all states but TIME_WAIT */
    uint32_t timewait;         /* entries of TIME_WAIT, the oldest recycled when full */
    uint32_t listeners;        /* addresses listened on */
    uint32_t syn_backlog;      /* connections in SYN-RECEIVED */
    uint32_t rcvbuf;           /* bytes of receive window a connection at most; in order and unread + out of order */
    uint32_t rcvbuf_least;     /* and at first; it grows while the user reads a window in a round trip */
    uint64_t rcv_memory;       /* bytes of all windows beyond which none grows; 0: half of what the pool's buffers hold */
    uint32_t sndbuf;           /* bytes unacknowledged and unsent a connection at most */
    uint32_t sndbuf_least;     /* and at first; it follows twice the congestion window */
    uint32_t snd_buffers;      /* buffers of all send queues beyond which each gets its share alone; 0: half of the pool */
    uint32_t reassembly;       /* out-of-order buffers a connection at most */
    uint32_t sack_work;        /* sent buffers that one ACK may make us look at, at most */
    bool sack;                 /* offer and take RFC 2018 */
    enum tcp_cc cc;            /* of connections that begin */
    enum tcp_ecn ecn;          /* likewise */
    bool pacing;               /* what is sent in bulk is spread over the round trip */
    uint16_t mtu;              /* of the port: the largest IP packet */
    uint64_t rto_ns_min;       /* RFC 6298 section 2.4, lowered for data centres */
    uint64_t rto_ns_max;
    uint64_t delack_ns;        /* RFC 9293 section 3.8.6.3 */
    uint64_t peer_delack_ns;   /* what a peer may wait before it acknowledges less than two segments */
    uint64_t keepalive_ns;     /* an idle peer is asked after this whether it is there (RFC 9293 section 3.8.4); 0: never */
    uint64_t user_timeout_ns;  /* unacknowledged data older than this ends the connection */
    uint64_t connect_ns;       /* an active open is given up after this (SYN or SYN-RECEIVED) */
    uint64_t timewait_ns;
    uint64_t fin_wait_ns;      /* orphaned FIN-WAIT-2 */
    struct base_hash_key isn_key; /* RFC 6528: secret, random at start-up */
    uint16_t port_low, port_high; /* ephemeral ports, inclusive; never a listener's */
    uint16_t port_mask, port_owner; /* only local ports with (port & mask) == owner: a flow names its worker */
    /* By flow.port: where not NULL, what comes back on the flow shall come by queue port_owner as well.  Outlives the tcp. */
    const struct base_steer *const *steer; /* NULL: none */
};

/* Sane values for all but keys, counts and mtu. */
void tcp_config_defaults(struct tcp_config *c);

enum tcp_state { /* RFC 9293 section 3.3.2 */
    TCP_CLOSED, TCP_LISTEN, TCP_SYN_SENT, TCP_SYN_RECEIVED, TCP_ESTABLISHED, TCP_FIN_WAIT_1, TCP_FIN_WAIT_2,
    TCP_CLOSE_WAIT, TCP_CLOSING, TCP_LAST_ACK, TCP_TIME_WAIT
};

enum tcp_error { /* why TCP_EVENT_CLOSED */
    TCP_OK, TCP_REFUSED, TCP_RESET, TCP_TIMED_OUT, TCP_UNREACHABLE
};

enum {
    TCP_EVENT_ACCEPTED = 1,  /* a passive open finished; tcp_conn_tag() is the listener's tag */
    TCP_EVENT_CONNECTED = 2, /* an active open finished */
    TCP_EVENT_READABLE = 4,  /* in-order bytes to read */
    TCP_EVENT_WRITABLE = 8,  /* tcp_write_room() grew after it had been too little (see tcp_write_want) */
    TCP_EVENT_FIN = 16,      /* the peer has finished; all its bytes can be read (or have been) */
    TCP_EVENT_CLOSED = 32,   /* reset, refused, timed out, or closed both ways: tcp_conn_error() */
};

struct tcp_event {
    struct tcp_conn *conn;
    uint32_t events;
};

/* A segment to be sent: the packet starts at the TCP header; the checksum field holds 0, ip fills it in.  It may be a buffer that
 * tcp keeps for retransmission, too: headers may be put in front of it, but its payload and its scratch area are tcp's
 * (so whoever queues it, say until a neighbour is known, keeps his links elsewhere). */
struct tcp_out {
    struct packet *packet;
    struct base_flow flow; /* ecn: what its IP header shall say */
};

size_t tcp_footprint(const struct tcp_config *c);
/* pool: buffers for segments and copies; it outlives the tcp.  `config` is copied. */
struct tcp *tcp_create(struct base_arena *arena, const struct tcp_config *config, struct stats *stats, struct packet_pool *pool,
                       uint64_t now);

/* From now on, for connections old and new; `cc` and `ecn` for new ones. */
struct tcp_tuning {
    uint64_t rto_ns_min, user_timeout_ns, keepalive_ns;
    enum tcp_cc cc;
    enum tcp_ecn ecn;
    bool pacing;
};
void tcp_tune(struct tcp *t, const struct tcp_tuning *k);

/* addr zero: any of ours.  False: full, or taken already. */
bool tcp_listen(struct tcp *t, const struct base_addr *addr, uint16_t port, uint64_t tag);
/* Connections that it accepted live on. */
void tcp_unlisten(struct tcp *t, const struct base_addr *addr, uint16_t port);
/* flow: remote and remote_port, local address and port index (device) filled in; local_port 0 = chosen (RFC 6056).
 * NULL: no connection object or no free port. TCP_EVENT_CONNECTED or _CLOSED follows. */
struct tcp_conn *tcp_connect(struct tcp *t, const struct base_flow *flow, uint64_t tag, uint64_t now);

/* Takes the packet. It starts at the TCP header and ends with the segment; its checksum has been verified.  flow->ecn: what its IP header said. */
void tcp_input(struct tcp *t, const struct base_flow *flow, struct packet *p, uint64_t now);
/* Hints, some time before tcp_input(): first for the flow table, then, by what that gave, for the connection. */
uint32_t tcp_expect(const struct tcp *t, const struct base_flow *flow);
void tcp_expect_out(const struct tcp_conn *c); /* tcp_write() */
void tcp_expect_conn(const struct tcp *t, uint32_t hint);
/* An ICMP error about a flow of ours (RFC 5927: acted on only where `seq` is in flight).  hard: destination unreachable;
 * mtu != 0: packet too big (RFC 1191, 8201). */
void tcp_icmp_error(struct tcp *t, const struct base_flow *flow, uint32_t seq, bool hard, uint32_t mtu, uint64_t now);
/* Timers due. */
void tcp_tick(struct tcp *t, uint64_t now);
/* False: no more.  Each connection comes at most once a turn, with all its events. */
bool tcp_next_event(struct tcp *t, struct tcp_event *ev);
/* Whose event comes after `skip` others; NULL: nobody's. */
void *tcp_event_ahead(const struct tcp *t, unsigned skip);
/* Up to max segments; 0: nothing to send. The caller owns the packets. */
uint32_t tcp_output(struct tcp *t, struct tcp_out *out, uint32_t max, uint64_t now);
/* How many of what tcp_output() gave, from out[0] on, are now one: segments of one connection that a device could have made by cutting up a
 * larger one.  The others are joined to out[0].packet (packet_join), without their headers; at most `bytes` of payload and `packets` of them. */
uint32_t tcp_join(struct tcp_out *out, uint32_t n, uint32_t bytes, uint32_t packets);

/* In-order bytes: *data is the first contiguous range, the result its length; 0: none now. */
size_t tcp_read_peek(struct tcp_conn *c, const uint8_t **data);
/* n <= what the last peek gave.  The window opens as RFC 9293 section 3.8.6.2.2 says. */
void tcp_read_consume(struct tcp_conn *c, size_t n);
/* Bytes that a write may add now. */
size_t tcp_write_room(const struct tcp_conn *c);
/* A contiguous place for at least `want` bytes (want <= 1,024), *room of them usable; NULL: no room or no buffer.
 * Followed by tcp_write_commit with n <= *room before anything else is called on this connection. */
uint8_t *tcp_write_reserve(struct tcp_conn *c, size_t want, size_t *room);
void tcp_write_commit(struct tcp_conn *c, size_t n);
/* Copies as much of [data, data+n) as fits; returns how much. */
size_t tcp_write(struct tcp_conn *c, const void *data, size_t n);
/* Ask for TCP_EVENT_WRITABLE once a quarter of the send buffer, or `sndbuf` less what is in flight, is free again. */
void tcp_write_want(struct tcp_conn *c);

/* FIN after what was written; RST instead where unread bytes are dropped (RFC 2525 section 2.17). Gives the object up. */
void tcp_close(struct tcp_conn *c, uint64_t now);
/* FIN after what was written; the user keeps the connection and goes on reading (half-close). */
void tcp_shutdown(struct tcp_conn *c, uint64_t now);
/* RST where there is a peer. Gives the object up. */
void tcp_abort(struct tcp_conn *c, uint64_t now);

void tcp_conn_user_set(struct tcp_conn *c, void *user);
void *tcp_conn_user(const struct tcp_conn *c);
uint64_t tcp_conn_tag(const struct tcp_conn *c);
const struct base_flow *tcp_conn_flow(const struct tcp_conn *c);
enum tcp_state tcp_conn_state(const struct tcp_conn *c);
enum tcp_error tcp_conn_error(const struct tcp_conn *c);

struct tcp_info { /* what `penstockctl connections` shows */
    enum tcp_state state;
    uint32_t mss, cwnd, ssthresh, snd_wnd, rcv_wnd, in_flight, unsent, unread, reassembly;
    uint64_t srtt_ns, rttvar_ns, rto_ns;
    uint64_t bytes_in, bytes_out, retransmits;
    bool passive; /* came from a listener */
    bool held;    /* by its user; else tcp closes it by itself */
};
void tcp_conn_info(const struct tcp_conn *c, struct tcp_info *info);
/* All connections, for the control plane's dump: the one after `c`, or the first for NULL; NULL: no more. */
struct tcp_conn *tcp_conn_next(struct tcp *t, struct tcp_conn *c);

/* A walk that may rest between turns: the first connection at or behind *cursor, which moves behind it; it looks at most at `steps` places.
 * NULL with *cursor UINT32_MAX: the end; else: none in that many. */
struct tcp_conn *tcp_conn_walk(struct tcp *t, uint32_t *cursor, uint32_t steps);

uint32_t tcp_connections(const struct tcp *t);
/* Nothing queued, no timer armed but TIME_WAIT's: the worker may sleep. */
bool tcp_idle(const struct tcp *t);

/* Everything that must hold between two calls; asserts.  Runs after every step in unit, simulation and fuzz builds. */
void tcp_conn_check(const struct tcp_conn *c);
void tcp_check(const struct tcp *t);

#endif
