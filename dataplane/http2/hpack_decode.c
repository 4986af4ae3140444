/* HPACK decoder: field by field, so that a block may come in pieces that end anywhere.
 * A field is parsed whole before it changes anything. */
#include "hpack.h"

struct span {
    const uint8_t *p;
    uint32_t n;
};

enum parse { PARSE_OK, PARSE_SHORT, PARSE_BAD };

void hpack_decoder_init(struct hpack_decoder *d, uint32_t announced)
{
    memset(d, 0, sizeof(*d));
    d->table.max = HPACK_TABLE_MAX; /* RFC 7541 section 4.2: 4,096 until our SETTINGS are acknowledged */
    d->limit = announced > HPACK_TABLE_MAX ? announced : HPACK_TABLE_MAX;
}

void hpack_decoder_limit(struct hpack_decoder *d, uint32_t limit)
{
    if (d->table.max > limit) {
        d->least = d->update_required && d->least < limit ? d->least : limit;
        d->update_required = true;
    }
    d->limit = limit;
}

void hpack_block_begin(struct hpack_context *x, uint32_t list_limit)
{
    x->scratch_used = 0;
    x->list_limit = list_limit;
    x->field_limit = BASE_HEADERS_MAX;
    x->begun = x->too_large = x->malformed = x->table_refs = false;
    x->headers.count = x->headers.size = 0;
}

/* Section 5.1, with an end: no more than 2^28 is ever meant. */
static enum parse integer(const uint8_t **at, const uint8_t *end, uint32_t mask, uint32_t *value)
{
    const uint8_t *p = *at;
    uint32_t v = *p++ & mask;
    if (v == mask) {
        for (unsigned shift = 0;; shift += 7) {
            if (p == end)
                return PARSE_SHORT;
            if (shift > 21)
                return PARSE_BAD;
            v += (uint32_t)(*p & 127) << shift;
            if (*p++ < 128)
                break;
        }
    }
    *value = v;
    *at = p;
    return PARSE_OK;
}

/* Section 5.2.  A plain string stays where it is; a Huffman-coded one goes to the scratch. */
static enum parse string(struct hpack_context *x, const uint8_t **at, const uint8_t *end, struct span *s)
{
    if (*at == end)
        return PARSE_SHORT;
    bool huffman = **at & 128;
    uint32_t n;
    enum parse r = integer(at, end, 127, &n);
    if (r != PARSE_OK)
        return r;
    if (n > (size_t)(end - *at))
        return PARSE_SHORT;
    const uint8_t *p = *at;
    *at += n;
    *s = (struct span){p, n};
    if (!huffman)
        return PARSE_OK;
    if ((size_t)n * 8 / 5 + 2 > x->scratch_size - x->scratch_used)
        return PARSE_BAD;
    uint8_t *out = x->scratch + x->scratch_used;
    size_t decoded = hpack_huffman_decode(out, p, n);
    if (decoded == SIZE_MAX)
        return PARSE_BAD;
    x->scratch_used += (uint32_t)decoded;
    *s = (struct span){out, (uint32_t)decoded};
    return PARSE_OK;
}

static void record(struct hpack_context *x, struct span name, struct span value, uint32_t token, uint32_t flags, bool malformed)
{
    struct base_headers *h = &x->headers;
    uint32_t size = h->size + name.n + value.n + HPACK_ENTRY_OVERHEAD;
    if (size > x->list_limit || h->count >= x->field_limit)
        x->too_large = true;
    x->malformed |= malformed;
    if (x->too_large)
        return;
    h->size = size;
    h->field[h->count++] =
        (struct base_header){name.p, value.p, name.n, value.n, (uint16_t)token, (uint16_t)flags};
}

static enum parse indexed(struct hpack_context *x, struct hpack_decoder *d, uint32_t index)
{
    if (index <= HPACK_STATIC) {
        if (index == 0) /* section 6.1 */
            return PARSE_BAD;
        const struct hpack_static_entry *e = &hpack_static[index];
        record(x, (struct span){(const uint8_t *)e->name, e->name_len}, (struct span){(const uint8_t *)e->value, e->value_len},
               e->token, 0, false);
        return PARSE_OK;
    }
    index -= HPACK_STATIC + 1;
    if (index >= d->table.count)
        return PARSE_BAD;
    const struct hpack_entry *e = hpack_table_at(&d->table, index);
    x->table_refs = true;
    record(x, (struct span){hpack_entry_name(e), e->name_len}, (struct span){hpack_entry_value(e), e->value_len}, e->token, 0,
           e->flags & HPACK_MALFORMED);
    return PARSE_OK;
}

/* What is known of a literal's name. */
struct name {
    struct span text;
    uint32_t token;
    bool malformed;
    bool in_table;
};

static enum parse name_by_index(struct hpack_decoder *d, uint32_t index, struct name *name)
{
    if (index <= HPACK_STATIC) {
        const struct hpack_static_entry *e = &hpack_static[index];
        *name = (struct name){{(const uint8_t *)e->name, e->name_len}, e->token, false, false};
        return PARSE_OK;
    }
    index -= HPACK_STATIC + 1;
    if (index >= d->table.count)
        return PARSE_BAD;
    const struct hpack_entry *e = hpack_table_at(&d->table, index);
    *name = (struct name){{hpack_entry_name(e), e->name_len}, e->token, e->flags & HPACK_BAD_NAME, true};
    return PARSE_OK;
}

static enum parse name_literal(struct hpack_context *x, const uint8_t **at, const uint8_t *end, struct name *name)
{
    enum parse r = string(x, at, end, &name->text);
    if (r != PARSE_OK)
        return r;
    const struct hpack_name *known = hpack_name_find(x, name->text.p, name->text.n);
    name->token = known != NULL ? known->token : BASE_HEADER_OTHER;
    name->malformed = known == NULL && !hpack_name_valid(name->text.p, name->text.n);
    name->in_table = false;
    return PARSE_OK;
}

/* Section 4.4: an entry larger than the table empties it and is not inserted. */
static bool insert(struct hpack_context *x, struct hpack_decoder *d, const struct name *name, struct span value, bool bad_value)
{
    struct hpack_table *t = &d->table;
    hpack_seen_forget(d->seen);
    if (name->text.n + value.n + HPACK_ENTRY_OVERHEAD > t->max) {
        hpack_table_evict(t, x, 0);
        return true;
    }
    if (!hpack_table_reserve(t, x, true, name->text.n, value.n))
        return false;
    struct hpack_entry *e = hpack_table_append(t, name->text.n, value.n);
    e->token = (uint8_t)name->token;
    e->flags = (uint8_t)((name->malformed ? HPACK_BAD_NAME : 0) | (bad_value ? HPACK_BAD_VALUE : 0));
    memcpy(hpack_entry_name(e), name->text.p, name->text.n);
    memcpy(hpack_entry_value(e), value.p, value.n);
    return true;
}

/* The insertion may evict or move the entry that lent its name. */
static bool name_copy(struct hpack_context *x, struct span *text)
{
    if (text->n > x->scratch_size - x->scratch_used)
        return false;
    uint8_t *to = x->scratch + x->scratch_used;
    memcpy(to, text->p, text->n);
    x->scratch_used += text->n;
    text->p = to;
    return true;
}

/* Sections 6.2.1 (mask 63, indexing), 6.2.2 and 6.2.3 (mask 15). */
static enum parse literal(struct hpack_context *x, struct hpack_decoder *d, const uint8_t **at, const uint8_t *end,
                          enum hpack_result *result)
{
    bool indexing = **at & 64;
    uint32_t flags = !indexing && (**at & 16) ? BASE_HEADER_SENSITIVE : 0, index;
    uint32_t scratch = x->scratch_used;
    struct name name;
    struct span value;
    enum parse r = integer(at, end, indexing ? 63 : 15, &index);
    if (r == PARSE_OK)
        r = index != 0 ? name_by_index(d, index, &name) : name_literal(x, at, end, &name);
    if (r == PARSE_OK)
        r = string(x, at, end, &value);
    if (r != PARSE_OK) {
        x->scratch_used = scratch;
        return r;
    }
    bool bad_value = !hpack_value_valid(value.p, value.n);
    if (indexing) {
        if (name.in_table && !name_copy(x, &name.text))
            return PARSE_BAD;
        if (!insert(x, d, &name, value, bad_value)) {
            *result = HPACK_NO_MEMORY;
            return PARSE_BAD;
        }
    } else {
        x->table_refs |= name.in_table;
    }
    record(x, name.text, value, name.token, flags, name.malformed || bad_value);
    if (x->too_large && x->headers.count == 0)
        x->scratch_used = 0;
    else if (x->too_large && !x->table_refs)
        x->scratch_used = scratch; /* nothing points to what was just decoded, and nothing was rescued meanwhile */
    return PARSE_OK;
}

bool hpack_decode_large(struct hpack_context *x, struct hpack_decoder *d, const uint8_t *p, const uint8_t *end, uint32_t *rest)
{
    bool indexing = (*p & 0xc0) == 0x40;
    uint32_t index, n;
    struct name name;
    if ((*p & 0x80) || (*p & 0xe0) == 0x20 || integer(&p, end, indexing ? 63 : 15, &index) != PARSE_OK)
        return false;
    if ((index != 0 ? name_by_index(d, index, &name) : name_literal(x, &p, end, &name)) != PARSE_OK)
        return false;
    if (p == end || integer(&p, end, 127, &n) != PARSE_OK || n <= (size_t)(end - p))
        return false;
    /* Even Huffman-coded it is larger than any table: section 4.4. */
    static_assert(HPACK_BLOCK / 4 >= HPACK_TABLE_MAX && (HPACK_BLOCK - 300) * 8 / 30 > HPACK_TABLE_MAX, "a field that fills a block fits no table");
    hpack_seen_forget(d->seen);
    if (indexing)
        hpack_table_evict(&d->table, x, 0);
    x->begun = x->too_large = true;
    *rest = n - (uint32_t)(end - p);
    return true;
}

/* Section 6.3; section 4.2: only at the start of a block. */
static enum parse size_update(struct hpack_context *x, struct hpack_decoder *d, const uint8_t **at, const uint8_t *end)
{
    uint32_t size;
    enum parse r = integer(at, end, 31, &size);
    if (r != PARSE_OK)
        return r;
    if (x->begun || size > (d->update_required ? d->least : d->limit))
        return PARSE_BAD;
    hpack_seen_forget(d->seen);
    hpack_table_evict(&d->table, x, size);
    d->table.max = size;
    d->update_required = false;
    return PARSE_OK;
}

static enum parse field(struct hpack_context *x, struct hpack_decoder *d, const uint8_t **at, const uint8_t *end,
                        enum hpack_result *result)
{
    if ((**at & 0xe0) == 0x20)
        return size_update(x, d, at, end);
    if (d->update_required)
        return PARSE_BAD;
    if (!(**at & 128))
        return literal(x, d, at, end, result);
    uint32_t index;
    enum parse r = integer(at, end, 127, &index);
    return r == PARSE_OK ? indexed(x, d, index) : r;
}

/* The usual case in a loop of its own: fields whose index takes one octet.  Stops in front of whatever is something else, or wrong. */
static const uint8_t *indexed_run(struct hpack_context *x, const struct hpack_decoder *d, const uint8_t *p, const uint8_t *end)
{
    struct base_headers *h = &x->headers;
    if (d->update_required || x->too_large)
        return p;
    for (; p < end && *p > 128 && *p < 255; p++) {
        uint32_t index = *p & 127u;
        struct base_header f = {.flags = 0};
        if (index <= HPACK_STATIC) {
            const struct hpack_static_entry *e = &hpack_static[index];
            f = (struct base_header){(const uint8_t *)e->name, (const uint8_t *)e->value, e->name_len, e->value_len, e->token, 0};
        } else {
            if (index - HPACK_STATIC - 1 >= d->table.count)
                break;
            const struct hpack_entry *e = hpack_table_at(&d->table, index - HPACK_STATIC - 1);
            f = (struct base_header){hpack_entry_name(e), hpack_entry_value(e), e->name_len, e->value_len, e->token, 0};
            if (e->flags & HPACK_MALFORMED)
                break;
            x->table_refs = true;
        }
        uint32_t size = h->size + f.name_len + f.value_len + HPACK_ENTRY_OVERHEAD;
        if (size > x->list_limit || h->count >= x->field_limit)
            break;
        h->size = size;
        h->field[h->count++] = f;
        x->begun = true;
    }
    return p;
}

enum hpack_result hpack_decode(struct hpack_context *x, struct hpack_decoder *d, const uint8_t **at, const uint8_t *end, bool last)
{
    while ((*at = indexed_run(x, d, *at, end)) < end) {
        const uint8_t *p = *at;
        enum hpack_result result = HPACK_ERROR;
        bool update = (*p & 0xe0) == 0x20;
        enum parse r = field(x, d, &p, end, &result);
        if (r == PARSE_SHORT)
            return last ? HPACK_ERROR : HPACK_OK;
        if (r == PARSE_BAD)
            return result;
        x->begun |= !update;
        *at = p;
    }
    return HPACK_OK;
}
