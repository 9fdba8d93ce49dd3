/* http3_conf: what a listener says of HTTP/3. Immutable, of its generation. */
#pragma once
#include "core/conf.h"

#define HTTP3_RETRY_OFF CONF_INT_WORD(0)

struct http3_conf {
    int64_t connections_max; /* of one worker */
    int64_t streams_max;     /* of one connection */
    uint64_t stream_window_bytes, window_bytes;
    uint64_t idle_timeout_ms, handshake_timeout_ms;
    int64_t retry_above;  /* handshakes under way, of one worker; HTTP3_RETRY_OFF */
    int64_t alt_svc_port; /* 0: the listener's own */
    uint64_t alt_svc_ms;  /* CONF_MS_OFF: it is not said */
    int congestion;       /* enum quic_congestion */
    bool early_data, gso;
};

extern const struct conf_struct http3_conf_struct;
