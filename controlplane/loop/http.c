/* curl multi over the loop's epoll and timers.
 *
 * curl's callbacks only collect: bytes go into the transfer's buffer, and are handed out in loop_http_deliver(), where the receiver may
 * post and cancel as it likes (curl refuses both inside its own callbacks).
 *
 * HTTP/1.1 everywhere: etcd's gateway routes a cleartext HTTP/2 preface to its gRPC server, and over TLS a watch is better off on a
 * connection of its own.  No proxy: a registry is reached directly, whatever the environment says. */
#include "internal.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define CONNECT_TIMEOUT_MS 2000
/* A peer that vanished without a word: the kernel probes an idle connection after KEEP_IDLE_S, and gives up after USER_TIMEOUT_MS. */
#define KEEP_IDLE_S     3
#define USER_TIMEOUT_MS 4000
#define KEEP_BUFFER     (256 * 1024) /* a larger buffer is given back when it runs empty */

struct loop_http {
    struct loop *loop;
    struct loop_http *next, **prev;
    CURL *easy;
    struct curl_slist *headers;
    char *body;
    struct loop_timer *first_byte;
    void (*line)(void *user, const char *line, size_t n);
    void (*done)(void *user, const struct loop_http_result *result);
    void *user;
    size_t max_bytes;
    char *data; /* received, not yet handed out */
    size_t length, room;
    size_t scanned; /* data[0..scanned) holds no newline (stream) */
    bool stream, too_large, no_first_byte, dead, ended;
    CURLcode code;
    char error[CURL_ERROR_SIZE];
};

static void link_transfer(struct loop_http **head, struct loop_http *h)
{
    h->next = *head;
    h->prev = head;
    if (h->next != NULL)
        h->next->prev = &h->next;
    *head = h;
}

static void unlink_transfer(struct loop_http *h)
{
    *h->prev = h->next;
    if (h->next != NULL)
        h->next->prev = h->prev;
}

/* curl -> epoll */

static void socket_ready(void *user, uint32_t events)
{
    struct loop_watch *w = user;
    int mask = 0, running;
    mask |= events & (EPOLLIN | EPOLLHUP | EPOLLRDHUP) ? CURL_CSELECT_IN : 0;
    mask |= events & EPOLLOUT ? CURL_CSELECT_OUT : 0;
    mask |= events & EPOLLERR ? CURL_CSELECT_ERR : 0;
    curl_multi_socket_action(w->loop->multi, w->fd, mask, &running);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *per_socket)
{
    (void)easy;
    struct loop *l = user;
    struct loop_watch *w = per_socket;
    if (what == CURL_POLL_REMOVE) {
        loop_watch_remove(w);
        curl_multi_assign(l->multi, fd, NULL);
        return 0;
    }
    uint32_t events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
    if (w != NULL) {
        loop_watch_change(w, events);
        return 0;
    }
    w = loop_watch_add(l, fd, events, socket_ready, NULL);
    if (w == NULL)
        return -1;
    w->user = w;
    curl_multi_assign(l->multi, fd, w);
    return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *user)
{
    (void)multi;
    struct loop *l = user;
    if (timeout_ms < 0)
        loop_timer_stop(l->curl_timer);
    else
        loop_timer_set(l->curl_timer, (uint64_t)timeout_ms * 1000000u);
    return 0;
}

static void timer_due(void *user)
{
    struct loop *l = user;
    int running;
    curl_multi_socket_action(l->multi, CURL_SOCKET_TIMEOUT, 0, &running);
}

/* one transfer */

static bool make_room(struct loop_http *h, size_t more)
{
    size_t need = h->length + more + 1; /* a NUL stands behind the data */
    if (need <= h->room)
        return true;
    size_t room = h->room == 0 ? 4096 : h->room;
    while (room < need)
        room *= 2;
    char *data = realloc(h->data, room);
    if (data == NULL)
        return false;
    h->data = data;
    h->room = room;
    return true;
}

/* Bytes behind the last newline (of a stream), or all of them. */
static size_t unfinished(struct loop_http *h)
{
    if (!h->stream)
        return h->length;
    char *last = h->length == h->scanned ? NULL : memrchr(h->data + h->scanned, '\n', h->length - h->scanned);
    return last == NULL ? h->length : h->length - (size_t)(last + 1 - h->data);
}

static size_t on_data(char *data, size_t size, size_t n, void *user)
{
    struct loop_http *h = user;
    (void)size; /* always 1 */
    if (!make_room(h, n))
        return 0;
    memcpy(h->data + h->length, data, n);
    h->length += n;
    h->data[h->length] = '\0';
    if (unfinished(h) > h->max_bytes) {
        h->too_large = true;
        return 0; /* curl ends the transfer */
    }
    return n;
}

static size_t on_header(char *data, size_t size, size_t n, void *user)
{
    struct loop_http *h = user;
    (void)data;
    if (h->first_byte != NULL)
        loop_timer_stop(h->first_byte);
    return size * n;
}

static int on_connected(void *user, curl_socket_t fd, curlsocktype purpose)
{
    (void)user;
    (void)purpose;
    unsigned ms = USER_TIMEOUT_MS;
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
    return CURL_SOCKOPT_OK;
}

static void first_byte_due(void *user)
{
    struct loop_http *h = user;
    h->no_first_byte = true;
    h->ended = true;
}

static void set_text_option(CURL *easy, CURLoption option, const char *text)
{
    if (text != NULL && *text != '\0')
        curl_easy_setopt(easy, option, text);
}

static bool set_up(struct loop_http *h, const struct loop_http_request *r)
{
    CURL *e = h->easy = curl_easy_init();
    h->body = strdup(r->body);
    if (e == NULL || h->body == NULL)
        return false;
    /* "Expect" would cost a round trip on a large put. */
    for (const char *const *t = (const char *const[]){"Content-Type: application/json", "Expect:", NULL}; *t != NULL; t++)
        h->headers = curl_slist_append(h->headers, *t);
    for (const char *const *t = r->headers; t != NULL && *t != NULL; t++)
        h->headers = curl_slist_append(h->headers, *t);
    curl_easy_setopt(e, CURLOPT_URL, r->url);
    curl_easy_setopt(e, CURLOPT_PRIVATE, h);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, h->error);
    curl_easy_setopt(e, CURLOPT_POSTFIELDS, h->body);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, h->headers);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_PROXY, "");
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)(r->timeout_ns / 1000000));
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPIDLE, (long)KEEP_IDLE_S);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPINTVL, 1L);
    curl_easy_setopt(e, CURLOPT_SOCKOPTFUNCTION, on_connected);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, h);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, h);
    set_text_option(e, CURLOPT_CAINFO, r->ca);
    set_text_option(e, CURLOPT_SSLCERT, r->cert);
    set_text_option(e, CURLOPT_SSLKEY, r->key);
    return true;
}

static void transfer_free(struct loop_http *h)
{
    curl_easy_cleanup(h->easy);
    curl_slist_free_all(h->headers);
    loop_timer_remove(h->first_byte);
    free(h->body);
    free(h->data);
    free(h);
}

struct loop_http *loop_http_post(struct loop *l, const struct loop_http_request *r, void (*line)(void *user, const char *line, size_t n),
                                 void (*done)(void *user, const struct loop_http_result *result), void *user)
{
    struct loop_http *h = calloc(1, sizeof(*h));
    if (h == NULL)
        return NULL;
    *h = (struct loop_http){.loop = l, .line = line, .done = done, .user = user, .max_bytes = r->max_bytes, .stream = r->stream};
    if (!set_up(h, r) || !make_room(h, 0) || (h->first_byte = loop_timer_add(l, first_byte_due, h)) == NULL ||
        curl_multi_add_handle(l->multi, h->easy) != CURLM_OK) {
        transfer_free(h);
        return NULL;
    }
    h->data[0] = '\0';
    if (r->first_byte_ns != 0)
        loop_timer_set(h->first_byte, r->first_byte_ns);
    link_transfer(&l->transfers, h);
    return h;
}

void loop_http_cancel(struct loop_http *h)
{
    if (h == NULL || h->dead)
        return;
    h->dead = true;
    loop_timer_stop(h->first_byte);
    curl_multi_remove_handle(h->loop->multi, h->easy);
    unlink_transfer(h);
    link_transfer(&h->loop->dead_transfers, h);
}

/* delivery */

static void deliver_lines(struct loop_http *h)
{
    size_t from = 0;
    while (!h->dead && from < h->length) {
        size_t start = from > h->scanned ? from : h->scanned;
        char *end = memchr(h->data + start, '\n', h->length - start);
        if (end == NULL)
            break;
        *end = '\0';
        if (end != h->data + from)
            h->line(h->user, h->data + from, (size_t)(end - (h->data + from)));
        from = (size_t)(end + 1 - h->data);
    }
    if (h->dead)
        return;
    memmove(h->data, h->data + from, h->length - from + 1);
    h->length -= from;
    h->scanned = h->length;
    if (h->length == 0 && h->room > KEEP_BUFFER) {
        char *data = realloc(h->data, 4096);
        if (data != NULL) {
            h->data = data;
            h->room = 4096;
        }
    }
}

static const char *end_words(const struct loop_http *h)
{
    if (h->too_large)
        return "the answer is larger than we take";
    if (h->no_first_byte)
        return "no answer came";
    return h->error[0] != '\0' ? h->error : curl_easy_strerror(h->code);
}

static void deliver_end(struct loop_http *h)
{
    /* etcd 3.4 sends the last error of a stream without its newline. */
    if (h->stream && h->length > 0 && !h->too_large) {
        h->line(h->user, h->data, h->length);
        if (h->dead)
            return;
        h->length = 0;
        h->data[0] = '\0';
    }
    char *type = NULL;
    struct loop_http_result r = {.ok = h->code == CURLE_OK && !h->no_first_byte && !h->too_large, .too_large = h->too_large};
    curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &r.status);
    curl_easy_getinfo(h->easy, CURLINFO_CONTENT_TYPE, &type);
    r.content_type = type != NULL ? type : "";
    r.body = h->stream || !r.ok ? "" : h->data;
    r.length = h->stream || !r.ok ? 0 : h->length;
    r.error = r.ok ? "" : end_words(h);
    h->done(h->user, &r);
    loop_http_cancel(h); /* out of curl's hands; freed at the end of the turn */
}

void loop_http_deliver(struct loop *l)
{
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(l->multi, &left)) != NULL;) {
        struct loop_http *h;
        if (m->msg != CURLMSG_DONE || curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &h) != CURLE_OK)
            continue;
        h->ended = true;
        h->code = m->data.result;
    }
    /* A receiver may cancel any transfer: after each hand-out the walk starts again from the head, past those that have nothing. */
    for (struct loop_http *h = l->transfers; h != NULL;) {
        bool lines = h->stream && h->length > h->scanned && memchr(h->data + h->scanned, '\n', h->length - h->scanned) != NULL;
        if (!lines && !h->ended) {
            if (h->stream)
                h->scanned = h->length;
            h = h->next;
            continue;
        }
        if (lines)
            deliver_lines(h);
        if (!h->dead && h->ended)
            deliver_end(h);
        h = l->transfers;
    }
}

void loop_http_free_dead(struct loop *l)
{
    while (l->dead_transfers != NULL) {
        struct loop_http *h = l->dead_transfers;
        unlink_transfer(h);
        transfer_free(h);
    }
}

bool loop_http_open(struct loop *l)
{
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes with write(2); a peer that closed must not end the process */
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return false;
    l->multi = curl_multi_init();
    l->curl_timer = loop_timer_add(l, timer_due, l);
    if (l->multi == NULL || l->curl_timer == NULL)
        return false;
    curl_multi_setopt(l->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(l->multi, CURLMOPT_SOCKETDATA, l);
    curl_multi_setopt(l->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(l->multi, CURLMOPT_TIMERDATA, l);
    return true;
}

void loop_http_close(struct loop *l)
{
    while (l->transfers != NULL)
        loop_http_cancel(l->transfers);
    loop_http_free_dead(l);
    if (l->multi != NULL)
        curl_multi_cleanup(l->multi);
    l->multi = NULL;
    loop_timer_remove(l->curl_timer);
    l->curl_timer = NULL;
    curl_global_cleanup();
}
