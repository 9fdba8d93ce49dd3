#include "admin/admin.h"

#include <stdio.h>

#include "admin/state.h"
#include "base/text.h"
#include "core/conf.h"
#include "core/metrics.h"
#include "gate/process.h"

/* Written by weir itself, not by a module's cells. */
void admin_write_process_metrics(struct text *t);

static void append(void *arg, struct bytes part)
{
    text_add(arg, part);
}

static void free_text(struct exchange *x, void *arg)
{
    (void)x;
    text_free(arg);
}

static void answer_text(struct exchange *x, struct text *t, struct bytes type)
{
    exchange_answer(x, 200, type, (struct bytes){ t->at, t->len }, BYTES("admin"));
}

static void get_metrics(struct exchange *x, struct text *t)
{
    const struct metric_writer w = { append, t };
    metrics_write(&w);
    admin_write_process_metrics(t);
    answer_text(x, t, BYTES("text/plain; version=0.0.4; charset=utf-8"));
}

static void get_config(struct exchange *x, struct text *t)
{
    const struct conf_writer w = { append, t };
    conf_write_yaml(&gate_conf_struct, process_generation()->conf, &w);
    answer_text(x, t, BYTES("application/yaml"));
}

static void get_services(struct exchange *x, struct text *t)
{
    state_write_services(x->gate, t);
    answer_text(x, t, BYTES("application/json"));
}

static void get_filters(struct exchange *x, struct text *t)
{
    state_write_filters(x->gate, t);
    answer_text(x, t, BYTES("application/json"));
}

static void get_index(struct exchange *x, struct text *t)
{
    text_add(
        t,
        BYTES(
            "weir\n\n/metrics  for Prometheus\n/config   the configuration in force, defaults filled in\n"));
    answer_text(x, t, BYTES("text/plain; charset=utf-8"));
}

static const struct {
    struct bytes path;
    void (*get)(struct exchange *x, struct text *t);
} pages[] = {
    { { "/", 1 }, get_index },
    { { "/metrics", 8 }, get_metrics },
    { { "/config", 7 }, get_config },
    { { "/v1/services", 12 }, get_services },
    { { "/v1/filters", 11 }, get_filters },
};

void admin_serve(struct exchange *x)
{
    bool read_only = x->request.method == HTTP_GET || x->request.method == HTTP_HEAD;
    for (unsigned i = 0; i < sizeof pages / sizeof *pages; i++) {
        if (!bytes_eq(x->request.path, pages[i].path))
            continue;
        struct text *t = arena_get_zero(&x->arena, sizeof *t);
        if (!read_only) {
            exchange_answer(x, 405, BYTES_NONE, BYTES_NONE, BYTES("admin"));
            (void)!http_fields_add(&x->response.fields, &x->arena, BYTES("Allow"), BYTES("GET, HEAD"));
        } else if (!t || exchange_on_end(x, free_text, t) != OK) {
            exchange_answer(x, 503, BYTES_NONE, BYTES_NONE, BYTES("admin"));
        } else {
            pages[i].get(x, t);
        }
        return;
    }
    exchange_answer(x, 404, BYTES_NONE, BYTES_NONE, BYTES("admin"));
}
