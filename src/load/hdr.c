#include "load/hdr.h"

#include "base/base64.h"
#include "base/json.h"
#include "base/mem.h"

#if WEIR_HAVE_ZLIB
#include <zlib.h>

#define V2_COOKIE 0x1c849313u /* V2 encoding, counts of any length */
#define V2_COMPRESSED_COOKIE 0x1c849314u
#define HEAD_BYTES 40u
#define COUNT_BYTES_MAX 10u
#define RAW_BYTES_MAX (HEAD_BYTES + HISTOGRAM_BUCKETS * COUNT_BYTES_MAX)
#define HIGHEST_NS UINT64_C(3600000000000)

static void put_u32(unsigned char *out, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++)
        out[i] = (unsigned char)(v >> (24 - 8 * i));
}

static void put_u64(unsigned char *out, uint64_t v)
{
    put_u32(out, (uint32_t)(v >> 32));
    put_u32(out + 4, (uint32_t)v);
}

static uint32_t get_u32(const unsigned char *in)
{
    return (uint32_t)in[0] << 24 | (uint32_t)in[1] << 16 | (uint32_t)in[2] << 8 | in[3];
}

/* ZigZag, then seven bits a byte; the ninth byte has eight. */
static size_t put_count(unsigned char *out, int64_t value)
{
    uint64_t v = (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
    for (size_t i = 0; i < 8; i++) {
        out[i] = (unsigned char)(v & 0x7f);
        v >>= 7;
        if (!v)
            return i + 1;
        out[i] |= 0x80;
    }
    out[8] = (unsigned char)v;
    return 9;
}

/* 0: the text ends in the middle of it. */
static size_t get_count(const unsigned char *in, size_t len, int64_t *ret_value)
{
    uint64_t v = 0;
    for (size_t i = 0; i < len && i < 9; i++) {
        v |= (uint64_t)(i < 8 ? in[i] & 0x7f : in[i]) << (7 * i);
        if (i == 8 || !(in[i] & 0x80)) {
            *ret_value = (int64_t)(v >> 1 ^ (0 - (v & 1)));
            return i + 1;
        }
    }
    return 0;
}

static size_t put_counts(unsigned char *out, const struct histogram *h)
{
    size_t len = 0;
    unsigned last = h->count ? histogram_bucket(h->max_ns) : 0;
    for (unsigned b = 0; h->count && b <= last;) {
        unsigned zeros = 0;
        while (b + zeros <= last && !h->buckets[b + zeros])
            zeros++;
        if (zeros)
            len += put_count(out + len, -(int64_t)zeros);
        else
            len += put_count(out + len, (int64_t)h->buckets[b]);
        b += zeros ? zeros : 1;
    }
    return len;
}

static size_t encode_raw(unsigned char *out, const struct histogram *h)
{
    size_t len = put_counts(out + HEAD_BYTES, h);
    put_u32(out, V2_COOKIE);
    put_u32(out + 4, (uint32_t)len);
    put_u32(out + 8, 0);
    put_u32(out + 12, 3);
    put_u64(out + 16, 1);
    put_u64(out + 24, HIGHEST_NS);
    put_u64(out + 32, UINT64_C(0x3ff0000000000000)); /* 1.0 */
    return HEAD_BYTES + len;
}

err hdr_encode(struct text *t, const struct histogram *h)
{
    unsigned char *raw = mem_must_get(RAW_BYTES_MAX);
    size_t raw_len = encode_raw(raw, h);
    uLongf packed_len = compressBound((uLong)raw_len);
    unsigned char *packed = mem_must_get(8 + packed_len);
    char *text = mem_must_get(base64_text_bytes(8 + packed_len));
    if (compress2(packed + 8, &packed_len, raw, (uLong)raw_len, 6) == Z_OK) {
        put_u32(packed, V2_COMPRESSED_COOKIE);
        put_u32(packed + 4, (uint32_t)packed_len);
        size_t len = base64_encode((struct bytes){ (char *)packed, 8 + packed_len }, text);
        text_add(t, (struct bytes){ text, len });
    }
    mem_free(text);
    mem_free(packed);
    mem_free(raw);
    return OK;
}

static err take_counts(const unsigned char *in, size_t len, struct histogram *h)
{
    for (uint64_t b = 0; len;) {
        int64_t count;
        size_t used = get_count(in, len, &count);
        if (!used)
            return ERR_SYNTAX;
        in += used;
        len -= used;
        if (count < 0 ? (uint64_t)-count > HISTOGRAM_BUCKETS - b : b >= HISTOGRAM_BUCKETS)
            return ERR_SYNTAX;
        if (count < 0) {
            b += (uint64_t)-count;
            continue;
        }
        if (count) {
            uint64_t end_ns = histogram_bucket_end_ns((unsigned)b);
            if (!h->count || end_ns < h->min_ns)
                h->min_ns = end_ns;
            h->max_ns = end_ns > h->max_ns ? end_ns : h->max_ns;
            h->count += (uint64_t)count;
            h->sum_ns += (uint64_t)count * end_ns;
            h->buckets[b] += (uint64_t)count;
        }
        b++;
    }
    return OK;
}

static err take_raw(const unsigned char *raw, size_t len, struct histogram *h)
{
    if (len < HEAD_BYTES || get_u32(raw) != V2_COOKIE || get_u32(raw + 4) != len - HEAD_BYTES ||
        get_u32(raw + 8) != 0 || get_u32(raw + 12) != 3 || get_u32(raw + 16) != 0 || get_u32(raw + 20) != 1)
        return ERR_SYNTAX;
    return take_counts(raw + HEAD_BYTES, len - HEAD_BYTES, h);
}

err hdr_decode(struct bytes text, struct histogram *h)
{
    unsigned char *packed = mem_must_get(base64_bytes_max(text.len)), *raw = NULL;
    size_t len = 0;
    uLongf raw_len = RAW_BYTES_MAX;
    err e = base64_decode(BASE64_STANDARD, text, (char *)packed, &len);
    if (!e && (len < 8 || get_u32(packed) != V2_COMPRESSED_COOKIE || get_u32(packed + 4) != len - 8))
        e = ERR_SYNTAX;
    if (!e) {
        raw = mem_must_get(RAW_BYTES_MAX);
        e = uncompress(raw, &raw_len, packed + 8, (uLong)(len - 8)) == Z_OK ? take_raw(raw, raw_len, h)
                                                                            : ERR_SYNTAX;
    }
    mem_free(raw);
    mem_free(packed);
    return e;
}

#else

err hdr_encode(struct text *t, const struct histogram *h)
{
    (void)t;
    (void)h;
    return ERR_UNSUPPORTED;
}

err hdr_decode(struct bytes text, struct histogram *h)
{
    (void)text;
    (void)h;
    return ERR_UNSUPPORTED;
}

#endif

void hdr_json(struct text *t, const char *key, const struct histogram *h)
{
    struct text code = { 0 };
    if (hdr_encode(&code, h) == OK)
        json_text(t, key, (struct bytes){ code.at, code.len });
    text_free(&code);
}

void hdr_log_begin(struct text *t, double started_s)
{
    text_add(t, BYTES("#[Histogram log format version 1.3]\n"));
    text_print(t, "#[StartTime: %.3f (seconds since epoch)]\n", started_s);
    text_add(
        t,
        BYTES("\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n"));
}

err hdr_log_interval(struct text *t, struct bytes tag, double at_s, double seconds, const struct histogram *h)
{
    if (tag.len)
        text_print(t, "Tag=%.*s,", (int)tag.len, tag.ptr);
    text_print(t, "%.3f,%.3f,%.3f,", at_s, seconds, (double)h->max_ns / 1e6);
    err e = hdr_encode(t, h);
    text_add(t, BYTES("\n"));
    return e;
}
