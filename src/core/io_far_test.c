/* The contract of core/io_far.h: two of them, each moved into the other, are as good as a pair of sockets. */
#include "core/io_test.h"
/* first what a test needs */
#include "core/io_far.h"

struct end {
    struct io_far far;
    struct end *other;
    bool said_end, closed, broken;
};

static struct end *end_of(struct io_far *f)
{
    return container_of(f, struct end, far);
}

/* As much as the other side has room for. */
static void move(struct end *from)
{
    struct end *to = from->other;
    struct bytes out;
    bool any = false;
    while (from->far.io && to->far.io && io_far_wants(&to->far) && (out = io_far_out(&from->far)).len) {
        struct bytes part = { out.ptr, out.len < 1000 ? out.len : 1000 };
        io_far_put(&to->far, part);
        io_far_took(&from->far, part.len);
        any = true;
    }
    if (any)
        io_far_news(&to->far);
}

static void on_want(struct io_far *f)
{
    move(end_of(f)->other);
}

static void on_send(struct io_far *f)
{
    move(end_of(f));
}

static void on_end(struct io_far *f)
{
    struct end *e = end_of(f);
    must(!e->said_end && !io_far_out(f).len);
    e->said_end = true;
    io_far_put_end(&e->other->far);
    io_far_news(&e->other->far);
}

static void on_closed(struct io_far *f, bool broken)
{
    end_of(f)->closed = true;
    end_of(f)->broken = broken;
}

static const struct io_far_ops ops = { .want = on_want, .send = on_send, .end = on_end, .closed = on_closed };

static void far_pair(struct end ends[2], struct io *ret_ios[2])
{
    for (int i = 0; i < 2; i++) {
        ends[i] = (struct end){ .far.ops = &ops, .other = &ends[!i] };
        ret_ios[i] = io_far_open(&ends[i].far);
    }
}

#define MUCH (1000 * 1000)

static void write_much(void *arg)
{
    static char text[MUCH];
    memset(text, 'x', sizeof text);
    must(io_write(arg, (struct bytes){ text, sizeof text }, DEADLINE_NONE) == OK);
    must(io_drain(arg, 0, DEADLINE_NONE) == OK);
    io_end(arg);
}

static void much_passes_and_ends(void)
{
    struct end ends[2];
    struct io *io[2];
    far_pair(ends, io);
    fiber_spawn(write_much, io[0]);
    size_t got = 0;
    struct bytes in;
    err e;
    while (!(e = io_pull(io[1], deadline_in_ms(20000), &in))) {
        got += in.len;
        io_consume(io[1], in.len);
    }
    must(e == ERR_CLOSED && got == MUCH && ends[0].said_end);
    io_close(io[0], 0, false);
    io_close(io[1], 0, true);
    must(ends[0].closed && !ends[0].broken && ends[1].closed && !ends[1].broken);
}
TEST(much_passes_and_ends)

static void nobody_reads(void)
{
    struct end ends[2];
    struct io *io[2];
    far_pair(ends, io);
    static char text[4 * IO_SEND_BYTES_MAX];
    must(io_write(io[0], (struct bytes){ text, sizeof text }, deadline_in_ms(50)) == ERR_TIMEOUT);
    must(io_queued(io[0]) > IO_SEND_BYTES_MAX);
    io_abort(io[0], true);
    must(ends[0].closed && ends[0].broken);
    io_close(io[1], 0, false);
}
TEST(nobody_reads)

static err woken;
static void wake(void *owner, err why)
{
    woken = why;
    fiber_wake(owner);
}

static void it_is_parked_and_fails(void)
{
    struct end ends[2];
    struct io *io[2];
    far_pair(ends, io);
    io_park(io[1], wake, fiber_self(), DEADLINE_NONE);
    must(io_write(io[0], BYTES("hello"), DEADLINE_NONE) == OK);
    must(fiber_wait(deadline_in_ms(20000)) == OK && woken == OK);
    must(bytes_eq(io_peek(io[1]), BYTES("hello")));
    io_consume(io[1], 5);
    io_park(io[1], wake, fiber_self(), deadline_in_ms(20));
    must(fiber_wait(deadline_in_ms(20000)) == OK && woken == ERR_TIMEOUT);
    io_park(io[1], wake, fiber_self(), DEADLINE_NONE);
    io_far_fail(&ends[1].far, ERR_RESET);
    io_far_news(&ends[1].far);
    must(fiber_wait(deadline_in_ms(20000)) == OK && woken == ERR_RESET);
    must(io_write(io[1], BYTES("x"), DEADLINE_NONE) == ERR_RESET);
    io_close(io[0], 0, false);
    io_close(io[1], 0, false);
    must(ends[1].broken && !ends[0].broken);
}
TEST(it_is_parked_and_fails)

static void what_is_queued_leaves_before_it_closes(void)
{
    struct end ends[2];
    struct io *io[2];
    far_pair(ends, io);
    must(io_write(io[0], BYTES("last words"), DEADLINE_NONE) == OK);
    io_close(io[0], 1000000, false);
    must(!ends[0].closed);
    struct bytes in;
    must(io_pull(io[1], deadline_in_ms(20000), &in) == OK && bytes_eq(in, BYTES("last words")));
    must(ends[0].closed && !ends[0].broken);
    io_close(io[1], 0, false);
}
TEST(what_is_queued_leaves_before_it_closes)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_much_passes_and_ends),
        cmocka_unit_test(test_nobody_reads),
        cmocka_unit_test(test_it_is_parked_and_fails),
        cmocka_unit_test(test_what_is_queued_leaves_before_it_closes),
    };
    return run_both(tests, sizeof tests / sizeof *tests);
}
