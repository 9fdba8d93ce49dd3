#include "ledger/ledger_metrics.h"

#include "ledger/ledger_internal.h"

#define LOOK_US 100000 /* gauges are looked at that often */

static const struct metric_def defs[] = {
#define X(id, name, type, help) { name, type, help },
    LEDGER_METRIC_LIST(X)
#undef X
};

static const struct metric_group group = { .module = "ledger",
                                           .defs = defs,
                                           .count = LEDGER_METRICS_COUNT,
                                           .labels = (const char *const[]){ "durability", NULL } };

err ledger_metrics_open(struct ledger_metrics *m, enum ledger_durability durability)
{
    const struct bytes label = bytes_from(ledger_durability_words[durability]);
    err e = metric_instance_open(&group, &label, &m->instance);
    if (!e)
        m->cells = metric_cells(m->instance, metrics_beside());
    return e;
}

void ledger_metrics_close(struct ledger_metrics *m)
{
    metric_instance_free(m->instance);
}

static uint64_t count_failed(const struct ledger_call *c)
{
    uint64_t n = 0;
    for (; c; c = c->next)
        n += c->ret_failed != OK;
    return n;
}

static void add_since(struct metric_cells *cells, enum ledger_metric i, uint64_t now, uint64_t *before)
{
    metric_add(cells, i, now - *before);
    *before = now;
}

void ledger_metrics_look(struct ledger *l)
{
    struct ledger_metrics *m = &l->metrics;
    const struct records_stats r = records_stats(l->machine.records);
    const struct checkpoint_stats c = checkpoint_stats(l->checkpoint);
    const uint64_t checkpoint_seq = c.seq ? c.seq : l->recovered_seq;
    l->told_seq = l->machine.seq;
    l->told_checkpoint_seq = checkpoint_seq;
    l->told_records = r.count;
    l->told_evicted = r.evicted;
    l->told_record_bytes = r.bytes;
    l->told_log_bytes = ledger_log_bytes(l->log);
    l->told_time_ms = l->machine.now_ms;
    if (!m->cells)
        return;
    metric_set(m->cells, LEDGER_METRIC_LOG_BYTES, (int64_t)ledger_log_bytes(l->log));
    metric_set(m->cells, LEDGER_METRIC_RECORDS, (int64_t)r.count);
    metric_set(m->cells, LEDGER_METRIC_RECORD_BYTES, (int64_t)r.bytes);
    metric_set(m->cells, LEDGER_METRIC_LAG, (int64_t)(l->machine.seq - checkpoint_seq));
    metric_set(m->cells, LEDGER_METRIC_CHECKPOINT_US, (int64_t)c.duration_us);
    add_since(m->cells, LEDGER_METRIC_EVICTED, r.evicted, &m->evicted);
    add_since(m->cells, LEDGER_METRIC_LOADED_BACK, r.loaded_back, &m->loaded_back);
    add_since(m->cells, LEDGER_METRIC_CHECKPOINTS, c.count, &m->checkpoints);
}

static void count(struct ledger *l, struct metric_cells *cells, uint64_t commit_ns)
{
    const struct machine *m = &l->machine;
    const struct batch_head *h = &m->head;
    metric_set(cells, LEDGER_METRIC_STOPPED, ledger_stopped(l) != NULL);
    if (ledger_stopped(l)) {
        metric_add(cells, LEDGER_METRIC_UNAVAILABLE, count_failed(l->done));
        return;
    }
    metric_add(cells, LEDGER_METRIC_ENTRIES, h->entries);
    metric_add(cells, LEDGER_METRIC_REFUSED, m->refused);
    metric_add(cells, LEDGER_METRIC_READS, m->taken - m->refused - h->entries);
    metric_add(cells, LEDGER_METRIC_EXPIRED, h->expired);
    if (commit_ns) {
        metric_inc(cells, LEDGER_METRIC_BATCHES);
        metric_add(cells, LEDGER_METRIC_LOG_WRITTEN, h->bytes);
        metric_observe_ns(cells, LEDGER_METRIC_COMMIT, commit_ns);
    }
}

void ledger_metrics_count_look(struct ledger *l, const struct ledger_call *c)
{
    if (l->metrics.cells)
        metric_inc(l->metrics.cells, c->ret_refused ? LEDGER_METRIC_REFUSED : LEDGER_METRIC_READS);
}

void ledger_metrics_gathered(struct ledger *l, uint64_t ns)
{
    if (l->metrics.cells)
        metric_observe_ns(l->metrics.cells, LEDGER_METRIC_GATHER, ns);
}

void ledger_metrics_batch(struct ledger *l, uint64_t commit_ns)
{
    struct metric_cells *cells = l->metrics.cells;
    if (cells)
        count(l, cells, commit_ns);
    uint64_t now_us = ledger_clock_us();
    if (ledger_stopped(l) || now_us - l->metrics.looked_us < LOOK_US)
        return;
    l->metrics.looked_us = now_us;
    ledger_metrics_look(l);
}
