/* stock_test: a ledger without a log, a disk or a thread around stock's rules: entries of one operation, a
 * checkpoint that is a map, memory that is emptied, and starts from what the checkpoint has. */
#pragma once
#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/test.h"
#include "ledger/rules.h"
#include "ledger/stock.h"

struct stored {
    uint64_t due_ms;
    uint32_t value_bytes;
    bool finished;
    char value[];
};

struct little {
    struct records *records;
    struct map disk;    /* key -> struct stored: what the checkpoint has */
    struct map writing; /* the same with what the last freeze told */
    uint64_t id, now_ms;
    char answer[256 * 1024];
    uint32_t answer_bytes;
};

static inline void map_clear(struct map *m)
{
    size_t at = 0;
    struct bytes key;
    void *value;
    while (map_next(m, &at, &key, &value))
        mem_free(value);
    map_close(m);
    map_init(m);
}

static inline void store(void *arg, const struct record_image *image, bool gone)
{
    struct map *m = arg;
    mem_free(map_remove(m, image->key));
    if (gone)
        return;
    struct stored *s = mem_must_get(sizeof *s + image->value.len + 1);
    *s = (struct stored){ image->due_ms, (uint32_t)image->value.len, image->finished };
    memcpy(s->value, image->value.ptr, image->value.len);
    assert_int_equal(map_set(m, image->key, s), OK);
}

static inline struct record_image image_of(struct bytes key, const struct stored *s)
{
    return (struct record_image){ .rules = stock_rules.id,
                                  .finished = s->finished,
                                  .due_ms = s->due_ms,
                                  .key = key,
                                  .value = { s->value, s->value_bytes } };
}

static inline bool little_find(void *arg, uint8_t rules, struct bytes key, struct record_image *ret_image)
{
    const struct stored *s = map_get(arg, key);
    assert_int_equal(rules, stock_rules.id);
    if (s)
        *ret_image = image_of(key, s);
    return s != NULL;
}

static inline void copy_all(const struct map *from, struct map *to)
{
    size_t at = 0;
    struct bytes key;
    void *value;
    map_clear(to);
    while (map_next(from, &at, &key, &value)) {
        const struct record_image image = image_of(key, value);
        store(to, &image, false);
    }
}

static inline void little_open(struct little *l)
{
    *l = (struct little){ .now_ms = 1700000000000 };
    map_init(&l->disk);
    map_init(&l->writing);
    assert_int_equal(records_open(UINT64_MAX, &l->records), OK);
    records_set_source(l->records, &(struct records_source){ little_find, &l->disk });
}

static inline void little_close(struct little *l)
{
    records_close(l->records);
    map_clear(&l->disk);
    map_clear(&l->writing);
    map_close(&l->disk);
    map_close(&l->writing);
}

/* What is due first; then the operation: err of the rules, the answer in l->answer. */
static inline err little_apply(struct little *l, struct bytes op)
{
    struct ledger_apply a = {
        .records = l->records, .now_ms = l->now_ms, .version = stock_rules.version, .answer = l->answer
    };
    for (struct record *r; (r = records_due(l->records, l->now_ms));) {
        records_begin(l->records);
        a.id = ++l->id;
        stock_rules.due(&a, r);
        records_keep(l->records);
    }
    records_begin(l->records);
    a.id = ++l->id;
    a.answer_size = sizeof l->answer;
    const err e = stock_rules.apply(&a, op);
    if (e)
        records_undo(l->records);
    else
        records_keep(l->records);
    l->answer_bytes = a.answer_bytes;
    assert_true(l->answer_bytes <= sizeof l->answer);
    return e;
}

/* A checkpoint; after it what is finished leaves memory, all of it. */
static inline void little_checkpoint(struct little *l)
{
    copy_all(&l->disk, &l->writing);
    records_freeze(l->records, 0, UINT64_MAX, store, &l->writing);
    copy_all(&l->writing, &l->disk);
    records_frozen_is_stored(l->records);
    records_evict(l->records, 0);
}

/* A crash and a start: memory is what the checkpoint has of what is not finished. The caller applies again
 * what came after it. */
static inline void little_restart(struct little *l)
{
    size_t at = 0;
    struct bytes key;
    void *value;
    records_close(l->records);
    assert_int_equal(records_open(UINT64_MAX, &l->records), OK);
    records_set_source(l->records, &(struct records_source){ little_find, &l->disk });
    struct records_loader *loader;
    struct record *r;
    assert_int_equal(records_expect(l->records, l->disk.count), OK);
    assert_int_equal(records_loader_open(l->records, &loader), OK);
    while (map_next(&l->disk, &at, &key, &value)) {
        const struct record_image image = image_of(key, value);
        if (!image.finished)
            assert_int_equal(records_loader_put(loader, &image, &r), OK);
    }
    records_loader_close(loader);
    records_loaded(l->records);
}

/* ---- operations in a line each */

static inline struct stock_answer little_answer(struct little *l)
{
    struct stock_answer a;
    struct bytes rest;
    assert_true(stock_read_answer((struct bytes){ l->answer, l->answer_bytes }, &a, &rest));
    return a;
}

static inline struct bytes little_rest(struct little *l)
{
    return (struct bytes){ l->answer + sizeof(struct stock_answer),
                           l->answer_bytes - sizeof(struct stock_answer) };
}

static inline enum stock_result ask_stock(struct little *l, const struct stock_op *op)
{
    static const err errs[] = {
#define X(id, word, e, meaning) e,
        STOCK_RESULT_LIST(X)
#undef X
    };
    const err e = little_apply(l, stock_op_bytes(op));
    const struct stock_answer a = little_answer(l);
    assert_int_equal(e, errs[a.result]);
    return a.result;
}

static inline enum stock_result reserve_lines(struct little *l, const char *order, const char *user,
                                              unsigned count, const struct stock_line *lines)
{
    struct stock_op op;
    struct stock_reserve r = {
        .order = bytes_from(order), .user = bytes_from(user), .hold_ms = 1000, .count = count
    };
    memcpy(r.lines, lines, count * sizeof *lines);
    stock_write_reserve(&op, &r);
    return ask_stock(l, &op);
}

static inline enum stock_result reserve_one(struct little *l, const char *order, const char *user,
                                            const char *item, uint32_t quantity)
{
    const struct stock_line line = { bytes_from(item), quantity };
    return reserve_lines(l, order, user, 1, &line);
}

static inline enum stock_result move_to(struct little *l, const char *order, enum stock_move move)
{
    struct stock_op op;
    stock_write_move(&op, bytes_from(order), move);
    return ask_stock(l, &op);
}

static inline enum stock_result set_item(struct little *l, const struct stock_item_change *c)
{
    struct stock_op op;
    stock_write_item(&op, c);
    return ask_stock(l, &op);
}

static inline struct stock_item item_now(struct little *l, const char *name)
{
    struct stock_op op;
    struct stock_item_shown s;
    stock_write_look_item(&op, bytes_from(name));
    assert_int_equal(ask_stock(l, &op), STOCK_DONE);
    struct bytes rest = little_rest(l);
    assert_true(stock_read_item(&rest, &s));
    assert_bytes_equal(s.name, bytes_from(name));
    assert_int_equal(rest.len, 0);
    return s.item;
}

/* Texts in l->answer. */
static inline struct stock_order_shown order_now(struct little *l, const char *id)
{
    struct stock_op op;
    struct stock_order_shown s;
    stock_write_look_order(&op, bytes_from(id));
    assert_int_equal(ask_stock(l, &op), STOCK_DONE);
    struct bytes rest = little_rest(l);
    assert_true(stock_read_order(&rest, &s));
    assert_int_equal(rest.len, 0);
    return s;
}

static inline struct stock_sums sums_now(struct little *l)
{
    struct stock_op op;
    struct stock_sums s;
    stock_write_look_sums(&op);
    assert_int_equal(ask_stock(l, &op), STOCK_DONE);
    struct bytes rest = little_rest(l);
    assert_true(stock_read_sums(&rest, &s));
    return s;
}

static inline void all_is_well(struct little *l)
{
    char text[300];
    struct diag d = DIAG_NONE;
    if (!stock_rules.check(l->records, &d))
        fail_msg("%s", diag_print(&d, text, sizeof text));
}
