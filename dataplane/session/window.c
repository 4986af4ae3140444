/* How large a window is that we grant: a stream begins with 64 KiB, and gets more where that is what its sender waits for.
 *
 * Looked at when half of a window has come back, which is when a WINDOW_UPDATE goes out, so that a small RPC pays nothing.  A sender that waits for
 * its window is done with all of it in a round trip; where half of it takes longer than that, the window is twice the bandwidth-delay
 * product already.  The round-trip time is the transport's.
 *
 *     window <= sessions.window_most, and the sum of (window - 65,535) over all streams = window_used <= window_budget
 *
 * What a window grants is what has to be kept here when the reader stops.  So it grows only while the reader has room for it, or gives back what it
 * gets; and it goes back as octets come in while the reader lags, or memory is short (a window that was granted is a promise: RFC 9113
 * section 6.9.2 lets nobody take it back, but what has come back need not be granted again).  So it does where all that waits for one client is at its limit.
 *
 * The connection's window stands for nothing that is kept: it is credited as octets are taken from the transport.  It grows by time alone. */
#include "internal.h"

#define CONN_FACTOR  4     /* the connection's may be so many times a stream's largest */
#define UNSENT_LEAST 65536 /* fewer that wait in the reader's transport say nothing */
#define PRESSED      20    /* percent of the buffers below high_water */
#define PRESSED_ELSE 65
#define RELIEF       10 /* fewer, and they grow again */

/* A step that is worth its WINDOW_UPDATE. */
static bool may_grow(uint64_t window, uint64_t most)
{
    return window + window / 4 <= most;
}

static bool pressed(const struct sessions *ss, uint32_t relief)
{
    uint32_t percent = (ss->high_water > PRESSED + RELIEF ? ss->high_water - PRESSED : PRESSED_ELSE) - relief;
    return (uint64_t)packet_pool_in_use(ss->pool) * 100 >= (uint64_t)packet_pool_size(ss->pool) * percent;
}

/* Since the last time; false: there was none, or the sender was not waiting for its window. */
static bool fast(const struct session *s, uint32_t *due_us)
{
    uint32_t us = (uint32_t)(s->home->now_ns / 1000), took = us - *due_us;
    bool first = *due_us == 0;
    *due_us = us != 0 ? us : 1;
    if (first)
        return false;
    uint64_t unsent, rtt = transport_rtt(&s->transport, &unsent);
    return took < (rtt + rtt / 8) / 1000; /* what came may have come at once, at the end of it */
}

static void grow(struct session_stream *from, uint32_t window)
{
    struct session *s = from->session;
    struct sessions *ss = s->home;
    uint64_t more = s->window_had / 4 >= window ? 3 * (uint64_t)window : window; /* it was larger on this path before: sooner */
    if (more > ss->window_most - window)
        more = ss->window_most - window;
    if (ss->window_used + more > ss->window_budget) {
        stats_count(ss->stats, STATS_WINDOWS_REFUSED, 1);
        return;
    }
    window_used_add(ss, (uint32_t)more);
    http2_stream_window_grow(from->h2, (uint32_t)more);
    window += (uint32_t)more;
    if (s->window_had < window)
        s->window_had = window;
    stats_count(ss->stats, STATS_WINDOWS_GROWN, 1);
}

static void shrink(struct session_stream *from)
{
    struct session *s = from->session;
    uint32_t less = http2_stream_window_shrink(from->h2, from->h2->recv_credit);
    if (less == 0)
        return;
    window_used_add(s->home, -less);
    s->window_had = http2_stream_window(from->h2);
    stats_count(s->home->stats, STATS_WINDOWS_SHRUNK, 1);
}

/* The reader takes what comes: it does not pile up here. */
static bool flows(const struct session_stream *st, uint32_t window)
{
    uint64_t unsent;
    transport_rtt(&st->session->transport, &unsent);
    return st->head == NULL && (unsent <= UNSENT_LEAST || unsent <= window / 2);
}

void window_due(struct session_stream *st)
{
    struct session_stream *from = st->feeder;
    struct sessions *ss = st->session->home;
    uint32_t window = http2_stream_window(from->h2);
    if (from->h2->recv_extra == 0 && !may_grow(window, ss->window_most))
        return;
    int64_t came = from->h2->recv_credit, open = st->h2->send_window;
    bool gives = open >= from->due_open - came / 2; /* half of what it got since the last time is granted again */
    bool quick = fast(from->session, &from->due_us);
    from->due_open = (int32_t)open;
    if (pressed(ss, 0) || overload_buffered(st->session) || (uint64_t)st->queued * 2 >= window || (!gives && open < window)) {
        shrink(from);
        return;
    }
    if (quick && !pressed(ss, RELIEF) && may_grow(window, ss->window_most) && (gives || open >= 2 * (int64_t)window) && flows(st, window))
        grow(from, window);
}

void window_conn_due(struct session *s)
{
    uint32_t window = http2_conn_window(s->h2);
    uint64_t most = (uint64_t)s->home->window_most * CONN_FACTOR;
    if (!may_grow(window, most) || !fast(s, &s->due_us) || pressed(s->home, RELIEF))
        return;
    http2_conn_window_grow(s->h2, window < most - window ? window : (uint32_t)(most - window));
    stats_count(s->home->stats, STATS_WINDOWS_GROWN, 1);
}
