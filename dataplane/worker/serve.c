/* Connections' and sessions' events: from tcp to session, from session to proxy and pool. */
#include "serve.h"

void worker_session_end(struct serve *v, struct session *s, bool graceful, uint64_t now)
{
    if (s->role == SESSION_UP)
        pool_lost(v->pool, s, now); /* first: what is tried again goes elsewhere */
    proxy_session_lost(v->proxy, s, now);
    session_destroy(s, graceful, now);
}

static struct session *accept_session(struct serve *v, struct tcp_conn *conn, uint64_t now)
{
    uint32_t id = (uint32_t)tcp_conn_tag(conn);
    struct transport t = transport_of_tcp(conn);
    /* A handshake may end after its listener has gone or moved. */
    const struct base_flow *f = transport_flow(&t);
    if (id >= SNAPSHOT_LISTENERS_MAX || !v->listener[id].present || v->listener[id].bind.port != f->local_port ||
        !base_addr_eq(&v->listener[id].bind.addr, &f->local)) {
        transport_abort(&t, now);
        return NULL;
    }
    const struct snapshot_listener *l = &v->listener[id];
    struct http2_config c;
    http2_config_defaults(&c, HTTP2_SERVER);
    c.max_concurrent_streams = l->max_concurrent_streams;
    c.max_header_list_size = l->max_header_list_size;
    c.bounds = &v->bounds[id];
    struct session *s = session_create(v->sessions, t, SESSION_DOWN, &c, now);
    if (s == NULL)
        return NULL;
    s->listener = (uint16_t)id;
    session_live(s, &v->life[id], now);
    if (v->draining)
        session_drain(s, "draining", 0, now);
    return s;
}

/* gRFC A8: a backend that finds our PINGs too many gets half as many from now on. */
static void backend_goes(struct serve *v, struct session *s, const struct http2_event *ev, uint64_t now)
{
    static const char words[] = "too_many_pings";
    if (ev->code == HTTP2_ENHANCE_YOUR_CALM && ev->len == sizeof(words) - 1 && memcmp(ev->data, words, ev->len) == 0)
        pool_calm(v->pool, s, now);
    pool_goaway(v->pool, s, now);
}

static const char *peer_text(const struct session *s, char text[BASE_ENDPOINT_TEXT])
{
    const struct base_flow *f = transport_flow(&s->transport);
    struct base_endpoint peer = {f->remote, f->remote_port};
    return base_endpoint_format(&peer, text);
}

static void broke(struct serve *v, struct session *s, const struct http2_event *ev, uint64_t now)
{
    char text[BASE_ENDPOINT_TEXT];
    mailbox_log(v->mailbox, now, 1, "%s %s broke HTTP/2: %.*s (error %u, stream %u); connection closed", s->role == SESSION_DOWN ? "client" : "backend",
                peer_text(s, text), (int)ev->len, (const char *)ev->data, ev->code, ev->last_id);
    worker_session_end(v, s, true, now);
}

enum more { MORE, NO_MORE, GONE };

/* The next event of a session. */
static inline enum more read_event(struct serve *v, struct session *s, uint64_t now)
{
    struct http2_event ev;
    struct session_stream *st;
    if (!session_next(s, &ev, &st))
        return NO_MORE;
    if (ev.type == HTTP2_EVENT_FATAL) {
        broke(v, s, &ev, now);
        return GONE;
    }
    if (s->role == SESSION_DOWN) {
        proxy_down_event(v->proxy, v->snapshot, s, st, &ev, now);
        return MORE;
    }
    if (ev.type == HTTP2_EVENT_SETTINGS)
        pool_settings(v->pool, s, now);
    if (ev.type == HTTP2_EVENT_GOAWAY)
        backend_goes(v, s, &ev, now);
    proxy_up_event(v->proxy, s, st, &ev, now);
    return MORE;
}

/* False: the session is gone. */
static bool read_session(struct serve *v, struct session *s, uint64_t now)
{
    enum more more;
    do
        more = read_event(v, s, now);
    while (more == MORE);
    return more != GONE;
}

#define SUSPECT_EVENTS 4 /* of one a turn */

/* Clients that say much that costs them nothing, when the others have been served. */
static void read_postponed(struct serve *v, bool idle, uint64_t now)
{
    struct session *s = sessions_postponed_next(v->sessions, idle);
    if (s == NULL)
        return;
    enum more more = MORE;
    for (int i = 0; i < SUSPECT_EVENTS && more == MORE; i++)
        more = read_event(v, s, now);
    if (more != GONE)
        session_resume(s, more == MORE);
}

/* False: it has to wait. */
static bool serve(struct serve *v, const struct tcp_event *ev, uint64_t now)
{
    struct session *s = tcp_conn_user(ev->conn);
    if (ev->events & TCP_EVENT_ACCEPTED) {
        s = accept_session(v, ev->conn, now);
    }
    if (s == NULL)
        return true;
    if (session_lingers(s)) {
        session_linger(s, ev->events & (TCP_EVENT_FIN | TCP_EVENT_CLOSED), now);
        return true;
    }
    if (ev->events & (TCP_EVENT_CONNECTED | TCP_EVENT_WRITABLE))
        session_writable(s);
    bool over = ev->events & (TCP_EVENT_FIN | TCP_EVENT_CLOSED);
    if (!over && (ev->events & TCP_EVENT_READABLE) && session_postpone(s))
        return false;
    if ((over || (ev->events & TCP_EVENT_READABLE)) && !read_session(v, s, now))
        return true;
    /* A peer that has finished sends no more answers or requests: what is open fails, rather than hang. */
    if (over)
        worker_session_end(v, s, !(ev->events & TCP_EVENT_CLOSED), now);
    return true;
}

void worker_serve_events(struct serve *v, uint64_t now)
{
    struct tcp_event ev;
    bool idle = true;
    while (tcp_next_event(v->tcp, &ev)) {
        session_expect(tcp_event_ahead(v->tcp, 2), tcp_event_ahead(v->tcp, 0));
        if (serve(v, &ev, now))
            idle = false;
    }
    read_postponed(v, idle, now);
}

static void log_end(struct serve *v, const struct session *s, uint64_t now)
{
    char text[BASE_ENDPOINT_TEXT];
    mailbox_log(v->mailbox, now, 1, "%s %s: %s; connection closed", s->role == SESSION_DOWN ? "client" : "backend",
                peer_text(s, text), s->why);
}

uint32_t worker_serve_finish(struct serve *v, bool busy, uint64_t now)
{
    proxy_dispatch(v->proxy, v->snapshot, now);
    sessions_flush(v->sessions);
    for (struct session *s; (s = sessions_broken_next(v->sessions)) != NULL;) {
        if (s->why != NULL)
            log_end(v, s, now);
        worker_session_end(v, s, s->gently, now);
    }
    proxy_dispatch(v->proxy, v->snapshot, now);
    sessions_flush(v->sessions); /* what the end of those gave to others to say */
    for (struct session *s; (s = pool_idle_next(v->pool)) != NULL;) {
        http2_goaway(s->h2, 0, HTTP2_NO_ERROR, "endpoint removed");
        session_destroy(s, true, now);
    }
    return sessions_reclaim(v->sessions, busy) + !base_list_empty(&v->sessions->postponed);
}
