#include "load/arrivals.h"

#include <math.h>

#include "base/test.h"

static struct curve curve_of(struct stage s)
{
    struct curve c;
    assert_int_equal(curve_open(&c, &s, 1), OK);
    return c;
}

static void even_ones_stand_at_the_same_distance(void **state)
{
    (void)state;
    struct arrivals a;
    struct curve c = curve_of((struct stage){ .kind = STAGE_CONSTANT, .seconds = 10, .from = 1000 });
    arrivals_open(&a, &c, ARRIVALS_EVEN, 0, 1, 1);
    for (uint64_t n = 0; n < 10000; n++) {
        uint64_t due_ns = arrivals_next(&a);
        assert_in_range(due_ns, n * 1000000 - (n > 0), n * 1000000 + 1);
    }
    assert_int_equal(arrivals_next(&a), ARRIVALS_NONE);
    curve_close(&c);
}

/* What three workers send is what one would. */
static void shares_make_up_the_whole(void **state)
{
    (void)state;
    struct arrivals whole, shares[3];
    struct curve c = curve_of((struct stage){ .kind = STAGE_RAMP, .seconds = 5, .from = 10, .to = 500 });
    arrivals_open(&whole, &c, ARRIVALS_EVEN, 0, 1, 1);
    for (unsigned i = 0; i < 3; i++)
        arrivals_open(&shares[i], &c, ARRIVALS_EVEN, i, 3, 1);
    unsigned n = 0;
    for (uint64_t due; (due = arrivals_next(&whole)) != ARRIVALS_NONE; n++)
        assert_int_equal(arrivals_next(&shares[n % 3]), due);
    assert_int_equal(n, 1275);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(arrivals_next(&shares[i]), ARRIVALS_NONE);
    curve_close(&c);
}

/* Of a Poisson process the count's variance is its mean, and the gaps are exponential: their mean square is
 * twice the square of their mean. Seeded, so always the same numbers. */
static void poisson_is_poisson(void **state)
{
    (void)state;
    struct arrivals a;
    double count = 0, squares = 0;
    struct curve c = curve_of((struct stage){ .kind = STAGE_CONSTANT, .seconds = 100, .from = 1000 });
    arrivals_open(&a, &c, ARRIVALS_POISSON, 0, 1, 42);
    for (uint64_t last = 0, due; (due = arrivals_next(&a)) != ARRIVALS_NONE; last = due) {
        double gap_s = (double)(due - last) / 1e9;
        assert_true(due >= last);
        squares += gap_s * gap_s;
        count++;
    }
    assert_true(fabs(count - 100000) < 6 * sqrt(100000));
    double mean = 100 / count;
    assert_true(fabs(squares / count / (mean * mean) - 2) < 6 * sqrt(20 / count));
    curve_close(&c);
}

static void a_share_of_poisson_has_its_part(void **state)
{
    (void)state;
    unsigned sum = 0;
    struct curve c = curve_of((struct stage){ .kind = STAGE_CONSTANT, .seconds = 100, .from = 1000 });
    for (unsigned i = 0; i < 4; i++) {
        struct arrivals a;
        arrivals_open(&a, &c, ARRIVALS_POISSON, i, 4, 7);
        unsigned count = 0;
        while (arrivals_next(&a) != ARRIVALS_NONE)
            count++;
        assert_true(fabs(count - 25000.0) < 6 * sqrt(25000));
        sum += count;
    }
    assert_true(fabs(sum - 100000.0) < 6 * sqrt(100000));
    curve_close(&c);
}

static void none_where_there_is_no_load(void **state)
{
    (void)state;
    struct arrivals a;
    struct curve c = curve_of((struct stage){ .kind = STAGE_CONSTANT, .seconds = 10, .from = 0 });
    arrivals_open(&a, &c, ARRIVALS_EVEN, 0, 1, 1);
    assert_int_equal(arrivals_next(&a), ARRIVALS_NONE);
    curve_close(&c);
}

static void a_list_is_shared_out(void **state)
{
    (void)state;
    static const uint64_t times[] = { 0, 5, 5, 9, 20 };
    struct arrivals a[2];
    for (unsigned i = 0; i < 2; i++)
        arrivals_open_list(&a[i], times, 5, i, 2);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(arrivals_next(&a[i % 2]), times[i]);
    assert_int_equal(arrivals_next(&a[0]), ARRIVALS_NONE);
    assert_int_equal(arrivals_next(&a[1]), ARRIVALS_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(even_ones_stand_at_the_same_distance),
        cmocka_unit_test(shares_make_up_the_whole),
        cmocka_unit_test(poisson_is_poisson),
        cmocka_unit_test(a_share_of_poisson_has_its_part),
        cmocka_unit_test(none_where_there_is_no_load),
        cmocka_unit_test(a_list_is_shared_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
