/* Answers of our own. */
#include "internal.h"

static unsigned decimal(unsigned v, char out[4])
{
    unsigned n = v >= 100 ? 3 : v >= 10 ? 2 : 1;
    for (unsigned i = n; i-- > 0; v /= 10)
        out[i] = (char)('0' + v % 10);
    return n;
}

void proxy_answer(struct proxy *p, struct proxy_rpc *rpc, enum grpc_code code, enum stats_reason reason, const char *message, uint64_t now)
{
    struct base_headers *h = &p->fields;
    char status[4], grpc[4];
    const char *why = stats_reason_labels[reason];
    h->count = h->size = 0;
    bool cut = proxy_rpc_bare(rpc); /* a body without gRPC's trailers, cut short, must not look whole */
    enum http2_error refusal = cut || rpc->begun ? HTTP2_INTERNAL_ERROR : HTTP2_REFUSED_STREAM; /* the latter: nobody has seen it */
    if (!rpc->headers_sent) {
        unsigned n = decimal(rpc->grpc ? 200 : grpc_http_status(reason), status);
        base_headers_add(h, BASE_HEADER_STATUS, status, n);
        if (rpc->grpc)
            base_headers_add(h, BASE_HEADER_CONTENT_TYPE, "application/grpc", 16);
        else
            base_headers_add(h, BASE_HEADER_CONTENT_LENGTH, "0", 1);
    }
    if (rpc->grpc) {
        base_headers_add(h, BASE_HEADER_GRPC_STATUS, grpc, decimal(code, grpc));
        base_headers_add(h, BASE_HEADER_GRPC_MESSAGE, message, strlen(message));
    }
    base_headers_add(h, BASE_HEADER_PENSTOCK_REASON, why, strlen(why));
    if (rpc->routed)
        stats_add(&p->stats->clusters[rpc->cluster].pick_failures[reason], 1);
    if (rpc->access != NULL)
        rpc->access->reason = (uint8_t)(reason + 1);
    rpc_settle(p, rpc, code, now);
    struct session_stream *down = rpc->down;
    rpc->down = NULL;
    down->user = NULL;
    if (!cut && session_headers(down, h, true))
        session_release(down);
    else
        session_reset(down, refusal);
    rpc_free(p, rpc);
}

static void reset(struct proxy *p, struct proxy_rpc *rpc, enum stats_reason reason, enum grpc_code status, enum http2_error code, uint64_t now)
{
    if (rpc->routed)
        stats_add(&p->stats->clusters[rpc->cluster].pick_failures[reason], 1);
    if (rpc->access != NULL)
        rpc->access->reason = (uint8_t)(reason + 1);
    rpc_settle(p, rpc, status, now);
    session_reset(rpc->down, code);
    rpc->down = NULL;
    rpc_free(p, rpc);
}

void proxy_refuse(struct proxy *p, struct proxy_rpc *rpc, uint64_t now)
{
    session_scarce(rpc->down->session);
    reset(p, rpc, STATS_REASON_OVERLOAD, GRPC_UNAVAILABLE, rpc->begun ? HTTP2_INTERNAL_ERROR : HTTP2_REFUSED_STREAM, now);
}

void proxy_pass_reset(struct proxy *p, struct proxy_rpc *rpc, enum http2_error code, uint64_t now)
{
    reset(p, rpc, STATS_REASON_UPSTREAM_RESET, grpc_status_of_reset(code), code, now);
}
