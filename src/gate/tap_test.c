#include "gate/tap.h"

#include "base/json_read.h"
#include "base/test.h"
#include "gate/gate_test.h"
#include "gate/process_internal.h"

static struct exchange x;
static struct addr client;

static void make_exchange(void)
{
    static struct http_field fields[3];
    memset(&x, 0, sizeof x);
    must(addr_parse(BYTES("10.1.2.3:4567"), &client) == OK);
    fields[0] = (struct http_field){ .name = "Cookie", .name_len = 6, .value = "secret", .value_len = 6 };
    fields[1] = (struct http_field){ .name = "X-Odd", .name_len = 5, .value = "a\"\xff\\", .value_len = 4 };
    x.client = &client;
    x.request.method_text = BYTES("GET");
    x.request.authority = BYTES("shop.example");
    x.request.target = BYTES("/api/a?b=\"c\"");
    x.request.path = BYTES("/api/a");
    x.request.fields = (struct http_fields){ fields, 2, 3 };
    x.response.status = 503;
    x.request_id = BYTES("abc");
    x.attempts = 2;
}

static bool fits(const char *text)
{
    struct tap_match m;
    struct diag d = DIAG_NONE;
    must(tap_match_parse(bytes_from(text), &m, &d) == OK);
    return tap_matches(&m, &x, 150000);
}

static void conditions(void **state)
{
    (void)state;
    make_exchange();
    static const char *const yes[] = {
        "",           "method=GET",    "path=/api/*", "path=/api/a",       "status=5xx",
        "status=503", "status!=200",   "status>=500", "status<=503",       "ms>=150",
        "ms<=150",    "client=10.1.*", "service!=x",  "host=shop.example", "status=5xx,method=GET path=*"
    };
    static const char *const no[] = { "method=POST", "path=/api",   "path=/b*",
                                      "status=4xx",  "status!=5xx", "ms>=151",
                                      "status<=499", "service=x",   "status=5xx method=PUT" };
    static const char *const wrong[] = { "colour=red",  "status", "status=", "status=6xx", "status=x",
                                         "method>=GET", "=x",     "ms=",     "path",       "status>500" };
    for (unsigned i = 0; i < sizeof yes / sizeof *yes; i++)
        assert_true(fits(yes[i]));
    for (unsigned i = 0; i < sizeof no / sizeof *no; i++)
        assert_false(fits(no[i]));
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct tap_match m;
        struct diag d = DIAG_NONE;
        assert_int_equal(tap_match_parse(bytes_from(wrong[i]), &m, &d), ERR_SYNTAX);
        assert_non_null(strstr(d.text, "condition"));
    }
}

static void a_line_is_json_whatever_is_in_it(void **state)
{
    static char out[TAP_LINE_BYTES_MAX], many[3000];
    struct arena a;
    struct json *j;
    (void)state;
    make_exchange();
    arena_open(&a, &arena_heap, 1u << 20, NULL, 0);
    size_t len = tap_line(&x, true, 1234, 0, out);
    assert_int_equal(out[len - 1], '\n');
    assert_int_equal(json_read((struct bytes){ out, len }, &a, &j), OK);
    assert_bytes_equal(json_member_text(j, "target"), x.request.target);
    assert_bytes_equal(json_member_text(j, "time"), BYTES("1970-01-01T00:00:00.000000Z"));
    assert_bytes_equal(json_member_text(json_member(j, "request"), "Cookie"), BYTES("..."));
    assert_bytes_equal(json_member_text(json_member(j, "request"), "X-Odd"), BYTES("a\"\xef\xbf\xbd\\"));
    assert_true(json_member_number(j, "us") == 1234 && json_member_number(j, "tries") == 2);
    for (unsigned fill = 0; fill < 256; fill += 5) { /* what does not fit is left out, and it is still JSON */
        memset(many, (int)fill, sizeof many);
        x.request.target = x.request.authority = (struct bytes){ many, sizeof many };
        x.request.fields.at[1].value = many;
        x.request.fields.at[1].value_len = (uint32_t)(fill * 11);
        len = tap_line(&x, true, 1234, 0, out);
        assert_true(len <= sizeof out);
        assert_int_equal(json_read((struct bytes){ out, len }, &a, &j), OK);
    }
    arena_close(&a);
}

/* ---- the ring */

static void offer_many(void)
{
    for (unsigned i = 0; i < 1000; i++)
        tap_exchange(&x);
}

static void ring_here(void)
{
    static char out[4 * TAP_LINE_BYTES_MAX];
    struct tap_match m;
    struct diag d = DIAG_NONE;
    struct tap *t;
    uint64_t lines = 0;
    size_t len;
    make_exchange();
    process_self.workers[0] = worker_self();
    must(tap_match_parse(BYTES("status=503"), &m, &d) == OK);
    must(tap_open(&m, false, &t) == OK);
    for (unsigned i = 0; i < 3; i++)
        offer_many();
    while (tap_read(t, worker_now_us() + 1, out, sizeof out, &len) == OK) {
        for (size_t at = 0; at < len; at++)
            lines += out[at] == '\n';
    }
    uint64_t dropped = tap_dropped(t);
    must(lines == TAP_LINES);
    must(lines + dropped == 3000);
    x.response.status = 200;
    tap_exchange(&x); /* does not match */
    must(tap_read(t, worker_now_us() + 1, out, sizeof out, &len) == ERR_TIMEOUT);
    x.response.status = 503;
    tap_exchange(&x); /* there is room again */
    must(tap_read(t, DEADLINE_NONE, out, sizeof out, &len) == OK);
    tap_end_all();
    must(tap_read(t, DEADLINE_NONE, out, sizeof out, &len) == ERR_CLOSED);
    struct tap *more[TAPS_MAX];
    for (unsigned i = 1; i < TAPS_MAX; i++)
        must(tap_open(&m, false, &more[i]) == OK);
    must(tap_open(&m, false, &more[0]) == ERR_LIMIT);
    for (unsigned i = 1; i < TAPS_MAX; i++)
        tap_close(more[i]);
    tap_close(t);
    must(atomic_load(&taps_open) == 0);
}

/* What is not dropped is read, and what is dropped is counted. */
static void the_ring_is_bounded(void **state)
{
    (void)state;
    on_worker(ring_here);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conditions),
        cmocka_unit_test(a_line_is_json_whatever_is_in_it),
        cmocka_unit_test(the_ring_is_bounded),
    };
    return cmocka_run_group_tests(tests, gate_test_setup, gate_test_teardown);
}
