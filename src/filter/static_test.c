#define exchange_answer_body fake_exchange_answer_body
#define worker_wall_us fake_worker_wall_us
#include "filter/fakes_test.h"
/* first the fakes */
#include <stdio.h>

uint64_t fake_worker_wall_us(void)
{
    return UINT64_C(1700000000) * 1000000;
}

void fake_exchange_answer_body(struct exchange *x, unsigned status, struct bytes content_type,
                               struct body *body, struct bytes by)
{
    (void)content_type;
    x->response.status = status;
    x->response_body = body;
    x->answered_by = by;
}

#include "filter/static.c"

#include "base/test.h"

static void a_name_says_its_type(void **unused)
{
    (void)unused;
    struct conf_pair own[] = { { BYTES("dat"), BYTES("text/plain") } };
    const struct static_conf c = { .types = { own, 1 }, .type = BYTES("x/y") };
    static const char *const cases[][2] = { { "a/b.css", "text/css; charset=utf-8" },
                                            { "a.tar.gz", "application/gzip" },
                                            { "a.DAT", "text/plain" },
                                            { "README", "x/y" },
                                            { "a.b/c", "x/y" },
                                            { "a.", "x/y" } };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct found f;
        f.name_len = strlen(cases[i][0]);
        memcpy(f.name, cases[i][0], f.name_len);
        assert_bytes_equal(type_of(&c, &f), bytes_from(cases[i][1]));
    }
}

static void a_tag_tells_versions_apart(void **unused)
{
    (void)unused;
    char one[ETAG_BYTES_MAX];
    char other[ETAG_BYTES_MAX];
    struct found f = { .coding = CODING_IDENTITY };
    f.st.st_size = 100;
    f.st.st_mtim = (struct timespec){ 1700000000, 1 };
    const struct bytes before = etag_of(&f, one);
    assert_true(before.ptr[0] == '"' && before.ptr[before.len - 1] == '"');
    f.st.st_mtim.tv_nsec++;
    assert_false(bytes_eq(before, etag_of(&f, other)));
    f.st.st_mtim.tv_nsec--;
    f.coding = CODING_GZIP;
    assert_false(bytes_eq(before, etag_of(&f, other)));
    f.coding = CODING_IDENTITY;
    assert_true(bytes_eq(before, etag_of(&f, other)));
    f.st.st_size++;
    assert_false(bytes_eq(before, etag_of(&f, other)));
}

static void a_redirect_stays_on_this_host(void **unused)
{
    (void)unused;
    static const struct {
        const char *path, *query, *location;
    } cases[] = { { "/a/sub", NULL, "./sub/" },
                  { "/sub", "x=1", "./sub/?x=1" },
                  { "//evil.example", NULL, "./evil.example/" },
                  { "/http:x", "", "./http:x/?" } };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct exchange x;
        fake_exchange_open(&x);
        x.request.query = bytes_from(cases[i].query);
        assert_int_equal(redirect_to_folder(&x, bytes_from(cases[i].path)), OK);
        assert_int_equal(x.response.status, 301);
        assert_bytes_equal(http_field_value(http_fields_get(&x.response.fields, FIELD_LOCATION)),
                           bytes_from(cases[i].location));
        fake_exchange_close(&x);
    }
}

static void other_methods_are_not_for_files(void **unused)
{
    (void)unused;
    struct static_conf c = { .otherwise = OTHERWISE_404 };
    struct static_files s = { .conf = &c };
    struct exchange x;
    fake_exchange_open(&x);
    x.request.method = HTTP_POST;
    assert_int_equal(static_handle(&x, &s, NULL), OK);
    assert_int_equal(x.response.status, 405);
    assert_int_equal(fake.chained, 0);
    c.otherwise = OTHERWISE_SERVICE;
    assert_int_equal(static_handle(&x, &s, NULL), OK);
    assert_int_equal(fake.chained, 1);
    fake_exchange_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_says_its_type),
        cmocka_unit_test(a_tag_tells_versions_apart),
        cmocka_unit_test(a_redirect_stays_on_this_host),
        cmocka_unit_test(other_methods_are_not_for_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
