#include "core/conf_test.h"

/* What is written reads as the same again: written a second time it is the same text. */
static void round_trip(const char *text, const char *want)
{
    struct parsed p, again;
    parse_as(&p, &sample_root, text);
    assert_string_equal(p.said, "");
    struct gathered first = yaml_of(&sample_root, p.conf);
    if (want)
        assert_string_equal(first.text, want);
    parse_as(&again, &sample_root, first.text);
    assert_string_equal(again.said, "");
    struct gathered second = yaml_of(&sample_root, again.conf);
    assert_string_equal(second.text, first.text);
    free(first.text);
    free(second.text);
    parsed_close(&again);
    parsed_close(&p);
}

static const char full_written[] = "listen:\n"
                                   "  - \"[::]:8080\"\n"
                                   "admin: \"127.0.0.1:9901\"\n"
                                   "workers: auto\n"
                                   "access_log: stdout\n"
                                   "quiet: false\n"
                                   "body_bytes_max: 1m\n"
                                   "routes:\n"
                                   "  - match: \"/api/*\"\n"
                                   "    service: shop\n"
                                   "    retry_on:\n"
                                   "      - 502\n"
                                   "      - 503\n"
                                   "    rate_limit:\n"
                                   "      rate: 50/s\n"
                                   "      key: ip\n"
                                   "      burst: auto\n"
                                   "    circuit_breaker:\n"
                                   "      share: 5%\n"
                                   "      window: 10s\n"
                                   "    mirror:\n"
                                   "      share: 30%\n"
                                   "      service: shadow\n"
                                   "services:\n"
                                   "  shop:\n"
                                   "    servers:\n"
                                   "      - address: \"10.0.0.1:80\"\n"
                                   "        weight: 1\n"
                                   "      - address: \"10.0.0.2:80\"\n"
                                   "        weight: 1\n"
                                   "      - address: \"10.0.0.3:80\"\n"
                                   "        weight: 2\n"
                                   "    balance: least_request\n"
                                   "    health_check:\n"
                                   "      method: GET\n"
                                   "      path: /healthz\n"
                                   "      interval: 2s\n"
                                   "      timeout: 1s\n"
                                   "    idle: 1m\n"
                                   "    headers:\n"
                                   "      x-from: weir\n"
                                   "      \"a b\": \"\xc3\xa9\\u000A\\\"\"\n"
                                   "  shadow:\n"
                                   "    servers:\n"
                                   "      - address: \"unix:/run/shadow.sock\"\n"
                                   "        weight: 1\n"
                                   "    balance:\n"
                                   "      hash:\n"
                                   "        key: cookie\n"
                                   "        points: 100\n"
                                   "    idle: off\n"
                                   "probe:\n"
                                   "  method: GET\n"
                                   "  path: /self\n"
                                   "  interval: 10s\n"
                                   "  timeout: 1s\n";

static void test_round_trip(void **state)
{
    (void)state;
    round_trip(sample_full, full_written);
    /* line ends to some readers: escaped, though libyaml would give them back */
    round_trip("listen: :80\nprobe: off\naccess_log: \"\\u2028\"\n",
               "listen:\n  - \"[::]:80\"\nworkers: auto\naccess_log: \"\\u2028\"\nquiet: false\n"
               "body_bytes_max: 1m\nprobe: off\n");
    round_trip("listen: :80\nprobe: off\nroutes: []\nservices: {}\n",
               "listen:\n  - \"[::]:80\"\nworkers: auto\naccess_log: off\nquiet: false\nbody_bytes_max: 1m\n"
               "routes: []\nservices: {}\nprobe: off\n");
}

static void test_texts(void **state)
{
    (void)state;
    static const char *const texts[] = { "\"\"",
                                         "'~'",
                                         "'- a'",
                                         "'a: b'",
                                         "'#'",
                                         "'*x'",
                                         "\" a\"",
                                         "\"a\\\\b\\\"c\"",
                                         "\"\\t\\r\\n\\x7f\\x85\\xa0\\xa1\"",
                                         "\"\\u2028\\u2029\\ufeff\\ufffe\\U0001f600\\U0010ffff\"",
                                         "\"\xe4\xb8\xad\xe6\x96\x87\"",
                                         "|\n  two\n  lines\n" };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char yaml[200];
        struct parsed p, again;
        snprintf(yaml, sizeof yaml, "listen: :80\naccess_log: %s\n", texts[i]);
        parse_as(&p, &sample_root, yaml);
        assert_string_equal(p.said, "");
        struct gathered g = yaml_of(&sample_root, p.conf);
        parse_as(&again, &sample_root, g.text);
        assert_string_equal(again.said, "");
        struct bytes before = ((struct sample_root *)p.conf)->access_log;
        struct bytes after = ((struct sample_root *)again.conf)->access_log;
        assert_true(bytes_eq(before, after));
        free(g.text);
        parsed_close(&again);
        parsed_close(&p);
    }
}

static struct gathered written(void (*write)(const struct conf_struct *, const struct conf_writer *))
{
    struct gathered g = { NULL, 0 };
    write(&sample_root, &(struct conf_writer){ gather, &g });
    return g;
}

static void assert_has(const struct gathered *g, const char *part)
{
    if (!strstr(g->text, part))
        fail_msg("lacks: %s", part);
}

static void test_reference(void **state)
{
    (void)state;
    struct gathered g = written(conf_write_reference);
    assert_int_equal(strncmp(g.text, "## weir\n\nThe whole configuration.\n", 33), 0);
    assert_has(&g, "| setting | written as | default | meaning |\n| --- | --- | --- | --- |\n");
    assert_has(&g, "| `workers` | a whole number (like 42), 1 to 256, or `auto` | `auto` | Threads. |\n");
    assert_has(&g, "| `quiet` | a switch (true, false, on, off) | `off` | Say less. |\n");
    assert_has(&g, "| `routes` | list of [route](#route) |  | Asked from the top. |\n");
    assert_has(&g, "| `service` | a name of `services` | required | Where they go. |\n");
    assert_has(&g, "| `servers` | list of [server](#server), items: 0 to 1000 | required | The servers. |\n");
    assert_has(&g, "| `idle` | a duration (like 500ms, 10s, 2m, 1h), 0ms to 1d, or `off` | `60s` |");
    assert_has(&g, "Short forms: `{method} {path} every {interval}`, `{path} every {interval}`, `{path}`.\n");
    assert_has(&g, "The path that is asked \\| the probe.");
    assert_has(&g, "| `rate_limit` | ");
    assert_null(strstr(strstr(g.text, "### health_check") + 1, "### health_check")); /* each once */
    free(g.text);
}

/* Whether it is JSON is asked by a strict little reader; what it says, piece by piece. */
static const char *json_skip(const char *c)
{
    if (*c == '"') {
        for (c++; *c != '"'; c++) {
            assert_true((unsigned char)*c >= ' ');
            c += *c == '\\';
        }
        return c + 1;
    }
    if (*c == '{' || *c == '[') {
        char end = *c == '{' ? '}' : ']';
        if (c[1] == end)
            return c + 2;
        for (;;) {
            c++;
            if (end == '}') {
                assert_int_equal(*c, '"');
                c = json_skip(c);
                assert_int_equal(*c++, ':');
            }
            c = json_skip(c);
            if (*c == end)
                return c + 1;
            assert_int_equal(*c, ',');
        }
    }
    size_t n = strspn(c, "-0123456789truefalsn");
    assert_true(n > 0);
    return c + n;
}

static void test_schema(void **state)
{
    (void)state;
    struct gathered g = written(conf_write_schema);
    assert_string_equal(json_skip(g.text), "\n");
    assert_has(&g, "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"title\":\"weir\",");
    assert_has(
        &g, "\"workers\":{\"description\":\"Threads.\",\"default\":\"auto\",\"anyOf\":[{\"type\":\"integer\","
            "\"minimum\":1,\"maximum\":256},{\"enum\":[\"auto\"]}]}");
    assert_has(&g, "\"pattern\":\"^(GET|HEAD|OPTIONS) +(.+) +every +([0-9]+(\\\\.[0-9]+)?(ms|s|m|h|d))$\"");
    assert_has(&g, "\"circuit_breaker\":{\"description\":\"Gives a failing service a rest.\",\"anyOf\":[");
    assert_has(&g, "{\"enum\":[\"off\",false,\"on\",true]}");
    assert_has(&g, "\"pattern\":\"^(round_robin|least_request|hash)( .+)?$\"");
    assert_has(&g, "\"required\":[\"listen\"]}");
    free(g.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_reference),
        cmocka_unit_test(test_schema),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
