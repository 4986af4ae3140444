/* What the files of proxy share. */
#ifndef PROXY_INTERNAL_H
#define PROXY_INTERNAL_H

#include "proxy.h"

#define GRPC_TIMEOUT_TEXT 10

/*            start
 *   (new) ---------> RUNS <-------- an endpoint is READY and has a stream free --------+
 *                    |  ^                                                              |
 *    tried again,    v  |                none                                          |
 *    nobody there  FRESH ------------------------------------------------------> WAITS_ENDPOINT
 *                    ^ it has waited
 *    policy ---> BACKS_OFF                         HEALTH: answered here (health.c), from the beginning to the end
 *
 * FRESH lasts to the end of the turn.  In all phases but RUNS `replay` holds the request, and `up` is NULL.  RUNS keeps it until the backend's
 * response begins, or the request has grown larger than REPLAY_KEPT. */
enum rpc_phase { RPC_RUNS, RPC_FRESH, RPC_WAITS_ENDPOINT, RPC_BACKS_OFF, RPC_HEALTH };

struct proxy_rpc {
    struct session_stream *down, *up; /* up NULL: none yet, or it has ended */
    uint64_t started_ns;
    uint64_t bytes; /* of response messages */
    struct base_timer deadline;
    struct mailbox_access *access; /* NULL: not recorded */
    uint32_t slot, serial;
    uint16_t cluster, listener;
    bool grpc;          /* content-type application/grpc* */
    bool web;           /* and that is application/grpc-web: once it has headers, trailers say nothing to it */
    bool routed;        /* cluster is known, started was counted */
    bool bound;         /* slot is valid, the pool counts this stream */
    bool headers_sent;  /* response headers went down */
    bool settled;       /* outcome counted */
    bool request_ended; /* the client's END_STREAM was seen */
    bool begun;         /* a stream to a backend was: it may have been seen there */
    uint8_t phase;      /* enum rpc_phase */
    uint8_t unsaid;     /* enum grpc_code: of a response that says none */
    struct base_list wait;       /* in the queue of its phase */
    uint64_t deadline_ns;        /* UINT64_MAX: none */
    struct proxy_replay *replay; /* NULL: it can't be sent again */
};
static_assert(sizeof(struct proxy_rpc) <= 128, "two cache lines");

/* Its response has headers, and is none that gRPC's trailers can end. */
static inline bool proxy_rpc_bare(const struct proxy_rpc *rpc)
{
    return rpc->headers_sent && (!rpc->grpc || rpc->web);
}

/* A request, to be sent later or again. */
#define REPLAY_KEPT   16384u /* bytes of DATA of a request that runs */
#define REPLAY_POLICY 65536u /* where a retry policy asks for it */
#define REPLAY_LARGE  1024u /* bytes of a record, space[] included */
#define REPLAY_SMALL  320u  /* of one whose fields http2 keeps */
#define REPLAY_MAX   32768 /* records of a worker of either size, at most one an RPC */
#define REPLAY_TRIED 5     /* as many as there are attempts at most */
#define REPLAY_SHARE 4     /* one in so many of the worker's buffers may hold DATA of requests */
struct replay_field {
    uint8_t token, flags; /* of struct base_header */
    uint16_t name_len;    /* 0 where the token says it */
    uint32_t value_len;
};
static_assert(BASE_HEADER_TOKEN_COUNT < 256, "a token in an octet");
struct proxy_replay {
    const struct base_headers *known;     /* the fields, held where they are (http2_list_hold()); NULL: they are a copy */
    struct session_held *held, *trailers; /* held NULL: the copy stands in space[]; trailers NULL: none */
    struct packet *head, *tail;           /* DATA behind that in space[], linked through the scratch areas */
    uint64_t patience_ns;                 /* WAITS_ENDPOINT: until then; 0: it has not waited since it was sent last */
    uint32_t bytes, credited;
    union {
        uint16_t tried[REPLAY_TRIED]; /* slots that did not take it, or took it to no end, the last one first */
        struct proxy_health {         /* HEALTH, which goes to none */
            uint32_t name;            /* of the service, hashed */
            uint16_t service;         /* in proxy.services; SERVICE_NONE: there is none of that name */
            uint8_t told;             /* its state as the client knows it */
            bool watch;               /* Watch, not Check */
        } health;
    };
    uint16_t near_at;        /* DATA in space[] */
    uint16_t near;           /* octets of that DATA */
    uint32_t count, size;    /* of the fields in space[] */
    uint8_t attempts;        /* that failed, of those that the policy counts */
    uint8_t backoffs;        /* since the last pushback */
    uint8_t retold[3];       /* times that it was sent again: by enum stats_retry, UNSENT GOAWAY REFUSED */
    bool large;
    uint8_t tried_count;
    struct snapshot_retry policy; /* attempts 0: none */
    _Alignas(8) uint8_t space[]; /* struct replay_field[count], their values and names, DATA */
};
static_assert(sizeof(struct proxy_replay) <= 120, "a small record has room for a small message");

/* Of a cluster on this worker. */
struct proxy_budget {
    uint32_t tokens, max, ratio; /* retryThrottling, in thousandths; max 0: none */
    uint32_t credit;             /* retries that may be made, in thousandths */
    uint64_t credited_ns;
    uint64_t window_ns;          /* when the window of BUDGET_WINDOW_NS began */
    uint32_t begun, before;      /* RPCs in it, and in the one before */
};
#define BUDGET_SHARE      200    /* each RPC begun gives a fifth of a retry ... */
#define BUDGET_PER_SECOND 10000  /* ... and each second ten: what ten seconds gave is the most that is saved up */
#define BUDGET_WINDOW_NS  10000000000ull
#define BUDGET_SAVED      (10 * BUDGET_PER_SECOND)

/* RPCs that wait for an endpoint of a cluster: the oldest first. */
struct proxy_queue {
    struct base_list rpcs;
    struct base_list link; /* in proxy.thronged; empty: it is not */
    uint32_t count;
    uint32_t full;         /* READY endpoints of it that are in proxy.full */
};

/* A slot whose streams are all taken: the picker passes it over until one is free (RFC 9113 section 5.1.2: not more streams than the backend allows). */
struct proxy_full {
    struct base_list link; /* in proxy.full */
    uint16_t cluster;
};
#define FULL_MARKS 16 /* found full by one try; the rest is found by the next */
#define FULL_LOOKS 32 /* looked at again in one proxy_dispatch() */

/* What grpc.health.v1 tells of: a cluster, or the gateway. */
struct proxy_service {
    struct base_list watches; /* RPCs that have been told `state` */
    uint64_t version;         /* of the cluster whose name this is */
    uint32_t name;            /* hashed; 0: the id has no cluster */
    uint8_t state;            /* when it was looked at last */
};
#define SERVICE_NONE UINT16_MAX
#define WATCH_NS     4000000ull /* states are looked at so often, while there are watches */
#define WATCH_LOOKS  128        /* watches that are told of a change in one proxy_dispatch() */

#define FORWARDED_MAX 1024 /* a longer value stays, and the client's address follows in a field of its own */

struct proxy {
    struct pool *pool;
    struct picker *picker;
    struct mailbox *mailbox;
    struct stats *stats;
    uint32_t worker;
    struct base_slab rpcs;
    struct base_wheel wheel;
    struct base_headers fields; /* what goes out, while it is put together */
    uint8_t forwarded[FORWARDED_MAX]; /* the value of x-forwarded-for in it */
    char timeout[GRPC_TIMEOUT_TEXT];  /* that of grpc-timeout */
    struct sessions *sessions;
    struct base_slab replays[2]; /* small, large */
    uint32_t replay_packets;
    struct base_list fresh;            /* RPCs to be tried at the end of this turn */
    struct base_list thronged;         /* clusters where RPCs wait for an endpoint */
    struct base_list full;             /* slots without a free stream, the one that was looked at last behind the others */
    uint32_t full_count;
    struct proxy_queue *cluster_queue; /* by id; touched when first used */
    struct proxy_full *slot_full;      /* by slot; likewise */
    struct proxy_budget *budget;       /* by cluster */
    struct proxy_service *services;    /* by cluster id; behind them the gateway's own */
    struct base_list behind;           /* watches whose service has changed, or may have */
    struct base_list nameless;         /* those that have been told SERVICE_UNKNOWN */
    struct base_list deaf;             /* those that have not read what they were told last */
    uint32_t watch_count;              /* in all of these lists */
    uint64_t watch_ns;                 /* when services are looked at again */
    uint64_t watch_generation;         /* that their names are of */
    uint64_t draws;                    /* jitter */
    char attempts[12];                 /* the value of grpc-previous-rpc-attempts in `fields` */
    struct base_slab access;    /* records of RPCs that run */
    uint32_t access_skipped;    /* RPCs since the last that was recorded */
};

static inline uint32_t replay_space(const struct proxy_replay *r)
{
    return (r->large ? REPLAY_LARGE : REPLAY_SMALL) - (uint32_t)sizeof(*r);
}

static inline uint32_t replay_limit(const struct proxy_replay *r)
{
    return r->policy.attempts > 0 ? REPLAY_POLICY : REPLAY_KEPT;
}

/* NULL: there is none. */
static inline const struct snapshot_cluster *proxy_cluster(const struct snapshot *s, uint32_t id)
{
    const struct snapshot_cluster *c = s != NULL && id < s->cluster_count ? s->cluster[id] : NULL;
    return c != NULL && c->present ? c : NULL;
}

/* replay.c */
/* False: no record. */
bool replay_begin(struct proxy *p, struct proxy_rpc *rpc, const struct base_headers *h);
/* For DATA alone, HEALTH_REQUEST_MAX octets of which lie in one piece: its fields are not asked for. */
bool replay_begin_body(struct proxy *p, struct proxy_rpc *rpc);
void replay_drop(struct proxy *p, struct proxy_rpc *rpc); /* harmless where there is none */
/* False: no buffer; the record is short of these bytes. */
bool replay_add(struct proxy *p, struct proxy_rpc *rpc, const uint8_t *data, uint32_t n);
bool replay_trailers(struct proxy *p, struct proxy_rpc *rpc, const struct base_headers *h);
/* The fields as they are to be sent now: grpc-timeout says what is left.  They hold until the next call. */
const struct base_headers *replay_fields(struct proxy *p, const struct proxy_rpc *rpc, uint64_t now);
bool replay_has_body(const struct proxy_rpc *rpc);
/* DATA and trailers so far, on rpc->up.  False: no buffer. */
bool replay_send(struct proxy *p, const struct proxy_rpc *rpc);
/* Before rpc->up goes: how much of it the client has been credited. */
void replay_unsent(struct proxy_rpc *rpc);

/* wait.c */
enum proxy_try { TRY_STARTED, TRY_NOBODY, TRY_REFUSED, TRY_TOO_LARGE };
/* A pick and a stream.  h: the fields, for a first try; NULL: from the record. */
enum proxy_try proxy_try(struct proxy *p, struct proxy_rpc *rpc, const struct base_headers *h, uint64_t now);
/* TRY_TOO_LARGE, told. */
void proxy_too_large(struct proxy *p, struct proxy_rpc *rpc, uint64_t now);
/* The one timer: when its patience, its back-off or its deadline ends. */
void proxy_arm(struct proxy *p, struct proxy_rpc *rpc, uint64_t at_ns);
/* It is tried at the end of this turn.  It has a record. */
void proxy_again(struct proxy *p, struct proxy_rpc *rpc);
/* It waits no longer; harmless where it does not. */
void proxy_unwait(struct proxy *p, struct proxy_rpc *rpc, enum stats_wait outcome);
/* Endpoints of this cluster are READY, and all streams of some of them are taken. */
static inline bool proxy_crowded(const struct proxy *p, uint32_t cluster)
{
    return p->cluster_queue[cluster].full > 0;
}
/* WAITS_ENDPOINT, and its patience has ended. */
void proxy_impatient(struct proxy *p, struct proxy_rpc *rpc, uint64_t now);

/* grpc-status codes (grpc/statuscodes.md). */
enum grpc_code {
    GRPC_OK, GRPC_CANCELLED, GRPC_UNKNOWN, GRPC_INVALID_ARGUMENT, GRPC_DEADLINE_EXCEEDED, GRPC_NOT_FOUND, GRPC_ALREADY_EXISTS,
    GRPC_PERMISSION_DENIED, GRPC_RESOURCE_EXHAUSTED, GRPC_FAILED_PRECONDITION, GRPC_ABORTED, GRPC_OUT_OF_RANGE, GRPC_UNIMPLEMENTED,
    GRPC_INTERNAL, GRPC_UNAVAILABLE, GRPC_DATA_LOSS, GRPC_UNAUTHENTICATED
};

/* retry.c */
/* Nothing can have come of it where it was: it is let go there, and tried elsewhere at the end of this turn.  False: it may not be, or cannot. */
bool proxy_retell(struct proxy *p, struct proxy_rpc *rpc, enum stats_retry kind, uint64_t now);

/* An attempt has failed with this status: the policy is asked.  pushback: grpc-retry-pushback-ms, or NULL.  True: it will be tried again. */
bool proxy_retry(struct proxy *p, struct proxy_rpc *rpc, enum grpc_code code, const struct base_header *pushback, uint64_t now);
/* What the policy of this method is: the record keeps it. */
void proxy_policy(struct proxy *p, struct proxy_rpc *rpc, const struct snapshot_cluster *c, const struct snapshot_method *m, uint64_t now);
/* For the budgets: an RPC that the cluster's throttle knows has succeeded. */
void proxy_succeeded(struct proxy *p, uint32_t cluster);

/* grpc.c: pure functions of the wire. */
bool grpc_is_content_type(const struct base_header *h);
/* Of those: gRPC-Web, whose status is in the body behind a 200. */
bool grpc_is_web(const struct base_header *h);
/* Of a response without grpc-status: what clients make of its :status (grpc/doc/http-grpc-status-mapping.md). */
enum grpc_code grpc_status_of_http(const struct base_header *status);
/* RFC-like grammar of PROTOCOL-HTTP2: 1-8 digits and a unit.  False: malformed, treated as absent. */
bool grpc_timeout_parse(const struct base_header *h, uint64_t *ns);
/* At most 8 digits and a unit, rounded down, at least 1n. Returns the length. */
uint32_t grpc_timeout_format(uint64_t ns, char out[GRPC_TIMEOUT_TEXT]);
enum grpc_code grpc_status_parse(const struct base_header *h); /* NULL: UNKNOWN */
/* "HTTP2 error codes" table of PROTOCOL-HTTP2. */
enum grpc_code grpc_status_of_reset(uint32_t code);
/* For grpc-message. */
const char *grpc_reset_words(uint32_t code);
/* HTTP status for a client that does not speak gRPC. */
unsigned grpc_http_status(enum stats_reason reason);

/* answer.c */
/* Ends the RPC towards the client with an answer of our own: trailers-only, trailers, or a plain HTTP status. The up stream, if any, has been dealt
 * with.  The RPC is dead afterwards. */
void proxy_answer(struct proxy *p, struct proxy_rpc *rpc, enum grpc_code code, enum stats_reason reason, const char *message, uint64_t now);

/* Nothing of it has left, and there is no room for it: RST_STREAM REFUSED_STREAM, which is safe to retry.  The RPC is dead afterwards. */
void proxy_refuse(struct proxy *p, struct proxy_rpc *rpc, uint64_t now);

/* A response that is not gRPC's was cut short: so is the client's. */
void proxy_pass_reset(struct proxy *p, struct proxy_rpc *rpc, enum http2_error code, uint64_t now);

/* forwarded.c: the request's fields with the client's address in x-forwarded-for; they hold until the next call. */
const struct base_headers *proxy_forwarded(struct proxy *p, struct session *down, const struct base_headers *h);

/* health.c */
#define HEALTH_REQUEST_MAX 512
static_assert(HEALTH_REQUEST_MAX <= REPLAY_LARGE - sizeof(struct proxy_replay), "no part of it in a packet");
bool proxy_is_health(const struct base_header *path);
void proxy_health_begin(struct proxy *p, const struct snapshot *s, struct proxy_rpc *rpc, const struct base_headers *h, uint64_t now);
void proxy_health_data(struct proxy *p, const struct snapshot *s, struct proxy_rpc *rpc, const struct http2_event *ev, uint64_t now);
void proxy_health_create(struct proxy *p, struct base_arena *arena);
/* Tells watches what has changed. There are some. */
void proxy_health_turn(struct proxy *p, const struct snapshot *s, uint64_t now);

/* timeout.c: the same fields with grpc-timeout = left; they hold until the next call.  h may be p->fields. */
const struct base_headers *proxy_timeout(struct proxy *p, const struct base_headers *h, uint64_t left_ns);

/* access.c */
#define PROXY_ACCESS_MAX 16384 /* RPCs that are recorded at once, a worker */
/* This RPC is to be recorded, if there is room; its request's fields are here. */
void proxy_access_begin(struct proxy *p, struct proxy_rpc *rpc, const struct base_headers *h);
/* The outcome is known: the record goes up. */
void proxy_access_end(struct proxy *p, struct proxy_rpc *rpc, enum grpc_code code, uint64_t now);

/* rpc.c */
void rpc_settle(struct proxy *p, struct proxy_rpc *rpc, enum grpc_code code, uint64_t now);
/* The backend's stream is reset, or let go of; the picker learns the outcome.  Harmless where there is none. */
void rpc_drop_up(struct proxy *p, struct proxy_rpc *rpc, enum http2_error code, enum picker_outcome outcome, uint64_t now);
void rpc_release_up(struct proxy *p, struct proxy_rpc *rpc, enum picker_outcome outcome, uint64_t now);
/* A pick is taken, or given back. */
void rpc_bind(struct proxy *p, struct proxy_rpc *rpc, uint32_t slot);
void rpc_unbind(struct proxy *p, struct proxy_rpc *rpc, enum picker_outcome outcome, uint64_t now);
void rpc_free(struct proxy *p, struct proxy_rpc *rpc);

#endif
