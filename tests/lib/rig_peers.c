/* Clients and backends of the rig: what they send follows the call's script, what they see is checked and noted. */
#include "rig_internal.h"

enum { REQUEST, RESPONSE };

static uint8_t byte_of(const struct rig_call *c, int direction, uint32_t at)
{
    return (uint8_t)(c->id * 31 + (unsigned)direction * 101 + at + (at >> 8) * 7);
}

static void fill(const struct rig_call *c, int direction, uint32_t at, uint8_t *out, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = c->script.body != NULL ? c->script.body[at + i] : byte_of(c, direction, at + i);
}

static bool same(const struct rig_call *c, int direction, uint32_t at, const uint8_t *in, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (in[i] != byte_of(c, direction, at + i))
            return false;
    return true;
}

/* -- fields ------------------------------------------------------------------------------------- */

#define META_FIELD 900

static void add_other(struct base_headers *h, const char *name, const void *value, size_t n)
{
    struct base_header *f = &h->field[h->count++];
    *f = (struct base_header){.name = (const uint8_t *)name, .name_len = (uint32_t)strlen(name), .value = value, .value_len = (uint32_t)n};
    h->size += f->name_len + f->value_len + 32;
}

static void add_metadata(struct base_headers *h, uint32_t n)
{
    static uint8_t text[META_FIELD];
    for (uint32_t i = 0; i < META_FIELD; i++)
        text[i] = (uint8_t)("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"[(i * 7 + i / 36) % 36]);
    for (; n > 0 && h->count < 100; n -= n < META_FIELD ? n : META_FIELD)
        add_other(h, "x-filling", text, n < META_FIELD ? n : META_FIELD);
}

static uint32_t metadata_of(const struct base_headers *h)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < h->count; i++)
        if (h->field[i].name_len == 9 && memcmp(h->field[i].name, "x-filling", 9) == 0)
            n += h->field[i].value_len;
    return n;
}

static int number(const struct base_header *f)
{
    int v = 0;
    for (uint32_t i = 0; f != NULL && i < f->value_len; i++)
        v = v * 10 + (f->value[i] - '0');
    return f != NULL ? v : -1;
}

static const struct base_header *find_other(const struct base_headers *h, const char *name)
{
    for (uint32_t i = 0; i < h->count; i++)
        if (h->field[i].name_len == strlen(name) && memcmp(h->field[i].name, name, h->field[i].name_len) == 0)
            return &h->field[i];
    return NULL;
}

/* -- the client's side ---------------------------------------------------------------------------- */

static void end(struct rig_call *c)
{
    c->ends++;
    if (c->ends > 1)
        rig_die("a call ended twice");
    c->ended_ns = c->rig->now;
}

static void let_go(struct rig_call *c, bool reset)
{
    struct session_stream *st = c->st;
    c->st = NULL;
    if (st == NULL)
        return;
    st->user = NULL;
    if (reset)
        session_reset(st, HTTP2_CANCEL);
    else
        session_release(st);
}

struct rig_call *rig_start(struct rig_host *client, const struct rig_script *s)
{
    struct rig *r = client->rig;
    if (r->call_count == RIG_CALLS)
        rig_die("too many calls");
    struct rig_call *c = calloc(1, sizeof(*c));
    if (c == NULL)
        abort();
    *c = (struct rig_call){.id = r->call_count, .script = *s, .rig = r, .client = client, .began_ns = r->now, .http_status = -1, .grpc_status = -1};
    c->cancel_at = s->cancel_ns != 0 ? r->now + s->cancel_ns : UINT64_MAX;
    r->call[r->call_count++] = c;
    r->active[r->active_count++] = c;
    return c;
}

static void open_call(struct rig_call *c)
{
    struct base_headers h = {0};
    char id[16];
    int n = snprintf(id, sizeof(id), "%u", c->id);
    const struct rig_script *s = &c->script;
    const char *path = s->path != NULL ? s->path : "/echo.Echo/Call", *authority = s->authority != NULL ? s->authority : "echo.test";
    base_headers_add(&h, BASE_HEADER_METHOD, "POST", 4);
    base_headers_add(&h, BASE_HEADER_SCHEME, "http", 4);
    base_headers_add(&h, BASE_HEADER_PATH, path, strlen(path));
    base_headers_add(&h, BASE_HEADER_AUTHORITY, authority, strlen(authority));
    const char *type = s->web ? "application/grpc-web+proto" : s->plain ? "text/plain" : "application/grpc";
    base_headers_add(&h, BASE_HEADER_CONTENT_TYPE, type, strlen(type));
    base_headers_add(&h, BASE_HEADER_TE, "trailers", 8);
    if (s->timeout != NULL)
        base_headers_add(&h, BASE_HEADER_GRPC_TIMEOUT, s->timeout, strlen(s->timeout));
    add_other(&h, "x-call", id, (size_t)n);
    add_metadata(&h, s->metadata);
    bool whole = s->request == 0 && !s->never_ends && !s->request_trailers;
    c->st = session_open(c->client->session, &h, whole, c);
    if (c->st == NULL)
        rig_die("a client is out of streams");
    c->opened = true;
    c->sent_end = whole;
}

void rig_cancel(struct rig_call *c)
{
    if (c->ends > 0)
        return;
    c->cancelled = true;
    end(c);
    let_go(c, true);
}

#define WAITING_MOST 32768

/* What a test peer has to send is held back here, so that it does not all lie in its session's queue. */
static void send_request(struct rig_call *c)
{
    uint8_t chunk[4096];
    while (c->sent < c->script.request && c->st->queued < WAITING_MOST) {
        uint32_t n = c->script.request - c->sent;
        n = n < sizeof(chunk) ? n : sizeof(chunk);
        fill(c, REQUEST, c->sent, chunk, n);
        bool last = c->sent + n == c->script.request && !c->script.never_ends && !c->script.request_trailers;
        if (!session_data(c->st, chunk, n, last))
            rig_die("a client is out of buffers");
        c->sent += n;
        c->sent_end = last;
    }
    if (c->sent == c->script.request && c->script.request_trailers && !c->sent_end) {
        struct base_headers h = {0};
        add_other(&h, "x-request-trailer", "1", 1);
        add_metadata(&h, c->script.trailer_metadata);
        if (!session_headers(c->st, &h, true))
            rig_die("a client is out of held blocks");
        c->sent_end = true;
    }
}

static void client_headers(struct rig_call *c, const struct http2_event *ev)
{
    int status = number(base_headers_find(ev->headers, BASE_HEADER_STATUS));
    if (status >= 100 && status < 200) {
        c->informational++;
        return;
    }
    if (status > 0) {
        c->http_status = status;
        c->headers = true;
    } else {
        c->trailers = true;
    }
    c->metadata += metadata_of(ev->headers);
    const struct base_header *grpc = base_headers_find(ev->headers, BASE_HEADER_GRPC_STATUS);
    const struct base_header *why = base_headers_find(ev->headers, BASE_HEADER_PENSTOCK_REASON);
    if (grpc != NULL)
        c->grpc_status = number(grpc);
    if (why != NULL && why->value_len < sizeof(c->reason))
        memcpy(c->reason, why->value, why->value_len);
}

static void credit(struct session_stream *st, uint32_t n)
{
    http2_stream_credit(st->h2, n);
    session_mark(st->session);
}

static void client_event(struct rig_call *c, const struct http2_event *ev)
{
    if (ev->type == HTTP2_EVENT_HEADERS)
        client_headers(c, ev);
    if (ev->type == HTTP2_EVENT_DATA) {
        if (c->script.body == NULL)
            c->bad_bytes |= !same(c, RESPONSE, c->got, ev->data, ev->len);
        else if (c->got + ev->len <= sizeof(c->answer))
            memcpy(c->answer + c->got, ev->data, ev->len);
        c->got += ev->len;
        if (!c->script.no_read)
            credit(c->st, ev->len);
    }
    if (ev->type == HTTP2_EVENT_RESET) {
        if (ev->local)
            rig_die("the gateway broke HTTP/2 on a client's stream");
        c->reset = true;
        c->reset_code = ev->code;
    }
    if (ev->type != HTTP2_EVENT_RESET && !ev->end_stream)
        return;
    end(c);
    let_go(c, false);
}

void rig_connect(struct rig_host *h)
{
    struct base_flow flow = {.local = h->addr, .remote = rig_gateway(h->rig)->addr, .remote_port = 50051};
    h->connected = false;
    h->session = session_connect(h->sessions, &flow, &h->h2, h->rig->now);
    if (h->session == NULL)
        rig_die("connect");
}

/* A session of a peer has ended: its calls, on this side, too. */
static void peer_end(struct rig_host *h, struct session *s, bool graceful)
{
    base_list_each_safe(l, &s->streams)
    {
        struct session_stream *st = base_container(l, struct session_stream, link);
        struct rig_call *c = st->user;
        if (c == NULL)
            continue;
        if (c->st == st) {
            c->lost = true;
            end(c);
            let_go(c, true);
        } else {
            c->up = NULL;
            c->up_done = true;
            h->open--;
            st->user = NULL;
        }
    }
    if (h->session == s) {
        h->session = NULL;
        h->connected = false;
    }
    session_destroy(s, graceful, h->rig->now);
}

void rig_disconnect(struct rig_host *h, bool graceful)
{
    if (h->session != NULL)
        peer_end(h, h->session, graceful);
}

/* -- the backend's side ------------------------------------------------------------------------------ */

void rig_listen(struct rig_host *b, bool on)
{
    if (on && !tcp_listen(b->tcp, &b->addr, 50051, 0))
        rig_die("listen");
    if (!on)
        tcp_unlisten(b->tcp, &b->addr, 50051);
}

void rig_kill(struct rig_host *b, bool graceful)
{
    for (int role = 0; role < 2; role++)
        base_list_each_safe(l, &b->sessions->all[role])
            peer_end(b, base_container(l, struct session, link), graceful);
    for (uint32_t i = 0; i < b->muted_count; i++)
        tcp_abort(b->muted[i], b->rig->now);
    b->muted_count = 0;
}

void rig_goaway(struct rig_host *b)
{
    base_list_each(l, &b->sessions->all[SESSION_DOWN])
    {
        struct session *s = base_container(l, struct session, link);
        http2_goaway(s->h2, http2_last_id(s->h2), HTTP2_NO_ERROR, "");
        session_mark(s);
    }
}

static void up_over(struct rig_call *c)
{
    if (!c->up_done)
        c->backend->open--;
    c->up_done = true;
}

static void up_let_go(struct rig_call *c, bool reset, enum http2_error code)
{
    struct session_stream *st = c->up;
    up_over(c);
    c->up = NULL;
    if (st == NULL)
        return;
    st->user = NULL;
    if (reset)
        session_reset(st, code);
    else
        session_release(st);
}

/* Never where the backend before may have run it. */
static void seen_again(struct rig_call *c)
{
    if (!c->up_refused && !c->script.may_run_again)
        rig_is(c, -2), rig_die("a call reached a backend twice");
    if (c->up != NULL)
        up_let_go(c, false, HTTP2_NO_ERROR);
    c->script.act = c->script.again;
    c->script.again = c->script.third;
    c->script.grpc_status = c->script.status_again;
    c->script.http_status = NULL;
    c->script.pushback = NULL;
    c->script.headers_first = false;
    c->up_refused = c->up_end = c->up_reset = c->up_headers_sent = c->up_done = c->up_trailers = false;
    c->up_got = c->up_sent = 0;
}

static uint64_t timeout_of(const struct base_header *f)
{
    static const char units[] = "numSMH";
    static const uint64_t ns[] = {1, 1000, 1000000, 1000000000, 60000000000, 3600000000000};
    if (f == NULL)
        return 0;
    uint64_t v = 0;
    for (uint32_t i = 0; i + 1 < f->value_len; i++)
        v = v * 10 + (uint64_t)(f->value[i] - '0');
    const char *unit = memchr(units, f->value[f->value_len - 1], 6);
    return unit == NULL ? 0 : v * ns[unit - units];
}

static void request_seen(struct rig_host *b, struct session_stream *st, const struct http2_event *ev)
{
    const struct base_header *id = find_other(ev->headers, "x-call");
    int n = number(id);
    if (n < 0 || (uint32_t)n >= b->rig->call_count)
        rig_die("a backend got a call that nobody made");
    struct rig_call *c = b->rig->call[n];
    if (c->up_seen)
        seen_again(c);
    c->up_times++;
    c->up_previous = number(base_headers_find(ev->headers, BASE_HEADER_GRPC_PREVIOUS_RPC_ATTEMPTS));
    c->backend = b;
    c->up = st;
    c->up_seen = true;
    c->up_metadata = metadata_of(ev->headers);
    c->up_timeout_ns = timeout_of(base_headers_find(ev->headers, BASE_HEADER_GRPC_TIMEOUT));
    c->up_order = b->calls++;
    b->open++;
    b->open_max = b->open > b->open_max ? b->open : b->open_max;
    st->user = c;
    c->up_due = c->script.early ? b->rig->now + c->script.delay_ns : UINT64_MAX;
}

static void up_send_headers(struct rig_call *c)
{
    struct base_headers h = {0};
    if (c->up_headers_sent)
        return;
    c->up_headers_sent = true;
    for (uint32_t i = 0; i < c->script.informational; i++) {
        h.count = h.size = 0;
        base_headers_add(&h, BASE_HEADER_STATUS, "103", 3);
        if (!session_headers(c->up, &h, false))
            rig_die("a backend is out of held blocks");
    }
    h.count = h.size = 0;
    bool grpc = !c->script.plain && !c->script.web && c->script.http_status == NULL;
    base_headers_add(&h, BASE_HEADER_STATUS, c->script.http_status != NULL ? c->script.http_status : "200", 3);
    base_headers_add(&h, BASE_HEADER_CONTENT_TYPE, grpc ? "application/grpc" : "text/plain", grpc ? 16 : 10);
    add_metadata(&h, c->script.metadata + c->script.response_metadata);
    if (!session_headers(c->up, &h, false))
        rig_die("a backend is out of held blocks");
}

static void up_send_data(struct rig_call *c, uint32_t upto, bool with_end)
{
    uint8_t chunk[4096];
    while (c->up_sent < upto && c->up->queued < WAITING_MOST) {
        uint32_t n = upto - c->up_sent;
        n = n < sizeof(chunk) ? n : sizeof(chunk);
        fill(c, RESPONSE, c->up_sent, chunk, n);
        if (!session_data(c->up, chunk, n, with_end && c->up_sent + n == upto))
            rig_die("a backend is out of buffers");
        c->up_sent += n;
    }
}

static void up_send_status(struct rig_call *c)
{
    struct base_headers h = {0};
    char text[4];
    int n = snprintf(text, sizeof(text), "%u", c->script.grpc_status);
    if (!c->up_headers_sent) {
        base_headers_add(&h, BASE_HEADER_STATUS, c->script.http_status != NULL ? c->script.http_status : "200", 3);
        base_headers_add(&h, BASE_HEADER_CONTENT_TYPE, "application/grpc", 16);
    }
    if (c->script.plain || c->script.web || c->script.http_status != NULL)
        add_other(&h, "x-plain", "1", 1);
    else
        base_headers_add(&h, BASE_HEADER_GRPC_STATUS, text, (size_t)n);
    if (c->script.pushback != NULL)
        base_headers_add(&h, BASE_HEADER_GRPC_RETRY_PUSHBACK_MS, c->script.pushback, strlen(c->script.pushback));
    if (!session_headers(c->up, &h, true))
        rig_die("a backend is out of held blocks");
    if (c->script.lingers) {
        c->up->user = NULL;
        c->up = NULL;
    }
    up_let_go(c, false, HTTP2_NO_ERROR);
}

static void up_goaway(struct rig_call *c, uint32_t last_id)
{
    struct session *s = c->up->session;
    http2_goaway(s->h2, last_id, HTTP2_NO_ERROR, "");
    session_mark(s);
}

/* GOAWAY that leaves out this stream and those above it: none of them has been looked at.  False: one has been answered, it is too late for that. */
static bool up_exclude(struct rig_call *c)
{
    struct session *s = c->up->session;
    uint32_t id = c->up->h2->id;
    base_list_each(l, &s->streams)
    {
        struct session_stream *st = base_container(l, struct session_stream, link);
        struct rig_call *other = st->user;
        if (st->h2->id >= id && (other == NULL || other->up_headers_sent))
            return false;
    }
    up_goaway(c, id > 2 ? id - 2 : 0);
    base_list_each_safe(l, &s->streams)
    {
        struct session_stream *st = base_container(l, struct session_stream, link);
        struct rig_call *other = st->user;
        if (st->h2->id < id)
            continue;
        other->up_refused = true;
        st->user = NULL; /* RST_STREAM would say more than GOAWAY */
        other->up = NULL;
        up_over(other);
    }
    return true;
}

static void up_act(struct rig_call *c)
{
    struct session *s = c->up->session;
    uint32_t response = c->script.response;
    switch (c->script.act) {
    case RIG_GOAWAY_ANSWER:
        if (!http2_goaway_sent(s->h2))
            up_goaway(c, http2_last_id(s->h2));
        /* fall through */
    case RIG_ANSWER:
        up_send_headers(c);
        up_send_data(c, response, false);
        if (c->up_sent == response)
            up_send_status(c);
        return;
    case RIG_ECHO:
        if (c->up_end)
            up_send_status(c);
        return;
    case RIG_TRAILERS_ONLY:
        up_send_status(c);
        return;
    case RIG_DATA_END:
        up_send_headers(c);
        up_send_data(c, response, true);
        if (c->up_sent == response)
            up_let_go(c, false, HTTP2_NO_ERROR);
        return;
    case RIG_RESET:
        c->up_refused = c->script.code == HTTP2_REFUSED_STREAM;
        up_let_go(c, true, c->script.code);
        return;
    case RIG_CLOSE:
    case RIG_ABORT:
        peer_end(c->backend, s, c->script.act == RIG_CLOSE);
        return;
    case RIG_GOAWAY:
        if (!up_exclude(c))
            c->script.act = RIG_ANSWER;
        return;
    default:
        return;
    }
}

static void backend_event(struct rig_call *c, const struct http2_event *ev)
{
    struct rig *r = c->rig;
    if (ev->type == HTTP2_EVENT_RESET) {
        if (ev->local)
            rig_die("the gateway broke HTTP/2 on a backend's stream");
        c->up_reset = true;
        c->up_reset_code = ev->code;
        up_let_go(c, false, HTTP2_NO_ERROR);
        return;
    }
    if (ev->type == HTTP2_EVENT_HEADERS && ev->trailers)
        c->up_trailers = true;
    if (ev->type == HTTP2_EVENT_DATA) {
        c->up_bad_bytes |= !same(c, REQUEST, c->up_got, ev->data, ev->len);
        c->up_got += ev->len;
        if (!c->script.no_credit)
            credit(c->up, ev->len);
    }
    if (c->script.act == RIG_ECHO)
        up_send_headers(c);
    if (c->script.headers_first && c->up != NULL) {
        up_send_headers(c);
        up_send_data(c, c->script.partial, false);
    }
    if (ev->end_stream) {
        c->up_end = true;
        if (c->up_due == UINT64_MAX)
            c->up_due = r->now + c->script.delay_ns;
    }
}

/* -- both ------------------------------------------------------------------------------------------ */

/* False: the session is gone. */
static bool read_session(struct rig_host *h, struct session *s)
{
    struct http2_event ev;
    struct session_stream *st;
    while (session_next(s, &ev, &st)) {
        if (ev.type == HTTP2_EVENT_FATAL) {
            fprintf(stderr, "rig: %.*s\n", (int)ev.len, (const char *)ev.data);
            rig_die("the gateway broke HTTP/2");
        }
        if (ev.type == HTTP2_EVENT_SETTINGS) {
            h->connected = true;
            s->list_most = UINT32_MAX; /* what the gateway says of that is for the gateway to hold */
            if (h->goaway_at_once && s->role == SESSION_DOWN) {
                http2_goaway(s->h2, 0, HTTP2_NO_ERROR, "");
                session_mark(s);
            }
            if (h->hangs_up && s->role == SESSION_DOWN) {
                sessions_flush(h->sessions);
                peer_end(h, s, true);
                return false;
            }
        }
        if (ev.type == HTTP2_EVENT_HEADERS && ev.opened)
            request_seen(h, st, &ev);
        if (ev.type == HTTP2_EVENT_GOAWAY) {
            h->goaway_last[h->goaways++ % 4] = ev.last_id;
            h->goaway_code = ev.code;
            snprintf(h->goaway_debug, sizeof(h->goaway_debug), "%.*s", (int)ev.len, (const char *)ev.data);
        }
        struct rig_call *c = st != NULL ? st->user : NULL;
        if (c == NULL) {
            if (ev.type == HTTP2_EVENT_RESET && st != NULL)
                session_release(st);
            continue;
        }
        if (s->role == SESSION_UP)
            client_event(c, &ev);
        else
            backend_event(c, &ev);
    }
    return true;
}

static void accepted(struct rig_host *h, struct tcp_conn *conn)
{
    h->accepted++;
    if (h->mute && h->muted_count < 64) {
        h->muted[h->muted_count++] = conn;
        tcp_conn_user_set(conn, NULL);
        return;
    }
    if (session_create(h->sessions, transport_of_tcp(conn), SESSION_DOWN, &h->h2, h->rig->now) == NULL)
        rig_die("a backend is out of sessions");
}

static void muted_read(struct rig_host *h, struct tcp_conn *conn)
{
    const uint8_t *in;
    for (size_t n; h->raw != NULL && (n = tcp_read_peek(conn, &in)) > 0; tcp_read_consume(conn, n))
        h->raw(h, conn, in, n);
}

static void muted_closed(struct rig_host *h, struct tcp_conn *conn)
{
    for (uint32_t i = 0; i < h->muted_count; i++)
        if (h->muted[i] == conn) {
            if (h->raw != NULL)
                h->raw(h, conn, NULL, 0);
            h->muted[i] = h->muted[--h->muted_count];
            tcp_abort(conn, h->rig->now);
            return;
        }
}

static void take_events(struct rig_host *h)
{
    struct tcp_event ev;
    while (tcp_next_event(h->tcp, &ev)) {
        if (ev.events & TCP_EVENT_ACCEPTED)
            accepted(h, ev.conn);
        struct session *s = tcp_conn_user(ev.conn);
        if (s == NULL) {
            muted_read(h, ev.conn);
            if (ev.events & (TCP_EVENT_CLOSED | TCP_EVENT_FIN))
                muted_closed(h, ev.conn);
            continue;
        }
        if (ev.events & (TCP_EVENT_WRITABLE | TCP_EVENT_CONNECTED))
            session_writable(s);
        if (ev.events & (TCP_EVENT_READABLE | TCP_EVENT_FIN | TCP_EVENT_CLOSED) && !h->deaf &&
            !read_session(h, s))
            continue;
        if (ev.events & (TCP_EVENT_FIN | TCP_EVENT_CLOSED))
            peer_end(h, s, !(ev.events & TCP_EVENT_CLOSED));
    }
}

static void client_turn(struct rig_call *c)
{
    if (c->ends > 0)
        return;
    if (!c->opened && c->client->connected && c->client->session != NULL)
        open_call(c);
    if (c->st != NULL && !c->sent_end)
        send_request(c);
    if (c->rig->now >= c->cancel_at)
        rig_cancel(c);
}

static void backend_turn(struct rig_call *c)
{
    if (c->up == NULL)
        return;
    if (c->script.act == RIG_ECHO && c->up_headers_sent)
        up_send_data(c, c->up_got, false);
    if (c->rig->now >= c->up_due && c->up != NULL && (c->script.act != RIG_ECHO || c->up_sent == c->up_got))
        up_act(c);
}

void rig_peer_turn(struct rig_host *h)
{
    struct rig *r = h->rig;
    tcp_tick(h->tcp, r->now);
    take_events(h);
    if (!h->deaf)
        for (int role = 0; role < 2; role++)
            base_list_each_safe(l, &h->sessions->all[role])
                read_session(h, base_container(l, struct session, link));
    uint32_t kept = 0;
    for (uint32_t i = 0; i < r->active_count; i++) {
        struct rig_call *c = r->active[i];
        if (c->client == h)
            client_turn(c);
        if (c->backend == h)
            backend_turn(c);
        if (c->ends == 0 || c->up != NULL || (!c->up_seen && c->opened && c->client->rig->now < c->ended_ns + 100 * RIG_MS))
            r->active[kept++] = c;
    }
    r->active_count = kept;
    sessions_flush(h->sessions);
    sessions_reclaim(h->sessions, false);
    for (struct session *s; (s = sessions_broken_next(h->sessions)) != NULL;)
        peer_end(h, s, false);
}

bool rig_is(const struct rig_call *c, int grpc_status)
{
    bool right = c->ends == 1 && !c->reset && !c->lost && !c->bad_bytes && !c->up_bad_bytes && c->grpc_status == grpc_status;
    if (!right)
        fprintf(stderr, "call %u: ends %u, headers %d, trailers %d, http %d, grpc %d (%s), reset %d (%u), lost %d, got %u, bad %d/%d; up: seen %d, got %u, end %d, reset %d (%u), done %d, there %d, sent %u, headers %d, in %ld ms; client %u, backend %u\n",
                c->id, c->ends, c->headers, c->trailers, c->http_status, c->grpc_status, c->reason, c->reset, c->reset_code, c->lost, c->got, c->bad_bytes,
                c->up_bad_bytes, c->up_seen, c->up_got, c->up_end, c->up_reset, c->up_reset_code, c->up_done, c->up != NULL, c->up_sent, c->up_headers_sent, c->up_due == UINT64_MAX ? -1 : (long)(c->up_due - c->rig->now) / 1000000,
                c->client->index, c->backend != NULL ? c->backend->index : 0);
    return right;
}
