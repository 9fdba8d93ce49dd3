#include "gate/file_path.h"

#include "base/hex.h"

/* RFC 8615 is the one hidden folder that is meant to be seen. */
static bool is_hidden(struct bytes segment, bool dotfiles)
{
    if (!bytes_starts(segment, BYTES(".")))
        return false;
    if (segment.len == 1 || bytes_eq(segment, BYTES("..")))
        return true;
    return !dotfiles && !bytes_eq(segment, BYTES(".well-known"));
}

bool file_path_name(struct bytes path, bool dotfiles, char out[FILE_PATH_BYTES_MAX], size_t *ret_len)
{
    size_t len = 0;
    for (size_t i = 0; i < path.len; i++) {
        char c = path.ptr[i];
        if (c == '%') {
            int high = i + 2 < path.len ? hex_value(path.ptr[i + 1]) : -1;
            int low = i + 2 < path.len ? hex_value(path.ptr[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = (char)(high << 4 | low);
            if (c == 0 || c == '/')
                return false;
            i += 2;
        } else if (c == '/' && (len == 0 || out[len - 1] == '/')) {
            continue; /* the first one, and one of several */
        }
        if (len + 2 > FILE_PATH_BYTES_MAX)
            return false;
        out[len++] = c;
    }
    struct bytes rest = { out, len };
    struct bytes segment;
    while (bytes_split(&rest, '/', &segment)) {
        if (is_hidden(segment, dotfiles))
            return false;
    }
    if (len == 0)
        out[len++] = '.';
    out[len] = 0;
    *ret_len = len;
    return true;
}

bool file_path_strip(struct bytes prefix, struct bytes *path)
{
    while (prefix.len && prefix.ptr[prefix.len - 1] == '/')
        prefix.len--;
    if (!bytes_starts(*path, prefix) || (path->len > prefix.len && path->ptr[prefix.len] != '/'))
        return false;
    *path = bytes_skip(*path, prefix.len);
    return true;
}
