/* Our side: the room tcp alone, on a virtual clock. */
#include "play.h"

#include "lib/tcp_net.h"

#include <stdlib.h>

#define STACK_PORT 80
#define STEP_NS    1000000ull

struct ours {
    const struct sequence *s;
    struct trace *t;
    struct tcp_net_host host;
    struct base_flow flow;
    struct tcp_conn *conn, *others[EVENTS]; /* others: nobody accepts them */
    uint32_t other_count, next, tick;
    uint64_t now;
    bool error;
};

static void turn(struct ours *x, bool prompt)
{
    struct tcp_event ev;
    struct tcp_out out[16];
    tcp_tick(x->host.tcp, x->now);
    while (tcp_next_event(x->host.tcp, &ev))
        if ((ev.events & TCP_EVENT_ACCEPTED) && x->conn == NULL)
            x->conn = ev.conn;
        else if (ev.conn != x->conn && (ev.events & TCP_EVENT_ACCEPTED) && x->other_count < EVENTS)
            x->others[x->other_count++] = ev.conn;
    for (uint32_t n; (n = tcp_output(x->host.tcp, out, 16, x->now)) > 0;)
        for (uint32_t i = 0; i < n; i++) {
            wire_note(x->s, x->t, x->tick, x->next - 1, prompt, packet_data(out[i].packet), packet_len(out[i].packet));
            packet_free(out[i].packet);
        }
    tcp_check(x->host.tcp);
}

static void app_read(struct ours *x, size_t most)
{
    const uint8_t *at;
    for (size_t n; most > 0 && (n = tcp_read_peek(x->conn, &at)) > 0; most -= n) {
        n = n < most ? n : most;
        wire_read(x->t, at, n);
        tcp_read_consume(x->conn, n);
    }
}

static void app_do(struct ours *x, const struct event *e)
{
    static uint8_t data[100000];
    if (x->conn == NULL)
        return;
    if (e->kind == WRITE)
        x->t->written += (uint32_t)tcp_write(x->conn, data, e->n);
    if (e->kind == READ)
        app_read(x, e->n);
    if (e->kind == SHUTDOWN)
        tcp_shutdown(x->conn, x->now);
    if (e->kind == CLOSE)
        tcp_close(x->conn, x->now), x->conn = NULL;
    if (e->kind == ABORT)
        tcp_abort(x->conn, x->now), x->conn = NULL;
}

static void event_do(struct ours *x, const struct event *e)
{
    uint8_t b[2048];
    if (e->kind == OPEN) {
        x->conn = tcp_connect(x->host.tcp, &x->flow, 0, x->now);
    } else if (e->kind == SEGMENT) {
        uint32_t n = wire_write(x->s, e, x->t, STACK_PORT, b);
        struct packet *p = packet_alloc(x->host.rx_pool);
        memcpy(packet_append(p, n), b, n);
        tcp_input(x->host.tcp, &x->flow, p, x->now);
    } else {
        app_do(x, e);
    }
    turn(x, true);
}

static void mark(struct ours *x, uint32_t interval)
{
    static const uint8_t states[] = {[TCP_CLOSED] = APP_CLOSED, [TCP_SYN_SENT] = APP_SYN_SENT, [TCP_SYN_RECEIVED] = APP_SYN_RECEIVED,
                                     [TCP_ESTABLISHED] = APP_ESTABLISHED, [TCP_FIN_WAIT_1] = APP_FIN_WAIT_1, [TCP_FIN_WAIT_2] = APP_FIN_WAIT_2,
                                     [TCP_CLOSE_WAIT] = APP_CLOSE_WAIT, [TCP_CLOSING] = APP_CLOSING, [TCP_LAST_ACK] = APP_LAST_ACK, [TCP_TIME_WAIT] = APP_CLOSED};
    struct mark *m = &x->t->mark[interval];
    struct tcp_info info;
    *m = (struct mark){.hash = x->t->hash, .received = x->t->read};
    if (x->conn == NULL)
        return;
    tcp_conn_info(x->conn, &info);
    m->state = states[info.state];
    m->error = tcp_conn_error(x->conn) != TCP_OK;
    m->received += info.unread;
}

static void until(struct ours *x, uint64_t start, uint32_t tick)
{
    while (x->now < start + tick * TICK_NS) {
        x->now += tcp_idle(x->host.tcp) ? start + tick * TICK_NS - x->now : STEP_NS;
        if (x->now == start + tick * TICK_NS)
            break;
        x->tick = (uint32_t)((x->now - start) / TICK_NS);
        turn(x, false);
    }
    x->tick = tick;
}

static void finish(struct ours *x)
{
    struct tcp_out out[16];
    struct tcp_event ev;
    if (x->conn != NULL)
        tcp_abort(x->conn, x->now);
    while (x->other_count > 0)
        tcp_abort(x->others[--x->other_count], x->now);
    for (int i = 0; i < 400; i++) {
        x->now += 1000000000;
        tcp_tick(x->host.tcp, x->now);
        while (tcp_next_event(x->host.tcp, &ev))
            tcp_abort(ev.conn, x->now);
        for (uint32_t n; (n = tcp_output(x->host.tcp, out, 16, x->now)) > 0;)
            for (uint32_t k = 0; k < n; k++)
                packet_free(out[k].packet);
    }
    if (tcp_connections(x->host.tcp) != 0)
        abort();
    tcp_net_host_fini(&x->host);
}

void rooms_play(const struct sequence *s, struct trace *t)
{
    static const struct base_addr any;
    struct ours x = {.s = s, .t = t};
    struct tcp_config c;
    memset(t, 0, sizeof(*t));
    tcp_net_config(&c, s->seed);
    c.sndbuf = 1 << 20;
    uint64_t start = x.now = 5000000000000ull;
    tcp_net_host_init(&x.host, &c, x.now);
    base_addr_parse("198.18.0.1", &x.flow.local);
    base_addr_parse("198.19.0.1", &x.flow.remote);
    x.flow.local_port = STACK_PORT, x.flow.remote_port = PEER_PORT;
    if (s->listen)
        tcp_listen(x.host.tcp, &any, STACK_PORT, 0);
    for (uint32_t i = 0; i < s->count; i++) {
        until(&x, start, s->event[i].tick);
        if (i > 0) {
            turn(&x, false);
            mark(&x, i - 1);
        }
        x.next = i + 1;
        event_do(&x, &s->event[i]);
    }
    until(&x, start, s->end);
    turn(&x, false);
    mark(&x, s->count - 1);
    finish(&x);
}
