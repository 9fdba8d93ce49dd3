/* proxied: the PROXY header that a connection from a trusted proxy begins with. From a fiber. */
#pragma once
#include "net/proxy_protocol.h"
#include "net/tcp.h"

/* Reads it and takes it off. ret: see net/proxy_protocol.h. ERR_SYNTAX, ERR_LIMIT, ERR_TIMEOUT, ERR_CLOSED,
 * ...; said in the log, but not too often. from: who sent it, for that. */
err proxied_read(struct io *io, const struct peer *from, uint64_t deadline_us,
                 struct proxy_protocol *ret) CHECK_RESULT;

/* The header of an outgoing connection, queued before anything else. client: NULL: none, it is weir's own. It
 * connected to destination, or if that is NULL to where its connection's socket fd stands (-1: not known). */
void proxied_write(struct io *io, enum proxy_protocol_version version, const struct addr *client,
                   const struct addr *destination, int fd);
