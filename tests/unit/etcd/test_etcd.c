/* etcd: ranges, base64, 64-bit integers, and every form of error, as etcd 3.4 to 3.6 were seen to write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "etcd/etcd.h"

static void a_prefix_ends_behind_its_last_key(void **state)
{
    (void)state;
    static const struct {
        const char *prefix;
        size_t n;
        const char *end;
        size_t end_n;
    } cases[] = {
        {"services/echo/", 14, "services/echo0", 14}, {"a", 1, "b", 1}, {"a\xff", 2, "b", 1}, {"a\xff\xff", 3, "b", 1}, {"\xff\xff", 2, "\0", 1}, {"", 0, "\0", 1},
        {"\x7f", 1, "\x80", 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char end[32];
        assert_int_equal(etcd_prefix_end(cases[i].prefix, cases[i].n, end), cases[i].end_n);
        assert_memory_equal(end, cases[i].end, cases[i].end_n);
    }
}

static void base64_is_the_one_of_rfc_4648(void **state)
{
    (void)state;
    static const char *const vectors[][2] = {{"", ""},         {"f", "Zg=="},         {"fo", "Zm8="},        {"foo", "Zm9v"},
                                             {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}}; /* section 10 */
    char out[64];
    for (size_t i = 0; i < 7; i++) {
        etcd_base64_encode(vectors[i][0], strlen(vectors[i][0]), out);
        assert_string_equal(out, vectors[i][1]);
        assert_int_equal(etcd_base64_decode(vectors[i][1], strlen(vectors[i][1]), out), strlen(vectors[i][0]));
        assert_string_equal(out, vectors[i][0]);
    }
    static const char *const bad[] = {"Z", "Zg", "Zg=", "Zg= =", "Zh==", "Zm9=", "Zm-v", "Zm_v", "Zm9v\n", "====", "Z===", "Zg==Zg==", " Zm9"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_int_equal(etcd_base64_decode(bad[i], strlen(bad[i]), out), -1);
}

static void base64_goes_there_and_back(void **state)
{
    (void)state;
    srand(3);
    for (int round = 0; round < 5000; round++) {
        size_t n = (size_t)rand() % 200;
        char *data = malloc(n + 1), *text = malloc((n + 2) / 3 * 4 + 1); /* exact: a sanitizer sees one byte too many */
        for (size_t i = 0; i < n; i++)
            data[i] = (char)rand();
        etcd_base64_encode(data, n, text);
        assert_int_equal(strlen(text), (n + 2) / 3 * 4);
        assert_int_equal(etcd_base64_decode(text, strlen(text), text), n); /* in place */
        assert_memory_equal(text, data, n);
        free(data);
        free(text);
    }
}

static void errors_of_all_forms_are_understood(void **state)
{
    (void)state;
    static const struct {
        long status;
        const char *type, *body;
        enum etcd_code code;
        const char *words;
    } cases[] = {
        {503, "application/json", "{\"error\":\"etcdserver: request timed out\",\"message\":\"etcdserver: request timed out\",\"code\":14}", ETCD_UNAVAILABLE, "timed out"},
        {503, "application/json", "{\"error\":{\"grpc_code\":14,\"http_code\":503,\"message\":\"etcdserver: no leader\",\"http_status\":\"Service Unavailable\"}}",
         ETCD_UNAVAILABLE, "quorum"},
        {503, "application/json", "{\"error\":\"etcdserver: leader changed\",\"message\":\"etcdserver: leader changed\",\"code\":14}", ETCD_UNAVAILABLE, ""},
        {500, "application/json", "{\"error\":\"context deadline exceeded\",\"message\":\"context deadline exceeded\",\"code\":2}", ETCD_UNAVAILABLE, ""},
        {400, "application/json", "{\"code\":3,\"message\":\"etcdserver: key is not provided\"}", ETCD_REFUSED, "key is not provided"},
        {200, "application/json", "{\"error\":{\"code\":14,\"message\":\"error reading from server: EOF\"}}", ETCD_UNAVAILABLE, "shutting down"},
        {400, "application/json",
         "{\"error\":\"etcdserver: mvcc: required revision has been compacted\",\"message\":\"etcdserver: mvcc: required revision has been compacted\",\"code\":11}",
         ETCD_COMPACTED, ""},
        {400, "application/json", "{\"code\":11,\"message\":\"etcdserver: mvcc: required revision is a future revision\"}", ETCD_COMPACTED, ""},
        {404, "application/json", "{\"error\":\"etcdserver: requested lease not found\",\"message\":\"etcdserver: requested lease not found\",\"code\":5}",
         ETCD_NOT_FOUND, ""},
        {400, "application/json", "{\"error\":\"etcdserver: user name is empty\",\"message\":\"etcdserver: user name is empty\",\"code\":3}", ETCD_UNAUTHENTICATED,
         "password"},
        {401, "application/json", "{\"error\":\"etcdserver: invalid auth token\",\"message\":\"etcdserver: invalid auth token\",\"code\":16}", ETCD_UNAUTHENTICATED, ""},
        {403, "application/json", "{\"error\":\"etcdserver: permission denied\",\"message\":\"etcdserver: permission denied\",\"code\":7}", ETCD_DENIED, "READ"},
        {400, "application/json", "{\"error\":\"etcdserver: authentication failed, invalid user ID or password\",\"code\":3}", ETCD_DENIED, "password"},
        {503, "application/json", "{\"error\":\"connection closed\",\"message\":\"connection closed\",\"code\":14}", ETCD_UNAVAILABLE, "clientAuth"},
        {404, "text/plain; charset=utf-8", "404 page not found\n", ETCD_GATEWAY_OFF, "enable-grpc-gateway"},
        {405, "text/plain; charset=utf-8", "Method Not Allowed\n", ETCD_GATEWAY_OFF, "client URL"},
        {502, "text/html", "<html>Bad Gateway</html>", ETCD_UNAVAILABLE, "502"},
        {200, "text/html", "<html>hello</html>", ETCD_NONSENSE, "client URL"},
        {200, "application/json", "", ETCD_NONSENSE, ""},
        {200, "application/json", "{\"error\":7}", ETCD_REFUSED, ""},
        {200, "application/json", "{\"error\":{\"message\":8}}", ETCD_REFUSED, ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct etcd_error e = {0};
        etcd_error_read(cases[i].status, cases[i].type, cases[i].body, &e);
        if (e.code != cases[i].code || strstr(e.text, cases[i].words) == NULL)
            print_error("%s -> %d \"%s\"\n", cases[i].body, e.code, e.text);
        assert_int_equal(e.code, cases[i].code);
        assert_non_null(strstr(e.text, cases[i].words));
        assert_true(e.text[0] != '\0');
    }
}

/* Nothing listens where it asks: every call ends once, with words; cancelled ones do not end; waits grow and stay below their bound. */
struct ends {
    unsigned count;
    enum etcd_code code;
};

static void ended(void *user, const struct etcd_error *error, const struct etcd_header *header, int64_t number)
{
    (void)header;
    (void)number;
    struct ends *e = user;
    e->count++;
    e->code = error->code;
    assert_true(strncmp(error->text, "http://127.0.0.1:", 17) == 0);
}

static void calls_to_nobody_end_once(void **state)
{
    (void)state;
    struct loop *l = loop_create();
    const char *const endpoints[] = {"http://127.0.0.1:1", "http://127.0.0.1:9"};
    struct etcd *e = etcd_create(l, &(struct etcd_options){.endpoints = endpoints, .endpoint_count = 2});
    struct ends a = {0}, b = {0}, c = {0};
    assert_non_null(etcd_list(e, "x/", NULL, ended, &a));
    assert_non_null(etcd_put(e, "k", "v", 0, ended, &b));
    etcd_cancel(etcd_count(e, "x/", 1000000000, ended, &c));
    for (int i = 0; i < 200 && (a.count == 0 || b.count == 0); i++)
        loop_turn(l, 10);
    assert_true(a.count == 1 && b.count == 1 && c.count == 0);
    assert_int_equal(a.code, ETCD_UNAVAILABLE);
    etcd_destroy(e);
    /* a password that cannot be read is an answer too, and comes later as well */
    e = etcd_create(l, &(struct etcd_options){.endpoints = endpoints, .endpoint_count = 1, .username = "u", .password_file = "/nonexistent"});
    assert_non_null(etcd_put(e, "k", "v", 0, ended, &c));
    assert_int_equal(c.count, 0);
    for (int i = 0; i < 200 && c.count == 0; i++)
        loop_turn(l, 10);
    assert_true(c.count == 1 && c.code == ETCD_DENIED);
    etcd_put(e, "k", "v", 0, ended, &c); /* under way when the client goes */
    etcd_destroy(e);
    loop_destroy(l);
    assert_int_equal(c.count, 1);
}

static void failures_turn_the_endpoints_and_wait_longer(void **state)
{
    (void)state;
    struct loop *l = loop_create();
    const char *const endpoints[] = {"http://a:1", "http://b:1", "http://c:1"};
    struct etcd *e = etcd_create(l, &(struct etcd_options){.endpoints = endpoints, .endpoint_count = 3});
    uint64_t most = 0;
    for (int i = 0; i < 300; i++) {
        const char *before = etcd_endpoint(e);
        uint64_t wait = etcd_failed(e);
        assert_ptr_not_equal(before, etcd_endpoint(e));
        assert_true(wait >= ETCD_BACKOFF_NS_MIN / 2 && wait <= ETCD_BACKOFF_NS_MAX);
        if (i < 3)
            assert_true(wait <= ETCD_BACKOFF_NS_MIN); /* the first round is quick */
        most = wait > most ? wait : most;
    }
    assert_true(most > ETCD_BACKOFF_NS_MAX / 2);
    etcd_succeeded(e);
    assert_true(etcd_failed(e) <= ETCD_BACKOFF_NS_MIN);
    etcd_destroy(e);
    loop_destroy(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prefix_ends_behind_its_last_key),
        cmocka_unit_test(base64_is_the_one_of_rfc_4648),
        cmocka_unit_test(base64_goes_there_and_back),
        cmocka_unit_test(errors_of_all_forms_are_understood),
        cmocka_unit_test(calls_to_nobody_end_once),
        cmocka_unit_test(failures_turn_the_endpoints_and_wait_longer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
