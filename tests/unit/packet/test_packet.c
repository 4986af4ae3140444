/* packet: the same questions to both back ends (unit_packet: malloc, unit_packet_mbuf: mbuf, as an ordinary user,
 * without hugepages). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <unistd.h>

#include "packet/packet.h"
#include "packet/tap.h"

#include <pcap/bpf.h>
#include <stdlib.h>

#ifndef PACKET_MALLOC
#include <rte_eal.h>

static int start(void **state)
{
    (void)state;
    char prefix[40];
    snprintf(prefix, sizeof(prefix), "penstock-unit-packet-%d", (int)getpid());
    char *args[] = {"test",  "--no-huge",     "-m",   "64", "--no-pci", "-l", "0", "--log-level",
                    "error", "--file-prefix", prefix, NULL};
    return rte_eal_init(11, args) >= 0 ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    return rte_eal_cleanup();
}
#else
static int start(void **state)
{
    (void)state;
    return 0;
}

static int stop(void **state)
{
    (void)state;
    return 0;
}
#endif

static struct packet_pool *pool_of(uint32_t count, uint32_t room)
{
    static int serial;
    char name[24];
    snprintf(name, sizeof(name), "pool-%d", ++serial);
    struct packet_pool *pool = packet_pool_create(name, count, room, -1);
    assert_non_null(pool);
    assert_int_equal(packet_pool_size(pool), count);
    assert_int_equal(packet_pool_in_use(pool), 0);
    return pool;
}

static void pools_refuse_when_empty_and_count_exactly(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 2, 7, 100, 1000, 3000};
    static struct packet *p[3000];
    for (size_t k = 0; k < sizeof(sizes) / sizeof(*sizes); k++) {
        struct packet_pool *pool = pool_of(sizes[k], 64);
        for (int round = 0; round < 2; round++) {
            for (uint32_t i = 0; i < sizes[k]; i++) {
                p[i] = packet_alloc(pool);
                assert_non_null(p[i]);
                assert_ptr_equal(packet_pool_of(p[i]), pool);
                assert_int_equal(packet_pool_in_use(pool), i + 1);
            }
            assert_null(packet_alloc(pool));
            for (uint32_t i = 0; i < sizes[k]; i++) {
                packet_free(p[i]);
                assert_int_equal(packet_pool_in_use(pool), sizes[k] - i - 1);
            }
        }
        packet_pool_destroy(pool);
    }
}

static void data_grows_and_shrinks_at_both_ends(void **state)
{
    (void)state;
    struct packet_pool *pool = pool_of(4, 256);
    struct packet *p = packet_alloc(pool);
    assert_int_equal(packet_len(p), 0);
    assert_int_equal(packet_headroom(p), PACKET_HEADROOM);
    assert_int_equal(packet_tailroom(p), 256);
    memcpy(packet_append(p, 10), "0123456789", 10);
    memcpy(packet_append(p, 3), "abc", 3);
    memcpy(packet_prepend(p, 4), "head", 4);
    assert_int_equal(packet_len(p), 17);
    assert_memory_equal(packet_data(p), "head0123456789abc", 17);
    packet_adj(p, 5);
    packet_trim(p, 2);
    assert_memory_equal(packet_data(p), "123456789a", 10);
    assert_int_equal(packet_len(p), 10);
    assert_int_equal(packet_headroom(p), PACKET_HEADROOM + 1);
    assert_int_equal(packet_tailroom(p), 256 - 11);
    packet_append(p, packet_tailroom(p));
    assert_int_equal(packet_tailroom(p), 0);
    packet_prepend(p, packet_headroom(p));
    assert_int_equal(packet_len(p), PACKET_HEADROOM + 256);
    packet_reset(p);
    assert_int_equal(packet_len(p), 0);
    assert_int_equal(packet_headroom(p), PACKET_HEADROOM);
    assert_int_equal(packet_rx_flags(p), 0);
    packet_free(p);
    packet_pool_destroy(pool);
}

static void the_last_reference_frees(void **state)
{
    (void)state;
    struct packet_pool *pool = pool_of(4, 64);
    struct packet *p = packet_alloc(pool);
    assert_false(packet_shared(p));
    packet_ref(p);
    packet_ref(p);
    assert_true(packet_shared(p));
    packet_free(p);
    assert_true(packet_shared(p));
    packet_free(p);
    assert_false(packet_shared(p));
    assert_int_equal(packet_pool_in_use(pool), 1);
    packet_free(p);
    assert_int_equal(packet_pool_in_use(pool), 0);
    packet_pool_destroy(pool);
}

static void copies_have_bytes_and_scratch(void **state)
{
    (void)state;
    struct packet_pool *pool = pool_of(2, 64), *small = pool_of(1, 8);
    struct packet *p = packet_alloc(pool);
    memcpy(packet_append(p, 9), "copy this", 9);
    assert_int_equal((uintptr_t)packet_scratch(p) % 8, 0);
    memset(packet_scratch(p), 0x5a, PACKET_SCRATCH);
    struct packet *c = packet_copy(p);
    assert_non_null(c);
    assert_int_equal(packet_len(c), 9);
    assert_memory_equal(packet_data(c), "copy this", 9);
    assert_memory_equal(packet_scratch(c), packet_scratch(p), PACKET_SCRATCH);
    assert_null(packet_copy(p)); /* empty */
    packet_free(c);
    assert_null(packet_keep(p, small)); /* 1 of 2 in use is more than a quarter, and 9 bytes do not fit: given up */
    assert_int_equal(packet_pool_in_use(pool), 0);
    packet_pool_destroy(pool);
    packet_pool_destroy(small);
}

/* A join is a view: each packet is freed by itself, and one that is reset is out of it. */
static void joined_packets_stay_their_own(void **state)
{
    (void)state;
    struct packet_pool *pool = pool_of(4, 64);
    struct packet *p[3];
    for (uint32_t i = 0; i < 3; i++) {
        p[i] = packet_alloc(pool);
        packet_append(p[i], 10 + i);
        packet_ref(p[i]); /* one holder sends, another keeps */
    }
    assert_true(packet_joined(p[0]) == 1 && packet_total(p[0]) == 10 && packet_next(p[0]) == NULL);
    packet_join(p[0], p[0], p[1]);
    packet_join(p[0], p[1], p[2]);
    packet_prepend(p[0], 7);
    assert_true(packet_joined(p[0]) == 3 && packet_total(p[0]) == 7 + 10 + 11 + 12 && packet_len(p[0]) == 17);
    assert_true(packet_next(p[0]) == p[1] && packet_next(p[1]) == p[2] && packet_next(p[2]) == NULL);
    packet_free(p[1]); /* the keeper of the middle one */
    packet_free(p[0]);
    assert_int_equal(packet_pool_in_use(pool), 3);
    for (struct packet *at = p[0], *next; at != NULL; at = next) { /* sent */
        next = packet_next(at);
        packet_free(at);
    }
    assert_int_equal(packet_pool_in_use(pool), 1);
    assert_false(packet_shared(p[2]));
    packet_reset(p[2]);
    packet_append(p[2], 5);
    assert_true(packet_joined(p[2]) == 1 && packet_total(p[2]) == 5 && packet_next(p[2]) == NULL);
    packet_free(p[2]);
    for (uint32_t i = 0; i < 4; i++) { /* what the pool gives out again is in no join */
        struct packet *again = packet_alloc(pool);
        assert_true(packet_joined(again) == 1 && packet_total(again) == 0 && packet_next(again) == NULL);
        packet_free(again);
    }
    packet_pool_destroy(pool);
}

static void kept_packets_leave_three_quarters_of_a_pool(void **state)
{
    (void)state;
    enum { N = 100 };
    struct packet_pool *pool = pool_of(N, 64), *spare = pool_of(5, 64);
    packet_pool_reserve(pool, 20); /* lie in a receive ring: limit 20 + 80 / 4 */
    assert_int_equal(packet_pool_reserved(pool), 20);
    struct packet *kept[N];
    uint32_t n = 0;
    for (;; n++) {
        struct packet *p = packet_alloc(pool);
        memcpy(packet_append(p, 4), &n, 4);
        kept[n] = packet_keep(p, spare);
        if (kept[n] != p)
            break;
    }
    assert_int_equal(n, 39); /* the 40th is the first that is not below the limit */
    assert_ptr_equal(packet_pool_of(kept[n]), spare);
    assert_memory_equal(packet_data(kept[n]), &n, 4);
    assert_int_equal(packet_pool_in_use(pool), 39);
    for (n++; packet_pool_in_use(spare) < 5; n++)
        kept[n] = packet_keep(packet_alloc(pool), spare);
    assert_null(packet_keep(packet_alloc(pool), spare)); /* no spare: given up, not kept */
    assert_int_equal(packet_pool_in_use(pool), 39);
    struct packet *s = kept[n - 1];
    assert_ptr_equal(packet_keep(s, spare), s); /* a spare is what it would become */
    for (uint32_t i = 0; i < n; i++)
        packet_free(kept[i]);
    assert_int_equal(packet_pool_in_use(spare), 0);
    packet_pool_destroy(pool);
    packet_pool_destroy(spare);
}

#ifndef PACKET_MALLOC
static void device_flags_are_translated(void **state)
{
    (void)state;
    struct packet_pool *pool = pool_of(4, 64);
    struct packet *p = packet_alloc(pool);
    struct rte_mbuf *m = packet_mbuf(p);
    assert_int_equal(packet_rx_flags(p), 0);
    m->ol_flags = RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD;
    assert_int_equal(packet_rx_flags(p), PACKET_RX_IP_GOOD | PACKET_RX_L4_GOOD);
    m->ol_flags = RTE_MBUF_F_RX_IP_CKSUM_BAD | RTE_MBUF_F_RX_L4_CKSUM_BAD;
    assert_int_equal(packet_rx_flags(p), PACKET_RX_IP_BAD | PACKET_RX_L4_BAD);
    m->ol_flags = RTE_MBUF_F_RX_IP_CKSUM_NONE | RTE_MBUF_F_RX_L4_CKSUM_NONE; /* both bits set: neither */
    assert_int_equal(packet_rx_flags(p), PACKET_RX_L4_PARTIAL);
    m->ol_flags = RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED | RTE_MBUF_F_RX_RSS_HASH;
    m->vlan_tci = 7;
    m->hash.rss = 0xfeed;
    assert_int_equal(packet_rx_flags(p), PACKET_RX_VLAN | PACKET_RX_HASH);
    assert_int_equal(packet_vlan(p), 7);
    assert_int_equal(packet_hash(p), 0xfeed);
    packet_append(p, 64);
    packet_tx_offload(p, PACKET_TX_TCP_CSUM | PACKET_TX_IPV6, 18, 40, 32);
    assert_true(m->ol_flags == (RTE_MBUF_F_TX_IPV6 | RTE_MBUF_F_TX_TCP_CKSUM));
    assert_true(m->l2_len == 18 && m->l3_len == 40 && m->l4_len == 32);
    packet_tx_offload(p, PACKET_TX_TCP_CSUM, 14, 20, 20);
    assert_true(m->ol_flags == (RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_TCP_CKSUM));
    assert_int_equal(rte_validate_tx_offload(m), 0);
    packet_tx_offload(p, PACKET_TX_TCP_CSUM | PACKET_TX_IP_CSUM | PACKET_TX_TSO, 14, 20, 20);
    packet_tx_segment(p, 9);
    assert_true(m->ol_flags == (RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_TCP_SEG) && m->tso_segsz == 9);
    assert_int_equal(rte_validate_tx_offload(m), 0);
    packet_tx_offload(p, 0, 0, 0, 0);
    assert_true(m->ol_flags == 0 && m->tx_offload == 0);
    rte_mbuf_sanity_check(m, 1);
    packet_free(p);
    packet_pool_destroy(pool);
}
#endif

static struct packet_tap *tap_open(uint32_t frames, uint32_t snaplen, const struct bpf_insn *filter)
{
    void *memory = aligned_alloc(BASE_CACHE_LINE, packet_tap_footprint(frames, snaplen));
    struct packet_tap *t = packet_tap_create(memory, frames, snaplen, filter);
    assert_non_null(t);
    return t;
}

static void show(struct packet_tap *t, struct packet_pool *pool, uint32_t length, uint8_t first, bool out)
{
    struct packet *p = packet_alloc(pool);
    memset(packet_append(p, length), 0x5a, length);
    packet_data(p)[0] = first;
    packet_tap_see(t, &p, 1, 3, out);
    packet_free(p);
}

static void a_tap_keeps_what_fits_and_counts_the_rest(void **state)
{
    struct packet_pool *pool = packet_pool_create("tap", 64, 2048, 0);
    struct packet_tap *t = tap_open(64, 100, NULL);
    uint32_t n = 0;
    (void)state;
    for (uint32_t i = 0; i < 200; i++) {
        t->tsc = 1000 + i;
        show(t, pool, 60 + i, (uint8_t)i, i % 2);
    }
    assert_int_equal(t->seen, 200);
    assert_int_equal(t->matched, 200);
    for (const struct packet_tap_frame *f; (f = packet_tap_next(t)) != NULL; packet_tap_done(t), n++) {
        assert_int_equal(f->tsc, 1000 + n);
        assert_int_equal(f->length, 60 + n);
        assert_int_equal(f->kept, 60 + n < 100 ? 60 + n : 100);
        assert_int_equal(f->data[0], n);
        assert_int_equal(f->data[f->kept - 1], 0x5a);
        assert_int_equal(f->out, n % 2);
        assert_int_equal(f->device, 3);
    }
    assert_int_equal(n, 63); /* a ring keeps one place free */
    assert_int_equal(t->lost, 200 - 63);
    show(t, pool, 1500, 7, false); /* there is room again */
    assert_int_equal(packet_tap_next(t)->length, 1500);
    packet_tap_done(t);
    assert_null(packet_tap_next(t));
    free(t);
    packet_pool_destroy(pool);
}

static void a_filter_decides_before_the_copy(void **state)
{
    /* ldb [0]; jeq #7; ret #-1; ret #0; and a load behind the end of short frames, which rejects them */
    static const struct bpf_insn seven[] = {
        {BPF_LD | BPF_B | BPF_ABS, 0, 0, 80}, {BPF_LD | BPF_B | BPF_ABS, 0, 0, 0}, {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 7},
        {BPF_RET | BPF_K, 0, 0, UINT32_MAX},  {BPF_RET | BPF_K, 0, 0, 0}};
    struct packet_pool *pool = packet_pool_create("tap", 64, 2048, 0);
    struct packet_tap *t = tap_open(64, 2000, seven);
    (void)state;
    for (uint32_t i = 0; i < 100; i++)
        show(t, pool, i < 50 ? 100 : 60, (uint8_t)(i % 10), false);
    assert_int_equal(t->seen, 100);
    assert_int_equal(t->matched, 5);
    assert_int_equal(t->lost, 0);
    for (unsigned i = 0; i < 5; i++, packet_tap_done(t))
        assert_int_equal(packet_tap_next(t)->data[0], 7);
    assert_null(packet_tap_next(t));
    free(t);
    packet_pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pools_refuse_when_empty_and_count_exactly),
        cmocka_unit_test(data_grows_and_shrinks_at_both_ends),
        cmocka_unit_test(the_last_reference_frees),
        cmocka_unit_test(copies_have_bytes_and_scratch),
        cmocka_unit_test(joined_packets_stay_their_own),
        cmocka_unit_test(a_tap_keeps_what_fits_and_counts_the_rest),
        cmocka_unit_test(a_filter_decides_before_the_copy),
        cmocka_unit_test(kept_packets_leave_three_quarters_of_a_pool),
#ifndef PACKET_MALLOC
        cmocka_unit_test(device_flags_are_translated),
#endif
    };
    return cmocka_run_group_tests(tests, start, stop);
}
