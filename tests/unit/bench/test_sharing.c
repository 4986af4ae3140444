/* Two workers write no cache line in common.
 *
 * A whole gateway of two workers runs in lockstep under load.  Around each worker's turn all memory that the process may write is compared
 * with a copy of it: the lines that changed are that worker's.  A line that both have changed is one that two cores would fight for.  Apart are
 * what lies between the workers and the generator, and the thread's own stack and TLS, which each worker has for himself when it has a thread.
 * (A line written with the value that it had is not seen.) */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define REGIONS_MAX 1024
#define PAGE        4096
#define LINE        64

struct region {
    uint8_t *base, *copy;
    size_t size;
    uint8_t *owners; /* by line: bit w: worker w has changed it */
    char name[64];
};

static struct region region[REGIONS_MAX];
static unsigned regions;
static int pagemap;
static bool forget; /* what was read of it */

static bool ours(const char *name, const uint8_t *base, const uint8_t *end)
{
    const uint8_t *stack = (const uint8_t *)&name;
    return strstr(name, "[stack]") == NULL && !(stack >= base && stack < end) && strstr(name, "[v") == NULL;
}

static void find_regions(void)
{
    char line[512];
    FILE *f = fopen("/proc/self/maps", "r");
    regions = 0;
    while (f != NULL && fgets(line, sizeof(line), f) != NULL && regions < REGIONS_MAX) {
        unsigned long from, to;
        char mode[8], name[256] = "";
        sscanf(line, "%lx-%lx %7s %*s %*s %*s %255s", &from, &to, mode, name);
        struct region r = {.base = (uint8_t *)from, .size = to - from};
        if (mode[0] != 'r' || mode[1] != 'w' || !ours(name, r.base, r.base + r.size))
            continue;
        snprintf(r.name, sizeof(r.name), "%.63s", name);
        region[regions++] = r;
    }
    if (f != NULL)
        fclose(f);
    for (unsigned i = 0; i < regions; i++) {
        region[i].copy = mmap(NULL, region[i].size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        region[i].owners = mmap(NULL, region[i].size / LINE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (region[i].copy == MAP_FAILED || region[i].owners == MAP_FAILED)
            abort();
    }
}

/* Pages that were never touched have never been written. */
static bool present(const uint8_t *page)
{
    static uint64_t entries[8192];
    static uintptr_t first = UINTPTR_MAX - sizeof(entries);
    uintptr_t at = (uintptr_t)page / PAGE;
    if (at < first || at >= first + 8192 || forget) {
        first = at;
        forget = false;
        memset(entries, 0, sizeof(entries));
        if (pread(pagemap, entries, sizeof(entries), (off_t)(first * 8)) <= 0)
            abort();
    }
    return entries[at - first] >> 62 != 0;
}

/* With worker < 0 the copies are brought up to date, else the lines that differ are marked as his. Returns how many. */
static unsigned look(int worker)
{
    unsigned n = 0;
    forget = true;
    for (unsigned i = 0; i < regions; i++)
        for (size_t at = 0; at < region[i].size; at += PAGE) {
            uint8_t *now = region[i].base + at, *then = region[i].copy + at;
            if (!present(now) || memcmp(now, then, PAGE) == 0)
                continue;
            for (size_t k = 0; worker >= 0 && k < PAGE; k += LINE)
                if (memcmp(now + k, then + k, LINE) != 0) {
                    region[i].owners[(at + k) / LINE] |= (uint8_t)(1 << worker);
                    n++;
                }
            memcpy(then, now, PAGE);
        }
    return n;
}

/* ---- what may be shared, and why ---- */

static struct lab lab;

static bool excused(const uint8_t *line)
{
    const uint8_t *tls = __builtin_thread_pointer();
    if (line >= tls - 16384 && line < tls + 4096)
        return true; /* the thread's own: errno, the lcore's id */
    /* DPDK's ring driver keeps its queues' counters side by side, behind the rings' addresses; a NIC's driver does not. */
    unsigned rings = 0;
    for (unsigned i = 0; i < LINE / sizeof(void *); i++) {
        struct rte_ring *word;
        memcpy(&word, line + i * sizeof(word), sizeof(word));
        for (uint32_t w = 0; w < lab.workers; w++)
            rings += word == lab.link.to_gateway[w] || word == lab.link.from_gateway[w];
    }
    return rings == lab.workers;
}

/* ---- the load ---- */

static void gateway_turn(uint32_t w)
{
    link_lcore(w);
    worker_turn(lab.gateway[w]);
    link_lcore(lab.workers);
}

static void read_mail(void)
{
    struct mailbox_message m;
    struct mailbox_log log;
    for (uint32_t w = 0; w < lab.workers; w++) {
        while (mailbox_report_next(lab.mailbox[w], &m))
            ;
        while (mailbox_log_next(lab.mailbox[w], &log))
            ;
    }
}

static void turns(unsigned n)
{
    while (n-- > 0) {
        peer_turn(&lab.peer, lab_now(&lab));
        for (uint32_t w = 0; w < lab.workers; w++)
            gateway_turn(w);
        read_mail();
    }
}

static bool load(const struct options *o)
{
    struct peer *p = &lab.peer;
    for (unsigned i = 0; i < 200000 && p->accepted < 2 * o->endpoints; i++)
        turns(1);
    for (uint64_t end = lab_now(&lab) + 50000000; lab_now(&lab) < end;)
        turns(1);
    peer_connect(p, 0, o->connections, lab_now(&lab));
    for (unsigned i = 0; i < 200000 && p->ready < o->connections; i++)
        turns(1);
    peer_allow(p, o->streams, o->rpcs, false, 0);
    for (unsigned i = 0; i < 1000000 && p->calls.answered < 2000; i++)
        turns(1);
    return p->calls.answered >= 2000;
}

/* Lines that each worker has changed, and how many both have. */
static unsigned judge(void)
{
    unsigned lines[2] = {0}, shared = 0;
    for (unsigned i = 0; i < regions; i++)
        for (size_t k = 0; k < region[i].size / LINE; k++) {
            uint8_t who = region[i].owners[k];
            lines[0] += who & 1;
            lines[1] += who >> 1 & 1;
            if (who != 3 || excused(region[i].base + k * LINE))
                continue;
            if (shared++ < 10)
                printf("shared: %p (%s + 0x%zx)\n", (void *)(region[i].base + k * LINE), region[i].name, k * LINE);
        }
    printf("worker 0 changed %u lines, worker 1 %u, both %u\n", lines[0], lines[1], shared);
    if (lines[0] < 1000 || lines[1] < 1000) {
        printf("that is too few: the load did not reach both\n");
        return 1;
    }
    return shared;
}

/* A test that cannot fail is none: a line that both write must be seen. */
static uint64_t planted[16] __attribute__((aligned(64)));

static unsigned observe(unsigned rounds, bool plant)
{
    for (unsigned i = 0; i < regions; i++)
        memset(region[i].owners, 0, region[i].size / LINE);
    for (unsigned k = 0; k < rounds; k++) {
        peer_turn(&lab.peer, lab_now(&lab));
        for (uint32_t w = 0; w < 2; w++) {
            look(-1);
            gateway_turn(w);
            planted[w] += plant;
            look((int)w);
        }
        read_mail();
    }
    return judge();
}

int main(void)
{
    struct arguments a;
#ifdef __SANITIZE_ADDRESS__
    printf("skipped: what the process may write is all of AddressSanitizer's shadow\n");
    return 77;
#endif
    options_defaults(&a);
    a.o.link = LINK_RING;
    a.o.workers = 2;
    a.o.connections = 64;
    a.o.streams = 4;
    a.o.rpcs = 1 << 20;
    a.o.lockstep = true;
    setvbuf(stdout, NULL, _IOLBF, 0);
    pagemap = open("/proc/self/pagemap", O_RDONLY);
    if (pagemap < 0 || !lab_eal(&lab, &a.o) || !lab_create(&lab, &a.o))
        return 1;
    snapshot_worker_online(lab.door, 0);
    snapshot_worker_online(lab.door, 1);
    if (!load(&a.o)) {
        printf("the load did not run: %s\n", lab.peer.calls.first_wrong);
        return 1;
    }
    find_regions();
    unsigned shared = observe(10, false), seen = observe(2, true);
    printf("%s\n", shared > 0 ? "FAILED: shared lines" : seen != 1 ? "FAILED: the planted line was not the one that was seen" : "no shared line; the planted one was seen");
    uint64_t wrong = lab.peer.calls.wrong;
    lab_eal_end();
    return shared == 0 && seen == 1 && wrong == 0 ? 0 : 1;
}
