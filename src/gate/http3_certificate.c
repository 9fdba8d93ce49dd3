#include "gate/http3_certificate.h"

#if WEIR_HAVE_NGTCP2
#include <gnutls/gnutls.h>

#include "base/file_read.h"
#include "net/tls_conf.h"
#include "net/tls_export.h"

#define PEM_BYTES_MAX ((size_t)1024 * 1024)
#define ALL_BYTES_MAX ((size_t)64 * 1024 * 1024)

static err read_file(struct http3_certificates *c, struct bytes path, struct bytes *ret, struct diag *reterr)
{
    struct bytes text;
    err e = file_read_whole(path.ptr, PEM_BYTES_MAX, &text, reterr);
    if (e)
        return e;
    *ret = arena_copy(&c->arena, text);
    file_read_free(text);
    return ret->ptr ? OK : ERR_MEMORY;
}

/* The key may stand in the certificate's file. */
static err add_files(struct http3_certificates *c, const struct tls_files_conf *f, struct diag *reterr)
{
    struct quic_certificate *to = &c->at[c->count];
    err e = read_file(c, f->certificate, &to->chain, reterr);
    if (!e && f->key.len)
        e = read_file(c, f->key, &to->key, reterr);
    else
        to->key = to->chain;
    if (!e)
        c->count++;
    return e;
}

err http3_certificates_read(const struct tls_listen_conf *conf, struct ssl_ctx_st *context,
                            struct http3_certificates *ret, struct diag *reterr)
{
    const struct tls_files_conf *more = conf->certificates.items;
    *ret = (struct http3_certificates){ 0 };
    arena_open(&ret->arena, &arena_heap, ALL_BYTES_MAX, NULL, 0);
    ret->at = arena_get_zero(&ret->arena, (conf->certificates.count + 2) * sizeof *ret->at);
    if (!ret->at)
        return ERR_MEMORY;
    err e = conf->files.certificate.len ? add_files(ret, &conf->files, reterr) : OK;
    for (size_t i = 0; !e && i < conf->certificates.count; i++)
        e = add_files(ret, &more[i], reterr);
    if (e || ret->count)
        return e;
    /* the one that was made for a first try stands nowhere but in the context */
    e = tls_export(context, &ret->arena, &ret->at[0].chain, &ret->at[0].key);
    ret->count = !e;
    return e;
}

void http3_certificates_free(struct http3_certificates *c)
{
    for (unsigned i = 0; i < c->count; i++)
        gnutls_memset((void *)(uintptr_t)c->at[i].key.ptr, 0, c->at[i].key.len);
    arena_close(&c->arena);
}

#endif
