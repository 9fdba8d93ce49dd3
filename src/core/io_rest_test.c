/* The contract of core/io.h: resting, listening, and what is scarce. Both loops. */
#include <sys/resource.h>

#include "core/io_test.h"

/* ---- parking ---- */

struct rest {
    struct io *io;
    struct fiber *waiter;
    err why;
    int wakes;
};

static void rest_wakes(void *owner, err why)
{
    struct rest *r = owner;
    must(fiber_self() == NULL);
    r->why = why;
    r->wakes++;
    fiber_wake(r->waiter);
}

static err park_and_wait(struct rest *r, struct io *io, uint64_t deadline_us)
{
    *r = (struct rest){ .io = io, .waiter = fiber_self() };
    io_park(io, rest_wakes, r, deadline_us);
    must(r->wakes == 0); /* never from within io_park */
    must(fiber_wait(deadline_in_ms(5000)) == OK);
    must(r->wakes == 1);
    return r->why;
}

static void late_bytes(void *arg)
{
    must(fiber_sleep_us(3000) == OK);
    send_text(arg, "morning");
}

static void late_end(void *arg)
{
    must(fiber_sleep_us(3000) == OK);
    io_close(arg, 1000000, false);
}

static void late_reset(void *arg)
{
    must(fiber_sleep_us(3000) == OK);
    io_abort(arg, true);
}

static void park_wakes(void)
{
    struct io *io[2];
    struct rest r;
    tcp_pair(io);
    fiber_spawn(late_bytes, io[1]);
    must(park_and_wait(&r, io[0], DEADLINE_NONE) == OK);
    must(bytes_eq(io_peek(io[0]), BYTES("morning")));
    must(park_and_wait(&r, io[0], DEADLINE_NONE) == OK); /* they are still there */
    expect_text(io[0], "morning");
    must(park_and_wait(&r, io[0], worker_now_us() + 3000) == ERR_TIMEOUT);
    must(park_and_wait(&r, io[0], worker_now_us()) == ERR_TIMEOUT);
    fiber_spawn(late_end, io[1]);
    must(park_and_wait(&r, io[0], DEADLINE_NONE) == ERR_CLOSED);
    must(park_and_wait(&r, io[0], DEADLINE_NONE) == ERR_CLOSED);
    io_close(io[0], 0, false);

    tcp_pair(io);
    fiber_spawn(late_reset, io[1]);
    must(park_and_wait(&r, io[0], DEADLINE_NONE) == ERR_RESET);
    io_close(io[0], 0, false);
}
TEST(park_wakes)

static void park_bytes_and_end_together(void)
{
    struct io *io[2];
    struct rest r;
    struct bytes b;
    for (int i = 0; i < 20; i++) {
        tcp_pair(io);
        send_text(io[1], "bye");
        io_close(io[1], 1000000, false);
        if (i % 2)
            must(fiber_sleep_us(2000) == OK);
        must(park_and_wait(&r, io[0], DEADLINE_NONE) == OK);
        expect_text(io[0], "bye");
        must(park_and_wait(&r, io[0], DEADLINE_NONE) == ERR_CLOSED);
        must(io_pull(io[0], DEADLINE_NONE, &b) == ERR_CLOSED);
        io_close(io[0], 0, false);
    }
}
TEST(park_bytes_and_end_together)

static void unpark(void)
{
    struct io *io[2];
    tcp_pair(io);
    struct rest r = { .io = io[0], .waiter = fiber_self() };
    io_park(io[0], rest_wakes, &r, worker_now_us() + 3000);
    io_unpark(io[0]);
    must(fiber_sleep_us(10000) == OK);
    send_text(io[1], "here already");
    must(fiber_sleep_us(5000) == OK);
    io_park(io[0], rest_wakes, &r, DEADLINE_NONE);
    io_unpark(io[0]); /* although the wake was due at the end of this turn */
    fiber_yield();
    fiber_yield();
    must(r.wakes == 0);
    expect_text(io[0], "here already");
    /* parked when it is closed: no wake either */
    io_park(io[0], rest_wakes, &r, worker_now_us() + 3000);
    io_close(io[0], 0, false);
    must(fiber_sleep_us(10000) == OK);
    must(r.wakes == 0);
    io_close(io[1], 0, false);
}
TEST(unpark)

static void parked_output_goes_out(void)
{
    struct io *io[2];
    tcp_pair(io);
    struct rest r = { .io = io[0], .waiter = fiber_self() };
    send_text(io[0], "answer");
    io_park(io[0], rest_wakes, &r, DEADLINE_NONE);
    expect_text(io[1], "answer");
    io_unpark(io[0]);
    io_close(io[0], 0, false);
    io_close(io[1], 0, false);
}
TEST(parked_output_goes_out)

static void stop_closes_parked(void)
{
    struct io *io[2];
    static struct rest r;
    tcp_pair(io);
    r = (struct rest){ .io = io[0] };
    io_park(io[0], rest_wakes, &r, DEADLINE_NONE);
    io_park(io[1], rest_wakes, &r, deadline_in_ms(60000));
    /* the worker stops now; on_worker returns only if it gets rid of them */
}
TEST(stop_closes_parked)

/* ---- listening ---- */

static unsigned accepted_count;
static struct io *accepted_ios[4096];
static struct fiber *accept_waiter;
static unsigned accept_wanted;

static void on_accept(void *owner, struct io *io)
{
    must(owner == &accepted_count);
    accepted_ios[accepted_count++] = io;
    if (accepted_count == accept_wanted)
        fiber_wake(accept_waiter);
}

static struct io_listener *listen_counting(struct addr *ret_at)
{
    struct io_listener *l;
    accepted_count = 0;
    accept_waiter = fiber_self();
    must(io_listen(listen_tcp(ret_at), on_accept, &accepted_count, &l) == OK);
    return l;
}

static void wait_accepted(unsigned wanted)
{
    accept_wanted = wanted;
    if (accepted_count < wanted)
        must(fiber_wait(deadline_in_ms(10000)) == OK);
    must(accepted_count == wanted);
}

static void close_accepted(void)
{
    while (accepted_count > 0)
        io_close(accepted_ios[--accepted_count], 0, false);
}

static int connect_plainly(const struct addr *at)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0 && connect(fd, &at->sock.any, at->len) == 0);
    return fd;
}

#define BURST 1000

static void accept_burst(void)
{
    struct addr at;
    static int fds[BURST];
    struct io_listener *l = listen_counting(&at);
    for (int i = 0; i < BURST; i++) {
        fds[i] = connect_plainly(&at);
        must(write(fds[i], &i, sizeof i) == sizeof i);
    }
    wait_accepted(BURST);
    uint64_t sum = 0;
    for (int i = 0; i < BURST; i++) {
        int number;
        read_all(accepted_ios[i], (char *)&number, sizeof number);
        sum += (unsigned)number;
    }
    must(sum == BURST * (BURST - 1) / 2);
    close_accepted();
    while (worker_stats(worker_self()).connections > 0)
        fiber_yield();
    for (int i = 0; i < BURST; i++) {
        char c;
        must(read(fds[i], &c, 1) == 0); /* a FIN, no reset */
        close(fds[i]);
    }
    io_listener_close(l, true);
}
TEST(accept_burst)

static void pause_and_close(void)
{
    struct addr at;
    int fd[6];
    struct io_listener *l = listen_counting(&at);
    fd[0] = connect_plainly(&at);
    wait_accepted(1);
    io_listener_pause(l, true);
    io_listener_pause(l, true);
    fd[1] = connect_plainly(&at);
    fd[2] = connect_plainly(&at);
    must(fiber_sleep_us(10000) == OK);
    must(accepted_count == 1);
    io_listener_pause(l, false);
    io_listener_pause(l, false);
    wait_accepted(3);
    io_listener_pause(l, true);
    fd[3] = connect_plainly(&at);
    fd[4] = connect_plainly(&at);
    io_listener_close(l, true); /* what stands in the queue is not lost */
    must(accepted_count == 5);
    fd[5] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(connect(fd[5], &at.sock.any, at.len) < 0 && errno == ECONNREFUSED);
    close_accepted();
    for (int i = 0; i < 6; i++)
        close(fd[i]);
}
TEST(pause_and_close)

static struct io_listener *pausing;

static void on_accept_pause(void *owner, struct io *io)
{
    (void)owner;
    accepted_ios[accepted_count++] = io;
    io_listener_pause(pausing, true);
}

static void pause_from_within(void)
{
    struct addr at;
    int fd[3];
    accepted_count = 0;
    must(io_listen(listen_tcp(&at), on_accept_pause, NULL, &pausing) == OK);
    fd[0] = connect_plainly(&at);
    while (accepted_count == 0)
        must(fiber_sleep_us(1000) == OK);
    fd[1] = connect_plainly(&at);
    must(fiber_sleep_us(10000) == OK);
    must(accepted_count == 1);
    io_listener_pause(pausing, false);
    while (accepted_count == 1)
        must(fiber_sleep_us(1000) == OK);
    must(accepted_count == 2);
    io_listener_close(pausing, true);
    close_accepted();
    close(fd[0]);
    close(fd[1]);
}
TEST(pause_from_within)

/* ---- a bound on what is accepted ---- */

#define ROOM 7
#define CROWD 600

/* Connections that live for as long as their peer does; each end makes room for one. */
static struct busy {
    struct io_listener *listener;
    unsigned open, open_max, served;
    struct addr at;
    unsigned clients;
} busy;

static void crowd_woke(void *owner, err why)
{
    struct io *io = owner;
    if (why == OK) { /* "x": a word, then the end may come */
        io_consume(io, io_peek(io).len);
        io_park(io, crowd_woke, io, DEADLINE_NONE);
        return;
    }
    must(why == ERR_CLOSED || why == ERR_RESET);
    io_close(io, 0, false);
    busy.served++;
    busy.open--;
    io_listener_room(busy.listener, ROOM - busy.open);
}

static void crowd_accept(void *owner, struct io *io)
{
    must(owner == &busy);
    if (++busy.open > busy.open_max)
        busy.open_max = busy.open;
    io_park(io, crowd_woke, io, DEADLINE_NONE);
}

static void crowd_client(void *arg)
{
    unsigned number = (unsigned)(uintptr_t)arg;
    struct io *io;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    must(io_connect(fd, &busy.at, deadline_in_ms(20000), &io) == OK);
    if (number % 3)
        send_text(io, "x");
    for (unsigned i = 0; i < number % 5; i++)
        fiber_yield();
    if (number % 7 == 0)
        io_abort(io, true);
    else
        io_close(io, 1000000, number % 2);
    busy.clients--;
}

/* Many more than fit, coming and going all the time: never more than ROOM at once, and of each one the end is
 * noticed. A connection that was reset while it waited is none, so not all need be served. */
static void room_is_kept(void)
{
    busy = (struct busy){ 0 };
    must(io_listen_within(listen_tcp(&busy.at), ROOM, crowd_accept, &busy, &busy.listener) == OK);
    for (unsigned i = 0; i < CROWD; i++) {
        busy.clients++;
        fiber_spawn(crowd_client, (void *)(uintptr_t)i);
        if (i % 50 == 49)
            must(fiber_sleep_us(2000) == OK);
    }
    uint64_t end_us = deadline_in_ms(20000);
    while ((busy.clients || busy.open || busy.served < CROWD - CROWD / 7 - 1) && worker_now_us() < end_us)
        must(fiber_sleep_us(1000) == OK);
    must(busy.clients == 0 && busy.open == 0 && busy.served >= CROWD - CROWD / 7 - 1);
    must(busy.open_max <= ROOM);
    io_listener_close(busy.listener, true);
}
TEST(room_is_kept)

static void no_room(void)
{
    struct addr at;
    struct io_listener *l;
    accepted_count = 0;
    accept_waiter = fiber_self();
    must(io_listen_within(listen_tcp(&at), 0, on_accept, &accepted_count, &l) == OK);
    int fd[9];
    for (int i = 0; i < 5; i++)
        fd[i] = connect_plainly(&at);
    must(fiber_sleep_us(10000) == OK);
    must(accepted_count == 0);
    io_listener_room(l, 2);
    wait_accepted(2);
    must(fiber_sleep_us(10000) == OK);
    must(accepted_count == 2);
    io_listener_room(l, 60);
    wait_accepted(5);
    io_listener_room(l, 1); /* less than was under way */
    for (int i = 5; i < 9; i++)
        fd[i] = connect_plainly(&at);
    wait_accepted(6);
    must(fiber_sleep_us(10000) == OK);
    must(accepted_count == 6);
    io_listener_pause(l, true);
    io_listener_room(l, 1);
    must(fiber_sleep_us(10000) == OK);
    must(accepted_count == 6);
    io_listener_close(l, true); /* takes one more, as there is room for it */
    must(accepted_count == 7);
    close_accepted();
    for (int i = 0; i < 9; i++)
        close(fd[i]);
}
TEST(no_room)

static void out_of_descriptors(void)
{
    struct addr at;
    struct rlimit before, few;
    struct io_listener *l = listen_counting(&at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), highest = dup(fd);
    must(getrlimit(RLIMIT_NOFILE, &before) == 0);
    close(highest);
    few = before;
    few.rlim_cur = (rlim_t)highest;
    must(setrlimit(RLIMIT_NOFILE, &few) == 0);
    must(connect(fd, &at.sock.any, at.len) == 0);
    uint64_t turns = worker_stats(worker_self()).turns;
    must(fiber_sleep_us(50000) == OK);
    must(accepted_count == 0);
    must(worker_stats(worker_self()).turns - turns < 100); /* it does not spin */
    must(setrlimit(RLIMIT_NOFILE, &before) == 0);
    wait_accepted(1); /* and tries again by itself */
    close_accepted();
    io_listener_close(l, true);
    close(fd);
}
TEST(out_of_descriptors)

/* ---- scarce buffers ---- */

static unsigned crowd_right;

struct crowd_one {
    struct io *io;
    int fd;
    size_t len; /* that the kernel took from us */
};

static void crowd_reads(void *arg)
{
    struct crowd_one *one = arg;
    struct bytes b;
    for (size_t got = 0; got < one->len; got += b.len) {
        must(io_pull(one->io, deadline_in_ms(5000), &b) == OK);
        for (size_t i = 0; i < b.len; i++)
            must(b.ptr[i] == (char)((got + i) % 6000 * 7));
        io_consume(one->io, b.len);
    }
    crowd_right++;
}

/* Far more arrives in one turn than the ring has buffers, and on more connections than one submission holds.
 */
static void crowd(void)
{
    enum { N = 600, DEEP = 100 };
    static struct crowd_one all[N];
    static char text[6000];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i * 7);
    crowd_right = 0;
    for (int i = 0; i < N; i++) {
        int pair[2];
        pair_fds(pair);
        all[i].len = 0;
        all[i].fd = pair[1];
        if (i >= DEEP) { /* is there already when it is asked for */
            must(write(pair[1], text, sizeof text) == sizeof text);
            all[i].len = sizeof text;
        }
        all[i].io = io_open(pair[0]);
        must(io_peek(all[i].io).len == 0 || i >= DEEP);
    }
    fiber_yield();
    for (int i = 0; i < DEEP; i++)
        while (write(all[i].fd, text, sizeof text) == sizeof text)
            all[i].len += sizeof text;
    for (int i = 0; i < N; i++)
        fiber_spawn(crowd_reads, &all[i]);
    while (crowd_right < N)
        must(fiber_sleep_us(1000) == OK);
    if (test_loop == LOOP_URING)
        must(worker_stats(worker_self()).no_buffers > 0);
    for (int i = 0; i < N; i++) {
        close(all[i].fd);
        io_close(all[i].io, 0, false);
    }
}
TEST(crowd)

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_park_wakes),
    cmocka_unit_test(test_park_bytes_and_end_together),
    cmocka_unit_test(test_unpark),
    cmocka_unit_test(test_parked_output_goes_out),
    cmocka_unit_test(test_stop_closes_parked),
    cmocka_unit_test(test_accept_burst),
    cmocka_unit_test(test_pause_and_close),
    cmocka_unit_test(test_pause_from_within),
    cmocka_unit_test(test_room_is_kept),
    cmocka_unit_test(test_no_room),
    cmocka_unit_test(test_out_of_descriptors),
    cmocka_unit_test(test_crowd),
};

int main(void)
{
    return run_both(tests, sizeof tests / sizeof *tests);
}
