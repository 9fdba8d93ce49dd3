/* quic: QUIC connections of clients (RFC 9000), by ngtcp2, on the UDP sockets that this worker reads.
 *
 *   socket ─▶ datagrams ─▶ by connection id ─▶ struct quic_conn ─▶ quic_app: stream data, ends,
 * acknowledgements │                                  ▲   │ ├─ another worker's: mail          │   └▶ end of
 * the turn: packets of all that have something to └─ another process's: its inlet    │      say, many in one
 * send (UDP_SEGMENT) timer
 *
 * Everything of the library runs on the loop's stack: TLS wants a deep one. Fibers only ask (quic_want_send,
 * ...). A datagram that is of nobody costs a look-up and at most a short answer, and those are bounded.
 *
 * All calls: on the listener's worker, unless said. */
#pragma once
#include "base/addr.h"
#include "base/arena.h"
#include "base/diag.h"
#include "base/err.h"
#include "net/quic_id.h"
#include "net/tls_fact.h"

struct metric_cells;
struct quic_app;
struct quic_conn;
struct quic_listener;
struct quic_tls;
struct worker;

/* ---- the process: once, on the control worker, before the first listener ---- */

/* What all processes that follow one another have in common: the keys of ids, tokens, resets and tickets. */
#define QUIC_SECRET_BYTES 32

void quic_process_init(uint32_t process, const uint8_t secret[QUIC_SECRET_BYTES],
                       struct worker *const *workers, unsigned count);
bool quic_process_ready(void);
uint32_t quic_process_number(void);
/* A key of size bytes for a purpose, worked out of the secret. */
void quic_process_key(const char *purpose, struct bytes context, uint8_t *ret_key, unsigned size);

/* A process before this one, that still has connections: its datagrams go into its inlets, one a worker,
 * whose descriptors are taken over. */
void quic_elder_add(uint32_t process, const int *fds, unsigned count);
void quic_elders_each(void (*fn)(void *arg, uint32_t process, const int *fds, unsigned count), void *arg);
/* The ends of this process's own inlets that the next process writes to; made when first asked for. From a
 * fiber of the control worker. *ret_fds stays. */
err quic_inlets(const int **ret_fds, unsigned *ret_count) CHECK_RESULT;

/* ---- listeners ---- */

enum quic_congestion { QUIC_CUBIC, QUIC_RENO, QUIC_BBR };

#define QUIC_RETRY_NEVER UINT32_MAX

/* What a new connection gets. */
struct quic_settings {
    struct quic_tls *tls;
    uint32_t connections_max;                   /* of this worker */
    uint32_t streams_max;                       /* requests at a time, of one connection */
    uint64_t stream_window_bytes, window_bytes; /* received and not yet taken */
    uint64_t idle_timeout_us, handshake_timeout_us;
    uint32_t retry_above; /* so many handshakes under way: further clients have to show their address first */
    enum quic_congestion congestion;
    bool gso;
};

struct quic_owner {
    /* The settings in force at that address. False: nobody listens there any more: new clients are refused.
     */
    bool (*settings)(const struct addr *at, struct quic_settings *ret_settings);
    const struct quic_app *app;
    void (*on_end)(struct quic_listener *l); /* stopped and without connections: l and its socket are gone */
};

/* Takes over the socket on success. at: as configured. owner: static. */
err quic_listener_start(int fd, const struct addr *at, const struct quic_owner *owner,
                        struct quic_listener **ret_listener) CHECK_RESULT;
/* No new connections. reading: what comes for those that there are is still read here; else another process
 * reads the socket and passes it on. */
void quic_listener_stop(struct quic_listener *l, bool reading);
/* Connections of this worker, those included that wait for the last packets of their peers. */
uint32_t quic_count(void);
/* All of them end now, with a CONNECTION_CLOSE, and nothing is waited for. */
void quic_abort(void);

/* ---- what speaks over a connection ---- */

struct quic_vec {
    const char *ptr;
    size_t len;
};
/* With more of them ngtcp2 0.12 takes memory that it loses when fewer fit a packet. */
#define QUIC_VECS_MAX 3

/* Functions that return a uint64_t: 0, or the application's error code that the connection is closed with. On
 * the loop's stack, within the library: they may call quic_stream_*, quic_give and quic_want_send, and may
 * wake and spawn fibers. */
struct quic_app {
    /* Streams can be opened: at the handshake's first flight. */
    uint64_t (*open)(struct quic_conn *c, void **ret_state);
    /* The client has shown that it is there now: what it sent is no replay. */
    void (*handshaken)(void *state);
    /* Bytes of a stream, in order. *ret_taken: how many of them are done with; quic_give says it of the
     * others. */
    uint64_t (*data)(void *state, int64_t stream, struct bytes data, bool fin, size_t *ret_taken);
    uint64_t (*acked)(void *state, int64_t stream, uint64_t bytes);
    uint64_t (*closed)(void *state, int64_t stream, bool has_code, uint64_t code);
    /* The client takes back what it sends (RESET_STREAM). */
    uint64_t (*reset)(void *state, int64_t stream);
    /* Nothing more of it is read: quic_stream_stop has taken effect. */
    uint64_t (*stopped)(void *state, int64_t stream);
    /* The client may open so many requests in all. */
    void (*streams)(void *state, uint64_t max);
    /* The stream's window has grown. */
    uint64_t (*writable)(void *state, int64_t stream);
    /* What is to be sent next; *ret_stream -1: nothing. *ret_count pieces, that stay where they are until
     * acked. */
    uint64_t (*next)(void *state, int64_t *ret_stream, bool *ret_fin, struct quic_vec *vecs,
                     size_t *ret_count);
    uint64_t (*sent)(void *state, int64_t stream, size_t bytes);
    /* The stream's window is used up, or the client wants no more of it (STOP_SENDING): next is not to name
     * it again (until writable). */
    void (*blocked)(void *state, int64_t stream);
    void (*shut)(void *state, int64_t stream);
    /* The connection is gone; state is the application's to free. Not within the library. */
    void (*end)(void *state);
};

/* At the end of this turn next is asked. */
void quic_want_send(struct quic_conn *c);
/* bytes of a stream were taken: the client may send as many more. */
void quic_give(struct quic_conn *c, int64_t stream, uint64_t bytes);
/* An own unidirectional stream. ERR_LIMIT: the client allows no more. */
err quic_open_uni(struct quic_conn *c, int64_t *ret_stream) CHECK_RESULT;
/* Of a connection that we have opened: an own request's. ERR_LIMIT: the server allows no more now. */
err quic_open_bidi(struct quic_conn *c, int64_t *ret_stream) CHECK_RESULT;
uint64_t quic_streams_left(const struct quic_conn *c);
/* Within quic_app.end: ERR_CLOSED: by the peer; ERR_TIMEOUT: nothing was heard for as long as was agreed on;
 * ERR_REFUSED: nobody is there; ERR_PROTOCOL: all else, a handshake that failed among it. */
err quic_why(const struct quic_conn *c);
/* Within quic_app.reset: the code that the peer has said. */
uint64_t quic_reset_code(const struct quic_conn *c);
/* Both directions, with a code; or only what comes in. */
void quic_stream_reset(struct quic_conn *c, int64_t stream, uint64_t code);
void quic_stream_stop(struct quic_conn *c, int64_t stream, uint64_t code);
/* A client's stream is over in all respects: it may open another one. */
void quic_stream_done(struct quic_conn *c, bool bidirectional);
/* CONNECTION_CLOSE with the application's code, at the end of this turn. */
void quic_close(struct quic_conn *c, uint64_t code);
bool quic_is_handshaken(const struct quic_conn *c);
const struct addr *quic_peer(const struct quic_conn *c);
/* What is known of its TLS; a copy in the arena, or a constant. Empty: not known, or no room. */
struct bytes quic_fact(const struct quic_conn *c, enum tls_fact fact, struct arena *a);
/* See tls_context_covers. */
bool quic_covers(const struct quic_conn *c, struct bytes host);
const struct quic_listener *quic_listener_of(const struct quic_conn *c);
/* At a time, as it was told when it began. */
uint32_t quic_streams_max(const struct quic_conn *c);
