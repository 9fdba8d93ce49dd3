#include "proto/media_type.h"

#include "base/test.h"

static void names_say_types(void **unused)
{
    (void)unused;
    assert_bytes_equal(media_type_of(BYTES("html")), BYTES("text/html; charset=utf-8"));
    assert_bytes_equal(media_type_of(BYTES("HTML")), BYTES("text/html; charset=utf-8"));
    assert_bytes_equal(media_type_of(BYTES("webmanifest")), BYTES("application/manifest+json"));
    assert_bytes_equal(media_type_of(BYTES("glb")), BYTES("model/gltf-binary"));
    assert_int_equal(media_type_of(BYTES("htmlx")).len, 0);
    assert_int_equal(media_type_of(BYTES("")).len, 0);
    assert_int_equal(media_type_of(BYTES("averyveryverylongextension")).len, 0);
    assert_int_equal(media_type_of(BYTES("html\0x")).len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(names_say_types) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
