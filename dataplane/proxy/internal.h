/* What the files of proxy share. */
#ifndef PROXY_INTERNAL_H
#define PROXY_INTERNAL_H

#include "proxy.h"

struct proxy_rpc {
    struct session_stream *down, *up; /* up NULL: none yet, or it has ended */
    uint64_t started_ns;
    uint64_t bytes; /* of response messages */
    struct base_timer deadline;
    struct mailbox_access *access; /* NULL: not recorded */
    uint32_t slot, serial;
    uint16_t cluster, listener;
    bool grpc;          /* content-type application/grpc* */
    bool routed;        /* cluster is known, started was counted */
    bool bound;         /* slot is valid, the pool counts this stream */
    bool headers_sent;  /* response headers went down */
    bool settled;       /* outcome counted */
    bool request_ended; /* the client's END_STREAM was seen */
};

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
    struct base_slab access;    /* records of RPCs that run */
    uint32_t access_skipped;    /* RPCs since the last that was recorded */
};

/* grpc-status codes (grpc/statuscodes.md). */
enum grpc_code {
    GRPC_OK, GRPC_CANCELLED, GRPC_UNKNOWN, GRPC_INVALID_ARGUMENT, GRPC_DEADLINE_EXCEEDED, GRPC_NOT_FOUND, GRPC_ALREADY_EXISTS,
    GRPC_PERMISSION_DENIED, GRPC_RESOURCE_EXHAUSTED, GRPC_FAILED_PRECONDITION, GRPC_ABORTED, GRPC_OUT_OF_RANGE, GRPC_UNIMPLEMENTED,
    GRPC_INTERNAL, GRPC_UNAVAILABLE, GRPC_DATA_LOSS, GRPC_UNAUTHENTICATED
};

/* grpc.c: pure functions of the wire. */
bool grpc_is_content_type(const struct base_header *h);
/* RFC-like grammar of PROTOCOL-HTTP2: 1-8 digits and a unit.  False: malformed, treated as absent. */
bool grpc_timeout_parse(const struct base_header *h, uint64_t *ns);
enum grpc_code grpc_status_parse(const struct base_header *h); /* NULL: UNKNOWN */
/* "HTTP2 error codes" table of PROTOCOL-HTTP2. */
enum grpc_code grpc_status_of_reset(uint32_t code);
/* HTTP status for a client that does not speak gRPC. */
unsigned grpc_http_status(enum stats_reason reason);

/* answer.c */
/* Ends the RPC towards the client with an answer of our own: trailers-only, trailers, or a plain HTTP status. The up stream, if any, has been dealt
 * with.  The RPC is dead afterwards. */
void proxy_answer(struct proxy *p, struct proxy_rpc *rpc, enum grpc_code code, enum stats_reason reason, const char *message, uint64_t now);

/* forwarded.c: the request's fields with the client's address in x-forwarded-for; they hold until the next call. */
const struct base_headers *proxy_forwarded(struct proxy *p, struct session *down, const struct base_headers *h);

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
void rpc_free(struct proxy *p, struct proxy_rpc *rpc);

#endif
