/* checkpoint: what the records were at the end of a batch, on disk: all of it brought up to date at once, in
 * the background, so that recovery replays only the log behind it.
 *
 *   writer: records_freeze ─▶ struct frozen (copies of what changed) ─▶ thread: one transaction of the store
 *   writer: records_frozen_is_stored ◀── done, sooner or later ◀──────── and old segments of the log go
 *
 * What changed twice in between is written once. */
#pragma once
#include "ledger/ledger_log.h"
#include "ledger/records.h"

/* Up to where a checkpoint reaches. */
struct checkpoint_state {
    uint64_t seq; /* 0: there is none yet */
    uint64_t time_ms, next_id;
    uint16_t era; /* of its freeze */
};

/* Images, one behind the other, as records_freeze tells them. */
struct frozen {
    struct checkpoint_state state;
    char *data;
    size_t bytes, room;
    uint32_t count;
};
/* One of them; behind it the key, filled up to 8 bytes with zeros, and the value, filled up. */
struct frozen_item {
    uint64_t due_ms;
    uint32_t value_bytes;
    uint16_t era;
    uint8_t rules, key_bytes, was_in, goes_to;
    bool finished, gone;
};
static inline size_t frozen_padded(size_t n)
{
    return (n + 7) & ~(size_t)7;
}
void frozen_add(struct frozen *f, const struct record_image *image, bool gone);
/* *at begins with 0. false: that was all. */
bool frozen_next(const struct frozen *f, size_t *at, struct record_image *ret_image, bool *ret_gone);

/* Where checkpoints lie: LMDB (checkpoint_lmdb.c); the simulation has a store of its own. */
struct checkpoint_store;
/* Who gets the records at start: up to CHECKPOINT_LOADERS_MAX threads at once, each with its number. */
#define CHECKPOINT_LOADERS_MAX RECORDS_LOADERS_MAX
struct checkpoint_reader {
    /* Before them: so many records, by so many threads. */
    err (*begin)(void *arg, uint64_t count, unsigned threads);
    err (*record)(void *arg, unsigned thread, const struct record_image *image);
    void *arg;
};
struct checkpoint_ops {
    /* Each record that is not to be left on disk, in no order. */
    err (*load)(struct checkpoint_store *s, struct checkpoint_state *ret_state,
                const struct checkpoint_reader *reader, struct diag *reterr);
    /* All of it or nothing; safe when it returns. */
    err (*commit)(struct checkpoint_store *s, const struct frozen *f, struct diag *reterr);
    /* The writer's thread: from now on `find` sees the last commit. */
    err (*renew)(struct checkpoint_store *s, struct diag *reterr);
    /* The writer's thread: one of those that were left on disk. What fails is told by `sound`, which is asked
     * before anything is answered that came of it. */
    bool (*find)(struct checkpoint_store *s, uint8_t rules, struct bytes key, struct record_image *ret_image);
    err (*sound)(struct checkpoint_store *s, struct diag *reterr);
    void (*close)(struct checkpoint_store *s);
};
struct checkpoint_store {
    const struct checkpoint_ops *ops;
};

#define CHECKPOINT_FILE "data.mdb" /* in its folder */

/* Without liblmdb all of these are ERR_UNSUPPORTED, with words. */
struct crypt;
/* folder: made when it is not there. crypt NULL: nothing is encrypted. */
err checkpoint_lmdb_open(const char *folder, uint64_t bytes_max, bool read_only, struct crypt *crypt,
                         struct checkpoint_store **ret_store, struct diag *reterr) CHECK_RESULT;
/* Copies it as it was at one moment, while it is used, to a new folder; safe but for the folder's names when
 * it returns. Any thread. */
err checkpoint_lmdb_copy(struct checkpoint_store *s, const char *folder, struct diag *reterr) CHECK_RESULT;
/* The writer's thread: were records left on disk, as of the last renew? */
bool checkpoint_lmdb_has_left(const struct checkpoint_store *s);
/* Each record that was left on disk, read and checked, and that none stands twice: `verify`. rs: what `load`
 * has given, unchanged. */
err checkpoint_lmdb_check(struct checkpoint_store *s, struct records *rs, uint64_t *ret_count,
                          struct diag *reterr) CHECK_RESULT;

/* ---- the thread. All calls but checkpoint_hold: the writer's */

struct checkpoint;
/* on_done(arg): called by the thread when there is a result. */
err checkpoint_start(struct checkpoint_store *s, struct ledger_log *log, uint64_t log_keep_bytes,
                     void (*on_done)(void *arg), void *arg, struct checkpoint **ret_checkpoint) CHECK_RESULT;
/* Waits for what is under way. The store stays. */
void checkpoint_end(struct checkpoint *c);
/* It is at work, or what came out was not taken yet. */
bool checkpoint_is_busy(struct checkpoint *c);
/* It is not busy: where to put what has changed, empty. */
struct frozen *checkpoint_free(struct checkpoint *c);
void checkpoint_begin(struct checkpoint *c);
/* false: nothing has come out since the last time. Else *ret_e says how it went. */
bool checkpoint_result(struct checkpoint *c, err *ret_e, struct diag *ret_diag);
/* Is there one that was not taken? NULL: no. */
bool checkpoint_has_result(struct checkpoint *c);
/* Until there is one. */
void checkpoint_wait(struct checkpoint *c);
/* Any thread: while it is held (by so many) no segment of the log goes. */
void checkpoint_hold(struct checkpoint *c, bool hold);
/* Any thread: of the last one. */
struct checkpoint_stats {
    uint64_t seq, records, duration_us, count;
};
struct checkpoint_stats checkpoint_stats(struct checkpoint *c);
