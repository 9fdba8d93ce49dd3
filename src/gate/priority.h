/* priority: how much a request matters when not all can be served. overload sheds the low first, a waiting
 * queue serves the high first.
 *
 *      priority: high                                every request of the route
 *      priority: header X-Priority                   what the client's field says: low, normal, high
 *      priority: {header: Priority, class: low}      RFC 9218 4.1: u=0..2 high, 3 and 4 normal, 5..7 low; a
 * request without it is low
 *
 * A header is believed: name one that only those set who may. Pure; the table is immutable; any thread. */
#pragma once
#include "core/conf.h"
#include "proto/http.h"

/*    id      word, in rising order */
#define PRIORITY_LIST(X) \
    X(LOW, "low")        \
    X(NORMAL, "normal")  \
    X(HIGH, "high")

enum priority {
#define X(id, word) PRIORITY_##id,
    PRIORITY_LIST(X)
#undef X
        PRIORITY_COUNT
};

extern const char *const priority_words[]; /* ends with NULL */

struct priority_conf {
    int class;           /* enum priority */
    struct bytes header; /* empty: none */
};

extern const struct conf_struct priority_struct;

enum priority priority_of(const struct priority_conf *c, const struct http_fields *request);
