/* Which of a device's queues a flow's segments come by, where its receive side scaling (RSS) is ours: the Toeplitz hash over
 * (remote, local, remote port, local port) under a key, and a table from its low bits to a queue.
 *
 * It is computed by table, a byte of the tuple at a time: 12 lookups for IPv4, 36 for IPv6.  The key is a secret of the process: who knew
 * it could aim at a worker. */
#ifndef BASE_STEER_H
#define BASE_STEER_H

#include "addr.h"

#define BASE_STEER_KEY     64  /* bytes of a key of ours; a device takes the first 40 or 52 of them */
#define BASE_STEER_KEY_MIN 40  /* of them, what the longest tuple needs */
#define BASE_STEER_ENTRIES 512 /* of a table, at most */
#define BASE_STEER_TUPLE   36
#define BASE_STEER_PORTS   16

struct base_steer {
    uint32_t mask; /* entries - 1 */
    uint8_t queue[BASE_STEER_ENTRIES];
    uint32_t hash[BASE_STEER_TUPLE][256]; /* of a byte at a place of the tuple, all others being 0 */
};

/* entries: a power of two, at most BASE_STEER_ENTRIES; all queues have as many of them, or one fewer. */
void base_steer_init(struct base_steer *s, const uint8_t key[BASE_STEER_KEY_MIN], uint32_t entries, uint32_t queues);
uint32_t base_steer_hash(const struct base_steer *s, const struct base_flow *f);

static inline uint32_t base_steer_entry(const struct base_steer *s, uint32_t hash)
{
    return s->queue[hash & s->mask];
}

static inline uint32_t base_steer_queue(const struct base_steer *s, const struct base_flow *f)
{
    return base_steer_entry(s, base_steer_hash(s, f));
}

#endif
