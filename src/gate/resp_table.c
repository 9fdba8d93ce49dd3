/* All commands, in the order of their names. */
#include "core/worker.h"
#include "gate/resp.h"
#include "gate/resp_metrics.h"
#include "ledger/stock.h"

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

/* clang-format off */
const struct resp_def resp_table[] = {
    /* name, arity, flags, first key, last, step, function, of kv: what, flags, shape of the answer, number */
    { "APPEND", 3, RESP_WRITES, 1, 1, 1, resp_do_plain, KV_APPEND },
    { "AUTH", -2, RESP_STRANGER | RESP_NOT_QUEUED | RESP_BARRIER, 0, 0, 0, resp_do_auth },
    { "CLIENT", -2, 0, 0, 0, 0, resp_do_client },
    { "COMMAND", -1, 0, 0, 0, 0, resp_do_command },
    { "CONFIG", -2, 0, 0, 0, 0, resp_do_config },
    { "DBSIZE", 1, 0, 0, 0, 0, resp_do_plain, KV_SIZE, 0, RESP_FIRST },
    { "DECR", 2, RESP_WRITES, 1, 1, 1, resp_do_plain, KV_INCR, 0, RESP_PLAIN, -1 },
    { "DECRBY", 3, RESP_WRITES, 1, 1, 1, resp_do_incrby, KV_INCR, 0, RESP_PLAIN, -1 },
    { "DEL", -2, RESP_WRITES, 1, -1, 1, resp_do_plain, KV_DEL },
    { "DISCARD", 1, RESP_NOT_QUEUED, 0, 0, 0, resp_do_discard },
    { "ECHO", 2, 0, 0, 0, 0, resp_do_echo },
    { "EVAL", -3, RESP_NO_MULTI | RESP_BARRIER, 0, 0, 0, resp_do_eval },
    { "EVALSHA", -3, RESP_NO_MULTI | RESP_BARRIER, 0, 0, 0, resp_do_evalsha },
    { "EXEC", 1, RESP_NOT_QUEUED | RESP_BARRIER, 0, 0, 0, resp_do_exec },
    { "EXISTS", -2, 0, 1, -1, 1, resp_do_plain, KV_EXISTS },
    { "EXPIRE", -3, RESP_WRITES, 1, 1, 1, resp_do_expire, KV_EXPIRE, 0, RESP_PLAIN, 1000 },
    { "EXPIREAT", -3, RESP_WRITES, 1, 1, 1, resp_do_expire, KV_EXPIRE, KV_ABSOLUTE, RESP_PLAIN, 1000 },
    { "EXPIRETIME", 2, 0, 1, 1, 1, resp_do_plain, KV_TTL, KV_ABSOLUTE, RESP_SECONDS },
    { "GET", 2, 0, 1, 1, 1, resp_do_plain, KV_GET },
    { "GETDEL", 2, RESP_WRITES, 1, 1, 1, resp_do_plain, KV_GETDEL },
    { "GETEX", -2, RESP_WRITES, 1, 1, 1, resp_do_getex, KV_GETEX },
    { "GETSET", 3, RESP_WRITES, 1, 1, 1, resp_do_plain, KV_SET, KV_RETURN_OLD },
    { "HDEL", -3, RESP_WRITES, 1, 1, 1, resp_do_plain, KV_HDEL },
    { "HELLO", -1, RESP_STRANGER | RESP_NOT_QUEUED | RESP_BARRIER, 0, 0, 0, resp_do_hello },
    { "HEXISTS", 3, 0, 1, 1, 1, resp_do_plain, KV_HEXISTS },
    { "HGET", 3, 0, 1, 1, 1, resp_do_plain, KV_HGET },
    { "HGETALL", 2, 0, 1, 1, 1, resp_do_plain, KV_HGETALL },
    { "HINCRBY", 4, RESP_WRITES, 1, 1, 1, resp_do_hincrby, KV_HINCR },
    { "HINCRBYFLOAT", 4, RESP_WRITES, 1, 1, 1, resp_do_plain, KV_HINCR_FLOAT },
    { "HKEYS", 2, 0, 1, 1, 1, resp_do_plain, KV_HKEYS },
    { "HLEN", 2, 0, 1, 1, 1, resp_do_plain, KV_HLEN },
    { "HMGET", -3, 0, 1, 1, 1, resp_do_plain, KV_HMGET },
    { "HMSET", -4, RESP_WRITES, 1, 1, 1, resp_do_pairs, KV_HSET, 0, RESP_AS_OK, 2 },
    { "HSET", -4, RESP_WRITES, 1, 1, 1, resp_do_pairs, KV_HSET, 0, RESP_PLAIN, 2 },
    { "HSETNX", 4, RESP_WRITES, 1, 1, 1, resp_do_plain, KV_HSET, KV_NX },
    { "HSTRLEN", 3, 0, 1, 1, 1, resp_do_plain, KV_HSTRLEN },
    { "HVALS", 2, 0, 1, 1, 1, resp_do_plain, KV_HVALS },
    { "INCR", 2, RESP_WRITES, 1, 1, 1, resp_do_plain, KV_INCR, 0, RESP_PLAIN, 1 },
    { "INCRBY", 3, RESP_WRITES, 1, 1, 1, resp_do_incrby, KV_INCR, 0, RESP_PLAIN, 1 },
    { "INCRBYFLOAT", 3, RESP_WRITES, 1, 1, 1, resp_do_plain, KV_INCR_FLOAT },
    { "INFO", -1, RESP_NO_MULTI | RESP_BARRIER, 0, 0, 0, resp_do_info },
    { "KEYS", 2, RESP_NO_MULTI | RESP_BARRIER, 0, 0, 0, resp_do_keys, KV_KEYS },
    { "LOCK.ACQUIRE", -3, RESP_WRITES | RESP_NO_MULTI | RESP_BARRIER, 0, 0, 0, resp_do_lock_acquire },
    { "LOCK.RELEASE", 3, RESP_WRITES | RESP_NO_MULTI | RESP_BARRIER, 0, 0, 0, resp_do_lock_release },
    { "LOCK.RENEW", 4, RESP_WRITES | RESP_NO_MULTI | RESP_BARRIER, 0, 0, 0, resp_do_lock_renew },
    { "LOCK.STATUS", 2, RESP_NO_MULTI | RESP_BARRIER, 0, 0, 0, resp_do_lock_status },
    { "MGET", -2, 0, 1, -1, 1, resp_do_plain, KV_MGET },
    { "MSET", -3, RESP_WRITES, 1, -1, 2, resp_do_pairs, KV_MSET, 0, RESP_PLAIN, 1 },
    { "MSETNX", -3, RESP_WRITES, 1, -1, 2, resp_do_pairs, KV_MSET, KV_NX, RESP_PLAIN, 1 },
    { "MULTI", 1, RESP_NOT_QUEUED, 0, 0, 0, resp_do_multi },
    { "PERSIST", 2, RESP_WRITES, 1, 1, 1, resp_do_plain, KV_PERSIST },
    { "PEXPIRE", -3, RESP_WRITES, 1, 1, 1, resp_do_expire, KV_EXPIRE, 0, RESP_PLAIN, 1 },
    { "PEXPIREAT", -3, RESP_WRITES, 1, 1, 1, resp_do_expire, KV_EXPIRE, KV_ABSOLUTE, RESP_PLAIN, 1 },
    { "PEXPIRETIME", 2, 0, 1, 1, 1, resp_do_plain, KV_TTL, KV_ABSOLUTE },
    { "PING", -1, 0, 0, 0, 0, resp_do_ping },
    { "PSETEX", 4, RESP_WRITES, 1, 1, 1, resp_do_setex, KV_SET, KV_EXPIRES, RESP_PLAIN, 1 },
    { "PTTL", 2, 0, 1, 1, 1, resp_do_plain, KV_TTL },
    { "QUEUE.ACK", -4, RESP_WRITES | RESP_STREAM, 1, 1, 1, resp_do_queue_ack },
    { "QUEUE.COMMIT", 3, RESP_WRITES | RESP_STREAM, 1, 1, 1, resp_do_queue_end, 0, 0, 0, 1 },
    { "QUEUE.DEAD", -2, RESP_NO_MULTI | RESP_APART, 1, 1, 1, resp_do_queue_dead },
    { "QUEUE.DROP", -2, RESP_WRITES | RESP_APART, 1, 1, 1, resp_do_queue_drop },
    { "QUEUE.EXTEND", -6, RESP_WRITES | RESP_STREAM, 1, 1, 1, resp_do_queue_extend },
    { "QUEUE.GROUP", -3, RESP_WRITES | RESP_APART, 1, 1, 1, resp_do_queue_group },
    { "QUEUE.INFO", -1, RESP_NO_MULTI | RESP_APART, 0, 0, 0, resp_do_queue_info },
    { "QUEUE.NACK", -4, RESP_WRITES | RESP_STREAM, 1, 1, 1, resp_do_queue_nack },
    { "QUEUE.PREPARE", -3, RESP_WRITES | RESP_STREAM, 1, 1, 1, resp_do_queue_publish, 0, 0, 0, 1 },
    { "QUEUE.PUBLISH", -3, RESP_WRITES | RESP_STREAM, 1, 1, 1, resp_do_queue_publish },
    { "QUEUE.PULL", -4, RESP_WRITES | RESP_APART, 1, 1, 1, resp_do_queue_pull },
    { "QUEUE.REPLAY", 4, RESP_WRITES | RESP_APART, 1, 1, 1, resp_do_queue_replay },
    { "QUEUE.ROLLBACK", 3, RESP_WRITES | RESP_STREAM, 1, 1, 1, resp_do_queue_end },
    { "QUEUE.TOPIC", -2, RESP_WRITES | RESP_APART, 1, 1, 1, resp_do_queue_topic },
    { "QUIT", -1, RESP_STRANGER | RESP_NOT_QUEUED | RESP_BARRIER, 0, 0, 0, resp_do_quit },
    { "RESET", 1, RESP_STRANGER | RESP_NOT_QUEUED | RESP_BARRIER, 0, 0, 0, resp_do_reset },
    { "SCAN", -2, RESP_NO_MULTI | RESP_BARRIER, 0, 0, 0, resp_do_scan, KV_SCAN, 0, RESP_CURSOR },
    { "SCRIPT", -2, RESP_NO_MULTI, 0, 0, 0, resp_do_script },
    { "SELECT", 2, 0, 0, 0, 0, resp_do_select },
    { "SET", -3, RESP_WRITES, 1, 1, 1, resp_do_set, KV_SET },
    { "SETEX", 4, RESP_WRITES, 1, 1, 1, resp_do_setex, KV_SET, KV_EXPIRES, RESP_PLAIN, 1000 },
    { "SETNX", 3, RESP_WRITES, 1, 1, 1, resp_do_plain, KV_SET, KV_NX, RESP_DONE },
    { "STOCK.ADD", 3, RESP_WRITES | RESP_NO_MULTI, 0, 0, 0, resp_do_stock_add },
    { "STOCK.CONFIRM", 2, RESP_WRITES | RESP_NO_MULTI, 0, 0, 0, resp_do_stock_move, 0, 0, 0, STOCK_MOVE_CONFIRM },
    { "STOCK.DELIVER", 2, RESP_WRITES | RESP_NO_MULTI, 0, 0, 0, resp_do_stock_move, 0, 0, 0, STOCK_MOVE_DELIVER },
    { "STOCK.GET", 2, RESP_NO_MULTI, 0, 0, 0, resp_do_stock_get },
    { "STOCK.ORDER", 2, RESP_NO_MULTI, 0, 0, 0, resp_do_stock_order },
    { "STOCK.RELEASE", 2, RESP_WRITES | RESP_NO_MULTI, 0, 0, 0, resp_do_stock_move, 0, 0, 0, STOCK_MOVE_RELEASE },
    { "STOCK.RESERVE", -6, RESP_WRITES | RESP_NO_MULTI, 0, 0, 0, resp_do_stock_reserve },
    { "STOCK.RETURN", 2, RESP_WRITES | RESP_NO_MULTI, 0, 0, 0, resp_do_stock_move, 0, 0, 0, STOCK_MOVE_RETURN },
    { "STOCK.SET", -4, RESP_WRITES | RESP_NO_MULTI, 0, 0, 0, resp_do_stock_set },
    { "STRLEN", 2, 0, 1, 1, 1, resp_do_plain, KV_STRLEN },
    { "TIME", 1, 0, 0, 0, 0, resp_do_time },
    { "TOUCH", -2, 0, 1, -1, 1, resp_do_plain, KV_EXISTS },
    { "TTL", 2, 0, 1, 1, 1, resp_do_plain, KV_TTL, 0, RESP_SECONDS },
    { "TYPE", 2, 0, 1, 1, 1, resp_do_plain, KV_TYPE },
    { "UNLINK", -2, RESP_WRITES, 1, -1, 1, resp_do_plain, KV_DEL },
    { "UNWATCH", 1, 0, 0, 0, 0, resp_do_unwatch },
    { "WATCH", -2, RESP_NOT_QUEUED | RESP_BARRIER, 1, -1, 1, resp_do_watch },
    { "XACK", -4, RESP_WRITES | RESP_STREAM, 1, 1, 1, resp_do_xack },
    { "XADD", -5, RESP_WRITES | RESP_STREAM, 1, 1, 1, resp_do_xadd },
    { "XAUTOCLAIM", -6, RESP_WRITES | RESP_APART, 1, 1, 1, resp_do_xautoclaim, 0, 0, 0, 1 },
    { "XCLAIM", -6, RESP_WRITES | RESP_APART, 1, 1, 1, resp_do_xclaim },
    { "XDEL", -3, RESP_WRITES | RESP_STREAM, 1, 1, 1, resp_do_xdel },
    { "XGROUP", -2, RESP_WRITES | RESP_APART, 2, 2, 1, resp_do_xgroup },
    { "XINFO", -2, RESP_APART, 2, 2, 1, resp_do_xinfo },
    { "XLEN", 2, RESP_APART, 1, 1, 1, resp_do_xlen },
    { "XPENDING", -3, RESP_APART, 1, 1, 1, resp_do_xpending },
    { "XRANGE", -4, RESP_APART, 1, 1, 1, resp_do_xrange },
    { "XREAD", -4, RESP_APART, 0, 0, 0, resp_do_xread },
    { "XREADGROUP", -7, RESP_WRITES | RESP_APART, 0, 0, 0, resp_do_xread, 0, 0, 0, 1 },
    { "XREVRANGE", -4, RESP_APART, 1, 1, 1, resp_do_xrange, 0, 0, 0, 1 },
    { "XTRIM", -4, RESP_WRITES | RESP_APART, 1, 1, 1, resp_do_xtrim },
};
/* clang-format on */
const unsigned resp_table_count = sizeof resp_table / sizeof *resp_table;

#define NAME_BYTES_MAX 24

static const struct resp_def *search(struct bytes name)
{
    char upper[NAME_BYTES_MAX + 1];
    unsigned low = 0, high = resp_table_count;
    if (name.len > NAME_BYTES_MAX)
        return NULL;
    for (size_t i = 0; i < name.len; i++)
        upper[i] = name.ptr[i] >= 'a' && name.ptr[i] <= 'z' ? (char)(name.ptr[i] - 32) : name.ptr[i];
    upper[name.len] = 0;
    while (low < high) {
        const unsigned middle = (low + high) / 2;
        const int c = strcmp(upper, resp_table[middle].name);
        if (c == 0)
            return strlen(upper) == name.len ? &resp_table[middle] : NULL;
        if (c < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

static bool is_named(const struct resp_def *d, struct bytes name)
{
    size_t i = 0;
    while (i < name.len && d->name[i] && ascii_lower(d->name[i]) == ascii_lower(name.ptr[i]))
        i++;
    return i == name.len && !d->name[i];
}

/* The same ones come again and again. */
#define RECENT 16

const struct resp_def *resp_find(struct bytes name)
{
    static _Thread_local const struct resp_def *recent[RECENT];
    if (name.len == 0)
        return NULL;
    const unsigned char first = (unsigned char)name.ptr[0], last = (unsigned char)name.ptr[name.len - 1];
    const struct resp_def **slot = &recent[(first ^ last * 5u ^ name.len) % RECENT];
    if (!*slot || !is_named(*slot, name))
        *slot = search(name);
    return *slot;
}

/* Redis' words: the name and its arguments, as far as 128 bytes go. */
static void unknown(struct resp_client *k, const struct resp_command *c)
{
    char args[160];
    size_t n = 0;
    const struct bytes name = resp_arg(c, 0);
    for (uint32_t i = 1; i < c->count && n < 128; i++) {
        const struct bytes arg = resp_arg(c, i);
        const size_t len = arg.len < 128 - n ? arg.len : 128 - n;
        args[n++] = '\'';
        memcpy(args + n, arg.ptr, len);
        n += len;
        args[n++] = '\'';
        args[n++] = ' ';
    }
    resp_tx_spoil(k);
    resp_fail(k->batch, "ERR unknown command '%.*s', with args beginning with: %.*s",
              (int)(name.len < 128 ? name.len : 128), name.ptr, (int)n, args);
}

static bool arity_fits(const struct resp_def *d, uint32_t count)
{
    return d->arity < 0 ? count >= (uint32_t)-d->arity : count == (uint32_t)d->arity;
}

static const char *lower(const struct resp_def *d, char out[NAME_BYTES_MAX + 1])
{
    size_t n = 0;
    for (; d->name[n]; n++)
        out[n] = ascii_lower(d->name[n]);
    out[n] = 0;
    return out;
}

void resp_fail_arity(struct resp_client *k, const struct resp_def *d)
{
    char name[NAME_BYTES_MAX + 1];
    resp_fail(k->batch, "ERR wrong number of arguments for '%s' command", lower(d, name));
}

void resp_fail_time(struct resp_client *k, const struct resp_def *d)
{
    char name[NAME_BYTES_MAX + 1];
    resp_fail(k->batch, "ERR invalid expire time in '%s' command", lower(d, name));
}

/* Asks go to the writer before what kv does. */
static bool is_out_of_order(const struct resp_batch *b, const struct resp_def *d)
{
    return d->flags & RESP_STREAM ? b->commands != 0 : d->first && b->asks_on_keys;
}

/* A batch of its own: what many of them take does not add up. What it asks the writer goes there together
 * with the asks before it: of XACK and XREADGROUP, sent in one, both are in the same commit. */
static void do_apart(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    struct resp_batch *turn = k->batch, own;
    struct arena a;
    arena_open(&a, &arena_worker, RESP_TURN_BYTES_MAX, NULL, 0);
    resp_batch_open(&own, &a);
    own.before = turn;
    k->batch = &own;
    d->fn(k, c, d);
    const err e = resp_flush(k);
    resp_answer_before(k);
    k->closing |= e != OK;
    k->batch = turn;
    arena_close(&a);
}

void resp_do(struct resp_client *k, const struct resp_command *c)
{
    const struct resp_def *d = resp_find(resp_arg(c, 0));
    if (!d) {
        if (!k->trusted)
            resp_fail(k->batch, "NOAUTH Authentication required.");
        else
            unknown(k, c);
        return;
    }
    if (!arity_fits(d, c->count)) {
        resp_tx_spoil(k);
        resp_fail_arity(k, d);
        return;
    }
    if (!k->trusted && !(d->flags & RESP_STRANGER)) {
        resp_fail(k->batch, "NOAUTH Authentication required.");
        return;
    }
    if (d->flags & RESP_WRITES)
        resp_count(RESP_COMMANDS_WRITE, 1);
    if (k->tx && !(d->flags & RESP_NOT_QUEUED) && resp_tx_queue(k, c, d))
        return;
    const bool goes_along = d->flags & RESP_APART && resp_send_asks(k->batch);
    if (!goes_along && (d->flags & (RESP_BARRIER | RESP_APART) || is_out_of_order(k->batch, d))) {
        const err e = resp_flush(k);
        k->closing |= e != OK;
        if (e)
            return;
    }
    k->batch->asks_on_keys |= (d->flags & RESP_STREAM) != 0;
    if (d->flags & RESP_APART)
        do_apart(k, c, d);
    else
        d->fn(k, c, d);
}
