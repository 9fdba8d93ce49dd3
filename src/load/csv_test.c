#include "load/csv.h"

#include "base/test.h"

static struct arena arena;

static void what_it_says(void **state)
{
    (void)state;
    struct csv c;
    struct bytes text =
        BYTES("\xef\xbb\xbfname, mail ,n\r\nAnn,\"a@x\",1\r\n\r\n\"O\"\"Hara,\nBob\",,\"\"\nlast,x y,3");
    assert_int_equal(csv_read(text, &arena, &c, NULL), OK);
    assert_int_equal(c.columns, 3);
    assert_int_equal(c.rows, 3);
    assert_int_equal(csv_column(&c, BYTES("mail")), 1);
    assert_int_equal(csv_column(&c, BYTES("mai")), -1);
    static const char *const cells[] = { "Ann", "a@x", "1", "O\"Hara,\nBob", "", "", "last", "x y", "3" };
    for (unsigned i = 0; i < 9; i++)
        assert_bytes_equal(csv_cell(&c, i / 3, i % 3), bytes_from(cells[i]));
}

static void names_alone_are_no_rows(void **state)
{
    (void)state;
    struct csv c;
    assert_int_equal(csv_read(BYTES("a,b\n"), &arena, &c, NULL), OK);
    assert_int_equal(c.rows, 0);
}

static void mistakes_name_the_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } wrong[] = {
        { "", "line 1: there is no first line" },
        { "\n\n", "there is no first line" },
        { "a,b\n1,2\n1\n", "line 3: 1 columns where the first line has 2" },
        { "a,b\n\"x\ny\",2\n1,2,3\n", "line 4: 3 columns" },
        { "a,b\n1,\"2\n3", "line 2: a quote is not closed" },
        { "a,b\n1,\"2\"3\n", "line 2: after the closing quote" },
        { "a,b\n1,2\"3\n", "line 2: a quote stands inside" },
    };
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct csv c;
        struct diag d = DIAG_NONE;
        assert_int_equal(csv_read(bytes_from(wrong[i].text), &arena, &c, &d), ERR_SYNTAX);
        if (!strstr(d.text, wrong[i].says))
            fail_msg("%s", d.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_it_says),
        cmocka_unit_test(names_alone_are_no_rows),
        cmocka_unit_test(mistakes_name_the_line),
    };
    arena_open(&arena, &arena_heap, 1 << 20, NULL, 0);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_close(&arena);
    return failed;
}
