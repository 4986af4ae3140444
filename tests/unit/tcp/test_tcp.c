/* tcp: two stacks and a link. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include "lib/tcp_net.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_travel_both_ways_and_both_close),
        cmocka_unit_test(bytes_survive_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
