#include "base/must.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void must_fail(const char *what, const char *file, int line)
{
    fprintf(stderr, "weir: bug: must(%s) does not hold at %s:%d\n", what, file, line);
    abort();
}
