/* Header lists that come again and again.
 *
 * Most RPCs of a worker bring one of a few lists: the same request, the same response, the same trailers, on many connections.  A list that comes as a block of
 * one-octet indices (struct hpack_seen) is copied once for the worker and gets a number.  From then on
 *
 *   the same octets on that connection are this list, as long as the decoder's table has not changed: not decoded, not judged again
 *   this list on a connection is the same octets, as long as the encoder's table has not changed: not encoded again
 *   who wants to keep the fields holds the list: no copy
 *
 * A number is never given twice, so that what was remembered of a list that had to make room matches nothing.  A stranger who sends lists of his own can drive
 * others out that were not used for a while: they cost what they did the first time, as do those that find no place. */
#include "internal.h"

static bool octets_equal(const uint8_t *a, const uint8_t *b, size_t n)
{
    return a == b || hpack_equal(a, b, n);
}

static bool lists_equal(const struct base_headers *a, const struct base_headers *b)
{
    if (a->count != b->count || a->size != b->size)
        return false;
    for (uint32_t i = 0; i < a->count; i++) {
        const struct base_header *f = &a->field[i], *g = &b->field[i];
        if (f->token != g->token || f->flags != g->flags || f->value_len != g->value_len || f->name_len != g->name_len)
            return false;
        if (!octets_equal(f->value, g->value, f->value_len) || (f->token == BASE_HEADER_OTHER && !octets_equal(f->name, g->name, f->name_len)))
            return false;
    }
    return true;
}

const struct base_headers *http2_known_recall(struct http2_conn *c, const uint8_t *p, size_t n)
{
    struct hpack_context *x = &c->h->hpack;
    const struct hpack_decoder *d = &c->decoder;
    for (const struct hpack_seen *s = d->seen; s < d->seen + HPACK_SEEN; s++) {
        if (s->id == 0 || s->len != n || !hpack_equal(s->bytes, p, n))
            continue;
        struct known *k = &c->h->known[s->known];
        if (k->list.id != s->id || d->update_required || k->list.size > x->list_limit || k->list.count > x->field_limit)
            return NULL;
#ifndef NDEBUG
        enum hpack_result r = hpack_decode(x, &c->decoder, &p, p + n, true);
        assert(r == HPACK_OK && !x->too_large && !x->malformed && lists_equal(&x->headers, &k->list));
        (void)r;
#endif
        k->used = true;
        return &k->list;
    }
    return NULL;
}

/* Of the ends of the values: it only chooses a set. */
static uint32_t set_of(const struct http2 *h, const struct base_headers *list)
{
    uint64_t sum = h->key.k[1] + list->size;
    for (uint32_t i = 0; i < list->count; i++) {
        const struct base_header *f = &list->field[i];
        uint64_t w = 0;
        if (f->value_len >= 8)
            memcpy(&w, f->value + f->value_len - 8, 8);
        else
            for (uint32_t k = 0; k < f->value_len; k++)
                w = w << 8 | f->value[k];
        sum = (sum ^ w ^ (uint64_t)f->token << 56) * 0xd6e8feb86659fd93ull;
        sum ^= sum >> 32;
    }
    return ((uint32_t)base_mix64(sum) & (h->known_sets - 1)) * KNOWN_WAYS;
}

/* An empty place, or one whose list was not used since the last time somebody looked. NULL: all are held or in use. */
static struct known *place(struct known *set, uint64_t turn)
{
    for (uint32_t i = 0; i < KNOWN_WAYS; i++)
        if (set[i].list.id == 0)
            return &set[i];
    struct known *old = NULL;
    for (uint32_t i = 0; i < KNOWN_WAYS; i++) {
        struct known *k = &set[(turn + i) % KNOWN_WAYS];
        if (!k->used && k->holders == 0)
            old = k;
        k->used = false;
    }
    return old;
}

static const uint8_t *keep(uint8_t **to, const uint8_t *from, size_t n)
{
    uint8_t *at = *to;
    memcpy(at, from, n);
    *to += n;
    return at;
}

/* What fits has at most HPACK_SEEN_BYTES fields and a size below KNOWN_BYTES. */
static void fill(struct http2 *h, struct known *k, const struct base_headers *list)
{
    uint8_t *to = k->bytes;
    k->list.count = list->count;
    k->list.size = list->size;
    for (uint32_t i = 0; i < list->count; i++) {
        struct base_header *f = &k->list.field[i];
        *f = list->field[i];
        f->value = keep(&to, f->value, f->value_len);
        f->name = f->token != BASE_HEADER_OTHER ? (const uint8_t *)base_header_name((enum base_header_token)f->token) : keep(&to, f->name, f->name_len);
    }
    k->list.id = 0;
    k->bound = (uint32_t)http2_headers_bound(&k->list);
    k->list.id = ++h->known_ids;
    k->holders = 0;
    k->used = true;
    k->sections = 0;
    for (enum section s = SECTION_REQUEST; s <= SECTION_TRAILERS; s++)
        k->sections |= (uint8_t)(http2_validate(&k->list, s, &k->message[s]) << s);
}

const struct base_headers *http2_known_learn(struct http2_conn *c, const uint8_t *p, size_t n, const struct base_headers *list)
{
    const struct hpack_context *x = &c->h->hpack;
    if (n != list->count || n > HPACK_SEEN_BYTES || n == 0 || x->too_large || x->malformed || list->size > KNOWN_BYTES)
        return list;
    struct http2 *h = c->h;
    struct known *set = &h->known[set_of(h, list)], *k = set;
    while (k < set + KNOWN_WAYS && (k->list.id == 0 || !lists_equal(list, &k->list)))
        k++;
    if (k == set + KNOWN_WAYS) {
        k = place(set, h->known_ids);
        if (k == NULL)
            return list;
        fill(h, k, list);
    }
    k->used = true;
    hpack_seen_put(c->decoder.seen, &c->decoder.seen_at, k->list.id, p, n)->known = (uint8_t)(k - h->known);
    return &k->list;
}

bool http2_known_validate(const struct base_headers *h, enum section section, struct message *m)
{
    if (h->id == 0)
        return http2_validate(h, section, m);
    const struct known *k = known_of(h);
    *m = k->message[section];
    return k->sections >> section & 1;
}

void http2_list_hold(const struct base_headers *h)
{
    assert(h->id != 0);
    known_of(h)->holders++;
}

void http2_list_release(const struct base_headers *h)
{
    assert(known_of(h)->holders > 0);
    known_of(h)->holders--;
}
