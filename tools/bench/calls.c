#include "calls.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void calls_create(struct calls *c, uint64_t count, uint32_t endpoints)
{
    *c = (struct calls){.count = count, .endpoints = endpoints, .messages = 1, .size = 100};
    c->seen = calloc(count, 1);
    c->by_backend = calloc(endpoints, sizeof(*c->by_backend));
    if (c->seen == NULL || c->by_backend == NULL)
        abort();
}

void calls_destroy(struct calls *c)
{
    free(c->seen);
    free(c->by_backend);
}

void calls_wrong(struct calls *c, const char *format, ...)
{
    if (c->wrong++ > 0)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(c->first_wrong, sizeof(c->first_wrong), format, args);
    va_end(args);
}

uint32_t calls_messages(const struct calls *c, enum call_direction d)
{
    bool many = c->kind == CALL_BIDI || c->kind == (d == CALL_REQUEST ? CALL_CLIENT : CALL_SERVER);
    return many ? c->messages : 1;
}

/* Octets 8k .. 8k + 7 of a payload; the first eight are the id itself. */
static uint64_t word(uint64_t id, enum call_direction d, uint32_t index, uint32_t k)
{
    return k == 0 ? id : base_mix64(id * 2 + d + 0x9e3779b97f4a7c15ull * ((uint64_t)index << 20 | k));
}

void calls_bytes(const struct calls *c, uint64_t id, enum call_direction d, uint32_t index, uint32_t from, uint32_t n, uint8_t *out)
{
    uint32_t size = c->size, end = from + n, at = from;
    uint8_t prefix[5] = {0, (uint8_t)(size >> 24), (uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size};
    for (; at < 5 && at < end; at++)
        *out++ = prefix[at];
    while (at < end) {
        uint32_t k = (at - 5) >> 3, skip = (at - 5) & 7, take = 8 - skip < end - at ? 8 - skip : end - at;
        uint64_t w = word(id, d, index, k) >> (8 * skip);
        memcpy(out, &w, take);
        out += take;
        at += take;
    }
}

uint64_t calls_begin(struct calls *c)
{
    return c->begun++;
}

/* The id stands in a backend's first message. */
static uint32_t learn(struct call_end *e, const uint8_t *data, uint32_t n)
{
    uint32_t i = 0;
    for (; i < n && e->in_at + i < 13; i++)
        e->id |= (uint64_t)data[i] << (8 * (e->in_at + i - 5));
    e->in_at += i;
    e->known = e->in_at == 13;
    return i;
}

static bool differs(struct calls *c, const struct call_end *e, enum call_direction d)
{
    calls_wrong(c, "%s %llu: message %u is wrong at octet %u", d == CALL_REQUEST ? "request" : "answer", (unsigned long long)e->id, e->in_index,
                e->in_at);
    return false;
}

bool calls_take(struct calls *c, struct call_end *e, enum call_direction d, const uint8_t *data, uint32_t n)
{
    uint8_t want[1024];
    while (n > 0) {
        uint32_t chunk = calls_message_len(c) - e->in_at;
        if (e->in_index >= calls_messages(c, d))
            return differs(c, e, d);
        if (!e->known && e->in_at >= 5) {
            uint32_t took = learn(e, data, n);
            data += took;
            n -= took;
            if (e->known && e->id >= c->count)
                return differs(c, e, d);
        } else {
            chunk = chunk < n ? chunk : n;
            chunk = chunk < sizeof(want) ? chunk : (uint32_t)sizeof(want);
            chunk = !e->known && chunk > 5 - e->in_at ? 5 - e->in_at : chunk;
            calls_bytes(c, e->id, d, e->in_index, e->in_at, chunk, want);
            if (memcmp(want, data, chunk) != 0)
                return differs(c, e, d);
            e->in_at += chunk;
            data += chunk;
            n -= chunk;
        }
        if (e->in_at == calls_message_len(c)) {
            e->in_at = 0;
            e->in_index++;
        }
    }
    return true;
}

void calls_requested(struct calls *c, const struct call_end *e)
{
    if (!e->known || e->in_index != calls_messages(c, CALL_REQUEST) || e->in_at != 0)
        calls_wrong(c, "request %llu: %u messages and %u octets of %u messages", (unsigned long long)e->id, e->in_index, e->in_at,
                    calls_messages(c, CALL_REQUEST));
    else if (e->id >= c->begun || (c->seen[e->id] & ~CALLS_REFUSED) != 0)
        calls_wrong(c, "request %llu: %s", (unsigned long long)e->id, e->id >= c->begun ? "nobody sent it" : "a backend had it already");
    else
        c->seen[e->id] = 1;
    if (e->endpoint < c->endpoints)
        c->by_backend[e->endpoint]++;
    else
        calls_wrong(c, "backend %u does not exist", e->endpoint);
}

void calls_answered(struct calls *c, const struct call_end *e, bool grpc_ok)
{
    if (!e->status_good || !grpc_ok)
        calls_wrong(c, "answer %llu: its status is not 200 and 0", (unsigned long long)e->id);
    if (e->in_index != calls_messages(c, CALL_RESPONSE) || e->in_at != 0)
        calls_wrong(c, "answer %llu: %u messages and %u octets of %u messages", (unsigned long long)e->id, e->in_index, e->in_at,
                    calls_messages(c, CALL_RESPONSE));
    if (c->seen[e->id] != 1)
        calls_wrong(c, "answer %llu: %s", (unsigned long long)e->id, c->seen[e->id] == 0 ? "no backend had it" : "twice");
    c->seen[e->id] = 2;
    c->answered++;
}

void calls_judge(struct calls *c, uint64_t slack)
{
    uint64_t sum = 0, even = c->begun / c->endpoints;
    for (uint32_t i = 0; i < c->endpoints; i++) {
        uint64_t n = c->by_backend[i];
        sum += n;
        if (n + slack < even || n > even + slack)
            calls_wrong(c, "backend %u saw %llu RPCs, a fair share is %llu", i, (unsigned long long)n, (unsigned long long)even);
    }
    for (uint64_t id = 0; id < c->begun; id++)
        if (c->seen[id] != 2)
            calls_wrong(c, "RPC %llu was lost: %s", (unsigned long long)id, c->seen[id] == 0 ? "no backend had it" : "its client has no answer");
    if (sum != c->begun || c->answered != c->begun)
        calls_wrong(c, "%llu begun, %llu at backends, %llu answered", (unsigned long long)c->begun, (unsigned long long)sum,
                    (unsigned long long)c->answered);
}

/* ---- header fields ---- */

static void field(struct base_headers *h, const char *name, const void *value, size_t n, uint16_t flags)
{
    struct base_header *f = &h->field[h->count++];
    *f = (struct base_header){.name = (const uint8_t *)name, .value = value, .name_len = (uint32_t)strlen(name), .value_len = (uint32_t)n};
    f->token = (uint16_t)base_header_token(f->name, f->name_len);
    f->flags = flags;
    h->size += f->name_len + f->value_len + 32;
}

static void text_field(struct base_headers *h, const char *name, const char *value)
{
    field(h, name, value, strlen(value), 0);
}

static void hex(uint8_t *out, uint64_t v)
{
    for (int i = 0; i < 16; i++)
        out[i] = (uint8_t)"0123456789abcdef"[v >> (60 - 4 * i) & 15];
}

static const char *const paths[] = {"/bench.Echo/Unary", "/bench.Echo/Client", "/bench.Echo/Server", "/bench.Echo/Bidi"};

/* As grpc-go 1.50 sends it. Its encoder (golang.org/x/net/http2/hpack) gives every field that is not sensitive to the table, a fresh
 * grpc-timeout of every call included. */
void calls_request_fields(const struct calls *c, uint64_t id, uint8_t *text, struct base_headers *h)
{
    h->count = h->size = 0, h->id = 0;
    text_field(h, ":method", "POST");
    text_field(h, ":scheme", "http");
    text_field(h, ":path", paths[c->kind]);
    text_field(h, ":authority", "198.18.0.2:50051");
    text_field(h, "content-type", "application/grpc");
    text_field(h, "user-agent", "grpc-go/1.50.0");
    text_field(h, "te", "trailers");
    if (c->headers == HEADERS_STATIC)
        return;
    /* What is left of 5 s, in microseconds: seven digits, hardly ever the same twice. */
    int n = snprintf((char *)text, 16, "%uu", 4900000 + (unsigned)(base_mix64(id) % 99999));
    field(h, "grpc-timeout", text, (size_t)n, BASE_HEADER_INDEX);
    if (c->headers == HEADERS_DEADLINE)
        return;
    uint8_t *trace = text + 16;
    memcpy(trace, "00-", 3);
    hex(trace + 3, base_mix64(id + 1));
    hex(trace + 19, base_mix64(id + 2));
    trace[35] = '-';
    hex(trace + 36, base_mix64(id + 3));
    memcpy(trace + 52, "-01", 3);
    field(h, "traceparent", trace, 55, BASE_HEADER_INDEX);
}

void calls_response_fields(struct base_headers *h)
{
    h->count = h->size = 0, h->id = 0;
    text_field(h, ":status", "200");
    text_field(h, "content-type", "application/grpc");
}

void calls_trailer_fields(struct base_headers *h)
{
    h->count = h->size = 0, h->id = 0;
    text_field(h, "grpc-status", "0");
    text_field(h, "grpc-message", "");
}

static bool is(const struct base_headers *h, enum base_header_token token, const char *text)
{
    const struct base_header *f = base_headers_find(h, token);
    return f != NULL && base_header_value_is(f, text);
}

void calls_request_check(struct calls *c, const struct base_headers *h)
{
    bool deadline = base_headers_find(h, BASE_HEADER_GRPC_TIMEOUT) != NULL, trace = base_headers_find(h, BASE_HEADER_TRACEPARENT) != NULL;
    if (!is(h, BASE_HEADER_PATH, paths[c->kind]) || !is(h, BASE_HEADER_TE, "trailers") || !is(h, BASE_HEADER_CONTENT_TYPE, "application/grpc") ||
        !is(h, BASE_HEADER_AUTHORITY, "198.18.0.2:50051") || !is(h, BASE_HEADER_USER_AGENT, "grpc-go/1.50.0"))
        calls_wrong(c, "a request came with other fields");
    if (deadline != (c->headers != HEADERS_STATIC) || trace != (c->headers == HEADERS_TRACE))
        calls_wrong(c, "a request came with %s grpc-timeout and %s traceparent", deadline ? "a" : "no", trace ? "a" : "no");
}
