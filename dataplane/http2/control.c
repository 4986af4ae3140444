/* What is to be said besides HEADERS and DATA: kept as marks and small queues, made into frames when somebody has room for them. */
#include "internal.h"

const char http2_preface[24] = {'P', 'R', 'I', ' ', '*', ' ', 'H', 'T', 'T', 'P', '/', '2', '.', '0', '\r', '\n', '\r', '\n', 'S', 'M', '\r', '\n', '\r', '\n'};

void http2_fatal(struct http2_conn *c, struct http2_event *ev, enum http2_error code, const char *debug)
{
    static const uint8_t drops[] = {
        [HTTP2_PROTOCOL_ERROR] = STATS_DROP_H2_PROTOCOL, [HTTP2_FLOW_CONTROL_ERROR] = STATS_DROP_H2_FLOW_CONTROL,
        [HTTP2_STREAM_CLOSED] = STATS_DROP_H2_STREAM_CLOSED, [HTTP2_FRAME_SIZE_ERROR] = STATS_DROP_H2_FRAME_SIZE,
        [HTTP2_COMPRESSION_ERROR] = STATS_DROP_H2_COMPRESSION};
    if (code < sizeof(drops) && drops[code] != 0) /* others are counted where they arise */
        stats_drop(c->h->stats, (enum stats_drop)drops[code]);
    http2_goaway(c, http2_last_id(c), code, debug);
    c->phase = PHASE_DEAD;
    memset(ev, 0, sizeof(*ev));
    ev->type = HTTP2_EVENT_FATAL;
    ev->code = code;
    ev->data = (const uint8_t *)debug;
    ev->len = debug != NULL ? (uint32_t)strlen(debug) : 0;
    ev->last_id = c->id;
}

void http2_resets_drop(struct http2_conn *c)
{
    for (struct reset *r; (r = c->reset_first) != NULL;) {
        c->reset_first = r->next;
        base_slab_free(&c->h->resets, r);
    }
    c->reset_count = 0;
    base_list_remove(&c->resetting);
}

void http2_evict(struct http2_conn *c, const char *debug)
{
    http2_end(c, HTTP2_ENHANCE_YOUR_CALM, debug);
    http2_resets_drop(c);
    if (c->block != NULL)
        base_slab_free(&c->h->blocks, c->block);
    c->block = NULL;
    c->block_id = 0;
    base_list_remove(&c->holding);
    base_list_push_back(&c->h->evicted, &c->holding);
}

struct http2_conn *http2_evicted_next(struct http2 *h)
{
    struct base_list *l = base_list_pop_front(&h->evicted);
    return l != NULL ? base_container(l, struct http2_conn, holding) : NULL;
}

const char *http2_evicted_why(const struct http2_conn *c)
{
    return c->unread ? "resets of its streams were unread while others waited" : "a header block was unfinished while others waited";
}

/* Where all records are in use: who has written none for longest most likely does not read, and among the first of those who has most.  An honest
 * peer's are written within a turn. */
static struct http2_conn *hoarder(struct http2 *h)
{
    struct http2_conn *worst = NULL;
    uint32_t looks = 0;
    assert(!base_list_empty(&h->resetting)); /* somebody has them */
    base_list_each (l, &h->resetting) {
        struct http2_conn *c = base_container(l, struct http2_conn, resetting);
        if (worst == NULL || c->reset_count > worst->reset_count)
            worst = c;
        if (++looks == RESETS_LOOKS)
            break;
    }
    return worst;
}

static struct reset *reset_alloc(struct http2_conn *c)
{
    struct http2 *h = c->h;
    if (c->reset_count == RESETS_QUEUE)
        return NULL;
    struct reset *r = base_slab_alloc(&h->resets);
    if (r != NULL)
        return r;
    struct http2_conn *worst = hoarder(h);
    if (worst == c)
        return NULL;
    stats_drop(h->stats, STATS_DROP_H2_RESETS_EVICTED);
    worst->unread = true;
    http2_evict(worst, "resets unread while others wait");
    return base_slab_alloc(&h->resets);
}

bool http2_reset_id(struct http2_conn *c, struct http2_event *ev, uint32_t id, enum http2_error code)
{
    struct reset *r = reset_alloc(c);
    if (r == NULL) { /* the peer makes them faster than it takes them */
        stats_drop(c->h->stats, STATS_DROP_H2_FLOOD);
        http2_fatal(c, ev, HTTP2_ENHANCE_YOUR_CALM, "too many refused streams");
        return false;
    }
    *r = (struct reset){NULL, id, code};
    if (c->reset_first == NULL) {
        c->reset_first = r;
        base_list_push_back(&c->h->resetting, &c->resetting);
    } else {
        c->reset_last->next = r;
    }
    c->reset_last = r;
    c->reset_count++;
    return true;
}

void http2_goaway(struct http2_conn *c, uint32_t last_id, enum http2_error code, const char *debug)
{
    size_t n = debug != NULL ? strlen(debug) : 0;
    if (c->phase == PHASE_DEAD) /* the error was told */
        return;
    if (c->goaway_sent || c->goaway_pending) /* section 6.8: never higher than before */
        last_id = last_id < c->goaway_last ? last_id : c->goaway_last;
    c->goaway_last = last_id;
    c->goaway_code = code;
    c->goaway_debug_len = (uint8_t)(n < DEBUG_MAX ? n : DEBUG_MAX);
    memcpy(c->goaway_debug, debug != NULL ? debug : "", c->goaway_debug_len);
    c->goaway_pending = true;
}

void http2_end(struct http2_conn *c, enum http2_error code, const char *debug)
{
    http2_goaway(c, http2_last_id(c), code, debug);
    c->phase = PHASE_DEAD;
}

bool http2_ping(struct http2_conn *c, uint64_t opaque)
{
    if (c->ping_out || c->ping_pending)
        return false;
    c->ping_pending = true;
    c->ping_opaque = opaque;
    return true;
}

uint32_t http2_max_streams_set(struct http2_conn *c, uint32_t n)
{
    uint32_t before = c->config.max_concurrent_streams;
    if (c->client || before == n)
        return before;
    if (n < before && !c->preface_pending) /* it has been told */
        c->promised = before - n > UINT32_MAX - c->promised ? UINT32_MAX : c->promised + before - n;
    c->config.max_concurrent_streams = n;
    c->max_streams_pending = !c->preface_pending;
    return before;
}

bool http2_control_pending(const struct http2_conn *c)
{
    return c->preface_pending || c->settings_acks > 0 || c->ping_count > 0 || c->ping_pending || c->goaway_pending ||
           c->max_streams_pending || c->credit_pending || c->reset_first != NULL || !base_list_empty(&c->control);
}

bool http2_output_due(const struct http2_conn *c)
{
    return c->ping_count == PING_QUEUE || c->settings_acks == SETTINGS_ACK_QUEUE || c->reset_count == RESETS_QUEUE;
}

static uint8_t *put_preface(struct http2_conn *c, uint8_t *p)
{
    if (c->client) {
        memcpy(p, http2_preface, sizeof(http2_preface));
        p += sizeof(http2_preface);
    }
    c->preface_pending = false;
    return http2_settings_put(c, p);
}

static uint8_t *put_max_streams(struct http2_conn *c, uint8_t *p)
{
    p = frame_header(p, 6, FRAME_SETTINGS, 0, 0);
    p[0] = 0, p[1] = SETTING_MAX_CONCURRENT_STREAMS;
    store_be32(p + 2, c->config.max_concurrent_streams);
    c->max_streams_pending = false;
    c->settings_unacked++;
    return p + 6;
}

static uint8_t *put_ping(uint8_t *p, uint32_t flags, uint64_t opaque)
{
    p = frame_header(p, 8, FRAME_PING, flags, 0);
    memcpy(p, &opaque, 8);
    return p + 8;
}

/* Its words are cut to the room that there is: better those lost than the whole frame. */
static uint8_t *put_goaway(struct http2_conn *c, uint8_t *p, size_t room)
{
    size_t words = room - (HTTP2_FRAME_HEADER + 8);
    if (words > c->goaway_debug_len)
        words = c->goaway_debug_len;
    p = frame_header(p, (uint32_t)(8 + words), FRAME_GOAWAY, 0, 0);
    store_be32(p, c->goaway_last);
    store_be32(p + 4, c->goaway_code);
    memcpy(p + 8, c->goaway_debug, words);
    c->goaway_pending = false;
    c->goaway_sent = true;
    return p + 8 + words;
}

static uint8_t *put_word(uint8_t *p, enum frame_type type, uint32_t id, uint32_t value)
{
    p = frame_header(p, 4, type, 0, id);
    store_be32(p, value);
    return p + 4;
}

static uint8_t *put_reset(struct http2_conn *c, uint8_t *p)
{
    struct reset *r = c->reset_first;
    c->reset_first = r->next;
    c->reset_count--;
    p = put_word(p, FRAME_RST_STREAM, r->id, r->code);
    base_slab_free(&c->h->resets, r);
    base_list_remove(&c->resetting);
    if (c->reset_first != NULL)
        base_list_push_back(&c->h->resetting, &c->resetting);
    return p;
}

/* RST_STREAM or WINDOW_UPDATE, whatever the first stream of the list waits for. */
static uint8_t *put_stream(struct http2_conn *c, uint8_t *p)
{
    struct stream *s = base_container(base_list_pop_front(&c->control), struct stream, control);
    if (s->flags & STREAM_RST_PENDING) {
        p = put_word(p, FRAME_RST_STREAM, s->s.id, s->reset_code);
        http2_stream_reset_told(s);
        return p;
    }
    s->flags &= (uint16_t)~STREAM_CREDIT_PENDING;
    uint32_t n = s->s.recv_credit;
    if (n == 0 || (s->s.state != HTTP2_STREAM_OPEN && s->s.state != HTTP2_STREAM_HALF_LOCAL))
        return p;
    s->s.recv_credit = 0;
    s->s.recv_window += (int32_t)n;
    return put_word(p, FRAME_WINDOW_UPDATE, s->s.id, n);
}

static uint8_t *put_credit(struct http2_conn *c, uint8_t *p)
{
    uint32_t n = c->recv_credit;
    c->credit_pending = false;
    c->recv_credit = 0;
    c->recv_window += (int32_t)n;
    return n > 0 ? put_word(p, FRAME_WINDOW_UPDATE, 0, n) : p;
}

#define WORD_FRAME (HTTP2_FRAME_HEADER + 4)
#define PING_FRAME (HTTP2_FRAME_HEADER + 8)

/* One frame of what is pending, in the order of the door; NULL: nothing, or no room for it. */
static uint8_t *put_next(struct http2_conn *c, uint8_t *p, size_t room)
{
    if (c->preface_pending)
        return room >= http2_settings_size(c) ? put_preface(c, p) : NULL;
    if (c->settings_acks > 0) {
        if (room < HTTP2_FRAME_HEADER)
            return NULL;
        c->settings_acks--;
        return frame_header(p, 0, FRAME_SETTINGS, FLAG_ACK, 0);
    }
    if (c->max_streams_pending)
        return room >= HTTP2_FRAME_HEADER + 6 ? put_max_streams(c, p) : NULL;
    if (c->ping_count > 0) {
        if (room < PING_FRAME)
            return NULL;
        uint64_t opaque = c->pings[c->ping_head];
        c->ping_head = (uint8_t)((c->ping_head + 1) % PING_QUEUE);
        c->ping_count--;
        return put_ping(p, FLAG_ACK, opaque);
    }
    if (c->ping_pending && !c->goaway_pending) { /* section 6.8: who answers a PING that follows a warning has read that, and opens nothing behind it */
        if (room < PING_FRAME)
            return NULL;
        c->ping_pending = false;
        c->ping_out = true;
        return put_ping(p, 0, c->ping_opaque);
    }
    if (c->reset_first != NULL)
        return room >= WORD_FRAME ? put_reset(c, p) : NULL;
    if (c->credit_pending)
        return room >= WORD_FRAME ? put_credit(c, p) : NULL;
    if (!base_list_empty(&c->control))
        return room >= WORD_FRAME ? put_stream(c, p) : NULL;
    if (c->goaway_pending)
        return room >= PING_FRAME ? put_goaway(c, p, room) : NULL;
    return NULL;
}

size_t http2_control_write(struct http2_conn *c, uint8_t *out, size_t room)
{
    uint8_t *p = out, *next;
    while ((next = put_next(c, p, room - (size_t)(p - out))) != NULL)
        p = next;
    return (size_t)(p - out);
}
