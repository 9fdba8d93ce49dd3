#include "gate/rate_table.h"

#include "base/hash.h"
#include "base/must.h"

#define NS_OF_MS 1000000ull

#define TAT_BITS 44
#define TAT_MASK ((UINT64_C(1) << TAT_BITS) - 1)
#define TAG_MASK (~TAT_MASK)

/* ---- a rate ---- */

#define TICK_NS_MIN 32768u
#define SHIFT_MIN 5                 /* a place comes back at most a 32nd of an interval late */
#define SHIFT_MAX 40                /* of an interval of more than a year */
#define CLOCK_APART_NS 10000000000u /* workers read the clock at different moments */
#define AHEAD_MAX (UINT64_C(1) << (TAT_BITS - 2))

static uint64_t ticks_of(const struct rate *r, uint64_t ns)
{
    return (uint64_t)(((unsigned __int128)ns * r->factor) >> 64);
}

/* Rounded up. */
static uint64_t ns_of(const struct rate *r, uint64_t ticks)
{
    const unsigned __int128 ns = (unsigned __int128)ticks * r->per_ms * NS_OF_MS;
    const unsigned __int128 intervals = (unsigned __int128)r->count << r->shift;
    return (uint64_t)((ns + intervals - 1) / intervals);
}

bool rate_init(struct rate *ret_rate, uint64_t count, uint64_t per_ms, uint64_t burst)
{
    must(count && count <= RATE_COUNT_MAX && per_ms && burst && burst <= RATE_BURST_MAX);
    struct rate r = { .count = count, .per_ms = per_ms, .shift = SHIFT_MIN };
    const uint64_t interval_ns = per_ms * NS_OF_MS / count;
    while (r.shift < SHIFT_MAX && interval_ns >> (r.shift + 1) >= TICK_NS_MIN)
        r.shift++;
    r.factor = (uint64_t)(((unsigned __int128)count << (64 + r.shift)) / (per_ms * NS_OF_MS));
    if (burst > AHEAD_MAX >> (r.shift + 1))
        return false;
    r.burst_ticks = burst << r.shift;
    r.ahead_max = r.burst_ticks + ticks_of(&r, CLOCK_APART_NS);
    if (r.ahead_max > AHEAD_MAX)
        r.ahead_max = AHEAD_MAX;
    *ret_rate = r;
    return true;
}

/* ---- the table ---- */

static uint64_t sets_for(uint64_t keys_max)
{
    return keys_max == 1 ? 1 : keys_max / 2 + 1;
}

size_t rate_table_bytes(uint64_t keys_max)
{
    return sizeof(struct rate_memory) + sets_for(keys_max) * sizeof(struct rate_set);
}

void rate_table_open(struct rate_table *t, void *memory, uint64_t keys_max)
{
    struct rate_memory *m = memory;
    must((uintptr_t)memory % sizeof(struct rate_set) == 0);
    uint64_t seed = 0;
    const uint64_t mine = random_u64() | 1;
    if (atomic_compare_exchange_strong(&m->seed, &seed, mine))
        seed = mine;
    *t = (struct rate_table){ m->sets, sets_for(keys_max), seed, hash_u64(seed) };
}

struct rate_place rate_table_find(const struct rate_table *t, struct bytes key)
{
    const uint64_t hash = hash_sip13((struct hash_key){ t->k0, t->k1 }, key);
    struct rate_set *set = &t->sets[(uint64_t)(((unsigned __int128)hash * t->count) >> 64)];
    __builtin_prefetch(set, 1);
    return (struct rate_place){ set,
                                hash << TAT_BITS }; /* the set is the hash's upper bits, the tag its lower */
}

/* A word as this moment sees it. */
struct found {
    unsigned index;
    uint64_t word;
    uint64_t ahead; /* ticks from now to its tat; 0: it has passed, or there is none */
    bool is_key;
};

/* Ticks from now to tat; below 0 when it has passed. */
static int64_t ahead_of(const struct rate *r, uint64_t word, uint64_t now)
{
    const uint64_t ahead = (word - now) & TAT_MASK;
    if (!word)
        return INT64_MIN;
    return ahead <= r->ahead_max ? (int64_t)ahead : (int64_t)ahead - (INT64_C(1) << TAT_BITS);
}

static uint64_t word_read(const struct rate_set *s, unsigned i)
{
    return atomic_load_explicit(&s->words[i], memory_order_relaxed);
}

static struct found find(struct rate_place p, const struct rate *r, uint64_t now)
{
    struct found f = { 0 };
    int64_t earliest = INT64_MAX;
    for (unsigned i = 0; i < RATE_SET_WORDS; i++) {
        const uint64_t word = word_read(p.set, i);
        const int64_t ahead = ahead_of(r, word, now);
        if (word && (word & TAG_MASK) == p.tag)
            return (struct found){ i, word, ahead > 0 ? (uint64_t)ahead : 0, true };
        if (ahead < earliest) {
            earliest = ahead;
            f = (struct found){ i, word, ahead > 0 ? (uint64_t)ahead : 0, false };
        }
    }
    return f;
}

static uint64_t cost_ticks(const struct rate *r, uint64_t cost)
{
    return cost >= r->burst_ticks >> r->shift ? r->burst_ticks : cost << r->shift;
}

static struct rate_verdict decide(const struct rate *r, const struct found *f, uint64_t cost,
                                  uint64_t *ret_ahead)
{
    const uint64_t ahead = f->ahead + cost_ticks(r, cost);
    *ret_ahead = ahead;
    if (ahead > r->burst_ticks)
        return (struct rate_verdict){ .wait_ns = ns_of(r, ahead - r->burst_ticks),
                                      .remaining = f->ahead < r->burst_ticks
                                                       ? (r->burst_ticks - f->ahead) >> r->shift
                                                       : 0 };
    return (struct rate_verdict){ .allowed = true,
                                  .forgot = !f->is_key && f->ahead,
                                  .remaining = (r->burst_ticks - ahead) >> r->shift };
}

struct rate_verdict rate_table_take(struct rate_place p, const struct rate *r, uint64_t cost, uint64_t now_ns)
{
    const uint64_t now = ticks_of(r, now_ns);
    for (;;) {
        struct found f = find(p, r, now);
        uint64_t ahead;
        const struct rate_verdict v = decide(r, &f, cost, &ahead);
        const uint64_t next = p.tag | ((now + ahead) & TAT_MASK);
        if (!v.allowed || atomic_compare_exchange_strong_explicit(&p.set->words[f.index], &f.word, next,
                                                                  memory_order_relaxed, memory_order_relaxed))
            return v;
    }
}

struct rate_verdict rate_table_peek(struct rate_place p, const struct rate *r, uint64_t cost, uint64_t now_ns)
{
    const uint64_t now = ticks_of(r, now_ns);
    const struct found f = find(p, r, now);
    uint64_t ahead;
    return decide(r, &f, cost, &ahead);
}

uint64_t rate_full_ns(const struct rate *r, uint64_t remaining)
{
    return ns_of(r, r->burst_ticks - (remaining << r->shift));
}

void rate_table_refund(struct rate_place p, const struct rate *r, uint64_t cost)
{
    for (unsigned i = 0; i < RATE_SET_WORDS; i++) {
        uint64_t word = word_read(p.set, i);
        while (word && (word & TAG_MASK) == p.tag) {
            const uint64_t less = p.tag | ((word - cost_ticks(r, cost)) & TAT_MASK);
            if (atomic_compare_exchange_strong_explicit(&p.set->words[i], &word, less, memory_order_relaxed,
                                                        memory_order_relaxed))
                return;
        }
    }
}
