/* How long sessions live, over the rig: keepalive, policing of PINGs, age, idleness, what is half sent, the two-step GOAWAY. */
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

static struct snapshot_listener *listener(struct rig *r)
{
    return &r->world->s.listener[0];
}

static struct rig *world(const struct snapshot_listener *l, const struct snapshot_cluster *c, uint64_t seed)
{
    struct rig_config config;
    rig_config_defaults(&config);
    config.seed = seed;
    struct rig *r = rig_create(&config);
    if (l != NULL) {
        listener(r)->keepalive = l->keepalive;
        listener(r)->max_connection_age_ns = l->max_connection_age_ns;
        listener(r)->max_connection_age_grace_ns = l->max_connection_age_grace_ns;
        listener(r)->max_connection_idle_ns = l->max_connection_idle_ns;
        listener(r)->handshake_timeout_ns = l->handshake_timeout_ns;
        listener(r)->header_timeout_ns = l->header_timeout_ns;
    }
    if (c != NULL) {
        r->world->s.cluster[0]->keepalive = c->keepalive;
        r->world->s.cluster[0]->max_connection_age_ns = c->max_connection_age_ns;
    }
    rig_add(r, 0, 0, 0, 1);
    rig_connect(rig_client(r, 0));
    rig_run(r, 5 * RIG_MS);
    assert_true(rig_client(r, 0)->connected);
    return r;
}

static uint64_t drops(struct rig *r, enum stats_drop why)
{
    return rig_gateway(r)->stats->drops[why];
}

static const struct rig_script hang = {.act = RIG_HANG, .request = 100};

/* -- keepalive ---------------------------------------------------------------------------------- */

static const struct snapshot_cluster quick = {.keepalive = {.time_ns = 100 * RIG_MS, .timeout_ns = 50 * RIG_MS}};

/* A call without a deadline, its backend in a black hole: UNAVAILABLE within interval + timeout, long before TCP would know. */
static void test_black_hole_up(void **state)
{
    (void)state;
    struct rig *r = world(NULL, &quick, 1);
    struct rig_call *c = rig_start(rig_client(r, 0), &hang);
    rig_run(r, 20 * RIG_MS);
    rig_backend(r, 0)->cut = true;
    rig_run(r, 125 * RIG_MS);
    assert_int_equal(c->ends, 0);
    rig_run(r, 35 * RIG_MS);
    assert_true(rig_is(c, 14));
    assert_string_equal(c->reason, "upstream_lost");
    assert_int_equal(drops(r, STATS_DROP_H2_KEEPALIVE), 1);
    rig_heal(r);
    assert_true(rig_destroy(r));
}

/* Without a stream there are no PINGs, unless permitted; the first stream brings them back. */
static void test_black_hole_without_stream(void **state)
{
    (void)state;
    struct rig *r = world(NULL, &quick, 1);
    struct session *up = rig_up(r, 0);
    rig_backend(r, 0)->cut = true;
    rig_run(r, 2 * RIG_S);
    assert_ptr_equal(rig_up(r, 0), up);
    struct rig_call *c = rig_start(rig_client(r, 0), &hang);
    rig_run(r, 160 * RIG_MS);
    assert_true(rig_is(c, 14));
    rig_heal(r);
    assert_true(rig_destroy(r));

    struct snapshot_cluster permitted = quick;
    permitted.keepalive.permit_without_stream = true;
    r = world(NULL, &permitted, 1);
    rig_backend(r, 0)->cut = true;
    rig_run(r, 160 * RIG_MS);
    assert_int_equal(drops(r, STATS_DROP_H2_KEEPALIVE), 1);
    rig_heal(r);
    assert_true(rig_destroy(r));
}

/* A peer that answers lives, however long it says nothing else; and one PING an interval is all that it gets. */
static void test_silent_but_alive(void **state)
{
    (void)state;
    struct rig *r = world(NULL, &quick, 1);
    struct rig_call *c = rig_start(rig_client(r, 0), &hang);
    rig_run(r, 10 * RIG_S);
    assert_int_equal(c->ends, 0);
    assert_int_equal(drops(r, STATS_DROP_H2_KEEPALIVE), 0);
    struct session *b = base_container(rig_backend(r, 0)->sessions->all[SESSION_DOWN].next, struct session, link);
    assert_in_range(b->pings_seen, 95, 100); /* not one too early */
    rig_cancel(c);
    assert_true(rig_settle(r, RIG_S));
    assert_true(rig_destroy(r));
}

static void test_black_hole_down(void **state)
{
    (void)state;
    struct snapshot_listener l = {.keepalive = {.time_ns = 200 * RIG_MS, .timeout_ns = 100 * RIG_MS}};
    struct rig *r = world(&l, NULL, 1);
    struct rig_call *c = rig_start(rig_client(r, 0), &hang);
    rig_run(r, 20 * RIG_MS);
    rig_client(r, 0)->cut = true;
    rig_run(r, 320 * RIG_MS);
    assert_int_equal(drops(r, STATS_DROP_H2_KEEPALIVE), 1);
    assert_null(rig_down(r, 0));
    assert_true(c->up_reset && c->up_reset_code == HTTP2_CANCEL);
    rig_heal(r);
    rig_disconnect(rig_client(r, 0), false);
    assert_true(rig_destroy(r));
}

/* An endpoint that calls our PINGs too many gets half as many: gRFC A8. */
static void test_calm(void **state)
{
    (void)state;
    struct rig *r = world(NULL, &quick, 1);
    for (int i = 1; i <= 10; i++) {
        struct session *b = base_container(rig_backend(r, 0)->sessions->all[SESSION_DOWN].next, struct session, link);
        http2_goaway(b->h2, http2_last_id(b->h2), HTTP2_ENHANCE_YOUR_CALM, i == 1 ? "else" : "too_many_pings");
        session_mark(b);
        rig_run(r, 3 * RIG_S); /* the back-off of one that leaves at once */
        assert_non_null(rig_up(r, 0));
        uint32_t doubled = i - 1 < 8 ? (uint32_t)i - 1 : 8;
        assert_int_equal(rig_up(r, 0)->life->time_ns, quick.keepalive.time_ns << doubled);
    }
    rig_touch(r);
    rig_run(r, 5 * RIG_MS);
    assert_int_equal(rig_up(r, 0)->life->time_ns, quick.keepalive.time_ns << 8); /* a new generation is no reason to forget it */
    assert_true(rig_destroy(r));
}

/* -- policing ------------------------------------------------------------------------------------- */

static void client_pings(struct rig *r)
{
    struct session *s = rig_client(r, 0)->session;
    if (s == NULL)
        return;
    http2_ping(s->h2, 7);
    session_mark(s);
}

/* PINGs `apart`, until the client is told off: how many; 0: never. */
static uint32_t pings_borne(struct rig *r, uint64_t apart, uint32_t most, bool with_calls)
{
    for (uint32_t i = 1; i <= most; i++) {
        client_pings(r);
        rig_run(r, apart / 2);
        if (rig_client(r, 0)->goaways > 0)
            return i;
        if (with_calls)
            rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 10});
        rig_run(r, apart - apart / 2);
    }
    return 0;
}

static struct rig *policed(uint64_t min_time, bool permit)
{
    struct snapshot_listener l = {.keepalive = {.min_time_ns = min_time, .permit_without_stream = permit}};
    return world(&l, NULL, 1);
}

static void told_off(struct rig *r)
{
    struct rig_host *c = rig_client(r, 0);
    assert_int_equal(c->goaway_code, HTTP2_ENHANCE_YOUR_CALM);
    assert_string_equal(c->goaway_debug, "too_many_pings");
    assert_int_equal(drops(r, STATS_DROP_H2_TOO_MANY_PINGS), 1);
    rig_run(r, 10 * RIG_MS);
    assert_null(c->session);
    assert_true(rig_destroy(r));
}

static void test_too_many_pings(void **state)
{
    (void)state;
    struct rig *r = policed(100 * RIG_MS, true);
    assert_int_equal(pings_borne(r, 50 * RIG_MS, 100, false), 4); /* the first is free, two strikes are borne */
    told_off(r);
    r = policed(100 * RIG_MS, true);
    struct rig_call *c = rig_start(rig_client(r, 0), &hang);
    rig_run(r, 10 * RIG_MS);
    assert_int_equal(pings_borne(r, 50 * RIG_MS, 100, false), 4);
    rig_run(r, 10 * RIG_MS);
    assert_true(c->lost && c->up_reset); /* its calls end, on both sides */
    told_off(r);
}

static void test_pings_permitted(void **state)
{
    (void)state;
    struct rig *r = policed(100 * RIG_MS, true);
    assert_int_equal(pings_borne(r, 101 * RIG_MS, 50, false), 0);
    assert_true(rig_destroy(r));
    r = policed(100 * RIG_MS, false); /* without a stream only every two hours */
    assert_int_equal(pings_borne(r, 101 * RIG_MS, 50, false), 4);
    told_off(r);
    r = policed(100 * RIG_MS, false);
    struct rig_call *c = rig_start(rig_client(r, 0), &hang);
    rig_run(r, 10 * RIG_MS);
    assert_int_equal(pings_borne(r, 101 * RIG_MS, 50, false), 0);
    rig_cancel(c);
    assert_true(rig_destroy(r));
    r = policed(0, false);
    assert_int_equal(pings_borne(r, 2 * RIG_MS, 200, false), 0);
    assert_true(rig_destroy(r));
}

/* PINGs that go with DATA (how gRPC measures bandwidth-delay products) are no strikes. */
static void test_pings_with_data(void **state)
{
    (void)state;
    struct rig *r = policed(100 * RIG_S, false);
    assert_int_equal(pings_borne(r, 10 * RIG_MS, 200, true), 0);
    assert_true(rig_settle(r, RIG_S));
    for (uint32_t i = 0; i < r->call_count; i++)
        assert_true(rig_is(r->call[i], 0));
    assert_true(rig_destroy(r));
}

/* More PINGs in one segment than answers are kept for: a peer that reads has done no harm. */
static void test_many_pings_at_once(void **state)
{
    (void)state;
    struct rig *r = policed(0, false);
    uint8_t frames[100 * 17];
    for (int i = 0; i < 100; i++) {
        static const uint8_t ping[17] = {0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8};
        memcpy(frames + 17 * i, ping, 17);
        frames[17 * i + 16] = (uint8_t)i;
    }
    struct session *s = rig_client(r, 0)->session;
    assert_int_equal(transport_write(&s->transport, frames, sizeof(frames)), sizeof(frames));
    rig_run(r, 10 * RIG_MS);
    assert_int_equal(rig_client(r, 0)->goaways, 0);
    struct rig_call *c = rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 10});
    assert_true(rig_settle(r, RIG_S));
    assert_true(rig_is(c, 0));
    assert_true(rig_destroy(r));
}

/* -- age and idleness ------------------------------------------------------------------------------- */

/* When the client's connection is gone, in ms from its opening; 0: never within `ms`. */
static uint32_t gone_after(struct rig *r, uint32_t ms)
{
    for (uint32_t i = 5; i < ms; i++) {
        if (rig_client(r, 0)->session == NULL)
            return i;
        rig_run(r, RIG_MS);
    }
    return 0;
}

static void test_age(void **state)
{
    (void)state;
    struct snapshot_listener l = {.max_connection_age_ns = RIG_S};
    uint32_t low = UINT32_MAX, high = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct rig *r = world(&l, NULL, seed);
        uint32_t at = gone_after(r, 1200);
        struct rig_host *c = rig_client(r, 0);
        assert_int_equal(c->goaways, 2); /* a warning, and the end; no error in either */
        assert_true(c->goaway_last[0] == 0x7fffffff && c->goaway_last[1] == 0);
        assert_string_equal(c->goaway_debug, "max_age");
        assert_int_equal(c->goaway_code, HTTP2_NO_ERROR);
        low = at < low ? at : low;
        high = at > high ? at : high;
        assert_true(rig_destroy(r));
    }
    assert_in_range(low, 900, 950);
    assert_in_range(high, 1050, 1105);
}

/* What runs is finished; what crosses the warning is served; grace ends the rest. */
static void test_grace(void **state)
{
    (void)state;
    struct snapshot_listener l = {.max_connection_age_ns = RIG_S, .max_connection_age_grace_ns = 500 * RIG_MS};
    struct rig *r = world(&l, NULL, 3);
    struct rig_host *c = rig_client(r, 0);
    struct rig_call *early = rig_start(c, &(struct rig_script){.request = 10, .response = 10, .delay_ns = 1300 * RIG_MS});
    struct rig_call *never = rig_start(c, &hang);
    while (c->goaways == 0)
        rig_step(r, RIG_MS / 10);
    rig_run(r, 1400 * RIG_MS - (r->now - c->session->opened_ns));
    assert_true(rig_is(early, 0));
    assert_int_equal(never->ends, 0);
    assert_non_null(c->session);
    rig_run(r, 300 * RIG_MS);
    assert_true(never->lost && never->up_reset);
    assert_null(c->session);
    assert_string_equal(c->goaway_debug, "grace is over");
    assert_int_equal(drops(r, STATS_DROP_H2_GRACE_OVER), 1);
    assert_true(rig_destroy(r));
}

/* A client that opens streams without pause while it is drained loses none: up to the real last id they are served, above it they come back as
 * not processed, which its library repeats elsewhere. */
static void test_streams_cross_the_warning(void **state)
{
    (void)state;
    struct snapshot_listener l = {.max_connection_age_ns = 300 * RIG_MS};
    struct rig *r = world(&l, NULL, 5);
    struct rig_host *c = rig_client(r, 0);
    uint32_t served = 0, after = 0;
    for (int i = 0; i < 4000 && c->goaways < 1; i++) {
        rig_start(c, &(struct rig_script){.request = 10, .response = 10});
        rig_run(r, RIG_MS / 10);
    }
    assert_int_equal(c->goaways, 1);
    assert_true(rig_settle(r, RIG_S));
    for (uint32_t i = 0; i < r->call_count; i++) {
        served += rig_is(r->call[i], 0);
        after += !rig_is(r->call[i], 0);
    }
    assert_int_equal(after, 0);
    assert_true(served > 100);
    rig_run(r, 50 * RIG_MS);
    assert_null(c->session);
    assert_true(rig_destroy(r));
}

/* The PING behind the warning has to wait for keepalive's, which is on its way: the last id is said a round trip after it none the less. */
static void test_age_beside_keepalive(void **state)
{
    (void)state;
    struct snapshot_listener l = {.max_connection_age_ns = RIG_S, .keepalive = {.time_ns = 50 * RIG_MS, .timeout_ns = 20 * RIG_S}};
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct rig *r = world(&l, NULL, seed);
        struct rig_host *c = rig_client(r, 0);
        struct session *s = base_container(r->serve.sessions->all[SESSION_DOWN].next, struct session, link);
        while (s->pinged_ns == 0 || r->now - s->opened_ns < 850 * RIG_MS)
            rig_step(r, RIG_MS / 10);
        c->cut = true; /* the PING is lost for now, and said again by TCP */
        while (s->drain_ns == 0)
            rig_step(r, RIG_MS / 10);
        rig_heal(r);
        rig_run(r, 500 * RIG_MS);
        assert_null(c->session);
        assert_int_equal(c->goaways, 2);
        assert_int_equal(stats_read(&rig_gateway(r)->stats->counters[STATS_WARNINGS_UNANSWERED]), 0);
        assert_true(rig_destroy(r));
    }
}

/* Who does not answer gets the last id none the less, in the end, and that is counted. */
static void test_warning_unanswered(void **state)
{
    (void)state;
    struct snapshot_listener l = {.max_connection_age_ns = RIG_S};
    struct rig *r = world(&l, NULL, 1);
    struct session *s = base_container(r->serve.sessions->all[SESSION_DOWN].next, struct session, link);
    rig_run(r, 850 * RIG_MS);
    rig_client(r, 0)->cut = true;
    while (s->drain_ns == 0)
        rig_step(r, RIG_MS / 10);
    rig_run(r, 4900 * RIG_MS);
    assert_false(s->closing);
    rig_run(r, 200 * RIG_MS);
    assert_int_equal(stats_read(&rig_gateway(r)->stats->counters[STATS_WARNINGS_UNANSWERED]), 1);
    rig_heal(r);
    assert_true(rig_destroy(r));
}

static void test_idle(void **state)
{
    (void)state;
    struct snapshot_listener l = {.max_connection_idle_ns = 200 * RIG_MS};
    struct rig *r = world(&l, NULL, 1);
    struct rig_call *c = rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 10, .delay_ns = 700 * RIG_MS});
    rig_run(r, 800 * RIG_MS);
    assert_true(rig_is(c, 0));
    assert_int_equal(rig_client(r, 0)->goaways, 0); /* idle for 100 ms only */
    rig_run(r, 120 * RIG_MS);
    assert_null(rig_client(r, 0)->session);
    assert_string_equal(rig_client(r, 0)->goaway_debug, "max_idle");
    assert_true(rig_destroy(r));
}

/* A limit that is set while connections are there holds for them, too. */
static void test_limits_at_run_time(void **state)
{
    (void)state;
    struct rig *r = world(NULL, NULL, 1);
    rig_run(r, RIG_S);
    assert_non_null(rig_client(r, 0)->session);
    listener(r)->max_connection_idle_ns = 2 * RIG_S;
    r->world->s.cluster[0]->keepalive = quick.keepalive;
    rig_touch(r);
    rig_run(r, 500 * RIG_MS);
    assert_int_equal(rig_up(r, 0)->life->time_ns, quick.keepalive.time_ns);
    rig_run(r, 600 * RIG_MS);
    assert_null(rig_client(r, 0)->session);
    assert_true(rig_destroy(r));
}

/* A backend connection that is old goes on until its replacement is READY; its calls finish on it. */
static void test_age_up(void **state)
{
    (void)state;
    struct snapshot_cluster c = {.max_connection_age_ns = 2 * RIG_S};
    struct rig *r = world(NULL, &c, 1);
    struct rig_call *slow = rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 10, .delay_ns = 3 * RIG_S});
    for (int i = 0; i < 1000; i++) {
        rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 10});
        rig_run(r, 4 * RIG_MS);
    }
    assert_true(rig_settle(r, 5 * RIG_S));
    for (uint32_t i = 0; i < r->call_count; i++)
        assert_true(rig_is(r->call[i], 0));
    assert_true(rig_is(slow, 0));
    assert_in_range(rig_backend(r, 0)->accepted, 2, 3);
    rig_run(r, 100 * RIG_MS);
    assert_int_equal(r->serve.sessions->count[SESSION_UP], 1);
    assert_true(rig_destroy(r));
}

/* -- half sent -------------------------------------------------------------------------------------- */

static void test_no_handshake(void **state)
{
    (void)state;
    struct snapshot_listener l = {.handshake_timeout_ns = 300 * RIG_MS};
    struct rig *r = world(&l, NULL, 1);
    struct base_flow flow = {.local = rig_client(r, 0)->addr, .remote = rig_gateway(r)->addr, .remote_port = 50051};
    struct transport t = transport_connect(rig_client(r, 0)->tcp, &flow, r->now);
    rig_run(r, 10 * RIG_MS);
    static const char preface[24] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    assert_int_equal(transport_write(&t, preface, sizeof(preface)), sizeof(preface));
    rig_run(r, 250 * RIG_MS);
    assert_int_equal(r->serve.sessions->count[SESSION_DOWN], 2);
    rig_run(r, 60 * RIG_MS);
    assert_int_equal(r->serve.sessions->count[SESSION_DOWN], 1); /* the other one has long said its SETTINGS */
    assert_int_equal(drops(r, STATS_DROP_H2_HANDSHAKE_TIMEOUT), 1);
    transport_abort(&t, r->now);
    assert_true(rig_destroy(r));
}

static const uint8_t unsent[] = {0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 8};

/* RST_STREAM for a stream whose HEADERS never came: a connection error, where that is all that comes. */
static void test_reset_of_an_idle_stream(void **state)
{
    (void)state;
    struct rig *r = world(NULL, NULL, 1);
    struct rig_host *c = rig_client(r, 0);
    rig_run(r, 10 * RIG_MS);
    transport_write(&c->session->transport, unsent, sizeof(unsent));
    rig_run(r, 100 * RIG_MS);
    transport_write(&c->session->transport, unsent, sizeof(unsent)); /* another puts nothing off */
    rig_run(r, 90 * RIG_MS);
    assert_non_null(c->session);
    rig_run(r, 20 * RIG_MS);
    assert_null(c->session);
    assert_int_equal(c->goaway_code, HTTP2_PROTOCOL_ERROR);
    assert_string_equal(c->goaway_debug, "RST_STREAM on an idle stream");
    assert_int_equal(drops(r, STATS_DROP_H2_PROTOCOL), 1);
    assert_true(rig_destroy(r));
}

/* gRPC's core says the same of a call that was cancelled before it was sent: the others on the connection live on. */
static void test_reset_of_an_unsent_call(void **state)
{
    (void)state;
    struct rig *r = world(NULL, NULL, 1);
    struct rig_host *c = rig_client(r, 0);
    rig_run(r, 10 * RIG_MS);
    transport_write(&c->session->transport, unsent, sizeof(unsent));
    rig_run(r, 150 * RIG_MS);
    struct rig_call *next = rig_start(c, &(struct rig_script){.request = 10, .response = 10, .delay_ns = 300 * RIG_MS});
    rig_run(r, RIG_S);
    assert_true(rig_is(next, 0));
    assert_non_null(c->session);
    assert_int_equal(drops(r, STATS_DROP_H2_PROTOCOL), 0);
    assert_true(rig_destroy(r));
}

static void test_half_a_header_block(void **state)
{
    (void)state;
    struct snapshot_listener l = {.header_timeout_ns = 300 * RIG_MS};
    struct rig *r = world(&l, NULL, 1);
    struct rig_host *c = rig_client(r, 0);
    struct rig_call *runs = rig_start(c, &hang);
    rig_run(r, 10 * RIG_MS);
    static const uint8_t half[] = {0, 0, 1, 1, 0, 0, 0, 0, 101, 0x82};
    static const uint8_t more[] = {0, 0, 1, 9, 0, 0, 0, 0, 101, 0x86};
    assert_int_equal(transport_write(&c->session->transport, half, sizeof(half)), sizeof(half));
    for (int i = 0; i < 5; i++) { /* a piece now and then does not help */
        rig_run(r, 50 * RIG_MS);
        assert_non_null(c->session);
        transport_write(&c->session->transport, more, sizeof(more));
    }
    rig_run(r, 65 * RIG_MS);
    assert_null(c->session);
    assert_int_equal(c->goaway_code, HTTP2_ENHANCE_YOUR_CALM);
    assert_string_equal(c->goaway_debug, "a header block was not finished in time");
    assert_int_equal(drops(r, STATS_DROP_H2_HEADER_TIMEOUT), 1);
    assert_true(runs->lost);
    assert_true(rig_destroy(r));
}

static const uint8_t half_block[] = {0, 0, 1, 1, 0, 0, 0, 0, 101, 0x82};

/* More connections with half a header block than there are blocks: the oldest is ended and told, the newcomer goes on. */
static void test_half_blocks_of_many(void **state)
{
    (void)state;
    struct rig_config config;
    rig_config_defaults(&config);
    config.clients = 4;
    struct rig *r = rig_create(&config);
    rig_add(r, 0, 0, 0, 1);
    for (uint32_t i = 0; i < 4; i++)
        rig_connect(rig_client(r, i));
    rig_run(r, 5 * RIG_MS);
    rig_gateway(r)->http2->blocks.capacity = 2;
    for (uint32_t i = 0; i < 3; i++) {
        transport_write(&rig_client(r, i)->session->transport, half_block, sizeof(half_block));
        rig_run(r, 5 * RIG_MS);
    }
    assert_null(rig_client(r, 0)->session);
    assert_int_equal(rig_client(r, 0)->goaway_code, HTTP2_ENHANCE_YOUR_CALM);
    assert_string_equal(rig_client(r, 0)->goaway_debug, "a header block unfinished while others wait");
    assert_true(rig_client(r, 1)->session != NULL && rig_client(r, 2)->session != NULL);
    assert_int_equal(drops(r, STATS_DROP_H2_BLOCK_EVICTED), 1);
    struct rig_call *c = rig_start(rig_client(r, 3), &(struct rig_script){.request = 10, .response = 10, .metadata = 3000});
    assert_true(rig_settle(r, RIG_S)); /* its block comes in pieces, too */
    assert_true(rig_is(c, 0));
    assert_true(rig_destroy(r));
}

/* -- overload --------------------------------------------------------------------------------------- */

static void test_overload(void **state)
{
    (void)state;
    struct rig_config config;
    rig_config_defaults(&config);
    config.clients = 3;
    config.packets = 2000;
    config.high_water = 60;
    struct rig *r = rig_create(&config);
    listener(r)->max_concurrent_streams = 500;
    rig_add(r, 0, 0, 0, 1);
    for (uint32_t i = 0; i < 3; i++)
        rig_connect(rig_client(r, i));
    rig_run(r, 5 * RIG_MS);
    /* One that reads nothing of its answers. */
    for (int i = 0; i < 80; i++) {
        rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 1 << 20, .no_read = true});
        rig_run(r, 4 * RIG_MS);
    }
    assert_true(r->serve.sessions->overloaded);
    assert_true(packet_pool_in_use(rig_gateway(r)->pool) < 1900);
    uint32_t refused = 0;
    for (uint32_t i = 0; i < r->call_count; i++)
        refused += r->call[i]->reset && r->call[i]->reset_code == HTTP2_REFUSED_STREAM;
    assert_true(refused > 0 && drops(r, STATS_DROP_H2_OVERLOAD) == refused);
    /* A newcomer is refused, not dropped, and hears of the limit. */
    struct rig_call *c = rig_start(rig_client(r, 1), &(struct rig_script){.request = 10, .response = 10});
    rig_run(r, 20 * RIG_MS);
    assert_true(c->reset && c->reset_code == HTTP2_REFUSED_STREAM);
    assert_int_equal(rig_client(r, 1)->session->h2->peer_max_streams, 1);
    assert_int_equal(rig_client(r, 2)->session->h2->peer_max_streams, 500);
    /* Who keeps all that is ended; then everything is as before. */
    rig_run(r, 600 * RIG_MS);
    assert_null(rig_client(r, 0)->session);
    assert_int_equal(rig_client(r, 0)->goaway_code, HTTP2_ENHANCE_YOUR_CALM);
    assert_int_equal(drops(r, STATS_DROP_H2_HOARDER), 1);
    rig_run(r, 20 * RIG_MS);
    assert_false(r->serve.sessions->overloaded);
    assert_int_equal(rig_client(r, 1)->session->h2->peer_max_streams, 500);
    c = rig_start(rig_client(r, 1), &(struct rig_script){.request = 10, .response = 10});
    assert_true(rig_settle(r, RIG_S));
    assert_true(rig_is(c, 0));
    assert_true(rig_destroy(r));
}

/* Objects run out, of each kind that a stream takes: who asks for one more is refused and told of a lower limit, nobody else is; it is raised when there are enough. */
static void test_scarce(void **state)
{
    (void)state;
    static const struct {
        uint32_t streams, session_streams, http2_streams;
        enum stats_drop why;
    } kinds[] = {{0, 40, 0, STATS_DROP_STREAM_FULL}, {0, 41, 0, STATS_DROP_STREAM_FULL} /* the backend's */, {0, 0, 40, STATS_DROP_H2_STREAMS_FULL}, {20, 100, 100, STATS_DROP_RPC_FULL}};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct rig_config config;
        rig_config_defaults(&config);
        config.clients = 2;
        config.streams = kinds[i].streams;
        config.session_streams = kinds[i].session_streams;
        config.http2_streams = kinds[i].http2_streams;
        struct rig *r = rig_create(&config);
        rig_add(r, 0, 0, 0, 1);
        rig_connect(rig_client(r, 0));
        rig_connect(rig_client(r, 1));
        rig_run(r, 5 * RIG_MS);
        for (int n = 0; n < 30; n++)
            rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 10, .delay_ns = 3 * RIG_S});
        rig_run(r, 50 * RIG_MS);
        uint32_t refused = 0;
        for (uint32_t n = 0; n < r->call_count; n++)
            refused += r->call[n]->reset && r->call[n]->reset_code == HTTP2_REFUSED_STREAM;
        assert_int_equal(refused, 10);
        assert_true(drops(r, kinds[i].why) >= 1 && drops(r, kinds[i].why) + drops(r, STATS_DROP_H2_REFUSED) == 10); /* the latter: above the new limit already */
        assert_int_equal(rig_client(r, 0)->session->h2->peer_max_streams, 10); /* half of what it has */
        assert_int_equal(rig_client(r, 1)->session->h2->peer_max_streams, 128);
        assert_int_equal(stats_read(&rig_gateway(r)->stats->counters[STATS_STREAMS_LOWERED]), 1);
        struct rig_call *waits = rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 10});
        rig_run(r, 2 * RIG_S);
        assert_int_equal(waits->ends, 0); /* they are all taken still */
        assert_int_equal(rig_client(r, 0)->session->h2->peer_max_streams, 10);
        assert_true(rig_settle(r, 5 * RIG_S));
        assert_true(rig_is(waits, 0));
        rig_run(r, 50 * RIG_MS);
        assert_int_equal(rig_client(r, 0)->session->h2->peer_max_streams, 128);
        assert_true(rig_destroy(r));
    }
}

/* A client that keeps as much unread as one may: its new calls are refused, those that it has go on, others feel nothing. */
static void test_buffered(void **state)
{
    (void)state;
    struct rig_config config;
    rig_config_defaults(&config);
    config.clients = 2;
    struct rig *r = rig_create(&config);
    listener(r)->bounds.buffered = 200 << 10;
    rig_add(r, 0, 0, 0, 1);
    rig_connect(rig_client(r, 0));
    rig_connect(rig_client(r, 1));
    rig_run(r, 5 * RIG_MS);
    struct rig_call *reads = rig_start(rig_client(r, 0), &(struct rig_script){.act = RIG_ECHO, .request = 100000, .never_ends = true}), *kept[6];
    for (int i = 0; i < 6; i++) {
        kept[i] = rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 1 << 20, .no_read = true});
        rig_run(r, 50 * RIG_MS);
        assert_int_equal(kept[i]->reset, i >= 4); /* 64 KiB stand at the client, 64 here */
    }
    assert_int_equal(kept[5]->reset_code, HTTP2_REFUSED_STREAM);
    assert_false(kept[5]->up_seen);
    assert_int_equal(drops(r, STATS_DROP_H2_BUFFERED), 2);
    struct rig_call *other = rig_start(rig_client(r, 1), &(struct rig_script){.request = 10, .response = 10});
    rig_run(r, 50 * RIG_MS);
    assert_true(rig_is(other, 0));
    assert_int_equal(reads->got, 100000);
    rig_cancel(kept[0]);
    rig_run(r, 50 * RIG_MS);
    struct rig_call *again = rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 10});
    rig_run(r, 50 * RIG_MS);
    assert_true(rig_is(again, 0));
    rig_cancel(reads);
    for (int i = 1; i < 4; i++)
        rig_cancel(kept[i]);
    assert_true(rig_settle(r, RIG_S));
    assert_true(rig_destroy(r));
}

static uint32_t postponed(struct rig *r)
{
    return (uint32_t)stats_read(&rig_gateway(r)->stats->counters[STATS_CLIENTS_POSTPONED]);
}

/* Requests of client 0, and as many RST_STREAMs. */
static void resets(struct rig *r, int n)
{
    for (int i = 0; i < n; i += 20) {
        uint32_t first = r->call_count;
        for (int k = 0; k < 20; k++)
            rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 10, .delay_ns = RIG_S});
        rig_run(r, RIG_MS / 2);
        while (first < r->call_count)
            rig_cancel(r->call[first++]);
        rig_run(r, RIG_MS / 2);
    }
}

/* A client that resets much is read when the others have been: all that it says is heard nevertheless, and when it has calmed down it is as the others. */
static void test_suspect(void **state)
{
    (void)state;
    struct rig_config config;
    rig_config_defaults(&config);
    config.clients = 2;
    struct rig *r = rig_create(&config);
    listener(r)->max_concurrent_streams = 1000;
    rig_add(r, 0, 0, 0, 1);
    rig_connect(rig_client(r, 0));
    rig_connect(rig_client(r, 1));
    rig_run(r, 5 * RIG_MS);
    struct session *down[2] = {rig_down(r, 0), rig_down(r, 1)};
    if (!base_addr_eq(&session_flow(down[0])->remote, &rig_client(r, 0)->addr)) {
        struct session *first = down[0];
        down[0] = down[1];
        down[1] = first;
    }
    resets(r, 400);
    rig_run(r, 5 * RIG_MS);
    assert_true(http2_suspect(down[0]->h2));
    assert_false(http2_suspect(down[1]->h2));
    assert_true(postponed(r) >= 1);
    /* In one turn: the suspect's call is there first, the other one's is served first. */
    struct rig_call *a[8], *b;
    for (int i = 0; i < 8; i++)
        a[i] = rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 10});
    b = rig_start(rig_client(r, 1), &(struct rig_script){.request = 10, .response = 10});
    assert_true(rig_settle(r, RIG_S));
    assert_true(rig_is(b, 0));
    for (int i = 0; i < 8; i++) {
        assert_true(rig_is(a[i], 0));
        assert_true(b->up_order < a[i]->up_order);
    }
    assert_true(base_list_empty(&r->serve.sessions->postponed));
    struct rig_call *last = rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 10, .delay_ns = 10 * RIG_MS});
    rig_run(r, 2 * RIG_S);
    uint32_t before = postponed(r);
    assert_true(rig_is(last, 0));
    assert_false(http2_suspect(down[0]->h2)); /* time has earned it */
    rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 10});
    assert_true(rig_settle(r, RIG_S));
    assert_int_equal(postponed(r), before);
    assert_true(rig_destroy(r));
}

/* It goes while it is postponed. */
static void test_suspect_leaves(void **state)
{
    (void)state;
    for (int how = 0; how < 4; how++) {
        struct rig_config config;
        rig_config_defaults(&config);
        config.clients = 1;
        struct rig *r = rig_create(&config);
        listener(r)->max_concurrent_streams = 1000;
        rig_add(r, 0, 0, 0, 1);
        rig_connect(rig_client(r, 0));
        rig_run(r, 5 * RIG_MS);
        struct session *s = rig_down(r, 0);
        resets(r, 400);
        for (int i = 0; i < 20; i++)
            rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 10, .delay_ns = RIG_S});
        for (int i = 0; i < 2000 && base_list_empty(&s->later); i++)
            rig_step(r, RIG_MS / 100);
        assert_false(base_list_empty(&s->later));
        if (how == 0)
            rig_disconnect(rig_client(r, 0), true);
        else if (how == 1)
            rig_disconnect(rig_client(r, 0), false);
        else if (how == 2)
            session_end(s, HTTP2_NO_ERROR, "a test", STATS_DROP_H2_HOARDER);
        else
            worker_session_end(&r->serve, s, false, r->now);
        assert_true(how < 3 || base_list_empty(&r->serve.sessions->postponed));
        rig_run(r, 2 * RIG_S);
        assert_true(base_list_empty(&r->serve.sessions->postponed));
        assert_int_equal(rig_in_use(r, "session_stream"), 0);
        assert_true(rig_destroy(r));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_black_hole_up),
        cmocka_unit_test(test_black_hole_without_stream),
        cmocka_unit_test(test_silent_but_alive),
        cmocka_unit_test(test_black_hole_down),
        cmocka_unit_test(test_calm),
        cmocka_unit_test(test_too_many_pings),
        cmocka_unit_test(test_pings_permitted),
        cmocka_unit_test(test_pings_with_data),
        cmocka_unit_test(test_many_pings_at_once),
        cmocka_unit_test(test_age),
        cmocka_unit_test(test_grace),
        cmocka_unit_test(test_streams_cross_the_warning),
        cmocka_unit_test(test_age_beside_keepalive),
        cmocka_unit_test(test_warning_unanswered),
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_limits_at_run_time),
        cmocka_unit_test(test_age_up),
        cmocka_unit_test(test_no_handshake),
        cmocka_unit_test(test_reset_of_an_idle_stream),
        cmocka_unit_test(test_reset_of_an_unsent_call),
        cmocka_unit_test(test_half_a_header_block),
        cmocka_unit_test(test_half_blocks_of_many),
        cmocka_unit_test(test_overload),
        cmocka_unit_test(test_scarce),
        cmocka_unit_test(test_buffered),
        cmocka_unit_test(test_suspect),
        cmocka_unit_test(test_suspect_leaves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
