#include "gate/http3_listen.h"

#if WEIR_HAVE_NGTCP2
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"
#include "core/log.h"
#include "gate/filter.h"
#include "gate/gate.h"
#include "gate/http3_certificate.h"
#include "gate/http3_conf.h"
#include "gate/http3_server.h"
#include "gate/listening.h"
#include "gate/tls_listener.h"
#include "net/quic_tls.h"
#include "net/tls_conf.h"
#include "net/tls_context.h"

#define TICKET_LIFETIME_S (24 * 3600)

/* Over reloads and upgrades. */
struct http3_shared { /* layout 1 */
    _Alignas(64) uint8_t secret[QUIC_SECRET_BYTES];
    uint32_t has_secret;
    struct quic_replay replay;
};
#define SHARED_NAME BYTES("http3 1")

/* Control worker; shared is read by all once it is there. */
static struct http3_shared *shared;
static uint32_t elder_last;
static bool has_elder;

/* ---- the process ---- */

bool http3_is_wanted(const struct gate_conf *conf)
{
    for (size_t i = 0; i < conf->listen.count; i++) {
        if (((const struct listen_conf *)conf->listen.items)[i].http3)
            return true;
    }
    return false;
}

err http3_prepare(struct worker *const *workers, unsigned count, struct diag *reterr)
{
    if (quic_process_ready())
        return OK;
    shared = shared_get(SHARED_NAME, sizeof *shared); /* held for as long as the process lives */
    if (!shared)
        return ERR_MEMORY;
    if (!shared->has_secret) {
        if (getrandom(shared->secret, sizeof shared->secret, 0) != sizeof shared->secret) {
            diag_set(reterr, "http3: no random numbers: %s", strerror(errno));
            return ERR_SYSTEM;
        }
        shared->has_secret = 1;
    }
    quic_process_init(elder_last + 1, shared->secret, workers, count);
    return OK;
}

void http3_elder(uint32_t process, const int *fds, unsigned count)
{
    if (!has_elder) /* the one before this one comes first */
        elder_last = process;
    has_elder = true;
    quic_elder_add(process, fds, count);
}

err http3_each_inlet(void (*fn)(void *arg, uint32_t process, const int *fds, unsigned count), void *arg)
{
    const int *fds;
    unsigned count;
    if (!quic_process_ready()) {
        quic_elders_each(fn, arg);
        return OK;
    }
    err e = quic_inlets(&fds, &count);
    if (e)
        return e;
    fn(arg, quic_process_number(), fds, count);
    quic_elders_each(fn, arg);
    return OK;
}

/* ---- a generation on a worker ---- */

/* RFC 9001 4.6.3, RFC 9114 7.2.4.2: early data relies on the limits of the connection that gave the ticket,
 * so tickets of other limits are of no use. */
static void ticket_key(const struct http3_conf *c, uint64_t head_bytes_max,
                       uint8_t key[QUIC_TICKET_KEY_BYTES])
{
    const uint64_t limits[] = { (uint64_t)c->streams_max, c->stream_window_bytes, c->window_bytes,
                                head_bytes_max };
    quic_process_key("ticket", (struct bytes){ (const char *)limits, sizeof limits }, key,
                     QUIC_TICKET_KEY_BYTES);
}

static err open_tls(const struct listening *l, struct ssl_ctx_st *context, uint64_t head_bytes_max,
                    struct quic_tls **ret_tls, struct diag *reterr)
{
    const struct http3_conf *c = l->conf->http3;
    uint8_t key[QUIC_TICKET_KEY_BYTES];
    struct http3_certificates certificates;
    ticket_key(c, head_bytes_max, key);
    err e = http3_certificates_read(l->conf->tls, context, &certificates, reterr);
    const struct quic_tls_opts opts = {
        .certificates = certificates.at,
        .count = certificates.count,
        .context = context,
        .ticket_key = l->conf->tls->tickets ? key : NULL,
        .ticket_lifetime_s = TICKET_LIFETIME_S,
        .replay = c->early_data ? &shared->replay : NULL,
    };
    if (!e)
        e = quic_tls_open(&opts, ret_tls, reterr);
    http3_certificates_free(&certificates);
    return e;
}

/* Files that change by themselves change the listener's context: the next client gets what there is now. What
 * cannot be used is not, until it changes again. */
static void renew(struct listening *l)
{
    struct quic_tls *fresh;
    struct diag d = DIAG_NONE;
    struct ssl_ctx_st *now = tls_listener_context(l->tls);
    if (now == l->quic_context) {
        tls_context_drop(now);
        return;
    }
    tls_context_drop(l->quic_context);
    l->quic_context = now;
    err e = open_tls(l, now, gate_current()->generation->conf->client->head_bytes_max, &fresh, &d);
    if (e) {
        log_error("http3", "what was read before is kept listen=%s why=\"%s\"", l->text,
                  d.set ? d.text : err_text(e));
        return;
    }
    quic_tls_drop(l->quic_tls);
    l->quic_tls = fresh;
}

static struct listening *find(const struct addr *at)
{
    struct listening *l = listening_find(gate_current(), at, LISTEN_HTTP);
    return l && l->quic_tls ? l : NULL;
}

static bool settings(const struct addr *at, struct quic_settings *ret)
{
    struct listening *l = find(at);
    if (!l)
        return false;
    renew(l);
    const struct http3_conf *c = l->conf->http3;
    *ret = (struct quic_settings){
        .tls = l->quic_tls,
        .connections_max = (uint32_t)c->connections_max,
        .streams_max = (uint32_t)c->streams_max,
        .stream_window_bytes = c->stream_window_bytes,
        .window_bytes = c->window_bytes,
        .idle_timeout_us = c->idle_timeout_ms * 1000,
        .handshake_timeout_us = c->handshake_timeout_ms * 1000,
        .retry_above = c->retry_above == HTTP3_RETRY_OFF ? QUIC_RETRY_NEVER : (uint32_t)c->retry_above,
        .congestion = (enum quic_congestion)c->congestion,
        .gso = c->gso,
    };
    return true;
}

const struct quic_owner http3_owner = { .settings = settings, .app = &http3_app };

err http3_listening_open(struct listening *l, const struct gate_conf *root, struct diag *reterr)
{
    l->quic_context = tls_listener_context(l->tls);
    err e = open_tls(l, l->quic_context, root->client->head_bytes_max, &l->quic_tls, reterr);
    if (e && reterr && !reterr->line) {
        reterr->line = l->conf->mark.line;
        reterr->column = l->conf->mark.column;
    }
    return e;
}

void http3_listening_close(struct listening *l)
{
    quic_tls_drop(l->quic_tls);
    tls_context_drop(l->quic_context);
}

#endif
