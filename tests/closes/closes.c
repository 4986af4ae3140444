/* closes: connections between our TCP (lib/front.h) and Linux's sockets over a tap, opened and closed in every order by either side.  Root.
 *
 *     closes COUNT [SEED]
 *
 * Each connection: who connects, who acts first, which order, how much data: drawn.  Where an order is orderly every byte must have arrived before the end of the
 * stream is seen; where it is not, the other side must be told by an error.  In the end nothing is left: no connection, TIME_WAIT, buffer or timer of ours, no
 * socket of Linux's but its listeners and its TIME_WAIT. */
#include "lib/front.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000ull
enum { BATCH = 32, PORT = 5000, PORTS = 32, DATA = 20000, PATIENCE_MS = 10000 };

enum order {
    CLOSE,        /* A closes, B hears of it and closes */
    BOTH,         /* both in one turn */
    RESET,        /* A resets, B is told */
    HALF,         /* A writes, closes its half; B reads all, answers, closes; A reads all */
    BOTH_HALF,    /* both write and close their half at once, then read */
    DATA_CLOSE,   /* A writes and closes; B reads all */
    DATA_RESET,   /* A writes and resets: B may get some, and is told */
    UNREAD,       /* A closes over what B wrote and A has not read: B is told */
    ORDERS
};
static const char *const names[] = {"close", "both", "reset", "half", "both halves", "data, close", "data, reset", "unread"};

struct end { /* ours: s; Linux's: fd */
    struct front_socket *s;
    int fd;
    uint32_t written, got;
    bool eof, error, closed;
};

struct pair {
    struct end end[2]; /* 0: acts first */
    enum order order;
    uint32_t n[2]; /* octets that each writes */
    uint64_t acted; /* when */
    int step;
};

static struct front *front;
static int tap, listeners[PORTS];
static uint64_t now, draws;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static uint32_t draw(uint32_t below)
{
    return (uint32_t)(base_mix64(++draws * 0x9e3779b97f4a7c15ull) % below);
}

static void device_send(void *ctx, const uint8_t *frame, uint32_t len)
{
    (void)ctx;
    if (write(tap, frame, len) < 0 && errno != EAGAIN)
        die("write to tap");
}

static uint32_t device_receive(void *ctx, uint8_t *frame, uint32_t room)
{
    (void)ctx;
    ssize_t n = read(tap, frame, room);
    return n > 0 ? (uint32_t)n : 0;
}

static void turn(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    now = (uint64_t)t.tv_sec * 1000 * MS + (uint64_t)t.tv_nsec;
    front_poll(front, now);
}

static void open_all(uint64_t seed)
{
    struct ifreq r = {.ifr_flags = IFF_TAP | IFF_NO_PI, .ifr_name = "end"};
    struct front_device device = {NULL, device_send, device_receive};
    struct tcp_config c;
    if (unshare(CLONE_NEWNET) != 0)
        die("unshare");
    tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (tap < 0 || ioctl(tap, TUNSETIFF, &r) != 0)
        die("/dev/net/tun");
    if (system("ip link set lo up && ip addr add 198.18.0.2/24 dev end && ip link set end txqueuelen 10000 up && "
               "echo 1024 65535 > /proc/sys/net/ipv4/ip_local_port_range && echo 1000 > /proc/sys/net/ipv4/tcp_max_tw_buckets") != 0)
        die("ip");
    memset(&c, 0, sizeof(c));
    tcp_config_defaults(&c);
    c.connections = 4 * BATCH, c.timewait = 65536, c.listeners = PORTS, c.syn_backlog = 2 * BATCH;
    c.mtu = 1500;
    c.port_low = 1024;
    c.timewait_ns = 1000 * MS;
    c.isn_key.k[0] = base_mix64(seed);
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    front = front_create(&device, &c, "198.18.0.1/24", seed, (uint64_t)t.tv_sec * 1000 * MS + (uint64_t)t.tv_nsec);
    for (int i = 0; i < PORTS; i++) {
        struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(PORT + i))};
        int one = 1;
        listeners[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        setsockopt(listeners[i], SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (bind(listeners[i], (struct sockaddr *)&any, sizeof(any)) != 0 || listen(listeners[i], 128) != 0 || !front_listen(front, (uint16_t)(PORT + i)))
            die("listen");
    }
}

/* ---- one end ---- */

static long end_read(struct end *e, void *data, size_t n)
{
    if (e->s != NULL)
        return front_read(e->s, data, n);
    ssize_t k = recv(e->fd, data, n, MSG_DONTWAIT);
    return k >= 0 ? k : errno == EAGAIN ? FRONT_AGAIN : FRONT_FAILED;
}

static uint8_t octet(uint32_t at)
{
    return (uint8_t)(at * 7 + at / 251);
}

static void hear(struct end *e)
{
    uint8_t data[4096];
    long n;
    if (e->closed || e->eof || e->error)
        return;
    while ((n = end_read(e, data, sizeof(data))) > 0)
        for (long i = 0; i < n; i++)
            if (data[i] != octet(e->got++))
                die("a wrong octet");
    e->eof = n == 0;
    e->error = n == FRONT_FAILED;
}

static void say(struct end *e, uint32_t n)
{
    uint8_t data[DATA];
    for (uint32_t i = 0; i < n; i++)
        data[i] = octet(i);
    long k = e->s != NULL ? front_write(e->s, data, n) : send(e->fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0 && k != (long)n)
        die("write");
    e->written = n;
}

static void end_shut(struct end *e)
{
    if (e->s != NULL)
        front_shutdown(e->s);
    else if (shutdown(e->fd, SHUT_WR) != 0)
        die("shutdown");
}

static void end_close(struct end *e, bool reset)
{
    struct linger l = {1, 0};
    if (e->s != NULL) {
        if (reset)
            front_abort(e->s);
        else
            front_close(e->s);
    } else {
        if (reset)
            setsockopt(e->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
        close(e->fd);
    }
    e->closed = true;
}

/* ---- a connection ---- */

static bool wait_for(bool (*ready)(struct pair *), struct pair *p)
{
    turn();
    for (uint64_t end = now + PATIENCE_MS * MS; !ready(p); turn())
        if (now > end)
            return false;
    return true;
}

static struct end ours, theirs;
static int listener_now;

static bool both_open(struct pair *p)
{
    (void)p;
    if (ours.s == NULL)
        ours.s = front_accept(front);
    if (theirs.fd < 0)
        theirs.fd = accept4(listeners[listener_now], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return ours.s != NULL && theirs.fd >= 0 && front_is_open(ours.s);
}

static void pair_open(struct pair *p)
{
    ours = (struct end){.fd = -1}, theirs = (struct end){.fd = -1};
    listener_now = (int)draw(PORTS);
    if (draw(2)) {
        ours.s = front_connect(front, "198.18.0.2", (uint16_t)(PORT + listener_now));
        if (ours.s == NULL)
            die("no connection of ours");
    } else {
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(PORT + listener_now)), .sin_addr = {htonl(0xc6120001)}};
        theirs.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (connect(theirs.fd, (struct sockaddr *)&to, sizeof(to)) != 0 && errno != EINPROGRESS)
            die("connect");
    }
    if (!wait_for(both_open, p))
        die("no connection");
    bool we_act = draw(2) != 0;
    *p = (struct pair){.order = (enum order)draw(ORDERS), .end = {we_act ? ours : theirs, we_act ? theirs : ours}};
    p->n[0] = 1 + draw(draw(4) ? 200 : DATA);
    p->n[1] = 1 + draw(draw(4) ? 200 : DATA);
}

static void act(struct pair *p)
{
    struct end *a = &p->end[0], *b = &p->end[1];
    switch (p->order) {
    case BOTH:
        end_close(b, false);
        /* fall through */
    case CLOSE:
        end_close(a, false);
        break;
    case DATA_RESET:
        say(a, p->n[0]);
        /* fall through */
    case RESET:
        end_close(a, true);
        break;
    case BOTH_HALF:
        say(b, p->n[1]);
        end_shut(b);
        /* fall through */
    case HALF:
        say(a, p->n[0]);
        end_shut(a);
        break;
    case DATA_CLOSE:
        say(a, p->n[0]);
        end_close(a, false);
        break;
    case UNREAD:
        say(b, p->n[1]);
        break;
    case ORDERS:
        break;
    }
    p->acted = now;
}

static void wrong(const struct pair *p, const char *what)
{
    const struct end *a = &p->end[0], *b = &p->end[1];
    fprintf(stderr, "%s, %s first: %s; A wrote %u got %u eof %d error %d closed %d, B wrote %u got %u eof %d error %d closed %d\n", names[p->order],
            a->s != NULL ? "ours" : "Linux's", what, a->written, a->got, a->eof, a->error, a->closed, b->written, b->got, b->eof, b->error, b->closed);
    exit(1);
}

/* True: it is over. */
static bool go_on(struct pair *p)
{
    struct end *a = &p->end[0], *b = &p->end[1];
    hear(b);
    if (p->order == UNREAD && !a->closed) {
        if (now - p->acted < 2 * MS) /* until it lies there unread */
            return false;
        end_close(a, false);
    }
    if (p->order == HALF || p->order == BOTH_HALF)
        hear(a);
    bool told = p->order == RESET || p->order == DATA_RESET || p->order == UNREAD;
    if (!b->closed && (b->eof || b->error)) {
        if (told != b->error)
            wrong(p, told ? "B was not told of the reset" : "B was told of an error");
        if (!told && b->got != a->written)
            wrong(p, "the stream ended early");
        if (p->order == HALF)
            say(b, p->n[1]);
        end_close(b, false);
    }
    if (!a->closed && (a->eof || a->error)) {
        if (a->error || (b->closed && a->got != b->written))
            wrong(p, "A's stream ended early");
        end_close(a, false);
    }
    if (now - p->acted > PATIENCE_MS * MS)
        wrong(p, "it does not end");
    return a->closed && b->closed;
}

/* But listeners, and TIME_WAIT, which is Linux's own for a minute. */
static uint32_t sockets_of_linux(void)
{
    char line[300];
    unsigned state;
    uint32_t n = 0;
    FILE *f = fopen("/proc/net/tcp", "r");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        n += sscanf(line, " %*u: %*s %*s %x", &state) == 1 && state != 6 && state != 10;
    if (f != NULL)
        fclose(f);
    return n;
}

static bool all_back(struct pair *p)
{
    (void)p;
    return front_in_use(front, "tcp_conn") == 0 && front_in_use(front, "tcp_timewait") == 0 && sockets_of_linux() == 0;
}

int main(int argc, char **argv)
{
    static struct pair pairs[BATCH];
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 2000, seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1, done = 0, of[ORDERS] = {0};
    draws = seed << 32;
    open_all(seed);
    for (uint32_t n; done < count; done += n) {
        n = count - done < BATCH ? (uint32_t)(count - done) : BATCH;
        for (uint32_t i = 0; i < n; i++)
            pair_open(&pairs[i]);
        for (uint32_t i = 0; i < n; i++) {
            act(&pairs[i]);
            of[pairs[i].order]++;
        }
        for (uint32_t left = n; left > 0;) {
            turn();
            left = 0;
            for (uint32_t i = 0; i < n; i++)
                left += !(pairs[i].end[0].closed && pairs[i].end[1].closed && pairs[i].step++ > 0) && !go_on(&pairs[i]);
        }
    }
    if (!wait_for(all_back, NULL)) {
        fprintf(stderr, "left over: %u connections, %u TIME_WAIT, %u sockets of Linux's\n", front_in_use(front, "tcp_conn"), front_in_use(front, "tcp_timewait"),
                sockets_of_linux());
        return 1;
    }
    front_destroy(front);
    printf("%llu connections closed", (unsigned long long)done);
    for (int i = 0; i < ORDERS; i++)
        printf("%s %s %llu", i == 0 ? ":" : ",", names[i], (unsigned long long)of[i]);
    puts("; everything is back");
    return 0;
}
