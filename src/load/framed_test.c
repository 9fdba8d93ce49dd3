#include "load/framed.h"

#include "base/test.h"

static struct bytes text_of(const uint8_t *at, size_t len)
{
    return (struct bytes){ (const char *)at, len };
}

static void a_request_of_http1_in_fields(void **state)
{
    (void)state;
    static const char *const wanted[][2] = { { ":method", "POST" },   { ":scheme", "https" },
                                             { ":authority", "a:8" }, { ":path", "/b?c" },
                                             { "x-a", "B c" },        { "content-length", "2" } };
    struct arena a;
    struct framed_request r;
    arena_open(&a, &arena_heap, 4096, NULL, 0);
    err e = framed_request_make(BYTES("POST /b?c HTTP/1.1\r\nHost: a:8\r\nX-A: B c\r\nConnection: x-b\r\n"
                                      "X-B: gone\r\nContent-Length: 2\r\n\r\nhi"),
                                true, &a, &r);
    assert_int_equal(e, OK);
    assert_int_equal(r.count, 6);
    for (unsigned i = 0; i < 6; i++) {
        assert_bytes_equal(text_of(r.fields[i].name, r.fields[i].name_len), bytes_from(wanted[i][0]));
        assert_bytes_equal(text_of(r.fields[i].value, r.fields[i].value_len), bytes_from(wanted[i][1]));
    }
    assert_bytes_equal(r.body, BYTES("hi"));
    assert_int_equal(framed_request_make(BYTES("nonsense\r\n\r\n"), false, &a, &r), ERR_SYNTAX);
    arena_close(&a);
}

static void no_room(void **state)
{
    (void)state;
    struct arena a;
    struct framed_request r;
    arena_open(&a, &arena_heap, 64, NULL, 0);
    assert_int_equal(framed_request_make(BYTES("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), false, &a, &r),
                     ERR_LIMIT);
    arena_close(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_of_http1_in_fields),
        cmocka_unit_test(no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
