/* histogram: latencies in log-linear buckets, 1,024 and more to each power of two, so that a quantile is
 * right to 0.1 %. The layout of the counts is HdrHistogram's with three significant digits and a unit of 1
 * ns, so that its log format is a matter of writing them down.
 *
 *      ns:  0..2047 one each │ 2048..4095 by 2 │ 4096..8191 by 4 │ ... up to 2^42 ns, 73 minutes
 *
 * Merging adds counts: of any number of histograms the sum is what one alone would have seen. 264 KiB, of
 * which only the pages that are counted in are ever touched. One thread. */
#pragma once
#include <stdint.h>

#define HISTOGRAM_STEPS 1024u
#define HISTOGRAM_SHIFT_MAX 31u
#define HISTOGRAM_BUCKETS ((HISTOGRAM_SHIFT_MAX + 2) * HISTOGRAM_STEPS)
/* What lies above is counted in the last bucket. */
#define HISTOGRAM_NS_MAX ((UINT64_C(1) << 42) - 1)

/* All zero is empty. */
struct histogram {
    uint64_t count, sum_ns;
    uint64_t min_ns, max_ns; /* as they were, not a bucket's ends; 0 when empty */
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

static inline unsigned histogram_bucket(uint64_t ns)
{
    if (ns > HISTOGRAM_NS_MAX)
        ns = HISTOGRAM_NS_MAX;
    unsigned shift = 53u - (unsigned)__builtin_clzll(ns | (2 * HISTOGRAM_STEPS - 1));
    return shift * HISTOGRAM_STEPS + (unsigned)(ns >> shift);
}

/* The largest that bucket i holds. */
static inline uint64_t histogram_bucket_end_ns(unsigned i)
{
    unsigned shift = i < 2 * HISTOGRAM_STEPS ? 0 : i / HISTOGRAM_STEPS - 1;
    return ((uint64_t)(i - shift * HISTOGRAM_STEPS + 1) << shift) - 1;
}

static inline void histogram_add(struct histogram *h, uint64_t ns)
{
    h->buckets[histogram_bucket(ns)]++;
    h->sum_ns += ns;
    if (h->count++ == 0 || ns < h->min_ns)
        h->min_ns = ns;
    if (ns > h->max_ns)
        h->max_ns = ns;
}

/* Adds what from has seen. */
void histogram_merge(struct histogram *h, const struct histogram *from);
/* Empty again; costs what was counted, not what could have been. */
void histogram_reset(struct histogram *h);
/* The upper end of the bucket that holds the share (0 to 1) of all, never above max_ns; 0 when empty. */
uint64_t histogram_quantile_ns(const struct histogram *h, double share);
/* How many were at most ns, to the bucket's width. */
uint64_t histogram_count_to(const struct histogram *h, uint64_t ns);
double histogram_mean_ns(const struct histogram *h);
/* From the middles of the buckets. */
double histogram_deviation_ns(const struct histogram *h);
