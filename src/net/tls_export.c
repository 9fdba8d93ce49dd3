#include "net/tls_export.h"

#if WEIR_HAVE_OPENSSL
#include <openssl/pem.h>
#include <openssl/ssl.h>

static struct bytes taken(struct arena *a, BIO *bio)
{
    char *text;
    long len = BIO_get_mem_data(bio, &text);
    return len > 0 ? arena_copy(a, (struct bytes){ text, (size_t)len }) : BYTES_NONE;
}

err tls_export(struct ssl_ctx_st *context, struct arena *a, struct bytes *ret_certificate,
               struct bytes *ret_key)
{
    X509 *certificate = SSL_CTX_get0_certificate(context);
    EVP_PKEY *key = SSL_CTX_get0_privatekey(context);
    BIO *first = BIO_new(BIO_s_mem());
    BIO *second = BIO_new(BIO_s_secmem());
    bool good = first && second && certificate && key && PEM_write_bio_X509(first, certificate) &&
                PEM_write_bio_PrivateKey(second, key, NULL, NULL, 0, NULL, NULL);
    if (good) {
        *ret_certificate = taken(a, first);
        *ret_key = taken(a, second);
        good = ret_certificate->ptr && ret_key->ptr;
    }
    BIO_free(first);
    BIO_free(second);
    return good ? OK : ERR_MEMORY;
}

#endif
