#include "core/io_test.h"

#if WEIR_HAVE_OPENSSL
#include "net/tls_first.c"

/* A flood of newcomers does not take a whole turn. */
static void a_few_begin_in_a_turn(void)
{
    unsigned begun = 0;
    for (; begun < 100 && may_begin(); begun++)
        here.begun++;
    must(begun == 4);
    here.begun_us = worker_now_us() - 1; /* the next turn */
    must(may_begin());
}

TEST(a_few_begin_in_a_turn)

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_a_few_begin_in_a_turn) };
    test_loop = LOOP_EPOLL;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void)
{
    return 77;
}
#endif
