#include "proto/content_coding.h"

#include "base/test.h"

static const enum content_coding all[] = { CODING_ZSTD, CODING_BR, CODING_GZIP };

static struct http_fields fields_of(struct http_field *at, enum http_field_id id, const char *const *values)
{
    struct http_fields f = { .at = at, .count_max = 4 };
    for (; *values; values++)
        at[f.count++] = (struct http_field){ .name = "x",
                                             .name_len = 1,
                                             .value = *values,
                                             .value_len = (uint32_t)strlen(*values),
                                             .id = (uint8_t)id };
    return f;
}

static struct accept_encoding read(const char *a, const char *b)
{
    struct http_field at[4];
    struct accept_encoding accept;
    const char *const values[] = { a, a ? b : NULL, NULL };
    struct http_fields f = fields_of(at, FIELD_ACCEPT_ENCODING, values);
    accept_encoding_read(&f, &accept);
    return accept;
}

static const char *chosen(const char *accept)
{
    struct accept_encoding a = read(accept, NULL);
    return content_coding_name(accept_encoding_choose(&a, all, 3)).ptr;
}

static void the_weights_decide(void **unused)
{
    (void)unused;
    assert_string_equal(chosen(NULL), "identity");
    assert_string_equal(chosen(""), "identity");
    assert_string_equal(chosen("gzip"), "gzip");
    assert_string_equal(chosen("GZip , deflate"), "gzip");
    assert_string_equal(chosen("x-gzip"), "gzip");
    assert_string_equal(chosen("gzip, deflate, br, zstd"), "zstd");
    assert_string_equal(chosen("gzip;q=1.0, br;q=0.9, zstd;q=0.999"), "gzip");
    assert_string_equal(chosen("gzip;q=0, br;q=0.001"), "br");
    assert_string_equal(chosen("gzip ; Q=0.5"), "gzip");
    assert_string_equal(chosen("*"), "zstd");
    assert_string_equal(chosen("*;q=0"), "identity");
    assert_string_equal(chosen("zstd;q=0, *"), "br");
    assert_string_equal(chosen("*;q=0, gzip"), "gzip");
    assert_string_equal(chosen("identity, gzip;q=0.5"), "identity");
    assert_string_equal(chosen("identity;q=0.5, gzip;q=0.5"), "gzip");
    assert_string_equal(chosen("identity;q=0"), "identity");
    assert_string_equal(chosen("compress, deflate"), "identity");
    assert_string_equal(chosen(",, gzip,"), "gzip");
}

static void a_malformed_weight_is_none(void **unused)
{
    (void)unused;
    static const char *const bad[] = { "gzip;q=1.001", "gzip;q=2",  "gzip;q=",    "gzip;q",
                                       "gzip;",        "gzip;q=.5", "gzip;q=0,5", "gzip;q=0.1234",
                                       "gzip;q=0.x",   "gzip;p=1",  "gzip;q=-1",  "gz ip",
                                       "gzip;q=1;q=1" };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_string_equal(chosen(bad[i]), "identity");
    assert_int_equal(read("gzip;q=0.", NULL).weight[CODING_GZIP], 0);
    assert_int_equal(read("gzip;q=1.", NULL).weight[CODING_GZIP], 1000);
    assert_int_equal(read("gzip;q=0.07", NULL).weight[CODING_GZIP], 70);
}

static void several_lines_are_one(void **unused)
{
    (void)unused;
    struct accept_encoding a = read("gzip;q=0.5", "br;q=0.7, *;q=0.1");
    assert_true(a.said);
    assert_int_equal(a.weight[CODING_GZIP], 500);
    assert_int_equal(a.weight[CODING_BR], 700);
    assert_int_equal(a.weight[CODING_ZSTD], 100);
    assert_int_equal(a.weight[CODING_IDENTITY], 100);
    a = read("gzip", NULL);
    assert_int_equal(a.weight[CODING_IDENTITY], CODING_WEIGHT_UNSAID);
    assert_int_equal(a.weight[CODING_DEFLATE], 0);
}

static void lists_are_searched(void **unused)
{
    (void)unused;
    struct http_field at[4];
    const char *const values[] = { "max-age=3, Private", "no-transform ,x=no-store", NULL };
    struct http_fields f = fields_of(at, FIELD_CACHE_CONTROL, values);
    assert_true(http_fields_list_has(&f, FIELD_CACHE_CONTROL, BYTES("max-age")));
    assert_true(http_fields_list_has(&f, FIELD_CACHE_CONTROL, BYTES("private")));
    assert_true(http_fields_list_has(&f, FIELD_CACHE_CONTROL, BYTES("no-transform")));
    assert_false(http_fields_list_has(&f, FIELD_CACHE_CONTROL, BYTES("no-store")));
    assert_false(http_fields_list_has(&f, FIELD_VARY, BYTES("private")));
    at[1].flags = FIELD_REMOVED;
    assert_false(http_fields_list_has(&f, FIELD_CACHE_CONTROL, BYTES("no-transform")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_weights_decide),
        cmocka_unit_test(a_malformed_weight_is_none),
        cmocka_unit_test(several_lines_are_one),
        cmocka_unit_test(lists_are_searched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
