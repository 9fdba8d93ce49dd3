#include "core/io_test.h"

#if WEIR_HAVE_OPENSSL
#include "net/tls_step.c"

#include "net/tls_context.h"

static void test_a_turn_has_an_end(void **state)
{
    (void)state;
    assert_true(may_go_on(0, 0)); /* whatever a step takes, there is one in each turn */
    assert_true(may_go_on(15, 999));
    assert_false(may_go_on(16, 0));
    assert_false(may_go_on(1, 1000));
}

#define SHAKING 40

struct shaking {
    struct io *client, *server;
    SSL_CTX *context;
    bool served, connected;
};

static void served(void *owner, struct io *io, err why)
{
    struct shaking *s = owner;
    (void)io;
    must(why == OK);
    s->served = true;
}

static void connect_one(void *arg)
{
    struct shaking *s = arg;
    must(tls_connect(s->client, s->context, NULL, "localhost", NULL, deadline_in_ms(60000)) == OK);
    s->connected = true;
}

static bool all_done(const struct shaking *all)
{
    for (unsigned i = 0; i < SHAKING; i++) {
        if (!all[i].served || !all[i].connected)
            return false;
    }
    return true;
}

/* 40 clients and their servers at once: of hellos, answers to them and last words alike, a turn takes a few.
 */
static void a_flood_takes_turns(void)
{
    static struct shaking all[SHAKING];
    static uint64_t cells[2];
    struct diag d = DIAG_NONE;
    SSL_CTX *server, *client;
    const struct tls_options so = { .self_signed = true, .version_min = 13 }, co = { .version_min = 13 };
    must(tls_server_context(&so, &server, &d) == OK && tls_client_context(&co, &client, &d) == OK);
    cells[TLS_STEPS] = cells[TLS_TURNS_FULL] = 0;
    tls_count_steps((struct metric_cells *)(void *)cells);
    for (unsigned i = 0; i < SHAKING; i++) {
        struct io *ends[2];
        tcp_pair(ends);
        all[i] = (struct shaking){ .client = ends[0], .server = ends[1], .context = client };
    }
    for (unsigned i = 0; i < SHAKING; i++) {
        tls_accept(all[i].server, server, NULL, deadline_in_ms(60000), served, &all[i]);
        fiber_spawn(connect_one, &all[i]);
    }
    uint64_t steps_before = 0, turns = 0;
    for (; !all_done(all); turns++) {
        fiber_yield(); /* the next turn: one line_go_on lies between */
        must(cells[TLS_STEPS] - steps_before <= STEPS_PER_TURN);
        steps_before = cells[TLS_STEPS];
    }
    must(cells[TLS_STEPS] >= 4 * SHAKING); /* of each: two of the client's, two of the server's */
    must(cells[TLS_TURNS_FULL] >= 4 * SHAKING / STEPS_PER_TURN / 2);
    must(turns >= cells[TLS_TURNS_FULL]);
    tls_count_steps(NULL);
    for (unsigned i = 0; i < SHAKING; i++) {
        io_close(all[i].client, 0, false);
        io_close(all[i].server, 0, false);
    }
    tls_context_drop(server);
    tls_context_drop(client);
}
TEST(a_flood_takes_turns)

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_a_turn_has_an_end),
                                        cmocka_unit_test(test_a_flood_takes_turns) };
    return run_both(tests, sizeof tests / sizeof *tests);
}
#else
int main(void)
{
    return 77;
}
#endif
