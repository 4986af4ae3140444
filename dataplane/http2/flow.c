/* Flow control (RFC 9113 section 6.9): what the peer grants us, and what we grant it.
 *
 * recv_window + recv_credit <= what we are willing to hold; a WINDOW_UPDATE goes out when half of it has come back. */
#include "internal.h"

bool http2_window_add(int32_t *window, int64_t n)
{
    int64_t sum = *window + n;
    if (sum > WINDOW_MAX || sum < INT32_MIN)
        return false;
    *window = (int32_t)sum;
    return true;
}

/* A window that could not have carried a whole frame may have stopped somebody. */
static void granted(struct http2_event *ev, struct stream *s, int32_t before)
{
    if (before >= (int32_t)FRAME_SIZE_MIN)
        return;
    ev->type = HTTP2_EVENT_WINDOW;
    ev->stream = s != NULL ? &s->s : NULL;
}

static void update_conn(struct http2_conn *c, uint32_t n, struct http2_event *ev)
{
    int32_t before = c->send_window;
    if (n == 0)
        http2_fatal(c, ev, HTTP2_PROTOCOL_ERROR, "WINDOW_UPDATE of 0");
    else if (!http2_window_add(&c->send_window, n))
        http2_fatal(c, ev, HTTP2_FLOW_CONTROL_ERROR, "connection window above 2^31-1");
    else
        granted(ev, NULL, before);
}

void http2_window_update(struct http2_conn *c, struct http2_event *ev)
{
    uint32_t n = load_be32(c->small) & WINDOW_MAX;
    if (!http2_flood(c, HTTP2_RATE_WINDOW, ev))
        return;
    if (c->id == 0) {
        update_conn(c, n, ev);
        return;
    }
    struct stream *s = http2_stream_find(c, c->id);
    if (s != NULL ? s->s.state == HTTP2_STREAM_IDLE : http2_stream_idle(c, c->id)) {
        http2_fatal(c, ev, HTTP2_PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream"); /* section 5.1 */
        return;
    }
    if (s == NULL || s->s.state == HTTP2_STREAM_CLOSED_STATE)
        return; /* section 5.1: may have been on its way */
    int32_t before = s->s.send_window;
    if (n == 0)
        http2_stream_error(s, ev, HTTP2_PROTOCOL_ERROR);
    else if (!http2_window_add(&s->s.send_window, n))
        http2_stream_error(s, ev, HTTP2_FLOW_CONTROL_ERROR);
    else
        granted(ev, s, before);
}

/* Never beyond what a window can be: what a caller credits too much is not announced. */
static uint32_t credit_add(int32_t window, uint32_t credit, uint32_t n)
{
    int64_t room = (int64_t)WINDOW_MAX - window - credit;
    return credit + (uint32_t)(n < room ? n : room > 0 ? room : 0);
}

bool http2_conn_credit(struct http2_conn *c, uint32_t n)
{
    c->recv_credit = credit_add(c->recv_window, c->recv_credit, n);
    if (c->recv_credit < c->recv_target / 2 || c->credit_pending)
        return false;
    c->credit_pending = true;
    return true;
}

static __attribute__((noinline)) bool stream_due(struct stream *s)
{
    if (s->s.recv_credit < http2_stream_window(&s->s) / 2 || (s->flags & STREAM_CREDIT_PENDING))
        return false;
    s->flags |= STREAM_CREDIT_PENDING;
    if (base_list_empty(&s->control))
        base_list_push_back(&s->s.conn->control, &s->control);
    return true;
}

bool http2_stream_credit(struct http2_stream *stream, uint32_t n)
{
    struct stream *s = stream_of(stream);
    struct http2_conn *c = s->s.conn;
    if (s->s.state != HTTP2_STREAM_OPEN && s->s.state != HTTP2_STREAM_HALF_LOCAL)
        return false; /* nothing more will come */
    s->s.recv_credit = credit_add(s->s.recv_window, s->s.recv_credit, n);
    if (s->s.recv_credit < (c->recv_initial + 1) / 2 || s->s.recv_credit == 0)
        return false;
    return stream_due(s);
}

uint32_t http2_conn_window(const struct http2_conn *c)
{
    return c->recv_target;
}

uint32_t http2_stream_window(const struct http2_stream *s)
{
    return s->conn->recv_initial + s->recv_extra;
}

void http2_conn_window_grow(struct http2_conn *c, uint32_t n)
{
    c->recv_target += n;
    c->recv_credit = credit_add(c->recv_window, c->recv_credit, n);
}

void http2_stream_window_grow(struct http2_stream *s, uint32_t n)
{
    s->recv_extra += n;
    s->recv_credit = credit_add(s->recv_window, s->recv_credit, n);
}

uint32_t http2_stream_window_shrink(struct http2_stream *s, uint32_t n)
{
    n = n < s->recv_extra ? n : s->recv_extra;
    n = n < s->recv_credit ? n : s->recv_credit;
    s->recv_extra -= n;
    s->recv_credit -= n;
    return n;
}
