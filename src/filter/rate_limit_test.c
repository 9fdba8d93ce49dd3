#include "filter/fakes_test.h"
/* first the fakes */
#include "filter/rate_limit.c"

#include "base/test.h"

/* ---- configuration ---- */

static struct limit_conf limits[3];
static struct rate_limit_conf conf;

/* key may be NULL: all; the limit at index, and no further one */
static struct limit_conf *limit_of(unsigned index, uint64_t count, uint64_t per_ms, const char *key)
{
    limits[index] = (struct limit_conf){ .rate = { count, per_ms },
                                         .key_text = bytes_from(key ? key : "all"),
                                         .keys_max = 100 };
    conf.limits = (struct conf_list){ limits, index + 1 };
    return &limits[index];
}

static void refused(const char *words)
{
    struct diag d = DIAG_NONE;
    assert_int_equal(limit_check(&limits[0], &d), ERR_CONF);
    if (!strstr(d.text, words))
        print_error("%s\n", d.text);
    assert_non_null(strstr(d.text, words));
}

static void mistakes_are_named(void **state)
{
    (void)state;
    limit_of(0, 50, 1000, "planet");
    refused("planet");
    limit_of(0, 1, 3600000, "ip")->burst = 1000000000;
    refused("burst");
    limit_of(0, 50, 1000, "ip")->name = BYTES("a\"b");
    refused("name");
    limit_of(0, 50, 1000, "query a\"b");
    refused("needs a `name`");
    limits[0].name = BYTES("mine");
    assert_int_equal(limit_check(&limits[0], NULL), OK);
    assert_string_equal(limits[0].label, "mine");
}

static void a_limit_is_called_what_it_says(void **state)
{
    (void)state;
    assert_int_equal(limit_check(limit_of(0, 50, 1000, " ip "), NULL), OK);
    assert_string_equal(limits[0].label, "50/s per ip");
    assert_int_equal(limit_check(limit_of(0, 50, 60000, "all"), NULL), OK);
    assert_string_equal(limits[0].label, "50/m");
    assert_int_equal(limit_check(limit_of(0, 50, 5000, "header X-Api-Key"), NULL), OK);
    assert_string_equal(limits[0].label, "50/5000ms per header X-Api-Key");
}

static void two_of_one_name_are_refused(void **state)
{
    (void)state;
    assert_int_equal(limit_check(limit_of(0, 50, 1000, "ip"), NULL), OK);
    assert_int_equal(limit_check(limit_of(1, 50, 1000, "ip"), NULL), OK);
    struct diag d = DIAG_NONE;
    assert_int_equal(rate_limit_list_check(&conf, &d), ERR_CONF);
    assert_non_null(strstr(d.text, "50/s per ip"));
    limit_of(1, 50, 60000, "ip");
    assert_int_equal(limit_check(&limits[1], NULL), OK);
    assert_int_equal(rate_limit_list_check(&conf, &d), OK);
}

static void limits_of_one_name_must_be_the_same(void **state)
{
    (void)state;
    struct limit_conf one[2] = {
        { .rate = { 5, 1000 }, .key_text = BYTES("ip"), .keys_max = 100, .name = BYTES("a") },
        { .rate = { 5, 1000 }, .key_text = BYTES("ip"), .keys_max = 100, .name = BYTES("a") }
    };
    struct rate_limit_conf confs[2] = { { { &one[0], 1 } }, { { &one[1], 1 } } };
    const struct conf_module modules[2] = { { .index = 3, .conf = &confs[0], .mark = { 4, 5 } },
                                            { .index = 3, .conf = &confs[1], .mark = { 7, 5 } } };
    const struct route_conf routes[2] = { { .filters = { (void *)(uintptr_t)&modules[0], 1 } },
                                          { .filters = { (void *)(uintptr_t)&modules[1], 1 } } };
    const struct gate_conf gate = { .routes = { (void *)(uintptr_t)routes, 2 } };
    for (int i = 0; i < 2; i++)
        assert_int_equal(limit_check(&one[i], NULL), OK);
    struct diag d = DIAG_NONE;
    assert_int_equal(rate_limit_check(&gate, 3, &d), OK);
    one[1].keys_max = 200;
    assert_int_equal(rate_limit_check(&gate, 3, &d), ERR_CONF);
    assert_int_equal(d.line, 7);
    assert_non_null(strstr(d.text, "\"a\""));
    one[1].name = BYTES("b");
    assert_int_equal(rate_limit_check(&gate, 3, &d), OK);
}

/* ---- the filter ---- */

static struct rate_limit *opened(const char *scope)
{
    void *r = NULL;
    for (size_t i = 0; i < conf.limits.count; i++)
        assert_int_equal(limit_check(&limits[i], NULL), OK);
    assert_int_equal(rate_limit_open(&conf, NULL, bytes_from(scope), &r, NULL), OK);
    return r;
}

static struct addr client;
static struct exchange x;

/* Leaves the exchange open; api_key may be NULL. */
static unsigned ask_as(struct rate_limit *r, const char *address, const char *api_key)
{
    fake_exchange_open(&x);
    fake.chained = 0;
    x.weight = 1;
    assert_int_equal(addr_parse(bytes_from(address), &client), OK);
    x.client = &client;
    if (api_key)
        assert_int_equal(
            http_fields_add(&x.request.fields, &x.arena, BYTES("X-Api-Key"), bytes_from(api_key)), OK);
    assert_int_equal(rate_limit_handle(&x, r, NULL), OK);
    assert_int_equal(fake.chained, x.response.status == 0);
    return x.response.status;
}

static unsigned asked(struct rate_limit *r, const char *address, const char *api_key)
{
    const unsigned status = ask_as(r, address, api_key);
    fake_exchange_close(&x);
    return status;
}

static void field_is(const char *name, const char *value)
{
    const struct http_field *f = http_fields_find(&x.response.fields, bytes_from(name));
    assert_bytes_equal(f ? http_field_value(f) : BYTES_NONE, bytes_from(value));
}

static void the_refused_get_429_and_when_to_come_again(void **state)
{
    (void)state;
    limit_of(0, 2, 60000, "ip");
    struct rate_limit *r = opened("/api/");
    assert_int_equal(asked(r, "10.0.0.1:1", NULL), 0);
    assert_int_equal(asked(r, "10.0.0.1:2", NULL), 0);
    fake.now_us += 1000; /* 29.999 s are left */
    assert_int_equal(ask_as(r, "10.0.0.1:3", NULL), 429);
    assert_bytes_equal(x.answered_by, BYTES("rate_limit"));
    field_is("Retry-After", "30");
    field_is("RateLimit-Policy", "\"2/m per ip\";q=2;w=60");
    field_is("RateLimit", "\"2/m per ip\";r=0;t=30");
    field_is("X-RateLimit-Limit", NULL);
    fake_exchange_close(&x);
    assert_int_equal(asked(r, "10.0.0.2:1", NULL), 0);
    assert_int_equal(metric_value(r->limits[0].metrics, METRIC_ALLOWED), 3);
    assert_int_equal(metric_value(r->limits[0].metrics, METRIC_LIMITED), 1);
    rate_limit_close(r);
}

static void all_must_admit_and_the_refused_is_charged_nowhere(void **state)
{
    (void)state;
    limit_of(0, 5, 3600000, "ip");
    limit_of(1, 2, 3600000, "header X-Api-Key");
    struct rate_limit *r = opened("/");
    assert_int_equal(asked(r, "10.0.0.1:1", "k"), 0);
    assert_int_equal(asked(r, "10.0.0.1:1", "k"), 0);
    for (int i = 0; i < 10; i++) { /* the key is used up; the address is not charged for that */
        assert_int_equal(ask_as(r, "10.0.0.1:1", "k"), 429);
        field_is("RateLimit", "\"2/h per header X-Api-Key\";r=0;t=1800");
        fake_exchange_close(&x);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(asked(r, "10.0.0.1:1", i == 2 ? "j" : "i"), 0);
    assert_int_equal(ask_as(r, "10.0.0.1:1", "j"), 429);
    field_is("RateLimit-Policy", "\"5/h per ip\";q=5;w=3600, \"2/h per header X-Api-Key\";q=2;w=3600");
    field_is("RateLimit", "\"5/h per ip\";r=0;t=720");
    fake_exchange_close(&x);
    assert_int_equal(asked(r, "10.0.0.2:1", "j"), 0); /* nor the key for the address */
    rate_limit_close(r);
}

/* What the loser of a race for the last place of the second was charged by the first is given back. */
static void what_was_charged_in_vain_is_given_back(void **state)
{
    (void)state;
    limit_of(0, 5, 3600000, "ip");
    limit_of(1, 1, 3600000, NULL);
    struct rate_limit *r = opened("/");
    struct asked a;
    fake_exchange_open(&x);
    assert_int_equal(addr_parse(BYTES("10.0.0.1:1"), &client), OK);
    x.client = &client;
    find_places(r, &x, &a);
    const uint64_t now_ns = fake.now_us * 1000;
    assert_int_equal(take_all(r, &a, 1, now_ns), 2);
    assert_int_equal(take_all(r, &a, 1, now_ns), 1);
    assert_int_equal(rate_table_peek(a.places[0], &r->limits[0].conf->decided, 1, now_ns).remaining, 3);
    fake_exchange_close(&x);
    rate_limit_close(r);
}

static void answers_that_pass_are_told_when_wanted(void **state)
{
    (void)state;
    limit_of(0, 10, 60000, "ip")->fields = FIELDS_ALWAYS;
    limits[0].legacy_fields = true;
    limit_of(1, 3, 60000, NULL)->fields = FIELDS_OFF;
    struct rate_limit *r = opened("/");
    assert_int_equal(ask_as(r, "10.0.0.1:1", NULL), 0);
    field_is("RateLimit-Policy", "\"10/m per ip\";q=10;w=60");
    field_is("RateLimit", "\"10/m per ip\";r=9;t=6");
    field_is("X-RateLimit-Limit", "10");
    field_is("X-RateLimit-Remaining", "9");
    field_is("X-RateLimit-Reset", "6");
    fake_exchange_close(&x);
    assert_int_equal(asked(r, "10.0.0.1:1", NULL) + asked(r, "10.0.0.1:1", NULL), 0);
    assert_int_equal(ask_as(r, "10.0.0.1:1", NULL), 429); /* by the other, which says nothing */
    field_is("Retry-After", "20");
    field_is("RateLimit", NULL);
    fake_exchange_close(&x);
    rate_limit_close(r);
}

static void without_the_header_all_count_together_or_none(void **state)
{
    (void)state;
    limit_of(0, 1, 3600000, "header X-Api-Key");
    struct rate_limit *r = opened("/a");
    assert_int_equal(asked(r, "10.0.0.1:1", NULL), 0);
    assert_int_equal(asked(r, "10.0.0.2:1", NULL), 429);
    assert_int_equal(asked(r, "10.0.0.2:1", "k"), 0);
    rate_limit_close(r);
    limits[0].absent = ABSENT_PASSES;
    r = opened("/b");
    for (int i = 0; i < 5; i++)
        assert_int_equal(asked(r, "10.0.0.1:1", NULL), 0);
    assert_int_equal(asked(r, "10.0.0.1:1", "k"), 0);
    assert_int_equal(asked(r, "10.0.0.1:1", "k"), 429);
    rate_limit_close(r);
}

static void a_heavy_request_counts_as_many(void **state)
{
    (void)state;
    limit_of(0, 10, 3600000, NULL);
    struct rate_limit *r = opened("/");
    for (int i = 0; i < 4; i++) {
        fake_exchange_open(&x);
        x.weight = 4;
        assert_int_equal(rate_limit_handle(&x, r, NULL), OK);
        assert_int_equal(x.response.status, i < 2 ? 0 : 429);
        fake_exchange_close(&x);
    }
    assert_int_equal(asked(r, "10.0.0.1:1", NULL) + asked(r, "10.0.0.1:1", NULL), 0);
    assert_int_equal(asked(r, "10.0.0.1:1", NULL), 429);
    rate_limit_close(r);
}

static void a_reload_forgets_nothing_unless_the_limit_changes(void **state)
{
    (void)state;
    limit_of(0, 1, 3600000, "ip");
    struct rate_limit *before = opened("/");
    assert_int_equal(asked(before, "10.0.0.1:1", NULL), 0);
    struct rate_limit *after = opened("/");
    rate_limit_close(before);
    assert_int_equal(asked(after, "10.0.0.1:1", NULL), 429);
    limits[0].burst = 2;
    struct rate_limit *changed = opened("/");
    assert_int_equal(asked(changed, "10.0.0.1:1", NULL), 0);
    struct rate_limit *elsewhere = opened("/b");
    assert_int_equal(asked(elsewhere, "10.0.0.1:1", NULL) + asked(elsewhere, "10.0.0.1:1", NULL), 0);
    rate_limit_close(after);
    rate_limit_close(changed);
    rate_limit_close(elsewhere);
    assert_int_equal(fake.shared_held, 0);
}

static void routes_share_a_limit_by_its_name(void **state)
{
    (void)state;
    limit_of(0, 2, 3600000, "ip")->name = BYTES("login");
    struct rate_limit *a = opened("/a");
    struct rate_limit *b = opened("/b");
    assert_int_equal(asked(a, "10.0.0.1:1", NULL), 0);
    assert_int_equal(asked(b, "10.0.0.1:1", NULL), 0);
    assert_int_equal(ask_as(a, "10.0.0.1:1", NULL), 429);
    field_is("RateLimit", "\"login\";r=0;t=1800");
    fake_exchange_close(&x);
    assert_int_equal(asked(b, "10.0.0.1:1", NULL), 429);
    rate_limit_close(a);
    rate_limit_close(b);
}

static void no_memory_is_said(void **state)
{
    (void)state;
    limit_of(0, 1, 60000, "ip");
    limit_of(1, 1, 60000, NULL);
    for (int i = 0; i < 2; i++)
        assert_int_equal(limit_check(&limits[i], NULL), OK);
    err e = ERR_MEMORY;
    for (uint64_t n = 1; e; n++) {
        void *r = NULL;
        mem_fail_at(n);
        e = rate_limit_open(&conf, NULL, BYTES("/"), &r, NULL);
        mem_fail_at(0);
        assert_true(e == OK || (e == ERR_MEMORY && n < 20));
        if (r)
            rate_limit_close(r);
        assert_int_equal(fake.shared_held, 0);
    }
}

static void memory_is_asked_for_early_where_that_helps(void **state)
{
    (void)state;
    limit_of(0, 1, 3600000, "ip")->keys_max = 1000;
    struct rate_limit *r = opened("/");
    assert_false(rate_limit_early(NULL, r, EARLY_CLIENT));
    rate_limit_close(r);
    limit_of(1, 1, 60000, "ip")->keys_max = 20000;
    r = opened("/");
    assert_true(rate_limit_early(NULL, r, EARLY_CLIENT));
    assert_false(rate_limit_early(NULL, r, EARLY_HEAD));
    fake_exchange_open(&x);
    assert_int_equal(addr_parse(BYTES("10.0.0.1:1"), &client), OK);
    x.client = &client;
    assert_true(rate_limit_early(&x, r, EARLY_CLIENT));
    fake_exchange_close(&x);
    assert_int_equal(asked(r, "10.0.0.1:1", NULL), 0); /* and nothing was charged */
    rate_limit_close(r);
    limit_of(1, 1, 60000, "header X-Api-Key")->keys_max = 20000;
    r = opened("/");
    assert_false(rate_limit_early(NULL, r, EARLY_CLIENT));
    assert_true(rate_limit_early(NULL, r, EARLY_HEAD));
    rate_limit_close(r);
}

static void operators_see_it(void **state)
{
    (void)state;
    limit_of(0, 1, 60000, "ip");
    struct rate_limit *r = opened("/");
    assert_int_equal(asked(r, "10.0.0.1:1", NULL), 0);
    assert_int_equal(asked(r, "10.0.0.1:1", NULL), 429);
    struct text t = { 0 };
    json_begin(&t, NULL, '{');
    rate_limit_report(r, &t);
    json_end(&t, '}');
    const struct bytes said = { t.at, t.len };
    assert_bytes_equal(
        said, BYTES("{\"limits\":[{\"name\":\"1/m per ip\",\"key\":\"ip\",\"count\":1,\"per_ms\":60000,"
                    "\"burst\":1,\"allowed\":1,\"limited\":1,\"forgotten\":0}]}"));
    text_free(&t);
    rate_limit_close(r);
}

static int start(void **state)
{
    (void)state;
    metrics_init(1);
    return 0;
}

static int end(void **state)
{
    (void)state;
    metrics_close();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(a_limit_is_called_what_it_says),
        cmocka_unit_test(two_of_one_name_are_refused),
        cmocka_unit_test(limits_of_one_name_must_be_the_same),
        cmocka_unit_test(the_refused_get_429_and_when_to_come_again),
        cmocka_unit_test(all_must_admit_and_the_refused_is_charged_nowhere),
        cmocka_unit_test(what_was_charged_in_vain_is_given_back),
        cmocka_unit_test(answers_that_pass_are_told_when_wanted),
        cmocka_unit_test(without_the_header_all_count_together_or_none),
        cmocka_unit_test(a_heavy_request_counts_as_many),
        cmocka_unit_test(a_reload_forgets_nothing_unless_the_limit_changes),
        cmocka_unit_test(routes_share_a_limit_by_its_name),
        cmocka_unit_test(no_memory_is_said),
        cmocka_unit_test(memory_is_asked_for_early_where_that_helps),
        cmocka_unit_test(operators_see_it),
    };
    return cmocka_run_group_tests(tests, start, end);
}
