/* live: what goes on, on a terminal, drawn anew over itself after each interval. Pure but for live_watch; one
 * thread. */
#pragma once
#include "base/text.h"
#include "load/run.h"

/* Four lines of at most `columns` characters. */
void live_draw(struct text *t, const struct load_report *r, unsigned columns);

struct live {
    struct load_watcher watcher;
    int fd; /* of the terminal */
    bool drawn;
};
/* A watcher that draws on fd. */
void live_open(struct live *l, int fd);
/* Wipes it. */
void live_close(struct live *l);
