/* One connection: how it begins, reads, writes and ends. On the loop's stack. */
#if WEIR_HAVE_NGTCP2
#include "base/mem.h"
#include "core/log.h"
#include "net/quic_internal.h"

#define IDS_OF_PEER_MAX 7  /* ids that we keep of it: for paths that it moves to */
#define STREAMS_UNI_MAX 16 /* RFC 9114 6.2: control, two of QPACK, and some of kinds that we do not know */
#define STREAM_UNI_WINDOW_BYTES (64 * 1024)
#define CLOSING_PTOS 3              /* RFC 9000 10.2 */
#define BYTES_PER_TURN (128 * 1024) /* of one connection, before others have theirs */
#define VALIDATION_PTO_US 1100000   /* RFC 9002 6.2.2: of 333 ms a round trip, with some to spare */
#define WAY_BACK_IS_DEADLY (NGTCP2_VERSION_NUM < 0x010b00) /* quic_past.h */
#define PACKETS_PER_SEND 40 /* UDP_SEGMENT's bound is 64 in one send of at most 64 KiB */

/* ---- the end ---- */

static void forget_validation(struct quic_conn *c)
{
    if (c->validated)
        return;
    c->validated = true;
    quic_here.unvalidated--;
}

/* The library's part; what is left is a place in the table. */
static void let_go(struct quic_conn *c)
{
    if (!c->lib)
        return;
    if (!c->validated)
        quic_count_failure();
    forget_validation(c);
    if (!ngtcp2_conn_get_handshake_completed(c->lib))
        quic_inc(QUIC_HANDSHAKE_FAILURES);
    ngtcp2_conn_del(c->lib);
    gnutls_deinit(c->session);
    c->lib = NULL;
    quic_tls_drop(c->tls);
    c->tls = NULL;
    void *state = c->state;
    c->state = NULL;
    if (state)
        c->app->end(state);
}

void quic_conn_free(struct quic_conn *c)
{
    struct quic_listener *l = c->listener;
    let_go(c);
    l->only = NULL;
    if (c->dirty) {
        struct quic_conn **at = &quic_here.dirty;
        while (*at && *at != c)
            at = &(*at)->next_dirty;
        if (*at) {
            *at = c->next_dirty;
            if (quic_here.dirty_end == &c->next_dirty)
                quic_here.dirty_end = at;
        }
    }
    timer_stop(&c->timer);
    quic_initials_remove(c);
    quic_slot_give(c);
    list_remove(&c->link);
    mem_free(c->last);
    quic_here.count--;
    metric_sub(quic_here.cells, QUIC_OPEN, 1);
    pool_give(&quic_here.pool, c);
    l->conns--;
    quic_listener_release(l);
}

/* No word of it is sent. */
void quic_conn_lost(struct quic_conn *c, err why)
{
    c->why = (uint8_t)why;
    quic_conn_free(c);
}

err quic_why(const struct quic_conn *c)
{
    return (err)c->why;
}

/* It keeps its place for a while, so that what is still on its way is known for what it is. */
static void rest(struct quic_conn *c, enum quic_phase phase, ngtcp2_duration pto)
{
    if (c->client) {
        quic_conn_lost(c, ERR_CLOSED);
        return;
    }
    c->phase = phase;
    let_go(c);
    timer_set(&c->timer, worker_now_us() + CLOSING_PTOS * pto / 1000);
}

static void close_now(struct quic_conn *c)
{
    uint8_t out[QUIC_PACKET_BYTES_MAX];
    ngtcp2_path_storage path;
    ngtcp2_path_storage_zero(&path);
    ngtcp2_duration pto = ngtcp2_conn_get_pto(c->lib);
    ngtcp2_ssize n =
        ngtcp2_conn_write_connection_close(c->lib, &path.path, NULL, out, sizeof out, &c->error, quic_now());
    if (n <= 0) {
        quic_conn_free(c);
        return;
    }
    quic_send(c->listener, &c->peer, &c->local, out, (size_t)n, 0, 0);
    if (c->client) { /* its socket goes with it: what still comes is answered by the kernel */
        quic_conn_free(c);
        return;
    }
    c->last = mem_must_get((size_t)n);
    c->last_bytes = (uint32_t)n;
    c->last_at = 1;
    memcpy(c->last, out, (size_t)n);
    rest(c, QUIC_CLOSING, pto);
}

static void fail(struct quic_conn *c, int e)
{
    if (!c->failed && e == NGTCP2_ERR_CRYPTO)
        ngtcp2_ccerr_set_tls_alert(&c->error, ngtcp2_conn_get_tls_alert(c->lib), NULL, 0);
    else if (!c->failed)
        ngtcp2_ccerr_set_liberr(&c->error, e, NULL, 0);
    c->failed = true;
    close_now(c);
}

void quic_close(struct quic_conn *c, uint64_t code)
{
    if (c->failed || !c->lib)
        return;
    ngtcp2_ccerr_set_application_error(&c->error, code, NULL, 0);
    c->failed = c->closing = true;
    quic_want_send(c);
}

/* ---- timers ---- */

static void set_timer(struct quic_conn *c)
{
    ngtcp2_tstamp expiry = ngtcp2_conn_get_expiry(c->lib);
    uint64_t due_us = expiry == UINT64_MAX ? UINT64_MAX : expiry / 1000 + 1;
    if (due_us == c->timer_us && timer_is_set(&c->timer))
        return;
    c->timer_us = due_us;
    if (due_us == UINT64_MAX)
        timer_stop(&c->timer);
    else
        timer_set(&c->timer, due_us);
}

static void on_timer(struct timer *t)
{
    struct quic_conn *c = container_of(t, struct quic_conn, timer);
    if (!c->lib) {
        quic_conn_free(c);
        return;
    }
    int e = ngtcp2_conn_handle_expiry(c->lib, quic_now());
    if (e == NGTCP2_ERR_IDLE_CLOSE || e == NGTCP2_ERR_HANDSHAKE_TIMEOUT)
        quic_conn_lost(c, ERR_TIMEOUT); /* RFC 9000 10.1: without a word */
    else if (e)
        fail(c, e);
    else
        quic_want_send(c);
}

/* ---- the beginning ---- */

static ngtcp2_conn *get_conn(ngtcp2_crypto_conn_ref *ref)
{
    return ((struct quic_conn *)ref->user_data)->lib;
}

static void set_params(ngtcp2_transport_params *p, const struct quic_settings *s, const ngtcp2_pkt_hd *hd,
                       const ngtcp2_cid *retried, const ngtcp2_cid *scid)
{
    ngtcp2_transport_params_default(p);
    p->initial_max_stream_data_bidi_remote = s->stream_window_bytes;
    p->initial_max_stream_data_uni = STREAM_UNI_WINDOW_BYTES;
    p->initial_max_data = s->window_bytes;
    p->initial_max_streams_bidi = s->streams_max;
    p->initial_max_streams_uni = STREAMS_UNI_MAX;
    p->max_idle_timeout = s->idle_timeout_us * 1000;
    p->max_udp_payload_size = QUIC_PACKET_BYTES_MAX;
    p->active_connection_id_limit = IDS_OF_PEER_MAX;
    p->grease_quic_bit = 1;
    quic_lib_set_original_dcid(p, retried ? retried : &hd->dcid);
    if (retried) {
        p->retry_scid = hd->dcid;
        p->retry_scid_present = 1;
    }
    p->stateless_reset_token_present = 1;
    quic_reset_token(scid, p->stateless_reset_token);
}

/* validated: its token is good. The library sends more than three times what came (RFC 9000 8.1) to whoever
 * has one, and looks into none. */
static void set_settings(ngtcp2_settings *out, const struct quic_settings *s, const ngtcp2_pkt_hd *hd,
                         bool validated)
{
    static const ngtcp2_cc_algo congestion[] = { NGTCP2_CC_ALGO_CUBIC, NGTCP2_CC_ALGO_RENO,
                                                 NGTCP2_CC_ALGO_BBR };
    ngtcp2_settings_default(out);
    out->initial_ts = quic_now();
    out->cc_algo = congestion[s->congestion];
    out->handshake_timeout = s->handshake_timeout_us * 1000;
    if (validated)
        quic_lib_set_token(out, hd);
}

void quic_conn_add(struct quic_conn *c, struct quic_listener *l)
{
    c->listener = l;
    c->why = ERR_PROTOCOL; /* unless it ends otherwise */
    c->ref = (ngtcp2_crypto_conn_ref){ .get_conn = get_conn, .user_data = c };
    timer_init(&c->timer, on_timer);
    ngtcp2_ccerr_default(&c->error);
    quic_slot_take(c);
    quic_initials_add(c);
    list_push_back(&quic_here.conns, &c->link);
    quic_here.count++;
    l->conns++;
    quic_inc(QUIC_CONNECTIONS);
    metric_add(quic_here.cells, QUIC_OPEN, 1);
}

static void conn_init(struct quic_conn *c, struct quic_listener *l, const struct quic_settings *s,
                      const ngtcp2_pkt_hd *hd, const struct quic_datagram *d)
{
    *c = (struct quic_conn){ .tls = quic_tls_hold(s->tls),
                             .app = l->owner->app,
                             .peer = *d->peer,
                             .local = *d->local,
                             .gso = s->gso,
                             .streams_max = s->streams_max,
                             .validated = true,
                             .initial = hd->dcid };
    quic_conn_add(c, l);
}

static int open_lib(struct quic_conn *c, const struct quic_settings *s, const ngtcp2_pkt_hd *hd,
                    const ngtcp2_cid *retried, bool validated)
{
    ngtcp2_cid scid;
    ngtcp2_settings settings;
    ngtcp2_transport_params params;
    struct addr local = quic_local_addr(c->listener, &c->local);
    const ngtcp2_path path = { .local = quic_lib_addr(&local), .remote = quic_lib_addr(&c->peer) };
    quic_new_id(c, &scid);
    set_settings(&settings, s, hd, validated);
    set_params(&params, s, hd, retried, &scid);
    int e = ngtcp2_conn_server_new(&c->lib, &hd->scid, &scid, &path, hd->version, &quic_callbacks, &settings,
                                   &params, NULL, c);
    if (!e)
        ngtcp2_conn_set_tls_native_handle(c->lib, c->session);
    return e;
}

void quic_conn_accept(struct quic_listener *l, const struct quic_settings *s, const ngtcp2_pkt_hd *hd,
                      const ngtcp2_cid *retried, bool validated, const struct quic_datagram *d)
{
    struct quic_conn *c = pool_take(&quic_here.pool);
    conn_init(c, l, s, hd, d);
    if (quic_tls_session(c->tls, &c->ref, &c->session) != OK) {
        quic_tls_drop(c->tls);
        quic_conn_free(c);
        return;
    }
    if (open_lib(c, s, hd, retried, validated)) {
        gnutls_deinit(c->session);
        quic_tls_drop(c->tls);
        c->lib = NULL;
        quic_conn_free(c);
        return;
    }
    if (!validated) {
        c->validated = false;
        quic_here.unvalidated++;
    }
    quic_conn_read(c, d);
}

/* ---- reading ---- */

/* What is said to a connection that is over. Each answer waits for twice as many as the one before. */
static void read_late(struct quic_conn *c)
{
    if (c->phase != QUIC_CLOSING || ++c->last_seen < c->last_at)
        return;
    c->last_at *= 2;
    c->last_seen = 0;
    quic_send(c->listener, &c->peer, &c->local, c->last, c->last_bytes, 0, 0);
}

static bool is_early(const struct quic_datagram *d)
{
    return (d->data[0] & 0xf0) == 0xd0; /* RFC 9000 17.2.3 */
}

/* A validation is given up after three times the greater of the probe timeout and that of a connection of
 * which nothing is known (RFC 9000 8.2.4), about a second; there may be a second one, with full-sized probes.
 */
static uint64_t validations_us(const struct quic_conn *c)
{
    uint64_t pto_us = ngtcp2_conn_get_pto(c->lib) / 1000;
    return 8 * (pto_us > VALIDATION_PTO_US ? pto_us : VALIDATION_PTO_US);
}

static bool comes_back_too_soon(struct quic_conn *c, const ngtcp2_path *path)
{
    if (!WAY_BACK_IS_DEADLY || !c->past.count)
        return false;
    const ngtcp2_path *now = ngtcp2_conn_get_path(c->lib);
    return quic_past_refuses(&c->past, quic_way(path->local.addr, path->remote.addr),
                             quic_way(now->local.addr, now->remote.addr), worker_now_us(), validations_us(c));
}

static bool is_at(const ngtcp2_addr *a, const struct addr *b)
{
    return a->addrlen == b->len && memcmp(a->addr, &b->sock, b->len) == 0;
}

static void path_from(const ngtcp2_path *p, struct addr *to, struct udp_local *from)
{
    const struct sockaddr *local = p->local.addr;
    to->len = p->remote.addrlen;
    memcpy(&to->sock, p->remote.addr, p->remote.addrlen);
    *from = (struct udp_local){ .family = (uint8_t)local->sa_family };
    if (local->sa_family == AF_INET) {
        memcpy(from->ip, &((const struct sockaddr_in *)(const void *)local)->sin_addr, 4);
    } else {
        const struct sockaddr_in6 *v6 = (const void *)local;
        memcpy(from->ip, &v6->sin6_addr, 16);
        from->interface = v6->sin6_scope_id;
    }
}

/* The client may have moved, and its packets go where it is now. */
static void look_at_path(struct quic_conn *c)
{
    const ngtcp2_path *now = ngtcp2_conn_get_path(c->lib);
    struct addr local = quic_local_addr(c->listener, &c->local);
    if (is_at(&now->remote, &c->peer) && is_at(&now->local, &local))
        return;
    quic_past_left(&c->past, quic_way(&local.sock.any, &c->peer.sock.any), worker_now_us());
    path_from(now, &c->peer, &c->local);
    quic_inc(QUIC_MIGRATIONS);
}

static void send_retry(struct quic_conn *c, const struct quic_datagram *d)
{
    ngtcp2_pkt_hd hd;
    struct quic_listener *l = c->listener;
    if (ngtcp2_accept(&hd, d->data, d->len) == 0)
        quic_stateless_retry(l, &hd, d);
    quic_conn_free(c);
}

void quic_conn_read(struct quic_conn *c, const struct quic_datagram *d)
{
    if (!c->lib) {
        read_late(c);
        return;
    }
    struct addr local = quic_local_addr(c->listener, d->local);
    const ngtcp2_path path = { .local = quic_lib_addr(&local), .remote = quic_lib_addr(d->peer) };
    const ngtcp2_pkt_info info = { .ecn = d->ecn };
    if (comes_back_too_soon(c, &path)) {
        quic_inc(QUIC_DROPPED);
        return;
    }
    if (c->phase == QUIC_HANDSHAKE && is_early(d))
        c->early_seen = true;
    int e = ngtcp2_conn_read_pkt(c->lib, &path, &info, d->data, d->len, quic_now());
    if (e == 0) {
        if (c->phase == QUIC_ESTABLISHED) {
            forget_validation(c);
            look_at_path(c);
        }
        quic_want_send(c);
    } else if (e == NGTCP2_ERR_DRAINING) {
        rest(c, QUIC_DRAINING, ngtcp2_conn_get_pto(c->lib));
    } else if (e == NGTCP2_ERR_RETRY) {
        send_retry(c, d);
    } else if (e == NGTCP2_ERR_DROP_CONN) {
        quic_conn_free(c);
    } else {
        fail(c, e);
    }
}

/* ---- writing ---- */

/* Packets of one size that go the same way leave in one send. */
struct burst {
    struct quic_conn *c;
    size_t len;       /* in quic_here.out */
    uint32_t segment; /* of all but the last */
    unsigned packets;
    uint8_t ecn;
    struct addr to;
    struct udp_local from;
};

static void burst_send(struct burst *b)
{
    if (b->len)
        quic_send(b->c->listener, &b->to, &b->from, quic_here.out, b->len, b->packets > 1 ? b->segment : 0,
                  b->ecn);
    b->len = b->packets = 0;
}

/* A packet of n bytes stands at the end of the buffer. */
static void burst_add(struct burst *b, size_t n, const ngtcp2_path *path, uint8_t ecn)
{
    struct addr to = { 0 };
    struct udp_local from;
    path_from(path, &to, &from);
    if (b->packets && (n > b->segment || ecn != b->ecn || !addr_eq(&to, &b->to) ||
                       memcmp(&from, &b->from, sizeof from) != 0)) {
        char *packet = quic_here.out + b->len;
        burst_send(b);
        memmove(quic_here.out, packet, n);
    }
    if (!b->packets) {
        b->to = to;
        b->from = from;
        b->segment = (uint32_t)n;
        b->ecn = ecn;
    }
    b->len += n;
    b->packets++;
    if (!b->c->gso || n < b->segment || b->packets == PACKETS_PER_SEND ||
        b->len + QUIC_PACKET_BYTES_MAX > UDP_MESSAGE_BYTES)
        burst_send(b);
}

/* What the application has to say next. */
struct pick_up {
    int64_t stream;
    bool fin;
    size_t count;
    struct quic_vec vecs[QUIC_VECS_MAX];
};

/* False: the connection is to be closed. */
static bool pick_up(struct quic_conn *c, struct pick_up *p)
{
    p->stream = -1;
    p->fin = false;
    p->count = 0;
    if (!c->state || !ngtcp2_conn_get_max_data_left(c->lib))
        return true;
    uint64_t code = c->app->next(c->state, &p->stream, &p->fin, p->vecs, &p->count);
    if (!code)
        return true;
    quic_close(c, code);
    return false;
}

static bool took(struct quic_conn *c, int64_t stream, ngtcp2_ssize n)
{
    uint64_t code = n >= 0 && stream >= 0 ? c->app->sent(c->state, stream, (size_t)n) : 0;
    if (code)
        quic_close(c, code);
    return code == 0;
}

_Static_assert(sizeof(struct quic_vec) == sizeof(ngtcp2_vec), "pieces are handed on as they are");

/* One packet, of several streams perhaps. > 0: its bytes; 0: nothing can be sent now; < 0: it is over, and
 * c->error or the code says why. */
static ngtcp2_ssize write_packet(struct quic_conn *c, ngtcp2_path *path, ngtcp2_pkt_info *info, uint8_t *out)
{
    for (;;) {
        struct pick_up p;
        ngtcp2_ssize taken = -1;
        if (!pick_up(c, &p))
            return NGTCP2_ERR_CALLBACK_FAILURE;
        uint32_t flags = NGTCP2_WRITE_STREAM_FLAG_MORE | (p.fin ? NGTCP2_WRITE_STREAM_FLAG_FIN : 0);
        ngtcp2_ssize n =
            ngtcp2_conn_writev_stream(c->lib, path, info, out, QUIC_PACKET_BYTES_MAX, &taken, flags, p.stream,
                                      (const ngtcp2_vec *)(const void *)p.vecs, p.count, quic_now());
        switch (n) {
        case NGTCP2_ERR_STREAM_DATA_BLOCKED:
            c->app->blocked(c->state, p.stream);
            break;
        case NGTCP2_ERR_STREAM_SHUT_WR:
        case NGTCP2_ERR_STREAM_NOT_FOUND:
            c->app->shut(c->state, p.stream);
            break;
        case NGTCP2_ERR_WRITE_MORE:
            if (!took(c, p.stream, taken))
                return NGTCP2_ERR_CALLBACK_FAILURE;
            break;
        default:
            if (n >= 0 && !took(c, p.stream, taken))
                return NGTCP2_ERR_CALLBACK_FAILURE;
            return n;
        }
    }
}

void quic_conn_write(struct quic_conn *c)
{
    if (!c->lib)
        return;
    struct burst b = { .c = c };
    size_t left = ngtcp2_conn_get_send_quantum(c->lib);
    if (left > BYTES_PER_TURN)
        left = BYTES_PER_TURN;
    ngtcp2_path_storage path;
    ngtcp2_pkt_info info = { 0 };
    ngtcp2_path_storage_zero(&path);
    ngtcp2_ssize n = c->failed && !c->closing ? NGTCP2_ERR_CALLBACK_FAILURE : 1;
    while (n > 0 && left) {
        n = write_packet(c, &path.path, &info, (uint8_t *)quic_here.out + b.len);
        if (n > 0) {
            burst_add(&b, (size_t)n, &path.path, (uint8_t)info.ecn);
            left -= (size_t)n < left ? (size_t)n : left;
        }
    }
    burst_send(&b);
    if (c->client && c->listener->refused) {
        quic_conn_lost(c, ERR_REFUSED);
        return;
    }
    if (n < 0) {
        fail(c, (int)n);
        return;
    }
    ngtcp2_conn_update_pkt_tx_time(c->lib, quic_now());
    if (c->closing) {
        close_now(c);
        return;
    }
    if (n > 0) /* there is more, but others have their turn */
        quic_want_send(c);
    set_timer(c);
}

bool quic_is_handshaken(const struct quic_conn *c)
{
    return c->phase == QUIC_ESTABLISHED;
}

const struct addr *quic_peer(const struct quic_conn *c)
{
    return &c->peer;
}

const struct quic_listener *quic_listener_of(const struct quic_conn *c)
{
    return c->listener;
}

uint32_t quic_streams_max(const struct quic_conn *c)
{
    return c->streams_max;
}

#endif
