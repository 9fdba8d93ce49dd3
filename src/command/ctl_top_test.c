#include "base/test.h"
#include "command/ctl.h"

static const char before_text[] =
    "{\"now_us\":1000000,\"services\":[{\"name\":\"shop\",\"requests\":{\"2xx\":100,\"5xx\":1},"
    "\"latency\":[[16,50],[24,51]],\"servers\":[{\"address\":\"10.0.0.1:80\",\"state\":\"enabled\","
    "\"health\":\"up\",\"active\":1,\"requests_total\":100,\"failures_total\":0,\"latency\":[[16,100]]}]}]}";
static const char now_text[] =
    "{\"now_us\":3000000,\"services\":[{\"name\":\"shop\",\"requests\":{\"2xx\":190,\"5xx\":11},"
    "\"latency\":[[16,50],[24,149],[2048,2]],\"servers\":[{\"address\":\"10.0.0.1:80\",\"state\":\"enabled\","
    "\"health\":\"down\",\"active\":3,\"requests_total\":140,\"failures_total\":6,\"latency\":[[16,100],[0,5]"
    "]},"
    "{\"address\":\"10.0.0.2:80\",\"state\":\"drain\",\"health\":\"up\",\"active\":2,\"requests_total\":8,"
    "\"failures_total\":0,\"latency\":[]}]},{\"name\":\"new\",\"requests\":{\"2xx\":4},\"latency\":[[16,4]],"
    "\"servers\":[]}]}";

static unsigned rows(struct arena *a, struct top_row *out)
{
    struct json *before, *now;
    arena_open(a, &arena_heap, 1u << 20, NULL, 0);
    assert_int_equal(json_read(bytes_from(before_text), a, &before), OK);
    assert_int_equal(json_read(bytes_from(now_text), a, &now), OK);
    return top_rows(before, now, out);
}

static void what_happened_in_between(void **state)
{
    static struct top_row r[TOP_ROWS_MAX];
    struct arena a;
    (void)state;
    assert_int_equal(rows(&a, r), 4);
    assert_bytes_equal(r[0].name, BYTES("shop"));
    assert_true(r[0].rate == 50 && r[0].errors == 5 && r[0].active == 5 && !r[0].server);
    assert_true(r[0].p50_ms == 0.024 && r[0].p99_ms == 2.048); /* 98 within 24 us, 2 within 2048 */
    assert_bytes_equal(r[1].state, BYTES("down"));
    assert_true(r[1].rate == 20 && r[1].errors == 3 && r[1].active == 3 && r[1].server);
    assert_bytes_equal(r[2].state, BYTES("drain"));
    assert_true(r[2].rate == 4 && r[2].p50_ms == -1);
    assert_true(r[3].rate == 2 && r[3].p99_ms == 0.016); /* it was not there before */
    arena_close(&a);
}

static void a_frame_fits(void **state)
{
    static struct top_row r[TOP_ROWS_MAX];
    struct arena a;
    (void)state;
    unsigned count = rows(&a, r);
    r[1].name = BYTES("a-very-long-name-of-a-server.in-a-very-long-domain.example:8080");
    for (unsigned columns = 20; columns < 300; columns += 7) {
        for (unsigned lines = 3; lines < 12; lines++) {
            struct text t = { 0 };
            top_draw(&t, r, count, "weir", columns, lines);
            struct bytes left = { t.at, t.len }, line;
            unsigned drawn = 0;
            while (bytes_split(&left, '\n', &line)) {
                assert_true(line.len <= columns);
                drawn += line.ptr != NULL && left.ptr != NULL;
            }
            assert_true(drawn <= lines);
            text_free(&t);
        }
    }
    struct text t = { 0 };
    top_draw(&t, r, 1, "weir", 80, 24);
    text_add(&t, (struct bytes){ "", 1 });
    assert_string_equal(t.at,
                        "weir\n"
                        "SERVICE                      STATE        REQ/S   ERR/S ACTIVE      P50      P99\n"
                        "shop                                       50.0     5.0      5   0.02ms   2.05ms\n");
    text_free(&t);
    arena_close(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_happened_in_between),
        cmocka_unit_test(a_frame_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
