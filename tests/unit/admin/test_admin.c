/* admin: what each path answers, over real HTTP on loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "exposition.h"
#include "world.h"

static void answers(struct world *w, const char *method, const char *path, const char *body, const char *header,
                    long status, const char *piece)
{
    struct reply r = world_ask(w, method, path, body, header);
    if (r.status != status || (piece != NULL && strstr(r.body, piece) == NULL))
        fail_msg("%s %s: %ld %s; expected %ld %s", method, path, r.status, r.body, status, piece != NULL ? piece : "any text");
    reply_free(&r);
}

static void every_path_has_its_answer(void **state)
{
    (void)state;
    struct world *w = world_open(NULL, NULL);
    answers(w, "GET", "/healthz", NULL, NULL, 200, "ok");
    answers(w, "GET", "/nothing", NULL, NULL, 404, "\"error\":\"there is nothing");
    answers(w, "GET", "/api/v1/", NULL, NULL, 404, "\"error\"");
    answers(w, "POST", "/metrics", "", NULL, 405, "takes GET and HEAD");
    answers(w, "DELETE", "/api/v1/status", NULL, NULL, 405, "takes GET");
    answers(w, "GET", "/api/v1/shutdown", NULL, NULL, 405, "takes POST");
    static const char *const get[] = {"/", "/api/v1/explain?method=/a/b"}, *const post[] = {
                                                                                                      "/api/v1/reload",
                                                                                                      "/api/v1/drain",
                                                                                                      "/api/v1/undrain",
                                                                                                      "/api/v1/weight"};
    for (size_t i = 0; i < sizeof(get) / sizeof(*get); i++)
        answers(w, "GET", get[i], NULL, NULL, 501, "\"error\":\"not yet");
    for (size_t i = 0; i < sizeof(post) / sizeof(*post); i++)
        answers(w, "POST", post[i], "{}", NULL, 501, "\"error\":\"not yet");
    struct reply r = world_ask(w, "HEAD", "/metrics", NULL, NULL);
    assert_int_equal(r.status, 200);
    assert_string_equal(r.body, "");
    assert_non_null(strstr(r.head, "Content-Type: text/plain; version=0.0.4"));
    reply_free(&r);
    r = world_ask(w, "PUT", "/api/v1/weight", "x", NULL);
    assert_int_equal(r.status, 405);
    assert_non_null(strstr(r.head, "Allow: POST"));
    reply_free(&r);
    world_close(w);
}

static void shutdown_is_an_order_and_not_a_web_pages(void **state)
{
    (void)state;
    struct world *w = world_open(NULL, NULL);
    answers(w, "POST", "/api/v1/shutdown", "", "Origin: http://example.com", 403, "web pages");
    assert_false(w->shut);
    answers(w, "POST", "/api/v1/shutdown", "", NULL, 202, "draining");
    assert_true(w->shut);
    world_close(w);
}

static bool take_weight(void *user, const char *cluster, const struct base_endpoint *e, uint32_t weight, char *error,
                        size_t n)
{
    struct world *w = user;
    char text[BASE_ENDPOINT_TEXT];
    snprintf(w->weight_order, sizeof(w->weight_order), "%s %s %u", cluster, base_endpoint_format(e, text), weight);
    snprintf(error, n, "no such endpoint");
    return strcmp(cluster, "echo") == 0;
}

static bool refuse_reload(void *user, struct admin_reload *what)
{
    (void)user;
    what->said.text = calloc(2, sizeof(*what->said.text));
    what->said.text[0] = strdup("t.conf:3: \"no\"");
    what->said.text[1] = strdup("t.conf:9: nor this");
    what->said.count = 2;
    return false;
}

static void with_orders(struct world *w)
{
    w->view.weight = take_weight;
    w->view.reload = refuse_reload;
}

static void orders_are_read_strictly(void **state)
{
    (void)state;
    struct world *w = world_open(NULL, with_orders);
    answers(w, "POST", "/api/v1/weight", "{\"cluster\":\"echo\",\"endpoint\":\"10.0.0.1:1\",\"weight\":3}", NULL, 200,
            "done");
    assert_string_equal(w->weight_order, "echo 10.0.0.1:1 3");
    answers(w, "POST", "/api/v1/weight", "{\"cluster\":\"echo\",\"endpoint\":\"[2001:db8::1]:1\",\"weight\":\"auto\"}",
            NULL, 200, "done");
    assert_string_equal(w->weight_order, "echo [2001:db8::1]:1 4294967295");
    answers(w, "POST", "/api/v1/drain", "{\"cluster\":\"echo\",\"endpoint\":\"10.0.0.1:1\"}", NULL, 200, "done");
    assert_string_equal(w->weight_order, "echo 10.0.0.1:1 0");
    answers(w, "POST", "/api/v1/undrain", "{\"cluster\":\"pay\",\"endpoint\":\"10.0.0.1:1\"}", NULL, 404,
            "no such endpoint");
    answers(w, "POST", "/api/v1/reload", "", NULL, 409, "t.conf:3: \\\"no\\\"");
    answers(w, "POST", "/api/v1/reload", "", NULL, 409, "\"errors\":[\"t.conf:3: \\\"no\\\"\",\"t.conf:9: nor this\"]");
    w->weight_order[0] = '\0';
    static const char *const bad[] = {"",
                                      "[",
                                      "[]",
                                      "1",
                                      "{}",
                                      "{\"cluster\":\"echo\"}",
                                      "{\"cluster\":1,\"endpoint\":\"10.0.0.1:1\",\"weight\":1}",
                                      "{\"cluster\":\"echo\",\"endpoint\":\"10.0.0.1\",\"weight\":1}",
                                      "{\"cluster\":\"echo\",\"endpoint\":\"10.0.0.1:1\"}",
                                      "{\"cluster\":\"echo\",\"endpoint\":\"10.0.0.1:1\",\"weight\":-1}",
                                      "{\"cluster\":\"echo\",\"endpoint\":\"10.0.0.1:1\",\"weight\":1.5}",
                                      "{\"cluster\":\"echo\",\"endpoint\":\"10.0.0.1:1\",\"weight\":1e300}",
                                      "{\"cluster\":\"echo\",\"endpoint\":\"10.0.0.1:1\",\"weight\":\"many\"}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        answers(w, "POST", "/api/v1/weight", bad[i], NULL, 400, "\"error\"");
    char *large = malloc(ADMIN_BODY_BYTES_MAX + 2);
    memset(large, ' ', ADMIN_BODY_BYTES_MAX + 1);
    large[ADMIN_BODY_BYTES_MAX + 1] = '\0';
    answers(w, "POST", "/api/v1/weight", large, NULL, 413, "\"error\"");
    assert_string_equal(w->weight_order, "");
    free(large);
    world_close(w);
}

static void ready_comes_and_goes(void **state)
{
    (void)state;
    struct world *w = world_open(NULL, NULL);
    answers(w, "GET", "/readyz", NULL, NULL, 503, "not applied");
    publish_config(w->publish, w->config);
    publish_turn(w->publish, loop_now(w->loop));
    answers(w, "GET", "/readyz", NULL, NULL, 503, "waits for the first answer");
    world_set(w, "pay", "198.18.0.1:50061");
    world_set(w, "echo", "198.18.0.1:50062 198.18.0.1:50063");
    answers(w, "GET", "/readyz", NULL, NULL, 200, "ready");
    answers(w, "GET", "/readyz?cluster=echo", NULL, NULL, 503, "no READY endpoint");
    answers(w, "GET", "/readyz?cluster=ecko", NULL, NULL, 404, "no such cluster");
    struct base_endpoint e;
    base_endpoint_parse("198.18.0.1:50063", &e);
    const struct membership_endpoint *m = membership_endpoint(membership_find(w->membership, "echo"), &e);
    membership_report_state(w->membership, 1, m->slot, m->serial, MAILBOX_READY, 1);
    answers(w, "GET", "/readyz?cluster=echo", NULL, NULL, 200, "ready");
    answers(w, "GET", "/readyz?cluster=pay", NULL, NULL, 503, "no READY endpoint");
    w->ports_down = true;
    answers(w, "GET", "/readyz", NULL, NULL, 503, "port is down");
    w->ports_down = false;
    w->draining = true;
    answers(w, "GET", "/readyz", NULL, NULL, 503, "draining");
    answers(w, "GET", "/healthz", NULL, NULL, 200, "ok");
    world_close(w);
}

static void long_ago(struct world *w)
{
    w->view.started_ns -= 11000000000ull;
}

static void a_silent_source_holds_back_ten_seconds_only(void **state)
{
    (void)state;
    struct world *w = world_open(NULL, long_ago);
    publish_config(w->publish, w->config);
    publish_turn(w->publish, loop_now(w->loop));
    answers(w, "GET", "/readyz", NULL, NULL, 200, "ready");
    world_close(w);
}

static double number(const cJSON *o, const char *name)
{
    const cJSON *n = cJSON_GetObjectItemCaseSensitive(o, name);
    assert_true(cJSON_IsNumber(n));
    return n->valuedouble;
}

static const char *string(const cJSON *o, const char *name)
{
    const char *s = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, name));
    assert_non_null(s);
    return s;
}

static void clusters_have_the_contracts_fields(void **state)
{
    (void)state;
    struct world *w = world_open(NULL, NULL);
    world_set(w, "echo", "198.18.0.1:50062*5 [2001:db8::1]:50063*0");
    struct stats_slot *s = world_slot(w, 0, "echo", "198.18.0.1:50062"),
                      *other = world_slot(w, 1, "echo", "198.18.0.1:50062");
    s->rpcs[0] = 10;
    s->rpcs[14] = 2;
    other->rpcs[0] = 5;
    s->connects = 1;
    other->connects = 1;
    s->failures = 3;
    s->active = 4;
    other->active = 2;
    struct reply r = world_ask(w, "GET", "/api/v1/clusters", NULL, NULL);
    cJSON *root = cJSON_Parse(r.body), *c = cJSON_GetArrayItem(cJSON_GetObjectItem(root, "clusters"), 0),
          *e = cJSON_GetArrayItem(cJSON_GetObjectItem(c, "endpoints"), 0);
    assert_non_null(strstr(r.head, "Content-Type: application/json"));
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(root, "clusters")), 2);
    assert_string_equal(string(c, "name"), "echo");
    assert_string_equal(string(c, "policy"), "weighted_round_robin");
    assert_string_equal(string(c, "source"), "etcd:///services/echo/");
    assert_true(number(c, "revision") == 7);
    assert_true(number(c, "stale_seconds") < 5);
    assert_string_equal(string(e, "address"), "198.18.0.1:50062");
    assert_string_equal(string(e, "state"), "IDLE");
    assert_true(number(e, "weight") == 5 && number(e, "connects") == 2 && number(e, "active_streams") == 6 &&
                number(e, "rpcs") == 17 && number(e, "failures") == 3);
    e = cJSON_GetArrayItem(cJSON_GetObjectItem(c, "endpoints"), 1);
    assert_string_equal(string(e, "address"), "[2001:db8::1]:50063");
    assert_string_equal(string(e, "state"), "DRAINING");
    assert_true(number(e, "weight") == 0 && number(e, "rpcs") == 0);
    cJSON_Delete(root);
    reply_free(&r);
    r = world_ask(w, "GET", "/api/v1/status", NULL, NULL);
    root = cJSON_Parse(r.body);
    assert_string_equal(string(root, "version"), PENSTOCK_VERSION);
    assert_string_equal(string(root, "state"), "running");
    assert_true(number(cJSON_GetObjectItem(root, "rpcs"), "ended") == 17 &&
                number(cJSON_GetObjectItem(root, "rpcs"), "not_ok") == 2);
    assert_true(number(cJSON_GetObjectItem(root, "connections"), "client") == 12 &&
                number(cJSON_GetObjectItem(root, "connections"), "backend") == 14);
    assert_true(number(cJSON_GetObjectItem(root, "endpoints"), "present") == 2);
    cJSON_Delete(root);
    reply_free(&r);
    world_close(w);
}

static char *metrics(struct world *w)
{
    char error[512];
    struct reply r = world_ask(w, "GET", "/metrics", NULL, NULL);
    assert_int_equal(r.status, 200);
    if (!exposition_valid(r.body, error, sizeof(error)))
        fail_msg("%s", error);
    free(r.head);
    return r.body;
}

static void shows(const char *text, const char *series, double value)
{
    double v = exposition_value(text, series);
    if (v != value)
        fail_msg("%s is %g; expected %g in\n%s", series, v, value, text);
}

/* Every family that this version can know. */
static void fill(struct world *w)
{
    world_set(w, "echo", "198.18.0.1:50062 198.18.0.1:50063");
    struct stats *s = w->stats[0], *t = w->stats[1];
    struct stats_slot *slot = world_slot(w, 0, "echo", "198.18.0.1:50062");
    slot->rpcs[0] = 3;
    slot->rpcs[14] = 1;
    slot->picks = 5;
    slot->connects = 1;
    slot->failures = 1;
    slot->active = 1;
    world_slot(w, 1, "echo", "198.18.0.1:50062")->picks = 2;
    uint16_t id = membership_find(w->membership, "echo")->id;
    s->clusters[id].started[0] = 4;
    s->clusters[id].pick_failures[STATS_REASON_NO_READY_ENDPOINT] = 6;
    s->clusters[id].own_answers[14] = 6;
    stats_duration_add(&s->clusters[id].duration, 70000);
    stats_duration_add(&t->clusters[id].duration, 20000000000ull);
    stats_residence_add(s, 100);
    stats_residence_add(s, 3000);
    stats_residence_add(t, ~0ull >> 8);
    s->drops[STATS_DROP_IP_CHECKSUM] = 2;
    t->drops[STATS_DROP_IP_CHECKSUM] = 3;
    s->counters[STATS_DOWN_BYTES_IN] = 1000;
    s->counters[STATS_UP_BYTES_OUT] = 2000;
    s->counters[STATS_TCP_RETRANSMITS_RTO] = 1;
    s->counters[STATS_HANDOVERS] = 9;
    s->counters[STATS_BUSY_NS] = 1500000000ull;
    t->counters[STATS_IDLE_NS] = 1;
    s->counters[STATS_PORT_RX_PACKETS] = 12;
    w->in_use = 30;
}

/* A listener's id serves another name when more than there are ids have come and gone: that one's count begins at nothing. */
static void counts_do_not_pass_to_another_name(void **state)
{
    (void)state;
    struct world *w = world_open(NULL, NULL);
    struct config c = *w->config;
    char name[24][8], series[256];
    uint16_t echo = membership_find(w->membership, "echo")->id;
    uint64_t *count = &w->stats[0]->clusters[echo].started[1];
    unsigned last = 0;
    for (unsigned k = 0; k < 24; k++) {
        snprintf(name[k], sizeof(name[k]), "k%u", k);
        c.listeners[1] = c.listeners[0];
        c.listeners[1].name = name[k];
        c.listener_count = 2;
        publish_config(w->publish, &c);
        publish_turn(w->publish, loop_now(w->loop));
        admin_observe(w->admin);
        if (strcmp(publish_listener_name(w->publish, 1), name[last]) != 0) {
            last = k;
            break;
        }
        *count += 7;
    }
    assert_true(last > 14); /* ids lasted so long */
    char *m = metrics(w);
    snprintf(series, sizeof(series), "listener=\"%.7s\"", name[last]);
    assert_null(strstr(m, series));
    free(m);
    *count += 2;
    m = metrics(w);
    snprintf(series, sizeof(series), "penstock_rpcs_started_total{listener=\"%.7s\",cluster=\"echo\"}", name[last]);
    shows(m, series, 2);
    free(m);
    world_close(w);
}

static void metrics_say_what_was_counted(void **state)
{
    (void)state;
    struct world *w = world_open(NULL, NULL);
    publish_config(w->publish, w->config);
    publish_turn(w->publish, loop_now(w->loop));
    fill(w);
    char *m = metrics(w);
    shows(m, "penstock_build_info{version=\"" PENSTOCK_VERSION "\"}", 1);
    shows(m, "penstock_rpcs_total{cluster=\"echo\",endpoint=\"198.18.0.1:50062\",grpc_status=\"OK\"}", 3);
    shows(m, "penstock_rpcs_total{cluster=\"echo\",endpoint=\"198.18.0.1:50062\",grpc_status=\"UNAVAILABLE\"}", 1);
    shows(m, "penstock_rpcs_total{cluster=\"echo\",endpoint=\"none\",grpc_status=\"UNAVAILABLE\"}", 6);
    shows(m, "penstock_rpcs_started_total{listener=\"grpc\",cluster=\"echo\"}", 4);
    shows(m, "penstock_picks_total{cluster=\"echo\",endpoint=\"198.18.0.1:50062\",worker=\"0\"}", 5);
    shows(m, "penstock_picks_total{cluster=\"echo\",endpoint=\"198.18.0.1:50062\",worker=\"1\"}", 2);
    shows(m, "penstock_pick_failures_total{cluster=\"echo\",reason=\"no_ready_endpoint\"}", 6);
    shows(m, "penstock_streams_active{cluster=\"echo\",endpoint=\"198.18.0.1:50062\"}", 1);
    shows(m, "penstock_endpoint_connects_total{cluster=\"echo\",endpoint=\"198.18.0.1:50062\"}", 1);
    shows(m, "penstock_endpoints{cluster=\"echo\",state=\"IDLE\"}", 2);
    shows(m, "penstock_membership_changes_total{cluster=\"echo\",change=\"added\"}", 2);
    assert_true(exposition_value(m, "penstock_membership_stale_seconds{cluster=\"echo\"}") >= 0);
    shows(m, "penstock_membership_stale_seconds{cluster=\"pay\"}", 0);
    shows(m, "penstock_snapshot_generation", 1);
    shows(m, "penstock_rpc_duration_seconds_bucket{cluster=\"echo\",le=\"5e-05\"}", 0);
    shows(m, "penstock_rpc_duration_seconds_bucket{cluster=\"echo\",le=\"0.0001\"}", 1);
    shows(m, "penstock_rpc_duration_seconds_bucket{cluster=\"echo\",le=\"10\"}", 1);
    shows(m, "penstock_rpc_duration_seconds_bucket{cluster=\"echo\",le=\"+Inf\"}", 2);
    shows(m, "penstock_rpc_duration_seconds_sum{cluster=\"echo\"}", 20.00007);
    shows(m, "penstock_residence_seconds_bucket{le=\"2.56e-07\"}", 1);
    shows(m, "penstock_residence_seconds_bucket{le=\"4.096e-06\"}", 2);
    shows(m, "penstock_residence_seconds_count", 3);
    shows(m, "penstock_connections{side=\"client\",state=\"open\"}", 12);
    shows(m, "penstock_bytes_total{side=\"client\",direction=\"in\"}", 1000);
    shows(m, "penstock_bytes_total{side=\"backend\",direction=\"out\"}", 2000);
    shows(m, "penstock_tcp_retransmits_total{cause=\"rto\"}", 1);
    shows(m, "penstock_drops_total{reason=\"ip_checksum\"}", 5);
    shows(m, "penstock_worker_seconds_total{worker=\"0\",mode=\"busy\"}", 1.5);
    shows(m, "penstock_handovers_total", 9);
    shows(m, "penstock_objects{kind=\"tcp_conn\",state=\"in_use\"}", 60);
    shows(m, "penstock_objects{kind=\"tcp_conn\",state=\"free\"}", 140);
    /* what never moved is not shown */
    assert_null(strstr(m, "50063"));
    assert_null(strstr(m, "direction=\"out\"} 0"));
    assert_null(strstr(m, "tcp_malformed"));
    assert_null(strstr(m, "penstock_rpc_duration_seconds_bucket{cluster=\"pay\""));
    free(m);
    world_close(w);
}

static void promtool_finds_nothing(void **state)
{
    (void)state;
    if (system("command -v promtool >/dev/null 2>&1") != 0)
        skip();
    struct world *w = world_open(NULL, NULL);
    fill(w);
    char *m = metrics(w);
    FILE *p = popen("promtool check metrics >&2", "w");
    fputs(m, p);
    assert_int_equal(pclose(p), 0);
    free(m);
    world_close(w);
}

#define RPCS(endpoint) "penstock_rpcs_total{cluster=\"echo\",endpoint=\"" endpoint "\",grpc_status=\"OK\"}"

/* The slot of a departed endpoint goes to another one: the old one's counters stand, the new one's begin at zero. */
static void counters_never_fall_when_a_slot_changes_hands(void **state)
{
    (void)state;
    struct world *w = world_open(NULL, NULL);
    world_set(w, "echo", "198.18.0.1:1");
    struct stats_slot *s = world_slot(w, 0, "echo", "198.18.0.1:1");
    s->rpcs[0] = 100;
    s->connects = 1;
    uint32_t serial = (uint32_t)s->serial, slot = (uint32_t)(s - w->stats[0]->slots);
    admin_observe(w->admin);
    world_set(w, "echo", "");
    s->rpcs[0] = 101; /* the last one ended while it left */
    char *m = metrics(w);
    shows(m, RPCS("198.18.0.1:1"), 101);
    free(m);
    world_empty(w, slot, serial);
    m = metrics(w);
    shows(m, RPCS("198.18.0.1:1"), 101);
    free(m);
    world_set(w, "echo", "198.18.0.1:2");
    assert_ptr_equal(world_slot(w, 0, "echo", "198.18.0.1:2"), s);
    s->rpcs[0] = 7;
    m = metrics(w);
    shows(m, RPCS("198.18.0.1:1"), 101);
    shows(m, RPCS("198.18.0.1:2"), 7);
    free(m);
    world_set(w, "echo", "");
    world_empty(w, slot, (uint32_t)s->serial);
    /* the first address comes back: it goes on counting where it stood */
    world_set(w, "echo", "198.18.0.1:1");
    assert_ptr_equal(world_slot(w, 0, "echo", "198.18.0.1:1"), s);
    s->rpcs[0] = 4;
    m = metrics(w);
    shows(m, RPCS("198.18.0.1:1"), 105);
    shows(m, RPCS("198.18.0.1:2"), 7);
    free(m);
    world_close(w);
}

/* A worker clears the slot while we look: serial still the old one, counts already gone. */
static void a_torn_look_does_not_count(void **state)
{
    (void)state;
    struct world *w = world_open(NULL, NULL);
    world_set(w, "echo", "198.18.0.1:1");
    struct stats_slot *s = world_slot(w, 0, "echo", "198.18.0.1:1");
    s->rpcs[0] = 100;
    admin_observe(w->admin);
    s->rpcs[0] = 0;
    char *m = metrics(w);
    shows(m, RPCS("198.18.0.1:1"), 100);
    free(m);
    world_close(w);
}

static void narrow(struct world *w)
{
    w->config->metrics_max_series = 100; /* half of it for endpoints */
}

static double sum_ok(const char *m)
{
    double sum = 0;
    for (const char *p = m; (p = strstr(p, "\npenstock_rpcs_total{")) != NULL;) {
        p = strchr(p, '}');
        sum += strtod(p + 1, NULL);
    }
    return sum;
}

static void too_many_series_fold_into_other(void **state)
{
    (void)state;
    struct world *w = world_open(NULL, narrow);
    struct config_text_like {
        char text[8192];
        size_t n;
    } all = {0};
    for (int i = 1; i <= 100; i++)
        all.n += (size_t)snprintf(all.text + all.n, sizeof(all.text) - all.n, "198.18.0.1:%d ", i);
    world_set(w, "echo", all.text);
    char address[32];
    for (int i = 1; i <= 100; i++) {
        snprintf(address, sizeof(address), "198.18.0.1:%d", i);
        world_slot(w, 0, "echo", address)->rpcs[0] = 10;
        world_slot(w, 0, "echo", address)->picks = 10;
    }
    char *m = metrics(w);
    double other = exposition_value(m, RPCS("other"));
    assert_true(other > 0 && other < 1000);
    assert_true(sum_ok(m) == 1000);
    free(m);
    /* one that was folded stays so, though there is room again */
    w->config->metrics_max_series = 50000;
    m = metrics(w);
    shows(m, RPCS("other"), other);
    assert_true(sum_ok(m) == 1000);
    free(m);
    w->config->metrics_per_endpoint = false;
    m = metrics(w);
    shows(m, RPCS("other"), 1000);
    assert_null(strstr(m, "198.18.0.1"));
    free(m);
    world_close(w);
}

static void serve_and_leave(struct world *w, unsigned first, unsigned n)
{
    struct membership_entry *entry = calloc(n, sizeof(*entry));
    struct membership_cluster *c = membership_find(w->membership, "echo");
    for (unsigned i = 0; i < n; i++)
        entry[i] = (struct membership_entry){
            .address = {.addr = base_addr_from_v4(htonl(0x0a000000 + first + i)), .port = 1}, .weight = 1};
    membership_set(w->membership, c, entry, n, 7, loop_now(w->loop));
    for (unsigned i = 0; i < n; i++) {
        const struct membership_endpoint *e = membership_endpoint(c, &entry[i].address);
        w->stats[0]->slots[e->slot] = (struct stats_slot){.serial = e->serial, .rpcs = {1}};
    }
    admin_observe(w->admin);
    membership_set(w->membership, c, NULL, 0, 7, loop_now(w->loop));
    for (unsigned i = 0; i < n; i++) {
        const struct membership_endpoint *e = membership_endpoint(c, &entry[i].address);
        w->stats[0]->slots[e->slot] = (struct stats_slot){0}; /* as the next endpoint's arrival would leave it */
        world_empty(w, e->slot, e->serial);
    }
    admin_observe(w->admin);
    free(entry);
}

/* Addresses that come and go for ever: accounts stay bounded, and the sum stands. */
static void accounts_of_the_departed_are_bounded(void **state)
{
    (void)state;
    struct world *w = world_open(NULL, NULL);
    enum { N = 12 * 500 };
    for (unsigned i = 0; i < N; i += 500)
        serve_and_leave(w, i, 500);
    char *m = metrics(w);
    unsigned series = 0;
    for (const char *p = m; (p = strstr(p, "penstock_rpcs_total{")) != NULL; p++)
        series++;
    assert_true(series <= ADMIN_DEPARTED_MAX + 1);
    assert_true(exposition_value(m, RPCS("other")) >= N - ADMIN_DEPARTED_MAX);
    assert_true(sum_ok(m) == N);
    free(m);
    world_close(w);
}

static void the_address_may_be_ipv6_or_taken(void **state)
{
    (void)state;
    struct world *w = world_open(
        "ports = ( { name = \"front\"; device = \"net_tap0\"; address = [ \"198.18.0.2/24\" ]; } );\n"
        "listeners = ( { name = \"g\"; bind = \"198.18.0.2:1\"; routes = ( { path = \"/\"; cluster = \"c\"; } ); } );\n"
        "clusters = ( { name = \"c\"; target = \"static:///198.18.0.1:1\"; } ); admin: { bind = \"[::1]:9901\"; };",
        NULL);
    char error[512] = "";
    answers(w, "GET", "/healthz", NULL, NULL, 200, "ok");
    assert_null(admin_create(w->loop, &w->view, error, sizeof(error)));
    assert_non_null(strstr(error, "another program has it"));
    struct base_addr was = w->config->admin.addr;
    base_addr_parse("198.51.100.7", &w->config->admin.addr);
    assert_null(admin_create(w->loop, &w->view, error, sizeof(error)));
    assert_non_null(strstr(error, "no address of this machine"));
    w->config->admin.addr = was;
    world_close(w);
}

static void many_at_once_are_served_without_a_thread(void **state)
{
    (void)state;
    struct world *w = world_open(NULL, NULL);
    fill(w);
    for (int i = 0; i < 200; i++)
        answers(w, "GET", i % 2 ? "/metrics" : "/api/v1/workers", NULL, NULL, 200, NULL);
    world_close(w);
}

static void program_says(struct world *w, const char *arguments, int status, const char *piece)
{
    char command[512], text[BASE_ENDPOINT_TEXT];
    int got;
    snprintf(command, sizeof(command), PENSTOCKCTL " -a %s %s 2>&1", base_endpoint_format(&w->config->admin, text),
             arguments);
    char *output = world_run(w, command, &got);
    if (got != status || strstr(output, piece) == NULL)
        fail_msg("penstockctl %s: %d %s; expected %d %s", arguments, got, output, status, piece);
    free(output);
}

static void penstockctl_shows_what_the_server_says(void **state)
{
    (void)state;
    struct world *w = world_open(NULL, NULL);
    publish_config(w->publish, w->config);
    publish_turn(w->publish, loop_now(w->loop));
    fill(w);
    program_says(w, "status", 0, "running for");
    program_says(w, "status", 0, "listener       grpc at 198.18.0.2:50051\n");
    program_says(w, "status", 0, "endpoints      0 READY of 2, in 2 clusters\n");
    program_says(w, "status", 0, "connections    12 of clients, 14 to backends\n");
    program_says(w, "status", 0, "RPCs           1 now, 10 ended, 7 of them not OK\n");
    program_says(w, "clusters", 0, "echo     weighted_round_robin      0          2        1     4");
    program_says(w, "endpoints", 0, "echo     198.18.0.1:50062  IDLE        1        1     4         1         1\n");
    program_says(w, "endpoints pay", 0, "CLUSTER  ENDPOINT  STATE");
    program_says(w, "--json endpoints echo", 0, "\"address\":\t\"198.18.0.1:50063\"");
    program_says(w, "-j status", 0, "\"version\":");
    program_says(w, "endpoints nobody", 1, "there is no cluster \"nobody\"");
    program_says(w, "reload", 1, "not yet");
    program_says(w, "drain echo", 2, "CLUSTER ENDPOINT");
    program_says(w, "weight echo 10.0.0.1:1 many", 2, "no weight");
    program_says(w, "status --wait", 2, "belongs to drain");
    program_says(w, "top", 1, "not yet");
    program_says(w, "statsu", 2, "there is no command \"statsu\"");
    program_says(w, "", 2, "a command is missing");
    program_says(w, "status twice", 2, "one argument too many");
    program_says(w, "--nonsense", 2, "--help");
    program_says(w, "--help", 0, "penstockctl endpoints echo");
    program_says(w, "--version", 0, "penstockctl " PENSTOCK_VERSION "\n");
    program_says(w, "-a 127.0.0.1:1 status", 1, "Is penstock running? Its admin.bind");
    program_says(w, "-a no/host status", 1, "penstockctl: ");
    world_close(w);
}

/* ---- connections, with a worker made of a thread ---- */

struct acting {
    struct world *world;
    unsigned worker, connections;
    int stop;
};

static void fill_dump(struct mailbox_dump *d, const struct acting *as)
{
    for (d->count = 0; d->count < MAILBOX_DUMP_ENTRIES && d->cursor < as->connections; d->count++, d->cursor++)
        d->entry[d->count] = (struct mailbox_connection){
            .flow = {.local_port = 50051, .remote_port = (uint16_t)(1000 + d->cursor)}, .state = 4, .passive = true, .listener = 0, .session = true,
            .streams = d->cursor, .mss = 1448, .srtt_ns = 1500, .slot = UINT32_MAX};
    if (d->cursor == as->connections)
        d->cursor = UINT32_MAX;
    mailbox_dump_give(d, false);
}

static void *act(void *user)
{
    struct acting *as = user;
    struct mailbox_message m;
    while (!__atomic_load_n(&as->stop, __ATOMIC_ACQUIRE)) {
        if (mailbox_order_next(as->world->mailbox[as->worker], &m) && m.kind == MAILBOX_DUMP)
            fill_dump((struct mailbox_dump *)(uintptr_t)m.a, as);
        else
            usleep(200);
    }
    return NULL;
}

static void connections_come_from_every_worker_in_parts(void **state)
{
    (void)state;
    struct world *w = world_open(NULL, NULL);
    struct acting as[2] = {{w, 0, 1300, 0}, {w, 1, 0, 0}};
    pthread_t thread[2];
    for (int i = 0; i < 2; i++)
        pthread_create(&thread[i], NULL, act, &as[i]);
    for (int round = 0; round < 3; round++) {
        struct reply r = world_ask(w, "GET", "/api/v1/connections", NULL, NULL);
        cJSON *root = cJSON_Parse(r.body);
        assert_int_equal(r.status, 200);
        assert_true(cJSON_IsTrue(cJSON_GetObjectItem(root, "complete")));
        cJSON *list = cJSON_GetObjectItem(root, "connections"), *c;
        assert_int_equal(cJSON_GetArraySize(list), 1300);
        unsigned n = 0;
        cJSON_ArrayForEach (c, list)
            assert_true(number(c, "streams") == n++ && number(c, "srtt_us") == 1.5);
        assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(cJSON_GetArrayItem(list, 7), "state")), "ESTABLISHED");
        cJSON_Delete(root);
        reply_free(&r);
    }
    /* One worker falls silent: an answer after a second, in words; and once it is back, the whole. */
    __atomic_store_n(&as[1].stop, 1, __ATOMIC_RELEASE);
    pthread_join(thread[1], NULL);
    answers(w, "GET", "/api/v1/connections", NULL, NULL, 200, "\"complete\":false,\"words\":\"1 of 2 workers did not answer");
    as[1].stop = 0;
    pthread_create(&thread[1], NULL, act, &as[1]);
    usleep(20000);
    answers(w, "GET", "/api/v1/connections", NULL, NULL, 200, "\"complete\":true");
    for (int i = 0; i < 2; i++) {
        __atomic_store_n(&as[i].stop, 1, __ATOMIC_RELEASE);
        pthread_join(thread[i], NULL);
    }
    world_close(w);
}

/* ---- captures that are refused ---- */

static void captures_are_refused_with_a_sentence(void **state)
{
    (void)state;
    struct world *w = world_open(NULL, NULL);
    static const char *const bad[][2] = {
        {"{\"filter\":\"tcp prot 80\"}", "is no word of pcap-filter's"}, {"{\"filter\":\"host example.com\"}", "not looked up"},
        {"{\"filter\":\"port http\"}", "not looked up"},               {"{\"filter\":\"tcp and (\"}", "can't be read"},
        {"{\"filter\":\"tcp ; udp\"}", "a character that is not"},      {"{\"filter\":7}", "must be a string"},
        {"{\"seconds\":-1}", "seconds"},                                {"{\"snaplen\":3}", "snaplen"},
        {"[]", "must be a JSON object"},                                  {"{", "no JSON"}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        answers(w, "POST", "/api/v1/capture", bad[i][0], NULL, 400, bad[i][1]);
    char text[1200];
    memset(text, ' ', sizeof(text));
    memcpy(text, "{\"filter\":\"tcp", 14);
    memcpy(text + 1150, "\"}", 3);
    answers(w, "POST", "/api/v1/capture", text, NULL, 400, "longer than");
    answers(w, "POST", "/api/v1/capture", "{}", "Origin: http://example.com", 403, "web pages");
    answers(w, "GET", "/api/v1/capture/status", NULL, NULL, 200, "\"running\":false");
    answers(w, "POST", "/api/v1/capture/stop", "", NULL, 200, "\"running\":false");
    world_close(w);
}

/* ---- access records ---- */

static char access_path[64];

static void log_to_a_file(struct world *w)
{
    free(w->config->log_access);
    w->config->log_access = strdup(access_path);
}

static void turn_for(struct world *w, unsigned ms)
{
    for (uint64_t end = loop_now(w->loop) + ms * 1000000ull; loop_now(w->loop) < end;)
        loop_turn(w->loop, 2);
}

static unsigned lines_of(char *out, size_t room)
{
    FILE *f = fopen(access_path, "r");
    size_t n = f != NULL ? fread(out, 1, room - 1, f) : 0;
    unsigned lines = 0;
    out[n] = '\0';
    for (size_t i = 0; i < n; i++)
        lines += out[i] == '\n';
    if (f != NULL)
        fclose(f);
    return lines;
}

static void access_records_become_json_lines(void **state)
{
    (void)state;
    static char text[1 << 20];
    snprintf(access_path, sizeof(access_path), "/tmp/penstock-unit-access-%d", (int)getpid());
    unlink(access_path);
    struct world *w = world_open(NULL, log_to_a_file);
    world_set(w, "echo", "198.18.0.1:50062");
    struct base_endpoint e;
    base_endpoint_parse("198.18.0.1:50062", &e);
    const struct membership_cluster *c = membership_find(w->membership, "echo");
    const struct membership_endpoint *m = membership_endpoint(membership_find(w->membership, "echo"), &e);
    struct mailbox_access r = {.client = {e.addr, 40000}, .cluster = c->id, .slot = m->slot, .serial = m->serial, .duration_ns = 1234500, .grpc = true,
                               .bytes_up = 7, .bytes_down = 1ull << 40, .stream_down = 1, .stream_up = 3, .method_len = 9};
    memcpy(r.method, "/a\"\\\n\xff\x01/b", 9);
    assert_true(mailbox_access(w->mailbox[1], &r));
    r.serial++; /* an endpoint that has left */
    r.reason = STATS_REASON_DEADLINE + 1, r.code = 4;
    assert_true(mailbox_access(w->mailbox[0], &r));
    turn_for(w, 60);
    assert_int_equal(lines_of(text, sizeof(text)), 2);
    char *second = strchr(text, '\n') + 1;
    cJSON *a = cJSON_Parse(text), *b = cJSON_Parse(second);
    assert_true(a != NULL && b != NULL);
    cJSON *late = strstr(text, "deadline") < second ? a : b, *good = late == a ? b : a;
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(good, "endpoint")), "198.18.0.1:50062");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(good, "method")), "/a\"\\\n\xc3\xbf\x01/b");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(good, "cluster")), "echo");
    assert_true(number(good, "duration_us") == 1234.5 && number(good, "bytes_down") == (double)(1ull << 40) && number(good, "worker") == 1);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(late, "endpoint")), "");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(late, "grpc_status")), "DEADLINE_EXCEEDED");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(late, "penstock_reason")), "deadline");
    cJSON_Delete(a);
    cJSON_Delete(b);
    /* Rotation; and a burst larger than a turn takes. */
    unlink(access_path);
    admin_reopen(w->admin);
    turn_for(w, 30);
    unsigned sent = 0;
    while (mailbox_access(w->mailbox[0], &r))
        sent++;
    assert_int_equal(sent, 8192);
    turn_for(w, 400);
    static char many[8 << 20];
    assert_int_equal(lines_of(many, sizeof(many)), sent);
    assert_true(mailbox_access(w->mailbox[0], &r)); /* the last one is written at the end */
    world_close(w);
    assert_int_equal(lines_of(many, sizeof(many)), sent + 1);
    unlink(access_path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_path_has_its_answer),
        cmocka_unit_test(connections_come_from_every_worker_in_parts),
        cmocka_unit_test(captures_are_refused_with_a_sentence),
        cmocka_unit_test(access_records_become_json_lines),
        cmocka_unit_test(shutdown_is_an_order_and_not_a_web_pages),
        cmocka_unit_test(orders_are_read_strictly),
        cmocka_unit_test(ready_comes_and_goes),
        cmocka_unit_test(a_silent_source_holds_back_ten_seconds_only),
        cmocka_unit_test(clusters_have_the_contracts_fields),
        cmocka_unit_test(metrics_say_what_was_counted),
        cmocka_unit_test(counts_do_not_pass_to_another_name),
        cmocka_unit_test(promtool_finds_nothing),
        cmocka_unit_test(counters_never_fall_when_a_slot_changes_hands),
        cmocka_unit_test(a_torn_look_does_not_count),
        cmocka_unit_test(too_many_series_fold_into_other),
        cmocka_unit_test(accounts_of_the_departed_are_bounded),
        cmocka_unit_test(the_address_may_be_ipv6_or_taken),
        cmocka_unit_test(many_at_once_are_served_without_a_thread),
        cmocka_unit_test(penstockctl_shows_what_the_server_says),
    };
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return status;
}
