/* io_test: what the contract tests of io share. Each test is a fiber on a worker of the loop that main names.
 */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/must.h"
#include "core/fiber.h"
#include "core/io.h"
#include "core/worker.h"

static enum loop_kind test_loop;

struct test_run {
    void (*fn)(void);
};

static void test_main(void *arg)
{
    ((struct test_run *)arg)->fn();
    worker_stop(worker_self());
}

/* fn runs as a fiber on a fresh worker; what fails there is a must(). */
static inline void on_worker(void (*fn)(void))
{
    struct test_run run = { fn };
    struct diag d = DIAG_NONE;
    struct worker_opts opts = { .loop = test_loop, .cpu = -1, .name = "test" };
    err e = worker_run(&opts, test_main, &run, &d);
    if (e)
        fail_msg("worker_run: %s %s", err_name(e), d.text);
}

#define TEST(name)                        \
    static void test_##name(void **state) \
    {                                     \
        (void)state;                      \
        on_worker(name);                  \
    }

/* The same tests over each loop that is to be had. */
static inline int run_both(const struct CMUnitTest *tests, size_t count)
{
    char reason[128];
    test_loop = LOOP_EPOLL;
    int failed = _cmocka_run_group_tests("epoll", tests, count, NULL, NULL);
    if (loop_choose(LOOP_URING, reason, sizeof reason) != LOOP_URING) {
        print_message("io_uring: skipped: %s\n", reason);
        return failed;
    }
    test_loop = LOOP_URING;
    return failed + _cmocka_run_group_tests("io_uring", tests, count, NULL, NULL);
}

static inline void pair_fds(int ret_fds[2])
{
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ret_fds) == 0);
}

static inline void pair(struct io *ret_ios[2])
{
    int fds[2];
    pair_fds(fds);
    ret_ios[0] = io_open(fds[0]);
    ret_ios[1] = io_open(fds[1]);
}

static inline int listen_tcp(struct addr *ret_addr)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0);
    must(addr_parse(BYTES("127.0.0.1:0"), ret_addr) == OK);
    must(bind(fd, &ret_addr->sock.any, ret_addr->len) == 0);
    must(listen(fd, 4096) == 0);
    must(getsockname(fd, &ret_addr->sock.any, &ret_addr->len) == 0);
    return fd;
}

static inline int tcp_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    must(fd >= 0);
    return fd;
}

static inline void tcp_pair(struct io *ret_ios[2])
{
    struct addr at;
    int l = listen_tcp(&at);
    must(io_connect(tcp_socket(), &at, deadline_in_ms(5000), &ret_ios[0]) == OK);
    int fd = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    must(fd >= 0);
    ret_ios[1] = io_open(fd);
    close(l);
}

/* Reads exactly n bytes. */
static inline void read_all(struct io *io, char *out, size_t n)
{
    while (n > 0) {
        struct bytes b;
        must(io_pull(io, deadline_in_ms(5000), &b) == OK);
        must(b.len > 0);
        size_t k = b.len < n ? b.len : n;
        memcpy(out, b.ptr, k);
        io_consume(io, k);
        out += k;
        n -= k;
    }
}

static inline void expect_text(struct io *io, const char *text)
{
    char got[256];
    must(strlen(text) <= sizeof got);
    read_all(io, got, strlen(text));
    must(memcmp(got, text, strlen(text)) == 0);
}

static inline void send_text(struct io *io, const char *text)
{
    must(io_write(io, bytes_from(text), deadline_in_ms(5000)) == OK);
}

static inline void expect_end(struct io *io)
{
    struct bytes b;
    must(io_pull(io, deadline_in_ms(5000), &b) == ERR_CLOSED);
}
