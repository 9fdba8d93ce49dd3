/* replay: the requests of an access log, as they came: JSON or common/combined lines of weir's (the latter as
 * Apache and nginx write them too). Main thread; immutable then.
 *
 *      {"time":"2026-03-02T10:15:04.211370Z","method":"GET","target":"/a", ...}
 *      203.0.113.7 - - [02/Mar/2026:10:15:04 +0000] "GET /a HTTP/1.1" 200 92
 *
 * Lines are sorted by time; those that share a second in a log that knows no fractions are spread over it. */
#pragma once
#include "base/arena.h"
#include "base/diag.h"
#include "base/err.h"

struct replay_line {
    uint64_t at_us; /* from the first one */
    struct bytes method, target;
};

struct replay {
    struct replay_line *lines;
    size_t count;
    size_t skipped; /* lines that are no requests */
};

/* In the arena; text is borrowed. ERR_CONF, with words: not one line was understood. ERR_MEMORY. */
err replay_read(struct bytes text, struct arena *a, struct replay *ret_replay,
                struct diag *reterr) CHECK_RESULT;
