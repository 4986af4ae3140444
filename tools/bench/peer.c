/* The other side of the wire: clients that call the gateway, and the backends that it calls, in one struct of each room.  Nothing here is
 * measured but latency; everything is checked. */
#include "bench.h"

#include <rte_cycles.h>
#include <stdlib.h>

static const uint8_t peer_mac[6] = {2, 0, 0, 0, 0, 1};

static void *zeroed(size_t n)
{
    void *p = aligned_alloc(BASE_CACHE_LINE, base_align(n + 1));
    if (p == NULL)
        abort();
    memset(p, 0, base_align(n + 1));
    return p;
}

/* ---- making it ---- */

static void create_ip(struct peer *p, struct base_arena *a, const struct ip_config *ic, uint64_t now)
{
    const struct options *o = &p->options;
    struct ip_port_config pc = {.mtu = 1500, .addresses = 1, .address = {{o->address, o->bits}}};
    memcpy(pc.mac, peer_mac, 6);
    p->ip = ip_create(a, ic, p->stats, p->pool, now);
    ip_configure(p->ip, 0, &pc, now);
}

static bool create_tcp(struct peer *p, struct base_arena *a, const struct tcp_config *tc, uint64_t now)
{
    p->tcp = tcp_create(a, tc, p->stats, p->pool, now);
    for (uint32_t i = 0; i < p->options.endpoints; i++)
        if (!tcp_listen(p->tcp, &p->options.address, (uint16_t)(p->options.backend_port + i), i))
            return false;
    return true;
}

static void create_calls(struct peer *p)
{
    const struct options *o = &p->options;
    uint32_t places = o->connections * o->streams, ends = 2 * places + 64;
    calls_create(&p->calls, o->rpcs + o->endpoints + 4ull * places + 65536, o->endpoints);
    p->calls.size = o->size;
    p->calls.messages = o->messages;
    p->calls.kind = o->kind;
    p->calls.headers = o->headers;
    p->clients = zeroed(o->connections * sizeof(struct client));
    for (uint32_t i = 0; i < o->connections; i++)
        base_list_init(&p->clients[i].able);
    p->message = zeroed(16384 + 64);
    struct call *all = zeroed(ends * sizeof(struct call));
    for (uint32_t i = 0; i < ends; i++) {
        all[i].next = p->spare;
        p->spare = &all[i];
    }
    p->held = zeroed(places * sizeof(*p->held));
    p->rests = zeroed(places * sizeof(*p->rests));
    p->rest_room = places;
    p->passages = zeroed(PASSAGES * sizeof(*p->passages));
    base_list_init(&p->able);
    base_list_init(&p->pump);
}

static void tcp_fill(const struct options *o, struct tcp_config *tc)
{
    uint32_t low = (uint32_t)o->backend_port + o->endpoints;
    tcp_config_defaults(tc);
    tc->connections = (2 * o->connections + WORKERS_MAX * o->endpoints) * (ages_on(o) ? 4 : 1) + 64 + /* the former, while they end */
                      (o->attack != ATTACK_NONE ? 2 * ATTACKERS_MAX : 0);
    tc->timewait = 16384;
    tc->listeners = o->endpoints;
    tc->syn_backlog = tc->connections;
    tc->mtu = 1500;
    tc->port_low = (uint16_t)(low > 20000 ? low : 20000); /* never a backend's */
    tc->isn_key.k[0] = 0x89abcdef;
}

bool peer_create(struct peer *p, const struct options *o, struct link *link, uint64_t now)
{
    p->options = *o;
    p->link = link;
    struct ip_config ic;
    struct tcp_config tc;
    ip_config_defaults(&ic);
    ic.ports = 1;
    ic.key.k[0] = 0x1234567;
    tcp_fill(o, &tc);
    uint32_t streams = 2 * o->connections * o->streams + 1024 + (o->attack != ATTACK_NONE ? 4 * ATTACKERS_MAX : 0);
    struct http2_limits hl = {tc.connections, streams, 256, 16384};
    struct sessions_config sc = {tc.connections, streams, 16384, 0, 0};
    size_t bytes = stats_footprint(16, 16) + ip_footprint(&ic) + tcp_footprint(&tc) + http2_footprint(&hl) + sessions_footprint(&sc);
    char error[256];
    void *memory = port_arena_open(bytes, error, sizeof(error));
    if (memory == NULL)
        return false;
    struct base_arena a;
    base_arena_init(&a, memory, bytes);
    p->stats = stats_create(&a, 16, 16);
    create_ip(p, &a, &ic, now);
    if (!create_tcp(p, &a, &tc, now))
        return false;
    p->sessions = sessions_create(&a, &sc, http2_create(&a, &hl, p->stats), p->tcp, p->pool, p->stats);
    create_calls(p);
    if (!attack_create(p))
        return false;
    if (ages_on(o))
        ages_create(p, now);
    return true;
}

uint64_t peer_clock(const struct peer *p)
{
    return 1000000000ull + (uint64_t)((__uint128_t)rte_rdtsc() * 1000000000ull / (uint64_t)p->tsc_hz);
}

/* ---- clients' connections ---- */

void client_connect(struct peer *p, struct client *client, uint64_t now)
{
    const struct options *o = &p->options;
    struct http2_config c;
    http2_config_defaults(&c, HTTP2_CLIENT);
    struct base_flow flow = {.local = o->address, .remote = o->gateway, .remote_port = o->listener_port};
    client->session = session_connect(p->sessions, &flow, &c, now);
    client->ready = false;
    client->life = 0;
    p->opened++;
    if (client->session == NULL)
        abort(); /* there are objects for twice as many, and ports */
    client->session->slot = (uint32_t)(client - p->clients);
}

void peer_connect(struct peer *p, uint32_t from, uint32_t to, uint64_t now)
{
    for (uint32_t i = from; i < to; i++)
        client_connect(p, &p->clients[i], now);
}

static bool worn(const struct peer *p, const struct client *client)
{
    return p->options.churn > 0 && client->life >= p->options.churn;
}

static bool may_begin(const struct peer *p, const struct client *client)
{
    return client->ready && client->open < p->limit && !worn(p, client) && session_available(client->session) > 0;
}

void client_able(struct peer *p, struct client *client)
{
    if (base_list_empty(&client->able) && may_begin(p, client))
        base_list_push_back(&p->able, &client->able);
}

void peer_allow(struct peer *p, uint32_t limit, uint64_t until, bool by_the_clock, uint64_t now)
{
    p->limit = limit;
    p->until = until < p->calls.count ? until : p->calls.count;
    p->open_loop_ns = by_the_clock && p->options.rate > 0 ? now : 0;
    p->open_loop_first = p->calls.begun;
    for (uint32_t i = 0; i < p->options.connections; i++)
        client_able(p, &p->clients[i]);
}

/* When the next RPC of an open loop is to begin. */
static uint64_t due(const struct peer *p)
{
    return p->open_loop_ns + (uint64_t)((double)(p->calls.begun - p->open_loop_first) * 1e9 / p->options.rate);
}

/* Places that have rested long enough are free again. */
static void wake(struct peer *p, uint64_t now)
{
    for (; p->rest_count > 0 && p->rests[p->rest_first].until_ns <= now; p->rest_count--) {
        struct client *client = p->rests[p->rest_first].client;
        p->rest_first = (p->rest_first + 1) % p->rest_room;
        client->open--;
        client_able(p, client);
    }
}

static void begin_all(struct peer *p, uint64_t now)
{
    wake(p, now);
    while (!base_list_empty(&p->able) && p->calls.begun < p->until) {
        uint64_t since = p->open_loop_ns > 0 ? due(p) : now;
        if (since > now)
            break;
        struct client *client = base_container(base_list_pop_front(&p->able), struct client, able);
        if (!may_begin(p, client))
            continue;
        p->late += p->recording && now - since > 1000000;
        ends_begin(p, client, p->open_loop_ns > 0 ? since : peer_clock(p));
        client_able(p, client);
        if (p->options.one_per_segment && p->options.streams > 1)
            peer_flush(p, now);
    }
}

/* Connections that have had their share of RPCs are closed and made anew. */
static void renew(struct peer *p, uint64_t now)
{
    for (uint32_t i = 0; p->options.churn > 0 && i < p->options.connections; i++) {
        struct client *client = &p->clients[i];
        if (client->session == NULL || client->active > 0 || !worn(p, client) || p->calls.begun >= p->until)
            continue;
        session_destroy(client->session, true, now);
        p->ready--;
        client_connect(p, client, now);
    }
}

/* ---- the turn ---- */

/* Of a backend that bears whatever a gateway passes on. */
static const struct http2_bounds patient = {.rate = {1 << 30, 1 << 30, 1 << 30, 1 << 30, 1 << 30, 1 << 30, 1 << 30}, .continuations = 32, .fields = BASE_HEADERS_MAX};

static struct session *accept_session(struct peer *p, struct tcp_conn *conn, uint64_t now)
{
    struct http2_config c;
    http2_config_defaults(&c, HTTP2_SERVER);
    c.max_concurrent_streams = 1000;
    if (p->options.attack != ATTACK_NONE)
        c.bounds = &patient;
    struct session *s = session_create(p->sessions, transport_of_tcp(conn), SESSION_DOWN, &c, now);
    if (s == NULL)
        abort();
    s->slot = (uint32_t)tcp_conn_tag(conn);
    p->accepted++;
    if (ages_on(&p->options))
        ages_accepted(p, s, now);
    return s;
}

static void client_settings(struct peer *p, struct client *client)
{
    if (!client->ready) {
        client->ready = true;
        p->ready++;
    }
    client_able(p, client);
}

/* The session may be a client's former one. */
static void client_event(struct peer *p, struct session *s, struct session_stream *st, const struct http2_event *ev, uint64_t now)
{
    struct client *client = &p->clients[s->slot];
    if (ev->type == HTTP2_EVENT_GOAWAY && ages_on(&p->options))
        ages_told_to_go(p, s, ev->last_id, now);
    else
        ends_client_event(p, st, ev, now);
    if (ev->type == HTTP2_EVENT_SETTINGS && client->session == s)
        client_settings(p, client);
}

void peer_read(struct peer *p, struct session *s, uint64_t now)
{
    struct http2_event h;
    struct session_stream *st;
    while (!ages_stalled(p, s) && session_next(s, &h, &st)) {
        if (s->role == SESSION_UP) {
            client_event(p, s, st, &h, now);
            continue;
        }
        ends_backend_event(p, s, st, &h, now);
        if (p->options.one_per_segment && p->options.streams > 1 && h.end_stream)
            peer_flush(p, now);
    }
    if (http2_control_pending(s->h2))
        session_mark(s);
}

static void serve(struct peer *p, const struct tcp_event *ev, uint64_t now)
{
    struct session *s = tcp_conn_user(ev->conn);
    struct attacker *attacker = attack_of(p, s);
    if (attacker != NULL) {
        attack_event(p, attacker, ev->events, now);
        return;
    }
    bool over = ev->events & (TCP_EVENT_CLOSED | TCP_EVENT_FIN);
    if (ev->events & TCP_EVENT_ACCEPTED)
        s = accept_session(p, ev->conn, now);
    if (session_lingers(s)) {
        session_linger(s, over, now);
        return;
    }
    if (over && !ages_on(&p->options))
        calls_wrong(&p->calls, "the gateway closed a connection (%s)", s->role == SESSION_DOWN ? "to a backend" : "a client's");
    if (ev->events & (TCP_EVENT_CONNECTED | TCP_EVENT_WRITABLE))
        session_writable(s);
    peer_read(p, s, now);
    if (over && ages_on(&p->options))
        ages_over(p, s, ev->events & TCP_EVENT_CLOSED, now);
}

static void receive(struct peer *p, uint64_t now)
{
    struct packet *burst[64];
    for (uint32_t n; (n = link_receive(p->link, p->pool, burst, 64)) > 0;)
        for (uint32_t i = 0; i < n; i++) {
            struct ip_result r;
            if (ip_input(p->ip, 0, burst[i], now, &r) == IP_TCP)
                tcp_input(p->tcp, &r.flow, burst[i], now);
        }
}

void peer_flush(struct peer *p, uint64_t now)
{
    struct packet *frames[64];
    struct tcp_out out[64];
    uint32_t k = 0;
    sessions_flush(p->sessions);
    sessions_reclaim(p->sessions, false);
    for (uint32_t n; (n = tcp_output(p->tcp, out, 64, now)) > 0; k = 0) {
        for (uint32_t i = 0; i < n; i++)
            if (ip_output(p->ip, &out[i].flow, out[i].packet, now))
                frames[k++] = out[i].packet;
        link_send(p->link, frames, k);
        for (uint32_t i = 0; i < k; i++)
            packet_free(frames[i]);
    }
    uint16_t port;
    for (struct packet *frame; (frame = ip_output_next(p->ip, &port)) != NULL; packet_free(frame))
        link_send(p->link, &frame, 1);
}

void peer_turn(struct peer *p, uint64_t now)
{
    receive(p, now);
    ip_tick(p->ip, now);
    tcp_tick(p->tcp, now);
    if (ages_on(&p->options))
        sessions_tick(p->sessions, now);
    struct tcp_event ev;
    while (tcp_next_event(p->tcp, &ev))
        serve(p, &ev, now);
    ends_pump(p);
    if (ages_on(&p->options))
        ages_turn(p, now);
    attack_turn(p, now);
    begin_all(p, now);
    renew(p, now);
    peer_flush(p, now);
    for (struct session *s; (s = sessions_broken_next(p->sessions)) != NULL;)
        ages_ended(p, s, now);
    link_flush(p->link);
}
