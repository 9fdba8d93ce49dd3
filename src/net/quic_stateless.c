/* Answers that keep nothing: to clients that are new, and to datagrams of connections that are not known. */
#if WEIR_HAVE_NGTCP2
#include "base/hash.h"
#include "net/quic_internal.h"

#define SECOND_US 1000000
/* Answers a second to what is of no connection: beyond that there is silence. Retries are not among them:
 * they are what keeps a flood from costing more. */
#define REPLIES_PER_SECOND 1000
#define RETRY_TOKEN_NS (10 * NGTCP2_SECONDS)
#define NEW_TOKEN_NS (24 * 3600 * NGTCP2_SECONDS)
/* RFC 9000 10.3: shorter than this it could be told from a packet; a reset is shorter than what it answers.
 */
#define RESET_BYTES_MIN 22
#define RESET_BYTES_MAX 43
/* Connections that have come to nothing count as under way for so long. */
#define FAILURES_US SECOND_US

static bool may_reply(void)
{
    struct quic_worker *w = &quic_here;
    uint64_t now_us = worker_now_us();
    if (now_us - w->replies_at_us >= SECOND_US) {
        w->replies_at_us = now_us;
        w->replies = REPLIES_PER_SECOND;
    }
    if (!w->replies) {
        quic_inc(QUIC_DROPPED);
        return false;
    }
    w->replies--;
    return true;
}

static void reply(struct quic_listener *l, const struct quic_datagram *d, const uint8_t *out,
                  ngtcp2_ssize len)
{
    if (len > 0)
        quic_send(l, d->peer, d->local, out, (size_t)len, 0, 0);
}

/* ---- versions ---- */

void quic_stateless_version(struct quic_listener *l, const ngtcp2_version_cid *v,
                            const struct quic_datagram *d)
{
    static const uint32_t versions[] = { 0x1a2a3a4au /* one that nobody has: RFC 9000 15 */,
                                         NGTCP2_PROTO_VER_V1 };
    uint8_t out[512];
    if (d->len < QUIC_INITIAL_BYTES_MIN) { /* RFC 9000 6.1: the answer is not to be larger */
        quic_inc(QUIC_DROPPED);
        return;
    }
    if (!may_reply())
        return;
    quic_inc(QUIC_VERSIONS);
    reply(l, d, out,
          ngtcp2_pkt_write_version_negotiation(out, sizeof out, (uint8_t)random_u64(), v->scid, v->scidlen,
                                               v->dcid, v->dcidlen, versions,
                                               sizeof versions / sizeof *versions));
}

/* ---- resets ---- */

void quic_stateless_reset(struct quic_listener *l, const uint8_t *id, const struct quic_datagram *d)
{
    ngtcp2_cid cid;
    uint8_t token[NGTCP2_STATELESS_RESET_TOKENLEN], noise[RESET_BYTES_MAX], out[RESET_BYTES_MAX + 64];
    if (d->len < RESET_BYTES_MIN) {
        quic_inc(QUIC_DROPPED);
        return;
    }
    if (!may_reply())
        return;
    size_t len = d->len - 1 < RESET_BYTES_MAX ? d->len - 1 : RESET_BYTES_MAX;
    gnutls_rnd(GNUTLS_RND_NONCE, noise, sizeof noise);
    ngtcp2_cid_init(&cid, id, QUIC_ID_BYTES);
    quic_reset_token(&cid, token);
    quic_inc(QUIC_RESETS);
    reply(l, d, out, ngtcp2_pkt_write_stateless_reset(out, sizeof out, token, noise, len - sizeof token));
}

/* ---- new clients ---- */

static void close_at_once(struct quic_listener *l, const ngtcp2_pkt_hd *hd, uint64_t code,
                          const struct quic_datagram *d)
{
    uint8_t out[QUIC_INITIAL_BYTES_MIN];
    if (may_reply())
        reply(l, d, out,
              ngtcp2_crypto_write_connection_close(out, sizeof out, hd->version, &hd->scid, &hd->dcid, code,
                                                   NULL, 0));
}

void quic_stateless_retry(struct quic_listener *l, const ngtcp2_pkt_hd *hd, const struct quic_datagram *d)
{
    uint8_t token[NGTCP2_CRYPTO_MAX_RETRY_TOKENLEN], out[QUIC_INITIAL_BYTES_MIN];
    ngtcp2_cid scid = { .datalen = QUIC_ID_BYTES };
    gnutls_rnd(GNUTLS_RND_NONCE, scid.data, scid.datalen);
    ngtcp2_ssize len =
        ngtcp2_crypto_generate_retry_token(token, quic_token_key(), 32, hd->version, &d->peer->sock.any,
                                           d->peer->len, &scid, &hd->dcid, quic_wall_ns());
    if (len < 0)
        return;
    quic_inc(QUIC_RETRIES);
    reply(l, d, out,
          ngtcp2_crypto_write_retry(out, sizeof out, hd->version, &hd->scid, &scid, &hd->dcid, token,
                                    (size_t)len));
}

enum token { TOKEN_NONE, TOKEN_RETRY, TOKEN_NEW, TOKEN_WRONG };

/* *ret_original: of TOKEN_RETRY, the id before the Retry. */
static enum token check_token(const ngtcp2_pkt_hd *hd, const struct quic_datagram *d,
                              ngtcp2_cid *ret_original)
{
    const struct bytes t = quic_lib_token(hd);
    const uint8_t *at = (const uint8_t *)t.ptr;
    const struct addr *peer = d->peer;
    if (t.len == 0)
        return TOKEN_NONE;
    if (*at == NGTCP2_CRYPTO_TOKEN_MAGIC_RETRY)
        return ngtcp2_crypto_verify_retry_token(ret_original, at, t.len, quic_token_key(), 32, hd->version,
                                                &peer->sock.any, peer->len, &hd->dcid, RETRY_TOKEN_NS,
                                                quic_wall_ns()) == 0
                   ? TOKEN_RETRY
                   : TOKEN_WRONG;
    /* RFC 9000 8.1.3: one of NEW_TOKEN that is no good is as if there were none */
    return *at == NGTCP2_CRYPTO_TOKEN_MAGIC_REGULAR &&
                   ngtcp2_crypto_verify_regular_token(at, t.len, quic_token_key(), 32, &peer->sock.any,
                                                      peer->len, NEW_TOKEN_NS, quic_wall_ns()) == 0
               ? TOKEN_NEW
               : TOKEN_NONE;
}

size_t quic_new_token(const struct addr *peer, uint8_t *ret_token)
{
    ngtcp2_ssize len = ngtcp2_crypto_generate_regular_token(ret_token, quic_token_key(), 32, &peer->sock.any,
                                                            peer->len, quic_wall_ns());
    return len > 0 ? (size_t)len : 0;
}

/* Handshakes of clients that may be anybody: those under way, and those that a moment ago came to nothing. */
static uint32_t load(void)
{
    struct quic_worker *w = &quic_here;
    if (worker_now_us() - w->failures_at_us >= FAILURES_US)
        w->failures = 0;
    return w->unvalidated + w->failures;
}

void quic_count_failure(void)
{
    if (load() == quic_here.unvalidated) /* the first of a new second */
        quic_here.failures_at_us = worker_now_us();
    quic_here.failures++;
}

void quic_stateless_initial(struct quic_listener *l, const struct quic_datagram *d)
{
    ngtcp2_pkt_hd hd;
    ngtcp2_cid original;
    struct quic_settings s;
    int e = ngtcp2_accept(&hd, d->data, d->len);
    if (e) { /* 0-RTT before its Initial among them: that comes again */
        quic_inc(QUIC_DROPPED);
        return;
    }
    if (l->stopped || !l->owner->settings(&l->at, &s) || quic_here.count >= s.connections_max) {
        quic_inc(QUIC_REFUSED);
        close_at_once(l, &hd, NGTCP2_CONNECTION_REFUSED, d);
        return;
    }
    enum token token = check_token(&hd, d, &original);
    if (token == TOKEN_WRONG) {
        quic_inc(QUIC_TOKENS_INVALID);
        close_at_once(l, &hd, NGTCP2_INVALID_TOKEN, d);
        return;
    }
    if (token == TOKEN_NONE && load() >= s.retry_above) {
        quic_stateless_retry(l, &hd, d);
        return;
    }
    quic_conn_accept(l, &s, &hd, token == TOKEN_RETRY ? &original : NULL, token != TOKEN_NONE, d);
}

#endif
