#include "load/think.h"

#include <math.h>

#include "base/test.h"

#define DRAWS 100000

/* Seeded: always the same numbers. Bounds at six sigma of the mean and, of the deviation, 2 %. */
static void draws_have_their_mean_and_deviation(void **state)
{
    (void)state;
    static const struct {
        struct think_conf think;
        double mean_us, deviation_us;
    } cases[] = {
        { { .fixed_ms = 250 }, 250e3, 0 },
        { { .from_ms = 1000, .to_ms = 3000 }, 2e6, 2e6 / 3.4641016 },
        { { .exponential_ms = 400 }, 400e3, 400e3 },
        { { .normal_ms = 2000, .deviation_ms = 200 }, 2e6, 200e3 },
        { { 0 }, 0, 0 },
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t random = 5;
        double sum = 0, squares = 0;
        for (unsigned n = 0; n < DRAWS; n++) {
            double us = (double)think_draw(&cases[i].think, &random);
            sum += us;
            squares += us * us;
        }
        double mean = sum / DRAWS, deviation = sqrt(fmax(0, squares / DRAWS - mean * mean));
        assert_true(fabs(mean - cases[i].mean_us) <= 6 * cases[i].deviation_us / sqrt(DRAWS) + 1);
        assert_true(fabs(deviation - cases[i].deviation_us) <= 0.02 * cases[i].deviation_us + 1);
    }
}

static void bounds_hold(void **state)
{
    (void)state;
    uint64_t random = 9;
    const struct think_conf even = { .from_ms = 10, .to_ms = 20 },
                            wild = { .normal_ms = 1, .deviation_ms = 1000 };
    for (unsigned n = 0; n < DRAWS; n++) {
        assert_in_range(think_draw(&even, &random), 10000, 20000);
        assert_true(think_draw(&wild, &random) <= THINK_US_MAX);
    }
    assert_int_equal(think_draw(NULL, &random), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_have_their_mean_and_deviation),
        cmocka_unit_test(bounds_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
