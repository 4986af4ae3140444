/* A small application on the http2 room, for tests: a server that answers what the request's "x-..." fields ask for, and a client that sends such
 * requests and checks the answers.  Bodies are a function of (seed, offset), so that nothing has to be kept. */
#ifndef TESTS_HTTP2_APP_H
#define TESTS_HTTP2_APP_H

#include "http2/http2.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct worker {
    void *memory;
    struct base_arena arena;
    struct stats *stats;
    struct http2 *h;
};

static inline void worker_make_limits(struct worker *w, const struct http2_limits *l)
{
    size_t n = http2_footprint(l) + stats_footprint(1, 1) + 4096;
    w->memory = aligned_alloc(64, base_align(n));
    assert_non_null(w->memory);
    memset(w->memory, 0, base_align(n));
    base_arena_init(&w->arena, w->memory, n);
    w->stats = stats_create(&w->arena, 1, 1);
    w->h = http2_create(&w->arena, l, w->stats);
}

static inline void worker_make(struct worker *w)
{
    worker_make_limits(w, &(struct http2_limits){.connections = 16, .streams = 1024, .blocks = 16});
}

static inline void worker_free(struct worker *w)
{
    base_unpoison(w->memory, w->arena.size);
    free(w->memory);
}

static inline uint32_t rnd(uint64_t *seed)
{
    *seed += 0x9e3779b97f4a7c15ull;
    return (uint32_t)(base_mix64(*seed) >> 16);
}

static inline uint8_t body_byte(uint32_t seed, uint32_t at)
{
    return (uint8_t)(seed * 31 + at * 7 + (at >> 8));
}

/* Octets on their way to a peer. */
struct pipe {
    uint8_t *bytes;
    size_t len, cap;
};

static inline uint8_t *pipe_room(struct pipe *p, size_t n)
{
    if (p->cap - p->len < n) {
        p->cap = (p->len + n) * 2;
        p->bytes = realloc(p->bytes, p->cap);
        assert_non_null(p->bytes);
    }
    return p->bytes + p->len;
}

static inline void pipe_put(struct pipe *p, const void *bytes, size_t n)
{
    if (n > 0)
        memcpy(pipe_room(p, n), bytes, n);
    p->len += n;
}

static inline void pipe_drop(struct pipe *p, size_t n)
{
    memmove(p->bytes, p->bytes + n, p->len - n);
    p->len -= n;
}

struct rpc {
    struct http2_stream *stream;
    struct rpc *next;
    uint32_t seed;
    uint32_t send_len, sent;     /* our body */
    uint32_t want_len, received; /* the peer's */
    bool client, headers_sent, end_sent, got_headers, got_trailers, ended, was_reset;
    bool trailers; /* the answer has them */
    uint32_t fields; /* extra ones */
};

struct app {
    struct http2_conn *conn;
    bool client;
    struct rpc *rpcs;
    uint32_t finished, failed, goaways, settings, ping_acks;
    struct pipe out;
    uint64_t seed;
    bool fatal;
    uint32_t fatal_code;
};

static inline void app_init(struct app *a, struct worker *w, const struct http2_config *config, uint64_t seed)
{
    *a = (struct app){.client = config->role == HTTP2_CLIENT, .seed = seed};
    a->conn = http2_conn_create(w->h, config, a);
    assert_non_null(a->conn);
    assert_ptr_equal(http2_conn_user(a->conn), a);
}

static inline void app_free(struct app *a)
{
    http2_conn_destroy(a->conn);
    while (a->rpcs != NULL) {
        struct rpc *r = a->rpcs;
        a->rpcs = r->next;
        free(r);
    }
    free(a->out.bytes);
}

static inline void rpc_end(struct app *a, struct rpc *r)
{
    struct rpc **link = &a->rpcs;
    while (*link != r)
        link = &(*link)->next;
    *link = r->next;
    http2_stream_release(r->stream);
    free(r);
}

static inline struct rpc *rpc_begin(struct app *a, struct http2_stream *s)
{
    struct rpc *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    r->stream = s;
    r->client = a->client;
    r->next = a->rpcs;
    a->rpcs = r;
    if (s != NULL)
        s->user = r;
    return r;
}

static inline uint32_t header_number(const struct base_headers *h, const char *name)
{
    for (uint32_t i = 0; i < h->count; i++)
        if (h->field[i].name_len == strlen(name) && memcmp(h->field[i].name, name, strlen(name)) == 0)
            return (uint32_t)strtoul((char[12]){h->field[i].value_len > 0 ? (char)h->field[i].value[0] : '0', h->field[i].value_len > 1 ? (char)h->field[i].value[1] : 0,
                h->field[i].value_len > 2 ? (char)h->field[i].value[2] : 0, h->field[i].value_len > 3 ? (char)h->field[i].value[3] : 0,
                h->field[i].value_len > 4 ? (char)h->field[i].value[4] : 0, h->field[i].value_len > 5 ? (char)h->field[i].value[5] : 0,
                h->field[i].value_len > 6 ? (char)h->field[i].value[6] : 0, h->field[i].value_len > 7 ? (char)h->field[i].value[7] : 0, 0}, NULL, 10);
    fail_msg("no %s", name);
    return 0;
}

static inline void field_add(struct base_headers *h, const char *name, const char *value)
{
    struct base_header *f = &h->field[h->count++];
    *f = (struct base_header){(const uint8_t *)name, (const uint8_t *)value, (uint32_t)strlen(name), (uint32_t)strlen(value), 0, 0};
    f->token = (uint16_t)base_header_token(f->name, f->name_len);
    h->size += f->name_len + f->value_len + 32;
}

/* Text of the fields that a message carries: [n][64]. */
typedef char app_text[64]; /* an array's name reads better than a pointer to one */

static inline void extra_fields(struct base_headers *h, uint32_t n, uint32_t seed, app_text *text)
{
    for (uint32_t i = 0; i < n; i++) {
        snprintf(text[2 * i], 64, "x-extra-%u", (seed + i) % 23);
        snprintf(text[2 * i + 1], 64, "value %u of %u", i, seed % 5 + i * 3);
        field_add(h, text[2 * i], text[2 * i + 1]);
    }
}

static inline void extra_check(const struct base_headers *h, uint32_t n, uint32_t seed)
{
    struct base_headers want = {0};
    static app_text text[128];
    extra_fields(&want, n, seed, text);
    assert_true(h->count >= n);
    for (uint32_t i = 0; i < n; i++) {
        const struct base_header *f = &h->field[h->count - n + i], *g = &want.field[i];
        assert_int_equal(f->name_len, g->name_len);
        assert_memory_equal(f->name, g->name, g->name_len);
        assert_int_equal(f->value_len, g->value_len);
        assert_memory_equal(f->value, g->value, g->value_len);
    }
}

static inline void on_headers(struct app *a, const struct http2_event *ev)
{
    struct rpc *r = ev->stream->user;
    if (ev->opened) {
        assert_null(r);
        r = rpc_begin(a, ev->stream);
        r->got_headers = true;
        r->seed = header_number(ev->headers, "x-seed");
        r->want_len = header_number(ev->headers, "x-length");
        r->send_len = header_number(ev->headers, "x-answer");
        r->trailers = header_number(ev->headers, "x-trailers") != 0;
        r->fields = header_number(ev->headers, "x-fields");
        extra_check(ev->headers, r->fields, r->seed);
        return;
    }
    assert_non_null(r);
    if (a->client && !ev->trailers) {
        assert_true(base_header_value_is(base_headers_find(ev->headers, BASE_HEADER_STATUS), "200"));
        r->got_headers = true;
    } else if (a->client) {
        assert_true(base_header_value_is(base_headers_find(ev->headers, BASE_HEADER_GRPC_STATUS), "0"));
        r->got_trailers = true;
    }
    extra_check(ev->headers, r->fields, r->seed);
}

static inline void on_data(struct app *a, const struct http2_event *ev)
{
    struct rpc *r = ev->stream->user;
    for (uint32_t i = 0; i < ev->len; i++)
        assert_int_equal(ev->data[i], body_byte(r->seed + !a->client, r->received + i));
    r->received += ev->len;
    assert_true(ev->flow >= ev->len);
    http2_conn_credit(a->conn, ev->flow);
    http2_stream_credit(ev->stream, ev->flow);
}

static inline void on_event(struct app *a, const struct http2_event *ev)
{
    struct rpc *r = ev->stream != NULL ? ev->stream->user : NULL;
    switch (ev->type) {
    case HTTP2_EVENT_HEADERS:
        on_headers(a, ev);
        r = ev->stream->user;
        break;
    case HTTP2_EVENT_DATA:
        on_data(a, ev);
        break;
    case HTTP2_EVENT_RESET:
        r->was_reset = true;
        a->failed++;
        rpc_end(a, r);
        return;
    case HTTP2_EVENT_FATAL:
        a->fatal = true;
        a->fatal_code = ev->code;
        return;
    case HTTP2_EVENT_GOAWAY:
        a->goaways++;
        return;
    case HTTP2_EVENT_SETTINGS:
        a->settings++;
        return;
    case HTTP2_EVENT_PING_ACK:
        a->ping_acks++;
        return;
    default:
        return;
    }
    r->ended |= ev->end_stream;
    if (ev->end_stream)
        assert_int_equal(r->received, r->want_len);
}

/* Feeds pieces of random size, each in memory of its own so that a read beyond it is seen. */
static inline void app_feed(struct app *a, const uint8_t *bytes, size_t n, uint32_t most)
{
    while (n > 0) {
        size_t piece = most == 0 ? n : 1 + rnd(&a->seed) % most;
        if (piece > n)
            piece = n;
        uint8_t *copy = malloc(piece);
        assert_non_null(copy);
        memcpy(copy, bytes, piece);
        for (size_t done = 0; done < piece;) {
            struct http2_event ev;
            size_t ate = http2_input(a->conn, copy + done, piece - done, &ev);
            assert_true(ate <= piece - done && (ate > 0 || ev.type != HTTP2_EVENT_NONE));
            done += ate;
            on_event(a, &ev);
            http2_conn_check(a->conn);
        }
        free(copy);
        bytes += piece;
        n -= piece;
    }
}

static inline void rpc_headers(struct app *a, struct rpc *r, bool trailers)
{
    static app_text text[160];
    struct base_headers h = {0};
    if (a->client) {
        snprintf(text[0], 64, "%u", r->seed);
        snprintf(text[1], 64, "%u", r->send_len);
        snprintf(text[2], 64, "%u", r->want_len);
        snprintf(text[3], 64, "%u", r->fields);
        snprintf(text[4], 64, "/service%u/Method", r->seed % 3);
        snprintf(text[5], 64, "%uu", r->seed);
        field_add(&h, ":method", "POST");
        field_add(&h, ":scheme", "http");
        field_add(&h, ":path", text[4]);
        field_add(&h, ":authority", "example.org");
        field_add(&h, "content-type", "application/grpc");
        field_add(&h, "te", "trailers");
        field_add(&h, "grpc-timeout", text[5]);
        field_add(&h, "x-seed", text[0]);
        field_add(&h, "x-length", text[1]);
        field_add(&h, "x-answer", text[2]);
        field_add(&h, "x-fields", text[3]);
        field_add(&h, "x-trailers", r->trailers ? "1" : "0");
    } else if (!trailers) {
        field_add(&h, ":status", "200");
        field_add(&h, "content-type", "application/grpc");
    } else {
        field_add(&h, "grpc-status", "0");
    }
    extra_fields(&h, r->fields, r->seed, text + 8);
    bool end = a->client ? r->send_len == 0 : trailers || (r->send_len == 0 && !r->trailers);
    size_t bound = http2_headers_bound(&h);
    uint8_t *out = pipe_room(&a->out, bound + 1);
    assert_int_equal(http2_headers_write(r->stream, &h, end, out, bound - 1), 0);
    out[bound] = 0x5a;
    size_t n = http2_headers_write(r->stream, &h, end, out, bound);
    assert_true(n > 0 && n <= bound && out[bound] == 0x5a);
    a->out.len += n;
    r->headers_sent = true;
    r->end_sent |= end;
}

static inline void rpc_send(struct app *a, struct rpc *r)
{
    if (!r->headers_sent && (a->client || r->ended))
        rpc_headers(a, r, false);
    while (r->headers_sent && !r->end_sent && r->sent < r->send_len) {
        uint32_t allowed = http2_data_allowed(r->stream), left = r->send_len - r->sent;
        if (allowed == 0)
            return;
        uint32_t n = allowed < left ? allowed : left;
        bool end = n == left && (a->client || !r->trailers);
        uint8_t *out = pipe_room(&a->out, HTTP2_FRAME_HEADER + n);
        http2_data_begin(r->stream, n, end, out);
        for (uint32_t i = 0; i < n; i++)
            out[HTTP2_FRAME_HEADER + i] = body_byte(r->seed + a->client, r->sent + i);
        a->out.len += HTTP2_FRAME_HEADER + n;
        r->sent += n;
        r->end_sent = end;
    }
    if (r->headers_sent && !r->end_sent && r->sent == r->send_len && !a->client && r->trailers)
        rpc_headers(a, r, true);
}

static inline void app_control(struct app *a)
{
    for (size_t n = 1; n > 0;) {
        size_t room = 100 + rnd(&a->seed) % 200;
        n = http2_control_write(a->conn, pipe_room(&a->out, room), room);
        a->out.len += n;
    }
}

/* Everything that can be said now goes to a->out. */
static inline void app_flush(struct app *a)
{
    app_control(a);
    assert_false(http2_control_pending(a->conn));
    for (struct rpc *r = a->rpcs, *next; r != NULL; r = next) {
        next = r->next;
        rpc_send(a, r);
        if (http2_stream_closed(r->stream)) {
            assert_true(r->ended && r->end_sent);
            if (a->client)
                assert_true(r->got_headers && r->got_trailers == r->trailers);
            a->finished++;
            rpc_end(a, r);
        }
    }
    http2_conn_check(a->conn);
}

/* Gives up one of its calls, if there are any. */
static inline void app_cancel(struct app *a)
{
    uint32_t n = 0;
    for (struct rpc *r = a->rpcs; r != NULL; r = r->next)
        n++;
    if (n == 0)
        return;
    struct rpc *r = a->rpcs;
    for (n = rnd(&a->seed) % n; n > 0; n--)
        r = r->next;
    http2_stream_reset(r->stream, HTTP2_CANCEL);
    a->failed++;
    rpc_end(a, r);
    http2_conn_check(a->conn);
}

/* False: the limit is reached. */
static inline bool app_call(struct app *a, uint32_t seed, uint32_t send_len, uint32_t want_len, bool trailers, uint32_t fields)
{
    struct http2_stream *s = http2_stream_open(a->conn, NULL);
    if (s == NULL)
        return false;
    struct rpc *r = rpc_begin(a, s);
    r->seed = seed;
    r->send_len = send_len;
    r->want_len = want_len;
    r->trailers = trailers;
    r->fields = fields;
    return true;
}

#endif
