/* alpn: the protocols that a TLS listener offers (RFC 7301), the best first, and who takes a connection that
 * has agreed on one. Who agrees on none speaks HTTP/1.1. */
#pragma once
#include "gate/http1_server.h"
#include "gate/http2_server.h"

/* length   name        taken by: void (struct clients *, struct io *, const struct peer *) */
#define ALPN_HTTP1(X) X("\x08", "http/1.1", http1_server_accept_from)
#if WEIR_HAVE_NGHTTP2
#define ALPN_HTTP2(X) X("\x02", "h2", http2_server_accept)
#else
#define ALPN_HTTP2(X)
#endif
#define ALPN_LIST(X) ALPN_HTTP2(X) ALPN_HTTP1(X)
