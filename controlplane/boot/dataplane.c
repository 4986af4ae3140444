/* The data plane's parts: memory first, then ports, then workers. */
#include "internal.h"

#include <rte_launch.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define RX_DESCRIPTORS 1024
#define RX_BUFFERS     8192 /* a worker and port: the ring, a burst, and what may be kept of it */
#define PORT_LOWEST    16384 /* local ports of connections that we open: the widest run between here and the top without a listener's */
#define PORTS_A_WORKER 512   /* of them, at least */
#define HANDOVER_DEPTH 1024  /* packets a ring between two workers holds, at most */
#define SYN_BACKLOG    4096
#define TIMEWAITS_LEAST 16384 /* a worker */
#define TIMEWAITS_MOST  1048576

static uint64_t secret(void)
{
    uint64_t v;
    if (getrandom(&v, sizeof(v), 0) != sizeof(v))
        abort();
    return v;
}

static uint32_t max_header_list(const struct config *c)
{
    uint32_t max = BOOT_HEADER_LIST_MIN;
    for (unsigned i = 0; i < c->listener_count; i++)
        if (c->listeners[i].max_header_list_size > max)
            max = c->listeners[i].max_header_list_size;
    return max;
}

static unsigned smallest_mtu(const struct config *c)
{
    unsigned mtu = 65535;
    for (unsigned i = 0; i < c->port_count; i++)
        if (c->ports[i].mtu < mtu)
            mtu = c->ports[i].mtu;
    return mtu;
}

/* Data bytes of a packet buffer: not more than needed, net_af_xdp wants a buffer in a page of 4 KiB. */
static uint32_t buffer_room(const struct config *c)
{
    uint32_t room = PACKET_ROOM;
    for (unsigned i = 0; i < c->port_count; i++) {
        uint32_t wanted = port_buffer_room(c->ports[i].device, c->ports[i].mtu);
        if (wanted > room)
            room = (wanted + 63) / 64 * 64;
    }
    return room;
}

static uint16_t owner_mask(unsigned workers)
{
    unsigned mask = 1;
    while (mask < workers)
        mask <<= 1;
    return (uint16_t)(mask - 1);
}

static int by_value(const void *a, const void *b)
{
    return *(const uint16_t *)a - *(const uint16_t *)b;
}

/* The widest run of ports that holds no listener's: a local port in it says that we opened the connection. */
static bool choose_ports(struct boot *b, char *error, size_t error_len)
{
    uint16_t taken[CONFIG_LISTENERS_MAX];
    unsigned n = b->config->listener_count, low = PORT_LOWEST;
    for (unsigned i = 0; i < n; i++)
        taken[i] = b->config->listeners[i].bind.port;
    qsort(taken, n, sizeof(*taken), by_value);
    struct ip_owners *o = &b->owners;
    *o = (struct ip_owners){.workers = b->workers, .port_low = 1, .port_mask = owner_mask(b->workers), .key = {{secret(), secret()}}};
    for (unsigned i = 0; i <= n; i++) {
        unsigned high = i < n ? taken[i] - 1u : 65535;
        if (high >= low && (int)(high - low) > o->port_high - o->port_low) {
            o->port_low = (uint16_t)low;
            o->port_high = (uint16_t)high;
        }
        if (i < n && taken[i] >= low)
            low = taken[i] + 1u;
    }
    unsigned count = o->port_high >= o->port_low ? o->port_high - o->port_low + 1u : 0;
    if (count < PORTS_A_WORKER * (o->port_mask + 1u)) {
        snprintf(error, error_len, "the listeners' ports leave no more than %u in a row for connections to backends; move listeners below %u", count,
                 PORT_LOWEST);
        return false;
    }
    return true;
}

bool boot_port_is_ephemeral(const struct boot *b, uint16_t port)
{
    return port >= b->owners.port_low && port <= b->owners.port_high;
}

/* Closed connections that are remembered for a minute, 40 octets each: four generations of all there may be. */
static uint32_t timewaits(uint32_t connections)
{
    return connections < TIMEWAITS_LEAST / 4 ? TIMEWAITS_LEAST : connections < TIMEWAITS_MOST / 4 ? 4 * connections : TIMEWAITS_MOST;
}

static void worker_config_fill(const struct boot *b, unsigned w, struct worker_config *out)
{
    const struct config *c = b->config;
    *out = (struct worker_config){.index = w, .workers = b->workers, .slots = SNAPSHOT_SLOTS_MAX, .clusters = SNAPSHOT_CLUSTERS_MAX};
    out->connections = c->limits.connections / b->workers + 64;
    out->streams = c->limits.streams / b->workers + 64;
    out->max_header_list_size = max_header_list(c);
    out->high_water = c->limits.high_water;
    out->stream_window = c->limits.stream_window;
    out->poll = c->idle == CONFIG_IDLE_POLL;
    tcp_config_defaults(&out->tcp);
    out->tcp.connections = out->connections;
    out->tcp.timewait = timewaits(out->connections);
    out->tcp.listeners = SNAPSHOT_LISTENERS_MAX;
    out->tcp.syn_backlog = SYN_BACKLOG < out->connections ? SYN_BACKLOG : out->connections;
    out->tcp.mtu = (uint16_t)smallest_mtu(c);
    out->tcp.cc = c->tcp.congestion == CONFIG_RENO ? TCP_CC_RENO : TCP_CC_CUBIC;
    out->tcp.ecn = (enum tcp_ecn)c->tcp.ecn;
    out->tcp.pacing = c->tcp.pacing;
    if (out->tcp.rcvbuf < out->stream_window) /* a window that TCP would not let in is none */
        out->tcp.rcvbuf = out->tcp.sndbuf = out->stream_window;
    if (out->tcp.sndbuf_least < 2 * out->max_header_list_size) /* fields enter a send buffer as a whole */
        out->tcp.sndbuf_least = 2 * out->max_header_list_size;
    if (out->tcp.sndbuf < out->tcp.sndbuf_least)
        out->tcp.sndbuf = out->tcp.sndbuf_least;
    out->tcp.rto_ns_min = c->tcp.rto_ns_min;
    out->tcp.user_timeout_ns = c->tcp.user_timeout_ns;
    out->tcp.keepalive_ns = c->tcp.keepalive_ns;
    out->tcp.port_low = b->owners.port_low;
    out->tcp.port_high = b->owners.port_high;
    out->tcp.port_mask = b->owners.port_mask;
    out->tcp.port_owner = (uint16_t)w;
    out->tcp.isn_key = (struct base_hash_key){{secret(), secret()}};
    ip_config_defaults(&out->ip);
    out->ip.ports = (uint16_t)c->port_count;
    out->ip.silent = w > 0;
    out->ip.echo_rate = (out->ip.echo_rate + b->workers - 1) / b->workers;
    out->ip.error_rate = (out->ip.error_rate + b->workers - 1) / b->workers;
    out->ip.datagram = buffer_room(c) < UINT16_MAX ? buffer_room(c) : UINT16_MAX;
    out->ip.key = (struct base_hash_key){{secret(), secret()}};
    out->seed = secret();
    out->owners = b->owners;
    out->handover = b->handover;
    out->port_count = b->ports;
    for (unsigned i = 0; i < b->ports; i++)
        out->port[i] = b->port[i];
    out->pool = b->pool[w];
    out->rx_pool = b->rx_pool[w];
    out->door = b->door;
    out->mailbox = b->mailbox[w];
}

/* Buffers for what workers send and keep: an eighth of the limit, never fewer than a few thousand. */
static uint32_t pool_buffers(const struct config *c, unsigned workers, uint32_t room)
{
    uint64_t n = c->limits.memory / 8 / workers / (room + 512);
    return (uint32_t)(n < 4096 ? 4096 : n > 1000000 ? 1000000 : n);
}

/* Prints the sum and holds it against the limit. */
static bool budget(struct boot *b, size_t heap_bytes, char *error, size_t error_len)
{
    struct worker_config wc;
    struct worker_term terms[WORKER_TERMS];
    worker_config_fill(b, 0, &wc);
    unsigned n = worker_terms(&wc, terms);
    size_t sum = heap_bytes;
    char text[1024];
    int at = snprintf(text, sizeof(text), "packet buffers %zu MiB", heap_bytes >> 20);
    for (unsigned i = 0; i < n; i++) {
        sum += terms[i].bytes * b->workers;
        at += snprintf(text + at, sizeof(text) - (size_t)at, ", %s %zu MiB", terms[i].name, terms[i].bytes * b->workers >> 20);
    }
    /* A capture's rings, while one runs. */
    sum += (size_t)ADMIN_CAPTURE_BYTES * (b->workers + 1);
    at += snprintf(text + at, sizeof(text) - (size_t)at, ", a capture %u MiB", (ADMIN_CAPTURE_BYTES >> 20) * (b->workers + 1));
    if (sum > b->config->limits.memory) {
        snprintf(error, error_len, "limits.memory is %zu MiB, but the parts add up to %zu MiB: %s; raise it, or lower limits.connections or "
                 "limits.streams", (size_t)(b->config->limits.memory >> 20), sum >> 20, text);
        return false;
    }
    loop_log(LOOP_LOG_INFO, "memory: at most %zu MiB of %zu (%s)", sum >> 20, (size_t)(b->config->limits.memory >> 20), text);
    return true;
}

/* The NUMA node of the first port that has one, -1: none has. */
static int numa_node(const struct config *c)
{
    for (unsigned i = 0; i < c->port_count; i++) {
        const char *device = c->ports[i].device;
        char path[128];
        int node = -1;
        if (device == NULL || strncmp(device, "net_", 4) == 0) /* not a PCI address */
            continue;
        bool domain = strchr(device, ':') != strrchr(device, ':');
        snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s%.*s/numa_node", domain ? "" : "0000:", (int)strcspn(device, ","), device);
        FILE *f = fopen(path, "r");
        if (f != NULL) {
            if (fscanf(f, "%d", &node) != 1)
                node = -1;
            fclose(f);
        }
        if (node >= 0)
            return node;
    }
    return -1;
}

/* Elsewhere where the node has no memory left: slower, not wrong. */
static struct packet_pool *pool_make(const struct boot *b, const char *kind, unsigned worker, uint32_t count, uint32_t room)
{
    char name[24];
    snprintf(name, sizeof(name), "%s%u", kind, worker);
    struct packet_pool *pool = packet_pool_create(name, count, room, b->heap.socket);
    return pool == NULL && b->heap.base == NULL && b->heap.socket >= 0 ? packet_pool_create(name, count, room, -1) : pool;
}

static bool create_pools(struct boot *b, char *error, size_t error_len)
{
    const struct config *c = b->config;
    uint32_t room = buffer_room(c);
    struct ip_config ip;
    ip_config_defaults(&ip);
    /* What other workers free stays in their caches for a while. */
    uint32_t hoard = (b->workers - 1) * PORT_HANDOVER_HOARD;
    uint32_t rx = RX_BUFFERS * c->port_count + hoard, tx = pool_buffers(c, b->workers, room) + ip.reassemblies + hoard;
    size_t bytes = (packet_pool_footprint(rx, room) + packet_pool_footprint(tx, room)) * b->workers;
    if (!budget(b, bytes, error, error_len) || !port_heap_open(&b->heap, "penstock", bytes, numa_node(c), error, error_len))
        return false;
    b->heap_open = true;
    for (unsigned w = 0; w < b->workers; w++) {
        b->rx_pool[w] = pool_make(b, "rx", w, rx, room);
        b->pool[w] = pool_make(b, "tx", w, tx, room);
        if (b->rx_pool[w] == NULL || b->pool[w] == NULL) {
            snprintf(error, error_len, b->heap.base != NULL ? "no memory for packet buffers (%zu MiB)" :
                     "the free hugepages do not hold the packet buffers (%zu MiB); reserve more, or lower limits.memory, or leave hugepages alone with "
                     "dpdk.eal = [ \"--no-huge\", \"-m\", \"128\" ]", bytes >> 20);
            return false;
        }
    }
    return true;
}

/* Rings so deep that the readers of all of them, were they to stand still, would hold a quarter of a receive pool. */
static bool open_handover(struct boot *b, char *error, size_t error_len)
{
    if (b->workers == 1)
        return true;
    uint32_t depth = RX_BUFFERS / 4 / (b->workers - 1);
    b->handover = port_handover_open(b->workers, depth < HANDOVER_DEPTH ? depth : HANDOVER_DEPTH, error, error_len);
    return b->handover != NULL;
}

/* What an operator wants to know of a port before he wonders about its speed. */
static void tell_port(const struct boot *b, unsigned i)
{
    struct port_info info;
    port_info(b->port[i], &info);
    const char *name = b->config->ports[i].name;
    char rss[128] = "", offloads[128];
    if (b->workers > 1)
        snprintf(rss, sizeof(rss), "; RSS: %s%s", info.steer != NULL ? "key and table are ours, read back: flows come to their worker" : "not used, ",
                 info.steer != NULL ? "" : info.steer_not);
    port_offloads_text(&info, offloads, sizeof(offloads));
    loop_log(LOOP_LOG_INFO, "port \"%s\": %s, %u queue%s, MTU %u; offloads: %s%s", name, info.driver, info.queues, info.queues == 1 ? "" : "s", info.mtu,
             offloads, rss);
    if (info.queues < b->workers)
        loop_log(LOOP_LOG_INFO, "port \"%s\": %s has %u queue%s for %u workers; the others are reached by hand-over", name, info.driver, info.queues,
                 info.queues == 1 ? "" : "s", b->workers);
}

static uint64_t dropped(const struct boot *b, enum stats_drop why)
{
    uint64_t n = 0;
    for (unsigned w = 0; w < b->workers; w++)
        n += stats_read(&b->stats[w]->drops[why]);
    return n;
}

/* The other end of a veth hands us what it would hand to hardware: segments without a checksum, and segments of 64 KiB, which
 * arrive cut off. */
void boot_watch_devices(struct boot *b)
{
    uint64_t partial = dropped(b, STATS_DROP_L4_PARTIAL), cut = dropped(b, STATS_DROP_IP_TRUNCATED);
    if (b->offloads_told || partial + cut == 0)
        return;
    b->offloads_told = true;
    for (unsigned i = 0; i < b->ports; i++) {
        const char *device = b->config->ports[i].device, *interface = strstr(device, "iface=");
        if (interface == NULL || (strncmp(device, "net_af_packet", 13) != 0 && strncmp(device, "net_af_xdp", 10) != 0))
            continue;
        int n = (int)strcspn(interface + 6, ",");
        loop_log(LOOP_LOG_WARN, "port \"%s\": frames come without a checksum (%llu) or cut off (%llu), for the kernel at the other end of %.*s "
                 "leaves both to hardware; run \"ethtool -K <peer> tx off\" on the interface there", b->config->ports[i].name,
                 (unsigned long long)partial, (unsigned long long)cut, n, interface + 6);
    }
}

static bool open_ports(struct boot *b, char *error, size_t error_len)
{
    if (getrandom(b->rss_key, sizeof(b->rss_key), 0) != sizeof(b->rss_key))
        abort();
    for (unsigned i = 0; i < b->config->port_count; i++) {
        const struct config_port *p = &b->config->ports[i];
        struct port_config pc = {.device = p->device, .queues = (uint16_t)b->workers, .mtu = (uint16_t)p->mtu,
                                 .rx_descriptors = RX_DESCRIPTORS, .tx_descriptors = RX_DESCRIPTORS, .rss_key = b->rss_key,
                                 .rx_pools = b->rx_pool};
        char why[512];
        b->port[i] = port_open(&pc, why, sizeof(why));
        if (b->port[i] == NULL) {
            snprintf(error, error_len, "port \"%s\": %s", p->name, why);
            return false;
        }
        tell_port(b, i);
        b->ports++;
        struct port_info info;
        port_info(b->port[i], &info);
        b->owners.steer[i] = info.steer;
        b->owners.unverified[i][0] = b->owners.unverified[i][1] = IP_OWNER_VERIFY;
    }
    return true;
}

bool boot_dataplane_create(struct boot *b, char *error, size_t error_len)
{
    b->door = snapshot_door_create(b->workers);
    for (unsigned w = 0; w < b->workers; w++)
        b->mailbox[w] = mailbox_create(w, -1);
    if (!choose_ports(b, error, error_len) || !create_pools(b, error, error_len) || !open_ports(b, error, error_len) ||
        !open_handover(b, error, error_len))
        return false;
    for (unsigned w = 0; w < b->workers; w++) {
        struct worker_config wc;
        struct base_arena arena;
        worker_config_fill(b, w, &wc);
        b->arena_bytes = worker_footprint(&wc);
        b->arena[w] = port_arena_open(b->arena_bytes, error, error_len);
        if (b->arena[w] == NULL)
            return false;
        base_arena_init(&arena, b->arena[w], b->arena_bytes);
        b->worker[w] = worker_create(&arena, &wc);
        b->stats[w] = worker_stats(b->worker[w]);
    }
    return true;
}

void boot_dataplane_launch(struct boot *b)
{
    for (unsigned w = 0; w < b->workers; w++, b->launched++)
        rte_eal_remote_launch(worker_run, b->worker[w], b->lcore[w]);
}

void boot_dataplane_stop(struct boot *b)
{
    struct mailbox_message stop = {.kind = MAILBOX_STOP};
    for (unsigned w = 0; w < b->launched; w++)
        mailbox_order(b->mailbox[w], &stop);
    for (unsigned w = 0; w < b->launched; w++) {
        rte_eal_wait_lcore(b->lcore[w]);
        assert(worker_ended(b->worker[w]));
    }
    for (unsigned w = 0; w < b->launched; w++)
        worker_finish(b->worker[w]);
    for (unsigned w = 0; w < b->launched; w++)
        worker_finish_others(b->worker[w]);
    b->launched = 0;
}

void boot_dataplane_destroy(struct boot *b)
{
    if (b->handover != NULL)
        port_handover_close(b->handover);
    for (unsigned i = 0; i < b->ports; i++)
        port_close(b->port[i]);
    for (unsigned w = 0; w < b->workers; w++) {
        if (b->arena[w] != NULL)
            port_arena_close(b->arena[w], b->arena_bytes);
        if (b->rx_pool[w] != NULL)
            packet_pool_destroy(b->rx_pool[w]);
        if (b->pool[w] != NULL)
            packet_pool_destroy(b->pool[w]);
        if (b->mailbox[w] != NULL)
            mailbox_destroy(b->mailbox[w]);
    }
    if (b->heap_open)
        port_heap_close(&b->heap);
    if (b->door != NULL)
        snapshot_door_destroy(b->door);
}
