/* watch: fibers that wait until something else is shown of a record (ledger/rules.h: shown): who gets a lock,
 * what comes into a topic. Nobody looks again and again.
 *
 *      writer: a batch is durable, and shows ──▶ [key's watches, in order of arrival] ──mail──▶ the fiber
 * wakes
 *
 * Watches of one key may stand in a line: then only the first is told, and looks; when it goes, the next is
 * told, for there may be something left. Over all workers; who came first is first.
 *
 * A watch that has begun misses nothing: what was shown before is seen by asking the writer after. For one
 * change it may be told twice. Memory: the caller's, and that fiber's alone, until ended. */
#pragma once
#include "base/bytes.h"
#include "base/err.h"
#include "base/list.h"

struct fiber;
struct watch_port;

/* A fiber that waits, for one watch or several. */
struct waiter {
    struct link told_link; /* of those that its worker is to wake */
    struct watch_port *port;
    struct fiber *fiber; /* while it waits */
    bool is_told, is_queued;
};

struct watch {
    struct link link; /* of its slot */
    struct waiter *waiter;
    uint64_t hash, line, value;
    bool knows, is_first;
};

/* From a fiber of a worker. */
void waiter_open(struct waiter *w);
/* line: 0: it stands in none. */
void watch_begin(struct watch *x, struct waiter *w, uint8_t rules, struct bytes key, uint64_t line);
/* Is it the first of its line (or in none)? Only then it may take something. */
bool watch_is_first(const struct watch *x);
void watch_end(struct watch *x);
/* After its watches. */
void waiter_close(struct waiter *w);
/* Until one of its watches is told (OK, also when that was before), the deadline (ERR_TIMEOUT),
 * ERR_CANCELLED. */
err waiter_wait(struct waiter *w, uint64_t deadline_us) CHECK_RESULT;
/* As if it were told: from its own worker. */
void waiter_wake(struct waiter *w);

/* The writer: that is shown now. */
void watch_tell(uint64_t hash, bool gone, uint64_t value);
/* It stops: all look for themselves. */
void watch_tell_all(void);
