#include "gate/request_match.h"

#include "base/test.h"

static struct exchange x;

static void request(const char *method, const char *path)
{
    x = (struct exchange){ 0 };
    arena_open(&x.arena, &arena_heap, 1 << 20, NULL, 0);
    x.request.method_text = bytes_from(method);
    x.request.path = bytes_from(path);
    assert_int_equal(http_fields_add(&x.request.fields, &x.arena, BYTES("X-Beta"), BYTES("no")), OK);
    assert_int_equal(http_fields_add(&x.request.fields, &x.arena, BYTES("x-beta"), BYTES("blue-1")), OK);
}

static struct request_match match_of(const char *yaml_methods, const char *path, const char *value)
{
    static struct bytes methods[1];
    static struct bytes paths[1];
    static struct conf_pair pairs[1];
    methods[0] = bytes_from(yaml_methods);
    paths[0] = bytes_from(path);
    pairs[0] = (struct conf_pair){ BYTES("X-Beta"), bytes_from(value) };
    return (struct request_match){ .methods = { methods, yaml_methods != NULL },
                                   .path = { paths, path != NULL },
                                   .headers = { pairs, value != NULL } };
}

static bool matches(const char *methods, const char *path, const char *value)
{
    const struct request_match m = match_of(methods, path, value);
    return request_matches(&m, &x);
}

static void nothing_said_is_everybody(void **unused)
{
    (void)unused;
    request("GET", "/");
    assert_true(request_matches(NULL, &x));
    assert_true(matches(NULL, NULL, NULL));
    arena_close(&x.arena);
}

static void each_condition_counts(void **unused)
{
    (void)unused;
    request("POST", "/a/./b/../c");
    assert_true(matches("POST", NULL, NULL));
    assert_false(matches("GET", NULL, NULL));
    assert_false(matches("post", NULL, NULL));
    assert_true(matches(NULL, "/a/c", NULL));
    assert_true(matches(NULL, "/a/*", NULL));
    assert_false(matches(NULL, "/a", NULL));
    assert_false(matches(NULL, "/b*", NULL));
    assert_true(matches(NULL, NULL, "blue-1"));
    assert_true(matches(NULL, NULL, "*"));
    assert_true(matches(NULL, NULL, "blue*"));
    assert_false(matches(NULL, NULL, "blue"));
    assert_true(matches("POST", "/a/c", "no"));
    assert_false(matches("POST", "/a/c", "yes"));
    assert_false(matches("POST", "/x", "no"));
    http_fields_remove(&x.request.fields, BYTES("X-Beta"));
    assert_false(matches(NULL, NULL, "*"));
    arena_close(&x.arena);
}

static void mistakes_are_said(void **unused)
{
    (void)unused;
    struct diag d = { 0 };
    struct request_match m = match_of("G T", NULL, NULL);
    assert_int_equal(request_match_struct.check(&m, &d), ERR_CONF);
    m = match_of(NULL, "a", NULL);
    assert_int_equal(request_match_struct.check(&m, &d), ERR_CONF);
    m = match_of("GET", "/a", "x");
    assert_int_equal(request_match_struct.check(&m, &d), OK);
    ((struct conf_pair *)m.headers.items)->name = BYTES("a b");
    assert_int_equal(request_match_struct.check(&m, &d), ERR_CONF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_said_is_everybody),
        cmocka_unit_test(each_condition_counts),
        cmocka_unit_test(mistakes_are_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
