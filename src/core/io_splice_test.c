/* The contract of core/io.h: splicing. Both loops. */
#include "core/io_test.h"

/* ---- splicing ---- */

static char pattern(uint64_t at)
{
    return (char)(at * 31 + (at >> 8) * 7 + (at >> 16));
}

struct pour {
    struct io *io;
    uint64_t len;
    uint64_t slow_us; /* between the pieces */
    uint64_t done;
    bool close;
    bool ended; /* its fiber uses none of this any more */
};

static void pour(struct pour *p)
{
    static char piece[30000];
    while (p->done < p->len) {
        size_t n = p->len - p->done < sizeof piece ? (size_t)(p->len - p->done) : sizeof piece;
        for (size_t i = 0; i < n; i++)
            piece[i] = pattern(p->done + i);
        if (io_write(p->io, (struct bytes){ piece, n }, deadline_in_ms(10000)))
            return;
        p->done += n;
        if (p->slow_us)
            must(fiber_sleep_us(p->slow_us) == OK);
    }
    if (p->close)
        io_end(p->io);
}

static void pour_main(void *arg)
{
    struct pour *p = arg;
    pour(p);
    p->ended = true;
}

static void drink_main(void *arg)
{
    struct pour *p = arg;
    struct bytes b;
    while (p->done < p->len && io_pull(p->io, deadline_in_ms(10000), &b) == OK) {
        for (size_t i = 0; i < b.len; i++)
            must(b.ptr[i] == pattern(p->done + i));
        p->done += b.len;
        io_consume(p->io, b.len);
        if (p->slow_us)
            must(fiber_sleep_us(p->slow_us) == OK);
    }
    p->ended = true;
}

static void wait_ended(const struct pour *p)
{
    while (!p->ended)
        must(fiber_sleep_us(1000) == OK);
}

/* Content through a[0] to b[0]; its head was received already in the ordinary way. */
static void splice_through(uint64_t len, uint64_t pour_slow_us, uint64_t drink_slow_us, bool to_end)
{
    struct io *a[2], *b[2];
    tcp_pair(a);
    tcp_pair(b);
    struct pour in = { .io = a[1], .len = len, .slow_us = pour_slow_us, .close = to_end };
    struct pour out = { .io = b[1], .len = len + 4, .slow_us = drink_slow_us };
    fiber_spawn(pour_main, &in);
    struct bytes run;
    must(io_pull(a[0], deadline_in_ms(5000), &run) == OK);
    must(io_write(b[0], run, DEADLINE_NONE) == OK); /* as a proxy would send the head */
    uint64_t begun = run.len, moved = 0;
    io_consume(a[0], run.len);
    fiber_spawn(drink_main, &out);
    int side = -1;
    err e = io_splice(a[0], b[0], to_end ? UINT64_MAX : len - begun, 5000000, DEADLINE_NONE, &moved, &side);
    must(e == OK && moved == len - begun && side == -1);
    /* the connections go on */
    char tail[4] = { pattern(len), pattern(len + 1), pattern(len + 2), pattern(len + 3) };
    must(io_write(b[0], (struct bytes){ tail, 4 }, DEADLINE_NONE) == OK);
    wait_ended(&out);
    wait_ended(&in);
    if (!to_end) {
        send_text(a[1], "next");
        expect_text(a[0], "next");
    }
    for (int i = 0; i < 2; i++) {
        io_close(a[i], 0, false);
        io_close(b[i], 0, false);
    }
}

static void splice_fast(void)
{
    splice_through(5 * 1024 * 1024 + 17, 0, 0, false);
}
TEST(splice_fast)

static void splice_slow_reader(void)
{
    splice_through(5 * 1024 * 1024, 0, 500, false);
}
TEST(splice_slow_reader)

static void splice_slow_writer(void)
{
    splice_through(900000, 2000, 0, false);
}
TEST(splice_slow_writer)

static void splice_to_the_end(void)
{
    splice_through(3 * 1024 * 1024, 0, 0, true);
}
TEST(splice_to_the_end)

static void splice_within_received(void)
{
    struct io *a[2], *b[2];
    tcp_pair(a);
    tcp_pair(b);
    struct bytes run;
    uint64_t moved = 0;
    int side = -1;
    send_text(a[1], "headBODYnext");
    must(io_pull(a[0], deadline_in_ms(5000), &run) == OK && run.len == 12);
    io_consume(a[0], 4);
    must(io_splice(a[0], b[0], 4, 1000000, DEADLINE_NONE, &moved, &side) == OK && moved == 4);
    expect_text(b[1], "BODY");
    expect_text(a[0], "next");
    for (int i = 0; i < 2; i++) {
        io_close(a[i], 0, false);
        io_close(b[i], 0, false);
    }
}
TEST(splice_within_received)

static void splice_failures(void)
{
    struct io *a[2], *b[2];
    uint64_t moved = 0;
    int side = -1;
    tcp_pair(a);
    tcp_pair(b);
    must(io_peek(a[0]).len == 0);
    must(io_splice(a[0], b[0], 100, 3000, DEADLINE_NONE, &moved, &side) == ERR_TIMEOUT && side == 0 &&
         moved == 0);
    send_text(a[1], "0123456789");
    io_end(a[1]);
    must(io_splice(a[0], b[0], 100, 3000000, DEADLINE_NONE, &moved, &side) == ERR_CLOSED && side == 0 &&
         moved == 10);
    expect_text(b[1], "0123456789");
    io_close(a[0], 0, false);
    io_close(a[1], 0, false);

    tcp_pair(a); /* nobody reads at the other end */
    struct pour in = { .io = a[1], .len = 64 * 1024 * 1024 };
    fiber_spawn(pour_main, &in);
    must(io_splice(a[0], b[0], in.len, 30000, DEADLINE_NONE, &moved, &side) == ERR_TIMEOUT && side == 1 &&
         moved < in.len);
    io_abort(a[0], true);
    wait_ended(&in);
    io_abort(a[1], false);

    tcp_pair(a); /* the other end goes away */
    io_abort(b[1], true);
    in = (struct pour){ .io = a[1], .len = 64 * 1024 * 1024 };
    fiber_spawn(pour_main, &in);
    err e = io_splice(a[0], b[0], in.len, 3000000, DEADLINE_NONE, &moved, &side);
    must(e == ERR_RESET && side == 1);
    io_abort(a[0], true);
    wait_ended(&in);
    io_abort(a[1], false);
    io_abort(b[0], false);
}
TEST(splice_failures)

struct cancelled_splice {
    struct io *from, *to;
    struct fiber *fiber;
    err result;
};

static void splice_for_ever(void *arg)
{
    struct cancelled_splice *c = arg;
    uint64_t moved;
    int side;
    c->fiber = fiber_self();
    c->result = io_splice(c->from, c->to, UINT64_MAX, DEADLINE_NONE, DEADLINE_NONE, &moved, &side);
    c->fiber = NULL;
}

static void splice_cancelled(void)
{
    struct io *a[2], *b[2];
    for (int i = 0; i < 4; i++) {
        tcp_pair(a);
        tcp_pair(b);
        if (i % 2)
            must(io_peek(a[0]).len == 0);
        struct cancelled_splice c = { .from = a[0], .to = b[0] };
        fiber_spawn(splice_for_ever, &c);
        fiber_yield();
        if (i / 2)
            must(fiber_sleep_us(2000) == OK);
        fiber_cancel(c.fiber);
        while (c.fiber)
            fiber_yield();
        must(c.result == ERR_CANCELLED);
        send_text(a[1], "still good");
        expect_text(a[0], "still good");
        for (int n = 0; n < 2; n++) {
            io_close(a[n], 0, false);
            io_close(b[n], 0, false);
        }
    }
}
TEST(splice_cancelled)

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_splice_fast),
    cmocka_unit_test(test_splice_slow_reader),
    cmocka_unit_test(test_splice_slow_writer),
    cmocka_unit_test(test_splice_to_the_end),
    cmocka_unit_test(test_splice_within_received),
    cmocka_unit_test(test_splice_failures),
    cmocka_unit_test(test_splice_cancelled),
};

int main(void)
{
    return run_both(tests, sizeof tests / sizeof *tests);
}
