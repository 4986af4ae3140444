/* HPACK against the published stories of several encoders, and against libnghttp2 both ways on random lists with table-size changes. */
#include "../../lib/http2/app.h"
#include "../../lib/http2/shared.h"
#include "http2/hpack.h"

#include <glob.h>
#include <nghttp2/nghttp2.h>

struct rig {
    void *memory;
    struct base_arena arena;
    struct hpack_context x, y; /* y: for the same blocks in pieces */
    uint64_t dice;
    struct hpack_decoder decoder;
    struct hpack_encoder encoder;
};

static struct rig *rig_make(void)
{
    struct rig *r = aligned_alloc(64, base_align(sizeof(*r))); /* as a decoder wants it */
    memset(r, 0, sizeof(*r));
    size_t n = 2 * base_align(hpack_footprint(4, HPACK_BLOCK));
    r->memory = aligned_alloc(64, n);
    memset(r->memory, 0, n);
    base_arena_init(&r->arena, r->memory, n);
    hpack_context_init(&r->x, &r->arena, 4, HPACK_BLOCK);
    hpack_context_init(&r->y, &r->arena, 4, HPACK_BLOCK);
    hpack_decoder_init(&r->decoder, 4096);
    hpack_encoder_init(&r->encoder, 4096);
    return r;
}

static void rig_free(struct rig *r)
{
    hpack_table_check(&r->decoder.table);
    hpack_table_check(&r->encoder.table);
    hpack_table_destroy(&r->decoder.table, &r->x, true);
    hpack_table_destroy(&r->encoder.table, &r->x, false);
    for (int c = 0; c < HPACK_CLASSES; c++)
        assert_int_equal(r->x.slabs[c].in_use + r->y.slabs[c].in_use, 0);
    base_unpoison(r->memory, r->arena.size);
    free(r->memory);
    free(r);
}

#define TABLE_BYTES(d) (HPACK_CLASS_BYTES((d)->table.class) * 9 / 8)

static void same_tables(const struct hpack_table *a, const struct hpack_table *b)
{
    assert_true(a->count == b->count && a->size == b->size && a->max == b->max);
    for (uint32_t i = 0; i < a->count; i++) {
        const struct hpack_entry *e = hpack_table_at(a, i), *f = hpack_table_at(b, i);
        assert_true(e->name_len == f->name_len && e->value_len == f->value_len && e->token == f->token && e->flags == f->flags);
        assert_memory_equal(hpack_entry_name(e), hpack_entry_name(f), (size_t)e->name_len + e->value_len);
    }
}

/* The block that r has just decoded, once more, by a decoder that stood where r's did, in two pieces: whatever is no whole field of the first comes again with the
 * second.  Each in memory of exactly its size. */
static void decode_split(struct rig *r, const struct hpack_decoder *before, const uint8_t *table, const uint8_t *wire, size_t n, size_t split, enum hpack_result whole)
{
    struct hpack_decoder d = *before;
    if (d.table.memory != NULL) {
        d.table.memory = base_slab_alloc(&r->y.slabs[d.table.class]);
        memcpy(d.table.memory, table, TABLE_BYTES(&d));
    }
    uint8_t *first = malloc(split > 0 ? split : 1), *second = NULL;
    memcpy(first, wire, split);
    const uint8_t *at = first;
    hpack_block_begin(&r->y, HPACK_BLOCK * 4);
    enum hpack_result result = hpack_decode(&r->y, &d, &at, first + split, false);
    hpack_table_check(&d.table);
    if (result == HPACK_OK) {
        size_t done = (size_t)(at - first);
        second = malloc(n - done > 0 ? n - done : 1);
        memcpy(second, wire + done, n - done);
        at = second;
        result = hpack_decode(&r->y, &d, &at, second + (n - done), true);
        hpack_table_check(&d.table);
    }
    assert_int_equal(result, whole);
    if (result == HPACK_OK) {
        const struct base_headers *a = &r->x.headers, *b = &r->y.headers;
        assert_true(a->count == b->count && a->size == b->size && r->x.too_large == r->y.too_large && r->x.malformed == r->y.malformed);
        for (uint32_t i = 0; i < a->count; i++) {
            const struct base_header *f = &a->field[i], *g = &b->field[i];
            assert_true(f->token == g->token && f->flags == g->flags && f->name_len == g->name_len && f->value_len == g->value_len);
            assert_memory_equal(f->name, g->name, f->name_len);
            assert_memory_equal(f->value, g->value, f->value_len);
        }
        same_tables(&r->decoder.table, &d.table);
    }
    hpack_table_destroy(&d.table, &r->y, true);
    free(first);
    free(second);
}

#define EVERY_SPLIT 80 /* octets; a longer block is cut at some places */
#define SOME_SPLITS 6

/* The block in memory of exactly its size; and cut in two. */
static enum hpack_result decode(struct rig *r, const uint8_t *wire, size_t n, uint8_t **copy)
{
    *copy = malloc(n > 0 ? n : 1);
    memcpy(*copy, wire, n);
    const uint8_t *at = *copy;
    struct hpack_decoder before = r->decoder;
    uint8_t table[HPACK_CLASS_BYTES(HPACK_CLASSES - 1) * 9 / 8];
    if (before.table.memory != NULL)
        memcpy(table, before.table.memory, TABLE_BYTES(&before));
    hpack_block_begin(&r->x, HPACK_BLOCK * 4);
    enum hpack_result result = hpack_decode(&r->x, &r->decoder, &at, *copy + n, true);
    hpack_table_check(&r->decoder.table);
    if (result == HPACK_OK)
        assert_ptr_equal(at, *copy + n);
    if (n <= EVERY_SPLIT)
        for (size_t split = 0; split <= n; split++)
            decode_split(r, &before, table, *copy, n, split, result);
    else
        for (int i = 0; i < SOME_SPLITS; i++)
            decode_split(r, &before, table, *copy, n, rnd(&r->dice) % n, result);
    return result;
}

static void same_field(const struct base_header *f, const char *name, size_t name_len, const char *value, size_t value_len)
{
    assert_int_equal(f->name_len, name_len);
    assert_memory_equal(f->name, name, name_len);
    assert_int_equal(f->value_len, value_len);
    assert_memory_equal(f->value, value, value_len);
    assert_int_equal(f->token, base_header_token(f->name, f->name_len));
}

static size_t each_story(const char *what, void (*run)(const cJSON *cases))
{
    char path[512];
    glob_t g;
    char below[128];
    snprintf(below, sizeof(below), "hpack-test-case/%s", what);
    if (!shared_path(path, sizeof(path) - 16, below)) {
        print_message("%s: not there, skipped\n", below);
        skip();
    }
    strcat(path, "/story_*.json");
    assert_int_equal(glob(path, 0, NULL, &g), 0);
    size_t n = g.gl_pathc;
    for (size_t i = 0; i < n; i++) {
        cJSON *json = shared_json(g.gl_pathv[i]);
        assert_non_null(json);
        run(cJSON_GetObjectItem(json, "cases"));
        cJSON_Delete(json);
    }
    globfree(&g);
    assert_true(n > 0);
    return n;
}

static void story_decode(const cJSON *cases)
{
    struct rig *r = rig_make();
    const cJSON *c;
    cJSON_ArrayForEach (c, cases) {
        const cJSON *size = cJSON_GetObjectItem(c, "header_table_size"), *h;
        if (size != NULL && size->valueint <= HPACK_TABLE_MAX)
            hpack_decoder_limit(&r->decoder, (uint32_t)size->valueint);
        size_t n;
        uint8_t *copy, *wire = shared_hex(cJSON_GetObjectItem(c, "wire")->valuestring, &n);
        assert_int_equal(decode(r, wire, n, &copy), HPACK_OK);
        uint32_t i = 0;
        cJSON_ArrayForEach (h, cJSON_GetObjectItem(c, "headers")) {
            assert_true(i < r->x.headers.count);
            same_field(&r->x.headers.field[i++], h->child->string, strlen(h->child->string), h->child->valuestring,
                       strlen(h->child->valuestring));
        }
        assert_int_equal(i, r->x.headers.count);
        free(wire);
        free(copy);
    }
    rig_free(r);
}

static void stories(void **state)
{
    (void)state;
    each_story("go-hpack", story_decode);
    each_story("nghttp2", story_decode);
    each_story("nghttp2-change-table-size", story_decode);
    each_story("node-http2-hpack", story_decode);
}

/* Ours, as both of us read it. */
struct reader {
    struct rig *r;
    nghttp2_hd_inflater *inflater;
    size_t plain, coded;
};

static void read_back(struct reader *rd, const struct base_headers *h)
{
    static uint8_t out[1 << 18];
    size_t bound = hpack_encode_bound(h);
    assert_true(bound < sizeof(out));
    out[bound] = 0xa5;
    size_t n = (size_t)(hpack_encode(&rd->r->x, &rd->r->encoder, h, out) - out);
    assert_true(n <= bound && out[bound] == 0xa5);
    hpack_table_check(&rd->r->encoder.table);
    uint8_t *copy;
    assert_int_equal(decode(rd->r, out, n, &copy), HPACK_OK);
    assert_int_equal(rd->r->x.headers.count, h->count);
    size_t done = 0;
    for (uint32_t i = 0; i < h->count; i++) {
        const struct base_header *f = &h->field[i];
        same_field(&rd->r->x.headers.field[i], (const char *)f->name, f->name_len, (const char *)f->value, f->value_len);
        assert_int_equal(rd->r->x.headers.field[i].flags & BASE_HEADER_SENSITIVE, f->flags & BASE_HEADER_SENSITIVE);
        rd->plain += f->name_len + f->value_len;
        nghttp2_nv nv;
        int flags = 0;
        do {
            ssize_t took = nghttp2_hd_inflate_hd2(rd->inflater, &nv, &flags, out + done, n - done, 1);
            if (took < 0)
                fail_msg("libnghttp2: %s", nghttp2_strerror((int)took));
            done += (size_t)took;
        } while (!(flags & NGHTTP2_HD_INFLATE_EMIT));
        same_field(f, (const char *)nv.name, nv.namelen, (const char *)nv.value, nv.valuelen);
        assert_int_equal(!!(nv.flags & NGHTTP2_NV_FLAG_NO_INDEX), f->flags & BASE_HEADER_SENSITIVE);
    }
    int flags = 0;
    nghttp2_nv nv;
    ssize_t rest = nghttp2_hd_inflate_hd2(rd->inflater, &nv, &flags, out + done, n - done, 1); /* an empty list may hold size updates */
    assert_true(rest >= 0 && (flags & NGHTTP2_HD_INFLATE_FINAL) && !(flags & NGHTTP2_HD_INFLATE_EMIT));
    nghttp2_hd_inflate_end_headers(rd->inflater);
    assert_int_equal(done + (size_t)rest, n);
    rd->coded += n;
    free(copy);
}

static size_t total_plain, total_coded;

static void story_encode(const cJSON *cases)
{
    struct reader rd = {.r = rig_make()};
    assert_int_equal(nghttp2_hd_inflate_new(&rd.inflater), 0);
    const cJSON *c, *h;
    cJSON_ArrayForEach (c, cases) {
        static struct base_headers list;
        list.count = list.size = 0;
        cJSON_ArrayForEach (h, cJSON_GetObjectItem(c, "headers"))
            field_add(&list, h->child->string, h->child->valuestring);
        read_back(&rd, &list);
    }
    total_plain += rd.plain;
    total_coded += rd.coded;
    nghttp2_hd_inflate_del(rd.inflater);
    rig_free(rd.r);
}

static void stories_again(void **state)
{
    (void)state;
    total_plain = total_coded = 0;
    each_story("raw-data", story_encode);
    print_message("raw-data: %zu octets of fields in %zu (%.1f %%)\n", total_plain, total_coded, 100.0 * (double)total_coded / (double)total_plain);
    assert_true(total_coded * 1000 < total_plain * 320); /* what is in the table is found, after it moved up a class too */
}

/* A list of fields as a gRPC peer, a browser or a madman would send it. */
static void random_list(uint64_t *seed, struct base_headers *list, char (*text)[600])
{
    static const char *const names[] = {":path", ":authority", ":method", ":scheme", ":status", "content-type", "te", "user-agent", "grpc-timeout",
                                        "traceparent", "x-request-id", "accept-encoding", "cookie", "authorization", "date", "content-length",
                                        "grpc-status", "a", "x-some-rather-long-name-of-a-header", "grpc-trace-bin"};
    static const char *const values[] = {"/", "POST", "GET", "http", "https", "200", "204", "application/grpc", "trailers", "gzip, deflate", "", "0",
                                         "/index.html", "99999u"};
    list->count = list->size = 0;
    for (uint32_t i = rnd(seed) % 40; i > 0; i--) {
        char *value = text[list->count];
        uint32_t kind = rnd(seed) % 8, n = kind == 0 ? rnd(seed) % 590 : rnd(seed) % 40;
        if (kind < 4)
            for (uint32_t j = 0; j < n; j++)
                value[j] = (char)(kind == 1 ? 1 + rnd(seed) % 255 : kind == 2 ? 'a' + rnd(seed) % 3 : ' ' + 1 + rnd(seed) % 94);
        if (kind < 4)
            value[n] = 0;
        else
            strcpy(value, values[rnd(seed) % (sizeof(values) / sizeof(values[0]))]);
        field_add(list, names[rnd(seed) % (sizeof(names) / sizeof(names[0]))], value);
        if (rnd(seed) % 16 == 0)
            list->field[list->count - 1].flags = BASE_HEADER_SENSITIVE;
    }
}

static void ours_to_nghttp2(void **state)
{
    (void)state;
    static char text[128][600];
    static struct base_headers list;
    for (uint64_t run = 0; run < 40; run++) {
        uint64_t seed = run;
        struct reader rd = {.r = rig_make()};
        assert_int_equal(nghttp2_hd_inflate_new(&rd.inflater), 0);
        for (int i = 0; i < 300; i++) {
            if (rnd(&seed) % 20 == 0) {
                for (uint32_t k = 1 + rnd(&seed) % 3; k > 0; k--) { /* several changes before one block */
                    uint32_t limit = rnd(&seed) % 3 == 0 ? rnd(&seed) % 200 : rnd(&seed) % 6000;
                    hpack_encoder_limit(&rd.r->encoder, limit);
                    hpack_decoder_limit(&rd.r->decoder, limit < 4096 ? limit : 4096);
                    assert_int_equal(nghttp2_hd_inflate_change_table_size(rd.inflater, limit), 0);
                }
            }
            random_list(&seed, &list, text);
            read_back(&rd, &list);
        }
        nghttp2_hd_inflate_del(rd.inflater);
        rig_free(rd.r);
    }
}

static size_t deflate(nghttp2_hd_deflater *d, const struct base_headers *list, uint8_t *out, size_t room)
{
    nghttp2_nv nv[128];
    for (uint32_t i = 0; i < list->count; i++) {
        const struct base_header *f = &list->field[i];
        nv[i] = (nghttp2_nv){(uint8_t *)(uintptr_t)f->name, (uint8_t *)(uintptr_t)f->value, f->name_len, f->value_len,
                             f->flags & BASE_HEADER_SENSITIVE ? NGHTTP2_NV_FLAG_NO_INDEX : 0};
    }
    ssize_t n = nghttp2_hd_deflate_hd(d, out, room, nv, list->count);
    assert_true(n >= 0);
    return (size_t)n;
}

static void nghttp2_to_ours(void **state)
{
    (void)state;
    static char text[128][600];
    static struct base_headers list;
    static uint8_t out[1 << 17];
    for (uint64_t run = 0; run < 40; run++) {
        uint64_t seed = run + 1000;
        struct rig *r = rig_make();
        nghttp2_hd_deflater *d;
        assert_int_equal(nghttp2_hd_deflate_new(&d, 4096), 0);
        for (int i = 0; i < 300; i++) {
            if (rnd(&seed) % 20 == 0) {
                uint32_t limit = rnd(&seed) % 4097;
                assert_int_equal(nghttp2_hd_deflate_change_table_size(d, limit), 0);
                hpack_decoder_limit(&r->decoder, limit);
            }
            random_list(&seed, &list, text);
            uint8_t *copy;
            size_t n = deflate(d, &list, out, sizeof(out));
            assert_int_equal(decode(r, out, n, &copy), HPACK_OK);
            assert_int_equal(r->x.headers.count, list.count);
            for (uint32_t k = 0; k < list.count; k++) {
                const struct base_header *f = &list.field[k];
                same_field(&r->x.headers.field[k], (const char *)f->name, f->name_len, (const char *)f->value, f->value_len);
            }
            free(copy);
        }
        nghttp2_hd_deflate_del(d);
        rig_free(r);
    }
}

/* RFC 7541 section 4.2: a limit that fell below the table's size must be answered by an update at the next block's start. */
static void update_required(void **state)
{
    (void)state;
    static const uint8_t plain[] = {0x82}, late[] = {0x82, 0x3f, 0x45}, above[] = {0x3f, 0x46, 0x82}, good[] = {0x3f, 0x45, 0x82}, two[] = {0x20, 0x3f, 0x45, 0x82};
    static const struct { const uint8_t *block; size_t n; enum hpack_result result; } cases[] = {
        {plain, 1, HPACK_ERROR}, {late, 3, HPACK_ERROR}, {above, 3, HPACK_ERROR}, {good, 3, HPACK_OK}, {two, 4, HPACK_OK}};
    for (size_t i = 0; i < 5; i++) {
        struct rig *r = rig_make();
        uint8_t *copy;
        assert_int_equal(decode(r, plain, 1, &copy), HPACK_OK);
        free(copy);
        hpack_decoder_limit(&r->decoder, 100);
        assert_int_equal(decode(r, cases[i].block, cases[i].n, &copy), cases[i].result);
        free(copy);
        rig_free(r);
    }
    static const struct { uint32_t limits[2]; const uint8_t *block; size_t n; enum hpack_result result; } twice[] = { /* the smallest has to be said, and first */
        {{100, 4096}, plain, 1, HPACK_ERROR}, {{50, 100}, good, 3, HPACK_ERROR}, {{50, 100}, two, 4, HPACK_OK}, {{100, 4096}, good, 3, HPACK_OK}, {{4096, 4096}, plain, 1, HPACK_OK}};
    for (size_t i = 0; i < sizeof(twice) / sizeof(twice[0]); i++) {
        struct rig *r = rig_make();
        uint8_t *copy;
        hpack_decoder_limit(&r->decoder, twice[i].limits[0]);
        hpack_decoder_limit(&r->decoder, twice[i].limits[1]);
        assert_int_equal(decode(r, twice[i].block, twice[i].n, &copy), twice[i].result);
        free(copy);
        rig_free(r);
    }
}

/* What libnghttp2 makes of a block: fields into list, false for an error. */
static bool inflate(nghttp2_hd_inflater *inflater, const uint8_t *in, size_t n, struct base_headers *list, uint8_t *text)
{
    list->count = 0;
    for (size_t done = 0;;) {
        nghttp2_nv nv;
        int flags = 0;
        ssize_t took = nghttp2_hd_inflate_hd2(inflater, &nv, &flags, in + done, n - done, 1);
        if (took < 0)
            return false;
        done += (size_t)took;
        if (flags & NGHTTP2_HD_INFLATE_EMIT && list->count < BASE_HEADERS_MAX) {
            memcpy(text, nv.name, nv.namelen);
            memcpy(text + nv.namelen, nv.value, nv.valuelen);
            list->field[list->count++] = (struct base_header){text, text + nv.namelen, (uint32_t)nv.namelen, (uint32_t)nv.valuelen, 0, 0};
            text += nv.namelen + nv.valuelen;
        }
        if (flags & NGHTTP2_HD_INFLATE_FINAL) {
            nghttp2_hd_inflate_end_headers(inflater);
            return true;
        }
        if (done == n && !(flags & NGHTTP2_HD_INFLATE_EMIT))
            return false;
    }
}

/* Damaged blocks: both refuse, or both read the same. */
static void mutated(void **state)
{
    (void)state;
    static char text[128][600];
    static struct base_headers list, theirs;
    static uint8_t out[1 << 17], their_text[1 << 18];
    uint32_t taken = 0, refused = 0;
    for (uint64_t run = 0; run < 3000; run++) {
        uint64_t seed = run + 5000;
        struct rig *r = rig_make();
        nghttp2_hd_deflater *d;
        nghttp2_hd_inflater *inflater;
        assert_int_equal(nghttp2_hd_deflate_new(&d, 4096), 0);
        assert_int_equal(nghttp2_hd_inflate_new(&inflater), 0);
        for (int i = 0; i < 8; i++) {
            for (uint32_t k = rnd(&seed) % 6 == 0 ? 1 + rnd(&seed) % 3 : 0; k > 0; k--) { /* several changes before one block */
                uint32_t limit = rnd(&seed) % 2 == 0 ? rnd(&seed) % 200 : rnd(&seed) % 4097;
                assert_int_equal(nghttp2_hd_deflate_change_table_size(d, limit), 0);
                assert_int_equal(nghttp2_hd_inflate_change_table_size(inflater, limit), 0);
                hpack_decoder_limit(&r->decoder, limit);
            }
            random_list(&seed, &list, text);
            size_t n = deflate(d, &list, out, sizeof(out));
            if (n == 0)
                continue;
            for (uint32_t k = rnd(&seed) % 3; k > 0; k--)
                out[rnd(&seed) % n] ^= (uint8_t)(1u << rnd(&seed) % 8);
            if (rnd(&seed) % 20 == 0)
                n = rnd(&seed) % n;
            uint8_t *copy;
            bool good = decode(r, out, n, &copy) == HPACK_OK, they = inflate(inflater, out, n, &theirs, their_text);
            if (good != they) {
                for (size_t k = 0; k < n; k++)
                    fprintf(stderr, "%02x", out[k]);
                fail_msg("run %lu block %d: we say %d, libnghttp2 says %d", (unsigned long)run, i, good, they);
            }
            if (good) {
                assert_int_equal(r->x.headers.count, theirs.count);
                for (uint32_t k = 0; k < theirs.count; k++) {
                    const struct base_header *f = &theirs.field[k];
                    same_field(&r->x.headers.field[k], (const char *)f->name, f->name_len, (const char *)f->value, f->value_len);
                }
            }
            taken += good;
            refused += !good;
            free(copy);
            if (!good)
                break;
        }
        nghttp2_hd_deflate_del(d);
        nghttp2_hd_inflate_del(inflater);
        rig_free(r);
    }
    print_message("mutated: %u taken, %u refused\n", taken, refused);
    assert_true(taken > 1000 && refused > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stories),         cmocka_unit_test(stories_again),   cmocka_unit_test(ours_to_nghttp2),
        cmocka_unit_test(nghttp2_to_ours), cmocka_unit_test(update_required), cmocka_unit_test(mutated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
