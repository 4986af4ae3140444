/* What the files of penstock-bench share.
 *
 *   options.c  the command line
 *   rows.c     the table of gates
 *   run.c      one run, from the EAL to the verdict
 *   lab.c      EAL, memory, the gateway (real workers over a real port), the version that they balance over
 *   link.c     the wire: rings, frames copied, and what a NIC's driver would cost; or a device
 *   peer.c     the other side: rooms of its own, their turn; clients' connections
 *   ends.c     RPCs, at their clients' end and at their backends'
 *   ages.c     connections that end while calls flow
 *   attack.c   who else calls the gateway
 *   calls.c    the ledger: what is in an RPC, who has seen it
 *   report.c   figures for people and for machines */
#ifndef BENCH_H
#define BENCH_H

#include "calls.h"
#include "histogram.h"

#include "ip/ip.h"
#include "mailbox/mailbox.h"
#include "port/port.h"
#include "session/session.h"
#include "snapshot/snapshot.h"
#include "tcp/tcp.h"
#include "worker/worker.h"

#include "ip/owner.h"

#define PROTOCOL_HZ 2.3e9 /* figures of all machines are quoted at this clock as well */
#define WORKERS_MAX 8

enum attack_kind { ATTACK_NONE, ATTACK_PINGS, ATTACK_SETTINGS, ATTACK_RESETS, ATTACK_MADE_RESETS, ATTACK_HEADERS, ATTACK_BOMBS, ATTACK_CONTINUATIONS, ATTACK_WINDOWS, ATTACK_ANSWERS, ATTACK_OCTETS };
enum link_kind { LINK_NONE, LINK_RING, LINK_DEVICE };

struct options {
    uint32_t connections, streams, endpoints, size, messages, workers;
    uint64_t rpcs;
    double rate;       /* RPCs a second that are to begin; 0: a closed loop */
    uint32_t churn;    /* RPCs of a connection's life; 0: it lives on */
    uint64_t think_ns; /* between an answer and the next RPC in its place */
    uint64_t age_ns;   /* of connections, on both sides of the gateway; 0: they live on */
    uint64_t restart_ns; /* between two backends' restarts, in the mean; 0: none */
    uint64_t answer_ns;  /* a backend keeps an answer for up to so long */
    bool rude;           /* backends refuse, and leave calls out */
    enum attack_kind attack;
    uint32_t busy_percent; /* of the gateway's worker, load and attack together */
    enum header_set headers;
    enum call_kind kind;
    bool one_per_segment, lockstep, memory;
    uint32_t slow; /* time passes that many times slower: for runs on a simulated processor */
    enum link_kind link;
    char device[256];
    struct base_addr address, gateway; /* ours, the listener's */
    uint8_t bits;
    uint16_t listener_port, backend_port;
    uint32_t wait_seconds;
};
#define ROWS_MAX 64
struct arguments {
    struct options o;
    const char *row[ROWS_MAX];
    uint32_t rows, repeat;
    bool json, rpcs_given, print_config;
};

/* ---- options.c ---- */
void options_defaults(struct arguments *a);
/* Exit status, or -1: go on. */
int options_parse(int argc, char **argv, struct arguments *a);
/* The gateway's configuration that fits such a run. */
void options_print_config(const struct options *o);
extern const char *const options_headers[], *const options_kinds[], *const options_attacks[];

/* ---- rows.c ---- */
int rows_run(const struct arguments *a);

/* ---- link.c ---- */
struct rte_ring;
struct link {
    struct rte_ring *to_gateway[WORKERS_MAX], *from_gateway[WORKERS_MAX]; /* by worker */
    struct packet_pool *gateway_rx[WORKERS_MAX];                          /* what the gateway's device fills */
    uint32_t workers;
    struct ip_owners owners;   /* a device that steers as the gateway would like it to */
    struct port_queue *device; /* NULL: the rings */
    uint64_t driver_cycles;    /* buffers allocated and freed as the gateway's driver would */
    uint64_t lost;             /* frames that found the ring full */
};
/* Makes the rings and the device between them, whose name is returned. NULL: failed. */
const char *link_create(struct link *l, uint32_t workers);
/* Copies; the frames stay the caller's. */
void link_send(struct link *l, struct packet **frames, uint32_t n);
void link_flush(struct link *l);
/* Copies into `pool`; the gateway's buffers are given back.  Returns how many. */
uint32_t link_receive(struct link *l, struct packet_pool *pool, struct packet **frames, uint32_t max);
/* From now on this thread is that lcore for the caches of buffer pools: worker i is i, the generator comes behind them. */
void link_lcore(uint32_t lcore);

/* ---- peer.c ---- */
struct client {
    struct session *session;
    uint32_t open;    /* RPCs, and places that rest after one (think time) */
    uint32_t active;  /* RPCs */
    uint32_t life;    /* RPCs begun on this connection */
    bool ready;
    struct base_list able; /* in peer.able: may begin one, as far as it itself is concerned */
};
struct call {
    struct call_end end;
    struct call *next; /* spare */
    struct client *client; /* NULL: the backend's end */
    struct session_stream *stream;
    uint32_t allowed; /* messages that may be sent by now */
    uint64_t since_ns; /* client: when it was to begin */
    struct base_list pump; /* in peer.pump: has more to send; in ages.again: is to be sent once more */
    struct base_timer timer; /* backend: in ages.wheel until it answers */
};
/* A call's way through the gateway, by id: both ends of a call meet here. */
struct passage {
    uint64_t id, entered, cycles, interruptions;
};
#define PASSAGES 65536
enum ages_phase { AGES_UP, AGES_GOING, AGES_DOWN, AGES_BACK };
struct ages {
    struct session_life life; /* of connections to backends */
    struct base_list again;
    struct base_wheel wheel;
    uint64_t looked_ns, draws;
    enum ages_phase phase;
    uint32_t victim; /* the backend that restarts */
    uint64_t until_ns, rude_ns;
    struct session *stalled; /* is not read */
    uint32_t *accepted;      /* by backend */
    uint64_t goaways, restarts, excluded, refused_us; /* clients: told to go; calls left out, refused */
    uint64_t refused, rudenesses, stalls;             /* backends' */
};
#define ATTACKERS_MAX 2000
struct attacker {
    struct transport transport;
    bool ready;
    uint32_t stream, said;
};
#define ANSWERS_MAX   4096
struct answer { /* of a backend to an attacker; `left` octets have not come over the wire yet */
    struct base_list link;
    struct session_stream *stream;
    uint32_t left;
};
struct attack {
    struct attacker *attacker;
    struct answer *answer;
    struct base_list spare, coming;
    uint64_t wire_ns; /* when the wire from the backends is free */
    uint32_t count, next;
    double rate; /* units a second; 0: silence */
    uint64_t since_ns;
    uint64_t said, connects;
};
struct rest {
    uint64_t until_ns;
    struct client *client;
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
    struct call *spare;
    struct base_list able, pump;
    uint32_t ready, accepted, opened; /* connections: clients with SETTINGS, backends' ends, clients' ever */
    uint32_t limit;         /* RPCs open on a connection, at most, now */
    uint64_t until;         /* ids below it may begin now */
    uint64_t open_loop_ns, open_loop_first; /* since when, and with which id, RPCs begin by the clock; 0: a closed loop */
    bool hold;              /* backends keep their answers */
    struct call **held;
    uint32_t held_count;
    struct rest *rests; /* a ring: think time is the same for all, so they end in order */
    uint32_t rest_first, rest_count, rest_room;
    struct ages ages;
    struct attack attack;
    struct base_headers fields;
    uint8_t *message;
    /* -- what was measured ------------------------------------------------------------------- */
    uint64_t gateway_cycles, interruptions; /* of the gateway's turns so far: written by run.c */
    struct passage *passages;
    bool recording;
    struct histogram latency, residence; /* ns; cycles */
    uint64_t residence_interrupted, late; /* RPCs that an interrupted turn met; begun more than 1 ms after their time */
    double tsc_hz;
};
bool peer_create(struct peer *p, const struct options *o, struct link *link, uint64_t now);
void peer_connect(struct peer *p, uint32_t from, uint32_t to, uint64_t now); /* clients [from, to) */
/* From now on: so many RPCs a connection, ids below `until`, by the clock or not. */
void peer_allow(struct peer *p, uint32_t limit, uint64_t until, bool by_the_clock, uint64_t now);
void peer_turn(struct peer *p, uint64_t now);
uint64_t peer_clock(const struct peer *p); /* ns, as `now` */
void peer_flush(struct peer *p, uint64_t now);
void client_able(struct peer *p, struct client *client);
void client_connect(struct peer *p, struct client *client, uint64_t now);
void peer_read(struct peer *p, struct session *s, uint64_t now);

/* ---- ends.c ---- */
void ends_begin(struct peer *p, struct client *client, uint64_t since_ns);
void ends_client_event(struct peer *p, struct session_stream *st, const struct http2_event *ev, uint64_t now);
void ends_backend_event(struct peer *p, struct session *s, struct session_stream *st, const struct http2_event *ev, uint64_t now);
void ends_pump(struct peer *p); /* what did not fit before */
void ends_release(struct peer *p); /* what was held is answered */
void ends_send(struct peer *p, struct call *call); /* from its beginning */
void ends_answer(struct peer *p, struct call *call);

/* ---- attack.c ---- */
bool attack_create(struct peer *p);
void attack_turn(struct peer *p, uint64_t now);
/* The attacker whose connection has this user; NULL: a session's. */
struct attacker *attack_of(const struct peer *p, const void *user);
void attack_event(struct peer *p, struct attacker *a, uint32_t events, uint64_t now);
/* True: the backend's event was of an attacker's request, and is dealt with. */
bool attack_backend_event(struct peer *p, struct session_stream *st, const struct http2_event *ev);

/* ---- beside.c ---- */
struct beside { /* medians over the rounds */
    double alone_p99_us, beside_p99_us, ratio, alone_busy, beside_busy, attack_rate, attack_connects;
    double alone_apart, beside_apart; /* of the RPCs, those that met a stall of the machine's */
};

/* ---- ages.c ---- */
static inline bool ages_on(const struct options *o)
{
    return o->age_ns > 0;
}
void ages_create(struct peer *p, uint64_t now);
void ages_turn(struct peer *p, uint64_t now);
/* A client's end of a call whose stream is gone. */
void ages_again(struct peer *p, struct call *call);
void ages_told_to_go(struct peer *p, struct session *s, uint32_t last_id, uint64_t now);
void ages_accepted(struct peer *p, struct session *s, uint64_t now);
/* A rude backend does not take this call up; it is not asked twice. */
bool ages_refuses(struct peer *p, struct call *call);
bool ages_stalled(const struct peer *p, const struct session *s);
/* True: it is answered later. */
bool ages_keep(struct peer *p, struct call *call, uint64_t now);
/* The other side has finished; the session is gone, or something is wrong. */
void ages_over(struct peer *p, struct session *s, bool closed, uint64_t now);
void ages_ended(struct peer *p, struct session *s, uint64_t now);

/* ---- lab.c ---- */
struct lab {
    struct link link;
    struct peer peer;
    struct port_heap heap;
    struct packet_pool *rx_pool[WORKERS_MAX], *tx_pool[WORKERS_MAX], *peer_pool;
    struct port_handover *handover;
    struct worker *gateway[WORKERS_MAX];
    struct port *port; /* of a device; NULL: the rings */
    void *arena[WORKERS_MAX];
    size_t arena_bytes;
    uint32_t workers; /* 0: the gateway is another process */
    struct snapshot_door *door;
    struct mailbox *mailbox[WORKERS_MAX];
    struct snapshot *snapshot;
    uint64_t tsc_hz; /* slowed down, if that was asked for */
};
bool lab_eal(struct lab *lab, const struct options *o);
void lab_eal_end(void);
bool lab_create(struct lab *lab, const struct options *o);
void lab_close(struct lab *lab);
uint64_t lab_now(const struct lab *lab);
/* Bytes of objects and buffers that the gateway has in use. */
uint64_t lab_bytes(const struct lab *lab);
uint64_t lab_counter(const struct lab *lab, enum stats_counter which);

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
double turns_median(const struct turns *t);
#define TURN_INTERRUPTED 20 /* medians: no turn of ours takes so long: the host ran somebody else, which the kernel cannot see */
struct quantiles {
    double p50, p90, p99, p999, max, mean;
    uint64_t count;
};
struct figures {
    uint64_t rpcs, turns, stretches, interrupted, packets_in, packets_out, wrong, opened;
    double busy_cycles; /* interrupted turns count as a mean one of the others */
    double typical_cycles, quiet_cycles; /* an RPC: median and lower quartile over stretches of turns that ran undisturbed */
    double median_turn, driver_cycles, seconds, tsc_hz;
    double connection_bytes, stream_bytes;
    struct quantiles latency_us, residence_us;
    uint64_t residence_interrupted, late;
    uint64_t handovers;
    struct ages ages; /* its counts */
    struct beside beside;
};
/* places: RPCs open at once. */
void figures_take(struct figures *f, const struct turns *t, uint64_t places);
struct quantiles figures_quantiles(const struct histogram *h, double scale);
void report(const struct figures *f, const struct arguments *a);
void report_machine(void); /* a JSON object */

/* ---- run.c ---- */
struct run {
    struct lab lab;
    const struct options *o;
    struct turns turns;
    uint32_t longest, longest_frame; /* cycles, and so many for each frame that came in it: a longer turn was interrupted */
    uint64_t frames;                 /* that came in the last turn */
    uint64_t idle;    /* turns in a row in which nothing moved */
    bool launched;
};
void run_turn(struct run *r);
/* Cycles: had the last turn taken more, it was interrupted. */
static inline uint64_t run_longest(const struct run *r)
{
    return r->longest + r->frames * r->longest_frame;
}
bool beside_measure(struct run *r, struct beside *out); /* beside.c */
/* Once a process.  False: it did not come to its end, or something was wrong; what is known stands in the figures. */
bool run(const struct options *o, struct figures *f);

#endif
