#include "gate/route_test.h"

struct asked_case {
    const char *line;
    const char *fields[4];
    uint32_t index;
};

static void check_cases(const char *const *matches, const struct asked_case *cases, unsigned count)
{
    struct router *r;
    struct diag d = DIAG_NONE;
    unsigned n = 0;
    for (; matches[n]; n++) {
        if (route_test_add(n, matches[n], &d))
            fail_msg("%s: %s", matches[n], d.text);
    }
    assert_int_equal(route_test_build(n, &r, NULL), OK);
    for (unsigned i = 0; i < count; i++) {
        uint32_t index = route_test_find(r, cases[i].line, cases[i].fields);
        if (index != cases[i].index)
            fail_msg("%s %s: %u, not %u", cases[i].line, cases[i].fields[0] ? cases[i].fields[0] : "", index,
                     cases[i].index);
    }
    router_free(r);
}

static void conditions_decide(void **state)
{
    (void)state;
    static const char *const matches[] = {
        "/a",                                                     /* 0 */
        "GET /a",                                                 /* 1 */
        "{path: /a, method: [PUT, PURGE]}",                       /* 2 */
        "{path: /a, header: {X-V: v2}}",                          /* 3 */
        "{path: /a, header: {X-V: 'v*'}}",                        /* 4 */
        "{path: /a, header: {X-V: present}}",                     /* 5 */
        "{path: /a, header: {X-V: v2}, method: GET}",             /* 6 */
        "{path: /a, query: {p: \"1\"}, cookie: {c: '~ [a-z]+'}}", /* 7 */
        "{path: /b, header: {X-V: not v2}}",                      /* 8 */
        "{path: /b, header: {X-V: '= v2*'}}",                     /* 9 */
        "{path: /c, header: {X-V: absent}}",                      /* 10 */
        "POST /c",                                                /* 11 */
        NULL,
    };
    static const struct asked_case cases[] = {
        { "POST h/a", { 0 }, 0 },
        { "GET h/a", { 0 }, 1 },
        { "HEAD h/a", { 0 }, 1 },
        { "PUT h/a", { 0 }, 2 },
        { "PURGE h/a", { 0 }, 2 },
        { "purge h/a", { 0 }, 0 },
        { "POST h/a", { "x-v: v2" }, 3 },
        { "POST h/a", { "x-v: v1" }, 4 },
        { "POST h/a", { "x-v: 1" }, 5 },
        { "POST h/a", { "X-V: 1", "X-V: v2" }, 3 },
        { "GET h/a", { "X-V: v2" }, 6 },
        { "GET h/a?p=1", { "Cookie: b=1; c=abc", "X-V: v2" }, 7 }, /* as many: more that say a value */
        { "POST h/a?p=1", { "Cookie: c=abc" }, 7 },
        { "POST h/a?q&p=%31", { "Cookie: c=abc" }, 7 },
        { "POST h/a?p=1", { "Cookie: c=abc1" }, 0 },
        { "GET h/b", { 0 }, 8 },
        { "GET h/b", { "X-V: v3" }, 8 },
        { "GET h/b", { "X-V: v2*" }, 9 },
        { "GET h/b", { "X-V: v2" }, NOBODY },
        { "GET h/c", { 0 }, 10 },
        { "GET h/c", { "X-V: a" }, NOBODY },
        { "POST h/c", { "X-V: a" }, 11 },
    };
    check_cases(matches, cases, sizeof cases / sizeof *cases);
    assert_int_equal(hit.methods, 0);
}

static void a_missing_method_is_told(void **state)
{
    (void)state;
    struct router *r;
    assert_int_equal(route_test_add(0, "{path: /a, method: [GET, PUT]}", NULL), OK);
    assert_int_equal(route_test_add(1, "{path: /a, method: DELETE, header: {X-A: present}}", NULL), OK);
    assert_int_equal(route_test_build(2, &r, NULL), OK);
    assert_int_equal(route_test_find(r, "POST h/a", NULL), NOBODY);
    assert_int_equal(hit.methods, 1u << HTTP_GET | 1u << HTTP_HEAD | 1u << HTTP_PUT);
    assert_int_equal(route_test_find(r, "POST h/b", NULL), NOBODY);
    assert_int_equal(hit.methods, 0);
    router_free(r);
}

static void hosts_and_lists(void **state)
{
    (void)state;
    static const char *const matches[] = {
        "{host: [a.example, '*.b.example'], path: [/x, /y/*]}", /* 0 */
        "[/z, {host: c.example}]",                              /* 1 */
        "{host: '*.example'}",                                  /* 2 */
        "{host: '*.n.b.example', path: /x}",                    /* 3 */
        NULL,
    };
    static const struct asked_case cases[] = {
        { "GET a.example/x", { 0 }, 0 },      { "GET a.example:81/y/1", { 0 }, 0 },
        { "GET A.Example/z", { 0 }, 1 },      { "GET a.example/w", { 0 }, 2 },
        { "GET m.b.example/x", { 0 }, 0 },    { "GET m.n.b.example/x", { 0 }, 3 },
        { "GET m.n.b.example/y/", { 0 }, 0 }, { "GET b.example/x", { 0 }, 2 },
        { "GET example/x", { 0 }, NOBODY },   { "GET c.example/any", { 0 }, 1 },
        { "GET d.example/z", { 0 }, 2 },      { "GET .example/z", { 0 }, 1 },
        { "GET a..b.example/x", { 0 }, 0 },   { "GET x/z", { 0 }, 1 },
    };
    static const struct asked_case host_first[] = { { "GET a.example/z", { 0 }, 2 } };
    (void)host_first;
    struct router *r;
    for (unsigned i = 0; matches[i]; i++)
        assert_int_equal(route_test_add(i, matches[i], NULL), OK);
    assert_int_equal(route_test_build(4, &r, NULL), OK);
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t wanted =
            i == 2 ? 2 : cases[i].index; /* a.example/z: the wildcard's before those of no host */
        uint32_t index = route_test_find(r, cases[i].line, NULL);
        if (index != wanted)
            fail_msg("%s: %u, not %u", cases[i].line, index, wanted);
    }
    router_free(r);
}

#if WEIR_HAVE_PCRE2
static void regexes(void **state)
{
    (void)state;
    static const char *const matches[] = {
        "{regex: '/img/(?<name>[^/]+)[.]png'}", /* 0 */
        "/img/*",                               /* 1 */
        "/img/big/*",                           /* 2 */
        "{regex: '.*[.]php'}",                  /* 3 */
        "/*",                                   /* 4 */
        "/img/{n}",                             /* 5 */
        "{regex: '/img/a|/x'}",                 /* 6 */
        "{host: h.example, regex: '/(a+)+b'}",  /* 7 */
        NULL,
    };
    static const struct asked_case cases[] = {
        { "GET h/img/a.png", { 0 }, 5 },     { "GET h/img/a/b.png", { 0 }, 1 },
        { "GET h/img/big/b.png", { 0 }, 2 }, { "GET h/w.php", { 0 }, 3 },
        { "GET h/w.phpx", { 0 }, 4 },        { "GET h/x", { 0 }, 6 },
        { "GET h/img/x.php", { 0 }, 5 },     { "GET h/a/x.php", { 0 }, 3 },
        { "GET h.example/aab", { 0 }, 7 },   { "GET h.example/aac", { 0 }, 4 },
    };
    check_cases(matches, cases, sizeof cases / sizeof *cases);
}

static void a_regex_captures_and_is_bounded(void **state)
{
    (void)state;
    struct router *r;
    char line[128] = "GET h/";
    assert_int_equal(route_test_add(0, "{regex: '/v(?<major>[0-9]+)(?<minor>[.][0-9]+)?/(?<rest>.*)'}", NULL),
                     OK);
    assert_int_equal(route_test_add(1, "{regex: '/(a|aa)+b'}", NULL), OK);
    assert_int_equal(route_test_add(2, "/*", NULL), OK);
    assert_int_equal(route_test_build(3, &r, NULL), OK);
    assert_true(router_has_regexes(r));
    assert_int_equal(route_test_find(r, "GET h/v12/x/y", NULL), 0);
    assert_int_equal(hit.count, 3);
    assert_bytes_equal(hit.names[0], BYTES("major"));
    assert_bytes_equal(hit.values[0], BYTES("12"));
    assert_null(hit.values[1].ptr);
    assert_bytes_equal(hit.values[2], BYTES("x/y"));
    for (unsigned i = 6; i < 100; i++)
        line[i] = 'a';
    line[98] = '!';
    line[99] = 'b'; /* or it would be seen at once that there is none */
    assert_int_equal(route_test_find(r, line, NULL),
                     NOBODY - 1); /* it neither stalls nor falls to another route */
    router_free(r);
}
#endif

/* One route for each tenant, all at one path: found by hash, in the order that conditions have. */
static void many_at_one_place(void **state)
{
    (void)state;
    struct router *r;
    char text[128];
    for (unsigned i = 0; i < 2000; i++) {
        snprintf(text, sizeof text, i % 2 ? "{path: /t, header: {X-T: t%u}}" : "{path: /t, cookie: {t: t%u}}",
                 i);
        assert_int_equal(route_test_add(i, text, NULL), OK);
    }
    assert_int_equal(route_test_add(2000, "{path: /t, header: {X-T: t7, X-B: present}}", NULL), OK);
    assert_int_equal(route_test_add(2001, "{path: /t, query: {all: present}}", NULL), OK);
    assert_int_equal(route_test_build(2002, &r, NULL), OK);
    for (unsigned i = 0; i < 2000; i++) {
        snprintf(text, sizeof text, i % 2 ? "x-t: t%u" : "Cookie: t=t%u", i);
        assert_int_equal(route_test_find(r, "GET h/t", (const char *const[]){ text, NULL }), i);
    }
    assert_int_equal(route_test_find(r, "GET h/t?all", (const char *const[]){ "X-T: t7", "X-B: 1", NULL }),
                     2000);
    assert_int_equal(route_test_find(r, "GET h/t?all", (const char *const[]){ "X-T: t7", NULL }), 7);
    assert_int_equal(route_test_find(r, "GET h/t?all", (const char *const[]){ "X-T: t8", NULL }), 2001);
    assert_int_equal(route_test_find(r, "GET h/t", (const char *const[]){ "X-T: t8", NULL }), NOBODY);
    router_free(r);
}

static void twins(void **state)
{
    (void)state;
    static const struct {
        const char *first, *second;
        bool same;
    } pairs[] = {
        { "/a/{x}", "/a/{y}", true },
        { "/a/{x}", "/a/*", false },
        { "{path: /a, header: {X-A: b, X-B: c}}", "{path: /a, header: {x-b: c, x-a: b}}", true },
        { "{path: /a, header: {X-A: b}}", "{path: /a, header: {X-A: not b}}", false },
        { "{path: /a, header: {X-A: b}}", "{path: /a, cookie: {X-A: b}}", false },
        { "{path: /a, header: {X-A: 'b*'}}", "{path: /a, header: {X-A: '= b*'}}", false },
        { "{path: /a, header: {X-A: b}}", "{path: /a, header: {X-A: '= b'}}", true },
        { "{path: /a, method: [GET, PUT]}", "{path: /a, method: [PUT, GET, HEAD]}", true },
        { "GET /a", "POST /a", false },
        { "[/a, /b]", "[/c, /b]", true },
        { "{host: [a, b]}", "{host: B, path: /*}", true },
        { "'*.a/x'", "'*.A/x'", true },
        { "'*.a/x'", "a/x", false },
    };
    for (unsigned i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct router *r = NULL;
        assert_int_equal(route_test_add(0, pairs[i].first, NULL), OK);
        assert_int_equal(route_test_add(1, pairs[i].second, NULL), OK);
        err e = route_test_build(2, &r, NULL);
        if (e != (pairs[i].same ? ERR_CONF : OK))
            fail_msg("%s and %s: %s", pairs[i].first, pairs[i].second, err_name(e));
        if (r)
            router_free(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conditions_decide),
        cmocka_unit_test(a_missing_method_is_told),
        cmocka_unit_test(hosts_and_lists),
#if WEIR_HAVE_PCRE2
        cmocka_unit_test(regexes),
        cmocka_unit_test(a_regex_captures_and_is_bounded),
#endif
        cmocka_unit_test(many_at_one_place),
        cmocka_unit_test(twins),
    };
    return cmocka_run_group_tests(tests, route_test_begin, route_test_end);
}
