/* A bounded pool of objects of one size.  Memory is touched only when first used; freed objects are poisoned
 * under AddressSanitizer; the in-use count is exported by whoever owns the slab. Last freed, first reused. */
#ifndef BASE_SLAB_H
#define BASE_SLAB_H

#include "arena.h"
#include "poison.h"

#include <stdbool.h>

struct base_slab {
    uint8_t *memory;
    uint32_t *free;    /* stack of indices */
    uint32_t free_top; /* entries on the stack */
    uint32_t fresh;    /* objects [fresh, capacity) were never used */
    uint32_t capacity;
    uint32_t in_use;
    uint32_t size;    /* bytes an object, a multiple of 8: odd << shift */
    uint32_t shift;
    uint64_t inverse; /* of odd, modulo 2^64: an exact division is a multiplication */
    const char *name;
};

static inline uint32_t base_slab_stride(size_t size)
{
    return (uint32_t)(size >= BASE_CACHE_LINE ? base_align(size) : (size + 7) & ~(size_t)7);
}

static inline size_t base_slab_footprint(size_t size, uint32_t capacity)
{
    return base_align((size_t)base_slab_stride(size) * capacity) + base_align((size_t)4 * capacity);
}

static inline void base_slab_init(struct base_slab *s, struct base_arena *a, const char *name, size_t size, uint32_t capacity)
{
    s->size = base_slab_stride(size);
    s->capacity = capacity;
    s->memory = base_arena_take(a, (size_t)s->size * capacity);
    s->free = base_arena_take(a, (size_t)4 * capacity);
    s->free_top = s->fresh = s->in_use = 0;
    s->shift = (uint32_t)__builtin_ctz(s->size);
    uint64_t odd = s->size >> s->shift;
    s->inverse = odd; /* right in three bits; Newton's step doubles them: 3, 6, 12, 24, 48, 96 */
    for (int i = 0; i < 5; i++)
        s->inverse *= 2 - odd * s->inverse;
    s->name = name;
    base_poison(s->memory, (size_t)s->size * capacity);
}

static inline void *base_slab_at(const struct base_slab *s, uint32_t index)
{
    return s->memory + (size_t)index * s->size;
}

/* object: where an object begins. */
static inline uint32_t base_slab_index(const struct base_slab *s, const void *object)
{
    return (uint32_t)(((uint64_t)((const uint8_t *)object - s->memory) >> s->shift) * s->inverse);
}

/* So many in a hundred are free, at least. */
static inline bool base_slab_spare(const struct base_slab *s, uint32_t percent)
{
    return (uint64_t)s->in_use * 100 <= (uint64_t)s->capacity * (100 - percent);
}

/* NULL: full (a refusal that the caller counts).  Contents are undefined. */
static inline void *base_slab_alloc(struct base_slab *s)
{
    uint32_t index;
    if (s->free_top > 0)
        index = s->free[--s->free_top];
    else if (s->fresh < s->capacity)
        index = s->fresh++;
    else
        return NULL;
    __atomic_store_n(&s->in_use, s->in_use + 1, __ATOMIC_RELAXED); /* read by the control plane */
    void *p = base_slab_at(s, index);
    base_unpoison(p, s->size);
    return p;
}

static inline void base_slab_free(struct base_slab *s, void *object)
{
    assert(s->in_use > 0);
    __atomic_store_n(&s->in_use, s->in_use - 1, __ATOMIC_RELAXED);
    base_poison(object, s->size);
    s->free[s->free_top++] = base_slab_index(s, object);
}

#endif
