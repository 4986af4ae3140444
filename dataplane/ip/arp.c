/* ARP (RFC 826) over Ethernet and IPv4, with the announcements of RFC 5227. */
#include "internal.h"

static const uint8_t everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

/* op, sender (us), target. */
static void arp_send(struct ip *ip, uint16_t index, uint16_t op, const struct base_addr *from,
                     const uint8_t target_mac[6], const struct base_addr *target, const uint8_t to[6])
{
    struct packet *p = ip_own_packet(ip);
    if (p == NULL)
        return;
    uint32_t source_v4 = base_addr_v4(from), target_v4 = base_addr_v4(target);
    uint8_t *a = packet_append(p, ETH_MIN_PAYLOAD);
    memset(a, 0, ETH_MIN_PAYLOAD);
    store16(a, 1);
    store16(a + 2, ETH_TYPE_IP4);
    a[4] = 6;
    a[5] = 4;
    store16(a + 6, op);
    memcpy(a + 8, ip->ports[index].c.mac, 6);
    memcpy(a + 14, &source_v4, 4);
    memcpy(a + 18, target_mac, 6);
    memcpy(a + 24, &target_v4, 4);
    stats_count(ip->stats, op == ARP_REQUEST ? STATS_ARP_REQUESTS : STATS_ARP_REPLIES, 1);
    ip_out_frame(ip, index, p, to, ETH_TYPE_ARP);
}

void arp_solicit(struct ip *ip, uint16_t index, const struct base_addr *target, const uint8_t *to_mac)
{
    const struct base_addr *from = ip_port_source(&ip->ports[index], target);
    if (from != NULL)
        arp_send(ip, index, ARP_REQUEST, from, (const uint8_t[6]){0}, target, to_mac != NULL ? to_mac : everybody);
}

/* RFC 5227 section 2.3: sender and target are both ours. */
void arp_announce(struct ip *ip, uint16_t index, const struct base_addr *ours)
{
    arp_send(ip, index, ARP_REQUEST, ours, (const uint8_t[6]){0}, ours, everybody);
}

static bool arp_valid(const uint8_t *a, uint32_t len)
{
    if (len < ARP_LEN || load16(a) != 1 || load16(a + 2) != ETH_TYPE_IP4 || a[4] != 6 || a[5] != 4)
        return false;
    uint16_t op = load16(a + 6);
    const uint8_t *sender = a + 8;
    return (op == ARP_REQUEST || op == ARP_REPLY) && !mac_is_group(sender) && !mac_is_zero(sender);
}

static bool host_like(uint32_t v4)
{
    uint8_t first = (uint8_t)v4; /* network byte order on a little-endian machine: the first byte */
    return first != 0 && first != 127 && first < 224;
}

enum ip_verdict arp_input(struct ip *ip, struct frame *f, uint32_t at)
{
    const uint8_t *a = packet_data(f->packet) + at;
    if (!arp_valid(a, packet_len(f->packet) - at))
        return drop(ip, f->packet, STATS_DROP_ARP_MALFORMED);
    uint8_t mac[6];
    memcpy(mac, a + 8, 6);
    uint16_t op = load16(a + 6);
    uint32_t sender_v4 = load32_raw(a + 14);
    struct base_addr sender = base_addr_from_v4(sender_v4), target = base_addr_from_v4(load32_raw(a + 24));
    bool to_us = ip_port_owns(f->port, &target);
    packet_free(f->packet);
    /* Who uses an address of ours, or speaks from outside of our links, is answered perhaps but never learnt. A probe
     * has sender 0. */
    bool learn = host_like(sender_v4) && !ip_port_owns(f->port, &sender) && ip_port_source(f->port, &sender) != NULL;
    if (learn && op == ARP_REPLY && to_us)
        neighbour_advertised(ip, f->index, &sender, mac, true, true, f->now);
    else if (learn)
        neighbour_heard(ip, f->index, &sender, mac, to_us, f->now);
    if (op == ARP_REQUEST && to_us && f->answers)
        arp_send(ip, f->index, ARP_REPLY, &target, mac, &sender, mac);
    return IP_DONE;
}
