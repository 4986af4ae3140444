/* What the files of http2 share; nobody outside includes it.
 *
 *   frame.c    octets -> frames: the input machine          stream.c    the table of streams, states, resets
 *   data.c     DATA: ranges of the input, windows            flow.c      credits and WINDOW_UPDATE
 *   headers.c  HEADERS and CONTINUATION: blocks -> events    validate.c  RFC 9113 section 8
 *   settings.c SETTINGS both ways                            control.c   pending control frames -> octets
 *   send.c     HEADERS and DATA of ours                      flood.c     what costs the peer nothing is counted
 *   known.c    header lists that come again and again
 *   hpack_*.c  RFC 7541, see hpack.h                         check.c     invariants */
#ifndef HTTP2_INTERNAL_H
#define HTTP2_INTERNAL_H

#include "http2/http2.h"
#include "hpack.h"

enum frame_type { FRAME_DATA, FRAME_HEADERS, FRAME_PRIORITY, FRAME_RST_STREAM, FRAME_SETTINGS, FRAME_PUSH_PROMISE, FRAME_PING,
                  FRAME_GOAWAY, FRAME_WINDOW_UPDATE, FRAME_CONTINUATION };
enum frame_flag { FLAG_END_STREAM = 1, FLAG_ACK = 1, FLAG_END_HEADERS = 4, FLAG_PADDED = 8, FLAG_PRIORITY = 32 };
enum setting { SETTING_HEADER_TABLE_SIZE = 1, SETTING_ENABLE_PUSH, SETTING_MAX_CONCURRENT_STREAMS, SETTING_INITIAL_WINDOW_SIZE,
               SETTING_MAX_FRAME_SIZE, SETTING_MAX_HEADER_LIST_SIZE };

#define WINDOW_MAX          0x7fffffff
#define WINDOW_DEFAULT      65535
#define ID_MAX              0x7fffffffu
#define FRAME_SIZE_MIN      16384u
#define PING_QUEUE          16 /* answers that wait */
#define STREAMS_UNTIL_SETTINGS 100
#define SETTINGS_ACK_QUEUE  32
#define RESETS_QUEUE        256 /* RST_STREAM of streams that we do not keep, a connection */
#define RESETS_LOOKS        16  /* connections that are looked at for one to make room */
#define BLOCK_BEYOND        (7 * HPACK_BLOCK) /* octets of a header block beyond what is kept of it, in however many frames */
#define ENDED_RING          16
#define BORN_SHIFT          20 /* of struct stream.born */
#define DEBUG_MAX           64
#define SMALL               (8 + DEBUG_MAX) /* GOAWAY and the beginning of its debug data */

enum stream_flag {
    STREAM_COUNTED = 1,      /* against MAX_CONCURRENT_STREAMS; a client's until our RST_STREAM is written */
    STREAM_RST_PENDING = 2,
    STREAM_CREDIT_PENDING = 4,
    STREAM_RELEASED = 8,     /* the user is through; kept until its RST_STREAM is written */
    STREAM_REMOTE_ENDED = 16,
    STREAM_REMOTE_RESET = 32,
    STREAM_LENGTH = 64,      /* content-length was given: length_left counts */
    STREAM_HEAD = 128,       /* the request was HEAD: content-length announces nothing */
    STREAM_REPORTED = 256,   /* the user has seen it */
};

struct stream { /* what a struct http2_stream is in here */
    struct http2_stream s;
    struct base_list link;    /* http2_conn.streams */
    struct base_list control; /* http2_conn.control: RST_STREAM or WINDOW_UPDATE is pending */
    uint64_t length_left;
    uint32_t index;     /* of this one in its slab: kept, as finding it is a division */
    uint32_t hash_next; /* index + 1 */
    uint32_t born;      /* in ticks of 2^BORN_SHIFT ns: about a ms */
    uint16_t flags;
    uint8_t reset_code;
};
static_assert(sizeof(struct stream) <= 128, "two cache lines a stream");

struct reset { /* RST_STREAM for a stream that we never made or keep no longer */
    struct reset *next;
    uint32_t id;
    uint32_t code;
};

struct block {
    uint32_t used;
    uint8_t bytes[]; /* hpack.block */
};

enum phase {
    PHASE_PREFACE,  /* server: the 24 octets */
    PHASE_HEADER,   /* the 9 octets of a frame */
    PHASE_SMALL,    /* a payload of known small size, or its beginning, into `small` */
    PHASE_SETTINGS, /* six octets at a time */
    PHASE_BLOCK,    /* a fragment of a header block */
    PHASE_DATA,
    PHASE_SKIP,     /* padding, unknown frames, the rest of debug data */
    PHASE_DEAD
};

struct http2_conn {
    struct http2 *h;
    void *user;
    struct base_list streams; /* not the released ones */
    struct base_list control;
    /* input */
    uint8_t phase;
    uint8_t type, flags;
    uint8_t small_have, small_need;
    bool client;
    bool peer_settings;    /* the peer's first SETTINGS have come */
    bool peer_max_said;    /* and held MAX_CONCURRENT_STREAMS */
    bool padded_pending;   /* DATA: its first event also stands for the padding */
    bool unread;           /* evicted for its resets, not for its block */
    bool suspect;          /* a bucket was fuller than SUSPECT_PART says when last looked at; see flood.c */
    uint32_t index;        /* in its slab */
    uint32_t len, id;      /* the frame's */
    uint32_t left;         /* octets of the payload yet to come, but for padding */
    uint32_t pad;
    struct stream *data_stream; /* NULL: discard */
    struct stream *last;        /* found last: DATA follows HEADERS */
    struct block *block;
    struct base_list holding; /* in http2.holders or http2.evicted */
    uint32_t block_id;     /* nonzero: CONTINUATION must follow */
    uint32_t block_total;
    uint16_t block_frames;
    uint8_t block_flags;
    bool block_spilled, block_begun, block_malformed, block_self;
    uint32_t block_skip;   /* octets to come of a field larger than a block */
    uint8_t small[SMALL];
    /* streams */
    uint32_t last_seen;    /* highest id of the peer's streams */
    union {
        uint32_t last_let;    /* server: highest that was let through */
        uint32_t goaway_left; /* client: streams above were left out by the peer's GOAWAY */
    };
    uint32_t gap_low, gap_high; /* ids between them were skipped by the peer, last time it did */
    uint32_t next_id;      /* client: the next */
    uint32_t last_written; /* client: highest id whose HEADERS are out */
    uint32_t active;
    uint32_t ended[ENDED_RING]; /* streams that the peer ended, released since; bit 31: by RST_STREAM */
    uint8_t ended_at;
    /* windows */
    int32_t send_window, recv_window;
    uint32_t recv_credit, recv_target;
    uint32_t late_allowed; /* octets of DATA that windows of streams still let the peer send when we reset them */
    /* ours */
    struct http2_config config;
    uint32_t recv_initial; /* stream window that the peer may count on */
    uint8_t settings_unacked;
    bool preface_pending, max_streams_pending, ping_pending, ping_out, credit_pending;
    bool goaway_pending, goaway_sent, goaway_received;
    uint8_t goaway_debug_len;
    /* the peer's */
    uint32_t peer_max_streams, peer_initial, peer_max_frame, peer_max_list;
    int64_t new_initial; /* in the SETTINGS frame that is being read, or -1 */
    /* control output */
    uint8_t settings_acks;
    uint8_t ping_head, ping_count;
    uint32_t reset_count;
    struct reset *reset_first, *reset_last;
    uint64_t pings[PING_QUEUE];
    uint64_t ping_opaque;
    uint32_t goaway_last, goaway_code;
    uint32_t flood[HTTP2_RATES]; /* since flood_ns; see flood.c */
    uint32_t progress, answered;
    uint32_t promised; /* streams that MAX_CONCURRENT_STREAMS had allowed before we lowered it, and that may be on their way yet */
    uint64_t flood_ns;
    char goaway_debug[DEBUG_MAX];
    struct base_list resetting; /* in http2.resetting, while there are records */
    struct hpack_decoder decoder;
    struct hpack_encoder encoder;
};

/* validate.c */
enum section { SECTION_REQUEST, SECTION_RESPONSE, SECTION_TRAILERS };
struct message {
    bool has_length;
    bool head;
    uint64_t length;
    uint32_t status; /* response */
};
/* RFC 9113 section 8 but for the octets, which HPACK looks at. False: malformed. */
bool http2_validate(const struct base_headers *h, enum section section, struct message *m);

/* known.c */
#define KNOWN_WAYS  4
#define KNOWN_LISTS 128 /* of a worker; 8 of one that has few connections */
#define KNOWN_BYTES 1024 /* of names and values */
struct known {
    struct base_headers list; /* id 0: empty; its octets stand in `bytes`, or are a token's */
    uint32_t holders;         /* while there are any, it stays */
    uint32_t bound;           /* http2_headers_bound() */
    uint8_t sections;         /* bit: such a message it makes */
    bool used;                /* since somebody looked for a place */
    struct message message[3];
    uint8_t bytes[KNOWN_BYTES];
};

struct http2 {
    struct stats *stats;
    struct base_slab conns, streams, blocks, resets;
    uint32_t *buckets; /* stream index + 1 */
    uint32_t bucket_mask;
    struct base_hash_key key;
    struct block *spent; /* what the last event points to; one at the most */
    uint64_t now_ns;
    struct base_list holders; /* connections with a block, the oldest first */
    struct base_list resetting; /* connections with records of resets, the one that has written none for longest first */
    struct base_list evicted; /* who had to make room for others */
    struct known *known;      /* sets of KNOWN_WAYS */
    uint32_t known_sets;
    uint64_t known_ids;       /* given so far */
    const struct base_headers *list; /* of the block decoded last: a known one, or hpack.headers */
    struct hpack_context hpack;
};

static inline uint32_t load_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void store_be32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24), p[1] = (uint8_t)(v >> 16), p[2] = (uint8_t)(v >> 8), p[3] = (uint8_t)v;
}

static inline uint8_t *frame_header(uint8_t *p, uint32_t len, enum frame_type type, uint32_t flags, uint32_t id)
{
    p[0] = (uint8_t)(len >> 16), p[1] = (uint8_t)(len >> 8), p[2] = (uint8_t)len;
    p[3] = (uint8_t)type;
    p[4] = (uint8_t)flags;
    store_be32(p + 5, id);
    return p + HTTP2_FRAME_HEADER;
}

static inline struct stream *stream_of(struct http2_stream *s)
{
    return (struct stream *)(void *)s;
}

/* control.c */
extern const char http2_preface[24];
/* Connection error (section 5.4.1): GOAWAY becomes pending, input is over. */
void http2_fatal(struct http2_conn *c, struct http2_event *ev, enum http2_error code, const char *debug);
/* What it keeps for want of the peer's doing is given to others: its block, its resets.  It is ended. */
void http2_evict(struct http2_conn *c, const char *debug);
void http2_resets_drop(struct http2_conn *c);
/* RST_STREAM for an id without a stream. False: too many wait, the connection was ended. */
bool http2_reset_id(struct http2_conn *c, struct http2_event *ev, uint32_t id, enum http2_error code);

/* stream.c */
struct stream *http2_stream_find(struct http2_conn *c, uint32_t id);
struct stream *http2_stream_make(struct http2_conn *c, uint32_t id);
void http2_stream_renumber(struct stream *s, uint32_t id);
void http2_stream_ended_local(struct stream *s);
void http2_stream_ended_remote(struct stream *s);
void http2_stream_free(struct stream *s);
void http2_stream_forget_reset(struct stream *s);
/* Its RST_STREAM, which was pending, is no more. */
void http2_stream_reset_told(struct stream *s);
void http2_stream_close_reset(struct stream *s);
/* Stream error (section 5.4.2) on a stream that lives. */
void http2_stream_error(struct stream *s, struct http2_event *ev, enum http2_error code);
/* HEADERS or DATA for a stream that lives no longer (s: closed and not released, or NULL): section 5.1 "closed". */
void http2_stream_late(struct http2_conn *c, struct stream *s, struct http2_event *ev);
/* A stream of that window is over before the peer knows: what it sends meanwhile is nothing that it could have helped. */
static inline void http2_stream_late_allow(struct http2_conn *c, int32_t window)
{
    uint32_t n = window > 0 ? (uint32_t)window : 0;
    c->late_allowed = c->late_allowed <= UINT32_MAX - n ? c->late_allowed + n : UINT32_MAX;
}
bool http2_stream_idle(const struct http2_conn *c, uint32_t id);

/* frame payloads; each eats from [in, in + n) and returns how much */
void http2_headers_begin(struct http2_conn *c, struct http2_event *ev);
size_t http2_headers_whole(struct http2_conn *c, const uint8_t *in, struct http2_event *ev);
void http2_headers_prefix(struct http2_conn *c, struct http2_event *ev);
size_t http2_headers_fragment(struct http2_conn *c, const uint8_t *in, size_t n, struct http2_event *ev);
void http2_data_header(struct http2_conn *c, struct http2_event *ev);
size_t http2_data_piece(struct http2_conn *c, const uint8_t *in, size_t n, struct http2_event *ev);
void http2_settings_begin(struct http2_conn *c, struct http2_event *ev);
size_t http2_settings_piece(struct http2_conn *c, const uint8_t *in, size_t n, struct http2_event *ev);
uint8_t *http2_settings_put(struct http2_conn *c, uint8_t *out);
size_t http2_settings_size(const struct http2_conn *c);
void http2_window_update(struct http2_conn *c, struct http2_event *ev);
/* Adds to a send window. False: above 2^31-1. */
bool http2_window_add(int32_t *window, int64_t n);
void http2_frame_skip(struct http2_conn *c, uint32_t n);
void http2_frame_end(struct http2_conn *c);

/* known.c */
static inline struct known *known_of(const struct base_headers *h)
{
    return base_container((struct base_headers *)(uintptr_t)h, struct known, list);
}
/* The list that a block of that connection stands for, without a look at its tables.  NULL: it has to be decoded. */
const struct base_headers *http2_known_recall(struct http2_conn *c, const uint8_t *p, size_t n);
/* The block was decoded to h: the list that is known for it, or h. */
const struct base_headers *http2_known_learn(struct http2_conn *c, const uint8_t *p, size_t n, const struct base_headers *h);
/* http2_validate(), once for a known list. */
bool http2_known_validate(const struct base_headers *h, enum section section, struct message *m);

/* flood.c */
/* False: too much; the connection was ended. */
bool http2_flood(struct http2_conn *c, enum http2_rate kind, struct http2_event *ev);
/* A client has reset this one, or made us reset it. */
bool http2_flood_reset(const struct stream *s, struct http2_event *ev);
/* DATA or HEADERS that mean something, either way. */
static inline void http2_flood_progress(struct http2_conn *c)
{
    c->progress++;
}
static inline void http2_flood_answered(struct http2_conn *c)
{
    c->answered++;
}

#endif
