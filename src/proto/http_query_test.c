#include "proto/http_query.h"

#include "base/test.h"

/* value NULL: there must be none; copied: it had to be written anew */
static void found(const char *query, const char *name, const char *value, bool copied)
{
    struct arena a;
    struct bytes got;
    bool is_there;
    arena_open(&a, &arena_heap, 1 << 16, NULL, 0);
    assert_int_equal(http_query_find(bytes_from(query), bytes_from(name), &a, &got, &is_there), OK);
    assert_int_equal(is_there, value != NULL);
    assert_bytes_equal(got, bytes_from(value));
    assert_int_equal(a.taken != 0, copied);
    arena_close(&a);
}

static void one_of_several(void **state)
{
    (void)state;
    found("user=ann&q=1", "user", "ann", false);
    found("user=ann&q=1", "q", "1", false);
    found("q=1&q=2", "q", "1", false);
    found("q=a=b&x=1", "q", "a=b", false);
    found("xq=1&q2=2&Q=3", "q", NULL, false);
    found("", "q", NULL, false);
    found(NULL, "q", NULL, false);
    found("&&q=1&&", "q", "1", false);
}

static void empty_values(void **state)
{
    (void)state;
    found("q=&x=1", "q", "", false);
    found("x=1&q", "q", "", false);
    found("x=1&q&y", "q", "", false);
}

static void decoding(void **state)
{
    (void)state;
    found("q=a%20b+c", "q", "a b c", true);
    found("q=%41%6a%4A", "q", "AjJ", true);
    found("%71=1", "q", "1", false);
    found("my+name=1", "my name", "1", false);
    found("a%26b=1%3D2", "a&b", "1=2", true);
}

static void a_broken_escape_stands_for_itself(void **state)
{
    (void)state;
    found("q=100%", "q", "100%", true);
    found("q=%4", "q", "%4", true);
    found("q=%zz%41", "q", "%zzA", true);
    found("%7=1", "%7", "1", false);
}

static void no_room_is_said(void **state)
{
    (void)state;
    struct arena a;
    struct bytes got;
    bool is_there;
    arena_open(&a, &arena_heap, 1, NULL, 0);
    assert_int_equal(http_query_find(BYTES("q=%41"), BYTES("q"), &a, &got, &is_there), ERR_LIMIT);
    arena_close(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_of_several),  cmocka_unit_test(empty_values),
        cmocka_unit_test(decoding),        cmocka_unit_test(a_broken_escape_stands_for_itself),
        cmocka_unit_test(no_room_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
