#include "gate/order_id.h"

#include <sys/random.h>

#include "base/must.h"

#define TIME_BYTES 6
#define RANDOM_BYTES (ORDER_ID_BYTES / 2 - TIME_BYTES)

static char *put_hex(char *at, unsigned char c)
{
    *at++ = "0123456789abcdef"[c >> 4];
    *at++ = "0123456789abcdef"[c & 15];
    return at;
}

struct bytes order_id_make(struct order_ids *ids, uint64_t now_ms, struct arena *a)
{
    char *id = arena_get(a, ORDER_ID_BYTES), *at = id;
    if (ids->left < RANDOM_BYTES) {
        must(getrandom(ids->random, sizeof ids->random, 0) == sizeof ids->random);
        ids->left = sizeof ids->random;
    }
    if (!id)
        return BYTES_NONE;
    for (int shift = 8 * (TIME_BYTES - 1); shift >= 0; shift -= 8)
        at = put_hex(at, (unsigned char)(now_ms >> shift));
    for (unsigned i = 0; i < RANDOM_BYTES; i++)
        at = put_hex(at, (unsigned char)ids->random[--ids->left]);
    return (struct bytes){ id, ORDER_ID_BYTES };
}

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
