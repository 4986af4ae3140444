/* weighted_round_robin: stride scheduling (Waldspurger and Weihl, 1995).  An endpoint of weight w is due every 2^31 / w units of virtual
 * time; whoever is due first is picked and becomes due one stride later.  The remainder of the division is carried (as Bresenham does), so
 * that shares are exact for ever, not to within a rounding error.
 *
 *   entry = due time (50 bits, modulo) | slot (14 bits), in a 4-ary heap; compared by the sign of the difference
 *
 * now <= every entry <= now + one stride of its endpoint.  The first stride of each endpoint is shortened to a different fraction (golden
 * ratio steps from a random start), so that endpoints of equal weight are spread over the stride and do not come in bursts.
 *
 * One that leaves stays in the heap, dead, until it is due or the next sweep; if it comes back before, it keeps its place.  One that comes
 * back later starts anew, somewhere within one stride: an endpoint that flaps several times a stride is picked up to a quarter more often
 * than its share (the others' shares stand). */
#include "set.h"

#define STRIDE_ONE (1u << 31)

static inline bool before(uint64_t a, uint64_t b)
{
    return (int64_t)(a - b) < 0;
}

static void scale(struct picker_slot *s)
{
    s->weight = s->weight_next;
    s->stride = STRIDE_ONE / s->weight;
    s->carry = 0;
}

static inline uint32_t earlier(const uint64_t *h, uint32_t a, uint32_t b)
{
    return before(h[b], h[a]) ? b : a;
}

/* The place at `at` is free, and so are those on the way down to where `entry` belongs. */
static inline void sift_down(uint64_t *h, uint32_t count, uint32_t at, uint64_t entry)
{
    for (;;) {
        uint32_t child = 4 * at + 1, first;
        if (child + 3 < count) {
            first = earlier(h, earlier(h, child, child + 1), earlier(h, child + 2, child + 3));
        } else {
            if (child >= count)
                break;
            first = child;
            while (++child < count)
                first = earlier(h, first, child);
        }
        if (!before(h[first], entry))
            break;
        h[at] = h[first];
        at = first;
    }
    h[at] = entry;
}

static void sift_up(uint64_t *h, uint32_t at, uint64_t entry)
{
    for (; at > 0 && before(entry, h[(at - 1) / 4]); at = (at - 1) / 4)
        h[at] = h[(at - 1) / 4];
    h[at] = entry;
}

static inline uint64_t later(uint64_t entry, uint64_t units)
{
    return entry + (units << SET_SLOT_BITS);
}

void picker_wrr_join(struct picker *p, struct picker_cluster *c, uint32_t slot)
{
    struct picker_slot *s = &p->slot[slot];
    if (s->member)
        return;
    scale(s);
    uint64_t start = ((uint64_t)s->stride * c->phase) >> 32;
    c->phase += 0x9e3779b9u;
    s->member = true;
    /* One unit more: not before `now`, whose low bits are another slot's. */
    sift_up(c->entry, c->count++, later((c->now & ~(uint64_t)SET_SLOT_MASK) | slot, start + 1));
}

void picker_wrr_leave(struct picker *p, struct picker_cluster *c, uint32_t slot)
{
    (void)p, (void)c, (void)slot; /* passed over when due, dropped by the next sweep */
}

/* How far off it is shrinks or grows with the stride: half a stride before its turn stays half a stride before its turn. */
static uint64_t rescale(const struct picker_cluster *c, struct picker_slot *s, uint64_t entry)
{
    uint64_t units = (entry >> SET_SLOT_BITS) - (c->now >> SET_SLOT_BITS);
    units &= ((uint64_t)1 << (64 - SET_SLOT_BITS)) - 1;
    uint64_t slot = entry & SET_SLOT_MASK, weight = s->weight;
    scale(s);
    units = units * weight / s->weight;
    if (units > (uint64_t)s->stride + 1)
        units = (uint64_t)s->stride + 1;
    if (units == 0)
        units = 1;
    return later((c->now & ~(uint64_t)SET_SLOT_MASK) | slot, units);
}

void picker_wrr_sweep(struct picker *p, struct picker_cluster *c)
{
    uint32_t kept = 0;
    bool moved = false;
    for (uint32_t i = 0; i < c->count; i++) {
        struct picker_slot *s = &p->slot[c->entry[i] & SET_SLOT_MASK];
        if (!s->live) {
            s->member = false;
            moved = true;
            continue;
        }
        uint64_t entry = c->entry[i];
        if (s->weight != s->weight_next) {
            entry = rescale(c, s, entry);
            moved = true;
        }
        c->entry[kept++] = entry;
    }
    c->count = kept;
    if (moved && kept > 1)
        for (uint32_t i = (kept - 2) / 4 + 1; i-- > 0;)
            sift_down(c->entry, kept, i, c->entry[i]);
}

static inline void pop(struct picker_cluster *c)
{
    c->count--;
    if (c->count > 0)
        sift_down(c->entry, c->count, 0, c->entry[c->count]);
}

/* The first has its turn. */
static inline void serve(struct picker_cluster *c, struct picker_slot *s)
{
    uint64_t top = c->entry[0];
    c->now = top;
    uint32_t carry = s->carry + (STRIDE_ONE - s->stride * s->weight), over = carry >= s->weight;
    s->carry = (uint16_t)(carry - (over ? s->weight : 0));
    sift_down(c->entry, c->count, 0, later(top, (uint64_t)s->stride + over));
}

uint32_t picker_wrr_pick(struct picker *p, struct picker_cluster *c)
{
    for (;;) {
        uint32_t slot = (uint32_t)c->entry[0] & SET_SLOT_MASK;
        struct picker_slot *s = &p->slot[slot];
        if (__builtin_expect(!s->live, 0)) { /* each at most once a departure */
            s->member = false;
            pop(c);
            continue;
        }
        serve(c, s);
        return slot;
    }
}

/* Time goes on for those that are passed over, too, else they would fall behind without end where they are passed over again and again: they are due at once. */
bool picker_wrr_pick_other(struct picker *p, struct picker_cluster *c, const uint16_t *avoid, uint32_t n, uint32_t *slot)
{
    uint64_t aside[PICKER_AVOID_MAX];
    uint32_t count = 0;
    bool found = false;
    while (c->count > 0) {
        uint64_t top = c->entry[0];
        *slot = (uint32_t)top & SET_SLOT_MASK;
        struct picker_slot *s = &p->slot[*slot];
        found = s->live && !picker_among(avoid, n, *slot);
        if (found) {
            serve(c, s);
            break;
        }
        if (s->live)
            aside[count++] = top;
        else
            s->member = false;
        pop(c);
    }
    while (count > 0) {
        uint64_t entry = aside[--count];
        if (found && before(entry, c->now))
            entry = later((c->now & ~(uint64_t)SET_SLOT_MASK) | (entry & SET_SLOT_MASK), 1);
        sift_up(c->entry, c->count++, entry);
    }
    return found;
}
