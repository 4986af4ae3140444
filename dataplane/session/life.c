/* How long a session lives, and how it ends: keepalive, policing of PINGs, age, idleness, half-sent beginnings, the two-step GOAWAY.
 *
 * One timer a session, armed lazily: it is set to the earliest moment at which something could be due, and when it fires one looks what is. What
 * happens between (bytes heard, streams opened) only writes down a time.
 *
 *   lives --- session_drain(): GOAWAY 2^31-1, PING ---> warned --- the PING's answer, or WARNING_NS ---> closing: GOAWAY with the real id
 *     |                                                                                                    | no stream left, or grace over
 *     +------------------------------------- session_end(): GOAWAY with a reason ------------------------> sessions_broken_next() */
#include "internal.h"

#define WARNING_NS     5000000000ull /* RFC 9113 section 6.8: at least a round trip; for a peer that does not answer PINGs, or is held up: what it sends meanwhile is taken */
#define IDLE_PINGS_NS  (7200ull * 1000000000ull) /* gRFC A8: PINGs without a stream, where they are not permitted */
#define STRIKES_MAX    2             /* as gRPC's servers count */
#define UNSENT_NS      200000000ull  /* for the calls beside the one that was cancelled before it was sent: they are under way */
#define NEVER          UINT64_MAX
#define LINGER_NS      1000000000ull /* for one that did wrong */
#define FAREWELL_NS    5000000000ull /* for one that has done nothing wrong, and may have been held up */
#define PING_KEEPALIVE 0x70656e73746f636bull
#define PING_DRAIN     0x70656e647261696eull

static const struct session_life unlimited;

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* 0.9 to 1.1 of the age: connections that were opened together shall not all come back together (gRFC A9). */
static uint64_t age_due(const struct session *s)
{
    uint64_t age = s->life->age_ns;
    return age == 0 ? NEVER : s->opened_ns + age - age / 10 + (uint64_t)((__uint128_t)(age / 5) * s->jitter >> 16);
}

/* A PING is due so long after the last that was heard.  A little later than asked for: PINGs that arrive nearer together than they were sent
 * must not earn a strike. */
static uint64_t keepalive_interval(const struct session *s)
{
    uint64_t time = s->life->time_ns;
    return time + (time < 64000000000ull ? time / 64 : 1000000000ull);
}

static bool may_ping(const struct session *s)
{
    return s->role == SESSION_DOWN || s->stream_count > 0 || s->life->permit_without_stream;
}

static uint64_t keepalive_due(const struct session *s, uint64_t now)
{
    if (s->life->time_ns == 0)
        return NEVER;
    if (s->pinged_ns != 0)
        return s->pinged_ns + s->life->timeout_ns;
    return may_ping(s) && http2_settings_received(s->h2) ? s->heard_ns + keepalive_interval(s) : now + keepalive_interval(s);
}

static uint64_t due(const struct session *s, uint64_t now)
{
    const struct session_life *l = s->life;
    uint64_t at = keepalive_due(s, now);
    if (s->block_ns != 0 && l->header_ns != 0)
        at = earlier(at, s->block_ns + l->header_ns);
    if (s->role == SESSION_UP)
        return earlier(at, s->aged ? NEVER : age_due(s));
    if (!http2_settings_received(s->h2) && l->handshake_ns != 0)
        at = earlier(at, s->opened_ns + l->handshake_ns);
    if (s->unsent_ns != 0)
        at = earlier(at, s->unsent_ns + UNSENT_NS);
    if (s->closing)
        return earlier(at, s->grace_ns != 0 ? s->grace_ns : NEVER);
    if (s->drain_ns != 0)
        return earlier(at, s->drain_ns);
    if (l->idle_ns != 0)
        at = earlier(at, (s->stream_count == 0 ? s->idle_since_ns : now) + l->idle_ns);
    return earlier(at, age_due(s));
}

static void arm(struct session *s, uint64_t now)
{
    uint64_t at = due(s, now);
    if (at != NEVER)
        base_wheel_arm(&s->home->wheel, &s->timer, at);
    else
        base_wheel_cancel(&s->home->wheel, &s->timer);
}

void life_begin(struct session *s, uint64_t now)
{
    struct sessions *ss = s->home;
    base_timer_init(&s->timer);
    s->life = &unlimited;
    s->opened_ns = s->heard_ns = s->idle_since_ns = now;
    s->jitter = (uint16_t)base_mix64(++ss->draws ^ ss->seed);
}

void life_over(struct session *s)
{
    base_wheel_cancel(&s->home->wheel, &s->timer);
}

void session_live(struct session *s, const struct session_life *life, uint64_t now)
{
    s->life = life;
    arm(s, now);
}

void session_end(struct session *s, enum http2_error code, const char *why, enum stats_drop reason)
{
    if (s->broken)
        return;
    stats_drop(s->home->stats, reason);
    http2_end(s->h2, code, why);
    s->why = why;
    s->gently = true;
    session_break(s);
}

/* -- drain ------------------------------------------------------------------------------------ */

void session_drain(struct session *s, const char *why, uint64_t grace_ns, uint64_t now)
{
    if (s->drain_ns != 0 || s->broken)
        return;
    http2_goaway(s->h2, 0x7fffffff, HTTP2_NO_ERROR, why);
    http2_ping(s->h2, PING_DRAIN);
    s->drain_ns = now + (grace_ns != 0 ? earlier(grace_ns, WARNING_NS) : WARNING_NS);
    s->grace_ns = grace_ns != 0 ? now + grace_ns : 0;
    s->drain_why = why;
    session_mark(s);
    arm(s, now);
}

static void drain_last(struct session *s)
{
    http2_goaway(s->h2, http2_last_id(s->h2), HTTP2_NO_ERROR, s->drain_why);
    s->closing = true;
    session_mark(s);
}

void life_closing(struct session *s)
{
    if (!s->closing || s->stream_count > 0 || s->broken || http2_control_pending(s->h2))
        return;
    s->gently = true;
    session_break(s);
}

/* -- the last words --------------------------------------------------------------------------- */

static void linger_over(struct session *s, uint64_t now)
{
    life_over(s);
    base_list_remove(&s->link);
    transport_close(&s->transport, now);
    base_slab_free(&s->home->session_slab, s);
}

void session_linger(struct session *s, bool over, uint64_t now)
{
    const uint8_t *in;
    for (size_t n; (n = transport_peek(&s->transport, &in)) > 0;)
        transport_consume(&s->transport, n);
    if (over)
        linger_over(s, now);
}

void life_linger(struct session *s, uint64_t now)
{
    s->h2 = NULL;
    base_list_push_back(&s->home->lingering, &s->link);
    transport_shutdown(&s->transport, now);
    session_linger(s, false, now);
    base_wheel_arm(&s->home->wheel, &s->timer, now + (s->closing ? FAREWELL_NS : LINGER_NS));
}

void sessions_linger_end(struct sessions *ss, uint64_t now)
{
    base_list_each_safe(l, &ss->lingering)
        linger_over(base_container(l, struct session, link), now);
}

/* -- PINGs ------------------------------------------------------------------------------------ */

/* As gRPC's servers do (gRFC A8): more often than min_time is a strike, unless we have sent HEADERS or DATA meanwhile. */
void life_pinged(struct session *s)
{
    const struct session_life *l = s->life;
    uint64_t now = s->home->now_ns, before = s->peer_pinged_ns;
    s->pings_seen++;
    if (s->role != SESSION_DOWN || l->min_time_ns == 0)
        return;
    s->peer_pinged_ns = now;
    if (s->spoke) {
        s->spoke = false;
        s->strikes = 0;
        return;
    }
    uint64_t least = l->min_time_ns;
    if (s->stream_count == 0 && !l->permit_without_stream && least < IDLE_PINGS_NS)
        least = IDLE_PINGS_NS;
    if (before == 0 || now - before >= least || ++s->strikes <= STRIKES_MAX)
        return;
    session_end(s, HTTP2_ENHANCE_YOUR_CALM, "too_many_pings", STATS_DROP_H2_TOO_MANY_PINGS);
}

void life_ping_answered(struct session *s, uint64_t opaque)
{
    s->pinged_ns = 0;
    if (s->drain_ns == 0 || s->closing)
        return;
    if (opaque != PING_DRAIN) { /* keepalive's was on its way when the warning was said, and may have been answered before that was read */
        http2_ping(s->h2, PING_DRAIN);
        session_mark(s);
        return;
    }
    drain_last(s);
    arm(s, s->home->now_ns);
}

/* What we have sent moves: the peer's TCP lives, and the PING may still stand in the queue behind it. */
static bool transport_moves(struct session *s)
{
    uint64_t before = s->acked;
    bool waits = transport_kept(&s->transport, &s->acked) > 0;
    return waits && s->acked != before;
}

static void keepalive(struct session *s, uint64_t now)
{
    if (s->pinged_ns != 0 && s->heard_ns > s->pinged_ns)
        s->pinged_ns = 0; /* anything heard is a sign of life */
    if (keepalive_due(s, now) > now)
        return;
    if (s->pinged_ns == 0 || transport_moves(s)) {
        if (s->pinged_ns == 0) {
            http2_ping(s->h2, PING_KEEPALIVE); /* one may be on its way: it will do */
            transport_kept(&s->transport, &s->acked);
        }
        s->pinged_ns = now;
        session_mark(s);
        return;
    }
    stats_drop(s->home->stats, STATS_DROP_H2_KEEPALIVE);
    s->why = "no answer to a PING";
    session_break(s);
}

/* -- a call that was cancelled before it was sent ----------------------------------------------- */

void life_unsent(struct session *s)
{
    if (s->unsent_ns != 0)
        return;
    s->unsent_ns = s->home->now_ns;
    arm(s, s->home->now_ns);
}

static void unsent_over(struct session *s)
{
    s->unsent_ns = 0;
    if (!http2_opened(s->h2))
        session_end(s, HTTP2_PROTOCOL_ERROR, "RST_STREAM on an idle stream", STATS_DROP_H2_PROTOCOL);
}

/* -- the timer -------------------------------------------------------------------------------- */

static void expire(struct session *s, uint64_t now)
{
    const struct session_life *l = s->life;
    if (!http2_settings_received(s->h2) && s->role == SESSION_DOWN && l->handshake_ns != 0 && now >= s->opened_ns + l->handshake_ns)
        session_end(s, HTTP2_SETTINGS_TIMEOUT, "no preface and SETTINGS in time", STATS_DROP_H2_HANDSHAKE_TIMEOUT);
    if (s->block_ns != 0 && l->header_ns != 0 && now >= s->block_ns + l->header_ns)
        session_end(s, HTTP2_ENHANCE_YOUR_CALM, "a header block was not finished in time", STATS_DROP_H2_HEADER_TIMEOUT);
    if (s->unsent_ns != 0 && now >= s->unsent_ns + UNSENT_NS)
        unsent_over(s);
    keepalive(s, now);
    if (s->broken)
        return;
    if (s->role == SESSION_UP) {
        if (!s->aged && now >= age_due(s)) {
            s->aged = true;
            base_list_push_back(&s->home->aged, &s->age);
        }
    } else if (s->closing) {
        if (s->grace_ns != 0 && now >= s->grace_ns)
            session_end(s, HTTP2_NO_ERROR, "grace is over", STATS_DROP_H2_GRACE_OVER);
    } else if (s->drain_ns != 0) {
        if (now >= s->drain_ns) {
            stats_count(s->home->stats, STATS_WARNINGS_UNANSWERED, 1);
            drain_last(s);
        }
    } else if (now >= age_due(s)) {
        session_drain(s, "max_age", l->grace_ns, now);
    } else if (l->idle_ns != 0 && s->stream_count == 0 && now >= s->idle_since_ns + l->idle_ns) {
        session_drain(s, "max_idle", l->grace_ns, now);
    }
}

void sessions_tick(struct sessions *ss, uint64_t now)
{
    ss->now_ns = now;
    http2_tick(ss->http2, now);
    overload_tick(ss, now);
    for (struct base_timer *t; (t = base_wheel_expire(&ss->wheel, now)) != NULL;) {
        struct session *s = base_container(t, struct session, timer);
        if (session_lingers(s)) {
            linger_over(s, now);
            continue;
        }
        if (s->broken)
            continue;
        expire(s, now);
        if (!s->broken)
            arm(s, now);
    }
}

void life_evicted(struct sessions *ss)
{
    for (struct http2_conn *c; (c = http2_evicted_next(ss->http2)) != NULL;) {
        struct session *s = http2_conn_user(c);
        if (s->broken)
            continue;
        s->why = http2_evicted_why(c);
        s->gently = true;
        session_break(s);
    }
}

struct session *sessions_aged_next(struct sessions *ss)
{
    struct base_list *l = base_list_pop_front(&ss->aged);
    return l != NULL ? base_container(l, struct session, age) : NULL;
}

/* -- what is half sent ------------------------------------------------------------------------ */

void life_block(struct session *s, uint32_t id)
{
    if (id == s->block_id)
        return;
    s->block_id = id;
    s->block_ns = id != 0 ? s->home->now_ns : 0;
    if (id != 0)
        arm(s, s->home->now_ns);
}
