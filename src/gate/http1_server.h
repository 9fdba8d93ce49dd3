/* http1_server: HTTP/1.1 clients of one listener on one worker.
 *
 *   accept ─▶ PARKED ──first byte──▶ fiber: head ─▶ exchange ─▶ answer ─┐
 *               ▲                                                       │ keep-alive, nothing more has
 * arrived └───────────────────────────────────────────────────────┘
 *
 * A parked connection is one struct http1_conn and one struct io: no fiber, no buffer. That worker only. */
#pragma once
#include "core/io.h"
#include "gate/exchange.h"

struct http1_server {
    /* Gives x a response; must not fail. */
    void (*serve)(struct exchange *x);
    /* After the answer was sent or the client was lost; for the log and the counts. May be NULL. */
    void (*done)(struct exchange *x);
    const char *scheme;
    struct link conns;
    uint32_t conns_count;
    uint32_t parked_count;
    bool draining;
    bool full;
    /* Told when connections_max is reached, and when there is room again. May be NULL. */
    void (*on_full)(bool full);
    /* The last connection ended while draining. May be NULL. */
    void (*drained)(struct http1_server *s);
};

void http1_server_init(struct http1_server *s, void (*serve)(struct exchange *x),
                       void (*done)(struct exchange *x));
/* Takes over an accepted connection. */
void http1_server_accept(struct http1_server *s, struct io *io);
/* The socket of the client that sent x. */
int http1_server_fd(const struct exchange *x);
/* That client has closed its side, or is lost. */
bool http1_server_gone(const struct exchange *x);
/* The same, of a trusted proxy: the connection begins with a PROXY header, which has client.head_timeout to
 * come. */
void http1_server_accept_proxied(struct http1_server *s, struct io *io);
/* From now on every answer closes its connection. */
void http1_server_drain(struct http1_server *s);
/* Closes the connections that rest; used_only: but not those that have not asked for anything yet, whose
 * client expects no closing. */
void http1_server_close_idle(struct http1_server *s, bool used_only);
/* Breaks all of them: the time to drain is over. */
void http1_server_abort(struct http1_server *s);
