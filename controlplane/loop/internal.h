/* What loop.c, timers.c and http.c share. */
#ifndef LOOP_INTERNAL_H
#define LOOP_INTERNAL_H

#include <curl/curl.h>

#include "loop.h"

struct loop_timer {
    struct loop *loop;
    void (*due)(void *user);
    void *user;
    uint64_t at;  /* ns */
    size_t index; /* in the heap; TIMER_IDLE: not armed */
};
#define TIMER_IDLE SIZE_MAX

struct loop_watch {
    struct loop *loop;
    struct loop_watch *next_dead;
    int fd;
    bool dead;
    void (*ready)(void *user, uint32_t events);
    void *user;
};

struct loop {
    int epoll;
    uint64_t now;
    struct loop_timer **heap; /* heap[i]->at <= heap[2i+1]->at, heap[2i+2]->at */
    size_t heap_count, heap_room;
    struct loop_watch *dead_watches; /* freed between turns: an event of this turn may still name them */
    CURLM *multi;
    struct loop_timer *curl_timer;
    struct loop_http *transfers, *dead_transfers;
};

/* timers.c.  Nanoseconds until the first timer, UINT64_MAX: none. */
uint64_t loop_timers_wait(const struct loop *l, uint64_t now);
void loop_timers_run(struct loop *l);

/* loop.c */
void loop_watch_change(struct loop_watch *w, uint32_t events);

/* http.c */
bool loop_http_open(struct loop *l);
void loop_http_close(struct loop *l);
/* Hands out the lines that came and the ends of transfers; outside of any curl callback, so that the receiver may post and cancel. */
void loop_http_deliver(struct loop *l);
void loop_http_free_dead(struct loop *l);

#endif
