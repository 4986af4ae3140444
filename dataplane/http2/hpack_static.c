/* The static table (RFC 7541 appendix A), and the dictionary of names made of it and of the tokens. */
#include "hpack.h"

#define E(token, name, value) {name, value, sizeof(name) - 1, sizeof(value) - 1, BASE_HEADER_##token}

const struct hpack_static_entry hpack_static[HPACK_STATIC + 1] = {
    {"", "", 0, 0, 0},
    E(AUTHORITY, ":authority", ""),
    E(METHOD, ":method", "GET"),
    E(METHOD, ":method", "POST"),
    E(PATH, ":path", "/"),
    E(PATH, ":path", "/index.html"),
    E(SCHEME, ":scheme", "http"),
    E(SCHEME, ":scheme", "https"),
    E(STATUS, ":status", "200"),
    E(STATUS, ":status", "204"),
    E(STATUS, ":status", "206"),
    E(STATUS, ":status", "304"),
    E(STATUS, ":status", "400"),
    E(STATUS, ":status", "404"),
    E(STATUS, ":status", "500"),
    E(OTHER, "accept-charset", ""),
    E(OTHER, "accept-encoding", "gzip, deflate"),
    E(OTHER, "accept-language", ""),
    E(OTHER, "accept-ranges", ""),
    E(OTHER, "accept", ""),
    E(OTHER, "access-control-allow-origin", ""),
    E(OTHER, "age", ""),
    E(OTHER, "allow", ""),
    E(OTHER, "authorization", ""),
    E(OTHER, "cache-control", ""),
    E(OTHER, "content-disposition", ""),
    E(OTHER, "content-encoding", ""),
    E(OTHER, "content-language", ""),
    E(CONTENT_LENGTH, "content-length", ""),
    E(OTHER, "content-location", ""),
    E(OTHER, "content-range", ""),
    E(CONTENT_TYPE, "content-type", ""),
    E(OTHER, "cookie", ""),
    E(OTHER, "date", ""),
    E(OTHER, "etag", ""),
    E(OTHER, "expect", ""),
    E(OTHER, "expires", ""),
    E(OTHER, "from", ""),
    E(HOST, "host", ""),
    E(OTHER, "if-match", ""),
    E(OTHER, "if-modified-since", ""),
    E(OTHER, "if-none-match", ""),
    E(OTHER, "if-range", ""),
    E(OTHER, "if-unmodified-since", ""),
    E(OTHER, "last-modified", ""),
    E(OTHER, "link", ""),
    E(OTHER, "location", ""),
    E(OTHER, "max-forwards", ""),
    E(OTHER, "proxy-authenticate", ""),
    E(OTHER, "proxy-authorization", ""),
    E(OTHER, "range", ""),
    E(OTHER, "referer", ""),
    E(OTHER, "refresh", ""),
    E(OTHER, "retry-after", ""),
    E(OTHER, "server", ""),
    E(OTHER, "set-cookie", ""),
    E(OTHER, "strict-transport-security", ""),
    E(TRANSFER_ENCODING, "transfer-encoding", ""),
    E(USER_AGENT, "user-agent", ""),
    E(OTHER, "vary", ""),
    E(OTHER, "via", ""),
    E(OTHER, "www-authenticate", ""),
};

static uint32_t name_hash(const uint8_t *name, size_t n)
{
    uint64_t a = 0, b = 0;
    if (n >= 8) {
        memcpy(&a, name, 8);
        memcpy(&b, name + n - 8, 8);
    } else if (n >= 4) {
        uint32_t lo, hi;
        memcpy(&lo, name, 4);
        memcpy(&hi, name + n - 4, 4);
        a = lo, b = hi;
    } else if (n > 0) {
        a = name[0], b = (uint64_t)name[n / 2] << 8 | name[n - 1];
    }
    uint64_t h = (a ^ n) * 0x9e3779b97f4a7c15ull;
    h = (h ^ (h >> 32) ^ b) * 0xd6e8feb86659fd93ull;
    return (uint32_t)(h >> 56);
}

const struct hpack_name *hpack_name_find(const struct hpack_context *x, const uint8_t *name, size_t n)
{
    for (uint32_t i = name_hash(name, n);; i = (i + 1) & 255) {
        const struct hpack_name *k = &x->names[i];
        if (k->name == NULL)
            return NULL;
        if (k->len == n && memcmp(k->name, name, n) == 0)
            return k;
    }
}

static void name_add(struct hpack_context *x, const char *name, size_t n, uint32_t token, uint32_t index)
{
    if (hpack_name_find(x, (const uint8_t *)name, n) != NULL)
        return;
    uint32_t i = name_hash((const uint8_t *)name, n);
    while (x->names[i].name != NULL)
        i = (i + 1) & 255;
    x->names[i] = (struct hpack_name){(const uint8_t *)name, (uint8_t)n, (uint8_t)token, (uint8_t)index};
    if (token != BASE_HEADER_OTHER)
        x->token_index[token] = (uint8_t)index;
}

/* The largest class for every connection's decoder: a client that sends a new grpc-timeout with each RPC fills the 4 KiB that
 * every default announces.  Encoders take what is left, and index less when there is none. */
static uint32_t class_count(uint32_t class, uint32_t connections)
{
    static const uint8_t halves[HPACK_CLASSES] = {4, 3, 3, 3};
    return connections * halves[class] / 2 + 8;
}

static size_t class_size(uint32_t class)
{
    return HPACK_CLASS_BYTES(class) + HPACK_CLASS_BYTES(class) / 8;
}

/* A block, its strings decoded, the table's, and what of the table is rescued. */
static size_t scratch_size(uint32_t block)
{
    return 8 * (size_t)block;
}

size_t hpack_footprint(uint32_t connections, uint32_t block)
{
    size_t n = base_align(scratch_size(block));
    for (uint32_t c = 0; c < HPACK_CLASSES; c++)
        n += base_slab_footprint(class_size(c), class_count(c, connections));
    return n;
}

void hpack_context_init(struct hpack_context *x, struct base_arena *a, uint32_t connections, uint32_t block)
{
    static const char *const labels[HPACK_CLASSES] = {"hpack_512", "hpack_1024", "hpack_2048", "hpack_4096"};
    for (uint32_t c = 0; c < HPACK_CLASSES; c++)
        base_slab_init(&x->slabs[c], a, labels[c], class_size(c), class_count(c, connections));
    x->connections = connections;
    assert(block >= HPACK_BLOCK);
    x->block = block;
    x->scratch_size = (uint32_t)scratch_size(block);
    x->scratch = base_arena_take(a, x->scratch_size);
    for (uint32_t i = 1; i <= HPACK_STATIC; i++)
        name_add(x, hpack_static[i].name, hpack_static[i].name_len, hpack_static[i].token, i);
    for (uint32_t t = 1; t < BASE_HEADER_TOKEN_COUNT; t++)
        name_add(x, base_header_name((enum base_header_token)t), strlen(base_header_name((enum base_header_token)t)), t, 0);
}
