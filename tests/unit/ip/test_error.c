/* ICMP errors of our own: the right one, quoting what it is about, and none where none may be. */
#include "frames.h"

static uint64_t sent(const struct host *h)
{
    return stats_read(&h->stats->counters[STATS_ICMP_ERRORS]);
}

static void frame_of(struct frame_bytes *f, bool v6, uint8_t protocol, uint32_t data)
{
    put_eth(f, our_mac, peer_mac, v6 ? 0x86dd : 0x0800);
    if (v6)
        put_ip6(f, "2001:db8::1", "2001:db8::2", protocol, 64, data);
    else
        put_ip4(f, "198.18.0.1", "198.18.0.2", protocol, data);
    for (uint32_t i = 0; i < data; i++)
        put(f, (uint8_t[1]){(uint8_t)(i * 3 + 1)}, 1);
}

/* Of the answer: to whom, what, and that it quotes `f` from its IP header on, `quote` bytes of it. */
static void expect_error(struct host *h, const struct frame_bytes *f, uint8_t type, uint8_t code, uint32_t word, uint32_t quote)
{
    struct frame_bytes e;
    bool v6 = f->b[12] == 0x86;
    uint32_t at = v6 ? 54 : 34;
    next_frame(h, &e);
    assert_int_equal(e.n, at + 8 + quote);
    assert_memory_equal(e.b, f->b + 6, 6);
    assert_memory_equal(e.b + 6, our_mac, 6);
    assert_memory_equal(e.b + 14 + (v6 ? 8 : 12), f->b + 14 + (v6 ? 24 : 16), v6 ? 16 : 4);
    assert_memory_equal(e.b + 14 + (v6 ? 24 : 16), f->b + 14 + (v6 ? 8 : 12), v6 ? 16 : 4);
    assert_int_equal(e.b[v6 ? 20 : 23], v6 ? 58 : 1);
    assert_int_equal(e.b[at], type);
    assert_int_equal(e.b[at + 1], code);
    assert_int_equal((uint32_t)e.b[at + 4] << 24 | e.b[at + 5] << 16 | e.b[at + 6] << 8 | e.b[at + 7], word);
    assert_true(sealed(e.b, 14, at, e.n, v6 ? 58 : 1));
    assert_memory_equal(e.b + at + 8, f->b + 14, quote);
    assert_int_equal(host_discard(h), 0);
}

static void what_nobody_takes_is_answered(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes f;
    host_open(&h, 16, 16);
    for (uint32_t data = 8; data < 1472; data += 61) {
        frame_of(&f, false, 17, data);
        feed_frame(&h, &f);
        expect_error(&h, &f, 3, 3, 0, data + 20 < 548 ? data + 20 : 548); /* no more than 576 in all: RFC 1812 */
        frame_of(&f, false, 132, data);
        feed_frame(&h, &f);
        expect_error(&h, &f, 3, 2, 0, data + 20 < 548 ? data + 20 : 548);
        frame_of(&f, true, 17, data > 1452 ? 1452 : data);
        feed_frame(&h, &f);
        expect_error(&h, &f, 1, 4, 0, data + 40 < 1232 ? data + 40 : 1232); /* nor than 1,280: RFC 4443 section 2.4 (c) */
        frame_of(&f, true, 132, data > 1452 ? 1452 : data);
        feed_frame(&h, &f);
        expect_error(&h, &f, 4, 1, 6, data + 40 < 1232 ? data + 40 : 1232);
        h.now += SECOND;
    }
    assert_int_equal(drops(&h, STATS_DROP_UDP_NO_PORT), 2 * 24);
    assert_int_equal(drops(&h, STATS_DROP_IP_UNKNOWN_PROTOCOL), 2 * 24);
    assert_int_equal(sent(&h), 4 * 24);
    host_close(&h);
}

static void the_pointer_finds_the_unknown_header(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes f;
    host_open(&h, 16, 16);
    frame_of(&f, true, 60, 40);
    memcpy(f.b + 54, (uint8_t[16]){60, 1, 1, 12}, 16);
    memset(f.b + 58, 0, 12);
    memcpy(f.b + 70, (uint8_t[8]){200, 0, 1, 4, 0, 0, 0, 0}, 8);
    feed_frame(&h, &f);
    expect_error(&h, &f, 4, 1, 40 + 16, 80);
    frame_of(&f, true, 44, 40); /* behind an atomic fragment header */
    memcpy(f.b + 54, (uint8_t[8]){201, 9, 0, 0, 1, 2, 3, 4}, 8);
    feed_frame(&h, &f);
    expect_error(&h, &f, 4, 1, 40, 80);
    frame_of(&f, true, 59, 40); /* no next header: nothing is unknown */
    feed_frame(&h, &f);
    assert_int_equal(host_discard(&h), 0);
    host_close(&h);
}

/* ---- never ---- */

static void never_to_a_group_nor_to_what_is_no_host(void **state)
{
    (void)state;
    static const char *const sources[] = {"198.18.0.255", "198.18.0.0", "0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "198.18.0.2"};
    struct host h;
    struct frame_bytes f;
    host_open(&h, 16, 16);
    for (size_t i = 0; i < sizeof(sources) / sizeof(*sources); i++) {
        put_eth(&f, our_mac, peer_mac, 0x0800);
        put_ip4(&f, sources[i], "198.18.0.2", 17, 8);
        put(&f, (uint8_t[8]){0}, 8);
        feed_frame(&h, &f);
    }
    for (int k = 0; k < 3; k++) { /* to us, in a frame to all; to the broadcast address; from a group of stations */
        frame_of(&f, false, 17, 20);
        if (k < 2)
            memcpy(f.b, broadcast_mac, 6);
        if (k == 1) {
            f.b[33] = 255;
            reseal_ip4(&f, 14);
        }
        if (k == 2)
            memcpy(f.b + 6, broadcast_mac, 6);
        feed_frame(&h, &f);
    }
    for (int k = 0; k < 3; k++) {
        put_eth(&f, our_mac, peer_mac, 0x86dd);
        put_ip6(&f, k == 0 ? "::" : k == 1 ? "ff02::5" : "2001:db8::1", k == 2 ? "ff02::1" : "2001:db8::2", k == 2 ? 132 : 17, 64, 8);
        put(&f, (uint8_t[8]){0}, 8);
        feed_frame(&h, &f);
    }
    assert_int_equal(sent(&h), 0);
    assert_int_equal(host_discard(&h), 0);
    host_close(&h);
}

static void never_about_what_is_too_short_to_be_one(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes f;
    host_open(&h, 16, 16);
    for (int v6 = 0; v6 < 2; v6++)
        for (uint32_t data = 0; data < 8; data++) {
            frame_of(&f, v6, 17, data);
            feed_frame(&h, &f);
        }
    assert_int_equal(drops(&h, STATS_DROP_UDP_MALFORMED), 16);
    assert_int_equal(sent(&h), 0);
    host_close(&h);
}

static void no_more_than_the_rate(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes f;
    struct ip_config c;
    ip_config_defaults(&c);
    host_open(&h, 16, 16);
    frame_of(&f, false, 17, 20);
    for (uint32_t i = 0; i < c.error_rate + 50; i++) {
        feed_frame(&h, &f);
        assert_int_equal(host_discard(&h), i < c.error_rate);
    }
    assert_int_equal(stats_read(&h.stats->counters[STATS_ICMP_ERRORS_HELD]), 50);
    h.now += SECOND / 10;
    for (uint32_t i = 0; i < c.error_rate; i++)
        feed_frame(&h, &f);
    assert_int_equal(sent(&h), c.error_rate + c.error_rate / 10);
    host_discard(&h);
    frame_echo4(&f, 9); /* echoes have a bucket of their own */
    feed_frame(&h, &f);
    assert_int_equal(host_discard(&h), 1);
    host_close(&h);
}

static void without_a_buffer_there_is_none(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes f;
    host_open(&h, 16, 16);
    frame_of(&f, false, 17, 20);
    h.pool->fail_at = 0;
    feed_frame(&h, &f);
    assert_int_equal(host_discard(&h), 0);
    assert_int_equal(drops(&h, STATS_DROP_IP_NO_BUFFER), 1);
    host_close(&h);
}

/* ---- reassembly ---- */

/* A fragment of a frame: as `piece()` of test_reassembly.c, for one offset. */
static void fragment_of(struct frame_bytes *f, bool v6, uint8_t protocol, uint32_t offset, uint32_t data)
{
    frame_of(f, v6, v6 ? 44 : protocol, data + (v6 ? 8 : 0));
    if (v6) {
        memcpy(f->b + 54, (uint8_t[8]){protocol, 0, (uint8_t)(offset >> 8), (uint8_t)(offset | 1), 0, 0, 0, 9}, 8);
    } else {
        f->b[20] = (uint8_t)(0x20 | offset >> 11);
        f->b[21] = (uint8_t)(offset >> 3);
        reseal_ip4(f, 14);
    }
}

/* After the announcements, which wait for a tick. */
static void settle(struct host *h)
{
    h->now += 3 * SECOND;
    ip_tick(h->ip, h->now);
    host_discard(h);
}

static void expire(struct host *h)
{
    h->now += 60 * SECOND;
    ip_tick(h->ip, h->now);
}

static void time_exceeded_only_with_the_first_fragment(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes f, second;
    host_open(&h, 16, 16);
    settle(&h);
    for (int v6 = 0; v6 < 2; v6++)
        for (uint32_t data = 24; data < 1400; data += 64) {
            uint32_t quote = data + (v6 ? 48 : 20), most = v6 ? 1232 : 548;
            fragment_of(&second, v6, 6, 1400, 40);
            fragment_of(&f, v6, 6, 0, data);
            feed_frame(&h, &second);
            feed_frame(&h, &f);
            expire(&h);
            expect_error(&h, &f, v6 ? 3 : 11, 1, 0, quote < most ? quote : most);
            feed_frame(&h, &second);
            expire(&h);
            assert_int_equal(host_discard(&h), 0);
        }
    host_close(&h);
}

static void never_about_errors_nor_about_refused_ones(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes f;
    host_open(&h, 16, 16);
    settle(&h);
    for (int v6 = 0; v6 < 2; v6++) {
        for (int type = 0; type < 256; type++) {
            bool echo = v6 ? type >= 128 && type != 137 : type == 0 || type == 8;
            fragment_of(&f, v6, v6 ? 58 : 1, 0, 64);
            f.b[v6 ? 62 : 34] = (uint8_t)type;
            feed_frame(&h, &f);
            expire(&h);
            assert_int_equal(host_discard(&h), echo);
        }
        fragment_of(&f, v6, 6, 0, 64);
        feed_frame(&h, &f);
        f.b[f.n - 1]++;
        feed_frame(&h, &f); /* overlaps: the datagram is refused, in silence */
        expire(&h);
        assert_int_equal(host_discard(&h), 0);
    }
    host_close(&h);
}

/* ---- in ---- */

static void redirects_are_counted_and_not_believed(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes f, segment;
    struct packet *p;
    host_open(&h, 16, 16);
    frame_error4(&f, 5, 1, 0);
    memcpy(f.b + 38, (uint8_t[4]){198, 18, 0, 77}, 4);
    seal(&f, 14, 34, 1);
    assert_int_equal(feed_frame(&h, &f), IP_DONE);
    frame_na(&f, "2001:db8::1", peer_mac, 0);
    f.b[54] = 137;
    seal(&f, 14, 54, 58);
    assert_int_equal(feed_frame(&h, &f), IP_DONE);
    assert_int_equal(drops(&h, STATS_DROP_ICMP_REDIRECT), 2);
    assert_false(send_to(&h, "198.18.0.2", "198.19.0.7", 10, &p)); /* still asks for the operator's gateway */
    next_frame(&h, &segment);
    assert_memory_equal(segment.b + 38, ((uint8_t[4]){198, 18, 0, 1}), 4);
    host_close(&h);
}

const struct CMUnitTest error_tests[] = {
    cmocka_unit_test(what_nobody_takes_is_answered),
    cmocka_unit_test(the_pointer_finds_the_unknown_header),
    cmocka_unit_test(never_to_a_group_nor_to_what_is_no_host),
    cmocka_unit_test(never_about_what_is_too_short_to_be_one),
    cmocka_unit_test(no_more_than_the_rate),
    cmocka_unit_test(without_a_buffer_there_is_none),
    cmocka_unit_test(time_exceeded_only_with_the_first_fragment),
    cmocka_unit_test(never_about_errors_nor_about_refused_ones),
    cmocka_unit_test(redirects_are_counted_and_not_believed),
};
const size_t error_test_count = sizeof(error_tests) / sizeof(*error_tests);
