/* admission: how many requests a second come in, and a waiting room for the others: its settings, the answer
 * to those who wait (429 with their place, and a signed cookie that keeps it). Who is let in when is decided
 * by gate/waiting_room.h.
 *
 *      admit: 5000/s                                  the others get 429
 *      admit: {rate: 5000/s, waiting_room: on}        ... and a place in the line
 *
 * One room a route and setting, for all workers; it outlives reloads. */
#pragma once
#include "gate/filter.h"
#include "gate/waiting_room.h"

struct waiting_conf {
    int64_t waiting_max;
    struct bytes cookie, secret_file;
    uint64_t good_for_ms, ask_every_ms;
};

struct admission_conf {
    struct conf_rate rate;
    int64_t burst;                     /* 0: what the rate lets in within 100 ms */
    struct waiting_conf *waiting_room; /* NULL: nobody waits */
};
extern const struct conf_struct admission_conf_struct;

struct admission {
    const struct admission_conf *conf;
    struct waiting_room *room;
    struct waiting_rate rate;
    struct bytes route;
    struct bytes secret; /* of the file; empty: the room's own */
};

/* ERR_CONF with words (the secret's file), ERR_MEMORY. On failure nothing is to be closed. */
err admission_open(struct admission *a, const struct admission_conf *conf, struct bytes route,
                   struct diag *reterr) CHECK_RESULT;
void admission_close(struct admission *a);
/* COME_IN: go on. Else x has been answered, or *ret_e says why not. user: whom a place in the line is given
 * to; may be empty. */
enum waiting_word admission_ask(const struct admission *a, struct exchange *x, struct bytes user,
                                struct bytes by, err *ret_e);
