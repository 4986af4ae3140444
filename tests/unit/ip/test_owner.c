/* Whose frame it is: every worker must find the same, whatever way the frame came.  That what ip_input() makes of a frame belongs to
 * the owner found before is asserted in feed(), for every frame of every test of this room. */
#include "frames.h"

static uint32_t owner_of(struct ip_owners *o, const void *bytes, uint32_t n)
{
    struct packet_pool *exact = packet_pool_create("owner", 1, n, 0);
    struct packet *p = packet_alloc(exact);
    memcpy(packet_append(p, n), bytes, n);
    uint32_t owner = ip_owner(o, 0, p);
    packet_free(p);
    packet_pool_destroy(exact);
    return owner;
}

static uint32_t owner_of_frame(const struct frame_bytes *f)
{
    return owner_of(&owners, f->b, f->n);
}

static struct base_flow flow_of(const char *local, uint16_t local_port, const char *remote, uint16_t remote_port)
{
    return (struct base_flow){.local = addr(local), .remote = addr(remote), .local_port = local_port, .remote_port = remote_port};
}

static void a_port_that_we_opened_names_its_worker(void **state)
{
    (void)state;
    for (uint32_t workers = 2; workers <= 64; workers++) {
        struct ip_owners o = owners;
        o.workers = workers;
        for (o.port_mask = 1; o.port_mask + 1u < workers;)
            o.port_mask = (uint16_t)(2 * o.port_mask + 1);
        uint32_t seen = 0;
        for (uint32_t port = o.port_low; port <= o.port_high; port++) {
            struct base_flow f = flow_of("198.18.0.2", (uint16_t)port, "198.18.0.9", 50051);
            uint32_t owner = ip_owner_flow(&o, &f);
            assert_true(owner < workers);
            if ((port & o.port_mask) < workers) { /* as tcp_config.port_owner has it */
                assert_int_equal(owner, port & o.port_mask);
                seen++;
            }
        }
        assert_true(seen > 4900);
    }
}

static void accepted_connections_are_spread_evenly(void **state)
{
    (void)state;
    static const uint32_t counts[] = {2, 3, 7, 64};
    for (unsigned i = 0; i < 4; i++) {
        struct ip_owners o = owners;
        o.workers = counts[i];
        uint32_t of[64] = {0}, total = 64000, even = total / o.workers;
        for (uint32_t k = 0; k < total; k++) { /* one client's ports in a row, as a kernel gives them */
            struct base_flow f = flow_of(k & 1 ? "2001:db8::2" : "198.18.0.2", 50051, k & 1 ? "2001:db8::1" : "198.18.0.1", (uint16_t)(1024 + k / 2));
            uint32_t owner = ip_owner_flow(&o, &f);
            assert_true(owner < o.workers);
            of[owner]++;
            f.port = 7; /* not by the device */
            assert_int_equal(ip_owner_flow(&o, &f), owner);
        }
        for (uint32_t w = 0; w < o.workers; w++)
            assert_true(of[w] > even * 85 / 100 && of[w] < even * 115 / 100);
    }
}

static void the_key_decides(void **state)
{
    (void)state;
    struct ip_owners other = owners;
    other.key.k[0] ^= 0x9e3779b97f4a7c15ull;
    uint32_t same = 0;
    for (uint16_t port = 1000; port < 2000; port++) {
        struct base_flow f = flow_of("198.18.0.2", 50051, "198.18.0.1", port);
        same += ip_owner_flow(&owners, &f) == ip_owner_flow(&other, &f);
    }
    assert_true(same < 100);
}

/* The tag, right or wrong, changes nothing of whose it is: ip_input() judges it there. */
static void tag(struct frame_bytes *f, uint16_t vlan)
{
    memmove(f->b + 16, f->b + 12, f->n - 12);
    f->b[12] = 0x81;
    f->b[13] = 0;
    f->b[14] = (uint8_t)(vlan >> 8);
    f->b[15] = (uint8_t)vlan;
    f->n += 4;
}

static void segments_go_by_their_tuple_tagged_or_not(void **state)
{
    (void)state;
    for (int v6 = 0; v6 < 2; v6++) {
        struct frame_bytes f;
        uint32_t seen = 0, last = 0;
        for (uint16_t port = 1; port < 500; port++) {
            (v6 ? frame_tcp6 : frame_tcp4)(&f, port % 7);
            uint32_t at = v6 ? 54 : 34;
            f.b[at] = (uint8_t)(port >> 8);
            f.b[at + 1] = (uint8_t)port;
            struct base_flow want = flow_of(v6 ? "2001:db8::2" : "198.18.0.2", (uint16_t)(f.b[at + 2] << 8 | f.b[at + 3]),
                                            v6 ? "2001:db8::1" : "198.18.0.1", port);
            uint32_t owner = owner_of_frame(&f);
            assert_int_equal(owner, ip_owner_flow(&owners, &want));
            seen += owner != last;
            last = owner;
            tag(&f, 42);
            assert_int_equal(owner_of_frame(&f), owner);
        }
        assert_true(seen > 400);
    }
}

static void news_are_everybodys_and_echoes_nobodys(void **state)
{
    (void)state;
    struct frame_bytes f[6];
    frame_arp(&f[0], 1, peer_mac, "198.18.0.1", "198.18.0.2", broadcast_mac);
    frame_arp(&f[1], 2, peer_mac, "198.18.0.1", "198.18.0.2", our_mac);
    frame_ns(&f[2], "2001:db8::1", "2001:db8::2", peer_mac);
    frame_na(&f[3], "2001:db8::1", peer_mac, NA_S | NA_O);
    frame_echo4(&f[4], 9);
    frame_echo6(&f[5], 9);
    for (int k = 0; k < 6; k++) {
        assert_int_equal(owner_of_frame(&f[k]), k < 4 ? IP_OWNER_ALL : IP_OWNER_ANY);
        tag(&f[k], 1);
        assert_int_equal(owner_of_frame(&f[k]), k < 4 ? IP_OWNER_ALL : IP_OWNER_ANY);
    }
}

/* An error comes from a router and is about what we sent: its inner source is ours. */
static void errors_go_by_the_flow_that_they_are_about(void **state)
{
    (void)state;
    struct host h;
    host_open(&h, 16, 16);
    for (int v6 = 0; v6 < 2; v6++) {
        struct frame_bytes f;
        if (v6)
            frame_error6(&f, 2, 0, 1400);
        else
            frame_error4(&f, 3, 1, 0);
        uint32_t inner = v6 ? 14 + 40 + 8 : 14 + 20 + 8, tcp = inner + (v6 ? 40 : 20);
        assert_int_equal(feed_frame(&h, &f), IP_TCP_ERROR); /* and feed() compares */
        uint32_t owner = owner_of_frame(&f), other = 0;
        for (uint8_t port = 0; port < 100; port++) {
            struct frame_bytes g = f;
            g.b[tcp + 3] = port; /* of the remote port */
            other += owner_of_frame(&g) != owner;
        }
        assert_true(other > 80);
        f.b[v6 ? inner + 6 : inner + 9] = 17; /* about UDP: about no connection */
        assert_int_equal(owner_of_frame(&f), IP_OWNER_ANY);
    }
    host_close(&h);
}

static void fragments_of_one_packet_meet(void **state)
{
    (void)state;
    uint32_t changes = 0, last = 0;
    for (uint16_t id = 0; id < 300; id++) {
        struct frame_bytes first, second;
        frame_tcp4(&first, 100);
        first.b[18] = (uint8_t)(id >> 8);
        first.b[19] = (uint8_t)id;
        first.b[20] = 0x20; /* more fragments */
        second = first;
        second.b[20] = 0; /* the last one: no ports in it */
        second.b[21] = 5;
        memset(second.b + 34, 0xa5, 40);
        uint32_t owner = owner_of_frame(&first);
        assert_true(owner < owners.workers);
        assert_int_equal(owner_of_frame(&second), owner);
        changes += owner != last;
        last = owner;
    }
    assert_true(changes > 250);
    for (uint32_t id = 0, before = 0; id < 300; id++) {
        struct frame_bytes f;
        uint8_t head[8] = {6, 0, 0, 1, 0, 0, (uint8_t)(id >> 8), (uint8_t)id};
        put_eth(&f, our_mac, peer_mac, 0x86dd);
        put_ip6(&f, "2001:db8::1", "2001:db8::2", 44, 64, 28);
        put(&f, head, 8);
        put(&f, (uint8_t[20]){0}, 20);
        uint32_t owner = owner_of_frame(&f);
        f.b[14 + 40 + 2] = 0x10; /* another offset */
        memset(f.b + 14 + 48, 0x5a, 20);
        assert_int_equal(owner_of_frame(&f), owner);
        changes += owner != before;
        before = owner;
    }
    assert_true(changes > 500);
}

/* Of every prefix of every kind of frame, flush against the buffer's end: nothing is read beyond, and no owner is out of range. */
static void cut_off_frames_have_an_owner_or_none(void **state)
{
    (void)state;
    struct frame_bytes f[12];
    frame_tcp4(&f[0], 33);
    frame_tcp6(&f[1], 33);
    frame_arp(&f[2], 1, peer_mac, "198.18.0.1", "198.18.0.2", broadcast_mac);
    frame_echo4(&f[3], 9);
    frame_echo6(&f[4], 9);
    frame_ns(&f[5], "2001:db8::1", "2001:db8::2", peer_mac);
    frame_na(&f[6], "2001:db8::1", peer_mac, NA_S | NA_O);
    frame_error4(&f[7], 3, 1, 0);
    frame_error6(&f[8], 2, 0, 1400);
    f[9] = f[0];
    f[9].b[14] = 0x4f; /* options that are not there */
    f[10] = f[1];
    f[10].b[20] = 0; /* hop-by-hop, of what was TCP */
    f[11] = f[1];
    f[11].b[20] = 44;
    for (int k = 0; k < 12; k++)
        for (int tagged = 0; tagged < 2; tagged++) {
            for (uint32_t n = 0; n <= f[k].n; n++) {
                uint32_t owner = owner_of(&owners, f[k].b, n);
                assert_true(owner < owners.workers || owner == IP_OWNER_ANY || owner == IP_OWNER_ALL);
                if (n < 18)
                    assert_int_equal(owner, IP_OWNER_ANY);
            }
            tag(&f[k], 9);
        }
}

/* Copies of news: learnt from, answered by nobody here. */
static void copies_of_news_are_learnt_from_and_not_answered(void **state)
{
    (void)state;
    for (int v6 = 0; v6 < 2; v6++) {
        struct host h;
        struct frame_bytes f;
        host_open(&h, 16, 16);
        host_discard(&h);
        if (v6)
            frame_ns(&f, "2001:db8::1", "2001:db8::2", peer_mac);
        else
            frame_arp(&f, 1, peer_mac, "198.18.0.1", "198.18.0.2", broadcast_mac);
        struct base_addr peer = addr(v6 ? "2001:db8::1" : "198.18.0.1");
        uint8_t mac[6] = {0};
        struct packet *p = packet_alloc(h.pool);
        memcpy(packet_append(p, f.n), f.b, f.n);
        uint32_t in_use = packet_pool_in_use(h.pool);
        ip_learn(h.ip, 0, p, h.now);
        assert_int_equal(packet_pool_in_use(h.pool), in_use - 1);
        assert_int_equal(ip_neighbour(h.ip, 0, &peer, mac), IP_NEIGHBOUR_STALE);
        assert_memory_equal(mac, peer_mac, 6);
        assert_int_equal(host_discard(&h), 0);
        feed_frame(&h, &f); /* where it landed it is answered */
        assert_int_equal(host_discard(&h), 1);
        (v6 ? frame_tcp6 : frame_tcp4)(&f, 5); /* never given to it, but not lost either */
        p = packet_alloc(h.pool);
        memcpy(packet_append(p, f.n), f.b, f.n);
        in_use = packet_pool_in_use(h.pool);
        ip_learn(h.ip, 0, p, h.now);
        assert_int_equal(packet_pool_in_use(h.pool), in_use - 1);
        host_close(&h);
    }
}

/* ---- a device that is steered ---- */

static void steer_make(struct base_steer *s, uint32_t queues)
{
    uint8_t key[BASE_STEER_KEY_MIN];
    for (int i = 0; i < BASE_STEER_KEY_MIN; i++)
        key[i] = (uint8_t)(151 * i + 7);
    base_steer_init(s, key, 128, queues);
}

/* As owner_of(), with the hash that a device has left. */
static uint32_t owner_by_hash(struct ip_owners *o, const struct frame_bytes *f, uint32_t hash)
{
    struct packet_pool *exact = packet_pool_create("owner", 1, f->n, 0);
    struct packet *p = packet_alloc(exact);
    memcpy(packet_append(p, f->n), f->b, f->n);
    p->rx_flags = PACKET_RX_HASH;
    p->hash = hash;
    uint32_t owner = ip_owner(o, 3, p);
    packet_free(p);
    packet_pool_destroy(exact);
    return owner;
}

/* Both kinds of listener's frames, of a client port. */
static struct base_flow client(struct frame_bytes *f, int v6, uint16_t port)
{
    (v6 ? frame_tcp6 : frame_tcp4)(f, 20);
    uint32_t at = v6 ? 54 : 34;
    f->b[at] = (uint8_t)(port >> 8);
    f->b[at + 1] = (uint8_t)port;
    struct base_flow flow = flow_of(v6 ? "2001:db8::2" : "198.18.0.2", (uint16_t)(f->b[at + 2] << 8 | f->b[at + 3]), v6 ? "2001:db8::1" : "198.18.0.1", port);
    flow.port = 3;
    return flow;
}

static void accepted_connections_go_where_the_device_sends_them(void **state)
{
    (void)state;
    struct base_steer steer;
    steer_make(&steer, 5);
    struct ip_owners o = owners;
    o.workers = 5;
    o.steer[3] = &steer;
    uint32_t differs = 0;
    for (uint16_t port = 1; port < 300; port++) {
        struct frame_bytes f;
        struct base_flow flow = client(&f, port & 1, port);
        struct packet_pool *exact = packet_pool_create("owner", 1, f.n, 0);
        struct packet *p = packet_alloc(exact);
        memcpy(packet_append(p, f.n), f.b, f.n);
        assert_int_equal(ip_owner(&o, 3, p), base_steer_queue(&steer, &flow)); /* no hash in it: computed */
        differs += ip_owner(&o, 2, p) != base_steer_queue(&steer, &flow);     /* on another port: by our own hash */
        packet_free(p);
        packet_pool_destroy(exact);
        flow.local_port = 40000; /* one that we opened: by its port, steered or not */
        assert_int_equal(ip_owner_flow(&o, &flow), 40000 & o.port_mask);
    }
    assert_true(differs > 200);
}

static void a_devices_hash_is_believed_once_proven(void **state)
{
    (void)state;
    struct base_steer steer;
    steer_make(&steer, 2);
    for (int v6 = 0; v6 < 2; v6++) {
        struct ip_owners o = owners;
        struct frame_bytes f;
        o.workers = 2;
        o.steer[3] = &steer;
        o.unverified[3][v6] = IP_OWNER_VERIFY;
        for (uint16_t port = 1; port <= IP_OWNER_VERIFY; port++) {
            struct base_flow flow = client(&f, v6, port);
            assert_int_equal(owner_by_hash(&o, &f, base_steer_hash(&steer, &flow)), base_steer_queue(&steer, &flow));
        }
        assert_int_equal(o.unverified[3][v6], 0);
        struct base_flow flow = client(&f, v6, 9);
        uint32_t right = base_steer_hash(&steer, &flow);
        assert_int_equal(owner_by_hash(&o, &f, right ^ 1), base_steer_queue(&steer, &flow) ^ 1); /* taken by its word */
        if (!v6) { /* what a device makes of options is its own affair */
            f.b[14] = 0x46;
            memmove(f.b + 38, f.b + 34, f.n - 34);
            f.n += 4;
            assert_int_equal(owner_by_hash(&o, &f, right ^ 1), base_steer_queue(&steer, &flow));
        }
    }
}

static void a_device_whose_hash_is_wrong_once_is_never_believed_for_that_family(void **state)
{
    (void)state;
    struct base_steer steer;
    steer_make(&steer, 2);
    for (int liar = 0; liar < 2; liar++) {
        struct ip_owners o = owners;
        struct frame_bytes f;
        o.workers = 2;
        o.steer[3] = &steer;
        o.unverified[3][0] = o.unverified[3][1] = IP_OWNER_VERIFY;
        for (uint16_t port = 1; port < 1000; port++) {
            struct base_flow flow = client(&f, port & 1, port);
            uint32_t right = base_steer_hash(&steer, &flow);
            bool wrong = (port & 1) == liar && (port == 20 + liar || port > 200);
            assert_int_equal(owner_by_hash(&o, &f, wrong ? right ^ 1 : right), base_steer_queue(&steer, &flow));
            assert_int_equal(o.unverified[3][liar] == IP_OWNER_LIED, port >= 20 + liar);
        }
        assert_int_equal(o.unverified[3][!liar], 0); /* the other family is believed */
    }
}

const struct CMUnitTest owner_tests[] = {
    cmocka_unit_test(a_port_that_we_opened_names_its_worker),
    cmocka_unit_test(accepted_connections_are_spread_evenly),
    cmocka_unit_test(the_key_decides),
    cmocka_unit_test(segments_go_by_their_tuple_tagged_or_not),
    cmocka_unit_test(news_are_everybodys_and_echoes_nobodys),
    cmocka_unit_test(errors_go_by_the_flow_that_they_are_about),
    cmocka_unit_test(fragments_of_one_packet_meet),
    cmocka_unit_test(cut_off_frames_have_an_owner_or_none),
    cmocka_unit_test(copies_of_news_are_learnt_from_and_not_answered),
    cmocka_unit_test(accepted_connections_go_where_the_device_sends_them),
    cmocka_unit_test(a_devices_hash_is_believed_once_proven),
    cmocka_unit_test(a_device_whose_hash_is_wrong_once_is_never_believed_for_that_family),
};
const size_t owner_test_count = sizeof(owner_tests) / sizeof(*owner_tests);
