/* Header lists that come again: the same octets must be the same fields, and the other way round, whatever happened to the tables between. */
#include "../../lib/http2/app.h"
#include "http2/internal.h"

struct ends {
    struct worker w;
    struct http2_conn *client[3], *server[3]; /* peers: i and i */
    uint32_t next[3];
};

static uint8_t wire[65536];

/* What one has to say besides HEADERS. */
static void control(struct http2_conn *from, struct http2_conn *to)
{
    for (size_t n; (n = http2_control_write(from, wire, sizeof(wire))) > 0;)
        for (size_t done = 0; done < n;) {
            struct http2_event ev;
            done += http2_input(to, wire + done, n - done, &ev);
            assert_int_not_equal(ev.type, HTTP2_EVENT_FATAL);
        }
}

static void begin_with(struct ends *e, const struct http2_config *sc)
{
    struct http2_config cc;
    worker_make(&e->w);
    http2_config_defaults(&cc, HTTP2_CLIENT);
    for (int i = 0; i < 3; i++) {
        e->client[i] = http2_conn_create(e->w.h, &cc, NULL);
        e->server[i] = http2_conn_create(e->w.h, sc, NULL);
        e->next[i] = 1;
        for (int k = 0; k < 2; k++) {
            control(e->client[i], e->server[i]);
            control(e->server[i], e->client[i]);
        }
    }
}

static void begin(struct ends *e)
{
    struct http2_config sc;
    http2_config_defaults(&sc, HTTP2_SERVER);
    sc.max_concurrent_streams = 1000;
    begin_with(e, &sc);
}

static void end(struct ends *e)
{
    for (int i = 0; i < 3; i++) {
        http2_conn_destroy(e->client[i]);
        http2_conn_destroy(e->server[i]);
    }
    worker_free(&e->w);
}

/* A request's block by hand, on a stream of its own, which is over at once. */
static struct http2_event block(struct ends *e, int i, const uint8_t *p, size_t n)
{
    uint8_t frame[256] = {0, 0, (uint8_t)n, 1, 5};
    struct http2_event ev;
    store_be32(frame + 5, e->next[i]);
    e->next[i] += 2;
    memcpy(frame + 9, p, n);
    assert_int_equal(http2_input(e->server[i], frame, n + 9, &ev), n + 9);
    http2_conn_check(e->server[i]);
    if (ev.opened) {
        http2_stream_reset(ev.stream, HTTP2_CANCEL);
        http2_stream_release(ev.stream);
    }
    uint8_t out[256];
    http2_control_write(e->server[i], out, sizeof(out));
    return ev;
}
#define BLOCK(e, i, ...) block(e, i, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))
#define GET 0x82, 0x86, 0x84 /* :method GET, :scheme http, :path / */

static bool last_is(const struct base_headers *h, const char *name, const char *value)
{
    const struct base_header *f = &h->field[h->count - 1];
    return f->name_len == strlen(name) && memcmp(f->name, name, f->name_len) == 0 && base_header_value_is(f, value);
}

static void again_and_elsewhere(void **state)
{
    (void)state;
    struct ends e;
    begin(&e);
    struct http2_event a = BLOCK(&e, 0, GET);
    uint64_t id = a.headers->id;
    assert_int_not_equal(id, 0);
    assert_int_equal(a.headers->count, 3);
    assert_true(last_is(a.headers, ":path", "/"));
    assert_int_equal(BLOCK(&e, 0, GET).headers->id, id);
    assert_int_equal(BLOCK(&e, 1, GET).headers->id, id);
    assert_int_equal(BLOCK(&e, 1, GET).headers->id, id);
    uint64_t other = BLOCK(&e, 1, 0x82, 0x87, 0x84).headers->id; /* https */
    assert_true(other != 0 && other != id);
    assert_int_equal(BLOCK(&e, 1, GET).headers->id, id);
    /* the same list with an octet more is not of the kind, nor is one with a literal */
    assert_int_equal(BLOCK(&e, 0, 0x82, 0x86, 0x04, 1, '/').headers->id, 0);
    assert_int_equal(BLOCK(&e, 0, GET, 0x00, 1, 'x', 1, 'a').headers->id, 0);
    assert_int_equal(BLOCK(&e, 0, GET).headers->id, id);
    end(&e);
}

static void table_changes(void **state)
{
    (void)state;
    struct ends e;
    begin(&e);
    assert_int_equal(BLOCK(&e, 0, GET, 0x40, 1, 'x', 1, 'a').headers->id, 0);
    struct http2_event a = BLOCK(&e, 0, GET, 0xbe);
    uint64_t id = a.headers->id;
    assert_true(id != 0 && last_is(a.headers, "x", "a"));
    assert_true(last_is(BLOCK(&e, 0, GET, 0xbe).headers, "x", "a"));
    BLOCK(&e, 0, GET, 0x40, 1, 'x', 1, 'b');
    a = BLOCK(&e, 0, GET, 0xbe);
    assert_true(a.headers->id != 0 && a.headers->id != id && last_is(a.headers, "x", "b"));
    a = BLOCK(&e, 0, GET, 0xbf);
    assert_true(a.headers->id == id && last_is(a.headers, "x", "a"));
    /* another connection's index 62 is something else */
    BLOCK(&e, 1, GET, 0x40, 1, 'y', 1, 'c');
    a = BLOCK(&e, 1, GET, 0xbe);
    assert_true(a.headers->id != 0 && a.headers->id != id && last_is(a.headers, "y", "c"));
    /* emptied: the octets mean nothing */
    BLOCK(&e, 0, 0x20, GET);
    a = BLOCK(&e, 0, GET, 0xbe);
    assert_int_equal(a.type, HTTP2_EVENT_FATAL);
    assert_int_equal(a.code, HTTP2_COMPRESSION_ERROR);
    end(&e);
}

static void what_is_held_stays(void **state)
{
    (void)state;
    struct ends e;
    begin(&e);
    const struct base_headers *kept = BLOCK(&e, 0, GET).headers;
    uint64_t id = kept->id;
    http2_list_hold(kept);
    for (int round = 0; round < 2; round++) {
        uint64_t seen = 0;
        for (uint8_t k = 0; k < 40; k++) { /* accept-charset and the like */
            const struct base_headers *h = BLOCK(&e, 1, GET, (uint8_t)(0x80 + 15 + k % 12), (uint8_t)(0x80 + 15 + k / 12)).headers;
            assert_true(h->id == 0 || h != kept);
            seen += h->id != 0;
        }
        assert_true(seen > 0);
        assert_true(kept->id == id && kept->count == 3 && last_is(kept, ":path", "/"));
    }
    assert_int_equal(BLOCK(&e, 0, GET).headers->id, id);
    http2_list_release(kept);
    for (uint8_t k = 0; k < 144; k++)
        BLOCK(&e, 1, GET, (uint8_t)(0x80 + 15 + k % 12), (uint8_t)(0x80 + 15 + k / 12));
    struct http2_event a = BLOCK(&e, 0, GET); /* it had to go: a number of its own, the same fields */
    assert_true(a.headers->id != id && last_is(a.headers, ":path", "/"));
    end(&e);
}

static void limits_and_sections(void **state)
{
    (void)state;
    struct ends e;
    struct http2_bounds bounds = http2_bounds_default;
    struct http2_config sc;
    http2_config_defaults(&sc, HTTP2_SERVER);
    sc.bounds = &bounds;
    begin_with(&e, &sc);
    assert_false(BLOCK(&e, 0, GET).too_large);
    assert_int_not_equal(BLOCK(&e, 0, GET).headers->id, 0);
    bounds.fields = 2; /* live, as a reload changes it */
    assert_true(BLOCK(&e, 0, GET).too_large);
    bounds.fields = 3;
    assert_false(BLOCK(&e, 0, GET).too_large);
    /* a response is no request, however often it comes */
    for (int i = 0; i < 3; i++)
        assert_false(BLOCK(&e, 0, 0x88).opened);
    assert_true(BLOCK(&e, 0, GET).opened);
    end(&e);
}

/* ---- through two hops: what a proxy does ---- */

static void random_list(uint64_t *seed, struct base_headers *h, char text[8][8])
{
    static const char *const paths[] = {"/a", "/b", "/c/d"}, *const names[] = {"x", "yy", "zzz"};
    *h = (struct base_headers){0};
    base_headers_add(h, BASE_HEADER_METHOD, "POST", 4);
    base_headers_add(h, BASE_HEADER_SCHEME, "http", 4);
    const char *path = paths[rnd(seed) % 3];
    base_headers_add(h, BASE_HEADER_PATH, path, strlen(path));
    if (rnd(seed) % 8 == 0) {
        snprintf(text[0], 8, "%um", rnd(seed) % 1000);
        base_headers_add(h, BASE_HEADER_GRPC_TIMEOUT, text[0], strlen(text[0]));
        h->field[h->count - 1].flags = rnd(seed) % 2 ? BASE_HEADER_INDEX : 0;
    }
    for (uint32_t k = rnd(seed) % 8 == 0 ? 1 + rnd(seed) % 3 : 0; k > 0; k--) {
        struct base_header *f = &h->field[h->count++];
        snprintf(text[k], 8, "v%u", rnd(seed) % 2);
        *f = (struct base_header){.name = (const uint8_t *)names[k - 1], .name_len = (uint32_t)strlen(names[k - 1]), .value = (const uint8_t *)text[k],
                                  .value_len = (uint32_t)strlen(text[k])};
        h->size += f->name_len + f->value_len + 32;
    }
}

/* Sent by client i, told to server i: what arrives. The streams are over then. */
static struct http2_event pass(struct ends *e, int i, const struct base_headers *h)
{
    struct http2_event ev;
    struct http2_stream *s = http2_stream_open(e->client[i], NULL);
    assert_non_null(s);
    size_t n = http2_headers_write(s, h, true, wire, sizeof(wire));
    assert_true(n > 0);
    http2_stream_reset(s, HTTP2_CANCEL);
    http2_stream_release(s);
    assert_int_equal(http2_input(e->server[i], wire, n, &ev), n);
    assert_true(ev.opened);
    http2_stream_reset(ev.stream, HTTP2_CANCEL);
    http2_stream_release(ev.stream);
    return ev;
}

static void same_fields(const struct base_headers *a, const struct base_headers *b)
{
    assert_int_equal(a->count, b->count);
    assert_int_equal(a->size, b->size);
    for (uint32_t i = 0; i < a->count; i++) {
        assert_int_equal(a->field[i].token, b->field[i].token);
        assert_int_equal(a->field[i].name_len, b->field[i].name_len);
        assert_memory_equal(a->field[i].name, b->field[i].name, b->field[i].name_len);
        assert_int_equal(a->field[i].value_len, b->field[i].value_len);
        assert_memory_equal(a->field[i].value, b->field[i].value, b->field[i].value_len);
    }
}

static void two_hops(void **state)
{
    (void)state;
    struct ends e;
    uint64_t seed = 7;
    uint32_t known = 0;
    begin(&e);
    for (uint32_t round = 0; round < 4000; round++) {
        static struct base_headers sent;
        char text[8][8];
        random_list(&seed, &sent, text);
        struct http2_event in = pass(&e, (int)(rnd(&seed) % 2), &sent);
        same_fields(in.headers, &sent);
        known += in.headers->id != 0;
        if (in.headers->id != 0)
            http2_list_hold(in.headers);
        const struct base_headers *onward = in.headers->id != 0 ? in.headers : &sent;
        same_fields(pass(&e, 2, onward).headers, &sent);
        if (onward->id != 0)
            http2_list_release(onward);
        if (rnd(&seed) % 200 == 0) /* as if that peer's SETTINGS had said so */
            hpack_encoder_limit(&e.client[2]->encoder, rnd(&seed) % 3 * 100);
        for (int i = 0; i < 3; i++) {
            control(e.client[i], e.server[i]);
            control(e.server[i], e.client[i]);
        }
    }
    print_message("%u of 4,000 lists were known\n", known);
    assert_true(known > 1500 && known < 3900);
    end(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(again_and_elsewhere), cmocka_unit_test(table_changes),       cmocka_unit_test(what_is_held_stays),
        cmocka_unit_test(limits_and_sections), cmocka_unit_test(two_hops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
