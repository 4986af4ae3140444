/* The turn: wait, hand out descriptors' events, timers, and what HTTP transfers brought. */
#include "internal.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 64 /* a turn; the rest come with the next */

static uint64_t clock_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

struct loop *loop_create(void)
{
    struct loop *l = calloc(1, sizeof(*l));
    if (l == NULL)
        return NULL;
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->now = clock_now();
    if (l->epoll < 0 || !loop_http_open(l)) {
        loop_destroy(l);
        return NULL;
    }
    return l;
}

static void free_dead(struct loop *l)
{
    loop_http_free_dead(l);
    while (l->dead_watches != NULL) {
        struct loop_watch *w = l->dead_watches;
        l->dead_watches = w->next_dead;
        free(w);
    }
}

void loop_destroy(struct loop *l)
{
    if (l == NULL)
        return;
    loop_http_close(l);
    free_dead(l);
    if (l->epoll >= 0)
        close(l->epoll);
    free(l->heap);
    free(l);
}

uint64_t loop_now(const struct loop *l)
{
    return l->now;
}

static int wait_ms(const struct loop *l, int timeout_ms)
{
    uint64_t ns = loop_timers_wait(l, clock_now());
    if (ns == UINT64_MAX)
        return timeout_ms;
    uint64_t ms = (ns + 999999) / 1000000; /* rounded up: a timer is never early, and never spun for */
    if (timeout_ms >= 0 && ms > (uint64_t)timeout_ms)
        return timeout_ms;
    return ms > 3600000 ? 3600000 : (int)ms;
}

void loop_turn(struct loop *l, int timeout_ms)
{
    struct epoll_event events[EVENTS_MAX];
    int n = epoll_wait(l->epoll, events, EVENTS_MAX, wait_ms(l, timeout_ms));
    l->now = clock_now();
    for (int i = 0; i < n; i++) {
        struct loop_watch *w = events[i].data.ptr;
        if (!w->dead)
            w->ready(w->user, events[i].events);
    }
    loop_timers_run(l);
    loop_http_deliver(l);
    free_dead(l);
}

struct loop_watch *loop_watch_add(struct loop *l, int fd, uint32_t events, void (*ready)(void *user, uint32_t events), void *user)
{
    struct loop_watch *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return NULL;
    *w = (struct loop_watch){.loop = l, .fd = fd, .ready = ready, .user = user};
    struct epoll_event e = {.events = events, .data.ptr = w};
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &e) != 0) {
        free(w);
        return NULL;
    }
    return w;
}

void loop_watch_change(struct loop_watch *w, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = w};
    epoll_ctl(w->loop->epoll, EPOLL_CTL_MOD, w->fd, &e);
}

void loop_watch_remove(struct loop_watch *w)
{
    if (w == NULL)
        return;
    epoll_ctl(w->loop->epoll, EPOLL_CTL_DEL, w->fd, NULL);
    w->dead = true;
    w->next_dead = w->loop->dead_watches;
    w->loop->dead_watches = w;
}
