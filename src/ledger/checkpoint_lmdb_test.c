/* The checkpoint in LMDB against a plain model: what changes, over many starts and crashes; one of version 1;
 * and what contradicts itself. */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "core/log.h"
#include "ledger/checkpoint.h"
#include "ledger/checkpoint_before.h"
#include "ledger/checkpoint_record.h"
#include "ledger/folder_test.h"

#if WEIR_HAVE_LMDB
#define RULES 7
#define BYTES_MAX (UINT64_C(1) << 34)
#define KEY "1:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

static struct crypt *crypt;
static struct checkpoint_store *store;
static struct records *records;
static struct checkpoint_state found;
static struct frozen frozen;

static void open_store(bool read_only)
{
    struct diag d = DIAG_NONE;
    err e = checkpoint_lmdb_open(folder, BYTES_MAX, read_only, crypt, &store, &d);
    if (e)
        print_error("%s\n", d.text);
    assert_int_equal(e, OK);
}

static bool find_left(void *arg, uint8_t rules, struct bytes key, struct record_image *ret_image)
{
    (void)arg;
    return store->ops->find(store, rules, key, ret_image);
}

static err begin_load(void *arg, uint64_t count, unsigned threads)
{
    assert_int_equal(threads, 1);
    assert_int_equal(records_expect(records, count), OK);
    return records_loader_open(records, arg);
}

static err load_one(void *arg, unsigned thread, const struct record_image *image)
{
    struct record *r;
    (void)thread;
    return records_loader_put(*(struct records_loader **)arg, image, &r);
}

static void load(void)
{
    struct diag d = DIAG_NONE;
    struct records_loader *loader;
    const struct checkpoint_reader reader = { begin_load, load_one, &loader };
    assert_int_equal(records_open(UINT64_MAX, &records), OK);
    assert_int_equal(store->ops->load(store, &found, &reader, &d), OK);
    records_loader_close(loader);
    records_loaded(records);
    assert_int_equal(store->ops->renew(store, &d), OK);
    records_set_source(records, &(struct records_source){ find_left, NULL });
}

static void unload(void)
{
    records_close(records);
    store->ops->close(store);
}

static err check(struct diag *d)
{
    uint64_t left;
    *d = DIAG_NONE;
    return checkpoint_lmdb_check(store, records, &left, d);
}

static void freeze_one(void *arg, const struct record_image *image, bool gone)
{
    (void)arg;
    frozen_add(&frozen, image, gone);
}

static void frozen_clear(void)
{
    frozen.bytes = frozen.count = 0;
}

/* Since the last one: all that has changed. */
static void write_checkpoint(uint64_t leave)
{
    struct diag d = DIAG_NONE;
    frozen_clear();
    frozen.state = (struct checkpoint_state){ found.seq + 1, 1, 1, (uint16_t)random_below(RECORD_ERAS) };
    records_freeze(records, frozen.state.era, leave, freeze_one, NULL);
    err e = store->ops->commit(store, &frozen, &d);
    if (e)
        print_error("%s\n", d.text);
    assert_int_equal(e, OK);
    assert_int_equal(store->ops->renew(store, &d), OK);
    records_frozen_is_stored(records);
    found = frozen.state;
}

/* ---- what changes ---- */

#define KEYS 400
#define CHECKPOINTS 250

struct model {
    bool exists, finished;
    uint32_t bytes;
    uint64_t due_ms;
    unsigned char fill;
};
static struct model now[KEYS], written[KEYS];

static struct bytes key_of(unsigned i, char out[16])
{
    const int n = snprintf(out, 16, "%c%u", 'a' + (int)(i % 7), i);
    return (struct bytes){ out, (size_t)n };
}

static void set_value(struct record *r, struct model *m)
{
    m->fill = (unsigned char)random_below(256);
    record_write(records, r);
    memset(record_value(r), m->fill, r->value_bytes);
}

static void change(unsigned i)
{
    char text[16];
    struct model *m = &now[i];
    const unsigned what = random_below(5);
    struct record *r = record_find(records, RULES, key_of(i, text));
    assert_int_equal(r != NULL, m->exists);
    if (!r) {
        *m = (struct model){ .exists = true, .bytes = random_below(200) };
        r = record_make(records, RULES, key_of(i, text), m->bytes);
    } else if (what == 0) {
        record_remove(records, r);
        *m = (struct model){ 0 };
        return;
    } else if (what == 1) {
        m->bytes = random_below(random_below(20) ? 200 : 9000);
        r = record_resize(records, r, m->bytes);
    } else if (what == 2) {
        m->due_ms = random_below(2);
        record_set_due(records, r, m->due_ms);
    } else if (what == 3) {
        m->finished = !m->finished;
        record_set_finished(records, r, m->finished);
    }
    set_value(r, m);
}

static void is_as_in_the_model(void)
{
    char text[16];
    for (unsigned i = 0; i < KEYS; i++) {
        const struct model *m = &now[i];
        const struct record *r = record_find(records, RULES, key_of(i, text));
        assert_int_equal(r != NULL, m->exists);
        if (!r)
            continue;
        assert_int_equal(r->value_bytes, m->bytes);
        assert_int_equal(r->due_ms, m->due_ms);
        assert_int_equal(record_is_finished(r), m->finished);
        for (uint32_t b = 0; b < m->bytes; b++)
            assert_int_equal(((const unsigned char *)record_value(r))[b], m->fill);
    }
}

/* Whatever was not written is lost. */
static void start_again(void)
{
    struct diag d;
    unload();
    open_store(false);
    const uint64_t seq = found.seq;
    load();
    assert_int_equal(found.seq, seq);
    err e = check(&d);
    if (e)
        print_error("%s\n", d.text);
    assert_int_equal(e, OK);
    memcpy(now, written, sizeof now);
    is_as_in_the_model();
}

static void some_changes(unsigned count)
{
    records_begin(records);
    while (count-- > 0)
        change(random_below(KEYS));
    records_keep(records);
}

static void what_was_written_is_there(void **state)
{
    (void)state;
    memset(now, 0, sizeof now);
    memset(written, 0, sizeof written);
    open_store(false);
    load();
    for (unsigned n = 0; n < CHECKPOINTS; n++) {
        some_changes(random_below(100));
        write_checkpoint(random_below(3) ? 0 : random_below(100));
        memcpy(written, now, sizeof now);
        if (random_below(3) == 0)
            records_evict(records, random_below(20000));
        if (random_below(10) == 0)
            is_as_in_the_model();
        if (random_below(10))
            continue;
        some_changes(random_below(50));
        start_again();
    }
    unload();
}

static void and_encrypted(void **state)
{
    struct diag d = DIAG_NONE;
    setenv("WEIR_TEST_KEY", KEY, 1);
    assert_int_equal(crypt_open(BYTES("env:WEIR_TEST_KEY"), &crypt, &d), OK);
    what_was_written_is_there(state);
    crypt_close(crypt);
    crypt = NULL;
}

/* ---- its tables, from beside ---- */

struct tables {
    MDB_env *env;
    MDB_txn *txn;
};

static MDB_dbi begin_with(struct tables *t, const char *name)
{
    MDB_dbi table;
    assert_int_equal(mdb_env_create(&t->env), 0);
    assert_int_equal(mdb_env_set_mapsize(t->env, BYTES_MAX), 0);
    assert_int_equal(mdb_env_set_maxdbs(t->env, 4), 0);
    assert_int_equal(mdb_env_open(t->env, folder, 0, 0600), 0);
    assert_int_equal(mdb_txn_begin(t->env, NULL, 0, &t->txn), 0);
    assert_int_equal(mdb_dbi_open(t->txn, name, MDB_CREATE, &table), 0);
    return table;
}

static MDB_dbi also_with(const struct tables *t, const char *name)
{
    MDB_dbi table;
    assert_int_equal(mdb_dbi_open(t->txn, name, MDB_CREATE, &table), 0);
    return table;
}

static void end_with(struct tables *t)
{
    assert_int_equal(mdb_txn_commit(t->txn), 0);
    mdb_env_close(t->env);
}

static void put(const struct tables *t, MDB_dbi table, MDB_val key, MDB_val value)
{
    assert_int_equal(mdb_put(t->txn, table, &key, &value, 0), 0);
}

/* Any entry, its value in a buffer of its own. */
static MDB_val first_of(const struct tables *t, MDB_dbi table, struct stored_key *ret_key, char value[256])
{
    MDB_cursor *c;
    MDB_val key, v;
    assert_int_equal(mdb_cursor_open(t->txn, table, &c), 0);
    assert_int_equal(mdb_cursor_get(c, &key, &v, MDB_FIRST), 0);
    assert_true(key.mv_size <= STORED_ERA_BYTES + sizeof ret_key->about && v.mv_size <= 256);
    memcpy(ret_key, key.mv_data, key.mv_size);
    ret_key->about_bytes = (uint16_t)(key.mv_size - STORED_ERA_BYTES);
    memcpy(value, v.mv_data, v.mv_size);
    mdb_cursor_close(c);
    return (MDB_val){ v.mv_size, value };
}

/* What an earlier weir would have written: `open` by keys alone, a state that says so. */
static void make_version_1(void)
{
    struct tables t;
    MDB_cursor *c;
    MDB_val key, value;
    uint32_t version_and_era[2] = { 1, 0 };
    char state[64];
    MDB_dbi here = begin_with(&t, "here"), open = also_with(&t, CHECKPOINT_BEFORE_TABLE),
            says = also_with(&t, "state");
    assert_int_equal(mdb_cursor_open(t.txn, here, &c), 0);
    while (mdb_cursor_get(c, &key, &value, MDB_NEXT) == 0)
        put(&t, open, (MDB_val){ key.mv_size - STORED_ERA_BYTES, (char *)key.mv_data + STORED_ERA_BYTES },
            value);
    mdb_cursor_close(c);
    assert_int_equal(mdb_drop(t.txn, here, 1), 0);
    key = (MDB_val){ 5, "state" };
    assert_int_equal(mdb_get(t.txn, says, &key, &value), 0);
    memcpy(state, value.mv_data, value.mv_size);
    memcpy(state, version_and_era, sizeof version_and_era);
    put(&t, says, key, (MDB_val){ value.mv_size, state });
    end_with(&t);
}

/* More of them than are copied at a time. */
#define MANY 70000U

static void make_many(void)
{
    records_begin(records);
    for (uint32_t i = 0; i < MANY; i++) {
        struct record *r = record_make(records, RULES, (struct bytes){ (char *)&i, sizeof i }, 4);
        assert_non_null(r);
        memcpy(record_value(r), &i, sizeof i);
        if (i % 100 == 0)
            record_set_finished(records, r, true);
    }
    records_keep(records);
}

static void has_many(void)
{
    struct diag d;
    assert_int_equal(check(&d), OK);
    for (uint32_t i = 0; i < MANY; i++) {
        const struct record *r = record_find(records, RULES, (struct bytes){ (char *)&i, sizeof i });
        assert_non_null(r);
        assert_memory_equal(record_value(r), &i, sizeof i);
        assert_int_equal(record_is_finished(r), i % 100 == 0);
    }
}

static void one_of_version_1_is_read_and_written_anew(void **state)
{
    (void)state;
    struct tables t;
    char text[300] = { 0 };
    found = (struct checkpoint_state){ 0 };
    open_store(false);
    load();
    make_many();
    write_checkpoint(MANY); /* the finished ones are left on disk */
    unload();
    make_version_1();
    open_store(true);
    load();
    assert_int_equal(found.seq, 1);
    assert_int_equal(records_stats(records).count, MANY - MANY / 100);
    has_many();
    unload();
    /* it had been begun, and did not come to its end */
    MDB_dbi here = begin_with(&t, "here");
    put(&t, here, (MDB_val){ 9, text }, (MDB_val){ 100, text });
    end_with(&t);
    open_store(false);
    load();
    assert_int_equal(found.seq, 1);
    has_many();
    record_remove(records, record_find(records, RULES, (struct bytes){ text, 4 })); /* 0 */
    records_keep(records);
    write_checkpoint(0);
    unload();
    open_store(false);
    load();
    assert_int_equal(found.seq, 2);
    assert_null(record_find(records, RULES, (struct bytes){ text, 4 }));
    assert_int_equal(records_stats(records).count, MANY - MANY / 100);
    unload();
    begin_with(&t, "here");
    MDB_dbi gone;
    assert_int_equal(mdb_dbi_open(t.txn, CHECKPOINT_BEFORE_TABLE, 0, &gone), MDB_NOTFOUND);
    MDB_val key = { 5, "state" }, value;
    uint32_t version;
    assert_int_equal(mdb_get(t.txn, also_with(&t, "state"), &key, &value), 0);
    memcpy(&version, value.mv_data, sizeof version);
    assert_int_equal(version, 2); /* which a weir from before refuses */
    end_with(&t);
}

static void finished_ones_that_were_loaded_leave_memory(void **state)
{
    (void)state;
    found = (struct checkpoint_state){ 0 };
    open_store(false);
    load();
    make_many();
    write_checkpoint(0);
    unload();
    open_store(false);
    load();
    assert_int_equal(records_stats(records).count, MANY);
    assert_int_equal(records_stats(records).staying, MANY / 100);
    write_checkpoint(MANY / 200);
    write_checkpoint(MANY / 200);
    assert_int_equal(records_stats(records).staying, 0);
    records_evict(records, 0);
    assert_int_equal(records_stats(records).count, MANY - MANY / 100);
    unload();
    open_store(false);
    load();
    assert_int_equal(records_stats(records).count, MANY - MANY / 100);
    has_many();
    unload();
}

/* ---- contradictions ---- */

static void make_a_few(void)
{
    found = (struct checkpoint_state){ 0 };
    open_store(false);
    load();
    records_begin(records);
    record_make(records, RULES, BYTES("one"), 8);
    record_set_finished(records, record_make(records, RULES, BYTES("two"), 8), true);
    records_keep(records);
    write_checkpoint(1);
    unload();
}

static void check_finds(const char *words)
{
    struct diag d;
    open_store(false);
    load();
    assert_int_equal(check(&d), ERR_SYNTAX);
    assert_non_null(strstr(d.text, words));
    unload();
}

static void what_stands_in_two_eras_is_found(void **state)
{
    (void)state;
    struct tables t;
    struct stored_key k;
    char value[256];
    make_a_few();
    MDB_dbi here = begin_with(&t, "here");
    const MDB_val v = first_of(&t, here, &k, value);
    k.era[1] ^= 1;
    put(&t, here, stored_key_in(&k, RECORD_IN_OPEN), v);
    end_with(&t);
    check_finds("twice");
}

static void what_is_open_and_left_is_found(void **state)
{
    (void)state;
    struct tables t;
    struct stored_key k;
    char value[256];
    make_a_few();
    MDB_dbi here = begin_with(&t, "here"), done = also_with(&t, "done");
    const MDB_val v = first_of(&t, here, &k, value);
    put(&t, done, stored_key_in(&k, RECORD_IN_DONE), v);
    end_with(&t);
    check_finds("twice");
}

static void is_refused(uint8_t was_in, uint8_t goes_to, uint16_t era, bool gone)
{
    struct diag d = DIAG_NONE;
    const struct record_image image = { .rules = RULES,
                                        .was_in = was_in,
                                        .goes_to = goes_to,
                                        .era = era,
                                        .key = BYTES("one"),
                                        .value = BYTES("12345678") };
    frozen_clear();
    frozen_add(&frozen, &image, gone);
    assert_int_equal(store->ops->commit(store, &frozen, &d), ERR_SYNTAX);
    assert_non_null(strstr(d.text, "missing"));
}

static void what_is_not_where_it_should_be_ends_it(void **state)
{
    (void)state;
    make_a_few();
    open_store(false);
    load();
    const uint16_t era = (uint16_t)record_find(records, RULES, BYTES("one"))->era,
                   other = (uint16_t)((era + 1U) % RECORD_ERAS);
    is_refused(RECORD_IN_NONE, RECORD_IN_OPEN, era, false);
    is_refused(RECORD_IN_OPEN, RECORD_IN_OPEN, other, false);
    is_refused(RECORD_IN_OPEN, RECORD_IN_OPEN, other, true);
    is_refused(RECORD_IN_OPEN, RECORD_IN_DONE, other, false);
    is_refused(RECORD_IN_DONE, RECORD_IN_OPEN, other, false);
    unload();
    open_store(false);
    load();
    struct diag d;
    assert_int_equal(check(&d), OK); /* nothing of it was written */
    assert_int_equal(records_stats(records).count, 1);
    assert_int_equal(record_find(records, RULES, BYTES("one"))->era, era);
    unload();
}

static int set_up(void **state)
{
    random_seed(20261201);
    log_set_level(LOG_ERROR + 1);
    return folder_make(state);
}

static int tear_down(void **state)
{
    mem_free(frozen.data);
    frozen = (struct frozen){ 0 };
    return folder_remove(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_written_is_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(and_encrypted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_of_version_1_is_read_and_written_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(finished_ones_that_were_loaded_leave_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_stands_in_two_eras_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_open_and_left_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_not_where_it_should_be_ends_it, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void)
{
    return 0;
}
#endif
