/* The access log: records from the workers' rings, put into words and written.  A sink that does not take them (a full pipe, a slow disk's error)
 * never holds the loop up: what does not fit into the buffer stays in the rings, and what does not fit there is dropped by the worker and counted.
 *
 * The loop's bounds: RECORDS_TURN records a turn, one write to a file; to anything else (a pipe, a terminal) no more than poll(2) says it takes. */
#include "internal.h"
#include "loop/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TURN_NS      10000000ull
#define RECORDS_TURN 2048
#define BUFFER_MAX   (1u << 20)
#define PIPE_WRITE   4096 /* PIPE_BUF: what a pipe that is writable takes at once */
#define RETRY_NS     1000000000ull

struct admin_access {
    struct admin *admin;
    struct loop_timer *timer;
    int fd; /* -1: closed, or could not be opened */
    bool again, regular, own;
    char path[4096]; /* what fd stands for */
    uint64_t retry_at;
    uint64_t lost; /* records that the sink refused for good */
    struct admin_text text;
    size_t written; /* of text */
};

static const char *wanted(const struct admin_access *s)
{
    return s->admin->view.config(s->admin->view.user)->log_access;
}

static void close_sink(struct admin_access *s)
{
    if (s->fd >= 0 && s->own)
        close(s->fd);
    s->fd = -1;
    s->path[0] = '\0';
}

static void open_sink(struct admin_access *s)
{
    const char *path = wanted(s);
    uint64_t now = loop_now(s->admin->loop);
    struct stat st;
    if (now < s->retry_at && !s->again)
        return;
    close_sink(s);
    s->again = false;
    s->own = strcmp(path, "stderr") != 0;
    s->fd = s->own ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0640) : STDERR_FILENO;
    if (s->fd < 0) {
        s->retry_at = now + RETRY_NS;
        loop_log(LOOP_LOG_WARN, "log.access: %s can't be opened: %s; tried again every second, records wait and then are dropped", path,
                 strerror(errno));
        return;
    }
    s->regular = fstat(s->fd, &st) == 0 && S_ISREG(st.st_mode);
    snprintf(s->path, sizeof(s->path), "%s", path);
}

/* ---- words ---- */

static void add_time(struct admin_text *t)
{
    struct timespec ts;
    struct tm tm;
    char text[32];
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    admin_text_add(t, "%s.%03ldZ", text, ts.tv_nsec / 1000000);
}

struct names {
    const char *listener, *cluster, *reason, *status;
    char client[BASE_ENDPOINT_TEXT], endpoint[BASE_ENDPOINT_TEXT];
};

static void name(const struct admin_access *s, const struct mailbox_access *r, struct names *n)
{
    const struct admin_view *v = &s->admin->view;
    const struct membership_cluster *c =
        r->cluster < membership_cluster_count(v->membership) ? membership_cluster(v->membership, r->cluster) : NULL;
    const struct membership_endpoint *e =
        r->slot < membership_slot_count(v->membership) ? membership_slot(v->membership, r->slot) : NULL;
    n->listener = publish_listener_name(v->publish, r->listener);
    n->listener = n->listener != NULL ? n->listener : "";
    n->cluster = c != NULL ? c->name : "";
    n->reason = r->reason > 0 && r->reason <= STATS_REASON_COUNT ? stats_reason_labels[r->reason - 1] : "";
    n->status = stats_grpc_names[r->code < STATS_GRPC_CODES ? r->code : 2];
    base_endpoint_format(&r->client, n->client);
    n->endpoint[0] = '\0';
    if (e != NULL && e->serial == r->serial)
        base_endpoint_format(&e->address, n->endpoint);
}

static void add_json(struct admin_text *t, const struct mailbox_access *r, const struct names *n)
{
    admin_text_add(t, "{\"time\":\"");
    add_time(t);
    admin_text_add(t, "\",\"listener\":\"");
    admin_text_json(t, n->listener, strlen(n->listener));
    admin_text_add(t, "\",\"client\":\"%s\",\"method\":\"", n->client);
    admin_text_json(t, r->method, r->method_len);
    admin_text_add(t, "\",\"cluster\":\"");
    admin_text_json(t, n->cluster, strlen(n->cluster));
    admin_text_add(t, "\",\"endpoint\":\"%s\",\"grpc\":%s,\"grpc_status\":\"%s\",\"penstock_reason\":\"%s\",\"duration_us\":%.1f,", n->endpoint,
                   r->grpc ? "true" : "false", n->status, n->reason, (double)r->duration_ns / 1e3);
    admin_text_add(t, "\"bytes_up\":%llu,\"bytes_down\":%llu,\"worker\":%u,\"stream\":%u,\"backend_stream\":%u,\"traceparent\":\"",
                   (unsigned long long)r->bytes_up, (unsigned long long)r->bytes_down, r->worker, r->stream_down, r->stream_up);
    admin_text_json(t, r->trace, r->trace_len);
    admin_text_add(t, "\"}\n");
}

/* A word: "-" for nothing; a blank or a control character from the wire becomes '?'. */
static void add_word(struct admin_text *t, const char *word, size_t n)
{
    admin_text_add(t, " %s", n == 0 ? "-" : "");
    for (size_t i = 0; i < n; i++)
        admin_text_add(t, "%c", word[i] > ' ' && word[i] < 127 ? word[i] : '?');
}

static void add_words(struct admin_text *t, const struct mailbox_access *r, const struct names *n)
{
    add_time(t);
    add_word(t, n->listener, strlen(n->listener));
    add_word(t, n->client, strlen(n->client));
    add_word(t, r->method, r->method_len);
    add_word(t, n->cluster, strlen(n->cluster));
    add_word(t, n->endpoint, strlen(n->endpoint));
    add_word(t, n->status, strlen(n->status));
    add_word(t, n->reason, strlen(n->reason));
    admin_text_add(t, " %.1fus up=%llu down=%llu worker=%u stream=%u/%u", (double)r->duration_ns / 1e3, (unsigned long long)r->bytes_up,
                   (unsigned long long)r->bytes_down, r->worker, r->stream_down, r->stream_up);
    add_word(t, r->trace, r->trace_len);
    admin_text_add(t, "\n");
}

static void collect(struct admin_access *s)
{
    const struct admin_view *v = &s->admin->view;
    enum config_access format = v->config(v->user)->log_access_format;
    struct mailbox_access r;
    struct names n;
    for (unsigned w = 0; v->mailboxes != NULL && w < v->worker_count; w++)
        for (unsigned i = 0; i < RECORDS_TURN && s->text.length < BUFFER_MAX && mailbox_access_next(v->mailboxes[w], &r); i++) {
            name(s, &r, &n);
            if (format == CONFIG_ACCESS_JSON)
                add_json(&s->text, &r, &n);
            else
                add_words(&s->text, &r, &n);
        }
}

/* ---- the sink ---- */

/* How much may be written without waiting. */
static size_t ready(const struct admin_access *s, size_t n)
{
    struct pollfd p = {.fd = s->fd, .events = POLLOUT};
    if (s->regular)
        return n;
    if (poll(&p, 1, 0) <= 0 || !(p.revents & POLLOUT))
        return 0;
    return n < PIPE_WRITE ? n : PIPE_WRITE;
}

static void give_up(struct admin_access *s)
{
    for (size_t i = s->written; i < s->text.length; i++)
        s->lost += s->text.text[i] == '\n';
    s->text.length = s->written = 0;
}

static void write_out(struct admin_access *s)
{
    for (unsigned i = 0; i < 64 && s->written < s->text.length; i++) {
        size_t n = ready(s, s->text.length - s->written);
        ssize_t done = n > 0 ? write(s->fd, s->text.text + s->written, n) : 0;
        if (done < 0 && errno != EAGAIN && errno != EINTR) {
            loop_log(LOOP_LOG_WARN, "log.access: %s: %s; what waited is dropped", s->path, strerror(errno));
            give_up(s);
            close_sink(s);
            s->retry_at = loop_now(s->admin->loop) + RETRY_NS;
        }
        if (done <= 0)
            return;
        s->written += (size_t)done;
    }
    if (s->written == s->text.length)
        s->text.length = s->written = 0;
}

static void turn(struct admin_access *s)
{
    bool off = wanted(s)[0] == '\0';
    if (!off && (s->fd < 0 || s->again || strcmp(s->path, wanted(s)) != 0))
        open_sink(s);
    collect(s);
    if (s->fd >= 0)
        write_out(s);
    else if (off)
        give_up(s); /* of calls that began before it was switched off */
    if (off && s->fd >= 0 && s->text.length == 0)
        close_sink(s);
}

static void due(void *user)
{
    struct admin_access *s = user;
    turn(s);
    loop_timer_set(s->timer, wanted(s)[0] == '\0' && s->fd < 0 ? 10 * TURN_NS : TURN_NS);
}

void admin_access_again(struct admin_access *s)
{
    s->again = true;
    loop_timer_set(s->timer, 0);
}

uint64_t admin_access_lost(const struct admin_access *s)
{
    return s->lost;
}

struct admin_access *admin_access_create(struct admin *a)
{
    struct admin_access *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->admin = a;
    s->fd = -1;
    s->timer = loop_timer_add(a->loop, due, s);
    if (s->timer == NULL) {
        free(s);
        return NULL;
    }
    loop_timer_set(s->timer, TURN_NS);
    return s;
}

void admin_access_destroy(struct admin_access *s)
{
    if (s == NULL)
        return;
    turn(s); /* workers have ended: the last records */
    close_sink(s);
    loop_timer_remove(s->timer);
    free(s->text.text);
    free(s);
}
