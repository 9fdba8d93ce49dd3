/* The contract of core/io.h: reading, writing, deadlines. Both loops. */
#include "core/io_test.h"

static void echo_end(void *arg)
{
    struct io *io = arg;
    struct bytes b;
    while (io_pull(io, DEADLINE_NONE, &b) == OK)
        must(io_lend(io, io, b.len, DEADLINE_NONE) == OK);
    io_close(io, 1000000, false);
}

static void echo(void)
{
    struct io *io[2];
    pair(io);
    fiber_spawn(echo_end, io[1]);
    for (int i = 0; i < 100; i++) {
        send_text(io[0], "hello");
        expect_text(io[0], "hello");
    }
    io_end(io[0]);
    expect_end(io[0]);
    io_close(io[0], 0, false);
}

static void test_echo(void **state)
{
    (void)state;
    on_worker(echo);
}

static void on_echo_accept(void *owner, struct io *io)
{
    (void)owner;
    fiber_spawn(echo_end, io);
}

static void tcp_echo(void)
{
    struct addr at;
    struct io_listener *l;
    must(io_listen(listen_tcp(&at), on_echo_accept, NULL, &l) == OK);
    for (int i = 0; i < 10; i++) {
        struct io *io;
        must(io_connect(tcp_socket(), &at, deadline_in_ms(5000), &io) == OK);
        send_text(io, "over tcp");
        expect_text(io, "over tcp");
        io_end(io);
        expect_end(io);
        io_close(io, 0, false);
    }
    io_listener_close(l, true);
}

static void test_tcp_echo(void **state)
{
    (void)state;
    on_worker(tcp_echo);
}

static void read_deadline(void)
{
    struct io *io[2];
    struct bytes b;
    pair(io);
    uint64_t before_us = worker_now_us();
    must(io_pull(io[0], before_us + 20000, &b) == ERR_TIMEOUT);
    must(worker_now_us() >= before_us + 20000);
    send_text(io[1], "late");
    expect_text(io[0], "late"); /* still good */
    must(fiber_sleep_us(3000) == OK);
    io_abort(io[0], false);
    io_abort(io[1], true);
}

static void test_read_deadline(void **state)
{
    (void)state;
    on_worker(read_deadline);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_echo),
    cmocka_unit_test(test_tcp_echo),
    cmocka_unit_test(test_read_deadline),
};

int main(void)
{
    char reason[128];
    test_loop = LOOP_EPOLL;
    int failed = cmocka_run_group_tests_name("epoll", tests, NULL, NULL);
    if (loop_choose(LOOP_URING, reason, sizeof reason) != LOOP_URING) {
        print_message("io_uring: skipped: %s\n", reason);
        return failed;
    }
    test_loop = LOOP_URING;
    return failed + cmocka_run_group_tests_name("io_uring", tests, NULL, NULL);
}
