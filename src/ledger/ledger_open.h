/* ledger_open: how a ledger is opened and closed, by whoever owns the process (or a test, or a tool). */
#pragma once
#include "ledger/ledger.h"

struct ledger_opts {
    const char *path; /* a folder; made when it is not there. Borrowed */
    const struct ledger_rules *const *rules;
    enum ledger_durability durability;
    uint64_t interval_ms;  /* of LEDGER_INTERVAL */
    uint64_t memory_bytes; /* for the records */
    uint64_t segment_bytes;
    uint32_t batch_entries_max;
    uint64_t log_keep_bytes; /* of what the checkpoint does not need */
    uint64_t checkpoint_interval_ms;
    uint64_t checkpoint_bytes_max; /* of address space */
    uint64_t staying_max; /* finished records that a start loads, about: from here on they are left on disk */
    struct bytes key;     /* ledger/crypt.h; empty: not encrypted. Borrowed until it is open */
    bool later;           /* another process has it: wait for that on the writer's thread */
    bool metrics;         /* metrics_init was called */
    bool read_only;       /* ledger_verify's */
};
#define LEDGER_STAYING_MAX 4000000 /* a second of a start */
#define LEDGER_OPTS_DEFAULT                                   \
    ((struct ledger_opts){ .rules = ledger_rules_registry,    \
                           .memory_bytes = UINT64_C(1) << 30, \
                           .segment_bytes = 64u << 20,        \
                           .batch_entries_max = 4096,         \
                           .interval_ms = 50,                 \
                           .checkpoint_interval_ms = 1000,    \
                           .staying_max = LEDGER_STAYING_MAX, \
                           .checkpoint_bytes_max = UINT64_C(256) << 30 })

/* Recovers, then starts the writer. Blocks: start-up. ERR_IN_USE: another process has it; ERR_SYNTAX:
 * damaged; what to do stands in reterr. */
err ledger_open(const struct ledger_opts *opts, struct ledger **ret_ledger, struct diag *reterr) CHECK_RESULT;
/* As of a moment ago. Any thread. */
struct ledger_status {
    bool open; /* false: it waits for another process, or recovers */
    enum ledger_durability durability;
    uint64_t evicted; /* records that left memory, since the start */
    uint64_t seq, checkpoint_seq, records, record_bytes, log_bytes, time_ms;
};
struct ledger_status ledger_status(const struct ledger *l);
/* Another process may have it: what was sent is answered and safe, all files are closed. What is sent from
 * now on gets ERR_UNAVAILABLE; but the process at the other end of that socket (ledger/pass_on.h; its own
 * from now on, -1: there is none) does what may be passed on. Blocks. */
void ledger_leave(struct ledger *l, int next_process);
/* What waits is answered, what is in memory is made durable; then it ends. Nobody may send any more. Blocks.
 */
void ledger_close(struct ledger *l);

/* ---- copies. All block; words in reterr */

/* Copies it to a new folder while it runs: all that was answered before is in it. Any thread, one at a time.
 */
err ledger_backup(struct ledger *l, const char *folder, struct diag *reterr) CHECK_RESULT;

struct ledger_report {
    uint64_t checkpoint_seq, last_seq; /* batches */
    uint64_t records, left_on_disk;
    uint64_t torn_bytes; /* at the end: they would be cut */
};
/* Reads all of a ledger that nobody has open, and changes nothing. rules: as in struct ledger_opts. */
err ledger_verify(const struct ledger_rules *const *rules, const char *folder, struct bytes key,
                  struct ledger_report *ret_report, struct diag *reterr) CHECK_RESULT;
/* Verifies a backup, then copies it to a new folder. */
err ledger_restore(const struct ledger_rules *const *rules, const char *backup, const char *folder,
                   struct bytes key, struct ledger_report *ret_report, struct diag *reterr) CHECK_RESULT;

/* ---- */

/* Is ledger_here() from now on; NULL: there is none. */
void ledger_use(struct ledger *l);
