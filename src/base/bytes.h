/* bytes: a borrowed run of bytes, never NUL-terminated unless its giver says so.
 *
 *      ptr ──▶ [ b y t e s ]      len says how many; ptr may be NULL when len is 0
 *
 * Passed by value. Owns nothing: it lives as long as what it points into. Any thread. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const char *ptr;
    size_t len;
};

#define BYTES(literal) ((struct bytes){ "" literal, sizeof(literal) - 1 })
#define BYTES_NONE ((struct bytes){ NULL, 0 })
/* for printf's "%.*s" */
#define BYTES_ARG(b) (int)(b).len, (b).ptr

static inline struct bytes bytes_from(const char *text)
{
    return (struct bytes){ text, text ? strlen(text) : 0 };
}

static inline bool bytes_eq(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool bytes_starts(struct bytes a, struct bytes prefix)
{
    return a.len >= prefix.len && (prefix.len == 0 || memcmp(a.ptr, prefix.ptr, prefix.len) == 0);
}

static inline struct bytes bytes_skip(struct bytes a, size_t n)
{
    return (struct bytes){ n ? a.ptr + n : a.ptr, a.len - n };
}

/* Eight bytes as a word. Not 0: one of them is below n (at most 0x80), or is c. */
#define WORD_TOP_BITS 0x8080808080808080u
static inline uint64_t word_below(uint64_t word, unsigned char n)
{
    return (word - n * 0x0101010101010101u) & ~word & WORD_TOP_BITS;
}
static inline uint64_t word_equal(uint64_t word, unsigned char c)
{
    return word_below(word ^ c * 0x0101010101010101u, 1);
}

/* ASCII only, whatever the locale */
static inline char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

bool bytes_eq_nocase(struct bytes a, struct bytes b);
/* Index of the first c, or a.len. */
size_t bytes_index(struct bytes a, char c);
/* Without the spaces and tabs at both ends (OWS of RFC 9110 5.6.3). */
struct bytes bytes_trim(struct bytes a);
/* Below a space, or DEL. */
bool bytes_have_controls(struct bytes a);
/* Takes what stands before the next sep (or the rest) off *rest; false when *rest was used up (ptr NULL). */
bool bytes_split(struct bytes *rest, char sep, struct bytes *ret_part);
/* Decimal digits only: no sign, no space, no empty text; false as well on overflow. */
bool bytes_to_u64(struct bytes a, uint64_t *ret_value);
/* The same with a minus in front, in the one way to write a number: no leading zero, no "-0". */
bool bytes_to_i64(struct bytes a, int64_t *ret_value);
/* Writes value in decimal at out (20 bytes are always enough, no NUL) and returns how many it wrote. */
size_t u64_to_text(uint64_t value, char *out);
size_t i64_to_text(int64_t value, char *out);
