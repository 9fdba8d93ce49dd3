/* quic_metrics: what QUIC counts, of a worker, over all listeners and generations. */
#pragma once
#include "core/metrics.h"

/*    index                name                     type            help */
#define QUIC_METRIC_LIST(X)                                                                                 \
    X(QUIC_CONNECTIONS, "connections_total", METRIC_COUNTER, "Connections begun")                           \
    X(QUIC_OPEN, "connections", METRIC_GAUGE, "Of those, open now")                                         \
    X(QUIC_HANDSHAKES, "handshakes_total", METRIC_COUNTER, "Handshakes completed")                          \
    X(QUIC_HANDSHAKE_FAILURES, "handshake_failures_total", METRIC_COUNTER,                                  \
      "Connections that ended before their handshake was complete")                                         \
    X(QUIC_RESUMED, "resumed_total", METRIC_COUNTER, "Handshakes that resumed an earlier session")          \
    X(QUIC_EARLY_ACCEPTED, "early_data_accepted_total", METRIC_COUNTER,                                     \
      "Handshakes whose 0-RTT data was taken")                                                              \
    X(QUIC_EARLY_REJECTED, "early_data_rejected_total", METRIC_COUNTER,                                     \
      "Handshakes whose 0-RTT data was not taken: replayed, too old, or switched off")                      \
    X(QUIC_REFUSED, "refused_total", METRIC_COUNTER,                                                        \
      "Clients refused: connections_max, or no listener any more")                                          \
    X(QUIC_RETRIES, "retries_total", METRIC_COUNTER,                                                        \
      "Retry packets sent to clients whose address was not shown")                                          \
    X(QUIC_TOKENS_INVALID, "tokens_invalid_total", METRIC_COUNTER,                                          \
      "Retry tokens that were not ours, or too old")                                                        \
    X(QUIC_VERSIONS, "version_negotiations_total", METRIC_COUNTER, "Clients told which versions there are") \
    X(QUIC_RESETS, "stateless_resets_total", METRIC_COUNTER,                                                \
      "Stateless resets sent for connections not known")                                                    \
    X(QUIC_MIGRATIONS, "migrations_total", METRIC_COUNTER,                                                  \
      "Connections whose client moved to another address")                                                  \
    X(QUIC_FORWARDED, "forwarded_datagrams_total", METRIC_COUNTER,                                          \
      "Datagrams passed on to the worker or process that has their connection")                             \
    X(QUIC_RECEIVED, "received_datagrams_total", METRIC_COUNTER, "Datagrams received")                      \
    X(QUIC_RECEIVED_BYTES, "received_bytes_total", METRIC_COUNTER, "Bytes in them")                         \
    X(QUIC_SENT, "sent_datagrams_total", METRIC_COUNTER, "Datagrams sent")                                  \
    X(QUIC_SENT_BYTES, "sent_bytes_total", METRIC_COUNTER, "Bytes in them")                                 \
    X(QUIC_DROPPED, "dropped_datagrams_total", METRIC_COUNTER,                                              \
      "Datagrams dropped: of nobody, malformed, or from where a client was before")                         \
    X(QUIC_UNSENT, "unsent_datagrams_total", METRIC_COUNTER,                                                \
      "Datagrams that the socket did not take: sent again")                                                 \
    X(QUIC_TURNS_FULL, "turns_full_total", METRIC_COUNTER,                                                  \
      "Turns of the loop that left datagrams to the next")                                                  \
    X(QUIC_LOST, "lost_packets_total", METRIC_COUNTER, "Packets with stream data that were found lost")

enum quic_metric {
#define X(index, name, type, help) index,
    QUIC_METRIC_LIST(X)
#undef X
        QUIC_METRICS
};
