/* Bodies that are coded and decoded as they are pulled, however they are cut. */
#define fiber_yield fake_fiber_yield
#include "core/fiber.h"
/* first the fake */
static unsigned yields;

void fake_fiber_yield(void)
{
    yields++;
}

#include "gate/coding_body.c"

#include "base/test.h"

#define CONTENT_BYTES 300000

static char content[CONTENT_BYTES];
static char got[CONTENT_BYTES + 1];

/* ---- a body that comes in pieces; behind each one the next would have to be waited for ---- */

struct pieces {
    struct body body;
    struct bytes left;
    size_t piece;
    bool here; /* the next one */
    unsigned blocked;
    bool closed;
};

static err pieces_pull(struct body *b, uint64_t deadline_us, struct bytes *ret_bytes)
{
    (void)deadline_us;
    struct pieces *p = container_of(b, struct pieces, body);
    p->blocked += !p->here;
    p->here = true;
    *ret_bytes = (struct bytes){ p->left.ptr, p->left.len < p->piece ? p->left.len : p->piece };
    return OK;
}

static void pieces_give(struct body *b, size_t n)
{
    struct pieces *p = container_of(b, struct pieces, body);
    p->left = bytes_skip(p->left, n);
    p->here = false;
}

static bool pieces_ready(struct body *b)
{
    return container_of(b, struct pieces, body)->here;
}

static void pieces_close(struct body *b)
{
    container_of(b, struct pieces, body)->closed = true;
}

static const struct body_ops pieces_ops = {
    .pull = pieces_pull, .give = pieces_give, .ready = pieces_ready, .close = pieces_close
};

static struct pieces pieces_of(struct bytes text, size_t piece)
{
    return (
        struct pieces){ .body = { &pieces_ops, BODY_LENGTH_UNKNOWN, NULL }, .left = text, .piece = piece };
}

/* ---- */

enum { IN, OUT, CPU };
static const struct metric_def defs[] = { { "in_bytes_total", METRIC_COUNTER, "in" },
                                          { "out_bytes_total", METRIC_COUNTER, "out" },
                                          { "cpu_ns_total", METRIC_COUNTER, "cpu" } };
static const struct metric_group group = { .module = "test", .defs = defs, .count = 3 };
static struct metric_instance *metrics;
static struct coding_meter meter = { .in_bytes = IN, .out_bytes = OUT, .cpu_ns = CPU };
static struct arena arena;

static int begin(void **state)
{
    (void)state;
    metrics_init(1);
    assert_int_equal(metric_instance_open(&group, NULL, &metrics), OK);
    meter.cells = metric_cells(metrics, 0);
    arena_open(&arena, &arena_heap, 1 << 20, NULL, 0);
    for (size_t i = 0; i < CONTENT_BYTES; i++)
        content[i] = (char)('a' + (i * 7 + i / 100) % 26);
    return 0;
}

static int end_(void **state)
{
    (void)state;
    arena_close(&arena);
    metric_instance_free(metrics);
    metrics_close();
    assert_int_equal(coder_memory_used(true), 0);
    assert_int_equal(coder_memory_used(false), 0);
    return 0;
}

static struct body *encoded(struct body *inner, enum content_coding coding)
{
    const struct coder_opts o = { .coding = coding,
                                  .level = coder_levels(coding).preset,
                                  .window_bits = 18,
                                  .length = UINT64_MAX,
                                  .memory_bytes_max = 64 << 20 };
    struct coder *c = NULL;
    struct body *b = NULL;
    assert_int_equal(encoder_open(&o, &c), OK);
    assert_int_equal(encoding_body(&arena, inner, c, &meter, &b), OK);
    return b;
}

static struct coding_body *decoded(struct body *inner, enum content_coding coding, uint64_t bytes_max,
                                   uint64_t ratio_max)
{
    const struct coder_opts o = { .coding = coding, .memory_bytes_max = 64 << 20 };
    const struct coding_bound bound = { bytes_max, ratio_max };
    struct coder *c = NULL;
    struct coding_body *b = NULL;
    assert_int_equal(decoder_open(&o, &c), OK);
    assert_int_equal(decoding_body(&arena, inner, c, &meter, &bound, &b), OK);
    return b;
}

static err read_all(struct body *b, size_t step, size_t *ret_len)
{
    struct bytes data;
    err e;
    *ret_len = 0;
    while (!(e = body_pull(b, 0, &data)) && data.len) {
        const size_t n = data.len < step ? data.len : step;
        const size_t room = sizeof got - *ret_len;
        memcpy(got + *ret_len, data.ptr, n < room ? n : room);
        *ret_len += n < room ? n : room;
        body_give(b, n);
    }
    return e;
}

/* Through an encoder and, pulled from it, a decoder. */
static void there_and_back(enum content_coding coding, size_t len, size_t piece, size_t step)
{
    size_t got_len;
    struct pieces p = pieces_of((struct bytes){ content, len }, piece);
    struct coding_body *d = decoded(encoded(&p.body, coding), coding, UINT64_MAX, 1000000);
    assert_int_equal(read_all(&d->body, step, &got_len), OK);
    assert_int_equal(got_len, len);
    assert_memory_equal(got, content, len);
    body_close(&d->body);
    assert_true(p.closed);
}

static void bytes_stay_the_same(void **unused)
{
    (void)unused;
    static const enum content_coding codings[] = { CODING_GZIP, CODING_BR, CODING_ZSTD };
    for (unsigned i = 0; i < 3; i++) {
        if (!coder_has(codings[i]))
            continue;
        there_and_back(codings[i], 0, 1, 1);
        there_and_back(codings[i], 1, 1, 1);
        there_and_back(codings[i], 3000, 1, 1);
        there_and_back(codings[i], CONTENT_BYTES, 16384, 1000);
        there_and_back(codings[i], CONTENT_BYTES, CONTENT_BYTES, CONTENT_BYTES);
    }
    assert_true(yields > 0);
    assert_true(metric_value(metrics, IN) > CONTENT_BYTES);
}

#if WEIR_HAVE_ZLIB
/* What the encoder has taken can be read before it waits for more. */
static void nothing_is_held_back_while_it_waits(void **unused)
{
    (void)unused;
    struct pieces p = pieces_of(BYTES("onetwosix"), 3);
    struct body *b = encoded(&p.body, CODING_GZIP);
    struct coding_body *d = decoded(b, CODING_GZIP, UINT64_MAX, 1000000);
    for (unsigned i = 1; i <= 3; i++) {
        struct bytes data;
        assert_int_equal(body_pull(&d->body, 0, &data), OK);
        assert_int_equal(data.len, 3);
        assert_memory_equal(data.ptr, &"onetwosix"[3 * (i - 1)], 3);
        assert_int_equal(p.blocked, i);
        body_give(&d->body, 3);
    }
    body_close(&d->body);
}

static void a_bomb_is_bounded_by_bytes_and_by_ratio(void **unused)
{
    (void)unused;
    static char coded[60000];
    size_t coded_len = 0;
    size_t len;
    struct bytes data;
    memset(content, 0, sizeof content);
    struct coding_body *d;
    struct pieces p = pieces_of((struct bytes){ content, sizeof content }, sizeof content);
    struct body *b = encoded(&p.body, CODING_GZIP);
    while (body_pull(b, 0, &data) == OK && data.len) {
        memcpy(coded + coded_len, data.ptr, data.len);
        coded_len += data.len;
        body_give(b, data.len);
    }
    body_close(b);
    for (unsigned copies = 1; copies < 12; copies++) /* gzip's members, one behind the other */
        memcpy(coded + copies * coded_len, coded, coded_len);

    p = pieces_of((struct bytes){ coded, coded_len }, 10);
    d = decoded(&p.body, CODING_GZIP, CONTENT_BYTES, 1000000);
    assert_int_equal(read_all(&d->body, 5000, &len), OK);
    assert_int_equal(len, CONTENT_BYTES);
    body_close(&d->body);

    p = pieces_of((struct bytes){ coded, coded_len }, 10);
    d = decoded(&p.body, CODING_GZIP, CONTENT_BYTES - 1, 1000000);
    assert_int_equal(read_all(&d->body, 5000, &len), ERR_LIMIT);
    assert_true(len < CONTENT_BYTES);
    body_close(&d->body);

    p = pieces_of((struct bytes){ coded, 12 * coded_len }, 500);
    d = decoded(&p.body, CODING_GZIP, UINT64_MAX, 100);
    assert_int_equal(read_all(&d->body, 5000, &len), ERR_LIMIT);
    assert_true(d->made > CODING_RATIO_BYTES_MIN && d->made < CODING_RATIO_BYTES_MIN + 2 * CODER_PIECE_BYTES);
    body_close(&d->body);
}

/* The client's fault, remembered as that; and it stays broken. */
static void a_broken_request_is_told(void **unused)
{
    (void)unused;
    struct exchange x = { 0 };
    size_t len;
    struct pieces p = pieces_of(BYTES("no gzip"), 3);
    struct coding_body *d = decoded(&p.body, CODING_GZIP, UINT64_MAX, 100);
    d->request_of = &x;
    assert_int_equal(read_all(&d->body, 1, &len), ERR_SYNTAX);
    assert_int_equal(read_all(&d->body, 1, &len), ERR_SYNTAX);
    assert_int_equal(x.request_failed, ERR_SYNTAX);
    body_close(&d->body);
}
#endif

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end_)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bytes_stay_the_same),
#if WEIR_HAVE_ZLIB
        TEST(nothing_is_held_back_while_it_waits),
        TEST(a_bomb_is_bounded_by_bytes_and_by_ratio),
        TEST(a_broken_request_is_told),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
