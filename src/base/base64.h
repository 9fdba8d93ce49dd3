/* base64: RFC 4648; reads strictly: no white space, no foreign characters, no set bits behind the end. Any
 * thread. */
#pragma once
#include "base/bytes.h"
#include "base/err.h"

enum base64_kind {
    BASE64_STANDARD, /* section 4, padded: Basic credentials */
    BASE64_URL       /* section 5, without padding: tokens */
};

/* How many bytes a text of that length stands for at most. */
static inline size_t base64_bytes_max(size_t len)
{
    return len / 4 * 3 + 3;
}

/* Writes to out, where base64_bytes_max(text.len) are free. ERR_SYNTAX. */
err base64_decode(enum base64_kind kind, struct bytes text, char *out, size_t *ret_len) CHECK_RESULT;

/* Writes standard base64 with its padding to out, where base64_text_bytes(data.len) are free; returns the
 * length. */
static inline size_t base64_text_bytes(size_t len)
{
    return (len + 2) / 3 * 4;
}
size_t base64_encode(struct bytes data, char *out);
