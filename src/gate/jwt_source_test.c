#include "gate/jwt_source.h"

#include "base/must.h"
#include "base/test.h"

#if WEIR_HAVE_OPENSSL && WEIR_HAVE_JANSSON
static void pauses_grow_up_to_refresh(void **state)
{
    (void)state;
    static const struct {
        unsigned failures;
        uint64_t pause_ms;
    } cases[] = { { 0, 60000 }, { 1, 1000 },  { 2, 2000 },           { 3, 4000 },
                  { 6, 32000 }, { 7, 60000 }, { 4000000000u, 60000 } };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        const uint64_t tenth = cases[i].pause_ms / 10;
        for (uint64_t random = 0; random < 100000; random += 7) {
            uint64_t got = jwt_fetch_pause_ms(60000, cases[i].failures, random);
            assert_in_range(got, cases[i].pause_ms - tenth, cases[i].pause_ms + tenth);
        }
    }
    assert_int_equal(jwt_fetch_pause_ms(1000, 1, 0), 900);
}

static void one_without_keys_has_none_to_give(void **state)
{
    (void)state;
    const struct jwt_source_conf c = { .service = BYTES("login"), .path = BYTES("/"), .refresh_ms = 60000 };
    struct jwt_source *s;
    struct jwt_reader r;
    struct diag d = DIAG_NONE;
    assert_int_equal(jwt_source_open(&c, &s, &d), OK);
    jwt_reader_open(&r, s);
    assert_null(r.keys);
    assert_int_equal(r.version, 0);
    jwt_reader_close(&r);
    jwt_source_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pauses_grow_up_to_refresh),
        cmocka_unit_test(one_without_keys_has_none_to_give),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void)
{
    return 0;
}
#endif
