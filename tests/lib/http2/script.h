/* Scripts for one connection, readable by a stranger: lines that the peer sends, lines (with >) that we do, and the trace expected.
 *
 *   request 1 [end]                a plain gRPC request            response 1 [end]   its answer (for a client of ours)
 *   headers 1 [end] | n=v | n=v    any fields, literally           block 1 [end] HEX  HEADERS with that block
 *   data 1 N [end] [pad P]         reset 1 CODE                    window 1 N         settings 4=100 ...
 *   ping                           goaway LAST CODE                frame TYPE FLAGS ID HEX...     hex HEX
 *   > respond 1 [end]   > data 1 N [end]   > trailers 1   > reset 1 CODE   > release 1   > goaway LAST CODE   > open   > credit 1 N
 *   > write (the control output is taken)   > drop (taken and forgotten)   > limit N   > ping   > request 1 [end]
 *
 * Trace: H1 with o(pened) t(railers) e(nd) L(arge) and the number of fields; D1:octets/flow; R1:code with l(ocal); G:last:code; S; W1; P; !code;
 * then what was written: rst:1:code goaway:last:code ack pong ping wu:id:n settings h:id d:id. */
#ifndef TESTS_HTTP2_SCRIPT_H
#define TESTS_HTTP2_SCRIPT_H

#include "app.h"

#include <sys/mman.h>

enum feed { FEED_WHOLE, FEED_BYTES, FEED_SPLIT };

struct script {
    struct worker w;
    struct http2_conn *conn;
    bool client;
    struct http2_stream *streams[4000];
    struct pipe in, out;
    char trace[4096];
    size_t traced;
    struct { uint32_t id, len, flow; bool live, end; } data; /* pieces are told as one */
    enum feed feed;
    size_t split;
    uint8_t *page; /* ends at one that cannot be read */
    bool fatal;
};

#define GUARDED (1u << 18)

static inline void guard_make(struct script *s)
{
    s->page = mmap(NULL, GUARDED + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(s->page != MAP_FAILED);
    assert_int_equal(mprotect(s->page + GUARDED, 4096, PROT_NONE), 0);
}

static inline void __attribute__((format(printf, 2, 3))) trace(struct script *s, const char *format, ...)
{
    va_list args;
    if (s->traced > sizeof(s->trace) - 64)
        return;
    if (s->traced > 0)
        s->trace[s->traced++] = ' ';
    va_start(args, format);
    s->traced += (size_t)vsnprintf(s->trace + s->traced, sizeof(s->trace) - s->traced, format, args);
    va_end(args);
}

static inline void trace_data(struct script *s)
{
    if (s->data.live)
        trace(s, "D%u:%u/%u%s", s->data.id, s->data.len, s->data.flow, s->data.end ? "e" : "");
    s->data.live = false;
}

static inline void script_event(struct script *s, const struct http2_event *ev)
{
    uint32_t id = ev->stream != NULL ? ev->stream->id : 0;
    if (ev->type == HTTP2_EVENT_DATA) {
        if (s->data.live && s->data.id != id)
            trace_data(s);
        if (!s->data.live)
            s->data.len = s->data.flow = 0;
        s->data.live = true;
        s->data.id = id;
        s->data.len += ev->len;
        s->data.flow += ev->flow;
        s->data.end = ev->end_stream;
        for (uint32_t i = 0; i < ev->len; i++)
            assert_int_equal(ev->data[i], 'x');
        if (ev->end_stream)
            trace_data(s);
        return;
    }
    if (ev->type != HTTP2_EVENT_NONE)
        trace_data(s);
    switch (ev->type) {
    case HTTP2_EVENT_HEADERS:
        if (ev->opened)
            s->streams[id] = ev->stream;
        assert_ptr_equal(s->streams[id], ev->stream);
        for (uint32_t i = 0; i < ev->headers->count; i++) /* all of it can be read */
            for (uint32_t k = 0; k < ev->headers->field[i].name_len; k++)
                assert_true(ev->headers->field[i].name[k] > ' ');
        trace(s, "H%u%s%s%s%s(%u)", id, ev->opened ? "o" : "", ev->trailers ? "t" : "", ev->end_stream ? "e" : "", ev->too_large ? "L" : "",
              ev->too_large ? 0 : ev->headers->count);
        break;
    case HTTP2_EVENT_RESET:
        trace(s, "R%u:%u%s", id, ev->code, ev->local ? "l" : "");
        http2_stream_release(ev->stream);
        s->streams[id] = NULL;
        break;
    case HTTP2_EVENT_GOAWAY:
        trace(s, "G:%u:%u:%.*s", ev->last_id, ev->code, (int)ev->len, (const char *)ev->data);
        break;
    case HTTP2_EVENT_SETTINGS:
        trace(s, "S");
        break;
    case HTTP2_EVENT_WINDOW:
        trace(s, "W%u", id);
        break;
    case HTTP2_EVENT_FULL:
        trace(s, "F");
        break;
    case HTTP2_EVENT_UNSENT:
        trace(s, "U");
        break;
    case HTTP2_EVENT_PING_ACK:
        trace(s, "P");
        break;
    case HTTP2_EVENT_FATAL:
        trace(s, "!%u", ev->code);
        s->fatal = true;
        break;
    default:
        break;
    }
}

static inline void script_input(struct script *s, const uint8_t *bytes, size_t n)
{
    uint8_t *at = s->page + GUARDED - n;
    assert_true(n <= GUARDED);
    if (n > 0)
        memcpy(at, bytes, n);
    for (size_t done = 0; done < n;) {
        struct http2_event ev;
        done += http2_input(s->conn, at + done, n - done, &ev);
        assert_true(done <= n);
        script_event(s, &ev);
        http2_conn_check(s->conn);
    }
}

/* What lines have put into s->in goes to the connection. */
static inline void script_feed(struct script *s)
{
    size_t n = s->in.len, first = s->feed == FEED_SPLIT && s->split < n ? s->split : n;
    if (s->feed == FEED_BYTES)
        for (size_t i = 0; i < n; i++)
            script_input(s, s->in.bytes + i, 1);
    else {
        script_input(s, s->in.bytes, first);
        if (first < n)
            script_input(s, s->in.bytes + first, n - first);
    }
    s->in.len = 0;
}

static inline void put_frame(struct pipe *p, uint32_t type, uint32_t flags, uint32_t id, const void *payload, size_t n)
{
    uint8_t h[9] = {(uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n, (uint8_t)type, (uint8_t)flags, (uint8_t)(id >> 24), (uint8_t)(id >> 16),
                    (uint8_t)(id >> 8), (uint8_t)id};
    pipe_put(p, h, 9);
    pipe_put(p, payload, n);
}

static inline void put_word(struct pipe *p, uint32_t type, uint32_t id, uint32_t word)
{
    uint8_t b[4] = {(uint8_t)(word >> 24), (uint8_t)(word >> 16), (uint8_t)(word >> 8), (uint8_t)word};
    put_frame(p, type, 0, id, b, 4);
}

static inline uint8_t *put_literal(uint8_t *out, uint8_t first, const char *name, size_t name_len, const char *value, size_t value_len)
{
    *out++ = first;
    *out++ = (uint8_t)name_len;
    memcpy(out, name, name_len);
    out += name_len;
    if (value_len < 127) {
        *out++ = (uint8_t)value_len;
    } else {
        *out++ = 127;
        size_t v = value_len - 127;
        for (; v >= 128; v >>= 7)
            *out++ = (uint8_t)(v | 128);
        *out++ = (uint8_t)v;
    }
    memcpy(out, value, value_len);
    return out + value_len;
}

/* "| name=value | name=value": \xHH for an octet. */
static inline size_t fields_block(const char *text, uint8_t *out)
{
    uint8_t *start = out;
    while ((text = strchr(text, '|')) != NULL) {
        char field[512];
        size_t n = 0;
        for (text += 2; *text != 0 && strncmp(text, " |", 2) != 0; text++) {
            if (text[0] == '\\' && text[1] == 'x') {
                field[n++] = (char)strtoul((char[3]){text[2], text[3], 0}, NULL, 16);
                text += 3;
            } else {
                field[n++] = *text;
            }
        }
        char *eq = memchr(field + 1, '=', n - 1);
        assert_non_null(eq);
        out = put_literal(out, 0, field, (size_t)(eq - field), eq + 1, n - (size_t)(eq - field) - 1);
    }
    return (size_t)(out - start);
}

#define SCRIPT_REQUEST  "| :method=POST | :scheme=http | :path=/ | :authority=a"
#define SCRIPT_RESPONSE "| :status=200"

static inline size_t hex_bytes(const char *text, uint8_t *out)
{
    size_t n = 0;
    for (; *text != 0; text++)
        if (strchr(" \n", *text) == NULL) {
            out[n++] = (uint8_t)strtoul((char[3]){text[0], text[1], 0}, NULL, 16);
            text++;
        }
    return n;
}

static inline void line_data(struct script *s, const char *line)
{
    uint32_t id, n, pad = 0;
    assert_int_equal(sscanf(line, "data %u %u", &id, &n), 2);
    const char *p = strstr(line, "pad");
    uint8_t payload[70000], *at = payload;
    uint32_t flags = strstr(line, "end") != NULL;
    if (p != NULL) {
        flags |= 8;
        assert_int_equal(sscanf(p, "pad %u", &pad), 1);
        *at++ = (uint8_t)pad;
    }
    memset(at, 'x', n);
    memset(at + n, 0, pad);
    put_frame(&s->in, 0, flags, id, payload, (size_t)(at - payload) + n + pad);
}

static inline void line_settings(struct script *s, const char *line)
{
    uint8_t payload[600];
    size_t n = 0;
    for (const char *at = strchr(line, ' '); at != NULL; at = strchr(at + 1, ' ')) {
        uint32_t key, value;
        assert_int_equal(sscanf(at, " %u=%u", &key, &value), 2);
        uint8_t e[6] = {(uint8_t)(key >> 8), (uint8_t)key, (uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value};
        memcpy(payload + n, e, 6);
        n += 6;
    }
    put_frame(&s->in, 4, 0, 0, payload, n);
}

static inline void line_peer(struct script *s, const char *line)
{
    uint8_t payload[8192];
    uint32_t a = 0, b = 0, c = 0, end = strstr(line, " end") != NULL;
    int at = 0;
    if (sscanf(line, "request %u", &a) == 1)
        put_frame(&s->in, 1, 4 | end, a, payload, fields_block(SCRIPT_REQUEST, payload));
    else if (sscanf(line, "response %u", &a) == 1)
        put_frame(&s->in, 1, 4 | end, a, payload, fields_block(SCRIPT_RESPONSE, payload));
    else if (sscanf(line, "headers %u", &a) == 1)
        put_frame(&s->in, 1, 4 | end, a, payload, fields_block(line, payload));
    else if (sscanf(line, "block %u end %n", &a, &at) == 1 && at > 0)
        put_frame(&s->in, 1, 5, a, payload, hex_bytes(line + at, payload));
    else if (sscanf(line, "block %u %n", &a, &at) == 1 && at > 0)
        put_frame(&s->in, 1, 4, a, payload, hex_bytes(line + at, payload));
    else if (strncmp(line, "data", 4) == 0)
        line_data(s, line);
    else if (sscanf(line, "reset %u %u", &a, &b) == 2)
        put_word(&s->in, 3, a, b);
    else if (sscanf(line, "window %u %u", &a, &b) == 2)
        put_word(&s->in, 8, a, b);
    else if (strncmp(line, "settings", 8) == 0)
        line_settings(s, line);
    else if (strncmp(line, "hex ", 4) == 0)
        pipe_put(&s->in, payload, hex_bytes(line + 4, payload));
    else if (strcmp(line, "ping") == 0)
        put_frame(&s->in, 6, 0, 0, "12345678", 8);
    else if (sscanf(line, "goaway %u %u", &a, &b) == 2) {
        uint8_t g[8] = {(uint8_t)(a >> 24), (uint8_t)(a >> 16), (uint8_t)(a >> 8), (uint8_t)a, 0, 0, 0, (uint8_t)b};
        memcpy(payload, g, 8);
        memcpy(payload + 8, "why", 3);
        put_frame(&s->in, 7, 0, 0, payload, 11);
    } else if (sscanf(line, "frame %u %u %u %n", &a, &b, &c, &at) == 3)
        put_frame(&s->in, a, b, c, payload, hex_bytes(line + at, payload));
    else
        fail_msg("what is \"%s\"?", line);
}

static inline void script_frames(struct script *s, const uint8_t *p, size_t n)
{
    while (n > 0) {
        if (n >= 24 && memcmp(p, "PRI ", 4) == 0) {
            p += 24, n -= 24;
            trace(s, "preface");
            continue;
        }
        uint32_t len = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2], id = (uint32_t)p[5] << 24 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 8 | p[8];
        const uint8_t *q = p + 9;
        assert_true(len + 9 <= n);
        uint32_t word = len >= 4 ? (uint32_t)q[0] << 24 | (uint32_t)q[1] << 16 | (uint32_t)q[2] << 8 | q[3] : 0;
        switch (p[3]) {
        case 0: trace(s, "d:%u:%u%s", id, len, p[4] & 1 ? "e" : ""); break;
        case 1: trace(s, "h:%u%s", id, p[4] & 1 ? "e" : ""); break;
        case 3: trace(s, "rst:%u:%u", id, word); break;
        case 4: trace(s, "%s", p[4] & 1 ? "ack" : "settings"); break;
        case 6: trace(s, "%s", p[4] & 1 ? "pong" : "ping"); break;
        case 7: trace(s, "goaway:%u:%u", word, q[7]); break;
        case 8: trace(s, "wu:%u:%u", id, word); break;
        case 9: trace(s, "c:%u", id); break;
        default: fail_msg("frame type %u", p[3]);
        }
        p += 9 + len, n -= 9 + len;
    }
}

static inline void script_write(struct script *s, bool tell)
{
    for (size_t n = 1; n > 0; s->out.len += n)
        n = http2_control_write(s->conn, pipe_room(&s->out, 100), 100);
    assert_false(http2_control_pending(s->conn));
    if (tell)
        script_frames(s, s->out.bytes, s->out.len);
    s->out.len = 0;
}

static inline void script_headers(struct script *s, uint32_t id, const struct base_headers *h, bool end)
{
    size_t bound = http2_headers_bound(h);
    size_t n = http2_headers_write(s->streams[id], h, end, pipe_room(&s->out, bound), bound);
    if (n == 0)
        trace(s, "refused");
    s->out.len += n;
}

static inline void line_ours(struct script *s, const char *line)
{
    uint32_t a = 0, b = 0, end = strstr(line, " end") != NULL;
    struct base_headers h = {0};
    struct http2_stream *st;
    if (sscanf(line, "> respond %u", &a) == 1) {
        field_add(&h, ":status", "200");
        script_headers(s, a, &h, end);
    } else if (sscanf(line, "> request %u", &a) == 1) {
        field_add(&h, ":method", strstr(line, "HEAD") ? "HEAD" : "POST");
        field_add(&h, ":scheme", "http");
        field_add(&h, ":path", "/");
        script_headers(s, a, &h, end);
    } else if (sscanf(line, "> trailers %u", &a) == 1) {
        field_add(&h, "grpc-status", "0");
        script_headers(s, a, &h, true);
    } else if (sscanf(line, "> data %u %u", &a, &b) == 2) {
        uint32_t allowed = http2_data_allowed(s->streams[a]);
        if (allowed < b) {
            trace(s, "blocked:%u", allowed);
        } else {
            http2_data_begin(s->streams[a], b, end, pipe_room(&s->out, b + 9));
            memset(pipe_room(&s->out, b + 9) + 9, 'x', b);
            s->out.len += b + 9;
        }
    } else if (sscanf(line, "> reset %u %u", &a, &b) == 2)
        http2_stream_reset(s->streams[a], (enum http2_error)b);
    else if (sscanf(line, "> release %u", &a) == 1) {
        http2_stream_release(s->streams[a]);
        s->streams[a] = NULL;
    } else if (sscanf(line, "> goaway %u %u", &a, &b) == 2)
        http2_goaway(s->conn, a, (enum http2_error)b, "bye");
    else if (strcmp(line, "> open") == 0) {
        st = http2_stream_open(s->conn, s);
        if (st != NULL)
            s->streams[st->id] = st;
        trace(s, "open:%u", st != NULL ? st->id : 0);
    } else if (sscanf(line, "> credit %u %u", &a, &b) == 2)
        a == 0 ? http2_conn_credit(s->conn, b) : http2_stream_credit(s->streams[a], b);
    else if (strcmp(line, "> write") == 0)
        script_write(s, true);
    else if (strcmp(line, "> drop") == 0)
        script_write(s, false);
    else if (sscanf(line, "> limit %u", &a) == 1)
        http2_max_streams_set(s->conn, a);
    else if (strcmp(line, "> ping") == 0)
        trace(s, "%s", http2_ping(s->conn, 0x3837363534333231ull) ? "asked" : "busy"); /* "12345678" in memory */
    else if (strcmp(line, "> last") == 0)
        trace(s, "last:%u", http2_last_id(s->conn));
    else
        fail_msg("what is \"%s\"?", line);
    http2_conn_check(s->conn);
}

/* header_list: the largest that is taken; 0: 16 KiB. */
static inline void script_begin_large(struct script *s, bool client, enum feed feed, size_t split, uint32_t header_list)
{
    struct http2_config config;
    uint8_t *page = s->page;
    memset(s, 0, sizeof(*s));
    s->page = page;
    s->client = client;
    s->feed = feed;
    s->split = split;
    worker_make_limits(&s->w, &(struct http2_limits){.connections = 2, .streams = 12, .blocks = 2, .header_list = header_list});
    http2_config_defaults(&config, client ? HTTP2_CLIENT : HTTP2_SERVER);
    config.conn_window = 65535;
    config.max_concurrent_streams = 3;
    if (header_list != 0)
        config.max_header_list_size = header_list;
    s->conn = http2_conn_create(s->w.h, &config, s);
    assert_non_null(s->conn);
}

static inline void script_begin(struct script *s, bool client, enum feed feed, size_t split)
{
    script_begin_large(s, client, feed, split, 0);
}

/* Everything must be given back. */
static inline void script_end(struct script *s)
{
    http2_conn_destroy(s->conn);
    struct http2_event ev;
    struct http2_config config;
    http2_config_defaults(&config, HTTP2_SERVER);
    struct http2_conn *c = http2_conn_create(s->w.h, &config, NULL);
    http2_input(c, (const uint8_t *)"", 0, &ev); /* what the last event pointed to is given back by the next input */
    http2_conn_destroy(c);
    for (uint32_t i = 0; i < s->w.stats->object_count; i++)
        assert_int_equal(*s->w.stats->objects[i].in_use, 0);
    worker_free(&s->w);
    free(s->in.bytes);
    free(s->out.bytes);
}

/* Runs the lines and returns the trace, what is written at the end included. `raw`: the peer's preface is in the script. */
static inline const char *script_run(struct script *s, const char *text, bool raw)
{
    if (!raw) {
        if (!s->client)
            pipe_put(&s->in, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
        line_settings(s, "settings");
        script_feed(s);
        script_write(s, false);
        s->traced = 0;
    }
    while (*text != 0) {
        char line[2048];
        size_t n = strcspn(text, "\n");
        assert_true(n < sizeof(line));
        memcpy(line, text, n);
        line[n] = 0;
        text += n + (text[n] == '\n');
        if (line[0] == '>') {
            script_feed(s);
            trace_data(s);
            line_ours(s, line);
        } else {
            line_peer(s, line);
        }
    }
    script_feed(s);
    trace_data(s);
    script_write(s, true);
    s->trace[s->traced] = 0;
    return s->trace;
}

#endif
