/* checkpoint_walk: all entries of a table of LMDB, by several threads at once: start-up, `verify`.
 *
 *      cursor ─▶ some hundred entries ─▶ thread 0      what an entry costs (its checksum, its place in
 * memory) is ─▶ some hundred entries ─▶ thread 1      much more than finding it
 *             ...
 */
#pragma once
#include "base/diag.h"
#include "base/err.h"

#if WEIR_HAVE_LMDB
#include <lmdb.h>
#include <stdint.h>

#define CHECKPOINT_WALKERS_MAX 4

/* What is done with an entry; thread: from 0. An error ends the walk. */
struct checkpoint_visit {
    err (*fn)(void *arg, unsigned thread, MDB_val key, MDB_val value, struct diag *reterr);
    void *arg;
};
/* As many threads as so many entries are worth on this machine. */
unsigned checkpoint_walkers(uint64_t count);
/* In txn, which is for reading. The caller is one of the threads. */
err checkpoint_walk(MDB_txn *txn, MDB_dbi table, unsigned threads, const struct checkpoint_visit *visit,
                    struct diag *reterr) CHECK_RESULT;
#endif
