/* ledger: what must not be lost or done twice. One thread owns it, the writer; workers send it entries.
 *
 *   worker: ledger_send ─┐ one chain a turn      writer: gather ─▶ apply (ledger/rules.h) ─▶ log, one synced
 *   worker: ledger_send ─┴──────────▶ [mailbox] ─▶                        write a batch ─▶ answers
 *   worker: fiber wakes ◀──────────── one mail a batch ◀──────────────────────────────────────┘
 *
 * What only looks a worker does by itself when none of its entries is under way and the writer rests
 * (look.c).
 *
 * An entry is a list of operations, each of one kind of rules; all of them happen or none. It is answered
 * when it is as durable as the settings say, and what it only looked at was. Entries of one worker that are
 * sent in one turn reach the writer together and in order.
 *
 * When the disk fails or is full, or the state turns out to be wrong, the writer stops: nothing is
 * acknowledged from then on, every entry gets ERR_UNAVAILABLE, and ledger_stopped says why. */
#pragma once
#include "base/diag.h"
#include "core/worker.h"
#include "ledger/rules.h"

struct ledger;

/*    name                  word        what an answer means */
#define LEDGER_DURABILITY_LIST(X)                                       \
    X(LEDGER_COMMIT, "commit")     /* it is on disk */                  \
    X(LEDGER_INTERVAL, "interval") /* it will be within the interval */ \
    X(LEDGER_MEMORY, "memory")     /* it is in memory; the log is written, and never waited for */

enum ledger_durability {
#define X(name, word) name,
    LEDGER_DURABILITY_LIST(X)
#undef X
};
extern const char *const ledger_durability_words[]; /* ends with NULL */

#define LEDGER_OPS_MAX 64                 /* of an entry */
#define LEDGER_ENTRY_BYTES_MAX (2u << 20) /* of its operations together */
#define LEDGER_ANSWER_BYTES_MAX (64u << 20)

struct ledger_op {
    uint8_t rules;     /* struct ledger_rules.id */
    struct bytes body; /* the rules' own; goes into the log as it is */
    /* Where its answer goes; may be NULL/0. ret_answer_bytes above answer_size: it was cut. */
    char *answer;
    uint32_t answer_size;
    uint32_t ret_answer_bytes;
};

/* An entry on its way. It, its operations and their bytes are the writer's from ledger_send until it is
 * answered. ops, ops_count, may_pass are set by the caller, the rest zero. */
struct ledger_call {
    struct ledger_op *ops;
    uint32_t ops_count;
    bool may_pass;   /* the next process may do it, when this one has let the ledger go (ledger/pass_on.h) */
    uint32_t ret_op; /* the operation that refused */
    err ret_refused; /* OK: all is done; else what the rules of ret_op said, and nothing happened */
    err ret_failed;  /* see ledger_wait */
    enum ledger_durability ret_durability;
    uint64_t ret_id;      /* the entry's */
    uint64_t ret_time_ms; /* the ledger's */
    /* the ledger's own */
    struct ledger_call *next;
    struct worker *worker;
    struct ledger_port *port;
    struct fiber *fiber;
    bool answered;
};

/* From a fiber: applied, durable and answered when it returns. The fiber waits, its worker goes on; a fiber
 * that is cancelled waits all the same.
 * OK: the rules have decided; see ret_refused. ERR_UNAVAILABLE: the writer has stopped, or stopped while it
 * was at it (what was sent may or may not be in the log: ask again with the same client's id).
 * ERR_LIMIT: too many entries wait, or too large: nothing happened. */
err ledger_submit(struct ledger *l, struct ledger_call *c) CHECK_RESULT;
/* The same in two steps, for many at a time: goes out at the end of this turn, or when this fiber waits.
 * Each that was sent must be waited for, by the fiber that sent it. */
void ledger_send(struct ledger *l, struct ledger_call *c);
err ledger_wait(struct ledger_call *c) CHECK_RESULT;

/* Any thread, without asking the writer: what the rules show of a record, as of the last commit. false:
 * nothing is known (it may exist). */
bool ledger_look(const struct ledger *l, uint8_t rules, struct bytes key, uint64_t *ret_value);

/* Any thread. NULL: it runs. Else why it does not; the text lives as long as the ledger. */
const char *ledger_stopped(const struct ledger *l);

/* The process's own, when `ledger` is configured; NULL: it is not. */
struct ledger *ledger_here(void);
