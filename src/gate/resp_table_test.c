#include <ctype.h>

#include "base/test.h"
#include "gate/resp.h"

static void each_command_is_found_in_any_case(void **state)
{
    (void)state;
    for (unsigned i = 0; i < resp_table_count; i++) {
        const struct resp_def *d = &resp_table[i];
        char lower[64];
        size_t n = 0;
        for (; d->name[n]; n++)
            lower[n] = (char)tolower(d->name[n]);
        assert_ptr_equal(resp_find(bytes_from(d->name)), d);
        assert_ptr_equal(resp_find((struct bytes){ lower, n }), d);
        assert_null(resp_find((struct bytes){ lower, n - 1 }) == d ? d : NULL);
        if (i)
            assert_true(strcmp(resp_table[i - 1].name, d->name) < 0);
    }
    assert_null(resp_find(BYTES("")));
    assert_null(resp_find(BYTES("GET\0")));
    assert_null(resp_find(BYTES("ABCDEFGHIJKLMNOPQRSTUVWXYZ")));
}

/* An answer is what its command says, piece by piece. */
static void a_batch_keeps_order(void **state)
{
    (void)state;
    struct arena a;
    struct resp_batch b;
    struct bytes key = BYTES("k");
    arena_open(&a, &arena_heap, 1 << 20, NULL, 0);
    resp_batch_open(&b, &a);
    for (int i = 0; i < 100; i++) {
        resp_add(&b, RESP_PLAIN, "GET", KV_GET, 0, 0, &key, 1);
        resp_fail(&b, "ERR %d\r\n", i);
    }
    assert_int_equal(b.count, 200);
    assert_int_equal(b.commands, 100);
    assert_false(b.full);
    assert_int_equal(b.replies[0].at, KV_OP_BYTES);
    for (unsigned i = 2; i < b.count; i += 2)
        assert_int_equal(b.replies[i].at, b.replies[i - 2].end);
    assert_bytes_equal(b.replies[3].literal, BYTES("-ERR 1  \r\n"));
    arena_close(&a);
    arena_open(&a, &arena_heap, 0, NULL, 0);
    resp_batch_open(&b, &a);
    resp_add(&b, RESP_PLAIN, "GET", KV_GET, 0, 0, &key, 1);
    assert_true(b.full);
    arena_close(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_command_is_found_in_any_case),
        cmocka_unit_test(a_batch_keeps_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
