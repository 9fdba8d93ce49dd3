/* http3_server: HTTP/3 clients (RFC 9114) of one worker, by nghttp3, over net/quic.
 *
 *   quic_conn ─▶ http3_conn ─▶ http3_stream: head ─▶ fiber: exchange ─▶ answer ─▶ acknowledged
 *
 * A connection that asks for nothing has no fiber. That worker only. */
#pragma once
#include "net/quic.h"

extern const struct quic_app http3_app;
/* The clients of that listener are told to go elsewhere: it takes no new ones. */
void http3_listener_left(const struct quic_listener *l);
