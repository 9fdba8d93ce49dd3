/* variables_test: what the tests of the filters with variables share: a filter's conf from YAML, with the
 * route that it stands in, and a request. After filter/fakes_test.h and the filter's own file. */
#pragma once
#include "base/test.h"
#include "gate/gate_conf.h"
#include "gate/route_match.h"

struct loaded {
    struct arena arena;
    struct route_conf route;
    const void *conf;
    char words[sizeof((struct diag *)0)->text]; /* why it was refused; empty: it was not */
};

static const struct conf_struct *loaded_modules[2];

/* The services that there are: a, b and c. */
struct loaded_root {
    struct route_conf route;
    struct conf_list services;
};

struct loaded_service {
    struct bytes name;
};

static const struct conf_struct loaded_service_struct = { .name = "service",
                                                          .size = sizeof(struct loaded_service) };

static const struct conf_struct loaded_struct = {
    .name = "route",
    .size = sizeof(struct loaded_root),
    .fields = (const struct conf_field[]){ { .name = "match",
                                             .type = CONF_LIST,
                                             .sub = &match_conf_struct,
                                             .offset = offsetof(struct loaded_root, route.matches) },
                                           { .name = "service",
                                             .type = CONF_REF,
                                             .ref = "services",
                                             .offset = offsetof(struct loaded_root, route.service) },
                                           { .name = "services",
                                             .type = CONF_MAP,
                                             .sub = &loaded_service_struct,
                                             .offset = offsetof(struct loaded_root, services) },
                                           { .name = "filters",
                                             .type = CONF_MODULES,
                                             .modules = loaded_modules,
                                             .offset = offsetof(struct loaded_root, route.filters) },
                                           { 0 } },
};

/* text: "match: ...\nrewrite: ...". Closed by loaded_close, whatever came out. */
static inline void loaded_open(struct loaded *l, const struct filter *f, const char *text)
{
    struct diag d = DIAG_NONE;
    void *conf;
    *l = (struct loaded){ 0 };
    loaded_modules[0] = &f->conf;
    arena_open(&l->arena, &arena_heap, 1 << 20, NULL, 0);
    struct bytes whole = arena_print(&l->arena, "%sservices: {a: {}, b: {}, c: {}}\n", text);
    err e = conf_parse(whole, "weir.yaml", &loaded_struct, &l->arena, NULL, &conf, &d);
    if (!e) {
        l->route = ((const struct loaded_root *)conf)->route;
        assert_int_equal(l->route.filters.count, 1);
        l->conf = ((const struct conf_module *)l->route.filters.items)->conf;
        if (l->route.matches.count)
            l->route.match = match_text(&l->route.matches, &l->arena);
        const struct filter_place place = { .route = &l->route };
        e = f->check_route ? f->check_route(l->conf, &place, &d) : OK;
    }
    if (e)
        memcpy(l->words, d.text, sizeof l->words);
}

static inline void loaded_close(struct loaded *l)
{
    arena_close(&l->arena);
}

static inline void assert_refused(const struct filter *f, const char *text, const char *why)
{
    struct loaded l;
    loaded_open(&l, f, text);
    if (!l.words[0] || !strstr(l.words, why))
        fail_msg("%s: \"%s\", not \"%s\"", text, l.words, why);
    loaded_close(&l);
}

/* "http://host/path?query"; x is open. */
static inline void ask(struct exchange *x, const char *url)
{
    struct bytes rest = bytes_skip(bytes_from(url), strlen("http://"));
    size_t slash = bytes_index(rest, '/');
    x->scheme = "http";
    x->request.method = HTTP_GET;
    x->request.method_text = BYTES("GET");
    x->request.authority = (struct bytes){ rest.ptr, slash };
    x->request.target = bytes_skip(rest, slash);
    size_t mark = bytes_index(x->request.target, '?');
    x->path = x->request.path = (struct bytes){ x->request.target.ptr, mark };
    if (mark < x->request.target.len)
        x->request.query = bytes_skip(x->request.target, mark + 1);
}
