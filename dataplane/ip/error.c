/* ICMP errors that we send (RFC 1122 section 3.2.2, RFC 1812 section 4.3, RFC 4443 section 2.4): an answer to what nobody here takes, never
 * a weapon.  None about an error, about a packet to a group, about a fragment other than the first, or to what is no single host; and no more than
 * `error_rate` a second of all kinds. */
#include "internal.h"

#define QUOTE4 (576 - IP4_LEN - ICMP_LEN)  /* RFC 1812 section 4.3.2.3 */
#define QUOTE6 (1280 - IP6_LEN - ICMP_LEN) /* RFC 4443 section 2.4 (c) */

/* Is it, or may it be, an ICMP error?  RFC 1122 section 3.2.2, RFC 4443 section 2.4 (e.1), (e.2). */
static bool is_error4(const uint8_t *h, uint32_t len)
{
    uint32_t head = (h[0] & 15) * 4u;
    return h[9] == PROTO_ICMP && (len <= head || (h[head] != ICMP_ECHO && h[head] != ICMP_ECHO_REPLY));
}

static bool is_error6(const uint8_t *h, uint32_t len)
{
    uint8_t next = h[6];
    uint32_t at = IP6_LEN;
    enum stats_drop why;
    if (!ip_skip_extensions(h, len, &next, &at, &why)) {
        if (next != PROTO_FRAGMENT || len - at < FRAGMENT_LEN)
            return true;
        next = h[at];
        at += FRAGMENT_LEN;
        if (!ip_skip_extensions(h, len, &next, &at, &why))
            return true;
    }
    return next == PROTO_ICMP6 && (len <= at || h[at] < 128 || h[at] == ICMP6_REDIRECT);
}

/* A source that is one host, and may be answered (RFC 1122 section 3.2.2; RFC 4443 section 2.4 (e.6)). */
static bool is_host(const struct ip *ip, const struct icmp_offence *o)
{
    return ip_is_station(&ip->ports[o->port], &o->source) && !mac_is_group(o->to);
}

static struct packet *error_packet(struct ip *ip, const struct icmp_offence *o, uint32_t quote, uint8_t type, uint8_t code, uint32_t word)
{
    struct packet *p = ip_own_packet(ip);
    if (p == NULL)
        return NULL;
    uint32_t room = packet_tailroom(p) - ICMP_LEN, n = o->len < quote ? o->len : quote;
    n = n < room ? n : room;
    uint8_t *m = packet_append(p, ICMP_LEN + n);
    m[0] = type;
    m[1] = code;
    store16(m + 2, 0);
    store32(m + 4, word);
    memcpy(m + ICMP_LEN, o->packet, n);
    return p;
}

void icmp_error_out(struct ip *ip, const struct icmp_offence *o, uint8_t type, uint8_t code, uint32_t word, uint64_t now)
{
    bool v6 = !base_addr_is_v4(&o->source);
    if (!is_host(ip, o) || (v6 ? is_error6(o->packet, o->len) : is_error4(o->packet, o->len)))
        return;
    if (!icmp_bucket_take(&ip->errors, ip->config.error_rate, now)) {
        stats_count(ip->stats, STATS_ICMP_ERRORS_HELD, 1);
        return;
    }
    struct packet *p = error_packet(ip, o, v6 ? QUOTE6 : QUOTE4, type, code, word);
    if (p == NULL)
        return;
    uint8_t *m = packet_data(p);
    uint32_t len = packet_len(p);
    uint64_t pseudo = v6 ? addr_sum(&o->target) + addr_sum(&o->source) + pseudo_tail(PROTO_ICMP6, len) : 0;
    store16_raw(m + 2, (uint16_t)~ip_sum_fold(pseudo + ip_sum(m, len)));
    if (v6)
        ip_head6(p, &o->target, &o->source, PROTO_ICMP6, 64);
    else
        ip_head4(p, &o->target, &o->source, PROTO_ICMP);
    stats_count(ip->stats, STATS_ICMP_ERRORS, 1);
    ip_out_frame(ip, o->port, p, o->to, v6 ? ETH_TYPE_IP6 : ETH_TYPE_IP4);
}

/* ---- what nobody here takes ---- */

static enum ip_verdict offend(struct ip *ip, struct frame *f, const struct datagram *d, uint8_t type, uint8_t code, uint32_t word,
                              enum stats_drop why)
{
    struct icmp_offence o = {.source = d->source, .target = d->target, .packet = d->head, .len = (uint32_t)(d->payload - d->head) + d->len,
                             .port = f->index, .to = f->source};
    if (!f->group)
        icmp_error_out(ip, &o, type, code, word, f->now);
    return drop(ip, f->packet, why);
}

enum ip_verdict protocol4_unknown(struct ip *ip, struct frame *f, const struct datagram *d, uint8_t protocol)
{
    if (protocol != PROTO_UDP) /* RFC 1122 section 3.2.2.1 */
        return offend(ip, f, d, ICMP_UNREACHABLE, ICMP_PROTOCOL_UNREACHABLE, 0, STATS_DROP_IP_UNKNOWN_PROTOCOL);
    if (d->len < UDP_LEN)
        return drop(ip, f->packet, STATS_DROP_UDP_MALFORMED);
    return offend(ip, f, d, ICMP_UNREACHABLE, ICMP_PORT_UNREACHABLE, 0, STATS_DROP_UDP_NO_PORT); /* section 4.1.3.1 */
}

/* DEVIATION: what options and routing headers would have us tell (RFC 8200 sections 4.2, 4.4) is dropped without a word. */
enum ip_verdict protocol6_unknown(struct ip *ip, struct frame *f, const struct datagram *d, uint8_t next)
{
    if (next == PROTO_NONE) /* nothing to take: RFC 8200 section 4.7 */
        return drop(ip, f->packet, STATS_DROP_IP_UNKNOWN_PROTOCOL);
    if (next != PROTO_UDP) /* the pointer says where it stands: RFC 4443 section 3.4 */
        return offend(ip, f, d, ICMP6_PARAMETER, ICMP6_UNKNOWN_NEXT, ip_next_field(d->head, (uint32_t)(d->payload - d->head)),
                      STATS_DROP_IP_UNKNOWN_PROTOCOL);
    if (d->len < UDP_LEN)
        return drop(ip, f->packet, STATS_DROP_UDP_MALFORMED);
    return offend(ip, f, d, ICMP6_UNREACHABLE, ICMP6_PORT_UNREACHABLE, 0, STATS_DROP_UDP_NO_PORT); /* RFC 4443 section 3.1 */
}
