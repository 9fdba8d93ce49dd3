#include "base/histogram.h"

#include <math.h>
#include <string.h>

/* The buckets that anything was counted in lie between these two. */
static unsigned first_used(const struct histogram *h)
{
    return histogram_bucket(h->min_ns);
}

static unsigned last_used(const struct histogram *h)
{
    return histogram_bucket(h->max_ns);
}

void histogram_merge(struct histogram *h, const struct histogram *from)
{
    if (!from->count)
        return;
    for (unsigned b = first_used(from), last = last_used(from); b <= last; b++)
        h->buckets[b] += from->buckets[b];
    if (!h->count || from->min_ns < h->min_ns)
        h->min_ns = from->min_ns;
    if (from->max_ns > h->max_ns)
        h->max_ns = from->max_ns;
    h->count += from->count;
    h->sum_ns += from->sum_ns;
}

void histogram_reset(struct histogram *h)
{
    if (!h->count)
        return;
    unsigned first = first_used(h), last = last_used(h);
    memset(&h->buckets[first], 0, (last - first + 1) * sizeof h->buckets[0]);
    h->count = h->sum_ns = h->min_ns = h->max_ns = 0;
}

uint64_t histogram_quantile_ns(const struct histogram *h, double share)
{
    uint64_t wanted = (uint64_t)ceil(share * (double)h->count), seen = 0;
    if (!h->count)
        return 0;
    wanted = wanted < 1 ? 1 : wanted;
    for (unsigned b = first_used(h), last = last_used(h); b <= last; b++) {
        seen += h->buckets[b];
        if (seen < wanted)
            continue;
        uint64_t end = histogram_bucket_end_ns(b);
        return end < h->max_ns && b < HISTOGRAM_BUCKETS - 1 ? end : h->max_ns;
    }
    return h->max_ns;
}

uint64_t histogram_count_to(const struct histogram *h, uint64_t ns)
{
    uint64_t seen = 0;
    if (!h->count)
        return 0;
    unsigned last = histogram_bucket(ns < h->max_ns ? ns : h->max_ns);
    for (unsigned b = first_used(h); b <= last; b++)
        seen += h->buckets[b];
    return seen;
}

double histogram_mean_ns(const struct histogram *h)
{
    return h->count ? (double)h->sum_ns / (double)h->count : 0;
}

double histogram_deviation_ns(const struct histogram *h)
{
    double mean = histogram_mean_ns(h), sum = 0;
    if (!h->count)
        return 0;
    for (unsigned b = first_used(h), last = last_used(h); b <= last; b++) {
        if (!h->buckets[b])
            continue;
        double begin = b ? (double)histogram_bucket_end_ns(b - 1) + 1 : 0;
        double off = (begin + (double)histogram_bucket_end_ns(b)) / 2 - mean;
        sum += off * off * (double)h->buckets[b];
    }
    return sqrt(sum / (double)h->count);
}
