#include "gate/gate_metrics.h"

#include "core/worker.h"

static const struct metric_def http_defs[] = {
#define X(index, name, type, help) { name, type, help },
    HTTP_METRIC_LIST(X)
#undef X
};
static const struct metric_group http_group = { "http", http_defs, sizeof http_defs / sizeof *http_defs,
                                                (const char *const[]){ "service", NULL } };

static const struct metric_def code_defs[] = { { "requests_total", METRIC_COUNTER,
                                                 "Exchanges, by their answer's class" } };
static const struct metric_group code_group = { "http", code_defs, 1,
                                                (const char *const[]){ "service", "code", NULL } };

static const struct metric_def upstream_defs[] = {
#define X(index, name, type, help) { name, type, help },
    UPSTREAM_METRIC_LIST(X)
#undef X
};
static const struct metric_group upstream_group = { "upstream", upstream_defs,
                                                    sizeof upstream_defs / sizeof *upstream_defs,
                                                    (const char *const[]){ "service", "server", NULL } };

err service_metrics_open(struct service_metrics *m, struct bytes name)
{
    static const char *const classes[STATUS_CLASSES] = { "none", "1xx", "2xx", "3xx", "4xx", "5xx" };
    unsigned worker = worker_index(worker_self());
    err e = metric_instance_open(&http_group, &name, &m->instance);
    if (e)
        return e;
    m->cells = metric_cells(m->instance, worker);
    for (unsigned i = 0; i < STATUS_CLASSES; i++) {
        e = metric_instance_open(&code_group, (const struct bytes[]){ name, bytes_from(classes[i]) },
                                 &m->codes[i]);
        if (e)
            return e;
        m->code_cells[i] = metric_cells(m->codes[i], worker);
    }
    return OK;
}

void service_metrics_close(struct service_metrics *m)
{
    metric_instance_free(m->instance);
    for (unsigned i = 0; i < STATUS_CLASSES; i++)
        metric_instance_free(m->codes[i]);
}

void service_metrics_count(struct service_metrics *m, const struct exchange *x)
{
    unsigned class = x->response.status / 100;
    metric_inc(m->code_cells[class < STATUS_CLASSES ? class : 0], 0);
    metric_observe_ns(m->cells, HTTP_SECONDS, (worker_now_us() - x->start_us) * 1000);
    if (x->request_bytes)
        metric_add(m->cells, HTTP_REQUEST_BYTES, x->request_bytes);
    metric_add(m->cells, HTTP_RESPONSE_BYTES, x->response_bytes);
    if (x->attempts > 1)
        metric_add(m->cells, HTTP_RETRIES, x->attempts - 1);
    if (x->client_gone)
        metric_inc(m->cells, HTTP_CLIENT_GONE);
    if (x->failed)
        metric_inc(m->cells, HTTP_FAILURES);
}

err server_metrics_open(struct bytes service, const char *server, struct metric_instance **ret_instance,
                        struct metric_cells **ret_cells)
{
    const struct bytes values[] = { service, bytes_from(server) };
    err e = metric_instance_open(&upstream_group, values, ret_instance);
    if (!e)
        *ret_cells = metric_cells(*ret_instance, worker_index(worker_self()));
    return e;
}
