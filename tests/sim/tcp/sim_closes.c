/* sim_closes COUNT | rate PER_SECOND SECONDS: connections opened and closed in every order between two of our stacks, two hundred at a time or so many a second.
 *
 * Half of them over a link that loses one segment in a hundred and reorders.  At the end every connection, TIME_WAIT entry, timer and buffer is back; no connect was refused;
 * and what was written before an orderly close was read.  `rate` closes from the side that opens, so that every TIME_WAIT holds one of our ports. */
#include "lib/tcp_net.h"

#include <stdio.h>
#include <stdlib.h>

#define MS 1000000ull
#define S  (1000 * MS)
enum { AT_ONCE = 200, PLACES = 64, PORT = 80, NOBODY = 81 };

enum order {
    CLIENT_FIRST, SERVER_FIRST, BOTH, CLIENT_ABORTS, SERVER_ABORTS, CLIENT_HALF, SERVER_HALF, UNREAD_BY_SERVER, UNREAD_BY_CLIENT, QUEUED, BOTH_QUEUED, WHILE_CONNECTING,
    ABORT_WHILE_CONNECTING, REFUSED, ABORT_AFTER_FIN, ORDERS
};
static const char *const names[ORDERS] = {"client first", "server first", "both at once", "client aborts", "server aborts", "half-close by the client, answer",
                                          "half-close by the server, answer", "unread by the server", "unread by the client", "much queued", "much queued both ways",
                                          "close while connecting", "abort while connecting", "refused", "abort after the peer's FIN"};

struct end {
    struct life *life;
    struct tcp_conn *conn;
    bool server;
    bool opened;
    uint32_t to_send, sent, to_get, got;
};

struct life {
    enum order order;
    struct end end[2];
    uint16_t port; /* of the client */
    bool used;
};

struct closes {
    struct tcp_net net;
    struct life *life;
    uint32_t lives, alive;
    uint64_t begun, done[ORDERS];
    uint32_t of_port[2 * PLACES][65536]; /* of the client's: life + 1 */
    bool rate;
};

static struct closes all;

static void die(const struct life *l, const char *what)
{
    printf("%s: %s\n", l != NULL ? names[l->order] : "all", what);
    exit(1);
}

static bool has(const struct end *e, enum order a, enum order b)
{
    return e->life->order == (e->server ? b : a);
}

static void end_close(struct closes *c, struct end *e, bool hard)
{
    struct tcp_conn *conn = e->conn;
    e->conn = NULL;
    if (hard)
        tcp_abort(conn, c->net.now);
    else
        tcp_close(conn, c->net.now);
}

static void end_write(struct end *e)
{
    static const uint8_t zeros[30000];
    uint32_t n = e->to_send - e->sent;
    if (n > 0)
        e->sent += (uint32_t)tcp_write(e->conn, zeros, n);
    if (e->sent < e->to_send)
        tcp_write_want(e->conn);
}

static void end_opened(struct closes *c, struct end *e)
{
    static const uint32_t sends[ORDERS][2] = {[CLIENT_FIRST] = {100, 100}, [SERVER_FIRST] = {100, 100}, [CLIENT_HALF] = {500, 3000}, [SERVER_HALF] = {3000, 500},
                                              [UNREAD_BY_SERVER] = {1000, 0}, [UNREAD_BY_CLIENT] = {0, 1000}, [QUEUED] = {20000, 0}, [BOTH_QUEUED] = {20000, 20000}};
    e->opened = true;
    e->to_send = sends[e->life->order][e->server];
    e->to_get = sends[e->life->order][!e->server];
    bool answers = has(e, SERVER_HALF, CLIENT_HALF); /* once the other has finished */
    if (!answers)
        end_write(e);
    if (has(e, CLIENT_ABORTS, SERVER_ABORTS))
        end_close(c, e, true);
    else if (has(e, BOTH, BOTH) || has(e, QUEUED, ORDERS) || has(e, ABORT_AFTER_FIN, ORDERS))
        end_close(c, e, false);
    else if (has(e, CLIENT_HALF, SERVER_HALF))
        tcp_shutdown(e->conn, c->net.now);
}

static void end_read(struct closes *c, struct end *e)
{
    const uint8_t *at;
    size_t n;
    if (has(e, UNREAD_BY_CLIENT, UNREAD_BY_SERVER)) {
        end_close(c, e, false);
        return;
    }
    while ((n = tcp_read_peek(e->conn, &at)) > 0) {
        e->got += (uint32_t)n;
        tcp_read_consume(e->conn, n);
    }
    if (e->got == e->to_get && e->sent == e->to_send && (has(e, CLIENT_FIRST, SERVER_FIRST) || has(e, BOTH_QUEUED, BOTH_QUEUED)))
        end_close(c, e, false);
}

static void end_fin(struct closes *c, struct end *e)
{
    if (has(e, ORDERS, ABORT_AFTER_FIN)) {
        end_close(c, e, true);
        return;
    }
    if (e->life->order != BOTH && e->got != e->to_get)
        die(e->life, "bytes are missing at the FIN");
    if (has(e, SERVER_HALF, CLIENT_HALF))
        end_write(e);
    if (e->sent == e->to_send)
        end_close(c, e, false);
}

static bool orderly(const struct life *l)
{
    static const uint32_t orders = 1u << CLIENT_FIRST | 1u << SERVER_FIRST | 1u << BOTH | 1u << CLIENT_HALF | 1u << SERVER_HALF | 1u << QUEUED | 1u << BOTH_QUEUED;
    return orders >> l->order & 1;
}

static void end_event(struct closes *c, struct end *e, uint32_t events)
{
    if (events & (TCP_EVENT_ACCEPTED | TCP_EVENT_CONNECTED))
        end_opened(c, e);
    if (e->conn != NULL && (events & TCP_EVENT_WRITABLE))
        end_write(e);
    if (e->conn != NULL && (events & TCP_EVENT_READABLE) && tcp_conn_state(e->conn) != TCP_CLOSED)
        end_read(c, e);
    if (e->conn != NULL && (events & TCP_EVENT_FIN) && tcp_conn_state(e->conn) != TCP_CLOSED)
        end_fin(c, e);
    if (e->conn == NULL || !(events & TCP_EVENT_CLOSED))
        return;
    if (orderly(e->life) && tcp_conn_error(e->conn) != TCP_OK)
        die(e->life, "an orderly close failed");
    end_close(c, e, true);
}

static void life_over(struct closes *c, struct life *l)
{
    if (!l->used || l->end[0].conn != NULL || l->end[1].conn != NULL || (orderly(l) && l->end[0].opened && !l->end[1].opened))
        return;
    l->used = false;
    c->alive--;
    c->done[l->order]++;
}

static struct life *life_of(struct closes *c, int h, struct tcp_conn *conn)
{
    const struct base_flow *f = tcp_conn_flow(conn);
    const struct base_addr *server = h == 0 ? &f->remote : &f->local;
    uint32_t at = c->of_port[server->b[15] - 64][h == 0 ? f->local_port : f->remote_port];
    return &c->life[at - 1];
}

static void host_turn(struct closes *c, int h)
{
    struct tcp_event ev;
    while (tcp_next_event(c->net.host[h].tcp, &ev)) {
        struct life *l = life_of(c, h, ev.conn);
        struct end *e = &l->end[h];
        if (ev.events & TCP_EVENT_ACCEPTED) {
            if (!l->used || e->conn != NULL || l->port != tcp_conn_flow(ev.conn)->remote_port) { /* the client has gone already: its place may be another's by now */
                tcp_abort(ev.conn, c->net.now);
                continue;
            }
            e->conn = ev.conn;
        }
        if (e->conn != ev.conn)
            die(l, "an event for a connection that is not ours");
        end_event(c, e, ev.events);
        life_over(c, l);
    }
    tcp_net_flush(&c->net, h);
}

static void life_begin(struct closes *c, struct life *l)
{
    uint32_t place = (uint32_t)c->begun % PLACES;
    enum order order = c->rate ? CLIENT_FIRST : (enum order)(c->begun % ORDERS);
    struct base_flow f = tcp_net_flow(&c->net, 0, order == REFUSED ? NOBODY : PORT);
    f.remote.b[15] = (uint8_t)(64 + place + (order == REFUSED ? PLACES : 0)); /* another port there: the client may use its own twice */
    *l = (struct life){.order = order, .used = true};
    for (int h = 0; h < 2; h++)
        l->end[h] = (struct end){.life = l, .server = h == 1};
    l->end[0].conn = tcp_connect(c->net.host[0].tcp, &f, 0, c->net.now);
    if (l->end[0].conn == NULL)
        die(l, "connect was refused");
    l->port = tcp_conn_flow(l->end[0].conn)->local_port;
    c->of_port[f.remote.b[15] - 64][l->port] = (uint32_t)(l - c->life) + 1;
    c->begun++;
    c->alive++;
    if (order == WHILE_CONNECTING || order == ABORT_WHILE_CONNECTING) {
        end_close(c, &l->end[0], order == ABORT_WHILE_CONNECTING);
        life_over(c, l);
    }
}

static void lives_begin(struct closes *c, uint64_t most, uint32_t at_once)
{
    static uint32_t next;
    for (uint32_t tries = c->lives; tries > 0 && c->begun < most && c->alive < at_once; tries--) {
        struct life *l = &c->life[next++ % c->lives];
        if (!l->used)
            life_begin(c, l);
    }
}

static void turn(struct closes *c, uint64_t ns, bool check)
{
    tcp_net_step(&c->net, ns);
    host_turn(c, 0);
    host_turn(c, 1);
    if (check)
        tcp_net_check(&c->net);
}

static void begin(struct closes *c, uint32_t lives, uint32_t timewait, bool lossy)
{
    static const struct base_addr any;
    struct tcp_config k;
    memset(c, 0, sizeof(*c));
    c->lives = lives;
    c->life = calloc(lives, sizeof(*c->life));
    tcp_net_config(&k, lossy);
    k.connections = 2 * lives + 2000;
    k.syn_backlog = lives + 1000;
    k.timewait = timewait;
    k.port_low = 1024;
    k.user_timeout_ns = k.connect_ns = 300 * S;
    k.keepalive_ns = 20 * S; /* for whom a RST was lost */
    tcp_net_init(&c->net, &k, &k, 5, lossy);
    c->net.quiet_checks = true;
    for (int h = 0; h < 2; h++)
        c->net.link[h] = (struct tcp_net_link){.delay_ns = MS / 2, .loss_ppm = lossy ? 10000 : 0, .reorder_ppm = lossy ? 20000 : 0};
    tcp_listen(c->net.host[1].tcp, &any, PORT, 0);
}

static void finish(struct closes *c)
{
    uint32_t orphans = 0;
    for (int i = 0; i < 400000 && (c->alive > 0 || tcp_connections(c->net.host[0].tcp) + tcp_connections(c->net.host[1].tcp) > 0); i++, orphans++)
        turn(c, tcp_net_next(&c->net, 5 * MS), i % 100 == 0);
    if (c->alive > 0 || tcp_connections(c->net.host[0].tcp) + tcp_connections(c->net.host[1].tcp) > 0)
        die(NULL, "a connection does not end");
    for (int i = 0; i < 130; i++)
        turn(c, S, true);
    for (int h = 0; h < 2; h++) {
        struct stats *s = c->net.host[h].stats;
        for (uint32_t i = 0; i < s->object_count; i++)
            if (*s->objects[i].in_use != 0)
                die(NULL, s->objects[i].kind);
        if (s->drops[STATS_DROP_TCP_NO_PORT] + s->drops[STATS_DROP_TCP_TIMEWAIT_FULL] + s->drops[STATS_DROP_TCP_CONNECTIONS_FULL] != 0)
            die(NULL, "a port, an entry or a connection was not to be had");
        if (!tcp_net_idle(&c->net, h))
            die(NULL, "a timer or a list is left behind");
    }
    tcp_net_fini(&c->net);
    free(c->life);
}

static void orders(uint64_t count, bool lossy)
{
    struct closes *c = &all;
    begin(c, AT_ONCE, 200000, lossy);
    for (uint64_t i = 0; c->begun < count; i++) {
        lives_begin(c, count, AT_ONCE);
        turn(c, tcp_net_next(&c->net, MS), i % 1000 == 0);
    }
    finish(c);
    for (int o = 0; o < ORDERS; o++)
        if (c->done[o] < count / ORDERS)
            die(NULL, names[o]);
}

static void rate(uint32_t per_second, uint32_t seconds)
{
    struct closes *c = &all;
    uint64_t most = 0;
    begin(c, 4000, per_second * (seconds < 60 ? seconds : 61) + 1000, false);
    c->rate = true;
    uint64_t start = c->net.now;
    for (uint64_t i = 0; c->net.now - start < seconds * S; i++) {
        lives_begin(c, (c->net.now - start) * per_second / S, c->lives);
        turn(c, tcp_net_next(&c->net, MS / 10), i % 100000 == 0);
        most = c->alive > most ? c->alive : most;
    }
    uint32_t waiting = *c->net.host[0].stats->objects[1].in_use;
    printf("%llu connections in %u s, at most %llu at once, %u ports in TIME_WAIT at the end\n", (unsigned long long)c->begun, seconds, (unsigned long long)most, waiting);
    if (c->begun + c->lives < (uint64_t)per_second * seconds)
        die(NULL, "fewer than that");
    finish(c);
}

int main(int argc, char **argv)
{
    if (argc == 4) {
        rate((uint32_t)strtoul(argv[2], NULL, 10), (uint32_t)strtoul(argv[3], NULL, 10));
        return 0;
    }
    const char *whole = getenv("PENSTOCK_LONG");
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000;
    if (whole != NULL && whole[0] != 0) {
        count = 100000;
        rate(20000, 60);
    }
    orders(count / 2, false);
    orders(count / 2, true);
    printf("%llu connections in %d orders\n", (unsigned long long)count, ORDERS);
    return 0;
}
