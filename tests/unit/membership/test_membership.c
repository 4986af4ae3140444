/* membership: the difference between what a cluster has and what its source says; slots; a naive twin. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "membership/membership.h"
#include "mailbox/mailbox.h"

static struct config_cluster clusters[4];
static struct config config = {.clusters = clusters};

static void clusters_are(unsigned n, const char *const *names)
{
    memset(clusters, 0, sizeof(clusters));
    for (unsigned i = 0; i < n; i++) {
        clusters[i].name = (char *)names[i];
        clusters[i].target = (char *)"static:///";
    }
    config.cluster_count = n;
}

static struct membership_entry entry(const char *address, uint32_t weight)
{
    struct membership_entry e = {.weight = weight};
    assert_true(base_endpoint_parse(address, &e.address));
    return e;
}

static struct membership *start(uint32_t workers)
{
    struct membership *m = membership_create(workers);
    clusters_are(1, (const char *const[]){"echo"});
    membership_configure(m, &config, 1);
    return m;
}

static const char *text_of(const struct membership_cluster *c)
{
    static char text[2048];
    size_t n = 0;
    text[0] = '\0';
    base_list_each(it, &c->endpoints)
    {
        const struct membership_endpoint *e = base_container(it, struct membership_endpoint, link);
        char address[BASE_ENDPOINT_TEXT];
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s%s=%u", n ? " " : "", e->life == MEMBERSHIP_LEAVING ? "-" : "",
                              base_endpoint_format(&e->address, address), e->weight);
    }
    return text;
}

static void a_set_is_applied_as_a_difference(void **state)
{
    (void)state;
    struct membership *m = start(1);
    struct membership_cluster *c = membership_find(m, "echo");
    uint64_t version = c->version;
    struct membership_entry a[] = {entry("198.18.0.2:1", 1), entry("[2001:db8::1]:1", 1), entry("198.18.0.1:2", 5), entry("198.18.0.1:1", 4)};
    assert_int_equal(membership_set(m, c, a, 4, 7, 100), 4);
    assert_string_equal(text_of(c), "198.18.0.1:1=4 198.18.0.1:2=5 198.18.0.2:1=1 [2001:db8::1]:1=1");
    assert_true(c->answered && c->revision == 7 && c->fresh_ns == 100 && c->version == version + 1 && c->present == 4 && c->added == 4);
    assert_int_equal(membership_set(m, c, a, 4, 8, 200), 0);
    assert_true(c->version == version + 1 && c->fresh_ns == 200 && c->changed == 0);
    struct membership_endpoint *e = membership_endpoint(c, &a[2].address);
    uint32_t slot = e->slot, serial = e->serial;
    struct membership_entry b[] = {entry("198.18.0.1:2", 6), entry("198.18.0.3:1", 1), entry("198.18.0.1:2", 9)};
    assert_int_equal(membership_set(m, c, b, 3, 9, 300), 5); /* 3 leave, 1 changes, 1 comes; of a pair the first counts */
    assert_string_equal(text_of(c), "-198.18.0.1:1=4 198.18.0.1:2=6 -198.18.0.2:1=1 198.18.0.3:1=1 -[2001:db8::1]:1=1");
    e = membership_endpoint(c, &b[0].address);
    assert_true(e->slot == slot && e->serial == serial);
    assert_true(c->version == version + 2 && c->removed == 3 && c->changed == 1 && c->added == 5 && c->present == 2);
    membership_destroy(m);
}

static void a_slot_is_free_when_every_worker_says_so(void **state)
{
    (void)state;
    struct membership *m = start(2);
    struct membership_cluster *c = membership_find(m, "echo");
    struct membership_entry a = entry("198.18.0.1:1", 1), b = entry("198.18.0.2:1", 1);
    membership_set(m, c, &a, 1, 1, 1);
    struct membership_endpoint *e = membership_endpoint(c, &a.address);
    uint32_t slot = e->slot, serial = e->serial;
    membership_set(m, c, NULL, 0, 2, 2);
    assert_non_null(membership_slot(m, slot));
    membership_report_empty(m, 0, slot, serial);
    membership_report_empty(m, 0, slot, serial);
    membership_report_empty(m, 1, slot, serial + 1); /* somebody else's */
    membership_report_empty(m, 7, slot, serial);
    assert_non_null(membership_slot(m, slot));
    membership_report_empty(m, 1, slot, serial);
    assert_null(membership_slot(m, slot));
    assert_null(membership_endpoint(c, &a.address));
    membership_set(m, c, &b, 1, 3, 3);
    e = membership_endpoint(c, &b.address);
    assert_true(e->slot == slot && e->serial != serial);
    membership_destroy(m);
}

static void one_that_comes_back_has_its_old_slot(void **state)
{
    (void)state;
    struct membership *m = start(1);
    struct membership_cluster *c = membership_find(m, "echo");
    struct membership_entry a = entry("198.18.0.1:1", 1);
    uint32_t slot, serial;
    membership_set(m, c, &a, 1, 1, 1);
    struct membership_endpoint before = *membership_endpoint(c, &a.address);
    assert_false(membership_renewed_next(m, &slot, &serial));
    membership_set(m, c, NULL, 0, 2, 2);
    membership_set(m, c, &a, 1, 3, 3);
    struct membership_endpoint *e = membership_endpoint(c, &a.address);
    assert_true(e->slot == before.slot && e->serial == before.serial && e->life == MEMBERSHIP_PRESENT && c->present == 1);
    assert_true(membership_renewed_next(m, &slot, &serial) && slot == e->slot && serial == e->serial);
    assert_false(membership_renewed_next(m, &slot, &serial));
    uint64_t version = c->version;
    a.renewed = true;
    assert_int_equal(membership_set(m, c, &a, 1, 4, 4), 0);
    membership_set(m, c, &a, 1, 5, 5);
    assert_true(c->version == version);
    assert_true(membership_renewed_next(m, &slot, &serial) && slot == e->slot);
    assert_false(membership_renewed_next(m, &slot, &serial)); /* asked twice, ordered once */
    membership_destroy(m);
}

static void the_order_of_renewal_is_forgotten_with_the_endpoint(void **state)
{
    (void)state;
    struct membership *m = start(1);
    struct membership_cluster *c = membership_find(m, "echo");
    struct membership_entry a = entry("198.18.0.1:1", 1), b = entry("198.18.0.2:1", 1);
    uint32_t slot, serial;
    membership_set(m, c, &a, 1, 1, 1);
    a.renewed = true;
    membership_set(m, c, &a, 1, 1, 1);
    struct membership_endpoint *e = membership_endpoint(c, &a.address);
    membership_set(m, c, NULL, 0, 2, 2);
    membership_report_empty(m, 0, e->slot, e->serial);
    membership_set(m, c, &b, 1, 3, 3); /* in the same slot */
    assert_false(membership_renewed_next(m, &slot, &serial));
    membership_destroy(m);
}

static void a_weight_by_hand_beats_the_registry(void **state)
{
    (void)state;
    struct membership *m = start(1);
    struct membership_cluster *c = membership_find(m, "echo");
    struct membership_entry a = entry("198.18.0.1:1", 3);
    membership_set(m, c, &a, 1, 1, 1);
    struct membership_endpoint *e = membership_endpoint(c, &a.address);
    uint64_t version = c->version;
    assert_true(membership_override(m, c, &a.address, 0));
    assert_true(c->version == version + 1 && membership_weight(e) == 0);
    assert_string_equal(membership_state_name(m, e), "DRAINING");
    a.weight = 9;
    membership_set(m, c, &a, 1, 2, 2);
    assert_int_equal(membership_weight(e), 0);
    assert_true(membership_override(m, c, &a.address, MEMBERSHIP_NO_OVERRIDE));
    assert_int_equal(membership_weight(e), 9);
    struct membership_entry b = entry("198.18.0.2:1", 3);
    assert_false(membership_override(m, c, &b.address, 1));
    membership_destroy(m);
}

static void the_best_state_of_all_workers_is_named(void **state)
{
    (void)state;
    struct membership *m = start(3);
    struct membership_cluster *c = membership_find(m, "echo");
    struct membership_entry a = entry("198.18.0.1:1", 3);
    membership_set(m, c, &a, 1, 1, 1);
    struct membership_endpoint *e = membership_endpoint(c, &a.address);
    assert_string_equal(membership_state_name(m, e), "IDLE");
    membership_report_state(m, 0, e->slot, e->serial, MAILBOX_TRANSIENT_FAILURE, 1);
    assert_string_equal(membership_state_name(m, e), "TRANSIENT_FAILURE");
    membership_report_state(m, 1, e->slot, e->serial, MAILBOX_CONNECTING, 1);
    assert_string_equal(membership_state_name(m, e), "CONNECTING");
    membership_report_state(m, 2, e->slot, e->serial, MAILBOX_READY, 1);
    membership_report_state(m, 2, e->slot, e->serial + 1, MAILBOX_IDLE, 1);
    membership_report_state(m, 2, e->slot, e->serial, 77, 1);
    assert_string_equal(membership_state_name(m, e), "READY");
    membership_set(m, c, NULL, 0, 2, 2);
    assert_string_equal(membership_state_name(m, e), "DRAINING");
    membership_destroy(m);
}

static void clusters_keep_their_ids(void **state)
{
    (void)state;
    struct membership *m = membership_create(1);
    clusters_are(2, (const char *const[]){"a", "b"});
    membership_configure(m, &config, 1);
    uint16_t b = membership_find(m, "b")->id;
    struct membership_entry e = entry("198.18.0.1:1", 1);
    membership_set(m, membership_find(m, "a"), &e, 1, 1, 1);
    membership_set(m, membership_find(m, "b"), &e, 1, 1, 1); /* one address in two clusters: two endpoints */
    assert_int_equal(membership_slot_count(m), 2);
    clusters_are(2, (const char *const[]){"b", "c"});
    membership_configure(m, &config, 2);
    assert_int_equal(membership_find(m, "b")->id, b);
    assert_int_equal(membership_cluster_count(m), 3);
    struct membership_cluster *a = membership_find(m, "a");
    assert_true(!a->configured && a->present == 0);
    assert_string_equal(text_of(a), "-198.18.0.1:1=1");
    assert_true(membership_find(m, "b")->answered && !membership_find(m, "c")->answered);
    /* another source: what the former one said stays until it answers */
    clusters[0].target = (char *)"etcd:///x/";
    uint64_t version = membership_find(m, "b")->version;
    membership_configure(m, &config, 3);
    assert_true(!membership_find(m, "b")->answered && membership_find(m, "b")->present == 1 && membership_find(m, "b")->version > version);
    membership_destroy(m);
}

static void more_endpoints_than_slots_are_refused(void **state)
{
    (void)state;
    struct membership *m = start(1);
    struct membership_cluster *c = membership_find(m, "echo");
    unsigned n = SNAPSHOT_SLOTS_MAX + 100;
    struct membership_entry *all = calloc(n, sizeof(*all));
    for (unsigned i = 0; i < n; i++) {
        all[i] = entry("198.18.0.1:1", 1);
        all[i].address.addr.b[13] = (uint8_t)(i >> 8);
        all[i].address.addr.b[14] = (uint8_t)i;
    }
    assert_int_equal(membership_set(m, c, all, n, 1, 1), SNAPSHOT_SLOTS_MAX);
    assert_int_equal(c->refused, 100);
    assert_int_equal(c->present, SNAPSHOT_SLOTS_MAX);
    assert_int_equal(membership_set(m, c, all, 1, 1, 1), SNAPSHOT_SLOTS_MAX - 1);
    for (uint32_t s = 0; s < SNAPSHOT_SLOTS_MAX; s++)
        if (membership_slot(m, s) != NULL)
            membership_report_empty(m, 0, s, membership_slot(m, s)->serial);
    assert_int_equal(membership_set(m, c, all, n - 100, 1, 1), SNAPSHOT_SLOTS_MAX - 1);
    assert_int_equal(c->present, SNAPSHOT_SLOTS_MAX);
    free(all);
    membership_destroy(m);
}

/* 64 addresses come, go, change and are reported empty at random; a twin of two arrays says what must be. */
static void says(struct membership *m, uint32_t worker, const struct membership_endpoint *e, unsigned state)
{
    membership_report_state(m, worker, e->slot, e->serial, state, 1);
}

static void a_set_replaced_whole_serves_until_the_new_one_is_ready(void **state)
{
    (void)state;
    struct membership *m = start(2);
    struct membership_cluster *c = membership_find(m, "echo");
    struct membership_entry a[] = {entry("198.18.0.1:1", 1), entry("198.18.0.2:1", 1)}, b = entry("198.18.0.3:1", 1);
    membership_set(m, c, a, 2, 1, 1);
    says(m, 0, membership_endpoint(c, &a[0].address), MAILBOX_READY);
    says(m, 1, membership_endpoint(c, &a[0].address), MAILBOX_READY);
    membership_set(m, c, &b, 1, 2, 2); /* .1 is READY and stays for now, .2 is not and goes */
    assert_string_equal(text_of(c), "198.18.0.1:1=1 -198.18.0.2:1=1 198.18.0.3:1=1");
    uint64_t version = c->version;
    says(m, 0, membership_endpoint(c, &b.address), MAILBOX_READY);
    membership_tick(m, 3); /* READY on one of two workers */
    assert_true(c->outgoing == 1 && c->version == version);
    says(m, 1, membership_endpoint(c, &b.address), MAILBOX_READY);
    membership_tick(m, 4);
    assert_string_equal(text_of(c), "-198.18.0.1:1=1 -198.18.0.2:1=1 198.18.0.3:1=1");
    assert_true(c->outgoing == 0 && c->present == 1 && c->version == version + 1);
    /* What .1 said in its former life does not count now. */
    membership_set(m, c, a, 1, 3, 5);
    assert_string_equal(text_of(c), "198.18.0.1:1=1 -198.18.0.2:1=1 198.18.0.3:1=1");
    membership_known_present(membership_endpoint(c, &a[0].address), 9);
    membership_applied(m, 0, 9);
    membership_tick(m, 6);
    assert_int_equal(c->outgoing, 1);
    membership_applied(m, 1, 9);
    membership_tick(m, 7);
    assert_string_equal(text_of(c), "198.18.0.1:1=1 -198.18.0.2:1=1 -198.18.0.3:1=1");
    membership_set(m, c, NULL, 0, 4, 8); /* to nothing: at once */
    assert_true(c->present == 0 && c->outgoing == 0);
    membership_destroy(m);
}

static void it_serves_no_longer_than_a_bound(void **state)
{
    (void)state;
    struct membership *m = start(1);
    struct membership_cluster *c = membership_find(m, "echo");
    struct membership_entry a = entry("198.18.0.1:1", 1), b = entry("198.18.0.2:1", 1), d = entry("198.18.0.3:1", 1);
    membership_set(m, c, &a, 1, 1, 1);
    says(m, 0, membership_endpoint(c, &a.address), MAILBOX_READY);
    membership_set(m, c, &b, 1, 2, 1000);
    membership_set(m, c, &d, 1, 3, 3000000000u); /* a further change does not prolong it */
    membership_tick(m, 4999999999u);
    assert_int_equal(c->outgoing, 1);
    membership_tick(m, 5000001000u);
    assert_string_equal(text_of(c), "-198.18.0.1:1=1 -198.18.0.2:1=1 198.18.0.3:1=1");
    /* One that is wanted again while it waits stays, and nobody was away. */
    says(m, 0, membership_endpoint(c, &d.address), MAILBOX_READY);
    membership_set(m, c, &b, 1, 4, 6000000000u);
    assert_int_equal(c->outgoing, 1);
    membership_set(m, c, &d, 1, 5, 6000000001u);
    assert_true(c->outgoing == 0 && membership_endpoint(c, &d.address)->back_in == 0);
    membership_destroy(m);
}

static void an_order_by_hand_outlives_its_endpoint(void **state)
{
    (void)state;
    struct membership *m = start(1);
    struct membership_cluster *c = membership_find(m, "echo");
    struct membership_entry a = entry("198.18.0.1:1", 3);
    assert_false(membership_override(m, c, &a.address, 0)); /* nobody there */
    membership_set(m, c, &a, 1, 1, 1);
    assert_true(membership_override(m, c, &a.address, 7));
    struct membership_endpoint *e = membership_endpoint(c, &a.address);
    membership_set(m, c, NULL, 0, 2, 2);
    membership_report_empty(m, 0, e->slot, e->serial);
    assert_null(membership_endpoint(c, &a.address));
    membership_configure(m, &config, 3);
    membership_set(m, c, &a, 1, 3, 3);
    assert_int_equal(membership_weight(membership_endpoint(c, &a.address)), 7);
    e = membership_endpoint(c, &a.address);
    membership_set(m, c, NULL, 0, 4, 4);
    membership_report_empty(m, 0, e->slot, e->serial);
    assert_true(membership_override(m, c, &a.address, MEMBERSHIP_NO_OVERRIDE)); /* taken back while it is away */
    assert_false(membership_override(m, c, &a.address, MEMBERSHIP_NO_OVERRIDE));
    membership_set(m, c, &a, 1, 5, 5);
    assert_int_equal(membership_weight(membership_endpoint(c, &a.address)), 3);
    membership_destroy(m);
}

static void additions_come_before_departures(void **state)
{
    (void)state;
    struct membership *m = start(1);
    struct membership_cluster *echo = membership_find(m, "echo");
    struct membership_entry a = entry("198.18.0.1:1", 1);
    membership_set(m, echo, &a, 1, 1, 1);
    clusters_are(2, (const char *const[]){"pay", "cart"});
    clusters[1].target = (char *)"static:///198.18.0.9:1";
    membership_add(m, &config, 2);
    struct membership_cluster *pay = membership_find(m, "pay");
    assert_true(echo->configured && echo->present == 1 && pay->configured && membership_find(m, "cart") != NULL);
    assert_false(membership_warm(m, pay));
    membership_set(m, pay, &a, 1, 1, 2);
    assert_false(membership_warm(m, pay)); /* it may be READY soon */
    says(m, 0, membership_endpoint(pay, &a.address), MAILBOX_TRANSIENT_FAILURE);
    assert_false(membership_warm(m, pay)); /* and is tried again */
    says(m, 0, membership_endpoint(pay, &a.address), MAILBOX_READY);
    assert_true(membership_warm(m, pay));
    says(m, 0, membership_endpoint(pay, &a.address), MAILBOX_TRANSIENT_FAILURE);
    membership_set(m, pay, NULL, 0, 0, 3);
    assert_true(membership_warm(m, pay)); /* nobody is there to wait for */
    membership_set(m, pay, &a, 1, 1, 3);
    membership_merge(m, &config, 3);
    assert_true(echo->configured && echo->present == 1);
    membership_configure(m, &config, 4);
    assert_true(!echo->configured && echo->present == 0);
    membership_destroy(m);
}

/* What one worker reaches, the others try at once, but no more often than every two seconds. */
static void news_that_it_lives_ends_the_back_off_of_others(void **state)
{
    (void)state;
    const uint64_t s = 1000000000ull;
    struct membership *m = start(3);
    struct membership_cluster *c = membership_find(m, "echo");
    struct membership_entry a = entry("198.18.0.1:1", 1);
    membership_set(m, c, &a, 1, 1, s);
    const struct membership_endpoint *e = membership_endpoint(c, &a.address);
    uint32_t slot, serial;
    assert_false(membership_renewed_next(m, &slot, &serial));
    membership_report_state(m, 0, e->slot, e->serial, MAILBOX_READY, s); /* the others are on their way for the first time */
    assert_false(membership_renewed_next(m, &slot, &serial));
    membership_report_state(m, 1, e->slot, e->serial, MAILBOX_TRANSIENT_FAILURE, s);
    membership_report_state(m, 0, e->slot, e->serial, MAILBOX_READY, s); /* no news */
    assert_false(membership_renewed_next(m, &slot, &serial));
    for (unsigned i = 0; i < 3; i++) { /* now 0 and 2 reach it by turns, and lose it */
        membership_report_state(m, 2 * (i & 1), e->slot, e->serial, MAILBOX_TRANSIENT_FAILURE, 2 * s + i);
        membership_report_state(m, 2 * (i & 1), e->slot, e->serial, MAILBOX_READY, 2 * s + i);
        assert_true(membership_renewed_next(m, &slot, &serial) == (i == 0));
        assert_true(slot == e->slot && serial == e->serial);
    }
    membership_report_state(m, 0, e->slot, e->serial, MAILBOX_IDLE, 4 * s + 1);
    membership_report_state(m, 0, e->slot, e->serial, MAILBOX_READY, 4 * s + 1);
    assert_true(membership_renewed_next(m, &slot, &serial));
    assert_false(membership_renewed_next(m, &slot, &serial));
    membership_destroy(m);
}

/* An id goes to another name when its cluster is empty and no worker knows it. */
static void an_id_is_given_away_when_nobody_knows_it(void **state)
{
    (void)state;
    static struct config_cluster many[SNAPSHOT_CLUSTERS_MAX];
    static char names[SNAPSHOT_CLUSTERS_MAX][8];
    struct config full = {.clusters = many, .cluster_count = SNAPSHOT_CLUSTERS_MAX};
    for (unsigned i = 0; i < SNAPSHOT_CLUSTERS_MAX; i++) {
        snprintf(names[i], sizeof(names[i]), "c%u", i);
        many[i] = (struct config_cluster){.name = names[i], .target = (char *)"static:///"};
    }
    struct membership *m = membership_create(1);
    membership_configure(m, &full, 1);
    struct membership_cluster *c = membership_find(m, "c5");
    uint16_t id = c->id;
    struct membership_entry a = entry("198.18.0.1:1", 1);
    membership_set(m, c, &a, 1, 1, 1);
    assert_true(membership_override(m, c, &a.address, 0));
    many[5].name = (char *)"other";
    assert_false(membership_fits(m, &full)); /* all ids are in use */
    many[5].name = names[5];
    full.cluster_count = 5;
    membership_configure(m, &full, 2);
    full.cluster_count = 6;
    many[5].name = (char *)"other";
    assert_false(membership_fits(m, &full)); /* gone, but workers don't know it yet */
    for (uint16_t i = 5; i < SNAPSHOT_CLUSTERS_MAX; i++)
        if (i != id)
            assert_false(membership_cluster(m, i)->forgotten);
    membership_forget(c);
    assert_false(membership_fits(m, &full)); /* an endpoint is leaving still */
    struct membership_endpoint *e = membership_endpoint(c, &a.address);
    membership_report_empty(m, 0, e->slot, e->serial);
    assert_true(membership_fits(m, &full));
    membership_add(m, &full, 3);
    assert_true(membership_find(m, "other") == c && c->id == id && c->holder == 1 && membership_find(m, "c5") == NULL);
    membership_set(m, c, &a, 1, 1, 4);
    assert_int_equal(membership_weight(membership_endpoint(c, &a.address)), 1); /* orders were for the other cluster */
    membership_destroy(m);
}

static void it_agrees_with_a_naive_twin(void **state)
{
    (void)state;
    enum { N = 64 };
    struct membership *m = start(1);
    struct membership_cluster *c = membership_find(m, "echo");
    uint32_t weight[N] = {0}; /* of the present ones; 0: not present */
    srand(7);
    for (int step = 0; step < 20000; step++) {
        struct membership_entry set[N];
        unsigned n = 0, differs = 0;
        for (int i = 0; i < N; i++) {
            uint32_t w = rand() % 8 == 0 ? (uint32_t)(rand() % 4) : weight[i];
            differs += w != weight[i];
            weight[i] = w;
            if (w > 0) {
                set[n] = entry("198.18.0.1:1", w);
                set[n++].address.addr.b[15] = (uint8_t)(i * 37);
            }
        }
        for (unsigned i = 1; i < n; i++) { /* in any order */
            unsigned k = (unsigned)rand() % (i + 1);
            struct membership_entry t = set[i];
            set[i] = set[k];
            set[k] = t;
        }
        assert_int_equal(membership_set(m, c, set, n, step, 1), differs);
        assert_int_equal(c->present, n);
        unsigned seen = 0;
        const struct membership_endpoint *last = NULL;
        base_list_each_safe(it, &c->endpoints)
        {
            struct membership_endpoint *e = base_container(it, struct membership_endpoint, link);
            assert_ptr_equal(membership_slot(m, e->slot), e);
            assert_true(last == NULL || memcmp(last->address.addr.b, e->address.addr.b, 16) < 0);
            last = e;
            for (int i = 0; i < N; i++)
                if ((uint8_t)(i * 37) == e->address.addr.b[15])
                    assert_true(weight[i] == (e->life == MEMBERSHIP_PRESENT ? e->weight : 0));
            seen += e->life == MEMBERSHIP_PRESENT;
        }
        assert_int_equal(seen, n);
        for (uint32_t s = 0; s < membership_slot_count(m); s++) {
            struct membership_endpoint *e = membership_slot(m, s);
            if (e != NULL && e->life == MEMBERSHIP_LEAVING && rand() % 3 == 0)
                membership_report_empty(m, 0, s, e->serial);
        }
        assert_true(membership_slot_count(m) <= N);
    }
    membership_destroy(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_is_applied_as_a_difference),
        cmocka_unit_test(a_slot_is_free_when_every_worker_says_so),
        cmocka_unit_test(one_that_comes_back_has_its_old_slot),
        cmocka_unit_test(the_order_of_renewal_is_forgotten_with_the_endpoint),
        cmocka_unit_test(a_weight_by_hand_beats_the_registry),
        cmocka_unit_test(the_best_state_of_all_workers_is_named),
        cmocka_unit_test(clusters_keep_their_ids),
        cmocka_unit_test(more_endpoints_than_slots_are_refused),
        cmocka_unit_test(a_set_replaced_whole_serves_until_the_new_one_is_ready),
        cmocka_unit_test(it_serves_no_longer_than_a_bound),
        cmocka_unit_test(an_order_by_hand_outlives_its_endpoint),
        cmocka_unit_test(additions_come_before_departures),
        cmocka_unit_test(news_that_it_lives_ends_the_back_off_of_others),
        cmocka_unit_test(an_id_is_given_away_when_nobody_knows_it),
        cmocka_unit_test(it_agrees_with_a_naive_twin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
