/* The checkpoint in LMDB: what recovery loads in one table, what was left on disk in another, so that a start
 * does not wait for the finished ones.
 *
 *      open, done:  rules, key ─▶ due, finished, key id, CRC32C, value (or nonce, cipher text, tag)
 *      state:       "state" ─▶ version, seq, time, next id */
#include "ledger/checkpoint.h"

#if WEIR_HAVE_LMDB
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <lmdb.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/list.h"
#include "base/mem.h"
#include "ledger/checkpoint_order.h"
#include "ledger/checkpoint_walk.h"
#include "ledger/crypt.h"

#define STATE_VERSION 1

struct lmdb_store {
    struct checkpoint_store store;
    MDB_env *env;
    MDB_dbi state, tables[3]; /* by enum record_place; the first is none */
    struct crypt *crypt;
    /* the reader's (the writer's thread) */
    MDB_txn *reading;
    bool has_done; /* anything at all */
    bool damaged;  /* found by `find` */
    char *plain;   /* of what was found, decrypted */
    /* the committer's */
    struct checkpoint_order order;
    char *value;
};

struct stored_state {
    uint32_t version, reserved;
    uint64_t seq, time_ms, next_id;
};

struct stored_head {
    uint64_t due_ms;
    uint16_t flags; /* 1: finished */
    uint16_t key_id;
    uint32_t crc;
};

#define VALUE_BYTES_MAX (sizeof(struct stored_head) + RECORD_VALUE_BYTES_MAX + CRYPT_EXTRA_BYTES)

static struct lmdb_store *of(struct checkpoint_store *s)
{
    return container_of(s, struct lmdb_store, store);
}

static err fail(const char *what, int code, struct diag *reterr)
{
    diag_set(reterr, "the checkpoint: cannot %s: %s", what, mdb_strerror(code));
    return code == MDB_MAP_FULL || code == ENOSPC ? ERR_LIMIT : ERR_IO;
}

/* ---- one record ---- */

static uint32_t value_crc(MDB_val key, const struct stored_head *h, struct bytes value)
{
    struct stored_head zeroed = *h;
    zeroed.crc = 0;
    uint32_t crc = crc32c(0, key.mv_data, key.mv_size);
    crc = crc32c(crc, &zeroed, sizeof zeroed);
    return crc32c(crc, value.ptr, value.len);
}

static MDB_val stored_key(char out[RECORD_KEY_BYTES_MAX + 1], uint8_t rules, struct bytes key)
{
    out[0] = (char)rules;
    if (key.len)
        memcpy(out + 1, key.ptr, key.len);
    return (MDB_val){ key.len + 1, out };
}

/* In s->value. */
static err stored_value(struct lmdb_store *s, MDB_val key, const struct record_image *image, MDB_val *ret,
                        struct diag *reterr)
{
    struct stored_head h = { .due_ms = image->due_ms,
                             .flags = image->finished,
                             .key_id = crypt_key_id(s->crypt) };
    struct bytes about = { key.mv_data, key.mv_size };
    char *at = s->value + sizeof h;
    size_t len = image->value.len;
    if (h.key_id) {
        err e = crypt_seal_record(s->crypt, about, image->value, at, &len, reterr);
        if (e)
            return e;
    } else if (len) {
        memcpy(at, image->value.ptr, len);
    }
    h.crc = value_crc(key, &h, (struct bytes){ at, len });
    memcpy(s->value, &h, sizeof h);
    *ret = (MDB_val){ sizeof h + len, s->value };
    return OK;
}

/* plain: room for a value that is encrypted; thread: as crypt_open_record knows it. */
static err read_record(struct lmdb_store *s, unsigned thread, MDB_val key, MDB_val data, char *plain,
                       struct record_image *ret_image, struct diag *reterr)
{
    struct stored_head h;
    const char *k = key.mv_data;
    bool whole = key.mv_size > 0 && data.mv_size >= sizeof h && data.mv_size <= VALUE_BYTES_MAX;
    struct bytes value = BYTES_NONE, about = { k, key.mv_size };
    if (whole) {
        memcpy(&h, data.mv_data, sizeof h);
        value = (struct bytes){ (const char *)data.mv_data + sizeof h, data.mv_size - sizeof h };
        whole = h.crc == value_crc(key, &h, value);
    }
    if (!whole) {
        diag_set(reterr, "the checkpoint: a record is damaged: restore a backup");
        return ERR_SYNTAX;
    }
    if (h.key_id) {
        size_t len;
        err e = crypt_open_record(s->crypt, thread, h.key_id, about, value, plain, &len, reterr);
        if (e)
            return e;
        value = (struct bytes){ plain, len };
    }
    *ret_image = (struct record_image){ .rules = (uint8_t)k[0],
                                        .finished = h.flags & 1,
                                        .due_ms = h.due_ms,
                                        .key = { k + 1, key.mv_size - 1 },
                                        .value = value };
    return OK;
}

/* ---- writing ---- */

/* Neighbours are put by one cursor: it finds the next place from where it is. */
static err write_one(struct lmdb_store *s, MDB_txn *txn, MDB_cursor *const cursors[RECORD_IN_DONE + 1],
                     const char *item, struct diag *reterr)
{
    char text[RECORD_KEY_BYTES_MAX + 1];
    bool gone;
    const struct record_image image = checkpoint_ordered_image(item, &gone);
    MDB_val key = stored_key(text, image.rules, image.key), value;
    if (image.was_in && (gone || image.was_in != image.goes_to)) {
        int code = mdb_del(txn, s->tables[image.was_in], &key, NULL);
        if (code && code != MDB_NOTFOUND)
            return fail("remove a record", code, reterr);
    }
    if (gone)
        return OK;
    err e = stored_value(s, key, &image, &value, reterr);
    if (e)
        return e;
    int code = mdb_cursor_put(cursors[image.goes_to], &key, &value, 0);
    return code ? fail("write a record", code, reterr) : OK;
}

#define WRITE_AHEAD 8

static err write_all(struct lmdb_store *s, MDB_txn *txn, uint32_t count, struct diag *reterr)
{
    MDB_cursor *cursors[RECORD_IN_DONE + 1] = { NULL };
    int code = mdb_cursor_open(txn, s->tables[RECORD_IN_OPEN], &cursors[RECORD_IN_OPEN]);
    if (!code)
        code = mdb_cursor_open(txn, s->tables[RECORD_IN_DONE], &cursors[RECORD_IN_DONE]);
    err e = code ? fail("write", code, reterr) : OK;
    for (uint32_t i = 0; !e && i < count; i++) {
        if (i + WRITE_AHEAD < count) {
            const char *later = s->order.at[i + WRITE_AHEAD].item;
            __builtin_prefetch(later);
            __builtin_prefetch(later + 64);
            __builtin_prefetch(later + 128);
        }
        e = write_one(s, txn, cursors, s->order.at[i].item, reterr);
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
    struct stored_state stored = { STATE_VERSION, 0, state->seq, state->time_ms, state->next_id };
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
    err e = write_all(s, txn, f->count, reterr);
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
                      struct diag *reterr)
{
    struct stored_state stored;
    MDB_val key = { 5, "state" }, value;
    *ret_state = (struct checkpoint_state){ 0, 0, 1 };
    int code = mdb_get(txn, s->state, &key, &value);
    if (code == MDB_NOTFOUND)
        return OK;
    if (code)
        return fail("read its state", code, reterr);
    if (value.mv_size == sizeof stored)
        memcpy(&stored, value.mv_data, sizeof stored);
    if (value.mv_size != sizeof stored || stored.version != STATE_VERSION) {
        diag_set(reterr, "the checkpoint is of another version of the format");
        return ERR_UNSUPPORTED;
    }
    *ret_state = (struct checkpoint_state){ stored.seq, stored.time_ms, stored.next_id };
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
    MDB_txn *txn;
    uint64_t count;
    char *plain[CHECKPOINT_LOADERS_MAX]; /* each thread's room for what is encrypted */
};
_Static_assert(CHECKPOINT_WALKERS_MAX <= CHECKPOINT_LOADERS_MAX && CHECKPOINT_WALKERS_MAX <= CRYPT_OPENERS,
               "what a thread's number finds");

static err load_one(void *arg, unsigned thread, MDB_val key, MDB_val value, struct diag *reterr)
{
    const struct visit *v = arg;
    struct record_image image;
    err e = read_record(v->store, thread, key, value, v->plain[thread], &image, reterr);
    image.was_in = image.goes_to = RECORD_IN_OPEN;
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
        v.plain[i] = mem_get(VALUE_BYTES_MAX);
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
    err e = with_reading(s, &txn, reterr);
    if (e)
        return e;
    e = read_state(s, txn, ret_state, reterr);
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
    char text[RECORD_KEY_BYTES_MAX + 1];
    if (!s->has_done)
        return false;
    MDB_val k = stored_key(text, rules, key), value;
    int code = mdb_get(s->reading, s->tables[RECORD_IN_DONE], &k, &value);
    if (code == MDB_NOTFOUND)
        return false;
    struct diag d = DIAG_NONE;
    if (code || read_record(s, 0, k, value, s->plain, ret_image, &d) != OK) {
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
    if (!s->damaged)
        return OK;
    diag_set(reterr, "the checkpoint: a record is damaged: restore a backup");
    return ERR_SYNTAX;
}

/* A record stands in one table: had it been left in the other too, a start would bring back what it was. */
static err look_at_one(void *arg, unsigned thread, MDB_val key, MDB_val value, struct diag *reterr)
{
    struct visit *v = arg;
    struct record_image image;
    MDB_val other;
    err e = read_record(v->store, thread, key, value, v->plain[thread], &image, reterr);
    if (e)
        return e;
    int code = mdb_get(v->txn, v->store->tables[RECORD_IN_OPEN], &key, &other);
    if (code == 0) {
        diag_set(
            reterr,
            "the checkpoint: a record stands among the open ones and the finished ones: restore a backup");
        return ERR_SYNTAX;
    }
    v->count++;
    return code == MDB_NOTFOUND ? OK : fail("read", code, reterr);
}

err checkpoint_lmdb_check(struct checkpoint_store *store, uint64_t *ret_count, struct diag *reterr)
{
    struct lmdb_store *s = of(store);
    struct visit v = { .store = s, .plain[0] = s->plain };
    *ret_count = 0;
    err e = with_reading(s, &v.txn, reterr);
    if (e)
        return e;
    e = checkpoint_walk(v.txn, s->tables[RECORD_IN_DONE], 1, &(struct checkpoint_visit){ look_at_one, &v },
                        reterr);
    *ret_count = v.count;
    mdb_txn_abort(v.txn);
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
    mem_free(s->value);
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

static int open_tables(struct lmdb_store *s, bool read_only)
{
    MDB_txn *txn;
    unsigned make = read_only ? 0 : MDB_CREATE;
    int code = mdb_txn_begin(s->env, NULL, read_only ? MDB_RDONLY : 0, &txn);
    if (code)
        return code;
    code = mdb_dbi_open(txn, "state", make, &s->state);
    if (!code)
        code = mdb_dbi_open(txn, "open", make, &s->tables[RECORD_IN_OPEN]);
    if (!code)
        code = mdb_dbi_open(txn, "done", make, &s->tables[RECORD_IN_DONE]);
    if (!code)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return code;
}

static int open_env(struct lmdb_store *s, const char *folder, uint64_t bytes_max, bool read_only)
{
    int code = mdb_env_create(&s->env);
    if (!code)
        code = mdb_env_set_mapsize(s->env, bytes_max);
    if (!code)
        code = mdb_env_set_maxdbs(s->env, 3);
    if (!code)
        code = mdb_env_open(s->env, folder,
                            MDB_NOTLS | MDB_NORDAHEAD | (read_only ? MDB_RDONLY | MDB_NOLOCK : 0), 0600);
    return code ? code : open_tables(s, read_only);
}

err checkpoint_lmdb_open(const char *folder, uint64_t bytes_max, bool read_only, struct crypt *crypt,
                         struct checkpoint_store **ret_store, struct diag *reterr)
{
    struct lmdb_store *s = mem_get(sizeof *s);
    if (!s)
        return ERR_MEMORY;
    s->store.ops = &lmdb_ops;
    s->crypt = crypt;
    s->plain = mem_get(VALUE_BYTES_MAX);
    s->value = mem_get(VALUE_BYTES_MAX);
    err e = s->plain && s->value ? OK : ERR_MEMORY;
    if (!e && !read_only && mkdir(folder, 0700) < 0 && errno != EEXIST) {
        diag_set(reterr, "cannot make the folder %s: %s", folder, strerror(errno));
        e = ERR_SYSTEM;
    }
    int code = e ? 0 : open_env(s, folder, bytes_max, read_only);
    if (code)
        e = fail("open", code, reterr);
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

err checkpoint_lmdb_check(struct checkpoint_store *s, uint64_t *ret_count, struct diag *reterr)
{
    (void)s, (void)ret_count;
    return left_out(reterr);
}
#endif
