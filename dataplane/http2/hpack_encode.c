/* HPACK encoder.  What it indexes is made for gRPC:
 *
 *   path, authority, method, content-type, user-agent, ...   indexed: a connection sees few values
 *   grpc-timeout, traceparent, content-length, ...            the name is indexed once, with the first value; after that a literal value
 *   authorization, cookie, sensitive fields, large values      never enter the table
 *   names that we do not know                                  indexed at first sight; another value of the same name only at its
 *                                                              second sight, so that request ids do not churn the table */
#include "hpack.h"

enum policy { POLICY_INDEX, POLICY_NAME, POLICY_LITERAL, POLICY_LEARN };

static const uint8_t policies[BASE_HEADER_TOKEN_COUNT] = {
    [BASE_HEADER_OTHER] = POLICY_LEARN,
    [BASE_HEADER_CONTENT_LENGTH] = POLICY_NAME,
    [BASE_HEADER_X_FORWARDED_FOR] = POLICY_LEARN,
    [BASE_HEADER_TRACEPARENT] = POLICY_NAME,
    [BASE_HEADER_GRPC_MESSAGE] = POLICY_NAME,
    [BASE_HEADER_GRPC_STATUS_DETAILS] = POLICY_NAME,
    [BASE_HEADER_GRPC_TIMEOUT] = POLICY_NAME,
    [BASE_HEADER_GRPC_PREVIOUS_RPC_ATTEMPTS] = POLICY_NAME,
    [BASE_HEADER_GRPC_RETRY_PUSHBACK_MS] = POLICY_NAME,
    [BASE_HEADER_ENDPOINT_LOAD_METRICS] = POLICY_NAME,
};

void hpack_encoder_init(struct hpack_encoder *e, uint32_t ceiling)
{
    memset(e, 0, sizeof(*e));
    memset(e->name_slot, HPACK_NIL, sizeof(e->name_slot));
    e->ceiling = ceiling;
    e->table.max = HPACK_TABLE_MAX;
    hpack_encoder_limit(e, HPACK_TABLE_MAX);
}

void hpack_encoder_limit(struct hpack_encoder *e, uint32_t limit)
{
    if (limit > e->ceiling)
        limit = e->ceiling;
    if (limit == e->table.max)
        return;
    /* Section 4.2: of several changes between two blocks the smallest and the last are told. */
    if (!e->update || limit < e->update_min)
        e->update_min = limit;
    e->update = true;
    hpack_seen_forget(e->seen);
    hpack_table_evict(&e->table, NULL, limit);
    e->table.max = limit;
}

static inline uint64_t fold(uint64_t a, uint64_t b)
{
    __uint128_t m = (__uint128_t)a * b;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static uint32_t hash(const uint8_t *p, size_t n, uint64_t seed)
{
    uint64_t h = seed ^ (n * 0x9e3779b97f4a7c15ull), w;
    for (; n >= 8; n -= 8, p += 8) {
        memcpy(&w, p, 8);
        h = fold(h ^ w, 0xd6e8feb86659fd93ull);
    }
    w = 0;
    if (n >= 4) {
        uint32_t lo, hi;
        memcpy(&lo, p, 4);
        memcpy(&hi, p + n - 4, 4);
        w = lo | (uint64_t)hi << 32;
    } else if (n > 0) {
        w = p[0] | (uint32_t)p[n / 2] << 8 | (uint32_t)p[n - 1] << 16;
    }
    return (uint32_t)(fold(h ^ w, 0xa0761d6478bd642full) >> 16);
}

/* A field on its way out. */
struct outgoing {
    const struct base_header *f;
    uint32_t name_index;  /* static or dynamic, 0: none */
    uint32_t name_slot;   /* into hpack_encoder.name_slot */
    uint16_t hash;        /* of name and value */
    uint8_t static_index; /* first static entry with the name */
};

static uint8_t *put_integer(uint8_t *out, uint32_t first, uint32_t mask, uint32_t v)
{
    if (v < mask) {
        *out++ = (uint8_t)(first | v);
        return out;
    }
    *out++ = (uint8_t)(first | mask);
    for (v -= mask; v >= 128; v >>= 7)
        *out++ = (uint8_t)(v | 128);
    *out++ = (uint8_t)v;
    return out;
}

static uint8_t *put_string(uint8_t *out, const uint8_t *p, size_t n)
{
    size_t coded = hpack_huffman_length(p, n);
    if (coded < n)
        return hpack_huffman_encode(put_integer(out, 128, 127, (uint32_t)coded), p, n);
    out = put_integer(out, 0, 127, (uint32_t)n);
    memcpy(out, p, n);
    return out + n;
}

static bool same(const struct hpack_entry *e, const struct base_header *f)
{
    return e->name_len == f->name_len && e->value_len == f->value_len && hpack_equal(hpack_entry_value(e), f->value, f->value_len) &&
           hpack_equal(hpack_entry_name(e), f->name, f->name_len);
}

static uint32_t slot_age(const struct hpack_table *t, uint32_t slot)
{
    return (t->head - 1u - slot) & (hpack_table_slots(t) - 1);
}

/* Slots that are used again make a chain point to something younger: there it ends. */
static uint32_t find_exact(const struct hpack_table *t, const struct outgoing *o)
{
    if (t->count == 0)
        return 0;
    uint32_t slots = hpack_table_slots(t), before = 0;
    uint32_t slot = hpack_table_buckets(t)[o->hash & (slots - 1)];
    for (bool first = true; slot != HPACK_NIL; first = false, slot = hpack_table_next(t)[slot]) {
        uint32_t age = slot_age(t, slot);
        if (age >= t->count || (!first && age <= before))
            return 0;
        const struct hpack_entry *e = hpack_table_at(t, age);
        if (e->hash == o->hash && same(e, o->f))
            return HPACK_STATIC + 1 + age;
        before = age;
    }
    return 0;
}

static uint32_t find_name(const struct hpack_encoder *e, const struct outgoing *o)
{
    const struct hpack_table *t = &e->table;
    uint32_t slot = e->name_slot[o->name_slot];
    if (slot == HPACK_NIL || t->count == 0)
        return 0;
    uint32_t age = slot_age(t, slot);
    if (age >= t->count)
        return 0;
    const struct hpack_entry *entry = hpack_table_at(t, age);
    if (entry->name_len != o->f->name_len || memcmp(hpack_entry_name(entry), o->f->name, entry->name_len) != 0)
        return 0;
    return HPACK_STATIC + 1 + age;
}

/* Static entries with a value: all that have one follow the first with their name. */
static uint32_t find_static(const struct outgoing *o)
{
    for (uint32_t i = o->static_index; i != 0 && i <= HPACK_STATIC; i++) {
        const struct hpack_static_entry *s = &hpack_static[i];
        if (i != o->static_index && (s->token == BASE_HEADER_OTHER || s->token != o->f->token))
            break;
        if (s->value_len == o->f->value_len && hpack_equal((const uint8_t *)s->value, o->f->value, s->value_len))
            return i;
    }
    return 0;
}

/* The usual case, without a hash: the newest entry with this token has this value.  find_exact() would come to the same entry. */
static uint32_t find_newest(const struct hpack_encoder *e, const struct base_header *f)
{
    const struct hpack_table *t = &e->table;
    uint32_t slot = e->name_slot[f->token];
    if (slot == HPACK_NIL || t->count == 0)
        return 0;
    uint32_t age = slot_age(t, slot);
    if (age >= t->count)
        return 0;
    const struct hpack_entry *entry = hpack_table_at(t, age);
    bool found = entry->token == f->token && entry->value_len == f->value_len && hpack_equal(hpack_entry_value(entry), f->value, f->value_len);
    return found ? HPACK_STATIC + 1 + age : 0;
}

static uint32_t name_slot_other(const uint8_t *name, size_t n)
{
    return 32 + (hash(name, n, 0) & 31);
}

static void outgoing_hash(struct outgoing *o)
{
    static_assert(BASE_HEADER_TOKEN_COUNT <= 32, "name_slot: 32 tokens, 32 hashes of other names");
    const struct base_header *f = o->f;
    o->name_slot = f->token;
    uint64_t seed = f->token;
    if (f->token == BASE_HEADER_OTHER) {
        o->name_slot = name_slot_other(f->name, f->name_len);
        seed = 64 + o->name_slot;
    }
    o->hash = (uint16_t)hash(f->value, f->value_len, seed);
}

static void outgoing_name(struct hpack_context *x, const struct hpack_encoder *e, struct outgoing *o)
{
    if (o->f->token == BASE_HEADER_OTHER) {
        const struct hpack_name *known = hpack_name_find(x, o->f->name, o->f->name_len);
        o->static_index = known != NULL ? known->index : 0;
    }
    o->name_index = o->static_index != 0 ? o->static_index : find_name(e, o);
}

/* Was this value missed lately? Remembers it. */
static bool seen_twice(struct hpack_encoder *e, uint16_t h)
{
    for (uint32_t i = 0; i < HPACK_MISSES; i++)
        if (e->miss[i] == h)
            return true;
    e->miss[e->miss_at] = h;
    e->miss_at = (uint8_t)((e->miss_at + 1) % HPACK_MISSES);
    return false;
}

static bool secret(const struct base_header *f)
{
    static const char *const names[] = {"authorization", "proxy-authorization", "cookie", "set-cookie"};
    if (f->flags & BASE_HEADER_SENSITIVE)
        return true;
    if (f->token != BASE_HEADER_OTHER)
        return false;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (f->name_len == strlen(names[i]) && memcmp(f->name, names[i], f->name_len) == 0)
            return true;
    return false;
}

static bool wants_index(struct hpack_encoder *e, const struct outgoing *o)
{
    const struct base_header *f = o->f;
    if (f->name_len + f->value_len + HPACK_ENTRY_OVERHEAD > e->table.max / 8 || secret(f))
        return false;
    if (f->flags & BASE_HEADER_INDEX)
        return true;
    switch ((enum policy)policies[f->token]) {
    case POLICY_INDEX:
        return f->token != BASE_HEADER_PATH || memchr(f->value, '?', f->value_len) == NULL;
    case POLICY_NAME:
        return o->name_index == 0;
    case POLICY_LEARN:
        return o->name_index == 0 || seen_twice(e, o->hash);
    case POLICY_LITERAL:
        break;
    }
    return false;
}

static void link_entry(struct hpack_encoder *e, const struct hpack_entry *entry, uint32_t slot)
{
    const struct hpack_table *t = &e->table;
    uint8_t *bucket = &hpack_table_buckets(t)[entry->hash & (hpack_table_slots(t) - 1)];
    hpack_table_next(t)[slot] = *bucket;
    *bucket = (uint8_t)slot;
    uint32_t name = entry->token != BASE_HEADER_OTHER ? entry->token : name_slot_other(hpack_entry_name(entry), entry->name_len);
    e->name_slot[name] = (uint8_t)slot;
}

/* After a move to a larger class every slot has another number. */
static void relink(struct hpack_encoder *e)
{
    const struct hpack_table *t = &e->table;
    memset(hpack_table_buckets(t), HPACK_NIL, hpack_table_slots(t));
    memset(e->name_slot, HPACK_NIL, sizeof(e->name_slot));
    for (uint32_t age = t->count; age-- > 0;)
        link_entry(e, hpack_table_at(t, age), (t->head - 1u - age) & (hpack_table_slots(t) - 1));
}

/* False: no memory for a larger table; the field goes without indexing. */
static bool insert(struct hpack_context *x, struct hpack_encoder *e, const struct outgoing *o)
{
    struct hpack_table *t = &e->table;
    const uint8_t *memory = t->memory;
    hpack_seen_forget(e->seen);
    if (!hpack_table_reserve(t, x, false, o->f->name_len, o->f->value_len))
        return false;
    if (t->memory != memory)
        relink(e);
    uint32_t slot = t->head;
    struct hpack_entry *entry = hpack_table_append(t, o->f->name_len, o->f->value_len);
    entry->token = (uint8_t)o->f->token;
    entry->flags = 0;
    entry->hash = o->hash;
    memcpy(hpack_entry_name(entry), o->f->name, o->f->name_len);
    memcpy(hpack_entry_value(entry), o->f->value, o->f->value_len);
    link_entry(e, entry, slot);
    return true;
}

static uint8_t *put_literal(uint8_t *out, const struct outgoing *o, uint32_t first, uint32_t mask)
{
    out = put_integer(out, first, mask, o->name_index);
    if (o->name_index == 0)
        out = put_string(out, o->f->name, o->f->name_len);
    return put_string(out, o->f->value, o->f->value_len);
}

static uint8_t *put_field(struct hpack_context *x, struct hpack_encoder *e, const struct base_header *f, uint8_t *out)
{
    struct base_header empty;
    if (f->value == NULL) { /* length 0: nothing that memcmp() may be given */
        empty = *f;
        empty.value = (const uint8_t *)"";
        f = &empty;
    }
    struct outgoing o = {.f = f, .static_index = x->token_index[f->token]};
    bool sensitive = f->flags & BASE_HEADER_SENSITIVE;
    uint32_t index;
    if (f->token != BASE_HEADER_OTHER && !sensitive && ((index = find_newest(e, f)) != 0 || (index = find_static(&o)) != 0))
        return put_integer(out, 128, 127, index);
    outgoing_hash(&o);
    /* Before its name is looked for: what has come once comes again as a whole.  What the static table has is never put into the dynamic one. */
    if (!sensitive && (index = find_exact(&e->table, &o)) != 0)
        return put_integer(out, 128, 127, index);
    outgoing_name(x, e, &o);
    if (sensitive)
        return put_literal(out, &o, 16, 15);
    if (f->token == BASE_HEADER_OTHER && (index = find_static(&o)) != 0)
        return put_integer(out, 128, 127, index);
    if (!wants_index(e, &o) || !insert(x, e, &o))
        return put_literal(out, &o, 0, 15);
    return put_literal(out, &o, 64, 63); /* its name index is of before the insertion, as the decoder sees it */
}

/* A list has a few fields: vectors take longer to set up than to add them. */
#ifndef __clang__
__attribute__((optimize("no-tree-vectorize")))
#endif
size_t hpack_encode_bound(const struct base_headers *h)
{
    size_t n = 12 + h->count * (size_t)(3 * 6); /* two size updates; integers */
    const struct base_header *end = h->field + h->count;
#pragma GCC unroll 1
    for (const struct base_header *f = h->field; f < end; f++)
        n += (size_t)f->name_len + f->value_len;
    return n;
}

static uint8_t *put_fields(struct hpack_context *x, struct hpack_encoder *e, const struct base_headers *h, uint8_t *out)
{
    for (uint32_t i = 0; i < h->count; i++)
        out = put_field(x, e, &h->field[i], out);
    return out;
}

/* Fields that took an octet each are indices: nothing was inserted, and nothing learned. */
static uint8_t *put_known(struct hpack_context *x, struct hpack_encoder *e, const struct base_headers *h, uint8_t *out)
{
    for (const struct hpack_seen *s = e->seen; s < e->seen + HPACK_SEEN; s++)
        if (s->id == h->id) {
#ifndef NDEBUG
            uint8_t *end = put_fields(x, e, h, out);
            assert(end == out + s->len && s->len == h->count && memcmp(out, s->bytes, s->len) == 0);
#endif
            memcpy(out, s->bytes, s->len);
            return out + s->len;
        }
    uint8_t *end = put_fields(x, e, h, out);
    size_t n = (size_t)(end - out);
    if (n == h->count && n <= HPACK_SEEN_BYTES)
        hpack_seen_put(e->seen, &e->seen_at, h->id, out, n);
    return end;
}

uint8_t *hpack_encode(struct hpack_context *x, struct hpack_encoder *e, const struct base_headers *h, uint8_t *out)
{
    if (h->id != 0 && !e->update)
        return put_known(x, e, h, out);
    if (e->update) {
        if (e->update_min < e->table.max)
            out = put_integer(out, 32, 31, e->update_min);
        out = put_integer(out, 32, 31, e->table.max);
        e->update = false;
    }
    return put_fields(x, e, h, out);
}
