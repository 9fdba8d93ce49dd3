/* tls: TLS 1.3 and 1.2 (OpenSSL 3) on a connection. It is a codec of the io (core/io_codec.h): who reads and
 * writes does not learn of it.
 *
 *      tls_accept ──▶ handshake, parked: no fiber ──▶ done(io, OK)    the io is in the clear from here on
 *      tls_connect ─▶ handshake, the fiber waits ───▶ OK
 *
 * An end without close_notify is ERR_RESET to its reader: something may be missing (RFC 8446 6.1). io_end and
 * io_close say close_notify. What a turn has written is encrypted together, in records as long as can be, and
 * an idle connection holds no record buffer. All calls: on the connection's worker. */
#pragma once
#include "base/diag.h"
#include "core/io.h"

#if WEIR_HAVE_OPENSSL

struct tls;
struct ssl_ctx_st;
struct ssl_session_st;
struct ssl_st;

/* How handshakes go; of one worker. */
struct tls_watcher {
    /* One is over: OK, or why not, in words. */
    void (*done)(struct tls_watcher *w, struct tls *t, err result, const char *why);
};

/* The session that a client goes on with next time; zeroed in the beginning. */
struct tls_keeper {
    struct ssl_session_st *session;
};
void tls_keeper_empty(struct tls_keeper *k);

/* Takes over io's bytes as a server. done(owner, io, why) is called once, on the loop's stack: OK; or
 * ERR_TIMEOUT, ERR_RESET, ERR_PROTOCOL, ...: io is then still to be closed. Plain HTTP is answered with 400.
 * watcher: may be NULL; must live as long as the handshake. */
void tls_accept(struct io *io, struct ssl_ctx_st *context, struct tls_watcher *watcher, uint64_t deadline_us,
                void (*done)(void *owner, struct io *io, err why), void *owner);
/* The same as a client, of the server with that name or address (empty: none is asked for or checked), going
 * on with the kept session (keeper NULL: none is used or kept; else it outlives the connection). From a
 * fiber. On failure io is still the caller's, and tls_why says more. */
err tls_connect(struct io *io, struct ssl_ctx_st *context, struct tls_watcher *watcher,
                const char *server_name, struct tls_keeper *keeper, uint64_t deadline_us) CHECK_RESULT;

/* What this worker does for handshakes is counted there from now on; NULL: nowhere. */
enum { TLS_STEPS, TLS_TURNS_FULL };
struct metric_cells;
void tls_count_steps(struct metric_cells *cells);

/* NULL: plain. */
struct tls *tls_of(const struct io *io);

/* ---- what was agreed on; texts live as long as the connection ---- */

const char *tls_version(const struct tls *t); /* "TLSv1.3" */
const char *tls_cipher(const struct tls *t);  /* "TLS_AES_256_GCM_SHA384" */
bool tls_resumed(const struct tls *t);
/* The protocol chosen by ALPN ("h2", "http/1.1"); empty: none. */
struct bytes tls_alpn(const struct tls *t);
/* The name that the client asked for; empty: none. */
struct bytes tls_server_name(const struct tls *t);
/* See tls_context_covers; in the clear (NULL) any. */
bool tls_covers(const struct tls *t, struct bytes host);
/* Why the handshake failed, in words; "" if it did not. */
const char *tls_why(const struct tls *t);
struct ssl_st *tls_ssl(const struct tls *t);
/* What tls_fact keeps; freed with mem_free. */
void **tls_client_facts_at(struct tls *t);
/* For client contexts: SSL_CTX_sess_set_new_cb's function. */
int tls_keep_session(struct ssl_st *ssl, struct ssl_session_st *session);

#else

struct tls;
static inline struct tls *tls_of(const struct io *io)
{
    (void)io;
    return NULL;
}
static inline bool tls_covers(const struct tls *t, struct bytes host)
{
    (void)t;
    (void)host;
    return true;
}

#endif
