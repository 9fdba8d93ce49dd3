/* Opening a ledger: its folder, whose it is, what the log says. */
#include <errno.h>
#include <fcntl.h>
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

/* The file that says: this folder is a ledger. It is also the lock. */
#define IDENTITY_NAME "ledger"
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

static err lock(int folder, const char *path, int *ret_fd, struct diag *reterr)
{
    int fd = openat(folder, IDENTITY_NAME, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return system_failed("cannot open the ledger in", path, reterr);
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
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
    if (n == 0 && count == 0) {
        e = new_identity(l->lock_fd, disk_folder_fd(l->disk), &i, l->opts.path, reterr);
    } else if (n != (ssize_t)sizeof i || memcmp(i.magic, "weirled", 8) != 0 ||
               i.crc != crc32c(0, &i, offsetof(struct identity, crc))) {
        diag_set(reterr, "%s/" IDENTITY_NAME " is damaged or missing: restore a backup", l->opts.path);
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
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return system_failed("cannot make the folder", path, reterr);
    err e = disk_open_folder(path, &l->disk, reterr);
    if (!e)
        e = lock(disk_folder_fd(l->disk), path, &l->lock_fd, reterr);
    return e ? e : read_identity(l, reterr);
}

static err replay(void *arg, const struct batch_head *head, struct bytes payload, struct diag *reterr)
{
    struct ledger *l = arg;
    return machine_replay(&l->machine, head, payload, reterr);
}

static err recover(struct ledger *l, struct diag *reterr)
{
    struct ledger_log_reader r = { .disk = l->disk,
                                   .ledger_id = l->id,
                                   .after_seq = l->machine.seq,
                                   .cut = true,
                                   .on_batch = replay,
                                   .arg = l };
    err e = ledger_log_read(&r, reterr);
    if (!e)
        e = machine_check(&l->machine, reterr);
    if (e)
        return e;
    if (r.ret_torn_bytes)
        log_warn("ledger", "the log's torn end was cut: batch %llu is the last",
                 (unsigned long long)r.ret_last_seq);
    machine_show_all(&l->machine, &l->board);
    return OK;
}

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
        e = open_folder(l, reterr);
    if (!e)
        e = recover(l, reterr);
    if (e)
        return e;
    struct ledger_log_opts o = { .disk = l->disk,
                                 .segment_bytes = l->opts.segment_bytes,
                                 .synced = l->opts.durability == LEDGER_COMMIT,
                                 .next_seq = l->machine.seq + 1,
                                 .threaded = true };
    memcpy(o.ledger_id, l->id, sizeof o.ledger_id);
    e = ledger_log_open(&o, &l->log, reterr);
    return e ? e : start_thread(l);
}

static void release(struct ledger *l)
{
    ledger_log_close(l->log);
    disk_close_folder(l->disk);
    if (l->lock_fd >= 0)
        close(l->lock_fd);
    board_close(&l->board);
    machine_close(&l->machine);
    mem_free(l);
}

err ledger_open(const struct ledger_opts *opts, struct ledger **ret_ledger, struct diag *reterr)
{
    struct ledger *l = mem_get_aligned(sizeof *l, 64);
    if (!l)
        return ERR_MEMORY;
    l->opts = *opts;
    l->lock_fd = -1;
    l->waiting_last = &l->waiting;
    l->done_last = &l->done;
    err e = open_all(l, reterr);
    if (e) {
        release(l);
        return e;
    }
    log_info("ledger", "open path=%s batch=%llu records=%llu durability=%s", opts->path,
             (unsigned long long)l->machine.seq, (unsigned long long)records_stats(l->machine.records).count,
             ledger_durability_words[opts->durability]);
    *ret_ledger = l;
    return OK;
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
