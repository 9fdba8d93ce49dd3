#include "filter/fakes_test.h"
/* first the fakes */
#include "filter/ip_allow.c"

#include "base/test.h"

static struct ip_allow_conf conf_of(struct bytes *allow, size_t allow_count, struct bytes *deny,
                                    size_t deny_count)
{
    return (
        struct ip_allow_conf){ .allow = { allow, allow_count }, .deny = { deny, deny_count }, .status = 403 };
}

/* The status; 200 when the chain went on. */
static unsigned ask(struct ip_allow *a, const char *ip)
{
    struct exchange x;
    struct addr client;
    unsigned chained = fake.chained;
    fake_exchange_open(&x);
    if (ip) {
        assert_int_equal(cidr_parse_ip(bytes_from(ip), &client), OK);
        x.client = &client;
    }
    assert_int_equal(ip_allow_handle(&x, a, NULL), OK);
    unsigned status = fake.chained > chained ? 200 : x.response.status;
    if (status != 200)
        assert_bytes_equal(x.answered_by, BYTES("ip_allow"));
    fake_exchange_close(&x);
    return status;
}

static struct ip_allow *opened(const struct ip_allow_conf *c)
{
    void *state;
    struct diag d = DIAG_NONE;
    assert_int_equal(ip_allow_open(c, NULL, BYTES("/*"), &state, &d), OK);
    return state;
}

static void only_those_that_are_allowed(void **state)
{
    (void)state;
    struct bytes allow[] = { BYTES("10.0.0.0/8"), BYTES("2001:db8::/32") };
    struct ip_allow_conf c = conf_of(allow, 2, NULL, 0);
    struct ip_allow *a = opened(&c);
    assert_int_equal(ask(a, "10.1.2.3"), 200);
    assert_int_equal(ask(a, "::ffff:10.1.2.3"), 200);
    assert_int_equal(ask(a, "2001:db8::1"), 200);
    assert_int_equal(ask(a, "11.0.0.1"), 403);
    assert_int_equal(ask(a, "2001:db9::1"), 403);
    assert_int_equal(ask(a, NULL), 403);
    assert_int_equal(metric_value(a->metrics, METRIC_ALLOWED), 3);
    assert_int_equal(metric_value(a->metrics, METRIC_DENIED), 3);
    ip_allow_close(a);
}

static void all_but_those_that_are_denied(void **state)
{
    (void)state;
    struct bytes deny[] = { BYTES("10.0.0.0/8") };
    struct ip_allow_conf c = conf_of(NULL, 0, deny, 1);
    c.status = 451;
    struct ip_allow *a = opened(&c);
    assert_int_equal(ask(a, "10.1.2.3"), 451);
    assert_int_equal(ask(a, "11.1.2.3"), 200);
    assert_int_equal(ask(a, NULL), 200);
    ip_allow_close(a);
}

static void the_most_specific_decides_and_of_equal_ones_deny(void **state)
{
    (void)state;
    struct bytes allow[] = { BYTES("10.0.0.0/8"), BYTES("10.1.2.3"), BYTES("10.9.0.0/16") };
    struct bytes deny[] = { BYTES("10.1.0.0/16"), BYTES("10.9.0.0/16") };
    struct ip_allow_conf c = conf_of(allow, 3, deny, 2);
    struct ip_allow *a = opened(&c);
    assert_int_equal(ask(a, "10.0.0.1"), 200);
    assert_int_equal(ask(a, "10.1.0.1"), 403);
    assert_int_equal(ask(a, "10.1.2.3"), 200);
    assert_int_equal(ask(a, "10.9.0.1"), 403);
    assert_int_equal(ask(a, "9.0.0.1"), 403);
    ip_allow_close(a);
}

static void workers_share_the_set(void **state)
{
    (void)state;
    struct bytes allow[] = { BYTES("private") };
    struct ip_allow_conf c = conf_of(allow, 1, NULL, 0);
    struct ip_allow *a = opened(&c);
    struct ip_allow *b = opened(&c);
    assert_ptr_equal(a->set, b->set);
    ip_allow_close(a);
    assert_int_equal(ask(b, "10.0.0.1"), 200);
    ip_allow_close(b);
}

static void mistakes_are_said(void **state)
{
    (void)state;
    struct bytes wrong[] = { BYTES("10.0.0.0/8"), BYTES("10.0.0.1/8") };
    struct ip_allow_conf c = conf_of(wrong, 2, NULL, 0);
    struct diag d = DIAG_NONE;
    assert_int_equal(ip_allow_check(&c, &d), ERR_CONF);
    assert_non_null(strstr(d.text, "did you mean 10.0.0.0/8?"));
    c = conf_of(NULL, 0, wrong, 1);
    assert_int_equal(ip_allow_check(&c, NULL), OK);
    c = conf_of(NULL, 0, NULL, 0);
    d = DIAG_NONE;
    assert_int_equal(ip_allow_check(&c, &d), ERR_CONF);
    assert_non_null(strstr(d.text, "whom to allow or whom to deny"));
}

static void no_memory_is_said(void **state)
{
    (void)state;
    struct bytes allow[] = { BYTES("private") };
    struct ip_allow_conf c = conf_of(allow, 1, NULL, 0);
    err e = ERR_MEMORY;
    for (uint64_t n = 1; e; n++) {
        void *a = NULL;
        mem_fail_at(n);
        e = ip_allow_open(&c, NULL, BYTES("/"), &a, NULL);
        mem_fail_at(0);
        assert_true(e == OK || (e == ERR_MEMORY && n < 20));
        if (a)
            ip_allow_close(a);
    }
}

int main(void)
{
    metrics_init(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_those_that_are_allowed),
        cmocka_unit_test(all_but_those_that_are_denied),
        cmocka_unit_test(the_most_specific_decides_and_of_equal_ones_deny),
        cmocka_unit_test(workers_share_the_set),
        cmocka_unit_test(mistakes_are_said),
        cmocka_unit_test(no_memory_is_said),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    metrics_close();
    return failed;
}
