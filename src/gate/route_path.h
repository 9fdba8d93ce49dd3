/* route_path: the form of a path that routes are found by. Any thread. */
#pragma once
#include "base/arena.h"
#include "base/err.h"

/* The path to route by: what is written %41 without need is A (RFC 3986 6.2.2.2), and dot segments are taken
 * out (5.2.4), so that nobody reaches a guarded route's server through another one's. The same bytes when
 * there is nothing to do, else a copy in the arena. ERR_SYNTAX: it climbs above the root, or is no absolute
 * path. */
err route_path(struct bytes path, struct arena *a, struct bytes *ret_path) CHECK_RESULT;
