/* One RPC as its two ends see it: what is in its messages follows from its id, so that whoever receives one can tell whether it is the right
 * one, whole, and here for the first time. */
#include "bench.h"

#include <stdarg.h>
#include <stdio.h>

void calls_wrong(struct calls *c, const char *format, ...)
{
    if (c->wrong++ > 0)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(c->first_wrong, sizeof(c->first_wrong), format, args);
    va_end(args);
}

/* The message's k-th byte behind its prefix and its id. */
static uint8_t content(uint64_t id, int direction, uint32_t k)
{
    return (uint8_t)(base_mix64(id * 2 + (uint64_t)direction + ((uint64_t)(k >> 3) << 40) + 1) >> (8 * (k & 7)));
}

uint32_t call_message(const struct calls *c, uint64_t id, int direction, uint8_t *out)
{
    uint32_t n = c->size;
    uint8_t prefix[5] = {0, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    memcpy(out, prefix, 5);
    memcpy(out + 5, &id, 8);
    for (uint32_t k = 8; k < n; k += 8) {
        uint64_t word = base_mix64(id * 2 + (uint64_t)direction + ((uint64_t)(k >> 3) << 40) + 1);
        memcpy(out + 5 + k, &word, n - k < 8 ? n - k : 8);
    }
    return 5 + n;
}

bool call_take(struct calls *c, struct call *call, int direction, const uint8_t *data, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++, call->got++) {
        uint32_t at = call->got;
        uint8_t want;
        if (at < 5) {
            want = at == 0 ? 0 : (uint8_t)(c->size >> (8 * (4 - at)));
        } else if (at < 13) {
            if (direction == CALL_REQUEST) { /* the backend learns whose it is */
                call->id |= (uint64_t)data[i] << (8 * (at - 5));
                continue;
            }
            want = (uint8_t)(call->id >> (8 * (at - 5)));
        } else {
            want = content(call->id, direction, at - 5);
        }
        if (at >= 5 + c->size || data[i] != want) {
            calls_wrong(c, "%s %llu: byte %u of the message is wrong", direction == CALL_REQUEST ? "request" : "answer",
                        (unsigned long long)call->id, at);
            return false;
        }
    }
    return true;
}

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

/* As grpc-go 1.50 sends it. Its encoder (golang.org/x/net/http2/hpack) gives every field that is not sensitive to the table, a fresh
 * grpc-timeout of every call included. */
void call_request_fields(const struct calls *c, uint64_t id, uint8_t *text, struct base_headers *h)
{
    h->count = h->size = 0;
    text_field(h, ":method", "POST");
    text_field(h, ":scheme", "http");
    text_field(h, ":path", "/bench.Echo/Unary");
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

void call_response_fields(struct base_headers *h)
{
    h->count = h->size = 0;
    text_field(h, ":status", "200");
    text_field(h, "content-type", "application/grpc");
}

void call_trailer_fields(struct base_headers *h)
{
    h->count = h->size = 0;
    text_field(h, "grpc-status", "0");
    text_field(h, "grpc-message", "");
}
