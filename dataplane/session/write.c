/* What leaves: control frames, HEADERS, DATA, in an order that keeps HPACK tables and windows right. */
#include "internal.h"

static void count_out(struct session *s, size_t n)
{
    stats_count(s->home->stats, s->role == SESSION_DOWN ? STATS_DOWN_BYTES_OUT : STATS_UP_BYTES_OUT, n);
}

/* Buffers for a frame of n bytes: looked at before it is begun. */
static bool affordable(const struct session *s, size_t n)
{
    const struct packet_pool *pool = s->home->pool;
    return packet_pool_in_use(pool) + n / 1024 + 4 <= packet_pool_size(pool);
}

/* A frame cut short cannot be mended: the peer would read what follows as its rest. */
static bool write_whole(struct session *s, const void *data, size_t n)
{
    if (transport_write(&s->transport, data, n) == n)
        return true;
    stats_drop(s->home->stats, STATS_DROP_BUFFER_FULL);
    session_break(s);
    return false;
}

/* True: nothing is pending any more. */
bool write_control(struct session *s)
{
    while (http2_control_pending(s->h2)) {
        size_t room, limit = transport_room(&s->transport);
        uint8_t *at = limit > 0 ? transport_reserve(&s->transport, limit < 256 ? limit : 256, &room) : NULL;
        if (at == NULL)
            return false;
        size_t n = http2_control_write(s->h2, at, room);
        transport_commit(&s->transport, n);
        count_out(s, n);
        if (n == 0)
            return false;
    }
    return true;
}

/* A request gets its stream number here, when nothing can stop its HEADERS any more: numbers must appear on the wire in order
 * (RFC 9113 section 5.1.1). */
static size_t encode(struct session_stream *st, const struct base_headers *h, bool end, uint8_t *out, size_t room)
{
    if (st->h2 == NULL && (st->h2 = http2_stream_open(st->session->h2, st)) == NULL)
        return 0;
    return http2_headers_write(st->h2, h, end, out, room);
}

bool write_headers(struct session_stream *st, const struct base_headers *h, bool end)
{
    struct session *s = st->session;
    size_t bound = http2_headers_bound(h), room = 0;
    if (s->broken || !write_control(s))
        return false;
    if (bound <= 1024) {
        uint8_t *at = transport_reserve(&s->transport, bound, &room);
        if (at == NULL)
            return false;
        size_t n = encode(st, h, end, at, room);
        transport_commit(&s->transport, n);
        count_out(s, n);
        s->spoke = true;
        return n > 0;
    }
    if (bound > s->home->scratch_size || transport_room(&s->transport) < bound || !affordable(s, bound))
        return false;
    size_t n = encode(st, h, end, s->home->scratch, s->home->scratch_size);
    s->spoke = true;
    if (n > 0 && write_whole(s, s->home->scratch, n))
        count_out(s, n);
    return n > 0;
}

bool write_held(struct session_stream *st, const struct session_held *held)
{
    struct base_headers *h = &st->session->home->fields;
    session_held_fields(held, h);
    return write_headers(st, h, held->end);
}

static bool write_data_frame(struct session_stream *st, const uint8_t *data, uint32_t n, bool end)
{
    struct session *s = st->session;
    size_t room;
    if (n + HTTP2_FRAME_HEADER <= 1024) {
        uint8_t *at = transport_reserve(&s->transport, n + HTTP2_FRAME_HEADER, &room);
        if (at == NULL)
            return false;
        http2_data_begin(st->h2, n, end, at);
        if (n > 0)
            memcpy(at + HTTP2_FRAME_HEADER, data, n);
        transport_commit(&s->transport, n + HTTP2_FRAME_HEADER);
    } else {
        uint8_t head[HTTP2_FRAME_HEADER];
        if (!affordable(s, n))
            return false;
        http2_data_begin(st->h2, n, end, head);
        if (!write_whole(s, head, sizeof(head)) || !write_whole(s, data, n))
            return false;
    }
    count_out(s, n + HTTP2_FRAME_HEADER);
    s->spoke = true;
    return true;
}

/* Returns how many bytes went; st->ended says whether END_STREAM did. */
uint32_t write_data(struct session_stream *st, const uint8_t *data, uint32_t n, bool end)
{
    struct session *s = st->session;
    uint32_t done = 0;
    while (!s->broken && (done < n || (end && !st->ended))) {
        size_t room = transport_room(&s->transport);
        if (room < HTTP2_FRAME_HEADER + (done < n ? 1u : 0u))
            break;
        uint32_t chunk = n - done, allowed = chunk > 0 ? http2_data_allowed(st->h2) : 0;
        if (chunk > allowed)
            chunk = allowed;
        if (chunk > room - HTTP2_FRAME_HEADER)
            chunk = (uint32_t)(room - HTTP2_FRAME_HEADER);
        if (chunk == 0 && done < n)
            break;
        bool last = end && done + chunk == n;
        if (!write_data_frame(st, data + done, chunk, last))
            break;
        done += chunk;
        st->ended = last;
    }
    return done;
}

static void credit(struct session_stream *st, uint32_t n)
{
    struct session_stream *from = st->feeder;
    if (st->prepaid > 0) {
        uint32_t paid = st->prepaid < n ? st->prepaid : n;
        st->prepaid -= paid;
        n -= paid;
    }
    if (n == 0 || from == NULL || from->h2 == NULL || from->h2->reset)
        return;
    if (http2_stream_credit(from->h2, n)) {
        window_due(st);
        session_mark(from->session);
    }
}

#define INTERIM_MOST 8 /* 1xx of a stream that wait */

/* Behind the 1xx that wait.  Where they are too many, the oldest gives way. */
static void headers_behind(struct session_stream *st, struct session_held *held)
{
    struct sessions *ss = st->session->home;
    uint32_t n = 1;
    struct session_held *last = st->headers;
    for (; last->next != NULL; last = last->next)
        n++;
    last->next = held;
    if (n <= INTERIM_MOST)
        return;
    stats_drop(ss->stats, STATS_DROP_H2_INTERIM);
    held_drop(ss, &st->headers);
}

bool session_headers(struct session_stream *st, const struct base_headers *h, bool end)
{
    struct session *s = st->session;
    bool behind = st->head != NULL || st->headers != NULL;
    if (!session_takes(s, h))
        return false;
    if (!behind && st->h2 != NULL && !st->end && write_headers(st, h, end)) {
        st->ended = end;
        return true;
    }
    struct session_held *held = held_create(s->home, h, end);
    if (held == NULL)
        return false;
    if (st->headers == NULL && st->head == NULL && !st->trailers) {
        st->headers = held;
    } else if (end && st->trailers == NULL) {
        st->trailers = held;
    } else if (!end && st->headers != NULL && st->head == NULL) {
        headers_behind(st, held);
    } else {
        held_free(s->home, held);
        return false;
    }
    st->end |= end;
    if (base_list_empty(&st->queue))
        base_list_push_back(&s->ready, &st->queue);
    session_mark(s);
    return true;
}

bool session_data(struct session_stream *st, const uint8_t *data, uint32_t n, bool end)
{
    struct session *s = st->session;
    uint32_t done = 0;
    if (st->head == NULL && st->headers == NULL && st->h2 != NULL && !st->end && (!http2_control_pending(s->h2) || write_control(s))) {
        done = write_data(st, data, n, end);
        credit(st, done);
    }
    if (done == n && end == st->ended)
        return true;
    if (done < n && !queue_append(st, data + done, n - done)) {
        stats_drop(s->home->stats, STATS_DROP_BUFFER_FULL);
        return false;
    }
    st->end |= end;
    if (base_list_empty(&st->queue))
        base_list_push_back(&s->ready, &st->queue);
    session_mark(s);
    return true;
}

enum pump { PUMP_DONE, PUMP_AGAIN, PUMP_STREAM_BLOCKED, PUMP_CONN_BLOCKED, PUMP_NO_ROOM };

#define PUMP_QUANTUM 16384 /* bytes of one stream before the next one's turn */

/* One stream's turn. */
static enum pump pump(struct session_stream *st)
{
    struct sessions *ss = st->session->home;
    while (st->headers != NULL) {
        if (!write_held(st, st->headers))
            return PUMP_NO_ROOM;
        st->ended = st->headers->end;
        held_drop(ss, &st->headers);
    }
    for (uint32_t sent = 0; st->head != NULL;) {
        struct packet *p = st->head;
        uint32_t n = packet_len(p);
        bool last = p == st->tail && st->end && st->trailers == NULL;
        uint32_t done = write_data(st, packet_data(p), n, last);
        packet_adj(p, done);
        st->queued -= done;
        st->session->queued -= done;
        sent += done;
        credit(st, done);
        if (done < n) {
            if (st->session->broken || transport_room(&st->session->transport) < HTTP2_FRAME_HEADER + 1)
                return PUMP_NO_ROOM;
            if (http2_data_allowed(st->h2) > 0)
                return PUMP_NO_ROOM;
            return st->h2->send_window <= 0 ? PUMP_STREAM_BLOCKED : PUMP_CONN_BLOCKED;
        }
        st->head = ((struct session_link *)packet_scratch(p))->next;
        if (st->head == NULL)
            st->tail = NULL;
        st->buffers--;
        packet_free(p);
        if (sent >= PUMP_QUANTUM && st->head != NULL)
            return PUMP_AGAIN;
    }
    if (st->trailers != NULL) {
        if (!write_held(st, st->trailers))
            return PUMP_NO_ROOM;
        st->ended = true;
        held_free(ss, st->trailers);
        st->trailers = NULL;
    }
    if (st->end && !st->ended) {
        write_data(st, NULL, 0, true);
        if (!st->ended)
            return PUMP_NO_ROOM;
    }
    return PUMP_DONE;
}

/* Requests that waited go out while there are numbers. False: the transport has no room. */
static bool start_waiting(struct session *s)
{
    while (!base_list_empty(&s->waiting) && http2_streams_available(s->h2) > 0) {
        struct session_stream *st = base_container(s->waiting.next, struct session_stream, queue);
        if (!write_held(st, st->headers))
            return false;
        st->ended = st->headers->end;
        held_drop(s->home, &st->headers);
        base_list_remove(&st->queue);
        base_list_push_back(&s->ready, &st->queue);
        st->waits = false;
        s->waiting_count--;
    }
    return true;
}

/* The first stream of a list has its turn.  False: the transport could take no more. */
static bool pump_first(struct session *s, struct base_list *list)
{
    struct session_stream *st = base_container(list->next, struct session_stream, queue);
    base_list_remove(&st->queue);
    switch (pump(st)) {
    case PUMP_DONE:
        if (st->released)
            stream_finish(st);
        break;
    case PUMP_AGAIN:
        base_list_push_back(&s->ready, &st->queue);
        break;
    case PUMP_STREAM_BLOCKED:
        base_list_push_back(&s->blocked, &st->queue);
        break;
    case PUMP_CONN_BLOCKED: /* WINDOW_UPDATE of the connection makes the session dirty again */
        base_list_push_back(&s->starved, &st->queue);
        break;
    case PUMP_NO_ROOM:
        base_list_push_front(list, &st->queue);
        return false;
    }
    return true;
}

/* Those whom the connection's window stopped, once each, as long as it lasts. */
static bool flush_starved(struct session *s)
{
    struct base_list turn;
    base_list_init(&turn);
    base_list_splice_back(&turn, &s->starved);
    bool fits = true;
    while (fits && !s->broken && !base_list_empty(&turn) && http2_conn_sendable(s->h2))
        fits = pump_first(s, &turn);
    base_list_splice_back(&turn, &s->starved);
    base_list_splice_back(&s->starved, &turn);
    return fits;
}

/* False: the transport could take no more.  Who needs no window does not wait for it. */
static bool flush_ready(struct session *s)
{
    bool fits = base_list_empty(&s->starved) || flush_starved(s);
    while (fits && !s->broken && !base_list_empty(&s->ready))
        fits = pump_first(s, &s->ready);
    return fits;
}

#define FLUSH_LOW 32768 /* below this much room the transport will tell; above it was a buffer that lacked */

static void again(struct session *s)
{
    base_list_remove(&s->dirty); /* stream_finish() may have marked it */
    base_list_push_back(&s->home->retry, &s->dirty);
}

static void flush(struct session *s)
{
    bool fits = write_control(s) && start_waiting(s) && flush_ready(s);
    if (s->broken)
        return;
    /* stream_finish() may have left RST_STREAM behind. */
    if (!write_control(s) || !fits) {
        if (transport_room(&s->transport) < FLUSH_LOW)
            transport_want(&s->transport);
        else
            again(s);
    } else if (!base_list_empty(&s->waiting) && http2_full(s->home->http2)) {
        again(s); /* the object that it waits for may become free on another connection */
    } else if (s->closing) {
        life_closing(s);
    }
}

void sessions_flush(struct sessions *ss)
{
    life_evicted(ss);
    base_list_splice_back(&ss->dirty, &ss->retry);
    /* Crediting a neighbour makes it dirty again: in the second round its WINDOW_UPDATE leaves in this turn too. */
    for (int round = 0; round < 2; round++) {
        struct base_list turn;
        base_list_init(&turn);
        base_list_splice_back(&turn, &ss->dirty);
        for (struct base_list *l; (l = base_list_pop_front(&turn)) != NULL;)
            flush(base_container(l, struct session, dirty));
    }
}
