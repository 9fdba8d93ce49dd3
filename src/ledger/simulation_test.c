/* The ledger without threads on a disk that crashes, against a plain model: after every crash, at any step of
 * writing, syncing, checkpointing, dropping and recovering, the state is that of a batch's end, no batch that
 * was safe is missing, and every answer that was given is the model's.
 *
 * WEIR_LEDGER_SEED: of one run; WEIR_LEDGER_ENTRIES: how many (40,000); a failure prints the seed. */
#include <stdio.h>

#include "base/test.h"
#include "ledger/disk_test.h"
#include "ledger/ledger_log.h"
#include "ledger/model_test.h"
#include "ledger/store_test.h"

#define SEGMENT_BYTES (96u * 1024)
#define BATCH_ENTRIES 24
#define CALL_OPS 3
#define BATCHES_UNSAFE 512

/* ---- what was asked */

struct asked {
    struct counter_op ops[CALL_OPS];
    uint32_t count, ret_op;
    err refused;
    int64_t value; /* of the last operation */
};
struct asked_batch {
    uint64_t seq, now_ms; /* seq 0: nothing was written */
    struct asked entries[BATCH_ENTRIES];
    uint32_t count;
};

static struct {
    uint64_t seed;
    struct sim_disk disk;
    unsigned char id[16];
    bool synced;
    struct machine machine;
    struct board board;
    struct store store;
    struct ledger_log *log;
    struct frozen frozen;
    enum { FROZEN_NONE, FROZEN_BEGUN, FROZEN_WRITTEN } frozen_state;
    struct model model;
    struct asked_batch unsafe[BATCHES_UNSAFE]; /* applied; the model has not seen them */
    unsigned unsafe_count;
    uint64_t safe_seq, clock_ms, last_ms, entries, tokens, refused, recoveries, dropped;
} sim;

static void wrong(const char *what)
{
    print_error("seed %llu, entry %llu, batch %llu, after %llu crashes: %s\n", (unsigned long long)sim.seed,
                (unsigned long long)sim.entries, (unsigned long long)sim.machine.seq,
                (unsigned long long)sim.disk.crashes, what);
    assert_string_equal(what, "");
}

static uint64_t some_token(void)
{
    if (random_below(3) == 0 && sim.tokens + 1 < sim.model.room)
        return ++sim.tokens;
    uint64_t back = random_below(random_below(20) ? 60 : 100000);
    return back < sim.tokens ? sim.tokens - back : 1 + random_below((uint32_t)sim.tokens + 1);
}

static void make_up(struct asked *a)
{
    *a = (struct asked){ .count = random_below(4) ? 1 : 1 + random_below(CALL_OPS) };
    for (uint32_t i = 0; i < a->count; i++)
        a->ops[i] =
            (struct counter_op){ .what = random_below(COUNTER_WHATS),
                                 .name = random_below(MODEL_NAMES),
                                 .n = random_below(50) ? random_below(5) : random_below(COUNTER_LIMIT),
                                 .token = some_token(),
                                 .hold_ms = random_below(300) };
}

static void model_run(const struct asked *a, uint64_t now_ms, err *ret_refused, uint32_t *ret_op,
                      int64_t *ret_value)
{
    struct model *m = &sim.model;
    struct model before = *m;
    struct model_token tokens[CALL_OPS];
    struct model_hold holds[CALL_OPS];
    *ret_refused = OK;
    *ret_op = 0;
    for (uint32_t i = 0; i < a->count; i++) {
        tokens[i] = m->tokens[a->ops[i].token];
        holds[i] = m->holds[a->ops[i].token];
        *ret_refused = model_apply(m, &a->ops[i], now_ms, ret_value);
        if (!*ret_refused)
            continue;
        *ret_op = i;
        for (uint32_t k = i + 1; k-- > 0;) {
            m->tokens[a->ops[k].token] = tokens[k];
            m->holds[a->ops[k].token] = holds[k];
        }
        memcpy(m->counters, before.counters, sizeof before.counters);
        memcpy(m->exists, before.exists, sizeof before.exists);
        return;
    }
}

/* It is safe, or it survived: what it answered must be what the model answers. */
static void model_follow(const struct asked_batch *b)
{
    if (b->seq) /* one that wrote nothing let nothing run out either */
        model_expire(&sim.model, b->now_ms);
    for (uint32_t i = 0; i < b->count; i++) {
        const struct asked *a = &b->entries[i];
        int64_t value = 0;
        uint32_t op;
        err refused;
        model_run(a, b->now_ms, &refused, &op, &value);
        if (refused != a->refused || op != a->ret_op)
            wrong("the model refuses otherwise");
        if (!refused && value != a->value)
            wrong("the model answers otherwise");
    }
}

static void model_follow_until(uint64_t seq)
{
    unsigned kept = 0;
    uint64_t last = 0;
    for (unsigned i = 0; i < sim.unsafe_count; i++) {
        last = sim.unsafe[i].seq ? sim.unsafe[i].seq : last;
        if (last <= seq)
            model_follow(&sim.unsafe[i]);
        else
            sim.unsafe[kept++] = sim.unsafe[i];
    }
    sim.unsafe_count = kept;
}

/* ---- steps; false: the disk has crashed */

static err sync_log(void)
{
    struct diag d = DIAG_NONE;
    err e = ledger_log_sync(sim.log, &d);
    if (e)
        return e;
    sim.safe_seq = ledger_log_durable_seq(sim.log);
    model_follow_until(sim.safe_seq);
    return OK;
}

static void ask(struct asked *a)
{
    struct ledger_op ops[CALL_OPS];
    struct ledger_call c = { .ops = ops, .ops_count = a->count };
    for (uint32_t i = 0; i < a->count; i++)
        ops[i] = (struct ledger_op){ .rules = COUNTER_RULES,
                                     .body = { (const char *)&a->ops[i], sizeof a->ops[i] },
                                     .answer = (char *)&a->value,
                                     .answer_size = sizeof a->value };
    machine_entry(&sim.machine, &c, NULL);
    a->refused = c.ret_refused;
    a->ret_op = c.ret_op;
    sim.refused += a->refused != OK;
    sim.entries++;
}

static err batch(void)
{
    struct machine *m = &sim.machine;
    struct diag d = DIAG_NONE;
    struct asked_batch *b = &sim.unsafe[sim.unsafe_count++];
    sim.clock_ms += random_below(40);
    machine_begin(m, random_below(20) ? sim.clock_ms : sim.clock_ms - 10000); /* the clock is set back */
    machine_expire(m);
    if (m->now_ms < sim.last_ms)
        wrong("time goes back");
    sim.last_ms = m->now_ms;
    *b = (struct asked_batch){ .now_ms = m->now_ms, .count = random_below(BATCH_ENTRIES + 1) };
    for (uint32_t i = 0; i < b->count; i++) {
        make_up(&b->entries[i]);
        ask(&b->entries[i]);
    }
    if (!machine_end(m)) {
        if (sim.safe_seq == m->seq)
            model_follow_until(m->seq);
        return OK;
    }
    b->seq = m->seq;
    machine_show(m, &sim.board);
    err e = ledger_log_append(sim.log, &m->head, m->batch, &d);
    if (e)
        return e;
    if (sim.synced) {
        sim.safe_seq = m->seq;
        model_follow_until(m->seq);
    } else if (ledger_log_durable_seq(sim.log) > sim.safe_seq) { /* a new segment: the old one was synced */
        sim.safe_seq = ledger_log_durable_seq(sim.log);
        model_follow_until(sim.safe_seq);
    }
    return OK;
}

static void add(void *arg, const struct record_image *image, bool gone)
{
    frozen_add(arg, image, gone);
}

static err checkpoint_step(void)
{
    struct machine *m = &sim.machine;
    struct frozen *f = &sim.frozen;
    struct diag d = DIAG_NONE;
    err e;
    if (sim.frozen_state == FROZEN_NONE) {
        e = sync_log();
        if (e)
            return e;
        f->bytes = f->count = 0;
        f->state =
            (struct checkpoint_state){ m->seq, m->now_ms, m->next_id, (uint16_t)random_below(RECORD_ERAS) };
        records_freeze(m->records, f->state.era, random_below(2) ? random_below(2000) : 0, add, f);
        sim.frozen_state = FROZEN_BEGUN;
        return OK;
    }
    if (sim.frozen_state == FROZEN_BEGUN) {
        if (sim_down(&sim.disk))
            return ERR_IO;
        store_commit(&sim.store, f);
        sim.frozen_state = FROZEN_WRITTEN;
        uint64_t before = ledger_log_bytes(sim.log);
        e = ledger_log_drop_until(sim.log, f->state.seq, random_below(3) ? 0 : 3 * SEGMENT_BYTES, &d);
        sim.dropped += ledger_log_bytes(sim.log) < before;
        return e;
    }
    store_renew(&sim.store, f);
    records_frozen_is_stored(m->records);
    sim.frozen_state = FROZEN_NONE;
    if (random_below(2))
        records_evict(m->records, random_below(1u << 20));
    return OK;
}

static err step(void)
{
    if (sim.unsafe_count == BATCHES_UNSAFE)
        return sync_log();
    uint32_t what = random_below(100);
    if (what < 4)
        return sync_log();
    return what < 16 ? checkpoint_step() : batch();
}

/* ---- from crash to crash */

static err replay(void *arg, const struct batch_head *head, struct bytes payload, struct diag *reterr)
{
    err e = machine_replay(arg, head, payload, reterr);
    machine_show(arg, &sim.board);
    return e;
}

static err recover(struct diag *reterr)
{
    must(machine_open(&sim.machine, counter_registry, UINT64_MAX) == OK && board_open(&sim.board) == OK);
    store_load(&sim.store, &sim.machine, &sim.board);
    struct ledger_log_reader r = { .disk = &sim.disk.disk,
                                   .ledger_id = sim.id,
                                   .after_seq = sim.machine.seq,
                                   .cut = true,
                                   .on_batch = replay,
                                   .arg = &sim.machine };
    err e = ledger_log_read(&r, reterr);
    if (!e)
        e = machine_check(&sim.machine, reterr);
    if (e)
        return e;
    struct ledger_log_opts o = { .disk = &sim.disk.disk,
                                 .segment_bytes = SEGMENT_BYTES,
                                 .synced = sim.synced,
                                 .next_seq = sim.machine.seq + 1 };
    memcpy(o.ledger_id, sim.id, sizeof o.ledger_id);
    return ledger_log_open(&o, &sim.log, reterr);
}

static void compare(void)
{
    struct machine *m = &sim.machine;
    if (m->seq < sim.safe_seq)
        wrong("a batch that was safe is missing");
    model_follow_until(m->seq);
    sim.unsafe_count = 0;
    sim.safe_seq = m->seq;
    for (uint32_t i = 0; i < MODEL_NAMES; i++) {
        struct counter_key k;
        uint64_t value = 0, hash = board_hash(COUNTER_RULES, counter_key(&k, 'c', i));
        if (board_get(&sim.board, hash, &value) != sim.model.exists[i] ||
            (int64_t)value != sim.model.counters[i])
            wrong("what is shown differs");
    }
    if (!model_same_counters(&sim.model, m->records))
        wrong("a counter differs");
    for (unsigned i = 0; i < 500; i++) {
        if (!model_same_token(&sim.model, m->records, random_below((uint32_t)sim.tokens + 1)))
            wrong("a token differs");
    }
}

static void close_all(void)
{
    ledger_log_close(sim.log);
    sim.log = NULL;
    machine_close(&sim.machine);
    board_close(&sim.board);
    sim.frozen_state = FROZEN_NONE;
}

static void live_once(bool last)
{
    struct diag d = DIAG_NONE;
    sim.synced = random_below(2);
    sim.disk.calls_left = last ? -1 : (int64_t)random_below(random_below(4) ? 250 : 40);
    err e = recover(&d);
    if (e && !sim.disk.crashed)
        wrong(d.set ? d.text : err_text(e));
    sim.last_ms = 0; /* what was lost had its time */
    if (!e) {
        sim.recoveries++;
        compare();
    }
    while (!e && !last)
        e = step();
    for (uint64_t i = 1; last && i <= sim.tokens; i++) {
        if (!model_same_token(&sim.model, sim.machine.records, i))
            wrong("a token differs in the end");
    }
    close_all();
    sim_disk_restart(&sim.disk);
}

static void every_crash_leaves_what_was_safe(void **state)
{
    (void)state;
    const uint64_t wanted = test_setting("WEIR_LEDGER_ENTRIES", 40000);
    sim.seed = test_setting("WEIR_LEDGER_SEED", random_u64());
    print_message("seed %llu\n", (unsigned long long)sim.seed);
    random_seed(sim.seed);
    sim.disk.disk.ops = &sim_disk_ops;
    sim.clock_ms = 1700000000000;
    store_open(&sim.store);
    model_open(&sim.model, wanted + 1000);
    while (sim.entries < wanted)
        live_once(false);
    live_once(true);
    print_message("%llu entries, %llu refused, %llu crashes, %llu recoveries, %llu times segments dropped, "
                  "%llu sectors lost\n",
                  (unsigned long long)sim.entries, (unsigned long long)sim.refused,
                  (unsigned long long)sim.disk.crashes, (unsigned long long)sim.recoveries,
                  (unsigned long long)sim.dropped, (unsigned long long)sim.disk.torn);
    assert_true(sim.recoveries > 10 && sim.dropped > 0 && sim.disk.torn > 0);
    model_close(&sim.model);
    store_close(&sim.store);
    mem_free(sim.frozen.data);
    sim_disk_close(&sim.disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_crash_leaves_what_was_safe) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
