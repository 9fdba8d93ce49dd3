#include "gate/route_test.h"

static err build(const char *const *matches, struct router **ret_router, struct diag *reterr)
{
    unsigned n = 0;
    for (; matches[n]; n++)
        route_test_add_plain(n, matches[n]);
    return route_test_build(n, ret_router, reterr);
}

static uint32_t find(const struct router *r, const char *host, const char *path)
{
    const struct http_request q = { .authority = bytes_from(host), .path = bytes_from(path) };
    err e = router_find(r, &q, q.path, &arena, &hit);
    return e == OK ? hit.route : NOBODY;
}

static void most_specific_wins(void **state)
{
    (void)state;
    static const char *const matches[] = {
        "/*",                  /* 0 */
        "/api/*",              /* 1 */
        "/api/v1",             /* 2 */
        "/api/v1*",            /* 3 */
        "shop.example/*",      /* 4 */
        "shop.example/api/*",  /* 5 */
        "Pay.Example/only",    /* 6 */
        "[::1]/six*",          /* 7 */
        "shop.example/api/v1", /* 8 */
        "/api/",               /* 9 */
        NULL,
    };
    static const struct {
        const char *host, *path;
        uint32_t index;
    } cases[] = {
        { "other", "/", 0 },
        { "other", "/x", 0 },
        { "other", "/api", 0 },
        { "other", "/api/", 9 },
        { "other", "/api/x", 1 },
        { "other", "/api/v1", 2 },
        { "other", "/api/v1/", 3 },
        { "other", "/api/v10", 3 },
        { "", "/api/v1", 2 },
        { "shop.example", "/", 4 },
        { "shop.example", "/api/x", 5 },
        { "shop.example", "/api/v1", 8 },
        { "shop.example", "/api/v1/", 5 }, /* the host before the longer prefix of no host */
        { "shop.example:8080", "/", 4 },
        { "SHOP.example", "/API/x", 4 }, /* hosts have no case, paths have */
        { "shop.example.", "/api/x", 1 },
        { "sshop.example", "/api/x", 1 },
        { "pay.example", "/only", 6 },
        { "PAY.EXAMPLE:1", "/only", 6 },
        { "pay.example", "/api/v1", 2 }, /* its own routes do not fit: those of no host do */
        { "pay.example", "/only/", 0 },
        { "[::1]", "/six", 7 },
        { "[::1]:80", "/sixteen", 7 },
        { "[::1", "/six", 0 },
        { "[::2]:80", "/six", 0 },
        { "::1", "/six", 0 },
        { ":80", "/", 0 },
    };
    struct router *r;
    assert_int_equal(build(matches, &r, NULL), OK);
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t index = find(r, cases[i].host, cases[i].path);
        if (index != cases[i].index)
            fail_msg("%s%s: %u, not %u", cases[i].host, cases[i].path, index, cases[i].index);
    }
    router_free(r);
}

static void nobody_takes_it(void **state)
{
    (void)state;
    struct router *r;
    assert_int_equal(build((const char *const[]){ "/a", "shop/b*", NULL }, &r, NULL), OK);
    assert_int_equal(find(r, "x", "/"), NOBODY);
    assert_int_equal(find(r, "x", "/b"), NOBODY);
    assert_int_equal(find(r, "x", "/a/"), NOBODY);
    assert_int_equal(find(r, "shop", "/"), NOBODY);
    assert_int_equal(find(r, "shop", "/a"), 0);
    router_free(r);
    assert_int_equal(build((const char *const[]){ NULL }, &r, NULL), OK);
    assert_int_equal(find(r, "x", "/"), NOBODY);
    router_free(r);
}

static void a_host_too_long(void **state)
{
    (void)state;
    char host[400];
    char match[410];
    struct router *r;
    struct diag d = DIAG_NONE;
    memset(host, 'h', sizeof host);
    host[255] = 0;
    snprintf(match, sizeof match, "%s/*", host);
    assert_int_equal(build((const char *const[]){ match, NULL }, &r, &d), OK);
    assert_int_equal(find(r, host, "/"), 0);
    host[255] = 'h';
    host[256] = 0;
    assert_int_equal(find(r, host, "/"), NOBODY); /* and not the first 255 bytes of it */
    router_free(r);
    snprintf(match, sizeof match, "%s/*", host);
    assert_int_equal(route_test_add(0, match, &d), ERR_CONF);
    assert_string_equal(d.text, "match: the host is longer than 255 bytes");
}

static void twice_is_a_mistake(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        { "/a", "/a" },
        { "/a*", "/a*" },
        { "shop/a", "SHOP/a" },
        { "shop/*", "shop/*" },
    };
    for (unsigned i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct router *r = NULL;
        struct diag d = DIAG_NONE;
        char said[200];
        const char *const matches[] = { "/first", pairs[i][0], "/x*", pairs[i][1], NULL };
        char wanted[100];
        assert_int_equal(build(matches, &r, &d), ERR_CONF);
        assert_null(r);
        d.file = "weir.yaml";
        snprintf(wanted, sizeof wanted, "weir.yaml:13:5: match: \"%s\" stands twice, first in line 11",
                 pairs[i][1]);
        assert_string_equal(diag_print(&d, said, sizeof said), wanted);
    }
    struct router *r;
    assert_int_equal(build((const char *const[]){ "/a", "/a*", "shop/a", "/A", "/a/", NULL }, &r, NULL), OK);
    router_free(r);
}

static void memory_fails(void **state)
{
    (void)state;
    const char *const matches[] = { "/a", "/b*", "shop/a", "shop/bb*", "shop/b*", "pay/*", NULL };
    struct router *r = NULL;
    uint64_t n = 1;
    for (;; n++) {
        mem_fail_at(n);
        err e = build(matches, &r, NULL);
        mem_fail_at(0);
        if (!e)
            break;
        assert_int_equal(e, ERR_MEMORY);
        assert_null(r);
    }
    assert_true(n > 15);
    router_free(r);
}

static void ten_thousand(void **state)
{
    (void)state;
    static char text[ROUTES_MAX][48];
    struct router *r;
    for (unsigned i = 0; i < ROUTES_MAX; i++) {
        snprintf(text[i], sizeof text[i], i % 2 ? "h%u.example/p%u/*" : "/p%u/q%u", i % 100, i);
        route_test_add_plain(i, text[i]);
    }
    assert_int_equal(route_test_build(ROUTES_MAX, &r, NULL), OK);
    for (unsigned i = 0; i < ROUTES_MAX; i++) {
        char host[32];
        char path[32];
        snprintf(host, sizeof host, "H%u.example:80", i % 100);
        snprintf(path, sizeof path, i % 2 ? "/p%u/x" : "/p%u/q%u", i % 2 ? i : i % 100, i);
        assert_int_equal(find(r, host, path), i);
        assert_int_equal(find(r, "other", path), i % 2 ? NOBODY : i);
    }
    router_free(r);
}

/* ---- against the definition, read as it is written ---- */

static uint64_t seed = 0x5eed5eed5eed5eedULL;

static uint32_t dice(uint32_t sides)
{
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(seed >> 33) % sides;
}

static size_t random_path(char *out)
{
    size_t n = 0;
    out[n++] = '/';
    for (uint32_t i = dice(6); i > 0; i--)
        out[n++] = "ab/"[dice(3)];
    out[n] = 0;
    return n;
}

static void random_pattern(char *out)
{
    unsigned captures = 0;
    size_t n = 0;
    for (uint32_t i = 1 + dice(3); i > 0; i--) {
        out[n++] = '/';
        if (dice(3) == 0)
            n += (size_t)snprintf(out + n, 8, "{c%u}", captures++);
        else
            n += (size_t)snprintf(out + n, 8, "%s", (const char *const[]){ "", "a", "b", "ab" }[dice(4)]);
    }
    if (dice(2))
        n += (size_t)snprintf(out + n, 8, "%s", out[n - 1] == '}' ? "/*" : "*");
    out[n] = 0;
}

static const char *const hosts[] = { "", "a", "b", "a.b", "c.a.b", "*.b", "*.a.b", "[::a]" };

/* Below 0: the first is more specific, as doc/route.md says it: where they first differ a literal goes before
 * a {capture}, that before a *, and a path that ends there before all of them. */
static int compare_paths(const char *a, const char *b)
{
    for (;;) {
        int x = *a == '{' ? 1 : *a == '*' ? 2 : 0;
        int y = *b == '{' ? 1 : *b == '*' ? 2 : 0;
        if (x != y || !*a || !*b)
            return x - y;
        if (x == 1) {
            a = strchr(a, '}');
            b = strchr(b, '}');
        }
        a++;
        b++;
    }
}

static int host_rank(const char *host)
{
    return !*host ? 2000 : *host == '*' ? 1000 - (int)strlen(host) : 0;
}

static uint32_t find_naively(char text[][64], unsigned count, const char *host, const char *path)
{
    uint32_t best = NOBODY;
    for (unsigned i = 0; i < count; i++) {
        struct match_pattern p;
        unsigned at = 0;
        assert_true(match_pattern_next(routes[i].matches.items, &at, &p));
        if (!match_host_fits(p.host, bytes_from(host)) || !match_path_fits(&p, bytes_from(path)))
            continue;
        if (best == NOBODY) {
            best = i;
            continue;
        }
        char mine[64], other[64];
        snprintf(mine, sizeof mine, "%.*s", (int)(strchr(text[i], '/') - text[i]), text[i]);
        snprintf(other, sizeof other, "%.*s", (int)(strchr(text[best], '/') - text[best]), text[best]);
        int d = host_rank(mine) - host_rank(other);
        if (d < 0 || (d == 0 && compare_paths(strchr(text[i], '/'), strchr(text[best], '/')) < 0))
            best = i;
    }
    return best;
}

static bool same_shape(const char *a, const char *b)
{
    const char *x = strchr(a, '/');
    const char *y = strchr(b, '/');
    if (x - a != y - b || strncmp(a, b, (size_t)(x - a)) != 0)
        return false;
    for (; *x && *x == *y; x++, y++) {
        if (*x == '{') {
            x = strchr(x, '}');
            y = strchr(y, '}');
        }
    }
    return *x == *y;
}

static unsigned random_routes(char text[][64], unsigned wanted)
{
    unsigned count = 0;
    for (unsigned i = 0; i < wanted; i++) {
        char path[48];
        bool again = false;
        random_pattern(path);
        snprintf(text[count], 64, "%s%s", hosts[dice(8)], path);
        for (unsigned j = 0; j < count; j++)
            again |= same_shape(text[j], text[count]);
        count += !again;
    }
    return count;
}

static void as_defined(void **state)
{
    (void)state;
    static char text[64][64];
    unsigned found = 0, captured = 0;
    for (unsigned round = 0; round < 400; round++) {
        struct router *r;
        unsigned count = random_routes(text, 1 + dice(60));
        for (unsigned i = 0; i < count; i++)
            route_test_add_plain(i, text[i]);
        assert_int_equal(route_test_build(count, &r, NULL), OK);
        for (unsigned i = 0; i < 100; i++) {
            char path[16];
            const char *host =
                (const char *const[]){ "", "a", "b", "a.b", "c.a.b", "d.c.a.b", ".b", "[::a]" }[dice(8)];
            random_path(path);
            uint32_t index = find(r, host, path);
            uint32_t wanted = find_naively(text, count, host, path);
            if (index != wanted)
                fail_msg("%s%s: %s, not %s", host, path, index == NOBODY ? "nobody" : text[index],
                         wanted == NOBODY ? "nobody" : text[wanted]);
            found += index != NOBODY;
            captured += index != NOBODY && hit.count;
        }
        router_free(r);
    }
    assert_true(found > 10000 && captured > 3000);
}

/* ---- captures ---- */

static void captures_are_told(void **state)
{
    (void)state;
    struct router *r;
    static const char *const matches[] = { "/users/{id}",    "/users/{id}/orders/{order}",       "/users/me",
                                           "/users/{who}/*", "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}", NULL };
    assert_int_equal(build(matches, &r, NULL), OK);
    assert_int_equal(find(r, "", "/users/17"), 0);
    assert_int_equal(hit.count, 1);
    assert_bytes_equal(hit.names[0], BYTES("id"));
    assert_bytes_equal(hit.values[0], BYTES("17"));
    assert_int_equal(find(r, "", "/users/17/orders/9"), 1);
    assert_int_equal(hit.count, 2);
    assert_bytes_equal(hit.values[1], BYTES("9"));
    assert_bytes_equal(hit.names[1], BYTES("order"));
    assert_int_equal(find(r, "", "/users/me"), 2);
    assert_int_equal(hit.count, 0);
    assert_int_equal(find(r, "", "/users/me/orders/9"), 1);
    assert_int_equal(find(r, "", "/users/17/cart/x"), 3);
    assert_int_equal(hit.count, 1);
    assert_bytes_equal(hit.names[0], BYTES("who"));
    assert_bytes_equal(hit.rest, BYTES("cart/x"));
    assert_int_equal(find(r, "", "/users/17/orders/9/x"), 3); /* {order} was tried and given up */
    assert_int_equal(hit.count, 1);
    assert_bytes_equal(hit.rest, BYTES("orders/9/x"));
    assert_int_equal(find(r, "", "/users/"), NOBODY); /* a capture takes one byte at least */
    assert_int_equal(find(r, "", "/users//x"), NOBODY);
    assert_int_equal(find(r, "", "/1/2/3/4/5/6/7/8"), 4);
    assert_int_equal(hit.count, 8);
    assert_bytes_equal(hit.values[7], BYTES("8"));
    router_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(most_specific_wins), cmocka_unit_test(nobody_takes_it),
        cmocka_unit_test(a_host_too_long),    cmocka_unit_test(twice_is_a_mistake),
        cmocka_unit_test(memory_fails),       cmocka_unit_test(ten_thousand),
        cmocka_unit_test(as_defined),         cmocka_unit_test(captures_are_told),
    };
    return cmocka_run_group_tests(tests, route_test_begin, route_test_end);
}
