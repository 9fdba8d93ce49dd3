/* test: cmocka with the headers that it wants before it, and a few comparisons of our own. For *_test.c only.
 */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/bytes.h"

#define assert_bytes_equal(a, b) test_bytes_equal(a, b, __FILE__, __LINE__)

static inline void test_bytes_equal(struct bytes a, struct bytes b, const char *file, int line)
{
    if (bytes_eq(a, b))
        return;
    print_error("\"%.*s\" is not \"%.*s\"\n", BYTES_ARG(a), BYTES_ARG(b));
    _fail(file, line);
}

/* A number of the environment, so that somebody can ask for another seed or a longer run. */
static inline uint64_t test_setting(const char *name, uint64_t otherwise)
{
    uint64_t value;
    const char *text = getenv(name);
    return text && bytes_to_u64(bytes_from(text), &value) ? value : otherwise;
}
