#include "load/replay.h"

#include "base/test.h"

static struct arena arena;

static struct replay read_log(const char *text)
{
    struct replay r;
    struct diag d = DIAG_NONE;
    if (replay_read(bytes_from(text), &arena, &r, &d) != OK)
        fail_msg("%s", d.text);
    return r;
}

static void check(const struct replay *r, size_t i, uint64_t at_us, const char *method, const char *target)
{
    assert_int_equal(r->lines[i].at_us, at_us);
    assert_bytes_equal(r->lines[i].method, bytes_from(method));
    assert_bytes_equal(r->lines[i].target, bytes_from(target));
}

static void json_lines(void **state)
{
    (void)state;
    struct replay r = read_log(
        "{\"time\":\"2026-03-01T00:00:00.500000Z\",\"method\":\"POST\",\"target\":\"/b?x=\\\"y\\\"\"}\n"
        "{\"time\":\"2026-02-28T23:59:59.250000Z\",\"id\":\"x\",\"method\":\"GET\",\"target\":\"/a\"}\r\n"
        "nonsense\n\n{\"time\":\"x\",\"method\":\"GET\",\"target\":\"/a\"}\n"
        "{\"time\":\"2026-03-01T00:00:01Z\",\"method\":\"GET\",\"target\":\"no path\"}\n"
        "{\"time\":\"2026-03-01T00:00:01Z\",\"method\":\"DELETE\",\"target\":\"/c\"}");
    assert_int_equal(r.count, 3);
    assert_int_equal(r.skipped, 3);
    check(&r, 0, 0, "GET", "/a");
    check(&r, 1, 1250000, "POST", "/b?x=\"y\"");
    check(&r, 2, 1750000, "DELETE", "/c");
}

/* A second's lines are spread over it; zones are told apart. */
static void combined_lines(void **state)
{
    (void)state;
    struct replay r =
        read_log("1.2.3.4 - - [02/Mar/2026:10:15:04 +0000] \"GET /a HTTP/1.1\" 200 92 \"-\" \"x\"\n"
                 "1.2.3.4 - bob [02/Mar/2026:11:15:04 +0100] \"GET /b\\x22c HTTP/1.1\" 200 92\n"
                 "1.2.3.4 - - [02/Mar/2026:10:15:04 +0000] \"HEAD /c HTTP/1.1\" 200 92\n"
                 "1.2.3.4 - - [02/Mar/2026:05:15:05 -0500] \"GET /d HTTP/1.1\" 200 92\n"
                 "1.2.3.4 - - [02/Mar/2026:10:15:05 +0000] \"-\" 400 0\n"
                 "1.2.3.4 - - [31/Abc/2026:10:15:05 +0000] \"GET / HTTP/1.1\" 400 0\n");
    assert_int_equal(r.count, 4);
    assert_int_equal(r.skipped, 2);
    check(&r, 0, 0, "GET", "/a");
    check(&r, 1, 333333, "GET", "/b\"c");
    check(&r, 2, 666666, "HEAD", "/c");
    check(&r, 3, 1000000, "GET", "/d");
}

static void what_is_no_log(void **state)
{
    (void)state;
    static const char *const wrong[] = { "",     "\n\n",         "a,b,c\n",
                                         "{}\n", "[02/Mar/2026", "[02/Mar/2026:10:15:04 +0000] \"" };
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct replay r;
        struct diag d = DIAG_NONE;
        assert_int_equal(replay_read(bytes_from(wrong[i]), &arena, &r, &d), ERR_CONF);
        assert_true(d.set);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_lines),
        cmocka_unit_test(combined_lines),
        cmocka_unit_test(what_is_no_log),
    };
    arena_open(&arena, &arena_heap, 8 << 20, NULL, 0);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_close(&arena);
    return failed;
}
