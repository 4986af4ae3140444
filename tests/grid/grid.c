/* grid: our TCP beside Linux's, over the same bad link (relay.h), 100 Mbit/s, queue of max(64 KB, a bandwidth-delay product).  Root.
 *
 *     grid quick                                      20 ms x {0, 1, 3 %}, one seed, 10 s each
 *     grid long FILE                                  the whole grid, five seeds; what FILE has already is not run again
 *     grid RTT_US LOSS_PPM REORDER SEED SECONDS [pacing]   one cell
 *
 * A cell is three streams: ours to Linux, Linux to ours, Linux to Linux; each in a process of its own, its kernel ends in network namespaces of their own, made
 * anonymously and gone with the process.  The sender writes as long as the cell lasts, the receiver compares every byte.  A wrong byte fails the run; the ratio is
 * printed, not judged: this machine's other load moves it. */
#include "lib/front.h"
#include "relay.h"

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
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000ull
#define S  (1000 * MS)
enum { PORT = 5000, CHUNK = 65536 };
enum kind { OURS_TO_LINUX, LINUX_TO_OURS, LINUX_TO_LINUX, KINDS };
static const char *const kind_names[] = {"ours -> Linux", "Linux -> ours", "Linux -> Linux"};

struct cell {
    uint64_t rtt_us;
    uint32_t loss_ppm;
    bool reorder;
    uint64_t seed;
    uint64_t seconds;
    bool pacing; /* ours */
};

struct result {
    uint64_t bytes;
    bool good;
};

static void die(const char *what)
{
    perror(what);
    _exit(1);
}

static uint64_t clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * S + (uint64_t)t.tv_nsec;
}

/* The stream: 8 bytes of it at a time. */
static void pattern(uint8_t *at, uint64_t from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if ((from + i) % 8 == 0 && n - i >= 8) {
            uint64_t word = base_mix64((from + i) / 8);
            memcpy(at + i, &word, 8);
            i += 7;
        } else {
            at[i] = (uint8_t)(base_mix64((from + i) / 8) >> ((from + i) % 8 * 8));
        }
    }
}

static bool same(const uint8_t *data, uint64_t from, size_t n)
{
    static uint8_t want[CHUNK];
    pattern(want, from, n);
    return memcmp(data, want, n) == 0;
}

/* ---- the kernel's end ---- */

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

static void linux_source(int s, const struct cell *c)
{
    static uint8_t data[CHUNK];
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr = {htonl(0xc6120002)}};
    if (connect(s, (struct sockaddr *)&peer, sizeof(peer)) != 0)
        die("connect");
    uint64_t sent = 0, end = clock_now() + (c->seconds + 2) * S;
    while (clock_now() < end) {
        pattern(data, sent, CHUNK);
        ssize_t n = write(s, data, CHUNK);
        if (n <= 0)
            return;
        sent += (uint64_t)n;
    }
}

static void linux_sink(int s, const struct cell *c, int out)
{
    static uint8_t data[CHUNK];
    struct result r = {0, true};
    int a = accept(s, NULL, NULL);
    uint64_t end = clock_now() + c->seconds * S;
    while (clock_now() < end) {
        ssize_t n = recv(a, data, CHUNK, 0);
        if (n <= 0)
            break;
        r.good &= same(data, r.bytes, (size_t)n);
        r.bytes += (uint64_t)n;
    }
    if (write(out, &r, sizeof(r)) != sizeof(r))
        die("write");
}

/* A process with a kernel of its own: host 0 sends, host 1 receives. Its tap's descriptor comes back; results come through the same socket. */
static int kernel_end(int host, const struct cell *c, int *sock)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        die("socketpair");
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(pair[0]);
        int fd = tap_open(host), s = socket(AF_INET, SOCK_STREAM, 0);
        struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(PORT)};
        char byte;
        if (setsockopt(s, IPPROTO_TCP, 13 /* TCP_CONGESTION: netinet/tcp.h does not go with tcp.h */, "cubic", 5) != 0)
            die("cubic");
        if (host == 1 && (bind(s, (struct sockaddr *)&any, sizeof(any)) != 0 || listen(s, 1) != 0))
            die("listen");
        fd_send(pair[1], fd);
        if (read(pair[1], &byte, 1) != 1)
            _exit(1);
        if (host == 0)
            linux_source(s, c);
        else
            linux_sink(s, c, pair[1]);
        _exit(0);
    }
    close(pair[1]);
    *sock = pair[0];
    return fd_receive(pair[0]);
}

/* ---- the relay and our end ---- */

struct run {
    const struct cell *cell;
    enum kind kind;
    struct relay *relay;
    uint64_t now;
    int fd[2], sock[2]; /* -1: ours */
    int ours;           /* which end; -1: none */
    struct front *front;
    struct front_socket *socket;
    uint64_t sent, begun;
    struct result result;
};

static void ours_send(void *ctx, const uint8_t *frame, uint32_t len)
{
    struct run *r = ctx;
    relay_put(r->relay, r->ours, frame, len, r->now);
}

static uint32_t ours_receive(void *ctx, uint8_t *frame, uint32_t room)
{
    struct run *r = ctx;
    return relay_get(r->relay, r->ours, frame, room, r->now);
}

static void ours_open(struct run *r)
{
    struct front_device device = {r, ours_send, ours_receive};
    struct tcp_config c;
    memset(&c, 0, sizeof(c));
    tcp_config_defaults(&c);
    c.connections = 16, c.timewait = 16, c.listeners = 2, c.syn_backlog = 8;
    c.mtu = 1500;
    c.rto_ns_min = 200 * MS;
    c.pacing = r->cell->pacing;
    c.rcvbuf = 6 << 20; /* as large as Linux's may grow: tcp_rmem, tcp_wmem */
    c.sndbuf = 4 << 20;
    c.reassembly = 4096;
    c.isn_key.k[0] = base_mix64(r->cell->seed + 99);
    r->front = front_create(&device, &c, r->ours == 0 ? "198.18.0.1/24" : "198.18.0.2/24", r->cell->seed, r->now);
    if (r->ours == 0)
        r->socket = front_connect(r->front, "198.18.0.2", PORT);
    else
        front_listen(r->front, PORT);
}

static void ours_turn(struct run *r)
{
    static uint8_t data[CHUNK];
    long n;
    front_poll(r->front, r->now);
    if (r->ours == 0) {
        for (;;) {
            pattern(data, r->sent, 4096);
            if ((n = front_write(r->socket, data, 4096)) <= 0)
                break;
            r->sent += (uint64_t)n;
        }
    } else {
        if (r->socket == NULL && (r->socket = front_accept(r->front)) != NULL)
            r->begun = r->now;
        while (r->socket != NULL && (n = front_read(r->socket, data, CHUNK)) > 0) {
            r->result.good &= same(data, r->result.bytes, (size_t)n);
            r->result.bytes += (uint64_t)n;
        }
    }
    front_poll(r->front, r->now);
}

static void pump(struct run *r)
{
    static uint8_t frame[4096];
    for (int i = 0; i < 2; i++) {
        ssize_t n;
        uint32_t k;
        if (r->fd[i] < 0)
            continue;
        for (int left = 128; left > 0 && (n = read(r->fd[i], frame, sizeof(frame))) > 0; left--)
            relay_put(r->relay, i, frame, (uint32_t)n, r->now);
        while ((k = relay_get(r->relay, i, frame, sizeof(frame), r->now)) > 0)
            if (write(r->fd[i], frame, k) < 0 && errno != EAGAIN)
                die("write to tap");
    }
    if (r->front != NULL)
        ours_turn(r);
}

static bool run_done(struct run *r)
{
    if (r->ours == 1)
        return r->begun != 0 && r->now - r->begun >= r->cell->seconds * S;
    struct pollfd p = {r->sock[1], POLLIN, 0};
    return poll(&p, 1, 0) == 1 && read(r->sock[1], &r->result, sizeof(r->result)) == sizeof(r->result);
}

static struct result run(const struct cell *c, enum kind kind)
{
    uint64_t bdp = 12500 * c->rtt_us / 1000;
    struct relay_link link = {.delay_ns = c->rtt_us * 500, .reorder_ns = c->rtt_us * 250, .loss_ppm = c->loss_ppm, .reorder_ppm = c->reorder ? 20000 : 0,
                              .rate_bps = 100000000, .queue_bytes = bdp > 65536 ? (uint32_t)bdp : 65536, .seed = c->seed};
    struct run r = {.cell = c, .kind = kind, .relay = relay_create(&link), .fd = {-1, -1}, .sock = {-1, -1}, .result = {0, true}};
    r.ours = kind == OURS_TO_LINUX ? 0 : kind == LINUX_TO_OURS ? 1 : -1;
    for (int i = 0; i < 2; i++)
        if (i != r.ours)
            r.fd[i] = kernel_end(i, c, &r.sock[i]);
    r.now = clock_now();
    if (r.ours >= 0)
        ours_open(&r);
    for (int i = 1; i >= 0; i--)
        if (r.sock[i] >= 0 && write(r.sock[i], "g", 1) != 1)
            die("write");
    uint64_t end = r.now + (c->seconds + 30) * S;
    do {
        uint64_t next = relay_next(r.relay), most = r.front != NULL ? MS / 2 : 5 * MS;
        uint64_t wait = next <= r.now ? 0 : next - r.now < most ? next - r.now : most;
        struct timespec t = {0, (long)wait};
        struct pollfd p[3] = {{r.fd[0], POLLIN, 0}, {r.fd[1], POLLIN, 0}, {r.sock[1], POLLIN, 0}};
        ppoll(p, 3, &t, NULL);
        r.now = clock_now();
        pump(&r);
        if (r.now > end)
            r.result.good = false;
    } while (!run_done(&r) && r.now <= end);
    if (r.front != NULL)
        front_destroy(r.front);
    relay_destroy(r.relay);
    return r.result;
}

/* All kinds of a cell side by side. */
static bool cell_run(const struct cell *c, double mbit[KINDS])
{
    int pipes[KINDS];
    bool good = true;
    for (int k = 0; k < KINDS; k++) {
        int p[2];
        if (pipe2(p, O_CLOEXEC) != 0)
            die("pipe");
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            struct result r = run(c, (enum kind)k);
            _exit(write(p[1], &r, sizeof(r)) != sizeof(r));
        }
        close(p[1]);
        pipes[k] = p[0];
    }
    for (int k = 0; k < KINDS; k++) {
        struct result r = {0, false};
        if (read(pipes[k], &r, sizeof(r)) != sizeof(r) || !r.good || r.bytes == 0) {
            printf("%s at %llu us, %u ppm, seed %llu: the stream is not what was sent\n", kind_names[k], (unsigned long long)c->rtt_us, c->loss_ppm,
                   (unsigned long long)c->seed);
            good = false;
        }
        mbit[k] = (double)r.bytes * 8 / 1e6 / (double)c->seconds;
        close(pipes[k]);
        wait(NULL);
    }
    return good;
}

static void cell_print(FILE *out, const struct cell *c, const double mbit[KINDS])
{
    fprintf(out, "| %llu us | %u ppm | %s | %llu | %.2f | %.2f | %.2f | %.2f | %.2f |\n", (unsigned long long)c->rtt_us, c->loss_ppm, c->reorder ? "yes" : "no",
            (unsigned long long)c->seed, mbit[0], mbit[1], mbit[2], mbit[0] / mbit[2], mbit[1] / mbit[2]);
    fflush(out);
}

static const char heading[] = "| RTT | loss | reordering | seed | ours -> Linux | Linux -> ours | Linux -> Linux | ratio, sending | ratio, receiving |\n"
                              "|---|---|---|---|---|---|---|---|---|\n";

static int quick(void)
{
    static const uint32_t losses[] = {0, 10000, 30000};
    bool good = true;
    fputs(heading, stdout);
    for (int i = 0; i < 3; i++) {
        struct cell c = {20000, losses[i], false, 1, 10, false};
        double mbit[KINDS];
        good &= cell_run(&c, mbit);
        cell_print(stdout, &c, mbit);
    }
    return good ? 0 : 1;
}

static bool has_row(const char *file, const struct cell *c)
{
    char row[200], line[400];
    FILE *f = fopen(file, "r");
    bool found = false;
    snprintf(row, sizeof(row), "| %llu us | %u ppm | %s | %llu |", (unsigned long long)c->rtt_us, c->loss_ppm, c->reorder ? "yes" : "no", (unsigned long long)c->seed);
    while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL)
        found = strncmp(line, row, strlen(row)) == 0;
    if (f != NULL)
        fclose(f);
    return found;
}

static int whole(const char *file)
{
    static const uint64_t rtts[] = {100, 20000, 100000};
    static const uint32_t losses[] = {0, 1000, 10000, 30000};
    bool good = true;
    if (access(file, F_OK) != 0) {
        FILE *f = fopen(file, "w");
        fputs(heading, f);
        fclose(f);
    }
    for (int i = 0; i < 3 * 4 * 2 * 5; i++) {
        struct cell c = {rtts[i % 3], losses[i / 3 % 4], i / 12 % 2 != 0, (uint64_t)(i / 24 + 1), i % 3 == 0 ? 5 : 30, false};
        double mbit[KINDS];
        if (has_row(file, &c))
            continue;
        if (!cell_run(&c, mbit)) {
            good = false;
            continue;
        }
        FILE *f = fopen(file, "a");
        cell_print(f, &c, mbit);
        fclose(f);
        cell_print(stdout, &c, mbit);
    }
    return good ? 0 : 1;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc == 2 && strcmp(argv[1], "quick") == 0)
        return quick();
    if (argc == 3 && strcmp(argv[1], "long") == 0)
        return whole(argv[2]);
    if (argc != 6 && argc != 7) {
        fprintf(stderr, "grid quick | long FILE | RTT_US LOSS_PPM REORDER SEED SECONDS [pacing]\n");
        return 2;
    }
    struct cell c = {strtoull(argv[1], NULL, 10), (uint32_t)strtoul(argv[2], NULL, 10), atoi(argv[3]) != 0, strtoull(argv[4], NULL, 10), strtoull(argv[5], NULL, 10), argc == 7};
    double mbit[KINDS];
    bool good = cell_run(&c, mbit);
    fputs(heading, stdout);
    cell_print(stdout, &c, mbit);
    return good ? 0 : 1;
}
