/* quic_replay: remembers for a while what has been seen, so that early data is taken once (RFC 8446 8.2:
 * recording what ClientHellos said). In memory that all workers share, and the next process of an upgrade.
 *
 *      hash ─▶ row of 8 places   [ tag | until ] [ tag | until ] ...      full of what is still remembered:
 * "seen"
 *
 * What it says wrongly is only ever "seen": then the early data waits for the handshake. No lock: places are
 * atomics, and two that put the same in at the same time may both be told "seen". Any thread. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define QUIC_REPLAY_ROWS 65536 /* half a million in all, 4 MiB: touched as they are used */
#define QUIC_REPLAY_PLACES 8   /* a row is a cache line */

struct quic_replay { /* layout 1; zeroed: nothing seen */
    _Alignas(64) _Atomic uint64_t rows[QUIC_REPLAY_ROWS][QUIC_REPLAY_PLACES];
};

/* Not seen before, or so long ago that it was forgotten; from now on it is remembered until until_s. hash is
 * keyed. Seconds of the wall clock, below 2^32. */
bool quic_replay_first(struct quic_replay *r, uint64_t hash, uint32_t now_s, uint32_t until_s);
