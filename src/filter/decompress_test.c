#define exchange_on_end fake_exchange_on_end
#include "filter/fakes_test.h"
/* first the fakes */
err fake_exchange_on_end(struct exchange *x, void (*run)(struct exchange *x, void *arg), void *arg)
{
    struct exchange_hook *h = arena_get(&x->arena, sizeof *h);
    *h = (struct exchange_hook){ .next = x->hooks, .run = run, .arg = arg };
    x->hooks = h;
    return OK;
}

#include "filter/decompress.c"

#include "base/test.h"

/* printf hello | gzip -n, with the checksum at its end */
static const char hello_gzip[] = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xcb\x48\xcd\xc9\xc9\x07\x00"
                                 "\x86\xa6\x10\x36\x05\x00\x00\x00";
#define HELLO ((struct bytes){ hello_gzip, sizeof hello_gzip - 1 })

static struct exchange x;
static struct decompress *filter;
static struct decompress_conf conf;
static struct body_memory coded;
static const char *coding;
static struct bytes content;

static void add(struct exchange *of, struct http_fields *f, const char *name, const char *value)
{
    assert_int_equal(http_fields_add(f, &of->arena, bytes_from(name), bytes_from(value)), OK);
}

static void on_chain(struct exchange *of)
{
    of->response.status = 200;
    add(of, &of->response.fields, "Content-Encoding", coding);
    of->response_body = body_memory_init(&coded, content);
}

static int begin(void **state)
{
    (void)state;
    metrics_init(1);
    conf = (struct decompress_conf){ .requests = true,
                                     .answers = true,
                                     .bytes_max = 1 << 20,
                                     .answer_bytes_max = 1 << 20,
                                     .ratio_max = 100,
                                     .memory_bytes_max = 64 << 20 };
    void *s = NULL;
    assert_int_equal(decompress_filter.open(&conf, NULL, BYTES("/"), &s, NULL), OK);
    filter = s;
    fake.on_chain = NULL;
    fake.chained = 0;
    content = HELLO;
    coding = "gzip";
    fake_exchange_open(&x);
    return 0;
}

static int end(void **state)
{
    (void)state;
    decompress_filter.close(filter);
    metrics_close();
    return 0;
}

static void request(const char *field, struct bytes body)
{
    x.request.framing = HTTP_BODY_LENGTH;
    x.request.content_length = body.len;
    x.request_body = body_memory_init(&coded, body);
    add(&x, &x.request.fields, "Content-Encoding", field);
    assert_int_equal(decompress_filter.handle(&x, filter, NULL), OK);
}

static void finish(void)
{
    body_close(x.response_body);
    body_close(x.request_body);
    fake_exchange_close(&x);
}

#if WEIR_HAVE_ZLIB
static struct bytes read_all(struct body *b, err *ret_e)
{
    static char out[100];
    size_t len = 0;
    struct bytes data;
    while (!(*ret_e = body_pull(b, 0, &data)) && data.len) {
        memcpy(out + len, data.ptr, 1);
        len++;
        body_give(b, 1);
    }
    return (struct bytes){ out, len };
}

static void a_request_reaches_the_server_decoded(void **unused)
{
    (void)unused;
    err e;
    request("x-gzip", HELLO);
    assert_bytes_equal(read_all(x.request_body, &e), BYTES("hello"));
    assert_int_equal(e, OK);
    assert_int_equal(x.request.framing, HTTP_BODY_CHUNKED);
    assert_null(http_fields_get(&x.request.fields, FIELD_CONTENT_ENCODING));
    finish();
    assert_int_equal(metric_value(filter->metrics, METRIC_REQUESTS), 1);
    assert_int_equal(metric_value(filter->metrics, METRIC_BROKEN), 0);
}

static void a_broken_request_is_the_clients_fault(void **unused)
{
    (void)unused;
    err e;
    request("gzip", (struct bytes){ hello_gzip, sizeof hello_gzip - 3 });
    assert_bytes_equal(read_all(x.request_body, &e), BYTES("hello"));
    assert_int_equal(e, ERR_SYNTAX);
    assert_int_equal(x.request_failed, ERR_SYNTAX);
    finish();
    assert_int_equal(metric_value(filter->metrics, METRIC_BROKEN), 1);
}

static void a_request_may_be_too_long(void **unused)
{
    (void)unused;
    err e;
    conf.bytes_max = 4;
    request("gzip", HELLO);
    read_all(x.request_body, &e);
    assert_int_equal(e, ERR_LIMIT);
    assert_int_equal(x.request_failed, ERR_LIMIT);
    finish();
    assert_int_equal(metric_value(filter->metrics, METRIC_TOO_LARGE), 1);
}

static void an_answer_is_decoded_for_whom_it_must(void **unused)
{
    (void)unused;
    static const struct {
        const char *accept;
        bool decoded;
    } cases[] = { { NULL, true },       { "gzip", false },    { "br", true }, { "gzip;q=0, *", true },
                  { "*;q=0.1", false }, { "identity", true }, { "", true },   { "br, x-gzip", false } };
    fake.on_chain = on_chain;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        err e;
        if (cases[i].accept)
            add(&x, &x.request.fields, "Accept-Encoding", cases[i].accept);
        assert_int_equal(decompress_filter.handle(&x, filter, NULL), OK);
        struct bytes got = read_all(x.response_body, &e);
        assert_int_equal(e, OK);
        assert_int_equal(got.len, cases[i].decoded ? 5 : HELLO.len);
        assert_true(!http_fields_get(&x.response.fields, FIELD_CONTENT_ENCODING) == cases[i].decoded);
        finish();
        fake_exchange_open(&x);
    }
    finish();
}
#endif

static void what_is_not_known_is_left(void **unused)
{
    (void)unused;
    static const char *const codings[] = { "gzip, br", "compress", "identity", "aws-chunked" };
    fake.on_chain = on_chain;
    for (unsigned i = 0; i < sizeof codings / sizeof *codings; i++) {
        coding = codings[i];
        request(coding, HELLO);
        assert_int_equal(x.request.framing, HTTP_BODY_LENGTH);
        assert_non_null(http_fields_get(&x.request.fields, FIELD_CONTENT_ENCODING));
        assert_non_null(http_fields_get(&x.response.fields, FIELD_CONTENT_ENCODING));
        finish();
        fake_exchange_open(&x);
    }
    finish();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
#if WEIR_HAVE_ZLIB
        TEST(a_request_reaches_the_server_decoded),
        TEST(a_broken_request_is_the_clients_fault),
        TEST(a_request_may_be_too_long),
        TEST(an_answer_is_decoded_for_whom_it_must),
#endif
        TEST(what_is_not_known_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
