/* What the files of the port room share. */
#ifndef PORT_INTERNAL_H
#define PORT_INTERNAL_H

#include "port.h"

#include <rte_ethdev.h>

#define PORT_TX_TRIES      4    /* bursts of which the device took nothing, in one flush */
#define PORT_CLEANUP_TURNS 1024 /* flushes with nothing to send between two calls of tx_done_cleanup */

struct port_queue {
    /* ---- read and written every turn ---- */
    _Alignas(BASE_CACHE_LINE) uint16_t device;
    uint16_t index;
    uint32_t waiting; /* frames in tx[] */
    uint32_t quiet;   /* flushes with nothing to send since the last with something */
    bool cleanup;     /* the driver has tx_done_cleanup */
    bool sent;        /* something since the last clean-up */
    bool prepare;     /* offloads in use: the driver wants to see the packets first */
    struct stats *stats;
    struct packet_tap *tap;   /* NULL: nobody watches */
    struct packet_pool *pool; /* for frames made linear */
    /* ---- frames to send ---- */
    _Alignas(BASE_CACHE_LINE) struct packet *tx[PORT_BURST];
};

/* steer.c.  key: BASE_STEER_KEY bytes, or NULL. */
void port_rss_choose(const struct rte_eth_dev_info *dev, uint16_t queues, const uint8_t *key, struct rte_eth_conf *conf);
/* Of a started device.  NULL: key and table were set and read back, and `steer` computes what the device does; else why not. */
const char *port_rss_verify(uint16_t device, const struct rte_eth_dev_info *dev, uint16_t queues, const uint8_t *key, struct base_steer *steer);

struct port {
    uint16_t device;
    bool ours; /* probed by us: removed at the end */
    struct port_info info;
    struct rte_device *bus_device;
    struct base_steer steer;
    struct port_queue queues[];
};

/* jumbo.c */
/* Its driver carries longer frames than it admits. */
bool port_understates(const char *device);
/* The largest MTU that such a one carries with these arguments. */
uint32_t port_largest_mtu(const char *device, uint32_t mtu);
/* The device with what its driver must be told for that MTU. */
void port_arguments(const char *device, uint32_t mtu, char *text, size_t len);
/* A kernel interface's MTU, raised if it is smaller.  Negative: errno. */
int port_interface_mtu(const char *interface, uint32_t mtu);

#endif
