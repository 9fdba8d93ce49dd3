#include "ledger/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/list.h"
#include "base/mem.h"

#define ZEROS_BYTES (1u << 20)

struct folder {
    struct disk disk;
    int fd;
    char path[];
};

struct disk_file {
    int fd;
    const struct folder *folder;
    char name[DISK_NAME_BYTES_MAX];
};

static struct folder *folder_of(struct disk *d)
{
    return container_of(d, struct folder, disk);
}

static err fail(const struct folder *f, const char *what, const char *name, int number, struct diag *reterr)
{
    diag_set(reterr, "%s %s%s%s: %s", what, f->path, *name ? "/" : "", name, strerror(number));
    if (number == ENOSPC || number == EDQUOT || number == EFBIG)
        return ERR_LIMIT;
    if (number == ENOENT)
        return ERR_NOT_FOUND;
    return number == EACCES || number == EPERM ? ERR_DENIED : ERR_IO;
}

/* Past the page cache where the file system can do that (tmpfs and some others cannot). */
static int open_direct(int folder, const char *name, int flags)
{
    int fd = openat(folder, name, flags | O_DIRECT, 0600);
    return fd < 0 && errno == EINVAL ? openat(folder, name, flags, 0600) : fd;
}

static err folder_open(struct disk *d, const char *name, enum disk_open how, struct disk_file **ret_file,
                       struct diag *reterr)
{
    struct folder *folder = folder_of(d);
    int fd;
    if (how == DISK_READ)
        fd = openat(folder->fd, name, O_RDONLY | O_CLOEXEC);
    else if (how == DISK_WRITE)
        fd = openat(folder->fd, name, O_RDWR | O_CLOEXEC);
    else
        fd = open_direct(folder->fd, name, O_RDWR | O_CLOEXEC | O_DSYNC);
    if (fd < 0)
        return fail(folder, "cannot open", name, errno, reterr);
    struct disk_file *f = mem_must_get(sizeof *f);
    *f = (struct disk_file){ .fd = fd, .folder = folder };
    snprintf(f->name, sizeof f->name, "%s", name);
    *ret_file = f;
    return OK;
}

static void file_close(struct disk_file *f)
{
    if (!f)
        return;
    close(f->fd);
    mem_free(f);
}

static int write_all(int fd, uint64_t offset, struct bytes data)
{
    while (data.len) {
        ssize_t n = pwrite(fd, data.ptr, data.len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : ENOSPC;
        data = bytes_skip(data, (size_t)n);
        offset += (uint64_t)n;
    }
    return 0;
}

static err file_write_at(struct disk_file *f, uint64_t offset, struct bytes data, struct diag *reterr)
{
    int number = write_all(f->fd, offset, data);
    return number ? fail(f->folder, "cannot write", f->name, number, reterr) : OK;
}

static err file_sync(struct disk_file *f, struct diag *reterr)
{
    return fdatasync(f->fd) < 0 ? fail(f->folder, "cannot sync", f->name, errno, reterr) : OK;
}

static err file_read_at(struct disk_file *f, uint64_t offset, void *out, size_t size, size_t *ret_len,
                        struct diag *reterr)
{
    size_t len = 0;
    while (len < size) {
        ssize_t n = pread(f->fd, (char *)out + len, size - len, (off_t)(offset + len));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(f->folder, "cannot read", f->name, errno, reterr);
        if (n == 0)
            break;
        len += (size_t)n;
    }
    *ret_len = len;
    return OK;
}

static err file_size(struct disk_file *f, uint64_t *ret_bytes, struct diag *reterr)
{
    struct stat st;
    if (fstat(f->fd, &st) < 0)
        return fail(f->folder, "cannot look at", f->name, errno, reterr);
    *ret_bytes = (uint64_t)st.st_size;
    return OK;
}

static err file_truncate(struct disk_file *f, uint64_t bytes, struct diag *reterr)
{
    if (ftruncate(f->fd, (off_t)bytes) < 0)
        return fail(f->folder, "cannot cut", f->name, errno, reterr);
    return file_sync(f, reterr);
}

static int fill(int fd, uint64_t bytes)
{
    char *zeros = mem_must_get(ZEROS_BYTES);
    int number = posix_fallocate(fd, 0, (off_t)bytes); /* a full disk is known before the first byte */
    for (uint64_t at = 0; !number && at < bytes; at += ZEROS_BYTES) {
        size_t part = bytes - at < ZEROS_BYTES ? (size_t)(bytes - at) : ZEROS_BYTES;
        number = write_all(fd, at, (struct bytes){ zeros, part });
    }
    mem_free(zeros);
    return number || fsync(fd) == 0 ? number : errno;
}

static err folder_make(struct disk *d, const char *name, uint64_t bytes, struct diag *reterr)
{
    struct folder *folder = folder_of(d);
    int fd = openat(folder->fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail(folder, "cannot make", name, errno, reterr);
    int number = fill(fd, bytes);
    close(fd);
    if (!number)
        return OK;
    unlinkat(folder->fd, name, 0);
    return fail(folder, "cannot make", name, number, reterr);
}

static err folder_rename(struct disk *d, const char *from, const char *to, struct diag *reterr)
{
    struct folder *folder = folder_of(d);
    if (renameat(folder->fd, from, folder->fd, to) < 0)
        return fail(folder, "cannot rename", from, errno, reterr);
    return OK;
}

static err folder_remove(struct disk *d, const char *name, struct diag *reterr)
{
    struct folder *folder = folder_of(d);
    if (unlinkat(folder->fd, name, 0) < 0 && errno != ENOENT)
        return fail(folder, "cannot remove", name, errno, reterr);
    return OK;
}

static err folder_sync(struct disk *d, struct diag *reterr)
{
    struct folder *folder = folder_of(d);
    return fsync(folder->fd) < 0 ? fail(folder, "cannot sync", "", errno, reterr) : OK;
}

static err folder_list(struct disk *d, void (*fn)(void *arg, const char *name), void *arg,
                       struct diag *reterr)
{
    struct folder *folder = folder_of(d);
    int fd = openat(folder->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        int number = errno;
        if (fd >= 0)
            close(fd);
        return fail(folder, "cannot list", "", number, reterr);
    }
    for (struct dirent *e; (e = readdir(dir));) {
        if (e->d_name[0] != '.')
            fn(arg, e->d_name);
    }
    closedir(dir);
    return OK;
}

static const struct disk_ops folder_ops = {
    .open = folder_open,
    .close = file_close,
    .write = file_write_at,
    .sync = file_sync,
    .read = file_read_at,
    .size = file_size,
    .truncate = file_truncate,
    .make = folder_make,
    .rename = folder_rename,
    .remove = folder_remove,
    .sync_names = folder_sync,
    .list = folder_list,
};

err disk_open_folder(const char *path, struct disk **ret_disk, struct diag *reterr)
{
    size_t len = strlen(path);
    struct folder *f = mem_get(sizeof *f + len + 1);
    if (!f)
        return ERR_MEMORY;
    f->disk.ops = &folder_ops;
    memcpy(f->path, path, len + 1);
    f->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->fd < 0) {
        err e = fail(f, "cannot open", "", errno, reterr);
        mem_free(f);
        return e;
    }
    *ret_disk = &f->disk;
    return OK;
}

void disk_close_folder(struct disk *d)
{
    if (!d)
        return;
    close(folder_of(d)->fd);
    mem_free(folder_of(d));
}

int disk_folder_fd(const struct disk *d)
{
    return container_of(d, const struct folder, disk)->fd;
}
