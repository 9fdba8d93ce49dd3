/* http_range: the Range field (RFC 9110 14), for bytes. Pure; any thread.
 *
 *      Range: bytes=0-99, 500-, -20     of 1000 bytes   ─▶   [0, 99] [500, 999] [980, 999] */
#pragma once
#include "base/bytes.h"

/* More than this in one request is no honest wish (RFC 9110 14.2): the field is then ignored. */
#define HTTP_RANGES_MAX 16

struct http_range {
    uint64_t first, last; /* both belong to it */
};

enum http_ranges {
    HTTP_RANGES_IGNORE,        /* not bytes, malformed, too many or overlapping: as if it were not there */
    HTTP_RANGES_SOME,          /* 206 */
    HTTP_RANGES_UNSATISFIABLE, /* none of them lies in it: 416 */
};

/* Those of the field that lie in a representation of `length` bytes, in their order, clipped to it. ret has
 * room for HTTP_RANGES_MAX; *ret_count is at least 1 with HTTP_RANGES_SOME. */
enum http_ranges http_range_parse(struct bytes value, uint64_t length, struct http_range *ret,
                                  unsigned *ret_count);
