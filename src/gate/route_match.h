/* route_match: the `match` of a route as it is written, and what its patterns mean, one by one. Finding the
 * best of many is gate/route.h's.
 *
 *      match: shop.example/users/{id}           host, then path
 *      match: GET /api/v1*                      with a method
 *      match: {host: [a.example, "*.b.example"], path: [/x*, /y], regex: ..., method: ..., header: ...}
 *      match: [/a*, {path: /b*, header: {X-B: present}}]      several: any of them
 *
 * Each pair of a host and a path (or the regex) is one pattern; a match is all of them. Immutable; any thread. */
#pragma once
#include "gate/condition.h"

#define ROUTE_HOST_BYTES_MAX 255
#define ROUTE_CAPTURES_MAX 8

struct match_conf {
    struct conf_list host; /* struct bytes */
    struct conf_list path; /* struct bytes, a host in front of it perhaps */
    struct bytes regex;
    struct condition_conf asks;
    struct conf_mark mark;
};

/* The table; without phrases of their own its structs are lists' items. */
extern const struct conf_struct match_conf_struct;

struct match_pattern {
    struct bytes host; /* empty: any; "*.x": any below x */
    struct bytes path; /* "/exact", "/prefix*", "/a/{name}/b", or a regex */
    bool regex;
};
/* Walk: *at starts at 0; false at the end. There is at least one. */
bool match_pattern_next(const struct match_conf *m, unsigned *at, struct match_pattern *ret_pattern);
/* The names of {captures} or of a regex's named groups, ROUTE_CAPTURES_MAX at most; returns how many. The
 * names of groups are regex's (gate/regex.h), NULL for no regex. */
struct regex;
unsigned match_pattern_names(const struct match_pattern *p, const struct regex *regex,
                             struct bytes names[ROUTE_CAPTURES_MAX]);
/* A route's text: its first pattern and what it asks. Unique among routes, the same over reloads. */
struct bytes match_text(const struct conf_list *matches, struct arena *a);
/* The same for patterns that take the same requests: without case in the host and without the names of
 * captures. */
struct bytes match_pattern_key(const struct match_pattern *p, struct bytes asks_text, struct arena *a);

/* Whether one pattern alone takes it, as the definition reads; for explain and tests. path: route_path's. */
bool match_host_fits(struct bytes host, struct bytes authority);
bool match_path_fits(const struct match_pattern *p, struct bytes path);
/* "[::1]:80" -> "[::1]", "shop.example:80" -> "shop.example" */
struct bytes match_host_of(struct bytes authority);
