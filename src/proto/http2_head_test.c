#include "proto/http2_head.h"

#include "base/test.h"

struct taken {
    struct arena arena;
    struct http_fields fields;
    struct http2_head head;
};

static void open_head(struct taken *t, enum http2_head_kind kind, uint32_t fields_max, uint64_t bytes_max)
{
    arena_open(&t->arena, &arena_heap, 1 << 20, NULL, 0);
    t->fields = (struct http_fields){ 0 };
    http2_head_open(&t->head, kind, &t->arena, &t->fields, fields_max, bytes_max);
}

/* "name value" each, a NULL behind. The first mistake is the head's. */
static void add_all(struct taken *t, const char *const *fields)
{
    for (; *fields; fields++) {
        struct bytes name = bytes_from(*fields);
        size_t len = bytes_index(name, ' ');
        struct bytes value = len < name.len ? bytes_skip(name, len + 1) : BYTES_NONE;
        name.len = len;
        err e = http2_head_add(&t->head, name, value);
        assert_int_equal(e, t->head.failed);
    }
}

#define FIELDS(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define GET ":method GET", ":scheme http", ":authority a.example", ":path /b?c=d"

static err request(struct taken *t, bool ended, struct http_request *ret, unsigned *ret_status,
                   const char *const *fields)
{
    open_head(t, HTTP2_REQUEST, 10, 4096);
    add_all(t, fields);
    return http2_head_request(&t->head, ended, ret, ret_status);
}

static void a_request_is_what_http1_has(void **unused)
{
    (void)unused;
    struct taken t;
    struct http_request r;
    unsigned status = 0;
    err e =
        request(&t, true, &r, &status,
                FIELDS(GET, "cookie ", "cookie a=1", "accept */*", "cookie b=2", "cookie ", "te trailers"));
    assert_int_equal(e, OK);
    assert_int_equal(r.method, HTTP_GET);
    assert_bytes_equal(r.target, BYTES("/b?c=d"));
    assert_bytes_equal(r.path, BYTES("/b"));
    assert_bytes_equal(r.query, BYTES("c=d"));
    assert_bytes_equal(r.authority, BYTES("a.example"));
    assert_int_equal(r.framing, HTTP_BODY_NONE);
    assert_bytes_equal(http_field_value(http_fields_get(&r.fields, FIELD_COOKIE)), BYTES("a=1; b=2"));
    assert_bytes_equal(http_field_value(http_fields_get(&r.fields, FIELD_HOST)), BYTES("a.example"));
    assert_true(http_fields_get(&r.fields, FIELD_TE)->flags & FIELD_HOP);
    assert_int_equal(http_fields_remove_id(&r.fields, FIELD_COOKIE), 1);
    arena_close(&t.arena);
}

static void framing_is_what_was_said(void **unused)
{
    (void)unused;
    static const struct {
        const char *length;
        bool ended;
        enum http_framing framing;
        err e;
    } cases[] = {
        { NULL, true, HTTP_BODY_NONE, OK },
        { NULL, false, HTTP_BODY_CHUNKED, OK },
        { "content-length 5", false, HTTP_BODY_LENGTH, OK },
        { "content-length 0", false, HTTP_BODY_NONE, OK },
        { "content-length 0", true, HTTP_BODY_NONE, OK },
        { "content-length 5", true, HTTP_BODY_NONE, ERR_SYNTAX },
        { "content-length 9223372036854775808", false, HTTP_BODY_NONE, ERR_SYNTAX },
        { "content-length -1", false, HTTP_BODY_NONE, ERR_SYNTAX },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct taken t;
        struct http_request r;
        unsigned status;
        err e = request(&t, cases[i].ended, &r, &status, FIELDS(GET, cases[i].length));
        assert_int_equal(e, cases[i].e);
        if (!e)
            assert_int_equal(r.framing, cases[i].framing);
        arena_close(&t.arena);
    }
}

static void malformed_ones_are_refused(void **unused)
{
    (void)unused;
    const char *const *const cases[] = {
        FIELDS(":scheme http", ":authority a", ":path /"),
        FIELDS(":method GET", ":authority a", ":path /"),
        FIELDS(":method GET", ":scheme http", ":authority a"),
        FIELDS(":method GET", ":scheme http", ":path /"),
        FIELDS(GET, ":path /"),
        FIELDS(GET, ":status 200"),
        FIELDS(GET, ":what 1"),
        FIELDS(GET, "host other"),
        FIELDS(GET, "host a.example", "host a.example"),
        FIELDS(GET, "Accept *"),
        FIELDS(GET, "connection close"),
        FIELDS(GET, "keep-alive 1"),
        FIELDS(GET, "proxy-connection close"),
        FIELDS(GET, "transfer-encoding chunked"),
        FIELDS(GET, "upgrade websocket"),
        FIELDS(GET, "te gzip"),
        FIELDS(GET, "a 1\r\nb: 2"),
        FIELDS(GET, "a  1"),
        FIELDS(GET, "a 1 "),
        FIELDS(GET, "a\r 1"),
        FIELDS(GET, "content-length 1", "content-length 1"),
        FIELDS("a 1", GET),
        FIELDS(":method G\r\nT", ":scheme http", ":authority a", ":path /"),
        FIELDS(":method GET", ":scheme http", ":authority a@b", ":path /"),
        FIELDS(":method GET", ":scheme http", ":authority a", ":path a"),
        FIELDS(":method GET", ":scheme http", ":authority a", ":path *"),
        FIELDS(":method GET", ":scheme http", ":authority a", ":path /#f"),
        FIELDS(":method GET", ":scheme http", ":authority a", ":path /a b"),
        FIELDS(":method CONNECT", ":scheme http", ":authority a:1", ":path /"),
        FIELDS(":method CONNECT", ":authority a"),
        FIELDS(":method GET", ":protocol websocket", ":scheme http", ":authority a", ":path /"),
        FIELDS(":method CONNECT", ":protocol websocket", ":scheme http", ":path /"),
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct taken t;
        struct http_request r;
        unsigned status = 0;
        err e = request(&t, false, &r, &status, cases[i]);
        if (e != ERR_SYNTAX || status != 400)
            fail_msg("case %zu: %s, %u", i, err_text(e), status);
        arena_close(&t.arena);
    }
}

static void what_others_mean(void **unused)
{
    (void)unused;
    struct taken t;
    struct http_request r;
    unsigned status = 0;
    assert_int_equal(request(&t, true, &r, &status, FIELDS(":method CONNECT", ":authority a:443")), OK);
    assert_bytes_equal(r.authority, BYTES("a:443"));
    arena_close(&t.arena);
    assert_int_equal(
        request(&t, true, &r, &status, FIELDS(":method GET", ":scheme http", "host b", ":path /")),
        ERR_SYNTAX);
    arena_close(&t.arena);
    assert_int_equal(
        request(&t, true, &r, &status, FIELDS(":method GET", ":scheme http", ":path /", "host b")), OK);
    assert_bytes_equal(r.authority, BYTES("b"));
    arena_close(&t.arena);
    assert_int_equal(
        request(&t, true, &r, &status, FIELDS(":method OPTIONS", ":scheme http", ":authority a", ":path *")),
        OK);
    arena_close(&t.arena);
    assert_int_equal(request(&t, false, &r, &status, FIELDS(GET, "expect 100-continue")), OK);
    assert_true(r.expect_continue);
    arena_close(&t.arena);
    assert_int_equal(request(&t, false, &r, &status, FIELDS(GET, "expect more")), ERR_UNSUPPORTED);
    assert_int_equal(status, 417);
    arena_close(&t.arena);
    status = 0;
    assert_int_equal(request(&t, false, &r, &status, FIELDS(GET, "expect 100-continue", "a b", "expect 3")),
                     ERR_UNSUPPORTED);
    assert_int_equal(status, 417);
    arena_close(&t.arena);
}

static void an_extended_connect_is_an_upgrade(void **unused)
{
    (void)unused;
    struct taken t;
    struct http_request r;
    unsigned status = 0;
    err e = request(
        &t, false, &r, &status,
        FIELDS(":method CONNECT", ":protocol websocket", ":scheme https", ":authority a", ":path /chat"));
    assert_int_equal(e, OK);
    assert_int_equal(r.method, HTTP_GET);
    assert_int_equal(r.framing, HTTP_BODY_NONE);
    assert_true(r.upgrade);
    assert_bytes_equal(http_field_value(http_fields_get(&r.fields, FIELD_UPGRADE)), BYTES("websocket"));
    arena_close(&t.arena);
    e = request(&t, false, &r, &status,
                FIELDS(":method CONNECT", ":protocol masque", ":scheme https", ":authority a", ":path /"));
    assert_int_equal(e, ERR_UNSUPPORTED);
    assert_int_equal(status, 501);
    arena_close(&t.arena);
}

static void bounds_hold(void **unused)
{
    (void)unused;
    struct taken t;
    struct http_request r;
    unsigned status = 0;
    open_head(&t, HTTP2_REQUEST, 3, 4096);
    add_all(&t, FIELDS(GET, "a 1", "b 2", "c 3", "d 4"));
    assert_int_equal(http2_head_request(&t.head, true, &r, &status), ERR_LIMIT);
    assert_int_equal(status, 431);
    arena_close(&t.arena);
    open_head(&t, HTTP2_REQUEST, 30, 7 + 3 + 7 + 4 + 5 + 2 + 10 + 1 + 4 * 32);
    add_all(&t, FIELDS(":method GET", ":scheme http", ":path /b", ":authority a"));
    assert_int_equal(http2_head_request(&t.head, true, &r, &status), OK);
    assert_int_equal(http2_head_add(&t.head, BYTES("a"), BYTES("1")), ERR_LIMIT);
    uint64_t before = t.head.bytes;
    assert_int_equal(http2_head_add(&t.head, BYTES("a"), BYTES("1")), ERR_LIMIT);
    assert_int_equal(t.head.bytes, before + 34);
    arena_close(&t.arena);
}

static void responses_and_trailers(void **unused)
{
    (void)unused;
    struct taken t;
    struct http_response r;
    open_head(&t, HTTP2_RESPONSE, 10, 4096);
    add_all(&t, FIELDS(":status 200", "content-length 5", "x 1"));
    assert_int_equal(http2_head_response(&t.head, false, HTTP_GET, &r), OK);
    assert_int_equal(r.framing, HTTP_BODY_LENGTH);
    assert_int_equal(http2_head_response(&t.head, true, HTTP_HEAD, &r), OK);
    assert_int_equal(r.framing, HTTP_BODY_NONE);
    assert_int_equal(http2_head_response(&t.head, true, HTTP_GET, &r), ERR_SYNTAX);
    arena_close(&t.arena);
    const char *const *const wrong[] = { FIELDS("x 1"),
                                         FIELDS(":status 20"),
                                         FIELDS(":status 099"),
                                         FIELDS(":status 101"),
                                         FIELDS(":status 200", "connection x"),
                                         FIELDS(":status 200", ":status 200"),
                                         FIELDS(":path /") };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        open_head(&t, HTTP2_RESPONSE, 10, 4096);
        add_all(&t, wrong[i]);
        assert_int_equal(http2_head_response(&t.head, true, HTTP_GET, &r), ERR_SYNTAX);
        arena_close(&t.arena);
    }
    open_head(&t, HTTP2_TRAILERS, 10, 4096);
    add_all(&t, FIELDS("x-sum 1", "host evil", "content-length 3"));
    assert_int_equal(http2_head_trailers(&t.head), OK);
    assert_int_equal(t.fields.at[0].flags, 0);
    assert_int_equal(t.fields.at[1].flags & t.fields.at[2].flags, FIELD_REMOVED);
    assert_int_equal(http2_head_add(&t.head, BYTES(":path"), BYTES("/")), ERR_SYNTAX);
    arena_close(&t.arena);
}

static void names_go_out_in_lower_case(void **unused)
{
    (void)unused;
    struct arena a;
    arena_open(&a, &arena_heap, 4096, NULL, 0);
    struct http_fields f = { 0 };
    assert_int_equal(http_fields_add(&f, &a, BYTES("Content-Type"), BYTES("x")), OK);
    assert_int_equal(http_fields_add(&f, &a, BYTES("X-Made-By"), BYTES("x")), OK);
    assert_int_equal(http_fields_add(&f, &a, BYTES("x-plain"), BYTES("x")), OK);
    assert_bytes_equal(http2_field_name(&f.at[0], &a), BYTES("content-type"));
    assert_bytes_equal(http2_field_name(&f.at[1], &a), BYTES("x-made-by"));
    assert_ptr_equal(http2_field_name(&f.at[2], &a).ptr, f.at[2].name);
    arena_close(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_what_http1_has),
        cmocka_unit_test(framing_is_what_was_said),
        cmocka_unit_test(malformed_ones_are_refused),
        cmocka_unit_test(what_others_mean),
        cmocka_unit_test(an_extended_connect_is_an_upgrade),
        cmocka_unit_test(bounds_hold),
        cmocka_unit_test(responses_and_trailers),
        cmocka_unit_test(names_go_out_in_lower_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
