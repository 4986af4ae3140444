/* The turn of the loop, and the worker's parts. */
#include "internal.h"

#define TIMEWAIT_ENTRIES 65536
#define HEADER_BLOCKS    256

static struct sessions_config sessions_config(const struct worker_config *c)
{
    return (struct sessions_config){c->connections, 2 * c->streams, c->max_header_list_size, c->seed, c->high_water, c->stream_window, 0};
}

static struct http2_limits http2_limits(const struct worker_config *c)
{
    return (struct http2_limits){c->connections, 2 * c->streams, HEADER_BLOCKS, c->max_header_list_size};
}

unsigned worker_terms(const struct worker_config *c, struct worker_term t[WORKER_TERMS])
{
    struct sessions_config sc = sessions_config(c);
    struct http2_limits hl = http2_limits(c);
    unsigned n = 0;
    t[n++] = (struct worker_term){"tcp (limits.connections)", tcp_footprint(&c->tcp)};
    t[n++] = (struct worker_term){"http2 (limits.connections, limits.streams)", http2_footprint(&hl)};
    t[n++] = (struct worker_term){"sessions (limits.connections, limits.streams)", sessions_footprint(&sc)};
    t[n++] = (struct worker_term){"rpcs (limits.streams)", proxy_footprint(c->streams, c->clusters, c->slots)};
    t[n++] = (struct worker_term){"endpoints", pool_footprint(c->slots) + picker_footprint(c->clusters, c->slots)};
    t[n++] = (struct worker_term){"statistics", stats_footprint(c->slots, c->clusters)};
    t[n++] = (struct worker_term){"ip", ip_footprint(&c->ip) - ip_reassembly_footprint(&c->ip)};
    t[n++] = (struct worker_term){"reassembly of fragments", ip_reassembly_footprint(&c->ip)};
    t[n++] = (struct worker_term){"worker", base_align(sizeof(struct worker))};
    return n;
}

size_t worker_footprint(const struct worker_config *c)
{
    struct worker_term terms[WORKER_TERMS];
    size_t sum = 0;
    for (unsigned n = worker_terms(c, terms); n-- > 0;)
        sum += terms[n].bytes;
    return sum;
}

/* Queue i is worker i's.  Where a device has fewer queues, the workers beyond get all their frames by hand-over, and send through
 * the others, in turn. */
static void open_ports(struct worker *w)
{
    const struct worker_config *c = &w->config;
    w->port_count = c->port_count;
    for (uint32_t i = 0; i < c->port_count; i++) {
        port_info(c->port[i], &w->info[i]);
        if (c->index < w->info[i].queues)
            w->queue[i] = port_queue(c->port[i], (uint16_t)c->index, w->stats);
        else
            w->via[i] = c->index % w->info[i].queues;
    }
    if (c->handover != NULL)
        w->handover = port_handover_end(c->handover, c->index, w->stats, c->pool);
}

struct worker *worker_create(struct base_arena *arena, const struct worker_config *c)
{
    struct worker *w = base_arena_take(arena, sizeof(*w));
    w->config = *c;
    w->index = w->serve.worker = c->index;
    w->workers = c->workers;
    w->owners = c->owners;
    w->poll = c->poll;
    w->door = c->door;
    w->serve.mailbox = c->mailbox;
    worker_clock_init(w);
    uint64_t now = worker_now(w);
    struct sessions_config sc = sessions_config(c);
    struct http2_limits hl = http2_limits(c);
    w->stats = stats_create(arena, c->slots, c->clusters);
    w->ip = ip_create(arena, &c->ip, w->stats, c->pool, now);
    w->owners.stats = w->stats;
    struct tcp_config tcp = c->tcp;
    tcp.steer = w->owners.steer;
    w->serve.tcp = tcp_create(arena, &tcp, w->stats, c->pool, now);
    struct http2 *http2 = http2_create(arena, &hl, w->stats);
    w->serve.sessions = sessions_create(arena, &sc, http2, w->serve.tcp, c->pool, w->stats);
    w->picker = picker_create(arena, c->clusters, c->slots, c->seed);
    w->serve.pool = pool_create(arena, c->slots, c->index, w->serve.sessions, w->picker, w->serve.mailbox, w->stats, c->seed, now);
    w->serve.proxy = proxy_create(arena, c->streams, c->index, w->serve.sessions, w->serve.pool, w->picker, w->serve.mailbox, w->stats, now);
    open_ports(w);
    stats_object_add(w->stats, "packet_send", &w->in_use[0], packet_pool_size(c->pool));
    if (c->rx_pool != NULL)
        stats_object_add(w->stats, "packet_receive", &w->in_use[1], packet_pool_size(c->rx_pool));
    return w;
}

struct stats *worker_stats(struct worker *w)
{
    return w->stats;
}

uint64_t worker_turns(const struct worker *w)
{
    return stats_read(&w->stats->counters[STATS_TURNS]);
}

uint32_t worker_sessions(const struct worker *w, unsigned side)
{
    return __atomic_load_n(&w->serve.sessions->count[side], __ATOMIC_RELAXED);
}

static void connect_wanted(struct worker *w, uint64_t now)
{
    struct pool_connect want;
    while (pool_connect_next(w->serve.pool, &want)) {
        struct base_flow flow = {.remote = want.remote.addr, .remote_port = want.remote.port};
        struct session *s = NULL;
        want.http2.max_header_list_size = w->config.max_header_list_size;
        if (ip_source_for(w->ip, &flow.remote, &flow.local, &flow.port))
            s = session_connect(w->serve.sessions, &flow, &want.http2, now);
        if (s != NULL)
            pool_connecting(w->serve.pool, want.slot, s, now);
        else
            pool_unreachable(w->serve.pool, want.slot, now);
    }
}

static void tick(struct worker *w, uint64_t now)
{
    struct ip_result r;
    ip_tick(w->ip, now);
    while (ip_unreachable_next(w->ip, &r))
        tcp_icmp_error(w->serve.tcp, &r.flow, r.seq, r.hard, r.mtu, now);
    tcp_tick(w->serve.tcp, now);
    pool_tick(w->serve.pool, now);
    proxy_tick(w->serve.proxy, now);
    worker_serve_tick(&w->serve, now);
}

static void obey(struct worker *w)
{
    struct mailbox_message m;
    while (mailbox_order_next(w->serve.mailbox, &m)) {
        if (m.kind == MAILBOX_RESET_BACKOFF)
            pool_reset_backoff(w->serve.pool, m.slot, m.serial);
        else if (m.kind == MAILBOX_DUMP)
            worker_dump(w, (struct mailbox_dump *)(uintptr_t)m.a);
        else if (m.kind == MAILBOX_CAPTURE)
            worker_capture(w, (struct packet_tap *)(uintptr_t)m.a);
        else if (m.kind == MAILBOX_STOP)
            w->stop = true;
        struct mailbox_message done = {.kind = MAILBOX_ORDER_DONE, .worker = (uint16_t)w->index, .value = m.value};
        if (!mailbox_report(w->serve.mailbox, &done))
            stats_drop(w->stats, STATS_DROP_MAILBOX_FULL); /* the order comes again */
    }
    if (!w->applied_told && w->generation > 0) {
        struct mailbox_message told = {.kind = MAILBOX_SNAPSHOT_APPLIED, .worker = (uint16_t)w->index, .a = w->generation};
        w->applied_told = mailbox_report(w->serve.mailbox, &told);
    }
}

/* Buffers in a worker's cache are free. With several workers they may be in anybody's. */
static uint32_t count_pool(const struct worker *w, const struct packet_pool *pool)
{
    return w->handover == NULL ? packet_pool_in_use(pool) : packet_pool_outstanding(pool);
}

static void count_buffers(struct worker *w)
{
    __atomic_store_n(&w->in_use[0], count_pool(w, w->config.pool), __ATOMIC_RELAXED);
    if (w->config.rx_pool != NULL)
        __atomic_store_n(&w->in_use[1], count_pool(w, w->config.rx_pool), __ATOMIC_RELAXED);
}

#define COUNT_BUFFERS_TURNS 64

void worker_turn(struct worker *w)
{
    uint64_t began = worker_now(w);
    w->serve.snapshot = snapshot_get(w->door);
    if (w->serve.snapshot != NULL && w->serve.snapshot->generation != w->generation)
        worker_apply(w, began);
    if (w->tap != NULL)
        worker_tap_stamp(w);
    uint32_t in = worker_receive(w, began);
    /* Where the thread stood still between the clock and the frames, those have come later than it says: a deadline that counted from there would pass early. */
    uint64_t now = in > 0 ? worker_now(w) : began;
    tick(w, now);
    worker_serve_events(&w->serve, now);
    connect_wanted(w, now);
    uint32_t freed = worker_serve_finish(&w->serve, in > 0, now);
    if (w->tap != NULL)
        worker_tap_stamp(w);
    uint32_t out = worker_transmit(w, now);
    obey(w);
    if (w->dump != NULL)
        worker_dump_turn(w, now);
    w->serve.snapshot = NULL;
    snapshot_quiescent(w->door, w->index);
    stats_count(w->stats, STATS_TURNS, 1);
    if (worker_turns(w) % COUNT_BUFFERS_TURNS == 0)
        count_buffers(w);
    uint64_t over = worker_now(w);
    if (in > 0 && out > 0)
        stats_residence_add(w->stats, over - began);
    worker_rest(w, in + out + freed > 0, began, over);
}

int worker_run(void *arg)
{
    struct worker *w = arg;
    snapshot_worker_online(w->door, w->index);
    while (!w->stop)
        worker_turn(w);
    snapshot_worker_offline(w->door, w->index);
    __atomic_store_n(&w->ended, true, __ATOMIC_RELEASE);
    return 0;
}

bool worker_ended(const struct worker *w)
{
    return __atomic_load_n(&w->ended, __ATOMIC_ACQUIRE);
}

void worker_finish(struct worker *w)
{
    uint64_t now = worker_now(w);
    for (int role = 0; role < 2; role++)
        base_list_each_safe(l, &w->serve.sessions->all[role])
            worker_session_end(&w->serve, base_container(l, struct session, link), false, now);
    sessions_linger_end(w->serve.sessions, now);
    worker_transmit(w, now);
    ip_destroy(w->ip);
}
