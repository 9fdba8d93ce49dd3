#include "gate/priority.h"

#include "base/test.h"

/* value NULL: no such field */
static enum priority said(int class, const char *value)
{
    const struct priority_conf c = { .class = class, .header = BYTES("Priority") };
    struct http_fields f = { 0 };
    struct arena a;
    arena_open(&a, &arena_heap, 1 << 16, NULL, 0);
    if (value)
        assert_int_equal(http_fields_add(&f, &a, BYTES("priority"), bytes_from(value)), OK);
    const enum priority p = priority_of(&c, &f);
    arena_close(&a);
    return p;
}

static void without_a_header_it_is_the_class(void **state)
{
    (void)state;
    const struct priority_conf c = { .class = PRIORITY_HIGH };
    assert_int_equal(priority_of(&c, &(struct http_fields){ 0 }), PRIORITY_HIGH);
    assert_int_equal(said(PRIORITY_LOW, NULL), PRIORITY_LOW);
}

static void words(void **state)
{
    (void)state;
    assert_int_equal(said(PRIORITY_NORMAL, "low"), PRIORITY_LOW);
    assert_int_equal(said(PRIORITY_LOW, "normal"), PRIORITY_NORMAL);
    assert_int_equal(said(PRIORITY_LOW, "HIGH"), PRIORITY_HIGH);
    assert_int_equal(said(PRIORITY_LOW, "urgent"), PRIORITY_LOW);
    assert_int_equal(said(PRIORITY_HIGH, ""), PRIORITY_HIGH);
}

static void urgency(void **state)
{
    (void)state;
    assert_int_equal(said(PRIORITY_LOW, "u=0"), PRIORITY_HIGH);
    assert_int_equal(said(PRIORITY_LOW, "i, u=2"), PRIORITY_HIGH);
    assert_int_equal(said(PRIORITY_LOW, "u=3, i"), PRIORITY_NORMAL);
    assert_int_equal(said(PRIORITY_LOW, "u=4;x=1"), PRIORITY_NORMAL);
    assert_int_equal(said(PRIORITY_HIGH, "u=5"), PRIORITY_LOW);
    assert_int_equal(said(PRIORITY_HIGH, "u=0,u=7"), PRIORITY_LOW);
    assert_int_equal(said(PRIORITY_NORMAL, "u=8"), PRIORITY_NORMAL);
    assert_int_equal(said(PRIORITY_NORMAL, "u=10"), PRIORITY_NORMAL);
    assert_int_equal(said(PRIORITY_NORMAL, "i"), PRIORITY_NORMAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_header_it_is_the_class),
        cmocka_unit_test(words),
        cmocka_unit_test(urgency),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
