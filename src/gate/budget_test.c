#include "gate/budget.h"

#include <pthread.h>

#include "base/must.h"
#include "core/io_test.h"

#define WINDOWS 3
#define START_MS 1000000

static struct budget *open_fresh(void)
{
    return budget_open("test", BYTES("shop"), WINDOWS);
}

static unsigned take_all(struct budget *b, double share, uint64_t extra_per_s, uint64_t now_ms)
{
    unsigned n = 0;
    while (n < 100000 && budget_take(b, WINDOWS, share, extra_per_s, now_ms))
        n++;
    return n;
}

static void a_share_of_all_workers(void)
{
    struct budget *b = open_fresh();
    for (unsigned i = 0; i < 1000; i++)
        budget_count(b, i % WINDOWS, START_MS + i);
    must(take_all(b, 0.2, 0, START_MS + 1000) == 200);
    must(take_all(b, 0.2, 0, START_MS + 1000) == 0);
    must(take_all(b, 0.25, 0, START_MS + 1001) == 50); /* what was taken counts */
    budget_close(b);
}
TEST(a_share_of_all_workers)

static void a_few_are_always_allowed(void)
{
    struct budget *b = open_fresh();
    must(take_all(b, 0.2, 3, START_MS) == 30);
    must(take_all(b, 0.2, 0, START_MS) == 0);
    budget_close(b);
}
TEST(a_few_are_always_allowed)

static void the_window_slides(void)
{
    struct budget *b = open_fresh();
    for (unsigned second = 0; second < 10; second++)
        for (unsigned i = 0; i < 100; i++)
            budget_count(b, 0, START_MS + second * 1000);
    must(take_all(b, 0.1, 0, START_MS + 9000) == 100);
    /* a second later a tenth of the requests is too old, and what was taken is not */
    must(take_all(b, 0.1, 0, START_MS + 10000) == 0);
    must(take_all(b, 0.1, 0, START_MS + 18000) == 0);
    /* when what was taken is too old the requests are as well */
    must(take_all(b, 0.1, 1, START_MS + 30000) == 10);
    budget_close(b);
}
TEST(the_window_slides)

static void kept_over_reloads(void)
{
    struct budget *a = open_fresh();
    struct budget *b = open_fresh();
    must(a == b);
    budget_close(a);
    must(take_all(b, 0, 1, START_MS) == 10);
    budget_close(b);
    b = open_fresh();
    must(take_all(b, 0, 1, START_MS) == 10);
    budget_close(b);
}
TEST(kept_over_reloads)

static _Atomic unsigned taken;

static void *taker(void *arg)
{
    for (unsigned i = 0; i < 20000; i++)
        taken += budget_take(arg, WINDOWS, 0.5, 0, START_MS);
    return NULL;
}

/* Four threads, and a budget for fewer than they want. */
static void never_too_many(void)
{
    struct budget *b = open_fresh();
    pthread_t threads[4];
    for (unsigned i = 0; i < 10000; i++)
        budget_count(b, 1, START_MS);
    taken = 0;
    for (unsigned i = 0; i < 4; i++)
        must(pthread_create(&threads[i], NULL, taker, b) == 0);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    must(taken == 5000);
    budget_close(b);
}
TEST(never_too_many)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_share_of_all_workers), cmocka_unit_test(test_a_few_are_always_allowed),
        cmocka_unit_test(test_the_window_slides),      cmocka_unit_test(test_kept_over_reloads),
        cmocka_unit_test(test_never_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
