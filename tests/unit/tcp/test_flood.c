/* tcp under a SYN flood: what is bounded stays so, and whoever is in earnest gets through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/tcp_net.h"
#include "tcp/conn.h"

#define MS 1000000ull
enum { FLOOD = 100000, EARNEST = 500 };

struct flood {
    struct tcp_net_host host;
    uint64_t now;
    uint32_t sent, rsts, events;
    uint32_t our_isn[EARNEST];
    struct tcp_conn *conn[EARNEST];
    uint32_t accepted;
};

static struct flood flood;

static void open_host(struct flood *f, uint32_t connections, uint32_t backlog)
{
    static const struct base_addr any;
    struct tcp_config c;
    memset(f, 0, sizeof(*f));
    tcp_net_config(&c, 5);
    c.connections = connections;
    c.syn_backlog = backlog;
    f->now = 1000000 * MS;
    tcp_net_host_init(&f->host, &c, f->now);
    assert_true(tcp_listen(f->host.tcp, &any, 80, 9));
}

/* 198.18.x.y, ports 1024 and up: all different. */
static struct base_flow stranger(uint32_t i)
{
    struct base_flow f = {.local_port = 80, .remote_port = (uint16_t)(1024 + i / 60000)};
    char text[32];
    base_addr_parse("198.18.0.1", &f.local);
    snprintf(text, sizeof(text), "198.19.%u.%u", i % 60000 / 250, 1 + i % 250);
    base_addr_parse(text, &f.remote);
    return f;
}

static struct base_flow earnest(uint32_t i)
{
    struct base_flow f = {.local_port = 80, .remote_port = (uint16_t)(10000 + i)};
    base_addr_parse("198.18.0.1", &f.local);
    base_addr_parse("198.18.0.2", &f.remote);
    return f;
}

static void put32(uint8_t *at, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(at, &v, 4);
}

static uint32_t get32(const uint8_t *at)
{
    uint32_t v;
    memcpy(&v, at, 4);
    return __builtin_bswap32(v);
}

static void segment(struct flood *f, const struct base_flow *flow, uint32_t seq, uint32_t ack, uint8_t flags, uint32_t len)
{
    struct packet *p = packet_alloc(f->host.rx_pool);
    uint8_t *h = packet_append(p, 24 + len);
    memset(h, 'x', 24 + len);
    put32(h, (uint32_t)flow->remote_port << 16 | flow->local_port);
    put32(h + 4, seq);
    put32(h + 8, ack);
    put32(h + 12, 0x6000ffffu | (uint32_t)flags << 16);
    put32(h + 16, 0);
    put32(h + 20, 0x020405b4); /* MSS 1460; in other segments passed over */
    tcp_input(f->host.tcp, flow, p, f->now);
}

static void turn(struct flood *f)
{
    struct tcp_event ev;
    struct tcp_out out[32];
    tcp_tick(f->host.tcp, f->now);
    while (tcp_next_event(f->host.tcp, &ev)) {
        uint32_t i = (uint32_t)tcp_conn_flow(ev.conn)->remote_port - 10000u;
        f->events++;
        if ((ev.events & TCP_EVENT_ACCEPTED) && i < EARNEST) {
            f->conn[i] = ev.conn;
            f->accepted++;
        }
    }
    for (uint32_t n; (n = tcp_output(f->host.tcp, out, 32, f->now)) > 0;)
        for (uint32_t i = 0; i < n; i++) {
            const uint8_t *h = packet_data(out[i].packet);
            uint32_t k = (uint32_t)out[i].flow.remote_port - 10000u;
            f->sent++;
            f->rsts += (h[13] & TCP_RST) != 0;
            if (k < EARNEST && (h[13] & TCP_SYN))
                f->our_isn[k] = get32(h + 4);
            packet_free(out[i].packet);
        }
}

static void flood_in(struct flood *f, uint32_t from, uint32_t count)
{
    for (uint32_t i = from; i < from + count; i++) {
        struct base_flow s = stranger(i);
        segment(f, &s, i * 7919, 0, TCP_SYN, 0);
        if (i % 64 == 63)
            turn(f);
    }
    turn(f);
}

static void close_host(struct flood *f)
{
    for (uint32_t i = 0; i < EARNEST; i++)
        if (f->conn[i] != NULL)
            tcp_abort(f->conn[i], f->now);
    for (int i = 0; i < 200; i++) {
        f->now += 1000 * MS;
        turn(f);
    }
    tcp_check(f->host.tcp);
    assert_int_equal(tcp_connections(f->host.tcp), 0);
    tcp_net_host_fini(&f->host);
}

/* 100,000 SYNs from everywhere with room for 1,000: these are kept, all others get a cookie, and 500 peers in earnest, coming in the midst of
 * it, connect and are served. */
static void earnest_peers_get_through(void **state)
{
    (void)state;
    struct flood *f = &flood;
    open_host(f, 2000, 1000);
    for (uint32_t k = 0; k < EARNEST; k++) {
        flood_in(f, k * (FLOOD / EARNEST), FLOOD / EARNEST);
        f->now += MS;
        struct base_flow e = earnest(k);
        if (k >= 5) { /* its SYN came five rounds ago */
            struct base_flow before = earnest(k - 5);
            assert_true(f->our_isn[k - 5] != 0);
            segment(f, &before, 100 + k - 5 + 1, f->our_isn[k - 5] + 1, TCP_ACK, 10);
        }
        segment(f, &e, 100 + k, 0, TCP_SYN, 0);
        turn(f);
        assert_true(tcp_connections(f->host.tcp) <= 1000 + EARNEST);
    }
    assert_int_equal(f->accepted, EARNEST - 5);
    assert_in_range(f->host.tcp->half_open, 990, 1000);
    assert_in_range(f->host.stats->counters[STATS_TCP_SYN_COOKIES], FLOOD - 1000, FLOOD + EARNEST);
    assert_int_equal(f->host.stats->drops[STATS_DROP_TCP_CONNECTIONS_FULL], 0);
    assert_int_equal(f->host.stats->drops[STATS_DROP_TCP_REPLIES_FULL], 0);
    assert_int_equal(f->rsts, 0);
    for (uint32_t k = 0; k + 5 < EARNEST; k++) {
        const uint8_t *at;
        assert_int_equal(tcp_read_peek(f->conn[k], &at), 10);
        tcp_read_consume(f->conn[k], 10);
    }
    tcp_check(f->host.tcp);
    close_host(f);
}

/* 100,000 half-open ones at once, where there is room for them, are found among themselves, sent their SYN-ACK again, given up. */
static void a_hundred_thousand_half_open(void **state)
{
    (void)state;
    struct flood *f = &flood;
    open_host(f, FLOOD + 10, FLOOD);
    flood_in(f, 0, FLOOD);
    assert_int_equal(f->host.tcp->half_open, FLOOD);
    assert_int_equal(f->host.stats->counters[STATS_TCP_SYN_COOKIES], 0);
    assert_int_equal(f->sent, FLOOD);
    struct base_flow e = earnest(0);
    segment(f, &e, 100, 0, TCP_SYN, 0);
    turn(f);
    assert_int_equal(f->host.stats->counters[STATS_TCP_SYN_COOKIES], 1);
    segment(f, &e, 101, f->our_isn[0] + 1, TCP_ACK, 10);
    turn(f);
    assert_int_equal(f->accepted, 1);
    for (int i = 0; i < 25; i++) {
        f->now += 1000 * MS;
        turn(f);
    }
    assert_int_equal(f->host.tcp->half_open, 0);
    assert_true(f->sent > 2 * FLOOD);
    close_host(f);
}

/* Blind ACKs at a listener that gives out cookies: 2 in 2^29 would open something. */
static void guessing_opens_nothing(void **state)
{
    (void)state;
    struct flood *f = &flood;
    open_host(f, 100, 0);
    flood_in(f, 0, 1);
    for (uint32_t i = 0; i < FLOOD; i++) {
        struct base_flow s = stranger(i);
        segment(f, &s, i * 7919 + 1, (uint32_t)base_mix64(i), TCP_ACK, i % 2);
        if (i % 64 == 63)
            turn(f);
    }
    turn(f);
    assert_int_equal(tcp_connections(f->host.tcp), 0);
    assert_int_equal(f->host.stats->drops[STATS_DROP_TCP_BAD_ACK], FLOOD);
    assert_int_equal(f->rsts, 0);
    close_host(f);
}

/* Others go on to be given out: one that is kept for the third period opens nothing, one of the period before does. */
static void a_cookie_does_not_keep(void **state)
{
    (void)state;
    const uint64_t period = 1ull << 36;
    for (uint32_t periods = 0; periods < 4; periods++) {
        struct flood *f = &flood;
        open_host(f, 100, 0);
        f->now = 100 * period + period / 2;
        struct base_flow e = earnest(0);
        segment(f, &e, 100, 0, TCP_SYN, 0);
        turn(f);
        for (uint32_t i = 0; i < periods; i++) {
            f->now += period;
            flood_in(f, i, 1);
        }
        segment(f, &e, 101, f->our_isn[0] + 1, TCP_ACK, 10);
        turn(f);
        assert_int_equal(f->accepted, periods <= 1);
        close_host(f);
    }
}

/* Somebody who knows addresses and ports, and guesses numbers: 400,000 RSTs, SYNs, ACKs, data and FINs into one connection within two seconds. What its peer says in
 * between arrives, the challenge ACKs stay within their budget, nothing is kept. */
static void blind_injection_changes_nothing(void **state)
{
    (void)state;
    struct flood *f = &flood;
    static const uint8_t kinds[] = {TCP_RST, TCP_RST | TCP_ACK, TCP_SYN, TCP_SYN | TCP_ACK, TCP_ACK, TCP_ACK | TCP_FIN, 0, TCP_ACK};
    uint32_t read = 0;
    open_host(f, 100, 10);
    struct base_flow e = earnest(0);
    segment(f, &e, 100, 0, TCP_SYN, 0);
    turn(f);
    segment(f, &e, 101, f->our_isn[0] + 1, TCP_ACK, 0);
    turn(f);
    assert_int_equal(f->accepted, 1);
    uint32_t before = f->sent;
    for (uint32_t i = 0; i < 4 * FLOOD; i++) {
        uint64_t guess = base_mix64(i);
        segment(f, &e, (uint32_t)guess, (uint32_t)(guess >> 32), kinds[i % 8], i % 8 == 7 ? 100 : 0);
        if (i % 1000 != 999)
            continue;
        f->now += 5 * MS;
        segment(f, &e, 101 + 10 * (i / 1000), f->our_isn[0] + 1, TCP_ACK, 10);
        turn(f);
        const uint8_t *at;
        for (size_t n; (n = tcp_read_peek(f->conn[0], &at)) > 0; read += (uint32_t)n)
            tcp_read_consume(f->conn[0], n);
        tcp_check(f->host.tcp);
    }
    assert_int_equal(tcp_conn_state(f->conn[0]), TCP_ESTABLISHED);
    assert_int_equal(read, 10 * 4 * FLOOD / 1000);
    assert_true(f->sent - before < 3 * 1500 + 4 * FLOOD / 1000);
    assert_true(f->host.stats->counters[STATS_TCP_CHALLENGE_ACKS] <= 3 * 1500);
    assert_true(f->host.stats->drops[STATS_DROP_TCP_BAD_RST] >= FLOOD / 2);
    assert_true(f->host.stats->drops[STATS_DROP_TCP_CHALLENGE_RATE] > 0);
    assert_true(packet_pool_in_use(f->host.pool) <= 4);
    assert_int_equal(tcp_connections(f->host.tcp), 1);
    close_host(f);
}

/* Thirty peers that ask for much and acknowledge nothing hold what their send buffers hold and no more; they go when the user timeout says so, if not before, and the one
 * who reads is served throughout. */
static void hoarders_are_bounded(void **state)
{
    (void)state;
    struct flood *f = &flood;
    enum { HOARDERS = 30, WRITE = 60000 };
    static const uint8_t zeros[WRITE];
    open_host(f, 200, 150);
    for (uint32_t k = 0; k <= HOARDERS; k++) {
        struct base_flow e = earnest(k);
        segment(f, &e, 100, 0, TCP_SYN, 0);
        turn(f);
        segment(f, &e, 101, f->our_isn[k] + 1, TCP_ACK, 0);
        turn(f);
        assert_non_null(f->conn[k]);
    }
    struct base_flow good = earnest(0);
    uint32_t acked = f->our_isn[0] + 1;
    for (int round = 0; round < 400; round++) {
        f->now += 100 * MS;
        for (uint32_t k = 1; k <= HOARDERS; k++)
            if (f->conn[k] != NULL && tcp_conn_state(f->conn[k]) == TCP_ESTABLISHED)
                tcp_write(f->conn[k], zeros, WRITE);
        assert_int_equal(tcp_write(f->conn[0], zeros, 1000), 1000);
        turn(f);
        acked += 1000;
        segment(f, &good, 101, acked, TCP_ACK, 0);
        turn(f);
        assert_true(tcp_write_room(f->conn[0]) >= 100000); /* its share */
        assert_true(packet_pool_in_use(f->host.pool) <= HOARDERS * (2 * (f->host.tcp->config.sndbuf / 1460) + 17));
    }
    for (uint32_t k = 1; k <= HOARDERS; k++)
        assert_int_equal(tcp_conn_error(f->conn[k]), TCP_TIMED_OUT);
    assert_true(packet_pool_in_use(f->host.pool) <= 4);
    close_host(f);
}

/* 400 peers that ask for all they can get and acknowledge nothing, one half with their windows shut: what they keep of the pool is bounded, the worst are reset and
 * counted, and whoever reads is served all the while; so is one who comes late. */
static void hoarders_share_the_pool(void **state)
{
    (void)state;
    struct flood *f = &flood;
    enum { HOARDERS = 400, LATE = HOARDERS + 1, WRITE = 60000 };
    static const uint8_t zeros[WRITE];
    open_host(f, 600, 500);
    const struct tcp *t = f->host.tcp;
    uint32_t acked[2] = {0, 0}, ended = 0, served = 0;
    for (uint32_t k = 0; k <= HOARDERS; k++) {
        struct base_flow e = earnest(k);
        segment(f, &e, 100, 0, TCP_SYN, 0);
        turn(f);
        segment(f, &e, 101, f->our_isn[k] + 1, TCP_ACK, 0);
        turn(f);
        assert_non_null(f->conn[k]);
    }
    for (int round = 0; round < 300; round++) {
        f->now += 5 * MS;
        if (round == 250) {
            struct base_flow e = earnest(LATE);
            segment(f, &e, 100, 0, TCP_SYN, 0);
            turn(f);
            segment(f, &e, 101, f->our_isn[LATE] + 1, TCP_ACK, 0);
            turn(f);
            assert_non_null(f->conn[LATE]);
        }
        for (uint32_t k = 1; k <= HOARDERS; k++)
            if (tcp_conn_state(f->conn[k]) == TCP_ESTABLISHED)
                tcp_write(f->conn[k], zeros, WRITE);
        for (uint32_t k = 0; k <= LATE; k += LATE) {
            if (f->conn[k] == NULL)
                continue;
            struct base_flow e = earnest(k);
            if (acked[k != 0] == 0)
                acked[k != 0] = f->our_isn[k] + 1;
            uint32_t n = (uint32_t)tcp_write(f->conn[k], zeros, 14000);
            assert_true(n == 14000 || (n >= 4 * 1460 && t->snd_held >= t->snd_high));
            turn(f);
            acked[k != 0] += n;
            served += n;
            segment(f, &e, 101, acked[k != 0], TCP_ACK, 0);
            turn(f);
        }
        tcp_check(f->host.tcp);
        assert_true(t->snd_held <= t->snd_high + HOARDERS * 4);
        assert_true(packet_pool_in_use(f->host.pool) < packet_pool_size(f->host.pool) - 64);
    }
    for (uint32_t k = 1; k <= HOARDERS; k++)
        ended += tcp_conn_state(f->conn[k]) == TCP_CLOSED;
    assert_true(ended > 0 && ended < HOARDERS);
    assert_int_equal(f->host.stats->drops[STATS_DROP_TCP_HOARDER], ended);
    assert_int_equal(f->host.stats->drops[STATS_DROP_TCP_NO_BUFFER], 0);
    assert_true(t->snd_held < t->snd_high && served > 100 * 14000);
    close_host(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(earnest_peers_get_through),
        cmocka_unit_test(a_hundred_thousand_half_open),
        cmocka_unit_test(guessing_opens_nothing),
        cmocka_unit_test(a_cookie_does_not_keep),
        cmocka_unit_test(blind_injection_changes_nothing),
        cmocka_unit_test(hoarders_are_bounded),
        cmocka_unit_test(hoarders_share_the_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
