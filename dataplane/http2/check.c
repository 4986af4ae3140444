/* What must hold between two calls. */
#include "internal.h"

#ifndef NDEBUG

static void stream_check(const struct http2_conn *c, const struct stream *s)
{
    assert(s->s.conn == c && s->s.id != 0 && s->s.id <= ID_MAX);
    assert(s->s.id % 2 == 1);
    bool closed = s->s.state == HTTP2_STREAM_CLOSED_STATE;
    assert(!(s->flags & STREAM_COUNTED) == (closed && (c->client || !(s->flags & STREAM_RST_PENDING))));
    assert(!s->s.reset || closed);
    assert(!(s->flags & STREAM_RST_PENDING) || closed);
    assert(!(s->flags & STREAM_CREDIT_PENDING) || !base_list_empty(&s->control));
    assert((s->s.state == HTTP2_STREAM_HALF_REMOTE) == ((s->flags & STREAM_REMOTE_ENDED) && !closed));
    assert((int64_t)s->s.recv_window + s->s.recv_credit <= WINDOW_MAX);
    assert(!c->client || s->s.id < c->next_id);
    assert(c->client || s->s.id <= c->last_let);
    assert(http2_stream_find((struct http2_conn *)(uintptr_t)c, s->s.id) == s);
}

void http2_conn_check(const struct http2_conn *c)
{
    uint32_t active = 0, resets = 0;
    base_list_each (l, &c->streams) {
        const struct stream *s = base_container(l, struct stream, link);
        stream_check(c, s);
        assert(!(s->flags & STREAM_RELEASED));
        active += s->flags & STREAM_COUNTED;
    }
    base_list_each (l, &c->control) {
        const struct stream *s = base_container(l, struct stream, control);
        stream_check(c, s);
        assert(s->flags & (STREAM_RST_PENDING | STREAM_CREDIT_PENDING));
        if (s->flags & STREAM_RELEASED)
            active += s->flags & STREAM_COUNTED;
    }
    for (const struct reset *r = c->reset_first; r != NULL; r = r->next)
        resets++;
    assert(active == c->active && resets == c->reset_count && resets <= RESETS_QUEUE);
    assert(c->ping_count <= PING_QUEUE && c->settings_acks <= SETTINGS_ACK_QUEUE);
    assert((int64_t)c->recv_window + c->recv_credit <= WINDOW_MAX && c->recv_window >= 0);
    assert((c->phase == PHASE_BLOCK) <= (c->block != NULL));
    assert(c->block == NULL || c->block_id != 0);
    assert(c->small_have <= SMALL);
    hpack_table_check(&c->decoder.table);
    hpack_table_check(&c->encoder.table);
}

#else

void http2_conn_check(const struct http2_conn *c)
{
    (void)c;
}

#endif
