/* The ledger of penstock-bench: a loss, a double and a wrong octet are told, of whatever kind; and what is right is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include "calls.h"
#include "histogram.h"

#define RPCS     12
#define BACKENDS 3

static struct calls c;
static struct call_end client[RPCS], backend[RPCS];
static uint8_t message[4096];

static void begin_all(enum call_kind kind, uint32_t size, uint32_t messages)
{
    calls_create(&c, 64, BACKENDS);
    c.kind = kind;
    c.size = size;
    c.messages = messages;
    memset(backend, 0, sizeof(backend));
    for (unsigned i = 0; i < RPCS; i++) {
        client[i] = (struct call_end){.id = calls_begin(&c), .known = true, .status_good = true};
        backend[i].endpoint = i % BACKENDS;
    }
}

/* All messages of one way, in pieces; octet `flip` of message `bad` is spoilt. */
static void carry(struct call_end *to, uint64_t id, enum call_direction d, uint32_t piece, uint32_t bad, uint32_t flip)
{
    uint32_t len = calls_message_len(&c);
    for (uint32_t index = 0; index < calls_messages(&c, d); index++) {
        calls_bytes(&c, id, d, index, 0, len, message);
        if (index == bad)
            message[flip] ^= 0x10;
        for (uint32_t at = 0; at < len; at += piece)
            if (!calls_take(&c, to, d, message + at, len - at < piece ? len - at : piece))
                return;
    }
}

#define NONE UINT32_MAX

static void request(unsigned i)
{
    carry(&backend[i], client[i].id, CALL_REQUEST, 1000, NONE, 0);
    calls_requested(&c, &backend[i]);
}

static void respond(unsigned i)
{
    carry(&client[i], client[i].id, CALL_RESPONSE, 1000, NONE, 0);
    calls_answered(&c, &client[i], true);
}

static void end(uint64_t wrong_at_least, const char *word)
{
    calls_judge(&c, 0);
    if (wrong_at_least == 0)
        assert_int_equal(c.wrong, 0);
    assert_true(c.wrong >= wrong_at_least);
    if (word != NULL && strstr(c.first_wrong, word) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", c.first_wrong, word);
    calls_destroy(&c);
}

static void test_right(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {8, 13, 100, 3000}, pieces[] = {1, 5, 6, 13, 1024, 4096};
    for (enum call_kind k = CALL_UNARY; k <= CALL_BIDI; k++)
        for (unsigned s = 0; s < 4; s++)
            for (unsigned p = 0; p < 6; p++) {
                begin_all(k, sizes[s], 3);
                for (unsigned i = 0; i < RPCS; i++) {
                    carry(&backend[i], client[i].id, CALL_REQUEST, pieces[p], NONE, 0);
                    calls_requested(&c, &backend[i]);
                    assert_int_equal(backend[i].id, client[i].id);
                    carry(&client[i], client[i].id, CALL_RESPONSE, pieces[p], NONE, 0);
                    calls_answered(&c, &client[i], true);
                }
                end(0, NULL);
            }
}

static void test_lost(void **state)
{
    (void)state;
    begin_all(CALL_UNARY, 100, 1);
    for (unsigned i = 0; i < RPCS; i++) /* a request that no backend gets; the balance is off with it */
        if (i != 7)
            request(i), respond(i);
    end(1, "a fair share");
    begin_all(CALL_UNARY, 100, 1);
    for (unsigned i = 0; i < RPCS; i++)
        request(i);
    for (unsigned i = 0; i < RPCS; i++)
        if (i != 7)
            respond(i);
    end(2, "RPC 7 was lost: its client has no answer");
}

static void test_doubled(void **state)
{
    (void)state;
    begin_all(CALL_UNARY, 100, 1);
    for (unsigned i = 0; i < RPCS; i++)
        request(i), respond(i);
    struct call_end again = {.endpoint = 0};
    carry(&again, 5, CALL_REQUEST, 1000, NONE, 0);
    calls_requested(&c, &again);
    end(2, "request 5: a backend had it already");
    begin_all(CALL_UNARY, 100, 1);
    for (unsigned i = 0; i < RPCS; i++)
        request(i), respond(i);
    calls_answered(&c, &client[5], true);
    end(2, "answer 5: twice");
}

static void test_never_sent(void **state)
{
    (void)state;
    begin_all(CALL_UNARY, 100, 1);
    struct call_end stranger = {0};
    carry(&stranger, 40, CALL_REQUEST, 1000, NONE, 0);
    calls_requested(&c, &stranger);
    end(1, "request 40: nobody sent it");
    begin_all(CALL_UNARY, 100, 1);
    carry(&client[3], 3, CALL_RESPONSE, 1000, NONE, 0);
    calls_answered(&c, &client[3], true);
    end(1, "answer 3: no backend had it");
}

/* Each octet of each message, both ways: but the id in a backend's first message, which makes it another RPC's. */
static void test_wrong_octet(void **state)
{
    (void)state;
    for (enum call_direction d = CALL_REQUEST; d <= CALL_RESPONSE; d++)
        for (uint32_t bad = 0; bad < 2; bad++)
            for (uint32_t flip = 0; flip < 5 + 37; flip++) {
                begin_all(CALL_BIDI, 37, 2);
                struct call_end *to = d == CALL_REQUEST ? &backend[2] : &client[2];
                carry(to, 2, d, 7, bad, flip);
                if (d == CALL_REQUEST)
                    calls_requested(&c, to);
                end(1, NULL);
            }
}

static void test_short_and_long(void **state)
{
    (void)state;
    begin_all(CALL_CLIENT, 50, 3);
    calls_bytes(&c, 1, CALL_REQUEST, 0, 0, 55, message);
    assert_true(calls_take(&c, &backend[1], CALL_REQUEST, message, 55));
    calls_requested(&c, &backend[1]);
    end(1, "request 1: 1 messages and 0 octets of 3");
    begin_all(CALL_UNARY, 50, 1);
    request(1);
    assert_false(calls_take(&c, &backend[1], CALL_REQUEST, message, 1));
    end(1, "message 1 is wrong at octet 0");
}

static void test_out_of_order(void **state)
{
    (void)state;
    begin_all(CALL_SERVER, 50, 3);
    request(1);
    calls_bytes(&c, 1, CALL_RESPONSE, 1, 0, 55, message);
    assert_false(calls_take(&c, &client[1], CALL_RESPONSE, message, 55));
    end(1, "answer 1: message 0 is wrong");
}

static void test_status(void **state)
{
    (void)state;
    begin_all(CALL_UNARY, 50, 1);
    request(1);
    carry(&client[1], 1, CALL_RESPONSE, 1000, NONE, 0);
    calls_answered(&c, &client[1], false);
    end(1, "answer 1: its status");
}

static void test_share(void **state)
{
    (void)state;
    begin_all(CALL_UNARY, 50, 1);
    backend[0].endpoint = 1;
    for (unsigned i = 0; i < RPCS; i++)
        request(i), respond(i);
    end(2, "a fair share is 4");
}

static void test_fields(void **state)
{
    (void)state;
    uint8_t text[CALL_TEXT];
    struct base_headers h;
    begin_all(CALL_UNARY, 50, 1);
    for (enum header_set s = HEADERS_STATIC; s <= HEADERS_TRACE; s++) {
        c.headers = s;
        calls_request_fields(&c, 9, text, &h);
        calls_request_check(&c, &h);
        assert_int_equal(c.wrong, 0);
    }
    h.count--; /* traceparent got lost */
    calls_request_check(&c, &h);
    end(1, "no traceparent");
}

static void test_histogram(void **state)
{
    (void)state;
    static struct histogram h;
    assert_true(histogram_quantile(&h, 0.5) == 0);
    for (uint64_t v = 1; v <= 100000; v++)
        histogram_add(&h, v);
    static const double q[] = {0.001, 0.1, 0.5, 0.9, 0.99, 0.999};
    for (unsigned i = 0; i < 6; i++) {
        double want = q[i] * 100000, got = histogram_quantile(&h, q[i]);
        assert_true(got > want * 0.97 && got < want * 1.03);
    }
    assert_true(histogram_quantile(&h, 1) <= 100000);
    histogram_add(&h, UINT64_MAX);
    assert_true(h.max == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right), cmocka_unit_test(test_lost), cmocka_unit_test(test_doubled), cmocka_unit_test(test_never_sent),
        cmocka_unit_test(test_wrong_octet), cmocka_unit_test(test_short_and_long), cmocka_unit_test(test_out_of_order), cmocka_unit_test(test_status),
        cmocka_unit_test(test_share), cmocka_unit_test(test_fields), cmocka_unit_test(test_histogram),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
