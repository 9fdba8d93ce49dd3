#include "net/tls_internal.h"

#if WEIR_HAVE_OPENSSL

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <pthread.h>
#include <stdio.h>

#include "base/list.h"
#include "base/mem.h"
#include "base/must.h"
#include "base/pool.h"
#include "net/tls_context.h"

/* The longest record's content (RFC 8446 5.1). */
#define RECORD_BYTES (16 * 1024)

/* What this worker makes connections of. */
static _Thread_local struct {
    struct pool pool;
    struct turn_hook end;
    char *record; /* short runs of plain bytes are put together here */
} here;

/* ---- OpenSSL's view of the socket ---- */

static int bio_read(BIO *b, char *out, size_t size, size_t *ret_n)
{
    struct tls *t = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    if (t->in.len == 0) {
        BIO_set_retry_read(b);
        return 0;
    }
    size_t n = size < t->in.len ? size : t->in.len;
    memcpy(out, t->in.ptr, n);
    t->in = bytes_skip(t->in, n);
    *ret_n = n;
    return 1;
}

static int bio_write(BIO *b, const char *data, size_t size, size_t *ret_n)
{
    struct tls *t = BIO_get_data(b);
    if (t->codec.away)
        store_add(&t->outgoing, (struct bytes){ data, size });
    else
        io_codec_emit(&t->codec, (struct bytes){ data, size });
    *ret_n = size;
    return 1;
}

static long bio_ctrl(BIO *b, int what, long number, void *pointer)
{
    (void)b;
    (void)number;
    (void)pointer;
    return what == BIO_CTRL_FLUSH;
}

static BIO_METHOD *bio_method;
static int tls_index; /* of a connection, in its SSL */

static void prepare_process(void)
{
    bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "weir");
    must(bio_method && BIO_meth_set_read_ex(bio_method, bio_read) &&
         BIO_meth_set_write_ex(bio_method, bio_write) && BIO_meth_set_ctrl(bio_method, bio_ctrl));
    tls_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    must(tls_index >= 0);
}

/* ---- what happened ---- */

static void over(struct tls *t, err result)
{
    struct tls_watcher *w = t->watcher;
    t->watcher = NULL;
    if (w)
        w->done(w, t, result, tls_why(t));
}

void tls_fail(struct tls *t, err e, const char *why)
{
    bool shaking = t->state < TLS_OPEN;
    if (t->state == TLS_OVER)
        return;
    t->state = TLS_OVER;
    t->why = why;
    ERR_clear_error();
    io_codec_failed(&t->codec, e);
    if (shaking)
        over(t, e);
}

/* So that what stands in the thread's list of errors afterwards is of the call that follows. */
static void forget_errors(void)
{
    if (ERR_peek_error())
        ERR_clear_error();
}

/* After a call that brought nothing. NULL: it wants more, or it was the peer's orderly end. */
static const char *failure(const SSL *ssl)
{
    unsigned long number = ERR_peek_error();
    if (!number && (SSL_want_read(ssl) || SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN))
        return NULL;
    const char *why = number ? ERR_reason_error_string(number) : NULL;
    if (ERR_GET_REASON(number) == SSL_R_CERTIFICATE_VERIFY_FAILED)
        why = X509_verify_cert_error_string(SSL_get_verify_result(ssl));
    return why ? why : "OpenSSL does not say why";
}

/* ---- in ---- */

/* A client that speaks HTTP to a TLS port is told so, in its own tongue. */
static bool is_plain_http(struct bytes raw)
{
    return raw.ptr[0] >= 'A' && raw.ptr[0] <= 'Z';
}

static void answer_plain_http(struct tls *t)
{
    static const char body[] = "400 Bad Request: this port speaks HTTPS, and the request was plain HTTP\n";
    char text[256];
    int n =
        snprintf(text, sizeof text,
                 "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\nConnection: "
                 "close\r\n\r\n%s",
                 sizeof body - 1, body);
    io_codec_emit(&t->codec, (struct bytes){ text, (size_t)n });
    tls_fail(t, ERR_PROTOCOL, "plain HTTP");
}

/* OK: done; ERR_AGAIN: more is needed. */
err tls_shake_step(struct tls *t, const char **ret_why)
{
    forget_errors();
    if (SSL_do_handshake(t->ssl) == 1)
        return OK;
    *ret_why = failure(t->ssl);
    if (!*ret_why && !SSL_want_read(t->ssl))
        *ret_why = "the peer closed the connection";
    return *ret_why ? ERR_PROTOCOL : ERR_AGAIN;
}

void tls_shake_end(struct tls *t, err result, const char *why)
{
    if (result == ERR_AGAIN)
        return;
    if (result) {
        tls_fail(t, result, why);
        return;
    }
    t->state = TLS_OPEN;
    io_codec_opened(&t->codec);
    over(t, OK);
}

static void shake(struct tls *t)
{
    const char *why = NULL;
    err result = tls_shake_step(t, &why);
    tls_shake_end(t, result, why);
}

static void decode(struct tls *t)
{
    forget_errors();
    do {
        size_t room, n = 0;
        char *to = io_codec_room(&t->codec, &room);
        int ok = SSL_read_ex(t->ssl, to, room, &n);
        io_codec_decoded(&t->codec, ok ? n : 0);
        if (ok)
            continue;
        const char *why = failure(t->ssl);
        if (why)
            tls_fail(t, ERR_PROTOCOL, why);
        else if (!SSL_want_read(t->ssl))
            io_codec_peer_ended(&t->codec);
        return;
    } while (t->in.len > 0 || SSL_pending(t->ssl) > 0);
}

void tls_go_on(struct tls *t, struct bytes raw)
{
    t->in = raw;
    if (t->state == TLS_SHAKING)
        shake(t);
    if (t->state == TLS_OPEN && t->in.len > 0)
        decode(t);
    t->in = BYTES_NONE;
}

static void tls_received(struct io_codec *c, struct bytes raw)
{
    struct tls *t = container_of(c, struct tls, codec);
    if (t->state == TLS_FRESH && is_plain_http(raw))
        answer_plain_http(t);
    else if (t->state < TLS_OPEN)
        tls_step(t, raw);
    else
        tls_go_on(t, raw);
}

static bool tls_ended(struct io_codec *c)
{
    struct tls *t = container_of(c, struct tls, codec);
    if (t->state < TLS_OPEN)
        tls_fail(t, ERR_RESET, "the peer closed the connection");
    return t->state == TLS_OPEN && SSL_get_shutdown(t->ssl) & SSL_RECEIVED_SHUTDOWN;
}

/* ---- out ---- */

static void tls_encode(struct io_codec *c)
{
    struct tls *t = container_of(c, struct tls, codec);
    struct bytes run;
    while (t->state == TLS_OPEN && (run = io_codec_plain_run(c, here.record, RECORD_BYTES)).len > 0) {
        size_t n;
        if (!SSL_write_ex(t->ssl, run.ptr, run.len, &n)) {
            tls_fail(t, ERR_IO, "a record could not be written");
            io_codec_news_soon(c);
            return;
        }
        io_codec_encoded(c, n);
    }
}

static void tls_end(struct io_codec *c)
{
    struct tls *t = container_of(c, struct tls, codec);
    tls_encode(c);
    if (t->state != TLS_OPEN)
        return;
    forget_errors();
    if (SSL_shutdown(t->ssl) < 0)
        ERR_clear_error();
}

/* ---- life ---- */

void tls_end_of(struct tls *t)
{
    SSL_free(t->ssl);
    mem_free(t->client_facts);
    store_empty(&t->pending);
    store_empty(&t->outgoing);
    pool_give(&here.pool, t);
}

static void tls_free(struct io_codec *c)
{
    struct tls *t = container_of(c, struct tls, codec);
    if (t->state < TLS_OPEN) {
        t->state = TLS_OVER;
        t->why = t->why ? t->why : "given up";
        over(t, ERR_CANCELLED);
    }
    if (t->codec.away)
        t->orphan = true;
    else
        tls_end_of(t);
}

static const struct io_codec_ops tls_ops = {
    .received = tls_received,
    .ended = tls_ended,
    .encode = tls_encode,
    .end = tls_end,
    .free = tls_free,
};

static void end_here(struct turn_hook *h)
{
    (void)h;
    tls_step_end();
    pool_close(&here.pool);
    mem_free(here.record);
    here.record = NULL;
}

static void prepare_here(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (here.record)
        return;
    must(pthread_once(&once, prepare_process) == 0);
    tls_step_begin();
    here.record = mem_must_get(RECORD_BYTES);
    pool_init(&here.pool, sizeof(struct tls));
    here.end.run = end_here;
    worker_on_end(&here.end);
}

static struct tls *tls_open(SSL_CTX *context, struct tls_watcher *watcher, bool server)
{
    prepare_here();
    struct tls *t = pool_take(&here.pool);
    *t = (struct tls){ .codec.ops = &tls_ops,
                       .watcher = watcher,
                       .server = server,
                       .slow = server && tls_context_is_slow(context) };
    BIO *bio = BIO_new(bio_method);
    t->ssl = SSL_new(context);
    must(bio && t->ssl && SSL_set_ex_data(t->ssl, tls_index, t));
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio);
    SSL_set_mode(t->ssl, SSL_MODE_RELEASE_BUFFERS);
    return t;
}

static void accept_woke(void *owner, err why)
{
    struct tls *t = owner;
    if (why)
        tls_fail(t, why, why == ERR_TIMEOUT ? "the handshake took too long" : err_text(why));
    t->done(t->owner, t->codec.io, why);
}

void tls_accept(struct io *io, SSL_CTX *context, struct tls_watcher *watcher, uint64_t deadline_us,
                void (*done)(void *owner, struct io *io, err why), void *owner)
{
    struct tls *t = tls_open(context, watcher, true);
    t->done = done;
    t->owner = owner;
    SSL_set_accept_state(t->ssl);
    io_set_codec(io, &t->codec);
    io_park(io, accept_woke, t, deadline_us);
}

/* False: it is neither a name nor an address. */
static bool set_server(SSL *ssl, const char *name)
{
    unsigned char ip[16];
    if (!name[0])
        return true;
    if (inet_pton(AF_INET, name, ip) == 1 ||
        inet_pton(AF_INET6, name, ip) == 1) /* RFC 6066 3: no SNI for addresses */
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name);
    return SSL_set_tlsext_host_name(ssl, name) && SSL_set1_host(ssl, name);
}

err tls_connect(struct io *io, SSL_CTX *context, struct tls_watcher *watcher, const char *server_name,
                struct tls_keeper *keeper, uint64_t deadline_us)
{
    struct tls *t = tls_open(context, watcher, false);
    t->keeper = keeper;
    SSL_set_connect_state(t->ssl);
    bool named = set_server(t->ssl, server_name);
    if (keeper && keeper->session && !SSL_set_session(t->ssl, keeper->session))
        ERR_clear_error();
    io_set_codec(io, &t->codec);
    if (!named)
        tls_fail(t, ERR_PROTOCOL, "the server's name is neither a name nor an address");
    if (t->state == TLS_FRESH)
        tls_step(t, BYTES_NONE);
    err e = io_codec_wait(&t->codec, deadline_us);
    if (e)
        tls_fail(t, e, e == ERR_TIMEOUT ? "the handshake took too long" : err_text(e));
    if (e && keeper)
        tls_keeper_empty(keeper);
    return e;
}

/* A server gives tickets when and as often as it likes (RFC 8446 4.6.1): the last one counts. */
int tls_keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls *t = SSL_get_ex_data(ssl, tls_index);
    if (!t->keeper)
        return 0;
    SSL_SESSION_free(t->keeper->session);
    t->keeper->session = session;
    return 1; /* ours now */
}

void tls_keeper_empty(struct tls_keeper *k)
{
    SSL_SESSION_free(k->session);
    k->session = NULL;
}

/* ---- what was agreed on ---- */

struct tls *tls_of(const struct io *io)
{
    struct io_codec *c = io ? io_codec_of(io) : NULL;
    return c && c->ops == &tls_ops ? container_of(c, struct tls, codec) : NULL;
}

const char *tls_version(const struct tls *t)
{
    return SSL_get_version(t->ssl);
}

const char *tls_cipher(const struct tls *t)
{
    return SSL_get_cipher_name(t->ssl);
}

bool tls_resumed(const struct tls *t)
{
    return SSL_session_reused(t->ssl);
}

struct bytes tls_alpn(const struct tls *t)
{
    const unsigned char *ptr;
    unsigned len;
    SSL_get0_alpn_selected(t->ssl, &ptr, &len);
    return (struct bytes){ (const char *)ptr, len };
}

struct bytes tls_server_name(const struct tls *t)
{
    return bytes_from(SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name));
}

bool tls_covers(const struct tls *t, struct bytes host)
{
    return !t || tls_context_covers(SSL_get_SSL_CTX(t->ssl), tls_server_name(t), host);
}

const char *tls_why(const struct tls *t)
{
    return t->why ? t->why : "";
}

SSL *tls_ssl(const struct tls *t)
{
    return t->ssl;
}

void **tls_client_facts_at(struct tls *t)
{
    return &t->client_facts;
}

#endif
