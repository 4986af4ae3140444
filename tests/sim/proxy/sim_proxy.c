/* The gateway under a random life: calls of every kind, cancels, resets, deadlines, endpoints that come and go, connections cut, links that lose.
 * A seed decides it all.
 *
 * Whatever happens: every call ends once; a status of 0 means that every byte was there; a gRPC call is never reset by the gateway, and is lost
 * only with its client's connection; no call reaches two backends; and in the end the gateway holds nothing.
 *
 * usage: sim_proxy FIRST COUNT [verbose] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/rig.h"
#include "lib/world.h"

struct sim {
    struct rig *r;
    uint64_t seed;
    uint32_t clients, backends, actions;
    struct snapshot_method method; /* of the policy, if there is one */
    bool tight; /* the gateway has few of everything */
    bool present[RIG_SLOTS];  /* slot i: backend i */
    uint64_t removed[RIG_SLOTS]; /* with this generation */
    bool disconnected[RIG_CALLS]; /* its client's connection was cut on purpose after the call began */
};

#define FAIL(...) (fprintf(stderr, "seed %lu: ", (unsigned long)m->seed), fprintf(stderr, __VA_ARGS__), fputc('\n', stderr), exit(1))

static uint32_t pick(struct sim *m, uint32_t below)
{
    return rig_random(m->r, below);
}

static uint32_t size(struct sim *m)
{
    switch (pick(m, 8)) {
    case 0:
        return 0;
    case 1:
        return 60000 + pick(m, 200000);
    case 2:
    case 3:
        return 1000 + pick(m, 20000);
    default:
        return pick(m, 600);
    }
}

static void start_call(struct sim *m)
{
    static const char *const timeouts[] = {"1m", "5m", "20m", "200m", "1S"};
    struct rig_script s = {.act = RIG_ANSWER, .request = size(m), .response = size(m)};
    if (pick(m, 2) == 0)
        s.act = (enum rig_act)pick(m, RIG_ACTS);
    if (s.act >= RIG_CLOSE && s.act <= RIG_GOAWAY_ANSWER && pick(m, 3) != 0)
        s.act = RIG_ECHO;
    s.again = pick(m, 3) == 0 ? s.act : RIG_ANSWER;
    s.third = pick(m, 3) == 0 ? RIG_ECHO : RIG_ANSWER;
    s.may_run_again = m->method.retry.attempts > 0;
    s.early = pick(m, 6) == 0;
    s.lingers = pick(m, 10) == 0;
    s.headers_first = s.act == RIG_RESET || s.act == RIG_CLOSE || s.act == RIG_ABORT || s.act == RIG_HANG ? pick(m, 2) : 0;
    s.partial = s.headers_first ? pick(m, 5000) : 0;
    s.plain = pick(m, 6) == 0;
    s.informational = (uint8_t)(pick(m, 6) == 0 ? pick(m, 4) : 0);
    s.metadata = pick(m, 6) == 0 ? pick(m, 12000) : 0;
    s.grpc_status = (uint8_t)(pick(m, 4) == 0 ? pick(m, 17) : 0);
    s.status_again = s.grpc_status;
    s.code = (enum http2_error)pick(m, 14);
    s.delay_ns = pick(m, 3) == 0 ? pick(m, 50) * RIG_MS : 0;
    s.request_trailers = pick(m, 12) == 0;
    s.no_read = pick(m, 20) == 0;
    s.no_credit = pick(m, 20) == 0;
    s.never_ends = pick(m, 20) == 0;
    bool may_hang = s.act == RIG_HANG || s.no_read || s.no_credit || s.never_ends;
    if (may_hang || pick(m, 5) == 0)
        s.timeout = timeouts[pick(m, 5)];
    if (pick(m, 10) == 0 || s.no_read)
        s.cancel_ns = RIG_MS + pick(m, 1000) * RIG_MS;
    if (pick(m, 25) == 0)
        s.path = pick(m, 2) ? "/no.where/" : "/two.Two/Call";
    rig_start(rig_client(m->r, pick(m, m->clients)), &s);
}

static void cut_client(struct sim *m, uint32_t i)
{
    struct rig_host *h = rig_client(m->r, i);
    for (uint32_t k = 0; k < m->r->call_count; k++)
        if (m->r->call[k]->client == h && m->r->call[k]->ends == 0)
            m->disconnected[k] = true;
    rig_disconnect(h, pick(m, 2));
    rig_connect(h);
}

static void endpoint(struct sim *m)
{
    uint32_t i = pick(m, m->backends);
    if (m->present[i] && pick(m, 3) == 0) { /* another worker's, or ours again */
        world_endpoint(m->r->world, i)->spared ^= 1;
        rig_touch(m->r);
        return;
    }
    if (m->present[i]) {
        rig_remove(m->r, 0, i);
        m->present[i] = false;
        m->removed[i] = m->r->world->s.generation;
        return;
    }
    /* A slot is used again when it is empty; before that only by the same endpoint. */
    if (m->r->empty_generation[i] >= m->removed[i])
        rig_add(m->r, 0, i, i, 1 + pick(m, 5));
    else
        rig_add_again(m->r, 0, i);
    m->present[i] = true;
}

/* What is broken is mended soon. */
static void mend(struct sim *m)
{
    for (uint32_t i = 0; i < m->backends; i++) {
        struct rig_host *b = rig_backend(m->r, i);
        b->cut &= pick(m, 4) != 0;
        b->deaf &= pick(m, 4) != 0;
        b->mute &= pick(m, 4) != 0;
    }
    for (uint32_t i = 0; i < m->clients; i++) {
        struct rig_host *c = rig_client(m->r, i);
        c->deaf &= pick(m, 4) != 0;
        if (c->session == NULL)
            rig_connect(c);
    }
}

static void disturb(struct sim *m)
{
    struct rig *r = m->r;
    struct rig_host *b = rig_backend(r, pick(m, m->backends));
    switch (pick(m, 10)) {
    case 0:
        cut_client(m, pick(m, m->clients));
        return;
    case 1:
    case 2:
        endpoint(m);
        return;
    case 3:
        rig_kill(b, pick(m, 2));
        return;
    case 4:
        rig_goaway(b);
        return;
    case 5:
        b->cut = true;
        return;
    case 6:
        b->deaf = true;
        return;
    case 7:
        rig_client(r, pick(m, m->clients))->deaf = true;
        return;
    case 8:
        b->mute = true;
        return;
    default:
        r->mailbox_stuck = !r->mailbox_stuck;
    }
}

static void act(struct sim *m)
{
    if (pick(m, 12) == 0)
        disturb(m);
    else if (pick(m, 8) == 0)
        mend(m);
    else if (pick(m, 12) == 0 && m->r->call_count > 0)
        rig_cancel(m->r->call[pick(m, m->r->call_count)]);
    else
        for (uint32_t n = pick(m, 4) ? 1 : pick(m, 20); n > 0; n--)
            start_call(m);
}

static void look(struct sim *m, uint32_t i)
{
    struct rig_call *c = m->r->call[i];
    const struct rig_script *s = &c->script;
    if (c->ends != 1) {
        rig_is(c, 0);
        rig_print(m->r);
        FAIL("call %u ended %u times (act %d)", i, c->ends, s->act);
    }
    if (c->bad_bytes || c->up_bad_bytes)
        FAIL("call %u: wrong bytes", i);
    if (c->cancelled)
        return;
    if (c->lost && !m->disconnected[i] && !m->tight)
        FAIL("call %u was lost", i);
    if (c->lost)
        return;
    if (m->tight && c->reset && (c->reset_code == HTTP2_REFUSED_STREAM || c->headers)) {
        bool own = s->code == HTTP2_REFUSED_STREAM && c->headers; /* the backend's word, behind a plain answer's head: passed on as it is */
        if (c->reset_code == HTTP2_REFUSED_STREAM && c->up_seen && !own)
            FAIL("call %u was refused, and a backend has seen it", i);
        return;
    }
    if (c->reset && !s->plain)
        FAIL("call %u was reset (%u)", i, c->reset_code);
    if (!c->reset && c->http_status < 0)
        FAIL("call %u has no status", i);
    if (!s->plain && !c->reset && c->grpc_status < 0 && s->act != RIG_DATA_END)
        FAIL("call %u has no grpc-status", i);
    bool answered = c->reason[0] == 0 && !c->reset;
    if (answered && (s->act == RIG_ANSWER || s->act == RIG_DATA_END || s->act == RIG_GOAWAY_ANSWER) && c->got != s->response)
        FAIL("call %u: %u bytes of %u", i, c->got, s->response);
    if (answered && s->act == RIG_ECHO && !c->trailers && s->request > 0)
        FAIL("call %u: an echo without trailers", i);
    if (answered && s->act == RIG_ECHO && c->got != c->up_got)
        FAIL("call %u: echo of %u, %u bytes", i, c->up_got, c->got);
    if (answered && !s->plain && c->grpc_status >= 0 && c->grpc_status != s->grpc_status)
        FAIL("call %u: status %d of %u", i, c->grpc_status, s->grpc_status);
}

static void setup(struct sim *m, uint64_t seed)
{
    uint64_t d = base_mix64(seed ^ 0x5eed);
    struct rig_config c;
    rig_config_defaults(&c);
    c.seed = seed;
    c.clients = m->clients = 1 + (uint32_t)(d % 3);
    c.backends = m->backends = 1 + (uint32_t)(d >> 8) % 5;
    c.loss_ppm = (d >> 16) % 3 == 0 ? (uint32_t)(d >> 24) % 40000 : 0;
    c.jitter_ns = (d >> 20) % 3 == 0 ? 300000 : 0;
    c.stream_window = (d >> 36) % 3 == 0 ? 0 : 200000u << (d >> 38) % 5;
    c.window_budget = (d >> 34) % 3 == 0 ? 100000 : 0;
    m->actions = 20 + (uint32_t)(d >> 32) % 100;
    m->tight = (d >> 40) % 4 == 0;
    if (m->tight) {
        c.connections = 2 + (uint32_t)(d >> 42) % 12;
        c.streams = 2 + (uint32_t)(d >> 46) % 30;
        c.session_streams = c.streams + (uint32_t)(d >> 50) % 30;
        c.tcp_connections = 3 + (uint32_t)(d >> 54) % 20;
        c.packets = 100 + (uint32_t)(d >> 44) % 400;
    }
    m->r = rig_create(&c);
    m->r->stride = 3 * RIG_MS;
    static const uint32_t windows[] = {65535, 65535, 65535, 1000, 20000, 1 << 20};
    static const uint32_t limits[] = {1, 3, 10, 100, 1000, 1000};
    for (uint32_t i = 0; i < c.clients; i++) {
        rig_client(m->r, i)->h2.initial_window = windows[pick(m, 6)];
        rig_client(m->r, i)->h2.conn_window = pick(m, 2) ? 65535 : 1 << 20;
        rig_connect(rig_client(m->r, i));
    }
    struct snapshot_cluster *k = m->r->world->s.cluster[0];
    k->policy = pick(m, 2) ? SNAPSHOT_WEIGHTED_ROUND_ROBIN : SNAPSHOT_ROUND_ROBIN;
    k->connections_per_endpoint = 1 + pick(m, 3);
    k->max_connections_per_endpoint = k->connections_per_endpoint + pick(m, 3);
    k->no_ready_queue = pick(m, 2);
    k->no_ready_max = 1 + pick(m, 50);
    k->no_ready_timeout_ns = RIG_MS + pick(m, 2000) * RIG_MS;
    if (pick(m, 2)) {
        m->method = (struct snapshot_method){.match = SNAPSHOT_ANY, .retry = {.attempts = 2 + pick(m, 4), .codes = pick(m, 1 << 17), .initial_ns = RIG_MS + pick(m, 200) * RIG_MS,
                                                                               .max_ns = RIG_S, .factor_x1024 = 1024 + pick(m, 2000)}};
        k->methods = &m->method;
        k->method_count = 1;
        k->throttle_max = pick(m, 2) * pick(m, 100) * 1000;
        k->throttle_ratio = 100;
    }
    k->backoff_base_ns = 20 * RIG_MS;
    k->backoff_max_ns = 200 * RIG_MS;
    k->connect_timeout_ns = 100 * RIG_MS;
    for (uint32_t i = 0; i < c.backends; i++) {
        rig_backend(m->r, i)->h2.initial_window = windows[pick(m, 6)];
        rig_backend(m->r, i)->h2.max_concurrent_streams = limits[pick(m, 6)];
        rig_add(m->r, 0, i, i, 1 + pick(m, 5));
        m->present[i] = true;
    }
    rig_run(m->r, 5 * RIG_MS);
}

static void run(uint64_t seed, bool verbose)
{
    static struct sim sim;
    struct sim *m = &sim;
    memset(m, 0, sizeof(*m));
    m->seed = seed;
    setup(m, seed);
    struct rig *r = m->r;
    for (uint32_t i = 0; i < m->actions; i++) {
        act(m);
        if (m->tight && pick(m, 10) == 0)
            rig_gateway(r)->pool->fail_at = (int32_t)pick(m, 200);
        for (uint32_t k = pick(m, 12); k > 0; k--)
            rig_step(r, pick(m, 4) ? 100000 : pick(m, 20) * RIG_MS);
    }
    /* Lossy links may have ended a client's connection: its calls are lost rightly. */
    rig_heal(r);
    r->stride = 10 * RIG_MS;
    for (uint32_t i = 0; i < 1500 && !rig_done(r); i++) {
        rig_run(r, 40 * RIG_MS);
        if (i % 50 == 49)
            rig_sweep(r);
        for (uint32_t c = 0; c < m->clients; c++)
            if (rig_client(r, c)->session == NULL)
                rig_connect(rig_client(r, c));
        if (m->tight && i > 250) /* too few connections for all of them */
            for (uint32_t k = 0; k < r->call_count; k++)
                if (!r->call[k]->opened)
                    rig_cancel(r->call[k]);
    }
    for (uint32_t i = 0; i < r->call_count; i++)
        look(m, i);
    uint32_t statuses[18] = {0};
    for (uint32_t i = 0; i < r->call_count; i++)
        statuses[r->call[i]->grpc_status < 0 ? 17 : r->call[i]->grpc_status]++;
    if (verbose)
        printf("seed %lu: %u calls, %u steps; ok %u, cancelled %u, deadline %u, unavailable %u, other %u\n", (unsigned long)seed, r->call_count,
               r->steps, statuses[0], statuses[1], statuses[4], statuses[14], statuses[17]);
    rig_run(r, 300 * RIG_MS);
    rig_sweep(r);
    rig_run(r, 100 * RIG_MS);
    struct stats *st = rig_gateway(r)->stats;
    for (uint32_t i = 0; i < 3; i++)
        if (stats_read(&st->clusters[i].started[0]) != stats_read(&st->clusters[i].duration.count))
            FAIL("cluster %u: %lu calls begun, %lu ended", i, (unsigned long)stats_read(&st->clusters[i].started[0]),
                 (unsigned long)stats_read(&st->clusters[i].duration.count));
    for (uint32_t i = 0; i < RIG_SLOTS; i++)
        if (stats_read(&st->slots[i].active) != 0 || picker_active(r->picker, i) != 0)
            FAIL("slot %u still counts a stream", i);
    if (!rig_destroy(r))
        FAIL("something was left");
}

int main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1, count = argc > 2 ? strtoull(argv[2], NULL, 0) : 100;
    for (uint64_t i = 0; i < count; i++)
        run(first + i, argc > 3);
    printf("%lu seeds from %lu\n", (unsigned long)count, (unsigned long)first);
    return 0;
}
