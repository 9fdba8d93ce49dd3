/* quic_client: QUIC connections that we open (RFC 9000), each over a socket of its own: the other role of
 * net/quic, whose connections, timers, sending and struct quic_app these share.
 *
 *   quic_connect ──▶ first flight ──▶ app.open (streams can be opened) ─▶ app.handshaken ──▶ ... ─▶ app.end
 *        │                                                                                  ▲
 *        └──────── refused, wrong certificate, timeout, CONNECTION_CLOSE: quic_why ─────────┘
 *
 * One worker's, but for quic_client_tls, which all threads may use once it is open. */
#pragma once
#include "base/addr.h"
#include "net/quic.h"

struct quic_client_tls;

/* ca: file of those whose certificates are believed; ptr NULL: the system's. insecure: any will do. ERR_CONF,
 * with words. */
err quic_client_tls_open(struct bytes ca, bool insecure, struct quic_client_tls **ret_tls,
                         struct diag *reterr) CHECK_RESULT;
void quic_client_tls_close(struct quic_client_tls *t);

struct quic_client {
    const struct addr *to, *from; /* from: an own address; NULL: any */
    const struct quic_client_tls *tls;
    const char *name; /* of the server: asked for, unless it is an address, and checked */
    const struct quic_app *app;
    void *state;           /* the app's from the beginning */
    uint64_t window_bytes; /* received and not yet taken, of a stream and of all */
    uint64_t handshake_timeout_us;
};

/* Does not wait: app.open comes when the handshake has succeeded, app.end when it has not. ERR_REFUSED,
 * ERR_SYSTEM, ERR_MEMORY, ...: at once, and app.end is not called. */
err quic_connect(const struct quic_client *o, struct quic_conn **ret_conn) CHECK_RESULT;
/* Ends it with CONNECTION_CLOSE; no function of its app is called any more, and what it was given to send is
 * not looked at again. Not within a function of its app. */
void quic_leave(struct quic_conn *c, uint64_t code);
