/* waiting_room: who may come in now, when more come than can be served: so many a second, and a line for the
 * others, in which each knows its place.
 *
 *      comes ──▶ [ bucket: rate, burst ] ──a token──▶ in
 *                    │ none, or others wait
 *                    ▼
 *      ticket 4711 ──▶ open up to 4205 ──▶ 506 in front, 0.5 s ──▶ comes again ──▶ open: a token ──▶ in
 *
 * The bucket is the generic cell rate algorithm: one number, the time at which all that was let in would have
 * been due one by one. Tickets are numbered as they are given out; those up to `open` may take a token, and
 * `open` moves on at the rate; twice as fast while tokens pile up in the bucket, because then too few of
 * those who were called come. A ticket is good for one token: the last used ones are remembered at their
 * number modulo WAITING_USED_MAX, and one that is older than what stands there counts as used.
 *
 * What a client holds of it is a text that is signed by whoever gives it out (filter/order.c); here are
 * numbers. One room serves all workers and outlives reloads: its memory is zeroed at first, has no pointers
 * and is only touched by atomics. Pure but for that memory: the time is an argument; any thread. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define WAITING_USED_MAX (1u << 18)
#define WAITING_RATE_MAX 500000 /* a second */

struct waiting_room {                     /* layout 1 */
    _Alignas(64) _Atomic uint64_t due_ns; /* of the bucket */
    _Alignas(64) _Atomic uint64_t issued; /* tickets */
    _Atomic uint64_t open;                /* up to this one */
    _Atomic uint64_t open_ns;             /* when that last moved */
    _Alignas(64) _Atomic uint64_t epoch;  /* of the tickets' text: whose they are; 0: not set yet */
    _Atomic uint64_t secret[4];           /* that they are signed with; set before epoch */
    _Alignas(64) _Atomic uint64_t used[WAITING_USED_MAX];
};

struct waiting_rate {
    uint64_t interval_ns; /* between two tokens */
    uint64_t burst;       /* tokens, at least 1 */
};

enum waiting_word {
    WAITING_COME_IN,
    WAITING_WAIT, /* with the ticket */
    WAITING_FULL, /* nobody may wait any more, or nobody may at all */
};

struct waiting_verdict {
    enum waiting_word word;
    uint64_t ticket;   /* of WAIT */
    uint64_t position; /* of WAIT: 1 is the next */
    uint64_t wait_ns;  /* until it is this one's turn, about; of FULL: until a token is there */
};

/* Somebody without a ticket. waiting_max: how many may wait; 0: nobody. */
struct waiting_verdict waiting_enter(struct waiting_room *w, const struct waiting_rate *r,
                                     uint64_t waiting_max, uint64_t now_ns);
/* Somebody with one that was given out by this room. One that is used up counts as none. */
struct waiting_verdict waiting_again(struct waiting_room *w, const struct waiting_rate *r,
                                     uint64_t waiting_max, uint64_t ticket, uint64_t now_ns);
/* Tickets that were given out and not called yet. */
uint64_t waiting_count(const struct waiting_room *w);
