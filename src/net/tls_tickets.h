/* tls_tickets: the keys that session tickets are sealed with (RFC 5077, RFC 8446 4.6.1). A session goes on
 * with any worker, over reloads and with whoever else has the keys; the server keeps nothing.
 *
 *      [ newest: seals and opens │ the one before: opens │ ... ]   a fresh one pushes the oldest out
 *
 * Holds no pointers: it may lie in memory that several processes map (layout 1). One writes at a time; any
 * thread reads, without a lock: who meets a writer reads again. Therefore all of it is atomic: what a reader
 * copied meanwhile is thrown away, and yet reading it must be allowed (Boehm, "Can seqlocks get along with
 * programming language memory models?", 2012). */
#pragma once
#include <stdatomic.h>

#include "base/bytes.h"
#include "base/diag.h"
#include "base/err.h"

#define TLS_TICKET_KEYS_MAX 8
#define TLS_TICKET_KEYS_KEPT 3 /* of those that are made here */

struct tls_ticket_key {
    unsigned char name[16];
    unsigned char mac[32]; /* HMAC-SHA-256 */
    unsigned char aes[32]; /* AES-256-CBC */
};
#define TLS_TICKET_KEY_BYTES 80
#define TLS_TICKET_KEY_WORDS (TLS_TICKET_KEY_BYTES / 8)

struct tls_tickets {
    _Atomic uint32_t turn; /* odd: being written */
    _Atomic uint32_t count;
    _Atomic uint64_t made_s; /* when the newest was made, seconds since 1970; 0: there is none */
    _Atomic uint64_t keys[TLS_TICKET_KEYS_MAX][TLS_TICKET_KEY_WORDS];
};

void tls_tickets_push(struct tls_tickets *t, const struct tls_ticket_key *fresh, uint64_t now_s);
/* As in a file: keys of 80 bytes each, name, MAC key and AES key; the first one seals. ERR_CONF. */
err tls_tickets_read(struct tls_tickets *t, struct bytes text, uint64_t now_s,
                     struct diag *reterr) CHECK_RESULT;
/* False: there is none. */
bool tls_tickets_newest(const struct tls_tickets *t, struct tls_ticket_key *ret_key);
/* The one with that name. *ret_newest: nothing better is to be had. */
bool tls_tickets_find(const struct tls_tickets *t, const unsigned char name[16],
                      struct tls_ticket_key *ret_key, bool *ret_newest);

#if WEIR_HAVE_OPENSSL
struct ssl_ctx_st;
/* A fresh key when there is none, or the newest is older than rotate_s. False: OpenSSL gave no random bytes.
 */
bool tls_tickets_rotate(struct tls_tickets *t, uint64_t now_s, uint64_t rotate_s);
/* Sessions of the context's connections are sealed with them. t outlives the context. */
void tls_tickets_use(struct ssl_ctx_st *context, const struct tls_tickets *t);
#endif
