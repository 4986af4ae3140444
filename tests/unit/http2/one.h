/* One connection under a script, for the tests of http2: what they all begin and end with, and large header blocks. */
#ifndef TESTS_UNIT_HTTP2_ONE_H
#define TESTS_UNIT_HTTP2_ONE_H

#include "../../lib/http2/script.h"
#include "http2/internal.h"
static struct script sc;

static inline void begin(bool client)
{
    guard_make(&sc);
    script_begin(&sc, client, FEED_WHOLE, 0);
    assert_string_equal(script_run(&sc, "", false), "");
}

static inline void end(void)
{
    script_end(&sc);
    munmap(sc.page, GUARDED + 4096);
}

/* What came of it since the last time. */
static inline void expect(const char *trace)
{
    script_feed(&sc);
    trace_data(&sc);
    script_write(&sc, true);
    sc.trace[sc.traced] = 0;
    assert_string_equal(sc.trace, trace);
    sc.traced = 0;
}

static uint8_t block[1 << 19];

/* A block of n octets or a little more: a request and fields of `value` octets each. first: kind of literal. */
static inline size_t big_block(size_t n, uint8_t first, size_t value)
{
    static char text[1 << 17];
    uint8_t *out = block;
    *out++ = 0x82, *out++ = 0x86, *out++ = 0x84;
    memset(text, 'v', sizeof(text));
    for (char name[8] = "x0"; (size_t)(out - block) < n; name[1] = (char)(name[1] == '9' ? '0' : name[1] + 1))
        out = put_literal(out, first, name, 2, text, value);
    return (size_t)(out - block);
}

/* In frames of at most `size` octets. */
static inline void put_block(uint32_t id, const uint8_t *bytes, size_t n, size_t size)
{
    for (size_t at = 0; at == 0 || at < n; at += size) {
        size_t len = n - at < size ? n - at : size;
        put_frame(&sc.in, at == 0 ? 1 : 9, (at == 0 ? 1 : 0) | (at + len >= n ? 4 : 0), id, bytes + at, len);
    }
}

static inline struct http2_conn *greeted(struct worker *w, const struct http2_config *config)
{
    static const uint8_t settings[] = {0, 0, 0, 4, 0, 0, 0, 0, 0};
    struct http2_conn *c = http2_conn_create(w->h, config, NULL);
    struct http2_event ev;
    uint8_t out[512];
    assert_non_null(c);
    assert_int_equal(http2_input(c, (const uint8_t *)"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24, &ev), 24);
    assert_int_equal(http2_input(c, settings, sizeof(settings), &ev), sizeof(settings));
    http2_control_write(c, out, sizeof(out));
    return c;
}

#endif
