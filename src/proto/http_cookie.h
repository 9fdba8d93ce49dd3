/* http_cookie: one cookie of a request, found by its name (RFC 6265 4.2.1 and 5.4).
 *
 *      Cookie: SID=31d4d96e; lang="en-US"        find lang ─▶ en-US
 *
 * A request may have several Cookie fields (HTTP/2 splits them, RFC 9113 8.2.3): they are looked at in order
 * and the first of that name counts. The value is a slice of the field, without the quotes that may stand
 * around it. Names are told apart by case. What is no pair is skipped. No allocation; any thread. */
#pragma once
#include "proto/http.h"

/* false: there is none. ret_value may be empty. */
bool http_cookie_find(const struct http_fields *f, struct bytes name, struct bytes *ret_value);
