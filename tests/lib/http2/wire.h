/* What RFC 9113 lets one end of a connection say, judged from the octets alone: every frame of "us" (whom we test) is held against what both have said
 * before: stream states, both kinds of flow-control windows, both ways, stream numbers and their limit, acknowledgements, GOAWAY.  An independent
 * second book: it shares nothing with dataplane/http2.
 *
 *   wire_in()       octets of the peer, as they are sent to us            wire_out()   octets of ours, as they come
 *   wire_settled()  we have had time to read all of it, and all that we said was given to wire_out()
 *
 * What the peer takes back (RST_STREAM, GOAWAY, smaller windows and limits) holds from wire_settled() on: until then ours may have crossed it. */
#ifndef TESTS_HTTP2_WIRE_H
#define TESTS_HTTP2_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_STREAMS 256
#define WIRE_PINGS   256

struct wire_stream {
    uint32_t id;
    bool peer_end, our_end, our_headers, reset_in, reset_out;
    bool reset_pending; /* the peer's, not yet in force */
    bool must_reset;    /* the peer has broken a rule of this stream */
    bool may_flow;
    int64_t send, recv;
    int64_t debt;       /* of `send`: taken back, not yet in force */
    bool by_settings;   /* SETTINGS have made `send` larger than may be */
};

struct wire_half {
    uint8_t frame[9 + 65536];
    uint32_t have;
    uint32_t preface; /* octets of it that have come; 24: all */
    uint32_t block;   /* stream whose CONTINUATION must follow; 0: none */
    bool block_end;   /* it carries END_STREAM */
    bool block_bad;   /* on a stream where none may be */
};

struct wire {
    const char *name;
    bool we_serve;
    struct wire_half in, out;
    struct wire_stream stream[WIRE_STREAMS];
    uint32_t count;
    bool overflow;   /* more streams than we remember: those are not judged */
    bool broken;     /* the peer has broken the connection: what it says further means nothing */
    bool may_flow;   /* it has done what a FLOW_CONTROL_ERROR is for */
    uint32_t last_in, last_out; /* highest stream that each has opened */
    uint32_t early;             /* highest stream that the peer has spoken of since wire_settled() before we opened it */
    int64_t send, recv;
    uint32_t peer_initial, peer_initial_most /* since wire_settled() */, recv_initial, peer_frame, peer_frame_before, peer_streams, peer_streams_before;
    bool goaway_in, goaway_in_pending;
    bool goaway_out;
    uint32_t goaway_last, goaway_code;
    uint32_t settings_in, acks_out;
    uint64_t ping[WIRE_PINGS];
    uint32_t pings_in, pongs_out;
};

void wire_init(struct wire *w, const char *name, bool we_serve);
void wire_in(struct wire *w, const uint8_t *bytes, size_t n);
void wire_out(struct wire *w, const uint8_t *bytes, size_t n);
/* closed: we have closed the connection. */
void wire_settled(struct wire *w, bool closed);

#endif
