#include "lib/http2/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8 };
#define MAX 0x7fffffff

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

struct frame {
    uint32_t len, type, flags, id;
    const uint8_t *p;
};

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* We have broken a rule. */
#define RULE(condition, section, ...)                                                                                                                        \
    do {                                                                                                                                                     \
        if (!(condition)) {                                                                                                                                  \
            fprintf(stderr, "wire: %s: RFC 9113 section %s: ", w->name, section);                                                                            \
            fprintf(stderr, __VA_ARGS__);                                                                                                                    \
            fprintf(stderr, "\n");                                                                                                                           \
            abort();                                                                                                                                         \
        }                                                                                                                                                    \
    } while (0)

void wire_init(struct wire *w, const char *name, bool we_serve)
{
    memset(w, 0, sizeof(*w));
    w->name = name;
    w->we_serve = we_serve;
    w->in.preface = we_serve ? 0 : 24;
    w->out.preface = we_serve ? 24 : 0;
    w->send = w->recv = w->peer_initial = w->peer_initial_most = w->recv_initial = 65535;
    w->peer_frame = w->peer_frame_before = 16384;
    w->peer_streams = w->peer_streams_before = UINT32_MAX;
    w->goaway_last = MAX;
}

static struct wire_stream *find(struct wire *w, uint32_t id)
{
    for (uint32_t i = 0; i < w->count; i++)
        if (w->stream[i].id == id)
            return &w->stream[i];
    return NULL;
}

static struct wire_stream *make(struct wire *w, uint32_t id)
{
    if (w->count == WIRE_STREAMS) {
        w->overflow = true;
        return NULL;
    }
    struct wire_stream *s = &w->stream[w->count++];
    /* SETTINGS that are not acknowledged yet may have crossed the stream's beginning. */
    int64_t debt = w->acks_out < w->settings_in ? (int64_t)w->peer_initial_most - w->peer_initial : 0;
    *s = (struct wire_stream){.id = id, .send = w->peer_initial, .debt = debt, .recv = w->recv_initial, .may_flow = id <= w->early};
    return s;
}

static bool over(const struct wire_stream *s)
{
    return (s->peer_end && s->our_end) || s->reset_in || s->reset_out;
}

static bool idle(const struct wire *w, uint32_t id)
{
    return id % 2 == 0 || id > (w->we_serve ? w->last_in : w->last_out);
}

/* -- the peer ----------------------------------------------------------------------------------- */

/* Of a stream that is idle when the peer says it: HEADERS of ours may be under way, and cross it. */
static void in_idle(struct wire *w, uint32_t id)
{
    if (w->we_serve || id % 2 == 0)
        w->broken = true;
    else if (id > w->early)
        w->early = id;
}

static void in_settings(struct wire *w, const struct frame *f)
{
    int64_t initial = -1;
    if (f->id != 0 || f->len % 6 != 0 || ((f->flags & ACK) && f->len != 0)) {
        w->broken = true;
        return;
    }
    if (f->flags & ACK)
        return;
    for (uint32_t i = 0; i < f->len; i += 6) {
        uint32_t key = (uint32_t)f->p[i] << 8 | f->p[i + 1], v = be32(f->p + i + 2);
        if ((key == 2 && (v > 1 || (!w->we_serve && v == 1))) || (key == 4 && v > MAX) || (key == 5 && (v < 16384 || v > 0xffffff))) {
            w->broken = true;
            w->may_flow |= key == 4;
            return;
        }
        if (key == 3)
            w->peer_streams = v;
        if (key == 4)
            initial = v;
        if (key == 5)
            w->peer_frame = v;
    }
    w->settings_in++;
    if (initial < 0)
        return;
    int64_t change = initial - w->peer_initial;
    w->peer_initial = (uint32_t)initial;
    if (w->peer_initial > w->peer_initial_most)
        w->peer_initial_most = w->peer_initial;
    for (uint32_t i = 0; i < w->count; i++) {
        struct wire_stream *s = &w->stream[i];
        s->send += change;
        s->debt += change < 0 ? -change : 0;
        s->by_settings |= s->send > MAX && !over(s);
        w->may_flow |= s->by_settings; /* what it means is seen when all has settled: we may have reset the stream before we read this */
    }
}

static void in_window(struct wire *w, const struct frame *f)
{
    if (f->len != 4) {
        w->broken = true;
        return;
    }
    uint32_t n = be32(f->p) & MAX;
    if (f->id == 0) {
        w->send += n;
        w->may_flow |= w->send > MAX;
        w->broken |= n == 0 || w->send > MAX;
        return;
    }
    struct wire_stream *s = find(w, f->id);
    if (idle(w, f->id)) {
        in_idle(w, f->id);
    } else if (s != NULL && !over(s) && !s->reset_pending) {
        s->send += n;
        s->may_flow |= s->send > MAX;
        s->must_reset |= n == 0 || s->send > MAX;
    }
}

static void in_data(struct wire *w, const struct frame *f)
{
    if (f->id == 0 || ((f->flags & PADDED) && (f->len < 1 || f->p[0] > f->len - 1))) {
        w->broken = true;
        return;
    }
    if (idle(w, f->id))
        in_idle(w, f->id);
    w->recv -= f->len;
    w->may_flow |= w->recv < 0;
    struct wire_stream *s = find(w, f->id);
    if (s == NULL || over(s) || s->reset_pending || s->peer_end)
        return;
    s->recv -= f->len;
    s->may_flow |= s->recv < 0;
    s->peer_end |= (f->flags & END_STREAM) != 0;
}

static void in_block_end(struct wire *w, uint32_t id)
{
    struct wire_stream *s = find(w, id);
    w->broken |= w->in.block_bad; /* at the latest: the block has to be decoded for the table's sake */
    if (idle(w, id))
        in_idle(w, id);
    if (s != NULL && w->in.block_end)
        s->peer_end = true;
}

static void in_headers(struct wire *w, const struct frame *f)
{
    bool bad = f->id % 2 == 0;
    w->in.block_end = f->flags & END_STREAM;
    w->in.block_bad = bad;
    if (w->we_serve && f->id > w->last_in && !bad) {
        w->last_in = f->id;
        make(w, f->id);
    }
    if (!(f->flags & END_HEADERS))
        w->in.block = f->id;
    else
        in_block_end(w, f->id);
}

static void in_frame(struct wire *w, const struct frame *f)
{
    struct wire_stream *s = find(w, f->id);
    if (w->in.block != 0 && (f->type != CONTINUATION || f->id != w->in.block)) {
        w->broken = true;
        return;
    }
    switch (f->type) {
    case DATA: in_data(w, f); break;
    case HEADERS: in_headers(w, f); break;
    case CONTINUATION:
        if (w->in.block == 0)
            w->broken = true;
        else if (f->flags & END_HEADERS)
            w->in.block = 0, in_block_end(w, f->id);
        break;
    case SETTINGS: in_settings(w, f); break;
    case WINDOW_UPDATE: in_window(w, f); break;
    case PUSH_PROMISE: w->broken = true; break;
    case PRIORITY: w->broken |= f->id == 0; break;
    case RST_STREAM:
        w->broken |= f->len != 4 || f->id == 0;
        if (idle(w, f->id) && (!w->we_serve || f->id % 2 == 0)) /* a call of gRPC's core that was cancelled before it was sent is borne: docs/GRPC.md */
            in_idle(w, f->id);
        if (s != NULL)
            s->reset_pending = true;
        break;
    case PING:
        w->broken |= f->len != 8 || f->id != 0;
        if (!w->broken && !(f->flags & ACK))
            memcpy(&w->ping[w->pings_in++ % WIRE_PINGS], f->p, 8);
        break;
    case GOAWAY:
        w->broken |= f->len < 8 || f->id != 0;
        w->goaway_in_pending = true;
        break;
    default: break;
    }
}

/* -- us ------------------------------------------------------------------------------------------- */

static void out_headers(struct wire *w, const struct frame *f)
{
    struct wire_stream *s = find(w, f->id);
    RULE(!w->goaway_out || w->goaway_code == 0, "5.4.1", "HEADERS behind the GOAWAY of an error, stream %u", f->id);
    if (!w->we_serve && f->id > w->last_out) {
        uint32_t active = 0, most = w->peer_streams > w->peer_streams_before ? w->peer_streams : w->peer_streams_before;
        for (uint32_t i = 0; i < w->count; i++)
            active += !over(&w->stream[i]) && !w->stream[i].reset_pending;
        RULE(f->id % 2 == 1, "5.1.1", "stream %u opened by a client", f->id);
        RULE(!w->goaway_in, "6.8", "stream %u opened after the peer's GOAWAY", f->id);
        RULE(w->overflow || active < most, "5.1.2", "stream %u is one more than the %u that the peer allows", f->id, most);
        w->last_out = f->id;
        s = make(w, f->id);
    }
    RULE(s != NULL || w->overflow, "5.1", "HEADERS on stream %u, which is idle", f->id);
    if (s == NULL)
        return;
    RULE(!s->our_end && !s->reset_out && !s->reset_in, "5.1", "HEADERS on stream %u behind its end (%d %d %d)", f->id, s->our_end, s->reset_out, s->reset_in);
    s->our_headers = true;
    s->our_end = f->flags & END_STREAM;
    if (!(f->flags & END_HEADERS))
        w->out.block = f->id;
}

static void out_data(struct wire *w, const struct frame *f)
{
    struct wire_stream *s = find(w, f->id);
    RULE(!w->goaway_out || w->goaway_code == 0, "5.4.1", "DATA behind the GOAWAY of an error, stream %u", f->id);
    RULE((int64_t)f->len <= w->send || f->len == 0, "6.9", "DATA of %u octets, the connection's window is %lld", f->len, (long long)w->send);
    w->send -= f->len;
    RULE(s != NULL || w->overflow, "5.1", "DATA on stream %u, which is idle", f->id);
    if (s == NULL)
        return;
    RULE(s->our_headers && !s->our_end && !s->reset_out && !s->reset_in, "5.1", "DATA on stream %u (headers %d, end %d, reset %d %d)", f->id, s->our_headers,
         s->our_end, s->reset_out, s->reset_in);
    RULE((int64_t)f->len <= s->send + s->debt || f->len == 0, "6.9", "DATA of %u octets on stream %u, its window is %lld", f->len, f->id, (long long)s->send);
    s->send -= f->len;
    s->our_end = f->flags & END_STREAM;
}

static void out_window(struct wire *w, const struct frame *f)
{
    RULE(f->len == 4, "6.9", "WINDOW_UPDATE of %u octets", f->len);
    uint32_t n = be32(f->p);
    RULE(n > 0 && n <= MAX, "6.9", "WINDOW_UPDATE of %u", n);
    if (f->id == 0) {
        w->recv += n;
        RULE(w->recv <= MAX, "6.9.1", "the connection's window that we grant is %lld", (long long)w->recv);
        return;
    }
    RULE(!idle(w, f->id), "5.1", "WINDOW_UPDATE on stream %u, which is idle", f->id);
    struct wire_stream *s = find(w, f->id);
    if (s == NULL)
        return;
    RULE(!s->reset_out, "5.1", "WINDOW_UPDATE on stream %u, which we have reset", f->id);
    s->recv += n;
    RULE(s->recv <= MAX, "6.9.1", "the window of stream %u that we grant is %lld", f->id, (long long)s->recv);
}

static void out_settings(struct wire *w, const struct frame *f)
{
    RULE(f->id == 0 && f->len % 6 == 0, "6.5", "SETTINGS of %u octets on stream %u", f->len, f->id);
    if (f->flags & ACK) {
        w->acks_out++;
        RULE(f->len == 0 && w->acks_out <= w->settings_in, "6.5.3", "%u SETTINGS acknowledged of %u", w->acks_out, w->settings_in);
        return;
    }
    for (uint32_t i = 0; i < f->len; i += 6)
        if (f->p[i + 1] == 4 && be32(f->p + i + 2) != w->recv_initial) {
            uint32_t v = be32(f->p + i + 2);
            w->may_flow |= v < w->recv_initial; /* it may hold already, or not yet */
            w->recv_initial = v > 65535 ? v : 65535;
        }
}

static void out_goaway(struct wire *w, const struct frame *f)
{
    RULE(f->len >= 8 && f->id == 0, "6.8", "GOAWAY of %u octets on stream %u", f->len, f->id);
    uint32_t last = be32(f->p) & MAX, code = be32(f->p + 4);
    RULE(last <= w->goaway_last, "6.8", "GOAWAY with last stream %u behind one with %u", last, w->goaway_last);
    RULE(!w->we_serve || last == MAX || last <= w->last_in, "6.8", "GOAWAY names stream %u, %u was the last", last, w->last_in);
    RULE(code != 3 || w->may_flow, "6.9.1", "FLOW_CONTROL_ERROR, and the peer has kept to all windows");
    w->goaway_out = true;
    w->goaway_last = last;
    w->goaway_code = code;
}

static void out_reset(struct wire *w, const struct frame *f)
{
    RULE(f->len == 4 && !idle(w, f->id), "6.4", "RST_STREAM on stream %u, which is idle", f->id);
    struct wire_stream *s = find(w, f->id);
    if (s == NULL)
        return;
    RULE(be32(f->p) != 3 || s->may_flow || w->may_flow, "6.9.1", "stream %u: FLOW_CONTROL_ERROR, and the peer has kept to its window", f->id);
    s->reset_out = true;
}

static void out_frame(struct wire *w, const struct frame *f)
{
    RULE(f->len <= w->peer_frame || f->len <= w->peer_frame_before, "4.2", "a frame of %u octets", f->len);
    RULE(w->out.block == 0 || (f->type == CONTINUATION && f->id == w->out.block), "6.2", "frame type %u within a header block", f->type);
    switch (f->type) {
    case DATA: out_data(w, f); break;
    case HEADERS: out_headers(w, f); break;
    case CONTINUATION:
        RULE(w->out.block != 0, "6.10", "CONTINUATION without HEADERS");
        if (f->flags & END_HEADERS)
            w->out.block = 0;
        break;
    case RST_STREAM: out_reset(w, f); break;
    case SETTINGS: out_settings(w, f); break;
    case WINDOW_UPDATE: out_window(w, f); break;
    case GOAWAY: out_goaway(w, f); break;
    case PING:
        RULE(f->len == 8 && f->id == 0, "6.7", "PING of %u octets", f->len);
        if (!(f->flags & ACK))
            break;
        RULE(w->pongs_out < w->pings_in, "6.7", "an answer to no PING");
        RULE(w->pings_in - w->pongs_out > WIRE_PINGS || memcmp(&w->ping[w->pongs_out % WIRE_PINGS], f->p, 8) == 0, "6.7", "PING number %u answered with other octets", w->pongs_out);
        w->pongs_out++;
        break;
    default: RULE(false, "6", "frame type %u", f->type);
    }
}

/* -- octets -------------------------------------------------------------------------------------- */

/* Takes octets until a frame is whole. Returns how many. */
static size_t take(struct wire_half *h, const uint8_t *bytes, size_t n, struct frame *f, bool *whole, bool *too_long)
{
    size_t done = 0;
    *whole = false;
    while (done < n) {
        uint32_t len = h->have >= 9 ? (uint32_t)h->frame[0] << 16 | (uint32_t)h->frame[1] << 8 | h->frame[2] : 0;
        if (h->have >= 9 && len > sizeof(h->frame) - 9) {
            *too_long = true;
            return n;
        }
        size_t lacks = (h->have < 9 ? 9 : 9 + len) - h->have, part = lacks < n - done ? lacks : n - done;
        memcpy(h->frame + h->have, bytes + done, part);
        h->have += (uint32_t)part;
        done += part;
        len = h->have >= 9 ? (uint32_t)h->frame[0] << 16 | (uint32_t)h->frame[1] << 8 | h->frame[2] : 0;
        if (h->have >= 9 && h->have == 9 + len) {
            *f = (struct frame){len, h->frame[3], h->frame[4], be32(h->frame + 5) & MAX, h->frame + 9};
            h->have = 0;
            *whole = true;
            return done;
        }
    }
    return done;
}

void wire_in(struct wire *w, const uint8_t *bytes, size_t n)
{
    while (n > 0 && w->in.preface < 24 && !w->broken) {
        w->broken = *bytes != (uint8_t)preface[w->in.preface++];
        bytes++, n--;
    }
    while (n > 0 && !w->broken) {
        struct frame f;
        bool whole, too_long = false;
        size_t used = take(&w->in, bytes, n, &f, &whole, &too_long);
        bytes += used, n -= used;
        if (too_long || (whole && f.len > 16384)) /* section 4.2: we take no more */
            w->broken = true;
        else if (whole && w->settings_in == 0 && (f.type != SETTINGS || (f.flags & ACK)))
            w->broken = true; /* section 3.4 */
        else if (whole)
            in_frame(w, &f);
    }
}

void wire_out(struct wire *w, const uint8_t *bytes, size_t n)
{
    while (n > 0 && w->out.preface < 24) {
        RULE(*bytes == (uint8_t)preface[w->out.preface++], "3.4", "a preface with a wrong octet");
        bytes++, n--;
    }
    while (n > 0) {
        struct frame f;
        bool whole, too_long = false;
        size_t used = take(&w->out, bytes, n, &f, &whole, &too_long);
        RULE(!too_long, "4.2", "a frame longer than any peer of these tests allows");
        bytes += used, n -= used;
        if (whole)
            out_frame(w, &f);
    }
}

void wire_settled(struct wire *w, bool closed)
{
    bool gone = closed || (w->goaway_out && w->goaway_code != 0);
    w->broken |= w->early > w->last_out;
    for (uint32_t i = 0; i < w->count; i++)
        w->broken |= w->stream[i].by_settings && !over(&w->stream[i]); /* section 6.9.2 */
    w->early = 0;
    RULE(!w->broken || gone, "5.4.1", "the peer has broken the connection, and we go on");
    RULE(w->recv >= 0 || gone, "6.9.1", "the peer has exceeded the connection's window, and we go on");
    for (uint32_t i = 0; i < w->count; i++) {
        struct wire_stream *s = &w->stream[i];
        s->debt = 0;
        s->reset_in |= s->reset_pending;
        bool must_reset = s->must_reset || s->recv < 0; /* a WINDOW_UPDATE of ours that crossed it makes it good */
        RULE(!must_reset || s->reset_out || s->reset_in || (s->peer_end && s->our_end) || gone, "5.4.2", "the peer has broken stream %u, and we go on", s->id);
    }
    w->goaway_in |= w->goaway_in_pending;
    w->peer_initial_most = w->peer_initial;
    w->peer_frame_before = w->peer_frame;
    w->peer_streams_before = w->peer_streams;
}
