#include "gate/file_path.h"

#include "base/test.h"

static const char *name_of(const char *path, bool dotfiles)
{
    static char out[FILE_PATH_BYTES_MAX];
    size_t len;
    if (!file_path_name(bytes_from(path), dotfiles, out, &len))
        return "-";
    assert_int_equal(strlen(out), len);
    return out;
}

static void paths_become_names(void **unused)
{
    (void)unused;
    assert_string_equal(name_of("/a/b.txt", false), "a/b.txt");
    assert_string_equal(name_of("/", false), ".");
    assert_string_equal(name_of("", false), ".");
    assert_string_equal(name_of("/a/", false), "a/");
    assert_string_equal(name_of("//a///b//", false), "a/b/");
    assert_string_equal(name_of("/a%20b%2ehtml", false), "a b.html");
    assert_string_equal(name_of("/%C3%a9", false), "\xc3\xa9");
    assert_string_equal(name_of("/a\\b", false), "a\\b");
}

static void some_names_are_no_files(void **unused)
{
    (void)unused;
    static const char *const bad[] = { "/a%00b", "/a%2fb", "/a%2Fb",  "/%",          "/%2", "/%zz",
                                       "/.git",  "/a/.b",  "/%2egit", "/a/%2e%2e/b", "/..", "/." };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_string_equal(name_of(bad[i], false), "-");
    assert_string_equal(name_of("/.well-known/acme/x", false), ".well-known/acme/x");
    assert_string_equal(name_of("/.well-known/.x", false), "-");
    assert_string_equal(name_of("/a/.b", true), "a/.b");
    assert_string_equal(name_of("/a/%2e%2e/b", true), "-");
    assert_string_equal(name_of("/%2e/b", true), "-");
    char longest[FILE_PATH_BYTES_MAX + 2];
    memset(longest, 'a', sizeof longest);
    longest[0] = '/';
    longest[FILE_PATH_BYTES_MAX] = 0;
    assert_int_equal(strlen(name_of(longest, false)), FILE_PATH_BYTES_MAX - 1);
    longest[FILE_PATH_BYTES_MAX] = 'a';
    longest[FILE_PATH_BYTES_MAX + 1] = 0;
    assert_string_equal(name_of(longest, false), "-");
}

static void a_prefix_is_stripped_at_a_slash(void **unused)
{
    (void)unused;
    static const struct {
        const char *prefix, *path, *rest; /* NULL: another prefix */
    } cases[] = { { "", "/a", "/a" },    { "/x", "/x/a", "/a" }, { "/x/", "/x/a", "/a" }, { "/x", "/x", "" },
                  { "/x", "/xa", NULL }, { "/x", "/a", NULL },   { "/x/y", "/x/y/", "/" } };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bytes path = bytes_from(cases[i].path);
        bool stripped = file_path_strip(bytes_from(cases[i].prefix), &path);
        assert_int_equal(stripped, cases[i].rest != NULL);
        if (stripped)
            assert_bytes_equal(path, bytes_from(cases[i].rest));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_become_names),
        cmocka_unit_test(some_names_are_no_files),
        cmocka_unit_test(a_prefix_is_stripped_at_a_slash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
