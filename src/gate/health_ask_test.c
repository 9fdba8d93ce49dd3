#include "gate/health_ask.h"

#include "core/io_test.h"

static void what_the_body_lacks(void)
{
    struct health_ask_conf c = { .contains = BYTES("\"ok\": true") };
    struct health_ask a = { .conf = &c };
    must(!health_body_lacks(&a, BYTES("{\"name\": \"x\", \"ok\": true}")));
    must(health_body_lacks(&a, BYTES("{\"ok\": false}")) && health_body_lacks(&a, BYTES_NONE));
    c.contains = BYTES_NONE;
    must(!health_body_lacks(&a, BYTES_NONE));
}
TEST(what_the_body_lacks)

#if WEIR_HAVE_PCRE2
static void patterns(void)
{
    struct health_ask_conf c = { .regex = BYTES("queue: [0-9]{1,3}$") };
    struct health_ask a;
    err e = health_ask_open(&a, &c);
    must(e == OK);
    must(!health_body_lacks(&a, BYTES("status: fine\nqueue: 17")));
    must(health_body_lacks(&a, BYTES("queue: 1700")) && health_body_lacks(&a, BYTES_NONE));
    health_ask_close(&a);
}
TEST(patterns)

/* One that would go back and forth for years is given up: it does not match. */
static void a_bad_pattern_ends(void)
{
    struct health_ask_conf c = { .regex = BYTES("^(a+)+$") };
    struct health_ask a;
    err e = health_ask_open(&a, &c);
    must(e == OK);
    must(health_body_lacks(&a, BYTES("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab")) !=
         NULL);
    health_ask_close(&a);
}
TEST(a_bad_pattern_ends)
#endif

static void statuses(void)
{
    struct bytes texts[] = { BYTES("204"), BYTES("301-303") };
    struct health_ask_conf c = { .path = BYTES("/"), .status = { texts, 2 } };
    struct diag d = DIAG_NONE;
    err e = health_ask_check(&c, &d);
    must(e == OK);
    must(health_status_is_well(&c, 204) && health_status_is_well(&c, 301) && health_status_is_well(&c, 303));
    must(!health_status_is_well(&c, 200) && !health_status_is_well(&c, 304) &&
         !health_status_is_well(&c, 9999));
}
TEST(statuses)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_the_body_lacks),
        cmocka_unit_test(test_statuses),
#if WEIR_HAVE_PCRE2
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_a_bad_pattern_ends),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
