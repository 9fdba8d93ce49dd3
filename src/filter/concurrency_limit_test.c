#include "filter/fakes_test.h"
/* first the fakes */
#include "filter/concurrency_limit.c"

#include "base/test.h"

static const struct concurrency_limit_conf adaptive = { .requests_max = ADAPTIVE,
                                                        .retry_after_ms = 3000,
                                                        .start = 20,
                                                        .at_least = 5,
                                                        .at_most = 1000,
                                                        .tolerance = 0.5,
                                                        .window_ms = 100 };

/* ---- the gradient ---- */

/* A server that works on so many at a time; the others wait in line. Asked for as much as the limit lets. */
static double settle(double limit, double places, double idle_us, unsigned windows, double *long_us)
{
    struct gradient g = { limit, *long_us };
    while (windows--) {
        const double running = g.limit;
        const double mean_us = running <= places ? idle_us : idle_us * running / places;
        g = gradient_next(&adaptive, g, (struct sample){ mean_us, running });
    }
    *long_us = g.long_us;
    return g.limit;
}

static void it_finds_what_the_server_can_do(void **state)
{
    (void)state;
    for (double places = 10; places <= 300; places *= 2) {
        double long_us = 0;
        const double limit = settle(5, places, 10000, 150, &long_us);
        assert_true(limit >= places && limit < places * 2 + 30);
    }
}

static void it_shrinks_when_answers_take_longer_and_grows_again(void **state)
{
    (void)state;
    double long_us = 10000;
    const double shrunk = settle(200, 20, 10000, 50, &long_us);
    assert_true(shrunk < 70);
    const double grown = settle(shrunk, 200, 10000, 200, &long_us);
    assert_true(grown > 150);
}

static void one_window_takes_a_tenth_at_the_most(void **state)
{
    (void)state;
    const struct gradient g =
        gradient_next(&adaptive, (struct gradient){ 100, 1000 }, (struct sample){ 1e9, 100 });
    assert_true(g.limit > 90 && g.limit < 93);
}

static void who_needs_no_more_gets_no_more(void **state)
{
    (void)state;
    struct gradient g = { 100, 1000 };
    for (int i = 0; i < 1000; i++)
        g = gradient_next(&adaptive, g, (struct sample){ 1000, 49 });
    assert_true(g.limit == 100);
    g = gradient_next(&adaptive, g, (struct sample){ 1000, 51 });
    assert_true(g.limit > 100);
}

static void the_bounds_hold(void **state)
{
    (void)state;
    struct gradient g = { 20, 1000 };
    for (int i = 0; i < 1000; i++)
        g = gradient_next(&adaptive, g, (struct sample){ g.long_us * 100, 20 });
    assert_true(g.limit == 5);
    for (int i = 0; i < 1000; i++)
        g = gradient_next(&adaptive, g, (struct sample){ 1, 1000 });
    assert_true(g.limit == 1000);
}

static void the_long_run_follows_down_quickly_and_up_slowly(void **state)
{
    (void)state;
    struct gradient g = { 20, 1000 };
    for (int i = 0; i < 50; i++)
        g = gradient_next(&adaptive, g, (struct sample){ 100, 20 });
    assert_true(g.long_us < 110);
    for (int i = 0; i < 50; i++)
        g = gradient_next(&adaptive, g, (struct sample){ 1000, 20 });
    assert_true(g.long_us < 300);
    for (int i = 0; i < 3000; i++)
        g = gradient_next(&adaptive, g, (struct sample){ 1000, 20 });
    assert_true(g.long_us > 990);
}

static void roots(void **state)
{
    (void)state;
    assert_true(gradient_root(1) > 0.999 && gradient_root(1) < 1.001);
    assert_true(gradient_root(400) > 19.99 && gradient_root(400) < 20.01);
    assert_true(gradient_root(1e6) > 999.9 && gradient_root(1e6) < 1000.1);
}

/* ---- the filter ---- */

static struct concurrency_limit *opened(const struct concurrency_limit_conf *conf)
{
    void *l = NULL;
    assert_int_equal(concurrency_limit_open(conf, NULL, BYTES("/api/*"), &l, NULL), OK);
    return l;
}

static void begin(struct exchange *x, struct concurrency_limit *l, uint32_t weight)
{
    fake_exchange_open(x);
    x->weight = weight;
    assert_int_equal(concurrency_limit_handle(x, l, NULL), OK);
}

static const struct concurrency_limit_conf three = { .requests_max = 3, .retry_after_ms = 3000 };

static void beyond_the_limit_they_are_refused_until_one_ends(void **state)
{
    (void)state;
    struct exchange x[5];
    struct concurrency_limit *l = opened(&three);
    fake.chained = 0;
    for (unsigned i = 0; i < 4; i++)
        begin(&x[i], l, 1);
    assert_int_equal(fake.chained, 3);
    assert_int_equal(x[3].response.status, 503);
    assert_bytes_equal(x[3].answered_by, BYTES("concurrency_limit"));
    assert_bytes_equal(http_field_value(http_fields_find(&x[3].response.fields, BYTES("Retry-After"))),
                       BYTES("3"));
    assert_int_equal(metric_value(l->metrics, METRIC_REFUSED), 1);
    assert_int_equal(metric_value(l->metrics, METRIC_RUNNING), 3);
    assert_int_equal(metric_value(l->metrics, METRIC_LIMIT), 3);
    fake_exchange_close(&x[0]);
    begin(&x[4], l, 1);
    assert_int_equal(fake.chained, 4);
    for (unsigned i = 1; i < 5; i++)
        fake_exchange_close(&x[i]);
    assert_int_equal(l->shared->running, 0);
    assert_int_equal(metric_value(l->metrics, METRIC_RUNNING), 0);
    concurrency_limit_close(l);
    assert_int_equal(fake.shared_held, 0);
}

static void heavy_requests_take_several_places(void **state)
{
    (void)state;
    struct exchange x[3];
    struct concurrency_limit *l = opened(&three);
    begin(&x[0], l, 2);
    begin(&x[1], l, 2);
    assert_int_equal(x[1].response.status, 503);
    begin(&x[2], l, 1);
    assert_int_equal(x[2].response.status, 0);
    for (unsigned i = 0; i < 3; i++)
        fake_exchange_close(&x[i]);
    begin(&x[0], l, 10); /* alone it may */
    assert_int_equal(x[0].response.status, 0);
    begin(&x[1], l, 1);
    assert_int_equal(x[1].response.status, 503);
    fake_exchange_close(&x[0]);
    fake_exchange_close(&x[1]);
    assert_int_equal(l->shared->running, 0);
    concurrency_limit_close(l);
}

static uint64_t answer_us;

static void server_answers(struct exchange *x)
{
    fake.now_us += answer_us;
    x->response.status = 200;
}

static void an_adaptive_limit_learns_from_answers(void **state)
{
    (void)state;
    struct concurrency_limit *l = opened(&adaptive);
    fake.on_chain = server_answers;
    answer_us = 10000;
    for (unsigned i = 0; i < 50; i++) {
        struct exchange x;
        begin(&x, l, 1);
        fake_exchange_close(&x);
    }
    assert_in_range(l->shared->long_us, 9900, 10100);
    const uint64_t before = limit_of(l->shared, l->conf);
    answer_us = 100000;
    for (unsigned i = 0; i < 100; i++) {
        struct exchange x;
        begin(&x, l, 1);
        fake_exchange_close(&x);
    }
    assert_true(limit_of(l->shared, l->conf) < before);
    assert_int_equal(metric_value(l->metrics, METRIC_LIMIT), limit_of(l->shared, l->conf));
    struct concurrency_limit *after = opened(&adaptive); /* a reload */
    concurrency_limit_close(l);
    assert_true(limit_of(after->shared, after->conf) < before);
    concurrency_limit_close(after);
    fake.on_chain = NULL;
}

static void failures_say_nothing_of_time(void **state)
{
    (void)state;
    struct exchange x = { .response = { .status = 200 } };
    assert_true(is_sample(&x, OK));
    assert_true(is_sample(&x, ERR_TIMEOUT));
    assert_false(is_sample(&x, ERR_REFUSED));
    x.response.status = 503;
    assert_false(is_sample(&x, OK));
    x.response.status = 404;
    assert_true(is_sample(&x, OK));
    x.answered_by = BYTES("other");
    assert_false(is_sample(&x, OK));
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    struct concurrency_limit_conf c = adaptive;
    struct diag d = DIAG_NONE;
    assert_int_equal(concurrency_limit_check(&c, &d), OK);
    c.start = 4;
    assert_int_equal(concurrency_limit_check(&c, &d), ERR_CONF);
    c.start = 1001;
    assert_int_equal(concurrency_limit_check(&c, &d), ERR_CONF);
}

static void no_memory_is_said(void **state)
{
    (void)state;
    err e = ERR_MEMORY;
    for (uint64_t n = 1; e; n++) {
        void *l = NULL;
        mem_fail_at(n);
        e = concurrency_limit_open(&three, NULL, BYTES("/"), &l, NULL);
        mem_fail_at(0);
        assert_true(e == OK || (e == ERR_MEMORY && n < 10));
        if (l)
            concurrency_limit_close(l);
        assert_int_equal(fake.shared_held, 0);
    }
}

int main(void)
{
    metrics_init(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_finds_what_the_server_can_do),
        cmocka_unit_test(it_shrinks_when_answers_take_longer_and_grows_again),
        cmocka_unit_test(one_window_takes_a_tenth_at_the_most),
        cmocka_unit_test(who_needs_no_more_gets_no_more),
        cmocka_unit_test(the_bounds_hold),
        cmocka_unit_test(the_long_run_follows_down_quickly_and_up_slowly),
        cmocka_unit_test(roots),
        cmocka_unit_test(beyond_the_limit_they_are_refused_until_one_ends),
        cmocka_unit_test(heavy_requests_take_several_places),
        cmocka_unit_test(an_adaptive_limit_learns_from_answers),
        cmocka_unit_test(failures_say_nothing_of_time),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(no_memory_is_said),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    metrics_close();
    return failed;
}
