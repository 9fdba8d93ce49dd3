#include "filter/fakes_test.h"
/* first the fakes */
#include "filter/size_limit.c"

#include "base/test.h"

/* ---- a body that comes in pieces, of unknown length or known ---- */

struct pieces {
    struct body body;
    struct bytes left;
    size_t piece;
    bool closed;
};

static err pieces_pull(struct body *b, uint64_t deadline_us, struct bytes *ret_bytes)
{
    (void)deadline_us;
    struct pieces *p = container_of(b, struct pieces, body);
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

static struct io *pieces_raw(struct body *b, uint64_t *ret_left)
{
    struct pieces *p = container_of(b, struct pieces, body);
    *ret_left = p->left.len < p->piece ? p->left.len : p->piece;
    return (struct io *)p;
}

static void pieces_close(struct body *b)
{
    container_of(b, struct pieces, body)->closed = true;
}

static const struct body_ops pieces_ops = {
    .pull = pieces_pull, .give = pieces_give, .raw = pieces_raw, .moved = NULL, .close = pieces_close
};

static struct pieces pieces_of(struct bytes content, size_t piece, bool known)
{
    return (struct pieces){ .body = { &pieces_ops, known ? content.len : BODY_LENGTH_UNKNOWN, NULL },
                            .left = content,
                            .piece = piece };
}

static struct exchange x;
static struct size_limit *limit;
static struct size_limit_conf conf;
static struct pieces answer;

static void on_chain(struct exchange *of)
{
    of->response.status = 200;
    of->response_body = &answer.body;
}

static int begin(void **state)
{
    (void)state;
    metrics_init(1);
    conf = (struct size_limit_conf){ .request_bytes_max = 10, .response_bytes_max = CONF_UINT_WORD(0) };
    void *s = NULL;
    assert_int_equal(size_limit_filter.open(&conf, NULL, BYTES("/"), &s, NULL), OK);
    limit = s;
    fake.chained = 0;
    fake.on_chain = NULL;
    fake_exchange_open(&x);
    return 0;
}

static int end(void **state)
{
    (void)state;
    fake_exchange_close(&x);
    size_limit_filter.close(limit);
    metrics_close();
    return 0;
}

static err read_all(struct body *b, size_t *ret_len)
{
    struct bytes data;
    err e;
    *ret_len = 0;
    while (!(e = body_pull(b, 0, &data)) && data.len) {
        *ret_len += data.len;
        body_give(b, data.len);
    }
    return e;
}

static void a_request_that_says_too_much_is_refused_at_once(void **unused)
{
    (void)unused;
    struct pieces body = pieces_of(BYTES("0123456789a"), 4, true);
    x.request_body = &body.body;
    assert_int_equal(size_limit_filter.handle(&x, limit, NULL), OK);
    assert_int_equal(x.response.status, 413);
    assert_int_equal(fake.chained, 0);
    assert_int_equal(metric_value(limit->metrics, METRIC_REQUEST), 1);
}

static void a_request_that_says_enough_is_left_alone(void **unused)
{
    (void)unused;
    struct pieces body = pieces_of(BYTES("0123456789"), 4, true);
    x.request_body = &body.body;
    assert_int_equal(size_limit_filter.handle(&x, limit, NULL), OK);
    assert_int_equal(fake.chained, 1);
    assert_ptr_equal(x.request_body, &body.body);
}

static void a_chunked_request_is_counted(void **unused)
{
    (void)unused;
    for (size_t piece = 1; piece < 13; piece++) {
        size_t len;
        uint64_t left;
        struct pieces body = pieces_of(BYTES("0123456789"), piece, false);
        x.request_body = &body.body;
        assert_int_equal(size_limit_filter.handle(&x, limit, NULL), OK);
        assert_non_null(body_raw(x.request_body, &left));
        assert_int_equal(read_all(x.request_body, &len), OK);
        assert_int_equal(len, 10);
        assert_int_equal(x.request_failed, OK);

        body = pieces_of(BYTES("0123456789a"), piece, false);
        x.request_body = &body.body;
        assert_int_equal(size_limit_filter.handle(&x, limit, NULL), OK);
        assert_int_equal(read_all(x.request_body, &len), ERR_LIMIT);
        assert_int_equal(read_all(x.request_body, &len), ERR_LIMIT);
        assert_int_equal(x.request_failed, ERR_LIMIT);
        body_close(x.request_body);
        assert_true(body.closed);
        x.request_failed = OK;
    }
    assert_int_equal(metric_value(limit->metrics, METRIC_REQUEST), 12);
}

static void answers_have_a_limit_of_their_own(void **unused)
{
    (void)unused;
    size_t len;
    conf.response_bytes_max = 5;
    fake.on_chain = on_chain;
    answer = pieces_of(BYTES("012345"), 6, true);
    assert_int_equal(size_limit_filter.handle(&x, limit, NULL), OK);
    assert_int_equal(x.response.status, 502);

    answer = pieces_of(BYTES("012345"), 4, false);
    assert_int_equal(size_limit_filter.handle(&x, limit, NULL), OK);
    assert_int_equal(x.response.status, 200);
    assert_int_equal(read_all(x.response_body, &len), ERR_LIMIT);
    assert_int_equal(len, 5);
    assert_int_equal(x.request_failed, OK);
    assert_int_equal(metric_value(limit->metrics, METRIC_RESPONSE), 2);

    conf.response_bytes_max = CONF_UINT_WORD(0);
    answer = pieces_of(BYTES("012345"), 4, false);
    assert_int_equal(size_limit_filter.handle(&x, limit, NULL), OK);
    assert_ptr_equal(x.response_body, &answer.body);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_that_says_too_much_is_refused_at_once),
        TEST(a_request_that_says_enough_is_left_alone),
        TEST(a_chunked_request_is_counted),
        TEST(answers_have_a_limit_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
