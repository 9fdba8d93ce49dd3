/* Opening a ledger: its folder, whose it is, what the log says. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "core/log.h"
#include "ledger/ledger_internal.h"

#define IDENTITY_VERSION 1

struct identity {
    char magic[8];
    uint32_t version;
    uint32_t reserved;
    unsigned char id[16];
    uint32_t reserved2;
    uint32_t crc;
};
_Static_assert(sizeof(struct identity) == 40, "no padding");

static err system_failed(const char *what, const char *path, struct diag *reterr)
{
    int number = errno;
    diag_set(reterr, "%s %s: %s", what, path, strerror(number));
    err e = err_from_errno(number);
    return e ? e : ERR_SYSTEM;
}

static err lock(int folder, const char *path, bool read_only, int *ret_fd, struct diag *reterr)
{
    int fd = openat(folder, LEDGER_IDENTITY_NAME,
                    read_only ? O_RDONLY | O_CLOEXEC : O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return system_failed("cannot open the ledger in", path, reterr);
    if (flock(fd, (read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0) {
        *ret_fd = fd;
        return OK;
    }
    err e = errno == EWOULDBLOCK ? ERR_IN_USE : system_failed("cannot lock", path, reterr);
    diag_set(reterr, "another process has the ledger %s", path);
    close(fd);
    return e;
}

static err new_identity(int fd, int folder, struct identity *i, const char *path, struct diag *reterr)
{
    *i = (struct identity){ .magic = "weirled", .version = IDENTITY_VERSION };
    must(getrandom(i->id, sizeof i->id, 0) == sizeof i->id);
    i->crc = crc32c(0, i, offsetof(struct identity, crc));
    if (pwrite(fd, i, sizeof *i, 0) != (ssize_t)sizeof *i || fsync(fd) < 0 || fsync(folder) < 0)
        return system_failed("cannot write", path, reterr);
    return OK;
}

static err read_identity(struct ledger *l, struct diag *reterr)
{
    struct identity i = { 0 };
    uint64_t *segments;
    size_t count;
    err e = segment_list(l->disk, &segments, &count, reterr);
    if (e)
        return e;
    mem_free(segments);
    ssize_t n = pread(l->lock_fd, &i, sizeof i, 0);
    if (n == 0 && count == 0 && !l->opts.read_only) {
        e = new_identity(l->lock_fd, disk_folder_fd(l->disk), &i, l->opts.path, reterr);
    } else if (n != (ssize_t)sizeof i || memcmp(i.magic, "weirled", 8) != 0 ||
               i.crc != crc32c(0, &i, offsetof(struct identity, crc))) {
        diag_set(reterr, "%s/" LEDGER_IDENTITY_NAME " is damaged or missing: restore a backup", l->opts.path);
        e = ERR_SYNTAX;
    } else if (i.version != IDENTITY_VERSION) {
        diag_set(reterr, "%s has version %u of the format, this weir knows %u", l->opts.path, i.version,
                 IDENTITY_VERSION);
        e = ERR_UNSUPPORTED;
    }
    memcpy(l->id, i.id, sizeof l->id);
    return e;
}

static err open_folder(struct ledger *l, struct diag *reterr)
{
    const char *path = l->opts.path;
    if (!l->opts.read_only && mkdir(path, 0700) < 0 && errno != EEXIST)
        return system_failed("cannot make the folder", path, reterr);
    err e = disk_open_folder(path, &l->disk, reterr);
    if (!e)
        e = lock(disk_folder_fd(l->disk), path, l->opts.read_only, &l->lock_fd, reterr);
    return e ? e : read_identity(l, reterr);
}

static err replay(void *arg, const struct batch_head *head, struct bytes payload, struct diag *reterr)
{
    struct ledger *l = arg;
    err e = machine_replay(&l->machine, head, payload, reterr);
    if (!e)
        machine_show(&l->machine, &l->board);
    return e;
}

struct loading {
    struct machine_load load;
    struct ledger *ledger;
};

static err begin_load(void *arg, uint64_t count, unsigned threads)
{
    struct loading *g = arg;
    return machine_load_begin(&g->load, &g->ledger->machine, &g->ledger->board, count, threads);
}

static err load_record(void *arg, unsigned thread, const struct record_image *image)
{
    struct loading *g = arg;
    return machine_load(&g->load, thread, image);
}

static err load_open(struct ledger *l, struct checkpoint_state *ret_state, struct diag *reterr)
{
    struct loading g = { .ledger = l };
    const struct checkpoint_reader reader = { begin_load, load_record, &g };
    err e = l->store->ops->load(l->store, ret_state, &reader, reterr);
    if (g.load.machine)
        machine_load_end(&g.load);
    return e;
}

static bool find_left(void *arg, uint8_t rules, struct bytes key, struct record_image *ret_image)
{
    struct ledger *l = arg;
    if (!l->had_left && !records_stats(l->machine.records).evicted)
        return false; /* what is finished is in memory still: a new id costs no look into the tree */
    if (l->looking) { /* no worker waits for the disk */
        l->missed = true;
        return false;
    }
    return l->store->ops->find(l->store, rules, key, ret_image);
}

static err load_checkpoint(struct ledger *l, struct diag *reterr)
{
    char path[PATH_MAX];
    struct checkpoint_state state;
    snprintf(path, sizeof path, "%s/" LEDGER_CHECKPOINT_NAME, l->opts.path);
    err e = checkpoint_lmdb_open(path, l->opts.checkpoint_bytes_max, l->opts.read_only, l->crypt, &l->store,
                                 reterr);
    if (!e)
        e = load_open(l, &state, reterr);
    if (!e)
        e = l->store->ops->renew(l->store, reterr);
    if (e)
        return e;
    machine_set(&l->machine, state.seq, state.time_ms, state.next_id);
    l->recovered_seq = state.seq;
    l->era = state.era;
    l->had_left = checkpoint_lmdb_has_left(l->store);
    records_set_source(l->machine.records, &(struct records_source){ find_left, l });
    return OK;
}

static err read_log(struct ledger *l, uint64_t *ret_torn_bytes, struct diag *reterr)
{
    struct ledger_log_reader r = { .disk = l->disk,
                                   .ledger_id = l->id,
                                   .crypt = l->crypt,
                                   .after_seq = l->machine.seq,
                                   .cut = !l->opts.read_only,
                                   .on_batch = replay,
                                   .arg = l };
    err e = ledger_log_read(&r, reterr);
    if (!e)
        e = l->store->ops->sound(l->store, reterr);
    if (!e)
        e = machine_check(&l->machine, reterr);
    *ret_torn_bytes = r.ret_torn_bytes;
    return e;
}

static void wake(void *arg)
{
    ledger_wake(arg);
}

static err open_log(struct ledger *l, struct diag *reterr)
{
    struct ledger_log_opts o = { .disk = l->disk,
                                 .segment_bytes = l->opts.segment_bytes,
                                 .synced = l->opts.durability == LEDGER_COMMIT,
                                 .next_seq = l->machine.seq + 1,
                                 .crypt = l->crypt,
                                 .next_made = true,
                                 .threaded = true };
    memcpy(o.ledger_id, l->id, sizeof o.ledger_id);
    err e = ledger_log_open(&o, &l->log, reterr);
    return e ? e : checkpoint_start(l->store, l->log, l->opts.log_keep_bytes, wake, l, &l->checkpoint);
}

/* The log's next segment is written while the checkpoint is read. */
struct making {
    struct ledger *ledger;
    pthread_t thread;
    err result;
    struct diag diag;
};

static void *make_segment(void *arg)
{
    struct making *m = arg;
    struct disk *d = m->ledger->disk;
    m->result =
        d->ops->make(d, SEGMENT_NEXT, ledger_log_first_bytes(m->ledger->opts.segment_bytes), &m->diag);
    return NULL;
}

static err load_and_make(struct ledger *l, struct diag *reterr)
{
    struct making m = { .ledger = l };
    if (pthread_create(&m.thread, NULL, make_segment, &m) != 0)
        return ERR_SYSTEM;
    err e = load_checkpoint(l, reterr);
    pthread_join(m.thread, NULL);
    if (e || !m.result)
        return e;
    *reterr = m.diag;
    return m.result;
}

err ledger_recover(struct ledger *l, struct diag *reterr)
{
    uint64_t begun_us = ledger_clock_us();
    err e = open_folder(l, reterr);
    if (!e)
        e = load_and_make(l, reterr);
    uint64_t checkpoint_seq = l->machine.seq, loaded_us = ledger_clock_us(), torn_bytes = 0;
    if (!e)
        e = read_log(l, &torn_bytes, reterr);
    if (!e)
        e = open_log(l, reterr);
    if (e)
        return e;
    if (torn_bytes)
        log_warn("ledger", "the log's torn end was cut: batch %llu is the last",
                 (unsigned long long)l->machine.seq);
    l->open = true;
    ledger_metrics_look(l);
    l->frozen_us = ledger_clock_us();
    log_info("ledger",
             "open path=%s batch=%llu records=%llu durability=%s load_ms=%llu replayed=%llu replay_ms=%llu",
             l->opts.path, (unsigned long long)l->machine.seq,
             (unsigned long long)records_stats(l->machine.records).count,
             ledger_durability_words[l->opts.durability], (unsigned long long)(loaded_us - begun_us) / 1000,
             (unsigned long long)(l->machine.seq - checkpoint_seq),
             (unsigned long long)(l->frozen_us - loaded_us) / 1000);
    return OK;
}

void ledger_release_files(struct ledger *l)
{
    checkpoint_end(l->checkpoint);
    ledger_log_close(l->log);
    if (l->store)
        l->store->ops->close(l->store);
    disk_close_folder(l->disk);
    if (l->lock_fd >= 0)
        close(l->lock_fd);
    l->checkpoint = NULL;
    l->log = NULL;
    l->store = NULL;
    l->disk = NULL;
    l->lock_fd = -1;
}

/* ---- life ---- */

static err start_thread(struct ledger *l)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&l->thread, NULL, ledger_writer, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        return ERR_SYSTEM;
    pthread_setname_np(l->thread, "weir-ledger");
    return OK;
}

static err open_all(struct ledger *l, struct diag *reterr)
{
    err e = machine_open(&l->machine, l->opts.rules, l->opts.memory_bytes);
    if (!e)
        e = board_open(&l->board);
    if (!e)
        e = crypt_open(l->opts.key, &l->crypt, reterr);
    if (!e && l->opts.metrics)
        e = ledger_metrics_open(&l->metrics, l->opts.durability);
    if (!e && !l->opts.later)
        e = ledger_recover(l, reterr);
    return e ? e : start_thread(l);
}

static void release(struct ledger *l)
{
    ledger_release_files(l);
    pass_on_close(&l->next);
    ledger_metrics_close(&l->metrics);
    crypt_close(l->crypt);
    board_close(&l->board);
    machine_close(&l->machine);
    sem_destroy(&l->left);
    pthread_mutex_destroy(&l->resting);
    mem_free(l);
}

err ledger_open(const struct ledger_opts *opts, struct ledger **ret_ledger, struct diag *reterr)
{
    struct ledger *l = mem_get_aligned(sizeof *l, 64);
    if (!l)
        return ERR_MEMORY;
    l->opts = *opts;
    l->lock_fd = -1;
    l->next.fd = -1;
    l->waiting_last = &l->waiting;
    l->done_last = &l->done;
    sem_init(&l->left, 0, 0);
    pthread_mutex_init(&l->resting, NULL);
    err e = open_all(l, reterr);
    if (e) {
        release(l);
        return e;
    }
    *ret_ledger = l;
    return OK;
}

static err verify(struct ledger *l, struct ledger_report *r, struct diag *reterr)
{
    err e = machine_open(&l->machine, l->opts.rules, UINT64_MAX);
    if (!e)
        e = board_open(&l->board);
    if (!e)
        e = crypt_open(l->opts.key, &l->crypt, reterr);
    if (!e)
        e = open_folder(l, reterr);
    if (!e)
        e = load_checkpoint(l, reterr);
    r->checkpoint_seq = l->machine.seq;
    if (!e)
        e = checkpoint_lmdb_check(l->store, l->machine.records, &r->left_on_disk, reterr);
    if (!e)
        e = read_log(l, &r->torn_bytes, reterr);
    r->last_seq = l->machine.seq;
    if (!e)
        r->records = records_stats(l->machine.records).count;
    return e;
}

err ledger_verify(const struct ledger_rules *const *rules, const char *folder, struct bytes key,
                  struct ledger_report *ret_report, struct diag *reterr)
{
    struct ledger *l = mem_get_aligned(sizeof *l, 64);
    if (!l)
        return ERR_MEMORY;
    l->opts = LEDGER_OPTS_DEFAULT;
    l->opts.path = folder;
    l->opts.rules = rules;
    l->opts.key = key;
    l->opts.read_only = true;
    l->lock_fd = -1;
    l->next.fd = -1;
    sem_init(&l->left, 0, 0);
    pthread_mutex_init(&l->resting, NULL);
    *ret_report = (struct ledger_report){ 0 };
    err e = verify(l, ret_report, reterr);
    release(l);
    return e;
}

void ledger_leave(struct ledger *l, int next_process)
{
    l->next.fd = next_process;
    atomic_store(&l->leave, true);
    ledger_wake(l);
    while (sem_wait(&l->left) < 0)
        ;
}

void ledger_close(struct ledger *l)
{
    if (!l)
        return;
    atomic_store(&l->stop, true);
    ledger_wake(l);
    pthread_join(l->thread, NULL);
    release(l);
}
