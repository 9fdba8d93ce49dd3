#include "gate/http2_conf.h"

#define AT(member) offsetof(struct http2_conf, member)

/* Without the library nothing can be on. */
static err http2_check(void *conf, struct diag *reterr)
{
    (void)conf;
    if (WEIR_HAVE_NGHTTP2)
        return OK;
    diag_set(reterr, "this weir was built without libnghttp2 and speaks no HTTP/2");
    return ERR_UNSUPPORTED;
}

const struct conf_struct http2_struct = {
    .name = "http2",
    .size = sizeof(struct http2_conf),
    .fields =
        (const struct conf_field[]){
            { .name = "streams_max",
              .type = CONF_INT,
              .offset = AT(streams_max),
              .preset = "100",
              .min = 1,
              .max = 10000,
              .doc = "requests at a time on one connection (SETTINGS_MAX_CONCURRENT_STREAMS)" },
            { .name = "window",
              .type = CONF_BYTES,
              .offset = AT(window_bytes),
              .preset = "128k",
              .min = 1024,
              .max = 1 << 30,
              .doc = "of a request's body, so much may be here and not yet taken by its server" },
            { .name = "connection_window",
              .type = CONF_BYTES,
              .offset = AT(connection_window_bytes),
              .preset = "4m",
              .min = 65535,
              .max = 1 << 30,
              .doc = "the same over all requests of a connection: while more than that is not taken, and no "
                     "server waits for more, all of them wait" },
            { .name = "frame_bytes_max",
              .type = CONF_BYTES,
              .offset = AT(frame_bytes_max),
              .preset = "16k",
              .min = 16384,
              .max = 16777215,
              .doc = "longest frame a client may send (SETTINGS_MAX_FRAME_SIZE)" },
            { .name = "table_bytes_max",
              .type = CONF_BYTES,
              .offset = AT(table_bytes_max),
              .preset = "4k",
              .max = 65536,
              .doc = "table of header compression that a client may use (SETTINGS_HEADER_TABLE_SIZE)" },
            { .name = "patience",
              .type = CONF_INT,
              .offset = AT(patience),
              .preset = "1",
              .min = 0,
              .max = 1000,
              .doc =
                  "the bounds on what costs us more than the client are multiplied with it; 0: no bounds" },
            { .name = "connect",
              .type = CONF_BOOL,
              .offset = AT(connect),
              .preset = "true",
              .doc = "WebSocket over HTTP/2 (extended CONNECT, RFC 8441) is offered" },
            { 0 } },
    .check = http2_check,
    .mark_offset = AT(mark),
    .doc = "HTTP/2 for clients: by ALPN over TLS, and in clear text for clients that begin with it.",
};
