/* What waits: queued DATA and held header fields. */
#include "internal.h"

struct session_held *held_create(struct sessions *ss, const struct base_headers *h, bool end)
{
    size_t need = sizeof(struct session_held) + h->count * sizeof(struct base_header);
    for (uint32_t i = 0; i < h->count; i++)
        need += h->field[i].value_len + (h->field[i].token == BASE_HEADER_OTHER ? h->field[i].name_len : 0);
    int class = 0;
    while (class < 3 && ss->held_size[class] < need)
        class++;
    struct session_held *held = NULL;
    for (; class < 3 && held == NULL; class++) {
        held = base_slab_alloc(&ss->held_slab[class]);
        if (held != NULL)
            held->class = (uint8_t)class;
    }
    if (held == NULL) {
        stats_drop(ss->stats, STATS_DROP_BUFFER_FULL);
        return NULL;
    }
    held->next = NULL;
    held->count = h->count;
    held->size = h->size;
    held->end = end;
    uint8_t *at = (uint8_t *)&held->field[h->count];
    for (uint32_t i = 0; i < h->count; i++) {
        struct base_header *f = &held->field[i];
        *f = h->field[i];
        if (f->token == BASE_HEADER_OTHER) {
            memcpy(at, f->name, f->name_len);
            f->name = at;
            at += f->name_len;
        } else {
            f->name = (const uint8_t *)base_header_name((enum base_header_token)f->token);
        }
        memcpy(at, f->value, f->value_len);
        f->value = at;
        at += f->value_len;
    }
    return held;
}

void held_free(struct sessions *ss, struct session_held *held)
{
    base_slab_free(&ss->held_slab[held->class], held);
}

void held_drop(struct sessions *ss, struct session_held **first)
{
    struct session_held *held = *first;
    *first = held->next;
    held_free(ss, held);
}

struct session_held *session_hold(struct sessions *ss, const struct base_headers *h)
{
    return held_create(ss, h, false);
}

void session_held_fields(const struct session_held *held, struct base_headers *out)
{
    out->count = held->count;
    out->size = held->size;
    memcpy(out->field, held->field, held->count * sizeof(struct base_header));
}

void session_unhold(struct sessions *ss, struct session_held *held)
{
    held_free(ss, held);
}

/* Each of them is out of every cache: some 300 cycles, 10,000 for a stream's 64 KiB. */
static uint32_t waste_free(struct sessions *ss, uint32_t most)
{
    uint32_t n = 0;
    for (; ss->waste != NULL && n < most; n++) {
        struct packet *p = ss->waste;
        ss->waste = ((struct session_link *)packet_scratch(p))->next;
        ss->waste_count--;
        packet_free(p);
    }
    return n;
}

#define WASTE_A_TURN 8
#define WASTE_PART   64 /* of the pool's buffers, one in so many may be waste */

uint32_t sessions_reclaim(struct sessions *ss, bool busy)
{
    if (ss->waste == NULL)
        return 0;
    uint32_t most = packet_pool_size(ss->pool) / WASTE_PART;
    if (ss->waste_count > most)
        return waste_free(ss, ss->waste_count - most + WASTE_A_TURN);
    return busy ? 0 : waste_free(ss, WASTE_A_TURN);
}

static struct packet *queue_grow(struct session_stream *st)
{
    struct sessions *ss = st->session->home;
    struct packet *p = packet_alloc(ss->pool);
    if (p == NULL && waste_free(ss, UINT32_MAX) > 0)
        p = packet_alloc(ss->pool);
    if (p == NULL)
        return NULL;
    ((struct session_link *)packet_scratch(p))->next = NULL;
    if (st->tail != NULL)
        ((struct session_link *)packet_scratch(st->tail))->next = p;
    else
        st->head = p;
    st->tail = p;
    st->buffers++;
    return p;
}

#define BACKED_UP 49152 /* three quarters of the window that a stream begins with */

bool queue_append(struct session_stream *st, const uint8_t *data, uint32_t n)
{
    uint32_t before = st->queued;
    while (n > 0) {
        struct packet *p = st->tail;
        if (p == NULL || packet_tailroom(p) == 0)
            p = queue_grow(st);
        if (p == NULL)
            return false;
        uint32_t chunk = packet_tailroom(p) < n ? packet_tailroom(p) : n;
        memcpy(packet_append(p, chunk), data, chunk);
        st->queued += chunk;
        st->session->queued += chunk;
        data += chunk;
        n -= chunk;
    }
    if (before < BACKED_UP && st->queued >= BACKED_UP)
        stats_count(st->session->home->stats, STATS_STREAMS_BACKED_UP, 1);
    return true;
}

void queue_drop(struct session_stream *st)
{
    struct sessions *ss = st->session->home;
    if (st->head != NULL) {
        ((struct session_link *)packet_scratch(st->tail))->next = ss->waste;
        ss->waste = st->head;
        ss->waste_count += st->buffers;
    }
    st->head = st->tail = NULL;
    st->buffers = 0;
    st->session->queued -= st->queued;
    st->queued = 0;
}
