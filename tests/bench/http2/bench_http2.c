/* What HTTP/2 costs an RPC, in ticks of the time-stamp counter: the parts of one proxied unary call, hot, one connection each way.
 *
 * Header sets as the generator of penstock-bench names them: `static`; `go-deadline` (a new grpc-timeout every RPC, indexed by the peer, as
 * grpc-go does); `traceparent` beside it. */
#include "http2/http2.h"
#include "http2/hpack.h"

#include <stdio.h>
#include <stdlib.h>
#include <x86intrin.h>

#define RPCS  200000
#define BATCH 200 /* the best batch counts: the others were interrupted */

struct end {
    struct http2_conn *conn;
    struct http2_stream *stream;
    uint64_t ticks[4];
};
enum { IN_HEADERS, IN_DATA, OUT_HEADERS, OUT_DATA };
static const char *const labels[] = {"headers in", "data in", "headers out", "data out"};

static struct http2 *worker(void)
{
    static const struct http2_limits limits = {.connections = 8, .streams = 64, .blocks = 2};
    struct base_arena arena;
    size_t n = http2_footprint(&limits) + stats_footprint(1, 1);
    void *memory = aligned_alloc(64, base_align(n));
    memset(memory, 0, n);
    base_arena_init(&arena, memory, n);
    struct stats *stats = stats_create(&arena, 1, 1);
    return http2_create(&arena, &limits, stats);
}

static struct http2_conn *conn(struct http2 *h, enum http2_role role)
{
    struct http2_config config;
    http2_config_defaults(&config, role);
    return http2_conn_create(h, &config, NULL);
}

static uint8_t wire[65536];

/* Feeds and counts: the last stream told of is remembered. */
static void feed(struct end *to, size_t n, int what)
{
    for (size_t done = 0; done < n;) {
        struct http2_event ev;
        uint64_t t = __rdtsc();
        done += http2_input(to->conn, wire + done, n - done, &ev);
        to->ticks[what] += __rdtsc() - t;
        if (ev.opened)
            to->stream = ev.stream;
        if (ev.type == HTTP2_EVENT_FATAL)
            abort();
        if (ev.type == HTTP2_EVENT_DATA) {
            http2_conn_credit(to->conn, ev.flow);
            http2_stream_credit(ev.stream, ev.flow);
        }
    }
}

static void control(struct end *from, struct end *to)
{
    size_t n = http2_control_write(from->conn, wire, sizeof(wire));
    struct http2_event ev;
    for (size_t done = 0; done < n;)
        done += http2_input(to->conn, wire + done, n - done, &ev);
}

static void headers(struct end *from, struct end *to, const struct base_headers *h, bool last)
{
    uint64_t t = __rdtsc();
    size_t n = http2_headers_write(from->stream, h, last, wire, sizeof(wire));
    from->ticks[OUT_HEADERS] += __rdtsc() - t;
    feed(to, n, IN_HEADERS);
}

static void data(struct end *from, struct end *to, bool last)
{
    uint64_t t = __rdtsc();
    if (http2_data_allowed(from->stream) < 105)
        abort();
    http2_data_begin(from->stream, 105, last, wire);
    from->ticks[OUT_DATA] += __rdtsc() - t;
    feed(to, HTTP2_FRAME_HEADER + 105, IN_DATA);
}

static void set(struct base_headers *h, enum base_header_token token, const char *value)
{
    base_headers_add(h, token, value, strlen(value));
}

static void request(struct base_headers *h, char *timeout, char *trace)
{
    h->count = h->size = 0;
    set(h, BASE_HEADER_METHOD, "POST");
    set(h, BASE_HEADER_SCHEME, "http");
    set(h, BASE_HEADER_PATH, "/helloworld.Greeter/SayHello");
    set(h, BASE_HEADER_AUTHORITY, "greeter.example.org:50051");
    set(h, BASE_HEADER_CONTENT_TYPE, "application/grpc");
    set(h, BASE_HEADER_USER_AGENT, "grpc-go/1.60.1");
    set(h, BASE_HEADER_TE, "trailers");
    if (timeout != NULL)
        set(h, BASE_HEADER_GRPC_TIMEOUT, timeout);
    if (trace != NULL)
        set(h, BASE_HEADER_TRACEPARENT, trace);
}

static void run(const char *name, bool deadline, bool traced)
{
    struct http2 *hc = worker(), *hs = worker();
    struct end c = {.conn = conn(hc, HTTP2_CLIENT)}, s = {.conn = conn(hs, HTTP2_SERVER)};
    struct base_headers req = {0}, resp = {0}, trailers = {0};
    char timeout[16] = "", trace[64] = "";
    uint64_t best[4] = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
    set(&resp, BASE_HEADER_STATUS, "200");
    set(&resp, BASE_HEADER_CONTENT_TYPE, "application/grpc");
    set(&trailers, BASE_HEADER_GRPC_STATUS, "0");
    set(&trailers, BASE_HEADER_GRPC_MESSAGE, "");
    control(&c, &s);
    control(&s, &c);
    for (uint32_t i = 0; i < RPCS; i++) {
        if (i % BATCH == 0) {
            for (int k = 0; k < 4 && i > 0; k++)
                best[k] = c.ticks[k] + s.ticks[k] < best[k] ? c.ticks[k] + s.ticks[k] : best[k];
            memset(c.ticks, 0, sizeof(c.ticks)), memset(s.ticks, 0, sizeof(s.ticks));
        }
        snprintf(timeout, sizeof(timeout), "%uu", 999000 - i % 1000);
        snprintf(trace, sizeof(trace), "00-%016x%016x-%016x-01", i * 2654435761u, i * 40503u, i * 2246822519u);
        request(&req, deadline ? timeout : NULL, traced ? trace : NULL);
        c.stream = http2_stream_open(c.conn, NULL);
        headers(&c, &s, &req, false);
        data(&c, &s, true);
        headers(&s, &c, &resp, false);
        data(&s, &c, false);
        headers(&s, &c, &trailers, true);
        http2_stream_release(c.stream);
        http2_stream_release(s.stream);
        if (i % 16 == 0)
            control(&c, &s), control(&s, &c);
    }
    double sum = 0;
    printf("%-28s", name);
    for (int k = 0; k < 4; k++) {
        printf(" %s %4.0f ", labels[k], (double)best[k] / BATCH);
        sum += (double)best[k] / BATCH;
    }
    printf(" all %4.0f ticks an RPC, both ends (9 or 10 readings of the clock at some 25 each are in it)\n", sum);
}

/* Blocks as a Go client writes them: everything indexed, a new grpc-timeout inserted every time. */
static void go_blocks(void)
{
    static struct hpack_context x;
    struct base_arena arena;
    size_t n = hpack_footprint(4, HPACK_BLOCK);
    void *memory = aligned_alloc(64, base_align(n));
    memset(memory, 0, n);
    base_arena_init(&arena, memory, n);
    hpack_context_init(&x, &arena, 4, HPACK_BLOCK);
    struct hpack_decoder d;
    hpack_decoder_init(&d, 4096);
    uint8_t block[256];
    uint64_t ticks = 0, fields = 0, best = UINT64_MAX;
    for (uint32_t i = 0; i < RPCS; i++) {
        uint8_t *p = block;
        char timeout[16];
        uint32_t len = (uint32_t)snprintf(timeout, sizeof(timeout), "%uu", 999000 - i % 100000);
        *p++ = 0x83, *p++ = 0x86;
        for (int k = 0; i > 100 && k < 5; k++)
            *p++ = (uint8_t)(0x80 | (62 + 7 * k));
        if (i <= 60 || i % 60 == 0)
            *p++ = 0x40, *p++ = 12, memcpy(p, "grpc-timeout", 12), p += 12;
        else
            *p++ = 0x40 | 62;
        *p++ = (uint8_t)(0x80 | hpack_huffman_length((const uint8_t *)timeout, len));
        p = hpack_huffman_encode(p, (const uint8_t *)timeout, len);
        const uint8_t *at = block;
        uint64_t t = __rdtsc();
        hpack_block_begin(&x, HPACK_BLOCK);
        enum hpack_result r = hpack_decode(&x, &d, &at, p, true);
        ticks += __rdtsc() - t;
        if (i % BATCH == BATCH - 1) {
            best = ticks < best && i > 1000 ? ticks : best;
            ticks = 0;
        }
        fields += x.headers.count;
        if (r != HPACK_OK)
            abort();
    }
    printf("%-28s decode %.0f ticks a block (%.1f fields, one insertion with a Huffman value and one eviction)\n", "go-deadline block",
           (double)best / BATCH, (double)fields / RPCS);
    free(memory);
}

int main(void)
{
    run("static", false, false);
    run("deadline", true, false);
    run("deadline, traceparent", true, true);
    go_blocks();
    return 0;
}
