#include "gate/route.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/test.h"

#define ROUTES_MAX 10000

static struct route_conf routes[ROUTES_MAX];

static err build(const char *const *matches, struct router **ret_router, struct diag *reterr)
{
    size_t n = 0;
    for (; matches[n]; n++)
        routes[n] = (struct route_conf){ .match = bytes_from(matches[n]), .mark = { 10 + (unsigned)n, 5 } };
    return router_build(&(struct conf_list){ routes, n }, ret_router, reterr);
}

static uint32_t find(const struct router *r, const char *host, const char *path)
{
    return router_find(r, bytes_from(host), bytes_from(path));
}

#define NOBODY UINT32_MAX

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
    assert_int_equal(build((const char *const[]){ match, NULL }, &r, &d), ERR_CONF);
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
        snprintf(wanted, sizeof wanted, "weir.yaml:13:5: match: \"%s\" stands twice", pairs[i][1]);
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
        routes[i] = (struct route_conf){ .match = bytes_from(text[i]) };
    }
    assert_int_equal(router_build(&(struct conf_list){ routes, ROUTES_MAX }, &r, NULL), OK);
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

static const char *const hosts[] = { "", "a", "b", "ab", "[::a]" };

/* How well does a route fit? 0: not at all. */
static uint64_t rank(const char *match, const char *host, const char *path)
{
    const char *slash = strchr(match, '/');
    size_t host_len = (size_t)(slash - match);
    size_t len = strlen(slash);
    bool prefix = slash[len - 1] == '*';
    if (host_len && (host_len != strlen(host) || memcmp(match, host, host_len) != 0))
        return 0;
    if (prefix ? strncmp(slash, path, len - 1) != 0 : strcmp(slash, path) != 0)
        return 0;
    return (host_len ? 1000000u : 0u) + (prefix ? 0u : 100000u) + len;
}

static uint32_t find_naively(char text[][32], unsigned count, const char *host, const char *path)
{
    uint32_t best = NOBODY;
    uint64_t best_rank = 0;
    for (unsigned i = 0; i < count; i++) {
        uint64_t r = rank(text[i], host, path);
        if (r > best_rank) {
            best_rank = r;
            best = i;
        }
    }
    return best;
}

static unsigned random_routes(char text[][32], unsigned wanted)
{
    unsigned count = 0;
    for (unsigned i = 0; i < wanted; i++) {
        char path[16];
        bool again = false;
        random_path(path);
        snprintf(text[count], 32, "%s%s%s", hosts[dice(5)], path, dice(2) ? "*" : "");
        for (unsigned j = 0; j < count; j++)
            again |= strcmp(text[j], text[count]) == 0;
        count += !again;
    }
    return count;
}

static void as_defined(void **state)
{
    (void)state;
    static char text[64][32];
    for (unsigned round = 0; round < 300; round++) {
        struct router *r;
        unsigned count = random_routes(text, 1 + dice(60));
        for (unsigned i = 0; i < count; i++)
            routes[i] = (struct route_conf){ .match = bytes_from(text[i]) };
        assert_int_equal(router_build(&(struct conf_list){ routes, count }, &r, NULL), OK);
        for (unsigned i = 0; i < 100; i++) {
            char path[16];
            const char *host = hosts[dice(5)];
            random_path(path);
            uint32_t index = find(r, host, path);
            uint32_t wanted = find_naively(text, count, host, path);
            if (index != wanted)
                fail_msg("%s%s: %s, not %s", host, path, index == NOBODY ? "nobody" : text[index],
                         wanted == NOBODY ? "nobody" : text[wanted]);
        }
        router_free(r);
    }
}

/* ---- dot segments ---- */

static void paths(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "/", "/" },
        { "*", "/" },
        { "/a/b", "/a/b" },
        { "/a/b/", "/a/b/" },
        { "//a", "//a" },
        { "/a//b", "/a//b" },
        { "/.", "/" },
        { "/./", "/" },
        { "/a/.", "/a/" },
        { "/a/./", "/a/" },
        { "/a/./b", "/a/b" },
        { "/a/..", "/" },
        { "/a/../", "/" },
        { "/a/../b", "/b" },
        { "/a/b/..", "/a/" },
        { "/a/b/../", "/a/" },
        { "/a/b/../../c", "/c" },
        { "/a//../b", "/a/b" },
        { "//..", "/" },
        { "//../a", "/a" },
        { "/a/%2e", "/a/" },
        { "/a/%2E%2e/b", "/b" },
        { "/a/.%2e/b", "/b" },
        { "/a/%2E./b", "/b" },
        { "/a/%2e/b", "/a/b" },
        { "/...", "/..." },
        { "/a/..b", "/a/..b" },
        { "/a/b..", "/a/b.." },
        { "/.hidden/x", "/.hidden/x" },
        { "/.hidden/../x", "/x" },
        { "/a/%2e%2e%2e/b", "/a/%2e%2e%2e/b" },
        { "/a/%2", "/a/%2" },
        { "/a/.%2", "/a/.%2" },
        { "/a/%252e%252e/b", "/a/%252e%252e/b" }, /* decoded once by the server that is no dot */
        { "/..", NULL },
        { "/../", NULL },
        { "/../a", NULL },
        { "/a/../..", NULL },
        { "/a/../../a", NULL },
        { "/%2e%2e/a", NULL },
        { "/./..", NULL },
        { "", NULL },
        { "a", NULL },
        { "**", NULL },
        { "a/..", NULL },
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena a;
        struct bytes path;
        arena_open(&a, &arena_heap, 65536, NULL, 0);
        /* in memory of just that size, for AddressSanitizer to see a step beyond */
        size_t len = strlen(cases[i][0]);
        char *exact = malloc(len + !len);
        assert_non_null(exact);
        memcpy(exact, cases[i][0], len);
        err e = route_path((struct bytes){ exact, len }, &a, &path);
        if (!!e != !cases[i][1])
            fail_msg("%s: %s", cases[i][0], err_name(e));
        if (e)
            assert_int_equal(e, ERR_SYNTAX);
        else
            assert_bytes_equal(path, bytes_from(cases[i][1]));
        free(exact);
        arena_close(&a);
    }
}

static void paths_without_memory(void **state)
{
    (void)state;
    struct arena a;
    struct bytes path;
    arena_open(&a, &arena_heap, 0, NULL, 0);
    assert_int_equal(route_path(BYTES("/a"), &a, &path), OK); /* the same bytes: none needed */
    assert_int_equal(route_path(BYTES("/a/./b"), &a, &path), ERR_LIMIT);
    arena_close(&a);
}

/* Segments on a stack. NULL: above the root. */
static const char *naive_path(const char *path, char *out)
{
    const char *segments[32];
    size_t lens[32];
    unsigned count = 0;
    bool slash = false;
    for (const char *at = path; *at;) {
        const char *from = ++at;
        while (*at && *at != '/')
            at++;
        size_t len = (size_t)(at - from);
        slash = false;
        if (len == 1 && from[0] == '.') {
            slash = true;
        } else if (len == 2 && from[0] == '.' && from[1] == '.') {
            if (!count)
                return NULL;
            count--;
            slash = true;
        } else {
            segments[count] = from;
            lens[count++] = len;
        }
    }
    char *end = out;
    for (unsigned i = 0; i < count; i++) {
        *end++ = '/';
        memcpy(end, segments[i], lens[i]);
        end += lens[i];
    }
    if (slash || !count)
        *end++ = '/';
    *end = 0;
    return out;
}

static void paths_as_defined(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 50000; round++) {
        char plain[64] = "/";
        char written[128] = "/";
        char wanted[64];
        size_t n = 1;
        size_t w = 1;
        for (uint32_t i = dice(14); i > 0; i--) {
            char c = "../a"[dice(4)];
            plain[n++] = c;
            if (c == '.' && dice(3) == 0) {
                memcpy(written + w, dice(2) ? "%2e" : "%2E", 3);
                w += 3;
            } else {
                written[w++] = c;
            }
        }
        struct arena a;
        struct bytes path;
        arena_open(&a, &arena_heap, 65536, NULL, 0);
        err e = route_path((struct bytes){ written, w }, &a, &path);
        const char *naive = naive_path(plain, wanted);
        if (!!e != !naive)
            fail_msg("%s: %s", written, err_name(e));
        /* dots that are no dot segment stay as they were written: compare where there are none */
        if (!e && w == n)
            assert_bytes_equal(path, bytes_from(naive));
        arena_close(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(most_specific_wins),   cmocka_unit_test(nobody_takes_it),
        cmocka_unit_test(a_host_too_long),      cmocka_unit_test(twice_is_a_mistake),
        cmocka_unit_test(memory_fails),         cmocka_unit_test(ten_thousand),
        cmocka_unit_test(as_defined),           cmocka_unit_test(paths),
        cmocka_unit_test(paths_without_memory), cmocka_unit_test(paths_as_defined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
