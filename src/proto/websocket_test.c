#include "proto/websocket.h"

#include <stdlib.h>

#include "base/test.h"

static void test_the_handshake_of_the_rfc(void **state)
{
    (void)state;
    char accept[WEBSOCKET_ACCEPT_BYTES];
    char key[WEBSOCKET_KEY_BYTES];
    websocket_accept_of(BYTES("dGhlIHNhbXBsZSBub25jZQ=="), accept);
    assert_bytes_equal(((struct bytes){ accept, sizeof accept }), BYTES("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    websocket_make_key((const unsigned char *)"the sample nonce", key);
    assert_bytes_equal(((struct bytes){ key, sizeof key }), BYTES("dGhlIHNhbXBsZSBub25jZQ=="));
    assert_true(websocket_key_is_valid(BYTES("dGhlIHNhbXBsZSBub25jZQ==")));
    static const char *const bad[] = { "",
                                       "dGhlIHNhbXBsZSBub25jZQ=",
                                       "dGhlIHNhbXBsZSBub25jZQ===",
                                       "dGhlIHNhbXBsZSBub25jZTE=",
                                       "dGhlIHNhbXBsZSBub25jZR==",
                                       "dGhlIHNhbXBsZSBub25j!Q==" };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(websocket_key_is_valid(bytes_from(bad[i])));
}

/* RFC 6455 5.7 */
static void test_heads(void **state)
{
    (void)state;
    static const struct {
        struct bytes text;
        uint64_t length;
        unsigned opcode, size;
        bool fin, masked;
    } good[] = {
        { BYTES("\x81\x05Hello"), 5, WEBSOCKET_TEXT, 2, true, false },
        { BYTES("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), 5, WEBSOCKET_TEXT, 6, true, true },
        { BYTES("\x01\x03Hel"), 3, WEBSOCKET_TEXT, 2, false, false },
        { BYTES("\x80\x02lo"), 2, WEBSOCKET_CONTINUATION, 2, true, false },
        { BYTES("\x89\x05Hello"), 5, WEBSOCKET_PING, 2, true, false },
        { BYTES("\x82\x7e\x01\x00"), 256, WEBSOCKET_BINARY, 4, true, false },
        { BYTES("\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"), 65536, WEBSOCKET_BINARY, 10, true, false },
        { BYTES("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\1\2\3\4"), INT64_MAX, WEBSOCKET_BINARY, 14, true,
          true },
    };
    for (unsigned i = 0; i < sizeof good / sizeof *good; i++) {
        struct websocket_head h;
        char out[WEBSOCKET_HEAD_BYTES_MAX];
        for (size_t len = 0; len < good[i].size; len++)
            assert_int_equal(websocket_read_head((struct bytes){ good[i].text.ptr, len }, &h), ERR_AGAIN);
        assert_int_equal(websocket_read_head(good[i].text, &h), OK);
        assert_true(h.length == good[i].length && h.opcode == good[i].opcode && h.size == good[i].size);
        assert_true(h.fin == good[i].fin && h.masked == good[i].masked && h.rsv == 0);
        assert_bytes_equal(((struct bytes){ out, websocket_put_head(out, &h) }),
                           ((struct bytes){ good[i].text.ptr, h.size }));
    }
    struct websocket_head h;
    assert_int_equal(websocket_read_head(BYTES("\x82\x7e\x00\x7d"), &h), ERR_SYNTAX);
    assert_int_equal(websocket_read_head(BYTES("\x82\x7f\0\0\0\0\0\0\xff\xff"), &h), ERR_SYNTAX);
    assert_int_equal(websocket_read_head(BYTES("\x82\x7f\x80\0\0\0\0\0\0\0"), &h), ERR_SYNTAX);
}

static void test_masks_in_any_pieces(void **state)
{
    (void)state;
    static const unsigned char mask[4] = { 0x37, 0xfa, 0x21, 0x3d };
    char data[100];
    for (size_t cut = 0; cut <= sizeof data; cut++) {
        for (size_t i = 0; i < sizeof data; i++)
            data[i] = (char)i;
        websocket_mask(data, cut, mask, 0);
        websocket_mask(data + cut, sizeof data - cut, mask, cut);
        for (size_t i = 0; i < sizeof data; i++)
            assert_int_equal((unsigned char)data[i], i ^ mask[i % 4]);
    }
}

static void test_close(void **state)
{
    (void)state;
    unsigned code;
    assert_int_equal(websocket_read_close(BYTES(""), &code), OK);
    assert_int_equal(code, WEBSOCKET_CODE_NONE);
    assert_int_equal(websocket_read_close(BYTES("\x03\xe9going \xe2\x82\xac"), &code), OK);
    assert_int_equal(code, WEBSOCKET_CODE_GOING_AWAY);
    assert_int_equal(websocket_read_close(BYTES("\x03"), &code), ERR_SYNTAX);
    assert_int_equal(code, WEBSOCKET_CODE_PROTOCOL_ERROR);
    assert_int_equal(websocket_read_close(BYTES("\x03\xe9\xe2\x82"), &code), ERR_SYNTAX);
    assert_int_equal(code, WEBSOCKET_CODE_BAD_DATA);
    static const unsigned bad[] = { 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535 };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(websocket_code_is_valid(bad[i]));
    assert_true(websocket_code_is_valid(1000) && websocket_code_is_valid(1014) &&
                websocket_code_is_valid(3000) && websocket_code_is_valid(4999));
}

static void test_a_reason_is_cut_at_a_character(void **state)
{
    (void)state;
    char out[WEBSOCKET_CONTROL_BYTES_MAX];
    char reason[200];
    unsigned code;
    struct websocket_step step;
    struct websocket_stream s = { .from_client = true };
    for (size_t i = 0; i < sizeof reason; i += 2)
        memcpy(reason + i, "\xc3\xa9", 2);
    size_t n = websocket_put_close(out, 1001, (struct bytes){ reason, sizeof reason },
                                   (const unsigned char *)"abcd");
    websocket_follow(&s, (struct bytes){ out, n }, &step);
    assert_int_equal(step.kind, WEBSOCKET_CONTROL);
    assert_int_equal(step.n, n);
    assert_true(step.code == 1001 && s.closed);
    assert_int_equal(step.payload.len, 2 + 122); /* 61 characters of two bytes; a half one does not fit */
    assert_int_equal(websocket_read_close(step.payload, &code), OK);
}

/* ---- following ---- */

/* What came of following a text, whole or cut. */
struct seen {
    size_t passed, controls;
    uint32_t messages;
    unsigned code;
    bool failed;
};

static struct seen follow_cut(struct bytes text, struct websocket_stream s, size_t piece)
{
    struct seen seen = { 0 };
    size_t at = 0, end = 0;
    struct websocket_step step;
    while (at < text.len && !s.closed && !seen.failed) {
        if (end == text.len && step.kind == WEBSOCKET_WANTS)
            break;
        end = end + piece < text.len ? end + piece : text.len;
        do {
            websocket_follow(&s, (struct bytes){ text.ptr + at, end - at }, &step);
            at += step.kind == WEBSOCKET_FAILS ? 0 : step.n;
            seen.passed += step.kind == WEBSOCKET_PASSES ? step.n : 0;
            seen.messages += step.kind == WEBSOCKET_PASSES ? step.messages : 0;
            seen.controls += step.kind == WEBSOCKET_CONTROL;
            seen.failed = step.kind == WEBSOCKET_FAILS;
            if (seen.failed || (step.kind == WEBSOCKET_CONTROL && step.opcode == WEBSOCKET_CLOSE))
                seen.code = step.code;
        } while (at < end && !s.closed && !seen.failed && step.kind != WEBSOCKET_WANTS);
    }
    return seen;
}

static struct seen follow(struct bytes text, struct websocket_stream s)
{
    struct seen whole = follow_cut(text, s, text.len);
    for (size_t piece = 1; piece < 20; piece++) {
        struct seen cut = follow_cut(text, s, piece);
        assert_true(cut.passed == whole.passed && cut.controls == whole.controls &&
                    cut.messages == whole.messages && cut.code == whole.code && cut.failed == whole.failed);
    }
    return whole;
}

static void test_what_passes(void **state)
{
    (void)state;
    static const struct {
        struct bytes text;
        size_t passed, controls, messages, code;
    } good[] = {
        { BYTES("\x81\x05Hello\x82\x00"), 9, 0, 2, 0 },
        { BYTES("\x01\x03Hel\x89\x01p\x00\x00\x80\x02lo\x8a\x00"), 11, 2, 1, 0 },
        { BYTES("\x81\x05Hel"), 5, 0, 1, 0 },
        { BYTES("\x81\x01x\x88\x00\x81\x01y"), 3, 1, 1, WEBSOCKET_CODE_NONE },
        { BYTES("\x88\x07\x0f\xa0later"), 0, 1, 0, 4000 },
    };
    for (unsigned i = 0; i < sizeof good / sizeof *good; i++) {
        struct seen s = follow(good[i].text, (struct websocket_stream){ 0 });
        assert_true(!s.failed && s.passed == good[i].passed && s.controls == good[i].controls);
        assert_true(s.messages == good[i].messages && s.code == good[i].code);
    }
    struct seen s =
        follow(BYTES("\xc1\x01x\x40\x01y\x80\x00"), (struct websocket_stream){ .extended = true });
    assert_true(s.failed && s.passed == 3); /* a message may not begin within another */
    s = follow(BYTES("\x41\x01x\x80\x01y"), (struct websocket_stream){ .extended = true });
    assert_true(!s.failed && s.passed == 6 && s.messages == 1);
}

static void test_what_does_not_pass(void **state)
{
    (void)state;
    static const struct {
        struct bytes text;
        size_t passed;
        unsigned code;
    } bad[] = {
        { BYTES("\x83\x00"), 0, 1002 },                 /* an opcode that is reserved */
        { BYTES("\x8b\x00"), 0, 1002 },                 /* and one of a control frame */
        { BYTES("\x81\x80\1\2\3\4"), 0, 1002 },         /* masked by a server */
        { BYTES("\xc1\x00"), 0, 1002 },                 /* RSV1 without an extension */
        { BYTES("\x80\x00"), 0, 1002 },                 /* nothing to continue */
        { BYTES("\x01\x01x\x81\x01y"), 3, 1002 },       /* it should have been continued */
        { BYTES("\x09\x00"), 0, 1002 },                 /* a control frame in pieces */
        { BYTES("\x89\x7e\x00\x7e"), 0, 1002 },         /* or too long */
        { BYTES("\x88\x01\x03"), 0, 1002 },             /* half a code */
        { BYTES("\x88\x02\x03\xed"), 0, 1002 },         /* 1005 */
        { BYTES("\x88\x03\x03\xe8\xff"), 0, 1007 },     /* a reason that is no UTF-8 */
        { BYTES("\x81\x00\x82\x7e\x00\x01x"), 2, 1002 } /* a length longer than it needs to be */
    };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct seen s = follow(bad[i].text, (struct websocket_stream){ 0 });
        assert_true(s.failed && s.code == bad[i].code && s.passed == bad[i].passed);
    }
    struct seen s = follow(BYTES("\x81\x00"), (struct websocket_stream){ .from_client = true });
    assert_true(s.failed && s.code == 1002); /* not masked by a client */
}

static void test_long_messages(void **state)
{
    (void)state;
    const struct websocket_stream eight = { .message_bytes_max = 8 };
    struct seen s = follow(BYTES("\x81\x08to be or\x81\x08not to b"), eight);
    assert_true(!s.failed && s.messages == 2);
    s = follow(BYTES("\x81\x09to be or not"), eight);
    assert_true(s.failed && s.code == 1009 && s.passed == 0);
    s = follow(BYTES("\x01\x05to be\x00\x03 or\x80\x01 not"), eight);
    assert_true(s.failed && s.code == 1009 && s.passed == 12);
    struct websocket_stream long_one = { 0 };
    struct websocket_step step;
    websocket_follow(&long_one, BYTES("\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xffsome"), &step);
    assert_true(step.n == 14 && !websocket_at_boundary(&long_one) && long_one.left == INT64_MAX - 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_handshake_of_the_rfc),
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_masks_in_any_pieces),
        cmocka_unit_test(test_close),
        cmocka_unit_test(test_a_reason_is_cut_at_a_character),
        cmocka_unit_test(test_what_passes),
        cmocka_unit_test(test_what_does_not_pass),
        cmocka_unit_test(test_long_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
