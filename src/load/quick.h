/* quick: the carrier that sends requests whose bytes are known beforehand: one again and again, or a list of
 * them in turn (a file of URLs, an access log).
 *
 * A connection that waits owns no fiber and no buffer, so that 50,000 of them fit one worker. */
#pragma once
#include "load/load.h"
#include "proto/http.h"

struct quick_request {
    struct bytes bytes; /* head and body */
    enum http_method method;
    unsigned kind;
};

struct quick_plan {
    const struct addr *addr;
    const struct quick_request *requests; /* the n-th that is sent is number n modulo count */
    size_t count;
    unsigned pipeline; /* in flight on each connection, in a closed loop */
};

extern const struct load_carrier quick_carrier; /* its plan is a struct quick_plan */
