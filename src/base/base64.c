#include "base/base64.h"

/* The value of a digit; 64 and above: none. */
static unsigned digit(enum base64_kind kind, char c)
{
    if (c >= 'A' && c <= 'Z')
        return (unsigned)(c - 'A');
    if (c >= 'a' && c <= 'z')
        return (unsigned)(c - 'a') + 26;
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0') + 52;
    if (c == (kind == BASE64_URL ? '-' : '+'))
        return 62;
    return c == (kind == BASE64_URL ? '_' : '/') ? 63 : 64;
}

/* Padding comes off; what is left of the last four must be two digits or more. */
static bool unpad(enum base64_kind kind, struct bytes *text)
{
    if (kind == BASE64_STANDARD) {
        if (text->len % 4)
            return false;
        for (unsigned i = 0; i < 2 && text->len && text->ptr[text->len - 1] == '='; i++)
            text->len--;
    }
    return text->len % 4 != 1;
}

err base64_decode(enum base64_kind kind, struct bytes text, char *out, size_t *ret_len)
{
    size_t len = 0;
    uint32_t bits = 0;
    unsigned count = 0; /* of bits */
    if (!unpad(kind, &text))
        return ERR_SYNTAX;
    for (size_t i = 0; i < text.len; i++) {
        unsigned value = digit(kind, text.ptr[i]);
        if (value >= 64)
            return ERR_SYNTAX;
        bits = (bits << 6 | value) & 0xffff;
        count += 6;
        if (count >= 8) {
            count -= 8;
            out[len++] = (char)(bits >> count & 0xff);
        }
    }
    if (bits & ((1u << count) - 1))
        return ERR_SYNTAX;
    *ret_len = len;
    return OK;
}

size_t base64_encode(struct bytes data, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *at = out;
    for (size_t i = 0; i < data.len; i += 3) {
        uint32_t bits = (uint32_t)(unsigned char)data.ptr[i] << 16;
        bits |= i + 1 < data.len ? (uint32_t)(unsigned char)data.ptr[i + 1] << 8 : 0;
        bits |= i + 2 < data.len ? (unsigned char)data.ptr[i + 2] : 0;
        *at++ = digits[bits >> 18];
        *at++ = digits[bits >> 12 & 63];
        *at++ = i + 1 < data.len ? digits[bits >> 6 & 63] : '=';
        *at++ = i + 2 < data.len ? digits[bits & 63] : '=';
    }
    return (size_t)(at - out);
}
