/* mailbox: bounded, in order, a full ring refuses, log records never push out states. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "mailbox/mailbox.h"

enum { REPORTS = 4096, ORDERS = 1024, LOGS = 1024 };

static void reports_arrive_in_order_and_whole(void **state)
{
    (void)state;
    struct mailbox *m = mailbox_create(7, 0);
    struct mailbox_message out, in = {.kind = MAILBOX_ENDPOINT_STATE, .slot = 3, .serial = 4, .value = MAILBOX_READY, .a = ~0ull, .b = 1ull << 63};
    assert_false(mailbox_report_next(m, &out));
    assert_true(mailbox_report(m, &in));
    assert_true(mailbox_report_next(m, &out));
    in.worker = 7; /* the mailbox says whose it is */
    assert_memory_equal(&in, &out, sizeof(in));
    assert_false(mailbox_report_next(m, &out));
    mailbox_destroy(m);
}

static void full_rings_refuse_and_lose_nothing(void **state)
{
    (void)state;
    struct mailbox *m = mailbox_create(0, -1);
    struct mailbox_message msg = {.kind = MAILBOX_LINK};
    for (int round = 0; round < 3; round++) { /* across the rings' wrap */
        for (uint32_t i = 0; i < REPORTS; i++) {
            msg.slot = i;
            assert_true(mailbox_report(m, &msg));
        }
        assert_false(mailbox_report(m, &msg));
        for (uint32_t i = 0; i < ORDERS; i++) {
            msg.slot = i;
            assert_true(mailbox_order(m, &msg));
        }
        assert_false(mailbox_order(m, &msg));
        for (uint32_t i = 0; i < REPORTS; i++) {
            assert_true(mailbox_report_next(m, &msg));
            assert_int_equal(msg.slot, i);
        }
        assert_false(mailbox_report_next(m, &msg));
        for (uint32_t i = 0; i < ORDERS; i++) {
            assert_true(mailbox_order_next(m, &msg));
            assert_int_equal(msg.slot, i);
        }
        assert_false(mailbox_order_next(m, &msg));
    }
    mailbox_destroy(m);
}

static void log_records_are_cut_counted_and_apart(void **state)
{
    (void)state;
    struct mailbox *m = mailbox_create(5, 0);
    struct mailbox_log r;
    char longer[2 * MAILBOX_LOG_TEXT];
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    mailbox_log(m, 123, 1, "a=%d %s", 42, "b");
    mailbox_log(m, 124, 3, "%s", longer);
    mailbox_log(m, 125, 2, "%s", "");
    assert_true(mailbox_log_next(m, &r));
    assert_string_equal(r.text, "a=42 b");
    assert_true(r.length == 6 && r.now == 123 && r.level == 1 && r.worker == 5);
    assert_true(mailbox_log_next(m, &r));
    assert_int_equal(r.length, MAILBOX_LOG_TEXT - 1);
    assert_memory_equal(r.text, longer, MAILBOX_LOG_TEXT - 1);
    assert_true(mailbox_log_next(m, &r));
    assert_int_equal(r.length, 0);
    assert_false(mailbox_log_next(m, &r));

    for (int i = 0; i < LOGS + 10; i++)
        mailbox_log(m, (uint64_t)i, 0, "%d", i);
    assert_int_equal(mailbox_log_dropped(m), 10);
    assert_true(mailbox_report(m, &(struct mailbox_message){.kind = MAILBOX_DRAINED}));
    for (int i = 0; i < LOGS; i++) {
        assert_true(mailbox_log_next(m, &r));
        assert_int_equal(atoi(r.text), i); /* the newest are dropped, not the oldest overwritten */
    }
    assert_false(mailbox_log_next(m, &r));
    mailbox_destroy(m);
}

enum { MESSAGES = 200000 };

static void *send_reports(void *argument)
{
    struct mailbox *m = argument;
    for (uint64_t i = 0; i < MESSAGES;) {
        struct mailbox_message msg = {.kind = MAILBOX_SNAPSHOT_APPLIED, .a = i, .b = ~i};
        if (mailbox_report(m, &msg))
            i++;
        else
            sched_yield();
    }
    return NULL;
}

static void two_threads_agree(void **state)
{
    (void)state;
    struct mailbox *m = mailbox_create(1, 0);
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, send_reports, m), 0);
    uint64_t bad = 0;
    for (uint64_t i = 0; i < MESSAGES;) {
        struct mailbox_message msg;
        if (!mailbox_report_next(m, &msg)) {
            sched_yield();
            continue;
        }
        bad += msg.a != i || msg.b != ~i;
        i++;
    }
    pthread_join(t, NULL);
    assert_true(bad == 0);
    mailbox_destroy(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(reports_arrive_in_order_and_whole), cmocka_unit_test(full_rings_refuse_and_lose_nothing),
                                       cmocka_unit_test(log_records_are_cut_counted_and_apart), cmocka_unit_test(two_threads_agree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
