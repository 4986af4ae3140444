/* All memory of a worker is laid out at start-up, in one region: nothing on a worker allocates afterwards.
 *
 * A room's `*_footprint(config)` says how many bytes its `*_create(arena, config)` will take; the sum over all
 * rooms is what start-up prints and holds against limits.memory.  Memory is zero when handed out. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define BASE_CACHE_LINE 64

struct base_arena {
    uint8_t *base;
    size_t size;
    size_t used;
};

static inline size_t base_align(size_t n)
{
    return (n + BASE_CACHE_LINE - 1) & ~(size_t)(BASE_CACHE_LINE - 1);
}

/* memory: zeroed, cache-line aligned, outlives everything made in it. */
static inline void base_arena_init(struct base_arena *a, void *memory, size_t size)
{
    a->base = memory;
    a->size = size;
    a->used = 0;
}

/* Cache-line aligned.  Running out is a bug: the footprint was wrong. */
static inline void *base_arena_take(struct base_arena *a, size_t n)
{
    n = base_align(n);
    assert(n <= a->size - a->used);
    void *p = a->base + a->used;
    a->used += n;
    return p;
}

#endif
