/* Datagrams that come to a listener of QUIC: garbage, and good Initial packets with anything in them.
 * Whatever comes, nothing is left when all have been let go of.
 *
 *      [ length 2 ][ kind 1: 0 as it is, 1 the frames of an Initial ][ bytes ] ... */
#include "fuzz.h"

#if WEIR_HAVE_NGTCP2
#include <semaphore.h>
#include <unistd.h>

#include "base/must.h"
#include "core/metrics.h"
#include "net/quic_internal.h"

#define DATAGRAM_BYTES_MAX 1400
#define HEAD_BYTES 28 /* of the Initial packets that are made here */

/* Of nobody: the key of a test. */
static const char chain[] = "-----BEGIN CERTIFICATE-----\n"
                            "MIIBfzCCASWgAwIBAgIUBqdy3Hp3Ah0PAkUwGcyjkkIU30gwCgYIKoZIzj0EAwIw\n"
                            "FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEzMDIzMTI0NFoYDzIxMjYxMTA2\n"
                            "MjMxMjQ0WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO\n"
                            "PQMBBwNCAAQ3lQd5SBj4fXqdg3Mjdnh7nNOstoDl2Kh9nt9xZPP9Ru0Ewcr9XFdK\n"
                            "qK63zsvS0subRYadGRmKjyqg8+yDVPtpo1MwUTAdBgNVHQ4EFgQUbryYhdJQ58vc\n"
                            "Lvpw45qWcRWKbGQwHwYDVR0jBBgwFoAUbryYhdJQ58vcLvpw45qWcRWKbGQwDwYD\n"
                            "VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiEAywNLwTVdGKvW05Ib1GwZ\n"
                            "8E1TZ46APTnqBs5UVHFKMZMCIGWDlRzbXlB9sQbS65ILQxCnVqMU0aj4LQot3sn5\n"
                            "wel0\n"
                            "-----END CERTIFICATE-----\n";
static const char key[] = "-----BEGIN PRIVATE KEY-----\n"
                          "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgC7/bQPycOEkS0fJ/\n"
                          "Idy2PzFPdL35rJdcX98f5IjW/DGhRANCAAQ3lQd5SBj4fXqdg3Mjdnh7nNOstoDl\n"
                          "2Kh9nt9xZPP9Ru0Ewcr9XFdKqK63zsvS0subRYadGRmKjyqg8+yDVPtp\n"
                          "-----END PRIVATE KEY-----\n";

static struct worker *worker;
static struct quic_tls *tls;
static struct addr at, peer;
static sem_t done;

/* ---- an application that takes everything ---- */

static uint64_t app_open(struct quic_conn *c, void **ret_state)
{
    *ret_state = c;
    return 0;
}

static void app_nothing(void *state)
{
    (void)state;
}

static uint64_t app_data(void *state, int64_t stream, struct bytes data, bool fin, size_t *ret_taken)
{
    (void)state, (void)stream, (void)fin;
    *ret_taken = data.len;
    return 0;
}

static uint64_t app_stream(void *state, int64_t stream)
{
    (void)state, (void)stream;
    return 0;
}

static uint64_t app_closed(void *state, int64_t stream, bool has_code, uint64_t code)
{
    (void)state, (void)stream, (void)has_code, (void)code;
    return 0;
}

static uint64_t app_bytes(void *state, int64_t stream, uint64_t bytes)
{
    (void)state, (void)stream, (void)bytes;
    return 0;
}

static uint64_t app_next(void *state, int64_t *ret_stream, bool *ret_fin, struct quic_vec *vecs,
                         size_t *ret_count)
{
    (void)state, (void)ret_fin, (void)vecs, (void)ret_count;
    *ret_stream = -1;
    return 0;
}

static void app_streams(void *state, uint64_t max)
{
    (void)state, (void)max;
}

static const struct quic_app app = {
    .open = app_open,
    .handshaken = app_nothing,
    .data = app_data,
    .acked = app_bytes,
    .closed = app_closed,
    .reset = app_stream,
    .stopped = app_stream,
    .streams = app_streams,
    .writable = app_stream,
    .next = app_next,
    .end = app_nothing,
};

static bool settings(const struct addr *where, struct quic_settings *ret)
{
    (void)where;
    *ret = (struct quic_settings){ .tls = tls,
                                   .connections_max = 4,
                                   .streams_max = 4,
                                   .stream_window_bytes = 4096,
                                   .window_bytes = 8192,
                                   .idle_timeout_us = 1000000,
                                   .handshake_timeout_us = 1000000,
                                   .retry_above = 3,
                                   .gso = true };
    return true;
}

static const struct quic_owner owner = { .settings = settings, .app = &app };

/* ---- a good Initial packet around frames (RFC 9001 5) ---- */

static void expand(const uint8_t secret[32], const char *label, uint8_t *out, size_t len)
{
    uint8_t info[64] = { 0, (uint8_t)len, (uint8_t)(6 + strlen(label)) };
    const gnutls_datum_t from = { (unsigned char *)(uintptr_t)secret, 32 };
    memcpy(info + 3, "tls13 ", 6);
    memcpy(info + 9, label, strlen(label));
    const gnutls_datum_t what = { info, (unsigned)(10 + strlen(label)) };
    must(gnutls_hkdf_expand(GNUTLS_MAC_SHA256, &from, &what, out, len) == 0);
}

static size_t seal(const uint8_t *frames, size_t len, uint8_t id, uint8_t *out)
{
    static const uint8_t salt[20] = { 0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17,
                                      0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a };
    uint8_t head[HEAD_BYTES] = { 0xc3, 0,   0,   0,  1, 8,   'd', 'e', 's', 't',
                                 'i',  'n', 'e', id, 4, 'f', 'r', 'o', 'm', 0 };
    uint8_t initial[32], secret[32], raw[16], iv[12], hp[16], mask[16], text[DATAGRAM_BYTES_MAX] = { 0 };
    size_t size = QUIC_INITIAL_BYTES_MIN - 26 - 16;
    gnutls_datum_t from = { head + 6, 8 };
    const gnutls_datum_t with = { (unsigned char *)(uintptr_t)salt, sizeof salt };
    must(gnutls_hkdf_extract(GNUTLS_MAC_SHA256, &from, &with, initial) == 0);
    expand(initial, "client in", secret, 32);
    expand(secret, "quic key", raw, 16);
    expand(secret, "quic iv", iv, 12);
    expand(secret, "quic hp", hp, 16);
    memcpy(text, frames, len < size ? len : size);
    head[20] = (uint8_t)(0x40 | (4 + size + 16) >> 8);
    head[21] = (uint8_t)(4 + size + 16);
    memcpy(out, head, 26);
    gnutls_aead_cipher_hd_t aead;
    gnutls_cipher_hd_t block;
    gnutls_datum_t k = { raw, 16 }, h = { hp, 16 };
    uint8_t zero[16] = { 0 };
    gnutls_datum_t none = { zero, 16 };
    size_t sealed = size + 16;
    must(gnutls_aead_cipher_init(&aead, GNUTLS_CIPHER_AES_128_GCM, &k) == 0);
    must(gnutls_aead_cipher_encrypt(aead, iv, 12, out, 26, 16, text, size, out + 26, &sealed) == 0);
    gnutls_aead_cipher_deinit(aead);
    must(gnutls_cipher_init(&block, GNUTLS_CIPHER_AES_128_CBC, &h, &none) == 0);
    must(gnutls_cipher_encrypt2(block, out + 26, 16, mask, 16) == 0);
    gnutls_cipher_deinit(block);
    out[0] ^= mask[0] & 0x0f;
    for (unsigned i = 0; i < 4; i++)
        out[22 + i] ^= mask[1 + i];
    return 26 + sealed;
}

/* ---- on the worker ---- */

struct input {
    struct mail mail;
    const uint8_t *data;
    size_t size;
};

static void take(const uint8_t *data, size_t len, uint8_t kind, uint8_t id)
{
    uint8_t packet[DATAGRAM_BYTES_MAX + 64];
    struct udp_local local = { 0 };
    struct quic_datagram d = { .at = &at, .peer = &peer, .local = &local, .data = data, .len = len };
    if (kind & 1) {
        d.len = seal(data, len, id, packet);
        d.data = packet;
    }
    quic_receive(&d);
}

static void run(struct mail *m)
{
    struct input *in = container_of(m, struct input, mail);
    const uint8_t *p = in->data;
    size_t left = in->size;
    while (left >= 3) {
        size_t len = (size_t)p[0] << 8 | p[1];
        uint8_t kind = p[2];
        p += 3;
        left -= 3;
        if (len > left)
            len = left;
        if (len > DATAGRAM_BYTES_MAX)
            len = DATAGRAM_BYTES_MAX;
        take(p, len, kind, (uint8_t)(kind >> 1));
        p += len;
        left -= len;
    }
    quic_abort();
    fuzz_check(quic_count() == 0);
    sem_post(&done);
}

static void let_go(struct mail *m)
{
    (void)m;
    fiber_cancel_all();
    quic_tls_drop(tls);
}

static void stop(void)
{
    static struct mail last = { .run = let_go };
    worker_post(worker, &last);
    worker_stop(worker);
    worker_join(worker);
    metrics_close();
}

static void begin(void *arg)
{
    (void)arg;
    const struct quic_certificate certificate = { bytes_from(chain), bytes_from(key) };
    const struct quic_tls_opts opts = { .certificates = &certificate, .count = 1 };
    struct quic_listener *l;
    int fd;
    must(quic_tls_open(&opts, &tls, NULL) == OK);
    must(addr_parse(BYTES("127.0.0.1:0"), &at) == OK);
    must(addr_parse(BYTES("127.0.0.1:9"), &peer) == OK); /* nobody, so that no answer comes back */
    must(udp_listen(&at, 0, 0, &fd, NULL) == OK);
    must(getsockname(fd, &at.sock.any, &at.len) == 0);
    must(quic_listener_start(fd, &at, &owner, &l) == OK);
    sem_post(&done);
}

static void start(void)
{
    static const uint8_t secret[QUIC_SECRET_BYTES] = { 1 };
    const struct worker_opts opts = { .loop = LOOP_EPOLL, .cpu = -1, .name = "fuzz" };
    sem_init(&done, 0, 0);
    metrics_init(1);
    must(worker_start(&opts, begin, NULL, &worker, NULL) == OK);
    quic_process_init(1, secret, &worker, 1);
    sem_wait(&done);
    atexit(stop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!worker)
        start();
    struct input in = { .mail.run = run, .data = data, .size = size };
    worker_post(worker, &in.mail);
    while (sem_wait(&done) != 0)
        ;
    return 0;
}
#else
FUZZ_NOTHING
#endif
