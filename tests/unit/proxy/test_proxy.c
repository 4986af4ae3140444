/* proxy over the rig: every answer of our own, every way in which an RPC can end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/rig.h"
#include "lib/world.h"
#include "proxy/internal.h"

static struct rig *made(uint32_t backends)
{
    struct rig_config c;
    rig_config_defaults(&c);
    c.backends = backends;
    struct rig *r = rig_create(&c);
    for (uint32_t i = 0; i < backends; i++)
        rig_add(r, 0, i, i, 1);
    rig_connect(rig_client(r, 0));
    rig_run(r, 5 * RIG_MS);
    return r;
}

static struct rig_call *run_one(struct rig *r, const struct rig_script *s)
{
    struct rig_call *c = rig_start(rig_client(r, 0), s);
    rig_settle(r, 20 * RIG_S);
    return c;
}

static void test_unary(void **state)
{
    (void)state;
    struct rig *r = made(1);
    struct rig_call *c = run_one(r, &(struct rig_script){.request = 100, .response = 200});
    assert_true(rig_is(c, 0));
    assert_int_equal(c->got, 200);
    assert_int_equal(c->up_got, 100);
    assert_int_equal(c->http_status, 200);
    assert_true(rig_destroy(r));
}

static struct rig_call *one(const struct rig_script *s, struct rig **out)
{
    struct rig *r = made(1);
    *out = r;
    return run_one(r, s);
}

/* -- answers of our own --------------------------------------------------------------------------- */

static void own_answer(struct rig *r, const struct rig_script *base, int grpc, int http, const char *reason)
{
    struct rig_script s = *base;
    struct rig_call *c = run_one(r, &s);
    assert_true(rig_is(c, grpc));
    assert_int_equal(c->http_status, 200);
    assert_false(c->trailers); /* trailers-only */
    assert_string_equal(c->reason, reason);
    s.plain = true;
    c = run_one(r, &s);
    assert_int_equal(c->ends, 1);
    assert_false(c->reset);
    assert_int_equal(c->http_status, http);
    assert_string_equal(c->reason, reason);
}

static void test_no_route(void **state)
{
    (void)state;
    struct rig *r = made(1);
    own_answer(r, &(struct rig_script){.path = "/else/Call", .request = 10}, 12, 404, "no_route");
    assert_int_equal(rig_backend(r, 0)->calls, 0);
    assert_true(rig_destroy(r));
}

static void test_no_ready(void **state)
{
    (void)state;
    struct rig *r = made(1);
    own_answer(r, &(struct rig_script){.path = "/two.Two/Call", .request = 10}, 14, 503, "no_ready_endpoint");
    assert_int_equal(stats_read(&rig_gateway(r)->stats->clusters[1].pick_failures[STATS_REASON_NO_READY_ENDPOINT]), 2);
    assert_int_equal(stats_read(&rig_gateway(r)->stats->clusters[1].own_answers[14]), 2);
    assert_true(rig_destroy(r));
}

static void test_request_headers_too_large(void **state)
{
    (void)state;
    struct rig *r = made(1);
    own_answer(r, &(struct rig_script){.metadata = 16200, .request = 10}, 8, 431, "headers_too_large");
    /* So large that no field of it was kept. */
    struct rig_call *c = run_one(r, &(struct rig_script){.metadata = 30000, .request = 10});
    assert_true(rig_is(c, 8));
    assert_string_equal(c->reason, "headers_too_large");
    assert_int_equal(rig_backend(r, 0)->calls, 0);
    assert_true(rig_is(run_one(r, &(struct rig_script){.request = 10}), 0));
    assert_true(rig_destroy(r));
}

/* A listener that takes 64 KiB: lists just below it go both ways, in several frames, read at once or a little at a time; above it they are refused as before. */
static void test_large_header_lists(void **state)
{
    (void)state;
    for (uint32_t jitter = 0; jitter < 2; jitter++) {
        struct rig_config config;
        rig_config_defaults(&config);
        config.header_list = 65536;
        config.jitter_ns = jitter * 2 * RIG_MS;
        struct rig *r = rig_create(&config);
        rig_add(r, 0, 0, 0, 1);
        rig_client(r, 0)->h2.max_header_list_size = rig_backend(r, 0)->h2.max_header_list_size = 65536;
        rig_connect(rig_client(r, 0));
        rig_run(r, 100 * RIG_MS);
        for (uint32_t n = 15000; n <= 60000; n += 15000) {
            struct rig_call *c = run_one(r, &(struct rig_script){.metadata = n, .request = 100000, .response = 100000});
            assert_true(rig_is(c, 0));
            assert_int_equal(c->metadata, n);
            assert_int_equal(c->up_metadata, n);
        }
        own_answer(r, &(struct rig_script){.metadata = 63000, .request = 10}, 8, 431, "headers_too_large");
        assert_true(rig_is(run_one(r, &(struct rig_script){.response_metadata = 63000, .request = 10}), 8));
        assert_true(rig_is(run_one(r, &(struct rig_script){.request = 10}), 0));
        assert_true(rig_destroy(r));
    }
}

static void test_deadline(void **state)
{
    (void)state;
    struct rig *r = made(1);
    own_answer(r, &(struct rig_script){.act = RIG_HANG, .timeout = "20m", .request = 10}, 4, 504, "deadline");
    for (uint32_t i = 0; i < 2; i++) {
        rig_run(r, 5 * RIG_MS);
        assert_true(r->call[i]->up_reset);
        assert_int_equal(r->call[i]->up_reset_code, HTTP2_CANCEL);
        assert_in_range(r->call[i]->ended_ns - r->call[i]->began_ns, 20 * RIG_MS, 23 * RIG_MS);
    }
    assert_int_equal(stats_read(&rig_gateway(r)->stats->slots[0].rpcs[4]), 2);
    assert_true(rig_destroy(r));
}

/* The route's cap beats a longer wish, and stands where there is none. */
static void test_deadline_cap(void **state)
{
    (void)state;
    struct rig *r = made(1);
    rig_add(r, 2, 1, 0, 1);
    rig_run(r, 5 * RIG_MS);
    static const char *const wish[] = {NULL, "9S", "99999999H", "17x", "0123456789m"};
    for (unsigned i = 0; i < 5; i++) {
        struct rig_call *c = run_one(r, &(struct rig_script){.act = RIG_HANG, .path = "/cap.Cap/Call", .timeout = wish[i]});
        assert_true(rig_is(c, 4));
        assert_in_range(c->ended_ns - c->began_ns, 50 * RIG_MS, 54 * RIG_MS);
    }
    struct rig_call *c = run_one(r, &(struct rig_script){.act = RIG_HANG, .path = "/cap.Cap/Call", .timeout = "10m"});
    assert_in_range(c->ended_ns - c->began_ns, 10 * RIG_MS, 13 * RIG_MS);
    assert_true(rig_destroy(r));
}

/* While the request is being sent, while it waits for a stream number, after headers, behind queued bytes. */
static void test_deadline_phases(void **state)
{
    (void)state;
    struct rig *r = made(1);
    assert_true(rig_is(run_one(r, &(struct rig_script){.act = RIG_HANG, .request = 1 << 20, .no_credit = true, .timeout = "20m"}), 4));
    assert_true(rig_is(run_one(r, &(struct rig_script){.act = RIG_HANG, .request = 100, .never_ends = true, .timeout = "20m"}), 4));
    struct rig_call *c = run_one(r, &(struct rig_script){.act = RIG_HANG, .request = 100, .headers_first = true, .partial = 5000, .timeout = "20m"});
    assert_true(rig_is(c, 4));
    assert_true(c->headers && c->trailers && c->got == 5000);
    c = run_one(r, &(struct rig_script){.act = RIG_HANG, .plain = true, .request = 100, .headers_first = true, .partial = 5000, .timeout = "20m"});
    assert_true(c->reset); /* a body cut short must not look whole */
    assert_int_equal(c->reset_code, HTTP2_INTERNAL_ERROR);
    assert_true(rig_destroy(r));

    struct rig_config rc;
    rig_config_defaults(&rc);
    r = rig_create(&rc);
    rig_backend(r, 0)->h2.max_concurrent_streams = 1;
    rig_add(r, 0, 0, 0, 1);
    rig_connect(rig_client(r, 0));
    rig_run(r, 5 * RIG_MS);
    struct rig_call *a = rig_start(rig_client(r, 0), &(struct rig_script){.act = RIG_ANSWER, .delay_ns = 100 * RIG_MS});
    struct rig_call *b = rig_start(rig_client(r, 0), &(struct rig_script){.act = RIG_ANSWER, .request = 3000, .timeout = "20m"});
    assert_true(rig_settle(r, RIG_S));
    assert_true(rig_is(a, 0));
    assert_true(rig_is(b, 4));
    assert_false(b->up_seen);
    assert_true(rig_destroy(r));
}

/* -- no_ready = queue --------------------------------------------------------------------------------- */

static struct rig *queueing(uint32_t max, uint64_t timeout_ns)
{
    struct rig_config c;
    rig_config_defaults(&c);
    c.backends = 2;
    struct rig *r = rig_create(&c);
    struct snapshot_cluster *k = r->world->s.cluster[0];
    k->no_ready_queue = true;
    k->no_ready_max = max;
    k->no_ready_timeout_ns = timeout_ns;
    rig_touch(r);
    rig_connect(rig_client(r, 0));
    rig_run(r, 5 * RIG_MS);
    return r;
}

static uint64_t waited(struct rig *r, enum stats_wait how)
{
    return stats_read(&rig_gateway(r)->stats->clusters[0].waits[how]);
}

static uint64_t waiting(struct rig *r)
{
    return stats_read(&rig_gateway(r)->stats->clusters[0].waiting);
}

/* Calls of every shape wait, bodies held back by the stream's window; an endpoint comes, and they are answered in order. */
static void test_queue(void **state)
{
    (void)state;
    struct rig *r = queueing(100, 5 * RIG_S);
    static const struct rig_script t[] = {
        {.request = 0, .response = 10},
        {.request = 100, .response = 100},
        {.act = RIG_ECHO, .request = 300000},
        {.request = 20000, .response = 20000, .metadata = 3000},
        {.request = 1000, .request_trailers = true, .response = 10},
        {.request_trailers = true},
        {.request = 70000, .plain = true, .response = 5},
    };
    struct rig_call *c[21];
    for (int i = 0; i < 21; i++)
        c[i] = rig_start(rig_client(r, 0), &t[i % 7]);
    rig_run(r, 300 * RIG_MS);
    assert_int_equal(waiting(r), 21);
    for (int i = 0; i < 21; i++)
        assert_int_equal(c[i]->ends, 0);
    assert_true(c[2]->st->h2->send_window <= 0); /* 64 KiB of it are here, no more */
    rig_add(r, 0, 0, 0, 1);
    assert_true(rig_settle(r, 10 * RIG_S));
    for (int i = 0; i < 21; i++) {
        assert_true(rig_is(c[i], t[i % 7].plain ? -1 : 0));
        assert_int_equal(c[i]->up_got, t[i % 7].request);
        assert_int_equal(c[i]->up_metadata, t[i % 7].metadata);
        assert_int_equal(c[i]->up_trailers, t[i % 7].request_trailers);
        assert_int_equal(c[i]->up_order, i);
    }
    assert_int_equal(waiting(r), 0);
    assert_int_equal(waited(r, STATS_WAIT_STARTED), 21);
    assert_int_equal(rig_in_use(r, "replay") + rig_in_use(r, "replay_small"), 0);
    assert_true(rig_is(run_one(r, &t[1]), 0));
    assert_true(rig_destroy(r));
}

/* Bounded by no_ready.max, its timeout, the deadline, the client's patience. */
static void test_queue_bounds(void **state)
{
    (void)state;
    struct rig *r = queueing(3, RIG_S);
    struct rig_call *c[5];
    for (int i = 0; i < 5; i++)
        c[i] = rig_start(rig_client(r, 0), &(struct rig_script){.request = 100, .timeout = i == 0 ? "200m" : NULL, .cancel_ns = i == 1 ? 300 * RIG_MS : 0});
    rig_run(r, 100 * RIG_MS);
    assert_int_equal(waiting(r), 3);
    assert_true(rig_is(c[3], 14) && rig_is(c[4], 14));
    assert_string_equal(c[3]->reason, "no_ready_endpoint");
    assert_true(rig_settle(r, 2 * RIG_S));
    assert_true(rig_is(c[0], 4));
    assert_string_equal(c[0]->reason, "deadline");
    assert_in_range(c[0]->ended_ns - c[0]->began_ns, 200 * RIG_MS, 204 * RIG_MS);
    assert_true(c[1]->cancelled);
    assert_true(rig_is(c[2], 14));
    assert_string_equal(c[2]->reason, "no_ready_endpoint");
    assert_in_range(c[2]->ended_ns - c[2]->began_ns, RIG_S, 1004 * RIG_MS);
    assert_int_equal(waited(r, STATS_WAIT_DEADLINE), 1);
    assert_int_equal(waited(r, STATS_WAIT_CANCELLED), 1);
    assert_int_equal(waited(r, STATS_WAIT_TIMEOUT), 1);
    assert_int_equal(waited(r, STATS_WAIT_REFUSED), 2);
    assert_int_equal(waiting(r), 0);
    assert_int_equal(rig_in_use(r, "rpc"), 0);
    /* The client's connection goes, and with it what it has here; a cluster that is taken away answers at once. */
    for (int i = 0; i < 3; i++)
        c[i] = rig_start(rig_client(r, 0), &(struct rig_script){.request = 100});
    rig_run(r, 20 * RIG_MS);
    rig_disconnect(rig_client(r, 0), false);
    rig_run(r, 20 * RIG_MS);
    assert_int_equal(waiting(r), 0);
    assert_int_equal(rig_in_use(r, "replay") + rig_in_use(r, "replay_small"), 0);
    rig_connect(rig_client(r, 0));
    c[0] = rig_start(rig_client(r, 0), &(struct rig_script){.request = 100});
    rig_run(r, 20 * RIG_MS);
    assert_int_equal(waiting(r), 1);
    r->world->s.cluster[0]->present = false;
    rig_touch(r);
    rig_run(r, 20 * RIG_MS);
    assert_true(rig_is(c[0], 14));
    assert_true(rig_destroy(r));
}

/* Nothing of it has left, and the gateway is out of what it takes to send or to keep it: REFUSED_STREAM, which any client may send again. */
static void test_waited_and_refused(void **state)
{
    (void)state;
    for (int what = 0; what < 2; what++) {
        struct rig_config config;
        rig_config_defaults(&config);
        if (what == 0)
            config.session_streams = 12; /* ten wait, two of them are sent on */
        else
            config.packets = 512; /* a quarter of them for what waits: four windows of 64 KiB need more */
        struct rig *r = rig_create(&config);
        struct snapshot_cluster *k = r->world->s.cluster[0];
        k->no_ready_queue = true;
        k->no_ready_max = 100;
        k->no_ready_timeout_ns = 5 * RIG_S;
        rig_touch(r);
        rig_connect(rig_client(r, 0));
        rig_run(r, 5 * RIG_MS);
        for (int i = 0; i < 10; i++)
            rig_start(rig_client(r, 0), &(struct rig_script){.request = what == 0 ? 100 : 65000, .response = 100, .delay_ns = 10 * RIG_MS});
        rig_run(r, 300 * RIG_MS);
        rig_add(r, 0, 0, 0, 1);
        assert_true(rig_settle(r, 10 * RIG_S));
        uint32_t fine = 0, refused = 0;
        for (int i = 0; i < 10; i++) {
            const struct rig_call *c = r->call[i];
            fine += c->grpc_status == 0;
            refused += c->reset && c->reset_code == HTTP2_REFUSED_STREAM && !c->up_seen;
        }
        assert_int_equal(fine + refused, 10);
        assert_true(fine > 0 && refused > 0);
        assert_in_range(stats_read(&rig_gateway(r)->stats->clusters[0].pick_failures[STATS_REASON_OVERLOAD]), 1, refused); /* the others never were an RPC */
        assert_true(rig_is(run_one(r, &(struct rig_script){.request = 100}), 0));
        assert_true(rig_destroy(r));
    }
}

/* -- streams that backends allow ----------------------------------------------------------------------- */

/* Backends that allow `streams` at once, on one connection; calls of no deadline. */
static struct rig *allowing(uint32_t backends, uint32_t streams, uint32_t max, uint64_t timeout_ns)
{
    struct rig_config c;
    rig_config_defaults(&c);
    c.backends = 2;
    struct rig *r = rig_create(&c);
    struct snapshot_cluster *k = r->world->s.cluster[0];
    k->max_connections_per_endpoint = 1;
    k->no_ready_max = max;
    k->no_ready_timeout_ns = timeout_ns;
    for (uint32_t i = 0; i < backends; i++) {
        rig_backend(r, i)->h2.max_concurrent_streams = streams;
        rig_add(r, 0, i, i, 1);
    }
    rig_connect(rig_client(r, 0));
    rig_run(r, 5 * RIG_MS);
    return r;
}

/* MAX_CONCURRENT_STREAMS = 0 wherever one looks: no_ready.timeout ends it, no_ready.max bounds it, both are counted. */
static void test_no_stream_anywhere(void **state)
{
    (void)state;
    struct rig *r = allowing(2, 0, 3, RIG_S);
    struct rig_call *c[6];
    for (int i = 0; i < 6; i++)
        c[i] = rig_start(rig_client(r, 0), &(struct rig_script){.request = i == 1 ? 30000 : 100, .cancel_ns = i == 2 ? 300 * RIG_MS : 0, .plain = i == 5});
    rig_run(r, 100 * RIG_MS);
    assert_int_equal(waiting(r), 3);
    assert_true(rig_is(c[3], 14) && rig_is(c[4], 14)); /* at once */
    assert_string_equal(c[3]->reason, "overload");
    assert_int_equal(c[5]->http_status, 503);
    assert_int_equal(waited(r, STATS_WAIT_REFUSED), 3);
    assert_true(rig_settle(r, 2 * RIG_S));
    for (int i = 0; i < 2; i++) {
        assert_true(rig_is(c[i], 14));
        assert_string_equal(c[i]->reason, "overload");
        assert_in_range(c[i]->ended_ns - c[i]->began_ns, RIG_S, 1004 * RIG_MS);
    }
    assert_true(c[2]->cancelled);
    rig_run(r, 10 * RIG_MS);
    assert_int_equal(waiting(r), 0);
    assert_int_equal(waited(r, STATS_WAIT_TIMEOUT), 2);
    assert_int_equal(waited(r, STATS_WAIT_CANCELLED), 1);
    assert_int_equal(waited(r, STATS_WAIT_STARTED), 0);
    assert_int_equal(stats_read(&rig_gateway(r)->stats->clusters[0].pick_failures[STATS_REASON_OVERLOAD]), 5);
    assert_int_equal(stats_read(&rig_gateway(r)->stats->clusters[0].own_answers[14]), 5);
    assert_int_equal(rig_in_use(r, "rpc") + rig_in_use(r, "replay") + rig_in_use(r, "replay_small"), 0);
    assert_int_equal(rig_backend(r, 0)->calls + rig_backend(r, 1)->calls, 0);
    /* Endpoints that go leave nothing behind: no endpoint is another answer than no stream. */
    for (uint32_t i = 0; i < 2; i++) {
        rig_listen(rig_backend(r, i), false);
        rig_kill(rig_backend(r, i), false);
    }
    rig_run(r, 20 * RIG_MS);
    c[0] = rig_start(rig_client(r, 0), &(struct rig_script){.request = 100});
    rig_run(r, 20 * RIG_MS);
    assert_true(rig_is(c[0], 14));
    assert_string_equal(c[0]->reason, "no_ready_endpoint");
    assert_true(rig_destroy(r));
}

/* One endpoint whose streams hang, however much it weighs: calls go to the other, and back when it has room again. */
static void test_stuck_beside_a_free_one(void **state)
{
    (void)state;
    for (int weighted = 0; weighted < 2; weighted++) {
        struct rig *r = allowing(1, 2, 1024, 5 * RIG_S);
        struct rig_call *stuck[2];
        for (int i = 0; i < 2; i++)
            stuck[i] = rig_start(rig_client(r, 0), &(struct rig_script){.delay_ns = 4 * RIG_S});
        rig_run(r, 50 * RIG_MS);
        rig_add(r, 0, 1, 1, 1);
        if (weighted) {
            r->world->s.cluster[0]->policy = SNAPSHOT_WEIGHTED_ROUND_ROBIN;
            world_endpoint(r->world, 0)->weight = 100;
        }
        rig_touch(r);
        rig_run(r, 50 * RIG_MS);
        for (int i = 0; i < 40; i++) {
            struct rig_call *c = rig_start(rig_client(r, 0), &(struct rig_script){.request = 100, .response = 100});
            rig_run(r, 20 * RIG_MS);
            assert_true(rig_is(c, 0));
        }
        assert_int_equal(rig_backend(r, 0)->calls, 2);
        assert_int_equal(rig_backend(r, 1)->calls, 40);
        assert_int_equal(waited(r, STATS_WAIT_STARTED), 0);
        rig_run(r, 5 * RIG_S);
        assert_true(rig_is(stuck[0], 0) && rig_is(stuck[1], 0));
        for (int i = 0; i < 40; i++)
            assert_true(rig_is(run_one(r, &(struct rig_script){.request = 100}), 0));
        assert_in_range(rig_backend(r, 0)->calls, weighted ? 2 + 38 : 2 + 19, 2 + (weighted ? 40 : 21));
        assert_true(rig_destroy(r));
    }
}

/* Those that wait go to whichever has room first, in the order in which they came; having waited costs them nothing later. */
static void test_first_free_stream(void **state)
{
    (void)state;
    struct rig *r = allowing(2, 1, 1024, RIG_S);
    struct rig_call *c[8];
    rig_run(r, 5 * RIG_MS);
    for (int i = 0; i < 8; i++)
        c[i] = rig_start(rig_client(r, 0), &(struct rig_script){.request = 100, .delay_ns = i == 0 ? 900 * RIG_MS : i == 7 ? 3 * RIG_S : 100 * RIG_MS});
    rig_run(r, 50 * RIG_MS);
    assert_int_equal(waiting(r), 6);
    assert_true(rig_settle(r, 10 * RIG_S));
    for (int i = 0; i < 8; i++) {
        assert_true(rig_is(c[i], 0));
        assert_int_equal(c[i]->up_order, i == 0 ? 0 : i - 1);
        assert_true(c[i]->backend == c[i == 0 ? 0 : 1]->backend);
    }
    assert_int_equal(waited(r, STATS_WAIT_STARTED), 6);
    assert_int_equal(waiting(r), 0);
    /* It waited for most of a second, then its backend went away without it: its patience is whole again. */
    rig_kill(rig_backend(r, 1), false);
    rig_listen(rig_backend(r, 1), false);
    rig_run(r, 20 * RIG_MS);
    struct rig_call *first = rig_start(rig_client(r, 0), &(struct rig_script){.request = 100, .delay_ns = 900 * RIG_MS});
    struct rig_call *next = rig_start(rig_client(r, 0), &(struct rig_script){.act = RIG_GOAWAY, .again = RIG_ANSWER, .request = 100, .delay_ns = 800 * RIG_MS});
    assert_true(rig_settle(r, 10 * RIG_S));
    assert_true(rig_is(first, 0) && rig_is(next, 0));
    assert_int_equal(next->up_times, 2);
    assert_true(rig_destroy(r));
}

/* A backend may lower the limit of one connection and not that of the next. */
static void test_connections_of_different_limits(void **state)
{
    (void)state;
    struct rig *r = allowing(1, 1, 1024, RIG_S);
    struct snapshot_cluster *k = r->world->s.cluster[0];
    k->max_connections_per_endpoint = 2;
    rig_touch(r);
    rig_run(r, 5 * RIG_MS);
    rig_backend(r, 0)->h2.max_concurrent_streams = 100; /* of the next one */
    struct rig_call *c[10];
    for (int i = 0; i < 10; i++)
        c[i] = rig_start(rig_client(r, 0), &(struct rig_script){.request = 100, .delay_ns = 3 * RIG_S});
    rig_run(r, 100 * RIG_MS);
    assert_int_equal(rig_backend(r, 0)->open, 10);
    assert_true(rig_settle(r, 5 * RIG_S));
    for (int i = 0; i < 10; i++)
        assert_true(rig_is(c[i], 0));
    assert_true(rig_destroy(r));
}

/* A connection that broke in this turn is not looked after before its end: calls of the turn go to the other endpoint. */
static void test_broken_in_this_turn(void **state)
{
    (void)state;
    uint32_t lost = 0;
    for (int steps = 0; steps < 12; steps++)
        for (uint32_t which = 0; which < 2; which++) {
            struct rig *r = made(2);
            struct rig_call *c[9];
            for (int i = 0; i < 9; i++)
                c[i] = rig_start(rig_client(r, 0), &(struct rig_script){.request = 100, .metadata = i == 8 ? 14000 : 0});
            for (int i = 0; i < steps; i++)
                rig_step(r, 200000);
            session_abandon(rig_up(r, which));
            rig_step(r, 200000);
            assert_true(rig_settle(r, 10 * RIG_S));
            for (int i = 0; i < 9; i++) {
                bool flew = c[i]->grpc_status == 14 && strcmp(c[i]->reason, "upstream_lost") == 0;
                assert_true(flew || rig_is(c[i], 0));
                lost += flew;
            }
            assert_true(rig_destroy(r));
        }
    assert_true(lost > 0); /* steps enough for some to be on their way */
}

/* What is passed on of a deadline is what is left of it. */
static void test_timeout_passed_on(void **state)
{
    (void)state;
    struct rig *r = queueing(3, 5 * RIG_S);
    struct rig_call *c = rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .timeout = "2S"});
    rig_run(r, 500 * RIG_MS);
    rig_add(r, 0, 0, 0, 1);
    rig_add(r, 2, 1, 1, 1);
    assert_true(rig_settle(r, RIG_S));
    assert_true(rig_is(c, 0));
    assert_in_range(c->up_timeout_ns, 1400 * RIG_MS, 1500 * RIG_MS);
    c = run_one(r, &(struct rig_script){.request = 10, .timeout = "2S"});
    assert_int_equal(c->up_timeout_ns, 2 * RIG_S); /* as it came */
    c = run_one(r, &(struct rig_script){.request = 10, .path = "/cap.Cap/Call", .timeout = "2S"});
    assert_int_equal(c->up_timeout_ns, 50 * RIG_MS); /* the route's cap */
    c = run_one(r, &(struct rig_script){.request = 10, .path = "/cap.Cap/Call"});
    assert_int_equal(c->up_timeout_ns, 50 * RIG_MS);
    c = run_one(r, &(struct rig_script){.request = 10, .path = "/cap.Cap/Call", .timeout = "7m"});
    assert_int_equal(c->up_timeout_ns, 7 * RIG_MS);
    c = run_one(r, &(struct rig_script){.request = 10});
    assert_int_equal(c->up_timeout_ns, 0);
    assert_true(rig_destroy(r));
}

/* -- every way in which the backend can end it ----------------------------------------------------- */

static void test_trailers_only(void **state)
{
    (void)state;
    struct rig *r;
    struct rig_call *c = one(&(struct rig_script){.act = RIG_TRAILERS_ONLY, .grpc_status = 5, .request = 70}, &r);
    assert_true(rig_is(c, 5));
    assert_false(c->trailers);
    assert_string_equal(c->reason, "");
    assert_int_equal(stats_read(&rig_gateway(r)->stats->slots[0].rpcs[5]), 1);
    assert_true(rig_destroy(r));
}

/* PROTOCOL-HTTP2, "Errors", all fourteen. */
static const int grpc_of_reset[14] = {13, 13, 13, 13, 13, 13, 13, 14, 1, 13, 13, 8, 7, 13};

static void test_reset_before_headers(void **state)
{
    (void)state;
    struct rig *r = made(1);
    for (unsigned i = 0; i < 14; i++)
        for (int early = 0; early < 2; early++)
            own_answer(r, &(struct rig_script){.act = RIG_RESET, .again = RIG_RESET, .early = early, .code = (enum http2_error)i, .request = 100}, grpc_of_reset[i], 502, "upstream_reset");
    assert_true(rig_destroy(r));
}

static void test_reset_after_headers(void **state)
{
    (void)state;
    struct rig *r;
    struct rig_call *c = one(&(struct rig_script){.act = RIG_RESET, .code = HTTP2_INTERNAL_ERROR, .headers_first = true, .partial = 20000, .request = 100, .delay_ns = 20 * RIG_MS}, &r);
    assert_true(rig_is(c, 13));
    assert_true(c->headers && c->trailers);
    assert_int_equal(c->got, 20000);
    c = run_one(r, &(struct rig_script){.act = RIG_RESET, .plain = true, .code = HTTP2_INTERNAL_ERROR, .headers_first = true, .partial = 20000, .request = 100, .delay_ns = 20 * RIG_MS});
    assert_true(c->reset && c->reset_code == HTTP2_INTERNAL_ERROR);
    for (unsigned i = 0; i < 14; i++) {
        struct rig_script s = {.act = RIG_RESET, .code = (enum http2_error)i, .headers_first = true, .partial = 2000, .request = 100, .delay_ns = 5 * RIG_MS};
        c = run_one(r, &s);
        assert_true(rig_is(c, grpc_of_reset[i]) && c->headers && c->trailers && c->got == 2000);
        s.plain = true;
        c = run_one(r, &s);
        assert_true(c->reset && c->reset_code == i); /* passed through */
    }
    assert_true(rig_destroy(r));
}

static void test_lost_before_headers(void **state)
{
    (void)state;
    for (int act = RIG_CLOSE; act <= RIG_ABORT; act++) {
        struct rig *r;
        struct rig_call *c = one(&(struct rig_script){.act = (enum rig_act)act, .request = 100}, &r);
        assert_true(rig_is(c, 14));
        assert_string_equal(c->reason, "upstream_lost");
        rig_run(r, 3 * RIG_S);
        c = run_one(r, &(struct rig_script){.act = (enum rig_act)act, .plain = true, .request = 100});
        assert_int_equal(c->http_status, 502);
        assert_true(rig_destroy(r));
    }
}

static void test_lost_after_headers(void **state)
{
    (void)state;
    for (int act = RIG_CLOSE; act <= RIG_ABORT; act++) {
        struct rig *r;
        struct rig_call *c = one(&(struct rig_script){.act = (enum rig_act)act, .request = 100, .headers_first = true, .partial = 100, .delay_ns = 20 * RIG_MS}, &r);
        assert_true(rig_is(c, 14));
        assert_true(c->headers && c->trailers);
        assert_int_equal(c->got, 100);
        assert_string_equal(c->reason, "upstream_lost");
        assert_true(rig_destroy(r));
    }
}

static void test_goaway(void **state)
{
    (void)state;
    struct rig *r = made(1);
    struct rig_call *old = rig_start(rig_client(r, 0), &(struct rig_script){.request = 100, .response = 100, .delay_ns = 400 * RIG_MS});
    rig_run(r, 200 * RIG_MS);
    struct rig_call *c = rig_start(rig_client(r, 0), &(struct rig_script){.act = RIG_GOAWAY, .request = 100, .early = true});
    struct rig_call *d = rig_start(rig_client(r, 0), &(struct rig_script){.act = RIG_ANSWER, .request = 100});
    rig_run(r, 5 * RIG_MS);
    assert_true(rig_settle(r, 3 * RIG_S));
    assert_true(rig_is(c, 0) && rig_is(d, 0)); /* not looked at: on the next connection */
    assert_int_equal(c->up_times, 2);
    assert_true(rig_is(old, 0)); /* at or below last_id: it finishes */
    rig_run(r, 2 * RIG_S);
    assert_true(rig_is(run_one(r, &(struct rig_script){.request = 100}), 0)); /* on a connection of its own */
    assert_int_equal(rig_backend(r, 0)->accepted, 2);
    assert_int_equal(rig_in_use(r, "session"), 2);
    assert_true(rig_destroy(r));
}

static uint64_t retries(struct rig *r, enum stats_retry kind)
{
    return stats_read(&rig_gateway(r)->stats->clusters[0].retries[kind]);
}

/* REFUSED_STREAM: at another endpoint, once, with every byte; a request larger than is kept is answered. */
static void test_refused_goes_elsewhere(void **state)
{
    (void)state;
    static const struct rig_script t[] = {
        {.request = 0}, {.request = 100}, {.request = 440}, {.request = 441}, {.request = 3000, .metadata = 5000}, {.request = 16000}, {.act = RIG_ECHO, .request = 9000},
        {.request = 500, .request_trailers = true}, {.request_trailers = true}, {.request = 700, .plain = true}, {.request = 500, .timeout = "3S"},
    };
    struct rig *r = made(2);
    for (unsigned i = 0; i < 2 * sizeof(t) / sizeof(t[0]); i++) {
        struct rig_script s = t[i / 2];
        s.again = s.act;
        s.act = RIG_RESET;
        s.early = i % 2;
        s.code = HTTP2_REFUSED_STREAM;
        s.response = 100;
        struct rig_call *c = run_one(r, &s);
        assert_true(rig_is(c, s.plain ? -1 : 0));
        assert_int_equal(c->up_times, 2);
        assert_int_equal(c->up_previous, -1);
        assert_int_equal(c->up_got, s.request);
        assert_int_equal(c->up_trailers, s.request_trailers);
        assert_int_equal(retries(r, STATS_RETRY_REFUSED), i + 1);
    }
    assert_true(rig_backend(r, 0)->calls >= 20 && rig_backend(r, 1)->calls >= 20); /* never twice at the same */
    struct rig_call *c = run_one(r, &(struct rig_script){.act = RIG_RESET, .code = HTTP2_REFUSED_STREAM, .request = 20000});
    assert_true(rig_is(c, 14));
    assert_int_equal(c->up_times, 1);
    c = run_one(r, &(struct rig_script){.act = RIG_RESET, .again = RIG_RESET, .code = HTTP2_REFUSED_STREAM, .request = 200});
    assert_true(rig_is(c, 14));
    assert_int_equal(c->up_times, 2);
    /* It has been looked at: never. */
    c = run_one(r, &(struct rig_script){.act = RIG_RESET, .code = HTTP2_REFUSED_STREAM, .request = 200, .headers_first = true, .partial = 10, .delay_ns = 5 * RIG_MS});
    assert_true(rig_is(c, 14));
    assert_int_equal(c->up_times, 1);
    assert_int_equal(rig_in_use(r, "replay") + rig_in_use(r, "replay_small"), 0);
    assert_true(rig_destroy(r));
}

/* "Elsewhere" is where it has not been, however much those weigh where it has; and the same one again where there is no other. */
static void test_elsewhere_by_weight(void **state)
{
    (void)state;
    struct snapshot_method m = {.match = SNAPSHOT_ANY, .retry = {.attempts = 4, .codes = 1u << 14, .initial_ns = RIG_MS, .max_ns = RIG_MS, .factor_x1024 = 1024}};
    for (uint32_t n = 1; n <= 3; n++) {
        struct rig *r = made(n);
        struct snapshot_cluster *k = r->world->s.cluster[0];
        k->policy = SNAPSHOT_WEIGHTED_ROUND_ROBIN;
        for (uint32_t i = 0; i < n; i++)
            world_endpoint(r->world, i)->weight = i == 0 ? 10000 : 1;
        rig_touch(r);
        for (uint32_t i = 1; i <= 30; i++) {
            struct rig_call *c = run_one(r, &(struct rig_script){.act = RIG_RESET, .code = HTTP2_REFUSED_STREAM, .again = RIG_ANSWER, .request = 100});
            assert_true(rig_is(c, 0));
            assert_int_equal(c->up_times, 2);
            if (n == 2)
                assert_true(rig_backend(r, 0)->calls == i && rig_backend(r, 1)->calls == i);
        }
        uint32_t before[3];
        for (uint32_t i = 0; i < n; i++)
            before[i] = rig_backend(r, i)->calls;
        k->methods = &m;
        k->method_count = 1;
        rig_touch(r);
        for (uint32_t i = 1; i <= 30; i++) {
            struct rig_call *c = run_one(r, &(struct rig_script){.act = RIG_TRAILERS_ONLY, .again = RIG_TRAILERS_ONLY, .third = RIG_ANSWER, .grpc_status = 14, .status_again = 14,
                                                                .request = 100, .may_run_again = true});
            assert_int_equal(c->up_times, 3);
            for (uint32_t e = 0; e < n && n == 3; e++)
                assert_int_equal(rig_backend(r, e)->calls - before[e], i);
        }
        assert_true(rig_destroy(r));
    }
}

/* Once its answer has begun a request is kept no longer: it may have been looked at. */
static void test_begun_is_not_kept(void **state)
{
    (void)state;
    struct rig *r = made(1);
    rig_run(r, 5 * RIG_MS);
    struct rig_call *c = rig_start(rig_client(r, 0), &(struct rig_script){.act = RIG_HANG, .headers_first = true, .partial = 10, .request = 100, .response = 100, .cancel_ns = 50 * RIG_MS});
    rig_run(r, 20 * RIG_MS);
    assert_true(c->headers);
    assert_int_equal(rig_in_use(r, "replay"), 0);
    assert_true(rig_settle(r, RIG_S));
    assert_true(rig_destroy(r));
}

/* Every unit of grpc-timeout, at the gateway's own clock. */
static void test_timeout_units(void **state)
{
    (void)state;
    static const char *const timeouts[] = {"20000000n", "20000u", "20m", "1S", "1M", "1H"};
    struct rig *r = made(1);
    struct rig_call *c[6];
    rig_run(r, 5 * RIG_MS);
    for (int i = 0; i < 6; i++)
        c[i] = rig_start(rig_client(r, 0), &(struct rig_script){.act = RIG_HANG, .request = 10, .timeout = timeouts[i], .cancel_ns = 7200 * RIG_S});
    rig_run(r, 10 * RIG_MS);
    for (int i = 0; i < 6; i++)
        assert_int_equal(c[i]->ends, 0);
    rig_run(r, 30 * RIG_MS);
    for (int i = 0; i < 6; i++)
        assert_int_equal(c[i]->ends, i < 3);
    r->stride = 100 * RIG_MS;
    rig_run(r, 2 * RIG_S);
    assert_int_equal(c[3]->ends, 1);
    assert_int_equal(c[4]->ends, 0);
    rig_run(r, 60 * RIG_S);
    assert_int_equal(c[4]->ends, 1);
    assert_int_equal(c[5]->ends, 0);
    for (int i = 0; i < 5; i++)
        assert_true(rig_is(c[i], 4));
    rig_cancel(c[5]);
    assert_true(rig_destroy(r));
}

/* The client's window is credited for what left once, and not again. */
static void test_refused_in_the_middle(void **state)
{
    (void)state;
    struct rig *r = made(2);
    for (uint32_t i = 0; i < 2; i++)
        rig_backend(r, i)->h2.initial_window = 5000;
    rig_kill(rig_backend(r, 0), true);
    rig_kill(rig_backend(r, 1), true);
    rig_run(r, 3 * RIG_S);
    struct rig_call *c[8];
    for (int i = 0; i < 8; i++)
        c[i] = rig_start(rig_client(r, 0), &(struct rig_script){.act = RIG_RESET, .again = RIG_ECHO, .early = true, .no_credit = false, .code = HTTP2_REFUSED_STREAM,
                                                                .request = i % 2 ? 200000 : 14000, .delay_ns = 3 * RIG_MS});
    assert_true(rig_settle(r, 20 * RIG_S));
    for (int i = 0; i < 8; i++) {
        assert_true(rig_is(c[i], i % 2 ? 14 : 0));
        if (i % 2 == 0)
            assert_int_equal(c[i]->up_got, 14000);
    }
    assert_true(rig_destroy(r));
}

/* A connection that breaks or says GOAWAY before a request was sent on it: elsewhere. What was sent fails where the connection breaks. */
static void test_unsent_goes_elsewhere(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct rig *r = made(2);
        for (uint32_t i = 0; i < 2; i++)
            rig_backend(r, i)->deaf = true; /* so that its window and our send buffer fill */
        struct rig_call *big[2], *c[10];
        for (int i = 0; i < 2; i++)
            big[i] = rig_start(rig_client(r, 0), &(struct rig_script){.request = 400000, .response = 10});
        rig_run(r, 100 * RIG_MS);
        for (int i = 0; i < 10; i++)
            c[i] = rig_start(rig_client(r, 0), &(struct rig_script){.request = 300, .response = 10, .metadata = 12000});
        rig_run(r, 20 * RIG_MS);
        rig_backend(r, 1)->deaf = false;
        if (how == 0)
            rig_kill(rig_backend(r, 0), false);
        rig_backend(r, 0)->deaf = false;
        if (how == 1)
            rig_goaway(rig_backend(r, 0));
        assert_true(rig_settle(r, 10 * RIG_S));
        for (int i = 0; i < 10; i++)
            assert_true(c[i]->grpc_status == 0 || (how == 0 && c[i]->grpc_status == 14 && strcmp(c[i]->reason, "upstream_lost") == 0));
        for (int i = 0; i < 2; i++)
            assert_true(rig_is(big[i], how < 2 && big[i]->grpc_status != 0 ? 14 : 0)); /* larger than what is kept */
        assert_true(rig_destroy(r));
    }
}

/* Every backend says GOAWAY again and again, with and without the stream in hand: no call fails. */
static void test_goaway_storm(void **state)
{
    (void)state;
    struct rig *r = made(3);
    uint32_t n = 0;
    for (int round = 0; round < 60; round++) {
        for (int i = 0; i < 5; i++, n++)
            rig_start(rig_client(r, 0), &(struct rig_script){.act = n % 7 == 0 ? RIG_GOAWAY : n % 11 == 0 ? RIG_GOAWAY_ANSWER : RIG_ANSWER, .again = RIG_ANSWER, .early = n % 2,
                                                             .request = n * 37 % 3000, .response = 50, .delay_ns = n % 3 * RIG_MS});
        rig_run(r, 50 * RIG_MS + RIG_S);
        if (round % 3 == 0)
            rig_goaway(rig_backend(r, (uint32_t)round / 3 % 3));
    }
    assert_true(rig_settle(r, 10 * RIG_S));
    for (uint32_t i = 0; i < n; i++)
        assert_true(rig_is(r->call[i], 0));
    assert_true(retries(r, STATS_RETRY_GOAWAY) >= n / 8);
    assert_true(rig_destroy(r));
}

/* -- retryPolicy, retryThrottling (gRFC A6) ----------------------------------------------------------- */

static struct snapshot_method policy_of(uint32_t attempts, uint32_t codes, uint64_t initial_ns)
{
    return (struct snapshot_method){.match = SNAPSHOT_PREFIX, .path = "/echo.Echo/", .path_len = 11,
                                    .retry = {.attempts = attempts, .codes = codes, .initial_ns = initial_ns, .max_ns = 4 * initial_ns, .factor_x1024 = 2048}};
}

static struct rig *with_policy(uint32_t backends, struct snapshot_method *m)
{
    struct rig *r = made(backends);
    struct snapshot_cluster *k = r->world->s.cluster[0];
    k->methods = m;
    k->method_count = 1;
    rig_touch(r);
    rig_run(r, 5 * RIG_MS);
    return r;
}

#define UNAVAILABLE (1u << 14)

/* By status, by reset, by a lost connection; with every byte, another endpoint, the number of attempts told, the pauses as they should be. */
static void test_policy(void **state)
{
    (void)state;
    struct snapshot_method m = policy_of(3, UNAVAILABLE, 100 * RIG_MS);
    struct rig *r = with_policy(3, &m);
    static const struct rig_script t[] = {
        {.act = RIG_TRAILERS_ONLY, .grpc_status = 14, .request = 100},
        {.act = RIG_TRAILERS_ONLY, .grpc_status = 14, .request = 60000, .metadata = 5000, .timeout = "5S"},
        {.act = RIG_TRAILERS_ONLY, .grpc_status = 14, .request = 3000, .early = true},
        {.act = RIG_ABORT, .request = 100},
        {.act = RIG_CLOSE, .request = 40000},
        {.act = RIG_RESET, .code = HTTP2_REFUSED_STREAM, .request = 100, .again = RIG_RESET},
        {.act = RIG_TRAILERS_ONLY, .http_status = "503", .request = 100},
        {.act = RIG_DATA_END, .http_status = "502", .request = 20000, .response = 50},
        {.act = RIG_DATA_END, .http_status = "429", .informational = 2, .request = 100, .early = true},
    };
    for (unsigned i = 0; i < 9; i++) {
        struct rig_script s = t[i];
        s.may_run_again = true;
        s.status_again = 0;
        s.response = 50;
        s.third = RIG_ANSWER;
        struct rig_call *c = run_one(r, &s);
        assert_true(rig_is(c, 0));
        assert_int_equal(c->up_got, s.request);
        assert_int_equal(c->got, 50);
        bool refused = s.act == RIG_RESET; /* once for nothing, then by the policy */
        assert_int_equal(c->up_times, refused ? 3 : 2);
        assert_int_equal(c->up_previous, 1);
        assert_in_range(c->ended_ns - c->began_ns, 80 * RIG_MS, 135 * RIG_MS);
        if (s.timeout != NULL)
            assert_in_range(c->up_timeout_ns, 4860 * RIG_MS, 4925 * RIG_MS);
        rig_run(r, 1500 * RIG_MS);
    }
    assert_int_equal(retries(r, STATS_RETRY_POLICY), 9);
    assert_int_equal(retries(r, STATS_RETRY_REFUSED), 1);
    assert_true(rig_destroy(r));
}

/* Not where the status is another, response headers have come, attempts are used up, the backend says no, or the request is too large. */
static void test_policy_ends(void **state)
{
    (void)state;
    struct snapshot_method m = policy_of(3, UNAVAILABLE, 20 * RIG_MS);
    struct rig *r = with_policy(2, &m);
    const struct rig_script base = {.act = RIG_TRAILERS_ONLY, .grpc_status = 14, .status_again = 14, .again = RIG_TRAILERS_ONLY, .third = RIG_TRAILERS_ONLY, .request = 100, .may_run_again = true};
    struct rig_script s = base;
    struct rig_call *c = run_one(r, &s);
    assert_true(rig_is(c, 14));
    assert_int_equal(c->up_times, 3);
    assert_int_equal(c->up_previous, 2);
    assert_in_range(c->ended_ns - c->began_ns, 48 * RIG_MS, 82 * RIG_MS); /* 20 and 40, each times 0.8 to 1.2 */
    s.grpc_status = 13;
    c = run_one(r, &s);
    assert_true(rig_is(c, 13) && c->up_times == 1);
    s = base;
    s.http_status = "404";
    c = run_one(r, &s);
    assert_true(rig_is(c, -1) && c->up_times == 1);
    s = base;
    s.act = RIG_RESET;
    s.code = HTTP2_INTERNAL_ERROR;
    c = run_one(r, &s);
    assert_true(rig_is(c, 13) && c->up_times == 1);
    s = base;
    s.act = RIG_ANSWER; /* with response headers */
    s.response = 10;
    c = run_one(r, &s);
    assert_true(rig_is(c, 14) && c->up_times == 1);
    s = base;
    s.request = 70000;
    c = run_one(r, &s);
    assert_true(rig_is(c, 14) && c->up_times == 1);
    s = base;
    s.pushback = "-1";
    c = run_one(r, &s);
    assert_true(rig_is(c, 14) && c->up_times == 1);
    s.pushback = "soon";
    c = run_one(r, &s);
    assert_true(rig_is(c, 14) && c->up_times == 1);
    s.pushback = "300";
    s.again = RIG_ANSWER;
    s.status_again = 0;
    c = run_one(r, &s);
    assert_true(rig_is(c, 0) && c->up_times == 2);
    assert_in_range(c->ended_ns - c->began_ns, 300 * RIG_MS, 310 * RIG_MS);
    /* The deadline and the client end a back-off. */
    s.timeout = "100m";
    c = run_one(r, &s);
    assert_true(rig_is(c, 4));
    s.timeout = NULL;
    s.cancel_ns = 100 * RIG_MS;
    c = run_one(r, &s);
    assert_true(c->cancelled);
    rig_run(r, 10 * RIG_MS);
    assert_int_equal(rig_in_use(r, "replay") + rig_in_use(r, "replay_small"), 0);
    assert_int_equal(rig_in_use(r, "rpc"), 0);
    /* Another method has no policy. */
    m.match = SNAPSHOT_EXACT;
    m.path = "/echo.Echo/Other";
    m.path_len = 16;
    s = base;
    c = run_one(r, &s);
    assert_true(rig_is(c, 14) && c->up_times == 1);
    assert_true(rig_destroy(r));
}

/* Fails for half of the tokens, then no more retries until calls have succeeded. */
static void test_throttle(void **state)
{
    (void)state;
    struct snapshot_method m = policy_of(2, UNAVAILABLE, RIG_MS);
    struct rig *r = with_policy(2, &m);
    r->world->s.cluster[0]->throttle_max = 10000;
    r->world->s.cluster[0]->throttle_ratio = 500;
    rig_touch(r);
    const struct rig_script bad = {.act = RIG_TRAILERS_ONLY, .grpc_status = 14, .status_again = 14, .again = RIG_TRAILERS_ONLY, .request = 10, .may_run_again = true};
    uint32_t times = 0;
    for (int i = 0; i < 10; i++)
        times += run_one(r, &bad)->up_times;
    /* 10 tokens: each call takes two, until 5 are left: two calls retried, the third's first failure leaves 5. */
    assert_int_equal(times, 12);
    assert_int_equal(retries(r, STATS_RETRY_POLICY), 2);
    assert_int_equal(retries(r, STATS_RETRY_THROTTLED), 8);
    for (int i = 0; i < 13; i++)
        assert_true(rig_is(run_one(r, &(struct rig_script){.request = 10, .response = 10}), 0));
    assert_int_equal(run_one(r, &bad)->up_times, 2); /* 0 + 13 halves = 6.5; the failure leaves 5.5 */
    assert_int_equal(run_one(r, &bad)->up_times, 1);
    assert_true(rig_destroy(r));
}

static uint64_t fail_at_once(struct rig *r, uint32_t calls)
{
    uint64_t before = retries(r, STATS_RETRY_POLICY);
    for (uint32_t i = 0; i < calls; i++)
        rig_start(rig_client(r, 0), &(struct rig_script){.act = RIG_TRAILERS_ONLY, .grpc_status = 14, .again = RIG_ANSWER, .request = 10, .may_run_again = true});
    assert_true(rig_settle(r, 10 * RIG_S));
    return retries(r, STATS_RETRY_POLICY) - before;
}

/* What a busy cluster has in flight when a backend dies is more than a quiet one's; what was saved up for it is gone then. */
static void test_retry_budget_grows(void **state)
{
    (void)state;
    struct snapshot_method m = policy_of(2, UNAVAILABLE, RIG_MS);
    struct rig *r = with_policy(2, &m);
    for (int i = 0; i < 20; i++) {
        for (uint32_t k = 0; k < 100; k++)
            rig_start(rig_client(r, 0), &(struct rig_script){.act = RIG_ANSWER, .request = 10, .response = 10});
        assert_true(rig_settle(r, 10 * RIG_S));
    }
    assert_int_equal(fail_at_once(r, 400), 400);   /* of 100 and a fifth of 2,000, and a fifth of its own */
    assert_in_range(fail_at_once(r, 400), 200, 300);
    assert_in_range(fail_at_once(r, 400), 80, 130); /* a fifth, and ten a second */
    assert_true(rig_destroy(r));
}

/* A fifth of the calls, and ten a second, and what ten seconds have saved: the rest fails as it did before. */
static void test_retry_budget(void **state)
{
    (void)state;
    struct snapshot_method m = policy_of(2, UNAVAILABLE, RIG_MS);
    struct rig *r = with_policy(2, &m);
    for (int i = 0; i < 500; i++)
        rig_start(rig_client(r, 0), &(struct rig_script){.act = RIG_TRAILERS_ONLY, .grpc_status = 14, .again = RIG_ANSWER, .request = 10, .may_run_again = true});
    assert_true(rig_settle(r, 10 * RIG_S));
    uint64_t made_it = retries(r, STATS_RETRY_POLICY);
    assert_in_range(made_it, 200, 230);
    assert_int_equal(retries(r, STATS_RETRY_BUDGET), 500 - made_it);
    assert_true(rig_destroy(r));
}

/* kill -9 of one endpoint after the other, an idempotent method with a policy: no call fails. */
static void test_policy_survives_kills(void **state)
{
    (void)state;
    struct snapshot_method m = policy_of(5, UNAVAILABLE, 200 * RIG_MS);
    m.retry.max_ns = 2 * RIG_S;
    struct rig *r = with_policy(3, &m);
    uint32_t n = 0;
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < 4; i++, n++)
            rig_start(rig_client(r, 0), &(struct rig_script){.again = RIG_ANSWER, .third = RIG_ANSWER, .request = n * 91 % 9000, .response = 50, .delay_ns = n % 5 * RIG_MS, .may_run_again = true});
        rig_run(r, n % 6 * RIG_MS);
        rig_kill(rig_backend(r, (uint32_t)round % 3), false);
        rig_run(r, 600 * RIG_MS);
    }
    assert_true(rig_settle(r, 20 * RIG_S));
    for (uint32_t i = 0; i < n; i++)
        assert_true(r->call[i]->headers && r->call[i]->got > 0 ? r->call[i]->ends == 1 : rig_is(r->call[i], 0));
    assert_true(retries(r, STATS_RETRY_POLICY) > 5);
    assert_true(rig_destroy(r));
}

static void test_early_answer(void **state)
{
    (void)state;
    struct rig *r = made(1);
    struct rig_call *c = run_one(r, &(struct rig_script){.act = RIG_ANSWER, .early = true, .request = 1 << 20, .response = 100});
    assert_true(rig_is(c, 0));
    c = run_one(r, &(struct rig_script){.act = RIG_ANSWER, .early = true, .request = 1 << 20, .response = 100, .no_credit = true});
    assert_true(rig_is(c, 0));
    c = run_one(r, &(struct rig_script){.act = RIG_TRAILERS_ONLY, .early = true, .request = 100, .never_ends = true});
    assert_true(rig_is(c, 0));
    c = run_one(r, &(struct rig_script){.act = RIG_ANSWER, .early = true, .request = 1 << 20, .response = 100, .no_credit = true, .lingers = true, .delay_ns = 20 * RIG_MS});
    assert_true(rig_is(c, 0));
    rig_run(r, 100 * RIG_MS);
    assert_int_equal(rig_in_use(r, "session_stream"), 0); /* nothing waits for a window that nobody gives */
    assert_int_equal(rig_in_use(r, "http2_streams"), 0);
    assert_true(rig_destroy(r));
}

static void test_end_without_trailers(void **state)
{
    (void)state;
    struct rig *r;
    struct rig_call *c = one(&(struct rig_script){.act = RIG_DATA_END, .plain = true, .request = 10, .response = 70000}, &r);
    assert_int_equal(c->ends, 1);
    assert_false(c->reset || c->bad_bytes);
    assert_int_equal(c->got, 70000);
    assert_int_equal(stats_read(&rig_gateway(r)->stats->slots[0].rpcs[0]), 1);
    c = run_one(r, &(struct rig_script){.act = RIG_DATA_END, .request = 10, .response = 10});
    assert_true(rig_is(c, -1)); /* passed on as it is; gRPC calls it UNKNOWN, and so do we */
    assert_int_equal(stats_read(&rig_gateway(r)->stats->slots[0].rpcs[2]), 1);
    assert_true(rig_destroy(r));
}

/* A page of something that is no gRPC server: passed on as it is, and counted as what the client makes of it. */
static void test_http_status(void **state)
{
    (void)state;
    static const struct { const char *http; int grpc; } t[] = {{"400", 13}, {"401", 16}, {"403", 7}, {"404", 12}, {"429", 14}, {"502", 14}, {"503", 14}, {"504", 14}, {"500", 2}, {"204", 2}};
    struct rig *r = made(1);
    uint32_t have[STATS_GRPC_CODES] = {0};
    for (unsigned i = 0; i < 3 * sizeof(t) / sizeof(t[0]); i++) {
        unsigned k = i / 3;
        struct rig_script s = {.act = i % 3 == 0 ? RIG_TRAILERS_ONLY : i % 3 == 1 ? RIG_DATA_END : RIG_ANSWER, .http_status = t[k].http, .request = 10, .response = 100};
        struct rig_call *c = run_one(r, &s);
        assert_true(rig_is(c, -1));
        assert_int_equal(c->http_status, atoi(t[k].http));
        assert_int_equal(c->got, i % 3 == 0 ? 0 : 100);
        have[t[k].grpc]++;
        assert_int_equal(stats_read(&rig_gateway(r)->stats->slots[0].rpcs[t[k].grpc]), have[t[k].grpc]);
    }
    assert_true(rig_destroy(r));
}

/* gRPC-Web has its status in the body: our own answers are gRPC's before response headers, and behind them a body that was cut short does not look whole. */
static void test_web(void **state)
{
    (void)state;
    struct rig *r = made(1);
    struct rig_call *c = run_one(r, &(struct rig_script){.act = RIG_DATA_END, .web = true, .request = 10, .response = 5000});
    assert_true(rig_is(c, -1) && c->got == 5000 && !c->trailers);
    assert_int_equal(stats_read(&rig_gateway(r)->stats->slots[0].rpcs[0]), 1);
    c = run_one(r, &(struct rig_script){.act = RIG_RESET, .web = true, .code = HTTP2_CANCEL, .request = 10, .delay_ns = RIG_MS});
    assert_true(rig_is(c, 1) && c->http_status == 200);
    c = run_one(r, &(struct rig_script){.act = RIG_RESET, .web = true, .code = HTTP2_INTERNAL_ERROR, .headers_first = true, .partial = 2000, .request = 10, .delay_ns = RIG_MS});
    assert_true(c->reset && c->reset_code == HTTP2_INTERNAL_ERROR && c->got == 2000);
    c = run_one(r, &(struct rig_script){.act = RIG_ABORT, .web = true, .headers_first = true, .partial = 2000, .request = 10, .delay_ns = 5 * RIG_MS});
    assert_true(c->reset && c->reset_code == HTTP2_INTERNAL_ERROR);
    assert_true(rig_destroy(r));
}

static void test_content_type(void **state)
{
    (void)state;
    static const struct { const char *text; bool grpc; } t[] = {
        {"application/grpc", true}, {"application/grpc+proto", true}, {"application/grpc;charset=utf-8", true}, {"application/grpc-web", true},
        {"application/grpc-web+proto", true}, {"application/grp", false}, {"text/html", false}, {"", false}};
    for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        struct base_headers h = {0};
        base_headers_add(&h, BASE_HEADER_CONTENT_TYPE, t[i].text, strlen(t[i].text));
        assert_int_equal(grpc_is_content_type(base_headers_find(&h, BASE_HEADER_CONTENT_TYPE)), t[i].grpc);
        assert_int_equal(grpc_is_web(base_headers_find(&h, BASE_HEADER_CONTENT_TYPE)), strstr(t[i].text, "-web") != NULL);
    }
    assert_false(grpc_is_content_type(NULL));
}

static void test_informational(void **state)
{
    (void)state;
    struct rig *r;
    struct rig_call *c = one(&(struct rig_script){.informational = 3, .request = 10, .response = 10}, &r);
    assert_true(rig_is(c, 0));
    assert_int_equal(c->informational, 3);
    assert_true(rig_destroy(r));
}

static void test_request_trailers(void **state)
{
    (void)state;
    struct rig *r;
    struct rig_call *c = one(&(struct rig_script){.request = 100000, .request_trailers = true, .response = 10}, &r);
    assert_true(rig_is(c, 0));
    assert_true(c->up_trailers && c->up_got == 100000);
    c = run_one(r, &(struct rig_script){.request_trailers = true});
    assert_true(rig_is(c, 0));
    assert_true(c->up_trailers);
    assert_true(rig_destroy(r));
}

/* Trailers of which http2 kept a part are not passed on, wherever the call is. */
static void test_request_trailers_too_large(void **state)
{
    (void)state;
    for (uint32_t bytes = 16200; bytes <= 30000; bytes += 13800) {
        struct rig *r = made(1);
        struct rig_script s = {.request = 100, .request_trailers = true, .trailer_metadata = bytes, .response = 10};
        own_answer(r, &s, 8, 431, "headers_too_large");
        rig_run(r, 5 * RIG_MS);
        for (int i = 0; i < 2; i++) {
            assert_true(r->call[i]->up_reset && !r->call[i]->up_trailers && !r->call[i]->up_end);
            assert_int_equal(r->call[i]->up_reset_code, HTTP2_CANCEL);
        }
        s.act = RIG_ECHO; /* behind the response's headers */
        s.request = 200000;
        struct rig_call *c = run_one(r, &s);
        assert_true(rig_is(c, 8));
        assert_true(c->headers && c->trailers && !c->up_trailers);
        s.trailer_metadata = 12000;
        c = run_one(r, &s);
        assert_true(rig_is(c, 0) && c->up_trailers);
        assert_true(rig_destroy(r));
        r = queueing(10, RIG_S); /* nobody there yet */
        s = (struct rig_script){.request = 100, .request_trailers = true, .trailer_metadata = bytes};
        c = run_one(r, &s);
        assert_true(rig_is(c, 8));
        assert_int_equal(waiting(r), 0);
        assert_int_equal(rig_in_use(r, "rpc") + rig_in_use(r, "replay") + rig_in_use(r, "replay_small"), 0);
        assert_true(rig_destroy(r));
    }
}

static void test_response_headers_too_large(void **state)
{
    (void)state;
    struct rig *r;
    struct rig_call *c = one(&(struct rig_script){.response_metadata = 20000, .request = 10, .response = 10}, &r);
    assert_true(rig_is(c, 8));
    rig_run(r, 5 * RIG_MS);
    assert_int_equal(rig_in_use(r, "session_stream"), 0);
    assert_true(rig_destroy(r));
}

/* A list that a peer says it does not take is not sent to it: it might end the connection, and with it others' calls. */
static void test_peer_takes_less(void **state)
{
    (void)state;
    struct rig_config config;
    rig_config_defaults(&config);
    config.clients = 2;
    struct rig *r = rig_create(&config);
    rig_backend(r, 0)->h2.max_header_list_size = 8000;
    rig_client(r, 0)->h2.max_header_list_size = 4000;
    rig_add(r, 0, 0, 0, 1);
    rig_connect(rig_client(r, 0));
    rig_connect(rig_client(r, 1));
    rig_run(r, 5 * RIG_MS);
    struct rig_call *beside = rig_start(rig_client(r, 1), &(struct rig_script){.request = 10, .response = 10, .delay_ns = 2 * RIG_S});
    rig_run(r, 5 * RIG_MS);
    /* To the backend. */
    own_answer(r, &(struct rig_script){.metadata = 8000, .request = 10}, 8, 431, "headers_too_large");
    struct rig_script trailers = {.request = 100, .request_trailers = true, .trailer_metadata = 9000, .response = 10};
    own_answer(r, &trailers, 8, 431, "headers_too_large");
    assert_true(r->call[r->call_count - 1]->up_reset);
    assert_true(rig_is(run_one(r, &(struct rig_script){.metadata = 3000, .request = 10, .response = 10}), 0));
    /* To the client: in front of its answer, and behind it. */
    struct rig_call *c = run_one(r, &(struct rig_script){.request = 10, .response_metadata = 4000, .response = 10});
    assert_true(rig_is(c, 8));
    assert_false(c->trailers);
    assert_string_equal(c->reason, "headers_too_large");
    c = rig_start(rig_client(r, 1), &(struct rig_script){.request = 10, .response_metadata = 4000, .response = 10}); /* who takes it gets it */
    rig_run(r, 50 * RIG_MS);
    assert_true(rig_is(c, 0));
    /* Once more where it has to wait for its endpoint. */
    rig_remove(r, 0, 0);
    rig_run(r, 5 * RIG_MS);
    r->world->s.cluster[0]->no_ready_queue = true;
    r->world->s.cluster[0]->no_ready_max = 10;
    r->world->s.cluster[0]->no_ready_timeout_ns = RIG_S;
    rig_touch(r);
    c = rig_start(rig_client(r, 1), &(struct rig_script){.metadata = 8000, .request = 10});
    rig_run(r, 50 * RIG_MS);
    assert_int_equal(c->ends, 0);
    rig_add(r, 0, 1, 0, 1);
    rig_run(r, 200 * RIG_MS);
    assert_true(rig_is(c, 8));
    assert_true(rig_settle(r, 5 * RIG_S));
    assert_true(rig_is(beside, 0));
    assert_true(rig_idle(r, 3) || rig_idle(r, 4));
    assert_true(rig_destroy(r));
}

/* -- grpc.health.v1 ------------------------------------------------------------------------------------ */

#define CHECK "/grpc.health.v1.Health/Check"
#define WATCH "/grpc.health.v1.Health/Watch"

static const uint8_t ask_all[] = {0, 0, 0, 0, 0}, ask_echo[] = {0, 0, 0, 0, 6, 10, 4, 'e', 'c', 'h', 'o'}, ask_nobody[] = {0, 0, 0, 0, 4, 10, 2, 'n', 'o'},
                     ask_more[] = {0, 0, 0, 0, 13, 16, 5, 10, 4, 'e', 'c', 'h', 'o', 29, 1, 2, 3, 4}, bad_length[] = {0, 0, 0, 0, 9, 10, 4, 'e', 'c', 'h', 'o'},
                     bad_field[] = {0, 0, 0, 0, 3, 10, 9, 'e'}, packed[] = {1, 0, 0, 0, 0};

static struct rig *healthy(void)
{
    struct rig *r = made(1);
    r->world->s.listener[0].health_service = true;
    snprintf(r->world->s.cluster[0]->name, sizeof(r->world->s.cluster[0]->name), "echo");
    snprintf(r->world->s.cluster[1]->name, sizeof(r->world->s.cluster[1]->name), "two");
    r->routes[2] = (struct snapshot_route){.path_match = SNAPSHOT_ANY, .cluster = 0}; /* "/" names no path */
    rig_touch(r);
    rig_run(r, 5 * RIG_MS);
    return r;
}

#define ASK(bytes, p) .path = p, .body = bytes, .request = sizeof(bytes)

static void test_health_check(void **state)
{
    (void)state;
    struct rig *r = healthy();
    struct rig_call *c = run_one(r, &(struct rig_script){ASK(ask_all, CHECK)});
    assert_true(rig_is(c, 0));
    assert_int_equal(c->got, 7);
    assert_memory_equal(c->answer, "\0\0\0\0\2\10\1", 7);
    c = run_one(r, &(struct rig_script){ASK(ask_echo, CHECK)});
    assert_true(rig_is(c, 0) && c->answer[6] == 1);
    c = run_one(r, &(struct rig_script){ASK(ask_more, CHECK)});
    assert_true(rig_is(c, 0) && c->answer[6] == 1);
    assert_true(rig_is(run_one(r, &(struct rig_script){ASK(ask_nobody, CHECK)}), 5));
    assert_true(rig_is(run_one(r, &(struct rig_script){ASK(bad_length, CHECK)}), 3));
    assert_true(rig_is(run_one(r, &(struct rig_script){ASK(bad_field, CHECK)}), 3));
    assert_true(rig_is(run_one(r, &(struct rig_script){ASK(packed, CHECK)}), 3));
    assert_true(rig_is(run_one(r, &(struct rig_script){.path = CHECK}), 3));
    static uint8_t large[2000];
    assert_true(rig_is(run_one(r, &(struct rig_script){ASK(large, CHECK)}), 8));
    assert_int_equal(rig_backend(r, 0)->calls, 0);
    rig_listen(rig_backend(r, 0), false);
    rig_kill(rig_backend(r, 0), false);
    rig_run(r, 50 * RIG_MS);
    c = run_one(r, &(struct rig_script){ASK(ask_echo, CHECK)});
    assert_true(rig_is(c, 0) && c->answer[6] == 2);
    c = run_one(r, &(struct rig_script){ASK(ask_all, CHECK)});
    assert_true(rig_is(c, 0) && c->answer[6] == 1);
    assert_int_equal(rig_in_use(r, "rpc"), 0);
    rig_backend(r, 0)->h2.max_concurrent_streams = 1;
    rig_listen(rig_backend(r, 0), true);
    rig_run(r, 5 * RIG_S);
    struct rig_call *hangs = rig_start(rig_client(r, 0), &(struct rig_script){.delay_ns = RIG_S}), *waits = rig_start(rig_client(r, 0), &(struct rig_script){.request = 10});
    c = run_one(r, &(struct rig_script){ASK(ask_echo, CHECK)});
    assert_true(rig_is(c, 0) && c->answer[6] == 1); /* full is not down */
    assert_true(rig_is(hangs, 0) && rig_is(waits, 0));
    /* A route that names it has it. */
    r->routes[0] = (struct snapshot_route){.path_match = SNAPSHOT_PREFIX, .cluster = 0, .path = "/grpc.health.v1.Health/", .path_len = 23};
    rig_touch(r);
    assert_true(rig_is(run_one(r, &(struct rig_script){.path = CHECK, .request = 10, .response = 10}), 0));
    assert_int_equal(rig_backend(r, 0)->calls, 3);
    r->routes[0].path_match = SNAPSHOT_ANY;
    r->world->s.listener[0].health_service = false;
    rig_touch(r);
    assert_true(rig_is(run_one(r, &(struct rig_script){.path = CHECK, .request = 10, .response = 10}), 0));
    assert_int_equal(rig_backend(r, 0)->calls, 4);
    assert_true(rig_destroy(r));
}

static void test_health_watch(void **state)
{
    (void)state;
    struct rig *r = healthy();
    struct rig_call *echo = rig_start(rig_client(r, 0), &(struct rig_script){ASK(ask_echo, WATCH)});
    struct rig_call *all = rig_start(rig_client(r, 0), &(struct rig_script){ASK(ask_all, WATCH)});
    struct rig_call *no = rig_start(rig_client(r, 0), &(struct rig_script){ASK(ask_nobody, WATCH)});
    struct rig_call *given_up = rig_start(rig_client(r, 0), &(struct rig_script){ASK(ask_echo, WATCH), .cancel_ns = 20 * RIG_MS});
    struct rig_call *late = rig_start(rig_client(r, 0), &(struct rig_script){ASK(ask_echo, WATCH), .timeout = "30m"});
    rig_run(r, 50 * RIG_MS);
    assert_true(echo->got == 7 && echo->answer[6] == 1 && all->got == 7 && all->answer[6] == 1 && no->got == 7 && no->answer[6] == 3);
    assert_true(given_up->cancelled && rig_is(late, 4));
    assert_int_equal(rig_in_use(r, "rpc"), 3);
    rig_listen(rig_backend(r, 0), false);
    rig_kill(rig_backend(r, 0), false);
    rig_run(r, 50 * RIG_MS);
    assert_true(echo->got == 14 && echo->answer[13] == 2 && all->got == 7);
    rig_listen(rig_backend(r, 0), true);
    rig_run(r, 3 * RIG_S);
    assert_true(echo->got == 21 && echo->answer[20] == 1);
    snprintf(r->world->s.cluster[1]->name, sizeof(r->world->s.cluster[1]->name), "no");
    rig_touch(r);
    rig_run(r, 50 * RIG_MS);
    assert_true(no->got == 14 && no->answer[13] == 2);
    r->world->s.draining = true; /* it does not hold the gateway up */
    rig_touch(r);
    rig_run(r, 100 * RIG_MS);
    assert_true(rig_is(echo, 14) && rig_is(all, 14) && rig_is(no, 14));
    assert_true(echo->answer[27] == 2 && all->answer[13] == 2);
    rig_run(r, 500 * RIG_MS);
    assert_int_equal(r->drained, 1);
    assert_true(rig_destroy(r));
}

/* Whatever fields come with it, and however many: the message alone counts. */
static void test_health_check_any_fields(void **state)
{
    (void)state;
    struct rig *r = healthy();
    char timeout[16];
    for (uint32_t metadata = 0; metadata < 1400; metadata += 7) {
        snprintf(timeout, sizeof(timeout), "%um", 10000 + metadata); /* a list that nobody has seen before */
        struct rig_call *c = run_one(r, &(struct rig_script){ASK(ask_echo, CHECK), .metadata = metadata, .timeout = timeout});
        assert_true(rig_is(c, 0) && c->answer[6] == 1);
    }
    /* As large as it may be, with a field that is skipped. */
    static uint8_t larger[HEALTH_REQUEST_MAX] = {0, 0, 0, (HEALTH_REQUEST_MAX - 5) >> 8, (HEALTH_REQUEST_MAX - 5) & 255, 10, 4, 'e', 'c', 'h', 'o', 18, 0xf2, 3};
    for (uint32_t metadata = 0; metadata < 1000; metadata += 333) {
        struct rig_call *c = run_one(r, &(struct rig_script){ASK(larger, CHECK), .metadata = metadata});
        assert_true(rig_is(c, 0) && c->answer[6] == 1);
    }
    assert_int_equal(rig_in_use(r, "replay") + rig_in_use(r, "replay_small"), 0);
    assert_true(rig_destroy(r));
}

/* -- many watches -------------------------------------------------------------------------------------- */

#define WATCHES 1200

/* Four clients with WATCHES watches, of a cluster, of the gateway, of a name that nobody has, in turn. */
static struct rig *watched(struct rig_call **w)
{
    struct rig_config c;
    rig_config_defaults(&c);
    c.clients = 4;
    c.backends = 1;
    struct rig *r = rig_create(&c);
    r->world->s.listener[0].health_service = true;
    r->world->s.listener[0].max_concurrent_streams = 1000;
    snprintf(r->world->s.cluster[0]->name, sizeof(r->world->s.cluster[0]->name), "echo");
    snprintf(r->world->s.cluster[1]->name, sizeof(r->world->s.cluster[1]->name), "two");
    rig_add(r, 0, 0, 0, 1);
    for (uint32_t i = 0; i < 4; i++)
        rig_connect(rig_client(r, i));
    rig_run(r, 5 * RIG_MS);
    static const struct rig_script t[] = {{ASK(ask_echo, WATCH)}, {ASK(ask_all, WATCH)}, {ASK(ask_nobody, WATCH)}};
    for (uint32_t i = 0; i < WATCHES; i++)
        w[i] = rig_start(rig_client(r, i % 4), &t[i % 3]);
    rig_run(r, 50 * RIG_MS);
    return r;
}

/* What every third of them has been told in all, and last. */
static bool told(struct rig_call *const *w, uint32_t from, uint32_t messages, uint8_t last)
{
    for (uint32_t i = from; i < WATCHES; i += 3)
        if (w[i]->ends > 0 || w[i]->got != 7 * messages || w[i]->answer[7 * messages - 1] != last)
            return false;
    return true;
}

/* As if they had been told something else: whoever looks at one of them tells it. */
static uint32_t forge(struct base_list *watches)
{
    uint32_t n = 0;
    base_list_each(l, watches)
    {
        base_container(l, struct proxy_rpc, wait)->replay->health.told = 0;
        n++;
    }
    return n;
}

static void test_watches_undisturbed(void **state)
{
    (void)state;
    static struct rig_call *w[WATCHES];
    struct rig *r = watched(w);
    struct proxy *p = r->serve.proxy;
    assert_true(told(w, 0, 1, 1) && told(w, 1, 1, 1) && told(w, 2, 1, 3));
    assert_int_equal(p->watch_count, WATCHES);
    assert_int_equal(forge(&p->services[0].watches), WATCHES / 3);
    assert_int_equal(forge(&p->services[p->stats->cluster_count].watches), WATCHES / 3);
    assert_int_equal(forge(&p->nameless), WATCHES / 3);
    rig_run(r, 200 * RIG_MS); /* dozens of passes, and a generation that changes nothing */
    rig_touch(r);
    rig_run(r, 200 * RIG_MS);
    assert_true(told(w, 0, 1, 1) && told(w, 1, 1, 1) && told(w, 2, 1, 3));
    /* A cluster changes: its own are told, the others are not looked at. */
    rig_listen(rig_backend(r, 0), false);
    rig_kill(rig_backend(r, 0), false);
    rig_run(r, 100 * RIG_MS);
    assert_true(told(w, 0, 2, 2) && told(w, 1, 1, 1) && told(w, 2, 1, 3));
    /* A name comes: those without one are. */
    snprintf(r->world->s.cluster[1]->name, sizeof(r->world->s.cluster[1]->name), "no");
    r->world->s.cluster[1]->present = true;
    rig_touch(r);
    rig_run(r, 100 * RIG_MS);
    assert_true(told(w, 0, 2, 2) && told(w, 1, 1, 1) && told(w, 2, 2, 2));
    /* All that go are forgotten, wherever they stand. */
    rig_disconnect(rig_client(r, 0), false);
    rig_run(r, 20 * RIG_MS);
    assert_int_equal(p->watch_count, WATCHES / 4 * 3);
    for (uint32_t i = 1; i < 4; i++)
        rig_disconnect(rig_client(r, i), i % 2);
    rig_run(r, 20 * RIG_MS);
    assert_int_equal(p->watch_count, 0);
    assert_int_equal(rig_in_use(r, "rpc") + rig_in_use(r, "replay") + rig_in_use(r, "replay_small"), 0);
    assert_true(rig_destroy(r));
}

/* A few in a turn, all in few turns, and the rest of the turn's work goes on. */
static void test_watches_in_turn(void **state)
{
    (void)state;
    static struct rig_call *w[WATCHES];
    struct rig *r = watched(w);
    struct proxy *p = r->serve.proxy;
    struct base_list *echo = &p->services[0].watches;
    rig_listen(rig_backend(r, 0), false);
    rig_kill(rig_backend(r, 0), false);
    uint32_t turns = 0, most = 0;
    for (uint32_t i = 0; p->services[0].state == 1 && i < 100; i++)
        rig_step(r, RIG_MS);
    assert_int_equal(p->services[0].state, 2);
    for (uint32_t left = WATCHES / 3; !base_list_empty(&p->behind); turns++) {
        uint32_t now_left = 0;
        base_list_each(l, &p->behind)
            now_left++;
        most = left - now_left > most ? left - now_left : most;
        left = now_left;
        rig_step(r, RIG_MS);
        assert_true(turns < 10);
    }
    assert_in_range(most, 1, 2 * WATCH_LOOKS); /* proxy_dispatch() runs twice a turn */
    assert_in_range(turns, 1, (WATCHES / 3 - 1) / WATCH_LOOKS);
    assert_false(base_list_empty(echo));
    rig_run(r, 10 * RIG_MS);
    assert_true(told(w, 0, 2, 2));
    /* All of them go with the gateway, those that nothing was new for included. */
    r->world->s.draining = true;
    rig_touch(r);
    rig_run(r, 100 * RIG_MS);
    for (uint32_t i = 0; i < WATCHES; i++)
        assert_true(rig_is(w[i], 14));
    assert_int_equal(p->watch_count, 0);
    assert_true(rig_destroy(r));
}

static void name(struct rig *r, uint32_t cluster, const char *to)
{
    struct snapshot_cluster *c = r->world->s.cluster[cluster];
    c->present = to != NULL;
    if (to != NULL)
        snprintf(c->name, sizeof(c->name), "%s", to);
    rig_touch(r);
    rig_run(r, 20 * RIG_MS);
}

/* Clusters come and go with a generation; their ids are given to others. */
static void test_watch_follows_the_name(void **state)
{
    (void)state;
    struct rig *r = healthy();
    name(r, 1, NULL);
    struct rig_call *no = rig_start(rig_client(r, 0), &(struct rig_script){ASK(ask_nobody, WATCH)}), *echo = rig_start(rig_client(r, 0), &(struct rig_script){ASK(ask_echo, WATCH)});
    rig_run(r, 20 * RIG_MS);
    assert_true(no->got == 7 && no->answer[6] == 3);
    name(r, 1, "no");
    assert_true(no->got == 14 && no->answer[13] == 2);
    name(r, 1, NULL);
    assert_true(no->got == 21 && no->answer[20] == 3);
    name(r, 1, "other"); /* the same id */
    assert_int_equal(no->got, 21);
    name(r, 3, "no"); /* the same name elsewhere */
    assert_true(no->got == 28 && no->answer[27] == 2);
    assert_true(echo->got == 7 && echo->answer[6] == 1);
    /* From one version to the next the two change places: what is served by id 0 goes by the other name. */
    name(r, 3, NULL);
    assert_true(no->got == 35 && no->answer[34] == 3);
    name(r, 0, "no");
    assert_true(no->got == 42 && no->answer[41] == 1);
    assert_true(echo->got == 14 && echo->answer[13] == 3);
    rig_remove(r, 0, 0);
    rig_run(r, 20 * RIG_MS);
    assert_true(no->got == 49 && no->answer[48] == 2);
    /* One that begins with the name is told the right thing at once. */
    snprintf(r->world->s.cluster[2]->name, sizeof(r->world->s.cluster[2]->name), "echo");
    r->world->s.cluster[2]->present = true;
    struct rig_call *late = rig_start(rig_client(r, 0), &(struct rig_script){ASK(ask_echo, WATCH)});
    rig_touch(r);
    rig_run(r, 20 * RIG_MS);
    assert_true(late->got == 7 && late->answer[6] == 2);
    assert_true(echo->got == 21 && echo->answer[20] == 2);
    /* One that comes while the gateway drains is told, and ends. */
    r->world->s.draining = true;
    rig_touch(r);
    late = rig_start(rig_client(r, 0), &(struct rig_script){ASK(ask_nobody, WATCH)});
    rig_run(r, 20 * RIG_MS);
    assert_true(rig_is(no, 14) && rig_is(echo, 14));
    assert_true(rig_is(late, 14) && late->got == 7 && late->answer[6] == 2);
    assert_int_equal(r->serve.proxy->watch_count, 0);
    assert_true(rig_destroy(r));
}

/* It reads nothing: what it has not read does not pile up here, and what it is told when it reads again is the latest. */
static void test_watch_deaf(void **state)
{
    (void)state;
    struct rig_config config;
    rig_config_defaults(&config);
    config.backends = 1;
    struct rig *r = rig_create(&config);
    r->world->s.listener[0].health_service = true;
    snprintf(r->world->s.cluster[0]->name, sizeof(r->world->s.cluster[0]->name), "echo");
    rig_client(r, 0)->h2.initial_window = 7;
    rig_connect(rig_client(r, 0));
    rig_run(r, 5 * RIG_MS);
    name(r, 0, "echo");
    struct rig_call *c = rig_start(rig_client(r, 0), &(struct rig_script){ASK(ask_echo, WATCH), .no_read = true});
    rig_run(r, 20 * RIG_MS);
    assert_true(c->got == 7 && c->answer[6] == 2);
    struct proxy *p = r->serve.proxy;
    static const char *const names[] = {NULL, "echo"};
    for (int i = 0; i < 8; i++)
        name(r, 0, names[i % 2]);
    assert_int_equal(c->got, 7);
    struct session_stream *down = base_container(p->deaf.next, struct proxy_rpc, wait)->down;
    assert_false(base_list_empty(&p->deaf));
    assert_int_equal(down->queued, 7); /* SERVICE_UNKNOWN, the first that it did not read */
    c->script.no_read = false;
    http2_stream_credit(c->st->h2, 7);
    session_mark(c->st->session);
    rig_run(r, 20 * RIG_MS);
    assert_true(c->got == 21 && c->answer[13] == 3 && c->answer[20] == 2);
    assert_true(base_list_empty(&p->deaf) && base_list_empty(&p->behind));
    assert_int_equal(p->watch_count, 1);
    rig_cancel(c);
    rig_run(r, 20 * RIG_MS);
    assert_int_equal(p->watch_count, 0);
    assert_true(rig_destroy(r));
}

/* -- the client -------------------------------------------------------------------------------------- */

static void test_client_cancels(void **state)
{
    (void)state;
    struct rig *r = made(1);
    static const struct rig_script t[] = {
        {.act = RIG_HANG, .request = 100},
        {.act = RIG_HANG, .request = 1 << 20, .no_credit = true},
        {.act = RIG_HANG, .request = 100, .headers_first = true, .partial = 20000},
        {.act = RIG_ANSWER, .request = 100, .response = 1 << 20, .no_read = true},
    };
    for (unsigned i = 0; i < 4; i++) {
        struct rig_script s = t[i];
        s.cancel_ns = 20 * RIG_MS;
        struct rig_call *c = run_one(r, &s);
        rig_run(r, 5 * RIG_MS);
        assert_true(c->up_reset);
        assert_int_equal(c->up_reset_code, HTTP2_CANCEL);
        assert_int_equal(rig_in_use(r, "rpc"), 0);
        assert_int_equal(rig_in_use(r, "session_stream"), 0);
        assert_int_equal(stats_read(&rig_gateway(r)->stats->slots[0].rpcs[1]), i + 1);
    }
    assert_true(rig_is(run_one(r, &(struct rig_script){.request = 100}), 0));
    assert_true(rig_destroy(r));
}

static void test_client_lost(void **state)
{
    (void)state;
    for (int graceful = 0; graceful < 2; graceful++) {
        struct rig *r = made(1);
        struct rig_call *c[5];
        for (int i = 0; i < 5; i++)
            c[i] = rig_start(rig_client(r, 0), &(struct rig_script){.act = i < 3 ? RIG_HANG : RIG_ANSWER, .request = 100, .response = 1 << 20, .no_read = true});
        rig_run(r, 20 * RIG_MS);
        rig_disconnect(rig_client(r, 0), graceful);
        rig_run(r, 20 * RIG_MS);
        for (int i = 0; i < 5; i++) {
            assert_true(c[i]->lost);
            assert_true(c[i]->up_reset);
            assert_int_equal(c[i]->up_reset_code, HTTP2_CANCEL);
        }
        assert_int_equal(rig_in_use(r, "session"), 1);
        assert_int_equal(rig_in_use(r, "rpc"), 0);
        assert_true(rig_destroy(r));
    }
}

/* -- bytes ---------------------------------------------------------------------------------------------- */

static void test_sizes(void **state)
{
    (void)state;
    static const uint32_t size[] = {0, 1, 5, 1000, 1015, 1016, 1024, 1448, 2000, 4096, 16384, 16385, 65535, 65536, 100000, 1 << 20};
    struct rig *r = made(2);
    for (unsigned i = 0; i < sizeof(size) / sizeof(size[0]); i++)
        for (int act = 0; act < 2; act++) {
            struct rig_script s = {.act = act ? RIG_ECHO : RIG_ANSWER, .request = size[i], .response = size[i]};
            struct rig_call *c = run_one(r, &s);
            assert_true(rig_is(c, 0));
            assert_int_equal(c->got, size[i]);
            assert_int_equal(c->up_got, size[i]);
        }
    assert_true(rig_destroy(r));
}

static void test_many_at_once(void **state)
{
    (void)state;
    struct rig *r = made(3);
    for (int i = 0; i < 100; i++)
        rig_start(rig_client(r, 0), &(struct rig_script){.act = i % 3 ? RIG_ECHO : RIG_ANSWER, .request = (uint32_t)(i * 977), .response = (uint32_t)(i * 1301)});
    assert_true(rig_settle(r, 30 * RIG_S));
    for (int i = 0; i < 100; i++) {
        assert_true(rig_is(r->call[i], 0));
        assert_int_equal(r->call[i]->up_got, i * 977);
        assert_int_equal(r->call[i]->got, i % 3 ? i * 977 : i * 1301);
    }
    assert_true(rig_destroy(r));
}

static void test_metadata(void **state)
{
    (void)state;
    static const uint32_t size[] = {100, 900, 1100, 4000, 8000, 14000};
    struct rig *r = made(1);
    for (int round = 0; round < 3; round++)
        for (unsigned i = 0; i < 6; i++) {
            struct rig_call *c = run_one(r, &(struct rig_script){.request = 10, .response = 10, .metadata = size[i]});
            assert_true(rig_is(c, 0));
            assert_int_equal(c->metadata, size[i]);
            assert_int_equal(c->up_metadata, size[i]);
        }
    assert_true(rig_destroy(r));
}

/* No RPC object, or the listener's stream limit: REFUSED_STREAM, which is safe to retry; the others go on. */
static void test_too_many(void **state)
{
    (void)state;
    for (int what = 0; what < 2; what++) {
        struct rig_config rc;
        rig_config_defaults(&rc);
        rc.streams = what == 0 ? 3 : 0;
        struct rig *r = rig_create(&rc);
        if (what == 1)
            r->world->s.listener[0].max_concurrent_streams = 3;
        rig_add(r, 0, 0, 0, 1);
        rig_connect(rig_client(r, 0));
        for (int i = 0; i < 8; i++)
            rig_start(rig_client(r, 0), &(struct rig_script){.request = 100, .response = 100, .delay_ns = 10 * RIG_MS});
        assert_true(rig_settle(r, 20 * RIG_S));
        int fine = 0, refused = 0;
        for (int i = 0; i < 8; i++) {
            struct rig_call *c = r->call[i];
            fine += c->grpc_status == 0;
            refused += c->reset && c->reset_code == HTTP2_REFUSED_STREAM && !c->up_seen;
        }
        assert_int_equal(fine + refused, 8);
        assert_true(fine >= 3);
        assert_true(what == 0 ? refused >= 1 : refused == 0);
        assert_true(rig_is(run_one(r, &(struct rig_script){.request = 100}), 0));
        assert_true(rig_destroy(r));
    }
}

static void test_routes(void **state)
{
    (void)state;
    struct rig *r = made(1);
    rig_add(r, 1, 1, 0, 1);
    rig_run(r, 10 * RIG_MS);
    assert_true(rig_is(run_one(r, &(struct rig_script){.path = "/two.Two/Call"}), 0));
    assert_true(rig_is(run_one(r, &(struct rig_script){.path = "/echo.Echo/Other"}), 0));
    assert_true(rig_is(run_one(r, &(struct rig_script){.path = "/echo.Ech"}), 12));
    assert_int_equal(stats_read(&rig_gateway(r)->stats->slots[1].rpcs[0]), 1);
    assert_int_equal(stats_read(&rig_gateway(r)->stats->slots[0].rpcs[0]), 1);
    assert_int_equal(stats_read(&rig_gateway(r)->stats->clusters[1].started[0]), 1);
    assert_true(rig_destroy(r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unary),
        cmocka_unit_test(test_no_route),
        cmocka_unit_test(test_no_ready),
        cmocka_unit_test(test_request_headers_too_large),
        cmocka_unit_test(test_large_header_lists),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_deadline_cap),
        cmocka_unit_test(test_deadline_phases),
        cmocka_unit_test(test_queue),
        cmocka_unit_test(test_queue_bounds),
        cmocka_unit_test(test_waited_and_refused),
        cmocka_unit_test(test_no_stream_anywhere),
        cmocka_unit_test(test_stuck_beside_a_free_one),
        cmocka_unit_test(test_first_free_stream),
        cmocka_unit_test(test_connections_of_different_limits),
        cmocka_unit_test(test_broken_in_this_turn),
        cmocka_unit_test(test_timeout_passed_on),
        cmocka_unit_test(test_trailers_only),
        cmocka_unit_test(test_reset_before_headers),
        cmocka_unit_test(test_reset_after_headers),
        cmocka_unit_test(test_lost_before_headers),
        cmocka_unit_test(test_lost_after_headers),
        cmocka_unit_test(test_goaway),
        cmocka_unit_test(test_refused_goes_elsewhere),
        cmocka_unit_test(test_elsewhere_by_weight),
        cmocka_unit_test(test_refused_in_the_middle),
        cmocka_unit_test(test_unsent_goes_elsewhere),
        cmocka_unit_test(test_goaway_storm),
        cmocka_unit_test(test_policy),
        cmocka_unit_test(test_policy_ends),
        cmocka_unit_test(test_throttle),
        cmocka_unit_test(test_retry_budget),
        cmocka_unit_test(test_retry_budget_grows),
        cmocka_unit_test(test_policy_survives_kills),
        cmocka_unit_test(test_early_answer),
        cmocka_unit_test(test_end_without_trailers),
        cmocka_unit_test(test_http_status),
        cmocka_unit_test(test_web),
        cmocka_unit_test(test_content_type),
        cmocka_unit_test(test_informational),
        cmocka_unit_test(test_request_trailers),
        cmocka_unit_test(test_request_trailers_too_large),
        cmocka_unit_test(test_response_headers_too_large),
        cmocka_unit_test(test_peer_takes_less),
        cmocka_unit_test(test_health_check),
        cmocka_unit_test(test_health_watch),
        cmocka_unit_test(test_health_check_any_fields),
        cmocka_unit_test(test_watches_undisturbed),
        cmocka_unit_test(test_watches_in_turn),
        cmocka_unit_test(test_watch_follows_the_name),
        cmocka_unit_test(test_watch_deaf),
        cmocka_unit_test(test_client_cancels),
        cmocka_unit_test(test_client_lost),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_many_at_once),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_begun_is_not_kept),
        cmocka_unit_test(test_timeout_units),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_routes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
