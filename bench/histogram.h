/* histogram: latencies in log-linear buckets, 64 to each power of two, so that a quantile is right to 1.6 %.
 *
 *      ns:  0..63 one each │ 64..127 one each │ 128..255 by 2 │ 256..511 by 4 │ ... up to 2^40 ns, 18 minutes
 *
 * One thread. */
#pragma once
#include <stdint.h>

#define HISTOGRAM_STEPS 64u
#define HISTOGRAM_RUNS 35u

struct histogram {
    uint64_t count, max_ns;
    uint64_t buckets[HISTOGRAM_RUNS * HISTOGRAM_STEPS];
};

static inline void histogram_add(struct histogram *h, uint64_t ns)
{
    unsigned shift = ns < HISTOGRAM_STEPS ? 0 : 57u - (unsigned)__builtin_clzll(ns);
    uint64_t bucket = ns < HISTOGRAM_STEPS ? ns : shift * HISTOGRAM_STEPS + (ns >> shift);
    if (bucket >= HISTOGRAM_RUNS * HISTOGRAM_STEPS)
        bucket = HISTOGRAM_RUNS * HISTOGRAM_STEPS - 1;
    h->buckets[bucket]++;
    h->count++;
    if (ns > h->max_ns)
        h->max_ns = ns;
}

/* The upper end of the bucket that holds the share (0 to 1) of all; 0 when empty. */
static inline uint64_t histogram_quantile_ns(const struct histogram *h, double share)
{
    uint64_t wanted = (uint64_t)(share * (double)h->count), seen = 0;
    for (unsigned b = 0; b < HISTOGRAM_RUNS * HISTOGRAM_STEPS; b++) {
        seen += h->buckets[b];
        if (seen <= wanted)
            continue;
        unsigned shift = b < 2 * HISTOGRAM_STEPS ? 0 : b / HISTOGRAM_STEPS - 1;
        uint64_t low = b < 2 * HISTOGRAM_STEPS ? b : (uint64_t)(b - shift * HISTOGRAM_STEPS) << shift;
        uint64_t high = low + ((uint64_t)1 << shift) - 1;
        return high < h->max_ns ? high : h->max_ns;
    }
    return h->max_ns;
}
