/* balancing: the table of doc/balancing.md, from simulated time (balance/simulation_test.h).
 *
 *      balancing [BALANCE ...]     without: all of the table's */
#include "balance/simulation_test.h"

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

int main(int argc, char **argv)
{
    const struct simulation *is = &simulation_preset;
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
