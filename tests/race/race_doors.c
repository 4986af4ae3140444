/* The doors between the planes, driven from both sides at once for all they are worth: a control thread that publishes versions and reads all
 * that comes up, workers that read every version whole, report, log, leave records, count, obey.  For ThreadSanitizer (tests/run tsan); it holds
 * in any build.  Rings are small against what goes through them, so that full and empty both happen.
 *
 * The rooms are the real ones: publish, membership, snapshot, mailbox, stats, packet's tap. The EAL is not needed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "packet/tap.h"
#include "publish/publish.h"
#include "stats/stats.h"

#define WORKERS   3
#define ENDPOINTS 200
#define FIRST_PORT 10000u
#define VERSIONS  1500
#define SLOTS     1024
#define CHANGES   20000 /* that weights tell apart */
#define RECORDS   30000 /* of each kind, each worker */

struct worker {
    uint32_t index;
    struct stats *stats;
    uint64_t generation, logged, recorded, seen; /* recorded: access records that found room */
    struct mailbox_dump *dump;
    uint32_t serial[SLOTS]; /* whose coming was told, whose going was not */
    uint16_t port[SLOTS];
    bool wrong;
};

static struct config_route route = {.authority = (char *)"*", .path = (char *)"/", .cluster = (char *)"echo"};
static struct config_cluster cluster = {.name = (char *)"echo", .target = (char *)"static:///", .policy = CONFIG_WEIGHTED_ROUND_ROBIN,
                                        .connections_per_endpoint = 1, .backoff_factor = 1.6, .connect_timeout_ns = 5};
static struct config config;
static struct snapshot_door *door;
static struct mailbox *mailboxes[WORKERS];
static struct membership *membership;
static struct publish *publish;
static struct worker workers[WORKERS];
static uint32_t over; /* the workers may end */

/* ---- a worker's side ---- */

static bool tell(struct worker *w, uint16_t kind, uint32_t slot, uint32_t serial, uint32_t value, uint64_t a)
{
    struct mailbox_message m = {.kind = kind, .slot = slot, .serial = serial, .value = value, .a = a};
    return mailbox_report(mailboxes[w->index], &m);
}

/* An endpoint's weight follows from its address and the change that a version shows, the same for all of them: half a write would be seen. */
static uint32_t weight_of(uint16_t port, uint32_t change)
{
    return 1 + (port * 7u + change) % CHANGES;
}

/* Which endpoints are there follows from the number of the change, too. */
static bool in_set(uint32_t i, uint32_t change)
{
    return (i * 2654435761u ^ change / 4) % 5 != 0;
}

static uint32_t change_of(const struct snapshot_endpoint *e)
{
    return (e->weight - 1 + CHANGES * 100 - e->address.port * 7u) % CHANGES;
}

static void read_endpoint(struct worker *w, const struct snapshot *s, uint32_t slot)
{
    const struct snapshot_endpoint *e = snapshot_endpoint(s, slot);
    if (e->serial == 0)
        return;
    w->wrong |= w->serial[slot] == e->serial && w->port[slot] != e->address.port;
    w->port[slot] = e->address.port;
    if ((e->flags & SNAPSHOT_PRESENT) && w->serial[slot] != e->serial && tell(w, MAILBOX_ENDPOINT_STATE, slot, e->serial, MAILBOX_READY, 1)) {
        w->serial[slot] = e->serial;
        stats_add(&w->stats->slots[slot].serial, e->serial - w->stats->slots[slot].serial);
    }
    if (!(e->flags & (SNAPSHOT_PRESENT | SNAPSHOT_DRAIN)) && w->serial[slot] == e->serial &&
        tell(w, MAILBOX_SLOT_EMPTY, slot, e->serial, 0, s->generation))
        w->serial[slot] = 0;
    stats_add(&w->stats->slots[slot].picks, 1);
}

static void read_version(struct worker *w)
{
    const struct snapshot *s = snapshot_get(door);
    if (s == NULL)
        return;
    w->wrong |= s->generation < w->generation || s->listener_count != 1 || s->listener[0].routes[0].cluster != 0;
    for (uint32_t slot = 0; slot < s->page_count * SNAPSHOT_PAGE && slot < SLOTS; slot++)
        read_endpoint(w, s, slot);
    const struct snapshot_cluster *c = s->cluster[0];
    uint32_t newest = 0;
    for (uint32_t i = 0; i < c->slot_count; i++) {
        const struct snapshot_endpoint *e = snapshot_endpoint(s, c->slots[i]);
        newest = change_of(e) > newest ? change_of(e) : newest;
    }
    for (uint32_t i = 0; i < c->slot_count; i++) {
        const struct snapshot_endpoint *e = snapshot_endpoint(s, c->slots[i]);
        w->wrong |= !(e->flags & SNAPSHOT_PRESENT) || e->cluster != 0;
        /* An older one is there because it was READY when it left the set, and of the set nobody was. */
        w->wrong |= change_of(e) != newest && in_set(e->address.port - FIRST_PORT, newest);
    }
    if (s->generation != w->generation && tell(w, MAILBOX_SNAPSHOT_APPLIED, 0, 0, 0, s->generation))
        w->generation = s->generation;
}

static void obey(struct worker *w)
{
    struct mailbox_message m;
    while (mailbox_order_next(mailboxes[w->index], &m)) {
        if (m.kind == MAILBOX_DUMP)
            w->dump = (struct mailbox_dump *)(uintptr_t)m.a;
        else
            tell(w, MAILBOX_ORDER_DONE, 0, 0, m.value, 0); /* full: the order comes again */
    }
    if (w->dump == NULL)
        return;
    for (uint32_t i = 0; i < MAILBOX_DUMP_ENTRIES; i++)
        w->dump->entry[i] = (struct mailbox_connection){.slot = i, .bytes_in = w->dump->cursor + i};
    w->dump->count = MAILBOX_DUMP_ENTRIES;
    struct mailbox_dump *d = w->dump;
    w->dump = NULL;
    mailbox_dump_give(d, false);
}

static void leave_records(struct worker *w)
{
    for (int k = 0; k < 8 && w->logged < RECORDS; k++, w->logged++)
        mailbox_log(mailboxes[w->index], w->logged, 2, "%llu of worker %u", (unsigned long long)w->logged, w->index);
    for (int k = 0; k < 16 && w->seen < RECORDS; k++, w->seen++) {
        struct mailbox_access a = {.duration_ns = w->seen, .bytes_up = ~w->seen};
        if (mailbox_access(mailboxes[w->index], &a))
            w->recorded++;
        else
            stats_drop(w->stats, STATS_DROP_ACCESS_FULL);
    }
    stats_duration_add(&w->stats->clusters[0].duration, w->seen * 1000);
    stats_residence_add(w->stats, w->seen);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    snapshot_worker_online(door, w->index);
    for (uint64_t turn = 0; !__atomic_load_n(&over, __ATOMIC_ACQUIRE) || w->logged < RECORDS; turn++) {
        read_version(w);
        obey(w);
        leave_records(w);
        stats_count(w->stats, STATS_TURNS, 1);
        snapshot_quiescent(door, w->index);
        if (turn % 97 == 96) { /* as when a worker ends and begins: it holds nothing meanwhile */
            snapshot_worker_offline(door, w->index);
            sched_yield();
            snapshot_worker_online(door, w->index);
        }
        sched_yield();
    }
    snapshot_worker_offline(door, w->index);
    return NULL;
}

/* ---- the control plane's side ---- */

struct seen {
    uint64_t log_next, logs, access_next, accesses, turns, drops;
    struct mailbox_dump *dump;
    uint32_t dumps;
};

static void read_logs(struct seen *s, uint32_t w)
{
    struct mailbox_log l;
    while (mailbox_log_next(mailboxes[w], &l)) {
        char want[64];
        snprintf(want, sizeof(want), "%llu of worker %u", (unsigned long long)l.now, w);
        assert_string_equal(l.text, want);
        assert_true(l.now >= s->log_next);
        s->log_next = l.now + 1;
        s->logs++;
    }
}

static void read_access(struct seen *s, uint32_t w)
{
    struct mailbox_access a;
    while (mailbox_access_next(mailboxes[w], &a)) {
        assert_true(a.duration_ns >= s->access_next && a.bytes_up == ~a.duration_ns && a.worker == w);
        s->access_next = a.duration_ns + 1;
        s->accesses++;
    }
}

static void read_stats(struct seen *s, uint32_t w)
{
    uint64_t turns = stats_read(&workers[w].stats->counters[STATS_TURNS]), drops = stats_read(&workers[w].stats->drops[STATS_DROP_ACCESS_FULL]);
    assert_true(turns >= s->turns && drops >= s->drops); /* one writer: nothing goes back */
    s->turns = turns;
    s->drops = drops;
    for (int i = 0; i < STATS_DURATION_BUCKETS; i++)
        (void)stats_read(&workers[w].stats->clusters[0].duration.bucket[i]);
    for (uint32_t i = 0; i < SLOTS; i += 37)
        (void)stats_read(&workers[w].stats->slots[i].picks);
}

/* Lend, and take back. */
static void dump_turn(struct seen *s, uint32_t w)
{
    if (mailbox_dump_lent(s->dump))
        return;
    for (uint32_t i = 0; i < s->dump->count; i++)
        assert_true(s->dump->entry[i].slot == i && s->dump->entry[i].bytes_in == s->dump->cursor + i);
    s->dump->cursor = ++s->dumps;
    s->dump->count = 0;
    mailbox_dump_give(s->dump, true);
    struct mailbox_message m = {.kind = MAILBOX_DUMP, .a = (uintptr_t)s->dump};
    if (!mailbox_order(mailboxes[w], &m)) {
        s->dump->count = 0;
        mailbox_dump_give(s->dump, false);
    }
}

static void change(uint32_t number, uint64_t now)
{
    static struct membership_entry entries[ENDPOINTS];
    unsigned n = 0;
    for (uint32_t i = 0; i < ENDPOINTS; i++) {
        if (!in_set(i, number))
            continue;
        struct membership_entry *e = &entries[n++];
        *e = (struct membership_entry){.renewed = (i + number) % 50 == 0};
        base_endpoint_parse("198.18.0.1:1", &e->address);
        e->address.port = (uint16_t)(FIRST_PORT + i);
        e->weight = weight_of(e->address.port, number);
    }
    membership_set(membership, membership_find(membership, "echo"), entries, n, number, now);
}

static void control_turn(struct seen *seen, uint64_t now)
{
    publish_turn(publish, now);
    membership_tick(membership, now);
    for (uint32_t w = 0; w < WORKERS; w++) {
        read_logs(&seen[w], w);
        read_access(&seen[w], w);
        read_stats(&seen[w], w);
        dump_turn(&seen[w], w);
    }
}

static void set_up(void)
{
    config.listeners[0] = (struct config_listener){.name = (char *)"grpc", .max_concurrent_streams = 128, .routes = &route, .route_count = 1};
    base_endpoint_parse("198.18.0.2:50051", &config.listeners[0].bind);
    config.listener_count = config.port_count = config.cluster_count = 1;
    config.clusters = &cluster;
    config.ports[0] = (struct config_port){.name = (char *)"front", .address_count = 1, .mtu = 1500};
    base_prefix_parse("198.18.0.2/24", &config.ports[0].address[0].addr, &config.ports[0].address[0].bits);
    door = snapshot_door_create(WORKERS);
    membership = membership_create(WORKERS);
    membership_configure(membership, &config, 1);
    for (uint32_t w = 0; w < WORKERS; w++) {
        struct base_arena a;
        size_t n = stats_footprint(SLOTS, 1);
        void *memory = aligned_alloc(BASE_CACHE_LINE, base_align(n));
        memset(memory, 0, n);
        base_arena_init(&a, memory, n);
        workers[w] = (struct worker){.index = w, .stats = stats_create(&a, SLOTS, 1)};
        mailboxes[w] = mailbox_create(w, -1);
    }
    publish = publish_create(door, membership, mailboxes, WORKERS);
    publish_config(publish, &config);
}

static void doors_hold(void **state)
{
    (void)state;
    set_up();
    pthread_t id[WORKERS];
    struct seen seen[WORKERS] = {0};
    for (uint32_t w = 0; w < WORKERS; w++) {
        seen[w].dump = calloc(1, sizeof(*seen[w].dump));
        assert_int_equal(pthread_create(&id[w], NULL, work, &workers[w]), 0);
    }
    uint64_t now = 1000000000;
    for (uint32_t number = 0; number < VERSIONS || publish_generation(publish) < VERSIONS / 4; number++, now += 1000000) {
        change(number, now);
        control_turn(seen, now);
        sched_yield();
    }
    __atomic_store_n(&over, 1, __ATOMIC_RELEASE);
    for (uint32_t w = 0; w < WORKERS; w++)
        pthread_join(id[w], NULL);
    control_turn(seen, now);
    for (uint32_t w = 0; w < WORKERS; w++) {
        assert_false(workers[w].wrong);
        assert_int_equal(seen[w].logs + mailbox_log_dropped(mailboxes[w]), RECORDS);
        assert_int_equal(seen[w].accesses, workers[w].recorded);
        assert_int_equal(seen[w].accesses + stats_read(&workers[w].stats->drops[STATS_DROP_ACCESS_FULL]), RECORDS);
        assert_true(seen[w].dumps > 10);
        print_message("worker %u: %llu turns, %llu log records, %llu access records, %u dumps\n", w, (unsigned long long)seen[w].turns,
                      (unsigned long long)seen[w].logs, (unsigned long long)seen[w].accesses, seen[w].dumps);
    }
    print_message("%llu generations of %u changes\n", (unsigned long long)publish_generation(publish), VERSIONS);
    publish_destroy(publish);
    membership_destroy(membership);
    for (uint32_t w = 0; w < WORKERS; w++) {
        free(workers[w].stats);
        free(seen[w].dump);
        mailbox_destroy(mailboxes[w]);
    }
    snapshot_door_destroy(door);
}

/* ---- a tap that changes hands ---- */

#define FRAMES 100000

static struct packet_tap *tap;

static void *show(void *arg)
{
    uint64_t *lost = arg;
    struct packet_pool *pool = packet_pool_create("race", 4, 2048, -1);
    struct packet *p = packet_alloc(pool);
    uint8_t *bytes = packet_append(p, 64);
    for (uint64_t n = 0; n < FRAMES; n++) {
        uint64_t data[8] = {[0] = n, [7] = ~n};
        memcpy(bytes, data, sizeof(data));
        tap->tsc = n;
        *lost += packet_tap_see(tap, &p, 1, 3, n & 1);
        if (n % 64 == 0)
            sched_yield();
    }
    packet_free(p);
    packet_pool_destroy(pool);
    packet_tap_lend(tap, false);
    return NULL;
}

static void a_tap_loses_or_shows(void **state)
{
    (void)state;
    void *memory = aligned_alloc(BASE_CACHE_LINE, base_align(packet_tap_footprint(256, 64)));
    tap = packet_tap_create(memory, 256, 64, NULL);
    assert_non_null(tap);
    packet_tap_lend(tap, true);
    uint64_t lost = 0, next = 0, shown = 0;
    pthread_t id;
    assert_int_equal(pthread_create(&id, NULL, show, &lost), 0);
    for (bool more = true; more;) {
        more = packet_tap_lent(tap);
        for (const struct packet_tap_frame *f; (f = packet_tap_next(tap)) != NULL; packet_tap_done(tap), shown++) {
            uint64_t data[8];
            memcpy(data, f->data, sizeof(data));
            assert_true(data[0] >= next && data[7] == ~data[0] && f->tsc == data[0] && f->length == 64 && f->kept == 64 && f->out == (data[0] & 1));
            next = data[0] + 1;
        }
        sched_yield();
    }
    pthread_join(id, NULL);
    assert_int_equal(shown + lost, FRAMES);
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(doors_hold), cmocka_unit_test(a_tap_loses_or_shows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
