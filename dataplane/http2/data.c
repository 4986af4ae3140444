/* DATA: the whole frame is charged to the windows when its header is known (section 6.9.1), then its payload passes by as ranges of
 * the input.  Padding is charged too, and stands in the `flow` of the first event. */
#include "internal.h"

/* Nobody will see the payload: its octets return to the connection's window at once. */
static void discard(struct http2_conn *c)
{
    http2_conn_credit(c, c->len);
    c->data_stream = NULL;
    http2_frame_skip(c, c->left + c->pad);
}

static bool window_take(struct http2_conn *c, struct http2_event *ev)
{
    if ((int64_t)c->recv_window < (int64_t)c->len) {
        http2_fatal(c, ev, HTTP2_FLOW_CONTROL_ERROR, "connection window exceeded");
        return false;
    }
    c->recv_window -= (int32_t)c->len;
    return true;
}

/* May this stream take the frame? HTTP2_NO_ERROR, or what is wrong with it. */
static enum http2_error stream_verdict(struct http2_conn *c, struct stream *s)
{
    if (s->s.state == HTTP2_STREAM_HALF_REMOTE)
        return HTTP2_STREAM_CLOSED; /* section 5.1 */
    if (!s->s.headers_in)
        return HTTP2_PROTOCOL_ERROR; /* section 8.1: HEADERS first */
    if ((int64_t)s->s.recv_window < (int64_t)c->len)
        return HTTP2_FLOW_CONTROL_ERROR;
    if (s->flags & STREAM_LENGTH) { /* section 8.1.1 */
        if (s->length_left < c->left || ((c->flags & FLAG_END_STREAM) && s->length_left != c->left))
            return HTTP2_PROTOCOL_ERROR;
        s->length_left -= c->left;
    }
    s->s.recv_window -= (int32_t)c->len;
    return HTTP2_NO_ERROR;
}

static void no_payload(struct http2_conn *c, struct stream *s, struct http2_event *ev)
{
    if (!(c->flags & FLAG_END_STREAM)) {
        if (!http2_flood(c, HTTP2_RATE_EMPTY, ev))
            return;
        http2_conn_credit(c, c->len);
        http2_stream_credit(&s->s, c->len);
    } else {
        http2_stream_ended_remote(s);
        ev->type = HTTP2_EVENT_DATA;
        ev->stream = &s->s;
        ev->end_stream = true;
        ev->data = c->small;
        ev->flow = c->len;
    }
    http2_frame_skip(c, c->pad);
}

static void stream_begin(struct http2_conn *c, struct http2_event *ev)
{
    struct stream *s = http2_stream_find(c, c->id);
    if (s != NULL ? s->s.state == HTTP2_STREAM_IDLE : http2_stream_idle(c, c->id)) {
        http2_fatal(c, ev, HTTP2_PROTOCOL_ERROR, "DATA on an idle stream"); /* section 5.1 */
        return;
    }
    if (!window_take(c, ev))
        return;
    if (s == NULL || s->s.state == HTTP2_STREAM_CLOSED_STATE) {
        http2_stream_late(c, s, ev);
        if (c->phase != PHASE_DEAD)
            discard(c);
        return;
    }
    enum http2_error verdict = stream_verdict(c, s);
    if (verdict != HTTP2_NO_ERROR) {
        http2_stream_error(s, ev, verdict);
        if (c->phase != PHASE_DEAD)
            discard(c);
        return;
    }
    if (c->left == 0) {
        no_payload(c, s, ev);
        return;
    }
    http2_flood_progress(c);
    c->data_stream = s;
    c->padded_pending = c->len > c->left;
    c->phase = PHASE_DATA;
}

/* Called when the frame's header is known, and again when the length of its padding is. */
void http2_data_header(struct http2_conn *c, struct http2_event *ev)
{
    uint32_t prefix = c->flags & FLAG_PADDED ? 1 : 0;
    if (c->len < prefix) {
        http2_fatal(c, ev, HTTP2_FRAME_SIZE_ERROR, "DATA too short");
        return;
    }
    if (prefix != 0 && c->phase == PHASE_HEADER) {
        c->phase = PHASE_SMALL;
        c->small_have = 0;
        c->small_need = 1;
        return;
    }
    if (c->pad > c->len - prefix) {
        http2_fatal(c, ev, HTTP2_PROTOCOL_ERROR, "padding exceeds the frame"); /* section 6.1 */
        return;
    }
    c->left = c->len - prefix - c->pad;
    stream_begin(c, ev);
}

size_t http2_data_piece(struct http2_conn *c, const uint8_t *in, size_t n, struct http2_event *ev)
{
    struct stream *s = c->data_stream;
    uint32_t take = n < c->left ? (uint32_t)n : c->left;
    uint32_t flow = take + (c->padded_pending ? c->len - c->left : 0);
    c->padded_pending = false;
    c->left -= take;
    if (s == NULL || s->s.state == HTTP2_STREAM_CLOSED_STATE) { /* reset by the user in the middle of the frame */
        http2_conn_credit(c, flow);
    } else {
        ev->type = HTTP2_EVENT_DATA;
        ev->stream = &s->s;
        ev->data = in;
        ev->len = take;
        ev->flow = flow;
        ev->end_stream = c->left == 0 && (c->flags & FLAG_END_STREAM);
        if (ev->end_stream)
            http2_stream_ended_remote(s);
    }
    if (c->left == 0) {
        c->data_stream = NULL;
        http2_frame_skip(c, c->pad);
    }
    return take;
}
