#include "net/quic_client.h"

#if WEIR_HAVE_NGTCP2
#include <arpa/inet.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/quic_internal.h"

#define ID_BYTES 8         /* RFC 9000 7.2: the first one that is made up has 8 at least */
#define STREAMS_UNI_MAX 16 /* RFC 9114 6.2 */
#define STREAM_UNI_WINDOW_BYTES (64 * 1024)
#define IDS_OF_PEER_MAX 7

/* As the server's (quic_tls.c). */
#define PRIORITIES                                                                                         \
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:+AES-128-CCM:" \
    "-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1:%DISABLE_TLS13_COMPAT_MODE"

struct quic_client_tls {
    gnutls_certificate_credentials_t believed;
    gnutls_priority_t priorities;
    bool insecure;
};

/* ---- TLS ---- */

static err believe(struct quic_client_tls *t, struct bytes ca, struct diag *reterr)
{
    if (gnutls_certificate_allocate_credentials(&t->believed) < 0)
        return ERR_MEMORY;
    if (t->insecure)
        return OK;
    int count = ca.ptr ? gnutls_certificate_set_x509_trust_file(t->believed, ca.ptr, GNUTLS_X509_FMT_PEM)
                       : gnutls_certificate_set_x509_system_trust(t->believed);
    if (count > 0)
        return OK;
    diag_set(reterr, "ca: cannot read %s%s%s", ca.ptr ? ca.ptr : "the system's certificates",
             count < 0 ? ": " : ": there is no certificate in it", count < 0 ? gnutls_strerror(count) : "");
    return ERR_CONF;
}

err quic_client_tls_open(struct bytes ca, bool insecure, struct quic_client_tls **ret_tls,
                         struct diag *reterr)
{
    struct quic_client_tls *t = mem_get(sizeof *t);
    if (!t)
        return ERR_MEMORY;
    t->insecure = insecure;
    err e = believe(t, ca, reterr);
    if (!e && gnutls_priority_init(&t->priorities, PRIORITIES, NULL) < 0)
        e = ERR_SYSTEM;
    if (e)
        quic_client_tls_close(t);
    else
        *ret_tls = t;
    return e;
}

void quic_client_tls_close(struct quic_client_tls *t)
{
    if (!t)
        return;
    if (t->believed)
        gnutls_certificate_free_credentials(t->believed);
    if (t->priorities)
        gnutls_priority_deinit(t->priorities);
    mem_free(t);
}

/* RFC 6066 3: addresses are not asked for. */
static bool is_address(const char *name)
{
    struct in6_addr ip;
    return inet_pton(AF_INET, name, &ip) == 1 || inet_pton(AF_INET6, name, &ip) == 1;
}

static int configure(gnutls_session_t s, const struct quic_client *o)
{
    static const gnutls_datum_t h3 = { (unsigned char *)(uintptr_t) "h3", 2 };
    int e = gnutls_priority_set(s, o->tls->priorities);
    if (e >= 0)
        e = gnutls_credentials_set(s, GNUTLS_CRD_CERTIFICATE, o->tls->believed);
    if (e >= 0)
        e = gnutls_alpn_set_protocols(s, &h3, 1, GNUTLS_ALPN_MANDATORY);
    if (e >= 0 && !is_address(o->name))
        e = gnutls_server_name_set(s, GNUTLS_NAME_DNS, o->name, strlen(o->name));
    if (e >= 0)
        e = ngtcp2_crypto_gnutls_configure_client_session(s);
    if (e >= 0 && !o->tls->insecure)
        gnutls_session_set_verify_cert(s, o->name, 0);
    return e;
}

static err open_session(struct quic_conn *c, const struct quic_client *o)
{
    if (gnutls_init(&c->session, GNUTLS_CLIENT | GNUTLS_NO_TICKETS | GNUTLS_NO_END_OF_EARLY_DATA) < 0)
        return ERR_MEMORY;
    gnutls_session_set_ptr(c->session, &c->ref);
    if (configure(c->session, o) >= 0)
        return OK;
    gnutls_deinit(c->session);
    return ERR_SYSTEM;
}

/* ---- the connection ---- */

static void make_id(ngtcp2_cid *cid, size_t len)
{
    cid->datalen = len;
    gnutls_rnd(GNUTLS_RND_NONCE, cid->data, len);
}

static err open_lib(struct quic_conn *c, const struct quic_client *o)
{
    ngtcp2_cid scid;
    ngtcp2_settings s;
    ngtcp2_transport_params p;
    const struct addr *local = &c->listener->bound;
    const ngtcp2_path path = { .local = quic_lib_addr(local), .remote = quic_lib_addr(&c->peer) };
    make_id(&scid, ID_BYTES);
    ngtcp2_settings_default(&s);
    s.initial_ts = quic_now();
    s.handshake_timeout = o->handshake_timeout_us * 1000;
    ngtcp2_transport_params_default(&p);
    p.initial_max_stream_data_bidi_local = p.initial_max_data = o->window_bytes;
    p.initial_max_stream_data_uni = STREAM_UNI_WINDOW_BYTES;
    p.initial_max_streams_uni = STREAMS_UNI_MAX;
    p.max_udp_payload_size = QUIC_PACKET_BYTES_MAX;
    p.active_connection_id_limit = IDS_OF_PEER_MAX;
    if (ngtcp2_conn_client_new(&c->lib, &c->initial, &scid, &path, NGTCP2_PROTO_VER_V1,
                               &quic_client_callbacks, &s, &p, NULL, c))
        return ERR_MEMORY;
    ngtcp2_conn_set_tls_native_handle(c->lib, c->session);
    return OK;
}

/* What it gets is the connection's alone. */
static const struct quic_owner nobody;

static err open_socket(const struct quic_client *o, struct quic_listener **ret_listener)
{
    int fd;
    err e = udp_connect_from(o->from, o->to, &fd);
    if (e)
        return e;
    e = quic_listener_start(fd, o->to, &nobody, ret_listener);
    if (e)
        close(fd);
    return e;
}

err quic_connect(const struct quic_client *o, struct quic_conn **ret_conn)
{
    struct quic_listener *l;
    err e = open_socket(o, &l);
    if (e)
        return e;
    struct quic_conn *c = pool_take(&quic_here.pool);
    *c = (struct quic_conn){ .app = o->app, .peer = *o->to, .gso = true, .validated = true, .client = true };
    make_id(&c->initial, NGTCP2_MAX_CIDLEN);
    l->client = true;
    l->only = c;
    quic_conn_add(c, l);
    quic_listener_stop(l, true); /* it goes with its connection */
    e = open_session(c, o);
    if (!e && (e = open_lib(c, o)) != OK)
        gnutls_deinit(c->session);
    if (e) {
        quic_conn_free(c);
        return e;
    }
    c->state = o->state;
    quic_want_send(c);
    *ret_conn = c;
    return OK;
}

void quic_leave(struct quic_conn *c, uint64_t code)
{
    c->state = NULL;
    c->closing = false;
    if (!c->failed)
        ngtcp2_ccerr_set_application_error(&c->error, code, NULL, 0);
    c->failed = true;
    quic_want_send(c);
}

#endif
