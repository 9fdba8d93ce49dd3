/* What only looks is done by the worker that asks, while the writer rests: no other thread is woken for a
 * read.
 *
 *      worker: looks? ─▶ the writer rests? ─▶ apply ─▶ nothing changed, nothing has left memory? ─▶ answered
 *                 no │                no │                                                no │
 *                    └───────────────────┴──────────── to the writer, as ever ◀──────────────┘
 *
 * The writer holds `resting` from the first entry of a batch until that is durable and answered: what a look
 * sees is as durable as what the writer would have said. */
#include "ledger/ledger_internal.h"

static bool may_look(const struct ledger *l, const struct ledger_call *c)
{
    const struct ledger_rules *rules = l->machine.rules[c->ops->rules];
    return c->ops_count == 1 && rules && rules->looks && rules->looks(c->ops->body);
}

/* What is in memory is durable while the writer rests. */
static bool look(struct ledger *l, struct ledger_call *c)
{
    const uint64_t now_ms = ledger_time_ms(l);
    if (!l->open || ledger_stopped(l) || records_due_next_ms(l->machine.records) <= now_ms)
        return false;
    l->looking = true;
    l->missed = false;
    const bool done = machine_look(&l->machine, c, now_ms);
    l->looking = false;
    if (done && !l->missed)
        ledger_metrics_count_look(l, c);
    return done && !l->missed;
}

bool ledger_do_look(struct ledger *l, struct ledger_call *c)
{
    if (!may_look(l, c) || pthread_mutex_trylock(&l->resting) != 0)
        return false;
    const bool done = look(l, c);
    pthread_mutex_unlock(&l->resting);
    if (!done)
        c->ret_refused = OK;
    return done;
}
