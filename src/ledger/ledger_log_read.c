/* Reading the log at start: batch after batch, until one is not there. What stands behind that says whether
 * it is the torn end, which is cut, or a hole in what was promised, which is not ours to mend. */
#include <stdio.h>

#include "base/mem.h"
#include "ledger/ledger_log.h"

struct loaded {
    struct segment_head head;
    uint64_t first;
    char name[DISK_NAME_BYTES_MAX];
    char *data;
    size_t len;
};

static err load(struct ledger_log_reader *r, uint64_t first, struct loaded *ret, struct diag *reterr)
{
    struct disk *d = r->disk;
    struct disk_file *f;
    uint64_t bytes = 0;
    *ret = (struct loaded){ .first = first };
    segment_name(ret->name, first);
    err e = d->ops->open(d, ret->name, DISK_READ, &f, reterr);
    if (e)
        return e;
    e = d->ops->size(f, &bytes, reterr);
    if (!e) {
        ret->data = mem_get(bytes + 1);
        e = ret->data ? d->ops->read(f, 0, ret->data, bytes, &ret->len, reterr) : ERR_MEMORY;
    }
    d->ops->close(f);
    if (!e) {
        e = segment_head_read((struct bytes){ ret->data, ret->len }, &ret->head);
        if (e == ERR_UNSUPPORTED)
            diag_set(reterr, "%s is of another version of the format: a newer weir wrote it", ret->name);
        else if (e)
            diag_set(reterr, "%s is damaged: it has no head. Restore a backup", ret->name);
    }
    if (!e && (memcmp(ret->head.ledger_id, r->ledger_id, 16) != 0 || ret->head.first_seq != first)) {
        diag_set(reterr, "%s belongs to another ledger: files were mixed up. Restore a backup", ret->name);
        e = ERR_SYNTAX;
    }
    if (e) {
        mem_free(ret->data);
        ret->data = NULL;
    }
    return e;
}

static struct bytes behind(const struct loaded *s, size_t at)
{
    return at < s->len ? (struct bytes){ s->data + at, s->len - at } : BYTES_NONE;
}

static size_t blocks(size_t bytes)
{
    return (bytes + DISK_BLOCK_BYTES - 1) / DISK_BLOCK_BYTES * DISK_BLOCK_BYTES;
}

/* Gives the batches of one segment; where they end, and what would be next. */
static err decrypt(struct crypt_segment *c, const struct loaded *s, size_t at, const struct batch_head *h,
                   struct bytes *payload, struct diag *reterr)
{
    const bool encrypted = h->flags & BATCH_ENCRYPTED;
    if (!encrypted && !c)
        return OK;
    if (encrypted != (c != NULL)) {
        diag_set(
            reterr,
            "%s is damaged: of its head and a batch only one says that it is encrypted. Restore a backup",
            s->name);
        return ERR_SYNTAX;
    }
    err e =
        crypt_open_batch(c, h->seq, batch_about(h), s->data + at + BATCH_HEAD_BYTES, payload->len, reterr);
    payload->len -= e ? 0 : CRYPT_TAG_BYTES;
    return e;
}

static err give_batches(struct ledger_log_reader *r, const struct loaded *s, size_t *ret_at,
                        uint64_t *ret_next_seq, struct diag *reterr)
{
    struct batch_head h;
    struct crypt_segment *c;
    uint64_t seq = s->first;
    size_t at = DISK_BLOCK_BYTES;
    err e = crypt_segment_open(r->crypt, s->head.key_id, s->head.key_salt, &c, reterr);
    for (; !e && batch_is_whole(s->head.salt, behind(s, at), &h) && h.seq == seq;
         seq++, at += blocks(h.bytes)) {
        struct bytes payload = { s->data + at + BATCH_HEAD_BYTES, h.bytes - BATCH_HEAD_BYTES };
        if (h.seq > r->ret_last_seq) {
            e = decrypt(c, s, at, &h, &payload, reterr);
            if (!e)
                e = r->on_batch(r->arg, &h, payload, reterr);
            r->ret_last_seq = h.seq;
        }
        r->ret_time_ms = h.time_ms;
    }
    crypt_segment_close(c);
    *ret_at = at;
    *ret_next_seq = seq;
    return e;
}

/* Does a batch stand behind `at` that was written when the missing one was safe already? */
static bool was_promised(const struct loaded *s, size_t at, uint64_t missing)
{
    struct batch_head h;
    for (at = blocks(at); at < s->len; at += DISK_BLOCK_BYTES) {
        if (batch_is_whole(s->head.salt, behind(s, at), &h) && h.seq > missing && h.durable_seq >= missing)
            return true;
    }
    return false;
}

static err refuse_hole(const struct loaded *s, size_t at, uint64_t missing, struct diag *reterr)
{
    diag_set(
        reterr,
        "batch %llu is damaged or missing (%s, byte %zu) although later ones stand on it: the disk lost "
        "what was synced. Nothing was changed. Restore a backup, or copy the folder and try `weir ledger "
        "verify` on the copy",
        (unsigned long long)missing, s->name, at);
    return ERR_SYNTAX;
}

static bool is_zero(const struct loaded *s, size_t at)
{
    for (; at < s->len; at++) {
        if (s->data[at])
            return false;
    }
    return true;
}

/* And what stands before it is on disk. */
static err cut_here(struct ledger_log_reader *r, const struct loaded *s, size_t at, struct diag *reterr)
{
    struct disk *d = r->disk;
    struct disk_file *f;
    err e = d->ops->open(d, s->name, DISK_WRITE, &f, reterr);
    if (e)
        return e;
    e = d->ops->truncate(f, at, reterr);
    d->ops->close(f);
    return e;
}

/* Segment i ends at `at`, and batch ret_last_seq + 1 is not the next one's first. A segment is begun when all
 * before it is safe: one that comes later, empty or not, says that the missing batch was. */
static err end_at(struct ledger_log_reader *r, bool is_last, const struct loaded *here, size_t at,
                  struct diag *reterr)
{
    const uint64_t missing = r->ret_last_seq + 1;
    if (!is_last || was_promised(here, at, missing))
        return refuse_hole(here, at, missing, reterr);
    if (!is_zero(here, at))
        r->ret_torn_bytes = here->len - at;
    return r->cut ? cut_here(r, here, at, reterr) : OK;
}

static err read_from(struct ledger_log_reader *r, const uint64_t *first, size_t i, size_t count,
                     struct diag *reterr)
{
    for (;; i++) {
        struct loaded s;
        size_t at = 0;
        uint64_t next_seq = 0;
        err e = load(r, first[i], &s, reterr);
        if (e)
            return e;
        e = give_batches(r, &s, &at, &next_seq, reterr);
        bool more = i + 1 < count && first[i + 1] == next_seq;
        if (!e && !more && next_seq <= r->after_seq) /* the checkpoint stands on it */
            e = refuse_hole(&s, at, next_seq, reterr);
        if (!e && !more)
            e = end_at(r, i + 1 == count, &s, at, reterr);
        mem_free(s.data);
        if (e || !more)
            return e;
    }
}

err ledger_log_read(struct ledger_log_reader *r, struct diag *reterr)
{
    uint64_t *first;
    size_t count, i = 0;
    r->ret_last_seq = r->after_seq;
    r->ret_torn_bytes = 0;
    err e = segment_list(r->disk, &first, &count, reterr);
    if (e)
        return e;
    while (i + 1 < count && first[i + 1] <= r->after_seq + 1)
        i++;
    if (count && first[i] > r->after_seq + 1) {
        diag_set(reterr,
                 "the log begins with batch %llu, and the checkpoint ends with %llu: files are missing. "
                 "Restore a backup",
                 (unsigned long long)first[i], (unsigned long long)r->after_seq);
        e = ERR_SYNTAX;
    } else if (count) {
        e = read_from(r, first, i, count, reterr);
    }
    mem_free(first);
    return e;
}
