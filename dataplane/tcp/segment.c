/* Options are read in any order and length that RFC 9293 section 3.2 allows; the layout that every stack sends
 * (NOP NOP timestamp) is recognised by one comparison. */
#include "segment.h"

enum { OPT_END = 0, OPT_NOP = 1, OPT_MSS = 2, OPT_WSCALE = 3, OPT_SACK_OK = 4, OPT_SACK = 5, OPT_TS = 8 };

static uint16_t get16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return __builtin_bswap16(v);
}

static uint32_t get32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return __builtin_bswap32(v);
}

static void put16(uint8_t *p, uint16_t v)
{
    v = __builtin_bswap16(v);
    memcpy(p, &v, 2);
}

static void put32(uint8_t *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, 4);
}

static void option_read(struct tcp_segment *s, uint8_t kind, const uint8_t *value, uint8_t n)
{
    bool syn = (s->flags & TCP_SYN) != 0; /* these count in a SYN only */
    if (kind == OPT_TS && n == 8) {
        s->has_ts = true;
        s->tsval = get32(value);
        s->tsecr = get32(value + 4);
    } else if (kind == OPT_MSS && n == 2 && syn) {
        s->mss = get16(value);
    } else if (kind == OPT_WSCALE && n == 1 && syn) {
        s->has_wscale = true;
        s->wscale = value[0] > TCP_WSCALE_MAX ? TCP_WSCALE_MAX : value[0]; /* RFC 7323 section 2.3 */
    } else if (kind == OPT_SACK_OK && n == 0 && syn) {
        s->sack_ok = true;
    } else if (kind == OPT_SACK && n >= 8 && n % 8 == 0 && !syn) {
        s->sack_count = n / 8; /* 4 at most: there is no room for more */
        for (uint32_t i = 0; i < s->sack_count; i++)
            s->sack[i] = (struct tcp_range){get32(value + 8 * i), get32(value + 8 * i + 4)};
    }
}

/* A length that runs over the end ends the list: what was read so far stands, as Linux has it. */
static void options_read(struct tcp_segment *s, const uint8_t *p, uint32_t n)
{
    for (uint32_t i = 0; i < n && p[i] != OPT_END;) {
        if (p[i] == OPT_NOP) {
            i++;
            continue;
        }
        if (n - i < 2 || p[i + 1] < 2 || p[i + 1] > n - i)
            return;
        option_read(s, p[i], p + i + 2, (uint8_t)(p[i + 1] - 2));
        i += p[i + 1];
    }
}

bool tcp_segment_parse(struct packet *p, struct tcp_segment *s)
{
    uint32_t n = packet_len(p);
    if (n < TCP_HEADER)
        return false;
    const uint8_t *h = packet_data(p);
    uint32_t header = (uint32_t)(h[12] >> 4) * 4;
    if (header < TCP_HEADER || header > n)
        return false;
    s->seq = get32(h + 4);
    s->ack = get32(h + 8);
    s->flags = h[13];
    s->wnd = get16(h + 14);
    s->len = n - header;
    s->mss = 0;
    s->has_ts = s->has_wscale = s->sack_ok = false;
    s->wscale = s->sack_count = 0;
    s->tsval = s->tsecr = 0;
    if (header == TCP_HEADER + TCP_TS_OPTION && get32(h + TCP_HEADER) == 0x0101080a) {
        s->has_ts = true;
        s->tsval = get32(h + 24);
        s->tsecr = get32(h + 28);
    } else if (header > TCP_HEADER) {
        options_read(s, h + TCP_HEADER, header - TCP_HEADER);
    }
    packet_adj(p, header);
    return true;
}

static void sacks_write(uint8_t *at, const struct tcp_header *h)
{
    put32(at, (uint32_t)OPT_NOP << 24 | (uint32_t)OPT_NOP << 16 | (uint32_t)OPT_SACK << 8 | (2u + 8u * h->sack_count));
    for (uint32_t i = 0; i < h->sack_count; i++) {
        put32(at + 4 + 8 * i, h->sack[i].left);
        put32(at + 8 + 8 * i, h->sack[i].right);
    }
}

static uint32_t options_length(const struct tcp_header *h)
{
    return (h->mss != 0 ? 4u : 0) + (h->ts ? TCP_TS_OPTION : 0u) + (h->wscale != TCP_NO_WSCALE ? 4u : 0) + (h->sack_ok ? 4u : 0) +
           (h->sack_count != 0 ? 4u + 8u * h->sack_count : 0);
}

void tcp_header_prepend(struct packet *p, const struct tcp_header *h)
{
    uint32_t length = TCP_HEADER + options_length(h);
    uint8_t *at = packet_prepend(p, length);
    put16(at, h->local_port);
    put16(at + 2, h->remote_port);
    put32(at + 4, h->seq);
    put32(at + 8, h->flags & TCP_ACK ? h->ack : 0);
    at[12] = (uint8_t)(length / 4 << 4);
    at[13] = h->flags;
    put16(at + 14, h->wnd);
    put32(at + 16, 0); /* checksum: ip's; urgent pointer: never ours */
    at += TCP_HEADER;
    if (h->mss != 0) {
        put32(at, (uint32_t)OPT_MSS << 24 | 4u << 16 | h->mss);
        at += 4;
    }
    if (h->ts) {
        put32(at, 0x0101080a);
        put32(at + 4, h->tsval);
        put32(at + 8, h->tsecr);
        at += TCP_TS_OPTION;
    }
    if (h->wscale != TCP_NO_WSCALE) {
        put32(at, (uint32_t)OPT_NOP << 24 | (uint32_t)OPT_WSCALE << 16 | 3u << 8 | h->wscale);
        at += 4;
    }
    if (h->sack_ok) {
        put32(at, (uint32_t)OPT_NOP << 24 | (uint32_t)OPT_NOP << 16 | (uint32_t)OPT_SACK_OK << 8 | 2);
        at += 4;
    }
    if (h->sack_count != 0)
        sacks_write(at, h);
}
