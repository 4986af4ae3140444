/* What flows: requests in, picks, responses out, and every way in which an RPC ends. */
#include "internal.h"

static struct proxy_rpc *rpc_create(struct proxy *p, struct session *session, struct session_stream *down, uint64_t now)
{
    struct proxy_rpc *rpc = base_slab_alloc(&p->rpcs);
    if (rpc == NULL) {
        stats_drop(p->stats, STATS_DROP_RPC_FULL);
        session_scarce(session);
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

static bool health_wanted(const struct snapshot *s, const struct session *session)
{
    return s != NULL && session->listener < s->listener_count && s->listener[session->listener].health_service;
}

/* What a service config says of this RPC's method; NULL: nothing. */
static const struct snapshot_method *method(const struct snapshot_cluster *c, const struct base_headers *h)
{
    const struct base_header *path = base_headers_find(h, BASE_HEADER_PATH);
    for (uint32_t i = 0; i < c->method_count; i++) {
        const struct snapshot_method *m = &c->methods[i];
        if (m->match == SNAPSHOT_ANY)
            return m;
        if ((m->match == SNAPSHOT_EXACT ? path->value_len == m->path_len : path->value_len >= m->path_len) && memcmp(path->value, m->path, m->path_len) == 0)
            return m;
    }
    return NULL;
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
static void begin(struct proxy *p, struct proxy_rpc *rpc, const struct snapshot_cluster *c, const struct snapshot_method *m, const struct base_headers *h,
                  uint64_t now)
{
    bool behind = !base_list_empty(&p->thronged) && p->cluster_queue[rpc->cluster].count > 0, kept = replay_begin(p, rpc, h);
    if (c != NULL && (c->method_count | c->throttle_max) != 0)
        proxy_policy(p, rpc, c, m, now);
    switch (behind ? TRY_NOBODY : proxy_try(p, rpc, h, now)) {
    case TRY_NOBODY:
        if (kept) {
            proxy_again(p, rpc);
            return;
        }
        if (proxy_crowded(p, rpc->cluster))
            proxy_refuse(p, rpc, now);
        else
            proxy_answer(p, rpc, GRPC_UNAVAILABLE, STATS_REASON_NO_READY_ENDPOINT, "no endpoint of this cluster is ready", now);
        return;
    case TRY_REFUSED:
        proxy_refuse(p, rpc, now);
        return;
    case TRY_TOO_LARGE:
        proxy_too_large(p, rpc, now);
        return;
    case TRY_STARTED:
        return;
    }
}

static void start(struct proxy *p, const struct snapshot *s, struct proxy_rpc *rpc, struct session *session, const struct http2_event *ev,
                  uint64_t now)
{
    const struct base_headers *h = ev->headers;
    const struct base_header *type = base_headers_find(h, BASE_HEADER_CONTENT_TYPE);
    rpc->web = grpc_is_web(type);
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
    /* "/" names no path. */
    if ((r == NULL || r->path_match == SNAPSHOT_ANY) && rpc->grpc && health_wanted(s, session) && proxy_is_health(base_headers_find(h, BASE_HEADER_PATH))) {
        arm_deadline(p, rpc, h, 0);
        proxy_health_begin(p, s, rpc, h, now);
        return;
    }
    if (r == NULL) {
        proxy_answer(p, rpc, GRPC_UNIMPLEMENTED, STATS_REASON_NO_ROUTE, "no route for this authority and path", now);
        return;
    }
    rpc->cluster = r->cluster;
    rpc->routed = true;
    stats_add(&p->stats->clusters[r->cluster].started[session->listener % STATS_LISTENERS], 1);
    const struct snapshot_cluster *c = r->cluster < s->cluster_count ? s->cluster[r->cluster] : NULL;
    const struct snapshot_method *m = c != NULL && c->method_count > 0 ? method(c, h) : NULL;
    h = arm_deadline(p, rpc, h, m != NULL && m->timeout_ns != 0 && (r->timeout_ns == 0 || m->timeout_ns < r->timeout_ns) ? m->timeout_ns : r->timeout_ns);
    if (s->listener[session->listener].forwarded)
        h = proxy_forwarded(p, session, h);
    begin(p, rpc, c, m, h, now);
}

/* Out of buffers in the middle of an RPC, or fields that `to` does not take: both sides are told. */
static void unsendable(struct proxy *p, struct proxy_rpc *rpc, const struct session *to, const struct http2_event *ev, uint64_t now)
{
    bool large = ev->type == HTTP2_EVENT_HEADERS && !session_takes(to, ev->headers);
    const char *words = to->role == SESSION_UP ? "the request's trailers are larger than the backend takes" : "the response's header list is larger than the client takes";
    rpc_drop_up(p, rpc, HTTP2_CANCEL, PICKER_CANCELLED, now);
    if (large)
        proxy_answer(p, rpc, GRPC_RESOURCE_EXHAUSTED, STATS_REASON_HEADERS_TOO_LARGE, words, now);
    else
        proxy_answer(p, rpc, GRPC_UNAVAILABLE, STATS_REASON_OVERLOAD, "the gateway is out of buffers", now);
}

/* The client is gone or has cancelled.  code: what the backend is told; gRPC's clients have one word for it (PROTOCOL-HTTP2, "Errors"). */
static void cancel(struct proxy *p, struct proxy_rpc *rpc, bool stream_alive, enum http2_error code, uint64_t now)
{
    rpc_settle(p, rpc, GRPC_CANCELLED, now);
    rpc_drop_up(p, rpc, rpc->grpc ? HTTP2_CANCEL : code, PICKER_CANCELLED, now);
    struct session_stream *down = rpc->down;
    rpc->down = NULL;
    down->user = NULL;
    if (stream_alive)
        session_reset(down, HTTP2_CANCEL);
    else
        session_release(down);
    rpc_free(p, rpc);
}

/* False: no buffer for what has to be kept. What runs goes on without its record. */
static bool keep(struct proxy *p, struct proxy_rpc *rpc, const struct http2_event *ev)
{
    bool kept = rpc->up == NULL || ev->type != HTTP2_EVENT_DATA || rpc->replay->bytes + ev->len <= replay_limit(rpc->replay);
    if (kept)
        kept = ev->type == HTTP2_EVENT_DATA ? replay_add(p, rpc, ev->data, ev->len) : replay_trailers(p, rpc, ev->headers);
    if (kept || rpc->up == NULL)
        return kept;
    replay_drop(p, rpc);
    return true;
}

static void down_goes_on(struct proxy *p, const struct snapshot *s, struct proxy_rpc *rpc, const struct http2_event *ev, uint64_t now)
{
    if (ev->type == HTTP2_EVENT_HEADERS && ev->too_large) { /* what is here of them is not all: nobody is to take it for that */
        rpc_drop_up(p, rpc, HTTP2_CANCEL, PICKER_CANCELLED, now);
        proxy_answer(p, rpc, GRPC_RESOURCE_EXHAUSTED, STATS_REASON_HEADERS_TOO_LARGE, "the request's trailers are larger than this listener's max_header_list_size", now);
        return;
    }
    if (rpc->phase == RPC_HEALTH) {
        proxy_health_data(p, s, rpc, ev, now);
        return;
    }
    rpc->request_ended |= ev->end_stream;
    bool ok = true;
    if (rpc->access != NULL)
        rpc->access->bytes_up += ev->type == HTTP2_EVENT_DATA ? ev->len : 0;
    if (rpc->replay != NULL)
        ok = keep(p, rpc, ev);
    if (rpc->up != NULL && ev->type == HTTP2_EVENT_DATA)
        ok = session_data(rpc->up, ev->data, ev->len, ev->end_stream);
    else if (rpc->up != NULL)
        ok = session_headers(rpc->up, ev->headers, ev->end_stream);
    if (!ok && !rpc->begun)
        proxy_refuse(p, rpc, now);
    else if (!ok)
        unsendable(p, rpc, rpc->up != NULL ? rpc->up->session : rpc->down->session, ev, now);
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
            down_goes_on(p, s, rpc, ev, now);
        return;
    case HTTP2_EVENT_DATA:
        if (rpc != NULL && (rpc->up != NULL || rpc->phase != RPC_RUNS))
            down_goes_on(p, s, rpc, ev, now);
        return;
    case HTTP2_EVENT_RESET:
        if (rpc != NULL)
            cancel(p, rpc, false, ev->local ? HTTP2_CANCEL : (enum http2_error)ev->code, now);
        else
            session_release(st);
        return;
    default:
        return;
    }
}

void proxy_too_large(struct proxy *p, struct proxy_rpc *rpc, uint64_t now)
{
    proxy_answer(p, rpc, GRPC_RESOURCE_EXHAUSTED, STATS_REASON_HEADERS_TOO_LARGE, "the request's header list is larger than the backend takes", now);
}

/* The response is whole: both streams go their way, what is queued included. */
static void finish(struct proxy *p, struct proxy_rpc *rpc, enum grpc_code code, uint64_t now)
{
    if (code == GRPC_OK && p->budget[rpc->cluster].max != 0)
        proxy_succeeded(p, rpc->cluster);
    rpc_settle(p, rpc, code, now);
    rpc_release_up(p, rpc, PICKER_OK, now);
    struct session_stream *down = rpc->down;
    rpc->down = NULL;
    session_release(down);
    rpc_free(p, rpc);
}

/* What the client makes of a response that ends with these fields. */
static enum grpc_code status_of(const struct proxy_rpc *rpc, const struct base_headers *h)
{
    const struct base_header *status = base_headers_find(h, BASE_HEADER_GRPC_STATUS);
    return status != NULL ? grpc_status_parse(status) : (enum grpc_code)rpc->unsaid;
}

/* Trailers-only, or something else than 200 that no gRPC server says, with a status that the retry policy names. */
static bool refused_by_status(struct proxy *p, struct proxy_rpc *rpc, const struct http2_event *ev, bool not_grpc, uint64_t now)
{
    if ((!ev->end_stream && !not_grpc) || rpc->replay == NULL || rpc->replay->policy.attempts == 0 || !rpc->grpc)
        return false;
    enum grpc_code code = status_of(rpc, ev->headers);
    return code != GRPC_OK && proxy_retry(p, rpc, code, base_headers_find(ev->headers, BASE_HEADER_GRPC_RETRY_PUSHBACK_MS), now);
}

static bool ok(const struct base_header *http_status)
{
    return memcmp(http_status->value, "200", 3) == 0;
}

static void response_headers(struct proxy *p, struct proxy_rpc *rpc, const struct http2_event *ev, uint64_t now)
{
    const struct base_header *http = ev->trailers ? NULL : base_headers_find(ev->headers, BASE_HEADER_STATUS);
    bool final = http != NULL && http->value[0] != '1';
    if (final)
        rpc->unsaid = (uint8_t)(!rpc->grpc ? GRPC_OK : !ok(http) ? grpc_status_of_http(http) : rpc->web ? GRPC_OK : GRPC_UNKNOWN);
    if (refused_by_status(p, rpc, ev, final && !ok(http), now))
        return;
    if (!session_headers(rpc->down, ev->headers, ev->end_stream)) {
        unsendable(p, rpc, rpc->down->session, ev, now);
        return;
    }
    if (!rpc->headers_sent && final) {
        rpc->headers_sent = true;
        replay_drop(p, rpc); /* whatever becomes of it now, it has been looked at */
    }
    if (ev->end_stream)
        finish(p, rpc, status_of(rpc, ev->headers), now);
}

static void up_reset(struct proxy *p, struct proxy_rpc *rpc, const struct http2_event *ev, uint64_t now)
{
    if (ev->code == HTTP2_REFUSED_STREAM && !ev->local && proxy_retell(p, rpc, STATS_RETRY_REFUSED, now))
        return;
    if (proxy_retry(p, rpc, grpc_status_of_reset(ev->code), NULL, now))
        return;
    rpc_release_up(p, rpc, PICKER_FAILED, now);
    if (proxy_rpc_bare(rpc) && !ev->local) { /* nobody to translate for */
        proxy_pass_reset(p, rpc, (enum http2_error)ev->code, now);
        return;
    }
    proxy_answer(p, rpc, grpc_status_of_reset(ev->code), ev->local ? STATS_REASON_UPSTREAM_PROTOCOL : STATS_REASON_UPSTREAM_RESET,
         ev->local ? "the backend broke HTTP/2 on this stream" : grpc_reset_words(ev->code), now);
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
        if (proxy_retell(p, rpc, session_unsent(st) ? STATS_RETRY_UNSENT : STATS_RETRY_GOAWAY, now))
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
            unsendable(p, rpc, rpc->down->session, ev, now);
        else if (ev->end_stream)
            finish(p, rpc, (enum grpc_code)rpc->unsaid, now);
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
            cancel(p, rpc, true, HTTP2_CANCEL, now);
            continue;
        }
        if (session_unsent(st) && proxy_retell(p, rpc, STATS_RETRY_UNSENT, now))
            continue;
        if (proxy_retry(p, rpc, GRPC_UNAVAILABLE, NULL, now))
            continue;
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
        if (rpc->phase == RPC_BACKS_OFF && now < rpc->deadline_ns) {
            proxy_unwait(p, rpc, STATS_WAIT_STARTED);
            proxy_arm(p, rpc, UINT64_MAX);
            proxy_again(p, rpc);
            continue;
        }
        rpc_drop_up(p, rpc, HTTP2_CANCEL, PICKER_FAILED, now);
        proxy_answer(p, rpc, GRPC_DEADLINE_EXCEEDED, STATS_REASON_DEADLINE, "the deadline passed at the gateway", now);
    }
}
