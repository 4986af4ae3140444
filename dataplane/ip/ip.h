/* ip: from a frame to (flow, TCP segment), and back.  The families end here.
 *
 * Owns:   the addresses of each port, neighbours (ARP, RFC 826; ND, RFC 4861), the packets that wait for one, and the
 * answers that a host owes: ARP, neighbour advertisements, ICMP echo and errors (RFC 792, 4443), fragments put together (RFC 791, 8200).
 * Uses:   base, stats, packet.  Knows no device and no TCP state.  A port is an index here.
 * Thread: one struct ip a worker; no locks, nothing shared.
 * Time:   `now` in nanoseconds on a monotonic clock, an argument.
 * Memory: from the arena at start-up: neighbours, waiting packets and reassemblies are bounded (ip_config); own packets come from
 * `pool`. Errors: what the wire did is a verdict, counted in stats_drop; a full table is a refusal, counted too; misuse
 * is an assertion.
 *
 * The turn of the loop:
 *     ip_input() for each frame of the burst: IP_TCP -> tcp_input(), IP_TCP_ERROR -> tcp_icmp_error(), IP_WHOLE -> ip_input();
 *     ip_tick();  ip_unreachable_next() until false -> tcp_icmp_error();
 *     tcp_output() -> ip_output(): true -> port_tx();
 *     ip_output_next() until NULL -> port_tx();  port_flush().
 *
 * Hosts are strict here (RFC 1122 section 3.3.4.2, strong model): an address is ours on its own port alone. */
#ifndef IP_H
#define IP_H

#include "packet/packet.h"
#include "stats/stats.h"

#include "owner.h"

struct ip;

#define IP_PORTS_MAX     16
#define IP_ADDRESSES_MAX 16 /* a port */
#define IP_HEADROOM      64 /* ip_output() wants this much headroom */

struct ip_config {
    uint16_t ports;
    uint32_t neighbours;      /* entries at most */
    uint32_t queued;          /* packets that wait for a neighbour, or for ip_output_next(), at most */
    uint32_t queued_each;     /* of them for one neighbour */
    uint32_t echo_rate;       /* ICMP echo replies a second, the burst as well */
    uint32_t error_rate;      /* ICMP errors of our own, likewise */
    uint32_t reassemblies;    /* datagrams of which some fragments are here, at most; each holds a buffer of the pool */
    uint32_t datagram;        /* data of one put together, at most, and what a buffer holds */
    uint64_t solicit_ns;      /* between two solicitations (RFC 4861: RETRANS_TIMER) */
    uint64_t reachable_ns;    /* REACHABLE_TIME, randomised by 0.5 to 1.5 */
    uint64_t delay_ns;        /* DELAY_FIRST_PROBE_TIME */
    bool silent;              /* announces no address: another worker does */
    uint64_t unreachable_ns;  /* how long a neighbour that did not answer is refused at once */
    struct base_hash_key key; /* secret, random at start-up */
};

/* Sane values for all but ports and key. */
void ip_config_defaults(struct ip_config *c);

struct ip_prefix {
    struct base_addr addr; /* ours */
    uint8_t bits;          /* of its family */
};

enum {
    IP_TX_TCP_CSUM = 1, /* the device computes the TCP checksum */
    IP_TX_TRIAL = 8, /* but the first handshakes shall prove it, see trial.c; until then, and if they refute it, software does both this and TSO's part */
    IP_TX_TSO = 4,      /* and cuts what is joined into segments of the size of its first */
    IP_RX_CSUM = 2, /* the device's verdict on received checksums is used; the first ones are verified, see input.c */
};

struct ip_port_config {
    uint8_t mac[6];
    uint16_t mtu;
    uint16_t vlan; /* 802.1Q tag, 0: untagged */
    uint32_t flags;
    uint32_t addresses;
    struct ip_prefix address[IP_ADDRESSES_MAX];
    struct base_addr gateway4, gateway6; /* zero: none */
};

size_t ip_footprint(const struct ip_config *c);
/* What of it is for reassembly, buffers apart. */
size_t ip_reassembly_footprint(const struct ip_config *c);
/* pool: buffers for packets of its own; it outlives the ip.  `config` is copied. */
struct ip *ip_create(struct base_arena *arena, const struct ip_config *config, struct stats *stats,
                     struct packet_pool *pool, uint64_t now);
/* Frees the packets that it holds.  The memory is the arena's. */
void ip_destroy(struct ip *ip);

/* What the port is from now on; at start-up and again at any time.  New addresses are announced, twice.  Neighbours
 * stay, unless MAC address or VLAN changed. */
void ip_configure(struct ip *ip, uint16_t port, const struct ip_port_config *config, uint64_t now);

enum ip_verdict {
    IP_DONE,      /* the packet is gone: answered, learnt from, or dropped and counted */
    IP_TCP,       /* result.flow; the packet starts at the TCP header, ends with the segment, its checksum
                     is right; the caller's */
    IP_TCP_ERROR, /* an ICMP error about result.flow, .seq, .hard, .mtu; the packet is gone */
    IP_WHOLE,     /* the packet is gone, and was the last fragment that was wanting: result.whole is the datagram as a frame, the caller's, for
                     ip_input() of its owner (never another IP_WHOLE) */
};

struct ip_result {
    struct base_flow flow;
    uint32_t seq;
    uint32_t mtu; /* 0, or packet too big */
    bool hard;    /* destination unreachable */
    struct packet *whole;
};

/* Takes the packet, an Ethernet frame received on `port`. */
enum ip_verdict ip_input(struct ip *ip, uint16_t port, struct packet *p, uint64_t now, struct ip_result *result);
/* Takes a copy of news (IP_OWNER_ALL) that another worker has received, and answers: here it is only learnt from. */
void ip_learn(struct ip *ip, uint16_t port, struct packet *p, uint64_t now);

/* Takes a TCP segment: p starts at the TCP header, its checksum field is 0, at least IP_HEADROOM bytes of headroom.
 * flow->port is the port that it leaves by.  True: it is a frame now, the caller's, to be sent on flow->port.  False:
 * ip kept it, or dropped and counted it. Only the headroom and the checksum field are written; another holder of the
 * buffer must not rely on where its data starts. */
bool ip_output(struct ip *ip, const struct base_flow *flow, struct packet *p, uint64_t now);
/* May a join (packet_join) go this way now: the port's device cuts it up (IP_TX_TSO), and the way is known, so that ip_output() gives it back? */
bool ip_takes_joined(const struct ip *ip, const struct base_flow *flow);
/* Frames of ip's own, and those whose neighbour has answered: the caller's, to be sent on *port.  NULL: no more. */
struct packet *ip_output_next(struct ip *ip, uint16_t *port);
/* Segments given up because the next hop does not answer: flow, seq, hard.  False: no more. */
bool ip_unreachable_next(struct ip *ip, struct ip_result *result);
/* Timers due. */
void ip_tick(struct ip *ip, uint64_t now);

/* Which of our addresses, and which port, reach `remote`.  False: none does (no prefix covers it and no gateway is
 * set). */
bool ip_source_for(const struct ip *ip, const struct base_addr *remote, struct base_addr *local, uint16_t *port);
/* Is it ours, on any port? */
bool ip_is_local(const struct ip *ip, const struct base_addr *addr);
/* The link-local address of a port: interface identifier from its MAC address (RFC 4291 appendix A). */
struct base_addr ip_link_local(const uint8_t mac[6]);

/* RFC 4861 section 7.3.2; UNREACHABLE: did not answer, refused for a while. */
enum ip_neighbour_state {
    IP_NEIGHBOUR_NONE,
    IP_NEIGHBOUR_INCOMPLETE,
    IP_NEIGHBOUR_REACHABLE,
    IP_NEIGHBOUR_STALE,
    IP_NEIGHBOUR_DELAY,
    IP_NEIGHBOUR_PROBE,
    IP_NEIGHBOUR_UNREACHABLE
};
/* mac: NULL, or where its address is written if it is known. */
enum ip_neighbour_state ip_neighbour(const struct ip *ip, uint16_t port, const struct base_addr *addr, uint8_t mac[6]);
uint32_t ip_neighbours(const struct ip *ip);
/* Nothing waits: the worker may sleep. */
bool ip_idle(const struct ip *ip);

/* Everything that must hold between two calls; asserts. */
void ip_check(const struct ip *ip);

#endif
