/* tcp_net: two of our stacks, a clock, and a bad link between them; all of it decided by one seed.
 *
 * A segment that a stack gives out is copied onto the link; its packet gets headers in front, as ip and a device would, and is held
 * for a while before it is freed, so that retransmissions meet buffers that the device still has.  tcp_check() of both stacks runs
 * after every step. */
#ifndef TCP_NET_H
#define TCP_NET_H

#include "tcp/tcp.h"

struct tcp_net_link { /* one direction */
    uint64_t delay_ns, jitter_ns; /* jitter reorders */
    uint32_t loss_ppm, dup_ppm, reorder_ppm;
    uint64_t reorder_ns; /* how much later at most; 0: half the delay and up to 5 ms */
    uint32_t burst_ppm; /* chance that a segment begins a burst of losses */
    uint64_t burst_ns;   /* that lasts so long at most */
    uint64_t rate_bps; /* 0: none */
    uint32_t queue_bytes;
    uint32_t mtu; /* larger ones vanish, with an ICMP error; 0: none */
    bool black_hole; /* without one */
    uint32_t mark_ppm; /* congestion: what says that it may be marked is, the rest is lost */
    uint32_t corrupt_ppm; /* bits are flipped; whoever receives it looks at the checksum, as ip does */
    bool down;  /* nothing passes */
    /* state */
    uint64_t free_at;
    uint64_t burst_until;
    uint64_t sent, lost, corrupted;
};

struct tcp_net_frame;
struct tcp_net_held;

struct tcp_net_host {
    struct tcp *tcp;
    struct stats *stats;
    struct packet_pool *pool, *rx_pool;
    void *memory;
    size_t memory_size;
    struct base_addr addr;
};

struct tcp_net {
    uint64_t now, random;
    uint64_t order;
    uint64_t hold_ns; /* how long a device holds a packet at most */
    bool quiet_checks;
    struct tcp_net_host host[2];
    struct tcp_net_link link[2]; /* [i]: from host i */
    struct tcp_net_frame *frames;
    struct tcp_net_held *held;
    /* Sees every segment that is put on the link: the header and its length. May drop it: false. */
    bool (*filter)(void *ctx, int from, const uint8_t *segment, uint32_t len);
    void *ctx;
};

void tcp_net_host_init(struct tcp_net_host *h, const struct tcp_config *c, uint64_t now);
void tcp_net_host_fini(struct tcp_net_host *h);
void tcp_net_config(struct tcp_config *c, uint64_t seed);
void tcp_net_init(struct tcp_net *n, const struct tcp_config *a, const struct tcp_config *b, uint64_t seed, bool v6);
/* Frees everything; checks that no packet is left in any pool. */
void tcp_net_fini(struct tcp_net *n);
/* Puts what host h has to say onto its link. */
void tcp_net_flush(struct tcp_net *n, int h);
/* Delivers what is due, ticks both. */
void tcp_net_step(struct tcp_net *n, uint64_t ns);
void tcp_net_check(struct tcp_net *n);
/* Nanoseconds until the next segment arrives, `most` at most. */
uint64_t tcp_net_next(const struct tcp_net *n, uint64_t most);
bool tcp_net_idle(const struct tcp_net *n, int h);
struct base_flow tcp_net_flow(const struct tcp_net *n, int from, uint16_t remote_port);
uint32_t tcp_net_random(struct tcp_net *n, uint32_t below);
bool tcp_net_chance(struct tcp_net *n, uint32_t ppm);

#endif
