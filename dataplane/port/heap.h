/* heap: memory for buffers and tables, on huge pages without anybody having reserved them.
 *
 * Under --no-huge DPDK's own memory is made of 4 KiB pages and costs 1.5 to 4 times the cycles a packet.  A region of our own,
 * aligned to 2 MiB and advised MADV_HUGEPAGE, gets transparent huge pages and costs what hugepages cost; packet pools are put on it by
 * its socket id.  Where the EAL has hugepages, a port_heap is nothing but the socket id of the EAL's own heap. */
#ifndef PORT_HEAP_H
#define PORT_HEAP_H

#include <stdbool.h>
#include <stddef.h>

struct port_heap {
    void *base;  /* NULL: the EAL's own heap */
    size_t size;
    int socket;  /* for packet_pool_create() */
    char name[32];
};

/* After the EAL's start, on the control thread.  bytes: the sum of packet_pool_footprint() of what will be put on it, rounded up here.
 * name: unique.  False: `error` says why. */
bool port_heap_open(struct port_heap *heap, const char *name, size_t bytes, int numa_socket, char *error, size_t error_len);
/* Everything made on it is gone before. */
void port_heap_close(struct port_heap *heap);

/* Zeroed memory for a struct base_arena, 2 MiB aligned, of transparent huge pages that are touched on first use (needs no EAL).
 * NULL: `error` says why. */
void *port_arena_open(size_t bytes, char *error, size_t error_len);
void port_arena_close(void *memory, size_t bytes);

#endif
