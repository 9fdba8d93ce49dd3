#include "gate/route_path.h"

#include <stdlib.h>

#include "base/test.h"

static uint64_t seed = 0x5eed5eed5eed5eedULL;

static uint32_t dice(uint32_t sides)
{
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(seed >> 33) % sides;
}

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
        { "/a/%2e%2e%2e/b", "/a/.../b" },
        { "/%61dm%49n/%7E%2d%5f%39", "/admIn/~-_9" },
        { "/a%2Fb%20%3f%c3", "/a%2Fb%20%3f%c3" }, /* these are not the same as what they stand for */
        { "/%6", "/%6" },
        { "/%%34%31/%4%31", "/%%341/%4%31" }, /* or a %41 would come out */
        { "/%%2e%2e/%%41g", "/%../%%41g" },
        { "/%g1%1g%", "/%g1%1g%" },
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
    assert_int_equal(route_path(BYTES("/%61"), &a, &path), ERR_LIMIT);
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
        cmocka_unit_test(paths),
        cmocka_unit_test(paths_without_memory),
        cmocka_unit_test(paths_as_defined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
