/* durable_test: what stands around a machine so that it can crash: a log and a checkpoint's store in memory.
 * For tests of rules, whose batches are safe when they end; crashes that cut the log are simulation_test's.
 */
#pragma once
#include "base/hash.h"
#include "base/test.h"
#include "ledger/store_test.h"

#define DURABLE_LOG_MAX 200000

struct durable {
    struct machine *machine;
    const struct ledger_rules *const *rules;
    struct board board;
    struct store store;
    struct bytes log[DURABLE_LOG_MAX]; /* batches, those that the checkpoint does not have */
    unsigned log_count;
    struct frozen frozen;
    enum { FROZEN_NONE, FROZEN_BEGUN, FROZEN_WRITTEN } frozen_state;
    uint64_t checkpoints, crashes, evicted, loaded_back; /* in all */
};

#define DURABLE_BYTES_MAX (64u << 20)

static inline void durable_open(struct durable *d, struct machine *m, const struct ledger_rules *const *rules)
{
    d->machine = m;
    d->rules = rules;
    d->log_count = 0;
    d->frozen_state = FROZEN_NONE;
    d->checkpoints = d->crashes = d->evicted = d->loaded_back = 0;
    store_open(&d->store);
    must(board_open(&d->board) == OK && machine_open(m, rules, DURABLE_BYTES_MAX) == OK);
    store_load(&d->store, m, &d->board);
}

static inline void durable_check(struct durable *d)
{
    struct diag diag = DIAG_NONE;
    if (machine_check(d->machine, &diag) != OK)
        fail_msg("%s", diag.text);
}

static inline void durable_forget_log(struct durable *d, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        mem_free((char *)(uintptr_t)d->log[i].ptr);
    d->log_count -= count;
    memmove(d->log, d->log + count, d->log_count * sizeof d->log[0]);
}

static inline void durable_count(struct durable *d)
{
    const struct records_stats s = records_stats(d->machine->records);
    d->evicted += s.evicted;
    d->loaded_back += s.loaded_back;
}

static inline void durable_close(struct durable *d)
{
    durable_check(d);
    durable_count(d);
    machine_close(d->machine);
    board_close(&d->board);
    store_close(&d->store);
    durable_forget_log(d, d->log_count);
    mem_free(d->frozen.data);
    d->frozen = (struct frozen){ 0 };
}

/* The batch at hand is safe. */
static inline void durable_end_batch(struct durable *d)
{
    struct machine *m = d->machine;
    if (!machine_end(m))
        return;
    must(d->log_count < DURABLE_LOG_MAX);
    char *copy = mem_must_get(m->head.bytes);
    memcpy(m->batch, &m->head, sizeof m->head);
    memcpy(copy, m->batch, m->head.bytes);
    d->log[d->log_count++] = (struct bytes){ copy, m->head.bytes };
}

static inline void durable_add_frozen(void *arg, const struct record_image *image, bool gone)
{
    frozen_add(arg, image, gone);
}

static inline unsigned durable_log_until(const struct durable *d, uint64_t seq)
{
    struct batch_head head;
    unsigned count = 0;
    for (; count < d->log_count; count++) {
        memcpy(&head, d->log[count].ptr, sizeof head);
        if (head.seq > seq)
            break;
    }
    return count;
}

/* Of a checkpoint: begun; on disk, and the log that it needs no more dropped; seen by who reads back, and as
 * much as wanted of what is finished has left memory. Batches go on between them. */
static inline void durable_checkpoint_step(struct durable *d, uint64_t bytes_wanted)
{
    struct machine *m = d->machine;
    struct frozen *f = &d->frozen;
    switch (d->frozen_state) {
    case FROZEN_NONE:
        f->bytes = f->count = 0;
        f->state =
            (struct checkpoint_state){ m->seq, m->now_ms, m->next_id, (uint16_t)random_below(RECORD_ERAS) };
        records_freeze(m->records, f->state.era, random_below(2) ? random_below(200) : 0, durable_add_frozen,
                       f);
        d->frozen_state = FROZEN_BEGUN;
        break;
    case FROZEN_BEGUN:
        store_commit(&d->store, f);
        durable_forget_log(d, durable_log_until(d, f->state.seq));
        d->frozen_state = FROZEN_WRITTEN;
        break;
    case FROZEN_WRITTEN:
        store_renew(&d->store, f);
        records_frozen_is_stored(m->records);
        records_evict(m->records, bytes_wanted);
        d->frozen_state = FROZEN_NONE;
        d->checkpoints++;
        break;
    }
}

/* A machine that has lost its memory: loads what the checkpoint has, and does again what the log says: the
 * same answers, or it is told. */
static inline void durable_crash(struct durable *d)
{
    struct diag diag = DIAG_NONE;
    struct machine *m = d->machine;
    durable_count(d);
    machine_close(m);
    board_close(&d->board);
    must(board_open(&d->board) == OK && machine_open(m, d->rules, DURABLE_BYTES_MAX) == OK);
    store_load(&d->store, m, &d->board);
    for (unsigned i = 0; i < d->log_count; i++) {
        struct batch_head head;
        memcpy(&head, d->log[i].ptr, sizeof head);
        if (machine_replay(m, &head, bytes_skip(d->log[i], sizeof head), &diag) != OK)
            fail_msg("batch %u: %s", i, diag.text);
    }
    d->frozen_state = FROZEN_NONE;
    d->crashes++;
    durable_check(d);
}
