/* records: the ledger's state in memory: all of it, for the rules of every kind. A record is a key and a
 * value of bytes, small, with a time at which something is due.
 *
 *      buckets [ o ]─▶ record ─▶ record        record: head │ key │ value       due: a heap of those that
 *              [   ]                                                             have a time
 *              [ o ]─▶ record                  changed since the last checkpoint: a list
 *
 * Rules (ledger/rules.h) keep nothing besides: no pointer and no variable of theirs outlives an operation.
 * What a rule changes it announces first (record_write); so an operation that is refused is undone whole, the
 * checkpoint knows what to write, and the same log gives the same records. What is finished leaves memory and
 * comes back by itself when it is looked for.
 *
 * Values have a layout without pointers and without indeterminate padding: they are what stands on disk.
 * Memory comes from a budget in pieces of 1 MiB and is taken again in sizes; the heap is asked for nothing
 * else. One thread: the writer's. */
#pragma once
#include "base/bytes.h"
#include "base/err.h"

#define RECORD_KEY_BYTES_MAX 255
#define RECORD_VALUE_BYTES_MAX (1u << 20)
/* They share a word. */
#define RECORD_VALUE_BITS 21
#define RECORD_ERA_BITS 11
#define RECORD_ERAS (1U << RECORD_ERA_BITS)

struct record {
    struct record *next; /* in its bucket */
    uint64_t due_ms;     /* 0: nothing is due; set by record_set_due */
    uint32_t hash;
    uint32_t value_bytes : RECORD_VALUE_BITS;
    uint32_t era : RECORD_ERA_BITS; /* of the freeze that first told it: where the checkpoint has it */
    uint32_t heap_at;               /* 0: not in the heap */
    uint16_t flags;
    uint8_t rules; /* whose: struct ledger_rules.id */
    uint8_t key_bytes;
    char data[] __attribute__((aligned(8))); /* the key, filled up to 8 bytes with zeros; the value */
};
_Static_assert(RECORD_VALUE_BYTES_MAX < 1u << RECORD_VALUE_BITS && RECORD_VALUE_BITS + RECORD_ERA_BITS == 32,
               "they fit their bits");
_Static_assert(sizeof(struct record) == 32, "there are many of them");

struct records;

static inline struct bytes record_key(const struct record *r)
{
    return (struct bytes){ r->data, r->key_bytes };
}

/* 8-byte aligned. */
static inline void *record_value(const struct record *r)
{
    return (void *)(uintptr_t)(r->data + ((r->key_bytes + 7u) & ~7u));
}

/* ---- for rules */

/* NULL: there is none. */
struct record *record_find(struct records *rs, uint8_t rules, struct bytes key);
/* The same for many keys, whose memory is fetched beforehand: first the hashes and buckets of all of them,
 * then what lies in the buckets, then each is found. Between the steps records may come and go. */
uint32_t record_hash(uint8_t rules, struct bytes key);
void record_fetch_bucket(const struct records *rs, uint32_t hash);
void record_fetch(const struct records *rs, uint32_t hash);
struct record *record_find_hashed(struct records *rs, uint8_t rules, struct bytes key, uint32_t hash);
/* A new one, its value zeroed; there is none with this key. NULL: the budget is used up, or a length is out
 * of bounds: the rule says ERR_LIMIT. */
struct record *record_make(struct records *rs, uint8_t rules, struct bytes key, uint32_t value_bytes);
struct record *record_make_hashed(struct records *rs, uint8_t rules, struct bytes key, uint32_t hash,
                                  uint32_t value_bytes);
/* Before its value is changed; once an operation is enough, more do no harm. */
void record_write(struct records *rs, struct record *r);
/* Another length: what is kept of the value stays, what is new is zeroed. The record may have moved. NULL as
 * above, and the record is as it was. */
struct record *record_resize(struct records *rs, struct record *r, uint32_t value_bytes);
void record_remove(struct records *rs, struct record *r);
/* When its rules' `due` is called; 0: never. Need not be announced. */
void record_set_due(struct records *rs, struct record *r, uint64_t due_ms);
/* Finished: once nothing is due it may leave memory (and is found all the same). Need not be announced;
 * undone by false. */
void record_set_finished(struct records *rs, struct record *r, bool finished);
bool record_is_finished(const struct record *r);

/* Each record of these rules that is in memory, in no order; fn changes nothing. */
void record_each(struct records *rs, uint8_t rules, void (*fn)(void *arg, const struct record *r), void *arg);
/* Some of them from *cursor on (0: the beginning; 0 again: the end), about `wanted`. What is there all the
 * time is given at least once, whatever comes and goes. */
void record_scan(struct records *rs, uint8_t rules, uint64_t *cursor, uint32_t wanted,
                 void (*fn)(void *arg, const struct record *r), void *arg);

/* ---- for the ledger */

/* In memory only; NULL: it is not there, or was removed. */
const struct record *record_look(struct records *rs, uint8_t rules, struct bytes key);
/* false: it was removed (records_each_changed gives those too). */
bool record_is_here(const struct record *r);

/* Where the checkpoint has a record: among those that recovery loads, by era and key, or among those that
 * were left on disk, by key. */
enum record_place { RECORD_IN_NONE, RECORD_IN_OPEN, RECORD_IN_DONE };

/* A record as it stands on disk. */
struct record_image {
    uint8_t rules;
    bool finished;
    uint8_t was_in, goes_to; /* enum record_place: before and after a freeze */
    uint16_t era;            /* of RECORD_IN_OPEN, before or after: an image has one of them */
    uint64_t due_ms;
    struct bytes key, value;
};

/* Where records are that have left memory. */
struct records_source {
    /* false: it is not there. The image is good until the next call. */
    bool (*load)(void *arg, uint8_t rules, struct bytes key, struct record_image *ret_image);
    void *arg;
};

struct records_stats {
    uint64_t count;       /* in memory */
    uint64_t bytes;       /* of memory taken */
    uint64_t used;        /* of that, by records */
    uint64_t dirty;       /* changed since the last freeze */
    uint64_t staying;     /* finished, and not left on disk yet */
    uint64_t gone_bytes;  /* removed, and still to be told to the checkpoint */
    uint64_t evicted;     /* left memory since the start */
    uint64_t loaded_back; /* came back */
};

/* ERR_MEMORY. */
err records_open(uint64_t bytes_max, struct records **ret_records) CHECK_RESULT;
void records_close(struct records *rs);
struct records_stats records_stats(const struct records *rs);
void records_set_source(struct records *rs, const struct records_source *source);
/* Budget or not: while the log is replayed, and for what is due. */
void records_set_unbounded(struct records *rs, bool unbounded);

/* One operation after the other, until all of an entry are kept or undone. */
void records_begin(struct records *rs);
bool records_changed(const struct records *rs);
/* Each that the entry changed or made, before it is kept. */
void records_each_changed(struct records *rs, void (*fn)(void *arg, const struct record *r), void *arg);
void records_keep(struct records *rs);
void records_undo(struct records *rs);

/* The one whose time comes first, by (due, rules, key), if it has come; NULL: none. */
struct record *records_due(struct records *rs, uint64_t now_ms);
/* When there may be one; UINT64_MAX: never. */
uint64_t records_due_next_ms(const struct records *rs);

/* ---- start-up: records as the checkpoint has them, by several threads at once, each with a loader of its
 * own (record_load.c). Nothing else is done with the records from records_expect to records_loaded. */

#define RECORDS_LOADERS_MAX 4
struct records_loader;
/* So many are going to be loaded at most; nothing is there yet. ERR_MEMORY. */
err records_expect(struct records *rs, uint64_t count) CHECK_RESULT;
/* ERR_MEMORY. */
err records_loader_open(struct records *rs, struct records_loader **ret_loader) CHECK_RESULT;
/* ERR_MEMORY, ERR_SYNTAX (lengths, or more of them). */
err records_loader_put(struct records_loader *l, const struct record_image *image,
                       struct record **ret_record) CHECK_RESULT;
/* One by one, when all threads are done. */
void records_loader_close(struct records_loader *l);
void records_loaded(struct records *rs);

/* Tells all that changed since the last freeze; gone: it was removed. What is new to those that recovery
 * loads gets the era: the next one after the last freeze's, so that what comes together stands together (and
 * again from 0 after RECORD_ERAS - 1: any is right). leave: so many finished ones, at most, that stand among
 * those that recovery loads are told besides, to be left on disk, and what finishes is so at once; 0: it
 * stays among them. */
void records_freeze(struct records *rs, uint16_t era, uint64_t leave,
                    void (*fn)(void *arg, const struct record_image *image, bool gone), void *arg);
/* What the last freeze told is on disk: the finished ones among it may leave memory. */
void records_frozen_is_stored(struct records *rs);
/* Lets finished ones go until at most bytes_wanted are in use, or none is left. */
void records_evict(struct records *rs, uint64_t bytes_wanted);
