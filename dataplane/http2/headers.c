/* HEADERS and CONTINUATION: a header block together, decoded, judged, told.
 *
 * A block that is whole in the input is decoded there.  Otherwise it is collected in a block as large as the largest list that is taken (hpack.block).  One
 * that does not fit is above every limit of ours: it is decoded piece by piece for the dynamic table's sake only ("spilled"), BLOCK_BEYOND octets of it. */
#include "internal.h"

static void block_drop(struct http2_conn *c)
{
    if (c->block == NULL)
        return;
    base_list_remove(&c->holding);
    if (c->h->spent != NULL) /* nobody was told of it, or input would have stopped there */
        base_slab_free(&c->h->blocks, c->h->spent);
    c->h->spent = c->block; /* fields may point to it until the next input */
    c->block = NULL;
}

static void block_end(struct http2_conn *c)
{
    block_drop(c);
    c->block_id = 0;
}

static void hpack_failed(struct http2_conn *c, enum hpack_result r, struct http2_event *ev)
{
    block_end(c);
    if (r == HPACK_NO_MEMORY) {
        stats_drop(c->h->stats, STATS_DROP_H2_NO_MEMORY);
        http2_fatal(c, ev, HTTP2_INTERNAL_ERROR, "no memory for a dynamic table");
    } else {
        http2_fatal(c, ev, HTTP2_COMPRESSION_ERROR, "header block"); /* section 4.3 */
    }
}

static void event_headers(struct http2_conn *c, struct stream *s, bool trailers, bool end, struct http2_event *ev)
{
    struct hpack_context *x = &c->h->hpack;
    http2_flood_progress(c);
    if (x->too_large)
        stats_drop(c->h->stats, STATS_DROP_H2_HEADER_LIST);
    ev->type = HTTP2_EVENT_HEADERS;
    ev->stream = &s->s;
    ev->end_stream = end;
    ev->trailers = trailers;
    ev->too_large = x->too_large;
    ev->headers = c->h->list;
    if (end)
        http2_stream_ended_remote(s);
}

/* Sections 8.1 and 8.1.1. A list that is too large was not seen as a whole: only what is sure is judged. */
static bool message_ok(struct http2_conn *c, struct stream *s, enum section section, bool end, struct message *m)
{
    struct hpack_context *x = &c->h->hpack;
    *m = (struct message){0};
    if (c->block_self || x->malformed)
        return false;
    if (section == SECTION_TRAILERS && !end)
        return false;
    if (!x->too_large && !http2_known_validate(c->h->list, section, m))
        return false;
    if (section == SECTION_RESPONSE && m->status >= 100 && m->status < 200)
        return !end;
    if (section == SECTION_TRAILERS)
        return !(s->flags & STREAM_LENGTH) || s->length_left == 0;
    bool no_body = s != NULL && (s->flags & STREAM_HEAD || m->status == 204 || m->status == 304);
    return !end || no_body || !m->has_length || m->length == 0;
}

static void message_store(struct stream *s, enum section section, const struct message *m)
{
    if (section == SECTION_TRAILERS || (section == SECTION_RESPONSE && m->status >= 100 && m->status < 200))
        return;
    s->s.headers_in = true;
    if (m->has_length && !(s->flags & STREAM_HEAD) && m->status != 204 && m->status != 304) {
        s->flags |= STREAM_LENGTH;
        s->length_left = m->length;
    }
}

static void refuse(struct http2_conn *c, struct http2_event *ev, enum stats_drop why)
{
    stats_drop(c->h->stats, why);
    if (http2_flood(c, HTTP2_RATE_RESETS, ev))
        http2_reset_id(c, ev, c->id, HTTP2_REFUSED_STREAM); /* section 5.1.2 */
}

/* False: there is no such stream. */
static bool stream_new(struct http2_conn *c, bool end, struct http2_event *ev)
{
    struct message m;
    if (c->id > c->last_seen + 2) {
        c->gap_low = c->last_seen;
        c->gap_high = c->id;
    }
    c->last_seen = c->id;
    if ((c->goaway_sent || c->goaway_pending) && c->id > c->goaway_last) { /* section 6.8: it will find out by itself */
        stats_drop(c->h->stats, STATS_DROP_H2_REFUSED);
        return false;
    }
    if (c->active >= c->config.max_concurrent_streams) {
        refuse(c, ev, STATS_DROP_H2_REFUSED);
        return false;
    }
    if (!message_ok(c, NULL, SECTION_REQUEST, end, &m)) {
        stats_drop(c->h->stats, STATS_DROP_H2_PROTOCOL);
        if (http2_flood(c, HTTP2_RATE_RESETS, ev))
            http2_reset_id(c, ev, c->id, HTTP2_PROTOCOL_ERROR);
        return false;
    }
    struct stream *s = http2_stream_make(c, c->id);
    if (s == NULL) {
        refuse(c, ev, STATS_DROP_H2_STREAMS_FULL);
        if (ev->type == HTTP2_EVENT_NONE)
            ev->type = HTTP2_EVENT_FULL;
        return false;
    }
    c->last_let = c->id;
    s->s.state = HTTP2_STREAM_OPEN;
    s->flags |= STREAM_REPORTED;
    message_store(s, SECTION_REQUEST, &m);
    event_headers(c, s, false, end, ev);
    ev->opened = true;
    return true;
}

static void stream_more(struct http2_conn *c, struct stream *s, bool end, struct http2_event *ev)
{
    struct message m;
    enum section section = s->s.headers_in ? SECTION_TRAILERS : SECTION_RESPONSE;
    if (s->s.state == HTTP2_STREAM_HALF_REMOTE) {
        http2_stream_error(s, ev, HTTP2_STREAM_CLOSED); /* section 5.1 */
        return;
    }
    if (!message_ok(c, s, section, end, &m)) {
        http2_stream_error(s, ev, HTTP2_PROTOCOL_ERROR);
        return;
    }
    message_store(s, section, &m);
    event_headers(c, s, section == SECTION_TRAILERS, end, ev);
}

/* The block is decoded: whose is it? */
static void deliver(struct http2_conn *c, bool end, struct http2_event *ev)
{
    struct stream *s = http2_stream_find(c, c->id);
    if (s != NULL && s->s.state != HTTP2_STREAM_CLOSED_STATE && s->s.state != HTTP2_STREAM_IDLE)
        stream_more(c, s, end, ev);
    else if (s != NULL ? s->s.state == HTTP2_STREAM_CLOSED_STATE : !http2_stream_idle(c, c->id)) {
        if (s == NULL && c->id > c->gap_low && c->id < c->gap_high) /* section 5.1.1: closed without ever having been used */
            http2_fatal(c, ev, HTTP2_PROTOCOL_ERROR, "stream id below an earlier one");
        else
            http2_stream_late(c, s, ev);
    } else if (!c->client && (c->id & 1) == 1) {
        if (!stream_new(c, end, ev) && !end)
            http2_stream_late_allow(c, (int32_t)c->recv_initial);
    } else
        http2_fatal(c, ev, HTTP2_PROTOCOL_ERROR, "HEADERS on an idle stream"); /* section 5.1.1 */
}

static void decode_whole(struct http2_conn *c, const uint8_t *p, const uint8_t *end, bool end_stream, struct http2_event *ev)
{
    struct hpack_context *x = &c->h->hpack;
    const uint8_t *at = p;
    size_t n = (size_t)(end - p);
    hpack_block_begin(x, c->config.max_header_list_size);
    x->field_limit = c->config.bounds->fields < BASE_HEADERS_MAX ? c->config.bounds->fields : BASE_HEADERS_MAX;
    const struct base_headers *list = http2_known_recall(c, p, n);
    if (list == NULL) {
        enum hpack_result r = hpack_decode(x, &c->decoder, &at, end, true);
        if (r != HPACK_OK) {
            hpack_failed(c, r, ev);
            return;
        }
        list = http2_known_learn(c, p, n, &x->headers);
    }
    c->h->list = list;
    block_end(c);
    deliver(c, end_stream, ev);
}

/* For the table only; what is not a whole field stays in the block. False: the connection was ended. */
static bool spill(struct http2_conn *c, bool last, struct http2_event *ev)
{
    struct hpack_context *x = &c->h->hpack;
    struct block *b = c->block;
    const uint8_t *at = b->bytes, *end = b->bytes + b->used;
    hpack_block_begin(x, 0);
    x->begun = c->block_begun;
    enum hpack_result r = hpack_decode(x, &c->decoder, &at, end, last);
    if (r == HPACK_OK && !last && at == b->bytes) {
        at = end;
        if (!hpack_decode_large(x, &c->decoder, b->bytes, end, &c->block_skip))
            r = HPACK_ERROR;
    }
    if (r != HPACK_OK) {
        hpack_failed(c, r, ev);
        return false;
    }
    c->block_begun = x->begun;
    c->block_malformed |= x->malformed;
    c->block_spilled = true;
    b->used = (uint32_t)(end - at);
    memmove(b->bytes, at, b->used);
    return true;
}

static void decode_collected(struct http2_conn *c, struct http2_event *ev)
{
    struct block *b = c->block;
    bool end_stream = c->block_flags & FLAG_END_STREAM;
    if (c->block_skip > 0) {
        hpack_failed(c, HPACK_ERROR, ev);
        return;
    }
    if (!c->block_spilled) {
        decode_whole(c, b->bytes, b->bytes + b->used, end_stream, ev);
        return;
    }
    if (!spill(c, true, ev))
        return;
    c->h->hpack.too_large = true;
    c->h->hpack.malformed = c->block_malformed; /* of all its pieces */
    c->h->list = &c->h->hpack.headers;
    block_end(c);
    deliver(c, end_stream, ev);
}

/* Prefix of a HEADERS payload: pad length, priority. */
static uint32_t prefix_size(const struct http2_conn *c)
{
    return (c->flags & FLAG_PADDED ? 1u : 0u) + (c->flags & FLAG_PRIORITY ? 5u : 0u);
}

/* False: the connection was ended. */
static bool prefix_parse(struct http2_conn *c, const uint8_t *p, struct http2_event *ev)
{
    uint32_t prefix = prefix_size(c);
    c->pad = c->flags & FLAG_PADDED ? *p++ : 0;
    c->block_self = (c->flags & FLAG_PRIORITY) && (load_be32(p) & ID_MAX) == c->id; /* RFC 7540 section 5.3.1 */
    if (c->pad > c->len - prefix) {
        http2_fatal(c, ev, HTTP2_PROTOCOL_ERROR, "padding exceeds the frame"); /* section 6.2 */
        return false;
    }
    c->left = c->len - prefix - c->pad;
    return true;
}

size_t http2_headers_whole(struct http2_conn *c, const uint8_t *in, struct http2_event *ev)
{
    uint32_t len = c->len, prefix = prefix_size(c);
    if (prefix_parse(c, in, ev)) {
        http2_frame_end(c);
        decode_whole(c, in + prefix, in + prefix + c->left, c->flags & FLAG_END_STREAM, ev);
    }
    return len;
}

/* Collecting is over when a frame with END_HEADERS is. */
static void fragment_end(struct http2_conn *c, struct http2_event *ev)
{
    bool last = c->flags & FLAG_END_HEADERS;
    http2_frame_skip(c, c->pad);
    if (last)
        decode_collected(c, ev);
}

/* All blocks are in use. Who holds one longest has most likely no mind to finish: an honest peer needs it for less than a round trip. */
static struct block *take_from_oldest(struct http2 *h)
{
    struct base_list *l = base_list_pop_front(&h->holders);
    if (l == NULL)
        return NULL;
    struct http2_conn *old = base_container(l, struct http2_conn, holding);
    struct block *b = old->block;
    old->block = NULL;
    old->block_id = 0;
    stats_drop(h->stats, STATS_DROP_H2_BLOCK_EVICTED);
    http2_end(old, HTTP2_ENHANCE_YOUR_CALM, "a header block unfinished while others wait");
    base_list_push_back(&h->evicted, &old->holding);
    return b;
}

struct http2_conn *http2_evicted_next(struct http2 *h)
{
    struct base_list *l = base_list_pop_front(&h->evicted);
    return l != NULL ? base_container(l, struct http2_conn, holding) : NULL;
}

/* Frames of a block: of 16 KiB, what every peer's may have, so many hold the largest list. */
static uint32_t frames_most(const struct http2_conn *c)
{
    return 1 + c->config.bounds->continuations + (c->config.max_header_list_size - 1) / FRAME_SIZE_MIN;
}

static void fragment_begin(struct http2_conn *c, struct http2_event *ev)
{
    c->block_total += c->left;
    if (c->block_total > c->h->hpack.block + BLOCK_BEYOND || ++c->block_frames > frames_most(c)) {
        stats_drop(c->h->stats, STATS_DROP_H2_FLOOD_CONTINUATION);
        block_end(c);
        http2_fatal(c, ev, HTTP2_ENHANCE_YOUR_CALM, "header block too large, or in too many frames");
        return;
    }
    if (c->block == NULL) {
        c->block = base_slab_alloc(&c->h->blocks);
        if (c->block == NULL)
            c->block = take_from_oldest(c->h);
        if (c->block == NULL) {
            stats_drop(c->h->stats, STATS_DROP_H2_NO_MEMORY);
            http2_fatal(c, ev, HTTP2_INTERNAL_ERROR, "no memory for a header block");
            return;
        }
        c->block->used = 0;
        base_list_push_back(&c->h->holders, &c->holding);
    }
    c->phase = PHASE_BLOCK;
    if (c->left == 0)
        fragment_end(c, ev);
}

void http2_headers_prefix(struct http2_conn *c, struct http2_event *ev)
{
    if (prefix_parse(c, c->small, ev))
        fragment_begin(c, ev);
}

/* The header of a HEADERS or CONTINUATION frame is known, and that it may come now. */
void http2_headers_begin(struct http2_conn *c, struct http2_event *ev)
{
    if (c->type == FRAME_CONTINUATION) {
        c->left = c->len;
        fragment_begin(c, ev);
        return;
    }
    uint32_t prefix = prefix_size(c);
    if (c->len < prefix) {
        http2_fatal(c, ev, HTTP2_FRAME_SIZE_ERROR, "HEADERS too short");
        return;
    }
    c->block_id = c->id;
    c->block_flags = c->flags;
    c->block_frames = 0;
    c->block_total = c->block_skip = 0;
    c->block_spilled = c->block_begun = c->block_malformed = c->block_self = false;
    c->phase = PHASE_SMALL;
    c->small_have = 0;
    c->small_need = (uint8_t)prefix;
}

size_t http2_headers_fragment(struct http2_conn *c, const uint8_t *in, size_t n, struct http2_event *ev)
{
    struct block *b = c->block;
    size_t take = n < c->left ? n : c->left;
    if (c->block_skip > 0) {
        take = take < c->block_skip ? take : c->block_skip;
        c->block_skip -= (uint32_t)take;
    } else {
        if (take > c->h->hpack.block - b->used)
            take = c->h->hpack.block - b->used;
        memcpy(b->bytes + b->used, in, take);
        b->used += (uint32_t)take;
    }
    c->left -= (uint32_t)take;
    if (c->left == 0)
        fragment_end(c, ev);
    else if (b->used == c->h->hpack.block)
        spill(c, false, ev);
    return take;
}
