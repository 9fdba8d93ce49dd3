/* rate_limit_bench: what one decision of rate_limit costs, with a million keys in random order, so that
 * hardly any is in a cache. No sockets, no other work: the time from a client's address to the verdict.
 *
 *      cc -O2 -D_GNU_SOURCE -Isrc bench/micro/rate_limit_bench.c
 *         src/gate/{rate_table,shared_area}.c src/base/{hash,must,mem}.c -lpthread */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "base/hash.h"
#include "gate/rate_table.h"
#include "gate/shared_area.h"

#define KEYS 1000000u
#define DECISIONS 8000000u

static struct rate_table table;
static struct rate rate;
static uint32_t *order;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void *ordinary_memory(size_t size)
{
    char *m = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m == MAP_FAILED || madvise(m, size, MADV_NOHUGEPAGE))
        abort();
    return m;
}

/* The gate's shared memory: in huge pages where the system can. */
static void *gate_memory(size_t size)
{
    const uint64_t began = now_ns();
    void *m = area_take(size);
    if (!m)
        abort();
    printf("%zu MiB in %.1f ms\n", size >> 20, (double)(now_ns() - began) / 1e6);
    return m;
}

static struct bytes key_at(uint32_t i)
{
    return (struct bytes){ (const char *)&order[i % DECISIONS], sizeof *order };
}

static void say(const char *what, uint64_t ns, uint64_t count, uint64_t allowed)
{
    const double each = (double)ns / (double)count;
    printf("%-58s %7.1f ns   %5.2f%% of a core at 500,000/s   allowed %.1f%%\n", what, each, each / 20,
           100.0 * (double)allowed / (double)count);
}

/* Each decision waits for its memory. */
static void alone(const char *what, uint32_t from, uint32_t count)
{
    uint64_t allowed = 0;
    const uint64_t began = now_ns();
    uint64_t now = began;
    for (uint32_t i = from; i < from + count; i++, now += 2000)
        allowed += rate_table_take(rate_table_find(&table, key_at(i)), &rate, 1, now).allowed;
    say(what, now_ns() - began, count, allowed);
}

/* The memory is asked for some decisions before it is needed. */
static void ahead(const char *what, uint32_t distance, uint32_t keys)
{
    struct rate_place places[16];
    uint64_t allowed = 0;
    const uint64_t began = now_ns();
    uint64_t now = began;
    for (uint32_t i = 0; i < distance; i++)
        places[i] = rate_table_find(&table, key_at(i % keys));
    for (uint32_t i = 0; i < DECISIONS; i++, now += 2000) {
        const struct rate_place place = places[i % 16];
        places[(i + distance) % 16] = rate_table_find(&table, key_at((i + distance) % keys));
        allowed += rate_table_take(place, &rate, 1, now).allowed;
    }
    say(what, now_ns() - began, DECISIONS, allowed);
}

/* What a gate does between a request's head and its limit takes about so long. */
static uint64_t other_work(uint64_t x)
{
    for (unsigned i = 0; i < 30; i++)
        x = hash_u64(x);
    return x;
}

/* The memory is asked for, something else is done, and the decision made. The other work is not counted. */
static void behind_other_work(const char *what)
{
    uint64_t allowed = 0, x = 0;
    const uint64_t began = now_ns();
    uint64_t now = began;
    for (uint32_t i = 0; i < DECISIONS; i++)
        x += other_work(x + i);
    const uint64_t other_ns = now_ns() - began;
    for (uint32_t i = 0; i < DECISIONS; i++, now += 2000) {
        (void)rate_table_find(&table, key_at(i));
        x += other_work(x + i);
        allowed += rate_table_take(rate_table_find(&table, key_at(i)), &rate, 1, now).allowed;
    }
    say(what, now_ns() - began - 2 * other_ns, DECISIONS, allowed);
    printf("    (other work: %.1f ns, %u)\n", (double)other_ns / DECISIONS, (unsigned)(x & 1));
}

static void *other_thread(void *arg)
{
    (void)arg;
    alone("  the other thread", DECISIONS / 2, DECISIONS / 2);
    return NULL;
}

static void rounds(void *memory)
{
    rate_table_open(&table, memory, KEYS);
    alone("  first 1,000,000 decisions: keys are entered", 0, KEYS);
    alone("  all keys known", KEYS, DECISIONS - KEYS);
    ahead("  the same, memory asked for one decision ahead", 1, DECISIONS);
    ahead("  the same, memory asked for eight decisions ahead", 8, DECISIONS);
    behind_other_work("  the same, asked for before a request's route is looked for");
    ahead("  a thousand keys, all in the cache", 1, 1000);
    pthread_t other;
    pthread_create(&other, NULL, other_thread, NULL);
    alone("  two threads, one of them", 0, DECISIONS / 2);
    pthread_join(other, NULL);
}

int main(void)
{
    order = area_take(DECISIONS * sizeof *order);
    for (uint32_t i = 0; i < DECISIONS; i++)
        order[i] = random_below(KEYS);
    if (!rate_init(&rate, 50, 1000, 50))
        return 1;
    uint64_t spent = 0;
    const uint64_t began = now_ns();
    for (uint32_t i = 0; i < DECISIONS; i++)
        spent += hash_bytes(key_at(i));
    printf("%-58s %7.1f ns   (%u)\n", "the hash of an address alone", (double)(now_ns() - began) / DECISIONS,
           (unsigned)(spent & 1));
    printf("the gate's shared memory\n");
    rounds(gate_memory(rate_table_bytes(KEYS)));
    printf("ordinary pages\n");
    rounds(ordinary_memory(rate_table_bytes(KEYS)));
    return 0;
}
