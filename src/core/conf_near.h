/* conf_near: the nearest of the words that there are to a wrong one, for a message: "did you mean". Any
 * thread. */
#pragma once
#include "base/bytes.h"

/* By edit distance. The words offered must live until the hint is asked for. */
struct conf_near {
    struct bytes wrong;
    struct bytes best;
    size_t distance; /* SIZE_MAX: none near enough */
    char hint[128];
};
void conf_near_begin(struct conf_near *near, struct bytes wrong);
void conf_near_offer(struct conf_near *near, struct bytes word);
/* "; did you mean "x"?", or "" */
const char *conf_near_hint(struct conf_near *near);
