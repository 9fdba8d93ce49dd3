/* The checkpoint in LMDB: what recovery loads in one table, what was left on disk in another, so that a start
 * does not wait for those.
 *
 *      here:   era, rules, key ─▶ due, finished, key id, CRC32C, value (or nonce, cipher text, tag)
 *      done:        rules, key ─▶ the same
 *      state:  "state" ─▶ version, era, seq, time, next id
 *
 * Keys are random to the tree: put by them alone, each record would change a page of its own. In `here` what
 * is new to a checkpoint stands in its era, one behind the other on pages that are filled at once; nobody
 * looks there by a key, as the record in memory knows its era. Version 1 had `open`, by rules and key,
 * instead. */
#include "ledger/checkpoint.h"

#if WEIR_HAVE_LMDB
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <lmdb.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/list.h"
#include "base/mem.h"
#include "core/log.h"
#include "ledger/checkpoint_before.h"
#include "ledger/checkpoint_order.h"
#include "ledger/checkpoint_record.h"
#include "ledger/checkpoint_walk.h"

#define STATE_VERSION 2

struct lmdb_store {
    struct checkpoint_store store;
    MDB_env *env;
    MDB_dbi state, tables[RECORD_IN_DONE + 1]; /* by enum record_place; the first is none */
    unsigned era_bytes;                        /* of a key of RECORD_IN_OPEN; 0: version 1, only to be read */
    struct crypt *crypt;
    /* the reader's (the writer's thread) */
    MDB_txn *reading;
    bool has_done; /* anything at all */
    bool damaged;  /* found by `find` */
    char *plain;   /* of what was found, decrypted */
    /* the committer's */
    struct checkpoint_order order;
};

struct stored_state {
    uint32_t version, era;
    uint64_t seq, time_ms, next_id;
};

static struct lmdb_store *of(struct checkpoint_store *s)
{
    return container_of(s, struct lmdb_store, store);
}

static err fail(const char *what, int code, struct diag *reterr)
{
    diag_set(reterr, "the checkpoint: cannot %s: %s", what, mdb_strerror(code));
    return code == MDB_MAP_FULL || code == ENOSPC ? ERR_LIMIT : ERR_IO;
}

/* ---- writing ---- */

/* What memory knows of it is not what is there. */
static err contradicts(struct diag *reterr)
{
    diag_set(reterr, "the checkpoint: a record is missing, or stands where none should: restore a backup");
    return ERR_SYNTAX;
}

static err remove_one(MDB_cursor *cursor, MDB_val key, struct diag *reterr)
{
    int code = mdb_cursor_get(cursor, &key, NULL, MDB_SET);
    if (code == MDB_NOTFOUND)
        return contradicts(reterr);
    if (!code)
        code = mdb_cursor_del(cursor, 0);
    return code ? fail("remove a record", code, reterr) : OK;
}

/* Made in its place in the page. */
static err put_one(struct lmdb_store *s, MDB_cursor *cursor, MDB_val key, struct bytes about,
                   const struct record_image *image, struct diag *reterr)
{
    const bool is_there = image->was_in == image->goes_to;
    MDB_val value = { stored_value_bytes(s->crypt, image), NULL };
    int code = is_there ? mdb_cursor_get(cursor, &key, NULL, MDB_SET) : 0;
    if (!code)
        code = mdb_cursor_put(cursor, &key, &value, MDB_RESERVE | (is_there ? MDB_CURRENT : MDB_NOOVERWRITE));
    if (code == MDB_NOTFOUND || code == MDB_KEYEXIST)
        return contradicts(reterr);
    return code ? fail("write a record", code, reterr)
                : stored_value_set(s->crypt, about, image, value.mv_data, reterr);
}

/* Neighbours are put by one cursor: it finds the next place from where it is. */
static err write_one(struct lmdb_store *s, MDB_cursor *const cursors[RECORD_IN_DONE + 1],
                     const struct ordered *o, struct diag *reterr)
{
    struct stored_key k;
    bool gone;
    const enum record_place place = checkpoint_ordered_place(o);
    const struct record_image image = checkpoint_ordered_image(o, &gone);
    stored_key_set(&k, image.era, image.rules, image.key);
    if (gone || place != image.goes_to)
        return remove_one(cursors[place], stored_key_in(&k, place), reterr);
    return put_one(s, cursors[place], stored_key_in(&k, place), stored_key_about(&k), &image, reterr);
}

#define WRITE_AHEAD 8

static err write_all(struct lmdb_store *s, MDB_txn *txn, struct diag *reterr)
{
    const size_t count = s->order.count;
    MDB_cursor *cursors[RECORD_IN_DONE + 1] = { NULL };
    int code = mdb_cursor_open(txn, s->tables[RECORD_IN_OPEN], &cursors[RECORD_IN_OPEN]);
    if (!code)
        code = mdb_cursor_open(txn, s->tables[RECORD_IN_DONE], &cursors[RECORD_IN_DONE]);
    err e = code ? fail("write", code, reterr) : OK;
    for (size_t i = 0; !e && i < count; i++) {
        if (i + WRITE_AHEAD < count)
            checkpoint_ordered_fetch(&s->order.at[i + WRITE_AHEAD]);
        e = write_one(s, cursors, &s->order.at[i], reterr);
    }
    for (unsigned i = 0; i <= RECORD_IN_DONE; i++) {
        if (cursors[i])
            mdb_cursor_close(cursors[i]);
    }
    return e;
}

static err write_state(struct lmdb_store *s, MDB_txn *txn, const struct checkpoint_state *state,
                       struct diag *reterr)
{
    struct stored_state stored = { STATE_VERSION, state->era, state->seq, state->time_ms, state->next_id };
    MDB_val key = { 5, "state" }, value = { sizeof stored, &stored };
    int code = mdb_put(txn, s->state, &key, &value, 0);
    return code ? fail("write its state", code, reterr) : OK;
}

static err lmdb_commit(struct checkpoint_store *store, const struct frozen *f, struct diag *reterr)
{
    struct lmdb_store *s = of(store);
    MDB_txn *txn;
    checkpoint_order(&s->order, f);
    int code = mdb_txn_begin(s->env, NULL, 0, &txn);
    if (code)
        return fail("begin", code, reterr);
    err e = write_all(s, txn, reterr);
    if (!e)
        e = write_state(s, txn, &f->state, reterr);
    if (e) {
        mdb_txn_abort(txn);
        return e;
    }
    code = mdb_txn_commit(txn);
    return code ? fail("commit", code, reterr) : OK;
}

/* ---- reading ---- */

static err read_state(struct lmdb_store *s, MDB_txn *txn, struct checkpoint_state *ret_state,
                      uint32_t *ret_version, struct diag *reterr)
{
    struct stored_state stored;
    MDB_val key = { 5, "state" }, value;
    *ret_version = 0; /* nothing has been written yet */
    *ret_state = (struct checkpoint_state){ .next_id = 1 };
    int code = mdb_get(txn, s->state, &key, &value);
    if (code == MDB_NOTFOUND)
        return OK;
    if (code)
        return fail("read its state", code, reterr);
    if (value.mv_size == sizeof stored)
        memcpy(&stored, value.mv_data, sizeof stored);
    if (value.mv_size != sizeof stored || !stored.version || stored.version > STATE_VERSION ||
        stored.era >= RECORD_ERAS) {
        diag_set(reterr, "the checkpoint is of another version of the format: this weir knows 1 and 2");
        return ERR_UNSUPPORTED;
    }
    *ret_version = stored.version;
    *ret_state =
        (struct checkpoint_state){ stored.seq, stored.time_ms, stored.next_id, (uint16_t)stored.era };
    return OK;
}

static err with_reading(struct lmdb_store *s, MDB_txn **ret_txn, struct diag *reterr)
{
    int code = mdb_txn_begin(s->env, NULL, MDB_RDONLY, ret_txn);
    return code ? fail("read", code, reterr) : OK;
}

/* Of a walk: the open records go to a reader, those that were left on disk are looked at. */
struct visit {
    struct lmdb_store *store;
    const struct checkpoint_reader *reader;
    struct records *records;
    uint64_t count;
    char *plain[CHECKPOINT_LOADERS_MAX]; /* each thread's room for what is encrypted */
};
_Static_assert(CHECKPOINT_WALKERS_MAX <= CHECKPOINT_LOADERS_MAX && CHECKPOINT_WALKERS_MAX <= CRYPT_OPENERS,
               "what a thread's number finds");

/* One of those that recovery loads. */
static err read_open(const struct visit *v, unsigned thread, MDB_val key, MDB_val value,
                     struct record_image *ret_image, struct diag *reterr)
{
    const unsigned skip = v->store->era_bytes;
    const unsigned char *k = key.mv_data;
    const struct bytes about = bytes_skip((struct bytes){ key.mv_data, key.mv_size }, skip);
    err e = stored_read(v->store->crypt, thread, about, value, v->plain[thread], ret_image, reterr);
    ret_image->was_in = ret_image->goes_to = RECORD_IN_OPEN;
    ret_image->era = skip && !e ? (uint16_t)((unsigned)k[0] << 8 | k[1]) : 0;
    return ret_image->era < RECORD_ERAS ? e : stored_damaged(reterr);
}

static err load_one(void *arg, unsigned thread, MDB_val key, MDB_val value, struct diag *reterr)
{
    const struct visit *v = arg;
    struct record_image image;
    err e = read_open(v, thread, key, value, &image, reterr);
    return e ? e : v->reader->record(v->reader->arg, thread, &image);
}

static err load_open(struct lmdb_store *s, MDB_txn *txn, const struct checkpoint_reader *reader,
                     struct diag *reterr)
{
    MDB_stat stat;
    struct visit v = { .store = s, .reader = reader, .plain[0] = s->plain };
    int code = mdb_stat(txn, s->tables[RECORD_IN_OPEN], &stat);
    if (code)
        return fail("read", code, reterr);
    const unsigned threads = checkpoint_walkers(stat.ms_entries);
    err e = reader->begin(reader->arg, stat.ms_entries, threads);
    for (unsigned i = 1; !e && s->crypt && i < threads; i++) {
        v.plain[i] = mem_get(STORED_VALUE_BYTES_MAX);
        e = v.plain[i] ? OK : ERR_MEMORY;
    }
    if (!e)
        e = checkpoint_walk(txn, s->tables[RECORD_IN_OPEN], threads,
                            &(struct checkpoint_visit){ load_one, &v }, reterr);
    for (unsigned i = 1; i < threads; i++)
        mem_free(v.plain[i]);
    return e;
}

static err lmdb_load(struct checkpoint_store *store, struct checkpoint_state *ret_state,
                     const struct checkpoint_reader *reader, struct diag *reterr)
{
    struct lmdb_store *s = of(store);
    MDB_txn *txn;
    uint32_t version;
    err e = with_reading(s, &txn, reterr);
    if (e)
        return e;
    e = read_state(s, txn, ret_state, &version, reterr);
    if (!e)
        e = load_open(s, txn, reader, reterr);
    mdb_txn_abort(txn);
    return e;
}

static err lmdb_renew(struct checkpoint_store *store, struct diag *reterr)
{
    struct lmdb_store *s = of(store);
    MDB_stat stat;
    int code;
    if (s->reading) {
        mdb_txn_reset(s->reading);
        code = mdb_txn_renew(s->reading);
    } else {
        code = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &s->reading);
    }
    if (!code)
        code = mdb_stat(s->reading, s->tables[RECORD_IN_DONE], &stat);
    if (code)
        return fail("read", code, reterr);
    s->has_done = stat.ms_entries > 0;
    return OK;
}

bool checkpoint_lmdb_has_left(const struct checkpoint_store *store)
{
    return container_of(store, const struct lmdb_store, store)->has_done;
}

static bool lmdb_find(struct checkpoint_store *store, uint8_t rules, struct bytes key,
                      struct record_image *ret_image)
{
    struct lmdb_store *s = of(store);
    struct stored_key sought;
    if (!s->has_done)
        return false;
    stored_key_set(&sought, 0, rules, key);
    MDB_val k = stored_key_in(&sought, RECORD_IN_DONE), value;
    int code = mdb_get(s->reading, s->tables[RECORD_IN_DONE], &k, &value);
    if (code == MDB_NOTFOUND)
        return false;
    struct diag d = DIAG_NONE;
    if (code || stored_read(s->crypt, 0, (struct bytes){ k.mv_data, k.mv_size }, value, s->plain, ret_image,
                            &d) != OK) {
        s->damaged = true;
        return false;
    }
    ret_image->key = key;
    ret_image->was_in = ret_image->goes_to = RECORD_IN_DONE;
    return true;
}

static err lmdb_sound(struct checkpoint_store *store, struct diag *reterr)
{
    const struct lmdb_store *s = of(store);
    return s->damaged ? stored_damaged(reterr) : OK;
}

/* A record stands once: had it been left elsewhere too, a start would bring back what it was. */
static err stands_twice(struct diag *reterr)
{
    diag_set(reterr, "the checkpoint: a record stands there twice: restore a backup");
    return ERR_SYNTAX;
}

/* What was loaded has the era of one of them. */
static err check_open(void *arg, unsigned thread, MDB_val key, MDB_val value, struct diag *reterr)
{
    const struct visit *v = arg;
    struct record_image image;
    err e = read_open(v, thread, key, value, &image, reterr);
    if (e)
        return e;
    const struct record *r = record_look(v->records, image.rules, image.key);
    return r && r->era == image.era ? OK : stands_twice(reterr);
}

static err check_left(void *arg, unsigned thread, MDB_val key, MDB_val value, struct diag *reterr)
{
    struct visit *v = arg;
    struct record_image image;
    const struct bytes about = { key.mv_data, key.mv_size };
    err e = stored_read(v->store->crypt, thread, about, value, v->plain[thread], &image, reterr);
    if (e)
        return e;
    v->count++;
    return record_look(v->records, image.rules, image.key) ? stands_twice(reterr) : OK;
}

err checkpoint_lmdb_check(struct checkpoint_store *store, struct records *rs, uint64_t *ret_count,
                          struct diag *reterr)
{
    struct lmdb_store *s = of(store);
    struct visit v = { .store = s, .records = rs, .plain[0] = s->plain };
    MDB_txn *txn;
    *ret_count = 0;
    err e = with_reading(s, &txn, reterr);
    if (e)
        return e;
    e = checkpoint_walk(txn, s->tables[RECORD_IN_OPEN], 1, &(struct checkpoint_visit){ check_open, &v },
                        reterr);
    if (!e)
        e = checkpoint_walk(txn, s->tables[RECORD_IN_DONE], 1, &(struct checkpoint_visit){ check_left, &v },
                            reterr);
    *ret_count = v.count;
    mdb_txn_abort(txn);
    return e;
}

/* Into a file of our own: the one that mdb_env_copy2 makes is not synced. */
err checkpoint_lmdb_copy(struct checkpoint_store *store, const char *folder, struct diag *reterr)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/" CHECKPOINT_FILE, folder);
    int fd = mkdir(folder, 0700) < 0 ? -1 : open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail("copy", errno, reterr);
    int code = mdb_env_copyfd2(of(store)->env, fd, MDB_CP_COMPACT);
    if (!code && fsync(fd) < 0)
        code = errno;
    close(fd);
    return code ? fail("copy", code, reterr) : OK;
}

/* ---- life ---- */

static void lmdb_close(struct checkpoint_store *store)
{
    struct lmdb_store *s = of(store);
    if (s->reading)
        mdb_txn_abort(s->reading);
    if (s->env)
        mdb_env_close(s->env);
    mem_free(s->plain);
    checkpoint_order_close(&s->order);
    mem_free(s);
}

static const struct checkpoint_ops lmdb_ops = {
    .load = lmdb_load,
    .commit = lmdb_commit,
    .renew = lmdb_renew,
    .find = lmdb_find,
    .sound = lmdb_sound,
    .close = lmdb_close,
};

/* before: of version 1, MDB_NOTFOUND among its tables is well. */
static int open_tables(struct lmdb_store *s, bool read_only, MDB_dbi *before, bool *ret_has_before)
{
    MDB_txn *txn;
    unsigned make = read_only ? 0 : MDB_CREATE;
    int code = mdb_txn_begin(s->env, NULL, read_only ? MDB_RDONLY : 0, &txn);
    if (code)
        return code;
    code = mdb_dbi_open(txn, "state", make, &s->state);
    if (!code)
        code = mdb_dbi_open(txn, "done", make, &s->tables[RECORD_IN_DONE]);
    int before_code = code ? code : mdb_dbi_open(txn, CHECKPOINT_BEFORE_TABLE, 0, before);
    *ret_has_before = before_code == 0;
    if (!code)
        code = mdb_dbi_open(txn, "here", make, &s->tables[RECORD_IN_OPEN]);
    if (code == MDB_NOTFOUND && *ret_has_before)
        code = 0; /* only to be read, and of version 1 */
    if (!code)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return code;
}

/* Of version 1. */
static err write_anew(struct lmdb_store *s, MDB_dbi before, const struct checkpoint_state *state,
                      struct diag *reterr)
{
    MDB_txn *txn;
    log_info("ledger", "the checkpoint is written anew, in the form of this version");
    err e = checkpoint_before_copy(s->env, before, s->tables[RECORD_IN_OPEN], reterr);
    if (e)
        return e;
    int code = mdb_txn_begin(s->env, NULL, 0, &txn);
    if (code)
        return fail("begin", code, reterr);
    code = mdb_drop(txn, before, 1);
    e = code ? fail("write it anew", code, reterr) : write_state(s, txn, state, reterr);
    if (e) {
        mdb_txn_abort(txn);
        return e;
    }
    code = mdb_txn_commit(txn);
    return code ? fail("commit", code, reterr) : OK;
}

static err open_version(struct lmdb_store *s, bool read_only, MDB_dbi before, bool has_before,
                        struct diag *reterr)
{
    struct checkpoint_state state;
    uint32_t version;
    MDB_txn *txn;
    err e = with_reading(s, &txn, reterr);
    if (e)
        return e;
    e = read_state(s, txn, &state, &version, reterr);
    mdb_txn_abort(txn);
    s->era_bytes = STORED_ERA_BYTES;
    if (e || !has_before || version == STATE_VERSION)
        return e;
    if (!read_only)
        return version ? write_anew(s, before, &state, reterr) : OK;
    s->tables[RECORD_IN_OPEN] = before;
    s->era_bytes = 0;
    return OK;
}

static err open_env(struct lmdb_store *s, const char *folder, uint64_t bytes_max, bool read_only,
                    struct diag *reterr)
{
    MDB_dbi before = 0;
    bool has_before = false;
    int code = mdb_env_create(&s->env);
    if (!code)
        code = mdb_env_set_mapsize(s->env, bytes_max);
    if (!code)
        code = mdb_env_set_maxdbs(s->env, 4);
    if (!code)
        code = mdb_env_open(s->env, folder,
                            MDB_NOTLS | MDB_NORDAHEAD | (read_only ? MDB_RDONLY | MDB_NOLOCK : 0), 0600);
    if (!code)
        code = open_tables(s, read_only, &before, &has_before);
    return code ? fail("open", code, reterr) : open_version(s, read_only, before, has_before, reterr);
}

err checkpoint_lmdb_open(const char *folder, uint64_t bytes_max, bool read_only, struct crypt *crypt,
                         struct checkpoint_store **ret_store, struct diag *reterr)
{
    struct lmdb_store *s = mem_get(sizeof *s);
    if (!s)
        return ERR_MEMORY;
    s->store.ops = &lmdb_ops;
    s->crypt = crypt;
    s->plain = mem_get(STORED_VALUE_BYTES_MAX);
    err e = s->plain ? OK : ERR_MEMORY;
    if (!e && !read_only && mkdir(folder, 0700) < 0 && errno != EEXIST) {
        diag_set(reterr, "cannot make the folder %s: %s", folder, strerror(errno));
        e = ERR_SYSTEM;
    }
    if (!e)
        e = open_env(s, folder, bytes_max, read_only, reterr);
    if (e) {
        lmdb_close(&s->store);
        return e;
    }
    *ret_store = &s->store;
    return OK;
}

#else
static err left_out(struct diag *reterr)
{
    diag_set(reterr, "this weir was built without lmdb, which the ledger needs");
    return ERR_UNSUPPORTED;
}

err checkpoint_lmdb_open(const char *folder, uint64_t bytes_max, bool read_only, struct crypt *crypt,
                         struct checkpoint_store **ret_store, struct diag *reterr)
{
    (void)folder, (void)bytes_max, (void)read_only, (void)crypt, (void)ret_store;
    return left_out(reterr);
}

err checkpoint_lmdb_copy(struct checkpoint_store *s, const char *folder, struct diag *reterr)
{
    (void)s, (void)folder;
    return left_out(reterr);
}

bool checkpoint_lmdb_has_left(const struct checkpoint_store *s)
{
    (void)s;
    return false;
}

err checkpoint_lmdb_check(struct checkpoint_store *s, struct records *rs, uint64_t *ret_count,
                          struct diag *reterr)
{
    (void)s, (void)rs, (void)ret_count;
    return left_out(reterr);
}
#endif
