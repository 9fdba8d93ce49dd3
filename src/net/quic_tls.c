#include "net/quic_tls.h"

#if WEIR_HAVE_NGTCP2
#include <openssl/crypto.h>
#include <time.h>

#include "base/hash.h"
#include "base/mem.h"
#include "core/worker.h"
#include "net/quic_internal.h"
#include "net/tls_context.h"
#include "net/tls_staple.h"

/* RFC 9001 4: TLS 1.3, with forward secrecy in every handshake. */
#define PRIORITIES                                                                                           \
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:+AES-128-CCM:"   \
    "-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA:+ECDHE-PSK:-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1:" \
    "%DISABLE_TLS13_COMPAT_MODE:%SERVER_PRECEDENCE"
/* For how long what clients said is remembered, which is also how old a ticket may be. */
#define REPLAY_WINDOW_MS (3600 * 1000)
/* GnuTLS puts the time its memory began before what a ClientHello is known by; each worker has another. */
#define REPLAY_KEY_TIME_BYTES 12
#define EARLY_DATA_ANY 0xffffffffu /* RFC 9001 4.6.1: QUIC's own limits count */

struct quic_tls {
    uint32_t holds;
    gnutls_certificate_credentials_t certificates;
    gnutls_priority_t priorities;
    gnutls_anti_replay_t replay; /* NULL: no early data */
    gnutls_datum_t ticket_key;
    struct ssl_ctx_st *context; /* held */
    uint64_t ticket_lifetime_s;
    uint8_t ticket_key_bytes[QUIC_TICKET_KEY_BYTES];
};

/* GnuTLS takes no early data of tickets that are older than this, so it lives as long as the worker. */
static _Thread_local struct {
    gnutls_anti_replay_t replay;
    struct turn_hook end;
} here;

static void end_here(struct turn_hook *h)
{
    (void)h;
    gnutls_anti_replay_deinit(here.replay);
    here.replay = NULL;
}

/* ---- early data once ---- */

static int replay_add(void *memory, time_t until, const gnutls_datum_t *key, const gnutls_datum_t *data)
{
    (void)data;
    if (key->size <= REPLAY_KEY_TIME_BYTES)
        return GNUTLS_E_DB_ENTRY_EXISTS;
    const struct bytes hello = { (const char *)key->data, key->size };
    uint64_t hash = hash_bytes(bytes_skip(hello, REPLAY_KEY_TIME_BYTES));
    return quic_replay_first(memory, hash, (uint32_t)time(NULL), (uint32_t)until) ? 0
                                                                                  : GNUTLS_E_DB_ENTRY_EXISTS;
}

static err open_replay(struct quic_tls *t, struct quic_replay *memory)
{
    if (!here.replay) {
        if (gnutls_anti_replay_init(&here.replay) < 0)
            return ERR_MEMORY;
        here.end.run = end_here;
        worker_on_end(&here.end);
        gnutls_anti_replay_set_window(here.replay, REPLAY_WINDOW_MS);
        gnutls_anti_replay_set_add_function(here.replay, replay_add);
        gnutls_anti_replay_set_ptr(here.replay, memory);
    }
    t->replay = here.replay;
    return OK;
}

/* ---- opening ---- */

static gnutls_datum_t datum(struct bytes b)
{
    return (gnutls_datum_t){ .data = (unsigned char *)(uintptr_t)b.ptr, .size = (unsigned)b.len };
}

/* RFC 8446 4.4.2.1; GnuTLS frees it. */
static int staple(gnutls_session_t s, void *arg, gnutls_datum_t *ret_answer)
{
    unsigned char *der;
    size_t len;
    (void)s;
    if (!arg || !tls_staple_copy(arg, time(NULL), &der, &len))
        return GNUTLS_E_NO_CERTIFICATE_STATUS;
    ret_answer->data = gnutls_malloc(len);
    ret_answer->size = (unsigned)len;
    if (ret_answer->data)
        memcpy(ret_answer->data, der, len);
    OPENSSL_free(der);
    return ret_answer->data ? 0 : GNUTLS_E_MEMORY_ERROR;
}

static err add_certificates(struct quic_tls *t, const struct quic_tls_opts *o, struct diag *reterr)
{
    if (gnutls_certificate_allocate_credentials(&t->certificates) < 0)
        return ERR_MEMORY;
    for (unsigned i = 0; i < o->count; i++) {
        const gnutls_datum_t chain = datum(o->certificates[i].chain);
        const gnutls_datum_t key = datum(o->certificates[i].key);
        int e =
            gnutls_certificate_set_x509_key_mem2(t->certificates, &chain, &key, GNUTLS_X509_FMT_PEM, NULL, 0);
        if (e < 0) {
            diag_set(reterr, "http3: certificate %u and its key: %s", i + 1, gnutls_strerror(e));
            return ERR_CONF;
        }
        gnutls_certificate_set_ocsp_status_request_function2(
            t->certificates, i, staple, t->context ? tls_context_staple(t->context, i) : NULL);
    }
    return OK;
}

err quic_tls_open(const struct quic_tls_opts *o, struct quic_tls **ret_tls, struct diag *reterr)
{
    struct quic_tls *t = mem_get(sizeof *t);
    if (!t)
        return ERR_MEMORY;
    t->holds = 1;
    t->ticket_lifetime_s = o->ticket_lifetime_s;
    t->context = o->context;
    if (t->context)
        tls_context_hold(t->context);
    if (o->ticket_key) {
        memcpy(t->ticket_key_bytes, o->ticket_key, sizeof t->ticket_key_bytes);
        t->ticket_key = (gnutls_datum_t){ t->ticket_key_bytes, sizeof t->ticket_key_bytes };
    }
    err e = add_certificates(t, o, reterr);
    if (!e && gnutls_priority_init(&t->priorities, PRIORITIES, NULL) < 0)
        e = ERR_SYSTEM;
    if (!e && o->ticket_key && o->replay)
        e = open_replay(t, o->replay);
    if (e) {
        quic_tls_drop(t);
        return e;
    }
    *ret_tls = t;
    return OK;
}

struct quic_tls *quic_tls_hold(struct quic_tls *t)
{
    t->holds++;
    return t;
}

void quic_tls_drop(struct quic_tls *t)
{
    if (!t || --t->holds)
        return;
    if (t->certificates)
        gnutls_certificate_free_credentials(t->certificates);
    if (t->priorities)
        gnutls_priority_deinit(t->priorities);
    tls_context_drop(t->context);
    gnutls_memset(t->ticket_key_bytes, 0, sizeof t->ticket_key_bytes);
    mem_free(t);
}

/* ---- sessions ---- */

static int configure(const struct quic_tls *t, gnutls_session_t s)
{
    static const gnutls_datum_t h3 = { (unsigned char *)(uintptr_t) "h3", 2 };
    int e = gnutls_priority_set(s, t->priorities);
    if (e >= 0)
        e = gnutls_credentials_set(s, GNUTLS_CRD_CERTIFICATE, t->certificates);
    if (e >= 0)
        e = gnutls_alpn_set_protocols(s, &h3, 1, GNUTLS_ALPN_MANDATORY | GNUTLS_ALPN_SERVER_PRECEDENCE);
    if (e >= 0 && t->ticket_key.size) {
        gnutls_db_set_cache_expiration(s, (int)t->ticket_lifetime_s);
        e = gnutls_session_ticket_enable_server(s, &t->ticket_key);
    }
    if (e >= 0 && t->replay) {
        gnutls_anti_replay_enable(s, t->replay);
        e = gnutls_record_set_max_early_data_size(s, EARLY_DATA_ANY);
    }
    if (e >= 0)
        e = ngtcp2_crypto_gnutls_configure_server_session(s);
    return e;
}

err quic_tls_session(struct quic_tls *t, ngtcp2_crypto_conn_ref *ref, gnutls_session_t *ret_session)
{
    unsigned flags = GNUTLS_SERVER | GNUTLS_NO_AUTO_SEND_TICKET | GNUTLS_NO_END_OF_EARLY_DATA;
    if (t->replay)
        flags |= GNUTLS_ENABLE_EARLY_DATA;
    gnutls_session_t s;
    if (gnutls_init(&s, flags) < 0)
        return ERR_MEMORY;
    gnutls_session_set_ptr(s, ref);
    if (configure(t, s) < 0) {
        gnutls_deinit(s);
        return ERR_SYSTEM;
    }
    *ret_session = s;
    return OK;
}

void quic_tls_send_ticket(const struct quic_tls *t, gnutls_session_t session)
{
    if (t->ticket_key.size)
        (void)!gnutls_session_ticket_send(session, 1, 0);
}

/* ---- what was agreed on ---- */

static struct bytes server_name(gnutls_session_t s, struct arena *a)
{
    char name[256];
    size_t size = sizeof name;
    unsigned type;
    if (gnutls_server_name_get(s, name, &size, &type, 0) < 0 || type != GNUTLS_NAME_DNS)
        return BYTES_NONE;
    return arena_copy(a, bytes_from(name));
}

/* GnuTLS has another name for it. */
static struct bytes cipher(gnutls_session_t s)
{
    switch (gnutls_cipher_get(s)) {
    case GNUTLS_CIPHER_AES_128_GCM:
        return BYTES("TLS_AES_128_GCM_SHA256");
    case GNUTLS_CIPHER_AES_256_GCM:
        return BYTES("TLS_AES_256_GCM_SHA384");
    case GNUTLS_CIPHER_CHACHA20_POLY1305:
        return BYTES("TLS_CHACHA20_POLY1305_SHA256");
    case GNUTLS_CIPHER_AES_128_CCM:
        return BYTES("TLS_AES_128_CCM_SHA256");
    default:
        return BYTES_NONE;
    }
}

bool quic_covers(const struct quic_conn *c, struct bytes host)
{
    char name[256];
    size_t size = sizeof name;
    unsigned type;
    if (!c->lib || !c->tls->context || gnutls_server_name_get(c->session, name, &size, &type, 0) < 0 ||
        type != GNUTLS_NAME_DNS)
        return true;
    return tls_context_covers(c->tls->context, (struct bytes){ name, strnlen(name, sizeof name) }, host);
}

struct bytes quic_fact(const struct quic_conn *c, enum tls_fact fact, struct arena *a)
{
    if (!c->lib)
        return BYTES_NONE;
    switch (fact) {
    case TLS_FACT_VERSION:
        return BYTES("TLSv1.3");
    case TLS_FACT_CIPHER:
        return cipher(c->session);
    case TLS_FACT_SERVER_NAME:
        return server_name(c->session, a);
    case TLS_FACT_PROTOCOL:
        return BYTES("h3");
    case TLS_FACT_RESUMED:
        return gnutls_session_is_resumed(c->session) ? BYTES("yes") : BYTES("no");
    case TLS_FACT_CLIENT_VERIFIED:
        return BYTES("no"); /* clients are not asked */
    default:
        return BYTES_NONE;
    }
}

#endif
