/* stream: one stream of a cell.  The relay runs here, and our end where there is one; a kernel's end is a process of its own. */
#include "grid.h"
#include "relay.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct run {
    const struct cell *cell;
    struct relay *relay;
    uint64_t now;
    int fd[2], sock[2]; /* -1: ours */
    int ours;           /* which end; -1: none */
    struct front *front;
    struct load *load;
    struct result *result;
    uint64_t next;
};

static void ours_send(void *ctx, const uint8_t *frame, uint32_t len)
{
    struct run *r = ctx;
    relay_put(r->relay, r->ours, frame, len, r->now);
}

static uint32_t ours_receive(void *ctx, uint8_t *frame, uint32_t room)
{
    struct run *r = ctx;
    return relay_get(r->relay, r->ours, frame, room, r->now);
}

static void ours_open(struct run *r)
{
    struct front_device device = {r, ours_send, ours_receive};
    const struct cell *cell = r->cell;
    struct tcp_config c;
    memset(&c, 0, sizeof(c));
    tcp_config_defaults(&c);
    c.connections = cell->connections + 16, c.timewait = cell->connections + 16, c.listeners = 2, c.syn_backlog = cell->connections + 8;
    c.mtu = 1500;
    c.rto_ns_min = cell->rto_ns_min;
    c.rcvbuf = 6 << 20; /* as large as Linux's may grow: tcp_rmem, tcp_wmem */
    c.sndbuf = 4 << 20;
    c.reassembly = 4096;
    c.isn_key.k[0] = base_mix64(cell->seed + 99);
    r->front = front_create(&device, &c, r->ours == 0 ? "198.18.0.1/24" : "198.18.0.2/24", cell->seed, r->now);
    r->load = load_create(cell, r->ours, r->result, r->now);
    if (r->ours == 1)
        front_listen(r->front, PORT);
    while (r->ours == 0 && (!load_full(r->load))) {
        struct front_socket *s = front_connect(r->front, "198.18.0.2", PORT);
        if (s == NULL)
            die("connect");
        load_add(r->load, (struct io){.ours = s}, r->now);
    }
}

static void ours_turn(struct run *r)
{
    struct front_socket *s;
    front_poll(r->front, r->now);
    while (r->ours == 1 && !load_full(r->load) && (s = front_accept(r->front)) != NULL)
        load_add(r->load, (struct io){.ours = s}, r->now);
    r->next = load_turn(r->load, r->now);
    front_poll(r->front, r->now);
}

static void pump(struct run *r)
{
    static uint8_t frame[4096];
    for (int i = 0; i < 2; i++) {
        ssize_t n;
        uint32_t k;
        if (r->fd[i] < 0)
            continue;
        for (int left = 128; left > 0 && (n = read(r->fd[i], frame, sizeof(frame))) > 0; left--)
            relay_put(r->relay, i, frame, (uint32_t)n, r->now);
        while ((k = relay_get(r->relay, i, frame, sizeof(frame), r->now)) > 0)
            if (write(r->fd[i], frame, k) < 0 && errno != EAGAIN)
                die("write to tap");
    }
    if (r->front != NULL)
        ours_turn(r);
}

static void wait_for_work(struct run *r)
{
    uint64_t next = relay_next(r->relay), most = r->front != NULL ? MS / 2 : 5 * MS;
    next = next < r->next ? next : r->next;
    uint64_t wait = next <= r->now ? 0 : next - r->now < most ? next - r->now : most;
    struct timespec t = {0, (long)wait};
    struct pollfd p[2] = {{r->fd[0], POLLIN, 0}, {r->fd[1], POLLIN, 0}};
    ppoll(p, 2, &t, NULL);
    r->now = clock_now();
}

static uint64_t patience(const struct cell *c)
{
    return c->form == FORM_TIMED ? c->seconds + 30 : c->form == FORM_WHOLE ? 900 : 60 + c->rpcs * c->rtt_us / 200000;
}

void stream_run(const struct cell *c, enum kind kind, struct result *result)
{
    uint64_t bdp = 12500 * c->rtt_us / 1000;
    struct relay_link link = {.delay_ns = c->rtt_us * 500, .reorder_ns = c->rtt_us * 250, .loss_ppm = c->loss_ppm, .reorder_ppm = c->reorder ? 20000 : 0,
                              .rate_bps = 100000000, .queue_bytes = bdp > 65536 ? (uint32_t)bdp : 65536, .seed = c->seed,
                              .late_ns = c->rtt_us >= 20000 ? c->rtt_us * 50 : MS};
    struct run r = {.cell = c, .relay = relay_create(&link), .fd = {-1, -1}, .sock = {-1, -1}, .result = result, .next = UINT64_MAX};
    r.ours = kind == OURS_TO_LINUX ? 0 : kind == LINUX_TO_OURS ? 1 : -1;
    for (int i = 0; i < 2; i++)
        if (i != r.ours)
            r.fd[i] = kernel_end(i, c, result, &r.sock[i]);
    r.now = clock_now();
    if (r.ours >= 0)
        ours_open(&r);
    for (int i = 1; i >= 0; i--)
        if (r.sock[i] >= 0 && write(r.sock[i], "g", 1) != 1)
            die("write");
    uint64_t end = r.now + patience(c) * S;
    do {
        wait_for_work(&r);
        pump(&r);
    } while (!atomic_load(&result->done) && r.now <= end);
    relay_late(r.relay, &result->frames, &result->late);
    if (r.front != NULL)
        front_destroy(r.front);
    relay_destroy(r.relay);
}
