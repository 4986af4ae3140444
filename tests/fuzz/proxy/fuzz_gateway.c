/* The whole gateway between a client and a backend that say what the input says: frames with and without sense, on both sides, between steps of time.
 *
 * The input is a list of records of eight octets, one an act; the mutator moves, doubles, drops and changes records, so that what a run has learnt
 * (an open stream, an answer under way) stays.  What the gateway says is judged on the wire by an independent book of stream states and windows
 * (tests/lib/http2/wire.h); what it thinks by tcp_check(), http2_conn_check() and the rig's counts, after every step.  In the end it must be empty. */
#include "lib/http2/wire.h"
#include "lib/rig.h"
#include "lib/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORD 8
#define RECORDS_MAX 256
#define CHUNK 65536

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct side {
    struct rig_host *host;
    struct wire wire;
    struct tcp_conn *conn;
    uint8_t chunk[CHUNK];
    size_t n;
    uint32_t order;
    uint32_t next; /* stream that the client opens next */
};

#define BACKENDS 4 /* connections of the gateway's at once: one may be draining */
static struct side client, backends[BACKENDS];
static struct rig_host *backend_host;

struct record {
    uint8_t op, id, a, b, c, d, e, f;
};

static void greet(struct side *s);

static void begun(struct side *s, struct rig_host *host, struct tcp_conn *conn)
{
    static uint32_t order;
    s->host = host;
    s->conn = conn;
    s->n = 0;
    s->next = 1;
    s->order = order++;
    wire_init(&s->wire, s == &client ? "to the client" : "to the backend", s == &client);
    greet(s);
}

static struct side *side_of(struct rig_host *h, struct tcp_conn *c)
{
    struct side *unused = NULL;
    if (h == client.host)
        return client.conn == c ? &client : NULL;
    for (int i = 0; i < BACKENDS; i++) {
        if (backends[i].conn == c)
            return &backends[i];
        if (backends[i].conn == NULL)
            unused = &backends[i];
    }
    if (unused != NULL)
        begun(unused, h, c); /* the gateway has connected anew */
    return unused;
}

static void take(struct rig_host *h, struct tcp_conn *c, const uint8_t *bytes, size_t n)
{
    struct side *s = side_of(h, c);
    if (s == NULL)
        return;
    if (n > 0) {
        wire_out(&s->wire, bytes, n);
        return;
    }
    wire_settled(&s->wire, true);
    s->conn = NULL;
}

/* The newest of the backend's; NULL: there is none. */
static struct side *backend(void)
{
    struct side *newest = NULL;
    for (int i = 0; i < BACKENDS; i++)
        if (backends[i].conn != NULL && (newest == NULL || backends[i].order > newest->order))
            newest = &backends[i];
    return newest;
}

/* -- frames ---------------------------------------------------------------------------------------- */

static void put(struct side *s, const void *bytes, size_t n)
{
    if (s->n + n > CHUNK)
        return;
    if (n > 0)
        memcpy(s->chunk + s->n, bytes, n);
    s->n += n;
}

static void frame(struct side *s, uint32_t type, uint32_t flags, uint32_t id, const uint8_t *p, uint32_t n)
{
    uint8_t head[9] = {(uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n, (uint8_t)type, (uint8_t)flags, (uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};
    if (s->n + 9 + n > CHUNK)
        return;
    put(s, head, 9);
    put(s, p, n);
}

/* Which stream: the newest ones, any that there was, the connection, one that there cannot be. */
static uint32_t choose(const struct side *s, uint8_t id)
{
    if (id == 255)
        return 0;
    if (id >= 250)
        return (uint32_t)id * 2 - 400;
    if (s->wire.count == 0)
        return 1;
    return s->wire.stream[id < 128 ? s->wire.count - 1 - id % s->wire.count : id % s->wire.count].id;
}

struct field {
    const char *name, *value;
};
static const struct field requests[] = {
    {":method", "POST"}, {":scheme", "http"}, {":path", "/echo.Echo/Call"}, {":authority", "echo"}, {"content-type", "application/grpc"}, {"te", "trailers"}};
static const struct field answers[] = {{":status", "200"}, {"content-type", "application/grpc"}};
static const struct field trailers[] = {{"grpc-status", "0"}, {"grpc-message", "fine"}};
static const struct field extras[] = {
    {"grpc-timeout", "1n"}, {"grpc-timeout", "20m"}, {"grpc-timeout", "5S"}, {"grpc-timeout", "x"}, {"content-length", "100"}, {"content-length", "0"}, {":path", "/two.Two/Call"},
    {":path", "/cap.Cap/x"}, {":path", "/nowhere"}, {":path", "/grpc.health.v1.Health/Check"}, {":path", "/grpc.health.v1.Health/Watch"}, {"content-type", "text/plain"},
    {"connection", "close"}, {"te", "gzip"}, {"Upper", "case"}, {"x-y", "z"}, {"x-forwarded-for", "198.18.0.9"}, {":status", "100"}, {":status", "103"}, {":status", "503"},
    {":status", "404"}, {":status", "9"}, {"grpc-status", "14"}, {"grpc-status", "99"}, {"grpc-status", "4"}, {"grpc-retry-pushback-ms", "5"}, {"grpc-retry-pushback-ms", "-1"},
    {":method", "HEAD"}, {":method", "GET"}, {":method", "CONNECT"}, {":scheme", ""}, {"authorization", "secret"}, {"cookie", "a=b; c=d"}, {"x\n", "1"}, {"x", "a\r\nb"},
    {"grpc-status", ""}, {"x-forwarded-for", ""}, {"trailer", "x"}, {":protocol", "websocket"}, {"host", "echo"}};
#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static size_t field_put(uint8_t *out, const struct field *f, uint32_t how)
{
    size_t name = strlen(f->name), value = strlen(f->value), n = 0;
    out[n++] = how & 1 ? 0x40 : how & 2 ? 0x10 : 0; /* RFC 7541 section 6.2 */
    out[n++] = (uint8_t)name;
    memcpy(out + n, f->name, name);
    n += name;
    out[n++] = (uint8_t)value;
    memcpy(out + n, f->value, value);
    return n + value;
}

/* d, e, f: extra fields; one replaces a field of the same name. b: large; c: how they are encoded. */
static size_t block(uint8_t *out, const struct field *base, size_t count, const struct record *r)
{
    const struct field *more[3] = {NULL, NULL, NULL};
    uint8_t pick[3] = {r->d, r->e, r->f};
    size_t n = 0;
    for (int i = 0; i < 3; i++)
        if (pick[i] != 0)
            more[i] = &extras[pick[i] % COUNT(extras)];
    for (size_t k = 0; k < count; k++) {
        const struct field *f = &base[k];
        for (int i = 0; i < 3; i++)
            if (more[i] != NULL && strcmp(more[i]->name, f->name) == 0) {
                f = more[i];
                more[i] = NULL;
            }
        if (pick[0] != 255 || k != (size_t)pick[1] % count) /* one is missing */
            n += field_put(out + n, f, r->c);
    }
    for (int i = 0; i < 3; i++)
        if (more[i] != NULL)
            n += field_put(out + n, more[i], r->c);
    char pad[121];
    memset(pad, 'p', sizeof(pad) - 1);
    pad[120] = 0;
    for (uint32_t i = 0; i < (r->b & 15u) * 11u; i++)
        n += field_put(out + n, &(struct field){"x-pad", pad}, r->c >> 2);
    return n;
}

static void headers(struct side *s, uint32_t id, const struct field *base, size_t count, const struct record *r)
{
    static uint8_t bytes[32768];
    size_t n = block(bytes, base, count, r);
    uint32_t end = r->a & 1;
    if (r->a & 2) { /* in two frames */
        size_t cut = n * r->b / 256;
        frame(s, 1, end, id, bytes, (uint32_t)cut);
        if (!(r->a & 4))
            frame(s, 9, 4, id, bytes + cut, (uint32_t)(n - cut));
    } else if (n <= 16384) {
        frame(s, 1, end | 4, id, bytes, (uint32_t)n);
    } else {
        frame(s, 1, end, id, bytes, 16384);
        frame(s, 9, 4, id, bytes + 16384, (uint32_t)(n - 16384));
    }
}

static void data(struct side *s, const struct record *r)
{
    static const uint32_t sizes[] = {0, 1, 5, 100, 1400, 5000, 16384, 16000};
    static uint8_t bytes[16640];
    uint32_t n = sizes[r->b % 8] - (sizes[r->b % 8] > 200 ? r->c : 0), flags = r->a & 1, id = choose(s, r->id);
    memset(bytes, 0, sizeof(bytes));
    if (r->b % 8 == 2 && (r->a & 4)) /* a whole gRPC message of health checking */
        n = 5;
    if (r->a & 2 && n < 16000) {
        bytes[0] = r->d;
        n += 1u + (r->a & 8 ? 0 : r->d);
        flags |= 8;
    }
    for (uint32_t i = 0; i < 1 + (r->e & 7u); i++)
        frame(s, 0, i < (r->e & 7u) ? flags & 8 : flags, id, bytes, n);
}

static void word(struct side *s, uint32_t type, const struct record *r)
{
    static const uint32_t values[] = {0, 1, 8, 5, 7, 11, 1000, 16384, 65535, 65536, 1 << 20, 0x7fffffff, 0x80000000, 0xffffffff, 2, 3};
    uint32_t v = values[r->a % 16];
    uint8_t p[6] = {0, (uint8_t)(r->b % 8), (uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    if (type == 4)
        frame(s, 4, 0, 0, p, 6);
    else
        frame(s, type, 0, choose(s, r->id), p + 2, 4);
}

static void goaway(struct side *s, const struct record *r)
{
    uint32_t last = r->a & 1 ? 0x7fffffff : choose(s, r->id);
    uint8_t p[8 + 14] = {(uint8_t)(last >> 24), (uint8_t)(last >> 16), (uint8_t)(last >> 8), (uint8_t)last, 0, 0, 0, (uint8_t)(r->b % 15)};
    memcpy(p + 8, "too_many_pings", 14);
    frame(s, 7, 0, 0, p, r->b & 16 ? 22 : 8);
}

static void any_frame(struct side *s, const struct record *r)
{
    uint8_t p[256];
    memset(p, r->d, sizeof(p));
    frame(s, r->a % 11, r->b, choose(s, r->id), p, r->c);
}

/* -- acts ------------------------------------------------------------------------------------------ */

static void send_chunk(struct side *s)
{
    if (s->conn != NULL && s->n > 0)
        wire_in(&s->wire, s->chunk, tcp_write(s->conn, s->chunk, s->n));
    s->n = 0;
}

static bool unsent(const struct side *s)
{
    struct tcp_info i = {0};
    if (s->conn != NULL)
        tcp_conn_info(s->conn, &i);
    return i.unsent > 0;
}

static void settle(struct rig *r)
{
    send_chunk(&client);
    bool more = false;
    for (int i = 0; i < BACKENDS; i++)
        send_chunk(&backends[i]);
    for (int turn = 0, quiet = 0; turn < 400 && quiet < 10; turn++) { /* what was sent last has to arrive, and to be answered */
        rig_step(r, 60000);
        more = unsent(&client);
        for (int i = 0; i < BACKENDS; i++)
            more |= unsent(&backends[i]);
        quiet = more ? 0 : quiet + 1;
    }
    for (int i = -1; i < BACKENDS; i++) {
        struct side *s = i < 0 ? &client : &backends[i];
        if (s->conn != NULL && !more)
            wire_settled(&s->wire, false);
    }
}

static void greet(struct side *s)
{
    static const uint8_t preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    if (s == &client)
        put(s, preface, 24);
    frame(s, 4, 0, 0, NULL, 0);
    frame(s, 4, 1, 0, NULL, 0);
}

static void connect_client(struct rig *r)
{
    struct base_flow flow = {.local = client.host->addr, .remote = rig_gateway(r)->addr, .remote_port = 50051};
    struct tcp_conn *c = client.conn == NULL && client.host->muted_count < 8 ? tcp_connect(client.host->tcp, &flow, 0, r->now) : NULL;
    if (c == NULL)
        return;
    client.host->muted[client.host->muted_count++] = c;
    begun(&client, client.host, c);
    rig_run(r, RIG_MS);
}

static void hang_up(struct rig *r, struct side *s, bool graceful)
{
    if (s == NULL || s->conn == NULL)
        return;
    if (graceful) {
        tcp_shutdown(s->conn, r->now);
        return;
    }
    struct rig_host *h = s->host;
    for (uint32_t i = 0; i < h->muted_count; i++)
        if (h->muted[i] == s->conn)
            h->muted[i] = h->muted[--h->muted_count];
    tcp_abort(s->conn, r->now);
    s->conn = NULL;
}

/* Small limits, so that a run of 256 records comes to them: first clients that have to wait for others, then those that are told off. */
static void limit(struct rig *r, const struct record *x)
{
    uint32_t few = 16 + x->a;
    r->world->s.listener[0].bounds = (struct snapshot_bounds){.resets = few, .pings = few, .settings = few, .empty_data = few, .priority = few, .window_updates = few, .other_frames = few,
                                                              .continuation_frames = 2, .header_fields = x->b & 1 ? 8 : 128, .buffered = x->b & 2 ? x->c * 1024u : 0};
    rig_touch(r);
    rig_run(r, RIG_MS);
}

static void act(struct rig *r, const struct record *x, bool *hold)
{
    struct side *s = x->op & 1 ? backend() : &client;
    *hold = x->op & 128;
    if (s == NULL) { /* the backend has no connection: the gateway backs off */
        rig_run(r, x->a * RIG_MS);
        return;
    }
    switch (x->op >> 1 & 31) {
    case 0: case 1: case 2: case 3:
        if (s == &client) {
            headers(s, s->next, requests, COUNT(requests), x);
            s->next += x->id < 250 ? 2 : x->id % 5 * 2u;
        } else {
            headers(s, choose(s, x->id), answers, COUNT(answers), x);
        }
        break;
    case 4: case 5: headers(s, choose(s, x->id), trailers, COUNT(trailers), x); break;
    case 6: case 7: case 8: case 9: data(s, x); break;
    case 10: case 11: word(s, 8, x); break;
    case 12: word(s, 3, x); break;
    case 13: word(s, 4, x); break;
    case 14: goaway(s, x); break;
    case 15: any_frame(s, x); break;
    case 16: put(s, &x->id, 1 + x->id % 7u); break;
    case 17: rig_run(r, x->a * RIG_MS); break;
    case 18: hang_up(r, s, x->a & 1); break;
    case 19: connect_client(r); break;
    case 20: if (x->a < 32) rig_run(r, x->a * RIG_S / 4); break;
    case 21: frame(s, 6, x->a & 1, 0, (const uint8_t *)"pingpong", 8); break;
    case 22: headers(s, choose(s, x->id), requests, COUNT(requests), x); break;
    case 23: frame(s, 4, 1, 0, NULL, 0); break;
    case 24: limit(r, x); break;
    default: data(s, x);
    }
}

static struct rig *begin(void)
{
    struct rig_config c;
    rig_config_defaults(&c);
    c.connections = 8;
    c.streams = 64;
    c.tcp_connections = 16;
    c.packets = 4096;
    c.stream_window = 300000;
    struct rig *r = rig_create(&c);
    r->stride = RIG_MS / 10;
    memset(&client, 0, sizeof(client));
    for (int i = 0; i < BACKENDS; i++)
        backends[i].conn = NULL;
    client.host = rig_client(r, 0);
    backend_host = rig_backend(r, 0);
    client.host->mute = backend_host->mute = true;
    client.host->raw = backend_host->raw = take;
    struct snapshot_cluster *k = r->world->s.cluster[0];
    static const struct snapshot_method method = {.match = SNAPSHOT_ANY, .retry = {.attempts = 3, .codes = 1 << 14, .initial_ns = 5 * RIG_MS, .max_ns = RIG_S, .factor_x1024 = 2048}};
    k->methods = &method;
    k->method_count = 1;
    k->no_ready_queue = true;
    k->no_ready_timeout_ns = RIG_S;
    k->max_connections_per_endpoint = 2;
    k->backoff_base_ns = 20 * RIG_MS;
    k->backoff_max_ns = 100 * RIG_MS;
    r->world->s.listener[0].health_service = r->world->s.listener[0].forwarded = true;
    r->world->s.access_every = 2;
    r->world->s.listener[0].max_concurrent_streams = 20;
    rig_add(r, 0, 0, 0, 1);
    rig_run(r, 2 * RIG_MS);
    if (backend() == NULL)
        abort();
    settle(r);
    connect_client(r);
    settle(r);
    r->stride = 50 * RIG_MS;
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t size)
{
    struct rig *r = begin();
    bool hold = false;
    for (size_t at = 0; at + RECORD <= size && at < RECORD * RECORDS_MAX; at += RECORD) {
        struct record x;
        memcpy(&x, in + at, RECORD);
        act(r, &x, &hold);
        if (!hold)
            settle(r);
    }
    settle(r);
    hang_up(r, &client, false);
    client.host->raw = backend_host->raw = NULL;
    rig_listen(backend_host, false);
    rig_kill(backend_host, false);
    rig_run(r, RIG_S);
    if (!rig_destroy(r)) {
        fprintf(stderr, "the gateway is not empty\n");
        abort();
    }
    return 0;
}

/* Records are moved whole, or changed inside. */
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max, unsigned seed)
{
    uint64_t draw = base_mix64(seed);
    size_t n = size / RECORD, most = max / RECORD < RECORDS_MAX ? max / RECORD : RECORDS_MAX;
    if (n == 0 || most == 0)
        return LLVMFuzzerMutate(bytes, size, max < RECORD ? max : RECORD);
    if (n > most)
        n = most;
    size_t at = (draw >> 8) % n, to = (draw >> 24) % n;
    uint8_t kept[RECORD];
    memcpy(kept, bytes + at * RECORD, RECORD);
    switch (draw % 8) {
    case 0: /* doubled elsewhere */
        if (n == most)
            break;
        memmove(bytes + (to + 1) * RECORD, bytes + to * RECORD, (n - to) * RECORD);
        memcpy(bytes + to * RECORD, kept, RECORD);
        return (n + 1) * RECORD;
    case 1: /* dropped */
        if (n == 1)
            break;
        memmove(bytes + at * RECORD, bytes + (at + 1) * RECORD, (n - 1 - at) * RECORD);
        return (n - 1) * RECORD;
    case 2: /* changed places */
        memcpy(bytes + at * RECORD, bytes + to * RECORD, RECORD);
        memcpy(bytes + to * RECORD, kept, RECORD);
        return n * RECORD;
    case 3: /* a new one */
        if (n == most)
            break;
        for (int i = 0; i < RECORD; i++)
            bytes[n * RECORD + (size_t)i] = (uint8_t)(base_mix64(draw + (uint64_t)i) >> 16);
        bytes[n * RECORD + 3] &= (uint8_t)(draw >> 40 & 1 ? 0xff : 0);
        return (n + 1) * RECORD;
    default: break;
    }
    bytes[at * RECORD + (draw >> 40) % RECORD] = (uint8_t)(draw >> 48);
    return n * RECORD;
}
