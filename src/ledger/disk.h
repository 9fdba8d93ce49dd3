/* disk: the few things that the log wants of a file system, behind a table, so that the simulation can put a
 * disk beneath it that loses, tears and reorders what was not synced.
 *
 * All of them block; the writer's thread and its helpers. Words for what failed go to reterr: they become the
 * reason why the writer stopped. A failed sync is final: what it covered may be lost although a second one
 * succeeds (the kernel marks the pages clean), so nobody tries again. */
#pragma once
#include "base/bytes.h"
#include "base/diag.h"
#include "base/err.h"

struct disk;
struct disk_file;

#define DISK_BLOCK_BYTES 4096 /* what is written begins and ends on it, in memory too */
#define DISK_NAME_BYTES_MAX 64

enum disk_open {
    DISK_READ,
    DISK_WRITE,       /* what disk_write wrote is safe after disk_sync */
    DISK_WRITE_SYNCED /* ... is safe when it returns */
};

struct disk_ops {
    /* ERR_NOT_FOUND */
    err (*open)(struct disk *d, const char *name, enum disk_open how, struct disk_file **ret_file,
                struct diag *reterr);
    void (*close)(struct disk_file *f);
    /* All of it, or it failed: a full disk is ERR_LIMIT. */
    err (*write)(struct disk_file *f, uint64_t offset, struct bytes data, struct diag *reterr);
    err (*sync)(struct disk_file *f, struct diag *reterr);
    /* Fewer than size only at the end. */
    err (*read)(struct disk_file *f, uint64_t offset, void *out, size_t size, size_t *ret_len,
                struct diag *reterr);
    err (*size)(struct disk_file *f, uint64_t *ret_bytes, struct diag *reterr);
    err (*truncate)(struct disk_file *f, uint64_t bytes, struct diag *reterr);
    /* A file of that many bytes, all of them zero and written (so that writing later changes no map of the
     * file system), synced. One of that name is replaced. */
    err (*make)(struct disk *d, const char *name, uint64_t bytes, struct diag *reterr);
    /* These two are safe only after sync_names. */
    err (*rename)(struct disk *d, const char *from, const char *to, struct diag *reterr);
    err (*remove)(struct disk *d, const char *name, struct diag *reterr);
    err (*sync_names)(struct disk *d, struct diag *reterr);
    err (*list)(struct disk *d, void (*fn)(void *arg, const char *name), void *arg, struct diag *reterr);
};

struct disk {
    const struct disk_ops *ops;
};

/* A folder of the file system. ERR_NOT_FOUND, ERR_DENIED ... */
err disk_open_folder(const char *path, struct disk **ret_disk, struct diag *reterr) CHECK_RESULT;
void disk_close_folder(struct disk *d);
/* Of that folder, for what is no part of the log. */
int disk_folder_fd(const struct disk *d);
