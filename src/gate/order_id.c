#include "gate/order_id.h"

/* unreserved of RFC 3986 2.3 */
static bool is_plain(char c)
{
    static const bool plain[256] = {
        ['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['0' ... '9'] = true, ['-'] = true,
        ['_'] = true,         ['.'] = true,         ['~'] = true
    };
    return plain[(unsigned char)c];
}

struct bytes order_id_url(struct bytes front, struct bytes id, struct arena *a)
{
    char *url = arena_get(a, front.len + 3 * id.len), *at = url;
    if (!url)
        return BYTES_NONE;
    memcpy(at, front.ptr, front.len);
    at += front.len;
    for (size_t i = 0; i < id.len; i++) {
        const unsigned char c = (unsigned char)id.ptr[i];
        if (is_plain(id.ptr[i])) {
            *at++ = id.ptr[i];
            continue;
        }
        *at++ = '%';
        *at++ = "0123456789ABCDEF"[c >> 4];
        *at++ = "0123456789ABCDEF"[c & 15];
    }
    return (struct bytes){ url, (size_t)(at - url) };
}
