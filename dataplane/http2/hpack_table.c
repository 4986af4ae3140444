/* The dynamic table: a FIFO of entries in one piece of memory, moved up a class when it is full.
 *
 * Memory of class c, with M = 512 << c and n = M / 32 slots: offsets (2 n), next (n), buckets (n), then M bytes of entries.  An entry takes
 * 8 + name + value, rounded up to 4: less than the 32 + name + value of RFC 7541, so that a table of size <= M fits, and
 * what is saved is the slack that makes compaction rare. */
#include "hpack.h"

static uint16_t *offsets(const struct hpack_table *t)
{
    return (uint16_t *)(void *)t->memory;
}

uint8_t *hpack_table_next(const struct hpack_table *t)
{
    return t->memory + 2 * hpack_table_slots(t);
}

uint8_t *hpack_table_buckets(const struct hpack_table *t)
{
    return t->memory + 3 * hpack_table_slots(t);
}

static uint8_t *area(const struct hpack_table *t)
{
    return t->memory + 4 * hpack_table_slots(t);
}

static uint32_t entry_bytes(uint32_t name_len, uint32_t value_len)
{
    return ((uint32_t)sizeof(struct hpack_entry) + name_len + value_len + 3) & ~3u;
}

static uint32_t entry_size(const struct hpack_entry *e)
{
    return (uint32_t)e->name_len + e->value_len + HPACK_ENTRY_OVERHEAD;
}

/* Octets [from, from + n) stand at `to` now (or will): fields follow. */
static void fields_move(struct hpack_context *x, const uint8_t *from, size_t n, const uint8_t *to)
{
    for (uint32_t i = 0; i < x->headers.count; i++) {
        struct base_header *f = &x->headers.field[i];
        if ((size_t)(f->name - from) < n)
            f->name = to + (f->name - from);
        if ((size_t)(f->value - from) < n)
            f->value = to + (f->value - from);
    }
}

static bool fields_refer(const struct hpack_context *x, const uint8_t *from, size_t n)
{
    for (uint32_t i = 0; i < x->headers.count; i++)
        if ((size_t)(x->headers.field[i].name - from) < n || (size_t)(x->headers.field[i].value - from) < n)
            return true;
    return false;
}

/* The entry is about to be lost: fields that point to it get a copy in the scratch.  There is room: a block, a list of
 * as many octets and the table together are below scratch_size; were it otherwise, the block would count as too large. */
static void fields_rescue(struct hpack_context *x, const struct hpack_entry *e)
{
    const uint8_t *from = hpack_entry_name(e);
    size_t n = (size_t)e->name_len + e->value_len + 1; /* + 1: an empty value points to the end */
    if (!fields_refer(x, from, n))
        return;
    if (n > x->scratch_size - x->scratch_used) {
        x->headers.count = x->headers.size = 0;
        x->too_large = true;
        return;
    }
    uint8_t *to = x->scratch + x->scratch_used;
    memcpy(to, from, n - 1);
    x->scratch_used += (uint32_t)n;
    fields_move(x, from, n, to);
}

void hpack_table_evict(struct hpack_table *t, struct hpack_context *x, uint32_t size)
{
    while (t->size > size) {
        const struct hpack_entry *e = hpack_table_at(t, t->count - 1u);
        if (x != NULL && x->table_refs)
            fields_rescue(x, e);
        t->size -= entry_size(e);
        t->begin = (uint16_t)(t->begin + entry_bytes(e->name_len, e->value_len));
        t->count--;
    }
    if (t->count == 0)
        t->begin = t->end = 0;
}

static void compact(struct hpack_table *t, struct hpack_context *x)
{
    uint8_t *from = area(t) + t->begin;
    size_t n = (size_t)t->end - t->begin;
    if (x != NULL && x->table_refs)
        fields_move(x, from, n + 1, area(t));
    memmove(area(t), from, n);
    for (uint32_t i = 0, slot = t->head; i < t->count; i++) {
        slot = (slot - 1) & (hpack_table_slots(t) - 1);
        offsets(t)[slot] = (uint16_t)(offsets(t)[slot] - t->begin);
    }
    t->begin = 0;
    t->end = (uint16_t)n;
}

/* So many blocks of each class are left that every connection's decoder finds one: it cannot refuse what the peer inserts, as an encoder can leave a field
 * unindexed. */
static bool encoder_may(const struct hpack_context *x, uint32_t class)
{
    return x->encoders[class] + x->connections < x->slabs[class].capacity;
}

static void encoder_moved(struct hpack_context *x, const struct hpack_table *from, uint32_t class)
{
    if (from->memory != NULL)
        x->encoders[from->class]--;
    x->encoders[class]++;
}

/* Into memory of a larger class.  Slots are numbered anew, from 0 for the oldest: an encoder must rebuild what it knows of slots. */
static bool move_up(struct hpack_table *t, struct hpack_context *x, bool decoder, uint32_t class)
{
    uint8_t *memory = decoder || encoder_may(x, class) ? base_slab_alloc(&x->slabs[class]) : NULL;
    if (memory == NULL)
        return false;
    if (!decoder)
        encoder_moved(x, t, class);
    struct hpack_table to = *t;
    to.memory = memory;
    to.class = (uint8_t)class;
    if (t->memory != NULL) {
        uint8_t *from = area(t) + t->begin;
        size_t n = (size_t)t->end - t->begin;
        memcpy(area(&to), from, n);
        if (decoder && x->table_refs)
            fields_move(x, from, n + 1, area(&to));
        for (uint32_t i = 0; i < t->count; i++) {
            uint32_t slot = (t->head - t->count + i) & (hpack_table_slots(t) - 1);
            offsets(&to)[i] = (uint16_t)(offsets(t)[slot] - t->begin);
        }
        base_slab_free(&x->slabs[t->class], t->memory);
        to.begin = 0;
        to.end = (uint16_t)n;
    }
    to.head = to.count;
    *t = to;
    return true;
}

bool hpack_table_reserve(struct hpack_table *t, struct hpack_context *x, bool decoder, uint32_t name_len, uint32_t value_len)
{
    uint32_t need = name_len + value_len + HPACK_ENTRY_OVERHEAD;
    assert(need <= t->max);
    hpack_table_evict(t, decoder ? x : NULL, t->max - need);
    uint32_t class = t->class;
    while (HPACK_CLASS_BYTES(class) < t->size + need)
        class++;
    if ((t->memory == NULL || class != t->class) && !move_up(t, x, decoder, class))
        return false;
    if (t->end + entry_bytes(name_len, value_len) > HPACK_CLASS_BYTES(t->class))
        compact(t, decoder ? x : NULL);
    return true;
}

struct hpack_entry *hpack_table_append(struct hpack_table *t, uint32_t name_len, uint32_t value_len)
{
    uint32_t slots = hpack_table_slots(t);
    struct hpack_entry *e = (struct hpack_entry *)(void *)(area(t) + t->end);
    e->name_len = (uint16_t)name_len;
    e->value_len = (uint16_t)value_len;
    offsets(t)[t->head] = t->end;
    t->head = (uint16_t)((t->head + 1) & (slots - 1));
    t->end = (uint16_t)(t->end + entry_bytes(name_len, value_len));
    t->size += entry_size(e);
    t->count++;
    return e;
}

void hpack_table_destroy(struct hpack_table *t, struct hpack_context *x, bool decoder)
{
    if (t->memory != NULL) {
        base_slab_free(&x->slabs[t->class], t->memory);
        x->encoders[t->class] -= !decoder;
    }
    t->memory = NULL;
    t->count = 0;
    t->size = 0;
}

void hpack_table_check(const struct hpack_table *t)
{
    uint32_t size = 0, bytes = 0;
    for (uint32_t i = 0; i < t->count; i++) {
        const struct hpack_entry *e = hpack_table_at(t, i);
        size += entry_size(e);
        bytes += entry_bytes(e->name_len, e->value_len);
        assert((const uint8_t *)e >= area(t) + t->begin && (const uint8_t *)e < area(t) + t->end);
    }
    assert(size == t->size && size <= t->max && t->max <= HPACK_TABLE_MAX);
    assert(bytes == (uint32_t)(t->end - t->begin));
    assert(t->count == 0 || (t->size <= HPACK_CLASS_BYTES(t->class) && t->end <= HPACK_CLASS_BYTES(t->class)));
    (void)size, (void)bytes;
}
