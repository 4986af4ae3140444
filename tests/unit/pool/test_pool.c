/* pool over the rig: connections come, go, are replaced, are not tried too often; slots are given back. */
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

static struct rig *made(uint32_t backends)
{
    struct rig_config c;
    rig_config_defaults(&c);
    c.backends = backends;
    struct rig *r = rig_create(&c);
    rig_connect(rig_client(r, 0));
    rig_run(r, 5 * RIG_MS);
    return r;
}

static struct rig *full(uint32_t backends)
{
    struct rig *r = made(backends);
    for (uint32_t i = 0; i < backends; i++)
        rig_add(r, 0, i, i, 1);
    rig_run(r, 5 * RIG_MS);
    return r;
}

static void calls(struct rig *r, uint32_t n, const struct rig_script *s)
{
    uint32_t first = r->call_count;
    for (uint32_t i = 0; i < n; i++)
        rig_start(rig_client(r, 0), s);
    assert_true(rig_settle(r, 30 * RIG_S));
    for (uint32_t i = first; i < r->call_count; i++)
        assert_true(rig_is(r->call[i], 0));
}

static uint64_t failures(struct rig *r, uint32_t slot)
{
    return stats_read(&rig_gateway(r)->stats->slots[slot].failures);
}

static void test_round_robin(void **state)
{
    (void)state;
    struct rig *r = made(5);
    rig_listen(rig_backend(r, 4), false);
    for (uint32_t i = 0; i < 5; i++)
        rig_add(r, 0, i, i, i + 1); /* weights are not looked at */
    rig_run(r, 5 * RIG_MS);
    calls(r, 100, &(struct rig_script){.request = 10, .response = 10});
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(rig_backend(r, i)->calls, 25);
    assert_int_equal(r->state[3], MAILBOX_READY);
    assert_int_equal(r->state[4], MAILBOX_TRANSIENT_FAILURE);
    assert_true(rig_destroy(r));
}

static void test_weights(void **state)
{
    (void)state;
    struct rig *r = made(3);
    world_policy(r->world, 0, SNAPSHOT_WEIGHTED_ROUND_ROBIN);
    for (uint32_t i = 0; i < 3; i++)
        rig_add(r, 0, i, i, i == 2 ? 4 : i + 1);
    rig_run(r, 5 * RIG_MS);
    calls(r, 70, &(struct rig_script){.request = 10});
    calls(r, 70, &(struct rig_script){.request = 10});
    for (uint32_t i = 0; i < 3; i++)
        assert_in_range(rig_backend(r, i)->calls, 20u * (i == 2 ? 4 : i + 1) - 1, 20u * (i == 2 ? 4 : i + 1) + 1);
    assert_true(rig_destroy(r));
}

static void test_removed_while_streams_run(void **state)
{
    (void)state;
    struct rig *r = full(2);
    struct rig_call *c[4];
    for (int i = 0; i < 4; i++)
        c[i] = rig_start(rig_client(r, 0), &(struct rig_script){.request = 100, .response = 100000, .delay_ns = 100 * RIG_MS});
    rig_run(r, 10 * RIG_MS);
    assert_int_equal(rig_backend(r, 0)->calls, 2);
    rig_remove(r, 0, 0);
    rig_run(r, 20 * RIG_MS);
    assert_int_equal(r->empties, 0);
    uint32_t before = rig_backend(r, 1)->calls;
    calls(r, 10, &(struct rig_script){.request = 10});
    assert_int_equal(rig_backend(r, 1)->calls, before + 10);
    for (int i = 0; i < 4; i++)
        assert_true(rig_is(c[i], 0));
    rig_run(r, 5 * RIG_MS);
    assert_int_equal(r->empties, 1);
    assert_int_equal(r->empty_slot, 0);
    assert_int_equal(r->empty_serial, 1);
    assert_int_equal(rig_in_use(r, "session"), 2);
    /* The slot gets another endpoint. */
    rig_add(r, 0, 0, 0, 1);
    rig_run(r, 5 * RIG_MS);
    assert_int_equal(rig_backend(r, 0)->accepted, 2);
    assert_int_equal(r->state[0], MAILBOX_READY);
    calls(r, 10, &(struct rig_script){.request = 10});
    assert_int_equal(rig_backend(r, 0)->calls, 7);
    assert_true(rig_destroy(r));
}

/* Used again in the very turn after the report. */
static void test_slot_again_at_once(void **state)
{
    (void)state;
    struct rig *r = full(2);
    for (int i = 0; i < 20; i++) {
        uint32_t before = r->empties;
        rig_remove(r, 0, 0);
        while (r->empties == before)
            rig_step(r, 1000);
        rig_add(r, 0, 0, 0, 1);
        rig_run(r, 5 * RIG_MS);
        assert_int_equal(r->empties, before + 1);
        assert_int_equal(r->state[0], MAILBOX_READY);
        calls(r, 4, &(struct rig_script){.request = 10});
    }
    assert_true(rig_destroy(r));
    r = made(1); /* one that was never connected */
    rig_listen(rig_backend(r, 0), false);
    for (int i = 0; i < 20; i++) {
        rig_add(r, 0, 0, 0, 1);
        rig_run(r, 5 * RIG_MS);
        rig_remove(r, 0, 0);
        rig_step(r, 1000);
        assert_int_equal(r->empties, i + 1);
    }
    rig_listen(rig_backend(r, 0), true);
    rig_add(r, 0, 0, 0, 1);
    rig_run(r, 5 * RIG_MS);
    calls(r, 4, &(struct rig_script){.request = 10});
    rig_remove(r, 0, 0);
    rig_run(r, 5 * RIG_MS);
    assert_int_equal(r->empties, 21);
    assert_true(rig_destroy(r));
}

static void test_back_before_empty(void **state)
{
    (void)state;
    struct rig *r = full(1);
    struct rig_call *c = rig_start(rig_client(r, 0), &(struct rig_script){.request = 100, .response = 100, .delay_ns = 100 * RIG_MS});
    rig_run(r, 10 * RIG_MS);
    rig_remove(r, 0, 0);
    rig_run(r, 10 * RIG_MS);
    rig_add_again(r, 0, 0);
    rig_run(r, 10 * RIG_MS);
    calls(r, 10, &(struct rig_script){.request = 10});
    assert_true(rig_is(c, 0));
    assert_int_equal(rig_backend(r, 0)->accepted, 1); /* its connection served on */
    assert_int_equal(r->empties, 0);
    assert_true(rig_destroy(r));
}

static void test_removed_while_connecting(void **state)
{
    (void)state;
    struct rig *r = made(1);
    rig_backend(r, 0)->cut = true;
    rig_add(r, 0, 0, 0, 1);
    rig_run(r, 100 * RIG_MS);
    assert_int_equal(r->state[0], MAILBOX_CONNECTING);
    rig_remove(r, 0, 0);
    rig_run(r, 5 * RIG_MS);
    assert_int_equal(r->empties, 1);
    assert_true(rig_destroy(r));
}

static void test_backoff(void **state)
{
    (void)state;
    struct rig *r = made(1);
    rig_listen(rig_backend(r, 0), false);
    rig_add(r, 0, 0, 0, 1);
    uint64_t at[16], last = 0;
    int n = 0;
    for (uint64_t end = r->now + 70 * RIG_S; r->now < end && n < 16;) {
        rig_step(r, RIG_MS);
        if (failures(r, 0) != last) {
            last = failures(r, 0);
            at[n++] = r->now;
        }
        assert_int_not_equal(r->state[0], MAILBOX_READY);
    }
    assert_in_range(n, 8, 13);
    double wait = 1;
    for (int i = 1; i < n; i++) {
        double took = (double)(at[i] - at[i - 1]) / 1e9;
        assert_true(took >= 0.79 * wait && took <= 1.22 * wait);
        wait = wait * 1.6 > 10 ? 10 : wait * 1.6;
    }
    assert_int_equal(r->state[0], MAILBOX_TRANSIENT_FAILURE);
    /* Told to try now. */
    rig_listen(rig_backend(r, 0), true);
    pool_reset_backoff(r->serve.pool, 0, 1);
    rig_run(r, 10 * RIG_MS);
    assert_int_equal(r->state[0], MAILBOX_READY);
    /* READY has put the back-off to its base. */
    rig_run(r, 2 * RIG_S);
    rig_listen(rig_backend(r, 0), false);
    rig_kill(rig_backend(r, 0), false);
    rig_run(r, 100 * RIG_MS);
    uint64_t f = failures(r, 0);
    rig_run(r, 1250 * RIG_MS);
    assert_int_equal(failures(r, 0), f + 1);
    rig_listen(rig_backend(r, 0), true);
    rig_run(r, 3 * RIG_S);
    assert_int_equal(r->state[0], MAILBOX_READY);
    assert_true(rig_destroy(r));
}

/* SYNs into the void, and a backend that accepts and says nothing. */
static void test_connect_timeout(void **state)
{
    (void)state;
    for (int mute = 0; mute < 2; mute++) {
        struct rig *r = made(1);
        rig_backend(r, 0)->cut = !mute;
        rig_backend(r, 0)->mute = mute;
        rig_add(r, 0, 0, 0, 1);
        rig_run(r, 990 * RIG_MS);
        assert_int_equal(failures(r, 0), 0);
        assert_int_equal(r->state[0], MAILBOX_CONNECTING);
        rig_run(r, 20 * RIG_MS);
        assert_int_equal(failures(r, 0), 1);
        assert_int_equal(r->state[0], MAILBOX_TRANSIENT_FAILURE);
        assert_int_equal(rig_in_use(r, "session"), 1);
        rig_backend(r, 0)->cut = rig_backend(r, 0)->mute = false;
        rig_run(r, 2 * RIG_S);
        assert_int_equal(r->state[0], MAILBOX_READY);
        assert_true(rig_destroy(r));
    }
}

/* Neither one that closes as soon as it has greeted, nor one that sends GOAWAY, is tried in a tight loop. */
static void test_greets_and_leaves(void **state)
{
    (void)state;
    for (int how = 0; how < 2; how++) {
        struct rig *r = made(1);
        rig_backend(r, 0)->hangs_up = how == 0;
        rig_backend(r, 0)->goaway_at_once = how == 1;
        rig_add(r, 0, 0, 0, 1);
        rig_run(r, 20 * RIG_S);
        assert_in_range(rig_backend(r, 0)->accepted, 2, 26);
        rig_backend(r, 0)->hangs_up = rig_backend(r, 0)->goaway_at_once = false;
        rig_run(r, 15 * RIG_S);
        calls(r, 5, &(struct rig_script){.request = 10});
        assert_true(rig_destroy(r));
    }
}

/* More connections than an endpoint has places, each with a GOAWAY and a call that does not end. */
static void test_goaway_with_calls_again_and_again(void **state)
{
    (void)state;
    struct rig *r = full(1);
    struct rig_call *c[20];
    for (int i = 0; i < 20; i++) {
        c[i] = rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .act = RIG_HANG, .timeout = "100S"});
        rig_run(r, 1500 * RIG_MS);
        rig_goaway(rig_backend(r, 0));
        rig_run(r, 1500 * RIG_MS);
    }
    assert_true(rig_in_use(r, "session") <= 1 + POOL_CONNECTIONS_MAX);
    int waiting = 0;
    for (int i = 0; i < 20; i++)
        waiting += c[i]->ends == 0;
    assert_in_range(waiting, 1, POOL_CONNECTIONS_MAX);
    for (int i = 0; i < 20; i++)
        rig_cancel(c[i]);
    rig_run(r, 3 * RIG_S);
    assert_int_equal(rig_in_use(r, "session"), 2);
    calls(r, 5, &(struct rig_script){.request = 10});
    assert_true(rig_destroy(r));
}

static void test_several_connections(void **state)
{
    (void)state;
    struct rig *r = made(1);
    r->world->s.cluster[0]->connections_per_endpoint = 3;
    rig_add(r, 0, 0, 0, 1);
    rig_run(r, 10 * RIG_MS);
    assert_int_equal(rig_backend(r, 0)->accepted, 3);
    calls(r, 30, &(struct rig_script){.request = 10, .delay_ns = 10 * RIG_MS});
    base_list_each(l, &rig_backend(r, 0)->sessions->all[SESSION_DOWN])
    {
        struct session *s = base_container(l, struct session, link);
        assert_int_equal(http2_last_id(s->h2), 19); /* ten calls each */
    }
    rig_kill(rig_backend(r, 0), false);
    rig_run(r, 3 * RIG_S);
    assert_int_equal(rig_in_use(r, "session"), 4);
    rig_remove(r, 0, 0);
    rig_run(r, 10 * RIG_MS);
    assert_int_equal(r->empties, 1);
    assert_true(rig_destroy(r));
}

/* A warning, time for what is on its way, the final GOAWAY, and the end when the last call has ended. */
static void test_drain(void **state)
{
    (void)state;
    struct rig *r = full(1);
    struct rig_call *old = rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 1000, .delay_ns = 500 * RIG_MS});
    rig_run(r, 10 * RIG_MS);
    r->world->s.draining = true;
    rig_touch(r);
    rig_run(r, 50 * RIG_MS);
    assert_true(http2_goaway_received(rig_client(r, 0)->session->h2));
    assert_int_equal(rig_in_use(r, "session"), 2);
    rig_run(r, 300 * RIG_MS);
    assert_int_equal(r->drained, 0);
    assert_true(rig_settle(r, RIG_S));
    assert_true(rig_is(old, 0));
    rig_run(r, 50 * RIG_MS);
    assert_int_equal(r->drained, 1);
    assert_int_equal(rig_in_use(r, "session"), 1);
    assert_null(rig_client(r, 0)->session);
    rig_connect(rig_client(r, 0)); /* nobody listens */
    rig_run(r, 50 * RIG_MS);
    assert_null(rig_client(r, 0)->session);
    assert_true(rig_destroy(r));
}

/* Another number of connections for endpoints that are there: more are opened, the least busy finish and go. */
static void test_other_connection_count(void **state)
{
    (void)state;
    struct rig *r = full(2);
    uint32_t *wanted = &r->world->s.cluster[0]->connections_per_endpoint;
    *wanted = 3;
    rig_touch(r);
    rig_run(r, 20 * RIG_MS);
    assert_int_equal(rig_backend(r, 0)->accepted, 3);
    assert_int_equal(rig_in_use(r, "session"), 7);
    struct rig_call *c[4];
    for (int i = 0; i < 4; i++)
        c[i] = rig_start(rig_client(r, 0), &(struct rig_script){.request = 100, .response = 1000, .delay_ns = 100 * RIG_MS});
    rig_run(r, 10 * RIG_MS);
    *wanted = 1;
    rig_touch(r);
    rig_run(r, 20 * RIG_MS); /* each backend has two calls, on two connections: one stays for its call alone */
    assert_int_equal(rig_in_use(r, "session"), 5);
    assert_int_equal(r->state[0], MAILBOX_READY);
    assert_true(rig_settle(r, RIG_S));
    for (int i = 0; i < 4; i++)
        assert_true(rig_is(c[i], 0));
    rig_run(r, 20 * RIG_MS);
    assert_int_equal(rig_in_use(r, "session"), 3);
    assert_int_equal(failures(r, 0), 0);
    calls(r, 10, &(struct rig_script){.request = 10});
    assert_int_equal(rig_backend(r, 0)->accepted, 3);
    assert_true(rig_destroy(r));
}

/* A listener goes and another takes its address: clients of the one finish what they have and what they send until they hear of it, by its routes;
 * clients of the other are served at once. */
static void test_listener_taken_away(void **state)
{
    (void)state;
    struct rig_config config;
    rig_config_defaults(&config);
    config.clients = 2;
    config.backends = 1;
    struct rig *r = rig_create(&config);
    rig_connect(rig_client(r, 0));
    rig_add(r, 0, 0, 0, 1);
    rig_run(r, 10 * RIG_MS);
    struct snapshot *s = &r->world->s;
    struct rig_call *old = rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 1000, .delay_ns = 500 * RIG_MS});
    rig_run(r, 10 * RIG_MS);
    s->listener[1] = s->listener[0];
    s->listener[1].id = 1;
    s->listener[0].present = false;
    s->listener_count = 2;
    rig_touch(r);
    struct rig_call *late = rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 10}); /* it crosses the GOAWAY */
    rig_run(r, 50 * RIG_MS);
    assert_true(http2_goaway_received(rig_client(r, 0)->session->h2) && rig_is(late, 0));
    rig_connect(rig_client(r, 1));
    rig_run(r, 10 * RIG_MS);
    struct rig_call *fresh = rig_start(rig_client(r, 1), &(struct rig_script){.request = 10, .response = 10});
    rig_run(r, 300 * RIG_MS);
    assert_true(rig_is(fresh, 0) && rig_client(r, 0)->session != NULL);
    assert_true(rig_settle(r, RIG_S));
    assert_true(rig_is(old, 0));
    rig_run(r, 50 * RIG_MS);
    assert_null(rig_client(r, 0)->session);
    assert_true(!http2_goaway_received(rig_client(r, 1)->session->h2) && rig_in_use(r, "session") == 2 && r->drained == 0);
    /* The other one moves: its client is asked to go, too, and there is nobody at the address any more. */
    s->listener[1].bind.port = 50052;
    rig_touch(r);
    rig_run(r, 300 * RIG_MS);
    assert_null(rig_client(r, 1)->session);
    rig_connect(rig_client(r, 1));
    rig_run(r, 50 * RIG_MS);
    assert_null(rig_client(r, 1)->session);
    assert_true(rig_destroy(r));
}

/* Connections there are hear of another limit. */
static void test_other_stream_limit(void **state)
{
    (void)state;
    struct rig *r = full(1);
    struct session *c = rig_client(r, 0)->session;
    uint32_t before = session_available(c);
    r->world->s.listener[0].max_concurrent_streams = before + 7;
    rig_touch(r);
    rig_run(r, 20 * RIG_MS);
    assert_int_equal(session_available(c), before + 7);
    r->world->s.listener[0].max_concurrent_streams = 3;
    rig_touch(r);
    rig_run(r, 20 * RIG_MS);
    assert_int_equal(session_available(c), 3);
    calls(r, 30, &(struct rig_script){.request = 10});
    assert_true(rig_destroy(r));
}

/* A connection that runs out of stream numbers is replaced before it does, and no call waits for a number that never comes. */
static void test_stream_numbers_run_out(void **state)
{
    (void)state;
    struct rig *r = full(1);
    struct rig_call *old = rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 1000, .delay_ns = 200 * RIG_MS});
    rig_run(r, 5 * RIG_MS);
    rig_up(r, 0)->h2->next_id = ID_MAX - 2 * 65536 - 10;
    for (int i = 0; i < 20; i++) {
        rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 10});
        rig_run(r, 5 * RIG_MS);
        assert_true(rig_is(r->call[r->call_count - 1], 0));
    }
    assert_int_equal(rig_backend(r, 0)->accepted, 2);
    assert_int_equal(r->state[0], MAILBOX_READY);
    assert_true(rig_settle(r, RIG_S));
    assert_true(rig_is(old, 0));
    rig_run(r, 10 * RIG_MS);
    assert_int_equal(rig_in_use(r, "session"), 2);
    rig_up(r, 0)->h2->next_id = ID_MAX;
    rig_listen(rig_backend(r, 0), false);
    calls(r, 1, &(struct rig_script){.request = 10});
    struct rig_call *c = rig_start(rig_client(r, 0), &(struct rig_script){.request = 10});
    assert_true(rig_settle(r, RIG_S));
    assert_true(rig_is(c, 14));
    rig_listen(rig_backend(r, 0), true);
    rig_run(r, 15 * RIG_S);
    calls(r, 3, &(struct rig_script){.request = 10});
    assert_true(rig_destroy(r));
}

/* -- subsets: bit 0 of `spared` is this worker ------------------------------------------------------- */

static void spare(struct rig *r, uint32_t slot, bool spared)
{
    world_endpoint(r->world, slot)->spared = spared;
    rig_touch(r);
}

static void test_spared_from_the_start(void **state)
{
    (void)state;
    struct rig *r = made(3);
    for (uint32_t i = 0; i < 3; i++) {
        rig_add(r, 0, i, i, 1);
        world_endpoint(r->world, i)->spared = i == 1;
    }
    rig_run(r, 20 * RIG_MS);
    assert_int_equal(rig_backend(r, 1)->accepted, 0);
    assert_int_equal(r->state[1], MAILBOX_IDLE);
    calls(r, 20, &(struct rig_script){.request = 10});
    assert_int_equal(rig_backend(r, 0)->calls, 10);
    assert_int_equal(rig_backend(r, 2)->calls, 10);
    /* It goes: this worker says that it holds nothing of it. */
    assert_int_equal(r->empties, 0);
    rig_remove(r, 0, 1);
    rig_run(r, 20 * RIG_MS);
    assert_true(r->empties > 0);
    assert_int_equal(r->empty_slot, 1);
    assert_true(rig_destroy(r));
}

/* A share that moves: what is new is connected first, calls on what has left finish there. */
static void test_share_moves(void **state)
{
    (void)state;
    struct rig *r = made(2);
    rig_add(r, 0, 0, 0, 1);
    rig_add(r, 0, 1, 1, 1);
    world_endpoint(r->world, 1)->spared = 1;
    rig_run(r, 20 * RIG_MS);
    struct rig_call *old = rig_start(rig_client(r, 0), &(struct rig_script){.request = 10, .response = 5000, .delay_ns = 200 * RIG_MS});
    rig_run(r, 10 * RIG_MS);
    rig_listen(rig_backend(r, 1), false); /* the new one is not there yet */
    world_endpoint(r->world, 1)->spared = 0;
    spare(r, 0, true);
    rig_run(r, 100 * RIG_MS);
    calls(r, 5, &(struct rig_script){.request = 10});
    assert_int_equal(rig_backend(r, 0)->calls, 6);
    rig_listen(rig_backend(r, 1), true);
    pool_reset_backoff(r->serve.pool, 1, 1);
    rig_run(r, 50 * RIG_MS);
    calls(r, 5, &(struct rig_script){.request = 10});
    assert_int_equal(rig_backend(r, 1)->calls, 5);
    assert_int_equal(rig_backend(r, 0)->calls, 6);
    assert_true(rig_settle(r, RIG_S));
    assert_true(rig_is(old, 0));
    rig_run(r, 50 * RIG_MS);
    assert_int_equal(rig_in_use(r, "session"), 2);
    assert_int_equal(r->state[0], MAILBOX_IDLE);
    assert_int_equal(r->empties, 0); /* the endpoint is there still */
    /* And back. */
    world_endpoint(r->world, 1)->spared = 1;
    spare(r, 0, false);
    rig_run(r, 50 * RIG_MS);
    calls(r, 5, &(struct rig_script){.request = 10});
    assert_int_equal(rig_backend(r, 0)->calls, 11);
    assert_int_equal(rig_backend(r, 0)->accepted, 2);
    rig_remove(r, 0, 1);
    rig_run(r, 50 * RIG_MS);
    assert_true(r->empties > 0 && r->empty_slot == 1);
    assert_true(rig_destroy(r));
}

/* From all endpoints to a few. */
static void test_subset_is_cut(void **state)
{
    (void)state;
    struct rig *r = full(10);
    assert_int_equal(rig_in_use(r, "session"), 11);
    for (uint32_t i = 0; i < 7; i++)
        world_endpoint(r->world, i)->spared = 1;
    rig_touch(r);
    rig_run(r, 20 * RIG_MS);
    assert_int_equal(rig_in_use(r, "session"), 4);
    calls(r, 30, &(struct rig_script){.request = 10});
    for (uint32_t i = 7; i < 10; i++)
        assert_int_equal(rig_backend(r, i)->calls, 10);
    assert_true(rig_destroy(r));
}

/* Its limit is used up: further connections, as many as may be, then calls wait; some idle seconds and they are gone. */
static void test_further_connections(void **state)
{
    (void)state;
    for (uint32_t most = 1; most <= 3; most += 2) {
        struct rig *r = made(1);
        rig_backend(r, 0)->h2.max_concurrent_streams = 4;
        r->world->s.cluster[0]->max_connections_per_endpoint = most;
        rig_add(r, 0, 0, 0, 1);
        rig_run(r, 10 * RIG_MS);
        struct rig_call *c[20];
        for (int i = 0; i < 20; i++)
            c[i] = rig_start(rig_client(r, 0), &(struct rig_script){.request = 100, .response = 100, .delay_ns = 200 * RIG_MS});
        rig_run(r, 100 * RIG_MS);
        assert_int_equal(rig_backend(r, 0)->accepted, most);
        assert_int_equal(rig_backend(r, 0)->open_max, 4 * most);
        assert_true(rig_settle(r, 2 * RIG_S));
        for (int i = 0; i < 20; i++) {
            assert_true(rig_is(c[i], 0));
            /* In the order in which they came; on several connections those that go out together may pass each other. */
            assert_in_range(c[i]->up_order / (4 * most), (uint32_t)i / (4 * most), (uint32_t)i / (4 * most));
        }
        rig_run(r, 5 * RIG_S);
        assert_int_equal(rig_in_use(r, "session"), 1 + most);
        rig_run(r, 16 * RIG_S);
        assert_int_equal(rig_in_use(r, "session"), 2);
        calls(r, 4, &(struct rig_script){.request = 10});
        assert_int_equal(rig_backend(r, 0)->accepted, most);
        assert_true(rig_destroy(r));
    }
}

/* One connection is READY, another one is wanted and refused, again and again.  by_load: because all streams are taken; else because of connections_per_endpoint. */
static struct rig *second_refused(bool by_load, uint64_t age_ns)
{
    struct rig *r = made(1);
    rig_backend(r, 0)->h2.max_concurrent_streams = by_load ? 1 : 100;
    r->world->s.cluster[0]->max_connections_per_endpoint = by_load ? 2 : 1;
    rig_add(r, 0, 0, 0, 1);
    rig_run(r, 10 * RIG_MS);
    rig_listen(rig_backend(r, 0), false);
    if (by_load) {
        r->world->s.cluster[0]->no_ready_timeout_ns = 100 * RIG_S;
        for (int i = 0; i < 2; i++)
            rig_start(rig_client(r, 0), &(struct rig_script){.request = 100, .delay_ns = age_ns + 2 * RIG_S});
    } else {
        r->world->s.cluster[0]->connections_per_endpoint = 2;
    }
    rig_touch(r);
    rig_run(r, age_ns);
    assert_int_equal(r->state[0], MAILBOX_READY);
    assert_int_equal(rig_backend(r, 0)->accepted, 1);
    return r;
}

/* The back-off of a further connection holds up nothing but further connections: the last one that goes is replaced at once. */
static void test_last_is_replaced_at_once(void **state)
{
    (void)state;
    for (int by_load = 0; by_load < 2; by_load++)
        for (int how = 0; how < 3; how++) {
            struct rig *r = second_refused(by_load, 20 * RIG_S);
            uint64_t refused = failures(r, 0);
            assert_in_range(refused, 3, 8);
            rig_listen(rig_backend(r, 0), true);
            if (how == 0)
                rig_goaway(rig_backend(r, 0));
            else
                rig_kill(rig_backend(r, 0), how == 1);
            rig_run(r, 20 * RIG_MS);
            assert_true(rig_backend(r, 0)->accepted >= 2);
            assert_int_equal(r->state[0], MAILBOX_READY);
            rig_run(r, 5 * RIG_S);
            calls(r, 1, &(struct rig_script){.request = 10});
            /* Nobody there: as ever, the first pause is a short one. */
            rig_listen(rig_backend(r, 0), false);
            rig_kill(rig_backend(r, 0), true);
            rig_run(r, 100 * RIG_MS);
            assert_int_equal(r->state[0], MAILBOX_TRANSIENT_FAILURE);
            rig_listen(rig_backend(r, 0), true);
            rig_run(r, 1300 * RIG_MS);
            assert_int_equal(r->state[0], MAILBOX_READY);
            assert_true(rig_destroy(r));
        }
}

/* It goes while a further connection is tried: if that fails, the pause is the first one's. */
static void test_last_goes_during_a_try(void **state)
{
    (void)state;
    struct rig *r = second_refused(false, 20 * RIG_S);
    rig_listen(rig_backend(r, 0), true);
    rig_backend(r, 0)->mute = true; /* the try lasts until its time is up */
    for (uint32_t i = 0; rig_backend(r, 0)->accepted == 1 && rig_backend(r, 0)->muted_count == 0 && i < 15000; i++)
        rig_run(r, RIG_MS);
    rig_backend(r, 0)->mute = false;
    rig_kill(rig_backend(r, 0), true);
    rig_run(r, 3500 * RIG_MS); /* connect_timeout, the base, jitter */
    assert_int_equal(r->state[0], MAILBOX_READY);
    assert_true(rig_destroy(r));
}

/* What load asked for and did not get is not asked for any more when the load has gone, and what it got goes with it. */
static void test_further_connections_refused(void **state)
{
    (void)state;
    struct rig *r = made(1);
    rig_backend(r, 0)->h2.max_concurrent_streams = 1;
    r->world->s.cluster[0]->max_connections_per_endpoint = 4;
    r->world->s.cluster[0]->no_ready_timeout_ns = 100 * RIG_S;
    rig_add(r, 0, 0, 0, 1);
    rig_run(r, 10 * RIG_MS);
    for (int i = 0; i < 2; i++)
        rig_start(rig_client(r, 0), &(struct rig_script){.request = 100, .delay_ns = 4 * RIG_S});
    rig_run(r, 100 * RIG_MS);
    assert_int_equal(rig_backend(r, 0)->accepted, 2);
    rig_listen(rig_backend(r, 0), false);
    struct rig_call *third = rig_start(rig_client(r, 0), &(struct rig_script){.request = 100});
    rig_run(r, 3 * RIG_S);
    assert_true(failures(r, 0) >= 2); /* it is tried as long as somebody waits */
    assert_true(rig_settle(r, 5 * RIG_S));
    assert_true(rig_is(third, 0));
    rig_run(r, 5 * RIG_S);
    uint64_t f = failures(r, 0);
    rig_run(r, 40 * RIG_S);
    assert_int_equal(failures(r, 0), f);
    assert_int_equal(rig_in_use(r, "session"), 2);
    assert_int_equal(r->state[0], MAILBOX_READY);
    rig_listen(rig_backend(r, 0), true);
    for (int i = 0; i < 4; i++)
        rig_start(rig_client(r, 0), &(struct rig_script){.request = 100, .delay_ns = 4 * RIG_S});
    rig_run(r, 100 * RIG_MS);
    assert_int_equal(rig_backend(r, 0)->open, 4); /* and is there again when it is needed */
    assert_true(rig_settle(r, 5 * RIG_S));
    assert_true(rig_destroy(r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_robin),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_removed_while_streams_run),
        cmocka_unit_test(test_slot_again_at_once),
        cmocka_unit_test(test_back_before_empty),
        cmocka_unit_test(test_removed_while_connecting),
        cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_connect_timeout),
        cmocka_unit_test(test_greets_and_leaves),
        cmocka_unit_test(test_goaway_with_calls_again_and_again),
        cmocka_unit_test(test_several_connections),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_other_connection_count),
        cmocka_unit_test(test_listener_taken_away),
        cmocka_unit_test(test_other_stream_limit),
        cmocka_unit_test(test_stream_numbers_run_out),
        cmocka_unit_test(test_spared_from_the_start),
        cmocka_unit_test(test_share_moves),
        cmocka_unit_test(test_subset_is_cut),
        cmocka_unit_test(test_further_connections),
        cmocka_unit_test(test_last_is_replaced_at_once),
        cmocka_unit_test(test_last_goes_during_a_try),
        cmocka_unit_test(test_further_connections_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
