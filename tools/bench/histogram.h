/* histogram: counts by value, 32 buckets a power of two (so that a quantile is right to 3 %), and the exact extremes. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BUCKETS (32 * 60)

struct histogram {
    uint64_t count, min, max;
    double sum;
    uint32_t bucket[HISTOGRAM_BUCKETS];
};

static inline unsigned histogram_bucket(uint64_t v)
{
    if (v < 32)
        return (unsigned)v;
    unsigned shift = (unsigned)(63 - __builtin_clzll(v)) - 5;
    return 32 * (shift + 1) + (unsigned)(v >> shift) - 32;
}

/* The middle of a bucket. */
static inline double histogram_value(unsigned bucket)
{
    if (bucket < 32)
        return bucket;
    unsigned shift = bucket / 32 - 1;
    return ((double)(32 + bucket % 32) + 0.5) * (double)(1ull << shift);
}

static inline void histogram_add(struct histogram *h, uint64_t v)
{
    h->min = h->count == 0 || v < h->min ? v : h->min;
    h->max = v > h->max ? v : h->max;
    h->count++;
    h->sum += (double)v;
    h->bucket[histogram_bucket(v)]++;
}

/* q from 0 to 1; 0 where there is nothing. */
static inline double histogram_quantile(const struct histogram *h, double q)
{
    double want = q * (double)h->count;
    uint64_t sum = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS && h->count > 0; i++) {
        sum += h->bucket[i];
        if ((double)sum >= want && sum > 0) {
            double v = histogram_value(i);
            return v > (double)h->max ? (double)h->max : v < (double)h->min ? (double)h->min : v;
        }
    }
    return (double)h->max;
}

#endif
