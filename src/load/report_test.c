#include "load/report.h"

#include "base/json_read.h"
#include "base/test.h"
#include "load/live.h"

static const struct bytes kinds[] = { { "buy", 3 }, { "look", 4 } };
static const struct load_carrier carrier = { .unit = "user" };
static struct load l = {
    .carrier = &carrier, .threads = 2, .shares = 2, .connections = 10, .kinds = kinds, .kinds_count = 2
};
static struct load_report r;
static struct load_point points[2];
static const struct report_about about = { .target = { "http://shop/", 12 } };

static int make(void **state)
{
    (void)state;
    r = (struct load_report){
        .load = &l, .seconds = 10, .seconds_run = 10, .seconds_planned = 10, .busy = 0.5
    };
    l.open_loop = true;
    assert_int_equal(load_stats_open(2, &r.all), OK);
    assert_int_equal(load_stats_open(1, &r.total), OK);
    for (unsigned i = 0; i < 3000; i++) {
        struct load_kind *k = &r.all->kinds[i % 3 == 0];
        k->sent++;
        k->answers++;
        k->bytes_in += 1000;
        load_count_status(k, i % 100 ? 200 : 503);
        if (i % 100 == 0)
            load_count_bad(k, LOAD_ERROR_STATUS);
        histogram_add(&k->service, 1000000);
        histogram_add(&k->response, 2000000 + i * 1000);
        histogram_add(&r.all->lag, 1000);
    }
    points[0] = (struct load_point){
        .seconds = 1, .wanted = 300, .answers = 299, .p99_ns = 5000000, .connections = 10
    };
    points[1] = (struct load_point){ .at_s = 1, .seconds = 1, .answers = 301, .busy = 0.25 };
    points[1].errors[LOAD_ERROR_TIMEOUT] = 3;
    r.points = points;
    r.points_count = 2;
    return 0;
}

static int drop(void **state)
{
    (void)state;
    load_stats_close(r.all);
    load_stats_close(r.total);
    return 0;
}

static void has(struct text *t, const char *wanted)
{
    text_add(t, (struct bytes){ "", 1 });
    t->len--;
    if (!strstr(t->at, wanted))
        fail_msg("no \"%s\" in:\n%s", wanted, t->at);
}

static void numbers_as_people_write_them(void **state)
{
    (void)state;
    char out[32];
    assert_string_equal(report_time(0, out), "0.00us");
    assert_string_equal(report_time(81234, out), "81.2us");
    assert_string_equal(report_time(1520000, out), "1.52ms");
    assert_string_equal(report_time(999400000, out), "999ms");
    assert_string_equal(report_time(12340000000, out), "12.3s");
    assert_string_equal(report_count(0, out), "0");
    assert_string_equal(report_count(999, out), "999");
    assert_string_equal(report_count(1234567, out), "1,234,567");
    assert_string_equal(report_bytes(999, out), "999 B");
    assert_string_equal(report_bytes(1234567, out), "1.2 MB");
}

static void the_table_says_it_all(void **state)
{
    (void)state;
    struct text t = { 0 };
    report_table(&t, &r, &about);
    has(&t, "http://shop/   10 users, 2 threads, open loop, 10.0 s");
    has(&t, "3,000          300.0/s      failed 30 (1%)");
    has(&t, "service         1.00ms");
    has(&t, "200: 2,970  503: 30");
    has(&t, "status              30");
    has(&t, "buy                       2,000       200.0");
    assert_null(strstr(t.at, "note"));
    text_free(&t);
}

static void the_generator_is_blamed_when_it_was_at_fault(void **state)
{
    (void)state;
    char words[256];
    assert_int_equal(report_verdict(&r, words).len, 0);
    r.busy = 0.99;
    assert_true(report_verdict(&r, words).len > 0);
    assert_non_null(strstr(words, "busy for 99%"));
    r.busy = 0.3;
    for (unsigned i = 0; i < 60; i++)
        histogram_add(&r.all->lag, 50000000);
    assert_true(report_verdict(&r, words).len > 0);
    assert_non_null(strstr(words, "50.0ms or more after they were due"));
    r.seconds = 0.1;
    assert_int_equal(report_verdict(&r, words).len, 0);
}

static void json_is_json(void **state)
{
    (void)state;
    struct text t = { 0 };
    struct arena a;
    struct json *j;
    arena_open(&a, &arena_heap, 1 << 20, NULL, 0);
    report_json(&t, &r, &about);
    assert_int_equal(json_read((struct bytes){ t.at, t.len - 1 }, &a, &j), OK);
    const struct json *total = json_member(j, "total"), *latency = json_member(total, "latency_ns");
    assert_true(json_member_number(total, "answers") == 3000 && json_member_number(total, "rate") == 300);
    assert_true(json_member_number(total, "good") == 2970 && json_member_number(total, "tried") == 3000);
    assert_true(json_member_number(json_member(total, "errors"), "status") == 30);
    assert_true(json_member_number(json_member(total, "statuses"), "503") == 30);
    assert_true(json_member_number(json_member(latency, "response"), "max") == 4999000);
    assert_int_equal(json_member(j, "kinds")->count, 2);
    assert_int_equal(json_member(j, "points")->count, 2);
    arena_close(&a);
    text_free(&t);
}

static void csv_has_a_line_an_interval(void **state)
{
    (void)state;
    struct text t = { 0 };
    report_csv(&t, &r);
    has(&t, "at_s,seconds,wanted,");
    has(&t, "\n0.000,1.000,300.0,0,299,0,0.0,0.0,5000.0,");
    has(&t, "\n1.000,1.000,0.0,0,301,");
    has(&t, ",0.250,0,0,3,0,0,0,0,0,0,0\n");
    text_free(&t);
}

static void live_fits_the_terminal(void **state)
{
    (void)state;
    for (unsigned columns = 10; columns <= 300; columns += 29) {
        struct text t = { 0 };
        unsigned lines = 0;
        r.seconds_left = columns % 11;
        live_draw(&t, &r, columns);
        for (size_t start = 0, i = 0; i < t.len; i++) {
            if (t.at[i] != '\n')
                continue;
            assert_true(i - start <= columns);
            start = i + 1;
            lines++;
        }
        assert_int_equal(lines, 4);
        if (columns > 60)
            has(&t, "301 answers/s   errors 3");
        text_free(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_as_people_write_them),
        cmocka_unit_test_setup_teardown(the_table_says_it_all, make, drop),
        cmocka_unit_test_setup_teardown(the_generator_is_blamed_when_it_was_at_fault, make, drop),
        cmocka_unit_test_setup_teardown(json_is_json, make, drop),
        cmocka_unit_test_setup_teardown(csv_has_a_line_an_interval, make, drop),
        cmocka_unit_test_setup_teardown(live_fits_the_terminal, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
