/* tcp: two stacks and a link. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include "lib/tcp_net.h"
#include "tcp/conn.h"

#define MS 1000000ull

struct pair {
    struct tcp_net net;
    struct tcp_conn *conn[2]; /* [0] active, [1] passive */
    uint32_t seen[2];         /* events so far */
};

static struct pair pair;

static void pull(struct pair *p, int h)
{
    struct tcp_event ev;
    while (tcp_next_event(p->net.host[h].tcp, &ev)) {
        if (ev.events & TCP_EVENT_ACCEPTED)
            p->conn[h] = ev.conn;
        assert_ptr_equal(p->conn[h], ev.conn);
        p->seen[h] |= ev.events;
    }
}

static void run(struct pair *p, unsigned ms)
{
    for (unsigned i = 0; i < ms; i++) {
        tcp_net_step(&p->net, MS);
        pull(p, 0);
        pull(p, 1);
        tcp_net_flush(&p->net, 0);
        tcp_net_flush(&p->net, 1);
    }
}

static void open_pair(struct pair *p, bool v6)
{
    struct tcp_config c;
    memset(p, 0, sizeof(*p));
    tcp_net_config(&c, 7);
    tcp_net_init(&p->net, &c, &c, 7, v6);
    p->net.link[0].delay_ns = p->net.link[1].delay_ns = 5 * MS;
    static const struct base_addr any;
    assert_true(tcp_listen(p->net.host[1].tcp, &any, 80, 42));
    struct base_flow f = tcp_net_flow(&p->net, 0, 80);
    p->conn[0] = tcp_connect(p->net.host[0].tcp, &f, 1, p->net.now);
    assert_non_null(p->conn[0]);
    tcp_net_flush(&p->net, 0);
    run(p, 30);
    assert_true(p->seen[0] & TCP_EVENT_CONNECTED);
    assert_true(p->seen[1] & TCP_EVENT_ACCEPTED);
    assert_int_equal(tcp_conn_tag(p->conn[1]), 42);
}

static void finish(struct pair *p, unsigned ms)
{
    run(p, ms);
    for (int i = 0; i < 2; i++)
        assert_int_equal(tcp_connections(p->net.host[i].tcp), 0);
    tcp_net_fini(&p->net);
}

static void send_all(struct pair *p, int from, const uint8_t *data, size_t n, unsigned ms)
{
    size_t sent = 0, got = 0;
    for (unsigned t = 0; t < ms && got < n; t++) {
        sent += tcp_write(p->conn[from], data + sent, n - sent);
        tcp_net_flush(&p->net, from);
        run(p, 1);
        const uint8_t *at;
        for (size_t k; (k = tcp_read_peek(p->conn[!from], &at)) > 0; got += k) {
            assert_memory_equal(at, data + got, k);
            tcp_read_consume(p->conn[!from], k);
        }
    }
    assert_int_equal(got, n);
}

static void receive_all(struct pair *p, int to, const uint8_t *data, size_t n, unsigned ms)
{
    size_t got = 0;
    for (unsigned t = 0; t < ms && got < n; t++) {
        const uint8_t *at;
        run(p, 1);
        for (size_t k; (k = tcp_read_peek(p->conn[to], &at)) > 0; got += k) {
            assert_memory_equal(at, data + got, k);
            tcp_read_consume(p->conn[to], k);
        }
    }
    assert_int_equal(got, n);
}

static void close_both(struct pair *p)
{
    for (int h = 0; h < 2; h++) {
        tcp_close(p->conn[h], p->net.now);
        tcp_net_flush(&p->net, h);
        run(p, 30);
    }
}

static uint8_t *pattern(size_t n)
{
    uint8_t *p = malloc(n);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(base_mix64(i / 8) >> (i % 8 * 8));
    return p;
}

static void bytes_travel_both_ways_and_both_close(void **state)
{
    (void)state;
    for (int v6 = 0; v6 < 2; v6++) {
        open_pair(&pair, v6);
        uint8_t *data = pattern(300000);
        send_all(&pair, 0, data, 300000, 3000);
        send_all(&pair, 1, data, 300000, 3000);
        free(data);
        tcp_close(pair.conn[0], pair.net.now);
        tcp_net_flush(&pair.net, 0);
        run(&pair, 30);
        assert_true(pair.seen[1] & TCP_EVENT_FIN);
        tcp_close(pair.conn[1], pair.net.now);
        tcp_net_flush(&pair.net, 1);
        finish(&pair, 100);
    }
}

static void bytes_survive_loss(void **state)
{
    (void)state;
    open_pair(&pair, false);
    pair.net.link[0].loss_ppm = pair.net.link[1].loss_ppm = 50000;
    pair.net.hold_ns = 50 * MS;
    uint8_t *data = pattern(300000);
    send_all(&pair, 0, data, 300000, 60000);
    free(data);
    struct tcp_info info;
    tcp_conn_info(pair.conn[0], &info);
    assert_true(info.retransmits > 0);
    tcp_close(pair.conn[1], pair.net.now);
    tcp_net_flush(&pair.net, 1);
    run(&pair, 3000);
    assert_true(pair.seen[0] & TCP_EVENT_FIN);
    tcp_close(pair.conn[0], pair.net.now);
    finish(&pair, 5000);
}

/* ---- segments joined for a device that cuts them up ---- */

#define SEGMENTS 64

struct segment_bytes {
    uint8_t b[2048];
    uint32_t n;
};

/* A device's work: header copied, numbers counted on, PSH and FIN on the last alone. */
static uint32_t cut(struct packet *head, struct segment_bytes *out)
{
    uint32_t header = (uint32_t)(packet_data(head)[12] >> 4) * 4, size = packet_len(head) - header, n = 0, at = 0, left = packet_total(head) - header;
    static uint8_t all[70000];
    for (struct packet *p = head; p != NULL; at += packet_len(p), p = packet_next(p))
        memcpy(all + at, packet_data(p), packet_len(p));
    uint32_t seq = (uint32_t)all[4] << 24 | (uint32_t)all[5] << 16 | (uint32_t)all[6] << 8 | all[7];
    for (at = header; left > 0; n++) {
        uint32_t some = left < size ? left : size;
        struct segment_bytes *o = &out[n];
        memcpy(o->b, all, header);
        memcpy(o->b + header, all + at, some);
        for (int i = 0; i < 4; i++)
            o->b[4 + i] = (uint8_t)(seq >> (24 - 8 * i));
        if (left > some)
            o->b[13] &= (uint8_t)~9;
        o->n = header + some;
        at += some;
        seq += some;
        left -= some;
    }
    return n;
}

static void free_joined(struct packet *p)
{
    for (struct packet *next; p != NULL; p = next) {
        next = packet_next(p);
        packet_free(p);
    }
}

/* What was joined and cut up again is what it was; a burst that is lost on the way is sent again, buffer by buffer. */
static void joined_segments_are_cut_to_what_they_were(void **state)
{
    (void)state;
    static struct segment_bytes before[SEGMENTS], after[SEGMENTS];
    static uint8_t text[200000];
    for (uint32_t i = 0; i < sizeof(text); i++)
        text[i] = (uint8_t)(i * 2654435761u >> 13);
    open_pair(&pair, false);
    struct tcp *t = pair.net.host[0].tcp;
    uint32_t most = 0, limits[] = {40, 3, 1, 40};
    for (uint32_t round = 0; round < 4; round++) {
        struct tcp_out out[SEGMENTS];
        send_all(&pair, 0, text, 150000, 30000); /* the window of congestion grows */
        uint32_t bytes = 20001, written = (uint32_t)tcp_write(pair.conn[0], text, bytes), n = tcp_output(t, out, SEGMENTS, pair.net.now), k, cuts = 0;
        assert_true(written == bytes && n > 1);
        for (uint32_t i = 0; i < n; i++) {
            before[i].n = packet_len(out[i].packet);
            memcpy(before[i].b, packet_data(out[i].packet), before[i].n);
        }
        for (uint32_t i = 0; i < n; i += k) {
            k = tcp_join(&out[i], n - i, round == 3 ? 4000 : 65000, limits[round]);
            assert_true(k >= 1 && k <= limits[round] && packet_joined(out[i].packet) == k && (round != 3 || packet_total(out[i].packet) <= 4060));
            most = k > most ? k : most;
            cuts += k == 1 ? 0 : cut(out[i].packet, after + i) - k; /* as many as there were */
            if (k == 1) {
                after[i].n = packet_len(out[i].packet);
                memcpy(after[i].b, packet_data(out[i].packet), after[i].n);
            }
            free_joined(out[i].packet); /* and lost */
        }
        assert_int_equal(cuts, 0);
        for (uint32_t i = 0; i < n; i++) {
            assert_int_equal(after[i].n, before[i].n);
            assert_memory_equal(after[i].b, before[i].b, before[i].n);
        }
        receive_all(&pair, 1, text, bytes, 30000);
    }
    assert_true(most > 5);
    close_both(&pair);
    finish(&pair, 5000);
}

/* Two segments that differ in one respect are not one. */
static void what_differs_is_not_joined(void **state)
{
    (void)state;
    struct packet_pool *pool = packet_pool_create("join", 8, 2048, 0);
    static const struct {
        uint32_t at;
        bool joins;
    } changes[] = {{0, true}, {7, false}, {8, false}, {11, false}, {12, false}, {13, false}, {14, false}, {15, false}, {18, false}, {20, false}, {31, false}};
    for (uint32_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
        struct tcp_out out[2];
        for (uint32_t k = 0; k < 2; k++) {
            struct packet *p = packet_alloc(pool);
            uint8_t *h = packet_append(p, 32 + 100);
            memset(h, 0, 132);
            h[7] = (uint8_t)(100 * k);
            h[12] = 0x80;
            h[13] = 0x10;
            if (k == 1 && i > 0)
                h[changes[i].at] ^= changes[i].at == 12 ? 0x10 : 0x04;
            out[k] = (struct tcp_out){.packet = p, .flow = {.local_port = 1}};
        }
        assert_int_equal(tcp_join(out, 2, 65000, 40), changes[i].joins ? 2 : 1);
        if (changes[i].joins)
            packet_free(out[1].packet);
        else
            assert_int_equal(packet_len(out[1].packet), 132);
        packet_free(out[0].packet);
        if (!changes[i].joins)
            packet_free(out[1].packet);
    }
    packet_pool_destroy(pool);
}

static void ports_name_their_owner_and_run_out(void **state)
{
    (void)state;
    struct tcp_config c;
    struct tcp_net_host h;
    bool seen[64] = {false};
    tcp_net_config(&c, 9);
    c.port_low = 50000;
    c.port_high = 50063;
    c.port_mask = 3;
    c.port_owner = 2;
    tcp_net_host_init(&h, &c, 0);
    struct base_flow f = {.remote_port = 80};
    base_addr_parse("198.18.0.1", &f.local);
    base_addr_parse("198.18.0.2", &f.remote);
    for (int i = 0; i < 16; i++) { /* a quarter of 64 */
        struct tcp_conn *k = tcp_connect(h.tcp, &f, 0, 0);
        assert_non_null(k);
        uint16_t port = tcp_conn_flow(k)->local_port;
        assert_true(port >= 50000 && port <= 50063 && (port & 3) == 2 && !seen[port - 50000]);
        seen[port - 50000] = true;
    }
    assert_null(tcp_connect(h.tcp, &f, 0, 0));
    assert_int_equal(h.stats->drops[STATS_DROP_TCP_NO_PORT], 1);
    f.remote_port = 81; /* the same ports towards somebody else */
    assert_non_null(tcp_connect(h.tcp, &f, 0, 0));
    tcp_check(h.tcp);
    for (struct tcp_conn *k; (k = tcp_conn_next(h.tcp, NULL)) != NULL;)
        tcp_abort(k, 0);
    tcp_net_host_fini(&h);
}

/* Of the owner's ports those come first by which a steered device brings segments back to him; when they are in use, any of his. */
static void ports_bring_segments_back_to_their_owner(void **state)
{
    (void)state;
    for (int v6 = 0; v6 < 2; v6++) {
        struct tcp_config c;
        struct tcp_net_host h;
        struct base_steer steer;
        uint8_t key[BASE_STEER_KEY_MIN];
        const struct base_steer *const by_port[2] = {NULL, &steer};
        for (int i = 0; i < BASE_STEER_KEY_MIN; i++)
            key[i] = (uint8_t)(17 * i + 5);
        base_steer_init(&steer, key, 128, 4);
        tcp_net_config(&c, 9);
        c.connections = 64;
        c.port_low = 50000;
        c.port_high = 50127;
        c.port_mask = 3;
        c.port_owner = 2;
        c.steer = by_port;
        tcp_net_host_init(&h, &c, 0);
        struct base_flow f = {.remote_port = 80, .port = 1};
        base_addr_parse(v6 ? "2001:db8::1" : "198.18.0.1", &f.local);
        base_addr_parse(v6 ? "2001:db8::2" : "198.18.0.2", &f.remote);
        uint32_t back = 0, all = 0;
        for (f.local_port = 50002; f.local_port < 50128; f.local_port += 4)
            back += base_steer_queue(&steer, &f) == 2;
        assert_true(back > 0 && back < 32);
        f.local_port = 0;
        for (struct tcp_conn *k; (k = tcp_connect(h.tcp, &f, 0, 0)) != NULL; all++) {
            assert_int_equal(tcp_conn_flow(k)->local_port & 3, 2);
            assert_int_equal(base_steer_queue(&steer, tcp_conn_flow(k)) == 2, all < back);
        }
        assert_int_equal(all, 32);
        f.port = 0; /* a device that nobody steers: no port is better than another */
        f.remote_port = 81;
        for (all = 0, back = 0; all < 32; all++) {
            struct tcp_conn *k = tcp_connect(h.tcp, &f, 0, 0);
            assert_non_null(k);
            back += base_steer_queue(&steer, tcp_conn_flow(k)) == 2;
        }
        assert_true(back < 32);
        for (struct tcp_conn *k; (k = tcp_conn_next(h.tcp, NULL)) != NULL;)
            tcp_abort(k, 0);
        tcp_net_host_fini(&h);
    }
}

/* RFC 6528: M ticks every 4.1 us, so that a connection of the same name begins beyond the numbers of the one before; another flow's tell nothing. */
static void initial_numbers_move_on(void **state)
{
    (void)state;
    struct tcp_config c;
    struct tcp_net_host h;
    tcp_net_config(&c, 9);
    tcp_net_host_init(&h, &c, 0);
    struct base_flow f = {.local_port = 5, .remote_port = 80}, other = {.local_port = 6, .remote_port = 80};
    uint32_t first = tcp_isn(h.tcp, &f, 1000);
    assert_int_equal(tcp_isn(h.tcp, &f, 1000 + 1000000000ull) - first, 244140);
    assert_int_not_equal(tcp_isn(h.tcp, &other, 1000) - first, 0);
    assert_int_equal(tcp_isn(h.tcp, &f, 1000), first);
    tcp_net_host_fini(&h);
}

static void full_tables_refuse_and_are_counted(void **state)
{
    (void)state;
    struct tcp_config c;
    struct tcp_net_host h;
    tcp_net_config(&c, 9);
    c.connections = 3;
    c.listeners = 2;
    tcp_net_host_init(&h, &c, 0);
    struct base_flow f = {.remote_port = 80};
    base_addr_parse("198.18.0.1", &f.local);
    base_addr_parse("198.18.0.2", &f.remote);
    for (int i = 0; i < 3; i++)
        assert_non_null(tcp_connect(h.tcp, &f, 0, 0));
    assert_null(tcp_connect(h.tcp, &f, 0, 0));
    assert_int_equal(h.stats->drops[STATS_DROP_TCP_CONNECTIONS_FULL], 1);
    assert_true(tcp_listen(h.tcp, &f.local, 80, 1));
    assert_false(tcp_listen(h.tcp, &f.local, 80, 2));
    assert_true(tcp_listen(h.tcp, &f.remote, 80, 3));
    assert_false(tcp_listen(h.tcp, &f.local, 81, 4));
    tcp_unlisten(h.tcp, &f.local, 80);
    assert_true(tcp_listen(h.tcp, &f.local, 81, 4));
    for (struct tcp_conn *k; (k = tcp_conn_next(h.tcp, NULL)) != NULL;)
        tcp_abort(k, 0);
    assert_int_equal(tcp_connections(h.tcp), 0);
    tcp_net_host_fini(&h);
}

/* Opens a connection from host 0, and closes it there first. */
static struct base_flow open_and_close(struct tcp_net *net)
{
    struct base_flow f = tcp_net_flow(net, 0, 80);
    struct tcp_conn *a = tcp_connect(net->host[0].tcp, &f, 0, net->now);
    struct tcp_event ev;
    assert_non_null(a);
    f = *tcp_conn_flow(a);
    for (int t = 0; t < 20; t++) {
        tcp_net_flush(net, 0);
        tcp_net_step(net, MS);
        while (tcp_next_event(net->host[0].tcp, &ev))
            if (ev.events & TCP_EVENT_CONNECTED)
                tcp_close(a, net->now);
        while (tcp_next_event(net->host[1].tcp, &ev))
            if (ev.events & TCP_EVENT_FIN)
                tcp_close(ev.conn, net->now);
        tcp_net_flush(net, 1);
    }
    assert_int_equal(tcp_connections(net->host[0].tcp) + tcp_connections(net->host[1].tcp), 0);
    return f;
}

static void open_with_time_wait(struct tcp_net *net, uint32_t entries)
{
    static const struct base_addr any;
    struct tcp_config c;
    tcp_net_config(&c, 11);
    c.timewait = entries;
    tcp_net_init(net, &c, &c, 11, false);
    assert_true(tcp_listen(net->host[1].tcp, &any, 80, 0));
}

/* One after the other through four TIME_WAIT entries: the oldest makes room, nothing leaks, ports come back. */
static void time_wait_recycles_its_oldest(void **state)
{
    (void)state;
    struct tcp_net net;
    struct base_flow f[10];
    open_with_time_wait(&net, 4);
    for (int i = 0; i < 10; i++) {
        f[i] = open_and_close(&net);
        assert_int_equal(*net.host[0].stats->objects[1].in_use, i < 4 ? i + 1 : 4);
    }
    assert_int_equal(net.host[0].stats->drops[STATS_DROP_TCP_TIMEWAIT_FULL], 6);
    for (int i = 0; i < 10; i++) /* who was forgotten is not found any more */
        assert_int_equal(tcp_timewait_find(net.host[0].tcp, &f[i]) != NULL, i >= 6);
    tcp_net_check(&net);
    assert_true(tcp_idle(net.host[1].tcp));
    tcp_net_fini(&net);
}

/* An entry that is restarted again and again, as by a FIN that comes again and again, holds nobody up. */
static void time_wait_restarted_holds_nobody_up(void **state)
{
    (void)state;
    struct tcp_net net;
    struct base_flow f[4];
    open_with_time_wait(&net, 8);
    struct tcp *t = net.host[0].tcp;
    uint64_t wait = t->config.timewait_ns;
    for (int i = 0; i < 4; i++)
        f[i] = open_and_close(&net);
    uint64_t now = net.now;
    tcp_timewait_restart(t, tcp_timewait_find(t, &f[0]), now + wait / 2);
    tcp_timewait_restart(t, tcp_timewait_find(t, &f[1]), now + wait / 4);
    tcp_timewait_tick(t, now + wait + MS);
    for (int i = 0; i < 4; i++)
        assert_int_equal(tcp_timewait_find(t, &f[i]) != NULL, i < 2);
    tcp_timewait_tick(t, now + wait + wait / 4 + MS);
    assert_null(tcp_timewait_find(t, &f[1]));
    assert_non_null(tcp_timewait_find(t, &f[0]));
    tcp_timewait_check(t);
    tcp_timewait_tick(t, now + wait + wait / 2 + MS);
    assert_null(tcp_timewait_find(t, &f[0]));
    assert_int_equal(*net.host[0].stats->objects[1].in_use, 0);
    tcp_net_check(&net);
    tcp_net_fini(&net);
}

/* A flood of in-window SYNs: at most some challenge ACKs a second. */
static void challenge_acks_are_bounded(void **state)
{
    (void)state;
    open_pair(&pair, false);
    struct tcp_net_host *h = &pair.net.host[1];
    for (int i = 0; i < 5000; i++) {
        struct packet *p = packet_alloc(h->rx_pool);
        uint8_t *at = packet_append(p, 20);
        memset(at, 0, 20);
        at[12] = 0x50;
        at[13] = 2;
        tcp_input(h->tcp, tcp_conn_flow(pair.conn[1]), p, pair.net.now);
    }
    assert_true(h->stats->counters[STATS_TCP_CHALLENGE_ACKS] < 1600);
    assert_true(h->stats->drops[STATS_DROP_TCP_CHALLENGE_RATE] > 3400);
    assert_int_equal(tcp_conn_state(pair.conn[1]), TCP_ESTABLISHED);
    tcp_abort(pair.conn[0], pair.net.now);
    tcp_net_flush(&pair.net, 0);
    run(&pair, 20);
    assert_true(pair.seen[1] & TCP_EVENT_CLOSED);
    assert_int_equal(tcp_conn_error(pair.conn[1]), TCP_RESET);
    tcp_abort(pair.conn[1], pair.net.now);
    finish(&pair, 10);
}

/* An event that its own handling causes comes with the next turn, so that a turn ends. */
static void a_connection_comes_once_a_turn(void **state)
{
    (void)state;
    struct tcp_event ev;
    open_pair(&pair, false);
    struct tcp *t = pair.net.host[0].tcp;
    tcp_write_want(pair.conn[0]);
    tcp_tick(t, pair.net.now);
    assert_true(tcp_next_event(t, &ev));
    assert_int_equal(ev.events, TCP_EVENT_WRITABLE);
    tcp_write_want(pair.conn[0]);
    assert_false(tcp_next_event(t, &ev));
    assert_false(tcp_idle(t));
    tcp_tick(t, pair.net.now);
    assert_true(tcp_next_event(t, &ev));
    assert_false(tcp_next_event(t, &ev));
    tcp_abort(pair.conn[0], pair.net.now);
    tcp_abort(pair.conn[1], pair.net.now);
    tcp_net_flush(&pair.net, 0);
    tcp_net_flush(&pair.net, 1);
    finish(&pair, 50);
}

/* The n-th buffer is refused, for each n: the stream arrives all the same. */
static void every_buffer_may_be_refused(void **state)
{
    (void)state;
    uint8_t *data = pattern(20000);
    for (int n = 0; n < 60; n++) {
        open_pair(&pair, n % 2 != 0);
        pair.net.host[n / 2 % 2].pool->fail_at = n;
        send_all(&pair, 0, data, 20000, 3000);
        pair.net.host[0].pool->fail_at = -1;
        pair.net.host[1].pool->fail_at = -1;
        tcp_abort(pair.conn[0], pair.net.now);
        tcp_net_flush(&pair.net, 0);
        run(&pair, 20);
        tcp_abort(pair.conn[1], pair.net.now);
        finish(&pair, 20);
    }
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_travel_both_ways_and_both_close),
        cmocka_unit_test(bytes_survive_loss),
        cmocka_unit_test(joined_segments_are_cut_to_what_they_were), cmocka_unit_test(what_differs_is_not_joined),
        cmocka_unit_test(ports_name_their_owner_and_run_out), cmocka_unit_test(ports_bring_segments_back_to_their_owner),
        cmocka_unit_test(initial_numbers_move_on),
        cmocka_unit_test(full_tables_refuse_and_are_counted),
        cmocka_unit_test(time_wait_recycles_its_oldest),
        cmocka_unit_test(time_wait_restarted_holds_nobody_up),
        cmocka_unit_test(challenge_acks_are_bounded),
        cmocka_unit_test(a_connection_comes_once_a_turn),
        cmocka_unit_test(every_buffer_may_be_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
