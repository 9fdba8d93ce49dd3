#include "net/tls_context.h"

#if WEIR_HAVE_OPENSSL

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/must.h"
#include "net/tls.h"
#include "net/tls_pair.h"
#include "net/tls_self_signed.h"
#include "net/tls_staple.h"
#include "net/tls_tickets.h"

/* Forward secrecy and authenticated encryption only; AES-128 first: it is as good and cheaper. */
#define CIPHERS                                                                                \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:" \
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define SUITES "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS "X25519:P-256:P-384"
#define SETS_FIRST 8

/* What belongs to a listener's first context and dies with it; a connection holds that one besides the one
 * that was chosen for it. */
struct contexts {
    struct tls_pair *pairs;
    size_t count;
    struct tls_certificate *certificates;
    SSL_CTX **all; /* one for each set of certificates that goes together; the first one is the listener's */
    size_t all_count, all_max;
    size_t *sets; /* which: TLS_KEY_KINDS indices of pairs, + 1, for each of all */
    struct bytes alpn;
    bool slow;           /* a key is RSA */
    bool covers_all;     /* as its options say */
    struct map exact;    /* name -> SSL_CTX */
    struct map wildcard; /* what stands behind "*." -> SSL_CTX */
};

static int contexts_index;

static void contexts_free(struct contexts *c)
{
    if (!c)
        return;
    for (size_t i = 1; i < c->all_count; i++) {
        SSL_CTX_set_ex_data(c->all[i], contexts_index,
                            NULL); /* a connection may still have it for a moment */
        SSL_CTX_free(c->all[i]);
    }
    for (size_t i = 0; i < c->count; i++)
        tls_pair_free(&c->pairs[i]);
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
    (void)ad;
    (void)index;
    (void)argl;
    (void)argp;
    struct contexts *c = ptr;
    if (c && c->all_count && parent == c->all[0])
        contexts_free(c);
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
                 tls_last_error());
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
        diag_set(reterr, "OpenSSL: %s", tls_last_error());
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

static bool use_pair(SSL_CTX *c, const struct tls_pair *p, struct diag *reterr)
{
    if (SSL_CTX_use_cert_and_key(c, p->certificate, p->key, p->chain, 1) == 1)
        return true;
    diag_set(reterr, "certificate: OpenSSL does not take it: %s", tls_last_error());
    return false;
}

/* ---- a server's ---- */

static const struct contexts *contexts_of(const SSL_CTX *c)
{
    return SSL_CTX_get_ex_data(c, contexts_index);
}

static SSL_CTX *find(const struct contexts *c, struct bytes name)
{
    char text[TLS_NAME_BYTES_MAX + 1];
    if (!tls_name_fold(name, text, &name))
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

/* The answer for the certificate that was chosen. */
static int staple(SSL *ssl, void *arg)
{
    const struct contexts *c = arg;
    const X509 *chosen = SSL_get_certificate(ssl);
    unsigned char *der;
    size_t len;
    for (size_t i = 0; i < c->count; i++) {
        const struct tls_pair *p = &c->pairs[i];
        if (p->certificate != chosen || !p->staple || !tls_staple_copy(p->staple, time(NULL), &der, &len))
            continue;
        SSL_set_tlsext_status_ocsp_resp(ssl, der, (long)len);
        return SSL_TLSEXT_ERR_OK;
    }
    return SSL_TLSEXT_ERR_NOACK;
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

static SSL_CTX *server_context_make(struct building *b, const size_t set[TLS_KEY_KINDS])
{
    struct contexts *c = b->contexts;
    SSL_CTX *made = context_make(b->options, true, b->reterr);
    for (unsigned k = 0; made && k < TLS_KEY_KINDS; k++) {
        if (set[k] && !use_pair(made, &c->pairs[set[k] - 1], b->reterr)) {
            SSL_CTX_free(made);
            return NULL;
        }
    }
    if (!made)
        return NULL;
    if (!set_sessions(made, b->options)) {
        diag_set(b->reterr, "OpenSSL: %s", tls_last_error());
        SSL_CTX_free(made);
        return NULL;
    }
    SSL_CTX_set_tlsext_servername_callback(made, choose_by_name);
    SSL_CTX_set_tlsext_servername_arg(made, c);
    SSL_CTX_set_tlsext_status_cb(made, staple);
    SSL_CTX_set_tlsext_status_arg(made, c);
    if (c->alpn.len)
        SSL_CTX_set_alpn_select_cb(made, choose_protocol, &c->alpn);
    if (!SSL_CTX_set_ex_data(made, contexts_index, c)) {
        SSL_CTX_free(made);
        return NULL;
    }
    return made;
}

static bool grow(struct contexts *c)
{
    SSL_CTX **all = mem_get(2 * c->all_max * sizeof(SSL_CTX *));
    size_t *sets = mem_get(2 * c->all_max * TLS_KEY_KINDS * sizeof *sets);
    if (!all || !sets) {
        mem_free(all);
        mem_free(sets);
        return false;
    }
    memcpy(all, c->all, c->all_count * sizeof(SSL_CTX *));
    memcpy(sets, c->sets, c->all_count * TLS_KEY_KINDS * sizeof *sets);
    mem_free(c->all);
    mem_free(c->sets);
    c->all = all;
    c->sets = sets;
    c->all_max *= 2;
    return true;
}

/* The context with those certificates, made when there is none yet. */
static SSL_CTX *context_of_set(struct building *b, const size_t set[TLS_KEY_KINDS])
{
    struct contexts *c = b->contexts;
    for (size_t i = 0; i < c->all_count; i++)
        if (memcmp(c->sets + i * TLS_KEY_KINDS, set, TLS_KEY_KINDS * sizeof *set) == 0)
            return c->all[i];
    if (c->all_count == c->all_max && !grow(c))
        return NULL;
    SSL_CTX *made = server_context_make(b, set);
    if (made) {
        memcpy(c->sets + c->all_count * TLS_KEY_KINDS, set, TLS_KEY_KINDS * sizeof *set);
        c->all[c->all_count++] = made;
    }
    return made;
}

/* Of each kind the first that has the name, else the first that has a wildcard for it. */
static void set_of_name(const struct contexts *c, struct bytes name, size_t set[TLS_KEY_KINDS])
{
    for (int cover = TLS_COVER_EXACT; cover > TLS_COVER_NONE; cover--) {
        for (size_t i = 0; i < c->count; i++) {
            size_t *at = &set[c->pairs[i].kind];
            if (!*at && tls_pair_covers(&c->pairs[i], name) == (enum tls_cover)cover)
                *at = i + 1;
        }
    }
}

static err take_name(void *arg, struct bytes name)
{
    struct building *b = arg;
    bool wildcard = bytes_starts(name, BYTES("*."));
    struct map *m = wildcard ? &b->contexts->wildcard : &b->contexts->exact;
    struct bytes key = wildcard ? bytes_skip(name, 2) : name;
    size_t set[TLS_KEY_KINDS] = { 0 };
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
    size_t set[TLS_KEY_KINDS] = { 0 };
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
        struct diag ocsp_why = DIAG_NONE;
        e = tls_pair_read(&o->files[i], &c->pairs[i], &ocsp_why, b->reterr);
        if (ocsp_why.set)
            snprintf(c->certificates[i].ocsp_why, sizeof c->certificates[i].ocsp_why, "%.255s",
                     ocsp_why.text);
    }
    if (!e && o->self_signed) {
        struct tls_pair *p = &c->pairs[c->count++];
        e = tls_self_signed(o->name, &p->certificate, &p->key);
        if (e)
            diag_set(b->reterr, "self_signed: %s", tls_last_error());
        else
            p->kind = tls_key_kind(p->key);
    }
    for (size_t i = 0; i < c->count && !e; i++) {
        tls_pair_describe(&c->pairs[i], &c->certificates[i]);
        c->slow |= EVP_PKEY_is_a(c->pairs[i].key, "RSA");
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
        e = tls_pair_names(&c->pairs[i], take_name, b);
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
    c->sets = mem_get(SETS_FIRST * TLS_KEY_KINDS * sizeof *c->sets);
    c->all_max = SETS_FIRST;
    char *alpn = mem_get(o->alpn.len + 1);
    if (!c->pairs || !c->certificates || !c->all || !c->sets || !alpn) {
        mem_free(alpn);
        contexts_free(c);
        return ERR_MEMORY;
    }
    if (o->alpn.len)
        memcpy(alpn, o->alpn.ptr, o->alpn.len);
    c->alpn = (struct bytes){ alpn, o->alpn.len };
    c->covers_all = o->covers_all;
    struct building b = { .options = o, .contexts = c, .reterr = reterr };
    err e = build(&b);
    SSL_CTX *first = c->all_count ? c->all[0] : NULL;
    if (e) {
        if (!first)
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
    struct tls_pair p = { 0 };
    struct diag ocsp_why = DIAG_NONE; /* a client's goes without */
    err e = o->count ? tls_pair_read(&o->files[0], &p, &ocsp_why, reterr) : OK;
    if (!e && o->count && !use_pair(c, &p, reterr))
        e = ERR_CONF;
    if (!e && o->alpn.len &&
        SSL_CTX_set_alpn_protos(c, (const unsigned char *)o->alpn.ptr, (unsigned)o->alpn.len) != 0)
        e = ERR_MEMORY;
    tls_pair_free(&p);
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

static bool set_covers(const struct contexts *c, const SSL_CTX *chosen, struct bytes host)
{
    const size_t *set = NULL;
    for (size_t i = 0; i < c->all_count; i++)
        if (c->all[i] == chosen)
            set = c->sets + i * TLS_KEY_KINDS;
    for (unsigned k = 0; set && k < TLS_KEY_KINDS; k++)
        if (set[k] && tls_pair_covers(&c->pairs[set[k] - 1], host) != TLS_COVER_NONE)
            return true;
    return false;
}

bool tls_context_covers(const SSL_CTX *context, struct bytes server_name, struct bytes host)
{
    const struct contexts *c = contexts_of(context);
    char text[TLS_NAME_BYTES_MAX + 1];
    if (!c || c->covers_all || c->all_count < 2 || !server_name.len || bytes_eq_nocase(server_name, host))
        return true;
    const SSL_CTX *better = find(c, host);
    const SSL_CTX *chosen = find(c, server_name);
    if (!chosen)
        chosen = c->all[0];
    return !better || better == chosen || !tls_name_fold(host, text, &host) || set_covers(c, chosen, host);
}

struct tls_staple *tls_context_staple(const SSL_CTX *context, size_t index)
{
    const struct contexts *c = contexts_of(context);
    return c && index < c->count ? c->pairs[index].staple : NULL;
}

/* By any name: it is not known yet which one will be asked for. */
bool tls_context_is_slow(const SSL_CTX *context)
{
    const struct contexts *c = contexts_of(context);
    return c && c->slow;
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
