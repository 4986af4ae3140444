/* What flows: requests in, picks, responses out, and every way in which an RPC ends. */
#include "internal.h"

static struct proxy_rpc *rpc_create(struct proxy *p, struct session *session, struct session_stream *down, uint64_t now)
{
    struct proxy_rpc *rpc = base_slab_alloc(&p->rpcs);
    if (rpc == NULL) {
        stats_drop(p->stats, STATS_DROP_RPC_FULL);
        return NULL;
    }
    *rpc = (struct proxy_rpc){.down = down, .started_ns = now, .slot = UINT32_MAX, .listener = session->listener,
                              .deadline_ns = UINT64_MAX};
    base_timer_init(&rpc->deadline);
    base_list_init(&rpc->wait);
    down->user = rpc;
    return rpc;
}

/* :authority, or host where a client converts from HTTP/1.1 (RFC 9113 section 8.3.1). */
static const struct base_header *authority_of(const struct base_headers *h)
{
    const struct base_header *a = base_headers_find(h, BASE_HEADER_AUTHORITY);
    return a != NULL ? a : base_headers_find(h, BASE_HEADER_HOST);
}

static const struct snapshot_route *route(const struct snapshot *s, const struct session *session, const struct base_headers *h)
{
    const struct base_header *a = authority_of(h), *path = base_headers_find(h, BASE_HEADER_PATH);
    const struct snapshot_listener *l = s != NULL && session->listener < s->listener_count ? &s->listener[session->listener] : NULL;
    if (l == NULL || path == NULL)
        return NULL;
    struct router_request q = {.path = path->value, .path_len = path->value_len};
    if (a != NULL) {
        q.authority = a->value;
        q.authority_len = a->value_len;
    }
    return router_match(l, &q);
}

/* The earlier of what the client asked for (grpc-timeout) and the route's cap.  The backend is told where it is the cap. */
static const struct base_headers *arm_deadline(struct proxy *p, struct proxy_rpc *rpc, const struct base_headers *h, uint64_t cap_ns)
{
    uint64_t ns;
    if (!grpc_timeout_parse(base_headers_find(h, BASE_HEADER_GRPC_TIMEOUT), &ns))
        ns = UINT64_MAX;
    bool cap = cap_ns != 0 && cap_ns < ns;
    if (cap)
        ns = cap_ns;
    if (ns == UINT64_MAX)
        return h;
    rpc->deadline_ns = rpc->started_ns + ns;
    base_wheel_arm(&p->wheel, &rpc->deadline, rpc->deadline_ns);
    return cap && rpc->grpc ? proxy_timeout(p, h, ns) : h;
}

/* Nothing of it is on its way yet: sent now, or behind those that wait. */
static void begin(struct proxy *p, struct proxy_rpc *rpc, const struct base_headers *h, uint64_t now)
{
    bool behind = !base_list_empty(&p->thronged) && p->cluster_queue[rpc->cluster].count > 0;
    switch (behind ? TRY_NOBODY : proxy_try(p, rpc, h, now)) {
    case TRY_NOBODY:
        if (replay_begin(p, rpc, h)) {
            proxy_again(p, rpc);
            return;
        }
        proxy_answer(p, rpc, GRPC_UNAVAILABLE, STATS_REASON_NO_READY_ENDPOINT, "no endpoint of this cluster is ready", now);
        return;
    case TRY_REFUSED:
        proxy_answer(p, rpc, GRPC_UNAVAILABLE, STATS_REASON_OVERLOAD, "the gateway is out of streams or buffers", now);
        return;
    case TRY_STARTED:
    case TRY_WAITS:
        return;
    }
}

static void start(struct proxy *p, const struct snapshot *s, struct proxy_rpc *rpc, struct session *session, const struct http2_event *ev,
                  uint64_t now)
{
    const struct base_headers *h = ev->headers;
    const struct base_header *type = base_headers_find(h, BASE_HEADER_CONTENT_TYPE);
    rpc->grpc = grpc_is_content_type(type) || (ev->too_large && type == NULL); /* not among what fitted: most likely it was gRPC's */
    rpc->request_ended = ev->end_stream;
    if (s != NULL && s->access_every != 0 && ++p->access_skipped >= s->access_every) {
        p->access_skipped = 0;
        proxy_access_begin(p, rpc, h);
    }
    if (ev->too_large) {
        proxy_answer(p, rpc, GRPC_RESOURCE_EXHAUSTED, STATS_REASON_HEADERS_TOO_LARGE,
                     "the request's header list is larger than this listener's max_header_list_size", now);
        return;
    }
    const struct snapshot_route *r = route(s, session, h);
    if (r == NULL) {
        proxy_answer(p, rpc, GRPC_UNIMPLEMENTED, STATS_REASON_NO_ROUTE, "no route for this authority and path", now);
        return;
    }
    rpc->cluster = r->cluster;
    rpc->routed = true;
    stats_add(&p->stats->clusters[r->cluster].started[session->listener % STATS_LISTENERS], 1);
    h = arm_deadline(p, rpc, h, r->timeout_ns);
    if (s->listener[session->listener].forwarded)
        h = proxy_forwarded(p, session, h);
    begin(p, rpc, h, now);
}

/* Out of buffers in the middle of an RPC: both sides are told. */
static void overload(struct proxy *p, struct proxy_rpc *rpc, uint64_t now)
{
    rpc_drop_up(p, rpc, HTTP2_CANCEL, PICKER_CANCELLED, now);
    proxy_answer(p, rpc, GRPC_UNAVAILABLE, STATS_REASON_OVERLOAD, "the gateway is out of buffers", now);
}

/* The client is gone or has cancelled. */
static void cancel(struct proxy *p, struct proxy_rpc *rpc, bool stream_alive, uint64_t now)
{
    rpc_settle(p, rpc, GRPC_CANCELLED, now);
    rpc_drop_up(p, rpc, HTTP2_CANCEL, PICKER_CANCELLED, now);
    struct session_stream *down = rpc->down;
    rpc->down = NULL;
    down->user = NULL;
    if (stream_alive)
        session_reset(down, HTTP2_CANCEL);
    else
        session_release(down);
    rpc_free(p, rpc);
}

static void down_goes_on(struct proxy *p, struct proxy_rpc *rpc, const struct http2_event *ev, uint64_t now)
{
    rpc->request_ended |= ev->end_stream;
    bool ok = true;
    if (rpc->access != NULL)
        rpc->access->bytes_up += ev->type == HTTP2_EVENT_DATA ? ev->len : 0;
    if (rpc->replay != NULL)
        ok = ev->type == HTTP2_EVENT_DATA ? replay_add(p, rpc, ev->data, ev->len) : replay_trailers(p, rpc, ev->headers);
    if (rpc->up != NULL && ev->type == HTTP2_EVENT_DATA)
        ok = session_data(rpc->up, ev->data, ev->len, ev->end_stream);
    else if (rpc->up != NULL)
        ok = session_headers(rpc->up, ev->headers, ev->end_stream);
    if (!ok)
        overload(p, rpc, now);
}

void proxy_down_event(struct proxy *p, const struct snapshot *s, struct session *session, struct session_stream *st,
                      const struct http2_event *ev, uint64_t now)
{
    struct proxy_rpc *rpc = st != NULL ? st->user : NULL;
    switch (ev->type) {
    case HTTP2_EVENT_HEADERS:
        if (ev->opened) {
            rpc = rpc_create(p, session, st, now);
            if (rpc == NULL)
                session_reset(st, HTTP2_REFUSED_STREAM);
            else
                start(p, s, rpc, session, ev, now);
            return;
        }
        if (rpc != NULL && (rpc->up != NULL || rpc->phase != RPC_RUNS))
            down_goes_on(p, rpc, ev, now);
        return;
    case HTTP2_EVENT_DATA:
        if (rpc != NULL && (rpc->up != NULL || rpc->phase != RPC_RUNS))
            down_goes_on(p, rpc, ev, now);
        return;
    case HTTP2_EVENT_RESET:
        if (rpc != NULL)
            cancel(p, rpc, false, now);
        else
            session_release(st);
        return;
    default:
        return;
    }
}

/* The response is whole: both streams go their way, what is queued included. */
static void finish(struct proxy *p, struct proxy_rpc *rpc, enum grpc_code code, uint64_t now)
{
    rpc_settle(p, rpc, code, now);
    rpc_release_up(p, rpc, PICKER_OK, now);
    struct session_stream *down = rpc->down;
    rpc->down = NULL;
    session_release(down);
    rpc_free(p, rpc);
}

static bool informational(const struct base_headers *h)
{
    const struct base_header *st = base_headers_find(h, BASE_HEADER_STATUS);
    return st != NULL && st->value_len == 3 && st->value[0] == '1';
}

static void response_headers(struct proxy *p, struct proxy_rpc *rpc, const struct http2_event *ev, uint64_t now)
{
    if (!session_headers(rpc->down, ev->headers, ev->end_stream)) {
        overload(p, rpc, now);
        return;
    }
    rpc->headers_sent |= !informational(ev->headers);
    if (!ev->end_stream)
        return;
    const struct base_header *status = base_headers_find(ev->headers, BASE_HEADER_GRPC_STATUS);
    finish(p, rpc, rpc->grpc || status != NULL ? grpc_status_parse(status) : GRPC_OK, now);
}

static void up_reset(struct proxy *p, struct proxy_rpc *rpc, const struct http2_event *ev, uint64_t now)
{
    rpc_release_up(p, rpc, PICKER_FAILED, now);
    proxy_answer(p, rpc, grpc_status_of_reset(ev->code), ev->local ? STATS_REASON_UPSTREAM_PROTOCOL : STATS_REASON_UPSTREAM_RESET,
         ev->local ? "the backend broke HTTP/2 on this stream" : "the backend reset the stream", now);
}

/* Streams above last_id were not processed (RFC 9113 section 6.8). */
static void up_goaway(struct proxy *p, struct session *session, uint32_t last_id, uint64_t now)
{
    base_list_each_safe(l, &session->streams)
    {
        struct session_stream *st = base_container(l, struct session_stream, link);
        struct proxy_rpc *rpc = st->user;
        if (rpc == NULL || (st->h2 != NULL && st->h2->id <= last_id))
            continue;
        rpc_drop_up(p, rpc, HTTP2_CANCEL, PICKER_FAILED, now);
        proxy_answer(p, rpc, GRPC_UNAVAILABLE, STATS_REASON_UPSTREAM_RESET, "the backend is going away and did not process this call", now);
    }
}

void proxy_up_event(struct proxy *p, struct session *session, struct session_stream *st, const struct http2_event *ev, uint64_t now)
{
    struct proxy_rpc *rpc = st != NULL ? st->user : NULL;
    if (ev->type == HTTP2_EVENT_GOAWAY) {
        up_goaway(p, session, ev->last_id, now);
        return;
    }
    if (st == NULL)
        return;
    if (rpc == NULL) {
        if (ev->type == HTTP2_EVENT_RESET)
            session_release(st);
        return;
    }
    switch (ev->type) {
    case HTTP2_EVENT_HEADERS:
        if (ev->too_large) {
            rpc_drop_up(p, rpc, HTTP2_CANCEL, PICKER_FAILED, now);
            proxy_answer(p, rpc, GRPC_RESOURCE_EXHAUSTED, STATS_REASON_HEADERS_TOO_LARGE, "the backend's header list is too large", now);
        } else {
            response_headers(p, rpc, ev, now);
        }
        return;
    case HTTP2_EVENT_DATA:
        rpc->bytes += ev->len;
        if (!session_data(rpc->down, ev->data, ev->len, ev->end_stream))
            overload(p, rpc, now);
        else if (ev->end_stream)
            finish(p, rpc, rpc->grpc ? GRPC_UNKNOWN : GRPC_OK, now);
        return;
    case HTTP2_EVENT_RESET:
        up_reset(p, rpc, ev, now);
        return;
    default:
        return;
    }
}

void proxy_session_lost(struct proxy *p, struct session *session, uint64_t now)
{
    uint32_t failed = 0;
    base_list_each_safe(l, &session->streams)
    {
        struct session_stream *st = base_container(l, struct session_stream, link);
        struct proxy_rpc *rpc = st->user;
        if (rpc == NULL)
            continue;
        if (session->role == SESSION_DOWN) {
            cancel(p, rpc, true, now);
            continue;
        }
        failed++;
        rpc_drop_up(p, rpc, HTTP2_CANCEL, PICKER_FAILED, now);
        proxy_answer(p, rpc, GRPC_UNAVAILABLE, STATS_REASON_UPSTREAM_LOST, "the connection to the backend was lost", now);
    }
    if (session->role == SESSION_UP) {
        char text[BASE_ENDPOINT_TEXT];
        const char *to = base_endpoint_format(pool_address(p->pool, session->slot), text);
        if (http2_settings_received(session->h2))
            mailbox_log(p->mailbox, now, failed > 0 ? 1 : 2, "connection to backend %s lost, %u streams in flight", to, failed);
        else
            mailbox_log(p->mailbox, now, 3, "no connection to backend %s", to);
    }
}

void proxy_tick(struct proxy *p, uint64_t now)
{
    for (struct base_timer *t; (t = base_wheel_expire(&p->wheel, now)) != NULL;) {
        struct proxy_rpc *rpc = base_container(t, struct proxy_rpc, deadline);
        if (rpc->phase == RPC_WAITS_ENDPOINT && now < rpc->deadline_ns) {
            proxy_impatient(p, rpc, now);
            continue;
        }
        rpc_drop_up(p, rpc, HTTP2_CANCEL, PICKER_FAILED, now);
        proxy_answer(p, rpc, GRPC_DEADLINE_EXCEEDED, STATS_REASON_DEADLINE, "the deadline passed at the gateway", now);
    }
}
