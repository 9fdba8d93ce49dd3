/* quic_client: a QUIC client that does what it is told, for tests that speak HTTP/3 byte by byte.
 *
 *     quic_client PORT [WINDOW [TOKEN]]
 *
 * of 127.0.0.1. WINDOW: bytes of all streams that may come before "window"; 1 MiB. TOKEN: what it shows as
 * one of a NEW_TOKEN, hexadecimal.
 *
 *     in, a line each              out, a line each
 *     bidi | uni                   opened STREAM
 *     send STREAM HEX [fin]        certificate SHA256
 *     reset STREAM CODE            handshaken MAX_DATA MAX_STREAM_DATA MAX_STREAMS
 *     stop STREAM CODE             data STREAM HEX [fin]
 *     window MORE_BYTES            reset STREAM CODE
 *     close CODE                   closed STREAM
 *                                  room STREAMS (that may be opened ever)
 *                                  end CODE (of the application; -1: another reason)
 */
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net/quic_lib.h"

#define PACKET_BYTES_MAX 1452
#define LINE_BYTES_MAX (4 * 1024 * 1024)

/* Sent in this order, as far as windows let them; kept for as long as the process lives. */
struct piece {
    struct piece *next;
    int64_t stream;
    uint8_t *data;
    size_t len, sent;
    bool fin, done;
};

static ngtcp2_conn *conn;
static gnutls_session_t session;
static int fd;
static struct piece *pieces, **pieces_end = &pieces;
static char line[LINE_BYTES_MAX];
static size_t line_len;

static ngtcp2_tstamp now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (ngtcp2_tstamp)t.tv_sec * NGTCP2_SECONDS + (ngtcp2_tstamp)t.tv_nsec;
}

static void end(int64_t code)
{
    printf("end %lld\n", (long long)code);
    fflush(stdout);
    _exit(0);
}

/* ---- what the library tells ---- */

static void random_bytes(uint8_t *out, size_t len, const ngtcp2_rand_ctx *ctx)
{
    (void)ctx;
    gnutls_rnd(GNUTLS_RND_NONCE, out, len);
}

static int new_id(ngtcp2_conn *c, ngtcp2_cid *cid, uint8_t *token, size_t len, void *user)
{
    (void)c, (void)user;
    cid->datalen = len;
    gnutls_rnd(GNUTLS_RND_NONCE, cid->data, len);
    gnutls_rnd(GNUTLS_RND_NONCE, token, NGTCP2_STATELESS_RESET_TOKENLEN);
    return 0;
}

static void print_hex(const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        printf("%02x", data[i]);
}

static void print_certificate(void)
{
    uint8_t digest[32];
    size_t len = sizeof digest;
    unsigned count;
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &count);
    if (!chain || !count || gnutls_fingerprint(GNUTLS_DIG_SHA256, chain, digest, &len) < 0)
        return;
    printf("certificate ");
    print_hex(digest, len);
    puts("");
}

static int handshaken(ngtcp2_conn *c, void *user)
{
    (void)user;
    print_certificate();
    const ngtcp2_transport_params *p = ngtcp2_conn_get_remote_transport_params(c);
    printf("handshaken %llu %llu %llu\n", (unsigned long long)p->initial_max_data,
           (unsigned long long)p->initial_max_stream_data_bidi_remote,
           (unsigned long long)p->initial_max_streams_bidi);
    return 0;
}

static int stream_data(ngtcp2_conn *c, uint32_t flags, int64_t stream, uint64_t offset, const uint8_t *data,
                       size_t len, void *user, void *stream_user)
{
    (void)c, (void)offset, (void)user, (void)stream_user;
    printf("data %lld ", (long long)stream);
    print_hex(data, len);
    puts(flags & NGTCP2_STREAM_DATA_FLAG_FIN ? " fin" : "");
    return 0;
}

static int stream_reset(ngtcp2_conn *c, int64_t stream, uint64_t size, uint64_t code, void *user,
                        void *stream_user)
{
    (void)c, (void)size, (void)user, (void)stream_user;
    printf("reset %lld %llu\n", (long long)stream, (unsigned long long)code);
    return 0;
}

static int stream_closed(ngtcp2_conn *c, uint32_t flags, int64_t stream, uint64_t code, void *user,
                         void *stream_user)
{
    (void)c, (void)flags, (void)code, (void)user, (void)stream_user;
    printf("closed %lld\n", (long long)stream);
    return 0;
}

static int more_streams(ngtcp2_conn *c, uint64_t max, void *user)
{
    (void)c, (void)user;
    printf("room %llu\n", (unsigned long long)max);
    return 0;
}

static const ngtcp2_callbacks callbacks = {
    .client_initial = ngtcp2_crypto_client_initial_cb,
    .recv_crypto_data = ngtcp2_crypto_recv_crypto_data_cb,
    .handshake_completed = handshaken,
    .encrypt = ngtcp2_crypto_encrypt_cb,
    .decrypt = ngtcp2_crypto_decrypt_cb,
    .hp_mask = ngtcp2_crypto_hp_mask_cb,
    .recv_stream_data = stream_data,
    .stream_close = stream_closed,
    .recv_retry = ngtcp2_crypto_recv_retry_cb,
    .extend_max_local_streams_bidi = more_streams,
    .rand = random_bytes,
    .get_new_connection_id = new_id,
    .update_key = ngtcp2_crypto_update_key_cb,
    .stream_reset = stream_reset,
    .delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb,
    .delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb,
    .get_path_challenge_data = ngtcp2_crypto_get_path_challenge_data_cb,
    .version_negotiation = ngtcp2_crypto_version_negotiation_cb,
};

/* ---- the beginning ---- */

static size_t read_hex(const char *hex, uint8_t *out)
{
    size_t len = 0;
    for (unsigned byte; sscanf(hex, "%2x", &byte) == 1; hex += 2)
        out[len++] = (uint8_t)byte;
    return len;
}

static void set_token(ngtcp2_settings *settings, const char *hex)
{
    static uint8_t token[256];
    ngtcp2_pkt_hd hd = { 0 };
    size_t len = strlen(hex) <= 2 * sizeof token ? read_hex(hex, token) : 0;
    quic_lib_hd_set_token(&hd, token, len);
    if (len)
        quic_lib_set_token(settings, &hd);
}

static ngtcp2_conn *conn_of(ngtcp2_crypto_conn_ref *ref)
{
    (void)ref;
    return conn;
}

static int open_tls(void)
{
    static ngtcp2_crypto_conn_ref ref = { conn_of, NULL };
    static const gnutls_datum_t h3 = { (unsigned char *)(uintptr_t) "h3", 2 };
    static gnutls_certificate_credentials_t nobody;
    return gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_NO_END_OF_EARLY_DATA) < 0 ||
           gnutls_certificate_allocate_credentials(&nobody) < 0 ||
           ngtcp2_crypto_gnutls_configure_client_session(session) != 0 ||
           gnutls_priority_set_direct(session, "%DISABLE_TLS13_COMPAT_MODE:NORMAL:-VERS-ALL:+VERS-TLS1.3",
                                      NULL) < 0 ||
           gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, nobody) < 0 ||
           gnutls_server_name_set(session, GNUTLS_NAME_DNS, "localhost", 9) < 0 ||
           gnutls_alpn_set_protocols(session, &h3, 1, GNUTLS_ALPN_MANDATORY) < 0 ||
           (gnutls_session_set_ptr(session, &ref), 0);
}

static int open_conn(uint16_t port, uint64_t window, const char *token)
{
    static struct sockaddr_in ours, theirs;
    socklen_t len = sizeof ours;
    ngtcp2_cid to, from;
    ngtcp2_settings settings;
    ngtcp2_transport_params params;
    theirs = (struct sockaddr_in){ .sin_family = AF_INET,
                                   .sin_port = htons(port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&theirs, sizeof theirs) ||
        getsockname(fd, (struct sockaddr *)&ours, &len))
        return -1;
    const ngtcp2_path path = { .local = { (ngtcp2_sockaddr *)&ours, len },
                               .remote = { (ngtcp2_sockaddr *)&theirs, sizeof theirs } };
    to.datalen = from.datalen = 16;
    gnutls_rnd(GNUTLS_RND_NONCE, to.data, 16);
    gnutls_rnd(GNUTLS_RND_NONCE, from.data, 16);
    ngtcp2_settings_default(&settings);
    settings.initial_ts = now_ns();
    set_token(&settings, token);
    ngtcp2_transport_params_default(&params);
    params.initial_max_stream_data_bidi_local = params.initial_max_stream_data_uni = 1 << 30;
    params.initial_max_data = window;
    params.initial_max_streams_uni = 3;
    params.max_idle_timeout = 60 * NGTCP2_SECONDS;
    if (ngtcp2_conn_client_new(&conn, &to, &from, &path, NGTCP2_PROTO_VER_V1, &callbacks, &settings, &params,
                               NULL, NULL))
        return -1;
    ngtcp2_conn_set_tls_native_handle(conn, session);
    return 0;
}

/* ---- out and in ---- */

static bool waits(const struct piece *p)
{
    for (const struct piece *before = pieces; before != p; before = before->next)
        if (before->stream == p->stream && !before->done)
            return true; /* in order */
    return false;
}

/* The first that something can be sent of now. NULL: none. */
static struct piece *pick(const struct piece *after)
{
    struct piece *p = after ? after->next : pieces;
    while (p && (p->done || waits(p)))
        p = p->next;
    return p;
}

static ngtcp2_ssize write_packet(uint8_t *out)
{
    struct piece *p = pick(NULL);
    for (;;) {
        ngtcp2_ssize taken = -1;
        ngtcp2_vec v = { p ? p->data + p->sent : NULL, p ? p->len - p->sent : 0 };
        uint32_t flags = p ? NGTCP2_WRITE_STREAM_FLAG_MORE | (p->fin ? NGTCP2_WRITE_STREAM_FLAG_FIN : 0) : 0;
        ngtcp2_ssize n = ngtcp2_conn_writev_stream(conn, NULL, NULL, out, PACKET_BYTES_MAX, &taken, flags,
                                                   p ? p->stream : -1, &v, p ? 1 : 0, now_ns());
        if (p && taken >= 0) {
            p->sent += (size_t)taken;
            p->done = p->sent == p->len;
        }
        if (n == NGTCP2_ERR_STREAM_DATA_BLOCKED) {
            p = pick(p);
        } else if (n == NGTCP2_ERR_STREAM_SHUT_WR || n == NGTCP2_ERR_STREAM_NOT_FOUND) {
            p->done = true;
            p = pick(p);
        } else if (n == NGTCP2_ERR_WRITE_MORE) {
            p = pick(NULL);
        } else {
            return n;
        }
    }
}

static void write_all(void)
{
    uint8_t out[PACKET_BYTES_MAX];
    ngtcp2_ssize n;
    while ((n = write_packet(out)) > 0)
        (void)!send(fd, out, (size_t)n, 0);
    if (n < 0)
        end(-1);
    ngtcp2_conn_update_pkt_tx_time(conn, now_ns());
}

static void read_all(void)
{
    uint8_t in[65536];
    ssize_t n;
    const ngtcp2_pkt_info info = { 0 };
    while ((n = recv(fd, in, sizeof in, 0)) >= 0) {
        int e = ngtcp2_conn_read_pkt(conn, ngtcp2_conn_get_path(conn), &info, in, (size_t)n, now_ns());
        if (e == NGTCP2_ERR_DRAINING)
            end(quic_lib_closed_code(conn));
        if (e)
            end(-1);
    }
}

/* ---- commands ---- */

static void add_piece(int64_t stream, const char *hex, bool fin)
{
    struct piece *p = calloc(1, sizeof *p);
    p->stream = stream;
    p->fin = fin;
    p->data = malloc(strlen(hex) / 2 + 1);
    p->len = read_hex(hex, p->data);
    *pieces_end = p;
    pieces_end = &p->next;
}

static void open_stream(bool both)
{
    int64_t id = -1;
    int e =
        both ? ngtcp2_conn_open_bidi_stream(conn, &id, NULL) : ngtcp2_conn_open_uni_stream(conn, &id, NULL);
    printf("opened %lld\n", e ? -1LL : (long long)id);
}

static void close_with(uint64_t code)
{
    uint8_t out[PACKET_BYTES_MAX];
    ngtcp2_ccerr why;
    ngtcp2_ccerr_default(&why);
    ngtcp2_ccerr_set_application_error(&why, code, NULL, 0);
    ngtcp2_ssize n = ngtcp2_conn_write_connection_close(conn, NULL, NULL, out, sizeof out, &why, now_ns());
    if (n > 0)
        (void)!send(fd, out, (size_t)n, 0);
    end((int64_t)code);
}

/* Words of a line; "" for those that are not there. */
static void split(char *text, const char *words[4])
{
    for (int i = 0; i < 4; i++) {
        text += strspn(text, " ");
        words[i] = text;
        text += strcspn(text, " ");
        if (*text)
            *text++ = 0;
    }
}

static void obey(char *text)
{
    const char *w[4];
    split(text, w);
    int64_t first = strtoll(w[1], NULL, 10);
    uint64_t code = strtoull(w[2], NULL, 10);
    bool fin = !strcmp(w[2], "fin") || !strcmp(w[3], "fin");
    if (!strcmp(w[0], "bidi") || !strcmp(w[0], "uni"))
        open_stream(w[0][0] == 'b');
    else if (!strcmp(w[0], "send"))
        add_piece(first, strcmp(w[2], "fin") ? w[2] : "", fin);
    else if (!strcmp(w[0], "reset"))
        (void)!quic_lib_shutdown_stream_write(conn, first, code);
    else if (!strcmp(w[0], "stop"))
        (void)!quic_lib_shutdown_stream_read(conn, first, code);
    else if (!strcmp(w[0], "window"))
        ngtcp2_conn_extend_max_offset(conn, (uint64_t)first);
    else if (!strcmp(w[0], "close"))
        close_with((uint64_t)first);
}

static void read_commands(void)
{
    ssize_t n = read(0, line + line_len, sizeof line - 1 - line_len);
    if (n <= 0)
        end(-1);
    line_len += (size_t)n;
    char *newline;
    while ((newline = memchr(line, '\n', line_len))) {
        *newline = 0;
        obey(line);
        line_len -= (size_t)(newline + 1 - line);
        memmove(line, newline + 1, line_len);
    }
}

static int patience_ms(void)
{
    ngtcp2_tstamp due = ngtcp2_conn_get_expiry(conn), now = now_ns();
    if (due == UINT64_MAX)
        return -1;
    return due <= now ? 0 : (int)((due - now) / NGTCP2_MILLISECONDS + 1);
}

int main(int count, char **args)
{
    if (count < 2 || open_tls() ||
        open_conn((uint16_t)strtoul(args[1], NULL, 10), count > 2 ? strtoull(args[2], NULL, 10) : 1024 * 1024,
                  count > 3 ? args[3] : "")) {
        fprintf(stderr, "quic_client PORT [WINDOW [TOKEN]]\n");
        return 1;
    }
    for (;;) {
        write_all();
        fflush(stdout);
        struct pollfd fds[] = { { .fd = 0, .events = POLLIN }, { .fd = fd, .events = POLLIN } };
        poll(fds, 2, patience_ms());
        if (fds[1].revents)
            read_all();
        if (fds[0].revents)
            read_commands();
        if (ngtcp2_conn_get_expiry(conn) <= now_ns() && ngtcp2_conn_handle_expiry(conn, now_ns()))
            end(-1);
    }
}
