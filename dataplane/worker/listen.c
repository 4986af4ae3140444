/* Listeners as the generation in force has them, and the drain of their clients. */
#include "serve.h"

static void unlisten(struct serve *v, uint32_t id)
{
    if (!v->listening[id])
        return;
    tcp_unlisten(v->tcp, &v->listener[id].bind.addr, v->listener[id].bind.port);
    v->listening[id] = false;
}

/* GOAWAY in two steps (RFC 9113 section 6.8): a warning, and after time for requests in flight the real last id. */
#define DRAIN_WARNING_NS 200000000ull
#define DRAIN_CHECK_NS   5000000ull

/* To the front of the list: drain_tick looks no further than the last of them. */
static void drain_session(struct serve *v, struct session *s, uint64_t now)
{
    if (s->drain_ns != 0)
        return;
    http2_goaway(s->h2, 0x7fffffff, HTTP2_NO_ERROR, "draining");
    s->drain_ns = now + DRAIN_WARNING_NS;
    session_mark(s);
    base_list_remove(&s->link);
    base_list_push_front(&v->sessions->all[SESSION_DOWN], &s->link);
    v->leaving = true;
}

static void drain_step(struct serve *v, struct session *s, uint64_t now)
{
    if (!s->closing && now >= s->drain_ns) {
        http2_goaway(s->h2, http2_last_id(s->h2), HTTP2_NO_ERROR, "draining");
        s->closing = true;
        session_mark(s);
    } else if (s->closing && s->stream_count == 0 && !http2_control_pending(s->h2)) {
        worker_session_end(v, s, true, now);
    }
}

void worker_drain_tick(struct serve *v, uint64_t now)
{
    if ((!v->draining && !v->leaving) || now < v->drain_check_ns)
        return;
    v->drain_check_ns = now + DRAIN_CHECK_NS;
    struct base_list *all = &v->sessions->all[SESSION_DOWN];
    if (v->draining) /* those accepted in the last moment */
        base_list_each_safe(l, all)
            drain_session(v, base_container(l, struct session, link), now);
    v->leaving = false;
    base_list_each_safe(l, all)
    {
        struct session *s = base_container(l, struct session, link);
        if (s->drain_ns == 0)
            break;
        v->leaving = true;
        drain_step(v, s, now);
    }
    if (v->draining && v->sessions->count[SESSION_DOWN] == 0 && !v->drained_told) {
        struct mailbox_message m = {.kind = MAILBOX_DRAINED, .worker = (uint16_t)v->worker};
        v->drained_told = mailbox_report(v->mailbox, &m);
    }
}

static bool same_bind(const struct snapshot_listener *a, const struct snapshot_listener *b)
{
    return base_addr_eq(&a->bind.addr, &b->bind.addr) && a->bind.port == b->bind.port;
}

static bool listener_goes(const struct serve *v, uint32_t id, const struct snapshot *s)
{
    const struct snapshot_listener *have = &v->listener[id];
    return have->present && (id >= s->listener_count || !s->listener[id].present || !same_bind(have, &s->listener[id]));
}

static void listen_on(struct serve *v, uint32_t id, uint64_t now)
{
    const struct snapshot_listener *l = &v->listener[id];
    char text[BASE_ENDPOINT_TEXT];
    v->listening[id] = tcp_listen(v->tcp, &l->bind.addr, l->bind.port, id);
    if (v->listening[id])
        mailbox_log(v->mailbox, now, 2, "listening on %s (%s)", base_endpoint_format(&l->bind, text), l->name);
    else
        mailbox_log(v->mailbox, now, 0, "cannot listen on %s (%s): address taken or too many listeners",
                    base_endpoint_format(&l->bind, text), l->name);
}

/* Clients of a listener that is gone, or has moved, are asked to go when they have finished; those of one whose limit has changed are told. */
static void tell_clients(struct serve *v, uint32_t gone, uint32_t changed, uint64_t now)
{
    if ((gone | changed) == 0)
        return;
    base_list_each_safe(l, &v->sessions->all[SESSION_DOWN])
    {
        struct session *s = base_container(l, struct session, link);
        if (gone >> s->listener & 1) {
            drain_session(v, s, now);
        } else if (changed >> s->listener & 1) {
            http2_max_streams_set(s->h2, v->listener[s->listener].max_concurrent_streams);
            session_mark(s);
        }
    }
}

/* First all that go, so that one listener may take another's address. */
static void apply_listeners(struct serve *v, const struct snapshot *s, uint64_t now)
{
    uint32_t gone = 0, changed = 0;
    static_assert(SNAPSHOT_LISTENERS_MAX <= 32, "a bit for each listener");
    for (uint32_t id = 0; id < SNAPSHOT_LISTENERS_MAX; id++) {
        if (listener_goes(v, id, s)) {
            char text[BASE_ENDPOINT_TEXT];
            unlisten(v, id);
            gone |= UINT32_C(1) << id;
            mailbox_log(v->mailbox, now, 2, "no longer listening on %s (%s); its clients are asked to finish",
                        base_endpoint_format(&v->listener[id].bind, text), v->listener[id].name);
        }
    }
    for (uint32_t id = 0; id < s->listener_count; id++) {
        const struct snapshot_listener *in = &s->listener[id];
        if (v->listener[id].present && in->present && v->listener[id].max_concurrent_streams != in->max_concurrent_streams)
            changed |= UINT32_C(1) << id;
        v->listener[id] = *in;
        v->listener[id].routes = NULL; /* no pointer into a snapshot is kept */
        if (in->present && !v->listening[id])
            listen_on(v, id, now);
    }
    tell_clients(v, gone, changed, now);
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
        apply_listeners(v, s, now);
    if (s->draining && !v->draining)
        drain(v, now);
}
