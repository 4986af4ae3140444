/* What the files of session share. */
#ifndef SESSION_INTERNAL_H
#define SESSION_INTERNAL_H

#include "session.h"

/* Decoded fields that wait: `count` base_headers, then their bytes. */
struct session_held {
    struct session_held *next; /* behind a 1xx */
    uint32_t count;
    uint32_t size;
    uint8_t class;
    bool end;
    struct base_header field[];
};

struct session_held *held_create(struct sessions *ss, const struct base_headers *h, bool end);
void held_free(struct sessions *ss, struct session_held *held);
/* Takes the first of them off, and frees it. */
void held_drop(struct sessions *ss, struct session_held **first);

/* Queued DATA: a list of packets through their scratch areas. */
struct session_link {
    struct packet *next;
};

/* False: no buffer; what was there before is untouched or longer. */
bool queue_append(struct session_stream *st, const uint8_t *data, uint32_t n);
void queue_drop(struct session_stream *st);

void session_break(struct session *s);
void stream_free(struct session_stream *st);
void stream_finish(struct session_stream *st);

/* life.c */
void life_begin(struct session *s, uint64_t now);
void life_over(struct session *s);
void life_pinged(struct session *s);
void life_ping_answered(struct session *s, uint64_t opaque);
void life_closing(struct session *s);
/* What has to be said is written, and FIN follows; the peer may still be talking. */
void life_linger(struct session *s, uint64_t now);
void life_evicted(struct sessions *ss);
/* At the end of what was read: the stream whose header block is half here, or 0. */
void life_block(struct session *s, uint32_t id);
/* HTTP2_EVENT_UNSENT. */
void life_unsent(struct session *s);

/* overload.c */
void overload_tick(struct sessions *ss, uint64_t now);
/* So much is kept for this client as may be. */
static inline bool overload_buffered(const struct session *s)
{
    return s->life->buffered != 0 && s->queued >= s->life->buffered;
}
/* A new stream of a client's is to be refused. */
bool overload_refuses(struct session *s);

/* window.c */
/* All grown windows are now larger by so much.  The control plane reads the sum. */
static inline void window_used_add(struct sessions *ss, uint32_t n)
{
    __atomic_store_n(&ss->window_used, ss->window_used + n, __ATOMIC_RELAXED);
}
/* Half of the window of the stream that feeds st has come back. */
void window_due(struct session_stream *st);
/* The same of the connection's. */
void window_conn_due(struct session *s);

/* write.c: false / short where the transport has no room now. */
bool write_control(struct session *s);
bool write_headers(struct session_stream *st, const struct base_headers *h, bool end);
bool write_held(struct session_stream *st, const struct session_held *held);
uint32_t write_data(struct session_stream *st, const uint8_t *data, uint32_t n, bool end);

#endif
