#include "gate/order_id.h"

#include <sys/random.h>

#include "base/must.h"

struct bytes order_id_make(struct order_ids *ids, struct arena *a)
{
    char *id = arena_get(a, ORDER_ID_BYTES);
    if (ids->left < ORDER_ID_BYTES / 2) {
        must(getrandom(ids->random, sizeof ids->random, 0) == sizeof ids->random);
        ids->left = sizeof ids->random;
    }
    for (unsigned i = 0; id && i < ORDER_ID_BYTES / 2; i++) {
        const unsigned char c = (unsigned char)ids->random[--ids->left];
        id[2 * i] = "0123456789abcdef"[c >> 4];
        id[2 * i + 1] = "0123456789abcdef"[c & 15];
    }
    return (struct bytes){ id, id ? ORDER_ID_BYTES : 0 };
}

/* unreserved of RFC 3986 2.3 */
static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == '~';
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
