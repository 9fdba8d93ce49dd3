/* checkpoint_order: whatever the keys have in common, their order is that of the tree. */
#include "ledger/checkpoint_order.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/test.h"

#define COUNT 3000

static struct frozen frozen;

static void add(uint8_t rules, struct bytes key, uint64_t due_ms)
{
    const struct record_image image = { .rules = rules, .key = key, .due_ms = due_ms, .value = BYTES("v") };
    frozen_add(&frozen, &image, false);
}

/* Negative, 0, positive; of the same key as they came (due_ms counts). */
static int compare(const struct record_image *a, const struct record_image *b)
{
    const size_t common = a->key.len < b->key.len ? a->key.len : b->key.len;
    const int c = a->rules != b->rules ? a->rules - b->rules : memcmp(a->key.ptr, b->key.ptr, common);
    if (c)
        return c;
    if (a->key.len != b->key.len)
        return a->key.len < b->key.len ? -1 : 1;
    return a->due_ms < b->due_ms ? -1 : 1;
}

/* The key's n bytes from 0 to letters - 1, behind so many that are the same. */
static void check(unsigned same, unsigned bytes_max, unsigned letters, unsigned kinds)
{
    struct checkpoint_order o = { 0 };
    char key[RECORD_KEY_BYTES_MAX];
    bool gone;
    frozen.bytes = frozen.count = 0;
    memset(key, 'k', sizeof key);
    for (uint64_t i = 0; i < COUNT; i++) {
        const unsigned n = random_below(bytes_max + 1);
        for (unsigned b = 0; b < n; b++)
            key[same + b] = (char)random_below(letters);
        add((uint8_t)(1 + random_below(kinds)), (struct bytes){ key, same + n }, i);
    }
    checkpoint_order(&o, &frozen);
    for (unsigned i = 1; i < COUNT; i++) {
        const struct record_image before = checkpoint_ordered_image(o.at[i - 1].item, &gone),
                                  at = checkpoint_ordered_image(o.at[i].item, &gone);
        assert_true(compare(&before, &at) < 0);
    }
    checkpoint_order_close(&o);
}

static void keys_of_all_kinds(void **state)
{
    (void)state;
    random_seed(7);
    check(0, 20, 256, 3);  /* anything */
    check(0, 3, 2, 1);     /* many of the same key */
    check(10, 12, 10, 2);  /* the same beginning */
    check(30, 200, 3, 2);  /* that is longer than what stands beside */
    check(22, 2, 256, 1);  /* at its end; zeros and nothing look the same there */
    check(100, 0, 1, 200); /* kinds alone */
    mem_free(frozen.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(keys_of_all_kinds) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
