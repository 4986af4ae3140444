/* What if there is no buffer, no object, no room in the mailbox: refusals that are counted, no crash, no hang, and everything back afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/rig.h"
#include "lib/world.h"

static const struct rig_script scenario[] = {
    {.request = 100, .response = 100},
    {.act = RIG_ECHO, .request = 90000},
    {.request = 20000, .response = 20000, .metadata = 3000},
    {.act = RIG_TRAILERS_ONLY, .grpc_status = 3},
    {.act = RIG_HANG, .request = 3000, .timeout = "30m"},
    {.request = 10, .response = 200000, .cancel_ns = 3 * RIG_MS},
    {.act = RIG_RESET, .code = HTTP2_INTERNAL_ERROR, .request = 2000},
    {.path = "/nowhere", .request = 3000},
};
#define SCENARIO (sizeof(scenario) / sizeof(scenario[0]))

static struct rig *made(struct rig_config *c)
{
    struct rig *r = rig_create(c);
    r->stride = 2 * RIG_MS;
    for (uint32_t i = 0; i < c->backends; i++)
        rig_add(r, 0, i, i, 1);
    rig_connect(rig_client(r, 0));
    return r;
}

/* Every call ends, whatever was refused; afterwards calls succeed. */
static void carry_on(struct rig *r, bool succeed)
{
    for (unsigned i = 0; i < 400 && !rig_done(r); i++) {
        rig_run(r, 100 * RIG_MS);
        if (rig_client(r, 0)->session == NULL)
            rig_connect(rig_client(r, 0));
        if (i == 20)
            rig_heal(r);
    }
    for (uint32_t i = 0; i < r->call_count; i++) {
        if (r->call[i]->ends != 1)
            rig_is(r->call[i], 0);
        assert_int_equal(r->call[i]->ends, 1);
        assert_false(r->call[i]->bad_bytes || r->call[i]->up_bad_bytes);
    }
    if (!succeed)
        return;
    rig_heal(r);
    rig_run(r, 3 * RIG_S);
    if (rig_client(r, 0)->session == NULL)
        rig_connect(rig_client(r, 0));
    struct rig_call *c = rig_start(rig_client(r, 0), &scenario[1]);
    rig_settle(r, 20 * RIG_S);
    assert_true(rig_is(c, 0));
}

static void test_nth_buffer(void **state)
{
    (void)state;
    for (int32_t n = 0;; n++) {
        struct rig_config c;
        rig_config_defaults(&c);
        struct rig *r = made(&c);
        rig_gateway(r)->pool->fail_at = n;
        for (unsigned i = 0; i < SCENARIO; i++)
            rig_start(rig_client(r, 0), &scenario[i]);
        rig_run(r, 500 * RIG_MS);
        bool over = rig_gateway(r)->pool->fail_at >= 0;
        carry_on(r, true);
        assert_true(rig_destroy(r));
        if (over) {
            assert_true(n > 50);
            return;
        }
        if (n > 150)
            n += 6; /* of the bulk in the middle, a sample */
    }
}

static void test_few_buffers(void **state)
{
    (void)state;
    for (uint32_t n = 0; n < 60; n += n < 20 ? 1 : 7) {
        struct rig_config c;
        rig_config_defaults(&c);
        struct rig *r = made(&c);
        rig_run(r, 10 * RIG_MS);
        rig_gateway(r)->pool->size = n;
        for (unsigned i = 0; i < SCENARIO; i++)
            rig_start(rig_client(r, 0), &scenario[i]);
        carry_on(r, true);
        /* Calls suffer, connections do not. */
        assert_int_equal(rig_backend(r, 0)->accepted, 1);
        for (uint32_t i = 0; i < r->call_count; i++)
            assert_false(r->call[i]->lost);
        assert_true(rig_destroy(r));
    }
}

static void test_few_objects(void **state)
{
    (void)state;
    for (uint32_t what = 0; what < 4; what++)
        for (uint32_t n = 1; n <= 5; n++) {
            struct rig_config c;
            rig_config_defaults(&c);
            c.backends = 2;
            if (what == 0)
                c.connections = n;
            if (what == 1)
                c.streams = n;
            if (what == 2)
                c.session_streams = n;
            if (what == 3)
                c.tcp_connections = n;
            struct rig *r = made(&c);
            for (int k = 0; k < 3; k++)
                for (unsigned i = 0; i < SCENARIO; i++)
                    rig_start(rig_client(r, 0), &scenario[i]);
            rig_run(r, 100 * RIG_MS);
            uint64_t refused = 0;
            for (int d = 0; d < STATS_DROP_COUNT; d++)
                refused += rig_gateway(r)->stats->drops[d];
            if ((what == 0 || what == 3 ? n < 3 : n < 4))
                assert_true(refused > 0);
            /* Too few to connect at all: the test's own patience ends those calls. */
            for (uint32_t i = 0; i < r->call_count; i++)
                if (r->call[i]->opened || what == 1 || what == 2)
                    continue;
                else
                    rig_cancel(r->call[i]);
            carry_on(r, n >= 4 && what != 1 && what != 2);
            assert_true(rig_destroy(r));
        }
}

static void test_few_held_blocks(void **state)
{
    (void)state;
    for (uint32_t n = 0; n < 3; n++) {
        struct rig_config c;
        rig_config_defaults(&c);
        struct rig *r = rig_create(&c);
        rig_backend(r, 0)->h2.max_concurrent_streams = 1;
        for (int i = 0; i < 3; i++)
            rig_gateway(r)->sessions->held_slab[i].capacity = n;
        rig_add(r, 0, 0, 0, 1);
        rig_connect(rig_client(r, 0));
        rig_run(r, 5 * RIG_MS);
        for (int k = 0; k < 3; k++)
            for (unsigned i = 0; i < SCENARIO; i++)
                rig_start(rig_client(r, 0), &scenario[i]);
        carry_on(r, true);
        if (n < 2) /* large fields are held, small ones stand in the record */
            assert_true(rig_gateway(r)->stats->drops[STATS_DROP_BUFFER_FULL] > 0);
        assert_true(rig_destroy(r));
    }
}

/* Reports are levels: what did not fit comes later, and nothing is lost. */
static void test_mailbox_full(void **state)
{
    (void)state;
    struct rig_config c;
    rig_config_defaults(&c);
    c.backends = 8;
    struct rig *r = rig_create(&c);
    rig_connect(rig_client(r, 0));
    r->mailbox_stuck = true;
    struct mailbox_message filling = {.kind = MAILBOX_LINK};
    while (mailbox_report(r->mailbox, &filling))
        ;
    for (int i = 0; i < 2000; i++)
        mailbox_log(r->mailbox, r->now, 2, "filling");
    for (uint32_t i = 0; i < 8; i++)
        rig_add(r, 0, i, i, 1);
    rig_run(r, 50 * RIG_MS);
    for (unsigned i = 0; i < SCENARIO; i++)
        rig_start(rig_client(r, 0), &scenario[i]);
    assert_true(rig_settle(r, 10 * RIG_S));
    assert_true(rig_is(r->call[0], 0) && rig_is(r->call[1], 0));
    for (uint32_t i = 0; i < 4; i++)
        rig_remove(r, 0, i);
    rig_run(r, 50 * RIG_MS);
    assert_int_equal(r->empties, 0);
    r->mailbox_stuck = false;
    rig_run(r, 50 * RIG_MS);
    assert_int_equal(r->empties, 4);
    for (uint32_t i = 4; i < 8; i++)
        assert_int_equal(r->state[i], MAILBOX_READY);
    assert_true(mailbox_log_dropped(r->mailbox) > 0);
    r->mailbox_stuck = true;
    while (mailbox_report(r->mailbox, &filling))
        ;
    r->world->s.draining = true;
    rig_touch(r);
    rig_run(r, RIG_S);
    r->mailbox_stuck = false;
    rig_run(r, 50 * RIG_MS);
    assert_int_equal(r->drained, 1);
    assert_true(rig_destroy(r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nth_buffer),
        cmocka_unit_test(test_few_buffers),
        cmocka_unit_test(test_few_objects),
        cmocka_unit_test(test_few_held_blocks),
        cmocka_unit_test(test_mailbox_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
