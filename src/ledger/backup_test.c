/* Copies of a ledger that is in use, and ledgers that are encrypted.
 *
 * fsync below takes the place of the C library's, mdb_env_copyfd2 that of liblmdb's. */
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#if WEIR_HAVE_LMDB
#include <lmdb.h>
#endif

#include "core/helper.h"
#include "ledger/batch.h"
#include "ledger/clients_test.h"
#include "ledger/folder_test.h"
#include "ledger/pack.h"

static char copy[96], back[96];
static struct told_list told;
static char wrong[256];
static struct bytes key;
static enum ledger_durability durability;

static struct ledger_opts options(const char *path)
{
    struct ledger_opts o = LEDGER_OPTS_DEFAULT;
    o.path = path;
    o.rules = counter_registry;
    o.segment_bytes = 1u << 20;
    o.checkpoint_interval_ms = 10;
    o.key = key;
    o.durability = durability;
    o.staying_max = 0; /* what is finished is left on disk at once */
    return o;
}

/* ---- what is looked at on the way ---- */

#define SYNCED_MAX 4096
static _Atomic ino_t synced[SYNCED_MAX];
static _Atomic unsigned synced_count;

int fsync(int fd)
{
    struct stat st;
    if (fstat(fd, &st) == 0)
        synced[synced_count++ % SYNCED_MAX] = st.st_ino;
    return (int)syscall(SYS_fsync, fd);
}

/* Its place among the last ones, from 1 on; 0: it is not synced. */
static unsigned synced_as(const char *in, const char *name)
{
    char path[512];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", in, name);
    assert_int_equal(stat(path, &st), 0);
    for (unsigned n = synced_count, i = 0; i < n && i < SYNCED_MAX; i++) {
        if (synced[(n - 1 - i) % SYNCED_MAX] == st.st_ino)
            return n - i;
    }
    return 0;
}

/* When the checkpoint has been copied, and the log not yet. */
static void (*between)(void);

#if WEIR_HAVE_LMDB
int mdb_env_copyfd2(MDB_env *env, mdb_filehandle_t fd, unsigned flags)
{
    int (*real)(MDB_env *, mdb_filehandle_t, unsigned);
    void *found = dlsym(RTLD_NEXT, "mdb_env_copyfd2");
    memcpy(&real, &found, sizeof real);
    int code = real(env, fd, flags);
    if (!code && between)
        between();
    return code;
}
#endif

static int set_up(void **state)
{
    log_set_level(LOG_ERROR + 1);
    key = BYTES_NONE;
    durability = LEDGER_COMMIT;
    between = NULL;
    told.count = 0;
    wrong[0] = 0;
    int failed = folder_make(state);
    snprintf(copy, sizeof copy, "%s.copy", folder);
    snprintf(back, sizeof back, "%s.back", folder);
    return failed;
}

static void with_ledger(const char *path, void (*fn)(void *arg))
{
    struct ledger_opts o = options(path);
    clients.ledger = folder_open(&o);
    on_worker(fn, NULL);
    ledger_close(clients.ledger);
    assert_string_equal(wrong, "");
}

/* ---- a backup in the middle of it ---- */

static bool enough;
static unsigned living;
static uint64_t before_backup;

static void add_until_enough(void *arg)
{
    struct told t;
    for (uint64_t i = 1; !enough; i++) {
        const uint64_t token = (uint64_t)(uintptr_t)arg << 32 | i;
        const struct counter_op o = {
            .what = COUNTER_ADD, .name = (uint32_t)(token % CLIENT_COUNTERS), .n = 1, .token = token
        };
        if (client_ask(&o, &t) != OK)
            snprintf(wrong, sizeof wrong, "an entry failed while it was copied");
        told_add(&told, &t);
    }
    if (--living == 0)
        worker_stop(worker_self());
}

static void copy_it(void *arg)
{
    struct diag d = DIAG_NONE;
    if (ledger_backup(clients.ledger, arg, &d) != OK)
        snprintf(wrong, sizeof wrong, "%.200s", d.text);
}

static void copy_while_used(void *arg)
{
    static struct helper_pool pool = HELPER_POOL("test-backup", 1, 1, 0);
    (void)arg;
    living = 30;
    enough = false;
    for (uintptr_t i = 1; i <= living; i++)
        fiber_spawn(add_until_enough, (void *)i);
    while ((told.count < 3000 || !ledger_status(clients.ledger).checkpoint_seq) && fiber_sleep_us(1000) == OK)
        ;
    before_backup = told.count;
    if (helper_run(&pool, copy_it, copy) != OK)
        snprintf(wrong, sizeof wrong, "no helper");
    enough = true;
}

/* What was answered before the copy began. */
static void check_copy(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < before_backup; i++) {
        struct told again = { 0 };
        const struct told *t = &told.at[i];
        const struct counter_op o = { .what = COUNTER_ADD, .name = t->name, .n = 1, .token = t->token };
        if (client_ask(&o, &again) != OK || again.value != t->value)
            snprintf(wrong, sizeof wrong, "token %llx was told %lld, the copy says %lld",
                     (unsigned long long)t->token, (long long)t->value, (long long)again.value);
    }
    worker_stop(worker_self());
}

/* Nothing stands behind the last batch that was whole: what the writer was writing at that moment may be
 * there in part, with a later one whole behind it. */
static void ends_with_a_batch(const char *path)
{
    char name[512];
    struct stat st;
    struct segment_head head;
    struct batch_head batch;
    folder_last_segment(path, name);
    int fd = open(name, O_RDONLY);
    assert_int_equal(fstat(fd, &st), 0);
    const size_t size = (size_t)st.st_size;
    char *data = malloc(size);
    assert_int_equal(read(fd, data, size), st.st_size);
    close(fd);
    assert_int_equal(segment_head_read((struct bytes){ data, size }, &head), OK);
    size_t at = DISK_BLOCK_BYTES;
    while (at < size && batch_is_whole(head.salt, (struct bytes){ data + at, size - at }, &batch))
        at += (batch.bytes + DISK_BLOCK_BYTES - 1) / DISK_BLOCK_BYTES * DISK_BLOCK_BYTES;
    assert_int_equal(at, size);
    free(data);
}

static void each_file_is_synced(const char *path)
{
    char name[512];
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));) {
        if (strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        if (!synced_as(path, e->d_name))
            fail_msg("%s is not synced", name);
        if (e->d_type == DT_DIR && strcmp(e->d_name, ".") != 0)
            each_file_is_synced(name);
    }
    closedir(dir);
}

static void copy_and_restore(void)
{
    struct diag d = DIAG_NONE;
    struct ledger_report r;
    with_ledger(folder, copy_while_used);
    ends_with_a_batch(copy);
    each_file_is_synced(copy);
    err e = ledger_restore(counter_registry, copy, back, key, &r, &d);
    if (e)
        print_error("%s\n", d.text);
    assert_int_equal(e, OK);
    assert_true(r.records > 0 && r.left_on_disk > 0 && r.last_seq >= r.checkpoint_seq);
    each_file_is_synced(back);
    assert_true(synced_as(back, "ledger") > synced_as(back, "checkpoint/data.mdb")); /* half of one is none */
    with_ledger(back, check_copy);
}

static void a_copy_has_all_that_was_answered(void **state)
{
    (void)state;
    copy_and_restore();
    struct diag d = DIAG_NONE;
    struct ledger_report r;
    assert_int_equal(ledger_restore(counter_registry, copy, back, key, &r, &d), ERR_EXISTS);
}

static void a_copy_without_syncs(void **state)
{
    (void)state;
    durability = LEDGER_MEMORY;
    copy_and_restore();
}

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* Checkpoints are written until all that the log had when it was copied is in segments that would go. */
static void the_log_moves_on(void)
{
    const uint64_t batches = 3 * options(folder).segment_bytes / DISK_BLOCK_BYTES,
                   wanted = ledger_status(clients.ledger).seq + batches;
    const uint64_t end_us = now_us() + 20000000;
    while (ledger_status(clients.ledger).checkpoint_seq < wanted && now_us() < end_us)
        usleep(2000);
    if (ledger_status(clients.ledger).checkpoint_seq < wanted)
        snprintf(wrong, sizeof wrong, "no checkpoint");
}

static void what_a_copy_needs_of_the_log_stays(void **state)
{
    (void)state;
    if (!WEIR_HAVE_LMDB)
        skip();
    between = the_log_moves_on;
    durability = LEDGER_MEMORY;
    copy_and_restore();
}

static void one_that_is_not_open_yet_is_not_copied(void **state)
{
    (void)state;
    struct diag d = DIAG_NONE;
    struct ledger_opts o = options(folder);
    struct ledger *first = folder_open(&o), *later;
    o.later = true;
    later = folder_open(&o);
    assert_int_equal(ledger_backup(later, copy, &d), ERR_UNAVAILABLE);
    assert_non_null(strstr(d.text, "not open yet"));
    ledger_close(first);
    for (unsigned i = 0; i < 10000 && !ledger_status(later).open; i++)
        usleep(2000);
    assert_int_equal(ledger_backup(later, copy, &d), OK);
    ledger_close(later);
}

static void verifying_finds_damage(void **state)
{
    (void)state;
    char path[256];
    struct diag d = DIAG_NONE;
    struct ledger_report r;
    struct stat st;
    copy_and_restore();
    snprintf(path, sizeof path, "%s/checkpoint/data.mdb", copy);
    int fd = open(path, O_RDWR);
    assert_int_equal(fstat(fd, &st), 0);
    char page[4096];
    /* a letter in each page of data, so that a record is hit */
    for (off_t at = 4096 * 2; at < st.st_size; at += 4096) {
        assert_int_equal(pread(fd, page, sizeof page, at), sizeof page);
        page[4000] ^= 1;
        assert_int_equal(pwrite(fd, page, sizeof page, at), sizeof page);
    }
    close(fd);
    assert_int_equal(ledger_verify(counter_registry, copy, key, &r, &d), ERR_SYNTAX);
    assert_non_null(strstr(d.text, "damaged"));
    /* and nothing comes of it */
    snprintf(path, sizeof path, "%s.again", folder);
    assert_int_equal(ledger_restore(counter_registry, copy, path, key, &r, &d), ERR_SYNTAX);
    assert_true(access(path, F_OK) < 0);
}

/* A value that is easy to find: the counter's, little-endian. */
#define SECRET 0x0b2c3
#define SECRET_TOKEN 0x1122334455667788

static void add_secret(void *arg)
{
    (void)arg;
    struct told t;
    const struct counter_op o = { .what = COUNTER_ADD, .name = 5, .n = SECRET, .token = SECRET_TOKEN };
    if (client_ask(&o, &t) != OK)
        snprintf(wrong, sizeof wrong, "the secret is not taken");
    worker_stop(worker_self());
}

/* A letter of the value that stands behind each key of that bytes. */
static void damage_value_of(const char *path, struct bytes key_bytes, struct bytes value)
{
    struct stat st;
    int fd = open(path, O_RDWR);
    assert_int_equal(fstat(fd, &st), 0);
    const size_t size = (size_t)st.st_size;
    char *data = malloc(size), *at = data;
    unsigned found = 0;
    assert_int_equal(pread(fd, data, size, 0), st.st_size);
    while ((at = memmem(at, (size_t)(data + size - at), key_bytes.ptr, key_bytes.len))) {
        at += key_bytes.len;
        const size_t near = (size_t)(data + size - at) < 64 ? (size_t)(data + size - at) : 64;
        char *there = memmem(at, near, value.ptr, value.len);
        if (!there)
            continue;
        *there ^= 1;
        assert_int_equal(pwrite(fd, there, 1, there - data), 1);
        found++;
    }
    assert_true(found > 0);
    free(data);
    close(fd);
}

static void ask_for_what_is_damaged(void *arg)
{
    struct told t;
    const struct counter_op o = { .what = COUNTER_ADD, .name = 5, .n = 1, .token = SECRET_TOKEN };
    (void)arg;
    if (client_ask(&o, &t) != ERR_UNAVAILABLE || !ledger_stopped(clients.ledger) ||
        !strstr(ledger_stopped(clients.ledger), "a record is damaged"))
        snprintf(wrong, sizeof wrong, "it was told %lld", (long long)t.value);
    worker_stop(worker_self());
}

/* A start does not read what is finished. When it is asked for, the writer stops: it is not taken for new. */
static void a_finished_one_that_is_damaged_stops_the_writer(void **state)
{
    (void)state;
    static const uint64_t token = SECRET_TOKEN;
    static const int64_t secret = SECRET;
    char path[256];
    with_ledger(folder, add_secret);
    snprintf(path, sizeof path, "%s/checkpoint/data.mdb", folder);
    damage_value_of(path, (struct bytes){ (const char *)&token, sizeof token },
                    (struct bytes){ (const char *)&secret, sizeof secret });
    with_ledger(folder, ask_for_what_is_damaged);
}

/* ---- encryption ---- */

#define KEY_1 "1:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define KEY_2 "2:ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff"

static bool file_has(const char *path, struct bytes text)
{
    struct stat st;
    int fd = open(path, O_RDONLY);
    assert_int_equal(fstat(fd, &st), 0);
    char *data = malloc((size_t)st.st_size + 1);
    assert_int_equal(read(fd, data, (size_t)st.st_size), st.st_size);
    bool found = memmem(data, (size_t)st.st_size, text.ptr, text.len) != NULL;
    free(data);
    close(fd);
    return found;
}

static bool any_file_has(const char *in, struct bytes text)
{
    char path[512];
    bool found = false;
    DIR *dir = opendir(in);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));) {
        snprintf(path, sizeof path, "%s/%s", in, e->d_name);
        if (e->d_type == DT_REG)
            found |= file_has(path, text);
    }
    closedir(dir);
    return found;
}

static void find_secret(void *arg)
{
    (void)arg;
    struct told t;
    const struct counter_op o = { .what = COUNTER_ADD, .name = 5, .n = 1, .token = SECRET_TOKEN };
    if (client_ask(&o, &t) != OK || t.value != SECRET)
        snprintf(wrong, sizeof wrong, "the secret is %lld", (long long)t.value);
    worker_stop(worker_self());
}

static bool secret_is_seen(const char *path)
{
    static const int64_t secret = SECRET;
    char inner[128];
    snprintf(inner, sizeof inner, "%s/checkpoint", path);
    const struct bytes text = { (const char *)&secret, sizeof secret };
    return any_file_has(path, text) || any_file_has(inner, text);
}

static void is_refused(const char *expected)
{
    struct diag d = DIAG_NONE;
    struct ledger_opts o = options(folder);
    err e = ledger_open(&o, &clients.ledger, &d);
    assert_true(e == ERR_DENIED || e == ERR_SYNTAX || e == ERR_CONF);
    assert_non_null(strstr(d.text, expected));
}

static void nothing_can_be_read_without_the_key(void **state)
{
    (void)state;
    if (!WEIR_HAVE_OPENSSL)
        skip();
    with_ledger(folder, add_secret);
    assert_true(secret_is_seen(folder));
    assert_int_equal(folder_remove(NULL), 0);
    setenv("WEIR_TEST_KEY", KEY_1 "\n", 1);
    key = BYTES("env:WEIR_TEST_KEY");
    with_ledger(folder, add_secret);
    assert_false(secret_is_seen(folder));
    with_ledger(folder, find_secret);
    setenv("WEIR_TEST_KEY", KEY_2 "\n" KEY_1 "\n", 1); /* a new key, the old one for what is there */
    with_ledger(folder, find_secret);
    setenv("WEIR_TEST_KEY", KEY_2, 1);
    is_refused("encrypted with key 1");
    setenv("WEIR_TEST_KEY", "1" KEY_2, 1);
    is_refused("encrypted with key 1");
    key = BYTES_NONE;
    is_refused("encrypted with key 1");
    setenv("WEIR_TEST_KEY", "1:0102", 1);
    key = BYTES("env:WEIR_TEST_KEY");
    is_refused("64 hex digits");
    key = BYTES("env:WEIR_TEST_NO_KEY");
    is_refused("is not set");
}

static void a_copy_of_an_encrypted_one(void **state)
{
    (void)state;
    if (!WEIR_HAVE_OPENSSL)
        skip();
    setenv("WEIR_TEST_KEY", KEY_1, 1);
    key = BYTES("env:WEIR_TEST_KEY");
    copy_and_restore();
}

static void a_clean_stop_leaves_nothing_to_replay(void **state)
{
    (void)state;
    struct diag d = DIAG_NONE;
    struct ledger_report r;
    struct ledger_opts o = options(folder);
    o.checkpoint_interval_ms = 3600000;
    clients.ledger = folder_open(&o);
    on_worker(add_secret, NULL);
    ledger_close(clients.ledger);
    assert_int_equal(ledger_verify(counter_registry, folder, key, &r, &d), OK);
    assert_true(r.last_seq > 0 && r.checkpoint_seq == r.last_seq);
}

/* A segment says whose it is: files that were mixed up are not read. */
static void a_segment_of_another_ledger_is_refused(void **state)
{
    (void)state;
    char own[512], other[512];
    with_ledger(folder, add_secret);
    with_ledger(copy, add_secret);
    folder_last_segment(folder, own);
    folder_last_segment(copy, other);
    assert_string_equal(strrchr(own, '/'), strrchr(other, '/'));
    assert_int_equal(rename(other, own), 0);
    is_refused("belongs to another ledger");
}

/* One entry, by itself, in the last segment's first block. */
static void write_batch(uint32_t flags)
{
    char name[512], block[DISK_BLOCK_BYTES] = { 0 };
    struct segment_head head;
    const struct counter_op o = { .what = COUNTER_ADD, .name = 1, .n = 1, .token = 1 };
    struct batch_entry_head entry = { .ops = 1 };
    struct batch_op_head op = { .rules = COUNTER_RULES, .bytes = sizeof o };
    struct batch_head h = {
        .magic = BATCH_MAGIC, .seq = 1, .time_ms = 1, .id_first = 1, .entries = 1, .flags = flags
    };
    entry.bytes = sizeof entry + sizeof op + sizeof o;
    h.bytes = (uint32_t)sizeof h + entry.bytes;
    struct pack p = { .at = block + sizeof h, .end = block + sizeof block };
    pack_raw(&p, (struct bytes){ (const char *)&entry, sizeof entry });
    pack_raw(&p, (struct bytes){ (const char *)&op, sizeof op });
    pack_raw(&p, (struct bytes){ (const char *)&o, sizeof o });
    folder_last_segment(folder, name);
    int fd = open(name, O_RDWR);
    assert_int_equal(pread(fd, &head, sizeof head, 0), sizeof head);
    memcpy(block, &h, sizeof h);
    h.crc = batch_crc(head.salt, block, h.bytes);
    memcpy(block, &h, sizeof h);
    assert_int_equal(pwrite(fd, block, sizeof block, DISK_BLOCK_BYTES), sizeof block);
    close(fd);
}

static void do_nothing(void *arg)
{
    (void)arg;
    worker_stop(worker_self());
}

/* Whoever can write to the disk, and has not the key, gets nothing into the log. */
static void a_plain_batch_in_an_encrypted_log_is_refused(void **state)
{
    (void)state;
    if (!WEIR_HAVE_OPENSSL)
        skip();
    with_ledger(folder, do_nothing);
    write_batch(BATCH_ENCRYPTED);
    is_refused("only one says that it is encrypted");
    assert_int_equal(folder_remove(NULL), 0);
    setenv("WEIR_TEST_KEY", KEY_1, 1);
    key = BYTES("env:WEIR_TEST_KEY");
    with_ledger(folder, do_nothing);
    write_batch(0);
    is_refused("only one says that it is encrypted");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_copy_has_all_that_was_answered, set_up, folder_remove),
        cmocka_unit_test_setup_teardown(a_copy_without_syncs, set_up, folder_remove),
        cmocka_unit_test_setup_teardown(what_a_copy_needs_of_the_log_stays, set_up, folder_remove),
        cmocka_unit_test_setup_teardown(one_that_is_not_open_yet_is_not_copied, set_up, folder_remove),
        cmocka_unit_test_setup_teardown(verifying_finds_damage, set_up, folder_remove),
        cmocka_unit_test_setup_teardown(a_finished_one_that_is_damaged_stops_the_writer, set_up,
                                        folder_remove),
        cmocka_unit_test_setup_teardown(nothing_can_be_read_without_the_key, set_up, folder_remove),
        cmocka_unit_test_setup_teardown(a_copy_of_an_encrypted_one, set_up, folder_remove),
        cmocka_unit_test_setup_teardown(a_clean_stop_leaves_nothing_to_replay, set_up, folder_remove),
        cmocka_unit_test_setup_teardown(a_plain_batch_in_an_encrypted_log_is_refused, set_up, folder_remove),
        cmocka_unit_test_setup_teardown(a_segment_of_another_ledger_is_refused, set_up, folder_remove),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(told.at);
    return failed;
}
