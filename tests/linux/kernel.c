/* Linux's side: a tun device in a network namespace of this process, sockets with nobody but us at the other end, real time.  A segment that is written to
 * the device is answered before write() returns. */
#include "play.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/tcp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define OURS 0xc6120001u /* 198.18.0.1 */
#define PEER 0xc6130000u /* 198.19.0.0 and up */
#define PORT_FIRST 2000
#define PORTS      60000

struct slot {
    const struct sequence *s;
    struct trace *t;
    int listener, fd;
    uint32_t next; /* event */
    bool error, slow;
};

static int tun;
static uint32_t port_next;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

void kernel_open(void)
{
    struct ifreq r = {.ifr_flags = IFF_TUN | IFF_NO_PI, .ifr_name = "end"};
    if (unshare(CLONE_NEWNET) != 0)
        die("unshare");
    tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (tun < 0 || ioctl(tun, TUNSETIFF, &r) != 0)
        die("/dev/net/tun");
    /* What Linux remembers of a peer, or answers to one socket only so often, is not what is compared. */
    if (system("ip link set lo up && ip addr add 198.18.0.1/15 dev end && ip link set end mtu 1500 txqueuelen 20000 up && cd /proc/sys/net/ipv4 && "
               "echo 1 >tcp_no_metrics_save && echo 0 >tcp_invalid_ratelimit && echo 0 >tcp_syncookies && echo 20000 >tcp_max_syn_backlog && "
               "echo 0 >ip_local_port_range 2>/dev/null; cd /proc/sys/net/ipv4 && echo 2000 2000 >ping_group_range 2>/dev/null; true") != 0)
        die("ip");
}

static uint32_t sum(const uint8_t *p, uint32_t n, uint32_t from)
{
    for (uint32_t i = 0; i < n; i++)
        from += i % 2 ? p[i] : (uint32_t)p[i] << 8;
    return from;
}

static uint16_t folded(uint32_t s)
{
    while (s > 0xffff)
        s = (s & 0xffff) + (s >> 16);
    return (uint16_t)~s;
}

static uint16_t port_of(uint32_t slot)
{
    return (uint16_t)(PORT_FIRST + (port_next + slot) % PORTS);
}

static struct sockaddr_in address(uint32_t ip, uint16_t port)
{
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(ip)}};
}

static void segment_send(const struct slot *l, uint32_t slot, const struct event *e)
{
    uint8_t b[2048] = {0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6};
    uint32_t n = wire_write(l->s, e, l->t, port_of(slot), b + 20);
    uint32_t from = htonl(PEER + slot + 1), to = htonl(OURS);
    b[2] = (uint8_t)((n + 20) >> 8), b[3] = (uint8_t)(n + 20);
    memcpy(b + 12, &from, 4), memcpy(b + 16, &to, 4);
    uint16_t c = folded(sum(b, 20, 0));
    b[10] = (uint8_t)(c >> 8), b[11] = (uint8_t)c;
    c = folded(sum(b + 20, n, sum(b + 12, 8, 6 + n)));
    b[36] = (uint8_t)(c >> 8), b[37] = (uint8_t)c;
    if (write(tun, b, n + 20) != (ssize_t)(n + 20))
        die("write to tun");
}

/* now_at: the slot whose event this is; `count`: none's. */
static void drain(struct slot *l, uint32_t count, uint32_t tick, uint32_t now_at)
{
    uint8_t b[65536];
    ssize_t n;
    while ((n = read(tun, b, sizeof(b))) > 0) {
        uint32_t at = (uint32_t)(b[0] & 15) * 4;
        if (b[0] >> 4 != 4 || b[9] != 6 || n < 40)
            continue;
        uint32_t slot = ((uint32_t)b[at] << 8 | b[at + 1]) - port_of(0);
        if (slot < count && l[slot].next > 0)
            wire_note(l[slot].s, l[slot].t, tick, l[slot].next - 1, slot == now_at, b + at, (uint32_t)n - at);
    }
}

static void socket_new(struct slot *l, uint32_t slot, bool listen_on)
{
    int one = 1, big = 1 << 20, s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = address(OURS, port_of(slot));
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    setsockopt(s, IPPROTO_TCP, 1 /* TCP_NODELAY */, &one, sizeof(one));
    setsockopt(s, SOL_SOCKET, 32 /* SO_SNDBUFFORCE */, &big, sizeof(big));
    if (s < 0 || bind(s, (struct sockaddr *)&a, sizeof(a)) != 0 || (listen_on && listen(s, 16) != 0))
        die("socket");
    if (listen_on)
        l->listener = s;
    else
        l->fd = s;
}

static void accept_try(struct slot *l)
{
    if (l->listener >= 0 && l->fd < 0)
        l->fd = accept4(l->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static void app_close(struct slot *l, bool hard)
{
    struct linger g = {1, 0};
    if (hard)
        setsockopt(l->fd, SOL_SOCKET, SO_LINGER, &g, sizeof(g));
    close(l->fd);
    l->fd = -1;
}

static void app_do(struct slot *l, const struct event *e)
{
    static uint8_t data[100000];
    ssize_t n;
    accept_try(l);
    if (l->fd < 0)
        return;
    if (e->kind == WRITE && (n = send(l->fd, data, e->n, MSG_NOSIGNAL)) > 0)
        l->t->written += (uint32_t)n;
    if (e->kind == READ && (n = recv(l->fd, data, e->n, 0)) > 0)
        wire_read(l->t, data, (size_t)n), memset(data, 0, sizeof(data));
    if (e->kind == SHUTDOWN)
        shutdown(l->fd, SHUT_WR);
    if (e->kind == CLOSE || e->kind == ABORT)
        app_close(l, e->kind == ABORT);
}

static void mark(struct slot *l, uint32_t interval)
{
    static const uint8_t states[] = {APP_NONE, APP_ESTABLISHED, APP_SYN_SENT, APP_SYN_RECEIVED, APP_FIN_WAIT_1, APP_FIN_WAIT_2, APP_CLOSED, APP_CLOSED, APP_CLOSE_WAIT,
                                     APP_LAST_ACK, APP_NONE, APP_CLOSING, APP_SYN_RECEIVED};
    struct tcp_info info;
    socklen_t n = sizeof(info), m = sizeof(int);
    int unread = 0, error = 0;
    accept_try(l);
    struct mark *k = &l->t->mark[interval];
    *k = (struct mark){.hash = l->t->hash, .received = l->t->read};
    if (l->fd < 0)
        return;
    getsockopt(l->fd, IPPROTO_TCP, TCP_INFO, &info, &n);
    getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &m);
    ioctl(l->fd, FIONREAD, &unread);
    l->error |= error != 0;
    if (info.tcpi_state == 1 /* TCP_ESTABLISHED */ && !l->slow) { /* no quick ACKs, which a connection else begins with */
        int off = 0;
        setsockopt(l->fd, IPPROTO_TCP, TCP_QUICKACK, &off, sizeof(off));
        l->slow = true;
    }
    k->state = states[info.tcpi_state % 13];
    k->error = l->error;
    k->received += (uint32_t)unread;
}

static void slot_turn(struct slot *all, uint32_t slot, uint32_t count, uint32_t tick)
{
    struct slot *l = &all[slot];
    const struct sequence *s = l->s;
    if (l->next == s->count) {
        if (tick == s->end)
            mark(l, l->next - 1);
        return;
    }
    const struct event *e = &s->event[l->next];
    if (e->tick != tick)
        return;
    drain(all, count, tick, count); /* what timers had to say before it */
    if (l->next > 0)
        mark(l, l->next - 1);
    l->next++;
    if (e->kind == SEGMENT) {
        segment_send(l, slot, e);
    } else if (e->kind == OPEN) {
        struct sockaddr_in peer = address(PEER + slot + 1, PEER_PORT);
        socket_new(l, slot, false);
        if (connect(l->fd, (struct sockaddr *)&peer, sizeof(peer)) != 0 && errno != EINPROGRESS)
            die("connect");
    } else {
        app_do(l, e);
    }
    accept_try(l);
    drain(all, count, tick, slot);
}

void kernel_play(const struct sequence *s, struct trace *t, uint32_t count)
{
    struct slot *l = calloc(count, sizeof(*l));
    uint32_t end = 0;
    if (port_next % PORTS + count > PORTS) /* a batch's ports are in a row */
        port_next += PORTS - port_next % PORTS;
    for (uint32_t i = 0; i < count; i++) {
        l[i] = (struct slot){.s = &s[i], .t = &t[i], .listener = -1, .fd = -1};
        memset(&t[i], 0, sizeof(t[i]));
        if (s[i].listen)
            socket_new(&l[i], i, true);
        end = s[i].end > end ? s[i].end : end;
    }
    uint64_t start = clock_now() + TICK_NS;
    for (uint32_t tick = 0; tick <= end; tick++) {
        uint64_t due = start + tick * TICK_NS, now;
        while ((now = clock_now()) < due) {
            struct pollfd p = {tun, POLLIN, 0};
            struct timespec wait = {0, (long)(due - now)};
            ppoll(&p, 1, &wait, NULL);
            now = clock_now();
            drain(l, count, tick == 0 ? 0 : now < due ? tick - 1 : tick, count);
        }
        for (uint32_t i = 0; i < count; i++)
            slot_turn(l, i, count, tick);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (l[i].fd >= 0)
            app_close(&l[i], true);
        while (l[i].listener >= 0 && (l[i].fd = accept4(l[i].listener, NULL, NULL, 0)) >= 0)
            app_close(&l[i], true);
        if (l[i].listener >= 0)
            close(l[i].listener);
    }
    for (uint8_t b[2048]; read(tun, b, sizeof(b)) > 0;)
        continue;
    port_next += count;
    free(l);
}
