/* resolver: what one registry entry says, in every layout that we read, and in what people and bugs write instead. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "resolver/resolver.h"

#define AUTO   CONFIG_FORMAT_AUTO
#define NAMING CONFIG_FORMAT_GRPC_NAMING

/* "198.18.0.1:1=3 ...": endpoints and weights; "bad". */
static const char *parsed(enum config_format format, const char *key, const char *value, size_t n)
{
    static char text[4096];
    struct resolver_value *v = malloc(sizeof(*v));
    char *exact = malloc(n > 0 ? n : 1), *exact_key = malloc(strlen(key) + 1); /* a sanitizer sees one byte too many */
    memcpy(exact, value, n);
    memcpy(exact_key, key, strlen(key));
    size_t w = 0;
    text[0] = '\0';
    if (!resolver_value_parse(format, exact_key, strlen(key), exact, n, v)) {
        assert_true(v->why[0] != '\0');
        snprintf(text, sizeof(text), "bad");
    } else {
        for (unsigned i = 0; i < v->count; i++) {
            char address[BASE_ENDPOINT_TEXT];
            w += (size_t)snprintf(text + w, sizeof(text) - w, "%s%s=%u", w ? " " : "", base_endpoint_format(&v->at[i].address, address), v->at[i].weight);
        }
    }
    free(exact);
    free(exact_key);
    free(v);
    return text;
}

struct known {
    enum config_format format;
    const char *key, *value, *want;
};

static const struct known known[] = {
    /* etcd's own naming, as 3.6.5 wrote it, and as its documentation has people write it */
    {AUTO, "x", "{\"Op\":0,\"Addr\":\"198.18.0.1:50051\",\"Metadata\":null}", "198.18.0.1:50051=1"},
    {AUTO, "x", "{\"Op\":0,\"Addr\":\"198.18.0.1:50051\",\"Metadata\":{\"weight\":3,\"zone\":\"az1\"}}", "198.18.0.1:50051=3"},
    {NAMING, "x", "{\"Op\":0,\"Addr\":\"198.18.0.1:50051\",\"Metadata\":7}", "198.18.0.1:50051=1"},
    {NAMING, "x", "{\"Addr\":\"198.18.0.1:50051\",\"Metadata\":\"hello\"}", "198.18.0.1:50051=1"},
    {NAMING, "x", "{\"Addr\":\"198.18.0.1:50051\",\"Metadata\":[1,{\"weight\":4}]}", "198.18.0.1:50051=1"},
    {NAMING, "x", "{\"Addr\":\"[2001:db8::1]:50051\"}", "[2001:db8::1]:50051=1"},
    {NAMING, "x", "{\"Op\":1,\"Addr\":\"198.18.0.1:50051\"}", ""},
    {AUTO, "x", " \n{\"Addr\" : \"198.18.0.1:1\"}\n", "198.18.0.1:1=1"},
    /* weights */
    {NAMING, "x", "{\"Addr\":\"198.18.0.1:1\",\"Metadata\":{\"weight\":\"12\"}}", "198.18.0.1:1=12"},
    {NAMING, "x", "{\"Addr\":\"198.18.0.1:1\",\"Metadata\":{\"weight\":0}}", "198.18.0.1:1=0"},
    {NAMING, "x", "{\"Addr\":\"198.18.0.1:1\",\"Metadata\":{\"weight\":\"0\"}}", "198.18.0.1:1=0"},
    {NAMING, "x", "{\"Addr\":\"198.18.0.1:1\",\"Metadata\":{\"weight\":0.2}}", "198.18.0.1:1=1"},
    {NAMING, "x", "{\"Addr\":\"198.18.0.1:1\",\"Metadata\":{\"weight\":\"2.5\"}}", "198.18.0.1:1=3"},
    {NAMING, "x", "{\"Addr\":\"198.18.0.1:1\",\"Metadata\":{\"weight\":1e300}}", "198.18.0.1:1=65535"},
    {NAMING, "x", "{\"Addr\":\"198.18.0.1:1\",\"Metadata\":{\"weight\":\"99999999999999999999\"}}", "198.18.0.1:1=65535"},
    {NAMING, "x", "{\"Addr\":\"198.18.0.1:1\",\"Metadata\":{\"weight\":null}}", "198.18.0.1:1=1"},
    {NAMING, "x", "{\"Addr\":\"198.18.0.1:1\",\"Metadata\":{\"weight\":-1}}", "bad"},
    {NAMING, "x", "{\"Addr\":\"198.18.0.1:1\",\"Metadata\":{\"weight\":\"-1\"}}", "bad"},
    {NAMING, "x", "{\"Addr\":\"198.18.0.1:1\",\"Metadata\":{\"weight\":\"heavy\"}}", "bad"},
    {NAMING, "x", "{\"Addr\":\"198.18.0.1:1\",\"Metadata\":{\"weight\":\"\"}}", "bad"},
    {NAMING, "x", "{\"Addr\":\"198.18.0.1:1\",\"Metadata\":{\"weight\":\"0x10\"}}", "bad"},
    {NAMING, "x", "{\"Addr\":\"198.18.0.1:1\",\"Metadata\":{\"weight\":\"1e9\"}}", "bad"},
    {NAMING, "x", "{\"Addr\":\"198.18.0.1:1\",\"Metadata\":{\"weight\":\"nan\"}}", "bad"},
    {NAMING, "x", "{\"Addr\":\"198.18.0.1:1\",\"Metadata\":{\"weight\":\"1.2.3\"}}", "bad"},
    {NAMING, "x", "{\"Addr\":\"198.18.0.1:1\",\"Metadata\":{\"weight\":true}}", "bad"},
    {NAMING, "x", "{\"Addr\":\"198.18.0.1:1\",\"Metadata\":{\"weight\":{}}}", "bad"},
    /* addresses that are none */
    {NAMING, "x", "{\"Addr\":\"198.18.0.1:99999\"}", "bad"},
    {NAMING, "x", "{\"Addr\":\"198.18.0.1:0\"}", "bad"},
    {NAMING, "x", "{\"Addr\":\"198.18.0.1\"}", "bad"},
    {NAMING, "x", "{\"Addr\":\"host.example:1\"}", "bad"},
    {NAMING, "x", "{\"Addr\":\"2001:db8::1:1\"}", "bad"},
    {NAMING, "x", "{\"Addr\":\"\"}", "bad"},
    {NAMING, "x", "{\"Addr\":null}", "bad"},
    {NAMING, "x", "{\"Addr\":[\"198.18.0.1:1\"]}", "bad"},
    {NAMING, "x", "{}", "bad"},
    {NAMING, "x", "[]", "bad"},
    {NAMING, "x", "198.18.0.1:1", "bad"},
    {NAMING, "x", "{\"Addr\":\"198.18.0.1:1\"} trailing", "bad"},
    {NAMING, "x", "{\"Addr\":\"198.18.0.1:1\"", "bad"},
    {NAMING, "x", "{\"Addr\":\"198.18.0.1:1\\u0000\"}", "198.18.0.1:1=1"}, /* what cJSON makes of it */
    {NAMING, "x", "", "bad"},
    /* plain */
    {CONFIG_FORMAT_PLAIN, "x", "198.18.0.1:1", "198.18.0.1:1=1"},
    {CONFIG_FORMAT_PLAIN, "x", "198.18.0.1:1\n", "198.18.0.1:1=1"},
    {CONFIG_FORMAT_PLAIN, "x", "[2001:db8::1]:1", "[2001:db8::1]:1=1"},
    {CONFIG_FORMAT_PLAIN, "x", "198.18.0.1:99999", "bad"},
    {CONFIG_FORMAT_PLAIN, "x", "", "bad"},
    {CONFIG_FORMAT_PLAIN, "198.18.0.1:1", "{}", "bad"},
    {AUTO, "7587869", "198.18.0.1:1", "198.18.0.1:1=1"}, /* go-zero */
    /* the key */
    {CONFIG_FORMAT_KEY, "198.18.0.1:1", "anything", "198.18.0.1:1=1"},
    {CONFIG_FORMAT_KEY, "v1/198.18.0.1:1", "", "198.18.0.1:1=1"},
    {CONFIG_FORMAT_KEY, "[2001:db8::1]:1", "", "[2001:db8::1]:1=1"},
    {CONFIG_FORMAT_KEY, "", "198.18.0.1:1", "bad"},
    {CONFIG_FORMAT_KEY, "198.18.0.1:1/", "", "bad"},
    {AUTO, "v1/198.18.0.1:1", "", "198.18.0.1:1=1"},
    {AUTO, "v1/198.18.0.1:1", "garbage", "bad"},
    {AUTO, "x", "", "bad"},
    {AUTO, "x", "true", "bad"},
    {AUTO, "x", "{\"hello\":1}", "bad"},
    {AUTO, "x", "{{{{", "bad"},
    /* DavadDi/grpclb */
    {CONFIG_FORMAT_GRPCLB, "1.0/198.18.0.1:1",
     "{\"Name\":\"echo\",\"Version\":\"1.0\",\"HostName\":\"h\",\"Addr\":\"198.18.0.1:1\",\"Weight\":8,\"LastUpdateTime\":\"2026-01-01T00:00:00Z\",\"MetaData\":\"\"}",
     "198.18.0.1:1=8"},
    {AUTO, "1.0/198.18.0.1:1", "{\"Name\":\"echo\",\"Addr\":\"198.18.0.1:1\",\"Weight\":8}", "198.18.0.1:1=8"},
    {CONFIG_FORMAT_GRPCLB, "1.0/198.18.0.1:1", "{\"Name\":\"echo\",\"Weight\":8}", "198.18.0.1:1=8"},
    /* go-kratos */
    {AUTO, "id", "{\"id\":\"1\",\"name\":\"echo\",\"version\":\"\",\"metadata\":{\"weight\":\"4\"},\"endpoints\":[\"http://198.18.0.1:8000\",\"grpc://198.18.0.1:9000?isSecure=false\"]}",
     "198.18.0.1:9000=4"},
    {CONFIG_FORMAT_KRATOS, "id", "{\"endpoints\":[\"grpc://[2001:db8::1]:9000/x\"],\"metadata\":null}", "[2001:db8::1]:9000=1"},
    {CONFIG_FORMAT_KRATOS, "id", "{\"endpoints\":[\"grpc://198.18.0.1:9000?isSecure=true\"]}", "bad"},
    {CONFIG_FORMAT_KRATOS, "id", "{\"endpoints\":[\"http://198.18.0.1:8000\"]}", "bad"},
    {CONFIG_FORMAT_KRATOS, "id", "{\"endpoints\":[7,null,\"grpc://\"]}", "bad"},
    /* go-micro */
    {AUTO, "n", "{\"name\":\"echo\",\"version\":\"1\",\"metadata\":null,\"endpoints\":[],\"nodes\":[{\"id\":\"a\",\"address\":\"198.18.0.1:1\",\"metadata\":{\"weight\":\"2\"}},"
     "{\"id\":\"b\",\"address\":\"198.18.0.2:1\"}]}", "198.18.0.1:1=2 198.18.0.2:1=1"},
    {CONFIG_FORMAT_MICRO, "n", "{\"nodes\":[]}", "bad"},
    {CONFIG_FORMAT_MICRO, "n", "{\"nodes\":[{\"address\":\"x\"}]}", "bad"},
    /* kitex */
    {AUTO, "198.18.0.1:1", "{\"network\":\"tcp\",\"address\":\"198.18.0.1:1\",\"weight\":10,\"tags\":{}}", "198.18.0.1:1=10"},
    {CONFIG_FORMAT_KITEX, "x", "{\"network\":\"tcp\",\"address\":\"198.18.0.1:1\",\"tags\":{\"weight\":\"6\"}}", "198.18.0.1:1=6"},
    {CONFIG_FORMAT_KITEX, "x", "{\"network\":\"unix\",\"address\":\"/run/x\"}", "bad"},
    /* APISIX */
    {AUTO, "1", "{\"nodes\":{\"198.18.0.1:1\":3,\"198.18.0.2:1\":0},\"type\":\"roundrobin\",\"scheme\":\"grpc\"}", "198.18.0.1:1=3 198.18.0.2:1=0"},
    {AUTO, "1", "{\"nodes\":[{\"host\":\"198.18.0.1\",\"port\":80,\"weight\":2},{\"host\":\"2001:db8::1\",\"port\":81}]}", "198.18.0.1:80=2 [2001:db8::1]:81=1"},
    {CONFIG_FORMAT_APISIX, "1", "{\"nodes\":{}}", ""},
    {CONFIG_FORMAT_APISIX, "1", "init_dir", ""},
    {AUTO, "", "init_dir", ""},
    {CONFIG_FORMAT_APISIX, "1", "{\"nodes\":[{\"host\":\"198.18.0.1\",\"port\":99999}]}", "bad"},
    {CONFIG_FORMAT_APISIX, "1", "{\"nodes\":[{\"host\":\"h\",\"port\":1}]}", "bad"},
    {CONFIG_FORMAT_APISIX, "1", "{\"nodes\":{\"h:1\":1}}", "bad"},
    /* dubbo-go */
    {AUTO, "tri%3A%2F%2F198.18.0.1%3A20000%2Forg.Greeter%3Fserialization%3Dprotobuf%26weight%3D50", "", "198.18.0.1:20000=50"},
    {CONFIG_FORMAT_DUBBO, "providers/tri%3A%2F%2F198.18.0.1%3A20000%2Fx", "", "198.18.0.1:20000=1"},
    {CONFIG_FORMAT_DUBBO, "providers", "", ""},
    {CONFIG_FORMAT_DUBBO, "tri%3A%2F%2Fh%3A1", "", "bad"},
    {CONFIG_FORMAT_DUBBO, "tri%3A%2F%2F198.18.0.1%3A20000%3Fweight%3Dx", "", "bad"},
    {CONFIG_FORMAT_DUBBO, "%", "", ""},
    {CONFIG_FORMAT_DUBBO, "%3", "", ""},
    {CONFIG_FORMAT_DUBBO, "%zz", "", ""},
};

static void every_layout_is_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        const char *have = parsed(known[i].format, known[i].key, known[i].value, strlen(known[i].value));
        if (strcmp(have, known[i].want) != 0)
            print_error("%zu: key \"%s\" value %s\n", i, known[i].key, known[i].value);
        assert_string_equal(have, known[i].want);
    }
}

static void monsters_are_harmless(void **state)
{
    (void)state;
    size_t n = 1 << 20;
    char *large = malloc(n);
    static const char fills[] = {'{', '[', '"', '1', ' ', '\0', '\\', '%', '/', '\xff'};
    for (size_t f = 0; f < sizeof(fills); f++) {
        memset(large, fills[f], n);
        for (int format = CONFIG_FORMAT_AUTO; format <= CONFIG_FORMAT_APISIX; format++) {
            if (format != CONFIG_FORMAT_KEY)
                assert_string_equal(parsed((enum config_format)format, "198.18.0.1:1", large, n), "bad");
            const char *have = parsed((enum config_format)format, "x", large, RESOLVER_VALUE_BYTES_MAX);
            assert_true(strcmp(have, "bad") == 0 || strcmp(have, "") == 0); /* blanks alone are an empty value */
        }
    }
    /* as deep as a value can be */
    size_t depth = (RESOLVER_VALUE_BYTES_MAX - 64) / 6, at = 0;
    for (size_t i = 0; i < depth; i++)
        at += (size_t)sprintf(large + at, "{\"a\":");
    assert_string_equal(parsed(AUTO, "x", large, at), "bad");
    /* more nodes than an entry may name */
    at = (size_t)sprintf(large, "{\"nodes\":{");
    for (int i = 0; i < 100; i++)
        at += (size_t)sprintf(large + at, "%s\"198.18.0.1:%d\":1", i ? "," : "", i + 1);
    at += (size_t)sprintf(large + at, "}}");
    assert_string_equal(parsed(AUTO, "x", large, at), "bad");
    free(large);
}

/* Every known value with one bit turned, at every place. */
static void turned_bits_are_harmless(void **state)
{
    (void)state;
    unsigned good = 0, bad = 0;
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        size_t n = strlen(known[i].value);
        char *value = malloc(n + 1);
        for (size_t bit = 0; bit < 8 * n; bit++) {
            memcpy(value, known[i].value, n + 1);
            value[bit / 8] = (char)(value[bit / 8] ^ 1 << bit % 8);
            *(strcmp(parsed(known[i].format, known[i].key, value, n), "bad") == 0 ? &bad : &good) += 1;
            parsed(known[i].format, known[i].key, known[i].value, bit / 8); /* and cut short */
        }
        free(value);
    }
    assert_true(good > 1000 && bad > 1000);
}

/* static:/// through the resolvers' door. */
static unsigned told;

static void changed(void *user)
{
    (void)user;
    told++;
}

static void a_static_target_is_its_own_answer(void **state)
{
    (void)state;
    struct loop *l = loop_create();
    struct membership *m = membership_create(1);
    struct base_endpoint e[2];
    base_endpoint_parse("198.18.0.1:1", &e[0]);
    base_endpoint_parse("198.18.0.2:1", &e[1]);
    struct config_cluster cluster = {.name = (char *)"echo", .target = (char *)"static:///198.18.0.1:1,198.18.0.2:1", .target_kind = CONFIG_TARGET_STATIC,
                                     .target_static = e, .target_static_count = 2};
    struct config config = {.clusters = &cluster, .cluster_count = 1};
    struct resolvers *rs = resolvers_create(l, m, changed, NULL);
    membership_configure(m, &config, 1);
    resolvers_configure(rs, &config);
    struct membership_cluster *c = membership_find(m, "echo");
    assert_true(c->present == 2 && c->answered);
    assert_int_equal(resolvers_stale_ns(rs, c, loop_now(l) + 1000000000000ull), 0);
    uint64_t version = c->version;
    membership_configure(m, &config, 2);
    resolvers_configure(rs, &config); /* the same again */
    assert_true(c->version == version);
    cluster.target = (char *)"static:///198.18.0.1:1";
    cluster.target_static_count = 1;
    membership_configure(m, &config, 3);
    resolvers_configure(rs, &config);
    assert_int_equal(c->present, 1);
    config.cluster_count = 0;
    membership_configure(m, &config, 4);
    resolvers_configure(rs, &config);
    assert_int_equal(c->present, 0);
    resolvers_destroy(rs);
    membership_destroy(m);
    loop_destroy(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layout_is_read),
        cmocka_unit_test(monsters_are_harmless),
        cmocka_unit_test(turned_bits_are_harmless),
        cmocka_unit_test(a_static_target_is_its_own_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
