/* hdr: HdrHistogram's own formats, so that its tools read what weir measured.
 *
 *      V2 encoding   cookie, length, 0, 3 digits, lowest 1, highest, ratio 1, then the counts as ZigZag
 * LEB128 (a negative number: so many zeros), all big-endian compressed    cookie, length, the above deflated
 * (zlib) log           "#[...]" lines, then start,length,max,<base64 of the compressed> a line an interval
 *
 * https://github.com/HdrHistogram: AbstractHistogram.encodeIntoCompressedByteBuffer, HistogramLogWriter. Also
 * how agents send their counts. Needs zlib: without it hdr_encode is ERR_UNSUPPORTED. One thread. */
#pragma once
#include "base/err.h"
#include "base/histogram.h"
#include "base/text.h"

/* Appends base64. ERR_UNSUPPORTED. */
err hdr_encode(struct text *t, const struct histogram *h) CHECK_RESULT;
/* Adds what the text stands for to h: counts exactly; min, max and sum are those of the buckets, to be set by
 * who knows better. ERR_SYNTAX, ERR_UNSUPPORTED. */
err hdr_decode(struct bytes text, struct histogram *h) CHECK_RESULT;
/* A member of a JSON object, left out where it cannot be. */
void hdr_json(struct text *t, const char *key, const struct histogram *h);

/* started_s: since 1970. */
void hdr_log_begin(struct text *t, double started_s);
/* at_s: from then. tag: empty, or what is measured. ERR_UNSUPPORTED. */
err hdr_log_interval(struct text *t, struct bytes tag, double at_s, double seconds,
                     const struct histogram *h) CHECK_RESULT;
