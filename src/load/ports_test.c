#include "load/ports.h"

#include "base/test.h"

/* Every port of the range is in one window and no more, wherever it begins. */
static void the_windows_are_the_range(void **state)
{
    (void)state;
    static const uint16_t ranges[][2] = {
        { 32768, 60999 }, { 1024, 65535 }, { 5000, 5001 }, { 5000, 5511 }, { 5000, 5512 }
    };
    for (unsigned i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        for (unsigned seed = 0; seed < 200; seed += 7) {
            struct ports p;
            unsigned seen = 0;
            ports_open(&p, ranges[i][0], ranges[i][1], seed);
            for (unsigned n = ports_windows(&p); n; n--, ports_next(&p)) {
                uint16_t from, to;
                ports_window(&p, &from, &to);
                assert_true(from >= ranges[i][0] && to <= ranges[i][1] && from <= to &&
                            (unsigned)(to - from) < PORTS_WINDOW);
                seen += to - from + 1u;
            }
            assert_int_equal(seen, ranges[i][1] - ranges[i][0] + 1);
        }
    }
}

static void the_system_has_one(void **state)
{
    (void)state;
    uint16_t first, last;
    if (ports_of_system(&first, &last))
        assert_true(first < last);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_windows_are_the_range),
        cmocka_unit_test(the_system_has_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
