/* A whole connection, either role: the peer's octets, raw or as frames with a right length, between calls that a user may make.
 * http2_conn_check() after every one of them. */
#include "http2/http2.h"

#include <stdio.h>
#include <stdlib.h>

#define STREAMS 64

static uint8_t *memory;

struct run {
    struct http2 *h;
    struct http2_conn *c;
    struct http2_stream *stream[STREAMS]; /* those that we were told of and have not released */
    uint32_t chosen;
    const uint8_t *data;
    size_t size;
    bool fatal;
    uint64_t in_flow, credited;
    const struct base_headers *held; /* a list that came again, and what it was */
    struct base_headers was;
    uint8_t octets[2048];
};

static void must(bool what)
{
    if (!what)
        abort();
}

static uint32_t octet(struct run *r)
{
    if (r->size == 0)
        return 0;
    r->size--;
    return *r->data++;
}

static void remember(struct run *r, struct http2_stream *s)
{
    for (int i = 0; i < STREAMS; i++)
        if (r->stream[i] == NULL) {
            r->stream[i] = s;
            return;
        }
    http2_stream_release(s);
}

static void forget(struct run *r, struct http2_stream *s)
{
    for (int i = 0; i < STREAMS; i++)
        if (r->stream[i] == s)
            r->stream[i] = NULL;
    http2_stream_release(s);
}

static bool known(const struct run *r, const struct http2_stream *s)
{
    for (int i = 0; i < STREAMS; i++)
        if (r->stream[i] == s)
            return true;
    return false;
}

/* What is held stays as it was, whatever comes. */
static void check_held(const struct run *r)
{
    must(r->held->id == r->was.id && r->held->count == r->was.count && r->held->size == r->was.size);
    for (uint32_t i = 0; i < r->was.count; i++) {
        const struct base_header *f = &r->held->field[i], *g = &r->was.field[i];
        must(f->value_len == g->value_len && memcmp(f->value, g->value, f->value_len) == 0);
        must(f->name_len == g->name_len && memcmp(f->name, g->name, f->name_len) == 0);
    }
}

static void let_go(struct run *r)
{
    if (r->held == NULL)
        return;
    check_held(r);
    http2_list_release(r->held);
    r->held = NULL;
}

static void hold(struct run *r, const struct base_headers *h)
{
    uint8_t *at = r->octets;
    let_go(r);
    http2_list_hold(h);
    r->held = h;
    r->was = *h;
    for (uint32_t i = 0; i < h->count; i++) {
        struct base_header *f = &r->was.field[i];
        must(f->name_len + f->value_len <= (size_t)(r->octets + sizeof(r->octets) - at));
        f->value = memcpy(at, f->value, f->value_len);
        f->name = memcpy(at + f->value_len, f->name, f->name_len);
        at += f->value_len + f->name_len;
    }
}

static void event(struct run *r, const struct http2_event *ev)
{
    volatile uint8_t sum = 0;
    must(!r->fatal || ev->type == HTTP2_EVENT_NONE);
    if (ev->stream != NULL && !ev->opened)
        must(known(r, ev->stream));
    for (uint32_t i = 0; i < ev->len; i++)
        sum = (uint8_t)(sum + ev->data[i]);
    for (uint32_t i = 0; ev->headers != NULL && i < ev->headers->count; i++) {
        const struct base_header *f = &ev->headers->field[i];
        must(f->name_len > 0 && f->token == base_header_token(f->name, f->name_len));
        for (uint32_t k = 0; k < f->value_len; k++)
            must(f->value[k] != '\n' && f->value[k] != '\r' && f->value[k] != 0);
    }
    if (ev->type == HTTP2_EVENT_HEADERS)
        must(ev->headers != NULL && (!ev->trailers || ev->end_stream));
    if (ev->headers != NULL && ev->headers->id != 0 && (r->held == NULL || octet(r) & 1))
        hold(r, ev->headers);
    if (r->held != NULL)
        check_held(r);
    if (ev->opened)
        remember(r, ev->stream);
    if (ev->type == HTTP2_EVENT_RESET)
        must(ev->stream->reset && http2_stream_closed(ev->stream));
    if (ev->type == HTTP2_EVENT_RESET && ev->code % 2 == 0)
        forget(r, ev->stream);
    if (ev->type == HTTP2_EVENT_DATA)
        must(ev->flow >= ev->len);
    if (ev->type == HTTP2_EVENT_FATAL)
        r->fatal = true;
}

static void feed(struct run *r, const uint8_t *bytes, size_t n)
{
    uint8_t *copy = malloc(n > 0 ? n : 1);
    memcpy(copy, bytes, n);
    for (size_t done = 0; done < n;) {
        struct http2_event ev;
        size_t ate = http2_input(r->c, copy + done, n - done, &ev);
        must(ate <= n - done && (ate > 0 || ev.type != HTTP2_EVENT_NONE));
        done += ate;
        http2_conn_check(r->c);
        event(r, &ev);
        http2_conn_check(r->c);
    }
    free(copy);
}

static void feed_raw(struct run *r)
{
    size_t n = octet(r);
    n = n < r->size ? n : r->size;
    feed(r, r->data, n);
    r->data += n;
    r->size -= n;
}

static void feed_frame(struct run *r)
{
    uint8_t frame[9 + 512] = {0};
    size_t n = octet(r);
    frame[3] = (uint8_t)(octet(r) % 11);
    frame[4] = (uint8_t)octet(r);
    frame[8] = (uint8_t)octet(r);
    n = n < r->size ? n : r->size;
    frame[2] = (uint8_t)n;
    memcpy(frame + 9, r->data, n);
    r->data += n;
    r->size -= n;
    size_t cut = octet(r) % (n + 10);
    feed(r, frame, cut);
    feed(r, frame + cut, n + 9 - cut);
}

static void feed_data(struct run *r)
{
    static uint8_t frame[9 + 16384];
    size_t n = octet(r) * 64u;
    frame[1] = (uint8_t)(n >> 8), frame[2] = (uint8_t)n, frame[4] = (uint8_t)octet(r) & 9, frame[8] = (uint8_t)octet(r);
    feed(r, frame, n + 9);
}

static void feed_request(struct run *r)
{
    uint8_t request[] = {0, 0, 3, 1, 4, 0, 0, 0, 0, 0x82, 0x86, 0x84}, answer[] = {0, 0, 1, 1, 4, 0, 0, 0, 0, 0x88};
    uint32_t id = octet(r), end = octet(r) & 1;
    request[4] |= (uint8_t)end, answer[4] |= (uint8_t)end;
    request[8] = answer[8] = (uint8_t)id;
    if (octet(r) & 1)
        feed(r, request, sizeof(request));
    else
        feed(r, answer, sizeof(answer));
}

/* Blocks of indices, and of fields that are indexed: what is known of the first changes with the second. */
static void feed_indices(struct run *r)
{
    uint8_t frame[9 + 3 + 5 * 24] = {0, 0, 0, 1, 4, 0, 0, 0, 0, 0x82, 0x86, 0x84};
    size_t n = 12;
    frame[4] |= (uint8_t)(octet(r) & 1);
    frame[8] = (uint8_t)octet(r);
    for (uint32_t k = octet(r) % 24; k > 0; k--) {
        uint32_t what = octet(r);
        if (what >= 32) {
            frame[n++] = (uint8_t)(what | 128);
            continue;
        }
        const uint8_t field[] = {64, 1, 'x', 1, (uint8_t)('a' + what)};
        memcpy(frame + n, field, sizeof(field));
        n += sizeof(field);
    }
    frame[2] = (uint8_t)(n - 9);
    feed(r, frame, n);
}

static struct http2_stream *some(struct run *r)
{
    return r->stream[octet(r) % STREAMS];
}

static void write_headers(struct run *r)
{
    static uint8_t out[4096];
    struct http2_stream *s = some(r);
    struct base_headers h = {0};
    char value[16];
    if (s == NULL)
        return;
    if (r->held != NULL && octet(r) & 1) {
        must(http2_headers_write(s, r->held, octet(r) & 1, out, http2_headers_bound(r->held)) <= http2_headers_bound(r->held));
        return;
    }
    snprintf(value, sizeof(value), "%u", octet(r));
    base_headers_add(&h, BASE_HEADER_STATUS, octet(r) & 1 ? "200" : "100", 3);
    base_headers_add(&h, BASE_HEADER_USER_AGENT, value, strlen(value));
    base_headers_add(&h, BASE_HEADER_GRPC_TIMEOUT, value, strlen(value));
    size_t n = http2_headers_write(s, &h, octet(r) & 1, out, http2_headers_bound(&h));
    must(n <= http2_headers_bound(&h));
}

static void write_data(struct run *r)
{
    uint8_t out[HTTP2_FRAME_HEADER];
    struct http2_stream *s = some(r);
    bool end = octet(r) & 1;
    if (s == NULL)
        return;
    uint32_t n = http2_data_allowed(s), want = octet(r) * 100;
    if (n > want)
        n = want;
    if (n > 0)
        http2_data_begin(s, n, end, out);
}

static void act(struct run *r)
{
    static uint8_t out[512];
    struct http2_stream *s;
    switch (octet(r) % 22) {
    case 0: case 1: case 2: feed_raw(r); break;
    case 3: case 4: case 5: case 6: feed_frame(r); break;
    case 7: feed_request(r); break;
    case 8: feed_data(r); break;
    case 9: write_headers(r); break;
    case 10: write_data(r); break;
    case 11: if ((s = some(r)) != NULL) http2_stream_reset(s, (enum http2_error)(octet(r) % 14)); break;
    case 12: if ((s = some(r)) != NULL) forget(r, s); break;
    case 13: http2_control_write(r->c, out, octet(r)); break;
    case 14: http2_conn_credit(r->c, octet(r) * 256); break;
    case 15: if ((s = some(r)) != NULL) http2_stream_credit(s, octet(r) * 256); break;
    case 16: http2_goaway(r->c, octet(r) & 1 ? 0x7fffffff : http2_last_id(r->c), HTTP2_NO_ERROR, "bye"); break;
    case 17: http2_ping(r->c, octet(r)); break;
    case 18: http2_max_streams_set(r->c, octet(r)); break;
    case 19: case 20: feed_indices(r); break;
    default: if ((s = http2_stream_open(r->c, NULL)) != NULL) remember(r, s);
    }
    http2_conn_check(r->c);
}

static void begin(struct run *r, const struct http2_limits *l, uint32_t how)
{
    struct base_arena arena;
    size_t n = http2_footprint(l) + stats_footprint(1, 1);
    if (memory == NULL)
        memory = aligned_alloc(64, base_align(n));
    base_unpoison(memory, n);
    memset(memory, 0, n);
    base_arena_init(&arena, memory, n);
    struct stats *stats = stats_create(&arena, 1, 1);
    r->h = http2_create(&arena, l, stats);
    struct http2_config config;
    http2_config_defaults(&config, how & 1 ? HTTP2_CLIENT : HTTP2_SERVER);
    config.max_concurrent_streams = 1 + (how >> 5);
    if (how & 4)
        config.initial_window = 1000, config.header_table_size = 100, config.max_header_list_size = 300;
    r->c = http2_conn_create(r->h, &config, r);
    if (!(how & 2))
        return;
    static const uint8_t settings[] = {0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0};
    if (!(how & 1))
        feed(r, (const uint8_t *)"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    uint8_t out[512];
    http2_control_write(r->c, out, sizeof(out));
    feed(r, settings, sizeof(settings));
    http2_control_write(r->c, out, sizeof(out));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct http2_limits limits = {.connections = 2, .streams = 12, .blocks = 1};
    struct run r = {.data = data, .size = size};
    begin(&r, &limits, octet(&r));
    while (r.size > 0)
        act(&r);
    for (uint8_t out[512]; http2_control_write(r.c, out, sizeof(out)) > 0;)
        http2_conn_check(r.c);
    must(!http2_control_pending(r.c));
    let_go(&r);
    http2_conn_destroy(r.c);
    return 0;
}
