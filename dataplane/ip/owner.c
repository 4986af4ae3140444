/* Whose frame it is: a look at the tuple that believes no length, and changes nothing.
 *
 * Checksums, addresses and tags are not looked at: ip_input() does that on the worker that gets the frame. */
#include "internal.h"
#include "owner.h"

static_assert(BASE_STEER_PORTS == IP_PORTS_MAX, "an index for each port");

/* Multiply instead of divide: h is uniform over 32 bits. */
static inline uint32_t spread(const struct ip_owners *o, uint32_t h)
{
    return (uint32_t)(((uint64_t)h * o->workers) >> 32);
}

static inline bool opened(const struct ip_owners *o, uint16_t local_port)
{
    return local_port >= o->port_low && local_port <= o->port_high;
}

uint32_t ip_owner_flow(const struct ip_owners *o, const struct base_flow *f)
{
    if (opened(o, f->local_port)) {
        uint32_t owner = f->local_port & o->port_mask;
        return owner < o->workers ? owner : owner - o->workers; /* a port that nobody opens: anybody may say so */
    }
    const struct base_steer *steer = o->steer[f->port];
    return steer != NULL ? base_steer_queue(steer, f) : spread(o, base_flow_hash(&o->key, f));
}

/* ---- by the device's own hash ---- */

static __attribute__((noinline)) uint32_t verify(struct ip_owners *o, const struct base_flow *f, uint8_t *unverified, uint32_t hash)
{
    const struct base_steer *steer = o->steer[f->port];
    uint32_t right = base_steer_hash(steer, f);
    if (right == hash) {
        --*unverified;
    } else {
        *unverified = IP_OWNER_LIED;
        if (o->stats != NULL)
            stats_drop(o->stats, STATS_DROP_DEVICE_HASH);
    }
    return base_steer_entry(steer, right);
}

static inline uint32_t owner_plain(struct ip_owners *o, const struct base_flow *f, const struct packet *p)
{
    const struct base_steer *steer = o->steer[f->port];
    uint8_t *unverified = &o->unverified[f->port][!base_addr_is_v4(&f->remote)];
    if (steer == NULL || opened(o, f->local_port) || (packet_rx_flags(p) & PACKET_RX_HASH) == 0 || *unverified == IP_OWNER_LIED)
        return ip_owner_flow(o, f);
    if (unlikely(*unverified > 0))
        return verify(o, f, unverified, packet_hash(p));
    if (o->stats != NULL)
        stats_count(o->stats, STATS_OWNERS_BY_DEVICE, 1);
    return base_steer_entry(steer, packet_hash(p));
}

/* ---- by the headers ---- */

/* The frame under the eye. */
struct look {
    struct ip_owners *o;
    struct packet *packet;
    uint16_t port;
};

static uint32_t owner_fragment(const struct ip_owners *o, const struct base_flow *f, uint32_t id)
{
    struct base_flow by = {.local = f->local, .remote = f->remote, .local_port = (uint16_t)(id >> 16), .remote_port = (uint16_t)id};
    return spread(o, base_flow_hash(&o->key, &by));
}

/* plain: no options, no extension headers */
static uint32_t owner_tcp(const struct look *l, struct base_flow *f, const uint8_t *tcp, uint32_t left, bool plain)
{
    if (left < 4)
        return IP_OWNER_ANY;
    f->remote_port = load16(tcp);
    f->local_port = load16(tcp + 2);
    return plain ? owner_plain(l->o, f, l->packet) : ip_owner_flow(l->o, f);
}

static uint32_t owner_icmp4(const struct look *l, const uint8_t *m, uint32_t left)
{
    struct ip_result r;
    bool error = left >= ICMP_LEN && (m[0] == ICMP_UNREACHABLE || m[0] == ICMP_TIME_EXCEEDED || m[0] == ICMP_PARAMETER);
    if (!error || !icmp4_inner(m + ICMP_LEN, left - ICMP_LEN, &r))
        return IP_OWNER_ANY;
    r.flow.port = l->port;
    return ip_owner_flow(l->o, &r.flow);
}

static uint32_t owner_icmp6(const struct look *l, const uint8_t *m, uint32_t left)
{
    struct ip_result r;
    if (left < ICMP_LEN)
        return IP_OWNER_ANY;
    if (m[0] == ICMP6_SOLICIT || m[0] == ICMP6_ADVERT)
        return IP_OWNER_ALL;
    bool error = m[0] >= ICMP6_UNREACHABLE && m[0] <= ICMP6_PARAMETER;
    if (!error || !icmp6_inner(m + ICMP_LEN, left - ICMP_LEN, &r))
        return IP_OWNER_ANY;
    r.flow.port = l->port;
    return ip_owner_flow(l->o, &r.flow);
}

static uint32_t owner4(const struct look *l, const uint8_t *h, uint32_t left)
{
    uint32_t head = left >= IP4_LEN ? (h[0] & 15) * 4u : 0;
    if (head < IP4_LEN || head > left)
        return IP_OWNER_ANY;
    struct base_flow f;
    f.port = l->port;
    f.remote = base_addr_from_v4(load32_raw(h + 12));
    f.local = base_addr_from_v4(load32_raw(h + 16));
    if (unlikely((load16(h + 6) & 0x3fff) != 0))
        return owner_fragment(l->o, &f, (uint32_t)h[9] << 16 | load16(h + 4)); /* RFC 791: identification is a protocol's own */
    if (h[9] == PROTO_TCP)
        return owner_tcp(l, &f, h + head, left - head, head == IP4_LEN);
    return h[9] == PROTO_ICMP ? owner_icmp4(l, h + head, left - head) : IP_OWNER_ANY;
}

static uint32_t owner6(const struct look *l, const uint8_t *h, uint32_t left)
{
    uint32_t end = left >= IP6_LEN ? IP6_LEN + (uint32_t)load16(h + 4) : UINT32_MAX, at = IP6_LEN;
    if (end > left)
        return IP_OWNER_ANY;
    struct base_flow f;
    f.port = l->port;
    f.remote = base_addr_from_v6(h + 8);
    f.local = base_addr_from_v6(h + 24);
    uint8_t next = h[6];
    enum stats_drop why;
    if (next != PROTO_TCP && next != PROTO_ICMP6 && !ip_skip_extensions(h, end, &next, &at, &why))
        return why == STATS_DROP_IP_FRAGMENT ? owner_fragment(l->o, &f, load32(h + at + 4)) : IP_OWNER_ANY;
    if (next == PROTO_TCP)
        return owner_tcp(l, &f, h + at, end - at, at == IP6_LEN);
    return next == PROTO_ICMP6 ? owner_icmp6(l, h + at, end - at) : IP_OWNER_ANY;
}

uint32_t ip_owner(struct ip_owners *o, uint16_t port, struct packet *p)
{
    const struct look l = {o, p, port};
    const uint8_t *d = packet_data(p);
    uint32_t len = packet_len(p), at = ETH_LEN;
    if (len < ETH_LEN + VLAN_LEN)
        return IP_OWNER_ANY;
    uint16_t type = load16(d + 12);
    if (type == ETH_TYPE_VLAN) {
        type = load16(d + ETH_LEN + 2);
        at += VLAN_LEN;
    }
    if (type == ETH_TYPE_IP4)
        return owner4(&l, d + at, len - at);
    if (type == ETH_TYPE_IP6)
        return owner6(&l, d + at, len - at);
    return type == ETH_TYPE_ARP ? IP_OWNER_ALL : IP_OWNER_ANY;
}
