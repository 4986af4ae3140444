/* In: from a frame to a TCP segment.
 *
 * No length is believed: not the frame's (padding, truncation by af_packet), not IP's.  What is read lies within
 * packet_len().
 *
 * Checksums: a device's "good" is believed after VERIFY_FIRST of its verdicts were found right, and never again after
 * one was wrong; its "bad" is always looked at once more, so a device that lies costs cycles and not packets. */
#include "internal.h"

#define MAX_EXTENSIONS 8 /* IPv6 extension headers in a packet */

static inline bool believes_device(struct port_state *port, const struct packet *p)
{
    return (port->c.flags & IP_RX_CSUM) != 0 && (packet_rx_flags(p) & PACKET_RX_L4_GOOD) != 0 && port->unverified == 0;
}

/* A virtio device's way of saying that the segment never left the machine. */
static inline bool vouched(const struct port_state *port, const struct packet *p, const uint8_t *tcp, uint32_t len, uint64_t pseudo)
{
    uint16_t field;
    if ((port->c.flags & IP_RX_CSUM) == 0 || (packet_rx_flags(p) & PACKET_RX_L4_PARTIAL) == 0)
        return false;
    memcpy(&field, tcp + 16, 2);
    return field == ip_sum_fold(pseudo + pseudo_tail(PROTO_TCP, len));
}

static bool segment_sum_right(struct ip *ip, struct port_state *port, const struct packet *p, const uint8_t *tcp,
                              uint32_t len, uint64_t pseudo)
{
    bool right = ip_sum_fold(pseudo + pseudo_tail(PROTO_TCP, len) + ip_sum(tcp, len)) == 0xffff;
    if ((port->c.flags & IP_RX_CSUM) != 0 && (packet_rx_flags(p) & PACKET_RX_L4_GOOD) != 0) {
        if (right)
            port->unverified--;
        else { /* it lied */
            port->c.flags &= ~(uint32_t)IP_RX_CSUM;
            stats_drop(ip->stats, STATS_DROP_DEVICE_CHECKSUM);
        }
    }
    return right;
}

/* A kernel on the other end of a veth leaves the checksum to a device that never comes: the field holds the sum of the pseudo-header
 * alone, which tells this from damage. */
static __attribute__((noinline)) enum stats_drop wrong_sum(const uint8_t *tcp, uint32_t len, uint64_t pseudo)
{
    uint16_t field;
    memcpy(&field, tcp + 16, 2);
    return field == ip_sum_fold(pseudo + pseudo_tail(PROTO_TCP, len)) ? STATS_DROP_L4_PARTIAL : STATS_DROP_L4_CHECKSUM;
}

/* at: offset of the TCP header; pseudo: sum of the addresses; flow's addresses are filled in. */
static inline enum ip_verdict segment(struct ip *ip, struct port_state *port, uint16_t index, struct packet *p,
                                      uint32_t at, uint32_t len, uint64_t pseudo, uint8_t ecn, struct ip_result *r)
{
    uint8_t *tcp = packet_data(p) + at;
    if (unlikely(len < TCP_LEN))
        return drop(ip, p, STATS_DROP_TCP_MALFORMED);
    if (!believes_device(port, p) && !vouched(port, p, tcp, len, pseudo) && unlikely(!segment_sum_right(ip, port, p, tcp, len, pseudo)))
        return drop(ip, p, wrong_sum(tcp, len, pseudo));
    r->flow.remote_port = load16(tcp);
    r->flow.local_port = load16(tcp + 2);
    r->flow.port = index;
    r->flow.ecn = ecn;
    r->flow.pad = 0;
    if (unlikely(port->trials != 0))
        trial_answer(ip, port, &r->flow, tcp);
    packet_trim(p, packet_len(p) - at - len); /* Ethernet's padding */
    packet_adj(p, at);
    return IP_TCP;
}

/* ---- IPv4 ---- */

/* RFC 1122 section 3.2.1.3: no network 0, loopback, group, class E, and not ourselves. */
static inline bool source4_ok(const struct port_state *port, uint32_t raw, const struct base_addr *a)
{
    uint8_t first = (uint8_t)raw;
    return first != 0 && first != 127 && first < 224 && !ip_port_owns(port, a);
}

static __attribute__((noinline)) enum ip_verdict other4(struct ip *ip, struct frame *f, uint32_t at, uint32_t head,
                                                        uint32_t len, uint8_t protocol, const struct ip_result *r)
{
    uint8_t *payload = packet_data(f->packet) + at;
    struct datagram d = {.source = r->flow.remote, .target = r->flow.local, .head = payload - head, .payload = payload, .len = len};
    return protocol == PROTO_ICMP ? icmp4_input(ip, f, &d) : protocol4_unknown(ip, f, &d, protocol);
}

static inline enum ip_verdict input4(struct ip *ip, struct frame *f, uint32_t at)
{
    struct packet *p = f->packet;
    const uint8_t *h = packet_data(p) + at;
    uint32_t left = packet_len(p) - at;
    if (unlikely(left < IP4_LEN))
        return drop(ip, p, STATS_DROP_IP_TRUNCATED);
    uint32_t head = (h[0] & 15) * 4u, total = load16(h + 2);
    if (unlikely(h[0] >> 4 != 4 || head < IP4_LEN || total < head))
        return drop(ip, p, STATS_DROP_IP_MALFORMED);
    if (unlikely(total > left))
        return drop(ip, p, STATS_DROP_IP_TRUNCATED);
    if (unlikely(ip_sum_fold(ip_sum_short(h, head)) != 0xffff))
        return drop(ip, p, STATS_DROP_IP_CHECKSUM);
    uint32_t source = load32_raw(h + 12), target = load32_raw(h + 16);
    struct ip_result *r = f->result;
    r->flow.remote = base_addr_from_v4(source);
    r->flow.local = base_addr_from_v4(target);
    if (unlikely(!ip_port_owns(f->port, &r->flow.local)))
        return drop(ip, p, STATS_DROP_IP_NOT_FOR_US);
    if (unlikely(f->group)) /* RFC 1122 section 3.3.6: to one address, but to all stations */
        return drop(ip, p, STATS_DROP_ETH_NOT_FOR_US);
    if (unlikely(!source4_ok(f->port, source, &r->flow.remote)))
        return drop(ip, p, STATS_DROP_IP_BAD_SOURCE);
    if (unlikely((load16(h + 6) & 0x3fff) != 0))
        return fragment4_input(ip, f, h, head, total);
    if (unlikely(h[9] != PROTO_TCP))
        return other4(ip, f, at + head, head, total - head, h[9], r);
    return segment(ip, f->port, f->index, p, at + head, total - head, (uint64_t)source + target, h[1] & 3, r);
}

/* ---- IPv6 ---- */

/* RFC 8200 section 4.2: the two high bits of an unknown option say whether it may be skipped. */
static bool options_skippable(const uint8_t *o, uint32_t left)
{
    while (left > 0) {
        if (o[0] == 0) { /* Pad1 */
            o++;
            left--;
            continue;
        }
        if (left < 2 || 2u + o[1] > left || (o[0] != 1 && o[0] >> 6 != 0 && o[0] != 0xc2))
            return false;
        left -= 2u + o[1];
        o += 2u + o[1];
    }
    return true;
}

enum skip { SKIPPED, SKIP_BAD, SKIP_SHORT, SKIP_FRAGMENT };

/* One extension header at *at, `end` bytes of packet behind `h`. */
static enum skip skip_extension(const uint8_t *h, uint32_t end, uint8_t *next, uint32_t *at)
{
    if (end - *at < 8)
        return SKIP_SHORT;
    const uint8_t *e = h + *at;
    uint32_t len = 8;
    if (*next == PROTO_FRAGMENT) {
        if ((load16(e + 2) & 0xfff9) != 0) /* an atomic fragment is none: RFC 6946 */
            return SKIP_FRAGMENT;
    } else {
        len = (e[1] + 1u) * 8;
        if (len > end - *at)
            return SKIP_SHORT;
        if (*next == PROTO_ROUTING
                ? e[3] != 0
                : !options_skippable(e + 2, len - 2)) /* segments left: RFC 8200 section 4.4, RFC 5095 */
            return SKIP_BAD;
    }
    *next = e[0];
    *at += len;
    return SKIPPED;
}

static bool is_extension(uint8_t next)
{
    return next == PROTO_HOPOPTS || next == PROTO_ROUTING || next == PROTO_FRAGMENT || next == PROTO_DSTOPTS;
}

__attribute__((noinline)) bool ip_skip_extensions(const uint8_t *h, uint32_t end, uint8_t *next, uint32_t *at,
                                                  enum stats_drop *why)
{
    for (int i = 0; is_extension(*next); i++) {
        enum skip s =
            (i == MAX_EXTENSIONS || (*next == PROTO_HOPOPTS && i > 0)) ? SKIP_BAD : skip_extension(h, end, next, at);
        *why = s == SKIP_FRAGMENT ? STATS_DROP_IP_FRAGMENT
               : s == SKIP_SHORT  ? STATS_DROP_IP_TRUNCATED
                                  : STATS_DROP_IP_MALFORMED;
        if (s != SKIPPED)
            return false;
    }
    return true;
}

uint32_t ip_next_field(const uint8_t *h, uint32_t at)
{
    uint32_t field = 6;
    for (uint32_t i = IP6_LEN; i < at;) {
        uint32_t len = h[field] == PROTO_FRAGMENT ? FRAGMENT_LEN : (h[i + 1] + 1u) * 8;
        field = i;
        i += len;
    }
    return field;
}

/* As ip_skip_extensions(); notes an atomic fragment. */
static bool extensions6(struct frame *f, const uint8_t *h, uint32_t end, uint8_t *next, uint32_t *at, enum stats_drop *why)
{
    if (!ip_skip_extensions(h, end, next, at, why))
        return false;
    uint8_t kind = h[6];
    for (uint32_t i = IP6_LEN; i < *at;) {
        f->fragmented |= kind == PROTO_FRAGMENT;
        uint32_t len = kind == PROTO_FRAGMENT ? FRAGMENT_LEN : (h[i + 1] + 1u) * 8;
        kind = h[i];
        i += len;
    }
    return true;
}

/* A group that we listen to: all nodes, and the solicited-node groups of our addresses. */
static bool in_group(const struct port_state *port, const struct base_addr *group)
{
    static const struct base_addr all_nodes = {.b = {0xff, 0x02, [15] = 1}};
    if (base_addr_eq(group, &all_nodes))
        return true;
    struct base_addr own = ip_solicited_node(&port->link_local);
    bool in = base_addr_eq(group, &own);
    for (uint32_t i = 0; i < port->c.addresses && !in; i++) {
        own = ip_solicited_node(&port->c.address[i].addr);
        in = !base_addr_is_v4(&port->c.address[i].addr) && base_addr_eq(group, &own);
    }
    return in;
}

static __attribute__((noinline)) enum ip_verdict other6(struct ip *ip, struct frame *f, uint32_t at, uint32_t skip,
                                                        uint32_t len, uint8_t next, uint8_t hop_limit, uint64_t pseudo,
                                                        const struct ip_result *r)
{
    uint8_t *payload = packet_data(f->packet) + at;
    struct datagram d = {.source = r->flow.remote,
                         .target = r->flow.local,
                         .head = payload - skip,
                         .payload = payload,
                         .len = len,
                         .hop_limit = hop_limit,
                         .pseudo = pseudo};
    if (next == PROTO_ICMP6)
        return icmp6_input(ip, f, &d);
    if (is_multicast6(&d.target)) /* RFC 4443 section 2.4 (e.3) */
        return drop(ip, f->packet, STATS_DROP_IP_UNKNOWN_PROTOCOL);
    return protocol6_unknown(ip, f, &d, next);
}

static inline bool source6_ok(const struct port_state *port, const struct base_addr *a)
{
    /* v4-mapped on the wire would be taken for IPv4 above (RFC 4038 section 4.2); ::1 and multicast are no hosts. */
    bool odd = a->q[0] == 0 && !base_addr_is_zero(a);
    return !is_multicast6(a) && !odd && !ip_port_owns(port, a);
}

static inline enum ip_verdict input6(struct ip *ip, struct frame *f, uint32_t at)
{
    struct packet *p = f->packet;
    const uint8_t *h = packet_data(p) + at;
    uint32_t left = packet_len(p) - at;
    if (unlikely(left < IP6_LEN))
        return drop(ip, p, STATS_DROP_IP_TRUNCATED);
    uint32_t end = IP6_LEN + load16(h + 4), skip = IP6_LEN;
    if (unlikely(h[0] >> 4 != 6))
        return drop(ip, p, STATS_DROP_IP_MALFORMED);
    if (unlikely(end > left))
        return drop(ip, p, STATS_DROP_IP_TRUNCATED);
    uint8_t next = h[6];
    struct ip_result *r = f->result;
    r->flow.remote = base_addr_from_v6(h + 8);
    r->flow.local = base_addr_from_v6(h + 24);
    bool ours = ip_port_owns(f->port, &r->flow.local) && !base_addr_is_v4(&r->flow.local);
    if (unlikely(!ours && !in_group(f->port, &r->flow.local)))
        return drop(ip, p, STATS_DROP_IP_NOT_FOR_US);
    if (unlikely(ours && f->group))
        return drop(ip, p, STATS_DROP_ETH_NOT_FOR_US);
    if (unlikely(!source6_ok(f->port, &r->flow.remote)))
        return drop(ip, p, STATS_DROP_IP_BAD_SOURCE);
    enum stats_drop why;
    if (unlikely(is_extension(next)) && !extensions6(f, h, end, &next, &skip, &why))
        return why == STATS_DROP_IP_FRAGMENT ? fragment6_input(ip, f, h, skip, end) : drop(ip, p, why);
    uint64_t pseudo = addr_sum(&r->flow.local) + addr_sum(&r->flow.remote);
    if (unlikely(next != PROTO_TCP))
        return other6(ip, f, at + skip, skip, end - skip, next, h[7], pseudo, r);
    if (unlikely(!ours || base_addr_is_zero(&r->flow.remote)))
        return drop(ip, p, STATS_DROP_IP_NOT_FOR_US);
    return segment(ip, f->port, f->index, p, at + skip, end - skip, pseudo, h[1] >> 4 & 3, r);
}

/* ---- Ethernet ---- */

/* Tags, in the frame or stripped by the device.  False: not our VLAN.  Priority tags (VLAN 0) count as untagged. */
static bool vlan_ok(const struct port_state *port, const struct packet *p, const uint8_t *d, uint32_t *at,
                    uint16_t *type)
{
    uint16_t vlan = 0;
    if (packet_rx_flags(p) & PACKET_RX_VLAN)
        vlan = packet_vlan(p) & 0xfff;
    if (*type == ETH_TYPE_VLAN) {
        if (vlan != 0 || packet_len(p) < ETH_LEN + VLAN_LEN)
            return false;
        vlan = load16(d + ETH_LEN) & 0xfff;
        *type = load16(d + ETH_LEN + 2);
        *at = ETH_LEN + VLAN_LEN;
    }
    return vlan == port->c.vlan;
}

static inline enum ip_verdict input(struct ip *ip, uint16_t index, struct packet *p, uint64_t now, struct ip_result *result, bool answers)
{
    assert(index < ip->config.ports);
    struct frame f = {.packet = p, .port = &ip->ports[index], .index = index, .now = now, .result = result, .answers = answers};
    uint32_t at = ETH_LEN;
    if (unlikely(packet_len(p) < ETH_LEN))
        return drop(ip, p, STATS_DROP_ETH_SHORT);
    const uint8_t *d = packet_data(p);
    uint16_t type = load16(d + 12);
    f.group = mac_is_group(d);
    memcpy(f.source, d + 6, 6);
    if (unlikely(!f.port->configured || mac_is_group(f.source) || (!f.group && !mac_eq(d, f.port->c.mac))))
        return drop(ip, p, STATS_DROP_ETH_NOT_FOR_US);
    if (unlikely(type == ETH_TYPE_VLAN || type == ETH_TYPE_QINQ || f.port->c.vlan != 0 ||
                 (packet_rx_flags(p) & PACKET_RX_VLAN)) &&
        !vlan_ok(f.port, p, d, &at, &type))
        return drop(ip, p, STATS_DROP_ETH_VLAN);
    if (type == ETH_TYPE_IP4)
        return input4(ip, &f, at);
    if (type == ETH_TYPE_IP6)
        return input6(ip, &f, at);
    if (type == ETH_TYPE_ARP)
        return arp_input(ip, &f, at);
    return drop(ip, p,
                type == ETH_TYPE_VLAN || type == ETH_TYPE_QINQ ? STATS_DROP_ETH_VLAN : STATS_DROP_ETH_UNKNOWN_TYPE);
}

enum ip_verdict ip_input(struct ip *ip, uint16_t index, struct packet *p, uint64_t now, struct ip_result *result)
{
    return input(ip, index, p, now, result, true);
}

void ip_learn(struct ip *ip, uint16_t index, struct packet *p, uint64_t now)
{
    struct ip_result r;
    enum ip_verdict v = input(ip, index, p, now, &r, false);
    if (v == IP_TCP || v == IP_WHOLE) /* no news: nobody gives us such a one */
        packet_free(v == IP_TCP ? p : r.whole);
}
