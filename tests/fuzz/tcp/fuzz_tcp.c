/* fuzz_tcp: libFuzzer plays a mad peer and an erratic user against one stack; the checker runs after every step.
 *
 * The input is a list of actions.  Segments are built near the edges of what the connection expects, since random sequence
 * numbers would hardly ever pass the first check; some are raw bytes.  At the end all objects and buffers must be back. */
#include "lib/tcp_net.h"
#include "tcp/conn.h"

#include <stdlib.h>

struct fuzz {
    const uint8_t *in;
    size_t left;
    struct tcp_net_host host;
    struct base_flow flow[2]; /* a passive and an active connection */
    struct tcp_conn *conn[2]; /* NULL: not ours (any more) */
    uint64_t now;
    struct tcp_conn syn; /* what our last SYN-ACK said, for a flow without a connection: a cookie */
    uint32_t syn_ts;
};

static uint32_t take(struct fuzz *f, uint32_t bytes)
{
    uint32_t v = 0;
    for (; bytes > 0 && f->left > 0; bytes--, f->left--)
        v = v << 8 | *f->in++;
    return v;
}

static struct packet *raw(struct fuzz *f)
{
    struct packet *p = packet_alloc(f->host.rx_pool);
    uint32_t n = take(f, 1);
    for (uint32_t i = 0; p != NULL && i < n; i++)
        *packet_append(p, 1) = (uint8_t)take(f, 1);
    return p;
}

static void put32(uint8_t *at, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(at, &v, 4);
}

static uint32_t get32(const uint8_t *at)
{
    uint32_t v;
    memcpy(&v, at, 4);
    return __builtin_bswap32(v);
}

/* A number near one of the edges that somebody compares with. */
static uint32_t near(struct fuzz *f, const uint32_t *edges, uint32_t count)
{
    uint32_t how = take(f, 1), base = edges[how % count];
    int32_t off = (int8_t)take(f, 1);
    return base + (uint32_t)(how & 0x40 ? off * 97 : how & 0x80 ? off : 0);
}

static struct packet *built(struct fuzz *f, const struct base_flow *flow)
{
    struct packet *p = packet_alloc(f->host.rx_pool);
    struct tcp_conn *c = tcp_table_find(f->host.tcp, flow, base_flow_hash(&f->host.tcp->config.isn_key, flow));
    bool none = c == NULL;
    c = none ? &f->syn : c;
    uint32_t seqs[] = {c->rcv_nxt, c->rcv_adv, c->rcv_nxt, c->last_ack, c->rcv_fin, c->irs};
    uint32_t acks[] = {c->snd_una, c->snd_nxt, c->snd_nxt, c->snd_end, c->iss, c->recover};
    if (p == NULL)
        return NULL;
    uint8_t *h = packet_append(p, 20);
    memset(h, 0, 20);
    uint32_t flags = take(f, 1), options = flags & 0xc0 ? take(f, 1) % 11 : 0;
    put32(h + 4, near(f, seqs, 6));
    put32(h + 8, near(f, acks, 6));
    h[13] = (uint8_t)(flags & 0x20 ? TCP_ACK : flags & 0x1f);
    h[14] = (uint8_t)take(f, 1), h[15] = (uint8_t)take(f, 1);
    uint32_t n = take(f, 1) * (flags & 0x40 ? 6 : 1);
    if (options == 10 || tcp_has(c, CONN_TS)) { /* timestamps that make sense */
        uint8_t *o = packet_append(p, 12);
        put32(o, 0x0101080a);
        put32(o + 4, c->ts_recent + (uint32_t)(int8_t)take(f, 1));
        put32(o + 8, (none ? f->syn_ts : tcp_ts_now(c, f->now)) - take(f, 1));
        options = 3;
    } else if (options == 9) { /* SACK-permitted */
        put32(packet_append(p, 4), 0x01010402);
        options = 1;
    } else if (options == 8) { /* two blocks near our buffers */
        uint8_t *o = packet_append(p, 20);
        put32(o, 0x01010512);
        for (uint32_t i = 1; i <= 4; i++) {
            uint32_t how = take(f, 1), base = how & 0x80 ? c->snd_nxt : how & 0x40 ? c->snd_end : c->snd_una;
            put32(o + 4 * i, base + (how & 0x3f) * (how & 1 ? 19 : 1448 / 16));
        }
        options = 5;
    } else {
        for (uint32_t i = 0; i < options * 4; i++)
            *packet_append(p, 1) = (uint8_t)take(f, 1);
    }
    h[12] = (uint8_t)((5 + options) << 4);
    memset(packet_append(p, n), (int)n, n);
    return p;
}

static void flush(struct fuzz *f)
{
    struct tcp_out out[8];
    uint32_t n;
    while ((n = tcp_output(f->host.tcp, out, 8, f->now)) > 0)
        for (uint32_t i = 0; i < n; i++) {
            const uint8_t *h = packet_data(out[i].packet);
            if ((h[13] & TCP_SYN) && (h[13] & TCP_ACK)) {
                f->syn.snd_una = f->syn.snd_nxt = f->syn.snd_end = get32(h + 4) + 1;
                f->syn.rcv_nxt = f->syn.last_ack = get32(h + 8);
                f->syn.flags = h[12] >= 0x90 ? CONN_TS : 0;
                f->syn_ts = h[12] >= 0x90 ? get32(h + 28) : 0;
            }
            packet_free(out[i].packet);
        }
}

static void turn(struct fuzz *f)
{
    struct tcp_event ev;
    tcp_tick(f->host.tcp, f->now);
    tcp_check(f->host.tcp);
    while (tcp_next_event(f->host.tcp, &ev)) {
        if (!(ev.events & TCP_EVENT_ACCEPTED))
            continue;
        if (f->conn[0] != NULL)
            tcp_abort(ev.conn, f->now);
        else
            f->conn[0] = ev.conn;
    }
    flush(f);
    tcp_check(f->host.tcp);
}

static void user(struct fuzz *f, uint32_t what, uint32_t i)
{
    static const uint8_t data[5000];
    struct tcp_conn *c = f->conn[i];
    const uint8_t *at;
    size_t room;
    if (c == NULL) {
        if (i == 1 && what == 0)
            f->conn[1] = tcp_connect(f->host.tcp, &f->flow[1], 0, f->now);
        return;
    }
    if (what == 0) {
        tcp_write(c, data, take(f, 1) * 19);
    } else if (what == 1) {
        size_t n = tcp_read_peek(c, &at);
        tcp_read_consume(c, n / (take(f, 1) % 3 + 1));
    } else if (what == 2) {
        tcp_shutdown(c, f->now);
    } else if (what == 3) {
        tcp_close(c, f->now), f->conn[i] = NULL;
    } else if (what == 4) {
        tcp_abort(c, f->now), f->conn[i] = NULL;
    } else if (what == 5) {
        tcp_write_want(c);
    } else if (tcp_write_reserve(c, 1 + take(f, 1) * 4, &room) != NULL) {
        tcp_write_commit(c, room / (take(f, 1) % 4 + 1));
    }
}

static void step(struct fuzz *f)
{
    uint32_t op = take(f, 1), i = op >> 7;
    struct packet *p;
    switch (op % 8) {
    case 0:
    case 1:
    case 2:
        if ((p = built(f, &f->flow[i])) != NULL)
            tcp_input(f->host.tcp, &f->flow[i], p, f->now);
        break;
    case 3:
        if ((p = raw(f)) != NULL)
            tcp_input(f->host.tcp, &f->flow[i], p, f->now);
        break;
    case 4:
        user(f, take(f, 1) % 7, i);
        break;
    case 5:
        f->now += (uint64_t)take(f, 1) << (16 + op / 8 % 16);
        turn(f);
        break;
    case 6:
        if (op & 8)
            f->host.pool->fail_at = (int32_t)take(f, 1) % 4;
        else
            tcp_icmp_error(f->host.tcp, &f->flow[i], f->conn[i] != NULL ? f->conn[i]->snd_una : 0, op & 16, take(f, 2), f->now);
        break;
    default:
        turn(f);
    }
    tcp_check(f->host.tcp);
}

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t n)
{
    static const struct base_addr any;
    struct fuzz f = {.in = in, .left = n, .now = 1000000000000ull};
    struct tcp_config k;
    tcp_net_config(&k, 5);
    uint32_t draw = take(&f, 1);
    k.rcvbuf = 1000u << draw % 8;
    k.sndbuf = 2000u << draw / 8 % 4;
    k.reassembly = draw & 0x80 ? 3 : 64;
    k.syn_backlog = draw & 0x20 ? 0 : 32;
    k.cc = draw & 0x40 ? TCP_CC_RENO : TCP_CC_CUBIC;
    k.user_timeout_ns = 5000000000;
    k.timewait_ns = 2000000000;
    tcp_net_host_init(&f.host, &k, f.now);
    base_addr_parse("198.18.0.1", &f.flow[0].local);
    base_addr_parse("198.18.0.2", &f.flow[0].remote);
    f.flow[0].local_port = 80, f.flow[0].remote_port = 4000;
    f.flow[1] = f.flow[0];
    f.flow[1].local_port = 40000, f.flow[1].remote_port = 81;
    tcp_listen(f.host.tcp, &any, 80, 0);
    while (f.left > 0)
        step(&f);
    f.host.pool->fail_at = -1;
    turn(&f);
    for (int i = 0; i < 2; i++)
        if (f.conn[i] != NULL)
            tcp_abort(f.conn[i], f.now);
    for (int i = 0; i < 200 && (i < 5 || tcp_connections(f.host.tcp) > 0); i++) {
        f.now += 1000000000;
        turn(&f);
    }
    f.now += 4000000000;
    turn(&f);
    for (uint32_t i = 0; i < f.host.stats->object_count; i++)
        if (*f.host.stats->objects[i].in_use != 0)
            abort();
    tcp_net_host_fini(&f.host);
    return 0;
}
