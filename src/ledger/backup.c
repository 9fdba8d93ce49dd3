/* Copies of a ledger: the checkpoint as of one moment, then the log up to where it was whole afterwards. What
 * the checkpoint needs of the log stays while it is copied. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "ledger/ledger_internal.h"

#define PIECE_BYTES (1u << 20)
#define FILE_BYTES_ALL UINT64_MAX

static err failed(const char *what, const char *path, struct diag *reterr)
{
    int number = errno;
    diag_set(reterr, "cannot %s %s: %s", what, path, strerror(number));
    if (number == ENOSPC || number == EDQUOT)
        return ERR_LIMIT;
    err e = err_from_errno(number);
    return e ? e : ERR_SYSTEM;
}

static err make_folder(const char *path, struct diag *reterr)
{
    return mkdir(path, 0700) < 0 ? failed("make the folder", path, reterr) : OK;
}

static err sync_folder(const char *path, struct diag *reterr)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    err e = fd < 0 || fsync(fd) < 0 ? failed("sync", path, reterr) : OK;
    if (fd >= 0)
        close(fd);
    return e;
}

static bool write_all(int fd, struct bytes data)
{
    while (data.len) {
        ssize_t n = write(fd, data.ptr, data.len);
        if (n < 0 && errno != EINTR)
            return false;
        data = bytes_skip(data, n > 0 ? (size_t)n : 0);
    }
    return true;
}

static err copy_bytes(int from, int to, uint64_t bytes, const char *name, struct diag *reterr)
{
    char *piece = mem_get(PIECE_BYTES);
    err e = piece ? OK : ERR_MEMORY;
    while (!e && bytes) {
        ssize_t n = read(from, piece, bytes < PIECE_BYTES ? (size_t)bytes : PIECE_BYTES);
        if (n == 0)
            break;
        if (n < 0 || !write_all(to, (struct bytes){ piece, (size_t)n }))
            e = failed("copy", name, reterr);
        else
            bytes -= (uint64_t)n;
    }
    mem_free(piece);
    return e;
}

static err copy_file(int folder, const char *name, const char *to_folder, uint64_t bytes, struct diag *reterr)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", to_folder, name);
    int from = openat(folder, name, O_RDONLY | O_CLOEXEC);
    int to = from < 0 ? -1 : open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    err e = from < 0 || to < 0 ? failed("copy to", path, reterr) : copy_bytes(from, to, bytes, path, reterr);
    if (!e && fsync(to) < 0)
        e = failed("sync", path, reterr);
    if (from >= 0)
        close(from);
    if (to >= 0)
        close(to);
    return e;
}

static err copy_log(struct ledger *l, const char *folder, struct diag *reterr)
{
    uint64_t *first, current, end;
    size_t count;
    ledger_log_end(l->log, &current, &end);
    err e = segment_list(l->disk, &first, &count, reterr);
    if (e)
        return e;
    for (size_t i = 0; !e && i < count && first[i] <= current; i++) {
        char name[DISK_NAME_BYTES_MAX];
        segment_name(name, first[i]);
        e = copy_file(disk_folder_fd(l->disk), name, folder, first[i] == current ? end : FILE_BYTES_ALL,
                      reterr);
    }
    mem_free(first);
    return e;
}

/* The file that makes it a ledger comes last: half a copy is none. */
static err copy_running(struct ledger *l, const char *folder, struct diag *reterr)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/" LEDGER_CHECKPOINT_NAME, folder);
    err e = make_folder(folder, reterr);
    if (!e)
        e = checkpoint_lmdb_copy(l->store, path, reterr);
    if (!e)
        e = copy_log(l, folder, reterr);
    if (!e)
        e = sync_folder(path, reterr);
    if (!e)
        e = copy_file(disk_folder_fd(l->disk), LEDGER_IDENTITY_NAME, folder, FILE_BYTES_ALL, reterr);
    return e ? e : sync_folder(folder, reterr);
}

err ledger_backup(struct ledger *l, const char *folder, struct diag *reterr)
{
    if (ledger_stopped(l)) {
        diag_set(reterr, "the ledger has stopped: %s", ledger_stopped(l));
        return ERR_UNAVAILABLE;
    }
    if (!l->open) {
        diag_set(reterr, "the ledger is not open yet: it waits for another process, or recovers");
        return ERR_UNAVAILABLE;
    }
    checkpoint_hold(l->checkpoint, true);
    err e = copy_running(l, folder, reterr);
    checkpoint_hold(l->checkpoint, false);
    return e;
}

/* ---- back again ---- */

static bool belongs(const char *name)
{
    uint64_t first;
    return segment_parse_name(name, &first) || strcmp(name, CHECKPOINT_FILE) == 0;
}

static err copy_all(const char *from, const char *to, struct diag *reterr)
{
    int fd = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    err e = dir ? make_folder(to, reterr) : failed("open", from, reterr);
    for (struct dirent *entry; !e && (entry = readdir(dir));) {
        if (belongs(entry->d_name))
            e = copy_file(fd, entry->d_name, to, FILE_BYTES_ALL, reterr);
    }
    if (dir)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
    return e ? e : sync_folder(to, reterr);
}

static err copy_identity(const char *from, const char *to, struct diag *reterr)
{
    int fd = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return failed("open", from, reterr);
    err e = copy_file(fd, LEDGER_IDENTITY_NAME, to, FILE_BYTES_ALL, reterr);
    close(fd);
    return e ? e : sync_folder(to, reterr);
}

err ledger_restore(const struct ledger_rules *const *rules, const char *backup, const char *folder,
                   struct bytes key, struct ledger_report *ret_report, struct diag *reterr)
{
    char from[PATH_MAX], to[PATH_MAX];
    snprintf(from, sizeof from, "%s/" LEDGER_CHECKPOINT_NAME, backup);
    snprintf(to, sizeof to, "%s/" LEDGER_CHECKPOINT_NAME, folder);
    err e = ledger_verify(rules, backup, key, ret_report, reterr);
    if (!e)
        e = copy_all(backup, folder, reterr);
    if (!e)
        e = copy_all(from, to, reterr);
    return e ? e : copy_identity(backup, folder, reterr);
}
