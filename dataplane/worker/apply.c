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

static void apply_listener(struct worker *w, uint32_t id, const struct snapshot_listener *in, uint64_t now)
{
    struct snapshot_listener *have = &w->listener[id];
    bool moved = !base_addr_eq(&have->bind.addr, &in->bind.addr) || have->bind.port != in->bind.port;
    if (moved || !in->present)
        unlisten(w, id);
    *have = *in;
    have->routes = NULL; /* no pointer into a snapshot is kept */
    if (!in->present || w->listening[id])
        return;
    w->listening[id] = tcp_listen(w->tcp, &in->bind.addr, in->bind.port, id);
    char text[BASE_ENDPOINT_TEXT];
    if (w->listening[id])
        mailbox_log(w->mailbox, now, 2, "listening on %s (%s)", base_endpoint_format(&in->bind, text), in->name);
    else
        mailbox_log(w->mailbox, now, 0, "cannot listen on %s (%s): address taken or too many listeners",
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

void worker_drain_tick(struct worker *w, uint64_t now)
{
    if (!w->draining || now < w->drain_check_ns)
        return;
    w->drain_check_ns = now + DRAIN_CHECK_NS;
    base_list_each_safe(l, &w->sessions->all[SESSION_DOWN])
    {
        struct session *s = base_container(l, struct session, link);
        drain_session(s, now); /* those accepted in the last moment */
        if (!s->closing && now >= s->drain_ns) {
            http2_goaway(s->h2, http2_last_id(s->h2), HTTP2_NO_ERROR, "draining");
            s->closing = true;
            session_mark(s);
        } else if (s->closing && s->stream_count == 0 && !http2_control_pending(s->h2)) {
            worker_session_end(w, s, true, now);
        }
    }
    if (w->sessions->count[SESSION_DOWN] == 0 && !w->drained_told) {
        struct mailbox_message m = {.kind = MAILBOX_DRAINED, .worker = (uint16_t)w->index};
        w->drained_told = mailbox_report(w->mailbox, &m);
    }
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
    for (uint32_t i = 0; i < w->port_count && i < s->port_count; i++)
        apply_port(w, i, &s->port[i], now);
    picker_apply(w->picker, s);
    pool_apply(w->pool, s, now);
    if (!w->draining)
        for (uint32_t id = 0; id < s->listener_count; id++)
            apply_listener(w, id, &s->listener[id], now);
    if (s->draining && !w->draining)
        drain(w, now);
    w->generation = s->generation;
    w->applied_told = false;
}
