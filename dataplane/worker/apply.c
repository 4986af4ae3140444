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
    c.flags = (info->offloads & PORT_TX_TCP_CSUM ? IP_TX_TCP_CSUM | IP_TX_TRIAL : 0u) | (info->offloads & PORT_RX_CSUM ? IP_RX_CSUM : 0u) |
              (info->offloads & PORT_TX_TSO ? IP_TX_TSO : 0u);
    for (uint32_t a = 0; a < in->address_count && a < IP_ADDRESSES_MAX; a++)
        c.address[a] = (struct ip_prefix){in->address[a], in->prefix_bits[a]};
    for (uint32_t g = 0; g < in->gateway_count; g++)
        *(base_addr_is_v4(&in->gateway[g]) ? &c.gateway4 : &c.gateway6) = in->gateway[g];
    ip_configure(w->ip, (uint16_t)i, &c, now);
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
        base_list_each_safe(l, &w->serve.sessions->all[role])
        {
            struct session *x = base_container(l, struct session, link);
            const struct base_flow *f = transport_flow(&x->transport);
            if (f->port != port || !port_has(&w->port[port], &f->local) || port_has(&s->port[port], &f->local))
                continue;
            worker_session_end(&w->serve, x, false, now);
            ended++;
        }
    worker_transmit(w, now);
    mailbox_log(w->serve.mailbox, now, 1, "an address was taken from port %u: %u connections on it were reset", port, ended);
}

void worker_apply(struct worker *w, uint64_t now)
{
    const struct snapshot *s = w->serve.snapshot;
    for (uint32_t i = 0; i < w->port_count && i < s->port_count; i++) {
        end_strays(w, s, i, now);
        apply_port(w, i, &s->port[i], now);
    }
    if (s->user_timeout_ns != 0) {
        w->poll = s->poll;
        const struct tcp_tuning k = {s->rto_ns_min, s->user_timeout_ns, s->tcp_keepalive_ns, s->reno ? TCP_CC_RENO : TCP_CC_CUBIC, (enum tcp_ecn)s->ecn, s->pacing};
        tcp_tune(w->serve.tcp, &k);
    }
    picker_apply(w->picker, s);
    pool_apply(w->serve.pool, s, now);
    worker_listeners_apply(&w->serve, now);
    w->generation = s->generation;
    w->applied_told = false;
}
