#include "base/err.h"

#include <errno.h>

#include "base/test.h"

static void every_code_has_its_words(void **state)
{
    (void)state;
    assert_int_equal(OK, 0);
    for (int i = 0; i < ERR_COUNT; i++) {
        assert_true(strlen(err_text((err)i)) > 1);
        assert_true(i == OK || strncmp(err_name((err)i), "ERR_", 4) == 0);
    }
    assert_string_equal(err_name(ERR_TIMEOUT), "ERR_TIMEOUT");
    assert_string_equal(err_text(ERR_TIMEOUT), "deadline passed");
    assert_string_equal(err_name(ERR_COUNT), "ERR_UNKNOWN");
    assert_string_equal(err_text((err)-1), "unknown error");
}

static void errno_values_mean_what_callers_decide_by(void **state)
{
    (void)state;
    static const struct {
        int number;
        err means;
    } pairs[] = {
        { 0, OK },
        { EAGAIN, ERR_AGAIN },
        { ETIMEDOUT, ERR_TIMEOUT },
        { EHOSTUNREACH, ERR_UNREACHABLE },
        { ECONNREFUSED, ERR_REFUSED },
        { ECANCELED, ERR_CANCELLED },
        { EMFILE, ERR_LIMIT },
        { ENOMEM, ERR_MEMORY },
        { ENOENT, ERR_NOT_FOUND },
        { EADDRINUSE, ERR_IN_USE },
        { EACCES, ERR_DENIED },
        { ENOSYS, ERR_UNSUPPORTED },
        { EIO, ERR_IO },
        { EBADF, ERR_SYSTEM },
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        assert_int_equal(err_from_errno(pairs[i].number), pairs[i].means);
    for (int number = 1; number < 200; number++)
        assert_int_not_equal(err_from_errno(number), OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_its_words),
        cmocka_unit_test(errno_values_mean_what_callers_decide_by),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
