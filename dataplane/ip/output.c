/* Out: from a TCP segment to a frame.
 *
 * The hot half is frame_finish() behind a direct-mapped table of paths; everything that needs thought (route,
 * neighbour, queue) happens in output_slow(), which fills the table. */
#include "internal.h"

static inline uint32_t path_slot(const struct base_flow *f)
{
    uint64_t x = (f->remote.q[0] ^ f->remote.q[1] ^ (f->local.q[1] << 1) ^ f->port) * 0x9e3779b97f4a7c15ull;
    return (uint32_t)(x >> 52) & (IP_PATHS - 1);
}

static inline bool path_is(const struct path *path, const struct base_flow *f, uint32_t epoch)
{
    return path->epoch == epoch && path->port == f->port && base_addr_eq(&path->remote, &f->remote) &&
           base_addr_eq(&path->local, &f->local);
}

static __attribute__((noinline)) void offload_joined(const struct path *path, struct packet *p, uint32_t header, uint32_t first)
{
    uint32_t family = path->v6 ? PACKET_TX_IPV6 : PACKET_TX_IP_CSUM; /* IPv4's total length differs from segment to segment */
    packet_tx_offload(p, PACKET_TX_TSO | PACKET_TX_TCP_CSUM | family, path->l2_len, path->head_len - path->l2_len, header);
    packet_tx_segment(p, first - header);
}

/* Checksum and headers.  64 bytes are copied whatever the header's length: one store or two, and no branch. */
static inline void frame_finish(struct ip *ip, const struct path *path, const struct base_flow *f, struct packet *p)
{
    uint32_t len = packet_total(p), first = packet_len(p);
    uint8_t *tcp = packet_data(p);
    uint64_t sum = path->pseudo + (uint64_t)__builtin_bswap16((uint16_t)len);
    bool by_device = path->sum != IP_SUM_SOFTWARE;
    if (unlikely(path->sum == IP_SUM_TRIAL))
        by_device = trial_sends(&ip->ports[path->port].trial[path->v6], f, tcp);
    if (unlikely(len != first))
        store16_raw(tcp + 16, path->pseudo); /* each segment's length is the device's to add */
    else if (by_device)
        store16_raw(tcp + 16, ip_sum_fold(sum)); /* what devices want to find there */
    else
        store16_raw(tcp + 16, (uint16_t)~ip_sum_fold(sum + ip_sum(tcp, len)));
    uint8_t *head = packet_prepend(p, IP_HEADROOM);
    memcpy(head, path->head, IP_HEADROOM);
    if (path->v6) {
        store16(head + IP_HEADROOM - IP6_LEN + 4, (uint16_t)len);
        head[IP_HEADROOM - IP6_LEN + 1] = (uint8_t)(f->ecn << 4); /* no flow label, no class of traffic */
    } else {
        uint16_t total = __builtin_bswap16((uint16_t)(len + IP4_LEN));
        store16_raw(head + IP_HEADROOM - IP4_LEN + 2, total);
        store16_raw(head + IP_HEADROOM - IP4_LEN + 10, (uint16_t)~ip_sum_fold((uint64_t)path->ip_sum + total + ((uint32_t)f->ecn << 8)));
        head[IP_HEADROOM - IP4_LEN + 1] = f->ecn;
    }
    packet_adj(p, IP_HEADROOM - path->head_len);
    if (unlikely(len != first))
        offload_joined(path, p, (uint32_t)(tcp[12] >> 4) * 4, first);
    else if (by_device)
        packet_tx_offload(p, PACKET_TX_TCP_CSUM | (path->v6 ? PACKET_TX_IPV6 : 0), path->l2_len,
                          path->head_len - path->l2_len, (uint32_t)(tcp[12] >> 4) * 4);
    else
        packet_tx_offload(p, 0, 0, 0, 0);
}

void ip_ethernet(uint8_t *h, const struct port_state *port, const uint8_t to[6], const uint8_t from[6], uint16_t type)
{
    memcpy(h, to, 6);
    memcpy(h + 6, from, 6);
    if (port->c.vlan != 0) {
        store16(h + 12, ETH_TYPE_VLAN);
        store16(h + 14, port->c.vlan);
    }
    store16(h + port->l2_len - 2, type);
}

/* The identification is 0: what is never fragmented needs none (RFC 6864 section 4.1). */
static void write4(uint8_t *h, const struct base_addr *from, const struct base_addr *to, uint8_t protocol,
                   uint16_t total)
{
    uint32_t source = base_addr_v4(from), target = base_addr_v4(to);
    memset(h, 0, IP4_LEN);
    h[0] = 0x45;
    store16(h + 2, total);
    store16(h + 6, 0x4000); /* DF: RFC 1191 */
    h[8] = 64;
    h[9] = protocol;
    memcpy(h + 12, &source, 4);
    memcpy(h + 16, &target, 4);
}

/* DEVIATION: RFC 6437 would have a flow label; routers that spread by it still have the ports. */
static void write6(uint8_t *h, const struct base_addr *from, const struct base_addr *to, uint8_t protocol,
                   uint8_t hop_limit, uint16_t len)
{
    store32(h, 0x60000000);
    store16(h + 4, len);
    h[6] = protocol;
    h[7] = hop_limit;
    memcpy(h + 8, from->b, 16);
    memcpy(h + 24, to->b, 16);
}

static void path_make(struct path *path, const struct ip *ip, const struct base_flow *f, const uint8_t mac[6])
{
    const struct port_state *port = &ip->ports[f->port];
    bool v6 = !base_addr_is_v4(&f->remote);
    uint8_t l3 = v6 ? IP6_LEN : IP4_LEN;
    uint8_t *h = path->head + IP_HEADROOM - l3;
    memset(path, 0, sizeof(*path));
    path->remote = f->remote;
    path->local = f->local;
    path->epoch = ip->epoch;
    path->port = f->port;
    path->head_len = (uint8_t)(port->l2_len + l3);
    path->l2_len = port->l2_len;
    path->v6 = v6;
    path->sum = port->trial[v6].state;
    path->device_tso = (port->c.flags & IP_TX_TSO) != 0 && path->sum == IP_SUM_DEVICE;
    uint64_t addresses;
    if (v6) {
        write6(h, &f->local, &f->remote, PROTO_TCP, 64, 0);
        addresses = addr_sum(&f->local) + addr_sum(&f->remote);
    } else {
        write4(h, &f->local, &f->remote, PROTO_TCP, 0);
        addresses = (uint64_t)base_addr_v4(&f->local) + base_addr_v4(&f->remote);
        path->ip_sum = ip_sum_fold(ip_sum_short(h, IP4_LEN));
    }
    path->pseudo = ip_sum_fold(addresses + pseudo_tail(PROTO_TCP, 0));
    ip_ethernet(h - port->l2_len, port, mac, port->c.mac, v6 ? ETH_TYPE_IP6 : ETH_TYPE_IP4);
}

/* A packet that somebody else holds as well may be changed by him while it waits: a copy waits in its place. */
static struct packet *private_copy(struct ip *ip, struct packet *p)
{
    if (!packet_shared(p))
        return p;
    struct packet *copy = packet_copy(p);
    packet_free(p);
    if (copy == NULL)
        stats_drop(ip->stats, STATS_DROP_IP_NO_BUFFER);
    return copy;
}

static void output_wait(struct ip *ip, struct neighbour *n, const struct base_flow *f, struct packet *p)
{
    struct path path;
    p = private_copy(ip, p);
    if (p == NULL)
        return;
    uint32_t seq = load32(packet_data(p) + 4);
    path_make(&path, ip, f, n->mac);
    frame_finish(ip, &path, f, p);
    neighbour_queue(ip, n, p, f, seq);
}

static bool refuse(struct ip *ip, const struct base_flow *f, struct packet *p, enum stats_drop why)
{
    ip_report_unreachable(ip, f, load32(packet_data(p) + 4));
    drop(ip, p, why);
    return false;
}

static __attribute__((noinline)) bool output_slow(struct ip *ip, const struct base_flow *f, struct packet *p,
                                                  uint64_t now)
{
    assert(f->port < ip->config.ports);
    const struct port_state *port = &ip->ports[f->port];
    struct base_addr hop;
    if (!port->configured || !ip_port_owns(port, &f->local)) /* the address was taken away while the connection lived */
        return refuse(ip, f, p, STATS_DROP_IP_BAD_SOURCE);
    if (!ip_port_next_hop(port, &f->remote, &hop))
        return refuse(ip, f, p, STATS_DROP_IP_NO_ROUTE);
    struct neighbour *n = neighbour_get(ip, f->port, &hop, now);
    if (n == NULL) {
        packet_free(p);
        return false;
    }
    if (n->state == IP_NEIGHBOUR_UNREACHABLE)
        return refuse(ip, f, p, STATS_DROP_NEIGHBOUR_UNRESOLVED);
    if (n->state == IP_NEIGHBOUR_INCOMPLETE) {
        output_wait(ip, n, f, p);
        return false;
    }
    neighbour_used(ip, n, now);
    struct path *path = &ip->paths[path_slot(f)];
    path_make(path, ip, f, n->mac);
    frame_finish(ip, path, f, p);
    return true;
}

bool ip_output(struct ip *ip, const struct base_flow *f, struct packet *p, uint64_t now)
{
    assert(packet_len(p) >= TCP_LEN && packet_headroom(p) >= IP_HEADROOM);
    const struct path *path = &ip->paths[path_slot(f)];
    if (unlikely(!path_is(path, f, ip->epoch)))
        return output_slow(ip, f, p, now);
    frame_finish(ip, path, f, p);
    return true;
}

bool ip_takes_joined(const struct ip *ip, const struct base_flow *f)
{
    const struct path *path = &ip->paths[path_slot(f)];
    return path_is(path, f, ip->epoch) && path->device_tso;
}

/* ---- frames of our own ---- */

struct packet *ip_own_packet(struct ip *ip)
{
    struct packet *p = packet_alloc(ip->pool);
    if (p == NULL)
        stats_drop(ip->stats, STATS_DROP_IP_NO_BUFFER);
    return p;
}

void ip_head4(struct packet *p, const struct base_addr *from, const struct base_addr *to, uint8_t protocol)
{
    uint8_t *h = packet_prepend(p, IP4_LEN);
    write4(h, from, to, protocol, (uint16_t)packet_len(p));
    store16_raw(h + 10, (uint16_t)~ip_sum_fold(ip_sum_short(h, IP4_LEN)));
}

void ip_head6(struct packet *p, const struct base_addr *from, const struct base_addr *to, uint8_t protocol,
              uint8_t hop_limit)
{
    uint16_t len = (uint16_t)packet_len(p);
    write6(packet_prepend(p, IP6_LEN), from, to, protocol, hop_limit, len);
}

void ip_out_frame(struct ip *ip, uint16_t index, struct packet *p, const uint8_t to[6], uint16_t type)
{
    const struct port_state *port = &ip->ports[index];
    struct waiting *w = base_slab_alloc(&ip->waitings);
    if (w == NULL) {
        drop(ip, p, STATS_DROP_NEIGHBOUR_QUEUE_FULL);
        return;
    }
    ip_ethernet(packet_prepend(p, port->l2_len), port, to, port->c.mac, type);
    packet_tx_offload(p, 0, 0, 0, 0);
    *w = (struct waiting){.packet = p, .port = index};
    base_list_push_back(&ip->out, &w->link);
}

struct packet *ip_output_next(struct ip *ip, uint16_t *port)
{
    struct base_list *l = base_list_pop_front(&ip->out);
    if (l == NULL)
        return NULL;
    struct waiting *w = base_container(l, struct waiting, link);
    struct packet *p = w->packet;
    *port = w->port;
    base_slab_free(&ip->waitings, w);
    return p;
}

/* ---- next hops that do not answer ---- */

void ip_report_unreachable(struct ip *ip, const struct base_flow *flow, uint32_t seq)
{
    struct waiting *w = base_slab_alloc(&ip->waitings);
    if (w == NULL)
        return; /* TCP's own timer finds out */
    *w = (struct waiting){.flow = *flow, .seq = seq, .port = flow->port, .tcp = true};
    base_list_push_back(&ip->failed, &w->link);
}

bool ip_unreachable_next(struct ip *ip, struct ip_result *result)
{
    struct base_list *l = base_list_pop_front(&ip->failed);
    if (l == NULL)
        return false;
    struct waiting *w = base_container(l, struct waiting, link);
    *result = (struct ip_result){.flow = w->flow, .seq = w->seq, .hard = true};
    base_slab_free(&ip->waitings, w);
    return true;
}
