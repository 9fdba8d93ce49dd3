#include "base/diff.h"

#include <stdlib.h>

#include "base/test.h"

static void expect(struct bytes before, struct bytes after, const char *wanted)
{
    struct text t = { 0 };
    diff_write(before, after, "a", "b", &t);
    assert_bytes_equal(((struct bytes){ t.at, t.len }), bytes_from(wanted));
    text_free(&t);
}

static void same_texts_have_none(void **state)
{
    (void)state;
    expect(BYTES_NONE, BYTES_NONE, "");
    expect(BYTES("x\ny\n"), BYTES("x\ny\n"), "");
}

static void a_line_changed(void **state)
{
    (void)state;
    expect(BYTES("1\n2\n3\n4\n5\n6\n7\n8\n9\n"), BYTES("1\n2\n3\n4\nfive\n6\n7\n8\n9\n"),
           "--- a\n+++ b\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n");
}

static void from_nothing_and_to_nothing(void **state)
{
    (void)state;
    expect(BYTES_NONE, BYTES("x\n"), "--- a\n+++ b\n@@ -0,0 +1 @@\n+x\n");
    expect(BYTES("x\n"), BYTES_NONE, "--- a\n+++ b\n@@ -1 +0,0 @@\n-x\n");
}

static void the_last_newline_is_told(void **state)
{
    (void)state;
    expect(BYTES("x\ny"), BYTES("x\ny\n"),
           "--- a\n+++ b\n@@ -1,2 +1,2 @@\n x\n-y\n\\ No newline at end of file\n+y\n");
}

static void changes_far_apart_are_two_hunks(void **state)
{
    (void)state;
    expect(BYTES("a\n1\n2\n3\n4\n5\n6\n7\nb\n"), BYTES("A\n1\n2\n3\n4\n5\n6\n7\nB\n"),
           "--- a\n+++ b\n@@ -1,4 +1,4 @@\n-a\n+A\n 1\n 2\n 3\n@@ -6,4 +6,4 @@\n 5\n 6\n 7\n-b\n+B\n");
    expect(BYTES("a\n1\n2\n3\n4\n5\n6\nb\n"), BYTES("A\n1\n2\n3\n4\n5\n6\nB\n"),
           "--- a\n+++ b\n@@ -1,8 +1,8 @@\n-a\n+A\n 1\n 2\n 3\n 4\n 5\n 6\n-b\n+B\n");
}

/* Applies what diff_write wrote, strictly. */
static struct text applied(struct bytes before, struct bytes diff)
{
    struct text out = { 0 };
    struct bytes line;
    size_t at = 0; /* lines of before that are used */
    for (int i = 0; diff.len; i++) {
        size_t n = bytes_index(diff, '\n');
        line = (struct bytes){ diff.ptr, n };
        diff = bytes_skip(diff, n + 1);
        if (i < 2)
            continue;
        if (line.ptr[0] == '@') {
            size_t from = (size_t)strtoul(line.ptr + 4, NULL, 10);
            bool empty = strstr(line.ptr, ",0 +") && strstr(line.ptr, ",0 +") < line.ptr + line.len;
            size_t wanted = empty ? from : from - 1;
            for (; at < wanted; at++) {
                size_t m = bytes_index(before, '\n');
                text_add(&out, (struct bytes){ before.ptr, m + 1 });
                before = bytes_skip(before, m + 1);
            }
            continue;
        }
        if (line.ptr[0] != '+') {
            size_t m = bytes_index(before, '\n');
            assert_bytes_equal(((struct bytes){ before.ptr, m }), bytes_skip(line, 1));
            before = bytes_skip(before, m + 1);
            at++;
        }
        if (line.ptr[0] != '-') {
            text_add(&out, bytes_skip(line, 1));
            text_add(&out, BYTES("\n"));
        }
    }
    text_add(&out, before);
    return out;
}

static uint64_t next_random(void)
{
    static uint64_t x = 7; /* the same texts each time */
    x = x * 6364136223846793005u + 1442695040888963407u;
    return x >> 33;
}

static size_t random_text(char *out, unsigned lines)
{
    size_t len = 0;
    for (unsigned i = 0; i < lines; i++) {
        out[len++] = "abcd"[next_random() % 4];
        out[len++] = '\n';
    }
    return len;
}

static void whatever_it_writes_leads_from_one_to_the_other(void **state)
{
    (void)state;

    static char a[4000], b[4000];
    for (unsigned i = 0; i < 2000; i++) {
        struct bytes before = { a, random_text(a, (unsigned)(next_random() % (i < 1900 ? 30 : 1500))) };
        struct bytes after = { b, random_text(b, (unsigned)(next_random() % (i < 1900 ? 30 : 1500))) };
        struct text t = { 0 };
        diff_write(before, after, "a", "b", &t);
        struct text got = applied(before, (struct bytes){ t.at, t.len });
        assert_bytes_equal(((struct bytes){ got.at, got.len }), after);
        text_free(&t);
        text_free(&got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_texts_have_none),
        cmocka_unit_test(a_line_changed),
        cmocka_unit_test(from_nothing_and_to_nothing),
        cmocka_unit_test(the_last_newline_is_told),
        cmocka_unit_test(changes_far_apart_are_two_hunks),
        cmocka_unit_test(whatever_it_writes_leads_from_one_to_the_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
