#include "../../lib/http2/script.h"
#include "cases.h"

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

static int failures;

static size_t longest(const char *script)
{
    return 80 + 40 * strlen(script) / 20;
}

static void run_case(struct script *s, const struct script_case *c, bool client, bool raw, enum feed feed, size_t split)
{
    script_begin(s, client, feed, split);
    const char *got = script_run(s, c->script, raw);
    if (strcmp(got, c->trace) != 0) {
        print_error("%s %s (feed %d at %zu):\n   expected %s\n   got      %s\n", client ? "client:" : "server:", c->name, feed, split, c->trace, got);
        failures++;
    }
    script_end(s);
}

static void run_cases(const struct script_case *cases, size_t n, bool client, bool raw)
{
    static struct script s;
    guard_make(&s);
    failures = 0;
    for (size_t i = 0; i < n; i++) {
        int before = failures;
        run_case(&s, &cases[i], client, raw, FEED_WHOLE, 0);
        run_case(&s, &cases[i], client, raw, FEED_BYTES, 0);
        for (size_t split = 1; split < longest(cases[i].script) && failures == before; split++)
            run_case(&s, &cases[i], client, raw, FEED_SPLIT, split);
    }
    munmap(s.page, GUARDED + 4096);
    assert_int_equal(failures, 0);
}

static void server_scripts(void **state)
{
    (void)state;
    run_cases(server_cases, sizeof(server_cases) / sizeof(server_cases[0]), false, false);
    run_cases(raw_server_cases, sizeof(raw_server_cases) / sizeof(raw_server_cases[0]), false, true);
}

static void client_scripts(void **state)
{
    (void)state;
    run_cases(client_cases, sizeof(client_cases) / sizeof(client_cases[0]), true, false);
    run_cases(raw_client_cases, sizeof(raw_client_cases) / sizeof(raw_client_cases[0]), true, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_of_us),
        cmocka_unit_test(server_scripts),
        cmocka_unit_test(client_scripts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
