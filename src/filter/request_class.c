/* request_class: says how many ordinary requests this one counts as.
 *
 *      weight_of: {report: 20, export: 50}          request_class: report   or   by header X-Class
 *                        │                                             │
 *                        └───────────────────▶ x->weight = 20 ◀────────┘ ──▶ balancers (load under way),
 * limits
 *
 * A request of no class, or of one that is not in the list, counts as one. */
#include "base/mem.h"
#include "core/metrics.h"
#include "core/worker.h"
#include "gate/filter.h"
#include "gate/request_key.h"

struct request_class_conf {
    struct bytes class; /* of all requests of the route; empty: by */
    struct bytes by_text;
    struct request_key by;
};

static err request_class_check(void *conf, struct diag *reterr)
{
    struct request_class_conf *c = conf;
    if (!c->class.len == !c->by_text.len) {
        diag_set(reterr, "request_class wants one of the two: a class (of weight_of), or `by` what names it");
        return ERR_CONF;
    }
    return c->by_text.len ? request_key_parse(c->by_text, &c->by, reterr) : OK;
}

/* ---- metrics ---- */

#define REQUEST_CLASS_METRICS(X)                                                      \
    X(HEAVY, "heavy_total", METRIC_COUNTER, "Requests that counted as more than one") \
    X(WEIGHT, "weight_total", METRIC_COUNTER, "What all requests counted as, added up")

enum request_class_metric {
#define X(id, name, type, help) METRIC_##id,
    REQUEST_CLASS_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = "request_class",
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            REQUEST_CLASS_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "route", NULL },
};

/* ---- the filter ---- */

struct request_class {
    const struct request_class_conf *conf; /* lives as long as the gate */
    uint32_t weight;                       /* of all requests; 0: by its class */
    struct metric_instance *metrics;
    struct metric_cells *cells;
};

static err request_class_handle(struct exchange *x, void *state, struct chain *next)
{
    const struct request_class *s = state;
    uint32_t weight = s->weight ? s->weight : gate_weight_of(x->gate, request_key_of(&s->conf->by, x));
    if (weight == 0)
        weight = 1;
    x->weight = weight;
    metric_add(s->cells, METRIC_WEIGHT, weight);
    if (weight > 1)
        metric_inc(s->cells, METRIC_HEAVY);
    return chain_next(next, x);
}

static void request_class_close(void *state)
{
    struct request_class *s = state;
    metric_instance_free(s->metrics);
    mem_free(s);
}

static err request_class_open(const void *conf, struct gate *g, struct bytes scope, void **ret_state,
                              struct diag *reterr)
{
    (void)reterr;
    const struct request_class_conf *c = conf;
    struct request_class *s = mem_get(sizeof *s);
    if (!s)
        return ERR_MEMORY;
    s->conf = c;
    if (c->class.len)
        s->weight = gate_weight_of(g, c->class);
    err e = metric_instance_open(&metric_group, &scope, &s->metrics);
    if (e) {
        request_class_close(s);
        return e;
    }
    s->cells = metric_cells(s->metrics, worker_index(worker_self()));
    *ret_state = s;
    return OK;
}

const struct filter request_class_filter = {
    .conf = { .name = "request_class",
              .size = sizeof(struct request_class_conf),
              .phrases = (const char *const[]){ "by {by}", "{class}", NULL },
              .fields =
                  (const struct conf_field[]){ { .name = "class",
                                                 .type = CONF_REF,
                                                 .offset = offsetof(struct request_class_conf, class),
                                                 .ref = "weight_of",
                                                 .doc = "of all requests of this route" },
                                               { .name = "by",
                                                 .type = CONF_TEXT,
                                                 .offset = offsetof(struct request_class_conf, by_text),
                                                 .doc = "what names the class of a request: " REQUEST_KEY_DOC
                                                        ". What is not in `weight_of` counts as one" },
                                               { 0 } },
              .check = request_class_check,
              .doc = "How many ordinary requests one of this route counts as." },
    .open = request_class_open,
    .handle = request_class_handle,
    .close = request_class_close,
};
