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
    membership_report_state(m, 0, e->slot, e->serial, MAILBOX_TRANSIENT_FAILURE);
    assert_string_equal(membership_state_name(m, e), "TRANSIENT_FAILURE");
    membership_report_state(m, 1, e->slot, e->serial, MAILBOX_CONNECTING);
    assert_string_equal(membership_state_name(m, e), "CONNECTING");
    membership_report_state(m, 2, e->slot, e->serial, MAILBOX_READY);
    membership_report_state(m, 2, e->slot, e->serial + 1, MAILBOX_IDLE);
    membership_report_state(m, 2, e->slot, e->serial, 77);
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
        cmocka_unit_test(it_agrees_with_a_naive_twin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
