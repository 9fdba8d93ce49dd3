/* The contract of core/io.h: tunnels. Both loops. */
#include "core/io_test.h"

struct tunnel_run {
    struct io *a, *b;
    uint64_t idle_us, there, back;
    err result;
    struct fiber *fiber;
    bool done;
};

struct rested {
    struct tunnel tunnel;
    err why;
    bool done;
};

static void rested_done(struct tunnel *t, err why)
{
    struct rested *r = container_of(t, struct rested, tunnel);
    must(!r->done);
    r->done = true;
    r->why = why;
}

static void tunnel_main(void *arg)
{
    struct tunnel_run *t = arg;
    struct rested r = { 0 };
    t->fiber = fiber_self();
    tunnel_start(&r.tunnel, t->a, t->b, t->idle_us, rested_done);
    while (!r.done && fiber_sleep_us(1000) == OK) {
    }
    if (!r.done)
        tunnel_cancel(&r.tunnel);
    must(r.done); /* nothing of it has moved */
    t->result = r.why;
    t->there = r.tunnel.ways[0].moved;
    t->back = r.tunnel.ways[1].moved;
    t->done = true;
}

static void wait_done(const struct tunnel_run *t)
{
    while (!t->done)
        must(fiber_sleep_us(1000) == OK);
}

static void tunnel(void)
{
    struct io *a[2], *b[2];
    tcp_pair(a);
    tcp_pair(b);
    struct tunnel_run t = { .a = a[0], .b = b[0], .idle_us = 5000000 };
    fiber_spawn(tunnel_main, &t);
    for (int i = 0; i < 20; i++) {
        send_text(a[1], "there");
        expect_text(b[1], "there");
        send_text(b[1], "and back");
        expect_text(a[1], "and back");
    }
    io_end(a[1]);
    expect_end(b[1]);
    send_text(b[1], "after the end of the other side");
    expect_text(a[1], "after the end of the other side");
    must(!t.done);
    io_end(b[1]);
    wait_done(&t);
    must(t.result == OK && t.there == 100 && t.back == 160 + 31);
    for (int i = 0; i < 2; i++) {
        io_close(a[i], 0, false);
        io_close(b[i], 0, false);
    }
}
TEST(tunnel)

#define IDLE_US 200000

static void tunnel_ends(void)
{
    for (int way = 0; way < 3; way++) {
        struct io *a[2], *b[2];
        tcp_pair(a);
        tcp_pair(b);
        struct tunnel_run t = { .a = a[0], .b = b[0], .idle_us = way == 0 ? IDLE_US : DEADLINE_NONE };
        fiber_spawn(tunnel_main, &t);
        fiber_yield();
        uint64_t begun_us = worker_now_us(), gap_us = 0;
        while (way == 0 && worker_now_us() < begun_us + 2 * IDLE_US && gap_us < IDLE_US / 2) {
            /* one direction alone keeps it alive for longer than one idle time */
            uint64_t before_us = worker_now_us();
            must(!t.done);
            send_text(a[1], "x");
            must(fiber_sleep_us(IDLE_US / 20) == OK);
            gap_us = worker_now_us() - before_us; /* a machine that is too slow for this proves nothing */
        }
        if (way == 1)
            io_abort(a[1], true);
        if (way == 2)
            fiber_cancel(t.fiber);
        wait_done(&t);
        must(t.result == (way == 0 ? ERR_TIMEOUT : way == 1 ? ERR_RESET : ERR_CANCELLED));
        io_abort(a[0], false);
        if (way != 1)
            io_abort(a[1], false);
        io_abort(b[0], false);
        io_abort(b[1], false);
    }
}
TEST(tunnel_ends)

static void wait_rested(const struct rested *r)
{
    while (!r->done)
        must(fiber_sleep_us(1000) == OK);
}

/* ---- somebody in the middle ---- */

/* Knows lines: passes those that begin with '+', drops others, and ends at "!". */
struct lines {
    struct rested r;
    uint64_t due_us;
    unsigned dues, ends;
    struct io *late;
};

static struct tunnel_cut look_at_line(struct tunnel_way *w, struct bytes run)
{
    struct lines *l = container_of(w->tunnel, struct lines, r.tunnel);
    const size_t n = bytes_index(run, '\n') + 1;
    if (n > run.len)
        return (struct tunnel_cut){ 0 };
    if (run.ptr[0] == '!')
        l->r.tunnel.ending = true;
    return run.ptr[0] == '+' ? (struct tunnel_cut){ .pass = n } : (struct tunnel_cut){ .drop = n };
}

static uint64_t line_deadline(const struct tunnel_way *w)
{
    return container_of(w->tunnel, struct lines, r.tunnel)->due_us;
}

static void line_due(struct tunnel_way *w)
{
    struct lines *l = container_of(w->tunnel, struct lines, r.tunnel);
    if (l->due_us > worker_now_us())
        return; /* the other way has been told of it */
    l->dues++;
    l->late = w->from;
    l->due_us = DEADLINE_NONE;
    io_out_end(w->from, (size_t)snprintf(io_out(w->from, 16), 16, "late\n"));
}

static void line_ended(struct tunnel_way *w)
{
    container_of(w->tunnel, struct lines, r.tunnel)->ends++;
}

static const struct tunnel_ops line_ops = { look_at_line, line_deadline, line_due, line_ended };

static void watched(void)
{
    struct io *a[2], *b[2];
    struct lines l = { .due_us = DEADLINE_NONE };
    tcp_pair(a);
    tcp_pair(b);
    tunnel_start_watched(&l.r.tunnel, a[0], b[0], 60000000, &line_ops, rested_done);
    send_text(a[1], "+one\n-two\n+thr");
    expect_text(b[1], "+one\n");
    must(fiber_sleep_us(20000) == OK);
    must(l.r.tunnel.ways[0].moved == 5); /* half a line waits, and does not turn in circles */
    const uint64_t turns = worker_stats(worker_self()).turns;
    must(fiber_sleep_us(20000) == OK);
    must(worker_stats(worker_self()).turns < turns + 100);
    send_text(a[1], "ee\n-\n+four\n");
    expect_text(b[1], "+three\n+four\n");
    l.due_us = worker_now_us() + 1000; /* for whoever looks first */
    tunnel_look_again(&l.r.tunnel);
    while (!l.dues)
        must(fiber_sleep_us(1000) == OK);
    expect_text(l.late == a[0] ? a[1] : b[1], "late\n");
    io_end(b[1]);
    expect_end(a[1]);
    must(l.ends == 1 && !l.r.done);
    send_text(a[1], "+five\n!\n+six\n");
    wait_rested(&l.r);
    must(l.r.why == OK && l.r.tunnel.ways[0].moved == 5 + 7 + 6 + 6);
    for (int i = 0; i < 2; i++) {
        io_close(a[i], 0, false);
        io_close(b[i], 0, false);
    }
}
TEST(watched)

static void watched_is_ended_from_outside(void)
{
    struct io *a[2], *b[2];
    struct lines l = { .due_us = DEADLINE_NONE };
    tcp_pair(a);
    tcp_pair(b);
    tunnel_start_watched(&l.r.tunnel, a[0], b[0], 60000000, &line_ops, rested_done);
    send_text(a[1], "half");
    must(fiber_sleep_us(20000) == OK);
    l.r.tunnel.ending = true;
    tunnel_look_again(&l.r.tunnel);
    wait_rested(&l.r);
    must(l.r.why == OK);
    for (int i = 0; i < 2; i++) {
        io_close(a[i], 0, false);
        io_close(b[i], 0, false);
    }
}
TEST(watched_is_ended_from_outside)

/* ---- at rest, and much at once ---- */

static void at_rest_it_has_no_fiber(void)
{
    struct io *a[2], *b[2];
    struct rested r = { 0 };
    tcp_pair(a);
    tcp_pair(b);
    tunnel_start(&r.tunnel, a[0], b[0], DEADLINE_NONE, rested_done);
    for (int i = 0; i < 5; i++) {
        uint64_t spawned = fiber_stats(worker_self()).spawned;
        send_text(a[1], "there");
        expect_text(b[1], "there");
        send_text(b[1], "back");
        expect_text(a[1], "back");
        must(fiber_stats(worker_self()).spawned == spawned); /* nor does a small message need one */
        must(fiber_stats(worker_self()).live == 1);
    }
    io_end(b[1]);
    expect_end(a[1]);
    io_end(a[1]);
    wait_rested(&r);
    must(r.why == OK && r.tunnel.ways[0].moved == 25 && r.tunnel.ways[1].moved == 20);
    for (int i = 0; i < 2; i++) {
        io_close(a[i], 0, false);
        io_close(b[i], 0, false);
    }
}
TEST(at_rest_it_has_no_fiber)

#define FLOOD_BYTES (24u << 20)

struct flood {
    struct io *io;
    uint64_t pause_at; /* and then rests for a while, so that the tunnel does, too */
    uint64_t sent, got;
    int running;
};

static char flood_byte(uint64_t at)
{
    return (char)(at * 31 + (at >> 8) * 7 + (at >> 16));
}

static void flood_send(void *arg)
{
    struct flood *f = arg;
    char piece[8192];
    while (f->sent < FLOOD_BYTES) {
        if (f->sent == f->pause_at)
            must(fiber_sleep_us(700 * 1000) == OK);
        for (size_t i = 0; i < sizeof piece; i++)
            piece[i] = flood_byte(f->sent + i);
        must(io_write(f->io, (struct bytes){ piece, sizeof piece }, DEADLINE_NONE) == OK);
        f->sent += sizeof piece;
    }
    io_end(f->io);
    f->running--;
}

static void flood_take(void *arg)
{
    struct flood *f = arg;
    struct bytes b;
    err e;
    while (!(e = io_pull(f->io, DEADLINE_NONE, &b))) {
        for (size_t i = 0; i < b.len; i++)
            must(b.ptr[i] == flood_byte(f->got + i));
        f->got += b.len;
        io_consume(f->io, b.len);
    }
    must(e == ERR_CLOSED);
    f->running--;
}

/* Both ways at once; into splicing, back to rest, and into it again. */
static void floods_pass_whole(void)
{
    struct io *a[2], *b[2];
    struct rested r = { 0 };
    tcp_pair(a);
    tcp_pair(b);
    struct flood ends[2] = { { .io = a[1], .pause_at = FLOOD_BYTES / 2, .running = 2 },
                             { .io = b[1], .pause_at = UINT64_MAX, .running = 2 } };
    tunnel_start(&r.tunnel, a[0], b[0], DEADLINE_NONE, rested_done);
    for (int i = 0; i < 2; i++) {
        fiber_spawn(flood_send, &ends[i]);
        fiber_spawn(flood_take, &ends[i]);
    }
    wait_rested(&r);
    while (ends[0].running || ends[1].running)
        must(fiber_sleep_us(1000) == OK);
    must(r.why == OK);
    for (int i = 0; i < 2; i++) {
        must(r.tunnel.ways[i].moved == FLOOD_BYTES && ends[i].got == FLOOD_BYTES);
        io_close(a[i], 0, false);
        io_close(b[i], 0, false);
    }
}
TEST(floods_pass_whole)

/* Who takes nothing is given up, also while the other way is at rest. */
static void stalled_is_ended(void)
{
    struct io *a[2], *b[2];
    struct rested r = { 0 };
    struct flood f = { .pause_at = UINT64_MAX, .running = 1 };
    tcp_pair(a);
    tcp_pair(b);
    tunnel_start(&r.tunnel, a[0], b[0], 50000, rested_done);
    char piece[8192] = { 0 };
    while (!r.done && f.sent < (1u << 30)) {
        err e = io_write(a[1], (struct bytes){ piece, sizeof piece }, deadline_in_ms(10));
        must(e == OK || e == ERR_TIMEOUT);
        f.sent += sizeof piece;
    }
    must(r.done && r.why == ERR_TIMEOUT);
    for (int i = 0; i < 2; i++) {
        io_abort(a[i], false);
        io_abort(b[i], false);
    }
}
TEST(stalled_is_ended)

static void cancelled_while_moving(void)
{
    struct io *a[2], *b[2];
    struct rested r = { 0 };
    tcp_pair(a);
    tcp_pair(b);
    tunnel_start(&r.tunnel, a[0], b[0], DEADLINE_NONE, rested_done);
    char piece[8192] = { 0 };
    while (!r.tunnel.ways[0].fiber)
        must(io_write(a[1], (struct bytes){ piece, sizeof piece }, deadline_in_ms(5000)) == OK);
    tunnel_cancel(&r.tunnel);
    wait_rested(&r);
    must(r.why == ERR_CANCELLED);
    for (int i = 0; i < 2; i++) {
        io_abort(a[i], false);
        io_abort(b[i], false);
    }
}
TEST(cancelled_while_moving)

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_tunnel),
    cmocka_unit_test(test_tunnel_ends),
    cmocka_unit_test(test_watched),
    cmocka_unit_test(test_watched_is_ended_from_outside),
    cmocka_unit_test(test_at_rest_it_has_no_fiber),
    cmocka_unit_test(test_floods_pass_whole),
    cmocka_unit_test(test_stalled_is_ended),
    cmocka_unit_test(test_cancelled_while_moving),
};

int main(void)
{
    return run_both(tests, sizeof tests / sizeof *tests);
}
