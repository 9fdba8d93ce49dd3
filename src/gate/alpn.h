/* alpn: the protocols that a TLS listener offers (RFC 7301), the best first, and who takes a connection that
 * has agreed on one. Who agrees on none speaks HTTP/1.1. */
#pragma once
#include "gate/http1_server.h"

/* length   name        taken by: void (struct clients *, struct io *, const struct peer *) */
#define ALPN_LIST(X) X("\x08", "http/1.1", http1_server_accept_from)
