#include "base/json.h"

#include <math.h>

#include "base/test.h"

static void expect(struct text *t, struct bytes wanted)
{
    assert_bytes_equal(((struct bytes){ t->at, t->len }), wanted);
    text_free(t);
}

static void commas_come_by_themselves(void **state)
{
    (void)state;
    struct text t = { 0 };
    json_begin(&t, NULL, '{');
    json_text(&t, "state", BYTES("open"));
    json_begin(&t, "servers", '[');
    json_u64(&t, NULL, UINT64_MAX);
    json_i64(&t, NULL, INT64_MIN);
    json_begin(&t, NULL, '{');
    json_end(&t, '}');
    json_begin(&t, NULL, '{');
    json_bool(&t, "a", true);
    json_null(&t, "b");
    json_end(&t, '}');
    json_end(&t, ']');
    json_number(&t, "share", 0.25);
    json_number(&t, "none", NAN);
    json_raw(&t, "raw", BYTES("[1]"));
    json_end(&t, '}');
    expect(&t, BYTES("{\"state\":\"open\",\"servers\":[18446744073709551615,-9223372036854775808,{},"
                     "{\"a\":true,\"b\":null}],\"share\":0.25,\"none\":null,\"raw\":[1]}"));
}

static void lines_stand_alone(void **state)
{
    (void)state;
    struct text t = { 0 };
    for (unsigned i = 0; i < 2; i++) {
        json_begin(&t, NULL, '{');
        json_u64(&t, "i", i);
        json_end(&t, '}');
        text_add(&t, BYTES("\n"));
    }
    expect(&t, BYTES("{\"i\":0}\n{\"i\":1}\n"));
}

static void texts_are_escaped(void **state)
{
    (void)state;
    static const struct {
        struct bytes in, out;
    } cases[] = {
        { { "", 0 }, { "\"\"", 2 } },
        { BYTES("{"), BYTES("\"{\"") },
        { BYTES("a\"b\\c/\n\x01\x7f"), BYTES("\"a\\\"b\\\\c/\\n\\u0001\\u007f\"") },
        { BYTES("h\xc3\xa9 \xe5\xa0\xb0 \xf0\x9f\x8c\x8a"),
          BYTES("\"h\xc3\xa9 \xe5\xa0\xb0 \xf0\x9f\x8c\x8a\"") },
        /* cut short, overlong, a surrogate, beyond the last, a lone continuation */
        { BYTES("\xc3"), BYTES("\"\xef\xbf\xbd\"") },
        { BYTES("\xc0\xaf"), BYTES("\"\xef\xbf\xbd\xef\xbf\xbd\"") },
        { BYTES("\xe0\x80\x80x"), BYTES("\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdx\"") },
        { BYTES("\xed\xa0\x80"), BYTES("\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"") },
        { BYTES("\xf4\x90\x80\x80"), BYTES("\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"") },
        { BYTES("\x80"), BYTES("\"\xef\xbf\xbd\"") },
        { { "a\0b", 3 }, BYTES("\"a\\u0000b\"") },
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct text t = { 0 };
        json_text(&t, NULL, cases[i].in);
        expect(&t, cases[i].out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commas_come_by_themselves),
        cmocka_unit_test(lines_stand_alone),
        cmocka_unit_test(texts_are_escaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
