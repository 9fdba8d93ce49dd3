/* quic_internal: what the files of net/quic share. */
#pragma once
#include <stdatomic.h>

#include "base/list.h"
#include "base/pool.h"
#include "core/metrics.h"
#include "core/timer.h"
#include "core/worker.h"
#include "net/quic.h"
#include "net/quic_lib.h"
#include "net/quic_metrics.h"
#include "net/quic_past.h"
#include "net/quic_tls.h"
#include "net/udp.h"

#define QUIC_TAG "quic"
#define QUIC_PACKET_BYTES_MAX 1500
#define QUIC_INITIAL_BYTES_MIN 1200 /* RFC 9000 14.1 */

struct quic_listener {
    struct link link;  /* of quic_here.listeners */
    struct addr at;    /* as configured */
    struct addr bound; /* with its port */
    int fd;
    const struct quic_owner *owner;
    bool stopped, reading, has_reader;
    bool client;            /* the socket of one connection of ours: all that comes is its own */
    bool refused;           /* nobody is there, the kernel says */
    struct quic_conn *only; /* that one; NULL: it is gone */
    struct fiber *reader;
    struct turn_hook read;
    uint32_t conns;
};

enum quic_phase {
    QUIC_HANDSHAKE,
    QUIC_ESTABLISHED,
    QUIC_CLOSING,  /* we have closed it: the packet that says so is sent again to who still speaks */
    QUIC_DRAINING, /* the peer has: silence */
};

struct quic_conn {
    struct link link; /* of quic_here.conns */
    ngtcp2_conn *lib; /* NULL from QUIC_CLOSING on */
    gnutls_session_t session;
    struct quic_tls *tls;
    ngtcp2_crypto_conn_ref ref;
    struct quic_listener *listener;
    const struct quic_app *app;
    void *state; /* of the application; NULL: it has not begun */
    struct quic_conn *next_dirty;
    struct quic_conn *next_initial; /* in its bucket */
    struct timer timer;
    uint64_t timer_us;
    struct addr peer;
    struct udp_local local;
    uint32_t slot, turn;
    enum quic_phase phase;
    bool dirty, gso;
    bool validated; /* its address, by a token or a handshake */
    bool early_seen;
    bool failed;  /* error says how it is to be closed */
    bool closing; /* when what waits has been sent */
    bool client;  /* we have opened it */
    uint8_t why;  /* err: of quic_why */
    uint64_t reset_code;
    uint32_t streams_max;
    ngtcp2_ccerr error;
    ngtcp2_cid initial; /* what the client called it first */
    uint64_t initial_hash;
    char *last; /* of QUIC_CLOSING: the packet */
    uint32_t last_bytes, last_seen, last_at;
    struct quic_past past;
};

struct quic_slot {
    struct quic_conn *conn; /* NULL: free */
    uint32_t turn;
    uint32_t next_free;
};

/* One datagram, wherever it came from. */
struct quic_datagram {
    const struct addr *at; /* of the listener that it came to */
    const struct addr *peer;
    const struct udp_local *local;
    const uint8_t *data;
    size_t len;
    uint8_t ecn;    /* as in struct udp_message */
    bool forwarded; /* by another worker or process: not again */
};

/* What this worker has. */
struct quic_worker {
    bool ready;
    struct link listeners, conns;
    struct pool pool;     /* of conns */
    uint32_t count;       /* of conns */
    uint32_t unvalidated; /* of those, clients that may not be where they say */
    uint32_t failures;    /* of such within failures_at, that came to nothing */
    uint64_t failures_at_us;
    uint32_t replies; /* left of this second's to nobody's datagrams */
    uint64_t replies_at_us;
    struct quic_slot *slots;
    uint32_t slots_count, free_slot; /* UINT32_MAX: none */
    struct quic_conn **initials;
    struct quic_conn *dirty, **dirty_end;
    struct turn_hook send, end;
    struct udp_batch batch;
    struct quic_listener *batch_of; /* whose it is; NULL: all of it has been looked at */
    unsigned batch_at;              /* the next one */
    char *out;                      /* UDP_MESSAGE_BYTES for the packets of a connection */
    struct metric_instance *metrics;
    struct metric_cells *cells;
};
extern _Thread_local struct quic_worker quic_here;

static inline ngtcp2_tstamp quic_now(void)
{
    return worker_now_us() * 1000;
}

/* Of tokens, which the next process reads too. */
static inline ngtcp2_tstamp quic_wall_ns(void)
{
    return worker_wall_us() * 1000;
}

static inline void quic_inc(enum quic_metric m)
{
    metric_inc(quic_here.cells, m);
}

static inline ngtcp2_addr quic_lib_addr(const struct addr *a)
{
    return (ngtcp2_addr){ (ngtcp2_sockaddr *)(uintptr_t)&a->sock.any, a->len };
}

/* ---- quic.c ---- */

/* What this worker needs, once. ERR_MEMORY. */
err quic_prepare(void) CHECK_RESULT;
/* A place among the worker's connections; c is otherwise zero but for what says who it is. */
void quic_conn_add(struct quic_conn *c, struct quic_listener *l);
struct quic_listener *quic_listener_at(const struct addr *at);
void quic_listener_release(struct quic_listener *l);
/* The worker's place for a new connection. */
void quic_slot_take(struct quic_conn *c);
void quic_slot_give(struct quic_conn *c);
void quic_initials_add(struct quic_conn *c);
void quic_initials_remove(struct quic_conn *c);
struct quic_conn *quic_initials_find(const uint8_t *id, size_t len);
void quic_receive(const struct quic_datagram *d);
/* The worker's address that a datagram came to, with the port. */
struct addr quic_local_addr(const struct quic_listener *l, const struct udp_local *local);
void quic_send(struct quic_listener *l, const struct addr *to, const struct udp_local *from, const void *data,
               size_t len, uint32_t segment, uint8_t ecn);

/* ---- quic_conn.c ---- */

/* A client's first datagram. retried: its id before a Retry, NULL: there was none. */
void quic_conn_accept(struct quic_listener *l, const struct quic_settings *s, const ngtcp2_pkt_hd *hd,
                      const ngtcp2_cid *retried, bool validated, const struct quic_datagram *d);
void quic_conn_read(struct quic_conn *c, const struct quic_datagram *d);
void quic_conn_write(struct quic_conn *c);
void quic_conn_free(struct quic_conn *c);
/* Without a word. */
void quic_conn_lost(struct quic_conn *c, err why);

/* ---- quic_callbacks.c ---- */

extern const ngtcp2_callbacks quic_callbacks;
extern const ngtcp2_callbacks quic_client_callbacks;
void quic_new_id(struct quic_conn *c, ngtcp2_cid *ret_cid);

/* ---- quic_stateless.c ---- */

/* New clients: Retry, refusals, or a connection. */
void quic_stateless_initial(struct quic_listener *l, const struct quic_datagram *d);
void quic_stateless_version(struct quic_listener *l, const ngtcp2_version_cid *v,
                            const struct quic_datagram *d);
void quic_stateless_reset(struct quic_listener *l, const uint8_t *id, const struct quic_datagram *d);
void quic_stateless_retry(struct quic_listener *l, const ngtcp2_pkt_hd *hd, const struct quic_datagram *d);
/* For a NEW_TOKEN; returns its length. */
size_t quic_new_token(const struct addr *peer, uint8_t *ret_token);
/* A client that had not shown its address has come to nothing. */
void quic_count_failure(void);

/* ---- quic_route.c ---- */

/* Passes it on to where it belongs; false: it belongs here, or to nobody. */
bool quic_route(const struct quic_place *p, const struct quic_datagram *d);
/* A process that takes over, or has, while this one still looks. */
bool quic_is_of_successor(const struct quic_place *p);
void quic_reset_token(const ngtcp2_cid *cid, uint8_t *ret_token);
struct hash_key quic_id_key(void);
const uint8_t *quic_token_key(void);
uint32_t quic_worker_number(void);

/* ---- quic_tls.c ---- */

err quic_tls_session(struct quic_tls *t, ngtcp2_crypto_conn_ref *ref,
                     gnutls_session_t *ret_session) CHECK_RESULT;
void quic_tls_send_ticket(const struct quic_tls *t, gnutls_session_t session);
