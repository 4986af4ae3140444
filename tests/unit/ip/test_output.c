/* What goes out: frames to the byte, checksums against a naive twin, routes. */
#include "frames.h"
#include "ip/checksum.h"

static void sums_agree_with_a_naive_twin(void **state)
{
    (void)state;
    srand(7);
    for (uint32_t n = 0; n < 400; n++)
        for (uint32_t shift = 0; shift < 17; shift++) {
            uint8_t *raw = malloc(n + shift + (n + shift == 0)); /* ends where the bytes end */
            for (int fill = 0; fill < 3; fill++) {
                for (uint32_t i = 0; i < n; i++)
                    raw[shift + i] = fill == 0 ? 0xff : fill == 1 ? 0 : (uint8_t)rand();
                uint16_t want = naive_sum(raw + shift, n, 0), got = ip_sum_fold(ip_sum(raw + shift, n));
                assert_int_equal(__builtin_bswap16(got), want);
            }
            free(raw);
        }
    for (uint32_t n = 65000; n <= 65535; n += 107) {
        uint8_t *raw = malloc(n);
        for (int fill = 0; fill < 2; fill++) {
            for (uint32_t i = 0; i < n; i++)
                raw[i] = fill == 0 ? 0xff : (uint8_t)rand();
            assert_int_equal(__builtin_bswap16(ip_sum_fold(ip_sum(raw, n))), naive_sum(raw, n, 0));
        }
        free(raw);
    }
}

/* What the frame must be, written by the twin. */
static void want_frame(struct frame_bytes *f, const struct host *h, bool v6, const char *local, const char *remote,
                       uint32_t data)
{
    struct packet *p = segment_make((struct host *)(uintptr_t)h, data);
    put_eth(f, peer_mac, our_mac, v6 ? 0x86dd : 0x0800);
    if (v6) {
        put_ip6(f, local, remote, 6, 64, 20 + data);
    } else {
        put_ip4(f, local, remote, 6, 20 + data);
        f->b[18] = f->b[19] = 0; /* identification */
        reseal_ip4(f, 14);
    }
    uint32_t at = f->n;
    put(f, packet_data(p), packet_len(p));
    packet_free(p);
    seal(f, 14, at, 6);
}

static void frames_are_right_to_the_byte(void **state)
{
    (void)state;
    struct host h;
    struct packet *p;
    struct frame_bytes want;
    host_open(&h, 16, 16);
    host_resolve(&h);
    for (uint32_t data = 0; data < 1441; data += data < 200 ? 1 : 37)
        for (int v6 = 0; v6 < 2; v6++)
            for (int far = 0; far < 2; far++) {
                const char *local = v6 ? "2001:db8::2" : "198.18.0.2";
                const char *remote = v6 ? (far ? "2001:db8:f::9" : "2001:db8::1") : (far ? "198.19.3.4" : "198.18.0.1");
                assert_true(send_to(&h, local, remote, data, &p));
                want_frame(&want, &h, v6, local, remote, data);
                assert_int_equal(packet_len(p), want.n);
                assert_memory_equal(packet_data(p), want.b, want.n);
                packet_free(p);
            }
    assert_int_equal(host_discard(&h), 0);
    host_close(&h);
}

static void congestion_marks_are_the_flow_s(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes want;
    host_open(&h, 16, 16);
    host_resolve(&h);
    for (int i = 0; i < 8; i++) { /* and no segment inherits that of the one before */
        bool v6 = i % 2 != 0;
        const char *local = v6 ? "2001:db8::2" : "198.18.0.2", *remote = v6 ? "2001:db8::1" : "198.18.0.1";
        struct base_flow f = flow_to(local, remote);
        f.ecn = i / 2 % 2 ? BASE_ECN_NONE : BASE_ECN_ECT0;
        struct packet *p = segment_make(&h, 100);
        assert_true(ip_output(h.ip, &f, p, h.now));
        want_frame(&want, &h, v6, local, remote, 100);
        want.b[15] = (uint8_t)(v6 ? f.ecn << 4 : f.ecn);
        if (!v6)
            reseal_ip4(&want, 14);
        assert_int_equal(packet_len(p), want.n);
        assert_memory_equal(packet_data(p), want.b, want.n);
        packet_free(p);
    }
    host_close(&h);
}

static void vlan_and_device_checksums_are_used(void **state)
{
    (void)state;
    struct host h;
    struct packet *p;
    host_open(&h, 16, 16);
    h.port.vlan = 5;
    h.port.flags = IP_TX_TCP_CSUM;
    host_configure(&h);
    host_discard(&h);
    struct frame_bytes f;
    frame_arp(&f, 1, peer_mac, "198.18.0.1", "198.18.0.2", broadcast_mac);
    memmove(f.b + 16, f.b + 12, f.n - 12);
    memcpy(f.b + 12, (const uint8_t[4]){0x81, 0, 0, 5}, 4);
    f.n += 4;
    feed_frame(&h, &f);
    next_frame(&h, &f); /* the reply is tagged as well */
    assert_memory_equal(f.b + 12, ((uint8_t[6]){0x81, 0, 0, 5, 8, 6}), 6);
    for (int i = 0; i < 2; i++) { /* slow, then hot */
        assert_true(send_to(&h, "198.18.0.2", "198.18.0.1", 30, &p));
        const uint8_t *b = packet_data(p);
        assert_memory_equal(b + 12, ((uint8_t[6]){0x81, 0, 0, 5, 8, 0}), 6);
        assert_int_equal(p->tx_flags, PACKET_TX_TCP_CSUM);
        assert_true(p->l2_len == 18 && p->l3_len == 20 && p->l4_len == 20);
        /* the field holds the sum of the pseudo-header: what the device adds to */
        uint8_t pseudo[12] = {198, 18, 0, 2, 198, 18, 0, 1, 0, 6, 0, 50};
        assert_int_equal(b[18 + 36] << 8 | b[18 + 37], naive_sum(pseudo, 12, 0));
        packet_free(p);
    }
    host_close(&h);
}

/* What a device cuts up: lengths of the whole, no length in the checksum's start, and where to cut. */
static void joined_segments_leave_as_one_frame(void **state)
{
    (void)state;
    struct host h;
    host_open(&h, 16, 16);
    h.port.flags = IP_TX_TCP_CSUM | IP_TX_TSO;
    host_configure(&h);
    host_discard(&h);
    host_resolve(&h);
    for (int v6 = 0; v6 < 2; v6++) {
        const char *local = v6 ? "2001:db8::2" : "198.18.0.2", *remote = v6 ? "2001:db8::1" : "198.18.0.1";
        struct base_flow flow = {.local = addr(local), .remote = addr(remote), .local_port = 50051, .remote_port = 40000};
        struct packet *p;
        ip_configure(h.ip, 0, &h.port, h.now);
        assert_true(send_to(&h, local, remote, 10, &p)); /* now the way is known */
        packet_free(p);
        assert_true(ip_takes_joined(h.ip, &flow));
        struct packet *head = segment_make(&h, 1000), *tail = segment_make(&h, 600);
        packet_adj(tail, 20);
        packet_join(head, head, tail);
        assert_true(ip_output(h.ip, &flow, head, h.now));
        uint32_t l3 = v6 ? 40 : 20, total = 20 + 1000 + 600;
        const uint8_t *b = packet_data(head);
        assert_int_equal(packet_len(head), 14 + l3 + 1020);
        assert_int_equal(packet_total(head), 14 + l3 + total);
        assert_int_equal(head->tx_flags, PACKET_TX_TSO | PACKET_TX_TCP_CSUM | (v6 ? PACKET_TX_IPV6 : PACKET_TX_IP_CSUM));
        assert_true(head->l2_len == 14 && head->l3_len == l3 && head->l4_len == 20 && head->segment == 1000);
        assert_int_equal(v6 ? b[18] << 8 | b[19] : b[16] << 8 | b[17], v6 ? total : total + 20);
        uint8_t pseudo[40] = {0};
        uint32_t n = v6 ? 32 : 8;
        memcpy(pseudo, b + 14 + (v6 ? 8 : 12), n);
        pseudo[n + 3] = 6;
        assert_int_equal(b[14 + l3 + 16] << 8 | b[14 + l3 + 17], naive_sum(pseudo, n + 4, 0));
        packet_free(tail);
        packet_free(head);
        flow.remote = addr(v6 ? "2001:db8::77" : "198.18.0.77"); /* a way that has to be found first */
        assert_false(ip_takes_joined(h.ip, &flow));
    }
    h.port.flags = IP_TX_TCP_CSUM;
    host_configure(&h);
    struct packet *p;
    assert_true(send_to(&h, "198.18.0.2", "198.18.0.1", 10, &p));
    packet_free(p);
    struct base_flow flow = {.local = addr("198.18.0.2"), .remote = addr("198.18.0.1")};
    assert_false(ip_takes_joined(h.ip, &flow));
    host_discard(&h);
    host_close(&h);
}

static void nobody_reaches_where_no_route_leads(void **state)
{
    (void)state;
    static const char *const nowhere[] = {"198.19.0.1", "198.18.0.255", "198.18.0.0", "198.18.0.2",
                                          "224.0.0.1",  "127.0.0.1",    "0.0.0.1",    "255.255.255.255"};
    struct host h;
    struct packet *p;
    struct ip_result r;
    host_open(&h, 16, 16);
    h.port.gateway4 = h.port.gateway6 = (struct base_addr){0};
    host_configure(&h);
    host_discard(&h);
    for (size_t i = 0; i < sizeof(nowhere) / sizeof(*nowhere); i++) {
        assert_false(send_to(&h, "198.18.0.2", nowhere[i], 0, &p));
        struct base_flow f = flow_to("198.18.0.2", nowhere[i]);
        assert_true(ip_unreachable_next(h.ip, &r));
        assert_true(base_flow_eq(&r.flow, &f) && r.hard);
        assert_int_equal(drops(&h, STATS_DROP_IP_NO_ROUTE), i + 1);
    }
    assert_false(send_to(&h, "2001:db8::2", "2001:db8:9::1", 0, &p));
    assert_false(send_to(&h, "2001:db8::2", "ff02::1", 0, &p));
    assert_int_equal(drops(&h, STATS_DROP_IP_NO_ROUTE), 10);
    assert_false(send_to(&h, "198.18.0.77", "198.18.0.1", 0, &p)); /* not an address of ours */
    assert_int_equal(drops(&h, STATS_DROP_IP_BAD_SOURCE), 1);
    assert_int_equal(host_discard(&h), 0);
    while (ip_unreachable_next(h.ip, &r))
        ;
    assert_true(ip_idle(h.ip));
    host_close(&h);
}

static void source(const struct host *h, const char *remote, const char *want)
{
    struct base_addr local, r = addr(remote);
    uint16_t port = 9;
    bool found = ip_source_for(h->ip, &r, &local, &port);
    assert_int_equal(found, want != NULL);
    if (want == NULL)
        return;
    struct base_addr w = addr(want);
    assert_true(base_addr_eq(&local, &w));
    assert_int_equal(port, 0);
}

static void sources_are_chosen_by_prefix_then_gateway(void **state)
{
    (void)state;
    struct host h;
    host_open(&h, 16, 16);
    h.port.addresses = 4;
    h.port.address[2] = (struct ip_prefix){addr("198.18.7.9"), 29};
    h.port.address[3] = (struct ip_prefix){addr("2001:db8:5::9"), 47};
    h.port.gateway6 = addr("fe80::1");
    host_configure(&h);
    source(&h, "198.18.0.77", "198.18.0.2");
    source(&h, "198.18.7.14", "198.18.7.9");
    source(&h, "198.18.7.15", NULL); /* its broadcast */
    source(&h, "198.18.7.16", "198.18.0.2");
    source(&h, "198.19.1.1", "198.18.0.2");
    source(&h, "2001:db8::77", "2001:db8::2");
    source(&h, "2001:db8:4::1", "2001:db8:5::9");
    source(&h, "2001:db8:6::1", "2001:db8::2"); /* through fe80::1, from a global address */
    source(&h, "198.18.0.2", NULL);             /* ourselves */
    source(&h, "fe80::5", "fe80::ff:fe00:2");
    h.port.gateway4 = addr("198.18.99.1"); /* outside of every prefix, as clouds have it */
    host_configure(&h);
    source(&h, "198.19.1.1", "198.18.0.2");
    host_discard(&h);
    struct packet *p;
    assert_false(send_to(&h, "198.18.0.2", "198.19.1.1", 0, &p));
    struct frame_bytes f;
    next_frame(&h, &f);
    assert_memory_equal(f.b + 14 + 24, ((uint8_t[4]){198, 18, 99, 1}), 4);
    h.port.address[0].bits = 31; /* RFC 3021: both are hosts */
    host_configure(&h);
    source(&h, "198.18.0.3", "198.18.0.2");
    host_close(&h);
}

static void addresses_come_and_go(void **state)
{
    (void)state;
    struct host h;
    struct packet *p;
    struct frame_bytes f;
    host_open(&h, 16, 16);
    host_resolve(&h);
    assert_true(send_to(&h, "198.18.0.2", "198.18.0.1", 0, &p));
    packet_free(p);
    h.port.address[0].addr = addr("198.18.0.3");
    host_configure(&h);
    assert_false(send_to(&h, "198.18.0.2", "198.18.0.1", 0, &p)); /* the path of before is not used */
    frame_tcp4(&f, 0);
    assert_int_equal(feed_frame(&h, &f), IP_DONE);
    host_discard(&h);
    assert_true(send_to(&h, "198.18.0.3", "198.18.0.1", 0, &p)); /* the neighbour is still known */
    packet_free(p);
    h.port.vlan = 9;
    host_configure(&h);
    assert_int_equal(ip_neighbours(h.ip), 0); /* another link */
    host_close(&h);
}

static void assert_announced4(struct host *h, const char *who)
{
    struct frame_bytes f;
    struct base_addr a = addr(who);
    next_frame(h, &f); /* ARP: sender and target are ours, to all */
    assert_memory_equal(f.b, broadcast_mac, 6);
    assert_memory_equal(f.b + 28, a.b + 12, 4);
    assert_memory_equal(f.b + 38, a.b + 12, 4);
    assert_int_equal(f.n, 60);
}

static void assert_announced6(struct host *h, const char *who)
{
    struct frame_bytes f;
    struct base_addr a = addr(who);
    next_frame(h, &f); /* NA to all nodes, override, from the address itself */
    assert_int_equal(f.b[54], 136);
    assert_int_equal(f.b[58], 0x20);
    assert_memory_equal(f.b + 22, a.b, 16);
    assert_memory_equal(f.b + 62, a.b, 16);
    assert_true(sealed(f.b, 14, 54, f.n, 58));
    assert_int_equal(f.b[21], 255);
}

static void pass(struct host *h, uint64_t ns)
{
    h->now += ns;
    ip_tick(h->ip, h->now);
}

static void new_addresses_are_announced_twice(void **state)
{
    (void)state;
    struct host h;
    host_open(&h, 16, 16);
    h.port.vlan = 3; /* another link: all are new there */
    host_configure(&h);
    for (int round = 0; round < 2; round++) {
        struct packet *p;
        uint16_t port;
        uint32_t n = 0;
        for (; (p = ip_output_next(h.ip, &port)) != NULL; n++)
            packet_free(p);
        assert_int_equal(n, 3);
        pass(&h, 2 * SECOND + 2 * MS);
    }
    assert_int_equal(host_discard(&h), 0);
    h.port.vlan = 0;
    host_configure(&h);
    for (int round = 0; round < 2; round++) {
        assert_announced4(&h, "198.18.0.2");
        assert_announced6(&h, "2001:db8::2");
        assert_announced6(&h, "fe80::ff:fe00:2");
        assert_int_equal(host_discard(&h), 0);
        pass(&h, 2 * SECOND + 2 * MS);
    }
    host_configure(&h); /* nothing new */
    pass(&h, 3 * SECOND);
    assert_int_equal(host_discard(&h), 0);
    h.port.address[2] = (struct ip_prefix){addr("198.18.0.5"), 24};
    h.port.addresses = 3;
    host_configure(&h);
    assert_announced4(&h, "198.18.0.5");
    assert_int_equal(host_discard(&h), 0);
    host_configure(&h); /* half told: told once more, and again */
    assert_announced4(&h, "198.18.0.5");
    pass(&h, 2 * SECOND + 2 * MS);
    assert_announced4(&h, "198.18.0.5");
    pass(&h, 9 * SECOND);
    assert_int_equal(host_discard(&h), 0);
    host_close(&h);
}

/* Two ports: each has its own addresses and neighbours, and an address is ours on its own port alone. */
static void two_ports_are_two_links(void **state)
{
    (void)state;
    struct packet_pool *pool = packet_pool_create("own", 64, PACKET_ROOM, 0);
    struct ip_config c;
    ip_config_defaults(&c);
    c.ports = 2;
    c.neighbours = c.queued = 16;
    size_t n = ip_footprint(&c) + stats_footprint(1, 1);
    void *memory = aligned_alloc(64, base_align(n));
    memset(memory, 0, n);
    struct base_arena a;
    base_arena_init(&a, memory, n);
    struct stats *stats = stats_create(&a, 1, 1);
    struct ip *ip = ip_create(&a, &c, stats, pool, SECOND);
    struct ip_port_config p0 = {.mtu = 1500, .addresses = 1, .address = {{addr("198.18.0.2"), 24}}};
    struct ip_port_config p1 = {
        .mtu = 1500, .addresses = 1, .address = {{addr("198.19.0.2"), 24}}, .gateway4 = addr("198.19.0.1")};
    memcpy(p0.mac, our_mac, 6);
    memcpy(p1.mac, other_mac, 6);
    ip_configure(ip, 0, &p0, SECOND);
    ip_configure(ip, 1, &p1, SECOND);
    struct base_addr local, remote = addr("198.18.0.9"), far = addr("203.0.113.1"), second = addr("198.19.0.2");
    uint16_t port;
    assert_true(ip_source_for(ip, &remote, &local, &port) && port == 0);
    assert_true(ip_source_for(ip, &far, &local, &port) && port == 1 && base_addr_eq(&local, &second));
    for (struct packet *p; (p = ip_output_next(ip, &port)) != NULL;)
        packet_free(p);
    struct ip_result r;
    struct frame_bytes f;
    for (uint16_t on = 0; on < 2; on++) { /* a segment for port 0's address, heard on either */
        struct packet *p = packet_alloc(pool);
        frame_tcp4(&f, 4);
        memcpy(f.b, on == 0 ? our_mac : other_mac, 6);
        memcpy(packet_append(p, f.n), f.b, f.n);
        enum ip_verdict v = ip_input(ip, on, p, SECOND, &r);
        assert_int_equal(v, on == 0 ? IP_TCP : IP_DONE);
        if (v == IP_TCP)
            packet_free(p);
    }
    assert_int_equal(stats_read(&stats->drops[STATS_DROP_IP_NOT_FOR_US]), 1);
    /* an error about a flow of port 0 that came back by port 1 is news all the same */
    struct packet *e = packet_alloc(pool);
    frame_error4(&f, 3, 1, 0);
    memcpy(f.b, other_mac, 6);
    memcpy(f.b + 30, second.b + 12, 4);
    reseal_ip4(&f, 14);
    memcpy(packet_append(e, f.n), f.b, f.n);
    assert_int_equal(ip_input(ip, 1, e, SECOND, &r), IP_TCP_ERROR);
    ip_check(ip);
    ip_destroy(ip);
    assert_int_equal(packet_pool_in_use(pool), 0);
    packet_pool_destroy(pool);
    base_unpoison(memory, n);
    free(memory);
}

/* The n-th buffer is not to be had: nothing else goes wrong. */
static void running_out_of_buffers_is_only_counted(void **state)
{
    (void)state;
    for (int32_t nth = 0; nth < 8; nth++) {
        struct host h;
        struct frame_bytes f;
        struct packet *p;
        host_open(&h, 16, 16);
        h.pool->fail_at = nth + 1; /* the segment itself may be had */
        if (!send_to(&h, "198.18.0.2", "198.18.0.1", 10, &p))
            host_discard(&h);
        frame_arp(&f, 1, peer_mac, "198.18.0.1", "198.18.0.2", broadcast_mac);
        feed_frame(&h, &f);
        frame_ns(&f, "2001:db8::1", "2001:db8::2", peer_mac);
        feed_frame(&h, &f);
        h.port.vlan = 1;
        host_configure(&h);
        host_discard(&h);
        assert_int_equal(drops(&h, STATS_DROP_IP_NO_BUFFER), nth < 6);
        host_close(&h);
    }
}

const struct CMUnitTest output_tests[] = {
    cmocka_unit_test(sums_agree_with_a_naive_twin),
    cmocka_unit_test(frames_are_right_to_the_byte),
    cmocka_unit_test(congestion_marks_are_the_flow_s),
    cmocka_unit_test(vlan_and_device_checksums_are_used),
    cmocka_unit_test(joined_segments_leave_as_one_frame),
    cmocka_unit_test(nobody_reaches_where_no_route_leads),
    cmocka_unit_test(sources_are_chosen_by_prefix_then_gateway),
    cmocka_unit_test(addresses_come_and_go),
    cmocka_unit_test(two_ports_are_two_links),
    cmocka_unit_test(new_addresses_are_announced_twice),
    cmocka_unit_test(running_out_of_buffers_is_only_counted),
};
const size_t output_test_count = sizeof(output_tests) / sizeof(*output_tests);
