#include "core/loop.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "core/worker_internal.h"

const char *loop_name(enum loop_kind kind)
{
    switch (kind) {
    case LOOP_URING:
        return "io_uring";
    case LOOP_EPOLL:
        return "epoll";
    default:
        return "auto";
    }
}

enum loop_kind loop_choose(enum loop_kind wanted, char *ret_reason, unsigned reason_size)
{
    if (wanted == LOOP_EPOLL) {
        snprintf(ret_reason, reason_size, "wanted");
        return LOOP_EPOLL;
    }
#if WEIR_HAVE_URING
    if (loop_uring_probe(ret_reason, reason_size))
        return LOOP_URING;
#else
    snprintf(ret_reason, reason_size, "io_uring: not built in (the kernel headers were too old)");
#endif
    return LOOP_EPOLL;
}
