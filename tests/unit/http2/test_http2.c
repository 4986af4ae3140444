#include "../../lib/http2/app.h"

/* Two of our own: requests, answers, trailers, flow control, in pieces of every size. */
static void talk(uint32_t calls, uint32_t most, uint32_t window, uint64_t seed)
{
    struct worker w;
    worker_make(&w);
    struct http2_config cc, sc;
    http2_config_defaults(&cc, HTTP2_CLIENT);
    http2_config_defaults(&sc, HTTP2_SERVER);
    cc.initial_window = sc.initial_window = window;
    sc.max_concurrent_streams = 7;
    struct app client, server;
    app_init(&client, &w, &cc, seed);
    app_init(&server, &w, &sc, seed + 1);
    uint32_t made = 0;
    for (int turn = 0; turn < 100000 && client.finished < calls; turn++) {
        while (made < calls && http2_streams_active(client.conn) < 7 &&
               app_call(&client, made, rnd(&seed) % 3 == 0 ? 0 : rnd(&seed) % 40000, rnd(&seed) % 40000, made & 1, rnd(&seed) % 40))
            made++;
        app_flush(&client);
        app_feed(&server, client.out.bytes, client.out.len, most);
        client.out.len = 0;
        app_flush(&server);
        app_feed(&client, server.out.bytes, server.out.len, most);
        server.out.len = 0;
        app_flush(&client);
        assert_false(client.fatal || server.fatal);
    }
    app_flush(&server);
    assert_int_equal(client.finished, calls);
    assert_int_equal(server.finished, calls);
    assert_int_equal(client.failed + server.failed, 0);
    app_free(&client);
    app_free(&server);
    worker_free(&w);
}

static void two_of_us(void **state)
{
    (void)state;
    talk(100, 0, 65535, 1);
    talk(100, 1500, 65535, 2);
    talk(100, 50, 1000, 3);
    talk(20, 1, 100000, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_of_us),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
