/* port and ip over a real device: net_tap in a network namespace of the test's own, the Linux kernel as the other host.
 * Skipped, with a word, without root or /dev/net/tun. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <rte_eal.h>

#include "ip/ip.h"
#include "port/port.h"

#define POOL 4096

struct host {
    struct port_heap heap;
    struct packet_pool *pool;
    struct port *port;
    struct port_queue *queue, *second; /* second: NULL, or polled as well */
    struct stats *stats;
    struct ip *ip;
    void *arena;
    size_t arena_size;
    uint32_t tcp_segments, second_seen;
};

static bool have_eal;
static const char *why_not;

static uint64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static int start_eal(void **state)
{
    (void)state;
    char prefix[40];
    snprintf(prefix, sizeof(prefix), "penstock-unit-port-%d", (int)getpid());
    char *args[] = {"test",  "--no-huge",     "-m",   "64", "--no-pci", "-l", "0", "--log-level",
                    "error", "--file-prefix", prefix, NULL};
    if (geteuid() == 0 && unshare(CLONE_NEWNET) != 0)
        why_not = "cannot make a network namespace";
    have_eal = rte_eal_init(11, args) >= 0;
    return have_eal ? 0 : -1;
}

static int stop_eal(void **state)
{
    (void)state;
    return rte_eal_cleanup();
}

static bool can_tap(void)
{
    if (geteuid() != 0)
        why_not = "needs root";
    else if (access("/dev/net/tun", R_OK | W_OK) != 0)
        why_not = "needs /dev/net/tun";
    if (why_not != NULL)
        print_message("skipped: %s\n", why_not);
    return why_not == NULL;
}

static void host_ip(struct host *h, uint16_t vlan)
{
    struct ip_config c;
    ip_config_defaults(&c);
    c.ports = 1;
    c.key = (struct base_hash_key){{1, 2}};
    char error[256] = "";
    h->arena_size = ip_footprint(&c) + stats_footprint(1, 1);
    h->arena = port_arena_open(h->arena_size, error, sizeof(error));
    assert_string_equal(error, "");
    struct base_arena a;
    base_arena_init(&a, h->arena, h->arena_size);
    h->stats = stats_create(&a, 1, 1);
    h->ip = ip_create(&a, &c, h->stats, h->pool, clock_ns());
    struct port_info info;
    port_info(h->port, &info);
    struct ip_port_config p = {.mtu = info.mtu, .vlan = vlan, .addresses = 2};
    memcpy(p.mac, info.mac, 6);
    unsigned bits;
    assert_true(base_prefix_parse("198.18.0.2/24", &p.address[0].addr, &bits));
    p.address[0].bits = (uint8_t)bits;
    assert_true(base_prefix_parse("2001:db8::2/64", &p.address[1].addr, &bits));
    p.address[1].bits = (uint8_t)bits;
    h->queue = port_queue(h->port, 0, h->stats);
    ip_configure(h->ip, 0, &p, clock_ns());
}

static void host_open(struct host *h, const char *device, uint16_t vlan)
{
    memset(h, 0, sizeof(*h));
    char error[512] = "";
    bool ok = port_heap_open(&h->heap, "unit-port", packet_pool_footprint(POOL, PACKET_ROOM), 0, error, sizeof(error));
    assert_string_equal(error, "");
    assert_true(ok);
    h->pool = packet_pool_create("unit-port", POOL, PACKET_ROOM, h->heap.socket);
    assert_non_null(h->pool);
    struct port_config pc = {.device = device, .queues = 1, .mtu = 1500, .link_wait_ms = 2000, .rx_pools = &h->pool};
    h->port = port_open(&pc, error, sizeof(error));
    assert_string_equal(error, "");
    assert_non_null(h->port);
    host_ip(h, vlan);
}

static void host_close(struct host *h)
{
    ip_check(h->ip);
    ip_destroy(h->ip);
    port_close(h->port);
    assert_int_equal(packet_pool_in_use(h->pool), 0);
    packet_pool_destroy(h->pool);
    port_heap_close(&h->heap);
    port_arena_close(h->arena, h->arena_size);
}

/* A TCP segment is answered by a reset, as a host without listeners does (RFC 9293 section 3.10.7.1), by hand. */
static void answer(struct host *h, const struct base_flow *flow, struct packet *p, uint64_t now)
{
    uint8_t *t = packet_data(p);
    uint32_t seq;
    memcpy(&seq, t + 4, 4);
    seq = __builtin_bswap32(__builtin_bswap32(seq) + 1);
    h->tcp_segments++;
    packet_trim(p, packet_len(p) - 20);
    uint8_t port[2];
    memcpy(port, t, 2);
    memcpy(t, t + 2, 2);
    memcpy(t + 2, port, 2);
    memset(t + 4, 0, 4);
    memcpy(t + 8, &seq, 4);
    t[12] = 5 << 4;
    t[13] = 0x14; /* RST, ACK */
    memset(t + 14, 0, 6);
    if (ip_output(h->ip, flow, p, now))
        port_tx(h->queue, p);
}

static void turn(struct host *h)
{
    struct packet *burst[PORT_BURST];
    uint64_t now = clock_ns();
    uint32_t n = port_rx(h->queue, burst, PORT_BURST / 2);
    if (h->second != NULL) {
        uint32_t m = port_rx(h->second, burst + n, PORT_BURST / 2);
        h->second_seen += m;
        n += m;
    }
    for (uint32_t i = 0; i < n; i++) {
        struct ip_result r;
        enum ip_verdict v = ip_input(h->ip, 0, burst[i], now, &r);
        if (v == IP_TCP)
            answer(h, &r.flow, burst[i], now);
    }
    ip_tick(h->ip, now);
    uint16_t port;
    for (struct packet *p; (p = ip_output_next(h->ip, &port)) != NULL;)
        port_tx(h->queue, p);
    port_flush(h->queue);
    if (n == 0)
        usleep(20);
}

/* Runs a shell command in the namespace while the host takes its turns; its exit status. */
static int run(struct host *h, const char *command)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", command, NULL);
        _exit(127);
    }
    int status;
    while (waitpid(pid, &status, WNOHANG) == 0)
        turn(h);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static uint64_t dropped(const struct host *h, enum stats_drop why)
{
    return stats_read(&h->stats->drops[why]);
}

#define KERNEL_SIDE(dev)                                                                                               \
    "ip link set lo up; ip addr add 198.18.0.1/24 dev " dev "; ip -6 addr add 2001:db8::1/64 dev " dev                 \
    " nodad; ip link set " dev " up; sleep 0.2"

static void the_kernel_pings_us_without_loss(void **state)
{
    (void)state;
    if (!can_tap())
        return;
    struct host h;
    host_open(&h, "net_tap0,iface=pen0", 0);
    assert_int_equal(run(&h, KERNEL_SIDE("pen0")), 0);
    assert_true(port_link_up(h.port));
    uint64_t before = stats_read(&h.stats->counters[STATS_ICMP_ECHOES]);
    assert_int_equal(run(&h, "ping -q -c 1000 -i 0.001 -s 56 198.18.0.2 | tee /dev/stderr | grep -q ' 0% packet loss'"),
                     0);
    assert_int_equal(
        run(&h, "ping -6 -q -c 1000 -i 0.001 -s 1400 2001:db8::2 | tee /dev/stderr | grep -q ' 0% packet loss'"), 0);
    assert_int_equal(stats_read(&h.stats->counters[STATS_ICMP_ECHOES]) - before, 2000);
    assert_int_equal(stats_read(&h.stats->drops[STATS_DROP_L4_CHECKSUM]), 0);
    assert_int_equal(stats_read(&h.stats->drops[STATS_DROP_IP_CHECKSUM]), 0);
    host_close(&h);
}

static void the_kernel_believes_our_segments(void **state)
{
    (void)state;
    if (!can_tap())
        return;
    struct host h;
    host_open(&h, "net_tap1,iface=pen1", 0);
    assert_int_equal(run(&h, KERNEL_SIDE("pen1")), 0);
    /* A reset with a bad checksum would be dropped, and the connect would time out instead of being refused. */
    assert_int_equal(run(&h, "bash -c 'exec 3<>/dev/tcp/198.18.0.2/80' 2>&1 | grep -q refused"), 0);
    assert_int_equal(run(&h, "bash -c 'exec 3<>/dev/tcp/2001:db8::2/80' 2>&1 | grep -q refused"), 0);
    assert_int_equal(h.tcp_segments, 2);
    uint8_t mac[6];
    struct base_addr kernel;
    assert_true(base_addr_parse("198.18.0.1", &kernel));
    assert_int_not_equal(ip_neighbour(h.ip, 0, &kernel, mac), IP_NEIGHBOUR_NONE);
    host_close(&h);
}

/* The link taken down and up, the same device opened twice. */
static void links_come_back(void **state)
{
    (void)state;
    if (!can_tap())
        return;
    for (int round = 0; round < 2; round++) {
        struct host h;
        host_open(&h, "net_tap2,iface=pen2", 0);
        assert_int_equal(run(&h, KERNEL_SIDE("pen2")), 0);
        assert_int_equal(run(&h, "ping -q -c 50 -i 0.002 198.18.0.2 | grep -q ' 0% packet loss'"), 0);
        assert_int_equal(run(&h, "ip link set pen2 down"), 0);
        assert_false(port_link_up(h.port));
        assert_int_equal(run(&h, "sleep 0.1; ip link set pen2 up; sleep 0.2"), 0);
        assert_true(port_link_up(h.port));
        assert_int_equal(run(&h, "ping -q -c 50 -i 0.002 198.18.0.2 | grep -q ' 0% packet loss'"), 0);
        host_close(&h);
    }
}

static void tagged_frames_go_both_ways(void **state)
{
    (void)state;
    if (!can_tap())
        return;
    struct host h;
    host_open(&h, "net_tap5,iface=pen5", 7);
    if (run(&h, "ip link set pen5 up; ip link add link pen5 name pen5.7 type vlan id 7 2>/dev/null") == 0) {
        assert_int_equal(run(&h, KERNEL_SIDE("pen5.7")), 0);
        assert_int_equal(run(&h, "ping -q -c 50 -i 0.002 198.18.0.2 | grep -q ' 0% packet loss'"), 0);
        assert_int_equal(run(&h, "ping -6 -q -c 50 -i 0.002 2001:db8::2 | grep -q ' 0% packet loss'"), 0);
    } else {
        print_message("skipped: this kernel has no VLAN devices\n");
    }
    host_close(&h);
}

/* Two queues: the kernel spreads flows over them as it likes; all are heard. */
static void two_queues_are_heard(void **state)
{
    (void)state;
    if (!can_tap())
        return;
    struct host h = {0};
    char error[512] = "";
    assert_true(
        port_heap_open(&h.heap, "unit-port", packet_pool_footprint(POOL, PACKET_ROOM), 0, error, sizeof(error)));
    h.pool = packet_pool_create("unit-port", POOL, PACKET_ROOM, h.heap.socket);
    struct packet_pool *pools[2] = {h.pool, h.pool};
    struct port_config pc = {
        .device = "net_tap6,iface=pen6", .queues = 2, .mtu = 1500, .link_wait_ms = 2000, .rx_pools = pools};
    h.port = port_open(&pc, error, sizeof(error));
    assert_string_equal(error, "");
    struct port_info info;
    port_info(h.port, &info);
    assert_int_equal(info.queues, 2);
    assert_int_equal(packet_pool_reserved(h.pool), 2 * info.rx_descriptors);
    host_ip(&h, 0);
    h.second = port_queue(h.port, 1, h.stats);
    assert_int_equal(run(&h, KERNEL_SIDE("pen6")), 0);
    /* 64 flows, each refused by a reset */
    assert_int_equal(
        run(&h,
            "bash -c 'for i in {1..64}; do (exec 3<>/dev/tcp/198.18.0.2/80) 2>&1 | grep -q refused || exit 1; done'"),
        0);
    assert_in_range(h.tcp_segments, 64, 96); /* who is answered late asks again; each heard twice would be 128 */
    assert_true(h.second_seen > 0);
    host_close(&h);
}

/* The same over af_packet and a veth pair: another driver, nothing of ours changes. */
static void af_packet_works_too(void **state)
{
    (void)state;
    if (!can_tap())
        return;
    assert_int_equal(system("ip link add pen3 type veth peer name pen4 && ip link set pen4 up && ip link set pen3 up"),
                     0);
    struct host h;
    host_open(&h, "net_af_packet0,iface=pen4", 0);
    assert_int_equal(run(&h, KERNEL_SIDE("pen3")), 0);
    assert_int_equal(run(&h, "ping -q -c 200 -i 0.002 198.18.0.2 | grep -q ' 0% packet loss'"), 0);
    assert_int_equal(run(&h, "ping -6 -q -c 200 -i 0.002 -s 1400 2001:db8::2 | grep -q ' 0% packet loss'"), 0);
    host_close(&h);
    assert_int_equal(system("ip link del pen3"), 0);
}

/* ---- without root: net_ring gives back what it is sent ---- */

static struct packet *bytes(struct host *h, uint32_t n, uint8_t fill)
{
    struct packet *p = packet_alloc(h->pool);
    assert_non_null(p);
    memset(packet_append(p, n), fill, n);
    return p;
}

static void frames_come_back_in_order_and_are_counted(void **state)
{
    (void)state;
    struct host h;
    struct packet *in[PORT_BURST];
    host_open(&h, "net_ring0", 0);
    for (uint32_t i = 0; i < PORT_BURST / 2; i++)
        port_tx(h.queue, bytes(&h, 60 + i, (uint8_t)i));
    assert_int_equal(port_rx(h.queue, in, PORT_BURST), 0); /* nothing goes before the flush */
    port_flush(h.queue);
    assert_int_equal(port_rx(h.queue, in, 5), 5);
    assert_int_equal(port_rx(h.queue, in + 5, PORT_BURST - 5), PORT_BURST / 2 - 5);
    for (uint32_t i = 0; i < PORT_BURST / 2; i++) {
        assert_int_equal(packet_len(in[i]), 60 + i);
        assert_int_equal(packet_data(in[i])[7], i);
        packet_free(in[i]);
    }
    uint64_t sum = 60 * 32 + 31 * 16;
    assert_int_equal(stats_read(&h.stats->counters[STATS_PORT_TX_PACKETS]), 32);
    assert_int_equal(stats_read(&h.stats->counters[STATS_PORT_RX_PACKETS]), 32);
    assert_int_equal(stats_read(&h.stats->counters[STATS_PORT_TX_BYTES]), sum);
    assert_int_equal(stats_read(&h.stats->counters[STATS_PORT_RX_BYTES]), sum);
    for (uint32_t i = 0; i < PORT_BURST + 3; i++)
        port_tx(h.queue, bytes(&h, 60, 1)); /* a full buffer goes by itself */
    assert_int_equal(port_rx(h.queue, in, PORT_BURST), PORT_BURST);
    for (uint32_t i = 0; i < PORT_BURST; i++)
        packet_free(in[i]);
    port_flush(h.queue);
    assert_int_equal(port_rx(h.queue, in, PORT_BURST), 3);
    for (uint32_t i = 0; i < 3; i++)
        packet_free(in[i]);
    port_tx(h.queue, bytes(&h, 60, 1)); /* left in the buffer: port_close() frees it */
    host_close(&h);
}

static void what_the_device_refuses_is_freed_and_counted(void **state)
{
    (void)state;
    struct host h;
    struct packet *in[PORT_BURST];
    host_open(&h, "net_ring1", 0);
    uint32_t sent = 0, got = 0, n, before = packet_pool_in_use(h.pool); /* ip's announcements */
    for (; dropped(&h, STATS_DROP_PORT_TX_FULL) == 0 && sent < 3000; sent++)
        port_tx(h.queue, bytes(&h, 60, 1));
    port_flush(h.queue);
    uint64_t full = dropped(&h, STATS_DROP_PORT_TX_FULL);
    assert_true(full > 0);
    assert_int_equal(packet_pool_in_use(h.pool), before + sent - full);
    while ((n = port_rx(h.queue, in, PORT_BURST)) > 0)
        for (uint32_t i = 0; i < n; i++, got++)
            packet_free(in[i]);
    assert_int_equal(got, sent - full);
    host_close(&h);
}

static struct packet *chain(struct host *h, uint32_t segments, uint32_t each)
{
    struct rte_mbuf *head = packet_mbuf(bytes(h, each, 0));
    for (uint32_t i = 1; i < segments; i++)
        assert_int_equal(rte_pktmbuf_chain(head, packet_mbuf(bytes(h, each, (uint8_t)i))), 0);
    return (struct packet *)head;
}

static void frames_in_pieces_are_made_linear_or_dropped(void **state)
{
    (void)state;
    struct host h;
    struct packet *in[PORT_BURST];
    host_open(&h, "net_ring2", 0);
    uint32_t before = packet_pool_in_use(h.pool);
    port_tx(h.queue, chain(&h, 4, 300));
    port_tx(h.queue, chain(&h, 3, 900)); /* more than a buffer holds */
    port_tx(h.queue, bytes(&h, 60, 9));
    port_flush(h.queue);
    assert_int_equal(port_rx(h.queue, in, PORT_BURST), 2);
    assert_int_equal(packet_len(in[0]), 1200);
    for (uint32_t i = 0; i < 1200; i++)
        assert_int_equal(packet_data(in[0])[i], i / 300);
    assert_int_equal(packet_data(in[1])[0], 9);
    assert_int_equal(dropped(&h, STATS_DROP_PORT_RX_SCATTERED), 1);
    packet_free(in[0]);
    packet_free(in[1]);
    assert_int_equal(packet_pool_in_use(h.pool), before);
    host_close(&h);
}

static void refused(const char *device, uint16_t queues, uint16_t mtu, const char *must_say)
{
    char error[512] = "";
    struct packet_pool *pool = packet_pool_create("refused", 2048, PACKET_ROOM, -1);
    struct packet_pool *pools[64];
    for (int i = 0; i < 64; i++)
        pools[i] = pool;
    struct port_config c = {.device = device, .queues = queues, .mtu = mtu, .rx_pools = pools};
    struct port *port = port_open(&c, error, sizeof(error));
    if (port != NULL || strstr(error, must_say) == NULL)
        fail_msg("\"%s\" says: %s", device, error);
    print_message("  %s\n", error);
    packet_pool_destroy(pool);
}

static void what_goes_wrong_is_said(void **state)
{
    (void)state;
    refused("", 1, 1500, "net_tap0,iface=NAME");
    refused("nonsense0", 1, 1500, "unknown device");
    refused("0000:ff:1f.7", 1, 1500, "vfio-pci");
    refused("net_af_packet7", 1, 1500, "iface=");
    refused("net_ring3", 1, 20, "MTU");
    refused("net_ring3", 1, 9000, "buffers of 9018 bytes");
    if (can_tap())
        refused("net_af_packet8,iface=not-there", 1, 1500, "no kernel interface \"not-there\"");
    struct port_heap h;
    char error[256] = "";
    assert_false(port_heap_open(&h, "too-much", (size_t)1 << 60, 0, error, sizeof(error)));
    assert_non_null(strstr(error, "limits.memory"));
}

/* A buffer must hold what the driver may put there, which for a packet socket is a slot and not a frame. */
static void buffers_are_as_large_as_the_device_wants_them(void **state)
{
    (void)state;
    assert_int_equal(port_buffer_room("net_tap0,iface=pen0", 1500), 1564);
    assert_int_equal(port_buffer_room("0000:3b:00.0", 9000), 9064);
    assert_int_equal(port_buffer_room("net_memif0,role=client", 9000), 9064);
    assert_int_equal(port_buffer_room("net_af_packet0,iface=pen1", 1500), 1564);
    for (uint32_t mtu = 1501; mtu <= 9216; mtu++) {
        uint32_t room = port_buffer_room("net_af_packet0,iface=pen1", mtu), slot = (mtu + 80 + 1023) / 1024 * 1024;
        assert_int_equal(room, slot - 32 > mtu + 64 ? slot - 32 : mtu + 64);
    }
    assert_int_equal(port_buffer_room("net_af_packet0,iface=pen1,framesz=16384,blocksz=16384", 9000), 16352);
}

/* Has the mapping that holds `at` transparent huge pages, or is it at least one that shall have them?  Where memory is in pieces the kernel has none to give. */
static bool huge(const void *at)
{
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[512];
    bool in = false, asked = false;
    long kb = 0;
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            in = (unsigned long)at >= from && (unsigned long)at < to;
        else if (in && sscanf(line, "AnonHugePages: %ld", &kb) != 1 && strncmp(line, "VmFlags:", 8) == 0)
            asked = strstr(line, " hg") != NULL;
    }
    if (f != NULL)
        fclose(f);
    if (kb < 2048 && asked)
        print_message("  %ld kB of huge pages: the kernel has no more to give\n", kb);
    return kb >= 2048 || asked;
}

static bool thp_offered(void)
{
    char text[64] = "";
    FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
    bool read = f != NULL && fgets(text, sizeof(text), f) != NULL;
    if (f != NULL)
        fclose(f);
    return read && strstr(text, "[never]") == NULL;
}

/* The footprint is enough for the pool, the buffers lie in the region, and the region has huge pages. */
static void heaps_hold_the_pools_they_were_made_for(void **state)
{
    (void)state;
    static const uint32_t counts[] = {64, 1000, 4096, 20000}, rooms[] = {2048, 9216, 512, 2048};
    for (int k = 0; k < 4; k++) {
        struct port_heap heap;
        char error[256] = "";
        size_t n = packet_pool_footprint(counts[k], rooms[k]);
        assert_true(port_heap_open(&heap, "fits", n, 0, error, sizeof(error)));
        assert_true(n < (size_t)counts[k] * (rooms[k] + 400) * 5 / 4 + ((size_t)8 << 20)); /* and not much more */
        struct packet_pool *pool = packet_pool_create("fits", counts[k], rooms[k], heap.socket);
        assert_non_null(pool);
        struct packet *p = packet_alloc(pool);
        const uint8_t *at = packet_data(p);
        assert_true(at >= (uint8_t *)heap.base && at < (uint8_t *)heap.base + heap.size);
        assert_int_equal((uintptr_t)heap.base % (2 << 20), 0);
        if (thp_offered())
            assert_true(huge(at));
        else
            print_message("  not looked for huge pages: this kernel has them off\n");
        packet_free(p);
        packet_pool_destroy(pool);
        port_heap_close(&heap);
    }
    char error[256];
    uint8_t *arena = port_arena_open(5000000, error, sizeof(error));
    assert_int_equal((uintptr_t)arena % (2 << 20), 0);
    for (size_t i = 0; i < 5000000; i += 4096)
        assert_int_equal(arena[i], 0);
    port_arena_close(arena, 5000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_kernel_pings_us_without_loss),
        cmocka_unit_test(the_kernel_believes_our_segments),
        cmocka_unit_test(links_come_back),
        cmocka_unit_test(tagged_frames_go_both_ways),
        cmocka_unit_test(two_queues_are_heard),
        cmocka_unit_test(af_packet_works_too),
        cmocka_unit_test(frames_come_back_in_order_and_are_counted),
        cmocka_unit_test(what_the_device_refuses_is_freed_and_counted),
        cmocka_unit_test(frames_in_pieces_are_made_linear_or_dropped),
        cmocka_unit_test(what_goes_wrong_is_said),
        cmocka_unit_test(buffers_are_as_large_as_the_device_wants_them),
        cmocka_unit_test(heaps_hold_the_pools_they_were_made_for),
    };
    return cmocka_run_group_tests(tests, start_eal, stop_eal);
}
