/* machine: the ledger's state and how batches change it: what the writer runs, and what recovery runs again.
 * No thread, no clock, no file: time comes in, a batch of the log comes out.
 *
 *      machine_begin(now) ─▶ machine_expire ─▶ machine_entry ... ─▶ machine_end ──▶ batch ──▶ the log
 *                                                                        machine_replay ◀── the log
 *
 * Between machine_end and the next machine_begin the state is that of a batch's end: the checkpoint's moment.
 */
#pragma once
#include <pthread.h>

#include "ledger/batch.h"
#include "ledger/board.h"
#include "ledger/checkpoint.h"
#include "ledger/ledger.h"

/* What the rules show of a record that this batch changed. */
struct machine_shown {
    const struct record *record; /* told from others, and not looked at */
    uint64_t hash, value;
    bool gone;
};

struct machine {
    const struct ledger_rules *rules[256];
    struct records *records;
    uint64_t now_ms, next_id, seq; /* seq: of the last batch */
    /* the batch at hand */
    struct batch_head head;
    char *batch; /* LEDGER_BATCH_BYTES_MAX, block-aligned */
    size_t batch_bytes;
    uint32_t taken, refused; /* entries that were applied, and those of them that the rules refused */
    struct machine_shown *shown;
    size_t shown_count, shown_room;
};

/* What becomes due in one batch at most: the rest waits for the next. */
#define MACHINE_EXPIRED_MAX 4096

/* rules: ends with NULL. ERR_MEMORY. */
err machine_open(struct machine *m, const struct ledger_rules *const *rules, uint64_t bytes_max) CHECK_RESULT;
void machine_close(struct machine *m);

/* Goes on from there: start-up. */
void machine_set(struct machine *m, uint64_t seq, uint64_t now_ms, uint64_t next_id);
void machine_begin(struct machine *m, uint64_t now_ms);
/* What is due now happens. */
void machine_expire(struct machine *m);
/* Is there room for it in this batch? */
bool machine_has_room(const struct machine *m, const struct ledger_call *c);
/* Is it one, and not too large for any batch? */
bool machine_takes(const struct ledger_call *c);
/* It comes soon: where its records are, or will be, is fetched into the cache; somewhat later the records. */
void machine_fetch(const struct machine *m, const struct ledger_call *c, struct ledger_ahead *ret_ahead);
void machine_fetch_records(const struct machine *m, const struct ledger_ahead *ahead);
/* Applies one that it takes, and says so in it. ahead: what machine_fetch said of it; NULL: it was not asked.
 */
void machine_entry(struct machine *m, struct ledger_call *c, const struct ledger_ahead *ahead);
/* Between two batches, time being now_ms: what only looks. false: it would change something; nothing has
 * happened. */
bool machine_look(struct machine *m, struct ledger_call *c, uint64_t now_ms);
/* false: nothing has changed, there is nothing to be written. Else m->head (its seq is the next) and m->batch
 * are what the log wants. */
bool machine_end(struct machine *m);
/* What the batch changed is safe: workers may see it. */
void machine_show(struct machine *m, struct board *b);
/* The checkpoint's records, start-up; workers may see them. By several threads at once, each with its number,
 * from machine_load_begin to machine_load_end, which is due whatever begin has said. ERR_MEMORY, ERR_SYNTAX.
 */
struct machine_load {
    struct machine *machine;
    struct board *board;
    struct records_loader *loaders[CHECKPOINT_LOADERS_MAX];
    pthread_mutex_t board_lock; /* one writes to it; nothing else is waited for with it held */
};
err machine_load_begin(struct machine_load *l, struct machine *m, struct board *b, uint64_t count,
                       unsigned threads) CHECK_RESULT;
err machine_load(struct machine_load *l, unsigned thread, const struct record_image *image) CHECK_RESULT;
void machine_load_end(struct machine_load *l);

/* The same once more, from the log; machine_show is due behind it. ERR_SYNTAX: it does not come out as it
 * did: in words. */
err machine_replay(struct machine *m, const struct batch_head *head, struct bytes payload,
                   struct diag *reterr) CHECK_RESULT;
/* Every rule's own. ERR_SYNTAX. */
err machine_check(struct machine *m, struct diag *reterr) CHECK_RESULT;
