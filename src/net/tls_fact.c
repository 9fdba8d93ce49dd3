#include "net/tls_fact.h"

#include "net/tls.h"

#if WEIR_HAVE_OPENSSL

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>

#include "base/mem.h"

#define SUBJECT_BYTES_MAX 1024

/* Of a client's certificate, made when somebody first asks. */
struct tls_client_facts {
    char subject[SUBJECT_BYTES_MAX];
    char issuer[SUBJECT_BYTES_MAX];
    char serial[2 * 20 + 1]; /* RFC 5280 4.1.2.2 */
    char fingerprint[2 * EVP_MAX_MD_SIZE + 1];
};

/* RFC 2253, with UTF-8 as it is. */
static void print_name(const X509_NAME *name, char out[SUBJECT_BYTES_MAX])
{
    BIO *b = BIO_new(BIO_s_mem());
    const char *text;
    if (b && X509_NAME_print_ex(b, name, 0,
                                (XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) | ASN1_STRFLGS_ESC_CTRL) >= 0) {
        long len = BIO_get_mem_data(b, &text);
        snprintf(out, SUBJECT_BYTES_MAX, "%.*s", (int)len, text);
    }
    BIO_free(b);
}

static void print_hex(const unsigned char *bytes, size_t n, char *out, size_t size)
{
    for (size_t i = 0; i < n && 2 * i + 3 <= size; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static void fill(struct tls_client_facts *f, const X509 *c)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len;
    print_name(X509_get_subject_name(c), f->subject);
    print_name(X509_get_issuer_name(c), f->issuer);
    const ASN1_INTEGER *serial = X509_get0_serialNumber(c);
    print_hex(ASN1_STRING_get0_data(serial), (size_t)ASN1_STRING_length(serial), f->serial, sizeof f->serial);
    if (X509_digest(c, EVP_sha256(), digest, &len))
        print_hex(digest, len, f->fingerprint, sizeof f->fingerprint);
    ERR_clear_error();
}

static const struct tls_client_facts *client_facts(struct tls *t)
{
    void **kept = tls_client_facts_at(t);
    const X509 *c = SSL_get0_peer_certificate(tls_ssl(t));
    if (!c)
        return NULL;
    if (!*kept) {
        *kept = mem_must_get(sizeof(struct tls_client_facts));
        fill(*kept, c);
    }
    return *kept;
}

static struct bytes of_client(const struct tls_client_facts *f, enum tls_fact fact)
{
    if (!f)
        return BYTES_NONE;
    switch ((int)fact) {
    case TLS_FACT_CLIENT_SUBJECT:
        return bytes_from(f->subject);
    case TLS_FACT_CLIENT_ISSUER:
        return bytes_from(f->issuer);
    case TLS_FACT_CLIENT_SERIAL:
        return bytes_from(f->serial);
    default:
        return bytes_from(f->fingerprint);
    }
}

static bool is_verified(const SSL *ssl)
{
    return SSL_get0_peer_certificate(ssl) && SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE &&
           SSL_get_verify_result(ssl) == X509_V_OK;
}

struct bytes tls_fact(struct tls *t, enum tls_fact fact)
{
    if (!t)
        return BYTES_NONE;
    switch ((int)fact) {
    case TLS_FACT_VERSION:
        return bytes_from(tls_version(t));
    case TLS_FACT_CIPHER:
        return bytes_from(tls_cipher(t));
    case TLS_FACT_SERVER_NAME:
        return tls_server_name(t);
    case TLS_FACT_PROTOCOL:
        return tls_alpn(t);
    case TLS_FACT_RESUMED:
        return tls_resumed(t) ? BYTES("yes") : BYTES("no");
    case TLS_FACT_CLIENT_VERIFIED:
        return is_verified(tls_ssl(t)) ? BYTES("yes") : BYTES("no");
    default:
        return of_client(client_facts(t), fact);
    }
}

#else

struct bytes tls_fact(struct tls *t, enum tls_fact fact)
{
    (void)t;
    (void)fact;
    return BYTES_NONE;
}

#endif
