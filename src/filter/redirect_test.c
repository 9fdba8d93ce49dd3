#include <stdio.h>

#include "filter/fakes_test.h"
/* first the fakes */
#include "filter/redirect.c"
/* then what stands on both */
#include "filter/variables_test.h"

static unsigned status;

static const char *location(const char *conf, const char *url, const char *rest)
{
    static char out[256];
    struct loaded l;
    struct exchange x;
    void *state;
    char text[512];
    snprintf(text, sizeof text, "match: /*\nredirect: %s\n", conf);
    loaded_open(&l, &redirect_filter, text);
    if (l.words[0])
        fail_msg("%s: %s", conf, l.words);
    assert_int_equal(redirect_open(l.conf, NULL, BYTES("r"), &state, NULL), OK);
    fake_exchange_open(&x);
    ask(&x, url);
    x.rest = bytes_from(rest);
    fake.chained = 0;
    assert_int_equal(redirect_handle(&x, state, NULL), OK);
    assert_int_equal(fake.chained, 0);
    status = x.response.status;
    const struct http_field *f = http_fields_get(&x.response.fields, FIELD_LOCATION);
    assert_non_null(f);
    snprintf(out, sizeof out, "%.*s", BYTES_ARG(http_field_value(f)));
    fake_exchange_close(&x);
    redirect_close(state);
    loaded_close(&l);
    return out;
}

static void where_to(void **state)
{
    (void)state;
    static const struct {
        const char *conf, *url, *rest, *location;
        unsigned status;
    } cases[] = {
        { "https", "http://h:8080/a?b", "", "https://h/a?b", 308 },
        { "http", "http://h:8080/a?b", "", "http://h:8080/a?b", 308 },
        { "to https://www.example.com$target", "http://h/a?b=c&d", "", "https://www.example.com/a?b=c&d",
          308 },
        { "302 to /login?from=$path", "http://h/a?b", "", "/login?from=/a", 302 },
        { "to /new/$rest", "http://h/a", "x/y", "/new/x/y", 308 },
        { "to /$rest", "http://h/a//evil.example", "/evil.example", "/evil.example", 308 },
        { "to $path", "http://h//evil.example", "", "/evil.example", 308 },
        { "{path: /$rest}", "http://h/a", "//evil.example", "/evil.example", 308 },
        { "{path: $rest}", "http://h/a", "x", "/x", 308 },
        { "to /x/$arg.q", "http://h/a?q=%0d%0aSet-Cookie:%20a%5c", "", "/x/%0D%0ASet-Cookie%3A%20a%5C", 308 },
        { "{host: www.$host}", "http://h:8080/a", "", "http://www.h/a", 308 },
        { "{host: www.$host, port: 81, status: 301}", "http://h/a", "", "http://www.h:81/a", 301 },
        { "{scheme: https, port: 8443}", "http://h:8080/a?x", "", "https://h:8443/a?x", 308 },
        { "{path: /b, drop_query: true}", "http://h/a?x", "", "/b", 308 },
        { "{query: 'p=$path'}", "http://h/a?x", "", "/a?p=/a", 308 },
        { "https", "http:///a", "", "/a", 308 }, /* HTTP/1.0 without a host */
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *got = location(cases[i].conf, cases[i].url, cases[i].rest);
        if (strcmp(got, cases[i].location) != 0 || status != cases[i].status)
            fail_msg("%s, %s: %u %s, not %s", cases[i].conf, cases[i].url, status, got, cases[i].location);
    }
}

static void mistakes(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "{}", "where to?" },
        { "{location: /a, host: b}", "says all of it" },
        { "305 to /a", "expected 301" },
        { "to www.example.com", "expected /path" },
        { "to ftp://a", "expected /path" },
        { "{path: a}", "expected a / in front" },
        { "to /a b", "no URL has" },
        { "to /$arg", "expected $arg.NAME" },
        { "to /$capture.x", "captures nothing" },
        { "{query: a, drop_query: true}", "contradict" },
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];
        snprintf(text, sizeof text, "match: /*\nredirect: %s\n", cases[i][0]);
        assert_refused(&redirect_filter, text, cases[i][1]);
    }
}

int main(void)
{
    metrics_init(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(where_to),
        cmocka_unit_test(mistakes),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    metrics_close();
    return failed;
}
