/* tap: watches exchanges as they end, on all workers, without ever slowing one.
 *
 *   worker 0 ──┐  matches? ─▶ a line of JSON in the next free place
 *   worker 1 ──┼─▶ [ ring of TAP_LINES places ] ──▶ one reader on the control worker
 *   worker n ──┘  no place free: dropped, and counted
 *
 * A ring of places with a number each (D. Vyukov, "Bounded MPMC queue"): a worker that has a line takes the
 * next place by one compare-and-swap; nobody waits. Without a tap it costs one relaxed load an exchange. */
#pragma once
#include <stdatomic.h>

#include "base/diag.h"
#include "gate/exchange.h"

#define TAPS_MAX 4
#define TAP_LINES 256
#define TAP_LINE_BYTES_MAX 4096
#define TAP_TERMS_MAX 8

/* ---- which exchanges: "status=5xx path=/api/ * ms>=100" (no space), all terms must fit */

enum tap_field {
    TAP_METHOD,
    TAP_HOST,
    TAP_PATH,
    TAP_SERVICE,
    TAP_SERVER,
    TAP_CLIENT,
    TAP_ROUTE,
    TAP_STATUS,
    TAP_MS
};
enum tap_is { TAP_IS, TAP_IS_NOT, TAP_AT_LEAST, TAP_AT_MOST };
struct tap_term {
    enum tap_field field;
    enum tap_is is;
    struct bytes text;    /* a * at its end takes any rest */
    uint64_t least, most; /* of numbers */
};
struct tap_match {
    struct tap_term terms[TAP_TERMS_MAX];
    unsigned count;
    char text[512]; /* what the terms point into */
};
/* ERR_SYNTAX with words. */
err tap_match_parse(struct bytes text, struct tap_match *ret_match, struct diag *reterr) CHECK_RESULT;
bool tap_matches(const struct tap_match *m, const struct exchange *x, uint64_t took_us);

/* The line of an exchange, cut to what fits; with fields the heads as well (secrets left out). Returns its
 * length, the newline included. */
size_t tap_line(const struct exchange *x, bool fields, uint64_t took_us, uint64_t wall_us,
                char out[TAP_LINE_BYTES_MAX]);

/* ---- workers */

extern _Atomic unsigned taps_open;
void tap_offer(const struct exchange *x);
/* An exchange has ended. */
static inline void tap_exchange(const struct exchange *x)
{
    if (atomic_load_explicit(&taps_open, memory_order_relaxed))
        tap_offer(x);
}

/* ---- the reader: control worker, one fiber */

struct tap;
/* ERR_LIMIT: TAPS_MAX are open. */
err tap_open(const struct tap_match *m, bool fields, struct tap **ret_tap) CHECK_RESULT;
/* Copies whole lines to out (size at least TAP_LINE_BYTES_MAX), as many as are there; waits for the first.
 * ERR_TIMEOUT: none until the deadline; ERR_CLOSED: tap_end_all was called. */
err tap_read(struct tap *t, uint64_t deadline_us, char *out, size_t size, size_t *ret_len) CHECK_RESULT;
/* Lines lost since the last look. */
uint64_t tap_dropped(struct tap *t);
void tap_close(struct tap *t);
/* The process stops: readers come to an end. */
void tap_end_all(void);
