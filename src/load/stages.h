/* stages: the curve of a scenario, from its users, rate or stages. Main thread, while it is opened. */
#pragma once
#include "load/scenario.h"

/* Sets curve, rate and seconds. ERR_CONF, with words; ERR_MEMORY. */
err stages_compile(struct scenario *s, struct diag *reterr) CHECK_RESULT;

/* Points from a CSV text: two columns, time and level, or one. At least one; times grow. In the arena. */
err stages_read_history(struct bytes text, struct arena *a, struct curve_point **ret_points,
                        size_t *ret_count, struct diag *reterr) CHECK_RESULT;
/* The bell that has the points' mean time, deviation and area. */
void stages_fit_normal(const struct curve_point *points, size_t count, struct stage *ret_stage);
