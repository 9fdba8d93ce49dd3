/* checkpoint_order: whatever the keys have in common, their order is that of the tree. */
#include "ledger/checkpoint_order.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/test.h"

#define COUNT 3000

static struct frozen frozen;

/* Some move from one place to the other: those are done twice. */
static unsigned add(uint8_t rules, struct bytes key, uint64_t due_ms, unsigned eras)
{
    const bool gone = random_below(10) == 0;
    const struct record_image image = { .rules = rules,
                                        .key = key,
                                        .due_ms = due_ms,
                                        .was_in = (uint8_t)(eras ? random_below(3) : RECORD_IN_NONE),
                                        .goes_to = (uint8_t)(eras ? 1 + random_below(2) : RECORD_IN_OPEN),
                                        .era = (uint16_t)(eras ? random_below(eras) : 0),
                                        .value = BYTES("v") };
    frozen_add(&frozen, &image, gone);
    return (image.was_in && (gone || image.was_in != image.goes_to)) + 1U - gone;
}

/* Negative or positive; of the same key as they came (due_ms counts). */
static int compare(const struct ordered *x, const struct ordered *y)
{
    bool gone;
    const struct record_image a = checkpoint_ordered_image(x, &gone), b = checkpoint_ordered_image(y, &gone);
    const enum record_place place = checkpoint_ordered_place(x), other = checkpoint_ordered_place(y);
    const size_t common = a.key.len < b.key.len ? a.key.len : b.key.len;
    if (place != other)
        return place < other ? -1 : 1;
    if (place == RECORD_IN_OPEN && a.era != b.era)
        return a.era < b.era ? -1 : 1;
    const int c = a.rules != b.rules ? a.rules - b.rules : memcmp(a.key.ptr, b.key.ptr, common);
    if (c)
        return c;
    if (a.key.len != b.key.len)
        return a.key.len < b.key.len ? -1 : 1;
    return a.due_ms < b.due_ms ? -1 : 1;
}

/* Where it is done follows from what it was and is. */
static void check_place(const struct ordered *o)
{
    bool gone;
    const struct record_image i = checkpoint_ordered_image(o, &gone);
    const enum record_place place = checkpoint_ordered_place(o);
    assert_true(place == (gone ? i.was_in : i.goes_to) || (!gone && place == i.was_in && place));
}

/* The key's n bytes from 0 to letters - 1, behind so many that are the same. One in 100 is another key. */
static void check(unsigned same, unsigned bytes_max, unsigned letters, unsigned kinds, unsigned eras)
{
    struct checkpoint_order o = { 0 };
    char key[RECORD_KEY_BYTES_MAX];
    unsigned count = 0;
    frozen.bytes = frozen.count = 0;
    memset(key, 'k', sizeof key);
    for (uint64_t i = 0; i < COUNT; i++) {
        const unsigned n = random_below(bytes_max + 1);
        for (unsigned b = 0; b < n; b++)
            key[same + b] = (char)random_below(letters);
        const struct bytes k = { key, same + n };
        count += add((uint8_t)(1 + random_below(kinds)), eras && i % 100 == 99 ? BYTES("s") : k, i, eras);
    }
    checkpoint_order(&o, &frozen);
    assert_int_equal(o.count, count);
    for (unsigned i = 0; i < count; i++) {
        check_place(&o.at[i]);
        assert_true(i == 0 || compare(&o.at[i - 1], &o.at[i]) < 0);
    }
    checkpoint_order_close(&o);
}

static void keys_of_all_kinds(void **state)
{
    (void)state;
    random_seed(7);
    for (unsigned eras = 0; eras <= RECORD_ERAS; eras = eras ? eras * 8 : 4) {
        check(0, 20, 256, 3, eras);  /* anything */
        check(0, 3, 2, 1, eras);     /* many of the same key */
        check(10, 12, 10, 2, eras);  /* the same beginning */
        check(30, 200, 3, 2, eras);  /* that is longer than what stands beside */
        check(27, 3, 256, 1, eras);  /* at its end; zeros and nothing look the same there */
        check(100, 0, 1, 200, eras); /* kinds alone */
    }
    mem_free(frozen.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(keys_of_all_kinds) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
