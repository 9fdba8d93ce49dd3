/* tls_staple: the OCSP answer that clients get together with a certificate (RFC 6066 8, RFC 6960): "at that
 * time it was not revoked". One for each certificate of the process, whoever uses it; counted.
 *
 *      file, responder ──▶ tls_staple_take: for that certificate? signed? good? ──▶ kept until its end
 *                                                                                  │
 *      handshakes ◀── tls_staple_copy: a copy, as long as it has not ended ◀───────┘
 *
 * What has ended, is about another certificate, is not signed by its issuer or says anything but "good" is
 * never given to anybody. A mutex protects the answer; nothing is waited for with it held. Any thread. */
#pragma once
#include "net/tls_context.h"

#if WEIR_HAVE_OPENSSL

#define TLS_STAPLE_BYTES_MAX (16 * 1024) /* of an answer */
#define TLS_STAPLE_URL_BYTES_MAX 511

struct tls_staple;
struct x509_st;
struct stack_st_X509;

/* chain: may have its issuer, without which no signature can be looked at and nothing be asked for. NULL: no
 * memory. */
struct tls_staple *tls_staple_get(struct x509_st *certificate, struct stack_st_X509 *chain);
struct tls_staple *tls_staple_hold(struct tls_staple *s);
/* NULL is let be. */
void tls_staple_drop(struct tls_staple *s);

/* Keeps an answer (DER) in place of the one before. OK; ERR_CONF: it is no answer, or not about this
 * certificate, or not its issuer's; ERR_DENIED: it has ended, or its certificate is revoked: then nothing is
 * kept. In words why. now_s: seconds since 1970. */
err tls_staple_take(struct tls_staple *s, struct bytes der, int64_t now_s, struct diag *reterr) CHECK_RESULT;
/* In OpenSSL's memory, for the caller. False: there is none. */
bool tls_staple_copy(struct tls_staple *s, int64_t now_s, unsigned char **ret_der, size_t *ret_len);
/* Seconds since 1970; 0: there is none. */
int64_t tls_staple_end(struct tls_staple *s);

/* ---- over an upgrade */

/* Where an answer that was fetched stands for the process that comes next: get and put are shared_get's and
 * shared_put's. What is found there is looked at like any other. Control thread; before tls_staple_want. */
void tls_staple_keep_in(void *(*get)(struct bytes name, size_t size), void (*put)(void *memory));

/* ---- asking for one */

/* Its settings, or the certificate itself (RFC 7633: "must staple"), want that it is asked for: it is, unless
 * the process before this one was told. Control thread, as is tls_staple_take of such a one. */
void tls_staple_want(struct tls_staple *s);
void tls_staple_unwant(struct tls_staple *s); /* as often */
/* Does the certificate say that it has to come with an answer? */
bool tls_staple_must(const struct tls_staple *s);
/* "http://ocsp.example/"; empty: nobody can be asked. */
const char *tls_staple_responder(const struct tls_staple *s);
/* The first of its names, for people. */
const char *tls_staple_name(const struct tls_staple *s);
/* The question, DER; OpenSSL's memory. NULL: no memory. */
unsigned char *tls_staple_question(const struct tls_staple *s, size_t *ret_len);
/* One that is to be asked for now, held; it is not returned again before tls_staple_asked. NULL: none. */
struct tls_staple *tls_staple_due(int64_t now_s);
/* How asking went. */
void tls_staple_asked(struct tls_staple *s, bool fine, int64_t now_s);

/* When to ask again: in the middle of what is left, so that a responder may be away for long; after a failure
 * (failures in a row) sooner, and then more and more seldom. Pure. */
int64_t tls_staple_next(int64_t now_s, int64_t end_s, unsigned failures);

#endif
