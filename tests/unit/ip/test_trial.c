/* A device whose checksums are on trial: what it is given, and what is made of the answers. */
#include "frames.h"

#define SYN 0x02
#define ACK 0x10

struct trial_world {
    struct host h;
    bool works; /* the device, or else what is left to it never arrives */
    uint16_t next_port;
};

static void open_trial(struct trial_world *w, bool works)
{
    memset(w, 0, sizeof(*w));
    w->works = works;
    w->next_port = 2000;
    host_open(&w->h, 16, 16);
    w->h.port.flags = IP_TX_TCP_CSUM | IP_TX_TSO | IP_TX_TRIAL;
    host_configure(&w->h);
    host_discard(&w->h);
    host_resolve(&w->h);
}

static uint64_t counted(const struct trial_world *w, enum stats_counter which)
{
    return w->h.stats->counters[which];
}

static struct base_flow flow_of(bool v6, uint16_t port)
{
    return (struct base_flow){.local = addr(v6 ? "2001:db8::2" : "198.18.0.2"), .remote = addr(v6 ? "2001:db8::1" : "198.18.0.1"), .local_port = 1000, .remote_port = port};
}

/* Sends a segment; was its checksum left to the device?  Where not, it must be right. */
static bool by_device(struct trial_world *w, bool v6, uint16_t port, uint8_t flags, uint32_t seq)
{
    struct base_flow flow = flow_of(v6, port);
    struct packet *p = segment_make(&w->h, 0);
    uint8_t *tcp = packet_data(p);
    uint32_t at = v6 ? 54 : 34, be = __builtin_bswap32(seq);
    tcp[2] = (uint8_t)(port >> 8);
    tcp[3] = (uint8_t)port;
    memcpy(tcp + 4, &be, 4);
    tcp[13] = flags;
    tcp[16] = tcp[17] = 0;
    assert_true(ip_output(w->h.ip, &flow, p, w->h.now));
    bool device = (p->tx_flags & PACKET_TX_TCP_CSUM) != 0;
    assert_true(device || sealed(packet_data(p), 14, at, packet_len(p), 6));
    packet_free(p);
    return device;
}

static void answer(struct trial_world *w, bool v6, uint16_t port, uint8_t flags, uint32_t ack)
{
    struct frame_bytes f;
    memset(&f, 0, sizeof(f));
    if (v6)
        frame_tcp6(&f, 0);
    else
        frame_tcp4(&f, 0);
    uint8_t *tcp = f.b + (v6 ? 54 : 34);
    uint32_t be = __builtin_bswap32(ack);
    tcp[0] = (uint8_t)(port >> 8);
    tcp[1] = (uint8_t)port;
    tcp[2] = 1000 >> 8;
    tcp[3] = 1000 & 255;
    memcpy(tcp + 8, &be, 4);
    tcp[13] = flags;
    seal(&f, 14, v6 ? 54 : 34, 6);
    assert_int_equal(feed_frame(&w->h, &f), IP_TCP);
}

/* A handshake with a peer that answers what arrives; how many SYNs it took. */
static unsigned handshake(struct trial_world *w, bool v6, uint8_t flags)
{
    uint16_t port = w->next_port++;
    for (unsigned n = 1; n <= 4; n++)
        if (!by_device(w, v6, port, flags, 100u * port) || w->works) {
            answer(w, v6, port, SYN | ACK, 100u * port + 1);
            return n;
        }
    fail_msg("four SYNs and no answer");
    return 0;
}

static bool joins(struct trial_world *w, bool v6)
{
    struct base_flow flow = flow_of(v6, 2000);
    by_device(w, v6, 2000, ACK, 1); /* the way is known */
    return ip_takes_joined(w->h.ip, &flow);
}

static void a_device_that_works_is_used_after_three_handshakes(void **state)
{
    (void)state;
    struct trial_world w;
    open_trial(&w, true);
    for (int v6 = 0; v6 < 2; v6++) {
        for (unsigned i = 0; i < 3; i++) {
            assert_false(by_device(&w, v6, 1999, ACK, 5));
            assert_false(joins(&w, v6));
            assert_int_equal(handshake(&w, v6, i == 1 ? SYN | ACK : SYN), 1);
        }
        assert_true(by_device(&w, v6, 1999, ACK, 5));
        assert_true(joins(&w, v6));
        assert_int_equal(counted(&w, STATS_DEVICE_SUMS_PROVEN), v6 + 1); /* each family by itself */
    }
    host_configure(&w.h); /* a reload takes nothing back */
    assert_true(by_device(&w, false, 1999, ACK, 5));
    host_close(&w.h);
}

static void a_device_that_does_not_costs_three_handshakes_a_second_syn(void **state)
{
    (void)state;
    struct trial_world w;
    open_trial(&w, false);
    for (int v6 = 0; v6 < 2; v6++) {
        for (unsigned i = 0; i < 3; i++)
            assert_int_equal(handshake(&w, v6, SYN), 2);
        for (unsigned i = 0; i < 40; i++)
            assert_int_equal(handshake(&w, v6, SYN), 1); /* by software */
        assert_false(joins(&w, v6));
        assert_int_equal(counted(&w, STATS_DEVICE_SUMS_REFUTED), v6 + 1);
    }
    host_configure(&w.h);
    assert_false(by_device(&w, false, 1999, SYN, 5));
    host_close(&w.h);
}

/* A SYN lost on the way is no proof against a device that has once been right. */
static void losses_do_not_refute(void **state)
{
    (void)state;
    struct trial_world w;
    open_trial(&w, true);
    for (unsigned i = 0; i < 12; i++) {
        if (i % 6 == 0)
            assert_int_equal(handshake(&w, false, SYN), 1);
        w.works = false;
        handshake(&w, false, SYN);
        w.works = true;
    }
    assert_int_equal(counted(&w, STATS_DEVICE_SUMS_REFUTED), 0);
    handshake(&w, false, SYN);
    assert_int_equal(counted(&w, STATS_DEVICE_SUMS_PROVEN), 1);
    host_close(&w.h);
}

/* Nobody answers the handshake that is watched; strangers answer it wrongly. */
static void evidence_is_of_the_handshake_that_is_watched(void **state)
{
    (void)state;
    struct trial_world w;
    open_trial(&w, true);
    assert_true(by_device(&w, false, 1500, SYN, 7));
    for (unsigned i = 0; i < 10; i++) {
        answer(&w, false, 1500, SYN | ACK, 9);    /* another number */
        answer(&w, false, 1501, SYN | ACK, 8);    /* another port */
        answer(&w, true, 1500, SYN | ACK, 8);     /* another address */
        answer(&w, false, 1500, SYN, 8);          /* acknowledges nothing */
        assert_false(by_device(&w, false, 1600, SYN, i)); /* one at a time */
    }
    for (unsigned i = 0; i < 6; i++)
        assert_false(by_device(&w, false, 1700, SYN, i));
    assert_true(by_device(&w, false, 1701, SYN, 7)); /* the first is given up */
    answer(&w, false, 1500, SYN | ACK, 8);           /* too late */
    answer(&w, false, 1701, 0x14, 8);                /* a reset that acknowledges is an answer, too */
    answer(&w, false, 1701, 0x14, 8);                /* once */
    assert_int_equal(handshake(&w, false, SYN), 1);
    assert_int_equal(counted(&w, STATS_DEVICE_SUMS_PROVEN), 0);
    assert_int_equal(handshake(&w, false, SYN), 1);
    assert_int_equal(counted(&w, STATS_DEVICE_SUMS_PROVEN), 1);
    host_close(&w.h);
}

const struct CMUnitTest trial_tests[] = {
    cmocka_unit_test(a_device_that_works_is_used_after_three_handshakes),
    cmocka_unit_test(a_device_that_does_not_costs_three_handshakes_a_second_syn),
    cmocka_unit_test(losses_do_not_refute),
    cmocka_unit_test(evidence_is_of_the_handshake_that_is_watched),
};
const size_t trial_test_count = sizeof(trial_tests) / sizeof(*trial_tests);
