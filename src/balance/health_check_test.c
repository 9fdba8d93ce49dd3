#include "balance/health_check.c"

#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/test.h"

/* ---- decisions ---- */

static void thresholds_count_results_in_a_row(void **state)
{
    (void)state;
    /* + well, - not; what happens after each, with 2 to come back and 3 to go: D went down, U came up */
    static const char results[] = "+--+---+-++-+---+-+-+";
    static const char changes[] = "......D...U....D.....";
    struct health h = { 0 };
    for (size_t i = 0; results[i]; i++) {
        const enum health_change change = health_step(&h, results[i] == '+', 2, 3);
        assert_int_equal(changes[i], change == HEALTH_SAME ? '.' : change == HEALTH_WENT_DOWN ? 'D' : 'U');
    }
}

/* ---- configuration ---- */

struct root {
    struct conf_list modules;
};
static const struct conf_struct *const modules[] = { &health_check_module.conf, NULL };
static const struct conf_struct root_struct = {
    .name = "service",
    .size = sizeof(struct root),
    .fields = (const struct conf_field[]){ { .name = "modules",
                                             .type = CONF_MODULES,
                                             .offset = offsetof(struct root, modules),
                                             .modules = modules },
                                           { 0 } },
};

static struct arena conf_arena;
static struct diag why;

static const struct health_check_conf *loaded(const char *text)
{
    arena_close(&conf_arena);
    arena_open(&conf_arena, &arena_heap, 1 << 20, NULL, 0);
    void *conf = NULL;
    why = DIAG_NONE;
    if (conf_parse(bytes_from(text), "test", &root_struct, &conf_arena, NULL, &conf, &why))
        return NULL;
    const struct root *root = conf;
    return ((const struct conf_module *)root->modules.items)->conf;
}

static void phrases_say_what_is_asked(void **state)
{
    (void)state;
    const struct health_check_conf *c = loaded("health_check: GET /healthz every 2s");
    assert_non_null(c);
    assert_int_equal(c->ask.method, HEALTH_GET);
    assert_bytes_equal(c->ask.path, BYTES("/healthz"));
    assert_int_equal(c->interval_ms, 2000);
    assert_int_equal(c->timeout_ms, 1000);
    assert_true(health_status_is_well(&c->ask, 200) && health_status_is_well(&c->ask, 299));
    assert_false(health_status_is_well(&c->ask, 199) || health_status_is_well(&c->ask, 300) ||
                 health_status_is_well(&c->ask, 999));

    c = loaded("health_check: tcp every 500ms");
    assert_non_null(c);
    assert_int_equal(c->ask.method, HEALTH_TCP);
    assert_int_equal(c->interval_ms, 500);
    assert_int_equal(c->timeout_ms, 500);

    c = loaded("health_check: HEAD /up");
    assert_non_null(c);
    assert_int_equal(c->ask.method, HEALTH_HEAD);
    assert_bytes_equal(c->ask.path, BYTES("/up"));
    assert_int_equal(c->interval_ms, 5000);

    c = loaded("health_check: {status: [204, 301-302], host: shop.example, healthy_after: 5}");
    assert_non_null(c);
    assert_true(health_status_is_well(&c->ask, 204) && health_status_is_well(&c->ask, 301) &&
                health_status_is_well(&c->ask, 302));
    assert_false(health_status_is_well(&c->ask, 200) || health_status_is_well(&c->ask, 303));
}

static void nonsense_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "health_check: GET healthz every 2s",
        "health_check: {path: 'a b'}",
        "health_check: {path: \"/a\\r\\nX: y\"}",
        "health_check: {host: 'a b'}",
        "health_check: {status: 99}",
        "health_check: {status: 300-200}",
        "health_check: {status: '200-'}",
        "health_check: {status: 100}",
        "health_check: POST / every 2s",
        "health_check: {interval: 1ms}",
        "health_check: {method: tcp, contains: x}",
        "health_check: {method: HEAD, contains: x}",
        "health_check: {send: x}",
        "health_check: {expect: x}",
        "health_check: {regex: '(x'}",
    };
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (loaded(texts[i]))
            fail_msg("%s was taken", texts[i]);
        assert_true(why.set);
    }
}

/* ---- against servers on this very worker ---- */

static struct {
    const char *answer; /* NULL: none, the connection stays open */
    unsigned asked;
    char request[512];
} origin;

static void origin_serve(void *arg)
{
    struct io *io = arg;
    struct bytes in;
    origin.asked++;
    if (io_pull(io, deadline_in_ms(5000), &in) == OK) {
        snprintf(origin.request, sizeof origin.request, "%.*s", BYTES_ARG(in));
        io_consume(io, in.len);
        if (origin.answer)
            (void)!io_write(io, bytes_from(origin.answer), deadline_in_ms(5000));
        else
            (void)!io_pull(io, deadline_in_ms(5000), &in);
    }
    io_close(io, 0, false);
}

static void origin_accept(void *owner, struct io *io)
{
    (void)owner;
    fiber_spawn(origin_serve, io);
}

static struct addr origin_listen(struct io_listener **ret_listener)
{
    struct addr at;
    struct diag d = DIAG_NONE;
    int fd;
    assert_int_equal(addr_parse(BYTES("127.0.0.1:0"), &at), OK);
    assert_int_equal(tcp_listen(&at, &(struct tcp_options){ 0 }, false, &fd, &d), OK);
    at.len = sizeof at.sock;
    assert_int_equal(getsockname(fd, &at.sock.any, &at.len), 0);
    assert_int_equal(io_listen(fd, origin_accept, NULL, ret_listener), OK);
    return at;
}

/* Waits, at most 10 s, until the server is as said. */
static bool becomes(const struct server_shared *shared, uint32_t down)
{
    for (int i = 0; i < 2000 && shared->down != down; i++)
        (void)!fiber_sleep_us(5000);
    return shared->down == down;
}

static bool all_ends(void)
{
    for (int i = 0; i < 2000 && checkers; i++)
        (void)!fiber_sleep_us(5000);
    return checkers == NULL;
}

static void *start_checking(const char *text, struct server_shared *shared, struct addr addr)
{
    void *checker = NULL;
    struct diag d = DIAG_NONE;
    const struct health_check_conf *c = loaded(text);
    assert_non_null(c);
    assert_int_equal(health_check_start(c, BYTES("shop"), &shared, &addr, 1, &checker, &d), OK);
    return checker;
}

#define EVERY_20MS "health_check: {path: /healthz, interval: 20ms, unhealthy_after: 2"

static void http_checks(void)
{
    struct io_listener *listener;
    const struct addr at = origin_listen(&listener);
    struct server_shared *shared = server_shared_get(BYTES("shop"), &at);
    void *checker = start_checking(EVERY_20MS "}", shared, at);
    origin.answer = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
    assert_true(becomes(shared, 1));
    assert_non_null(strstr(origin.request, "GET /healthz HTTP/1.1\r\n"));
    assert_non_null(strstr(origin.request, "\r\nHost: 127.0.0.1:"));
    origin.answer = "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 204 Fine\r\n\r\n";
    assert_true(becomes(shared, 0));
    origin.answer = NULL; /* hangs */
    assert_true(becomes(shared, 1));
    origin.answer = "HTTP/1.1 200 Fine\r\n\r\n";
    assert_true(becomes(shared, 0));
    origin.answer = "not HTTP at all\r\n\r\n";
    assert_true(becomes(shared, 1));

    /* a reload: the old one stops, the next goes on from what was found */
    health_check_stop(checker);
    checker = start_checking(EVERY_20MS ", healthy_after: 1000}", shared, at);
    const unsigned asked = origin.asked;
    origin.answer = "HTTP/1.1 200 Fine\r\n\r\n";
    for (int i = 0; i < 2000 && origin.asked < asked + 3; i++)
        (void)!fiber_sleep_us(5000);
    assert_int_equal(shared->down, 1);
    assert_null(checkers->next);

    /* nobody checks it any more: it is not left down */
    origin.answer = NULL;
    health_check_stop(checker);
    assert_true(all_ends());
    assert_int_equal(shared->down, 0);
    server_shared_drop(shared);
    io_listener_close(listener, true);
}

static void tcp_checks(void)
{
    struct io_listener *listener;
    const struct addr at = origin_listen(&listener);
    struct server_shared *shared = server_shared_get(BYTES("shop"), &at);
    void *checker =
        start_checking("health_check: {method: tcp, interval: 50ms, unhealthy_after: 5}", shared, at);
    const unsigned asked = origin.asked;
    for (int i = 0; i < 2000 && origin.asked < asked + 3; i++)
        (void)!fiber_sleep_us(5000);
    assert_true(origin.asked >= asked + 3);
    assert_int_equal(shared->down, 0);
    io_listener_close(listener, true);
    assert_true(becomes(shared, 1));
    health_check_stop(checker);
    health_check_stop(start_checking("health_check: tcp", shared, at)); /* before its fiber has begun */
    checker = start_checking("health_check: tcp every 1h", shared, at);
    for (int i = 0; i < 2000 && !((struct checker *)checker)->scheduler; i++)
        (void)!fiber_sleep_us(1000);
    (void)!fiber_sleep_us(1500000); /* the first round is over: it sleeps for an hour */
    health_check_stop(checker);
    assert_true(all_ends());
    server_shared_drop(shared);
}

static void run_on_worker(void *arg)
{
    void (*run)(void) = *(void (**)(void))arg;
    run();
    worker_stop(worker_self());
}

static void on_worker(void (*run)(void))
{
    struct diag d = DIAG_NONE;
    metrics_init(0);
    log_set_level(LOG_ERROR);
    const struct worker_opts opts = { .loop = LOOP_AUTO, .cpu = -1, .name = "test" };
    assert_int_equal(worker_run(&opts, run_on_worker, &run, &d), OK);
    metrics_close();
}

static void http_servers_are_asked(void **state)
{
    (void)state;
    on_worker(http_checks);
}

static void tcp_servers_are_connected_to(void **state)
{
    (void)state;
    on_worker(tcp_checks);
}

static int end(void **state)
{
    (void)state;
    arena_close(&conf_arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thresholds_count_results_in_a_row),
        cmocka_unit_test(phrases_say_what_is_asked),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(http_servers_are_asked),
        cmocka_unit_test(tcp_servers_are_connected_to),
    };
    return cmocka_run_group_tests(tests, NULL, end);
}
