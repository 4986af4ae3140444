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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
