#include "gate/cpus.h"

#include <sched.h>

#include "base/test.h"

static void quotas(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned cores;
    } cases[] = {
        { "max 100000", 0 },
        { "max 100000\n", 0 },
        { "100000 100000", 1 },
        { "100000 100000\n", 1 },
        { "100001 100000", 2 },
        { "150000 100000", 2 },
        { "200000 100000", 2 },
        { "1 100000", 1 },
        { "50000 100000", 1 },
        { "400000 50000", 8 },
        { "100000000000 100000", CPUS_MAX },
        { "0 100000", 0 },
        { "100000 0", 0 },
        { "100000", 0 },
        { "", 0 },
        { "x", 0 },
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned cores = cpus_of_quota(cases[i].text);
        if (cores != cases[i].cores)
            fail_msg("\"%s\": %u, not %u", cases[i].text, cores, cases[i].cores);
    }
}

static void affinity(void **state)
{
    (void)state;
    int cpus[CPUS_MAX];
    cpu_set_t before;
    cpu_set_t one;
    unsigned count = cpus_allowed(cpus);
    assert_in_range(count, 1, CPUS_MAX);
    assert_in_range(cpus_auto(), 1, count);
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    for (unsigned i = 0; i < count; i++)
        assert_true(CPU_ISSET((size_t)cpus[i], &before));
    CPU_ZERO(&one);
    CPU_SET((size_t)cpus[count - 1], &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    int last = cpus[count - 1];
    assert_int_equal(cpus_allowed(cpus), 1);
    assert_int_equal(cpus[0], last);
    assert_int_equal(cpus_auto(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quotas),
        cmocka_unit_test(affinity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
