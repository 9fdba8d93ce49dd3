#include "base/hash.h"

#include <sys/random.h>

#include "base/must.h"

static void random_fill(void *out, size_t size)
{
    must(getrandom(out, size, 0) == (ssize_t)size);
}

static inline uint64_t rotl(uint64_t x, int by)
{
    return (x << by) | (x >> (64 - by));
}

struct sip {
    uint64_t v0, v1, v2, v3;
};

static inline void sip_round(struct sip *s)
{
    s->v0 += s->v1;
    s->v1 = rotl(s->v1, 13) ^ s->v0;
    s->v0 = rotl(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotl(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotl(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotl(s->v1, 17) ^ s->v2;
    s->v2 = rotl(s->v2, 32);
}

uint64_t hash_sip13(struct hash_key key, struct bytes text)
{
    struct sip s = { key.k0 ^ 0x736f6d6570736575ULL, key.k1 ^ 0x646f72616e646f6dULL,
                     key.k0 ^ 0x6c7967656e657261ULL, key.k1 ^ 0x7465646279746573ULL };
    const char *at = text.ptr;
    size_t left = text.len;
    for (; left >= 8; left -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        s.v3 ^= word;
        sip_round(&s);
        s.v0 ^= word;
    }
    uint64_t last = 0;
    if (left && text.len >= 8) { /* the last eight, without those that were taken */
        memcpy(&last, at + left - 8, 8);
        last >>= 8 * (8 - left);
    } else {
        for (size_t i = 0; i < left; i++)
            last |= (uint64_t)(unsigned char)at[i] << (8 * i);
    }
    last |= (uint64_t)text.len << 56;
    s.v3 ^= last;
    sip_round(&s);
    s.v0 ^= last;
    s.v2 ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

static struct hash_key process_key;

__attribute__((constructor)) static void seed_process_key(void)
{
    random_fill(&process_key, sizeof process_key);
}

struct hash_key hash_key(void)
{
    return process_key;
}

void hash_set_key(struct hash_key key)
{
    process_key = key;
}

uint64_t hash_bytes(struct bytes text)
{
    return hash_sip13(process_key, text);
}

static _Thread_local uint64_t random_state[2];

uint64_t random_u64(void)
{
    uint64_t *state = random_state;
    while (!(state[0] | state[1]))
        random_fill(state, sizeof random_state);
    uint64_t a = state[0];
    const uint64_t b = state[1];
    state[0] = b;
    a ^= a << 23;
    state[1] = a ^ b ^ (a >> 18) ^ (b >> 5);
    return state[1] + b;
}

void random_seed(uint64_t seed)
{
    random_state[0] = hash_u64(seed + 1);
    random_state[1] = hash_u64(~seed) | 1;
}

uint32_t random_below(uint32_t bound)
{
    return (uint32_t)(((random_u64() >> 32) * bound) >> 32);
}
