#include "ledger/checkpoint_before.h"

#if WEIR_HAVE_LMDB
#include <string.h>

#include "ledger/checkpoint_record.h"

#define PART 65536 /* entries of a transaction */

/* Where a part begins: the last key that was copied. */
struct copied {
    char era_and_key[STORED_ERA_BYTES + 1 + RECORD_KEY_BYTES_MAX]; /* era: 0 */
    size_t key_bytes;                                              /* 0: none yet */
};

static int copy_one(MDB_cursor *to, struct copied *last, MDB_val key, MDB_val value)
{
    if (!key.mv_size || key.mv_size > sizeof last->era_and_key - STORED_ERA_BYTES)
        return MDB_CORRUPTED;
    memcpy(last->era_and_key + STORED_ERA_BYTES, key.mv_data, key.mv_size);
    last->key_bytes = key.mv_size;
    MDB_val with_era = { STORED_ERA_BYTES + key.mv_size, last->era_and_key };
    return mdb_cursor_put(to, &with_era, &value, MDB_APPEND);
}

/* MDB_NOTFOUND: that was the last part. */
static int copy_part(MDB_cursor *from, MDB_cursor *to, struct copied *last)
{
    MDB_val key = { last->key_bytes, last->era_and_key + STORED_ERA_BYTES }, value;
    int code = mdb_cursor_get(from, &key, &value, last->key_bytes ? MDB_SET_RANGE : MDB_FIRST);
    if (!code && last->key_bytes)
        code = mdb_cursor_get(from, &key, &value, MDB_NEXT); /* that one was copied */
    for (unsigned n = 0; !code && n < PART; n++) {
        code = copy_one(to, last, key, value);
        if (!code)
            code = mdb_cursor_get(from, &key, &value, MDB_NEXT);
        else if (code == MDB_NOTFOUND)
            code = MDB_CORRUPTED;
    }
    return code;
}

static int run_part(MDB_env *env, MDB_dbi from, MDB_dbi to, struct copied *last)
{
    MDB_txn *txn;
    MDB_cursor *reads, *writes;
    int code = mdb_txn_begin(env, NULL, 0, &txn);
    if (code)
        return code;
    if (!last->key_bytes)
        code = mdb_drop(txn, to, 0);
    if (!code)
        code = mdb_cursor_open(txn, from, &reads);
    if (!code)
        code = mdb_cursor_open(txn, to, &writes); /* both end with the transaction */
    if (!code)
        code = copy_part(reads, writes, last);
    if (code && code != MDB_NOTFOUND) {
        mdb_txn_abort(txn);
        return code;
    }
    int committed = mdb_txn_commit(txn);
    return committed ? committed : code;
}

err checkpoint_before_copy(MDB_env *env, MDB_dbi from, MDB_dbi to, struct diag *reterr)
{
    struct copied last = { .key_bytes = 0 };
    int code;
    do
        code = run_part(env, from, to, &last);
    while (!code);
    if (code == MDB_NOTFOUND)
        return OK;
    diag_set(reterr, "the checkpoint: cannot write it anew for this version: %s", mdb_strerror(code));
    return code == MDB_MAP_FULL ? ERR_LIMIT : ERR_IO;
}
#endif
