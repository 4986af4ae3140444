/* grpc.health.v1.Health on the listener itself: Check and Watch, "" for the gateway, else a cluster's name.
 *
 * A cluster serves while this worker has an endpoint of it READY; the gateway serves until it drains.  Watches are compared a few hundred times a
 * second, while there are any; each is told what changed.  When the gateway drains they end, so that they do not hold it up. */
#include "internal.h"

enum { SERVING = 1, NOT_SERVING = 2, SERVICE_UNKNOWN = 3 }; /* grpc/health/v1/health.proto */

#define WATCH_NS 4000000ull
#define PREFIX   "/grpc.health.v1.Health/"

bool proxy_is_health(const struct base_header *path)
{
    static const char check[] = PREFIX "Check", watch[] = PREFIX "Watch";
    static_assert(sizeof(check) == sizeof(watch), "one comparison of lengths");
    return path != NULL && path->value_len == sizeof(check) - 1 &&
           (memcmp(path->value, check, sizeof(check) - 1) == 0 || memcmp(path->value, watch, sizeof(watch) - 1) == 0);
}

/* A varint of at most five octets. False: none. */
static bool varint(const uint8_t **at, const uint8_t *end, uint32_t *v)
{
    *v = 0;
    for (unsigned shift = 0; shift < 35 && *at < end; shift += 7) {
        uint8_t b = *(*at)++;
        *v |= (uint32_t)(b & 0x7f) << shift;
        if (b < 0x80)
            return true;
    }
    return false;
}

/* HealthCheckRequest: string service = 1; other fields are skipped.  False: malformed. */
static bool message_read(const uint8_t *at, const uint8_t *end, const uint8_t **name, uint32_t *n)
{
    *name = at;
    *n = 0;
    while (at < end) {
        uint32_t tag, v;
        if (!varint(&at, end, &tag))
            return false;
        uint32_t left = (uint32_t)(end - at), skip = 0;
        switch (tag & 7) {
        case 0:
            if (!varint(&at, end, &v))
                return false;
            break;
        case 1:
            skip = 8;
            break;
        case 5:
            skip = 4;
            break;
        case 2:
            if (!varint(&at, end, &skip))
                return false;
            left = (uint32_t)(end - at);
            break;
        default:
            return false;
        }
        if (skip > left)
            return false;
        if (tag == (1 << 3 | 2)) {
            *name = at;
            *n = skip;
        }
        at += skip;
    }
    return true;
}

/* The one message of the request: a flag, its length, its bytes (PROTOCOL-HTTP2, "Length-Prefixed-Message"). */
static bool request_name(const struct proxy_replay *r, const uint8_t **name, uint32_t *n)
{
    const uint8_t *b = r->space + r->near_at;
    if (r->head != NULL || r->near < 5 || b[0] != 0)
        return false;
    uint32_t len = (uint32_t)b[1] << 24 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 8 | b[4];
    return len == r->near - 5u && message_read(b + 5, b + 5 + len, name, n);
}

static uint8_t status_of(const struct proxy *p, const struct snapshot *s, const uint8_t *name, uint32_t n)
{
    if (n == 0)
        return s != NULL && !s->draining ? SERVING : NOT_SERVING;
    for (uint32_t i = 0; s != NULL && i < s->cluster_count; i++) {
        const struct snapshot_cluster *c = s->cluster[i];
        if (c != NULL && c->present && strlen(c->name) == n && memcmp(c->name, name, n) == 0)
            return (picker_ready_count(p->picker, i) > 0 || proxy_crowded(p, i)) && !s->draining ? SERVING : NOT_SERVING;
    }
    return SERVICE_UNKNOWN;
}

/* Its end towards the client; the RPC is dead afterwards. */
static void end(struct proxy *p, struct proxy_rpc *rpc, enum grpc_code code, const char *words, uint64_t now)
{
    struct base_headers *h = &p->fields;
    char text[4] = {(char)('0' + code % 10)};
    uint32_t n = 1;
    if (code >= 10) {
        text[0] = '1';
        text[1] = (char)('0' + code % 10);
        n = 2;
    }
    h->count = h->size = 0;
    if (!rpc->headers_sent) {
        base_headers_add(h, BASE_HEADER_STATUS, "200", 3);
        base_headers_add(h, BASE_HEADER_CONTENT_TYPE, "application/grpc", 16);
    }
    base_headers_add(h, BASE_HEADER_GRPC_STATUS, text, n);
    if (words != NULL)
        base_headers_add(h, BASE_HEADER_GRPC_MESSAGE, words, strlen(words));
    rpc_settle(p, rpc, code, now);
    struct session_stream *down = rpc->down;
    rpc->down = NULL;
    down->user = NULL;
    if (session_headers(down, h, true))
        session_release(down);
    else
        session_reset(down, HTTP2_INTERNAL_ERROR);
    rpc_free(p, rpc);
}

/* One HealthCheckResponse. False: no buffer. */
static bool tell(struct proxy *p, struct proxy_rpc *rpc, uint8_t status)
{
    const uint8_t message[7] = {0, 0, 0, 0, 2, 1 << 3, status};
    struct base_headers *h = &p->fields;
    if (!rpc->headers_sent) {
        h->count = h->size = 0;
        base_headers_add(h, BASE_HEADER_STATUS, "200", 3);
        base_headers_add(h, BASE_HEADER_CONTENT_TYPE, "application/grpc", 16);
        if (!session_headers(rpc->down, h, false))
            return false;
        rpc->headers_sent = true;
    }
    rpc->bytes += sizeof(message);
    rpc->replay->told = status;
    return session_data(rpc->down, message, sizeof(message), false);
}

static bool is_watch(const struct proxy_rpc *rpc)
{
    return rpc->replay->watch;
}

static void answer(struct proxy *p, const struct snapshot *s, struct proxy_rpc *rpc, uint64_t now)
{
    const uint8_t *name;
    uint32_t n;
    if (!request_name(rpc->replay, &name, &n)) {
        end(p, rpc, GRPC_INVALID_ARGUMENT, "no grpc.health.v1.HealthCheckRequest", now);
        return;
    }
    uint8_t status = status_of(p, s, name, n);
    if (status == SERVICE_UNKNOWN && !is_watch(rpc)) {
        end(p, rpc, GRPC_NOT_FOUND, "no cluster of that name", now);
        return;
    }
    if (!tell(p, rpc, status)) {
        proxy_answer(p, rpc, GRPC_UNAVAILABLE, STATS_REASON_OVERLOAD, "the gateway is out of buffers", now);
        return;
    }
    if (!is_watch(rpc))
        end(p, rpc, GRPC_OK, NULL, now);
    else
        base_list_push_back(&p->watches, &rpc->wait);
}

void proxy_health_begin(struct proxy *p, const struct snapshot *s, struct proxy_rpc *rpc, const struct base_headers *h, uint64_t now)
{
    if (!replay_begin(p, rpc, h)) {
        proxy_answer(p, rpc, GRPC_UNAVAILABLE, STATS_REASON_OVERLOAD, "the gateway is out of buffers", now);
        return;
    }
    rpc->phase = RPC_HEALTH;
    rpc->replay->watch = base_headers_find(h, BASE_HEADER_PATH)->value[sizeof(PREFIX) - 1] == 'W';
    if (rpc->request_ended)
        answer(p, s, rpc, now);
}

void proxy_health_data(struct proxy *p, const struct snapshot *s, struct proxy_rpc *rpc, const struct http2_event *ev, uint64_t now)
{
    if (rpc->request_ended)
        return;
    rpc->request_ended = ev->end_stream;
    if (ev->type == HTTP2_EVENT_DATA && (rpc->replay->near + ev->len > HEALTH_REQUEST_MAX || !replay_add(p, rpc, ev->data, ev->len)))
        end(p, rpc, GRPC_RESOURCE_EXHAUSTED, "the request is too large", now);
    else if (ev->end_stream)
        answer(p, s, rpc, now);
}

void proxy_health_turn(struct proxy *p, const struct snapshot *s, uint64_t now)
{
    if (now < p->watch_ns)
        return;
    p->watch_ns = now + WATCH_NS;
    base_list_each_safe(l, &p->watches)
    {
        struct proxy_rpc *rpc = base_container(l, struct proxy_rpc, wait);
        const uint8_t *name = NULL;
        uint32_t n = 0;
        request_name(rpc->replay, &name, &n); /* it was one when the watch began */
        uint8_t status = status_of(p, s, name, n);
        /* One that reads nothing has what it has: it is told the latest when it reads again. */
        if (status != rpc->replay->told && rpc->down->queued == 0 && !tell(p, rpc, status))
            proxy_answer(p, rpc, GRPC_UNAVAILABLE, STATS_REASON_OVERLOAD, "the gateway is out of buffers", now);
        else if (s != NULL && s->draining)
            end(p, rpc, GRPC_UNAVAILABLE, "the gateway is draining", now);
    }
}
