/* grpc.health.v1.Health on the listener itself: Check and Watch, "" for the gateway, else a cluster's name.
 *
 * A cluster serves while this worker has an endpoint of it READY; the gateway serves until it drains.  While there are watches, the states of all services are
 * compared a few hundred times a second, and watches stand in lists:
 *
 *   services[].watches   have been told its state --- it changes, it goes, the gateway drains ---+
 *   nameless             have been told SERVICE_UNKNOWN --- a name comes --------------------+   |
 *   deaf                 have not read what they were told last --- in turn --------------+  |   |
 *   behind               are looked at, at most WATCH_LOOKS at a time, and told  <--------+--+---+
 *
 * so that a watch of a service that stays as it is costs nothing.  When the gateway drains they end, so that they do not hold it up. */
#include "internal.h"

enum { SERVING = 1, NOT_SERVING = 2, SERVICE_UNKNOWN = 3 }; /* grpc/health/v1/health.proto */

#define PREFIX "/grpc.health.v1.Health/"

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
    const uint8_t *b = r->space;
    if (r->near < 5 || b[0] != 0)
        return false;
    uint32_t len = (uint32_t)b[1] << 24 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 8 | b[4];
    return len == r->near - 5u && message_read(b + 5, b + 5 + len, name, n);
}

static uint32_t gateway(const struct proxy *p)
{
    return p->stats->cluster_count;
}

static uint16_t find(const struct proxy *p, const struct snapshot *s, const uint8_t *name, uint32_t n)
{
    if (n == 0)
        return (uint16_t)gateway(p);
    for (uint32_t i = 0; i < gateway(p); i++) {
        const struct snapshot_cluster *c = proxy_cluster(s, i);
        if (c != NULL && strlen(c->name) == n && memcmp(c->name, name, n) == 0)
            return (uint16_t)i;
    }
    return SERVICE_NONE;
}

static uint8_t state_of(const struct proxy *p, const struct snapshot *s, uint32_t service)
{
    if (s == NULL || s->draining)
        return NOT_SERVING;
    return service == gateway(p) || picker_ready_count(p->picker, service) > 0 || proxy_crowded(p, service) ? SERVING : NOT_SERVING;
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
    rpc->replay->health.told = status;
    return session_data(rpc->down, message, sizeof(message), false);
}

/* -- watches ----------------------------------------------------------------------------------------- */

/* Never 0.  Names are compared octet by octet before a hash is trusted. */
static uint32_t name_hash(const void *name, size_t n)
{
    static const struct base_hash_key key = {{0, 0}};
    return (uint32_t)base_siphash(&key, name, n) | 1;
}

void proxy_health_create(struct proxy *p, struct base_arena *arena)
{
    p->services = base_arena_take(arena, sizeof(*p->services) * (gateway(p) + 1));
    for (uint32_t i = 0; i <= gateway(p); i++) {
        p->services[i] = (struct proxy_service){.state = SERVICE_UNKNOWN};
        base_list_init(&p->services[i].watches);
    }
    p->services[gateway(p)].name = name_hash("", 0);
    base_list_init(&p->behind);
    base_list_init(&p->nameless);
    base_list_init(&p->deaf);
}

/* An id is for its cluster's life; the next that has it may have another name. */
static void learn_names(struct proxy *p, const struct snapshot *s)
{
    bool came = false;
    for (uint32_t i = 0; i < gateway(p); i++) {
        struct proxy_service *t = &p->services[i];
        const struct snapshot_cluster *c = proxy_cluster(s, i);
        if (c != NULL && t->name != 0 && t->version == c->version)
            continue;
        uint32_t name = c != NULL ? name_hash(c->name, strlen(c->name)) : 0;
        t->version = c != NULL ? c->version : 0;
        if (name == t->name)
            continue;
        t->name = name;
        base_list_splice_back(&p->behind, &t->watches);
        came |= name != 0;
    }
    if (came)
        base_list_splice_back(&p->behind, &p->nameless);
}

/* What has changed since.  Afterwards names are those of `s`. */
static void look_at_services(struct proxy *p, const struct snapshot *s, uint64_t now)
{
    bool anew = s != NULL && s->generation != p->watch_generation, drains = s != NULL && s->draining;
    if (now < p->watch_ns && !anew)
        return;
    p->watch_ns = now + WATCH_NS;
    if (anew) {
        p->watch_generation = s->generation;
        learn_names(p, s);
    }
    for (uint32_t i = 0; i <= gateway(p); i++) {
        struct proxy_service *t = &p->services[i];
        uint8_t state = t->name != 0 ? state_of(p, s, i) : SERVICE_UNKNOWN;
        if (state == t->state && !drains)
            continue;
        t->state = state;
        base_list_splice_back(&p->behind, &t->watches);
    }
    if (drains)
        base_list_splice_back(&p->behind, &p->nameless);
    struct base_list *l;
    for (uint32_t n = WATCH_LOOKS; n > 0 && (l = base_list_pop_front(&p->deaf)) != NULL; n--)
        base_list_push_back(&p->behind, l);
}

/* What it watches, found anew where that has gone or had not come; NULL: nothing. */
static struct proxy_service *watched(struct proxy *p, const struct snapshot *s, struct proxy_replay *r)
{
    struct proxy_health *h = &r->health;
    if (h->service != SERVICE_NONE && p->services[h->service].name == h->name)
        return &p->services[h->service];
    bool known = false;
    for (uint32_t i = 0; i <= gateway(p) && !known; i++)
        known = p->services[i].name == h->name;
    const uint8_t *name;
    uint32_t n;
    h->service = known && request_name(r, &name, &n) ? find(p, s, name, n) : SERVICE_NONE;
    return h->service != SERVICE_NONE ? &p->services[h->service] : NULL;
}

/* The first of those that are behind: told, and into the list where it belongs, or ended. */
static void look(struct proxy *p, const struct snapshot *s, struct proxy_rpc *rpc, uint64_t now)
{
    struct proxy_replay *r = rpc->replay;
    struct proxy_service *t = watched(p, s, r);
    uint8_t state = t != NULL ? t->state : SERVICE_UNKNOWN;
    base_list_remove(&rpc->wait);
    base_list_push_back(t != NULL ? &t->watches : &p->nameless, &rpc->wait);
    bool deaf = state != r->health.told && rpc->down->queued > 0;
    if (state != r->health.told && !deaf && !tell(p, rpc, state)) {
        proxy_answer(p, rpc, GRPC_UNAVAILABLE, STATS_REASON_OVERLOAD, "the gateway is out of buffers", now);
    } else if (s != NULL && s->draining) {
        end(p, rpc, GRPC_UNAVAILABLE, "the gateway is draining", now);
    } else if (deaf) { /* it has what it has, and is told the latest when it reads again */
        base_list_remove(&rpc->wait);
        base_list_push_back(&p->deaf, &rpc->wait);
    }
}

void proxy_health_turn(struct proxy *p, const struct snapshot *s, uint64_t now)
{
    look_at_services(p, s, now);
    for (uint32_t n = WATCH_LOOKS; n > 0 && !base_list_empty(&p->behind); n--)
        look(p, s, base_container(p->behind.next, struct proxy_rpc, wait), now);
}

/* -- what is asked ------------------------------------------------------------------------------------ */

/* Its first state is that of the list it goes to. */
static void watch(struct proxy *p, const struct snapshot *s, struct proxy_rpc *rpc, const uint8_t *name, uint32_t n, uint64_t now)
{
    struct proxy_health *h = &rpc->replay->health;
    look_at_services(p, s, now);
    h->name = name_hash(name, n);
    h->service = find(p, s, name, n);
    h->told = 0;
    p->watch_count++;
    base_list_push_back(&p->behind, &rpc->wait);
    look(p, s, rpc, now);
}

static void check(struct proxy *p, const struct snapshot *s, struct proxy_rpc *rpc, const uint8_t *name, uint32_t n, uint64_t now)
{
    uint16_t service = find(p, s, name, n);
    if (service == SERVICE_NONE)
        end(p, rpc, GRPC_NOT_FOUND, "no cluster of that name", now);
    else if (tell(p, rpc, state_of(p, s, service)))
        end(p, rpc, GRPC_OK, NULL, now);
    else
        proxy_answer(p, rpc, GRPC_UNAVAILABLE, STATS_REASON_OVERLOAD, "the gateway is out of buffers", now);
}

static void answer(struct proxy *p, const struct snapshot *s, struct proxy_rpc *rpc, uint64_t now)
{
    const uint8_t *name;
    uint32_t n;
    if (!request_name(rpc->replay, &name, &n))
        end(p, rpc, GRPC_INVALID_ARGUMENT, "no grpc.health.v1.HealthCheckRequest", now);
    else if (rpc->replay->health.watch)
        watch(p, s, rpc, name, n, now);
    else
        check(p, s, rpc, name, n, now);
}

void proxy_health_begin(struct proxy *p, const struct snapshot *s, struct proxy_rpc *rpc, const struct base_headers *h, uint64_t now)
{
    if (!replay_begin_body(p, rpc)) {
        proxy_answer(p, rpc, GRPC_UNAVAILABLE, STATS_REASON_OVERLOAD, "the gateway is out of buffers", now);
        return;
    }
    rpc->phase = RPC_HEALTH;
    rpc->replay->health.watch = base_headers_find(h, BASE_HEADER_PATH)->value[sizeof(PREFIX) - 1] == 'W';
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
