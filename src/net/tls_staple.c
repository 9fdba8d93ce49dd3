#include "net/tls_staple.h"

#if WEIR_HAVE_OPENSSL

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "base/list.h"
#include "base/mem.h"
#include "net/tls_pair.h"

#define SKEW_S 300              /* between our clock and theirs */
#define ENDLESS_S 3600          /* an answer that says no end is used for so long */
#define PAUSE_MIN_S 10          /* between two questions that went well */
#define PAUSE_FAILED_MAX_S 3600 /* after failures, from 1 s on */
#define STATUS_REQUEST 5        /* RFC 7633: the extension of RFC 6066 8 */

/* Of a certificate, for the next process. Written by one process at a time, or it is no answer any more. */
struct kept {     /* layout 1 */
    uint32_t len; /* 0: none */
    unsigned char der[TLS_STAPLE_BYTES_MAX];
};

struct tls_staple {
    struct link link; /* of all */
    unsigned holds;   /* protected by all's mutex, as are the next five */
    unsigned wanted, failures;
    bool asking;
    int64_t next_s;
    struct kept *kept;        /* NULL: none */
    unsigned char digest[32]; /* of the certificate */
    X509 *certificate, *issuer;
    STACK_OF(X509) * chain;
    bool must;
    char responder[TLS_STAPLE_URL_BYTES_MAX + 1];
    char name[256];
    pthread_mutex_t mutex; /* protects what follows */
    unsigned char *der;
    size_t len;
    int64_t end_s;
};

/* Protects the list and what stands in it beside the answers. Nothing is waited for with it held. */
static pthread_mutex_t all_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct link all = { &all, &all };

/* Control thread's. */
static void *(*kept_get)(struct bytes name, size_t size);
static void (*kept_put)(void *memory);

/* ---- life ---- */

static void find_responder(struct tls_staple *s)
{
    STACK_OF(OPENSSL_STRING) *urls = X509_get1_ocsp(s->certificate);
    for (int i = 0; i < sk_OPENSSL_STRING_num(urls); i++) {
        const char *url = sk_OPENSSL_STRING_value(urls, i);
        if (s->responder[0] || strncmp(url, "http://", 7) != 0 || strlen(url) > TLS_STAPLE_URL_BYTES_MAX)
            continue;
        snprintf(s->responder, sizeof s->responder, "%s", url);
    }
    X509_email_free(urls);
}

static bool must_staple(X509 *certificate)
{
    TLS_FEATURE *features = X509_get_ext_d2i(certificate, NID_tlsfeature, NULL, NULL);
    bool must = false;
    for (int i = 0; i < sk_ASN1_INTEGER_num(features); i++)
        must |= ASN1_INTEGER_get(sk_ASN1_INTEGER_value(features, i)) == STATUS_REQUEST;
    TLS_FEATURE_free(features);
    return must;
}

static X509 *find_issuer(X509 *certificate, STACK_OF(X509) * chain)
{
    for (int i = 0; i < sk_X509_num(chain); i++)
        if (X509_check_issued(sk_X509_value(chain, i), certificate) == X509_V_OK)
            return sk_X509_value(chain, i);
    return X509_check_issued(certificate, certificate) == X509_V_OK ? certificate : NULL;
}

static struct tls_staple *make(X509 *certificate, STACK_OF(X509) * chain)
{
    struct tls_staple *s = mem_get(sizeof *s);
    if (!s)
        return NULL;
    struct tls_pair p = { .certificate = certificate };
    struct tls_certificate described = { 0 };
    tls_pair_describe(&p, &described);
    snprintf(s->name, sizeof s->name, "%s", described.name);
    X509_up_ref(certificate);
    s->certificate = certificate;
    s->chain = X509_chain_up_ref(chain);
    s->issuer = find_issuer(certificate, s->chain);
    s->must = must_staple(certificate);
    find_responder(s);
    pthread_mutex_init(&s->mutex, NULL);
    ERR_clear_error();
    return s;
}

static void end(struct tls_staple *s)
{
    X509_free(s->certificate);
    sk_X509_pop_free(s->chain, X509_free);
    OPENSSL_free(s->der);
    pthread_mutex_destroy(&s->mutex);
    mem_free(s);
}

static struct tls_staple *find(const unsigned char digest[32])
{
    LIST_EACH (at, &all) {
        struct tls_staple *s = container_of(at, struct tls_staple, link);
        if (memcmp(s->digest, digest, 32) == 0)
            return s;
    }
    return NULL;
}

struct tls_staple *tls_staple_get(X509 *certificate, STACK_OF(X509) * chain)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    if (!X509_digest(certificate, EVP_sha256(), digest, NULL))
        return NULL;
    pthread_mutex_lock(&all_mutex);
    struct tls_staple *s = find(digest);
    if (!s && (s = make(certificate, chain))) {
        memcpy(s->digest, digest, 32);
        list_push_back(&all, &s->link);
    }
    if (s)
        s->holds++;
    pthread_mutex_unlock(&all_mutex);
    return s;
}

struct tls_staple *tls_staple_hold(struct tls_staple *s)
{
    pthread_mutex_lock(&all_mutex);
    s->holds++;
    pthread_mutex_unlock(&all_mutex);
    return s;
}

void tls_staple_drop(struct tls_staple *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&all_mutex);
    const bool last = --s->holds == 0;
    if (last)
        list_remove(&s->link);
    pthread_mutex_unlock(&all_mutex);
    if (last)
        end(s);
}

/* ---- an answer ---- */

static err refuse(err e, struct diag *reterr, const char *why)
{
    ERR_clear_error();
    diag_set(reterr, "ocsp: %s", why);
    return e;
}

/* Without the issuer's key there is only the number, and the issuer's name. */
static bool is_about(const struct tls_staple *s, const OCSP_CERTID *id)
{
    ASN1_OBJECT *digest;
    ASN1_OCTET_STRING *name_hash;
    ASN1_INTEGER *serial;
    unsigned char own[EVP_MAX_MD_SIZE];
    unsigned len;
    if (!OCSP_id_get0_info(&name_hash, &digest, NULL, &serial, (OCSP_CERTID *)(uintptr_t)id) ||
        ASN1_INTEGER_cmp(serial, X509_get0_serialNumber(s->certificate)) != 0)
        return false;
    const EVP_MD *md = EVP_get_digestbyobj(digest);
    if (s->issuer) {
        OCSP_CERTID *wanted = OCSP_cert_to_id(md, s->certificate, s->issuer);
        const bool same = md && wanted && OCSP_id_cmp(wanted, id) == 0;
        OCSP_CERTID_free(wanted);
        return same;
    }
    return md && X509_NAME_digest(X509_get_issuer_name(s->certificate), md, own, &len) &&
           (unsigned)ASN1_STRING_length(name_hash) == len &&
           memcmp(ASN1_STRING_get0_data(name_hash), own, len) == 0;
}

static OCSP_SINGLERESP *find_single(const struct tls_staple *s, OCSP_BASICRESP *basic)
{
    for (int i = 0; i < OCSP_resp_count(basic); i++) {
        OCSP_SINGLERESP *single = OCSP_resp_get0(basic, i);
        if (is_about(s, OCSP_SINGLERESP_get0_id(single)))
            return single;
    }
    return NULL;
}

/* RFC 6960 4.2.2.2: signed by the issuer, or by somebody whom it has made its responder. */
static bool is_signed(const struct tls_staple *s, OCSP_BASICRESP *basic)
{
    X509_STORE *store = X509_STORE_new();
    const bool ok = store && X509_STORE_add_cert(store, s->issuer) &&
                    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) &&
                    OCSP_basic_verify(basic, s->chain, store, 0) > 0;
    X509_STORE_free(store);
    return ok;
}

static int64_t seconds(const ASN1_GENERALIZEDTIME *t)
{
    struct tm tm;
    return t && ASN1_TIME_to_tm(t, &tm) ? timegm(&tm) : 0;
}

static err judge(const struct tls_staple *s, OCSP_BASICRESP *basic, int64_t now_s, int64_t *ret_end_s,
                 struct diag *reterr)
{
    ASN1_GENERALIZEDTIME *from, *to;
    int reason;
    OCSP_SINGLERESP *single = find_single(s, basic);
    if (!single)
        return refuse(ERR_CONF, reterr, "the answer is not about this certificate");
    if (s->issuer && !is_signed(s, basic))
        return refuse(ERR_CONF, reterr, "the answer is not signed by the certificate's issuer");
    const int status = OCSP_single_get0_status(single, &reason, NULL, &from, &to);
    if (status == V_OCSP_CERTSTATUS_REVOKED)
        return refuse(ERR_DENIED, reterr, "the certificate has been revoked");
    if (status != V_OCSP_CERTSTATUS_GOOD)
        return refuse(ERR_DENIED, reterr, "the responder does not know the certificate");
    const int64_t begin_s = seconds(from);
    *ret_end_s = to ? seconds(to) : now_s + ENDLESS_S;
    if (!begin_s || begin_s > now_s + SKEW_S)
        return refuse(ERR_DENIED, reterr, "the answer's time has not come yet");
    if (*ret_end_s <= now_s)
        return refuse(ERR_DENIED, reterr, "the answer has ended");
    return OK;
}

static err parse(const struct tls_staple *s, struct bytes der, int64_t now_s, int64_t *ret_end_s,
                 struct diag *reterr)
{
    const unsigned char *at = (const unsigned char *)der.ptr;
    OCSP_RESPONSE *r = d2i_OCSP_RESPONSE(NULL, &at, (long)der.len);
    if (!r)
        return refuse(ERR_CONF, reterr, "that is no answer of an OCSP responder");
    const int status = OCSP_response_status(r);
    OCSP_BASICRESP *basic = status == OCSP_RESPONSE_STATUS_SUCCESSFUL ? OCSP_response_get1_basic(r) : NULL;
    err e = basic ? judge(s, basic, now_s, ret_end_s, reterr)
                  : refuse(ERR_CONF, reterr, OCSP_response_status_str(status));
    OCSP_BASICRESP_free(basic);
    OCSP_RESPONSE_free(r);
    return e;
}

static void keep(struct tls_staple *s, unsigned char *der, size_t len, int64_t end_s)
{
    pthread_mutex_lock(&s->mutex);
    unsigned char *before = s->der;
    s->der = der;
    s->len = len;
    s->end_s = end_s;
    pthread_mutex_unlock(&s->mutex);
    OPENSSL_free(before);
}

/* For the next process. */
static void note(struct tls_staple *s, struct bytes der)
{
    pthread_mutex_lock(&all_mutex);
    if (s->kept && der.len <= sizeof s->kept->der) {
        if (der.len)
            memcpy(s->kept->der, der.ptr, der.len);
        s->kept->len = (uint32_t)der.len;
    }
    pthread_mutex_unlock(&all_mutex);
}

err tls_staple_take(struct tls_staple *s, struct bytes der, int64_t now_s, struct diag *reterr)
{
    int64_t end_s = 0;
    err e = parse(s, der, now_s, &end_s, reterr);
    if (e == ERR_DENIED) {
        keep(s, NULL, 0, 0);
        note(s, BYTES_NONE);
    }
    if (e)
        return e;
    unsigned char *copy = OPENSSL_memdup(der.ptr, der.len);
    if (!copy)
        return ERR_MEMORY;
    keep(s, copy, der.len, end_s);
    note(s, der);
    return OK;
}

bool tls_staple_copy(struct tls_staple *s, int64_t now_s, unsigned char **ret_der, size_t *ret_len)
{
    pthread_mutex_lock(&s->mutex);
    *ret_der = s->der && now_s < s->end_s ? OPENSSL_memdup(s->der, s->len) : NULL;
    *ret_len = s->len;
    pthread_mutex_unlock(&s->mutex);
    return *ret_der != NULL;
}

int64_t tls_staple_end(struct tls_staple *s)
{
    pthread_mutex_lock(&s->mutex);
    const int64_t end_s = s->end_s;
    pthread_mutex_unlock(&s->mutex);
    return end_s;
}

/* ---- over an upgrade ---- */

void tls_staple_keep_in(void *(*get)(struct bytes name, size_t size), void (*put)(void *memory))
{
    kept_get = get;
    kept_put = put;
}

/* The process before this one may still write there: what is looked at is a copy. */
static void open_kept(struct tls_staple *s, int64_t now_s)
{
    char name[80];
    int at = snprintf(name, sizeof name, "ocsp 1 ");
    for (size_t i = 0; i < sizeof s->digest; i++)
        at += snprintf(name + at, sizeof name - (size_t)at, "%02x", s->digest[i]);
    struct kept *k = kept_get(bytes_from(name), sizeof *k);
    const size_t len = k ? k->len : 0;
    unsigned char *copy = len && len <= sizeof k->der ? OPENSSL_memdup(k->der, len) : NULL;
    pthread_mutex_lock(&all_mutex);
    s->kept = k;
    pthread_mutex_unlock(&all_mutex);
    struct diag why = DIAG_NONE;
    if (copy && tls_staple_take(s, (struct bytes){ (const char *)copy, len }, now_s, &why) == OK)
        tls_staple_asked(s, true, now_s);
    OPENSSL_free(copy);
}

/* ---- asking ---- */

void tls_staple_want(struct tls_staple *s)
{
    pthread_mutex_lock(&all_mutex);
    const bool first = s->wanted++ == 0;
    pthread_mutex_unlock(&all_mutex);
    if (first && kept_get)
        open_kept(s, time(NULL));
}

void tls_staple_unwant(struct tls_staple *s)
{
    pthread_mutex_lock(&all_mutex);
    struct kept *k = --s->wanted ? NULL : s->kept;
    if (k)
        s->kept = NULL;
    pthread_mutex_unlock(&all_mutex);
    if (k)
        kept_put(k);
}

bool tls_staple_must(const struct tls_staple *s)
{
    return s->must;
}

const char *tls_staple_responder(const struct tls_staple *s)
{
    return s->issuer ? s->responder : "";
}

const char *tls_staple_name(const struct tls_staple *s)
{
    return s->name;
}

/* Without a nonce: most responders answer from a store, and clients get it as it came (RFC 5019 2.1.1). */
unsigned char *tls_staple_question(const struct tls_staple *s, size_t *ret_len)
{
    OCSP_REQUEST *r = OCSP_REQUEST_new();
    OCSP_CERTID *id = OCSP_cert_to_id(NULL, s->certificate, s->issuer);
    unsigned char *der = NULL;
    int len = -1;
    if (r && id && OCSP_request_add0_id(r, id)) {
        id = NULL; /* r's now */
        len = i2d_OCSP_REQUEST(r, &der);
    }
    OCSP_CERTID_free(id);
    OCSP_REQUEST_free(r);
    ERR_clear_error();
    *ret_len = len > 0 ? (size_t)len : 0;
    return len > 0 ? der : NULL;
}

struct tls_staple *tls_staple_due(int64_t now_s)
{
    struct tls_staple *due = NULL;
    pthread_mutex_lock(&all_mutex);
    LIST_EACH (at, &all) {
        struct tls_staple *s = container_of(at, struct tls_staple, link);
        if (due || !s->wanted || !*tls_staple_responder(s) || s->asking || now_s < s->next_s)
            continue;
        due = s;
        due->asking = true;
        due->holds++;
    }
    pthread_mutex_unlock(&all_mutex);
    return due;
}

void tls_staple_asked(struct tls_staple *s, bool fine, int64_t now_s)
{
    const int64_t end_s = tls_staple_end(s);
    pthread_mutex_lock(&all_mutex);
    s->asking = false;
    s->failures = fine ? 0 : s->failures + 1;
    s->next_s = tls_staple_next(now_s, end_s, s->failures);
    pthread_mutex_unlock(&all_mutex);
}

int64_t tls_staple_next(int64_t now_s, int64_t end_s, unsigned failures)
{
    if (failures) {
        const unsigned doubled = failures - 1 < 12 ? failures - 1 : 12;
        const int64_t pause_s = (int64_t)1 << doubled;
        return now_s + (pause_s < PAUSE_FAILED_MAX_S ? pause_s : PAUSE_FAILED_MAX_S);
    }
    const int64_t half_s = (end_s - now_s) / 2;
    return now_s + (half_s > PAUSE_MIN_S ? half_s : PAUSE_MIN_S);
}

#endif
