/* TLS as a codec of an io: what the contract of core/io.h says holds for it too. Both loops. */
#include "net/tls.h"

#if WEIR_HAVE_OPENSSL

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/mman.h>

#include "core/io_test.h"
#include "net/tls_context.h"

struct link_up {
    struct io *client, *server;         /* in the clear */
    struct io *client_raw, *server_raw; /* where a relay stands between: its ends */
    err server_result;
    bool server_done;
};

static SSL_CTX *server_context, *client_context;

static void make_contexts(int version_min)
{
    struct diag d = DIAG_NONE;
    struct tls_options o = { .self_signed = true, .version_min = version_min, .alpn = BYTES("\x08http/1.1") };
    must(tls_server_context(&o, &server_context, &d) == OK);
    struct tls_options c = { .version_min = 12, .alpn = BYTES("\x02h2\x08http/1.1") };
    must(tls_client_context(&c, &client_context, &d) == OK);
}

static void drop_contexts(void)
{
    tls_context_drop(server_context);
    tls_context_drop(client_context);
}

static void server_done(void *owner, struct io *io, err why)
{
    struct link_up *l = owner;
    must(io == l->server && !l->server_done);
    l->server_done = true;
    l->server_result = why;
}

static void shake_hands(struct link_up *l)
{
    tls_accept(l->server, server_context, NULL, deadline_in_ms(5000), server_done, l);
    must(tls_connect(l->client, client_context, NULL, "localhost", NULL, deadline_in_ms(5000)) == OK);
    while (!l->server_done)
        must(fiber_sleep_us(1000) == OK);
    must(l->server_result == OK);
}

static void link_open(struct link_up *l)
{
    struct io *ends[2];
    *l = (struct link_up){ 0 };
    tcp_pair(ends);
    l->client = ends[0];
    l->server = ends[1];
    shake_hands(l);
}

static void link_close(struct link_up *l)
{
    io_close(l->client, 0, false);
    io_close(l->server, 0, false);
}

static void with_contexts(int version_min, void (*fn)(void))
{
    make_contexts(version_min);
    fn();
    drop_contexts();
}

/* ---- there and back ---- */

static void talk(void)
{
    struct link_up l;
    link_open(&l);
    struct tls *s = tls_of(l.server), *c = tls_of(l.client);
    must(s && c && strcmp(tls_version(s), "TLSv1.3") == 0);
    must(bytes_eq(tls_alpn(s), BYTES("http/1.1")) && bytes_eq(tls_alpn(c), BYTES("http/1.1")));
    must(bytes_eq(tls_server_name(s), BYTES("localhost")) && !tls_resumed(s));
    must(strstr(tls_cipher(s), "GCM"));
    for (int i = 0; i < 20; i++) {
        send_text(l.client, "there");
        expect_text(l.server, "there");
        send_text(l.server, "and back");
        expect_text(l.client, "and back");
    }
    link_close(&l);
}

static void talks(void)
{
    with_contexts(12, talk);
}
TEST(talks)

static void ends_are_told(void)
{
    make_contexts(12);
    struct link_up l;
    struct bytes b;
    link_open(&l); /* half-close: the other way goes on */
    send_text(l.client, "last words");
    io_end(l.client);
    expect_text(l.server, "last words");
    expect_end(l.server);
    send_text(l.server, "heard");
    expect_text(l.client, "heard");
    io_close(l.server, 0, false);
    expect_end(l.client);
    io_close(l.client, 0, false);

    link_open(&l); /* without close_notify something may be missing */
    send_text(l.client, "cut");
    must(io_drain(l.client, 0, deadline_in_ms(5000)) == OK);
    expect_text(l.server, "cut");
    io_abort(l.client, false);
    must(io_pull(l.server, deadline_in_ms(5000), &b) == ERR_RESET);
    io_close(l.server, 0, false);
    drop_contexts();
}
TEST(ends_are_told)

/* ---- much ---- */

#define FLOOD_BYTES (3u << 20)

struct flood {
    struct io *io;
    size_t piece; /* bytes written at a time */
    size_t total;
    uint64_t sent, got;
    int *running;
};

static char flood_byte(uint64_t at)
{
    return (char)(at * 31 + (at >> 8) * 7 + (at >> 16));
}

static void flood_send(void *arg)
{
    struct flood *f = arg;
    char piece[20000];
    while (f->sent < f->total) {
        size_t n = f->piece < f->total - f->sent ? f->piece : f->total - f->sent;
        for (size_t i = 0; i < n; i++)
            piece[i] = flood_byte(f->sent + i);
        must(io_write(f->io, (struct bytes){ piece, n }, deadline_in_ms(20000)) == OK);
        f->sent += n;
    }
    io_end(f->io);
    --*f->running;
}

static void flood_take(void *arg)
{
    struct flood *f = arg;
    struct bytes b;
    err e;
    while (!(e = io_pull(f->io, deadline_in_ms(20000), &b))) {
        for (size_t i = 0; i < b.len; i++)
            must(b.ptr[i] == flood_byte(f->got + i));
        f->got += b.len;
        io_consume(f->io, b.len);
    }
    must(e == ERR_CLOSED && f->got == f->total);
    --*f->running;
}

static void flood_both(struct io *a, struct io *b, size_t piece, size_t total)
{
    int running = 4;
    struct flood ends[2] = { { .io = a, .piece = piece, .total = total, .running = &running },
                             { .io = b, .piece = piece, .total = total, .running = &running } };
    for (int i = 0; i < 2; i++) {
        fiber_spawn(flood_send, &ends[i]);
        fiber_spawn(flood_take, &ends[i]);
    }
    while (running)
        must(fiber_sleep_us(1000) == OK);
}

static void flood_pieces(void)
{
    static const size_t pieces[] = { 100, 4000, 16384, 20000 };
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        struct link_up l;
        link_open(&l);
        flood_both(l.client, l.server, pieces[i], FLOOD_BYTES);
        link_close(&l);
    }
}

static void floods_pass_whole(void)
{
    with_contexts(12, flood_pieces);
}
TEST(floods_pass_whole)

/* ---- byte by byte ---- */

struct relay {
    struct io *from, *to;
    int *running;
};

static void relay_run(void *arg)
{
    struct relay *r = arg;
    struct bytes b;
    while (io_pull(r->from, DEADLINE_NONE, &b) == OK) {
        for (size_t i = 0; i < b.len; i++) {
            must(io_write(r->to, (struct bytes){ b.ptr + i, 1 }, DEADLINE_NONE) == OK);
            must(io_drain(r->to, 0, DEADLINE_NONE) == OK);
            fiber_yield();
        }
        io_consume(r->from, b.len);
    }
    io_end(r->to);
    --*r->running;
}

static void byte_by_byte(void)
{
    struct io *a[2], *b[2];
    struct link_up l = { 0 };
    int running = 2;
    tcp_pair(a);
    tcp_pair(b);
    struct relay there = { a[1], b[0], &running }, back = { b[0], a[1], &running };
    fiber_spawn(relay_run, &there);
    fiber_spawn(relay_run, &back);
    l.client = a[0];
    l.server = b[1];
    shake_hands(&l);
    flood_both(l.client, l.server, 700, 3000);
    link_close(&l);
    while (running)
        must(fiber_sleep_us(1000) == OK);
    io_close(a[1], 0, false);
    io_close(b[0], 0, false);
}

static void bytes_one_by_one(void)
{
    with_contexts(12, byte_by_byte);
}
TEST(bytes_one_by_one)

/* ---- moving bodies ---- */

static void splice_over(void)
{
    struct link_up from, to;
    int running = 2;
    link_open(&from);
    link_open(&to);
    struct flood f = { .io = from.client, .piece = 16384, .total = FLOOD_BYTES, .running = &running };
    struct flood t = { .io = to.client, .total = FLOOD_BYTES, .running = &running };
    fiber_spawn(flood_send, &f);
    fiber_spawn(flood_take, &t);
    uint64_t moved;
    int side;
    must(io_splice(from.server, to.server, FLOOD_BYTES, 5000000, deadline_in_ms(20000), &moved, &side) == OK);
    must(moved == FLOOD_BYTES);
    io_end(to.server);
    while (running)
        must(fiber_sleep_us(1000) == OK);
    expect_end(from.server);
    link_close(&from);
    link_close(&to);
}

static void splices(void)
{
    with_contexts(12, splice_over);
}
TEST(splices)

static void send_file_over(void)
{
    struct link_up l;
    int running = 1, fd = memfd_create("file", MFD_CLOEXEC);
    char piece[4096];
    for (uint64_t at = 0; at < FLOOD_BYTES; at += sizeof piece) {
        for (size_t i = 0; i < sizeof piece; i++)
            piece[i] = flood_byte(at + i);
        must(write(fd, piece, sizeof piece) == sizeof piece);
    }
    link_open(&l);
    struct flood t = { .io = l.client, .total = FLOOD_BYTES, .running = &running };
    fiber_spawn(flood_take, &t);
    uint64_t moved;
    must(io_send_file(l.server, fd, 0, FLOOD_BYTES, 5000000, deadline_in_ms(20000), &moved) == OK);
    must(moved == FLOOD_BYTES);
    must(io_send_file(l.server, fd, FLOOD_BYTES, 1, 5000000, deadline_in_ms(20000), &moved) == ERR_CLOSED);
    io_end(l.server);
    while (running)
        must(fiber_sleep_us(1000) == OK);
    link_close(&l);
    close(fd);
}

static void sends_files(void)
{
    with_contexts(12, send_file_over);
}
TEST(sends_files)

struct tunnel_run {
    struct tunnel tunnel;
    err result;
    bool done;
};

static void tunnel_done(struct tunnel *tunnel, err why)
{
    struct tunnel_run *t = container_of(tunnel, struct tunnel_run, tunnel);
    t->result = why;
    t->done = true;
}

/* A TLS client, joined to a plain server. */
static void tunnel_over(void)
{
    struct link_up l;
    struct io *plain[2];
    link_open(&l);
    tcp_pair(plain);
    struct tunnel_run t = { 0 };
    tunnel_start(&t.tunnel, l.server, plain[0], 20000000, tunnel_done);
    for (int i = 0; i < 10; i++) {
        send_text(l.client, "there");
        expect_text(plain[1], "there");
        send_text(plain[1], "and back");
        expect_text(l.client, "and back");
    }
    flood_both(l.client, plain[1], 16384, FLOOD_BYTES);
    while (!t.done)
        must(fiber_sleep_us(1000) == OK);
    must(t.result == OK);
    must(t.tunnel.ways[0].moved == FLOOD_BYTES + 50 && t.tunnel.ways[1].moved == FLOOD_BYTES + 80);
    link_close(&l);
    io_close(plain[0], 0, false);
    io_close(plain[1], 0, false);
}

static void tunnels(void)
{
    with_contexts(12, tunnel_over);
}
TEST(tunnels)

/* ---- what does not go well ---- */

static void plain_http_is_answered(void)
{
    make_contexts(12);
    struct io *ends[2];
    struct link_up l = { 0 };
    tcp_pair(ends);
    l.server = ends[1];
    tls_accept(ends[1], server_context, NULL, deadline_in_ms(5000), server_done, &l);
    send_text(ends[0], "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_text(ends[0], "HTTP/1.1 400 Bad Request\r\n");
    must(l.server_done && l.server_result == ERR_PROTOCOL);
    io_close(ends[1], 0, false);
    io_close(ends[0], 0, false);
    drop_contexts();
}
TEST(plain_http_is_answered)

static void silence_has_a_deadline(void)
{
    make_contexts(12);
    struct io *ends[2];
    struct link_up l = { 0 };
    tcp_pair(ends);
    l.server = ends[1];
    tls_accept(ends[1], server_context, NULL, deadline_in_ms(10), server_done, &l);
    must(tls_connect(ends[0], client_context, NULL, "", NULL, deadline_in_ms(0)) == ERR_TIMEOUT);
    while (!l.server_done)
        must(fiber_sleep_us(1000) == OK);
    must(l.server_result == ERR_TIMEOUT || l.server_result == OK); /* the hello was on its way already */
    io_close(ends[1], 0, false);
    io_close(ends[0], 0, false);
    drop_contexts();
}
TEST(silence_has_a_deadline)

static void strangers_are_refused(void)
{
    struct diag d = DIAG_NONE;
    make_contexts(12);
    tls_context_drop(client_context);
    struct tls_options c = { .version_min = 12, .verify = TLS_VERIFY_REQUIRED };
    must(tls_client_context(&c, &client_context, &d) == OK);
    struct io *ends[2];
    struct link_up l = { 0 };
    tcp_pair(ends);
    l.server = ends[1];
    tls_accept(ends[1], server_context, NULL, deadline_in_ms(5000), server_done, &l);
    must(tls_connect(ends[0], client_context, NULL, "localhost", NULL, deadline_in_ms(5000)) == ERR_PROTOCOL);
    must(strstr(tls_why(tls_of(ends[0])), "self"));
    while (!l.server_done)
        must(fiber_sleep_us(1000) == OK);
    io_close(ends[1], 0, false);
    io_close(ends[0], 0, false);
    drop_contexts();
}
TEST(strangers_are_refused)

/* A client may ask for new keys at any time (RFC 8446 4.6.3). */
static void key_update(void)
{
    struct link_up l;
    link_open(&l);
    for (int i = 0; i < 3; i++) {
        must(SSL_key_update(tls_ssl(tls_of(l.client)), SSL_KEY_UPDATE_REQUESTED));
        send_text(l.client, "under new keys");
        expect_text(l.server, "under new keys");
        send_text(l.server, "the same here");
        expect_text(l.client, "the same here");
    }
    link_close(&l);
}

static void keys_are_renewed(void)
{
    with_contexts(13, key_update);
}
TEST(keys_are_renewed)

/* Of TLS 1.2: refused, and the connection goes on. */
static void renegotiation_is_refused(void)
{
    make_contexts(12);
    must(SSL_CTX_set_max_proto_version(client_context, TLS1_2_VERSION));
    SSL_CTX_clear_options(client_context, SSL_OP_NO_RENEGOTIATION);
    struct link_up l;
    struct bytes b;
    link_open(&l);
    must(strcmp(tls_version(tls_of(l.server)), "TLSv1.2") == 0);
    must(SSL_renegotiate(tls_ssl(tls_of(l.client))));
    send_text(l.client, "x"); /* the hello goes first */
    err e = io_pull(l.client, deadline_in_ms(5000), &b);
    must(e != OK && e != ERR_TIMEOUT);
    link_close(&l);
    drop_contexts();
}
TEST(renegotiation_is_refused)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_talks),
        cmocka_unit_test(test_ends_are_told),
        cmocka_unit_test(test_floods_pass_whole),
        cmocka_unit_test(test_bytes_one_by_one),
        cmocka_unit_test(test_splices),
        cmocka_unit_test(test_sends_files),
        cmocka_unit_test(test_tunnels),
        cmocka_unit_test(test_plain_http_is_answered),
        cmocka_unit_test(test_silence_has_a_deadline),
        cmocka_unit_test(test_strangers_are_refused),
        cmocka_unit_test(test_keys_are_renewed),
        cmocka_unit_test(test_renegotiation_is_refused),
    };
    return run_both(tests, sizeof tests / sizeof *tests);
}

#else

#include "base/test.h"

int main(void)
{
    return 0;
}

#endif
