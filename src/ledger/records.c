#include "ledger/records.h"

#include "base/hash.h"
#include "base/mem.h"
#include "ledger/records_internal.h"

#define BUCKETS_MIN 1024
#define MOVES_A_STEP 8 /* buckets of the old table, with each record that is made */
#define MOVES_AHEAD 32 /* whose first record is fetched into the cache; at half of that its second one */

/* ---- the index: buckets, moved bit by bit into a table twice as large ---- */

uint32_t record_hash(uint8_t rules, struct bytes key)
{
    struct hash_key k = hash_key();
    k.k0 ^= rules;
    return (uint32_t)hash_sip13(k, key);
}

static record_bucket *bucket_of(const struct records *rs, uint32_t hash)
{
    if (rs->old.count && (hash & (rs->old.count - 1)) >= rs->moved)
        return &rs->old.buckets[hash & (rs->old.count - 1)];
    return &rs->now.buckets[hash & (rs->now.count - 1)];
}

static void put(record_bucket *b, struct record *r)
{
    r->next = bucket_first(*b);
    *b = bucket_with(*b, r);
}

static void move_some(struct records *rs, unsigned buckets)
{
    for (; rs->old.count && buckets > 0; buckets--) {
        for (struct record *r = bucket_first(rs->old.buckets[rs->moved]), *next; r; r = next) {
            next = r->next;
            put(&rs->now.buckets[r->hash & (rs->now.count - 1)], r);
        }
        rs->old.buckets[rs->moved] = 0;
        if (rs->moved + MOVES_AHEAD < rs->old.count) {
            const struct record *half = bucket_first(rs->old.buckets[rs->moved + MOVES_AHEAD / 2]);
            __builtin_prefetch(bucket_first(rs->old.buckets[rs->moved + MOVES_AHEAD]), 1);
            if (half && half->next)
                __builtin_prefetch(half->next, 1);
        }
        if (++rs->moved < rs->old.count)
            continue;
        mem_free(rs->old.buckets);
        rs->old = (struct record_table){ 0 };
        record_memory_advise(rs->now.buckets, rs->now.count * sizeof *rs->now.buckets);
    }
}

/* A larger table is small pages of zeros until it is touched: nothing waits for it. Huge ones come once it is
 * full (a first touch would have to wait for one, five times as long for as many bytes on a virtual machine).
 */
static void grow_table(struct records *rs)
{
    if (rs->old.count || rs->count < rs->now.count || rs->now.count > UINT32_MAX / 2)
        return;
    record_bucket *buckets = mem_get(rs->now.count * 2 * sizeof *buckets);
    if (!buckets)
        return; /* longer chains, then */
    rs->old = rs->now;
    rs->now = (struct record_table){ buckets, rs->old.count * 2 };
    rs->moved = 0;
}

void record_link(struct records *rs, struct record *r)
{
    const bool was_gone = r->flags & RECORD_GONE;
    if (!was_gone || !(r->flags & RECORD_STORED))
        put(bucket_of(rs, r->hash), r);
    if (was_gone)
        rs->gone_bytes -= record_bytes(r->key_bytes, r->value_bytes);
    r->flags &= (uint16_t)~RECORD_GONE;
    rs->count++;
    rs->of_rules[r->rules]++;
    if (r->due_ms)
        due_heap_set(&rs->due, r);
}

void record_take_out(struct records *rs, struct record *r)
{
    record_bucket *bucket = bucket_of(rs, r->hash), left = 0;
    struct record *first = bucket_first(*bucket), **at = &first;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    r->next = NULL;
    for (const struct record *other = first; other; other = other->next)
        left |= bucket_bit(other->hash);
    *bucket = left | (uintptr_t)first;
}

void record_unlink(struct records *rs, struct record *r)
{
    if (!(r->flags & RECORD_STORED))
        record_take_out(rs, r);
    r->flags |= RECORD_GONE;
    rs->gone_bytes += record_bytes(r->key_bytes, r->value_bytes);
    rs->count--;
    rs->of_rules[r->rules]--;
    due_heap_remove(&rs->due, r);
}

void record_set_dirty(struct records *rs, struct record *r)
{
    if (r->flags & RECORD_DIRTY)
        return;
    r->flags |= RECORD_DIRTY;
    record_list_add(&rs->dirty, r);
}

void record_bury(struct records *rs, struct record *r)
{
    if (!(r->flags & RECORD_GONE) || r->flags & (RECORD_DIRTY | RECORD_FROZEN | RECORD_QUEUED))
        return;
    if (r->flags & RECORD_STORED)
        record_take_out(rs, r);
    rs->gone_bytes -= record_bytes(r->key_bytes, r->value_bytes);
    record_memory_give(&rs->memory, r);
}

/* *ret_gone: it is not there, and the checkpoint's is not to be asked for. */
static struct record *find_here(struct records *rs, uint8_t rules, struct bytes key, uint32_t hash,
                                bool *ret_gone)
{
    const record_bucket bucket = *bucket_of(rs, hash);
    *ret_gone = false;
    if (!(bucket & bucket_bit(hash)))
        return NULL;
    for (struct record *r = bucket_first(bucket); r; r = r->next) {
        if (r->hash != hash || r->rules != rules || !bytes_eq(record_key(r), key))
            continue;
        if (!(r->flags & RECORD_GONE))
            return r;
        *ret_gone = true;
    }
    return NULL;
}

/* r: zeros. */
static void set_head(struct record *r, uint8_t rules, struct bytes key, uint32_t hash, uint32_t value_bytes)
{
    r->hash = hash;
    r->rules = rules;
    r->key_bytes = (uint8_t)key.len;
    r->value_bytes = value_bytes & ((1u << RECORD_VALUE_BITS) - 1);
    if (key.len)
        memcpy(r->data, key.ptr, key.len);
}

/* Not linked. */
static struct record *record_new(struct records *rs, uint8_t rules, struct bytes key, uint32_t hash,
                                 uint32_t value_bytes, uint64_t bytes_max)
{
    size_t bytes = record_bytes((uint8_t)key.len, value_bytes);
    struct record *r = record_memory_take(&rs->memory, bytes, bytes_max);
    if (!r)
        return NULL;
    memset(r, 0, bytes);
    set_head(r, rules, key, hash, value_bytes);
    return r;
}

static bool fits(struct bytes key, size_t value_bytes)
{
    return key.len <= RECORD_KEY_BYTES_MAX && value_bytes <= RECORD_VALUE_BYTES_MAX;
}

void record_set_image(struct record *r, const struct record_image *image, uint32_t hash)
{
    set_head(r, image->rules, image->key, hash, (uint32_t)image->value.len);
    if (image->value.len)
        memcpy(record_value(r), image->value.ptr, image->value.len);
    r->due_ms = image->due_ms;
    r->era = image->era & (RECORD_ERAS - 1);
    r->flags = (uint16_t)(RECORD_STORED | (image->finished ? RECORD_FINISHED : 0) |
                          (image->was_in == RECORD_IN_DONE ? RECORD_LEFT : 0));
}

struct record *record_put_image(struct records *rs, const struct record_image *image)
{
    uint32_t hash = record_hash(image->rules, image->key);
    grow_table(rs);
    move_some(rs, MOVES_A_STEP);
    const size_t bytes = record_bytes((uint8_t)image->key.len, (uint32_t)image->value.len);
    struct record *r = record_memory_take(&rs->memory, bytes, UINT64_MAX);
    if (!r)
        return NULL;
    memset(r, 0, bytes);
    record_set_image(r, image, hash);
    record_link(rs, r);
    return r;
}

/* ---- for rules ---- */

/* One that had left memory; it may leave again. */
static struct record *load_back(struct records *rs, uint8_t rules, struct bytes key)
{
    struct record_image image;
    if (!rs->source.load || !rs->source.load(rs->source.arg, rules, key, &image))
        return NULL;
    struct record *r = record_put_image(rs, &image);
    must(r != NULL);
    rs->loaded_back++;
    record_queue_up(rs, r);
    return r;
}

struct record *record_find_hashed(struct records *rs, uint8_t rules, struct bytes key, uint32_t hash)
{
    if (key.len > RECORD_KEY_BYTES_MAX)
        return NULL;
    bool gone;
    struct record *r = find_here(rs, rules, key, hash, &gone);
    return r || gone ? r : load_back(rs, rules, key);
}

struct record *record_find(struct records *rs, uint8_t rules, struct bytes key)
{
    return record_find_hashed(rs, rules, key, record_hash(rules, key));
}

const struct record *record_look(struct records *rs, uint8_t rules, struct bytes key)
{
    bool gone;
    return find_here(rs, rules, key, record_hash(rules, key), &gone);
}

void record_fetch_bucket(const struct records *rs, uint32_t hash)
{
    __builtin_prefetch(bucket_of(rs, hash));
}

/* Its head and key, and where the value begins. */
void record_fetch(const struct records *rs, uint32_t hash)
{
    const record_bucket bucket = *bucket_of(rs, hash);
    const struct record *r = bucket_first(bucket);
    if (!(bucket & bucket_bit(hash)))
        return;
    __builtin_prefetch(r);
    __builtin_prefetch((const char *)r + 64);
}

struct record *record_make(struct records *rs, uint8_t rules, struct bytes key, uint32_t value_bytes)
{
    return record_make_hashed(rs, rules, key, record_hash(rules, key), value_bytes);
}

struct record *record_make_hashed(struct records *rs, uint8_t rules, struct bytes key, uint32_t hash,
                                  uint32_t value_bytes)
{
    if (!fits(key, value_bytes))
        return NULL;
    grow_table(rs);
    move_some(rs, MOVES_A_STEP);
    struct record *r = record_new(rs, rules, key, hash, value_bytes, records_room(rs));
    if (!r)
        return NULL;
    record_link(rs, r);
    record_set_dirty(rs, r);
    r->flags |= RECORD_TOUCHED;
    journal_add(rs, JOURNAL_MADE, r);
    return r;
}

struct record *record_resize(struct records *rs, struct record *r, uint32_t value_bytes)
{
    if (!fits(BYTES_NONE, value_bytes))
        return NULL;
    if (value_bytes == r->value_bytes) {
        record_write(rs, r);
        return r;
    }
    struct record *n = record_new(rs, r->rules, record_key(r), r->hash, value_bytes, records_room(rs));
    if (!n)
        return NULL;
    record_set_dirty(rs, r);
    uint16_t kept = r->flags & (RECORD_STORED | RECORD_LEFT | RECORD_FINISHED);
    r->flags &= (uint16_t) ~(RECORD_STORED | RECORD_LEFT);
    record_unlink(rs, r);
    memcpy(record_value(n), record_value(r), r->value_bytes < value_bytes ? r->value_bytes : value_bytes);
    n->due_ms = r->due_ms;
    n->era = r->era;
    record_link(rs, n);
    n->flags |= kept;
    record_set_dirty(rs, n);
    n->flags |= RECORD_TOUCHED;
    journal_add(rs, JOURNAL_RESIZED, n)->before = r;
    return n;
}

void record_remove(struct records *rs, struct record *r)
{
    record_set_dirty(rs, r);
    record_unlink(rs, r);
    journal_add(rs, JOURNAL_REMOVED, r);
}

void record_set_due(struct records *rs, struct record *r, uint64_t due_ms)
{
    if (r->due_ms == due_ms)
        return;
    record_write(rs, r);
    r->due_ms = due_ms;
    due_heap_set(&rs->due, r);
}

void record_set_finished(struct records *rs, struct record *r, bool finished)
{
    if (record_is_finished(r) == finished)
        return;
    record_write(rs, r);
    r->flags ^= RECORD_FINISHED;
}

bool record_is_finished(const struct record *r)
{
    return r->flags & RECORD_FINISHED;
}

bool record_is_here(const struct record *r)
{
    return !(r->flags & RECORD_GONE);
}

/* ---- walking ---- */

static void each_in(struct record *r, uint8_t rules, void (*fn)(void *arg, const struct record *r), void *arg)
{
    for (; r; r = r->next) {
        if (r->rules == rules && !(r->flags & RECORD_GONE))
            fn(arg, r);
    }
}

struct each {
    uint8_t rules;
    void (*fn)(void *arg, const struct record *r);
    void *arg;
};

static void each_of_rules(void *arg, const struct record *r)
{
    const struct each *e = arg;
    if (r->rules == e->rules && !(r->flags & RECORD_GONE))
        e->fn(e->arg, r);
}

/* As they lie in memory: from bucket to bucket each would be waited for. */
void record_each(struct records *rs, uint8_t rules, void (*fn)(void *arg, const struct record *r), void *arg)
{
    struct each e = { rules, fn, arg };
    if (rs->of_rules[rules])
        record_memory_each(&rs->memory, each_of_rules, &e);
}

static uint64_t reversed(uint64_t x)
{
    x = ((x >> 1) & 0x5555555555555555) | ((x & 0x5555555555555555) << 1);
    x = ((x >> 2) & 0x3333333333333333) | ((x & 0x3333333333333333) << 2);
    x = ((x >> 4) & 0x0f0f0f0f0f0f0f0f) | ((x & 0x0f0f0f0f0f0f0f0f) << 4);
    return __builtin_bswap64(x);
}

/* The cursor counts in reversed bits (as Redis' SCAN does): when the table has doubled since, the buckets
 * that were seen have split into ones that come before it in that order too. While a table is being moved
 * the rest is moved first. */
void record_scan(struct records *rs, uint8_t rules, uint64_t *cursor, uint32_t wanted,
                 void (*fn)(void *arg, const struct record *r), void *arg)
{
    move_some(rs, UINT32_MAX);
    uint64_t mask = rs->now.count - 1, at = *cursor;
    do {
        struct record *r = bucket_first(rs->now.buckets[at & mask]);
        each_in(r, rules, fn, arg);
        at = reversed(reversed(at | ~mask) + 1);
    } while (at && --wanted);
    *cursor = at;
}

/* ---- life ---- */

err records_open(uint64_t bytes_max, struct records **ret_records)
{
    struct records *rs = mem_get(sizeof *rs);
    record_bucket *buckets = mem_get(BUCKETS_MIN * sizeof *buckets);
    if (!rs || !buckets) {
        mem_free(rs);
        mem_free(buckets);
        return ERR_MEMORY;
    }
    rs->now = (struct record_table){ buckets, BUCKETS_MIN };
    rs->bytes_max = bytes_max;
    *ret_records = rs;
    return OK;
}

err records_expect(struct records *rs, uint64_t count)
{
    uint64_t buckets_count = BUCKETS_MIN;
    while (buckets_count < count && buckets_count < UINT32_MAX)
        buckets_count *= 2;
    record_bucket *buckets = mem_get(buckets_count * sizeof *buckets);
    must(rs->count == 0);
    if (!buckets)
        return ERR_MEMORY;
    record_memory_advise(buckets, buckets_count * sizeof *buckets);
    mem_free(rs->now.buckets);
    rs->now = (struct record_table){ buckets, buckets_count };
    return due_heap_expect(&rs->due, count);
}

void records_close(struct records *rs)
{
    if (!rs)
        return;
    mem_free(rs->dirty.at);
    mem_free(rs->frozen.at);
    mem_free(rs->leaving.list.at);
    mem_free(rs->staying.list.at);
    mem_free(rs->old.buckets);
    mem_free(rs->now.buckets);
    record_memory_close(&rs->memory);
    mem_free(rs->due.at);
    mem_free(rs->journal.at);
    mem_free(rs->journal.images);
    mem_free(rs);
}

struct records_stats records_stats(const struct records *rs)
{
    return (struct records_stats){ .count = rs->count,
                                   .bytes = rs->memory.taken + (rs->now.count + rs->old.count) * 8 +
                                            rs->due.room * sizeof(struct due_entry),
                                   .used = rs->memory.used,
                                   .dirty = rs->dirty.count,
                                   .staying = record_queue_count(&rs->staying),
                                   .gone_bytes = rs->gone_bytes,
                                   .evicted = rs->evicted,
                                   .loaded_back = rs->loaded_back };
}

void records_set_source(struct records *rs, const struct records_source *source)
{
    rs->source = *source;
}

void records_set_unbounded(struct records *rs, bool unbounded)
{
    rs->unbounded = unbounded;
}
