#include "relay.h"

#include "base/base.h"

#include <stdlib.h>
#include <string.h>

struct frame {
    struct frame *next, *prev;
    uint64_t at;
    uint32_t len;
    uint8_t bytes[];
};

struct relay {
    struct relay_link link;
    struct {
        struct frame *first, *last; /* in order of time */
        uint64_t free_at, count;
    } way[2]; /* [i]: to end i */
    uint64_t given, late;
};

struct relay *relay_create(const struct relay_link *link)
{
    struct relay *r = calloc(1, sizeof(*r));
    r->link = *link;
    return r;
}

void relay_destroy(struct relay *r)
{
    for (int i = 0; i < 2; i++)
        while (r->way[i].first != NULL) {
            struct frame *f = r->way[i].first;
            r->way[i].first = f->next;
            free(f);
        }
    free(r);
}

static void enqueue(struct relay *r, int to, const uint8_t *bytes, uint32_t len, uint64_t at)
{
    struct frame *f = malloc(sizeof(*f) + len), *before = r->way[to].last;
    f->at = at;
    f->len = len;
    memcpy(f->bytes, bytes, len);
    while (before != NULL && before->at > at)
        before = before->prev;
    f->prev = before;
    f->next = before != NULL ? before->next : r->way[to].first;
    if (f->next != NULL)
        f->next->prev = f;
    else
        r->way[to].last = f;
    if (before != NULL)
        before->next = f;
    else
        r->way[to].first = f;
}

static bool is_tcp(const uint8_t *f, uint32_t len)
{
    return len >= 34 && ((f[12] == 8 && f[13] == 0 && f[23] == 6) || (f[12] == 0x86 && f[13] == 0xdd && f[20] == 6));
}

void relay_put(struct relay *r, int from, const uint8_t *frame, uint32_t len, uint64_t now)
{
    const struct relay_link *l = &r->link;
    int to = !from;
    if (!is_tcp(frame, len)) {
        enqueue(r, to, frame, len, now + l->delay_ns);
        return;
    }
    /* Drawn from the packet's number alone: the n-th segment of a direction fares the same whoever sends it. */
    uint64_t draw = base_mix64(l->seed * 2 + (uint64_t)to + (r->way[to].count++ << 20)), more = base_mix64(draw);
    if (draw % 1000000 < l->loss_ppm)
        return;
    uint64_t start = r->way[to].free_at > now ? r->way[to].free_at : now;
    if ((start - now) / 1000 * l->rate_bps / 8000000 > l->queue_bytes)
        return;
    r->way[to].free_at = start + (uint64_t)len * 8000000000ull / l->rate_bps;
    uint64_t at = r->way[to].free_at + l->delay_ns;
    if (more % 1000000 < l->reorder_ppm)
        at += base_mix64(more) % (l->reorder_ns + 1);
    enqueue(r, to, frame, len, at);
    if (base_mix64(more + 1) % 1000000 < l->dup_ppm)
        enqueue(r, to, frame, len, at);
}

uint32_t relay_get(struct relay *r, int to, uint8_t *frame, uint32_t room, uint64_t now)
{
    struct frame *f = r->way[to].first;
    if (f == NULL || f->at > now || f->len > room)
        return 0;
    uint32_t len = f->len;
    r->given++;
    r->late += now - f->at > r->link.late_ns;
    memcpy(frame, f->bytes, len);
    r->way[to].first = f->next;
    if (f->next != NULL)
        f->next->prev = NULL;
    else
        r->way[to].last = NULL;
    free(f);
    return len;
}

void relay_late(const struct relay *r, uint64_t *frames, uint64_t *late)
{
    *frames = r->given;
    *late = r->late;
}

uint64_t relay_next(const struct relay *r)
{
    uint64_t first = UINT64_MAX;
    for (int i = 0; i < 2; i++)
        if (r->way[i].first != NULL && r->way[i].first->at < first)
            first = r->way[i].first->at;
    return first;
}
