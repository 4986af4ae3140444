/* relay: a bad link between two packet ends: delay, loss by seed and packet number, reordering, duplication, a rate and a queue. */
#ifndef RELAY_H
#define RELAY_H

#include <stdbool.h>
#include <stdint.h>

struct relay_link { /* each direction */
    uint64_t delay_ns, reorder_ns; /* reorder_ns: how much later at most */
    uint32_t loss_ppm, reorder_ppm, dup_ppm;
    uint64_t rate_bps;
    uint32_t queue_bytes;
    uint64_t seed;
    uint64_t late_ns; /* what is given out by so much later than it was due counts as late */
};

struct relay;
struct relay *relay_create(const struct relay_link *link);
void relay_destroy(struct relay *r);
/* A frame that end `from` sends.  What is not TCP is only delayed. */
void relay_put(struct relay *r, int from, const uint8_t *frame, uint32_t len, uint64_t now);
/* A frame for end `to` whose time has come; 0: none. */
uint32_t relay_get(struct relay *r, int to, uint8_t *frame, uint32_t room, uint64_t now);
/* What was given out so far; of it, late: what this machine's other load adds to the link. */
void relay_late(const struct relay *r, uint64_t *frames, uint64_t *late);
/* When the next one is due; UINT64_MAX: none is under way. */
uint64_t relay_next(const struct relay *r);

#endif
