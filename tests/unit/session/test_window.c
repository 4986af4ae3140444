/* Windows by bandwidth-delay product, over the rig: they grow where a sender waits for them, not where a reader lags; and within the budget. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "http2/internal.h"
#include "lib/rig.h"
#include "lib/world.h"

#define KIB 1024u
#define MIB (1024 * KIB)

static struct rig_config far_away(uint32_t stream_window)
{
    struct rig_config c;
    rig_config_defaults(&c);
    c.delay_ns = 50 * RIG_MS;
    c.stream_window = stream_window;
    c.tcp_buffers = 8 * MIB;
    return c;
}

static uint64_t counted(struct rig *r, enum stats_counter which)
{
    return rig_gateway(r)->stats->counters[which];
}

/* Peers that grant much: what is looked at are the gateway's own windows. */
static struct rig *go(const struct rig_config *c, uint32_t peers_window)
{
    struct rig *r = rig_create(c);
    for (uint32_t i = 0; i < c->clients; i++) {
        rig_client(r, i)->h2.initial_window = peers_window;
        rig_client(r, i)->h2.conn_window = 32 * MIB;
    }
    rig_backend(r, 0)->h2.initial_window = peers_window;
    rig_backend(r, 0)->h2.conn_window = 32 * MIB;
    r->world->s.cluster[0]->connect_timeout_ns = 5 * RIG_S;
    rig_add(r, 0, 0, 0, 1);
    for (uint32_t i = 0; i < c->clients; i++)
        rig_connect(rig_client(r, i));
    rig_run(r, RIG_S);
    return r;
}

/* What streams may send beyond what each begins with, counted anew; and the largest. */
static uint64_t extra(struct rig *r, uint32_t *largest)
{
    uint64_t sum = 0;
    *largest = 0;
    for (int role = 0; role < 2; role++)
        base_list_each(l, &r->serve.sessions->all[role])
        {
            base_list_each(k, &base_container(l, struct session, link)->streams)
            {
                const struct session_stream *st = base_container(k, struct session_stream, link);
                if (st->h2 == NULL)
                    continue;
                sum += st->h2->recv_extra;
                if (http2_stream_window(st->h2) > *largest)
                    *largest = http2_stream_window(st->h2);
                assert_true((int64_t)st->h2->recv_window + st->h2->recv_credit <= http2_stream_window(st->h2));
            }
        }
    return sum;
}

static uint32_t queued_most(struct rig *r)
{
    uint64_t most = 0;
    for (int role = 0; role < 2; role++)
        base_list_each(l, &r->serve.sessions->all[role])
        {
            base_list_each(k, &base_container(l, struct session, link)->streams)
            {
                const struct session_stream *st = base_container(k, struct session_stream, link);
                most = st->queued > most ? st->queued : most;
            }
        }
    return (uint32_t)most;
}

struct seen {
    uint32_t largest, queued;
    uint64_t used;
};

/* Until all have ended; with what must hold looked at on the way. */
static struct seen watch(struct rig *r, uint64_t ns)
{
    struct seen seen = {0};
    for (uint64_t end = r->now + ns; r->now < end && !rig_done(r);) {
        uint32_t largest, queued;
        rig_run(r, 10 * RIG_MS);
        uint64_t sum = extra(r, &largest);
        queued = queued_most(r);
        assert_int_equal(sum, r->serve.sessions->window_used);
        assert_true(sum <= r->serve.sessions->window_budget);
        seen.largest = largest > seen.largest ? largest : seen.largest;
        seen.queued = queued > seen.queued ? queued : seen.queued;
        seen.used = sum > seen.used ? sum : seen.used;
    }
    return seen;
}

static double rate(const struct rig_call *c, uint32_t bytes)
{
    return bytes / ((double)(c->ended_ns - c->began_ns) / 1e9) / 1e6;
}

/* MB/s of one stream at a round trip of 100 ms on either side, either way. */
static double one_stream(uint32_t stream_window, bool upload, struct seen *seen)
{
    struct rig_config k = far_away(stream_window);
    struct rig *r = go(&k, 8 * MIB);
    const uint32_t bytes = 24 * MIB;
    struct rig_call *c = rig_start(rig_client(r, 0), &(struct rig_script){.request = upload ? bytes : 10, .response = upload ? 10 : bytes});
    *seen = watch(r, 200 * RIG_S);
    assert_true(rig_is(c, 0));
    assert_int_equal(upload ? c->up_got : c->got, bytes);
    double mb = rate(c, bytes);
    assert_true(rig_destroy(r));
    return mb;
}

static void test_far(void **state)
{
    (void)state;
    for (int upload = 0; upload < 2; upload++) {
        struct seen fixed, tuned;
        double before = one_stream(0, upload, &fixed), after = one_stream(4 * MIB, upload, &tuned);
        printf("one stream of 24 MiB %s, round trip 100 ms on either side: %.2f MB/s with 64 KiB, %.2f MB/s with up to 4 MiB\n", upload ? "up" : "down", before, after);
        assert_int_equal(fixed.largest, 65535);
        assert_in_range(tuned.largest, MIB, 4 * MIB);
        assert_true(after > 8 * before);
    }
}

/* Nearby, 64 KiB are more than the product: nothing grows beyond what a few round trips' bytes are. */
static void test_near(void **state)
{
    (void)state;
    struct rig_config k = far_away(4 * MIB);
    k.delay_ns = 50000;
    struct rig *r = go(&k, 65535);
    for (int i = 0; i < 50; i++) {
        rig_start(rig_client(r, 0), &(struct rig_script){.act = i % 2 ? RIG_ECHO : RIG_ANSWER, .request = 20000, .response = 20000});
        rig_run(r, 3 * RIG_MS);
    }
    assert_true(rig_settle(r, 10 * RIG_S));
    assert_int_equal(counted(r, STATS_WINDOWS_GROWN), 0);
    assert_true(rig_destroy(r));
}

/* A client that takes its answers off the wire and grants nothing more: what is kept for it is no more than what every stream may have, or a quarter of
 * what it has taken as fast as it came. */
static void test_reader_stops(void **state)
{
    (void)state;
    static const uint32_t window[] = {65535, 100000, 200000, 1 << 20, 4 << 20};
    for (unsigned i = 0; i < 5; i++) {
        struct rig_config k = far_away(4 * MIB);
        struct rig *r = go(&k, window[i]);
        for (int n = 0; n < 3; n++)
            rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 12 * MIB, .no_read = true});
        struct seen seen = watch(r, 30 * RIG_S);
        for (int n = 0; n < 3; n++)
            assert_int_equal(r->call[n]->got, window[i]);
        assert_true(seen.largest <= (window[i] / 2 > 65535 ? window[i] / 2 : 65535)); /* twice what it has open is a reader's */
        assert_in_range(seen.queued, 1, window[i] / 4 > 2 * 65535 ? window[i] / 4 : 2 * 65535);
        for (int n = 0; n < 3; n++)
            rig_cancel(r->call[n]);
        rig_run(r, RIG_S);
        assert_int_equal(r->serve.sessions->window_used, 0);
        assert_true(rig_destroy(r));
    }
}

/* A client whose TCP takes nothing any more: what had grown before is kept, and no more. */
static void test_reader_deaf(void **state)
{
    (void)state;
    struct rig_config k = far_away(4 * MIB);
    struct rig *r = go(&k, 8 * MIB);
    struct rig_call *c = rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 64 * MIB});
    watch(r, 2 * RIG_S);
    uint32_t largest, before;
    extra(r, &before);
    rig_client(r, 0)->deaf = true;
    rig_run(r, 200 * RIG_MS);
    extra(r, &largest);
    before = largest;
    for (int i = 0; i < 100; i++) {
        rig_run(r, 100 * RIG_MS);
        extra(r, &largest);
        assert_true(largest <= before);
    }
    assert_true(queued_most(r) <= before);
    rig_client(r, 0)->deaf = false;
    assert_true(rig_settle(r, 200 * RIG_S));
    assert_true(rig_is(c, 0));
    assert_true(rig_destroy(r));
}

static uint32_t window_of(struct rig *r, uint32_t id)
{
    base_list_each(l, &rig_up(r, 0)->streams)
    {
        const struct session_stream *st = base_container(l, struct session_stream, link);
        if (st->h2 != NULL && st->h2->id == id)
            return http2_stream_window(st->h2);
    }
    return 0;
}

/* Much waits for other streams of the client's: this one's window stays as it was, however fast it is read. */
static void test_connection_full(void **state)
{
    (void)state;
    for (uint32_t limit = 0; limit < 2; limit++) {
        struct rig_config k = far_away(4 * MIB);
        struct rig *r = go(&k, 300 * KIB);
        r->world->s.listener[0].bounds.buffered = limit * 150 * KIB;
        r->world->s.generation++;
        struct rig_call *c = rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 4 * MIB, .delay_ns = 5 * RIG_S});
        rig_run(r, RIG_S);
        for (int i = 0; i < 3; i++)
            rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 1 * MIB, .no_read = true});
        rig_run(r, 3 * RIG_S);
        assert_true(rig_down(r, 0)->queued > 150 * KIB);
        uint32_t most = 0;
        for (int i = 0; i < 2000 && c->ends == 0; i++) {
            rig_run(r, 100 * RIG_MS);
            uint32_t window = window_of(r, 1); /* the first call's */
            most = window > most ? window : most;
        }
        assert_true(rig_is(c, 0));
        assert_true(limit != 0 ? most == 65535 : most > 100 * KIB);
        for (uint32_t i = 1; i < r->call_count; i++)
            rig_cancel(r->call[i]);
        assert_true(rig_settle(r, 10 * RIG_S));
        assert_true(rig_destroy(r));
    }
}

static void test_budget(void **state)
{
    (void)state;
    struct rig_config k = far_away(4 * MIB);
    k.clients = 2;
    k.window_budget = 600 * KIB;
    struct rig *r = go(&k, 8 * MIB);
    for (int i = 0; i < 16; i++)
        rig_start(rig_client(r, (uint32_t)i % 2), &(struct rig_script){.act = i % 3 ? RIG_ECHO : RIG_ANSWER, .request = 3 * MIB, .response = 2 * MIB});
    struct seen seen = watch(r, 200 * RIG_S);
    for (int i = 0; i < 16; i++)
        assert_true(rig_is(r->call[i], 0));
    assert_in_range(seen.used, 300 * KIB, 600 * KIB);
    assert_true(counted(r, STATS_WINDOWS_REFUSED) > 0);
    rig_run(r, RIG_S);
    assert_int_equal(r->serve.sessions->window_used, 0);
    assert_true(rig_destroy(r));
}

/* Buffers run short: what has grown goes back as octets come, and does not grow again until they are there. */
static void test_pressed(void **state)
{
    (void)state;
    struct rig_config k = far_away(4 * MIB);
    k.packets = 24000;
    struct rig *r = go(&k, 8 * MIB);
    struct rig_call *c = rig_start(rig_client(r, 0), &(struct rig_script){.request = 48 * MIB, .response = 10});
    struct seen seen = watch(r, 3 * RIG_S);
    assert_true(seen.largest >= 512 * KIB);
    static struct packet *taken[24000];
    uint32_t n = 0;
    for (int i = 0; i < 30; i++) {
        while (packet_pool_in_use(rig_gateway(r)->pool) < 24000 * 70 / 100)
            taken[n++] = packet_alloc(rig_gateway(r)->pool);
        watch(r, RIG_S / 10);
    }
    uint32_t largest;
    extra(r, &largest);
    assert_in_range(largest, 1, 2 * 65535);
    assert_true(counted(r, STATS_WINDOWS_SHRUNK) > 0);
    while (n > 0)
        packet_free(taken[--n]);
    uint64_t grown = counted(r, STATS_WINDOWS_GROWN);
    watch(r, 2 * RIG_S);
    assert_true(counted(r, STATS_WINDOWS_GROWN) > grown);
    assert_true(rig_settle(r, 200 * RIG_S));
    assert_true(rig_is(c, 0));
    assert_true(rig_destroy(r));
}

/* The second stream of a connection need not find out anew: it gets there in fewer steps. */
static void test_again(void **state)
{
    (void)state;
    struct rig_config k = far_away(4 * MIB);
    struct rig *r = go(&k, 8 * MIB);
    uint64_t steps[2];
    for (int i = 0; i < 2; i++) {
        uint64_t before = counted(r, STATS_WINDOWS_GROWN);
        struct rig_call *c = rig_start(rig_client(r, 0), &(struct rig_script){.request = 24 * MIB, .response = 10});
        struct seen seen = watch(r, 100 * RIG_S);
        assert_true(rig_is(c, 0));
        assert_in_range(seen.largest, MIB, 4 * MIB);
        steps[i] = counted(r, STATS_WINDOWS_GROWN) - before;
    }
    assert_true(steps[1] < steps[0]);
    assert_true(rig_destroy(r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_far),      cmocka_unit_test(test_near),    cmocka_unit_test(test_reader_stops), cmocka_unit_test(test_reader_deaf),
        cmocka_unit_test(test_connection_full),
        cmocka_unit_test(test_budget),   cmocka_unit_test(test_pressed), cmocka_unit_test(test_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
