/* wire: a link with a delay and a rate between two interfaces of this machine's kernel, for programs as they are.
 *
 *   wire END END DELAY_US RATE_BPS      END: tap:NAME (made), or raw:NAME (an interface that is there)
 *
 * DELAY_US is one way's.  Says "ready" once both ends stand; ends with SIGTERM.  tests/net/far.py uses it: this kernel may have no netem. */
#include "relay.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FRAME 2048

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static int open_tap(const char *name)
{
    struct ifreq r = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
    return fd >= 0 && ioctl(fd, TUNSETIFF, &r) == 0 ? fd : -1;
}

static int open_raw(const char *name)
{
    struct sockaddr_ll a = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex(name)};
    int room = 8 << 20, yes = 1, fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ETH_P_ALL));
    if (fd < 0 || a.sll_ifindex == 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
    /* Not what we send ourselves. */
    return setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof(yes)) == 0 ? fd : -1;
}

static int open_end(const char *words)
{
    if (strncmp(words, "tap:", 4) == 0)
        return open_tap(words + 4);
    return strncmp(words, "raw:", 4) == 0 ? open_raw(words + 4) : -1;
}

static void take(struct relay *r, int from, int fd)
{
    uint8_t frame[FRAME];
    for (ssize_t n; (n = read(fd, frame, sizeof(frame))) > 0;)
        relay_put(r, from, frame, (uint32_t)n, now_ns());
}

static void give(struct relay *r, int to, int fd)
{
    uint8_t frame[FRAME];
    for (uint32_t n; (n = relay_get(r, to, frame, sizeof(frame), now_ns())) > 0;)
        if (write(fd, frame, n) < 0)
            return; /* as a full queue would */
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fputs("usage: wire END END DELAY_US RATE_BPS\n", stderr);
        return 2;
    }
    uint64_t delay = strtoull(argv[3], NULL, 10) * 1000, rate = strtoull(argv[4], NULL, 10);
    /* A queue of twice the bandwidth-delay product, a megabyte at least. */
    double queue = 4.0 * (double)delay / 1e9 * (double)rate / 8;
    struct relay_link link = {.delay_ns = delay, .rate_bps = rate, .queue_bytes = queue > 1e6 ? (uint32_t)queue : 1000000};
    struct relay *r = relay_create(&link);
    struct pollfd p[2] = {{open_end(argv[1]), POLLIN, 0}, {open_end(argv[2]), POLLIN, 0}};
    if (r == NULL || p[0].fd < 0 || p[1].fd < 0) {
        perror("wire");
        return 1;
    }
    puts("ready");
    fflush(stdout);
    for (;;) {
        uint64_t next = relay_next(r), now = now_ns(), wait = next > now ? next - now : 0;
        struct timespec t = {(time_t)(wait / 1000000000ull), (long)(wait % 1000000000ull)};
        ppoll(p, 2, next == UINT64_MAX ? NULL : &t, NULL);
        for (int i = 0; i < 2; i++)
            take(r, i, p[i].fd);
        for (int i = 0; i < 2; i++)
            give(r, i, p[i].fd);
    }
}
