/* must: an assertion about our own code that stays on in production. Input from outside never reaches one. */
#pragma once

_Noreturn void must_fail(const char *what, const char *file, int line);

#define must(condition) \
    (__builtin_expect(!!(condition), 1) ? (void)0 : must_fail(#condition, __FILE__, __LINE__))
