/* gate_metrics: what the gate counts, for each service and each of its servers, on each worker. */
#pragma once
#include "core/metrics.h"
#include "gate/exchange.h"

struct service;
struct server;

/*    index               name                     type              help */
#define HTTP_METRIC_LIST(X)                                                                                  \
    X(HTTP_SECONDS, "request_seconds", METRIC_HISTOGRAM, "From a request's first byte to its answer's last") \
    X(HTTP_REQUEST_BYTES, "request_bytes_total", METRIC_COUNTER, "Bytes of request bodies passed on")        \
    X(HTTP_RESPONSE_BYTES, "response_bytes_total", METRIC_COUNTER, "Bytes of response bodies passed on")     \
    X(HTTP_RETRIES, "retries_total", METRIC_COUNTER, "Further servers asked for a request")                  \
    X(HTTP_CLIENT_GONE, "client_gone_total", METRIC_COUNTER, "Clients that left before their answer began")  \
    X(HTTP_FAILURES, "failures_total", METRIC_COUNTER, "Exchanges that weir had to answer itself, or cut")

enum http_metric {
#define X(index, name, type, help) index,
    HTTP_METRIC_LIST(X)
#undef X
};

#define UPSTREAM_METRIC_LIST(X)                                                                   \
    X(UPSTREAM_REQUESTS, "requests_total", METRIC_COUNTER, "Requests that this server was asked") \
    X(UPSTREAM_FAILURES, "failures_total", METRIC_COUNTER,                                        \
      "Requests that it could not be asked or did not answer")                                    \
    X(UPSTREAM_ERRORS, "errors_total", METRIC_COUNTER, "Answers with a status of 500 or above")   \
    X(UPSTREAM_SECONDS, "request_seconds", METRIC_HISTOGRAM,                                      \
      "From the choice of a server to its answer's head")

enum upstream_metric {
#define X(index, name, type, help) index,
    UPSTREAM_METRIC_LIST(X)
#undef X
};

#define STATUS_CLASSES 6 /* of "other", 1xx .. 5xx */

struct service_metrics {
    struct metric_instance *instance;
    struct metric_instance *codes[STATUS_CLASSES];
    struct metric_cells *cells;
    struct metric_cells *code_cells[STATUS_CLASSES];
};

/* name: the service's; "none" for what no route takes. On failure close what was opened. */
err service_metrics_open(struct service_metrics *m, struct bytes name) CHECK_RESULT;
void service_metrics_close(struct service_metrics *m);
/* Counts an exchange that has ended. */
void service_metrics_count(struct service_metrics *m, const struct exchange *x);

err server_metrics_open(struct bytes service, const char *server, struct metric_instance **ret_instance,
                        struct metric_cells **ret_cells) CHECK_RESULT;
