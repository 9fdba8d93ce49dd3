#include "gate/stock_csv.h"

#include "base/test.h"

static unsigned count;
static struct stock_item_change changes[8];
static struct diag d;

static err read_all(const char *text)
{
    struct bytes rest = bytes_from(text);
    unsigned line = 0;
    bool found = true;
    d = DIAG_NONE;
    for (count = 0; count < 8; count++) {
        const err e = stock_csv_next(&rest, &line, &changes[count], &found, &d);
        if (e || !found)
            return e;
    }
    return OK;
}

static void lines_say_what_they_say(void **unused)
{
    (void)unused;
    assert_int_equal(read_all("item,total,price,per_user,per_order\r\nradio,10,3900,2,1\n\n"
                              "\"lamp, green\",5\r\ncase,,,7\n  tv , 3 ,100"),
                     OK);
    assert_int_equal(count, 4);
    assert_bytes_equal(changes[0].item, BYTES("radio"));
    assert_int_equal(changes[0].set,
                     STOCK_SET_TOTAL | STOCK_SET_PRICE | STOCK_SET_PER_USER | STOCK_SET_PER_ORDER);
    assert_int_equal(changes[0].total, 10);
    assert_int_equal(changes[0].price, 3900);
    assert_int_equal(changes[0].per_user, 2);
    assert_int_equal(changes[0].per_order, 1);
    assert_bytes_equal(changes[1].item, BYTES("lamp, green"));
    assert_int_equal(changes[1].set, STOCK_SET_TOTAL);
    assert_int_equal(changes[2].set, STOCK_SET_PER_USER);
    assert_int_equal(changes[2].per_user, 7);
    assert_bytes_equal(changes[3].item, BYTES("tv"));
    assert_int_equal(changes[3].total, 3);
    assert_int_equal(read_all("radio"), OK); /* no first line, no number */
    assert_int_equal(count, 1);
    assert_int_equal(changes[0].set, 0);
    assert_int_equal(read_all(""), OK);
    assert_int_equal(count, 0);
}

static void mistakes_are_named_with_their_line(void **unused)
{
    (void)unused;
    static const char *const cases[][2] = {
        { "radio,1\nlamp,x\n", "line 2: total: \"x\"" },
        { "radio,-1\n", "line 1: total: \"-1\"" },
        { "radio,1,2,3,4,5\n", "nothing is expected behind per_order" },
        { ",1\n", "expected an item's name" },
        { "radio,1000000000001\n", "total" },
        { "radio,1,1,1000001\n", "per_user" },
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(read_all(cases[i][0]), ERR_CONF);
        if (!strstr(d.text, cases[i][1]))
            fail_msg("\"%s\" does not say \"%s\"", d.text, cases[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_say_what_they_say),
        cmocka_unit_test(mistakes_are_named_with_their_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
