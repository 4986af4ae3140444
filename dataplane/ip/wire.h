/* Bytes on the wire: loads and stores that do not care for alignment, and the numbers of the protocols. */
#ifndef IP_WIRE_H
#define IP_WIRE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
    ETH_LEN = 14,
    VLAN_LEN = 4,
    ARP_LEN = 28,
    IP4_LEN = 20,
    IP6_LEN = 40,
    TCP_LEN = 20,
    ICMP_LEN = 8,
    UDP_LEN = 8,
    FRAGMENT_LEN = 8, /* an IPv6 fragment header */

    ETH_MIN_PAYLOAD = 46,
    ETH_TYPE_IP4 = 0x0800,
    ETH_TYPE_ARP = 0x0806,
    ETH_TYPE_VLAN = 0x8100,
    ETH_TYPE_QINQ = 0x88a8,
    ETH_TYPE_IP6 = 0x86dd,
    ETH_TYPE_MIN = 0x0600, /* below: a length (IEEE 802.3), no type */

    PROTO_HOPOPTS = 0,
    PROTO_ICMP = 1,
    PROTO_TCP = 6,
    PROTO_UDP = 17,
    PROTO_ROUTING = 43,
    PROTO_FRAGMENT = 44,
    PROTO_ICMP6 = 58,
    PROTO_NONE = 59,
    PROTO_DSTOPTS = 60,

    ARP_REQUEST = 1,
    ARP_REPLY = 2,

    ICMP_ECHO_REPLY = 0,
    ICMP_UNREACHABLE = 3,
    ICMP_PROTOCOL_UNREACHABLE = 2, /* codes */
    ICMP_PORT_UNREACHABLE = 3,
    ICMP_FRAG_NEEDED = 4,
    ICMP_REDIRECT = 5,
    ICMP_ECHO = 8,
    ICMP_TIME_EXCEEDED = 11,
    ICMP_REASSEMBLY_TIME = 1, /* a code of both families */
    ICMP_PARAMETER = 12,

    ICMP6_UNREACHABLE = 1,
    ICMP6_PORT_UNREACHABLE = 4, /* a code */
    ICMP6_TOO_BIG = 2,
    ICMP6_TIME_EXCEEDED = 3,
    ICMP6_PARAMETER = 4,
    ICMP6_UNKNOWN_NEXT = 1, /* a code */
    ICMP6_ECHO = 128,
    ICMP6_ECHO_REPLY = 129,
    ICMP6_ROUTER_SOLICIT = 133,
    ICMP6_SOLICIT = 135,
    ICMP6_ADVERT = 136,
    ICMP6_REDIRECT = 137,

    ND_OPTION_SOURCE_MAC = 1,
    ND_OPTION_TARGET_MAC = 2,
};

static inline uint16_t load16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return __builtin_bswap16(v);
}

static inline uint32_t load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return __builtin_bswap32(v);
}

/* Network byte order as it lies. */
static inline uint32_t load32_raw(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

static inline void store16(uint8_t *p, uint16_t v)
{
    v = __builtin_bswap16(v);
    memcpy(p, &v, 2);
}

static inline void store16_raw(uint8_t *p, uint16_t v)
{
    memcpy(p, &v, 2);
}

static inline void store32(uint8_t *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, 4);
}

static inline bool mac_eq(const uint8_t *a, const uint8_t *b)
{
    uint32_t x, y;
    uint16_t u, v;
    memcpy(&x, a, 4);
    memcpy(&y, b, 4);
    memcpy(&u, a + 4, 2);
    memcpy(&v, b + 4, 2);
    return x == y && u == v;
}

static inline bool mac_is_group(const uint8_t *mac)
{
    return (mac[0] & 1) != 0;
}

static inline bool mac_is_zero(const uint8_t *mac)
{
    return mac_eq(mac, (const uint8_t[6]){0});
}

#endif
