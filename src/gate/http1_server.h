/* http1_server: HTTP/1.1 clients of one listener on one worker.
 *
 *   accept ─▶ PARKED ──first byte──▶ fiber: head ─▶ exchange ─▶ answer ─┐
 *               ▲                                                       │ keep-alive, nothing more has
 * arrived └───────────────────────────────────────────────────────┘
 *
 * A parked connection is one struct http1_conn and one struct io: no fiber, no buffer. That worker only. */
#pragma once
#include "core/io.h"

struct clients;
struct peer;

/* Takes over an accepted connection. */
void http1_server_accept(struct clients *s, struct io *io);
/* The same of a client that is known; family 0: not yet. */
void http1_server_accept_from(struct clients *s, struct io *io, const struct peer *peer);
/* The same, of a trusted proxy: the connection begins with a PROXY header, which has client.head_timeout to
 * come. */
void http1_server_accept_proxied(struct clients *s, struct io *io);
