/* Exponential back-off with jitter, as gRPC has it for connections (connection-backoff.md) and for retries (proposal A6). */
#ifndef BASE_BACKOFF_H
#define BASE_BACKOFF_H

#include <stdint.h>

/* min(first * factor^n, max), times 0.8 to 1.2.  draw: any 64 random bits. */
static inline uint64_t base_backoff(uint64_t first, uint64_t max, uint32_t factor_x1024, uint32_t n, uint64_t draw)
{
    uint64_t wait = first;
    for (uint32_t i = 0; i < n && wait < max; i++)
        wait = wait * factor_x1024 / 1024;
    wait = wait < max ? wait : max;
    return wait * 4 / 5 + draw % (wait * 2 / 5 + 1);
}

#endif
