/* records_internal: what the files of records share. The writer's thread. */
#pragma once
#include "base/must.h"
#include "ledger/records.h"

enum record_flag {
    RECORD_GONE = 1,   /* removed. While the checkpoint still has it (STORED) it stays in its bucket, so that
                        * nobody looks there; its memory waits until no list names it */
    RECORD_DIRTY = 2,  /* in the list of those that changed */
    RECORD_FROZEN = 4, /* in the list of those that the checkpoint is writing */
    RECORD_STORED = 8, /* the checkpoint has one with this key, or will have with the freeze under way */
    RECORD_FINISHED = 16, /* may leave memory */
    RECORD_QUEUED = 32,   /* in the list of those that may leave, or of those that stay */
    RECORD_TOUCHED = 64,  /* the journal has its image, or that it is new */
    RECORD_LEFT = 128,    /* of a STORED one: among those that were left on disk */
    RECORD_FREE = 256,    /* no record any more: memory to be taken */
};

/* ---- memory: pieces of 1 MiB, cut into records; a large record has a piece of its own */

#define RECORD_SIZES 96
struct record_piece {
    struct record_piece *next, *before; /* before: of large ones */
    size_t bytes;                       /* with this head */
    char *at;                           /* up to here it is cut into records */
    char *ready;                        /* up to here its pages are there */
};
#define RECORD_RESTS 16
struct record_memory {
    struct record_piece *pieces, *large;
    struct record_piece *now;                 /* of pieces: what is cut next */
    struct record_piece *rests[RECORD_RESTS]; /* and for when that is used up */
    unsigned rests_count;
    bool filling; /* all of a piece is used at once: start-up */
    struct record *free[RECORD_SIZES];
    uint64_t taken; /* bytes of all pieces */
    uint64_t used;  /* bytes handed out */
};
/* NULL: it would need more than bytes_max in all. What it holds is zeros or an earlier record. */
struct record *record_memory_take(struct record_memory *m, size_t bytes, uint64_t bytes_max);
/* r has its lengths. */
void record_memory_give(struct record_memory *m, struct record *r);
/* Each record that has been taken, in the order of memory; fn takes and gives none. */
void record_memory_each(const struct record_memory *m, void (*fn)(void *arg, const struct record *r),
                        void *arg);
/* What taking so many bytes really takes. */
size_t record_memory_room(size_t bytes);
/* So much memory that is used here and there. */
void record_memory_advise(void *memory, size_t bytes);
/* All that the other one has is m's. */
void record_memory_join(struct record_memory *m, struct record_memory *other);
void record_memory_close(struct record_memory *m);

/* A list that grows by doubling; on the heap. */
struct record_list {
    struct record **at;
    uint64_t count, room;
};
void record_list_add(struct record_list *l, struct record *r);
void record_list_join(struct record_list *l, struct record_list *other);

/* One that is taken from in front. */
struct record_queue {
    struct record_list list;
    uint64_t first;
};
static inline uint64_t record_queue_count(const struct record_queue *q)
{
    return q->list.count - q->first;
}

/* ---- when something is due */

struct due_entry {
    uint64_t due_ms; /* at most the record's own: a later time is not moved before it comes up */
    struct record *record;
};
struct due_heap {
    struct due_entry *at;
    uint64_t count, room;
};
void due_heap_set(struct due_heap *h, struct record *r);
/* Start-up: at most `count` are filled in, in no order, by several threads, each into windows of its own
 * (which need not become full), until due_heap_order. ERR_MEMORY. */
#define DUE_WINDOW 64
struct due_window {
    struct due_entry *at, *end;
};
err due_heap_expect(struct due_heap *h, uint64_t count) CHECK_RESULT;
/* false: there are more than were expected. */
bool due_heap_window(struct due_heap *h, struct due_window *ret_window);
void due_heap_order(struct due_heap *h);
void due_heap_remove(struct due_heap *h, struct record *r);

/* ---- the index */

/* A bucket is its first record's address, and above that a bit for each of its records' hashes: what is not
 * there is mostly known without a look at what is. */
#define BUCKET_ADDRESS_BITS 48
typedef uint64_t record_bucket;
static inline struct record *bucket_first(record_bucket b)
{
    return (struct record *)(uintptr_t)(b & ((UINT64_C(1) << BUCKET_ADDRESS_BITS) - 1));
}
static inline record_bucket bucket_bit(uint32_t hash)
{
    return UINT64_C(1) << (BUCKET_ADDRESS_BITS + (hash >> 28));
}
/* With r in front, whose next is bucket_first(b). */
static inline record_bucket bucket_with(record_bucket b, const struct record *r)
{
    const uint64_t address = (uintptr_t)r;
    must(address >> BUCKET_ADDRESS_BITS == 0);
    return b >> BUCKET_ADDRESS_BITS << BUCKET_ADDRESS_BITS | bucket_bit(r->hash) | address;
}

struct record_table {
    record_bucket *buckets;
    uint64_t count; /* of buckets: a power of two, or 0 */
};

enum journal_kind { JOURNAL_IMAGE, JOURNAL_MADE, JOURNAL_REMOVED, JOURNAL_RESIZED };
struct journal_entry {
    struct record *record;
    struct record *before; /* of JOURNAL_RESIZED */
    uint64_t due_ms;       /* of JOURNAL_IMAGE */
    size_t image_at;       /* into images */
    enum journal_kind kind;
    uint16_t flags;
};
struct journal {
    struct journal_entry *at;
    uint64_t count, room;
    char *images;
    size_t images_bytes, images_room;
};

struct records {
    struct record_table now, old; /* old: what has not been moved yet */
    uint64_t moved;               /* buckets of old */
    uint64_t count, loaded_back, evicted, gone_bytes;
    uint64_t of_rules[256]; /* count, by rules */
    struct record_memory memory;
    uint64_t bytes_max;
    bool unbounded;
    struct due_heap due;
    struct record_list dirty, frozen;
    struct record_queue leaving; /* finished and left on disk: may go at any time */
    struct record_queue staying; /* finished, among what recovery loads: have to be left on disk before */
    struct journal journal;
    struct records_source source;
};

static inline size_t record_bytes(uint8_t key_bytes, uint32_t value_bytes)
{
    return sizeof(struct record) + ((key_bytes + 7u) & ~7u) + value_bytes;
}

/* What has a time is loaded at start, finished or not. */
static inline bool record_may_be_left(const struct record *r)
{
    return r->flags & RECORD_FINISHED && !r->due_ms;
}

static inline uint64_t records_room(const struct records *rs)
{
    return rs->unbounded ? UINT64_MAX : rs->bytes_max;
}

/* ---- the journal (record_undo.c) */

struct journal_entry *journal_add(struct records *rs, enum journal_kind kind, struct record *r);

/* ---- the index (records.c) */

/* Into its bucket, new or removed; and removed (which it stays aware of while it is STORED). */
void record_link(struct records *rs, struct record *r);
void record_unlink(struct records *rs, struct record *r);
/* Out of its bucket. */
void record_take_out(struct records *rs, struct record *r);
void record_set_dirty(struct records *rs, struct record *r);
/* Into one of the queues, if it may leave and is in none. */
void record_queue_up(struct records *rs, struct record *r);
/* r: zeros. */
void record_set_image(struct record *r, const struct record_image *image, uint32_t hash);
/* A record as it stands on disk. NULL: no memory. */
struct record *record_put_image(struct records *rs, const struct record_image *image);
/* Gives the memory of a record that is gone back once no list names it. */
void record_bury(struct records *rs, struct record *r);
