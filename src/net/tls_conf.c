#include "net/tls_conf.h"

#include <sys/stat.h>

#include "base/file_read.h"
#include "base/hash.h"
#include "base/mem.h"
#include "net/tls_context.h"
#include "net/tls_tickets.h"

#define AT(type, member) offsetof(struct type, member)
#define CERTIFICATES_MAX 1000
#define OCSP_FETCH BYTES("fetch")

/* ---- a certificate ---- */

#define FILES_FIELDS(base)                                                                           \
    { .name = "certificate",                                                                         \
      .type = CONF_TEXT,                                                                             \
      .offset = (base) + offsetof(struct tls_files_conf, certificate),                               \
      .doc = "a PEM file with the certificate and its chain" },                                      \
        { .name = "key",                                                                             \
          .type = CONF_TEXT,                                                                         \
          .offset = (base) + offsetof(struct tls_files_conf, key),                                   \
          .doc = "its private key, PEM, without a password; the certificate's file when not said" }, \
    {                                                                                                \
        .name = "ocsp", .type = CONF_TEXT, .offset = (base) + offsetof(struct tls_files_conf, ocsp), \
        .doc = "its OCSP answer, which clients get with it (RFC 6066 8): `fetch`, asked for at the " \
               "responder that "                                                                     \
               "it names; or a DER file, looked at again when it changes"                            \
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

static const char *const version_words[] = { "1.2", "1.3", NULL };

/* What both sides can be told about versions and ciphers. */
#define CRYPTO_FIELDS(owner)                                                                                 \
    { .name = "version_min",                                                                                 \
      .type = CONF_WORD,                                                                                     \
      .offset = AT(owner, version_min),                                                                      \
      .preset = "1.2",                                                                                       \
      .words = version_words,                                                                                \
      .doc = "the oldest version of TLS that is spoken" },                                                   \
        { .name = "ciphers",                                                                                 \
          .type = CONF_TEXT,                                                                                 \
          .offset = AT(owner, ciphers),                                                                      \
          .doc = "of TLS 1.2, by OpenSSL's names, the best first; when not said: ECDHE with AES-GCM or "     \
                 "ChaCha20" },                                                                               \
        { .name = "suites", .type = CONF_TEXT, .offset = AT(owner, suites), .doc = "of TLS 1.3, likewise" }, \
    {                                                                                                        \
        .name = "groups", .type = CONF_TEXT, .offset = AT(owner, groups),                                    \
        .doc = "of the key exchange; when not said: `X25519:P-256:P-384`"                                    \
    }

/* ---- a listener's ---- */

static const char *const misdirected_words[] = { "refuse", "serve", NULL };
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
            CRYPTO_FIELDS(tls_listen_conf),
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
            { .name = "tickets",
              .type = CONF_INT,
              .offset = LISTEN(tickets),
              .preset = "2",
              .max = 10,
              .doc =
                  "session tickets that a client gets after a full handshake of TLS 1.3, to go on with later "
                  "without one; 0: none, in TLS 1.2 neither" },
            { .name = "ticket_keys",
              .type = CONF_TEXT,
              .offset = LISTEN(ticket_keys),
              .doc = "a file with keys for tickets, for machines that share them: 80 random bytes each, the "
                     "first one "
                     "seals, all open; looked at again when it changes. When not said weir makes keys, for "
                     "all its "
                     "listeners" },
            { .name = "ticket_rotate",
              .type = CONF_MS,
              .offset = LISTEN(ticket_rotate_ms),
              .preset = "8h",
              .min = 1000,
              .max = 7.0 * 24 * 3600 * 1000,
              .doc = "how old a key becomes that weir has made; the two before it still open tickets" },
            { .name = "handshake_timeout",
              .type = CONF_MS,
              .offset = LISTEN(handshake_timeout_ms),
              .preset = "10s",
              .min = 1,
              .max = 600000,
              .doc = "from a connection's beginning to the end of its handshake" },
            { .name = "misdirected",
              .type = CONF_WORD,
              .offset = LISTEN(misdirected),
              .preset = "refuse",
              .words = misdirected_words,
              .doc =
                  "a request for a host that another certificate of the listener has, and the one that its "
                  "client was given (by SNI) has not: `refuse` answers 421, and the client comes again over "
                  "a connection of its own; `serve` answers it as any other" },
            { 0 } },
    .check = listen_check,
    .mark_offset = LISTEN(mark),
    .doc = "The listener speaks TLS: `tls: cert.pem key.pem`, or `tls: {self_signed: true}` for a first try.",
};

/* ---- a service's ---- */

static err service_check(void *conf, struct diag *reterr);

const struct conf_struct tls_service_struct = {
    .name = "tls_service",
    .size = sizeof(struct tls_service_conf),
    .fields =
        (const struct conf_field[]){
            { .name = "verify",
              .type = CONF_BOOL,
              .offset = AT(tls_service_conf, verify),
              .preset = "true",
              .doc = "a server has to prove that it is the one that was asked for; `false`: whoever answers "
                     "is believed" },
            { .name = "ca",
              .type = CONF_TEXT,
              .offset = AT(tls_service_conf, ca),
              .doc = "a PEM file with the authorities that are believed; the system's when not said" },
            { .name = "server_name",
              .type = CONF_TEXT,
              .offset = AT(tls_service_conf, server_name),
              .doc = "the name that is asked for (SNI) and has to stand in the certificate; the server's "
                     "own, as in "
                     "`servers`, when not said" },
            { .name = "certificate",
              .type = CONF_TEXT,
              .offset = AT(tls_service_conf, certificate),
              .doc = "a PEM file with the certificate that servers get to see" },
            { .name = "key",
              .type = CONF_TEXT,
              .offset = AT(tls_service_conf, key),
              .doc = "its private key; the certificate's file when not said" },
            CRYPTO_FIELDS(tls_service_conf),
            { 0 } },
    .check = service_check,
    .doc = "TLS to the servers; `tls: on` for the usual.",
};

/* ---- checks ---- */

#if WEIR_HAVE_OPENSSL

static struct tls_files files_of(const struct tls_files_conf *c)
{
    const bool fetch = bytes_eq(c->ocsp, OCSP_FETCH);
    return (struct tls_files){ .certificate = c->certificate,
                               .key = c->key,
                               .ocsp = fetch ? BYTES_NONE : c->ocsp,
                               .ocsp_fetch = fetch };
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

static err make_context(const struct tls_listen_conf *conf, struct bytes name, struct bytes alpn,
                        const struct tls_tickets *tickets, struct ssl_ctx_st **ret_context,
                        struct diag *reterr)
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
        .alpn = alpn,
        .tickets = tickets,
        .covers_all = conf->misdirected == TLS_MISDIRECTED_SERVE,
        .tickets_count = (unsigned)conf->tickets,
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

err tls_listen_context(const struct tls_listen_conf *conf, const struct addr *at, struct bytes alpn,
                       const struct tls_tickets *tickets, struct ssl_ctx_st **ret_context,
                       struct diag *reterr)
{
    char text[ADDR_TEXT_BYTES_MAX];
    return make_context(conf, own_name(at, text), alpn, tickets, ret_context, reterr);
}

err tls_ticket_keys_read(const struct tls_listen_conf *conf, struct tls_tickets *ret_tickets,
                         struct diag *reterr)
{
    struct bytes text;
    struct diag why = DIAG_NONE;
    err e = file_read_whole(conf->ticket_keys.ptr, TLS_TICKET_KEYS_MAX * TLS_TICKET_KEY_BYTES, &text, &why);
    if (!e) {
        e = tls_tickets_read(ret_tickets, text, 1, &why);
        file_read_free(text);
    }
    if (e)
        diag_set(reterr, "ticket_keys: %s: %s", conf->ticket_keys.ptr, why.text);
    return e;
}

/* ---- have files changed? */

static uint64_t stamp_of(uint64_t stamp, struct bytes path)
{
    struct stat s = { 0 };
    if (!path.len)
        return stamp;
    bool there = stat(path.ptr, &s) == 0;
    stamp = hash_u64(stamp + there);
    stamp = hash_u64(stamp + (uint64_t)s.st_ino) + (uint64_t)s.st_size;
    return hash_u64(stamp + (uint64_t)s.st_mtim.tv_sec * 1000000000 + (uint64_t)s.st_mtim.tv_nsec);
}

static uint64_t stamp_of_files(uint64_t stamp, const struct tls_files_conf *f)
{
    const struct bytes ocsp = bytes_eq(f->ocsp, OCSP_FETCH) ? BYTES_NONE : f->ocsp;
    return stamp_of(stamp_of(stamp_of(stamp, f->certificate), f->key), ocsp);
}

uint64_t tls_listen_files_stamp(const struct tls_listen_conf *c)
{
    uint64_t stamp = stamp_of(stamp_of(stamp_of_files(1, &c->files), c->client_ca), c->ticket_keys);
    for (size_t i = 0; i < c->certificates.count; i++)
        stamp = stamp_of_files(stamp, (const struct tls_files_conf *)c->certificates.items + i);
    return stamp;
}

uint64_t tls_service_files_stamp(const struct tls_service_conf *c)
{
    return stamp_of(stamp_of(stamp_of(1, c->ca), c->certificate), c->key);
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
    struct tls_tickets tickets = { 0 };
    if (c->ticket_keys.len)
        e = tls_ticket_keys_read(c, &tickets, reterr);
    if (!e)
        e = make_context(c, BYTES_NONE, BYTES_NONE, NULL, &context, reterr);
    if (!e)
        tls_context_drop(context);
    return e;
}

err tls_service_context(const struct tls_service_conf *c, struct ssl_ctx_st **ret_context,
                        struct diag *reterr)
{
    struct tls_files files = { .certificate = c->certificate, .key = c->key };
    const struct tls_options o = {
        .files = &files,
        .count = c->certificate.len > 0,
        .version_min = c->version_min == TLS_MIN_1_3 ? 13 : 12,
        .ciphers = c->ciphers,
        .suites = c->suites,
        .groups = c->groups,
        .alpn = c->http2 ? BYTES("\x02h2") : BYTES("\x08http/1.1"),
        .verify = c->verify ? TLS_VERIFY_REQUIRED : TLS_VERIFY_OFF,
        .ca = c->ca,
    };
    return tls_client_context(&o, ret_context, reterr);
}

uint64_t tls_service_conf_number(const struct tls_service_conf *c)
{
    const struct bytes texts[] = { c->ca,      c->server_name, c->certificate, c->key,
                                   c->ciphers, c->suites,      c->groups };
    uint64_t number = 1 + (uint64_t)c->verify + 2 * (uint64_t)c->version_min + 8 * (uint64_t)c->http2;
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++)
        number = hash_u64(number) + hash_bytes(texts[i]);
    return number;
}

static err service_check(void *conf, struct diag *reterr)
{
    const struct tls_service_conf *c = conf;
    const struct tls_files_conf files = { .certificate = c->certificate, .key = c->key };
    struct ssl_ctx_st *context;
    err e = files_named(&files, reterr);
    if (!e)
        e = tls_service_context(c, &context, reterr);
    if (!e)
        tls_context_drop(context);
    return e;
}

#else

static err service_check(void *conf, struct diag *reterr)
{
    (void)conf;
    diag_set(reterr, "tls: this weir was built without OpenSSL");
    return ERR_CONF;
}

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
