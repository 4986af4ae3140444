/* picker: cluster -> endpoint, one a worker.
 *
 * Owns:   for each cluster the set of endpoints that may be picked (READY here, present, not draining) and its running position.
 * Uses:   base, stats, snapshot.
 * Thread: the worker's; workers share nothing and do not count together: each starts at a random place, in an order of its own.
 * Time:   none.
 * Memory: an arena at start-up, bounded by clusters and slots.  No pointer into a snapshot is kept.
 * Errors: false: nothing is READY; what then happens is the proxy's business.
 *
 *   pool: picker_ready(slot)      snapshot: picker_apply()      proxy: picker_pick() ... picker_done(), picker_full(slot)
 *
 * An endpoint is picked when all of this holds: the pool called its slot READY, the proxy does not call it full, the version applied last has it, with a
 * weight above 0 and without SNAPSHOT_DRAIN.  The order in which they are told does not matter. */
#ifndef PICKER_H
#define PICKER_H

#include "base/base.h"
#include "snapshot/snapshot.h"

struct picker;

/* How an RPC that was picked ended, for policies and verdicts that learn from it. */
enum picker_outcome {
    PICKER_NOT_STARTED, /* the pick came to nothing: no stream was opened */
    PICKER_OK,          /* the endpoint answered, whatever its status */
    PICKER_FAILED,      /* reset, lost or timed out before an answer was complete */
    PICKER_CANCELLED,   /* the client gave up */
};

/* clusters <= SNAPSHOT_CLUSTERS_MAX, slots <= SNAPSHOT_SLOTS_MAX. */
size_t picker_footprint(uint32_t clusters, uint32_t slots);
/* seed: differs between workers and between starts. */
struct picker *picker_create(struct base_arena *arena, uint32_t clusters, uint32_t slots, uint64_t seed);

/* After a new generation was seen, before anything is picked from it.  Costs a comparison a cluster, and the endpoints of the clusters
 * whose version changed.  A slot whose serial changed is not READY until picker_ready() says so anew. */
void picker_apply(struct picker *p, const struct snapshot *s);
/* The slot has got its first, or lost its last, usable connection.  Telling it again changes nothing.  O(log n) at most. */
void picker_ready(struct picker *p, uint32_t slot, bool ready);
/* The slot can take no further RPC for now, or can again.  Forgotten with the slot's serial.  O(log n) at most. */
void picker_full(struct picker *p, uint32_t slot, bool full);
/* It would be picked, but for being full. */
bool picker_kept_out(const struct picker *p, uint32_t slot);

/* Every true is followed by one picker_done() for that slot. */
bool picker_pick(struct picker *p, uint32_t cluster, uint32_t *slot);
/* The one whose turn is next of those that are not among these n slots; false: there is none.  It has had its turn then; theirs stands.
 * O(n log endpoints) at most. */
#define PICKER_AVOID_MAX 8
bool picker_pick_other(struct picker *p, uint32_t cluster, const uint16_t *avoid, uint32_t n, uint32_t *slot);
void picker_done(struct picker *p, uint32_t slot, enum picker_outcome outcome, uint64_t bytes, uint64_t latency_ns);

/* Endpoints that may be picked now. */
uint32_t picker_ready_count(const struct picker *p, uint32_t cluster);
/* RPCs picked and not yet done. */
uint32_t picker_active(const struct picker *p, uint32_t slot);

/* Walks everything and asserts the invariants of set.h: tests run it after every step. */
void picker_check(const struct picker *p);

#endif
