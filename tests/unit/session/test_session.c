/* session over the rig: back-pressure, stream numbers, what waits and in which order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "http2/internal.h"
#include "session/internal.h"
#include "lib/rig.h"
#include "lib/world.h"

static struct rig *plain(uint32_t clients)
{
    struct rig_config c;
    rig_config_defaults(&c);
    c.clients = clients;
    return rig_create(&c);
}

static void go(struct rig *r)
{
    rig_add(r, 0, 0, 0, 1);
    for (uint32_t i = 0; i < r->config.clients; i++)
        rig_connect(rig_client(r, i));
    rig_run(r, 5 * RIG_MS);
}

static uint32_t queued_most(struct rig *r)
{
    uint32_t most = 0;
    for (int role = 0; role < 2; role++)
        base_list_each(l, &r->serve.sessions->all[role])
        {
            struct session *s = base_container(l, struct session, link);
            base_list_each(k, &s->streams)
            {
                struct session_stream *st = base_container(k, struct session_stream, link);
                most = st->queued > most ? st->queued : most;
            }
        }
    return most;
}

/* What one side may still send and what the other has not yet given back make up the whole window again. */
static void windows_whole(struct session *a, struct session *b)
{
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal(a->h2->send_window + (int64_t)b->h2->recv_credit, b->h2->recv_target);
    assert_int_equal(b->h2->send_window + (int64_t)a->h2->recv_credit, a->h2->recv_target);
    assert_int_equal(a->h2->recv_window + (int64_t)a->h2->recv_credit, a->h2->recv_target);
    assert_int_equal(a->stream_count, 0);
    assert_int_equal(a->h2->active, 0);
}

static void all_windows_whole(struct rig *r)
{
    rig_run(r, 50 * RIG_MS);
    struct rig_host *b = rig_backend(r, 0);
    windows_whole(rig_up(r, 0), base_container(b->sessions->all[SESSION_DOWN].next, struct session, link));
    for (uint32_t i = 0; i < r->config.clients; i++)
        windows_whole(rig_down(r, i), rig_client(r, i)->session);
}

static void test_stream_never_read(void **state)
{
    (void)state;
    struct rig *r = plain(1);
    go(r);
    struct rig_call *slow = rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 1 << 20, .no_read = true});
    struct rig_call *stuck = rig_start(rig_client(r, 0), &(struct rig_script){.act = RIG_HANG, .request = 1 << 20, .no_credit = true});
    uint32_t most = 0;
    for (int i = 0; i < 100; i++) {
        rig_run(r, 2 * RIG_MS);
        uint32_t now = queued_most(r);
        most = now > most ? now : most;
    }
    assert_in_range(most, 1, rig_up(r, 0)->h2->config.initial_window);
    assert_int_equal(slow->got, 65535); /* the client's window */
    assert_int_equal(stuck->up_got, 65535);
    assert_int_equal(slow->ends, 0);
    for (int i = 0; i < 10; i++) {
        struct rig_call *n = rig_start(rig_client(r, 0), &(struct rig_script){.act = i % 2 ? RIG_ECHO : RIG_ANSWER, .request = 300000, .response = 300000});
        rig_run(r, 300 * RIG_MS);
        assert_true(rig_is(n, 0));
    }
    rig_cancel(slow);
    rig_cancel(stuck);
    all_windows_whole(r);
    assert_true(rig_idle(r, 2));
    assert_true(rig_destroy(r));
}

/* What was kept for streams that have been reset is freed bit by bit: at once where a buffer is wanted, never much of the pool. */
static void test_given_up(void **state)
{
    (void)state;
    struct rig *r = plain(1);
    go(r);
    struct sessions *ss = r->serve.sessions;
    struct rig_call *slow[24];
    uint32_t before = packet_pool_in_use(ss->pool);
    for (int i = 0; i < 24; i++)
        slow[i] = rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 1 << 20, .no_read = true});
    rig_run(r, 500 * RIG_MS);
    uint32_t kept = packet_pool_in_use(ss->pool) - before;
    uint32_t bound = packet_pool_size(ss->pool) / 64;
    assert_true(kept > bound + 16);
    struct session *down = base_container(ss->all[SESSION_DOWN].next, struct session, link);
    base_list_each_safe(l, &down->streams)
        queue_drop(base_container(l, struct session_stream, link));
    assert_int_equal(down->queued, 0);
    assert_int_equal(packet_pool_in_use(ss->pool) - before, kept); /* nothing yet */
    uint32_t listed = 0;
    for (const struct packet *p = ss->waste; p != NULL; p = ((const struct session_link *)packet_scratch((struct packet *)(uintptr_t)p))->next)
        listed++;
    assert_int_equal(ss->waste_count, listed);
    uint32_t waste = ss->waste_count, freed = sessions_reclaim(ss, true);
    assert_true(waste > bound && freed >= waste - bound && freed <= waste - bound + 8);
    assert_int_equal(sessions_reclaim(ss, true), 0);
    assert_int_equal(sessions_reclaim(ss, false), 8);
    assert_non_null(ss->waste);
    struct packet *held[16384]; /* others want all there is: so do queues, and they get what was given up */
    uint32_t n = 0;
    while (n < 16384 && (held[n] = packet_alloc(ss->pool)) != NULL)
        n++;
    assert_true(n < 16384);
    static const uint8_t octets[100];
    assert_true(queue_append(base_container(down->streams.next, struct session_stream, link), octets, sizeof(octets)));
    assert_null(ss->waste);
    assert_int_equal(ss->waste_count, 0);
    while (n > 0)
        packet_free(held[--n]);
    for (int i = 0; i < 24; i++)
        rig_cancel(slow[i]);
    rig_run(r, 100 * RIG_MS);
    assert_null(ss->waste);
    assert_true(rig_idle(r, 2));
    assert_true(rig_destroy(r));
}

/* A few octets of each hold a buffer as much as 2,000. */
static void test_given_up_little(void **state)
{
    (void)state;
    struct rig *r = plain(1);
    r->world->s.listener[0].max_concurrent_streams = 2000;
    rig_client(r, 0)->h2.initial_window = 1;
    rig_backend(r, 0)->h2.max_concurrent_streams = 2000;
    go(r);
    struct sessions *ss = r->serve.sessions;
    uint32_t bound = packet_pool_size(ss->pool) / 64, n = bound + 100;
    for (uint32_t i = 0; i < n; i++)
        rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 10, .no_read = true});
    rig_run(r, 100 * RIG_MS);
    uint32_t kept = packet_pool_in_use(ss->pool);
    struct session *down = base_container(ss->all[SESSION_DOWN].next, struct session, link);
    base_list_each_safe(l, &down->streams)
        queue_drop(base_container(l, struct session_stream, link));
    assert_int_equal(ss->waste_count, n);
    assert_int_equal(sessions_reclaim(ss, true), 100 + 8);
    assert_int_equal(packet_pool_in_use(ss->pool), kept - 108);
    for (uint32_t i = 0; i < r->call_count; i++)
        rig_cancel(r->call[i]);
    rig_run(r, 100 * RIG_MS);
    assert_true(rig_idle(r, 2));
    assert_true(rig_destroy(r));
}

/* A backend whose connection takes no octet now: no more calls wait for it than it will take, the others go elsewhere. */
static void test_transport_full(void **state)
{
    (void)state;
    struct rig_config c;
    rig_config_defaults(&c);
    c.backends = 2;
    struct rig *r = rig_create(&c);
    r->world->s.listener[0].max_concurrent_streams = 2000;
    for (uint32_t i = 0; i < 2; i++) {
        rig_backend(r, i)->h2 = (struct http2_config){.initial_window = 16 << 20, .conn_window = 16 << 20, .max_concurrent_streams = i == 0 ? 10 : 1000, .max_frame_size = 16384,
                                                      .max_header_list_size = 16384, .header_table_size = 4096, .encoder_table_size = 4096};
        rig_add(r, 0, i, i, 1);
    }
    rig_connect(rig_client(r, 0));
    rig_run(r, 5 * RIG_MS);
    rig_backend(r, 0)->deaf = true;
    for (int i = 0; i < 2; i++) /* one of them has to wait */
        rig_start(rig_client(r, 0), &(struct rig_script){.request = 4 << 20, .response = 10});
    rig_run(r, 500 * RIG_MS);
    for (int i = 0; i < 60; i++)
        rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 10, .metadata = 2000});
    rig_run(r, 100 * RIG_MS);
    struct session *up = rig_up(r, 0)->waiting_count > 0 ? rig_up(r, 0) : rig_up(r, 1);
    assert_int_equal(up->waiting_count, 9);
    assert_int_equal(session_available(up), 0);
    uint32_t ended = 0;
    for (uint32_t i = 2; i < r->call_count; i++)
        ended += r->call[i]->ends;
    assert_int_equal(ended, 60 - 9);
    rig_cancel(r->call[r->call_count - 1]); /* not one of them, or one: the count is kept */
    rig_backend(r, 0)->deaf = false;
    assert_true(rig_settle(r, 30 * RIG_S));
    for (uint32_t i = 0; i + 1 < r->call_count; i++)
        assert_true(rig_is(r->call[i], 0));
    assert_int_equal(up->waiting_count, 0);
    assert_true(rig_destroy(r));
}

/* Header fields need no window: who has nothing else to say does not wait behind one that the connection's window stops. */
static void test_headers_pass_the_window(void **state)
{
    (void)state;
    struct rig *r = plain(1);
    rig_client(r, 0)->h2.initial_window = 16 << 20;
    rig_client(r, 0)->h2.conn_window = 16 << 20;
    go(r);
    struct rig_call *bulk = rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 4 << 20});
    rig_run(r, 3 * RIG_MS);
    rig_client(r, 0)->deaf = true;
    rig_run(r, 300 * RIG_MS);
    struct rig_call *brief[20];
    for (int i = 0; i < 20; i++) /* the first ones still find room */
        brief[i] = rig_start(rig_client(r, 0), &(struct rig_script){.act = i < 19 ? RIG_TRAILERS_ONLY : RIG_ANSWER, .request = 10, .metadata = 300, .response = (uint32_t)(i < 19 ? 0 : 10)});
    rig_run(r, 100 * RIG_MS);
    struct session *down = rig_down(r, 0);
    uint32_t behind = 0;
    base_list_each(l, &down->ready)
        behind++;
    assert_true(behind >= 3);
    const int32_t much = 1 << 30;
    down->h2->send_window -= much; /* as if the client kept all of it */
    rig_client(r, 0)->deaf = false;
    rig_run(r, 300 * RIG_MS);
    assert_int_equal(bulk->ends, 0);
    for (int i = 0; i < 19; i++)
        assert_true(rig_is(brief[i], 0));
    assert_true(brief[19]->headers);
    assert_int_equal(brief[19]->ends, 0);
    down->h2->send_window += much;
    session_mark(down);
    assert_true(rig_settle(r, 30 * RIG_S));
    assert_true(rig_is(bulk, 0));
    assert_true(rig_is(brief[19], 0));
    all_windows_whole(r);
    assert_true(rig_destroy(r));
}

static void test_client_never_reads(void **state)
{
    (void)state;
    struct rig *r = plain(2);
    go(r);
    for (int i = 0; i < 20; i++)
        rig_start(rig_client(r, 0), &(struct rig_script){.act = i % 2 ? RIG_ECHO : RIG_ANSWER, .request = 200000, .response = 200000});
    rig_run(r, 2 * RIG_MS);
    rig_client(r, 0)->deaf = true;
    rig_run(r, 300 * RIG_MS);
    assert_true(queued_most(r) <= rig_up(r, 0)->h2->config.initial_window);
    uint32_t first = r->call_count;
    for (int i = 0; i < 10; i++)
        rig_start(rig_client(r, 1), &(struct rig_script){.act = i % 2 ? RIG_ECHO : RIG_ANSWER, .request = 200000, .response = 200000});
    rig_run(r, RIG_S);
    for (uint32_t i = first; i < r->call_count; i++)
        assert_true(rig_is(r->call[i], 0));
    rig_client(r, 0)->deaf = false;
    assert_true(rig_settle(r, 30 * RIG_S));
    for (uint32_t i = 0; i < r->call_count; i++)
        assert_true(rig_is(r->call[i], 0));
    all_windows_whole(r);
    assert_true(rig_destroy(r));
}

static void limited(uint32_t limit, uint32_t calls, const struct rig_script *s)
{
    struct rig *r = plain(1);
    r->world->s.listener[0].max_concurrent_streams = 2000;
    rig_backend(r, 0)->h2.max_concurrent_streams = limit;
    go(r);
    for (uint32_t i = 0; i < calls; i++)
        rig_start(rig_client(r, 0), s);
    assert_true(rig_settle(r, 300 * RIG_S));
    for (uint32_t i = 0; i < calls; i++) {
        assert_true(rig_is(r->call[i], 0));
        assert_int_equal(r->call[i]->up_order, i);
        assert_int_equal(r->call[i]->got, s->response);
    }
    assert_true(rig_backend(r, 0)->open_max <= limit);
    assert_int_equal(rig_backend(r, 0)->accepted, 1);
    all_windows_whole(r);
    assert_true(rig_destroy(r));
}

static void test_stream_limit(void **state)
{
    (void)state;
    limited(10, 1000, &(struct rig_script){.request = 100, .response = 100});
    limited(1, 50, &(struct rig_script){.request = 0, .response = 0});
    limited(3, 50, &(struct rig_script){.act = RIG_TRAILERS_ONLY, .request = 5000});
    limited(10, 200, &(struct rig_script){.request = 3000, .response = 3000, .metadata = 3000, .delay_ns = RIG_MS});
    limited(2, 40, &(struct rig_script){.request = 100000, .response = 10, .request_trailers = true});
}

/* A limit of 0 is legal: calls wait, and end when their time has come. */
static void test_no_streams_allowed(void **state)
{
    (void)state;
    struct rig *r = plain(1);
    rig_backend(r, 0)->h2.max_concurrent_streams = 0;
    go(r);
    struct rig_call *a = rig_start(rig_client(r, 0), &(struct rig_script){.request = 100, .timeout = "30m"});
    struct rig_call *b = rig_start(rig_client(r, 0), &(struct rig_script){.request = 100, .cancel_ns = 30 * RIG_MS});
    rig_run(r, 100 * RIG_MS);
    assert_true(rig_is(a, 4));
    assert_int_equal(b->ends, 1);
    assert_false(a->up_seen || b->up_seen);
    assert_int_equal(rig_in_use(r, "session_stream"), 0);
    assert_true(rig_destroy(r));
}

/* Neither room nor window: 1xx, HEADERS, DATA and trailers wait, and come in order. */
static void test_held(void **state)
{
    (void)state;
    struct rig *r = plain(1);
    rig_client(r, 0)->h2.initial_window = 1 << 20;
    rig_client(r, 0)->h2.conn_window = 8 << 20;
    go(r);
    struct rig_call *big = rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 2 << 20, .delay_ns = 20 * RIG_MS});
    rig_run(r, 10 * RIG_MS);
    rig_client(r, 0)->deaf = true;
    struct rig_call *c[7];
    rig_run(r, 200 * RIG_MS);
    /* Deaf clients still write. */
    for (int i = 0; i < 6; i++)
        c[i] = rig_start(rig_client(r, 0), &(struct rig_script){.act = i < 4 ? RIG_ANSWER : RIG_TRAILERS_ONLY, .request = 100, .response = (uint32_t)(i == 1 ? 0 : 5000), .informational = (uint8_t)(i == 5 ? 0 : i), .metadata = (uint32_t)(i == 3 ? 9000 : 0)});
    c[6] = rig_start(rig_client(r, 0), &(struct rig_script){.request = 100, .response = 10, .informational = 12});
    rig_run(r, 200 * RIG_MS);
    for (int i = 0; i < 7; i++)
        assert_int_equal(c[i]->ends + c[i]->informational, 0);
    assert_true(rig_in_use(r, "held_1k") + rig_in_use(r, "held_8k") + rig_in_use(r, "held_max") > 0);
    rig_client(r, 0)->deaf = false;
    assert_true(rig_settle(r, 30 * RIG_S));
    assert_true(rig_is(big, 0));
    for (int i = 0; i < 6; i++) {
        assert_true(rig_is(c[i], 0));
        assert_int_equal(c[i]->http_status, 200);
        assert_int_equal(c[i]->got, i == 1 || i >= 4 ? 0 : 5000);
        assert_int_equal(c[i]->metadata, i == 3 ? 9000 : 0);
        assert_int_equal(c[i]->informational, i >= 4 ? 0 : i);
    }
    assert_true(rig_is(c[6], 0)); /* so many are not kept */
    assert_int_equal(c[6]->informational, 8);
    assert_int_equal(rig_gateway(r)->stats->drops[STATS_DROP_H2_INTERIM], 4);
    assert_true(rig_destroy(r));
}

static void test_tiny_windows(void **state)
{
    (void)state;
    static const uint32_t window[] = {1, 2, 100, 1000, 16383};
    for (unsigned i = 0; i < 5; i++) {
        struct rig *r = plain(1);
        rig_client(r, 0)->h2.initial_window = window[i];
        rig_backend(r, 0)->h2.initial_window = window[i];
        go(r);
        uint32_t n = window[i] * 20 < 300 ? 300 : window[i] * 20;
        for (int k = 0; k < 5; k++)
            rig_start(rig_client(r, 0), &(struct rig_script){.act = k % 2 ? RIG_ECHO : RIG_ANSWER, .request = n, .response = n});
        bool all = rig_settle(r, 60 * RIG_S);
        for (int k = 0; k < 5; k++) {
            assert_true(rig_is(r->call[k], 0));
            assert_int_equal(r->call[k]->got, n);
        }
        assert_true(all);
        all_windows_whole(r);
        assert_true(rig_destroy(r));
    }
}

/* The connection's window shut: nothing is lost when it opens. */
static void test_connection_window(void **state)
{
    (void)state;
    struct rig *r = plain(1);
    rig_client(r, 0)->h2.initial_window = 1 << 20;
    rig_client(r, 0)->h2.conn_window = 65535;
    rig_backend(r, 0)->h2.initial_window = 1 << 20;
    rig_backend(r, 0)->h2.conn_window = 65535;
    go(r);
    for (int k = 0; k < 30; k++)
        rig_start(rig_client(r, 0), &(struct rig_script){.act = k % 2 ? RIG_ECHO : RIG_ANSWER, .request = 200000, .response = 200000});
    assert_true(rig_settle(r, 60 * RIG_S));
    for (int k = 0; k < 30; k++)
        assert_true(rig_is(r->call[k], 0));
    all_windows_whole(r);
    assert_true(rig_destroy(r));
}

static void test_lossy(void **state)
{
    (void)state;
    struct rig_config c;
    rig_config_defaults(&c);
    c.loss_ppm = 30000;
    c.jitter_ns = 300000;
    struct rig *r = rig_create(&c);
    go(r);
    rig_run(r, RIG_S);
    for (int k = 0; k < 30; k++)
        rig_start(rig_client(r, 0), &(struct rig_script){.act = k % 2 ? RIG_ECHO : RIG_ANSWER, .request = (uint32_t)k * 5000, .response = (uint32_t)k * 7000});
    assert_true(rig_settle(r, 120 * RIG_S));
    for (int k = 0; k < 30; k++)
        assert_true(rig_is(r->call[k], 0));
    assert_true(rig_destroy(r));
}

/* Many small segments in flight use up a connection's buffers before its bytes: a large frame behind them must wait, not be cut. */
static void test_small_then_large(void **state)
{
    (void)state;
    struct rig_config c;
    rig_config_defaults(&c);
    c.delay_ns = 10 * RIG_MS;
    struct rig *r = rig_create(&c);
    r->world->s.listener[0].max_concurrent_streams = 2000;
    rig_client(r, 0)->h2.initial_window = 1 << 20;
    rig_client(r, 0)->h2.conn_window = 8 << 20;
    rig_add(r, 0, 0, 0, 1);
    rig_connect(rig_client(r, 0));
    rig_run(r, 200 * RIG_MS);
    for (int i = 0; i < 4; i++) /* the congestion window grows */
        rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 4 << 20});
    assert_true(rig_settle(r, 60 * RIG_S));
    for (int i = 0; i < 1000; i++) {
        rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = i % 100 == 99 ? 60000 : 10});
        rig_run(r, 40000);
    }
    assert_true(rig_settle(r, 60 * RIG_S));
    for (uint32_t i = 0; i < r->call_count; i++)
        assert_true(rig_is(r->call[i], 0));
    assert_int_equal(rig_gateway(r)->stats->drops[STATS_DROP_BUFFER_FULL], 0);
    assert_true(rig_destroy(r));
}

/* The worker's last stream object goes to and fro between connections. */
static void test_stream_objects_scarce(void **state)
{
    (void)state;
    struct rig_config c;
    rig_config_defaults(&c);
    c.backends = 2;
    struct rig *r = rig_create(&c);
    rig_add(r, 0, 0, 0, 1);
    rig_add(r, 1, 1, 1, 1);
    rig_connect(rig_client(r, 0));
    rig_run(r, 5 * RIG_MS);
    struct rig_call *a = rig_start(rig_client(r, 0), &(struct rig_script){.request = 100, .response = 100, .delay_ns = 20 * RIG_MS});
    rig_run(r, 5 * RIG_MS);
    rig_gateway(r)->http2->streams.capacity = 3;
    struct rig_call *b = rig_start(rig_client(r, 0), &(struct rig_script){.path = "/two.Two/Call", .request = 100, .response = 100});
    assert_true(rig_settle(r, RIG_S));
    assert_true(rig_is(a, 0));
    assert_true(rig_is(b, 0));
    assert_true(rig_destroy(r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream_never_read),
        cmocka_unit_test(test_given_up),
        cmocka_unit_test(test_given_up_little),
        cmocka_unit_test(test_transport_full),
        cmocka_unit_test(test_headers_pass_the_window),
        cmocka_unit_test(test_client_never_reads),
        cmocka_unit_test(test_stream_limit),
        cmocka_unit_test(test_no_streams_allowed),
        cmocka_unit_test(test_held),
        cmocka_unit_test(test_tiny_windows),
        cmocka_unit_test(test_connection_window),
        cmocka_unit_test(test_lossy),
        cmocka_unit_test(test_small_then_large),
        cmocka_unit_test(test_stream_objects_scarce),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
