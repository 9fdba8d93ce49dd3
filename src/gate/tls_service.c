#include "gate/tls_service.h"

#include "gate/gate_conf.h"
#include "net/tls_conf.h"

#if WEIR_HAVE_OPENSSL

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "core/log.h"
#include "gate/tls_counts.h"
#include "net/tls.h"
#include "net/tls_context.h"

#define NAME_BYTES_MAX 255

struct tls_service {
    const struct tls_service_conf *conf; /* for tls_service_look, as long as its generation lives */
    uint64_t stamp;                      /* of the files that the context was made of */
    _Atomic uint32_t holds;
    uint64_t number;
    struct ssl_ctx_st *context;
    /* Protects context, which is replaced when a certificate's file has changed; a handshake takes hold of
     * it. Nothing is waited for with it held. */
    pthread_mutex_t mutex;
    char name[NAME_BYTES_MAX + 1];        /* of the service, for the log */
    char server_name[NAME_BYTES_MAX + 1]; /* empty: each server's own */
};

struct tls_client {
    struct tls_service *service;
    struct tls_keeper keeper;
    struct tls_counts counts;
    char name[NAME_BYTES_MAX + 1]; /* whom the server has to be; empty: whoever it is */
};

err tls_service_open(const struct service_conf *conf, struct tls_service **ret_service, struct diag *reterr)
{
    struct tls_service *s = mem_get(sizeof *s);
    if (!s)
        return ERR_MEMORY;
    s->conf = conf->tls;
    s->stamp = tls_service_files_stamp(conf->tls);
    err e = tls_service_context(conf->tls, &s->context, reterr);
    if (e) {
        mem_free(s);
        return e;
    }
    atomic_init(&s->holds, 1);
    s->number = tls_service_conf_number(conf->tls);
    pthread_mutex_init(&s->mutex, NULL);
    snprintf(s->name, sizeof s->name, "%.*s", BYTES_ARG(conf->name));
    snprintf(s->server_name, sizeof s->server_name, "%.*s", BYTES_ARG(conf->tls->server_name));
    *ret_service = s;
    return OK;
}

void tls_service_hold(struct tls_service *s)
{
    atomic_fetch_add(&s->holds, 1);
}

void tls_service_drop(struct tls_service *s)
{
    if (!s || atomic_fetch_sub(&s->holds, 1) != 1)
        return;
    tls_context_drop(s->context);
    pthread_mutex_destroy(&s->mutex);
    mem_free(s);
}

uint64_t tls_service_number(const struct tls_service *s)
{
    return s->number;
}

enum tls_look tls_service_look(struct tls_service *s)
{
    struct diag d = DIAG_NONE;
    struct ssl_ctx_st *fresh;
    uint64_t stamp = tls_service_files_stamp(s->conf);
    if (stamp == s->stamp)
        return TLS_LOOK_SAME;
    s->stamp = stamp;
    err e = tls_service_context(s->conf, &fresh, &d);
    if (e) {
        log_error("tls", "what was read before is kept service=%s why=\"%s\"", s->name,
                  d.set ? d.text : err_text(e));
        return TLS_LOOK_BAD;
    }
    pthread_mutex_lock(&s->mutex);
    struct ssl_ctx_st *old = s->context;
    s->context = fresh;
    pthread_mutex_unlock(&s->mutex);
    tls_context_drop(old);
    log_info("tls", "files have changed and were read again service=%s", s->name);
    return TLS_LOOK_FRESH;
}

static struct ssl_ctx_st *context_get(struct tls_service *s)
{
    pthread_mutex_lock(&s->mutex);
    struct ssl_ctx_st *c = s->context;
    tls_context_hold(c);
    pthread_mutex_unlock(&s->mutex);
    return c;
}

/* ---- on a worker ---- */

/* Of "shop.example:443", "10.0.0.1:443", "[::1]:443": what stands before the port. */
static struct bytes host_of(struct bytes address)
{
    size_t end = address.len;
    while (end > 0 && address.ptr[end - 1] != ':')
        end--;
    struct bytes host = { address.ptr, end ? end - 1 : 0 };
    if (host.len > 2 && host.ptr[0] == '[')
        host = (struct bytes){ host.ptr + 1, host.len - 2 };
    return bytes_starts(address, BYTES("unix:")) ? BYTES_NONE : host;
}

struct tls_client *tls_client_open(struct tls_service *s, const struct server_conf *server)
{
    struct tls_client *c = mem_get(sizeof *c);
    if (!c)
        return NULL;
    struct bytes name = s->server_name[0] ? bytes_from(s->server_name) : host_of(server->address);
    snprintf(c->name, sizeof c->name, "%.*s", BYTES_ARG(name));
    tls_service_hold(s);
    c->service = s;
    tls_counts_open(&c->counts, bytes_from(s->name), true);
    return c;
}

void tls_client_use(struct tls_client *c, struct tls_service *s)
{
    tls_service_hold(s);
    c->counts.where = bytes_from(s->name); /* the same text, where it lives on */
    tls_service_drop(c->service);
    c->service = s;
}

void tls_client_close(struct tls_client *c)
{
    if (!c)
        return;
    tls_keeper_empty(&c->keeper);
    tls_counts_close(&c->counts);
    tls_service_drop(c->service);
    mem_free(c);
}

err tls_client_shake(struct tls_client *c, struct io *io, bool keep, uint64_t deadline_us)
{
    static struct log_limit limit = LOG_LIMIT(1);
    struct ssl_ctx_st *context = context_get(c->service);
    err e = tls_connect(io, context, &c->counts.watcher, c->name, keep ? &c->keeper : NULL, deadline_us);
    tls_context_drop(context);
    if (e && e != ERR_CANCELLED)
        log_limited(&limit, LOG_WARN, "tls", "no handshake with a server service=%s server=%s why=\"%s\"",
                    c->service->name, c->name, *tls_why(tls_of(io)) ? tls_why(tls_of(io)) : err_text(e));
    return e;
}

#else

err tls_service_open(const struct service_conf *conf, struct tls_service **ret_service, struct diag *reterr)
{
    (void)conf;
    (void)ret_service;
    diag_set(reterr, "tls: this weir was built without OpenSSL");
    return ERR_CONF;
}

void tls_service_hold(struct tls_service *s)
{
    (void)s;
}

void tls_service_drop(struct tls_service *s)
{
    (void)s;
}

enum tls_look tls_service_look(struct tls_service *s)
{
    (void)s;
    return TLS_LOOK_SAME;
}

uint64_t tls_service_number(const struct tls_service *s)
{
    (void)s;
    return 0;
}

struct tls_client *tls_client_open(struct tls_service *s, const struct server_conf *server)
{
    (void)s;
    (void)server;
    return NULL;
}

void tls_client_use(struct tls_client *c, struct tls_service *s)
{
    (void)c;
    (void)s;
}

void tls_client_close(struct tls_client *c)
{
    (void)c;
}

err tls_client_shake(struct tls_client *c, struct io *io, bool keep, uint64_t deadline_us)
{
    (void)c;
    (void)io;
    (void)keep;
    (void)deadline_us;
    return ERR_UNSUPPORTED;
}

#endif
