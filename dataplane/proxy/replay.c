/* What a request was, so that it can be sent later or once more: its fields, still decoded, and a copy of its DATA.
 *
 * Fields that http2 knows (most requests bring some that others brought before) are held there; others are copied.  Records have two sizes: a small one moves when
 * its DATA outgrows it.
 *
 *   credited <= bytes = near + what lies in packets
 *
 * `credited` bytes left once and were given back to the client's stream window; they are not given back again when they leave again. */
#include "internal.h"

/* Names and values are short: no call, and no octet beyond either end is touched. */
static inline void copy(uint8_t *to, const uint8_t *from, uint32_t n)
{
    typedef uint64_t __attribute__((aligned(1), may_alias)) u64;
    typedef uint32_t __attribute__((aligned(1), may_alias)) u32;
    if (n >= 8) {
        for (uint32_t i = 0; i + 8 < n; i += 8)
            *(u64 *)(to + i) = *(const u64 *)(from + i);
        *(u64 *)(to + n - 8) = *(const u64 *)(from + n - 8);
    } else if (n >= 4) {
        *(u32 *)to = *(const u32 *)from;
        *(u32 *)(to + n - 4) = *(const u32 *)(from + n - 4);
    } else {
        for (uint32_t i = 0; i < n; i++)
            to[i] = from[i];
    }
}

/* Into the record itself. False: they do not fit. */
static bool fields_keep(struct proxy_replay *r, const struct base_headers *h)
{
    struct replay_field *to = (struct replay_field *)(void *)r->space;
    uint32_t at = h->count * (uint32_t)sizeof(*to);
    if (at > replay_space(r))
        return false;
    for (uint32_t i = 0; i < h->count; i++) {
        const struct base_header *f = &h->field[i];
        uint32_t name_len = f->token == BASE_HEADER_OTHER ? f->name_len : 0;
        if (name_len > UINT16_MAX || at + f->value_len + name_len > replay_space(r))
            return false;
        to[i] = (struct replay_field){(uint8_t)f->token, (uint8_t)f->flags, (uint16_t)name_len, f->value_len};
        copy(r->space + at, f->value, f->value_len);
        copy(r->space + at + f->value_len, f->name, name_len);
        at += f->value_len + name_len;
    }
    r->count = h->count;
    r->size = h->size;
    r->near_at = (uint16_t)at;
    return true;
}

static void fields_give(const struct proxy_replay *r, struct base_headers *h)
{
    const struct replay_field *from = (const struct replay_field *)(const void *)r->space;
    const uint8_t *at = r->space + r->count * sizeof(*from);
    h->count = r->count;
    h->size = r->size;
    for (uint32_t i = 0; i < r->count; i++) {
        struct base_header *f = &h->field[i];
        *f = (struct base_header){.value = at, .value_len = from[i].value_len, .token = from[i].token, .flags = from[i].flags};
        at += f->value_len;
        bool named = f->token == BASE_HEADER_OTHER;
        f->name = named ? at : (const uint8_t *)base_header_name((enum base_header_token)f->token);
        f->name_len = named ? from[i].name_len : (uint32_t)strlen((const char *)f->name);
        at += from[i].name_len;
    }
}

static void list_give(const struct base_headers *from, struct base_headers *h)
{
    h->count = from->count;
    h->size = from->size;
    memcpy(h->field, from->field, from->count * sizeof(*h->field));
}

/* False: no buffer for a copy. */
static bool list_keep(struct proxy *p, struct proxy_replay *r, const struct base_headers *h)
{
    r->known = NULL;
    r->held = NULL;
    r->near_at = 0;
    if (h->id != 0) {
        http2_list_hold(h);
        r->known = h;
        return true;
    }
    if (fields_keep(r, h))
        return true;
    r->held = session_hold(p->sessions, h);
    return r->held != NULL;
}

static inline struct proxy_replay *create(struct proxy *p, bool large)
{
    struct proxy_replay *r = base_slab_alloc(&p->replays[large]);
    if (r == NULL) {
        stats_drop(p->stats, STATS_DROP_REPLAY_FULL);
        return NULL;
    }
    r->large = large;
    r->trailers = NULL;
    r->head = r->tail = NULL;
    r->bytes = r->credited = 0;
    r->tried_count = 0;
    r->near = 0;
    r->attempts = r->backoffs = 0;
    r->policy.attempts = 0;
    memset(r->retold, 0, sizeof(r->retold));
    r->patience_ns = 0;
    return r;
}

bool replay_begin(struct proxy *p, struct proxy_rpc *rpc, const struct base_headers *h)
{
    struct proxy_replay *r = create(p, h->id == 0);
    if (r == NULL)
        return false;
    if (!list_keep(p, r, h)) {
        base_slab_free(&p->replays[r->large], r);
        return false;
    }
    rpc->replay = r;
    return true;
}

bool replay_begin_body(struct proxy *p, struct proxy_rpc *rpc)
{
    struct proxy_replay *r = create(p, true);
    if (r == NULL)
        return false;
    r->known = NULL;
    r->held = NULL;
    r->near_at = 0;
    rpc->replay = r;
    return true;
}

void replay_drop(struct proxy *p, struct proxy_rpc *rpc)
{
    struct proxy_replay *r = rpc->replay;
    if (r == NULL)
        return;
    struct sessions *ss = p->sessions;
    if (r->known != NULL)
        http2_list_release(r->known);
    if (r->held != NULL)
        session_unhold(ss, r->held);
    if (r->trailers != NULL)
        session_unhold(ss, r->trailers);
    while (r->head != NULL) {
        struct packet *k = r->head;
        r->head = *(struct packet **)packet_scratch(k);
        packet_free(k);
        p->replay_packets--;
    }
    base_slab_free(&p->replays[r->large], r);
    rpc->replay = NULL;
}

/* Into a large record, if there is one. */
static struct proxy_replay *enlarge(struct proxy *p, struct proxy_rpc *rpc)
{
    struct proxy_replay *r = rpc->replay, *to = base_slab_alloc(&p->replays[true]);
    if (to == NULL)
        return r;
    memcpy(to, r, sizeof(*r) + r->near);
    to->large = true;
    base_slab_free(&p->replays[false], r);
    return rpc->replay = to;
}

static struct packet *grow(struct proxy *p, struct proxy_replay *r)
{
    struct packet_pool *pool = sessions_pool(p->sessions);
    struct packet *k = p->replay_packets < packet_pool_size(pool) / REPLAY_SHARE ? packet_alloc(pool) : NULL;
    if (k == NULL)
        return NULL;
    p->replay_packets++;
    *(struct packet **)packet_scratch(k) = NULL;
    if (r->tail != NULL)
        *(struct packet **)packet_scratch(r->tail) = k;
    else
        r->head = k;
    return r->tail = k;
}

bool replay_add(struct proxy *p, struct proxy_rpc *rpc, const uint8_t *data, uint32_t n)
{
    struct proxy_replay *r = rpc->replay;
    r->bytes += n;
    if (r->head == NULL) {
        if (!r->large && r->near + n > replay_space(r))
            r = enlarge(p, rpc);
        uint32_t room = replay_space(r) - r->near_at - r->near, here = room < n ? room : n;
        memcpy(r->space + r->near_at + r->near, data, here);
        r->near = (uint16_t)(r->near + here);
        data += here;
        n -= here;
    }
    while (n > 0) {
        struct packet *k = r->tail;
        if (k == NULL || packet_tailroom(k) == 0)
            k = grow(p, r);
        if (k == NULL) {
            stats_drop(p->stats, STATS_DROP_REPLAY_FULL);
            return false;
        }
        uint32_t chunk = packet_tailroom(k) < n ? packet_tailroom(k) : n;
        memcpy(packet_append(k, chunk), data, chunk);
        data += chunk;
        n -= chunk;
    }
    return true;
}

bool replay_trailers(struct proxy *p, struct proxy_rpc *rpc, const struct base_headers *h)
{
    rpc->replay->trailers = session_hold(p->sessions, h);
    return rpc->replay->trailers != NULL;
}

/* grpc-previous-rpc-attempts: ours, and those that the client counts itself. */
static void attempts_put(struct proxy *p, struct base_headers *h, uint32_t ours)
{
    struct base_header *have = NULL;
    uint32_t v = 0;
    for (uint32_t i = 0; i < h->count && have == NULL; i++)
        if (h->field[i].token == BASE_HEADER_GRPC_PREVIOUS_RPC_ATTEMPTS)
            have = &h->field[i];
    for (uint32_t i = 0; have != NULL && i < have->value_len && i < 6; i++)
        v = have->value[i] >= '0' && have->value[i] <= '9' ? v * 10 + have->value[i] - '0' : v;
    v += ours;
    uint32_t n = 1;
    for (uint32_t x = v; x >= 10; x /= 10)
        n++;
    for (uint32_t k = n; k-- > 0; v /= 10)
        p->attempts[k] = (char)('0' + v % 10);
    if (have == NULL) {
        base_headers_add(h, BASE_HEADER_GRPC_PREVIOUS_RPC_ATTEMPTS, p->attempts, n);
        return;
    }
    h->size += n - have->value_len;
    have->value = (const uint8_t *)p->attempts;
    have->value_len = n;
}

const struct base_headers *replay_fields(struct proxy *p, const struct proxy_rpc *rpc, uint64_t now)
{
    struct base_headers *h = &p->fields;
    const struct proxy_replay *r = rpc->replay;
    if (r->known != NULL)
        list_give(r->known, h);
    else if (r->held != NULL)
        session_held_fields(r->held, h);
    else
        fields_give(r, h);
    if (r->attempts > 0)
        attempts_put(p, h, r->attempts);
    return rpc->deadline_ns == UINT64_MAX ? h : proxy_timeout(p, h, rpc->deadline_ns > now ? rpc->deadline_ns - now : 0);
}

bool replay_has_body(const struct proxy_rpc *rpc)
{
    return rpc->replay->bytes > 0 || rpc->replay->trailers != NULL;
}

bool replay_send(struct proxy *p, const struct proxy_rpc *rpc)
{
    struct proxy_replay *r = rpc->replay;
    struct session_stream *up = rpc->up;
    bool end = rpc->request_ended && r->trailers == NULL;
    up->prepaid = r->credited;
    if (r->near > 0 && !session_data(up, r->space + r->near_at, r->near, end && r->head == NULL))
        return false;
    for (struct packet *k = r->head; k != NULL; k = *(struct packet **)packet_scratch(k))
        if (!session_data(up, packet_data(k), packet_len(k), end && k == r->tail))
            return false;
    if (r->trailers == NULL)
        return true;
    session_held_fields(r->trailers, &p->fields);
    return session_headers(up, &p->fields, true);
}

void replay_unsent(struct proxy_rpc *rpc)
{
    struct proxy_replay *r = rpc->replay;
    if (r != NULL)
        r->credited = r->bytes - rpc->up->queued + rpc->up->prepaid;
}
