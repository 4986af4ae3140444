/* What comes in: what is accepted, and why the rest is not. */
#include "frames.h"

static void segments_come_out_with_their_flow(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes f;
    host_open(&h, 16, 16);
    for (uint32_t data = 0; data < 300; data++)
        for (int v6 = 0; v6 < 2; v6++) {
            (v6 ? frame_tcp6 : frame_tcp4)(&f, data);
            uint32_t at = v6 ? 54 : 34, len = f.n - at;
            f.n = f.n < 60 ? 60 : f.n + data % 5; /* padding, and trailers of any kind */
            assert_int_equal(feed_frame(&h, &f), IP_TCP);
            struct base_flow want = flow_to(v6 ? "2001:db8::2" : "198.18.0.2", v6 ? "2001:db8::1" : "198.18.0.1");
            assert_true(base_flow_eq(&h.result.flow, &want));
            assert_int_equal(h.result.flow.port, 0);
            assert_int_equal(packet_len(h.segment), len);
            assert_memory_equal(packet_data(h.segment), f.b + at, len);
        }
    assert_int_equal(all_drops(&h), 0);
    host_close(&h);
}

static void congestion_marks_come_out_with_the_flow(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes f;
    host_open(&h, 16, 16);
    for (int ecn = 0; ecn < 4; ecn++)
        for (int v6 = 0; v6 < 2; v6++) {
            (v6 ? frame_tcp6 : frame_tcp4)(&f, 10);
            if (v6) {
                f.b[14] |= 0xf; /* a class of traffic beside it */
                f.b[15] |= (uint8_t)(0xc0 | ecn << 4 | 5);
            } else {
                f.b[15] = (uint8_t)(0xb8 | ecn);
                reseal_ip4(&f, 14);
            }
            assert_int_equal(feed_frame(&h, &f), IP_TCP);
            assert_int_equal(h.result.flow.ecn, ecn);
        }
    host_close(&h);
}

/* Every prefix of every kind of frame: no over-read (the buffer ends there), no segment out of a cut-off packet, each
 * counted. */
static void cut_off_frames_are_dropped_and_counted(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes f[10];
    host_open(&h, 16, 64);
    frame_tcp4(&f[0], 33);
    frame_tcp6(&f[1], 33);
    frame_arp(&f[2], 1, peer_mac, "198.18.0.1", "198.18.0.2", broadcast_mac);
    frame_arp(&f[3], 2, peer_mac, "198.18.0.1", "198.18.0.2", our_mac);
    frame_echo4(&f[4], 9);
    frame_echo6(&f[5], 9);
    frame_ns(&f[6], "2001:db8::1", "2001:db8::2", peer_mac);
    frame_na(&f[7], "2001:db8::1", peer_mac, NA_S | NA_O);
    frame_error4(&f[8], 3, 1, 0);
    frame_error6(&f[9], 2, 0, 1400);
    for (int k = 0; k < 10; k++)
        for (uint32_t n = 0; n < f[k].n; n++) {
            uint64_t before = all_drops(&h);
            assert_int_equal(feed(&h, f[k].b, n), IP_DONE);
            assert_int_equal(all_drops(&h), before + 1);
            host_discard(&h);
        }
    host_close(&h);
}

/* Packets that are short but say so, with right checksums: the parsers behind IP see every length, flush against the
 * buffer's end. */
static void short_packets_that_say_so_are_not_over_read(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes f[8];
    static const uint8_t upper[8] = {6, 6, 1, 58, 58, 58, 1, 58};
    host_open(&h, 16, 64);
    frame_tcp4(&f[0], 10);
    frame_tcp6(&f[1], 10);
    frame_echo4(&f[2], 9);
    frame_echo6(&f[3], 9);
    frame_ns(&f[4], "2001:db8::1", "2001:db8::2", peer_mac);
    frame_na(&f[5], "2001:db8::1", peer_mac, NA_S | NA_O);
    frame_error4(&f[6], 3, 1, 0);
    frame_error6(&f[7], 2, 0, 1400);
    for (int k = 0; k < 8; k++) {
        bool v6 = f[k].b[12] == 0x86;
        uint32_t at = v6 ? 54 : 34, head = upper[k] == 6 ? 20 : 4;
        for (uint32_t n = at; n < f[k].n; n++) {
            struct frame_bytes m = f[k];
            m.n = n;
            m.b[v6 ? 18 : 16] = 0;
            m.b[v6 ? 19 : 17] = (uint8_t)(v6 ? n - 54 : n - 14);
            if (!v6)
                reseal_ip4(&m, 14);
            if (n >= at + head)
                seal(&m, 14, at, upper[k]);
            uint64_t before = all_drops(&h);
            enum ip_verdict v = feed_frame(&h, &m);
            assert_int_equal(v, k < 2 && n >= at + 20 ? IP_TCP
                                                      : IP_DONE); /* never an error: what it is about is cut off */
            bool echo = (k == 2 || k == 3) && n >= at + 8, nd = (k == 4 || k == 5) && n == at + 24;
            assert_int_equal(all_drops(&h) - before, v == IP_DONE && !echo && !nd);
            host_discard(&h);
        }
    }
    host_close(&h);
}

/* Chains of extension headers, cut off at every byte, in a packet that says so. */
static void short_extension_headers_are_not_over_read(void **state)
{
    (void)state;
    struct host h;
    host_open(&h, 16, 16);
    static const uint8_t chain[40] = {60, 0, 1, 4, 0, 0, 0,  0, 44, 1, 0x1e, 6, 0, 0, 0,  0, 0, 0,
                                      1,  2, 0, 0, 0, 0, 43, 0, 0,  0, 0,    0, 0, 0, 59, 0, 0, 0};
    for (uint32_t n = 0; n < sizeof(chain); n++) {
        struct frame_bytes f;
        put_eth(&f, our_mac, peer_mac, 0x86dd);
        put_ip6(&f, "2001:db8::1", "2001:db8::2", 0, 64, n);
        put(&f, chain, n);
        uint64_t before = drops(&h, STATS_DROP_IP_TRUNCATED);
        assert_int_equal(feed_frame(&h, &f), IP_DONE);
        assert_int_equal(drops(&h, STATS_DROP_IP_TRUNCATED), before + 1);
    }
    /* options that end beyond their header, by one byte and more */
    for (uint8_t len = 3; len < 255; len++) {
        struct frame_bytes f;
        put_eth(&f, our_mac, peer_mac, 0x86dd);
        put_ip6(&f, "2001:db8::1", "2001:db8::2", 60, 64, 8);
        put(&f, (uint8_t[8]){59, 0, 0, 0, 0, 0x1e, len, 0}, 8);
        feed_frame(&h, &f);
        put_eth(&f, our_mac, peer_mac, 0x86dd);
        put_ip6(&f, "2001:db8::1", "2001:db8::2", 60, 64, 8);
        put(&f, (uint8_t[8]){59, 0, 0, 0, 0, 0, 0, 0x1e}, 8); /* its length lies outside */
        feed_frame(&h, &f);
    }
    assert_int_equal(drops(&h, STATS_DROP_IP_MALFORMED), 2 * 252);
    host_close(&h);
}

/* Whether the naive reader finds a right TCP checksum in what ip calls a segment. */
static void believe(const struct host *h, const struct frame_bytes *f)
{
    bool v6 = f->b[12] == 0x86;
    uint32_t at = (uint32_t)(packet_data(h->segment) - h->segment->bytes) - PACKET_HEADROOM;
    assert_true(sealed(f->b, 14, at, at + packet_len(h->segment), 6));
    assert_true(at + packet_len(h->segment) <= f->n && at >= (v6 ? 54u : 34u));
    assert_int_equal(h->result.flow.remote_port, f->b[at] << 8 | f->b[at + 1]);
}

/* Every byte of every header, every value, with the checksums of before and with right ones. */
static void mutated_frames_are_never_believed_wrongly(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes f[8];
    host_open(&h, 16, 64);
    frame_tcp4(&f[0], 12);
    frame_tcp6(&f[1], 12);
    frame_arp(&f[2], 1, peer_mac, "198.18.0.1", "198.18.0.2", broadcast_mac);
    frame_echo4(&f[3], 4);
    frame_ns(&f[4], "2001:db8::1", "2001:db8::2", peer_mac);
    frame_na(&f[5], "2001:db8::1", peer_mac, NA_S | NA_O);
    frame_error4(&f[6], 3, 4, 1400);
    frame_error6(&f[7], 2, 0, 1400);
    for (int k = 0; k < 8; k++)
        for (uint32_t i = 0; i < f[k].n; i++)
            for (unsigned v = 0; v < 256; v++)
                for (int repaired = 0; repaired < 2; repaired++) {
                    struct frame_bytes m = f[k];
                    m.b[i] = (uint8_t)v;
                    if (repaired && m.b[12] == 8 && m.b[13] == 0 && (m.b[14] & 15) * 4u + 14 < m.n)
                        reseal_ip4(&m, 14);
                    if (repaired && (k == 1 || k >= 4))
                        seal(&m, 14, k == 6 ? 34 : 54, k == 1 ? 6 : k == 6 ? 1 : 58);
                    if (feed_frame(&h, &m) == IP_TCP)
                        believe(&h, &m);
                    host_discard(&h);
                    h.now += MS;
                }
    host_close(&h);
}

/* One deed each, with the IPv4 checksum made right again so that only the deed is wrong. */
struct bad4 {
    uint32_t at;
    uint8_t value;
    enum stats_drop why;
};

static void bad_ipv4_headers_have_a_reason(void **state)
{
    (void)state;
    static const struct bad4 bad[] = {
        {14, 0x65, STATS_DROP_IP_MALFORMED},     {14, 0x44, STATS_DROP_IP_MALFORMED},
        {16, 0xff, STATS_DROP_IP_TRUNCATED},     {17, 19, STATS_DROP_IP_MALFORMED},
        {17, 39, STATS_DROP_TCP_MALFORMED},      {20, 0x60, STATS_DROP_FRAGMENT_MALFORMED},
        {21, 0x01, STATS_DROP_FRAGMENT_TINY},    {23, 17, STATS_DROP_UDP_NO_PORT},
        {23, 2, STATS_DROP_IP_UNKNOWN_PROTOCOL},
        {26, 0, STATS_DROP_IP_BAD_SOURCE},       {26, 127, STATS_DROP_IP_BAD_SOURCE},
        {26, 224, STATS_DROP_IP_BAD_SOURCE},     {26, 255, STATS_DROP_IP_BAD_SOURCE},
        {29, 2, STATS_DROP_IP_BAD_SOURCE},       {33, 3, STATS_DROP_IP_NOT_FOR_US},
        {33, 255, STATS_DROP_IP_NOT_FOR_US},     {0, 4, STATS_DROP_ETH_NOT_FOR_US},
        {0, 1, STATS_DROP_ETH_NOT_FOR_US},       {6, 1, STATS_DROP_ETH_NOT_FOR_US},
        {12, 0x07, STATS_DROP_ETH_UNKNOWN_TYPE}, {50, 0x33, STATS_DROP_L4_CHECKSUM},
    };
    struct host h;
    struct frame_bytes f;
    host_open(&h, 16, 16);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        frame_tcp4(&f, 5);
        f.b[bad[i].at] = bad[i].value;
        if (bad[i].at >= 14 && (f.b[14] & 15) >= 5)
            reseal_ip4(&f, 14);
        uint64_t before = drops(&h, bad[i].why);
        assert_int_equal(feed_frame(&h, &f), IP_DONE);
        if (drops(&h, bad[i].why) != before + 1)
            fail_msg("case %zu: not counted as %s", i, stats_drop_labels[bad[i].why]);
    }
    frame_tcp4(&f, 5);
    f.b[22]++;
    feed_frame(&h, &f);
    assert_int_equal(drops(&h, STATS_DROP_IP_CHECKSUM), 1);
    host_close(&h);
}

static void options_of_ipv4_are_passed_over(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes f, tcp;
    host_open(&h, 16, 16);
    frame_tcp4(&tcp, 7);
    put_eth(&f, our_mac, peer_mac, 0x0800);
    put(&f, tcp.b + 14, 20);
    f.b[14] = 0x47;
    put(&f, (uint8_t[8]){1, 1, 1, 1, 1, 1, 1, 0}, 8);
    put(&f, tcp.b + 34, tcp.n - 34);
    f.b[17] = (uint8_t)(f.n - 14);
    reseal_ip4(&f, 14);
    assert_int_equal(feed_frame(&h, &f), IP_TCP);
    assert_int_equal(packet_len(h.segment), 27);
    host_close(&h);
}

/* headers: a chain of extension headers, the first of kind `first`. */
static enum ip_verdict feed_chain(struct host *h, uint8_t first, const void *headers, uint32_t n)
{
    struct frame_bytes f, tcp;
    frame_tcp6(&tcp, 7);
    put_eth(&f, our_mac, peer_mac, 0x86dd);
    put(&f, tcp.b + 14, 40);
    put(&f, headers, n);
    put(&f, tcp.b + 54, tcp.n - 54);
    f.b[14 + 6] = first;
    f.b[14 + 5] = (uint8_t)(f.n - 54);
    return feed_frame(h, &f);
}

static void extension_headers_are_skipped_within_bounds(void **state)
{
    (void)state;
    struct host h;
    host_open(&h, 16, 16);
    const uint8_t pad[8] = {6, 0, 1, 4}, unknown_skip[8] = {6, 0, 0x1e, 2, 0, 0, 0, 0},
                  unknown_stop[8] = {6, 0, 0x5e, 2, 0, 0, 1, 0};
    const uint8_t overlong[8] = {6, 0, 1, 5}, two[16] = {60, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4},
                  late_hop[16] = {0, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4};
    const uint8_t route[8] = {6, 0, 0, 0}, route_left[8] = {6, 0, 0, 1}, atomic[8] = {6, 0, 0, 0, 1, 2, 3, 4},
                  more[8] = {6, 0, 0, 1}, offset[8] = {6, 0, 0, 8};
    const uint8_t beyond[8] = {6, 200, 1, 4};
    assert_int_equal(feed_chain(&h, 60, pad, 8), IP_TCP);
    assert_int_equal(packet_len(h.segment), 27);
    assert_int_equal(feed_chain(&h, 0, pad, 8), IP_TCP);
    assert_int_equal(feed_chain(&h, 60, unknown_skip, 8), IP_TCP);
    assert_int_equal(feed_chain(&h, 0, two, 16), IP_TCP);
    assert_int_equal(feed_chain(&h, 43, route, 8), IP_TCP);
    assert_int_equal(feed_chain(&h, 44, atomic, 8), IP_TCP);
    assert_int_equal(all_drops(&h), 0);
    assert_int_equal(feed_chain(&h, 60, unknown_stop, 8), IP_DONE);
    assert_int_equal(feed_chain(&h, 60, overlong, 8), IP_DONE);
    assert_int_equal(feed_chain(&h, 60, late_hop, 16), IP_DONE);
    assert_int_equal(feed_chain(&h, 43, route_left, 8), IP_DONE);
    assert_int_equal(drops(&h, STATS_DROP_IP_MALFORMED), 4);
    assert_int_equal(feed_chain(&h, 60, beyond, 8), IP_DONE);
    assert_int_equal(drops(&h, STATS_DROP_IP_TRUNCATED), 1);
    assert_int_equal(feed_chain(&h, 44, more, 8), IP_DONE);
    assert_int_equal(feed_chain(&h, 44, offset, 8), IP_DONE);
    assert_int_equal(drops(&h, STATS_DROP_FRAGMENT_MALFORMED), 1); /* no multiple of eight, and not the last */
    assert_int_equal(drops(&h, STATS_DROP_FRAGMENT_TINY), 1);      /* within a TCP header */
    uint8_t many[9 * 8];
    for (int i = 0; i < 9; i++)
        memcpy(many + 8 * i, (const uint8_t[8]){i == 8 ? 6 : 60, 0, 1, 4}, 8);
    assert_int_equal(feed_chain(&h, 60, many + 8, 64), IP_TCP); /* eight */
    assert_int_equal(feed_chain(&h, 60, many, 72), IP_DONE);    /* nine */
    host_close(&h);
}

static void bad_ipv6_headers_have_a_reason(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
        uint8_t next;
        enum stats_drop why;
    } bad[] = {
        {"2001:db8::1", "2001:db8::3", 6, STATS_DROP_IP_NOT_FOR_US},
        {"ff02::1", "2001:db8::2", 6, STATS_DROP_IP_BAD_SOURCE},
        {"::1", "2001:db8::2", 6, STATS_DROP_IP_BAD_SOURCE},
        {"2001:db8::2", "2001:db8::2", 6, STATS_DROP_IP_BAD_SOURCE},
        {"::", "2001:db8::2", 6, STATS_DROP_IP_NOT_FOR_US},
        {"2001:db8::1", "ff02::1", 6, STATS_DROP_IP_NOT_FOR_US},
        {"2001:db8::1", "2001:db8::2", 17, STATS_DROP_UDP_NO_PORT},
        {"2001:db8::1", "2001:db8::2", 132, STATS_DROP_IP_UNKNOWN_PROTOCOL},
        {"2001:db8::1", "2001:db8::2", 59, STATS_DROP_IP_UNKNOWN_PROTOCOL},
        {"::102:304", "2001:db8::2", 6, STATS_DROP_IP_BAD_SOURCE},
    };
    struct host h;
    struct frame_bytes f;
    host_open(&h, 16, 16);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        put_eth(&f, our_mac, peer_mac, 0x86dd);
        put_ip6(&f, bad[i].from, bad[i].to, bad[i].next, 64, 20);
        put(&f, (uint8_t[20]){7, 208, 3, 232, [12] = 0x50}, 20);
        seal(&f, 14, 54, 6);
        uint64_t before = drops(&h, bad[i].why);
        assert_int_equal(feed_frame(&h, &f), IP_DONE);
        if (drops(&h, bad[i].why) != before + 1)
            fail_msg("case %zu: not counted as %s", i, stats_drop_labels[bad[i].why]);
    }
    /* IPv4-mapped source on an IPv6 wire: put by hand, as text would make it IPv4 */
    frame_tcp6(&f, 1);
    struct base_addr mapped = addr("198.18.0.1");
    memcpy(f.b + 14 + 8, mapped.b, 16);
    seal(&f, 14, 54, 6);
    uint64_t before = drops(&h, STATS_DROP_IP_BAD_SOURCE);
    feed_frame(&h, &f);
    assert_int_equal(drops(&h, STATS_DROP_IP_BAD_SOURCE), before + 1);
    mapped = addr("198.18.0.2");
    frame_tcp6(&f, 1);
    memcpy(f.b + 14 + 24, mapped.b, 16);
    seal(&f, 14, 54, 6);
    assert_int_equal(feed_frame(&h, &f), IP_DONE);
    host_close(&h);
}

static void add_tag(struct frame_bytes *f, uint16_t tag)
{
    memmove(f->b + 16, f->b + 12, f->n - 12);
    f->b[12] = 0x81;
    f->b[13] = 0;
    f->b[14] = (uint8_t)(tag >> 8);
    f->b[15] = (uint8_t)tag;
    f->n += 4;
}

static void vlan_tags_choose_the_port(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes f;
    host_open(&h, 16, 16);
    frame_tcp4(&f, 5);
    add_tag(&f, 0xe000); /* a priority tag: VLAN 0 */
    assert_int_equal(feed_frame(&h, &f), IP_TCP);
    frame_tcp4(&f, 5);
    add_tag(&f, 7);
    assert_int_equal(feed_frame(&h, &f), IP_DONE);
    h.port.vlan = 7;
    host_configure(&h);
    host_discard(&h);
    assert_int_equal(feed_frame(&h, &f), IP_TCP);
    assert_int_equal(packet_len(h.segment), 25);
    f.b[15] = 8;
    assert_int_equal(feed_frame(&h, &f), IP_DONE);
    frame_tcp4(&f, 5);
    assert_int_equal(feed_frame(&h, &f), IP_DONE);
    assert_int_equal(drops(&h, STATS_DROP_ETH_VLAN), 3);
    /* stripped by the device */
    struct packet *p = packet_alloc(h.pool);
    memcpy(packet_append(p, f.n), f.b, f.n);
    p->rx_flags = PACKET_RX_VLAN;
    p->vlan = 0x6007;
    assert_int_equal(ip_input(h.ip, 0, p, h.now, &h.result), IP_TCP);
    packet_free(p);
    host_close(&h);
}

static enum ip_verdict feed_flagged(struct host *h, const struct frame_bytes *f, uint32_t flags)
{
    struct packet *p = packet_alloc(h->pool);
    memcpy(packet_append(p, f->n), f->b, f->n);
    p->rx_flags = flags;
    enum ip_verdict v = ip_input(h->ip, 0, p, h->now, &h->result);
    if (v == IP_TCP)
        packet_free(p);
    return v;
}

static void a_device_that_lies_is_not_believed(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes good, bad;
    host_open(&h, 16, 16);
    frame_tcp4(&good, 50);
    bad = good;
    bad.b[60] ^= 1;
    h.port.flags = IP_RX_CSUM;
    host_configure(&h);
    assert_int_equal(feed_flagged(&h, &good, PACKET_RX_L4_BAD), IP_TCP);  /* its "bad" is looked at again */
    assert_int_equal(feed_flagged(&h, &bad, PACKET_RX_L4_GOOD), IP_DONE); /* a lie among the first */
    assert_int_equal(drops(&h, STATS_DROP_DEVICE_CHECKSUM), 1);
    for (int i = 0; i < 200; i++)
        assert_int_equal(feed_flagged(&h, &good, PACKET_RX_L4_GOOD), IP_TCP);
    assert_int_equal(feed_flagged(&h, &bad, PACKET_RX_L4_GOOD), IP_DONE); /* never again */
    host_configure(&h);
    for (int i = 0; i < 64; i++)
        assert_int_equal(feed_flagged(&h, &good, PACKET_RX_L4_GOOD), IP_TCP);
    assert_int_equal(feed_flagged(&h, &bad, PACKET_RX_L4_GOOD),
                     IP_TCP); /* it has earned belief: not looked at any more */
    assert_int_equal(feed_flagged(&h, &bad, 0), IP_DONE);
    host_close(&h);
}

static void echo_is_answered_at_a_bounded_rate(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes f, r;
    host_open(&h, 16, 16);
    frame_echo4(&f, 100);
    assert_int_equal(feed_frame(&h, &f), IP_DONE);
    next_frame(&h, &r);
    assert_memory_equal(r.b, peer_mac, 6);
    assert_memory_equal(r.b + 6, our_mac, 6);
    assert_int_equal(r.n, f.n);
    assert_int_equal(r.b[34], 0);
    assert_true(sealed(r.b, 14, 34, r.n, 1));
    assert_int_equal(naive_sum(r.b + 14, 20, 0), 0xffff);
    assert_memory_equal(r.b + 26, f.b + 30, 4);
    assert_memory_equal(r.b + 38, f.b + 38, 104);
    frame_echo6(&f, 99);
    feed_frame(&h, &f);
    next_frame(&h, &r);
    assert_int_equal(r.b[54], 129);
    assert_true(sealed(r.b, 14, 54, r.n, 58));
    uint32_t answered = 0;
    for (int i = 0; i < 3000; i++) {
        feed_frame(&h, &f);
        answered += host_discard(&h);
    }
    assert_int_equal(answered, 998);
    assert_int_equal(drops(&h, STATS_DROP_ICMP_RATE), 2002);
    h.now += SECOND / 10;
    for (int i = 0; i < 200; i++) {
        feed_frame(&h, &f);
        answered += host_discard(&h);
    }
    assert_int_equal(answered, 1098);
    host_close(&h);
}

static void icmp_errors_name_the_segment(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes f;
    host_open(&h, 16, 16);
    struct base_flow want4 = flow_to("198.18.0.2", "198.19.0.7"), want6 = flow_to("2001:db8::2", "2001:db8:1::7");
    frame_error4(&f, 3, 1, 0);
    assert_int_equal(feed_frame(&h, &f), IP_TCP_ERROR);
    assert_true(base_flow_eq(&h.result.flow, &want4) && h.result.hard && h.result.mtu == 0 &&
                h.result.seq == 0xabcdef01);
    frame_error4(&f, 3, 4, 1400);
    assert_int_equal(feed_frame(&h, &f), IP_TCP_ERROR);
    assert_true(!h.result.hard && h.result.mtu == 1400);
    frame_error4(&f, 3, 4, 0); /* a router of before RFC 1191: the plateau below 1,500 */
    feed_frame(&h, &f);
    assert_int_equal(h.result.mtu, 1492);
    frame_error4(&f, 3, 4, 68);
    feed_frame(&h, &f);
    assert_int_equal(h.result.mtu, 552);
    frame_error4(&f, 11, 0, 0);
    assert_int_equal(feed_frame(&h, &f), IP_TCP_ERROR);
    assert_true(!h.result.hard && h.result.mtu == 0);
    frame_error6(&f, 2, 0, 1300);
    assert_int_equal(feed_frame(&h, &f), IP_TCP_ERROR);
    assert_true(base_flow_eq(&h.result.flow, &want6) && h.result.mtu == 1300 && !h.result.hard);
    frame_error6(&f, 2, 0, 100);
    feed_frame(&h, &f);
    assert_int_equal(h.result.mtu, 1280);
    frame_error6(&f, 1, 4, 0);
    assert_int_equal(feed_frame(&h, &f), IP_TCP_ERROR);
    assert_true(h.result.hard);
    assert_int_equal(all_drops(&h), 0);
    /* about a segment that is not ours, or not TCP */
    frame_error4(&f, 3, 1, 0);
    f.b[14 + 20 + 8 + 15] = 77;
    seal(&f, 14, 34, 1);
    assert_int_equal(feed_frame(&h, &f), IP_DONE);
    frame_error6(&f, 1, 4, 0);
    f.b[14 + 40 + 8 + 6] = 17;
    seal(&f, 14, 54, 58);
    assert_int_equal(feed_frame(&h, &f), IP_DONE);
    assert_int_equal(drops(&h, STATS_DROP_ICMP_MALFORMED), 2);
    frame_error4(&f, 4, 0, 0); /* source quench slows nobody down: RFC 6633, RFC 5927 section 6 */
    assert_int_equal(feed_frame(&h, &f), IP_DONE);
    assert_int_equal(drops(&h, STATS_DROP_ICMP_IGNORED), 1);
    host_close(&h);
}

const struct CMUnitTest input_tests[] = {
    cmocka_unit_test(segments_come_out_with_their_flow),
    cmocka_unit_test(congestion_marks_come_out_with_the_flow),
    cmocka_unit_test(cut_off_frames_are_dropped_and_counted),
    cmocka_unit_test(short_packets_that_say_so_are_not_over_read),
    cmocka_unit_test(short_extension_headers_are_not_over_read),
    cmocka_unit_test(mutated_frames_are_never_believed_wrongly),
    cmocka_unit_test(bad_ipv4_headers_have_a_reason),
    cmocka_unit_test(options_of_ipv4_are_passed_over),
    cmocka_unit_test(extension_headers_are_skipped_within_bounds),
    cmocka_unit_test(bad_ipv6_headers_have_a_reason),
    cmocka_unit_test(vlan_tags_choose_the_port),
    cmocka_unit_test(a_device_that_lies_is_not_believed),
    cmocka_unit_test(echo_is_answered_at_a_bounded_rate),
    cmocka_unit_test(icmp_errors_name_the_segment),
};
const size_t input_test_count = sizeof(input_tests) / sizeof(*input_tests);
