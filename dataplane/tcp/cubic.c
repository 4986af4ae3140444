/* CUBIC (RFC 9438) with HyStart++ (RFC 9406), in integers.
 *
 *     initial slow start --- round trips grow ---> a gentler slow start (CSS) --- five rounds ---> congestion avoidance
 *            ^                                            |
 *            `---------------- they did not --------------'          loss leads to congestion avoidance from everywhere
 *
 * Congestion avoidance follows W(t) = C (t - K)^3 + W_max; what is kept of t and K is the moment at which the curve passes through W_max
 * (origin_ms; 0: no stage of congestion avoidance has begun since the last event).  Time in which the sender was held back by something
 * else does not count: the origin moves along (section 4.2).
 *
 * DEVIATION: W_max is in bytes, C = 0.4 stays in segments of the connection's MSS. */
#include "cc.h"

#define SAMPLES 8 /* RFC 9406 section 4.3: N_RTT_SAMPLE */
#define CSS_ROUNDS 5
#define CSS_DIVISOR 4
#define TRAIN_UNIT 4       /* log2 us */
#define TRAIN_GAP_US 2000  /* Linux's */
#define TRAIN_LEAST_NS 4000000
#define BURST 8 /* L: segments that one ACK may add in slow start, without pacing */
#define RTT_US_NONE UINT32_MAX

static uint32_t cube_root(uint64_t x)
{
    uint64_t r = 0;
    for (int i = 21; i >= 0; i--) {
        uint64_t t = r | 1ull << i;
        if (t <= 2642245 && t * t * t <= x)
            r = t;
    }
    return (uint32_t)r;
}

static uint32_t ms(uint64_t now)
{
    uint32_t m = (uint32_t)(now / 1000000);
    return m != 0 ? m : 1;
}

/* ---- RFC 9406 ---- */

void tcp_cubic_init(struct tcp_conn *c)
{
    c->hystart = (struct tcp_hystart){.window_end = c->snd_nxt, .last_us = RTT_US_NONE, .now_us = RTT_US_NONE, .base_us = RTT_US_NONE};
}

static uint32_t micros(uint64_t now)
{
    return (uint32_t)(now / 1000);
}

/* Slow start is over for good. */
static void slow_start_end(struct tcp_conn *c)
{
    c->ssthresh = c->cwnd;
    memset(&c->cubic, 0, sizeof(c->cubic));
}

/* The other half of the first HyStart (Ha, Rhee 2011), as Linux has it: the ACKs of a round that come close behind each other for half the least round trip say that
 * half a bandwidth-delay product and more is under way, and what this round added makes that about one.  The round trips alone, which RFC 9406 looks at,
 * say so a round later: by then the window is twice as large, and the queue of most paths has run over.  True: so it is. */
static bool train(struct tcp_conn *c, uint64_t now)
{
    struct tcp_hystart *h = &c->hystart;
    uint32_t us = micros(now);
    uint16_t at = (uint16_t)(us >> TRAIN_UNIT);
    if ((uint16_t)(at - h->train) > TRAIN_GAP_US >> TRAIN_UNIT)
        return false; /* until the next round */
    h->train = at;
    if (h->round_us == 0 || c->rtt_min_ns < TRAIN_LEAST_NS || c->cwnd < 16 * c->mss || (int32_t)(us - h->round_us) < 0)
        return false;
    return us - h->round_us > c->rtt_min_ns / (c->tcp->config.pacing ? 1500 : 2000); /* what is spread over the round trip comes back at less than the path's pace */
}

static void round_begin(struct tcp_conn *c, uint64_t now)
{
    struct tcp_hystart *h = &c->hystart;
    h->round_us = micros(now) | 1;
    h->train = (uint16_t)(h->round_us >> TRAIN_UNIT);
    h->window_end = c->snd_nxt;
    h->last_us = h->now_us;
    h->now_us = RTT_US_NONE;
    h->samples = 0;
    if (h->base_us == RTT_US_NONE || ++h->rounds < CSS_ROUNDS)
        return;
    slow_start_end(c); /* section 4.2 */
}

/* Section 4.2.  True: in the conservative half of slow start. */
static bool hystart(struct tcp_conn *c, uint64_t rtt_ns)
{
    struct tcp_hystart *h = &c->hystart;
    uint32_t us = rtt_ns / 1000 < RTT_US_NONE ? (uint32_t)(rtt_ns / 1000) : RTT_US_NONE - 1;
    if (rtt_ns != 0) {
        h->now_us = us < h->now_us ? us : h->now_us;
        h->samples += h->samples < SAMPLES;
    }
    if (h->samples < SAMPLES)
        return h->base_us != RTT_US_NONE;
    if (h->base_us != RTT_US_NONE) {
        if (h->now_us < h->base_us)
            h->base_us = RTT_US_NONE; /* the growth was noise */
    } else if (h->last_us != RTT_US_NONE) {
        uint32_t more = h->last_us / 8 < 4000 ? 4000 : h->last_us / 8 > 16000 ? 16000 : h->last_us / 8;
        if (h->now_us >= h->last_us + more) {
            h->base_us = h->now_us;
            h->rounds = 0;
        }
    }
    return h->base_us != RTT_US_NONE;
}

static void slow_start(struct tcp_conn *c, uint32_t acked, uint64_t rtt_ns, uint64_t now)
{
    bool initial = c->ssthresh == UINT32_MAX, gentle = initial && hystart(c, rtt_ns);
    uint32_t limit = tcp_has(c, CONN_LOSS) ? c->mss : BURST * c->mss;
    uint32_t more = acked < limit ? acked : limit;
    c->cwnd += gentle ? more / CSS_DIVISOR : more;
    if (initial && base_seq_gt(c->snd_una, c->hystart.window_end))
        round_begin(c, now);
    else if (initial && train(c, now))
        slow_start_end(c);
}

/* ---- RFC 9438 ---- */

/* A stage of congestion avoidance begins (section 4.2): K, so far as it is before us. After a timeout there is no W_max (section 4.8). */
static void stage_begin(struct tcp_conn *c, uint64_t now)
{
    struct tcp_cubic *q = &c->cubic;
    uint32_t k = 0;
    if (q->w_max > c->cwnd) /* K = cbrt((W_max - cwnd) / C), in ms: 10^9 / 0.4 */
        k = cube_root((uint64_t)(q->w_max - c->cwnd) * 2500000000u / c->mss);
    else
        q->w_max = c->cwnd;
    q->origin_ms = ms(now) + k;
    q->origin_ms += q->origin_ms == 0;
    q->w_est = c->cwnd;
    q->est_bytes = 0;
    q->last_ms = ms(now);
    c->cc_bytes = 0;
}

/* W(t), section 4.2, figure 1; cut to what keeps the arithmetic within 64 bits: a minute and more on either side. */
static uint32_t curve(const struct tcp_conn *c, uint32_t at_ms)
{
    int32_t d = (int32_t)(at_ms - c->cubic.origin_ms);
    uint64_t a = (uint64_t)(d < 0 ? -(int64_t)d : d);
    a = a < 65535 ? a : 65535;
    uint64_t w = c->cubic.w_max, step = a * a * a / 1000 * c->mss * 4 / 10000000; /* C d^3, ms^3 to s^3 */
    if (d < 0)
        return w > step ? (uint32_t)(w - step) : 0;
    return w + step < UINT32_MAX ? (uint32_t)(w + step) : UINT32_MAX;
}

/* Section 4.3: what Reno with this decrease would have; its increase is 9/17 of a segment a round trip, and a whole one beyond the window
 * of before. */
static void reno_friendly(struct tcp_conn *c, uint32_t acked)
{
    struct tcp_cubic *q = &c->cubic;
    q->est_bytes += acked;
    uint64_t need = q->w_est < c->undo_cwnd ? (uint64_t)c->cwnd * 17 / 9 : c->cwnd;
    if (q->est_bytes < need)
        return;
    q->est_bytes -= (uint32_t)need;
    q->w_est += c->mss;
}

static void avoidance(struct tcp_conn *c, uint32_t acked, uint64_t now)
{
    struct tcp_cubic *q = &c->cubic;
    uint32_t t = ms(now), rtt = (uint32_t)(c->srtt_ns / 1000000) + 1;
    if (q->origin_ms == 0)
        stage_begin(c, now);
    if (t - q->last_ms > rtt) /* since the last ACK of a full window, something else held the sender back */
        q->origin_ms += t - q->last_ms - rtt;
    q->last_ms = t;
    reno_friendly(c, acked);
    uint32_t now_w = curve(c, t), target = curve(c, t + rtt), most = c->cwnd + c->cwnd / 2;
    if (now_w < q->w_est) {
        if (c->cwnd < q->w_est)
            c->cwnd = q->w_est;
        return;
    }
    target = target < most ? target : most;
    /* Sections 4.4 and 4.5: (target - cwnd) / cwnd a segment acknowledged; at the plateau a hundredth, as in Linux. */
    uint64_t need = target > c->cwnd ? (uint64_t)c->cwnd * c->mss / (target - c->cwnd) : (uint64_t)c->cwnd * 100;
    c->cc_bytes += acked;
    if (c->cc_bytes < need)
        return;
    uint32_t n = need == 0 ? 1 : (uint32_t)(c->cc_bytes / need);
    c->cc_bytes -= (uint32_t)(n * need);
    c->cwnd += n * c->mss;
}

void tcp_cubic_acked(struct tcp_conn *c, uint32_t acked, uint64_t rtt_ns, uint64_t now)
{
    if (c->cwnd < c->ssthresh)
        slow_start(c, acked, rtt_ns, now);
    else
        avoidance(c, acked, now);
}

/* Sections 4.6 to 4.8.  DEVIATION: the window that is reduced is not smaller than the initial one for the reason alone that the sender had
 * little to say: one lost RPC would else leave a window of two segments. */
uint32_t tcp_cubic_reduce(struct tcp_conn *c, bool timeout)
{
    struct tcp_cubic *q = &c->cubic;
    uint32_t used = tcp_cc_flight(c), initial = tcp_cc_initial(c->mss);
    if (used < initial)
        used = initial < c->cwnd ? initial : c->cwnd;
    uint32_t reduced = (uint32_t)((uint64_t)used * 7 / 10);
    if (c->ssthresh == UINT32_MAX)
        memset(q, 0, sizeof(*q)); /* what HyStart++ had there */
    q->undo_w_max = q->w_max;
    if (!tcp_has(c, CONN_UNDO)) /* a mark, or a probe that repaired a loss: nothing to take back, but section 4.3 wants to know */
        c->undo_cwnd = c->cwnd;
    if (timeout)
        q->w_max = 0;
    else if (c->cwnd < q->w_max) /* section 4.7: another flow may be growing */
        q->w_max = (uint32_t)((uint64_t)c->cwnd * 85 / 100);
    else
        q->w_max = c->cwnd;
    q->origin_ms = 0;
    return reduced > 2 * c->mss ? reduced : 2 * c->mss;
}

/* Section 4.9: the reduction was needless. */
void tcp_cubic_undo(struct tcp_conn *c)
{
    if (c->ssthresh == UINT32_MAX) {
        tcp_cubic_init(c);
        return;
    }
    c->cubic.w_max = c->cubic.undo_w_max;
    c->cubic.origin_ms = 0;
}
