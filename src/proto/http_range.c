#include "proto/http_range.h"

/* int-range or suffix-range (RFC 9110 14.1.2). *ret_lies: it touches the representation. */
static bool parse_spec(struct bytes spec, uint64_t length, struct http_range *ret, bool *ret_lies)
{
    size_t dash = bytes_index(spec, '-');
    struct bytes a = { spec.ptr, dash };
    if (dash == spec.len)
        return false;
    struct bytes b = bytes_skip(spec, dash + 1);
    uint64_t first = 0;
    uint64_t last = UINT64_MAX;
    if (a.len == 0) {
        uint64_t suffix;
        if (!bytes_to_u64(b, &suffix))
            return false;
        *ret_lies = suffix > 0 && length > 0;
        *ret = (struct http_range){ suffix < length ? length - suffix : 0, length - 1 };
        return true;
    }
    if (!bytes_to_u64(a, &first) || (b.len && !bytes_to_u64(b, &last)) || first > last)
        return false;
    *ret_lies = first < length;
    *ret = (struct http_range){ first, last < length ? last : length - 1 };
    return true;
}

static bool overlaps(const struct http_range *ranges, unsigned count, struct http_range r)
{
    for (unsigned i = 0; i < count; i++) {
        if (ranges[i].first <= r.last && r.first <= ranges[i].last)
            return true;
    }
    return false;
}

enum http_ranges http_range_parse(struct bytes value, uint64_t length, struct http_range *ret,
                                  unsigned *ret_count)
{
    struct bytes unit;
    struct bytes spec;
    unsigned specs = 0;
    *ret_count = 0;
    if (!bytes_split(&value, '=', &unit) || !value.ptr || !bytes_eq_nocase(bytes_trim(unit), BYTES("bytes")))
        return HTTP_RANGES_IGNORE;
    while (bytes_split(&value, ',', &spec)) {
        struct http_range r;
        bool lies;
        spec = bytes_trim(spec);
        if (!spec.len) /* empty members of a list are no mistake (RFC 9110 5.6.1) */
            continue;
        if (++specs > HTTP_RANGES_MAX || !parse_spec(spec, length, &r, &lies))
            return HTTP_RANGES_IGNORE;
        if (!lies)
            continue;
        if (overlaps(ret, *ret_count, r))
            return HTTP_RANGES_IGNORE;
        ret[(*ret_count)++] = r;
    }
    if (*ret_count)
        return HTTP_RANGES_SOME;
    return specs ? HTTP_RANGES_UNSATISFIABLE : HTTP_RANGES_IGNORE;
}
