/* HEADERS and DATA of ours. */
#include "internal.h"

/* At most this many octets of a block in one frame: what every peer takes (section 4.2), so that the bound needs no connection. */
#define FRAGMENT FRAME_SIZE_MIN

size_t http2_headers_bound(const struct base_headers *h)
{
    if (h->id != 0)
        return known_of(h)->bound;
    size_t n = hpack_encode_bound(h);
    return n + HTTP2_FRAME_HEADER * (n / FRAGMENT + 1);
}

/* The block stands at out + 9: spread it to make room for the headers of CONTINUATION frames, from the last one on. */
static size_t frames_make(uint8_t *out, size_t n, uint32_t id, uint32_t flags)
{
    size_t frames = n > FRAGMENT ? (n + FRAGMENT - 1) / FRAGMENT : 1;
    for (size_t i = frames; i-- > 1;) {
        size_t at = i * FRAGMENT, len = i == frames - 1 ? n - at : FRAGMENT;
        uint8_t *frame = out + i * (HTTP2_FRAME_HEADER + FRAGMENT);
        memmove(frame + HTTP2_FRAME_HEADER, out + HTTP2_FRAME_HEADER + at, len);
        frame_header(frame, (uint32_t)len, FRAME_CONTINUATION, i == frames - 1 ? FLAG_END_HEADERS : 0, id);
    }
    frame_header(out, (uint32_t)(frames > 1 ? FRAGMENT : n), FRAME_HEADERS, flags | (frames > 1 ? 0 : FLAG_END_HEADERS), id);
    return n + frames * HTTP2_FRAME_HEADER;
}

/* A request opens its stream: ids must go out in ascending order (section 5.1.1), whatever the order of http2_stream_open(). */
static void request_begin(struct http2_conn *c, struct stream *s, const struct base_headers *h)
{
    if (s->s.id < c->last_written) {
        http2_stream_renumber(s, c->next_id);
        c->next_id += 2;
    }
    c->last_written = s->s.id;
    s->s.state = HTTP2_STREAM_OPEN;
    const struct base_header *method = base_headers_find(h, BASE_HEADER_METHOD);
    if (method != NULL && base_header_value_is(method, "HEAD"))
        s->flags |= STREAM_HEAD;
}

static bool may_send(const struct stream *s)
{
    return s->s.state == HTTP2_STREAM_OPEN || s->s.state == HTTP2_STREAM_HALF_REMOTE;
}

static bool interim(const struct http2_conn *c, const struct base_headers *h)
{
    const struct base_header *status = c->client ? NULL : base_headers_find(h, BASE_HEADER_STATUS);
    return status != NULL && status->value_len == 3 && status->value[0] == '1';
}

size_t http2_headers_write(struct http2_stream *stream, const struct base_headers *h, bool end_stream, uint8_t *out, size_t room)
{
    struct stream *s = stream_of(stream);
    struct http2_conn *c = s->s.conn;
    if (room < http2_headers_bound(h))
        return 0;
    if (s->s.state == HTTP2_STREAM_IDLE) {
        if (s->s.id < c->last_written && c->next_id > ID_MAX)
            return 0;
        request_begin(c, s, h);
    }
    if (!may_send(s))
        return 0;
    uint8_t *end = hpack_encode(&c->h->hpack, &c->encoder, h, out + HTTP2_FRAME_HEADER);
    size_t n = (size_t)(end - out) - HTTP2_FRAME_HEADER;
    if (!s->s.headers_out && !interim(c, h)) {
        s->s.headers_out = true;
        http2_flood_answered(c);
    }
    http2_flood_progress(c);
    size_t written = frames_make(out, n, s->s.id, end_stream ? FLAG_END_STREAM : 0);
    if (end_stream)
        http2_stream_ended_local(s);
    return written;
}

uint32_t http2_data_allowed(const struct http2_stream *stream)
{
    const struct http2_conn *c = stream->conn;
    if (!stream->headers_out || (stream->state != HTTP2_STREAM_OPEN && stream->state != HTTP2_STREAM_HALF_REMOTE))
        return 0;
    int32_t window = stream->send_window < c->send_window ? stream->send_window : c->send_window;
    if (window <= 0)
        return 0;
    return (uint32_t)window < c->peer_max_frame ? (uint32_t)window : c->peer_max_frame;
}

void http2_data_begin(struct http2_stream *stream, uint32_t n, bool end_stream, uint8_t out[HTTP2_FRAME_HEADER])
{
    struct http2_conn *c = stream->conn;
    assert(n <= http2_data_allowed(stream) && (n > 0 || end_stream));
    stream->send_window -= (int32_t)n;
    c->send_window -= (int32_t)n;
    frame_header(out, n, FRAME_DATA, end_stream ? FLAG_END_STREAM : 0, stream->id);
    http2_flood_progress(c);
    if (end_stream)
        http2_stream_ended_local(stream_of(stream));
}
