/* sim_tcp [FIRST [COUNT [-v]]] | goodput [SEEDS]: two of our stacks over a bad network; one seed decides everything.
 *
 * Each run: some connections, each side sends a stream of its own and ends it; readers are eager (they act on events only) or slow
 * (windows close).  At the end every byte must have arrived once and in order, every object must be gone, and so must every buffer.
 * The connection checker runs after every step.  A failure prints its seed: `sim_tcp SEED 1 -v` shows the segments.
 *
 * goodput: one stream over 100 Mbit/s with a queue of max(64 KB, a bandwidth-delay product); Mbit/s, CUBIC / Reno, medians of the seeds: by round trip and reordering, and by
 * buffers. */
#include "lib/tcp_net.h"

#include <stdio.h>
#include <stdlib.h>

#define MS 1000000ull
#define S  (1000 * MS)
enum { CONNS = 4 };

struct side {
    struct tcp_conn *conn;
    uint64_t to_send, sent, to_get, got;
    uint32_t slow; /* bytes a read at most; 0: eager */
    uint64_t next_read;
    bool open, fin, done, finished, by_reserve;
    uint32_t key;
};

struct sim {
    struct tcp_net net;
    struct side side[2][CONNS];
    int conns;
    uint64_t seed;
    bool verbose;
    uint32_t starve_ppm;
    bool stormy;
    uint64_t next_weather;
    uint64_t segments[2];
};

#define REQUIRE(s, ok, what)                                                                                           \
    do {                                                                                                               \
        if (!(ok)) {                                                                                                   \
            printf("seed %llu: %s (line %d)\n", (unsigned long long)(s)->seed, what, __LINE__);                        \
            fflush(stdout);                                                                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

static uint8_t byte_at(uint32_t key, uint64_t i)
{
    return (uint8_t)(base_mix64(((uint64_t)key << 40) + i / 8) >> (i % 8 * 8));
}

static bool watch(void *ctx, int from, const uint8_t *h, uint32_t len)
{
    struct sim *s = ctx;
    s->segments[from]++;
    if (s->verbose) {
        uint32_t seq = __builtin_bswap32(*(const uint32_t *)(const void *)(h + 4)), ack = __builtin_bswap32(*(const uint32_t *)(const void *)(h + 8));
        printf("%12.6f %c %5u seq %10u ack %10u len %5u wnd %5u%s%s%s%s\n", (double)(s->net.now % (1000 * S)) / 1e9, "<>"[from],
               from ? h[2] << 8 | h[3] : h[0] << 8 | h[1], seq, ack, len - (h[12] >> 4) * 4, h[14] << 8 | h[15],
               h[13] & 2 ? " SYN" : "", h[13] & 1 ? " FIN" : "", h[13] & 4 ? " RST" : "", h[13] & 8 ? " PSH" : "");
    }
    return true;
}

static struct side *side_of(struct sim *s, int h, struct tcp_conn *c)
{
    uint64_t id = h == 0 ? tcp_conn_tag(c) : (uint64_t)tcp_conn_flow(c)->local_port - 100;
    return &s->side[h][id];
}

static void side_write(struct sim *s, struct side *d)
{
    if (!d->open || d->conn == NULL || d->fin)
        return;
    while (d->sent < d->to_send) {
        uint8_t buf[3000];
        size_t n = 1 + tcp_net_random(&s->net, sizeof(buf)), room = 0, k;
        if (n > d->to_send - d->sent)
            n = d->to_send - d->sent;
        if (d->by_reserve) {
            size_t want = n < 1024 ? n : 1024;
            uint8_t *at = tcp_write_reserve(d->conn, want, &room);
            if (at == NULL) /* less may fit */
                at = tcp_write_reserve(d->conn, want = 1, &room);
            REQUIRE(s, at == NULL || room >= want, "reserve gave less than was wanted");
            k = at == NULL ? 0 : room < n ? room : n;
            for (size_t i = 0; i < k; i++)
                at[i] = byte_at(d->key, d->sent + i);
            if (at != NULL)
                tcp_write_commit(d->conn, k);
        } else {
            for (size_t i = 0; i < n; i++)
                buf[i] = byte_at(d->key, d->sent + i);
            k = tcp_write(d->conn, buf, n);
        }
        d->sent += k;
        if (k == 0) {
            tcp_write_want(d->conn);
            return;
        }
    }
    d->fin = true;
    tcp_shutdown(d->conn, s->net.now);
}

static void side_read(struct sim *s, struct side *d, uint32_t key, uint32_t most)
{
    const uint8_t *at;
    size_t n;
    while (d->conn != NULL && most > 0 && (n = tcp_read_peek(d->conn, &at)) > 0) {
        n = n < most ? n : most;
        for (size_t i = 0; i < n; i++)
            REQUIRE(s, at[i] == byte_at(key, d->got + i), "a byte is wrong");
        d->got += n;
        most -= (uint32_t)n;
        REQUIRE(s, d->got <= d->to_get, "more bytes than were sent");
        tcp_read_consume(d->conn, n);
    }
}

static void side_end(struct sim *s, struct side *d)
{
    if (d->conn == NULL || !d->done || d->got < d->to_get || !d->fin)
        return;
    tcp_close(d->conn, s->net.now);
    d->conn = NULL;
    d->finished = true;
}

static void side_event(struct sim *s, int h, const struct tcp_event *ev)
{
    struct side *d = side_of(s, h, ev->conn);
    if ((ev->events & TCP_EVENT_ACCEPTED) && d->open) { /* behind a cookie nothing remembers that it was over: a late copy of its first segment begins it again */
        tcp_abort(ev->conn, s->net.now);
        return;
    }
    if (ev->events & TCP_EVENT_ACCEPTED)
        d->conn = ev->conn;
    REQUIRE(s, d->conn == ev->conn, "an event for a connection that is not ours");
    if (ev->events & (TCP_EVENT_ACCEPTED | TCP_EVENT_CONNECTED))
        d->open = true;
    if (ev->events & (TCP_EVENT_ACCEPTED | TCP_EVENT_CONNECTED | TCP_EVENT_WRITABLE))
        side_write(s, d);
    if ((ev->events & TCP_EVENT_READABLE) && d->slow == 0)
        side_read(s, d, d->key ^ 1, UINT32_MAX);
    if (ev->events & TCP_EVENT_FIN)
        d->done = true;
    if (ev->events & TCP_EVENT_CLOSED)
        REQUIRE(s, tcp_conn_error(d->conn) == TCP_OK, "a connection failed");
    side_end(s, d);
}

static void host_turn(struct sim *s, int h)
{
    struct tcp_event ev;
    while (tcp_next_event(s->net.host[h].tcp, &ev))
        side_event(s, h, &ev);
    for (int i = 0; i < s->conns; i++) {
        struct side *d = &s->side[h][i];
        if (d->slow == 0 || d->conn == NULL || s->net.now < d->next_read)
            continue;
        side_read(s, d, d->key ^ 1, 1 + tcp_net_random(&s->net, d->slow));
        d->next_read = s->net.now + tcp_net_random(&s->net, 40000000);
        side_end(s, d);
    }
    if (tcp_net_chance(&s->net, s->starve_ppm))
        s->net.host[h].pool->fail_at = (int32_t)tcp_net_random(&s->net, 20);
    tcp_net_flush(&s->net, h);
}

static void link_draw(struct tcp_net *n, struct tcp_net_link *l, uint32_t mtu)
{
    static const uint32_t ms[] = {0, 1, 5, 20, 50, 150};
    l->delay_ns = ms[tcp_net_random(n, 6)] * MS + tcp_net_random(n, 1000000);
    l->jitter_ns = tcp_net_chance(n, 300000) ? tcp_net_random(n, (uint32_t)l->delay_ns) : 0;
    l->loss_ppm = tcp_net_chance(n, 600000) ? tcp_net_random(n, 100000) : 0;
    l->burst_ppm = tcp_net_chance(n, 300000) ? tcp_net_random(n, 10000) : 0;
    l->burst_ns = 300 * MS;
    l->dup_ppm = tcp_net_chance(n, 300000) ? tcp_net_random(n, 50000) : 0;
    l->reorder_ppm = tcp_net_chance(n, 300000) ? tcp_net_random(n, 200000) : 0;
    l->rate_bps = tcp_net_chance(n, 500000) ? 1000000 + tcp_net_random(n, 100000000) : 0;
    l->queue_bytes = 10000 + tcp_net_random(n, 100000);
    if (tcp_net_chance(n, 150000))
        l->mtu = mtu - tcp_net_random(n, mtu - 1280 + 1);
    l->black_hole = tcp_net_chance(n, 300000);
    l->mark_ppm = tcp_net_chance(n, 250000) ? tcp_net_random(n, 50000) : 0;
    l->corrupt_ppm = tcp_net_chance(n, 200000) ? tcp_net_random(n, 30000) : 0;
}

static void config_draw(struct tcp_net *r, struct tcp_config *c, uint64_t seed)
{
    tcp_net_config(c, seed);
    c->rcvbuf = 2000u << tcp_net_random(r, 8);
    c->sndbuf = 4000u << tcp_net_random(r, 7);
    c->reassembly = tcp_net_random(r, 3) == 0 ? 4 : 256;
    c->sack = tcp_net_random(r, 4) != 0;
    c->cc = tcp_net_random(r, 3) != 0 ? TCP_CC_CUBIC : TCP_CC_RENO;
    c->ecn = (enum tcp_ecn)tcp_net_random(r, 3);
    c->pacing = tcp_net_random(r, 2) != 0;
    c->syn_backlog = tcp_net_random(r, 4) ? 32 : tcp_net_random(r, 3);
    c->sack_work = tcp_net_random(r, 8) ? 512 : 2;
    c->rto_ns_min = tcp_net_random(r, 2) ? 20 * MS : 200 * MS;
    c->mtu = tcp_net_random(r, 2) ? 1500 : (uint16_t)(1280 + tcp_net_random(r, 800));
    c->user_timeout_ns = 3000 * S;
    c->connect_ns = 3000 * S;
    c->timewait_ns = 10 * S;
}

static void sides_draw(struct sim *s)
{
    struct tcp_net *n = &s->net;
    static const uint32_t sizes[] = {0, 1, 100, 5000, 60000, 200000};
    s->conns = 1 + (int)tcp_net_random(n, CONNS);
    for (int i = 0; i < s->conns; i++)
        for (int h = 0; h < 2; h++) {
            struct side *d = &s->side[h][i];
            uint32_t size = sizes[tcp_net_random(n, 6)];
            d->key = (uint32_t)(i * 2 + h);
            d->to_send = size + (size > 1 ? tcp_net_random(n, size) : 0);
            d->slow = tcp_net_random(n, 4) == 0 ? 2000 + tcp_net_random(n, 20000) : 0;
            d->by_reserve = tcp_net_random(n, 2) == 0;
        }
    for (int i = 0; i < s->conns; i++)
        for (int h = 0; h < 2; h++)
            s->side[h][i].to_get = s->side[!h][i].to_send;
}

static void sim_open(struct sim *s)
{
    static const struct base_addr any;
    for (int i = 0; i < s->conns; i++) {
        struct base_flow f = tcp_net_flow(&s->net, 0, (uint16_t)(100 + i));
        REQUIRE(s, tcp_listen(s->net.host[1].tcp, &any, (uint16_t)(100 + i), (uint64_t)i), "listen");
        s->side[0][i].conn = tcp_connect(s->net.host[0].tcp, &f, (uint64_t)i, s->net.now);
        REQUIRE(s, s->side[0][i].conn != NULL, "connect");
    }
    tcp_net_flush(&s->net, 0);
}

/* In some runs the path changes underway: it goes away for a while, or takes smaller packets (silently or not), or slower. */
static void weather(struct sim *s)
{
    struct tcp_net *n = &s->net;
    if (!s->stormy || n->now < s->next_weather)
        return;
    s->next_weather = n->now + tcp_net_random(n, 3000000000u);
    for (int h = 0; h < 2; h++) {
        struct tcp_net_link *l = &n->link[h];
        l->down = !l->down && tcp_net_chance(n, 200000);
        if (tcp_net_chance(n, 100000))
            l->mtu = 1280 + tcp_net_random(n, 221);
        if (tcp_net_chance(n, 100000))
            l->delay_ns = tcp_net_random(n, 200) * MS;
    }
}

static bool sim_done(const struct sim *s)
{
    for (int i = 0; i < s->conns; i++)
        if (!s->side[0][i].finished || !s->side[1][i].finished)
            return false;
    for (int h = 0; h < 2; h++)
        if (tcp_connections(s->net.host[h].tcp) != 0 || *s->net.host[h].stats->objects[1].in_use != 0)
            return false;
    return true;
}

static uint64_t sim_run(uint64_t seed, bool verbose)
{
    static struct sim sim;
    struct sim *s = &sim;
    struct tcp_config a, b;
    memset(s, 0, sizeof(*s));
    s->seed = seed;
    s->verbose = verbose;
    s->net.random = base_mix64(seed + 77);
    config_draw(&s->net, &a, seed);
    config_draw(&s->net, &b, seed + 1000000007);
    tcp_net_init(&s->net, &a, &b, seed, seed % 2 != 0);
    s->net.filter = watch;
    s->net.ctx = s;
    s->net.hold_ns = tcp_net_random(&s->net, 2) ? tcp_net_random(&s->net, 300000000) : 0;
    s->starve_ppm = tcp_net_random(&s->net, 4) == 0 ? 5000 : 0;
    s->stormy = tcp_net_random(&s->net, 5) == 0;
    for (int h = 0; h < 2; h++)
        link_draw(&s->net, &s->net.link[h], a.mtu < b.mtu ? a.mtu : b.mtu);
    /* Behind a cookie stands nobody who would send the SYN-ACK again: an ACK that only rides on data, and falls into a black hole with it, comes when the cookie is stale. */
    if (b.syn_backlog < CONNS)
        s->net.link[0].black_hole = false;
    sides_draw(s);
    sim_open(s);
    uint64_t start = s->net.now;
    while (!sim_done(s)) {
        REQUIRE(s, s->net.now - start < 3000 * S, "stuck");
        tcp_net_step(&s->net, tcp_net_next(&s->net, 10 * MS));
        weather(s);
        host_turn(s, 0);
        host_turn(s, 1);
    }
    for (int h = 0; h < 2; h++)
        REQUIRE(s, tcp_net_idle(&s->net, h), "a timer or a list is left behind");
    uint64_t took = s->net.now - start;
    tcp_net_fini(&s->net);
    return took;
}

/* Bulk one way for so many seconds; the reader is eager.  buffers: both ends', bytes; 0: as by default. */
static double goodput_run(enum tcp_cc cc, uint32_t rtt_ms, uint32_t loss_ppm, bool reorder, uint32_t buffers, uint64_t seed)
{
    static const uint8_t zeros[65536];
    static const struct base_addr any;
    static struct tcp_net net;
    struct tcp_net *n = &net;
    struct tcp_config c;
    struct tcp_event ev;
    const uint8_t *at;
    uint64_t got = 0, bdp = 12500ull * rtt_ms, length = rtt_ms < 20 ? 4 * S : 20 * S;
    tcp_net_config(&c, seed);
    c.cc = cc;
    if (buffers != 0)
        c.rcvbuf = c.sndbuf = buffers;
    tcp_net_init(n, &c, &c, seed * 1000 + loss_ppm + rtt_ms, false);
    n->quiet_checks = true;
    for (int h = 0; h < 2; h++) {
        struct tcp_net_link *l = &n->link[h];
        l->delay_ns = rtt_ms * MS / 2;
        l->rate_bps = 100000000;
        l->queue_bytes = bdp > 65536 ? (uint32_t)bdp : 65536;
        l->loss_ppm = loss_ppm;
        l->reorder_ppm = reorder ? 20000 : 0;
        l->reorder_ns = rtt_ms * MS / 4;
    }
    tcp_listen(n->host[1].tcp, &any, 80, 0);
    struct base_flow f = tcp_net_flow(n, 0, 80);
    struct tcp_conn *a = tcp_connect(n->host[0].tcp, &f, 0, n->now), *b = NULL;
    uint64_t end = n->now + length;
    while (n->now < end) {
        while (tcp_next_event(n->host[1].tcp, &ev))
            b = ev.conn;
        for (size_t k; b != NULL && (k = tcp_read_peek(b, &at)) > 0; got += k)
            tcp_read_consume(b, k);
        while (tcp_next_event(n->host[0].tcp, &ev))
            continue;
        if (tcp_conn_state(a) == TCP_ESTABLISHED)
            tcp_write(a, zeros, sizeof(zeros));
        tcp_net_flush(n, 0);
        tcp_net_flush(n, 1);
        tcp_net_step(n, tcp_net_next(n, MS));
    }
    tcp_abort(a, n->now);
    tcp_net_flush(n, 0);
    tcp_net_step(n, 2 * S);
    if (b != NULL)
        tcp_abort(b, n->now);
    tcp_net_fini(n);
    return (double)got * 8e3 / (double)length;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

#define SEEDS_MOST 16

/* One row: CUBIC / Reno by loss. */
static void goodput_row(uint32_t rtt_ms, bool reorder, uint32_t buffers, uint64_t seeds)
{
    static const uint32_t losses[] = {0, 1000, 10000, 30000};
    for (int l = 0; l < 4; l++)
        for (int cc = TCP_CC_CUBIC; cc <= TCP_CC_RENO; cc++) {
            double x[SEEDS_MOST];
            for (uint64_t i = 0; i < seeds; i++)
                x[i] = goodput_run((enum tcp_cc)cc, rtt_ms, losses[l], reorder, buffers, i + 1);
            qsort(x, seeds, sizeof(x[0]), by_size);
            printf(cc == TCP_CC_CUBIC ? " %.2f /" : " %.2f |", x[seeds / 2]);
        }
    printf("\n");
    fflush(stdout);
}

static void goodput(uint64_t seeds)
{
    static const uint32_t rtts[] = {1, 20, 100}, buffers[] = {64, 256, 1024, 4096};
    printf("| RTT | reordering | no loss | 0.1 %% | 1 %% | 3 %% |\n|---|---|---|---|---|---|\n");
    for (int r = 0; r < 3; r++)
        for (int o = 0; o < 2; o++) {
            printf("| %u ms | %s |", rtts[r], o ? "2 %" : "none");
            goodput_row(rtts[r], o != 0, 0, seeds);
        }
    printf("\n| RTT | buffers | no loss | 0.1 %% | 1 %% | 3 %% |\n|---|---|---|---|---|---|\n");
    for (int r = 1; r < 3; r++)
        for (int b = 0; b < 4; b++) {
            printf("| %u ms | %u KB |", rtts[r], buffers[b]);
            goodput_row(rtts[r], false, buffers[b] << 10, seeds);
        }
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "goodput") == 0) {
        uint64_t seeds = argc > 2 ? strtoull(argv[2], NULL, 10) : 3;
        goodput(seeds > 0 && seeds < SEEDS_MOST ? seeds : 3);
        return 0;
    }
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1, count = argc > 2 ? strtoull(argv[2], NULL, 10) : 500;
    const char *whole = getenv("PENSTOCK_LONG");
    if (count >= 1000 && whole != NULL && whole[0] != 0)
        first = (first - 1) * 10 + 1, count *= 10;
    bool verbose = argc > 3;
    uint64_t virtual_ns = 0;
    for (uint64_t seed = first; seed < first + count; seed++) {
        if (getenv("SIM_TRACE") != NULL)
            fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
        virtual_ns += sim_run(seed, verbose);
    }
    printf("%llu seeds from %llu, %.0f s of virtual time\n", (unsigned long long)count, (unsigned long long)first, (double)virtual_ns / 1e9);
    return 0;
}
