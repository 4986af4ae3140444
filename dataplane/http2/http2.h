/* http2: RFC 9113 and RFC 7541 without I/O: bytes in, events out; calls in, bytes out.
 *
 * Owns:   connections, streams, dynamic tables, flow-control windows.
 * Uses:   base, stats.  Knows no TCP, no packet, no gRPC.
 * Thread: one struct http2 a worker; nothing shared.
 * Time:   http2_tick() says it, for the rates of http2_bounds alone.
 * Memory: slabs from the arena at start-up.  A connection takes table blocks as its tables grow (512 B to 4 KiB classes), so that
 *         an idle connection costs little.  Nothing a peer sends makes it exceed http2_config.
 * Errors: a broken peer gives HTTP2_EVENT_FATAL (connection error: GOAWAY is pending in the control output) or a stream error
 *         (RST_STREAM is pending, and the event HTTP2_EVENT_RESET with `local` set tells the user). All counted.
 *
 * Input:  call http2_input() with what arrived; it consumes some of it and reports at most one event; go on until all is
 *         consumed.  What an event points to is valid until the next call on the same struct http2; lists that are held, longer.
 * Output: http2_control_write() first (preface, SETTINGS, acknowledgements, RST_STREAM, WINDOW_UPDATE, GOAWAY: whatever is pending), then
 *         HEADERS and DATA of streams.  All write into memory that the caller brings, whole frames only.
 *         A header block is encoded when it is written, never before: encoded and unsent it would break the peer's table.
 * Flow control: the connection window is credited by the user when it has buffered (or passed on) DATA, the stream window when the DATA has
 *         left again; see http2_conn_credit(), http2_stream_credit(). */
#ifndef HTTP2_H
#define HTTP2_H

#include "stats/stats.h"

struct http2;      /* a worker's: slabs and the stream table (connection, id) -> stream */
struct http2_conn;

enum http2_role { HTTP2_SERVER, HTTP2_CLIENT };

enum http2_error { /* RFC 9113 section 7 */
    HTTP2_NO_ERROR, HTTP2_PROTOCOL_ERROR, HTTP2_INTERNAL_ERROR, HTTP2_FLOW_CONTROL_ERROR, HTTP2_SETTINGS_TIMEOUT,
    HTTP2_STREAM_CLOSED, HTTP2_FRAME_SIZE_ERROR, HTTP2_REFUSED_STREAM, HTTP2_CANCEL, HTTP2_COMPRESSION_ERROR,
    HTTP2_CONNECT_ERROR, HTTP2_ENHANCE_YOUR_CALM, HTTP2_INADEQUATE_SECURITY, HTTP2_HTTP_1_1_REQUIRED
};

struct http2_limits { /* a worker's slabs */
    uint32_t connections;
    uint32_t streams;
    uint32_t blocks; /* header blocks in reassembly at once */
    uint32_t header_list; /* the largest list that any connection may take, and so large are the blocks: >= 16 KiB, or that (0, too) */
};

/* Frames that cost a peer nothing.  So many of a kind at once, and as many again each second, beside what goes with useful traffic; more ends the
 * connection with ENHANCE_YOUR_CALM, in words that name it. */
enum http2_rate {
    HTTP2_RATE_RESETS, /* streams reset before their answer, by the peer or for its errors */
    HTTP2_RATE_PINGS, HTTP2_RATE_SETTINGS,
    HTTP2_RATE_EMPTY,  /* DATA without octets and without END_STREAM */
    HTTP2_RATE_PRIORITY, HTTP2_RATE_WINDOW,
    HTTP2_RATE_OTHER,  /* unknown types, and frames of streams that are over */
    HTTP2_RATES
};
struct http2_bounds {
    uint32_t rate[HTTP2_RATES];
    uint32_t continuations; /* CONTINUATION frames of a header block, beside those that max_header_list_size needs */
    uint32_t fields;        /* of a header list; <= BASE_HEADERS_MAX. More: too_large */
};
extern const struct http2_bounds http2_bounds_default;

struct http2_config { /* a connection's */
    enum http2_role role;
    uint32_t max_concurrent_streams; /* announced by a server; a client ignores it */
    uint32_t initial_window;         /* SETTINGS_INITIAL_WINDOW_SIZE that we announce */
    uint32_t conn_window;            /* raised by WINDOW_UPDATE right after the preface; >= 65,535 */
    uint32_t max_frame_size;         /* announced; 16,384 */
    uint32_t max_header_list_size;   /* announced and enforced; <= http2_limits.header_list */
    uint32_t header_table_size;      /* announced for the peer's encoder; <= 4,096 */
    uint32_t encoder_table_size;     /* most that our encoder uses; <= 4,096 */
    const struct http2_bounds *bounds; /* the user's memory, good as long as the connection is; NULL: the default */
};
void http2_config_defaults(struct http2_config *c, enum http2_role role);

/* One stream.  Fields are read by the user; only `user` is written by it. */
struct http2_stream {
    uint32_t id;
    uint8_t state;          /* enum http2_stream_state */
    bool headers_in;        /* the peer's final (non-1xx) HEADERS have come */
    bool headers_out;       /* ours have been written */
    bool reset;             /* RST_STREAM sent or received: nothing more will come or may be sent */
    int32_t send_window;    /* may be negative after a SETTINGS change (section 6.9.2) */
    int32_t recv_window;
    uint32_t recv_credit;   /* consumed and not yet announced */
    uint32_t recv_extra;    /* http2_stream_window() beyond what each stream begins with */
    void *user;
    struct http2_conn *conn;
    /* http2's own links follow in the implementation's struct */
};

enum http2_stream_state { /* RFC 9113 section 5.1; reserved states never occur: push is refused */
    HTTP2_STREAM_IDLE, HTTP2_STREAM_OPEN, HTTP2_STREAM_HALF_LOCAL, HTTP2_STREAM_HALF_REMOTE, HTTP2_STREAM_CLOSED_STATE
};

enum http2_event_type {
    HTTP2_EVENT_NONE,     /* nothing to tell yet */
    HTTP2_EVENT_HEADERS,  /* new request, response, 1xx or trailers; validated by section 8 */
    HTTP2_EVENT_DATA,     /* a piece of a DATA frame, padding taken off */
    HTTP2_EVENT_RESET,    /* the stream is over by RST_STREAM; `code`; `local`: our own stream error */
    HTTP2_EVENT_GOAWAY,   /* `last_id`, `code`, `debug`: streams of ours above last_id were not processed */
    HTTP2_EVENT_SETTINGS, /* the peer's settings changed (first or later); limits and windows may have grown */
    HTTP2_EVENT_WINDOW,   /* `stream` (NULL: the connection) may send again */
    HTTP2_EVENT_PING,     /* the peer's; its answer is pending */
    HTTP2_EVENT_PING_ACK, /* `opaque` */
    HTTP2_EVENT_UNSENT,   /* a client has reset its stream before any HEADERS came: section 6.4's error, where http2_opened() does not become true soon */
    HTTP2_EVENT_FULL,     /* a new stream of the peer's was refused: no object was left for it */
    HTTP2_EVENT_FATAL     /* connection error `code`, `data`: words for people, `last_id`: the frame's stream; write the control output, then close */
};

struct http2_event {
    enum http2_event_type type;
    struct http2_stream *stream;
    bool end_stream; /* HEADERS, DATA: the peer's last */
    bool trailers;   /* HEADERS: a trailer section */
    bool opened;     /* HEADERS: a server's new stream; `user` is NULL */
    bool too_large;  /* HEADERS: header list above the limit; `headers` holds what fitted. The user answers or resets */
    bool local;
    const struct base_headers *headers;
    const uint8_t *data;
    uint32_t len;
    uint32_t flow; /* DATA: flow-controlled bytes this event stands for, padding included: what is to be credited */
    uint32_t code;
    uint32_t last_id;
    uint64_t opaque;
};

size_t http2_footprint(const struct http2_limits *l);
struct http2 *http2_create(struct base_arena *arena, const struct http2_limits *l, struct stats *stats);

void http2_tick(struct http2 *h, uint64_t now);

/* NULL: full.  The preface and SETTINGS are pending in the control output. */
struct http2_conn *http2_conn_create(struct http2 *h, const struct http2_config *config, void *user);
/* Every stream is released with it; their `user` pointers are the user's to clean up first. */
void http2_conn_destroy(struct http2_conn *c);
void *http2_conn_user(const struct http2_conn *c);

/* A hint: input is about to come. */
void http2_expect(const struct http2_conn *c);
/* Another: HEADERS and DATA are about to be written. */
void http2_expect_out(const struct http2_conn *c);
size_t http2_input(struct http2_conn *c, const uint8_t *in, size_t n, struct http2_event *ev);

bool http2_control_pending(const struct http2_conn *c);
/* A queue of answers is full: http2_control_write() before more input, or the peer's next such frame ends the connection.  Input stops by itself
 * where this becomes true. */
bool http2_output_due(const struct http2_conn *c);
/* Writes as many pending control frames as fit. Returns bytes. */
size_t http2_control_write(struct http2_conn *c, uint8_t *out, size_t room);

/* Client: a stream number for a request; NULL: the peer's limit or ours is reached, or GOAWAY was seen, or ids have run out. */
struct http2_stream *http2_stream_open(struct http2_conn *c, void *user);
/* Client: how many more http2_stream_open() would give now. Before the peer's first SETTINGS: 100 less those open. */
uint32_t http2_streams_available(const struct http2_conn *c);
/* No stream object is left, for any connection. */
bool http2_full(const struct http2 *h);
/* So many in a hundred are left, at least. */
bool http2_spare(const struct http2 *h, uint32_t percent);
/* Client: numbers that this connection has not used yet; the peer's limit apart. */
uint32_t http2_ids_left(const struct http2_conn *c);
/* A list whose id is not 0 stays as it is, where it is, until it is released as often. */
void http2_list_hold(const struct base_headers *h);
void http2_list_release(const struct base_headers *h);
/* Room that http2_headers_write() may need at the most for these fields, CONTINUATION frames included. */
size_t http2_headers_bound(const struct base_headers *h);
/* HEADERS (+ CONTINUATION). Returns bytes; 0: room < bound, nothing changed. */
size_t http2_headers_write(struct http2_stream *s, const struct base_headers *h, bool end_stream, uint8_t *out, size_t room);
/* DATA that windows and the peer's frame size allow in one frame now (0: blocked; see http2_stream_blocked). */
uint32_t http2_data_allowed(const struct http2_stream *s);
/* One DATA frame header for n bytes (n <= allowed; n == 0 only with end_stream), 9 bytes into out; windows are charged. The
 * caller puts the n bytes right behind it. */
#define HTTP2_FRAME_HEADER 9
void http2_data_begin(struct http2_stream *s, uint32_t n, bool end_stream, uint8_t out[HTTP2_FRAME_HEADER]);
/* RST_STREAM becomes pending; the stream counts as closed. Harmless on a closed one. */
void http2_stream_reset(struct http2_stream *s, enum http2_error code);
/* The user has done with a stream that is closed (both ends, or reset). s is dead afterwards. */
void http2_stream_release(struct http2_stream *s);
bool http2_stream_closed(const struct http2_stream *s);

/* Both: true where half of the window has come back, and a WINDOW_UPDATE becomes due by that. */
bool http2_conn_credit(struct http2_conn *c, uint32_t n);
bool http2_stream_credit(struct http2_stream *s, uint32_t n);
/* What the peer may have sent, and the user not yet credited, at most. */
uint32_t http2_conn_window(const struct http2_conn *c);
uint32_t http2_stream_window(const struct http2_stream *s);
/* n more, told with the next WINDOW_UPDATE.  Section 6.9.1: the window stays below 2^31; n is the caller's to bound. */
void http2_conn_window_grow(struct http2_conn *c, uint32_t n);
void http2_stream_window_grow(struct http2_stream *s, uint32_t n);
/* Less by n at the most: of what it had grown, and of what has come back and was not told yet; the rest is a promise.  Returns how much. */
uint32_t http2_stream_window_shrink(struct http2_stream *s, uint32_t n);

/* last_id 2^31-1 warns (section 6.8); http2_last_id() is the real one. debug: <= 64 bytes, copied. */
void http2_goaway(struct http2_conn *c, uint32_t last_id, enum http2_error code, const char *debug);
/* GOAWAY, and nothing more: what arrives is not looked at, streams end without a word of their own. */
void http2_end(struct http2_conn *c, enum http2_error code, const char *debug);
/* By that, or by a connection error. */
bool http2_ended(const struct http2_conn *c);
/* The largest list of fields that the peer says it takes (SETTINGS_MAX_HEADER_LIST_SIZE); UINT32_MAX: it has not said. */
uint32_t http2_peer_header_list(const struct http2_conn *c);
/* The connection's window lets DATA through. */
bool http2_conn_sendable(const struct http2_conn *c);
/* The peer has lately said more than an eighth of what would end the connection (http2_bounds.rate): others may go first. */
bool http2_suspect(struct http2_conn *c);
uint32_t http2_last_id(const struct http2_conn *c); /* highest stream of the peer that we let through; client: 0 */
/* A stream of the peer's has come, whether we let it through or not. */
bool http2_opened(const struct http2_conn *c);
/* False: one is on its way already. */
bool http2_ping(struct http2_conn *c, uint64_t opaque);
/* Server: announce another limit (overload). Gives the one before. */
uint32_t http2_max_streams_set(struct http2_conn *c, uint32_t n);

/* The connection's flow-control windows, for people to look at. */
void http2_conn_windows(const struct http2_conn *c, int32_t *send, int32_t *receive);
uint32_t http2_streams_active(const struct http2_conn *c);
bool http2_goaway_received(const struct http2_conn *c);
bool http2_goaway_sent(const struct http2_conn *c);
bool http2_settings_received(const struct http2_conn *c);
/* A connection that was ended while another one's input was read: it kept memory for a header block that it did not finish, or for resets
 * that it did not read. NULL: none. */
struct http2_conn *http2_evicted_next(struct http2 *h);
/* In words for people. */
const char *http2_evicted_why(const struct http2_conn *c);
/* The stream whose header block has come in part; 0: none. */
uint32_t http2_block_id(const struct http2_conn *c);

/* Asserts what must hold between two calls. */
void http2_conn_check(const struct http2_conn *c);

#endif
