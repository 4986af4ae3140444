/* The long half of the checksum: 64 bytes at a time, in as many vector lanes as -march has. */
#include "checksum.h"

typedef uint64_t lanes __attribute__((vector_size(64)));

uint64_t ip_sum_long(const uint8_t *p, size_t n)
{
    lanes low = {0}, high = {0};
    for (; n >= 64; n -= 64, p += 64) {
        lanes v;
        memcpy(&v, p, 64);
        low += v & 0xffffffff;
        high += v >> 32;
    }
    low += high;
    uint64_t sum = 0;
    for (int i = 0; i < 8; i++)
        sum += low[i];
    return sum + ip_sum_short(p, n);
}
