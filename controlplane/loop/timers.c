/* Timers in a binary heap: some hundreds at most (a few for each etcd watch), set far more often than they fire. */
#include "internal.h"

#include <stdlib.h>

static void place(struct loop *l, size_t i, struct loop_timer *t)
{
    l->heap[i] = t;
    t->index = i;
}

static void sift_up(struct loop *l, size_t i)
{
    struct loop_timer *t = l->heap[i];
    for (; i > 0 && l->heap[(i - 1) / 2]->at > t->at; i = (i - 1) / 2)
        place(l, i, l->heap[(i - 1) / 2]);
    place(l, i, t);
}

static void sift_down(struct loop *l, size_t i)
{
    struct loop_timer *t = l->heap[i];
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= l->heap_count)
            break;
        if (child + 1 < l->heap_count && l->heap[child + 1]->at < l->heap[child]->at)
            child++;
        if (l->heap[child]->at >= t->at)
            break;
        place(l, i, l->heap[child]);
        i = child;
    }
    place(l, i, t);
}

struct loop_timer *loop_timer_add(struct loop *l, void (*due)(void *user), void *user)
{
    struct loop_timer *t = calloc(1, sizeof(*t));
    if (t == NULL)
        return NULL;
    *t = (struct loop_timer){.loop = l, .due = due, .user = user, .index = TIMER_IDLE};
    return t;
}

void loop_timer_stop(struct loop_timer *t)
{
    struct loop *l = t->loop;
    size_t i = t->index;
    if (i == TIMER_IDLE)
        return;
    t->index = TIMER_IDLE;
    struct loop_timer *last = l->heap[--l->heap_count];
    if (last == t)
        return;
    place(l, i, last);
    sift_up(l, i);
    sift_down(l, last->index);
}

void loop_timer_remove(struct loop_timer *t)
{
    if (t == NULL)
        return;
    loop_timer_stop(t);
    free(t);
}

void loop_timer_set(struct loop_timer *t, uint64_t in_ns)
{
    struct loop *l = t->loop;
    loop_timer_stop(t);
    if (l->heap_count == l->heap_room) {
        size_t room = l->heap_room == 0 ? 64 : 2 * l->heap_room;
        struct loop_timer **heap = realloc(l->heap, room * sizeof(*heap));
        if (heap == NULL)
            abort(); /* a control plane that loses timers is worse than one that is started again */
        l->heap = heap;
        l->heap_room = room;
    }
    t->at = in_ns > UINT64_MAX - l->now ? UINT64_MAX : l->now + in_ns;
    if (t->at == l->now)
        t->at++; /* a timer set inside its own callback runs in the next turn: no turn is endless */
    place(l, l->heap_count++, t);
    sift_up(l, t->index);
}

uint64_t loop_timers_wait(const struct loop *l, uint64_t now)
{
    if (l->heap_count == 0)
        return UINT64_MAX;
    uint64_t at = l->heap[0]->at;
    return at > now ? at - now : 0;
}

void loop_timers_run(struct loop *l)
{
    while (l->heap_count > 0 && l->heap[0]->at <= l->now) {
        struct loop_timer *t = l->heap[0];
        loop_timer_stop(t);
        t->due(t->user);
    }
}
