#include "core/conf_test.h"

#include "core/conf_part.h"

static void assert_text(struct bytes got, const char *want)
{
    assert_string_equal(got.ptr, want);
    assert_int_equal(got.len, strlen(want));
}

static void test_full(void **state)
{
    (void)state;
    struct parsed p;
    parse_as(&p, &sample_root, sample_full);
    assert_int_equal(p.e, OK);
    const struct sample_root *root = p.conf;
    assert_int_equal(root->listen.count, 1);
    assert_int_equal(((struct addr *)root->listen.items)->sock.v6.sin6_port, htons(8080));
    assert_int_equal(root->admin.sock.v4.sin_port, htons(9901));
    assert_true(root->workers == CONF_INT_WORD(0));
    assert_text(root->access_log, "stdout");
    assert_int_equal(root->body_bytes_max, 1 << 20);
    assert_int_equal(root->probe->interval_ms, 10000);
    assert_text(root->probe->path, "/self");

    assert_int_equal(root->routes.count, 1);
    const struct sample_route *route = root->routes.items;
    assert_text(route->match, "/api/*");
    assert_text(route->service, "shop");
    assert_int_equal(route->retry_on.count, 2);
    assert_int_equal(((int64_t *)route->retry_on.items)[1], 503);

    /* in the order of the chain, not of the file */
    const struct conf_module *filters = route->filters.items;
    assert_int_equal(route->filters.count, 3);
    assert_int_equal(filters[0].index, 0);
    assert_int_equal(filters[1].index, 1);
    assert_int_equal(filters[2].index, 2);
    assert_int_equal(filters[2].mark.line, 8);
    assert_int_equal(filters[2].mark.column, 5);
    const struct sample_rate_limit *limit = filters[0].conf;
    assert_int_equal(limit->rate.count, 50);
    assert_int_equal(limit->rate.per_ms, 1000);
    assert_int_equal(limit->key, 1);
    assert_int_equal(limit->burst, CONF_INT_WORD(0));
    const struct sample_mirror *mirror = filters[2].conf;
    assert_true(mirror->share > 0.2999 && mirror->share < 0.3001);
    assert_text(mirror->service, "shadow");

    const struct sample_service *services = root->services.items;
    assert_int_equal(root->services.count, 2);
    assert_text(services[0].name, "shop");
    assert_int_equal(services[0].mark.line, 13);
    const struct sample_server *servers = services[0].servers.items;
    assert_int_equal(services[0].servers.count, 3);
    assert_int_equal(servers[0].weight, 1);
    assert_int_equal(servers[2].weight, 2);
    assert_int_equal(servers[2].mark.column, 41);
    assert_int_equal(services[0].balance.index, 1);
    assert_non_null(services[0].balance.conf);
    assert_int_equal(services[0].health_check->method, 0);
    assert_int_equal(services[0].health_check->interval_ms, 2000);
    assert_int_equal(services[0].health_check->timeout_ms, 1000);
    assert_int_equal(services[0].idle_ms, 60000);
    const struct conf_pair *headers = services[0].headers.items;
    assert_int_equal(services[0].headers.count, 2);
    assert_text(headers[1].name, "a b");
    assert_text(headers[1].value, "\xc3\xa9\n\"");
    assert_int_equal(services[1].balance.index, 2);
    assert_text(((const struct sample_hash *)services[1].balance.conf)->key, "cookie");
    assert_null(services[1].health_check);
    assert_true(services[1].idle_ms == CONF_MS_OFF);
    parsed_close(&p);
}

#define GOOD "listen: :80\n"
#define SHOP GOOD "services:\n  shop:\n    servers: [10.0.0.1:80]\n"

static const struct {
    const char *text, *said;
} mistakes[] = {
    { "", "weir.yaml:1:1: \"listen\" is missing in weir" },
    { "# nothing\n", "weir.yaml:1:1: \"listen\" is missing in weir" },
    { "hello", "weir.yaml:1:1: weir takes a mapping (setting: value), not a text" },
    { "[a]", "weir.yaml:1:1: weir takes a mapping (setting: value), not a list" },
    { "listen: []", "weir.yaml:1:9: \"listen\" needs at least one item" },
    { "listen:", "weir.yaml:1:8: \"listen\" has no value" },
    { GOOD "access_log:", "weir.yaml:2:12: \"access_log\" has no value; write \"\" for an empty text" },
    { GOOD "access_log: {a: b}", "weir.yaml:2:13: \"access_log\" takes a text, not a mapping" },
    { GOOD "workers: [1]", "weir.yaml:2:10: \"workers\" takes a whole number (like 42), not a list" },
    { GOOD "services: [a]",
      "weir.yaml:2:11: \"services\" takes a mapping from names (name: ...), not a list" },
    { GOOD "services: {\"\": {servers: \":1\"}}", "weir.yaml:2:12: an empty name" },
    { GOOD "worker: 2", "weir.yaml:2:1: unknown setting \"worker\" in weir; did you mean \"workers\"?" },
    { GOOD "zzz: 2", "weir.yaml:2:1: unknown setting \"zzz\" in weir" },
    { GOOD "quiet: on\nquiet: off", "weir.yaml:3:1: \"quiet\" is set twice; it stood already in line 2" },
    { SHOP "    helth_check: GET / every 2s\n",
      "weir.yaml:5:5: unknown setting \"helth_check\" in service; did you mean \"health_check\"?" },
    { SHOP "    workers: 2\n",
      "weir.yaml:5:5: \"workers\" is no setting of service: it stands at the top of the file" },
    { SHOP "    idle:    5x\n", "weir.yaml:5:14: 5x is not a duration (like 500ms, 10s, 2m, 1h)" },
    { SHOP "    health_check: GET /x every 5x\n",
      "weir.yaml:5:32: 5x is not a duration (like 500ms, 10s, 2m, 1h)" },
    { SHOP "    health_check: \"GET /x every 5x\"\n",
      "weir.yaml:5:33: 5x is not a duration (like 500ms, 10s, 2m, 1h)" },
    { SHOP "    health_check: /x every 500ms\n",
      "weir.yaml:5:19: the timeout must be shorter than the interval" },
    { SHOP "    health_check: on\n",
      "weir.yaml:5:19: \"on\" does not fit health_check; write it as \"{method} {path} every {interval}\", "
      "\"{path} every {interval}\", \"{path}\", or as a mapping" },
    { SHOP "    health_check: \"on\"\n", NULL }, /* in quotes: a path by the shortest phrase */
    { SHOP "    health_check: [/x]\n",
      "weir.yaml:5:19: health_check takes a mapping (setting: value), not a list" },
    { SHOP "    health_check: {interval: 2s}\n", "weir.yaml:5:19: \"path\" is missing in health_check" },
    { SHOP "    balance: round_robbin\n",
      "weir.yaml:5:14: \"round_robbin\" is no balance; there are: round_robin, "
      "least_request, hash; did you mean \"round_robin\"?" },
    { SHOP "    balance: {hash: by x, round_robin: on}\n",
      "weir.yaml:5:14: \"balance\" takes one name, or one name with its settings {name: ...}" },
    { SHOP "    balance: hash per x\n",
      "weir.yaml:5:19: \"per x\" does not fit hash; write it as \"by {key}\", or as a mapping" },
    { SHOP "    balance: hash\n", "weir.yaml:5:14: \"key\" is missing in hash" },
    { SHOP "    balance: {hash: {key: a, points: 0}}\n", "weir.yaml:5:38: 0 is out of bounds: at least 1" },
    { SHOP "    balance: round_robin twice\n",
      "weir.yaml:5:26: round_robin cannot be written as \"twice\"; it takes a mapping (setting: value)" },
    { SHOP "routes:\n  - service: shpo\n",
      "weir.yaml:6:14: there is no \"shpo\" in \"services\"; did you mean \"shop\"?" },
    { SHOP "routes: {service: shop, mirror: to shoop}\n",
      "weir.yaml:5:36: there is no \"shoop\" in \"services\"; did you mean \"shop\"?" },
    { SHOP "routes: {service: shop, rate_limit: fast}\n",
      "weir.yaml:5:37: fast is not a rate (like 50/s, 1000/m, 10/h)" },
    { SHOP "routes: {service: shop, mirror: 3 times}\n",
      "weir.yaml:5:33: \"3 times\" does not fit mirror; write it as \"to {service}\", \"{share} to "
      "{service}\", or "
      "as a mapping" },
    { SHOP "routes: {service: shop, rate_limit: on}\n",
      "weir.yaml:5:37: \"on\" does not fit rate_limit; write it as \"{rate}\", \"{rate} per {key}\", "
      "\"{rate} per {key} burst {burst}\", or as a mapping" },
    { SHOP "routes: {service: shop, rate_limit: {key: ip}}\n",
      "weir.yaml:5:37: \"rate\" is missing in rate_limit" },
    { SHOP "routes: {service: shop, filters: {}}\n", "weir.yaml:5:25: unknown setting \"filters\" in route" },
    { SHOP "routes: {service: shop, retry_on: [500, 600]}\n",
      "weir.yaml:5:41: 600 is out of bounds: 400 to 599" },
};

static void test_mistakes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        struct parsed p;
        parse_as(&p, &sample_root, mistakes[i].text);
        assert_string_equal(p.said, mistakes[i].said ? mistakes[i].said : "");
        assert_int_equal(p.e, mistakes[i].said ? ERR_CONF : OK);
        parsed_close(&p);
    }
}

static void test_left_out(void **state)
{
    (void)state;
    static const struct conf_left_out list[] = { { "jwt", "openssl" }, { 0 } };
    struct parsed p;
    conf_left_out(list);
    parse_as(&p, &sample_root, SHOP "routes: {service: shop, jwt: {}}\n");
    conf_left_out(NULL);
    assert_int_equal(p.e, ERR_CONF);
    assert_string_equal(p.said, "weir.yaml:5:25: this weir was built without openssl, which \"jwt\" needs");
    parsed_close(&p);
}

static void test_on_and_off(void **state)
{
    (void)state;
    struct parsed p;
    parse_as(&p, &sample_root,
             SHOP "probe: off\nroutes: {service: shop, circuit_breaker: on, rate_limit: off}\n");
    assert_int_equal(p.e, OK);
    const struct sample_root *root = p.conf;
    const struct sample_route *route = root->routes.items;
    const struct conf_module *filters = route->filters.items;
    assert_null(root->probe); /* its preset notwithstanding */
    assert_int_equal(route->filters.count, 1);
    assert_int_equal(filters[0].index, 1);
    assert_int_equal(((const struct sample_breaker *)filters[0].conf)->window_ms, 10000);
    parsed_close(&p);
}

static void count_mistake(void *arg, const struct diag *d)
{
    char said[640];
    diag_print(d, said, sizeof said);
    gather(arg, bytes_from(said));
    gather(arg, BYTES("\n"));
}

static void test_all_mistakes(void **state)
{
    (void)state;
    static const char text[] = "listen: nowhere\n"
                               "workers: 0\n"
                               "workers: 1\n"
                               "routes:\n"
                               "  - {service: ship, mirror: 3 times, retry_on: [1, 500, x]}\n"
                               "services:\n"
                               "  shop: {servers: [a, 10.0.0.1:80 weight 0], balance: hsah}\n";
    struct gathered said = { NULL, 0 };
    struct conf_errors errors = { count_mistake, &said, 0 };
    struct diag first = DIAG_NONE;
    struct arena a;
    void *conf;
    arena_open(&a, &arena_heap, 1 << 20, NULL, 0);
    assert_int_equal(conf_parse(bytes_from(text), "f", &sample_root, &a, &errors, &conf, &first), ERR_CONF);
    assert_int_equal(errors.count, 10);
    assert_string_equal(
        said.text, "f:3:1: \"workers\" is set twice; it stood already in line 2\n"
                   "f:1:9: nowhere is not an address (like 10.0.0.1:80, [::1]:80, :8080, unix:/path)\n"
                   "f:2:10: 0 is out of bounds: 1 to 256\n"
                   "f:5:29: \"3 times\" does not fit mirror; write it as \"to {service}\", \"{share} to "
                   "{service}\", or as a mapping\n"
                   "f:5:49: 1 is out of bounds: 400 to 599\n"
                   "f:5:57: x is not a whole number (like 42)\n"
                   "f:7:20: a is not an address (like 10.0.0.1:80, [::1]:80, :8080, unix:/path)\n"
                   "f:7:42: 0 is out of bounds: 1 to 1000\n"
                   "f:7:55: \"hsah\" is no balance; there are: round_robin, least_request, hash; did you "
                   "mean \"hash\"?\n"
                   "f:5:15: there is no \"ship\" in \"services\"; did you mean \"shop\"?\n");
    assert_int_equal(first.line, 3);
    free(said.text);
    arena_close(&a);
}

/* However many there are, CONF_MISTAKES_MAX are told. */
static void test_mistakes_bounded(void **state)
{
    (void)state;
    struct gathered text = { NULL, 0 }, said = { NULL, 0 };
    struct conf_errors errors = { count_mistake, &said, 0 };
    struct arena a;
    void *conf;
    gather(&text, BYTES("listen: [x"));
    for (int i = 0; i < 1000; i++)
        gather(&text, BYTES(", x"));
    gather(&text, BYTES("]"));
    arena_open(&a, &arena_heap, 1 << 20, NULL, 0);
    assert_int_equal(
        conf_parse((struct bytes){ text.text, text.len }, "f", &sample_root, &a, &errors, &conf, NULL),
        ERR_CONF);
    assert_int_equal(errors.count, CONF_MISTAKES_MAX);
    free(text.text);
    free(said.text);
    arena_close(&a);
}

/* Every allocation of a full load fails once: ERR_MEMORY, nothing lost (the sanitizers see to that). */
static void test_memory(void **state)
{
    (void)state;
    uint64_t n = 1;
    for (;; n++) {
        struct parsed p;
        mem_fail_at(n);
        parse_as(&p, &sample_root, sample_full);
        mem_fail_at(0);
        err e = p.e;
        parsed_close(&p);
        if (e == OK)
            break;
        assert_int_equal(e, ERR_MEMORY);
    }
    assert_true(n > 2);
}

/* As before, but with arenas so small that each of many takings is a new chunk. */
static void test_arena_cap(void **state)
{
    (void)state;
    for (size_t cap = 0;; cap += 40) {
        struct arena a;
        void *conf;
        struct diag d = DIAG_NONE;
        arena_open(&a, &arena_heap, cap, NULL, 0);
        err e = conf_parse(bytes_from(sample_full), "f", &sample_root, &a, NULL, &conf, &d);
        arena_close(&a);
        if (e == OK)
            break;
        assert_int_equal(e, ERR_MEMORY);
        assert_true(cap < 100000);
    }
}

static void test_near(void **state)
{
    (void)state;
    static const struct {
        const char *wrong, *word;
        bool near;
    } cases[] = { { "helth_check", "health_check", true },
                  { "shpo", "shop", true },
                  { "worker", "workers", true },
                  { "LISTEN", "listen", true },
                  { "x", "y", false },
                  { "ab", "cd", false },
                  { "listen", "services", false },
                  { "ip", "ipp", true },
                  { "retries", "retry", false },
                  { "admin", "amdin", true },
                  { "mirror", "match", false } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct conf_near near;
        conf_near_begin(&near, bytes_from(cases[i].wrong));
        conf_near_offer(&near, bytes_from(cases[i].word));
        assert_int_equal(near.distance != SIZE_MAX, cases[i].near);
    }
    struct conf_near near; /* swapped neighbours are one mistake: nearer than two replaced */
    conf_near_begin(&near, BYTES("abdc"));
    conf_near_offer(&near, BYTES("abxy"));
    conf_near_offer(&near, BYTES("abcd"));
    assert_int_equal(near.distance, 1);
    assert_string_equal(conf_near_hint(&near), "; did you mean \"abcd\"?");
}

static void test_show(void **state)
{
    (void)state;
    struct conf_shown s;
    assert_string_equal(conf_show(&s, BYTES("5x")), "5x");
    assert_string_equal(conf_show(&s, BYTES("a b")), "\"a b\"");
    assert_string_equal(conf_show(&s, BYTES("")), "\"\"");
    assert_string_equal(conf_show(&s, BYTES("a\x1b[1m\n")), "\"a?[1m?\"");
    char longer[100];
    memset(longer, 'x', sizeof longer);
    conf_show(&s, (struct bytes){ longer, sizeof longer });
    assert_int_equal(strlen(s.text), 60 + 3 + 2);
    memset(longer, 0xbf, sizeof longer); /* nothing but the middles of characters */
    assert_string_equal(conf_show(&s, (struct bytes){ longer, sizeof longer }), "\"...\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full),         cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_left_out),     cmocka_unit_test(test_on_and_off),
        cmocka_unit_test(test_all_mistakes), cmocka_unit_test(test_mistakes_bounded),
        cmocka_unit_test(test_memory),       cmocka_unit_test(test_arena_cap),
        cmocka_unit_test(test_near),         cmocka_unit_test(test_show),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
