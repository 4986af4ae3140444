/* Sessions and streams: their life, and what arrives. */
#include "internal.h"

static const uint32_t held_classes[2] = {1024, 8192};

static uint32_t held_largest(const struct sessions_config *c)
{
    return (uint32_t)(sizeof(struct session_held) + BASE_HEADERS_MAX * sizeof(struct base_header) + c->max_header_list_size);
}

static uint32_t held_count(const struct sessions_config *c, int class)
{
    static const uint32_t divisor[3] = {1, 16, 256};
    uint32_t n = c->streams / divisor[class];
    return n < 64 ? 64 : n;
}

static size_t scratch_size(const struct sessions_config *c)
{
    /* HPACK never makes a field longer than its name, its value and two length prefixes; 9 bytes a CONTINUATION. */
    return c->max_header_list_size + BASE_HEADERS_MAX * 16 + 4096;
}

size_t sessions_footprint(const struct sessions_config *c)
{
    size_t n = base_align(sizeof(struct sessions)) + base_align(scratch_size(c));
    n += base_slab_footprint(sizeof(struct session), c->sessions);
    n += base_slab_footprint(sizeof(struct session_stream), c->streams);
    n += base_slab_footprint(held_classes[0], held_count(c, 0));
    n += base_slab_footprint(held_classes[1], held_count(c, 1));
    n += base_slab_footprint(held_largest(c), held_count(c, 2));
    return n;
}

/* A quarter of what the buffers hold. */
static uint32_t window_budget(const struct packet_pool *pool)
{
    uint64_t n = (uint64_t)packet_pool_size(pool) * PACKET_ROOM / 4;
    return n < INT32_MAX ? (uint32_t)n : INT32_MAX;
}

struct sessions *sessions_create(struct base_arena *arena, const struct sessions_config *c, struct http2 *http2, struct tcp *tcp,
                                 struct packet_pool *pool, struct stats *stats)
{
    struct sessions *ss = base_arena_take(arena, sizeof(*ss));
    ss->http2 = http2;
    ss->tcp = tcp;
    ss->pool = pool;
    ss->stats = stats;
    ss->scratch_size = scratch_size(c);
    ss->scratch = base_arena_take(arena, ss->scratch_size);
    base_slab_init(&ss->session_slab, arena, "session", sizeof(struct session), c->sessions);
    base_slab_init(&ss->stream_slab, arena, "stream", sizeof(struct session_stream), c->streams);
    static const char *const names[3] = {"held_1k", "held_8k", "held_max"};
    for (int i = 0; i < 3; i++) {
        ss->held_size[i] = i < 2 ? held_classes[i] : held_largest(c);
        base_slab_init(&ss->held_slab[i], arena, names[i], ss->held_size[i], held_count(c, i));
        stats_object_add(stats, names[i], &ss->held_slab[i].in_use, ss->held_slab[i].capacity);
    }
    stats_object_add(stats, "session", &ss->session_slab.in_use, c->sessions);
    stats_object_add(stats, "session_stream", &ss->stream_slab.in_use, c->streams);
    base_list_init(&ss->dirty);
    base_list_init(&ss->retry);
    base_list_init(&ss->broken);
    base_list_init(&ss->aged);
    base_list_init(&ss->lowered);
    base_list_init(&ss->postponed);
    base_list_init(&ss->lingering);
    ss->high_water = c->high_water;
    ss->window_most = c->stream_window;
    ss->window_budget = c->window_budget != 0 ? c->window_budget : window_budget(pool);
    stats_object_add(stats, "stream_window_bytes", &ss->window_used, ss->window_budget);
    ss->seed = c->seed;
    base_wheel_init(&ss->wheel, 0);
    base_list_init(&ss->all[SESSION_DOWN]);
    base_list_init(&ss->all[SESSION_UP]);
    return ss;
}

struct session *session_create(struct sessions *ss, struct transport transport, enum session_role role, const struct http2_config *config,
                               uint64_t now)
{
    struct session *s = base_slab_alloc(&ss->session_slab);
    if (s == NULL) {
        stats_drop(ss->stats, STATS_DROP_SESSION_FULL);
        transport_abort(&transport, now);
        return NULL;
    }
    *s = (struct session){.transport = transport, .home = ss, .role = (uint8_t)role};
    life_begin(s, now);
    s->list_most = UINT32_MAX;
    s->h2 = http2_conn_create(ss->http2, config, s);
    if (s->h2 == NULL) {
        stats_drop(ss->stats, STATS_DROP_SESSION_FULL);
        transport_abort(&transport, now);
        base_slab_free(&ss->session_slab, s);
        return NULL;
    }
    base_list_init(&s->dirty);
    base_list_init(&s->ready);
    base_list_init(&s->blocked);
    base_list_init(&s->starved);
    base_list_init(&s->waiting);
    base_list_init(&s->streams);
    base_list_init(&s->age);
    base_list_init(&s->low);
    base_list_init(&s->later);
    base_list_push_back(&ss->all[role], &s->link);
    __atomic_store_n(&ss->count[role], ss->count[role] + 1, __ATOMIC_RELAXED);
    transport_user_set(&s->transport, s);
    session_mark(s);
    return s;
}

struct session *session_connect(struct sessions *ss, const struct base_flow *flow, const struct http2_config *config, uint64_t now)
{
    struct transport t = transport_connect(ss->tcp, flow, now);
    return t.kind != TRANSPORT_NONE ? session_create(ss, t, SESSION_UP, config, now) : NULL;
}

const struct base_flow *session_flow(const struct session *s)
{
    return transport_flow(&s->transport);
}

void session_destroy(struct session *s, bool graceful, uint64_t now)
{
    struct sessions *ss = s->home;
    for (struct base_list *l; (l = base_list_pop_front(&s->streams)) != NULL;) {
        struct session_stream *st = base_container(l, struct session_stream, link);
        assert(st->user == NULL);
        stream_free(st);
    }
    if (s->consume > 0 && s->transport.kind != TRANSPORT_NONE)
        transport_consume(&s->transport, s->consume);
    base_list_remove(&s->dirty);
    base_list_remove(&s->link);
    base_list_remove(&s->age);
    base_list_remove(&s->low);
    base_list_remove(&s->later);
    __atomic_store_n(&ss->count[s->role], ss->count[s->role] - 1, __ATOMIC_RELAXED);
    /* A client that was told to go may have sent what crosses with that, and does not read its last answers behind a reset. */
    if (graceful && s->role == SESSION_DOWN && (http2_ended(s->h2) || (s->closing && s->gently))) {
        write_control(s);
        http2_conn_destroy(s->h2);
        life_linger(s, now);
        return;
    }
    if (graceful && (!s->broken || s->gently)) {
        write_control(s);
        /* Bytes left unread would make the close a reset (RFC 2525 section 2.17), and that the GOAWAY unread. */
        const uint8_t *in;
        for (size_t n; (n = transport_peek(&s->transport, &in)) > 0;)
            transport_consume(&s->transport, n);
        transport_close(&s->transport, now);
    } else {
        transport_abort(&s->transport, now);
    }
    life_over(s);
    http2_conn_destroy(s->h2);
    base_slab_free(&ss->session_slab, s);
}

void session_break(struct session *s)
{
    if (s->broken)
        return;
    s->broken = true;
    base_list_remove(&s->dirty);
    base_list_push_back(&s->home->broken, &s->dirty);
}

void session_abandon(struct session *s)
{
    session_break(s);
}

struct session *sessions_broken_next(struct sessions *ss)
{
    struct base_list *l = base_list_pop_front(&ss->broken);
    return l != NULL ? base_container(l, struct session, dirty) : NULL;
}

static struct session_stream *stream_create(struct session *s, void *user)
{
    struct session_stream *st = base_slab_alloc(&s->home->stream_slab);
    if (st == NULL) {
        stats_drop(s->home->stats, STATS_DROP_STREAM_FULL);
        return NULL;
    }
    *st = (struct session_stream){.session = s, .user = user};
    base_list_init(&st->queue);
    base_list_push_back(&s->streams, &st->link);
    s->stream_count++;
    return st;
}

static void stream_part(struct session_stream *st)
{
    if (st->feeder != NULL)
        st->feeder->fed = NULL;
    if (st->fed != NULL)
        st->fed->feeder = NULL;
    st->feeder = st->fed = NULL;
}

/* Everything of the stream but the HTTP/2 stream itself. */
void stream_free(struct session_stream *st)
{
    struct session *s = st->session;
    stream_part(st);
    queue_drop(st);
    while (st->headers != NULL)
        held_drop(s->home, &st->headers);
    if (st->trailers != NULL)
        held_free(s->home, st->trailers);
    if (st->h2 != NULL) {
        st->h2->user = NULL;
        window_used_add(s->home, -st->h2->recv_extra);
    }
    base_list_remove(&st->queue);
    s->waiting_count -= st->waits;
    base_list_remove(&st->link);
    if (--s->stream_count == 0)
        s->idle_since_ns = s->home->now_ns;
    base_slab_free(&s->home->stream_slab, st);
}

/* Nothing is left to send and nobody listens. */
void stream_finish(struct session_stream *st)
{
    struct session *s = st->session;
    struct http2_stream *h2 = st->h2;
    stream_free(st);
    if (h2 == NULL)
        return;
    if (!http2_stream_closed(h2)) {
        http2_stream_reset(h2, HTTP2_NO_ERROR); /* towards a backend as gRPC's clients do: it has answered, and nobody has cancelled */
        session_mark(s);
    }
    http2_stream_release(h2);
    if (s->closing || !base_list_empty(&s->waiting)) /* a stream number has become free */
        session_mark(s);
}

struct session_stream *session_open(struct session *s, const struct base_headers *h, bool end, void *user)
{
    struct session_stream *st = session_takes(s, h) ? stream_create(s, user) : NULL;
    if (st == NULL)
        return NULL;
    if (base_list_empty(&s->waiting) && write_headers(st, h, end)) {
        st->ended = end;
        return st;
    }
    st->headers = held_create(s->home, h, end);
    if (st->headers == NULL) {
        stream_free(st);
        return NULL;
    }
    st->end = end;
    base_list_push_back(&s->waiting, &st->queue);
    st->waits = true;
    s->waiting_count++;
    session_mark(s);
    return st;
}

void session_join(struct session_stream *from, struct session_stream *to)
{
    from->fed = to;
    to->feeder = from;
}

void session_reset(struct session_stream *st, enum http2_error code)
{
    struct session *s = st->session;
    struct http2_stream *h2 = st->h2;
    st->user = NULL;
    stream_free(st);
    if (h2 != NULL) {
        if (!http2_stream_closed(h2))
            http2_stream_reset(h2, code);
        http2_stream_release(h2);
    }
    session_mark(s);
}

void session_release(struct session_stream *st)
{
    st->user = NULL;
    stream_part(st);
    bool pending = st->headers != NULL || st->trailers != NULL || st->head != NULL || (st->end && !st->ended);
    /* A backend that has answered may never give the window for the rest of a request. */
    if (pending && st->session->role == SESSION_DOWN && !(st->h2 != NULL && st->h2->reset))
        st->released = true;
    else
        stream_finish(st);
}

static void unblock(struct session *s, struct session_stream *st)
{
    if (st != NULL) {
        base_list_remove(&st->queue);
        base_list_push_back(&s->ready, &st->queue);
    } else {
        base_list_splice_back(&s->ready, &s->blocked);
    }
}

/* What session keeps to itself of an event. True: the user is to see it. */
static bool take_event(struct session *s, struct http2_event *ev, struct session_stream **out)
{
    struct session_stream *st = ev->stream != NULL ? ev->stream->user : NULL;
    *out = st;
    switch (ev->type) {
    case HTTP2_EVENT_NONE:
        return false;
    case HTTP2_EVENT_PING:
        life_pinged(s);
        return false;
    case HTTP2_EVENT_PING_ACK:
        life_ping_answered(s, ev->opaque);
        return false;
    case HTTP2_EVENT_WINDOW:
        if (ev->stream != NULL && st != NULL && !base_list_empty(&st->queue))
            unblock(s, st);
        session_mark(s);
        return false;
    case HTTP2_EVENT_SETTINGS:
        unblock(s, NULL);
        s->list_most = http2_peer_header_list(s->h2);
        session_mark(s);
        return true;
    case HTTP2_EVENT_FULL:
        session_scarce(s);
        return false;
    case HTTP2_EVENT_UNSENT:
        life_unsent(s);
        return false;
    case HTTP2_EVENT_HEADERS:
        if (!ev->opened)
            return st != NULL && !st->released;
        *out = st = NULL;
        if (!overload_refuses(s) && (*out = st = stream_create(s, NULL)) == NULL)
            session_scarce(s);
        if (st == NULL) {
            http2_stream_reset(ev->stream, HTTP2_REFUSED_STREAM);
            http2_stream_release(ev->stream);
            return false;
        }
        st->h2 = ev->stream;
        ev->stream->user = st;
        return true;
    case HTTP2_EVENT_DATA:
        if (http2_conn_credit(s->h2, ev->flow))
            window_conn_due(s);
        if (st == NULL || st->released)
            return false;
        if (ev->flow > ev->len)
            http2_stream_credit(ev->stream, ev->flow - ev->len);
        return true;
    case HTTP2_EVENT_RESET:
        if (st == NULL) {
            http2_stream_release(ev->stream);
            return false;
        }
        if (st->released) {
            stream_finish(st);
            return false;
        }
        if (s->role == SESSION_DOWN) /* role up: the user may ask how much has not left */
            queue_drop(st);
        return true;
    case HTTP2_EVENT_GOAWAY:
    case HTTP2_EVENT_FATAL:
        return true;
    }
    return false;
}

/* What is left to be read of the range that begins at *in, behind what events have used of it.  Given back to the transport a range at a time:
 * a segment often holds several frames. */
static size_t unread(struct session *s, const uint8_t **in)
{
    size_t n = transport_peek(&s->transport, in);
    if (s->consume > 0 && (s->broken || s->consume >= n)) {
        transport_consume(&s->transport, s->consume);
        s->consume = 0;
        n = s->broken ? 0 : transport_peek(&s->transport, in);
    }
    return s->broken ? 0 : n - s->consume;
}

void session_expect(const struct session *later, const struct session *next)
{
    if (later != NULL)
        for (uint32_t line = 0; line < 4; line++)
            __builtin_prefetch((const uint8_t *)later + line * BASE_CACHE_LINE, 1);
    if (next != NULL && next->h2 != NULL) /* one that lingers has none */
        http2_expect(next->h2);
}

void session_expect_out(const struct session *s)
{
    http2_expect_out(s->h2);
    transport_expect_out(&s->transport);
}

bool session_next(struct session *s, struct http2_event *ev, struct session_stream **stream)
{
    const uint8_t *in;
    for (size_t n; (n = unread(s, &in)) > 0;) {
        size_t used = http2_input(s->h2, in + s->consume, n, ev);
        s->heard_ns = s->home->now_ns;
        s->consume += (uint32_t)used;
        stats_count(s->home->stats, s->role == SESSION_DOWN ? STATS_DOWN_BYTES_IN : STATS_UP_BYTES_IN, used);
        bool tell = take_event(s, ev, stream);
        if (http2_control_pending(s->h2))
            session_mark(s);
        if (http2_output_due(s->h2))
            write_control(s); /* a queue of answers is full: a peer that reads shall not fail for having sent much at once */
        if (tell)
            return true;
    }
    life_block(s, s->broken ? 0 : http2_block_id(s->h2));
    return false;
}
