#include "proto/http1.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define FIELDS_MAX 32

static const struct http1_limits limits = { 8192, 65536, FIELDS_MAX };
static struct http_field at[FIELDS_MAX];
static char out[4096];
static struct arena arena;

static int open_arena(void **state)
{
    (void)state;
    arena_open(&arena, &arena_heap, 1 << 20, NULL, 0);
    return 0;
}

static int close_arena(void **state)
{
    (void)state;
    arena_close(&arena);
    return 0;
}

static struct http_request request_of(const char *text)
{
    struct http_request r = { .fields = { at, 0, FIELDS_MAX } };
    size_t used;
    unsigned status;
    assert_int_equal(http1_parse_request(bytes_from(text), 0, &limits, &r, &used, &status), OK);
    return r;
}

static struct http_response response_of(const char *text, enum http_method method)
{
    struct http_response r = { .fields = { at, 0, FIELDS_MAX } };
    size_t used;
    assert_int_equal(http1_parse_response(bytes_from(text), 0, &limits, method, &r, &used), OK);
    return r;
}

static void check_request(const struct http_request *r, enum http1_connection connection, const char *want)
{
    memset(out, '~', sizeof out);
    char *end = http1_put_request(out, r, r->target, BYTES("up"), connection);
    assert_true((size_t)(end - out) <= http1_request_size(r));
    assert_int_equal(*end, '~');
    *end = 0;
    assert_string_equal(out, want);
}

static void check_response(const struct http_response *r, bool head, enum http1_connection connection,
                           const char *want)
{
    memset(out, '~', sizeof out);
    char *end = http1_put_response(out, r, head, connection);
    assert_true((size_t)(end - out) <= http1_response_size(r));
    assert_int_equal(*end, '~');
    *end = 0;
    assert_string_equal(out, want);
}

static void test_runs_are_cut_where_fields_are_skipped(void **state)
{
    (void)state;
    struct http_request r =
        request_of("GET /x?y HTTP/1.1\r\nA: 1\r\nHost: a\r\nB: 2\r\nC: 3\r\nConnection: x-d\r\n"
                   "X-D: 4\r\nE:5\r\nF:  6 \r\nG: \r\nH: 8\r\nKeep-Alive: 1\r\nI: 9\r\n\r\n");
    check_request(&r, HTTP1_CONNECTION_DEFAULT,
                  "GET /x?y HTTP/1.1\r\nHost: up\r\nA: 1\r\nB: 2\r\nC: 3\r\nE: 5\r\nF: 6\r\nG: \r\nH: "
                  "8\r\nI: 9\r\n\r\n");
}

static void test_changed_fields(void **state)
{
    (void)state;
    struct http_request r = request_of("GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\n");
    assert_int_equal(http_fields_remove(&r.fields, BYTES("b")), 1);
    assert_int_equal(http_fields_set(&r.fields, &arena, BYTES("C"), BYTES("new")), OK);
    assert_int_equal(http_fields_add(&r.fields, &arena, BYTES("Via"), BYTES("1.1 weir")), OK);
    r.fields.at[1].value = "changed in place";
    r.fields.at[1].value_len = 16;
    check_request(&r, HTTP1_CONNECTION_CLOSE,
                  "GET / HTTP/1.1\r\nHost: up\r\nA: changed in place\r\nD: 4\r\nC: new\r\nVia: 1.1 weir\r\n"
                  "Connection: close\r\n\r\n");
}

/* Two bytes apart in memory, but what lies between them is no line end. */
static void test_neighbours_in_memory_are_no_run(void **state)
{
    (void)state;
    static const char memory[] = "A: 1xxB: 2\0\0C;;3";
    struct http_request r = { .method_text = BYTES("GET"),
                              .target = BYTES("/"),
                              .fields = { at, 3, FIELDS_MAX } };
    at[0] = (struct http_field){ .name = memory, .value = memory + 3, .name_len = 1, .value_len = 1 };
    at[1] = (struct http_field){ .name = memory + 6, .value = memory + 9, .name_len = 1, .value_len = 1 };
    at[2] = (struct http_field){ .name = memory + 12, .value = memory + 15, .name_len = 1, .value_len = 1 };
    check_request(&r, HTTP1_CONNECTION_DEFAULT, "GET / HTTP/1.1\r\nHost: up\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n");
}

static void test_request_framing(void **state)
{
    (void)state;
    struct http_request r = request_of("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0012\r\n\r\n");
    check_request(&r, HTTP1_CONNECTION_DEFAULT, "POST / HTTP/1.1\r\nHost: up\r\nContent-Length: 12\r\n\r\n");
    r = request_of("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n");
    check_request(&r, HTTP1_CONNECTION_DEFAULT,
                  "POST / HTTP/1.1\r\nHost: up\r\nTransfer-Encoding: chunked\r\n\r\n");
    r = request_of("POST / HTTP/1.0\r\n\r\n");
    check_request(&r, HTTP1_CONNECTION_KEEP_ALIVE,
                  "POST / HTTP/1.1\r\nHost: up\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n");
    r = request_of("DELETE / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    check_request(&r, HTTP1_CONNECTION_DEFAULT, "DELETE / HTTP/1.1\r\nHost: up\r\n\r\n");
}

static void test_upgrade_is_passed_on_when_asked(void **state)
{
    (void)state;
    struct http_request r = request_of(
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\nTE: trailers\r\n\r\n");
    check_request(&r, HTTP1_CONNECTION_UPGRADE,
                  "GET / HTTP/1.1\r\nHost: up\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n");
    check_request(&r, HTTP1_CONNECTION_DEFAULT, "GET / HTTP/1.1\r\nHost: up\r\n\r\n");
    assert_int_equal(http_fields_remove_id(&r.fields, FIELD_UPGRADE), 1);
    check_request(&r, HTTP1_CONNECTION_UPGRADE, "GET / HTTP/1.1\r\nHost: up\r\nConnection: upgrade\r\n\r\n");
}

static void test_responses(void **state)
{
    (void)state;
    struct http_response r =
        response_of("HTTP/1.0 200 Fine\r\nServer: x\r\nContent-Length: 5\r\n\r\n", HTTP_GET);
    check_response(&r, false, HTTP1_CONNECTION_DEFAULT,
                   "HTTP/1.1 200 Fine\r\nServer: x\r\nContent-Length: 5\r\n\r\n");
    r = response_of("HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\nHost: h\r\n\r\n", HTTP_GET);
    check_response(&r, false, HTTP1_CONNECTION_CLOSE,
                   "HTTP/1.1 200 \r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
    r = response_of("HTTP/1.1 200 OK\r\nX: y\r\n\r\n", HTTP_GET);
    check_response(&r, false, HTTP1_CONNECTION_CLOSE, "HTTP/1.1 200 OK\r\nX: y\r\nConnection: close\r\n\r\n");
    r = response_of("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", HTTP_GET);
    check_response(&r, false, HTTP1_CONNECTION_KEEP_ALIVE,
                   "HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n");
}

static void test_responses_without_body(void **state)
{
    (void)state;
    struct http_response r = response_of("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", HTTP_HEAD);
    check_response(&r, true, HTTP1_CONNECTION_DEFAULT, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    r = response_of("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", HTTP_HEAD);
    check_response(&r, true, HTTP1_CONNECTION_DEFAULT, "HTTP/1.1 200 OK\r\n\r\n");
    r = response_of("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", HTTP_GET);
    check_response(&r, false, HTTP1_CONNECTION_DEFAULT,
                   "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n");
    r = response_of("HTTP/1.1 304 Not Modified\r\n\r\n", HTTP_GET);
    check_response(&r, false, HTTP1_CONNECTION_DEFAULT, "HTTP/1.1 304 Not Modified\r\n\r\n");
    r = response_of("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", HTTP_GET);
    check_response(&r, false, HTTP1_CONNECTION_DEFAULT, "HTTP/1.1 204 No Content\r\n\r\n");
    r = response_of("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", HTTP_GET);
    check_response(&r, false, HTTP1_CONNECTION_DEFAULT, "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n");
    r = response_of("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", HTTP_GET);
    check_response(&r, false, HTTP1_CONNECTION_UPGRADE,
                   "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n");
}

static void test_chunk_heads(void **state)
{
    (void)state;
    static const struct {
        uint64_t size;
        const char *text;
    } cases[] = { { 1, "1\r\n" },         { 15, "f\r\n" },
                  { 16, "10\r\n" },       { 255, "ff\r\n" },
                  { 256, "100\r\n" },     { 8000, "1f40\r\n" },
                  { 65536, "10000\r\n" }, { UINT64_MAX, "ffffffffffffffff\r\n" } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[HTTP1_CHUNK_HEAD_BYTES_MAX];
        size_t len = http1_chunk_head(cases[i].size, text);
        assert_true(bytes_eq((struct bytes){ text, len }, bytes_from(cases[i].text)));
    }
}

static void test_trailers_meet_the_arena_cap(void **state)
{
    (void)state;
    struct arena small;
    char first[256 + 64];
    arena_open(&small, &arena_heap, 0, first, sizeof first);
    struct http1_trailers trailers = { .arena = &small };
    struct http1_chunked d = HTTP1_CHUNKED_START;
    struct bytes data;
    size_t used;
    assert_int_equal(http1_chunked_decode(&d, BYTES("0\r\n"), &limits, &trailers, &data, &used), OK);
    err e = OK;
    for (unsigned i = 0; i < 100 && !e; i++)
        e = http1_chunked_decode(&d, BYTES("X-Trailer: value\r\n"), &limits, &trailers, &data, &used);
    assert_int_equal(e, ERR_LIMIT);
    assert_true(trailers.len <= trailers.size && trailers.size == 256);
    struct http_fields fields;
    struct bytes text = { trailers.text, trailers.len };
    assert_int_equal(http1_parse_trailers(text, &small, &fields), ERR_LIMIT);
    arena_close(&small);

    struct http1_chunked dropping = HTTP1_CHUNKED_START;
    assert_int_equal(http1_chunked_decode(&dropping, BYTES("0\r\nX: y\r\n\r\n"), &limits, NULL, &data, &used),
                     OK);
    assert_true(dropping.done && used == 11);
}

static void test_bad_trailers(void **state)
{
    (void)state;
    struct http_fields fields;
    assert_int_equal(http1_parse_trailers(BYTES(""), &arena, &fields), OK);
    assert_int_equal(fields.count, 0);
    assert_int_equal(http1_parse_trailers(BYTES("a: b"), &arena, &fields), ERR_SYNTAX);
    assert_int_equal(http1_parse_trailers(BYTES("a: b\n"), &arena, &fields), ERR_SYNTAX);
    assert_int_equal(http1_parse_trailers(BYTES("\n"), &arena, &fields), ERR_SYNTAX);
    assert_int_equal(http1_parse_trailers(BYTES("a\r\n"), &arena, &fields), ERR_SYNTAX);
    assert_int_equal(http1_parse_trailers(BYTES("a : b\r\n"), &arena, &fields), ERR_SYNTAX);
    assert_int_equal(http1_parse_trailers(BYTES("a: \x01\r\n"), &arena, &fields), ERR_SYNTAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs_are_cut_where_fields_are_skipped),
        cmocka_unit_test(test_changed_fields),
        cmocka_unit_test(test_neighbours_in_memory_are_no_run),
        cmocka_unit_test(test_request_framing),
        cmocka_unit_test(test_upgrade_is_passed_on_when_asked),
        cmocka_unit_test(test_responses),
        cmocka_unit_test(test_responses_without_body),
        cmocka_unit_test(test_chunk_heads),
        cmocka_unit_test(test_trailers_meet_the_arena_cap),
        cmocka_unit_test(test_bad_trailers),
    };
    return cmocka_run_group_tests(tests, open_arena, close_arena);
}
