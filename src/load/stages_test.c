#include "load/stages.h"

#include <math.h>

#include "base/test.h"

static struct arena arena;

static size_t points_of(const char *text, struct curve_point **ret)
{
    size_t count;
    struct diag d = DIAG_NONE;
    if (stages_read_history(bytes_from(text), &arena, ret, &count, &d) != OK)
        fail_msg("%s", d.text);
    return count;
}

static void histories(void **state)
{
    (void)state;
    struct curve_point *p;
    assert_int_equal(points_of("seconds,rate\n10,1\n11.5,2\n20,3\n", &p), 3);
    assert_true(p[0].at_s == 0 && p[1].at_s == 1.5 && p[2].at_s == 10 && p[2].level == 3);
    assert_int_equal(points_of("0,5\n60,7\n", &p), 2); /* no line of names */
    assert_true(p[0].level == 5 && p[1].at_s == 60);
    assert_int_equal(points_of("rate\n1\n2\n3\n4\n", &p), 4);
    assert_true(p[3].at_s == 3 && p[3].level == 4);
    assert_int_equal(points_of("time,rate\n19:59:30,1\n20:00,2\n21:00,3\n", &p), 3);
    assert_true(p[1].at_s == 30 && p[2].at_s == 3630);
}

static void what_is_no_history(void **state)
{
    (void)state;
    static const char *const wrong[] = { "",
                                         "a,b\n",
                                         "a,b\n1,2\n",
                                         "a,b\n1,2\n1,3\n",
                                         "a,b\n1,2\n2,x\n",
                                         "a,b\n1,2\nx,3\n",
                                         "a,b\n1,2\n2,-3\n",
                                         "a,b\n1:2:3:4,2\n2,3\n" };
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct curve_point *p;
        size_t count;
        struct diag d = DIAG_NONE;
        assert_int_equal(stages_read_history(bytes_from(wrong[i]), &arena, &p, &count, &d), ERR_CONF);
        assert_true(d.set);
    }
}

/* What a bell has left behind is found again. */
static void a_bell_is_fitted(void **state)
{
    (void)state;
    static struct curve_point points[3601];
    const struct stage bell = {
        .kind = STAGE_NORMAL, .seconds = 3600, .to = 800, .peak_s = 1500, .deviation_s = 300
    };
    for (unsigned i = 0; i <= 3600; i++)
        points[i] = (struct curve_point){ i, stage_level(&bell, i) };
    struct stage found;
    stages_fit_normal(points, 3601, &found);
    assert_true(fabs(found.peak_s - 1500) < 0.1 && fabs(found.deviation_s - 300) < 0.1 &&
                fabs(found.to - 800) < 0.5);
    assert_true(found.seconds == 3600);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(histories),
        cmocka_unit_test(what_is_no_history),
        cmocka_unit_test(a_bell_is_fitted),
    };
    arena_open(&arena, &arena_heap, 1 << 20, NULL, 0);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_close(&arena);
    return failed;
}
