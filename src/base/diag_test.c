#include "base/diag.h"

#include "base/test.h"

static void the_first_mistake_stays(void **state)
{
    (void)state;
    struct diag d = DIAG_NONE;
    diag_set(&d, "%d bad %s", 3, "eggs");
    diag_set(&d, "noise");
    assert_true(d.set);
    assert_string_equal(d.text, "3 bad eggs");
}

static void nobody_may_wait(void **state)
{
    (void)state;
    diag_set(NULL, "nobody reads this");
}

static void prints_what_is_known_of_the_place(void **state)
{
    (void)state;
    char out[100];
    struct diag d = DIAG_NONE;
    diag_set(&d, "wrong");
    assert_string_equal(diag_print(&d, out, sizeof out), "wrong");
    d.file = "weir.yaml";
    assert_string_equal(diag_print(&d, out, sizeof out), "weir.yaml: wrong");
    d.line = 3;
    d.column = 7;
    assert_string_equal(diag_print(&d, out, sizeof out), "weir.yaml:3:7: wrong");
}

static void long_texts_are_cut(void **state)
{
    (void)state;
    char text[1000];
    char out[20];
    struct diag d = DIAG_NONE;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    diag_set(&d, "%s", text);
    assert_int_equal(strlen(d.text), sizeof d.text - 1);
    diag_print(&d, out, sizeof out);
    assert_int_equal(strlen(out), sizeof out - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_mistake_stays),
        cmocka_unit_test(nobody_may_wait),
        cmocka_unit_test(prints_what_is_known_of_the_place),
        cmocka_unit_test(long_texts_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
