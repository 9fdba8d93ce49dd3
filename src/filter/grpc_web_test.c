#include "filter/fakes_test.h"
/* first the fakes */
#define gate_answer_failure fake_answer_failure
void fake_answer_failure(struct exchange *of, err e);
#include "filter/grpc_web.c"

#include "base/test.h"

static struct exchange x;
static struct body_memory response;
static struct http_field trailer_fields[2];
static struct http_fields trailers = { .at = trailer_fields };

void fake_answer_failure(struct exchange *of, err e)
{
    of->failed = e;
    fake_exchange_answer(of, 503, BYTES_NONE, BYTES_NONE, BYTES("gate"));
}

/* A body that comes in pieces of so many bytes. */
struct pieces {
    struct body body;
    struct bytes left;
    size_t piece;
};

static err pieces_pull(struct body *b, uint64_t deadline_us, struct bytes *ret_bytes)
{
    (void)deadline_us;
    const struct pieces *p = container_of(b, struct pieces, body);
    *ret_bytes = (struct bytes){ p->left.ptr, p->left.len < p->piece ? p->left.len : p->piece };
    return OK;
}

static void pieces_give(struct body *b, size_t n)
{
    struct pieces *p = container_of(b, struct pieces, body);
    p->left = bytes_skip(p->left, n);
}

static const struct body_ops pieces_ops = { .pull = pieces_pull, .give = pieces_give };

static err read_all(struct body *b, char *out, size_t *ret_len)
{
    *ret_len = 0;
    for (;;) {
        struct bytes got;
        err e = body_pull(b, 0, &got);
        if (e || !got.len)
            return e;
        const size_t n = got.len > 1 ? got.len / 2 : 1; /* not all that is lent is taken */
        memcpy(out + *ret_len, got.ptr, n);
        *ret_len += n;
        body_give(b, n);
    }
}

static struct bytes field(const struct http_fields *f, const char *name)
{
    const struct http_field *found = http_fields_find(f, bytes_from(name));
    return found ? http_field_value(found) : BYTES_NONE;
}

static void add(struct http_fields *f, const char *name, const char *value)
{
    assert_int_equal(http_fields_add(f, &x.arena, bytes_from(name), bytes_from(value)), OK);
}

static char seen[1 << 16];
static size_t seen_len;

static void serve(struct exchange *of)
{
    assert_true(of->grpc);
    assert_int_equal(read_all(of->request_body, seen, &seen_len), OK);
    of->response.status = 200;
    add(&of->response.fields, "content-type", "application/grpc+proto");
    of->response_body = body_memory_init(&response, BYTES("\0\0\0\0\2ok"));
    of->response_body->trailers = &trailers;
}

static void ask(const char *type, struct bytes body, size_t piece)
{
    static struct pieces p;
    fake_exchange_open(&x);
    x.request.method = HTTP_POST;
    add(&x.request.fields, "Content-Type", type);
    add(&x.request.fields, "X-Grpc-Web", "1");
    p = (struct pieces){ { .ops = &pieces_ops, .length = body.len }, body, piece };
    x.request_body = &p.body;
    x.request.framing = HTTP_BODY_LENGTH;
    assert_int_equal(grpc_web_filter.handle(&x, NULL, NULL), OK);
}

static void said(struct bytes type, struct bytes body)
{
    char out[1000];
    size_t len = 0;
    assert_bytes_equal(field(&x.response.fields, "content-type"), type);
    if (x.response_body)
        assert_int_equal(read_all(x.response_body, out, &len), OK);
    assert_bytes_equal(((struct bytes){ out, len }), body);
    body_close(x.response_body);
    fake_exchange_close(&x);
}

static int begin(void **state)
{
    (void)state;
    fake.on_chain = serve;
    fake.chain_result = OK;
    trailers.count = 2;
    trailer_fields[0] =
        (struct http_field){ .name = "Grpc-Status", .name_len = 11, .value = "0", .value_len = 1 };
    trailer_fields[1] = (struct http_field){ .name = "x", .name_len = 1, .value = "yz", .value_len = 2 };
    return 0;
}

#define TRAILERS "\x80\0\0\0\x17grpc-status: 0\r\nx: yz\r\n"

static void binary(void **state)
{
    (void)state;
    ask("application/grpc-web+proto", BYTES("\0\0\0\0\3abc"), 3);
    assert_bytes_equal(((struct bytes){ seen, seen_len }), BYTES("\0\0\0\0\3abc"));
    assert_bytes_equal(field(&x.request.fields, "content-type"), BYTES("application/grpc+proto"));
    assert_bytes_equal(field(&x.request.fields, "te"), BYTES("trailers"));
    assert_int_equal(field(&x.request.fields, "x-grpc-web").len, 0);
    said(BYTES("application/grpc-web+proto"), BYTES("\0\0\0\0\2ok" TRAILERS));
}

/* "AAAAAANhYmM=" is one message; and twice, padded in the middle. */
static void text_in_any_pieces(void **state)
{
    (void)state;
    for (size_t piece = 1; piece < 30; piece++) {
        ask("application/grpc-web-text", BYTES("AAAAAANhYmM=AAAAAANhYmM="), piece);
        assert_bytes_equal(((struct bytes){ seen, seen_len }), BYTES("\0\0\0\0\3abc\0\0\0\0\3abc"));
        assert_int_equal(x.request.framing, HTTP_BODY_CHUNKED);
        char text[100];
        char expected[100];
        size_t len = base64_encode(BYTES("\0\0\0\0\2ok"), expected);
        len += base64_encode(BYTES(TRAILERS), expected + len);
        memcpy(text, expected, len);
        said(BYTES("application/grpc-web-text+proto"), (struct bytes){ text, len });
    }
}

static void long_texts(void **state)
{
    (void)state;
    static char plain[30000];
    static char text[40004];
    for (size_t i = 0; i < sizeof plain; i++)
        plain[i] = (char)(i * 7 + i / 251);
    const size_t len = base64_encode((struct bytes){ plain, sizeof plain }, text);
    for (size_t piece = 5000; piece < 50000; piece += 17777) {
        ask("application/grpc-web-text", (struct bytes){ text, len }, piece);
        assert_bytes_equal(((struct bytes){ seen, seen_len }), ((struct bytes){ plain, sizeof plain }));
        body_close(x.response_body);
        fake_exchange_close(&x);
    }
}

static void read_fails(struct exchange *of)
{
    assert_int_equal(read_all(of->request_body, seen, &seen_len), ERR_SYNTAX);
    assert_int_equal(of->request_failed, ERR_SYNTAX);
    fake_exchange_answer(of, 400, BYTES_NONE, BYTES_NONE, BYTES("gate"));
}

static void what_is_no_base64(void **state)
{
    (void)state;
    static const char *const bad[] = { "AAA", "AAAAA", "A=AA", "AAA!", "AAAA\r\n" };
    fake.on_chain = read_fails;
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        ask("application/grpc-web-text", bytes_from(bad[i]), 3);
        assert_bytes_equal(field(&x.response.fields, "grpc-status"), BYTES("13"));
        said(BYTES("application/grpc-web-text"), BYTES(""));
    }
}

static void refusals_are_read_by_grpc_clients(void **state)
{
    (void)state;
    fake.on_chain = NULL;
    fake.chain_result = ERR_UNAVAILABLE;
    ask("application/grpc-web", BYTES(""), 1);
    assert_int_equal(x.response.status, 200);
    assert_bytes_equal(field(&x.response.fields, "grpc-status"), BYTES("14"));
    assert_bytes_equal(field(&x.response.fields, "grpc-message"), BYTES("no server can take it"));
    said(BYTES("application/grpc-web"), BYTES(""));
}

static void say_html(struct exchange *of)
{
    of->response.status = 502;
    add(&of->response.fields, "content-type", "text/html");
}

static void others_are_left_alone(void **state)
{
    (void)state;
    fake.on_chain = say_html;
    ask("application/grpc-web", BYTES(""), 1);
    said(BYTES("text/html"), BYTES(""));
    fake_exchange_open(&x);
    x.request.method = HTTP_POST;
    add(&x.request.fields, "Content-Type", "application/json");
    assert_int_equal(grpc_web_filter.handle(&x, NULL, NULL), OK);
    assert_bytes_equal(field(&x.request.fields, "content-type"), BYTES("application/json"));
    assert_false(x.grpc);
    fake_exchange_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(binary, begin),
        cmocka_unit_test_setup(text_in_any_pieces, begin),
        cmocka_unit_test_setup(long_texts, begin),
        cmocka_unit_test_setup(what_is_no_base64, begin),
        cmocka_unit_test_setup(refusals_are_read_by_grpc_clients, begin),
        cmocka_unit_test_setup(others_are_left_alone, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
