#include "gate/variable.h"

#include "base/test.h"
#include "gate/gate.h"
#include "gate/regex.h"

static struct exchange x;

static int begin(void **state)
{
    (void)state;
    arena_open(&x.arena, &arena_heap, 1 << 20, NULL, 0);
    x.scheme = "https";
    x.request = (struct http_request){ .method_text = BYTES("GET"),
                                       .authority = BYTES("[::1]:80"),
                                       .target = BYTES("http://[::1]:80/a%20b?q=%22%0d&w=1"),
                                       .path = BYTES("/a%20b"),
                                       .query = BYTES("q=%22%0d&w=1") };
    assert_int_equal(http_fields_add(&x.request.fields, &x.arena, BYTES("X-One"), BYTES("1 /\t<")), OK);
    assert_int_equal(http_fields_add(&x.request.fields, &x.arena, BYTES("Cookie"), BYTES("a=b; c=\"d\"")),
                     OK);
    assert_int_equal(http_fields_add(&x.response.fields, &x.arena, BYTES("Server"), BYTES("s")), OK);
    x.response.status = 404;
    return 0;
}

static int end(void **state)
{
    (void)state;
    arena_close(&x.arena);
    return 0;
}

static struct bytes printed(const char *text, enum variable_form form, const struct regex_match *m)
{
    struct variable_text *t;
    assert_int_equal(variable_open(bytes_from(text), &t), OK);
    struct bytes out = variable_print(t, &x, form, m);
    variable_close(t);
    return out;
}

static void each_one(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "", "" },
        { "plain", "plain" },
        { "$$", "$" },
        { "a$$b$$", "a$b$" },
        { "$host", "[::1]" },
        { "$authority", "[::1]:80" },
        { "$host.x", "[::1].x" }, /* takes no name: the dot is text */
        { "${host}x", "[::1]x" },
        { "$method-$scheme", "GET-https" },
        { "$path?$query", "/a%20b?q=%22%0d&w=1" },
        { "$target", "/a%20b?q=%22%0d&w=1" },
        { "$header.X-One.", "1 /\t<." },
        { "${header.x-one}0", "1 /\t<0" },
        { "$header.None", "" },
        { "$cookie.a$cookie.c$cookie.d", "bd" },
        { "$arg.w$arg.none", "1" },
        { "$status $answer.Server", "404 s" },
        { "$client$service$server$route$rest$request_id$capture.a", "" }, /* none of them there */
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_bytes_equal(printed(cases[i][0], VARIABLE_PLAIN, NULL), bytes_from(cases[i][1]));
}

static void each_form(void **state)
{
    (void)state;
    static const struct {
        enum variable_form form;
        const char *text, *printed;
    } cases[] = {
        { VARIABLE_FIELD, "<\t$arg.q$header.X-One", "<\t\"?1 /\t<" },
        { VARIABLE_URL, "< $arg.q$header.X-One$path", "< %22%0D1%20%2F%09%3C/a%20b" },
        { VARIABLE_HTML, "<b>$arg.q$header.X-One</b>", "<b>&quot;\r1 /\t&lt;</b>" },
        { VARIABLE_JSON, "\"$arg.q$header.X-One\"", "\"\\\"\\u000D1 /\\u0009<\"" },
        { VARIABLE_PLAIN, "$arg.q", "\"\r" },
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_bytes_equal(printed(cases[i].text, cases[i].form, NULL), bytes_from(cases[i].printed));
}

/* All 256 bytes, in each form: what may not stand in its place does not. */
static void nothing_gets_out(void **state)
{
    (void)state;
    char all[256];
    for (unsigned i = 0; i < sizeof all; i++)
        all[i] = (char)i;
    const struct bytes before = x.request_id;
    x.request_id = (struct bytes){ all, sizeof all };
    struct bytes field = printed("$request_id", VARIABLE_FIELD, NULL);
    assert_int_equal(field.len, 256);
    assert_true(http_is_field_value(field));
    struct bytes url = printed("$request_id", VARIABLE_URL, NULL);
    for (size_t i = 0; i < url.len; i++)
        assert_true(url.ptr[i] > ' ' && url.ptr[i] < 0x7f && !strchr("/?#<>\"\\&=;", url.ptr[i]));
    struct bytes html = printed("$request_id", VARIABLE_HTML, NULL);
    for (size_t i = 0; i < html.len; i++)
        assert_true(!html.ptr[i] || !strchr("<>\"'", html.ptr[i]));
    struct bytes json = printed("$request_id", VARIABLE_JSON, NULL);
    for (size_t i = 0; i < json.len; i++) {
        assert_true((unsigned char)json.ptr[i] >= ' ' && json.ptr[i] != '"');
        i += json.ptr[i] == '\\';
    }
    x.request_id = before;
}

static void groups(void **state)
{
    (void)state;
    struct regex_match m = { .count = 2, .groups = { BYTES("a/b"), BYTES("b?") } };
    assert_bytes_equal(printed("$1${0}1$2", VARIABLE_URL, &m), BYTES("b?a/b1"));
}

static void mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } cases[] = {
        { "$", "a $ alone" },
        { "5$ off", "a $ alone" },
        { "$Host", "a $ alone" },
        { "${host", "without its }" },
        { "${host}${", "without its }" },
        { "${host-x}", "stands \"-x\" behind" },
        { "${}", "a $ alone" },
        { "$hos", "$hos is no variable; did you mean \"host\"?" },
        { "$requestid", "did you mean \"request_id\"?" },
        { "$zzzzzzzz", "$zzzzzzzz is no variable" },
        { "$header", "expected $header.NAME" },
        { "$arg.", "expected $arg.NAME" },
        { "$3", "has 2 groups" },
    };
    const struct variable_scope scope = { .groups = 3 };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct diag d = DIAG_NONE;
        struct variable_text *t;
        assert_int_equal(variable_check(bytes_from(cases[i].text), &scope, &d), ERR_CONF);
        if (!strstr(d.text, cases[i].why))
            fail_msg("%s: %s", cases[i].text, d.text);
        if (cases[i].text[1] != '3')
            assert_int_equal(variable_open(bytes_from(cases[i].text), &t), ERR_CONF);
    }
    char many[200];
    for (unsigned i = 0; i < 66; i += 2)
        memcpy(many + i, "$$", 3);
    assert_int_equal(variable_check(bytes_from(many), &scope, NULL), ERR_CONF);
    many[64] = 0;
    assert_int_equal(variable_check(bytes_from(many), &scope, NULL), OK);
}

static void the_arena_has_a_cap(void **state)
{
    (void)state;
    struct exchange small = { .request = { .path = BYTES("/abc") } };
    struct variable_text *t;
    arena_open(&small.arena, &arena_heap, 0, NULL, 0);
    assert_int_equal(variable_open(BYTES("$path"), &t), OK);
    assert_null(variable_print(t, &small, VARIABLE_FIELD, NULL).ptr);
    variable_close(t);
    assert_int_equal(variable_open(BYTES("plain"), &t), OK);
    assert_bytes_equal(variable_print(t, &small, VARIABLE_FIELD, NULL), BYTES("plain"));
    variable_close(t);
    arena_close(&small.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_one), cmocka_unit_test(each_form), cmocka_unit_test(nothing_gets_out),
        cmocka_unit_test(groups),   cmocka_unit_test(mistakes),  cmocka_unit_test(the_arena_has_a_cap),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
