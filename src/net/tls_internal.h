/* tls_internal: a TLS connection as the files of net/tls see it. tls.c: records; tls_step.c: when handshakes
 * go on, and where. */
#pragma once
#include "core/io_codec.h"
#include "net/tls.h"

#if WEIR_HAVE_OPENSSL

#include <openssl/ssl.h>

enum tls_state { TLS_FRESH, TLS_SHAKING, TLS_OPEN, TLS_OVER };

/* Bytes that wait. */
struct store {
    char *at;
    size_t len, size;
};

struct tls {
    struct io_codec codec;
    SSL *ssl;
    struct bytes in; /* what has arrived and OpenSSL has not read; only while received runs */
    struct tls_watcher *watcher;
    struct tls_keeper *keeper;                         /* of a client; NULL: none */
    void (*done)(void *owner, struct io *io, err why); /* of a server, until it was called */
    void *owner;
    const char *why;    /* static, or from OpenSSL's tables */
    void *client_facts; /* net/tls_fact.c's */
    struct tls *next;   /* of those that wait for their turn */
    struct store
        pending; /* has arrived while codec.away: in line, or with a helper; nobody else touches ssl */
    struct store outgoing; /* was written by a helper */
    uint8_t state;
    bool server;
    bool slow;   /* its handshake is for a helper */
    bool orphan; /* its connection has gone meanwhile */
};

void store_add(struct store *s, struct bytes data);
void store_empty(struct store *s);

void tls_fail(struct tls *t, err e, const char *why);
/* OK: done; ERR_AGAIN: more is needed. Also on a helper's thread, while t is away. */
err tls_shake_step(struct tls *t, const char **ret_why);
void tls_shake_end(struct tls *t, err result, const char *why);
/* With what has arrived. */
void tls_go_on(struct tls *t, struct bytes raw);
/* Frees it. */
void tls_end_of(struct tls *t);

/* A handshake's next step, with what has arrived: at the end of this turn, or of a later one. */
void tls_step(struct tls *t, struct bytes raw);
/* Of this worker, at its beginning and its end. */
void tls_step_begin(void);
void tls_step_end(void);

#endif
