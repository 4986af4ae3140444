/* Keyed hashing (SipHash-1-3 and SipHash-2-4 after Aumasson and Bernstein) and the hash of a flow.
 * A table whose keys a stranger chooses is always keyed. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "addr.h"

struct base_hash_key {
    uint64_t k[2];
};

uint64_t base_siphash(const struct base_hash_key *key, const void *data, size_t n);

static inline uint64_t base_mix64(uint64_t x)
{
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93ull;
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93ull;
    x ^= x >> 32;
    return x;
}

/* Multiply-fold with a secret key: cheap enough for every packet. */
static inline uint32_t base_flow_hash(const struct base_hash_key *key, const struct base_flow *f)
{
    uint64_t ports = ((uint64_t)f->local_port << 16) | f->remote_port;
    __uint128_t m = (__uint128_t)(f->remote.q[0] ^ key->k[0]) * (f->remote.q[1] ^ key->k[1] ^ (ports << 32) ^ ports);
    __uint128_t n = (__uint128_t)(f->local.q[0] ^ key->k[1] ^ ports) * (f->local.q[1] ^ key->k[0]);
    uint64_t x = (uint64_t)m ^ (uint64_t)(m >> 64) ^ (uint64_t)n ^ (uint64_t)(n >> 64) ^ ports;
    return (uint32_t)base_mix64(x ^ key->k[1]);
}

#endif
