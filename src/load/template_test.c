#include "load/template.h"

#include "base/test.h"

static struct arena arena;

static int find(struct template_finder *f, struct bytes name, struct diag *reterr)
{
    (void)f;
    (void)reterr;
    return name.len == 1 && name.ptr[0] >= 'a' && name.ptr[0] <= 'c' ? name.ptr[0] - 'a' : TEMPLATE_UNKNOWN;
}

static struct bytes value(struct template_values *v, int variable, struct arena *a)
{
    static const struct bytes values[] = { { "one", 3 }, { "", 0 }, { "x y\r\n\"\xc3\xa9", 8 } };
    (void)v;
    (void)a;
    return values[variable];
}

static struct template_finder finder = { find };
static struct template_values values = { value };

static void what_is_printed(void **state)
{
    (void)state;
    static const struct {
        const char *text, *wanted;
        enum template_form form;
    } cases[] = {
        { "", "", TEMPLATE_PLAIN },
        { "plain", "plain", TEMPLATE_PLAIN },
        { "${a}", "one", TEMPLATE_PLAIN },
        { "/${a}/${b}/${ a }", "/one//one", TEMPLATE_PATH },
        { "$ $$ $x $", "$ $ $x $", TEMPLATE_PLAIN },
        { "$${a}", "${a}", TEMPLATE_PLAIN },
        { "[${c}]", "[x y\r\n\"\xc3\xa9]", TEMPLATE_PLAIN },
        { "[${c}]", "[x y??\"\xc3\xa9]", TEMPLATE_FIELD },
        { "/a\"${c}", "/a\"x%20y%0D%0A%22%C3%A9", TEMPLATE_PATH },
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct template t;
        struct diag d = DIAG_NONE;
        assert_int_equal(template_open(bytes_from(cases[i].text), &arena, &finder, &t, &d), OK);
        assert_bytes_equal(template_print(&t, cases[i].form, &values, &arena), bytes_from(cases[i].wanted));
    }
}

static void what_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = { "${d}", "${}", "${a", "x${a}${" };
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct template t;
        struct diag d = DIAG_NONE;
        assert_int_equal(template_open(bytes_from(wrong[i]), &arena, &finder, &t, &d), ERR_SYNTAX);
        assert_true(d.set);
    }
}

static void a_text_without_variables_is_not_copied(void **state)
{
    (void)state;
    struct template t;
    struct bytes text = BYTES("abc");
    assert_int_equal(template_open(text, &arena, &finder, &t, NULL), OK);
    assert_true(t.constant);
    assert_ptr_equal(template_print(&t, TEMPLATE_PATH, &values, &arena).ptr, text.ptr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_printed),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(a_text_without_variables_is_not_copied),
    };
    arena_open(&arena, &arena_heap, 1 << 20, NULL, 0);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_close(&arena);
    return failed;
}
