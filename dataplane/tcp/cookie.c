/* SYN cookies (RFC 4987 section 3.6): while the backlog of half-open connections is full, a SYN is answered without a memory of it.
 *
 * Our initial sequence number says what the SYN said:
 *
 *      2 bits     3 bits           27 bits
 *     +--------+-----------+----------------------------------------+
 *     | period | MSS class |  of a keyed hash of flow, peer's ISN,  |      the first five are masked with five bits of a hash that
 *     |        |           |  whole period and MSS class            |      depends on flow and ISN alone
 *     +--------+-----------+----------------------------------------+
 *
 * and the low six bits of our timestamp, which the peer echoes, what its options were (the rest of it is up to 64 ticks early):
 *
 *     bit 5: ECN   bit 4: SACK permitted   bits 3 to 0: window scale, 15: none
 *
 * A period is 2^36 ns, 69 s; an ACK is believed in its own period and the next one, and only where cookies were given out so lately.
 * What is lost: the SYN-ACK is not sent again (the peer's SYN is), and the MSS falls to the next class. */
#include "conn.h"

#define PERIOD_SHIFT 36
#define MAC_BITS     27
#define MAC_MASK     ((1u << MAC_BITS) - 1)

static const uint16_t classes[8] = {MSS_MIN, 536, 1220, 1300, 1400, 1440, 1460, 8940};

static uint32_t mac(const struct tcp *t, const struct base_flow *f, uint32_t irs, uint32_t period, uint32_t mss_class)
{
    struct {
        struct base_addr local, remote;
        uint16_t local_port, remote_port;
        uint32_t irs, period, mss_class;
    } in = {f->local, f->remote, f->local_port, f->remote_port, irs, period, mss_class + 0x636f6f00};
    return (uint32_t)base_siphash(&t->config.isn_key, &in, sizeof(in));
}

static uint32_t cookie(const struct tcp *t, const struct base_flow *f, uint32_t irs, uint32_t period, uint32_t mss_class)
{
    uint32_t mask = mac(t, f, irs, 0, 8); /* a class that there is not */
    return (((period & 3) << 30 | mss_class << MAC_BITS) ^ (mask & ~MAC_MASK)) | (mac(t, f, irs, period, mss_class) & MAC_MASK);
}

void tcp_cookie_reply(struct tcp *t, const struct base_flow *flow, const struct tcp_segment *s, uint64_t now)
{
    uint32_t mss = s->mss != 0 ? s->mss : base_addr_is_v4(&flow->remote) ? 536 : 1220, best = 0;
    while (best < 7 && classes[best + 1] <= mss)
        best++;
    struct tcp_reply r = {.flow = *flow, .ack = s->seq + 1, .tsecr = s->tsval, .flags = TCP_SYN | TCP_ACK, .ts = s->has_ts, .mss = tcp_mss_ours(t, flow)};
    r.seq = cookie(t, flow, s->seq, (uint32_t)(now >> PERIOD_SHIFT), best);
    uint32_t wnd = t->config.rcvbuf < t->config.rcvbuf_least ? t->config.rcvbuf : t->config.rcvbuf_least;
    r.wnd = (uint16_t)(wnd < 0xffff ? wnd : 0xffff);
    r.wscale = TCP_NO_WSCALE;
    if (s->has_ts) { /* without timestamps there is no room for these */
        r.sack_ok = s->sack_ok && t->config.sack;
        r.wscale = s->has_wscale ? t->rcv_wscale : TCP_NO_WSCALE;
        bool ecn = (s->flags & (TCP_ECE | TCP_CWR)) == (TCP_ECE | TCP_CWR) && t->config.ecn != TCP_ECN_OFF;
        r.flags |= ecn ? TCP_ECE : 0;
        r.cookie = (uint8_t)(0x40 | (ecn ? 0x20 : 0) | (r.sack_ok ? 0x10 : 0) | (s->has_wscale ? s->wscale : 15));
    }
    t->cookie_ns = now;
    stats_count(t->stats, STATS_TCP_SYN_COOKIES, 1);
    tcp_reply(t, &r);
}

/* The timestamp that a SYN-ACK with these bits carries; never ahead of the clock. */
uint32_t tcp_cookie_ts(uint32_t now_ts, uint8_t bits)
{
    uint32_t ts = (now_ts & ~63u) | (bits & 63u);
    return ts <= now_ts ? ts : ts - 64;
}

/* Some that were given out may still come back. */
bool tcp_cookies_out(const struct tcp *t, uint64_t now)
{
    return t->cookie_ns != 0 && now - t->cookie_ns < 2ull << PERIOD_SHIFT;
}

/* The SYN that the peer must have sent, from its ACK.  False: we gave out no such cookie. */
bool tcp_cookie_open(const struct tcp *t, const struct base_flow *flow, const struct tcp_segment *s, struct tcp_segment *syn, uint64_t now)
{
    uint32_t irs = s->seq - 1, iss = s->ack - 1, period = (uint32_t)(now >> PERIOD_SHIFT);
    if ((s->flags & (TCP_SYN | TCP_RST | TCP_ACK)) != TCP_ACK || !tcp_cookies_out(t, now))
        return false;
    uint32_t said = (iss ^ mac(t, flow, irs, 0, 8)) >> MAC_BITS, age = (period - (said >> 3)) & 3;
    if (age > 1 || cookie(t, flow, irs, period - age, said & 7) != iss)
        return false;
    uint32_t bits = s->has_ts ? (s->tsecr - tcp_ts_offset(t, flow)) & 63 : 15;
    *syn = (struct tcp_segment){.seq = irs, .flags = bits & 0x20 ? TCP_SYN | TCP_ECE | TCP_CWR : TCP_SYN, .mss = classes[said & 7], .has_ts = s->has_ts, .tsval = s->tsval, .sack_ok = (bits & 0x10) != 0,
                                .has_wscale = (bits & 15) != 15, .wscale = (uint8_t)(bits & 15)};
    return true;
}
