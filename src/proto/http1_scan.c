#include "proto/http1_scan.h"

#include "proto/http_char.h"
#include "proto/http_field_id.h"

/* ---- scalar: the twin that every machine has, and the meaning of the others ---- */

static inline const char *class_end(const char *pos, const char *end, enum http_char_class class)
{
    while (pos < end && http_char_is(*pos, class))
        pos++;
    return pos;
}

static const char *target_end_scalar(const char *pos, const char *base, const char *end)
{
    (void)base;
    return class_end(pos, end, HTTP_CHAR_TARGET);
}

static inline const char *value_end_scalar(const char *pos, const char *base, const char *end)
{
    (void)base;
    return class_end(pos, end, HTTP_CHAR_VALUE);
}

struct window_scalar {
    const char *end;
};

static inline void window_open_scalar(struct window_scalar *w, const struct http1_cut *cut)
{
    w->end = cut->end;
}

static inline const char *window_token_end_scalar(const struct window_scalar *w, const char *pos)
{
    return class_end(pos, w->end, HTTP_CHAR_TOKEN);
}

static inline const char *window_value_end_scalar(const struct window_scalar *w, const char *pos)
{
    return class_end(pos, w->end, HTTP_CHAR_VALUE);
}

#define VARIANT(name) name##_scalar
#define VARIANT_NAME "scalar"
#define TARGET
#include "proto/http1_cut.h"
#undef VARIANT
#undef VARIANT_NAME
#undef TARGET

#if defined(__x86_64__)
/* ---- AVX2: 32 bytes at a time ----
 *
 *  base            pos             end        while 32 bytes are left: load at pos
 *   ├───────────────┼────────────────┤
 *           ├────32 bytes────────────┤          the rest: load the last 32 and drop the bits before pos,
 *                                              so nothing is read behind end */
#include <immintrin.h>

#define TARGET __attribute__((target("avx2,bmi")))
#define VECTOR_BYTES 32

/* Bit i is set where byte i is not a tchar. The rows of ASCII (high nibble 2 to 7) that hold a tchar with
 * this low nibble are bits of the first table; the second turns a high nibble into its bit. */
TARGET static inline uint32_t not_token_bits(__m256i bytes)
{
    const __m256i rows_of_low = _mm256_setr_epi8(
        (char)0xe8, (char)0xfc, (char)0xf8, (char)0xfc, (char)0xfc, (char)0xfc, (char)0xfc, (char)0xfc,
        (char)0xf8, (char)0xf8, (char)0xf4, (char)0x54, (char)0xd0, (char)0x54, (char)0xf4, (char)0x70,
        (char)0xe8, (char)0xfc, (char)0xf8, (char)0xfc, (char)0xfc, (char)0xfc, (char)0xfc, (char)0xfc,
        (char)0xf8, (char)0xf8, (char)0xf4, (char)0x54, (char)0xd0, (char)0x54, (char)0xf4, (char)0x70);
    const __m256i bit_of_high = _mm256_setr_epi8(1, 2, 4, 8, 16, 32, 64, (char)0x80, 0, 0, 0, 0, 0, 0, 0, 0,
                                                 1, 2, 4, 8, 16, 32, 64, (char)0x80, 0, 0, 0, 0, 0, 0, 0, 0);
    __m256i high = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), _mm256_set1_epi8(0x0f));
    __m256i rows = _mm256_shuffle_epi8(rows_of_low, bytes); /* 0 where a byte is 0x80 or more */
    __m256i hit = _mm256_and_si256(rows, _mm256_shuffle_epi8(bit_of_high, high));
    return (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(hit, _mm256_setzero_si256()));
}

TARGET static inline uint32_t not_value_bits(__m256i bytes)
{
    __m256i control = _mm256_cmpeq_epi8(_mm256_min_epu8(bytes, _mm256_set1_epi8(0x1f)), bytes);
    __m256i tab = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('\t'));
    __m256i del = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(0x7f));
    return (uint32_t)_mm256_movemask_epi8(_mm256_or_si256(_mm256_andnot_si256(tab, control), del));
}

/* As signed bytes, those of 0x80 and more are below 0x21 as well. */
TARGET static inline uint32_t not_target_bits(__m256i bytes)
{
    __m256i below = _mm256_cmpgt_epi8(_mm256_set1_epi8(0x21), bytes);
    __m256i hash = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('#'));
    __m256i del = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(0x7f));
    return (uint32_t)_mm256_movemask_epi8(_mm256_or_si256(_mm256_or_si256(below, hash), del));
}

#define DEFINE_END(kind, class)                                                                          \
    TARGET static inline const char *kind##_end_avx2(const char *pos, const char *base, const char *end) \
    {                                                                                                    \
        for (; end - pos >= VECTOR_BYTES; pos += VECTOR_BYTES) {                                         \
            uint32_t bits = not_##kind##_bits(_mm256_loadu_si256((const __m256i *)(const void *)pos));   \
            if (bits)                                                                                    \
                return pos + __builtin_ctz(bits);                                                        \
        }                                                                                                \
        if (pos == end || end - base < VECTOR_BYTES)                                                     \
            return class_end(pos, end, class);                                                           \
        const char *last = end - VECTOR_BYTES;                                                           \
        uint32_t bits = not_##kind##_bits(_mm256_loadu_si256((const __m256i *)(const void *)last));      \
        bits >>= pos - last;                                                                             \
        return bits ? pos + __builtin_ctz(bits) : end;                                                   \
    }
DEFINE_END(value, HTTP_CHAR_VALUE)
DEFINE_END(target, HTTP_CHAR_TARGET)

/* Where names and values end in 64 bytes, found at once and before it is known where they begin: from then on
 * each scan is a shift and a count, and does not wait for the one before it to come out of the vector unit.
 *
 *     at ──▶ Accept: * / *\r\nCookie: ...      not_token: bits of ':' ' ' '/' CR LF ...
 *                                             not_value: bits of CR LF and what must not be there  */
#define WINDOW_BYTES 64

struct window_avx2 {
    const char *base, *end;
    const char *at;
    uint64_t not_token, not_value;
};

/* at is where 64 bytes may be read. */
TARGET static inline void window_read_avx2(struct window_avx2 *w, const char *at)
{
    __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)at);
    __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)(at + VECTOR_BYTES));
    w->not_token = (uint64_t)not_token_bits(high) << 32 | not_token_bits(low);
    w->not_value = (uint64_t)not_value_bits(high) << 32 | not_value_bits(low);
}

/* Moves on so that pos is inside. Near the end it holds the last 64 bytes; when all there is is less, zeros,
 * which end everything, stand behind it. */
TARGET static inline void window_move_avx2(struct window_avx2 *w, const char *pos)
{
    if (w->end - pos >= WINDOW_BYTES) {
        w->at = pos;
        window_read_avx2(w, pos);
    } else if (w->end - w->base >= WINDOW_BYTES) {
        w->at = w->end - WINDOW_BYTES;
        window_read_avx2(w, w->at);
    } else {
        char padded[WINDOW_BYTES] = { 0 };
        memcpy(padded, w->base, (size_t)(w->end - w->base));
        w->at = w->base;
        window_read_avx2(w, padded);
    }
}

TARGET static inline void window_open_avx2(struct window_avx2 *w, const struct http1_cut *cut)
{
    w->base = cut->base;
    w->end = cut->end;
    window_move_avx2(w, cut->pos);
}

#define DEFINE_WINDOW_END(kind)                                                                       \
    TARGET static inline const char *window_##kind##_end_avx2(struct window_avx2 *w, const char *pos) \
    {                                                                                                 \
        while (pos < w->end) {                                                                        \
            size_t offset = (size_t)(pos - w->at);                                                    \
            uint64_t bits = offset < WINDOW_BYTES ? w->not_##kind >> offset : 0;                      \
            if (bits)                                                                                 \
                return pos + __builtin_ctzll(bits);                                                   \
            if (offset < WINDOW_BYTES)                                                                \
                pos = w->at + WINDOW_BYTES;                                                           \
            if (pos < w->end)                                                                         \
                window_move_avx2(w, pos);                                                             \
        }                                                                                             \
        return w->end;                                                                                \
    }
DEFINE_WINDOW_END(token)
DEFINE_WINDOW_END(value)

#define VARIANT(name) name##_avx2
#define VARIANT_NAME "avx2"
#include "proto/http1_cut.h"

static const struct http1_scan *best_scan(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") ? &scan_avx2 : &scan_scalar;
}

#elif defined(__aarch64__)
/* ---- NEON, which every aarch64 has: 16 bytes at a time, with the same overlapping last load ---- */
#include <arm_neon.h>

#define TARGET
#define VECTOR_BYTES 16

/* Four bits a byte, the first byte lowest. */
static inline uint64_t nibble_mask(uint8x16_t hit)
{
    return vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(hit), 4)), 0);
}

/* The tables of the AVX2 variant. */
static inline uint64_t not_token_bits(uint8x16_t bytes)
{
    static const uint8_t rows_of_low[16] = { 0xe8, 0xfc, 0xf8, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc,
                                             0xf8, 0xf8, 0xf4, 0x54, 0xd0, 0x54, 0xf4, 0x70 };
    static const uint8_t bit_of_high[16] = { 1, 2, 4, 8, 16, 32, 64, 0x80 };
    uint8x16_t rows = vqtbl1q_u8(vld1q_u8(rows_of_low), vandq_u8(bytes, vdupq_n_u8(0x0f)));
    uint8x16_t bit = vqtbl1q_u8(vld1q_u8(bit_of_high), vshrq_n_u8(bytes, 4));
    return nibble_mask(vceqzq_u8(vandq_u8(rows, bit)));
}

static inline uint64_t not_value_bits(uint8x16_t bytes)
{
    uint8x16_t control = vbicq_u8(vcltq_u8(bytes, vdupq_n_u8(0x20)), vceqq_u8(bytes, vdupq_n_u8('\t')));
    return nibble_mask(vorrq_u8(control, vceqq_u8(bytes, vdupq_n_u8(0x7f))));
}

static inline uint64_t not_target_bits(uint8x16_t bytes)
{
    uint8x16_t outside = vorrq_u8(vcltq_u8(bytes, vdupq_n_u8(0x21)), vcgtq_u8(bytes, vdupq_n_u8(0x7e)));
    return nibble_mask(vorrq_u8(outside, vceqq_u8(bytes, vdupq_n_u8('#'))));
}

#define DEFINE_END(kind, class)                                                                   \
    static inline const char *kind##_end_neon(const char *pos, const char *base, const char *end) \
    {                                                                                             \
        for (; end - pos >= VECTOR_BYTES; pos += VECTOR_BYTES) {                                  \
            uint64_t bits = not_##kind##_bits(vld1q_u8((const uint8_t *)pos));                    \
            if (bits)                                                                             \
                return pos + __builtin_ctzll(bits) / 4;                                           \
        }                                                                                         \
        if (pos == end || end - base < VECTOR_BYTES)                                              \
            return class_end(pos, end, class);                                                    \
        const char *last = end - VECTOR_BYTES;                                                    \
        uint64_t bits = not_##kind##_bits(vld1q_u8((const uint8_t *)last));                       \
        bits >>= 4 * (pos - last);                                                                \
        return bits ? pos + __builtin_ctzll(bits) / 4 : end;                                      \
    }
DEFINE_END(token, HTTP_CHAR_TOKEN)
DEFINE_END(value, HTTP_CHAR_VALUE)
DEFINE_END(target, HTTP_CHAR_TARGET)

struct window_neon {
    const char *base, *end;
};

static inline void window_open_neon(struct window_neon *w, const struct http1_cut *cut)
{
    w->base = cut->base;
    w->end = cut->end;
}

static inline const char *window_token_end_neon(const struct window_neon *w, const char *pos)
{
    return token_end_neon(pos, w->base, w->end);
}

static inline const char *window_value_end_neon(const struct window_neon *w, const char *pos)
{
    return value_end_neon(pos, w->base, w->end);
}

#define VARIANT(name) name##_neon
#define VARIANT_NAME "neon"
#include "proto/http1_cut.h"

static const struct http1_scan *best_scan(void)
{
    return &scan_neon;
}

#else

static const struct http1_scan *best_scan(void)
{
    return &scan_scalar;
}
#endif

const struct http1_scan *http1_scan = &scan_scalar;

__attribute__((constructor)) static void choose_scan(void)
{
    http1_scan = best_scan();
}

const char *http1_use_scalar(bool scalar)
{
    http1_scan = scalar ? &scan_scalar : best_scan();
    return http1_scan->name;
}
