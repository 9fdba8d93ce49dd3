#include "load/expect.h"

#include "base/test.h"

static struct arena arena;
static struct http_field fields[] = {
    { .name = "Set-Cookie", .name_len = 10, .value = "SIDX=no", .value_len = 7, .id = FIELD_SET_COOKIE },
    { .name = "Set-Cookie",
      .name_len = 10,
      .value = "SID=a1; Path=/",
      .value_len = 14,
      .id = FIELD_SET_COOKIE },
    { .name = "X-Token", .name_len = 7, .value = "t", .value_len = 1, .id = FIELD_OTHER },
};
static struct http_response head = { .status = 200, .fields = { fields, 3, 3 } };

static struct expect_answer answer_of(const char *body)
{
    return (struct expect_answer){ .head = &head, .body = bytes_from(body), .ns = 5000000, .arena = &arena };
}

static void statuses(void **state)
{
    (void)state;
    struct expect e = { 0 };
    struct expect_answer a = answer_of("");
    head.status = 399;
    assert_int_equal(expect_look(&e, &a), LOAD_NO_ERROR);
    head.status = 400;
    assert_int_equal(expect_look(&e, &a), LOAD_ERROR_STATUS);
    assert_int_equal(expect_status_parse(BYTES("409"), &e, NULL), OK);
    assert_int_equal(expect_status_parse(BYTES("2xx"), &e, NULL), OK);
    assert_int_equal(expect_status_parse(BYTES("500-502"), &e, NULL), OK);
    static const struct {
        unsigned status;
        bool good;
    } cases[] = { { 200, true },  { 299, true }, { 300, false }, { 409, true },
                  { 410, false }, { 501, true }, { 503, false } };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        head.status = cases[i].status;
        assert_int_equal(expect_look(&e, &a), cases[i].good ? LOAD_NO_ERROR : LOAD_ERROR_STATUS);
    }
    head.status = 200;
    static const char *const wrong[] = { "", "20", "2000", "6xx", "xx2", "300-200", "200-", "abc", "099" };
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct diag d = DIAG_NONE;
        assert_int_equal(expect_status_parse(bytes_from(wrong[i]), &e, &d), ERR_CONF);
        assert_true(d.set);
    }
}

static void bodies_and_time(void **state)
{
    (void)state;
    const struct expect_json wanted[] = { { BYTES("/left"), BYTES("3") }, { BYTES("/ok"), BYTES("true") } };
    struct expect e = { .contains = BYTES("left"), .json = wanted, .json_count = 2, .within_ns = 5000000 };
    struct expect_answer a = answer_of("{\"left\":3,\"ok\":true}");
    assert_true(expect_body(&e));
    assert_int_equal(expect_look(&e, &a), LOAD_NO_ERROR);
    a.ns++;
    assert_int_equal(expect_look(&e, &a), LOAD_ERROR_TIME);
    a = answer_of("{\"left\":4,\"ok\":true}");
    assert_int_equal(expect_look(&e, &a), LOAD_ERROR_BODY);
    a = answer_of("left but no JSON");
    assert_int_equal(expect_look(&e, &a), LOAD_ERROR_BODY);
    a = answer_of("{\"lef\":3,\"ok\":true}");
    assert_int_equal(expect_look(&e, &a), LOAD_ERROR_BODY);
    a = answer_of("");
    assert_int_equal(expect_look(&e, &a), LOAD_ERROR_BODY);
}

static void what_is_taken(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *value;
    } cases[] = {
        { "json /order/id", "o-7" },
        { "json /n", "1.50" },
        { "json /order", NULL },
        { "json /x", NULL },
        { "header x-token", "t" },
        { "header X-None", NULL },
        { "cookie SID", "a1" },
        { "cookie SI", NULL },
#if WEIR_HAVE_PCRE2
        { "regex o-([0-9]+)", "7" },
        { "regex o-[0-9]+", "o-7" },
        { "regex zz(.)", NULL },
#endif
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct take t;
        struct diag d = DIAG_NONE;
        struct expect_answer a = answer_of("{\"order\":{\"id\":\"o-7\"},\"n\":1.50}");
        if (take_parse(bytes_from(cases[i].spec), &t, &d) != OK)
            fail_msg("%s", d.text);
        struct bytes value = take_from(&t, &a);
        if (!cases[i].value)
            assert_null(value.ptr);
        else
            assert_bytes_equal(value, bytes_from(cases[i].value));
        regex_free(t.regex);
    }
    static const char *const wrong[] = { "", "json", "json x", "header", "xpath /a", "regex", "regex (" };
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct take t;
        struct diag d = DIAG_NONE;
        if (i == 1)
            continue; /* the whole document */
        assert_int_equal(take_parse(bytes_from(wrong[i]), &t, &d), ERR_CONF);
        assert_true(d.set);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statuses),
        cmocka_unit_test(bodies_and_time),
        cmocka_unit_test(what_is_taken),
    };
    arena_open(&arena, &arena_heap, 1 << 20, NULL, 0);
    if (regex_ready() != OK)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_close(&arena);
    return failed;
}
