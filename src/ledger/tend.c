/* When the checkpoint is brought up to date, and what may leave memory then. */
#include "ledger/ledger_internal.h"

/* Sooner than by the clock: so much would have to be replayed, or copied at once. */
#define LOG_BYTES_MAX (64u << 20)
/* As many as can be copied while all wait: what changes again and again is written once, and records that
 * come to lie here and there in the tree share its pages. */
#define DIRTY_MAX 262144

static void add(void *arg, const struct record_image *image, bool gone)
{
    frozen_add(arg, image, gone);
}

/* Finished things that are to be left on disk with the next checkpoint. Put there by their keys each costs a
 * page of the tree: while memory is plenty, and a start would load not too many, they stay where they are. */
static uint64_t leaves(const struct ledger *l)
{
    const struct records_stats s = records_stats(l->machine.records);
    return s.used > l->opts.memory_bytes / 2 || s.staying >= l->opts.staying_max ? DIRTY_MAX : 0;
}

static bool has_to_do(const struct ledger *l)
{
    const struct records_stats s = records_stats(l->machine.records);
    return s.dirty || (s.staying && leaves(l));
}

static err begin(struct ledger *l, struct frozen *f, struct diag *reterr)
{
    const struct machine *m = &l->machine;
    err e = ledger_log_sync(l->log, reterr); /* never ahead of the log */
    if (e)
        return e;
    l->era = (uint16_t)((l->era + 1) % RECORD_ERAS);
    f->state = (struct checkpoint_state){ m->seq, m->now_ms, m->next_id, l->era };
    records_freeze(m->records, l->era, leaves(l), add, f);
    checkpoint_begin(l->checkpoint);
    l->frozen_us = ledger_clock_us();
    l->frozen_bytes = 0;
    return OK;
}

/* Finished things go when memory becomes scarce, an eighth of it at a time. */
static void make_room(struct ledger *l)
{
    const uint64_t max = l->opts.memory_bytes;
    if (records_stats(l->machine.records).used > max / 4 * 3)
        records_evict(l->machine.records, max / 8 * 5);
}

static err take_result(struct ledger *l, bool *ret_taken, struct diag *reterr)
{
    struct diag d;
    err e;
    if (!checkpoint_result(l->checkpoint, &e, &d))
        return OK;
    if (!e)
        e = l->store->ops->renew(l->store, &d);
    if (e) {
        *reterr = d;
        return e;
    }
    records_frozen_is_stored(l->machine.records);
    *ret_taken = true;
    return OK;
}

/* While a checkpoint is written there is nothing to begin: its end wakes the writer. */
uint64_t ledger_tend_idle_us(const struct ledger *l)
{
    const uint64_t passed_us = ledger_clock_us() - l->frozen_us,
                   wait_us = l->opts.checkpoint_interval_ms * 1000;
    if (!has_to_do(l) || checkpoint_is_busy(l->checkpoint))
        return UINT64_MAX;
    return passed_us >= wait_us ? 0 : wait_us - passed_us;
}

static bool is_due(const struct ledger *l)
{
    const uint64_t dirty = records_stats(l->machine.records).dirty;
    return dirty >= DIRTY_MAX || (dirty && l->frozen_bytes >= LOG_BYTES_MAX) || ledger_tend_idle_us(l) == 0;
}

err ledger_tend(struct ledger *l, struct diag *reterr)
{
    bool taken = false;
    err e = take_result(l, &taken, reterr);
    if (e)
        return e;
    make_room(l);
    if (taken)
        ledger_metrics_look(l); /* there may be no batch for a while that would tell of it */
    if (checkpoint_is_busy(l->checkpoint) || !is_due(l))
        return OK;
    return begin(l, checkpoint_free(l->checkpoint), reterr);
}

err ledger_tend_last(struct ledger *l, struct diag *reterr)
{
    bool taken;
    checkpoint_wait(l->checkpoint);
    err e = take_result(l, &taken, reterr);
    if (!e && records_stats(l->machine.records).dirty) {
        e = begin(l, checkpoint_free(l->checkpoint), reterr);
        checkpoint_wait(l->checkpoint);
        if (!e)
            e = take_result(l, &taken, reterr);
    }
    return e;
}
