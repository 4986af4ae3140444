/* Neighbour discovery (RFC 4861): solicitations and advertisements.  Router advertisements and redirects are not
 * listened to: the gateway is configured.
 *
 * DEVIATION: no duplicate address detection (RFC 4862 section 5.4) and no MLD report for the solicited-node group (RFC
 * 3810): addresses come from the operator as a server's do; a switch that snoops MLD without a querier floods, one with
 * a querier needs the group allowed. */
#include "internal.h"

#define ND_LEN 24 /* NS and NA without options */

struct base_addr ip_solicited_node(const struct base_addr *a)
{
    struct base_addr g = {.b = {0xff, 0x02, [11] = 1, [12] = 0xff}};
    memcpy(g.b + 13, a->b + 13, 3);
    return g;
}

static void group_mac(const struct base_addr *group, uint8_t mac[6])
{
    mac[0] = mac[1] = 0x33; /* RFC 2464 section 7 */
    memcpy(mac + 2, group->b + 12, 4);
}

static void nd_send(struct ip *ip, uint16_t index, uint8_t type, uint32_t flags, const struct base_addr *from,
                    const struct base_addr *to, const struct base_addr *target, const uint8_t to_mac[6])
{
    struct packet *p = ip_own_packet(ip);
    if (p == NULL)
        return;
    uint8_t *m = packet_append(p, ND_LEN + 8);
    m[0] = type;
    m[1] = 0;
    store16(m + 2, 0);
    store32(m + 4, flags);
    memcpy(m + 8, target->b, 16);
    m[24] = type == ICMP6_SOLICIT ? ND_OPTION_SOURCE_MAC : ND_OPTION_TARGET_MAC;
    m[25] = 1;
    memcpy(m + 26, ip->ports[index].c.mac, 6);
    uint64_t sum = addr_sum(from) + addr_sum(to) + pseudo_tail(PROTO_ICMP6, ND_LEN + 8) + ip_sum(m, ND_LEN + 8);
    store16_raw(m + 2, (uint16_t)~ip_sum_fold(sum));
    ip_head6(p, from, to, PROTO_ICMP6, 255);
    stats_count(ip->stats, type == ICMP6_SOLICIT ? STATS_ND_SOLICITS : STATS_ND_ADVERTS, 1);
    ip_out_frame(ip, index, p, to_mac, ETH_TYPE_IP6);
}

void nd_solicit(struct ip *ip, uint16_t index, const struct base_addr *target, const uint8_t *to_mac)
{
    const struct base_addr *from = ip_port_source(&ip->ports[index], target);
    if (from == NULL)
        return;
    if (to_mac != NULL) {
        nd_send(ip, index, ICMP6_SOLICIT, 0, from, target, target, to_mac);
        return;
    }
    struct base_addr group = ip_solicited_node(target);
    uint8_t mac[6];
    group_mac(&group, mac);
    nd_send(ip, index, ICMP6_SOLICIT, 0, from, &group, target, mac);
}

#define NA_SOLICITED 0x40000000u
#define NA_OVERRIDE  0x20000000u

static const struct base_addr all_nodes = {.b = {0xff, 0x02, [15] = 1}};

void nd_announce(struct ip *ip, uint16_t index, const struct base_addr *ours)
{
    uint8_t mac[6];
    group_mac(&all_nodes, mac);
    nd_send(ip, index, ICMP6_ADVERT, NA_OVERRIDE, ours, &all_nodes, ours, mac); /* RFC 4861 section 7.2.6 */
}

/* Looks for one kind of link-layer address option.  False: an option is malformed (section 7.1: length 0, or beyond the
 * end). */
static bool options_parse(const uint8_t *o, uint32_t left, uint8_t want, const uint8_t **mac)
{
    *mac = NULL;
    while (left > 0) {
        if (left < 8 || o[1] == 0 || o[1] * 8u > left)
            return false;
        if (o[0] == want && o[1] == 1)
            *mac = o + 2;
        left -= o[1] * 8u;
        o += o[1] * 8u;
    }
    return *mac == NULL || (!mac_is_group(*mac) && !mac_is_zero(*mac));
}

/* RFC 4861 section 7.1.1 and 7.2.3. */
static bool solicit_input(struct ip *ip, struct frame *f, const struct datagram *d, const struct base_addr *target)
{
    const uint8_t *mac;
    if (!options_parse(d->payload + ND_LEN, d->len - ND_LEN, ND_OPTION_SOURCE_MAC, &mac))
        return false;
    struct base_addr group = ip_solicited_node(target);
    bool unspecified = base_addr_is_zero(&d->source);
    if (unspecified && (mac != NULL || !base_addr_eq(&d->target, &group)))
        return false;
    if (!ip_port_owns(f->port, target))
        return true;
    if (unspecified && !f->answers)
        return true;
    if (unspecified) { /* somebody detects duplicates: all are told (section 7.2.4) */
        uint8_t all[6];
        group_mac(&all_nodes, all);
        nd_send(ip, f->index, ICMP6_ADVERT, NA_OVERRIDE, target, &all_nodes, target, all);
        return true;
    }
    if (mac != NULL && ip_port_source(f->port, &d->source) != NULL && !ip_port_owns(f->port, &d->source))
        neighbour_heard(ip, f->index, &d->source, mac, true, f->now);
    if (f->answers)
        nd_send(ip, f->index, ICMP6_ADVERT, NA_SOLICITED | NA_OVERRIDE, target, &d->source, target,
                mac != NULL ? mac : f->source);
    return true;
}

/* Section 7.1.2 and 7.2.5. */
static bool advert_input(struct ip *ip, struct frame *f, const struct datagram *d, const struct base_addr *target)
{
    const uint8_t *mac;
    uint32_t flags = load32(d->payload + 4);
    bool solicited = (flags & NA_SOLICITED) != 0;
    if (!options_parse(d->payload + ND_LEN, d->len - ND_LEN, ND_OPTION_TARGET_MAC, &mac))
        return false;
    if (solicited && is_multicast6(&d->target))
        return false;
    if (!ip_port_owns(f->port, target))
        neighbour_advertised(ip, f->index, target, mac, solicited, (flags & NA_OVERRIDE) != 0, f->now);
    return true;
}

/* The checksum has been verified. */
enum ip_verdict nd_input(struct ip *ip, struct frame *f, const struct datagram *d)
{
    bool ok = d->hop_limit == 255 && d->len >= ND_LEN && d->payload[1] == 0; /* no router has passed it on */
    if (ok) {
        struct base_addr target = base_addr_from_v6(d->payload + 8);
        ok = !is_multicast6(&target) &&
             (d->payload[0] == ICMP6_SOLICIT ? solicit_input(ip, f, d, &target) : advert_input(ip, f, d, &target));
    }
    if (!ok)
        return drop(ip, f->packet, STATS_DROP_ND_MALFORMED);
    packet_free(f->packet);
    return IP_DONE;
}
