/* Requests back to back on one connection, against a scripted server in the same worker. */
#include "gate/upstream_shared.h"

#include "gate/gate_test.h"
#include "gate/service_open.h"

#define ACCEPTED_MAX 16
#define ASKERS_MAX 8

static struct {
    struct io_listener *listener;
    struct io *accepted[ACCEPTED_MAX];
    unsigned count;
} server;

static struct gate *gate;

struct asker {
    struct exchange x;
    struct attempt attempt;
    char path[8];
    char body[64];
    size_t body_len;
    err e, body_e;
    struct fiber *fiber;
    uint32_t arena_bytes;              /* 0: as much as usual */
    bool connecting, wait, leave_body; /* wait: does not read its body before it is told */
    bool answered, done;
};

static struct asker askers[ASKERS_MAX];

static void on_accept(void *owner, struct io *io)
{
    (void)owner;
    must(server.count < ACCEPTED_MAX);
    server.accepted[server.count++] = io;
}

static void begin(const char *settings)
{
    struct addr at;
    char text[400];
    memset(askers, 0, sizeof askers);
    server.count = 0;
    must(io_listen(listen_tcp(&at), on_accept, NULL, &server.listener) == OK);
    snprintf(text, sizeof text,
             "listen: :1\nroutes: [{match: /*, service: a}]\n"
             "services: {a: {servers: 127.0.0.1:%u, upstream: pipelined%s}}\n",
             ntohs(at.sock.v4.sin_port), settings);
    gate = gate_test_use(text);
}

static void stop_listening(void)
{
    if (server.listener)
        io_listener_close(server.listener, true);
    server.listener = NULL;
}

static void server_drops(unsigned i)
{
    io_close(server.accepted[i], 0, false);
    server.accepted[i] = NULL;
}

static void end(void)
{
    must(gate->services[0].servers[0].active == 0);
    gate_test_end();
    for (unsigned i = 0; i < server.count; i++) {
        if (server.accepted[i])
            server_drops(i);
    }
    stop_listening();
}

static void read_body(struct asker *a)
{
    struct bytes in;
    while ((a->body_e = body_pull(a->x.response_body, deadline_in_ms(5000), &in)) == OK && in.len) {
        must(a->body_len + in.len < sizeof a->body);
        memcpy(a->body + a->body_len, in.ptr, in.len);
        a->body_len += in.len;
        body_give(a->x.response_body, in.len);
    }
}

static void ask(void *arg)
{
    struct asker *a = arg;
    struct exchange *x = &a->x;
    struct server *to = &gate->services[0].servers[0];
    char first[64] __attribute__((aligned(8)));
    a->fiber = fiber_self();
    exchange_open(x, gate, a->arena_bytes ? first : NULL, a->arena_bytes);
    if (a->arena_bytes)
        x->arena.taken_max = 0;
    x->service = &gate->services[0];
    x->deadline_us = deadline_in_ms(5000);
    x->request = (struct http_request){ .method = HTTP_GET,
                                        .method_text = BYTES("GET"),
                                        .target = bytes_from(a->path),
                                        .path = bytes_from(a->path),
                                        .authority = BYTES("h"),
                                        .version_minor = 1,
                                        .keep_alive = true };
    if (a->arena_bytes) { /* a target that has to be written anew, without memory for it */
        x->request.target = BYTES("http://h?q");
        x->request.path = BYTES_NONE;
        x->request.query = BYTES("q");
    }
    must(upstream_shared_suits(x));
    server_begin(to, x);
    a->e = upstream_shared_exchange(to->upstream, x, to, &a->attempt, &a->connecting);
    a->answered = true;
    if (a->e)
        server_end(to, x);
    while (a->wait)
        must(fiber_sleep_us(500) == OK);
    if (!a->e && !a->leave_body)
        read_body(a);
    exchange_release(x);
    a->done = true;
}

static void start(unsigned i)
{
    snprintf(askers[i].path, sizeof askers[i].path, "/%u", i);
    fiber_spawn(ask, &askers[i]);
}

static void finish(unsigned i)
{
    while (!askers[i].done)
        must(fiber_sleep_us(300) == OK);
}

/* Reads the heads of requests off an accepted connection; they must be for these, in this order. */
static void server_reads(unsigned conn, const char *digits)
{
    while (server.count <= conn)
        must(fiber_sleep_us(300) == OK);
    for (; *digits; digits++) {
        char head[200];
        size_t n = 0;
        while (n < 4 || memcmp(head + n - 4, "\r\n\r\n", 4) != 0) {
            must(n < sizeof head);
            read_all(server.accepted[conn], head + n++, 1);
        }
        char wanted[20];
        snprintf(wanted, sizeof wanted, "GET /%c HTTP/1.1\r\n", *digits);
        must(memcmp(head, wanted, strlen(wanted)) == 0);
    }
}

#define ANSWER(text) "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" text

static void expect_answer(unsigned i, const char *text)
{
    struct asker *a = &askers[i];
    finish(i);
    if (a->e || a->body_len != strlen(text))
        print_error("asker %u: %s, %zu bytes\n", i, err_name(a->e), a->body_len);
    must(a->e == OK && a->x.response.status == 200 && a->body_e == OK && a->attempt.sent &&
         a->attempt.answered);
    must(a->body_len == strlen(text) && memcmp(a->body, text, a->body_len) == 0);
}

static void expect_failure(unsigned i, err e, bool sent, bool answered)
{
    struct asker *a = &askers[i];
    finish(i);
    if (a->e != e || a->attempt.sent != sent || a->attempt.answered != answered)
        print_error("asker %u: %s sent %d answered %d\n", i, err_name(a->e), a->attempt.sent,
                    a->attempt.answered);
    must(a->e == e && a->attempt.sent == sent && a->attempt.answered == answered);
}

static void in_order(void)
{
    begin("");
    for (unsigned i = 0; i < 5; i++)
        start(i);
    server_reads(0, "01234");
    send_text(server.accepted[0], ANSWER("a0") ANSWER("a1"));
    must(io_drain(server.accepted[0], 0, DEADLINE_NONE) == OK);
    expect_answer(0, "a0");
    expect_answer(1, "a1");
    must(!askers[2].answered);
    static const char rest[] =
        "HTTP/1.1 103 Early Hints\r\n\r\n"
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\n2\r\n0\r\n\r\n"
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" ANSWER("a4");
    for (const char *at = rest; *at; at++) {
        must(io_write(server.accepted[0], (struct bytes){ at, 1 }, DEADLINE_NONE) == OK);
        must(io_drain(server.accepted[0], 0, DEADLINE_NONE) == OK);
        fiber_yield();
    }
    expect_answer(2, "a2");
    expect_answer(3, "");
    expect_answer(4, "a4");
    start(5); /* the connection rests and is used again */
    server_reads(0, "5");
    send_text(server.accepted[0], ANSWER("a5"));
    expect_answer(5, "a5");
    must(server.count == 1 && !askers[5].connecting);
    server_drops(0); /* while it rests */
    must(fiber_sleep_us(5000) == OK);
    start(6);
    server_reads(1, "6");
    send_text(server.accepted[1], ANSWER("a6"));
    expect_answer(6, "a6");
    end();
}
TEST(in_order)

static void so_many_on_one(void)
{
    begin(", pipeline_max: 2");
    for (unsigned i = 0; i < 3; i++)
        start(i);
    server_reads(0, "01");
    server_reads(1, "2");
    send_text(server.accepted[1], ANSWER("a2"));
    send_text(server.accepted[0], ANSWER("a0") ANSWER("a1"));
    for (unsigned i = 0; i < 3; i++)
        expect_answer(i, (const char *[]){ "a0", "a1", "a2" }[i]);
    end();
}
TEST(so_many_on_one)

/* ---- ends ---- */

static void it_says_close(void)
{
    begin("");
    for (unsigned i = 0; i < 4; i++)
        start(i);
    server_reads(0, "0123");
    send_text(server.accepted[0],
              ANSWER("a0") "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\na");
    expect_answer(0, "a0");
    expect_failure(2, ERR_CLOSED, true, false); /* told before the second answer is all there */
    expect_failure(3, ERR_CLOSED, true, false);
    must(!askers[1].done);
    start(4); /* not on a connection that ends */
    server_reads(1, "4");
    send_text(server.accepted[0], "1");
    expect_answer(1, "a1");
    expect_end(server.accepted[0]);
    send_text(server.accepted[1], ANSWER("a4"));
    expect_answer(4, "a4");
    end();
}
TEST(it_says_close)

static void it_says_close_to_the_only_one(void)
{
    begin("");
    start(0);
    server_reads(0, "0");
    send_text(server.accepted[0], "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\na");
    while (!askers[0].answered)
        must(fiber_sleep_us(300) == OK);
    start(1); /* while that answer is being read */
    server_reads(1, "1");
    send_text(server.accepted[0], "0");
    expect_answer(0, "a0");
    send_text(server.accepted[1], ANSWER("a1"));
    expect_answer(1, "a1");
    end();
}
TEST(it_says_close_to_the_only_one)

static void it_closes(void)
{
    begin("");
    for (unsigned i = 0; i < 4; i++)
        start(i);
    server_reads(0, "0123");
    send_text(server.accepted[0], ANSWER("a0") ANSWER("a1"));
    io_close(server.accepted[0], 1000000, false);
    server.accepted[0] = NULL;
    expect_answer(0, "a0");
    expect_answer(1, "a1");
    expect_failure(2, ERR_CLOSED, true, false);
    expect_failure(3, ERR_CLOSED, true, false);
    end();
}
TEST(it_closes)

static void it_closes_inside_an_answer(void)
{
    begin("");
    start(0);
    start(1);
    server_reads(0, "01");
    send_text(server.accepted[0], "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf");
    io_close(server.accepted[0], 1000000, false);
    server.accepted[0] = NULL;
    finish(0);
    must(askers[0].e == OK && askers[0].body_e == ERR_CLOSED && askers[0].body_len == 4);
    expect_failure(1, ERR_CLOSED, true, false);
    end();
}
TEST(it_closes_inside_an_answer)

static void it_answers_nonsense(void)
{
    static const char *const nonsense[] = {
        "SMTP ready\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    };
    for (unsigned i = 0; i < 2; i++) {
        begin("");
        start(0);
        start(1);
        server_reads(0, "01");
        send_text(server.accepted[0], nonsense[i]);
        expect_failure(0, ERR_PROTOCOL, true, true);
        expect_failure(1, ERR_CLOSED, true, false);
        expect_end(server.accepted[0]);
        end();
    }
}
TEST(it_answers_nonsense)

static void up_to_the_end(void)
{
    begin("");
    start(0);
    start(1);
    server_reads(0, "01");
    send_text(server.accepted[0], "HTTP/1.1 200 OK\r\n\r\nall of it");
    expect_failure(1, ERR_CLOSED, true, false);
    io_close(server.accepted[0], 1000000, false);
    server.accepted[0] = NULL;
    expect_answer(0, "all of it");
    end();
}
TEST(up_to_the_end)

static void nobody_is_there(void)
{
    begin("");
    stop_listening();
    for (unsigned i = 0; i < 3; i++)
        start(i);
    expect_failure(0, ERR_REFUSED, false, false);
    must(askers[0].connecting);
    for (unsigned i = 1; i < 3; i++) {
        expect_failure(i, ERR_CLOSED, false, false);
        must(!askers[i].connecting);
    }
    must(list_empty(&gate->services[0].servers[0].upstream->shared));
    end();
}
TEST(nobody_is_there)

/* ---- askers who do not go on ---- */

static void the_first_stalls(void)
{
    begin("");
    askers[0].wait = true;
    for (unsigned i = 0; i < 3; i++)
        start(i);
    server_reads(0, "012");
    send_text(server.accepted[0], ANSWER("a0") ANSWER("a1") ANSWER("a2"));
    expect_failure(1, ERR_CLOSED, true, false); /* they have waited long enough */
    expect_failure(2, ERR_CLOSED, true, false);
    must(askers[0].answered && !askers[0].done);
    start(3);
    server_reads(1, "3");
    send_text(server.accepted[1], ANSWER("a3"));
    expect_answer(3, "a3");
    askers[0].wait = false;
    expect_answer(0, "a0");
    expect_end(server.accepted[0]);
    end();
}
TEST(the_first_stalls)

static void the_first_gives_up(void)
{
    begin(", first_byte_timeout: 10ms");
    start(0);
    start(1);
    server_reads(0, "01");
    expect_failure(0, ERR_TIMEOUT, true, false);
    finish(1);
    must(askers[1].e == ERR_CLOSED || askers[1].e == ERR_TIMEOUT);
    expect_end(server.accepted[0]);
    end();
}
TEST(the_first_gives_up)

static void one_is_cancelled(void)
{
    begin("");
    for (unsigned i = 0; i < 4; i++)
        start(i);
    server_reads(0, "0123");
    fiber_cancel(askers[2].fiber);
    expect_failure(2, ERR_CANCELLED, true, false);
    expect_failure(3, ERR_CLOSED, true, false); /* the answer to 2 would come before its own */
    send_text(server.accepted[0], ANSWER("a0") ANSWER("a1"));
    expect_answer(0, "a0");
    expect_answer(1, "a1");
    expect_end(server.accepted[0]);
    end();
}
TEST(one_is_cancelled)

static void a_body_left(void)
{
    begin("");
    askers[0].leave_body = true;
    askers[1].leave_body = true;
    for (unsigned i = 0; i < 3; i++)
        start(i);
    server_reads(0, "012");
    send_text(server.accepted[0], ANSWER("a0")); /* short and there: taken off */
    finish(0);
    must(askers[0].e == OK && !askers[2].answered);
    send_text(server.accepted[0], "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
    finish(1);
    must(askers[1].e == OK);
    expect_failure(2, ERR_CLOSED, true, false);
    expect_end(server.accepted[0]);
    end();
}
TEST(a_body_left)

static void one_cannot_be_written(void)
{
    for (unsigned at = 0; at < 3; at++) {
        begin("");
        if (at == 2) { /* joins one that is connected already */
            start(3);
            server_reads(0, "3");
            send_text(server.accepted[0], ANSWER("a3"));
            expect_answer(3, "a3");
        }
        askers[at].arena_bytes = 40;
        for (unsigned i = 0; i < 3; i++)
            start(i);
        finish(at);
        must(askers[at].e == ERR_LIMIT && !askers[at].attempt.answered);
        server_reads(0, at == 0 ? "12" : at == 1 ? "02" : "01");
        send_text(server.accepted[0], ANSWER("b1") ANSWER("b2"));
        expect_answer(at == 0 ? 1 : 0, "b1");
        expect_answer(at == 2 ? 1 : 2, "b2");
        end();
    }
}
TEST(one_cannot_be_written)

static void a_reload(void)
{
    begin("");
    struct gate *before = gate;
    start(0);
    server_reads(0, "0");
    gate_hold(before);
    gate_use(NULL); /* the service is gone from the configuration */
    send_text(server.accepted[0], ANSWER("a0"));
    expect_answer(0, "a0");
    gate_drop(before);
    expect_end(server.accepted[0]);
    gate = gate_test_use(
        "listen: :1\nroutes: [{match: /, service: a}]\nservices: {a: {servers: 127.0.0.1:1}}\n");
    end();
}
TEST(a_reload)

static void who_suits(void)
{
    begin("");
    struct exchange x;
    exchange_prepare(&x, gate);
    x.service = &gate->services[0];
    x.request = (struct http_request){ .method = HTTP_GET, .target = BYTES("/"), .version_minor = 1 };
    must(upstream_shared_suits(&x));
    x.request.method = HTTP_POST;
    must(!upstream_shared_suits(&x));
    x.request.method = HTTP_PUT;
    must(upstream_shared_suits(&x));
    x.request.framing = HTTP_BODY_LENGTH;
    must(!upstream_shared_suits(&x));
    x.request.framing = HTTP_BODY_NONE;
    x.request.upgrade = true;
    must(!upstream_shared_suits(&x));
    x.request.upgrade = false;
    x.request.target.len = 9000;
    must(!upstream_shared_suits(&x));
    exchange_release(&x);
    end();
}
TEST(who_suits)

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_in_order),
    cmocka_unit_test(test_so_many_on_one),
    cmocka_unit_test(test_it_says_close),
    cmocka_unit_test(test_it_says_close_to_the_only_one),
    cmocka_unit_test(test_it_closes),
    cmocka_unit_test(test_it_closes_inside_an_answer),
    cmocka_unit_test(test_it_answers_nonsense),
    cmocka_unit_test(test_up_to_the_end),
    cmocka_unit_test(test_nobody_is_there),
    cmocka_unit_test(test_the_first_stalls),
    cmocka_unit_test(test_the_first_gives_up),
    cmocka_unit_test(test_one_is_cancelled),
    cmocka_unit_test(test_a_body_left),
    cmocka_unit_test(test_one_cannot_be_written),
    cmocka_unit_test(test_a_reload),
    cmocka_unit_test(test_who_suits),
};

int main(void)
{
    gate_test_setup(NULL);
    int failed = run_both(tests, sizeof tests / sizeof *tests);
    gate_test_teardown(NULL);
    return failed;
}
