/* A new generation: what differs from what is in force is put in force, nothing else is touched. */
#include "internal.h"

static void apply_port(struct worker *w, uint32_t i, const struct snapshot_port *in, uint64_t now)
{
    if (memcmp(&w->port[i], in, sizeof(*in)) == 0)
        return;
    w->port[i] = *in;
    const struct port_info *info = &w->info[i];
    struct ip_port_config c = {.mtu = in->mtu, .vlan = in->vlan, .addresses = in->address_count};
    memcpy(c.mac, info->mac, 6);
    c.flags = (info->offloads & PORT_TX_TCP_CSUM ? IP_TX_TCP_CSUM : 0u) | (info->offloads & PORT_RX_CSUM ? IP_RX_CSUM : 0u);
    for (uint32_t a = 0; a < in->address_count && a < IP_ADDRESSES_MAX; a++)
        c.address[a] = (struct ip_prefix){in->address[a], in->prefix_bits[a]};
    for (uint32_t g = 0; g < in->gateway_count; g++)
        *(base_addr_is_v4(&in->gateway[g]) ? &c.gateway4 : &c.gateway6) = in->gateway[g];
    ip_configure(w->ip, (uint16_t)i, &c, now);
}

static void unlisten(struct worker *w, uint32_t id)
{
    if (!w->listening[id])
        return;
    tcp_unlisten(w->tcp, &w->listener[id].bind.addr, w->listener[id].bind.port);
    w->listening[id] = false;
}

/* GOAWAY in two steps (RFC 9113 section 6.8): a warning, and after time for requests in flight the real last id. */
#define DRAIN_WARNING_NS 200000000ull
#define DRAIN_CHECK_NS   5000000ull

/* To the front of the list: drain_tick looks no further than the last of them. */
static void drain_session(struct worker *w, struct session *s, uint64_t now)
{
    if (s->drain_ns != 0)
        return;
    http2_goaway(s->h2, 0x7fffffff, HTTP2_NO_ERROR, "draining");
    s->drain_ns = now + DRAIN_WARNING_NS;
    session_mark(s);
    base_list_remove(&s->link);
    base_list_push_front(&w->sessions->all[SESSION_DOWN], &s->link);
    w->leaving = true;
}

static void drain_step(struct worker *w, struct session *s, uint64_t now)
{
    if (!s->closing && now >= s->drain_ns) {
        http2_goaway(s->h2, http2_last_id(s->h2), HTTP2_NO_ERROR, "draining");
        s->closing = true;
        session_mark(s);
    } else if (s->closing && s->stream_count == 0 && !http2_control_pending(s->h2)) {
        worker_session_end(w, s, true, now);
    }
}

void worker_drain_tick(struct worker *w, uint64_t now)
{
    if ((!w->draining && !w->leaving) || now < w->drain_check_ns)
        return;
    w->drain_check_ns = now + DRAIN_CHECK_NS;
    struct base_list *all = &w->sessions->all[SESSION_DOWN];
    if (w->draining) /* those accepted in the last moment */
        base_list_each_safe(l, all)
            drain_session(w, base_container(l, struct session, link), now);
    w->leaving = false;
    base_list_each_safe(l, all)
    {
        struct session *s = base_container(l, struct session, link);
        if (s->drain_ns == 0)
            break;
        w->leaving = true;
        drain_step(w, s, now);
    }
    if (w->draining && w->sessions->count[SESSION_DOWN] == 0 && !w->drained_told) {
        struct mailbox_message m = {.kind = MAILBOX_DRAINED, .worker = (uint16_t)w->index};
        w->drained_told = mailbox_report(w->mailbox, &m);
    }
}

static bool same_bind(const struct snapshot_listener *a, const struct snapshot_listener *b)
{
    return base_addr_eq(&a->bind.addr, &b->bind.addr) && a->bind.port == b->bind.port;
}

static bool listener_goes(const struct worker *w, uint32_t id, const struct snapshot *s)
{
    const struct snapshot_listener *have = &w->listener[id];
    return have->present && (id >= s->listener_count || !s->listener[id].present || !same_bind(have, &s->listener[id]));
}

static void listen_on(struct worker *w, uint32_t id, uint64_t now)
{
    const struct snapshot_listener *l = &w->listener[id];
    char text[BASE_ENDPOINT_TEXT];
    w->listening[id] = tcp_listen(w->tcp, &l->bind.addr, l->bind.port, id);
    if (w->listening[id])
        mailbox_log(w->mailbox, now, 2, "listening on %s (%s)", base_endpoint_format(&l->bind, text), l->name);
    else
        mailbox_log(w->mailbox, now, 0, "cannot listen on %s (%s): address taken or too many listeners",
                    base_endpoint_format(&l->bind, text), l->name);
}

/* Clients of a listener that is gone, or has moved, are asked to go when they have finished; those of one whose limit has changed are told. */
static void tell_clients(struct worker *w, uint32_t gone, uint32_t changed, uint64_t now)
{
    if ((gone | changed) == 0)
        return;
    base_list_each_safe(l, &w->sessions->all[SESSION_DOWN])
    {
        struct session *s = base_container(l, struct session, link);
        if (gone >> s->listener & 1) {
            drain_session(w, s, now);
        } else if (changed >> s->listener & 1) {
            http2_max_streams_set(s->h2, w->listener[s->listener].max_concurrent_streams);
            session_mark(s);
        }
    }
}

/* First all that go, so that one listener may take another's address. */
static void apply_listeners(struct worker *w, const struct snapshot *s, uint64_t now)
{
    uint32_t gone = 0, changed = 0;
    static_assert(SNAPSHOT_LISTENERS_MAX <= 32, "a bit for each listener");
    for (uint32_t id = 0; id < SNAPSHOT_LISTENERS_MAX; id++) {
        if (listener_goes(w, id, s)) {
            char text[BASE_ENDPOINT_TEXT];
            unlisten(w, id);
            gone |= UINT32_C(1) << id;
            mailbox_log(w->mailbox, now, 2, "no longer listening on %s (%s); its clients are asked to finish",
                        base_endpoint_format(&w->listener[id].bind, text), w->listener[id].name);
        }
    }
    for (uint32_t id = 0; id < s->listener_count; id++) {
        const struct snapshot_listener *in = &s->listener[id];
        if (w->listener[id].present && in->present && w->listener[id].max_concurrent_streams != in->max_concurrent_streams)
            changed |= UINT32_C(1) << id;
        w->listener[id] = *in;
        w->listener[id].routes = NULL; /* no pointer into a snapshot is kept */
        if (in->present && !w->listening[id])
            listen_on(w, id, now);
    }
    tell_clients(w, gone, changed, now);
}

static bool port_has(const struct snapshot_port *p, const struct base_addr *a)
{
    for (uint32_t i = 0; i < p->address_count; i++)
        if (base_addr_eq(&p->address[i], a))
            return true;
    return false;
}

/* An address is taken from a port: nothing more can be received on its connections. They are reset now, while that can still be sent, so that peers
 * need not find out by waiting. */
static void end_strays(struct worker *w, const struct snapshot *s, uint32_t port, uint64_t now)
{
    uint32_t ended = 0;
    for (uint32_t i = 0; i < w->port[port].address_count; i++)
        ended |= !port_has(&s->port[port], &w->port[port].address[i]);
    if (ended == 0)
        return;
    ended = 0;
    for (int role = 0; role < 2; role++)
        base_list_each_safe(l, &w->sessions->all[role])
        {
            struct session *x = base_container(l, struct session, link);
            const struct base_flow *f = transport_flow(&x->transport);
            if (f->port != port || !port_has(&w->port[port], &f->local) || port_has(&s->port[port], &f->local))
                continue;
            worker_session_end(w, x, false, now);
            ended++;
        }
    worker_transmit(w, now);
    mailbox_log(w->mailbox, now, 1, "an address was taken from port %u: %u connections on it were reset", port, ended);
}

static void drain(struct worker *w, uint64_t now)
{
    w->draining = true;
    w->drain_check_ns = 0;
    for (uint32_t id = 0; id < SNAPSHOT_LISTENERS_MAX; id++)
        unlisten(w, id);
    mailbox_log(w->mailbox, now, 2, "draining %u client connections", w->sessions->count[SESSION_DOWN]);
}

void worker_apply(struct worker *w, uint64_t now)
{
    const struct snapshot *s = w->snapshot;
    for (uint32_t i = 0; i < w->port_count && i < s->port_count; i++) {
        end_strays(w, s, i, now);
        apply_port(w, i, &s->port[i], now);
    }
    w->poll = s->poll;
    if (s->user_timeout_ns != 0)
        tcp_tune(w->tcp, s->rto_ns_min, s->user_timeout_ns);
    picker_apply(w->picker, s);
    pool_apply(w->pool, s, now);
    if (!w->draining)
        apply_listeners(w, s, now);
    if (s->draining && !w->draining)
        drain(w, now);
    w->generation = s->generation;
    w->applied_told = false;
}
