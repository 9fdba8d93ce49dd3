/* conf_test: what the tests of conf share. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "core/conf_sample.h"

struct parsed {
    struct arena arena;
    struct diag diag;
    char said[640]; /* the first mistake as a person sees it */
    err e;
    void *conf;
};

static inline void parse_as(struct parsed *p, const struct conf_struct *root, const char *text)
{
    *p = (struct parsed){ .diag = DIAG_NONE };
    arena_open(&p->arena, &arena_heap, 1 << 26, NULL, 0);
    p->e = conf_parse(bytes_from(text), "weir.yaml", root, &p->arena, NULL, &p->conf, &p->diag);
    if (p->e == ERR_CONF)
        diag_print(&p->diag, p->said, sizeof p->said);
}

static inline void parsed_close(struct parsed *p)
{
    arena_close(&p->arena);
}

/* Gathers what a conf_writer writes. */
struct gathered {
    char *text;
    size_t len;
};

static inline void gather(void *arg, struct bytes text)
{
    struct gathered *g = arg;
    g->text = realloc(g->text, g->len + text.len + 1);
    assert_non_null(g->text);
    if (text.len)
        memcpy(g->text + g->len, text.ptr, text.len);
    g->len += text.len;
    g->text[g->len] = 0;
}

static inline struct gathered yaml_of(const struct conf_struct *root, const void *conf)
{
    struct gathered g = { NULL, 0 };
    conf_write_yaml(root, conf, &(struct conf_writer){ gather, &g });
    return g;
}

static const char sample_full[] =
    "listen: [\":8080\"]\n"
    "admin: 127.0.0.1:9901\n"
    "workers: auto\n"
    "access_log: stdout            # or off, or a path\n"
    "routes:\n"
    "  - match: /api/*\n"
    "    service: shop\n"
    "    mirror: 30% to shadow\n"
    "    rate_limit: 50/s per ip\n"
    "    circuit_breaker: 5% over 10s\n"
    "services:\n"
    "  shop:\n"
    "    servers: [10.0.0.1:80, 10.0.0.2:80, {address: 10.0.0.3:80, weight: 2}]\n"
    "    balance: least_request\n"
    "    health_check: GET /healthz every 2s\n"
    "    headers: {x-from: weir, \"a b\": \"\\u00e9\\n\\\"\"}\n"
    "  shadow:\n"
    "    servers: unix:/run/shadow.sock\n"
    "    balance: hash by cookie\n"
    "    idle: off\n";
