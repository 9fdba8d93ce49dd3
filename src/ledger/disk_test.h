/* disk_test: a disk in memory that crashes when it is told to: what was not synced is lost, kept or torn,
 * sector by sector and name by name. After the crash every call fails until sim_disk_restart. */
#pragma once
#include "base/hash.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/must.h"
#include "ledger/disk.h"

#define SIM_SECTOR 512
#define SIM_NAMES 256
#define SIM_PENDING 64

struct sim_inode {
    char *now, *safe; /* as it is read, and as a crash leaves it */
    uint64_t bytes, safe_bytes, room;
    bool *dirty; /* sectors of now */
    unsigned names;
};

struct sim_name {
    char text[DISK_NAME_BYTES_MAX];
    struct sim_inode *inode; /* NULL: free */
};

/* What was done to names since they were synced: a crash loses some of it. */
struct sim_pending {
    char from[DISK_NAME_BYTES_MAX]; /* goes; empty: nothing */
    char to[DISK_NAME_BYTES_MAX];   /* comes; empty: nothing */
    struct sim_inode *inode;
};

struct sim_disk {
    struct disk disk;
    struct sim_name now[SIM_NAMES], safe[SIM_NAMES];
    struct sim_pending pending[SIM_PENDING];
    unsigned pending_count;
    struct sim_inode *all[4096];
    unsigned all_count;
    int64_t calls_left; /* until it crashes; below 0: not at all */
    bool crashed;
    uint64_t crashes, torn;
};

struct disk_file {
    struct sim_disk *disk;
    struct sim_inode *inode;
    bool synced;
};

static inline struct sim_disk *sim_of(struct disk *d)
{
    return container_of(d, struct sim_disk, disk);
}

static inline struct sim_name *sim_find(struct sim_name *names, const char *text)
{
    for (unsigned i = 0; i < SIM_NAMES; i++) {
        if (names[i].inode && strcmp(names[i].text, text) == 0)
            return &names[i];
    }
    return NULL;
}

static inline void sim_link(struct sim_name *names, const char *text, struct sim_inode *inode)
{
    struct sim_name *n = sim_find(names, text);
    for (unsigned i = 0; !n && i < SIM_NAMES; i++) {
        if (!names[i].inode)
            n = &names[i];
    }
    must(n != NULL);
    snprintf(n->text, sizeof n->text, "%s", text);
    n->inode = inode;
}

static inline void sim_unlink(struct sim_name *names, const char *text)
{
    struct sim_name *n = sim_find(names, text);
    if (n)
        n->inode = NULL;
}

static inline void sim_apply(struct sim_name *names, const struct sim_pending *p)
{
    if (p->from[0])
        sim_unlink(names, p->from);
    if (p->to[0])
        sim_link(names, p->to, p->inode);
}

static inline void sim_pend(struct sim_disk *d, const char *from, const char *to, struct sim_inode *inode)
{
    must(d->pending_count < SIM_PENDING);
    struct sim_pending *p = &d->pending[d->pending_count++];
    memset(p, 0, sizeof *p);
    snprintf(p->from, sizeof p->from, "%s", from);
    snprintf(p->to, sizeof p->to, "%s", to);
    p->inode = inode;
    sim_apply(d->now, p);
}

/* ---- crashing */

static inline void sim_sync_some(struct sim_disk *d, struct sim_inode *i, unsigned of_16)
{
    for (uint64_t s = 0; s * SIM_SECTOR < i->bytes; s++) {
        if (!i->dirty[s])
            continue;
        if (random_below(16) < of_16)
            memcpy(i->safe + s * SIM_SECTOR, i->now + s * SIM_SECTOR, SIM_SECTOR);
        else
            d->torn++;
        i->dirty[s] = false;
    }
}

static inline void sim_crash(struct sim_disk *d)
{
    const unsigned of_16 = random_below(3) == 0 ? 16 * random_below(2) : random_below(17);
    d->crashed = true;
    d->crashes++;
    for (unsigned i = 0; i < d->all_count; i++)
        sim_sync_some(d, d->all[i], of_16);
    for (unsigned i = 0; i < d->pending_count; i++) {
        if (random_below(2))
            sim_apply(d->safe, &d->pending[i]);
    }
    d->pending_count = 0;
}

/* true: this call is not made any more. */
static inline bool sim_down(struct sim_disk *d)
{
    if (!d->crashed && d->calls_left >= 0 && d->calls_left-- == 0)
        sim_crash(d);
    return d->crashed;
}

static inline void sim_disk_restart(struct sim_disk *d)
{
    d->crashed = false;
    memcpy(d->now, d->safe, sizeof d->now);
    for (unsigned i = 0; i < d->all_count; i++) {
        struct sim_inode *n = d->all[i];
        memcpy(n->now, n->safe, n->room);
        n->bytes = n->safe_bytes;
    }
    unsigned kept = 0; /* what has no name any more is gone */
    for (unsigned i = 0; i < d->all_count; i++) {
        bool named = false;
        for (unsigned k = 0; k < SIM_NAMES; k++)
            named |= d->now[k].inode == d->all[i];
        if (named) {
            d->all[kept++] = d->all[i];
            continue;
        }
        mem_free(d->all[i]->now);
        mem_free(d->all[i]->safe);
        mem_free(d->all[i]->dirty);
        mem_free(d->all[i]);
    }
    d->all_count = kept;
}

/* ---- the calls */

static inline err sim_open(struct disk *disk, const char *name, enum disk_open how,
                           struct disk_file **ret_file, struct diag *reterr)
{
    struct sim_disk *d = sim_of(disk);
    if (sim_down(d))
        return ERR_IO;
    struct sim_name *n = sim_find(d->now, name);
    if (!n) {
        diag_set(reterr, "no %s", name);
        return ERR_NOT_FOUND;
    }
    struct disk_file *f = mem_must_get(sizeof *f);
    *f = (struct disk_file){ d, n->inode, how == DISK_WRITE_SYNCED };
    *ret_file = f;
    return OK;
}

static inline void sim_close(struct disk_file *f)
{
    mem_free(f);
}

static inline void sim_mark(struct sim_inode *i, uint64_t offset, size_t len)
{
    for (uint64_t s = offset / SIM_SECTOR; s * SIM_SECTOR < offset + len; s++)
        i->dirty[s] = true;
}

static inline err sim_write(struct disk_file *f, uint64_t offset, struct bytes data, struct diag *reterr)
{
    struct sim_inode *i = f->inode;
    (void)reterr;
    must(offset % DISK_BLOCK_BYTES == 0 && data.len % DISK_BLOCK_BYTES == 0);
    must((uintptr_t)data.ptr % DISK_BLOCK_BYTES == 0 && offset + data.len <= i->room);
    if (f->disk->crashed)
        return ERR_IO;
    memcpy(i->now + offset, data.ptr, data.len);
    sim_mark(i, offset, data.len);
    if (sim_down(f->disk)) /* in the middle of it */
        return ERR_IO;
    if (f->synced)
        sim_sync_some(f->disk, i, 16);
    return OK;
}

static inline err sim_sync(struct disk_file *f, struct diag *reterr)
{
    (void)reterr;
    if (sim_down(f->disk))
        return ERR_IO;
    sim_sync_some(f->disk, f->inode, 16);
    return OK;
}

static inline err sim_read(struct disk_file *f, uint64_t offset, void *out, size_t size, size_t *ret_len,
                           struct diag *reterr)
{
    (void)reterr;
    if (sim_down(f->disk))
        return ERR_IO;
    uint64_t left = offset < f->inode->bytes ? f->inode->bytes - offset : 0;
    *ret_len = size < left ? size : (size_t)left;
    memcpy(out, f->inode->now + offset, *ret_len);
    return OK;
}

static inline err sim_size(struct disk_file *f, uint64_t *ret_bytes, struct diag *reterr)
{
    (void)reterr;
    if (sim_down(f->disk))
        return ERR_IO;
    *ret_bytes = f->inode->bytes;
    return OK;
}

static inline err sim_truncate(struct disk_file *f, uint64_t bytes, struct diag *reterr)
{
    struct sim_inode *i = f->inode;
    (void)reterr;
    if (sim_down(f->disk))
        return ERR_IO;
    memset(i->now + bytes, 0, i->room - bytes);
    memset(i->safe + bytes, 0, i->room - bytes);
    i->bytes = i->safe_bytes = bytes;
    return OK;
}

static inline err sim_make(struct disk *disk, const char *name, uint64_t bytes, struct diag *reterr)
{
    struct sim_disk *d = sim_of(disk);
    (void)reterr;
    if (sim_down(d))
        return ERR_IO;
    struct sim_inode *i = mem_must_get(sizeof *i);
    i->bytes = i->safe_bytes = i->room = bytes;
    i->now = mem_must_get(bytes);
    i->safe = mem_must_get(bytes);
    i->dirty = mem_must_get(bytes / SIM_SECTOR);
    must(d->all_count < sizeof d->all / sizeof *d->all);
    d->all[d->all_count++] = i;
    sim_pend(d, "", name, i);
    return OK;
}

static inline err sim_rename(struct disk *disk, const char *from, const char *to, struct diag *reterr)
{
    struct sim_disk *d = sim_of(disk);
    (void)reterr;
    if (sim_down(d))
        return ERR_IO;
    sim_pend(d, from, to, sim_find(d->now, from)->inode);
    return OK;
}

static inline err sim_remove(struct disk *disk, const char *name, struct diag *reterr)
{
    struct sim_disk *d = sim_of(disk);
    (void)reterr;
    if (sim_down(d))
        return ERR_IO;
    sim_pend(d, name, "", NULL);
    return OK;
}

static inline err sim_sync_names(struct disk *disk, struct diag *reterr)
{
    struct sim_disk *d = sim_of(disk);
    (void)reterr;
    if (sim_down(d))
        return ERR_IO;
    for (unsigned i = 0; i < d->pending_count; i++)
        sim_apply(d->safe, &d->pending[i]);
    d->pending_count = 0;
    return OK;
}

static inline err sim_list(struct disk *disk, void (*fn)(void *arg, const char *name), void *arg,
                           struct diag *reterr)
{
    struct sim_disk *d = sim_of(disk);
    (void)reterr;
    if (sim_down(d))
        return ERR_IO;
    for (unsigned i = 0; i < SIM_NAMES; i++) {
        if (d->now[i].inode)
            fn(arg, d->now[i].text);
    }
    return OK;
}

static const struct disk_ops sim_disk_ops = {
    .open = sim_open,
    .close = sim_close,
    .write = sim_write,
    .sync = sim_sync,
    .read = sim_read,
    .size = sim_size,
    .truncate = sim_truncate,
    .make = sim_make,
    .rename = sim_rename,
    .remove = sim_remove,
    .sync_names = sim_sync_names,
    .list = sim_list,
};

static inline void sim_disk_close(struct sim_disk *d)
{
    memset(d->safe, 0, sizeof d->safe);
    sim_disk_restart(d);
}
