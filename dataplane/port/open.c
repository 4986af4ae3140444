/* Opening a device: find it or plug it in, ask what it can do, configure, start; and a sentence for everything that can
 * go wrong. */
#include "internal.h"

#include <errno.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <rte_bus.h>
#include <rte_dev.h>
#include <rte_malloc.h>

#define RX_DESCRIPTORS 512 /* where the device has no wish of its own */
#define TX_DESCRIPTORS 512
#define LINK_POLL_MS   20
#define ETHERNET_HEAD  18 /* with one VLAN tag */
#define JOINED_MAX     40 /* of ordinary segments less than 64 KiB, with the headers */

/* What a device is opened with; the sentence about what failed goes through it. */
struct opening {
    const struct port_config *config;
    char name[RTE_ETH_NAME_MAX_LEN]; /* of the device, without its arguments */
    struct rte_eth_dev_info dev;
    struct rte_eth_conf conf;
    uint16_t device;
    uint16_t queues; /* granted */
    bool ours;
    char *error;
    size_t error_len;
};

__attribute__((format(printf, 2, 3))) static bool fail(struct opening *o, const char *format, ...)
{
    int n = snprintf(o->error, o->error_len, "device \"%s\": ", o->config->device);
    va_list args;
    va_start(args, format);
    if (n >= 0 && (size_t)n < o->error_len)
        vsnprintf(o->error + n, o->error_len - (size_t)n, format, args);
    va_end(args);
    return false;
}

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static bool is_pci(const char *name)
{
    unsigned a, b, c, d;
    char end;
    return sscanf(name, "%4x:%2x:%2x.%1u%c", &a, &b, &c, &d, &end) == 4 ||
           sscanf(name, "%2x:%2x.%1u%c", &b, &c, &d, &end) == 3;
}

/* ---- finding ---- */

static void interface_of(const struct opening *o, char interface[IF_NAMESIZE])
{
    const char *at = strstr(o->config->device, "iface=");
    snprintf(interface, IF_NAMESIZE, "%.*s", at != NULL ? (int)strcspn(at + 6, ",") : 0, at != NULL ? at + 6 : "");
}

static bool check_interface(struct opening *o)
{
    char interface[IF_NAMESIZE];
    interface_of(o, interface);
    if (interface[0] == '\0')
        return fail(o, "names no kernel interface; write \"%s,iface=NAME\"", o->name);
    if (if_nametoindex(interface) == 0)
        return fail(o,
                    "there is no kernel interface \"%s\" here; \"ip link\" lists them, and another network namespace "
                    "has others",
                    interface);
    return true;
}

/* What can be known before the driver is asked, whose own message would be terse. */
static bool check_before(struct opening *o)
{
    if (starts(o->name, "net_tap") || starts(o->name, "net_tun")) {
        if (access("/dev/net/tun", F_OK) != 0)
            return fail(o, "/dev/net/tun is missing; load it with \"modprobe tun\", or in a container add the device "
                           "(--device /dev/net/tun)");
        if (access("/dev/net/tun", R_OK | W_OK) != 0)
            return fail(o, "no right to open /dev/net/tun: %s; run as root or with CAP_NET_ADMIN", strerror(errno));
    }
    if (starts(o->name, "net_af_packet") || starts(o->name, "net_af_xdp"))
        return check_interface(o);
    return true;
}

static bool explain_probe(struct opening *o, int rc)
{
    if (is_pci(o->name))
        return fail(o,
                    "no DPDK driver took it (%s); is it there (lspci -s %s), bound to vfio-pci (dpdk-devbind.py -b "
                    "vfio-pci %s), and is "
                    "--no-pci absent from dpdk.eal?",
                    strerror(-rc), o->name, o->name);
    if (starts(o->name, "net_tap") && geteuid() != 0)
        return fail(o, "the driver could not make the interface (%s); run as root or with CAP_NET_ADMIN",
                    strerror(-rc));
    if (rc == -EINVAL || rc == -ENODEV || rc == -ENOENT || rc == -EFAULT)
        return fail(o,
                    "unknown device or driver (%s); a virtual device is written \"net_tap0,iface=NAME\" (also "
                    "net_af_packet, net_af_xdp, "
                    "net_memif, net_ring), a NIC by its PCI address \"0000:3b:00.0\"",
                    strerror(-rc));
    return fail(o, "its driver refuses to start it: %s; its own message is in the log above", strerror(-rc));
}

static bool find(struct opening *o)
{
    size_t n = strcspn(o->config->device, ",");
    if (n == 0 || n >= sizeof(o->name))
        return fail(o, "not a device; write \"net_tap0,iface=NAME\" or a PCI address such as \"0000:3b:00.0\"");
    memcpy(o->name, o->config->device, n);
    if (rte_eth_dev_get_port_by_name(o->name, &o->device) == 0)
        return true; /* the EAL plugged it in, or the application made it */
    if (!check_before(o))
        return false;
    char arguments[512];
    port_arguments(o->config->device, o->config->mtu, arguments, sizeof(arguments));
    int rc = rte_dev_probe(arguments);
    if (rc != 0)
        return explain_probe(o, rc);
    o->ours = true;
    if (rte_eth_dev_get_port_by_name(o->name, &o->device) == 0)
        return true;
    char full[sizeof(o->name) + 5];
    snprintf(full, sizeof(full), "0000:%s", o->name); /* the short form of a PCI address */
    if (rte_eth_dev_get_port_by_name(full, &o->device) == 0)
        return true;
    return fail(o, "was started, but it is no Ethernet device");
}

/* ---- configuring ---- */

static bool use_offloads(const struct opening *o)
{
    if (o->config->offload != PORT_OFFLOAD_AUTO)
        return o->config->offload == PORT_OFFLOAD_ON;
    return o->dev.device != NULL && strcmp(rte_bus_name(rte_dev_bus(o->dev.device)), "vdev") != 0;
}

/* Data bytes of the smallest receive buffer. */
static uint32_t buffer_room(const struct port_config *c, uint16_t queues)
{
    uint32_t least = UINT32_MAX;
    for (uint16_t i = 0; i < queues; i++) {
        uint32_t room = rte_pktmbuf_data_room_size((struct rte_mempool *)c->rx_pools[i]);
        least = room < least ? room : least;
    }
    return least - RTE_PKTMBUF_HEADROOM;
}

/* Cutting needs checksums, and buffers in a row.  A device that has no checksum of IPv4's header to offer (virtio) leaves that of segments to
 * whoever cuts them. */
static uint32_t choose_tso(struct opening *o)
{
    uint64_t want = RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
    bool there = (o->dev.tx_offload_capa & RTE_ETH_TX_OFFLOAD_TCP_TSO) != 0 &&
                 ((o->dev.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) != 0 || starts(o->dev.driver_name, "net_virtio"));
    if (!there || o->queues < o->config->queues) /* who has no queue sends by way of another worker: one packet at a time */
        return 0;
    o->conf.txmode.offloads |= want & o->dev.tx_offload_capa;
    return PORT_TX_TSO;
}

static uint32_t choose_offloads(struct opening *o)
{
    uint64_t rx = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_CKSUM, tx = RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
    uint32_t used = 0;
    /* Devices reckon receive buffers in KiB: a frame that fills ours to the last may come in two, which are made one. */
    if (o->config->mtu + (uint32_t)ETHERNET_HEAD > buffer_room(o->config, o->queues) / 1024 * 1024)
        o->conf.rxmode.offloads |= o->dev.rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER;
    if (use_offloads(o)) {
        rx &= o->dev.rx_offload_capa | RTE_ETH_RX_OFFLOAD_TCP_CKSUM; /* of IPv4's header we make sure anyway */
        if ((o->dev.rx_offload_capa & rx) == rx) {
            o->conf.rxmode.offloads |= rx;
            used |= PORT_RX_CSUM;
        }
        /* i40e and others want the IP checksum offload in the same breath. */
        if ((o->dev.tx_offload_capa & tx) == tx) {
            o->conf.txmode.offloads |= tx | (o->dev.tx_offload_capa & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM);
            used |= PORT_TX_TCP_CSUM | choose_tso(o);
        }
    }
    /* Never RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE: buffers are reference-counted. */
    return used;
}

/* What ethdev is told: see jumbo.c. */
static uint16_t told_mtu(const struct opening *o)
{
    return port_understates(o->name) ? RTE_MIN(o->config->mtu, RTE_ETHER_MTU) : o->config->mtu;
}

static bool set_mtu(struct opening *o)
{
    uint16_t mtu = o->config->mtu, now = 0;
    if (told_mtu(o) < mtu) {
        char interface[IF_NAMESIZE];
        interface_of(o, interface);
        int rc = interface[0] != '\0' ? port_interface_mtu(interface, mtu) : 0;
        return rc == 0 || fail(o, "the kernel's interface \"%s\" takes no MTU of %u: %s; lower ports[].mtu", interface, mtu, strerror(-rc));
    }
    if (rte_eth_dev_set_mtu(o->device, mtu) == 0)
        return true;
    /* A driver without that call carries what its buffers hold: an ordinary frame it can. */
    if (mtu <= RTE_ETHER_MTU || (rte_eth_dev_get_mtu(o->device, &now) == 0 && now >= mtu))
        return true;
    return fail(o, "refuses an MTU of %u (it can do %u to %u); set ports[].mtu accordingly", mtu, o->dev.min_mtu,
                o->dev.max_mtu);
}

/* A memif's peer decides how many of its queues come to life, and one that does not would swallow what is sent by it. */
static uint16_t queues_most(const struct opening *o)
{
    return starts(o->name, "net_memif") ? 1 : RTE_MIN(o->dev.max_rx_queues, o->dev.max_tx_queues);
}

/* As ethdev reckons, whose own words name only the frame. */
static uint32_t largest_mtu(const struct opening *o)
{
    uint32_t frame = o->dev.max_rx_pktlen, head = ETHERNET_HEAD;
    if (o->dev.max_mtu != UINT16_MAX && frame > o->dev.max_mtu)
        head = frame - o->dev.max_mtu;
    if (port_understates(o->name))
        return port_largest_mtu(o->config->device, o->config->mtu);
    if (starts(o->name, "net_af_xdp")) /* says 3 KiB and more, but what is beyond an ordinary frame does not arrive */
        return RTE_ETHER_MTU;
    return frame == 0 ? UINT16_MAX : frame > head ? frame - head : 0;
}

static bool configure(struct opening *o, struct port_info *info)
{
    const struct port_config *c = o->config;
    if (rte_eth_dev_info_get(o->device, &o->dev) != 0)
        return fail(o, "does not say what it can do; it may have been removed");
    o->queues = RTE_MIN(c->queues, queues_most(o));
    if (o->queues == 0)
        return fail(o, "has no queues to receive and send by (%u and %u)", o->dev.max_rx_queues, o->dev.max_tx_queues);
    if (largest_mtu(o) < c->mtu)
        return fail(o, "its driver takes frames for an MTU of at most %u; set ports[].mtu = %u, or use another device", largest_mtu(o),
                    largest_mtu(o));
    if ((o->dev.max_mtu != 0 && c->mtu > o->dev.max_mtu) || c->mtu < o->dev.min_mtu)
        return fail(o, "cannot do an MTU of %u (it can do %u to %u); set ports[].mtu accordingly", c->mtu,
                    o->dev.min_mtu, o->dev.max_mtu);
    if (buffer_room(c, o->queues) < c->mtu + (uint32_t)ETHERNET_HEAD)
        return fail(o, "an MTU of %u needs receive buffers of %u bytes, the pool's hold %u; lower ports[].mtu", c->mtu,
                    c->mtu + ETHERNET_HEAD, buffer_room(c, o->queues));
    o->conf.rxmode.mtu = told_mtu(o);
    info->offloads = choose_offloads(o);
    port_rss_choose(&o->dev, o->queues, c->rss_key, &o->conf);
    int rc = rte_eth_dev_configure(o->device, o->queues, o->queues, &o->conf);
    if (rc != 0)
        return fail(o, "refuses %u queues with these offloads: %s", o->queues, strerror(-rc));
    return set_mtu(o);
}

static bool set_up_queues(struct opening *o, struct port_info *info)
{
    const struct port_config *c = o->config;
    uint16_t rx = c->rx_descriptors, tx = c->tx_descriptors;
    rx = rx != 0 ? rx : o->dev.default_rxportconf.ring_size != 0 ? o->dev.default_rxportconf.ring_size : RX_DESCRIPTORS;
    tx = tx != 0 ? tx : o->dev.default_txportconf.ring_size != 0 ? o->dev.default_txportconf.ring_size : TX_DESCRIPTORS;
    int rc = rte_eth_dev_adjust_nb_rx_tx_desc(o->device, &rx, &tx);
    unsigned socket = (unsigned)rte_eth_dev_socket_id(o->device);
    struct rte_eth_txconf txconf = o->dev.default_txconf;
    struct rte_eth_rxconf rxconf = o->dev.default_rxconf;
    txconf.offloads = o->conf.txmode.offloads;
    rxconf.offloads = o->conf.rxmode.offloads;
    for (uint16_t i = 0; i < o->queues && rc == 0; i++) {
        uint32_t size = packet_pool_size(c->rx_pools[i]);
        if (rx * 2u > size)
            return fail(o, "a receive ring of %u would take most of its pool of %u buffers; raise limits.memory", rx,
                        size);
        rc = rte_eth_rx_queue_setup(o->device, i, rx, socket, &rxconf, (struct rte_mempool *)c->rx_pools[i]);
        if (rc == 0)
            rc = rte_eth_tx_queue_setup(o->device, i, tx, socket, &txconf);
        if (rc == 0)
            packet_pool_reserve(c->rx_pools[i], rx);
    }
    info->rx_descriptors = rx;
    info->tx_descriptors = tx;
    return rc == 0 || fail(o, "refuses its queues (%u receive, %u send descriptors): %s", rx, tx, strerror(-rc));
}

/* IPv6 needs solicited-node groups: all multicast where the device has it, else everything.  ip sorts out the rest. */
static void open_ears(struct opening *o)
{
    if (rte_eth_allmulticast_enable(o->device) != 0)
        (void)rte_eth_promiscuous_enable(o->device);
}

static bool start(struct opening *o)
{
    int rc = rte_eth_dev_start(o->device);
    if (rc != 0)
        return fail(o, "does not start: %s", strerror(-rc));
    open_ears(o);
    struct rte_eth_link link = {0};
    for (uint32_t ms = 0; ms < o->config->link_wait_ms; ms += LINK_POLL_MS) {
        if (rte_eth_link_get_nowait(o->device, &link) == 0 && link.link_status == RTE_ETH_LINK_UP)
            break;
        usleep(LINK_POLL_MS * 1000);
    }
    return true; /* a link that is down may come up: port_link_up() tells */
}

/* ---- the object ---- */

static void queue_init(struct port *port, uint16_t index, struct packet_pool *pool)
{
    struct port_queue *q = &port->queues[index];
    q->device = port->device;
    q->index = index;
    q->pool = pool;
    /* Not where frames take several descriptors: igb's (DPDK 22.11 and later) then forgets which of them a packet ended at, and waits for ever
     * for one that the device never marks as done. */
    q->cleanup = (port->info.offloads & PORT_TX_TSO) == 0 && rte_eth_tx_done_cleanup(port->device, index, 0) != -ENOTSUP;
    q->prepare = (port->info.offloads & PORT_TX_TCP_CSUM) != 0;
}

static struct port *make(struct opening *o, const struct port_info *info)
{
    const struct port_config *c = o->config;
    struct port *port = rte_zmalloc("port", sizeof(*port) + o->queues * sizeof(struct port_queue), BASE_CACHE_LINE);
    if (port == NULL) {
        fail(o, "no memory for its queues; raise \"-m\" in dpdk.eal");
        return NULL;
    }
    port->device = o->device;
    port->ours = o->ours;
    port->bus_device = o->dev.device;
    port->info = *info;
    struct rte_ether_addr mac = {0};
    (void)rte_eth_macaddr_get(o->device, &mac);
    memcpy(port->info.mac, mac.addr_bytes, 6);
    (void)rte_eth_dev_get_name_by_port(o->device, port->info.name);
    snprintf(port->info.driver, sizeof(port->info.driver), "%s", o->dev.driver_name);
    port->info.queues = o->queues;
    port->info.joined = o->dev.tx_desc_lim.nb_seg_max != 0 ? RTE_MIN(o->dev.tx_desc_lim.nb_seg_max, JOINED_MAX) : JOINED_MAX;
    port->info.mtu = c->mtu;
    port->info.socket = rte_eth_dev_socket_id(o->device);
    const char *why = port_rss_verify(o->device, &o->dev, o->queues, c->rss_key, &port->steer);
    if (why == NULL && o->queues < c->queues)
        why = "fewer queues than workers";
    port->info.steer = why == NULL ? &port->steer : NULL;
    port->info.steer_not = why;
    for (uint16_t i = 0; i < o->queues; i++)
        queue_init(port, i, c->rx_pools[i]);
    return port;
}

static void give_back(uint16_t device, bool ours, struct rte_device *bus_device)
{
    (void)rte_eth_dev_stop(device);
    (void)rte_eth_dev_close(device);
    if (ours)
        (void)rte_dev_remove(bus_device);
}

struct port *port_open(const struct port_config *config, char *error, size_t error_len)
{
    struct opening o = {.config = config, .error = error, .error_len = error_len};
    struct port_info info = {0};
    if (!find(&o))
        return NULL;
    struct port *port = NULL;
    if (configure(&o, &info) && set_up_queues(&o, &info) && start(&o))
        port = make(&o, &info);
    if (port == NULL)
        give_back(o.device, o.ours, o.dev.device);
    return port;
}

void port_close(struct port *port)
{
    for (uint16_t i = 0; i < port->info.queues; i++) {
        struct port_queue *q = &port->queues[i];
        rte_pktmbuf_free_bulk((struct rte_mbuf **)q->tx, q->waiting);
    }
    give_back(port->device, port->ours, port->bus_device);
    rte_free(port);
}

void port_info(const struct port *port, struct port_info *info)
{
    *info = port->info;
}

void port_offloads_text(const struct port_info *info, char *text, size_t n)
{
    static const struct {
        uint32_t bit;
        const char *words;
    } known[] = {{PORT_RX_CSUM, "checksums in"}, {PORT_TX_TCP_CSUM, "checksums out"}, {PORT_TX_TSO, "TSO"}};
    snprintf(text, n, "none");
    size_t used = 0;
    for (unsigned i = 0; i < sizeof(known) / sizeof(*known) && used < n; i++)
        if (info->offloads & known[i].bit)
            used += (size_t)snprintf(text + used, n - used, "%s%s", used > 0 ? ", " : "", known[i].words);
}

bool port_link_up(const struct port *port)
{
    struct rte_eth_link link = {0};
    return rte_eth_link_get_nowait(port->device, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

struct port_queue *port_queue(struct port *port, uint16_t index, struct stats *stats)
{
    assert(index < port->info.queues);
    port->queues[index].stats = stats;
    return &port->queues[index];
}
