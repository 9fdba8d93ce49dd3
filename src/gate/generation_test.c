/* A configuration as a whole: what loads, what is told of mistakes, and that running out of memory at any
 * step leaves nothing half done. */
#include "base/mem.h"
#include "gate/gate_metrics.h"
#include "gate/gate_test.h"

#define SERVICES  \
    "services:\n" \
    "  shop:\n"   \
    "    servers: 10.0.0.1:80\n"

static const char example[] = "listen: [\":8080\"]\n"
                              "admin: 127.0.0.1:9901\n"
                              "workers: auto\n"
                              "access_log: stdout            # or off, or a path\n"
                              "routes:\n"
                              "  - match: /api/*\n"
                              "    service: shop\n"
                              "    rate_limit: 50/s per ip\n"
                              "    mirror: 30% to shadow\n"
                              "services:\n"
                              "  shop:\n"
                              "    servers: [10.0.0.1:80, 10.0.0.2:80, {address: 10.0.0.3:80, weight: 2}]\n"
                              "    balance: least_request\n"
                              "    health_check: GET /healthz every 2s\n"
                              "  shadow:\n"
                              "    servers: [10.0.0.9:80]\n";

static err load(const char *text, struct generation **ret_generation, struct diag *reterr)
{
    return generation_load(bytes_from(text), "weir.yaml", NULL, ret_generation, reterr);
}

static void the_example(void **state)
{
    (void)state;
    struct generation *g;
    struct diag d = DIAG_NONE;
    err e = load(example, &g, &d);
    if (e)
        fail_msg("%u:%u: %s", d.line, d.column, d.text);
    const struct gate_conf *c = g->conf;
    const struct listen_conf *listen = c->listen.items;
    assert_int_equal(c->listen.count, 1);
    assert_int_equal(ntohs(listen->address.sock.v6.sin6_port), 8080);
    assert_true(listen->tcp.nodelay && listen->tcp.keepalive && !listen->tcp.fast_open);
    assert_int_equal(c->workers, WORKERS_AUTO);
    assert_string_equal(c->access_log->path.ptr, "stdout");
    assert_int_equal(c->access_log->flush_interval_ms, 1000);
    assert_non_null(c->client);
    assert_int_equal(g->client_limits.line_bytes_max, 8192);
    assert_int_equal(g->client_limits.head_bytes_max, 32768);
    assert_int_equal(g->client_limits.fields_max, 100);
    assert_int_equal(c->routes.count, 1);
    const struct route_conf *route = c->routes.items;
    assert_string_equal(route->match.ptr, "/api/*");
    assert_int_equal(route->filters.count, 2);
    const struct conf_module *filters = route->filters.items;
    assert_string_equal(filter_registry[filters[0].index]->conf.name, "rate_limit");
    assert_string_equal(filter_registry[filters[1].index]->conf.name, "mirror");
    assert_int_equal(c->services.count, 2);
    const struct service_conf *shop = c->services.items;
    assert_string_equal(shop->name.ptr, "shop");
    assert_int_equal(shop->servers.count, 3);
    assert_int_equal(((const struct server_conf *)shop->servers.items)[2].weight, 2);
    assert_string_equal(balancer_registry[shop->balance.index]->conf.name, "least_request");
    assert_string_equal(balancer_registry[shop[1].balance.index]->conf.name, "round_robin");
    assert_int_equal(shop->modules.count, 1);
    assert_int_equal(shop->upstream, UPSTREAM_KEEPALIVE);
    char text[ADDR_TEXT_BYTES_MAX];
    addr_print(&g->service_addrs[0][2], text);
    assert_string_equal(text, "10.0.0.3:80");
    addr_print(&g->service_addrs[1][0], text);
    assert_string_equal(text, "10.0.0.9:80");
    const struct http_request q = { .authority = BYTES("x"), .path = BYTES("/api/y") };
    struct route_hit hit;
    assert_int_equal(router_find(g->router, &q, q.path, &g->arena, &hit), OK);
    assert_int_equal(hit.route, 0);
    assert_int_equal(g->text.len, sizeof example - 1);
    uint64_t number = g->number;
    generation_hold(g);
    generation_drop(g);
    generation_drop(g);
    assert_int_equal(load(example, &g, NULL), OK);
    assert_int_equal(g->number, number + 1);
    generation_drop(g);
}

static void mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *said;
    } cases[] = {
#include "gate/generation_mistakes_test.h"
    };
    unsigned wrong = 0;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct generation *g = NULL;
        struct diag d = DIAG_NONE;
        char said[600];
        err e = load(cases[i].text, &g, &d);
        diag_print(&d, said, sizeof said);
        if (e == ERR_CONF && !g && strcmp(said, cases[i].said) == 0)
            continue;
        wrong++;
        print_error("---\n%s---\n%s\n\"%s\"\n", cases[i].text, err_name(e), said);
        if (!e)
            generation_drop(g);
    }
    assert_int_equal(wrong, 0);
}

static void names_are_looked_up(void **state)
{
    (void)state;
    struct generation *g;
    struct diag d = DIAG_NONE;
    err e = load("listen: :1\n"
                 "routes: [{match: /, service: a}]\n"
                 "services:\n"
                 "  a:\n"
                 "    servers: localhost:81\n",
                 &g, &d);
    if (e)
        fail_msg("%s", d.text);
    const struct addr *a = &g->service_addrs[0][0];
    assert_true(a->sock.any.sa_family == AF_INET || a->sock.any.sa_family == AF_INET6);
    assert_int_equal(ntohs(a->sock.v4.sin_port), 81);
    generation_drop(g);
}

/* ---- memory ---- */

static const char all_kinds[] =
    "listen: [\":8080\", \"unix:weir.sock\"]\n"
    "routes:\n"
    "  - {match: /api/*, service: shop, rate_limit: 50/s per ip, mirror: 30% to pay}\n"
    "  - {match: shop.example/*, service: shop, headers: {request: {set: {x-a: b}}}}\n"
    "  - {match: /, service: pay, rate_limit: 5/s per ip}\n"
    "services:\n"
    "  shop: {servers: [10.0.0.1:80, 10.0.0.2:80], balance: least_request,"
    " health_check: GET /healthz every 2s}\n"
    "  pay: {servers: [10.0.0.1:80, \"unix:pay.sock\"], upstream: pipelined}\n";

static void load_without_memory(void **state)
{
    (void)state;
    struct generation *g = NULL;
    uint64_t n = 1;
    for (;; n++) {
        struct diag d = DIAG_NONE;
        mem_fail_at(n);
        err e = load(all_kinds, &g, &d);
        mem_fail_at(0);
        if (!e)
            break;
        if (e != ERR_MEMORY)
            fail_msg("at %d: %s %s", (int)n, err_name(e), d.text);
        assert_null(g);
    }
    assert_true(n > 10);
    generation_drop(g);
}

static void open_without_memory(void)
{
    struct generation *generation;
    struct gate *g = NULL;
    struct diag d = DIAG_NONE;
    if (load(all_kinds, &generation, &d) != OK)
        print_error("%s\n", d.text);
    must(!d.set);
    generation->workers = 1;
    uint64_t n = 1;
    for (;; n++) {
        mem_fail_at(n);
        err e = gate_open(generation, &g, NULL);
        mem_fail_at(0);
        if (!e)
            break;
        must(e == ERR_MEMORY && !g);
        must(generation->holds == 1);
    }
    must(n > 40);
    must(generation->holds == 2);
    generation_drop(generation);
    gate_use(g);
    must(gate_current() == g && gate_workers(g) == 1);
    must(gate_service(g, BYTES("pay")) == &g->services[1] && !gate_service(g, BYTES("pa")));
    gate_test_end();
    must(!gate_current());
}
TEST(open_without_memory)

static const char small[] = "listen: :1\n"
                            "routes: [{match: /, service: a, rate_limit: 5/s per ip}]\n"
                            "services: {a: {servers: [10.0.0.1:80]}}\n";

static void generations_come_and_go(void)
{
    struct gate *a = gate_test_use(small);
    struct generation *first = a->generation;
    struct server_shared *shared = a->services[0].servers[0].shared;
    struct upstream *upstream = a->services[0].servers[0].upstream;
    struct exchange x;
    generation_hold(first);
    exchange_prepare(&x, a);
    struct gate *b = gate_test_use(small);
    must(gate_current() == b && a != b);
    must(x.gate == a && x.gate->generation->conf->routes.count == 1); /* still all there */
    must(first->holds == 2);
    must(b->services[0].servers[0].shared == shared); /* carried over */
    must(b->services[0].servers[0].upstream == upstream);
    exchange_release(&x);
    must(first->holds == 1); /* its last exchange has ended: only this test holds it */
    generation_drop(first);
    gate_test_end();
}

TEST(generations_come_and_go)

static void other_socket_options(void)
{
    struct gate *a = gate_test_use(small);
    struct upstream *upstream = a->services[0].servers[0].upstream;
    struct gate *b = gate_test_use("listen: :1\n"
                                   "routes: [{match: /, service: a}]\n"
                                   "services: {a: {servers: [10.0.0.1:80], congestion: reno}}\n");
    struct upstream *other = b->services[0].servers[0].upstream;
    must(other != upstream && strcmp(other->tcp.congestion, "reno") == 0);
    gate_test_end();
}
TEST(other_socket_options)

static void answers_of_its_own(void)
{
    struct gate *g = gate_test_use(small);
    static const struct {
        enum http_method method;
        const char *path;
        unsigned status;
    } cases[] = {
        { HTTP_GET, "/nowhere", 404 },
        { HTTP_CONNECT, "", 501 },
        { HTTP_GET, "/../", 400 },
        { HTTP_GET, "", 400 },
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct exchange x;
        exchange_prepare(&x, g);
        x.request.method = cases[i].method;
        x.request.path = bytes_from(cases[i].path);
        gate_serve(&x);
        must(x.response.status == cases[i].status && !x.server);
        gate_done(&x);
        exchange_release(&x);
    }
    must(metric_value(g->unrouted->codes[4], 0) == 3 && metric_value(g->unrouted->codes[5], 0) == 1);
    gate_test_end();
}
TEST(answers_of_its_own)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example),
        cmocka_unit_test(mistakes),
        cmocka_unit_test(names_are_looked_up),
        cmocka_unit_test(load_without_memory),
        cmocka_unit_test(test_open_without_memory),
        cmocka_unit_test(test_generations_come_and_go),
        cmocka_unit_test(test_other_socket_options),
        cmocka_unit_test(test_answers_of_its_own),
    };
    return cmocka_run_group_tests(tests, gate_test_setup, gate_test_teardown);
}
