/* http3_base: what an HTTP/3 connection is on either side: one nghttp3_conn on a connection of net/quic. Most
 * of what the two tell each other is passed on as it is; gate/http3_server and load/http3 do the rest. */
#pragma once
#include "base/bytes.h"
#include "net/quic.h"
#include "net/quic_lib.h"

#if WEIR_HAVE_NGTCP2

/* The first member of a connection, which is its quic_app's state and nghttp3's user data. That worker only.
 */
struct http3_base {
    struct quic_conn *quic; /* NULL: it is gone */
    nghttp3_conn *lib;      /* NULL as well */
};

/* What both sides say of tables; the rest is the caller's. */
void http3_base_settings(nghttp3_settings *s);
/* Opens and binds our control and QPACK streams; lib is there. ERR_PROTOCOL, or why there are no streams. */
err http3_base_bind(struct http3_base *b, struct quic_conn *quic) CHECK_RESULT;

/* For an error of nghttp3's, below 0, what the connection is closed with; else 0. */
uint64_t http3_code(int64_t e);
static inline bool http3_is_request(int64_t stream)
{
    return (stream & 3) == 0;
}
struct bytes http3_text(nghttp3_rcbuf *b);

/* ---- of struct quic_app ---- */

uint64_t http3_base_data(void *base, int64_t stream, struct bytes data, bool fin, size_t *ret_taken);
uint64_t http3_base_acked(void *base, int64_t stream, uint64_t bytes);
uint64_t http3_base_stopped(void *base, int64_t stream);
uint64_t http3_base_writable(void *base, int64_t stream);
uint64_t http3_base_next(void *base, int64_t *ret_stream, bool *ret_fin, struct quic_vec *vecs,
                         size_t *ret_count);
uint64_t http3_base_sent(void *base, int64_t stream, size_t bytes);
void http3_base_blocked(void *base, int64_t stream);

/* ---- of nghttp3_callbacks ---- */

int http3_base_on_deferred(nghttp3_conn *lib, int64_t id, size_t bytes, void *base, void *stream);
int http3_base_on_stop(nghttp3_conn *lib, int64_t id, uint64_t code, void *base, void *stream);

#endif
