/* http_precondition: If-Match, If-None-Match and their kin (RFC 9110 13), and the dates in them. Pure; any
 * thread.
 *
 *      If-Match, or If-Unmodified-Since        fails ─▶ 412
 *      If-None-Match, or If-Modified-Since     fails ─▶ 304 (GET, HEAD), 412
 *      Range with If-Range                     fails ─▶ no Range */
#pragma once
#include "proto/http.h"

/* What stands for a representation. */
struct http_validators {
    struct bytes etag;       /* with its quotes, "W/" in front of a weak one; empty: none */
    int64_t last_modified_s; /* since 1970; 0: not known */
};

/* 0: go on; 304 or 412. In the order of RFC 9110 13.2.2. The representation exists. */
unsigned http_precondition(const struct http_fields *request, enum http_method method,
                           const struct http_validators *v);
/* Does the Range field count? (RFC 9110 13.1.5: a strong tag that is equal, or the exact date; or no
 * If-Range.) */
bool http_if_range(const struct http_fields *request, const struct http_validators *v);

/* Is the tag in the list ("*" is any)? weak: compared without regard to W/ (RFC 9110 8.8.3.2). */
bool http_etag_listed(struct bytes list, struct bytes etag, bool weak);

/* "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 5.6.7); of the obsolete forms that of asctime and RFC 850 are
 * read, too. Not before 1970. */
#define HTTP_DATE_BYTES 29
void http_date_print(int64_t seconds, char out[HTTP_DATE_BYTES + 1]);
bool http_date_parse(struct bytes text, int64_t *ret_seconds);
