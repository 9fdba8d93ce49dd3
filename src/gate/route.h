/* route: which route takes a request. Built once for a generation, read by all workers.
 *
 *   host ──▶ host set ──▶ exact path?  ──▶ longest prefix?
 *     └─ none fits ──▶ the set of routes without a host
 *
 * The most specific wins: a host before none, exact before prefix, long before short. Finding one takes a
 * hash look-up for each different prefix length, not for each route. */
#pragma once
#include "base/arena.h"
#include "base/diag.h"
#include "gate/gate_conf.h"

struct router;

/* Two routes for the same match are a mistake (ERR_CONF). routes are given back by their index. */
err router_build(const struct conf_list *routes, struct router **ret_router,
                 struct diag *reterr) CHECK_RESULT;
void router_free(struct router *r);
/* Index into routes; UINT32_MAX: none. authority: the request's host, with or without a port, in any case.
 * path: see route_path. */
uint32_t router_find(const struct router *r, struct bytes authority, struct bytes path);

/* The path to route by: dot segments taken out (RFC 3986 5.2.4), also those written with %2e, so that nobody
 * reaches a guarded route's server through another one's. The same bytes when there are none, else a copy in
 * the arena. ERR_SYNTAX: it climbs above the root, or is no absolute path. */
err route_path(struct bytes path, struct arena *a, struct bytes *ret_path) CHECK_RESULT;
