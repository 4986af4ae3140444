/* Everything that is made before the first RPC: the EAL without huge pages that anybody reserved, the gateway as boot makes it, one version. */
#include "bench.h"

#include <dirent.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Two lcores that the kernel may put on any of our cores: the generator's thread, and one for a gateway that has its own. */
bool lab_eal(struct lab *lab, const struct options *o)
{
    char prefix[64], lcores[48], name[] = "penstock-bench";
    snprintf(prefix, sizeof(prefix), "--file-prefix=penstock-bench-%d", (int)getpid());
    snprintf(lcores, sizeof(lcores), "--lcores=(0-1)@(0-%ld)", sysconf(_SC_NPROCESSORS_ONLN) - 1);
    char no_huge[] = "--no-huge", m[] = "-m", mb[] = "64", no_pci[] = "--no-pci", quiet[] = "--log-level=lib.*:warning", quiet2[] = "--log-level=pmd.*:warning";
    char no_telemetry[] = "--no-telemetry";
    char *argv[] = {name, no_huge, m, mb, no_pci, no_telemetry, quiet, quiet2, prefix, lcores, NULL};
    if (rte_eal_init(10, argv) < 0)
        return false;
    lab->tsc_hz = rte_get_tsc_hz() * o->slow;
    return true;
}

/* Takes away the runtime directory, which the EAL would leave behind.  Not rte_eal_cleanup(): that of DPDK 22.11 unmaps what its thread for interrupts
 * still reads (seen with net_memif: one run in ten ended with SIGSEGV behind right figures), and the process ends here anyway. */
void lab_eal_end(void)
{
    char path[256];
    snprintf(path, sizeof(path), "%s", rte_eal_get_runtime_dir());
    DIR *d = strstr(path, "penstock-bench-") != NULL ? opendir(path) : NULL;
    if (d == NULL)
        return;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        char file[600];
        if (e->d_name[0] != '.' && snprintf(file, sizeof(file), "%s/%s", path, e->d_name) < (int)sizeof(file))
            unlink(file);
    }
    closedir(d);
    rmdir(path);
}

static void cluster_fill(struct snapshot_cluster *c, const uint32_t *slots, uint32_t endpoints)
{
    *c = (struct snapshot_cluster){.version = 1, .present = true, .policy = SNAPSHOT_ROUND_ROBIN, .connections_per_endpoint = 1,
                                   .max_connections_per_endpoint = 4, .slot_count = endpoints, .slots = slots};
    c->connect_timeout_ns = 5000000000ull;
    c->backoff_base_ns = 1000000000ull;
    c->backoff_max_ns = 120000000000ull;
    c->backoff_factor_x1024 = 1638;
    c->no_ready_max = 1048576;
    c->no_ready_timeout_ns = 5000000000ull;
    snprintf(c->name, sizeof(c->name), "bench");
}

/* One listener, one route, one cluster. */
static struct snapshot *make_snapshot(const struct options *o)
{
    struct snapshot *s = calloc(1, sizeof(*s));
    struct snapshot_cluster *c = calloc(1, sizeof(*c));
    struct snapshot_route *r = calloc(1, sizeof(*r));
    uint32_t *slots = calloc(o->endpoints, sizeof(*slots));
    struct base_addr us = o->gateway;
    *r = (struct snapshot_route){.authority_match = SNAPSHOT_ANY, .path_match = SNAPSHOT_PREFIX, .path = "/bench.Echo/", .path_len = 12};
    s->generation = 1;
    s->port_count = 1;
    s->port[0] = (struct snapshot_port){.address_count = 1, .address = {us}, .prefix_bits = {o->bits}, .mtu = 1500};
    s->listener_count = 1;
    s->listener[0] = (struct snapshot_listener){.present = true, .bind = {us, o->listener_port}, .max_concurrent_streams = 1000,
                                                .max_header_list_size = 16384, .route_count = 1, .routes = r, .name = "bench"};
    cluster_fill(c, slots, o->endpoints);
    s->cluster_count = 1;
    s->cluster[0] = c;
    s->page_count = (o->endpoints + SNAPSHOT_PAGE - 1) / SNAPSHOT_PAGE;
    for (uint32_t i = 0; i < s->page_count; i++) {
        s->page[i] = calloc(1, sizeof(struct snapshot_page));
        s->page[i]->version = 1;
    }
    for (uint32_t i = 0; i < o->endpoints; i++) {
        slots[i] = i;
        s->page[i / SNAPSHOT_PAGE]->endpoint[i % SNAPSHOT_PAGE] = (struct snapshot_endpoint){
            .address = {o->address, (uint16_t)(o->backend_port + i)}, .serial = i + 1, .weight = 1, .flags = SNAPSHOT_PRESENT};
    }
    return s;
}

/* Buffers that a stream may bind beyond the first: messages that do not fit one. */
static uint32_t large(const struct options *o)
{
    uint32_t each = o->size < 65536 ? o->size / 1024 : 64;
    uint64_t all = (uint64_t)o->connections * o->streams * each;
    return (uint32_t)(all < 200000 ? all : 200000);
}

static bool create_pools(struct lab *lab, const struct options *o)
{
    uint32_t kept = o->attack != ATTACK_NONE ? 100000 : 0; /* answers that wait for a window */
    uint32_t n = lab->workers, rx = 16384, tx = 16384 + 8 * (o->connections + o->endpoints) + large(o) + kept, other = 2 * tx;
    size_t bytes = (packet_pool_footprint(rx, PACKET_ROOM) + packet_pool_footprint(tx, PACKET_ROOM)) * n + packet_pool_footprint(other, PACKET_ROOM);
    char error[256] = "";
    if (!port_heap_open(&lab->heap, "bench", bytes, -1, error, sizeof(error))) {
        fprintf(stderr, "penstock-bench: %s\n", error);
        return false;
    }
    for (uint32_t w = 0; w < n; w++) {
        char name[32];
        snprintf(name, sizeof(name), "rx%u", w);
        lab->link.gateway_rx[w] = lab->rx_pool[w] = packet_pool_create(name, rx, PACKET_ROOM, lab->heap.socket);
        snprintf(name, sizeof(name), "tx%u", w);
        lab->tx_pool[w] = packet_pool_create(name, tx, PACKET_ROOM, lab->heap.socket);
        if (lab->rx_pool[w] == NULL || lab->tx_pool[w] == NULL)
            return false;
    }
    lab->peer_pool = packet_pool_create("peer", other, PACKET_ROOM, lab->heap.socket);
    return lab->peer_pool != NULL;
}

/* The widest run of ports without the listener's, as boot chooses it; what one worker opens is told by the lowest bits. */
static struct ip_owners owners(const struct options *o)
{
    uint16_t mask = 1;
    while (mask < o->workers)
        mask = (uint16_t)(mask << 1);
    bool above = 65535 - o->listener_port > o->listener_port - 16384;
    return (struct ip_owners){.workers = o->workers, .port_low = above ? (uint16_t)(o->listener_port + 1) : 16384,
                              .port_high = above ? 65535 : (uint16_t)(o->listener_port - 1), .port_mask = (uint16_t)(mask - 1), .key = {{0x1111, 0x2222}}};
}

static void config_fill(const struct lab *lab, const struct options *o, uint32_t w, struct port *port, struct worker_config *c)
{
    *c = (struct worker_config){.index = w, .workers = o->workers, .poll = o->lockstep, .slots = SNAPSHOT_SLOTS_MAX, .clusters = SNAPSHOT_CLUSTERS_MAX,
                                .max_header_list_size = 16384, .seed = 42 + w, .port_count = 1, .port = {port}};
    uint32_t strangers = o->attack != ATTACK_NONE ? 2 * ATTACKERS_MAX : 0;
    c->connections = o->connections + o->endpoints + 64 + strangers;
    c->streams = o->connections * o->streams + 1024 + 2 * strangers;
    c->tsc_hz = lab->tsc_hz;
    tcp_config_defaults(&c->tcp);
    c->tcp.connections = c->connections;
    c->tcp.listeners = SNAPSHOT_LISTENERS_MAX;
    c->tcp.syn_backlog = c->connections;
    c->tcp.mtu = 1500;
    c->tcp.isn_key.k[0] = 0x5555;
    c->owners = lab->link.owners;
    c->tcp.port_low = c->owners.port_low;
    c->tcp.port_high = c->owners.port_high;
    c->tcp.port_mask = c->owners.port_mask;
    c->tcp.port_owner = (uint16_t)w;
    ip_config_defaults(&c->ip);
    c->ip.ports = 1;
    c->ip.silent = w > 0;
    c->ip.key.k[0] = 0x7777;
    c->handover = lab->handover;
    c->pool = lab->tx_pool[w];
    c->rx_pool = lab->rx_pool[w];
    c->door = lab->door;
    c->mailbox = lab->mailbox[w];
}

static bool create_worker(struct lab *lab, const struct options *o, uint32_t w, struct port *port)
{
    struct worker_config c;
    char error[256];
    config_fill(lab, o, w, port, &c);
    lab->arena_bytes = worker_footprint(&c);
    lab->arena[w] = port_arena_open(lab->arena_bytes, error, sizeof(error));
    if (lab->arena[w] == NULL)
        return false;
    struct base_arena a;
    base_arena_init(&a, lab->arena[w], lab->arena_bytes);
    lab->gateway[w] = worker_create(&a, &c);
    return true;
}

static bool create_gateway(struct lab *lab, const struct options *o)
{
    char error[512] = "";
    const char *device = link_create(&lab->link, o->workers);
    if (device == NULL)
        return false;
    struct port_config pc = {.device = device, .queues = (uint16_t)o->workers, .mtu = 1500, .rx_descriptors = 1024, .tx_descriptors = 1024,
                             .rx_pools = lab->rx_pool};
    struct port *port = port_open(&pc, error, sizeof(error));
    if (port != NULL && o->workers > 1)
        lab->handover = port_handover_open(o->workers, 1024, error, sizeof(error));
    if (port == NULL || (o->workers > 1 && lab->handover == NULL)) {
        fprintf(stderr, "penstock-bench: %s\n", error);
        return false;
    }
    lab->link.owners = owners(o);
    lab->door = snapshot_door_create(o->workers);
    for (uint32_t w = 0; w < o->workers; w++) {
        lab->mailbox[w] = mailbox_create(w, -1);
        if (!create_worker(lab, o, w, port))
            return false;
    }
    uint64_t token;
    snapshot_swap(lab->door, lab->snapshot = make_snapshot(o), &token);
    return true;
}

/* The gateway is another process: only our end of the wire. */
static bool open_device(struct lab *lab, const struct options *o)
{
    char error[512] = "";
    struct port_config pc = {.device = o->device, .queues = 1, .mtu = 1500, .rx_descriptors = 1024, .tx_descriptors = 1024, .rx_pools = &lab->peer_pool};
    struct port *port = port_open(&pc, error, sizeof(error));
    if (port == NULL) {
        fprintf(stderr, "penstock-bench: %s\n", error);
        return false;
    }
    lab->port = port;
    return true;
}

bool lab_create(struct lab *lab, const struct options *o)
{
    lab->workers = o->link == LINK_RING ? o->workers : 0;
    if (!create_pools(lab, o) || !(lab->workers > 0 ? create_gateway(lab, o) : open_device(lab, o)))
        return false;
    link_lcore(lab->workers);
    lab->peer.pool = lab->peer_pool;
    lab->peer.tsc_hz = (double)lab->tsc_hz;
    if (!peer_create(&lab->peer, o, &lab->link, lab_now(lab)))
        return false;
    if (lab->port != NULL)
        lab->link.device = port_queue(lab->port, 0, lab->peer.stats);
    return true;
}

void lab_close(struct lab *lab)
{
    if (lab->port != NULL)
        port_close(lab->port);
}

uint64_t lab_now(const struct lab *lab)
{
    return 1000000000ull + (uint64_t)((__uint128_t)rte_rdtsc() * 1000000000ull / lab->tsc_hz);
}

uint64_t lab_counter(const struct lab *lab, enum stats_counter which)
{
    uint64_t sum = 0;
    for (uint32_t w = 0; w < lab->workers; w++)
        sum += stats_read(&worker_stats(lab->gateway[w])->counters[which]);
    return sum;
}

static uint64_t worker_bytes(const struct lab *lab, uint32_t w)
{
    const struct stats *s = worker_stats(lab->gateway[w]);
    uint64_t buffer = sizeof(struct rte_mbuf) + PACKET_SCRATCH + PACKET_HEADROOM + PACKET_ROOM;
    uint64_t sum = (packet_pool_outstanding(lab->rx_pool[w]) + packet_pool_outstanding(lab->tx_pool[w])) * buffer;
    for (uint32_t i = 0; i < s->object_count; i++) {
        if (strncmp(s->objects[i].kind, "packet_", 7) == 0)
            continue;
        /* All others are those of slabs: what in_use points into knows their size. */
        const struct base_slab *slab = base_container((uintptr_t)s->objects[i].in_use, struct base_slab, in_use);
        if (slab->capacity == s->objects[i].capacity)
            sum += (uint64_t)slab->size * slab->in_use;
    }
    return sum;
}

uint64_t lab_bytes(const struct lab *lab)
{
    uint64_t sum = 0;
    for (uint32_t w = 0; w < lab->workers; w++)
        sum += worker_bytes(lab, w);
    return sum;
}
