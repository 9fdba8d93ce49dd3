/* resp_metrics: what is counted of clients of Redis. On a worker. */
#pragma once
#include <stdint.h>

/*    index                    name                   type            help */
#define RESP_METRIC_LIST(X)                                                                              \
    X(RESP_CONNECTIONS, "connections_total", METRIC_COUNTER, "Connections of clients")                   \
    X(RESP_CONNECTIONS_OPEN, "connections", METRIC_GAUGE, "Of those, open now")                          \
    X(RESP_CONNECTIONS_REFUSED, "refused_total", METRIC_COUNTER, "Connections that were too many")       \
    X(RESP_BLOCKED, "blocked", METRIC_GAUGE, "Clients whose command waits: for a message, or a lock")    \
    X(RESP_COMMANDS, "commands_total", METRIC_COUNTER, "Commands of clients")                            \
    X(RESP_COMMANDS_WRITE, "writes_total", METRIC_COUNTER, "Of those, that may change something")        \
    X(RESP_ERRORS, "errors_total", METRIC_COUNTER, "Answers that are errors")                            \
    X(RESP_RECEIVED, "received_bytes_total", METRIC_COUNTER, "Bytes of commands")                        \
    X(RESP_SENT, "sent_bytes_total", METRIC_COUNTER, "Bytes of answers")                                 \
    X(RESP_MALFORMED, "malformed_total", METRIC_COUNTER, "Connections closed because of what they said") \
    X(RESP_PASSWORDS_WRONG, "passwords_wrong_total", METRIC_COUNTER, "Passwords that were not the right one")

enum resp_metric {
#define X(index, name, type, help) index,
    RESP_METRIC_LIST(X)
#undef X
};

void resp_count(enum resp_metric index, uint64_t n);
/* Of the gauge. */
void resp_uncount(enum resp_metric index);
