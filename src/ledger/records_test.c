/* Records against a plain model: every change, undone or kept, frozen, evicted, loaded back. */
#include "ledger/records.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/must.h"
#include "base/test.h"

#define KEYS 300
#define STEPS 200000

struct model {
    bool exists, finished;
    uint8_t place; /* on disk */
    uint16_t era;
    uint32_t bytes;
    uint64_t due_ms;
    unsigned char fill;
};

static struct model now[KEYS], kept[KEYS], disk[KEYS], writing[KEYS];

static struct bytes key_of(unsigned i, char out[16])
{
    memcpy(out, "key-00000000000", 16);
    out[5] = (char)('a' + i % 26);
    out[6] = (char)('a' + i / 26);
    return (struct bytes){ out, 8 + i % 8 };
}

static unsigned number_of(struct bytes key)
{
    return (unsigned)(key.ptr[5] - 'a') + (unsigned)(key.ptr[6] - 'a') * 26;
}

static bool load(void *arg, uint8_t rules, struct bytes key, struct record_image *ret_image)
{
    static char value[4096];
    const struct model *m = &((struct model *)arg)[number_of(key)];
    if (!m->exists || m->place != RECORD_IN_DONE)
        return false;
    memset(value, m->fill, m->bytes);
    *ret_image = (struct record_image){ .rules = rules,
                                        .finished = m->finished,
                                        .was_in = RECORD_IN_DONE,
                                        .due_ms = m->due_ms,
                                        .key = key,
                                        .value = { value, m->bytes } };
    return true;
}

static void write_image(void *arg, const struct record_image *image, bool gone)
{
    struct model *m = &((struct model *)arg)[number_of(image->key)];
    assert_int_equal(image->was_in, m->exists ? m->place : RECORD_IN_NONE);
    if (image->was_in == RECORD_IN_OPEN)
        assert_int_equal(image->era, m->era);
    *m = (struct model){ 0 };
    if (!gone)
        *m = (struct model){ .exists = true,
                             .finished = image->finished,
                             .place = image->goes_to,
                             .era = image->era,
                             .bytes = (uint32_t)image->value.len,
                             .due_ms = image->due_ms,
                             .fill = image->value.len ? (unsigned char)image->value.ptr[0] : 0 };
}

static void same(const struct record *r, const struct model *m)
{
    assert_int_equal(r != NULL, m->exists);
    if (!r)
        return;
    assert_int_equal(r->value_bytes, m->bytes);
    assert_int_equal(r->due_ms, m->due_ms);
    assert_int_equal(record_is_finished(r), m->finished);
    for (uint32_t i = 0; i < m->bytes; i++)
        assert_int_equal(((unsigned char *)record_value(r))[i], m->fill);
}

static void fill(struct record *r, struct model *m)
{
    m->fill = (unsigned char)random_below(256);
    memset(record_value(r), m->fill, r->value_bytes);
}

static void change(struct records *rs)
{
    char text[16];
    unsigned i = random_below(KEYS);
    struct bytes key = key_of(i, text);
    struct model *m = &now[i];
    struct record *r = record_find(rs, 1, key);
    same(r, m);
    unsigned what = random_below(6);
    if (!r) {
        *m = (struct model){ .exists = true, .bytes = random_below(600) };
        r = record_make(rs, 1, key, m->bytes);
        assert_non_null(r);
        fill(r, m);
    } else if (what == 0) {
        record_remove(rs, r);
        *m = (struct model){ 0 };
    } else if (what == 1) {
        uint32_t bytes = random_below(600);
        r = record_resize(rs, r, bytes);
        assert_non_null(r);
        m->bytes = bytes;
        record_write(rs, r);
        fill(r, m);
    } else if (what == 2) {
        m->due_ms = random_below(3) ? 1 + random_below(1000) : 0;
        record_set_due(rs, r, m->due_ms);
    } else if (what == 3) {
        m->finished = random_below(2);
        record_set_finished(rs, r, m->finished);
    } else {
        record_write(rs, r);
        fill(r, m);
    }
}

static void one_entry(struct records *rs)
{
    memcpy(kept, now, sizeof now);
    records_begin(rs);
    for (unsigned n = random_below(5); n > 0; n--)
        change(rs);
    if (random_below(3)) {
        records_keep(rs);
        return;
    }
    records_undo(rs);
    memcpy(now, kept, sizeof now);
    assert_false(records_changed(rs));
}

/* The first due by time and key; what has a time never leaves memory. */
static void check_due(struct records *rs, uint64_t at_ms)
{
    char text[16], other[16];
    int first = -1;
    for (unsigned i = 0; i < KEYS; i++) {
        const struct model *m = &now[i];
        if (!m->exists || !m->due_ms || m->due_ms > at_ms)
            continue;
        if (first < 0 || m->due_ms < now[first].due_ms) {
            first = (int)i;
            continue;
        }
        struct bytes a = key_of(i, text), b = key_of((unsigned)first, other);
        size_t common = a.len < b.len ? a.len : b.len;
        int c = memcmp(a.ptr, b.ptr, common);
        if (m->due_ms == now[first].due_ms && (c < 0 || (c == 0 && a.len < b.len)))
            first = (int)i;
    }
    const struct record *r = records_due(rs, at_ms);
    assert_int_equal(r != NULL, first >= 0);
    if (r)
        assert_int_equal(number_of(record_key(r)), first);
}

static void count_one(void *arg, const struct record *r)
{
    ((unsigned *)arg)[number_of(record_key(r))]++;
}

static void follows_the_model(void **state)
{
    (void)state;
    struct records *rs;
    char text[16];
    bool frozen = false;
    uint64_t seed = 20260102;
    random_seed(seed);
    assert_int_equal(records_open(UINT64_MAX, &rs), OK);
    records_set_source(rs, &(struct records_source){ load, disk });
    for (unsigned step = 0; step < STEPS; step++) {
        one_entry(rs);
        if (random_below(100) == 0 && !frozen) {
            memcpy(writing, disk, sizeof disk);
            records_freeze(rs, (uint16_t)random_below(RECORD_ERAS), random_below(2) * random_below(50),
                           write_image, writing);
            frozen = true;
        } else if (random_below(50) == 0 && frozen) {
            memcpy(disk, writing, sizeof disk);
            records_frozen_is_stored(rs);
            frozen = false;
        } else if (random_below(100) == 0) {
            records_evict(rs, random_below(20000));
        } else if (random_below(20) == 0) {
            check_due(rs, random_below(1000));
        }
    }
    for (unsigned i = 0; i < KEYS; i++)
        same(record_find(rs, 1, key_of(i, text)), &now[i]);
    assert_true(records_stats(rs).evicted > 1000);
    assert_true(records_stats(rs).loaded_back > 1000);
    unsigned seen[KEYS] = { 0 };
    record_each(rs, 1, count_one, seen);
    for (unsigned i = 0; i < KEYS; i++)
        assert_int_equal(seen[i], now[i].exists);
    records_close(rs);
}

static void count_all(void *arg, const struct record *r)
{
    (void)r;
    ++*(unsigned *)arg;
}

static void what_stays_is_given_when_others_go(void **state)
{
    (void)state;
    struct records *rs;
    struct record *large = NULL;
    unsigned count = 0;
    assert_int_equal(records_open(UINT64_MAX, &rs), OK);
    records_begin(rs);
    for (uint32_t i = 0; i < 4; i++)
        large = record_make(rs, 1, (struct bytes){ (char *)&i, sizeof i }, i < 3 ? 8 : 100000);
    assert_non_null(record_resize(rs, large, 100001));
    for (uint32_t i = 0; i < 2; i++)
        record_remove(rs, record_find(rs, 1, (struct bytes){ (char *)&i, sizeof i }));
    records_keep(rs);
    record_each(rs, 1, count_all, &count);
    assert_int_equal(count, 2);
    const uint32_t third = 2;
    record_remove(rs, record_find(rs, 1, (struct bytes){ (const char *)&third, sizeof third }));
    count = 0;
    record_each(rs, 1, count_all, &count);
    assert_int_equal(count, 1);
    records_close(rs);
}

static void scan_one(void *arg, const struct record *r)
{
    uint32_t i;
    memcpy(&i, record_key(r).ptr, sizeof i);
    ((unsigned *)arg)[i]++;
}

static void a_scan_gives_all_once_while_the_table_grows(void **state)
{
    (void)state;
    enum { STAYING = 5000, COMING = 40000 };
    static unsigned seen[STAYING + COMING];
    struct records *rs;
    uint64_t cursor = 0;
    unsigned made = 0;
    assert_int_equal(records_open(UINT64_MAX, &rs), OK);
    records_begin(rs);
    for (; made < STAYING; made++)
        assert_non_null(record_make(rs, 3, (struct bytes){ (char *)&made, 4 }, 4));
    records_keep(rs);
    do {
        for (unsigned i = 0; i < 64 && made < STAYING + COMING; i++, made++)
            assert_non_null(record_make(rs, 3, (struct bytes){ (char *)&made, 4 }, 4));
        records_keep(rs);
        record_scan(rs, 3, &cursor, 10, scan_one, seen);
    } while (cursor);
    for (unsigned i = 0; i < STAYING; i++)
        assert_int_equal(seen[i], 1); /* in another order some would come again */
    records_close(rs);
}

/* At any moment of the table's growth. */
static void closing_gives_all_back(void **state)
{
    (void)state;
    for (unsigned count = 900; count < 1400; count += 7) {
        struct records *rs;
        assert_int_equal(records_open(UINT64_MAX, &rs), OK);
        records_begin(rs);
        for (unsigned i = 0; i < count; i++)
            assert_non_null(record_make(rs, 3, (struct bytes){ (char *)&i, 4 }, i % 50 ? 4 : 100000));
        records_keep(rs);
        records_close(rs);
    }
}

static void the_budget_is_kept(void **state)
{
    (void)state;
    struct records *rs;
    uint64_t made = 0;
    assert_int_equal(records_open(8u << 20, &rs), OK);
    records_begin(rs);
    while (record_make(rs, 1, (struct bytes){ (char *)&made, 8 }, 1000))
        made++;
    assert_true(made > 6000 && made < 8u * 1024);
    assert_true(records_stats(rs).bytes <= (8u << 20) + (1u << 20));
    assert_null(record_make(rs, 1, BYTES("large"), RECORD_VALUE_BYTES_MAX));
    assert_null(record_make(rs, 1, BYTES("too large"), RECORD_VALUE_BYTES_MAX + 1));
    records_undo(rs);
    assert_int_equal(records_stats(rs).count, 0);
    records_freeze(rs, 0, 0, write_image, writing); /* what was undone gives its memory back here */
    records_frozen_is_stored(rs);
    assert_non_null(record_make(rs, 1, BYTES("again"), 1000));
    records_keep(rs);
    records_set_unbounded(rs, true);
    assert_non_null(record_make(rs, 1, BYTES("large"), RECORD_VALUE_BYTES_MAX));
    records_keep(rs);
    records_close(rs);
}

/* ---- start-up ---- */

enum { LOADERS = RECORDS_LOADERS_MAX, EACH_LOADS = 20011 };
struct load_part {
    struct records_loader *loader;
    unsigned number;
    pthread_t thread;
};

static uint64_t due_of(uint32_t i)
{
    return i % 3 ? 1 + i * UINT64_C(2654435761) % 1000 : 0;
}

static struct record_image loaded_image(const uint32_t *i)
{
    static const char value[100000] = "value"; /* some are pieces of their own */
    return (struct record_image){ .rules = (uint8_t)(1 + *i % 2),
                                  .due_ms = due_of(*i),
                                  .was_in = RECORD_IN_OPEN,
                                  .key = { (const char *)i, sizeof *i },
                                  .value = { value, *i % 5000 ? *i % 300 : sizeof value } };
}

static void *load_part(void *arg)
{
    const struct load_part *p = arg;
    struct record *r;
    for (uint32_t n = 0; n < EACH_LOADS; n++) {
        const uint32_t i = n * LOADERS + p->number;
        const struct record_image image = loaded_image(&i);
        must(records_loader_put(p->loader, &image, &r) == OK);
    }
    return NULL;
}

static void count_rules(void *arg, const struct record *r)
{
    ((uint64_t *)arg)[r->rules]++;
}

static void come_due_in_order(struct records *rs)
{
    uint64_t before = 0, found = 0, wanted = 0;
    for (uint32_t i = 0; i < LOADERS * EACH_LOADS; i++)
        wanted += due_of(i) != 0;
    records_begin(rs);
    for (struct record *r; (r = records_due(rs, UINT64_MAX)); found++) {
        assert_true(r->due_ms >= before);
        before = r->due_ms;
        record_set_due(rs, r, 0);
    }
    records_keep(rs);
    assert_int_equal(found, wanted);
}

static void threads_load_together(void **state)
{
    (void)state;
    struct load_part parts[LOADERS];
    struct records *rs;
    const uint32_t all = LOADERS * EACH_LOADS;
    uint64_t counts[256] = { 0 };
    assert_int_equal(records_open(UINT64_MAX, &rs), OK);
    assert_int_equal(records_expect(rs, all), OK);
    for (unsigned i = 0; i < LOADERS; i++) {
        parts[i].number = i;
        assert_int_equal(records_loader_open(rs, &parts[i].loader), OK);
        assert_int_equal(pthread_create(&parts[i].thread, NULL, load_part, &parts[i]), 0);
    }
    for (unsigned i = 0; i < LOADERS; i++)
        pthread_join(parts[i].thread, NULL);
    for (unsigned i = 0; i < LOADERS; i++)
        records_loader_close(parts[i].loader);
    records_loaded(rs);
    assert_int_equal(records_stats(rs).count, all);
    record_each(rs, 1, count_rules, counts);
    record_each(rs, 2, count_rules, counts);
    assert_int_equal(counts[1], all / 2);
    assert_int_equal(counts[2], all / 2);
    for (uint32_t i = 0; i < all; i++) {
        const struct record_image image = loaded_image(&i);
        struct record *r = record_find(rs, image.rules, image.key);
        assert_non_null(r);
        assert_int_equal(r->value_bytes, image.value.len);
        assert_memory_equal(record_value(r), image.value.ptr, image.value.len);
    }
    come_due_in_order(rs);
    const uint64_t taken = records_stats(rs).bytes; /* what loaders have left over is used up first */
    records_begin(rs);
    for (uint32_t i = all; i < all + 100; i++)
        assert_non_null(record_make(rs, 1, (struct bytes){ (char *)&i, sizeof i }, 1000));
    records_keep(rs);
    assert_int_equal(records_stats(rs).bytes, taken);
    records_close(rs);
}

static void more_than_expected_is_refused(void **state)
{
    (void)state;
    struct records *rs;
    struct records_loader *l;
    struct record *r;
    uint32_t i = 1;
    assert_int_equal(records_open(UINT64_MAX, &rs), OK);
    assert_int_equal(records_expect(rs, 1), OK);
    assert_int_equal(records_loader_open(rs, &l), OK);
    const struct record_image image = { .rules = 1, .due_ms = 5, .key = { (char *)&i, sizeof i } };
    err e = OK;
    for (; !e && i < 10000; i++)
        e = records_loader_put(l, &image, &r);
    assert_int_equal(e, ERR_SYNTAX);
    records_loader_close(l);
    records_close(rs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_model),
        cmocka_unit_test(a_scan_gives_all_once_while_the_table_grows),
        cmocka_unit_test(closing_gives_all_back),
        cmocka_unit_test(the_budget_is_kept),
        cmocka_unit_test(what_stays_is_given_when_others_go),
        cmocka_unit_test(threads_load_together),
        cmocka_unit_test(more_than_expected_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
