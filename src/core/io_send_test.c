/* The contract of core/io.h: how what is written leaves. Both loops. */
#include <linux/tcp.h>
#include <netinet/in.h>

#include "core/io_test.h"

/* ---- ending ---- */

static unsigned segments_in(struct io *io)
{
    struct tcp_info info = { 0 };
    socklen_t len = sizeof info;
    must(getsockopt(io_fd(io), IPPROTO_TCP, TCP_INFO, &info, &len) == 0);
    return info.tcpi_segs_in;
}

static void last_bytes_bring_the_end(void)
{
    for (int closes = 0; closes < 2; closes++) {
        struct io *io[2];
        tcp_pair(io);
        unsigned before = segments_in(io[0]);
        send_text(io[1], "good-bye");
        if (closes)
            io_close(io[1], 1000000, false);
        else
            io_end(io[1]);
        expect_text(io[0], "good-bye");
        expect_end(io[0]);
        must(segments_in(io[0]) - before == 1);
        io_close(io[0], 0, false);
        if (!closes)
            io_close(io[1], 0, false);
    }
}
TEST(last_bytes_bring_the_end)

/* ---- small sends ---- */

enum { ROUNDS = 50 };

static uint64_t turns_with(struct io *io)
{
    uint64_t before = worker_stats(worker_self()).turns;
    for (int i = 0; i < ROUNDS; i++) {
        if (io)
            send_text(io, "x");
        must(fiber_sleep_us(1000) == OK);
    }
    return worker_stats(worker_self()).turns - before;
}

/* That one has gone out is no reason for a turn of the loop. */
static void sends_wake_nobody(void)
{
    int fds[2];
    pair_fds(fds);
    struct io *io = io_open(fds[0]);
    uint64_t without = turns_with(NULL);
    must(turns_with(io) <= without + ROUNDS / 2);
    io_close(io, 0, false);
    close(fds[1]);
}
TEST(sends_wake_nobody)

/* Nothing else happens on this worker until the deadline. */
static void who_waits_for_a_send_is_told(void)
{
    int fds[2];
    pair_fds(fds);
    struct io *io = io_open(fds[0]);
    uint64_t begin_us = worker_now_us();
    must(io_write(io, BYTES("x"), deadline_in_ms(30000)) == OK);
    must(io_drain(io, 0, deadline_in_ms(30000)) == OK);
    must(worker_now_us() - begin_us < 20000000);
    io_close(io, 0, false);
    close(fds[1]);
}
TEST(who_waits_for_a_send_is_told)

/* One a turn until there is no room; then all of it arrives. */
static void small_sends_without_room(void)
{
    struct io *io[2];
    tcp_pair(io);
    char text[1000], got[sizeof text];
    unsigned count = 0;
    for (int stuck = 0; stuck < 3; count++) {
        memset(text, 'a' + (int)(count % 26), sizeof text);
        must(io_write(io[0], (struct bytes){ text, sizeof text }, deadline_in_ms(5000)) == OK);
        fiber_yield();
        fiber_yield();
        stuck = io_queued(io[0]) ? stuck + 1 : 0;
    }
    for (unsigned i = 0; i < count; i++) {
        read_all(io[1], got, sizeof got);
        memset(text, 'a' + (int)(i % 26), sizeof text);
        must(memcmp(got, text, sizeof text) == 0);
    }
    must(io_queued(io[0]) == 0);
    io_close(io[0], 0, false);
    io_close(io[1], 0, false);
}
TEST(small_sends_without_room)

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_last_bytes_bring_the_end),
    cmocka_unit_test(test_sends_wake_nobody),
    cmocka_unit_test(test_who_waits_for_a_send_is_told),
    cmocka_unit_test(test_small_sends_without_room),
};

int main(void)
{
    return run_both(tests, sizeof tests / sizeof *tests);
}
