#include "front.h"

#include <stdlib.h>

enum { SOCKETS = 64, FRAME = 2048 };

struct front_socket {
    struct front *front;
    struct tcp_conn *conn; /* NULL: free */
    bool open, fin, failed, waiting; /* waiting: to be accepted */
};

struct front {
    struct front_device device;
    struct ip *ip;
    struct tcp *tcp;
    struct stats *stats;
    struct packet_pool *pool, *rx_pool;
    void *memory;
    size_t size;
    uint64_t now;
    struct front_socket socket[SOCKETS];
};

struct front *front_create(const struct front_device *device, const struct tcp_config *tcp, const char *address, uint64_t seed, uint64_t now)
{
    struct front *f = calloc(1, sizeof(*f));
    struct base_arena a;
    struct ip_config ic;
    struct ip_port_config pc = {.mac = {2, 0, 0, 0, 0, 1}, .mtu = tcp->mtu, .addresses = 1};
    char text[64] = "";
    strncat(text, address, sizeof(text) - 1);
    char *slash = strchr(text, '/');
    pc.address[0].bits = (uint8_t)atoi(slash + 1);
    *slash = 0;
    base_addr_parse(text, &pc.address[0].addr);
    ip_config_defaults(&ic);
    ic.ports = 1;
    ic.key = (struct base_hash_key){{base_mix64(seed), base_mix64(seed + 1)}};
    f->size = base_align(ip_footprint(&ic)) + base_align(tcp_footprint(tcp)) + base_align(stats_footprint(1, 1));
    f->memory = aligned_alloc(64, f->size);
    memset(f->memory, 0, f->size);
    base_arena_init(&a, f->memory, f->size);
    struct stats *stats = stats_create(&a, 1, 1);
    f->pool = packet_pool_create("front", 16384, PACKET_ROOM, 0);
    f->rx_pool = packet_pool_create("front_rx", 4096, PACKET_ROOM, 0);
    f->stats = stats;
    f->device = *device;
    f->now = now;
    f->ip = ip_create(&a, &ic, stats, f->pool, now);
    f->tcp = tcp_create(&a, tcp, stats, f->pool, now);
    ip_configure(f->ip, 0, &pc, now);
    return f;
}

static struct front_socket *socket_new(struct front *f, struct tcp_conn *c)
{
    for (int i = 0; i < SOCKETS; i++)
        if (f->socket[i].conn == NULL) {
            f->socket[i] = (struct front_socket){.front = f, .conn = c};
            tcp_conn_user_set(c, &f->socket[i]);
            return &f->socket[i];
        }
    tcp_abort(c, f->now);
    return NULL;
}

static void input(struct front *f)
{
    uint8_t frame[FRAME];
    struct ip_result r;
    for (uint32_t n, left = 256; left > 0 && (n = f->device.receive(f->device.ctx, frame, sizeof(frame))) > 0; left--) {
        struct packet *p = packet_alloc(f->rx_pool);
        if (p == NULL)
            continue;
        memcpy(packet_append(p, n), frame, n);
        enum ip_verdict v = ip_input(f->ip, 0, p, f->now, &r);
        if (v == IP_TCP)
            tcp_input(f->tcp, &r.flow, p, f->now);
        else if (v == IP_TCP_ERROR)
            tcp_icmp_error(f->tcp, &r.flow, r.seq, r.hard, r.mtu, f->now);
    }
    ip_tick(f->ip, f->now);
    while (ip_unreachable_next(f->ip, &r))
        tcp_icmp_error(f->tcp, &r.flow, r.seq, r.hard, r.mtu, f->now);
    tcp_tick(f->tcp, f->now);
}

static void events(struct front *f)
{
    struct tcp_event ev;
    while (tcp_next_event(f->tcp, &ev)) {
        struct front_socket *s = tcp_conn_user(ev.conn);
        if (ev.events & TCP_EVENT_ACCEPTED) {
            s = socket_new(f, ev.conn);
            if (s == NULL)
                continue;
            s->waiting = true;
        }
        s->open |= (ev.events & (TCP_EVENT_ACCEPTED | TCP_EVENT_CONNECTED)) != 0;
        s->fin |= (ev.events & TCP_EVENT_FIN) != 0;
        s->failed |= (ev.events & TCP_EVENT_CLOSED) != 0 && tcp_conn_error(ev.conn) != TCP_OK;
    }
}

static void send(struct front *f, struct packet *p)
{
    f->device.send(f->device.ctx, packet_data(p), packet_len(p));
    packet_free(p);
}

static void output(struct front *f)
{
    struct tcp_out out[64];
    uint16_t port;
    for (uint32_t n; (n = tcp_output(f->tcp, out, 64, f->now)) > 0;)
        for (uint32_t i = 0; i < n; i++)
            if (ip_output(f->ip, &out[i].flow, out[i].packet, f->now))
                send(f, out[i].packet);
    for (struct packet *p; (p = ip_output_next(f->ip, &port)) != NULL;)
        send(f, p);
}

void front_poll(struct front *f, uint64_t now)
{
    f->now = now;
    input(f);
    events(f);
    output(f);
}

void front_destroy(struct front *f)
{
    for (int i = 0; i < SOCKETS; i++)
        if (f->socket[i].conn != NULL)
            tcp_abort(f->socket[i].conn, f->now);
    output(f);
    ip_destroy(f->ip);
    for (struct tcp_conn *c; (c = tcp_conn_next(f->tcp, NULL)) != NULL;) { /* orphans: time goes by until they give up */
        f->now += 1000000000;
        tcp_tick(f->tcp, f->now);
        struct tcp_out out[64];
        for (uint32_t n; (n = tcp_output(f->tcp, out, 64, f->now)) > 0;)
            for (uint32_t i = 0; i < n; i++)
                packet_free(out[i].packet);
    }
    if (packet_pool_in_use(f->pool) != 0 || packet_pool_in_use(f->rx_pool) != 0)
        abort();
    packet_pool_destroy(f->pool);
    packet_pool_destroy(f->rx_pool);
    base_unpoison(f->memory, f->size);
    free(f->memory);
    free(f);
}

bool front_listen(struct front *f, uint16_t port)
{
    static const struct base_addr any;
    return tcp_listen(f->tcp, &any, port, 0);
}

struct front_socket *front_accept(struct front *f)
{
    for (int i = 0; i < SOCKETS; i++)
        if (f->socket[i].conn != NULL && f->socket[i].waiting) {
            f->socket[i].waiting = false;
            return &f->socket[i];
        }
    return NULL;
}

struct front_socket *front_connect(struct front *f, const char *address, uint16_t port)
{
    struct base_flow flow = {.remote_port = port};
    if (!base_addr_parse(address, &flow.remote) || !ip_source_for(f->ip, &flow.remote, &flow.local, &flow.port))
        return NULL;
    struct tcp_conn *c = tcp_connect(f->tcp, &flow, 0, f->now);
    return c != NULL ? socket_new(f, c) : NULL;
}

long front_read(struct front_socket *s, void *data, size_t n)
{
    const uint8_t *at;
    size_t done = 0, k;
    while (done < n && (k = tcp_read_peek(s->conn, &at)) > 0) {
        k = k < n - done ? k : n - done;
        memcpy((uint8_t *)data + done, at, k);
        tcp_read_consume(s->conn, k);
        done += k;
    }
    return done > 0 ? (long)done : s->failed ? FRONT_FAILED : s->fin ? 0 : FRONT_AGAIN;
}

long front_write(struct front_socket *s, const void *data, size_t n)
{
    if (s->failed)
        return FRONT_FAILED;
    size_t k = s->open ? tcp_write(s->conn, data, n) : 0;
    return k > 0 ? (long)k : FRONT_AGAIN;
}

void front_shutdown(struct front_socket *s)
{
    tcp_shutdown(s->conn, s->front->now);
}

void front_close(struct front_socket *s)
{
    tcp_close(s->conn, s->front->now);
    s->conn = NULL;
}

void front_abort(struct front_socket *s)
{
    tcp_abort(s->conn, s->front->now);
    s->conn = NULL;
}

bool front_is_open(const struct front_socket *s)
{
    return s->open;
}

uint32_t front_in_use(const struct front *f, const char *kind)
{
    for (uint32_t i = 0; i < f->stats->object_count; i++)
        if (strcmp(f->stats->objects[i].kind, kind) == 0)
            return *f->stats->objects[i].in_use;
    return UINT32_MAX;
}

void front_info(const struct front_socket *s, struct tcp_info *info)
{
    tcp_conn_info(s->conn, info);
}
