/* alias: draws one of n things in proportion to their weights, in constant time: two random numbers and one
 * look-up (the alias method: Walker 1977; Vose 1991).
 *
 *      weights 1 2 3     columns  [0|2] [1|1] [2|2]      draw: a column, then its upper or lower part
 *
 * Made once; filled again in place when the weights change, without memory. One owner. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct alias_column;

struct alias {
    uint32_t count;
    struct alias_column *columns;
    uint64_t *parts; /* of the filling */
    uint32_t *order; /* of the filling */
};

/* For count things; draws evenly until it is filled. false: no memory (and nothing is held). */
bool alias_open(struct alias *a, uint32_t count);
void alias_close(struct alias *a);
/* The i-th is drawn as weights[i] / sum. Their sum is at least 1; each at most 2^31 / count. */
void alias_fill(struct alias *a, const uint32_t *weights);
/* random: 64 even bits; count > 0. */
uint32_t alias_draw(const struct alias *a, uint64_t random);
