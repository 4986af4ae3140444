/* The hash of Microsoft's "RSS hashing functions", which every NIC has. */
#include "hash.h"
#include "steer.h"

#include <assert.h>

/* 32 bits of the key from bit `at` on. */
static uint32_t window(const uint8_t *key, uint32_t at)
{
    uint64_t bits = 0;
    for (uint32_t i = 0; i < 5; i++)
        bits = bits << 8 | (at / 8 + i < BASE_STEER_KEY_MIN ? key[at / 8 + i] : 0);
    return (uint32_t)(bits >> (8 - at % 8));
}

/* As many entries for each queue as there are, in an order that the key decides.  The hash is linear: with queues in turn a client's ports,
 * which follow one another, would decide by one bit whether they are spread at all. */
static void fill(struct base_steer *s, const uint8_t *key, uint32_t entries, uint32_t queues)
{
    struct base_hash_key k;
    memcpy(&k, key, sizeof(k));
    for (uint32_t i = 0; i < entries; i++) {
        uint32_t other = (uint32_t)(base_siphash(&k, &i, sizeof(i)) % (i + 1));
        s->queue[i] = s->queue[other];
        s->queue[other] = (uint8_t)(i % queues);
    }
}

void base_steer_init(struct base_steer *s, const uint8_t key[BASE_STEER_KEY_MIN], uint32_t entries, uint32_t queues)
{
    assert(entries > 0 && entries <= BASE_STEER_ENTRIES && (entries & (entries - 1)) == 0 && queues > 0 && queues <= 256);
    s->mask = entries - 1;
    fill(s, key, entries, queues);
    for (uint32_t at = 0; at < BASE_STEER_TUPLE; at++)
        for (uint32_t byte = 0; byte < 256; byte++) {
            uint32_t h = 0;
            for (uint32_t bit = 0; bit < 8; bit++)
                h ^= byte & 0x80u >> bit ? window(key, 8 * at + bit) : 0;
            s->hash[at][byte] = h;
        }
}

static inline uint32_t sum(const struct base_steer *s, uint32_t at, const uint8_t *bytes, uint32_t n)
{
    uint32_t h = 0;
    for (uint32_t i = 0; i < n; i++)
        h ^= s->hash[at + i][bytes[i]];
    return h;
}

uint32_t base_steer_hash(const struct base_steer *s, const struct base_flow *f)
{
    const uint8_t ports[4] = {(uint8_t)(f->remote_port >> 8), (uint8_t)f->remote_port, (uint8_t)(f->local_port >> 8), (uint8_t)f->local_port};
    if (base_addr_is_v4(&f->remote))
        return sum(s, 0, f->remote.b + 12, 4) ^ sum(s, 4, f->local.b + 12, 4) ^ sum(s, 8, ports, 4);
    return sum(s, 0, f->remote.b, 16) ^ sum(s, 16, f->local.b, 16) ^ sum(s, 32, ports, 4);
}
