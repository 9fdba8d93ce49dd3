/* checkpoint_before: a checkpoint of version 1, which had the records that recovery loads by their keys
 * alone, is written anew once: with the first era in front of each key. What a value says stays as it is. */
#pragma once
#include "base/diag.h"
#include "base/err.h"

#if WEIR_HAVE_LMDB
#include <lmdb.h>

#define CHECKPOINT_BEFORE_TABLE "open"

/* All of `from` to `to`, which is emptied first, in several transactions: bounded memory. What stands in
 * `from` counts until the caller, in one more, drops that and says so in the state: an end in between is a
 * new beginning. */
err checkpoint_before_copy(MDB_env *env, MDB_dbi from, MDB_dbi to, struct diag *reterr) CHECK_RESULT;
#endif
