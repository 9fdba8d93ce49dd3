#include "load/compare.h"

#include "base/test.h"

static struct arena arena;

static const struct json *result(const char *text)
{
    struct json *j;
    assert_int_equal(json_read(bytes_from(text), &arena, &j), OK);
    return j;
}

#define HISTOGRAM(p50, p99)                                                                         \
    "{\"response\":{\"p50\":" p50 ",\"p90\":" p50 ",\"p99\":" p99 ",\"p99_9\":" p99 ",\"max\":" p99 \
    ",\"mean\":" p50 "}}"
#define RUN(rate, failed, p50, p99, kinds)                                                  \
    "{\"target\":\"http://x/\",\"seconds\":10,\"open_loop\":true,\"total\":{\"rate\":" rate \
    ",\"tried\":1000,\"failed\":" failed ",\"latency_ns\":" HISTOGRAM(p50, p99) "},\"kinds\":[" kinds "]}"
#define KIND(name, rate) \
    "{\"name\":\"" name "\",\"rate\":" rate ",\"latency_ns\":" HISTOGRAM("1000000", "2000000") "}"

static struct compare_found compared(const char *a, const char *b, const char *says)
{
    struct text t = { 0 };
    struct compare_found found;
    compare_print(&t, result(a), result(b), 0.05, &found);
    text_add(&t, (struct bytes){ "", 1 });
    if (!strstr(t.at, says))
        fail_msg("no \"%s\" in:\n%s", says, t.at);
    text_free(&t);
    return found;
}

static void what_is_worse_and_better(void **state)
{
    (void)state;
    static const char same[] = RUN("100", "1", "1000000", "2000000", "");
    struct compare_found f = compared(same, same, "+0.0%");
    assert_true(f.worse == 0 && f.better == 0);
    f = compared(same, RUN("96", "40", "1040000", "1910000", ""), "+3.9 points");
    assert_true(f.worse == 0 && f.better == 0); /* all within 5 % */
    f = compared(same, RUN("90", "60", "1100000", "1000000", ""), "-50.0%  better");
    assert_true(f.worse == 5 && f.better == 3); /* rate, failed, p50, p90, mean; p99, p99.9, max */
    f = compared(RUN("100", "0", "0", "0", ""), same, "worse");
    assert_int_equal(f.worse, 6);
}

static void kinds_are_compared_by_name(void **state)
{
    (void)state;
    static const char a[] = RUN("1", "0", "1", "1", KIND("x", "10") "," KIND("y", "20") "," KIND("z", "5"));
    static const char b[] = RUN("1", "0", "1", "1", KIND("y", "10") "," KIND("x", "10"));
    struct compare_found f = compared(a, b, "z: not in b");
    assert_int_equal(f.worse, 1);
    compared(a, b, "-50.0%  worse");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_worse_and_better),
        cmocka_unit_test(kinds_are_compared_by_name),
    };
    arena_open(&arena, &arena_heap, 4 << 20, NULL, 0);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_close(&arena);
    return failed;
}
