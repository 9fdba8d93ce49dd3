#include "gate/route_path.h"

/* '.' as it is or as %2e; how many bytes it takes, 0: no dot */
static size_t dot_at(struct bytes p)
{
    if (p.len && p.ptr[0] == '.')
        return 1;
    bool encoded = p.len >= 3 && p.ptr[0] == '%' && p.ptr[1] == '2' && ascii_lower(p.ptr[2]) == 'e';
    return encoded ? 3 : 0;
}

/* 1 for ".", 2 for "..", 0 for any other segment */
static int dots_of(struct bytes segment)
{
    int dots = 0;
    while (segment.len) {
        size_t n = dot_at(segment);
        if (!n || ++dots > 2)
            return 0;
        segment = bytes_skip(segment, n);
    }
    return dots;
}

static bool has_dot_segment(struct bytes path)
{
    if (!memchr(path.ptr, '.', path.len) && !memchr(path.ptr, '%', path.len))
        return false; /* most have neither */
    for (size_t i = 0; i + 1 < path.len; i++) {
        if (path.ptr[i] == '/' && dot_at(bytes_skip(path, i + 1)))
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
