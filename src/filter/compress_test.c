#include "filter/fakes_test.h"
/* first the fakes */
#include "filter/compress.c"

#include "base/test.h"

static struct exchange x;
static struct compress_conf conf;
static struct body_memory content;
static char text[4000];

static struct {
    const char *type, *field, *value;
    unsigned status;
    size_t length;
    enum http_method method;
} answer;

static void add(struct exchange *of, struct http_fields *f, const char *name, const char *value)
{
    assert_int_equal(http_fields_add(f, &of->arena, bytes_from(name), bytes_from(value)), OK);
}

static void on_chain(struct exchange *of)
{
    of->response.status = answer.status;
    if (answer.type)
        add(of, &of->response.fields, "Content-Type", answer.type);
    if (answer.field)
        add(of, &of->response.fields, answer.field, answer.value);
    of->response_body = body_memory_init(&content, (struct bytes){ text, answer.length });
}

static int begin(void **state)
{
    (void)state;
    metrics_init(1);
    memset(text, 'a', sizeof text);
    conf = (struct compress_conf){ .min_bytes = 1000, .window_bytes = 1 << 18, .memory_bytes_max = 64 << 20 };
    answer.type = "text/html; charset=utf-8";
    answer.field = NULL;
    answer.status = 200;
    answer.length = sizeof text;
    answer.method = HTTP_GET;
    fake.on_chain = on_chain;
    return 0;
}

static int end(void **state)
{
    (void)state;
    metrics_close();
    return 0;
}

static struct bytes field(const char *name)
{
    const struct http_field *f = http_fields_find(&x.response.fields, bytes_from(name));
    return f ? http_field_value(f) : BYTES_NONE;
}

static struct bytes coding_for(const char *accept)
{
    static char coding[20];
    void *state = NULL;
    assert_int_equal(compress_filter.open(&conf, NULL, BYTES("/"), &state, NULL), OK);
    fake_exchange_open(&x);
    x.request.method = answer.method;
    if (accept)
        add(&x, &x.request.fields, "Accept-Encoding", accept);
    assert_int_equal(compress_filter.handle(&x, state, NULL), OK);
    struct bytes value = field("Content-Encoding");
    memcpy(coding, value.len ? value.ptr : "", value.len);
    body_close(x.response_body);
    fake_exchange_close(&x);
    compress_filter.close(state);
    assert_int_equal(coder_memory_used(false), 0);
    return (struct bytes){ coding, value.len };
}

#define assert_coded() assert_int_not_equal(coding_for("gzip, br, zstd").len, 0)
#define assert_left() assert_int_equal(coding_for("gzip, br, zstd").len, 0)

static void types_are_matched(void **unused)
{
    (void)unused;
    assert_true(type_fits(BYTES("text/*"), BYTES("TEXT/html")));
    assert_false(type_fits(BYTES("text/*"), BYTES("context/html")));
    assert_true(type_fits(BYTES("*+json"), BYTES("application/problem+JSON")));
    assert_false(type_fits(BYTES("*+json"), BYTES("+jso")));
    assert_true(type_fits(BYTES("application/json"), BYTES("Application/Json")));
    assert_false(type_fits(BYTES("application/json"), BYTES("application/jsonp")));
    assert_false(type_fits(BYTES("text/*"), BYTES("tex")));
}

static void what_gains_is_compressed(void **unused)
{
    (void)unused;
    assert_coded();
    assert_int_equal(coding_for(NULL).len, 0);
    assert_int_equal(coding_for("identity").len, 0);
    answer.type = "image/png";
    assert_left();
    answer.type = NULL;
    assert_left();
    answer.type = "image/svg+xml";
    assert_coded();
    answer.length = 999;
    assert_left();
    answer.length = 1000;
    assert_coded();
}

static void what_must_stay_as_it_is_does(void **unused)
{
    (void)unused;
    static const unsigned statuses[] = { 204, 206, 304 };
    for (unsigned i = 0; i < 3; i++) {
        answer.status = statuses[i];
        assert_left();
    }
    answer.status = 404;
    assert_coded();
    answer.field = "Content-Encoding";
    answer.value = "gzip";
    assert_bytes_equal(coding_for("br"), BYTES("gzip"));
    answer.field = "Cache-Control";
    answer.value = "private, no-transform";
    assert_left();
    answer.value = "private";
    assert_coded();
    answer.method = HTTP_HEAD;
    assert_left();
}

static void the_head_says_what_was_done(void **unused)
{
    (void)unused;
    void *state = NULL;
    answer.field = "ETag";
    answer.value = "\"1\"";
    assert_int_equal(compress_filter.open(&conf, NULL, BYTES("/"), &state, NULL), OK);
    for (unsigned coded = 0; coded < 2; coded++) {
        fake_exchange_open(&x);
        x.response.has_content_length = true;
        if (coded)
            add(&x, &x.request.fields, "Accept-Encoding", "gzip, br, zstd");
        add(&x, &x.response.fields, "Accept-Ranges", "bytes");
        assert_int_equal(compress_filter.handle(&x, state, NULL), OK);
        assert_bytes_equal(field("Vary"), BYTES("Accept-Encoding"));
        assert_bytes_equal(field("ETag"), coded ? BYTES("W/\"1\"") : BYTES("\"1\""));
        assert_int_equal(field("Accept-Ranges").len, coded ? 0 : 5);
        assert_int_equal(x.response.has_content_length, !coded);
        assert_true((x.response_body->length == BODY_LENGTH_UNKNOWN) == coded);
        body_close(x.response_body);
        fake_exchange_close(&x);
    }
    compress_filter.close(state);
}

static void without_memory_it_is_left(void **unused)
{
    (void)unused;
    conf.memory_bytes_max = 1000;
    assert_left();
    conf.memory_bytes_max = 64 << 20;
    assert_coded();
}

static void settings_are_checked(void **unused)
{
    (void)unused;
    struct diag d = { 0 };
    for (int word = 0; word < CODINGS_MAX; word++) {
        if (!coder_has(coding_of_word[word]))
            continue;
        struct coding_conf c = { word, LEVEL_AUTO };
        assert_int_equal(coding_check(&c, &d), OK);
        c.level = 20;
        assert_int_equal(coding_check(&c, &d), ERR_CONF);
    }
    struct coding_conf twice[] = { { WORD_GZIP, LEVEL_AUTO }, { WORD_GZIP, 3 } };
    conf.codings = (struct conf_list){ twice, 2 };
    assert_int_equal(compress_check(&conf, &d), ERR_CONF);
    conf.codings.count = 1;
    assert_int_equal(compress_check(&conf, &d), OK);
    struct bytes type = BYTES("html");
    conf.types = (struct conf_list){ &type, 1 };
    assert_int_equal(compress_check(&conf, &d), ERR_CONF);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(types_are_matched),
        TEST(what_gains_is_compressed),
        TEST(what_must_stay_as_it_is_does),
        TEST(the_head_says_what_was_done),
        TEST(without_memory_it_is_left),
        TEST(settings_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
