/* rate_table: how much each of very many keys has used of its rate, in fixed memory that all workers share.
 *
 *      set, one cache line      word │ word │ word │ ... (8 of them)
 *      word, 64 bits            tag of the key (20) │ tat (44)
 *
 * The decision is the generic cell rate algorithm (ITU-T I.371 Annex A; Brandur Leach, "Rate limiting, cells,
 * and GCRA", 2015): of each key one number is kept, the time at which all that it was given would have been
 * due one by one (its "theoretical arrival time", tat). A tat that has passed is the same as none at all:
 * what is forgotten then is not missed.
 *
 * A key belongs to the one set that its hash names. It is charged by one compare-and-swap of its word. A key
 * that is not there takes the word of the set whose tat is the earliest, again by one compare-and-swap:
 * nobody ever waits. When even that one has not passed (more keys are active than there is room for) the new
 * key goes on from where the other was: it gets what that one had left. So a set never grants more than its
 * eight words may, whatever comes.
 *
 * Why two workers cannot enter one key twice: a word's tat only grows. Let A enter the key at word i and B at
 * word j, neither having seen the other's. B found tat(j) <= tat(i), with i as A found it or older; A found
 * tat(i) <= tat(j), with j as B found it or older, since both words were still as found when they were
 * swapped. So they are equal, and of equal ones both take the first: i = j, and one of the swaps failed.
 * Words are read one by one, in any order. (Only rate_table_refund takes a tat back; in that moment a third
 * may enter a key twice, which lets one request more pass.)
 *
 * Time is counted in ticks of a whole part of the interval between two requests, so that any rate is kept
 * exactly; a tat is a number of ticks modulo 2^44. Ticks are at least 32 us for rates up to 900 a second,
 * which lasts 18 years; for faster ones they are shorter. A key that comes back exactly then is taken for
 * what it was, for ten seconds.
 *
 * The memory is zeroed at first, has no pointers, and may outlive the process. Pure; any thread. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"

/* ---- a rate */

#define RATE_BURST_MAX 1000000000
#define RATE_COUNT_MAX 10000000

struct rate {
    uint64_t factor;      /* ticks in a nanosecond, times 2^64 */
    uint64_t burst_ticks; /* how far ahead of the clock a tat may run */
    uint64_t ahead_max;   /* what is further ahead is a tat of long ago */
    unsigned shift;       /* an interval between two requests has 2^shift ticks */
    uint64_t count, per_ms;
};

/* count requests in per_ms, burst at once. false: so large a burst at this rate is years ahead of the clock.
 */
bool rate_init(struct rate *ret_rate, uint64_t count, uint64_t per_ms, uint64_t burst);

struct rate_verdict {
    bool allowed;
    bool forgot;        /* another key had to be forgotten early */
    uint64_t remaining; /* requests that would still be allowed at this moment */
    uint64_t wait_ns;   /* when not allowed: until it will be */
};
/* How long until all of the burst is back when so much of it remains. */
uint64_t rate_full_ns(const struct rate *r, uint64_t remaining);

/* ---- the table */

#define RATE_SET_WORDS 8

struct rate_set {
    _Atomic uint64_t words[RATE_SET_WORDS];
};

/* The head of the shared memory; one cache line, like a set. */
struct rate_memory {
    _Atomic uint64_t seed; /* of the hash; 0: none yet */
    uint64_t unused[7];
    struct rate_set sets[];
};

struct rate_table {
    struct rate_set *sets;
    uint64_t count;
    uint64_t k0, k1; /* of the hash */
};

/* Bytes of memory for keys_max keys: 32 each, since keys do not spread evenly; 1: one set. */
size_t rate_table_bytes(uint64_t keys_max);
/* memory: rate_table_bytes(keys_max) of it, 64-byte aligned. Several may open the same one at the same time.
 */
void rate_table_open(struct rate_table *t, void *memory, uint64_t keys_max);

/* Where a key stands. */
struct rate_place {
    struct rate_set *set;
    uint64_t tag; /* at its place in the word */
};

/* Also asks for the memory to be fetched. */
struct rate_place rate_table_find(const struct rate_table *t, struct bytes key);
/* Charges the key for `cost` requests, or says when it may come again. A cost above the burst counts as the
 * burst. */
struct rate_verdict rate_table_take(struct rate_place p, const struct rate *r, uint64_t cost,
                                    uint64_t now_ns);
/* What rate_table_take would say. */
struct rate_verdict rate_table_peek(struct rate_place p, const struct rate *r, uint64_t cost,
                                    uint64_t now_ns);
/* Takes back what rate_table_take has charged a moment ago. */
void rate_table_refund(struct rate_place p, const struct rate *r, uint64_t cost);
