/* publish: what workers see after a change, what stays shared, when the old goes, orders until acknowledged, and the cost of one change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "publish/publish.h"

#define WORKERS 2

static struct config_route routes[5];
static struct config_cluster clusters[2];
static struct config config;
static struct snapshot_door *door;
static struct mailbox *mailboxes[WORKERS];
static struct membership *membership;
static struct publish *publish;
static uint64_t now;
static uint64_t seen[WORKERS]; /* generation that each worker took up */

static struct membership_entry entry(unsigned i, uint32_t weight)
{
    struct membership_entry e = {.weight = weight};
    base_endpoint_parse("198.18.0.0:50051", &e.address);
    e.address.addr.b[13] = (uint8_t)(18 + (i >> 16));
    e.address.addr.b[14] = (uint8_t)(i >> 8);
    e.address.addr.b[15] = (uint8_t)i;
    return e;
}

static void config_fill(void)
{
    memset(&config, 0, sizeof(config));
    memset(clusters, 0, sizeof(clusters));
    clusters[0] = (struct config_cluster){.name = (char *)"echo", .target = (char *)"static:///", .policy = CONFIG_WEIGHTED_ROUND_ROBIN,
                                          .connections_per_endpoint = 1, .backoff_factor = 1.6, .connect_timeout_ns = 5};
    clusters[1] = (struct config_cluster){.name = (char *)"pay", .target = (char *)"static:///", .policy = CONFIG_ROUND_ROBIN};
    routes[0] = (struct config_route){.authority = (char *)"*", .path = (char *)"/echo.Echo/", .cluster = (char *)"echo", .timeout_ns = 9};
    routes[1] = (struct config_route){.authority = (char *)"*.example.com", .path = (char *)"/pay.Pay/Charge", .cluster = (char *)"pay"};
    routes[2] = (struct config_route){.authority = (char *)"a.example.com", .path = (char *)"/", .cluster = (char *)"pay"};
    config.listeners[0] = (struct config_listener){.name = (char *)"grpc", .max_concurrent_streams = 128, .routes = routes, .route_count = 3};
    base_endpoint_parse("198.18.0.2:50051", &config.listeners[0].bind);
    config.listener_count = 1;
    config.ports[0] = (struct config_port){.name = (char *)"front", .address_count = 1, .gateway_count = 1, .mtu = 1500, .vlan = 7};
    base_prefix_parse("198.18.0.2/24", &config.ports[0].address[0].addr, &config.ports[0].address[0].bits);
    base_addr_parse("198.18.0.1", &config.ports[0].gateway[0]);
    config.port_count = 1;
    config.clusters = clusters;
    config.cluster_count = 2;
}

static int set_up(void **state)
{
    (void)state;
    config_fill();
    now = 1000000000;
    memset(seen, 0, sizeof(seen));
    door = snapshot_door_create(WORKERS);
    for (uint32_t w = 0; w < WORKERS; w++) {
        mailboxes[w] = mailbox_create(w, -1);
        snapshot_worker_online(door, w);
    }
    membership = membership_create(WORKERS);
    membership_configure(membership, &config, now);
    publish = publish_create(door, membership, mailboxes, WORKERS);
    publish_config(publish, &config);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (uint32_t w = 0; w < WORKERS; w++)
        snapshot_worker_offline(door, w);
    publish_destroy(publish);
    membership_destroy(membership);
    for (uint32_t w = 0; w < WORKERS; w++)
        mailbox_destroy(mailboxes[w]);
    snapshot_door_destroy(door);
    return 0;
}

static void report(uint32_t w, unsigned kind, uint32_t slot, uint32_t serial, uint32_t value, uint64_t a)
{
    struct mailbox_message m = {.kind = (uint16_t)kind, .worker = (uint16_t)w, .slot = slot, .serial = serial, .value = value, .a = a};
    assert_true(mailbox_report(mailboxes[w], &m));
}

/* What a worker does in a turn: takes up the version, then holds nothing. */
static void worker_turn(uint32_t w)
{
    const struct snapshot *s = snapshot_get(door);
    if (s != NULL && s->generation != seen[w]) {
        seen[w] = s->generation;
        report(w, MAILBOX_SNAPSHOT_APPLIED, 0, 0, 0, seen[w]);
    }
    snapshot_quiescent(door, w);
}

static void all_turn(void)
{
    for (uint32_t w = 0; w < WORKERS; w++)
        worker_turn(w);
}

static uint64_t turn(void)
{
    now += 1000000;
    return publish_turn(publish, now);
}

static void set(const char *name, const struct membership_entry *e, unsigned n)
{
    membership_set(membership, membership_find(membership, name), e, n, 1, now);
}

static const struct snapshot_endpoint *at(unsigned slot)
{
    return snapshot_endpoint(snapshot_get(door), slot);
}

static void the_first_version_has_the_configuration(void **state)
{
    (void)state;
    assert_null(snapshot_get(door));
    assert_int_equal(turn(), 1);
    const struct snapshot *s = snapshot_get(door);
    assert_true(s->generation == 1 && !s->draining && s->port_count == 1 && s->listener_count == 1 && s->cluster_count == 2);
    assert_true(s->port[0].mtu == 1500 && s->port[0].vlan == 7 && s->port[0].prefix_bits[0] == 24 && s->port[0].gateway_count == 1);
    const struct snapshot_listener *l = &s->listener[0];
    assert_true(l->present && l->route_count == 3 && l->max_concurrent_streams == 128 && l->forwarded && l->bind.port == 50051);
    assert_true(l->routes[0].authority_match == SNAPSHOT_ANY && l->routes[0].path_match == SNAPSHOT_PREFIX && l->routes[0].timeout_ns == 9);
    assert_memory_equal(l->routes[0].path, "/echo.Echo/", l->routes[0].path_len);
    assert_true(l->routes[1].authority_match == SNAPSHOT_SUFFIX && l->routes[1].path_match == SNAPSHOT_EXACT);
    assert_memory_equal(l->routes[1].authority, ".example.com", l->routes[1].authority_len);
    assert_int_equal(l->routes[1].authority_len, 12);
    assert_true(l->routes[2].authority_match == SNAPSHOT_EXACT && l->routes[2].path_match == SNAPSHOT_ANY);
    assert_int_equal(l->routes[2].cluster, membership_find(membership, "pay")->id);
    assert_true(s->cluster[0]->present && s->cluster[0]->policy == SNAPSHOT_WEIGHTED_ROUND_ROBIN && s->cluster[0]->backoff_factor_x1024 == 1638);
    assert_true(s->cluster[1]->policy == SNAPSHOT_ROUND_ROBIN && s->cluster[1]->slot_count == 0);
    assert_int_equal(turn(), 1); /* nothing changed */
}

static void weights_are_what_the_policy_makes_of_them(void **state)
{
    (void)state;
    struct membership_entry e[] = {entry(1, 5), entry(2, 0)};
    set("echo", e, 2);
    set("pay", e, 2);
    turn();
    assert_true(at(0)->weight == 5 && at(0)->flags == SNAPSHOT_PRESENT && at(0)->cluster == 0);
    assert_true(at(1)->weight == 1 && at(1)->flags == (SNAPSHOT_PRESENT | SNAPSHOT_DRAIN));
    assert_true(at(2)->weight == 1 && at(2)->flags == SNAPSHOT_PRESENT && at(2)->cluster == 1);
    assert_true(at(3)->flags == (SNAPSHOT_PRESENT | SNAPSHOT_DRAIN));
    all_turn();
    uint64_t generation = turn();
    e[0].weight = 7;
    set("pay", e, 2);
    assert_int_equal(turn(), generation); /* round_robin knows no weights: workers have nothing to see */
    set("echo", e, 2);
    assert_int_equal(turn(), generation + 1);
    assert_int_equal(at(0)->weight, 7);
    assert_true(membership_override(membership, membership_find(membership, "pay"), &e[0].address, 0));
    all_turn();
    turn();
    assert_int_equal(at(2)->flags, SNAPSHOT_PRESENT | SNAPSHOT_DRAIN);
}

static void what_did_not_change_is_shared(void **state)
{
    (void)state;
    struct membership_entry e[200];
    for (unsigned i = 0; i < 200; i++)
        e[i] = entry(i, 1);
    set("echo", e, 200);
    set("pay", e, 1);
    turn();
    all_turn();
    turn();
    const struct snapshot *s = snapshot_get(door);
    assert_int_equal(s->page_count, 4);
    const void *page[4] = {s->page[0], s->page[1], s->page[2], s->page[3]}, *pay = s->cluster[1], *route = s->listener[0].routes;
    uint64_t version[4] = {s->page[0]->version, s->page[1]->version, s->page[2]->version, s->page[3]->version};
    e[70].weight = 2; /* in the second page */
    set("echo", e, 200);
    turn();
    s = snapshot_get(door);
    assert_true(s->page[0] == page[0] && s->page[1] != page[1] && s->page[2] == page[2] && s->page[3] == page[3]);
    assert_true(s->page[1]->version != version[1] && s->cluster[1] == pay && s->listener[0].routes == route);
    assert_true(s->cluster[0]->slot_count == 200);
    for (unsigned i = 1; i < 200; i++) {
        const struct snapshot_endpoint *x = at(s->cluster[0]->slots[i - 1]), *y = at(s->cluster[0]->slots[i]);
        assert_true(memcmp(x->address.addr.b, y->address.addr.b, 16) < 0);
    }
}

static void two_versions_wait_and_further_changes_come_together(void **state)
{
    (void)state;
    struct membership_entry e[] = {entry(1, 1), entry(2, 1), entry(3, 1)};
    turn();
    all_turn();
    turn();
    assert_true(publish_settled(publish));
    set("echo", e, 1);
    assert_int_equal(turn(), 2);
    set("echo", e, 2);
    assert_int_equal(turn(), 3);
    assert_false(publish_settled(publish));
    set("echo", e, 3);
    assert_int_equal(turn(), 3);
    set("echo", e, 1);
    assert_int_equal(turn(), 3);
    assert_int_equal(publish_laggard(publish, now), -1);
    assert_int_equal(publish_laggard(publish, now + 2000000000), 0);
    worker_turn(0);
    assert_int_equal(turn(), 3);
    assert_int_equal(publish_laggard(publish, now + 2000000000), 1);
    worker_turn(1);
    assert_int_equal(turn(), 4);
    assert_int_equal(snapshot_get(door)->cluster[0]->slot_count, 1);
    all_turn();
    turn();
    assert_true(publish_settled(publish));
}

static void a_departure_is_told_before_its_slot_is_free(void **state)
{
    (void)state;
    struct membership_entry e = entry(1, 1);
    set("echo", &e, 1);
    uint64_t generation = turn();
    uint32_t serial = at(0)->serial;
    all_turn();
    report(0, MAILBOX_SLOT_EMPTY, 0, serial, 0, generation); /* of one that is there: nobody's */
    set("echo", NULL, 0);
    turn();
    assert_int_equal(at(0)->flags, 0);
    assert_int_equal(snapshot_get(door)->cluster[0]->slot_count, 0);
    report(0, MAILBOX_SLOT_EMPTY, 0, serial, 0, generation); /* made before it knew */
    report(1, MAILBOX_SLOT_EMPTY, 0, serial, 0, generation + 1);
    turn();
    assert_non_null(membership_slot(membership, 0));
    report(0, MAILBOX_SLOT_EMPTY, 0, serial, 0, generation + 1);
    turn();
    assert_null(membership_slot(membership, 0));
}

/* It leaves, the first worker says "empty", it comes back and leaves again: the report of the first time must not free the slot that the
 * second time may still be in use; and if nobody knew that it was back, the first reports still count. */
static void reports_of_an_earlier_departure_do_not_count(void **state)
{
    (void)state;
    struct membership_entry e = entry(1, 1);
    set("echo", &e, 1);
    turn();
    all_turn();
    uint32_t serial = at(0)->serial;
    set("echo", NULL, 0);
    uint64_t left = turn();
    all_turn();
    report(0, MAILBOX_SLOT_EMPTY, 0, serial, 0, left);
    set("echo", &e, 1);
    uint64_t back = turn();
    assert_true(back == left + 1 && at(0)->flags == SNAPSHOT_PRESENT && at(0)->serial == serial);
    report(0, MAILBOX_SLOT_EMPTY, 0, serial, 0, left);
    report(1, MAILBOX_SLOT_EMPTY, 0, serial, 0, left);
    set("echo", NULL, 0);
    assert_int_equal(turn(), back); /* not told before every worker has seen it back */
    assert_int_equal(at(0)->flags, SNAPSHOT_PRESENT);
    worker_turn(0);
    assert_int_equal(turn(), back);
    worker_turn(1);
    assert_int_equal(turn(), back + 1);
    assert_int_equal(at(0)->flags, 0);
    assert_non_null(membership_slot(membership, 0));
    all_turn();
    report(0, MAILBOX_SLOT_EMPTY, 0, serial, 0, back + 1);
    report(1, MAILBOX_SLOT_EMPTY, 0, serial, 0, back + 1);
    turn();
    assert_null(membership_slot(membership, 0));
}

static void back_and_gone_between_two_versions_is_nothing(void **state)
{
    (void)state;
    struct membership_entry e = entry(1, 1);
    set("echo", &e, 1);
    turn();
    all_turn();
    uint32_t serial = at(0)->serial;
    set("echo", NULL, 0);
    uint64_t left = turn();
    all_turn();
    report(0, MAILBOX_SLOT_EMPTY, 0, serial, 0, left);
    turn();
    set("echo", &e, 1);
    set("echo", NULL, 0);
    assert_int_equal(turn(), left);
    set("echo", &e, 1);
    report(1, MAILBOX_SLOT_EMPTY, 0, serial, 0, left);
    set("echo", NULL, 0);
    turn();
    turn();
    assert_null(membership_slot(membership, 0));
    assert_int_equal(publish_generation(publish), left);
}

static unsigned orders_for(uint32_t w, struct mailbox_message *last)
{
    unsigned n = 0;
    for (struct mailbox_message m; mailbox_order_next(mailboxes[w], &m); n++)
        *last = m;
    return n;
}

static void orders_are_repeated_until_acknowledged(void **state)
{
    (void)state;
    struct membership_entry e = entry(1, 1);
    struct mailbox_message m = {0};
    set("echo", &e, 1);
    turn();
    assert_int_equal(orders_for(0, &m), 0);
    e.renewed = true;
    uint64_t generation = publish_generation(publish);
    set("echo", &e, 1);
    assert_int_equal(turn(), generation); /* an order, not a version */
    assert_int_equal(orders_for(0, &m), 1);
    assert_true(m.kind == MAILBOX_RESET_BACKOFF && m.slot == 0 && m.serial == at(0)->serial);
    turn();
    assert_int_equal(orders_for(0, &m), 0);
    report(0, MAILBOX_ORDER_DONE, 0, 0, m.value, 0);
    now += 300000000;
    turn();
    assert_int_equal(orders_for(0, &m), 0);
    assert_int_equal(orders_for(1, &m), 2); /* it has not said a word */
    report(1, MAILBOX_ORDER_DONE, 0, 0, m.value, 0);
    now += 300000000;
    turn();
    assert_int_equal(orders_for(0, &m) + orders_for(1, &m), 0);
    /* an endpoint that left needs none */
    set("echo", &e, 1);
    turn();
    set("echo", NULL, 0);
    orders_for(0, &m);
    now += 300000000;
    turn();
    assert_int_equal(orders_for(0, &m), 0);
}

static void states_reach_membership(void **state)
{
    (void)state;
    struct membership_entry e = entry(1, 1);
    set("echo", &e, 1);
    turn();
    report(1, MAILBOX_ENDPOINT_STATE, 0, at(0)->serial, MAILBOX_READY, 1);
    turn();
    assert_string_equal(membership_state_name(membership, membership_slot(membership, 0)), "READY");
}

static void draining_ends_when_all_have_drained(void **state)
{
    (void)state;
    turn();
    all_turn();
    turn();
    publish_drain(publish);
    assert_int_equal(turn(), 2);
    assert_true(snapshot_get(door)->draining);
    report(0, MAILBOX_DRAINED, 0, 0, 0, 0);
    turn();
    assert_false(publish_drained(publish));
    report(1, MAILBOX_DRAINED, 0, 0, 0, 0);
    turn();
    assert_true(publish_drained(publish));
    publish_drain(publish);
    all_turn();
    assert_int_equal(turn(), 2);
}

static void a_new_configuration_is_a_difference(void **state)
{
    (void)state;
    struct membership_entry e = entry(1, 5);
    set("echo", &e, 1);
    set("pay", &e, 1);
    turn();
    all_turn();
    uint64_t generation = turn();
    struct config_listener second = {.name = (char *)"second", .routes = routes, .route_count = 1};
    config.listeners[1] = config.listeners[0];
    config.listeners[0] = second; /* order in the file is no identity */
    config.listener_count = 2;
    clusters[1] = (struct config_cluster){.name = (char *)"new", .target = (char *)"static:///"};
    membership_configure(membership, &config, now);
    publish_config(publish, &config);
    assert_int_equal(turn(), generation + 1);
    const struct snapshot *s = snapshot_get(door);
    assert_true(s->listener_count == 2 && strcmp(s->listener[0].name, "grpc") == 0 && strcmp(s->listener[1].name, "second") == 0);
    assert_true(s->cluster_count == 3 && s->cluster[0]->present && !s->cluster[1]->present && s->cluster[2]->present);
    assert_true(at(0)->flags == SNAPSHOT_PRESENT && at(1)->flags == 0);
    config.listener_count = 1; /* "grpc" goes */
    membership_configure(membership, &config, now);
    publish_config(publish, &config);
    all_turn();
    turn();
    s = snapshot_get(door);
    assert_true(!s->listener[0].present && s->listener[1].present);
}

/* The next configuration comes in the same struct as the one in force, but in two steps, as a reload does it. */
static void what_goes_is_known_until_its_clients_have_finished(void **state)
{
    (void)state;
    struct membership_entry e = entry(1, 5);
    set("echo", &e, 1);
    set("pay", &e, 1);
    turn();
    static struct config next;
    static struct config_cluster fresh[1];
    next = config;
    fresh[0] = (struct config_cluster){.name = (char *)"fresh", .target = (char *)"static:///", .connections_per_endpoint = 1};
    next.clusters = fresh;
    next.cluster_count = 1;
    static struct config_route to_fresh = {.authority = (char *)"*", .path = (char *)"/", .cluster = (char *)"fresh"};
    next.listeners[0] = (struct config_listener){.name = (char *)"other", .routes = &to_fresh, .route_count = 1};
    /* first what is new, beside everything */
    membership_add(membership, &next, now);
    publish_config_change(publish, &config, &next);
    all_turn();
    turn();
    const struct snapshot *s = snapshot_get(door);
    assert_true(s->listener_count == 1 && s->listener[0].present && s->cluster_count == 3 && s->cluster[0]->present && s->cluster[2]->present);
    /* then routes and listeners; the clusters before them are there still */
    membership_merge(membership, &next, now);
    publish_config_change(publish, &next, &config);
    all_turn();
    turn();
    s = snapshot_get(door);
    assert_true(s->listener_count == 2 && !s->listener[0].present && s->listener[1].present);
    assert_true(s->listener[0].route_count == 3 && strcmp(s->listener[0].routes[0].path, "/echo.Echo/") == 0);
    assert_true(s->listener[1].routes[0].cluster == 2 && s->cluster[0]->present && s->cluster[1]->present && at(0)->flags == SNAPSHOT_PRESENT);
    assert_string_equal(publish_listener_name(publish, 0), "grpc");
    assert_null(publish_listener_name(publish, 2));
    /* then they go, and with them the routes that led there */
    membership_configure(membership, &next, now);
    publish_config(publish, &next);
    all_turn();
    uint64_t generation = turn();
    s = snapshot_get(door);
    assert_true(!s->cluster[0]->present && !s->cluster[1]->present && at(0)->flags == 0 && s->listener[0].route_count == 0);
    assert_false(membership_cluster(membership, 0)->forgotten);
    assert_true(publish_applied(publish) < generation && publish_promised(publish) == generation && !publish_current(publish));
    worker_turn(0);
    turn();
    assert_false(membership_cluster(membership, 0)->forgotten);
    worker_turn(1);
    turn();
    assert_true(membership_cluster(membership, 0)->forgotten && !membership_cluster(membership, 2)->forgotten);
    assert_true(publish_applied(publish) == generation && publish_current(publish));
}

static void other_timeouts_make_another_page(void **state)
{
    (void)state;
    struct membership_entry e = entry(1, 5);
    set("echo", &e, 1);
    set("pay", &e, 1);
    uint64_t generation = turn(), version = snapshot_get(door)->page[0]->version, pay = snapshot_get(door)->cluster[1]->version;
    clusters[0].connect_timeout_ns = 77;
    publish_config(publish, &config);
    all_turn();
    assert_int_equal(turn(), generation + 1);
    const struct snapshot *s = snapshot_get(door);
    assert_true(s->page[0]->version != version && s->cluster[0]->connect_timeout_ns == 77 && s->cluster[1]->version == pay);
    version = s->page[0]->version;
    clusters[0].policy = CONFIG_WEIGHTED_ROUND_ROBIN;
    config.tcp.user_timeout_ns = 9;
    publish_config(publish, &config);
    all_turn();
    turn();
    assert_true(snapshot_get(door)->page[0]->version == version && snapshot_get(door)->user_timeout_ns == 9);
}

static void listeners_names_outnumber_ids(void **state)
{
    (void)state;
    static struct config_route route = {.authority = (char *)"*", .path = (char *)"/", .cluster = (char *)"echo"};
    char names[40][8];
    config.listener_count = 1;
    for (unsigned i = 0; i < 40; i++) { /* "grpc" stays, the other is another one each time */
        snprintf(names[i], sizeof(names[i]), "l%u", i);
        config.listeners[1] = (struct config_listener){.name = names[i], .routes = &route, .route_count = 1};
        config.listener_count = 2;
        publish_config(publish, &config);
        all_turn();
        turn();
        const struct snapshot *s = snapshot_get(door);
        unsigned present = 0;
        for (unsigned l = 0; l < s->listener_count; l++)
            present += s->listener[l].present && (strcmp(s->listener[l].name, names[i]) == 0 || strcmp(s->listener[l].name, "grpc") == 0);
        assert_true(present == 2 && s->listener[0].present && strcmp(s->listener[0].name, "grpc") == 0);
    }
}

static double ms_since(const struct timespec *t)
{
    struct timespec n;
    clock_gettime(CLOCK_MONOTONIC, &n);
    return (double)(n.tv_sec - t->tv_sec) * 1e3 + (double)(n.tv_nsec - t->tv_nsec) / 1e6;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void one_change_of_ten_thousand_is_cheap(void **state)
{
    (void)state;
    enum { N = 10000, ROUNDS = 101 };
    struct membership_entry *e = calloc(N, sizeof(*e));
    double set_ms[ROUNDS], turn_ms[ROUNDS];
    struct timespec t;
    for (unsigned i = 0; i < N; i++)
        e[i] = entry(i, 1);
    set("echo", e, N);
    turn();
    for (unsigned round = 0; round < ROUNDS; round++) {
        all_turn();
        turn();
        e[(round * 997) % N].weight = 2 + round;
        clock_gettime(CLOCK_MONOTONIC, &t);
        set("echo", e, N);
        set_ms[round] = ms_since(&t);
        uint64_t generation = publish_generation(publish);
        clock_gettime(CLOCK_MONOTONIC, &t);
        assert_int_equal(turn(), generation + 1);
        turn_ms[round] = ms_since(&t);
    }
    qsort(set_ms, ROUNDS, sizeof(double), by_value);
    qsort(turn_ms, ROUNDS, sizeof(double), by_value);
    print_message("one of %d endpoints changed: membership_set %.3f ms, publish_turn %.3f ms (medians of %d)\n", N, set_ms[ROUNDS / 2], turn_ms[ROUNDS / 2],
                  ROUNDS);
    assert_true(turn_ms[ROUNDS / 2] < 20); /* far above what it takes: for a loaded machine and sanitizers */
    free(e);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(the_first_version_has_the_configuration),
        T(weights_are_what_the_policy_makes_of_them),
        T(what_did_not_change_is_shared),
        T(two_versions_wait_and_further_changes_come_together),
        T(a_departure_is_told_before_its_slot_is_free),
        T(reports_of_an_earlier_departure_do_not_count),
        T(back_and_gone_between_two_versions_is_nothing),
        T(orders_are_repeated_until_acknowledged),
        T(states_reach_membership),
        T(draining_ends_when_all_have_drained),
        T(a_new_configuration_is_a_difference),
        T(what_goes_is_known_until_its_clients_have_finished),
        T(other_timeouts_make_another_page),
        T(listeners_names_outnumber_ids),
        T(one_change_of_ten_thousand_is_cheap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
