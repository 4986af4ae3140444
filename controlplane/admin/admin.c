/* The daemon's life, and its place in the loop: microhttpd's epoll descriptor is watched, its time-outs are a timer. */
#include "internal.h"
#include "loop/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define OBSERVE_NS 250000000ull
#define MOVE_NS    200000000ull
#define IDLE_S     30 /* a connection that says nothing is closed */
#define TURNS_MAX  8

/* microhttpd may have work left without a descriptor to show for it: then it wants to run again at once. */
static void run(struct admin *a)
{
    MHD_UNSIGNED_LONG_LONG ms = 0;
    MHD_run(a->daemon);
    for (unsigned i = 0; i < TURNS_MAX && MHD_get_timeout(a->daemon, &ms) == MHD_YES && ms == 0; i++)
        MHD_run(a->daemon);
    if (MHD_get_timeout(a->daemon, &ms) == MHD_YES)
        loop_timer_set(a->http_timer, (ms > 1000 ? 1000 : ms) * 1000000ull);
    else
        loop_timer_stop(a->http_timer);
}

static void ready(void *user, uint32_t events)
{
    (void)events;
    run(user);
}

static void due(void *user)
{
    run(user);
}

void admin_http_soon(struct admin *a)
{
    loop_timer_set(a->http_timer, 0);
}

void admin_reopen(struct admin *a)
{
    admin_access_again(a->access);
}

static void observe_due(void *user)
{
    struct admin *a = user;
    admin_observe(a);
    loop_timer_set(a->observe_timer, OBSERVE_NS);
}

void admin_observe(struct admin *a)
{
    admin_accounts_observe(&a->accounts, &a->view);
}

static socklen_t socket_address(const struct base_endpoint *e, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof(*out));
    if (base_addr_is_v4(&e->addr)) {
        struct sockaddr_in *in = (struct sockaddr_in *)out;
        in->sin_family = AF_INET;
        in->sin_port = htons(e->port);
        in->sin_addr.s_addr = base_addr_v4(&e->addr);
        return sizeof(*in);
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(e->port);
    memcpy(&in6->sin6_addr, e->addr.b, 16);
    return sizeof(*in6);
}

/* A socket of our own, so that the reason of a failure is known. */
static int listen_at(const struct base_endpoint *e, char *error, size_t error_len)
{
    struct sockaddr_storage sa;
    socklen_t n = socket_address(e, &sa);
    char text[BASE_ENDPOINT_TEXT];
    int one = 1, fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
        (sa.ss_family == AF_INET || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) == 0) &&
        bind(fd, (struct sockaddr *)&sa, n) == 0 && listen(fd, 128) == 0)
        return fd;
    int why = errno;
    const char *advice =
        why == EADDRINUSE
            ? "another program has it (perhaps another penstock: ss -ltnp shows which); end it or change admin.bind"
        : why == EADDRNOTAVAIL ? "it is no address of this machine; change admin.bind"
        : why == EACCES        ? "ports below 1024 need privileges; change admin.bind"
                               : "change admin.bind";
    snprintf(error, error_len, "the admin server can't listen at %s: %s: %s", base_endpoint_format(e, text),
             strerror(why), advice);
    if (fd >= 0)
        close(fd);
    return -1;
}

static bool start_daemon(struct admin *a, int fd)
{
    a->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, admin_http_handle, a, MHD_OPTION_LISTEN_SOCKET, fd,
                                 MHD_OPTION_CONNECTION_LIMIT, (unsigned)ADMIN_CONNECTIONS_MAX,
                                 MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)ADMIN_CONNECTION_BYTES,
                                 MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S, MHD_OPTION_NOTIFY_COMPLETED,
                                 admin_http_done, a, MHD_OPTION_END);
    if (a->daemon == NULL)
        return false;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(a->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (info == NULL)
        return false;
    a->watch = loop_watch_add(a->loop, info->epoll_fd, EPOLLIN, ready, a);
    return a->watch != NULL;
}

static void move_due(void *user);

struct admin *admin_create(struct loop *l, const struct admin_view *view, char *error, size_t error_len)
{
    struct admin *a = calloc(1, sizeof(*a));
    const struct config *c = view->config(view->user);
    int fd = listen_at(&c->admin, error, error_len);
    if (a == NULL || fd < 0) {
        free(a);
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    a->loop = l;
    a->view = *view;
    a->at = c->admin;
    a->next_fd = -1;
    a->move_timer = loop_timer_add(l, move_due, a);
    a->http_timer = loop_timer_add(l, due, a);
    a->observe_timer = loop_timer_add(l, observe_due, a);
    a->dump = admin_dump_create(a);
    a->capture = admin_capture_create(a);
    a->access = admin_access_create(a);
    bool ok = a->dump != NULL && a->capture != NULL && a->access != NULL && a->http_timer != NULL && a->move_timer != NULL && a->observe_timer != NULL &&
              admin_accounts_create(&a->accounts, view);
    if (!ok || !start_daemon(a, fd)) {
        snprintf(error, error_len, "the admin server can't start: out of memory or descriptors");
        if (a->daemon == NULL)
            close(fd);
        admin_destroy(a);
        return NULL;
    }
    loop_timer_set(a->observe_timer, OBSERVE_NS);
    return a;
}

static void stop_daemon(struct admin *a)
{
    /* Nothing may be suspended when it ends. */
    admin_dump_stop(a->dump);
    admin_capture_stop(a->capture);
    if (a->watch != NULL)
        loop_watch_remove(a->watch);
    if (a->daemon != NULL)
        MHD_stop_daemon(a->daemon);
    a->watch = NULL;
    a->daemon = NULL;
}

static void move_due(void *user)
{
    struct admin *a = user;
    char text[BASE_ENDPOINT_TEXT];
    stop_daemon(a);
    bool ok = start_daemon(a, a->next_fd);
    loop_log(ok ? LOOP_LOG_INFO : LOOP_LOG_ERROR, ok ? "the admin server is at %s now" : "the admin server can't start at %s",
             base_endpoint_format(&a->at, text));
    a->next_fd = -1;
}

bool admin_move(struct admin *a, const struct base_endpoint *to, char *error, size_t error_len)
{
    if (base_addr_eq(&a->at.addr, &to->addr) && a->at.port == to->port)
        return true;
    int fd = listen_at(to, error, error_len);
    if (fd < 0)
        return false;
    if (a->next_fd >= 0)
        close(a->next_fd);
    a->next_fd = fd;
    a->at = *to;
    loop_timer_set(a->move_timer, MOVE_NS);
    return true;
}

void admin_destroy(struct admin *a)
{
    if (a == NULL)
        return;
    stop_daemon(a);
    admin_dump_destroy(a->dump);
    admin_capture_destroy(a->capture);
    admin_access_destroy(a->access);
    if (a->move_timer != NULL)
        loop_timer_remove(a->move_timer);
    if (a->next_fd >= 0)
        close(a->next_fd);
    if (a->http_timer != NULL)
        loop_timer_remove(a->http_timer);
    if (a->observe_timer != NULL)
        loop_timer_remove(a->observe_timer);
    admin_accounts_destroy(&a->accounts, a->view.worker_count);
    free(a);
}
