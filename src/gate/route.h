/* route: which route takes a request. Built once for a generation, read by all workers.
 *
 *   host ──▶ its paths ──▶ exact path?  ──▶ longest literal ──▶ {capture}? regex? * ? ──▶ the next shorter
 * one ... └─ none fits ──▶ "*.example.com", longest first ──▶ the paths without a host
 *
 * The most specific wins: an exact host before a wildcard, a longer wildcard before a shorter one, any of
 * them before none. Of two paths the place where they first differ decides: a literal before a {capture},
 * that before a regex, that before a *. (So exact goes before prefix and long before short.) Of routes at the
 * same place the one that asks more (gate/route_choice.h).
 *
 * Finding one takes one pass over the path, with a hash look-up for each different length of a literal,
 * however many routes there are; a pattern with captures is such a pass for each capture. Regexes are the
 * exception: those that have the same host and literal head are tried one by one. */
#pragma once
#include "base/arena.h"
#include "base/diag.h"
#include "gate/gate_conf.h"
#include "gate/route_match.h"

struct router;

/* Two routes that take the same requests are a mistake (ERR_CONF). routes are given back by their index;
 * they, and what they hold, must live as long. */
err router_build(const struct conf_list *routes, struct router **ret_router,
                 struct diag *reterr) CHECK_RESULT;
void router_free(struct router *r);
/* Whether a thread that asks needs regex_ready. */
bool router_has_regexes(const struct router *r);

struct route_hit {
    uint32_t route; /* index into routes */
    uint32_t
        methods; /* ERR_NOT_FOUND: bits of enum http_method that would have been taken; 0: it is not that */
    unsigned count;            /* of captures */
    const struct bytes *names; /* of the captures; of the router */
    struct bytes
        values[ROUTE_CAPTURES_MAX]; /* slices of path; ptr NULL: an optional group that took no part */
    struct bytes rest;              /* what the * stands for */
};
/* ERR_NOT_FOUND; ERR_LIMIT: a regex ran into its bound, or a to its cap: it is unknown which. q: its method,
 * authority, query and fields count. path: see route_path. a: for what has to be decoded. */
err router_find(const struct router *r, const struct http_request *q, struct bytes path, struct arena *a,
                struct route_hit *ret_hit) CHECK_RESULT;
