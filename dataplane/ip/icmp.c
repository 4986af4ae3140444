/* ICMP (RFC 792, 1122) and ICMPv6 (RFC 4443): echo is answered, errors about our TCP segments are read, redirects are not believed. */
#include "internal.h"

#define NS_PER_TOKEN 1000000000ull

bool icmp_bucket_take(struct icmp_bucket *b, uint64_t rate, uint64_t now)
{
    uint64_t passed = now > b->last_ns ? now - b->last_ns : 0;
    b->tokens = min64(rate * NS_PER_TOKEN, b->tokens + min64(passed, NS_PER_TOKEN) * rate);
    b->last_ns = now;
    if (b->tokens < NS_PER_TOKEN)
        return false;
    b->tokens -= NS_PER_TOKEN;
    return true;
}

/* The packet becomes its own answer: what precedes the ICMP header is taken off, new headers are put on.  It goes to
 * the station that it came from, so no neighbour is needed. DEVIATION: IPv4 options of the request are not returned
 * (RFC 1122 section 3.2.2.6 would have record route and source routes). */
static enum ip_verdict echo_reply(struct ip *ip, struct frame *f, const struct datagram *d, bool v6)
{
    struct packet *p = f->packet;
    struct base_addr to = d->source, from = d->target;
    uint32_t before = (uint32_t)(d->payload - packet_data(p)), len = d->len, most = f->port->c.mtu - (v6 ? IP6_LEN : IP4_LEN);
    if (len > most && v6) /* put together from fragments; RFC 4443 section 4.2 wants all of it back */
        return drop(ip, p, STATS_DROP_ICMP_TOO_LARGE);
    len = len < most ? len : most; /* RFC 1122 section 3.2.2.6: who does not fragment cuts it off */
    if (!icmp_bucket_take(&ip->echoes, ip->config.echo_rate, f->now))
        return drop(ip, p, STATS_DROP_ICMP_RATE);
    packet_adj(p, before);
    packet_trim(p, packet_len(p) - len);
    uint8_t *m = packet_data(p);
    m[0] = v6 ? ICMP6_ECHO_REPLY : ICMP_ECHO_REPLY;
    store16(m + 2, 0);
    uint64_t pseudo = v6 ? addr_sum(&to) + addr_sum(&from) + pseudo_tail(PROTO_ICMP6, len) : 0;
    store16_raw(m + 2, (uint16_t)~ip_sum_fold(pseudo + ip_sum(m, len)));
    if (v6)
        ip_head6(p, &from, &to, PROTO_ICMP6, 64);
    else
        ip_head4(p, &from, &to, PROTO_ICMP);
    stats_count(ip->stats, STATS_ICMP_ECHOES, 1);
    ip_out_frame(ip, f->index, p, f->source, v6 ? ETH_TYPE_IP6 : ETH_TYPE_IP4);
    return IP_DONE;
}

/* ---- errors ---- */

/* The segment that the error is about: inner IP header and the first eight bytes of TCP (RFC 792). We sent it, so local
 * is its source. False: not TCP, or cut off. */
bool icmp4_inner(const uint8_t *h, uint32_t len, struct ip_result *r)
{
    if (len < IP4_LEN || h[0] >> 4 != 4)
        return false;
    uint32_t head = (h[0] & 15) * 4u;
    if (head < IP4_LEN || len < head + 8 || h[9] != PROTO_TCP || (load16(h + 6) & 0x1fff) != 0)
        return false;
    r->flow.local = base_addr_from_v4(load32_raw(h + 12));
    r->flow.remote = base_addr_from_v4(load32_raw(h + 16));
    r->flow.local_port = load16(h + head);
    r->flow.remote_port = load16(h + head + 2);
    r->seq = load32(h + head + 4);
    return true;
}

/* We send no extension headers, so TCP follows at once. */
bool icmp6_inner(const uint8_t *h, uint32_t len, struct ip_result *r)
{
    if (len < IP6_LEN + 8 || h[0] >> 4 != 6 || h[6] != PROTO_TCP)
        return false;
    r->flow.local = base_addr_from_v6(h + 8);
    r->flow.remote = base_addr_from_v6(h + 24);
    r->flow.local_port = load16(h + IP6_LEN);
    r->flow.remote_port = load16(h + IP6_LEN + 2);
    r->seq = load32(h + IP6_LEN + 4);
    return true;
}

/* RFC 1191 section 7.1: a router that predates it says 0; then the next plateau below what we sent.
 * DEVIATION: less than 552 is taken as 552, as other stacks do: no link of today is smaller, and forged errors gain
 * less. */
static uint32_t mtu4(const uint8_t *m)
{
    static const uint16_t plateaus[] = {32000, 17914, 8166, 4352, 2002, 1492, 1006, 552};
    uint32_t mtu = load16(m + 6), sent = load16(m + ICMP_LEN + 2);
    for (size_t i = 0; mtu == 0 && i < sizeof(plateaus) / sizeof(*plateaus); i++)
        if (plateaus[i] < sent)
            mtu = plateaus[i];
    return mtu < 552 ? 552 : mtu;
}

static enum ip_verdict error_result(struct ip *ip, struct frame *f, bool understood)
{
    if (!understood || !ip_is_local(ip, &f->result->flow.local))
        return drop(ip, f->packet, STATS_DROP_ICMP_MALFORMED);
    f->result->flow.port = f->index;
    packet_free(f->packet);
    return IP_TCP_ERROR;
}

static enum ip_verdict error4(struct ip *ip, struct frame *f, const struct datagram *d)
{
    const uint8_t *m = d->payload;
    struct ip_result *r = f->result;
    *r = (struct ip_result){0};
    bool ok = icmp4_inner(m + ICMP_LEN, d->len - ICMP_LEN, r);
    if (m[0] == ICMP_UNREACHABLE && m[1] == ICMP_FRAG_NEEDED)
        r->mtu = ok ? mtu4(m) : 0;
    else
        r->hard = m[0] == ICMP_UNREACHABLE;
    return error_result(ip, f, ok);
}

static enum ip_verdict error6(struct ip *ip, struct frame *f, const struct datagram *d)
{
    const uint8_t *m = d->payload;
    struct ip_result *r = f->result;
    *r = (struct ip_result){0};
    bool ok = icmp6_inner(m + ICMP_LEN, d->len - ICMP_LEN, r);
    if (m[0] == ICMP6_TOO_BIG) {
        uint32_t mtu = load32(m + 4);
        r->mtu = mtu < 1280 ? 1280 : mtu; /* RFC 8201 section 4: never below 1,280 */
    } else {
        r->hard = m[0] == ICMP6_UNREACHABLE;
    }
    return error_result(ip, f, ok);
}

/* ---- input ---- */

enum ip_verdict icmp4_input(struct ip *ip, struct frame *f, const struct datagram *d)
{
    const uint8_t *m = d->payload;
    if (d->len < ICMP_LEN)
        return drop(ip, f->packet, STATS_DROP_ICMP_MALFORMED);
    if (ip_sum_fold(ip_sum(m, d->len)) != 0xffff)
        return drop(ip, f->packet, STATS_DROP_L4_CHECKSUM);
    if (m[0] == ICMP_ECHO && m[1] == 0)
        return echo_reply(ip, f, d, false);
    if (m[0] == ICMP_UNREACHABLE || m[0] == ICMP_TIME_EXCEEDED || m[0] == ICMP_PARAMETER)
        return error4(ip, f, d);
    /* The gateway's routes are the operator's (RFC 1122 section 3.2.2.2 would have a host believe). */
    return drop(ip, f->packet, m[0] == ICMP_REDIRECT ? STATS_DROP_ICMP_REDIRECT : STATS_DROP_ICMP_IGNORED);
}

enum ip_verdict icmp6_input(struct ip *ip, struct frame *f, const struct datagram *d)
{
    const uint8_t *m = d->payload;
    if (d->len < ICMP_LEN)
        return drop(ip, f->packet, STATS_DROP_ICMP_MALFORMED);
    if (ip_sum_fold(d->pseudo + pseudo_tail(PROTO_ICMP6, d->len) + ip_sum(m, d->len)) != 0xffff)
        return drop(ip, f->packet, STATS_DROP_L4_CHECKSUM);
    if (m[0] >= ICMP6_ROUTER_SOLICIT && m[0] <= ICMP6_REDIRECT && f->fragmented) /* RFC 6980 section 5 */
        return drop(ip, f->packet, STATS_DROP_ND_MALFORMED);
    if (m[0] == ICMP6_SOLICIT || m[0] == ICMP6_ADVERT)
        return nd_input(ip, f, d);
    if (m[0] == ICMP6_REDIRECT)
        return drop(ip, f->packet, STATS_DROP_ICMP_REDIRECT);
    /* All else must come from one host to one address of ours. DEVIATION: multicast echo (RFC 4443 section 4.2 MAY) is
     * not answered. */
    if (base_addr_is_zero(&d->source) || is_multicast6(&d->target))
        return drop(ip, f->packet, STATS_DROP_ICMP_IGNORED);
    if (m[0] == ICMP6_ECHO && m[1] == 0)
        return echo_reply(ip, f, d, true);
    if (m[0] >= ICMP6_UNREACHABLE && m[0] <= ICMP6_PARAMETER)
        return error6(ip, f, d);
    return drop(ip, f->packet, STATS_DROP_ICMP_IGNORED);
}
