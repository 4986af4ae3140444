/* HPACK: any octets as blocks, in one piece or two; what is decoded is encoded again and must come back the same. */
#include "http2/hpack.h"

#include <stdlib.h>

struct rig {
    struct base_arena arena;
    struct hpack_context x;
    struct hpack_decoder decoder, mirror;
    struct hpack_encoder encoder;
};

static uint8_t *memory;
static struct rig rig;

static void must(bool what)
{
    if (!what)
        abort();
}

static void begin(uint32_t announced)
{
    size_t n = base_align(hpack_footprint(4, HPACK_BLOCK));
    if (memory == NULL)
        memory = aligned_alloc(64, n);
    base_unpoison(memory, n);
    memset(memory, 0, n);
    memset(&rig, 0, sizeof(rig));
    base_arena_init(&rig.arena, memory, n);
    hpack_context_init(&rig.x, &rig.arena, 4, HPACK_BLOCK);
    hpack_decoder_init(&rig.decoder, announced);
    hpack_decoder_init(&rig.mirror, 4096);
    hpack_encoder_init(&rig.encoder, 4096);
}

/* The fields are in the context that the second decoding uses: keep them. */
static void again(void)
{
    static struct base_headers kept;
    static uint8_t bytes[1 << 18], out[1 << 18];
    uint8_t *at = bytes;
    kept = rig.x.headers;
    for (uint32_t i = 0; i < kept.count; i++) {
        struct base_header *f = &kept.field[i];
        must((size_t)(bytes + sizeof(bytes) - at) > f->name_len + f->value_len);
        memcpy(at, f->name, f->name_len);
        f->name = at;
        memcpy(at + f->name_len, f->value, f->value_len);
        f->value = at + f->name_len;
        at += f->name_len + f->value_len;
    }
    must(hpack_encode_bound(&kept) < sizeof(out));
    const uint8_t *p = out, *end = hpack_encode(&rig.x, &rig.encoder, &kept, out);
    must((size_t)(end - out) <= hpack_encode_bound(&kept));
    hpack_table_check(&rig.encoder.table);
    hpack_block_begin(&rig.x, HPACK_BLOCK);
    must(hpack_decode(&rig.x, &rig.mirror, &p, end, true) == HPACK_OK && p == end);
    must(rig.x.headers.count == kept.count && rig.x.headers.size == kept.size);
    for (uint32_t i = 0; i < kept.count; i++) {
        const struct base_header *f = &kept.field[i], *g = &rig.x.headers.field[i];
        must(f->name_len == g->name_len && memcmp(f->name, g->name, f->name_len) == 0 && f->token == g->token);
        must(f->value_len == g->value_len && memcmp(f->value, g->value, f->value_len) == 0 && f->flags == g->flags);
    }
}

static bool block(const uint8_t *p, size_t n, uint32_t limit, size_t split)
{
    uint8_t *copy = malloc(n > 0 ? n : 1);
    memcpy(copy, p, n);
    const uint8_t *at = copy;
    enum hpack_result r = HPACK_OK;
    hpack_block_begin(&rig.x, limit);
    if (split < n)
        r = hpack_decode(&rig.x, &rig.decoder, &at, copy + split, false);
    if (r == HPACK_OK)
        r = hpack_decode(&rig.x, &rig.decoder, &at, copy + n, true);
    hpack_table_check(&rig.decoder.table);
    if (r == HPACK_OK) {
        must(at == copy + n);
        must(rig.x.headers.size <= limit);
        again();
    }
    free(copy);
    return r == HPACK_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Octet 0: table size announced; then blocks: [length][how] octets. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    begin(data[0] * 16u);
    data++, size--;
    while (size >= 3) {
        size_t n = data[0] | (data[1] & 15u) << 8;
        uint32_t how = data[2];
        data += 3, size -= 3;
        n = n < size ? n : size;
        if (how == 255)
            hpack_encoder_limit(&rig.encoder, (uint32_t)n), hpack_decoder_limit(&rig.mirror, n < 4096 ? (uint32_t)n : 4096);
        else if (how == 254)
            hpack_decoder_limit(&rig.decoder, n <= 4096 ? (uint32_t)n : 4096);
        else if (!block(data, n, how & 1 ? HPACK_BLOCK : 200, (how >> 1) * 2u))
            break;
        data += n, size -= n;
    }
    hpack_table_destroy(&rig.decoder.table, &rig.x, true);
    hpack_table_destroy(&rig.mirror.table, &rig.x, true);
    hpack_table_destroy(&rig.encoder.table, &rig.x, false);
    for (int c = 0; c < HPACK_CLASSES; c++)
        must(rig.x.slabs[c].in_use == 0);
    return 0;
}
