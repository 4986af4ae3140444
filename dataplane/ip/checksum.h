/* The Internet checksum (RFC 1071): sums of native 16-bit words, folded at the end; byte order does not matter (section 2(B)). */
#ifndef IP_CHECKSUM_H
#define IP_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A partial sum: any number of these may be added up in 64 bits. At most 64 KiB are summed at a time. */
uint64_t ip_sum_long(const uint8_t *p, size_t n);

static inline uint64_t ip_load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

static inline uint64_t ip_load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

static inline uint64_t ip_sum_word(uint64_t v)
{
    return (v & 0xffffffff) + (v >> 32);
}

/* Fewer than 64 bytes. */
static inline uint64_t ip_sum_short(const uint8_t *p, size_t n)
{
    uint64_t sum = 0;
    for (; n >= 8; n -= 8, p += 8)
        sum += ip_sum_word(ip_load64(p));
    if (n & 4) {
        sum += ip_load32(p);
        p += 4;
    }
    if (n & 2) {
        uint16_t v;
        memcpy(&v, p, 2);
        sum += v;
        p += 2;
    }
    if (n & 1) {
        uint16_t v = 0;
        memcpy(&v, p, 1);
        sum += v;
    }
    return sum;
}

static inline uint64_t ip_sum(const uint8_t *p, size_t n)
{
    return n < 64 ? ip_sum_short(p, n) : ip_sum_long(p, n);
}

static inline uint16_t ip_sum_fold(uint64_t sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

#endif
