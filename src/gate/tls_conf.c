#include "gate/tls_conf.h"

#include "base/mem.h"
#include "gate/alpn.h"
#include "gate/gate_conf.h"
#include "net/tls_context.h"

#define AT(type, member) offsetof(struct type, member)
#define CERTIFICATES_MAX 1000

/* ---- a certificate ---- */

#define FILES_FIELDS(base)                                                                                 \
    { .name = "certificate",                                                                               \
      .type = CONF_TEXT,                                                                                   \
      .offset = (base) + offsetof(struct tls_files_conf, certificate),                                     \
      .doc = "a PEM file with the certificate and its chain" },                                            \
        { .name = "key",                                                                                   \
          .type = CONF_TEXT,                                                                               \
          .offset = (base) + offsetof(struct tls_files_conf, key),                                         \
          .doc = "its private key, PEM, without a password; the certificate's file when not said" },       \
    {                                                                                                      \
        .name = "ocsp", .type = CONF_TEXT, .offset = (base) + offsetof(struct tls_files_conf, ocsp),       \
        .doc =                                                                                             \
            "a DER file with an OCSP response for it, which clients get with the certificate (RFC 6066 8)" \
    }

static err files_check(void *conf, struct diag *reterr);

static const char *const files_phrases[] = { "{certificate} {key}", "{certificate}", NULL };

static const struct conf_struct files_struct = {
    .name = "certificate",
    .size = sizeof(struct tls_files_conf),
    .phrases = files_phrases,
    .fields = (const struct conf_field[]){ FILES_FIELDS(0), { 0 } },
    .check = files_check,
    .doc = "A certificate with its key.",
};

/* ---- a listener's ---- */

static const char *const version_words[] = { "1.2", "1.3", NULL };
static const char *const verify_words[] = { "required", "optional", NULL };

static err listen_check(void *conf, struct diag *reterr);

#define LISTEN(member) AT(tls_listen_conf, member)

const struct conf_struct tls_listen_struct = {
    .name = "tls",
    .size = sizeof(struct tls_listen_conf),
    .phrases = files_phrases,
    .fields =
        (const struct conf_field[]){
            FILES_FIELDS(LISTEN(files)),
            { .name = "certificates",
              .type = CONF_LIST,
              .offset = LISTEN(certificates),
              .sub = &files_struct,
              .max = CERTIFICATES_MAX,
              .doc = "more of them: a client gets the one for the name that it asks for (SNI), RSA or ECDSA "
                     "as it "
                     "can; the first one when no name fits" },
            { .name = "self_signed",
              .type = CONF_BOOL,
              .offset = LISTEN(self_signed),
              .preset = "false",
              .doc =
                  "makes a certificate at start, for a first try: ECDSA P-256, for localhost, the loopback "
                  "addresses, this machine's name and the listener's address" },
            { .name = "version_min",
              .type = CONF_WORD,
              .offset = LISTEN(version_min),
              .preset = "1.2",
              .words = version_words,
              .doc = "the oldest version of TLS that is spoken" },
            { .name = "ciphers",
              .type = CONF_TEXT,
              .offset = LISTEN(ciphers),
              .doc = "of TLS 1.2, by OpenSSL's names, the best first; when not said: ECDHE with AES-GCM or "
                     "ChaCha20" },
            { .name = "suites", .type = CONF_TEXT, .offset = LISTEN(suites), .doc = "of TLS 1.3, likewise" },
            { .name = "groups",
              .type = CONF_TEXT,
              .offset = LISTEN(groups),
              .doc = "of the key exchange; when not said: `X25519:P-256:P-384`" },
            { .name = "client_ca",
              .type = CONF_TEXT,
              .offset = LISTEN(client_ca),
              .doc = "a PEM file with the authorities whose clients' certificates are believed; clients are "
                     "asked for "
                     "one when this is said" },
            { .name = "client_verify",
              .type = CONF_WORD,
              .offset = LISTEN(client_verify),
              .preset = "required",
              .words = verify_words,
              .doc = "`required`: a client without a certificate is refused; `optional`: it is taken, and "
                     "`$tls_client_verified` says so" },
            { .name = "handshake_timeout",
              .type = CONF_MS,
              .offset = LISTEN(handshake_timeout_ms),
              .preset = "10s",
              .min = 1,
              .max = 600000,
              .doc = "from a connection's beginning to the end of its handshake" },
            { 0 } },
    .check = listen_check,
    .mark_offset = LISTEN(mark),
    .doc = "The listener speaks TLS: `tls: cert.pem key.pem`, or `tls: {self_signed: true}` for a first try.",
};

/* ---- checks ---- */

#if WEIR_HAVE_OPENSSL

static struct tls_files files_of(const struct tls_files_conf *c)
{
    return (struct tls_files){ .certificate = c->certificate, .key = c->key, .ocsp = c->ocsp };
}

static err files_named(const struct tls_files_conf *c, struct diag *reterr)
{
    if (c->certificate.len || (!c->key.len && !c->ocsp.len))
        return OK;
    diag_set(reterr, "certificate: it is missing beside %s", c->key.len ? "key" : "ocsp");
    return ERR_CONF;
}

static err files_check(void *conf, struct diag *reterr)
{
    const struct tls_files_conf *c = conf;
    struct tls_files files = files_of(c);
    if (!c->certificate.len) {
        diag_set(reterr, "certificate: it is missing");
        return ERR_CONF;
    }
    return tls_files_check(&files, reterr);
}

/* The listener's address, where it names one. */
static struct bytes own_name(const struct addr *a, char text[ADDR_TEXT_BYTES_MAX])
{
    size_t len = addr_print_ip(a, text);
    if (a->sock.any.sa_family == AF_UNIX || strcmp(text, "::") == 0 || strcmp(text, "0.0.0.0") == 0)
        len = 0;
    return (struct bytes){ text, len };
}

static err make_context(const struct tls_listen_conf *conf, struct bytes name,
                        struct ssl_ctx_st **ret_context, struct diag *reterr)
{
    const size_t more = conf->certificates.count;
    struct tls_files *files = mem_get((more + 1) * sizeof *files);
    if (!files)
        return ERR_MEMORY;
    struct tls_options o = {
        .files = files,
        .self_signed = conf->self_signed,
        .name = name,
        .version_min = conf->version_min == TLS_MIN_1_3 ? 13 : 12,
        .ciphers = conf->ciphers,
        .suites = conf->suites,
        .groups = conf->groups,
#define X(length, name, take) length name
        .alpn = BYTES(ALPN_LIST(X)),
#undef X
        .ca = conf->client_ca,
    };
    if (conf->files.certificate.len)
        files[o.count++] = files_of(&conf->files);
    for (size_t i = 0; i < more; i++)
        files[o.count++] = files_of((const struct tls_files_conf *)conf->certificates.items + i);
    if (conf->client_ca.len)
        o.verify = conf->client_verify == TLS_CLIENT_REQUIRED ? TLS_VERIFY_REQUIRED : TLS_VERIFY_OPTIONAL;
    err e = tls_server_context(&o, ret_context, reterr);
    mem_free(files);
    return e;
}

err tls_listen_context(const struct listen_conf *listen, struct ssl_ctx_st **ret_context, struct diag *reterr)
{
    char text[ADDR_TEXT_BYTES_MAX];
    return make_context(listen->tls, own_name(&listen->address, text), ret_context, reterr);
}

static err listen_check(void *conf, struct diag *reterr)
{
    const struct tls_listen_conf *c = conf;
    struct ssl_ctx_st *context;
    err e = files_named(&c->files, reterr);
    if (e)
        return e;
    if (!c->files.certificate.len && !c->certificates.count && !c->self_signed) {
        diag_set(reterr,
                 "tls: a certificate is needed: certificate and key, certificates, or self_signed: true");
        return ERR_CONF;
    }
    e = make_context(c, BYTES_NONE, &context, reterr);
    if (!e)
        tls_context_drop(context);
    return e;
}

#else

static err files_check(void *conf, struct diag *reterr)
{
    (void)conf;
    (void)reterr;
    return OK;
}

static err listen_check(void *conf, struct diag *reterr)
{
    (void)conf;
    diag_set(reterr, "tls: this weir was built without OpenSSL");
    return ERR_CONF;
}

#endif
