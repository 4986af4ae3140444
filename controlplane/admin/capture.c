/* POST /api/v1/capture: frames of every port and worker, streamed as pcapng to whoever asked, wherever and as whomever he runs.
 *
 *     BEGUN --seconds, end, client gone--> ENDING --every worker let go, or 2 s--> OVER --answer read or connection gone--> (free)
 *
 * Each worker copies frames into a tap's ring (packet/tap.h); every few ms they are written as blocks to a memory file, from which the answer is
 * read.  What is staged there is bounded: a client that does not read leaves frames in the rings, which lose what does not fit, counted.  A tap
 * that a stuck worker still holds stays until the worker gives it back, and no other capture begins before. */
#include "internal.h"
#include "loop/log.h"
#include "packet/tap.h"

#include <errno.h>
#include <pcap/pcap.h>
#include <rte_cycles.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TURN_NS     5000000ull
#define STAGED_MAX  (8u << 20)
#define FRAMES_TURN 2048 /* of one worker */
#define LET_GO_NS   2000000000ull
#define FRAME_MAX   9728

enum stage { IDLE, BEGUN, ENDING, OVER };

struct admin_capture {
    struct admin *admin;
    struct loop_timer *timer;
    enum stage stage;
    struct MHD_Connection *connection; /* NULL: gone */
    int socket;
    bool suspended, gone, failed;
    struct bpf_program filter;
    struct packet_tap *tap[SNAPSHOT_WORKERS_MAX];
    bool told[SNAPSHOT_WORKERS_MAX]; /* the order of this stage is on its way */
    struct admin_pcapng *file;
    int memory; /* file: [read, written) is staged */
    uint64_t read;
    uint64_t until, ending_since; /* until 0: no end */
    uint64_t last_ns[SNAPSHOT_WORKERS_MAX];
    /* of the one that runs, or of the last */
    uint64_t frames, seen, matched, lost;
};

static uint64_t staged(const struct admin_capture *c)
{
    off_t end = lseek(c->memory, 0, SEEK_CUR);
    return end < 0 || (uint64_t)end < c->read ? 0 : (uint64_t)end - c->read;
}

/* ---- time: the TSC that frames carry, as of now ---- */

struct clock {
    uint64_t tsc, unix_ns, hz;
};

static struct clock clock_now(void)
{
    struct timespec ts;
    struct clock k = {.tsc = rte_rdtsc(), .hz = rte_get_tsc_hz()};
    clock_gettime(CLOCK_REALTIME, &ts);
    k.tsc += (rte_rdtsc() - k.tsc) / 2;
    k.unix_ns = (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
    return k;
}

/* Never before the one before it: two readings of the clock differ by less than what lies between two bursts. */
static uint64_t time_of(struct admin_capture *c, unsigned w, const struct clock *k, uint64_t tsc)
{
    uint64_t ago = k->tsc > tsc ? (uint64_t)((__uint128_t)(k->tsc - tsc) * 1000000000ull / k->hz) : 0;
    uint64_t at = k->unix_ns - ago;
    c->last_ns[w] = at > c->last_ns[w] ? at : c->last_ns[w];
    return c->last_ns[w];
}

/* ---- workers ---- */

static void tell(struct admin_capture *c, bool begin)
{
    for (unsigned w = 0; w < c->admin->view.worker_count; w++) {
        struct mailbox_message m = {.kind = MAILBOX_CAPTURE, .a = begin ? (uintptr_t)c->tap[w] : 0};
        if (c->told[w] || c->tap[w] == NULL)
            continue;
        if (begin)
            packet_tap_lend(c->tap[w], true);
        c->told[w] = mailbox_order(c->admin->view.mailboxes[w], &m);
        if (begin && !c->told[w])
            packet_tap_lend(c->tap[w], false);
    }
}

static bool let_go(const struct admin_capture *c)
{
    for (unsigned w = 0; w < c->admin->view.worker_count; w++)
        if (c->tap[w] != NULL && (!c->told[w] || packet_tap_lent(c->tap[w])))
            return false;
    return true;
}

static void sum(struct admin_capture *c)
{
    c->seen = c->matched = c->lost = 0;
    for (unsigned w = 0; w < c->admin->view.worker_count; w++)
        if (c->tap[w] != NULL) {
            c->seen += stats_read(&c->tap[w]->seen);
            c->matched += stats_read(&c->tap[w]->matched);
            c->lost += stats_read(&c->tap[w]->lost);
        }
}

/* False: frames are left. */
static bool drain_worker(struct admin_capture *c, unsigned w, const struct clock *k)
{
    for (unsigned i = 0; i < FRAMES_TURN; i++) {
        const struct packet_tap_frame *f = packet_tap_next(c->tap[w]);
        if (f == NULL)
            return true;
        bool wanted = c->connection != NULL && !c->gone && !c->failed; /* else it is thrown away */
        if (wanted && admin_pcapng_add(c->file, f, time_of(c, w, k, f->tsc)))
            c->frames++;
        else
            c->failed |= wanted;
        packet_tap_done(c->tap[w]);
    }
    return false;
}

static bool drain(struct admin_capture *c)
{
    bool all = true, nobody = c->connection == NULL || c->gone || c->failed;
    struct clock k = clock_now();
    for (unsigned w = 0; w < c->admin->view.worker_count; w++)
        if (c->tap[w] != NULL)
            all &= (nobody || staged(c) < STAGED_MAX) && drain_worker(c, w, &k);
    if (!admin_pcapng_flush(c->file))
        c->failed = true;
    return all;
}

/* ---- stages ---- */

static void release(struct admin_capture *c)
{
    for (unsigned w = 0; w < SNAPSHOT_WORKERS_MAX; w++) {
        free(c->tap[w]);
        c->tap[w] = NULL;
    }
    admin_pcapng_close(c->file);
    c->file = NULL;
    if (c->memory >= 0)
        close(c->memory);
    c->memory = -1;
    pcap_freecode(&c->filter);
    c->stage = IDLE;
}

static void begin_ending(struct admin_capture *c)
{
    if (c->stage != BEGUN)
        return;
    tell(c, true); /* whoever was never reached is not lent to, and needs to let nothing go */
    c->stage = ENDING;
    c->ending_since = loop_now(c->admin->loop);
    memset(c->told, 0, sizeof(c->told));
    tell(c, false);
}

static void end_when_drained(struct admin_capture *c)
{
    tell(c, false);
    bool free_again = let_go(c), late = loop_now(c->admin->loop) - c->ending_since > LET_GO_NS;
    if (!drain(c) || (!free_again && !late))
        return;
    sum(c);
    admin_pcapng_finish(c->file, c->matched, c->lost);
    c->stage = OVER;
    loop_log(LOOP_LOG_INFO, "capture ended: %llu frames, %llu lost for want of room", (unsigned long long)c->frames, (unsigned long long)c->lost);
}

/* A suspended connection is not watched by microhttpd. */
static bool client_gone(const struct admin_capture *c)
{
    char byte;
    ssize_t n = c->connection == NULL ? 0 : recv(c->socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

static void wake(struct admin_capture *c)
{
    if (!c->suspended)
        return;
    c->suspended = false;
    MHD_resume_connection(c->connection);
    admin_http_soon(c->admin);
}

static void due(void *user)
{
    struct admin_capture *c = user;
    uint64_t now = loop_now(c->admin->loop);
    c->gone |= client_gone(c);
    if (c->stage == BEGUN) {
        tell(c, true);
        drain(c);
        if (c->gone || c->failed || (c->until != 0 && now >= c->until))
            begin_ending(c);
    }
    if (c->stage == ENDING)
        end_when_drained(c);
    if (staged(c) > 0 || c->stage == OVER || c->gone)
        wake(c);
    if (c->stage == OVER && c->connection == NULL && let_go(c))
        release(c);
    else
        loop_timer_set(c->timer, TURN_NS);
}

/* ---- the answer ---- */

static ssize_t read_answer(void *user, uint64_t position, char *to, size_t room)
{
    struct admin_capture *c = user;
    (void)position;
    if (c->gone || c->failed)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    uint64_t have = staged(c);
    ssize_t n = have > 0 ? pread(c->memory, to, have < room ? have : room, (off_t)c->read) : 0;
    if (n < 0)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (n == 0 && c->stage == OVER)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (n == 0) {
        c->suspended = true;
        MHD_suspend_connection(c->connection);
        return 0;
    }
    c->read += (uint64_t)n;
    if (staged(c) == 0 && ftruncate(c->memory, 0) == 0) {
        lseek(c->memory, 0, SEEK_SET);
        c->read = 0;
    }
    return n;
}

/* The connection is through with it, in whatever way. */
static void answered(void *user)
{
    struct admin_capture *c = user;
    c->connection = NULL;
    c->suspended = false;
    c->gone = true;
    begin_ending(c);
    loop_timer_set(c->timer, 0);
}

static unsigned floor_power(uint64_t n)
{
    unsigned p = 64;
    while ((uint64_t)p * 2 <= n && p < 16384)
        p *= 2;
    return p;
}

static bool make_taps(struct admin_capture *c, uint32_t snaplen)
{
    unsigned frames = floor_power(ADMIN_CAPTURE_BYTES / (snaplen + 64));
    for (unsigned w = 0; w < c->admin->view.worker_count; w++) {
        void *memory = aligned_alloc(BASE_CACHE_LINE, packet_tap_footprint(frames, snaplen));
        c->tap[w] = memory == NULL ? NULL : packet_tap_create(memory, frames, snaplen, c->filter.bf_len > 0 ? c->filter.bf_insns : NULL);
        if (c->tap[w] == NULL)
            return false;
    }
    return true;
}

static bool open_files(struct admin_capture *c, uint32_t snaplen, char *error, size_t n)
{
    snprintf(error, n, "the capture can't begin: no memory");
    c->memory = memfd_create("penstock capture", MFD_CLOEXEC);
    c->file = c->memory >= 0 ? admin_pcapng_open(c->memory, snaplen, error, n) : NULL;
    return c->file != NULL && make_taps(c, snaplen);
}

static struct MHD_Response *start(struct admin_capture *c, const struct admin_capture_order *o, struct MHD_Connection *connection)
{
    struct MHD_Response *r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 64 * 1024, read_answer, c, answered);
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (r == NULL || info == NULL)
        return NULL;
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, "application/x-pcapng");
    c->connection = connection;
    c->socket = info->connect_fd;
    c->suspended = c->gone = c->failed = false;
    c->read = c->frames = c->seen = c->matched = c->lost = 0;
    memset(c->told, 0, sizeof(c->told));
    memset(c->last_ns, 0, sizeof(c->last_ns));
    c->until = o->seconds > 0 ? loop_now(c->admin->loop) + (uint64_t)(o->seconds * 1e9) : 0;
    c->stage = BEGUN;
    tell(c, true);
    loop_timer_set(c->timer, TURN_NS);
    loop_log(LOOP_LOG_INFO, "capture began%s%.200s", o->filter[0] != '\0' ? ", filter: " : "", o->filter);
    return r;
}

unsigned admin_capture_begin(struct admin_capture *c, const struct admin_capture_order *o, struct MHD_Connection *connection,
                             struct MHD_Response **response, char *error, size_t n)
{
    uint32_t snaplen = o->snaplen == 0 || o->snaplen > FRAME_MAX ? FRAME_MAX : o->snaplen, largest = 0;
    const struct config *config = c->admin->view.config(c->admin->view.user);
    if (c->stage != IDLE) {
        snprintf(error, n, c->connection != NULL ? "another capture runs: one at a time" : "the last capture still ends: try again in a moment");
        return MHD_HTTP_CONFLICT;
    }
    for (unsigned i = 0; i < config->port_count; i++)
        largest = config->ports[i].mtu > largest ? config->ports[i].mtu : largest;
    if (snaplen > largest + 22) /* Ethernet, two tags */
        snaplen = largest + 22;
    if (admin_filter_compile(o->filter, snaplen, &c->filter, error, n) != NULL)
        return MHD_HTTP_BAD_REQUEST;
    *response = open_files(c, snaplen, error, n) ? start(c, o, connection) : NULL;
    if (*response != NULL)
        return 0;
    release(c);
    return MHD_HTTP_INTERNAL_SERVER_ERROR;
}

void admin_capture_end(struct admin_capture *c)
{
    begin_ending(c);
}

char *admin_capture_json(const struct admin_capture *c)
{
    struct admin_text t = {0};
    struct admin_capture now = *c;
    if (c->stage == BEGUN || c->stage == ENDING)
        sum(&now);
    admin_text_add(&t, "{\"running\":%s,\"frames\":%llu,\"seen\":%llu,\"matched\":%llu,\"lost\":%llu}", c->stage == IDLE || c->stage == OVER ? "false" : "true",
                   (unsigned long long)now.frames, (unsigned long long)now.seen, (unsigned long long)now.matched, (unsigned long long)now.lost);
    return t.text;
}

struct admin_capture *admin_capture_create(struct admin *a)
{
    struct admin_capture *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return NULL;
    c->admin = a;
    c->memory = -1;
    c->timer = loop_timer_add(a->loop, due, c);
    if (c->timer == NULL) {
        free(c);
        return NULL;
    }
    return c;
}

/* Before the daemon ends: it must not have suspended connections. */
void admin_capture_stop(struct admin_capture *c)
{
    if (c == NULL)
        return;
    c->gone = true;
    if (c->suspended)
        MHD_resume_connection(c->connection);
    c->suspended = false;
}

/* Workers have ended: nothing is lent any more. */
void admin_capture_destroy(struct admin_capture *c)
{
    if (c == NULL)
        return;
    loop_timer_remove(c->timer);
    release(c);
    free(c);
}
