/* Sockets really have the options asked for; who else listens is found out; what the dead left goes. */
#include "net/tcp.h"

#include <netinet/tcp.h>
#include <sys/stat.h>

#include "core/io_test.h"

static int get_int(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof value;
    must(getsockopt(fd, level, name, &value, &len) == 0);
    return value;
}

static struct addr bound_to(int fd)
{
    struct addr a = { .len = sizeof a.sock };
    must(getsockname(fd, &a.sock.any, &a.len) == 0);
    return a;
}

static struct addr addr_of(const char *text)
{
    struct addr a;
    must(addr_parse(bytes_from(text), &a) == OK);
    return a;
}

static const struct tcp_options none;

static const struct tcp_options many = {
    .congestion = "reno",
    .nodelay = true,
    .keepalive = true,
    .fast_open = true,
    .keepalive_idle_ms = 12500,
    .send_buffer_bytes = 40000,
    .recv_buffer_bytes = 50000,
    .backlog = 7,
};

static void expect_many(int fd)
{
    char congestion[16] = { 0 };
    socklen_t len = sizeof congestion;
    must(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion, &len) == 0);
    assert_string_equal(congestion, "reno");
    assert_int_not_equal(get_int(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    assert_int_not_equal(get_int(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
    assert_int_equal(get_int(fd, IPPROTO_TCP, TCP_KEEPIDLE), 13); /* whole seconds, rounded up */
    assert_int_equal(get_int(fd, SOL_SOCKET, SO_SNDBUF), 80000);  /* the kernel doubles it */
    assert_int_equal(get_int(fd, SOL_SOCKET, SO_RCVBUF), 100000);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static int accepted(int listener)
{
    struct pollfd p = { .fd = listener, .events = POLLIN };
    must(poll(&p, 1, 5000) == 1);
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    must(fd >= 0);
    return fd;
}

static void listener_options(void **state)
{
    (void)state;
    struct addr at = addr_of("127.0.0.1:0");
    int fd;
    assert_int_equal(tcp_listen(&at, &many, false, &fd, NULL), OK);
    expect_many(fd);
    assert_int_equal(get_int(fd, SOL_SOCKET, SO_REUSEPORT), 0);
    assert_true(get_int(fd, IPPROTO_TCP, TCP_FASTOPEN) > 0);
    assert_int_not_equal(get_int(fd, SOL_SOCKET, SO_ACCEPTCONN), 0);
    struct tcp_info info;
    socklen_t len = sizeof info;
    must(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0);
    assert_int_equal(info.tcpi_sacked, 7); /* of a listener: its backlog */
    struct addr bound = bound_to(fd);
    int client = tcp_socket();
    must(connect(client, &bound.sock.any, bound.len) == 0 || errno == EINPROGRESS);
    int server = accepted(fd);
    expect_many(server); /* what is accepted has them too */
    close(server);
    close(client);
    close(fd);
    assert_int_equal(tcp_listen(&at, &none, false, &fd, NULL), OK);
    assert_int_equal(get_int(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    assert_int_equal(get_int(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
    assert_int_equal(get_int(fd, IPPROTO_TCP, TCP_FASTOPEN), 0);
    close(fd);
}

static void one_socket_a_worker(void **state)
{
    (void)state;
    struct addr at = addr_of("127.0.0.1:0");
    int fds[3];
    assert_int_equal(tcp_listen(&at, &many, true, &fds[0], NULL), OK);
    struct addr bound = bound_to(fds[0]);
    assert_int_not_equal(bound.sock.v4.sin_port, 0);
    for (int i = 1; i < 3; i++) {
        assert_int_equal(tcp_listen_again(&at, &many, fds[0], &fds[i], NULL), OK);
        struct addr other = bound_to(fds[i]);
        assert_true(addr_eq(&bound, &other));
    }
    for (int i = 0; i < 3; i++) {
        expect_many(fds[i]);
        assert_int_not_equal(get_int(fds[i], SOL_SOCKET, SO_REUSEPORT), 0);
        close(fds[i]);
    }
}

static void expect_in_use(const struct addr *at, bool reuse_port)
{
    struct diag d = DIAG_NONE;
    char text[ADDR_TEXT_BYTES_MAX];
    char wanted[200];
    int fd = -1;
    addr_print(at, text);
    snprintf(wanted, sizeof wanted, "cannot listen on %s: Address already in use", text);
    assert_int_equal(tcp_listen(at, &none, reuse_port, &fd, &d), ERR_IN_USE);
    assert_int_equal(fd, -1);
    assert_string_equal(d.text, wanted);
}

static void in_use(void **state)
{
    (void)state;
    struct addr at = addr_of("127.0.0.1:0");
    int fd;
    assert_int_equal(tcp_listen(&at, &none, true, &fd, NULL), OK);
    at = bound_to(fd);
    expect_in_use(&at, true); /* though both would share it */
    struct addr all = at;
    all.sock.v4.sin_addr.s_addr = 0;
    expect_in_use(&all, true);
    close(fd);
    assert_int_equal(tcp_listen(&at, &none, true, &fd, NULL), OK); /* and free at once when it is let go */
    close(fd);
}

static void nowhere(void **state)
{
    (void)state;
    struct addr at = addr_of("192.0.2.1:80"); /* TEST-NET-1: nobody's */
    struct diag d = DIAG_NONE;
    int fd;
    assert_int_not_equal(tcp_listen(&at, &none, true, &fd, &d), OK);
    assert_non_null(strstr(d.text, "cannot listen on 192.0.2.1:80: "));
}

static void both_families(void **state)
{
    (void)state;
    struct addr all = addr_of(":0");
    int fd;
    err e = tcp_listen(&all, &none, true, &fd, NULL);
    if (e) {
        print_message("IPv6: skipped\n");
        return;
    }
    assert_int_equal(get_int(fd, IPPROTO_IPV6, IPV6_V6ONLY), 0);
    struct addr bound = bound_to(fd);
    struct addr v4 = addr_of("127.0.0.1:0");
    v4.sock.v4.sin_port = bound.sock.v6.sin6_port;
    int client = tcp_socket();
    must(connect(client, &v4.sock.any, v4.len) == 0 || errno == EINPROGRESS);
    int server = accepted(fd);
    struct peer p = peer_of(server); /* ::ffff:127.0.0.1 */
    assert_int_equal(p.family, 4);
    struct addr peer = peer_addr(&p);
    struct addr there = bound_to(client);
    assert_true(addr_eq(&peer, &there));
    close(server);
    close(client);
    close(fd);
    struct addr one = addr_of("[::1]:0");
    assert_int_equal(tcp_listen(&one, &none, true, &fd, NULL), OK);
    assert_int_not_equal(get_int(fd, IPPROTO_IPV6, IPV6_V6ONLY), 0);
    bound = bound_to(fd);
    client = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(connect(client, &bound.sock.any, bound.len) == 0);
    server = accepted(fd);
    p = peer_of(server);
    assert_int_equal(p.family, 6);
    peer = peer_addr(&p);
    there = bound_to(client);
    assert_true(addr_eq(&peer, &there));
    close(server);
    close(client);
    close(fd);
}

/* ---- unix sockets ---- */

static char folder[] = "weir-tcp-test-XXXXXX";

static struct addr unix_addr(const char *name)
{
    char text[100];
    snprintf(text, sizeof text, "unix:%s/%s", folder, name);
    return addr_of(text);
}

static void unix_leftover(void **state)
{
    (void)state;
    struct addr at = unix_addr("left");
    int fd;
    int again;
    assert_int_equal(tcp_listen(&at, &none, true, &fd, NULL), OK);
    expect_in_use(&at, true);
    assert_int_equal(access(at.sock.local.sun_path, F_OK), 0); /* and it is still there */
    int asked;
    while ((asked = accept4(fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) /* those who looked whether we live */
        close(asked);
    assert_int_equal(tcp_listen_again(&at, &many, fd, &again, NULL), OK);
    assert_int_not_equal(again, fd);
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(connect(client, &at.sock.any, at.len) == 0);
    int server = accepted(again);
    assert_int_equal(peer_of(server).family, 1);
    struct peer p = peer_of(server);
    assert_int_equal(peer_addr(&p).sock.any.sa_family, AF_UNIX);
    close(server);
    close(client);
    close(fd);
    close(again); /* its owner has died; the file stays */
    assert_int_equal(access(at.sock.local.sun_path, F_OK), 0);
    assert_int_equal(tcp_listen(&at, &none, true, &fd, NULL), OK);
    close(fd);
    unlink(at.sock.local.sun_path);
}

/* Connecting to what is no socket is refused just like connecting to a leftover one. */
static void a_file_is_no_leftover(void **state)
{
    (void)state;
    struct addr at = unix_addr("file");
    int fd = open(at.sock.local.sun_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    must(fd >= 0 && write(fd, "dear", 4) == 4);
    close(fd);
    expect_in_use(&at, true);
    struct stat s;
    assert_int_equal(stat(at.sock.local.sun_path, &s), 0);
    assert_int_equal(s.st_size, 4);
    unlink(at.sock.local.sun_path);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

/* ---- peers ---- */

static void no_peer(void **state)
{
    (void)state;
    int fd = tcp_socket();
    struct peer p = peer_of(fd);
    assert_int_equal(p.family, 0);
    assert_int_equal(peer_addr(&p).len, 0);
    close(fd);
    assert_int_equal(peer_of(-1).family, 0);
}

static void congestion(void **state)
{
    (void)state;
    assert_true(tcp_congestion_known("reno"));
    assert_false(tcp_congestion_known("no-such-thing"));
    assert_false(tcp_congestion_known(""));
}

/* ---- connecting ---- */

static void connecting(void)
{
    struct addr at = addr_of("127.0.0.1:0");
    int fd;
    struct io *io;
    must(tcp_listen(&at, &none, false, &fd, NULL) == OK);
    at = bound_to(fd);
    must(tcp_connect(&at, NULL, deadline_in_ms(5000), &io) == OK);
    must(get_int(io_fd(io), IPPROTO_TCP, TCP_NODELAY));
    must(!get_int(io_fd(io), SOL_SOCKET, SO_KEEPALIVE));
    close(accepted(fd));
    io_close(io, 0, false);
    must(tcp_connect(&at, &none, deadline_in_ms(5000), &io) == OK);
    must(!get_int(io_fd(io), IPPROTO_TCP, TCP_NODELAY));
    close(accepted(fd));
    io_close(io, 0, false);
    struct tcp_options opts = many;
    opts.fast_open = false;
    must(tcp_connect(&at, &opts, deadline_in_ms(5000), &io) == OK);
    expect_many(io_fd(io));
    close(accepted(fd));
    io_close(io, 0, false);
    opts.fast_open = true; /* with data: the first segment may carry it */
    must(tcp_connect(&at, &opts, deadline_in_ms(5000), &io) == OK);
    must(get_int(io_fd(io), IPPROTO_TCP, TCP_FASTOPEN_CONNECT));
    send_text(io, "hello");
    must(io_drain(io, 0, deadline_in_ms(5000)) == OK);
    struct io *server = io_open(accepted(fd));
    expect_text(server, "hello");
    send_text(server, "back");
    expect_text(io, "back");
    io_close(server, 0, false);
    io_close(io, 0, false);
    close(fd);
    must(tcp_connect(&at, NULL, deadline_in_ms(5000), &io) == ERR_REFUSED);
    at = unix_addr("nobody");
    must(tcp_connect(&at, NULL, deadline_in_ms(5000), &io) != OK);
}
TEST(connecting)

int main(void)
{
    static const struct CMUnitTest both[] = { cmocka_unit_test(test_connecting) };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listener_options),
        cmocka_unit_test(one_socket_a_worker),
        cmocka_unit_test(in_use),
        cmocka_unit_test(nowhere),
        cmocka_unit_test(both_families),
        cmocka_unit_test(unix_leftover),
        cmocka_unit_test(a_file_is_no_leftover),
        cmocka_unit_test(no_peer),
        cmocka_unit_test(congestion),
    };
    int failed = cmocka_run_group_tests(tests, make_folder, remove_folder);
    return failed + run_both(both, 1);
}
