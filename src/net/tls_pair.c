#include "net/tls_pair.h"

#if WEIR_HAVE_OPENSSL

#include <ctype.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <time.h>

#include "base/file_read.h"
#include "net/tls_staple.h"

const char *tls_last_error(void)
{
    const unsigned long number = ERR_peek_last_error();
    const char *why =
        ERR_SYSTEM_ERROR(number) ? strerror(ERR_GET_REASON(number)) : ERR_reason_error_string(number);
    ERR_clear_error();
    return why ? why : "OpenSSL does not say why";
}

/* ---- certificates ---- */

static const char *const kinds[TLS_KEY_KINDS] = { "rsa", "ecdsa", "ed25519", "other" };

unsigned tls_key_kind(EVP_PKEY *key)
{
    return EVP_PKEY_is_a(key, "RSA")       ? 0
           : EVP_PKEY_is_a(key, "EC")      ? 1
           : EVP_PKEY_is_a(key, "ED25519") ? 2
                                           : 3;
}

static int no_password(char *out, int size, int writing, void *arg)
{
    (void)out;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

static err read_certificate(const char *path, struct tls_pair *p, struct diag *reterr)
{
    BIO *in = BIO_new_file(path, "r");
    if (!in) {
        diag_set(reterr, "certificate: cannot read %s: %s", path, tls_last_error());
        return ERR_CONF;
    }
    p->certificate = PEM_read_bio_X509_AUX(in, NULL, no_password, NULL);
    p->chain = sk_X509_new_null();
    X509 *next;
    while (p->certificate && p->chain && (next = PEM_read_bio_X509(in, NULL, no_password, NULL)))
        if (!sk_X509_push(p->chain, next))
            X509_free(next);
    BIO_free(in);
    const unsigned long number = ERR_peek_last_error();
    if (p->certificate && ERR_GET_LIB(number) == ERR_LIB_PEM && ERR_GET_REASON(number) == PEM_R_NO_START_LINE)
        ERR_clear_error(); /* that is how its end is told */
    if (p->certificate && !ERR_peek_error())
        return OK;
    diag_set(reterr, "certificate: %s has no PEM certificate: %s", path, tls_last_error());
    return ERR_CONF;
}

static err read_key(const char *path, struct tls_pair *p, struct diag *reterr)
{
    BIO *in = BIO_new_file(path, "r");
    if (!in) {
        diag_set(reterr, "key: cannot read %s: %s", path, tls_last_error());
        return ERR_CONF;
    }
    p->key = PEM_read_bio_PrivateKey(in, NULL, no_password, NULL);
    BIO_free(in);
    if (!p->key) {
        diag_set(reterr, "key: %s has no PEM private key without a password: %s", path, tls_last_error());
        return ERR_CONF;
    }
    ERR_clear_error();
    return OK;
}

static err read_ocsp(const char *path, struct tls_pair *p, struct diag *ret_ocsp_why, struct diag *reterr)
{
    struct bytes text;
    struct diag why = DIAG_NONE;
    err e = file_read_whole(path, TLS_STAPLE_BYTES_MAX, &text, &why);
    if (e) {
        diag_set(reterr, "ocsp: %s", why.text);
        return e;
    }
    e = tls_staple_take(p->staple, text, time(NULL), &why);
    file_read_free(text);
    if (!e)
        return OK;
    diag_set(e == ERR_DENIED ? ret_ocsp_why : reterr, "%s: %s", path, why.set ? why.text : err_text(e));
    return e == ERR_DENIED ? OK : e;
}

static void want_staple(struct tls_pair *p, struct diag *ret_ocsp_why)
{
    p->wants_staple = true;
    tls_staple_want(p->staple);
    if (!*tls_staple_responder(p->staple))
        diag_set(ret_ocsp_why,
                 "%sits file does not have both a responder (http://) and the issuer's certificate",
                 tls_staple_must(p->staple) ? "it must come with one (must-staple), and " : "");
}

static err open_staple(const struct tls_files *f, struct tls_pair *p, struct diag *ret_ocsp_why,
                       struct diag *reterr)
{
    p->staple = tls_staple_get(p->certificate, p->chain);
    if (!p->staple)
        return ERR_MEMORY;
    if (f->ocsp.len)
        return read_ocsp(f->ocsp.ptr, p, ret_ocsp_why, reterr);
    if (f->ocsp_fetch || tls_staple_must(p->staple))
        want_staple(p, ret_ocsp_why);
    return OK;
}

err tls_pair_read(const struct tls_files *f, struct tls_pair *p, struct diag *ret_ocsp_why,
                  struct diag *reterr)
{
    const char *key = f->key.len ? f->key.ptr : f->certificate.ptr;
    err e = read_certificate(f->certificate.ptr, p, reterr);
    if (!e)
        e = read_key(key, p, reterr);
    if (!e && X509_check_private_key(p->certificate, p->key) != 1) {
        ERR_clear_error();
        diag_set(reterr, "key: %s is not the key of the certificate in %s", key, f->certificate.ptr);
        e = ERR_CONF;
    }
    if (!e)
        e = open_staple(f, p, ret_ocsp_why, reterr);
    if (!e)
        p->kind = tls_key_kind(p->key);
    return e;
}

void tls_pair_free(struct tls_pair *p)
{
    X509_free(p->certificate);
    EVP_PKEY_free(p->key);
    sk_X509_pop_free(p->chain, X509_free);
    if (p->wants_staple)
        tls_staple_unwant(p->staple);
    tls_staple_drop(p->staple);
}

err tls_files_check(const struct tls_files *files, struct diag *reterr)
{
    struct tls_pair p = { 0 };
    struct diag ocsp_why = DIAG_NONE;
    err e = tls_pair_read(files, &p, &ocsp_why, reterr);
    tls_pair_free(&p);
    return e;
}

/* ---- names ---- */

bool tls_name_fold(struct bytes name, char out[TLS_NAME_BYTES_MAX + 1], struct bytes *ret)
{
    if (name.len && name.ptr[name.len - 1] == '.')
        name.len--;
    if (name.len == 0 || name.len > TLS_NAME_BYTES_MAX || memchr(name.ptr, '\0', name.len))
        return false;
    for (size_t i = 0; i < name.len; i++)
        out[i] = (char)tolower((unsigned char)name.ptr[i]);
    out[name.len] = '\0';
    *ret = (struct bytes){ out, name.len };
    return true;
}

struct names {
    GENERAL_NAMES *list;
    int at;
};

static bool next_name(struct names *n, struct bytes *ret)
{
    for (; n->at < sk_GENERAL_NAME_num(n->list); n->at++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(n->list, n->at);
        if (g->type != GEN_DNS)
            continue;
        n->at++;
        *ret = (struct bytes){ (const char *)ASN1_STRING_get0_data(g->d.dNSName),
                               (size_t)ASN1_STRING_length(g->d.dNSName) };
        return true;
    }
    return false;
}

err tls_pair_names(const struct tls_pair *p, err (*fn)(void *arg, struct bytes name), void *arg)
{
    struct names n = { .list = X509_get_ext_d2i(p->certificate, NID_subject_alt_name, NULL, NULL) };
    char text[TLS_NAME_BYTES_MAX + 1];
    struct bytes name;
    err e = OK;
    while (!e && next_name(&n, &name))
        if (tls_name_fold(name, text, &name))
            e = fn(arg, name);
    GENERAL_NAMES_free(n.list);
    ERR_clear_error();
    return e;
}

static err take_first(void *arg, struct bytes name)
{
    struct tls_certificate *c = arg;
    if (!c->name[0])
        snprintf(c->name, sizeof c->name, "%.*s", BYTES_ARG(name));
    return OK;
}

void tls_pair_describe(const struct tls_pair *p, struct tls_certificate *ret)
{
    const X509 *certificate = p->certificate;
    struct tm tm;
    (void)!tls_pair_names(p, take_first, ret);
    if (!ret->name[0])
        X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, ret->name,
                                  sizeof ret->name);
    if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &tm))
        ret->not_after = timegm(&tm);
    ret->key = kinds[p->kind];
    ret->expired = X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0;
}

struct wanted {
    struct bytes name;
    enum tls_cover cover;
};

static err look_for(void *arg, struct bytes name)
{
    struct wanted *w = arg;
    const char *dot = memchr(w->name.ptr, '.', w->name.len);
    if (bytes_eq(name, w->name))
        w->cover = TLS_COVER_EXACT;
    else if (dot && dot > w->name.ptr && w->cover == TLS_COVER_NONE && bytes_starts(name, BYTES("*.")) &&
             bytes_eq(bytes_skip(name, 2), bytes_skip(w->name, (size_t)(dot + 1 - w->name.ptr))))
        w->cover = TLS_COVER_WILDCARD;
    return OK;
}

enum tls_cover tls_pair_covers(const struct tls_pair *p, struct bytes name)
{
    struct wanted w = { .name = name };
    (void)!tls_pair_names(p, look_for, &w);
    return w.cover;
}

#endif
