/* hex: numbers and bytes as hexadecimal digits. Writes lower case; reads both. Any thread. */
#pragma once
#include "base/bytes.h"

static inline char hex_digit(unsigned value)
{
    return "0123456789abcdef"[value & 15];
}

/* The last `digits` of value, the highest first. */
static inline void hex_put(char *out, uint64_t value, unsigned digits)
{
    for (unsigned i = digits; i-- > 0; value >>= 4)
        out[i] = hex_digit((unsigned)value);
}

/* Two digits a byte. */
static inline void hex_put_bytes(char *out, const void *data, size_t len)
{
    const unsigned char *from = data;
    for (size_t i = 0; i < len; i++)
        hex_put(out + 2 * i, from[i], 2);
}

/* 0 to 15; -1: it is no digit. */
static inline int hex_value(char c)
{
    const char lower = ascii_lower(c);
    if (c >= '0' && c <= '9')
        return c - '0';
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* Are they all digits as weir writes them? */
static inline bool hex_is_lower(struct bytes text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (hex_value(text.ptr[i]) < 0 || text.ptr[i] != ascii_lower(text.ptr[i]))
            return false;
    }
    return true;
}

/* Of at most 16 digits, all of which are some. */
static inline uint64_t hex_read(struct bytes digits)
{
    uint64_t value = 0;
    for (size_t i = 0; i < digits.len; i++)
        value = value << 4 | (uint64_t)(unsigned)hex_value(digits.ptr[i]);
    return value;
}
