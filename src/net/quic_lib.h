/* quic_lib: the libraries under QUIC and HTTP/3, and all that differs between the versions that weir builds
 * with: ngtcp2 0.12 and nghttp3 0.8 (Debian 12, Ubuntu 24.04), ngtcp2 and nghttp3 from 1.0 on (Debian 13).
 * The rest of the tree is written in the later names and asks for no version. */
#pragma once
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <nghttp3/nghttp3.h>
#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>
#include <ngtcp2/ngtcp2_crypto_gnutls.h>

#include "base/bytes.h"

#if NGTCP2_VERSION_NUM < 0x010000

#define ngtcp2_ccerr ngtcp2_connection_close_error
#define ngtcp2_ccerr_default ngtcp2_connection_close_error_default
#define ngtcp2_ccerr_set_liberr ngtcp2_connection_close_error_set_transport_error_liberr
#define ngtcp2_ccerr_set_tls_alert ngtcp2_connection_close_error_set_transport_error_tls_alert
#define ngtcp2_ccerr_set_transport_error ngtcp2_connection_close_error_set_transport_error
#define ngtcp2_ccerr_set_application_error ngtcp2_connection_close_error_set_application_error
#define ngtcp2_conn_in_closing_period ngtcp2_conn_is_in_closing_period
#define ngtcp2_conn_in_draining_period ngtcp2_conn_is_in_draining_period
#define ngtcp2_encryption_level ngtcp2_crypto_level
#define NGTCP2_ENCRYPTION_LEVEL_1RTT NGTCP2_CRYPTO_LEVEL_APPLICATION

static inline struct bytes quic_lib_token(const ngtcp2_pkt_hd *hd)
{
    return (struct bytes){ (const char *)hd->token.base, hd->token.len };
}

static inline void quic_lib_hd_set_token(ngtcp2_pkt_hd *hd, uint8_t *token, size_t len)
{
    hd->token = (ngtcp2_vec){ token, len };
}

static inline void quic_lib_set_token(ngtcp2_settings *s, const ngtcp2_pkt_hd *hd)
{
    s->token = hd->token;
}

static inline void quic_lib_set_original_dcid(ngtcp2_transport_params *p, const ngtcp2_cid *cid)
{
    p->original_dcid = *cid;
}

static inline int quic_lib_shutdown_stream(ngtcp2_conn *conn, int64_t stream, uint64_t code)
{
    return ngtcp2_conn_shutdown_stream(conn, stream, code);
}

static inline int quic_lib_shutdown_stream_read(ngtcp2_conn *conn, int64_t stream, uint64_t code)
{
    return ngtcp2_conn_shutdown_stream_read(conn, stream, code);
}

static inline int quic_lib_shutdown_stream_write(ngtcp2_conn *conn, int64_t stream, uint64_t code)
{
    return ngtcp2_conn_shutdown_stream_write(conn, stream, code);
}

/* Of the application, why the peer has closed; -1: for another reason. */
static inline int64_t quic_lib_closed_code(ngtcp2_conn *conn)
{
    ngtcp2_ccerr why;
    ngtcp2_conn_get_connection_close_error(conn, &why);
    return why.type == NGTCP2_CONNECTION_CLOSE_ERROR_CODE_TYPE_APPLICATION ? (int64_t)why.error_code : -1;
}

static inline int quic_lib_parse_priority(nghttp3_pri *pri, struct bytes value)
{
    return nghttp3_http_parse_priority(pri, (const uint8_t *)value.ptr, value.len);
}

#define nghttp3_conn_set_server_stream_priority nghttp3_conn_set_stream_priority

#else

static inline struct bytes quic_lib_token(const ngtcp2_pkt_hd *hd)
{
    return (struct bytes){ (const char *)hd->token, hd->tokenlen };
}

static inline void quic_lib_hd_set_token(ngtcp2_pkt_hd *hd, uint8_t *token, size_t len)
{
    hd->token = token;
    hd->tokenlen = len;
}

static inline void quic_lib_set_token(ngtcp2_settings *s, const ngtcp2_pkt_hd *hd)
{
    s->token = hd->token;
    s->tokenlen = hd->tokenlen;
}

static inline void quic_lib_set_original_dcid(ngtcp2_transport_params *p, const ngtcp2_cid *cid)
{
    p->original_dcid = *cid;
    p->original_dcid_present = 1;
}

static inline int quic_lib_shutdown_stream(ngtcp2_conn *conn, int64_t stream, uint64_t code)
{
    return ngtcp2_conn_shutdown_stream(conn, 0, stream, code);
}

static inline int quic_lib_shutdown_stream_read(ngtcp2_conn *conn, int64_t stream, uint64_t code)
{
    return ngtcp2_conn_shutdown_stream_read(conn, 0, stream, code);
}

static inline int quic_lib_shutdown_stream_write(ngtcp2_conn *conn, int64_t stream, uint64_t code)
{
    return ngtcp2_conn_shutdown_stream_write(conn, 0, stream, code);
}

static inline int64_t quic_lib_closed_code(ngtcp2_conn *conn)
{
    const ngtcp2_ccerr *why = ngtcp2_conn_get_ccerr(conn);
    return why->type == NGTCP2_CCERR_TYPE_APPLICATION ? (int64_t)why->error_code : -1;
}

static inline int quic_lib_parse_priority(nghttp3_pri *pri, struct bytes value)
{
    return nghttp3_pri_parse_priority(pri, (const uint8_t *)value.ptr, value.len);
}

#endif

/* What the server says of a stream's priority (RFC 9218 8) goes over what the client said. */
static inline void quic_lib_set_priority(nghttp3_conn *conn, int64_t stream, struct bytes value)
{
    nghttp3_pri pri;
    if (nghttp3_conn_get_stream_priority(conn, &pri, stream) == 0 &&
        quic_lib_parse_priority(&pri, value) == 0)
        (void)!nghttp3_conn_set_server_stream_priority(conn, stream, &pri);
}
