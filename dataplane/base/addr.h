/* One address type for both families, and the tuple of a flow.
 *
 * An IPv4 address is held as its IPv4-mapped IPv6 form (::ffff:a.b.c.d, RFC 4291 section 2.5.5.2), in network
 * byte order; ports are in host byte order.  Above the ip room nothing asks for the family. */
#ifndef BASE_ADDR_H
#define BASE_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct base_addr {
    union {
        uint8_t b[16];
        uint32_t w[4];
        uint64_t q[2];
    };
};

/* local: ours; remote: the peer's.  port: index of the device that the flow uses. */
struct base_flow {
    struct base_addr local;
    struct base_addr remote;
    uint16_t local_port;
    uint16_t remote_port;
    uint16_t port;
    uint8_t ecn; /* of one segment, beside its flow: the two bits of its IP header (RFC 3168 section 5); no part of who is meant */
    uint8_t pad;
};

struct base_endpoint {
    struct base_addr addr;
    uint16_t port;
};

#define BASE_V4_PREFIX 0x0000ffffu /* third word, host order */

static inline bool base_addr_is_v4(const struct base_addr *a)
{
    return a->q[0] == 0 && a->w[2] == __builtin_bswap32(BASE_V4_PREFIX);
}

/* v4: network byte order. */
static inline struct base_addr base_addr_from_v4(uint32_t v4)
{
    struct base_addr a = {.w = {0, 0, __builtin_bswap32(BASE_V4_PREFIX), v4}};
    return a;
}

static inline struct base_addr base_addr_from_v6(const void *v6)
{
    struct base_addr a;
    memcpy(a.b, v6, 16);
    return a;
}

static inline uint32_t base_addr_v4(const struct base_addr *a)
{
    return a->w[3];
}

static inline bool base_addr_eq(const struct base_addr *a, const struct base_addr *b)
{
    return a->q[0] == b->q[0] && a->q[1] == b->q[1];
}

static inline bool base_addr_is_zero(const struct base_addr *a)
{
    return (a->q[0] | a->q[1]) == 0;
}

enum { BASE_ECN_NONE, BASE_ECN_ECT1, BASE_ECN_ECT0, BASE_ECN_CE };

static inline bool base_flow_eq(const struct base_flow *a, const struct base_flow *b)
{
    return base_addr_eq(&a->remote, &b->remote) && a->remote_port == b->remote_port && a->local_port == b->local_port &&
           base_addr_eq(&a->local, &b->local);
}

#define BASE_ADDR_TEXT 48     /* bytes that base_addr_format needs */
#define BASE_ENDPOINT_TEXT 56 /* bytes that base_endpoint_format needs */

/* "198.18.0.1", "2001:db8::1".  False: not an address. */
bool base_addr_parse(const char *text, struct base_addr *out);
/* "IP:PORT" or "[IPv6]:PORT", port 1-65535.  False: not that. */
bool base_endpoint_parse(const char *text, struct base_endpoint *out);
/* "198.18.0.2/24": prefix in bits of its own family. */
bool base_prefix_parse(const char *text, struct base_addr *out, unsigned *bits);
const char *base_addr_format(const struct base_addr *a, char buf[BASE_ADDR_TEXT]);
const char *base_endpoint_format(const struct base_endpoint *e, char buf[BASE_ENDPOINT_TEXT]);

#endif
