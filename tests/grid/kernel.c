/* kernel: a kernel's end of a stream, a process with a network namespace and a tap of its own, both gone with it. */
#include "grid.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int tap_open(int host)
{
    char command[200];
    struct ifreq r = {.ifr_flags = IFF_TAP | IFF_NO_PI, .ifr_name = "end"};
    if (unshare(CLONE_NEWNET) != 0)
        die("unshare");
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &r) != 0)
        die("/dev/net/tun");
    snprintf(command, sizeof(command), "ip link set lo up && ip addr add 198.18.0.%d/24 dev end && ip link set end txqueuelen 10000 up", host + 1);
    if (system(command) != 0)
        die("ip");
    return fd;
}

static void fd_send(int sock, int fd)
{
    char byte = 0, control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec v = {&byte, 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    *c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(c), &fd, sizeof(int));
    if (sendmsg(sock, &m, 0) != 1)
        die("sendmsg");
}

static int fd_receive(int sock)
{
    char byte, control[CMSG_SPACE(sizeof(int))];
    struct iovec v = {&byte, 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    int fd;
    if (recvmsg(sock, &m, 0) != 1 || CMSG_FIRSTHDR(&m) == NULL)
        die("recvmsg");
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(int));
    return fd;
}

static int socket_new(int host)
{
    int s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr = {htonl(0xc6120002)}};
    if (setsockopt(s, IPPROTO_TCP, 13 /* TCP_CONGESTION: netinet/tcp.h does not go with tcp.h */, "cubic", 5) != 0)
        die("cubic");
    setsockopt(s, IPPROTO_TCP, 1 /* TCP_NODELAY */, &one, sizeof(one));
    if (host == 0 && connect(s, (struct sockaddr *)&peer, sizeof(peer)) != 0 && errno != EINPROGRESS)
        die("connect");
    if (host == 1 && (bind(s, (struct sockaddr *)&any, sizeof(any)) != 0 || listen(s, 128) != 0))
        die("listen");
    return s;
}

static void serve(int host, const struct cell *c, struct result *r, int first)
{
    uint32_t count = c->connections > 0 ? c->connections : 1;
    struct pollfd *p = calloc(count + 1, sizeof(*p));
    uint64_t now = clock_now();
    struct load *l = load_create(c, host, r, now);
    uint32_t n = 0;
    if (host == 1)
        p[n++] = (struct pollfd){first, POLLIN, 0};
    for (uint32_t i = 0; host == 0 && i < count; i++) {
        p[n++] = (struct pollfd){i == 0 ? first : socket_new(host), POLLIN, 0};
        load_add(l, (struct io){.fd = p[i].fd}, now);
    }
    for (;;) {
        uint64_t next = load_turn(l, now = clock_now());
        for (uint32_t i = 0; i < n; i++)
            p[i].events = (short)(POLLIN | (load_wants_room(l) && (host == 0 || i > 0) ? POLLOUT : 0));
        uint64_t wait = next <= now ? 0 : next - now < S ? next - now : S;
        struct timespec t = {(time_t)(wait / S), (long)(wait % S)};
        ppoll(p, n, &t, NULL);
        if (host == 1 && (p[0].revents & POLLIN) && !load_full(l)) {
            p[n] = (struct pollfd){accept4(first, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), POLLIN, 0};
            int one = 1;
            setsockopt(p[n].fd, IPPROTO_TCP, 1, &one, sizeof(one));
            load_add(l, (struct io){.fd = p[n++].fd}, clock_now());
        }
    }
}

int kernel_end(int host, const struct cell *c, struct result *r, int *sock)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        die("socketpair");
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(pair[0]);
        char byte;
        int fd = tap_open(host), s = -1;
        if (host == 1)
            s = socket_new(host);
        fd_send(pair[1], fd);
        if (read(pair[1], &byte, 1) != 1)
            _exit(1);
        serve(host, c, r, host == 1 ? s : socket_new(host));
        _exit(0);
    }
    close(pair[1]);
    *sock = pair[0];
    return fd_receive(pair[0]);
}
