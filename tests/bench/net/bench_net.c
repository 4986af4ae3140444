/* What a packet costs in port and ip: TSC cycles, hot, on one core, with --no-huge and the heap of transparent huge pages.
 * The median and the best of ROUNDS rounds are printed: this is a figure, not a test. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_eal.h>

#include "ip/checksum.h"
#include "ip/ip.h"
#include "port/port.h"

#define POOL    8192
#define BATCH   64
#define ROUNDS  2001
#define PEERS   256

static struct packet_pool *pool;
static struct stats *stats;
static struct ip *ip;
static uint64_t samples[ROUNDS];
static const uint8_t our_mac[6] = {2, 0, 0, 0, 0, 2}, peer_mac[6] = {2, 0, 0, 0, 0, 1};

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void print(const char *what, uint32_t bytes)
{
    qsort(samples, ROUNDS, sizeof(*samples), by_value);
    printf("%-34s %5u B   %6.1f cycles a packet   (best %.1f)\n", what, bytes, (double)samples[ROUNDS / 2] / BATCH, (double)samples[0] / BATCH);
}

static struct base_addr address(const char *text)
{
    struct base_addr a;
    if (!base_addr_parse(text, &a))
        abort();
    return a;
}

static struct packet *segment(uint32_t n)
{
    struct packet *p = packet_alloc(pool);
    uint8_t *t = packet_append(p, n);
    for (uint32_t i = 0; i < n; i++)
        t[i] = (uint8_t)(i * 31);
    t[12] = 0x50;
    t[16] = t[17] = 0;
    return p;
}

/* An unasked ARP request or NS, so that the peer is known. */
static void introduce(const struct base_addr *peer)
{
    struct packet *p = packet_alloc(pool);
    uint8_t *f = packet_append(p, 42);
    static const uint8_t head[8] = {0, 1, 8, 0, 6, 4, 0, 1};
    memcpy(f, our_mac, 6);
    memcpy(f + 6, peer_mac, 6);
    f[12] = 8, f[13] = 6;
    memcpy(f + 14, head, 8);
    memcpy(f + 22, peer_mac, 6);
    memcpy(f + 28, peer->b + 12, 4);
    memset(f + 32, 0, 6);
    memcpy(f + 38, (uint8_t[4]){198, 18, 0, 2}, 4);
    struct ip_result r;
    ip_input(ip, 0, p, 1000, &r);
    uint16_t port;
    while ((p = ip_output_next(ip, &port)) != NULL)
        packet_free(p);
}

static struct base_flow flow_to(uint32_t i)
{
    struct base_flow f = {.local = address("198.18.0.2"), .remote = address("198.18.1.0"), .local_port = (uint16_t)(1024 + i), .remote_port = 50051};
    f.remote.b[15] = (uint8_t)i;
    return f;
}

static void output(uint32_t n)
{
    static struct base_flow flows[PEERS];
    struct packet *p[BATCH];
    uint32_t at = 0;
    for (uint32_t i = 0; i < PEERS; i++) {
        flows[i] = flow_to(i);
        introduce(&flows[i].remote);
    }
    for (uint32_t i = 0; i < BATCH; i++)
        p[i] = segment(n);
    for (int r = 0; r < ROUNDS; r++) {
        for (uint32_t i = 0; i < BATCH; i++)
            memset(packet_data(p[i]) + 16, 0, 2);
        uint64_t t = rte_rdtsc();
        for (uint32_t i = 0; i < BATCH; i++)
            if (!ip_output(ip, &flows[at++ % PEERS], p[i], 1000))
                abort();
        samples[r] = rte_rdtsc() - t;
        for (uint32_t i = 0; i < BATCH; i++)
            packet_adj(p[i], packet_len(p[i]) - n);
    }
    for (uint32_t i = 0; i < BATCH; i++)
        packet_free(p[i]);
    print("ip_output, IPv4, 256 peers", n);
}

static struct packet *frame(uint32_t n)
{
    struct packet *p = packet_alloc(pool);
    uint8_t *f = packet_append(p, 34 + n), *t = f + 34;
    memset(f, 0, 34 + n);
    memcpy(f, our_mac, 6);
    memcpy(f + 6, peer_mac, 6);
    f[12] = 8;
    f[14] = 0x45;
    f[16] = (uint8_t)((20 + n) >> 8), f[17] = (uint8_t)(20 + n);
    f[22] = 64, f[23] = 6;
    memcpy(f + 26, (uint8_t[8]){198, 18, 0, 1, 198, 18, 0, 2}, 8);
    uint16_t c = (uint16_t)~ip_sum_fold(ip_sum(f + 14, 20));
    memcpy(f + 24, &c, 2);
    for (uint32_t i = 20; i < n; i++)
        t[i] = (uint8_t)(i * 13);
    c = (uint16_t)~ip_sum_fold(ip_sum(f + 26, 8) + (6 << 8) + __builtin_bswap16((uint16_t)n) + ip_sum(t, n));
    memcpy(t + 16, &c, 2);
    return p;
}

static void input(uint32_t n)
{
    struct packet *p[BATCH];
    struct ip_result r;
    for (uint32_t i = 0; i < BATCH; i++)
        p[i] = frame(n);
    for (int k = 0; k < ROUNDS; k++) {
        uint64_t t = rte_rdtsc();
        for (uint32_t i = 0; i < BATCH; i++)
            if (ip_input(ip, 0, p[i], 1000, &r) != IP_TCP)
                abort();
        samples[k] = rte_rdtsc() - t;
        for (uint32_t i = 0; i < BATCH; i++)
            packet_prepend(p[i], 34);
    }
    for (uint32_t i = 0; i < BATCH; i++)
        packet_free(p[i]);
    print("ip_input, IPv4, sum verified", n);
}

/* Allocate, write a few words, send; receive, free. */
static void link_pair(const char *device, uint32_t n)
{
    char error[512];
    struct port_config c = {.device = device, .queues = 1, .mtu = 1500, .rx_pools = &pool};
    struct port *port = port_open(&c, error, sizeof(error));
    if (port == NULL) {
        printf("%s\n", error);
        return;
    }
    struct port_queue *q = port_queue(port, 0, stats);
    struct packet *p[PORT_BURST];
    for (int k = 0; k < ROUNDS; k++) {
        uint64_t t = rte_rdtsc();
        for (uint32_t i = 0; i < BATCH; i++) {
            struct packet *out = packet_alloc(pool);
            memset(packet_append(out, n), 1, 64);
            port_tx(q, out);
        }
        port_flush(q);
        for (uint32_t got = 0, m; got < BATCH; got += m) {
            m = port_rx(q, p, PORT_BURST);
            for (uint32_t i = 0; i < m; i++)
                packet_free(p[i]);
        }
        samples[k] = rte_rdtsc() - t;
    }
    print(device, n);
    port_close(port);
}

static void keep(void)
{
    struct packet *p = segment(100);
    struct packet_pool *spare = packet_pool_create("spare", 1024, 2048, SOCKET_ID_ANY);
    for (int k = 0; k < ROUNDS; k++) {
        uint64_t t = rte_rdtsc();
        for (uint32_t i = 0; i < BATCH; i++)
            p = packet_keep(p, spare);
        samples[k] = rte_rdtsc() - t;
    }
    print("packet_keep", 100);
    packet_free(p);
    packet_pool_destroy(spare);
}

static void make(void)
{
    struct ip_config c;
    struct base_arena a;
    char error[256];
    ip_config_defaults(&c);
    c.ports = 1;
    size_t n = ip_footprint(&c) + stats_footprint(1, 1);
    void *memory = port_arena_open(n, error, sizeof(error));
    base_arena_init(&a, memory, n);
    stats = stats_create(&a, 1, 1);
    ip = ip_create(&a, &c, stats, pool, 1000);
    struct ip_port_config port = {.mtu = 1500, .addresses = 2};
    memcpy(port.mac, our_mac, 6);
    port.address[0] = (struct ip_prefix){address("198.18.0.2"), 16};
    port.address[1] = (struct ip_prefix){address("2001:db8::2"), 64};
    ip_configure(ip, 0, &port, 1000);
}

int main(void)
{
    char prefix[40], error[256];
    snprintf(prefix, sizeof(prefix), "penstock-bench-net-%d", (int)getpid());
    char *args[] = {"bench", "--no-huge", "-m", "64", "--no-pci", "-l", "0", "--log-level", "error", "--file-prefix", prefix, NULL};
    struct port_heap heap;
    if (rte_eal_init(11, args) < 0)
        return 1;
    if (!port_heap_open(&heap, "bench", packet_pool_footprint(POOL, PACKET_ROOM), 0, error, sizeof(error))) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    pool = packet_pool_create("bench", POOL, PACKET_ROOM, heap.socket);
    make();
    static const uint32_t sizes[] = {20, 100, 250, 1460};
    for (int i = 0; i < 4; i++)
        output(sizes[i]);
    for (int i = 0; i < 4; i++)
        input(sizes[i]);
    keep();
    link_pair("net_ring0", 100);
    link_pair("net_null0", 64);
    return rte_eal_cleanup();
}
