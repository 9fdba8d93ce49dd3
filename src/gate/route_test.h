/* route_test: what the tests of the router share: routes from texts, and a request to ask with. */
#pragma once
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/test.h"
#include "gate/route.h"

#define NOBODY UINT32_MAX
#define ROUTES_MAX 10000

static struct route_conf routes[ROUTES_MAX];
static struct arena arena;

struct route_test_root {
    struct conf_list matches;
};

static const struct conf_struct route_test_root_struct = {
    .name = "route",
    .size = sizeof(struct route_test_root),
    .fields = (const struct conf_field[]){ { .name = "match",
                                             .type = CONF_LIST,
                                             .sub = &match_conf_struct,
                                             .offset = offsetof(struct route_test_root, matches) },
                                           { 0 } },
};

/* routes[i] from what stands behind `match:`. */
static inline err route_test_add(unsigned i, const char *match, struct diag *reterr)
{
    void *conf;
    struct bytes text = arena_print(&arena, "%.*smatch: %s\n", (int)i % 1000, "", match);
    err e = conf_parse(text, "weir.yaml", &route_test_root_struct, &arena, NULL, &conf, reterr);
    if (e)
        return e;
    routes[i] = (struct route_conf){ .matches = ((struct route_test_root *)conf)->matches };
    return OK;
}

/* Plain paths without the detour; each stands in a line of its own. */
static inline void route_test_add_plain(unsigned i, const char *path)
{
    struct match_conf *m = arena_get_zero(&arena, sizeof *m);
    struct bytes *text = arena_get(&arena, sizeof *text);
    *text = bytes_from(path);
    m->path = (struct conf_list){ text, 1 };
    m->mark = (struct conf_mark){ 10 + i, 5 };
    routes[i] = (struct route_conf){ .matches = { m, 1 } };
}

static inline err route_test_build(unsigned count, struct router **ret_router, struct diag *reterr)
{
    return router_build(&(struct conf_list){ routes, count }, ret_router, reterr);
}

static struct http_field route_test_fields[16];

/* "GET host/path?query", then "Name: value" lines. */
static inline struct http_request route_test_request(const char *line, const char *const *fields)
{
    struct bytes rest = bytes_from(line);
    struct bytes method;
    bytes_split(&rest, ' ', &method);
    size_t slash = bytes_index(rest, '/');
    struct http_request q = { .method_text = method,
                              .method = http_method_of(method),
                              .authority = { rest.ptr, slash },
                              .fields = { route_test_fields, 0, 16 } };
    rest = bytes_skip(rest, slash);
    size_t mark = bytes_index(rest, '?');
    q.path = (struct bytes){ rest.ptr, mark };
    if (mark < rest.len)
        q.query = bytes_skip(rest, mark + 1);
    for (; fields && *fields; fields++) {
        struct bytes value = bytes_from(*fields);
        struct bytes name;
        bytes_split(&value, ':', &name);
        value = bytes_trim(value);
        route_test_fields[q.fields.count++] = (struct http_field){ .name = name.ptr,
                                                                   .name_len = (uint16_t)name.len,
                                                                   .value = value.ptr,
                                                                   .value_len = (uint32_t)value.len,
                                                                   .id = (uint8_t)http_field_id_of(name) };
    }
    return q;
}

static struct route_hit hit;

/* The route's index, NOBODY, or NOBODY - 1 when a bound was reached. */
static inline uint32_t route_test_find(const struct router *r, const char *line, const char *const *fields)
{
    struct http_request q = route_test_request(line, fields);
    err e = router_find(r, &q, q.path, &arena, &hit);
    return e == OK ? hit.route : e == ERR_NOT_FOUND ? NOBODY : NOBODY - 1;
}

static inline int route_test_begin(void **state)
{
    (void)state;
    arena_open(&arena, &arena_heap, 256u << 20, NULL, 0);
    return 0;
}

static inline int route_test_end(void **state)
{
    (void)state;
    arena_close(&arena);
    return 0;
}
