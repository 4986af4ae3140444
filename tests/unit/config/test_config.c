/* config: what is read, what is refused and with which sentence, what is printed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "broken.h"
#include "config/keys.h"

/* libconfig 1.5 loses a string or two when it meets a syntax error: its own leak. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig.so\n";
}

static char *replaced(const char *text, const char *find, const char *replace)
{
    const char *at = strstr(text, find);
    assert_non_null(at);
    struct config_text t = {0};
    config_text_add(&t, "%.*s%s%s", (int)(at - text), text, replace, at + strlen(find));
    return t.text;
}

static struct config *good(const char *text)
{
    struct config_errors e;
    struct config *c = config_parse("t.conf", text, &e);
    for (unsigned i = 0; i < e.count; i++)
        print_message("%s\n", e.text[i]);
    assert_non_null(c);
    assert_int_equal(e.count, 0);
    config_errors_free(&e);
    return c;
}

static bool holds(char **text, unsigned count, const char *begin, const char *piece)
{
    for (unsigned i = 0; i < count; i++)
        if (strncmp(text[i], begin, strlen(begin)) == 0 && strstr(text[i], piece) != NULL)
            return true;
    return false;
}

static void every_fault_has_its_line_and_sentence(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(broken) / sizeof(*broken); i++) {
        char *text = replaced(GOOD_TEXT, broken[i].find, broken[i].replace), begin[32];
        struct config_errors e;
        struct config *c = config_parse("t.conf", text, &e);
        snprintf(begin, sizeof(begin), "t.conf:%d: ", broken[i].line);
        if (c != NULL || !holds(e.text, e.count, begin, broken[i].sentence)) {
            print_message("%s -> %s: expected %s...%s\n", broken[i].find, broken[i].replace, begin, broken[i].sentence);
            for (unsigned k = 0; k < e.count; k++)
                print_message("  %s\n", e.text[k]);
            fail();
        }
        config_errors_free(&e);
        free(text);
    }
}

static void every_semantic_fault_is_reported_in_order(void **state)
{
    (void)state;
    char *a = replaced(GOOD_TEXT, "mtu = 1500", "mtu = 1"), *b = replaced(a, "\"round_robin\"", "\"rr\""),
         *d = replaced(b, "198.18.0.2:50051", "198.18.0.3:50051"), *text = replaced(d, "workers = 1", "workres = 1");
    struct config_errors e;
    assert_null(config_parse("t.conf", text, &e));
    assert_int_equal(e.count, 4);
    assert_true(holds(e.text, 1, "t.conf:2: ", "workers"));
    assert_true(holds(e.text + 1, 1, "t.conf:10: ", "mtu"));
    assert_true(holds(e.text + 2, 1, "t.conf:19: ", "bind")); /* found after the next one */
    assert_true(holds(e.text + 3, 1, "t.conf:30: ", "lb_policy"));
    config_errors_free(&e);
    free(d);
    free(a);
    free(b);
    free(text);
}

static void what_is_written_is_what_is_read(void **state)
{
    (void)state;
    struct config *c = good(GOOD_TEXT);
    assert_int_equal(c->workers, 1);
    assert_int_equal(c->eal_count, 1);
    assert_int_equal(c->drain_timeout_ns, 30000000000ull);
    assert_int_equal(c->limits.memory, 2ull << 30);
    assert_int_equal(c->port_count, 1);
    assert_string_equal(c->ports[0].device, "net_tap0,iface=pen0");
    assert_int_equal(c->ports[0].address_count, 2);
    assert_int_equal(c->ports[0].address[1].bits, 64);
    assert_int_equal(c->tcp.rto_ns_min, 20000000);
    assert_int_equal(c->tcp.user_timeout_ns, 20000000000ull);
    assert_int_equal(c->listeners[0].bind.port, 50051);
    assert_int_equal(c->listeners[0].max_header_list_size, 16384);
    assert_true(c->listeners[0].health_service);
    assert_int_equal(c->listeners[0].routes[1].cluster_index, 1);
    assert_int_equal(c->listeners[0].routes[1].line, 24);
    assert_string_equal(c->listeners[0].routes[1].authority, "*");
    assert_int_equal(c->clusters[0].target_kind, CONFIG_TARGET_ETCD);
    assert_string_equal(c->clusters[0].target_path, "services/echo/");
    assert_true(c->clusters[0].backoff_factor == 1.6);
    assert_int_equal(c->clusters[1].target_kind, CONFIG_TARGET_STATIC);
    assert_int_equal(c->clusters[1].target_static_count, 2);
    assert_int_equal(c->clusters[1].target_static[1].port, 50062);
    assert_int_equal(c->clusters[1].line, 33);
    assert_int_equal(c->admin.port, 9901);
    assert_true(c->metrics_per_endpoint);
    config_free(c);
}

static void etcd_prefixes_take_their_final_slash(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {{"etcd:///services/echo", "services/echo/"},
                                           {"etcd:////echo/", "/echo/"},
                                           {"etcd:////echo", "/echo/"},
                                           {"etcd:///a", "a/"}};
    for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
        char *text = replaced(GOOD_TEXT, "etcd:///services/echo/", pairs[i][0]);
        struct config *c = good(text);
        assert_string_equal(c->clusters[0].target_path, pairs[i][1]);
        assert_string_equal(c->clusters[0].target, pairs[i][0]);
        config_free(c);
        free(text);
    }
}

static void warned(const char *find, const char *replace, int line, const char *piece)
{
    char *text = replaced(GOOD_TEXT, find, replace), begin[32];
    struct config_errors e;
    struct config *c = config_parse("t.conf", text, &e);
    snprintf(begin, sizeof(begin), "t.conf:%d: ", line);
    if (c == NULL || !holds(e.warnings, e.warning_count, begin, piece))
        fail_msg("no warning for %s", replace);
    config_free(c);
    config_errors_free(&e);
    free(text);
}

static void what_has_no_effect_yet_is_accepted_with_a_warning(void **state)
{
    (void)state;
    warned("username = \"\";", "autosync = \"5m\";", 15, "no effect yet");
    /* of no use, though in force */
    warned("\"/pay.Pay/Charge\"", "\"/echo.Echo/Say\"", 24, "can never match: the one of line 23");
    warned("cluster = \"pay\"; }", "cluster = \"echo\"; }", 33, "no route leads to cluster \"pay\"");
    warned("panic_percent = 0;", "lb_config: { weights = \"registry\"; };", 32, "weighted_round_robin");
}

static void what_asks_for_nothing_is_accepted_in_silence(void **state)
{
    (void)state;
    char *text = replaced(GOOD_TEXT, "panic_percent = 0;",
                          "panic_percent = 0; subset_size = 0; max_connection_age = \"0s\"; service_config = \"\";"),
         *both = replaced(text, "proxy_protocol = \"off\";", "health_service = false; forwarded = \"off\";");
    struct config_errors e;
    struct config *c = config_parse("t.conf", both, &e);
    assert_non_null(c);
    assert_int_equal(e.warning_count, 0);
    config_free(c);
    config_errors_free(&e);
    free(both);
    free(text);
}

static void same_after_print(const char *text)
{
    struct config *c = good(text);
    char *printed = config_print(c);
    struct config *again = good(printed);
    assert_true(config_equal(&config_root, c, again));
    for (unsigned i = 0; i < c->cluster_count; i++) {
        const struct config_cluster *x = &c->clusters[i], *y = &again->clusters[i];
        assert_int_equal(x->target_kind, y->target_kind);
        assert_int_equal(x->target_static_count, y->target_static_count);
        assert_true((x->target_path == NULL) == (y->target_path == NULL));
        if (x->target_path != NULL)
            assert_string_equal(x->target_path, y->target_path);
    }
    char *twice = config_print(again);
    assert_string_equal(printed, twice);
    free(printed);
    free(twice);
    config_free(c);
    config_free(again);
}

static void a_printed_configuration_reads_back_equal(void **state)
{
    (void)state;
    static const char *const changes[][2] = {
        {"workers = 1;", "workers = 1;"},
        {"workers = 1;", "cores = \"2-5,7\"; idle = \"poll\";"},
        {"factor = 1.6;", "factor = 2;"},
        {"factor = 1.6;", "factor = 1.1000000000000001;"},
        {"username = \"\";",
         "username = \"a\\\"b\\\\c\\x01\"; password_file = \"/x\"; namespace = \"/prod/\\xc3\\xa9\";"},
        {"dpdk: { eal = [ \"--no-huge\" ]; };", ""},
        {"gateway = [ \"198.18.0.1\" ];", "gateway = [ \"2001:db8::1\", \"198.18.0.1\" ]; vlan = 7;"},
        {"2/24\", \"2001:db8::2/64\" ];\n  gateway = [ \"198.18.0.1\" ];",
         "2/23\" ];\n  gateway = [ \"198.18.1.1\" ];"},
        {"drain_timeout = \"30s\";", "drain_timeout = \"1234567us\";"},
        {"memory = \"2GiB\";", "memory = \"1073741825B\";"},
        {"198.18.0.2:50051", "[2001:db8::2]:1"},
        {"lb_policy = \"round_robin\";",
         "lb_policy = \"weighted_round_robin\"; lb_config: { weights = \"registry\"; };"},
        {"max_header_list_size = \"16KiB\";", "max_header_list_size = \"1025B\"; keepalive: { permit_without_stream = "
                                              "true; }; health_service = false; forwarded = \"off\";"},
    };
    for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
        char *text = replaced(GOOD_TEXT, changes[i][0], changes[i][1]);
        same_after_print(text);
        free(text);
    }
}

static void equality_sees_every_change(void **state)
{
    (void)state;
    static const char *const changes[][2] = {{"workers = 1", "workers = 2"},
                                             {"\"--no-huge\"", "\"--no-pci\""},
                                             {"198.18.0.2/24", "198.18.0.2/25"},
                                             {"mtu = 1500", "mtu = 1501"},
                                             {"198.18.0.1\"", "198.18.0.3\""},
                                             {"1.6", "1.7"},
                                             {"/pay.Pay/Charge", "/pay.Pay/"},
                                             {"127.0.0.1:9901", "127.0.0.1:9902"},
                                             {"\"info\"", "\"debug\""},
                                             {"50061", "50063"},
                                             {"50051", "50052"},
                                             {"\"30s\"", "\"31s\""},
                                             {"\"16KiB\"", "\"17KiB\""},
                                             {"max_series = 50000", "per_endpoint = false"}};
    struct config *a = good(GOOD_TEXT);
    for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
        char *text = replaced(GOOD_TEXT, changes[i][0], changes[i][1]);
        struct config *b = good(text);
        if (config_equal(&config_root, a, b))
            fail_msg("%s", changes[i][1]);
        config_free(b);
        free(text);
    }
    config_free(a);
}

static void restarts_are_named(void **state)
{
    (void)state;
    static const char *const changes[][3] = {
        {"\"--no-huge\"", "\"--no-pci\"", "dpdk"},
        {"workers = 1", "workers = 2", "workers"},
        {"workers = 1", "cores = \"1\"", "cores"},
        {"iface=pen0", "iface=pen1", "ports[].device"},
        {"mtu = 1500", "mtu = 1400", "ports[].mtu"},
        {"connections = 50000", "connections = 50001", "limits"},
        {"198.18.0.2/24", "198.18.0.2/25", NULL},
        {"name = \"front\"", "name = \"back\"", NULL},
        {"\"30s\"", "\"31s\"", NULL},
        {"/pay.Pay/Charge", "/pay.Pay/", NULL},
        {"50061", "50063", NULL},
        {"127.0.0.1:9901", "127.0.0.1:9902", NULL},
        {"} );\ntcp", "}, { name = \"b\"; device = \"net_tap1\"; address = [ \"10.0.0.1/8\" ]; } );\ntcp",
         "ports[].device"},
    };
    struct config *a = good(GOOD_TEXT);
    for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
        char *text = replaced(GOOD_TEXT, changes[i][0], changes[i][1]);
        struct config *b = good(text);
        const char *name = config_needs_restart(a, b);
        if (changes[i][2] == NULL)
            assert_null(name);
        else if (name == NULL)
            fail_msg("%s needs no restart", changes[i][1]);
        else
            assert_string_equal(name, changes[i][2]);
        config_free(b);
        free(text);
    }
    assert_null(config_needs_restart(a, a));
    config_free(a);
}

static void check_file(const char *directory, const char *name)
{
    char path[4096];
    struct config_errors e;
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    struct config *c = config_load(path, &e);
    for (unsigned i = 0; i < e.count; i++)
        print_message("%s\n", e.text[i]);
    assert_non_null(c);
    config_free(c);
    config_errors_free(&e);
}

static void the_examples_pass(void **state)
{
    (void)state;
    check_file(EXAMPLES, "static.conf");
    check_file(EXAMPLES, "etcd.conf");
    check_file(EXAMPLES, "weighted.conf");
    check_file(SAMPLES, "sample.conf"); /* the contract's, without the groups of later steps */
}

static void a_file_that_is_none_says_so(void **state)
{
    (void)state;
    struct config_errors e;
    assert_null(config_load("/nonexistent/penstock.conf", &e));
    assert_string_equal(e.text[0],
                        "/nonexistent/penstock.conf:1: the configuration can't be read: No such file or directory");
    config_errors_free(&e);
    assert_null(config_load("/", &e));
    assert_int_equal(e.count, 1);
    config_errors_free(&e);
    assert_null(config_load("/dev/zero", &e)); /* endless, and no text */
    assert_int_equal(e.count, 1);
    config_errors_free(&e);
}

static char *many(const char *piece, unsigned n)
{
    size_t length = strlen(piece);
    char *text = config_alloc(length * n + 1);
    for (unsigned i = 0; i < n; i++)
        memcpy(text + i * length, piece, length);
    return text;
}

static void excess_is_harmless(void **state)
{
    (void)state;
    static const char *const pieces[] = {"(",
                                         "{",
                                         "[",
                                         "a={",
                                         "x=(",
                                         "1,",
                                         "a:",
                                         "\"",
                                         "/*",
                                         "#",
                                         "=",
                                         "}",
                                         "a=1;",
                                         "workers=1;",
                                         "\n",
                                         "\\",
                                         "@include \"x\"\n"};
    for (size_t i = 0; i < sizeof(pieces) / sizeof(*pieces); i++) {
        char *text = many(pieces[i], 1000000);
        struct config_errors e;
        assert_null(config_parse("t.conf", text, &e));
        assert_true(e.count > 0 && e.count <= 200);
        config_errors_free(&e);
        free(text);
    }
}

/* Lists at their bounds, and one beyond. */
static void bounds_hold(void **state)
{
    (void)state;
    for (unsigned n = CONFIG_CLUSTERS_MAX; n <= CONFIG_CLUSTERS_MAX + 1; n++) {
        struct config_text t = {0};
        for (unsigned i = 0; i < n; i++)
            config_text_add(&t, "%s{ name = \"c%u\"; target = \"static:///10.0.0.1:1\"; }", i > 0 ? ",\n" : "", i);
        char *a = replaced(GOOD_TEXT, "{ name = \"echo\";", "\n"), *head = strstr(a, "clusters = (");
        *head = '\0';
        config_text_add(&t, "%s", ");");
        struct config_text all = {0};
        config_text_add(&all, "%sclusters = ( %s", a, t.text);
        char *named = replaced(all.text, "cluster = \"echo\"", "cluster = \"c1\""),
             *text = replaced(named, "cluster = \"pay\"", "cluster = \"c1023\"");
        struct config_errors e;
        struct config *c = config_parse("t.conf", text, &e);
        assert_true((c != NULL) == (n == CONFIG_CLUSTERS_MAX));
        if (c != NULL)
            assert_int_equal(c->listeners[0].routes[1].cluster_index, 1023);
        config_free(c);
        config_errors_free(&e);
        free(a);
        free(all.text);
        free(t.text);
        free(named);
        free(text);
    }
}

static void units_are_read_and_written(void **state)
{
    (void)state;
    uint64_t v;
    char text[CONFIG_VALUE_TEXT];
    assert_true(config_duration_parse("250ms", &v) && v == 250000000);
    assert_true(config_duration_parse("0s", &v) && v == 0);
    assert_true(config_size_parse("64KiB", &v) && v == 65536);
    assert_string_equal(config_duration_format(90000000000ull, text), "90s");
    assert_string_equal(config_duration_format(7200000000000ull, text), "2h");
    assert_string_equal(config_size_format(4ull << 30, text), "4GiB");
    static const char *const bad[] = {
        "", "s", "1", "1.5s", " 1s", "1s ", "1d", "1S", "18446744073709551616ns", "18446744073709551615s", "+1s"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_false(config_duration_parse(bad[i], &v));
    assert_false(config_size_parse("1KB", &v) || config_size_parse("1k", &v) || config_size_parse("16777216TiB", &v));
}

static char *read_page(const char *path)
{
    FILE *f = fopen(path, "re");
    struct config_text t = {0};
    char piece[4096];
    size_t n;
    if (f == NULL)
        return NULL;
    while ((n = fread(piece, 1, sizeof(piece), f)) > 0)
        config_text_add(&t, "%.*s", (int)n, piece);
    fclose(f);
    return t.text;
}

static void the_reference_page_is_current(void **state)
{
    (void)state;
    char *page = read_page(REFERENCE), *now = config_reference();
    if (page == NULL || strcmp(page, now) != 0)
        fail_msg("docs/CONFIGURATION.md differs from the table of keys; write it anew: build/tests/unit/unit_config "
                 "reference > docs/CONFIGURATION.md");
    free(page);
    free(now);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "reference") == 0) {
        char *page = config_reference();
        fputs(page, stdout);
        free(page);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fault_has_its_line_and_sentence),
        cmocka_unit_test(every_semantic_fault_is_reported_in_order),
        cmocka_unit_test(what_is_written_is_what_is_read),
        cmocka_unit_test(etcd_prefixes_take_their_final_slash),
        cmocka_unit_test(what_has_no_effect_yet_is_accepted_with_a_warning),
        cmocka_unit_test(what_asks_for_nothing_is_accepted_in_silence),
        cmocka_unit_test(a_printed_configuration_reads_back_equal),
        cmocka_unit_test(equality_sees_every_change),
        cmocka_unit_test(restarts_are_named),
        cmocka_unit_test(the_examples_pass),
        cmocka_unit_test(a_file_that_is_none_says_so),
        cmocka_unit_test(excess_is_harmless),
        cmocka_unit_test(bounds_hold),
        cmocka_unit_test(units_are_read_and_written),
        cmocka_unit_test(the_reference_page_is_current),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
