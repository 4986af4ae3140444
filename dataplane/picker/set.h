/* Inside the picker: what the policies share.
 *
 * A cluster's endpoints that may be picked stand in a region of `entries`, one 64-bit word an entry, whose meaning is the policy's.  Regions lie
 * one behind another in one array; when a cluster outgrows its own it moves to the end, and when the end is reached all of them are
 * copied, tight, to the array's twin.  Slots are unique, so regions never need more than SLACK words a cluster above the number of slots.
 *
 *   count <= capacity - SET_PAD;  slot.member  <=> the slot has an entry in its cluster's region;  slot.live => slot.member
 *   slot.live <=> READY and not full and in the version applied last and not draining;  cluster.ready = number of live slots */
#ifndef PICKER_SET_H
#define PICKER_SET_H

#include "picker.h"

#define SET_SLOT_BITS  14
#define SET_SLOT_MASK  ((1u << SET_SLOT_BITS) - 1)
#define SET_PAD        3 /* words before entry 0, so that the four children of a heap node share 32 aligned bytes */
#define SET_WEIGHT_MAX 65535u

static_assert(SNAPSHOT_SLOTS_MAX <= 1u << SET_SLOT_BITS, "an entry's low bits are its slot");

struct picker_slot {
    uint32_t stride; /* WRR: 2^31 / weight ... */
    uint16_t weight; /* ... of this weight, which the entry is scaled by */
    uint16_t carry;  /* WRR: what has gathered of the remainder, < weight */
    bool live, member, ready, full;
    uint16_t position; /* RR: index of the entry */
    uint16_t cluster;
    uint32_t active;
    uint32_t stamp; /* cluster.stamp of the last version that had this slot */
    uint32_t serial;
    uint16_t weight_next; /* of the version applied last; 0: not to be picked */
};
static_assert(sizeof(struct picker_slot) == 32, "half a cache line");

struct picker_cluster {
    uint64_t *entry; /* entry 0 */
    uint64_t now;    /* WRR: the entry that was picked last, before it moved on */
    uint32_t count, cursor;
    uint32_t ready;
    uint32_t phase; /* WRR: where in its first stride the next endpoint to join starts */
    uint32_t stamp;
    uint32_t capacity;
    uint64_t version;
    uint8_t policy;
    bool present;
};

struct picker {
    struct picker_cluster *cluster;
    struct picker_slot *slot;
    uint32_t clusters, slots;
    uint64_t random;
    uint32_t stamp;
    uint64_t *words, *twin;
    uint32_t used, size; /* words */
};

/* xorshift64*: order and starting places want spreading, not secrecy. */
static inline uint32_t picker_random(struct picker *p)
{
    p->random ^= p->random >> 12;
    p->random ^= p->random << 25;
    p->random ^= p->random >> 27;
    return (uint32_t)((p->random * 0x2545f4914f6cdd1dull) >> 32);
}

static inline bool picker_among(const uint16_t *slots, uint32_t n, uint32_t slot)
{
    for (uint32_t i = 0; i < n; i++)
        if (slots[i] == slot)
            return true;
    return false;
}

/* Each policy: one that becomes live joins; one that is live no longer leaves (or is passed over until the next sweep); a sweep drops every
 * entry that is not live and takes up new weights; a pick needs ready > 0. */
void picker_rr_join(struct picker *p, struct picker_cluster *c, uint32_t slot);
void picker_rr_leave(struct picker *p, struct picker_cluster *c, uint32_t slot);
void picker_rr_sweep(struct picker *p, struct picker_cluster *c);
uint32_t picker_rr_pick(struct picker *p, struct picker_cluster *c);
bool picker_rr_pick_other(struct picker *p, struct picker_cluster *c, const uint16_t *avoid, uint32_t n, uint32_t *slot);

void picker_wrr_join(struct picker *p, struct picker_cluster *c, uint32_t slot);
void picker_wrr_leave(struct picker *p, struct picker_cluster *c, uint32_t slot);
void picker_wrr_sweep(struct picker *p, struct picker_cluster *c);
uint32_t picker_wrr_pick(struct picker *p, struct picker_cluster *c);
bool picker_wrr_pick_other(struct picker *p, struct picker_cluster *c, const uint16_t *avoid, uint32_t n, uint32_t *slot);

#endif
