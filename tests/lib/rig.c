/* The network, the hosts' memory, the gateway's turn.  What clients and backends do is rig_peers.c. */
#include "rig_internal.h"

#include <sys/mman.h>

struct rig_frame {
    struct rig_frame *next, *prev;
    uint64_t at;
    struct rig_host *to;
    struct base_flow flow;
    uint32_t len;
    uint8_t bytes[];
};

void rig_die(const char *what)
{
    fprintf(stderr, "rig: %s\n", what);
    abort();
}

uint32_t rig_random(struct rig *r, uint32_t below)
{
    r->random += 0x9e3779b97f4a7c15ull;
    return below == 0 ? 0 : (uint32_t)(base_mix64(r->random) % below);
}

/* -- network --------------------------------------------------------------------------------- */

static struct rig_host *host_of(struct rig *r, const struct base_addr *a)
{
    for (int i = 0; i < RIG_HOSTS; i++)
        if (r->host[i].tcp != NULL && base_addr_eq(&r->host[i].addr, a))
            return &r->host[i];
    return NULL;
}

static void frame_put(struct rig *r, struct rig_frame *f)
{
    struct rig_frame *after = r->tail;
    while (after != NULL && after->at > f->at)
        after = after->prev;
    f->prev = after;
    f->next = after != NULL ? after->next : r->head;
    *(f->next != NULL ? &f->next->prev : &r->tail) = f;
    *(after != NULL ? &after->next : &r->head) = f;
}

static void carry(struct rig_host *from, const struct base_flow *flow, struct packet *p)
{
    struct rig *r = from->rig;
    struct rig_host *to = host_of(r, &flow->remote);
    bool lost = to == NULL || from->cut || to->cut || (r->loss_ppm > 0 && rig_random(r, 1000000) < r->loss_ppm);
    if (!lost) {
        uint32_t len = packet_len(p);
        struct rig_frame *f = malloc(sizeof(*f) + len);
        if (f == NULL)
            abort();
        *f = (struct rig_frame){.at = r->now + r->config.delay_ns + rig_random(r, (uint32_t)r->config.jitter_ns), .to = to, .len = len};
        f->flow = (struct base_flow){.local = flow->remote, .remote = flow->local, .local_port = flow->remote_port, .remote_port = flow->local_port};
        memcpy(f->bytes, packet_data(p), len);
        frame_put(r, f);
    }
    packet_free(p);
}

static void send_all(struct rig_host *h)
{
    struct tcp_out out[16];
    for (uint32_t n; (n = tcp_output(h->tcp, out, 16, h->rig->now)) > 0;)
        for (uint32_t i = 0; i < n; i++)
            carry(h, &out[i].flow, out[i].packet);
}

static void deliver(struct rig *r)
{
    while (r->head != NULL && r->head->at <= r->now) {
        struct rig_frame *f = r->head;
        r->head = f->next;
        *(r->head != NULL ? &r->head->prev : &r->tail) = NULL;
        struct packet *p = f->to->cut ? NULL : packet_alloc(f->to->rx_pool);
        if (p != NULL) {
            memcpy(packet_append(p, f->len), f->bytes, f->len);
            tcp_input(f->to->tcp, &f->flow, p, r->now);
        }
        free(f);
    }
}

/* -- hosts ------------------------------------------------------------------------------------- */

static void tcp_settings(struct tcp_config *c, uint32_t connections, uint32_t buffers, uint64_t seed)
{
    memset(c, 0, sizeof(*c));
    tcp_config_defaults(c);
    if (buffers != 0)
        c->rcvbuf = c->sndbuf = buffers;
    c->connections = connections;
    c->timewait = 256;
    c->listeners = 16;
    c->syn_backlog = 64;
    c->mtu = 1500;
    c->isn_key.k[0] = base_mix64(seed + 1);
    c->isn_key.k[1] = base_mix64(seed + 2);
}

static uint32_t rig_header_list(const struct rig *r)
{
    return r->config.header_list != 0 ? r->config.header_list : 16384;
}

struct limits {
    uint32_t connections, streams, session_streams, tcp_connections, packets;
};

static void host_make(struct rig *r, uint32_t index, const char *addr, const struct limits *l)
{
    struct rig_host *h = &r->host[index];
    h->rig = r;
    h->index = index;
    if (!base_addr_parse(addr, &h->addr))
        rig_die("address");
    struct tcp_config tc;
    tcp_settings(&tc, l->tcp_connections, r->config.tcp_buffers, r->config.seed + index);
    uint32_t largest = rig_header_list(r), peers = largest > 60000 ? largest : 60000;
    struct http2_limits hl = {l->connections, index == 0 && r->config.http2_streams != 0 ? r->config.http2_streams : 2 * l->streams, 64, index == 0 ? largest : peers};
    struct sessions_config sc = {l->connections, l->session_streams, index == 0 ? largest : peers, r->config.seed, index == 0 ? r->config.high_water : 0,
                                 index == 0 ? r->config.stream_window : 0, index == 0 ? r->config.window_budget : 0};
    size_t n = tcp_footprint(&tc) + http2_footprint(&hl) + sessions_footprint(&sc) + stats_footprint(RIG_SLOTS, 4);
    if (index == 0)
        n += pool_footprint(RIG_SLOTS) + picker_footprint(4, RIG_SLOTS) + proxy_footprint(l->streams, 4, RIG_SLOTS);
    h->memory_size = base_align(n);
    h->memory = mmap(NULL, h->memory_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); /* most of it is never touched */
    if (h->memory == MAP_FAILED)
        abort();
    struct base_arena a;
    base_arena_init(&a, h->memory, h->memory_size);
    h->pool = packet_pool_create("pool", l->packets, PACKET_ROOM, 0);
    h->rx_pool = packet_pool_create("rx", 8192, PACKET_ROOM, 0);
    h->stats = stats_create(&a, RIG_SLOTS, 4);
    h->tcp = tcp_create(&a, &tc, h->stats, h->pool, r->now);
    h->http2 = http2_create(&a, &hl, h->stats);
    h->sessions = sessions_create(&a, &sc, h->http2, h->tcp, h->pool, h->stats);
    if (index == 0) {
        r->picker = picker_create(&a, 4, RIG_SLOTS, r->config.seed);
        r->mailbox = mailbox_create(0, -1);
        struct serve *v = &r->serve;
        v->tcp = h->tcp;
        v->sessions = h->sessions;
        v->mailbox = r->mailbox;
        v->pool = pool_create(&a, RIG_SLOTS, 0, h->sessions, r->picker, r->mailbox, h->stats, r->config.seed, r->now);
        v->proxy = proxy_create(&a, l->streams, 0, h->sessions, v->pool, r->picker, r->mailbox, h->stats, r->now);
    }
}

static void host_end(struct rig_host *h)
{
    packet_pool_destroy(h->pool);
    packet_pool_destroy(h->rx_pool);
    base_unpoison(h->memory, h->memory_size);
    munmap(h->memory, h->memory_size);
    h->tcp = NULL;
}

static void world_make(struct rig *r)
{
    r->world = world_create(4, RIG_SLOTS);
    struct snapshot *s = &r->world->s;
    for (int i = 0; i < 4; i++) {
        struct snapshot_cluster *c = s->cluster[i];
        c->present = true;
        c->connections_per_endpoint = 1;
        c->connect_timeout_ns = RIG_S;
        c->backoff_base_ns = RIG_S;
        c->backoff_max_ns = 10 * RIG_S;
        c->backoff_factor_x1024 = 1638;
        c->no_ready_max = 1024;
        c->no_ready_timeout_ns = 5 * RIG_S;
    }
    r->routes[0] = (struct snapshot_route){.path_match = SNAPSHOT_PREFIX, .cluster = 0, .path = "/echo.Echo/", .path_len = 11};
    r->routes[1] = (struct snapshot_route){.path_match = SNAPSHOT_PREFIX, .cluster = 1, .path = "/two.Two/", .path_len = 9};
    r->routes[2] = (struct snapshot_route){.path_match = SNAPSHOT_PREFIX, .cluster = 2, .path = "/cap.Cap/", .path_len = 9, .timeout_ns = 50 * RIG_MS};
    s->listener_count = 1;
    struct snapshot_listener *l = &s->listener[0];
    *l = (struct snapshot_listener){.present = true, .max_concurrent_streams = 128, .max_header_list_size = rig_header_list(r), .route_count = 3};
    l->bind = (struct base_endpoint){rig_gateway(r)->addr, 50051};
    l->routes = r->routes;
    s->generation = 1;
}

void rig_config_defaults(struct rig_config *c)
{
    *c = (struct rig_config){.clients = 1, .backends = 1, .seed = 1, .delay_ns = 50000};
}

struct rig *rig_create(const struct rig_config *c)
{
    struct rig *r = calloc(1, sizeof(*r));
    if (r == NULL)
        abort();
    r->config = *c;
    r->random = base_mix64(c->seed);
    r->now = 1000 * RIG_S + base_mix64(c->seed) % RIG_S;
    r->loss_ppm = c->loss_ppm;
    r->stride = RIG_MS;
    r->active = calloc(RIG_CALLS, sizeof(struct rig_call *));
    struct limits gw = {c->connections, c->streams, c->session_streams, c->tcp_connections, c->packets};
    gw.connections = gw.connections ? gw.connections : 128;
    gw.streams = gw.streams ? gw.streams : 4096;
    gw.session_streams = gw.session_streams ? gw.session_streams : 2 * gw.streams;
    gw.tcp_connections = gw.tcp_connections ? gw.tcp_connections : 256;
    gw.packets = gw.packets ? gw.packets : 16384;
    host_make(r, 0, "198.18.0.1", &gw);
    static const struct limits peer = {64, 4096, 8192, 128, 16384};
    char text[BASE_ADDR_TEXT];
    for (uint32_t i = 0; i < c->clients; i++) {
        snprintf(text, sizeof(text), "198.18.1.%u", i + 1);
        host_make(r, 1 + i, text, &peer);
        http2_config_defaults(&rig_client(r, i)->h2, HTTP2_CLIENT);
    }
    for (uint32_t i = 0; i < c->backends; i++) {
        snprintf(text, sizeof(text), "198.18.2.%u", i + 1);
        host_make(r, 1 + RIG_CLIENTS + i, text, &peer);
        http2_config_defaults(&rig_backend(r, i)->h2, HTTP2_SERVER);
        rig_backend(r, i)->h2.max_concurrent_streams = 1000;
        rig_listen(rig_backend(r, i), true);
    }
    world_make(r);
    return r;
}

/* -- the gateway -------------------------------------------------------------------------------- */

static void touch_page(struct rig *r, uint32_t slot)
{
    r->world->s.page[slot / SNAPSHOT_PAGE]->version = ++r->world->version;
}

void rig_add(struct rig *r, uint32_t cluster, uint32_t slot, uint32_t backend, uint32_t weight)
{
    world_add(r->world, cluster, slot, weight);
    world_endpoint(r->world, slot)->address = (struct base_endpoint){rig_backend(r, backend)->addr, 50051};
    touch_page(r, slot);
}

void rig_add_again(struct rig *r, uint32_t cluster, uint32_t slot)
{
    struct snapshot_endpoint *e = world_endpoint(r->world, slot), was = *e;
    world_add(r->world, cluster, slot, was.weight);
    e->serial = was.serial;
    e->address = was.address;
    touch_page(r, slot);
}

void rig_remove(struct rig *r, uint32_t cluster, uint32_t slot)
{
    world_remove(r->world, cluster, slot);
    touch_page(r, slot);
}

void rig_touch(struct rig *r)
{
    for (uint32_t i = 0; i < 4; i++)
        world_touch(r->world, i);
    for (uint32_t i = 0; i < r->world->s.page_count; i++)
        r->world->s.page[i]->version = ++r->world->version;
}

static void connect_wanted(struct rig *r)
{
    struct pool_connect want;
    while (pool_connect_next(r->serve.pool, &want)) {
        struct base_flow flow = {.local = rig_gateway(r)->addr, .remote = want.remote.addr, .remote_port = want.remote.port};
        want.http2.max_header_list_size = rig_header_list(r);
        struct session *s = session_connect(r->serve.sessions, &flow, &want.http2, r->now);
        if (s != NULL)
            pool_connecting(r->serve.pool, want.slot, s, r->now);
        else
            pool_unreachable(r->serve.pool, want.slot, r->now);
    }
}

static void read_mail(struct rig *r)
{
    struct mailbox_message m;
    struct mailbox_log log;
    if (r->mailbox_stuck)
        return;
    while (mailbox_report_next(r->mailbox, &m)) {
        if (m.kind == MAILBOX_ENDPOINT_STATE)
            r->state[m.slot] = (uint8_t)m.value;
        if (m.kind == MAILBOX_SLOT_EMPTY) {
            r->empties++;
            r->empty_slot = m.slot;
            r->empty_serial = m.serial;
            r->empty_generation[m.slot] = m.a;
        }
        r->drained += m.kind == MAILBOX_DRAINED;
    }
    while (mailbox_log_next(r->mailbox, &log))
        ;
}

/* What a session keeps is what its streams keep.  Returns how much their windows have grown. */
static uint64_t check_queued(const struct session *s)
{
    uint64_t queued = 0, grown = 0;
    uint32_t streams = 0;
    base_list_each(l, &s->streams)
    {
        const struct session_stream *st = base_container(l, struct session_stream, link);
        queued += st->queued;
        grown += st->h2 != NULL ? st->h2->recv_extra : 0;
        streams++;
    }
    if (queued != s->queued || streams != s->stream_count)
        rig_die("a session's counts are wrong");
    return grown;
}

static void check(struct rig *r)
{
    tcp_check(rig_gateway(r)->tcp);
    picker_check(r->picker);
    uint64_t grown = 0;
    for (int role = 0; role < 2; role++)
        base_list_each(l, &r->serve.sessions->all[role])
        {
            struct session *s = base_container(l, struct session, link);
            http2_conn_check(s->h2);
            if (r->steps % 16 == 0)
                grown += check_queued(s);
        }
    const struct sessions *ss = r->serve.sessions;
    if (ss->window_used > ss->window_budget || (r->steps % 16 == 0 && grown != ss->window_used))
        rig_die("the sum of what windows have grown is wrong");
}

static void gateway_turn(struct rig *r)
{
    struct serve *v = &r->serve;
    v->snapshot = &r->world->s;
    if (v->snapshot->generation != r->generation) {
        picker_apply(r->picker, v->snapshot);
        pool_apply(v->pool, v->snapshot, r->now);
        worker_listeners_apply(v, r->now);
        r->generation = v->snapshot->generation;
    }
    tcp_tick(v->tcp, r->now);
    pool_tick(v->pool, r->now);
    proxy_tick(v->proxy, r->now);
    worker_serve_tick(v, r->now);
    worker_serve_events(v, r->now);
    connect_wanted(r);
    worker_serve_finish(v, false, r->now);
    send_all(rig_gateway(r));
    v->snapshot = NULL;
    read_mail(r);
    check(r);
}

void rig_step(struct rig *r, uint64_t ns)
{
    uint64_t at = r->now + ns;
    if (r->head != NULL && r->head->at < at)
        at = r->head->at > r->now ? r->head->at : r->now;
    r->now = at;
    deliver(r);
    for (int i = 1; i < RIG_HOSTS; i++)
        if (r->host[i].tcp != NULL) {
            rig_peer_turn(&r->host[i]);
            send_all(&r->host[i]);
        }
    gateway_turn(r);
    r->steps++;
}

void rig_run(struct rig *r, uint64_t ns)
{
    for (uint64_t end = r->now + ns; r->now < end;) {
        uint64_t left = end - r->now;
        rig_step(r, left < r->stride ? left : r->stride);
    }
}

bool rig_done(const struct rig *r)
{
    for (uint32_t i = 0; i < r->call_count; i++)
        if (r->call[i]->ends == 0)
            return false;
    return true;
}

bool rig_settle(struct rig *r, uint64_t ns)
{
    for (uint64_t end = r->now + ns; r->now < end;) {
        rig_step(r, r->stride);
        if (rig_done(r))
            return true;
    }
    return false;
}

uint32_t rig_in_use(struct rig *r, const char *kind)
{
    struct stats *s = rig_gateway(r)->stats;
    for (uint32_t i = 0; i < s->object_count; i++)
        if (strcmp(s->objects[i].kind, kind) == 0)
            return *s->objects[i].in_use;
    rig_die(kind);
    return 0;
}

bool rig_idle(struct rig *r, uint32_t connections)
{
    struct rig_host *g = rig_gateway(r);
    for (uint32_t i = 0; i < g->stats->object_count; i++) {
        const struct stats_object *o = &g->stats->objects[i];
        bool per_connection = strstr(o->kind, "hpack") != NULL || strcmp(o->kind, "session") == 0 || strstr(o->kind, "conn") != NULL;
        if (strstr(o->kind, "timewait") != NULL || strstr(o->kind, "time_wait") != NULL)
            continue;
        if (strcmp(o->kind, "http2_blocks") == 0 && *o->in_use <= 1) /* what the last event points to, until the next input */
            continue;
        if (*o->in_use > (per_connection ? (strstr(o->kind, "hpack") != NULL ? 4 * connections : connections) : 0))
            return false;
    }
    return packet_pool_in_use(g->pool) <= connections && packet_pool_in_use(g->rx_pool) == 0;
}

void rig_idle_print(struct rig *r)
{
    struct rig_host *g = rig_gateway(r);
    for (uint32_t i = 0; i < g->stats->object_count; i++)
        fprintf(stderr, "  %s %u\n", g->stats->objects[i].kind, *g->stats->objects[i].in_use);
    fprintf(stderr, "  packets %u, received %u\n", packet_pool_in_use(g->pool), packet_pool_in_use(g->rx_pool));
}

static void session_print(struct session *s)
{
    fprintf(stderr, "  role %d: %u streams, active %u, tcp state %d, room %zu, broken %d\n", s->role, s->stream_count, http2_streams_active(s->h2),
            s->transport.tcp != NULL ? (int)tcp_conn_state(s->transport.tcp) : -1, s->transport.tcp != NULL ? transport_room(&s->transport) : 0, s->broken);
    if (s->transport.tcp != NULL) {
        struct tcp_info t;
        tcp_conn_info(s->transport.tcp, &t);
        fprintf(stderr, "    tcp: in flight %u, unsent %u, unread %u, reassembly %u, window %u / %u, in %lu, out %lu\n", t.in_flight, t.unsent, t.unread, t.reassembly,
                t.snd_wnd, t.rcv_wnd, (unsigned long)t.bytes_in, (unsigned long)t.bytes_out);
    }
    base_list_each(l, &s->streams)
    {
        struct session_stream *st = base_container(l, struct session_stream, link);
        fprintf(stderr, "    stream %u: queued %u, headers %d, trailers %d, end %d, ended %d, released %d, send %d, recv %d + %u\n", st->h2 != NULL ? st->h2->id : 0,
                st->queued, st->headers != NULL, st->trailers != NULL, st->end, st->ended, st->released, st->h2 != NULL ? st->h2->send_window : 0,
                st->h2 != NULL ? st->h2->recv_window : 0, st->h2 != NULL ? st->h2->recv_credit : 0);
    }
}

void rig_print(struct rig *r)
{
    for (int i = 0; i < RIG_HOSTS; i++)
        for (int role = 0; r->host[i].tcp != NULL && role < 2; role++)
            base_list_each(l, &r->host[i].sessions->all[role])
            {
                fprintf(stderr, "host %d%s\n", i, r->host[i].deaf ? " (deaf)" : "");
                session_print(base_container(l, struct session, link));
            }
}

static struct session *session_at(struct rig *r, int role, uint32_t n)
{
    base_list_each(l, &r->serve.sessions->all[role])
    {
        if (n-- == 0)
            return base_container(l, struct session, link);
    }
    return NULL;
}

struct session *rig_up(struct rig *r, uint32_t n)
{
    return session_at(r, SESSION_UP, n);
}

struct session *rig_down(struct rig *r, uint32_t n)
{
    return session_at(r, SESSION_DOWN, n);
}

void rig_heal(struct rig *r)
{
    r->loss_ppm = 0;
    r->mailbox_stuck = false;
    rig_gateway(r)->pool->fail_at = -1;
    rig_gateway(r)->pool->size = 16384;
    for (int i = 0; i < RIG_HOSTS; i++)
        r->host[i].cut = r->host[i].deaf = r->host[i].mute = r->host[i].hangs_up = r->host[i].goaway_at_once = false;
}

static bool has_other_end(struct rig *r, const struct base_flow *f)
{
    struct rig_host *h = host_of(r, &f->remote);
    for (struct tcp_conn *c = NULL; h != NULL && (c = tcp_conn_next(h->tcp, c)) != NULL;) {
        const struct base_flow *g = tcp_conn_flow(c);
        if (g->local_port == f->remote_port && g->remote_port == f->local_port && base_addr_eq(&g->remote, &f->local))
            return true;
    }
    return false;
}

static void sweep(struct rig *r, struct sessions *sessions)
{
    for (int role = 0; role < 2; role++)
        base_list_each(l, &sessions->all[role])
        {
            struct session *s = base_container(l, struct session, link);
            if (!s->broken && !has_other_end(r, transport_flow(&s->transport)))
                session_abandon(s);
        }
}

void rig_sweep(struct rig *r)
{
    sweep(r, r->serve.sessions);
    for (uint32_t i = 0; i < r->config.clients; i++)
        sweep(r, rig_client(r, i)->sessions);
}

bool rig_destroy(struct rig *r)
{
    rig_heal(r);
    r->stride = 5 * RIG_MS;
    for (uint32_t slot = 0; slot < RIG_SLOTS; slot++)
        if (world_endpoint(r->world, slot)->flags & SNAPSHOT_PRESENT)
            rig_remove(r, world_endpoint(r->world, slot)->cluster, slot);
    for (uint32_t i = 0; i < r->config.clients; i++)
        rig_disconnect(rig_client(r, i), false);
    for (uint32_t i = 0; i < r->config.backends; i++) {
        rig_listen(rig_backend(r, i), false);
        rig_kill(rig_backend(r, i), false);
    }
    rig_run(r, 200 * RIG_MS);
    for (int i = 0; i < 300 && !rig_idle(r, 0); i++)
        rig_run(r, 100 * RIG_MS); /* what is retransmitted to nobody gives up */
    bool idle = rig_idle(r, 0);
    if (!idle)
        rig_idle_print(r);
    while (r->head != NULL) {
        struct rig_frame *f = r->head;
        r->head = f->next;
        free(f);
    }
    for (uint32_t i = 0; i < r->call_count; i++)
        free(r->call[i]);
    free(r->active);
    for (int i = 0; i < RIG_HOSTS; i++)
        if (r->host[i].tcp != NULL)
            host_end(&r->host[i]);
    mailbox_destroy(r->mailbox);
    world_free(r->world);
    free(r);
    return idle;
}
