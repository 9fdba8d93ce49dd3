/* replay: a request's body that can be sent again. What is pulled through it is copied up to a bound, so that
 * nothing has to wait for the whole of it; once the bound is passed it is just passed on, and cannot be
 * replayed.
 *
 *      client ──▶ [ the body ] ──▶ [ replay: copy ▒▒▒▒▒░░░ ] ──▶ pulled by the first attempt
 *                                          └── rewound: ▒▒▒▒▒ from memory, then the rest ──▶ by the second
 *
 * It lives in the exchange's arena and closes what it wraps. */
#pragma once
#include "base/arena.h"
#include "gate/body.h"

struct replay {
    struct body body;
    struct body *inner;
    char *copy;
    size_t size; /* of copy */
    size_t kept; /* bytes in it: all that were taken from inner so far, unless lost */
    size_t at;   /* how many of them were given in this run */
    struct bytes lent;
    bool lost; /* more came than there is room for */
};

/* Around inner; at most bytes_max are kept. NULL: it can be seen to be too long, or the arena has no room. */
struct replay *replay_new(struct arena *a, struct body *inner, size_t bytes_max);
/* The next pull begins with the first byte again. false: it is lost. No other fiber may be pulling. */
bool replay_rewind(struct replay *r);
