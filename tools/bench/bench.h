/* What the files of penstock-bench share.
 *
 *   options.c  the command line
 *   rows.c     the table of gates
 *   run.c      one run, from the EAL to the verdict
 *   lab.c      EAL, memory, the gateway (a real worker over a real port), the version that it balances over
 *   link.c     the wire: rings, frames copied, and what a NIC's driver would cost
 *   peer.c     the other side: clients and backends on rooms of their own
 *   calls.c    one RPC as both its ends see it: bytes, ids, verdicts
 *   report.c   figures for people and for machines */
#ifndef BENCH_H
#define BENCH_H

#include "mailbox/mailbox.h"
#include "port/port.h"
#include "session/session.h"
#include "snapshot/snapshot.h"
#include "worker/worker.h"

#include "ip/ip.h"
#include "tcp/tcp.h"

#define LISTENER_PORT 50051
#define BACKEND_PORT  20000
#define PROTOCOL_HZ   2.3e9 /* figures of all machines are quoted at this clock as well */

enum header_set { HEADERS_STATIC, HEADERS_DEADLINE, HEADERS_TRACE };

struct options {
    uint32_t connections, streams, endpoints, size;
    uint64_t rpcs;
    enum header_set headers;
    bool one_per_segment;
};
#define ROWS_MAX 64
struct arguments {
    struct options o;
    const char *row[ROWS_MAX];
    uint32_t rows, repeat;
    bool ring, lockstep, json, rpcs_given;
};
/* ---- options.c ---- */
/* Exit status, or -1: go on. */
int options_parse(int argc, char **argv, struct arguments *a);
extern const char *const options_headers[];
/* ---- rows.c ---- */
int rows_run(const struct arguments *a);

/* ---- link.c ---- */
struct rte_ring;
struct link {
    struct rte_ring *to_gateway, *from_gateway;
    struct packet_pool *gateway_rx; /* what the gateway's device fills */
    uint64_t driver_cycles;         /* buffers allocated and freed as the gateway's driver would */
    uint64_t lost;                  /* frames that found the ring full */
};
/* Makes the rings and the device between them, whose name is returned. NULL: failed. */
const char *link_create(struct link *l);
void link_send(struct link *l, struct packet **frames, uint32_t n);
/* Copies into `pool`; the gateway's buffers are given back.  Returns how many. */
uint32_t link_receive(struct link *l, struct packet_pool *pool, struct packet **frames, uint32_t max);

/* ---- calls.c ---- */
struct calls {
    uint64_t count, begun, answered; /* ids are 0 .. count - 1 */
    uint8_t *seen;                   /* by id: 1 a backend has it, 2 its client has its answer */
    uint64_t *by_backend;
    uint32_t size, endpoints;
    enum header_set headers;
    uint64_t wrong; /* whatever was not as it should be */
    char first_wrong[160];
};
struct call { /* one end of one RPC */
    struct call *next;
    struct client *client; /* NULL: the backend's end */
    uint64_t id;
    uint32_t got; /* bytes of the message so far, its 5 bytes of prefix included */
    uint32_t endpoint;
    bool status_good;
};
void calls_wrong(struct calls *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A gRPC message: prefix, id, bytes that follow from the id. */
enum { CALL_REQUEST, CALL_RESPONSE };
uint32_t call_message(const struct calls *c, uint64_t id, int direction, uint8_t *out);
/* A piece of the other side's message. False: not what it should be. */
bool call_take(struct calls *c, struct call *call, int direction, const uint8_t *data, uint32_t n);
void call_request_fields(const struct calls *c, uint64_t id, uint8_t *text, struct base_headers *h);
#define CALL_TEXT 128
void call_response_fields(struct base_headers *h);
void call_trailer_fields(struct base_headers *h);

/* ---- peer.c ---- */
struct client {
    struct session *session;
    uint32_t open;
    bool ready;
};
struct peer {
    struct options options;
    struct link *link;
    struct packet_pool *pool;
    struct stats *stats;
    struct ip *ip;
    struct tcp *tcp;
    struct sessions *sessions;
    struct calls calls;
    struct client *clients;
    struct call *spare;     /* free ones */
    uint32_t ready, accepted;
    uint32_t limit;         /* RPCs open on a connection, at most, now */
    uint64_t until;         /* ids below it may begin now */
    bool hold;              /* backends keep their answers */
    struct session_stream **held;
    uint32_t held_count, held_max;
    struct base_headers fields;
    uint8_t *message;
};
bool peer_create(struct peer *p, const struct options *o, struct link *link, uint64_t now);
void peer_connect(struct peer *p, uint32_t from, uint32_t to, uint64_t now); /* clients [from, to) */
void peer_release(struct peer *p); /* what was held is answered */
void peer_turn(struct peer *p, uint64_t now);

/* ---- lab.c ---- */
struct lab {
    struct link link;
    struct peer peer;
    struct port_heap heap;
    struct packet_pool *rx_pool, *tx_pool, *peer_pool;
    struct worker *gateway;
    struct snapshot_door *door;
    struct mailbox *mailbox;
    struct snapshot *snapshot;
    uint64_t tsc_hz;
};
bool lab_eal(struct lab *lab, const char *program);
void lab_eal_end(void);
bool lab_create(struct lab *lab, const struct options *o);
uint64_t lab_now(const struct lab *lab);
/* Bytes of objects and buffers that the gateway has in use. */
uint64_t lab_bytes(const struct lab *lab);

/* ---- report.c ---- */
struct turn {
    uint32_t cycles;
    uint32_t rpcs; /* answered up to here, modulo 2^32 */
    bool whole;    /* the kernel ran nothing else in the middle */
};
struct turns { /* busy turns of the gateway */
    struct turn *turn;
    uint64_t count, room;
};
void turns_add(struct turns *t, struct turn turn);
struct figures {
    uint64_t rpcs, turns, interrupted, packets_in, packets_out;
    double busy_cycles; /* interrupted turns count as a median one */
    double typical_cycles, quiet_cycles; /* an RPC: median and lower quartile over stretches of turns that ran undisturbed */
    uint64_t wrong;
    double median_turn, driver_cycles, seconds, tsc_hz;
    double connection_bytes, stream_bytes;
};
void figures_take(struct figures *f, struct turns *t);
void report(const struct figures *f, const struct arguments *a);
void report_machine(void); /* a JSON object */
/* ---- run.c ---- */
/* Once a process.  False: it did not come to its end, or something was wrong; what is known stands in the figures. */
bool run(const struct options *o, struct figures *f);

#endif
