/* Microbenchmarks of rooms, hot, one after the other: the median over many short batches, as most of those nothing interrupts.  Prints, asserts
 * nothing: time on a shared machine proves nothing.
 *
 * bench_rooms [--json] [PREFIX…] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "micro.h"
#include "http2/http2.h"
#include "router/router.h"
#include "tcp/conn.h"

#define ROUNDS 401

static bool json, first = true;
static int wanted_count;
static char **wanted;

static bool wants(const char *id)
{
    for (int i = 0; i < wanted_count; i++)
        if (strncmp(id, wanted[i], strlen(wanted[i])) == 0)
            return true;
    return wanted_count == 0;
}

static void tell(const char *id, double value, const char *unit)
{
    if (!wants(id))
        return;
    if (json)
        printf("%s{\"id\":\"%s\",\"value\":%.6g,\"unit\":\"%.*s\"}", first ? "" : ",", id, value, (int)strcspn(unit, " ,"), unit);
    else
        printf("%-44s %10.4g %s\n", id, value, unit);
    first = false;
}

/* The rounds' times of one thing, in ns each. */
struct clock {
    double sample[ROUNDS], began;
    uint32_t rounds;
};

static void begin(struct clock *c)
{
    c->began = micro_now_ns();
}

static void end(struct clock *c, uint32_t times)
{
    double ns = (micro_now_ns() - c->began) / times;
    if (c->rounds < ROUNDS)
        c->sample[c->rounds++] = ns;
}

static double typical(struct clock *c)
{
    return micro_median(c->sample, c->rounds);
}

static void *arena(struct base_arena *a, size_t n)
{
    char error[128];
    void *memory = port_arena_open(n, error, sizeof(error));
    if (memory == NULL)
        abort();
    base_arena_init(a, memory, n);
    return memory;
}

/* ---- http2 ---- */

#define BATCH 32
#define BLOCK 512

static struct http2_conn *http2_side(enum http2_role role)
{
    static const struct http2_limits limits = {.connections = 2, .streams = 4 * BATCH, .blocks = 2};
    struct base_arena a;
    arena(&a, http2_footprint(&limits) + stats_footprint(1, 1));
    struct stats *stats = stats_create(&a, 1, 1);
    struct http2_config config;
    http2_config_defaults(&config, role);
    config.max_concurrent_streams = 1000;
    return http2_conn_create(http2_create(&a, &limits, stats), &config, NULL);
}

static void feed(struct http2_conn *to, const uint8_t *in, size_t n, struct http2_stream **opened)
{
    for (size_t done = 0; done < n;) {
        struct http2_event ev;
        done += http2_input(to, in + done, n - done, &ev);
        if (ev.type == HTTP2_EVENT_FATAL)
            abort();
        if (ev.opened)
            *opened = ev.stream;
        if (ev.type == HTTP2_EVENT_DATA) {
            http2_conn_credit(to, ev.flow);
            http2_stream_credit(ev.stream, ev.flow);
        }
    }
}

static void control(struct http2_conn *from, struct http2_conn *to)
{
    uint8_t wire[8192];
    struct http2_stream *none;
    feed(to, wire, http2_control_write(from, wire, sizeof(wire)), &none);
}

static void bench_http2(const char *name, enum header_set headers)
{
    static struct clock encode, decode, data_out, data_in;
    static uint8_t block[BATCH][BLOCK];
    encode.rounds = decode.rounds = data_out.rounds = data_in.rounds = 0;
    struct http2_conn *client = http2_side(HTTP2_CLIENT), *server = http2_side(HTTP2_SERVER);
    struct calls calls = {.headers = headers};
    struct base_headers h, response, trailers;
    struct http2_stream *up[BATCH], *down[BATCH];
    size_t len[BATCH];
    char id[64];
    control(client, server), control(server, client), control(client, server);
    calls_response_fields(&response);
    calls_trailer_fields(&trailers);
    for (uint32_t r = 0; r < ROUNDS; r++) {
        uint8_t text[CALL_TEXT];
        double out = 0;
        for (uint32_t i = 0; i < BATCH; i++) {
            calls_request_fields(&calls, r * BATCH + i, text, &h);
            up[i] = http2_stream_open(client, NULL);
            double t = micro_now_ns();
            len[i] = http2_headers_write(up[i], &h, false, block[i], BLOCK);
            out += micro_now_ns() - t;
        }
        encode.sample[encode.rounds++] = out / BATCH;
        begin(&decode);
        for (uint32_t i = 0; i < BATCH; i++)
            feed(server, block[i], len[i], &down[i]);
        end(&decode, BATCH);
        begin(&data_out);
        for (uint32_t i = 0; i < BATCH; i++)
            http2_data_begin(up[i], 105, true, block[i]);
        end(&data_out, BATCH);
        begin(&data_in);
        for (uint32_t i = 0; i < BATCH; i++)
            feed(server, block[i], HTTP2_FRAME_HEADER + 105, NULL);
        end(&data_in, BATCH);
        for (uint32_t i = 0; i < BATCH; i++) {
            struct http2_stream *none;
            feed(client, block[i], http2_headers_write(down[i], &response, false, block[i], BLOCK), &none);
            feed(client, block[i], http2_headers_write(down[i], &trailers, true, block[i], BLOCK), &none);
            http2_stream_release(up[i]);
            http2_stream_release(down[i]);
        }
        control(client, server), control(server, client);
    }
    snprintf(id, sizeof(id), "http2.headers_encode.%s", name);
    tell(id, typical(&encode), "ns a block (one reading of the clock in it)");
    snprintf(id, sizeof(id), "http2.headers_decode.%s", name);
    tell(id, typical(&decode), "ns a block");
    if (headers != HEADERS_STATIC)
        return;
    tell("http2.data_encode", typical(&data_out), "ns a frame header");
    tell("http2.data_decode", typical(&data_in), "ns a frame of 105 octets");
}

/* ---- tcp ---- */

struct stack {
    struct tcp *tcp;
    struct stats *stats;
    struct base_addr addr;
};

static void stack_init(struct stack *s, const char *addr, uint32_t connections, struct packet_pool *pool)
{
    struct tcp_config c;
    struct base_arena a;
    tcp_config_defaults(&c);
    c.connections = connections;
    c.timewait = 16;
    c.listeners = 1;
    c.syn_backlog = connections;
    c.mtu = 1500;
    c.isn_key.k[0] = connections;
    c.port_low = 1024;
    arena(&a, tcp_footprint(&c) + stats_footprint(1, 1));
    s->stats = stats_create(&a, 1, 1);
    s->tcp = tcp_create(&a, &c, s->stats, pool, 1000);
    base_addr_parse(addr, &s->addr);
}

#define SEGMENTS 64

/* What `from` sends arrives, copied, in the other's buffers. */
static uint32_t carry(struct stack *from, struct stack *to, struct packet_pool *pool, uint64_t now, struct clock *out_clock, struct clock *in_clock)
{
    struct tcp_out out[SEGMENTS];
    struct packet *copy[SEGMENTS];
    struct base_flow flow[SEGMENTS];
    begin(out_clock);
    uint32_t n = tcp_output(from->tcp, out, SEGMENTS, now);
    if (n == SEGMENTS)
        end(out_clock, n);
    for (uint32_t i = 0; i < n; i++) {
        copy[i] = packet_alloc(pool);
        memcpy(packet_append(copy[i], packet_len(out[i].packet)), packet_data(out[i].packet), packet_len(out[i].packet));
        flow[i] = (struct base_flow){.local = out[i].flow.remote, .remote = out[i].flow.local, .local_port = out[i].flow.remote_port,
                                     .remote_port = out[i].flow.local_port};
        packet_free(out[i].packet);
    }
    begin(in_clock);
    for (uint32_t i = 0; i < n; i++)
        tcp_input(to->tcp, &flow[i], copy[i], now);
    if (n == SEGMENTS)
        end(in_clock, n);
    return n;
}

/* 64 connections, a segment of 100 octets each way in turn: an ACK rides on each. */
static void bench_tcp(struct packet_pool *pool)
{
    static struct clock out, in, read, write, none;
    struct stack s[2];
    struct tcp_conn *conn[2][SEGMENTS] = {{0}};
    uint8_t data[100] = {0};
    uint64_t now = 1000000000;
    stack_init(&s[0], "198.18.0.1", 4096, pool);
    stack_init(&s[1], "198.18.0.2", 4096, pool);
    tcp_listen(s[1].tcp, &s[1].addr, 50051, 0);
    for (uint32_t i = 0; i < SEGMENTS; i++) {
        struct base_flow f = {.local = s[0].addr, .remote = s[1].addr, .remote_port = 50051};
        conn[0][i] = tcp_connect(s[0].tcp, &f, i, now);
    }
    for (uint32_t k = 0, accepted = 0; k < 4; k++) {
        struct tcp_event ev;
        carry(&s[k & 1], &s[!(k & 1)], pool, now += 1000, &none, &none);
        while (tcp_next_event(s[!(k & 1)].tcp, &ev))
            if (ev.events & TCP_EVENT_ACCEPTED)
                conn[1][accepted++] = ev.conn;
    }
    if (conn[1][SEGMENTS - 1] == NULL)
        abort();
    for (uint32_t r = 0; r < 2 * ROUNDS; r++) {
        struct stack *from = &s[r & 1], *to = &s[!(r & 1)];
        now += 10000;
        begin(&write);
        for (uint32_t i = 0; i < SEGMENTS; i++)
            tcp_write(conn[r & 1][i], data, sizeof(data));
        end(&write, SEGMENTS);
        while (carry(from, to, pool, now, &out, &in) == SEGMENTS)
            ;
        struct tcp_event ev;
        const uint8_t *at;
        begin(&read);
        while (tcp_next_event(to->tcp, &ev))
            for (size_t n; (n = tcp_read_peek(ev.conn, &at)) > 0;)
                tcp_read_consume(ev.conn, n);
        end(&read, SEGMENTS);
    }
    tell("tcp.write", typical(&write), "ns for 100 octets");
    tell("tcp.output", typical(&out), "ns a segment of 100 octets with an ACK");
    tell("tcp.input", typical(&in), "ns a segment of 100 octets with an ACK");
    tell("tcp.read", typical(&read), "ns an event, its octets taken");
}

#define FLOWS 100000

static void bench_lookup(struct packet_pool *pool)
{
    static struct clock hot, all;
    static struct tcp_conn *conn[FLOWS];
    struct stack s;
    stack_init(&s, "198.18.0.1", FLOWS + 64, pool);
    for (uint32_t i = 0; i < FLOWS; i++) {
        struct base_flow f = {.local = s.addr, .remote_port = 50051, .local_port = (uint16_t)(1024 + i % 50000)};
        base_addr_parse(i < 50000 ? "198.18.0.2" : "198.18.0.3", &f.remote);
        conn[i] = tcp_connect(s.tcp, &f, i, 1000);
        if (conn[i] == NULL)
            abort();
    }
    uint64_t found = 0, random = 1;
    for (uint32_t r = 0; r < ROUNDS; r++) {
        struct base_flow f[SEGMENTS];
        uint32_t hash[SEGMENTS];
        for (int far = 0; far < 2; far++) {
            for (uint32_t i = 0; i < SEGMENTS; i++) {
                const struct tcp_conn *c = conn[far ? base_mix64(random++) % FLOWS : i];
                f[i] = c->flow, hash[i] = c->hash;
            }
            for (uint32_t i = 0; far && i < SEGMENTS; i++) /* out of the caches, as after a while */
                __builtin_ia32_clflush(tcp_table_find(s.tcp, &f[i], hash[i]));
            struct clock *clock = far ? &all : &hot;
            begin(clock);
            for (uint32_t i = 0; i < SEGMENTS; i++)
                found += tcp_table_find(s.tcp, &f[i], hash[i]) != NULL;
            end(clock, SEGMENTS);
        }
    }
    if (found != 2ull * ROUNDS * SEGMENTS)
        abort();
    tell("tcp.lookup.hot", typical(&hot), "ns a lookup, 64 of 100,000 flows again and again");
    tell("tcp.lookup.100000", typical(&all), "ns a lookup, random ones of 100,000, their connections out of the caches");
}

/* ---- base, router ---- */

static void bench_wheel(void)
{
    enum { TIMERS = 4096 };
    static struct clock arm, cancel, expire;
    static struct base_wheel w;
    static struct base_timer timer[TIMERS];
    uint64_t now = 1000000000;
    base_wheel_init(&w, now);
    for (uint32_t i = 0; i < TIMERS; i++)
        base_timer_init(&timer[i]);
    for (uint32_t r = 0; r < ROUNDS; r++) {
        begin(&arm);
        for (uint32_t i = 0; i < TIMERS; i++)
            base_wheel_arm(&w, &timer[i], now + 1000000 + (base_mix64(r * TIMERS + i) & 0xfffffff));
        end(&arm, TIMERS);
        if (r & 1) {
            begin(&cancel);
            for (uint32_t i = 0; i < TIMERS; i++)
                base_wheel_cancel(&w, &timer[i]);
            end(&cancel, TIMERS);
            continue;
        }
        begin(&expire);
        for (uint64_t stop = now + 300000000; now < stop; now += 1000000)
            while (base_wheel_expire(&w, now) != NULL)
                ;
        end(&expire, TIMERS);
    }
    tell("wheel.arm", typical(&arm), "ns, within 0.27 s");
    tell("wheel.cancel", typical(&cancel), "ns");
    tell("wheel.expire", typical(&expire), "ns a timer, a turn every ms");
}

#define ROUTE(am, a, pm, p, c)                                                                                                             \
    {                                                                                                                                      \
        .authority_match = SNAPSHOT_##am, .authority = a, .authority_len = sizeof(a) - 1, .path_match = SNAPSHOT_##pm, .path = p,           \
        .path_len = sizeof(p) - 1, .cluster = c                                                                                            \
    }

static void bench_router(void)
{
    static const struct snapshot_route routes[] = {
        ROUTE(ANY, "", PREFIX, "/shop.v1.CartService/", 1), ROUTE(ANY, "", PREFIX, "/shop.v1.OrderService/", 2),
        ROUTE(EXACT, "api.example.com", EXACT, "/shop.v1.StockService/List", 3), ROUTE(ANY, "", ANY, "", 4)};
    static const struct snapshot_listener l = {.route_count = 4, .routes = routes};
    static const char *const paths[] = {"/shop.v1.CartService/Add", "/shop.v1.StockService/List", "/other.Service/Method"};
    static const char *const ids[] = {"router.first", "router.third", "router.last"};
    static const char authority[] = "api.example.com:443";
    for (int k = 0; k < 3; k++) {
        static struct clock clock;
        clock.rounds = 0;
        uint64_t sum = 0;
        struct router_request q = {.authority = (const uint8_t *)authority, .authority_len = sizeof(authority) - 1, .path = (const uint8_t *)paths[k],
                                   .path_len = (uint32_t)strlen(paths[k])};
        for (uint32_t r = 0; r < ROUNDS; r++) {
            begin(&clock);
            for (int i = 0; i < 1000; i++)
                sum += router_match(&l, &q)->cluster;
            end(&clock, 1000);
        }
        tell(ids[k], sum > 0 ? typical(&clock) : 0, "ns a match, of four routes");
    }
}

static void bench_picks(void)
{
    static const uint32_t sizes[] = {3, 1000, 10000};
    for (int i = 0; i < 3; i++) {
        char id[64];
        snprintf(id, sizeof(id), "pick.round_robin.%u", sizes[i]);
        if (wants(id))
            tell(id, micro_pick(SNAPSHOT_ROUND_ROBIN, sizes[i]), "ns a pick");
        snprintf(id, sizeof(id), "pick.weighted_round_robin.%u", sizes[i]);
        if (wants(id))
            tell(id, micro_pick(SNAPSHOT_WEIGHTED_ROUND_ROBIN, sizes[i]), "ns a pick, weights 1 to 10");
    }
    double apply_us, ms = wants("publish.10000") ? micro_publish(10000, &apply_us) : 0;
    if (ms > 0) {
        tell("publish.10000", ms, "ms, one weight of 10,000 changed: membership, build, swap");
        tell("publish.10000.apply", apply_us, "us for a worker's picker to take it up");
    }
}

int main(int argc, char **argv)
{
    static struct lab lab;
    struct arguments a;
    struct port_heap heap;
    char error[256];
    options_defaults(&a);
    json = argc > 1 && strcmp(argv[1], "--json") == 0;
    wanted = argv + 1 + json;
    wanted_count = argc - 1 - json;
    size_t bytes = packet_pool_footprint(16384, PACKET_ROOM);
    if (!lab_eal(&lab, &a.o) || !port_heap_open(&heap, "rooms", bytes, -1, error, sizeof(error)))
        return 1;
    struct packet_pool *pool = packet_pool_create("rooms", 16384, PACKET_ROOM, heap.socket);
    if (json) {
        printf("{\"machine\":");
        report_machine();
        printf(",\"figures\":[");
    }
    bench_http2("static", HEADERS_STATIC);
    bench_http2("go-deadline", HEADERS_DEADLINE);
    bench_http2("go-deadline,traceparent", HEADERS_TRACE);
    bench_tcp(pool);
    bench_lookup(pool);
    bench_wheel();
    bench_router();
    bench_picks();
    printf("%s", json ? "]}\n" : "");
    lab_eal_end();
    return 0;
}
