/* What a request was, so that it can be sent later or once more: its fields, still decoded, and a copy of its DATA.
 *
 *   credited <= bytes = near + what lies in packets
 *
 * `credited` bytes left once and were given back to the client's stream window; they are not given back again when they leave again. */
#include "internal.h"

bool replay_begin(struct proxy *p, struct proxy_rpc *rpc, const struct base_headers *h)
{
    struct proxy_replay *r = base_slab_alloc(&p->replays);
    if (r == NULL) {
        stats_drop(p->stats, STATS_DROP_REPLAY_FULL);
        return false;
    }
    r->fields = session_hold(rpc->down->session->home, h);
    if (r->fields == NULL) {
        base_slab_free(&p->replays, r);
        return false;
    }
    r->trailers = NULL;
    r->head = r->tail = NULL;
    r->bytes = r->credited = 0;
    r->near = 0;
    r->patience_ns = 0;
    rpc->replay = r;
    return true;
}

void replay_drop(struct proxy *p, struct proxy_rpc *rpc)
{
    struct proxy_replay *r = rpc->replay;
    if (r == NULL)
        return;
    struct sessions *ss = p->sessions;
    session_unhold(ss, r->fields);
    if (r->trailers != NULL)
        session_unhold(ss, r->trailers);
    while (r->head != NULL) {
        struct packet *k = r->head;
        r->head = *(struct packet **)packet_scratch(k);
        packet_free(k);
        p->replay_packets--;
    }
    base_slab_free(&p->replays, r);
    rpc->replay = NULL;
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
        uint32_t here = REPLAY_NEAR - r->near < n ? REPLAY_NEAR - r->near : n;
        memcpy(r->data + r->near, data, here);
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

const struct base_headers *replay_fields(struct proxy *p, const struct proxy_rpc *rpc, uint64_t now)
{
    struct base_headers *h = &p->fields;
    session_held_fields(rpc->replay->fields, h);
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
    if (r->near > 0 && !session_data(up, r->data, r->near, end && r->head == NULL))
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
