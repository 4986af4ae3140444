/* round_robin: every endpoint once a round, in an order of this worker's own.
 *
 *   entry:  | picked in this round, 0 .. cursor-1 | still to come, cursor .. count-1 |
 *
 * While the set stands still every round has the same order, so any n picks in a row over k endpoints differ by one at most.  One that joins
 * takes a random place among those that have had their turn: it waits for the next round, its coming moves nobody's turn, and a set
 * that has grown one by one is shuffled (Fisher and Yates, inside out).  One that leaves takes its turn with it and nobody else's. */
#include "set.h"

static inline void put(struct picker *p, struct picker_cluster *c, uint32_t at, uint64_t slot)
{
    c->entry[at] = slot;
    p->slot[slot].position = (uint16_t)at;
}

void picker_rr_join(struct picker *p, struct picker_cluster *c, uint32_t slot)
{
    if (c->cursor < c->count)
        put(p, c, c->count, c->entry[c->cursor]);
    c->count++;
    uint32_t at = (uint32_t)(((uint64_t)picker_random(p) * (c->cursor + 1)) >> 32);
    if (at < c->cursor)
        put(p, c, c->cursor, c->entry[at]);
    c->cursor++;
    put(p, c, at, slot);
    p->slot[slot].member = true;
}

void picker_rr_leave(struct picker *p, struct picker_cluster *c, uint32_t slot)
{
    uint32_t at = p->slot[slot].position;
    assert(at < c->count && c->entry[at] == slot);
    if (at < c->cursor) {
        c->cursor--;
        put(p, c, at, c->entry[c->cursor]);
        at = c->cursor;
    }
    c->count--;
    if (at < c->count)
        put(p, c, at, c->entry[c->count]);
    p->slot[slot].member = false;
}

void picker_rr_sweep(struct picker *p, struct picker_cluster *c)
{
    /* Downwards: what moves into a hole has been looked at. */
    for (uint32_t i = c->count; i-- > 0;)
        if (!p->slot[c->entry[i]].live)
            picker_rr_leave(p, c, (uint32_t)c->entry[i]);
}

uint32_t picker_rr_pick(struct picker *p, struct picker_cluster *c)
{
    (void)p;
    uint32_t at = c->cursor < c->count ? c->cursor : 0;
    c->cursor = at + 1;
    return (uint32_t)c->entry[at];
}

static inline void trade(struct picker *p, struct picker_cluster *c, uint32_t a, uint32_t b)
{
    uint64_t it = c->entry[a];
    put(p, c, a, c->entry[b]);
    put(p, c, b, it);
}

/* Whoever goes first trades places with those who are passed over: everybody has one turn a round all the same.  Where only they are left of a round the next
 * one begins, with them. */
bool picker_rr_pick_other(struct picker *p, struct picker_cluster *c, const uint16_t *avoid, uint32_t n, uint32_t *slot)
{
    for (;;) {
        for (uint32_t i = c->cursor; i < c->count; i++) { /* n + 1 of them at most */
            uint32_t it = (uint32_t)c->entry[i];
            if (picker_among(avoid, n, it))
                continue;
            trade(p, c, i, c->cursor++);
            *slot = it;
            return true;
        }
        if (c->cursor == 0)
            return false;
        for (uint32_t i = 0, left = c->cursor; left < c->count; i++, left++)
            trade(p, c, i, left);
        c->cursor = 0;
    }
}
