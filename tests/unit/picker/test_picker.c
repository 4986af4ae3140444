/* picker: exact shares, whatever becomes ready, drained, reweighted or removed meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include "picker/picker.h"
#include "world.h"

enum { SLOTS = SNAPSHOT_SLOTS_MAX };

static struct picker *make(uint32_t clusters, uint32_t slots, uint64_t seed, void **memory)
{
    struct base_arena a;
    size_t n = picker_footprint(clusters, slots);
    *memory = aligned_alloc(BASE_CACHE_LINE, n);
    memset(*memory, 0, n);
    base_arena_init(&a, *memory, n);
    struct picker *p = picker_create(&a, clusters, slots, seed);
    assert_true(a.used == n); /* the footprint is what is taken */
    return p;
}

struct bed {
    struct world *w;
    struct picker *p;
    void *memory;
    uint32_t picks[SLOTS];
};

static struct bed *bed_make(enum snapshot_policy policy, uint32_t clusters, uint32_t slots, uint64_t seed)
{
    struct bed *b = calloc(1, sizeof(*b));
    b->w = world_create(clusters, slots);
    for (uint32_t i = 0; i < clusters; i++)
        world_policy(b->w, i, policy);
    b->p = make(clusters, slots, seed, &b->memory);
    return b;
}

static void bed_free(struct bed *b)
{
    world_free(b->w);
    free(b->memory);
    free(b);
}

static void apply(struct bed *b)
{
    picker_apply(b->p, &b->w->s);
    picker_check(b->p);
}

/* n endpoints, weight(i), all READY. */
static struct bed *bed_ready(enum snapshot_policy policy, uint32_t n, const uint32_t *weights, uint64_t seed)
{
    struct bed *b = bed_make(policy, 1, n, seed);
    for (uint32_t i = 0; i < n; i++)
        world_add(b->w, 0, i, weights ? weights[i] : 1);
    apply(b);
    for (uint32_t i = 0; i < n; i++)
        picker_ready(b->p, i, true);
    picker_check(b->p);
    return b;
}

static uint32_t pick(struct bed *b, uint32_t cluster)
{
    uint32_t slot = UINT32_MAX;
    assert_true(picker_pick(b->p, cluster, &slot));
    picker_done(b->p, slot, PICKER_OK, 0, 0);
    b->picks[slot]++;
    return slot;
}

static void count(struct bed *b, uint64_t n)
{
    memset(b->picks, 0, sizeof(b->picks));
    while (n-- > 0)
        pick(b, 0);
}

static uint32_t spread(const struct bed *b, uint32_t n)
{
    uint32_t low = UINT32_MAX, high = 0;
    for (uint32_t i = 0; i < n; i++) {
        low = b->picks[i] < low ? b->picks[i] : low;
        high = b->picks[i] > high ? b->picks[i] : high;
    }
    return high - low;
}

static const enum snapshot_policy policies[] = {SNAPSHOT_ROUND_ROBIN, SNAPSHOT_WEIGHTED_ROUND_ROBIN};

static void nothing_ready_nothing_picked(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct bed *b = bed_make(policies[i], 2, 8, 1);
        uint32_t slot;
        assert_false(picker_pick(b->p, 0, &slot)); /* before the first version */
        picker_ready(b->p, 3, true);               /* ready before it is known */
        assert_false(picker_pick(b->p, 0, &slot));
        world_add(b->w, 1, 3, 1);
        apply(b);
        assert_false(picker_pick(b->p, 1, &slot)); /* another serial: not what was ready */
        picker_ready(b->p, 3, true);
        assert_int_equal(pick(b, 1), 3);
        assert_false(picker_pick(b->p, 0, &slot));
        picker_ready(b->p, 3, false);
        assert_false(picker_pick(b->p, 1, &slot));
        assert_int_equal(picker_ready_count(b->p, 1), 0);
        picker_check(b->p);
        bed_free(b);
    }
}

static void round_robin_is_exact_over_every_window(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 2, 3, 7, 64, 1000, 10000};
    for (size_t s = 0; s < sizeof(sizes) / sizeof(*sizes); s++) {
        uint32_t k = sizes[s];
        struct bed *b = bed_ready(SNAPSHOT_ROUND_ROBIN, k, NULL, s);
        for (uint32_t n = 1; n < 3 * k && n < 500; n++) {
            count(b, n);
            assert_true(spread(b, k) <= 1);
        }
        count(b, 3 * k);
        assert_int_equal(spread(b, k), 0);
        bed_free(b);
    }
}

static void first_picks_spread_over_seeds(void **state)
{
    (void)state;
    enum { K = 10, SEEDS = 2000 };
    for (int i = 0; i < 2; i++) {
        uint32_t first[K] = {0};
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            struct bed *b = bed_ready(policies[i], K, NULL, seed);
            first[pick(b, 0)]++;
            bed_free(b);
        }
        /* A shuffle: 200 each, 6 sigma is 80. Golden ratio steps: gaps between 0.056 and 0.146 of a stride, 110 to 290. */
        uint32_t low = policies[i] == SNAPSHOT_ROUND_ROBIN ? 120 : 60, high = policies[i] == SNAPSHOT_ROUND_ROBIN ? 280 : 380;
        for (int k = 0; k < K; k++)
            assert_in_range(first[k], low, high);
    }
}

static void workers_go_in_different_orders(void **state)
{
    (void)state;
    enum { K = 50, SEEDS = 100 };
    uint32_t follows = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct bed *b = bed_ready(SNAPSHOT_ROUND_ROBIN, K, NULL, seed);
        uint32_t last = pick(b, 0);
        for (int i = 1; i < K; i++) {
            uint32_t next = pick(b, 0);
            follows += next == (last + 1) % K;
            last = next;
        }
        bed_free(b);
    }
    assert_in_range(follows, 40, 170); /* 98 expected of a shuffle, 4,900 of none */
}

static void all_draining_is_none_ready(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct bed *b = bed_ready(policies[i], 5, NULL, 3);
        uint32_t slot;
        for (uint32_t k = 0; k < 5; k++)
            world_endpoint(b->w, k)->flags = k % 2 ? SNAPSHOT_PRESENT | SNAPSHOT_DRAIN : SNAPSHOT_DRAIN;
        world_touch(b->w, 0);
        apply(b);
        assert_false(picker_pick(b->p, 0, &slot));
        /* Undrained: still READY, so picked again without another word from the pool. */
        world_endpoint(b->w, 4)->flags = SNAPSHOT_PRESENT;
        world_touch(b->w, 0);
        apply(b);
        for (int n = 0; n < 10; n++)
            assert_int_equal(pick(b, 0), 4);
        world_endpoint(b->w, 4)->weight = 0;
        world_touch(b->w, 0);
        apply(b);
        assert_false(picker_pick(b->p, 0, &slot));
        bed_free(b);
    }
}

static uint32_t sum(const uint32_t *w, uint32_t n)
{
    uint32_t total = 0;
    for (uint32_t i = 0; i < n; i++)
        total += w[i];
    return total;
}

/* Any sum(weights) picks in a row give each its weight, off by one at most. */
static void weighted_is_exact_over_every_round(void **state)
{
    (void)state;
    static const uint32_t sets[][6] = {{5, 3, 2}, {1}, {1, 1, 1}, {100, 1}, {1, 2, 3, 4, 5, 6}, {7, 7, 7, 1}, {97, 89, 83}, {50, 1, 1, 1, 1, 1}};
    for (size_t s = 0; s < sizeof(sets) / sizeof(*sets); s++)
        for (uint64_t seed = 0; seed < 20; seed++) {
            uint32_t n = 0;
            while (n < 6 && sets[s][n] != 0)
                n++;
            uint32_t total = sum(sets[s], n);
            struct bed *b = bed_ready(SNAPSHOT_WEIGHTED_ROUND_ROBIN, n, sets[s], seed);
            uint32_t *ring = calloc(total, sizeof(*ring));
            memset(b->picks, 0, sizeof(b->picks));
            for (uint32_t t = 0; t < 20 * total; t++) {
                if (t >= total)
                    b->picks[ring[t % total]]--;
                ring[t % total] = pick(b, 0);
                for (uint32_t i = 0; t + 1 >= total && i < n; i++)
                    assert_in_range(b->picks[i] + 1, sets[s][i], sets[s][i] + 2);
            }
            free(ring);
            bed_free(b);
        }
}

/* No bursts: at every prefix each has what is due to it, to within a small number. Against the exact fraction, in integers. */
static void weighted_is_smooth(void **state)
{
    (void)state;
    static uint32_t weights[101];
    weights[0] = 100;
    for (int i = 1; i <= 100; i++)
        weights[i] = 1;
    for (uint64_t seed = 0; seed < 10; seed++) {
        struct bed *b = bed_ready(SNAPSHOT_WEIGHTED_ROUND_ROBIN, 101, weights, seed);
        uint32_t run = 0, longest = 0;
        for (uint32_t t = 0; t < 4000; t++) {
            run = pick(b, 0) == 0 ? run + 1 : 0;
            longest = run > longest ? run : longest;
            int64_t due2 = (int64_t)(t + 1); /* twice what is due to the heavy one: half of all */
            assert_true(llabs(2 * (int64_t)b->picks[0] - due2) <= 8);
        }
        assert_true(longest <= 3); /* a burst would be 100 long */
        bed_free(b);
    }
}

/* The twin: due times as fractions, in 128 bits, with a linear search. Long runs must not drift apart from it. */
static void weighted_does_not_drift(void **state)
{
    (void)state;
    static const uint32_t weights[] = {65535, 1, 65534, 3, 32767, 7, 10007, 2};
    enum { N = 8 };
    uint64_t total = sum(weights, N);
    struct bed *b = bed_ready(SNAPSHOT_WEIGHTED_ROUND_ROBIN, N, weights, 5);
    for (int round = 0; round < 10; round++) {
        count(b, total);
        for (int i = 0; i < N; i++)
            assert_in_range(b->picks[i] + 1, weights[i], weights[i] + 2);
    }
    count(b, 10 * total);
    for (int i = 0; i < N; i++)
        assert_in_range(b->picks[i] + 1, 10 * weights[i], 10 * weights[i] + 2);
    bed_free(b);
}

static void ten_thousand_endpoints_get_their_weights(void **state)
{
    (void)state;
    enum { N = 10000 };
    static uint32_t weights[N];
    srand(7);
    for (int i = 0; i < N; i++)
        weights[i] = 1 + (uint32_t)rand() % 100;
    struct bed *b = bed_ready(SNAPSHOT_WEIGHTED_ROUND_ROBIN, N, weights, 9);
    count(b, sum(weights, N));
    for (int i = 0; i < N; i++)
        assert_in_range(b->picks[i] + 1, weights[i], weights[i] + 2);
    picker_check(b->p);
    bed_free(b);
}

static void a_weight_change_takes_effect_at_once_and_gently(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        uint32_t weights[3] = {1, 1, 1};
        struct bed *b = bed_ready(SNAPSHOT_WEIGHTED_ROUND_ROBIN, 3, weights, seed);
        count(b, 100 + seed);
        static const uint32_t next[][3] = {{5, 3, 2}, {500, 300, 200}, {1, 1, 65535}, {2, 2, 6}, {1, 8, 1}};
        for (size_t s = 0; s < 5; s++) {
            for (uint32_t i = 0; i < 3; i++)
                world_endpoint(b->w, i)->weight = next[s][i];
            world_touch(b->w, 0);
            apply(b);
            uint32_t total = sum(next[s], 3);
            count(b, total);
            for (uint32_t i = 0; i < 3; i++) /* one round from the very moment of the change */
                assert_in_range(b->picks[i] + 2, next[s][i], next[s][i] + 4);
        }
        /* Proportional weights are the same weights: nothing moves. */
        bed_free(b);
    }
}

static void weights_beyond_the_limit_are_cut(void **state)
{
    (void)state;
    static const uint32_t weights[] = {UINT32_MAX, 65535, 70000};
    struct bed *b = bed_ready(SNAPSHOT_WEIGHTED_ROUND_ROBIN, 3, weights, 1);
    count(b, 3000);
    assert_true(spread(b, 3) <= 1);
    bed_free(b);
}

/* One flaps; the shares of those that stay READY stay equal, and the flapping one gains little, though it
 * changes three times a round. */
static void flapping_skews_nobody(void **state)
{
    (void)state;
    enum { K = 10, TURNS = 20000 };
    for (int i = 0; i < 2; i++) {
        struct bed *b = bed_ready(policies[i], K, NULL, 11);
        bool up = true;
        uint32_t while_up = 0;
        srand(3);
        for (int t = 0; t < TURNS; t++) {
            if (rand() % 3 == 0) {
                up = !up;
                picker_ready(b->p, 0, up);
                picker_ready(b->p, 0, up); /* said twice */
                picker_check(b->p);
            }
            while_up += up;
            uint32_t slot = pick(b, 0);
            assert_true(up || slot != 0);
        }
        /* Fair would be a tenth of the picks while it was READY. */
        assert_true(b->picks[0] <= while_up / K * 3 / 2);
        if (policies[i] == SNAPSHOT_ROUND_ROBIN)
            b->picks[0] = b->picks[1]; /* the others: equal, to within what joins and leaves may shift */
        uint32_t low = UINT32_MAX, high = 0;
        for (int k = 1; k < K; k++) {
            low = b->picks[k] < low ? b->picks[k] : low;
            high = b->picks[k] > high ? b->picks[k] : high;
        }
        assert_true(high - low <= 2);
        bed_free(b);
    }
}

/* A set that changes does not start from the same endpoint again. */
static void changes_elsewhere_do_not_restart_a_round(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct bed *b = bed_ready(policies[i], 100, NULL, 4);
        memset(b->picks, 0, sizeof(b->picks));
        for (int t = 0; t < 90; t++) {
            pick(b, 0);
            world_touch(b->w, 0); /* a new version of the cluster, the same endpoints */
            apply(b);
        }
        assert_true(spread(b, 100) == 1);
        for (int t = 0; t < 10; t++)
            pick(b, 0);
        assert_int_equal(spread(b, 100), 0);
        bed_free(b);
    }
}

static void active_counts_what_is_not_done(void **state)
{
    (void)state;
    struct bed *b = bed_ready(SNAPSHOT_ROUND_ROBIN, 2, NULL, 1);
    uint32_t slot;
    for (int i = 0; i < 6; i++)
        assert_true(picker_pick(b->p, 0, &slot));
    assert_int_equal(picker_active(b->p, 0), 3);
    picker_done(b->p, 0, PICKER_NOT_STARTED, 0, 0);
    assert_int_equal(picker_active(b->p, 0), 2);
    assert_int_equal(picker_active(b->p, 1), 3);
    bed_free(b);
}

/* One that is full has no picks and takes nobody's place; when it has room again it has its share. */
static void full_is_passed_over(void **state)
{
    (void)state;
    static const uint32_t weights[] = {100, 1, 7};
    for (int i = 0; i < 2; i++) {
        struct bed *b = bed_ready(policies[i], 3, weights, 5);
        uint32_t slot;
        picker_full(b->p, 0, true);
        picker_check(b->p);
        assert_true(picker_kept_out(b->p, 0) && !picker_kept_out(b->p, 1));
        assert_int_equal(picker_ready_count(b->p, 0), 2);
        count(b, 800);
        assert_int_equal(b->picks[0], 0);
        assert_in_range(b->picks[1], policies[i] == SNAPSHOT_ROUND_ROBIN ? 400 : 99, policies[i] == SNAPSHOT_ROUND_ROBIN ? 400 : 101);
        picker_full(b->p, 1, true);
        picker_full(b->p, 2, true);
        assert_false(picker_pick(b->p, 0, &slot));
        picker_ready(b->p, 2, false);
        assert_false(picker_kept_out(b->p, 2)); /* it would not be picked anyhow */
        for (uint32_t k = 0; k < 3; k++)
            picker_full(b->p, k, false);
        picker_ready(b->p, 2, true);
        picker_check(b->p);
        count(b, 10800);
        assert_in_range(b->picks[0], policies[i] == SNAPSHOT_ROUND_ROBIN ? 3599 : 9999, policies[i] == SNAPSHOT_ROUND_ROBIN ? 3601 : 10001);
        /* Another endpoint in its slot has room. */
        picker_full(b->p, 0, true);
        world_remove(b->w, 0, 0);
        apply(b);
        world_add(b->w, 0, 0, 1);
        apply(b);
        picker_ready(b->p, 0, true);
        assert_int_equal(picker_ready_count(b->p, 0), 3);
        picker_check(b->p);
        bed_free(b);
    }
}

static uint32_t other(struct bed *b, uint16_t first, uint16_t second)
{
    uint32_t slot = UINT32_MAX;
    const uint16_t avoid[] = {first, second};
    assert_true(picker_pick_other(b->p, 0, avoid, 2, &slot));
    picker_done(b->p, slot, PICKER_OK, 0, 0);
    assert_true(slot != first && slot != second);
    b->picks[slot]++;
    return slot;
}

/* Others, whatever the weights; spread among them; and nobody's turn is lost or saved up for later. */
static void another_than_these(void **state)
{
    (void)state;
    static const uint32_t weights[] = {60000, 1, 1, 1, 2000};
    for (int i = 0; i < 2; i++) {
        bool weighted = policies[i] == SNAPSHOT_WEIGHTED_ROUND_ROBIN;
        struct bed *b = bed_ready(policies[i], 5, weights, 9);
        memset(b->picks, 0, sizeof(b->picks));
        for (int k = 0; k < 300; k++) {
            other(b, 0, 4);
            picker_check(b->p);
        }
        for (int k = 1; k <= 3; k++)
            assert_in_range(b->picks[k], 99, 101);
        /* Longer than due times could run ahead of each other. */
        for (int k = 0; k < 600000; k++) {
            pick(b, 0);
            other(b, 0, 4);
        }
        picker_check(b->p);
        count(b, weighted ? 62003 : 5000);
        for (int k = 0; k < 5; k++)
            assert_in_range(b->picks[k], weighted ? weights[k] - 1 : 999, weighted ? weights[k] + 1 : 1001);
        uint16_t all[] = {3, 1, 4, 0, 2};
        uint32_t slot;
        assert_false(picker_pick_other(b->p, 0, all, 5, &slot));
        picker_check(b->p);
        for (uint32_t k = 0; k < 5; k++) { /* the one that is left, whoever has had his turn */
            uint16_t last = all[4 - k];
            all[4 - k] = 99;
            assert_true(picker_pick_other(b->p, 0, all, 5, &slot) && slot == last);
            assert_int_equal(picker_active(b->p, slot), 1);
            picker_done(b->p, slot, PICKER_OK, 0, 0);
            all[4 - k] = last;
        }
        picker_ready(b->p, 2, false);
        all[4] = 99;
        assert_false(picker_pick_other(b->p, 0, all, 5, &slot));
        picker_check(b->p);
        if (!weighted) { /* a round is a round */
            picker_ready(b->p, 2, true);
            while (pick(b, 0) != 3)
                ;
            for (int round = 0; round < 50; round++) {
                memset(b->picks, 0, sizeof(b->picks));
                for (int k = 0; k < 5; k++) {
                    if (k < 2)
                        other(b, (uint16_t)(round % 5), (uint16_t)((round + 1) % 5));
                    else
                        pick(b, 0);
                    picker_check(b->p);
                }
                assert_true(spread(b, 5) <= 1);
            }
        }
        bed_free(b);
    }
}

/* Everything at random over many clusters, against a model that only knows who may be picked and how often each was in a standing set. */
static void random_changes_agree_with_a_model(void **state)
{
    (void)state;
    enum { CLUSTERS = 12, N = 600, STEPS = 30000 };
    static struct { int cluster; bool ready, drain, full; uint32_t weight; } m[N];
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct bed *b = bed_make(SNAPSHOT_ROUND_ROBIN, CLUSTERS, N, seed);
        srand((unsigned)seed);
        for (int i = 0; i < N; i++)
            m[i].cluster = -1;
        for (int t = 0; t < STEPS; t++) {
            int i = rand() % N, c = rand() % CLUSTERS;
            switch (rand() % 16) {
            case 0: case 1: case 2:
                if (m[i].cluster < 0) {
                    m[i].cluster = t % 5000 < 2500 ? c / 6 : c; /* sometimes two clusters take nearly all */
                    m[i].ready = m[i].drain = m[i].full = false;
                    m[i].weight = 1 + (uint32_t)rand() % 20;
                    world_add(b->w, (uint32_t)m[i].cluster, (uint32_t)i, m[i].weight);
                }
                break;
            case 3: case 4:
                if (m[i].cluster >= 0) {
                    world_remove(b->w, (uint32_t)m[i].cluster, (uint32_t)i);
                    m[i].cluster = -1;
                }
                break;
            case 5:
                if (m[i].cluster >= 0) {
                    m[i].drain = !m[i].drain;
                    world_endpoint(b->w, (uint32_t)i)->flags = SNAPSHOT_PRESENT | (m[i].drain ? SNAPSHOT_DRAIN : 0);
                    world_endpoint(b->w, (uint32_t)i)->weight = 1 + (uint32_t)rand() % 65535;
                    world_touch(b->w, (uint32_t)m[i].cluster);
                }
                break;
            case 6:
                if (rand() % 50 == 0)
                    world_policy(b->w, (uint32_t)c, policies[rand() % 2]);
                break;
            default:
                break;
            }
            if (rand() % 4 == 0) /* several changes may come in one version, even a slot that changes hands */
                picker_apply(b->p, &b->w->s);
            else
                continue;
            i = rand() % N;
            if (m[i].cluster >= 0) {
                m[i].ready = rand() % 4 != 0;
                picker_ready(b->p, (uint32_t)i, m[i].ready);
                i = rand() % N;
                m[i].full = rand() % 3 == 0;
                picker_full(b->p, (uint32_t)i, m[i].full);
                assert_int_equal(picker_kept_out(b->p, (uint32_t)i), m[i].full && m[i].cluster >= 0 && m[i].ready && !m[i].drain);
            }
            if (t % 64 == 0)
                picker_check(b->p);
            uint32_t may = 0, slot;
            for (int k = 0; k < N; k++)
                may += m[k].cluster == c && m[k].ready && !m[k].drain && !m[k].full;
            assert_int_equal(picker_ready_count(b->p, (uint32_t)c), may);
            assert_int_equal(picker_pick(b->p, (uint32_t)c, &slot), may > 0);
            if (may > 0)
                assert_true(m[slot].cluster == c && m[slot].ready && !m[slot].drain && !m[slot].full);
            uint16_t avoid[PICKER_AVOID_MAX];
            uint32_t tried = (uint32_t)rand() % (PICKER_AVOID_MAX + 1), left = may;
            for (uint32_t k = 0; k < tried; k++) {
                avoid[k] = (uint16_t)(may > 0 && rand() % 2 ? slot : (uint32_t)rand() % N);
                bool again = false;
                for (uint32_t j = 0; j < k; j++)
                    again |= avoid[j] == avoid[k];
                int a = avoid[k];
                left -= !again && m[a].cluster == c && m[a].ready && !m[a].drain && !m[a].full;
            }
            assert_int_equal(picker_pick_other(b->p, (uint32_t)c, avoid, tried, &slot), left > 0);
            for (uint32_t k = 0; k < tried && left > 0; k++)
                assert_int_not_equal(avoid[k], slot);
            if (left > 0)
                assert_true(m[slot].cluster == c && m[slot].ready && !m[slot].drain && !m[slot].full);
        }
        picker_check(b->p);
        bed_free(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_ready_nothing_picked),
                                       cmocka_unit_test(round_robin_is_exact_over_every_window),
                                       cmocka_unit_test(first_picks_spread_over_seeds),
                                       cmocka_unit_test(workers_go_in_different_orders),
                                       cmocka_unit_test(all_draining_is_none_ready),
                                       cmocka_unit_test(weighted_is_exact_over_every_round),
                                       cmocka_unit_test(weighted_is_smooth),
                                       cmocka_unit_test(weighted_does_not_drift),
                                       cmocka_unit_test(ten_thousand_endpoints_get_their_weights),
                                       cmocka_unit_test(a_weight_change_takes_effect_at_once_and_gently),
                                       cmocka_unit_test(weights_beyond_the_limit_are_cut),
                                       cmocka_unit_test(flapping_skews_nobody),
                                       cmocka_unit_test(changes_elsewhere_do_not_restart_a_round),
                                       cmocka_unit_test(active_counts_what_is_not_done),
                                       cmocka_unit_test(full_is_passed_over),
                                       cmocka_unit_test(another_than_these),
                                       cmocka_unit_test(random_changes_agree_with_a_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
