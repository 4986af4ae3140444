/* A fragment's headers, read and doubted.  What is left is for reassembly.c.
 *
 * Nobody but an attacker sends a first fragment that ends within the headers by which packets are told apart (RFC 1858 section 3, RFC 3128,
 * RFC 7112 section 5), or one that begins there. */
#include "internal.h"

#define FIRST_LEAST 8 /* data in a first fragment of anything else: an ICMP or UDP header */

/* Lengths, for both families (RFC 8200 section 4.5, RFC 791 section 3.2).  STATS_DROP_COUNT: nothing speaks against it. */
static enum stats_drop lengths(const struct ip_fragment *x, bool v6)
{
    if (x->len == 0 || (x->more && x->len % 8 != 0))
        return STATS_DROP_FRAGMENT_MALFORMED;
    uint32_t head = v6 ? x->head_len - IP6_LEN - FRAGMENT_LEN : x->head_len; /* an IPv6 packet's length is without its header */
    if (head + x->offset + x->len > UINT16_MAX)
        return STATS_DROP_FRAGMENT_TOO_LARGE;
    return STATS_DROP_COUNT;
}

static bool is_tiny(const struct ip_fragment *x, uint8_t protocol, uint32_t at)
{
    uint32_t least = protocol == PROTO_TCP ? TCP_LEN : protocol == PROTO_NONE ? 0 : FIRST_LEAST;
    return x->offset == 0 ? x->len < at + least : protocol == PROTO_TCP && x->offset < at + TCP_LEN;
}

static enum ip_verdict fragment(struct ip *ip, struct frame *f, const struct ip_fragment *x, bool v6, enum stats_drop why)
{
    if (why == STATS_DROP_COUNT)
        why = lengths(x, v6);
    if (why != STATS_DROP_COUNT)
        return drop(ip, f->packet, why);
    return reassembly_input(ip, f, x);
}

enum ip_verdict fragment4_input(struct ip *ip, struct frame *f, const uint8_t *h, uint32_t head, uint32_t total)
{
    uint16_t word = load16(h + 6);
    struct ip_fragment x = {.source = f->result->flow.remote, .target = f->result->flow.local, .head = h, .head_len = head,
                            .data = h + head, .len = total - head, .offset = (word & 0x1fffu) * 8, .more = (word & 0x2000) != 0};
    x.id = (uint32_t)h[9] << 16 | load16(h + 4); /* an identification is a protocol's own: RFC 791 section 3.2 */
    return fragment(ip, f, &x, false, is_tiny(&x, h[9], 0) ? STATS_DROP_FRAGMENT_TINY : STATS_DROP_COUNT);
}

/* What follows the fragment header.  The first fragment holds all headers, and no second fragment header: what comes out must not have to be
 * put together again. */
static enum stats_drop chain6(const struct ip_fragment *x, uint8_t next)
{
    uint32_t at = 0;
    enum stats_drop why;
    if (x->offset == 0 && !ip_skip_extensions(x->data, x->len, &next, &at, &why))
        return why == STATS_DROP_IP_TRUNCATED ? STATS_DROP_FRAGMENT_TINY : STATS_DROP_FRAGMENT_MALFORMED;
    return is_tiny(x, next, at) ? STATS_DROP_FRAGMENT_TINY : STATS_DROP_COUNT;
}

enum ip_verdict fragment6_input(struct ip *ip, struct frame *f, const uint8_t *h, uint32_t at, uint32_t end)
{
    const uint8_t *e = h + at; /* ip_skip_extensions() saw that it is whole */
    uint16_t word = load16(e + 2);
    struct ip_fragment x = {.source = f->result->flow.remote, .target = f->result->flow.local, .id = load32(e + 4), .head = h,
                            .head_len = at + FRAGMENT_LEN, .data = e + FRAGMENT_LEN, .len = end - at - FRAGMENT_LEN, .offset = word & 0xfff8,
                            .more = (word & 1) != 0};
    if (f->group || is_multicast6(&x.target) || base_addr_is_zero(&x.source)) /* nothing that is sent to a group is as long */
        return drop(ip, f->packet, STATS_DROP_IP_FRAGMENT);
    if (x.head_len > REASSEMBLY_HEAD)
        return drop(ip, f->packet, STATS_DROP_FRAGMENT_TOO_LARGE);
    return fragment(ip, f, &x, true, chain6(&x, e[0]));
}
