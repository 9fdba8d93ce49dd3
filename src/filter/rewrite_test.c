#include <stdio.h>

#include "filter/fakes_test.h"
/* first the fakes */
#include "filter/rewrite.c"
/* then what stands on both */
#include "filter/variables_test.h"

static char target[512], host[128];

static void server_sees(struct exchange *x)
{
    snprintf(target, sizeof target, "%.*s", BYTES_ARG(x->request.target));
    snprintf(host, sizeof host, "%.*s", BYTES_ARG(x->request.authority));
    const struct http_request *q = &x->request;
    assert_true(q->path.ptr == q->target.ptr && q->path.len <= q->target.len);
    if (q->query.ptr)
        assert_true(q->query.ptr == q->path.ptr + q->path.len + 1);
}

/* What the server is asked for; "400" when it is not. */
static const char *rewritten(const char *conf, const char *url, struct bytes rest)
{
    struct loaded l;
    struct exchange x;
    void *state;
    char text[512];
    static const struct bytes names[] = { { "id", 2 } };
    snprintf(text, sizeof text, "match: \"/api/{id}/*\"\nrewrite: %s\n", conf);
    loaded_open(&l, &rewrite_filter, text);
    if (l.words[0])
        fail_msg("%s: %s", conf, l.words);
    assert_int_equal(rewrite_open(l.conf, NULL, BYTES("r"), &state, NULL), OK);
    fake_exchange_open(&x);
    ask(&x, url);
    x.rest = rest;
    struct route_captures *captures = arena_get(&x.arena, sizeof *captures + sizeof captures->values[0]);
    *captures = (struct route_captures){ 1, names };
    captures->values[0] = BYTES("1 7");
    x.captures = captures;
    fake.on_chain = server_sees;
    snprintf(target, sizeof target, "400");
    const struct bytes before = x.request.target;
    assert_int_equal(rewrite_handle(&x, state, NULL), OK);
    assert_true(before.ptr == x.request.target.ptr && before.len == x.request.target.len); /* put back */
    if (x.response.status)
        assert_int_equal(x.response.status, 400);
    fake_exchange_close(&x);
    rewrite_close(state);
    loaded_close(&l);
    return target;
}

static void paths_are_rewritten(void **state)
{
    (void)state;
    static const struct {
        const char *conf, *url, *target;
    } cases[] = {
        { "/api to /v2", "http://h/api/x?q=1", "/v2/x?q=1" },
        { "/api to /v2", "http://h/api", "/v2" },
        { "/api/ to /v2/", "http://h/api/x", "/v2/x" },
        { "/api to /", "http://h/api/x", "/x" },
        { "/api to /", "http://h/api", "/" },
        { "/api to /v2", "http://h/apix", "/apix" },
        { "/api to /v2", "http://h/other?a", "/other?a" },
        { "/ to /all", "http://h/x", "/all/x" },
        { "/api to /$method/$host", "http://h:80/api/x", "/GET/h/x" },
        { "/fixed", "http://h/api?q", "/fixed?q" },
        { "/u/$capture.id/$rest", "http://h/api", "/u/1%207/r/s" },
        { "/u/$header.X-No$$", "http://h/api", "/u/$" },
        { "/u/$arg.q", "http://h/api?q=a%2Fb%3F%23%0d%0aX", "/u/a%2Fb%3F%23%0D%0AX?q=a%2Fb%3F%23%0d%0aX" },
        { "{path: /u/$arg.q, drop_query: true}", "http://h/api?q=..", "/" },
        { "{path: /$arg.q, drop_query: true}", "http://h/api?q=..", "400" },
        { "{query: 'from=$path'}", "http://h/api/./x?q", "/api/./x?from=/api/./x" },
        { "{drop_query: true}", "http://h/api?q", "/api" },
        { "{path: $rest}", "http://h/api", "400" },
#if WEIR_HAVE_PCRE2
        { "{regex: '^/api/([0-9]+)', to: /items/$1}", "http://h/api/17/x?q", "/items/17/x?q" },
        { "{regex: '^/api/([0-9]+)', to: /items/$1}", "http://h/api/x", "/api/x" },
        { "{regex: a, to: b}", "http://h/aaa", "/baa" },
        { "{regex: a, to: b, every: true}", "http://h/aaa/a", "/bbb/b" },
        { "{regex: '(x*)', to: $1-, every: true}", "http://h/xa", "400" },
        { "{regex: '/(?<a>[a-z]+)/(b)?', to: '/${1}s/$2'}", "http://h/item/9", "/items/9" },
#endif
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *got = rewritten(cases[i].conf, cases[i].url, BYTES("r/s"));
        if (strcmp(got, cases[i].target) != 0)
            fail_msg("%s, %s: %s, not %s", cases[i].conf, cases[i].url, got, cases[i].target);
    }
}

static void the_host_too(void **state)
{
    (void)state;
    assert_string_equal(rewritten("{host: $capture.id.internal}", "http://h/a", BYTES("")), "/a");
    assert_string_equal(host, "1%207.internal");
    assert_string_equal(rewritten("/a to /b", "http://h:8/a", BYTES("")), "/b");
    assert_string_equal(host, "h:8");
}

static void mistakes(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "{path: /a, prefix: /b, to: /c}", "expected one of them" },
        { "{prefix: /b}", "expected to with" },
        { "{to: /b}", "expected prefix or regex with it" },
        { "{}", "expected path" },
        { "a", "expected a / in front" },
        { "/a to b", "in front of both" },
        { "/a?b", "a path has no ?" },
        { "'/a b'", "no URL has" },
        { "/$hots", "did you mean \"host\"?" },
        { "/$capture.ids", "did you mean \"id\"?" },
        { "/$1", "no regular expression here" },
        { "{query: a, drop_query: true}", "contradict" },
        { "{path: /a, every: true}", "expected regex" },
#if WEIR_HAVE_PCRE2
        { "{regex: '(', to: /a}", "wrong at byte 2" },
        { "{regex: '(a)', to: /$2}", "has 1 groups" },
#else
        { "{regex: 'a', to: /a}", "without it" },
#endif
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];
        snprintf(text, sizeof text, "match: \"/x/{id}\"\nrewrite: %s\n", cases[i][0]);
        assert_refused(&rewrite_filter, text, cases[i][1]);
    }
}

static void no_memory_is_a_limit(void **state)
{
    (void)state;
    struct loaded l;
    struct exchange x;
    void *r;
    loaded_open(&l, &rewrite_filter, "match: /*\nrewrite: /a to /b\n");
    assert_int_equal(rewrite_open(l.conf, NULL, BYTES("r"), &r, NULL), OK);
    fake_exchange_open(&x);
    arena_close(&x.arena);
    arena_open(&x.arena, &arena_heap, 0, NULL, 0);
    ask(&x, "http://h/a/x");
    assert_int_equal(rewrite_handle(&x, r, NULL), ERR_LIMIT);
    fake_exchange_close(&x);
    rewrite_close(r);
    loaded_close(&l);
}

int main(void)
{
    metrics_init(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_are_rewritten),
        cmocka_unit_test(the_host_too),
        cmocka_unit_test(mistakes),
        cmocka_unit_test(no_memory_is_a_limit),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    metrics_close();
    return failed;
}
