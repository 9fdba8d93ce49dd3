/* pick: what balancers that draw at random share.
 *
 *      draw by weight, 4 times ──▶ one that pick_allows        else: the first that it allows, from a random
 *                                                                    place on
 *
 * Pure but for random_u64. */
#pragma once
#include "base/alias.h"
#include "base/hash.h"
#include "gate/service.h"

#define PICK_NONE UINT32_MAX

/* Weights of the servers into a new alias table. ERR_MEMORY. */
err pick_weights_open(struct alias *a, const struct server *servers, uint32_t count) CHECK_RESULT;
/* One of those that p allows, in proportion to their weights; never `but` (PICK_NONE: any). PICK_NONE: there
 * is no other. Constant time as long as most are allowed. */
uint32_t pick_draw(const struct pick *p, const struct alias *a, const struct server *servers, uint32_t but);
/* The first allowed from a random place on. */
uint32_t pick_scan(const struct pick *p, const struct server *servers, uint32_t count, uint32_t but);

/* What a key's text is hashed to, the same in every process; random for a request that has none. */
struct request_key;
uint64_t pick_hash(const struct request_key *key, struct exchange *x);

/* How many are well, counted anew when the last count is older than WELL_COUNT_US. */
#define WELL_COUNT_US 100000
uint32_t pick_count_well(struct well_count *w, const struct server *servers, uint32_t count, uint64_t now_us);
/* Of what it is asked for, how much a set of servers takes: all of it while the share `spill_below` of them
 * is well, then less with each that is not. 0 to 1. */
static inline double pick_capacity(uint32_t well, uint32_t count, double spill_below)
{
    const double share = count ? well / (count * spill_below) : 0;
    return share < 1 ? share : 1;
}
/* Goes down the line of such sets, the first choice first: with a share of what is left for each. u: random,
 * 0 to 1 (not included). count: none is well. */
uint32_t pick_in_line(const double *capacity, uint32_t count, double u);

static inline double pick_random(void)
{
    return (double)(random_u64() >> 11) * 0x1p-53;
}

extern const struct conf_struct slow_start_struct;
/* The share of its weight that a server gets which came back then (0: it never went), in 2^-32. */
uint64_t slow_start_share(const struct slow_start_conf *c, uint64_t back_since_us, uint64_t now_us);

static inline uint32_t pick_weight(const struct pick *p)
{
    return p->weight ? p->weight : 1;
}
