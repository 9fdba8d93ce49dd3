#include "load/curve.h"

#include <math.h>

#include "base/mem.h"
#include "base/test.h"

static const struct curve_point points[] = { { 0, 10 }, { 1, 50 }, { 3, 50 }, { 4, 0 }, { 8, 200 } };

static const struct stage kinds[] = {
    { .kind = STAGE_CONSTANT, .seconds = 7, .from = 100 },
    { .kind = STAGE_RAMP, .seconds = 10, .from = 100, .to = 1000 },
    { .kind = STAGE_RAMP, .seconds = 10, .from = 1000, .to = 0 },
    { .kind = STAGE_STEPS, .seconds = 12, .from = 100, .to = 500, .steps = 5 },
    { .kind = STAGE_STEPS, .seconds = 3, .from = 100, .to = 500, .steps = 1 },
    { .kind = STAGE_SINE, .seconds = 25, .from = 10, .to = 90, .period_s = 10 },
    { .kind = STAGE_NORMAL, .seconds = 60, .from = 5, .to = 105, .peak_s = 20, .deviation_s = 8 },
    { .kind = STAGE_HISTORY, .seconds = 9, .points = points, .points_count = 5 },
};
#define KINDS (sizeof kinds / sizeof *kinds)

/* The closed forms against the midpoint rule. */
static void the_count_is_the_area_below_the_level(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        const struct stage *s = &kinds[i];
        double sum = 0, step = s->seconds / 120000;
        for (int n = 0; n < 120000; n++) {
            sum += stage_level(s, (n + 0.5) * step) * step;
            if (n % 12000 == 11999)
                assert_true(fabs(sum - stage_count(s, (n + 1) * step)) < 0.01 + sum * 1e-5);
        }
    }
}

static void levels_are_what_was_asked_for(void **state)
{
    (void)state;
    assert_true(stage_level(&kinds[1], 5) == 550);
    assert_true(stage_level(&kinds[3], 0) == 100 && stage_level(&kinds[3], 2.5) == 200);
    assert_true(stage_level(&kinds[3], 12) == 500 && stage_level(&kinds[4], 2) == 100);
    assert_true(fabs(stage_level(&kinds[5], 0) - 10) < 1e-9 && fabs(stage_level(&kinds[5], 5) - 90) < 1e-9);
    assert_true(stage_level(&kinds[6], 20) == 105);
    /* one deviation off: exp(-1/2) of the height */
    assert_true(fabs(stage_level(&kinds[6], 28) - (5 + 100 * 0.60653066)) < 1e-5);
    assert_true(stage_level(&kinds[7], 0.5) == 30 && stage_level(&kinds[7], 6) == 100);
    assert_true(stage_level(&kinds[7], 9) == 200);
}

static void stages_follow_each_other(void **state)
{
    (void)state;
    struct curve c;
    double sum = 0, seconds = 0;
    assert_int_equal(curve_open(&c, kinds, KINDS), OK);
    for (size_t i = 0; i < KINDS; i++) {
        assert_true(fabs(curve_level(&c, seconds + 1.005) - stage_level(&kinds[i], 1.005)) < 1);
        sum += stage_count(&kinds[i], kinds[i].seconds);
        seconds += kinds[i].seconds;
    }
    assert_true(fabs(c.seconds - seconds) < 1e-9 && fabs(curve_count(&c) - sum) < 1e-6);
    assert_true(curve_level(&c, -1) == 0 && curve_level(&c, seconds) == 0);
    curve_close(&c);
}

static void memory_may_fail(void **state)
{
    (void)state;
    struct curve c;
    mem_fail_at(1);
    assert_int_equal(curve_open(&c, kinds, KINDS), ERR_MEMORY);
    mem_fail_at(0);
    curve_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_count_is_the_area_below_the_level),
        cmocka_unit_test(levels_are_what_was_asked_for),
        cmocka_unit_test(stages_follow_each_other),
        cmocka_unit_test(memory_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
