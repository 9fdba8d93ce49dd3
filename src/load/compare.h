/* compare: two results (weir load --json), side by side. Pure but for reading the files. */
#pragma once
#include "base/json_read.h"
#include "base/text.h"

/* What is more than `worse` (0.1: a tenth) worse in b than in a: rate and percentiles, and errors by so many
 * points of a percentage. */
struct compare_found {
    unsigned worse, better;
};
void compare_print(struct text *t, const struct json *a, const struct json *b, double worse,
                   struct compare_found *ret_found);
