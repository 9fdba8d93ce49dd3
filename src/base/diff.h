/* diff: what two texts differ in, as a unified diff (as `diff -u` writes it: POSIX.1-2024, diff, Unified
 * Format). Lines are compared by E. Myers, "An O(ND) Difference Algorithm and Its Variations" (1986); texts
 * that differ in more than DIFF_EDITS_MAX lines are told as one change. Pure but for its memory. */
#pragma once
#include "base/text.h"

#define DIFF_EDITS_MAX 1000
#define DIFF_CONTEXT 3

/* Appends to out; nothing when the texts are the same. The names stand in the two head lines. */
void diff_write(struct bytes before, struct bytes after, const char *before_name, const char *after_name,
                struct text *out);
