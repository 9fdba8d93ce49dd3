/* request_match: which requests a filter is for: the setting `only` of mirror, fault and others.
 *
 *      only: {methods: [GET, HEAD], path: [/api*, /buy], headers: {X-Beta: "1", X-Debug: "*"}}
 *
 * All of what is said must hold; of methods and paths one is enough. A value or path that ends in * is a
 * prefix. Immutable, part of a generation; any thread. */
#pragma once
#include "core/conf.h"
#include "gate/exchange.h"

struct request_match {
    struct conf_list methods; /* struct bytes; empty: any */
    struct conf_list path;    /* struct bytes, exact or with a * at the end; empty: any */
    struct conf_list headers; /* struct conf_pair; every one must be there */
};

extern const struct conf_struct request_match_struct;

/* A NULL m is for every request. The path is the one that routes go by (without dot segments). */
bool request_matches(const struct request_match *m, struct exchange *x);
