/* What ngtcp2 tells and asks, on the loop's stack, and what the application asks of it. */
#if WEIR_HAVE_NGTCP2
#include "net/quic_internal.h"

/* ---- ids ---- */

void quic_new_id(struct quic_conn *c, ngtcp2_cid *ret_cid)
{
    const struct quic_place p = {
        .process = quic_process_number(), .worker = quic_worker_number(), .slot = c->slot, .turn = c->turn
    };
    uint64_t nonce;
    gnutls_rnd(GNUTLS_RND_NONCE, &nonce, sizeof nonce);
    ret_cid->datalen = QUIC_ID_BYTES;
    quic_id_make(quic_id_key(), &p, nonce, ret_cid->data);
}

static int on_new_id(ngtcp2_conn *lib, ngtcp2_cid *cid, uint8_t *token, size_t len, void *user)
{
    (void)lib, (void)len;
    quic_new_id(user, cid);
    quic_reset_token(cid, token);
    return 0;
}

/* An id says where its connection is for as long as that lives: there is no table to take it out of, and the
 * library knows which ids are retired. */
static int on_remove_id(ngtcp2_conn *lib, const ngtcp2_cid *cid, void *user)
{
    (void)lib, (void)cid, (void)user;
    return 0;
}

static void on_rand(uint8_t *out, size_t len, const ngtcp2_rand_ctx *ctx)
{
    (void)ctx;
    gnutls_rnd(GNUTLS_RND_NONCE, out, len);
}

/* ---- the handshake ---- */

/* What the application says is wrong closes the connection with its code. */
static int checked(struct quic_conn *c, uint64_t code)
{
    if (!code)
        return 0;
    ngtcp2_ccerr_set_application_error(&c->error, code, NULL, 0);
    c->failed = true;
    return NGTCP2_ERR_CALLBACK_FAILURE;
}

static int on_tx_key(ngtcp2_conn *lib, ngtcp2_encryption_level level, void *user)
{
    (void)lib;
    struct quic_conn *c = user;
    if (level != NGTCP2_ENCRYPTION_LEVEL_1RTT)
        return 0;
    return checked(c, c->app->open(c, &c->state));
}

static void count_handshake(const struct quic_conn *c)
{
    quic_inc(QUIC_HANDSHAKES);
    if (gnutls_session_is_resumed(c->session))
        quic_inc(QUIC_RESUMED);
    if (gnutls_session_get_flags(c->session) & GNUTLS_SFLAGS_EARLY_DATA)
        quic_inc(QUIC_EARLY_ACCEPTED);
    else if (c->early_seen)
        quic_inc(QUIC_EARLY_REJECTED);
}

static int on_handshaken(ngtcp2_conn *lib, void *user)
{
    struct quic_conn *c = user;
    uint8_t token[NGTCP2_CRYPTO_MAX_REGULAR_TOKENLEN];
    c->phase = QUIC_ESTABLISHED;
    count_handshake(c);
    quic_tls_send_ticket(c->tls, c->session);
    size_t len = quic_new_token(&c->peer, token);
    if (len && ngtcp2_conn_submit_new_token(lib, token, len))
        return NGTCP2_ERR_CALLBACK_FAILURE;
    if (c->state)
        c->app->handshaken(c->state);
    return 0;
}

/* ---- streams ---- */

static int on_data(ngtcp2_conn *lib, uint32_t flags, int64_t stream, uint64_t offset, const uint8_t *data,
                   size_t len, void *user, void *stream_user)
{
    (void)offset, (void)stream_user;
    struct quic_conn *c = user;
    size_t taken = 0;
    if (!c->state)
        return 0;
    uint64_t code = c->app->data(c->state, stream, (struct bytes){ (const char *)data, len },
                                 flags & NGTCP2_STREAM_DATA_FLAG_FIN, &taken);
    if (code)
        return checked(c, code);
    ngtcp2_conn_extend_max_stream_offset(lib, stream, taken);
    ngtcp2_conn_extend_max_offset(lib, taken);
    return 0;
}

static int on_acked(ngtcp2_conn *lib, int64_t stream, uint64_t offset, uint64_t len, void *user,
                    void *stream_user)
{
    (void)lib, (void)offset, (void)stream_user;
    struct quic_conn *c = user;
    return c->state ? checked(c, c->app->acked(c->state, stream, len)) : 0;
}

static int on_closed(ngtcp2_conn *lib, uint32_t flags, int64_t stream, uint64_t code, void *user,
                     void *stream_user)
{
    (void)stream_user;
    struct quic_conn *c = user;
    metric_add(quic_here.cells, QUIC_LOST, ngtcp2_conn_get_stream_loss_count(lib, stream));
    bool has_code = flags & NGTCP2_STREAM_CLOSE_FLAG_APP_ERROR_CODE_SET;
    return c->state ? checked(c, c->app->closed(c->state, stream, has_code, code)) : 0;
}

static int on_reset(ngtcp2_conn *lib, int64_t stream, uint64_t size, uint64_t code, void *user,
                    void *stream_user)
{
    (void)lib, (void)size, (void)stream_user;
    struct quic_conn *c = user;
    c->reset_code = code;
    return c->state ? checked(c, c->app->reset(c->state, stream)) : 0;
}

static int on_stopped(ngtcp2_conn *lib, int64_t stream, uint64_t code, void *user, void *stream_user)
{
    (void)lib, (void)code, (void)stream_user;
    struct quic_conn *c = user;
    return c->state ? checked(c, c->app->stopped(c->state, stream)) : 0;
}

static int on_streams(ngtcp2_conn *lib, uint64_t max, void *user)
{
    (void)lib;
    struct quic_conn *c = user;
    if (c->state)
        c->app->streams(c->state, max);
    return 0;
}

static int on_writable(ngtcp2_conn *lib, int64_t stream, uint64_t max, void *user, void *stream_user)
{
    (void)lib, (void)max, (void)stream_user;
    struct quic_conn *c = user;
    return c->state ? checked(c, c->app->writable(c->state, stream)) : 0;
}

const ngtcp2_callbacks quic_callbacks = {
    .recv_client_initial = ngtcp2_crypto_recv_client_initial_cb,
    .recv_crypto_data = ngtcp2_crypto_recv_crypto_data_cb,
    .handshake_completed = on_handshaken,
    .encrypt = ngtcp2_crypto_encrypt_cb,
    .decrypt = ngtcp2_crypto_decrypt_cb,
    .hp_mask = ngtcp2_crypto_hp_mask_cb,
    .recv_stream_data = on_data,
    .acked_stream_data_offset = on_acked,
    .stream_close = on_closed,
    .rand = on_rand,
    .get_new_connection_id = on_new_id,
    .remove_connection_id = on_remove_id,
    .update_key = ngtcp2_crypto_update_key_cb,
    .stream_reset = on_reset,
    .extend_max_remote_streams_bidi = on_streams,
    .extend_max_stream_data = on_writable,
    .delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb,
    .delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb,
    .get_path_challenge_data = ngtcp2_crypto_get_path_challenge_data_cb,
    .stream_stop_sending = on_stopped,
    .version_negotiation = ngtcp2_crypto_version_negotiation_cb,
    .recv_tx_key = on_tx_key,
};

/* ---- connections that we open ---- */

static int on_own_id(ngtcp2_conn *lib, ngtcp2_cid *cid, uint8_t *token, size_t len, void *user)
{
    (void)lib, (void)user;
    cid->datalen = len;
    gnutls_rnd(GNUTLS_RND_NONCE, cid->data, len);
    gnutls_rnd(GNUTLS_RND_NONCE, token, NGTCP2_STATELESS_RESET_TOKENLEN);
    return 0;
}

static int on_own_handshaken(ngtcp2_conn *lib, void *user)
{
    (void)lib;
    struct quic_conn *c = user;
    c->phase = QUIC_ESTABLISHED;
    if (c->state)
        c->app->handshaken(c->state);
    return 0;
}

const ngtcp2_callbacks quic_client_callbacks = {
    .client_initial = ngtcp2_crypto_client_initial_cb,
    .recv_crypto_data = ngtcp2_crypto_recv_crypto_data_cb,
    .handshake_completed = on_own_handshaken,
    .encrypt = ngtcp2_crypto_encrypt_cb,
    .decrypt = ngtcp2_crypto_decrypt_cb,
    .hp_mask = ngtcp2_crypto_hp_mask_cb,
    .recv_stream_data = on_data,
    .acked_stream_data_offset = on_acked,
    .stream_close = on_closed,
    .recv_retry = ngtcp2_crypto_recv_retry_cb,
    .extend_max_local_streams_bidi = on_streams,
    .rand = on_rand,
    .get_new_connection_id = on_own_id,
    .update_key = ngtcp2_crypto_update_key_cb,
    .stream_reset = on_reset,
    .extend_max_stream_data = on_writable,
    .delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb,
    .delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb,
    .get_path_challenge_data = ngtcp2_crypto_get_path_challenge_data_cb,
    .stream_stop_sending = on_stopped,
    .version_negotiation = ngtcp2_crypto_version_negotiation_cb,
    .recv_tx_key = on_tx_key,
};

/* ---- what the application asks ---- */

void quic_give(struct quic_conn *c, int64_t stream, uint64_t bytes)
{
    if (!c->lib)
        return;
    ngtcp2_conn_extend_max_stream_offset(c->lib, stream, bytes);
    ngtcp2_conn_extend_max_offset(c->lib, bytes);
    quic_want_send(c);
}

err quic_open_uni(struct quic_conn *c, int64_t *ret_stream)
{
    return ngtcp2_conn_open_uni_stream(c->lib, ret_stream, NULL) ? ERR_LIMIT : OK;
}

err quic_open_bidi(struct quic_conn *c, int64_t *ret_stream)
{
    return !c->lib || ngtcp2_conn_open_bidi_stream(c->lib, ret_stream, NULL) ? ERR_LIMIT : OK;
}

uint64_t quic_reset_code(const struct quic_conn *c)
{
    return c->reset_code;
}

uint64_t quic_streams_left(const struct quic_conn *c)
{
    return c->lib ? ngtcp2_conn_get_streams_bidi_left(c->lib) : 0;
}

void quic_stream_reset(struct quic_conn *c, int64_t stream, uint64_t code)
{
    if (!c->lib)
        return;
    (void)!quic_lib_shutdown_stream(c->lib, stream, code);
    quic_want_send(c);
}

void quic_stream_stop(struct quic_conn *c, int64_t stream, uint64_t code)
{
    if (!c->lib)
        return;
    (void)!quic_lib_shutdown_stream_read(c->lib, stream, code);
    quic_want_send(c);
}

void quic_stream_done(struct quic_conn *c, bool bidirectional)
{
    if (!c->lib)
        return;
    if (bidirectional)
        ngtcp2_conn_extend_max_streams_bidi(c->lib, 1);
    else
        ngtcp2_conn_extend_max_streams_uni(c->lib, 1);
    quic_want_send(c);
}

#endif
