/* policy: shares of endpoints among workers: even, within the budget, moved little by a change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy/policy.h"

#define MOST 600

static struct base_endpoint address[MOST];

static void addresses(void)
{
    for (uint32_t i = 0; i < MOST; i++)
        address[i] = (struct base_endpoint){base_addr_from_v4(__builtin_bswap32(0xc6120000u + i / 4)), (uint16_t)(50000 + i % 4)};
}

/* spared[] by index of address; those of `gone` are not in the set. */
static void divide(uint32_t n, uint32_t gone, uint32_t workers, uint32_t size, uint64_t spared[MOST])
{
    static struct policy_member m[MOST];
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++)
        if (i != gone)
            m[count++] = (struct policy_member){.address = &address[i], .user = &spared[i]};
    policy_subsets(m, count, workers, size);
    for (uint32_t i = 0; i < count; i++)
        *(uint64_t *)m[i].user = m[i].spared;
}

static uint32_t held_by(uint64_t spared, uint32_t worker)
{
    return (spared >> worker & 1) == 0;
}

static void check_even(uint32_t n, uint32_t workers, uint32_t size)
{
    uint64_t spared[MOST];
    uint32_t share = size == 0 || size > n ? n : size;
    divide(n, MOST, workers, size, spared);
    for (uint32_t w = 0; w < workers; w++) {
        uint32_t held = 0;
        for (uint32_t i = 0; i < n; i++)
            held += held_by(spared[i], w);
        assert_int_equal(held, share);
    }
    struct config_cluster c = {.subset_size = size, .connections_per_endpoint = 2, .max_connections_per_endpoint = 4};
    struct policy_budget b = policy_budget(&c, n, workers);
    assert_int_equal(b.connections, 2 * share * workers);
    assert_int_equal(b.at_most, 4 * share * workers);
    uint32_t unheld = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t by = 0;
        for (uint32_t w = 0; w < workers; w++)
            by += held_by(spared[i], w);
        assert_in_range(by, b.held_least, b.held_most);
        unheld += by == 0;
    }
    assert_int_equal(unheld, b.unheld);
}

static void shares_are_even(void **state)
{
    (void)state;
    addresses();
    static const uint32_t sets[] = {1, 2, 3, 7, 10, 64, 100, 599}, crews[] = {1, 2, 3, 5, 8, 63, 64}, sizes[] = {0, 1, 2, 3, 9, 20, 64, 100, 1000};
    for (unsigned i = 0; i < 8; i++)
        for (unsigned k = 0; k < 7; k++)
            for (unsigned s = 0; s < 9; s++)
                check_even(sets[i], crews[k], sizes[s]);
}

static void a_change_moves_little(void **state)
{
    (void)state;
    addresses();
    static const uint32_t crews[] = {1, 2, 4, 7, 64}, sizes[] = {1, 3, 20};
    uint64_t before[MOST], after[MOST];
    for (unsigned k = 0; k < 5; k++)
        for (unsigned s = 0; s < 3; s++)
            for (uint32_t n = 30; n < 60; n++)
                for (uint32_t gone = 0; gone < n; gone++) {
                    divide(n, MOST, crews[k], sizes[s], before);
                    divide(n, gone, crews[k], sizes[s], after);
                    for (uint32_t w = 0; w < crews[k]; w++) {
                        uint32_t joined = 0;
                        for (uint32_t i = 0; i < n; i++)
                            joined += i != gone && held_by(after[i], w) && !held_by(before[i], w);
                        assert_in_range(joined, 0, 2);
                    }
                }
}

/* The same set in another order, at another time: the same shares. */
static void shares_follow_from_the_set(void **state)
{
    (void)state;
    addresses();
    uint64_t a[MOST], b[MOST];
    divide(100, MOST, 4, 30, a);
    struct policy_member m[100];
    for (uint32_t i = 0; i < 100; i++)
        m[i] = (struct policy_member){.address = &address[(i * 37 + 11) % 100], .user = &b[(i * 37 + 11) % 100]};
    policy_subsets(m, 100, 4, 30);
    for (uint32_t i = 0; i < 100; i++)
        *(uint64_t *)m[i].user = m[i].spared;
    assert_memory_equal(a, b, 100 * sizeof(*a));
}

static struct policy_service service;
static char error[160];

static bool parsed(const char *json)
{
    error[0] = '\0';
    return policy_service_parse(json, &service, error, sizeof(error));
}

static void service_config_is_read(void **state)
{
    (void)state;
    assert_true(parsed("{}"));
    assert_int_equal(service.count, 0);
    assert_true(parsed("{\"loadBalancingConfig\": [{\"round_robin\": {}}], \"methodConfig\": ["
                       "{\"name\": [{}], \"timeout\": \"1.5s\"},"
                       "{\"name\": [{\"service\": \"a.B\"}, {\"service\": \"a.B\", \"method\": \"C\"}], \"waitForReady\": true, \"retryPolicy\": {\"maxAttempts\": 9,"
                       " \"initialBackoff\": \"0.1s\", \"maxBackoff\": \"1s\", \"backoffMultiplier\": 1.5, \"retryableStatusCodes\": [\"UNAVAILABLE\", 8]}}],"
                       "\"retryThrottling\": {\"maxTokens\": 10, \"tokenRatio\": 0.1}}"));
    assert_int_equal(service.count, 3);
    assert_int_equal(service.method[0].match, SNAPSHOT_EXACT);
    assert_string_equal(service.method[0].path, "/a.B/C");
    assert_int_equal(service.method[1].match, SNAPSHOT_PREFIX);
    assert_string_equal(service.method[1].path, "/a.B/");
    assert_int_equal(service.method[1].retry.attempts, 5); /* capped */
    assert_int_equal(service.method[1].retry.codes, 1u << 14 | 1u << 8);
    assert_int_equal(service.method[1].retry.initial_ns, 100000000);
    assert_int_equal(service.method[1].retry.max_ns, 1000000000);
    assert_int_equal(service.method[1].retry.factor_x1024, 1536);
    assert_int_equal(service.method[2].match, SNAPSHOT_ANY);
    assert_int_equal(service.method[2].timeout_ns, 1500000000);
    assert_int_equal(service.method[2].retry.attempts, 0);
    assert_int_equal(service.throttle_max, 10000);
    assert_int_equal(service.throttle_ratio, 100);
}

#define RETRY(words) "{\"methodConfig\": [{\"name\": [{}], \"retryPolicy\": {" words "}}]}"

static void broken_service_configs_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *json, *words;
    } t[] = {
        {"", "no JSON object"},
        {"[]", "no JSON object"},
        {"{} x", "no JSON object"},
        {"{\"methodConfig\": {}}", "must be a list"},
        {"{\"methodConfig\": [7]}", "must be an object"},
        {"{\"methodConfig\": [{\"name\": 1}]}", "list `name`"},
        {"{\"methodConfig\": [{\"name\": [{\"method\": \"x\"}]}]}", "without a service"},
        {"{\"methodConfig\": [{\"name\": [{\"service\": 5}]}]}", "an object with"},
        {"{\"methodConfig\": [{\"name\": [{\"service\": \"a\"}, {\"service\": \"a\"}]}]}", "stands twice"},
        {"{\"methodConfig\": [{\"name\": [{}], \"timeout\": \"5\"}]}", "`timeout` must be a duration"},
        {"{\"methodConfig\": [{\"name\": [{}], \"timeout\": \"s\"}]}", "`timeout` must be a duration"},
        {"{\"methodConfig\": [{\"name\": [{}], \"timeout\": \"1.0000000001s\"}]}", "`timeout` must be a duration"},
        {"{\"methodConfig\": [{\"name\": [{}], \"hedgingPolicy\": {}}]}", "not yet"},
        {RETRY(""), "maxAttempts"},
        {RETRY("\"maxAttempts\": 1"), "maxAttempts"},
        {RETRY("\"maxAttempts\": 2.5"), "maxAttempts"},
        {RETRY("\"maxAttempts\": 2"), "backoffMultiplier"},
        {RETRY("\"maxAttempts\": 2, \"backoffMultiplier\": 2"), "initialBackoff"},
        {RETRY("\"maxAttempts\": 2, \"backoffMultiplier\": 2, \"initialBackoff\": \"0s\", \"maxBackoff\": \"1s\""), "above 0"},
        {RETRY("\"maxAttempts\": 2, \"backoffMultiplier\": 2, \"initialBackoff\": \"1s\", \"maxBackoff\": \"1s\""), "at least one status"},
        {RETRY("\"maxAttempts\": 2, \"backoffMultiplier\": 2, \"initialBackoff\": \"1s\", \"maxBackoff\": \"1s\", \"retryableStatusCodes\": [\"OK\"]"), "OK is no status"},
        {"{\"retryThrottling\": {}}", "maxTokens"},
        {"{\"retryThrottling\": {\"maxTokens\": 1001, \"tokenRatio\": 1}}", "maxTokens"},
        {"{\"retryThrottling\": {\"maxTokens\": 10, \"tokenRatio\": 0}}", "tokenRatio"},
    };
    for (unsigned i = 0; i < sizeof(t) / sizeof(*t); i++) {
        assert_false(parsed(t[i].json));
        if (strstr(error, t[i].words) == NULL)
            fail_msg("%s: \"%s\" lacks \"%s\"", t[i].json, error, t[i].words);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_even),
        cmocka_unit_test(a_change_moves_little),
        cmocka_unit_test(shares_follow_from_the_set),
        cmocka_unit_test(service_config_is_read),
        cmocka_unit_test(broken_service_configs_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
