#include "filter/fakes_test.h"
/* first the fakes */
#define gate_workers fake_gate_workers
static unsigned fake_gate_workers(const struct gate *g)
{
    (void)g;
    return 2;
}
#include "filter/circuit_breaker.c"
#include "gate/breaker_use.c"

#include "base/test.h"

/* ---- what counts as an error ---- */

static void servers_and_the_gate_fail_and_clients_do_not(void **state)
{
    (void)state;
    struct exchange x = { 0 };
    const struct breaker_use u = { 0 };
    static const struct {
        unsigned status;
        enum breaker_verdict verdict;
    } cases[] = { { 101, BREAKER_SUCCESS }, { 200, BREAKER_SUCCESS }, { 404, BREAKER_SUCCESS },
                  { 429, BREAKER_SUCCESS }, { 500, BREAKER_FAILURE }, { 501, BREAKER_SUCCESS },
                  { 502, BREAKER_FAILURE }, { 503, BREAKER_FAILURE }, { 504, BREAKER_FAILURE },
                  { 505, BREAKER_SUCCESS }, { 599, BREAKER_FAILURE }, { 600, BREAKER_SUCCESS } };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        x.response.status = cases[i].status;
        assert_int_equal(verdict_of(&u, &x, OK, 0), cases[i].verdict);
    }
    assert_int_equal(verdict_of(&u, &x, ERR_REFUSED, 0), BREAKER_FAILURE);
    assert_int_equal(verdict_of(&u, &x, ERR_TIMEOUT, 0), BREAKER_FAILURE);
    assert_int_equal(verdict_of(&u, &x, ERR_UNAVAILABLE, 0), BREAKER_FAILURE);
    assert_int_equal(verdict_of(&u, &x, ERR_CANCELLED, 0), BREAKER_NOTHING);
    x.response.status = 503;
    x.answered_by = BYTES("another_filter");
    assert_int_equal(verdict_of(&u, &x, OK, 0), BREAKER_NOTHING);
    x.answered_by = BYTES_NONE;
    x.request_failed = ERR_CLOSED;
    assert_int_equal(verdict_of(&u, &x, OK, 0), BREAKER_NOTHING);
    assert_int_equal(verdict_of(&u, &x, ERR_CLOSED, 0), BREAKER_NOTHING);
}

/* ---- the filter ---- */

static const struct breaker_conf conf_usual = {
    .errors = 0.5, .window_ms = 10000, .requests_min = 4, .open_ms = 2500, .probes = 2
};

static struct breaker_use *opened(void)
{
    void *c = NULL;
    assert_int_equal(circuit_breaker_open(&conf_usual, NULL, BYTES("/api/*"), &c, NULL), OK);
    return c;
}

static unsigned server_status;

static void server_answers(struct exchange *x)
{
    x->response.status = server_status;
}

/* The status that the client gets; retry_after "" if there must be none. */
static unsigned ask(struct breaker_use *c, unsigned status, const char *retry_after)
{
    struct exchange x;
    fake_exchange_open(&x);
    fake.on_chain = server_answers;
    server_status = status;
    assert_int_equal(circuit_breaker_handle(&x, c, NULL), OK);
    const struct http_field *f = http_fields_find(&x.response.fields, BYTES("Retry-After"));
    if (f)
        assert_bytes_equal(x.answered_by, BYTES("circuit_breaker"));
    assert_bytes_equal(f ? http_field_value(f) : BYTES(""), bytes_from(retry_after));
    fake_exchange_close(&x);
    return x.response.status;
}

static uint64_t value(const struct breaker_use *c, enum breaker_metric m)
{
    return metric_value(c->metrics, m);
}

static void trip(struct breaker_use *c)
{
    fake.chained = 0;
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(ask(c, 500, ""), 500);
    assert_int_equal(fake.chained, 4);
    assert_int_equal(value(c, METRIC_OPEN), 1);
}

static void it_opens_refuses_probes_and_closes(void **state)
{
    (void)state;
    struct breaker_use *c = opened();
    trip(c);
    assert_int_equal(ask(c, 200, "3"), 503);
    fake.now_us += 1500000;
    assert_int_equal(ask(c, 200, "1"), 503);
    assert_int_equal(fake.chained, 4);

    fake.now_us += 1000000;
    assert_int_equal(ask(c, 200, ""), 200);
    assert_int_equal(value(c, METRIC_OPEN), 0);
    assert_int_equal(value(c, METRIC_HALF_OPEN), 1);
    assert_int_equal(ask(c, 500, ""), 500);
    assert_int_equal(ask(c, 200, "3"), 503);

    fake.now_us += 2500000;
    assert_int_equal(ask(c, 200, ""), 200);
    assert_int_equal(ask(c, 200, ""), 200);
    assert_int_equal(value(c, METRIC_HALF_OPEN), 0);
    assert_int_equal(value(c, METRIC_OPEN), 0);
    for (unsigned i = 0; i < 3; i++) /* what came before it opened is forgotten */
        assert_int_equal(ask(c, 500, ""), 500);
    assert_int_equal(ask(c, 200, ""), 200);

    assert_int_equal(value(c, METRIC_OPENED), 2);
    assert_int_equal(value(c, METRIC_CLOSED), 1);
    assert_int_equal(value(c, METRIC_REFUSED), 3);
    assert_int_equal(value(c, METRIC_PROBES), 4);
    assert_int_equal(value(c, METRIC_ERRORS), 8);
    circuit_breaker_close(c);
}

static struct breaker_use *asked_meanwhile;

static void server_answers_late(struct exchange *x)
{
    x->response.status = 200;
    fake.on_chain = NULL;
    struct exchange other;
    fake_exchange_open(&other);
    assert_int_equal(circuit_breaker_handle(&other, asked_meanwhile, NULL), OK);
    assert_int_equal(other.response.status, 503);
    assert_bytes_equal(http_field_value(http_fields_find(&other.response.fields, BYTES("Retry-After"))),
                       BYTES("1"));
    fake_exchange_close(&other);
}

static void others_wait_while_the_probes_are_out(void **state)
{
    (void)state;
    struct breaker_use *c = opened();
    trip(c);
    fake.now_us += 2500000;
    assert_int_equal(ask(c, 200, ""), 200);
    struct exchange x;
    fake_exchange_open(&x);
    asked_meanwhile = c;
    fake.on_chain = server_answers_late;
    assert_int_equal(circuit_breaker_handle(&x, c, NULL), OK);
    fake_exchange_close(&x);
    assert_int_equal(value(c, METRIC_CLOSED), 1);
    circuit_breaker_close(c);
}

static void an_error_of_the_chain_counts_and_is_passed_on(void **state)
{
    (void)state;
    struct breaker_use *c = opened();
    fake.on_chain = NULL;
    fake.chain_result = ERR_REFUSED;
    for (unsigned i = 0; i < 4; i++) {
        struct exchange x;
        fake_exchange_open(&x);
        assert_int_equal(circuit_breaker_handle(&x, c, NULL), ERR_REFUSED);
        fake_exchange_close(&x);
    }
    fake.chain_result = OK;
    assert_int_equal(value(c, METRIC_OPEN), 1);
    circuit_breaker_close(c);
}

static void a_reload_forgets_nothing(void **state)
{
    (void)state;
    struct breaker_use *before = opened();
    trip(before);
    struct breaker_use *after = opened();
    circuit_breaker_close(before);
    assert_int_equal(ask(after, 200, "3"), 503);
    assert_int_equal(value(after, METRIC_OPEN), 1);
    circuit_breaker_close(after);
    assert_int_equal(fake.shared_held, 0);
}

static void the_last_holder_takes_it_out_of_the_gauges(void **state)
{
    (void)state;
    struct metric_instance *metrics; /* another generation's, with other settings */
    assert_int_equal(metric_instance_open(&metric_group,
                                          (const struct bytes[]){ BYTES("/api/*"), BYTES_NONE, BYTES_NONE },
                                          &metrics),
                     OK);
    struct breaker_use *c = opened();
    trip(c);
    circuit_breaker_close(c);
    assert_int_equal(metric_value(metrics, METRIC_OPEN), 0);
    assert_int_equal(metric_value(metrics, METRIC_OPENED), 1);
    metric_instance_free(metrics);
}

static void server_answers_slowly(struct exchange *x)
{
    x->response.status = 200;
    fake.now_us += 600000;
}

static void slow_answers_open_it(void **state)
{
    (void)state;
    struct breaker_slow_conf slow = { .ratio = 0.5, .over_ms = 500 };
    struct breaker_conf conf = conf_usual;
    conf.slow = &slow;
    void *c = NULL;
    assert_int_equal(circuit_breaker_open(&conf, NULL, BYTES("/slow/*"), &c, NULL), OK);
    for (unsigned i = 0; i < 4; i++) {
        struct exchange x;
        fake_exchange_open(&x);
        fake.on_chain = server_answers_slowly;
        assert_int_equal(circuit_breaker_handle(&x, c, NULL), OK);
        fake_exchange_close(&x);
    }
    assert_int_equal(value(c, METRIC_OPEN), 1);
    assert_int_equal(value(c, METRIC_SLOW), 4);
    assert_int_equal(value(c, METRIC_ERRORS), 0);
    circuit_breaker_close(c);
}

static void after_the_probes_the_share_grows(void **state)
{
    (void)state;
    struct breaker_conf conf = conf_usual;
    conf.ramp_ms = 10000;
    void *c = NULL;
    assert_int_equal(circuit_breaker_open(&conf, NULL, BYTES("/ramp/*"), &c, NULL), OK);
    trip(c);
    fake.now_us += 2500000;
    assert_int_equal(ask(c, 200, ""), 200);
    assert_int_equal(ask(c, 200, ""), 200);
    assert_int_equal(value(c, METRIC_RAMP), 1);
    fake.now_us += 10000000;
    assert_int_equal(ask(c, 200, ""), 200);
    assert_int_equal(value(c, METRIC_RAMP), 0);
    assert_int_equal(value(c, METRIC_CLOSED), 1);
    circuit_breaker_close(c);
}

static void operators_see_it(void **state)
{
    (void)state;
    struct breaker_use *c = opened();
    trip(c);
    struct text t = { 0 };
    json_begin(&t, NULL, '{');
    circuit_breaker_report(c, &t);
    json_end(&t, '}');
    assert_bytes_equal(((struct bytes){ t.at, t.len }),
                       BYTES("{\"state\":\"open\",\"left_ms\":2500,\"window_requests\":0,\"window_errors\":0,"
                             "\"window_slow\":0,\"opened\":1,\"closed\":0,\"refused\":0}"));
    text_free(&t);
    circuit_breaker_close(c);
}

static void no_memory_is_said(void **state)
{
    (void)state;
    err e = ERR_MEMORY;
    for (uint64_t n = 1; e; n++) {
        void *c = NULL;
        mem_fail_at(n);
        e = circuit_breaker_open(&conf_usual, NULL, BYTES("/"), &c, NULL);
        mem_fail_at(0);
        assert_true(e == OK || (e == ERR_MEMORY && n < 10));
        if (c)
            circuit_breaker_close(c);
        assert_int_equal(fake.shared_held, 0);
    }
}

static int start(void **state)
{
    (void)state;
    log_set_level(LOG_ERROR);
    metrics_init(1);
    return 0;
}

static int end(void **state)
{
    (void)state;
    metrics_close();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(servers_and_the_gate_fail_and_clients_do_not),
        cmocka_unit_test(it_opens_refuses_probes_and_closes),
        cmocka_unit_test(others_wait_while_the_probes_are_out),
        cmocka_unit_test(an_error_of_the_chain_counts_and_is_passed_on),
        cmocka_unit_test(a_reload_forgets_nothing),
        cmocka_unit_test(the_last_holder_takes_it_out_of_the_gauges),
        cmocka_unit_test(slow_answers_open_it),
        cmocka_unit_test(after_the_probes_the_share_grows),
        cmocka_unit_test(operators_see_it),
        cmocka_unit_test(no_memory_is_said),
    };
    return cmocka_run_group_tests(tests, start, end);
}
