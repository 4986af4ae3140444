/* Neighbours: their life in virtual time, what waits for them, whom they believe. */
#include "frames.h"

static enum ip_neighbour_state state_of(const struct host *h, const char *who)
{
    struct base_addr a = addr(who);
    return ip_neighbour(h->ip, 0, &a, NULL);
}

static void pass(struct host *h, uint64_t ns)
{
    for (uint64_t end = h->now + ns; h->now < end;) {
        h->now += 2 * MS;
        ip_tick(h->ip, h->now);
        ip_check(h->ip);
    }
}

static void assert_mac(const struct host *h, const char *who, const uint8_t want[6])
{
    struct base_addr a = addr(who);
    uint8_t mac[6] = {0};
    ip_neighbour(h->ip, 0, &a, mac);
    assert_memory_equal(mac, want, 6);
}

/* Is the frame a solicitation for `who`, to everybody or to one station? */
static void assert_solicit(const struct frame_bytes *f, const char *who, const uint8_t *to)
{
    struct base_addr a = addr(who);
    bool v4 = base_addr_is_v4(&a);
    const uint8_t group[6] = {0x33, 0x33, 0xff, a.b[13], a.b[14], a.b[15]};
    assert_memory_equal(f->b, to != NULL ? to : v4 ? broadcast_mac : group, 6);
    assert_memory_equal(f->b + 6, our_mac, 6);
    if (v4) {
        assert_memory_equal(f->b + 12, ((uint8_t[10]){8, 6, 0, 1, 8, 0, 6, 4, 0, 1}), 10);
        assert_memory_equal(f->b + 38, a.b + 12, 4);
        return;
    }
    assert_int_equal(f->b[54], 135);
    assert_int_equal(f->b[21], 255);
    assert_memory_equal(f->b + 62, a.b, 16);
    assert_memory_equal(f->b + 80, our_mac, 6);
    assert_true(sealed(f->b, 14, 54, f->n, 58));
}

static void answer(struct host *h, const char *who, const uint8_t mac[6])
{
    struct base_addr a = addr(who);
    struct frame_bytes f;
    if (base_addr_is_v4(&a))
        frame_arp(&f, 2, mac, who, "198.18.0.2", our_mac);
    else
        frame_na(&f, who, mac, NA_S | NA_O);
    assert_int_equal(feed_frame(h, &f), IP_DONE);
}

static void live(const char *local, const char *peer)
{
    struct host h;
    struct packet *p;
    struct frame_bytes f;
    host_open(&h, 16, 64);
    assert_false(send_to(&h, local, peer, 100, &p));
    next_frame(&h, &f);
    assert_solicit(&f, peer, NULL);
    assert_int_equal(state_of(&h, peer), IP_NEIGHBOUR_INCOMPLETE);
    assert_false(send_to(&h, local, peer, 200, &p));
    assert_int_equal(host_discard(&h), 0); /* one solicitation, however many wait */
    pass(&h, 310 * MS);
    next_frame(&h, &f);
    assert_solicit(&f, peer, NULL);
    answer(&h, peer, peer_mac);
    assert_int_equal(state_of(&h, peer), IP_NEIGHBOUR_REACHABLE);
    for (uint32_t data = 100; data <= 200; data += 100) { /* in order, whole, to the right station */
        next_frame(&h, &f);
        bool v6 = f.b[12] == 0x86;
        assert_memory_equal(f.b, peer_mac, 6);
        assert_int_equal(f.n, (v6 ? 74 : 54) + data);
        assert_true(sealed(f.b, 14, v6 ? 54 : 34, f.n, 6));
    }
    assert_true(send_to(&h, local, peer, 1, &p));
    packet_free(p);
    pass(&h, 46 * SECOND); /* REACHABLE_TIME at most 1.5 * 30 s */
    assert_int_equal(state_of(&h, peer), IP_NEIGHBOUR_STALE);
    host_discard(&h); /* announcements */
    pass(&h, 600 * SECOND);
    assert_int_equal(state_of(&h, peer), IP_NEIGHBOUR_STALE); /* unused, it costs nothing */
    assert_int_equal(host_discard(&h), 0);
    assert_true(send_to(&h, local, peer, 1, &p)); /* used: goes out at once, to be confirmed */
    packet_free(p);
    assert_int_equal(state_of(&h, peer), IP_NEIGHBOUR_DELAY);
    pass(&h, 4 * SECOND);
    assert_int_equal(host_discard(&h), 0);
    pass(&h, 1010 * MS);
    assert_int_equal(state_of(&h, peer), IP_NEIGHBOUR_PROBE);
    next_frame(&h, &f);
    assert_solicit(&f, peer, peer_mac);
    assert_true(send_to(&h, local, peer, 1, &p)); /* meanwhile packets flow */
    packet_free(p);
    answer(&h, peer, peer_mac);
    assert_int_equal(state_of(&h, peer), IP_NEIGHBOUR_REACHABLE);
    host_close(&h);
}

static void neighbours_live_and_are_confirmed(void **state)
{
    (void)state;
    live("198.18.0.2", "198.18.0.9");
    live("2001:db8::2", "2001:db8::9");
}

static void the_dead_are_told_of(void **state)
{
    (void)state;
    static const char *const peers[] = {"198.18.0.9", "2001:db8::9"}, *const locals[] = {"198.18.0.2", "2001:db8::2"};
    for (int k = 0; k < 2; k++) {
        struct host h;
        struct packet *p;
        struct ip_result r;
        host_open(&h, 16, 64);
        for (uint32_t i = 0; i < 3; i++)
            assert_false(send_to(&h, locals[k], peers[k], i, &p));
        pass(&h, 890 * MS);
        assert_int_equal(host_discard(&h), 3);
        assert_false(ip_unreachable_next(h.ip, &r));
        pass(&h, 20 * MS);
        assert_int_equal(state_of(&h, peers[k]), IP_NEIGHBOUR_UNREACHABLE);
        struct base_flow want = flow_to(locals[k], peers[k]);
        for (int i = 0; i < 3; i++) {
            assert_true(ip_unreachable_next(h.ip, &r));
            assert_true(base_flow_eq(&r.flow, &want) && r.hard && r.seq == 0x01020304 && r.mtu == 0);
        }
        assert_false(ip_unreachable_next(h.ip, &r));
        assert_int_equal(drops(&h, STATS_DROP_NEIGHBOUR_UNRESOLVED), 3);
        assert_false(send_to(&h, locals[k], peers[k], 0, &p)); /* refused at once, and told */
        assert_true(ip_unreachable_next(h.ip, &r));
        assert_int_equal(host_discard(&h), 0);
        pass(&h, 1010 * MS); /* then asked for anew */
        assert_int_equal(state_of(&h, peers[k]), IP_NEIGHBOUR_NONE);
        assert_false(send_to(&h, locals[k], peers[k], 0, &p));
        assert_int_equal(state_of(&h, peers[k]), IP_NEIGHBOUR_INCOMPLETE);
        answer(&h, peers[k], peer_mac);
        assert_true(send_to(&h, locals[k], peers[k], 0, &p));
        packet_free(p);
        host_close(&h);
    }
}

static void a_station_that_fell_silent_is_sought_then_given_up(void **state)
{
    (void)state;
    struct host h;
    struct packet *p;
    struct frame_bytes f;
    host_open(&h, 16, 64);
    send_to(&h, "198.18.0.2", "198.18.0.9", 0, &p);
    answer(&h, "198.18.0.9", peer_mac);
    pass(&h, 46 * SECOND);
    host_discard(&h);
    assert_true(send_to(&h, "198.18.0.2", "198.18.0.9", 0, &p));
    packet_free(p);
    pass(&h, 5010 * MS + 910 * MS);
    for (int i = 0; i < 3; i++) {
        next_frame(&h, &f);
        assert_solicit(&f, "198.18.0.9", peer_mac);
    }
    next_frame(&h, &f); /* everybody is asked: it may have moved */
    assert_solicit(&f, "198.18.0.9", NULL);
    assert_false(send_to(&h, "198.18.0.2", "198.18.0.9", 0, &p));
    answer(&h, "198.18.0.9", other_mac);
    next_frame(&h, &f);
    assert_memory_equal(f.b, other_mac, 6);
    host_close(&h);
}

static void what_waits_is_bounded(void **state)
{
    (void)state;
    struct host h;
    struct packet *p;
    host_open(&h, 16, 64);
    for (int i = 0; i < 100; i++)
        send_to(&h, "198.18.0.2", "198.18.0.9", 0, &p);
    assert_int_equal(drops(&h, STATS_DROP_NEIGHBOUR_QUEUE_FULL), 68); /* 32 for one */
    host_discard(&h);
    for (int i = 0; i < 100; i++)
        send_to(&h, "2001:db8::2", "2001:db8::9", 0, &p);
    assert_int_equal(drops(&h, STATS_DROP_NEIGHBOUR_QUEUE_FULL), 68 + 69); /* 64 for all, one of them is the solicitation */
    answer(&h, "198.18.0.9", peer_mac);
    assert_int_equal(host_discard(&h), 1 + 32);
    host_close(&h);
}

/* tcp holds a packet until it is acknowledged, and writes its header anew to send it again. */
static void a_packet_that_others_hold_waits_as_a_copy(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes f;
    host_open(&h, 16, 64);
    struct base_flow flow = flow_to("198.18.0.2", "198.18.0.9");
    struct packet *p = segment_make(&h, 50);
    packet_ref(p);
    assert_false(ip_output(h.ip, &flow, p, h.now));
    assert_int_equal(packet_len(p), 70);
    assert_false(packet_shared(p));
    memset(packet_data(p), 0, 70);
    packet_free(p);
    host_discard(&h);
    answer(&h, "198.18.0.9", peer_mac);
    next_frame(&h, &f);
    assert_int_equal(f.n, 54 + 70 - 20);
    assert_true(sealed(f.b, 14, 34, f.n, 6));
    assert_int_equal(f.b[34] << 8 | f.b[35], 1000);
    host_close(&h);
}

/* Whoever makes us solicit a whole link does not push out those that we talk to. */
static void the_unknown_do_not_push_out_the_known(void **state)
{
    (void)state;
    struct host h;
    struct packet *p;
    host_open(&h, 64, 64);
    send_to(&h, "2001:db8::2", "2001:db8::9", 0, &p);
    answer(&h, "2001:db8::9", peer_mac);
    struct frame_bytes idle; /* known, and not in use */
    frame_ns(&idle, "2001:db8::8", "2001:db8::2", peer_mac);
    feed_frame(&h, &idle);
    host_discard(&h);
    for (uint32_t i = 0; i < 5000; i++) {
        struct base_flow f = flow_to("2001:db8::2", "2001:db8::1");
        f.remote.w[3] = 0x01000000u + i;
        assert_false(ip_output(h.ip, &f, segment_make(&h, 0), h.now));
        h.now += MS / 10;
        ip_tick(h.ip, h.now);
        host_discard(&h);
        struct ip_result r;
        while (ip_unreachable_next(h.ip, &r))
            ;
    }
    ip_check(h.ip);
    assert_int_equal(ip_neighbours(h.ip), 64);
    assert_int_equal(state_of(&h, "2001:db8::8"), IP_NEIGHBOUR_STALE);
    assert_int_equal(state_of(&h, "2001:db8::9"), IP_NEIGHBOUR_REACHABLE);
    assert_true(send_to(&h, "2001:db8::2", "2001:db8::9", 0, &p));
    packet_free(p);
    /* nor do the known, who introduce themselves in numbers, leave no room for one more */
    for (uint32_t i = 0; i < 300; i++) {
        struct frame_bytes f;
        char who[32];
        snprintf(who, sizeof(who), "2001:db8::%x", 0x1000 + i);
        frame_ns(&f, who, "2001:db8::2", peer_mac);
        feed_frame(&h, &f);
        host_discard(&h);
    }
    assert_int_equal(state_of(&h, "2001:db8::9"), IP_NEIGHBOUR_REACHABLE);
    assert_false(send_to(&h, "198.18.0.2", "198.18.0.9", 0, &p));
    assert_int_equal(state_of(&h, "198.18.0.9"), IP_NEIGHBOUR_INCOMPLETE);
    host_close(&h);
}

/* RFC 4861 section 7.2.5 and appendix C: what an advertisement does to an entry with MAC address `peer`. */
static void advertisements_change_what_the_rfc_says(void **state)
{
    (void)state;
    static const struct {
        const uint8_t *mac; /* NULL: none given */
        uint32_t flags;
        bool from_stale;
        enum ip_neighbour_state then;
        const uint8_t *known;
    } rows[] = {
        {peer_mac, NA_S | NA_O, true, IP_NEIGHBOUR_REACHABLE, peer_mac}, {peer_mac, NA_S, true, IP_NEIGHBOUR_REACHABLE, peer_mac},
        {NULL, NA_S, true, IP_NEIGHBOUR_REACHABLE, peer_mac},            {peer_mac, 0, true, IP_NEIGHBOUR_STALE, peer_mac},
        {other_mac, NA_S, true, IP_NEIGHBOUR_STALE, peer_mac},           {other_mac, NA_S, false, IP_NEIGHBOUR_STALE, peer_mac},
        {other_mac, 0, false, IP_NEIGHBOUR_STALE, peer_mac},             {other_mac, NA_O, false, IP_NEIGHBOUR_STALE, other_mac},
        {other_mac, NA_S | NA_O, true, IP_NEIGHBOUR_REACHABLE, other_mac}, {other_mac, NA_S | NA_O, false, IP_NEIGHBOUR_REACHABLE, other_mac},
        {peer_mac, NA_O, false, IP_NEIGHBOUR_REACHABLE, peer_mac},       {peer_mac, 0, false, IP_NEIGHBOUR_REACHABLE, peer_mac},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct host h;
        struct packet *p;
        struct frame_bytes f;
        host_open(&h, 16, 64);
        send_to(&h, "2001:db8::2", "2001:db8::9", 0, &p);
        answer(&h, "2001:db8::9", peer_mac);
        if (rows[i].from_stale)
            pass(&h, 46 * SECOND);
        frame_na(&f, "2001:db8::9", rows[i].mac, rows[i].flags);
        feed_frame(&h, &f);
        if (state_of(&h, "2001:db8::9") != rows[i].then)
            fail_msg("row %zu: state %d", i, state_of(&h, "2001:db8::9"));
        assert_mac(&h, "2001:db8::9", rows[i].known);
        host_discard(&h);
        assert_true(send_to(&h, "2001:db8::2", "2001:db8::9", 0, &p)); /* and packets go there at once */
        assert_memory_equal(packet_data(p), rows[i].known, 6);
        packet_free(p);
        host_close(&h);
    }
}

static void unasked_news_make_no_entries(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes f;
    host_open(&h, 16, 64);
    frame_na(&f, "2001:db8::9", peer_mac, NA_S | NA_O);
    feed_frame(&h, &f);
    frame_arp(&f, 2, peer_mac, "198.18.0.9", "198.18.0.2", our_mac);
    feed_frame(&h, &f);
    frame_arp(&f, 1, peer_mac, "198.18.0.9", "198.18.0.9", broadcast_mac); /* gratuitous */
    feed_frame(&h, &f);
    frame_arp(&f, 1, peer_mac, "198.19.0.9", "198.18.0.2", our_mac); /* from outside of the link: answered, not learnt */
    feed_frame(&h, &f);
    assert_int_equal(host_discard(&h), 1);
    frame_arp(&f, 1, other_mac, "198.18.0.2", "198.18.0.2", broadcast_mac); /* somebody claims our address */
    feed_frame(&h, &f);
    assert_int_equal(ip_neighbours(h.ip), 0);
    assert_int_equal(all_drops(&h), 0);
    host_close(&h);
}

static void a_gratuitous_arp_moves_a_known_station(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes f;
    struct packet *p;
    host_open(&h, 16, 64);
    send_to(&h, "198.18.0.2", "198.18.0.9", 0, &p);
    answer(&h, "198.18.0.9", peer_mac);
    frame_arp(&f, 1, other_mac, "198.18.0.9", "198.18.0.9", broadcast_mac);
    feed_frame(&h, &f);
    assert_mac(&h, "198.18.0.9", other_mac);
    assert_int_equal(state_of(&h, "198.18.0.9"), IP_NEIGHBOUR_STALE); /* to be confirmed once used */
    host_discard(&h);
    assert_true(send_to(&h, "198.18.0.2", "198.18.0.9", 0, &p));
    assert_memory_equal(packet_data(p), other_mac, 6);
    packet_free(p);
    assert_int_equal(state_of(&h, "198.18.0.9"), IP_NEIGHBOUR_DELAY);
    host_close(&h);
}

static void we_answer_for_our_addresses_alone(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes f, r;
    host_open(&h, 16, 64);
    frame_arp(&f, 1, peer_mac, "198.18.0.9", "198.18.0.2", broadcast_mac);
    feed_frame(&h, &f);
    next_frame(&h, &r);
    assert_memory_equal(r.b, peer_mac, 6);
    assert_memory_equal(r.b + 20, ((uint8_t[8]){0, 2, 2, 0, 0, 0, 0, 2}), 8);
    assert_memory_equal(r.b + 28, f.b + 38, 4);
    assert_int_equal(state_of(&h, "198.18.0.9"), IP_NEIGHBOUR_STALE);
    frame_arp(&f, 1, peer_mac, "0.0.0.0", "198.18.0.2", broadcast_mac); /* RFC 5227: a probe is answered, so that the address is kept */
    feed_frame(&h, &f);
    assert_int_equal(host_discard(&h), 1);
    frame_arp(&f, 1, peer_mac, "198.18.0.9", "198.18.0.3", broadcast_mac);
    feed_frame(&h, &f);
    frame_ns(&f, "2001:db8::9", "2001:db8::3", peer_mac);
    feed_frame(&h, &f);
    assert_int_equal(host_discard(&h), 0);
    frame_ns(&f, "2001:db8::9", "2001:db8::2", peer_mac);
    feed_frame(&h, &f);
    next_frame(&h, &r);
    assert_int_equal(r.b[54], 136);
    assert_int_equal(r.b[58], 0x60);
    assert_true(sealed(r.b, 14, 54, r.n, 58));
    assert_memory_equal(r.b + 80, our_mac, 6);
    frame_ns(&f, "2001:db8::9", "fe80::ff:fe00:2", peer_mac); /* the link-local address is ours as well */
    feed_frame(&h, &f);
    assert_int_equal(host_discard(&h), 1);
    frame_ns(&f, "::", "2001:db8::2", NULL); /* somebody detects duplicates: told to all */
    feed_frame(&h, &f);
    next_frame(&h, &r);
    assert_memory_equal(r.b, ((uint8_t[6]){0x33, 0x33, 0, 0, 0, 1}), 6);
    host_close(&h);
}

static void nd_is_believed_from_this_link_alone(void **state)
{
    (void)state;
    struct host h;
    struct frame_bytes f;
    host_open(&h, 16, 64);
    uint64_t bad = 0;
    frame_ns(&f, "2001:db8::9", "2001:db8::2", peer_mac);
    f.b[21] = 254; /* hop limit: a router has passed it on */
    feed_frame(&h, &f);
    assert_int_equal(drops(&h, STATS_DROP_ND_MALFORMED), ++bad);
    frame_ns(&f, "2001:db8::9", "2001:db8::2", peer_mac);
    f.b[55] = 1; /* code */
    seal(&f, 14, 54, 58);
    feed_frame(&h, &f);
    assert_int_equal(drops(&h, STATS_DROP_ND_MALFORMED), ++bad);
    frame_ns(&f, "2001:db8::9", "2001:db8::2", peer_mac);
    f.b[79] = 0; /* option of length 0 */
    seal(&f, 14, 54, 58);
    feed_frame(&h, &f);
    assert_int_equal(drops(&h, STATS_DROP_ND_MALFORMED), ++bad);
    frame_ns(&f, "::", "2001:db8::2", peer_mac); /* unspecified source with a link-layer address */
    feed_frame(&h, &f);
    assert_int_equal(drops(&h, STATS_DROP_ND_MALFORMED), ++bad);
    frame_ns(&f, "2001:db8::9", "2001:db8::2", broadcast_mac);
    feed_frame(&h, &f);
    assert_int_equal(drops(&h, STATS_DROP_ND_MALFORMED), ++bad);
    frame_na(&f, "2001:db8::9", peer_mac, NA_S);
    f.b[54 + 8] = 0xff; /* target a group */
    seal(&f, 14, 54, 58);
    feed_frame(&h, &f);
    assert_int_equal(drops(&h, STATS_DROP_ND_MALFORMED), ++bad);
    frame_arp(&f, 1, broadcast_mac, "198.18.0.9", "198.18.0.2", broadcast_mac);
    memcpy(f.b + 6, peer_mac, 6);
    feed_frame(&h, &f);
    frame_arp(&f, 3, peer_mac, "198.18.0.9", "198.18.0.2", broadcast_mac);
    feed_frame(&h, &f);
    assert_int_equal(drops(&h, STATS_DROP_ARP_MALFORMED), 2);
    assert_int_equal(ip_neighbours(h.ip), 0);
    assert_int_equal(host_discard(&h), 0);
    host_close(&h);
}

const struct CMUnitTest neighbour_tests[] = {
    cmocka_unit_test(neighbours_live_and_are_confirmed),
    cmocka_unit_test(the_dead_are_told_of),
    cmocka_unit_test(a_station_that_fell_silent_is_sought_then_given_up),
    cmocka_unit_test(what_waits_is_bounded),
    cmocka_unit_test(a_packet_that_others_hold_waits_as_a_copy),
    cmocka_unit_test(the_unknown_do_not_push_out_the_known),
    cmocka_unit_test(advertisements_change_what_the_rfc_says),
    cmocka_unit_test(unasked_news_make_no_entries),
    cmocka_unit_test(a_gratuitous_arp_moves_a_known_station),
    cmocka_unit_test(we_answer_for_our_addresses_alone),
    cmocka_unit_test(nd_is_believed_from_this_link_alone),
};
const size_t neighbour_test_count = sizeof(neighbour_tests) / sizeof(*neighbour_tests);
