/* router: the first route that matches, and no byte read beyond what is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/mman.h>

#include "router/router.h"

#define ROUTE(am, a, pm, p, c)                                                                                                             \
    {                                                                                                                                      \
        .authority_match = SNAPSHOT_##am, .authority = a, .authority_len = sizeof(a) - 1, .path_match = SNAPSHOT_##pm, .path = p,           \
        .path_len = sizeof(p) - 1, .cluster = c                                                                                            \
    }

static const struct snapshot_route routes[] = {
    ROUTE(EXACT, "api.example.com", EXACT, "/pkg.Service/Method", 1),
    ROUTE(EXACT, "API.Example.com", PREFIX, "/pkg.Service/", 2),
    ROUTE(SUFFIX, ".example.com", PREFIX, "/pkg.Service/", 3),
    ROUTE(EXACT, "[2001:db8::1]", ANY, "", 4),
    ROUTE(EXACT, "198.18.0.1", PREFIX, "/", 5),
    ROUTE(ANY, "", EXACT, "/a/b", 6),
    ROUTE(SUFFIX, ".z", ANY, "", 7),
};

static const struct snapshot_listener listener = {.route_count = sizeof(routes) / sizeof(*routes), .routes = routes};

static int cluster_of(const void *authority, size_t an, const void *path, size_t pn)
{
    const struct snapshot_route *r =
        router_match(&listener, &(struct router_request){.authority = authority, .path = path, .authority_len = (uint32_t)an, .path_len = (uint32_t)pn});
    return r == NULL ? 0 : r->cluster;
}

static void the_first_match_wins(void **state)
{
    (void)state;
    static const struct { const char *authority, *path; int cluster; } t[] = {
        {"api.example.com", "/pkg.Service/Method", 1},
        {"api.example.com:443", "/pkg.Service/Method", 1},
        {"API.EXAMPLE.COM:65535", "/pkg.Service/Method", 1},
        {"api.example.com:", "/pkg.Service/Method", 1},
        {"api.example.com", "/pkg.Service/method", 2}, /* a path's case counts */
        {"api.example.com", "/pkg.Service/Method2", 2},
        {"api.example.com", "/pkg.Service/", 2},
        {"api.example.com", "/pkg.Service", 0},
        {"api.example.com", "/pkg.service/Method", 0},
        {"b.example.com", "/pkg.Service/Method", 3},
        {"a.b.EXAMPLE.com:1", "/pkg.Service/x", 3},
        {"example.com", "/pkg.Service/Method", 0},
        {".example.com", "/pkg.Service/Method", 0}, /* nothing before the dot */
        {"xexample.com", "/pkg.Service/Method", 0},
        {"[2001:db8::1]", "/x", 4},
        {"[2001:DB8::1]:50051", "", 4},
        {"[2001:db8::1]:123456", "/x", 0}, /* no port has six digits */
        {"[2001:db8::2]", "/x", 0},
        {"198.18.0.1:50051", "/x", 5},
        {"198.18.0.1", "x", 0},
        {"198.18.0.1:5o", "/x", 0},
        {"198.18.0.1:+5", "/x", 0},
        {"", "/a/b", 6},
        {":", "/a/b", 6},
        {":80", "/a/b", 6},
        {"80", "/a/b", 6},
        {"anything", "/a/b", 6},
        {"anything", "/a/bc", 0},
        {"anything", "/a", 0},
        {"A.Z", "*", 7},
        {"a.Z:1", "", 7},
        {"", "", 0},
        /* Not letters, though 32 apart from characters that stand in a route. */
        {"[2001:db8::1}", "/x", 0},
        {"{2001:db8::1]", "/x", 0},
        {"api\016example.com", "/pkg.Service/x", 0},
    };
    for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++)
        assert_int_equal(cluster_of(t[i].authority, strlen(t[i].authority), t[i].path, strlen(t[i].path)), t[i].cluster);
}

static void hostile_bytes_are_only_bytes(void **state)
{
    (void)state;
    enum { BIG = 65536 };
    assert_int_equal(cluster_of(NULL, 0, NULL, 0), 0);
    assert_int_equal(cluster_of("api.example.com\0", 16, "/pkg.Service/Method", 19), 0);
    assert_int_equal(cluster_of("api.example.com", 15, "/pkg.Service/Method\0", 20), 2);
    assert_int_equal(cluster_of("\0.z", 3, "\0", 1), 7);
    uint8_t *big = malloc(BIG);
    static const int fill[] = {0, '/', ':', '0', '9', '[', ']', 0xff, 'z', '.'};
    for (size_t f = 0; f < sizeof(fill) / sizeof(*fill); f++) {
        memset(big, fill[f], BIG);
        assert_int_equal(cluster_of(big, BIG, big, BIG), 0);
        assert_int_equal(cluster_of(big, BIG, "/a/b", 4), 6);
        assert_int_equal(cluster_of("198.18.0.1", 10, big, BIG), fill[f] == '/' ? 5 : 0);
        memcpy(big + BIG - 2, ".z", 2);
        assert_int_equal(cluster_of(big, BIG, big, BIG), 7);
    }
    free(big);
}

/* Every byte of the word-wise comparison against a byte-wise twin; inputs end, and begin, at an unreadable page. */
static void words_agree_with_bytes(void **state)
{
    (void)state;
    enum { PAGE = 4096, MAX = 40 };
    uint8_t *pages = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(pages != MAP_FAILED);
    mprotect(pages, PAGE, PROT_NONE);
    mprotect(pages + 2 * PAGE, PAGE, PROT_NONE);
    char pattern[MAX];
    struct snapshot_route r = {.authority = pattern, .path = pattern};
    struct snapshot_listener l = {.route_count = 1, .routes = &r};
    srand(1);
    for (int t = 0; t < 200000; t++) {
        size_t pn = (size_t)rand() % MAX, n = rand() % 3 ? pn : (size_t)rand() % MAX;
        uint8_t *in = rand() % 2 ? pages + PAGE : pages + 2 * PAGE - n;
        bool host = rand() % 2;
        for (size_t i = 0; i < pn; i++)
            pattern[i] = (char)(rand() % 8 ? "@AZ[`az{\xc1\xe1" [rand() % 10] : rand());
        for (size_t i = 0; i < n; i++)
            in[i] = (uint8_t)(i < pn ? pattern[i] : 'x');
        if (n > pn && rand() % 2)
            memcpy(in + n - pn, pattern, pn);
        for (int k = rand() % 3; host && k > 0 && n > 0; k--)
            in[(size_t)rand() % n] ^= 0x20;
        if (rand() % 2 && n > 0)
            in[(size_t)rand() % n] ^= (uint8_t)(1 << rand() % 8);
        if (host && n > 0 && memchr(in, ':', n) != NULL)
            continue; /* ports are another test's */
        r.authority_match = (uint8_t)(!host ? SNAPSHOT_ANY : rand() % 2 ? SNAPSHOT_EXACT : SNAPSHOT_SUFFIX);
        r.path_match = (uint8_t)(host ? SNAPSHOT_ANY : rand() % 2 ? SNAPSHOT_EXACT : SNAPSHOT_PREFIX);
        r.authority_len = r.path_len = (uint16_t)pn;
        bool expected;
        if (!host)
            expected = (r.path_match == SNAPSHOT_EXACT ? n == pn : n >= pn) && memcmp(in, pattern, pn) == 0;
        else {
            expected = r.authority_match == SNAPSHOT_EXACT ? n == pn : n > pn;
            for (size_t i = 0; expected && i < pn; i++) {
                uint8_t a = in[n - pn + i], b = (uint8_t)pattern[i];
                a = (uint8_t)(a >= 'A' && a <= 'Z' ? a + 32 : a);
                b = (uint8_t)(b >= 'A' && b <= 'Z' ? b + 32 : b);
                expected = a == b;
            }
        }
        struct router_request q = {.authority = in, .path = in, .authority_len = (uint32_t)n, .path_len = (uint32_t)n};
        assert_int_equal(router_match(&l, &q) != NULL, expected);
    }
    munmap(pages, 3 * PAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_first_match_wins), cmocka_unit_test(hostile_bytes_are_only_bytes),
                                       cmocka_unit_test(words_agree_with_bytes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
