/* port: devices, and nothing but devices: bursts in, bursts out.
 *
 * Owns:   ethdev ports (the only room that knows rte_ethdev), their queues, the frames buffered for one burst.
 * Uses:   base, stats, packet (its mbuf back end); rte_ethdev.  Frames are bytes here: no header is read.
 * Thread: port_open(), port_close(): the control thread, before the workers start and after they ended.  A struct
 * port_queue belongs to one worker.  The readers (port_info, port_link_up) may be called by anyone. Time:   none;
 * opening waits for the link, at most port_config.link_wait_ms. Memory: at port_open(); a queue buffers at most
 * PORT_BURST frames. Errors: port_open(): NULL and a sentence that says what to do.  At run time: what cannot be sent
 * or received is freed and counted.
 *
 * Memory for buffers and tables is in heap.h, what goes from worker to worker in handover.h. */
#ifndef PORT_H
#define PORT_H

#include "packet/packet.h"
#include "packet/tap.h"
#include "base/steer.h"
#include "stats/stats.h"

#include "handover.h"
#include "heap.h"

struct port;
struct port_queue;

#define PORT_BURST 64 /* frames a receive burst takes, and a queue buffers before it sends, at most */

/* What ip leaves to the device. */
enum {
    PORT_TX_TCP_CSUM = 1, /* computes the TCP checksum, pseudo-header sum in the field */
    PORT_TX_TSO = 4,      /* cuts a join (packet_join) into segments */
    PORT_RX_CSUM = 2,     /* tells good from bad on receive (packet_rx_flags) */
};

enum port_offload {
    PORT_OFFLOAD_AUTO, /* a device on a hardware bus: what it reports; a virtual device: none, as its driver would do it
                          in software */
    PORT_OFFLOAD_OFF,
    PORT_OFFLOAD_ON, /* what it reports, virtual or not */
};

struct port_config {
    const char *device;                      /* "net_tap0,iface=pen0", "0000:3b:00.0" */
    uint16_t queues;                         /* of either direction, at most: one a worker; port_info says how many there are */
    uint16_t mtu;                            /* the largest IP packet */
    uint16_t rx_descriptors, tx_descriptors; /* a queue; 0: what the device likes */
    uint32_t link_wait_ms;                   /* 0: do not wait */
    enum port_offload offload;
    const uint8_t *rss_key; /* BASE_STEER_KEY bytes, secret, the same for all ports; NULL: as the device has it */
    struct packet_pool *const *rx_pools; /* [queues]: the pool of the worker that polls the queue; room: port_buffer_room() */
};

struct port_info {
    char name[64];
    char driver[32];
    uint8_t mac[6];
    uint16_t mtu;
    uint16_t queues;
    uint16_t rx_descriptors, tx_descriptors; /* as granted */
    int socket;                              /* NUMA node, -1: any */
    uint32_t offloads;                       /* PORT_TX_TCP_CSUM and the others, in use */
    uint16_t joined;                         /* packets in a frame for PORT_TX_TSO, at most */
    const struct base_steer *steer;          /* what the device's RSS does, where that is ours and verified; lives as long as the port */
    const char *steer_not;                   /* else why it is not */
};

#define PORT_BUFFER_SPARE 64 /* bytes beyond the MTU: Ethernet, a tag, and to spare */
/* Data bytes that receive buffers of a device must have. */
uint32_t port_buffer_room(const char *device, uint32_t mtu);

/* NULL: `error` says what went wrong and what to do. `config` is not kept. */
struct port *port_open(const struct port_config *config, char *error, size_t error_len);
/* Stops the device and gives it back.  Frames still buffered are freed. */
void port_close(struct port *port);
void port_info(const struct port *port, struct port_info *info);
/* The offloads in use, in words. */
void port_offloads_text(const struct port_info *info, char *text, size_t n);
bool port_link_up(const struct port *port);

/* Queue `index`, whose frames are counted in `stats` from now on. */
struct port_queue *port_queue(struct port *port, uint16_t index, struct stats *stats);

/* Frames that have come, at most max (and PORT_BURST).  The caller owns them; each is linear. */
uint32_t port_rx(struct port_queue *q, struct packet **packets, uint32_t max);
/* Takes the packet: sent by the next port_flush(), or at once when PORT_BURST wait. */
void port_tx(struct port_queue *q, struct packet *p);
/* At the end of the turn: sends what waits; what the device refuses is freed and counted (PORT_TX_FULL).  A queue that
 * has nothing to send gives back, now and then, the buffers that the device has sent already. */
void port_flush(struct port_queue *q);

/* From now on the tap sees each frame that came, and each that is about to be sent; NULL: nobody does. */
void port_tap(struct port_queue *q, struct packet_tap *tap);

#endif
