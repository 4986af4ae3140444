/* The other side of the wire: clients that call the gateway, and the backends that it calls, in one struct of each room.  Nothing here is
 * measured; everything is checked. */
#include "bench.h"

#include <stdlib.h>

static const uint8_t peer_mac[6] = {2, 0, 0, 0, 0, 1};

static struct base_addr address(const char *text)
{
    struct base_addr a;
    if (!base_addr_parse(text, &a))
        abort();
    return a;
}

static void *zeroed(size_t n)
{
    void *p = aligned_alloc(BASE_CACHE_LINE, base_align(n));
    if (p == NULL)
        abort();
    memset(p, 0, base_align(n));
    return p;
}

static void create_ip(struct peer *p, struct base_arena *a, const struct ip_config *ic, uint64_t now)
{
    struct ip_port_config pc = {.mtu = 1500, .addresses = 1, .address = {{address("198.18.0.1"), 24}}};
    memcpy(pc.mac, peer_mac, 6);
    p->ip = ip_create(a, ic, p->stats, p->pool, now);
    ip_configure(p->ip, 0, &pc, now);
}

static bool create_tcp(struct peer *p, struct base_arena *a, const struct tcp_config *tc, uint64_t now)
{
    struct base_addr us = address("198.18.0.1");
    p->tcp = tcp_create(a, tc, p->stats, p->pool, now);
    for (uint32_t i = 0; i < p->options.endpoints; i++)
        if (!tcp_listen(p->tcp, &us, (uint16_t)(BACKEND_PORT + i), i))
            return false;
    return true;
}

static void create_calls(struct peer *p, const struct options *o)
{
    uint64_t warm = o->endpoints + 4ull * o->connections * o->streams + 65536;
    p->calls = (struct calls){.size = o->size, .endpoints = o->endpoints, .headers = o->headers, .count = o->rpcs + warm};
    p->calls.seen = zeroed(p->calls.count);
    p->calls.by_backend = zeroed(o->endpoints * sizeof(uint64_t));
    p->clients = zeroed(o->connections * sizeof(struct client));
    p->message = zeroed(o->size + 64);
    uint32_t ends = 2 * o->connections * o->streams + 64;
    struct call *all = zeroed(ends * sizeof(struct call));
    for (uint32_t i = 0; i < ends; i++) {
        all[i].next = p->spare;
        p->spare = &all[i];
    }
    p->held_max = o->connections * o->streams;
    p->held = zeroed(p->held_max * sizeof(*p->held));
}

bool peer_create(struct peer *p, const struct options *o, struct link *link, uint64_t now)
{
    p->options = *o;
    p->link = link;
    uint32_t connections = o->connections + o->endpoints + 64, streams = 2 * o->connections * o->streams + 1024;
    struct ip_config ic;
    struct tcp_config tc;
    ip_config_defaults(&ic);
    ic.ports = 1;
    ic.key.k[0] = 0x1234567;
    tcp_config_defaults(&tc);
    tc.connections = connections;
    tc.timewait = 1024;
    tc.listeners = o->endpoints;
    tc.syn_backlog = connections;
    tc.mtu = 1500;
    tc.isn_key.k[0] = 0x89abcdef;
    struct http2_limits hl = {connections, streams, 256};
    struct sessions_config sc = {connections, streams, 16384, 0, 0};
    size_t bytes = stats_footprint(16, 16) + ip_footprint(&ic) + tcp_footprint(&tc) + http2_footprint(&hl) + sessions_footprint(&sc);
    char error[256];
    void *memory = port_arena_open(bytes, error, sizeof(error));
    if (memory == NULL)
        return false;
    struct base_arena a;
    base_arena_init(&a, memory, bytes);
    p->stats = stats_create(&a, 16, 16);
    create_ip(p, &a, &ic, now);
    if (!create_tcp(p, &a, &tc, now))
        return false;
    p->sessions = sessions_create(&a, &sc, http2_create(&a, &hl, p->stats), p->tcp, p->pool, p->stats);
    create_calls(p, o);
    return true;
}

static struct call *call_new(struct peer *p, struct client *client, uint64_t id)
{
    struct call *call = p->spare;
    if (call == NULL)
        abort();
    p->spare = call->next;
    *call = (struct call){.client = client, .id = id};
    return call;
}

static void call_end(struct peer *p, struct call *call)
{
    call->next = p->spare;
    p->spare = call;
}

void peer_connect(struct peer *p, uint32_t from, uint32_t to, uint64_t now)
{
    struct http2_config c;
    http2_config_defaults(&c, HTTP2_CLIENT);
    for (uint32_t i = from; i < to; i++) {
        struct base_flow flow = {.local = address("198.18.0.1"), .remote = address("198.18.0.2"), .remote_port = LISTENER_PORT};
        p->clients[i].session = session_connect(p->sessions, &flow, &c, now);
        if (p->clients[i].session == NULL)
            abort();
        p->clients[i].session->slot = i;
    }
}

/* ---- clients ---- */

static void begin(struct peer *p, struct client *client)
{
    struct calls *c = &p->calls;
    uint8_t text[CALL_TEXT];
    struct call *call = call_new(p, client, c->begun++);
    call_request_fields(c, call->id, text, &p->fields);
    struct session_stream *st = session_open(client->session, &p->fields, false, call);
    uint32_t n = call_message(c, call->id, CALL_REQUEST, p->message);
    if (st == NULL || !session_data(st, p->message, n, true))
        calls_wrong(c, "the generator is out of streams or buffers");
    client->open++;
}

static void begin_all(struct peer *p)
{
    for (uint32_t i = 0; i < p->options.connections; i++) {
        struct client *client = &p->clients[i];
        while (client->ready && client->open < p->limit && p->calls.begun < p->until && session_available(client->session) > 0)
            begin(p, client);
    }
}

static void answered(struct peer *p, struct call *call)
{
    struct calls *c = &p->calls;
    if (call->got != 5 + c->size)
        calls_wrong(c, "answer %llu: %u bytes of %u", (unsigned long long)call->id, call->got, 5 + c->size);
    if (c->seen[call->id] != 1)
        calls_wrong(c, "answer %llu: %s", (unsigned long long)call->id, c->seen[call->id] == 0 ? "no backend had it" : "twice");
    c->seen[call->id] = 2;
    c->answered++;
    call->client->open--;
}

static bool header_is(const struct base_headers *h, enum base_header_token token, const char *text)
{
    const struct base_header *f = base_headers_find(h, token);
    return f != NULL && base_header_value_is(f, text);
}

static void client_event(struct peer *p, struct session_stream *st, const struct http2_event *ev)
{
    struct call *call = st != NULL ? st->user : NULL;
    struct calls *c = &p->calls;
    if (ev->type == HTTP2_EVENT_FATAL || ev->type == HTTP2_EVENT_GOAWAY || ev->type == HTTP2_EVENT_RESET)
        calls_wrong(c, "a client got event %d, code %u", ev->type, ev->code);
    if (call == NULL)
        return;
    if (ev->type == HTTP2_EVENT_HEADERS && !(ev->trailers || ev->end_stream))
        call->status_good = header_is(ev->headers, BASE_HEADER_STATUS, "200");
    if (ev->type == HTTP2_EVENT_DATA && call_take(c, call, CALL_RESPONSE, ev->data, ev->len) && !ev->end_stream)
        http2_stream_credit(ev->stream, ev->len);
    if (!ev->end_stream)
        return;
    if (!call->status_good || ev->type != HTTP2_EVENT_HEADERS || !header_is(ev->headers, BASE_HEADER_GRPC_STATUS, "0"))
        calls_wrong(c, "answer %llu: its status is not 200 and 0", (unsigned long long)call->id);
    answered(p, call);
    session_release(st);
    call_end(p, call);
}

/* ---- backends ---- */

static void answer(struct peer *p, struct session_stream *st)
{
    struct call *call = st->user;
    call_response_fields(&p->fields);
    bool ok = session_headers(st, &p->fields, false);
    uint32_t n = call_message(&p->calls, call->id, CALL_RESPONSE, p->message);
    ok = ok && session_data(st, p->message, n, false);
    call_trailer_fields(&p->fields);
    if (!ok || !session_headers(st, &p->fields, true))
        calls_wrong(&p->calls, "the generator is out of buffers");
    session_release(st);
    call_end(p, call);
}

static void requested(struct peer *p, struct session_stream *st)
{
    struct call *call = st->user;
    struct calls *c = &p->calls;
    if (call->id >= c->count || call->got != 5 + c->size || c->seen[call->id] != 0)
        calls_wrong(c, "request %llu: %u bytes of %u, or not for the first time", (unsigned long long)call->id, call->got, 5 + c->size);
    else
        c->seen[call->id] = 1;
    c->by_backend[call->endpoint]++;
    if (p->hold)
        p->held[p->held_count++] = st;
    else
        answer(p, st);
}

void peer_release(struct peer *p)
{
    p->hold = false;
    while (p->held_count > 0)
        answer(p, p->held[--p->held_count]);
}

static void backend_event(struct peer *p, struct session *s, struct session_stream *st, const struct http2_event *ev)
{
    if (ev->type == HTTP2_EVENT_FATAL || ev->type == HTTP2_EVENT_RESET)
        calls_wrong(&p->calls, "a backend got event %d, code %u", ev->type, ev->code);
    if (st == NULL)
        return;
    if (ev->type == HTTP2_EVENT_HEADERS && ev->opened) {
        struct call *call = call_new(p, NULL, 0);
        call->endpoint = s->slot;
        st->user = call;
        if (!header_is(ev->headers, BASE_HEADER_PATH, "/bench.Echo/Unary") || !header_is(ev->headers, BASE_HEADER_TE, "trailers"))
            calls_wrong(&p->calls, "a request came with other fields");
    }
    if (ev->type == HTTP2_EVENT_DATA && call_take(&p->calls, st->user, CALL_REQUEST, ev->data, ev->len) && !ev->end_stream)
        http2_stream_credit(ev->stream, ev->len);
    if (ev->end_stream && st->user != NULL)
        requested(p, st);
}

/* ---- the turn ---- */

static struct session *accept_session(struct peer *p, struct tcp_conn *conn, uint64_t now)
{
    struct http2_config c;
    http2_config_defaults(&c, HTTP2_SERVER);
    c.max_concurrent_streams = 1000;
    struct session *s = session_create(p->sessions, transport_of_tcp(conn), SESSION_DOWN, &c, now);
    if (s == NULL)
        abort();
    s->slot = (uint32_t)tcp_conn_tag(conn);
    p->accepted++;
    return s;
}

static void serve(struct peer *p, const struct tcp_event *ev, uint64_t now)
{
    struct session *s = tcp_conn_user(ev->conn);
    if (ev->events & TCP_EVENT_ACCEPTED)
        s = accept_session(p, ev->conn, now);
    if (ev->events & (TCP_EVENT_CLOSED | TCP_EVENT_FIN))
        calls_wrong(&p->calls, "the gateway closed a connection");
    if (ev->events & (TCP_EVENT_CONNECTED | TCP_EVENT_WRITABLE))
        session_writable(s);
    struct http2_event h;
    struct session_stream *st;
    while (session_next(s, &h, &st)) {
        if (s->role == SESSION_DOWN) {
            backend_event(p, s, st, &h);
            continue;
        }
        client_event(p, st, &h);
        struct client *client = &p->clients[s->slot];
        if (h.type == HTTP2_EVENT_SETTINGS && !client->ready) {
            client->ready = true;
            p->ready++;
        }
    }
}

static void receive(struct peer *p, uint64_t now)
{
    struct packet *burst[64];
    for (uint32_t n; (n = link_receive(p->link, p->pool, burst, 64)) > 0;)
        for (uint32_t i = 0; i < n; i++) {
            struct ip_result r;
            if (ip_input(p->ip, 0, burst[i], now, &r) == IP_TCP)
                tcp_input(p->tcp, &r.flow, burst[i], now);
        }
}

static void transmit(struct peer *p, uint64_t now)
{
    struct packet *frames[64];
    struct tcp_out out[64];
    uint32_t k = 0;
    for (uint32_t n; (n = tcp_output(p->tcp, out, 64, now)) > 0; k = 0) {
        for (uint32_t i = 0; i < n; i++)
            if (ip_output(p->ip, &out[i].flow, out[i].packet, now))
                frames[k++] = out[i].packet;
        link_send(p->link, frames, k);
        for (uint32_t i = 0; i < k; i++)
            packet_free(frames[i]);
    }
    uint16_t port;
    for (struct packet *frame; (frame = ip_output_next(p->ip, &port)) != NULL; packet_free(frame))
        link_send(p->link, &frame, 1);
}

void peer_turn(struct peer *p, uint64_t now)
{
    receive(p, now);
    ip_tick(p->ip, now);
    tcp_tick(p->tcp, now);
    struct tcp_event ev;
    while (tcp_next_event(p->tcp, &ev))
        serve(p, &ev, now);
    begin_all(p);
    sessions_flush(p->sessions);
    if (sessions_broken_next(p->sessions) != NULL)
        calls_wrong(&p->calls, "a session of the generator broke");
    transmit(p, now);
}
