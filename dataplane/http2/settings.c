/* SETTINGS both ways (RFC 9113 section 6.5). */
#include "internal.h"

/* The window that our SETTINGS announce holds for the peer once it has acknowledged them; until then it may count on 65,535. */
static void acknowledged(struct http2_conn *c, struct http2_event *ev)
{
    if (c->settings_unacked == 0) {
        http2_flood(c, HTTP2_RATE_SETTINGS, ev);
        return;
    }
    c->settings_unacked--;
    hpack_decoder_limit(&c->decoder, c->config.header_table_size);
    int64_t change = (int64_t)c->config.initial_window - c->recv_initial;
    if (change == 0)
        return;
    c->recv_initial = c->config.initial_window;
    base_list_each (l, &c->streams) {
        struct stream *s = base_container(l, struct stream, link);
        s->s.recv_window = (int32_t)(s->s.recv_window + change);
        http2_stream_credit(&s->s, 0); /* what has come back may be worth a WINDOW_UPDATE now */
    }
}

void http2_settings_begin(struct http2_conn *c, struct http2_event *ev)
{
    if (c->flags & FLAG_ACK) {
        if (c->len != 0)
            http2_fatal(c, ev, HTTP2_FRAME_SIZE_ERROR, "SETTINGS acknowledgement with a payload");
        else
            acknowledged(c, ev);
        return;
    }
    if (c->len % 6 != 0) {
        http2_fatal(c, ev, HTTP2_FRAME_SIZE_ERROR, "SETTINGS of odd size");
        return;
    }
    if (!http2_flood(c, HTTP2_RATE_SETTINGS, ev))
        return;
    c->left = c->len;
    c->small_have = 0;
    c->new_initial = -1;
    c->phase = PHASE_SETTINGS;
    if (c->len == 0)
        http2_settings_piece(c, c->small, 0, ev);
}

/* Returns false for a connection error. Section 6.5.2. */
static bool apply(struct http2_conn *c, uint32_t key, uint32_t value, struct http2_event *ev)
{
    switch (key) {
    case SETTING_HEADER_TABLE_SIZE:
        hpack_encoder_limit(&c->encoder, value);
        break;
    case SETTING_ENABLE_PUSH:
        if (value > 1 || (c->client && value == 1)) {
            http2_fatal(c, ev, HTTP2_PROTOCOL_ERROR, "ENABLE_PUSH");
            return false;
        }
        break;
    case SETTING_MAX_CONCURRENT_STREAMS:
        c->peer_max_streams = value;
        c->peer_max_said = true;
        break;
    case SETTING_INITIAL_WINDOW_SIZE:
        if (value > WINDOW_MAX) {
            http2_fatal(c, ev, HTTP2_FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE");
            return false;
        }
        c->new_initial = value; /* once a frame: a walk over all streams for each entry would be an attack */
        break;
    case SETTING_MAX_FRAME_SIZE:
        if (value < FRAME_SIZE_MIN || value > 0xffffff) {
            http2_fatal(c, ev, HTTP2_PROTOCOL_ERROR, "MAX_FRAME_SIZE");
            return false;
        }
        c->peer_max_frame = value;
        break;
    case SETTING_MAX_HEADER_LIST_SIZE:
        c->peer_max_list = value;
        break;
    default:
        break; /* section 6.5.2: unknown ones are ignored */
    }
    return true;
}

/* Section 6.9.2: windows of all streams move by the difference, below zero if need be. */
static bool initial_window_change(struct http2_conn *c)
{
    int64_t change = c->new_initial - (int64_t)c->peer_initial;
    c->peer_initial = (uint32_t)c->new_initial;
    base_list_each (l, &c->streams)
        if (!http2_window_add(&base_container(l, struct stream, link)->s.send_window, change))
            return false;
    return true;
}

static void finish(struct http2_conn *c, struct http2_event *ev)
{
    http2_frame_end(c);
    if (c->new_initial >= 0 && !initial_window_change(c)) {
        http2_fatal(c, ev, HTTP2_FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE overflows a window");
        return;
    }
    if (c->settings_acks == SETTINGS_ACK_QUEUE) {
        stats_drop(c->h->stats, STATS_DROP_H2_FLOOD);
        http2_fatal(c, ev, HTTP2_ENHANCE_YOUR_CALM, "too many SETTINGS frames unanswered");
        return;
    }
    if (!c->peer_max_said)
        c->peer_max_streams = UINT32_MAX; /* section 6.5.2: without a word there is no limit */
    c->peer_settings = true;
    c->settings_acks++;
    ev->type = HTTP2_EVENT_SETTINGS;
}

size_t http2_settings_piece(struct http2_conn *c, const uint8_t *in, size_t n, struct http2_event *ev)
{
    size_t done = 0;
    while (c->left > 0 && done < n) {
        const uint8_t *entry = in + done;
        if (c->small_have > 0 || n - done < 6) {
            c->small[c->small_have++] = in[done++];
            c->left--;
            if (c->small_have < 6)
                continue;
            c->small_have = 0;
            entry = c->small;
        } else {
            done += 6;
            c->left -= 6;
        }
        if (!apply(c, (uint32_t)entry[0] << 8 | entry[1], load_be32(entry + 2), ev))
            return done;
    }
    if (c->left == 0)
        finish(c, ev);
    return done;
}

static uint8_t *put(uint8_t *out, enum setting key, uint32_t value)
{
    out[0] = 0;
    out[1] = (uint8_t)key;
    store_be32(out + 2, value);
    return out + 6;
}

/* Most that the preface and http2_settings_put() need. */
size_t http2_settings_size(const struct http2_conn *c)
{
    return (c->client ? sizeof(http2_preface) : 0) + HTTP2_FRAME_HEADER + 6 * 5;
}

uint8_t *http2_settings_put(struct http2_conn *c, uint8_t *out)
{
    uint8_t *p = out + HTTP2_FRAME_HEADER;
    if (c->client)
        p = put(p, SETTING_ENABLE_PUSH, 0);
    else
        p = put(p, SETTING_MAX_CONCURRENT_STREAMS, c->config.max_concurrent_streams);
    if (c->config.header_table_size != HPACK_TABLE_MAX)
        p = put(p, SETTING_HEADER_TABLE_SIZE, c->config.header_table_size);
    if (c->config.initial_window != WINDOW_DEFAULT)
        p = put(p, SETTING_INITIAL_WINDOW_SIZE, c->config.initial_window);
    if (c->config.max_frame_size != FRAME_SIZE_MIN)
        p = put(p, SETTING_MAX_FRAME_SIZE, c->config.max_frame_size);
    p = put(p, SETTING_MAX_HEADER_LIST_SIZE, c->config.max_header_list_size);
    frame_header(out, (uint32_t)(p - out) - HTTP2_FRAME_HEADER, FRAME_SETTINGS, 0, 0);
    c->settings_unacked++;
    return p;
}
