/* Everything that is made before the first RPC: the EAL without huge pages that anybody reserved, the gateway as boot makes it, one version. */
#include "bench.h"

#include <dirent.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

bool lab_eal(struct lab *lab, const char *program)
{
    char prefix[64], name[64];
    snprintf(prefix, sizeof(prefix), "--file-prefix=penstock-bench-%d", (int)getpid());
    snprintf(name, sizeof(name), "%s", program);
    char *argv[] = {name, "--no-huge", "-m", "64", "--no-pci", "--log-level=lib.*:warning", "--log-level=pmd.*:warning", prefix, "--lcores=0", NULL};
    if (rte_eal_init(9, argv) < 0)
        return false;
    lab->tsc_hz = rte_get_tsc_hz();
    return true;
}

/* The EAL leaves its runtime directory behind. */
void lab_eal_end(void)
{
    char path[256];
    snprintf(path, sizeof(path), "%s", rte_eal_get_runtime_dir());
    rte_eal_cleanup();
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

static struct base_addr address(const char *text)
{
    struct base_addr a;
    if (!base_addr_parse(text, &a))
        abort();
    return a;
}

static void cluster_fill(struct snapshot_cluster *c, const uint32_t *slots, uint32_t endpoints)
{
    *c = (struct snapshot_cluster){.version = 1, .present = true, .policy = SNAPSHOT_ROUND_ROBIN, .connections_per_endpoint = 1,
                                   .max_connections_per_endpoint = 4, .slot_count = endpoints, .slots = slots};
    c->connect_timeout_ns = 5000000000ull;
    c->backoff_base_ns = 1000000000ull;
    c->backoff_max_ns = 120000000000ull;
    c->backoff_factor_x1024 = 1638;
    snprintf(c->name, sizeof(c->name), "bench");
}

/* One listener, one route, one cluster. */
static struct snapshot *make_snapshot(const struct options *o)
{
    struct snapshot *s = calloc(1, sizeof(*s));
    struct snapshot_cluster *c = calloc(1, sizeof(*c));
    struct snapshot_route *r = calloc(1, sizeof(*r));
    uint32_t *slots = calloc(o->endpoints, sizeof(*slots));
    *r = (struct snapshot_route){.authority_match = SNAPSHOT_ANY, .path_match = SNAPSHOT_PREFIX, .path = "/bench.Echo/", .path_len = 12};
    s->generation = 1;
    s->port_count = 1;
    s->port[0] = (struct snapshot_port){.address_count = 1, .address = {address("198.18.0.2")}, .prefix_bits = {24}, .mtu = 1500};
    s->listener_count = 1;
    s->listener[0] = (struct snapshot_listener){.present = true, .bind = {address("198.18.0.2"), LISTENER_PORT}, .max_concurrent_streams = 1000,
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
            .address = {address("198.18.0.1"), (uint16_t)(BACKEND_PORT + i)}, .serial = i + 1, .weight = 1, .flags = SNAPSHOT_PRESENT};
    }
    return s;
}

static bool create_pools(struct lab *lab, const struct options *o)
{
    uint32_t rx = 16384, tx = 16384 + 8 * (o->connections + o->endpoints), other = 2 * tx;
    size_t bytes = packet_pool_footprint(rx, PACKET_ROOM) + packet_pool_footprint(tx, PACKET_ROOM) + packet_pool_footprint(other, PACKET_ROOM);
    char error[256] = "";
    if (!port_heap_open(&lab->heap, "bench", bytes, -1, error, sizeof(error))) {
        fprintf(stderr, "penstock-bench: %s\n", error);
        return false;
    }
    lab->rx_pool = packet_pool_create("rx", rx, PACKET_ROOM, lab->heap.socket);
    lab->tx_pool = packet_pool_create("tx", tx, PACKET_ROOM, lab->heap.socket);
    lab->peer_pool = packet_pool_create("peer", other, PACKET_ROOM, lab->heap.socket);
    return lab->rx_pool != NULL && lab->tx_pool != NULL && lab->peer_pool != NULL;
}

static bool create_gateway(struct lab *lab, const struct options *o, struct port *port)
{
    struct worker_config c = {.workers = 1, .poll = true, .slots = SNAPSHOT_SLOTS_MAX, .clusters = SNAPSHOT_CLUSTERS_MAX,
                              .max_header_list_size = 16384, .seed = 42, .port_count = 1, .port = {port}};
    c.connections = o->connections + o->endpoints + 64;
    c.streams = o->connections * o->streams + 1024;
    tcp_config_defaults(&c.tcp);
    c.tcp.connections = c.connections;
    c.tcp.listeners = SNAPSHOT_LISTENERS_MAX;
    c.tcp.syn_backlog = c.connections;
    c.tcp.mtu = 1500;
    c.tcp.isn_key.k[0] = 0x5555;
    ip_config_defaults(&c.ip);
    c.ip.ports = 1;
    c.ip.key.k[0] = 0x7777;
    c.pool = lab->tx_pool;
    c.rx_pool = lab->rx_pool;
    c.door = lab->door;
    c.mailbox = lab->mailbox;
    char error[256];
    size_t bytes = worker_footprint(&c);
    void *memory = port_arena_open(bytes, error, sizeof(error));
    if (memory == NULL)
        return false;
    struct base_arena a;
    base_arena_init(&a, memory, bytes);
    lab->gateway = worker_create(&a, &c);
    return true;
}

bool lab_create(struct lab *lab, const struct options *o)
{
    char error[512] = "";
    const char *device;
    if (!create_pools(lab, o) || (device = link_create(&lab->link)) == NULL)
        return false;
    struct port_config pc = {.device = device, .queues = 1, .mtu = 1500, .rx_descriptors = 1024, .tx_descriptors = 1024, .rx_pools = &lab->rx_pool};
    struct port *port = port_open(&pc, error, sizeof(error));
    if (port == NULL) {
        fprintf(stderr, "penstock-bench: %s\n", error);
        return false;
    }
    lab->link.gateway_rx = lab->rx_pool;
    lab->peer.pool = lab->peer_pool;
    lab->door = snapshot_door_create(1);
    lab->mailbox = mailbox_create(0, -1);
    if (!create_gateway(lab, o, port) || !peer_create(&lab->peer, o, &lab->link, lab_now(lab)))
        return false;
    uint64_t token;
    snapshot_swap(lab->door, lab->snapshot = make_snapshot(o), &token);
    snapshot_worker_online(lab->door, 0);
    return true;
}

uint64_t lab_now(const struct lab *lab)
{
    return 1000000000ull + (uint64_t)((__uint128_t)rte_rdtsc() * 1000000000ull / lab->tsc_hz);
}

uint64_t lab_bytes(const struct lab *lab)
{
    const struct stats *s = worker_stats(lab->gateway);
    uint64_t buffer = sizeof(struct rte_mbuf) + PACKET_SCRATCH + PACKET_HEADROOM + PACKET_ROOM;
    uint64_t sum = (packet_pool_in_use(lab->rx_pool) + packet_pool_in_use(lab->tx_pool)) * buffer;
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
