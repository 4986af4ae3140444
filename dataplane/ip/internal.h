/* What the files of the ip room share.
 *
 *   input.c -> icmp.c, arp.c, nd.c -> neighbour.c -> output.c (out_push: frames of our own)
 *   input.c -> fragment.c -> reassembly.c;  input.c, reassembly.c -> error.c -> output.c
 *   output.c -> neighbour.c: whom to send to
 */
#ifndef IP_INTERNAL_H
#define IP_INTERNAL_H

#include "ip.h"
#include "checksum.h"
#include "wire.h"

#define IP_PATHS 4096 /* of them as many are touched as there are peers */

#define unlikely(x) __builtin_expect(!!(x), 0)

/* A frame of our own, a packet that waits for its neighbour, or (packet NULL) news that a flow's next hop is dead. */
struct waiting {
    struct base_list link;
    struct packet *packet;
    struct base_flow flow;
    uint32_t seq;
    uint16_t port;
    bool tcp; /* flow and seq are set */
};

struct neighbour {
    struct base_addr addr;
    uint16_t port;
    uint8_t state; /* enum ip_neighbour_state */
    uint8_t probes;
    uint8_t mac[6];
    uint32_t waiting;
    struct base_list queue; /* struct waiting; empty but in INCOMPLETE */
    struct base_list bucket;
    struct base_list age; /* in ip->unknown (INCOMPLETE, UNREACHABLE) or ip->known, longest unused first */
    struct base_timer timer;
};

/* How to reach `remote` from `local`: the headers ready made.  Valid while `epoch` is the ip's: whatever changes a
 * neighbour or an address moves the epoch, so nothing is looked up for a packet whose path is here. */
/* Who computes TCP's checksum. */
enum ip_sum { IP_SUM_SOFTWARE, IP_SUM_DEVICE, IP_SUM_TRIAL };

struct path {
    /* ---- the key, and sums ---- */
    _Alignas(BASE_CACHE_LINE) struct base_addr remote;
    struct base_addr local;
    uint32_t epoch;
    uint16_t port;
    uint8_t head_len; /* bytes of head in use */
    bool v6;
    uint8_t sum; /* enum ip_sum */
    bool device_tso;
    uint8_t l2_len;
    uint16_t pseudo; /* sum of addresses and protocol */
    uint16_t ip_sum; /* IPv4: of the header without total length */
    /* ---- Ethernet and IP header, right-aligned: copied whole ---- */
    _Alignas(BASE_CACHE_LINE) uint8_t head[IP_HEADROOM];
};
_Static_assert(sizeof(struct path) == 2 * BASE_CACHE_LINE, "two lines a packet sent");

#define ANNOUNCE_LINK_LOCAL (1u << IP_ADDRESSES_MAX)

/* The evidence about a device's checksums, of one family (trial.c). */
struct trial {
    uint8_t state; /* enum ip_sum */
    uint8_t tries; /* of the handshake that is watched: 0 none, 1 by the device alone, 2 by software as well */
    uint8_t passes, failures, skipped;
    uint32_t seq;
    struct base_flow flow;
};

struct port_state {
    struct ip_port_config c;
    bool configured;
    uint8_t l2_len;
    uint8_t announcements; /* still to make, of the addresses in `fresh` */
    uint32_t fresh;        /* bit i: address[i] is new here; ANNOUNCE_LINK_LOCAL */
    uint8_t unverified;    /* device verdicts still to be checked before they are believed */
    uint8_t trials;        /* families whose transmit checksums are on trial */
    struct base_addr mask[IP_ADDRESSES_MAX];
    struct base_addr link_local;
    struct base_timer announce;
    struct trial trial[2]; /* IPv4, IPv6 */
};

/* As many at once as in a second; 1 token = 1e9. */
struct icmp_bucket {
    uint64_t tokens, last_ns;
};

/* Datagrams of which some fragments are here (reassembly.c). */
struct reassembler {
    struct base_slab slab;
    struct base_list age; /* the oldest first */
    struct base_list *buckets;
    uint32_t bucket_mask;
    uint32_t words; /* of a bitmap */
};

struct ip {
    struct stats *stats;
    struct packet_pool *pool;
    struct path *paths;
    uint32_t epoch;
    uint32_t bucket_mask;
    struct base_list *buckets;
    struct base_slab neighbours, waitings;
    struct base_list known, unknown;
    uint32_t unknown_count;
    struct base_list out, failed; /* struct waiting */
    uint64_t draws;
    struct icmp_bucket echoes, errors;
    struct reassembler reassembler;
    struct ip_config config;
    struct base_wheel wheel;
    struct port_state ports[IP_PORTS_MAX];
};

/* A received frame on its way through the cold half. `at`: offset of what is looked at. */
struct frame {
    struct packet *packet;
    struct port_state *port;
    uint16_t index;
    bool group;        /* sent to a group of stations, not to us alone */
    bool answers;      /* false: another worker answers it, we only learn */
    bool fragmented;   /* an atomic fragment (RFC 6946) */
    uint8_t source[6]; /* MAC address of the sender */
    uint64_t now;
    struct ip_result *result;
};

/* An IP packet inside a frame: payload within the buffer, lengths checked. */
struct datagram {
    struct base_addr source, target;
    const uint8_t *head; /* its IP header */
    const uint8_t *payload;
    uint32_t len;
    uint8_t hop_limit;
    uint64_t pseudo; /* sum of addresses */
};

/* A fragment, lengths checked. */
struct ip_fragment {
    struct base_addr source, target;
    uint32_t id;
    const uint8_t *head; /* what stands in front of the data; of IPv6 to the end of the fragment header */
    uint32_t head_len;   /* at most REASSEMBLY_HEAD */
    const uint8_t *data;
    uint32_t offset, len;
    bool more;
};
#define REASSEMBLY_HEAD (PACKET_HEADROOM - ETH_LEN - VLAN_LEN)

/* What an ICMP error is about: a packet of `len` bytes to us, from a station of that port. */
struct icmp_offence {
    struct base_addr source, target;
    const uint8_t *packet;
    uint32_t len;
    uint16_t port;
    const uint8_t *to;
};

static inline enum ip_verdict drop(struct ip *ip, struct packet *p, enum stats_drop why)
{
    stats_drop(ip->stats, why);
    packet_free(p);
    return IP_DONE;
}

/* Sum of protocol and length of a pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1), as native words. */
static inline uint64_t pseudo_tail(uint32_t protocol, uint32_t len)
{
    return ((uint64_t)protocol << 8) + __builtin_bswap16((uint16_t)len);
}

static inline uint64_t addr_sum(const struct base_addr *a)
{
    return ip_sum_word(a->q[0]) + ip_sum_word(a->q[1]);
}

static inline bool prefix_covers(const struct base_addr *prefix, const struct base_addr *mask,
                                 const struct base_addr *a)
{
    return (((prefix->q[0] ^ a->q[0]) & mask->q[0]) | ((prefix->q[1] ^ a->q[1]) & mask->q[1])) == 0;
}

static inline bool is_link_local(const struct base_addr *a)
{
    return a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}

static inline bool is_multicast6(const struct base_addr *a)
{
    return a->b[0] == 0xff;
}

static inline uint64_t min64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ip.c */
bool ip_port_owns(const struct port_state *port, const struct base_addr *a);
/* The address of ours to talk to a neighbour from; NULL: it is not on this link. */
const struct base_addr *ip_port_source(const struct port_state *port, const struct base_addr *neighbour);
/* One host, as far as can be told: no group, no broadcast of that port's links, not ourselves. */
bool ip_is_station(const struct port_state *port, const struct base_addr *a);
/* Where a packet for `remote` goes next.  False: no route. */
bool ip_port_next_hop(const struct port_state *port, const struct base_addr *remote, struct base_addr *hop);
uint64_t ip_draw(struct ip *ip);

/* input.c */
/* All extension headers of an IPv6 packet of `end` bytes at h; *at and *next move to what follows them.  False: *why; *at is the
 * header that stopped it. */
bool ip_skip_extensions(const uint8_t *h, uint32_t end, uint8_t *next, uint32_t *at, enum stats_drop *why);

/* Where the number of the IPv6 header at `at` stands: extension headers before it are known to be whole. */
uint32_t ip_next_field(const uint8_t *h, uint32_t at);

/* fragment.c: head: bytes of IPv4 header; at: where the fragment header begins; end: of the packet. */
enum ip_verdict fragment4_input(struct ip *ip, struct frame *f, const uint8_t *h, uint32_t head, uint32_t total);
enum ip_verdict fragment6_input(struct ip *ip, struct frame *f, const uint8_t *h, uint32_t at, uint32_t end);

/* reassembly.c */
void reassembly_create(struct ip *ip, struct base_arena *arena);
void reassembly_destroy(struct ip *ip);
enum ip_verdict reassembly_input(struct ip *ip, struct frame *f, const struct ip_fragment *x);
void reassembly_tick(struct ip *ip, uint64_t now);
void reassembly_check(const struct ip *ip);

/* error.c */
/* Sent, unless it must not be, or too many were. */
void icmp_error_out(struct ip *ip, const struct icmp_offence *o, uint8_t type, uint8_t code, uint32_t word, uint64_t now);
enum ip_verdict protocol4_unknown(struct ip *ip, struct frame *f, const struct datagram *d, uint8_t protocol);
enum ip_verdict protocol6_unknown(struct ip *ip, struct frame *f, const struct datagram *d, uint8_t next);

/* icmp.c */
bool icmp_bucket_take(struct icmp_bucket *b, uint64_t rate, uint64_t now);
/* The flow and sequence number that an error is about.  False: not TCP, or cut off. */
bool icmp4_inner(const uint8_t *h, uint32_t len, struct ip_result *r);
bool icmp6_inner(const uint8_t *h, uint32_t len, struct ip_result *r);
enum ip_verdict icmp4_input(struct ip *ip, struct frame *f, const struct datagram *d);
enum ip_verdict icmp6_input(struct ip *ip, struct frame *f, const struct datagram *d);

/* arp.c, nd.c: to_mac NULL: to everybody (the solicited-node group). */
enum ip_verdict arp_input(struct ip *ip, struct frame *f, uint32_t at);
void arp_solicit(struct ip *ip, uint16_t port, const struct base_addr *target, const uint8_t *to_mac);
void arp_announce(struct ip *ip, uint16_t port, const struct base_addr *ours);
enum ip_verdict nd_input(struct ip *ip, struct frame *f, const struct datagram *d);
void nd_solicit(struct ip *ip, uint16_t port, const struct base_addr *target, const uint8_t *to_mac);
void nd_announce(struct ip *ip, uint16_t port, const struct base_addr *ours);
struct base_addr ip_solicited_node(const struct base_addr *a);

/* neighbour.c */
struct neighbour *neighbour_find(const struct ip *ip, uint16_t port, const struct base_addr *addr);
/* The entry, made (and solicited) if need be.  NULL: the table is full; counted. */
struct neighbour *neighbour_get(struct ip *ip, uint16_t port, const struct base_addr *addr, uint64_t now);
/* It is sent to: STALE becomes DELAY. */
void neighbour_used(struct ip *ip, struct neighbour *n, uint64_t now);
/* Takes the frame. */
void neighbour_queue(struct ip *ip, struct neighbour *n, struct packet *frame, const struct base_flow *flow,
                     uint32_t seq);
/* It spoke of itself without having been asked (ARP request, NS): RFC 4861 section 7.2.3.  create: make an entry if
 * there is none. */
void neighbour_heard(struct ip *ip, uint16_t port, const struct base_addr *addr, const uint8_t mac[6], bool create,
                     uint64_t now);
/* It answered or advertised: RFC 4861 section 7.2.5.  mac NULL: no target link-layer address option. */
void neighbour_advertised(struct ip *ip, uint16_t port, const struct base_addr *addr, const uint8_t *mac,
                          bool solicited, bool override, uint64_t now);
void neighbour_timer(struct ip *ip, struct neighbour *n, uint64_t now);
void neighbour_flush(struct ip *ip, uint16_t port);

/* output.c */
/* An empty packet with room in front for all headers; NULL: none (counted). */
struct packet *ip_own_packet(struct ip *ip);
/* An Ethernet header (and VLAN) at `h`. */
void ip_ethernet(uint8_t *h, const struct port_state *port, const uint8_t to[6], const uint8_t from[6], uint16_t type);
/* Puts Ethernet (and VLAN) in front and queues the frame for ip_output_next().  Takes the packet. */
void ip_out_frame(struct ip *ip, uint16_t port, struct packet *p, const uint8_t to[6], uint16_t type);
void ip_head4(struct packet *p, const struct base_addr *from, const struct base_addr *to, uint8_t protocol);
void ip_head6(struct packet *p, const struct base_addr *from, const struct base_addr *to, uint8_t protocol,
              uint8_t hop_limit);
/* Notes that the flow's next hop is dead. */
void ip_report_unreachable(struct ip *ip, const struct base_flow *flow, uint32_t seq);

/* trial.c */
void trial_begin(struct port_state *port);
/* Is the checksum of this segment to be left to the device, for evidence? */
bool trial_sends(struct trial *t, const struct base_flow *flow, const uint8_t *tcp);
/* A segment that came, whole and right. */
void trial_answer(struct ip *ip, struct port_state *port, const struct base_flow *flow, const uint8_t *tcp);

#endif
