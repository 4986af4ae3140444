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
    struct port_queue *queue;
    struct stats *stats;
    struct ip *ip;
    void *arena;
    size_t arena_size;
    uint32_t tcp_segments;
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
    char *args[] = {"test", "--no-huge", "-m", "64", "--no-pci", "-l", "0", "--log-level", "error", "--file-prefix", prefix, NULL};
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
    uint32_t n = port_rx(h->queue, burst, PORT_BURST);
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

#define KERNEL_SIDE(dev)                                                                                                                   \
    "ip link set lo up; ip addr add 198.18.0.1/24 dev " dev "; ip -6 addr add 2001:db8::1/64 dev " dev " nodad; ip link set " dev " up; sleep 0.2"

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
    assert_int_equal(run(&h, "ping -q -c 1000 -i 0.001 -s 56 198.18.0.2 | tee /dev/stderr | grep -q ' 0% packet loss'"), 0);
    assert_int_equal(run(&h, "ping -6 -q -c 1000 -i 0.001 -s 1400 2001:db8::2 | tee /dev/stderr | grep -q ' 0% packet loss'"), 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_kernel_pings_us_without_loss),
        cmocka_unit_test(the_kernel_believes_our_segments),
    };
    return cmocka_run_group_tests(tests, start_eal, stop_eal);
}
