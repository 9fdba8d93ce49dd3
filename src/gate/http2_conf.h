/* http2_conf: the settings of HTTP/2, as the tables and others read them. Immutable; any thread. */
#pragma once
#include "core/conf.h"

/* Of clients (`client: {http2: ...}`), or of those of one listener. */
struct http2_conf {
    int64_t streams_max;
    uint64_t window_bytes, connection_window_bytes, frame_bytes_max, table_bytes_max;
    int64_t patience;
    bool connect;
    struct conf_mark mark;
};
extern const struct conf_struct http2_struct;
