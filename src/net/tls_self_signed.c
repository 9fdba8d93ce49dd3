#include "net/tls_self_signed.h"

#if WEIR_HAVE_OPENSSL

#include <arpa/inet.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <unistd.h>

#define DAYS 90

static bool add_extension(X509 *c, int nid, const char *value)
{
    X509V3_CTX v3;
    X509V3_set_ctx(&v3, c, c, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &v3, nid, value);
    bool ok = e && X509_add_ext(c, e, -1);
    X509_EXTENSION_free(e);
    return ok;
}

static bool is_address(const char *text)
{
    unsigned char out[16];
    return inet_pton(AF_INET, text, out) == 1 || inet_pton(AF_INET6, text, out) == 1;
}

/* Texts that would mean something to OpenSSL's own syntax are left out. */
static bool is_plain(const char *text)
{
    return *text && !strpbrk(text, ",;=\" \\");
}

static bool add_names(X509 *c, struct bytes name)
{
    char list[1024], host[256] = "", wanted[256];
    gethostname(host, sizeof host - 1);
    snprintf(wanted, sizeof wanted, "%.*s", BYTES_ARG(name));
    int n = snprintf(list, sizeof list, "DNS:localhost,IP:127.0.0.1,IP:::1");
    if (is_plain(host))
        n += snprintf(list + n, sizeof list - (size_t)n, ",DNS:%s", host);
    if (is_plain(wanted))
        snprintf(list + n, sizeof list - (size_t)n, ",%s:%s", is_address(wanted) ? "IP" : "DNS", wanted);
    return add_extension(c, NID_subject_alt_name, list);
}

static bool fill(X509 *c, EVP_PKEY *key, struct bytes name)
{
    uint64_t serial;
    X509_NAME *subject = X509_get_subject_name(c);
    return RAND_bytes((unsigned char *)&serial, sizeof serial) == 1 && X509_set_version(c, X509_VERSION_3) &&
           ASN1_INTEGER_set_uint64(X509_get_serialNumber(c), serial >> 1) &&
           X509_gmtime_adj(X509_getm_notBefore(c), -3600) &&
           X509_gmtime_adj(X509_getm_notAfter(c), (long)DAYS * 24 * 3600) && X509_set_pubkey(c, key) &&
           X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                                      (const unsigned char *)"weir (self-signed)", -1, -1, 0) &&
           X509_set_issuer_name(c, subject) && add_extension(c, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(c, NID_key_usage, "critical,digitalSignature") &&
           add_extension(c, NID_ext_key_usage, "serverAuth") && add_names(c, name) &&
           X509_sign(c, key, EVP_sha256());
}

err tls_self_signed(struct bytes name, X509 **ret_certificate, EVP_PKEY **ret_key)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *c = X509_new();
    if (!key || !c || !fill(c, key, name)) {
        EVP_PKEY_free(key);
        X509_free(c);
        return ERR_SYSTEM;
    }
    *ret_certificate = c;
    *ret_key = key;
    return OK;
}

#endif
