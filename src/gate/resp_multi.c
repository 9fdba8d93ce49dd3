/* MULTI, EXEC, DISCARD, WATCH: commands that are put off and then done as one entry of the ledger; watched
 * keys are compared by version in that same entry. */
#include "base/pool.h"
#include "gate/resp.h"

#define TX_BYTES_MAX (4u << 20)
#define WATCHED_MAX 1024

struct watched {
    struct watched *next;
    struct bytes key;
    int64_t version;
};

struct resp_transaction {
    struct arena arena;
    struct resp_batch batch;
    struct watched *watched; /* NULL: none */
    uint32_t watched_count;
    uint32_t put_off; /* commands; some of them say several replies */
    bool begun, spoiled;
};

static _Thread_local struct pool transactions;
static _Thread_local struct turn_hook transactions_end;

static void end_pool(struct turn_hook *h)
{
    (void)h;
    pool_close(&transactions);
    transactions.object_bytes = 0;
}

static struct resp_transaction *tx_get(struct resp_client *k)
{
    if (k->tx)
        return k->tx;
    if (!transactions.object_bytes) {
        pool_init(&transactions, sizeof(struct resp_transaction));
        transactions_end.run = end_pool;
        worker_on_end(&transactions_end);
    }
    struct resp_transaction *tx = pool_take(&transactions);
    *tx = (struct resp_transaction){ 0 };
    arena_open(&tx->arena, &arena_worker, TX_BYTES_MAX, NULL, 0);
    resp_batch_open(&tx->batch, &tx->arena);
    tx->batch.puts_off = true;
    k->tx = tx;
    return tx;
}

void resp_tx_free(struct resp_client *k)
{
    if (!k->tx)
        return;
    arena_close(&k->tx->arena);
    pool_give(&transactions, k->tx);
    k->tx = NULL;
}

void resp_tx_spoil(struct resp_client *k)
{
    if (k->tx)
        k->tx->spoiled = k->tx->begun;
}

bool resp_tx_queue(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    struct resp_transaction *tx = k->tx;
    struct resp_batch *before = k->batch;
    if (!tx->begun)
        return false;
    if (d->flags & RESP_NO_MULTI) {
        tx->spoiled = true;
        resp_fail(k->batch, "ERR '%s' cannot be part of a transaction", d->name);
        return true;
    }
    k->batch = &tx->batch;
    d->fn(k, c, d);
    k->batch = before;
    if (tx->batch.full || ++tx->put_off > RESP_BATCH_COMMANDS_MAX ||
        tx->batch.op_bytes > RESP_COMMAND_BYTES_MAX) {
        tx->spoiled = true;
        resp_fail(k->batch, "ERR a transaction has at most %d commands and %d bytes", RESP_BATCH_COMMANDS_MAX,
                  RESP_COMMAND_BYTES_MAX);
        return true;
    }
    resp_say_static(k->batch, BYTES("+QUEUED\r\n"));
    return true;
}

/* ---- commands ---- */

void resp_do_multi(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)c;
    struct resp_transaction *tx = tx_get(k);
    if (tx->begun) {
        resp_fail(k->batch, "ERR MULTI calls can not be nested");
        return;
    }
    tx->begun = true;
    for (const struct watched *w = tx->watched; w; w = w->next)
        resp_add(&tx->batch, RESP_PLAIN, d->name, KV_UNLESS, 0, w->version, &w->key, 1);
    tx->batch.count = 0; /* they answer only when one of them has changed */
    resp_say_static(k->batch, BYTES("+OK\r\n"));
}

void resp_do_discard(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)c;
    (void)d;
    if (!k->tx || !k->tx->begun) {
        resp_fail(k->batch, "ERR DISCARD without MULTI");
        return;
    }
    resp_tx_free(k);
    resp_say_static(k->batch, BYTES("+OK\r\n"));
}

static bool has_changed(struct bytes answers)
{
    struct kv_value v;
    return kv_read(&answers, &v) && v.type == KV_CHANGED;
}

static err run(struct resp_client *k, struct resp_transaction *tx)
{
    struct resp_out o;
    struct bytes answers;
    tx->batch.arena = k->batch->arena; /* has room for answers */
    const err e = resp_submit(&tx->batch, &answers);
    resp_out_begin(&o, k);
    if (e) {
        resp_out_failure(&o, e);
    } else if (tx->watched && has_changed(answers)) {
        o.at = resp_null_array(resp_out_room(&o, RESP_HEAD_BYTES_MAX), o.protocol);
    } else {
        o.at = resp_head(resp_out_room(&o, RESP_HEAD_BYTES_MAX), '*', tx->put_off);
        resp_out_replies(&o, &tx->batch, answers);
    }
    resp_out_end(&o);
    return o.failed;
}

void resp_do_exec(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)c;
    (void)d;
    struct resp_transaction *tx = k->tx;
    if (!tx || !tx->begun) {
        resp_fail(k->batch, "ERR EXEC without MULTI");
        return;
    }
    if (tx->spoiled)
        resp_fail(k->batch, "EXECABORT Transaction discarded because of previous errors.");
    else
        k->closing |= run(k, tx) != OK;
    resp_tx_free(k);
}

void resp_do_watch(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    struct resp_transaction *tx = tx_get(k);
    struct resp_batch b;
    struct bytes answers;
    struct kv_value v;
    if (tx->begun) {
        resp_fail(k->batch, "ERR WATCH inside MULTI is not allowed");
        return;
    }
    resp_batch_open(&b, k->batch->arena);
    for (uint32_t i = 1; i < c->count; i++) {
        const struct bytes key = resp_arg(c, i);
        resp_add(&b, RESP_PLAIN, d->name, KV_VERSION, 0, 0, &key, 1);
    }
    if (b.full || tx->watched_count + c->count - 1 > WATCHED_MAX) {
        resp_fail(k->batch, "ERR at most %d keys are watched", WATCHED_MAX);
        return;
    }
    const err e = resp_submit(&b, &answers);
    if (e) {
        resp_say_failure(k->batch, e);
        return;
    }
    for (uint32_t i = 1; i < c->count && kv_read(&answers, &v); i++) {
        struct watched *w = arena_get(&tx->arena, sizeof *w);
        const struct bytes key = w ? arena_copy(&tx->arena, resp_arg(c, i)) : BYTES_NONE;
        if (!key.ptr) {
            resp_fail(k->batch, "ERR at most %d keys are watched", WATCHED_MAX);
            return;
        }
        *w = (struct watched){ tx->watched, key, v.number };
        tx->watched = w;
        tx->watched_count++;
    }
    resp_say_static(k->batch, BYTES("+OK\r\n"));
}

void resp_do_unwatch(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)c;
    (void)d;
    if (k->tx && !k->tx->begun)
        resp_tx_free(k);
    resp_say_static(k->batch, BYTES("+OK\r\n"));
}
