/* base: addresses, the wheel, slabs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/base.h"
#include "base/steer.h"

static void endpoints_are_read_and_written(void **state)
{
    (void)state;
    struct base_endpoint e;
    char text[BASE_ENDPOINT_TEXT];
    assert_true(base_endpoint_parse("198.18.0.2:50051", &e));
    assert_string_equal(base_endpoint_format(&e, text), "198.18.0.2:50051");
    assert_true(base_addr_is_v4(&e.addr));
    assert_true(base_endpoint_parse("[2001:db8::2]:1", &e));
    assert_string_equal(base_endpoint_format(&e, text), "[2001:db8::2]:1");
    assert_false(base_addr_is_v4(&e.addr));
    static const char *const bad[] = {"",      ":1",          "1.2.3.4",     "1.2.3.4:",       "1.2.3.4:0",   "1.2.3.4:99999", "1.2.3.4:65536",
                                      "::1:1", "[1.2.3.4]:1", "[::1]",       "[::1]:",         "1.2.3.4:1 ",  "1.2.3.4:+1",    "1.2.3:1",
                                      "a:1",   "[::1:1",      "1.2.3.4:1x",  "1.2.3.4:000001"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_false(base_endpoint_parse(bad[i], &e));
}

static void siphash_matches_the_reference_vector(void **state)
{
    (void)state;
    /* The vector of the SipHash paper's appendix A: key 00..0f, message 00..0e. */
    struct base_hash_key key;
    uint8_t in[15];
    for (int i = 0; i < 16; i++)
        ((uint8_t *)&key)[i] = (uint8_t)i;
    for (int i = 0; i < 15; i++)
        in[i] = (uint8_t)i;
    assert_true(base_siphash(&key, in, 15) == 0xa129ca6149be45e5ull);
}

static void wheel_agrees_with_a_naive_twin(void **state)
{
    (void)state;
    enum { N = 2000 };
    static struct base_wheel w;
    static struct base_timer t[N];
    static uint64_t due[N];
    uint64_t now = 12345678901ull;
    base_wheel_init(&w, now);
    srand(1);
    for (int i = 0; i < N; i++)
        base_timer_init(&t[i]);
    for (int step = 0; step < 20000; step++) {
        int i = rand() % N;
        if (rand() % 4 == 0) {
            base_wheel_cancel(&w, &t[i]);
            due[i] = 0;
        } else {
            static const uint64_t span[] = {3000000ull, 300000000ull, 90000000000ull, 40000000000000ull};
            due[i] = now + (uint64_t)rand() % span[rand() % 4];
            base_wheel_arm(&w, &t[i], due[i]);
        }
        now += (uint64_t)rand() % (step % 1000 == 0 ? 60000000000ull : 2000000ull);
        for (struct base_timer *e; (e = base_wheel_expire(&w, now)) != NULL;) {
            int k = (int)(e - t);
            assert_true(due[k] != 0 && due[k] <= now);
            due[k] = 0;
        }
        uint64_t tick = (uint64_t)1 << BASE_WHEEL_TICK_SHIFT;
        for (int k = 0; k < N && step % 100 == 0; k++)
            if (due[k] != 0)
                assert_true(due[k] + tick > now);
    }
    uint32_t armed = 0;
    for (int k = 0; k < N; k++)
        armed += due[k] != 0;
    assert_int_equal(armed, w.armed);
}

static void slab_refuses_when_full_and_reuses(void **state)
{
    (void)state;
    size_t n = base_slab_footprint(24, 3);
    struct base_arena a;
    void *memory = aligned_alloc(64, n);
    base_arena_init(&a, memory, n);
    struct base_slab s;
    base_slab_init(&s, &a, "test", 24, 3);
    void *x = base_slab_alloc(&s), *y = base_slab_alloc(&s), *z = base_slab_alloc(&s);
    assert_true(x && y && z && base_slab_alloc(&s) == NULL);
    assert_int_equal(s.in_use, 3);
    base_slab_free(&s, y);
    assert_ptr_equal(base_slab_alloc(&s), y);
    assert_int_equal(base_slab_index(&s, z), 2);
    base_unpoison(memory, n);
    free(memory);
}

/* Indices come from a multiplication: of every size they must be what a division gives. */
static void slab_knows_the_index_of_every_object(void **state)
{
    (void)state;
    for (size_t size = 1; size < 20000; size = size * 5 / 4 + 1) {
        size_t n = base_slab_footprint(size, 300);
        struct base_arena a;
        void *memory = aligned_alloc(64, n);
        base_arena_init(&a, memory, n);
        struct base_slab s;
        base_slab_init(&s, &a, "test", size, 300);
        for (uint32_t i = 0; i < 300; i++) {
            void *o = base_slab_alloc(&s);
            assert_int_equal(base_slab_index(&s, o), i);
            assert_ptr_equal(base_slab_at(&s, i), o);
        }
        base_unpoison(memory, n);
        free(memory);
    }
    /* Far into a region larger than 4 GiB, which need not be there. */
    struct base_slab far = {.memory = NULL, .size = 448, .shift = 6, .inverse = 0x6db6db6db6db6db7ull};
    assert_int_equal(base_slab_index(&far, (void *)(uintptr_t)(448ull * 4000000000u)), 4000000000u);
}

static void tokens_name_themselves(void **state)
{
    (void)state;
    for (int t = 1; t < BASE_HEADER_TOKEN_COUNT; t++) {
        const char *name = base_header_name((enum base_header_token)t);
        assert_int_equal(base_header_token((const uint8_t *)name, strlen(name)), t);
    }
    assert_int_equal(base_header_token((const uint8_t *)"x-none", 6), BASE_HEADER_OTHER);
}

static void lists_keep_their_order(void **state)
{
    (void)state;
    struct base_list a, b, n[6];
    base_list_init(&a);
    base_list_init(&b);
    for (int i = 0; i < 6; i++)
        base_list_init(&n[i]);
    assert_null(base_list_pop_front(&a));
    base_list_remove(&n[0]); /* in no list: harmless */
    base_list_push_back(&a, &n[1]);
    base_list_push_front(&a, &n[0]);
    base_list_push_back(&b, &n[2]);
    base_list_push_back(&b, &n[3]);
    base_list_splice_back(&a, &b);
    assert_true(base_list_empty(&b));
    base_list_splice_back(&a, &b); /* of nothing: nothing */
    base_list_insert_after(&n[3], &n[4]);
    base_list_remove(&n[2]);
    assert_true(base_list_empty(&n[2]));
    static const int order[] = {0, 1, 3, 4};
    int i = 0;
    base_list_each(it, &a) assert_ptr_equal(it, &n[order[i++]]);
    assert_int_equal(i, 4);
    base_list_each_safe(it, &a) base_list_remove(it);
    assert_true(base_list_empty(&a));
}

static void sequence_numbers_wrap(void **state)
{
    (void)state;
    static const uint32_t at[] = {0, 1, 0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffff};
    for (size_t i = 0; i < sizeof(at) / sizeof(*at); i++) {
        uint32_t a = at[i];
        assert_true(base_seq_le(a, a) && base_seq_ge(a, a) && !base_seq_lt(a, a) && !base_seq_gt(a, a));
        static const uint32_t ahead[] = {1, 1000, 0x7fffffff};
        for (int k = 0; k < 3; k++) {
            uint32_t b = a + ahead[k];
            assert_true(base_seq_lt(a, b) && base_seq_le(a, b) && base_seq_gt(b, a) && base_seq_ge(b, a));
            assert_true(base_seq_max(a, b) == b && base_seq_max(b, a) == b);
        }
    }
}

static void prefixes_are_of_their_own_family(void **state)
{
    (void)state;
    struct base_addr a;
    unsigned bits;
    char text[BASE_ADDR_TEXT];
    assert_true(base_prefix_parse("198.18.0.2/24", &a, &bits));
    assert_int_equal(bits, 24);
    assert_string_equal(base_addr_format(&a, text), "198.18.0.2");
    assert_true(base_prefix_parse("2001:db8::2/64", &a, &bits));
    assert_int_equal(bits, 64);
    static const char *const bad[] = {"198.18.0.2/33", "2001:db8::/129", "198.18.0.2/", "198.18.0.2/-1", "198.18.0.2/2x", "/24", ""};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_false(base_prefix_parse(bad[i], &a, &bits));
}

static void header_lists_are_bounded(void **state)
{
    (void)state;
    static struct base_headers h;
    for (int i = 0; i < BASE_HEADERS_MAX; i++)
        assert_true(base_headers_add(&h, BASE_HEADER_PATH, "/x", 2));
    assert_false(base_headers_add(&h, BASE_HEADER_PATH, "/x", 2));
    assert_int_equal(h.size, BASE_HEADERS_MAX * (5 + 2 + 32)); /* RFC 9113 section 6.5.2 */
    const struct base_header *f = base_headers_find(&h, BASE_HEADER_PATH);
    assert_ptr_equal(f, &h.field[0]);
    assert_true(base_header_value_is(f, "/x") && !base_header_value_is(f, "/") && !base_header_value_is(f, "/xy"));
    assert_null(base_headers_find(&h, BASE_HEADER_METHOD));
}

static void a_timer_cancelled_between_two_pulls_does_not_fire(void **state)
{
    (void)state;
    static struct base_wheel w;
    struct base_timer a, b;
    base_wheel_init(&w, 1000);
    base_timer_init(&a);
    base_timer_init(&b);
    base_wheel_arm(&w, &a, 5000000);
    base_wheel_arm(&w, &b, 5000000);
    assert_null(base_wheel_expire(&w, 4999999));
    struct base_timer *first = base_wheel_expire(&w, 10000000);
    assert_true(first == &a || first == &b);
    base_wheel_cancel(&w, first == &a ? &b : &a);
    assert_null(base_wheel_expire(&w, 20000000));
    assert_int_equal(w.armed, 0);
    base_wheel_arm(&w, &a, 1); /* long past: due at once */
    assert_ptr_equal(base_wheel_expire(&w, 20000000), &a);
}

/* The vectors of "Verifying the RSS Hash Calculation" (Microsoft), which NICs are tested against. */
static const uint8_t rss_key[BASE_STEER_KEY_MIN] = {0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
                                                    0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
                                                    0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};

static void the_hash_of_devices_is_computed_as_they_do(void **state)
{
    (void)state;
    static const struct {
        const char *remote, *local;
        uint16_t remote_port, local_port;
        uint32_t hash;
    } known[] = {{"66.9.149.187", "161.142.100.80", 2794, 1766, 0x51ccc178},
                 {"199.92.111.2", "65.69.140.83", 14230, 4739, 0xc626b0ea},
                 {"24.19.198.95", "12.22.207.184", 12898, 38024, 0x5c2b394a},
                 {"38.27.205.30", "209.142.163.6", 48228, 2217, 0xafc7327f},
                 {"153.39.163.191", "202.188.127.2", 44251, 1303, 0x10e828a2},
                 {"3ffe:2501:200:1fff::7", "3ffe:2501:200:3::1", 2794, 1766, 0x40207d3d},
                 {"3ffe:501:8::260:97ff:fe40:efab", "ff02::1", 14230, 4739, 0xdde51bbf},
                 {"3ffe:1900:4545:3:200:f8ff:fe21:67cf", "fe80::200:f8ff:fe21:67cf", 44251, 38024, 0x02d1feef}};
    struct base_steer s;
    base_steer_init(&s, rss_key, 128, 3);
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        struct base_flow f = {.remote_port = known[i].remote_port, .local_port = known[i].local_port};
        assert_true(base_addr_parse(known[i].remote, &f.remote) && base_addr_parse(known[i].local, &f.local));
        assert_int_equal(base_steer_hash(&s, &f), known[i].hash);
        assert_int_equal(base_steer_queue(&s, &f), s.queue[known[i].hash % 128]);
    }
}

/* Ports in a row, and every other one, as kernels give them to one client: each queue gets its share. */
static void steered_flows_are_spread(void **state)
{
    (void)state;
    static const uint32_t counts[] = {2, 3, 8};
    struct base_steer s;
    uint32_t uneven = 0;
    for (unsigned seed = 0; seed < 200; seed++)
        for (unsigned c = 0; c < 3; c++) {
            uint8_t key[BASE_STEER_KEY_MIN];
            uint32_t of[8] = {0}, entries[8] = {0}, queues = counts[c];
            struct base_hash_key random = {{seed, c}};
            for (uint8_t i = 0; i < sizeof(key); i++)
                key[i] = (uint8_t)base_siphash(&random, &i, 1);
            base_steer_init(&s, key, 128, queues);
            struct base_flow f = {.local_port = 50051};
            base_addr_parse("198.18.0.1", &f.remote);
            base_addr_parse("198.18.0.2", &f.local);
            for (uint32_t i = 0; i < 128; i++)
                entries[s.queue[i]]++;
            for (uint32_t i = 0; i < 256; i++) {
                f.remote_port = (uint16_t)(40000 + 2 * i);
                of[base_steer_queue(&s, &f)]++;
            }
            uint32_t least = 256;
            for (uint32_t q = 0; q < queues; q++) {
                assert_in_range(entries[q], 128 / queues, (128 + queues - 1) / queues);
                least = of[q] < least ? of[q] : least;
            }
            uneven += least < 256 / queues / 3;
        }
    assert_true(uneven < 30); /* of 600 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endpoints_are_read_and_written), cmocka_unit_test(siphash_matches_the_reference_vector),
        cmocka_unit_test(wheel_agrees_with_a_naive_twin), cmocka_unit_test(slab_refuses_when_full_and_reuses),
        cmocka_unit_test(slab_knows_the_index_of_every_object),
        cmocka_unit_test(tokens_name_themselves), cmocka_unit_test(lists_keep_their_order),
        cmocka_unit_test(sequence_numbers_wrap), cmocka_unit_test(prefixes_are_of_their_own_family),
        cmocka_unit_test(header_lists_are_bounded), cmocka_unit_test(a_timer_cancelled_between_two_pulls_does_not_fire),
        cmocka_unit_test(the_hash_of_devices_is_computed_as_they_do), cmocka_unit_test(steered_flows_are_spread)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
