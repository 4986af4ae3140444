/* A region of transparent huge pages as a heap of DPDK's (rte_malloc's "external memory"), or as plain memory. */
#include "heap.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_malloc.h>

#define HUGE ((size_t)2 << 20)
#define PAGES_AT_ONCE 512

static size_t round_up(size_t n)
{
    return (n + HUGE - 1) & ~(HUGE - 1);
}

/* mmap gives pages of 4 KiB: 2 MiB more is asked for, and what lies outside the aligned part is given back. */
static void *region_map(size_t bytes, char *error, size_t error_len)
{
    uint8_t *raw = mmap(NULL, bytes + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED) {
        snprintf(error, error_len, "cannot map %zu MiB of memory: %s; lower limits.memory, or raise the machine's",
                 bytes >> 20, strerror(errno));
        return NULL;
    }
    uint8_t *base = (uint8_t *)(((uintptr_t)raw + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
    size_t head = (size_t)(base - raw);
    if (head > 0)
        munmap(raw, head);
    munmap(base + bytes, HUGE - head);
    /* Refused where transparent huge pages are "never" or not built in: slower, not wrong. */
    (void)madvise(base, bytes, MADV_HUGEPAGE);
    return base;
}

void *port_arena_open(size_t bytes, char *error, size_t error_len)
{
    return region_map(round_up(bytes), error, error_len);
}

void port_arena_close(void *memory, size_t bytes)
{
    munmap(memory, round_up(bytes));
}

/* The region goes in as runs of pages, so that the table of I/O addresses stays small.  rte_malloc joins adjacent runs into one
 * heap, but a single object does not span two: a pool's chunks do not care. */
static int heap_add(const struct port_heap *h)
{
    rte_iova_t iova[PAGES_AT_ONCE];
    bool virtual = rte_eal_iova_mode() == RTE_IOVA_VA;
    for (size_t at = 0; at < h->size;) {
        unsigned n = 0;
        for (; n < PAGES_AT_ONCE && at + n * HUGE < h->size; n++)
            iova[n] = virtual ? (rte_iova_t)((uintptr_t)h->base + at + n * HUGE) : RTE_BAD_IOVA;
        if (rte_malloc_heap_memory_add(h->name, (uint8_t *)h->base + at, n * HUGE, iova, n, HUGE) != 0)
            return -rte_errno;
        at += n * HUGE;
    }
    return 0;
}

bool port_heap_open(struct port_heap *h, const char *name, size_t bytes, int numa_socket, char *error, size_t error_len)
{
    memset(h, 0, sizeof(*h));
    if (rte_eal_has_hugepages()) {
        h->socket = numa_socket;
        return true;
    }
    snprintf(h->name, sizeof(h->name), "%s", name);
    h->size = round_up(bytes);
    h->base = region_map(h->size, error, error_len);
    if (h->base == NULL)
        return false;
    int rc = rte_malloc_heap_create(h->name) != 0 ? -rte_errno : 0;
    bool made = rc == 0;
    if (made)
        rc = heap_add(h);
    if (rc != 0) {
        snprintf(error, error_len, "DPDK refuses %zu MiB as heap \"%s\": %s", h->size >> 20, h->name, strerror(-rc));
        if (made)
            port_heap_close(h);
        else /* the name is another's, and so is what is there */
            munmap(h->base, h->size);
        return false;
    }
    h->socket = rte_malloc_heap_get_socket(h->name);
    return true;
}

void port_heap_close(struct port_heap *h)
{
    if (h->base == NULL)
        return;
    size_t run = PAGES_AT_ONCE * HUGE;
    bool removed = true;
    for (size_t at = 0; at < h->size; at += run)
        removed &= rte_malloc_heap_memory_remove(h->name, (uint8_t *)h->base + at, h->size - at < run ? h->size - at : run) == 0;
    (void)rte_malloc_heap_destroy(h->name);
    if (removed) /* else something still lives there: leaked rather than pulled away */
        munmap(h->base, h->size);
    memset(h, 0, sizeof(*h));
}
