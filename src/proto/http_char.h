/* http_char: what each byte may be in HTTP text, as one table for every scalar check of proto/. Any thread.
 * The SIMD scanners of http1 are proved against it by the tests. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum http_char_class {
    HTTP_CHAR_TOKEN = 1,    /* tchar of RFC 9110 5.6.2: names, methods, codings */
    HTTP_CHAR_VALUE = 2,    /* HTAB, SP, VCHAR, obs-text of RFC 9110 5.5 */
    HTTP_CHAR_TARGET = 4,   /* visible ASCII but '#' */
    HTTP_CHAR_REG_NAME = 8, /* unreserved and sub-delims of RFC 3986 3.2.2; pct-encoded is not a byte */
    HTTP_CHAR_HEX_DIGIT = 16
};

extern const uint8_t http_char[256];

static inline bool http_char_is(char c, enum http_char_class class)
{
    return (http_char[(uint8_t)c] & class) != 0;
}

/* Of a HTTP_CHAR_HEX_DIGIT. */
static inline unsigned http_hex_value(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a' + 10);
}
