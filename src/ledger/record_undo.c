/* What an entry has changed so far, so that it can be undone: images of records before their first change,
 * and which were made, removed or moved, in order. */
#include "base/mem.h"
#include "ledger/records_internal.h"

struct journal_entry *journal_add(struct records *rs, enum journal_kind kind, struct record *r)
{
    struct journal *j = &rs->journal;
    if (j->count == j->room) {
        j->room = j->room ? j->room * 2 : 256;
        j->at = mem_must_resize(j->at, j->room * sizeof *j->at);
    }
    struct journal_entry *e = &j->at[j->count++];
    *e = (struct journal_entry){ .kind = kind, .record = r };
    return e;
}

static char *image_room(struct journal *j, size_t bytes)
{
    if (j->images_room - j->images_bytes < bytes) {
        size_t room = j->images_room ? j->images_room : 64 * 1024;
        while (room - j->images_bytes < bytes)
            room *= 2;
        j->images = mem_must_resize(j->images, room);
        j->images_room = room;
    }
    char *at = j->images + j->images_bytes;
    j->images_bytes += bytes;
    return at;
}

void record_write(struct records *rs, struct record *r)
{
    must(!(r->flags & RECORD_GONE));
    if (r->flags & RECORD_TOUCHED)
        return;
    size_t at = rs->journal.images_bytes;
    memcpy(image_room(&rs->journal, r->value_bytes), record_value(r), r->value_bytes);
    struct journal_entry *e = journal_add(rs, JOURNAL_IMAGE, r);
    e->image_at = at;
    e->due_ms = r->due_ms;
    e->flags = r->flags & RECORD_FINISHED;
    r->flags |= RECORD_TOUCHED;
    record_set_dirty(rs, r);
}

void records_begin(struct records *rs)
{
    must(rs->journal.count == 0);
}

bool records_changed(const struct records *rs)
{
    return rs->journal.count != 0;
}

void records_each_changed(struct records *rs, void (*fn)(void *arg, const struct record *r), void *arg)
{
    for (uint64_t i = 0; i < rs->journal.count; i++)
        fn(arg, rs->journal.at[i].record);
}

static void forget(struct journal *j)
{
    j->count = 0;
    j->images_bytes = 0;
}

void records_keep(struct records *rs)
{
    struct journal *j = &rs->journal;
    for (uint64_t i = 0; i < j->count; i++)
        j->at[i].record->flags &= (uint16_t)~RECORD_TOUCHED;
    forget(j);
}

static void undo(struct records *rs, const struct journal_entry *e)
{
    struct record *r = e->record;
    uint16_t stored;
    switch (e->kind) {
    case JOURNAL_IMAGE:
        memcpy(record_value(r), rs->journal.images + e->image_at, r->value_bytes);
        r->flags = (uint16_t)((r->flags & ~(RECORD_FINISHED | RECORD_TOUCHED)) | e->flags);
        r->due_ms = e->due_ms;
        if (!(r->flags & RECORD_GONE))
            due_heap_set(&rs->due, r);
        break;
    case JOURNAL_MADE:
        record_unlink(rs, r);
        break;
    case JOURNAL_REMOVED:
        record_link(rs, r);
        break;
    case JOURNAL_RESIZED:
        stored = r->flags & (RECORD_STORED | RECORD_LEFT);
        r->flags &= (uint16_t) ~(RECORD_STORED | RECORD_LEFT);
        record_unlink(rs, r);
        record_link(rs, e->before);
        e->before->flags |= stored;
        break;
    }
    r->flags &= (uint16_t)~RECORD_TOUCHED;
}

void records_undo(struct records *rs)
{
    struct journal *j = &rs->journal;
    for (uint64_t i = j->count; i-- > 0;)
        undo(rs, &j->at[i]);
    forget(j);
}
