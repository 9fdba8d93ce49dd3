/* http_query: one parameter of a query, found by its name (application/x-www-form-urlencoded, WHATWG
 * URL 5.1).
 *
 *      user=ann&q=a%20b+c        find q ─▶ "a b c"
 *
 * The first of that name counts. '+' is a space and %HH a byte, in names as in values; a % that is not
 * followed by two hexadecimal digits stands for itself. A value that has neither is a slice of the query;
 * only another one is written anew, into the caller's arena. One thread (the arena's). */
#pragma once
#include "base/arena.h"
#include "base/err.h"

/* *ret_found false: there is none. ret_value may be empty ("q=" and "q" alone). ERR_LIMIT: the arena has no
 * room for a decoded value. */
err http_query_find(struct bytes query, struct bytes name, struct arena *a, struct bytes *ret_value,
                    bool *ret_found) CHECK_RESULT;
