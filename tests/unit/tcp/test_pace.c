/* pacing: a bulk is spread over the round trip and loses nothing by it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "lib/tcp_net.h"

#define MS 1000000ull

/* Bulk over 40 ms: with pacing no more leaves within two milliseconds than two ticks' worth at twice the window a round trip, and what is missed is caught up with;
 * without it whole windows do.  A message of an RPC's size leaves at once either way. */
static uint32_t most_at_once(bool pacing, double *share)
{
    static const uint8_t zeros[65536];
    static const struct base_addr any;
    struct tcp_net net;
    struct tcp_config c;
    struct tcp_info info;
    struct tcp_event ev;
    struct tcp_conn *b = NULL;
    const uint8_t *at;
    uint64_t got = 0, sent = 0, before = 0;
    uint32_t most = 0;
    tcp_net_config(&c, 9);
    c.pacing = pacing;
    c.sndbuf = c.rcvbuf = 1 << 20;
    tcp_net_init(&net, &c, &c, 9, false);
    net.quiet_checks = true;
    net.link[0].delay_ns = net.link[1].delay_ns = 20 * MS;
    assert_true(tcp_listen(net.host[1].tcp, &any, 80, 0));
    struct base_flow f = tcp_net_flow(&net, 0, 80);
    struct tcp_conn *a = tcp_connect(net.host[0].tcp, &f, 0, net.now);
    for (int t = 0; t < 3000; t++) {
        tcp_net_flush(&net, 0);
        tcp_net_step(&net, MS);
        while (tcp_next_event(net.host[0].tcp, &ev))
            continue;
        while (tcp_next_event(net.host[1].tcp, &ev))
            b = ev.conn;
        for (size_t k; b != NULL && (k = tcp_read_peek(b, &at)) > 0; got += k)
            tcp_read_consume(b, k);
        if (tcp_conn_state(a) == TCP_ESTABLISHED && t % 100 == 0) /* the reader pauses the writer: the ACK clock alone would not spread it again */
            while (tcp_write(a, zeros, sizeof(zeros)) > 0)
                continue;
        tcp_conn_info(a, &info);
        sent = info.bytes_out + info.in_flight;
        if (t > 1000 && sent - before > most)
            most = (uint32_t)(sent - before);
        before = sent;
        tcp_net_flush(&net, 1);
    }
    *share = (double)most / info.cwnd;
    tcp_abort(a, net.now);
    tcp_net_flush(&net, 0);
    tcp_net_step(&net, 100 * MS);
    if (b != NULL)
        tcp_abort(b, net.now);
    tcp_net_fini(&net);
    return (uint32_t)(got >> 20);
}

static void a_bulk_is_spread_over_the_round_trip(void **state)
{
    (void)state;
    double burst, paced;
    uint32_t plain = most_at_once(false, &burst), spread = most_at_once(true, &paced);
    assert_true(burst > 0.4);
    assert_true(paced < 0.35);
    assert_true(spread + spread / 20 + 1 >= plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bulk_is_spread_over_the_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
