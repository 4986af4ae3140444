/* Frames by hand, and a host to feed them to.  Lengths and checksums are written by a twin of the room's own code: byte
 * by byte. */
#ifndef FRAMES_H
#define FRAMES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "ip/ip.h"

#define SECOND 1000000000ull
#define MS     1000000ull

struct frame_bytes {
    uint8_t b[2048];
    uint32_t n;
};

struct host {
    struct packet_pool *pool;
    struct stats *stats;
    struct ip *ip;
    void *memory;
    struct ip_port_config port;
    uint64_t now;
    struct ip_result result;
    struct packet *segment; /* of the last IP_TCP */
    uint32_t wholes;        /* datagrams put together */
};

extern const uint8_t our_mac[6], peer_mac[6], other_mac[6], broadcast_mac[6];

struct base_addr addr(const char *text);
uint16_t naive_sum(const uint8_t *p, size_t n, uint32_t start); /* not complemented */

/* ports 1, our addresses 198.18.0.2/24 and 2001:db8::2/64, gateways .1 and ::1. */
void host_open(struct host *h, uint32_t neighbours, uint32_t queued);
void host_close(struct host *h);
void host_configure(struct host *h);
/* Both gateways are known to it. */
void host_resolve(struct host *h);
/* Takes what ip wants to send out of the way; how many frames. */
uint32_t host_discard(struct host *h);

/* In force wherever a frame is fed. */
extern struct ip_owners owners;

/* Feeds bytes in a buffer that ends where they end, so that an over-read is seen; and, as the worker does, what was put together of fragments. */
enum ip_verdict feed(struct host *h, const void *bytes, uint32_t n);
enum ip_verdict feed_frame(struct host *h, const struct frame_bytes *f);
/* The next frame that ip sends; fails the test where there is none. */
void next_frame(struct host *h, struct frame_bytes *f);
uint64_t drops(const struct host *h, enum stats_drop why);
uint64_t all_drops(const struct host *h);

void put(struct frame_bytes *f, const void *bytes, uint32_t n);
void put16(struct frame_bytes *f, uint16_t v);
void put32(struct frame_bytes *f, uint32_t v);
void put_eth(struct frame_bytes *f, const uint8_t to[6], const uint8_t from[6], uint16_t type);
void put_ip4(struct frame_bytes *f, const char *from, const char *to, uint8_t protocol, uint32_t payload);
void put_ip6(struct frame_bytes *f, const char *from, const char *to, uint8_t next, uint8_t hops, uint32_t payload);
/* Writes the checksum of an upper layer that begins at `at` and ends with the frame; ip: where its IP header begins. */
void seal(struct frame_bytes *f, uint32_t ip, uint32_t at, uint8_t protocol);
void reseal_ip4(struct frame_bytes *f, uint32_t at);
/* Is the checksum of the upper layer in [at, end) right? */
bool sealed(const uint8_t *frame, uint32_t ip, uint32_t at, uint32_t end, uint8_t protocol);

void frame_tcp4(struct frame_bytes *f, uint32_t data);
void frame_tcp6(struct frame_bytes *f, uint32_t data);
void frame_arp(struct frame_bytes *f, uint16_t op, const uint8_t sender_mac[6], const char *sender, const char *target,
               const uint8_t to[6]);
void frame_echo4(struct frame_bytes *f, uint32_t data);
void frame_echo6(struct frame_bytes *f, uint32_t data);
void frame_ns(struct frame_bytes *f, const char *from, const char *target, const uint8_t *mac);
void frame_na(struct frame_bytes *f, const char *target, const uint8_t *mac, uint32_t flags);
void frame_error4(struct frame_bytes *f, uint8_t type, uint8_t code, uint16_t mtu);
void frame_error6(struct frame_bytes *f, uint8_t type, uint8_t code, uint32_t mtu);

#define NA_S 0x40000000u
#define NA_O 0x20000000u

/* A segment of ours from port 1000 to 2000 with `data` bytes. */
struct packet *segment_make(struct host *h, uint32_t data);
struct base_flow flow_to(const char *local, const char *remote);
bool send_to(struct host *h, const char *local, const char *remote, uint32_t data, struct packet **p);

extern const struct CMUnitTest input_tests[], neighbour_tests[], output_tests[], owner_tests[], reassembly_tests[], error_tests[], trial_tests[];
extern const size_t input_test_count, neighbour_test_count, output_test_count, owner_test_count, reassembly_test_count, error_test_count, trial_test_count;

#endif
