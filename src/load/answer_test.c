#include "load/answer.h"

#include "base/test.h"

/* The body in pieces of `step` bytes; returns what of it came out. */
static size_t fed(struct answer *a, struct bytes in, size_t step, char *out)
{
    size_t len = 0;
    while (in.len && !a->done) {
        struct bytes part = { in.ptr, in.len < step ? in.len : step }, piece;
        size_t used;
        assert_int_equal(answer_body(a, part, &piece, &used), OK);
        if (piece.len)
            memcpy(out + len, piece.ptr, piece.len);
        len += piece.len;
        in = bytes_skip(in, used);
    }
    return len;
}

static void bodies_however_they_are_cut(void **state)
{
    (void)state;
    static const struct {
        enum http_framing framing;
        struct bytes wire;
    } cases[] = {
        { HTTP_BODY_LENGTH, { "hello world and more", 20 } },
        { HTTP_BODY_CHUNKED, { "5\r\nhello\r\n6\r\n world\r\n0\r\nA: b\r\n\r\nmore", 37 } },
    };
    for (unsigned i = 0; i < 2; i++) {
        for (size_t step = 1; step < 40; step++) {
            char out[64];
            struct answer a = { .framing = cases[i].framing, .left = 11 };
            size_t len = fed(&a, cases[i].wire, step, out);
            assert_true(a.done);
            assert_bytes_equal(((struct bytes){ out, len }), BYTES("hello world"));
            assert_int_equal(answer_ended(&a), ERR_CLOSED); /* an end after it is no part of it */
        }
    }
}

static void a_body_that_ends_with_its_connection(void **state)
{
    (void)state;
    char out[16];
    struct answer a = { .framing = HTTP_BODY_CLOSE };
    assert_int_equal(fed(&a, BYTES("hello"), 2, out), 5);
    assert_false(a.done);
    assert_int_equal(a.bytes, 5);
    assert_int_equal(answer_ended(&a), OK);
    assert_true(a.done);
}

static void what_breaks_off_or_is_malformed(void **state)
{
    (void)state;
    struct bytes piece;
    size_t used;
    char out[16];
    struct answer a = { .framing = HTTP_BODY_LENGTH, .left = 11 };
    fed(&a, BYTES("hello"), 5, out);
    assert_false(a.done);
    assert_int_equal(answer_ended(&a), ERR_CLOSED);
    a = (struct answer){ .framing = HTTP_BODY_CHUNKED };
    assert_int_equal(answer_body(&a, BYTES("x\r\n"), &piece, &used), ERR_PROTOCOL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_however_they_are_cut),
        cmocka_unit_test(a_body_that_ends_with_its_connection),
        cmocka_unit_test(what_breaks_off_or_is_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
