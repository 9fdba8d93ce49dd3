/* quic_tls: the TLS 1.3 that QUIC runs over (RFC 9001), by GnuTLS: certificates, tickets, early data.
 * Immutable once open; counted, because a connection's session points into it while a reload brings another
 * one. One worker. */
#pragma once
#include "base/bytes.h"
#include "base/diag.h"
#include "base/err.h"
#include "net/quic_replay.h"

struct ssl_ctx_st;

struct quic_certificate {
    struct bytes chain, key; /* PEM */
};

#define QUIC_TICKET_KEY_BYTES 64 /* GnuTLS makes keys that rotate from it */

struct quic_tls_opts {
    const struct quic_certificate *certificates; /* the server's name and the kind of key choose among them */
    unsigned count;
    struct ssl_ctx_st *context; /* that has the same certificates in the same order: their names, and the OCSP
                                 * answers that go with them; NULL: not known */
    const uint8_t *ticket_key;  /* QUIC_TICKET_KEY_BYTES; NULL: no tickets */
    uint64_t ticket_lifetime_s; /* for as long as it is resumed */
    struct quic_replay *replay; /* of early data; NULL: none is taken. Outlives the workers */
};

struct quic_tls;

/* ERR_CONF with words: a certificate or key that is none, or that do not belong together. */
err quic_tls_open(const struct quic_tls_opts *o, struct quic_tls **ret_tls, struct diag *reterr) CHECK_RESULT;
struct quic_tls *quic_tls_hold(struct quic_tls *t);
void quic_tls_drop(struct quic_tls *t);
