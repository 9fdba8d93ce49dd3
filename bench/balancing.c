/* balancing: the table of doc/balancing.md, from simulated time (balance/simulation_test.h).
 *
 *      balancing [BALANCE ...]     without: all of the table's
 *      balancing --cost            what a choice costs on this machine */
#include <time.h>

#include "balance/simulation_test.h"

#define COST_PICKS 1000000

static const char *const all[] = { "round_robin", "random",
                                   "hash by ip",  "{hash: {load_max_percent: off}}",
                                   "maglev",      "least_request",
                                   "peak_ewma",   "reported_load" };

static void line(const char *balance)
{
    struct simulation is = simulation_preset;
    is.balance = balance;
    const struct simulation_result r = simulate(&is);
    printf("| `%s` | %.1f | %.1f | %.1f | %.2f%% | %.2f%% | %.2f%% |\n", balance, r.p50_ms, r.p99_ms,
           r.p999_ms, r.errors * 100, r.slow_share * 100, r.failing_share * 100);
}

/* ---- what a choice costs ---- */

static double pick_ns(const char *balance, uint32_t count)
{
    struct arena a;
    const struct balancer *b;
    void *state = NULL;
    struct server *servers = mem_get_aligned(count * sizeof *servers, _Alignof(struct server));
    struct server_shared *shared = mem_must_get(count * sizeof *shared);
    arena_open(&a, &arena_heap, 1 << 20, NULL, 0);
    const void *conf = simulation_conf(balance, &a, &b);
    for (uint32_t i = 0; i < count; i++) {
        servers[i] = (struct server){ .index = i, .weight = 1, .shared = &shared[i], .load = i % 3 };
        snprintf(shared[i].text, sizeof shared[i].text, "10.0.%u.%u:80", i / 250, i % 250 + 1);
    }
    must(b->open(conf, servers, count, &state, NULL) == OK);
    struct timespec from, to;
    uint64_t sum = 0;
    struct pick p = { .now_us = 1, .weight = 1 };
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (uint32_t i = 0; i < COST_PICKS; i++) {
        p.now_us += 10;
        p.hash = hash_u64(i);
        sum += b->pick(state, servers, count, &p);
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    must(sum != 1);
    b->close(state);
    mem_free(servers);
    mem_free(shared);
    arena_close(&a);
    return ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) / COST_PICKS;
}

static void costs(void)
{
    printf("| balance | ns a choice, 3 servers | 16 | 1,000 |\n| --- | --- | --- | --- |\n");
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
        printf("| `%s` | %.0f | %.0f | %.0f |\n", all[i], pick_ns(all[i], 3), pick_ns(all[i], 16),
               pick_ns(all[i], 1000));
}

int main(int argc, char **argv)
{
    const struct simulation *is = &simulation_preset;
    if (argc == 2 && strcmp(argv[1], "--cost") == 0) {
        costs();
        return 0;
    }
    printf("%u servers, %u of them %.0fx slower, %u failing at once; %.0f requests a second, %u workers, %u "
           "requests, "
           "seed %llu\n\n",
           is->servers, is->slow, is->slow_factor, is->failing, is->rate_per_s, is->workers, is->requests,
           (unsigned long long)is->seed);
    printf("| balance | p50 ms | p99 ms | p99.9 ms | failed | to the two slow (of 12.5%%) | to the failing "
           "one (of 6.25%%) |\n");
    printf("| --- | --- | --- | --- | --- | --- | --- |\n");
    for (int i = 1; i < argc; i++)
        line(argv[i]);
    for (unsigned i = 0; argc == 1 && i < sizeof all / sizeof *all; i++)
        line(all[i]);
    return 0;
}
