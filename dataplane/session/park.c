/* Requests that have no connection yet, and those that change it before anything of them was sent.
 *
 * A parked stream is one of a session that leads nowhere (sessions.limbo): its fields are held decoded, its DATA is queued without
 * credit, so at most the stream's window of it.  It is never flushed: limbo stands in a list of its own that nobody walks. */
#include "internal.h"

void park_init(struct sessions *ss)
{
    struct session *s = &ss->limbo;
    s->home = ss;
    s->role = SESSION_UP;
    base_list_init(&ss->nowhere);
    base_list_init(&s->dirty);
    base_list_push_back(&ss->nowhere, &s->dirty); /* session_mark() finds it marked, always */
    base_list_init(&s->ready);
    base_list_init(&s->blocked);
    base_list_init(&s->waiting);
    base_list_init(&s->streams);
    base_list_init(&s->link);
}

struct session_stream *session_park(struct sessions *ss, const struct base_headers *h, bool end, void *user)
{
    struct session_stream *st = stream_create(&ss->limbo, user);
    if (st == NULL)
        return NULL;
    st->headers = held_create(ss, h, end);
    if (st->headers == NULL) {
        stream_free(st);
        return NULL;
    }
    st->end = end;
    base_list_push_back(&ss->limbo.waiting, &st->queue);
    return st;
}

struct session_stream *session_waiting(struct session *s)
{
    return base_list_empty(&s->waiting) ? NULL : base_container(s->waiting.next, struct session_stream, queue);
}

void session_move(struct session_stream *st, struct session *to)
{
    struct session *from = st->session;
    assert(session_unsent(st) && st->headers != NULL && to->role == SESSION_UP);
    if (st->h2 != NULL) { /* it had a number, and that never appeared on the wire */
        http2_stream_reset(st->h2, HTTP2_CANCEL);
        http2_stream_release(st->h2);
        st->h2 = NULL;
    }
    base_list_remove(&st->queue);
    base_list_remove(&st->link);
    from->queued -= st->queued;
    to->queued += st->queued;
    from->stream_count--;
    st->session = to;
    to->stream_count++;
    base_list_push_back(&to->streams, &st->link);
    base_list_push_back(&to->waiting, &st->queue);
    session_mark(to);
}

void session_park_again(struct session_stream *st)
{
    session_move(st, &st->session->home->limbo);
}
