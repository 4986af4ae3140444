/* Listeners as the generation in force has them, and what holds for their clients. */
#include "serve.h"

static void unlisten(struct serve *v, uint32_t id)
{
    if (!v->listening[id])
        return;
    tcp_unlisten(v->tcp, &v->listener[id].bind.addr, v->listener[id].bind.port);
    v->listening[id] = false;
}

static void life_set(struct session_life *life, const struct snapshot_listener *l)
{
    const struct snapshot_keepalive *k = &l->keepalive;
    *life = (struct session_life){.time_ns = k->time_ns, .timeout_ns = k->timeout_ns, .min_time_ns = k->min_time_ns,
                                  .permit_without_stream = k->permit_without_stream, .age_ns = l->max_connection_age_ns,
                                  .grace_ns = l->max_connection_age_grace_ns, .idle_ns = l->max_connection_idle_ns,
                                  .handshake_ns = l->handshake_timeout_ns, .header_ns = l->header_timeout_ns,
                                  .buffered = l->bounds.buffered};
}

static void bounds_set(struct http2_bounds *out, const struct snapshot_bounds *b)
{
    if (b->header_fields == 0) { /* nobody has said any */
        *out = http2_bounds_default;
        return;
    }
    *out = (struct http2_bounds){.rate = {[HTTP2_RATE_RESETS] = b->resets, [HTTP2_RATE_PINGS] = b->pings, [HTTP2_RATE_SETTINGS] = b->settings,
                                          [HTTP2_RATE_EMPTY] = b->empty_data, [HTTP2_RATE_PRIORITY] = b->priority,
                                          [HTTP2_RATE_WINDOW] = b->window_updates, [HTTP2_RATE_OTHER] = b->other_frames},
                                 .continuations = b->continuation_frames, .fields = b->header_fields};
}

void worker_serve_tick(struct serve *v, uint64_t now)
{
    sessions_tick(v->sessions, now);
    for (struct session *s; (s = sessions_aged_next(v->sessions)) != NULL;)
        pool_aged(v->pool, s);
    /* Those that linger have not acknowledged everything yet, and nobody would send it again. */
    if (v->draining && v->sessions->count[SESSION_DOWN] == 0 && base_list_empty(&v->sessions->lingering) && !v->drained_told) {
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

/* Clients of a listener that is gone, or has moved, are asked to go when they have finished; for those of one that has changed the new limits
 * hold. */
static void tell_clients(struct serve *v, uint32_t gone, uint32_t changed, uint64_t now)
{
    if ((gone | changed) == 0)
        return;
    base_list_each_safe(l, &v->sessions->all[SESSION_DOWN])
    {
        struct session *s = base_container(l, struct session, link);
        if (gone >> s->listener & 1) {
            session_drain(s, "draining", 0, now);
        } else if (changed >> s->listener & 1) {
            session_streams_limit(s, v->listener[s->listener].max_concurrent_streams);
            session_live(s, &v->life[s->listener], now);
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
        struct session_life life;
        life_set(&life, in);
        if (v->listener[id].present && in->present &&
            (v->listener[id].max_concurrent_streams != in->max_concurrent_streams || memcmp(&life, &v->life[id], sizeof(life)) != 0))
            changed |= UINT32_C(1) << id;
        v->listener[id] = *in;
        v->life[id] = life;
        bounds_set(&v->bounds[id], &in->bounds);
        v->listener[id].routes = NULL; /* no pointer into a snapshot is kept */
        if (in->present && !v->listening[id])
            listen_on(v, id, now);
    }
    tell_clients(v, gone, changed, now);
}

static void drain(struct serve *v, uint64_t now)
{
    v->draining = true; /* from now on those that are accepted are drained at once (serve.c) */
    for (uint32_t id = 0; id < SNAPSHOT_LISTENERS_MAX; id++)
        unlisten(v, id);
    base_list_each(l, &v->sessions->all[SESSION_DOWN])
        session_drain(base_container(l, struct session, link), "draining", 0, now);
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
