/* http2_metrics: what is counted of HTTP/2, over all listeners and services. On a worker; its own cells. */
#pragma once
#include "core/metrics.h"

/*    index             name                   type            help */
#define HTTP2_METRIC_LIST(X)                                                                                \
    X(HTTP2_CONNECTIONS, "connections_total", METRIC_COUNTER, "Connections of clients")                     \
    X(HTTP2_CONNECTIONS_OPEN, "connections", METRIC_GAUGE, "Of those, open now")                            \
    X(HTTP2_STREAMS, "requests_total", METRIC_COUNTER, "Requests of clients")                               \
    X(HTTP2_RESETS, "resets_total", METRIC_COUNTER, "Requests taken back, or lost with their connection")   \
    X(HTTP2_MALFORMED, "malformed_total", METRIC_COUNTER, "Requests reset because they were malformed")     \
    X(HTTP2_REFUSED, "refused_total", METRIC_COUNTER,                                                       \
      "Requests refused because too many taken back ones were still being let go of")                       \
    X(HTTP2_ABUSED, "abused_total", METRIC_COUNTER, "Connections closed because their client did too much") \
    X(HTTP2_UPSTREAM_CONNECTIONS, "upstream_connections_total", METRIC_COUNTER, "Connections to servers")   \
    X(HTTP2_UPSTREAM_OPEN, "upstream_connections", METRIC_GAUGE, "Of those, open now")                      \
    X(HTTP2_UPSTREAM_STREAMS, "upstream_requests_total", METRIC_COUNTER, "Requests sent to servers")        \
    X(HTTP2_UPSTREAM_GOAWAYS, "upstream_goaways_total", METRIC_COUNTER,                                     \
      "Connections that their server has ended in good order")

enum http2_metric {
#define X(index, name, type, help) index,
    HTTP2_METRIC_LIST(X)
#undef X
};

void http2_count(enum http2_metric index);
/* A gauge. */
void http2_count_by(enum http2_metric index, int n);
