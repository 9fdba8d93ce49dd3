#include "gate/route_path.h"

#include "base/hex.h"

/* ---- %41 is A ---- */

static bool is_encoded(struct bytes p)
{
    return p.len >= 3 && p.ptr[0] == '%' && hex_value(p.ptr[1]) >= 0 && hex_value(p.ptr[2]) >= 0;
}

/* What may be written with or without percent-encoding and is the same (RFC 3986 2.3, 6.2.2.2); 0: it is not
 * that. */
static char unreserved_at(struct bytes p)
{
    if (!is_encoded(p))
        return 0;
    int value = hex_value(p.ptr[1]) * 16 + hex_value(p.ptr[2]);
    char c = (char)value;
    bool letter = ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z';
    return letter || (c >= '0' && c <= '9') || (c && strchr("-._~", c)) ? c : 0;
}

static bool has_unreserved(struct bytes path)
{
    for (size_t i = bytes_index(path, '%'); i < path.len; i++) {
        if (unreserved_at(bytes_skip(path, i)))
            return true;
    }
    return false;
}

static err decode_unreserved(struct bytes path, struct arena *a, struct bytes *ret_path)
{
    char *out = arena_get(a, path.len);
    if (!out)
        return ERR_LIMIT;
    size_t len = 0;
    unsigned guarded = 0; /* bytes behind a % that begins nothing: what is decoded must not complete it */
    while (path.len) {
        char c = unreserved_at(path);
        bool whole = is_encoded(path);
        if (c && !(guarded && hex_value(c) >= 0)) {
            out[len++] = c;
            guarded -= guarded > 0;
        } else {
            memcpy(out + len, path.ptr, whole ? 3 : 1);
            len += whole ? 3 : 1;
            guarded = whole ? 0 : path.ptr[0] == '%' ? 2 : guarded - (guarded > 0);
        }
        path = bytes_skip(path, whole ? 3 : 1);
    }
    *ret_path = (struct bytes){ out, len };
    return OK;
}

/* ---- dot segments ---- */

/* 1 for ".", 2 for "..", 0 for any other segment */
static int dots_of(struct bytes segment)
{
    bool dots = segment.len <= 2 && bytes_starts(BYTES(".."), segment);
    return dots ? (int)segment.len : 0;
}

static bool has_dot_segment(struct bytes path)
{
    if (!memchr(path.ptr, '.', path.len))
        return false; /* most have none */
    for (size_t i = 0; i + 1 < path.len; i++) {
        if (path.ptr[i] == '/' && path.ptr[i + 1] == '.')
            return true;
    }
    return false;
}

err route_path(struct bytes path, struct arena *a, struct bytes *ret_path)
{
    if (bytes_eq(path, BYTES("*"))) /* OPTIONS *: asks about the server as a whole */
        path = BYTES("/");
    if (path.len == 0 || path.ptr[0] != '/')
        return ERR_SYNTAX;
    if (has_unreserved(path) && decode_unreserved(path, a, &path) != OK)
        return ERR_LIMIT;
    if (!has_dot_segment(path)) {
        *ret_path = path;
        return OK;
    }
    char *out = arena_get(a, path.len + 1);
    if (!out)
        return ERR_LIMIT;
    size_t len = 0;
    struct bytes rest = bytes_skip(path, 1);
    struct bytes segment;
    while (bytes_split(&rest, '/', &segment)) {
        int dots = dots_of(segment);
        if (dots == 2) {
            if (len == 0)
                return ERR_SYNTAX;
            while (out[--len] != '/') {
            }
        }
        if (!dots) {
            out[len++] = '/';
            memcpy(out + len, segment.ptr, segment.len);
            len += segment.len;
        } else if (!rest.ptr) {
            out[len++] = '/'; /* "/a/." and "/a/b/.." end in a slash */
        }
    }
    if (len == 0)
        out[len++] = '/';
    *ret_path = (struct bytes){ out, len };
    return OK;
}
