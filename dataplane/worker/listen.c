/* Listeners as the generation in force has them, and the drain of their clients. */
#include "serve.h"

static void unlisten(struct serve *v, uint32_t id)
{
    if (!v->listening[id])
        return;
    tcp_unlisten(v->tcp, &v->listener[id].bind.addr, v->listener[id].bind.port);
    v->listening[id] = false;
}

static void apply_listener(struct serve *v, uint32_t id, const struct snapshot_listener *in, uint64_t now)
{
    struct snapshot_listener *have = &v->listener[id];
    bool moved = !base_addr_eq(&have->bind.addr, &in->bind.addr) || have->bind.port != in->bind.port;
    if (moved || !in->present)
        unlisten(v, id);
    *have = *in;
    have->routes = NULL; /* no pointer into a snapshot is kept */
    if (!in->present || v->listening[id])
        return;
    v->listening[id] = tcp_listen(v->tcp, &in->bind.addr, in->bind.port, id);
    char text[BASE_ENDPOINT_TEXT];
    if (v->listening[id])
        mailbox_log(v->mailbox, now, 2, "listening on %s (%s)", base_endpoint_format(&in->bind, text), in->name);
    else
        mailbox_log(v->mailbox, now, 0, "cannot listen on %s (%s): address taken or too many listeners",
                    base_endpoint_format(&in->bind, text), in->name);
}

/* GOAWAY in two steps (RFC 9113 section 6.8): a warning, and after time for requests in flight the real last id. */
#define DRAIN_WARNING_NS 200000000ull
#define DRAIN_CHECK_NS   5000000ull

static void drain_session(struct session *s, uint64_t now)
{
    if (s->drain_ns != 0)
        return;
    http2_goaway(s->h2, 0x7fffffff, HTTP2_NO_ERROR, "draining");
    s->drain_ns = now + DRAIN_WARNING_NS;
    session_mark(s);
}

void worker_drain_tick(struct serve *v, uint64_t now)
{
    if (!v->draining || now < v->drain_check_ns)
        return;
    v->drain_check_ns = now + DRAIN_CHECK_NS;
    base_list_each_safe(l, &v->sessions->all[SESSION_DOWN])
    {
        struct session *s = base_container(l, struct session, link);
        drain_session(s, now); /* those accepted in the last moment */
        if (!s->closing && now >= s->drain_ns) {
            http2_goaway(s->h2, http2_last_id(s->h2), HTTP2_NO_ERROR, "draining");
            s->closing = true;
            session_mark(s);
        } else if (s->closing && s->stream_count == 0 && !http2_control_pending(s->h2)) {
            worker_session_end(v, s, true, now);
        }
    }
    if (v->sessions->count[SESSION_DOWN] == 0 && !v->drained_told) {
        struct mailbox_message m = {.kind = MAILBOX_DRAINED, .worker = (uint16_t)v->worker};
        v->drained_told = mailbox_report(v->mailbox, &m);
    }
}

static void drain(struct serve *v, uint64_t now)
{
    v->draining = true;
    v->drain_check_ns = 0;
    for (uint32_t id = 0; id < SNAPSHOT_LISTENERS_MAX; id++)
        unlisten(v, id);
    mailbox_log(v->mailbox, now, 2, "draining %u client connections", v->sessions->count[SESSION_DOWN]);
}

void worker_listeners_apply(struct serve *v, uint64_t now)
{
    const struct snapshot *s = v->snapshot;
    if (!v->draining)
        for (uint32_t id = 0; id < s->listener_count; id++)
            apply_listener(v, id, &s->listener[id], now);
    if (s->draining && !v->draining)
        drain(v, now);
}
