/* A whole connection, either role: the peer's octets, raw or as frames with a right length, between calls that a user may make.
 * After every one of them http2_conn_check(), and: what the peer may still send, what the user has and what has come back are the whole window, of the connection and of
 * each stream; what is kept of streams that are over is bounded. */
#include "http2/internal.h"

#include <stdio.h>
#include <stdlib.h>

#define STREAMS 64

static uint8_t *memory;

struct run {
    struct http2 *h;
    struct http2_conn *c;
    struct http2_stream *stream[STREAMS]; /* those that we were told of and have not released */
    uint64_t owed[STREAMS];               /* what they brought and was not credited */
    uint64_t conn_owed;
    uint32_t most; /* streams that a client was ever allowed */
    uint64_t now;
    struct http2_bounds bounds;
    const uint8_t *data;
    size_t size;
    bool fatal;
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
            r->owed[i] = 0;
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

static int place_of(const struct run *r, const struct http2_stream *s)
{
    for (int i = 0; i < STREAMS; i++)
        if (r->stream[i] == s)
            return i;
    return -1;
}

/* Octets of the DATA frame that is being read: charged, and not told of yet. */
static uint64_t untold(const struct run *r)
{
    return r->c->phase != PHASE_DATA ? 0 : r->c->padded_pending ? r->c->len : r->c->left;
}

static void check_windows(const struct run *r)
{
    const struct http2_conn *c = r->c;
    must(c->recv_window + (uint64_t)c->recv_credit + r->conn_owed + untold(r) == c->recv_target);
    for (int i = 0; i < STREAMS; i++) {
        const struct http2_stream *s = r->stream[i];
        if (s == NULL || (s->state != HTTP2_STREAM_OPEN && s->state != HTTP2_STREAM_HALF_LOCAL))
            continue;
        uint64_t here = c->data_stream != NULL && &c->data_stream->s == s ? untold(r) : 0;
        must(s->recv_window + (int64_t)s->recv_credit + (int64_t)(r->owed[i] + here) == (int64_t)http2_stream_window(s));
    }
}

static void check(const struct run *r)
{
    uint32_t held = 0;
    http2_conn_check(r->c);
    if (!r->fatal)
        check_windows(r);
    for (int i = 0; i < STREAMS; i++)
        held += r->stream[i] != NULL;
    must(r->c->client || r->h->streams.in_use - held <= r->most);
    must(r->h->resets.in_use == r->c->reset_count && r->h->resets.in_use <= RESETS_QUEUE);
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
        must(place_of(r, ev->stream) >= 0);
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
    if (ev->type == HTTP2_EVENT_DATA) {
        must(ev->flow >= ev->len);
        r->conn_owed += ev->flow;
        r->owed[place_of(r, ev->stream)] += ev->flow;
    }
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
        check(r);
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

/* A block in frames of that size. */
static void feed_block(struct run *r, const uint8_t *block, size_t n, uint32_t id, size_t size)
{
    static uint8_t frame[9 + FRAME_SIZE_MIN];
    for (size_t at = 0; at == 0 || at < n; at += size) {
        size_t len = n - at < size ? n - at : size;
        frame_header(frame, (uint32_t)len, at == 0 ? FRAME_HEADERS : FRAME_CONTINUATION, (at == 0 ? 1 : 0) | (at + len >= n ? FLAG_END_HEADERS : 0), id);
        memcpy(frame + 9, block + at, len);
        feed(r, frame, len + 9);
    }
}

static uint8_t big[1 << 18];

/* A few octets again and again: a long block, with whatever they do to the table. */
static void feed_long(struct run *r)
{
    size_t n = 3, most = octet(r) * 640, size = 1 + octet(r) * 64, take = 1 + octet(r) % 24;
    uint32_t id = octet(r);
    take = take < r->size ? take : r->size;
    memcpy(big, (const uint8_t[]){0x82, 0x86, 0x84}, 3);
    for (; take > 0 && n + take <= most; n += take)
        memcpy(big + n, r->data, take);
    r->data += take;
    r->size -= take;
    feed_block(r, big, n, id, most > 33 * size ? FRAME_SIZE_MIN : size);
}

static uint8_t *put_text(uint8_t *out, uint8_t c, uint32_t n)
{
    *out++ = 127;
    *out++ = (uint8_t)(n | 128), *out++ = (uint8_t)(n >> 7 | 128), *out++ = (uint8_t)(n >> 14);
    memset(out, c, n + 127);
    return out + n + 127;
}

/* A field whose name, or value, no block holds. */
static void feed_giant(struct run *r)
{
    uint32_t name = octet(r) * 128 + octet(r), value = octet(r) * 128, kind = octet(r), id = octet(r);
    size_t size = 512 + octet(r) * 62;
    uint8_t *out = big;
    *out++ = 0x82, *out++ = 0x86, *out++ = 0x84;
    *out++ = kind & 1 ? 0x40 : kind & 2 ? 0x10 : 0;
    out = put_text(out, kind & 4 ? 'A' : 'a', name);
    out = put_text(out, 'v', value);
    if (kind & 8)
        *out++ = 0xbe;
    feed_block(r, big, (size_t)(out - big) - (kind & 16), id, size);
}

/* Between two frames, and DATA may come. */
static bool idle(const struct run *r)
{
    return !r->fatal && r->c->phase == PHASE_HEADER && r->c->small_have == 0 && r->c->block_id == 0 && r->c->peer_settings;
}

static struct http2_stream *some(struct run *r)
{
    return r->stream[octet(r) % STREAMS];
}

/* We reset a stream whose peer keeps to its windows: what it sends until it knows counts for nothing. */
static void feed_late(struct run *r)
{
    static uint8_t frame[9 + 64];
    struct http2_stream *s = some(r);
    uint32_t n = 1 + octet(r) % 64, frames = octet(r);
    if (s == NULL || !idle(r) || (s->state != HTTP2_STREAM_OPEN && s->state != HTTP2_STREAM_HALF_LOCAL))
        return;
    int64_t window = s->recv_window, allowed = r->c->late_allowed;
    uint32_t flood = r->c->flood[HTTP2_RATE_OTHER], id = s->id;
    http2_stream_reset(s, HTTP2_CANCEL);
    must(r->c->late_allowed == allowed + (window > 0 ? window : 0));
    if (octet(r) & 1)
        forget(r, s);
    for (; frames > 0 && window >= n && r->c->recv_window >= (int32_t)n; frames--, window -= n) {
        frame_header(frame, n, FRAME_DATA, 0, id);
        feed(r, frame, n + 9);
        must(!r->fatal && r->c->flood[HTTP2_RATE_OTHER] == flood);
    }
}

static void time_passes(struct run *r)
{
    r->now += octet(r) * 4000000ull;
    http2_tick(r->h, r->now);
    http2_suspect(r->c);
}

static void credit_conn(struct run *r)
{
    uint32_t n = octet(r) * 256;
    n = n < r->conn_owed ? n : (uint32_t)r->conn_owed;
    r->conn_owed -= n;
    http2_conn_credit(r->c, n);
}

static void credit_stream(struct run *r)
{
    struct http2_stream *s = some(r);
    uint32_t n = octet(r) * 256;
    if (s == NULL)
        return;
    uint64_t *owed = &r->owed[place_of(r, s)];
    n = n < *owed ? n : (uint32_t)*owed;
    *owed -= n;
    http2_stream_credit(s, n);
}

static void limit(struct run *r)
{
    uint32_t n = octet(r);
    r->most = n > r->most ? n : r->most;
    http2_max_streams_set(r->c, n);
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
    uint32_t what = octet(r);
    switch (what < 242 ? what % 22 : what - 220) {
    case 0: case 1: case 2: feed_raw(r); break;
    case 3: case 4: case 5: case 6: feed_frame(r); break;
    case 7: feed_request(r); break;
    case 8: feed_data(r); break;
    case 9: write_headers(r); break;
    case 10: write_data(r); break;
    case 11: if ((s = some(r)) != NULL) http2_stream_reset(s, (enum http2_error)(octet(r) % 14)); break;
    case 12: if ((s = some(r)) != NULL) forget(r, s); break;
    case 13: http2_control_write(r->c, out, octet(r)); break;
    case 14: credit_conn(r); break;
    case 15: credit_stream(r); break;
    case 16: http2_goaway(r->c, octet(r) & 1 ? 0x7fffffff : http2_last_id(r->c), HTTP2_NO_ERROR, "bye"); break;
    case 17: http2_ping(r->c, octet(r)); break;
    case 18: limit(r); break;
    case 19: case 20: feed_indices(r); break;
    case 22: case 23: case 24: feed_long(r); break;
    case 25: case 26: feed_giant(r); break;
    case 27: case 28: case 29: feed_late(r); break;
    case 30: case 31: time_passes(r); break;
    case 32: http2_conn_window_grow(r->c, octet(r)); break;
    case 33: if ((s = some(r)) != NULL) http2_stream_window_grow(s, octet(r)); break;
    case 34: if ((s = some(r)) != NULL) http2_stream_window_shrink(s, octet(r)); break;
    default: if ((s = http2_stream_open(r->c, NULL)) != NULL) remember(r, s);
    }
    check(r);
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
    r->most = config.max_concurrent_streams = 1 + (how >> 5);
    r->bounds = http2_bounds_default;
    for (int i = 0; how & 8 && i < HTTP2_RATES; i++)
        r->bounds.rate[i] = 20;
    config.bounds = &r->bounds;
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
        check(&r);
    must(!http2_control_pending(r.c));
    let_go(&r);
    http2_conn_destroy(r.c);
    return 0;
}
