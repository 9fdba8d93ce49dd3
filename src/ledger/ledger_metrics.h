/* ledger_metrics: what the writer counts: one set of cells that is its alone. */
#pragma once
#include "core/metrics.h"
#include "ledger/ledger.h"

#define LEDGER_METRIC_LIST(X)                                                                                \
    X(ENTRIES, "entries_total", METRIC_COUNTER, "Entries that changed something, answered")                  \
    X(READS, "reads_total", METRIC_COUNTER, "Entries that changed nothing, answered")                        \
    X(REFUSED, "refused_total", METRIC_COUNTER, "Entries that the rules refused")                            \
    X(UNAVAILABLE, "unavailable_total", METRIC_COUNTER, "Entries not taken because the writer had stopped")  \
    X(EXPIRED, "expired_total", METRIC_COUNTER, "Records whose time had come")                               \
    X(BATCHES, "batches_total", METRIC_COUNTER, "Writes to the log; entries_total by it is their size")      \
    X(LOG_WRITTEN, "log_written_bytes_total", METRIC_COUNTER, "Written to the log")                          \
    X(COMMIT, "commit_seconds", METRIC_HISTOGRAM, "A batch's write to the log, until it is as safe as said") \
    X(GATHER, "gather_seconds", METRIC_HISTOGRAM, "A batch's waiting for more entries to share its write")   \
    X(LOG_BYTES, "log_bytes", METRIC_GAUGE, "Size of the log on disk")                                       \
    X(RECORDS, "records", METRIC_GAUGE, "Records in memory")                                                 \
    X(RECORD_BYTES, "record_bytes", METRIC_GAUGE, "Memory that they use")                                    \
    X(EVICTED, "evicted_total", METRIC_COUNTER, "Records that left memory")                                  \
    X(LOADED_BACK, "loaded_back_total", METRIC_COUNTER, "Records that came back")                            \
    X(LAG, "checkpoint_lag_batches", METRIC_GAUGE, "Batches that a crash would have replayed")               \
    X(CHECKPOINTS, "checkpoints_total", METRIC_COUNTER, "Checkpoints written")                               \
    X(CHECKPOINT_US, "checkpoint_duration_us", METRIC_GAUGE, "What the last one took, in microseconds")      \
    X(STOPPED, "stopped", METRIC_GAUGE, "1: the writer has stopped and takes nothing; the log says why")

enum ledger_metric {
#define X(id, name, type, help) LEDGER_METRIC_##id,
    LEDGER_METRIC_LIST(X)
#undef X
        LEDGER_METRICS_COUNT
};

struct ledger_metrics {
    struct metric_instance *instance; /* NULL: not counted */
    struct metric_cells *cells;
    /* as of the last look, for what others count as totals */
    uint64_t evicted, loaded_back, checkpoints;
    uint64_t looked_us;
};

/* The label says how safe each answer was. */
err ledger_metrics_open(struct ledger_metrics *m, enum ledger_durability durability) CHECK_RESULT;
void ledger_metrics_close(struct ledger_metrics *m);
/* The writer, after a batch of so many; commit_ns 0: nothing was written. */
struct ledger;
void ledger_metrics_batch(struct ledger *l, uint64_t commit_ns);
/* A batch waited so long for others. */
void ledger_metrics_gathered(struct ledger *l, uint64_t ns);
/* With the machine in hand: an entry that a worker did. */
struct ledger_call;
void ledger_metrics_count_look(struct ledger *l, const struct ledger_call *c);
/* What is a state and no count. */
void ledger_metrics_look(struct ledger *l);
