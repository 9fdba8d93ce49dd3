/* fault: makes a route slow or failing on purpose, to see what clients, retries and breakers make of it.
 *
 *      fault: {delay: 500ms for 10%, abort: 503 for 1%}
 *
 *   handle: for this request? ─▶ delay drawn? sleep ─▶ abort drawn? answer : chain_next
 *
 * Delay and abort are drawn apart from each other. With by_header the request itself may ask for either
 * (X-Weir-Fault-Delay: milliseconds, X-Weir-Fault-Abort: status); these fields never reach a server. */
#include "base/hash.h"
#include "base/mem.h"
#include "core/fiber.h"
#include "core/metrics.h"
#include "gate/filter.h"
#include "gate/request_match.h"

#define DELAY_FIELD BYTES("X-Weir-Fault-Delay")
#define ABORT_FIELD BYTES("X-Weir-Fault-Abort")

struct fault_delay {
    uint64_t time_ms;
    uint64_t jitter_ms;
    double percent; /* 0 to 1 */
};

struct fault_abort {
    int64_t status;
    double percent;
};

struct fault_conf {
    const struct fault_delay *delay; /* NULL: none */
    const struct fault_abort *abort;
    const struct request_match *only;
    bool by_header;
    uint64_t delay_max_ms; /* of what a header asks for */
    int64_t delays_max;
};

#define FAULT_METRICS(X)                                                                     \
    X(DELAYED, "delayed_total", METRIC_COUNTER, "Requests that were held up")                \
    X(ABORTED, "aborted_total", METRIC_COUNTER, "Requests that were answered with an error") \
    X(BUSY, "busy_total", METRIC_COUNTER, "Requests not held up because delays_max were held up")

enum fault_metric {
#define X(id, name, type, help) METRIC_##id,
    FAULT_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = "fault",
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            FAULT_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "route", NULL },
};

/* A route's, on one worker. */
struct fault {
    const struct fault_conf *conf;
    struct metric_instance *metrics;
    struct metric_cells *cells;
    int64_t delays; /* under way */
};

/* ---- the decision ---- */

struct fault_plan {
    uint64_t delay_us; /* 0: none */
    unsigned status;   /* 0: none */
};

static bool is_drawn(double percent, uint64_t random)
{
    return (double)(random >> 11) < percent * 0x1p53;
}

/* random: three independent numbers. */
static struct fault_plan plan_drawn(const struct fault_conf *c, const uint64_t random[3])
{
    struct fault_plan p = { 0 };
    if (c->delay && is_drawn(c->delay->percent, random[0]))
        p.delay_us = 1000 * c->delay->time_ms + random[2] % (1000 * c->delay->jitter_ms + 1);
    if (c->abort && is_drawn(c->abort->percent, random[1]))
        p.status = (unsigned)c->abort->status;
    return p;
}

/* What the request asks for counts instead of what was drawn; nonsense is no wish. */
static void plan_asked(const struct fault_conf *c, struct http_fields *fields, struct fault_plan *p)
{
    uint64_t n;
    const struct http_field *delay = http_fields_find(fields, DELAY_FIELD);
    const struct http_field *status = http_fields_find(fields, ABORT_FIELD);
    if (delay && bytes_to_u64(http_field_value(delay), &n))
        p->delay_us = 1000 * (n < c->delay_max_ms ? n : c->delay_max_ms);
    if (status && bytes_to_u64(http_field_value(status), &n) && n >= 400 && n <= 599)
        p->status = (unsigned)n;
    if (delay)
        http_fields_remove(fields, DELAY_FIELD);
    if (status)
        http_fields_remove(fields, ABORT_FIELD);
}

/* ---- the filter ---- */

static err hold_up(struct fault *f, uint64_t us)
{
    if (f->delays >= f->conf->delays_max) {
        metric_inc(f->cells, METRIC_BUSY);
        return OK;
    }
    metric_inc(f->cells, METRIC_DELAYED);
    f->delays++;
    err e = fiber_sleep_us(us);
    f->delays--;
    return e;
}

static err fault_handle(struct exchange *x, void *state, struct chain *next)
{
    struct fault *f = state;
    struct fault_plan p = { 0 };
    if (request_matches(f->conf->only, x)) {
        const uint64_t random[3] = { random_u64(), random_u64(), random_u64() };
        p = plan_drawn(f->conf, random);
    }
    if (f->conf->by_header)
        plan_asked(f->conf, &x->request.fields, &p);
    err e = p.delay_us ? hold_up(f, p.delay_us) : OK;
    if (e)
        return e;
    if (!p.status)
        return chain_next(next, x);
    metric_inc(f->cells, METRIC_ABORTED);
    exchange_answer(x, p.status, BYTES_NONE, BYTES_NONE, BYTES("fault"));
    return OK;
}

static void fault_close(void *state)
{
    struct fault *f = state;
    metric_instance_free(f->metrics);
    mem_free(f);
}

static err fault_open(const void *conf, struct gate *g, struct bytes scope, void **ret_state,
                      struct diag *reterr)
{
    (void)g;
    (void)reterr;
    struct fault *f = mem_get(sizeof *f);
    if (!f)
        return ERR_MEMORY;
    f->conf = conf;
    err e = metric_instance_open(&metric_group, &scope, &f->metrics);
    if (e) {
        mem_free(f);
        return e;
    }
    f->cells = metric_cells(f->metrics, worker_index(worker_self()));
    *ret_state = f;
    return OK;
}

static err fault_check(void *conf, struct diag *reterr)
{
    const struct fault_conf *c = conf;
    if (c->delay || c->abort || c->by_header)
        return OK;
    diag_set(reterr, "a fault that does nothing: expected delay, abort or by_header");
    return ERR_CONF;
}

static const struct conf_struct delay_struct = {
    .name = "delay",
    .size = sizeof(struct fault_delay),
    .phrases = (const char *const[]){ "{time} for {percent}", "{time}", NULL },
    .fields = (const struct conf_field[]){ { .name = "time",
                                             .type = CONF_MS,
                                             .offset = offsetof(struct fault_delay, time_ms),
                                             .required = true,
                                             .min = 1,
                                             .max = 600000,
                                             .doc = "how long a request is held up" },
                                           { .name = "jitter",
                                             .type = CONF_MS,
                                             .offset = offsetof(struct fault_delay, jitter_ms),
                                             .preset = "0ms",
                                             .max = 600000,
                                             .doc = "up to that much longer, drawn evenly" },
                                           { .name = "percent",
                                             .type = CONF_PERCENT,
                                             .offset = offsetof(struct fault_delay, percent),
                                             .preset = "100%",
                                             .doc = "of which share of the requests" },
                                           { 0 } },
    .doc = "Requests that are held up before anything else happens to them here.",
};

static const struct conf_struct abort_struct = {
    .name = "abort",
    .size = sizeof(struct fault_abort),
    .phrases = (const char *const[]){ "{status} for {percent}", "{status}", NULL },
    .fields = (const struct conf_field[]){ { .name = "status",
                                             .type = CONF_INT,
                                             .offset = offsetof(struct fault_abort, status),
                                             .required = true,
                                             .min = 400,
                                             .max = 599,
                                             .doc = "what they are answered" },
                                           { .name = "percent",
                                             .type = CONF_PERCENT,
                                             .offset = offsetof(struct fault_abort, percent),
                                             .preset = "100%",
                                             .doc = "of which share of the requests" },
                                           { 0 } },
    .doc = "Requests that are answered with an error; no server is asked.",
};

const struct filter fault_filter = {
    .conf = { .name = "fault",
              .size = sizeof(struct fault_conf),
              .fields =
                  (const struct conf_field[]){
                      { .name = "delay",
                        .type = CONF_STRUCT,
                        .offset = offsetof(struct fault_conf, delay),
                        .sub = &delay_struct,
                        .doc = "`500ms for 10%`: requests that are held up" },
                      { .name = "abort",
                        .type = CONF_STRUCT,
                        .offset = offsetof(struct fault_conf, abort),
                        .sub = &abort_struct,
                        .doc = "`503 for 1%`: requests that are answered with an error" },
                      { .name = "only",
                        .type = CONF_STRUCT,
                        .offset = offsetof(struct fault_conf, only),
                        .sub = &request_match_struct,
                        .doc = "which requests are drawn from; all when not said" },
                      { .name = "by_header",
                        .type = CONF_BOOL,
                        .offset = offsetof(struct fault_conf, by_header),
                        .preset = "false",
                        .doc = "a request may ask for it: `X-Weir-Fault-Delay` (milliseconds), "
                               "`X-Weir-Fault-Abort` (400 to 599)" },
                      { .name = "delay_max",
                        .type = CONF_MS,
                        .offset = offsetof(struct fault_conf, delay_max_ms),
                        .preset = "30s",
                        .min = 1,
                        .max = 600000,
                        .doc = "the longest delay that a request may ask for" },
                      { .name = "delays_max",
                        .type = CONF_INT,
                        .offset = offsetof(struct fault_conf, delays_max),
                        .preset = "1000",
                        .min = 1,
                        .max = 1000000,
                        .doc = "requests held up at a time, of one worker; beyond that they pass at once" },
                      { 0 } },
              .check = fault_check,
              .doc = "Delays requests or answers them with errors, on purpose." },
    .open = fault_open,
    .handle = fault_handle,
    .close = fault_close,
};
