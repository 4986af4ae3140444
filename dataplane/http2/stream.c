/* Streams: the table (connection, id) -> stream, one for the whole worker; states; resets. */
#include "internal.h"

static uint32_t bucket_of(const struct http2 *h, const struct http2_conn *c, uint32_t id)
{
    uint64_t key = (uint64_t)c->index << 32 | id;
    return (uint32_t)base_mix64(key ^ h->key.k[0]) & h->bucket_mask;
}

struct stream *http2_stream_find(struct http2_conn *c, uint32_t id)
{
    if (c->last != NULL && c->last->s.id == id)
        return c->last;
    struct http2 *h = c->h;
    for (uint32_t i = h->buckets[bucket_of(h, c, id)]; i != 0;) {
        struct stream *s = base_slab_at(&h->streams, i - 1);
        if (s->s.id == id && s->s.conn == c)
            return c->last = s;
        i = s->hash_next;
    }
    return NULL;
}

static void table_insert(struct stream *s)
{
    struct http2 *h = s->s.conn->h;
    uint32_t *bucket = &h->buckets[bucket_of(h, s->s.conn, s->s.id)];
    s->hash_next = *bucket;
    *bucket = s->index + 1;
}

static void table_remove(struct stream *s)
{
    struct http2 *h = s->s.conn->h;
    uint32_t me = s->index + 1;
    uint32_t *link = &h->buckets[bucket_of(h, s->s.conn, s->s.id)];
    while (*link != me) {
        struct stream *other = base_slab_at(&h->streams, *link - 1);
        link = &other->hash_next;
    }
    *link = s->hash_next;
}

struct stream *http2_stream_make(struct http2_conn *c, uint32_t id)
{
    struct stream *s = base_slab_alloc(&c->h->streams);
    if (s == NULL)
        return NULL;
    memset(s, 0, sizeof(*s));
    s->index = base_slab_index(&c->h->streams, s);
    s->s.id = id;
    s->s.conn = c;
    s->s.send_window = (int32_t)c->peer_initial;
    s->s.recv_window = (int32_t)c->recv_initial;
    s->born = (uint32_t)(c->h->now_ns >> BORN_SHIFT);
    s->flags = STREAM_COUNTED;
    c->active++;
    base_list_init(&s->control);
    base_list_push_back(&c->streams, &s->link);
    table_insert(s);
    return s;
}

/* Nothing of it has been on the wire yet. */
void http2_stream_renumber(struct stream *s, uint32_t id)
{
    table_remove(s);
    if (s->s.conn->last == s)
        s->s.conn->last = NULL;
    s->s.id = id;
    table_insert(s);
}

/* How the peer closed it for good.  A reset of ours voids its END_STREAM: whoever sends RST_STREAM has to bear what still comes (section
 * 5.1), and gRPC's C++ server answers one with a second HEADERS and END_STREAM. */
static int closed_by_peer(const struct stream *s)
{
    /* DEVIATION: for a client, frames behind a server's END_STREAM are ignored and counted, not a connection error: gRPC's C++ server sends its
     * trailers twice where a cancel crosses them, and every other stream of the connection would pay for it. */
    if (s->s.conn->client && !(s->flags & STREAM_REMOTE_RESET))
        return 0;
    if (s->flags & STREAM_REMOTE_RESET)
        return STREAM_REMOTE_RESET;
    return s->s.reset ? 0 : s->flags & STREAM_REMOTE_ENDED;
}

void http2_stream_free(struct stream *s)
{
    struct http2_conn *c = s->s.conn;
    if (closed_by_peer(s) != 0) {
        c->ended[c->ended_at] = s->s.id | (s->flags & STREAM_REMOTE_RESET ? 1u << 31 : 0);
        c->ended_at = (uint8_t)((c->ended_at + 1) % ENDED_RING);
    }
    if (c->last == s)
        c->last = NULL;
    if (c->data_stream == s)
        c->data_stream = NULL;
    if (s->flags & STREAM_COUNTED)
        c->active--;
    table_remove(s);
    base_list_remove(&s->link);
    base_list_remove(&s->control);
    base_slab_free(&c->h->streams, s);
}

static void uncount(struct stream *s)
{
    if (s->flags & STREAM_COUNTED)
        s->s.conn->active--;
    s->flags &= (uint16_t)~STREAM_COUNTED;
}

static void closed(struct stream *s)
{
    s->s.state = HTTP2_STREAM_CLOSED_STATE;
    s->flags &= (uint16_t)~STREAM_CREDIT_PENDING;
    if (!(s->flags & STREAM_RST_PENDING)) {
        uncount(s);
        base_list_remove(&s->control);
    } else if (s->s.conn->client) {
        uncount(s); /* our request in its place goes out behind the RST_STREAM */
    }
    /* A client's stream is open for it until it has our RST_STREAM, and counts until that is written: so nobody who does not read gets more objects than streams. */
}

void http2_stream_reset_told(struct stream *s)
{
    s->flags &= (uint16_t)~STREAM_RST_PENDING;
    uncount(s);
    if (s->flags & STREAM_RELEASED)
        http2_stream_free(s);
}

void http2_stream_ended_local(struct stream *s)
{
    assert(s->s.state == HTTP2_STREAM_OPEN || s->s.state == HTTP2_STREAM_HALF_REMOTE);
    if (s->s.state == HTTP2_STREAM_HALF_REMOTE)
        closed(s);
    else
        s->s.state = HTTP2_STREAM_HALF_LOCAL;
}

void http2_stream_ended_remote(struct stream *s)
{
    assert(s->s.state == HTTP2_STREAM_OPEN || s->s.state == HTTP2_STREAM_HALF_LOCAL);
    s->flags |= STREAM_REMOTE_ENDED;
    if (s->s.state == HTTP2_STREAM_HALF_LOCAL)
        closed(s);
    else
        s->s.state = HTTP2_STREAM_HALF_REMOTE;
}

/* RST_STREAM has come for a stream that is closed: one of ours that still waits has become pointless. */
void http2_stream_forget_reset(struct stream *s)
{
    if (!(s->flags & STREAM_RST_PENDING))
        return;
    base_list_remove(&s->control);
    http2_stream_reset_told(s);
}

/* RST_STREAM has come. */
void http2_stream_close_reset(struct stream *s)
{
    s->flags |= STREAM_REMOTE_RESET;
    s->s.reset = true;
    closed(s);
}

void http2_stream_reset(struct http2_stream *stream, enum http2_error code)
{
    struct stream *s = stream_of(stream);
    if (s->s.state == HTTP2_STREAM_CLOSED_STATE)
        return;
    /* Section 6.4: never for an idle stream.  Nor behind a GOAWAY that ends the connection: that says more than a CANCEL. Nor for a stream that the
     * peer's GOAWAY left out: it knows nothing of it, and Netty ends the connection, with the calls that it had let through. */
    const struct http2_conn *c = s->s.conn;
    bool left_out = c->client && s->s.id > c->goaway_left;
    bool on_wire = s->s.state != HTTP2_STREAM_IDLE && c->phase != PHASE_DEAD && !left_out;
    s->s.reset = true;
    if (s->s.state == HTTP2_STREAM_OPEN || s->s.state == HTTP2_STREAM_HALF_LOCAL)
        http2_stream_late_allow(s->s.conn, s->s.recv_window);
    if (on_wire) {
        s->flags |= STREAM_RST_PENDING;
        s->reset_code = (uint8_t)code;
        if (base_list_empty(&s->control))
            base_list_push_back(&s->s.conn->control, &s->control);
    }
    closed(s);
}

void http2_stream_error(struct stream *s, struct http2_event *ev, enum http2_error code)
{
    struct http2_conn *c = s->s.conn;
    static const uint8_t drops[] = {
        [HTTP2_PROTOCOL_ERROR] = STATS_DROP_H2_PROTOCOL, [HTTP2_FLOW_CONTROL_ERROR] = STATS_DROP_H2_FLOW_CONTROL,
        [HTTP2_STREAM_CLOSED] = STATS_DROP_H2_STREAM_CLOSED, [HTTP2_FRAME_SIZE_ERROR] = STATS_DROP_H2_FRAME_SIZE};
    assert(code < sizeof(drops) && drops[code] != 0);
    stats_drop(c->h->stats, (enum stats_drop)drops[code]);
    bool client = !c->client; /* of ours: each such stream has cost a pick, and work at a backend, whether its answer had begun or not */
    if (client && !http2_flood_reset(s, ev))
        return;
    http2_stream_reset(&s->s, code);
    if (!(s->flags & STREAM_REPORTED)) {
        http2_stream_release(&s->s);
        return;
    }
    ev->type = HTTP2_EVENT_RESET;
    ev->stream = &s->s;
    ev->local = true;
    ev->code = code;
}

void http2_stream_release(struct http2_stream *stream)
{
    struct stream *s = stream_of(stream);
    struct http2_conn *c = s->s.conn;
    if (s->s.state != HTTP2_STREAM_CLOSED_STATE)
        http2_stream_reset(stream, HTTP2_CANCEL);
    if (!(s->flags & STREAM_RST_PENDING)) {
        http2_stream_free(s);
        return;
    }
    s->flags |= STREAM_RELEASED;
    s->s.user = NULL;
    if (c->data_stream == s)
        c->data_stream = NULL;
    base_list_remove(&s->link);
}

bool http2_stream_closed(const struct http2_stream *s)
{
    return s->state == HTTP2_STREAM_CLOSED_STATE;
}

/* Section 5.1.1: never used so far, by either side. */
bool http2_stream_idle(const struct http2_conn *c, uint32_t id)
{
    if (c->client)
        return (id & 1) == 0 || id > c->last_written;
    return (id & 1) == 0 || id > c->last_seen;
}

static int ended_by_peer(const struct http2_conn *c, uint32_t id)
{
    for (int i = 0; i < ENDED_RING; i++)
        if ((c->ended[i] & ID_MAX) == id)
            return c->ended[i] >> 31 ? STREAM_REMOTE_RESET : STREAM_REMOTE_ENDED;
    return 0;
}

/* It has been paid for by a window, in octets: there may be as many frames.  Empty ones are not. */
static bool paid(struct http2_conn *c)
{
    if (c->type != FRAME_DATA || c->left == 0 || c->len > c->late_allowed)
        return false;
    c->late_allowed -= c->len;
    return true;
}

/* Section 5.1: what the peer sends after its own END_STREAM is a connection error, after its own RST_STREAM a stream error.  What comes
 * after a reset of ours was on its way; streams too old to be remembered get the same benefit. */
void http2_stream_late(struct http2_conn *c, struct stream *s, struct http2_event *ev)
{
    int how = s != NULL ? closed_by_peer(s) : ended_by_peer(c, c->id);
    if (how & STREAM_REMOTE_ENDED) {
        http2_fatal(c, ev, HTTP2_STREAM_CLOSED, "frame after END_STREAM");
        return;
    }
    if ((how != 0 || !paid(c)) && !http2_flood(c, HTTP2_RATE_OTHER, ev))
        return;
    stats_drop(c->h->stats, STATS_DROP_H2_STREAM_CLOSED);
    if (how & STREAM_REMOTE_RESET)
        http2_reset_id(c, ev, c->id, HTTP2_STREAM_CLOSED);
}

bool http2_full(const struct http2 *h)
{
    return h->streams.in_use == h->streams.capacity;
}

bool http2_spare(const struct http2 *h, uint32_t percent)
{
    return base_slab_spare(&h->streams, percent);
}

uint32_t http2_ids_left(const struct http2_conn *c)
{
    return c->next_id > ID_MAX ? 0 : (ID_MAX - c->next_id) / 2 + 1;
}

uint32_t http2_streams_available(const struct http2_conn *c)
{
    if (!c->client || c->goaway_received || c->goaway_sent || c->goaway_pending || c->phase == PHASE_DEAD)
        return 0;
    uint32_t by_peer = c->peer_max_streams > c->active ? c->peer_max_streams - c->active : 0;
    uint32_t by_id = http2_ids_left(c);
    const struct base_slab *slab = &c->h->streams;
    uint32_t by_slab = slab->capacity - slab->in_use;
    uint32_t n = by_peer < by_id ? by_peer : by_id;
    return n < by_slab ? n : by_slab;
}

struct http2_stream *http2_stream_open(struct http2_conn *c, void *user)
{
    if (http2_streams_available(c) == 0)
        return NULL;
    struct stream *s = http2_stream_make(c, c->next_id);
    if (s == NULL)
        return NULL;
    c->next_id += 2;
    s->s.user = user;
    s->flags |= STREAM_REPORTED;
    return &s->s;
}
