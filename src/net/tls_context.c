#include "net/tls_context.h"

#if WEIR_HAVE_OPENSSL

#include <ctype.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/must.h"
#include "net/tls.h"
#include "net/tls_self_signed.h"
#include "net/tls_tickets.h"

/* Forward secrecy and authenticated encryption only; AES-128 first: it is as good and cheaper. */
#define CIPHERS                                                                                \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:" \
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define SUITES "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS "X25519:P-256:P-384"
#define NAME_BYTES_MAX 255
#define SETS_FIRST 8
#define KINDS_MAX 4 /* of keys: RSA, ECDSA, Ed25519, others */

/* A certificate with its key and what is stapled to it. */
struct pair {
    X509 *certificate;
    EVP_PKEY *key;
    STACK_OF(X509) * chain;
    unsigned char *ocsp; /* OpenSSL's memory */
    long ocsp_len;
    unsigned kind;
};

/* What belongs to a listener's first context and dies with it. */
struct contexts {
    struct pair *pairs;
    size_t count;
    struct tls_certificate *certificates;
    SSL_CTX **all; /* one for each set of certificates that goes together; the first one is the listener's */
    size_t all_count, all_max;
    size_t *sets; /* which: KINDS_MAX indices of pairs, + 1, for each of all */
    struct bytes alpn;
    struct map exact;    /* name -> SSL_CTX */
    struct map wildcard; /* what stands behind "*." -> SSL_CTX */
};

static int contexts_index;

static void pair_free(struct pair *p)
{
    X509_free(p->certificate);
    EVP_PKEY_free(p->key);
    sk_X509_pop_free(p->chain, X509_free);
    OPENSSL_free(p->ocsp);
}

static void contexts_free(struct contexts *c)
{
    if (!c)
        return;
    for (size_t i = 1; i < c->all_count; i++)
        SSL_CTX_free(c->all[i]);
    for (size_t i = 0; i < c->count; i++)
        pair_free(&c->pairs[i]);
    map_close(&c->exact);
    map_close(&c->wildcard);
    mem_free(c->pairs);
    mem_free((void *)(uintptr_t)c->alpn.ptr);
    mem_free(c->certificates);
    mem_free(c->all);
    mem_free(c->sets);
    mem_free(c);
}

static void context_ends(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int index, long argl, void *argp)
{
    (void)parent;
    (void)ad;
    (void)index;
    (void)argl;
    (void)argp;
    contexts_free(ptr);
}

static void prepare(void)
{
    contexts_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, context_ends);
    must(contexts_index >= 0);
}

static void prepare_once(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    must(pthread_once(&once, prepare) == 0);
}

/* What OpenSSL says about its last failure. */
static const char *last_error(void)
{
    const unsigned long number = ERR_peek_last_error();
    const char *why =
        ERR_SYSTEM_ERROR(number) ? strerror(ERR_GET_REASON(number)) : ERR_reason_error_string(number);
    ERR_clear_error();
    return why ? why : "OpenSSL does not say why";
}

/* ---- certificates ---- */

static const char *const kinds[KINDS_MAX] = { "rsa", "ecdsa", "ed25519", "other" };

static unsigned kind_of(EVP_PKEY *key)
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

static err read_certificate(const char *path, struct pair *p, struct diag *reterr)
{
    BIO *in = BIO_new_file(path, "r");
    if (!in) {
        diag_set(reterr, "certificate: cannot read %s: %s", path, last_error());
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
    diag_set(reterr, "certificate: %s has no PEM certificate: %s", path, last_error());
    return ERR_CONF;
}

static err read_key(const char *path, struct pair *p, struct diag *reterr)
{
    BIO *in = BIO_new_file(path, "r");
    if (!in) {
        diag_set(reterr, "key: cannot read %s: %s", path, last_error());
        return ERR_CONF;
    }
    p->key = PEM_read_bio_PrivateKey(in, NULL, no_password, NULL);
    BIO_free(in);
    if (!p->key) {
        diag_set(reterr, "key: %s has no PEM private key without a password: %s", path, last_error());
        return ERR_CONF;
    }
    ERR_clear_error();
    return OK;
}

static err read_ocsp(const char *path, struct pair *p, struct diag *reterr)
{
    unsigned char text[16384];
    FILE *f = fopen(path, "rbe");
    size_t n = f ? fread(text, 1, sizeof text, f) : 0;
    const char *why = f ? "it is empty, or longer than 16 KiB" : strerror(errno);
    if (f)
        fclose(f);
    if (n == 0 || n == sizeof text || !(p->ocsp = OPENSSL_memdup(text, n))) {
        diag_set(reterr, "ocsp: cannot read %s: %s", path, why);
        return ERR_CONF;
    }
    p->ocsp_len = (long)n;
    return OK;
}

static err read_pair(const struct tls_files *f, struct pair *p, struct diag *reterr)
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
    if (!e && f->ocsp.len)
        e = read_ocsp(f->ocsp.ptr, p, reterr);
    if (!e)
        p->kind = kind_of(p->key);
    return e;
}

err tls_files_check(const struct tls_files *files, struct diag *reterr)
{
    struct pair p = { 0 };
    err e = read_pair(files, &p, reterr);
    pair_free(&p);
    return e;
}

/* ---- names ---- */

/* Lower case, without a dot at the end. False: it is no name. */
static bool name_fold(struct bytes name, char out[NAME_BYTES_MAX + 1], struct bytes *ret)
{
    if (name.len && name.ptr[name.len - 1] == '.')
        name.len--;
    if (name.len == 0 || name.len > NAME_BYTES_MAX || memchr(name.ptr, '\0', name.len))
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

/* Calls fn for each DNS name of the certificate, folded. */
static err each_name(X509 *certificate, err (*fn)(void *arg, struct bytes name), void *arg)
{
    struct names n = { .list = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL) };
    char text[NAME_BYTES_MAX + 1];
    struct bytes name;
    err e = OK;
    while (!e && next_name(&n, &name))
        if (name_fold(name, text, &name))
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

static void describe(X509 *certificate, struct tls_certificate *ret)
{
    struct tm tm;
    (void)!each_name(certificate, take_first, ret);
    if (!ret->name[0])
        X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, ret->name,
                                  sizeof ret->name);
    if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &tm))
        ret->not_after = timegm(&tm);
    ret->expired = X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0;
}

/* ---- what all contexts have ---- */

static bool set_texts(SSL_CTX *c, const struct tls_options *o, struct diag *reterr)
{
    const char *ciphers = o->ciphers.len ? o->ciphers.ptr : CIPHERS;
    const char *suites = o->suites.len ? o->suites.ptr : SUITES;
    const char *groups = o->groups.len ? o->groups.ptr : GROUPS;
    if (!SSL_CTX_set_cipher_list(c, ciphers))
        diag_set(reterr, "ciphers: OpenSSL has none of \"%s\"", ciphers);
    else if (!SSL_CTX_set_ciphersuites(c, suites))
        diag_set(reterr, "suites: OpenSSL does not take \"%s\"", suites);
    else if (!SSL_CTX_set1_groups_list(c, groups))
        diag_set(reterr, "groups: OpenSSL does not take \"%s\"", groups);
    else
        return true;
    ERR_clear_error();
    return false;
}

static bool set_trust(SSL_CTX *c, const struct tls_options *o, bool server, struct diag *reterr)
{
    if (o->verify == TLS_VERIFY_OFF)
        return true;
    int ok = o->ca.len ? SSL_CTX_load_verify_file(c, o->ca.ptr) : SSL_CTX_set_default_verify_paths(c);
    if (!ok) {
        diag_set(reterr, "ca: cannot read %s: %s", o->ca.len ? o->ca.ptr : "the system's certificates",
                 last_error());
        return false;
    }
    if (server) {
        STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(o->ca.ptr);
        SSL_CTX_set_client_CA_list(c, names);
    }
    SSL_CTX_set_verify(c,
                       SSL_VERIFY_PEER |
                           (server && o->verify == TLS_VERIFY_REQUIRED ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                       NULL);
    return true;
}

/* NULL: said why. */
static SSL_CTX *context_make(const struct tls_options *o, bool server, struct diag *reterr)
{
    prepare_once();
    SSL_CTX *c = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    if (!c) {
        diag_set(reterr, "OpenSSL: %s", last_error());
        return NULL;
    }
    SSL_CTX_set_options(c, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                               SSL_OP_PRIORITIZE_CHACHA | SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION);
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
    if (SSL_CTX_set_min_proto_version(c, o->version_min == 13 ? TLS1_3_VERSION : TLS1_2_VERSION) &&
        set_texts(c, o, reterr) && set_trust(c, o, server, reterr))
        return c;
    SSL_CTX_free(c);
    return NULL;
}

static bool use_pair(SSL_CTX *c, const struct pair *p, struct diag *reterr)
{
    if (SSL_CTX_use_cert_and_key(c, p->certificate, p->key, p->chain, 1) == 1)
        return true;
    diag_set(reterr, "certificate: OpenSSL does not take it: %s", last_error());
    return false;
}

/* ---- a server's ---- */

static const struct contexts *contexts_of(const SSL_CTX *c)
{
    return SSL_CTX_get_ex_data(c, contexts_index);
}

static SSL_CTX *find(const struct contexts *c, struct bytes name)
{
    char text[NAME_BYTES_MAX + 1];
    if (!name_fold(name, text, &name))
        return NULL;
    SSL_CTX *found = map_get(&c->exact, name);
    const char *dot = found ? NULL : memchr(name.ptr, '.', name.len);
    if (dot && dot > name.ptr)
        found = map_get(&c->wildcard, bytes_skip(name, (size_t)(dot + 1 - name.ptr)));
    return found;
}

static int choose_by_name(SSL *ssl, int *alert, void *arg)
{
    (void)alert;
    const struct contexts *c = arg;
    SSL_CTX *found = find(c, bytes_from(SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name)));
    if (found && found != SSL_get_SSL_CTX(ssl))
        SSL_set_SSL_CTX(ssl, found);
    return SSL_TLSEXT_ERR_OK;
}

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned in_len, void *arg)
{
    (void)ssl;
    const struct bytes *ours = arg;
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, out_len, (const unsigned char *)ours->ptr, (unsigned)ours->len, in,
                              in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL; /* RFC 7301 3.2 */
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* The response for the certificate that was chosen. */
static int staple(SSL *ssl, void *arg)
{
    const struct contexts *c = arg;
    const X509 *chosen = SSL_get_certificate(ssl);
    for (size_t i = 0; i < c->count; i++) {
        const struct pair *p = &c->pairs[i];
        if (p->certificate != chosen || !p->ocsp)
            continue;
        void *copy = OPENSSL_memdup(p->ocsp, (size_t)p->ocsp_len);
        if (!copy)
            break;
        SSL_set_tlsext_status_ocsp_resp(ssl, copy, p->ocsp_len);
        return SSL_TLSEXT_ERR_OK;
    }
    return SSL_TLSEXT_ERR_NOACK;
}

struct wanted {
    struct bytes name;
    bool found;
};

static err look_for(void *arg, struct bytes name)
{
    struct wanted *w = arg;
    const char *dot = memchr(w->name.ptr, '.', w->name.len);
    w->found |= bytes_eq(name, w->name);
    if (dot && dot > w->name.ptr && bytes_starts(name, BYTES("*.")))
        w->found |= bytes_eq(bytes_skip(name, 2), bytes_skip(w->name, (size_t)(dot + 1 - w->name.ptr)));
    return OK;
}

static bool pair_covers(const struct pair *p, struct bytes name)
{
    struct wanted w = { .name = name };
    (void)!each_name(p->certificate, look_for, &w);
    return w.found;
}

struct building {
    const struct tls_options *options;
    struct contexts *contexts;
    struct diag *reterr;
};

/* A session goes on only where clients are asked for the same. */
static bool set_sessions(SSL_CTX *c, const struct tls_options *o)
{
    char text[4096 + 16];
    unsigned char digest[EVP_MAX_MD_SIZE];
    int len = snprintf(text, sizeof text, "%d %.*s", o->verify, BYTES_ARG(o->ca));
    if (len < 0 || (size_t)len >= sizeof text ||
        !EVP_Digest(text, (size_t)len, digest, NULL, EVP_sha256(), NULL))
        return false;
    if (o->tickets_count == 0)
        SSL_CTX_set_options(c, SSL_OP_NO_TICKET);
    else if (o->tickets)
        tls_tickets_use(c, o->tickets);
    return SSL_CTX_set_num_tickets(c, o->tickets_count) && SSL_CTX_set_session_id_context(c, digest, 32);
}

static SSL_CTX *server_context_make(struct building *b, const size_t set[KINDS_MAX])
{
    struct contexts *c = b->contexts;
    SSL_CTX *made = context_make(b->options, true, b->reterr);
    for (unsigned k = 0; made && k < KINDS_MAX; k++) {
        if (set[k] && !use_pair(made, &c->pairs[set[k] - 1], b->reterr)) {
            SSL_CTX_free(made);
            return NULL;
        }
    }
    if (!made)
        return NULL;
    if (!set_sessions(made, b->options)) {
        diag_set(b->reterr, "OpenSSL: %s", last_error());
        SSL_CTX_free(made);
        return NULL;
    }
    SSL_CTX_set_tlsext_servername_callback(made, choose_by_name);
    SSL_CTX_set_tlsext_servername_arg(made, c);
    SSL_CTX_set_tlsext_status_cb(made, staple);
    SSL_CTX_set_tlsext_status_arg(made, c);
    if (c->alpn.len)
        SSL_CTX_set_alpn_select_cb(made, choose_protocol, &c->alpn);
    return made;
}

static bool grow(struct contexts *c)
{
    SSL_CTX **all = mem_get(2 * c->all_max * sizeof(SSL_CTX *));
    size_t *sets = mem_get(2 * c->all_max * KINDS_MAX * sizeof *sets);
    if (!all || !sets) {
        mem_free(all);
        mem_free(sets);
        return false;
    }
    memcpy(all, c->all, c->all_count * sizeof(SSL_CTX *));
    memcpy(sets, c->sets, c->all_count * KINDS_MAX * sizeof *sets);
    mem_free(c->all);
    mem_free(c->sets);
    c->all = all;
    c->sets = sets;
    c->all_max *= 2;
    return true;
}

/* The context with those certificates, made when there is none yet. */
static SSL_CTX *context_of_set(struct building *b, const size_t set[KINDS_MAX])
{
    struct contexts *c = b->contexts;
    for (size_t i = 0; i < c->all_count; i++)
        if (memcmp(c->sets + i * KINDS_MAX, set, KINDS_MAX * sizeof *set) == 0)
            return c->all[i];
    if (c->all_count == c->all_max && !grow(c))
        return NULL;
    SSL_CTX *made = server_context_make(b, set);
    if (made) {
        memcpy(c->sets + c->all_count * KINDS_MAX, set, KINDS_MAX * sizeof *set);
        c->all[c->all_count++] = made;
    }
    return made;
}

/* Of each kind the first that is good for the name. */
static void set_of_name(const struct contexts *c, struct bytes name, size_t set[KINDS_MAX])
{
    for (size_t i = 0; i < c->count; i++)
        if (!set[c->pairs[i].kind] && pair_covers(&c->pairs[i], name))
            set[c->pairs[i].kind] = i + 1;
}

static err take_name(void *arg, struct bytes name)
{
    struct building *b = arg;
    bool wildcard = bytes_starts(name, BYTES("*."));
    struct map *m = wildcard ? &b->contexts->wildcard : &b->contexts->exact;
    struct bytes key = wildcard ? bytes_skip(name, 2) : name;
    size_t set[KINDS_MAX] = { 0 };
    if (map_get(m, key))
        return OK;
    set_of_name(b->contexts, name, set);
    SSL_CTX *context = context_of_set(b, set);
    return context ? map_set(m, key, context) : ERR_CONF;
}

/* The first certificate with those of other kinds that stand beside it under its name. */
static err make_first(struct building *b)
{
    struct contexts *c = b->contexts;
    size_t set[KINDS_MAX] = { 0 };
    set[c->pairs[0].kind] = 1;
    if (c->certificates[0].name[0])
        set_of_name(c, bytes_from(c->certificates[0].name), set);
    return context_of_set(b, set) ? OK : ERR_CONF;
}

static err read_pairs(struct building *b)
{
    const struct tls_options *o = b->options;
    struct contexts *c = b->contexts;
    err e = OK;
    for (size_t i = 0; i < o->count && !e; i++) {
        c->count = i + 1;
        e = read_pair(&o->files[i], &c->pairs[i], b->reterr);
    }
    if (!e && o->self_signed) {
        struct pair *p = &c->pairs[c->count++];
        e = tls_self_signed(o->name, &p->certificate, &p->key);
        if (e)
            diag_set(b->reterr, "self_signed: %s", last_error());
        else
            p->kind = kind_of(p->key);
    }
    for (size_t i = 0; i < c->count && !e; i++) {
        describe(c->pairs[i].certificate, &c->certificates[i]);
        c->certificates[i].key = kinds[c->pairs[i].kind];
    }
    return e;
}

static err build(struct building *b)
{
    struct contexts *c = b->contexts;
    err e = read_pairs(b);
    if (!e)
        e = make_first(b);
    for (size_t i = 0; i < c->count && !e; i++)
        e = each_name(c->pairs[i].certificate, take_name, b);
    return e;
}

static size_t pairs_count(const struct tls_options *o)
{
    return o->count + o->self_signed;
}

err tls_server_context(const struct tls_options *o, SSL_CTX **ret_context, struct diag *reterr)
{
    const size_t count = pairs_count(o);
    struct contexts *c = mem_get(sizeof *c);
    if (!c)
        return ERR_MEMORY;
    prepare_once();
    c->pairs = mem_get(count * sizeof *c->pairs);
    c->certificates = mem_get(count * sizeof *c->certificates);
    c->all = mem_get(SETS_FIRST * sizeof(SSL_CTX *));
    c->sets = mem_get(SETS_FIRST * KINDS_MAX * sizeof *c->sets);
    c->all_max = SETS_FIRST;
    char *alpn = mem_get(o->alpn.len + 1);
    if (!c->pairs || !c->certificates || !c->all || !c->sets || !alpn) {
        mem_free(alpn);
        contexts_free(c);
        return ERR_MEMORY;
    }
    memcpy(alpn, o->alpn.ptr, o->alpn.len);
    c->alpn = (struct bytes){ alpn, o->alpn.len };
    struct building b = { .options = o, .contexts = c, .reterr = reterr };
    err e = build(&b);
    SSL_CTX *first = c->all_count ? c->all[0] : NULL;
    if (!e && !SSL_CTX_set_ex_data(first, contexts_index, c))
        e = ERR_MEMORY;
    if (e) {
        contexts_free(c);
        SSL_CTX_free(first);
        return e;
    }
    *ret_context = first;
    return OK;
}

err tls_client_context(const struct tls_options *o, SSL_CTX **ret_context, struct diag *reterr)
{
    SSL_CTX *c = context_make(o, false, reterr);
    if (!c)
        return ERR_CONF;
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
    SSL_CTX_sess_set_new_cb(c, tls_keep_session);
    struct pair p = { 0 };
    err e = o->count ? read_pair(&o->files[0], &p, reterr) : OK;
    if (!e && o->count && !use_pair(c, &p, reterr))
        e = ERR_CONF;
    if (!e && o->alpn.len &&
        SSL_CTX_set_alpn_protos(c, (const unsigned char *)o->alpn.ptr, (unsigned)o->alpn.len) != 0)
        e = ERR_MEMORY;
    pair_free(&p);
    if (e) {
        SSL_CTX_free(c);
        return e;
    }
    *ret_context = c;
    return OK;
}

const struct tls_certificate *tls_context_certificates(const SSL_CTX *context, size_t *ret_count)
{
    const struct contexts *c = contexts_of(context);
    *ret_count = c ? c->count : 0;
    return c ? c->certificates : NULL;
}

bool tls_context_covers(const SSL_CTX *context, const SSL_CTX *chosen, struct bytes name)
{
    const struct contexts *c = contexts_of(context);
    return c && find(c, name) == chosen;
}

void tls_context_hold(SSL_CTX *context)
{
    SSL_CTX_up_ref(context);
}

void tls_context_drop(SSL_CTX *context)
{
    SSL_CTX_free(context);
}

#endif
