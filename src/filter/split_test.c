#include <stdio.h>

#include "filter/fakes_test.h"
/* first the fakes */
struct service *fake_gate_service(struct gate *g, struct bytes name);
const struct route_conf *fake_gate_opening(const struct gate *g);
#define gate_service fake_gate_service
#define gate_opening fake_gate_opening
#include "filter/split.c"
/* then what stands on both */
#include "filter/variables_test.h"

static struct service services[3] = { { .name = { "a", 1 } },
                                      { .name = { "b", 1 } },
                                      { .name = { "c", 1 } } };
static struct route_conf opening;

struct service *fake_gate_service(struct gate *g, struct bytes name)
{
    (void)g;
    for (unsigned i = 0; i < 3; i++) {
        if (bytes_eq(services[i].name, name))
            return &services[i];
    }
    return NULL;
}

const struct route_conf *fake_gate_opening(const struct gate *g)
{
    (void)g;
    return &opening;
}

/* ---- the schedule alone ---- */

static void shares_are_exact_and_spread_out(void **state)
{
    (void)state;
    static const struct {
        uint32_t units[4];
        unsigned sides;
        uint32_t places;
    } cases[] = {
        { { 1000, 9000 }, 2, 10 },          { { 5000, 5000 }, 2, 2 }, { { 1, 9999 }, 2, 10000 },
        { { 3333, 3333, 3334 }, 3, 10000 }, { { 0, 10000 }, 2, 1 },   { { 2500, 0, 2500, 5000 }, 4, 4 },
        { { 1000, 2700, 6300 }, 3, 100 },
    };
    static uint8_t out[UNITS];
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t places = schedule(cases[i].units, cases[i].sides, out);
        assert_int_equal(places, cases[i].places);
        double got[4] = { 0 };
        for (uint32_t at = 0; at < places; at++) {
            got[out[at]]++;
            for (unsigned j = 0; j < cases[i].sides; j++) { /* at no time far from its share */
                double due = (double)(at + 1) * cases[i].units[j] / UNITS;
                assert_true(got[j] > due - 2 && got[j] < due + 2);
            }
        }
        for (unsigned j = 0; j < cases[i].sides; j++)
            assert_int_equal((uint64_t)got[j] * UNITS, (uint64_t)cases[i].units[j] * places);
    }
}

static void a_side_that_grows_keeps_whom_it_had(void **state)
{
    (void)state;
    unsigned before[2] = { 0 }, kept = 0;
    for (uint32_t unit = 0; unit < UNITS; unit++) {
        unsigned old = side_of_unit((const uint32_t[]){ 1000, 9000 }, 2, unit);
        unsigned new = side_of_unit((const uint32_t[]){ 3000, 7000 }, 2, unit);
        before[old]++;
        kept += old == 0 && new == 0;
    }
    assert_int_equal(before[0], 1000);
    assert_int_equal(kept, 1000);
    assert_int_equal(side_of_unit((const uint32_t[]){ 0, 10000 }, 2, 0), 1);
}

/* ---- the filter ---- */

static struct loaded loaded;
static struct exchange x;

static struct split *opened(const char *text)
{
    void *state;
    loaded_open(&loaded, &split_filter, text);
    if (loaded.words[0])
        fail_msg("%s: %s", text, loaded.words);
    opening = loaded.route;
    assert_int_equal(split_open(loaded.conf, NULL, BYTES("/api/*"), &state, NULL), OK);
    return state;
}

static void closed(struct split *s)
{
    split_close(s);
    loaded_close(&loaded);
}

static void server_answers(struct exchange *with)
{
    with->response.status = 200;
}

/* The service's letter. header: "Name: value" or NULL; the cookie that is set goes to ret_cookie. */
static char asked(struct split *s, const char *name, const char *value, char *ret_cookie)
{
    fake_exchange_open(&x);
    ask(&x, "http://h/api/x");
    x.service = &services[0];
    if (name)
        assert_int_equal(http_fields_add(&x.request.fields, &x.arena, bytes_from(name), bytes_from(value)),
                         OK);
    fake.on_chain = server_answers;
    assert_int_equal(split_handle(&x, s, NULL), OK);
    fake.on_chain = NULL;
    char to = x.service->name.ptr[0];
    const struct http_field *f = http_fields_get(&x.response.fields, FIELD_SET_COOKIE);
    if (ret_cookie)
        snprintf(ret_cookie, 128, "%.*s", f ? (int)f->value_len : 0, f ? f->value : "");
    else
        assert_null(f);
    fake_exchange_close(&x);
    return to;
}

static void by_percent(void **state)
{
    (void)state;
    struct split *s = opened("match: /api/*\nservice: a\nsplit: 12.5% to b\n");
    unsigned b = 0;
    for (unsigned i = 0; i < 800; i++)
        b += asked(s, NULL, NULL, NULL) == 'b';
    assert_int_equal(b, 100);
    assert_int_equal(metric_value(s->sides[0].metrics, METRIC_REQUESTS), 100);
    assert_int_equal(metric_value(s->sides[1].metrics, METRIC_REQUESTS), 700);
    closed(s);
    s = opened("match: /api/*\nsplit: {services: [20% to b, 50% to a, 30% to c]}\n");
    unsigned of[3] = { 0 };
    for (unsigned i = 0; i < 100; i++)
        of[asked(s, NULL, NULL, NULL) - 'a']++;
    assert_int_equal(of[0], 50);
    assert_int_equal(of[1], 20);
    assert_int_equal(of[2], 30);
    closed(s);
}

static void by_header(void **state)
{
    (void)state;
    struct split *s = opened("match: /api/*\nservice: a\n"
                             "split: {services: [{service: c, header: {X-C: present}}, "
                             "{percent: 50%, service: b, header: {X-B: \"1\"}}]}\n");
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(asked(s, "X-C", "", NULL), 'c');
        assert_int_equal(asked(s, "X-B", "1", NULL), 'b');
    }
    unsigned b = 0;
    for (unsigned i = 0; i < 10; i++)
        b += asked(s, "X-B", "2", NULL) == 'b';
    assert_int_equal(b, 5);
    assert_int_equal(metric_value(s->sides[0].metrics, METRIC_FORCED), 10);
    assert_int_equal(metric_value(s->sides[0].metrics, METRIC_REQUESTS), 10);
    closed(s);
}

static void by_cookie(void **state)
{
    (void)state;
    char cookie[128], first[128];
    struct split *s = opened("match: /api/*\nservice: a\nsplit: {services: 50% to b, sticky: cookie}\n");
    char to = asked(s, NULL, NULL, first);
    assert_non_null(strstr(first, "; Path=/; HttpOnly; SameSite=Lax; Max-Age=86400"));
    assert_null(strstr(first, "Secure"));
    *strchr(first, ';') = 0;
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(asked(s, "Cookie", first, cookie), to);
        assert_string_equal(cookie, ""); /* it has one */
    }
    first[strlen(first) - 1] ^= 1;
    asked(s, "Cookie", first, cookie); /* nobody's: drawn and set anew */
    assert_string_not_equal(cookie, "");
    closed(s);
    s = opened("match: /api/*\nservice: a\nsplit: {services: 50% to b, sticky: cookie, cookie: side, "
               "cookie_age: off}\n");
    asked(s, NULL, NULL, cookie);
    assert_true(strncmp(cookie, "side=", 5) == 0 && !strstr(cookie, "Max-Age"));
    closed(s);
}

static void by_key(void **state)
{
    (void)state;
    struct split *s =
        opened("match: /api/*\nservice: a\nsplit: {services: 30% to b, sticky: header X-User}\n");
    unsigned b = 0;
    for (unsigned i = 0; i < 1000; i++) {
        char user[16];
        snprintf(user, sizeof user, "u%u", i);
        char to = asked(s, "X-User", user, NULL);
        assert_int_equal(asked(s, "X-User", user, NULL), to);
        b += to == 'b';
    }
    assert_true(b > 300 - 87 && b < 300 + 87); /* 6 sigma; the hash is always the same */
    unsigned drawn = 0;
    for (unsigned i = 0; i < 10; i++)
        drawn += asked(s, NULL, NULL, NULL) == 'b';
    assert_int_equal(drawn, 3);
    closed(s);
}

static void mistakes(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "split: 50% to b", "the shares are 50.00%: expected 100%" },
        { "service: a\nsplit: 50% to a", "gets the rest" },
        { "service: a\nsplit: [50% to b, 60% to c]", "more than 100%" },
        { "service: a\nsplit: {services: [50% to b, 60% to c]}", "more than 100%" },
        { "service: a\nsplit: {services: [10% to b, 10% to b]}", "stands twice" },
        { "service: a\nsplit: 0% to b", "gets nothing" },
        { "service: a\nsplit: 0.001% to b", "hundredths of a percent" },
        { "service: a\nsplit: {services: 10% to b, sticky: cooky}", "" },
        { "service: a\nsplit: {services: 10% to b, cookie: x}", "expected `sticky: cookie`" },
        { "service: a\nsplit: {services: 10% to b, sticky: cookie, cookie: a b}", "not a name" },
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];
        snprintf(text, sizeof text, "match: /*\n%s\n", cases[i][0]);
        assert_refused(&split_filter, text, cases[i][1]);
    }
}

int main(void)
{
    metrics_init(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_exact_and_spread_out),
        cmocka_unit_test(a_side_that_grows_keeps_whom_it_had),
        cmocka_unit_test(by_percent),
        cmocka_unit_test(by_header),
        cmocka_unit_test(by_cookie),
        cmocka_unit_test(by_key),
        cmocka_unit_test(mistakes),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    metrics_close();
    return failed;
}
