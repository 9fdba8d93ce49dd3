/* tls_listener: TLS before a listener's connections become somebody's.
 *
 *   accept ─▶ ARRIVING: [PROXY header: a fiber] ─▶ handshake: parked, no fiber ─▶ taker, or by ALPN:
 *                │ failed, too late, let go of                                    http1_server, ...
 *                ▼
 *              closed
 *
 * What arrives is counted among the clients (gate/clients.h) from the beginning. */
#pragma once
#include "base/diag.h"
#include "base/err.h"
#include "core/io.h"
#include "net/tls_conf.h"

struct clients;
struct listen_conf;
struct listening;
struct peer;
struct tls_listener;

/* Of one listener in one generation; opened and closed on the control thread. ERR_CONF, with words;
 * ERR_MEMORY. */
err tls_listener_open(const struct listen_conf *conf, struct tls_listener **ret_listener,
                      struct diag *reterr) CHECK_RESULT;
/* NULL is let be. */
void tls_listener_close(struct tls_listener *l);

/* Looks whether its files have changed, and whether a fresh ticket key is due; what cannot be read is not
 * used. Said in the log. Control thread. */
enum tls_look tls_listener_look(struct tls_listener *l);

/* What handshakes are made with now, held for the caller. Any thread. */
struct ssl_ctx_st;
struct ssl_ctx_st *tls_listener_context(struct tls_listener *l);

/* Calls fn with the name of each certificate with which something is not as it should be, and what. */
void tls_listener_warnings(struct tls_listener *l, void (*fn)(void *arg, const char *name, const char *what),
                           void *arg);

/* On a worker: the handshake alone; l->conf's handshake_timeout from now on. See tls_accept (net/tls.h). The
 * caller sees to it that l's gate is held until done is called, or io is unparked and closed. */
void tls_listener_shake(struct listening *l, struct io *io, void (*done)(void *owner, struct io *io, err why),
                        void *owner);

/* Who takes a connection in the clear. peer: who it is from, as far as that is known. */
typedef void tls_taker(struct clients *clients, struct io *io, const struct peer *peer);

/* On a worker. proxied: the connection begins with a PROXY header. taker NULL: as agreed by ALPN. */
void tls_listener_accept(struct listening *l, struct clients *clients, struct io *io, bool proxied,
                         tls_taker *taker);
