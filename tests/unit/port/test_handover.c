/* Hand-over between workers: order, counts, full rings, who frees what.  `unit_handover threads` runs only what needs no EAL: threads
 * that hand over for all they are worth, for ThreadSanitizer (-Db_sanitize=thread -Dc_args=-DRTE_USE_C11_MEM_MODEL: rte_ring's
 * default barriers are invisible to it). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_mbuf.h>

#include "port/port.h"

#define WORKERS 3
#define DEPTH   64

struct world {
    struct port_handover *h;
    struct port_handover_end *end[WORKERS];
    struct stats *stats[WORKERS];
    void *memory[WORKERS];
};

static void world_open(struct world *w, struct packet_pool *const pool[WORKERS])
{
    char error[256] = "";
    w->h = port_handover_open(WORKERS, DEPTH, error, sizeof(error));
    assert_non_null(w->h);
    for (uint32_t i = 0; i < WORKERS; i++) {
        struct base_arena a;
        size_t n = stats_footprint(1, 1);
        w->memory[i] = aligned_alloc(BASE_CACHE_LINE, base_align(n));
        memset(w->memory[i], 0, n);
        base_arena_init(&a, w->memory[i], n);
        w->stats[i] = stats_create(&a, 1, 1);
        w->end[i] = port_handover_end(w->h, i, w->stats[i], pool[i]);
    }
}

static void world_close(struct world *w)
{
    port_handover_close(w->h);
    for (uint32_t i = 0; i < WORKERS; i++)
        free(w->memory[i]);
}

static uint64_t count(const struct world *w, uint32_t i, enum stats_counter which)
{
    return stats_read(&w->stats[i]->counters[which]);
}

static uint64_t full(const struct world *w, uint32_t i)
{
    return stats_read(&w->stats[i]->drops[STATS_DROP_HANDOVER_FULL]);
}

/* ---- threads ---- */

#define EACH 200000 /* packets from every worker to every other */
#define LOT  4096   /* of them reused in turn: more than a ring and its buffer hold */

/* What is handed over here is no mbuf: nobody looks into it but the test, through plain loads and stores. */
struct item {
    uint64_t number, check;
};

struct thread {
    struct world *w;
    uint32_t self;
    uint64_t sent[WORKERS];
    uint64_t got[WORKERS]; /* from; read by the senders */
    struct thread *all;
    struct item *items[WORKERS];
    bool wrong;
};

static void hand_some(struct thread *t, uint32_t to)
{
    for (uint32_t k = 0; k < 40 && t->sent[to] < EACH; k++) {
        uint64_t there = __atomic_load_n(&t->all[to].got[t->self], __ATOMIC_RELAXED);
        if (t->sent[to] - there >= DEPTH) /* it would be dropped, and so freed */
            return;
        struct item *i = &t->items[to][t->sent[to] % LOT];
        i->number = t->sent[to];
        i->check = t->sent[to] * 0x9e3779b97f4a7c15ull + t->self;
        port_handover_frame(t->w->end[t->self], to, (struct packet *)i, (uint16_t)t->self);
        t->sent[to]++;
    }
}

static void take_some(struct thread *t, uint32_t from)
{
    struct port_handover_item items[PORT_BURST];
    uint32_t n = port_handover_take(t->w->end[t->self], from, items, 1 + (uint32_t)(t->got[from] % PORT_BURST));
    for (uint32_t k = 0; k < n; k++) {
        const struct item *i = (const struct item *)items[k].packet;
        uint64_t want = t->got[from] + k;
        t->wrong |= i->number != want || i->check != want * 0x9e3779b97f4a7c15ull + from || items[k].port != from ||
                    items[k].kind != PORT_HANDOVER_FRAME;
    }
    __atomic_store_n(&t->got[from], t->got[from] + n, __ATOMIC_RELAXED);
}

static void *work(void *arg)
{
    struct thread *t = arg;
    for (bool busy = true; busy && !t->wrong;) {
        busy = false;
        for (uint32_t o = 0; o < WORKERS; o++) {
            if (o == t->self)
                continue;
            hand_some(t, o);
            take_some(t, o);
            busy |= t->sent[o] < EACH || t->got[o] < EACH;
        }
        port_handover_flush(t->w->end[t->self]);
        sched_yield();
    }
    return NULL;
}

static void everything_comes_once_and_in_order(void **state)
{
    (void)state;
    struct world w;
    struct packet_pool *const none[WORKERS] = {NULL};
    world_open(&w, none);
    struct thread *t = calloc(WORKERS, sizeof(*t));
    pthread_t id[WORKERS];
    for (uint32_t i = 0; i < WORKERS; i++) {
        t[i] = (struct thread){.w = &w, .self = i, .all = t};
        for (uint32_t o = 0; o < WORKERS; o++)
            t[i].items[o] = calloc(LOT, sizeof(struct item));
    }
    for (uint32_t i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&id[i], NULL, work, &t[i]), 0);
    for (uint32_t i = 0; i < WORKERS; i++)
        pthread_join(id[i], NULL);
    for (uint32_t i = 0; i < WORKERS; i++) {
        assert_false(t[i].wrong);
        assert_int_equal(full(&w, i), 0);
        assert_int_equal(count(&w, i, STATS_HANDOVERS), (WORKERS - 1) * EACH);
        for (uint32_t o = 0; o < WORKERS; o++)
            free(t[i].items[o]);
    }
    free(t);
    world_close(&w);
}

/* ---- buffers ---- */

static struct packet_pool *pools[WORKERS];

static int start_eal(void **state)
{
    (void)state;
    char prefix[40];
    snprintf(prefix, sizeof(prefix), "penstock-unit-handover-%d", (int)getpid());
    char *args[] = {"test", "--no-huge", "-m", "64", "--no-pci", "-l", "0", "--log-level", "error", "--file-prefix", prefix, NULL};
    if (rte_eal_init(11, args) < 0)
        return -1;
    for (uint32_t i = 0; i < WORKERS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "handover%u", i);
        pools[i] = packet_pool_create(name, 1024, PACKET_ROOM, -1);
    }
    return 0;
}

static int stop_eal(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < WORKERS; i++)
        packet_pool_destroy(pools[i]);
    return rte_eal_cleanup();
}

static void nothing_outstanding(void)
{
    for (uint32_t i = 0; i < WORKERS; i++)
        assert_int_equal(packet_pool_outstanding(pools[i]), 0);
}

static struct packet *packet_of(uint32_t worker, uint8_t byte, uint32_t n)
{
    struct packet *p = packet_alloc(pools[worker]);
    assert_non_null(p);
    memset(packet_append(p, n), byte, n);
    return p;
}

/* A reader that stands still binds a ring's depth, no more; the rest is dropped, counted and freed; then it recovers. */
static void a_full_ring_drops_and_counts(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, pools);
    for (int k = 0; k < 500; k++) {
        port_handover_frame(w.end[0], 1, packet_of(0, 1, 60), 0);
        if (k % 7 == 0)
            port_handover_flush(w.end[0]);
    }
    port_handover_flush(w.end[0]);
    assert_int_equal(count(&w, 0, STATS_HANDOVERS), DEPTH);
    assert_int_equal(full(&w, 0), 500 - DEPTH);
    assert_int_equal(packet_pool_outstanding(pools[0]), DEPTH);
    port_handover_frame(w.end[0], 2, packet_of(0, 2, 60), 3); /* another reader is not concerned */
    port_handover_flush(w.end[0]);
    struct port_handover_item item[DEPTH];
    assert_int_equal(port_handover_take(w.end[2], 0, item, DEPTH), 1);
    assert_int_equal(item[0].port, 3);
    packet_free(item[0].packet);
    assert_int_equal(port_handover_take(w.end[1], 0, item, DEPTH), DEPTH);
    for (uint32_t k = 0; k < DEPTH; k++)
        packet_free(item[k].packet);
    nothing_outstanding();
    port_handover_frame(w.end[0], 1, packet_of(0, 1, 60), 0);
    port_handover_flush(w.end[0]);
    assert_int_equal(port_handover_take(w.end[1], 0, item, DEPTH), 1);
    packet_free(item[0].packet);
    world_close(&w);
    nothing_outstanding();
}

/* A segment that the retransmission queue holds goes as a copy, with what the device shall do to it; else as it is. */
static void what_is_shared_is_sent_as_a_copy(void **state)
{
    (void)state;
    struct world w;
    struct port_handover_item item;
    world_open(&w, pools);
    struct packet *p = packet_of(1, 7, 200);
    packet_ref(p);
    packet_tx_offload(p, PACKET_TX_TCP_CSUM, 14, 20, 32);
    port_handover_send(w.end[1], 0, p, 2);
    port_handover_flush(w.end[1]);
    assert_false(packet_shared(p)); /* ours alone again */
    memset(packet_data(p), 9, 200); /* and may be rewritten */
    assert_int_equal(port_handover_take(w.end[0], 1, &item, 1), 1);
    assert_int_equal(item.kind, PORT_HANDOVER_SEND);
    assert_true(item.packet != p);
    assert_int_equal(packet_len(item.packet), 200);
    for (uint32_t i = 0; i < 200; i++)
        assert_int_equal(packet_data(item.packet)[i], 7);
    assert_true(packet_mbuf(item.packet)->ol_flags == packet_mbuf(p)->ol_flags && packet_mbuf(p)->ol_flags != 0);
    assert_true(packet_mbuf(item.packet)->tx_offload == packet_mbuf(p)->tx_offload);
    packet_free(item.packet);
    port_handover_send(w.end[1], 0, p, 2);
    port_handover_flush(w.end[1]);
    assert_int_equal(port_handover_take(w.end[0], 1, &item, 1), 1);
    assert_ptr_equal(item.packet, p);
    packet_free(p);
    assert_int_equal(count(&w, 1, STATS_HANDOVERS_SENT), 2);
    assert_int_equal(count(&w, 1, STATS_HANDOVERS), 0);
    world_close(&w);
    nothing_outstanding();
}

static void news_reach_all_others(void **state)
{
    (void)state;
    struct world w;
    struct port_handover_item item;
    world_open(&w, pools);
    struct packet *p = packet_of(1, 5, 60);
    packet_mbuf(p)->ol_flags = RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
    packet_mbuf(p)->vlan_tci = 42;
    port_handover_news(w.end[1], p, 1);
    port_handover_flush(w.end[1]);
    for (uint32_t to = 0; to < WORKERS; to += 2) {
        assert_int_equal(port_handover_take(w.end[to], 1, &item, 1), 1);
        assert_int_equal(item.kind, PORT_HANDOVER_NEWS);
        assert_true(item.packet != p && packet_len(item.packet) == 60 && packet_data(item.packet)[59] == 5);
        assert_int_equal(packet_rx_flags(item.packet), PACKET_RX_VLAN);
        assert_int_equal(packet_vlan(item.packet), 42);
        packet_free(item.packet);
    }
    assert_int_equal(count(&w, 1, STATS_HANDOVERS), 0);
    packet_free(p);
    /* Without a buffer for a copy: counted, and no harm. */
    struct packet *all[1100];
    uint32_t n = 0;
    while (n < 1100 && (all[n] = packet_alloc(pools[1])) != NULL)
        n++;
    port_handover_news(w.end[1], all[0], 1);
    port_handover_flush(w.end[1]);
    assert_int_equal(stats_read(&w.stats[1]->drops[STATS_DROP_PORT_NO_BUFFER]), WORKERS - 1);
    assert_int_equal(port_handover_take(w.end[0], 1, &item, 1), 0);
    while (n > 0)
        packet_free(all[--n]);
    world_close(&w);
    nothing_outstanding();
}

/* What lies in buffers and rings when the workers end goes back to its pool. */
static void closing_frees_what_is_left(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, pools);
    for (uint32_t from = 0; from < WORKERS; from++)
        for (uint32_t k = 0; k < 40; k++)
            port_handover_frame(w.end[from], (from + 1) % WORKERS, packet_of(from, 1, 60), 0);
    world_close(&w);
    nothing_outstanding();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest threads[] = {cmocka_unit_test(everything_comes_once_and_in_order)};
    const struct CMUnitTest buffers[] = {
        cmocka_unit_test(a_full_ring_drops_and_counts),
        cmocka_unit_test(what_is_shared_is_sent_as_a_copy),
        cmocka_unit_test(news_reach_all_others),
        cmocka_unit_test(closing_frees_what_is_left),
    };
    int failed = cmocka_run_group_tests_name("threads", threads, NULL, NULL);
    if (argc < 2 || strcmp(argv[1], "threads") != 0)
        failed += cmocka_run_group_tests_name("buffers", buffers, start_eal, stop_eal);
    return failed;
}
