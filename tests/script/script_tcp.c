/* script_tcp FILE... or DIRECTORY...: one stack against a peer whose every segment is written down (see tcp/README).
 *
 * The clock is virtual. A segment that the script does not expect is a failure, and so is one that comes too early or late; the
 * payload of both sides is a fixed pattern and is compared too. */
#include "lib/tcp_net.h"
#include "tcp/conn.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define MS        1000000ull
#define TOLERANCE (3 * MS)
enum { SENT_MAX = 1024 };

struct sent {
    uint64_t at;
    uint32_t len;
    uint8_t bytes[2100];
    uint8_t ecn;
};

struct script {
    const char *file;
    int line;
    struct tcp_config config;
    struct tcp_net_host host;
    struct base_flow flow; /* as our stack sees it */
    struct tcp_conn *conn;
    uint64_t now, last; /* last: when the previous line happened */
    uint32_t peer_isn, our_isn, events;
    uint32_t our_ts; /* the last one we sent */
    uint32_t marked_ts;
    bool started, want_isn, v6, isn_known;
    uint64_t read, written;
    struct sent sent[SENT_MAX];
    int sent_head, sent_tail;
    struct packet *held[4096]; /* hold: the device keeps what it was given */
    int held_count;
    struct packet *taken[8192];
    int taken_count;
    bool hold;
};

static void fail(struct script *s, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    fprintf(stderr, "%s:%d: ", s->file, s->line);
    vfprintf(stderr, format, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    exit(1);
}

static uint8_t peer_byte(uint64_t i)
{
    return (uint8_t)('a' + i % 23);
}

static uint8_t our_byte(uint64_t i)
{
    return (uint8_t)('A' + i % 19);
}

static void start(struct script *s)
{
    if (s->started)
        return;
    s->started = true;
    tcp_net_host_init(&s->host, &s->config, s->now);
    base_addr_parse(s->v6 ? "2001:db8::1" : "198.18.0.1", &s->flow.local);
    base_addr_parse(s->v6 ? "2001:db8::2" : "198.18.0.2", &s->flow.remote);
    s->flow.local_port = 80;
    s->flow.remote_port = 4000;
    if (s->want_isn) /* wait until the ISN clock shows it */
        s->now += (uint64_t)(s->our_isn - tcp_isn(s->host.tcp, &s->flow, s->now)) << 12;
    s->last = s->now;
}

static void out_take(struct script *s, struct packet *p, uint8_t ecn)
{
    if (s->sent_tail - s->sent_head == SENT_MAX)
        fail(s, "more than %d segments sent", SENT_MAX);
    struct sent *o = &s->sent[s->sent_tail++ % SENT_MAX];
    o->at = s->now;
    o->len = packet_len(p);
    o->ecn = ecn;
    memcpy(o->bytes, packet_data(p), o->len);
    if (o->bytes[13] & TCP_SYN) {
        s->our_isn = __builtin_bswap32(*(uint32_t *)(void *)(o->bytes + 4));
        s->isn_known = true;
    }
    packet_prepend(p, 54);
    if (s->hold && s->held_count < 4096)
        s->held[s->held_count++] = p;
    else
        packet_free(p);
}

static void turn(struct script *s)
{
    struct tcp_event ev;
    struct tcp_out out[4];
    uint32_t n;
    tcp_tick(s->host.tcp, s->now);
    while (tcp_next_event(s->host.tcp, &ev)) {
        if (ev.events & TCP_EVENT_ACCEPTED)
            s->conn = ev.conn;
        if (ev.conn != s->conn)
            fail(s, "an event for another connection");
        s->events |= ev.events;
    }
    while ((n = tcp_output(s->host.tcp, out, 4, s->now)) > 0)
        for (uint32_t i = 0; i < n; i++)
            out_take(s, out[i].packet, out[i].flow.ecn);
    tcp_check(s->host.tcp);
}

/* Lets time pass; whatever is sent meanwhile must be what the next lines expect, so it must be sent at the end only. */
static void advance(struct script *s, uint64_t to, bool stop_at_output)
{
    while (s->now < to && !(stop_at_output && s->sent_head != s->sent_tail)) {
        bool still = to - s->now < MS / 2 || (s->host.stats->objects[1].in_use[0] == 0 && tcp_idle(s->host.tcp));
        s->now += still ? to - s->now : MS / 2;
        turn(s);
    }
}

static const char *flags_text(uint8_t f, char *t)
{
    char *p = t;
    static const struct {
        uint8_t bit;
        char c;
    } names[] = {{TCP_SYN, 'S'}, {TCP_FIN, 'F'}, {TCP_RST, 'R'}, {TCP_PSH, 'P'}, {TCP_ECE, 'E'}, {TCP_CWR, 'W'}, {TCP_ACK, '.'}};
    for (size_t i = 0; i < 7; i++)
        if (f & names[i].bit)
            *p++ = names[i].c;
    *p = 0;
    return t;
}

static uint8_t flags_parse(struct script *s, const char *t)
{
    uint8_t f = 0;
    for (; *t; t++) {
        const char *at = strchr("FSRPEWU.", *t);
        static const uint8_t bits[] = {TCP_FIN, TCP_SYN, TCP_RST, TCP_PSH, TCP_ECE, TCP_CWR, TCP_URG, TCP_ACK};
        if (at == NULL)
            fail(s, "unknown flag '%c'", *t);
        f |= bits[strlen("FSRPEWU.") - strlen(at)];
    }
    return f;
}

/* A segment as a line has it. */
struct spec {
    uint8_t flags;
    uint32_t seq, len, ack, win;
    bool has_ack, has_win, has_mss, has_ws, has_ts, no_ts, no_ws, no_sack, sack_ok, no_sack_ok, echo, echo_marked, any_tsval, ect, not_ect, ce;
    uint32_t mss, ws, tsval, tsecr;
    struct tcp_range sack[4];
    uint32_t sacks;
    uint8_t raw[40]; /* options, as written */
    uint32_t raws;
    int fill;
};

static void spec_options(struct script *s, struct spec *x, char *word, char **rest)
{
    char *v;
#define NEXT() ((v = strtok_r(NULL, " \t<>,", rest)) != NULL ? v : (fail(s, "a value is missing"), ""))
    if (strcmp(word, "ack") == 0) {
        x->has_ack = true, x->ack = (uint32_t)strtoul(NEXT(), NULL, 0);
    } else if (strcmp(word, "win") == 0) {
        x->has_win = true, x->win = (uint32_t)strtoul(NEXT(), NULL, 0);
    } else if (strcmp(word, "mss") == 0) {
        x->has_mss = true, x->mss = (uint32_t)strtoul(NEXT(), NULL, 0);
    } else if (strcmp(word, "wscale") == 0) {
        x->has_ws = true, x->ws = (uint32_t)strtoul(NEXT(), NULL, 0);
    } else if (strcmp(word, "ts") == 0) {
        x->has_ts = true, x->any_tsval = strcmp(NEXT(), "*") == 0, x->tsval = (uint32_t)strtoul(v, NULL, 0);
        x->echo = strcmp(NEXT(), "=") == 0, x->echo_marked = strcmp(v, "@") == 0, x->tsecr = (uint32_t)strtoul(v, NULL, 0);
    } else if (strcmp(word, "nots") == 0) {
        x->no_ts = true;
    } else if (strcmp(word, "nowscale") == 0) {
        x->no_ws = true;
    } else if (strcmp(word, "sack") == 0) {
        for (v = NEXT(); v != NULL && x->sacks < 4; v = strchr(v, '+') != NULL ? strchr(v, '+') + 1 : NULL)
            if (sscanf(v, "%u:%u", &x->sack[x->sacks].left, &x->sack[x->sacks].right) == 2)
                x->sacks++;
    } else if (strcmp(word, "nosack") == 0) {
        x->no_sack = true;
    } else if (strcmp(word, "sackok") == 0) {
        x->sack_ok = true;
    } else if (strcmp(word, "nosackok") == 0) {
        x->no_sack_ok = true;
    } else if (strcmp(word, "ect") == 0) {
        x->ect = true;
    } else if (strcmp(word, "noect") == 0) {
        x->not_ect = true;
    } else if (strcmp(word, "ce") == 0) {
        x->ce = true;
    } else if (strcmp(word, "raw") == 0) {
        for (v = NEXT(); v[0] != 0 && v[1] != 0 && x->raws < 40; v += 2) {
            unsigned octet = 0;
            sscanf(v, "%2x", &octet);
            x->raw[x->raws++] = (uint8_t)octet;
        }
    } else if (strcmp(word, "fill") == 0) {
        x->fill = NEXT()[0];
    } else {
        fail(s, "unknown word '%s'", word);
    }
#undef NEXT
}

static struct spec spec_parse(struct script *s, char **rest)
{
    struct spec x = {.fill = -1};
    char *word = strtok_r(NULL, " \t<>,", rest);
    if (word == NULL)
        fail(s, "flags are missing");
    x.flags = flags_parse(s, word);
    word = strtok_r(NULL, " \t<>,", rest);
    unsigned seq, end, len;
    if (word == NULL || sscanf(word, "%u:%u(%u)", &seq, &end, &len) != 3 || end - seq != len)
        fail(s, "FIRST:LAST(LENGTH) is missing or wrong");
    x.seq = seq, x.len = len;
    while ((word = strtok_r(NULL, " \t<>,", rest)) != NULL)
        spec_options(s, &x, word, rest);
    return x;
}

static void put_options(struct script *s, uint8_t **at, const struct spec *x)
{
    uint8_t *p = *at;
    uint32_t v;
    if (x->has_mss) {
        *p++ = 2, *p++ = 4, *p++ = (uint8_t)(x->mss >> 8), *p++ = (uint8_t)x->mss;
    }
    if (x->has_ws) {
        *p++ = 1, *p++ = 3, *p++ = 3, *p++ = (uint8_t)x->ws;
    }
    if (x->has_ts) {
        *p++ = 1, *p++ = 1, *p++ = 8, *p++ = 10;
        v = __builtin_bswap32(x->tsval);
        memcpy(p, &v, 4);
        v = __builtin_bswap32(x->echo ? s->our_ts : x->echo_marked ? s->marked_ts : x->tsecr);
        memcpy(p + 4, &v, 4);
        p += 8;
    }
    if (x->sack_ok) {
        *p++ = 1, *p++ = 1, *p++ = 4, *p++ = 2;
    }
    if (x->sacks > 0) {
        *p++ = 1, *p++ = 1, *p++ = 5, *p++ = (uint8_t)(2 + 8 * x->sacks);
        for (uint32_t i = 0; i < x->sacks; i++, p += 8) {
            v = __builtin_bswap32(x->sack[i].left + s->our_isn);
            memcpy(p, &v, 4);
            v = __builtin_bswap32(x->sack[i].right + s->our_isn);
            memcpy(p + 4, &v, 4);
        }
    }
    memcpy(p, x->raw, x->raws);
    p += x->raws;
    while ((p - *at) % 4 != 0)
        *p++ = 0;
    *at = p;
}

static void inject(struct script *s, const struct spec *x)
{
    struct packet *p = packet_alloc(s->host.rx_pool);
    uint8_t *h = packet_append(p, 80), *at = h + 20;
    uint32_t v;
    memset(h, 0, 80);
    put_options(s, &at, x);
    h[0] = (uint8_t)(s->flow.remote_port >> 8), h[1] = (uint8_t)s->flow.remote_port;
    h[2] = (uint8_t)(s->flow.local_port >> 8), h[3] = (uint8_t)s->flow.local_port;
    v = __builtin_bswap32(x->seq + s->peer_isn);
    memcpy(h + 4, &v, 4);
    v = __builtin_bswap32(x->has_ack ? x->ack + (s->isn_known ? s->our_isn : 0) : 0);
    memcpy(h + 8, &v, 4);
    h[12] = (uint8_t)((at - h) / 4 << 4);
    h[13] = x->flags;
    uint32_t win = x->has_win ? x->win : 65535;
    h[14] = (uint8_t)(win >> 8), h[15] = (uint8_t)win;
    h[19] = x->flags & TCP_URG ? 1 : 0; /* the urgent pointer */
    packet_trim(p, (uint32_t)(80 - (at - h)));
    uint8_t *data = packet_append(p, x->len);
    for (uint32_t i = 0; i < x->len; i++)
        data[i] = x->fill >= 0 ? (uint8_t)x->fill : peer_byte((uint32_t)(x->seq + i - 1));
    struct base_flow flow = s->flow;
    flow.ecn = x->ce ? BASE_ECN_CE : x->ect ? BASE_ECN_ECT0 : BASE_ECN_NONE;
    tcp_input(s->host.tcp, &flow, p, s->now);
    tcp_check(s->host.tcp);
}

static uint32_t get32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return __builtin_bswap32(v);
}

/* Our options, found by walking them. */
static bool option(const struct sent *o, uint8_t kind, const uint8_t **value)
{
    for (uint32_t i = 20, n = (uint32_t)(o->bytes[12] >> 4) * 4; i < n && o->bytes[i] != 0;) {
        if (o->bytes[i] == kind) {
            *value = o->bytes + i + 2;
            return true;
        }
        i += o->bytes[i] == 1 ? 1 : o->bytes[i + 1];
    }
    return false;
}

static void expect_options(struct script *s, const struct sent *o, const struct spec *x)
{
    const uint8_t *v = NULL;
    bool ts = option(o, 8, &v);
    if (ts)
        s->our_ts = get32(v);
    if (x->no_ts && ts)
        fail(s, "timestamps were not expected");
    if (x->has_ts && (!ts || (!x->echo && get32(v + 4) != x->tsecr)))
        fail(s, "timestamp: echo is %u", ts ? get32(v + 4) : 0);
    bool sack = option(o, 5, &v);
    if (x->no_sack && sack)
        fail(s, "SACK blocks were not expected");
    if (x->sacks > 0 && (!sack || v[-1] != 2 + 8 * x->sacks))
        fail(s, "%d SACK blocks", sack ? (v[-1] - 2) / 8 : 0);
    for (uint32_t i = 0; i < x->sacks; i++)
        if (get32(v + 8 * i) - s->peer_isn != x->sack[i].left || get32(v + 8 * i + 4) - s->peer_isn != x->sack[i].right)
            fail(s, "SACK block %u is %u:%u", i, get32(v + 8 * i) - s->peer_isn, get32(v + 8 * i + 4) - s->peer_isn);
    bool sack_ok = option(o, 4, &v);
    if ((x->sack_ok && !sack_ok) || (x->no_sack_ok && sack_ok))
        fail(s, "SACK-permitted %s expected", sack_ok ? "was not" : "was");
    bool mss = option(o, 2, &v);
    if (x->has_mss && (!mss || (uint32_t)(v[0] << 8 | v[1]) != x->mss))
        fail(s, "MSS is %u", mss ? (unsigned)(v[0] << 8 | v[1]) : 0);
    bool ws = option(o, 3, &v);
    if (x->no_ws && ws)
        fail(s, "window scale was not expected");
    if (x->has_ws && (!ws || v[0] != x->ws))
        fail(s, "window scale is %d", ws ? v[0] : -1);
}

static void expect(struct script *s, const struct spec *x, uint64_t due)
{
    char a[10], b[10];
    advance(s, due + TOLERANCE, true);
    if (s->sent_head == s->sent_tail)
        fail(s, "nothing was sent");
    const struct sent *o = &s->sent[s->sent_head++ % SENT_MAX];
    uint32_t header = (uint32_t)(o->bytes[12] >> 4) * 4, len = o->len - header;
    uint32_t seq = get32(o->bytes + 4) - (s->isn_known ? s->our_isn : 0), ack = get32(o->bytes + 8) - s->peer_isn;
    uint8_t flags = o->bytes[13], mask = (uint8_t)~(x->flags & TCP_PSH ? 0 : TCP_PSH);
    if ((flags & mask) != x->flags || seq != x->seq || len != x->len || (x->has_ack && ack != x->ack))
        fail(s, "sent %s %u:%u(%u) ack %u, expected %s %u:%u(%u) ack %u", flags_text(flags, a), seq, seq + len, len, ack,
             flags_text(x->flags, b), x->seq, x->seq + x->len, x->len, x->ack);
    if (o->at + TOLERANCE < due || o->at > due + TOLERANCE)
        fail(s, "sent %.3f s after the line before, expected %.3f", (double)(int64_t)(o->at - s->last) / 1e9, (double)(due - s->last) / 1e9);
    if ((x->ect && o->ecn != BASE_ECN_ECT0) || (x->not_ect && o->ecn != BASE_ECN_NONE))
        fail(s, "the ECN field is %u", o->ecn);
    if (x->has_win && (uint32_t)(o->bytes[14] << 8 | o->bytes[15]) != x->win)
        fail(s, "window is %d", o->bytes[14] << 8 | o->bytes[15]);
    for (uint32_t i = 0; i < len; i++)
        if (o->bytes[header + i] != our_byte((uint32_t)(seq + i - 1)))
            fail(s, "payload byte %u is wrong", i);
    expect_options(s, o, x);
    s->last = o->at;
}

static const char *const state_names[] = {"CLOSED",     "LISTEN",     "SYN_SENT", "SYN_RECEIVED", "ESTABLISHED", "FIN_WAIT_1",
                                          "FIN_WAIT_2", "CLOSE_WAIT", "CLOSING",  "LAST_ACK",     "TIME_WAIT"};
static const char *const event_names[] = {"ACCEPTED", "CONNECTED", "READABLE", "WRITABLE", "FIN", "CLOSED"};
static const char *const error_names[] = {"OK", "REFUSED", "RESET", "TIMED_OUT", "UNREACHABLE"};

static void do_events(struct script *s, char **rest)
{
    uint32_t want = 0;
    for (char *w; (w = strtok_r(NULL, " \t", rest)) != NULL;)
        for (uint32_t i = 0; i < 6; i++)
            want |= strcmp(w, event_names[i]) == 0 ? 1u << i : 0;
    if (s->events != want)
        fail(s, "events are 0x%x, expected 0x%x", s->events, want);
    s->events = 0;
}

static void do_read(struct script *s, uint64_t n, int fill)
{
    for (uint64_t left = n; left > 0;) {
        const uint8_t *at;
        size_t k = tcp_read_peek(s->conn, &at);
        if (k == 0)
            fail(s, "%llu bytes fewer to read than expected", (unsigned long long)left);
        k = k < left ? k : (size_t)left;
        for (size_t i = 0; i < k; i++, s->read++)
            if (at[i] != (fill >= 0 ? (uint8_t)fill : peer_byte(s->read)))
                fail(s, "byte %llu read is wrong: '%c'", (unsigned long long)s->read, at[i]);
        tcp_read_consume(s->conn, k);
        left -= k;
    }
}

static size_t do_write_some(struct script *s, uint64_t n)
{
    uint8_t *data = malloc(n);
    for (uint64_t i = 0; i < n; i++)
        data[i] = our_byte(s->written + i);
    size_t k = tcp_write(s->conn, data, n);
    free(data);
    s->written += k;
    return k;
}

static void do_write(struct script *s, uint64_t n, uint64_t expected)
{
    size_t k = do_write_some(s, n);
    if (k != expected)
        fail(s, "%zu bytes were written", k);
}

static void do_option(struct script *s, const char *name, const char *value)
{
    uint64_t v = value != NULL ? strtoull(value, NULL, 0) : 0;
    if (strcmp(name, "rcvbuf") == 0)
        s->config.rcvbuf = (uint32_t)v;
    else if (strcmp(name, "rcvbuf_least") == 0)
        s->config.rcvbuf_least = (uint32_t)v;
    else if (strcmp(name, "rcv_memory") == 0)
        s->config.rcv_memory = v;
    else if (strcmp(name, "keepalive_ms") == 0)
        s->config.keepalive_ns = v * MS;
    else if (strcmp(name, "sndbuf") == 0)
        s->config.sndbuf = (uint32_t)v;
    else if (strcmp(name, "mtu") == 0)
        s->config.mtu = (uint16_t)v;
    else if (strcmp(name, "reassembly") == 0)
        s->config.reassembly = (uint32_t)v;
    else if (strcmp(name, "syn_backlog") == 0)
        s->config.syn_backlog = (uint32_t)v;
    else if (strcmp(name, "user_timeout_ms") == 0)
        s->config.user_timeout_ns = v * MS;
    else if (strcmp(name, "sack_work") == 0)
        s->config.sack_work = (uint32_t)v;
    else if (strcmp(name, "rto_min_ms") == 0)
        s->config.rto_ns_min = v * MS;
    else if (strcmp(name, "connect_ms") == 0)
        s->config.connect_ns = v * MS;
    else if (strcmp(name, "peer_isn") == 0)
        s->peer_isn = (uint32_t)v;
    else if (strcmp(name, "our_isn") == 0)
        s->our_isn = (uint32_t)v, s->want_isn = true;
    else if (strcmp(name, "cubic") == 0)
        s->config.cc = TCP_CC_CUBIC;
    else if (strcmp(name, "pacing") == 0)
        s->config.pacing = true;
    else if (strcmp(name, "snd_buffers") == 0)
        s->config.snd_buffers = (uint32_t)v;
    else if (strcmp(name, "ecn") == 0)
        s->config.ecn = (enum tcp_ecn)v;
    else if (strcmp(name, "ipv6") == 0)
        s->v6 = true;
    else if (strcmp(name, "hold") == 0)
        s->hold = true;
    else
        fail(s, "unknown option '%s'", name);
}

static void gone(struct script *s)
{
    if (tcp_connections(s->host.tcp) != 0)
        fail(s, "a connection is left, in state %s", state_names[tcp_conn_state(tcp_conn_next(s->host.tcp, NULL))]);
}

static void do_state(struct script *s, const char *name)
{
    struct tcp_conn *c = tcp_conn_next(s->host.tcp, NULL);
    if (c == NULL || strcmp(name, state_names[tcp_conn_state(c)]) != 0)
        fail(s, "the state is %s", c == NULL ? "no connection" : state_names[tcp_conn_state(c)]);
}

/* want: N, or N..M */
static void do_info(struct script *s, const char *name, const char *want)
{
    char *end;
    uint64_t least = strtoull(want, &end, 0), most = strncmp(end, "..", 2) == 0 ? strtoull(end + 2, NULL, 0) : least;
    struct tcp_info i;
    tcp_conn_info(tcp_conn_next(s->host.tcp, NULL), &i);
    uint64_t is = strcmp(name, "cwnd") == 0       ? i.cwnd
                  : strcmp(name, "ssthresh") == 0 ? i.ssthresh
                  : strcmp(name, "mss") == 0      ? i.mss
                  : strcmp(name, "snd_wnd") == 0  ? i.snd_wnd
                  : strcmp(name, "unread") == 0   ? i.unread
                  : strcmp(name, "rcv_wnd") == 0  ? i.rcv_wnd
                  : strcmp(name, "reassembly") == 0 ? i.reassembly
                  : strcmp(name, "rto_ms") == 0   ? i.rto_ns / MS
                  : strcmp(name, "srtt_ms") == 0  ? i.srtt_ns / MS
                  : strcmp(name, "in_flight") == 0 ? i.in_flight
                  : strcmp(name, "retransmits") == 0 ? i.retransmits
                                                     : UINT64_MAX;
    if (is < least || is > most)
        fail(s, "%s is %llu", name, (unsigned long long)is);
}

/* ---- a peer that takes a whole transfer ---- */

struct arrival {
    uint64_t at;
    uint32_t seq, end;
};

struct peer {
    struct arrival queue[4096]; /* on their way to it */
    uint32_t head, tail;
    uint64_t rtt_ns, rate, drop, burst; /* rate: bytes a ms, 0: any */
    uint32_t next, left, right;                /* in order so far; what is there behind a hole */
    uint64_t ms, in_ms;                        /* the ms of the last segments, how many */
};

static void peer_sees(struct script *s, struct peer *p, const struct sent *o)
{
    uint32_t header = (uint32_t)(o->bytes[12] >> 4) * 4, len = o->len - header, seq = get32(o->bytes + 4) - s->our_isn;
    if (len == 0)
        return;
    for (uint32_t i = 0; i < len; i++)
        if (o->bytes[header + i] != our_byte((uint32_t)(seq + i - 1)))
            fail(s, "payload byte %u is wrong", i);
    p->in_ms = o->at / MS == p->ms ? p->in_ms + 1 : 1;
    p->ms = o->at / MS;
    if (p->burst != 0 && p->in_ms > p->burst)
        fail(s, "%llu segments within a ms, at %u", (unsigned long long)p->in_ms, seq);
    if (p->drop != 0 && seq >= p->drop) {
        p->drop = 0;
        return;
    }
    uint64_t at = o->at + p->rtt_ns;
    if (p->rate != 0 && p->tail > 0) {
        uint64_t last = p->queue[(p->tail - 1) % 4096].at + len * MS / p->rate;
        at = at > last ? at : last;
    }
    if (p->tail - p->head == 4096)
        fail(s, "more than 4096 segments are under way");
    p->queue[p->tail++ % 4096] = (struct arrival){at, seq, seq + len};
}

/* One hole at a time: it says so by SACK. */
static void peer_acks(struct script *s, struct peer *p)
{
    struct arrival a = p->queue[p->head++ % 4096];
    struct spec x = {.flags = TCP_ACK, .has_ack = true, .seq = 1, .fill = -1};
    if (a.seq <= p->next) {
        p->next = a.end > p->next ? a.end : p->next;
    } else {
        p->left = p->left == 0 || a.seq < p->left ? a.seq : p->left;
        p->right = a.end > p->right ? a.end : p->right;
    }
    if (p->left != 0 && p->left <= p->next) {
        p->next = p->right > p->next ? p->right : p->next;
        p->left = p->right = 0;
    }
    x.ack = p->next;
    if (p->left != 0)
        x.sacks = 1, x.sack[0].left = p->left, x.sack[0].right = p->right;
    inject(s, &x);
}

/* flow RTT_MS UNTIL [drop SEQ] [rate BYTES_A_MS] [burst N]: writes up to byte UNTIL; each segment is acknowledged RTT_MS after it was sent, later where the path takes only so
 * much a ms; the first segment from SEQ on is lost; more than N segments within a ms fail. */
static void do_flow(struct script *s, uint64_t rtt_ms, uint64_t until, char **rest)
{
    static struct peer p;
    p = (struct peer){.rtt_ns = rtt_ms * MS, .next = (uint32_t)s->written + 1};
    for (char *name; (name = strtok_r(NULL, " \t", rest)) != NULL;) {
        char *value = strtok_r(NULL, " \t", rest);
        uint64_t v = value != NULL ? strtoull(value, NULL, 0) : 0;
        if (strcmp(name, "drop") == 0)
            p.drop = v;
        else if (strcmp(name, "rate") == 0)
            p.rate = v;
        else if (strcmp(name, "burst") == 0)
            p.burst = v;
        else
            fail(s, "unknown word '%s'", name);
    }
    uint64_t end = s->now + 600000 * MS;
    while (p.next <= until) {
        size_t room = s->written < until ? tcp_write_room(s->conn) : 0;
        if (room > 0)
            do_write_some(s, room < until - s->written ? room : until - s->written);
        if (p.head != p.tail && p.queue[p.head % 4096].at <= s->now)
            peer_acks(s, &p), s->now += MS / 1000; /* no two turns are at the same time */
        else
            s->now += MS / 8;
        turn(s);
        while (s->sent_head != s->sent_tail)
            peer_sees(s, &p, &s->sent[s->sent_head++ % SENT_MAX]);
        if (s->now > end)
            fail(s, "byte %u was not sent for ten minutes", p.next);
    }
    s->last = s->now;
}

static void call(struct script *s, const char *verb, char **rest)
{
    static const struct base_addr any;
    char *a = strtok_r(NULL, " \t", rest), *b = strtok_r(NULL, " \t", rest);
    uint64_t n = a != NULL ? strtoull(a, NULL, 0) : 0;
    if (strcmp(verb, "flow") == 0) {
        do_flow(s, n, b != NULL ? strtoull(b, NULL, 0) : 0, rest);
        return;
    }
    char *c = strtok_r(NULL, " \t", rest);
    if (strcmp(verb, "listen") == 0) {
        if (!tcp_listen(s->host.tcp, &any, 80, 1))
            fail(s, "listen was refused");
    } else if (strcmp(verb, "unlisten") == 0) {
        tcp_unlisten(s->host.tcp, &any, 80);
    } else if (strcmp(verb, "connect") == 0) {
        if (a != NULL) /* "any": from a port of tcp's choice */
            s->flow.local_port = 0;
        s->conn = tcp_connect(s->host.tcp, &s->flow, 1, s->now);
        if (s->conn == NULL)
            fail(s, "connect was refused");
        s->flow = *tcp_conn_flow(s->conn);
    } else if (strcmp(verb, "write") == 0) {
        do_write(s, n, b != NULL ? strtoull(b, NULL, 0) : n);
    } else if (strcmp(verb, "read") == 0) {
        do_read(s, n, b != NULL && strcmp(b, "fill") == 0 && c != NULL ? c[0] : -1);
    } else if (strcmp(verb, "shutdown") == 0) {
        tcp_shutdown(s->conn, s->now);
    } else if (strcmp(verb, "close") == 0) {
        tcp_close(s->conn, s->now), s->conn = NULL;
    } else if (strcmp(verb, "abort") == 0) {
        tcp_abort(s->conn, s->now), s->conn = NULL;
    } else if (strcmp(verb, "want") == 0) {
        tcp_write_want(s->conn);
    } else if (strcmp(verb, "state") == 0) {
        do_state(s, a);
    } else if (strcmp(verb, "gone") == 0) {
        gone(s);
    } else if (strcmp(verb, "error") == 0) {
        if (strcmp(error_names[tcp_conn_error(s->conn)], a) != 0)
            fail(s, "the error is %s", error_names[tcp_conn_error(s->conn)]);
    } else if (strcmp(verb, "info") == 0) {
        do_info(s, a, b != NULL ? b : "0");
    } else if (strcmp(verb, "drops") == 0) {
        for (int i = 0; i < STATS_DROP_COUNT; i++)
            if (strcmp(stats_drop_labels[i], a) == 0 && s->host.stats->drops[i] != strtoull(b, NULL, 0))
                fail(s, "%s is %llu", a, (unsigned long long)s->host.stats->drops[i]);
    } else if (strcmp(verb, "count") == 0) {
        bool known = false;
        for (int i = 0; i < STATS_COUNTER_COUNT; i++) {
            if (strcmp(stats_counter_labels[i], a) != 0)
                continue;
            known = true;
            if (s->host.stats->counters[i] != strtoull(b, NULL, 0))
                fail(s, "%s is %llu", a, (unsigned long long)s->host.stats->counters[i]);
        }
        if (!known)
            fail(s, "no counter '%s'", a);
    } else if (strcmp(verb, "timewait") == 0) {
        if (*s->host.stats->objects[1].in_use != n)
            fail(s, "TIME_WAIT entries: %u", *s->host.stats->objects[1].in_use);
    } else if (strcmp(verb, "icmp") == 0) { /* icmp SEQ hard|MTU */
        tcp_icmp_error(s->host.tcp, &s->flow, (uint32_t)n + s->our_isn, strcmp(b, "hard") == 0, (uint32_t)strtoul(b, NULL, 0), s->now);
    } else if (strcmp(verb, "take") == 0) { /* buffers that somebody else uses */
        struct packet *p;
        while (n-- > 0 && s->taken_count < 8192 && (p = packet_alloc(s->host.pool)) != NULL)
            s->taken[s->taken_count++] = p;
    } else if (strcmp(verb, "give") == 0) {
        while (s->taken_count > 0)
            packet_free(s->taken[--s->taken_count]);
    } else if (strcmp(verb, "tune") == 0) { /* a live change of the configuration */
        const struct tcp_config *k = &s->config;
        struct tcp_tuning t = {k->rto_ns_min, k->user_timeout_ns, n * MS, k->cc, k->ecn, k->pacing};
        tcp_tune(s->host.tcp, &t);
    } else if (strcmp(verb, "backlog") == 0) {
        s->host.tcp->config.syn_backlog = (uint32_t)n;
    } else if (strcmp(verb, "isn") == 0) { /* the peer starts anew */
        s->peer_isn = (uint32_t)n, s->read = s->written = 0;
    } else if (strcmp(verb, "mark") == 0) { /* the timestamp that we sent last, for "ts N @" */
        s->marked_ts = s->our_ts;
    } else if (strcmp(verb, "release") == 0) {
        while (s->held_count > 0)
            packet_free(s->held[--s->held_count]);
        s->hold = false;
    } else if (strcmp(verb, "nothing") != 0) { /* only time passes */
        fail(s, "unknown verb '%s'", verb);
    }
}

static void line(struct script *s, char *text)
{
    char *rest, *hash = strchr(text, '#');
    if (hash != NULL)
        *hash = 0;
    char *when = strtok_r(text, " \t\r\n", &rest);
    if (when == NULL)
        return;
    if (strcmp(when, "option") == 0) {
        char *name = strtok_r(NULL, " \t\n", &rest);
        do_option(s, name, strtok_r(NULL, " \t\n", &rest));
        return;
    }
    start(s);
    size_t n = strlen(rest);
    if (n > 0 && rest[n - 1] == '\n')
        rest[n - 1] = 0;
    char *verb = strtok_r(NULL, " \t", &rest);
    if (when[0] != '+' || verb == NULL)
        fail(s, "a line is: +SECONDS WHAT");
    uint64_t due = s->last + (uint64_t)(strtod(when + 1, NULL) * 1e9);
    if (strcmp(verb, ">") == 0) {
        struct spec x = spec_parse(s, &rest);
        expect(s, &x, due);
        return;
    }
    if (s->sent_head != s->sent_tail) {
        fail(s, "a segment that nobody expected was sent before this line");
    }
    advance(s, due, true);
    if (s->sent_head != s->sent_tail)
        fail(s, "a segment that nobody expected was sent %.3f s after the line before", (double)(s->now - s->last) / 1e9);
    s->last = s->now;
    if (strcmp(verb, "times") == 0) { /* times N < ...: as often, in one burst */
        unsigned long count = strtoul(strtok_r(NULL, " \t", &rest), NULL, 0);
        strtok_r(NULL, " \t", &rest);
        struct spec x = spec_parse(s, &rest);
        while (count-- > 0)
            inject(s, &x);
        turn(s);
    } else if (verb[0] == '<') { /* "<<": the same burst goes on with the next line */
        struct spec x = spec_parse(s, &rest);
        inject(s, &x);
        if (verb[1] == 0)
            turn(s);
    } else if (strcmp(verb, "event") == 0) {
        do_events(s, &rest);
    } else {
        bool more = strcmp(verb, "and") == 0;
        call(s, more ? strtok_r(NULL, " \t", &rest) : verb, &rest);
        if (!more)
            turn(s);
    }
}

static void finish(struct script *s)
{
    s->line++;
    start(s);
    while (s->taken_count > 0)
        packet_free(s->taken[--s->taken_count]);
    if (s->sent_head != s->sent_tail)
        fail(s, "a segment that nobody expected was sent at the end");
    if (s->conn != NULL)
        tcp_abort(s->conn, s->now);
    turn(s);
    for (int i = 0; i < 400; i++) {
        s->sent_head = s->sent_tail;
        s->now += 1000000000; /* orphans give up, TIME_WAIT ends */
        turn(s);
    }
    turn(s);
    while (s->held_count > 0)
        packet_free(s->held[--s->held_count]);
    gone(s);
    for (uint32_t i = 0; i < s->host.stats->object_count; i++)
        if (*s->host.stats->objects[i].in_use != 0)
            fail(s, "%s: objects left", s->host.stats->objects[i].kind);
    tcp_net_host_fini(&s->host);
}

/* The states' scripts are run once more over each family and with numbers that wrap. */
static void run_file(const char *file, bool v6, uint32_t isn)
{
    static struct script s;
    char text[512];
    FILE *f = fopen(file, "r");
    memset(&s, 0, sizeof(s));
    s.file = file;
    s.now = 5000000000000ull;
    s.v6 = v6;
    s.peer_isn = s.our_isn = isn;
    s.want_isn = isn != 0;
    tcp_net_config(&s.config, 3);
    s.config.cc = TCP_CC_RENO;
    s.config.delack_ns = 40 * MS;
    if (f == NULL)
        fail(&s, "cannot be opened");
    while (fgets(text, sizeof(text), f) != NULL) {
        s.line++;
        line(&s, text);
    }
    fclose(f);
    finish(&s);
}

static int is_script(const struct dirent *d)
{
    size_t n = strlen(d->d_name);
    return n > 4 && strcmp(d->d_name + n - 4, ".pkt") == 0;
}

int main(int argc, char **argv)
{
    int count = 0, again = 0;
    for (int i = 1; i < argc; i++) {
        struct dirent **names;
        int n = scandir(argv[i], &names, is_script, alphasort);
        if (n < 0) {
            run_file(argv[i], false, 0);
            count++;
            continue;
        }
        for (int k = 0; k < n; k++, count++) {
            char path[1024];
            snprintf(path, sizeof(path), "%s/%s", argv[i], names[k]->d_name);
            run_file(path, false, 0);
            static const uint32_t isns[] = {0, 0x7fffffff, 0xffffffff, 0xfffe7960}; /* the last: data beyond the window wraps */
            for (int v = 1; v < 8 && strncmp(names[k]->d_name, "state_", 6) == 0; v++, again++)
                run_file(path, v % 2, isns[v / 2]);
            free(names[k]);
        }
        free(names);
    }
    printf("%d scripts, %d once more over the other family or with numbers that wrap\n", count, again);
    return count > 0 ? 0 : 1;
}
