#include "filter/fakes_test.h"
/* first the fakes */
#include "filter/buffer.c"

#include "base/test.h"

static struct exchange x;
static struct buffer *filter;
static struct buffer_conf conf;

/* ---- a body that comes in pieces ---- */

struct pieces {
    struct body body;
    struct bytes left;
    size_t piece;
    err failed; /* after all of it */
    bool closed;
};

static err pieces_pull(struct body *b, uint64_t deadline_us, struct bytes *ret_bytes)
{
    (void)deadline_us;
    struct pieces *p = container_of(b, struct pieces, body);
    if (!p->left.len && p->failed) {
        x.request_failed = p->failed;
        return p->failed;
    }
    *ret_bytes = p->left;
    if (ret_bytes->len > p->piece)
        ret_bytes->len = p->piece;
    return OK;
}

static void pieces_give(struct body *b, size_t n)
{
    struct pieces *p = container_of(b, struct pieces, body);
    p->left = bytes_skip(p->left, n);
}

static void pieces_close(struct body *b)
{
    container_of(b, struct pieces, body)->closed = true;
}

static const struct body_ops pieces_ops = { .pull = pieces_pull, .give = pieces_give, .close = pieces_close };

static struct pieces body;

static void request(struct bytes content, size_t piece, bool known)
{
    body = (struct pieces){ .body = { &pieces_ops, known ? content.len : BODY_LENGTH_UNKNOWN, NULL },
                            .left = content,
                            .piece = piece };
    x.request.framing = known ? HTTP_BODY_LENGTH : HTTP_BODY_CHUNKED;
    x.request.content_length = content.len;
    x.request.expect_continue = true;
    x.request_body = &body.body;
}

static int begin(void **state)
{
    (void)state;
    metrics_init(1);
    conf = (struct buffer_conf){ .request_bytes_max = 10,
                                 .response_bytes_max = OFF,
                                 .total_bytes_max = 1 << 20 };
    void *s = NULL;
    assert_int_equal(buffer_filter.open(&conf, NULL, BYTES("/"), &s, NULL), OK);
    filter = s;
    fake.chained = 0;
    fake_exchange_open(&x);
    return 0;
}

static int end(void **state)
{
    (void)state;
    body_close(x.request_body);
    assert_true(body.closed);
    fake_exchange_close(&x);
    buffer_filter.close(filter);
    assert_int_equal(pool.used_bytes, 0);
    metrics_close();
    return 0;
}

static void a_request_goes_on_when_it_is_whole(void **unused)
{
    (void)unused;
    for (size_t piece = 1; piece < 12; piece++) {
        struct bytes got;
        request(BYTES("0123456789"), piece, piece % 2);
        assert_int_equal(buffer_filter.handle(&x, filter, NULL), OK);
        assert_int_equal(fake.chained, piece);
        assert_int_equal(body.left.len, 0);
        assert_int_equal(x.request.framing, HTTP_BODY_LENGTH);
        assert_int_equal(x.request.content_length, 10);
        assert_false(x.request.expect_continue);
        assert_int_equal(body_pull(x.request_body, 0, &got), OK);
        assert_bytes_equal(got, BYTES("0123456789"));
        body_give(x.request_body, 10);
        assert_int_equal(body_pull(x.request_body, 0, &got), OK);
        assert_int_equal(got.len, 0);
        if (piece < 11)
            body_close(x.request_body);
    }
}

static void one_that_is_empty_has_none(void **unused)
{
    (void)unused;
    request(BYTES(""), 1, false);
    assert_int_equal(buffer_filter.handle(&x, filter, NULL), OK);
    assert_int_equal(x.request.framing, HTTP_BODY_NONE);
    assert_int_equal(fake.chained, 1);
}

static void one_that_is_too_long_is_refused(void **unused)
{
    (void)unused;
    for (unsigned known = 0; known < 2; known++) {
        request(BYTES("0123456789a"), 4, known);
        assert_int_equal(buffer_filter.handle(&x, filter, NULL), OK);
        assert_int_equal(x.response.status, 413);
        assert_int_equal(fake.chained, 0);
    }
    assert_int_equal(metric_value(filter->metrics, METRIC_TOO_LARGE), 2);
}

static void one_that_breaks_asks_nobody(void **unused)
{
    (void)unused;
    request(BYTES("0123"), 4, false);
    body.failed = ERR_LIMIT;
    assert_int_equal(buffer_filter.handle(&x, filter, NULL), ERR_LIMIT);
    assert_int_equal(fake.chained, 0);
    assert_int_equal(metric_value(filter->metrics, METRIC_TOO_LARGE), 0);
}

static void without_memory_it_is_refused(void **unused)
{
    (void)unused;
    conf.total_bytes_max = 10;
    request(BYTES("0123"), 4, false);
    assert_int_equal(buffer_filter.handle(&x, filter, NULL), ERR_UNAVAILABLE);
    assert_int_equal(fake.chained, 0);
    assert_int_equal(metric_value(filter->metrics, METRIC_BUSY), 1);
}

static void settings_are_checked(void **unused)
{
    (void)unused;
    struct diag d = { 0 };
    body.closed = true;
    assert_int_equal(buffer_check(&conf, &d), OK);
    conf.request_bytes_max = 2 << 20;
    assert_int_equal(buffer_check(&conf, &d), ERR_CONF);
    conf.folder = BYTES("/tmp");
    assert_int_equal(buffer_check(&conf, &d), OK);
    conf.folder = BYTES("/no/such/folder");
    assert_int_equal(buffer_check(&conf, &d), ERR_CONF);
    conf.folder = BYTES_NONE;
    conf.request_bytes_max = OFF;
    assert_int_equal(buffer_check(&conf, &d), ERR_CONF);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_goes_on_when_it_is_whole), TEST(one_that_is_empty_has_none),
        TEST(one_that_is_too_long_is_refused),    TEST(one_that_breaks_asks_nobody),
        TEST(without_memory_it_is_refused),       TEST(settings_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
