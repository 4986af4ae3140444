/* loop: the control plane's epoll, timers and curl-multi glue.
 *
 * Owns:   one epoll descriptor, timers, one curl multi handle.
 * Uses:   libcurl; no room.
 * Thread: one; callbacks run inside loop_turn() only.  Signals are read through a signalfd that the owner watches.
 * Time:   CLOCK_MONOTONIC, read once a turn: loop_now().
 * Memory: the heap.
 * Errors: NULL on exhaustion; HTTP errors come in loop_http_result. */
#ifndef LOOP_H
#define LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;
struct loop_watch;
struct loop_timer;
struct loop_http;

struct loop *loop_create(void); /* ignores SIGPIPE from then on */
void loop_destroy(struct loop *l); /* watches and timers were removed by their owners; transfers under way are cancelled */
/* Waits for events at most timeout_ms (-1: for the next timer), runs what is due. */
void loop_turn(struct loop *l, int timeout_ms);
uint64_t loop_now(const struct loop *l); /* ns */

/* events: EPOLLIN | EPOLLOUT.  A watch may be removed inside any callback, its own included. */
struct loop_watch *loop_watch_add(struct loop *l, int fd, uint32_t events, void (*ready)(void *user, uint32_t events), void *user);
void loop_watch_remove(struct loop_watch *w);

struct loop_timer *loop_timer_add(struct loop *l, void (*due)(void *user), void *user);
void loop_timer_remove(struct loop_timer *t);
void loop_timer_set(struct loop_timer *t, uint64_t in_ns); /* once, from now; set again to move it */
void loop_timer_stop(struct loop_timer *t);

struct loop_http_request {
    const char *url;
    const char *body;        /* JSON; copied */
    const char *const *headers; /* NULL-terminated "Name: value"; copied */
    const char *ca, *cert, *key; /* files; NULL or "": none */
    uint64_t timeout_ns;     /* of the whole; 0: none (a watch), see first_byte_ns */
    uint64_t first_byte_ns;  /* until the response headers; 0: none */
    size_t max_bytes;        /* of a buffered body, or of one line of a stream */
    bool stream;             /* `line` is called for each line, the last without its newline too */
};

struct loop_http_result {
    bool ok;          /* the transfer ended well, whatever the HTTP status */
    long status;      /* HTTP status; 0: none came */
    const char *body; /* NUL-terminated; empty for a stream */
    size_t length;
    const char *content_type; /* "" where none came */
    const char *error; /* words for people when !ok */
    bool too_large;
};

/* POST.  Exactly one `done` unless loop_http_cancel() comes first.  NULL: not started. */
struct loop_http *loop_http_post(struct loop *l, const struct loop_http_request *r, void (*line)(void *user, const char *line, size_t n),
                                 void (*done)(void *user, const struct loop_http_result *result), void *user);
void loop_http_cancel(struct loop_http *h);

#endif
