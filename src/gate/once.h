/* once: what is made once for a generation and read by all of its workers: a set of addresses, keys, password
 * hashes. A filter's open asks for it on each worker; the first one makes it, and that is the control worker,
 * where no request waits.
 *
 * What is made is immutable, or synchronised by itself. Start-up and reload only; takes a mutex, which is
 * held while it is made. */
#pragma once
#include "base/diag.h"
#include "base/err.h"

struct once_kind {
    err (*make)(const void *conf, void **ret_made, struct diag *reterr);
    void (*free)(void *made);
};

/* The same kind and conf (by address: a generation's settings lie still as long as it lives) give the same
 * thing. Each get wants one put. */
err once_get(const struct once_kind *kind, const void *conf, void **ret_made,
             struct diag *reterr) CHECK_RESULT;
/* NULL is allowed. The last one frees it. */
void once_put(void *made);
