/* hash: SipHash-1-3 (Aumasson and Bernstein, 2012; the 1-3 variant is what Rust and CPython use for tables),
 * keyed once a process from the kernel's random source so that nobody outside can choose collisions. Any
 * thread. */
#pragma once
#include <stdint.h>

#include "base/bytes.h"

struct hash_key {
    uint64_t k0, k1;
};

uint64_t hash_sip13(struct hash_key key, struct bytes text);
/* With the process's own key. */
uint64_t hash_bytes(struct bytes text);
/* That key; and another one, of the process that this one takes over from, whose tables it shall find its way
 * in: main thread, before anything is hashed. */
struct hash_key hash_key(void);
void hash_set_key(struct hash_key key);
/* Unkeyed, of one number (the finaliser of MurmurHash3); not against an adversary. */
static inline uint64_t hash_u64(uint64_t x)
{
    x = (x ^ (x >> 33)) * 0xff51afd7ed558ccdULL;
    x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53ULL;
    return x ^ (x >> 33);
}

/* xorshift128+, one state a thread, seeded from the kernel: for choices, ids and jitter; not for secrets. */
uint64_t random_u64(void);
/* The same numbers from here on in every run: tests and simulations. This thread. */
void random_seed(uint64_t seed);
/* Even over 0 to bound - 1 (bound > 0). */
uint32_t random_below(uint32_t bound);
