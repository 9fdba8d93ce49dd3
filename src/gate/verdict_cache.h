/* verdict_cache: what a slow check has found, remembered for a while: that a token's signature holds, that a
 * password is right. In memory of a fixed size, of one worker; what is pushed out is checked again.
 *
 *      set:  [ key until value ] [ key until value ] [ ... ] [ ... ]      the one that ends first gives way
 *
 * A key is 128 bits of two SipHashes of the request's secret, keyed from the kernel's random source when the
 * cache is made: the secret itself is not kept, and nobody outside can look for two that collide. */
#pragma once
#include "base/bytes.h"

struct verdict_cache;

struct verdict_key {
    uint64_t a, b;
};

/* entries_max: rounded up to whole sets; value_bytes_max: of one value. NULL: no memory. */
struct verdict_cache *verdict_cache_open(size_t entries_max, size_t value_bytes_max);
/* NULL is allowed. */
void verdict_cache_close(struct verdict_cache *c);

/* The parts as they are, apart from each other: ("ab", "c") is not ("a", "bc"). */
struct verdict_key verdict_cache_key(const struct verdict_cache *c, const struct bytes *parts, size_t count);
/* false: nothing is known, or not any more. *ret_value lives until the next put. */
bool verdict_cache_find(struct verdict_cache *c, struct verdict_key key, uint64_t now_us,
                        struct bytes *ret_value);
/* Known until until_us. A value that is too long is not kept. */
void verdict_cache_put(struct verdict_cache *c, struct verdict_key key, uint64_t now_us, uint64_t until_us,
                       struct bytes value);
