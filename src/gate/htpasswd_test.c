#include "gate/htpasswd.h"

#include "base/mem.h"
#include "base/test.h"

#define HASH_A "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/"
#define HASH_B "$apr1$xy$43..WIhbfuznGvwoCyUek/"

static void users_are_found(void **state)
{
    (void)state;
    struct htpasswd *h;
    struct diag d = DIAG_NONE;
    const struct bytes text = BYTES("# people\nbob:" HASH_B "\r\n\n  alice:" HASH_A "  \nal:" HASH_B);
    if (!WEIR_HAVE_OPENSSL)
        return;
    assert_int_equal(htpasswd_parse(text, "users", &h, &d), OK);
    assert_string_equal(htpasswd_find(h, BYTES("alice")), HASH_A);
    assert_string_equal(htpasswd_find(h, BYTES("bob")), HASH_B);
    assert_string_equal(htpasswd_find(h, BYTES("al")), HASH_B);
    assert_null(htpasswd_find(h, BYTES("alic")));
    assert_null(htpasswd_find(h, BYTES("alice ")));
    assert_null(htpasswd_find(h, BYTES("")));
    assert_non_null(htpasswd_any(h));
    htpasswd_close(h);
}

static void mistakes_have_lines(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        { "", "users: there is nobody in it" },
        { "#\n\nalice", "users:3: expected name:hash" },
        { ":" HASH_A, "users:1: expected name:hash" },
        { "alice:", "users:1: no hash that is known" },
        { "alice:secret", "users:1: no hash that is known" },
        { "a:" HASH_A "\nb:" HASH_A "\na:" HASH_B, "users:3: \"a\" stands in line 1 as well" },
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct htpasswd *h;
        struct diag d = DIAG_NONE;
        if (!WEIR_HAVE_OPENSSL && i > 4)
            continue;
        assert_int_equal(htpasswd_parse(bytes_from(cases[i].text), "users", &h, &d), ERR_CONF);
        if (!strstr(d.text, cases[i].words))
            fail_msg("%s: %s", cases[i].text, d.text);
    }
    struct htpasswd *h;
    struct diag d = DIAG_NONE;
    assert_int_equal(htpasswd_load("/does/not/exist", &h, &d), ERR_CONF);
    assert_non_null(strstr(d.text, "cannot read /does/not/exist: No such file"));
    d = DIAG_NONE;
    assert_int_equal(htpasswd_load("/", &h, &d), ERR_CONF);
    assert_non_null(strstr(d.text, "is no file"));
}

static void no_memory_is_said(void **state)
{
    (void)state;
    struct htpasswd *h;
    for (uint64_t n = 1; n <= 3; n++) {
        mem_fail_at(n);
        assert_int_equal(htpasswd_parse(BYTES("a:" HASH_A), "users", &h, NULL), ERR_MEMORY);
        mem_fail_at(0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(users_are_found),
        cmocka_unit_test(mistakes_have_lines),
        cmocka_unit_test(no_memory_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
