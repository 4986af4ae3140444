/* cubic: the integers against RFC 9438's formulas in floating point, and RFC 9406 step by step. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>

#include "tcp/cc.h"

enum { MSS = 1000 };
#define MS 1000000ull

static struct tcp_conn conn;

static struct tcp_conn *fresh(void)
{
    memset(&conn, 0, sizeof(conn));
    conn.cc = TCP_CC_CUBIC;
    conn.mss = MSS;
    conn.ssthresh = UINT32_MAX;
    conn.snd_una = conn.snd_nxt = 1000;
    tcp_cc_open(&conn);
    return &conn;
}

/* A full window at a time: every segment acknowledged by itself, a round trip after it was sent. */
static void round_trip(struct tcp_conn *c, uint64_t *now, uint64_t rtt_ns)
{
    uint32_t n = c->cwnd / MSS;
    c->srtt_ns = rtt_ns;
    c->snd_nxt = c->snd_una + n * MSS;
    for (uint32_t i = 0; i < n; i++) {
        *now += rtt_ns / n;
        c->snd_una += MSS;
        c->snd_nxt += MSS;
        tcp_cc_acked(c, MSS, rtt_ns, *now);
    }
    c->snd_nxt = c->snd_una;
}

static void lose(struct tcp_conn *c, bool timeout)
{
    c->undo_cwnd = c->cwnd;
    c->snd_nxt = c->snd_una + c->cwnd;
    c->ssthresh = tcp_cc_reduce(c, timeout);
    c->cwnd = timeout ? MSS : c->ssthresh;
    c->snd_nxt = c->snd_una;
}

/* Over minutes on a long fat path, the window follows W(t) to within three segments. */
static void follows_the_curve(void **state)
{
    (void)state;
    for (uint64_t at = 0; at < 2; at++) {
        struct tcp_conn *c = fresh();
        uint64_t now = at == 0 ? 10 * MS : ((1ull << 32) - 5000) * MS; /* the clock of milliseconds wraps */
        c->cwnd = 2000 * MSS;
        lose(c, false);
        assert_int_equal(c->cwnd, 1400 * MSS);
        uint64_t start = now;
        double k = cbrt(600 / 0.4);
        for (int i = 0; i < 250; i++) {
            round_trip(c, &now, 100 * MS);
            double t = (double)(now - start) / 1e9, want = 0.4 * pow(t - k, 3) + 2000, got = c->cwnd / (double)MSS;
            assert_true(fabs(got - want) < 3 + want * 0.01);
        }
    }
}

/* Short round trips: as Reno with a decrease of 0.7 and an increase of 9/17, and by whole segments once beyond the old window. */
static void friendly_to_reno(void **state)
{
    (void)state;
    struct tcp_conn *c = fresh();
    uint64_t now = 10 * MS;
    c->cwnd = 20 * MSS;
    lose(c, false);
    for (int i = 0; i < 9; i++)
        round_trip(c, &now, MS);
    assert_in_range(c->cwnd, 18 * MSS, 19 * MSS); /* 14 + 9 * 9 / 17 */
    for (int i = 0; i < 12; i++)
        round_trip(c, &now, MS);
    assert_in_range(c->cwnd, 25 * MSS, 31 * MSS);
}

static void gives_way_to_a_newcomer(void **state)
{
    (void)state;
    struct tcp_conn *c = fresh();
    c->cwnd = 100 * MSS;
    lose(c, false);
    assert_int_equal(c->cubic.w_max, 100 * MSS);
    lose(c, false); /* at 70: section 4.7 */
    assert_int_equal(c->cubic.w_max, 70 * MSS * 85 / 100);
    assert_int_equal(c->ssthresh, 49 * MSS);
}

static void a_needless_reduction_leaves_no_trace(void **state)
{
    (void)state;
    struct tcp_conn *c = fresh();
    c->cwnd = 100 * MSS;
    lose(c, false);
    lose(c, false);
    c->cwnd = c->undo_cwnd;
    tcp_cc_undo(c);
    assert_int_equal(c->cubic.w_max, 100 * MSS);
    c = fresh();
    c->cwnd = 100 * MSS;
    lose(c, true);
    c->ssthresh = UINT32_MAX; /* as undo.c does it */
    tcp_cc_undo(c);
    assert_int_equal(c->hystart.base_us, UINT32_MAX);
}

/* Section 4.8: after a timeout the curve begins where slow start ended. */
static void after_a_timeout_there_is_no_plateau(void **state)
{
    (void)state;
    struct tcp_conn *c = fresh();
    uint64_t now = 10 * MS;
    c->cwnd = 100 * MSS;
    lose(c, true);
    assert_int_equal(c->ssthresh, 70 * MSS);
    while (c->cwnd < c->ssthresh)
        round_trip(c, &now, 10 * MS);
    round_trip(c, &now, 10 * MS);
    assert_in_range(c->cubic.w_max, 70 * MSS, 78 * MSS);
}

/* Section 4.2: what held the sender back for an hour does not make the window explode. */
static void idle_time_does_not_count(void **state)
{
    (void)state;
    struct tcp_conn *c = fresh();
    uint64_t now = 10 * MS;
    c->cwnd = 100 * MSS;
    lose(c, false);
    round_trip(c, &now, 50 * MS);
    uint32_t before = c->cwnd;
    now += 3600000 * MS;
    round_trip(c, &now, 50 * MS);
    assert_in_range(c->cwnd, before, before + 5 * MSS);
}

static void hystart_leaves_where_round_trips_grow(void **state)
{
    (void)state;
    struct tcp_conn *c = fresh();
    uint64_t now = 10 * MS;
    for (int i = 0; i < 3; i++)
        round_trip(c, &now, 40 * MS);
    assert_int_equal(c->hystart.base_us, UINT32_MAX);
    assert_true(c->cwnd >= 80 * MSS); /* 10 doubled three times */
    round_trip(c, &now, 46 * MS); /* an eighth more and a bit */
    assert_int_equal(c->hystart.base_us, 46000);
    uint32_t before = c->cwnd;
    round_trip(c, &now, 46 * MS);
    assert_in_range(c->cwnd, before + before / 5, before + before / 3); /* a quarter as fast */
    for (int i = 0; i < 6 && c->ssthresh == UINT32_MAX; i++)
        round_trip(c, &now, 46 * MS);
    assert_true(c->ssthresh != UINT32_MAX);
    assert_true(c->cwnd >= c->ssthresh);
}

static void hystart_takes_noise_for_noise(void **state)
{
    (void)state;
    struct tcp_conn *c = fresh();
    uint64_t now = 10 * MS;
    for (int i = 0; i < 3; i++)
        round_trip(c, &now, 40 * MS);
    round_trip(c, &now, 46 * MS);
    assert_int_equal(c->hystart.base_us, 46000);
    round_trip(c, &now, 40 * MS);
    round_trip(c, &now, 40 * MS);
    assert_int_equal(c->hystart.base_us, UINT32_MAX);
    assert_int_equal(c->ssthresh, UINT32_MAX);
}

/* Rounds of 100 ms over a bottleneck of a segment a millisecond: one bandwidth-delay product is 100 segments.  Round trips do not grow where the queue is looked at. */
static void an_ack_train_ends_slow_start(void **state)
{
    (void)state;
    static struct tcp t;
    for (int pauses = 0; pauses < 2; pauses++) {
        struct tcp_conn *c = fresh();
        uint64_t now = (1000 + (uint64_t)pauses) * MS;
        c->tcp = &t;
        c->rtt_min_ns = 100 * MS;
        for (int round = 0; round < 7 && c->ssthresh == UINT32_MAX; round++) {
            uint32_t n = c->cwnd / MSS;
            uint64_t start = now;
            for (uint32_t i = 0; i < n && c->ssthresh == UINT32_MAX; i++) {
                now += pauses && i % 8 == 0 && n < 300 ? 3 * MS : MS; /* no train: ACKs that come in clumps say nothing */
                c->snd_una += MSS;
                c->snd_nxt = c->snd_una + c->cwnd;
                tcp_cc_acked(c, MSS, 100 * MS, now);
            }
            now = start + 100 * MS > now ? start + 100 * MS : now;
        }
        assert_true(c->cwnd >= (pauses ? 300 : 60) * MSS);
        assert_true(c->cwnd <= (pauses ? 1300 : 140) * MSS);
        assert_int_equal(c->ssthresh, pauses && c->ssthresh == UINT32_MAX ? UINT32_MAX : c->cwnd);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_curve),
        cmocka_unit_test(friendly_to_reno),
        cmocka_unit_test(gives_way_to_a_newcomer),
        cmocka_unit_test(a_needless_reduction_leaves_no_trace),
        cmocka_unit_test(after_a_timeout_there_is_no_plateau),
        cmocka_unit_test(idle_time_does_not_count),
        cmocka_unit_test(hystart_leaves_where_round_trips_grow),
        cmocka_unit_test(hystart_takes_noise_for_noise),
        cmocka_unit_test(an_ack_train_ends_slow_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
