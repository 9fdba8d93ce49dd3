#include "ledger/ledger_log.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/mem.h"
#include "base/must.h"

enum next_state { NEXT_NONE, NEXT_WANTED, NEXT_READY, NEXT_FAILED, NEXT_STOP };
/* A start waits for the first segment of a process, so it is small. The next one is made when a part of this
 * one is used: whoever only looks writes no segment, and three quarters are left to make it in. */
#define FIRST_BYTES (16u << 20)
#define USED_PART 4

struct ledger_log {
    struct ledger_log_opts opts;
    struct disk_file *file;
    struct segment_head head; /* of the segment at hand */
    struct crypt_segment *crypt;
    uint64_t offset; /* where the next batch goes; with current_first and room under the mutex */
    uint64_t room;   /* of the segment at hand, its head included */
    uint64_t next_seq, durable_seq;
    bool failed;
    uint64_t current_first; /* the segment that is written: never dropped */
    _Atomic uint64_t bytes; /* of all segments */
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    enum next_state next;
    err next_failed;
    struct diag next_diag;
};

/* ---- the next segment ---- */

static void *make_segments(void *arg)
{
    struct ledger_log *l = arg;
    struct disk *d = l->opts.disk;
    pthread_setname_np(pthread_self(), "weir-segment");
    pthread_mutex_lock(&l->mutex);
    while (l->next != NEXT_STOP) {
        if (l->next != NEXT_WANTED) {
            pthread_cond_wait(&l->changed, &l->mutex);
            continue;
        }
        struct diag diag = DIAG_NONE;
        pthread_mutex_unlock(&l->mutex);
        err e = d->ops->make(d, SEGMENT_NEXT, l->opts.segment_bytes, &diag);
        pthread_mutex_lock(&l->mutex);
        if (l->next == NEXT_WANTED) {
            l->next = e ? NEXT_FAILED : NEXT_READY;
            l->next_failed = e;
            l->next_diag = diag;
        }
        pthread_cond_broadcast(&l->changed);
    }
    pthread_mutex_unlock(&l->mutex);
    return NULL;
}

/* What failed a while ago may go well now. */
static err wait_for_next(struct ledger_log *l, struct diag *reterr)
{
    struct disk *d = l->opts.disk;
    if (!l->opts.threaded)
        return l->next == NEXT_READY ? OK : d->ops->make(d, SEGMENT_NEXT, l->opts.segment_bytes, reterr);
    pthread_mutex_lock(&l->mutex);
    if (l->next == NEXT_FAILED || l->next == NEXT_NONE) {
        l->next = NEXT_WANTED;
        pthread_cond_broadcast(&l->changed);
    }
    while (l->next == NEXT_WANTED)
        pthread_cond_wait(&l->changed, &l->mutex);
    err e = l->next == NEXT_READY ? OK : l->next_failed;
    if (e)
        *reterr = l->next_diag;
    pthread_mutex_unlock(&l->mutex);
    return e;
}

static err write_head(struct ledger_log *l, struct disk_file *f, struct diag *reterr)
{
    char *block = mem_get_aligned(DISK_BLOCK_BYTES, DISK_BLOCK_BYTES);
    if (!block)
        return ERR_MEMORY;
    segment_head_fill(&l->head, l->next_seq, l->opts.ledger_id, crypt_key_id(l->opts.crypt));
    memcpy(block, &l->head, sizeof l->head);
    crypt_segment_close(l->crypt);
    err e = crypt_segment_open(l->opts.crypt, l->head.key_id, l->head.key_salt, &l->crypt, reterr);
    if (!e)
        e = l->opts.disk->ops->write(f, 0, (struct bytes){ block, DISK_BLOCK_BYTES }, reterr);
    if (!e)
        e = l->opts.disk->ops->sync(f, reterr);
    mem_free(block);
    return e;
}

static void set_end(struct ledger_log *l, uint64_t offset)
{
    pthread_mutex_lock(&l->mutex);
    l->offset = offset;
    if (l->opts.threaded && l->next == NEXT_NONE && offset >= l->room / USED_PART) {
        l->next = NEXT_WANTED;
        pthread_cond_broadcast(&l->changed);
    }
    pthread_mutex_unlock(&l->mutex);
}

static void take_segment(struct ledger_log *l, struct disk_file *f, uint64_t room)
{
    l->opts.disk->ops->close(l->file);
    l->file = f;
    pthread_mutex_lock(&l->mutex);
    l->next = NEXT_NONE;
    l->current_first = l->next_seq;
    l->room = room;
    pthread_mutex_unlock(&l->mutex);
    set_end(l, DISK_BLOCK_BYTES);
    atomic_fetch_add(&l->bytes, room);
}

void ledger_log_end(struct ledger_log *l, uint64_t *ret_first_seq, uint64_t *ret_bytes)
{
    pthread_mutex_lock(&l->mutex);
    *ret_first_seq = l->current_first;
    *ret_bytes = l->offset;
    pthread_mutex_unlock(&l->mutex);
}

/* The head is on disk before the name says that it is a segment, and the name before any batch. */
static err begin_segment(struct ledger_log *l, struct diag *reterr)
{
    struct disk *d = l->opts.disk;
    struct disk_file *f;
    char name[DISK_NAME_BYTES_MAX];
    err e = wait_for_next(l, reterr);
    if (!e)
        e = d->ops->open(d, SEGMENT_NEXT, l->opts.synced ? DISK_WRITE_SYNCED : DISK_WRITE, &f, reterr);
    if (e)
        return e;
    uint64_t room = 0;
    segment_name(name, l->next_seq);
    e = d->ops->size(f, &room, reterr);
    if (!e)
        e = write_head(l, f, reterr);
    if (!e)
        e = d->ops->rename(d, SEGMENT_NEXT, name, reterr);
    if (!e)
        e = d->ops->sync_names(d, reterr);
    if (e) {
        d->ops->close(f);
        return e;
    }
    take_segment(l, f, room);
    return OK;
}

/* ---- appending ---- */

static size_t whole_blocks(size_t bytes)
{
    return (bytes + DISK_BLOCK_BYTES - 1) / DISK_BLOCK_BYTES * DISK_BLOCK_BYTES;
}

/* What a batch is about is not hidden, and cannot be changed. */
static err encrypt(struct ledger_log *l, struct batch_head *head, char *batch, struct diag *reterr)
{
    size_t len = head->bytes - BATCH_HEAD_BYTES;
    if (!l->crypt)
        return OK;
    head->flags |= BATCH_ENCRYPTED;
    head->bytes += CRYPT_TAG_BYTES;
    return crypt_seal_batch(l->crypt, head->seq, batch_about(head), batch + BATCH_HEAD_BYTES, len, reterr);
}

static err append(struct ledger_log *l, struct batch_head *head, char *batch, struct diag *reterr)
{
    size_t size = whole_blocks(head->bytes + (l->opts.crypt ? CRYPT_TAG_BYTES : 0));
    if (l->offset + size > l->room) {
        err e = ledger_log_sync(l, reterr);
        if (!e)
            e = begin_segment(l, reterr);
        if (e)
            return e;
    }
    err e = encrypt(l, head, batch, reterr);
    if (e)
        return e;
    head->durable_seq = l->durable_seq;
    memset(batch + head->bytes, 0, size - head->bytes);
    memcpy(batch, head, sizeof *head);
    head->crc = batch_crc(l->head.salt, batch, head->bytes);
    memcpy(batch, head, sizeof *head);
    return l->opts.disk->ops->write(l->file, l->offset, (struct bytes){ batch, size }, reterr);
}

err ledger_log_append(struct ledger_log *l, struct batch_head *head, char *batch, struct diag *reterr)
{
    must(!l->failed && head->seq == l->next_seq);
    must(head->bytes <= LEDGER_BATCH_BYTES_MAX);
    err e = append(l, head, batch, reterr);
    if (e) {
        l->failed = true;
        return e;
    }
    set_end(l, l->offset + whole_blocks(head->bytes));
    l->next_seq++;
    if (l->opts.synced)
        l->durable_seq = head->seq;
    return OK;
}

err ledger_log_sync(struct ledger_log *l, struct diag *reterr)
{
    must(!l->failed);
    if (l->durable_seq + 1 == l->next_seq)
        return OK;
    err e = l->opts.disk->ops->sync(l->file, reterr);
    if (e)
        l->failed = true;
    else
        l->durable_seq = l->next_seq - 1;
    return e;
}

uint64_t ledger_log_durable_seq(const struct ledger_log *l)
{
    return l->durable_seq;
}

uint64_t ledger_log_bytes(const struct ledger_log *l)
{
    return atomic_load(&l->bytes);
}

/* ---- dropping ---- */

static err drop(struct ledger_log *l, uint64_t first, struct diag *reterr)
{
    struct disk *d = l->opts.disk;
    struct disk_file *f;
    char name[DISK_NAME_BYTES_MAX];
    uint64_t bytes = 0;
    segment_name(name, first);
    err e = d->ops->open(d, name, DISK_READ, &f, reterr);
    if (!e) {
        e = d->ops->size(f, &bytes, reterr);
        d->ops->close(f);
    }
    if (!e)
        e = d->ops->remove(d, name, reterr);
    if (!e)
        atomic_fetch_sub(&l->bytes, bytes);
    return e;
}

/* The oldest first, and the names are synced after each: no crash leaves a hole. */
err ledger_log_drop_until(struct ledger_log *l, uint64_t seq, uint64_t keep_bytes, struct diag *reterr)
{
    struct disk *d = l->opts.disk;
    uint64_t *first, current, offset;
    size_t count;
    err e = segment_list(d, &first, &count, reterr);
    if (e)
        return e;
    ledger_log_end(l, &current, &offset);
    for (size_t i = 0; !e && i + 1 < count; i++) {
        if (first[i + 1] > seq + 1 || first[i] >= current)
            break;
        if (ledger_log_bytes(l) < keep_bytes + l->opts.segment_bytes)
            break;
        e = drop(l, first[i], reterr);
        if (!e)
            e = d->ops->sync_names(d, reterr);
    }
    mem_free(first);
    return e;
}

/* ---- life ---- */

static err count_bytes(struct ledger_log *l, struct diag *reterr)
{
    struct disk *d = l->opts.disk;
    uint64_t *first, bytes;
    size_t count;
    err e = segment_list(d, &first, &count, reterr);
    if (e)
        return e;
    for (size_t i = 0; !e && i < count; i++) {
        struct disk_file *f;
        char name[DISK_NAME_BYTES_MAX];
        segment_name(name, first[i]);
        e = d->ops->open(d, name, DISK_READ, &f, reterr);
        if (e)
            break;
        e = d->ops->size(f, &bytes, reterr);
        d->ops->close(f);
        if (!e)
            atomic_fetch_add(&l->bytes, bytes);
    }
    mem_free(first);
    return e;
}

uint64_t ledger_log_first_bytes(uint64_t segment_bytes)
{
    return segment_bytes < FIRST_BYTES ? segment_bytes : FIRST_BYTES;
}

err ledger_log_open(const struct ledger_log_opts *opts, struct ledger_log **ret_log, struct diag *reterr)
{
    struct ledger_log *l = mem_get(sizeof *l);
    if (!l)
        return ERR_MEMORY;
    l->opts = *opts;
    l->next_seq = opts->next_seq;
    l->durable_seq = opts->next_seq - 1;
    l->next = opts->next_made ? NEXT_READY : NEXT_NONE;
    pthread_mutex_init(&l->mutex, NULL);
    pthread_cond_init(&l->changed, NULL);
    if (opts->threaded && pthread_create(&l->thread, NULL, make_segments, l) != 0) {
        mem_free(l);
        return ERR_SYSTEM;
    }
    err e = count_bytes(l, reterr);
    if (!e)
        e = begin_segment(l, reterr);
    if (e) {
        ledger_log_close(l);
        return e;
    }
    *ret_log = l;
    return OK;
}

void ledger_log_close(struct ledger_log *l)
{
    if (!l)
        return;
    if (l->opts.threaded) {
        pthread_mutex_lock(&l->mutex);
        l->next = NEXT_STOP;
        pthread_cond_broadcast(&l->changed);
        pthread_mutex_unlock(&l->mutex);
        pthread_join(l->thread, NULL);
    }
    l->opts.disk->ops->close(l->file);
    crypt_segment_close(l->crypt);
    pthread_mutex_destroy(&l->mutex);
    pthread_cond_destroy(&l->changed);
    mem_free(l);
}
