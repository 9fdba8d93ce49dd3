/* http2_server: HTTP/2 clients (RFC 9113) on one worker.
 *
 *   accept ─▶ http2_session ──head──▶ a fiber for each stream: exchange ─▶ chain ─▶ answer
 *
 * A connection on which nothing is asked has no fiber and no buffer. That worker only. */
#pragma once
#include "core/io.h"

struct clients;
struct peer;

/* "PRI * HTTP/2.0 ...": what a client that knows that we speak it begins with (RFC 9113 3.4). */
#define HTTP2_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

/* Takes over a connection, with what has arrived on it. peer: who it is; NULL: the socket's. */
void http2_server_accept(struct clients *s, struct io *io, const struct peer *peer);
