#include "bench/client_tls.h"

#include <stddef.h>

#if WEIR_HAVE_OPENSSL

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

static SSL_CTX *context;
static SSL_SESSION *session;

static int keep(SSL *ssl, SSL_SESSION *fresh)
{
    (void)ssl;
    SSL_SESSION_free(session);
    session = fresh;
    return 1;
}

bool client_tls_open(bool resume)
{
    context = SSL_CTX_new(TLS_client_method());
    if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) ||
        !SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") ||
        !SSL_CTX_set1_groups_list(context, "X25519"))
        return false;
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    if (resume) {
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
        SSL_CTX_sess_set_new_cb(context, keep);
    }
    return true;
}

/* Of a copy: OpenSSL goes on with a session once, and spoils it for the others that begin at the same time.
 */
static bool go_on(SSL *ssl)
{
    SSL_SESSION *own = session ? SSL_SESSION_dup(session) : NULL;
    bool ok = !session || (own && SSL_set_session(ssl, own));
    SSL_SESSION_free(own);
    return ok;
}

void *client_tls_begin(int fd)
{
    SSL *ssl = SSL_new(context);
    if (!ssl || !SSL_set_fd(ssl, fd) || !go_on(ssl)) {
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_tlsext_host_name(ssl, "bench.example");
    SSL_set_connect_state(ssl);
    return ssl;
}

void client_tls_end(void *tls)
{
    SSL_set_shutdown(tls,
                     SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* or its session would be thrown away */
    SSL_free(tls);
}

static ssize_t result(void *tls, int ok, size_t n)
{
    if (ok)
        return (ssize_t)n;
    int why = SSL_get_error(tls, 0);
    ERR_clear_error();
    if (why == SSL_ERROR_ZERO_RETURN)
        return 0;
    errno = why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? EAGAIN : EIO;
    return -1;
}

ssize_t client_tls_send(void *tls, const void *data, size_t size)
{
    size_t n = 0;
    int ok = SSL_write_ex(tls, data, size, &n);
    return result(tls, ok, n);
}

ssize_t client_tls_receive(void *tls, void *out, size_t size)
{
    size_t n = 0;
    int ok = SSL_read_ex(tls, out, size, &n);
    return result(tls, ok, n);
}

#else

bool client_tls_open(bool resume)
{
    (void)resume;
    return false;
}

void *client_tls_begin(int fd)
{
    (void)fd;
    return NULL;
}

void client_tls_end(void *tls)
{
    (void)tls;
}

ssize_t client_tls_send(void *tls, const void *data, size_t size)
{
    (void)tls;
    (void)data;
    return (ssize_t)size;
}

ssize_t client_tls_receive(void *tls, void *out, size_t size)
{
    (void)tls;
    (void)out;
    (void)size;
    return -1;
}

#endif
