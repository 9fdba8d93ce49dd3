/* The contract of core/io.h: reading, writing, deadlines, closing. Both loops; resting and listening are
 * in io_rest_test.c, splicing in io_splice_test.c. */
#include "core/io_test.h"

/* ---- echo ---- */

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
TEST(echo)

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
TEST(tcp_echo)

/* ---- pulling ---- */

static void pull_and_consume(void)
{
    struct io *io[2];
    struct bytes b;
    pair(io);
    must(io_peek(io[0]).len == 0);
    send_text(io[1], "abcdef");
    must(io_pull(io[0], DEADLINE_NONE, &b) == OK && bytes_eq(b, BYTES("abcdef")));
    must(bytes_eq(io_peek(io[0]), BYTES("abcdef")));
    io_consume(io[0], 2);
    must(io_pull(io[0], DEADLINE_NONE, &b) == OK && bytes_eq(b, BYTES("cdef")));
    io_consume(io[0], 4);
    must(io_peek(io[0]).len == 0);
    send_text(io[1], "g");
    io_end(io[1]);
    must(io_pull(io[0], DEADLINE_NONE, &b) == OK && bytes_eq(b, BYTES("g")));
    io_consume(io[0], 1);
    expect_end(io[0]);
    expect_end(io[0]); /* and it stays so */
    must(io_peer_ended(io[0]));
    must(io_failed(io[0]) == OK);
    io_close(io[0], 0, false);
    io_close(io[1], 0, false);
}
TEST(pull_and_consume)

struct drip {
    struct io *to;
    const char *text;
    size_t len;
};

static void drip_main(void *arg)
{
    struct drip *d = arg;
    for (size_t i = 0; i < d->len; i++) {
        must(io_write(d->to, (struct bytes){ d->text + i, 1 }, DEADLINE_NONE) == OK);
        must(io_drain(d->to, 0, DEADLINE_NONE) == OK);
        if (i % 3 == 0)
            fiber_yield();
    }
}

static void pull_more_by_single_bytes(void)
{
    struct io *io[2];
    struct bytes b = BYTES_NONE;
    pair(io);
    struct drip d = { io[1], "one byte at a time, and then a held head", 40 };
    fiber_spawn(drip_main, &d);
    must(io_pull(io[0], DEADLINE_NONE, &b) == OK);
    while (b.len < d.len)
        must(io_pull_more(io[0], b.len, DEADLINE_NONE, &b) == OK);
    must(b.len == d.len && memcmp(b.ptr, d.text, d.len) == 0);
    must(io_pull_more(io[0], b.len, worker_now_us() + 3000, &b) == ERR_TIMEOUT);
    must(io_pull(io[0], DEADLINE_NONE, &b) == OK && b.len == d.len); /* nothing is lost by it */
    io_consume(io[0], d.len);
    io_end(io[1]);
    must(io_pull_more(io[0], 0, DEADLINE_NONE, &b) == ERR_CLOSED);
    io_close(io[0], 0, false);
    io_close(io[1], 0, false);
}
TEST(pull_more_by_single_bytes)

/* Bytes whose place tells their value. */
static char pattern(size_t at)
{
    return (char)(at * 31 + (at >> 8) * 7 + (at >> 16));
}

struct flood {
    struct io *to;
    size_t len;
    bool done;
};

static void flood_main(void *arg)
{
    struct flood *f = arg;
    char piece[5000];
    for (size_t at = 0; at < f->len;) {
        size_t n = f->len - at < sizeof piece ? f->len - at : sizeof piece;
        for (size_t i = 0; i < n; i++)
            piece[i] = pattern(at + i);
        must(io_write(f->to, (struct bytes){ piece, n }, deadline_in_ms(10000)) == OK);
        at += n;
    }
    must(io_drain(f->to, 0, deadline_in_ms(10000)) == OK);
    f->done = true;
}

static void expect_pattern(struct bytes b, size_t from)
{
    for (size_t i = 0; i < b.len; i++)
        must(b.ptr[i] == pattern(from + i));
}

static void pull_more_up_to_the_limit(void)
{
    struct io *io[2];
    struct bytes b = BYTES_NONE;
    pair(io);
    struct flood f = { .to = io[1], .len = 400000 };
    fiber_spawn(flood_main, &f);
    must(io_pull(io[0], DEADLINE_NONE, &b) == OK);
    err e;
    while ((e = io_pull_more(io[0], b.len, deadline_in_ms(5000), &b)) == OK)
        expect_pattern(b, 0);
    must(e == ERR_LIMIT);
    size_t total = 0;
    while (total < f.len) {
        must(io_pull(io[0], deadline_in_ms(5000), &b) == OK);
        expect_pattern(b, total);
        total += b.len;
        io_consume(io[0], b.len);
    }
    io_close(io[0], 0, false);
    io_close(io[1], 0, false);
}
TEST(pull_more_up_to_the_limit)

static void held_bytes_stay(void)
{
    struct io *io[2];
    struct bytes head, b;
    pair(io);
    send_text(io[1], "HEADbody");
    must(io_pull(io[0], DEADLINE_NONE, &head) == OK);
    must(head.len == 8);
    struct lease *hold = io_hold(io[0]);
    head.len = 4;
    io_consume(io[0], 8);
    for (int i = 0; i < 300; i++) { /* every buffer is used again meanwhile */
        send_text(io[1], "something else that overwrites");
        must(io_pull(io[0], DEADLINE_NONE, &b) == OK);
        io_consume(io[0], b.len);
    }
    must(bytes_eq(head, BYTES("HEAD")));
    lease_drop(hold);
    io_close(io[0], 0, false);
    io_close(io[1], 0, false);
}
TEST(held_bytes_stay)

/* ---- deadlines ---- */

static void read_deadline(void)
{
    struct io *io[2];
    struct bytes b;
    pair(io);
    uint64_t before_us = worker_now_us();
    must(io_pull(io[0], before_us + 20000, &b) == ERR_TIMEOUT);
    must(worker_now_us() >= before_us + 20000);
    must(io_pull(io[0], before_us, &b) == ERR_TIMEOUT); /* already past */
    must(io_failed(io[0]) == OK);
    send_text(io[1], "late");
    expect_text(io[0], "late"); /* still good */
    io_abort(io[0], false);
    io_abort(io[1], true);
}
TEST(read_deadline)

static struct fiber *puller;
static err pull_result;

static void pull_for_ever(void *arg)
{
    struct bytes b;
    puller = fiber_self();
    pull_result = io_pull(arg, DEADLINE_NONE, &b);
    puller = NULL;
}

static void earlier_deadline(void)
{
    struct io *io[2];
    struct bytes b;
    pair(io);
    send_text(io[1], "x");
    must(io_pull(io[0], deadline_in_ms(60000), &b) == OK); /* the timer stands a minute away now */
    io_consume(io[0], 1);
    must(io_pull(io[0], worker_now_us() + 3000, &b) == ERR_TIMEOUT);
    io_close(io[0], 0, false);
    io_close(io[1], 0, false);
}
TEST(earlier_deadline)

static void fill_until_blocked(struct io *io)
{
    char piece[16384] = { 0 };
    while (io_queued(io) <= IO_SEND_BYTES_MAX) {
        must(io_write(io, (struct bytes){ piece, sizeof piece }, deadline_in_ms(5000)) == OK);
        must(io_drain(io, 0, worker_now_us() + 3000) == OK || io_queued(io) > 0);
    }
}

static void write_deadline(void)
{
    struct io *io[2];
    pair(io);
    fill_until_blocked(io[0]);
    size_t queued = io_queued(io[0]);
    must(queued > IO_SEND_BYTES_MAX && queued <= IO_SEND_BYTES_MAX + 16384);
    must(io_write(io[0], BYTES("more"), worker_now_us() + 3000) == ERR_TIMEOUT);
    must(io_drain(io[0], 0, worker_now_us() + 3000) == ERR_TIMEOUT);
    must(io_queued(io[0]) == queued);
    io_abort(io[0], false);
    io_abort(io[1], false);
}
TEST(write_deadline)

static void connect_deadline(void)
{
    /* a queue of length 0 that is full: the kernel answers nobody else */
    struct addr at;
    int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(addr_parse(BYTES("127.0.0.1:0"), &at) == OK);
    must(bind(l, &at.sock.any, at.len) == 0 && listen(l, 0) == 0);
    must(getsockname(l, &at.sock.any, &at.len) == 0);
    struct io *io[8];
    int n = 0;
    err e = OK;
    while (n < 8 && (e = io_connect(tcp_socket(), &at, worker_now_us() + 100000, &io[n])) == OK)
        n++;
    must(n < 8 && e == ERR_TIMEOUT);
    while (n > 0)
        io_abort(io[--n], false);
    close(l);
    must(io_connect(tcp_socket(), &at, deadline_in_ms(5000), &io[0]) == ERR_REFUSED);
}
TEST(connect_deadline)

/* ---- cancelling ---- */

static void cancel_each(void)
{
    struct io *io[2];
    pair(io);
    fiber_spawn(pull_for_ever, io[0]);
    fiber_yield();
    must(fiber_sleep_us(2000) == OK);
    fiber_cancel(puller);
    fiber_yield();
    must(!puller && pull_result == ERR_CANCELLED);
    send_text(io[1], "ok");
    expect_text(io[0], "ok");
    io_close(io[0], 0, false);
    io_close(io[1], 0, false);
}
TEST(cancel_each)

static void wait_fd_for_ever(void *arg)
{
    puller = fiber_self();
    pull_result = io_wait_fd(*(int *)arg, POLLIN, DEADLINE_NONE);
    puller = NULL;
}

static void wait_fd(void)
{
    int ends[2];
    must(pipe(ends) == 0);
    must(io_wait_fd(ends[1], POLLOUT, DEADLINE_NONE) == OK);
    must(io_wait_fd(ends[0], POLLIN, worker_now_us() + 2000) == ERR_TIMEOUT);
    fiber_spawn(wait_fd_for_ever, &ends[0]);
    fiber_yield();
    must(fiber_sleep_us(2000) == OK);
    fiber_cancel(puller);
    fiber_yield();
    must(!puller && pull_result == ERR_CANCELLED);
    must(write(ends[1], "x", 1) == 1);
    must(io_wait_fd(ends[0], POLLIN, DEADLINE_NONE) == OK);
    must(io_wait_fd(-1, POLLIN, DEADLINE_NONE) != OK);
    close(ends[0]);
    close(ends[1]);
}
TEST(wait_fd)

/* ---- back-pressure ---- */

static void reader_that_does_not_pull(void)
{
    struct io *io[2];
    struct bytes b;
    pair(io);
    struct flood f = { .to = io[1], .len = 4 * 1024 * 1024 };
    must(io_peek(io[0]).len == 0); /* receiving begins */
    fiber_spawn(flood_main, &f);
    must(fiber_sleep_us(50000) == OK);
    must(!f.done);
    must(worker_stats(worker_self()).buffers_bytes < 4 * 1024 * 1024);
    size_t total = 0;
    while (total < f.len) {
        must(io_pull(io[0], deadline_in_ms(5000), &b) == OK);
        expect_pattern(b, total);
        total += b.len;
        io_consume(io[0], b.len);
        if (total % 7 == 0)
            fiber_yield();
    }
    must(total == f.len);
    while (!f.done)
        fiber_yield();
    io_close(io[0], 0, false);
    io_close(io[1], 0, false);
}
TEST(reader_that_does_not_pull)

/* ---- lending ---- */

static void lend_parts(void)
{
    struct io *a[2], *b[2];
    struct bytes run;
    pair(a);
    pair(b);
    send_text(a[1], "0123456789");
    must(io_pull(a[0], DEADLINE_NONE, &run) == OK && run.len == 10);
    must(io_lend(b[0], a[0], 4, DEADLINE_NONE) == OK);
    must(io_out(b[0], 10) != NULL);
    io_out_end(b[0], 0);
    memcpy(io_out(b[0], 10), "--", 2);
    io_out_end(b[0], 2);
    must(io_lend(b[0], a[0], 6, DEADLINE_NONE) == OK);
    io_close(a[0], 0, false); /* what was lent lives on */
    send_text(b[0], "!");
    must(io_queued(b[0]) == 13);
    expect_text(b[1], "0123--456789!");
    io_close(a[1], 0, false);
    io_close(b[0], 0, false);
    io_close(b[1], 0, false);
}
TEST(lend_parts)

static void many_segments(void)
{
    struct io *a[2], *b[2];
    pair(a);
    pair(b);
    struct flood f = { .to = a[1], .len = 300000 };
    fiber_spawn(flood_main, &f);
    size_t total = 0, got = 0;
    struct bytes run;
    while (got < f.len) {
        while (total < f.len && io_queued(b[0]) < IO_SEND_BYTES_MAX) {
            must(io_pull(a[0], deadline_in_ms(5000), &run) == OK);
            size_t n = run.len < 97 ? run.len : 97; /* far more segments than one sendmsg takes */
            must(io_lend(b[0], a[0], n, DEADLINE_NONE) == OK);
            total += n;
        }
        must(io_pull(b[1], deadline_in_ms(5000), &run) == OK);
        expect_pattern(run, got);
        got += run.len;
        io_consume(b[1], run.len);
    }
    for (int i = 0; i < 2; i++) {
        io_close(a[i], 0, false);
        io_close(b[i], 0, false);
    }
}
TEST(many_segments)

/* ---- ends ---- */

static void close_lingers(void)
{
    struct io *io[2];
    struct bytes b;
    tcp_pair(io);
    char piece[16384];
    size_t total = 0, got = 0;
    while (io_queued(io[0]) <= IO_SEND_BYTES_MAX) { /* more than the kernel takes at once */
        for (size_t i = 0; i < sizeof piece; i++)
            piece[i] = pattern(total + i);
        must(io_write(io[0], (struct bytes){ piece, sizeof piece }, DEADLINE_NONE) == OK);
        total += sizeof piece;
        err e = io_drain(io[0], 0, worker_now_us() + 2000);
        must(e == OK || e == ERR_TIMEOUT);
    }
    io_close(io[0], 5000000, false);
    while (io_pull(io[1], deadline_in_ms(5000), &b) == OK) {
        expect_pattern(b, got);
        got += b.len;
        io_consume(io[1], b.len);
    }
    must(got == total);
    expect_end(io[1]);
    io_close(io[1], 0, false);
}
TEST(close_lingers)

static void close_gives_up(void)
{
    struct io *io[2];
    tcp_pair(io);
    fill_until_blocked(io[0]);
    io_close(io[0], 5000, false); /* nobody reads: it ends anyway, or this worker would never stop */
    must(worker_stats(worker_self()).connections == 2);
    while (worker_stats(worker_self()).connections == 2)
        must(fiber_sleep_us(1000) == OK);
    io_abort(io[1], false);
}
TEST(close_gives_up)

static void close_discards(void)
{
    struct io *io[2];
    struct bytes b;
    tcp_pair(io);
    must(io_peek(io[1]).len == 0);
    struct flood f = { .to = io[0], .len = 1000000 };
    fiber_spawn(flood_main, &f);
    must(fiber_sleep_us(10000) == OK);
    send_text(io[1], "413");
    io_close(io[1], 1000000, true); /* without discard the answer would be lost to a reset */
    expect_text(io[0], "413");
    expect_end(io[0]);
    must(io_pull(io[0], deadline_in_ms(1000), &b) == ERR_CLOSED);
    while (!f.done) /* the rest is taken and dropped */
        must(fiber_sleep_us(1000) == OK);
    io_close(io[0], 0, false);
    while (worker_stats(worker_self()).connections > 0)
        must(fiber_sleep_us(1000) == OK);
}
TEST(close_discards)

static void reset(void)
{
    struct io *io[2];
    struct bytes b;
    tcp_pair(io);
    must(io_peek(io[1]).len == 0);
    io_abort(io[0], true);
    must(io_pull(io[1], deadline_in_ms(5000), &b) == ERR_RESET);
    must(io_failed(io[1]) == ERR_RESET);
    must(io_write(io[1], BYTES("x"), DEADLINE_NONE) == OK); /* the queue takes it; the send fails */
    must(io_drain(io[1], 0, deadline_in_ms(5000)) == ERR_RESET);
    must(io_write(io[1], BYTES("x"), DEADLINE_NONE) == ERR_RESET);
    io_close(io[1], 1000000, true);
}
TEST(reset)

static void bytes_before_the_end(void)
{
    struct io *io[2];
    tcp_pair(io);
    send_text(io[0], "last words");
    io_close(io[0], 1000000, false);
    must(fiber_sleep_us(10000) == OK);
    must(io_peek(io[1]).len == 10 || io_peek(io[1]).len == 0);
    expect_text(io[1], "last words");
    expect_end(io[1]);
    io_close(io[1], 0, false);
}
TEST(bytes_before_the_end)

static void close_with_receive_under_way(void)
{
    for (int i = 0; i < 50; i++) {
        struct io *io[2];
        tcp_pair(io);
        must(io_peek(io[0]).len == 0);
        must(io_peek(io[1]).len == 0);
        send_text(io[1], "never read");
        if (i % 2)
            fiber_yield();
        if (i % 3 == 0)
            io_abort(io[0], i % 4 == 0);
        else
            io_close(io[0], 1000, false);
        io_close(io[1], 1000, false);
    }
    while (worker_stats(worker_self()).connections > 0)
        fiber_yield();
}
TEST(close_with_receive_under_way)

static void write_while_reading(void)
{
    struct io *io[2];
    pair(io);
    struct flood there = { .to = io[0], .len = 1000000 }, back = { .to = io[1], .len = 1000000 };
    fiber_spawn(flood_main, &there);
    fiber_spawn(flood_main, &back);
    size_t got[2] = { 0, 0 };
    while (got[0] < there.len || got[1] < back.len)
        for (int i = 0; i < 2; i++) {
            struct bytes b = io_peek(io[i]);
            expect_pattern(b, got[i]);
            got[i] += b.len;
            io_consume(io[i], b.len);
            fiber_yield();
        }
    while (!there.done || !back.done)
        fiber_yield();
    io_close(io[0], 0, false);
    io_close(io[1], 0, false);
}
TEST(write_while_reading)

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_echo),
    cmocka_unit_test(test_tcp_echo),
    cmocka_unit_test(test_pull_and_consume),
    cmocka_unit_test(test_pull_more_by_single_bytes),
    cmocka_unit_test(test_pull_more_up_to_the_limit),
    cmocka_unit_test(test_held_bytes_stay),
    cmocka_unit_test(test_read_deadline),
    cmocka_unit_test(test_earlier_deadline),
    cmocka_unit_test(test_write_deadline),
    cmocka_unit_test(test_connect_deadline),
    cmocka_unit_test(test_cancel_each),
    cmocka_unit_test(test_wait_fd),
    cmocka_unit_test(test_reader_that_does_not_pull),
    cmocka_unit_test(test_lend_parts),
    cmocka_unit_test(test_many_segments),
    cmocka_unit_test(test_close_lingers),
    cmocka_unit_test(test_close_gives_up),
    cmocka_unit_test(test_close_discards),
    cmocka_unit_test(test_reset),
    cmocka_unit_test(test_bytes_before_the_end),
    cmocka_unit_test(test_close_with_receive_under_way),
    cmocka_unit_test(test_write_while_reading),
};

int main(void)
{
    return run_both(tests, sizeof tests / sizeof *tests);
}
