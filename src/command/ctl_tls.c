#include "command/ctl_tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

#if WEIR_HAVE_OPENSSL
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include "net/tls_pair.h"

struct ctl_tls {
    SSL_CTX *context;
    SSL *ssl; /* NULL: no connection */
};

static bool say(const char *what)
{
    fprintf(stderr, "weir: TLS: %s: %s\n", what, tls_last_error());
    return false;
}

static bool believe_files(SSL_CTX *c, const struct bytes *files, size_t count)
{
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++)
        ok = SSL_CTX_load_verify_file(c, files[i].ptr);
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(c), X509_V_FLAG_PARTIAL_CHAIN);
    return ok || say("cannot read the admin address's certificates");
}

static bool believe_system(SSL_CTX *c, const struct addr *to)
{
    char ip[ADDR_TEXT_BYTES_MAX];
    addr_print_ip(to, ip);
    return (SSL_CTX_set_default_verify_paths(c) &&
            X509_VERIFY_PARAM_set1_ip_asc(SSL_CTX_get0_param(c), ip)) ||
           say("cannot read the system's certificates");
}

static bool show(SSL_CTX *c)
{
    const char *path = getenv("WEIR_CERTIFICATE");
    return !path ||
           (SSL_CTX_use_certificate_chain_file(c, path) == 1 &&
            SSL_CTX_use_PrivateKey_file(c, path, SSL_FILETYPE_PEM) == 1) ||
           say("cannot use WEIR_CERTIFICATE");
}

struct ctl_tls *ctl_tls_open(enum ctl_trust trust, const struct bytes *files, size_t count,
                             const struct addr *to)
{
    struct ctl_tls *t = mem_must_get(sizeof *t);
    t->context = SSL_CTX_new(TLS_client_method());
    bool ok = t->context != NULL;
    if (ok && trust != CTL_TRUST_ANYBODY)
        ok = trust == CTL_TRUST_FILES ? believe_files(t->context, files, count)
                                      : believe_system(t->context, to);
    if (ok && show(t->context)) {
        SSL_CTX_set_verify(t->context, trust == CTL_TRUST_ANYBODY ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
        return t;
    }
    ctl_tls_close(t);
    return NULL;
}

bool ctl_tls_connect(struct ctl_tls *t, int fd)
{
    t->ssl = SSL_new(t->context);
    if (t->ssl && SSL_set_fd(t->ssl, fd) && SSL_connect(t->ssl) == 1)
        return true;
    const long verdict = t->ssl ? SSL_get_verify_result(t->ssl) : X509_V_OK;
    if (verdict != X509_V_OK)
        fprintf(stderr, "weir: TLS: its certificate is not believed: %s\n",
                X509_verify_cert_error_string(verdict));
    else
        say("no handshake");
    ctl_tls_end(t);
    return false;
}

ssize_t ctl_tls_send(struct ctl_tls *t, const void *data, size_t size)
{
    size_t n;
    errno = 0;
    return SSL_write_ex(t->ssl, data, size, &n) ? (ssize_t)n : -1;
}

ssize_t ctl_tls_recv(struct ctl_tls *t, void *out, size_t size)
{
    size_t n;
    errno = 0;
    if (SSL_read_ex(t->ssl, out, size, &n))
        return (ssize_t)n;
    return SSL_get_shutdown(t->ssl) & SSL_RECEIVED_SHUTDOWN ? 0 : -1;
}

void ctl_tls_end(struct ctl_tls *t)
{
    if (!t)
        return;
    SSL_free(t->ssl);
    t->ssl = NULL;
}

void ctl_tls_close(struct ctl_tls *t)
{
    if (!t)
        return;
    ctl_tls_end(t);
    SSL_CTX_free(t->context);
    mem_free(t);
}

#else

struct ctl_tls *ctl_tls_open(enum ctl_trust trust, const struct bytes *files, size_t count,
                             const struct addr *to)
{
    (void)trust, (void)files, (void)count, (void)to;
    fprintf(stderr, "weir: TLS: this weir was built without OpenSSL\n");
    return NULL;
}

bool ctl_tls_connect(struct ctl_tls *t, int fd)
{
    (void)t, (void)fd;
    return false;
}

ssize_t ctl_tls_send(struct ctl_tls *t, const void *data, size_t size)
{
    (void)t, (void)data, (void)size;
    return -1;
}

ssize_t ctl_tls_recv(struct ctl_tls *t, void *out, size_t size)
{
    (void)t, (void)out, (void)size;
    return -1;
}

void ctl_tls_end(struct ctl_tls *t)
{
    (void)t;
}

void ctl_tls_close(struct ctl_tls *t)
{
    (void)t;
}

#endif
