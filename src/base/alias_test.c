#include "base/alias.h"

#include "base/mem.h"
#include "base/test.h"

/* Of all columns and an even grid of their parts: exact but for the grid. */
static void assert_shares(const uint32_t *weights, uint32_t count)
{
    struct alias a;
    assert_true(alias_open(&a, count));
    alias_fill(&a, weights);
    uint64_t total = 0;
    double *share = mem_get(count * sizeof *share);
    for (uint32_t i = 0; i < count; i++)
        total += weights[i];
    const uint32_t grid = 4096;
    for (uint32_t column = 0; column < count; column++) {
        const uint64_t high = (((uint64_t)column << 32) + count) / count;
        for (uint32_t i = 0; i < grid; i++) {
            const uint32_t drawn = alias_draw(&a, high << 32 | ((uint64_t)i << 32) / grid);
            assert_true(drawn < count);
            share[drawn] += 1.0 / grid / count;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        const double wanted = (double)weights[i] / (double)total;
        assert_true(share[i] > wanted - 0.001 && share[i] < wanted + 0.001);
    }
    mem_free(share);
    alias_close(&a);
}

static void shares_follow_the_weights(void **state)
{
    (void)state;
    assert_shares((const uint32_t[]){ 1 }, 1);
    assert_shares((const uint32_t[]){ 1, 2, 3, 10, 4 }, 5);
    assert_shares((const uint32_t[]){ 0, 5, 0, 5 }, 4);
    assert_shares((const uint32_t[]){ 1000, 1, 1 }, 3);
    assert_shares((const uint32_t[]){ 1u << 28, 1u << 28, 3 }, 3);
}

static void is_filled_again(void **state)
{
    (void)state;
    struct alias a;
    assert_true(alias_open(&a, 3));
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(alias_draw(&a, ((i << 32) / 3 + 1) << 32), i); /* even before it is filled */
    alias_fill(&a, (const uint32_t[]){ 1, 0, 0 });
    for (uint64_t i = 0; i < 300; i++)
        assert_int_equal(alias_draw(&a, i * 0x9e3779b97f4a7c15ULL), 0);
    alias_fill(&a, (const uint32_t[]){ 0, 0, 7 });
    for (uint64_t i = 0; i < 300; i++)
        assert_int_equal(alias_draw(&a, i * 0x9e3779b97f4a7c15ULL), 2);
    alias_close(&a);
}

static void no_memory_is_said(void **state)
{
    (void)state;
    struct alias a;
    for (uint64_t n = 1; n <= 3; n++) {
        mem_fail_at(n);
        assert_false(alias_open(&a, 3));
        assert_null(a.columns);
    }
    mem_fail_at(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_follow_the_weights),
        cmocka_unit_test(is_filled_again),
        cmocka_unit_test(no_memory_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
