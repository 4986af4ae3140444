/* rig: the gateway between clients and backends, all in one process, over a network and a clock that the test owns.
 *
 * The gateway is made of the rooms that a worker has, but for port and ip, and is driven by the worker's own serve.c and listen.c. Clients and
 * backends are made of tcp, http2 and session, too; what a backend does with a call, the call itself says (struct rig_script), found by the number in
 * its field "x-call".  Bodies are a function of (call, direction, offset), so that every byte is checked and none kept.
 *
 * After every step: tcp_check(), http2_conn_check() and picker_check() on the gateway, and that a call ended once at the most. */
#ifndef TESTS_RIG_H
#define TESTS_RIG_H

#include "worker/serve.h"

#define RIG_CALLS   8192
#define RIG_CLIENTS 4
#define RIG_BACKENDS 12
#define RIG_HOSTS   (1 + RIG_CLIENTS + RIG_BACKENDS)
#define RIG_SLOTS   64
#define RIG_MS      1000000ull
#define RIG_S       1000000000ull

enum rig_act { /* what the backend does, once the request is whole (or has begun: `early`) and `delay_ns` has passed */
    RIG_ANSWER,        /* HEADERS, DATA, trailers */
    RIG_TRAILERS_ONLY,
    RIG_DATA_END,      /* HEADERS, DATA with END_STREAM */
    RIG_ECHO,          /* HEADERS at once, each DATA back as it comes, trailers */
    RIG_HANG,
    RIG_RESET,         /* RST_STREAM `code` */
    RIG_CLOSE,         /* FIN */
    RIG_ABORT,         /* RST */
    RIG_GOAWAY,        /* GOAWAY that excludes this stream */
    RIG_GOAWAY_ANSWER, /* GOAWAY that includes it; then as RIG_ANSWER */
    RIG_ACTS
};

struct rig_script {
    enum rig_act act;
    enum rig_act again, third; /* what a backend does with it the second time, and later */
    uint8_t status_again;      /* grpc_status from the second time on */
    const char *pushback;      /* grpc-retry-pushback-ms, the first time */
    bool may_run_again; /* by the retry policy: it may reach a backend that has looked at it before */
    bool early;         /* on the request's HEADERS */
    bool headers_first; /* HEADERS and `partial` bytes at the request's HEADERS, `act` later */
    bool no_credit;     /* the backend gives no stream window back */
    bool no_read;       /* the client gives no stream window back */
    bool never_ends;    /* the client's request has no END_STREAM */
    bool plain;         /* not gRPC */
    bool web;           /* gRPC-Web: as plain, but for its content-type */
    bool request_trailers;
    uint32_t trailer_metadata; /* bytes of further fields in them */
    bool lingers;       /* the backend does not end a request that it has answered: no RST_STREAM */
    uint8_t informational; /* 103s before the HEADERS */
    uint8_t grpc_status;
    const char *http_status; /* the backend's :status, not gRPC's: a page without grpc-status */
    uint32_t request, response, partial; /* bytes */
    uint32_t metadata; /* bytes of further fields, both ways */
    uint32_t response_metadata; /* and more in the response */
    enum http2_error code;
    uint64_t delay_ns;
    const uint8_t *body; /* the request's bytes, instead of those that follow from the call's number; the answer's are kept, not checked */
    const char *timeout; /* grpc-timeout */
    const char *path, *authority;
    uint64_t cancel_ns; /* the client resets the stream after so long; 0: never */
};

struct rig_call {
    uint32_t id;
    struct rig_script script;
    struct rig *rig;
    struct rig_host *client, *backend;
    struct session_stream *st;
    uint64_t began_ns, ended_ns, cancel_at;
    bool opened, queued;
    uint32_t sent;
    bool sent_end;
    /* what the client saw */
    uint32_t ends; /* status, reset or connection lost: 1 in the end */
    bool headers, trailers, reset, lost, cancelled;
    uint32_t informational, got, metadata;
    bool bad_bytes;
    int http_status, grpc_status; /* -1: none */
    uint32_t reset_code;
    char reason[32];
    uint8_t answer[64]; /* with script.body */
    /* what the backend saw */
    struct session_stream *up;
    uint32_t up_times; /* it has reached a backend */
    int up_previous;   /* grpc-previous-rpc-attempts; -1: none */
    bool up_refused;   /* the backend said that it had not looked at it */
    uint32_t up_got, up_sent, up_metadata, up_order;
    bool up_seen, up_end, up_reset, up_bad_bytes, up_headers_sent, up_started, up_done, up_trailers;
    uint32_t up_reset_code;
    uint64_t up_timeout_ns; /* grpc-timeout; 0: none */
    uint64_t up_due;
};

struct rig_host {
    struct rig *rig;
    uint32_t index;
    struct base_addr addr;
    struct tcp *tcp;
    struct http2 *http2;
    struct sessions *sessions;
    struct stats *stats;
    struct packet_pool *pool, *rx_pool;
    void *memory;
    size_t memory_size;
    /* a client's */
    struct session *session;
    bool connected;
    /* behaviour */
    struct http2_config h2;  /* of the sessions that it makes from now on */
    bool cut;                /* nothing comes through, either way */
    bool deaf;               /* reads nothing */
    bool mute;               /* backend: accepts, says nothing */
    bool hangs_up;           /* backend: closes as soon as SETTINGS have gone round */
    bool goaway_at_once;     /* backend: GOAWAY right after SETTINGS */
    struct tcp_conn *muted[64];
    uint32_t muted_count;
    void (*raw)(struct rig_host *h, struct tcp_conn *c, const uint8_t *bytes, size_t n); /* what comes over the muted ones; n 0: it is closed */
    /* what it saw */
    uint32_t accepted, calls, open, open_max;
    uint32_t goaways, goaway_code, goaway_last[4]; /* code: of the last one */
    char goaway_debug[80];
};

struct rig_config {
    uint32_t clients, backends;
    uint64_t seed;
    uint32_t connections, streams; /* of the gateway; 0: plenty */
    uint32_t session_streams, http2_streams; /* 0: 2 * streams */
    uint32_t tcp_connections;
    uint32_t packets;
    uint32_t high_water;           /* percent of packets; 0: no overload */
    uint32_t stream_window;        /* of the gateway: how large a stream's window may grow; 0: none grows */
    uint32_t window_budget;        /* 0: a quarter of packets */
    uint32_t header_list;          /* of the gateway: the largest list of fields that it takes; 0: 16 KiB */
    uint32_t tcp_buffers;          /* of every host, either way; 0: as tcp_config_defaults() has them */
    uint64_t delay_ns, jitter_ns;  /* a hop */
    uint32_t loss_ppm;
};

struct rig_frame;

struct rig {
    struct rig_config config;
    uint64_t now, random, order;
    struct rig_frame *head, *tail;
    struct rig_host host[RIG_HOSTS]; /* 0: the gateway; clients; backends */
    struct serve serve;
    struct picker *picker;
    struct mailbox *mailbox;
    struct world *world; /* world.h */
    struct snapshot_route routes[4];
    uint64_t generation;
    struct rig_call *call[RIG_CALLS];
    uint32_t call_count;
    struct rig_call **active; /* not ended on both sides */
    uint32_t active_count;
    uint32_t loss_ppm;
    bool mailbox_stuck; /* reports are not read */
    uint32_t empties;   /* MAILBOX_SLOT_EMPTY seen */
    uint32_t empty_slot, empty_serial;
    uint64_t empty_generation[RIG_SLOTS]; /* in force when the slot was last reported empty */
    uint32_t drained;
    uint8_t state[RIG_SLOTS]; /* last ENDPOINT_STATE */
    uint32_t steps;
    uint64_t stride; /* of rig_run() and rig_settle() where no frame is due earlier */
};

void rig_config_defaults(struct rig_config *c);
struct rig *rig_create(const struct rig_config *c);
/* Ends everything; says whether the gateway came back to its idle counts. */
bool rig_destroy(struct rig *r);

static inline struct rig_host *rig_gateway(struct rig *r)
{
    return &r->host[0];
}
static inline struct rig_host *rig_client(struct rig *r, uint32_t i)
{
    return &r->host[1 + i];
}
static inline struct rig_host *rig_backend(struct rig *r, uint32_t i)
{
    return &r->host[1 + RIG_CLIENTS + i];
}

/* Backend i as an endpoint of a cluster. Another serial where the slot had been used. */
void rig_add(struct rig *r, uint32_t cluster, uint32_t slot, uint32_t backend, uint32_t weight);
/* The same endpoint again, before its slot was empty. */
void rig_add_again(struct rig *r, uint32_t cluster, uint32_t slot);
void rig_remove(struct rig *r, uint32_t cluster, uint32_t slot);
/* After a change of r->world->s by hand. */
void rig_touch(struct rig *r);

void rig_listen(struct rig_host *backend, bool on);
void rig_connect(struct rig_host *client);
/* Cuts the client's connection: FIN or RST. */
void rig_disconnect(struct rig_host *client, bool graceful);
/* Ends all connections of a backend. */
void rig_kill(struct rig_host *backend, bool graceful);
void rig_goaway(struct rig_host *backend);

struct rig_call *rig_start(struct rig_host *client, const struct rig_script *s);
void rig_cancel(struct rig_call *c);

/* Links, buffers and behaviour as they should be. */
void rig_heal(struct rig *r);
/* Ends sessions, of the gateway and of clients, whose peer knows nothing of them any more (its RST was lost): what keepalive does for real ones. */
void rig_sweep(struct rig *r);
void rig_step(struct rig *r, uint64_t ns); /* at most: stops at the next frame */
void rig_run(struct rig *r, uint64_t ns);
/* Until every call has ended, or `ns` have passed: false. */
bool rig_settle(struct rig *r, uint64_t ns);
bool rig_done(const struct rig *r);

/* gRPC status as the client saw it, once, its bytes right. */
bool rig_is(const struct rig_call *c, int grpc_status);
uint32_t rig_random(struct rig *r, uint32_t below);
/* A gateway's slab or pool by its name in stats. */
uint32_t rig_in_use(struct rig *r, const char *kind);
void rig_idle_print(struct rig *r);
void rig_print(struct rig *r);
/* Everything of the gateway at rest: no stream, no RPC, no buffer. connections: sessions that may be there. */
bool rig_idle(struct rig *r, uint32_t connections);
/* The gateway's up session number n of a slot's connections; NULL. */
struct session *rig_up(struct rig *r, uint32_t n);
struct session *rig_down(struct rig *r, uint32_t n);

#endif
