/* The pool of connections to one server, against a server in the same worker. */
#include "gate/upstream.h"

#include "core/io_test.h"

#define ACCEPTED_MAX 64

static struct {
    struct addr addr;
    struct io_listener *listener;
    struct io *accepted[ACCEPTED_MAX];
    unsigned count;
} server;

static void on_accept(void *owner, struct io *io)
{
    (void)owner;
    must(server.count < ACCEPTED_MAX);
    server.accepted[server.count++] = io;
}

static void server_open(void)
{
    server.count = 0;
    must(io_listen(listen_tcp(&server.addr), on_accept, NULL, &server.listener) == OK);
}

static void server_accepts(unsigned n)
{
    while (server.count < n)
        must(fiber_sleep_us(500) == OK);
}

static void server_close(void)
{
    for (unsigned i = 0; i < server.count; i++) {
        if (server.accepted[i])
            io_close(server.accepted[i], 0, false);
    }
    if (server.listener)
        io_listener_close(server.listener, true);
    server.listener = NULL;
}

static void server_drops(unsigned i)
{
    io_close(server.accepted[i], 0, false);
    server.accepted[i] = NULL;
}

static const struct tcp_conf tcp = { .nodelay = true };
static const struct service_conf plain = {
    .connections_max = 4,
    .idle_max = 4,
    .waiting_max = 2,
    .wait_timeout_ms = 5000,
    .connect_timeout_ms = 5000,
    .idle_timeout_ms = 60000,
};

static struct upstream *get(void)
{
    struct upstream *u = upstream_get(BYTES("shop"), &server.addr, &tcp);
    must(u != NULL);
    return u;
}

static struct upstream_conn *take(struct upstream *u, const struct service_conf *conf, bool fresh)
{
    struct upstream_conn *c;
    bool connecting;
    must(upstream_take(u, conf, fresh, deadline_in_ms(5000), &c, &connecting) == OK);
    return c;
}

static void last_in_first_out(void)
{
    server_open();
    struct upstream *u = get();
    struct upstream_conn *c[3];
    for (int i = 0; i < 3; i++) {
        c[i] = take(u, &plain, false);
        must(!c[i]->reused && c[i]->upstream == u);
    }
    must(u->connections == 3 && u->idle_count == 0);
    upstream_give(c[0], &plain, true);
    upstream_give(c[2], &plain, true);
    upstream_give(c[1], &plain, true);
    must(u->connections == 3 && u->idle_count == 3);
    must(take(u, &plain, false) == c[1] && c[1]->reused);
    must(take(u, &plain, false) == c[2]);
    must(take(u, &plain, false) == c[0]);
    send_text(c[0]->io, "still good");
    server_accepts(3);
    expect_text(server.accepted[0], "still good");
    for (int i = 0; i < 3; i++)
        upstream_give(c[i], &plain, false);
    must(u->connections == 0 && u->idle_count == 0);
    upstream_put(u);
    server_close();
}
TEST(last_in_first_out)

static void what_is_not_kept(void)
{
    static const struct service_conf one = {
        .connections_max = 4, .idle_max = 1, .idle_timeout_ms = 60000, .connect_timeout_ms = 5000
    };
    struct service_conf closing = plain;
    closing.upstream = UPSTREAM_CLOSE;
    server_open();
    struct upstream *u = get();
    struct upstream_conn *a = take(u, &one, false);
    struct upstream_conn *b = take(u, &one, false);
    upstream_give(a, &one, true);
    upstream_give(b, &one, true); /* one too many */
    must(u->idle_count == 1 && u->connections == 1);
    must(take(u, &one, false) == a);
    upstream_give(a, &closing, true);
    must(u->idle_count == 0 && u->connections == 0);
    a = take(u, &one, false);
    server_accepts(3);
    send_text(server.accepted[2], "unasked"); /* the answer to nobody's request must not become somebody's */
    while (!io_peek(a->io).len)
        fiber_yield();
    upstream_give(a, &one, true);
    must(u->idle_count == 0 && u->connections == 0);
    a = take(u, &one, false);
    server_accepts(4);
    server_drops(3);
    while (!io_peer_ended(a->io)) {
        must(io_peek(a->io).len == 0);
        must(fiber_sleep_us(500) == OK);
    }
    upstream_give(a, &one, true);
    must(u->connections == 0);
    upstream_put(u);
    server_close();
}
TEST(what_is_not_kept)

static void idle_ones_end(void)
{
    server_open();
    struct upstream *u = get();
    struct upstream_conn *c[3];
    struct service_conf brief = plain;
    brief.idle_timeout_ms = 5;
    for (int i = 0; i < 3; i++)
        c[i] = take(u, &plain, false);
    server_accepts(3);
    upstream_give(c[0], &plain, true);
    upstream_give(c[1], &plain, true);
    upstream_give(c[2], &brief, true);
    server_drops(0); /* the server closes */
    while (u->idle_count > 2 || server.accepted[0])
        must(fiber_sleep_us(500) == OK);
    send_text(server.accepted[1], "x"); /* the server speaks out of turn */
    while (u->idle_count)               /* and nothing happens for so long on the last */
        must(fiber_sleep_us(500) == OK);
    must(u->connections == 0 && u->holds == 1);
    upstream_put(u);
    server_close();
}
TEST(idle_ones_end)

/* ---- limits ---- */

struct taker {
    struct upstream *u;
    const struct service_conf *conf;
    uint64_t deadline_us;
    struct upstream_conn *c;
    struct fiber *fiber;
    err e;
    bool connecting, done;
    unsigned order;
};

static unsigned order;

static void take_one(void *arg)
{
    struct taker *t = arg;
    t->fiber = fiber_self();
    t->connecting = true;
    t->e = upstream_take(t->u, t->conf, false, t->deadline_us, &t->c, &t->connecting);
    t->order = ++order;
    t->done = true;
}

static void start(struct taker *t, struct upstream *u, const struct service_conf *conf)
{
    *t = (struct taker){ .u = u, .conf = conf, .deadline_us = deadline_in_ms(5000) };
    fiber_spawn(take_one, t);
    fiber_yield();
}

static void finish(struct taker *t)
{
    while (!t->done)
        must(fiber_sleep_us(200) == OK);
}

static void limits_and_waiting(void)
{
    static const struct service_conf two = { .connections_max = 2,
                                             .idle_max = 2,
                                             .waiting_max = 2,
                                             .wait_timeout_ms = 5000,
                                             .connect_timeout_ms = 5000,
                                             .idle_timeout_ms = 60000 };
    server_open();
    struct upstream *u = get();
    struct upstream_conn *a = take(u, &two, false);
    struct upstream_conn *b = take(u, &two, false);
    struct taker t[3];
    order = 0;
    for (int i = 0; i < 3; i++)
        start(&t[i], u, &two);
    must(t[2].done && t[2].e == ERR_LIMIT && !t[2].connecting); /* two may wait, not three */
    must(!t[0].done && !t[1].done && u->waiting.count == 2);
    upstream_give(a, &two, true); /* one comes back */
    finish(&t[0]);
    must(t[0].e == OK && t[0].c == a && a->reused && !t[1].done);
    upstream_give(b, &two, false); /* one is closed: there is room for another */
    finish(&t[1]);
    must(t[1].e == OK && !t[1].c->reused && t[0].order < t[1].order);
    must(u->connections == 2);
    start(&t[2], u, &two);
    fiber_cancel(t[2].fiber);
    finish(&t[2]);
    must(t[2].e == ERR_CANCELLED && u->waiting.count == 0);
    upstream_give(t[0].c, &two, false);
    upstream_give(t[1].c, &two, false);
    upstream_put(u);
    server_close();
}
TEST(limits_and_waiting)

static void waiting_too_long(void)
{
    struct service_conf one = plain;
    one.connections_max = 1;
    one.wait_timeout_ms = 3;
    server_open();
    struct upstream *u = get();
    struct upstream_conn *a = take(u, &one, false);
    struct upstream_conn *c;
    bool connecting = true;
    must(upstream_take(u, &one, false, DEADLINE_NONE, &c, &connecting) == ERR_LIMIT && !connecting);
    one.waiting_max = 0;
    must(upstream_take(u, &one, false, DEADLINE_NONE, &c, &connecting) == ERR_LIMIT);
    upstream_give(a, &one, false);
    upstream_put(u);
    server_close();
}
TEST(waiting_too_long)

static void fresh_ones(void)
{
    struct service_conf two = plain;
    two.connections_max = 2;
    server_open();
    struct upstream *u = get();
    struct upstream_conn *a = take(u, &two, false);
    struct upstream_conn *b = take(u, &two, false);
    upstream_give(a, &two, true);
    upstream_give(b, &two, true);
    struct upstream_conn *c = take(u, &two, true); /* room is made by closing one that rests */
    must(!c->reused && u->connections == 2 && u->idle_count == 1);
    struct upstream_conn *d = take(u, &two, true);
    must(!d->reused && u->connections == 2 && u->idle_count == 0);
    upstream_give(c, &two, false);
    upstream_give(d, &two, false);
    upstream_put(u);
    server_close();
}
TEST(fresh_ones)

static void no_server(void)
{
    struct service_conf one = plain;
    one.connections_max = 1;
    server_open();
    struct upstream *u = get();
    struct upstream_conn *a = take(u, &one, false);
    server_accepts(1);
    struct taker t[2];
    start(&t[0], u, &one);
    start(&t[1], u, &one);
    server_close();
    upstream_give(a, &one, false);
    finish(&t[0]); /* its failure to connect makes room for the next, who fails too */
    finish(&t[1]);
    for (int i = 0; i < 2; i++)
        must(t[i].e == ERR_REFUSED && t[i].connecting);
    must(u->connections == 0 && u->holds == 1);
    upstream_put(u);
}
TEST(no_server)

/* ---- generations ---- */

static void over_reloads(void)
{
    server_open();
    struct upstream *u = get();
    struct upstream_conn *a = take(u, &plain, false);
    struct upstream_conn *b = take(u, &plain, false);
    upstream_give(a, &plain, true);
    must(get() == u && u->generations == 2);
    upstream_put(u);
    must(u->idle_count == 1); /* carried over */
    struct upstream *other = upstream_get(BYTES("pay"), &server.addr, &tcp);
    must(other != u);
    upstream_put(other);
    struct tcp_conf options = tcp;
    options.keepalive = true;
    other = upstream_get(BYTES("shop"), &server.addr, &options);
    must(other != u && other->tcp.keepalive);
    upstream_put(other);
    options.congestion = BYTES("reno");
    other = upstream_get(BYTES("shop"), &server.addr, &options);
    must(strcmp(other->tcp.congestion, "reno") == 0);
    must(upstream_get(BYTES("shop"), &server.addr, &options) == other);
    upstream_put(other);
    upstream_put(other);
    upstream_put(u); /* nobody will ask again: what rests is closed, what works goes on */
    must(u->idle_count == 0 && u->connections == 1 && u->holds == 1);
    must(get() == u); /* a configuration that has it again finds it */
    upstream_put(u);
    upstream_give(b, &plain, true); /* not kept; the last hold */
    server_accepts(2);
    expect_end(server.accepted[1]);
    server_close();
}
TEST(over_reloads)

static void the_worker_ends(void)
{
    server_open();
    struct upstream *u = get();
    struct upstream_conn *a = take(u, &plain, false);
    struct upstream_conn *b = take(u, &plain, false);
    upstream_give(a, &plain, true);
    upstream_close_idle();
    must(u->idle_count == 0 && u->connections == 1);
    upstream_put(u);
    upstream_give(b, &plain, true);
    upstream_close_idle();
    server_close();
}
TEST(the_worker_ends)

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_last_in_first_out), cmocka_unit_test(test_what_is_not_kept),
    cmocka_unit_test(test_idle_ones_end),     cmocka_unit_test(test_limits_and_waiting),
    cmocka_unit_test(test_waiting_too_long),  cmocka_unit_test(test_fresh_ones),
    cmocka_unit_test(test_no_server),         cmocka_unit_test(test_over_reloads),
    cmocka_unit_test(test_the_worker_ends),
};

int main(void)
{
    return run_both(tests, sizeof tests / sizeof *tests);
}
