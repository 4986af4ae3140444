/* The input machine: octets to frames, in whatever pieces they come.
 *
 *   PREFACE -> HEADER -> SMALL | SETTINGS | BLOCK | DATA | SKIP -> HEADER ...      any -> DEAD on a connection error
 *
 * A payload is never kept here but for small fixed ones; which stream and whether it may is asked when the frame is known. */
#include "internal.h"

void http2_frame_end(struct http2_conn *c)
{
    c->phase = PHASE_HEADER;
    c->small_have = 0;
}

/* Leaves out what is left of the frame, padding included. */
void http2_frame_skip(struct http2_conn *c, uint32_t n)
{
    c->left = n;
    if (n == 0)
        http2_frame_end(c);
    else
        c->phase = PHASE_SKIP;
}

static void small_begin(struct http2_conn *c, uint32_t need)
{
    c->phase = PHASE_SMALL;
    c->small_have = 0;
    c->small_need = (uint8_t)need;
}

/* Frames on stream 0, and those that must not be. */
static bool id_valid(const struct http2_conn *c)
{
    switch (c->type) {
    case FRAME_SETTINGS:
    case FRAME_PING:
    case FRAME_GOAWAY:
        return c->id == 0;
    case FRAME_WINDOW_UPDATE:
        return true;
    default:
        return c->id != 0 || c->type > FRAME_CONTINUATION;
    }
}

static void fixed_begin(struct http2_conn *c, struct http2_event *ev, uint32_t len)
{
    if (c->len != len)
        http2_fatal(c, ev, HTTP2_FRAME_SIZE_ERROR, "frame of another size");
    else
        small_begin(c, len);
}

/* Section 6.3: a stream error; on a stream that is not there it can only be the connection's. */
static void priority_begin(struct http2_conn *c, struct http2_event *ev)
{
    struct stream *s = c->len == 5 ? NULL : http2_stream_find(c, c->id);
    if (s == NULL || s->s.state == HTTP2_STREAM_CLOSED_STATE || s->s.state == HTTP2_STREAM_IDLE) {
        fixed_begin(c, ev, 5);
        return;
    }
    http2_stream_error(s, ev, HTTP2_FRAME_SIZE_ERROR);
    if (c->phase != PHASE_DEAD)
        http2_frame_skip(c, c->len);
}

static void dispatch(struct http2_conn *c, struct http2_event *ev)
{
    switch (c->type) {
    case FRAME_DATA:
        http2_data_header(c, ev);
        return;
    case FRAME_HEADERS:
    case FRAME_CONTINUATION:
        http2_headers_begin(c, ev);
        return;
    case FRAME_SETTINGS:
        http2_settings_begin(c, ev);
        return;
    case FRAME_PRIORITY:
        priority_begin(c, ev);
        return;
    case FRAME_RST_STREAM:
    case FRAME_WINDOW_UPDATE:
        fixed_begin(c, ev, 4);
        return;
    case FRAME_PING:
        fixed_begin(c, ev, 8);
        return;
    case FRAME_GOAWAY:
        if (c->len < 8)
            http2_fatal(c, ev, HTTP2_FRAME_SIZE_ERROR, "GOAWAY too short");
        else
            small_begin(c, c->len < SMALL ? c->len : SMALL);
        return;
    case FRAME_PUSH_PROMISE: /* section 8.4: never from a client; from a server not after ENABLE_PUSH 0 */
        http2_fatal(c, ev, HTTP2_PROTOCOL_ERROR, "PUSH_PROMISE");
        return;
    default: /* section 5.5: ignored */
        if (http2_flood(c, HTTP2_RATE_OTHER, ev))
            http2_frame_skip(c, c->len);
    }
}

static void header_parse(struct http2_conn *c, const uint8_t *p, struct http2_event *ev)
{
    c->len = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
    c->type = p[3];
    c->flags = p[4];
    c->id = load_be32(p + 5) & ID_MAX;
    c->pad = 0;
    if (c->block_id != 0 ? c->type != FRAME_CONTINUATION || c->id != c->block_id : c->type == FRAME_CONTINUATION)
        http2_fatal(c, ev, HTTP2_PROTOCOL_ERROR, "CONTINUATION expected, or not"); /* section 6.10 */
    else if (!c->peer_settings && (c->type != FRAME_SETTINGS || (c->flags & FLAG_ACK)))
        http2_fatal(c, ev, HTTP2_PROTOCOL_ERROR, "SETTINGS must come first"); /* section 3.4 */
    else if (c->len > c->config.max_frame_size)
        http2_fatal(c, ev, HTTP2_FRAME_SIZE_ERROR, "frame too large"); /* section 4.2 */
    else if (!id_valid(c))
        http2_fatal(c, ev, HTTP2_PROTOCOL_ERROR, "stream 0, or not"); /* sections 6.1 to 6.10 */
    else
        dispatch(c, ev);
}

static void rst_stream(struct http2_conn *c, struct http2_event *ev)
{
    struct stream *s = http2_stream_find(c, c->id);
    bool idle = s != NULL ? s->s.state == HTTP2_STREAM_IDLE : http2_stream_idle(c, c->id);
    /* DEVIATION: section 6.4 wants a connection error.  gRPC's core sends RST_STREAM for a call that is cancelled between getting its number and
     * having its HEADERS written (all its languages do, in every release): where there are other streams, they live on. */
    bool cancelled_unsent = idle && !c->client && (c->id & 1) == 1;
    if (idle && !cancelled_unsent) {
        http2_fatal(c, ev, HTTP2_PROTOCOL_ERROR, "RST_STREAM on an idle stream");
        return;
    }
    if (s == NULL || s->s.state == HTTP2_STREAM_CLOSED_STATE) {
        if (!http2_flood(c, HTTP2_RATE_OTHER, ev))
            return;
        if (s != NULL)
            http2_stream_forget_reset(s);
        else if (!c->client && c->last_seen == 0)
            ev->type = HTTP2_EVENT_UNSENT;
        return;
    }
    if (!c->client && !s->s.headers_out && !http2_flood_reset(s, ev))
        return;
    http2_stream_close_reset(s);
    ev->type = HTTP2_EVENT_RESET;
    ev->stream = &s->s;
    ev->code = load_be32(c->small);
}

static void ping(struct http2_conn *c, struct http2_event *ev)
{
    uint64_t opaque;
    memcpy(&opaque, c->small, 8);
    if (c->flags & FLAG_ACK) {
        if (!c->ping_out || opaque != c->ping_opaque) {
            http2_flood(c, HTTP2_RATE_PINGS, ev);
            return;
        }
        c->ping_out = false;
        ev->type = HTTP2_EVENT_PING_ACK;
        ev->opaque = opaque;
        return;
    }
    if (!http2_flood(c, HTTP2_RATE_PINGS, ev))
        return;
    if (c->ping_count == PING_QUEUE) {
        stats_drop(c->h->stats, STATS_DROP_H2_FLOOD);
        http2_fatal(c, ev, HTTP2_ENHANCE_YOUR_CALM, "too many PING frames unanswered");
        return;
    }
    c->pings[(c->ping_head + c->ping_count++) % PING_QUEUE] = opaque;
    ev->type = HTTP2_EVENT_PING;
}

static void priority(struct http2_conn *c, struct http2_event *ev)
{
    if (!http2_flood(c, HTTP2_RATE_PRIORITY, ev))
        return;
    if ((load_be32(c->small) & ID_MAX) != c->id) /* RFC 7540 section 5.3.1: a stream cannot depend on itself */
        return;
    struct stream *s = http2_stream_find(c, c->id);
    if (s != NULL && s->s.state != HTTP2_STREAM_CLOSED_STATE && s->s.state != HTTP2_STREAM_IDLE)
        http2_stream_error(s, ev, HTTP2_PROTOCOL_ERROR);
    else
        http2_fatal(c, ev, HTTP2_PROTOCOL_ERROR, "stream depends on itself");
}

static void goaway(struct http2_conn *c, struct http2_event *ev)
{
    if (!http2_flood(c, HTTP2_RATE_OTHER, ev))
        return;
    c->goaway_received = true;
    ev->type = HTTP2_EVENT_GOAWAY;
    ev->last_id = load_be32(c->small) & ID_MAX;
    if (c->client && ev->last_id < c->goaway_left)
        c->goaway_left = ev->last_id;
    ev->code = load_be32(c->small + 4);
    ev->data = c->small + 8;
    ev->len = (uint32_t)c->small_have - 8;
}

/* A payload of known size is together, or the prefix of HEADERS or DATA. */
static void small_complete(struct http2_conn *c, struct http2_event *ev)
{
    switch (c->type) {
    case FRAME_HEADERS:
        http2_headers_prefix(c, ev);
        return;
    case FRAME_DATA:
        c->pad = c->small[0];
        http2_data_header(c, ev);
        return;
    case FRAME_RST_STREAM:
        rst_stream(c, ev);
        break;
    case FRAME_WINDOW_UPDATE:
        http2_window_update(c, ev);
        break;
    case FRAME_PING:
        ping(c, ev);
        break;
    case FRAME_PRIORITY:
        priority(c, ev);
        break;
    default:
        goaway(c, ev);
    }
    if (c->phase != PHASE_DEAD)
        http2_frame_skip(c, c->type == FRAME_GOAWAY ? c->len - c->small_need : 0);
}

static size_t small_piece(struct http2_conn *c, const uint8_t *in, size_t n, struct http2_event *ev)
{
    size_t take = (size_t)c->small_need - c->small_have;
    if (take > n)
        take = n;
    memcpy(c->small + c->small_have, in, take);
    c->small_have = (uint8_t)(c->small_have + take);
    if (c->small_have == c->small_need)
        small_complete(c, ev);
    return take;
}

/* HEADERS without padding and priority have nothing to wait for. */
static void header_parsed(struct http2_conn *c, struct http2_event *ev)
{
    if (c->phase == PHASE_SMALL && c->small_need == 0)
        http2_headers_prefix(c, ev);
}

static size_t header_piece(struct http2_conn *c, const uint8_t *in, size_t n, struct http2_event *ev)
{
    if (c->small_have > 0 || n < HTTP2_FRAME_HEADER) {
        size_t take = HTTP2_FRAME_HEADER - (size_t)c->small_have;
        if (take > n)
            take = n;
        memcpy(c->small + c->small_have, in, take);
        c->small_have = (uint8_t)(c->small_have + take);
        if (c->small_have == HTTP2_FRAME_HEADER) {
            c->small_have = 0;
            header_parse(c, c->small, ev);
            header_parsed(c, ev);
        }
        return take;
    }
    header_parse(c, in, ev);
    /* The usual case: a block that is whole is decoded where it stands. */
    if (c->type == FRAME_HEADERS && (c->flags & FLAG_END_HEADERS) && c->phase != PHASE_DEAD && c->len <= n - HTTP2_FRAME_HEADER &&
        c->len <= HPACK_BLOCK)
        return HTTP2_FRAME_HEADER + http2_headers_whole(c, in + HTTP2_FRAME_HEADER, ev);
    header_parsed(c, ev);
    return HTTP2_FRAME_HEADER;
}

/* Section 3.4. */
static size_t preface_piece(struct http2_conn *c, const uint8_t *in, size_t n, struct http2_event *ev)
{
    size_t take = sizeof(http2_preface) - c->small_have;
    if (take > n)
        take = n;
    if (memcmp(in, http2_preface + c->small_have, take) != 0) {
        http2_fatal(c, ev, HTTP2_PROTOCOL_ERROR, "not HTTP/2");
        return n;
    }
    c->small_have = (uint8_t)(c->small_have + take);
    if (c->small_have == sizeof(http2_preface))
        http2_frame_end(c);
    return take;
}

static size_t step(struct http2_conn *c, const uint8_t *in, size_t n, struct http2_event *ev)
{
    switch ((enum phase)c->phase) {
    case PHASE_PREFACE:
        return preface_piece(c, in, n, ev);
    case PHASE_HEADER:
        return header_piece(c, in, n, ev);
    case PHASE_SMALL:
        return small_piece(c, in, n, ev);
    case PHASE_SETTINGS:
        return http2_settings_piece(c, in, n, ev);
    case PHASE_BLOCK:
        return http2_headers_fragment(c, in, n, ev);
    case PHASE_DATA:
        return http2_data_piece(c, in, n, ev);
    case PHASE_SKIP:
        if (n > c->left)
            n = c->left;
        http2_frame_skip(c, c->left - (uint32_t)n);
        return n;
    case PHASE_DEAD:
        break;
    }
    return n;
}

size_t http2_input(struct http2_conn *c, const uint8_t *in, size_t n, struct http2_event *ev)
{
    struct http2 *h = c->h;
    size_t done = 0;
    memset(ev, 0, sizeof(*ev));
    if (h->spent != NULL) {
        base_slab_free(&h->blocks, h->spent);
        h->spent = NULL;
    }
    /* PING and SETTINGS are events of their own: so this ends at the latest behind the frame that fills a queue of answers. */
    while (done < n && ev->type == HTTP2_EVENT_NONE) {
        done += step(c, in + done, n - done, ev);
        if (c->reset_count == RESETS_QUEUE)
            break;
    }
    return done;
}
