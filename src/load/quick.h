/* quick: the carrier that sends requests whose bytes are known beforehand: one again and again, or a list of
 * them in turn (a file of URLs, an access log).
 *
 * A connection that waits owns no fiber and no buffer, so that 50,000 of them fit one worker. */
#pragma once
#include "load/load.h"
#include "proto/http.h"

struct framed_request;
struct quick_protocol;

struct quick_request {
    struct bytes bytes;                  /* head and body, as HTTP/1.1 says it */
    const struct framed_request *framed; /* the same for HTTP/2 and 3; NULL: HTTP/1.1 */
    enum http_method method;
    unsigned kind;
};

struct quick_plan {
    const struct addr *addr;
    const struct quick_request *requests; /* the n-th that is sent is number n modulo count */
    size_t count;
    const struct quick_protocol *protocol;
    unsigned pipeline; /* in flight on each connection; over HTTP/1.1 only in a closed loop */
};

extern const struct quick_protocol quick_http1;
#if WEIR_HAVE_NGHTTP2
extern const struct quick_protocol quick_http2;
#endif
#if WEIR_HAVE_NGTCP2
extern const struct quick_protocol quick_http3;
#endif

extern const struct load_carrier quick_carrier; /* its plan is a struct quick_plan */
