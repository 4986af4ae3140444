/* session: one transport and one HTTP/2 connection, joined; and back-pressure between two of them.
 *
 * Owns:   sessions, their streams' send queues, header fields that wait to be sent; how long a session lives (life.c); how large a stream's
 *         window is (window.c).
 * Uses:   base, stats, packet, transport, http2.  Knows no gRPC, no endpoint.
 * Thread: one struct sessions a worker.
 * Time:   `now`, an argument; sessions_tick() says it for the turn.
 * Memory: slabs at start-up; queued DATA in packets from `pool`, at most one stream window a stream: 64 KiB, and what window_budget lets some have more.
 * Errors: false or NULL = refused, counted; a session that broke comes out of sessions_broken_next().
 *
 * Flow control, joined end to end: a DATA event's connection window is credited at once (the bytes are passed on or buffered in this
 * turn); its stream window is credited as the bytes enter the other side's transport: session_join() says which stream feeds which.
 * So a slow reader stops its own stream, not its neighbours on the same connection.
 *
 * Fields that wait (no stream number, no room, behind queued DATA) are kept decoded, and encoded as they enter the transport. */
#ifndef SESSION_H
#define SESSION_H

#include "base/wheel.h"
#include "http2/http2.h"
#include "packet/packet.h"
#include "transport/transport.h"

struct sessions;

enum session_role { SESSION_DOWN, SESSION_UP }; /* the client's side, the backend's side */

/* How long a session may live, and on which conditions. 0: without limit. The user's memory, good as long as the session is; a change
 * holds from session_live() on. */
struct session_life {
    uint64_t time_ns, timeout_ns;    /* keepalive: silent so long, a PING; no sign of life for timeout_ns after it: the end */
    uint64_t min_time_ns;            /* down: more frequent PINGs of the client are not borne */
    uint64_t permit_without_stream;  /* up: PINGs though no stream is open; down: the client may send such. As wide as the rest: no padding */
    uint64_t age_ns, grace_ns;       /* older (+- 10 %): down: drained, and ended when grace is over; up: sessions_aged_next() */
    uint64_t idle_ns;                /* down: without a stream so long: drained */
    uint64_t handshake_ns;           /* down: until preface and SETTINGS have come */
    uint64_t header_ns;              /* a header block that was begun has to be finished by then */
    uint64_t buffered;               /* down: octets of DATA that wait, from which on new streams are refused */
};

struct session {
    /* -- hot: every event and every write ------------------------------------------------ */
    struct transport transport;
    struct http2_conn *h2;
    struct sessions *home;
    uint32_t consume; /* bytes that events have used, still in the transport */
    uint8_t role;     /* enum session_role */
    bool broken;
    bool closing;     /* final GOAWAY sent: closes when the last stream ends */
    bool spoke;       /* HEADERS or DATA were sent since the peer's last PING */
    uint8_t kept;     /* the user's: index in its pool slot */
    struct base_list dirty; /* in sessions.dirty */
    /* -- streams ------------------------------------------------------------------------- */
    struct base_list ready;   /* with something to write */
    struct base_list blocked; /* by their own window */
    struct base_list starved; /* by the connection's */
    struct base_list waiting; /* for a stream number (role up) */
    struct base_list streams; /* all */
    uint32_t stream_count;
    uint32_t waiting_count;
    uint32_t list_most; /* the largest list of fields that the peer takes */
    uint32_t lowered; /* down: the limit of streams to go back to; 0: not lowered */
    uint64_t queued;  /* octets of DATA, of all streams */
    /* -- the user's ------------------------------------------------------------------------ */
    uint32_t slot;   /* up: the endpoint's */
    uint32_t serial; /* up */
    uint16_t listener; /* down: id */
    /* -- life.c's ----------------------------------------------------------------------------- */
    uint64_t heard_ns; /* last octets */
    uint32_t block_id; /* the stream whose header block is half here; 0: none */
    const struct session_life *life;
    struct base_timer timer;
    uint64_t opened_ns;
    uint64_t idle_since_ns;      /* the last stream ended */
    uint64_t pinged_ns;          /* our PING is out; 0: none */
    uint64_t peer_pinged_ns;     /* the peer's last PING */
    uint64_t block_ns;           /* since when; 0: not */
    uint64_t unsent_ns;          /* since HTTP2_EVENT_UNSENT; 0: none, or forgiven */
    uint64_t drain_ns, grace_ns; /* down: when the final GOAWAY is due (0: not draining), and the end */
    uint64_t acked;
    const char *why, *drain_why; /* it ended */
    uint16_t jitter;
    uint8_t strikes;
    uint32_t pings_seen; /* of the peer */
    bool gently; /* broken by session_end(): what is pending is written, and FIN */
    bool aged;
    struct base_list age; /* in sessions.aged */
    struct base_list low; /* in sessions.lowered */
    struct base_list later; /* in sessions.postponed */
    uint64_t later_ns;      /* since then */
    uint64_t seen_acked, seen_ns; /* overload.c */
    uint32_t due_us;     /* window.c: half of the connection's window had come back; 0: never */
    uint32_t window_had; /* the largest that a stream of this session came to */
    /* -- the user's, cold ---------------------------------------------------------------------- */
    uint8_t client_len;    /* down: octets of client[]; 0: not asked for yet */
    char client[BASE_ADDR_TEXT]; /* down: the peer's address as text */
    struct base_list link; /* in sessions.all[role] */
};

struct session_held;

struct session_stream {
    struct http2_stream *h2; /* NULL: waits for a number */
    struct session *session;
    struct session_stream *feeder; /* the stream whose DATA this one sends: credited as it leaves */
    struct session_stream *fed;    /* the stream that sends our DATA */
    void *user;                    /* NULL once released */
    struct packet *head, *tail;    /* queued DATA */
    struct session_held *headers;  /* queued before the DATA: 1xx, and what they announce */
    struct session_held *trailers; /* queued behind it */
    uint32_t queued;               /* bytes in head .. tail */
    uint32_t prepaid;              /* of what leaves next, credited already: it left once before */
    bool end;                      /* END_STREAM is due with the last thing queued */
    bool ended;                    /* END_STREAM was written */
    bool released;
    bool waits;        /* in session.waiting */
    uint32_t due_us;   /* window.c: half of this stream's window had come back; 0: never */
    int32_t due_open;  /* and what the reader's was then */
    uint32_t buffers;  /* from head to tail */
    struct base_list queue; /* ready, blocked, starved or waiting */
    struct base_list link;  /* session.streams */
};

struct sessions_config {
    uint32_t sessions;
    uint32_t streams; /* session streams: two for an RPC */
    uint32_t max_header_list_size; /* the largest of any listener */
    uint64_t seed;
    uint32_t high_water; /* percent of the buffers: above, new streams are refused; 0: never */
    uint32_t stream_window; /* how large a stream's window may grow; <= 65,535: it does not */
    uint32_t window_budget; /* octets that all streams together may have beyond 65,535 each; 0: a quarter of the buffers' */
};

struct sessions {
    struct http2 *http2;
    struct tcp *tcp;
    struct packet_pool *pool;
    struct stats *stats;
    struct base_slab session_slab, stream_slab, held_slab[3];
    uint32_t held_size[3];
    struct base_list dirty;
    struct base_list retry; /* found no buffer: once more next turn */
    struct packet *waste;   /* what streams had kept and will not send; freed bit by bit */
    uint32_t waste_count;
    struct base_list broken;
    struct base_list aged, lowered, lingering;
    struct base_list postponed; /* have something to read, and are suspects */
    uint32_t window_most, window_budget, window_used;
    uint32_t high_water;
    bool overloaded;
    bool scarce;        /* an object for a client's stream was lacking, at scarce_ns last */
    uint64_t scarce_ns;
    const struct base_slab *user_slab;
    uint64_t looked_tick;
    struct base_list all[2]; /* by role */
    uint64_t now_ns;         /* of this turn */
    uint64_t seed, draws;
    struct base_wheel wheel;
    uint32_t count[2];
    uint8_t *scratch; /* one header block, encoded */
    size_t scratch_size;
    struct base_headers fields; /* of a held block, while it is encoded */
};

size_t sessions_footprint(const struct sessions_config *c);
struct sessions *sessions_create(struct base_arena *arena, const struct sessions_config *c, struct http2 *http2, struct tcp *tcp,
                                 struct packet_pool *pool, struct stats *stats);

/* Takes the transport; on NULL it has been aborted. */
struct session *session_create(struct sessions *ss, struct transport transport, enum session_role role, const struct http2_config *config,
                               uint64_t now);
/* An active open. NULL: refused. */
struct session *session_connect(struct sessions *ss, const struct base_flow *flow, const struct http2_config *config, uint64_t now);
/* Frees everything; the user has let go of every stream.  graceful: what was written goes out first, then FIN; else RST.  A client that was ended
 * by http2_end(), a connection error, or behind session_drain() gets time to read what was said last (session_lingers). */
void session_destroy(struct session *s, bool graceful, uint64_t now);

/* The next event of what has arrived; false: no more now.  Pulled until false.  An event's pointers hold until the next call. NONE and WINDOW
 * never come out; HEADERS with `opened` has a new session_stream in *stream; a stream that was released or refused reports nothing.
 * After HTTP2_EVENT_RESET the user calls session_release(). */
bool session_next(struct session *s, struct http2_event *ev, struct session_stream **stream);
/* True: what has arrived of this client is to be read when others have been served, as it says much that costs it nothing (http2_suspect). */
bool session_postpone(struct session *s);
/* Who is to be read now, for a few events: somebody, if nobody else was served in this turn (`idle`), else only who has waited long.  NULL: none.
 * It stays in its place until session_resume(), which says whether there may be more of it to be read: behind the others then. */
struct session *sessions_postponed_next(struct sessions *ss, bool idle);
void session_resume(struct session *s, bool more);
/* Hints.  `next` is about to have its session_next(), `later` soon; either may be NULL. */
void session_expect(const struct session *later, const struct session *next);
/* session_open() on it is about to follow. */
void session_expect_out(const struct session *s);

/* The peer takes a list of this size (RFC 9113 section 6.5.2: advice.  But who does not take it may end the connection, and with it the calls of all others). */
static inline bool session_takes(const struct session *s, const struct base_headers *h)
{
    return h->size <= s->list_most;
}
/* Sends a request (role up).  Waits for a stream number where there is none now. NULL: refused, or larger than the peer takes. */
struct session_stream *session_open(struct session *s, const struct base_headers *h, bool end, void *user);
/* Response headers, 1xx, or trailers, behind what is queued.  False: refused, or larger than the peer takes; the user resets the stream. */
bool session_headers(struct session_stream *st, const struct base_headers *h, bool end);
/* DATA: written as far as windows and room go, the rest is copied.  False: no buffer; the user resets the stream. */
bool session_data(struct session_stream *st, const uint8_t *data, uint32_t n, bool end);
/* to sends what arrives on from. */
void session_join(struct session_stream *from, struct session_stream *to);
/* RST_STREAM; what is queued is dropped; st is dead. */
void session_reset(struct session_stream *st, enum http2_error code);
/* The user has done with it; st is dead.  Role down: what is queued still goes out, then the stream ends, with RST_STREAM NO_ERROR where the request
 * has not ended (RFC 9113 section 8.1).  Role up: what is queued is dropped, with RST_STREAM NO_ERROR where our side has not ended. */
void session_release(struct session_stream *st);

/* Nothing of this request has been on the wire. */
static inline bool session_unsent(const struct session_stream *st)
{
    return st->h2 == NULL || st->h2->state == HTTP2_STREAM_IDLE;
}

/* Of what sessions send and keep. */
static inline struct packet_pool *sessions_pool(const struct sessions *ss)
{
    return ss->pool;
}

/* A copy of decoded fields, for who may have to send a request later or once more.  NULL: refused, counted. */
struct session_held *session_hold(struct sessions *ss, const struct base_headers *h);
/* The bytes stay where they are, and live as long as `held`. */
void session_held_fields(const struct session_held *held, struct base_headers *out);
void session_unhold(struct sessions *ss, struct session_held *held);

/* Something is to be written at the end of this turn. */
static inline void session_mark(struct session *s)
{
    if (base_list_empty(&s->dirty))
        base_list_push_back(&s->home->dirty, &s->dirty);
}

/* The transport can take more again. */
static inline void session_writable(struct session *s)
{
    session_mark(s);
}

/* Streams that this session can take, beside those that wait for room in the transport. */
static inline uint32_t session_available(const struct session *s)
{
    uint32_t n = http2_streams_available(s->h2);
    return n > s->waiting_count ? n - s->waiting_count : 0;
}

/* Whose it is. */
const struct base_flow *session_flow(const struct session *s);

/* Given up by its user (a connect timeout): comes out of sessions_broken_next(). */
void session_abandon(struct session *s);

/* Once a turn, before events: the time, and what is due by it. */
void sessions_tick(struct sessions *ss, uint64_t now);
/* From now on these limits. Without a call: none. */
void session_live(struct session *s, const struct session_life *life, uint64_t now);
/* Destroyed, but for its transport: a close while the peer still talks would be a reset, which throws away what the peer has not read yet, our
 * GOAWAY. What it says is thrown away for a while instead. Its events go to session_linger(), and nowhere else. */
static inline bool session_lingers(const struct session *s)
{
    return s->h2 == NULL;
}
/* over: the peer has closed, too. */
void session_linger(struct session *s, bool over, uint64_t now);
/* The end of all that linger. */
void sessions_linger_end(struct sessions *ss, uint64_t now);
/* Down: a stream of this client's is refused as an object for it is lacking.  It is told of a lower MAX_CONCURRENT_STREAMS until there are enough again. */
void session_scarce(struct session *s);
/* Of the user's objects there is one a stream of a client's: with them, too, there have to be enough. */
void sessions_watch(struct sessions *ss, const struct base_slab *slab);
/* Down: another MAX_CONCURRENT_STREAMS. */
void session_streams_limit(struct session *s, uint32_t n);
/* Down: asks the client to go: GOAWAY in two steps (RFC 9113 section 6.8); the session ends with its last stream, or grace_ns from now
 * (0: no limit).  why: a literal, told as debug data. */
void session_drain(struct session *s, const char *why, uint64_t grace_ns, uint64_t now);
/* GOAWAY with these words (a literal), then the end: it comes out of sessions_broken_next(), `why` says it. Counted. */
void session_end(struct session *s, enum http2_error code, const char *why, enum stats_drop reason);
/* Up: a session that has reached its age, once. It goes on until its user replaces it. NULL: none. */
struct session *sessions_aged_next(struct sessions *ss);

/* End of turn: writes what sessions have to write. */
void sessions_flush(struct sessions *ss);
/* Behind it: frees some of the DATA that streams had kept and will not send; in a busy turn only if much of it has gathered.  Returns how many buffers. */
uint32_t sessions_reclaim(struct sessions *ss, bool busy);
/* A session whose transport or peer failed inside a write, or that has ended (`gently`: nothing failed), or NULL. The user destroys it. */
struct session *sessions_broken_next(struct sessions *ss);

#endif
