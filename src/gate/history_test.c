#include "gate/history.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/test.h"

static char dir[64];
static struct arena arena;

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/history_test.XXXXXX");
    assert_non_null(mkdtemp(dir));
    arena_open(&arena, &arena_heap, 1u << 20, NULL, 0);
    return 0;
}

static int teardown(void **state)
{
    char command[128];
    (void)state;
    arena_close(&arena);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

static void keep(uint64_t number, struct bytes text)
{
    struct history_entry e = { .number = number, .time_s = 1000 + (int64_t)number };
    struct diag d = DIAG_NONE;
    snprintf(e.author, sizeof e.author, "uid %llu", (unsigned long long)number);
    snprintf(e.reason, sizeof e.reason, "two\nlines");
    assert_int_equal(history_keep(&e, text, &d), OK);
}

static void use(const char *conf)
{
    struct diag d = DIAG_NONE;
    assert_int_equal(history_open(bytes_from(dir), conf, &d), OK);
}

static void the_last_five_are_kept(void **state)
{
    struct history_entry list[HISTORY_KEPT];
    struct bytes text;
    char line[32];
    (void)state;
    use("/etc/weir/weir.yaml");
    assert_int_equal(history_newest(), 0);
    for (unsigned i = 1; i <= 12; i++) {
        int len = snprintf(line, sizeof line, "a: 1\nb: %u\n", i);
        keep(i, (struct bytes){ line, (size_t)len });
    }
    assert_int_equal(history_list(list), HISTORY_KEPT);
    for (unsigned i = 0; i < HISTORY_KEPT; i++) {
        assert_int_equal(list[i].number, 8 + i);
        assert_int_equal(list[i].time_s, 1008 + i);
    }
    assert_string_equal(list[4].author, "uid 12");
    assert_string_equal(list[4].reason, "two lines");
    assert_int_equal(list[4].bytes, 11);
    assert_int_equal(history_text(12, &arena, &text), OK);
    assert_bytes_equal(text, BYTES("a: 1\nb: 12\n"));
    assert_int_equal(history_diff(12, &arena, &text), OK);
    assert_bytes_equal(text, BYTES("--- 11\n+++ 12\n@@ -1,2 +1,2 @@\n a: 1\n-b: 11\n+b: 12\n"));
    assert_int_equal(history_text(7, &arena, &text), ERR_NOT_FOUND);
    use("/etc/weir/weir.yaml"); /* as the next process does */
    assert_int_equal(history_newest(), 12);
    assert_true(history_is_newest(BYTES("a: 1\nb: 12\n")));
    assert_false(history_is_newest(BYTES("a: 1\nb: 11\n")));
}

static void the_same_text_is_kept_once(void **state)
{
    struct history_entry list[HISTORY_KEPT];
    (void)state;
    use("a.yaml");
    for (unsigned i = 1; i < 9; i++)
        keep(i, BYTES("same\n"));
    assert_int_equal(history_list(list), 1);
    assert_int_equal(list[0].number, 1);
}

static void each_configuration_has_its_own(void **state)
{
    struct stat s;
    (void)state;
    use("/etc/a/weir.yaml");
    keep(3, BYTES("x"));
    assert_int_equal(stat(history_folder(), &s), 0);
    assert_int_equal(s.st_mode & 0777, 0700); /* it may hold secrets */
    use("/etc/b/weir.yaml");
    assert_int_equal(history_newest(), 0);
    use("/etc/a/weir.yaml");
    assert_int_equal(history_newest(), 3);
}

static void without_a_folder_nothing_is_kept(void **state)
{
    struct diag d = DIAG_NONE;
    struct bytes text;
    (void)state;
    assert_int_equal(history_open(BYTES("off"), "a.yaml", &d), OK);
    keep(1, BYTES("x"));
    assert_int_equal(history_newest(), 0);
    assert_int_equal(history_text(1, &arena, &text), ERR_NOT_FOUND);
    setenv("STATE_DIRECTORY", dir, 1);
    assert_int_equal(history_open(BYTES("auto"), "a.yaml", &d), OK);
    unsetenv("STATE_DIRECTORY");
    assert_true(strncmp(history_folder(), dir, strlen(dir)) == 0);
    assert_int_equal(history_open(BYTES("/dev/null/x"), "a.yaml", &d), ERR_CONF);
    assert_non_null(strstr(d.text, "/dev/null/x"));
    assert_true(strncmp(history_folder(), dir, strlen(dir)) == 0); /* as it was */
}

static void the_file_is_replaced_whole(void **state)
{
    struct diag d = DIAG_NONE;
    struct stat s;
    char path[96], link[96], got[16] = { 0 };
    (void)state;
    snprintf(path, sizeof path, "%s/real.yaml", dir);
    snprintf(link, sizeof link, "%s/link.yaml", dir);
    FILE *f = fopen(path, "w");
    fputs("before", f);
    fclose(f);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(symlink("real.yaml", link), 0);
    assert_int_equal(history_write_conf(link, BYTES("after"), &d), OK);
    assert_true(lstat(link, &s) == 0 && S_ISLNK(s.st_mode));
    assert_true(stat(path, &s) == 0 && (s.st_mode & 0777) == 0640);
    f = fopen(path, "r");
    assert_int_equal(fread(got, 1, sizeof got - 1, f), 5);
    fclose(f);
    assert_string_equal(got, "after");
    assert_int_equal(history_write_conf("/nonexistent/x", BYTES("x"), &d), ERR_CONF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_last_five_are_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(the_same_text_is_kept_once, setup, teardown),
        cmocka_unit_test_setup_teardown(each_configuration_has_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(without_a_folder_nothing_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(the_file_is_replaced_whole, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
