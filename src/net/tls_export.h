/* tls_export: a context's certificate and key as PEM texts, for the other TLS library, which QUIC has
 * (net/quic_tls.h). Of the self-signed one, which stands in no file. Any thread. */
#pragma once
#include "base/arena.h"
#include "base/err.h"

struct ssl_ctx_st;

/* Copies in the arena; whoever asks wipes the key. ERR_MEMORY: also when there is none. */
err tls_export(struct ssl_ctx_st *context, struct arena *a, struct bytes *ret_certificate,
               struct bytes *ret_key) CHECK_RESULT;
