#include "ledger/batch.h"

#include "base/test.h"

/* Whatever a client sends, it is no batch: it does not know the segment's salt. */
static void a_batch_of_another_segment_is_none(void **state)
{
    (void)state;
    char data[BATCH_HEAD_BYTES + 100] = { 0 };
    struct batch_head h = { .magic = BATCH_MAGIC, .bytes = sizeof data, .seq = 1 }, found;
    memcpy(data, &h, sizeof h);
    h.crc = batch_crc(7, data, sizeof data);
    memcpy(data, &h, sizeof h);
    assert_true(batch_is_whole(7, (struct bytes){ data, sizeof data }, &found));
    assert_false(batch_is_whole(8, (struct bytes){ data, sizeof data }, &found));
    data[BATCH_HEAD_BYTES + 50] ^= 1;
    assert_false(batch_is_whole(7, (struct bytes){ data, sizeof data }, &found));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_batch_of_another_segment_is_none) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
