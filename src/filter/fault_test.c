#define fiber_sleep_us fake_fiber_sleep_us
#define random_u64 fake_random_u64
#include "filter/fakes_test.h"
/* first the fakes */
#include "base/hash.h"
#include "core/fiber.h"

static struct fault *sleeper; /* a second request comes while the first sleeps */
static uint64_t slept_us;
static unsigned sleeps;
static err sleep_result;

uint64_t fake_random_u64(void)
{
    return 0; /* always drawn, unless the share is 0 */
}

static void second_request(void);

err fake_fiber_sleep_us(uint64_t us)
{
    slept_us += us;
    if (sleeps++ == 0 && sleeper)
        second_request();
    return sleep_result;
}

#include "filter/fault.c"

#include "base/test.h"

static const uint64_t never = UINT64_MAX;

static void delay_and_abort_are_drawn_apart(void **unused)
{
    (void)unused;
    const struct fault_delay delay = { .time_ms = 20, .jitter_ms = 5, .percent = 0.25 };
    const struct fault_abort abort_ = { .status = 503, .percent = 0.5 };
    const struct fault_conf c = { .delay = &delay, .abort = &abort_ };
    const uint64_t quarter = UINT64_C(1) << 62;

    struct fault_plan p = plan_drawn(&c, (uint64_t[3]){ quarter - 4096, quarter, 0 });
    assert_int_equal(p.delay_us, 20000);
    assert_int_equal(p.status, 503);
    p = plan_drawn(&c, (uint64_t[3]){ quarter, 2 * quarter, 0 });
    assert_int_equal(p.delay_us, 0);
    assert_int_equal(p.status, 0);
    p = plan_drawn(&c, (uint64_t[3]){ 0, never, 5000 });
    assert_int_equal(p.delay_us, 25000);
    assert_int_equal(p.status, 0);
    p = plan_drawn(&c, (uint64_t[3]){ 0, never, 5001 });
    assert_int_equal(p.delay_us, 20000);
}

static struct exchange x;

static struct fault_plan asked(const char *delay, const char *status)
{
    const struct fault_conf c = { .by_header = true, .delay_max_ms = 1000 };
    struct fault_plan p = { 7, 500 };
    fake_exchange_open(&x);
    struct http_fields *f = &x.request.fields;
    if (delay)
        assert_int_equal(http_fields_add(f, &x.arena, BYTES("x-weir-fault-delay"), bytes_from(delay)), OK);
    if (status)
        assert_int_equal(http_fields_add(f, &x.arena, BYTES("x-weir-fault-abort"), bytes_from(status)), OK);
    plan_asked(&c, f, &p);
    assert_null(http_fields_find(f, BYTES("X-Weir-Fault-Delay")));
    assert_null(http_fields_find(f, BYTES("X-Weir-Fault-Abort")));
    fake_exchange_close(&x);
    return p;
}

static void a_request_may_ask_within_bounds(void **unused)
{
    (void)unused;
    assert_int_equal(asked("30", "418").delay_us, 30000);
    assert_int_equal(asked("30", "418").status, 418);
    assert_int_equal(asked("99999999999", NULL).delay_us, 1000000);
    assert_int_equal(asked("soon", NULL).delay_us, 7);
    assert_int_equal(asked(NULL, "200").status, 500);
    assert_int_equal(asked(NULL, "600").status, 500);
    assert_int_equal(asked("0", NULL).delay_us, 0);
}

static struct fault *opened(const struct fault_conf *c)
{
    void *state = NULL;
    assert_int_equal(fault_filter.open(c, NULL, BYTES("/"), &state, NULL), OK);
    slept_us = sleeps = 0;
    sleep_result = OK;
    sleeper = NULL;
    fake.chained = 0;
    return state;
}

static void second_request(void)
{
    struct exchange second;
    fake_exchange_open(&second);
    assert_int_equal(fault_filter.handle(&second, sleeper, NULL), OK);
    fake_exchange_close(&second);
}

static void only_so_many_are_held_up(void **unused)
{
    (void)unused;
    const struct fault_delay delay = { .time_ms = 20, .percent = 1 };
    const struct fault_conf c = { .delay = &delay, .delays_max = 1 };
    struct fault *f = opened(&c);
    sleeper = f;
    second_request();
    assert_int_equal(sleeps, 1);
    assert_int_equal(slept_us, 20000);
    assert_int_equal(fake.chained, 2);
    assert_int_equal(metric_value(f->metrics, METRIC_DELAYED), 1);
    assert_int_equal(metric_value(f->metrics, METRIC_BUSY), 1);
    fault_filter.close(f);
}

static void an_abort_asks_no_server(void **unused)
{
    (void)unused;
    const struct fault_abort abort_ = { .status = 503, .percent = 1 };
    static struct bytes methods[] = { { "POST", 4 } };
    const struct request_match only = { .methods = { methods, 1 } };
    const struct fault_conf c = { .abort = &abort_, .only = &only };
    struct fault *f = opened(&c);
    fake_exchange_open(&x);
    x.request.method_text = BYTES("POST");
    assert_int_equal(fault_filter.handle(&x, f, NULL), OK);
    assert_int_equal(fake.chained, 0);
    assert_int_equal(x.response.status, 503);
    assert_bytes_equal(x.answered_by, BYTES("fault"));
    x.request.method_text = BYTES("GET");
    assert_int_equal(fault_filter.handle(&x, f, NULL), OK);
    assert_int_equal(fake.chained, 1);
    assert_int_equal(metric_value(f->metrics, METRIC_ABORTED), 1);
    fake_exchange_close(&x);
    fault_filter.close(f);
}

static void who_is_cancelled_asks_nobody(void **unused)
{
    (void)unused;
    const struct fault_delay delay = { .time_ms = 20, .percent = 1 };
    const struct fault_conf c = { .delay = &delay, .delays_max = 1 };
    struct fault *f = opened(&c);
    sleep_result = ERR_CANCELLED;
    fake_exchange_open(&x);
    assert_int_equal(fault_filter.handle(&x, f, NULL), ERR_CANCELLED);
    assert_int_equal(fake.chained, 0);
    assert_int_equal(f->delays, 0);
    fake_exchange_close(&x);
    fault_filter.close(f);
}

int main(void)
{
    metrics_init(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delay_and_abort_are_drawn_apart), cmocka_unit_test(a_request_may_ask_within_bounds),
        cmocka_unit_test(only_so_many_are_held_up),        cmocka_unit_test(an_abort_asks_no_server),
        cmocka_unit_test(who_is_cancelled_asks_nobody),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    metrics_close();
    return failed;
}
