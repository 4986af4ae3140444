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

void worker_apply(struct worker *w, uint64_t now)
{
    const struct snapshot *s = w->serve.snapshot;
    for (uint32_t i = 0; i < w->port_count && i < s->port_count; i++)
        apply_port(w, i, &s->port[i], now);
    picker_apply(w->picker, s);
    pool_apply(w->serve.pool, s, now);
    worker_listeners_apply(&w->serve, now);
    w->generation = s->generation;
    w->applied_told = false;
}
