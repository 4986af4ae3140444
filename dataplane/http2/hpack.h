/* HPACK (RFC 7541): tables, decoder, encoder, Huffman code.  Inside http2 only; knows no frame, no stream.
 *
 * Memory: dynamic tables live in slabs of four classes and move up a class as they fill.  A decoded field points to the static table, to the
 * dynamic table, to the block itself or to the worker's scratch; whatever an insertion would move or evict is repaired first, so
 * that all fields of a block stay good together. */
#ifndef HTTP2_HPACK_H
#define HTTP2_HPACK_H

#include "base/base.h"

#define HPACK_CLASSES        4
#define HPACK_CLASS_BYTES(c) (512u << (c))
#define HPACK_TABLE_MAX      4096
#define HPACK_ENTRY_OVERHEAD 32 /* RFC 7541 section 4.1 */
#define HPACK_STATIC         61
#define HPACK_BLOCK          16384 /* hpack_context.block at least */
#define HPACK_NIL            255

/* In the dynamic table's memory, followed by name and value. */
struct hpack_entry {
    uint16_t name_len, value_len;
    uint8_t token;
    uint8_t flags;
    uint16_t hash; /* encoder: of name and value */
};
enum { HPACK_BAD_NAME = 1, HPACK_BAD_VALUE = 2, HPACK_MALFORMED = 3 }; /* it has an octet that RFC 9113 section 8.2.1 forbids */

/* A FIFO of entries in one piece of memory: [offsets][next][buckets][entries].  size <= max <= HPACK_TABLE_MAX and size <= bytes of the class. */
struct hpack_table {
    uint8_t *memory; /* NULL: no entry was ever inserted */
    uint32_t size;   /* as RFC 7541 section 4.1 counts */
    uint32_t max;
    uint16_t count;
    uint16_t head;   /* ring slot that the next entry takes */
    uint16_t begin;  /* entries stand in [begin, end) of the entry area */
    uint16_t end;
    uint8_t class;
};

/* A block of one-octet indices alone: it changes no table, so while no other block does the same octets are the same list, and the other way round.
 * The last two of a connection, each way: requests of two kinds, or responses and trailers. */
#define HPACK_SEEN       2
#define HPACK_SEEN_BYTES 22
struct hpack_seen {
    uint64_t id;   /* of the list; 0: nothing */
    uint8_t known; /* decoder: where that stands (known.c) */
    uint8_t len;
    uint8_t bytes[HPACK_SEEN_BYTES];
};
static_assert(sizeof(struct hpack_seen) == 32, "two in a cache line");

struct hpack_decoder {
    struct hpack_table table;
    uint32_t limit;       /* highest size update allowed now */
    uint32_t least;       /* and where an update is required, by that: the smallest limit since the last block */
    bool update_required; /* the limit fell below the table's size: the next block must begin with an update */
    uint8_t seen_at;
    _Alignas(64) struct hpack_seen seen[HPACK_SEEN]; /* since the table changed last */
};

#define HPACK_NAMES  64
#define HPACK_MISSES 8
struct hpack_encoder {
    struct hpack_table table;
    uint32_t ceiling;    /* our own wish */
    uint32_t update_min; /* smallest limit since the last block */
    bool update;         /* a size update is to open the next block */
    uint8_t miss_at;
    uint8_t seen_at;
    uint16_t miss[HPACK_MISSES]; /* hashes of values seen once and not indexed */
    uint8_t name_slot[HPACK_NAMES]; /* newest entry with this token, or with this hash of an unknown name */
    _Alignas(64) struct hpack_seen seen[HPACK_SEEN]; /* since the table changed last */
};

/* What is known of a name: made at start-up from the static table and the tokens. */
struct hpack_name {
    const uint8_t *name;
    uint8_t len;
    uint8_t token;
    uint8_t index; /* in the static table, 0: not there */
};

/* A worker's. */
struct hpack_context {
    struct base_slab slabs[HPACK_CLASSES];
    struct hpack_name names[256]; /* open addressing by hpack_name_hash() */
    uint8_t token_index[BASE_HEADER_TOKEN_COUNT]; /* token -> static index of its name */
    uint32_t block; /* octets of a block that are decoded at once, and the largest list that is accepted */
    uint32_t scratch_used, scratch_size;
    uint8_t *scratch;
    /* the block being decoded */
    uint32_t list_limit, field_limit; /* <= BASE_HEADERS_MAX */
    bool begun;     /* a field was seen: no size update may follow */
    bool too_large; /* more fields or octets than the limit; the rest is only tracked in the table */
    bool malformed;
    bool table_refs; /* a field points into the table */
    struct base_headers headers;
};

enum hpack_result { HPACK_OK, HPACK_ERROR, HPACK_NO_MEMORY };

struct hpack_static_entry {
    const char *name;
    const char *value;
    uint8_t name_len, value_len, token;
};
extern const struct hpack_static_entry hpack_static[HPACK_STATIC + 1];

/* block: >= HPACK_BLOCK. */
size_t hpack_footprint(uint32_t connections, uint32_t block);
void hpack_context_init(struct hpack_context *x, struct base_arena *a, uint32_t connections, uint32_t block);
const struct hpack_name *hpack_name_find(const struct hpack_context *x, const uint8_t *name, size_t n);

/* out has room for n * 8 / 5 + 2. Returns the length, or SIZE_MAX for a bad code or bad padding. */
size_t hpack_huffman_decode(uint8_t *out, const uint8_t *in, size_t n);
size_t hpack_huffman_length(const uint8_t *in, size_t n);
/* out has room for hpack_huffman_length() and not a byte more is written. */
uint8_t *hpack_huffman_encode(uint8_t *out, const uint8_t *in, size_t n);

void hpack_table_destroy(struct hpack_table *t, struct hpack_context *x);
/* Evicts down to `size`.  x: fields of the block being decoded are kept good; NULL: the encoder's. */
void hpack_table_evict(struct hpack_table *t, struct hpack_context *x, uint32_t size);
/* Makes room for an entry of that size (<= max) and moves to a larger class if it must. False: no memory. */
bool hpack_table_reserve(struct hpack_table *t, struct hpack_context *x, bool decoder, uint32_t name_len, uint32_t value_len);
/* After hpack_table_reserve().  Returns the new entry, its bytes to be filled in by the caller. */
struct hpack_entry *hpack_table_append(struct hpack_table *t, uint32_t name_len, uint32_t value_len);
uint8_t *hpack_table_next(const struct hpack_table *t);    /* encoder: ring slot -> older slot of the same bucket */
uint8_t *hpack_table_buckets(const struct hpack_table *t); /* encoder: hash -> newest slot */
void hpack_table_check(const struct hpack_table *t);

static inline uint32_t hpack_table_slots(const struct hpack_table *t)
{
    return HPACK_CLASS_BYTES(t->class) / HPACK_ENTRY_OVERHEAD;
}

/* i: 0 is the newest, below table->count. */
static inline const struct hpack_entry *hpack_table_at(const struct hpack_table *t, uint32_t i)
{
    assert(i < t->count);
    uint32_t slots = hpack_table_slots(t), slot = (t->head - 1u - i) & (slots - 1);
    return (const struct hpack_entry *)(const void *)(t->memory + 4 * slots + ((const uint16_t *)(const void *)t->memory)[slot]);
}

/* For what is short and mostly equal: words, not a call. */
static inline bool hpack_equal(const uint8_t *a, const uint8_t *b, size_t n)
{
    if (n < 4)
        return n == 0 || (a[0] == b[0] && a[n / 2] == b[n / 2] && a[n - 1] == b[n - 1]);
    if (n < 8) {
        uint32_t x[2], y[2];
        memcpy(&x[0], a, 4), memcpy(&x[1], a + n - 4, 4);
        memcpy(&y[0], b, 4), memcpy(&y[1], b + n - 4, 4);
        return x[0] == y[0] && x[1] == y[1];
    }
    uint64_t x, y;
    for (size_t i = 0; i + 8 < n; i += 8) {
        memcpy(&x, a + i, 8), memcpy(&y, b + i, 8);
        if (x != y)
            return false;
    }
    memcpy(&x, a + n - 8, 8), memcpy(&y, b + n - 8, 8);
    return x == y;
}

/* The table has changed: octets seen before mean something else now. */
static inline void hpack_seen_forget(struct hpack_seen *seen)
{
    for (uint32_t i = 0; i < HPACK_SEEN; i++)
        seen[i].id = 0;
}

/* n: fields and octets. */
static inline struct hpack_seen *hpack_seen_put(struct hpack_seen *seen, uint8_t *at, uint64_t id, const uint8_t *p, size_t n)
{
    struct hpack_seen *s = &seen[*at];
    *at = (uint8_t)((*at + 1) % HPACK_SEEN);
    s->id = id;
    s->len = (uint8_t)n;
    memcpy(s->bytes, p, n);
    return s;
}

static inline uint8_t *hpack_entry_name(const struct hpack_entry *e)
{
    return (uint8_t *)(uintptr_t)(e + 1);
}

static inline uint8_t *hpack_entry_value(const struct hpack_entry *e)
{
    return hpack_entry_name(e) + e->name_len;
}

void hpack_decoder_init(struct hpack_decoder *d, uint32_t announced);
/* Our SETTINGS_HEADER_TABLE_SIZE was acknowledged. */
void hpack_decoder_limit(struct hpack_decoder *d, uint32_t limit);
void hpack_block_begin(struct hpack_context *x, uint32_t list_limit);
/* Decodes whole fields; what is left at *at is the beginning of one that is not whole. `last`: such a rest is an error. */
enum hpack_result hpack_decode(struct hpack_context *x, struct hpack_decoder *d, const uint8_t **at, const uint8_t *end, bool last);

/* The field at p, which a piece [p, end) of `block` octets does not hold: takes notice of it and says how many octets of its value are to
 * come. False: it is not such a field. */
bool hpack_decode_large(struct hpack_context *x, struct hpack_decoder *d, const uint8_t *p, const uint8_t *end, uint32_t *rest);

void hpack_encoder_init(struct hpack_encoder *e, uint32_t ceiling);
/* The peer's SETTINGS_HEADER_TABLE_SIZE. */
void hpack_encoder_limit(struct hpack_encoder *e, uint32_t limit);
size_t hpack_encode_bound(const struct base_headers *h);
uint8_t *hpack_encode(struct hpack_context *x, struct hpack_encoder *e, const struct base_headers *h, uint8_t *out);

/* Octets of RFC 9113 section 8.2.1. */
bool hpack_name_valid(const uint8_t *name, size_t n);
bool hpack_value_valid(const uint8_t *value, size_t n);

#endif
