/* store_test: a checkpoint's store in memory: two maps, what is on disk and what a reader sees of it. For
 * simulations, in which a crash falls between the two. */
#pragma once
#include "base/map.h"
#include "base/mem.h"
#include "base/must.h"
#include "ledger/checkpoint.h"
#include "ledger/machine.h"

struct stored {
    uint8_t place; /* enum record_place */
    uint16_t era;
    bool finished;
    uint64_t due_ms;
    uint32_t bytes;
    char value[];
};

struct store {
    struct map disk, seen;
    struct checkpoint_state state; /* of disk */
};

#define STORED_KEY_BYTES_MAX (RECORD_KEY_BYTES_MAX + 1)

static inline struct bytes stored_key(uint8_t rules, struct bytes key, char out[STORED_KEY_BYTES_MAX])
{
    must(key.len < STORED_KEY_BYTES_MAX);
    out[0] = (char)rules;
    memcpy(out + 1, key.ptr, key.len);
    return (struct bytes){ out, key.len + 1 };
}

static inline void store_write(struct map *m, const struct record_image *image, bool gone)
{
    char text[STORED_KEY_BYTES_MAX];
    struct bytes key = stored_key(image->rules, image->key, text);
    struct stored *s = map_remove(m, key);
    must(image->was_in == (s ? s->place : RECORD_IN_NONE));
    must(image->was_in != RECORD_IN_OPEN || image->era == s->era);
    mem_free(s);
    if (gone)
        return;
    s = mem_must_get(sizeof *s + image->value.len);
    s->place = image->goes_to;
    s->era = image->era;
    s->finished = image->finished;
    s->due_ms = image->due_ms;
    s->bytes = (uint32_t)image->value.len;
    if (s->bytes)
        memcpy(s->value, image->value.ptr, s->bytes);
    must(map_set(m, key, s) == OK);
}

static inline void store_apply(struct map *m, const struct frozen *f)
{
    struct record_image image;
    bool gone;
    for (size_t at = 0; frozen_next(f, &at, &image, &gone);)
        store_write(m, &image, gone);
}

/* It is on disk: checkpoint_ops.commit. A reader does not see it yet. */
static inline void store_commit(struct store *s, const struct frozen *f)
{
    store_apply(&s->disk, f);
    s->state = f->state;
}

/* checkpoint_ops.renew. */
static inline void store_renew(struct store *s, const struct frozen *f)
{
    store_apply(&s->seen, f);
}

static inline struct record_image image_of(struct bytes key, const struct stored *s)
{
    return (struct record_image){ .rules = (uint8_t)key.ptr[0],
                                  .finished = s->finished,
                                  .was_in = s->place,
                                  .era = s->era,
                                  .due_ms = s->due_ms,
                                  .key = bytes_skip(key, 1),
                                  .value = { s->value, s->bytes } };
}

static inline bool store_find(void *arg, uint8_t rules, struct bytes key, struct record_image *ret_image)
{
    char text[STORED_KEY_BYTES_MAX];
    struct store *store = arg;
    struct bytes k = stored_key(rules, key, text);
    const struct stored *s = map_get(&store->seen, k);
    if (!s || s->place != RECORD_IN_DONE)
        return false;
    *ret_image = image_of(k, s);
    ret_image->key = key;
    return true;
}

static inline void store_clear(struct map *m)
{
    struct bytes key;
    void *value;
    for (size_t at = 0; map_next(m, &at, &key, &value);)
        mem_free(value);
    map_close(m);
    map_init(m);
}

/* After a crash a reader sees what is on disk; the open ones are loaded. */
static inline void store_load(struct store *s, struct machine *m, struct board *b)
{
    struct bytes key;
    void *value;
    struct machine_load load;
    store_clear(&s->seen);
    must(machine_load_begin(&load, m, b, s->disk.count, 1) == OK);
    for (size_t at = 0; map_next(&s->disk, &at, &key, &value);) {
        const struct stored *from = value;
        struct stored *copy = mem_must_get(sizeof *copy + from->bytes);
        memcpy(copy, from, sizeof *copy + from->bytes);
        must(map_set(&s->seen, key, copy) == OK);
        struct record_image image = image_of(key, copy);
        if (copy->place == RECORD_IN_OPEN)
            must(machine_load(&load, 0, &image) == OK);
    }
    machine_load_end(&load);
    machine_set(m, s->state.seq, s->state.time_ms, s->state.next_id);
    records_set_source(m->records, &(struct records_source){ store_find, s });
}

static inline void store_open(struct store *s)
{
    map_init(&s->disk);
    map_init(&s->seen);
    s->state = (struct checkpoint_state){ .next_id = 1 };
}

static inline void store_close(struct store *s)
{
    store_clear(&s->disk);
    store_clear(&s->seen);
    map_close(&s->disk);
    map_close(&s->seen);
}
